"""Every metric against numbers worked out by hand, and what holds for any session."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lerl.report import metrics

# Items 0 and 1 are dramas, 2 is a comedy, 3 is both, 4 has no category; there is a third category without items.
MEMBERSHIP = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 0]], dtype=bool)
# 0 and 1 point the same way, 2 at a right angle, 3 half way between (45 degrees), 4 nowhere.
VECTORS = np.array([[1.0, 0.0], [5.0, 0.0], [0.0, 2.0], [1.0, 1.0], [0.0, 0.0]])


def test_length_and_rewards_of_a_session() -> None:
    rewards = [1.0, 0.5, 0.0, 0.5]
    assert metrics.t_int(rewards) == 4
    assert metrics.r_cum(rewards) == 2.0
    assert metrics.r_sin(rewards) == 0.5


def test_an_empty_session_has_no_reward_per_step() -> None:
    assert metrics.t_int([]) == 0
    assert metrics.r_cum([]) == 0.0
    assert math.isnan(metrics.r_sin([]))


def test_final_and_mean_satisfaction() -> None:
    assert metrics.satisfaction_final([0.9, 0.6, 0.3]) == 0.3
    assert metrics.satisfaction_mean([0.9, 0.6, 0.3]) == pytest.approx(0.6)
    assert math.isnan(metrics.satisfaction_final([]))
    assert math.isnan(metrics.satisfaction_mean([]))


def test_an_item_of_several_categories_counts_in_each() -> None:
    assert metrics.category_exposure([[0, 3], [0, -1]], MEMBERSHIP).tolist() == [3, 1, 0]


def test_category_coverage_is_a_share_of_all_categories() -> None:
    assert metrics.category_coverage([[0, 1]], MEMBERSHIP) == pytest.approx(1 / 3)
    assert metrics.category_coverage([[0], [3]], MEMBERSHIP) == pytest.approx(2 / 3)
    assert metrics.category_coverage([[-1, 4]], MEMBERSHIP) == 0.0


def test_category_entropy_in_bits() -> None:
    assert metrics.category_entropy([[0, 1]], MEMBERSHIP) == 0.0
    assert metrics.category_entropy([[0, 2]], MEMBERSHIP) == 1.0  # one and one
    # three dramas, one comedy: -(3/4) log2 (3/4) - (1/4) log2 (1/4) = 0.311278 + 0.5
    assert metrics.category_entropy([[0, 1], [3, -1]], MEMBERSHIP) == pytest.approx(0.811278, abs=1e-6)
    assert metrics.category_entropy([[-1]], MEMBERSHIP) == 0.0


def test_intra_list_distance_averages_pairs_then_slates() -> None:
    assert metrics.intra_list_distance([[0, 1]], VECTORS) == pytest.approx(0.0)  # length does not matter
    assert metrics.intra_list_distance([[0, 2]], VECTORS) == pytest.approx(1.0)
    # pairs (0, 2) 1, (0, 3) and (2, 3) 1 - 1 / sqrt 2 each
    three = (1.0 + 2 * (1.0 - math.sqrt(0.5))) / 3
    assert metrics.intra_list_distance([[0, 2, 3]], VECTORS) == pytest.approx(three)
    assert metrics.intra_list_distance([[0, 2, 3], [0, 1, -1]], VECTORS) == pytest.approx(three / 2)


def test_a_slate_of_one_item_has_distance_zero() -> None:
    assert metrics.intra_list_distance([[0], [2]], VECTORS) == 0.0
    assert metrics.intra_list_distance([[0, 2], [0, -1]], VECTORS) == pytest.approx(0.5)


def test_an_item_without_direction_is_at_distance_one() -> None:
    assert metrics.intra_list_distance([[0, 4]], VECTORS) == pytest.approx(1.0)
    assert metrics.intra_list_distance([[4, 4]], VECTORS) == pytest.approx(1.0)


def test_opposite_items_are_at_distance_two() -> None:
    assert metrics.intra_list_distance([[0, 1]], [[1.0, 0.0], [-3.0, 0.0]]) == pytest.approx(2.0)


def test_distance_needs_a_slate() -> None:
    assert math.isnan(metrics.intra_list_distance([[-1, -1]], VECTORS))
    assert math.isnan(metrics.intra_list_distance(np.empty((0, 3), dtype=int), VECTORS))


def test_slate_overlap_is_the_jaccard_index_of_neighbours() -> None:
    # {drama} {drama, comedy} {comedy}: 1/2 and 1/2
    assert metrics.slate_overlap([[0], [3], [2]], MEMBERSHIP) == pytest.approx(0.5)
    # {drama} {drama} {comedy}: 1 and 0
    assert metrics.slate_overlap([[0, -1], [1, -1], [2, -1]], MEMBERSHIP) == pytest.approx(0.5)
    assert metrics.slate_overlap([[0], [1]], MEMBERSHIP) == 1.0


def test_overlap_needs_two_slates_with_a_category() -> None:
    assert math.isnan(metrics.slate_overlap([[0, 2]], MEMBERSHIP))
    assert math.isnan(metrics.slate_overlap([[4], [4]], MEMBERSHIP))


@given(st.lists(st.lists(st.integers(-1, 4), min_size=3, max_size=3), min_size=1, max_size=6), st.integers(0, 3))
def test_padding_a_session_changes_nothing_and_ranges_hold(slates: list[list[int]], padding: int) -> None:
    padded = slates + [[-1, -1, -1]] * padding
    for metric, table, highest in (
        (metrics.category_coverage, MEMBERSHIP, 1.0),
        (metrics.category_entropy, MEMBERSHIP, math.log2(3)),
        (metrics.slate_overlap, MEMBERSHIP, 1.0),
        (metrics.intra_list_distance, VECTORS, 2.0),
    ):
        value = metric(slates, table)
        assert math.isnan(value) or 0.0 <= value <= highest
        np.testing.assert_equal(metric(padded, table), value)


@given(st.lists(st.lists(st.integers(0, 4), min_size=2, max_size=4), min_size=1, max_size=1))
def test_distance_is_that_of_all_pairs(slates: list[list[int]]) -> None:
    lengths = np.linalg.norm(VECTORS, axis=1)
    units = VECTORS / np.where(lengths > 0, lengths, 1.0)[:, None]
    pairs = [1.0 - units[a] @ units[b] for i, a in enumerate(slates[0]) for b in slates[0][i + 1 :]]
    assert metrics.intra_list_distance(slates, VECTORS) == pytest.approx(np.mean(pairs), abs=1e-12)


def test_catalog_coverage_counts_items_never_shown() -> None:
    assert metrics.catalog_coverage([3, 0, 1, 0]) == 0.5
    assert metrics.catalog_coverage([3, 1], n_items=8) == 0.25


def test_gini_of_exposure() -> None:
    assert metrics.gini([2, 2, 2, 2]) == 0.0
    assert metrics.gini([0, 0, 0, 7]) == 0.75  # (I - 1) / I
    # 1 2 3 4: (-3 * 1 - 1 * 2 + 1 * 3 + 3 * 4) / (4 * 10) = 10 / 40
    assert metrics.gini([4, 2, 1, 3]) == 0.25
    assert math.isnan(metrics.gini([0, 0]))


def test_gini_includes_items_that_are_not_in_the_counts() -> None:
    # 0 0 1 3: (1 * 1 + 3 * 3) / (4 * 4)
    assert metrics.gini([3, 1], n_items=4) == 0.625
    assert metrics.gini([3, 1], n_items=4) == metrics.gini([0, 3, 0, 1])


def test_normalised_is_zero_at_random_and_one_at_privileged() -> None:
    assert metrics.normalised([2.0, 10.0, 4.0, 1.0], 2.0, 10.0).tolist() == [0.0, 1.0, 0.25, -0.125]


def test_normalised_needs_room_above_random() -> None:
    assert np.isnan(metrics.normalised([5.0, 6.0], [5.0, 7.0], [5.0, 6.0])).all()


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(T, k\), given int64 of shape \(3,\)"):
        metrics.category_coverage([0, 1, 2], MEMBERSHIP)
    with pytest.raises(ValueError, match="whole numbers"):
        metrics.intra_list_distance([[0.5, 1.0]], VECTORS)
    with pytest.raises(ValueError, match=r"rewards must hold one number per step, shape \(T,\), given shape \(1, 2\)"):
        metrics.r_cum([[1.0, 2.0]])


def test_counts_that_no_catalog_can_have_are_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        metrics.gini([1, -1])
    with pytest.raises(ValueError, match=r"n_items must be at least 1 and the number of counts \(3\), given 2"):
        metrics.catalog_coverage([1, 2, 3], n_items=2)


def test_twenty_thousand_sessions_take_seconds() -> None:
    rng = np.random.default_rng(0)
    membership, vectors = rng.random((3000, 20)) < 0.1, rng.normal(size=(3000, 32))
    slates = rng.integers(-1, 3000, size=(30, 6))
    rounds = []
    for _ in range(5):
        start = time.process_time()
        for _ in range(100):
            metrics.category_coverage(slates, membership)
            metrics.category_entropy(slates, membership)
            metrics.slate_overlap(slates, membership)
            metrics.intra_list_distance(slates, vectors)
        rounds.append(time.process_time() - start)
    assert min(rounds) * 200 < 20.0  # it is 4 to 6 s; the rest is for a busy machine
