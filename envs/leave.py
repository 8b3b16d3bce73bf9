"""When a user goes: each rule gives everybody's chance of leaving after a step.

A rule of your own is a class with the method `probability(situation) -> (B,) float in [0, 1]`, named in the
configuration as `my_package.my_module:MyRule` and made without arguments.
"""

import math
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numba import njit
from numpy.typing import NDArray

from lerl.envs.checks import check_range, check_types
from lerl.envs.dynamics import LARGEST
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


@dataclass(frozen=True)
class SatisfactionHazard:
    """The less satisfied, the likelier to go.

        hazard = highest * sigmoid((threshold - satisfaction) / width) / patience, at most 1

    The form and the strengths are assumptions: no public log shows why people leave.

    Args:
        highest: chance of leaving per step of somebody wholly unsatisfied, in [0, 1].
        threshold: satisfaction at which the chance is half of that, in [0, 1].
        width: how sharply it changes around the threshold, above 0.
    """

    highest: float = 0.5
    threshold: float = 0.4
    width: float = 0.08

    def __post_init__(self) -> None:
        check_types(self)
        check_range(self, "highest", 0.0, 1.0)
        check_range(self, "threshold", 0.0, 1.0)
        check_range(self, "width", 1e-9)

    def probability(self, situation: Situation) -> NDArray[np.float64]:
        """Chance of leaving now, (B,) in [0, 1]."""
        return _hazard(situation.satisfaction, situation.patience, self.highest, self.threshold, self.width)


@njit(cache=True)
def _hazard(satisfaction, patience, highest, threshold, width):  # type: ignore[no-untyped-def]
    chance = np.empty(len(satisfaction), np.float64)
    for b in range(len(satisfaction)):
        away = (threshold - satisfaction[b]) / width
        chance[b] = min(1.0, highest / (1.0 + math.exp(-away)) / patience[b])
    return chance


@dataclass(frozen=True)
class RepetitionWindow:
    """A user goes when one topic fills more than `most` of the last `window` slots.

    The quit rule of CIRS (Gao et al., ACM TOIS 2023) and its successors, on slots instead of single items.

    Args:
        window: number of latest slots looked at, at least 1.
        most: how many of them one topic may fill, at least 0.
    """

    window: int = 12
    most: int = 8

    def __post_init__(self) -> None:
        check_types(self)
        check_range(self, "window", 1)
        check_range(self, "most", 0)

    def probability(self, situation: Situation) -> NDArray[np.float64]:
        """1 for users who go now, else 0, (B,)."""
        ends, slots = situation.steps * situation.slate_size, situation.shown.shape[1]
        return _repeated(situation.shown, ends, situation.topics, min(self.window, slots), min(self.most, slots))


@njit(cache=True)
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


@dataclass(frozen=True)
class StepBudget:
    """A budget that every step uses up, a repeating step faster; a user with less than 1 left goes.

    The rule of the KuaiSim variant in the LERL experiments (arXiv 2601.19585). "slot" charges for a slate in which any
    slot holds a topic that the same slot of the previous slate held, as published; the same six topics in another order
    then cost nothing. "shared" charges when the two slates share any topic at all.

    Args:
        budget: what a session starts with, above 0 and at most 1e6.
        step_cost: used up by every slate, in [0, 1e6].
        repetition_cost: used up besides by a slate that repeats, in [0, 1e6].
        repetition: "slot" or "shared".
    """

    budget: float = 20.0
    step_cost: float = 1.0
    repetition_cost: float = 1.0
    repetition: str = "slot"

    def __post_init__(self) -> None:
        check_types(self)
        check_range(self, "budget", 1e-9, LARGEST)
        check_range(self, "step_cost", 0.0, LARGEST)
        check_range(self, "repetition_cost", 0.0, LARGEST)
        if self.repetition not in ("slot", "shared"):
            raise ValueError(f"stepbudget.repetition must be 'slot' or 'shared', given {self.repetition!r}")

    def probability(self, situation: Situation) -> NDArray[np.float64]:
        """1 for users who go now, else 0, (B,); adds the step's cost to what is spent."""
        repeats = _repeats(
            situation.shown, situation.steps, situation.slate_size, situation.topics, self.repetition == "slot"
        )
        situation.spent[:] += self.step_cost + self.repetition_cost * repeats
        return (self.budget - situation.spent < 1.0).astype(np.float64)


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


@njit(cache=True)
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


@dataclass(frozen=True)
class Leave:
    """Which rule decides when a user goes, and the strengths of each.

    Args:
        rule: "satisfaction", "window", "budget", "never", or your own as "my_package.my_module:MyRule".
        satisfaction: strengths of the satisfaction-driven hazard.
        window: strengths of the repetition window.
        budget: strengths of the step budget.
    """

    rule: str = "satisfaction"
    satisfaction: SatisfactionHazard = field(default_factory=SatisfactionHazard)
    window: RepetitionWindow = field(default_factory=RepetitionWindow)
    budget: StepBudget = field(default_factory=StepBudget)

    def __post_init__(self) -> None:
        check_types(self)

    def build(self) -> LeaveRule:
        """The chosen rule, ready to use."""
        if self.rule == "never":
            return SatisfactionHazard(highest=0.0)
        if self.rule in ("satisfaction", "window", "budget"):
            chosen: LeaveRule = getattr(self, self.rule)
            return chosen
        made = load_plugin(self.rule, "env.leave.rule", ("satisfaction", "window", "budget", "never"), ("probability",))
        with blamed(f"env.leave.rule is {self.rule!r}, but {made.__name__}()"):
            own: LeaveRule = made()
        return own
