"""Vectors of items drawn towards those of items that are chosen near them: what words say, and what people do.

Guo et al., "S2GR", KDD 2026, on codes aware of co-occurrence: personalised PageRank (Gasteiger et al., "Predict then
propagate", ICLR 2019) over a graph of what stands together in training lists.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array

from lerl.envs.sequences import Lists
from lerl.envs.topics import unit_rows

WINDOW, STEPS = 5, 3
"""Places apart that two items of a list may be; and how many edges far a vector is carried. The paper names neither."""


def together(lists: Lists, items: int, window: int = WINDOW) -> csr_array:
    """(I, I) symmetric: how often two different items stand at most `window` places apart in a list.

    Args:
        lists: of training, and of nothing that is judged. items: I.
    """
    owner = np.repeat(np.arange(len(lists)), lists.lengths)
    before, after = [], []
    for distance in range(1, window + 1):
        first, second = lists.values[:-distance], lists.values[distance:]
        near = (owner[distance:] == owner[:-distance]) & (first != second)
        before.append(first[near])
        after.append(second[near])
    rows, columns = np.concatenate([*before, *after]), np.concatenate([*after, *before])
    pairs: Any = (np.ones(len(rows)), (rows, columns))
    found = csr_array(pairs, shape=(items, items))
    found.sum_duplicates()
    return found


def smoothed(vectors: NDArray[np.float32], graph: csr_array, share: float, steps: int = STEPS) -> NDArray[np.float32]:
    """(I, d) float32 of length 1: each item's vector mixed with those of its neighbours, and of theirs.

    With alpha = 1 - share and the graph A normalised on both sides, H(0) = X, H(k) = share A H(k - 1) + alpha X; the
    result is the mean of H(0) to H(steps), weighted by alpha share^k. An item without neighbours keeps its direction.

    Args:
        vectors: X, (I, d). graph: as of `together`. share: of neighbours, from 0 (the vectors as they are) to below 1.

    Raises:
        ValueError: the share is out of range.
    """
    if not 0 <= share < 1:
        raise ValueError(f"share must be from 0 to below 1, given {share:g}")
    if not share:
        return vectors
    degree = np.asarray(graph.sum(axis=1)).reshape(-1)
    scale = diags_array(1 / np.sqrt(np.maximum(degree, 1)))
    normal, own = scale @ graph @ scale, vectors.astype(np.float64)
    now, total, weight = own, np.zeros_like(own), 1 - share
    for step in range(steps + 1):
        total += weight * share**step * now
        now = share * (normal @ now) + (1 - share) * own
    return unit_rows(total.astype(np.float32))
