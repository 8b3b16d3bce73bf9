"""What pictures with one strip per agent have in common: their page, curves with bands, areas, and numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from lerl.report.curves import Curve
from lerl.report.intervals import Interval
from lerl.report.load import Results
from lerl.report.look import Look
from lerl.report.strips import Page, Scale, level

Floats = NDArray[np.float64]


def page_of(look: Look, title: str, caption: str, agents: Sequence[str], height: float) -> Page:
    names, colours = [look.names[agent] for agent in agents], [look.colours[agent] for agent in agents]
    return Page(title, f"{caption} {look.key(set(colours))}", names, colours, height)


def line(axes: Axes, strip: int, curve: Curve, scale: Scale, colour: str) -> None:
    """A curve and its interval's band."""
    low, high = (level(strip, curve.mean + sign * curve.half, scale) for sign in (-1, 1))
    axes.fill_between(curve.steps, low, high, color=colour, alpha=0.2, lw=0)
    axes.plot(curve.steps, level(strip, curve.mean, scale), color=colour, lw=1.2)


def filled(axes: Axes, strip: int, steps: NDArray[np.int64], values: Floats, scale: Scale, colour: str) -> Floats:
    """An area up to values, whose heights (n,) it gives back."""
    heights = level(strip, values, scale)
    axes.fill_between(steps, heights, float(level(strip, scale[0], scale)), color=colour, alpha=0.3, lw=0)
    axes.plot(steps, heights, color=colour, lw=0.9)
    return heights


def number_text(value: Interval, digits: int) -> str:
    mean, low, high = (f"{part:.{digits}f}" for part in parts_of(value))
    return mean if value["low"] is None or value["high"] is None else f"{mean} [{low}, {high}]"


def parts_of(value: Interval) -> tuple[float, float, float]:
    """Mean and ends, not a number where not defined."""
    mean, low, high = (math.nan if part is None else part for part in (value["mean"], value["low"], value["high"]))
    return mean, low, high


def brackets(results: Results) -> str:
    users, seeds = results.episodes["user"].n_unique(), len(results.seeds)
    over = f"{users} users and {seeds} seeds" if seeds > 1 else f"{users} users (one seed)"
    return f"[95 % interval over {over}]"
