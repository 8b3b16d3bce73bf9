"""Recommenders that say the next item digit by digit, by its semantic ID."""
