"""Item vectors and offsets, revised from feedback: for each item a logistic regression shrunk towards what is known."""

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from lerl.agents.belief.filter import TrainingSessions
from lerl.agents.belief.model import UserModel

CERTAIN = 20.0, 5.0  # inverse variances of what is known of an item: of its vector's numbers, of its offset
STEPS = 2  # of Newton


def refit_items(
    model: UserModel,
    known: UserModel,
    sessions: TrainingSessions,
    means: NDArray[np.float32],
    rest: NDArray[np.float32],
) -> UserModel:
    """The model with item vectors, offsets and doubts of greater posterior probability, given people.

    Args:
        known: whose items they are shrunk towards.
        means: (S, d + 1), of taste and level before each slate. rest: (S, k), log-odds without taste and item offset.
    """
    for _ in range(STEPS):
        vectors, offsets, doubts = _newton(model, known, sessions, means, rest, CERTAIN)
        model = model._replace(vectors=vectors, offsets=offsets, doubts=doubts)
    return model


def common_offset(sessions: TrainingSessions, logits: NDArray[np.float32]) -> np.float32:
    """What all items are off, log-odds: what is wrong with all of them says nothing against those that were shown.

    Args:
        logits: (S, k), as believed.
    """
    there = sessions.items >= 0
    z, y, apart = logits[there].astype(np.float64), sessions.feedback[there], 0.0
    for _ in range(STEPS):
        p = 1 / (1 + np.exp(-z - apart))
        apart += float((y - p).sum() / max((p * (1 - p)).sum(), 1e-9))
    return np.float32(apart)


@njit(cache=True)
def _newton(model, known, sessions, means, rest, certain):  # type: ignore[no-untyped-def]
    count, dim = model.vectors.shape
    curve, slope = np.zeros((count, dim + 1, dim + 1)), np.zeros((count, dim + 1))
    x = np.ones(dim + 1)
    for row in range(len(sessions.items)):
        for s in range(sessions.items.shape[1]):
            item = sessions.items[row, s]
            if item >= 0:
                z = rest[row, s] + model.offsets[item]
                for a in range(dim):
                    x[a] = means[row, a]
                    z += x[a] * model.vectors[item, a]
                p = 1.0 / (1.0 + math.exp(-z))
                for a in range(dim + 1):
                    slope[item, a] += (sessions.feedback[row, s] - p) * x[a]
                    for c in range(dim + 1):
                        curve[item, a, c] += p * (1.0 - p) * x[a] * x[c]
    vectors, offsets, doubts = model.vectors.copy(), model.offsets.copy(), np.empty(count, np.float32)
    for item in range(count):
        for a in range(dim):
            curve[item, a, a] += certain[0]
            slope[item, a] -= certain[0] * (vectors[item, a] - known.vectors[item, a])
        curve[item, dim, dim] += certain[1]
        slope[item, dim] -= certain[1] * (offsets[item] - known.offsets[item])
        step = np.linalg.solve(curve[item], slope[item])
        for a in range(dim):
            vectors[item, a] += step[a]
        offsets[item] += step[dim]
        doubts[item] = math.sqrt(np.linalg.inv(curve[item])[dim, dim])
    return vectors, offsets, doubts
