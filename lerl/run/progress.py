"""Progress of long work: a live line on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable
from typing import Any

from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.progress import Progress as Bars

from lerl.report.screen import Screen

Report = Callable[[str, int, int, Any], object]
"""Called with a phase, what is done, what there is in all, and the newest point of a curve, words, or None."""
EVERY = 5.0  # seconds between plain lines


class Progress:
    """Shows phase, steps, speed, time left and the newest T_int, R_cum, R_sin."""

    def __init__(self) -> None:
        self._console = Screen(sys.stderr)
        self._live = self._console.is_terminal
        columns = (TextColumn("{task.description:<28}"), BarColumn(), TextColumn("{task.fields[speed]}"))
        self._bars = Bars(*columns, TimeRemainingColumn(), TextColumn("{task.fields[latest]}"), console=self._console)
        self._task: Any = None
        self._phase = ""
        self._begun = self._shown = 0.0
        self._first = 0
        self._latest = ""

    def __enter__(self) -> "Progress":
        if self._live:
            self._bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live:
            self._bars.stop()

    def report(self, phase: str, done: int, total: int, point: dict[str, Any] | str | None) -> None:
        """Say how far a phase is; `point` holds the newest T_int, R_cum and R_sin, or words, when there are any."""
        now = time.monotonic()
        if phase != self._phase:
            self._phase, self._begun, self._first, self._latest, self._shown = phase, now, done, "", 0.0
            self._task = self._bars.add_task(phase, total=total, speed="", latest="") if self._live else None
        if isinstance(point, str):
            self._latest = point
        elif point is not None:
            self._latest = f"T_int {point['T_int']:.1f}  R_cum {point['R_cum']:.2f}  R_sin {point['R_sin']:.3f}"
        seconds = now - self._begun
        speed = (done - self._first) / seconds if seconds > 0.05 else 0.0
        pace = f"  {speed:,.0f}/s" if speed >= 0.5 else ""  # not before it is known
        if self._live:
            text = f"{done}/{total}{pace}"
            self._bars.update(self._task, completed=done, speed=text, latest=self._latest)
        elif now - self._shown >= EVERY or done >= total or point is not None:
            self._shown = now
            left = f"  {(total - done) / speed:,.0f} s left" if speed and done < total else ""
            line = f"{phase:<28} {done:>9,}/{total:,}{pace}{left}  {self._latest}"
            print(line.rstrip(), file=sys.stderr)


def counter(report: Report, phase: str, total: int) -> Callable[[int], None]:
    """What is called with how many sessions have just ended, and reports how many of all have."""
    done = 0

    def count(ended: int) -> None:
        nonlocal done
        done += ended
        report(phase, done, total, None)

    return count


class Transfer:
    """Shows how much of a file has come."""

    def __init__(self, name: str) -> None:
        self._name, console = name, Screen(sys.stderr)
        self._live = console.is_terminal
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        self._bars = Bars(*columns, TimeRemainingColumn(), console=console)
        self._task: Any = None
        self._shown = 0.0

    def __enter__(self) -> "Transfer":
        return self

    def __exit__(self, *error: object) -> None:
        if self._live:
            self._bars.stop()

    def report(self, done: int, total: int | None) -> None:
        """Say how many bytes have come, and how many there are where that is known."""
        if self._live:
            if self._task is None:
                self._task = self._bars.add_task(self._name, total=None)
                self._bars.start()
            self._bars.update(self._task, completed=done, total=total)
        elif time.monotonic() - self._shown >= EVERY or done == total:
            self._shown = time.monotonic()
            of = f" of {total / 1e6:,.1f}" if total else ""
            print(f"{self._name}: {done / 1e6:,.1f}{of} MB", file=sys.stderr)
