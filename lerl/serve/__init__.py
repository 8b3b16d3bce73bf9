"""What a trained run can do for others: from Python, for people outside the simulator, and over HTTP."""
