"""Status: the layer and every aggregated API at a glance; it shows, and leaves judging to doctor."""
