"""What a user does with an item: the latent-factor model against numbers worked out by hand."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lerl.envs.config import SimulatorConfig
from lerl.envs.population import Population
from lerl.envs.response import base
from lerl.envs.response.latent import LatentFactorResponse, LookupResponse
from lerl.envs.simulator import UserSimulator


@pytest.fixture
def model(build: Any) -> LatentFactorResponse:
    """Items (1, 0) and (0.5, 2) with offsets 0.1 and -0.2; users (2, 0) and (0, 1) with offsets -1 and 0.5."""
    population: Population = build([[1, 0], [0.5, 2]], [[2, 0], [0, 1]])
    offsets = {"item_offsets": np.array([0.1, -0.2], np.float32), "user_offsets": np.array([-1, 0.5], np.float32)}
    return LatentFactorResponse(replace(population, truth=replace(population.truth, **offsets)))


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_the_chance_is_the_sigmoid_of_taste_times_item_and_offsets(model: LatentFactorResponse):
    chance = model.score(model.init(np.array([0, 1])), np.array([[0, 1], [1, -1]], np.int32))
    assert chance.tolist() == [
        pytest.approx([sigmoid(2 * 1 + 0.1 - 1), sigmoid(2 * 0.5 - 0.2 - 1)]),
        pytest.approx([sigmoid(1 * 2 - 0.2 + 0.5), 0.0]),  # an empty slot has no chance
    ]


def test_a_batch_equals_single_users(model: LatentFactorResponse):
    items = np.array([[0, 1], [1, 0], [1, 1]], np.int32)
    users = np.array([1, 0, 1])
    batch = model.score(model.init(users), items)
    for row, user in enumerate(users):
        assert model.score(model.init(np.array([user])), items[row : row + 1])[0].tolist() == batch[row].tolist()


def test_a_session_leaves_the_population_as_it_was(model: LatentFactorResponse):
    state = model.init(np.array([0]))
    state["taste"] += 1
    state["offset"] += 1
    assert model.init(np.array([0]))["taste"].tolist() == [[2, 0]]
    assert model.init(np.array([0]))["offset"].tolist() == [-1]


def test_feedback_alone_changes_no_taste(model: LatentFactorResponse):
    state = model.advance(model.init(np.array([0])), np.array([[0]], np.int32), np.ones((1, 1), np.float32))
    assert state["taste"].tolist() == [[2, 0]]


def test_compiled_scores_equal_their_plain_python(agree: Any):
    rng = np.random.default_rng(0)
    taste, vectors = rng.normal(size=(3, 2)).astype(np.float32), rng.normal(size=(4, 2)).astype(np.float32)
    offset, offsets = rng.normal(size=3).astype(np.float32), rng.normal(size=4).astype(np.float32)
    agree(base.click_chances, taste, offset, rng.integers(-1, 4, size=(3, 5)).astype(np.int32), vectors, offsets)


# the look-up


@pytest.fixture
def seen(build: Any) -> Population:
    """One item vector each, (1), (1), (0); users (0) and (2); the matrix has a click, none, and nothing, and back."""
    population: Population = build([[1], [1], [0]], [[0], [2]])
    return replace(population, dense=np.array([[1, 0, -1], [-1, 1, 0]], np.int8))


def test_what_was_seen_is_looked_up_and_the_rest_is_the_latent_model_s(seen: Population):
    """The latent chance p of user 0 is 0.5 everywhere; a tenth of a view at p beside one view: (1 + 0.05) / 1.1."""
    model = LookupResponse(seen)
    chance = model.score(model.init(np.array([0, 1])), np.array([[0, 1, 2, -1], [0, 1, 2, 0]], np.int32))
    p = sigmoid(2)
    assert chance.tolist() == [
        pytest.approx([1.05 / 1.1, 0.05 / 1.1, 0.5, 0.0]),
        pytest.approx([p, (1 + 0.1 * p) / 1.1, 0.05 / 1.1, p]),
    ]


def test_a_looked_up_chance_moves_with_the_taste_in_log_odds(seen: Population):
    """The taste of user 0 drifts from 0 to 3: items with vector 1 gain 3 in log-odds, the one with vector 0 nothing."""
    model = LookupResponse(seen)
    state = model.init(np.array([0]))
    before = model.score(state, np.array([[0, 1, 2]], np.int32))[0]
    state["taste"] += 3
    after = model.score(state, np.array([[0, 1, 2]], np.int32))[0]
    gained = np.log(after / (1 - after)) - np.log(before / (1 - before))
    assert gained.tolist() == pytest.approx([3, 3, 0], abs=1e-6)


def test_a_population_without_a_matrix_has_nothing_to_look_up(small: Population):
    with pytest.raises(ValueError, match=r"'lookup', which needs a dense matrix.*--format kuairec --dense`, or set"):
        UserSimulator(small, SimulatorConfig(response="lookup", topic_count=3))


def test_looked_up_users_do_what_they_did(small: Population):
    """What was clicked is clicked again nearly always without boredom, and what was not hardly ever."""
    dense = np.zeros((40, 60), np.int8)
    dense[:, ::2] = 1
    still = SimulatorConfig(response="lookup", topic_count=3, slate_size=6, max_steps=10)
    simulator = UserSimulator(replace(small, dense=dense), still, "all")
    users = np.arange(40)
    state = simulator.start(np.arange(40, dtype=np.uint64), np.zeros(40, np.int64), users)
    chance = simulator.scores(state, np.tile(np.arange(6, dtype=np.int32), (40, 1)))
    assert chance[:, ::2].min() > 0.9
    assert chance[:, 1::2].max() < 0.1
    outcome = simulator.step(state, np.tile(np.arange(6), (40, 1)))
    assert outcome.feedback[:, ::2].mean() > 0.85 > 0.15 > outcome.feedback[:, 1::2].mean()
