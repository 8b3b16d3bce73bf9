"""Retrieval is exact: what NumPy finds by sorting everything, item for item."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from lerl.agents.mmr import diverse_items
from lerl.agents.retrieval import CACHED, ItemIndex
from lerl.envs.catalog import Axis

Case = tuple[Any, ...]


def top_items(queries: Any, vectors: Any, groups: Any, *rest: Any) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Slates, and whether plans were widened, by an index that is made for this once."""
    return ItemIndex(vectors, groups).top(queries, *rest)


def brute(
    query: Any, vectors: Any, member: Any, allowed: Any, avoid: Any, shown: Any, k: int
) -> tuple[list[int], bool]:
    """One session's slate by sorting: best score first, then the lower number; and whether the plan was widened."""
    scores = vectors.astype(np.float64) @ query.astype(np.float64)
    left = [item for item in np.lexsort((np.arange(len(scores)), -scores)).tolist() if item not in shown]
    wanted = (member & allowed).any(axis=1)
    eligible = wanted & ~(member & avoid).any(axis=1)
    slate: list[int] = []
    for level in (eligible, wanted, np.ones(len(scores), bool)):
        slate += [item for item in left if level[item] and item not in slate][: k - len(slate)]
    return slate + [-1] * (k - len(slate)), sum(eligible[item] for item in left) < k


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """A catalog with ties (whole-numbered vectors, so that sums are exact), plans and what was shown."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    users, categories = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    items = draw(st.integers(1, 25) | st.integers(100, 400))  # a few tiles, or several to a category
    member = rng.random((items, categories)) < draw(st.sampled_from([0.2, 0.5]))
    member[np.arange(items), rng.integers(categories, size=items)] = True
    allowed = rng.random((users, categories)) < draw(st.sampled_from([0.2, 0.6]))
    avoid = rng.random((users, categories)) < draw(st.sampled_from([0.0, 0.3, 0.8]))
    shown = np.where(rng.random((users, items)) < 0.3, rng.permuted(np.tile(np.arange(items), (users, 1)), axis=1), -1)
    queries = rng.integers(-2, 3, (users, 2)).astype(np.float32)
    vectors = rng.integers(-3, 4, (items, 2)).astype(np.float32)
    vectors[:, 1] *= draw(st.sampled_from([1, 100]))  # many ties, or fewer
    return queries, vectors, member, allowed, avoid, shown.astype(np.int32), draw(st.integers(1, 6))


def found(case: Case) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    queries, vectors, member, allowed, avoid, shown, k = case
    groups = Axis(tuple("abcd"[: member.shape[1]]), member).groups
    return top_items(queries, vectors, groups, allowed, avoid, shown, k)


@given(cases())
def test_top_items_are_those_that_sorting_finds(case: Case):
    queries, vectors, member, allowed, avoid, shown, k = case
    slates, widened = found(case)
    for row in range(len(queries)):
        expected = brute(queries[row], vectors, member, allowed[row], avoid[row], set(shown[row].tolist()), k)
        assert (slates[row].tolist(), bool(widened[row])) == expected


@given(cases())
def test_no_slate_repeats_and_no_plan_is_overstepped_unless_widened(case: Case):
    _, _, member, allowed, avoid, shown, _ = case
    slates, widened = found(case)
    for row, slate in enumerate(slates):
        items = slate[slate >= 0].tolist()
        assert len(set(items)) == len(items)
        assert not set(items) & set(shown[row].tolist())
        if not widened[row]:
            assert (member[items] & allowed[row]).any(axis=1).all()
            assert not (member[items] & avoid[row]).any()


def test_a_batch_equals_single_calls_bit_for_bit():
    rng = np.random.default_rng(5)
    queries, vectors = rng.normal(size=(30, 16)).astype(np.float32), rng.normal(size=(200, 16)).astype(np.float32)
    groups = rng.integers(6, size=(200, 1)).astype(np.int32)
    allowed, avoid = rng.random((30, 6)) < 0.5, rng.random((30, 6)) < 0.2
    shown = rng.integers(200, size=(30, 40)).astype(np.int32)
    slates, widened = top_items(queries, vectors, groups, allowed, avoid, shown, 5)
    for row in range(30):
        one = slice(row, row + 1)
        alone, alone_widened = top_items(queries[one], vectors, groups, allowed[one], avoid[one], shown[one], 5)
        np.testing.assert_array_equal(alone[0], slates[row])
        assert alone_widened[0] == widened[row]


VECTORS = np.array([[4.0], [3.0], [-5.0], [-6.0], [-7.0]], np.float32)  # items 0 and 1 in category 0, the others in 1
GROUPS = np.array([[0], [0], [1], [1], [1]], np.int32)
NOTHING = np.full((1, 1), -1, np.int32)


@pytest.mark.parametrize(
    ("allowed", "avoid", "k", "slate", "widened"),
    [
        ([False, True], [False, False], 3, [2, 3, 4], False),  # the excluded score higher, and stay out
        ([False, True], [False, False], 4, [2, 3, 4, 0], True),  # `allowed` is lifted for what is missing only
        ([True, True], [True, False], 4, [2, 3, 4, 0], True),  # `avoid` is lifted
        ([True, False], [True, False], 3, [0, 1, 2], True),  # first `avoid`, and then `allowed`
    ],
)
def test_a_plan_is_kept_whatever_scores_better_and_widened_in_order(
    allowed: list[bool], avoid: list[bool], k: int, slate: list[int], widened: bool
):
    one = np.ones((1, 1), np.float32)
    got = top_items(one, VECTORS, GROUPS, np.array([allowed]), np.array([avoid]), NOTHING, k)
    assert (got[0][0].tolist(), bool(got[1][0])) == (slate, widened)


def test_an_item_of_an_allowed_and_an_avoided_category_is_not_shown():
    groups = np.array([[0, 1], [0, -1]], np.int32)
    both = np.array([[True, False]]), np.array([[False, True]])
    slates, widened = top_items(np.ones((1, 1), np.float32), VECTORS[:2], groups, *both, NOTHING, 1)
    assert slates.tolist() == [[1]]
    assert not widened[0]


def test_many_good_items_of_an_avoided_category_hide_no_others():
    vectors = np.arange(64, 0, -1, dtype=np.float32)[:, None]
    groups = np.array([[0, 1 if item < 20 else -1] for item in range(64)], np.int32)
    both = np.array([[True, False]]), np.array([[False, True]])
    slates, widened = top_items(np.ones((1, 1), np.float32), vectors, groups, *both, NOTHING, 3)
    assert slates.tolist() == [[20, 21, 22]]
    assert not widened[0]


def test_items_without_a_category_are_of_no_plan_even_where_the_last_category_is_empty():
    groups, plan = np.array([[0, -1], [-1, -1]], np.int32), np.array([[True, True]])  # category 1 has no items
    vectors = np.array([[1.0], [2.0]], np.float32)
    slates, widened = top_items(np.ones((1, 1), np.float32), vectors, groups, plan, ~plan, NOTHING, 1)
    assert (slates.tolist(), widened.tolist()) == ([[0]], [False])
    slates, widened = top_items(np.ones((1, 1), np.float32), vectors, groups, plan, ~plan, NOTHING, 2)
    assert (slates.tolist(), widened.tolist()) == ([[0, 1]], [True])


def test_where_not_all_items_stay_in_the_cache_it_finds_the_same():
    rng = np.random.default_rng(4)
    vectors, users = rng.normal(size=(13_000, 17)).astype(np.float32), 40
    groups = rng.integers(6, size=(13_000, 2)).astype(np.int32)
    groups[(rng.random(13_000) < 0.5) | (groups[:, 0] == groups[:, 1]), 1] = -1
    queries, shown = rng.normal(size=(users, 17)).astype(np.float32), rng.integers(-1, 13_000, (users, 30))
    allowed, avoid = rng.random((users, 6)) < 0.4, rng.random((users, 6)) < 0.1
    allowed[:, 0] |= ~allowed.any(axis=1)
    member = (groups[:, :, None] == np.arange(6)).any(axis=1)
    assert ItemIndex(vectors, groups).tiles.vectors.size > CACHED
    slates, widened = top_items(queries, vectors, groups, allowed, avoid, shown.astype(np.int32), 6)
    for row in range(users):
        plan = member, allowed[row], avoid[row], set(shown[row].tolist())
        assert (slates[row].tolist(), bool(widened[row])) == brute(queries[row], vectors, *plan, 6)


def test_where_the_padding_begins_may_be_said():
    rng = np.random.default_rng(3)
    vectors, groups = rng.normal(size=(60, 2)).astype(np.float32), rng.integers(3, size=(60, 1)).astype(np.int32)
    index, queries = ItemIndex(vectors, groups), rng.normal(size=(4, 2)).astype(np.float32)
    plans, shown, ends = np.ones((4, 3), bool), np.full((4, 30), -1, np.int32), np.array([0, 6, 12, 30])
    for row, end in enumerate(ends):
        shown[row, :end] = rng.permutation(60)[:end]
    shown[2, 4] = -1  # a slot that stayed empty
    said, _ = index.top(queries, plans, ~plans, shown, 5, ends)
    np.testing.assert_array_equal(said, index.top(queries, plans, ~plans, shown, 5)[0])


def test_a_catalog_that_is_used_up_leaves_slots_empty():
    shown = np.array([[0, 1, 4]], np.int32)
    every = np.ones((1, 2), bool)
    slates, _ = top_items(np.ones((1, 1), np.float32), VECTORS, GROUPS, every, ~every, shown, 4)
    assert slates.tolist() == [[2, 3, -1, -1]]


def test_maximal_marginal_relevance_by_hand():
    # Scores 3, 2.5, 1; items 0 and 1 point the same way, item 2 across. With weight 2, after item 0: item 1 has
    # 2.5 - 2 * 1 = 0.5 and item 2 has 1 - 2 * 0 = 1, so 2 is next. With weight 1: 1.5 beats 1.
    vectors, units = np.array([[3.0], [2.5], [1.0]], np.float32), np.array([[1, 0], [1, 0], [0, 1]], np.float32)
    one = np.ones((1, 1), np.float32)
    for weight, slate in ((0.0, [0, 1, 2]), (1.0, [0, 1, 2]), (2.0, [0, 2, 1])):
        assert diverse_items(one, vectors, units, NOTHING, 3, weight).tolist() == [slate]
    assert diverse_items(one, vectors, units, np.array([[0]], np.int32), 3, 2.0).tolist() == [[1, 2, -1]]
    planned = np.array([[False, True, True]])
    assert diverse_items(one, vectors, units, NOTHING, 3, 2.0, planned).tolist() == [[1, 2, -1]]


def test_without_a_weight_re_ranking_is_top_k():
    rng = np.random.default_rng(2)
    queries, vectors = rng.normal(size=(8, 4)).astype(np.float32), rng.normal(size=(50, 4)).astype(np.float32)
    shown, every = rng.integers(-1, 50, (8, 10)).astype(np.int32), np.ones((8, 1), bool)
    plain, _ = top_items(queries, vectors, np.zeros((50, 1), np.int32), every, ~every, shown, 6)
    np.testing.assert_array_equal(diverse_items(queries, vectors, vectors, shown, 6, 0.0), plain)
