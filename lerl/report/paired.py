"""What two agents' draws make together: paired differences and ratios, and means over users and seeds in each draw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
import polars as pl

from lerl.report.intervals import Floats, Weights, intervals, plain


class Paired(TypedDict):
    """A difference of two means of a metric and their ratio, each with its paired 95 % interval."""

    metric: str
    mean: float | None
    ratio: float | None
    low: float | None
    high: float | None
    ratio_low: float | None
    ratio_high: float | None


class Difference(Paired):
    """Two agents: mean(a) - mean(b) and mean(a) / mean(b)."""

    a: str
    b: str


def user_seed_means(table: pl.DataFrame, agents: Sequence[str], names: Sequence[str]) -> Floats:
    """Columns of a table averaged over what a user did in a seed, (A, U, S, M); nan where there is no value."""
    order = ["agent", "user", "seed"]
    means = (
        table.with_columns(pl.col("agent").cast(pl.Enum(agents)))
        .with_columns(pl.col(names).cast(pl.Float64).fill_nan(None))
        .sort(*order, "replicate")
        .group_by(order, maintain_order=True)
        .agg(pl.col(names).mean())
    )
    values = means.select(pl.col(names).fill_null(float("nan"))).to_numpy()
    return values.reshape(len(agents), -1, table["seed"].n_unique(), len(names))


def mean_draws(values: Floats, weights: Weights, names: Sequence[str]) -> dict[str, Floats]:
    """Weighted means of (A, U, S, M) values over users and seeds, by name (B + 1, A); nan has no weight."""
    there = ~np.isnan(values)
    total = weighted_sums(np.where(there, values, 0.0), weights)
    count = weighted_sums(there.astype(np.float64), weights)
    means = np.where(count > 0, total / np.where(count > 0, count, 1.0), np.nan)  # (B + 1, A, M)
    return {name: means[:, :, i] for i, name in enumerate(names)}


def weighted_sums(values: Floats, weights: Weights) -> Floats:
    """Sum over users and seeds of (A, U, S, M) values times their weights, (B + 1, A, M)."""
    agents, users, seeds, names = values.shape
    over_users = weights.users @ values.transpose(1, 0, 2, 3).reshape(users, -1)
    return np.asarray(np.einsum("bs,basm->bam", weights.seeds, over_users.reshape(-1, agents, seeds, names)))


def difference(a: str, b: str, metric: str, pairs: list[tuple[Floats, Floats]], users: int, seeds: int) -> Difference:
    """What `a` has more than `b`; their draws are `pairs` of (B + 1,), one pair for each of the weights."""
    (more,) = intervals([(of_a - of_b)[:, None] for of_a, of_b in pairs], users, seeds)
    if seeds == 1:
        (ratio,) = intervals([_ratio(*pair)[:, None] for pair in pairs], users, seeds)
    else:  # a ratio's spread is alike in both directions on a logarithmic scale
        (ratio,) = intervals([_logarithm(_ratio(*pair))[:, None] for pair in pairs], users, seeds, printed=np.exp)
    return {
        "a": a,
        "b": b,
        "metric": metric,
        "mean": more["mean"],
        "ratio": ratio["mean"],
        "low": more["low"],
        "high": more["high"],
        "ratio_low": ratio["low"],
        "ratio_high": ratio["high"],
    }


def _ratio(of_a: Floats, of_b: Floats) -> Floats:
    """a / b, nan where b is not positive."""
    return np.asarray(np.where(of_b > 0, of_a / np.where(of_b > 0, of_b, 1.0), np.nan))


def _logarithm(values: Floats) -> Floats:
    """nan where there is none."""
    return np.asarray(np.log(np.where(values > 0, values, np.nan)))


def turned(entry: Difference) -> Difference:
    """A difference the other way round; a ratio is None where it changes sign or is not defined."""
    mean, low, high = (
        plain(-value) if value is not None else None for value in (entry["mean"], entry["high"], entry["low"])
    )
    ratio, ratio_low, ratio_high = (
        plain(1.0 / value) if value is not None and value > 0 else None
        for value in (entry["ratio"], entry["ratio_high"], entry["ratio_low"])
    )
    return {
        "a": entry["b"], "b": entry["a"], "metric": entry["metric"], "mean": mean, "ratio": ratio, "low": low,
        "high": high, "ratio_low": ratio_low, "ratio_high": ratio_high,
    }  # fmt: skip
