"""How users' parameters are fitted to a log."""
