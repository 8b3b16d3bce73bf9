"""Topics learned from feedback: soft groups of items that bore each other, found by likelihood.

An item's shares of the topics say both what it bores of and what it suffers from. They start from clusters of item
directions, are drawn towards the mean direction of their topic, and climb the log-likelihood of the sessions by Adam
(Kingma and Ba 2015) on their logits; the gradient goes through the exposure that earlier slots left.
"""

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from lerl.agents.belief.filter import TrainingSessions
from lerl.agents.belief.model import UserModel

CONCENTRATION = 8.0  # of directions around their topic's: log-odds per unit of cosine
EPOCHS, PARTS = 10, 8  # passes over the sessions, and steps in each
RATE, FIRST, SECOND = 0.1, 0.9, 0.99  # Adam's
LEAST = 0.01  # smaller shares are left out: an item has some four to nine topics of 20 then
Floats = NDArray[np.float64]


def directions(vectors: NDArray[np.float32]) -> Floats:
    """Rows (I, d) of length 1."""
    wide = vectors.astype(np.float64)
    return wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-9)


def near_centres(units: Floats, shares: Floats) -> Floats:
    """(I, K), log of the shares that directions (I, d) alone give, topics' centres being means by shares (I, K)."""
    centres = directions((shares.T @ units).astype(np.float32))
    near = CONCENTRATION * units @ centres.T
    return near - np.log(np.exp(near).sum(axis=1, keepdims=True))


def refit_topics(model: UserModel, sessions: TrainingSessions, taste: NDArray[np.float32], seed: int) -> UserModel:
    """The model with shares of topics of greater posterior probability.

    Args:
        taste: (S, k), log-odds without boredom. seed: of the order of the sessions.
    """
    units, weight = directions(model.vectors), model.weight
    logits = np.log(model.suffers.astype(np.float64) + 1e-4)
    first, second, step = np.zeros_like(logits), np.zeros_like(logits), 0
    rows = np.random.default_rng(seed).permutation(len(sessions.homes))
    chosen = [np.sort(part) for part in np.array_split(rows, PARTS) if len(part)]
    parts = [(sessions.take(part), taste[sessions.slates(part)]) for part in chosen]
    whole = len(sessions.items)
    for _ in range(EPOCHS):
        for some, tasted in parts:
            step += 1
            shares = _softmax(logits)
            _, slope = climb(shares, weight, model.keep, some, tasted)
            slope = slope * (whole / max(len(tasted), 1)) + near_centres(units, shares) - np.log(shares + 1e-9)
            slope = shares * (slope - (shares * slope).sum(axis=1, keepdims=True))
            first = FIRST * first + (1 - FIRST) * slope
            second = SECOND * second + (1 - SECOND) * slope**2
            logits += RATE * (first / (1 - FIRST**step)) / (np.sqrt(second / (1 - SECOND**step)) + 1e-3)
    found = _softmax(logits)
    found[found < LEAST] = 0.0
    found = (found / found.sum(axis=1, keepdims=True)).astype(np.float32)
    return model._replace(fills=found, suffers=found)


def _softmax(logits: Floats) -> Floats:
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


@njit(cache=True)
def climb(shares, weight, keep, sessions, taste):  # type: ignore[no-untyped-def]
    """Log-likelihood, and its slope in shares (I, K), taste (S, k) being the log-odds without boredom."""
    homes, starts, items, feedback, _ = sessions
    topics, k = shares.shape[1], items.shape[1]
    longest = 0
    for n in range(len(homes)):
        longest = max(longest, starts[n + 1] - starts[n])
    slope, fade, total = np.zeros(shares.shape), keep ** (1.0 / k), 0.0
    met, off = np.empty((longest * k, topics)), np.empty(longest * k)
    exposure, back = np.empty(topics), np.empty(topics)
    for n in range(len(homes)):
        exposure[:] = 0.0
        slots = (starts[n + 1] - starts[n]) * k
        for slot in range(slots):
            row, s = starts[n] + slot // k, slot % k
            item = items[row, s]
            off[slot] = 0.0
            if item >= 0:
                z = float(taste[row, s])
                for t in range(topics):
                    met[slot, t] = exposure[t]
                    z -= weight * shares[item, t] * exposure[t]
                    exposure[t] += shares[item, t] / k
                off[slot] = feedback[row, s] - 1.0 / (1.0 + math.exp(-z))
                total += feedback[row, s] * z - math.log1p(math.exp(-abs(z))) - max(z, 0.0)
            for t in range(topics):
                exposure[t] *= fade
        back[:] = 0.0  # what a unit of exposure left in each topic adds to the log-likelihood of what comes later
        for slot in range(slots - 1, -1, -1):
            item = items[starts[n] + slot // k, slot % k]
            for t in range(topics):
                back[t] *= fade
            if item >= 0:
                for t in range(topics):
                    slope[item, t] += back[t] / k - off[slot] * weight * met[slot, t]
                    back[t] -= off[slot] * weight * shares[item, t]
    return total, slope
