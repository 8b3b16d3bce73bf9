"""The simulator's compiled loops: each one step of what happens to users, in plain loops over arrays."""

import math
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from lerl.envs import draws, dynamics
from lerl.envs.dynamics import Directions, Floats
from lerl.envs.response.base import click_chances

Ints = NDArray[np.int32]

# By how much harder (negative: easier) "at least 2, 3 and 5 stars" is than "at least 4", in log-odds, to one decimal
# from the star shares of MovieLens-1M: of the ratings, 94 % have at least 2 stars, 83 % 3, 57 % 4, and 22 % have 5.
STAR_STEPS = (-2.5, -1.3, 1.5)

CLICK_FROM = 0.75  # four stars; also true of a click, which is 1

NO_ITEM, NO_STEP = 1, 2  # why slates cannot be shown


class KindArrays(NamedTuple):
    """Kinds of feedback beside the click, J of them; see `Kinds`.

    Attributes:
        weights: (J + 1,), the click's first; (0,) where clicks or ratings are all that counts.
        slopes: (J,). offsets: (J, I).
    """

    weights: Floats
    slopes: Floats
    offsets: Floats


class Shared(NamedTuple):
    """What is the same for all users: the categories (I, M) and the topics (I, M) of items, -1 as padding, and more."""

    groups: Ints
    topics: Ints
    directions: Directions
    kinds: KindArrays


class Users(NamedTuple):
    """The arrays of a `State` that a slate moves, in place."""

    steps: Ints
    shown: Ints
    feedback: Floats
    exposure: Ints
    liked: Floats
    anchor: Floats
    boredom: Floats
    fatigue: Floats
    mood: Floats
    satisfaction: Floats


class Sessions(NamedTuple):
    """The arrays of a `State` that a new session begins with."""

    seed: NDArray[np.uint64]
    session: NDArray[np.int64]
    steps: Ints
    user: NDArray[np.int64]
    active: NDArray[np.bool_]
    boredom: Floats
    fatigue: Floats
    satisfaction: Floats
    spent: Floats
    shown: Ints
    feedback: Floats
    exposure: Ints
    liked: Floats


NO_KINDS = KindArrays(np.zeros(0, np.float32), np.zeros(0, np.float32), np.zeros((0, 0), np.float32))
for _none in NO_KINDS:
    _none.setflags(write=False)  # compiled code takes read-only arrays for another type


@njit(cache=True, nogil=True)
def draw_users(seeds, sessions, count):  # type: ignore[no-untyped-def]
    drawn = np.empty(len(seeds), np.int64)
    for b in range(len(seeds)):
        drawn[b] = int(draws.uniform(draws.stream(seeds[b], sessions[b], 0, draws.USER), 0) * count)
    return drawn


@njit(cache=True, nogil=True)
def clear(rows, seeds, sessions, users, state, slate_size, satisfaction):  # type: ignore[no-untyped-def]
    """Fresh sessions in rows (n,) of the arrays of a state, a plain tuple; beyond its steps a row is fresh already."""
    state = Sessions(*state)
    for n in range(len(rows)):
        b = rows[n]
        state.seed[b], state.session[b], state.user[b], state.active[b] = seeds[n], sessions[n], users[n], True
        state.boredom[b], state.fatigue[b], state.satisfaction[b], state.spent[b] = 0.0, 0.0, satisfaction, 0.0
        state.shown[b, : state.steps[b] * slate_size] = -1
        state.feedback[b, : state.steps[b] * slate_size] = -1.0
        state.exposure[b], state.liked[b] = 0, 0.0
        state.steps[b] = 0


@njit(cache=True, nogil=True)
def streams(seeds, sessions, steps):  # type: ignore[no-untyped-def]
    keys = np.empty((len(seeds), draws.PURPOSES), np.uint64)
    for b in range(len(seeds)):
        moment = draws.moment(seeds[b], sessions[b], steps[b])
        for purpose in range(draws.PURPOSES):
            keys[b, purpose] = draws.mix(moment ^ np.uint64(purpose))
    return keys


@njit(cache=True)
def _uniforms(keys):  # type: ignore[no-untyped-def]
    drawn = np.empty(len(keys), np.float64)
    for b in range(len(keys)):
        drawn[b] = draws.uniform(keys[b], 0)
    return drawn


@njit(cache=True, nogil=True)
def begin_step(given, seeds, sessions, steps, shown, items, max_steps, repeats):  # type: ignore[no-untyped-def]
    """Slates as they are shown, the keys of the step's streams, and NO_ITEM or NO_STEP where slates are refused."""
    slates, wrong = np.empty(given.shape, np.int32), 0
    for b in range(given.shape[0]):
        if steps[b] >= max_steps:
            wrong = NO_STEP
    for b in range(given.shape[0]):
        for s in range(given.shape[1]):
            slates[b, s] = given[b, s]
            if given[b, s] < -1 or given[b, s] >= items:
                wrong = NO_ITEM
    if wrong == 0:
        _blank_copies(slates, shown, steps, repeats)
    return slates, streams(seeds, sessions, steps), wrong


def plain_tuples(given: Any) -> Any:
    """Named tuples as plain ones, with which compiled code is called a third faster; it names them anew."""
    return tuple(map(plain_tuples, given)) if isinstance(given, tuple) else given


@njit(cache=True)
def _shared(given):  # type: ignore[no-untyped-def]
    groups, topics, directions, kinds = given
    return Shared(groups, topics, Directions(*directions), KindArrays(*kinds))


@njit(cache=True)
def _rates(given):  # type: ignore[no-untyped-def]
    drift, boredom, fatigue, mood, satisfaction, similarity = given
    return dynamics.Rates(
        dynamics.DriftRates(*drift),
        dynamics.BoredomRates(*boredom),
        dynamics.FatigueRates(*fatigue),
        dynamics.MoodRates(*mood),
        dynamics.SatisfactionRates(*satisfaction),
        similarity,
    )


@njit(cache=True, nogil=True)
def live(slates, chance, keys, taste, users, shared, rating, rates):  # type: ignore[no-untyped-def]
    """What slates do to users: feedback (B, k) float32 and reward (B,).

    Args:
        slates: (B, k). chance: (B, k) before boredom, moved in place. keys: (B, purposes) of the draws.
        taste: (B, d), moved in place where it drifts.
        users: `Users`, moved in place. shared: `Shared`. rating: whether feedback is stars. rates: `dynamics.Rates`.
            All three as plain tuples, see `plain_tuples`.
    """
    users, shared, rates = Users(*users), _shared(shared), _rates(rates)
    boredom, fatigue = rates.boredom, rates.fatigue
    apply_boredom(chance, slates, shared.topics, users.boredom, users.fatigue, users.mood, boredom, fatigue.weight)
    if rates.similarity:
        dynamics.resemble(chance, slates, shared.directions.items, rates.similarity)
    feedback = _react(slates, chance, keys[:, draws.CLICK], rating)
    clicks = (feedback >= CLICK_FROM).astype(np.float32)
    if len(shared.kinds.weights):
        _add_kinds(feedback, slates, chance, keys[:, draws.KIND], shared.kinds)
    _record(slates, feedback, shared.groups, users)
    if rates.satisfaction.enabled:
        dynamics.follow(users.satisfaction, _row_means(chance), rates.satisfaction.rate)
    if rates.drift.enabled:
        moves = keys[:, draws.SHIFT : draws.DRIFT + 1]
        dynamics.drift(taste, users.anchor, slates, clicks, shared.directions, moves, rates.drift)
    if boredom.enabled:
        dynamics.bore(users.boredom, slates, shared.topics, boredom)
    if fatigue.enabled:
        dynamics.rise(users.fatigue, fatigue.share)
    if rates.mood.enabled:
        dynamics.sway(users.mood, keys[:, draws.MOOD], 0, rates.mood.keep, rates.mood.spread)
    return feedback, _rewards(feedback)


@njit(cache=True)
def live_through(slates, rested, response, sessions, users, shared, rating, rates):  # type: ignore[no-untyped-def]
    """What one slate after the other does to users who never leave: feedback and chances of clicks (T, B, k).

    Args:
        slates: (T, B, k), valid, no item twice in one.
        rested: (T, B) bool, whether boredom and fatigue are 0 before the slate.
        response: latent factors: taste (B, d), offset (B,), item vectors (I, d) and offsets (I,).
        sessions: seed (B,) and session (B,), of the draws. users, shared, rating, rates: as in `live`.
    """
    seeds, numbers, (taste, offset, vectors, offsets) = sessions[0], sessions[1], response
    people, drifts = Users(*users), _rates(rates).drift.enabled
    feedback, chances = np.empty(slates.shape, np.float32), np.empty(slates.shape, np.float64)
    for step in range(len(slates)):
        for b in range(slates.shape[1]):
            if rested[step, b]:
                people.boredom[b, :], people.fatigue[b] = 0.0, 0.0
        keys, chance = (
            streams(seeds, numbers, people.steps),
            click_chances(taste, offset, slates[step], vectors, offsets),
        )
        moving = taste if drifts else people.anchor
        answers, _ = live(slates[step], chance, keys, moving, users, shared, rating, rates)
        for b in range(slates.shape[1]):
            for s in range(slates.shape[2]):
                feedback[step, b, s], chances[step, b, s] = answers[b, s], chance[b, s]
    return feedback, chances


@njit(cache=True)
def _row_means(values):  # type: ignore[no-untyped-def]
    means = np.empty(len(values), np.float64)
    for b in range(len(values)):
        total = 0.0
        for s in range(values.shape[1]):
            total += values[b, s]
        means[b] = total / values.shape[1]
    return means


@njit(cache=True)
def _rewards(feedback):  # type: ignore[no-untyped-def]
    rewards = np.empty(len(feedback), np.float64)
    for b in range(len(feedback)):
        total = 0.0
        for s in range(feedback.shape[1]):
            total += max(feedback[b, s], np.float32(0.0))
        rewards[b] = total / feedback.shape[1]
    return rewards


@njit(cache=True, nogil=True)
def leave(keys, chance, steps, active, max_steps):  # type: ignore[no-untyped-def]
    """Who leaves and who is cut, (B,) bool each; active follows."""
    terminated, truncated = np.empty(len(chance), np.bool_), np.empty(len(chance), np.bool_)
    drawn = _uniforms(keys[:, draws.LEAVE])
    for b in range(len(chance)):
        terminated[b] = drawn[b] < chance[b]
        truncated[b] = not terminated[b] and steps[b] >= max_steps
        active[b] = not (terminated[b] or truncated[b])
    return terminated, truncated


@njit(cache=True)
def _blank_copies(slates, shown, steps, repeats):  # type: ignore[no-untyped-def]
    k = slates.shape[1]
    for b in range(slates.shape[0]):
        for s in range(k):
            item = slates[b, s]
            copy = False
            for earlier in range(s):
                copy |= slates[b, earlier] == item
            if not repeats:
                for slot in range(steps[b] * k):
                    copy |= shown[b, slot] == item
            if copy:
                slates[b, s] = -1


@njit(cache=True, nogil=True)
def apply_boredom(chance, slates, topics, boredom, fatigue, mood, rates, fatigue_weight):  # type: ignore[no-untyped-def]
    """chance (B, k) <- with boredom (B, K) by `dynamics.BoredomRates`, fatigue and mood (B,), 0 for an empty slot."""
    left = dynamics.fading(slates.shape[1], rates)
    for b in range(slates.shape[0]):
        for s in range(slates.shape[1]):
            if slates[b, s] < 0:
                chance[b, s] = 0.0
                continue
            total, count = 0.0, 0
            for m in range(topics.shape[1]):
                topic = topics[slates[b, s], m]
                if topic >= 0:
                    total += boredom[b, topic] * left[s]
                    count += 1
                    if rates.within_slate:
                        total += _met_before(slates[b, :s], topic, topics, left) / slates.shape[1]
            loss = rates.weight * total / max(count, 1) + fatigue_weight * fatigue[b] - mood[b]
            p = min(max(chance[b, s], 1e-9), 1.0 - 1e-9)
            chance[b, s] = 1.0 / (1.0 + (1.0 - p) / p * math.exp(loss))


@njit(cache=True)
def _met_before(items, topic, topics, left):  # type: ignore[no-untyped-def]
    """How many of a slate's first items (n,) are of a topic, each faded since; -1 is no item."""
    met = 0.0
    for s in range(len(items)):
        if items[s] >= 0:
            for m in range(topics.shape[1]):
                if topics[items[s], m] == topic:
                    met += left[len(items) - s]
    return met


@njit(cache=True)
def _react(slates, chance, keys, rating):  # type: ignore[no-untyped-def]
    feedback = np.full(slates.shape, -1.0, np.float32)
    for b in range(slates.shape[0]):
        for s in range(slates.shape[1]):
            if slates[b, s] < 0:
                continue
            drawn = draws.uniform(keys[b], s)
            if not rating:
                feedback[b, s] = 1.0 if drawn < chance[b, s] else 0.0
                continue
            p = min(max(chance[b, s], 1e-9), 1.0 - 1e-9)
            drawn = min(max(drawn, 1e-12), 1.0 - 1e-12)
            felt = math.log(p / (1.0 - p)) - math.log(drawn / (1.0 - drawn))
            stars = 0.25 * (felt > STAR_STEPS[0]) + 0.25 * (felt > STAR_STEPS[1])
            feedback[b, s] = stars + 0.25 * (felt > 0.0) + 0.25 * (felt > STAR_STEPS[2])
    return feedback


@njit(cache=True)
def _kind_chance(chance, slope, offset):  # type: ignore[no-untyped-def]
    p = min(max(chance, 1e-9), 1.0 - 1e-9)
    return 1.0 / (1.0 + math.exp(-slope * math.log(p / (1.0 - p)) - offset))


@njit(cache=True)
def _add_kinds(feedback, slates, chance, keys, kinds):  # type: ignore[no-untyped-def]
    """Clicks become the weighted mean of clicks and the other kinds' coins, each kind's coin its own."""
    weights, slopes, offsets = kinds
    others = len(slopes)
    for b in range(slates.shape[0]):
        for s in range(slates.shape[1]):
            item = slates[b, s]
            if item >= 0:
                felt, total = float(weights[0]) * feedback[b, s], float(weights[0])
                for j in range(others):
                    if draws.uniform(keys[b], s * others + j) < _kind_chance(chance[b, s], slopes[j], offsets[j, item]):
                        felt += weights[j + 1]
                    total += weights[j + 1]
                feedback[b, s] = felt / total  # summed in the same order: 1 is exactly 1


@njit(cache=True, nogil=True)
def expected(slates, chance, kinds):  # type: ignore[no-untyped-def]
    weights, slopes, offsets = kinds
    reward = np.zeros(slates.shape, np.float64)
    for b in range(slates.shape[0]):
        for s in range(slates.shape[1]):
            item = slates[b, s]
            if item >= 0:
                felt, total = float(weights[0]) * chance[b, s], float(weights[0])
                for j in range(len(slopes)):
                    felt += weights[j + 1] * _kind_chance(chance[b, s], slopes[j], offsets[j, item])
                    total += weights[j + 1]
                reward[b, s] = felt / total
    return reward


@njit(cache=True)
def _record(slates, feedback, groups, users):  # type: ignore[no-untyped-def]
    k = slates.shape[1]
    for b in range(slates.shape[0]):
        begun = users.steps[b] * k
        for s in range(k):
            item = slates[b, s]
            users.shown[b, begun + s] = item
            users.feedback[b, begun + s] = feedback[b, s]
            if item >= 0:
                for m in range(groups.shape[1]):
                    if groups[item, m] >= 0:
                        users.exposure[b, groups[item, m]] += 1
                        users.liked[b, groups[item, m]] += feedback[b, s]
        users.steps[b] += 1
