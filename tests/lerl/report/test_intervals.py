"""Which interval is given when, and that it holds the truth as often as it says."""

import numpy as np
import pytest
from scipy.stats import t

from lerl.report.intervals import bootstrap_weights, estimate_text, intervals, mean_interval, weighted_means


@pytest.mark.parametrize(("seeds", "of_seeds"), [(5, 1.0), (5, 0.01), (2, 1.0)])
def test_intervals_hold_the_truth_as_often_as_they_say(seeds: int, of_seeds: float):
    draw, users, inside = np.random.default_rng(0), 40, 0
    for _ in range(400):
        values = draw.normal(0, 0.5, (1, users, 1)) + draw.normal(0, of_seeds, (1, 1, seeds))
        values = values + draw.normal(0, 0.1, (1, users, seeds))
        weights = bootstrap_weights(users, seeds, 200, np.random.default_rng(0))
        (found,) = intervals([weighted_means(values, one) for one in weights], users, seeds)
        assert found["low"] is not None
        assert found["high"] is not None
        inside += found["low"] <= 0 <= found["high"]
    assert inside / 400 >= 0.92  # three standard errors below 0.95; percentiles of five seeds have 0.84


def test_of_one_seed_they_are_percentiles_of_a_bootstrap_over_users():
    values = np.random.default_rng(1).gamma(2.0, 3.0, 200)
    found = mean_interval(values, 4000)
    draws = np.random.default_rng(2).choice(values, (4000, 200)).mean(axis=1)
    assert found["mean"] == pytest.approx(values.mean())
    assert [found["low"], found["high"]] == pytest.approx(np.percentile(draws, [2.5, 97.5]), abs=0.05)


def test_they_hold_the_mean_and_shrink_with_users():
    assert estimate_text(mean_interval(np.full(9, 2.0), 100), 2) == "2.00 [2.00, 2.00]"
    few, many = (mean_interval(np.tile([0.0, 1.0], count), 400) for count in (8, 800))
    assert few["low"] < 0.35 < 0.65 < few["high"]  # 0.5 -+ 1.96 * 0.5 / 4
    assert 0.46 < many["low"] < 0.49 < 0.51 < many["high"] < 0.54


def test_where_only_seeds_differ_they_are_students_of_seeds():
    values = np.tile([1.0, 2.0, 6.0], (1, 30, 1))  # mean 3, deviations -2, -1, 3: variance 14 / 2
    weights = bootstrap_weights(30, 3, 20_000, np.random.default_rng(0))
    (found,) = intervals([weighted_means(values, one) for one in weights], 30, 3)
    half = t.ppf(0.975, 2) * np.sqrt(7 / 3)
    assert [found["mean"], found["low"], found["high"]] == pytest.approx([3.0, 3 - half, 3 + half], rel=0.02)


def test_what_is_not_defined_is_printed_as_such():
    (found,) = intervals([np.array([[1.0], [np.nan]])], 2, 1)
    assert found == {"mean": 1.0, "low": None, "high": None}
    assert estimate_text(found, 2) == "1.00 [n/a]"
    assert estimate_text({"mean": None, "low": None, "high": None}, 2) == "n/a"
    assert estimate_text({"mean": 1.0, "low": -0.5, "high": 2.5}, 1, "+") == "+1.0 [-0.5, +2.5]"
