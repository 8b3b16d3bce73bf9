"""What a user does with an item: the latent-factor model against numbers worked out by hand."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lerl.envs import response
from lerl.envs.population import Population
from lerl.envs.response import LatentFactorResponse


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
    agree(response._score, taste, offset, rng.integers(-1, 4, size=(3, 5)).astype(np.int32), vectors, offsets)
