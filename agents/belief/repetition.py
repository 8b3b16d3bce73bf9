"""Which slates repeat a group of items, by one rule or another."""

from typing import NamedTuple

import numpy as np
from numba import njit

SHARES = 1 / 4, 1 / 3, 1 / 2, 2 / 3, 3 / 4  # of the last slots: about the most that one group may fill


class Rule(NamedTuple):
    """Which slates repeat a group: those with an item of which `most` or more of the slots that count hold the group.

    Attributes:
        slots: how many slots count: the last ones at the end of the slate, or, where its own do not, at its begin.
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
def held(groups, rule, shown, start, now, s, k, counts):  # type: ignore[no-untyped-def]
    """counts (G,) <- how far each group would be repeated by an item in slot s of the slate that starts at `now`.

    groups: (I, G). shown: (T,) items, those of the session from `start` on, -1 for none.
    """
    counts[:] = 0.0
    if rule.aligned:
        if now - k >= start:
            _count(groups, shown[now - k + s], counts)
    else:
        for slot in range(max(start, now - rule.slots + (k if rule.within else 0)), now + s if rule.within else now):
            _count(groups, shown[slot], counts)
    for g in range(len(counts)):
        counts[g] = min(max(counts[g] - rule.most + 1.0, 0.0), 1.0)


@njit(cache=True)
def _count(groups, item, counts):  # type: ignore[no-untyped-def]
    if item >= 0:
        for g in range(len(counts)):
            counts[g] += groups[item, g]


@njit(cache=True)
def repeats(groups, rule, shown, start, now, k, counts):  # type: ignore[no-untyped-def]
    """The chance in [0, 1] that the slate at `now` repeats a group, shares being chances."""
    clean = 1.0
    for s in range(k if rule.slots else 0):
        item = shown[now + s]
        if item >= 0:
            held(groups, rule, shown, start, now, s, k, counts)
            same = 0.0
            for g in range(len(counts)):
                same += groups[item, g] * counts[g]
            clean *= 1.0 - min(same, 1.0)
    return 1.0 - clean


@njit(cache=True)
def repetitions(groups, rule, starts, items):  # type: ignore[no-untyped-def]
    """Whether each slate repeats a group, (S,) in [0, 1]."""
    k, found, shown = items.shape[1], np.empty(len(items)), items.reshape(-1)
    counts = np.empty(groups.shape[1])
    for n in range(len(starts) - 1):
        for row in range(starts[n], starts[n + 1]):
            found[row] = repeats(groups, rule, shown, starts[n] * k, row * k, k, counts)
    return found
