"""The layout of a picture with one strip per agent: its name on the left, a curve or a mark, numbers on the right.

Strips lie below each other in one Matplotlib axes, which is drawn much faster than an axes for each. All sizes are in
inches, so that texts do not overlap, however many agents there are and however long their names.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from lerl.report.look import width
from lerl.report.palette import GREY, INK, PALE

_TINY, _SMALL, _NORMAL, _LARGE = 5.5, 6.5, 7.0, 8.5  # points
_LETTER, _PROSE = 0.6, 0.57  # width of a letter of a name, and of a sentence, in units of its height
_LINE = 1.3  # distance of two lines of text, likewise
_PANEL = {1: 2.7, 2: 1.9}  # width of an axes, by their number
_GAP, _SCALE = 0.1, 0.3  # between an axes and what is right of it, and what the ends of its scale take
_FILLED = 0.84  # of a strip's height, by its curve

Scale = tuple[float, float]
"""Lowest and highest value of a strip."""


class Page(NamedTuple):
    """The texts of a picture; names and their colours from top to bottom.

    height: of a strip, in inches.
    """

    title: str
    caption: str
    names: Sequence[str]
    colours: Sequence[str]
    height: float


class Panel(NamedTuple):
    """One axes of a picture: the texts above and below it, and one on the right of each strip.

    scale: of the curves in the strips; None where there are marks only. digits: after the decimal point of its ends.
    """

    heading: str
    xlabel: str
    numbers: Sequence[str]
    scale: Scale | None = None
    digits: int = 0


def draw_page(page: Page, panels: Sequence[Panel]) -> tuple[Figure, list[Axes]]:
    """A figure with an axes for each panel (one or two), in which strip i lies from y = i down to y = i + 1."""
    span = _PANEL[len(panels)]
    left = 0.2 + _inches(page.names, _NORMAL)
    rights = [_GAP + (_SCALE if panel.scale else 0) + _inches(panel.numbers, _SMALL) + 0.1 for panel in panels]
    width = left + len(panels) * span + sum(rights)
    title, caption = _wrapped(page.title, width - 0.2, _LARGE), _wrapped(page.caption, width - 0.2, _SMALL)
    top = 0.32 + len(title) * _LINE * _LARGE / 72
    bottom = 0.56 + len(caption) * _LINE * _SMALL / 72
    height = top + len(page.names) * page.height + bottom
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    lines: dict[str, Any] = {"linespacing": _LINE / 1.2}  # in units of what Matplotlib takes for a line
    figure.text(0.1 / width, 1 - 0.1 / height, "\n".join(title), fontsize=_LARGE, va="top", **lines)
    figure.text(0.1 / width, 0.1 / height, "\n".join(caption), fontsize=_SMALL, color=INK, va="bottom", **lines)
    made: list[Axes] = []
    for panel, right in zip(panels, rights, strict=True):
        axes = figure.add_axes((left / width, bottom / height, span / width, 1 - (top + bottom) / height))
        _frame(axes, page, panel)
        _numbers(axes, page, panel, span)
        if not made:
            _beside(axes, -0.08 / span, page.names, page.colours, ha="right", fontsize=_NORMAL)
        made.append(axes)
        left += span + right
    return figure, made


def _frame(axes: Axes, page: Page, panel: Panel) -> None:
    """The texts above and below the strips, and pale lines between them. Names are no ticks, as ticks are slow."""
    count = len(page.names)
    axes.set_ylim(count, 0)
    axes.yaxis.set_visible(False)
    axes.spines["left"].set_visible(False)
    axes.hlines(np.arange(1, count), 0, 1, transform=axes.get_yaxis_transform(), color=PALE, lw=0.5, zorder=0)
    axes.set_xlabel(panel.xlabel, fontsize=_NORMAL)
    axes.set_title(panel.heading, loc="left", fontsize=_SMALL, color=INK, pad=3)


def _numbers(axes: Axes, page: Page, panel: Panel, span: float) -> None:
    """What is on the right: numbers, and at the first strip the ends of the scale."""
    place = 1 + (_GAP + (_SCALE if panel.scale else 0)) / span
    _beside(axes, place, panel.numbers, page.colours, fontsize=_SMALL)
    if panel.scale is not None:
        for value, height in zip(panel.scale, level(0, panel.scale, panel.scale), strict=True):
            _beside(axes, 1 + 0.04 / span, [f"{value:.{panel.digits}f}"], [INK], float(height), fontsize=_TINY)


def _beside(
    axes: Axes, place: float, texts: Sequence[str], colours: Sequence[str], first: float = 0.5, **look: Any
) -> None:
    """Texts left or right of the axes at `place`, in units of its width; the first at height `first`."""
    across = axes.get_yaxis_transform()
    for strip, (text, colour) in enumerate(zip(texts, colours, strict=True)):
        axes.text(place, strip + first, text, color=_ink(colour), va="center", transform=across, **look)


def level(strip: int, values: ArrayLike, scale: Scale) -> NDArray[np.float64]:
    """Heights (n,) of values (n,) in a strip, its number counted from the top; values beyond the scale stay inside."""
    low, high = scale
    share = (np.clip(np.asarray(values, dtype=np.float64), low, high) - low) / (high - low)
    return np.asarray(strip + 0.96 - _FILLED * share)


def round_scale(values: ArrayLike) -> Scale:
    """The ends of a scale that reads well and holds all values, of which there is at least one."""
    found = np.asarray(values, dtype=np.float64)
    ticks = MaxNLocator(9, steps=[1, 2, 2.5, 5, 10]).tick_values(float(found.min()), float(found.max()))
    return float(ticks[0]), float(ticks[-1])


def _ink(colour: str) -> tuple[float, float, float]:
    """A line's colour, darker, as thin letters need it."""
    red, green, blue = to_rgb(colour if colour != GREY else INK)
    return 0.8 * red, 0.8 * green, 0.8 * blue


def _inches(texts: Sequence[str], size: float) -> float:
    """Width of the longest text."""
    return max((width(line) for text in texts for line in text.splitlines()), default=0) * _LETTER * size / 72


def _wrapped(text: str, room: float, size: float) -> list[str]:
    """Lines of at most `room` inches, broken between words."""
    most = int(room * 72 / (_PROSE * size))
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if width(longer) <= most or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines
