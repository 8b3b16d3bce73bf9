"""What one deployment's period comes to: figures of every person, and of all of them together.

Figures of all together are given with what they would be without each person, from which their intervals are drawn, see
`lerl.report.influence`.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array  # type: ignore[import-untyped, unused-ignore]

from lerl.experiment.loop.between import AWAY, GONE
from lerl.experiment.loop.cast import Cast
from lerl.report.influence import coverage_without, gini_without, share_without
from lerl.report.metrics import catalog_coverage, gini

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

PERSONAL = ("R_session", "R_period", "satisfaction", "feedback", "active", "active_days", "churned", "known")
"""Figures that every person has one of, whose mean is taken."""
SHARED = ("gini", "coverage", "top_tenth", "later_items", "jaccard")
"""Figures of all people together."""
METRICS = (*PERSONAL, *SHARED)

COMPARED = 20
"""Items of each person that are compared with those of others: the first different ones of a period."""
AT_ONCE = 1024


class Measured(NamedTuple):
    """One period of a deployment on N people.

    Attributes:
        personal: (N, M) figures of `PERSONAL`, nan where a person has none. shared: (F,) figures of `SHARED`, nan where
            there is none. without: (F, N) what each would be without each person.
    """

    personal: Floats
    shared: Floats
    without: Floats


def measure(cast: Cast, period: int, log: pl.DataFrame, sessions: pl.DataFrame, people: pl.DataFrame) -> Measured:
    """The figures of a period.

    R_session: mean R_cum of the sessions of a person; R_period: their sum, 0 for who did not come; satisfaction: mean
    at their ends; feedback: mean reward of a step; active: whether the person came; active_days: on how many days;
    churned: whether the person is lost for good by the end of the period; known: see
    `lerl.experiment.loop.knowledge.agreement`. All but R_session, satisfaction and feedback are of everybody who has
    begun, those lost earlier included.

    Gini, coverage and the share of exposure of the top tenth of items are over the items that are there; later_items is
    the share of exposure of items that were not there in the first period. jaccard is `mean_jaccard`. Mansoury et al.,
    "Feedback loop and bias amplification in recommender systems" (CIKM 2020), follow popularity bias through a loop so.

    Args:
        cast: who and what is there. period: which, from 0. log, sessions: of the period, see `LOG` and `SESSIONS` of
            `lerl.experiment.loop.between`. people: columns status and known, in the cast's order.
    """
    personal = _personal(cast, sessions, people)
    owner = np.searchsorted(cast.people, log["user"].to_numpy())
    pairs, count = np.unique(np.stack([owner, log["item"].to_numpy()]), axis=1, return_counts=True)
    exposed = csr_array((count, (pairs[0], pairs[1])), shape=(len(cast.people), cast.there.shape[1]))
    exposed = exposed[:, np.flatnonzero(cast.there[period])]
    later = cast.later[cast.there[period]]
    overlap, without = mean_jaccard(first_items(owner, log["item"].to_numpy().astype(np.int64), len(cast.people)))
    shared, left = _exposure(exposed, later)
    return Measured(personal, np.append(shared, overlap), np.vstack([left, without]))


def _personal(cast: Cast, sessions: pl.DataFrame, people: pl.DataFrame) -> Floats:
    count, owner = len(cast.people), np.searchsorted(cast.people, sessions["user"].to_numpy())

    def total(values: Floats) -> Floats:
        return np.bincount(owner, weights=values, minlength=count).astype(np.float64)

    number, reward = np.bincount(owner, minlength=count), total(sessions["R_cum"].to_numpy())
    came, status = number > 0, people["status"].to_numpy()
    days = np.unique(np.stack([owner, np.floor(sessions["day"].to_numpy()).astype(np.int64)]), axis=1)
    steps = total(sessions["T_int"].to_numpy().astype(np.float64))

    def of(above: Floats, below: Floats) -> Floats:
        return np.where(came, above / np.where(came, below, 1.0), np.nan)

    everybody = np.where(status != AWAY, 1.0, np.nan)
    columns = {
        "R_session": of(reward, number.astype(np.float64)),
        "R_period": everybody * reward,
        "satisfaction": of(total(sessions["satisfaction_final"].to_numpy()), number.astype(np.float64)),
        "feedback": of(reward, steps),
        "active": everybody * came,
        "active_days": everybody * np.bincount(days[0], minlength=count),
        "churned": everybody * (status == GONE),
        "known": everybody * people["known"].to_numpy(),
    }
    return np.column_stack([columns[name] for name in PERSONAL])


def _exposure(exposed: csr_array, later: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Gini, coverage, share of the top tenth, share of later items, (4,), of exposures (N, I) of the I items there; and
    what each would be without each person, (4, N)."""
    people, items = exposed.shape
    totals = np.asarray(exposed.sum(axis=0)).astype(np.int64)
    if not totals.sum():
        return np.full(4, np.nan), np.full((4, people), np.nan)
    rows = exposed.tocoo()
    user, item, count = rows.row.astype(np.int64), rows.col.astype(np.int64), rows.data.astype(np.int64)
    top = np.zeros(items, bool)
    # without a person, which items are the top tenth is held fixed
    top[np.argsort(-totals, kind="stable")[: max(1, items // 10)]] = True
    each = np.asarray(exposed.sum(axis=1)).astype(np.float64)
    found = [gini(totals), catalog_coverage(totals)]
    without = [gini_without(user, item, count, items, people), coverage_without(user, item, items, people)]
    for kind in (top, later):
        part = np.asarray(exposed[:, np.flatnonzero(kind)].sum(axis=1)).astype(np.float64)
        found.append(part.sum() / each.sum() if kind.any() else np.nan)
        without.append(share_without(part, each) if kind.any() else np.full(people, np.nan))
    return np.array(found), np.stack(without)


def first_items(owner: Ints, items: Ints, people: int, most: int = COMPARED) -> list[Ints]:
    """The first `most` different items of each person, from a log in order of time; empty where fewer were shown."""
    order = np.lexsort((np.arange(len(owner)), items, owner))
    same = np.zeros(len(order), bool)
    same[1:] = (np.diff(owner[order]) == 0) & (np.diff(items[order]) == 0)
    first = np.sort(order[~same])
    found = []
    mine = first[np.argsort(owner[first], kind="stable")]
    starts = np.searchsorted(owner[mine], np.arange(people + 1))
    for begin, end in pairwise(starts.tolist()):
        found.append(items[mine[begin : begin + most]] if end - begin >= most else np.zeros(0, np.int64))
    return found


def mean_jaccard(sets: list[Ints]) -> tuple[float, Floats]:
    """Mean Jaccard index |A & B| / |A | B| of all pairs of people, and what it would be without each, (N,).

    Sets have one size, or are empty, for people who are in no pair: with sets of one size the index depends on what is
    shared alone, and not on how much was shown. Chaney, Stewart and Engelhardt, "How algorithmic confounding in
    recommendation systems increases homogeneity and decreases utility" (RecSys 2018), measure homogenisation so, and
    compare sets of equally many items too.

    Args:
        sets: of each of N people, the numbers of different items.

    Returns:
        The mean, from 0 to 1, nan where fewer than two people have a set; and the values without each person, nan
        where the person is in no pair, or where no pair is left.
    """
    there = np.flatnonzero([len(one) > 0 for one in sets])
    if len(there) < 2:
        return float("nan"), np.full(len(sets), np.nan)
    size = len(sets[there[0]])
    column = np.concatenate([sets[person] for person in there])
    names, column = np.unique(column, return_inverse=True)
    owner = np.repeat(np.arange(len(there)), size)
    member = csr_array((np.ones(len(owner), np.float32), (owner, column)), shape=(len(there), len(names)))
    sums = np.zeros(len(there))
    for begin in range(0, len(there), AT_ONCE):
        both = (member[begin : begin + AT_ONCE] @ member.T).toarray().astype(np.float64)
        sums[begin : begin + AT_ONCE] = (both / (2 * size - both)).sum(axis=1) - 1.0  # each is alike to oneself
    pairs, total = len(there) * (len(there) - 1), sums.sum()
    without = np.full(len(sets), np.nan)
    if len(there) > 2:
        without[there] = (total - 2 * sums) / ((len(there) - 1) * (len(there) - 2))
    return float(total / pairs), without
