"""People who are not in the log get tastes from their history as those of the log have theirs."""

from pathlib import Path

import numpy as np
import pytest

from lerl.envs.fitting import fold_in, latent
from lerl.envs.fitting.fold_in import FoldIn
from lerl.envs.store import load_population
from lerl.envs.synthetic import synthetic_population


def test_users_never_trained_on_get_about_the_tastes_that_they_have(prepared: Path) -> None:
    population = load_population(prepared)
    found_by, users, known = FoldIn(population), population.users("evaluation"), population.knowledge
    found = [found_by(history) for history in population.known(users)]
    tastes, offsets = np.stack([taste for taste, _ in found]), np.array([offset for _, offset in found])
    assert tastes.shape == known.tastes[users].shape
    assert tastes.dtype == np.float32
    assert (tastes[:, -1] == 1).all()
    guessed, right = (rows @ known.item_vectors.T for rows in (tastes, known.tastes[users]))
    assert np.corrcoef((guessed - guessed.mean(axis=0)).ravel(), (right - right.mean(axis=0)).ravel())[0, 1] > 0.9
    assert np.corrcoef(offsets, known.user_offsets[users])[0, 1] > 0.8


def test_the_order_of_a_history_does_not_matter() -> None:
    population = synthetic_population(60, 40, 4, 4, 0)
    found_by, history = FoldIn(population), np.array([[1, 1], [7, 0], [3, 1]])
    taste, offset = found_by(history)
    again, same = found_by(history[::-1])
    np.testing.assert_allclose(taste, again, rtol=1e-6)
    assert offset == pytest.approx(same)


def test_who_is_not_known_is_like_the_mean_of_training_users() -> None:
    population = synthetic_population(60, 40, 4, 4, 0)
    taste, offset = FoldIn(population)(np.zeros((0, 2), np.int32))
    known, users = population.knowledge, population.users("train")
    np.testing.assert_allclose(taste, known.tastes[users].mean(axis=0), rtol=1e-5)
    assert offset == pytest.approx(known.user_offsets[users].mean(), rel=1e-5)


def test_more_clicks_mean_a_higher_level() -> None:
    found_by = FoldIn(synthetic_population(60, 40, 4, 4, 0))
    items = np.arange(10)
    levels = [found_by(np.column_stack([items, items < clicked]))[1] for clicked in (0, 5, 10)]
    assert levels == sorted(levels)


def test_what_a_log_is_fitted_with_is_what_a_history_is() -> None:
    for name, own in (
        ("CONFIDENCE", fold_in.CONFIDENCE),
        ("REGULARIZATION", fold_in.REGULARIZATION),
        ("USER_PRIOR", fold_in.PRIOR),
    ):
        assert getattr(latent, name) == own
