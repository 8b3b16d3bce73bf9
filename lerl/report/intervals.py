"""lerl's bootstrap, and its two kinds of 95 % intervals.

With one seed, only users are resampled, and an interval runs from the 2.5th to the 97.5th percentile of the draws; it
says nothing about other seeds.

With several seeds, the half-width of an interval is the square root of a sum of two squares: the half-width of a
Student's t interval over users and that of one over seeds. Such an interval contains the true value at least as often
as stated. The variances come from a bootstrap of users with the seeds fixed, and one of seeds with the users fixed; the
latter is multiplied by S / (S - 1) for S seeds, to correct its bias. Percentiles of the draws are not used: with five
seeds they never reach beyond the best and the worst seed, whatever the level.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LEVEL = 95.0
"""How often an interval contains the true value, in per cent."""


class Interval(TypedDict):
    """A value with its interval; None where it is not defined."""

    mean: float | None
    low: float | None
    high: float | None


class Weights(NamedTuple):
    """How often each user and each seed is in each bootstrap draw; the first row is the sample itself."""

    users: Floats  # (B + 1, U)
    seeds: Floats  # (B + 1, S)


def bootstrap_weights(users: int, seeds: int, draws: int, rng: np.random.Generator) -> list[Weights]:
    """Weights that every value of one comparison shares, so that differences and ratios are paired.

    Args:
        users, seeds: how many there are, U and S. draws: B.

    Returns:
        Draws of users with the seeds as they are and, where there are several seeds, draws of seeds with the users as
        they are.
    """
    drawn_users = _with_sample(rng.multinomial(users, np.full(users, 1.0 / users), size=draws))
    drawn_seeds = _with_sample(rng.multinomial(seeds, np.full(seeds, 1.0 / seeds), size=draws))
    of_users = Weights(drawn_users, np.ones_like(drawn_seeds))
    return [of_users] if seeds == 1 else [of_users, Weights(np.ones_like(drawn_users), drawn_seeds)]


def weighted_means(values: Floats, weights: Weights) -> Floats:
    """(B + 1, L) means of (L, U, S) values over users and seeds, in each draw; the first is the sample's."""
    several, users, seeds = values.shape
    over = (weights.users @ values.transpose(1, 0, 2).reshape(users, -1)).reshape(-1, several, seeds)
    total = (weights.users.sum(1) * weights.seeds.sum(1))[:, None]
    return np.asarray(np.einsum("bls,bs->bl", over, weights.seeds) / total)


def intervals(
    drawn: Sequence[Floats],
    users: int,
    seeds: int,
    *,
    level: float = LEVEL,
    printed: Callable[[Floats], Floats] = np.asarray,
) -> list[Interval]:
    """Intervals of K values from their draws: percentiles over users for one seed, Student's t for several.

    Args:
        drawn: one array (B + 1, K) for each of `bootstrap_weights`, the sample's values first.
        users, seeds: how many there are. level: in per cent.
        printed: makes of the values and ends what is printed, such as `np.exp` of logarithms; it has to be increasing.
    """
    if seeds == 1:
        ends = np.stack([drawn[0][0], *percentiles(drawn[0][1:], level)], axis=1)
    else:
        ends = _student(drawn, (users, seeds), level)
    return [Interval(mean=plain(mean), low=plain(low), high=plain(high)) for mean, low, high in printed(ends).tolist()]


def percentiles(draws: Floats, level: float = LEVEL) -> tuple[Floats, Floats]:
    """Both ends of the middle `level` per cent of draws (B, ...), (...) each; nan where a draw is nan."""
    tail = (100.0 - level) / 2.0
    low, high = np.percentile(draws, [tail, 100.0 - tail], axis=0)
    return low, high


def _student(drawn: Sequence[Floats], counts: Sequence[int], level: float) -> Floats:
    """(K, 3): the sample's values and both ends of their intervals."""
    from scipy.special import stdtrit  # Student's quantiles; most commands print no such interval

    sample, reach = drawn[0][0], np.zeros(drawn[0].shape[1])
    for draws, count in zip(drawn, counts, strict=True):
        if count > 1:
            variance = draws[1:].var(axis=0) * count / (count - 1)
            reach = np.hypot(reach, stdtrit(count - 1, 0.5 + level / 200) * np.sqrt(variance))
    return np.stack([sample, sample - reach, sample + reach], axis=1)


def mean_interval(values: Floats, draws: int) -> Interval:
    """The mean of (U,) values of users of one seed."""
    (weights,) = bootstrap_weights(len(values), 1, draws, np.random.default_rng(0))
    (found,) = intervals([weights.users @ values[:, None] / len(values)], len(values), 1)
    return found


def plain(value: float) -> float | None:
    """A float that JSON can hold, to 10 significant digits: below what the order of a sum changes."""
    return float(f"{value:.10g}") if np.isfinite(value) else None


def number(value: float | None, missing: float) -> float:
    """A value, or what stands for one that is not defined."""
    return missing if value is None else value


def bracket(value: Interval, decimals: int, sign: str = "") -> str:
    """The two ends of an interval as tables print them."""
    if value["low"] is None or value["high"] is None:
        return "[n/a]"
    return f"[{value['low']:{sign}.{decimals}f}, {value['high']:{sign}.{decimals}f}]"


def estimate_text(value: Interval, decimals: int, sign: str = "") -> str:
    """A value and its interval as tables print them; `sign` is "+" where a plus is printed too."""
    if value["mean"] is None:
        return "n/a"
    return f"{value['mean']:{sign}.{decimals}f} {bracket(value, decimals, sign)}"


def interval_note(seeds: int) -> str:
    """A sentence for captions: which kind of interval `intervals` gives for so many seeds."""
    if seeds == 1:
        return (
            "95 % intervals in brackets: percentiles of a bootstrap over users, for one seed; they say nothing about "
            "other seeds."
        )
    return f"95 % intervals in brackets: Student's t, over users and over {seeds} seeds."


def _with_sample(drawn: NDArray[np.int64]) -> Floats:
    return np.vstack([np.ones(drawn.shape[1]), drawn])
