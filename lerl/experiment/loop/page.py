"""The page of a loop, from summary.json: tables, and how figures move over the days."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lerl.envs.files import write_whole
from lerl.experiment.loop.pictures import DRAWN, beside, caption, closed, curve_of
from lerl.experiment.loop.report import FIGURES, PAGE, SUMMARY, notes, tables
from lerl.experiment.loop.request import ABOUT
from lerl.files import RunError, reading
from lerl.report.curves import Curve
from lerl.report.page import charts
from lerl.report.page.build import render
from lerl.report.palette import BLACK, BLUE, GREY, ORANGE

STYLES = {ORANGE: "reference", BLUE: "learned", BLACK: "ceiling", GREY: "simple"}
HOW = "write it again with the same lerl loop command"


def is_loop(folder: Path) -> bool:
    """Whether a folder is what lerl loop wrote, with its summary."""
    return (folder / ABOUT).is_file() and (folder / SUMMARY).is_file()


def report_loop(folder: Path, out: Path | None = None) -> Path:
    """Write the page of a loop whose summary.json is there; its path, `folder`/loop.html unless given.

    Raises:
        RunError: summary.json is damaged.
    """
    path = folder / SUMMARY
    with reading(path, HOW):
        summary: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if not summary["agents"]:
            raise RunError(f"{path} holds no agent; {HOW}")
        page = render(
            "loop.html",
            title=folder.resolve().name,
            tables=[{"title": title, "headings": headings, "rows": rows} for title, headings, rows in tables(summary)],
            notes=notes(summary),
            caption=caption(summary),
            agents=[{"name": agent, "panels": _panels(summary, agent)} for agent in closed(summary)],
            key=[{"name": one.name, "style": STYLES[one.colour]} for one in beside(summary, _most(summary))[::-1]],
        )
    written = folder / PAGE if out is None else out
    write_whole(written, page)
    return written


def _most(summary: Mapping[str, Any]) -> str:
    """An agent with as many curves beside it as any."""
    return max(closed(summary), key=lambda agent: len(beside(summary, agent)))


def _panels(summary: Mapping[str, Any], agent: str) -> list[dict[str, Any]]:
    found = []
    x = charts.count_axis(summary["periods"][-1][1])
    for name in DRAWN:
        layers, said, seen = [], [], list[float]()
        for one in beside(summary, agent):
            days, values = curve_of(summary, one.row, name)
            mean = np.array([value["mean"] for value in values])
            ends = [(value["low"], value["high"]) for value in values]
            half = np.array([0.0 if low is None or high is None else (high - low) / 2 for low, high in ends])
            layers.append(charts.Layer(Curve(np.array(days), mean, half), STYLES[one.colour]))
            seen += [end for value in values for end in (value["mean"], value["low"], value["high"]) if end is not None]
            if len(mean):
                said.append(f"{one.name} from {mean[0]:.3g} to {mean[-1]:.3g}")
        label = f"{FIGURES[name].heading} of {agent} by day: {'; '.join(said)}"
        chart = charts.panel(layers, x, charts.nice_axis(seen), label)
        found.append({"heading": FIGURES[name].heading, "meaning": FIGURES[name].meaning, "chart": chart})
    return found
