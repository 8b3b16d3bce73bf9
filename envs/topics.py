"""Topics, the groups of items that users get bored of: hidden clusters of items, or the catalog's categories."""

import warnings

import numpy as np
from numpy.typing import NDArray

from lerl.envs.catalog import Axis
from lerl.envs.population import Floats, Population

LARGE = 100_000
"""Items, at most, that clusters are fitted to."""


class ClusterError(ValueError):
    """More clusters than items or their directions; the message names the key and what is possible."""


def unit_rows(vectors: Floats) -> Floats:
    """Rows of (N, d) scaled to length 1; a row of zeros stays."""
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))
    return (vectors / np.maximum(lengths, 1e-12)[:, None]).astype(np.float32)


def cluster_items(vectors: Floats, count: int, seed: int, key: str) -> NDArray[np.int32]:
    """K-means clusters of item directions (scikit-learn), none of them empty.

    Directions rather than vectors, because in a factor model a vector's length depends on how popular an item is. Of
    more than LARGE items, LARGE drawn at random give the centres; each item belongs to the nearest.

    Args:
        vectors: (I, d) float32.
        count: of clusters.
        seed: of k-means.
        key: the setting that gives the number of clusters, for the error.

    Returns:
        (I,) int32, the items' clusters, in [0, count).

    Raises:
        ClusterError: there are fewer items, or fewer items of different directions, than clusters.
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    if not 1 <= count <= len(vectors):
        raise ClusterError(f"{key} must be from 1 to the {len(vectors):,} items, given {count:,}")
    units = unit_rows(vectors)
    some = units
    if len(units) > max(LARGE, count):
        some = units[np.random.default_rng(seed).choice(len(units), max(LARGE, count), replace=False)]
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of too few directions, which are counted below
        fitted = KMeans(count, random_state=seed, n_init=4).fit(some)
        labels = fitted.labels_ if some is units else fitted.predict(units)
    found = len(np.unique(labels))
    if found < count:
        raise ClusterError(f"{key} must be at most {found}, as items have no more distinct directions, given {count}")
    return labels.astype(np.int32)


def cluster_axis(vectors: Floats, popularity: Floats, titles: tuple[str, ...], count: int, seed: int, key: str) -> Axis:
    """Clusters as an axis to plan on, each named by the most popular titles among its most typical items.

    Args:
        vectors: (I, d) float32.
        popularity: (I,) float32.
        titles: I of them.
        count, seed, key: see `cluster_items`.

    Raises:
        ClusterError: as `cluster_items` does.
    """
    labels = cluster_items(vectors, count, seed, key)
    units = unit_rows(vectors)
    names = []
    for cluster in range(count):
        members = np.flatnonzero(labels == cluster)
        centre = units[members].mean(axis=0)
        names.append(_titled(members, units[members] @ centre, popularity, titles))
    return Axis(tuple(names), labels[:, None] == np.arange(count))


WORDLESS = "without words"
"""The group of items of which nothing is said, where the axis is that of codes."""


def codes_axis(vectors: Floats, popularity: Floats, titles: tuple[str, ...], count: int, seed: int, key: str) -> Axis:
    """Groups of items by their words, as the first digit of residual codes is (`lerl.envs.codes`): k-means of vectors.

    There are so many codes as clusters, and they are named as those are. Items without words, whose vectors are zeros,
    are a group of their own, beside the others.

    Args:
        vectors: (I, d) float32, of words, as `lerl.envs.texts.text_vectors` gives them. The rest as `cluster_axis`.

    Raises:
        ClusterError: as `cluster_items` does.
    """
    worded = np.flatnonzero(vectors.any(axis=1))
    some = cluster_axis(
        vectors[worded], popularity[worded], tuple(titles[item] for item in worded.tolist()), count, seed, key
    )
    if len(worded) == len(vectors):
        return some
    membership = np.zeros((len(vectors), count + 1), bool)
    membership[worded, :count] = some.membership
    membership[:, count] = ~membership.any(axis=1)
    return Axis((*some.names, WORDLESS), membership)


def shares_axis(shares: Floats, popularity: Floats, titles: tuple[str, ...], least: float) -> Axis:
    """Soft topics as an axis to plan on, named as clusters are; topics that no item is in are left out.

    Args:
        shares: (I, K) float32, how far each item is in each topic.
        popularity: (I,) float32.
        titles: I of them.
        least: the share from which on an item is in a topic, beside that of its largest share.
    """
    inside = (shares >= least) | (np.arange(shares.shape[1]) == shares.argmax(axis=1)[:, None])
    inside, shares = inside[:, inside.any(axis=0)], shares[:, inside.any(axis=0)]
    members = [np.flatnonzero(column) for column in inside.T]
    names = [_titled(of, shares[of, topic], popularity, titles) for topic, of in enumerate(members)]
    return Axis(tuple(names), inside)


def _titled(members: NDArray[np.int64], near: Floats, popularity: Floats, titles: tuple[str, ...]) -> str:
    """The two most popular titles among the quarter of members (n,) that are nearest, `near` (n,) saying how near."""
    typical = members[np.argsort(-near, kind="stable")[: max(3, len(members) // 4)]]
    best = typical[np.argsort(-popularity[typical], kind="stable")[:2]]
    return " / ".join(titles[item] for item in best)


def item_topics(population: Population, topics: str, count: int) -> NDArray[np.int32]:
    """The topics of each item, (I, M) int32, -1 as padding.

    Args:
        population: whose items.
        topics: "hidden" for `count` clusters of the true item vectors, "categories" for the catalog's.
        count: how many hidden clusters.

    Raises:
        ClusterError: as `cluster_items` does.
        ValueError: `topics` is neither of these.
    """
    if topics == "categories":
        return population.catalog.categories.groups
    if topics == "hidden":
        found = population.truth.clusters
        if count not in found:
            found[count] = cluster_items(population.truth.item_vectors, count, 0, "env.topic_count")[:, None]
        return found[count]
    raise ValueError(f"topics must be 'hidden' or 'categories', given {topics!r}")
