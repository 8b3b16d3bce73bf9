"""Slates by belief: slot by slot the item of highest log-odds, given what it and the slots before it cost."""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from lerl.agents.belief.model import UserModel
from lerl.agents.belief.repetition import Rule, begin_slate, begin_slot, count, held, repeats
from lerl.agents.retrieval import mark

Floats = NDArray[np.float32]


class Columns(NamedTuple):
    """A model's items as they are gone over: vectors and units (d, I), suffers (K, I), groups (G, I), offsets (I,)."""

    vectors: Floats
    suffers: Floats
    offsets: Floats
    units: Floats
    groups: Floats


class Standing(NamedTuple):
    """Where B sessions stand.

    Attributes:
        means: (B, d + 1) float64, tastes and levels. exposures: (B, K) float64.
        shown: (B, T * k) int32, -1 for none. steps: (B,) int64, slates shown. repeated: (B,) float64, those of them
            that repeated a group. guesses: (B, I) float32, log-odds that are added for each item; (B, 0) for none.
        prices: (B,) float64, by which the price of boredom is multiplied; (0,) where by 1.
    """

    means: NDArray[np.float64]
    exposures: NDArray[np.float64]
    shown: NDArray[np.int32]
    steps: NDArray[np.int64]
    repeated: NDArray[np.float64]
    guesses: Floats
    prices: NDArray[np.float64] = np.zeros(0)


def columns(model: UserModel) -> Columns:
    """The items of a model, ready for `fill_slates`."""
    tables = (np.ascontiguousarray(table.T) for table in (model.vectors, model.suffers, model.units, model.groups))
    vectors, suffers, units, groups = tables
    return Columns(vectors, suffers, model.offsets, units, groups)


class _Costs(NamedTuple):
    """What the items (I,) cost beside boredom, while one slate is filled.

    Attributes:
        near: log-odds, for being like the slate's items. again: the chance to repeat a group. total: all costs.
        counts: (G,), see `lerl.agents.belief.repetition`. past: (T * k,), what was shown.
    """

    near: Floats
    again: Floats
    total: Floats
    counts: NDArray[np.float64]
    past: NDArray[np.int32]


@njit(cache=True, nogil=True)
def fill_slates(columns, model, standing, shut, live, price, slates):  # type: ignore[no-untyped-def]
    """slates (B, k) <- the best of what may be shown, -1 where nothing is left.

    columns: see `Columns`. standing: see `Standing`. shut: (B, S) items that may not be shown, -1 for none. live: (B,)
    bool. price: multiple of what boredom costs now, as it costs later slates too.
    """
    k, items, topics = slates.shape[1], len(columns.offsets), len(columns.suffers)
    taste, loss, seen = np.empty(items, np.float32), np.empty(items, np.float32), np.zeros(items, np.bool_)
    fade, costs = np.float32(model.keep ** (1.0 / k)), _new_costs(columns, standing)
    for b in range(len(live)):
        if not live[b]:
            continue
        taste[:] = columns.offsets
        for a in range(len(columns.vectors)):
            _add(taste, columns.vectors[a], np.float32(standing.means[b, a]))
        if standing.guesses.shape[1]:
            _add(taste, standing.guesses[b], np.float32(1.0))
        mark(seen, shut[b], True)
        own = price * standing.prices[b] if len(standing.prices) else price
        loss[:] = 0.0
        for t in range(topics):
            _add(loss, columns.suffers[t], np.float32(own * model.weight * standing.exposures[b, t]))
        shun = _begin(costs, model, standing, b, k)
        for s in range(k):
            best = _best(taste, _all_costs(costs, columns, model, loss, (shun, standing.steps[b] * k, s, k)), seen)
            slates[b, s] = best
            if best < 0:
                break
            seen[best] = True
            for t in range(topics):
                _add(loss, columns.suffers[t], np.float32(own * model.weight / k * model.fills[best, t]))
            for item in range(items):
                loss[item] *= fade
            shun = _chosen(costs, columns, model, best, shun, k)
        mark(seen, shut[b], False)
        mark(seen, slates[b], False)


@njit(cache=True, nogil=True)
def count_repetitions(model, shown, steps, rows, k, repeated):  # type: ignore[no-untyped-def]
    """repeated (B,) grows in these rows by the chance that the newest slate, of k items, repeats a group.

    shown: (B, T * k). steps: (B,), slates shown, the newest included.
    """
    rule, counts = _rule(model), np.empty(model.groups.shape[1])
    if rule.slots:
        for b in rows:
            repeated[b] += repeats(model.groups, rule, shown[b], 0, (steps[b] - 1) * k, k, counts)


@njit(cache=True)
def _rule(model):  # type: ignore[no-untyped-def]
    return Rule(int(model.rule[0]), model.rule[1] > 0, model.rule[2] > 0, int(model.rule[3]))


@njit(cache=True)
def _new_costs(columns, standing):  # type: ignore[no-untyped-def]
    items = len(columns.offsets)
    near, again, total = np.empty(items, np.float32), np.empty(items, np.float32), np.empty(items, np.float32)
    return _Costs(near, again, total, np.empty(len(columns.groups)), np.empty(standing.shown.shape[1], np.int32))


@njit(cache=True)
def _begin(costs, model, standing, b, k):  # type: ignore[no-untyped-def]
    """Nothing is in the slate yet; log-odds that repeating a group costs."""
    costs.near[:] = 0.0
    costs.again[:] = 0.0
    if model.rule[0] == 0:
        return 0.0
    costs.past[:] = standing.shown[b]
    begin_slate(model.groups, _rule(model), costs.past, 0, standing.steps[b] * k, k, costs.counts)
    slates, repeated = model.prices.shape
    return model.prices[min(standing.steps[b], slates - 1), min(int(standing.repeated[b] + 0.5), repeated - 1)]


@njit(cache=True)
def _all_costs(costs, columns, model, loss, place):  # type: ignore[no-untyped-def]
    """What each item costs in slot s, (I,); place: what repeating costs, where the slate begins, s, k."""
    shun, now, s, k = place
    if shun == 0 and model.alike == 0:
        return loss
    if shun > 0:
        rule = _rule(model)
        if s == 0 or rule.aligned or rule.within:
            begin_slot(model.groups, rule, costs.past, 0, now + s, k, costs.counts)
            costs.again[:] = 0.0
            for g in range(len(costs.counts)):
                _add(costs.again, columns.groups[g], np.float32(held(rule, costs.counts, g)))
    for item in range(len(loss)):
        costs.total[item] = loss[item] + costs.near[item] + np.float32(shun) * costs.again[item]
    return costs.total


@njit(cache=True)
def _chosen(costs, columns, model, best, shun, k):  # type: ignore[no-untyped-def]
    """An item is in the slate; log-odds that repeating a group costs from here on: it costs once a slate."""
    if model.alike != 0:
        for a in range(len(columns.units)):  # twice: of two items that are alike, each loses
            _add(costs.near, columns.units[a], np.float32(2 * model.alike / k * model.units[best, a]))
    if shun > 0:
        shun *= 1 - min(costs.again[best], 1.0)
        if model.rule[2] > 0:
            count(model.groups, best, costs.counts)
    return shun


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
