"""What `register` and `unregister` decide: from a request to a sight of the cluster, objects and a plan."""
