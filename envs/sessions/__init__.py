"""People who come back: what happens between two sessions of one person, and how long until the next."""
