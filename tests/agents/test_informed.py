"""The agent that knows the rules but not the person: above what a log says, below what privileged reads."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lerl.agents.base import Agent, TaskSpec
from lerl.agents.belief.filter import begin, drift, new_belief
from lerl.agents.hierarchical import HierarchicalAgent, Hierarchy
from lerl.agents.informed import InformedAgent, expected_tastes, true_model
from lerl.agents.privileged import PrivilegedAgent
from lerl.envs.catalog import Axis
from lerl.envs.config import SimulatorConfig
from lerl.envs.population import Population
from lerl.envs.session import SessionVectorEnv
from lerl.envs.synthetic import synthetic_population
from lerl.run.rollout import Evaluator

COUNT, K, STEPS = 50, 4, 40


@pytest.fixture(scope="module")
def users() -> Population:
    return synthetic_population(users=400, items=200, categories=8, dim=6)


def reward(agent: Agent, population: Population) -> float:
    """Mean R_cum of evaluation users."""
    config = SimulatorConfig(slate_size=K, max_steps=STEPS, topic_count=8)
    evaluator = Evaluator(population, config, population.catalog.categories, "evaluation", 50)
    return float(np.nansum(evaluator.play(agent, evaluator.users, 2, 3).rewards, axis=1).mean())


def test_it_lies_between_what_a_log_says_and_what_privileged_reads(users: Population) -> None:
    axis: Axis = users.catalog.categories
    task = TaskSpec(users.catalog, users.knowledge, axis, K, STEPS, seed=1)
    flat = reward(HierarchicalAgent(Hierarchy(task, COUNT)), users)
    informed = reward(InformedAgent(task, COUNT), users)
    privileged = reward(PrivilegedAgent(task, COUNT), users)
    assert flat < 0.9 * informed
    assert informed < privileged


def test_what_it_expects_of_a_user_is_better_than_what_is_known(users: Population) -> None:
    coefficients, left = expected_tastes(users)
    assert coefficients.shape == (users.knowledge.tastes.shape[1] + 1, 7)
    assert np.linalg.eigvalsh(left).min() > 0
    assert np.trace(left[:6, :6]) < users.truth.user_vectors[users.training].var(axis=0).sum()


def test_its_model_is_the_simulators(users: Population, make_env: Callable[..., SessionVectorEnv]) -> None:
    env = make_env(2, of=users, boredom={"weight": 0.7}, fatigue={"enabled": False}, drift={"enabled": False})
    model = true_model(env.simulator, np.eye(7))
    assert (model.weight, model.tire, model.revert) == (0.7, 0.0, 0.0)
    assert (model.noise == 0).all()
    assert (model.fills.argmax(axis=1) == env.simulator.topics[:, 0]).all()
    assert (model.fills.sum(axis=1) == 1).all()


def test_no_taste_returns_to_what_is_known_of_its_user(
    users: Population, make_env: Callable[..., SessionVectorEnv]
) -> None:
    model = true_model(make_env(2, of=users, drift={"revert": 0.3}).simulator, np.eye(7))
    assert model.revert == 0
    assert np.trace(model.noise) > 0
    belief, known = new_belief(1, 6, model.fills.shape[1]), np.linspace(-1, 1, 7)
    begin(model, belief, 0, known)
    belief.mean[0] += 0.5  # what the user's answers have shown
    drift(model, belief, 0)
    assert belief.mean[0] == pytest.approx(known + 0.5)


def test_it_must_watch_and_refuses_users_it_has_no_rules_for(
    task: TaskSpec,
) -> None:
    agent = InformedAgent(task, 2)
    with pytest.raises(ValueError, match="must watch an environment before it acts"):
        agent.act({})
    env: Any = SimpleNamespace(simulator=SimpleNamespace(config=SimulatorConfig(response="sequence")))
    with pytest.raises(ValueError, match=r"env\.response is 'sequence'; set that to 'latent', or leave informed out"):
        agent.watch(env)
