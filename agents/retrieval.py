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
    most: int | None = None,
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """The k items of highest inner product with each query, among the eligible and not yet shown.

    Where a plan leaves fewer than k, it is widened: first `most` is lifted, then `avoid`, then `allowed`; ties go to the
    item of the lower number. Items shown before are never widened to while k others are left.

    Args:
        queries: (B, D) virtual items. vectors: (I, D). groups: (I, M) each item's categories, -1 as padding.
        allowed, avoid: (B, C) plans. shown: (B, S) items already shown, -1 as padding.
        k: items per slate. most: how many a slate may hold of one category; no limit when None.

    Returns:
        Slates (B, k), best first, and whether the plan was widened (B,). A catalogue with fewer than k items left leaves
        -1.
    """
    limit = len(vectors) if most is None else most
    return _top_items(queries, vectors, groups, allowed, avoid, shown, k, limit)


@njit(cache=True, fastmath={"reassoc", "contract"})
def dot(query, vector):  # type: ignore[no-untyped-def]
    """Inner product of two vectors (D,); the order of its sum depends on D alone, never on the batch."""
    total = np.float32(0.0)
    for j in range(len(query)):
        total += query[j] * vector[j]
    return total


@njit(cache=True)
def _may_show(item, level, groups, allowed, avoid):  # type: ignore[no-untyped-def]
    """Whether a plan, widened to a level (0 as planned, 2 without avoid, 3 without allowed), lets an item through."""
    if level == 3:
        return True
    wanted = False
    for m in range(groups.shape[1]):
        group = groups[item, m]
        if group >= 0:
            if level < 2 and avoid[group]:
                return False
            wanted |= allowed[group]
    return wanted


@njit(cache=True)
def _within(item, slate, count, groups, allowed, most):  # type: ignore[no-untyped-def]
    """Whether none of the item's allowed categories already fills its share of the slate."""
    for m in range(groups.shape[1]):
        group = groups[item, m]
        if group >= 0 and allowed[group]:
            held = 0
            for s in range(count):
                for n in range(groups.shape[1]):
                    if groups[slate[s], n] == group:
                        held += 1
            if held >= most:
                return False
    return True


@njit(cache=True)
def _top_items(queries, vectors, groups, allowed, avoid, shown, k, most):  # type: ignore[no-untyped-def]
    users, items = len(queries), len(vectors)
    slates = np.full((users, k), -1, np.int32)
    widened = np.zeros(users, np.bool_)
    scores = np.empty(items, np.float32)
    free = np.empty(items, np.bool_)
    for b in range(users):
        free[:] = True
        for slot in range(shown.shape[1]):
            if shown[b, slot] >= 0:
                free[shown[b, slot]] = False
        count = 0
        for level in range(4):
            if count == k:
                break
            if level > 0:
                widened[b] = True
            for item in range(items):
                if free[item] and _may_show(item, level, groups, allowed[b], avoid[b]):
                    scores[item] = dot(queries[b], vectors[item])
                else:
                    scores[item] = -np.inf
            count = _fill(slates[b], count, scores, free, groups, allowed[b], most if level == 0 else items)
    return slates, widened


@njit(cache=True)
def _fill(slate, count, scores, free, groups, allowed, most):  # type: ignore[no-untyped-def]
    """Add the best scored items to a slate until it is full or none is left."""
    while count < len(slate):
        best = -1
        for item in range(len(scores)):
            if scores[item] > -np.inf and (best < 0 or scores[item] > scores[best]):
                best = item
        if best < 0:
            return count
        if _within(best, slate, count, groups, allowed, most):
            slate[count] = best
            count += 1
            free[best] = False
        scores[best] = -np.inf
    return count
