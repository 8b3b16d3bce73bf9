"""What tires: a model of falling feedback, learned from whole sessions, never from the simulator's hidden state."""

import math
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from lerl.planners.base import PlanContexts, Sessions

TIME_CONSTANTS = (3.0, 5.0, 8.0, 12.0, 20.0)
PRIOR_VARIANCE = 0.25
RIDGE = 30.0

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Satiation:
    """log-odds of a click = intercept + slope * promised log-odds - mean (weights @ E)[c] over the item's categories c

    E[c] is exposure: the shares of past slates in category c, each step fading by keep = exp(-1 / time constant).

    Attributes:
        intercept, slope: recalibrate what known history promises.
        weights: (C, C) log-odds per unit of exposure, row c what tires c.
        keep: in (0, 1).
    """

    intercept: float
    slope: float
    weights: NDArray[np.float64]
    keep: float

    @staticmethod
    def assumed(categories: int) -> "Satiation":
        """Before any feedback: each category tires itself, half a unit of log-odds per slate's worth, over 8 steps."""
        return Satiation(0.0, 1.0, 0.5 * np.eye(categories), math.exp(-1 / 8.0))


def tiredness(
    contexts: PlanContexts, satiation: Satiation
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """How tired each session is of each category, and what its own feedback says beyond the model.

    Returns:
        (B, C) tiredness in log-odds; (B, C) posterior mean and (B, C) standard deviation of a category's surplus in
        log-odds, under a normal prior of variance 0.25 and one Newton step from 0.
    """
    return _tiredness(
        contexts.recent_items,
        contexts.recent_feedback,
        contexts.recent_estimates,
        contexts.axis.groups,
        contexts.slate_size,
        satiation.intercept,
        satiation.slope,
        satiation.weights,
        satiation.keep,
        PRIOR_VARIANCE,
    )


@njit(cache=True)
def _tire(columns, exposure, tired):  # type: ignore[no-untyped-def]
    """tired (C,) <- weights (C, C) times exposure (C,), summed in the order of exposure; columns are the weights'."""
    tired[:] = 0.0
    for other in range(len(exposure)):
        share = exposure[other]
        if share != 0.0:
            for c in range(len(tired)):
                tired[c] += columns[other, c] * share


@njit(cache=True)
def _expected(estimate, item, groups, tired, intercept, slope):  # type: ignore[no-untyped-def]
    """Chance of a click on an item under the model, given how tired (C,) the user is."""
    loss, count = 0.0, 0
    for m in range(groups.shape[1]):
        if groups[item, m] >= 0:
            loss += tired[groups[item, m]]
            count += 1
    estimate = min(max(estimate, 1e-3), 1 - 1e-3)
    logit = intercept + slope * np.log(estimate / (1 - estimate)) - loss / max(count, 1)
    return 1.0 / (1.0 + np.exp(-logit))


@njit(cache=True)
def _tiredness(items, feedback, estimates, groups, k, intercept, slope, weights, keep, variance):  # type: ignore[no-untyped-def]
    users, categories = len(items), len(weights)
    all_tired = np.zeros((users, categories), np.float64)
    gain = np.zeros((users, categories), np.float64)
    information = np.zeros((users, categories), np.float64)
    exposure = np.empty(categories, np.float64)
    columns = np.ascontiguousarray(weights.T)
    for b in range(users):
        exposure[:] = 0.0
        tired = all_tired[b]
        begun = 0
        while begun < items.shape[1] and items[b, begun] < 0:
            begun += 1  # what lies before the first item is padding: nothing tires, nothing fades
        for start in range(begun - begun % k, items.shape[1], k):
            for slot in range(start, start + k):
                item = items[b, slot]
                if item >= 0:
                    p = _expected(estimates[b, slot], item, groups, tired, intercept, slope)
                    for m in range(groups.shape[1]):
                        if groups[item, m] >= 0:
                            gain[b, groups[item, m]] += feedback[b, slot] - p
                            information[b, groups[item, m]] += p * (1 - p)
            for slot in range(start, start + k):
                item = items[b, slot]
                if item >= 0:
                    for m in range(groups.shape[1]):
                        if groups[item, m] >= 0:
                            exposure[groups[item, m]] += 1.0 / k
            for c in range(categories):
                exposure[c] *= keep
            _tire(columns, exposure, tired)
    information += 1.0 / variance
    return all_tired, gain / information, 1.0 / np.sqrt(information)


def fit_satiation(sessions: Sessions) -> Satiation:
    """Learn what tires from whole sessions by penalised logistic regression.

    First the time constant and one weight for all categories, by likelihood over a grid; then a weight for each pair of
    categories, drawn by a ridge penalty towards the first answer.
    """
    with threadpool_limits(1):  # more threads sum in another order
        return _fit(sessions)


def _fit(sessions: Sessions) -> Satiation:
    fits = [_fit_shared(_Events(sessions, math.exp(-1 / constant))) for constant in TIME_CONSTANTS]
    best = min(range(len(fits)), key=lambda number: fits[number][0])
    keep = math.exp(-1 / TIME_CONSTANTS[best])
    return _fit_pairs(_Events(sessions, keep), keep, fits[best][1])


class _Events:
    """Sessions as a regression: N shown items on S steps.

    Attributes:
        click: (N,) feedback. promise: (N,) promised log-odds.
        exposure: (S, C), decayed exposure before each step.
        spread: (N, S * C) sparse, each item's mean over its categories at its step.
    """

    def __init__(self, sessions: Sessions, keep: float) -> None:
        from scipy.sparse import csr_array

        slots = sessions.items >= 0
        member = sessions.membership[sessions.items] & slots[..., None]  # (n, T, k, C)
        share = member.mean(axis=2)
        exposure = np.zeros_like(share)
        for step in range(1, share.shape[1]):
            exposure[:, step] = keep * (exposure[:, step - 1] + share[:, step - 1])
        going = slots.any(axis=2)
        self.exposure = exposure[going]
        number = np.cumsum(going.ravel()).reshape(going.shape) - 1  # which of the S steps
        self.click = sessions.feedback[slots].astype(np.float64)
        estimate = np.clip(sessions.estimates[slots].astype(np.float64), 1e-3, 1 - 1e-3)
        self.promise = np.log(estimate / (1 - estimate))
        part = member[slots]
        rows, columns = np.nonzero(part)
        step_of = np.repeat(number[..., None], slots.shape[2], axis=2)[slots]
        categories = part.shape[1]
        weight = 1.0 / part.sum(axis=1)[rows]
        shape = (len(part), len(self.exposure) * categories)
        self.spread = csr_array((weight, (rows, step_of[rows] * categories + columns)), shape=shape)


def _loss(logit: Floats, click: Floats) -> tuple[float, Floats]:
    """Summed log loss and its slope in the log-odds."""
    return float(np.logaddexp(0.0, logit).sum() - click @ logit), 1 / (1 + np.exp(-logit)) - click


def _fit_shared(events: _Events) -> tuple[float, Floats]:
    """Mean log loss and (intercept, slope, own weight, weight of all exposure) of the model with one weight for all."""
    from scipy.optimize import minimize

    own = events.spread @ events.exposure.ravel()
    everything = np.repeat(events.exposure.sum(axis=1, keepdims=True), events.exposure.shape[1], axis=1)
    design = np.column_stack([np.ones_like(own), events.promise, -own, -(events.spread @ everything.ravel())])

    def objective(weights: Floats) -> tuple[float, Floats]:
        value, slope = _loss(design @ weights, events.click)
        return value / len(own), design.T @ slope / len(own)

    found = minimize(objective, np.array([0.0, 1.0, 0.5, 0.0]), jac=True, method="L-BFGS-B")
    return float(found.fun), found.x


def _fit_pairs(events: _Events, keep: float, shared: Floats) -> Satiation:
    """A weight for each pair of categories, drawn towards the shared answer."""
    from scipy.optimize import minimize

    categories = events.exposure.shape[1]
    centre = shared[2] * np.eye(categories) + shared[3]

    def objective(flat: Floats) -> tuple[float, Floats]:
        away = flat[2:].reshape(categories, categories)
        tired = events.exposure @ (centre + away).T
        logit = flat[0] + flat[1] * events.promise - events.spread @ tired.ravel()
        value, slope = _loss(logit, events.click)
        gradient = RIDGE * away - (events.spread.T @ slope).reshape(tired.shape).T @ events.exposure
        value += 0.5 * RIDGE * float((away**2).sum())
        full = np.concatenate([[slope.sum(), slope @ events.promise], gradient.ravel()])
        return value / len(events.click), full / len(events.click)

    start = np.concatenate([shared[:2], np.zeros(categories**2)])
    found = minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": 200}).x
    weights = centre + found[2:].reshape(categories, categories)
    return Satiation(float(found[0]), float(found[1]), weights, keep)
