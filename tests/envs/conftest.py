"""Populations to test on: one small enough to work out by hand, one large enough to live in."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

from lerl.envs.catalog import Axis, Catalog
from lerl.envs.logs.movielens import GENRES_100K
from lerl.envs.population import Knowledge, Population, Truth
from lerl.envs.prepare import prepare
from lerl.envs.synthetic import synthetic_population

Build = Callable[..., Population]
Agree = Callable[..., None]

# Compiling takes longer than Hypothesis lets an example take; a failure should come back when the test is run again.
settings.register_profile("lerl", deadline=None, derandomize=True)
settings.load_profile("lerl")


@pytest.fixture(scope="session")
def small() -> Population:
    """40 users, 60 items in 6 categories."""
    return synthetic_population(users=40, items=60, categories=6, dim=4)


@pytest.fixture(scope="session")
def build() -> Build:
    """A population of given true vectors, without offsets, all users for training, each item its own category."""

    def make(
        items: list[list[float]],
        users: list[list[float]],
        *,
        categories: list[list[int]] | None = None,
        training: list[bool] | None = None,
    ) -> Population:
        vectors, tastes = np.array(items, np.float32), np.array(users, np.float32)
        membership = np.eye(len(items), dtype=bool) if categories is None else np.array(categories, bool)
        names = tuple(f"category {number}" for number in range(membership.shape[1]))
        numbers = tuple(str(number) for number in range(len(items)))
        none = np.zeros(len(users), np.float32)
        return Population(
            name="by hand",
            catalog=Catalog(numbers, tuple(f"item {number}" for number in numbers), Axis(names, membership)),
            truth=Truth(vectors, np.zeros(len(items), np.float32), tastes, none),
            knowledge=Knowledge(vectors, tastes, none, np.full(len(items), 1 / len(items), np.float32)),
            training=np.ones(len(users), bool) if training is None else np.array(training),
            history=np.zeros((0, 3), np.int32),
        )

    return make


@pytest.fixture(scope="session")
def agree() -> Agree:
    """Asserts that a compiled function does to its arguments, and returns, what its plain Python does, but rounding."""

    def check(function: Any, *arguments: Any) -> None:
        plain, compiled = copy.deepcopy(arguments), copy.deepcopy(arguments)
        compare((*plain, function.py_func(*plain)), (*compiled, function(*compiled)))

    def compare(plain: Any, compiled: Any) -> None:
        if isinstance(plain, tuple):
            for one, other in zip(plain, compiled, strict=True):
                compare(one, other)
        elif plain is not None:
            np.testing.assert_allclose(compiled, plain, rtol=1e-5, atol=1e-6)

    return check


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as `lerl data prepare` leaves it, made from 80 users and 60 films laid out as MovieLens-100K is."""
    raw, out = tmp_path_factory.mktemp("ml-100k"), tmp_path_factory.mktemp("prepared") / "small"
    draw = np.random.default_rng(0)
    films = []
    for film in range(1, 61):
        flags = "|".join(str(int(genre == ("Drama", "Comedy", "War")[film % 3])) for genre in GENRES_100K)
        films.append(f"{film}|Film {film} (1995)|01-Jan-1995||http://example.org|{flags}")
    ratings = []
    for user in range(1, 81):
        for film in draw.choice(np.arange(1, 61), size=30, replace=False):
            likes = (draw.random() < 0.8) == ((user + film) % 3 == 0)
            ratings.append(f"{user}\t{film}\t{5 if likes else 2}\t{draw.integers(1_000_000)}")
    (raw / "u.item").write_text("\n".join(films) + "\n")
    (raw / "u.data").write_text("\n".join(ratings) + "\n")
    prepare("movielens", raw, out, dim=4)
    return out
