"""Text that others wrote, made safe to print, to draw and to send to a chat model."""

import json
import re

UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff\ufffe\uffff]"
)
"""Characters that are not shown but change a terminal or an SVG file: control characters except line feed and tab,
marks that change the direction of reading, halves of surrogate pairs."""

NAME = 60
"""Characters of a name that are shown, at most."""


def visible(text: str) -> str:
    """The text with U+FFFD in the place of each character of `UNSEEN`."""
    return UNSEEN.sub("\ufffd", text)


def one_line(text: str) -> str:
    """The same without line breaks and tabs, for a name in a table."""
    return visible(re.sub(r"[\t\n]", " ", text))


def plain(text: str, length: int) -> str:
    """The text on one line, of at most `length` characters, all of them printable."""
    if not text.isprintable():
        text = "".join(character if character.isprintable() else " " for character in text)
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 1] + "\u2026"


def quoted(text: str, length: int = NAME) -> str:
    """The text as a JSON string of at most `length` characters: no line breaks, and nothing ends its quotes early."""
    return json.dumps(plain(text, length), ensure_ascii=False)
