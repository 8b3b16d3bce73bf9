"""Composite slates: every slot has a role, and items of a slate complement each other."""
