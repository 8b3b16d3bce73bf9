"""A small population to act on, one made by hand, and sessions played to their end."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from hypothesis import settings

from lerl.agents.base import Agent, TaskSpec
from lerl.envs.catalog import Axis, Catalog
from lerl.envs.population import Knowledge, Population, Truth
from lerl.envs.session import SessionVectorEnv
from lerl.envs.synthetic import synthetic_population

# Compiling takes longer than Hypothesis lets an example take; a failure should come back when the test is run again.
settings.register_profile("lerl", deadline=None, derandomize=True)
settings.load_profile("lerl")

K, STEPS = 3, 6


@pytest.fixture(scope="session")
def population() -> Population:
    """40 users, 60 items in 5 categories."""
    return synthetic_population(users=40, items=60, categories=5, dim=4)


@pytest.fixture(scope="session")
def task(population: Population) -> TaskSpec:
    """3 items a slate, 6 steps."""
    return TaskSpec(population.catalog, population.knowledge, population.catalog.categories, K, STEPS, seed=1)


@pytest.fixture(scope="session")
def make_env(population: Population) -> Callable[..., SessionVectorEnv]:
    """The users side by side, in the shape of `task`; settings of the simulator by name."""

    def make(count: int, **changes: Any) -> SessionVectorEnv:
        chosen = {"slate_size": K, "max_steps": STEPS, "topic_count": 5, "autoreset_mode": AutoresetMode.DISABLED}
        return SessionVectorEnv(changes.pop("of", population), count, **(chosen | changes))

    return make


@pytest.fixture(scope="session")
def by_hand() -> Callable[..., Population]:
    """A population of given item vectors and tastes; the knowledge is the truth with a column for the offset (0)."""

    def make(items: Any, users: Any, membership: Any) -> Population:
        vectors, tastes = np.array(items, np.float32), np.array(users, np.float32)
        groups = np.array(membership, bool)
        numbers = tuple(str(number) for number in range(len(vectors)))
        names = tuple(f"category {number}" for number in range(groups.shape[1]))
        none, even = np.zeros(len(tastes), np.float32), np.full(len(vectors), 1 / len(vectors), np.float32)
        known = np.column_stack([vectors, np.zeros(len(vectors))]).astype(np.float32)
        tasted = np.column_stack([tastes, np.ones(len(tastes))]).astype(np.float32)
        return Population(
            name="by hand",
            catalog=Catalog(numbers, numbers, Axis(names, groups)),
            truth=Truth(vectors, np.zeros(len(vectors), np.float32), tastes, none),
            knowledge=Knowledge(known, tasted, none, even),
            training=np.ones(len(tastes), bool),
            history=np.zeros((0, 3), np.int32),
        )

    return make


@pytest.fixture(scope="session")
def play() -> Callable[..., tuple[Any, Any]]:
    """Sessions that nobody leaves, played to the step cap: slates (T, B, k) and rewards (T, B)."""

    def run(env: SessionVectorEnv, agent: Agent, seed: int = 0, steps: int | None = None) -> tuple[Any, Any]:
        observation, _ = env.reset(seed=seed)
        agent.begin(np.arange(env.num_envs), observation, np.arange(env.num_envs, dtype=np.uint64) + 100)
        slates, rewards = [], []
        for _ in range(steps or env.simulator.config.max_steps):
            slates.append(agent.act(observation))
            observation, reward, *_ = env.step(slates[-1])
            rewards.append(reward)
        return np.stack(slates), np.stack(rewards)

    return run
