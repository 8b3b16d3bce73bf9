"""Leave rules: each gives every user's chance of leaving after a step.

A rule of your own is a class with the method `probability(situation) -> (B,) float in [0, 1]`, named in the
configuration as `my_package.my_module:MyRule` and made without arguments.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numba import njit
from numpy.typing import NDArray

from lerl.envs.config import Leave, RepetitionWindow, SatisfactionHazard, StepBudget
from lerl.envs.plugins import blamed, load_plugin


@dataclass(frozen=True)
class Situation:
    """What a leave rule may look at, for B users who were just shown a slate.

    Attributes:
        satisfaction: (B,) in [0, 1], the newest slate included.
        patience: (B,) above 0.
        steps: (B,) int, slates shown so far, the newest included.
        shown: (B, T * k) int32, every item shown so far, slot after slot, -1 where nothing was.
        slate_size: k.
        topics: (I, M) int32, each item's topics, -1 as padding.
        spent: (B,) float32, what earlier steps used up of the user's budget; a rule may add to it.
    """

    satisfaction: NDArray[np.float32]
    patience: NDArray[np.float32]
    steps: NDArray[np.int32]
    shown: NDArray[np.int32]
    slate_size: int
    topics: NDArray[np.int32]
    spent: NDArray[np.float32]


class LeaveRule(Protocol):
    """Gives each user's chance of leaving."""

    def probability(self, situation: Situation) -> NDArray[np.float64]:
        """Chance of leaving now, (B,) in [0, 1]."""


class SatisfactionRule:
    """The less satisfied, the likelier to leave; see `SatisfactionHazard`."""

    def __init__(self, strengths: SatisfactionHazard) -> None:
        self.strengths = strengths

    def probability(self, situation: Situation) -> NDArray[np.float64]:
        """Chance of leaving now, (B,) in [0, 1]."""
        own = self.strengths
        return _hazard(situation.satisfaction, situation.patience, own.highest, own.threshold, own.width)


class WindowRule:
    """Users leave when one topic fills too many of the last slots; see `RepetitionWindow`."""

    def __init__(self, strengths: RepetitionWindow) -> None:
        self.strengths = strengths

    def probability(self, situation: Situation) -> NDArray[np.float64]:
        """1 for users who leave now, else 0, (B,)."""
        ends, slots = situation.steps * situation.slate_size, situation.shown.shape[1]
        window, most = min(self.strengths.window, slots), min(self.strengths.most, slots)
        return _repeated(situation.shown, ends, situation.topics, window, most)


class BudgetRule:
    """Users leave when their budget is used up; see `StepBudget`."""

    def __init__(self, strengths: StepBudget) -> None:
        self.strengths = strengths

    def probability(self, situation: Situation) -> NDArray[np.float64]:
        """1 for users who leave now, else 0, (B,); adds the step's cost to what is spent."""
        own, same_slot = self.strengths, self.strengths.repetition == "slot"
        repeats = _repeats(situation.shown, situation.steps, situation.slate_size, situation.topics, same_slot)
        situation.spent[:] += own.step_cost + own.repetition_cost * repeats
        return (own.budget - situation.spent < 1.0).astype(np.float64)


def build_rule(leave: Leave) -> LeaveRule:
    """The rule that the settings choose, ready to use.

    Raises:
        PluginError: it is one of somebody's own and cannot be made.
    """
    if leave.rule == "never":
        return SatisfactionRule(SatisfactionHazard(highest=0.0))
    if leave.rule == "satisfaction":
        return SatisfactionRule(leave.satisfaction)
    if leave.rule == "window":
        return WindowRule(leave.window)
    if leave.rule == "budget":
        return BudgetRule(leave.budget)
    made = load_plugin(leave.rule, "env.leave.rule", ("satisfaction", "window", "budget", "never"), ("probability",))
    with blamed(f"env.leave.rule is {leave.rule!r}, but {made.__name__}()"):
        own: LeaveRule = made()
    return own


@njit(cache=True, nogil=True)
def _hazard(satisfaction, patience, highest, threshold, width):  # type: ignore[no-untyped-def]
    chance = np.empty(len(satisfaction), np.float64)
    for b in range(len(satisfaction)):
        away = (threshold - satisfaction[b]) / width
        chance[b] = min(1.0, highest / (1.0 + math.exp(-away)) / patience[b])
    return chance


@njit(cache=True, nogil=True)
def _repeated(shown, ends, topics, window, most):  # type: ignore[no-untyped-def]
    leaves = np.zeros(len(ends), np.float64)
    counts = np.zeros(topics.max() + 1, np.int64)
    for b in range(len(ends)):
        counts[:] = 0
        for slot in range(max(0, ends[b] - window), ends[b]):
            if shown[b, slot] >= 0:
                for m in range(topics.shape[1]):
                    if topics[shown[b, slot], m] >= 0:
                        counts[topics[shown[b, slot], m]] += 1
        leaves[b] = 1.0 if counts.max() > most else 0.0
    return leaves


@njit(cache=True)
def _share_topic(first, second, topics):  # type: ignore[no-untyped-def]
    if first < 0 or second < 0:
        return False
    for m in range(topics.shape[1]):
        if topics[first, m] >= 0:
            for n in range(topics.shape[1]):
                if topics[first, m] == topics[second, n]:
                    return True
    return False


@njit(cache=True, nogil=True)
def _repeats(shown, steps, k, topics, same_slot):  # type: ignore[no-untyped-def]
    repeats = np.zeros(len(steps), np.float32)
    for b in range(len(steps)):
        now, before = (steps[b] - 1) * k, (steps[b] - 2) * k
        if before < 0:
            continue
        for s in range(k):
            for r in range(k):
                if (r == s or not same_slot) and _share_topic(shown[b, now + s], shown[b, before + r], topics):
                    repeats[b] = 1.0
    return repeats
