"""The catalog: items, titles and groups that do not fit together are refused."""

import numpy as np
import pytest

from lerl.envs.catalog import Axis, Catalog

TWO = Axis(("Drama", "War"), np.array([[True, False], [True, True]]))


def test_a_catalog_is_as_long_as_its_items():
    assert len(Catalog(("10", "20"), ("Heat", "Ran"), TWO)) == 2


def test_rows_that_do_not_match_are_refused():
    with pytest.raises(ValueError, match=r"one row per item, given \(2, 1, 2\) rows"):
        Catalog(("10", "20"), ("Heat",), TWO)


def test_names_that_do_not_match_the_groups_are_refused():
    with pytest.raises(ValueError, match=r"membership must be \(items, 1\) for 1 names, given .* shape \(2, 2\)"):
        Axis(("Drama",), TWO.membership)


def test_an_item_without_a_group_is_named():
    with pytest.raises(ValueError, match=r"item 1 has none \(1 such items\); put such items into a group of their own"):
        Axis(("Drama", "War"), np.array([[True, False], [False, False]]))


def test_groups_are_listed_in_order_and_padded():
    axis = Axis(tuple("abc"), np.array([[False, True, True], [True, False, False], [False, False, True]]))
    assert axis.groups.tolist() == [[1, 2], [0, -1], [2, -1]]


def test_nobody_can_regroup_the_items_for_the_others():
    for array in (TWO.membership, TWO.groups):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
