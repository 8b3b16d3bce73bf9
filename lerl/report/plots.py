"""Pictures of evaluated runs, with one strip per agent: PNG at 150 dpi and SVG; the same runs give the same files."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator
from numpy.typing import NDArray

from lerl.report.bootstrap import Summary, by_reward, ratios, summarize
from lerl.report.curves import (
    MIN_SESSIONS,
    exposure_shares,
    exposure_spread,
    learning_curves,
    most_shown,
    satisfaction_curve,
)
from lerl.report.intervals import Interval
from lerl.report.life_plots import life_figures
from lerl.report.load import Results, load_runs
from lerl.report.look import Look, look_of, shortened
from lerl.report.palette import BLACK, GREY, INK, ORANGE
from lerl.report.strip_parts import brackets, filled, line, number_text, page_of, parts_of
from lerl.report.strips import Panel, Scale, draw_page, level, round_scale
from lerl.report.style import STYLE, ratio_scale, save

Floats = NDArray[np.float64]

_PLURAL = {"category": "categories", "topic": "topics"}
_SHARES: Scale = (0.0, 1.0)


def plot(
    paths: Iterable[str | Path],
    out: Path,
    reference: str | None = None,
    bootstrap: int = 2000,
    seed: int = 0,
    allow_different: bool = False,
) -> list[Path]:
    """Draw evaluated runs of one recipe into the folder ``out`` and say which files were written.

    learning_curves, session_lengths, satisfaction, exposure, exposure_topics and differences, and of people who come
    back lives and gaps, each as .png and .svg.
    A picture that there is nothing to draw for is left out: learning curves where no agent has a second point, topics
    where none were written, differences of one agent. ``reference`` is the agent whose reward is divided by the others'
    in differences; without it the first hierarchical agent that learned. ``bootstrap`` and ``seed`` are those of
    :func:`lerl.report.bootstrap.summarize`.

    Errors are those of :func:`lerl.report.load.load_runs`, and :class:`RunError` for a reference that is no agent.
    """
    results = load_runs(paths, allow_different)
    return draw(results, summarize(results, bootstrap, seed), out, reference)


def draw(results: Results, summary: Summary, out: Path, reference: str | None = None) -> list[Path]:
    """The same of results that were read, and summarised, before."""
    with matplotlib.rc_context(STYLE):
        drawn = figures(results, summary, reference)
        out.mkdir(parents=True, exist_ok=True)
        return [file for name, figure in drawn.items() for file in save(figure, out / name)]


def figures(results: Results, summary: Summary, reference: str | None = None) -> dict[str, Figure]:
    """The pictures of :func:`plot` by name, in the style that is in force."""
    look = look_of(results, summary, reference)
    drawn = {
        "learning_curves": _learning_curves(results, summary, look),
        "session_lengths": _session_lengths(results, summary, look),
        "satisfaction": _satisfaction(results, summary, look),
        "exposure": _exposure(results, look, "category"),
        "exposure_topics": _exposure(results, look, "topic"),
        "differences": _differences(results, summary, look),
    }
    return {name: figure for name, figure in drawn.items() if figure is not None} | life_figures(results, summary, look)


def _learning_curves(results: Results, summary: Summary, look: Look) -> Figure | None:
    """R_cum while learning, and as a dashed line that of the same planner without a policy that learned."""
    curves = learning_curves(results)
    apart = [look.names[agent] for agent, curve in curves.items() if not len(curve.steps)]
    curves = {agent: curve for agent, curve in curves.items() if len(curve.steps) > 1}
    if not curves:
        return None
    agents = sorted(curves, key=lambda agent: -curves[agent].mean[-1])
    rewards = {agent: found["R_cum"]["mean"] for agent, found in summary["agents"].items()}
    plain = [f"{agent.split('+')[0]}+greedy" for agent in agents]
    unlearned = [None if own == agent else rewards.get(own) for own, agent in zip(plain, agents, strict=True)]
    scale = round_scale(
        np.concatenate(
            [*(curve.mean for curve in curves.values()), [value for value in unlearned if value is not None]]
        )
    )
    best = curves[agents[0]].mean
    page = page_of(
        look,
        f"{look.names[agents[0]]} {'ends highest of the policies' if len(agents) > 1 else 'learns'}: "
        f"R_cum from {best[0]:.1f} to {best[-1]:.1f}",
        _learning_caption(results, rewards, apart, any(value is not None for value in unlearned)),
        agents,
        height=min(1.1, max(0.42, 2.4 / len(agents))),
    )
    numbers = [_from_to(curves[agent].mean, value) for agent, value in zip(agents, unlearned, strict=True)]
    heading = "R_cum, the sum of a session's rewards, on one scale for all"
    figure, (axes,) = draw_page(page, [Panel(heading, "environment steps, of all users", numbers, scale, digits=1)])
    for strip, (agent, value) in enumerate(zip(agents, unlearned, strict=True)):
        line(axes, strip, curves[agent], scale, look.colours[agent])
        if value is not None:
            axes.axhline(float(level(strip, value, scale)), color=GREY, lw=0.8, ls=(0, (3, 2)), zorder=1)
    axes.set_xlim(0, max(curve.steps[-1] for curve in curves.values()))
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    return figure


def _from_to(mean: Floats, unlearned: float | None) -> str:
    said = f"{mean[0]:.1f} → {mean[-1]:.1f}"
    return said if unlearned is None else f"{said}\ndashed: {unlearned:.1f}"


def _learning_caption(results: Results, rewards: Mapping[str, float | None], apart: Sequence[str], dashed: bool) -> str:
    seeds = len(results.seeds)
    others = [f"{agent} {value:.1f}" for agent in ("random", "privileged") if (value := rewards.get(agent)) is not None]
    lines = [
        f"Mean of {seeds} seeds with 95 % t interval, cut at a strip's ends" if seeds > 1 else "One seed, no interval",
        "; validation sessions of training users.",
        " Dashed: the same planner with greedy items instead of a policy, on evaluation users." if dashed else "",
        f" For comparison, on evaluation users: {', '.join(others)}." if others else "",
        f" Left out, because no training steps are common to all seeds: {', '.join(apart)}." if apart else "",
    ]
    return "".join(lines)


def _session_lengths(results: Results, summary: Summary, look: Look) -> Figure:
    """The share of sessions still there at each step."""
    found = _sorted(summary, "T_int")
    cut = results.episodes.filter(pl.col("cut_by_cap"))["T_int"].to_numpy()
    last = int(results.episodes["T_int"].to_numpy().max())
    page = page_of(
        look,
        f"Users stay {_compared(found, look, 1, ' steps')}",
        "Filled: share of sessions not ended yet, from all (top of a strip) to none. Bar and number: mean length T_int "
        f"{brackets(results)}." + (f" Dotted: step cap {int(cut.max())}." if len(cut) else ""),
        list(found),
        height=0.3,
    )
    numbers = [number_text(value, 1) for value in found.values()]
    figure, (axes,) = draw_page(page, [Panel("sessions not ended yet", "step of the session", numbers)])
    steps = np.arange(1, last + 1)
    for strip, (agent, value) in enumerate(found.items()):
        lengths = results.episodes.filter(pl.col("agent") == agent)["T_int"].to_numpy()
        share = (lengths[None, :] >= steps[:, None]).mean(axis=1)
        heights = filled(axes, strip, steps, share, _SHARES, look.colours[agent])
        if value["mean"] is not None:
            tip = float(np.interp(value["mean"], steps, heights))
            axes.vlines(value["mean"], tip, float(level(strip, 0.0, _SHARES)), color=look.colours[agent], lw=1.6)
    _step_axis(axes, last)
    if len(cut):
        axes.axvline(int(cut.max()), color=BLACK, lw=0.8, ls=":")
    return figure


def _satisfaction(results: Results, summary: Summary, look: Look) -> Figure:
    """Mean satisfaction at each step, over the range of all agents."""
    found = _sorted(summary, "satisfaction_mean")
    curves = {agent: satisfaction_curve(results, agent) for agent in found}
    drawn = [curve for curve in curves.values() if len(curve.steps)]
    scale = round_scale(np.concatenate([curve.mean for curve in drawn])) if drawn else _SHARES
    over = "users and seeds" if len(results.seeds) > 1 else "users"
    page = page_of(
        look,
        f"Mean satisfaction is {_compared(found, look, 2)}",
        f"Line: mean over the sessions not ended yet, if at least {MIN_SESSIONS}, with a 95 % band over {over}. "
        f"Thin line: {look.names[look.reference]}, for comparison. Number: mean over sessions {brackets(results)}.",
        list(found),
        height=0.4,
    )
    numbers = [number_text(value, 2) for value in found.values()]
    heading = "satisfaction (0 to 1), on one scale for all"
    figure, (axes,) = draw_page(page, [Panel(heading, "step of the session", numbers, scale, digits=2)])
    last = int(max((curve.steps[-1] for curve in drawn), default=2))
    again = curves[look.reference]
    for strip, agent in enumerate(found):
        axes.plot(again.steps, level(strip, again.mean, scale), color=ORANGE, lw=0.6)
        line(axes, strip, curves[agent], scale, look.colours[agent])
        if not len(curves[agent].steps):
            few = f"fewer than {MIN_SESSIONS} sessions"
            axes.text(1 + 0.02 * last, strip + 0.5, few, color=INK, fontsize=6.5, va="center")
    _step_axis(axes, last)
    return figure


def _exposure(results: Results, look: Look, axis: str) -> Figure | None:
    """How evenly categories or topics are shown at each step, and how large the largest share is."""
    shares = exposure_shares(results, axis)
    if shares.is_empty():
        return None
    spread, most, count = exposure_spread(shares), most_shown(shares), shares["name"].n_unique()
    means = {agent: mine for agent, *mine in spread.group_by("agent").mean().select("agent", "entropy", "top").rows()}
    agents = sorted(means, key=lambda agent: (-means[agent][0], agent))
    names, kinds = [look.names[agent] for agent in agents], _PLURAL[axis]
    page = page_of(
        look,
        f"{names[0]} shows the most even mix of {kinds}" + (f", {names[-1]} the least" if len(names) > 1 else ""),
        f"What is shown at a step in all sessions together, if at least {MIN_SESSIONS} have not ended. Entropy: 0 "
        f"bits if only one of the {kinds} is shown, {math.log2(count):.1f} if all {count} equally often. Numbers: "
        f"mean over steps; beside it the {axis} that is shown most.",
        agents,
        height=0.36,
    )
    entropy, top = (
        round_scale(spread["entropy"]),
        (0.0, round_scale([0.0, 100 * float(spread["top"].to_numpy().max())])[1]),
    )
    panels = [
        Panel(
            "entropy, bits", "step of the session", [f"{means[agent][0]:.2f}" for agent in agents], entropy, digits=1
        ),
        Panel(
            f"share of the largest {axis}, %",
            "step of the session",
            [f"{100 * means[agent][1]:.0f} %  {shortened(most[agent])}" for agent in agents],
            top,
        ),
    ]
    figure, (left, right) = draw_page(page, panels)
    for strip, agent in enumerate(agents):
        mine, colour = spread.filter(pl.col("agent") == agent), look.colours[agent]
        left.plot(mine["step"], level(strip, mine["entropy"], entropy), color=colour, lw=1.0)
        filled(right, strip, mine["step"].to_numpy(), 100 * mine["top"].to_numpy(), top, colour)
    for axes in (left, right):
        _step_axis(axes, int(spread["step"].to_numpy().max()))
    return figure


def _differences(results: Results, summary: Summary, look: Look) -> Figure | None:
    """The reference's reward / the reward of each other agent."""
    found = {agent: value for agent, value in ratios(summary, look.reference).items() if value["mean"] is not None}
    if not found:
        return None
    found = dict(sorted(found.items(), key=lambda entry: entry[1]["mean"] or 0.0))
    name = look.names[look.reference]
    page = page_of(
        look,
        _told_apart(found, name),
        f"Dot and number: ratio of the means of the same users {brackets(results)}. Hollow: the interval contains 1.",
        list(found),
        height=0.2,
    )
    numbers = [number_text(value, 2) for value in found.values()]
    panel = Panel(f"right of 1: {name} earns more", f"R_cum of {name} / R_cum of the agent", numbers)
    figure, (axes,) = draw_page(page, [panel])
    axes.axvline(1.0, color=BLACK, lw=0.8)
    for strip, (agent, value) in enumerate(found.items()):
        mean, low, high = parts_of(value)
        colour = look.colours[agent]
        axes.plot([low, high], [strip + 0.5] * 2, color=colour, lw=1.6, solid_capstyle="butt")
        axes.plot(mean, strip + 0.5, "o", color=colour, ms=4, mfc="white" if low <= 1 <= high else colour)
    ratio_scale(axes, list(found.values()))
    return figure


def _told_apart(found: Mapping[str, Interval], name: str) -> str:
    """What the intervals of ratios say, in a sentence."""
    more, less = (
        sum(parts_of(value)[1] > 1 for value in found.values()),
        sum(parts_of(value)[2] < 1 for value in found.values()),
    )
    open_ = len(found) - more - less
    said = f"{name} earns more than {more} of {len(found)} other agents"
    less_than, undecided = f", less than {less}", f"; {open_} cannot be distinguished from it"
    return said + (less_than if less else "") + (undecided if open_ else "")


def _sorted(summary: Summary, metric: str) -> dict[str, Interval]:
    """A metric by agent, the highest mean first."""
    found = {agent: summary["agents"][agent][metric] for agent in by_reward(summary)}
    return dict(sorted(found.items(), key=lambda entry: -np.nan_to_num(parts_of(entry[1])[0], nan=-np.inf)))


def _compared(found: Mapping[str, Interval], look: Look, digits: int, unit: str = "") -> str:
    """The reference's mean, and those of the highest and the lowest agent besides."""
    agents = list(dict.fromkeys([look.reference, next(iter(found)), list(found)[-1]]))
    values = [f"{parts_of(found[agent])[0]:.{digits}f}" for agent in agents]
    values[0] += unit
    return ", ".join(f"{value} with {look.names[agent]}" for value, agent in zip(values, agents, strict=True))


def _step_axis(axes: Axes, last: int) -> None:
    axes.set_xlim(1, max(last, 2))
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 5, 10]))
