"""What happens inside a user: drift, boredom, fatigue, satisfaction and patience.

Each mechanism is a frozen dataclass that holds its strengths and one compiled function that moves its part of the state
one step, in place, for B users; the simulator calls these functions one after another, in one piece of compiled code. A
mechanism that is switched off leaves its part as it was at the session's start.

The default strengths are assumptions, made so that a session of 100 slates has something to plan for. Real logs show
smaller effects: with taste removed, the share of one category among the last ten views going from 0 to 1 moves a
MovieLens-1M rating by -0.03 stars and the long-view rate of KuaiRand by -0.017 (base rate 0.348); views in the last 30
minutes move it by -0.032. Neither log can identify when people leave.
"""

import math
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from lerl.envs import draws
from lerl.envs.checks import check_range, check_types

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]

LARGEST = 1e6
"""The most of a strength that is multiplied and summed up: beyond it single precision would overflow."""


@dataclass(frozen=True)
class Drift:
    """Taste wanders around a slow anchor, follows what was clicked, and now and then shifts for good.

    With n = |anchor|, c the mean unit vector of the clicked items and z standard normal in d dimensions:

        taste  <- n * unit(taste + revert * (anchor - taste) + pull * n * c + noise * n * z / sqrt(d))
        anchor <- n * unit((1 - shift_size) * anchor + shift_size * n * unit(another user's taste))

    The anchor moves, before the taste does, in a step with chance shift_probability; the other user is a training user.
    Only the direction moves; how much a user likes things at all stays. The source of the drifting direction is the
    interest evolution of RecSim (Ie et al., 2019, section 5.2); the anchor and the shifts are ours.

    Args:
        enabled: whether tastes move at all.
        revert: pull back to the anchor per step, in [0, 1].
        pull: pull towards what was clicked per step, in [0, 1].
        noise: size of the random move per step, as a share of the taste's length, in [0, 1e6].
        shift_probability: chance per step that the anchor itself moves, in [0, 1].
        shift_size: how far it then moves, 0 not at all, 1 all the way.
    """

    enabled: bool = True
    revert: float = 0.05
    pull: float = 0.02
    noise: float = 0.1
    shift_probability: float = 0.02
    shift_size: float = 0.5

    def __post_init__(self) -> None:
        check_types(self)
        for name in ("revert", "pull", "shift_probability", "shift_size"):
            check_range(self, name, 0.0, 1.0)
        check_range(self, "noise", 0.0, LARGEST)

    @property
    def strengths(self) -> tuple[bool, float, float, float, float, float]:
        """Whether tastes move, and the rest in order."""
        sizes = map(float, (self.revert, self.pull, self.noise, self.shift_probability, self.shift_size))
        return (bool(self.enabled), *sizes)  # type: ignore[return-value]

    def move(
        self,
        taste: Floats,
        anchor: Floats,
        slates: Ints,
        clicks: Floats,
        item_units: Floats,
        user_units: Floats,
        streams: NDArray[np.uint64],
    ) -> None:
        """Move taste (B, d) and anchor (B, d) after slates (B, k) with clicks (B, k).

        item_units (I, d) and user_units (U, d) hold directions of length 1; streams (B, 3) the draws' keys for shift,
        shift target and noise.
        """
        if self.enabled:
            drift(taste, anchor, slates, clicks, item_units, user_units, streams, *self.strengths[1:])


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
def drift(  # type: ignore[no-untyped-def]
    taste, anchor, slates, clicks, item_units, user_units, streams, revert, pull, noise, shift_probability, shift_size
):
    users, dim = taste.shape
    wander = np.zeros(dim)
    towards = np.empty(dim)
    lengths = _lengths(anchor)
    for b in range(users):
        length = lengths[b]
        if draws.uniform(streams[b, 0], 0) < shift_probability:
            other = int(draws.uniform(streams[b, 1], 0) * user_units.shape[0])
            for j in range(dim):
                anchor[b, j] = (1.0 - shift_size) * anchor[b, j] + shift_size * length * user_units[other, j]
            _rescale(anchor[b], _length(anchor[b]), length)
        clicked = 0.0
        towards[:] = 0.0
        for s in range(slates.shape[1]):
            if slates[b, s] >= 0 and clicks[b, s] > 0.5:
                clicked += 1.0
                for j in range(dim):
                    towards[j] += item_units[slates[b, s], j]
        if clicked > 0.0:
            for j in range(dim):
                towards[j] *= pull * length / clicked
        spread = noise * length / math.sqrt(dim)
        if spread > 0.0:
            draws.normals(streams[b, 2], wander)
        for j in range(dim):
            taste[b, j] += revert * (anchor[b, j] - taste[b, j]) + towards[j] + spread * wander[j]
    moved = _lengths(taste)
    for b in range(users):
        _rescale(taste[b], moved[b], lengths[b])


@dataclass(frozen=True)
class Boredom:
    """A topic bores the more, the more of it was shown lately.

        boredom[k] <- keep * (boredom[k] + share of the slate's slots in topic k),  keep = exp(-1 / time_constant)
        an item's log-odds of a click fall by weight * (mean boredom of its topics)

    This is the satiation of rebounding bandits (Leqi, Kilinc-Karzan, Lipton and Montgomery, NeurIPS 2021, eq. 1) on the
    log-odds scale. An item of several topics counts fully in each.

    Args:
        enabled: whether anything bores.
        weight: log-odds per unit of boredom, at least 0; one unit is one whole slate of the topic, just shown.
        time_constant: steps in which boredom fades to 1/e, above 0.
    """

    enabled: bool = True
    weight: float = 1.0
    time_constant: float = 8.0

    def __post_init__(self) -> None:
        check_types(self)
        check_range(self, "weight", 0.0)
        check_range(self, "time_constant", 1e-9)

    @property
    def strengths(self) -> tuple[bool, float, float]:
        """Whether anything bores, weight and keep."""
        return bool(self.enabled), float(self.weight), math.exp(-1.0 / self.time_constant)

    def fill(self, boredom: Floats, slates: Ints, topics: Ints) -> None:
        """Move boredom (B, K) after slates (B, k); topics (I, M) lists each item's topics, -1 as padding."""
        if self.enabled:
            bore(boredom, slates, topics, self.strengths[2])


@njit(cache=True)
def bore(boredom, slates, topics, keep):  # type: ignore[no-untyped-def]
    share = 1.0 / slates.shape[1]
    for b in range(boredom.shape[0]):
        for s in range(slates.shape[1]):
            if slates[b, s] >= 0:
                for m in range(topics.shape[1]):
                    topic = topics[slates[b, s], m]
                    if topic >= 0:
                        boredom[b, topic] += share
    for b in range(boredom.shape[0]):  # by itself: a row just written to cannot be read at once
        for k in range(boredom.shape[1]):
            boredom[b, k] *= keep


@dataclass(frozen=True)
class Fatigue:
    """A long session tires, whatever is shown.

        fatigue <- fatigue + (1 - fatigue) * (1 - exp(-1 / time_constant)), in [0, 1]
        every item's log-odds of a click fall by weight * fatigue

    The form is ours: a saturating leaky count of steps.

    Args:
        enabled: whether sessions tire.
        weight: log-odds at full fatigue, at least -20; below 0 people warm up instead.
        time_constant: steps in which fatigue reaches 1 - 1/e, above 0.
    """

    enabled: bool = True
    weight: float = 0.4
    time_constant: float = 30.0

    def __post_init__(self) -> None:
        check_types(self)
        check_range(self, "weight", -20.0)
        check_range(self, "time_constant", 1e-9)

    @property
    def strengths(self) -> tuple[bool, float, float]:
        """Whether sessions tire, weight and the share of the way to full fatigue per step."""
        return bool(self.enabled), float(self.weight), 1.0 - math.exp(-1.0 / self.time_constant)

    def rise(self, fatigue: Floats) -> None:
        """Move fatigue (B,) one step."""
        if self.enabled:
            rise(fatigue, self.strengths[2])


@njit(cache=True)
def rise(fatigue, share):  # type: ignore[no-untyped-def]
    for b in range(len(fatigue)):
        fatigue[b] += (np.float32(1.0) - fatigue[b]) * np.float32(share)


@dataclass(frozen=True)
class Mood:
    """What comes and goes without any reason that a recommender could see.

        mood <- keep * mood + spread * sqrt(1 - keep^2) * z,  keep = exp(-1 / time_constant),  z standard normal
        every item's log-odds of a click rise by mood

    A stationary first-order autoregression, begun with a draw of its own. The form is ours; the feedback of
    neighbouring interactions in real logs hangs together more than tastes and items explain.

    Args:
        enabled: whether there are moods.
        spread: standard deviation of the mood, log-odds, in [0, 1e6]; 0 for none.
        time_constant: steps in which a mood fades to 1/e, above 0.
    """

    enabled: bool = True
    spread: float = 0.0
    time_constant: float = 5.0

    def __post_init__(self) -> None:
        check_types(self)
        check_range(self, "spread", 0.0, LARGEST)
        check_range(self, "time_constant", 1e-9)

    @property
    def strengths(self) -> tuple[bool, float, float]:
        """Whether there are moods, keep and the size of a step's draw."""
        keep = math.exp(-1.0 / self.time_constant)
        return bool(self.enabled and self.spread), keep, self.spread * math.sqrt(1.0 - keep * keep)

    def draw(self, streams: NDArray[np.uint64]) -> Floats:
        """Moods (B,) of new sessions, from streams (B,)."""
        mood = np.zeros(len(streams), np.float32)
        if self.enabled and self.spread:
            sway(mood, streams, 1, 0.0, float(self.spread))
        return mood

    def move(self, mood: Floats, streams: NDArray[np.uint64]) -> None:
        """Move mood (B,) one step, with streams (B,) of draws."""
        if self.enabled and self.spread:
            sway(mood, streams, 0, *self.strengths[1:])


@njit(cache=True)
def sway(mood, streams, draw, keep, spread):  # type: ignore[no-untyped-def]
    for b in range(len(mood)):
        mood[b] = keep * mood[b] + spread * draws.normal(streams[b], draw)


@dataclass(frozen=True)
class Similarity:
    """Items of one slate that are alike take clicks from each other.

        chance of a click <- max(chance - weight * mean over the slate's items of the cosine to them, 0), at most 1

    The mean is over all items shown in the slate, the item itself among them (cosine 1), as in the KuaiSim variant of
    the LERL experiments (arXiv 2601.19585), whose weight is 0.2; cosines are between true item vectors. It is what is
    left after boredom and fatigue that is lowered.

    Args:
        weight: what a slate of copies would cost, in chance of a click, in [0, 1]; 0 for nothing.
    """

    weight: float = 0.0

    def __post_init__(self) -> None:
        check_types(self)
        check_range(self, "weight", 0.0, 1.0)

    @property
    def strengths(self) -> tuple[float]:
        """The weight."""
        return (float(self.weight),)


@njit(cache=True)
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


@dataclass(frozen=True)
class Satisfaction:
    """A leaky average of what was felt; what is felt is the mean chance of a click over the slate, empty slots 0.

        satisfaction <- satisfaction + rate * (felt - satisfaction), in [0, 1]

    After the satisfaction state of RecSim's long-term satisfaction environment (Ie et al., 2019), without its noise.

    Args:
        enabled: whether satisfaction follows what is shown.
        rate: share of the newest slate, in [0, 1].
        initial: satisfaction at the session's start, in [0, 1].
    """

    enabled: bool = True
    rate: float = 0.2
    initial: float = 0.6

    def __post_init__(self) -> None:
        check_types(self)
        check_range(self, "rate", 0.0, 1.0)
        check_range(self, "initial", 0.0, 1.0)

    @property
    def strengths(self) -> tuple[bool, float]:
        """Whether satisfaction follows, and the rate."""
        return bool(self.enabled), float(self.rate)

    def follow(self, satisfaction: Floats, felt: NDArray[np.float64]) -> None:
        """Move satisfaction (B,) after felt (B,) in [0, 1]."""
        if self.enabled:
            follow(satisfaction, felt, self.strengths[1])


@njit(cache=True)
def follow(satisfaction, felt, rate):  # type: ignore[no-untyped-def]
    for b in range(len(satisfaction)):
        satisfaction[b] += np.float32(rate) * (np.float32(felt[b]) - satisfaction[b])


@dataclass(frozen=True)
class Patience:
    """Some people stay longer than others: patience = exp(spread * z), z standard normal, drawn per session.

    The chance of leaving at a step is divided by it. The log-normal form is ours.

    Args:
        enabled: whether people differ; otherwise everybody has patience 1.
        spread: standard deviation of log patience, in [0, 10]; beyond it single precision knows patience 0.
    """

    enabled: bool = True
    spread: float = 0.3

    def __post_init__(self) -> None:
        check_types(self)
        check_range(self, "spread", 0.0, 10.0)

    def draw(self, seeds: NDArray[np.uint64], sessions: NDArray[np.int64]) -> Floats:
        """Patience (B,) of new sessions, above 0."""
        if not self.enabled:
            return np.ones(len(seeds), np.float32)
        return _patience(seeds, sessions, self.spread)


@njit(cache=True)
def _patience(seeds, sessions, spread):  # type: ignore[no-untyped-def]
    drawn = np.empty(len(seeds), np.float32)
    for b in range(len(seeds)):
        drawn[b] = math.exp(spread * draws.normal(draws.stream(seeds[b], sessions[b], 0, draws.PATIENCE), 0))
    return drawn
