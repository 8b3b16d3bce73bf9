"""The clock of a daily rhythm: it is fast at the busy hours and slow at the others, and right once a day.

    C(x) = x + daily / (2 pi) * sin(2 pi x),  0 <= daily < 1

x is in days, and the busiest hour is at x = 0, 1, 2 and so on. Whoever waits for a time on this clock comes, at the
hour x, 1 + daily * cos(2 pi x) times as readily as without a rhythm: a point process whose time is changed so has its
hazard times the slope of C (Daley and Vere-Jones, An Introduction to the Theory of Point Processes, section 7.4).
"""

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

Doubles = NDArray[np.float64]

TURN = 2.0 * math.pi
LONGEST = 1e6
"""Days; a longer wait counts as so long, since the hour of a day so far off has no digits left."""
STEPS = 60
"""Steps of the search, at most; a bisection alone would end with them."""


def clock(days: Doubles, daily: float) -> Doubles:
    """C of days (n,), days."""
    moved: Doubles = days + daily / TURN * np.sin(TURN * days)
    return moved


def slope(days: Doubles, daily: float) -> Doubles:
    """The slope of C at days (n,)."""
    found: Doubles = 1.0 + daily * np.cos(TURN * days)
    return found


@njit(cache=True, nogil=True)
def unclock(shown, daily):  # type: ignore[no-untyped-def]
    """The days (n,) at which C is `shown` (n,): Newton's steps, and halves of the bracket where one leads out of it."""
    found = np.empty(len(shown), np.float64)
    for b in range(len(shown)):
        low, high, x = shown[b] - daily / TURN, shown[b] + daily / TURN, shown[b]
        for _ in range(STEPS):
            over = x + daily / TURN * math.sin(TURN * x) - shown[b]
            if over == 0.0:
                break
            if over > 0.0:
                high = x
            else:
                low = x
            step = x - over / (1.0 + daily * math.cos(TURN * x))
            moved = step if low <= step <= high else 0.5 * (low + high)
            if moved == x:
                break
            x = moved
        found[b] = x
    return found
