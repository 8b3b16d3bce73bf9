"""What all workers are at, in one live view on a terminal; elsewhere a line from time to time."""

import sys
import threading
import time

import rich.live
from rich.table import Table

from lerl.report.screen import Screen

EVERY = 30.0
"""Seconds between lines, where there is no terminal."""
SHOWN = 20
"""Pieces of work on the screen."""


class Live:
    """Shows the newest line of each piece of work that is under way."""

    def __init__(self) -> None:
        self._console = Screen(sys.stderr)
        self._at: dict[str, str] = {}
        self._lock = threading.Lock()
        self._said = time.monotonic()
        self._view = rich.live.Live(
            console=self._console, get_renderable=self._table, transient=True, refresh_per_second=2
        )

    def __enter__(self) -> "Live":
        if self._console.is_terminal:
            self._view.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._console.is_terminal:
            self._view.stop()

    def heard(self, name: str, line: str) -> None:
        """A piece of work says how far it is; an empty line says that it has ended."""
        with self._lock:
            self._at.pop(name, None)
            if line:
                self._at[name] = line
            due = not self._console.is_terminal and time.monotonic() - self._said >= EVERY
            if due and self._at:
                self._said = time.monotonic()
                print(f"at work: {'; '.join(map(': '.join, sorted(self._at.items())))}", file=sys.stderr, flush=True)

    def _table(self) -> Table:
        with self._lock:
            newest = list(self._at.items())[-SHOWN:]
        table = Table.grid(padding=(0, 2))
        for name, line in sorted(newest):
            table.add_row(name, line)
        return table
