"""Statistics of sequences against numbers worked out by hand."""

from typing import Any

import numpy as np
import pytest

from lerl.envs.fitting.statistics import (
    Background,
    Sequences,
    Statistics,
    item_effects,
    main_categories,
    recent_share,
    recent_views,
    side,
)

NAN = float("nan")


def sequences(*users: tuple[list[int], list[float]], times: Any = None) -> Sequences:
    """Of each user the items and the clicks."""
    lengths = [len(items) for items, _ in users]
    items = np.concatenate([items for items, _ in users]).astype(np.int64)
    clicks = np.concatenate([clicks for _, clicks in users]).astype(np.float64)
    known = np.full(len(items), NAN) if times is None else np.array(times, np.float64)
    return Sequences(np.repeat(np.arange(len(users)), lengths), items, clicks, known)


def background(main: list[int], effects: list[float] | None = None) -> Background:
    return Background(np.array(main, np.int64), np.array(effects or [0.0] * len(main)), np.zeros(len(main)))


def of(events: Sequences, known: Background, name: str, **given: Any) -> float:
    return float(Statistics(events, known, **given).of()[name][0])


def test_the_main_category_is_the_one_met_least_often():
    membership = np.array([[True, True], [True, False], [True, False]])
    assert main_categories(membership, np.array([0, 1, 2, 2])).tolist() == [1, 0, 0]


def test_item_effects_are_drawn_to_nothing():
    # clicks 1, 1, 0, 0 with mean 0.5: item 0 has + 0.5 twice, item 1 - 0.5 twice, each beside 2 more at 0
    effects = item_effects(np.array([0, 0, 1, 1]), np.array([1.0, 1.0, 0.0, 0.0]), 3, prior=2.0)
    assert effects.tolist() == [0.25, -0.25, 0.0]


def test_same_category_is_compared_with_a_shuffle():
    events = sequences(([0, 0, 1, 1], [0, 1, 0, 1]))
    # pairs at lag 1: same, different, same; of all pairs (2 * 1 + 2 * 1) / (4 * 3) = 1/3 are the same
    assert of(events, background([0, 1]), "same category at lag 1 over shuffled") == pytest.approx((2 / 3) / (1 / 3))
    assert of(events, background([0, 1]), "same category at lag 2 over shuffled") == 0.0


def test_effective_categories_count_what_is_met_equally_often():
    events = sequences(([0, 1, 2, 3], [0, 1, 0, 1]), ([0, 0, 0, 0], [0, 1, 0, 1]))
    assert of(events, background([0, 1, 2, 3]), "effective categories per user") == pytest.approx((4 + 1) / 2)


def test_popularity():
    events = sequences(([0, 0, 0, 1], [0, 1, 0, 1]))
    known = background([0] * 10)
    # ten items with counts 0 (8 times), 1 and 3: Gini = 2 * (9 * 1 + 10 * 3) / (10 * 4) - 11 / 10
    assert of(events, known, "item Gini") == pytest.approx(0.85)
    assert of(events, known, "share of the top 10 % of items") == 0.75


def test_drift_is_the_divergence_of_windows():
    events = sequences(([0] * 10 + [1] * 10, [0, 1] * 10), ([0] * 20, [0, 1] * 10))
    assert of(events, background([0, 1]), "drift at lag 1") == pytest.approx((1.0 + 0.0) / 2)


def test_residuals_are_free_of_users_and_items():
    events = sequences(([0, 0, 0, 0], [1, 1, 0, 0]))
    # residuals 0.5, 0.5, -0.5, -0.5; products at lag 1: 0.25, -0.25, 0.25, squares 4 * 0.25 * 3 / 4
    assert of(events, background([0]), "residual autocorrelation at lag 1") == pytest.approx(0.25 / 0.75)
    events = sequences(([0, 0, 0, 0], [1, 1, 0, 0]), ([0, 0, 0, 0], [1, 1, 1, 1]))
    assert of(events, background([0]), "base rate") == 0.75
    assert of(events, background([0]), "spread of users' rates") == 0.25
    alike = sequences(([0, 1, 0, 1], [0.75, 0.25, 0.75, 0.25]))
    assert of(alike, background([0, 0], [0.25, -0.25]), "user-by-category lift") == pytest.approx(0.0)


def test_lift_is_what_pairs_of_the_same_user_and_category_share():
    events = sequences(([0, 0, 1, 1], [1, 1, 0, 0]))
    # residuals 0.5, 0.5, -0.5, -0.5: the one pair of each category has the product 0.25
    assert of(events, background([0, 1]), "user-by-category lift") == pytest.approx(0.25)


def test_recent_share_and_views():
    main, places = np.array([0, 0, 1, 0, 0]), np.array([0, 1, 2, 3, 0])
    assert recent_share(main, places, 2).tolist() == [0.0, 1.0, 0.0, 0.5, 0.0]
    times = np.array([0.0, 100.0, 1900.0, 1901.0, 0.0])
    assert recent_views(times, places).tolist() == [0.0, 1.0, 1.0, 1.0, 0.0]


def test_a_slope_is_found_again():
    rng = np.random.default_rng(0)
    items = rng.integers(0, 4, 4000)
    users = [(items[:2000].tolist(), [0.0] * 2000), (items[2000:].tolist(), [0.0] * 2000)]
    events = sequences(*users)
    share = recent_share(items % 2, events.places)
    events = Sequences(events.users, events.items, 0.5 - 0.3 * share, events.times)
    found = of(events, background([0, 1, 0, 1]), "slope on the recent share of the category")
    assert found == pytest.approx(-0.3, abs=0.01)


def test_a_day_is_followed_by_another():
    day = 86_400.0
    events = sequences(([0, 0, 0], [0, 1, 0]), ([0, 0], [1, 0]), times=[0, day, 4 * day, 2 * day, 3 * day])
    # days 0, 1, 4 and 2, 3; the log's last day, 4, says nothing: of 0, 1, 2 and 3 two are followed
    assert of(events, background([0]), "return on the next day") == 0.5


def test_what_is_not_known_is_left_out():
    names = Statistics(sequences(([0, 0, 0], [0, 1, 0])), background([0])).of()
    assert not {"return on the next day", "slope on views in the last half hour", "drift at lag 1"} & set(names)
    assert side("drift at lag 1") == side("item Gini") == "exposure"
    assert side("base rate") == side("user-by-category lift") == "response"


def test_intervals_hold_the_truth_as_often_as_they_say():
    held = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        rate = rng.beta(4, 4, 150)
        users = [([0] * 20, (rng.random(20) < chance).astype(float).tolist()) for chance in rate]
        _, low, high = Statistics(sequences(*users), background([0])).intervals(200, seed)["base rate"]
        held.append(low <= 0.5 <= high)
    assert np.mean(held) > 0.85
