"""Full ranking: the place of what a user chose among all items, and what follows from places.

Where the wanted item shares its score with others, its place is any of theirs with the same chance. `Places` keeps the
mean place and how many share it, and every metric is its expectation over them: a recommender that gives all items the
same score gets exactly what random orders get on average.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray

from lerl.agents.next_item.base import DivergedError, NextItem
from lerl.envs.draws import seed_from
from lerl.envs.sequences import Cases

SCORES = 1 << 21
"""Scores at once, at most: few enough to stay in a processor's cache."""

TOP = 10
"""Items of which it is counted how often each is recommended."""

Floats = NDArray[np.float64]


class Places(NamedTuple):
    """Where the wanted items of N cases lie among I items.

    Attributes:
        rank: (N,) float64, the mean place of those with the same score, from 1.
        tied: (N,) int64, how many have that score, itself included: 1 without ties.
        shown: (I,) int64, in how many cases' first TOP each item is; None where it was not counted.
        by_code: (N,) float64, the mean place of the wanted items' codes among all codes, from 1: a code has the score
            of the best item that has it. None for rows without codes.
    """

    rank: Floats
    tied: NDArray[np.int64]
    shown: NDArray[np.int64] | None = None
    by_code: Floats | None = None


def ranked(
    recommender: NextItem,
    cases: Cases,
    *,
    exclude: bool = False,
    ties: int | None = None,
    count: Callable[[int], object] = lambda _: None,
) -> Places:
    """Rank all items for each case, in batches whose scores fit in bounded memory.

    Args:
        recommender: fitted. cases: whom to rank for.
        exclude: rank items of the history behind all others.
        ties: a seed for the order of items of equal score, to count in `shown`; None to count nothing.
        count: called with how many cases were just ranked.

    Raises:
        DivergedError: scores are no numbers.
    """
    rank, tied = np.zeros(len(cases)), np.zeros(len(cases), np.int64)
    order = None if ties is None else np.random.default_rng(seed_from(ties, "ties")).permutation(recommender.items)
    shown = None if order is None else np.zeros(recommender.items, np.int64)
    same = recommender.same_code()
    by_code = None if same is None else np.zeros(len(cases))
    for rows in _batches(cases, recommender.items):
        histories, targets = cases.histories.take(rows), cases.targets[rows]
        scores = recommender.scores(histories)
        if exclude:
            scores[np.repeat(np.arange(len(rows)), histories.lengths), histories.values] = -np.inf
        above, tied[rows], finite = _compared(scores, targets)
        if not finite:
            raise DivergedError("scores are no numbers any more; lower the learning rate")
        if by_code is not None and same is not None:
            above_code, tied_code, _ = _compared(_of_codes(scores, same), same[targets])
            by_code[rows] = above_code + (tied_code + 1) / 2
        rank[rows] = above + (tied[rows] + 1) / 2
        if shown is not None and order is not None:
            shown += np.bincount(_first(scores, order).ravel(), minlength=recommender.items)
        count(len(rows))
    return Places(rank, tied, shown, by_code)


def _batches(cases: Cases, items: int) -> Iterator[NDArray[np.int64]]:
    """Rows of cases, those with histories of like length together, so that little is padded."""
    size = max(1, min(1024, SCORES // max(1, items)))
    by_length = np.argsort(cases.histories.lengths, kind="stable")
    return (by_length[first : first + size] for first in range(0, len(cases), size))


@njit(cache=True)
def _compared(scores, targets):  # type: ignore[no-untyped-def]
    """(B,) items above each target and (B,) those that share its score, itself included; whether there is no nan."""
    above, equal, finite = np.zeros(len(scores), np.int64), np.zeros(len(scores), np.int64), True
    for row in range(len(scores)):
        wanted, more, same, less = scores[row, targets[row]], 0, 0, 0
        for score in scores[row]:
            more += score > wanted
            same += score == wanted
            less += score < wanted
        above[row], equal[row] = more, same
        finite = finite and more + same + less == scores.shape[1]
    return above, equal, finite


def _of_codes(scores: NDArray[np.float32], same: NDArray[np.int64]) -> NDArray[np.float32]:
    """(B, codes): the highest of scores (B, I) of the items of each code, which `same` (I,) says."""
    order = np.argsort(same, kind="stable")
    starts = np.flatnonzero(np.diff(same[order], prepend=-1))
    return np.maximum.reduceat(scores[:, order], starts, axis=1)


def _first(scores: NDArray[np.float32], order: NDArray[np.int64]) -> NDArray[np.int64]:
    """(B, TOP) items with the highest scores (B, I); of equal ones those that come first in `order` (I,)."""
    top = min(TOP, len(order))
    given = torch.from_numpy(scores)
    found = given.topk(top, 1)
    chosen, least = found.indices.numpy(), found.values[:, -1:].numpy()
    for row in np.flatnonzero(np.count_nonzero(scores >= least, axis=1) > top):  # more share the last place than fit
        own = scores[row, order]
        above, equal = np.flatnonzero(own > least[row]), np.flatnonzero(own == least[row])
        chosen[row] = order[np.concatenate([above, equal[: top - len(above)]])]
    return np.asarray(chosen)


def recall(found: Places, k: int) -> Floats:
    """(N,) chance that the wanted item is among the first k."""
    first = found.rank - (found.tied - 1) / 2
    return np.clip((k + 1 - first) / found.tied, 0.0, 1.0)


def ndcg(found: Places, k: int) -> Floats:
    """(N,) expected 1 / log2(place + 1) among the first k, and 0 behind (Järvelin and Kekäläinen, TOIS 2002)."""
    gains = np.concatenate([[0.0], np.cumsum(1.0 / np.log2(np.arange(2, k + 2)))])
    first = (found.rank - (found.tied - 1) / 2).astype(np.int64)
    ends = [np.clip(place, 0, k) for place in (first - 1, first + found.tied - 1)]
    return (gains[ends[1]] - gains[ends[0]]) / found.tied


def reciprocal(found: Places) -> Floats:
    """(N,) expected 1 / place, whose mean is MRR."""
    first = (found.rank - (found.tied - 1) / 2).astype(np.int64)
    last = first + found.tied - 1
    sums = np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1, int(last.max(initial=1)) + 1))])
    return (sums[last] - sums[first - 1]) / found.tied
