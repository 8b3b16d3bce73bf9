"""What is printed and drawn: on streams that outlive their readers, and without what could command a terminal.

Names of categories, reasons of servers and much else that is printed was written by others.
"""

import os
import re
from contextlib import suppress
from typing import Any, TextIO

UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff\ufffe\uffff]"
)
"""Characters that no page shows, and that a terminal or an SVG file takes for something else: control characters but
line feed and tab, marks that turn the direction of reading, halves of characters."""


def visible(text: str) -> str:
    """A text as it may be printed or drawn, U+FFFD in the place of each character of `UNSEEN`."""
    return UNSEEN.sub("\ufffd", text)


def one_line(text: str) -> str:
    """The same without line breaks and tabs, for a name in a table."""
    return visible(re.sub(r"[\t\n]", " ", text))


class Lasting:
    """A stream that writes what is visible, drops what it cannot write, and remembers why.

    Letters that its encoding lacks become escapes.

    Args:
        stream: what is written to; None, as Python has it for a closed descriptor, for nothing at all.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream: Any = open(os.devnull, "w") if stream is None else stream  # noqa: SIM115
        self.lost: OSError | None = None

    def write(self, text: str) -> int:
        self.command(visible(text))
        return len(text)

    def command(self, text: str) -> None:
        """Write a text as it is."""
        try:
            self._stream.write(text)
        except UnicodeEncodeError as error:
            self._stream.write(text.encode(error.encoding, "backslashreplace").decode(error.encoding))
        except OSError as error:
            self._lose(error)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._lose(error)

    def _lose(self, error: OSError) -> None:
        """Send the rest nowhere, what is still in the stream's buffer too."""
        self.lost = error
        with suppress(OSError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
