"""Switch on, prove, and mend the Kubernetes aggregation layer."""

__version__ = "0.1.0"
