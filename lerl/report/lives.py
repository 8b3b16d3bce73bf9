"""Metrics of lives: pure functions on the days of one person's sessions, and on many lives at once.

A life is what one person does in so many days, see `lerl.envs.sessions`. The functions on one life take its ``days``
(S,), when each session began, ascending from 0; a session takes no time on this clock. A life that was still going on
when the days were over is censored, not ended: when the person came last, or comes next, is not known.
"""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

RETENTION = (1, 7, 30)
"""Days at which retention is looked at."""
RETURN = 7.0
"""Days within which somebody is said to come back after a session, where sessions are asked what they tell."""


def active_days(days: ArrayLike) -> int:
    """On how many days the person came, |{floor(d)}|, whole days counted from the first session on.

    Range 1 to the horizon, rounded up. Source: the usual measure of activity on a platform; summed over people it is
    that of daily active users over the days.
    """
    return len(np.unique(np.floor(_ascending(days))))


def retained(days: ArrayLike, after: float, horizon: float) -> bool | None:
    """Whether the person came on day `after` or later: rolling retention.

    Source: rolling, or unbounded, retention as products are judged by it.

    None where it cannot be seen, as no session begins at `after` or later in so few days (`horizon` <= `after`). Not
    "on day `after`", which is what some tools count: of people who come every other day it is right for a half by
    chance, so that it says how often they come as much as whether. What is rolling depends on how long one looks, so
    that it is compared at equal horizons only, and falls towards the horizon.
    """
    return bool((_ascending(days) >= after).any()) if horizon > after else None


def mean_gap(days: ArrayLike) -> float | None:
    """Days between two sessions, the mean over a life; None for a life of one session.

    Range above 0 to the horizon. The last gap, which nobody saw end, is not in it, so that it is too short by
    itself: :func:`survival` of gaps counts that too.
    """
    began = _ascending(days)
    return float(np.diff(began).mean()) if len(began) > 1 else None


def r_life(rewards: ArrayLike) -> float:
    """Cumulative reward of a life, R_life = sum of R_cum over its sessions, undiscounted.

    ``rewards`` (S,), R_cum of each session. Range: at least 0. Source: R_cum as in `lerl.report.metrics.r_cum`, over a
    life in the place of a session.
    """
    return float(np.asarray(rewards, np.float64).sum())


def lifetime(days: ArrayLike) -> float:
    """The day of the last session, from 0 up to the horizon; of a life that is censored, the last that was seen."""
    return float(_ascending(days)[-1])


class Survival(NamedTuple):
    """The share that is left, by time: steps that hold from each of `times` on, with their 95 % band, (n,) each."""

    times: Floats
    share: Floats
    low: Floats
    high: Floats


def survival(times: ArrayLike, ended: ArrayLike) -> Survival:
    """The share for whom something has not happened yet, by time, of whom some were not looked at for long enough.

    ``times`` (N,), at least 0, and ``ended`` (N,) bool: whether it happened then, or was not seen until then. Kaplan
    and Meier 1958, "Nonparametric Estimation from Incomplete Observations" (JASA 53); S(t) is the product over times
    t_i <= t of 1 - d_i / n_i, with d_i for whom it happened and n_i who were still looked at. The band is Greenwood's
    on a log-log scale, as `scipy.stats.ecdf` has it; it takes the N as independent, so that it is too narrow where
    several are of one person. Range 0 to 1.
    """
    from scipy.stats import CensoredData, ecdf

    when, seen = np.asarray(times, np.float64), np.asarray(ended, np.bool_)
    if when.ndim != 1 or when.shape != seen.shape or not len(when) or (when < 0).any():
        raise ValueError(f"times must be at least 0, one for each of ended, given {when.shape} and {seen.shape}")
    if not seen.any():
        return Survival(np.array([0.0, when.max()]), np.ones(2), np.ones(2), np.ones(2))
    found = ecdf(CensoredData(uncensored=when[seen], right=when[~seen])).sf
    with warnings.catch_warnings():  # the band is not defined where all or none are left
        warnings.simplefilter("ignore", RuntimeWarning)
        band = found.confidence_interval(method="log-log")
    ends = (np.where(np.isnan(end.probabilities), found.probabilities, end.probabilities) for end in band)
    first = [np.concatenate([[1.0], part]) for part in (found.probabilities, *ends)]
    return Survival(np.concatenate([[0.0], found.quantiles]), *first)


def gaps_between(days: ArrayLike, horizon: float) -> tuple[Floats, NDArray[np.bool_]]:
    """Days to the next session after each of a life's (S,), and whether it was seen; the last is cut at the horizon.

    Of somebody who is lost for good the last gap is cut as well: whoever looks for so many days cannot tell them from
    those who come later.
    """
    began = _ascending(days)
    seen = np.arange(len(began)) < len(began) - 1
    return np.diff(np.append(began, horizon)), seen


def _ascending(days: ArrayLike) -> Floats:
    """The days of a life; refuses other shapes, none at all, and such as do not ascend."""
    began = np.asarray(days, np.float64)
    if began.ndim != 1 or not len(began) or began[0] < 0 or (np.diff(began) < 0).any():
        raise ValueError(f"days must be ascending numbers, one for each session, shape (S,), given {days!r}")
    return began
