"""One run: its folder, its agents, training and evaluation."""
