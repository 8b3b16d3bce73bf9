"""Slates by belief: slot by slot the item of highest log-odds, given what the slots before it cost."""

import numpy as np
from numba import njit

from lerl.agents.retrieval import mark


@njit(cache=True)
def fill_slates(columns, model, means, exposures, shown, live, price, slates):  # type: ignore[no-untyped-def]
    """slates (B, k) <- the best of what was not shown (B, S), -1 where nothing is left.

    columns: vectors (d, I) and suffers (K, I) as float32, offsets (I,). means (B, d + 1), exposures (B, K) float64.
    live: (B,) bool. price: multiple of what boredom costs now, as it costs later slates too.
    """
    vectors, suffers, offsets = columns
    k, items, topics = slates.shape[1], len(offsets), len(suffers)
    taste, loss, seen = np.empty(items, np.float32), np.empty(items, np.float32), np.zeros(items, np.bool_)
    fade = np.float32(model.keep ** (1.0 / k))
    for b in range(len(means)):
        if not live[b]:
            continue
        taste[:] = offsets
        for a in range(len(vectors)):
            weight = np.float32(means[b, a])
            for item in range(items):
                taste[item] += weight * vectors[a, item]
        mark(seen, shown[b], True)
        loss[:] = 0.0
        for t in range(topics):
            _add(loss, suffers[t], np.float32(price * model.weight * exposures[b, t]))
        for s in range(k):
            best = _best(taste, loss, seen)
            slates[b, s] = best
            if best < 0:
                break
            seen[best] = True
            for t in range(topics):
                _add(loss, suffers[t], np.float32(price * model.weight / k * model.fills[best, t]))
            for item in range(items):
                loss[item] *= fade
        mark(seen, shown[b], False)
        mark(seen, slates[b], False)


@njit(cache=True)
def _add(loss, suffers, cost):  # type: ignore[no-untyped-def]
    if cost != 0.0:
        for item in range(len(loss)):
            loss[item] += cost * suffers[item]


@njit(cache=True)
def _best(taste, loss, seen):  # type: ignore[no-untyped-def]
    """The item of highest value that was not seen, the first of equals; -1 where none is left."""
    best, top = -1, np.float32(-np.inf)
    for item in range(len(taste)):
        value = taste[item] - loss[item]
        if value > top and not seen[item]:
            best, top = item, value
    return best
