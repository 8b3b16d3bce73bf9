"""Item vectors that agents know, learned from clients that keep their logs: only codebooks and counts travel."""
