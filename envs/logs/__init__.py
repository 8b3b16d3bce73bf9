"""Logs of interactions, read from the layouts they are published in and from files of your own."""
