"""The look of pictures: one palette, one style, and files without dates, so that equal pictures are equal files."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import (
    FixedFormatter,
    FixedLocator,
    FuncFormatter,
    MaxNLocator,
    NullLocator,
)

from lerl.envs.files import write_whole
from lerl.envs.text import visible
from lerl.report.fonts import fit_fonts, no_warning_per_letter
from lerl.report.intervals import Interval

STYLE: Any = {
    "font.size": 8.0,
    "axes.labelsize": 8.0,
    "axes.titlesize": 7.5,
    "axes.titley": 1.0,  # nothing is in its way, so that its place need not be found
    "xtick.labelsize": 7.0,
    "ytick.labelsize": 7.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.3,
    "svg.hashsalt": "lerl",
    "text.parse_math": False,  # names of categories may hold dollar signs
    "savefig.dpi": 150.0,
}


def ratio_scale(axes: Axes, found: Sequence[Interval]) -> None:
    """A log axis where ratios span more than a factor of three, with ticks that read as ratios."""
    values = [1.0, *(value for ratio in found for value in (ratio["mean"], ratio["low"], ratio["high"]) if value)]
    low, high = min(values), max(values)
    if high / low > 3:
        axes.set_xscale("log")
        axes.set_xlim(low / 1.1, high * 1.1)
        steps = (1, 1.5, 2, 3, 5, 7) if high / low < 12 else (1, 2, 5)
        ticks = [m * 10.0**e for e in range(-3, 4) for m in steps if low / 1.1 <= m * 10.0**e <= high * 1.1]
        axes.xaxis.set_major_locator(FixedLocator(ticks))
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        room = 0.05 * max(high - low, 0.02)
        axes.set_xlim(low - room, high + room)
        axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write both formats without date or version, so that equal pictures are equal files."""
    _show_names(figure)
    kinds: dict[str, Any] = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}
    with no_warning_per_letter():
        drawn = {kind: _drawn(figure, kind, metadata) for kind, metadata in kinds.items()}
        if fit_fonts(figure):
            drawn = {kind: _drawn(figure, kind, metadata) for kind, metadata in kinds.items()}
    files = [stem.with_name(f"{stem.name}.{kind}") for kind in kinds]
    for file, content in zip(files, drawn.values(), strict=True):
        write_whole(file, content)
    return files


def _drawn(figure: Figure, kind: str, metadata: dict[str, Any]) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format=kind, metadata=metadata)
    return stream.getvalue()


def _show_names(figure: Figure) -> None:
    """Draw names of others without what no picture can show, and what makes an SVG file unreadable."""
    for text in figure.findobj(Text):
        text.set_text(visible(text.get_text()))
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        words = axis.get_major_formatter()
        if isinstance(words, FixedFormatter | FuncFormatter):  # they write the ticks' texts anew
            axis.set_major_formatter(FuncFormatter(lambda x, place, words=words: visible(words(x, place))))
