"""Whether a planner may be trusted: its reasons, whom it treats how, and whether that conclusion holds."""
