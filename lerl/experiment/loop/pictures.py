"""Pictures of a loop: how its figures move over the days, each agent beside its controls and beside random."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lerl.experiment.loop.report import FIGURES, PICTURE, by_reward
from lerl.experiment.loop.settings import FLOORS, FROZEN, OPEN
from lerl.report.intervals import Interval, interval_note
from lerl.report.palette import BLACK, BLUE, GREY, INK, ORANGE

DRAWN = ("R_session", "active_days", "gini", "jaccard", "known")
"""Figures that are drawn."""


class Beside(NamedTuple):
    """A curve in the panel of an agent: what it is called there, of which row it is, its colour and its dashes."""

    name: str
    row: str
    colour: str
    dashes: str


def closed(summary: Mapping[str, Any]) -> list[str]:
    """The agents that are refitted on their own log, best first; random, which is beside them, is none."""
    return [agent for agent in by_reward(summary) if not agent.endswith((FROZEN, OPEN)) and agent != FLOORS[0]]


def beside(summary: Mapping[str, Any], agent: str) -> list[Beside]:
    """The curves in the panels of an agent, those that lie above others last."""
    rows = [
        Beside("random", FLOORS[0], GREY, "-"),
        Beside("never refitted", f"{agent}{FROZEN}", BLACK, ":"),
        Beside("refitted on the log of random", f"{agent}{OPEN}", BLUE, "--"),
        Beside("refitted on its own log", agent, ORANGE, "-"),
    ]
    return [one for one in rows if one.row in summary["agents"]]


def curve_of(summary: Mapping[str, Any], row: str, figure: str) -> tuple[list[float], list[Interval]]:
    """Days in the middle of periods in which there is a value, and the values."""
    values: Sequence[Interval] = summary["agents"][row][figure]["periods"]
    there = [place for place, value in enumerate(values) if value["mean"] is not None]
    return [sum(summary["periods"][place]) / 2 for place in there], [values[place] for place in there]


def draw(summary: Mapping[str, Any], out: Path) -> list[Path]:
    """Write loop.png and loop.svg: a row of panels for each agent, a column for each figure; the files written."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.ticker import MaxNLocator

    from lerl.report.style import STYLE, save

    agents = closed(summary)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(1.75 * len(DRAWN) + 0.3, 1.35 * len(agents) + 0.8), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(len(agents), len(DRAWN), squeeze=False, sharex=True, sharey="col")
        for agent, row in zip(agents, panels, strict=True):
            for name, axes in zip(DRAWN, row, strict=True):
                for one in beside(summary, agent):
                    _line(axes, *curve_of(summary, one.row, name), one)
                axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
                axes.yaxis.set_major_locator(MaxNLocator(4))
            row[0].set_ylabel(agent, fontsize=7.0)
        for name, axes in zip(DRAWN, panels[0], strict=True):
            axes.set_title(FIGURES[name].heading, loc="left", color=INK)
        for axes in panels[-1]:
            axes.set_xlabel("day", fontsize=7.0)
        kinds = {one.name: one for agent in agents for one in beside(summary, agent)}
        marks = [Line2D([], [], color=one.colour, ls=one.dashes, lw=1.3, label=name) for name, one in kinds.items()]
        figure.legend(handles=marks[::-1], loc="outside lower center", ncols=4, frameon=False, fontsize=6.5)
        return save(figure, out / PICTURE)


def _line(axes: Any, days: list[float], values: list[Interval], one: Beside) -> None:
    mean, low, high = (
        np.array([np.nan if value[end] is None else value[end] for value in values]) for end in ("mean", "low", "high")
    )
    axes.fill_between(days, low, high, color=one.colour, alpha=0.18, lw=0)
    axes.plot(days, mean, color=one.colour, ls=one.dashes, lw=1.2)


def caption(summary: Mapping[str, Any]) -> str:
    """What the picture shows, in words."""
    length = summary["settings"]["retrain"]
    return (
        f"Each point is a period of {length} days; before each but the first agents are refitted. "
        f"{interval_note(summary['seeds']).replace(' in brackets', ' are bands')}"
    )
