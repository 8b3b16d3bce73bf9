"""The embedded population: repeatable, of the given size, and known to a recommender only in part."""

from dataclasses import fields
from typing import Any

import numpy as np
import pytest

from lerl.envs import synthetic
from lerl.envs.population import Population
from lerl.envs.synthetic import synthetic_population


@pytest.fixture(scope="module")
def population() -> Population:
    return synthetic_population(users=400, items=600, categories=10, dim=8, seed=1)


def arrays(population: Population) -> list[Any]:
    sides = (population.truth, population.knowledge)
    parts = [getattr(side, field.name) for side in sides for field in fields(side)]
    return [*parts, population.training, population.history, population.catalog.categories.membership]


def test_sizes_are_as_asked(population: Population):
    assert len(population.catalog) == 600
    assert population.truth.item_vectors.shape == (600, 8)
    assert population.truth.user_vectors.shape == (400, 8)
    assert population.knowledge.item_vectors.shape == (600, 9)  # the offset is a column of its own
    assert population.catalog.categories.membership.shape == (600, 10)
    assert len(population.users("evaluation")) == 100
    assert len(population.users("train")) == 300


def test_one_seed_is_one_population(population: Population):
    again = synthetic_population(users=400, items=600, categories=10, dim=8, seed=1)
    assert all(np.array_equal(one, other) for one, other in zip(arrays(population), arrays(again), strict=True))
    other = synthetic_population(users=400, items=600, categories=10, dim=8, seed=2)
    assert not np.array_equal(population.truth.user_vectors, other.truth.user_vectors)
    assert not np.array_equal(population.training, other.training)


def test_an_item_has_one_category_or_two(population: Population):
    counts = population.catalog.categories.membership.sum(axis=1)
    assert set(counts.tolist()) == {1, 2}
    assert (counts == 2).mean() == pytest.approx(0.3, abs=0.06)  # a third, less those whose second is their first


def test_categories_follow_item_space_nearly(population: Population):
    """Items of one category are closer to each other than to others, though not all of them."""
    vectors = population.truth.item_vectors
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    alike = np.einsum("id,jd->ij", units, units)
    membership = population.catalog.categories.membership
    together = np.einsum("ic,jc->ij", membership.astype(int), membership.astype(int)) > 0
    np.fill_diagonal(together, False)
    assert alike[together].mean() > alike[~together].mean() + 0.2


def test_knowledge_tells_part_of_the_truth(population: Population):
    truth, known = population.truth, population.knowledge
    predicted_ctr = np.einsum("ud,id->ui", truth.user_vectors, truth.item_vectors) + truth.item_offsets
    guess = np.einsum("ud,id->ui", known.tastes, known.item_vectors)
    agreement = np.mean([np.corrcoef(predicted_ctr[user], guess[user])[0, 1] for user in range(400)])
    assert 0.4 < agreement < 0.95
    assert known.popularity.sum() == pytest.approx(1)
    assert (truth.item_vectors != known.item_vectors[:, :8]).any(axis=1).all()


def test_every_users_history_is_forty_exposures(population: Population):
    assert np.bincount(population.history[:, 0]).tolist() == [synthetic.KNOWN_EXPOSURES] * 400
    base = population.history[:, 2].mean()
    assert 0.2 < base < 0.6


def test_tastes_are_the_best_fit_to_the_history():
    """At the optimum of the penalised likelihood its slope vanishes, in every direction and for every user."""
    rng = np.random.default_rng(0)
    vectors, offsets = rng.normal(size=(3, 40, 2)), rng.normal(size=(3, 40))
    clicked = rng.random((3, 40)) < 0.4
    tastes, constants = synthetic._fold_in(vectors, offsets, clicked)
    for user in range(3):
        chance = 1 / (1 + np.exp(-(vectors[user] @ tastes[user] + constants[user] + offsets[user])))
        miss = clicked[user] - chance
        assert miss @ vectors[user] - tastes[user] == pytest.approx(np.zeros(2), abs=1e-6)
        assert miss.sum() - 0.1 * constants[user] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("name", "least"), [("users", 4), ("items", 2), ("categories", 1), ("dim", 2)])
def test_sizes_too_small_are_refused(name: str, least: int):
    with pytest.raises(ValueError, match=f"data.synthetic.{name} must be at least {least}, given {least - 1}"):
        synthetic_population(**{name: least - 1})
    smallest = {"users": 4, "items": 2, "categories": 1, "dim": 2}
    assert len(synthetic_population(**smallest).users("evaluation")) == 1
