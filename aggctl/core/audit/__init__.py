"""Audit records of kube-apiserver: switched on for the aggregated groups, and read."""
