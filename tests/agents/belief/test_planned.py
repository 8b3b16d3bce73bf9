"""A planner above the belief: what it sees is what brute force believes, and slates stay within its plans."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lerl.agents.base import TaskSpec
from lerl.agents.belief.agent import BeliefAgent
from lerl.agents.belief.model import UserModel, prior_model
from lerl.agents.belief.planned import BeliefMemory, PlannedBeliefAgent
from lerl.agents.hierarchical import Hierarchy
from lerl.agents.memory import BEST
from lerl.envs.config import Leave
from lerl.envs.population import Population
from lerl.envs.session import SessionVectorEnv
from lerl.planners.base import PlanContexts, Planner, Plans
from lerl.planners.rules import build_planner

MakeEnv = Callable[..., SessionVectorEnv]
KEYS = np.array([5, 6, 7], np.uint64)


class Everything(Planner):
    """Allows all."""

    def plan(self, contexts: PlanContexts) -> Plans:
        allowed = np.ones((len(contexts), len(contexts.names)), bool)
        return Plans(allowed, np.zeros_like(allowed))


@pytest.fixture(scope="module")
def own(population: Population) -> UserModel:
    rng = np.random.default_rng(0)
    topics = rng.dirichlet(0.3 * np.ones(4), len(population.catalog)).astype(np.float32)
    known = prior_model(population.knowledge, topics, topics, population.users("train"))
    moved = (known.vectors + rng.normal(0, 0.3, known.vectors.shape)).astype(np.float32)
    return known._replace(weight=3.0, tire=0.7, vectors=moved)


def planned(task: TaskSpec, model: UserModel, count: int, planner: Planner) -> PlannedBeliefAgent:
    memory = BeliefMemory(task, BeliefAgent(task, count, model))
    return PlannedBeliefAgent(Hierarchy(task, count, planner, memory=memory))


def played(env: SessionVectorEnv, agent: Any, slots: list[int], steps: int) -> list[Any]:
    """The slates of `steps` steps, the last of which was seen too."""
    users, shown = env.simulator.users[[0, 3, 8]], []
    observation, _ = env.reset(seed=[slot + 10 for slot in slots], options={"users": users[slots]})
    agent.begin(np.arange(len(slots)), observation, KEYS[slots])
    for _ in range(steps):
        shown.append(agent.act(observation))
        observation, *_ = env.step(shown[-1])
    agent.hierarchy.see(observation)
    return shown


def test_contexts_say_what_is_believed(own: UserModel, task: TaskSpec, make_env: MakeEnv) -> None:
    agent = planned(task, own, 3, build_planner("boredom", 2, 0))
    played(make_env(3, leave=Leave("never")), agent, [0, 1, 2], 3)
    contexts, belief, member = agent.hierarchy.contexts, agent.belief.belief, task.axis.membership
    assert contexts is not None
    for b in range(3):
        x = np.column_stack([own.vectors, np.ones(len(own.offsets))])
        z = x @ belief.mean[b] + own.offsets - own.tire * belief.fatigue[b]
        left = np.setdiff1d(np.arange(len(z)), agent.belief.shown[b])
        for c in range(member.shape[1]):
            best = sorted(left[member[left, c]], key=lambda item: -z[item])[:BEST]
            tired = own.weight * (own.suffers[best] @ belief.exposure[b]).mean()
            mean = x[best].mean(axis=0)
            assert contexts.predicted_ctr[b, c] == pytest.approx((1 / (1 + np.exp(-z[best]))).mean(), rel=1e-4)
            assert contexts.tiredness[b, c] == pytest.approx(tired, rel=1e-4, abs=1e-6)
            assert contexts.uncertainty[b, c] == pytest.approx(np.sqrt(mean @ belief.cov[b] @ mean), rel=1e-4)
    assert contexts.tiredness.max() > 0.1


def test_what_was_predicted_when_an_item_was_shown_is_kept(own: UserModel, task: TaskSpec, make_env: MakeEnv) -> None:
    env, agent = make_env(3, leave=Leave("never")), planned(task, own, 3, Everything())
    observation, _ = env.reset(seed=[1, 2, 3], options={"users": env.simulator.users[[0, 3, 8]]})
    agent.begin(np.arange(3), observation, KEYS)
    for step in range(3):
        belief, slates = agent.belief.belief, agent.act(observation)
        z = np.einsum("bd,bkd->bk", belief.mean[:, :-1], own.vectors[slates]) + own.offsets[slates]
        z += (belief.mean[:, -1] - own.tire * belief.fatigue)[:, None]
        observation, *_ = env.step(slates)
        agent.hierarchy.see(observation)
        found = agent.hierarchy.memory.estimates[:, step * 3 : step * 3 + 3]
        np.testing.assert_allclose(found, 1 / (1 + np.exp(-z)), rtol=1e-4)


@pytest.mark.parametrize("name", ["random", "greedy", "boredom", "rotation"])
def test_slates_stay_within_plans(name: str, own: UserModel, task: TaskSpec, make_env: MakeEnv) -> None:
    env, agent, checked = make_env(8, leave=Leave("never")), planned(task, own, 8, build_planner(name, 2, 0)), 0
    observation, _ = env.reset(seed=0)
    agent.begin(np.arange(8), observation, np.arange(8, dtype=np.uint64))
    for _ in range(6):
        before = agent.widened.copy()
        slates = agent.act(observation)
        kept, member = np.flatnonzero(agent.widened == before), task.axis.membership[slates]  # (B, k, C)
        assert (member & agent.hierarchy.allowed[:, None]).any(axis=2)[kept].all()
        assert not (member & agent.hierarchy.avoid[:, None]).any(axis=2)[kept].any()
        checked += len(kept)
        observation, *_ = env.step(slates)
    shown = agent.belief.shown[:, :15]
    assert all(len(np.unique(row)) == 15 for row in shown)
    assert checked > 24


def test_under_a_plan_of_everything_it_is_the_agent_without_a_planner(
    own: UserModel, task: TaskSpec, make_env: MakeEnv
) -> None:
    env, alone = make_env(3, leave=Leave("never")), BeliefAgent(task, 3, own)
    above = played(env, planned(task, own, 3, Everything()), [0, 1, 2], 5)
    observation, _ = env.reset(seed=[10, 11, 12], options={"users": env.simulator.users[[0, 3, 8]]})
    alone.begin(np.arange(3), observation, KEYS)
    for slates in above:
        np.testing.assert_array_equal(alone.act(observation), slates)
        observation, *_ = env.step(slates)


def test_a_session_is_the_same_alone_and_beside_others(own: UserModel, task: TaskSpec, make_env: MakeEnv) -> None:
    def play(slots: list[int]) -> Any:
        agent = planned(task, own, len(slots), build_planner("rotation", 2, 0))
        return np.stack(played(make_env(len(slots), leave=Leave("never")), agent, slots, 5), axis=1)

    together = play([0, 1, 2])
    for slot in range(3):
        np.testing.assert_array_equal(play([slot])[0], together[slot])


def test_a_snapshot_brings_back_what_was_believed(own: UserModel, task: TaskSpec, make_env: MakeEnv) -> None:
    env, agent = make_env(3, leave=Leave("never")), planned(task, own, 3, build_planner("boredom", 2, 0))
    played(env, agent, [0, 1, 2], 2)
    hierarchy = agent.hierarchy
    kept, before = hierarchy.snapshot(), hierarchy.memory.contexts(np.arange(3))
    played(env, agent, [2, 0, 1], 4)
    hierarchy.restore(kept)
    after = hierarchy.memory.contexts(np.arange(3))
    for name in ("predicted_ctr", "tiredness", "uncertainty", "recent_items", "recent_estimates"):
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name))
    assert agent.belief.steps.tolist() == [2] * 3


def test_another_memory_is_refused(task: TaskSpec) -> None:
    with pytest.raises(TypeError, match="must be a BeliefMemory, given Memory"):
        PlannedBeliefAgent(Hierarchy(task, 2, Everything()))
