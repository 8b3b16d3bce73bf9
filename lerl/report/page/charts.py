"""Charts of the report page as SVG: sizes in CSS pixels, colours by the classes of page.css, so that dark pages work.

Every chart says in words what it shows (`aria-label`), for those who do not see it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from markupsafe import Markup, escape

from lerl.envs.text import visible
from lerl.report.curves import Curve, Floats
from lerl.report.intervals import Interval
from lerl.report.palette import BLACK, BLUE, GREY, ORANGE

CLASSES = {ORANGE: "reference", BLUE: "learned", GREY: "simple", BLACK: "ceiling"}
"""The class of a colour of `lerl.report.palette`."""

Scale = tuple[float, float]

_PANEL, _LEFT, _RIGHT, _TOP, _BOTTOM = (360, 150), 40, 8, 8, 22
_MARK = (260, 22)
_BAR = (300, 16)


class Axis(NamedTuple):
    """Ends of an axis and where its ticks are."""

    low: float
    high: float
    ticks: list[float]


def nice_axis(values: Sequence[float] | Floats, most: int = 4) -> Axis:
    """An axis around values whose ticks are round: steps of 1, 2 or 5 times a power of ten."""
    there = np.asarray(values, np.float64)
    there = there[np.isfinite(there)]
    low, high = (float(there.min()), float(there.max())) if len(there) else (0.0, 1.0)
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    rough = (high - low) / most
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * m for m in (1, 2, 5, 10) if size * m >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = [round(number * step, 10) for number in range(first, last + 1)]
    return Axis(ticks[0], ticks[-1], ticks)


def count_axis(last: float) -> Axis:
    """An axis of whole numbers from 0 to `last`."""
    axis = nice_axis([0.0, max(last, 1.0)])
    return Axis(0.0, max(last, 1.0), [tick for tick in axis.ticks if tick <= last and tick == int(tick)])


class Layer(NamedTuple):
    """A curve in a panel. style: the class of its line; area: whether what is below it is filled."""

    curve: Curve
    style: str
    area: bool = False


def panel(layers: Sequence[Layer], x: Axis, y: Axis, label: str) -> Markup:
    """Curves over two axes, the first lowest."""
    width, height = _PANEL

    def across(value: float) -> float:
        return _LEFT + (value - x.low) / (x.high - x.low) * (width - _LEFT - _RIGHT)

    def down(value: float) -> float:
        value = min(max(value, y.low), y.high)
        return height - _BOTTOM - (value - y.low) / (y.high - y.low) * (height - _TOP - _BOTTOM)

    parts = []
    for tick in y.ticks:
        at = _n(down(tick))
        parts.append(f'<line class="guide" x1="{_LEFT}" x2="{width - _RIGHT}" y1="{at}" y2="{at}"/>')
        parts.append(f'<text class="tick" x="{_LEFT - 5}" y="{at}" dy="3.5" text-anchor="end">{_tick(tick)}</text>')
    for tick in x.ticks:
        anchor = "end" if across(tick) > width - 24 else "middle"
        at = _n(across(tick))
        parts.append(f'<text class="tick" x="{at}" y="{height - 6}" text-anchor="{anchor}">{_tick(tick)}</text>')
    for curve, style, area in layers:
        points = [(across(float(a)), down(float(b))) for a, b in zip(curve.steps, curve.mean, strict=True)]
        if not points:
            continue
        if area:
            foot = down(y.low)
            path = f"M{_n(points[0][0])},{_n(foot)}L{_path(points)}L{_n(points[-1][0])},{_n(foot)}Z"
            parts.append(f'<path class="area {style}" d="{path}"/>')
            continue
        if curve.half.any():
            upper = [(a, down(float(m + h))) for (a, _), m, h in zip(points, curve.mean, curve.half, strict=True)]
            lower = [(a, down(float(m - h))) for (a, _), m, h in zip(points, curve.mean, curve.half, strict=True)]
            parts.append(f'<path class="band {style}" d="M{_path(upper)}L{_path(lower[::-1])}Z"/>')
        parts.append(f'<path class="line {style}" d="M{_path(points)}"/>')
    return _svg(parts, _PANEL, label, "panel")


def interval_mark(value: Interval, scale: Scale, style: str, label: str, guide: float | None = None) -> Markup:
    """A dot with its interval on a line that all rows of a table share; hollow where the interval holds the guide."""
    width, height = _MARK
    if value["mean"] is None:
        return Markup("")

    def across(number: float) -> float:
        return 8 + (min(max(number, scale[0]), scale[1]) - scale[0]) / (scale[1] - scale[0]) * (width - 16)

    middle = height / 2
    parts = [f'<line class="guide" x1="4" x2="{width - 4}" y1="{middle}" y2="{middle}"/>']
    if guide is not None and scale[0] <= guide <= scale[1]:
        parts.append(f'<line class="zero" x1="{_n(across(guide))}" x2="{_n(across(guide))}" y1="0" y2="{height}"/>')
    hollow = ""
    if value["low"] is not None and value["high"] is not None:
        low, high = across(value["low"]), across(value["high"])
        parts.append(f'<line class="whisker {style}" x1="{_n(low)}" x2="{_n(high)}" y1="{middle}" y2="{middle}"/>')
        hollow = " hollow" if guide is not None and value["low"] <= guide <= value["high"] else ""
    parts.append(f'<circle class="dot {style}{hollow}" cx="{_n(across(value["mean"]))}" cy="{middle}" r="4.5"/>')
    return _svg(parts, _MARK, label, "mark")


def ends_of(values: Sequence[Interval], guide: float | None = None) -> Scale:
    """A scale that holds all these intervals, and the guide."""
    ends = [end for one in values for end in (one["mean"], one["low"], one["high"]) if end is not None]
    ends += [] if guide is None else [guide]
    low, high = min(ends, default=0.0), max(ends, default=1.0)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def share_bar(shares: Mapping[str, float], classes: Mapping[str, str], label: str) -> Markup:
    """Shares side by side, in the order given; each has its name as a title."""
    width, height = _BAR
    parts, at = [], 0.0
    for name, share in shares.items():
        wide = share * width
        title = f"<title>{escape(visible(name))}: {100 * share:.0f} %</title>"
        parts.append(
            f'<rect class="{classes.get(name, "rest")}" x="{_n(at)}" y="0" width="{_n(max(wide - 1, 0.3))}" '
            f'height="{height}">{title}</rect>'
        )
        at += wide
    return _svg(parts, _BAR, label, "shares")


def histogram(values: Floats, label: str) -> Markup:
    """How many users have which difference; those above 0 and those below it in two colours."""
    width, height = 440, 150
    ends = np.percentile(values, [1, 99]) if len(values) else [0.0]
    axis = nice_axis([*ends, 0.0], 6)
    bins = 5 * (len(axis.ticks) - 1)  # so that 0, which has a tick, is the end of a bin
    edges = np.linspace(axis.low, axis.high, bins + 1)
    counts, _ = np.histogram(np.clip(values, axis.low, axis.high), edges)
    most = max(int(counts.max()), 1)
    parts = []
    for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True):
        x = _LEFT + (low - axis.low) / (axis.high - axis.low) * (width - _LEFT - _RIGHT)
        wide = (high - low) / (axis.high - axis.low) * (width - _LEFT - _RIGHT)
        tall = count / most * (height - _TOP - _BOTTOM)
        style = "better" if low + high > 0 else "worse"
        parts.append(
            f'<rect class="{style}" x="{_n(x)}" y="{_n(height - _BOTTOM - tall)}" width="{_n(wide - 1)}" '
            f'height="{_n(tall)}"/>'
        )
    zero = _n(_LEFT - axis.low / (axis.high - axis.low) * (width - _LEFT - _RIGHT))
    parts.append(f'<line class="zero" x1="{zero}" x2="{zero}" y1="{_TOP}" y2="{height - _BOTTOM}"/>')
    for tick in axis.ticks:
        x = _LEFT + (tick - axis.low) / (axis.high - axis.low) * (width - _LEFT - _RIGHT)
        parts.append(f'<text class="tick" x="{_n(x)}" y="{height - 6}" text-anchor="middle">{_tick(tick)}</text>')
    parts.append(f'<text class="tick" x="{_LEFT - 5}" y="{_TOP + 4}" text-anchor="end">{most}</text>')
    parts.append(f'<text class="tick" x="{_LEFT - 5}" y="{height - _BOTTOM}" text-anchor="end">0</text>')
    return _svg(parts, (width, height), label, "histogram")


def _svg(parts: Sequence[str], size: tuple[int, int], label: str, kind: str) -> Markup:
    head = f'<svg class="{kind}" viewBox="0 0 {size[0]} {size[1]}" role="img" aria-label="{escape(visible(label))}">'
    return Markup("".join([head, *parts, "</svg>"]))


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "L".join(f"{_n(x)},{_n(y)}" for x, y in points)


def _n(value: float) -> str:
    """A number of pixels, as short as a picture needs."""
    return f"{value:.1f}".removesuffix(".0")


def _tick(value: float) -> str:
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size and abs(value) >= 10_000:
            return f"{value / size:g}{letter}"
    return f"{value:g}"
