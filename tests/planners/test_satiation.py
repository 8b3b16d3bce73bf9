"""What tires is learned from feedback alone, and given from what is not liked."""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from lerl.planners.base import PlanContexts, Sessions
from lerl.planners.satiation import Satiation, Tiredness, fit_satiation, tiredness

MakeContexts = Callable[..., PlanContexts]
C, K, STEPS = 4, 3, 24


def sessions_of(weights: NDArray[np.float64], constant: float, count: int = 700) -> Sessions:
    """Sessions in which a category keeps coming for a while, with clicks drawn from a known satiation."""
    draw = np.random.default_rng(3)
    membership = np.eye(C, dtype=bool)[np.arange(40) % C]
    keep = math.exp(-1 / constant)
    exposure, theme = np.zeros((count, C)), draw.integers(C, size=count)
    items = np.zeros((count, STEPS, K), np.int32)
    feedback, estimates = np.zeros(items.shape, np.float32), np.zeros(items.shape, np.float32)
    for step in range(STEPS):
        theme = np.where(draw.random(count) < 0.3, draw.integers(C, size=count), theme)
        category = np.where(draw.random((count, K)) < 0.7, theme[:, None], draw.integers(C, size=(count, K)))
        items[:, step] = category + C * draw.integers(10, size=(count, K))
        promise = draw.normal(size=(count, K)) + 0.5 * (category == 0)  # category 0 is liked more
        tired = np.take_along_axis(exposure @ weights.T, category, axis=1)
        estimates[:, step] = 1 / (1 + np.exp(-promise))
        feedback[:, step] = draw.random((count, K)) < 1 / (1 + np.exp(-(0.3 + 0.8 * promise - tired)))
        exposure = keep * (exposure + (category[..., None] == np.arange(C)).mean(axis=1))
    lengths = draw.integers(STEPS // 2, STEPS + 1, size=count)
    gone = np.arange(STEPS) >= lengths[:, None]
    items[gone], feedback[gone] = -1, -1
    return Sessions(tuple("abcd"), membership, items, feedback, estimates, np.arange(len(items), dtype=np.uint64))


@pytest.mark.parametrize("constant", [3.0, 12.0])
def test_time_constant_weights_and_calibration_are_recovered(constant: float):
    learned = fit_satiation(sessions_of(0.7 * np.eye(C), constant))
    assert learned.keep == pytest.approx(math.exp(-1 / constant))
    np.testing.assert_allclose(np.diag(learned.weights), 0.7, atol=0.15)
    np.testing.assert_allclose(learned.weights[~np.eye(C, dtype=bool)], 0, atol=0.15)
    assert learned.intercept == pytest.approx(0.3, abs=0.12)
    assert learned.slope == pytest.approx(0.8, abs=0.08)


def test_of_many_sessions_the_newest_are_used(monkeypatch: pytest.MonkeyPatch):
    sessions = sessions_of(0.7 * np.eye(C), 3.0)
    monkeypatch.setattr("lerl.planners.satiation.MOST", 200)
    parts = {name: getattr(sessions, name)[-200:] for name in ("items", "feedback", "estimates", "keys")}
    learned, newest = fit_satiation(sessions), fit_satiation(dataclasses.replace(sessions, **parts))
    assert (learned.weights == newest.weights).all()
    assert learned.keep == newest.keep


def test_which_category_tires_which_is_learned_in_its_direction():
    weights = 0.5 * np.eye(C)
    weights[1, 0] = 0.8  # category 0 tires category 1, not the other way round
    learned = fit_satiation(sessions_of(weights, 5.0, 1500)).weights
    assert learned[1, 0] > 0.5
    assert learned[0, 1] < 0.2


def test_taste_alone_is_not_taken_for_boredom():
    learned = fit_satiation(sessions_of(np.zeros((C, C)), 5.0))
    np.testing.assert_allclose(learned.weights, 0, atol=0.12)


def test_tiredness_and_surplus_by_hand(contexts: MakeContexts):
    # Item 0 is in category 0, item 1 in both; k = 2; slates (0, none) and (0, 1), all promised a half.
    items, feedback = [[-1, -1, 0, -1, 0, 1]], [[-1, -1, 1, -1, 0, 1]]
    hand = contexts([[0.5, 0.5]], slate_size=2, membership=[[1, 0], [1, 1]], items=items, feedback=feedback)
    weights = np.array([[0.4, 0.2], [0.0, 1.0]])
    tired, surplus, spread = tiredness(hand, Satiation(0.0, 1.0, weights, 0.5))
    # Exposure: (0.5, 0) * 0.5 = (0.25, 0), then ((0.25, 0) + (1, 0.5)) * 0.5 = (0.625, 0.25).
    np.testing.assert_allclose(tired, [[0.4 * 0.625 + 0.2 * 0.25, 0.25]])
    # Chances: a half; then tiredness (0.1, 0), so item 0 has log-odds -0.1 and item 1, in both, -0.05.
    first, second, third = 0.5, 1 / (1 + math.exp(0.1)), 1 / (1 + math.exp(0.05))
    information = 4 + first * (1 - first) + second * (1 - second) + third * (1 - third)
    gain = (1 - first) + (0 - second) + (1 - third)
    np.testing.assert_allclose(surplus, [[gain / information, (1 - third) / (4 + third * (1 - third))]])
    np.testing.assert_allclose(spread[0, 0], 1 / math.sqrt(information))


def test_a_session_that_has_not_begun_is_not_tired(contexts: MakeContexts):
    tired, surplus, spread = tiredness(contexts([[0.5] * 3]), Satiation.assumed(3))
    assert not tired.any()
    assert not surplus.any()
    np.testing.assert_allclose(spread, 0.5)  # the prior's


def test_going_over_new_slates_alone_gives_the_same_bits(contexts: MakeContexts):
    draw = np.random.default_rng(0)
    model, running = Satiation(0.1, 0.9, draw.normal(size=(3, 3)), 0.8), Tiredness()
    items, feedback = draw.integers(-1, 3, (5, 24)), draw.integers(2, size=(5, 24))
    every = contexts([[0.5] * 3] * 5, slate_size=2, items=items, feedback=np.where(items < 0, -1, feedback))
    windows = [*range(2, 13, 2), 12, *range(14, 25, 2), 4, 6, 10]  # where a window of 12 slots ends; it goes back, too
    for end in windows:
        seen = {
            name: np.concatenate([np.full((5, 12), empty, values.dtype), values[:, :end]], axis=1)[:, -12:]
            for name, empty in (("recent_items", -1), ("recent_feedback", -1), ("recent_estimates", 0))
            for values in (getattr(every, name),)
        }
        now = dataclasses.replace(every, session_key=np.arange(5, dtype=np.uint64), **seen)
        for one, other in zip(running.of(now, model), tiredness(now, model), strict=True):
            np.testing.assert_array_equal(one, other)


def test_another_catalog_is_not_taken_for_the_last_one(contexts: MakeContexts):
    one = contexts([[0.5, 0.5]], membership=[[1, 0], [0, 1]], items=[[0]], feedback=[[1]])
    other = contexts([[0.5, 0.5]], membership=[[0, 1], [1, 0]], items=[[0]], feedback=[[1]])
    assert tiredness(one, Satiation.assumed(2))[0].argmax() == 0
    assert tiredness(other, Satiation.assumed(2))[0].argmax() == 1
    assert tiredness(one, Satiation.assumed(2))[0].argmax() == 0
