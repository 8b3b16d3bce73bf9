"""Tables of several groups of runs, for the screen and in Markdown: what differs, all agents, paired differences."""

from __future__ import annotations

from typing import Any, NamedTuple

from rich.console import Group, RenderableType
from rich.table import Table

from lerl.report.groups import Comparison
from lerl.report.intervals import Interval, estimate_text, interval_note, number
from lerl.report.load import NOT_SET
from lerl.report.tables import (
    RESULTS,
    columns_of,
    explained,
    footnotes,
    markdown_table,
    notes_below,
    result,
    rich_table,
    said_of,
)

LONGEST_VALUE = 60  # characters of a setting's value


class _Part(NamedTuple):
    """A table with a title and sentences below it."""

    title: str
    first: str
    headings: list[str]
    cells: list[list[str]]
    below: list[str]


def table(found: Comparison) -> Group:
    """The comparison for a terminal; `lerl.report.tables.show` prints it whole."""
    blocks: list[RenderableType] = []
    for part in _parts(found):
        if part.cells:
            made = rich_table(part.title, part.first, part.headings, part.cells, None)
            made.title_justify = "left"
            _left(made, "group")
            blocks.append(made)
        blocks += [notes_below(part.below), ""]
    return Group(*blocks[:-1])


def _left(made: Table, heading: str) -> None:
    for column in made.columns:
        if column.header == heading:
            column.justify = "left"


def markdown(found: Comparison) -> str:
    """The same as Markdown."""
    lines: list[str] = []
    for part in _parts(found):
        if part.cells:
            lines += [f"**{part.title}**", "", *markdown_table(part.first, part.headings, part.cells), ""]
        lines += [line for said in part.below for line in (said, "")]
    return "\n".join(lines).rstrip("\n") + "\n"


def _parts(found: Comparison) -> list[_Part]:
    return [_settings(found), _results(found), _differences(found)]


def _settings(found: Comparison) -> _Part:
    """What differs between the groups, and a warning where that is the users themselves."""
    cells = [[key, *map(_said, values.values())] for key, values in found["settings"].items()]
    below = [] if cells else ["The groups differ in no setting."]
    if world := found["world"]:
        below.append(
            f"{', '.join(world)} {'changes' if len(world) == 1 else 'change'} the users: a ratio between such groups "
            "compares worlds, not agents."
        )
    return _Part("Settings that differ", "key", list(found["groups"]), cells, below)


def _said(value: Any) -> str:
    """A setting's value as YAML has it, shortened."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    text = f"[{', '.join(map(str, value))}]" if isinstance(value, list) else str(value)
    return text if text == NOT_SET or len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}..."


def _results(found: Comparison) -> _Part:
    """How good every agent of every group is, the best agent first."""
    groups = found["groups"]
    there = [columns_of(summary, RESULTS) for summary in groups.values()]
    columns = [column for column in RESULTS if any(column in own for own in there)]
    cells = [
        [
            said_of(agent, summary.get("untrained", {})),
            name,
            *(result(summary["agents"][agent].get(column.metric), column) for column in columns),
        ]
        for agent in _by_reward(found)
        for name, summary in groups.items()
        if agent in summary["agents"]
    ]
    headings = [column.heading for column in columns]
    below = [f"{explained(headings)}.", interval_note(found["seeds"])]
    below += _footnotes(found)
    return _Part("All agents", "agent", ["group", *headings], cells, below)


def _footnotes(found: Comparison) -> list[str]:
    """What else to know of agents: once where it is true of all groups, or with the group's name."""
    notes = {name: footnotes(summary) for name, summary in found["groups"].items()}
    all_have = [note for note in notes[found["reference"]] if all(note in own for own in notes.values())]
    return [*all_have, *(f"{name}: {note}" for name, own in notes.items() for note in own if note not in all_have)]


def _by_reward(found: Comparison) -> list[str]:
    """The agents of all groups, by the highest R_cum that they have in one."""
    best: dict[str, float] = {}
    for summary in found["groups"].values():
        for agent, metrics in summary["agents"].items():
            best[agent] = max(best.get(agent, -float("inf")), number(metrics["R_cum"]["mean"], -float("inf")))
    return sorted(best, key=lambda agent: -best[agent])


def _differences(found: Comparison) -> _Part:
    """R_cum of every agent in a group against the same agent in the reference."""
    base, order = found["reference"], _by_reward(found)
    entries = [entry for entry in found["differences"] if entry["metric"] == "R_cum"]
    entries.sort(key=lambda entry: order.index(entry["agent"]))  # groups of an agent stay in their order
    cells = [
        [
            entry["agent"],
            entry["group"],
            estimate_text(Interval(mean=entry["mean"], low=entry["low"], high=entry["high"]), 2, "+"),
            estimate_text(Interval(mean=entry["ratio"], low=entry["ratio_low"], high=entry["ratio_high"]), 3),
        ]
        for entry in entries
    ]
    below = [_said_of_seeds(found)] if cells else [f"No agent of {base} is in another group."]
    return _Part(f"R_cum against {base}", "agent", ["group", f"minus {base}", f"divided by {base}"], cells, below)


def _said_of_seeds(found: Comparison) -> str:
    seeds = f"{found['seeds']} seeds" if found["seeds"] > 1 else "seed"
    return f"Paired: the same {found['users']} users and the same {seeds} in every group."
