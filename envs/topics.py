"""What bores together: hidden clusters of items, or the catalogue's categories."""

import numpy as np
from numpy.typing import NDArray

from lerl.envs.catalog import Axis
from lerl.envs.population import Floats, Population


def unit_rows(vectors: Floats) -> Floats:
    """Rows of (N, d) scaled to length 1; a row of zeros stays."""
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))
    return (vectors / np.maximum(lengths, 1e-12)[:, None]).astype(np.float32)


def cluster_items(vectors: Floats, count: int, seed: int) -> NDArray[np.int32]:
    """K-means clusters of item directions (scikit-learn), one number in [0, count) per item, (I,).

    Directions rather than vectors, because in a factor model a vector's length says how well known an item is.
    """
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    if not 1 <= count <= len(vectors):
        raise ValueError(f"the number of clusters must be between 1 and the {len(vectors)} items, given {count}")
    with threadpool_limits(1):
        labels = KMeans(count, random_state=seed, n_init=4).fit_predict(unit_rows(vectors))
    return labels.astype(np.int32)


def cluster_axis(vectors: Floats, popularity: Floats, titles: tuple[str, ...], count: int, seed: int) -> Axis:
    """Clusters as an axis to plan on, each named by the best-known titles among its most typical items."""
    labels = cluster_items(vectors, count, seed)
    units = unit_rows(vectors)
    names = []
    for cluster in range(count):
        members = np.flatnonzero(labels == cluster)
        centre = units[members].mean(axis=0)
        typical = members[np.argsort(-(units[members] @ centre), kind="stable")[: max(3, len(members) // 4)]]
        best = typical[np.argsort(-popularity[typical], kind="stable")[:2]]
        names.append(" / ".join(titles[item] for item in best))
    return Axis(tuple(names), labels[:, None] == np.arange(count))


def item_topics(population: Population, topics: str, count: int) -> NDArray[np.int32]:
    """The topics of each item, (I, M) int32, -1 as padding.

    Args:
        population: whose items.
        topics: "hidden" for `count` clusters of the true item vectors, "categories" for the catalogue's.
        count: how many hidden clusters.
    """
    if topics == "categories":
        return population.catalog.categories.groups
    if topics == "hidden":
        return cluster_items(population.truth.item_vectors, count, seed=0)[:, None]
    raise ValueError(f"topics must be 'hidden' or 'categories', given {topics!r}")
