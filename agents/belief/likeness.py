"""How like the other items of its slate an item is: what items that are alike take from each other goes by that."""

import numpy as np
from numba import njit


@njit(cache=True)
def likeness(units, items, s):  # type: ignore[no-untyped-def]
    """Mean cosine of the item in slot s of a slate (k,) to the slate's items, itself and empty slots counting 0."""
    total = 0.0
    for other in range(len(items)):
        if other != s and items[other] >= 0:
            for a in range(units.shape[1]):
                total += units[items[s], a] * units[items[other], a]
    return total / len(items)


@njit(cache=True)
def cosines(units, items):  # type: ignore[no-untyped-def]
    """`likeness` of every item of slates (S, k), 0 for none; units (I, d)."""
    found = np.zeros(items.shape)
    for row in range(len(items)):
        for s in range(items.shape[1]):
            if items[row, s] >= 0:
                found[row, s] = likeness(units, items[row], s)
    return found
