"""How much boredom and fatigue cost, and how fast boredom fades."""

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from lerl.agents.belief.filter import TrainingSessions, cosines
from lerl.agents.belief.model import UserModel

SLOWER = (0.6, 0.85, 1.0, 1.18, 1.7)  # multiples of the time constant that are compared
STEPS = 3  # of Newton
CONSTANTS = 1.0, 200.0


def refit_strengths(model: UserModel, sessions: TrainingSessions, taste: NDArray[np.float32]) -> UserModel:
    """The model with `weight`, `tire` and `keep` of greater likelihood.

    Args:
        taste: (S, k), log-odds without boredom and fatigue.
    """
    constant, found = -1 / math.log(model.keep), []
    for slower in SLOWER:
        keep = math.exp(-1 / min(max(constant * slower, CONSTANTS[0]), CONSTANTS[1]))
        own, total = model._replace(keep=keep), -math.inf
        bored, tired = _burdens(own, sessions)
        for _ in range(STEPS):
            total, slope, curve = _sums(own, sessions, taste, bored, tired)
            step = np.linalg.solve(curve + 1e-3 * np.eye(2), slope)
            own = own._replace(weight=max(own.weight + float(step[0]), 0.0), tire=own.tire + float(step[1]))
        found.append((total, own))
    return max(found, key=lambda one: one[0])[1]


def losses(model: UserModel, sessions: TrainingSessions) -> NDArray[np.float32]:
    """What boredom, fatigue and likeness cost each slot, (S, k) log-odds."""
    bored, tired = _burdens(model, sessions)
    near = model.alike * cosines(model.units, sessions.items) if model.alike else 0.0
    return np.asarray(model.weight * bored + model.tire * tired + near, np.float32)


@njit(cache=True)
def _burdens(model, sessions):  # type: ignore[no-untyped-def]
    """Exposure to its own topics that each slot's item meets, and fatigue, (S, k) float64 each; 0 for no item."""
    homes, starts, items = sessions.homes, sessions.starts, sessions.items
    topics, k = model.fills.shape[1], items.shape[1]
    bored, tired = np.zeros(items.shape, np.float64), np.zeros(items.shape, np.float64)
    exposure, fade = np.empty(topics), model.keep ** (1.0 / k)
    for n in range(len(homes)):
        exposure[:] = 0.0
        fatigue = 0.0
        for row in range(starts[n], starts[n + 1]):
            for s in range(k):
                item = items[row, s]
                if item >= 0:
                    tired[row, s] = fatigue
                    for t in range(topics):
                        bored[row, s] += model.suffers[item, t] * exposure[t]
                        exposure[t] += model.fills[item, t] / k
                for t in range(topics):
                    exposure[t] *= fade
            fatigue += (1.0 - fatigue) * model.rise
    return bored, tired


@njit(cache=True)
def _sums(model, sessions, taste, bored, tired):  # type: ignore[no-untyped-def]
    """Log-likelihood, and its slope (2,) and curvature (2, 2) in weight and tire; see `_burdens`."""
    slope, curve, total = np.zeros(2), np.zeros((2, 2)), 0.0
    x = np.empty(2)
    for row in range(len(taste)):
        for s in range(taste.shape[1]):
            if sessions.items[row, s] >= 0:
                answer = sessions.feedback[row, s]
                x[0], x[1] = -bored[row, s], -tired[row, s]
                z = taste[row, s] + model.weight * x[0] + model.tire * x[1]
                p = 1.0 / (1.0 + math.exp(-z))
                total += answer * z - math.log1p(math.exp(-abs(z))) - max(z, 0.0)
                for a in range(2):
                    slope[a] += (answer - p) * x[a]
                    for c in range(2):
                        curve[a, c] += p * (1.0 - p) * x[a] * x[c]
    return total, slope, curve


@njit(cache=True)
def tastes(model, sessions, means):  # type: ignore[no-untyped-def]
    """Log-odds without boredom and fatigue, (S, k) float32, people being as believed: means (S, d + 1)."""
    items = sessions.items
    found, dim = np.zeros(items.shape, np.float32), model.vectors.shape[1]
    for row in range(len(items)):
        for s in range(items.shape[1]):
            if items[row, s] >= 0:
                z = means[row, dim] + model.offsets[items[row, s]]
                for a in range(dim):
                    z += means[row, a] * model.vectors[items[row, s], a]
                found[row, s] = z
    return found
