"""Leave rules: when users go, on sessions short enough to count on one's fingers."""

import math
from typing import Any

import numpy as np
import pytest

from lerl.envs import leave
from lerl.envs.config import Leave, RepetitionWindow, SatisfactionHazard, StepBudget
from lerl.envs.leave import BudgetRule, LeaveRule, SatisfactionRule, Situation, WindowRule, build_rule
from lerl.envs.plugins import PluginError

TOPICS = np.array([[0, -1], [1, -1], [0, 1], [2, -1]], np.int32)  # of items 0 to 3


def situation(
    shown: list[list[int]], topics: Any = TOPICS, satisfaction: float = 0.5, patience: float = 1.0, spent: float = 0.0
) -> Situation:
    """One user who was shown these slates, of a session of at most 50."""
    k = len(shown[0])
    slots = np.full((1, 50 * k), -1, np.int32)
    slots[0, : len(shown) * k] = np.ravel(shown)
    return Situation(
        satisfaction=np.array([satisfaction], np.float32),
        patience=np.array([patience], np.float32),
        steps=np.array([len(shown)], np.int32),
        shown=slots,
        slate_size=k,
        topics=topics,
        spent=np.array([spent], np.float32),
    )


def lives(rule: StepBudget, slates: list[list[int]], topics: Any = TOPICS) -> int:
    """How many of the slates a user stays for, the last one included."""
    budget, spent = BudgetRule(rule), 0.0
    for length in range(1, len(slates) + 1):
        now = situation(slates[:length], topics, spent=spent)
        if budget.probability(now)[0] == 1:
            return length
        spent = float(now.spent[0])
    return len(slates) + 1


# satisfaction


@pytest.mark.parametrize(
    ("satisfaction", "patience", "chance"),
    [
        (0.4, 1.0, 0.25),  # at the threshold: half of 0.5
        (0.4, 2.0, 0.125),  # with twice the patience: half of that
        (0.4 + 0.08 * math.log(3), 1.0, 0.125),  # sigmoid(-ln 3) = 1 / (1 + 3)
        (0.4 - 0.08 * math.log(3), 1.0, 0.375),  # sigmoid(ln 3) = 3 / (1 + 3)
        (0.0, 0.1, 1.0),  # about 0.5 / 0.1, at most 1
    ],
)
def test_the_less_satisfied_the_likelier_to_go(satisfaction: float, patience: float, chance: float):
    rule = SatisfactionRule(SatisfactionHazard(highest=0.5, threshold=0.4, width=0.08))
    now = situation([[0]], satisfaction=satisfaction, patience=patience)
    assert rule.probability(now) == pytest.approx([chance])


# repetition window


@pytest.mark.parametrize(
    ("shown", "goes"),
    [
        ([[0], [3], [0]], False),  # twice topic 0 is not more than two
        ([[0], [0], [3], [0]], True),  # three times among the last four
        ([[0], [0], [3], [3], [0]], False),  # the first is five slots ago
        ([[0], [-1], [-1], [0]], False),  # an empty slot is no topic
        ([[0], [1], [2], [2]], True),  # item 2 counts in both of its topics
    ],
)
def test_one_topic_too_often_in_the_window_ends_the_session(shown: list[list[int]], goes: bool):
    assert WindowRule(RepetitionWindow(window=4, most=2)).probability(situation(shown)).tolist() == [float(goes)]


def test_the_window_counts_slots_across_slates():
    rule = WindowRule(RepetitionWindow(window=4, most=2))
    assert rule.probability(situation([[0, 3], [0, 1]]))[0] == 0
    assert rule.probability(situation([[0, 3], [0, 0]]))[0] == 1
    assert rule.probability(situation([[0, 0], [3, 1], [0, 1]]))[0] == 0


# step budget, as published: 20 to spend, 1 a step, 1 more for a repeating slate, away with less than 1 left

SIX = np.arange(12, dtype=np.int32)[:, None]  # twelve items, each a topic of its own
FIRST, SECOND = [0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]
TURNED = [5, 0, 1, 2, 3, 4]  # the first slate's topics, each in another slot


def test_without_repetition_the_budget_lasts_twenty_steps():
    # After 19 steps 20 - 19 = 1 is left, which is enough; after 20 nothing is.
    assert lives(StepBudget(), [FIRST, SECOND] * 15, SIX) == 20


def test_repetition_costs_twice():
    # The first slate costs 1 and each other 2: after 10 steps 20 - 19 = 1 is left, after 11 it is -1.
    assert lives(StepBudget(), [FIRST] * 30, SIX) == 11


def test_one_repeated_slot_costs_as_much_as_six():
    one = [[0, 1, 2, 3, 4, 5], [0, 7, 8, 9, 10, 11]] * 15
    assert lives(StepBudget(), one, SIX) == 11


def test_only_the_previous_slate_is_compared():
    # One slate in two repeats: after 2 n steps 3 n is spent, so 18 after 12 steps, 19 after 13 and 21 after 14.
    assert lives(StepBudget(), [FIRST, FIRST, SECOND, SECOND] * 8, SIX) == 14


def test_the_published_rule_misses_topics_that_change_their_slot():
    turning = [FIRST, TURNED, [4, 5, 0, 1, 2, 3]] * 10
    assert lives(StepBudget(repetition="slot"), turning, SIX) == 20
    assert lives(StepBudget(repetition="shared"), turning, SIX) == 11
    assert lives(StepBudget(repetition="shared"), [FIRST, SECOND] * 15, SIX) == 20


def test_items_repeat_when_they_share_any_topic():
    assert lives(StepBudget(budget=3), [[0], [2], [0]]) == 2  # topics (0), then (0, 1): 3 - 1 - 2 = 0
    assert lives(StepBudget(budget=3), [[0], [3], [1]]) == 3  # topics 0, 2, 1: 3 - 3 = 0


def test_empty_slots_repeat_nothing():
    assert lives(StepBudget(budget=3), [[-1], [-1], [-1]]) == 3


def test_costs_may_be_set():
    rule = StepBudget(budget=5, step_cost=0.5, repetition_cost=1.5)
    # Repeating steps cost 2: 4.5 is left after one step, 2.5 after two, 0.5 after three.
    assert lives(rule, [[0]] * 10) == 3
    assert lives(StepBudget(budget=5, step_cost=0.5, repetition_cost=0), [[0]] * 20) == 9  # 5 - 4.5 = 0.5


# all of them


@pytest.mark.parametrize(
    ("name", "kind"),
    [("satisfaction", SatisfactionRule), ("window", WindowRule), ("budget", BudgetRule)],
)
def test_a_rule_is_chosen_by_name_with_its_own_strengths(name: str, kind: type):
    chosen = Leave(rule=name, satisfaction=SatisfactionHazard(0.1), window=RepetitionWindow(3), budget=StepBudget(7))
    rule: Any = build_rule(chosen)
    assert isinstance(rule, kind)
    assert rule.strengths == getattr(chosen, name)


def test_never_is_never():
    rule: LeaveRule = build_rule(Leave(rule="never"))
    assert rule.probability(situation([[0]] * 40, satisfaction=0.0, patience=0.01)).tolist() == [0]


def test_a_misspelt_rule_is_told_its_name():
    with pytest.raises(PluginError, match=r"env\.leave\.rule is 'satisfation'.*Did you mean 'satisfaction'\?"):
        build_rule(Leave(rule="satisfation"))


@pytest.mark.parametrize(
    ("rule", "settings", "allowed"),
    [
        (SatisfactionHazard, {"highest": 1.5}, r"satisfactionhazard.highest must be a number from 0 to 1, given 1.5"),
        (SatisfactionHazard, {"threshold": -1}, r"satisfactionhazard.threshold must be a number from 0 to 1, given -1"),
        (SatisfactionHazard, {"width": 0}, "satisfactionhazard.width must be a number of at least 1e-09, given 0"),
        (RepetitionWindow, {"window": 0}, "repetitionwindow.window must be a whole number of at least 1, given 0"),
        (RepetitionWindow, {"most": -1}, "repetitionwindow.most must be a whole number of at least 0, given -1"),
        (StepBudget, {"budget": 0}, r"stepbudget.budget must be a number from 1e-09 to 1,000,000, given 0"),
        (StepBudget, {"step_cost": -1}, r"stepbudget.step_cost must be a number from 0 to 1,000,000, given -1"),
        (
            StepBudget,
            {"repetition_cost": -1},
            "repetition_cost must be a number from 0 to 1,000,000, given -1",
        ),
        (StepBudget, {"repetition": "any"}, "stepbudget.repetition must be 'slot' or 'shared', given 'any'"),
    ],
)
def test_strengths_out_of_range_are_refused(rule: Any, settings: dict[str, Any], allowed: str):
    with pytest.raises(ValueError, match=allowed):
        rule(**settings)


def test_compiled_rules_equal_their_plain_python(agree: Any):
    rng = np.random.default_rng(0)
    agree(leave._hazard, rng.random(5).astype(np.float32), np.exp(rng.normal(size=5)).astype(np.float32), 0.5, 0.4, 0.1)
    shown = rng.integers(-1, 4, size=(5, 12)).astype(np.int32)  # four users' slots differ, so do their lengths
    agree(leave._repeated, shown, np.array([3, 6, 9, 12, 0], np.int32), TOPICS, 6, 2)
    for same_slot in (True, False):
        agree(leave._repeats, shown, np.array([1, 2, 3, 4, 1], np.int32), 3, TOPICS, same_slot)
    for first in range(-1, 4):
        for second in range(-1, 4):
            agree(leave._share_topic, first, second, TOPICS)
