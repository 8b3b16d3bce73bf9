"""The clock of a daily and a weekly rhythm: fast at the busy hours and days, slow at the others, right in the mean.

    C'(x) = (1 + daily * cos(2 pi x)) * (1 + weekly * cos(2 pi x / 7)),  C(0) = 0,  0 <= daily < 1,  0 <= weekly < 1

x is in days; the busiest hours are at whole days, and the busiest of the busiest day at x = 0, 7, 14 and so on. Whoever
waits for a time on this clock comes C'(x) times as readily at x as without a rhythm: a point process whose time is
changed so has its hazard times the slope of C (Daley and Vere-Jones, An Introduction to the Theory of Point Processes,
section 7.4). The product of the two waves is half the sum of one of 8 and one of 6 turns a week.
"""

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

Doubles = NDArray[np.float64]

TURN = 2.0 * math.pi
WEEK = 7.0
LONGEST = 1e6
"""Days; a longer wait counts as so long, since the hour of a day so far off has no digits left."""
STEPS = 60
"""Steps of the search, at most; a bisection alone would end with them."""


def clock(days: Doubles, daily: float, weekly: float = 0.0) -> Doubles:
    """C of days (n,), days."""
    moved: Doubles = days + daily / TURN * np.sin(TURN * days)
    if weekly:
        moved = moved + weekly * weekly_part(days, daily)
    return moved


def weekly_part(days: Doubles, daily: float) -> Doubles:
    """What `weekly` is multiplied by in C of days (n,), days: C is linear in `weekly`."""
    found: Doubles = WEEK / TURN * np.sin(TURN / WEEK * days)
    return found + daily * product_part(days) if daily else found


def product_part(days: Doubles) -> Doubles:
    """The integral (n,) from 0 to days (n,) of the product of both waves, days."""
    often, seldom = (TURN * turns / WEEK for turns in (WEEK + 1, WEEK - 1))
    return np.asarray(0.5 * (np.sin(often * days) / often + np.sin(seldom * days) / seldom))


def slope(days: Doubles, daily: float, weekly: float = 0.0) -> Doubles:
    """The slope of C at days (n,)."""
    found: Doubles = 1.0 + daily * np.cos(TURN * days)
    return found * (1.0 + weekly * np.cos(TURN / WEEK * days)) if weekly else found


@njit(cache=True, nogil=True)
def unclock(shown, daily, weekly=0.0):  # type: ignore[no-untyped-def]
    """The days (n,) at which C is `shown` (n,): Newton's steps, and halves of the bracket where one leads out of it."""
    found, most = np.empty(len(shown), np.float64), daily / TURN
    if weekly > 0.0:
        most += weekly * WEEK * (1.0 + daily) / TURN
    for b in range(len(shown)):
        low, high, x = shown[b] - most, shown[b] + most, shown[b]
        for _ in range(STEPS):
            over = x + daily / TURN * math.sin(TURN * x) - shown[b]
            rate = 1.0 + daily * math.cos(TURN * x)
            if weekly > 0.0:
                often, seldom = TURN * (WEEK + 1) / WEEK, TURN * (WEEK - 1) / WEEK
                product = 0.5 * (math.sin(often * x) / often + math.sin(seldom * x) / seldom)
                over += weekly * (WEEK / TURN * math.sin(TURN / WEEK * x) + daily * product)
                rate *= 1.0 + weekly * math.cos(TURN / WEEK * x)
            if over == 0.0:
                break
            if over > 0.0:
                high = x
            else:
                low = x
            step = x - over / rate
            moved = step if low <= step <= high else 0.5 * (low + high)
            if moved == x:
                break
            x = moved
        found[b] = x
    return found
