"""What happens between two sessions of one person, for the n people whose session just ended.

`lerl.envs.sessions.config` holds the formula and the source of each mechanism. Here is one compiled function for each
part; what moves is moved in place. Every draw is of a life's own stream: no life depends on those beside it.
"""

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from lerl.envs import draws
from lerl.envs.sessions.config import Churn, Gap
from lerl.envs.sessions.rhythm import LONGEST, clock, unclock

Doubles = NDArray[np.float64]
Keys = NDArray[np.uint64]


@njit(cache=True, nogil=True)
def streams(seeds, sessions, purpose):  # type: ignore[no-untyped-def]
    """The streams (n,) of one purpose after sessions (n,), the same however long a session was."""
    keys = np.empty(len(seeds), np.uint64)
    for b in range(len(seeds)):
        keys[b] = draws.stream(seeds[b], sessions[b], 0, purpose)
    return keys


@njit(cache=True, nogil=True)
def traits(seeds, lives):  # type: ignore[no-untyped-def]
    """The standard normal number of each person, (n,), by the seed and the number of a life."""
    keys, drawn = streams(seeds, lives, draws.PERSON), np.empty(len(seeds), np.float64)
    for b in range(len(keys)):
        drawn[b] = draws.normal(keys[b], 0)
    return drawn


@njit(cache=True, nogil=True)
def average(values, newest, rate):  # type: ignore[no-untyped-def]
    """Values (n,) move by a share towards what is new, (n,): memory at a session's end, habit at its start."""
    for b in range(len(values)):
        values[b] += rate * (newest[b] - values[b])


@njit(cache=True, nogil=True)
def fade(values, gaps, days, towards):  # type: ignore[no-untyped-def]
    """What is between values (n, m) and `towards` fades over gaps (n,), to 1/e in so many days."""
    for b in range(values.shape[0]):
        keep = math.exp(-gaps[b] / days)
        for j in range(values.shape[1]):
            values[b, j] = towards + (values[b, j] - towards) * keep


def gone(how: Churn, memory: Doubles, keys: Keys) -> NDArray[np.bool_]:
    """Who never comes back, (n,), of memory (n,) and streams (n,)."""
    if not how.enabled:
        return np.zeros(len(memory), bool)
    found: NDArray[np.bool_] = _gone(memory, keys, how.highest, how.threshold, how.width)
    return found


@njit(cache=True, nogil=True)
def _gone(memory, keys, highest, threshold, width):  # type: ignore[no-untyped-def]
    found = np.empty(len(memory), np.bool_)
    for b in range(len(memory)):
        chance = highest / (1.0 + math.exp(min((memory[b] - threshold) / width, 700.0)))
        found[b] = draws.uniform(keys[b], 0) < chance
    return found


def gaps(
    how: Gap,
    satisfaction: Doubles,
    memory: Doubles,
    habit: Doubles,
    person: Doubles,
    keys: Keys,
    days: Doubles | None = None,
) -> Doubles:
    """Days (n,) until the next session, from satisfaction, memory, habit, traits and streams, (n,) each.

    With a rhythm, `days` (n,) is when the session ended, in days since the life began; its beginning where None.
    """
    weights = how.person, how.session, how.memory, how.habit
    base = math.log(how.typical) - math.log(math.log(2.0)) / how.shape
    drawn: Doubles = _gaps(satisfaction, memory, habit, person, keys, weights, (base, how.shape, how.shortest))
    if how.daily or how.weekly:
        now = np.zeros(len(keys)) if days is None else days
        wait = np.minimum(drawn - how.shortest, LONGEST)
        later = unclock(clock(now + how.shortest, how.daily, how.weekly) + wait, how.daily, how.weekly)
        drawn = np.maximum(later - now, how.shortest)  # which rounding would miss where the wait is next to nothing
    return drawn


@njit(cache=True, nogil=True)
def _gaps(satisfaction, memory, habit, person, keys, weights, form):  # type: ignore[no-untyped-def]
    drawn, (base, shape, shortest) = np.empty(len(keys), np.float64), form
    for b in range(len(keys)):
        log_scale = base - weights[0] * person[b] - weights[1] * (satisfaction[b] - 0.5)
        log_scale -= weights[2] * (memory[b] - 0.5) + weights[3] * habit[b]
        waited = -math.log(1.0 - draws.uniform(keys[b], 0))  # exponential; 1 - u is in (0, 1]
        drawn[b] = shortest + math.exp(log_scale) * waited ** (1.0 / shape)
    return drawn


@njit(cache=True, nogil=True)
def sway(moods, gaps, keys, days, spread):  # type: ignore[no-untyped-def]
    """Moods (n,) fade over gaps (n,) and are stirred anew, by the first number of each of streams (n,)."""
    for b in range(len(moods)):
        keep = math.exp(-gaps[b] / days)
        moods[b] = keep * moods[b] + spread * math.sqrt(1.0 - keep * keep) * draws.normal(keys[b], 0)


@njit(cache=True, nogil=True)
def wander(taste, anchor, gaps, keys, reverts, noise):  # type: ignore[no-untyped-def]
    """Taste (n, d) moves over gaps (n,), back to its anchor (n, d) and at random; it keeps its anchor's length."""
    dim = taste.shape[1]
    drawn = np.zeros(dim)
    for b in range(len(taste)):
        back = 1.0 - math.exp(-gaps[b] / reverts)
        length = _length(anchor[b])
        spread = noise * math.sqrt(gaps[b]) * length / math.sqrt(dim)
        if spread > 0.0:
            draws.normals(keys[b], drawn)
        for j in range(dim):
            taste[b, j] += back * (anchor[b, j] - taste[b, j]) + spread * drawn[j]
        now = _length(taste[b])
        if now > 0.0:
            for j in range(dim):
                taste[b, j] *= length / now


@njit(cache=True)
def _length(vector):  # type: ignore[no-untyped-def]
    total = 0.0
    for j in range(vector.shape[0]):
        total += float(vector[j]) * vector[j]
    return math.sqrt(total)


@njit(cache=True, nogil=True)
def first_satisfaction(memory, initial, remembered):  # type: ignore[no-untyped-def]
    """Satisfaction (n,) float32 at a session's start, of memory (n,)."""
    begun = np.empty(len(memory), np.float32)
    for b in range(len(memory)):
        begun[b] = initial + remembered * (memory[b] - initial)
    return begun
