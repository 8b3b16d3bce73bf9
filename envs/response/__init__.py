"""Response models: the chance of a click of a user on an item."""
