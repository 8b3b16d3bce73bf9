"""Tables of results, for the screen and in Markdown."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import IO, NamedTuple

import numpy as np
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from lerl.envs.text import one_line
from lerl.files import RunError
from lerl.planners.llm.traffic import ordered_causes, percent
from lerl.report.bootstrap import DIFFERENCE_METRICS, Summary, by_reward, ratios
from lerl.report.intervals import Interval, bracket, estimate_text, interval_note, number
from lerl.report.lessons import UNTRAINED, marked
from lerl.report.load import Undertrained
from lerl.report.screen import Screen

WIDTH = 80
"""Width of printed tables in characters; long names and numbers may need more."""


class _Column(NamedTuple):
    heading: str
    metric: str
    decimals: int
    interval: bool = False


RESULTS = (
    _Column("R_cum", "R_cum", 2, interval=True),
    _Column("T_int", "T_int", 1),
    _Column("R_sin", "R_sin", 3),
    _Column("normalised", "normalised", 2),
)
"""How good agents are."""
_SESSIONS = (
    _Column("satisfaction", "satisfaction_mean", 2),
    _Column("left early", "left_early", 2),
    _Column("at cap", "cut_by_cap", 2),
    _Column("categories", "category_coverage", 2),
    _Column("distance", "intra_list_distance", 2),
    _Column("Gini", "gini", 2),
)
"""What their sessions are like."""
METRICS = tuple(column.metric for column in (*RESULTS, *_SESSIONS))
"""What the table shows of an agent, by its names in summary.json."""
_MEANINGS = {
    "R_cum": "sum of rewards over a session",
    "T_int": "steps in a session",
    "R_sin": "reward per step",
    "active_days": "days with a session",
    "normalised": "R_cum on a scale where random is 0 and privileged 1",
    "iqm": "the same, for the middle half of users",
    "satisfaction": "mean over a session",
    "left early": "share of sessions that the user ended",
    "at cap": "share that env.max_steps ended",
    "categories": "share of the categories that a session shows",
    "distance": "1 - cosine between the items of a slate",
    "Gini": "of the exposure of all items",
}


def table(summary: Summary) -> Group:
    """The comparison for a terminal, best R_cum first: how good agents are, then what their sessions are like.

    :func:`show` prints it without cutting a column short.
    """
    results, sessions = columns_of(summary, RESULTS), columns_of(summary, _SESSIONS)
    first = [f"{explained(_headings(results))}.", interval_note(summary["seeds"])]
    blocks: list[RenderableType] = [_block(summary, results), notes_below(first)]
    if sessions:
        blocks += ["", _block(summary, sessions), notes_below([f"{explained(_headings(sessions))}."])]
    return Group(*blocks, notes_below(footnotes(summary)))


def results_cells(summary: Summary) -> tuple[list[str], list[list[str]]]:
    """Headings and rows of the comparison, best R_cum first, all columns; each row begins with the agent."""
    columns = [*columns_of(summary, RESULTS), *columns_of(summary, _SESSIONS)]
    return _headings(columns), _cells(summary, columns)


def _block(summary: Summary, columns: Sequence[_Column]) -> Table:
    headings = [heading.replace(" ", "\n", 1) for heading in _headings(columns)]  # a terminal's width counts
    return rich_table("", "agent", headings, _cells(summary, columns), None)


def notes_below(lines: Sequence[str]) -> Text:
    """Sentences under a table, which may be wider than it."""
    return Text(
        "\n".join(part for line in lines for part in textwrap.wrap(line, WIDTH)),
        style="table.caption",
        end="\n" if lines else "",
    )


def difference_table(summary: Summary, reference: str, metric: str = "R_cum") -> Table:
    """The reference's mean / each other agent's mean, paired, with 95 % intervals, for a terminal.

    ``metric`` is one of :data:`DIFFERENCE_METRICS`. Raises :class:`RunError` if there is no agent ``reference``.
    """
    cells = _ratio_cells(summary, reference, metric)
    return rich_table(f"{metric} of {reference} / {metric} of agent", "agent", ["ratio", "95 % interval"], cells, None)


def markdown(summary: Summary, reference: str | None = None) -> str:
    """The comparison as Markdown, best R_cum first; with ``reference`` also the table of :func:`difference_table`."""
    columns = [*columns_of(summary, RESULTS[:-1]), *columns_of(summary, _SESSIONS), *columns_of(summary, RESULTS[-1:])]
    lines = markdown_table("agent", _headings(columns), _cells(summary, columns))
    lines += ["", f"{explained(_headings(columns))}. {interval_note(summary['seeds'])}"]
    lines += [line for note in footnotes(summary) for line in ("", note)]
    if reference is not None:
        headings = [f"R_cum of {reference} / R_cum of agent", "95 % interval"]
        lines += ["", *markdown_table("agent", headings, _ratio_cells(summary, reference, "R_cum"))]
    return "\n".join(lines) + "\n"


def console(file: IO[str] | None = None) -> Console:
    """A Console for :func:`table`: as wide as the terminal, or wide enough for all columns where there is none."""
    there = Screen(file)
    return there if there.is_terminal else Screen(file, width=200)


def show(made: RenderableType, file: IO[str] | None = None) -> None:
    """Print a table whole: a terminal too narrow for it wraps its lines."""
    there = console(file)
    unlimited = there.options.update_width(10_000)
    there.width = max(there.width, there.measure(made, options=unlimited).minimum)
    there.print(made)


def said_of(agent: str, untrained: Mapping[str, Undertrained], name: str = "") -> str:
    """An agent's name, or a shorter one, as it is printed: marked where its policy had too few steps to learn."""
    return marked(name or agent, untrained[agent]["mark"] if agent in untrained else "")


def explained(names: Iterable[str]) -> str:
    """What headings of tables mean, for a caption."""
    return "; ".join(f"{name}: {_MEANINGS[name]}" for name in names if name in _MEANINGS)


def footnotes(summary: Summary) -> list[str]:
    """A line for each agent with plans of a fallback rule or with too few training steps, and other notes."""
    lines = [_shortage(agent, short) for agent, short in summary.get("untrained", {}).items()]
    lines += summary.get("notes", [])
    for agent, found in summary.get("fallbacks", {}).items():
        causes = ", ".join(ordered_causes(found["causes"]))
        lines.append(f"{agent}: {percent(found['share'])} of its plans by {found['rule']} ({causes})")
    return lines


def _shortage(agent: str, short: Undertrained) -> str:
    lessons = f", its planner's lessons took {short['lessons']:,}" if short["lessons"] else ""
    if short["mark"] == UNTRAINED:
        return f"{agent}: untrained, its policy took no steps{lessons}"
    return (
        f"{agent}: too few steps, its policy took {short['steps']:,} of the {short['enough']:,} that it needs{lessons}"
    )


def columns_of(summary: Summary, columns: Sequence[_Column]) -> list[_Column]:
    """The columns that some agent has a value for."""
    agents = summary["agents"].values()
    return [column for column in columns if any(_known(agent.get(column.metric)) for agent in agents)]


def _headings(columns: Sequence[_Column]) -> list[str]:
    return [column.heading for column in columns]


def _known(value: Interval | None) -> bool:
    return value is not None and value["mean"] is not None


def _cells(summary: Summary, columns: Sequence[_Column]) -> list[list[str]]:
    return [
        [
            said_of(agent, summary.get("untrained", {})),
            *(result(summary["agents"][agent].get(column.metric), column) for column in columns),
        ]
        for agent in by_reward(summary)
    ]


def result(value: Interval | None, column: _Column) -> str:
    if value is None or value["mean"] is None:
        return "n/a"
    return estimate_text(value, column.decimals) if column.interval else f"{value['mean']:.{column.decimals}f}"


def _ratio_cells(summary: Summary, reference: str, metric: str) -> list[list[str]]:
    if metric not in DIFFERENCE_METRICS:
        raise RunError(f"no ratios of {metric!r}, there are {', '.join(DIFFERENCE_METRICS)}")
    found = ratios(summary, reference, metric)
    order = sorted(found, key=lambda agent: number(found[agent]["mean"], np.inf))
    short = summary.get("untrained", {})
    return [[said_of(one, short), result(found[one], _Column("", metric, 3)), bracket(found[one], 3)] for one in order]


def rich_table(title: str, first: str, headings: Sequence[str], cells: list[list[str]], caption: str | None) -> Table:
    """A table for :func:`show`: names in the first column, numbers right of it."""
    made = Table(
        title=title or None, caption=caption, caption_justify="left", box=None, pad_edge=False, collapse_padding=True
    )
    made.add_column(first, no_wrap=True)
    for place, heading in enumerate(headings):
        wraps = any(" " in row[place + 1] for row in cells)  # an interval may go on below; a number is never broken
        made.add_column(heading, justify="right", no_wrap=not wraps, overflow="fold")
    for row in cells:
        made.add_row(*(one_line(cell).replace("[", r"\[") for cell in row))
    return made


def markdown_table(first: str, headings: Sequence[str], cells: list[list[str]]) -> list[str]:
    """Lines of a Markdown table: names in the first column, numbers right of it."""
    head = [f"| {first} | {' | '.join(headings)} |", f"|---|{'---:|' * len(headings)}"]
    return head + [f"| {' | '.join(one_line(cell).replace('|', '&#124;') for cell in row)} |" for row in cells]
