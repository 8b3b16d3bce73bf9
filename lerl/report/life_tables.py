"""Tables of lives, for the screen and in Markdown: agents by active days, and what a session tells of coming back."""

from __future__ import annotations

from typing import Any, NamedTuple

from rich.console import Group, RenderableType

from lerl.files import RunError
from lerl.report.bootstrap import Summary
from lerl.report.intervals import Interval, bracket, estimate_text, interval_note, number
from lerl.report.life_summary import LIFE_DIFFERENCES, LifeSummary, by_days, life_ratios
from lerl.report.lives import RETENTION, RETURN
from lerl.report.tables import difference_table, markdown_table, notes_below, rich_table, said_of, show, table


class _Column(NamedTuple):
    heading: str
    metric: str
    decimals: int
    interval: bool = False


FITTED = (
    " When people come back was fitted to the log, in which those who never do count as long gaps; how memory, "
    "boredom, fatigue, mood and tastes change between sessions is assumed."
)

_COLUMNS = (
    _Column("active days", "active_days", 2, interval=True),
    *(_Column(f"day {day}", f"retention_{day}", 2) for day in RETENTION),
    _Column("R_life", "R_life", 1, interval=True),
    _Column("churned", "churned", 2),
    _Column("gap", "mean_gap", 2),
    _Column("sessions", "sessions", 1),
)


def show_results(summary: Summary, reference: str | None = None) -> None:
    """Print the tables of a summary: of sessions, and of lives where people come back; with a reference also ratios.

    Raises:
        RunError: there is no agent `reference`.
    """
    show(table(summary))
    if reference is not None:
        show(difference_table(summary, reference))
    if (lives := life_table(summary, reference)) is not None:
        show(lives)


def life_table(summary: Summary, reference: str | None = None) -> Group | None:
    """The lives for a terminal, most active days first; None where people do not come back.

    ``reference`` adds its active days divided by those of each other agent, paired.
    """
    if "lives" not in summary:
        return None
    lives = summary["lives"]
    columns = _columns(lives)
    blocks: list[RenderableType] = [
        "",
        rich_table(_title(lives), "agent", [one.heading for one in columns], _cells(summary, columns), None),
        notes_below(_notes(lives, summary["seeds"])),
    ]
    if reference is not None:
        title = f"active_days of {reference} / active_days of agent"
        blocks += ["", rich_table(title, "agent", _RATIO, _ratio_cells(summary, reference), None)]
    return Group(*blocks)


def surrogate_table(summary: Summary) -> Group:
    """What a metric of a session tells of coming back, for a terminal.

    Raises:
        RunError: people do not come back in these runs.
    """
    lives = summary.get("lives")
    if lives is None:
        raise RunError("these runs have no lives to predict; train with --env.horizon days, see lerl train --help-all")
    made = rich_table("What a session tells of coming back", "metric", _TOLD, _surrogate_cells(lives), None)
    return Group(made, notes_below(_surrogate_notes(summary)))


def life_markdown(summary: Summary, reference: str | None = None) -> str:
    """The same tables as Markdown, to go below that of sessions; empty where people do not come back."""
    if "lives" not in summary:
        return ""
    lives = summary["lives"]
    columns = _columns(lives)
    lines = ["", f"## {_title(lives)}", ""]
    lines += markdown_table("agent", [one.heading for one in columns], _cells(summary, columns))
    lines += ["", " ".join(_notes(lives, summary["seeds"]))]
    if reference is not None:
        headings = [f"active_days of {reference} / active_days of agent", _RATIO[1]]
        lines += ["", *markdown_table("agent", headings, _ratio_cells(summary, reference))]
    lines += ["", "## What a session tells of coming back", ""]
    lines += markdown_table("metric", [heading.replace("\n", " ") for heading in _TOLD], _surrogate_cells(lives))
    lines += ["", " ".join(_surrogate_notes(summary))]
    return "\n".join(lines) + "\n"


def page_of_lives(summary: Summary) -> dict[str, Any]:
    """The same tables for the report page; empty where people do not come back."""
    if "lives" not in summary:
        return {}
    lives = summary["lives"]
    columns = _columns(lives)
    agents = {
        "label": "Table of lives",
        "first": "agent",
        "headings": [one.heading for one in columns],
        "cells": _cells(summary, columns),
        "notes": " ".join(_notes(lives, summary["seeds"])),
    }
    told = {
        "label": "Table of what a session tells",
        "first": "metric of a session",
        "headings": _TOLD,
        "cells": _surrogate_cells(lives),
        "notes": " ".join(_surrogate_notes(summary)),
    }
    return {"title": _title(lives), "tables": [agents, told]}


_RATIO = ["ratio", "95 % interval"]
_TOLD = ["within people", "between people", "agents: active days", "agents: day 7"]


def _title(lives: LifeSummary) -> str:
    return f"Lives of {lives['days']:g} days"


def _columns(lives: LifeSummary) -> list[_Column]:
    """The columns that some agent has a value for."""
    agents = lives["agents"].values()
    return [one for one in _COLUMNS if any(agent[one.metric]["mean"] is not None for agent in agents)]


def _cells(summary: Summary, columns: list[_Column]) -> list[list[str]]:
    lives = summary["lives"]
    return [
        [
            said_of(agent, summary.get("untrained", {})),
            *(_cell(lives["agents"][agent][one.metric], one) for one in columns),
        ]
        for agent in by_days(lives)
    ]


def _cell(value: Interval, column: _Column) -> str:
    if value["mean"] is None:
        return "n/a"
    return estimate_text(value, column.decimals) if column.interval else f"{value['mean']:.{column.decimals}f}"


def _notes(lives: LifeSummary, seeds: int) -> list[str]:
    later = [day for day in RETENTION if day >= lives["days"]]
    apart = ", those ending in @return by lives" if any("@return" in agent for agent in lives["agents"]) else ""
    unseen = f" Day {' and '.join(map(str, later))} cannot be seen in {lives['days']:g} days" if later else ""
    unseen += f"; for it give --env.days {later[-1] + 1} or more." if later else ""
    return [
        "active days: days with a session; day N: share that came on day N or later; R_life: sum of rewards over a "
        f"life; churned: share lost for good; gap: mean days between sessions.{unseen} "
        f"Agents are fitted by sessions{apart}.{FITTED if lives['gaps'] == 'fitted' else ''}",
        interval_note(seeds),
    ]


def _ratio_cells(summary: Summary, reference: str, metric: str = LIFE_DIFFERENCES[0]) -> list[list[str]]:
    found = life_ratios(summary["lives"], reference, metric)
    order = sorted(found, key=lambda agent: number(found[agent]["mean"], float("inf")))
    short = summary.get("untrained", {})
    ratio = _Column("", metric, 3)
    return [[said_of(one, short), _cell(found[one], ratio), bracket(found[one], 3)] for one in order]


def _surrogate_cells(lives: LifeSummary) -> list[list[str]]:
    return [
        [
            one["metric"],
            *(estimate_text(value, 2, "+") for value in (one["within"], one["between"], *one["agents"].values())),
        ]
        for one in lives["surrogates"]
    ]


def _surrogate_notes(summary: Summary) -> list[str]:
    return [
        f"Rank correlations (Spearman), from -1 to 1. Within people: of a session with coming back within {RETURN:g} "
        "days, about the mean of the life. Between people: of their means, with one agent. Agents: of "
        f"{len(summary['lives']['agents'])} agents' means, which are few. Correlations, not effects: whoever is "
        "content for another reason has better sessions and comes back.",
        interval_note(summary["seeds"]),
    ]
