"""A planner above anything that points: when it is asked, what its plans do, and what slots know of each other."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lerl.agents.base import TaskSpec
from lerl.agents.hierarchical import HierarchicalAgent, Hierarchy
from lerl.envs.config import Leave
from lerl.envs.population import Population
from lerl.envs.session import SessionVectorEnv
from lerl.planners.base import PlanContexts, PlanError, Plans
from lerl.planners.rules import build_planner

MakeEnv = Callable[..., SessionVectorEnv]
Play = Callable[..., tuple[Any, Any]]
NEVER = Leave("never")
KEYS = np.array([11, 12, 13, 14], np.uint64)


class ByStep:
    """Allows the category whose number is the step's, and remembers who asked."""

    def __init__(self) -> None:
        self.asked: list[dict[int, int]] = []

    def plan(self, contexts: PlanContexts) -> Plans:
        self.asked.append(dict(zip(contexts.session_key.tolist(), contexts.steps.tolist(), strict=True)))
        allowed = np.arange(len(contexts.names)) == contexts.steps[:, None] % len(contexts.names)
        return Plans(allowed, np.zeros(allowed.shape, bool))


class AllButLast:
    """Allows all categories but the last, which is to be avoided."""

    def plan(self, contexts: PlanContexts) -> Plans:
        last = np.zeros((len(contexts), len(contexts.names)), bool)
        last[:, -1] = True
        return Plans(~last, last)


def test_a_plan_is_kept_for_as_long_as_was_said(task: TaskSpec, make_env: MakeEnv, play: Play):
    for every, steps in ((1, [0, 1, 2, 3, 4, 5]), (2, [0, 2, 4]), (4, [0, 4]), (9, [0])):
        planner = ByStep()
        play(make_env(2, leave=NEVER), HierarchicalAgent(Hierarchy(task, 2, planner, replan_every=every)))
        assert planner.asked == [{100: step, 101: step} for step in steps]


def test_slates_come_from_the_plan_in_force(task: TaskSpec, make_env: MakeEnv, play: Play):
    slates, _ = play(make_env(4, leave=NEVER), HierarchicalAgent(Hierarchy(task, 4, ByStep(), replan_every=2)), steps=5)
    for step, category in enumerate([0, 0, 2, 2, 4]):
        assert task.axis.membership[slates[step], category].all()


def test_slots_that_begin_later_are_planned_by_their_own_clock(task: TaskSpec, make_env: MakeEnv):
    env, planner = make_env(4, leave=NEVER), ByStep()
    agent = HierarchicalAgent(Hierarchy(task, 4, planner, replan_every=2))
    observation, _ = env.reset(seed=0)
    agent.begin(np.arange(4), observation, KEYS)
    observation, *_ = env.step(agent.act(observation))
    agent.act(observation)
    observation, _ = env.reset(options={"reset_mask": np.arange(4) == 1})
    agent.begin(np.array([1]), observation, np.array([99], np.uint64))
    for _ in range(2):
        observation, *_ = env.step(agent.act(observation))
    agent.act(observation)
    # Slots 0, 2 and 3 at their step 2, slot 1 at its own step 2, one later.
    assert planner.asked == [{11: 0, 12: 0, 13: 0, 14: 0}, {99: 0}, {11: 2, 13: 2, 14: 2}, {99: 2}]


def test_sessions_that_began_anew_are_planned_with_those_that_go_on(task: TaskSpec, make_env: MakeEnv):
    env, planner = make_env(4, leave=NEVER), ByStep()
    hierarchy = Hierarchy(task, 4, planner, replan_every=2)
    observation, _ = env.reset(seed=0)
    hierarchy.begin(np.arange(4), observation, KEYS)
    observation, *_ = env.step(hierarchy.slates(hierarchy.memory.tastes))
    hierarchy.see(observation)  # no plan is old yet
    observation, *_ = env.step(hierarchy.slates(hierarchy.memory.tastes))
    hierarchy.memory.see(observation)
    hierarchy.plan(np.array([3]))  # the others wait
    assert planner.asked == [{11: 0, 12: 0, 13: 0, 14: 0}, {14: 2}]
    observation, _ = env.reset(options={"reset_mask": np.arange(4) == 1})
    hierarchy.renew(np.array([1]), observation, np.array([99], np.uint64))
    hierarchy.plan()
    assert planner.asked[2:] == [{11: 2, 99: 0, 13: 2}]
    assert hierarchy.allowed.argmax(axis=1).tolist() == [2, 0, 2, 2]
    assert hierarchy.planned_at.tolist() == [2, 0, 2, 2]


def test_an_item_shown_is_remembered_and_not_shown_again(task: TaskSpec, make_env: MakeEnv, play: Play):
    agent = HierarchicalAgent(Hierarchy(task, 4, build_planner("boredom", 2, 0)))
    slates, _ = play(make_env(4, leave=NEVER), agent)
    for row in range(4):
        items = slates[:, row].ravel()
        assert len(set(items.tolist())) == items.size
        np.testing.assert_array_equal(agent.hierarchy.memory.shown[row, :15], items[:15])


@pytest.mark.parametrize("name", ["random", "round_robin", "greedy", "boredom"])
def test_slates_hold_eligible_items_only(name: str, task: TaskSpec, make_env: MakeEnv):
    env = make_env(8, leave=NEVER)
    hierarchy = Hierarchy(task, 8, build_planner(name, 2, 0))
    agent = HierarchicalAgent(hierarchy)
    observation, _ = env.reset(seed=0)
    agent.begin(np.arange(8), observation, np.arange(8, dtype=np.uint64))
    checked = 0
    for _ in range(6):
        before = agent.widened.copy()
        slates = agent.act(observation)
        kept = np.flatnonzero(agent.widened == before)
        member = task.axis.membership[slates]  # (B, k, C)
        assert (member & hierarchy.allowed[:, None]).any(axis=2)[kept].all()
        assert not (member & hierarchy.avoid[:, None]).any(axis=2)[kept].any()
        checked += len(kept)
        observation, *_ = env.step(slates)
    assert checked > 24


def test_without_avoidance_plans_are_what_they_allow(task: TaskSpec, make_env: MakeEnv):
    observation, _ = make_env(8, leave=NEVER).reset(seed=0)
    with_it, without = (Hierarchy(task, 8, AllButLast(), avoidance=avoidance) for avoidance in (True, False))
    for hierarchy in (with_it, without):
        hierarchy.begin(np.arange(8), observation, np.arange(8, dtype=np.uint64))
    assert (with_it.allowed == without.allowed).all()
    assert with_it.avoid[:, -1].all()
    assert not without.avoid.any()
    last = task.axis.membership[:, -1]
    assert not last[with_it.slates(with_it.memory.tastes)].any()
    assert (without.eligible()[0][0] == task.axis.membership[:, :-1].any(axis=1)).all()


def test_a_plan_that_stops_paying_is_replaced_before_its_time(task: TaskSpec, make_env: MakeEnv):
    env, planner = make_env(4, leave=NEVER), ByStep()
    hierarchy = Hierarchy(task, 4, planner, replan_every=100, replan_below=1.0)
    observation, _ = env.reset(seed=0)
    hierarchy.begin(np.arange(4), observation, KEYS)
    poor = set()
    for step in range(1, 4):
        observation, *_ = env.step(hierarchy.slates(hierarchy.memory.tastes))
        hierarchy.see(observation)
        newest = slice(3 * step - 3, 3 * step)
        clicks, predicted = (
            hierarchy.memory.feedback[:, newest].sum(axis=1),
            hierarchy.memory.estimates[:, newest].sum(axis=1),
        )
        poor |= {(int(key), step) for key, bad in zip(KEYS, clicks < predicted, strict=True) if bad}
    asked = {(key, step) for once in planner.asked[1:] for key, step in once.items()}
    assert asked == poor
    assert 0 < len(poor) < 12


def test_round_robin_reaches_every_category_however_long_a_plan_is_kept(task: TaskSpec, make_env: MakeEnv):
    env = make_env(4, leave=NEVER)
    hierarchy = Hierarchy(task, 4, build_planner("round_robin", 1, 0), replan_every=2)
    observation, _ = env.reset(seed=0)
    hierarchy.begin(np.arange(4), observation, KEYS)
    planned = []
    for step in range(4):
        planned.append(int(hierarchy.allowed[0].argmax()))
        observation, *_ = env.step(np.arange(12).reshape(4, 3) + 3 * step)
        hierarchy.see(observation)
    assert planned == [0, 0, 1, 1]


def test_widened_slates_are_counted_per_session(task: TaskSpec, make_env: MakeEnv):
    class OneThing:
        def plan(self, contexts: PlanContexts) -> Plans:
            allowed = np.ones((len(contexts), len(contexts.names)), bool)
            avoid = allowed & (contexts.session_key != 12)[:, None]
            return Plans(allowed, avoid)

    hierarchy = Hierarchy(task, 4, OneThing())
    observation, _ = make_env(4).reset(seed=0)
    hierarchy.begin(np.arange(4), observation, KEYS)
    hierarchy.slates(hierarchy.memory.tastes)
    hierarchy.slates(hierarchy.memory.tastes)
    assert hierarchy.widened.tolist() == [2, 0, 2, 2]
    hierarchy.begin(np.array([0]), observation, KEYS[:1])
    assert hierarchy.widened.tolist() == [0, 0, 2, 2]


def test_without_planner_or_scorer_the_best_by_taste_are_shown(
    task: TaskSpec, make_env: MakeEnv, play: Play, population: Population
):
    env = make_env(3, leave=NEVER)
    slates, _ = play(env, HierarchicalAgent(Hierarchy(task, 3)))
    known = population.knowledge
    for row, user in enumerate(env.state.user):
        order = np.argsort(-known.item_vectors @ known.tastes[user], kind="stable")
        assert slates[:, row].ravel().tolist() == order[:18].tolist()


def test_diversity_re_ranks(task: TaskSpec, make_env: MakeEnv, play: Play, population: Population):
    plain, _ = play(make_env(20, leave=NEVER), HierarchicalAgent(Hierarchy(task, 20)), steps=1)
    diverse, _ = play(make_env(20, leave=NEVER), HierarchicalAgent(Hierarchy(task, 20, diversity=3.0)), steps=1)
    vectors = population.knowledge.item_vectors[:, :-1]
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def likeness(slates: Any) -> float:
        return float(np.einsum("bid,bjd->bij", units[slates[0]], units[slates[0]]).mean())

    assert likeness(diverse) < likeness(plain) - 0.1
    np.testing.assert_array_equal(diverse[0, :, 0], plain[0, :, 0])  # the first pick is the best


def test_diversity_keeps_to_the_plan(task: TaskSpec, make_env: MakeEnv, play: Play):
    slates = {}
    for diversity in (0.0, 3.0):
        hierarchy = Hierarchy(task, 20, build_planner("round_robin", 1, 0), diversity=diversity)
        played, _ = play(make_env(20, leave=NEVER), HierarchicalAgent(hierarchy), steps=1)
        slates[diversity] = played[0]
    assert (task.axis.groups[slates[3.0]] == 0).any(axis=-1).all()
    assert (slates[0.0] != slates[3.0]).any()
    np.testing.assert_array_equal(slates[0.0][:, 0], slates[3.0][:, 0])


def test_a_wrong_plan_is_refused_before_it_does_harm(task: TaskSpec, make_env: MakeEnv):
    class Wrong:
        def plan(self, contexts: PlanContexts) -> Plans:
            return Plans(np.ones(len(contexts.names), bool), np.zeros(len(contexts.names), bool))

    observation, _ = make_env(4).reset(seed=0)
    with pytest.raises(PlanError, match=r"Wrong\.plan must return .* shape \(4, 5\), given bool \(5,\)"):
        Hierarchy(task, 4, Wrong()).begin(np.arange(4), observation, KEYS)


def test_a_session_longer_than_the_catalog_goes_on_with_empty_slots(task: TaskSpec, make_env: MakeEnv):
    long = TaskSpec(task.catalog, task.knowledge, task.axis, 7, 10, 1)
    for diversity in (0.0, 1.0):
        env = make_env(2, leave=NEVER, slate_size=7, max_steps=10)
        agent = HierarchicalAgent(Hierarchy(long, 2, diversity=diversity))
        observation, _ = env.reset(seed=0)
        agent.begin(np.arange(2), observation, KEYS[:2])
        for _ in range(10):
            observation, _, _, _, info = env.step(agent.act(observation))
        assert info["empty_slots"].tolist() == [7, 7]  # the 60 items were used up in the ninth slate


@pytest.mark.parametrize("name", ["random", "round_robin", "boredom"])
def test_eligible_items_are_those_that_top_k_would_choose_from(name: str, task: TaskSpec, make_env: MakeEnv):
    """Taken one by one from the best of anything, top items of one leave the eligible and nothing else."""
    one = TaskSpec(task.catalog, task.knowledge, task.axis, 1, 6, 1)
    env, hierarchy = make_env(8, slate_size=1, leave=NEVER), Hierarchy(one, 8, build_planner(name, 2, 0))
    observation, _ = env.reset(seed=0)
    hierarchy.begin(np.arange(8), observation, np.arange(8, dtype=np.uint64))
    member = task.axis.membership
    for _ in range(6):
        eligible, widened = hierarchy.eligible()
        planned = (member & hierarchy.allowed[:, None]).any(axis=2) & ~(member & hierarchy.avoid[:, None]).any(axis=2)
        np.put_along_axis(planned, np.maximum(hierarchy.memory.shown, 0).astype(int), False, axis=1)
        shown_first = (hierarchy.memory.shown == 0).any(axis=1)
        fresh = (member[0] & hierarchy.allowed).any(axis=1) & ~(member[0] & hierarchy.avoid).any(axis=1)
        planned[:, 0] = fresh & ~shown_first  # item 0 stood in for the padding
        np.testing.assert_array_equal(widened, ~planned.any(axis=1))
        np.testing.assert_array_equal(eligible[~widened], planned[~widened])
        slates = hierarchy.slates(hierarchy.memory.tastes)
        assert eligible[np.arange(8), slates[:, 0]].all()
        observation, *_ = env.step(slates)
        hierarchy.see(observation)


def test_a_plan_without_items_is_widened_step_by_step_and_an_empty_catalog_is_survived(
    by_hand: Callable[..., Population],
):
    people = by_hand([[1, 0], [0, 1], [1, 1]], [[1, 1]], [[1, 0], [0, 1], [1, 1]])
    hierarchy = Hierarchy(TaskSpec(people.catalog, people.knowledge, people.catalog.categories, 1, 4, 0), 1)

    def eligible(allowed: list[int], avoid: list[int], shown: list[int]) -> tuple[list[bool], bool]:
        hierarchy.allowed[0], hierarchy.avoid[0] = np.array(allowed, bool), np.array(avoid, bool)
        hierarchy.memory.shown[0] = shown + [-1] * (4 - len(shown))
        mask, widened = hierarchy.eligible()
        return mask[0].tolist(), bool(widened[0])

    assert eligible([1, 0], [0, 1], []) == ([True, False, False], False)
    assert eligible([1, 0], [0, 1], [0]) == ([False, False, True], True)  # avoid is lifted
    assert eligible([1, 0], [0, 1], [0, 2]) == ([False, True, False], True)  # allowed as well
    assert eligible([1, 0], [0, 0], [0, 1, 2]) == ([True, False, False], True)  # item 0 stands in


def test_a_plan_that_leaves_too_few_for_a_slate_is_widened(by_hand: Callable[..., Population]):
    """Items of one category each, 0 and 1 of the planned one, slates of two."""
    people = by_hand([[1, 0], [0, 1], [1, 1]], [[1, 1]], [[1, 0], [1, 0], [0, 1]])
    hierarchy = Hierarchy(TaskSpec(people.catalog, people.knowledge, people.catalog.categories, 2, 2, 0), 1)
    hierarchy.allowed[0] = [True, False]
    found = []
    for shown in ([-1] * 4, [0, -1, -1, -1], [0, 1, -1, -1]):
        hierarchy.memory.shown[0] = shown
        mask, widened = hierarchy.eligible()
        found.append((mask[0].tolist(), bool(widened[0])))
    assert found == [
        ([True, True, False], False),
        ([False, True, True], True),
        ([False, False, True], True),  # all that is left, though too few
    ]
