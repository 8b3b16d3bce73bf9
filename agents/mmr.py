"""Slates re-ranked for diversity."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from lerl.agents.retrieval import score_items
from lerl.envs import threads


def diverse_items(
    queries: NDArray[np.float32],
    vectors: NDArray[np.float32],
    units: NDArray[np.float32],
    shown: NDArray[np.int32],
    k: int,
    weight: float,
    eligible: NDArray[np.bool_] | None = None,
) -> NDArray[np.int32]:
    """Slates (B, k) by maximal marginal relevance over items not yet shown (Carbonell and Goldstein, SIGIR 1998).

    Each pick maximises query . vector - weight * max(0, largest cosine to what the slate already holds).

    Args:
        queries: (B, D). vectors: (I, D). units: (I, d) directions that similarity is computed in.
        shown: (B, S), -1 as padding. k: items per slate. weight: at least 0, on the scale of the scores.
        eligible: (B, I), what of the rest may be shown; all of it when None.
    """
    columns, similar = np.ascontiguousarray(vectors.T), np.ascontiguousarray(units.T)
    mask = np.ones((0, 0), bool) if eligible is None else eligible

    def pick(block: slice) -> tuple[NDArray[np.int32]]:
        own = queries[block], columns, units, similar, shown[block], mask[block]
        return (_diverse_items(*own, k, weight),)

    (slates,) = threads.joined(pick, len(queries), threads.least(k * len(vectors) / 100))
    return slates


def picked(scores: NDArray[np.float32], units: NDArray[np.float32], k: int, weight: float) -> NDArray[np.int32]:
    """Slates (B, k) of the items with the highest scores (B, I), -inf for what may not be shown; -1 where none is left.

    Of equal scores the lower number is taken. With a weight above 0 by maximal marginal relevance, as `diverse_items`.

    Args:
        scores: overwritten. units: (I, d) directions that similarity is computed in. k: items per slate. weight: at
            least 0, on the scale of the scores.
    """
    similar = np.ascontiguousarray(units.T)

    def pick(block: slice) -> tuple[NDArray[np.int32]]:
        slates = np.full((block.stop - block.start, k), -1, np.int32)
        _picked(scores[block], units, similar, float(weight), slates)
        return (slates,)

    (slates,) = threads.joined(pick, len(scores), threads.least(k * len(units) / 1000))
    return slates


@njit(cache=True, nogil=True)
def _picked(scores, units, similar, weight, slates):  # type: ignore[no-untyped-def]
    nearest, cosines = np.empty(scores.shape[1], np.float32), np.empty(scores.shape[1], np.float32)
    for b in range(len(scores)):
        _fill(scores[b], units, similar, weight, nearest, cosines, slates[b])


@njit(cache=True, nogil=True)
def _fill(scores, units, similar, weight, nearest, cosines, slate):  # type: ignore[no-untyped-def]
    """slate (k,) <- items picked one after another by scores (I,); `nearest` and `cosines` (I,) are working space."""
    items = len(scores)
    nearest[:] = 0.0
    for s in range(min(len(slate), items)):
        best = -1
        top = np.float32(-np.inf)
        for item in range(items):
            value = scores[item] - weight * nearest[item]
            if value > top:
                best, top = item, value
        if best < 0:
            break
        slate[s] = best
        scores[best] = -np.inf
        if weight > 0:
            score_items(units, best, similar, 0, cosines)
            np.maximum(nearest, cosines, nearest)


@njit(cache=True, nogil=True)
def _diverse_items(queries, columns, units, similar, shown, eligible, k, weight):  # type: ignore[no-untyped-def]
    users, items = len(queries), columns.shape[1]
    slates = np.full((users, k), -1, np.int32)
    scores = np.empty(items, np.float32)
    nearest = np.empty(items, np.float32)
    cosines = np.empty(items, np.float32)
    for b in range(users):
        score_items(queries, b, columns, 0, scores)
        for slot in range(shown.shape[1]):
            if shown[b, slot] >= 0:
                scores[shown[b, slot]] = -np.inf
        if len(eligible):
            for item in range(items):
                if not eligible[b, item]:
                    scores[item] = -np.inf
        _fill(scores, units, similar, weight, nearest, cosines, slates[b])
    return slates
