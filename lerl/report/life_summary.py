"""Lives summarised: every metric of every agent, every two agents compared, and what a session tells of the life.

Draws are those of `lerl.report.bootstrap`, so that intervals are of the same kind, paired, over users and seeds.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TypedDict

import numpy as np
import polars as pl

from lerl.files import RunError
from lerl.report.intervals import Floats, Interval, Weights, intervals, number, plain
from lerl.report.lives import RETURN
from lerl.report.load import LIFE_METRICS, SESSION_METRICS, Results, check_reference
from lerl.report.paired import Difference, difference, mean_draws, turned, user_seed_means, weighted_sums

LIFE_DIFFERENCES = ("active_days", "retention_7", "R_life")
"""Metrics in which agents are compared."""
OUTCOMES = ("active_days", "retention_7")
"""What agents differ in that sessions may tell."""
FEWEST = 3  # agents or lives, for a correlation


class Surrogate(TypedDict):
    """How well a metric of sessions goes with coming back: rank correlations from -1 to 1, None where not defined.

    metric: of one session. within: with coming back within a week, between the sessions of one life. between: the
    same, between people, of one agent. agents: between agents, with each of `OUTCOMES`.
    """

    metric: str
    within: Interval
    between: Interval
    agents: dict[str, Interval]


class LifeSummary(TypedDict):
    """What summary.json holds of people who come back.

    days: how many were looked at. gaps: "assumed", or "fitted" to a log. agents: metrics of each. differences: paired,
    of every two agents. surrogates: of each metric of a session.
    """

    days: float
    gaps: str
    agents: dict[str, dict[str, Interval]]
    differences: list[Difference]
    surrogates: list[Surrogate]


def life_draws(results: Results, weights: Sequence[Weights]) -> list[dict[str, Floats]]:
    """Values for every draw, for each of the weights; nothing where people do not come back.

    "lives.METRIC" has those of every agent, (B + 1, A); "within.METRIC", "between.METRIC" and "agents.METRIC.OUTCOME"
    correlations, (B + 1, 1). Ranks within and between people are those of the sample in every draw, ranks of agents are
    the draw's own.
    """
    if results.lives is None or results.life_sessions is None:
        return [{} for _ in weights]
    values = user_seed_means(results.lives, results.agents, LIFE_METRICS)
    sessions = results.life_sessions.with_columns(_came_back(results.days))
    of_sessions = user_seed_means(sessions, results.agents, SESSION_METRICS)
    sums = {
        f"{level}.{metric}": _sums(sessions, metric, level == "within")
        for metric in SESSION_METRICS
        for level in ("within", "between")
    }
    found = []
    for one in weights:
        lived, told = mean_draws(values, one, LIFE_METRICS), mean_draws(of_sessions, one, SESSION_METRICS)
        draws = {f"lives.{name}": drawn for name, drawn in lived.items()}
        draws |= {name: _correlations(total, one) for name, total in sums.items()}
        draws |= {
            f"agents.{metric}.{outcome}": _between_agents(told[metric], lived[outcome])
            for metric in SESSION_METRICS
            for outcome in OUTCOMES
        }
        found.append(draws)
    return found


def summary_of_lives(results: Results, draws: list[dict[str, Floats]]) -> LifeSummary:
    """Means, paired differences and ratios, and surrogates, from draws that `life_draws` has a part in."""
    users, seeds = results.episodes["user"].n_unique(), len(results.seeds)

    def of(name: str) -> list[Interval]:
        return intervals([one[name] for one in draws], users, seeds)

    def correlation(name: str) -> Interval:
        (found,) = intervals([one[name] for one in draws], users, seeds, printed=lambda ends: np.clip(ends, -1.0, 1.0))
        return found

    by_metric = {name: of(f"lives.{name}") for name in LIFE_METRICS}
    pairs = itertools.combinations(enumerate(results.agents), 2)
    differences = [
        difference(
            a, b, name, [(one[f"lives.{name}"][:, i], one[f"lives.{name}"][:, j]) for one in draws], users, seeds
        )
        for (i, a), (j, b) in pairs
        for name in LIFE_DIFFERENCES
    ]
    return {
        "days": plain(results.days) or 0.0,
        "gaps": str((results.config.get("data") or {}).get("returns", "assumed")),
        "agents": {
            agent: {name: found[place] for name, found in by_metric.items()}
            for place, agent in enumerate(results.agents)
        },
        "differences": differences,
        "surrogates": [
            {
                "metric": metric,
                "within": correlation(f"within.{metric}"),
                "between": correlation(f"between.{metric}"),
                "agents": {outcome: correlation(f"agents.{metric}.{outcome}") for outcome in OUTCOMES},
            }
            for metric in SESSION_METRICS
        ],
    }


def by_days(summary: LifeSummary) -> list[str]:
    """The agents, most active days first."""
    agents = summary["agents"]
    return sorted(agents, key=lambda agent: -number(agents[agent]["active_days"]["mean"], -np.inf))


def life_ratios(summary: LifeSummary, reference: str, metric: str = "active_days") -> dict[str, Interval]:
    """Paired ratio mean(reference) / mean(agent) of a metric to every other agent; None where it is not defined.

    Raises:
        RunError: there is no agent `reference`, or agents are not compared in this metric.
    """
    check_reference(reference, summary["agents"])
    if metric not in LIFE_DIFFERENCES:
        raise RunError(f"no ratios of {metric!r}, there are {', '.join(LIFE_DIFFERENCES)}")
    found: dict[str, Interval] = {}
    for entry in summary["differences"]:
        if entry["metric"] == metric and reference in (entry["a"], entry["b"]):
            own = entry if entry["a"] == reference else turned(entry)
            found[own["b"]] = {"mean": own["ratio"], "low": own["ratio_low"], "high": own["ratio_high"]}
    return found


_LIFE = ("agent", "seed", "user", "replicate")


def _came_back(days: float) -> pl.Expr:
    """Whether the next session of a life began within `RETURN` days; null where the end hides it."""
    following = pl.col("day").shift(-1).over(_LIFE, order_by="session")
    back = ((following - pl.col("day")) <= RETURN).fill_null(False)
    return pl.when(pl.col("day") <= days - RETURN).then(back).alias("back")


def _sums(sessions: pl.DataFrame, metric: str, within: bool) -> Floats:
    """Sums (1, U, S, 3) of x x, y y and x y, of ranks x of a metric and y of coming back, about their means.

    Between the sessions of a life about the life's mean, or between people about the agent's, of whom each has one
    mean in a seed.
    """
    keys = ("user", "seed")
    known = sessions.select(*_LIFE, x=pl.col(metric).fill_nan(None), y=pl.col("back").cast(pl.Float64))
    known = known.with_columns(there=pl.col("x").is_not_null() & pl.col("y").is_not_null())
    rows = known.filter("there")
    about: tuple[str, ...] = _LIFE
    if not within:
        about = ("agent", "seed")
        rows = rows.group_by("agent", *keys).agg(pl.col("x", "y").mean())
    ranked = rows.with_columns(pl.col("x", "y").rank().over("agent"))
    centred = ranked.with_columns(pl.col("x", "y") - pl.col("x", "y").mean().over(about))
    of_each = centred.group_by(keys).agg(
        xx=(pl.col("x") ** 2).sum(), yy=(pl.col("y") ** 2).sum(), xy=(pl.col("x") * pl.col("y")).sum()
    )
    everyone = sessions.select(keys).unique().sort(keys)
    filled = everyone.join(of_each, on=keys, how="left", maintain_order="left").fill_null(0.0)
    return filled.select("xx", "yy", "xy").to_numpy().reshape(1, sessions["user"].n_unique(), -1, 3)


def _correlations(sums: Floats, weights: Weights) -> Floats:
    """(B + 1, 1) correlations of what `_sums` gives; nan where nothing varies."""
    xx, yy, xy = np.moveaxis(weighted_sums(sums, weights), -1, 0)
    spread = np.sqrt(xx * yy)
    return np.asarray(np.where(spread > 1e-9, xy / np.where(spread > 1e-9, spread, 1.0), np.nan))


def _between_agents(told: Floats, lived: Floats) -> Floats:
    """(B + 1, 1) Spearman's correlations of two metrics of the agents, (B + 1, A); nan for too few agents."""
    from scipy.stats import rankdata

    if told.shape[1] < FEWEST:
        return np.full((len(told), 1), np.nan)
    x, y = (np.asarray(rankdata(each, axis=1, nan_policy="propagate")) for each in (told, lived))
    x, y = x - x.mean(axis=1, keepdims=True), y - y.mean(axis=1, keepdims=True)
    spread = np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1))
    found = np.where(spread > 0, (x * y).sum(axis=1) / np.where(spread > 0, spread, 1.0), np.nan)
    return np.asarray(found)[:, None]
