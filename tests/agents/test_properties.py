"""What holds for every hierarchy over every catalog: plans, slates and what is remembered of them."""

import functools
from typing import Any, NamedTuple

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from lerl.agents.base import TaskSpec
from lerl.agents.hierarchical import HierarchicalAgent, Hierarchy
from lerl.envs.catalog import Axis
from lerl.envs.config import Leave
from lerl.envs.population import Population
from lerl.envs.session import SessionVectorEnv
from lerl.envs.synthetic import synthetic_population
from lerl.planners.base import PlanContexts, Plans
from lerl.planners.rules import RULES, build_planner

bounded = functools.partial(
    settings, deadline=None, derandomize=True, phases=(Phase.explicit, Phase.generate, Phase.shrink)
)


@functools.cache
def people(items: int, categories: int) -> Population:
    return synthetic_population(users=12, items=items, categories=categories, dim=3)


PLANNERS = (*RULES, "anything")


class Anything:
    """Plans of every kind that is allowed: of one category or of all, with avoided ones or nothing but those."""

    def __init__(self, size: int, seed: int) -> None:
        self.size, self.seed = size, seed

    def plan(self, contexts: PlanContexts) -> Plans:
        shape = len(contexts.names)
        masks = np.zeros((2, len(contexts), shape), bool)
        for row, (key, steps) in enumerate(zip(contexts.session_key, contexts.steps, strict=True)):
            rng = np.random.default_rng([self.seed, int(key), int(steps)])
            masks[:, row] = rng.random((2, shape)) < rng.choice([0.1, 0.5, 0.9], 2)[:, None]
            masks[0, row, rng.integers(shape)] = True
        return Plans(*masks)


class World(NamedTuple):
    population: Population
    task: TaskSpec
    how: dict[str, Any]
    planner: str
    size: int
    replan_every: int
    count: int  # users side by side
    seed: int

    @property
    def keys(self) -> np.ndarray:
        return np.arange(self.seed, self.seed + self.count, dtype=np.uint64)

    def env(self, count: int) -> SessionVectorEnv:
        mode = AutoresetMode.DISABLED
        return SessionVectorEnv(self.population, count, axis=self.task.axis, autoreset_mode=mode, **self.how)

    def hierarchy(self, count: int) -> Hierarchy:
        planner = Anything(self.size, 3) if self.planner == "anything" else build_planner(self.planner, self.size, 3)
        return Hierarchy(self.task, count, planner, replan_every=self.replan_every)


@st.composite
def worlds(draw: st.DrawFn, planner: str) -> World:
    items = draw(st.sampled_from((2, 7, 30)))
    population = people(items, draw(st.sampled_from((1, 5))))
    axis = population.catalog.categories
    if draw(st.booleans()):  # an axis that overlaps itself, with groups of nothing
        member = np.random.default_rng(draw(st.integers(0, 99))).random((items, 6)) < 0.3
        member[:, 0] |= ~member.any(axis=1)
        axis = Axis(tuple("abcdef"), member)
    k, steps = draw(st.integers(1, min(items, 4))), draw(st.integers(1, 6))
    task = TaskSpec(population.catalog, population.knowledge, axis, k, steps, seed=1)
    how = {
        "slate_size": k,
        "max_steps": steps,
        "repeats": draw(st.booleans()),
        "feedback": draw(st.sampled_from(("click", "rating"))),
        "topic_count": 2,
        "leave": Leave("never"),
    }
    size = draw(st.integers(1, 3) | st.integers(1, 8))
    replan, count = draw(st.integers(1, 3)), draw(st.integers(1, 5))
    return World(population, task, how, planner, size, replan, count, draw(st.integers(0, 2**30)))


@bounded(max_examples=25)
@given(st.data())
@pytest.mark.parametrize("planner", PLANNERS)
def test_no_plan_is_empty_and_no_item_is_shown_that_the_plan_in_force_forbids(planner: str, data: st.DataObject):
    world = data.draw(worlds(planner))
    task, hierarchy, env = world.task, world.hierarchy(world.count), world.env(world.count)
    member, k = task.axis.membership, task.slate_size
    observation, _ = env.reset(seed=world.seed)
    hierarchy.begin(np.arange(world.count), observation, world.keys)
    shown: list[set[int]] = [set() for _ in range(world.count)]
    plans = []
    for step in range(task.max_steps):
        plans.append((hierarchy.allowed.copy(), hierarchy.avoid.copy()))
        check_plans(world, plans)
        widened = hierarchy.widened.copy()
        slates = hierarchy.slates(hierarchy.memory.tastes)
        for user, slate in enumerate(slates.tolist()):
            wanted = member @ hierarchy.allowed[user]
            eligible = {int(i) for i in np.flatnonzero(wanted & ~(member @ hierarchy.avoid[user]))} - shown[user]
            left = set(range(len(member))) - shown[user]
            real = slate[: len(left)]  # where nothing is left an item shown before stands in, an empty slot
            assert len(set(real)) == len(real)
            assert set(real) <= left
            assert all(item in shown[user] | set(real) for item in slate[len(left) :])
            assert set(real) >= eligible if len(eligible) < k else set(slate) <= eligible
            assert hierarchy.widened[user] - widened[user] == (len(eligible) < k)
            lifted = {int(i) for i in np.flatnonzero(wanted)} - shown[user]
            assert set(real) <= lifted if len(lifted) >= k else set(real) >= lifted
            shown[user] |= set(real)
        observation, *_ = env.step(slates[:, 0] if k == 1 else slates)
        hierarchy.see(observation)
        check_memory(hierarchy, env, step + 1)


def check_plans(world: World, plans: list[tuple[np.ndarray, np.ndarray]]) -> None:
    """Every plan allows something, a rule's no more than its size, and it is kept for as long as was said."""
    allowed, avoid = plans[-1]
    assert allowed.any(axis=1).all()
    if world.planner in RULES:
        assert (allowed.sum(axis=1) <= world.size).all()
        assert not (allowed & avoid).any()
    if (len(plans) - 1) % world.replan_every:
        assert (allowed == plans[-2][0]).all()
        assert (avoid == plans[-2][1]).all()


def check_memory(hierarchy: Hierarchy, env: SessionVectorEnv, steps: int) -> None:
    """What an agent remembers is what happened."""
    memory, state = hierarchy.memory, env.state
    assert (memory.steps == steps).all()
    np.testing.assert_array_equal(memory.shown, state.shown)
    np.testing.assert_array_equal(memory.feedback, state.feedback)
    np.testing.assert_array_equal(memory.counts, state.exposure)
    np.testing.assert_array_equal(memory.liked, state.liked)
    predicted_ctr = memory.predicted_ctr(np.arange(len(memory.steps)))
    assert ((predicted_ctr >= 0) & (predicted_ctr < 1)).all()


@bounded(max_examples=20)
@given(st.data())
@pytest.mark.parametrize("planner", PLANNERS)
def test_who_runs_beside_a_session_changes_no_slate(planner: str, data: st.DataObject):
    """Slates and plans of B sessions at once, and of one of them alone, begun with the same key."""
    world = data.draw(worlds(planner))
    chosen = data.draw(st.integers(0, world.count - 1))
    whole, alone = HierarchicalAgent(world.hierarchy(world.count)), HierarchicalAgent(world.hierarchy(1))
    envs = world.env(world.count), world.env(1)
    many, _ = envs[0].reset(seed=world.seed)
    one, _ = envs[1].reset(seed=world.seed + chosen)
    whole.begin(np.arange(world.count), many, world.keys)
    alone.begin(np.arange(1), one, world.keys[[chosen]])
    for _ in range(world.task.max_steps):
        slates = whole.act(many)
        assert slates[[chosen]].tolist() == alone.act(one).tolist()
        for mask in ("allowed", "avoid"):
            assert (getattr(whole.hierarchy, mask)[chosen] == getattr(alone.hierarchy, mask)[0]).all()
        action = slates[:, 0] if slates.shape[1] == 1 else slates
        many, *_ = envs[0].step(action)
        one, *_ = envs[1].step(action[[chosen]])
    assert whole.widened[chosen] == alone.widened[0]


@bounded(max_examples=20)
@given(st.data())
@pytest.mark.parametrize("planner", PLANNERS)
def test_a_slot_that_begins_anew_leaves_the_others_alone(planner: str, data: st.DataObject):
    """A session begun again is as new, and nobody beside it notices."""
    world = data.draw(worlds(planner))
    task, env = world.task, world.env(world.count)
    again = np.array(data.draw(st.lists(st.integers(0, world.count - 1), min_size=1, unique=True)))
    others = np.setdiff1d(np.arange(world.count), again)
    agent, twin = HierarchicalAgent(world.hierarchy(world.count)), HierarchicalAgent(world.hierarchy(world.count))
    observation, _ = env.reset(seed=world.seed)
    for each in (agent, twin):
        each.begin(np.arange(world.count), observation, world.keys)
    first = agent.act(observation)
    assert (first == twin.act(observation)).all()
    planned = agent.hierarchy.allowed[again]
    observation, *_ = env.step(first[:, 0] if task.slate_size == 1 else first)
    untouched = {key: value.copy() for key, value in observation.items()}
    mask = np.isin(np.arange(world.count), again)
    seeds = [world.seed + slot if mask[slot] else None for slot in range(world.count)]
    observation, _ = env.reset(seed=seeds, options={"reset_mask": mask})
    agent.begin(again, observation, world.keys[again])
    assert (agent.hierarchy.allowed[again] == planned).all()
    slates, expected = agent.act(observation), twin.act(untouched)
    assert (slates[again] == first[again]).all()
    assert (slates[others] == expected[others]).all()
