"""What planners are given and how a wrong answer is refused."""

import inspect
import re
import textwrap
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lerl.envs.plugins import PluginError
from lerl.planners.base import PlanContexts, PlanError, Planner, Plans, check_plans, check_state, with_defaults

MakeContexts = Callable[..., PlanContexts]


class MyPlanner:
    """Stands for a user's planner in messages."""


def test_a_proper_plan_comes_back_as_it_was(contexts: MakeContexts):
    plans = Plans(np.array([[True, False], [True, True]]), np.array([[False, True], [True, True]]))
    assert check_plans(plans, contexts([[0.5, 0.5], [0.5, 0.5]]), MyPlanner()) is plans


@pytest.mark.parametrize(
    ("allowed", "avoid", "message"),
    [
        (
            np.ones((2, 3), bool),
            np.zeros((1, 3), bool),
            r"avoid is a bool array of shape \(2, 3\), given bool \(1, 3\)",
        ),
        (
            np.ones((3, 2), bool),
            np.zeros((2, 3), bool),
            r"allowed is a bool array of shape \(2, 3\), given bool \(3, 2\)",
        ),
        (np.ones(3, bool), np.zeros((2, 3), bool), r"allowed is a bool array of shape \(2, 3\), given bool \(3,\)"),
        (np.ones((2, 3), int), np.zeros((2, 3), bool), r"allowed is a bool array of .*, given int64 \(2, 3\)"),
        ([[True] * 3] * 2, np.zeros((2, 3), bool), r"allowed is a bool array of .*, given list"),
        (np.ones((2, 3), bool), None, r"avoid is a bool array of .*, given NoneType"),
        (np.ma.masked_all((2, 3), bool), np.zeros((2, 3), bool), r"allowed is a bool array of .*, given MaskedArray"),
        (np.ones((2, 3), bool), np.ma.masked_all((2, 3), bool), r"avoid is a bool array of .*, given MaskedArray"),
        (np.array([[True] * 3, [False] * 3]), np.zeros((2, 3), bool), "allowed no category for session 1; every plan"),
    ],
)
def test_a_wrong_answer_says_what_was_wrong(contexts: MakeContexts, allowed: Any, avoid: Any, message: str):
    with pytest.raises(PlanError, match=rf"MyPlanner\.plan .*{message}"):
        check_plans(Plans(allowed, avoid), contexts([[0.5] * 3] * 2), MyPlanner())


@pytest.mark.parametrize("answer", [None, np.ones((2, 3), bool), {"allowed": [0]}])
def test_an_answer_that_is_no_plan_at_all_is_refused(contexts: MakeContexts, answer: Any):
    with pytest.raises(PlanError, match=r"MyPlanner\.plan must return Plans whose allowed .*, given NoneType"):
        check_plans(answer, contexts([[0.5] * 3] * 2), MyPlanner())


def test_what_is_believed_is_taken_and_replaced_with_the_rest(contexts: MakeContexts):
    three = contexts([[0.5] * 2] * 3, tiredness=[[0, 1], [2, 3], [4, 5]], uncertainty=[[6, 7], [8, 9], [10, 11]])
    some = three.take(np.array([2, 0]))
    assert some.tiredness is not None
    assert some.tiredness.tolist() == [[4, 5], [0, 1]]
    other = contexts([[0.5] * 2] * 3, tiredness=[[0, 0]] * 3, uncertainty=[[0, 0]] * 3)
    other.replaced(np.array([1, 0]), some)
    assert other.tiredness is not None
    assert other.uncertainty is not None
    assert other.tiredness.tolist() == [[0, 1], [4, 5], [0, 0]]
    assert other.uncertainty.tolist() == [[6, 7], [10, 11], [0, 0]]
    without = contexts([[0.5] * 2] * 3)
    assert without.take(np.array([1])).tiredness is None
    assert without.replaced(np.array([0]), without.take(np.array([1]))).uncertainty is None


def test_categories_of_recent_items_leave_padding_empty(contexts: MakeContexts):
    both = contexts([[0.5, 0.5]], membership=[[1, 0], [1, 1]], items=[[-1, 1, 0]])
    np.testing.assert_array_equal(both.recent_categories, [[[False, False], [True, True], [True, False]]])


def test_taking_sessions_takes_all_that_belongs_to_them(contexts: MakeContexts):
    three = contexts([[0.1], [0.2], [0.3]], steps=[4, 5, 6], keys=[7, 8, 9], items=[[0], [-1], [0]])
    part = three.take(np.array([2, 0]))
    assert len(part) == 2
    assert part.steps.tolist() == [6, 4]
    assert part.session_key.tolist() == [9, 7]
    assert part.recent_items.tolist() == [[0], [0]]
    np.testing.assert_allclose(part.predicted_ctr, [[0.3], [0.1]])


def test_replacing_a_session_leaves_the_others(contexts: MakeContexts):
    old, fresh = contexts([[0.1], [0.2], [0.3]], steps=[4, 5, 6]), contexts([[0.9]], steps=[0], keys=[99])
    new = old.replaced(np.array([1]), fresh)
    assert new.steps.tolist() == [4, 0, 6]
    assert new.session_key.tolist() == [0, 99, 2]
    np.testing.assert_allclose(new.predicted_ctr, [[0.1], [0.9], [0.3]])


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (None, "a dictionary of arrays, given NoneType"),
        ({1: np.zeros(1)}, "names other than 'steps' and 'file', given the name 1"),
        ({"steps": np.zeros(1)}, "given the name 'steps'"),
        ({"a": object()}, "arrays of numbers or text, given object for 'a'"),
        ({"a": [[1], [1, 2]]}, "'a' is read as an array, fails: ValueError"),
        ({"a": np.ma.masked_all(2)}, "given MaskedArray for 'a'"),
    ],
)
def test_a_state_that_cannot_be_kept_is_refused(state: Any, message: str):
    with pytest.raises(PluginError, match=rf"MyPlanner\.state.*{message}"):
        check_state(state, MyPlanner())


def test_a_state_of_arrays_is_kept_as_it_is():
    kept = check_state({"a": np.arange(3), "b": 1.5, "c": "text"}, MyPlanner())
    assert {name: value.tolist() for name, value in kept.items()} == {"a": [0, 1, 2], "b": 1.5, "c": "text"}


def test_the_example_of_the_contract_plans(contexts: MakeContexts):
    card = inspect.cleandoc(str(Planner.__doc__))
    example = re.search(r"^    class LeastShown.*?(?=^\S)", card, re.DOTALL | re.MULTILINE)
    assert example is not None
    made: dict[str, Any] = {"Planner": Planner, "Plans": Plans, "np": np}
    exec(textwrap.dedent(example[0]), made)
    both = contexts([[0.5, 0.5, 0.5]] * 2)
    both.counts[:] = [[2, 0, 1], [0, 3, 3]]
    planner = made["LeastShown"](size=2, seed=0)
    plans = check_plans(planner.plan(both), both, planner)
    assert plans.allowed.tolist() == [[False, True, True], [True, True, False]]
    assert not planner.learns


def test_a_planner_without_a_plan_cannot_be_made():
    with pytest.raises(TypeError, match=r"abstract.*plan"):
        Planner()  # type: ignore[abstract]


def test_a_class_of_ones_own_keeps_what_it_has_and_gets_what_it_lacks():
    class Learns:
        rounds = 7

        def __init__(self, size: int, seed: int) -> None:
            self.taught = 0

        def plan(self, contexts: PlanContexts) -> Plans:
            raise NotImplementedError

        def session_ended(self, sessions: Any) -> None:
            self.taught += 1

    made = with_defaults(Learns, Planner)
    planner = made(size=1, seed=0)
    planner.session_ended(None)
    planner.restore({})
    assert (made.__name__, planner.rounds, planner.taught) == ("Learns", 7, 1)
    assert (planner.learns, planner.keeps) == (True, False)
    assert with_defaults(made, Planner) is made
