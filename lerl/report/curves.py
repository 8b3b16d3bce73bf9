"""The curves in pictures of evaluated runs: means with intervals by training step or step of the session."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import t as student_t

from lerl.report.load import Results

Floats = NDArray[np.float64]

MIN_SESSIONS = 20
"""A mean over fewer sessions says more about who stayed than about the agent."""


class Curve(NamedTuple):
    """Points of a curve with half their 95 % interval, (n,) each."""

    steps: Floats
    mean: Floats
    half: Floats


def learning_curves(results: Results) -> dict[str, Curve]:
    """Mean R_cum over seeds by environment steps, of each agent that has such points, with a t interval."""
    found = {}
    for agent in results.agents:
        mine = results.curves.filter(pl.col("agent") == agent).sort("steps")
        parts = mine.partition_by("seed", maintain_order=True)
        if parts:
            found[agent] = mean_curve([(part["steps"].to_numpy(), part["R_cum"].to_numpy()) for part in parts])
    return found


def mean_curve(curves: Sequence[tuple[Floats, Floats]]) -> Curve:
    """The mean of curves, linear between their points, with a t interval (0 for one curve), where all of them are.

    Curves of one agent need not have their points at the same steps: a planner's lessons take more or fewer. There may
    be no step that all of them reach; then there are no points.
    """
    first, last = max(steps[0] for steps, _ in curves), min(steps[-1] for steps, _ in curves)
    if first > last:
        return Curve(np.zeros(0), np.zeros(0), np.zeros(0))
    steps = np.unique(np.concatenate([steps for steps, _ in curves])).astype(np.float64)
    steps = steps[(steps >= first) & (steps <= last)]
    values = np.stack([np.interp(steps, *curve) for curve in curves])  # (S, n)
    if len(curves) == 1:
        return Curve(steps, values[0], np.zeros(len(steps)))
    half = student_t.ppf(0.975, len(curves) - 1) * values.std(axis=0, ddof=1) / math.sqrt(len(curves))
    return Curve(steps, values.mean(axis=0), half)


def satisfaction_curve(results: Results, agent: str) -> Curve:
    """Mean satisfaction of the sessions still there by step of the session, while at least `MIN_SESSIONS` are.

    The interval has a normal part for users, the sessions' spread over the sessions of one seed (all seeds have the
    same users, so more seeds bring no more of them; replicates count as sessions of their own), and a t part for seeds,
    the spread of the seeds' means over their number.
    """
    weight = pl.col("sessions") / pl.col("sessions").sum()
    pooled = (
        results.steps.filter(pl.col("agent") == agent)
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
    return Curve(pooled["step"].to_numpy().astype(np.float64), pooled["mean"].to_numpy(), half)


def exposure_shares(results: Results, axis: str) -> pl.DataFrame:
    """Columns agent, step, name and share: of each "category" or "topic" (the axis) in what was shown at a step.

    All seeds together, one in sum at each step, while at least `MIN_SESSIONS` sessions are there; of an agent that
    never has so many, while none has left.
    """
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


def exposure_spread(shares: pl.DataFrame) -> pl.DataFrame:
    """Columns agent, step, entropy (bits) and top (the largest share) of `exposure_shares`, sorted by agent and step.

    Entropy is Shannon's, -sum p log2 p: 0 where one name has it all, log2 of the names where all are shown alike.
    """
    surprise = -pl.col("share") * pl.when(pl.col("share") > 0).then(pl.col("share").log(2.0)).otherwise(0.0)
    return (
        shares.group_by("agent", "step")
        .agg(surprise.sum().clip(0.0).alias("entropy"), pl.col("share").max().alias("top"))
        .sort("agent", "step")
    )


def most_shown(shares: pl.DataFrame) -> dict[str, str]:
    """The name that each agent shows most over all steps of `exposure_shares`."""
    totals = shares.group_by("agent", "name").agg(pl.col("shown").sum())
    first = totals.sort("agent", "shown", "name", descending=[False, True, False]).group_by("agent").first()
    return dict(first.select("agent", "name").iter_rows())
