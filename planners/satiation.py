"""Satiation: a model of falling feedback, learned from whole sessions, never from the simulator's hidden state."""

import math
from dataclasses import dataclass, replace
from functools import cache
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from lerl.envs import threads
from lerl.envs.catalog import Axis
from lerl.planners.base import PlanContexts, Sessions

TIME_CONSTANTS = (3.0, 5.0, 8.0, 12.0, 20.0)
PRIOR_VARIANCE = 0.25
RIDGE = 30.0
MOST = 3000  # sessions that it is fitted to
WAYS = 8  # sessions among whose places a session's place is looked for

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Satiation:
    """log-odds of a click = intercept + slope * predicted log-odds - mean (weights @ E)[c] over the item's categories c

    E[c] is exposure: the shares of past slates in category c, each step fading by keep = exp(-1 / time constant).

    Attributes:
        intercept, slope: recalibrate what known history predicts.
        weights: (C, C) log-odds per unit of exposure: [c, j] is what exposure to j costs c.
        keep: in (0, 1).
    """

    intercept: float
    slope: float
    weights: NDArray[np.float64]
    keep: float

    @staticmethod
    @cache
    def assumed(categories: int) -> "Satiation":
        """Before any feedback: each category costs itself half a unit of log-odds a slate, fading over 8 steps."""
        return Satiation(0.0, 1.0, 0.5 * np.eye(categories), math.exp(-1 / 8.0))


def tiredness(
    contexts: PlanContexts, satiation: Satiation
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """How tired each session is of each category, and what its own feedback says beyond the model.

    Returns:
        (B, C) tiredness in log-odds; (B, C) posterior mean and (B, C) standard deviation of a category's surplus in
        log-odds, under a normal prior of variance 0.25 and one Newton step from 0.
    """
    return Tiredness().of(contexts, satiation)


class Tiredness:
    """`tiredness` of the same sessions slate after slate, computed from the newest slate only.

    What was found of a session is kept with the slates it was found from. While a session goes on from these, so does
    this, in the same bits; where it does not, or where a slate has left the window, all slates are gone over.
    """

    def __init__(self) -> None:
        self._model: tuple[Axis, Satiation, int, int] | None = None
        self._kept: _Kept | None = None

    def of(
        self, contexts: PlanContexts, satiation: Satiation
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """As `tiredness`."""
        count, slots = contexts.recent_items.shape
        kept = self._fit(count, contexts.axis, satiation, contexts.slate_size, slots)
        model = _Model(satiation.intercept, satiation.slope, satiation.weights, satiation.keep)
        groups, k = contexts.axis.groups, contexts.slate_size
        now = kept.used.max() + 1
        found = np.empty((3, count, len(satiation.weights)))
        number = threads.parts(count, threads.least(1 + slots / 100))

        def tire(block: slice) -> None:
            for part in range(block.start, block.stop):
                _tiredness(contexts.session_key, contexts.recent, groups, k, model, kept, (now, part, number), found)

        threads.each(tire, number, 1)
        return found[0], found[1], found[2]

    def _fit(self, count: int, axis: Axis, satiation: Satiation, slate_size: int, slots: int) -> "_Kept":
        """Have twice as many places as sessions; nothing is kept of another model, catalog or window."""
        model, kept = self._model, self._kept
        same = model is not None and model[0] is axis and model[1] is satiation and model[2:] == (slate_size, slots)
        if same and kept is not None and len(kept.keys) >= 2 * count:
            return kept
        self._model, places = (axis, satiation, slate_size, slots), -(-2 * max(count, 1) // WAYS) * WAYS
        self._kept = _Kept(
            np.zeros(places, np.uint64),
            np.zeros(places, np.int64),
            np.zeros(places, np.int64),
            np.empty((places, slots), np.int32),
            np.empty((places, slots), np.float32),
            np.empty((places, slots), np.float32),
            np.empty((places, slots), np.float64),
            np.zeros((places, 4, len(satiation.weights)), np.float64),
        )
        return self._kept


class _Model(NamedTuple):
    """What kernels see of a `Satiation`."""

    intercept: float
    slope: float
    weights: Floats
    keep: float


class _Kept(NamedTuple):
    """What is known of the sessions in P places, up to the slates it was computed from.

    Attributes:
        keys: (P,) of the sessions. used: (P,) when each was last needed. lengths: (P,) slots taken in.
        items, feedback, estimates: (P, H), those slots. log_odds: (P, H), what the model expects of each, rested.
        sums: (P, 4, C) exposure, tiredness, gain and information.
    """

    keys: NDArray[np.uint64]
    used: NDArray[np.int64]
    lengths: NDArray[np.int64]
    items: NDArray[np.int32]
    feedback: NDArray[np.float32]
    estimates: NDArray[np.float32]
    log_odds: Floats
    sums: Floats


@njit(cache=True)
def _tire(columns, exposure, tired):  # type: ignore[no-untyped-def]
    """tired (C,) <- weights (C, C) times exposure (C,), summed in the order of exposure; columns are the weights'."""
    tired[:] = 0.0
    whole = len(exposure) - len(exposure) % 4
    for j in range(0, whole, 4):  # four at once, added one after another: the same bits, a fourth of the stores
        e0, e1, e2, e3 = exposure[j], exposure[j + 1], exposure[j + 2], exposure[j + 3]
        for c in range(len(tired)):
            half = tired[c] + columns[j, c] * e0 + columns[j + 1, c] * e1
            tired[c] = half + columns[j + 2, c] * e2 + columns[j + 3, c] * e3
    for j in range(whole, len(exposure)):
        for c in range(len(tired)):
            tired[c] += columns[j, c] * exposure[j]


@njit(cache=True, forceinline=True, error_model="numpy")
def _expected(log_odds, item, groups, tired):  # type: ignore[no-untyped-def]
    """Chance of a click on an item of such log-odds under the model, given how tired (C,) the user is."""
    loss, count = 0.0, 0
    for m in range(groups.shape[1]):
        if groups[item, m] >= 0:
            loss += tired[groups[item, m]]
            count += 1
    return 1.0 / (1.0 + np.exp(-(log_odds - (loss / count if count > 1 else loss))))


@njit(cache=True)
def _go_on(items, feedback, log_odds, groups, k, columns, keep, sums):  # type: ignore[no-untyped-def]
    """Take whole slates in slots (n,) into a session's sums (4, C): exposure, tiredness, gain and information."""
    exposure, tired, gain, information = sums[0], sums[1], sums[2], sums[3]
    share = 1.0 / k
    for start in range(0, len(items), k):
        for slot in range(start, start + k):
            item = items[slot]
            if item >= 0:
                p = _expected(log_odds[slot], item, groups, tired)
                for m in range(groups.shape[1]):
                    if groups[item, m] >= 0:
                        gain[groups[item, m]] += feedback[slot] - p
                        information[groups[item, m]] += p * (1 - p)
                        exposure[groups[item, m]] += share
        for c in range(len(exposure)):
            exposure[c] *= keep
        _tire(columns, exposure, tired)


@njit(cache=True)
def _first(key, keys):  # type: ignore[no-untyped-def]
    """The first of the WAYS places that a session may have."""
    return np.int64(key % np.uint64(len(keys) // WAYS)) * WAYS


@njit(cache=True)
def _place(key, keys, used):  # type: ignore[no-untyped-def]
    """The place that a session has, or of those that it may have the one unused for longest."""
    first = _first(key, keys)
    found = first
    for way in range(WAYS):
        place = first + way
        if keys[place] == key:
            return place
        if used[place] < used[found]:
            found = place
    return found


@njit(cache=True)
def _equal(one, other):  # type: ignore[no-untyped-def]
    equal = True
    for slot in range(len(one)):
        equal &= one[slot] == other[slot]
    return equal


@njit(cache=True)
def _copy(source, target):  # type: ignore[no-untyped-def]
    """The beginning of target <- source; an assignment of slices takes ten times as long to compile."""
    for slot in range(len(source)):
        target[slot] = source[slot]


@njit(cache=True, nogil=True, error_model="numpy")
def _tiredness(session, recent, groups, k, model, kept, turn, found):  # type: ignore[no-untyped-def]
    """found (3, B, C) <- tiredness, surplus and its spread; `kept` goes on to the newest slates.

    turn: when the places are used, the number of a part of the sessions, and how many parts there are: those that may
    have the same places are in the same part, in their order.
    """
    items, feedback, estimates = recent.items, recent.feedback, recent.estimates
    keys, used, lengths, log_odds, sums = kept.keys, kept.used, kept.lengths, kept.log_odds, kept.sums
    past_items, past_feedback, past_estimates = kept.items, kept.feedback, kept.estimates
    intercept, slope, weights, keep = model.intercept, model.slope, model.weights, model.keep
    users, slots = items.shape
    tired, surplus, spread = found[0], found[1], found[2]
    columns = np.ascontiguousarray(weights.T)
    now, part, parts = turn
    for b in range(users):
        if _first(session[b], keys) // WAYS % parts != part:
            continue
        begun = 0
        while begun < slots and items[b, begun] < 0:
            begun += 1  # what lies before the first item is padding: nothing adds up, nothing fades
        begun -= begun % k
        place, end = _place(session[b], keys, used), slots - begun
        done = lengths[place]
        if not (
            keys[place] == session[b]
            and done <= end
            and _equal(items[b, begun : begun + done], past_items[place])
            and _equal(feedback[b, begun : begun + done], past_feedback[place])
            and _equal(estimates[b, begun : begun + done], past_estimates[place])
        ):
            done = 0
            sums[place] = 0.0
        known = done
        if (
            done == 0
            and lengths[place] == end == slots
            and _equal(estimates[b, : slots - k], past_estimates[place, k:])
        ):
            known = slots - k
            _copy(log_odds[place, k:], log_odds[place])
        for slot in range(known, end):
            estimate = min(max(estimates[b, begun + slot], 1e-3), 1 - 1e-3)
            log_odds[place, slot] = intercept + slope * np.log(estimate / (1 - estimate))
        fresh = slice(begun + done, slots)
        expected = log_odds[place, done:end]
        _go_on(items[b, fresh], feedback[b, fresh], expected, groups, k, columns, keep, sums[place])
        keys[place], used[place], lengths[place] = session[b], now, end
        _copy(items[b, fresh], past_items[place, done:])
        _copy(feedback[b, fresh], past_feedback[place, done:])
        _copy(estimates[b, fresh], past_estimates[place, done:])
        for c in range(len(weights)):
            information = sums[place, 3, c] + 1.0 / PRIOR_VARIANCE
            tired[b, c] = sums[place, 1, c]
            surplus[b, c] = sums[place, 2, c] / information
            spread[b, c] = 1.0 / np.sqrt(information)


def fit_satiation(sessions: Sessions) -> Satiation:
    """Learn a `Satiation` from whole sessions by penalised logistic regression.

    First the time constant and one weight for all categories, by likelihood over a grid; then a weight for each pair of
    categories, drawn by a ridge penalty towards the first answer. Of more than `MOST` sessions, the newest are used.
    """
    newest = {name: getattr(sessions, name)[-MOST:] for name in ("items", "feedback", "estimates", "keys")}
    with threadpool_limits(1):  # more threads sum in another order
        return _fit(replace(sessions, **newest))


def _fit(sessions: Sessions) -> Satiation:
    fits = [_fit_shared(_Events(sessions, math.exp(-1 / constant))) for constant in TIME_CONSTANTS]
    best = min(range(len(fits)), key=lambda number: fits[number][0])
    keep = math.exp(-1 / TIME_CONSTANTS[best])
    return _fit_pairs(_Events(sessions, keep), keep, fits[best][1])


class _Events:
    """Sessions as a regression: N shown items on S steps.

    Attributes:
        click: (N,) feedback. predicted: (N,) predicted log-odds.
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
        self.predicted = np.log(estimate / (1 - estimate))
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
    design = np.column_stack([np.ones_like(own), events.predicted, -own, -(events.spread @ everything.ravel())])

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
        logit = flat[0] + flat[1] * events.predicted - events.spread @ tired.ravel()
        value, slope = _loss(logit, events.click)
        gradient = RIDGE * away - (events.spread.T @ slope).reshape(tired.shape).T @ events.exposure
        value += 0.5 * RIDGE * float((away**2).sum())
        full = np.concatenate([[slope.sum(), slope @ events.predicted], gradient.ravel()])
        return value / len(events.click), full / len(events.click)

    start = np.concatenate([shared[:2], np.zeros(categories**2)])
    found = minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": 200}).x
    weights = centre + found[2:].reshape(categories, categories)
    return Satiation(float(found[0]), float(found[1]), weights, keep)
