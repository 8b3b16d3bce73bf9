"""From virtual items to slates: exact top k by inner product among the items that a plan allows."""

import numpy as np
from numba import njit
from numpy.typing import NDArray


def top_items(
    queries: NDArray[np.float32],
    vectors: NDArray[np.float32],
    groups: NDArray[np.int32],
    allowed: NDArray[np.bool_],
    avoid: NDArray[np.bool_],
    shown: NDArray[np.int32],
    k: int,
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """The k items of highest inner product with each query, among the eligible and not yet shown.

    Where a plan leaves fewer than k, it is widened: first `avoid` is lifted, then `allowed`. Ties go to the item of the
    lower number. Items shown before are never shown again.

    Args:
        queries: (B, D) virtual items. vectors: (I, D). groups: (I, M) each item's categories, -1 as padding.
        allowed, avoid: (B, C) plans. shown: (B, S) items already shown, -1 as padding.
        k: items per slate.

    Returns:
        Slates (B, k), best first, and whether the plan was widened (B,). A catalogue with fewer than k items left
        leaves -1.
    """
    columns = np.ascontiguousarray(vectors.T)
    return _top_items(queries, columns, groups, allowed, avoid, shown, k)


@njit(cache=True)
def score_all(queries, b, columns, scores):  # type: ignore[no-untyped-def]
    """scores (I,) <- inner products of row b of queries (B, D) with columns (D, I), summed in the order of D."""
    scores[:] = 0.0
    for j in range(columns.shape[0]):
        weight = queries[b, j]
        for item in range(columns.shape[1]):
            scores[item] += weight * columns[j, item]


@njit(cache=True)
def _may_show(b, item, level, groups, allowed, avoid):  # type: ignore[no-untyped-def]
    """Whether a plan lets an item through: at level 0 as planned, at 1 without `avoid`, at 2 whatever it says."""
    if level == 2:
        return True
    wanted = False
    for m in range(groups.shape[1]):
        group = groups[item, m]
        if group >= 0:
            if level == 0 and avoid[b, group]:
                return False
            wanted |= allowed[b, group]
    return wanted


@njit(cache=True)
def _top_items(queries, columns, groups, allowed, avoid, shown, k):  # type: ignore[no-untyped-def]
    users = len(queries)
    slates = np.full((users, k), -1, np.int32)
    widened = np.zeros(users, np.bool_)
    scores = np.empty(columns.shape[1], np.float32)
    for b in range(users):
        count = 0
        for level in range(3):
            if count == k:
                break
            widened[b] = level > 0
            score_all(queries, b, columns, scores)
            for slot in range(shown.shape[1]):
                if shown[b, slot] >= 0:
                    scores[shown[b, slot]] = -np.inf
            for s in range(count):
                scores[slates[b, s]] = -np.inf
            count = _fill(b, slates, count, scores, level, groups, allowed, avoid)
    return slates, widened


@njit(cache=True)
def _fill(b, slates, count, scores, level, groups, allowed, avoid):  # type: ignore[no-untyped-def]
    """Add the best scored items that may be shown until the slate is full or none is left; how many it then holds."""
    while count < slates.shape[1]:
        best = -1
        top = np.float32(-np.inf)
        for item in range(len(scores)):
            if scores[item] > top:
                if _may_show(b, item, level, groups, allowed, avoid):
                    best, top = item, scores[item]
                else:
                    scores[item] = -np.inf
        if best < 0:
            break
        slates[b, count] = best
        scores[best] = -np.inf
        count += 1
    return count


@njit(cache=True)
def eligible_items(groups, allowed, avoid, shown):  # type: ignore[no-untyped-def]
    """The items that may be shown next, and whether the plan was widened for want of any.

    The same rule as `top_items` with k = 1: `avoid` is lifted first, then `allowed`, and what was shown before is never
    eligible. When nothing is left, item 0 stands in; its slot stays empty.

    Args:
        groups: (I, M) each item's categories, -1 as padding. allowed, avoid: (B, C) plans.
        shown: (B, S) items already shown, -1 as padding.

    Returns:
        (B, I) bool, at least one True per row, and (B,) bool.
    """
    mask = np.zeros((len(shown), len(groups)), np.bool_)
    widened = np.zeros(len(shown), np.bool_)
    for b in range(len(shown)):
        for level in range(3):
            widened[b] = level > 0
            for item in range(len(groups)):
                mask[b, item] = _may_show(b, item, level, groups, allowed, avoid)
            for slot in range(shown.shape[1]):
                if shown[b, slot] >= 0:
                    mask[b, shown[b, slot]] = False
            if mask[b].any():
                break
        else:
            mask[b, 0] = True
    return mask, widened


def diverse_items(
    queries: NDArray[np.float32],
    vectors: NDArray[np.float32],
    units: NDArray[np.float32],
    shown: NDArray[np.int32],
    k: int,
    weight: float,
) -> NDArray[np.int32]:
    """Slates (B, k) by maximal marginal relevance over all items not yet shown (Carbonell and Goldstein, SIGIR 1998).

    Each pick maximises query . vector - weight * max(0, largest cosine to what the slate already holds).

    Args:
        queries: (B, D). vectors: (I, D). units: (I, d) directions that similarity is measured in.
        shown: (B, S), -1 as padding. k: items per slate. weight: at least 0, on the scale of the scores.
    """
    columns, similar = np.ascontiguousarray(vectors.T), np.ascontiguousarray(units.T)
    return _diverse_items(queries, columns, units, similar, shown, k, weight)


@njit(cache=True)
def _diverse_items(queries, columns, units, similar, shown, k, weight):  # type: ignore[no-untyped-def]
    users, items = len(queries), columns.shape[1]
    slates = np.full((users, k), -1, np.int32)
    scores = np.empty(items, np.float32)
    nearest = np.empty(items, np.float32)
    cosines = np.empty(items, np.float32)
    for b in range(users):
        score_all(queries, b, columns, scores)
        for slot in range(shown.shape[1]):
            if shown[b, slot] >= 0:
                scores[shown[b, slot]] = -np.inf
        nearest[:] = 0.0
        for s in range(min(k, items)):
            best = -1
            top = np.float32(-np.inf)
            for item in range(items):
                value = scores[item] - weight * nearest[item]
                if value > top:
                    best, top = item, value
            if best < 0:
                break
            slates[b, s] = best
            scores[best] = -np.inf
            score_all(units, best, similar, cosines)
            np.maximum(nearest, cosines, nearest)
    return slates
