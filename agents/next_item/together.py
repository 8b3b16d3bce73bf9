"""What completes a bundle: rows for sets of items, in which no item comes before another."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from lerl.agents.next_item.base import EpochReport, Fitted, NextItem
from lerl.agents.next_item.counts import TINY
from lerl.envs.draws import seed_from
from lerl.envs.sequences import Cases, Lists
from lerl.envs.texts import text_vectors


def _sets(lists: Lists, items: int) -> Any:
    """(B, I) sparse, 1 where a list holds an item."""
    ones = np.ones(len(lists.values), np.float32)
    return csr_array((ones, lists.values, lists.starts), shape=(len(lists), items))


class Together(NextItem):
    """How often an item was in a bundle with those that are given, whatever the order, over the root of how often each
    of the two was in one; where none was, by popularity."""

    def fit(
        self,
        train: Lists,
        validation: Cases,
        *,
        seed: int,
        checkpoint: Path | None = None,
        report: EpochReport | None = None,
    ) -> Fitted:
        sets = _sets(train, self.items)
        counts = np.asarray(sets.sum(axis=0)).ravel()
        scale = 1 / np.sqrt(np.maximum(counts, 1))
        both: Any = (sets.T @ sets).tocoo()
        apart = both.row != both.col
        values = both.data[apart] * scale[both.row[apart]] * scale[both.col[apart]]
        self.both = csr_array((values.astype(np.float32), (both.row[apart], both.col[apart])), shape=both.shape)
        self.popularity = (TINY * counts / max(1, counts.max())).astype(np.float32)
        return Fitted(self.both.nnz)

    def scores(self, histories: Lists) -> NDArray[np.float32]:
        return np.asarray((_sets(histories, self.items) @ self.both).todense(), np.float32) + self.popularity


@dataclass(frozen=True)
class TextPairsSettings:
    """Settings of `jima-pairs`.

    Attributes:
        others: pairs drawn for each pair that was in a bundle. ridge: on heads, for each pair.
    """

    others: int = 10
    ridge: float = 0.01

    def __post_init__(self) -> None:
        if not 1 <= self.others <= 1000:
            raise ValueError(f"others must be from 1 to 1,000, given {self.others}")
        if not 0 < self.ridge <= 1000:
            raise ValueError(f"ridge must be above 0 and at most 1,000, given {self.ridge:g}")


class TextPairs(NextItem):
    """The pair part of `jima` with item vectors from what data say of items: heads b of pair(i, j) = b . (v_i * v_j).

    Pairs of a bundle are rated 1, pairs of items drawn from all 0; heads are a ridge regression, and an item is scored
    by the sum of its pairs with those that are given. Users, items' own factors and wholes have no part: bundles tell
    nothing of them.
    """

    Settings = TextPairsSettings
    reads_texts = True
    draws = True  # the pairs that are rated 0

    def check(self) -> None:
        text_vectors(self.texts)

    def fit(
        self,
        train: Lists,
        validation: Cases,
        *,
        seed: int,
        checkpoint: Path | None = None,
        report: EpochReport | None = None,
    ) -> Fitted:
        self.vectors, self.notes = text_vectors(self.texts)
        sets = _sets(train, self.items)
        both: Any = (sets.T @ sets).tocoo()
        first, second = both.row[both.row < both.col], both.col[both.row < both.col]
        drawn = np.random.default_rng(seed_from(seed, "other pairs")).integers(
            self.items, size=(2, self.settings.others * len(first))
        )
        features = self.vectors[np.concatenate([first, drawn[0]])] * self.vectors[np.concatenate([second, drawn[1]])]
        targets = np.concatenate([np.ones(len(first)), np.zeros(drawn.shape[1])])
        targets -= targets.mean()
        features = features - features.mean(axis=0)
        gram = features.T @ features
        gram += self.settings.ridge * len(first) * np.eye(features.shape[1]) * (features**2).mean()
        self.head = np.linalg.solve(gram, features.T @ targets).astype(np.float32)
        return Fitted(len(self.head))

    def scores(self, histories: Lists) -> NDArray[np.float32]:
        given = _sets(histories, self.items) @ self.vectors
        return np.asarray((given * self.head) @ self.vectors.T, np.float32)
