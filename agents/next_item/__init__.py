"""Recommenders of the next item, each judged by how high it ranks what a user chose next among all items."""
