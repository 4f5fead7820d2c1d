"""Every side effect of aggctl: files, the cluster, probes, the clock, the journal."""
