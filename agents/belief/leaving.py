"""Why people leave, learned from sessions: which repetition of topics drives them away, and what one costs.

Rules of repetition are compared: by each, a slate repeats a topic or does not. The chance of leaving after a slate is a
logistic regression on whether it repeats, on how many did before, on steps and on the feedback of late (a hazard in
discrete time: Cox 1972; Singer and Willett 1993). The rule is kept whose hazard predicts other sessions best, if it
predicts them better than a hazard without repetition.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from lerl.agents.belief.filter import TrainingSessions
from lerl.agents.belief.model import UserModel

Floats = NDArray[np.float64]
LATE = 0.2  # weight of the newest slate in the feedback of late
RIDGE = 1.0  # inverse variance of what a standard deviation of a feature does to the log-odds of leaving
STEPS = 30  # of Newton, at most
GAIN = 0.02  # share of the log-likelihood of other sessions that a rule must explain, or repetition counts for nothing
FEW = 1500  # sessions, at most, that rules are compared by
LONGEST = 200  # steps, and repetitions, that have prices of their own
SLOPE = 4.0  # log-odds per chance of a click, where that is a half
SHARES = 1 / 4, 1 / 3, 1 / 2, 2 / 3, 3 / 4  # of the last slots: about the most that one topic may fill


class Rule(NamedTuple):
    """Which slates repeat a group: those with an item of which `most` or more of the slots that count hold the group.

    Attributes:
        slots: how many slots count: the last ones at the end of the slate, or, where its own do not, at its begin.
        aligned: whether instead only the item in the same slot of the slate before counts.
        within: whether the slate's own slots count. most: at least 1.
    """

    slots: int
    aligned: bool
    within: bool
    most: int


def rules(k: int) -> list[Rule]:
    """What is compared, slates being of k items."""
    found = [Rule(k, True, False, 1)] if k > 1 else []
    found += [Rule(slates * k, False, False, 1) for slates in (1, 2)]
    windows = sorted({max(slots, k) for slots in (6, 12, 18, 24)} | {2 * k})
    found += [
        Rule(slots, False, True, most) for slots in windows for most in sorted({round(s * slots) for s in SHARES})
    ]
    return [rule for rule in dict.fromkeys(found) if rule.most >= 1]


@njit(cache=True)
def held(groups, rule, shown, start, now, s, k, counts):  # type: ignore[no-untyped-def]
    """counts (G,) <- how far each group would be repeated by an item in slot s of the slate that starts at `now`.

    groups: (I, G). shown: (T,) items, those of the session from `start` on, -1 for none.
    """
    counts[:] = 0.0
    if rule.aligned:
        if now - k >= start:
            _count(groups, shown[now - k + s], counts)
    else:
        for slot in range(max(start, now - rule.slots + (k if rule.within else 0)), now + s if rule.within else now):
            _count(groups, shown[slot], counts)
    for g in range(len(counts)):
        counts[g] = min(max(counts[g] - rule.most + 1.0, 0.0), 1.0)


@njit(cache=True)
def _count(groups, item, counts):  # type: ignore[no-untyped-def]
    if item >= 0:
        for g in range(len(counts)):
            counts[g] += groups[item, g]


@njit(cache=True)
def repeats(groups, rule, shown, start, now, k, counts):  # type: ignore[no-untyped-def]
    """The chance in [0, 1] that the slate at `now` repeats a group, shares being chances."""
    clean = 1.0
    for s in range(k):
        item = shown[now + s]
        if item >= 0:
            held(groups, rule, shown, start, now, s, k, counts)
            same = 0.0
            for g in range(len(counts)):
                same += groups[item, g] * counts[g]
            clean *= 1.0 - min(same, 1.0)
    return 1.0 - clean


@njit(cache=True)
def repetitions(groups, rule, starts, items):  # type: ignore[no-untyped-def]
    """Whether each slate repeats a group, (S,) in [0, 1]."""
    k, found, shown = items.shape[1], np.empty(len(items)), items.reshape(-1)
    counts = np.empty(groups.shape[1])
    for n in range(len(starts) - 1):
        for row in range(starts[n], starts[n + 1]):
            found[row] = repeats(groups, rule, shown, starts[n] * k, row * k, k, counts)
    return found


@njit(cache=True)
def circumstances(sessions, repeated, x, leaves):  # type: ignore[no-untyped-def]
    """x (S, 5) <- 1, steps, repetitions so far, whether the slate repeats, feedback of late; leaves (S,) <- 0 or 1."""
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


def refit_leaving(
    model: UserModel, groups: list[NDArray[np.float32]], sessions: TrainingSessions, longest: int
) -> UserModel:
    """The model with the `groups`, `rule` and `prices` by which leaving is predicted best.

    Args:
        groups: (I, G) each, the ways to group items that are compared: an item's chances of each group.
        longest: slates after which a session ends.
    """
    few = sessions.take(np.arange(len(sessions.homes))[:: -(-len(sessions.homes) // FEW)])
    none = _score(few, np.zeros(len(few.items)))
    best, found = none + GAIN * abs(none), None
    for own in groups:
        for rule in rules(few.items.shape[1]):
            score = _score(few, repetitions(own, rule, few.starts, few.items))
            if score > best:
                best, found = score, (own, rule)
    if found is None:
        return model._replace(rule=np.zeros(4), prices=np.zeros((1, 1)))
    own, rule = found
    hazard = fit_hazard(*_circumstances(sessions, repetitions(own, rule, sessions.starts, sessions.items)))
    lost = steps_lost(hazard, min(longest, LONGEST))
    worth = sessions.feedback[sessions.items >= 0].mean() * sessions.items.shape[1]
    return model._replace(groups=own, rule=np.array(rule, np.float64), prices=SLOPE * worth * lost)


def steps_lost(hazard: Hazard, longest: int) -> Floats:
    """Steps that one repetition costs, (T, T), by slates and repetitions before it, if no other comes after it.

    Sessions end after `longest` slates, T.
    """
    counts = np.arange(longest + 1)

    def stays(step: int, repeated: float) -> Floats:
        """The chance to stay after this slate, by repetitions so far."""
        x = np.stack(np.broadcast_arrays(1.0, float(step), counts, repeated, hazard.late), axis=1)
        return np.asarray(1 / (1 + np.exp(np.minimum(x @ hazard.weights, 500))), np.float64)

    lost, ahead = np.zeros((longest, longest)), np.zeros(longest + 1)  # ahead: slates to come, after those so far
    for step in range(longest, 0, -1):
        kept = stays(step, 0.0) * ahead
        lost[step - 1] = np.maximum(kept[:-1] - (stays(step, 1.0) * ahead)[1:], 0)
        ahead = 1 + kept
    return lost


def _circumstances(sessions: TrainingSessions, repeated: Floats) -> tuple[Floats, Floats]:
    x, leaves = np.empty((len(repeated), 5)), np.empty(len(repeated))
    circumstances(sessions, repeated, x, leaves)
    return x, leaves


def _score(sessions: TrainingSessions, repeated: Floats) -> float:
    """How well the hazard of the odd sessions predicts the others."""
    x, leaves = _circumstances(sessions, repeated)
    odd = np.repeat(np.arange(len(sessions.homes)) % 2 == 1, np.diff(sessions.starts))
    return predicted(fit_hazard(x[odd], leaves[odd]), x[~odd], leaves[~odd])
