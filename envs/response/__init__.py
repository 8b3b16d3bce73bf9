"""How users respond to items: the probability of a click."""
