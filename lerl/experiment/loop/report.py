"""The report of a loop: tables for a terminal, every figure of every period, all for programs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
from rich.console import Group

from lerl.envs.files import write_whole
from lerl.experiment.loop.cast import Cast
from lerl.experiment.loop.measure import METRICS, Measured
from lerl.experiment.loop.settings import FLOORS, FROZEN, OPEN, Request
from lerl.report.intervals import Interval, bracket, estimate_text, interval_note
from lerl.report.tables import notes_below, rich_table
from lerl.run.evaluate import write_table

SUMMARY, PERIODS, PAGE, PICTURE = "summary.json", "periods.parquet", "loop.html", "loop"
FILES = (SUMMARY, PERIODS, PAGE, f"{PICTURE}.png", f"{PICTURE}.svg")


class Figure(NamedTuple):
    """How a figure is printed: its heading, decimals, and what it means."""

    heading: str
    decimals: int
    meaning: str


FIGURES = {
    "R_session": Figure("R a session", 2, "sum of rewards over a session"),
    "R_period": Figure("R", 1, "the same over all sessions of a period, of everybody who has begun"),
    "satisfaction": Figure("satisfaction", 3, "at the end of sessions"),
    "feedback": Figure("feedback", 3, "mean reward of a step"),
    "active": Figure("active", 3, "share of people with a session in the period, of those who have begun"),
    "active_days": Figure("active days", 2, "days with a session in the period"),
    "churned": Figure("churned", 3, "share of people lost for good, of those who have begun"),
    "known": Figure("known", 3, "correlation of the click chances that knowledge predicts with the true ones"),
    "gini": Figure("Gini", 3, "of the exposure of all items there"),
    "coverage": Figure("coverage", 3, "share of the items there that somebody was shown"),
    "top_tenth": Figure("top 10 %", 3, "share of exposure of the tenth of items that is shown most"),
    "later_items": Figure("later items", 3, "share of exposure of items that came after the first period"),
    "jaccard": Figure("Jaccard", 3, "of the first 20 different items of two people, mean over all pairs"),
}
QUALITY = ("R_session", "R_period", "satisfaction", "active_days", "churned", "known")
EXPOSURE = ("gini", "top_tenth", "coverage", "later_items", "jaccard")
CHANGES = ("R_session", "active_days", "gini", "jaccard", "known")
WIDE = ("R_session", "gini", "jaccard")
"""Figures with their interval in the tables of the last period."""


def about(asked: Request, cast: Cast) -> dict[str, Any]:
    """What a summary says of the request."""
    length = asked.loop.retrain
    return {
        "settings": asdict(asked.loop),
        "recipe_agents": [row.label for row in asked.rows],
        "periods": [[number * length, (number + 1) * length] for number in range(asked.loop.periods)],
        "items": int(cast.there[0].sum()),
        "later_share": float(cast.later[cast.there[-1]].mean()),
        "first_day": int((cast.arrivals == 0).sum()),
        "seed_of": list(asked.seeds),
    }


def table(summary: Mapping[str, Any]) -> Group:
    """The last period, what changed since the first, and what the loop itself does, for a terminal."""
    parts: list[Any] = []
    for title, headings, cells in tables(summary):
        parts += [rich_table(title, headings[0], headings[1:], cells, None), ""]
    return Group(*parts, notes_below(notes(summary)))


def notes(summary: Mapping[str, Any]) -> list[str]:
    """Sentences below the tables: who and what is there, what intervals are, and what headings mean."""
    first, last = summary["periods"][0], summary["periods"][-1]
    return [
        f"{summary['users']:,} people, {summary['first_day']:,} from the first day; {summary['items']:,} items at a "
        f"time, {100 * summary['later_share']:.0f} % of them new since the first period at last. The first period is "
        f"days {first[0]} to {first[1]}, the last days {last[0]} to {last[1]}.",
        interval_note(summary["seeds"]),
        "; ".join(f"{one.heading}: {one.meaning}" for one in FIGURES.values()) + ".",
    ]


def tables(summary: Mapping[str, Any]) -> list[tuple[str, list[str], list[list[str]]]]:
    """Title, headings and rows of each table."""
    agents, last = summary["agents"], summary["periods"][-1]
    order = by_reward(summary)
    days = f"days {last[0]} to {last[1]}"

    def now(agent: str, figure: str) -> str:
        value: Interval = agents[agent][figure]["periods"][-1]
        if figure in WIDE:
            return estimate_text(value, FIGURES[figure].decimals)
        return "n/a" if value["mean"] is None else f"{value['mean']:.{FIGURES[figure].decimals}f}"

    def headed(figures: Sequence[str]) -> list[str]:
        return ["agent", *(FIGURES[figure].heading for figure in figures)]

    exposure = [name for name in EXPOSURE if agents[order[0]][name]["periods"][-1]["mean"] is not None]
    found = [
        (f"What people get, {days}", headed(QUALITY), [[a, *(now(a, one) for one in QUALITY)] for a in order]),
        (
            f"What is shown, {days}",
            [*headed(exposure), f"/ {FLOORS[0]}"],
            [[a, *(now(a, one) for one in exposure), _ratio(agents[a]["jaccard"]["beside_random"])] for a in order],
        ),
        (
            "Change since the first period",
            headed(CHANGES),
            [
                [a, *(estimate_text(agents[a][one]["change"], FIGURES[one].decimals, "+") for one in CHANGES)]
                for a in order
            ],
        ),
    ]
    for mark, meaning in ((OPEN, "refitted on the log of random"), (FROZEN, "never refitted")):
        pairs = [one for one in summary["loop"] if one["b"].endswith(mark) and one["metric"] in CHANGES]
        names = list(dict.fromkeys(one["a"] for one in pairs))
        values = {(one["a"], one["metric"]): one for one in pairs}
        cells = [[a, *(estimate_text(values[a, one], FIGURES[one].decimals, "+") for one in CHANGES)] for a in names]
        if cells:
            found.append((f"Agent - the same agent {meaning}, {days}", headed(CHANGES), cells))
    return found


def by_reward(summary: Mapping[str, Any]) -> list[str]:
    """The agents, highest reward of a session in the last period first."""
    agents = summary["agents"]
    return sorted(agents, key=lambda agent: -(agents[agent]["R_session"]["periods"][-1]["mean"] or 0.0))


def _ratio(pair: Mapping[str, Any]) -> str:
    if pair["ratio"] is None:
        return "n/a"
    return f"{pair['ratio']:.1f} {bracket({'mean': None, 'low': pair['ratio_low'], 'high': pair['ratio_high']}, 1)}"


def write(
    summary: Mapping[str, Any], measured: Mapping[str, Sequence[Sequence[Measured]]], asked: Request, out: Path
) -> None:
    """Write periods.parquet and, last, summary.json.

    Args:
        summary: all figures. measured: see `lerl.experiment.loop.judge.judge`. asked: the request. out: the folder.
    """
    rows = [
        {"agent": agent, "period": number + 1, "from_day": begin, "to_day": end, "metric": figure}
        | summary["agents"][agent][figure]["periods"][number]
        for agent in measured
        for number, (begin, end) in enumerate(summary["periods"])
        for figure in METRICS
    ]
    kinds = {"mean": pl.Float64, "low": pl.Float64, "high": pl.Float64}
    write_table(pl.DataFrame(rows, schema_overrides=kinds, infer_schema_length=None), out / PERIODS)
    write_whole(out / SUMMARY, json.dumps(summary, indent=1) + "\n")
