"""What happens inside users: drift, boredom, fatigue, moods, satisfaction and patience.

`config` holds the formula and the source of each mechanism. Here is one compiled function for each that moves its part
of the state one step, in place, for B users; the simulator calls them one after another, in one piece of compiled code.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from lerl.envs import draws
from lerl.envs.config import Boredom, Drift, Fatigue, Mood, Patience, Satisfaction, Similarity, SimulatorConfig

Floats = NDArray[np.float32]


class DriftRates(NamedTuple):
    """Strengths of `Drift`."""

    enabled: bool
    revert: float
    pull: float
    noise: float
    shift_probability: float
    shift_size: float


class BoredomRates(NamedTuple):
    """Strengths of `Boredom`: log-odds per unit, what is kept from one step to the next, whether slots bore at once."""

    enabled: bool
    weight: float
    keep: float
    within_slate: bool


class FatigueRates(NamedTuple):
    """Strengths of `Fatigue`: log-odds at full fatigue, and the share of the way to it per step."""

    enabled: bool
    weight: float
    share: float


class MoodRates(NamedTuple):
    """Strengths of `Mood`: what is kept of a mood, and the standard deviation of what is added per step."""

    enabled: bool
    keep: float
    spread: float


class SatisfactionRates(NamedTuple):
    """Strengths of `Satisfaction`: the share of the newest slate."""

    enabled: bool
    rate: float


class Directions(NamedTuple):
    """Vectors of length 1: of items (I, d), and of the training users (U, d) that tastes shift to."""

    items: Floats
    users: Floats


class Rates(NamedTuple):
    """The strengths of all mechanisms, per step, as compiled code takes them; similarity is a weight."""

    drift: DriftRates
    boredom: BoredomRates
    fatigue: FatigueRates
    mood: MoodRates
    satisfaction: SatisfactionRates
    similarity: float


def rates(config: SimulatorConfig) -> Rates:
    """The strengths of a configuration."""
    return Rates(
        _drift_rates(config.drift),
        _boredom_rates(config.boredom, config.slate_size),
        _fatigue_rates(config.fatigue),
        _mood_rates(config.mood),
        _satisfaction_rates(config.satisfaction),
        _similarity_rate(config.similarity),
    )


def _drift_rates(drift: Drift) -> DriftRates:
    return DriftRates(drift.enabled, drift.revert, drift.pull, drift.noise, drift.shift_probability, drift.shift_size)


def _boredom_rates(boredom: Boredom, slate_size: int) -> BoredomRates:
    within = boredom.enabled and boredom.within_slate and slate_size > 1
    return BoredomRates(boredom.enabled, boredom.weight, math.exp(-1.0 / boredom.time_constant), within)


def _fatigue_rates(fatigue: Fatigue) -> FatigueRates:
    return FatigueRates(fatigue.enabled, fatigue.weight, 1.0 - math.exp(-1.0 / fatigue.time_constant))


def _mood_rates(mood: Mood) -> MoodRates:
    keep = math.exp(-1.0 / mood.time_constant)
    return MoodRates(mood.enabled and mood.spread > 0, keep, mood.spread * math.sqrt(1.0 - keep * keep))


def _satisfaction_rates(satisfaction: Satisfaction) -> SatisfactionRates:
    return SatisfactionRates(satisfaction.enabled, satisfaction.rate)


def _similarity_rate(similarity: Similarity) -> float:
    return similarity.weight


def draw_moods(mood: Mood, streams: NDArray[np.uint64]) -> Floats:
    """Moods (B,) of new sessions, from streams (B,) of draws."""
    drawn = np.zeros(len(streams), np.float32)
    if mood.enabled and mood.spread:
        sway(drawn, streams, 1, 0.0, mood.spread)
    return drawn


def draw_patience(patience: Patience, seeds: NDArray[np.uint64], sessions: NDArray[np.int64]) -> Floats:
    """Patience (B,) of new sessions, above 0."""
    if not patience.enabled:
        return np.ones(len(seeds), np.float32)
    return _patience(seeds, sessions, patience.spread)


@njit(cache=True)
def _length(vector: Floats) -> float:
    total = 0.0
    for j in range(vector.shape[0]):
        total += vector[j] * vector[j]
    return math.sqrt(total)


@njit(cache=True)
def _lengths(vectors):  # type: ignore[no-untyped-def]
    """Length of each vector: four sums side by side, each in its own order, as a sum waits for itself."""
    lengths, whole = np.empty(len(vectors), np.float64), len(vectors) // 4 * 4
    for b in range(0, whole, 4):
        first = second = third = fourth = 0.0
        for j in range(vectors.shape[1]):
            first += vectors[b, j] * vectors[b, j]
            second += vectors[b + 1, j] * vectors[b + 1, j]
            third += vectors[b + 2, j] * vectors[b + 2, j]
            fourth += vectors[b + 3, j] * vectors[b + 3, j]
        lengths[b], lengths[b + 1] = math.sqrt(first), math.sqrt(second)
        lengths[b + 2], lengths[b + 3] = math.sqrt(third), math.sqrt(fourth)
    for b in range(whole, len(vectors)):
        lengths[b] = _length(vectors[b])
    return lengths


@njit(cache=True)
def _rescale(vector: Floats, now: float, length: float) -> None:
    if now > 0.0:
        factor = length / now
        for j in range(vector.shape[0]):
            vector[j] *= factor


@njit(cache=True)
def drift(taste, anchor, slates, clicks, directions, streams, rates):  # type: ignore[no-untyped-def]
    """Move taste (B, d) and anchor (B, d) after slates (B, k) with clicks (B, k).

    `directions` hold unit vectors of items (I, d) and users (U, d); streams (B, 3) are those of the shift, of the user
    shifted to, and of the noise.
    """
    users, dim = taste.shape
    wander = np.zeros(dim)
    towards = np.empty(dim)
    lengths = _lengths(anchor)
    for b in range(users):
        length = lengths[b]
        if draws.uniform(streams[b, 0], 0) < rates.shift_probability:
            other = int(draws.uniform(streams[b, 1], 0) * directions.users.shape[0])
            for j in range(dim):
                anchor[b, j] = (1.0 - rates.shift_size) * anchor[b, j] + rates.shift_size * length * directions.users[
                    other, j
                ]
            _rescale(anchor[b], _length(anchor[b]), length)
        clicked = 0.0
        towards[:] = 0.0
        for s in range(slates.shape[1]):
            if slates[b, s] >= 0 and clicks[b, s] > 0.5:
                clicked += 1.0
                for j in range(dim):
                    towards[j] += directions.items[slates[b, s], j]
        if clicked > 0.0:
            for j in range(dim):
                towards[j] *= rates.pull * length / clicked
        spread = rates.noise * length / math.sqrt(dim)
        if spread > 0.0:
            draws.normals(streams[b, 2], wander)
        for j in range(dim):
            taste[b, j] += rates.revert * (anchor[b, j] - taste[b, j]) + towards[j] + spread * wander[j]
    moved = _lengths(taste)
    for b in range(users):
        _rescale(taste[b], moved[b], lengths[b])


@njit(cache=True)
def fading(slots, rates):  # type: ignore[no-untyped-def]
    """What is left of boredom after 0 to `slots` slots of a slate, (slots + 1,): all, unless slots bore at once."""
    left = np.ones(slots + 1, np.float64)
    if rates.within_slate:
        for s in range(slots + 1):
            left[s] = rates.keep ** (s / slots)
    return left


@njit(cache=True)
def bore(boredom, slates, topics, rates):  # type: ignore[no-untyped-def]
    k = slates.shape[1]
    left = fading(k, rates)
    if rates.within_slate:
        _fade(boredom, rates.keep)
    for b in range(boredom.shape[0]):
        for s in range(k):
            if slates[b, s] >= 0:
                share = left[k - s] / k
                for m in range(topics.shape[1]):
                    topic = topics[slates[b, s], m]
                    if topic >= 0:
                        boredom[b, topic] += share
    if not rates.within_slate:
        _fade(boredom, rates.keep)


@njit(cache=True)
def _fade(boredom, keep):  # type: ignore[no-untyped-def]
    for b in range(boredom.shape[0]):
        for topic in range(boredom.shape[1]):
            boredom[b, topic] *= keep


@njit(cache=True)
def rise(fatigue, share):  # type: ignore[no-untyped-def]
    for b in range(len(fatigue)):
        fatigue[b] += (np.float32(1.0) - fatigue[b]) * np.float32(share)


@njit(cache=True, nogil=True)
def sway(mood, streams, draw, keep, spread):  # type: ignore[no-untyped-def]
    for b in range(len(mood)):
        mood[b] = keep * mood[b] + spread * draws.normal(streams[b], draw)


@njit(cache=True, nogil=True)
def resemble(chance, slates, item_units, weight):  # type: ignore[no-untyped-def]
    for b in range(slates.shape[0]):
        shown = 0
        for s in range(slates.shape[1]):
            shown += slates[b, s] >= 0
        for s in range(slates.shape[1]):
            if slates[b, s] >= 0:
                total = 0.0
                for other in range(slates.shape[1]):
                    if slates[b, other] >= 0:
                        for j in range(item_units.shape[1]):
                            total += item_units[slates[b, s], j] * item_units[slates[b, other], j]
                chance[b, s] = min(max(chance[b, s] - weight * total / shown, 0.0), 1.0)


@njit(cache=True)
def follow(satisfaction, felt, rate):  # type: ignore[no-untyped-def]
    for b in range(len(satisfaction)):
        satisfaction[b] += np.float32(rate) * (np.float32(felt[b]) - satisfaction[b])


@njit(cache=True, nogil=True)
def _patience(seeds, sessions, spread):  # type: ignore[no-untyped-def]
    drawn = np.empty(len(seeds), np.float32)
    for b in range(len(seeds)):
        drawn[b] = math.exp(spread * draws.normal(draws.stream(seeds[b], sessions[b], 0, draws.PATIENCE), 0))
    return drawn
