"""The states that a planner is asked about, and the stream of questions about them."""

import json
from collections import Counter
from typing import Any

import numpy as np
import pytest

from lerl.config.parse import configure
from lerl.config.recipes import find_recipe
from lerl.config.schema import Config
from lerl.files import RunError
from lerl.llm.audit.audit import audit_task
from lerl.llm.audit.cues import read_cues
from lerl.llm.audit.questions import ORDERS, PARTS, WORDINGS, confidence_of, stream
from lerl.llm.audit.states import States, stopped
from lerl.planners.base import Plans
from lerl.planners.llm.planner import LLMPlanner
from lerl.planners.llm.prompt import AnswerError
from lerl.planners.llm.scripted import LINE

NOBODY: Any = None


def world(**more: str) -> Config:
    """A small world of eight categories with names."""
    flags = {
        "planner.axis": "categories", "planner.size": "4", "data.synthetic.categories": "8",
        "data.synthetic.items": "200", "data.synthetic.users": "120", "planner.model": "scripted:expert",
    }  # fmt: skip
    return configure(find_recipe("quickstart"), flags | more)


@pytest.fixture(scope="module")
def states() -> States:
    return stopped(audit_task(world()), 12)


def test_states_are_sessions_stopped_on_the_way(states: States) -> None:
    assert len(states) == 12
    assert len(set(states.contexts.steps.tolist())) > 2
    assert (states.contexts.steps == states.state.steps).all()
    assert states.state.active.all()
    np.testing.assert_array_equal(states.shown, states.contexts.counts)
    there = states.shown > 0
    rates = np.where(there, states.clicked / np.maximum(states.shown, 1), -1.0)
    np.testing.assert_allclose(rates, states.contexts.feedback, atol=1e-6)


def test_states_are_the_same_whoever_is_asked(states: States) -> None:
    again = stopped(audit_task(world(**{"planner.size": "2", "planner.name": "greedy"})), 12)
    np.testing.assert_array_equal(states.state.user, again.state.user)
    np.testing.assert_array_equal(states.state.steps, again.state.steps)


def test_too_many_states_are_refused() -> None:
    with pytest.raises(RunError, match="--states must be from 2 to the 30 evaluation users, given 31"):
        stopped(audit_task(world()), 31)


def test_true_taste_is_of_the_best_items_left(states: States) -> None:
    simulator, state = states.simulator, states.state
    items = len(states.task.population.catalog)
    row, category = 3, 2
    chance = simulator.scores(state.take(np.array([row])), np.arange(items, dtype=np.int32)[None])[0]
    left = states.task.axis.membership[:, category] & ~np.isin(np.arange(items), state.shown[row])
    assert states.taste[row, category] == pytest.approx(np.sort(chance[left])[-6:].mean())


def test_the_next_slate_of_a_plan_holds_allowed_items_that_are_new(states: States) -> None:
    rows = np.arange(len(states))
    allowed = np.zeros((len(states), 8), bool)
    allowed[:, 5] = True
    slates = states.slates(rows, Plans(allowed, np.zeros_like(allowed)))
    assert states.task.axis.membership[slates, 5].all()
    for row in rows.tolist():
        assert not np.isin(slates[row], states.state.shown[row]).any()
    rewards = states.rewards(rows, slates)
    assert ((rewards > 0) & (rewards < 1)).all()


def test_the_stream_holds_every_part_for_every_state(states: States) -> None:
    cues = read_cues().only(("age",))
    planner = LLMPlanner(4, 0, world().planner, NOBODY)
    found = stream(planner, states.contexts, cues, 0)
    counted = Counter(asking.part for asking in found)
    assert counted == {
        "plan": 12, "again": 12, "order": 12 * ORDERS, "wording": 12 * len(WORDINGS), "confidence": 12,
        "cue": 12 * 90, "reading": 90,
    }  # fmt: skip
    assert set(counted) <= set(PARTS)
    keys = {asking.question.key for asking in found}
    assert len(keys) == len(found)  # no two of them are sent as one
    again = stream(LLMPlanner(4, 0, world().planner, NOBODY), states.contexts, cues, 0)
    assert [asking.question.key for asking in again] == [asking.question.key for asking in found]


def test_another_order_changes_nothing_but_the_order(states: States) -> None:
    planner = LLMPlanner(4, 0, world().planner, NOBODY)
    found = stream(planner, states.contexts, read_cues().only(("age",)), 0)
    plain = next(one.question for one in found if (one.part, one.state) == ("plan", 5))
    orders = [one.question for one in found if (one.part, one.state) == ("order", 5)]
    assert len({one.user for one in (plain, *orders)}) == 1 + ORDERS
    for other in orders:
        assert sorted(other.user.split("\n")) == sorted(plain.user.split("\n"))
        assert sorted(other.system.split("\n")) == sorted(plain.system.split("\n"))
        numbered = [int(line["id"]) for line in LINE.finditer(other.user)]
        assert sorted(numbered) == list(range(8))


def test_other_wordings_ask_the_same_and_are_those_of_ones_own_prompts_not(states: States, tmp_path: Any) -> None:
    planner = LLMPlanner(4, 0, world().planner, NOBODY)
    found = stream(planner, states.contexts, read_cues().only(("age",)), 0)
    texts = [one.question.system for one in found if one.part == "wording" and one.state == 0]
    assert len(set(texts)) == len(WORDINGS) == 2
    for text in texts:
        for word in ("$", "Drama", "liking", "exposure", "rationale", "allowed", "avoid", "state"):
            assert (word in text) == (word != "$")
    (tmp_path / "plan.txt").write_text("Plan.\n$categories", encoding="utf-8")
    own = LLMPlanner(4, 0, world(**{"planner.prompts": str(tmp_path)}).planner, NOBODY)
    assert not any(one.part == "wording" for one in stream(own, states.contexts, read_cues().only(("age",)), 0))


@pytest.mark.parametrize(("given", "share"), [(0, 0.0), (100, 1.0), (62.5, 0.625), ("70", 0.7), (" 70 %", 0.7)])
def test_a_confidence_is_read_as_models_write_it(given: Any, share: float) -> None:
    assert confidence_of(json.dumps({"state": "a", "confidence": given})) == share


@pytest.mark.parametrize("given", [None, -1, 101, "sure", True, [70], "7e1"])
def test_what_is_no_confidence_is_refused(given: Any) -> None:
    with pytest.raises(AnswerError, match="confidence must be"):
        confidence_of(json.dumps({"state": "a", "confidence": given}))
