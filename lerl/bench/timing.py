"""Speeds of two sides, timed in turn, as numbers, JSON and a table."""

import json
import os
import platform
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPEATS = 7
Burst = Callable[[], tuple[float, float]]
"""Does some work, and says how much it was and how many CPU seconds it took."""


@dataclass(frozen=True)
class Spread:
    """A median with the least and the greatest of the repeats."""

    median: float
    low: float
    high: float

    @staticmethod
    def of(values: Sequence[float]) -> "Spread":
        """Of one or more values."""
        return Spread(statistics.median(values), min(values), max(values))


@dataclass(frozen=True)
class Timing:
    """One row of the table.

    Attributes:
        name: of the row. what, against: the two sides in words. unit: of both.
        ours, peer: per CPU second, or what the unit says; None where a side could not be timed.
        ratio: ours over peer, repeat by repeat; None without another side.
        target: what the ratio (of rows without a ratio: our value) must reach, or stay under where `at_most`.
        cpu_seconds: what all of the row took, warm-up included.
        note: what a reader has to know.
    """

    name: str
    what: str
    against: str
    unit: str
    ours: Spread | None = None
    peer: Spread | None = None
    ratio: Spread | None = None
    target: float | None = None
    at_most: bool = False
    cpu_seconds: float = 0.0
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the median meets the target; None where that cannot be said."""
        judged = self.ours if self.ratio is None and not self.needs_peer else self.ratio
        if self.target is None or judged is None:
            return None
        return judged.median <= self.target if self.at_most else judged.median >= self.target

    @property
    def needs_peer(self) -> bool:
        """Whether the target is a ratio."""
        return self.against != ""


def duel(ours: Burst, peer: Burst | None, repeats: int = REPEATS) -> dict[str, Any]:
    """Both sides by turns, after a burst of each that does not count: fields of `Timing`."""
    speeds: dict[str, list[float]] = {"ours": [], "peer": []}
    spent = 0.0
    for number in range(repeats + 1):
        for side, burst in (("ours", ours), ("peer", peer)):
            if burst is not None:
                work, seconds = burst()
                spent += seconds
                if number:
                    speeds[side].append(work / max(seconds, 1e-9))
    found: dict[str, Any] = {"ours": Spread.of(speeds["ours"]), "cpu_seconds": spent}
    if peer is not None:
        ratios = [mine / theirs for mine, theirs in zip(speeds["ours"], speeds["peer"], strict=True)]
        found |= {"peer": Spread.of(speeds["peer"]), "ratio": Spread.of(ratios)}
    return found


def machine() -> dict[str, Any]:
    """What it was timed on."""
    return {
        "python": platform.python_version(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": 1,
        "time": "CPU seconds of one process, so that other work on the machine counts little",
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def as_json(found: dict[str, Any]) -> str:
    """What `measure` found, for programs."""
    return json.dumps(found, indent=1)


def lines(found: dict[str, Any]) -> list[str]:
    """What `measure` found as a table of Markdown."""
    about = found["machine"]
    made = [
        f"{about['processor']}, {about['cores']} cores, Python {about['python']}, one thread; medians of up to "
        f"{found['repeats']} turns [least, greatest], per CPU second",
        "",
        "| what | lerl | against | | ratio | target |",
        "|---|---|---|---|---|---|",
    ]
    for row in found["rows"]:
        cells = (row["what"], _value(row["ours"], row["unit"]), row["against"], _value(row["peer"], row["unit"]))
        made.append(f"| {' | '.join((*cells, _value(row['ratio'], 'times'), _target(row)))} |")
    notes = [f"- {row['what']}: {row['note']}" for row in found["rows"] if row["note"]]
    return [*made, *(["", *notes] if notes else [])]


def _target(row: dict[str, Any]) -> str:
    if row["target"] is None:
        return ""
    said = {None: "", True: ", met", False: ", **missed**"}[row["met"]]
    return f"at {'most' if row['at_most'] else 'least'} {row['target']:g}{said}"


def _value(spread: dict[str, float] | None, unit: str) -> str:
    if spread is None:
        return ""
    shown = [_number(spread[part]) for part in ("median", "low", "high")]
    words = f"{shown[0]} {unit}" if unit != "times" else shown[0]
    return words if len(set(shown)) == 1 else f"{words} [{shown[1]}, {shown[2]}]"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
