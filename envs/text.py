"""Text that others wrote, made safe to print, to draw and to ask a chat model with."""

import json
import re

UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff\ufffe\uffff]"
)
"""Characters that no page shows, and that a terminal or an SVG file takes for something else: control characters but
line feed and tab, marks that turn the direction of reading, halves of characters."""

NAME = 60
"""Most characters of a name that are shown."""


def visible(text: str) -> str:
    """A text as it may be printed or drawn, U+FFFD in the place of each character of `UNSEEN`."""
    return UNSEEN.sub("\ufffd", text)


def one_line(text: str) -> str:
    """The same without line breaks and tabs, for a name in a table."""
    return visible(re.sub(r"[\t\n]", " ", text))


def plain(text: str, length: int) -> str:
    """A text on one line, of at most so many characters, without any that command a terminal or cannot be stored."""
    if not text.isprintable():
        text = "".join(character if character.isprintable() else " " for character in text)
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 1] + "\u2026"


def quoted(text: str, length: int = NAME) -> str:
    """Somebody else's text as a JSON string of at most so many characters: no line breaks, no way out of its quotes."""
    return json.dumps(plain(text, length), ensure_ascii=False)
