"""Which slates repeat a group of items, by one rule or another."""

from typing import NamedTuple

import numpy as np
from numba import njit

SHARES = 1 / 3, 1 / 2, 2 / 3  # of the last slots: about the most that one group may fill


class Rule(NamedTuple):
    """Which slates repeat a group: those with an item of which `most` or more of the slots that count hold the group.

    Attributes:
        slots: how many slots count: with `within` the last ones, the slate's own included; else those before it.
        aligned: whether instead only the item in the same slot of the slate before counts.
        within: whether the slate's own slots count. most: at least 1.
    """

    slots: int
    aligned: bool
    within: bool
    most: int


def rules(k: int) -> list[Rule]:
    """What is compared, slates being of k items."""
    found = [Rule(k, True, False, 1)] if k > 1 else []
    found += [Rule(slates * k, False, False, 1) for slates in (1, 2)]
    windows = sorted({max(slots, k) for slots in (6, 12, 18, 24)} | {2 * k})
    found += [
        Rule(slots, False, True, most) for slots in windows for most in sorted({round(s * slots) for s in SHARES})
    ]
    return [rule for rule in dict.fromkeys(found) if rule.most >= 1]


@njit(cache=True)
def begin_slate(groups, rule, shown, start, now, k, counts):  # type: ignore[no-untyped-def]
    """counts (G,) <- slots of each group that count for the slate at `now`, before any of it is filled.

    groups: (I, G). shown: (T,) items, those of the session from `start` on, -1 for none.
    """
    counts[:] = 0.0
    if not rule.aligned:
        for slot in range(max(start, now - rule.slots + (k if rule.within else 0)), now):
            count(groups, shown[slot], counts)


@njit(cache=True)
def count(groups, item, counts):  # type: ignore[no-untyped-def]
    """counts (G,) grow by the groups of an item, -1 for none."""
    if item >= 0:
        for g in range(len(counts)):
            counts[g] += groups[item, g]


@njit(cache=True)
def begin_slot(groups, rule, shown, start, at, k, counts):  # type: ignore[no-untyped-def]
    """counts (G,) as they are for the slot `at`, where only the item a slate before it counts."""
    if rule.aligned:
        counts[:] = 0.0
        if at - k >= start:
            count(groups, shown[at - k], counts)


@njit(cache=True)
def held(rule, counts, g):  # type: ignore[no-untyped-def]
    """How far an item of group g would repeat it, in [0, 1]."""
    return min(max(counts[g] - rule.most + 1.0, 0.0), 1.0)


@njit(cache=True)
def repeats(groups, rule, shown, start, now, k, counts):  # type: ignore[no-untyped-def]
    """The chance in [0, 1] that the slate at `now` repeats a group; counts (G,) is overwritten."""
    clean = 1.0
    if rule.slots:
        begin_slate(groups, rule, shown, start, now, k, counts)
        for at in range(now, now + k):
            item, same = shown[at], 0.0
            if item >= 0:
                begin_slot(groups, rule, shown, start, at, k, counts)
                for g in range(len(counts)):
                    if groups[item, g] > 0.0:
                        same += groups[item, g] * held(rule, counts, g)
                clean *= 1.0 - min(same, 1.0)
                if rule.within:
                    count(groups, item, counts)
    return 1.0 - clean


@njit(cache=True)
def repetitions(groups, rule, starts, items):  # type: ignore[no-untyped-def]
    """The chance that each slate repeats a group, (S,)."""
    k, found, shown = items.shape[1], np.empty(len(items)), items.reshape(-1)
    counts = np.empty(groups.shape[1])
    for n in range(len(starts) - 1):
        for row in range(starts[n], starts[n + 1]):
            found[row] = repeats(groups, rule, shown, starts[n] * k, row * k, k, counts)
    return found
