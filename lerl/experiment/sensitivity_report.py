"""The report of a sensitivity analysis: table, sentences and picture."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table

from lerl.envs.files import write_whole
from lerl.envs.fitting.dynamics import PARAMETERS
from lerl.experiment.sensitivity import (
    AS_JUDGED,
    CENTRE,
    HOLDS,
    OPEN,
    TOPICS,
    TURNS,
    Sensitivity,
    World,
    WorldRanking,
)
from lerl.report.intervals import Interval, estimate_text, interval_note
from lerl.report.palette import BLACK, BLUE, GREY, ORANGE
from lerl.report.tables import rich_table

REPORT, PICTURE = "sensitivity.json", "sensitivity"


def write(found: Sensitivity, folder: Path) -> None:
    """Write what was found, as JSON and as a picture, under `REPORT` and `PICTURE`."""
    write_whole(folder / REPORT, as_json(found) + "\n")
    draw(found, folder)


def as_json(found: Sensitivity) -> str:
    """All of it, for programs, with the number of worlds in which the ranking holds, is open and turns."""
    counts = {ranking: found.count(ranking) for ranking in (HOLDS, OPEN, TURNS)}
    return json.dumps(counts | asdict(found), indent=1, ensure_ascii=False, allow_nan=False)


def table(found: Sensitivity) -> Table:
    """One line for each world, for `lerl.report.tables.show`."""
    headings = ["value", "first", f"{found.reference} / best other", "best other", "tau", "ranking", "what changes"]
    cells = [
        [
            f"{ranked.world.topics}: {ranked.world.parameter} {ranked.world.end}".rstrip(),
            _value(ranked.world),
            ranked.order[0],
            _ratio(ranked.ratio),
            ranked.best_other,
            "n/a" if ranked.tau is None else f"{ranked.tau:.2f}",
            "" if ranked is found.judged else ranked.ranking,
            _changed(ranked),
        ]
        for ranked in (found.judged, *found.worlds)
    ]
    return rich_table("", "topics: parameter", headings, cells, "\n".join(_explained(found)))


def _value(world: World) -> str:
    return "" if world.value is None else f"{world.value:.4f}{'' if world.identifiable else ' *'}"


def _ratio(ratio: Interval) -> str:
    return estimate_text(ratio, 3)


def _changed(ranked: WorldRanking) -> str:
    """The first pair of agents that turns, else that is open, and how many more there are."""
    pairs = ranked.turned or ranked.opened
    if not pairs:
        return ""
    better, worse = pairs[0]
    said = f"{worse} over {better}" if ranked.turned else f"{better}, {worse} not distinguished"
    return said + (f", {len(pairs) - 1} more" if len(pairs) > 1 else "")


def _sample(found: Sensitivity) -> str:
    seeds = f"{len(found.seeds)} seeds" if len(found.seeds) > 1 else "one seed"
    return f"{found.users:,} evaluation users, {seeds}"


def _explained(found: Sensitivity) -> list[str]:
    return [
        f"{_sample(found)}. {interval_note(len(found.seeds))}",
        "R_cum: sum of rewards over a session.",
        "The agents are the trained ones of the runs; none is trained again for these users.",
        "Best other: the best agent except the reference. tau: Kendall's tau with the agents' means in the runs.",
        "Values are in units of one item shown; *: not identifiable, all values that the log does not exclude.",
        f"{HOLDS}: agents that differ as judged (95 % interval) differ the same way; {OPEN}: some do not differ; "
        f"{TURNS}: some differ the other way round.",
        *found.notes,
    ]


def verdict_lines(found: Sensitivity) -> list[str]:
    """The verdict in words."""
    if not found.told_apart:
        return ["As judged no two agents differ: there is no ranking that could hold. Give more users or seeds."]
    number = len(found.worlds)
    said = [
        f"The ranking as judged holds in {found.count(HOLDS)} of {number} worlds, is open in {found.count(OPEN)} and "
        f"turns in {found.count(TURNS)}."
    ]
    for topics in TOPICS:
        mine = [ranked for ranked in found.worlds if ranked.world.topics == topics]
        said += _said_of(topics, mine)
    return said


def _said_of(topics: str, mine: Sequence[WorldRanking]) -> list[str]:
    """What turns or opens the ranking on one axis of topics."""
    centre = next((ranked for ranked in mine if ranked.world.parameter == CENTRE), None)
    rankings = {ranked.ranking for ranked in mine}
    if len(rankings) == 1 and (centre is not None or HOLDS in rankings):
        return [f"topics {topics}: it {_is(mine[0].ranking)} everywhere"]
    said = []
    if centre is not None and centre.ranking != HOLDS:
        said.append(f"topics {topics}: with the fitted users themselves it {_is(centre.ranking)} ({_changed(centre)})")
    for ranking in (TURNS, OPEN):
        ends: dict[str, list[str]] = {}
        for ranked in mine:
            if ranked.ranking == ranking and ranked is not centre:
                ends.setdefault(ranked.world.parameter, []).append(ranked.world.end)
        if ends:
            names = ", ".join(f"{name} ({' and '.join(which)})" for name, which in ends.items())
            said.append(f"topics {topics}: it {_is(ranking)} at {names}")
    return said


def _is(ranking: str) -> str:
    return "is open" if ranking == OPEN else ranking


COLOURS = {HOLDS: BLUE, OPEN: GREY, TURNS: ORANGE}


_MARKS = {"": "o", "low": "<", "high": ">"}


def draw(found: Sensitivity, folder: Path) -> list[Path]:
    """Draw the ratio in every world with its interval into a folder, as PNG and SVG, and say which were written."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    from lerl.report.style import STYLE, ratio_scale, save

    there = {ranked.world.parameter for ranked in (found.judged, *found.worlds)}
    names = [name for name in (AS_JUDGED, CENTRE, *(p.name for p in PARAMETERS)) if name in there]
    every = [ranked.ratio for ranked in (found.judged, *found.worlds)]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 0.3 * len(names) + 1.3), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(1, 2, sharey=True)
        for panel, topics in zip(panels, TOPICS, strict=True):
            panel.axvline(1.0, color=BLACK, lw=0.8)
            for ranked in (found.judged, *found.worlds):
                if ranked.world.topics == topics:
                    _mark(panel, names.index(ranked.world.parameter), ranked)
            ratio_scale(panel, every)
            panel.set_title(f"topics {topics}", loc="left")
            panel.set_xlabel(f"R_cum of {found.reference} / best other")
            panel.tick_params(axis="y", length=0)
            panel.spines["left"].set_visible(False)
        panels[0].set_yticks(range(len(names)), names)
        panels[0].set_ylim(len(names) - 0.4, -0.6)
        shapes = {"lower end": "<", "upper end": ">", "neither": "o"}
        legend = [
            Line2D([], [], color=colour, marker="s", ms=4, label=f"ranking {name}") for name, colour in COLOURS.items()
        ]
        legend += [Line2D([], [], color=BLACK, marker=mark, ms=4, lw=0, label=name) for name, mark in shapes.items()]
        figure.legend(handles=legend, loc="outside lower center", ncols=6, frameon=False, fontsize=6.5)
        figure.suptitle(f"{_sample(found)}; 95 % intervals; agents as trained", fontsize=7.5, x=0.01, ha="left")
        return save(figure, folder / PICTURE)


def _mark(panel: Any, place: int, ranked: WorldRanking) -> None:
    ratio, colour = ranked.ratio, COLOURS[ranked.ranking]
    if ratio["mean"] is None:
        return
    height = place + {"": 0.0, "low": -0.16, "high": 0.16}[ranked.world.end]
    if ratio["low"] is not None and ratio["high"] is not None:
        panel.plot([ratio["low"], ratio["high"]], [height, height], color=colour, lw=1.4, solid_capstyle="butt")
    panel.plot([ratio["mean"]], [height], _MARKS[ranked.world.end], color=colour, ms=4)
