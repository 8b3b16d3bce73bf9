"""Slates by belief: against brute force, never twice the same item, and the same however many sessions."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lerl.agents.base import Pause, TaskSpec
from lerl.agents.belief.agent import PRICE, BeliefAgent, Prices
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


def test_boredom_costs_each_session_what_its_own_price_says(model: UserModel) -> None:
    rng, k = np.random.default_rng(2), 4
    means, exposures, shown = rng.normal(size=(20, 5)), rng.random((20, 4)), np.full((20, 12), -1, np.int32)
    prices, slates = 4.0 * rng.random(20), np.full((20, k), -1, np.int32)
    where = standing(means, exposures, shown)._replace(prices=prices)
    fill_slates(columns(model), model, where, shown, np.ones(20, bool), 2.0, slates)
    expected = [by_brute_force(model, means[b], exposures[b], [], k, 2.0 * prices[b]) for b in range(20)]
    assert slates.tolist() == expected
    assert slates.tolist() != [by_brute_force(model, means[b], exposures[b], [], k, 2.0) for b in range(20)]


def test_prices_go_from_the_first_to_the_last_over_a_session(model: UserModel, population: Population) -> None:
    task = TaskSpec(population.catalog, population.knowledge, population.catalog.categories, 3, 10, 0)
    agent = BeliefAgent(task, 4, model, prices=Prices(8.0, 0.5))
    agent.steps[:] = [0, 2, 5, 9]
    assert agent._prices().tolist() == pytest.approx([8.0, 6.5, 4.25, 1.25])  # 8 - 0.75 a step
    assert BeliefAgent(task, 4, model, prices=Prices(1.0, 1.0))._prices().shape == (0,)


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


def test_a_second_session_begins_with_what_the_first_one_taught(
    model: UserModel, task: TaskSpec, make_env: Callable[..., SessionVectorEnv]
) -> None:
    env, rows, keys = make_env(2), np.arange(2), np.array([1, 2], np.uint64)
    observation, _ = env.reset(seed=[5, 5])  # the same person twice
    liked = np.argsort(-model.vectors @ np.ones(model.vectors.shape[1]))[: task.slate_size].astype(np.int32)
    last = np.stack([liked, liked]), np.stack([np.ones(task.slate_size), np.zeros(task.slate_size)]).astype(np.float32)

    def first_slates(days: float) -> tuple[np.ndarray, BeliefAgent]:
        agent = BeliefAgent(task, 2, model._replace(weight=0.0))
        agent.begin(rows, observation, keys)
        for _ in range(5):
            agent.begin_again(rows, observation, keys, Pause(np.full(2, days), *last))
        return agent.act(observation), agent

    slates, agent = first_slates(0.1)
    fresh = BeliefAgent(task, 2, model._replace(weight=0.0))
    fresh.begin(rows, observation, keys)
    new = fresh.act(observation)
    assert (new[0] == new[1]).all()
    assert set(slates[0]) != set(slates[1])
    worth = model.vectors @ (agent.belief.mean[0, :-1] - fresh.belief.mean[0, :-1])
    assert worth[liked].mean() > worth.mean()  # what was clicked is thought more of
    assert (agent.steps == 0).all()
    assert (agent.shown == -1).all()
    np.testing.assert_array_equal(agent.belief.home, agent.belief.mean)


def test_what_was_learned_fades_with_the_days_and_never_beyond_somebody_new(
    model: UserModel, task: TaskSpec, make_env: Callable[..., SessionVectorEnv]
) -> None:
    observation, _ = make_env(3).reset(seed=[0, 0, 0])  # the same person thrice
    agent, rows, keys = BeliefAgent(task, 3, model), np.arange(3), np.arange(3, dtype=np.uint64)
    agent.begin(rows, observation, keys)
    items = np.tile(np.arange(task.slate_size, dtype=np.int32), (3, 1))
    pause = Pause(np.array([0.01, 3.0, 1e6]), items, np.ones(items.shape, np.float32))
    agent.begin_again(rows, observation, keys, pause)
    soon, later, late = np.trace(agent.belief.cov, axis1=1, axis2=2)
    assert soon < later < late
    np.testing.assert_allclose(agent.belief.cov[2], model.spread, atol=1e-9)
    exposure = agent.belief.exposure.sum(axis=1)
    assert exposure[0] > exposure[1] > exposure[2] == pytest.approx(0.0)
    assert (np.linalg.eigvalsh(agent.belief.cov) > 0).all()
    kept = BeliefAgent(task, 3, model._replace(noise=np.zeros_like(model.noise)))  # tastes that do not drift
    kept.begin(rows, observation, keys)
    kept.begin_again(rows, observation, keys, pause)
    np.testing.assert_allclose(kept.belief.cov[0], kept.belief.cov[2])
