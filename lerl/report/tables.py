"""Tables of results, for the screen and in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import IO, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from lerl.envs.text import one_line
from lerl.files import RunError
from lerl.planners.llm.traffic import ordered_causes, percent
from lerl.report.bootstrap import (
    DIFFERENCE_METRICS,
    Interval,
    Summary,
    by_reward,
    number,
    ratios,
)
from lerl.report.lessons import UNTRAINED, marked
from lerl.report.load import Undertrained
from lerl.report.screen import Screen


class _Column(NamedTuple):
    heading: str
    metric: str
    decimals: int
    interval: bool = False
    folded: str = ""  # the heading on two lines, where the terminal's width counts


_COLUMNS = (
    _Column("R_cum", "R_cum", 2, interval=True),
    _Column("T_int", "T_int", 1),
    _Column("R_sin", "R_sin", 3),
    _Column("satisfaction", "satisfaction_mean", 2, folded="satis-\nfaction"),
    _Column("left early", "left_early", 2, folded="left\nearly"),
    _Column("cut by cap", "cut_by_cap", 2, folded="at\ncap"),
    _Column("categories", "category_coverage", 2, folded="cate-\ngories"),
    _Column("distance", "intra_list_distance", 2, folded="dis-\ntance"),
    _Column("Gini", "gini", 2),
    _Column("normalised", "normalised", 2, folded="norma-\nlised"),
)


_NOTES = {
    "category_coverage": "categories: share of the categories that a session shows",
    "intra_list_distance": "distance: 1 - cosine between the items of a slate",
    "gini": "Gini: of the exposure of all items",
    "normalised": "normalised: random is 0, privileged 1",
}


def table(summary: Summary) -> Table:
    """The comparison for a terminal, best R_cum first; :func:`show` prints it without cutting a column short."""
    headings = [column.folded or column.heading for column in _columns(summary)]
    notes = "\n".join([_caption(summary), *_footnotes(summary)])
    return rich_table("", "row", headings, _cells(summary), notes)


def difference_table(summary: Summary, reference: str, metric: str = "R_cum") -> Table:
    """How many times each other row's mean the reference row reaches, paired, with 95 % intervals, for a terminal.

    ``metric`` is one of :data:`DIFFERENCE_METRICS`. Raises :class:`RunError` if there is no row ``reference``.
    """
    cells = _ratio_cells(summary, reference, metric)
    return rich_table(f"{metric} of {reference} / {metric} of row", "row", ["ratio", "95 % interval"], cells, None)


def markdown(summary: Summary, reference: str | None = None) -> str:
    """The comparison as Markdown, best R_cum first; with ``reference`` also the table of :func:`difference_table`."""
    lines = _markdown_table("row", [column.heading for column in _columns(summary)], _cells(summary))
    lines += ["", _caption(summary)]
    lines += [line for note in _footnotes(summary) for line in ("", note)]
    if reference is not None:
        headings = [f"R_cum of {reference} / R_cum of row", "95 % interval"]
        lines += ["", *_markdown_table("row", headings, _ratio_cells(summary, reference, "R_cum"))]
    return "\n".join(lines) + "\n"


def console(file: IO[str] | None = None) -> Console:
    """A Console for :func:`table`: as wide as the terminal, or wide enough for all columns where there is none."""
    there = Screen(file)
    return there if there.is_terminal else Screen(file, width=200)


def show(made: Table, file: IO[str] | None = None) -> None:
    """Print a table whole: a terminal too narrow for it wraps its lines."""
    there = console(file)
    unlimited = there.options.update_width(10_000)
    there.width = max(there.width, there.measure(made, options=unlimited).minimum)
    there.print(made)


def said_of(row: str, untrained: Mapping[str, Undertrained], name: str = "") -> str:
    """A row's name, or a shorter one, as it is printed: marked where its policy had too few steps to learn."""
    return marked(name or row, untrained[row]["mark"] if row in untrained else "")


def _caption(summary: Summary) -> str:
    notes = [_NOTES[column.metric] for column in _columns(summary) if column.metric in _NOTES]
    return "; ".join(["95 % intervals in brackets", *notes]) + "."


def _footnotes(summary: Summary) -> list[str]:
    """A line for each row that is not a chat model's alone, or had too few steps to learn, and other notes."""
    lines = [_shortage(row, short) for row, short in summary.get("untrained", {}).items()]
    lines += summary.get("notes", [])
    for row, found in summary.get("fallbacks", {}).items():
        causes = ", ".join(ordered_causes(found["causes"]))
        lines.append(f"{row}: {percent(found['share'])} of its plans by {found['rule']} ({causes})")
    return lines


def _shortage(row: str, short: Undertrained) -> str:
    lessons = f", its planner's lessons took {short['lessons']:,}" if short["lessons"] else ""
    if short["mark"] == UNTRAINED:
        return f"{row}: untrained, its policy took no steps{lessons}"
    return f"{row}: too few steps, its policy took {short['steps']:,} of the {short['enough']:,} that it needs{lessons}"


def _columns(summary: Summary) -> list[_Column]:
    """The columns that some row has a value for."""
    rows = summary["agents"].values()
    return [column for column in _COLUMNS if any(_known(row.get(column.metric)) for row in rows)]


def _known(value: Interval | None) -> bool:
    return value is not None and value["mean"] is not None


def _cells(summary: Summary) -> list[list[str]]:
    columns = _columns(summary)
    return [
        [
            said_of(row, summary.get("untrained", {})),
            *(_cell(summary["agents"][row].get(column.metric), column) for column in columns),
        ]
        for row in by_reward(summary)
    ]


def _cell(value: Interval | None, column: _Column) -> str:
    if value is None or value["mean"] is None:
        return "n/a"
    text = f"{value['mean']:.{column.decimals}f}"
    return f"{text} {bracket(value, column.decimals)}" if column.interval else text


def bracket(value: Interval, decimals: int) -> str:
    """An interval as tables print it."""
    if value["low"] is None or value["high"] is None:
        return "[n/a]"
    return f"[{value['low']:.{decimals}f}, {value['high']:.{decimals}f}]"


def _ratio_cells(summary: Summary, reference: str, metric: str) -> list[list[str]]:
    if metric not in DIFFERENCE_METRICS:
        raise RunError(f"no ratios of {metric!r}, there are {', '.join(DIFFERENCE_METRICS)}")
    found = ratios(summary, reference, metric)
    order = sorted(found, key=lambda row: number(found[row]["mean"], np.inf))
    short = summary.get("untrained", {})
    return [[said_of(row, short), _cell(found[row], _Column("", metric, 3)), bracket(found[row], 3)] for row in order]


def rich_table(title: str, first: str, headings: Sequence[str], cells: list[list[str]], caption: str | None) -> Table:
    """A table for :func:`show`: names in the first column, numbers right of it."""
    made = Table(
        title=title or None, caption=caption, caption_justify="left", box=None, pad_edge=False, collapse_padding=True
    )
    made.add_column(first, no_wrap=True)
    for place, heading in enumerate(headings):
        wide = any(" " in row[place + 1] for row in cells)  # an interval may go on below; a number is never broken
        made.add_column(heading, justify="right", no_wrap=not wide, overflow="fold")
    for row in cells:
        made.add_row(*(one_line(cell).replace("[", r"\[") for cell in row))
    return made


def _markdown_table(first: str, headings: Sequence[str], cells: list[list[str]]) -> list[str]:
    head = [f"| {first} | {' | '.join(headings)} |", f"|---|{'---:|' * len(headings)}"]
    return head + [f"| {' | '.join(one_line(cell).replace('|', '&#124;') for cell in row)} |" for row in cells]
