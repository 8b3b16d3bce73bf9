"""A model of wholes learns interactions where there are some, and says so where there are none."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from lerl.agents.composite.baselines import COMPARED, Feedback
from lerl.agents.composite.data import Pairs, Singles, Wholes
from lerl.agents.composite.fit import fit_jima
from lerl.agents.composite.made_up import MadeUp, made_up

SMALL = {"users": 80, "items": 15, "rank": 3}


def error(score, data: MadeUp) -> float:
    return float(np.sqrt(((score(data.users, data.items) - data.truth) ** 2).mean()))


def test_without_noise_what_was_not_rated_is_told_exactly() -> None:
    data = made_up(0, 1.0, 0.3, noise=0.0, **SMALL)
    model = fit_jima(data.singles, data.pairs, data.wholes)
    assert model.terms.third
    assert error(model.score, data) < 0.05 * data.truth.std()


def test_with_few_wholes_items_and_pairs_help_more_than_any_other_row_can() -> None:
    data = made_up(1, 1.0, 0.12, **SMALL)
    feedback = Feedback(data.singles, data.pairs, data.wholes)
    own = error(fit_jima(*feedback).score, data)
    others = {name: error(fit(feedback, 0), data) for name, fit in COMPARED.items()}
    assert own < 0.95 * min(others.values()), others


def test_without_interactions_none_is_learned() -> None:
    data = made_up(2, 0.0, 0.12, **SMALL)
    feedback = Feedback(data.singles, data.pairs, data.wholes)
    model = fit_jima(*feedback)
    assert not model.terms.pairs
    assert not model.terms.third
    assert error(model.score, data) == pytest.approx(error(COMPARED["additive"](feedback, 0), data), rel=0.05)


def test_outfits_whose_parts_are_liked_and_that_are_not_are_found() -> None:
    data = made_up(3, 1.0, 0.1, **SMALL)
    feedback = Feedback(data.singles, data.pairs, data.wholes)
    liked = (data.liked > np.quantile(data.liked, 0.7)).all(axis=1)
    users, items, disliked = data.users[liked], data.items[liked], data.truth[liked] < np.median(data.truth)
    assert 20 < disliked.sum() < len(disliked) - 20
    own = roc_auc_score(disliked, -fit_jima(*feedback).score(users, items))
    assert own > 0.9
    assert roc_auc_score(disliked, -COMPARED["regression"](feedback, 0)(users, items)) < own - 0.15


def three(count: int = 1500, seed: int = 0) -> Wholes:
    """Wholes of three slots, 6 items each, told by a product of all."""
    rng = np.random.default_rng(seed)
    users, items = rng.integers(30, size=count), rng.integers(6, size=(count, 3)) + np.array([0, 6, 12])
    u, v = rng.normal(size=30), rng.normal(size=18)
    return Wholes(users, items, u[users] * v[items].prod(axis=1) + v[items].sum(axis=1))


def test_three_slots_and_a_product_of_all() -> None:
    wholes = three()
    model = fit_jima(None, None, Wholes(*(part[:1200] for part in wholes)))
    told = model.score(wholes.users[1200:], wholes.items[1200:])
    assert np.sqrt(((told - wholes.y[1200:]) ** 2).mean()) < 0.3 * wholes.y.std()


def test_the_same_seed_gives_the_same_model_and_strangers_get_the_mean() -> None:
    first, again = (fit_jima(None, None, three(200), 4) for _ in range(2))
    assert np.array_equal(first.items, again.items)
    items = np.tile(three(200).items[:1], (2, 1))
    assert np.isfinite(first.score(np.array([-1, 10**6]), items)).all()
    assert len(set(first.score(np.array([-1, 10**6]), items))) == 1


def wrong(**changed) -> dict:
    users, items, y = three(40)
    given = {"singles": None, "pairs": None, "wholes": Wholes(users, items, y)}
    return given | changed


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (wrong(wholes=Wholes(np.zeros(3, int), np.zeros((3, 1), int), np.zeros(3))), "two slots or more"),
        (wrong(wholes=Wholes(np.zeros(1, int), np.array([[0, 1]]), np.zeros(1))), "at least two wholes"),
        (wrong(wholes=Wholes(np.zeros(3, int), np.array([[0, 1]] * 3), np.zeros(2))), "of one length"),
        (wrong(wholes=Wholes(np.zeros(3, int), np.array([[0, 1]] * 3), np.full(3, np.nan))), "finite"),
        (wrong(wholes=Wholes(np.zeros(2, int), np.array([[0, 1], [1, 0]]), np.zeros(2))), "belongs to one slot"),
        (wrong(pairs=Pairs(np.array([-1]), np.array([2]), np.zeros(1))), "at least 0"),
        (wrong(singles=Singles(*(np.array([3]) for _ in range(3)), np.zeros(1))), "below the 3 of wholes"),
        (wrong(width=0), "width must be at least 1"),
    ],
)
def test_bad_feedback_gets_one_clear_line(given: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        fit_jima(**given)


def test_scores_are_refused_of_what_is_no_whole() -> None:
    model = fit_jima(None, None, three(40), 2)
    with pytest.raises(ValueError, match="shape"):
        model.score(np.zeros(2, int), np.zeros((2, 2), int))
    with pytest.raises(ValueError, match="items must be 0 to 17"):
        model.score(np.zeros(1, int), np.array([[0, 6, 99]]))
