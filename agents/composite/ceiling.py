"""The best whole for the true chances of clicks, for the ceiling.

All combinations are tried up to 2,500; beyond, those of the items best by themselves, so that it is no sure ceiling
there.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from lerl.agents.composite.fill import EXACT
from lerl.envs import dynamics
from lerl.envs.simulator import UserSimulator
from lerl.envs.state import State

Floats = NDArray[np.float64]


class Together(NamedTuple):
    """What is the same for all users.

    Attributes:
        slot_of: (I,) int8. topics: (I, M) int32, -1 as padding. fits: (I, d) true item vectors; of_pair, of_user: (d,),
            see `Complements`; with tastes (U, d). left: (k + 1,) of boredom after so many slots, 0 where slots do not
            bore at once. counts: items of each role that are tried, those best by themselves,
            so that combinations are 2,500 at most.
    """

    slot_of: NDArray[np.int8]
    topics: NDArray[np.int32]
    fits: NDArray[np.float32]
    of_pair: NDArray[np.float32]
    of_user: NDArray[np.float32]
    tastes: NDArray[np.float32]
    left: Floats
    counts: NDArray[np.int64]


def together(simulator: UserSimulator) -> Together:
    """What the search for wholes of these users needs."""
    config, roles, terms = simulator.config, simulator.roles, simulator.complements
    assert roles is not None
    truth, rates = simulator.population.truth, dynamics.rates(config).boredom
    sizes = np.bincount(roles.slot_of[roles.slot_of >= 0], minlength=config.slate_size)
    most = len(roles.slot_of)
    while np.prod(np.minimum(sizes, most), dtype=float) > EXACT:
        most -= 1
    none = np.zeros(truth.item_vectors.shape[1], np.float32)
    return Together(
        roles.slot_of,
        simulator.topics,
        truth.item_vectors,
        none if terms is None else terms.pair,
        none if terms is None else terms.user_pair,
        truth.user_vectors,
        dynamics.fading(config.slate_size, rates) * rates.within_slate,
        np.minimum(sizes, most),
    )


def best_together(
    known: Together, logits: Floats, owners: NDArray[np.int64], state: State, costs: Floats, simulator: UserSimulator
) -> NDArray[np.int32]:
    """Slates (n, k) of highest mean chance of a click, where a unit of boredom costs so many log-odds (n,); -1 where no
    item of a role is left. Beyond 2,500 combinations only those of the items best by themselves are tried.

    Args:
        logits: (B, I) before boredom, -inf of what may not be shown; row i of the state is one of owners[i].
    """
    config = simulator.config
    shift = state.mood - (config.fatigue.weight if config.fatigue.enabled else 0.0) * state.fatigue
    shown = state.shown[:, :0] if config.repeats else state.shown
    return np.asarray(_best(tuple(known), logits, owners, state.boredom, shown, state.user, shift, costs))


@njit(cache=True, nogil=True)
def _best(known, logits, owners, boredom, shown, users, shift, costs):  # type: ignore[no-untyped-def]
    known = Together(*known)
    k, dim = len(known.counts), known.fits.shape[1]
    most = known.counts.max()
    slates = np.full((len(owners), k), -1, np.int32)
    items, values, number = np.empty((k, most), np.int64), np.empty((k, most)), np.empty(k, np.int64)
    moves, weights, own = np.empty((k, k, most, most)), np.empty(dim), np.empty(logits.shape[1])
    for n in range(len(owners)):
        for i in range(len(own)):
            own[i] = logits[owners[n], i] + shift[n]
            total, count = 0.0, 0
            for m in range(known.topics.shape[1]):
                if known.topics[i, m] >= 0:
                    total += boredom[n, known.topics[i, m]]
                    count += 1
            own[i] -= costs[n] * total / max(count, 1)
        for slot in range(shown.shape[1]):
            if shown[n, slot] >= 0:
                own[shown[n, slot]] = -np.inf
        _shortlist(own, known.slot_of, known.counts, items, values, number)
        for j in range(dim):
            weights[j] = known.of_pair[j] + known.of_user[j] * known.tastes[users[n], j]
        _pairs(known, items, number, weights, costs[n], moves)
        _try_all(items, values, number, moves, slates[n])
    return slates


@njit(cache=True)
def _shortlist(own, slot_of, counts, items, values, number):  # type: ignore[no-untyped-def]
    """The best so many items of each role that may be shown, best first."""
    number[:] = 0
    for i in range(len(own)):
        s = slot_of[i]
        if s < 0 or own[i] == -np.inf:
            continue
        place = number[s]
        if place == counts[s]:
            if values[s, place - 1] >= own[i]:
                continue
            place -= 1
        else:
            number[s] += 1
        while place > 0 and values[s, place - 1] < own[i]:
            values[s, place], items[s, place] = values[s, place - 1], items[s, place - 1]
            place -= 1
        values[s, place], items[s, place] = own[i], i


@njit(cache=True)
def _pairs(known, items, number, weights, cost, moves):  # type: ignore[no-untyped-def]
    """moves[s, t, i, j]: log-odds that item j in slot t has from item i in slot s."""
    k = len(number)
    for s in range(k):
        for t in range(s + 1, k):
            for i in range(number[s]):
                for j in range(number[t]):
                    first, second, total = items[s, i], items[t, j], 0.0
                    for d in range(len(weights)):
                        total += weights[d] * known.fits[first, d] * known.fits[second, d]
                    shared, count = 0.0, 0
                    for m in range(known.topics.shape[1]):
                        topic = known.topics[second, m]
                        if topic >= 0:
                            count += 1
                            for other in range(known.topics.shape[1]):
                                shared += known.topics[first, other] == topic
                    moves[t, s, j, i] = total / (k - 1)
                    moves[s, t, i, j] = total / (k - 1) - cost * known.left[t - s] * shared / k / max(count, 1)


@njit(cache=True)
def _try_all(items, values, number, moves, slate):  # type: ignore[no-untyped-def]
    k, best = len(number), -1.0
    at, total = np.zeros(k, np.int64), 1
    for s in range(k):
        total *= max(number[s], 1)
    for _ in range(total):
        felt = 0.0
        for t in range(k):
            if number[t] > 0:
                odds = values[t, at[t]]
                for s in range(k):
                    if s != t and number[s] > 0:
                        odds += moves[s, t, at[s], at[t]]
                felt += 1.0 / (1.0 + math.exp(-odds))
        if felt > best:
            best = felt
            for s in range(k):
                slate[s] = items[s, at[s]] if number[s] > 0 else -1
        for s in range(k):
            at[s] += 1
            if at[s] < number[s]:
                break
            at[s] = 0
