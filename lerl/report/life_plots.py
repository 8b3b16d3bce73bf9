"""Pictures of lives: who is lost for good, who comes on each day, and how long until the next session."""

from __future__ import annotations

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from lerl.report.bootstrap import Summary
from lerl.report.curves import Curve
from lerl.report.life_summary import by_days
from lerl.report.lives import RETURN, Survival, gaps_between, survival
from lerl.report.load import Results
from lerl.report.look import Look
from lerl.report.strip_parts import line, number_text, page_of
from lerl.report.strips import Panel, Scale, draw_page, level, round_scale

_SHARES: Scale = (0.0, 1.0)
_BAND = "Bands are 95 %, over lives as if they were independent"


def life_figures(results: Results, summary: Summary, look: Look) -> dict[str, Figure]:
    """The pictures by name, in the style that is in force; none where people do not come back."""
    if results.lives is None or results.life_sessions is None or "lives" not in summary:
        return {}
    agents = by_days(summary["lives"])
    return {
        "lives": _lives(results.lives, results.life_sessions, summary, look, agents),
        "gaps": _gaps(results.life_sessions, results.days, look, agents),
    }


def _lives(lives: pl.DataFrame, sessions: pl.DataFrame, summary: Summary, look: Look, agents: list[str]) -> Figure:
    """The share of people not lost for good, and of those with a session on each day."""
    found, horizon = summary["lives"]["agents"], summary["lives"]["days"]
    left = {agent: _left(lives.filter(pl.col("agent") == agent), horizon) for agent in agents}
    daily = {agent: _daily(lives, sessions, agent, horizon) for agent in agents}
    scale = round_scale(np.concatenate([[0.0], *(curve.mean for curve in daily.values())]))
    first, last = look.names[agents[0]], look.names[agents[-1]]
    days = [f"{found[agent]['active_days']['mean']:.1f}" for agent in (agents[0], agents[-1])]
    page = page_of(
        look,
        f"People come on {days[0]} of {horizon:g} days with {first}" + _least(last, days[1], len(agents)),
        "Left: share not lost for good (Kaplan-Meier, by the day of the last session; whoever would still come is "
        f"censored); number: share lost. Right: share with a session on a day; number: active days. {_BAND}.",
        agents,
        height=0.4,
    )
    panels = [
        Panel("not lost for good", "day", [number_text(found[agent]["churned"], 2) for agent in agents], _SHARES),
        Panel("with a session", "day", [number_text(found[agent]["active_days"], 1) for agent in agents], scale, 2),
    ]
    figure, (alive, active) = draw_page(page, panels)
    for strip, agent in enumerate(agents):
        _steps(alive, strip, left[agent], look.colours[agent])
        line(active, strip, daily[agent], scale, look.colours[agent])
    for axes in (alive, active):
        axes.set_xlim(0, horizon)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
    return figure


def _least(agent: str, days: str, agents: int) -> str:
    return f", on {days} with {agent}" if agents > 1 else ""


def _gaps(sessions: pl.DataFrame, horizon: float, look: Look, agents: list[str]) -> Figure:
    """The share of sessions whose person has not come back yet, by days since."""
    found = {agent: survival(*_all_gaps(sessions.filter(pl.col("agent") == agent), horizon)) for agent in agents}
    within = min(RETURN, horizon)
    away = {agent: _at(one, within) for agent, one in found.items()}
    order = sorted(agents, key=lambda agent: away[agent])
    page = page_of(
        look,
        f"After {100 * away[order[0]]:.0f} % of sessions with {look.names[order[0]]} people stay away for more than "
        f"{within:g} days"
        + (f", {100 * away[order[-1]]:.0f} % with {look.names[order[-1]]}" if len(order) > 1 else ""),
        "Share of sessions after which the person has not come back yet (Kaplan-Meier; the last session of each is "
        f"censored at the end). Number: share after {within:g} days. {_BAND}: too narrow, as people have several.",
        order,
        height=0.4,
    )
    panel = Panel("not back yet", "days since the session", [f"{away[agent]:.2f}" for agent in order], _SHARES)
    figure, (axes,) = draw_page(page, [panel])
    for strip, agent in enumerate(order):
        _steps(axes, strip, found[agent], look.colours[agent])
    axes.set_xlim(0, min(horizon, 2 * RETURN))
    return figure


def _left(mine: pl.DataFrame, horizon: float) -> Survival:
    """Days until people are lost for good; of the others it is not known."""
    gone = mine["churned"].cast(pl.Boolean).to_numpy()
    return survival(np.where(gone, mine["lifetime"].to_numpy(), horizon), gone)


def _daily(lives: pl.DataFrame, sessions: pl.DataFrame, agent: str, horizon: float) -> Curve:
    """The share of an agent's people with a session on each day, with a normal band."""
    people = lives.filter(pl.col("agent") == agent).height
    came = sessions.filter(pl.col("agent") == agent).with_columns(pl.col("day").floor())
    counts = came.unique(["seed", "user", "replicate", "day"]).group_by("day").len()
    days = np.arange(np.ceil(horizon), dtype=np.float64)
    share = np.zeros(len(days))
    share[counts["day"].to_numpy().astype(np.int64)] = counts["len"].to_numpy() / people
    return Curve(days, share, 1.96 * np.sqrt(share * (1 - share) / people))


def _all_gaps(mine: pl.DataFrame, horizon: float) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Days until the next session after each one, (n,), and whether that was seen."""
    ordered = mine.sort("seed", "user", "replicate", "session")
    lives = ordered.group_by("seed", "user", "replicate", maintain_order=True).agg("day")["day"].to_list()
    gaps, seen = zip(*(gaps_between(days, horizon) for days in lives), strict=True)
    return np.concatenate(gaps), np.concatenate(seen)


def _at(found: Survival, time: float) -> float:
    return float(found.share[np.searchsorted(found.times, time, side="right") - 1])


def _steps(axes: Axes, strip: int, found: Survival, colour: str) -> None:
    """A survival curve and its band, which hold until the next step; the last to the end."""
    times = np.append(found.times, 10_000.0)
    low, high, share = (
        level(strip, np.append(part, part[-1]), _SHARES) for part in (found.low, found.high, found.share)
    )
    axes.fill_between(times, low, high, step="post", color=colour, alpha=0.2, lw=0)
    axes.step(times, share, where="post", color=colour, lw=1.2)
