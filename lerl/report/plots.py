"""Pictures of evaluated runs, for a page or a paper's column: PNG at 150 dpi, and SVG, the same for the same runs."""

from __future__ import annotations

import math
import textwrap
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import (
    EngFormatter,
    FixedLocator,
    MaxNLocator,
    PercentFormatter,
)
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression
from scipy.stats import t as student_t

from lerl.report.bootstrap import Summary, by_reward, ratios, summarize
from lerl.report.intervals import Interval
from lerl.report.lessons import UNTRAINED
from lerl.report.load import Results, check_reference, load_runs
from lerl.report.style import (
    AREAS,
    BLACK,
    COLOURS,
    GREY,
    PALE,
    STYLE,
    WINE,
    ratio_scale,
    save,
)
from lerl.report.tables import said_of

Floats = NDArray[np.float64]

MIN_SESSIONS = 20  # a mean over fewer sessions says more about who stayed than about the agent
HIGHLIGHTED = 8
_LONGEST = 24  # letters of a row's name
CATEGORIES = 8

_WIDTH = 4.6  # inches; text stays readable when a column shrinks it to 3.5
_SMALL = 6.5  # points
_LEADER: dict[str, Any] = {"arrowstyle": "-", "lw": 0.4, "shrinkA": 0, "shrinkB": 0, "relpos": (0, 0.5)}


@dataclass(frozen=True)
class _Look:
    """How rows look, the same in every picture: best R_cum first, a colour and a name each, which learned."""

    order: list[str]
    colours: Mapping[str, str]
    names: Mapping[str, str]
    learned: frozenset[str]
    reference: str

    def stands_out(self, row: str) -> bool:
        return self.colours[row] != GREY

    def line(self, row: str) -> dict[str, Any]:
        """Keyword arguments of a row's line: grey lines lie below, rows that do not learn are dashed."""
        out = self.stands_out(row)
        style = "-" if row in self.learned else (0, (4, 1.5))
        return {"color": self.colours[row], "lw": 1.3 if out else 0.8, "ls": style, "zorder": 3 if out else 2}


class _End(NamedTuple):
    """Where a line ends, for its label; ``rank`` orders labels of lines that end alike."""

    row: str
    x: float
    y: float
    rank: float


def plot(
    paths: Iterable[str | Path],
    out: Path,
    reference: str | None = None,
    bootstrap: int = 2000,
    seed: int = 0,
    allow_different: bool = False,
) -> list[Path]:
    """Draw evaluated runs of one recipe into the folder ``out`` and say which files were written.

    learning_curves, session_lengths, satisfaction, exposure, exposure_topics and differences, each as .png and .svg.
    One that there is nothing to draw for is left out: learning curves without a learning row, topics where none were
    written, learning curves without a second point, differences with one row. ``reference`` is the row whose reward is
    divided by the others' in differences; without it the first hierarchical row that learned. ``bootstrap`` and
    ``seed`` are those of :func:`lerl.report.bootstrap.summarize`.

    Errors are those of :func:`lerl.report.load.load_runs`, and :class:`RunError` for a reference that is no row.
    """
    results = load_runs(paths, allow_different)
    summary = summarize(results, bootstrap, seed)
    look = _look(results, summary, reference)
    out.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context(STYLE):
        figures = {
            "learning_curves": _learning_curves(results, summary, look),
            "session_lengths": _session_lengths(results, look),
            "satisfaction": _satisfaction(results, look),
            "exposure": _exposure(results, look, "category"),
            "exposure_topics": _exposure(results, look, "topic"),
            "differences": _differences(results, summary, look),
        }
        return [file for name, figure in figures.items() if figure is not None for file in save(figure, out / name)]


def _learning_curves(results: Results, summary: Summary, look: _Look) -> Figure | None:
    curves = _curves(results)
    apart = [look.names[row] for row, (steps, _, _) in curves.items() if not len(steps)]
    curves = {row: curve for row, curve in curves.items() if len(curve[0]) > 1}
    if not curves:
        return None
    figure, axes = _axes(look)
    ends = []
    for row, (steps, mean, half) in curves.items():
        axes.plot(steps, mean, **look.line(row))
        _band(axes, steps, mean, half, row, look)
        ends.append(_End(row, steps[-1], mean[-1], mean[-1]))
    last = max(end.x for end in ends)
    for row in look.order:
        reward = summary["agents"][row]["R_cum"]["mean"]
        if row not in look.learned and reward is not None:
            axes.plot([0, last], [reward, reward], **look.line(row) | {"lw": 0.7})
            ends.append(_End(row, last, reward, reward))
    axes.set(xlim=(0, last), xlabel="environment steps (all users)", ylabel="R_cum (sum of rewards per session)")
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    _label(axes, ends, look)
    seeds = len(results.seeds)
    band = f"Mean of {seeds} seeds with 95 % t interval" if seeds > 1 else "One seed, hence no interval"
    note = f" Left out, as no steps are common to all seeds: {', '.join(apart)}." if apart else ""
    _caption(
        figure,
        f"{band}; validation sessions of training users. Dashed: rows without a curve of their own, evaluation users."
        + note,
    )
    return figure


def _session_lengths(results: Results, look: _Look) -> Figure:
    figure, axes = _axes(look)
    last = int(results.episodes["T_int"].to_numpy().max())
    ends = []
    for row in look.order:
        lengths = results.episodes.filter(pl.col("agent") == row)["T_int"].to_numpy()
        steps = np.arange(1, last + 1)
        share = (lengths[None, :] >= steps[:, None]).mean(axis=1)
        axes.plot(steps, share, **look.line(row))
        ends.append(_End(row, last, share[-1], lengths.mean()))
    axes.set(xlim=(1, max(last, 2)), ylim=(0, 1.02), xlabel="step of the session", ylabel="sessions still there")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.xaxis.set_major_locator(_whole_steps(6))
    _mark_cap(axes, results)
    _label(axes, ends, look)
    _caption(figure, f"{_sample(results)}.")
    return figure


def _satisfaction(results: Results, look: _Look) -> Figure:
    figure, axes = _axes(look)
    ends = []
    for row in look.order:
        steps, mean, half = _satisfaction_band(results, row)
        if not len(steps):
            continue
        axes.plot(steps, mean, **look.line(row))
        _band(axes, steps, mean, half, row, look)
        ends.append(_End(row, steps[-1], mean[-1], mean[-1]))
    axes.set(xlabel="step of the session", ylabel="mean satisfaction of those there")
    axes.xaxis.set_major_locator(_whole_steps(6))
    axes.set_xlim(1, max([2.0, *(end.x for end in ends)]))
    if not ends:
        axes.text(0.5, 0.5, f"fewer than {MIN_SESSIONS} sessions", ha="center", transform=axes.transAxes, color=GREY)
    _label(axes, ends, look)
    over = "users and seeds" if len(results.seeds) > 1 else "users only"
    _caption(
        figure, f"{_sample(results)}; 95 % band over {over}; drawn while at least {MIN_SESSIONS} sessions are there."
    )
    return figure


def _exposure(results: Results, look: _Look, axis: str) -> Figure | None:
    shares = _shares(results, axis)
    if shares.is_empty():
        return None
    names = _largest(shares)
    columns = min(4, len(look.order))
    rows = math.ceil(len(look.order) / columns)
    figure = Figure(figsize=(1.55 * columns + 0.6, 1.15 * rows + 1.1))
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel().tolist()
    last = max(2, int(shares["step"].to_numpy().max()))
    for panel, row in zip(panels, look.order, strict=False):
        _stack(panel, shares.filter(pl.col("agent") == row), names)
        panel.set_title(look.names[row], color=_ink(look.colours[row]), pad=3)
        _scale_panel(panel, last)
    for panel in panels[len(look.order) :]:
        panel.set_visible(False)
    _finish_panels(figure, panels, names, axis)
    return figure


def _differences(results: Results, summary: Summary, look: _Look) -> Figure | None:
    found = ratios(summary, look.reference)
    rows = [row for row in look.order if row in found and found[row]["mean"] is not None]
    if not rows:
        return None
    figure, axes = _figure(0.19 * len(rows) + 1.0, left=_margin(look) + 0.1, right=1.15, bottom=0.74, top=0.05)
    axes.axvline(1.0, color=BLACK, lw=0.8)
    for place, row in enumerate(rows):
        _interval_mark(axes, place, found[row], look.colours[row])
    axes.set_yticks(range(len(rows)), [look.names[row] for row in rows])
    axes.set(ylim=(len(rows) - 0.4, -0.6), xlabel=f"R_cum of {look.names[look.reference]} / R_cum of row")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    ratio_scale(axes, [found[row] for row in rows])
    _caption(figure, f"Paired ratios of means, 95 % intervals; {_sample(results)}.")
    return figure


def _look(results: Results, summary: Summary, reference: str | None) -> _Look:
    order = by_reward(summary)
    trained = set(results.curves["agent"].unique().to_list())
    trained -= {row for row, short in results.untrained.items() if short["mark"] == UNTRAINED}
    learned = frozenset(row for row in order if row.split("@")[0] in trained)
    chosen = _reference(results.agents, learned, order) if reference is None else reference
    check_reference(chosen, results.agents)
    shown = _highlighted(order, learned, chosen)
    colours = {row: GREY for row in results.agents} | _colours([row for row in results.agents if row in shown], chosen)
    names = {row: said_of(row, results.untrained, _name(row)) for row in results.agents}
    return _Look(order, colours, names, learned, chosen)


def _reference(agents: Sequence[str], learned: frozenset[str], order: Sequence[str]) -> str:
    """The first row with a planner that learned, else the first that learned, else the best."""
    candidates = [row for row in agents if row in learned]
    hierarchical = [row for row in candidates if "+" in row and not row.startswith("flat+")]
    return [*hierarchical, *candidates, *order][0]


def _highlighted(order: Sequence[str], learned: frozenset[str], reference: str) -> set[str]:
    """The rows in colour: the reference, the same planner without learning, ceiling, floor, the best flat learner.

    Then the best of the others, variants (@) last.
    """
    unlearned = f"{reference.split('+')[0]}+greedy"
    flat = [row for row in order if row in learned and row.startswith("flat+") and "@" not in row]
    wanted = [reference, unlearned, "privileged", "random", *flat[:1], *sorted(order, key=lambda row: "@" in row)]
    return set(list(dict.fromkeys(row for row in wanted if row in order))[:HIGHLIGHTED])


def _colours(rows: Sequence[str], reference: str) -> dict[str, str]:
    """A colour of its own for each of at most HIGHLIGHTED rows; ceiling and floor keep theirs as the reference too."""
    kept = {reference: COLOURS[0], "privileged": BLACK, "random": WINE}
    fixed = {row: colour for row, colour in kept.items() if row in rows}
    free = iter([colour for colour in COLOURS if colour not in fixed.values()])
    return {row: fixed[row] if row in fixed else next(free) for row in rows}


def _mark_cap(axes: Axes, results: Results) -> None:
    """Where the step cap cuts sessions, known from those that it cut."""
    cut = results.episodes.filter(pl.col("cut_by_cap"))["T_int"].to_numpy()
    if len(cut):
        cap = int(cut.max())
        axes.axvline(cap, color=BLACK, lw=0.8, ls=":")
        place: Any = {"textcoords": "offset points", "ha": "right", "fontsize": _SMALL}
        axes.annotate(f"step cap {cap}", (cap, 1.02), (-3, 2), **place)


def _curves(results: Results) -> dict[str, tuple[Floats, Floats, Floats]]:
    """Per learning row: environment steps, mean R_cum over seeds, and half the 95 % t interval (0 with one seed)."""
    found = {}
    for row in results.agents:
        parts = results.curves.filter(pl.col("agent") == row).sort("steps").partition_by("seed", maintain_order=True)
        if parts:
            found[row] = _mean_curve([(part["steps"].to_numpy(), part["R_cum"].to_numpy()) for part in parts])
    return found


def _mean_curve(curves: Sequence[tuple[Floats, Floats]]) -> tuple[Floats, Floats, Floats]:
    """Steps, mean and half the 95 % t interval (0 with one) of curves, linear between points, where all of them are,
    which may be nowhere.

    Curves of one row need not have their points at the same steps: a planner's lessons take more or fewer.
    """
    first, last = max(steps[0] for steps, _ in curves), min(steps[-1] for steps, _ in curves)
    if first > last:
        return np.zeros(0), np.zeros(0), np.zeros(0)
    steps = np.unique(np.concatenate([steps for steps, _ in curves])).astype(np.float64)
    steps = steps[(steps >= first) & (steps <= last)]
    values = np.stack([np.interp(steps, *curve) for curve in curves])  # (S, n)
    if len(curves) == 1:
        return steps, values[0], np.zeros(len(steps))
    half = student_t.ppf(0.975, len(curves) - 1) * values.std(axis=0, ddof=1) / math.sqrt(len(curves))
    return steps, values.mean(axis=0), half


def _satisfaction_band(results: Results, row: str) -> tuple[Floats, Floats, Floats]:
    """Steps, mean satisfaction of those there and half its 95 % interval, (n,) each, while enough sessions are there.

    It has a normal part for users, the sessions' spread over the sessions of one seed (all seeds have the same users,
    so more seeds bring no more of them; replicates count as sessions of their own), and a t part for seeds, the spread
    of the seeds' means over their number.
    """
    weight = pl.col("sessions") / pl.col("sessions").sum()
    pooled = (
        results.steps.filter(pl.col("agent") == row)
        .group_by("step")
        .agg(
            (pl.col("satisfaction") * weight).sum().alias("mean"),
            (pl.col("satisfaction_sd").fill_null(0.0).fill_nan(0.0) ** 2 * weight).sum().alias("variance"),
            pl.col("satisfaction").var().fill_null(0.0).alias("between"),
            pl.col("sessions").sum(),
            pl.len().alias("seeds"),
        )
        .filter(pl.col("sessions") >= MIN_SESSIONS)
        .sort("step")
    )
    seeds = pooled["seeds"].to_numpy()
    users = pooled["variance"].to_numpy() * seeds / pooled["sessions"].to_numpy()
    among = student_t.ppf(0.975, np.maximum(seeds - 1, 1)) ** 2 * pooled["between"].to_numpy() / seeds
    half = np.sqrt(1.96**2 * users + among)
    return pooled["step"].to_numpy().astype(np.float64), pooled["mean"].to_numpy(), half


def _shares(results: Results, axis: str) -> pl.DataFrame:
    """Share of each name by row and step over all seeds, one in sum at each step, while enough sessions are there."""
    sessions = results.steps.select("agent", "seed", "step", "sessions")
    enough = pl.min_horizontal(pl.lit(MIN_SESSIONS), pl.col("there").max().over("agent"))
    there = (
        sessions.group_by("agent", "step")
        .agg(pl.col("sessions").sum().alias("there"))
        .filter(pl.col("there") >= enough)
    )
    return (
        results.exposure.filter(pl.col("axis") == axis)
        .join(sessions, on=["agent", "seed", "step"])
        .join(there, on=["agent", "step"])
        .group_by("agent", "step", "name")
        .agg((pl.col("share") * pl.col("sessions")).sum().alias("shown"))
        .with_columns((pl.col("shown") / pl.col("shown").sum().over("agent", "step")).fill_nan(0.0).alias("share"))
        .sort("agent", "step", "name")
    )


def _largest(shares: pl.DataFrame) -> list[str]:
    totals = shares.group_by("name").agg(pl.col("share").sum()).sort("share", "name", descending=[True, False])
    return [str(name) for name in totals["name"].head(CATEGORIES)]


def _stack(panel: Axes, shares: pl.DataFrame, names: Sequence[str]) -> None:
    """Areas of the named shares from below, the rest in grey on top."""
    steps = shares["step"].unique().sort().to_numpy()
    areas = np.zeros((len(names) + 1, len(steps)))
    for (name,), mine in shares.filter(pl.col("name").is_in(names)).partition_by("name", as_dict=True).items():
        areas[names.index(name), np.searchsorted(steps, mine["step"].to_numpy())] = mine["share"].to_numpy()
    areas[-1] = np.maximum(0.0, 1.0 - areas.sum(axis=0))
    panel.stackplot(steps, areas, colors=[*AREAS[: len(names)], PALE], lw=0.2, edgecolor="white")


def _scale_panel(panel: Axes, last: int) -> None:
    panel.set(ylim=(0, 1), xlim=(1, last))
    panel.yaxis.set_major_locator(FixedLocator([0.0, 0.5, 1.0]))
    panel.yaxis.set_major_formatter(PercentFormatter(1.0))
    panel.xaxis.set_major_locator(_whole_steps(3))


def _finish_panels(figure: Figure, panels: Sequence[Axes], names: Sequence[str], axis: str) -> None:
    """Axes that all panels share, and one legend below them, since areas this small have no room for words."""
    width, height = figure.get_size_inches()
    areas = panels[0].collections
    columns = min(len(areas), int(width / 1.05))
    lines = math.ceil(len(areas) / columns)
    bottom, top = 0.55 + 0.15 * lines, height - 0.24  # inches
    figure.subplots_adjust(
        left=0.72 / width, right=1 - 0.12 / width, bottom=bottom / height, top=top / height, wspace=0.12, hspace=0.32
    )
    figure.supxlabel("step of the session", y=(bottom - 0.36) / height, fontsize=8, va="center")
    figure.supylabel(f"share of {axis} exposure", x=0.1 / width, y=(bottom + top) / 2 / height, fontsize=8)
    labels = [*(_name(name) for name in names), "other"]
    spacing = {"handlelength": 1.0, "columnspacing": 1.0, "borderaxespad": 0.1}
    figure.legend(areas, labels, loc="lower center", ncols=columns, frameon=False, fontsize=_SMALL, **spacing)


def _interval_mark(axes: Axes, place: int, ratio: Interval, colour: str) -> None:
    mean, low, high = ratio["mean"], ratio["low"], ratio["high"]
    if mean is None:
        return
    text = f"{mean:.2f}"
    if low is not None and high is not None:
        axes.plot([low, high], [place, place], color=colour, lw=1.6, solid_capstyle="butt")
        text += f"  [{low:.2f}, {high:.2f}]"
    axes.plot([mean], [place], "o", color=colour, ms=4)
    axes.text(1.03, place, text, transform=axes.get_yaxis_transform(), va="center", fontsize=_SMALL)


def _band(axes: Axes, steps: Floats, mean: Floats, half: Floats, row: str, look: _Look) -> None:
    """An interval's band, for rows in colour only: the grey ones would hide each other."""
    if look.stands_out(row):
        axes.fill_between(steps, mean - half, mean + half, color=look.colours[row], alpha=0.15, lw=0)


def _axes(look: _Look) -> tuple[Figure, Axes]:
    """A figure with room for labels right of the axes and a caption below."""
    height = max(3.1, 0.125 * len(look.order) + 1.2)
    return _figure(height, left=0.66, right=_margin(look) + 0.25, bottom=0.78, top=0.2)


def _figure(height: float, left: float, right: float, bottom: float, top: float) -> tuple[Figure, Axes]:
    """A figure of the common width and its axes; height and margins in inches."""
    figure = Figure(figsize=(_WIDTH, height))
    FigureCanvasAgg(figure)
    figure.subplots_adjust(left=left / _WIDTH, right=1 - right / _WIDTH, bottom=bottom / height, top=1 - top / height)
    return figure, figure.add_subplot()


def _margin(look: _Look) -> float:
    """Width in inches that the row names take."""
    return max(map(_width, look.names.values())) * 0.6 * _SMALL / 72 + 0.15


def _width(name: str) -> int:
    """How many letters wide a name is; those of East Asia are two wide."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in name)


def _name(row: str) -> str:
    """A row's name at a length that leaves room for the picture: my_package.my_module:MyAgent is MyAgent."""
    last = row.rsplit(":", 1)[-1]
    if _width(last) <= _LONGEST:
        return last
    while _width(last) >= _LONGEST:
        last = last[:-1]
    return f"{last}…"


def _ink(colour: str) -> tuple[float, float, float]:
    """A line's colour, darker, as thin letters need it."""
    red, green, blue = to_rgb(colour if colour != GREY else "#777777")
    return 0.8 * red, 0.8 * green, 0.8 * blue


def _whole_steps(ticks: int) -> MaxNLocator:
    return MaxNLocator(ticks, integer=True, steps=[1, 2, 5, 10])


def _label(axes: Axes, ends: Sequence[_End], look: _Look) -> None:
    """Write each row's name right of the axes at the height of its line's end, moved as little as keeps names apart."""
    ordered = sorted(ends, key=lambda end: (end.y, end.rank))
    (low, high), right = axes.get_ylim(), axes.get_xlim()[1]
    points = axes.get_window_extent().height / axes.figure.dpi * 72
    heights = _spread(np.array([(end.y - low) / (high - low) for end in ordered]), 1.15 * _SMALL / points)
    for end, height in zip(ordered, heights, strict=True):
        colour = look.colours[end.row]
        axes.plot([end.x, right], [end.y, end.y], color=colour, lw=0.4, alpha=0.6)
        axes.annotate(
            look.names[end.row],
            (right, end.y),
            (1.08, height),
            textcoords="axes fraction",
            color=_ink(colour),
            fontsize=_SMALL,
            va="center",
            arrowprops=_LEADER | {"color": colour},
            annotation_clip=False,
        )
    axes.set_ylim(low, high)


def _spread(heights: Floats, gap: float) -> Floats:
    """Ascending heights (n,) moved by the least squares that keeps neighbours ``gap`` apart and all within 0 to 1."""
    if not len(heights):
        return heights
    offsets = gap * np.arange(len(heights))
    apart = isotonic_regression(heights - offsets).x
    return np.asarray(np.clip(apart, 0.0, max(0.0, 1.0 - offsets[-1])) + offsets)


def _sample(results: Results) -> str:
    users, seeds = results.episodes["user"].n_unique(), len(results.seeds)
    return f"{users} users, {seeds} seeds" if seeds > 1 else f"{users} users, one seed"


def _caption(figure: Figure, text: str) -> None:
    wrapped = "\n".join(textwrap.wrap(text, int(figure.get_figwidth() * 72 / (0.58 * _SMALL))))
    below = figure.subplotpars.bottom - 0.46 / figure.get_figheight()
    figure.text(0.02, below, wrapped, fontsize=_SMALL, color="#555555", va="top")
