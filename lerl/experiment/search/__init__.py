"""The parts of a search for settings: its space, what each trial tries, the journal that many processes share."""

AGAIN = "give the same command again"
"""How to go on with a search."""
