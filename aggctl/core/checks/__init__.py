"""Checks: pure functions of a Snapshot, used as preconditions, as gates and by doctor."""
