"""What is believed of one person, slate after slate: an extended Kalman filter with a logistic likelihood.

Taste and level are normal; each answer moves mean and covariance by one Newton step (West, Harrison and Migon, JASA
1985, "Dynamic generalized linear models"); between slates the taste drifts. Exposure to topics is known.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from lerl.agents.belief.model import UserModel


class TrainingSessions(NamedTuple):
    """Sessions to learn from, N of them, S slates of k slots in all.

    Attributes:
        homes: (N, d + 1) float64, what the history says of each user: taste and level.
        starts: (N + 1,) int64, where each session's slates begin.
        items: (S, k) int32, -1 where nothing was shown. feedback: (S, k) float32 in [0, 1].
        left: (N,) bool, whether the user left after the last slate, before the most steps of a session were over.
    """

    homes: NDArray[np.float64]
    starts: NDArray[np.int64]
    items: NDArray[np.int32]
    feedback: NDArray[np.float32]
    left: NDArray[np.bool_]

    def take(self, rows: NDArray[np.int64]) -> "TrainingSessions":
        """Some of the sessions."""
        slates = self.slates(rows)
        starts = np.concatenate([[0], np.cumsum(np.diff(self.starts)[rows])])
        return TrainingSessions(self.homes[rows], starts, self.items[slates], self.feedback[slates], self.left[rows])

    def slates(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Places of the slates of some of the sessions."""
        lengths = np.diff(self.starts)[rows]
        begun = np.cumsum(lengths) - lengths
        return np.asarray(np.repeat(self.starts[rows] - begun, lengths) + np.arange(lengths.sum()), np.int64)


def join(parts: list[TrainingSessions]) -> TrainingSessions:
    """Several of them as one."""
    ends = np.cumsum([0, *(len(part.items) for part in parts)])
    starts = [part.starts[:-1] + end for part, end in zip(parts, ends[:-1].tolist(), strict=True)]
    return TrainingSessions(
        np.concatenate([part.homes for part in parts]),
        np.concatenate([*starts, ends[-1:]]),
        np.concatenate([part.items for part in parts]),
        np.concatenate([part.feedback for part in parts]),
        np.concatenate([part.left for part in parts]),
    )


class Belief(NamedTuple):
    """What is believed of B sessions.

    Attributes:
        home, mean: (B, d + 1) float64. cov: (B, d + 1, d + 1) float64. exposure: (B, K) float64. fatigue: (B,) float64.
    """

    home: NDArray[np.float64]
    mean: NDArray[np.float64]
    cov: NDArray[np.float64]
    exposure: NDArray[np.float64]
    fatigue: NDArray[np.float64]


def new_belief(count: int, dim: int, topics: int) -> Belief:
    """Room for so many sessions, tastes of `dim` numbers and so many topics."""
    n = dim + 1
    shapes = (count, n), (count, n), (count, n, n), (count, topics), (count,)
    return Belief(*(np.zeros(shape) for shape in shapes))


@njit(cache=True)
def begin(model, belief, b, home):  # type: ignore[no-untyped-def]
    """A new session in slot b, of a user of whom the history says home (d + 1,)."""
    for a in range(len(home)):
        belief.home[b, a] = home[a]
        belief.mean[b, a] = home[a]
        for c in range(len(home)):
            belief.cov[b, a, c] = model.spread[a, c]
    belief.exposure[b, :] = 0.0
    belief.fatigue[b] = 0.0


@njit(cache=True, nogil=True)
def begin_all(model, belief, rows, homes):  # type: ignore[no-untyped-def]
    for n in range(len(rows)):
        begin(model, belief, rows[n], homes[n])


@njit(cache=True, nogil=True)
def come_back(model, belief, rows, days, drifts, fades):  # type: ignore[no-untyped-def]
    """The people in rows (n,) are back after days (n,): what is believed of them is the next session's prior.

    Means stay, and are what tastes return to from now on. Covariance goes back towards `spread`, that of somebody new,
    as quickly as `drifts` steps a day of the model's drift would take it there:

        cov <- spread + (cov - spread) * exp(-drifts * days * trace(noise) / trace(spread))

    Exposure fades to exp(-fades * days) of what it was, and fatigue is gone.
    """
    n = belief.mean.shape[1]
    noise, spread = 0.0, 0.0
    for a in range(n):
        noise += model.noise[a, a]
        spread += model.spread[a, a]
    for i in range(len(rows)):
        b = rows[i]
        keep = math.exp(-drifts * days[i] * noise / max(spread, 1e-12))
        for a in range(n):
            belief.home[b, a] = belief.mean[b, a]
            for c in range(n):
                belief.cov[b, a, c] = model.spread[a, c] + keep * (belief.cov[b, a, c] - model.spread[a, c])
        for t in range(belief.exposure.shape[1]):
            belief.exposure[b, t] *= math.exp(-fades * days[i])
        belief.fatigue[b] = 0.0


@njit(cache=True)
def log_odds(model, belief, b, item):  # type: ignore[no-untyped-def]
    """Of a click on an item, for the person in slot b, as believed now."""
    dim = model.vectors.shape[1]
    z = belief.mean[b, dim] + model.offsets[item] - model.tire * belief.fatigue[b]
    for a in range(dim):
        z += belief.mean[b, a] * model.vectors[item, a]
    loss = 0.0
    for t in range(model.suffers.shape[1]):
        loss += model.suffers[item, t] * belief.exposure[b, t]
    return z - model.weight * loss


@njit(cache=True)
def likeness(units, items, s):  # type: ignore[no-untyped-def]
    """Mean cosine of the item in slot s of a slate (k,) to the slate's items, itself and empty slots counting 0."""
    total = 0.0
    for other in range(len(items)):
        if other != s and items[other] >= 0:
            for a in range(units.shape[1]):
                total += units[items[s], a] * units[items[other], a]
    return total / len(items)


@njit(cache=True)
def cosines(units, items):  # type: ignore[no-untyped-def]
    """`likeness` of every item of slates (S, k), 0 for none; units (I, d)."""
    found = np.zeros(items.shape)
    for row in range(len(items)):
        for s in range(items.shape[1]):
            if items[row, s] >= 0:
                found[row, s] = likeness(units, items[row], s)
    return found


@njit(cache=True)
def learn(model, belief, b, items, feedback, logits):  # type: ignore[no-untyped-def]
    """Take in a slate (k,) and its feedback (k,); logits (k,) <- what was believed before each answer, 0 for none."""
    dim, k = model.vectors.shape[1], len(items)
    fade = model.keep ** (1.0 / k)
    gain = np.empty(dim + 1)
    mean, cov, exposure = belief.mean[b], belief.cov[b], belief.exposure[b]
    for s in range(k):
        item = items[s]
        logits[s] = 0.0
        if item >= 0:
            logits[s] = log_odds(model, belief, b, item)
            if model.alike != 0.0:
                logits[s] -= model.alike * likeness(model.units, items, s)
            p = 1.0 / (1.0 + math.exp(-logits[s]))
            variance = 0.0
            for a in range(dim + 1):
                gain[a] = cov[a, dim]
                for c in range(dim):
                    gain[a] += cov[a, c] * model.vectors[item, c]
                variance += gain[a] * (model.vectors[item, a] if a < dim else 1.0)
            scale = 1.0 / (1.0 + p * (1.0 - p) * variance)
            for a in range(dim + 1):
                mean[a] += gain[a] * (feedback[s] - p) * scale
                for c in range(dim + 1):
                    cov[a, c] -= gain[a] * gain[c] * p * (1.0 - p) * scale
            for t in range(len(exposure)):
                exposure[t] += model.fills[item, t] / k
        for t in range(len(exposure)):
            exposure[t] *= fade


@njit(cache=True)
def drift(model, belief, b):  # type: ignore[no-untyped-def]
    """What a step does to the belief beside its answers."""
    dim = model.vectors.shape[1]
    home, mean, cov, stay = belief.home[b], belief.mean[b], belief.cov[b], 1.0 - model.revert
    for a in range(dim + 1):
        if a < dim:
            mean[a] += model.revert * (home[a] - mean[a])
        for c in range(dim + 1):
            kept = (stay if a < dim else 1.0) * (stay if c < dim else 1.0)
            cov[a, c] = cov[a, c] * kept + model.noise[a, c]
    belief.fatigue[b] += (1.0 - belief.fatigue[b]) * model.rise


@njit(cache=True, nogil=True)
def learn_all(model, belief, rows, items, feedback):  # type: ignore[no-untyped-def]
    """Take in the newest slates (B, k) of these slots, and the step after them."""
    logits = np.empty(items.shape[1])
    for b in rows:
        learn(model, belief, b, items[b], feedback[b], logits)
        drift(model, belief, b)


@njit(cache=True)
def follow(model, belief, sessions):  # type: ignore[no-untyped-def]
    """Means (S, d + 1) float32 before each slate, and logits (S, k) float32 before each answer.

    belief: of one session, overwritten.
    """
    homes, starts, items, feedback, _ = sessions
    means = np.empty((len(items), homes.shape[1]), np.float32)
    found = np.empty(items.shape, np.float32)
    logits = np.empty(items.shape[1])
    for n in range(len(homes)):
        begin(model, belief, 0, homes[n])
        for row in range(starts[n], starts[n + 1]):
            for a in range(homes.shape[1]):
                means[row, a] = belief.mean[0, a]
            learn(model, belief, 0, items[row], feedback[row], logits)
            for s in range(items.shape[1]):
                found[row, s] = logits[s]
            drift(model, belief, 0)
    return means, found


def believed(model: UserModel, sessions: TrainingSessions) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Means (S, d + 1) before each slate, and the log-odds (S, k) of a click as believed before each answer."""
    found: tuple[NDArray[np.float32], NDArray[np.float32]] = follow(
        model, new_belief(1, model.vectors.shape[1], model.fills.shape[1]), sessions
    )
    return found


def likelihood(model: UserModel, sessions: TrainingSessions) -> float:
    """Mean log-likelihood of an answer, each predicted from those before it."""
    z = believed(model, sessions)[1].astype(np.float64)
    there = sessions.items >= 0
    z, y = z[there], sessions.feedback[there]
    return float((y * z - np.logaddexp(0, z)).mean())
