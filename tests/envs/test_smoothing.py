"""Vectors drawn towards those of neighbours, by hand."""

import numpy as np
import pytest

from lerl.envs.sequences import Lists
from lerl.envs.smoothing import smoothed, together


def test_what_stands_together_is_counted_within_lists_and_a_window() -> None:
    """0 1 2 and 1 0: 0 and 1 are side by side twice; 0 and 2 are two places apart; the two lists do not meet."""
    lists = Lists.of([[0, 1, 2], [1, 0], [3], [2, 2]])
    near = [[0, 2, 0, 0], [2, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0]]
    assert together(lists, 4, 1).todense().tolist() == near
    wider = [[0, 2, 1, 0], [2, 0, 1, 0], [1, 1, 0, 0], [0, 0, 0, 0]]
    assert together(lists, 4, 2).todense().tolist() == wider
    assert together(Lists.of([[], [1]]), 4).nnz == 0


def test_a_case_by_hand() -> None:
    """Two items that stand together once, of vectors x and y: after one step each is half itself and half the other."""
    vectors, graph = np.eye(3, dtype=np.float32), together(Lists.of([[0, 1], [2]]), 3)
    found = smoothed(vectors, graph, 0.5, 1)
    mixed = 0.5 * np.array([1, 0]) + 0.25 * np.array([0.5, 0.5])  # steps 0 and 1, weighted
    assert found[0, :2] == pytest.approx(mixed / np.linalg.norm(mixed), abs=1e-6)
    assert found[1, :2] == pytest.approx(found[0, 1::-1], abs=1e-6)
    assert found[2].tolist() == [0, 0, 1]  # nothing stands near it
    assert found.dtype == np.float32


def test_neighbours_come_nearer_with_their_share_and_none_leaves_all_as_it_is() -> None:
    draw = np.random.default_rng(0)
    vectors = draw.normal(size=(20, 8)).astype(np.float32)
    graph = together(Lists.of([[0, 1, 2, 3]] * 5), 20)
    assert smoothed(vectors, graph, 0.0) is vectors
    likeness = [float(one[0] @ one[1]) for one in (smoothed(vectors, graph, share) for share in (0.1, 0.5, 0.9))]
    assert likeness == sorted(likeness)
    empty = np.zeros((20, 8), np.float32)
    empty[1] = vectors[1]
    assert smoothed(empty, graph, 0.5)[0].any()  # an item without words is known by its neighbours
    with pytest.raises(ValueError, match="share must be from 0 to below 1, given 1"):
        smoothed(vectors, graph, 1.0)
