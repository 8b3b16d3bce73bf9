"""Standard streams that survive a closed pipe, and that write no control sequences to a terminal."""

import os
from contextlib import suppress
from typing import Any, TextIO

from lerl.envs.text import visible


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
