"""Metrics, intervals and baselines against numbers worked out by hand."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import log_loss, roc_auc_score

from lerl.users.baselines import boosted_baseline, means_baseline, sequence_features
from lerl.users.evaluate import REFERENCE, as_json, calibration_error, draw, judge, weighted_auc
from lerl.users.events import Events


def log(
    users: list[int], items: list[int], clicks: list[int], training: list[int], categories: list[list[int]]
) -> Events:
    return Events(
        users=np.array(users),
        items=np.array(items),
        clicks=np.array(clicks, bool),
        kept=np.zeros(len(users), bool),
        training=np.array(training, bool),
        categories=np.array(categories, bool),
        item_vectors=np.zeros((len(categories), 2), np.float32),
    )


@pytest.fixture(scope="module")
def crowd() -> Events:
    """400 users, 100 of them held out, with 20 events each: more clicks of half of them, on every third item."""
    generator = np.random.default_rng(0)
    users = np.repeat(np.arange(400), 20)
    items = np.concatenate([generator.permutation(60)[:20] for _ in range(400)])
    chances = 0.2 + 0.3 * (users // 4 % 2 == 0) + 0.3 * (items % 3 == 0)
    events = log([], [], [], (np.arange(400) % 4 > 0).tolist(), [[1]] * 61)
    return replace(
        events, users=users, items=items, clicks=generator.random(8000) < chances, kept=generator.random(8000) < 0.2
    )


def test_auc_counts_pairs_ties_half() -> None:
    clicks, chances = np.array([0, 1, 0, 1], bool), np.array([0.1, 0.4, 0.4, 0.8])
    users, weights = np.array([0, 0, 1, 1]), np.array([[1, 1], [2, 1]])
    found = weighted_auc(clicks, chances, users, weights)
    # clicks at 0.4 and 0.8, others at 0.1 and 0.4: three pairs in order, one tied
    assert found[0] == pytest.approx(3.5 / 4)
    # the first user twice: clicks 2 at 0.4 and 1 at 0.8, others 2 at 0.1 and 1 at 0.4: (2 * (2 + 0.5) + 3) / (3 * 3)
    assert found[1] == pytest.approx(8 / 9)


def test_auc_of_a_draw_is_that_of_the_rows_it_repeats() -> None:
    generator = np.random.default_rng(1)
    users, clicks, chances = generator.integers(6, size=50), generator.random(50) < 0.4, generator.random(50).round(1)
    weights, order = generator.integers(0, 3, (1, 6)), np.argsort(chances)
    rows = np.repeat(np.arange(50), weights[0][users])
    found = weighted_auc(clicks[order], chances[order], users[order], weights)
    assert found[0] == pytest.approx(roc_auc_score(clicks[rows], chances[rows]))


def test_calibration_error_by_hand() -> None:
    counts, clicks, predicted = np.array([10.0, 30.0]), np.array([5.0, 6.0]), np.array([2.0, 6.0])
    # bin 1: (0.5 - 0.2)^2 - 0.5 * 0.5 / 9; bin 2: 0 - 0.2 * 0.8 / 29
    squared = 0.25 * (0.09 - 0.25 / 9) + 0.75 * (0 - 0.16 / 29)
    assert calibration_error(counts, clicks, predicted) == pytest.approx(np.sqrt(squared))
    assert calibration_error(counts, clicks, clicks) == 0.0


def test_calibration_error_does_not_mistake_noise_for_error() -> None:
    generator = np.random.default_rng(2)
    clicks = generator.binomial(50, 0.3, size=(2000, 15)).astype(float)
    counts, right, wrong = np.full((2000, 15), 50.0), np.full((2000, 15), 15.0), np.full((2000, 15), 20.0)
    assert calibration_error(counts, clicks, right).mean() < 0.02
    assert calibration_error(counts, clicks, right, noise=0.0).mean() == pytest.approx(0.064, abs=0.002)  # not debiased
    assert calibration_error(counts, clicks, wrong).mean() == pytest.approx(0.1, abs=0.005)


def test_what_was_known_before_an_event() -> None:
    events = log([0, 0, 0, 1, 1], [0, 1, 2, 0, 1], [1, 0, 1, 0, 1], [1, 0], [[1, 0], [1, 1], [0, 1]])
    assert events.place.tolist() == [0, 1, 2, 0, 1]
    assert events.clicked_before.tolist() == [0, 1, 1, 0, 0]
    features = sequence_features(events)
    last_one, last_five, in_category, alike = features[:, 5], features[:, 6], features[:, 8], features[:, 9]
    assert last_one[[1, 2, 4]].tolist() == [1, 0, 0]
    assert last_five[2] == 0.5
    assert alike.tolist() == [0, 1, 1, 0, 1]  # item 2 shares a category with item 1 alone
    assert in_category[[1, 2, 4]].tolist() == [1, 0, 0]
    assert np.isnan(features[[0, 3], 5]).all()


def test_an_item_mean_leaves_out_the_users_own_fold() -> None:
    users = np.arange(200)
    events = log(users.tolist(), [0] * 200, (users % 2).tolist(), [1] * 150 + [0] * 50, [[1]])
    seen, clicked = events.item_counts
    assert seen[150:].tolist() == [150] * 50  # a held-out user sees all training users
    assert clicked[150:].tolist() == [75] * 50
    own, rows = np.unique(150 - seen[:150], return_counts=True)
    assert len(own) > 1
    assert (rows % own == 0).all()  # a fold of n users is left out by each of its n users
    assert np.allclose(events.category_share[150:], (75 + 10 * 0.5) / 160)


def test_an_item_of_which_little_is_known_is_like_its_categories() -> None:
    """Held-out user 2; training users met item 0 twice and item 1 twice, in one category, clicked 3 of 4 times."""
    events = log(
        [0, 0, 1, 1, 2, 2], [0, 1, 0, 1, 0, 2], [1, 1, 1, 0, 1, 0], [1, 1, 0], [[1, 0], [1, 0], [1, 0], [0, 1]]
    )
    base = 3 / 4
    share = (3 + 10 * base) / (4 + 10)
    own = (2 + 10 * share) / (2 + 10)  # item 0 was clicked both times

    def odds(chance: float) -> float:
        return float(np.log(chance / (1 - chance)))

    assert events.features[4, 2:].tolist() == pytest.approx([odds(own), np.log(3)])
    assert events.features[5, 2:].tolist() == pytest.approx([odds(share), 0])  # nobody met item 2
    assert events.catalog_features[0].tolist() == pytest.approx([odds(own), np.log(3)])
    assert events.unmet[:, 0].tolist() == pytest.approx([odds(share)] * 3 + [odds(base)])  # nor anything like item 3
    assert events.running[4, 2:].tolist() == pytest.approx([odds((2 + 10 * base) / 12), np.log(3)])


def test_baselines_find_users_and_items(crowd: Events) -> None:
    held = ~crowd.to_train
    means, trees = means_baseline(crowd), boosted_baseline(crowd)
    for chances in (means, trees):
        assert roc_auc_score(crowd.clicks[held], chances[held]) > 0.68
        assert chances[held].mean() == pytest.approx(crowd.clicks[held].mean(), abs=0.02)
    hidden = means_baseline(crowd, hidden=True)
    assert 0.55 < roc_auc_score(crowd.clicks[held], hidden[held]) < 0.65  # the user alone is left
    changed = replace(crowd, clicks=np.where(held, ~crowd.clicks, crowd.clicks))
    first = held & (crowd.place == 0)
    assert np.array_equal(means_baseline(changed)[first], means[first])  # no held-out click is part of the fit


def test_a_judgement_is_what_scikit_learn_says_of_it(crowd: Events) -> None:
    chances = {REFERENCE: means_baseline(crowd), "mine": np.minimum(means_baseline(crowd) + 0.2, 0.99)}
    found = judge(crowd, ~crowd.to_train, chances, draws=200)
    everything = found.groups[0]
    held = ~crowd.to_train
    assert (everything.events, everything.users, everything.clicks) == (2000, 100, int(crowd.clicks[held].sum()))
    for score in everything.scores:
        values = chances[score.model][held]
        assert score.auc.value == pytest.approx(roc_auc_score(crowd.clicks[held], values))
        assert score.log_loss.value == pytest.approx(log_loss(crowd.clicks[held], values), rel=1e-4)
        assert score.auc.low < score.auc.value < score.auc.high
    mine = everything.scores[1]
    assert mine.gain.low <= 0.0 <= mine.gain.high < 0.001  # the order is the same but for ties at 0.99
    assert mine.calibration_error.value == pytest.approx(0.2, abs=0.03)
    assert mine.log_loss_gain.high < 0
    assert found.groups[1].name == "later time"
    assert found.groups[1].events == 300  # the last 3 of 20 events
    assert (found.groups[2].events, found.groups[2].scores) == (0, ())  # nobody met item 60


def test_first_time_items_are_those_that_no_training_user_met(crowd: Events) -> None:
    items = crowd.items.copy()
    own = np.flatnonzero(~crowd.to_train)[::10]
    items[own] = 60
    changed = replace(crowd, items=items)
    found = judge(changed, ~crowd.to_train, {REFERENCE: means_baseline(changed)}, draws=50)
    assert found.groups[2].events == len(own)


def test_the_interval_is_as_wide_as_users_differ(crowd: Events) -> None:
    """Each user's events ten times over are no more users: the interval stays, where one over events would shrink."""
    chances = means_baseline(crowd)
    once = judge(crowd, ~crowd.to_train, {REFERENCE: chances}, draws=400).groups[0].scores[0].auc
    rows = np.repeat(np.arange(len(crowd)), 10)
    many = replace(crowd, users=crowd.users[rows], items=crowd.items[rows], clicks=crowd.clicks[rows])
    tenfold = judge(many, ~many.to_train, {REFERENCE: chances[rows]}, draws=400).groups[0].scores[0].auc
    assert tenfold.high - tenfold.low == pytest.approx(once.high - once.low, rel=0.15)


def test_json_and_picture(crowd: Events, tmp_path: Path) -> None:
    found = judge(crowd, ~crowd.to_train, {REFERENCE: means_baseline(crowd), "mine": boosted_baseline(crowd)}, draws=50)
    written = json.loads(as_json(found, {"data": "crowd"}))
    assert written["groups"][0]["scores"][1]["model"] == "mine"
    assert len(written["curves"]["mine"]["predicted"]) == 15
    files = draw(found, "crowd", tmp_path / "calibration")
    assert [file.name for file in files] == ["calibration.png", "calibration.svg"]
    before = [file.read_bytes() for file in files]
    assert [file.read_bytes() for file in draw(found, "crowd", tmp_path / "calibration")] == before


def test_nobody_to_judge_by_is_said() -> None:
    events = log([0], [0], [1], [1], [[1]])
    chances: dict[str, NDArray[np.float64]] = {REFERENCE: np.array([0.5])}
    with pytest.raises(ValueError, match="no held-out user has an interaction"):
        judge(events, ~events.to_train, chances)
