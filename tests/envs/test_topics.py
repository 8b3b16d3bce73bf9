"""What bores together: clusters that anybody would draw, and the catalog's own categories."""

from typing import Any

import numpy as np
import pytest

from lerl.envs import topics
from lerl.envs.population import Population
from lerl.envs.topics import WORDLESS, cluster_axis, cluster_items, codes_axis, item_topics, shares_axis, unit_rows

# Two directions: items 0, 2 and 4 point right, however far; items 1 and 3 point up.
VECTORS = np.array([[1, 0], [0, 1], [9, 0.1], [0.1, 5], [0.2, 0]], np.float32)


def test_rows_are_scaled_to_length_one_and_zeros_stay():
    assert unit_rows(np.array([[3, 4], [0, 0]], np.float32)).tolist() == [pytest.approx([0.6, 0.8]), [0, 0]]


def test_items_of_one_direction_share_a_cluster():
    labels = cluster_items(VECTORS, 2, 0, "env.topic_count")
    assert labels[0] == labels[2] == labels[4] != labels[1] == labels[3]
    assert sorted(set(labels.tolist())) == [0, 1]
    assert cluster_items(VECTORS, 2, 0, "env.topic_count").tolist() == labels.tolist()


def test_of_many_items_some_find_the_centres_for_all(monkeypatch: pytest.MonkeyPatch):
    centres = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]])
    belongs = np.arange(300) % 3
    vectors = (centres[belongs] + np.random.default_rng(0).normal(size=(300, 3)) * 0.1).astype(np.float32)
    monkeypatch.setattr(topics, "LARGE", 30)
    labels = cluster_items(vectors, 3, 0, "env.topic_count")
    assert labels.dtype == np.int32
    assert [len(set(labels[belongs == one].tolist())) for one in range(3)] == [1, 1, 1]
    assert len(set(labels.tolist())) == 3


@pytest.mark.parametrize("count", [0, 6])
def test_more_clusters_than_items_are_refused(count: int):
    with pytest.raises(ValueError, match=rf"env\.topic_count must be from 1 to the 5 items, given {count}"):
        cluster_items(VECTORS, count, 0, "env.topic_count")


@pytest.mark.filterwarnings("error")
def test_more_clusters_than_directions_are_refused():
    with pytest.raises(ValueError, match=r"env\.topic_count must be at most 2, as items have no more .*, given 3"):
        cluster_items(np.array([[1, 0], [0, 1], [2, 0], [0, 3]], np.float32), 3, 0, "env.topic_count")


def test_clusters_are_named_by_the_best_known_of_their_most_typical_items():
    titles = ("Heat", "Ran", "Alien", "Brazil", "Up")
    axis = cluster_axis(VECTORS, np.array([0.1, 0.2, 0.4, 0.1, 0.2], np.float32), titles, 2, 0, "planner.clusters")
    right, up = axis.membership[0].argmax(), axis.membership[1].argmax()
    assert axis.names[right] == "Alien / Up"
    assert axis.names[up] == "Ran / Brazil"
    assert axis.membership[:, right].tolist() == [True, False, True, False, True]
    assert axis.membership.sum(axis=1).tolist() == [1] * 5


def test_items_without_words_are_a_group_of_their_own():
    titles, popularity = ("Heat", "Ran", "Alien", "Brazil", "Up"), np.full(5, 0.2, np.float32)
    vectors = VECTORS.copy()
    vectors[4] = 0
    axis = codes_axis(vectors, popularity, titles, 2, 0, "planner.clusters")
    assert axis.names[2] == WORDLESS
    assert axis.membership[:, 2].tolist() == [False] * 4 + [True]
    whole = codes_axis(VECTORS, popularity, titles, 2, 0, "planner.clusters")
    assert len(whole.names) == 2
    assert whole.membership[:4].tolist() == axis.membership[:4, :2].tolist()
    assert whole.names == cluster_axis(VECTORS, popularity, titles, 2, 0, "planner.clusters").names


def test_soft_topics_hold_what_has_enough_of_them_and_are_named_alike():
    titles = ("Heat", "Ran", "Alien", "Brazil", "Up")
    shares = np.array([[0.9, 0.1, 0], [0.3, 0.7, 0], [0.6, 0.4, 0], [0.2, 0.8, 0], [0.24, 0.2, 0.24]], np.float32)
    axis = shares_axis(shares, np.array([0.1, 0.2, 0.4, 0.1, 0.5], np.float32), titles, 0.25)
    # The third topic is nobody's largest share: of equal ones the first is. Up is in the first by its largest share.
    assert axis.membership.tolist() == [[True, False], [True, True], [True, True], [False, True], [True, False]]
    assert axis.names == ("Alien / Ran", "Alien / Ran")


def test_topics_are_hidden_clusters_or_the_catalogs_categories(build: Any):
    population: Population = build(VECTORS.tolist(), [[1, 0]], categories=[[1, 0], [1, 1], [0, 1], [1, 0], [0, 1]])
    assert item_topics(population, "categories", 2).tolist() == [[0, -1], [0, 1], [1, -1], [0, -1], [1, -1]]
    hidden = item_topics(population, "hidden", 2)
    assert hidden[:, 0].tolist() == cluster_items(VECTORS, 2, 0, "env.topic_count").tolist()
    with pytest.raises(ValueError, match="topics must be 'hidden' or 'categories', given 'genres'"):
        item_topics(population, "genres", 2)
