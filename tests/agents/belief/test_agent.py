"""Slates by belief: against brute force, never twice the same item, and the same however many sessions."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lerl.agents.base import TaskSpec
from lerl.agents.belief.agent import PRICE, BeliefAgent
from lerl.agents.belief.model import UserModel, prior_model
from lerl.agents.belief.slates import Standing, columns, fill_slates
from lerl.envs.population import Population
from lerl.envs.session import SessionVectorEnv


@pytest.fixture(scope="module")
def model(population: Population) -> UserModel:
    topics = np.random.default_rng(0).dirichlet(0.3 * np.ones(4), len(population.catalog)).astype(np.float32)
    return prior_model(population.knowledge, topics, topics, population.users("train"))._replace(weight=3.0)


def standing(means: np.ndarray, exposures: np.ndarray, shown: np.ndarray) -> Standing:
    count = len(means)
    return Standing(
        means, exposures, shown, np.zeros(count, np.int64), np.zeros(count), np.zeros((count, 0), np.float32)
    )


def by_brute_force(
    model: UserModel, mean: np.ndarray, exposure: np.ndarray, shown: list[int], k: int, price: float
) -> list[int]:
    slate: list[int] = []
    exposure = exposure.copy()
    for _ in range(k):
        value = model.vectors @ mean[:-1] + model.offsets - price * model.weight * model.suffers @ exposure
        value[[item for item in (*shown, *slate) if item >= 0]] = -np.inf
        slate.append(int(value.argmax()))
        exposure = (exposure + model.fills[slate[-1]] / k) * model.keep ** (1 / k)
    return slate


def test_slates_are_those_of_brute_force(model: UserModel) -> None:
    rng, k = np.random.default_rng(1), 4
    means, exposures = rng.normal(size=(20, 5)), rng.random((20, 4))
    shown = np.where(rng.random((20, 12)) < 0.5, rng.integers(60, size=(20, 12)), -1).astype(np.int32)
    slates = np.full((20, k), -1, np.int32)
    live = np.arange(20) != 3
    fill_slates(columns(model), model, standing(means, exposures, shown), shown, live, 2.0, slates)
    for b in range(20):
        expected = by_brute_force(model, means[b], exposures[b], shown[b].tolist(), k, 2.0)
        assert slates[b].tolist() == (expected if live[b] else [-1] * k)


def test_where_nothing_is_left_slots_stay_empty(model: UserModel) -> None:
    slates, everything = np.full((1, 3), -1, np.int32), np.arange(60, dtype=np.int32)[None]
    nobody = np.zeros((1, 5)), np.zeros((1, 4))
    where = standing(*nobody, everything[:, 1:])
    fill_slates(columns(model), model, where, everything[:, 1:], np.ones(1, bool), PRICE, slates)
    assert slates.tolist() == [[0, -1, -1]]


@pytest.mark.parametrize("explore", [False, True])
def test_a_session_is_the_same_alone_and_beside_others(
    explore: bool,
    model: UserModel,
    task: TaskSpec,
    population: Population,
    make_env: Callable[..., SessionVectorEnv],
) -> None:
    users, keys = population.users("train")[[0, 3, 8]], np.array([5, 6, 7], np.uint64)

    def played(slots: list[int]) -> Any:
        env, agent = make_env(len(slots)), BeliefAgent(task, len(slots), model, explore)
        observation, _ = env.reset(seed=[slot + 10 for slot in slots], options={"users": users[slots]})
        agent.begin(np.arange(len(slots)), observation, keys[slots])
        shown = []
        for _ in range(task.max_steps):
            shown.append(agent.act(observation))
            if not env.state.active.all():
                break
            observation, *_ = env.step(shown[-1])
        return np.stack(shown, axis=1)

    together = played([0, 1, 2])
    for slot in range(3):
        alone = played([slot])
        steps = min(together.shape[1], alone.shape[1])
        assert (alone[0, :steps] == together[slot, :steps]).all()
        items = alone[0, : steps - 1].ravel()
        assert len(np.unique(items)) == len(items)
