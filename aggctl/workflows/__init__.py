"""One file per verb: observe, plan, execute, report."""
