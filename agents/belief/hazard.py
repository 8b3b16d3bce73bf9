"""The chance of leaving after a slate, in discrete time: a logistic regression on what went before.

Cox 1972, "Regression models and life-tables"; Singer and Willett 1993, "It's about time".
"""

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from lerl.agents.belief.filter import TrainingSessions

Floats = NDArray[np.float64]
LATE = 0.2  # weight of the newest slate in the feedback of late
RIDGE = 1.0  # inverse variance of what a standard deviation of a feature does to the log-odds of leaving
STEPS = 30  # of Newton, at most


class Hazard(NamedTuple):
    """The chance of leaving after a slate, as a logistic regression.

    Attributes:
        weights: (5,), log-odds per unit of `circumstances`. late: the mean feedback of late.
    """

    weights: Floats
    late: float


def fit_hazard(x: Floats, leaves: Floats) -> Hazard:
    """The likeliest weights, by Newton steps, shrunk towards no influence."""
    centre, scale = x.mean(axis=0), x.std(axis=0)
    centre[0], scale[0] = 0.0, 1.0
    scaled = (x - centre) / np.maximum(scale, 1e-9)
    scaled[:, scale < 1e-9] = 0.0
    own, ridge = np.zeros(x.shape[1]), np.full(x.shape[1], RIDGE)
    ridge[0] = 1e-3
    best = -math.inf
    step = np.zeros(x.shape[1])
    for _ in range(STEPS):
        while True:
            z = scaled @ (own + step)
            total = (leaves * z - np.logaddexp(0, z)).sum() - (ridge * (own + step) ** 2).sum() / 2
            if total >= best or np.abs(step).max() < 1e-6:
                break
            step /= 2
        done, best, own = total - best < 1e-3, total, own + step
        if done:
            break
        p = 1 / (1 + np.exp(-z))
        curve = (scaled * (p * (1 - p))[:, None]).T @ scaled + np.diag(ridge)
        step = np.linalg.solve(curve, scaled.T @ (leaves - p) - ridge * own)
    weights = own / np.maximum(scale, 1e-9)
    weights[scale < 1e-9] = 0.0
    weights[0] = own[0] - weights[1:] @ centre[1:]
    return Hazard(weights, float(centre[4]))


def predicted(hazard: Hazard, x: Floats, leaves: Floats) -> float:
    """Log-likelihood of leaving and staying."""
    z = x @ hazard.weights
    return float((leaves * z - np.logaddexp(0, z)).sum())


def circumstances(sessions: TrainingSessions, repeated: Floats) -> tuple[Floats, Floats]:
    """What goes before leaving (S, 5): 1, steps, repetitions so far, whether the slate repeats, feedback of late; and
    whether people left after each slate, (S,) 0 or 1.

    Args:
        repeated: (S,), the chance that each slate repeats a group.
    """
    x, leaves = np.empty((len(repeated), 5)), np.empty(len(repeated))
    _circumstances(sessions, repeated, x, leaves)
    return x, leaves


def steps_lost(hazard: Hazard, longest: int, most: int) -> Floats:
    """Steps that one repetition costs, (T, T), by slates and repetitions before it, if no other comes after it.

    Sessions end after `longest` slates; T is that, or `most` where that is less: more slates, or repetitions, than that
    count as `most`.
    """
    kept_steps = min(longest, most)
    counts = np.arange(kept_steps + 1)

    def stays(step: int, repeated: float) -> Floats:
        """The chance to stay after this slate, by repetitions so far."""
        x = np.stack(np.broadcast_arrays(1.0, float(step), counts, repeated, hazard.late), axis=1)
        return np.asarray(1 / (1 + np.exp(np.minimum(x @ hazard.weights, 500))), np.float64)

    lost, ahead = np.zeros((kept_steps, kept_steps)), np.zeros(kept_steps + 1)  # ahead: slates to come, after so many
    for step in range(longest, 0, -1):
        kept = stays(step, 0.0) * ahead
        if step <= kept_steps:
            lost[step - 1] = np.maximum(kept[:-1] - (stays(step, 1.0) * ahead)[1:], 0)
        ahead = 1 + kept
    return lost


@njit(cache=True)
def _circumstances(sessions, repeated, x, leaves):  # type: ignore[no-untyped-def]
    for n in range(len(sessions.starts) - 1):
        late, count = -1.0, 0.0
        for row in range(sessions.starts[n], sessions.starts[n + 1]):
            there, total = 0, 0.0
            for s in range(sessions.items.shape[1]):
                if sessions.items[row, s] >= 0:
                    there += 1
                    total += sessions.feedback[row, s]
            mean = total / max(there, 1)
            late = mean if late < 0 else late + LATE * (mean - late)
            count += repeated[row]
            x[row, 0], x[row, 1], x[row, 2] = 1.0, row - sessions.starts[n] + 1, count
            x[row, 3], x[row, 4], leaves[row] = repeated[row], late, 0.0
        if sessions.left[n]:
            leaves[sessions.starts[n + 1] - 1] = 1.0
