"""The error of everything that is wrong with a recipe or a flag."""

BRIEF = 200  # characters of a value in an error


class SettingsError(ValueError):
    """A recipe or a flag that cannot be used; the message names the key, what is allowed and what was given."""


def brief(value: str) -> str:
    """A value, in words, as an error shows it."""
    return value if len(value) <= BRIEF else f"{value[:BRIEF]}..."
