"""What followed what: the reference that a learned recommender has to be above before it is worth its training."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from lerl.agents.next_item.base import EpochReport, Fitted, NextItem
from lerl.envs.sequences import Cases, Lists

TINY = 1e-6
"""The most that popularity adds to a score: less than any pair does."""


@dataclass(frozen=True)
class CountsSettings:
    """Settings of `counts`.

    Attributes:
        window: places apart that two items may be, and how many of the newest items are looked at.

    Raises:
        ValueError: the window is not from 1 to 1,000.
    """

    window: int = 5

    def __post_init__(self) -> None:
        if not 1 <= self.window <= 1000:
            raise ValueError(f"window must be from 1 to 1,000, given {self.window}")


class Counts(NextItem):
    """How often an item came after another within a window of places, summed over the newest items of a history.

    C[i, j] sums 1 / distance over all pairs in training lists in which j came after i. The score of j is the sum of
    C[i, j] / distance ** 2 over the last items i of the history, the newest at distance 1; the square was chosen on
    validation users of Amazon Beauty. Items that nothing led to follow in the order of their popularity.
    """

    Settings = CountsSettings

    def fit(
        self,
        train: Lists,
        validation: Cases,
        *,
        seed: int,
        checkpoint: Path | None = None,
        report: EpochReport | None = None,
    ) -> Fitted:
        owner = np.repeat(np.arange(len(train)), train.lengths)
        before, after, weights = [], [], []
        for distance in range(1, self.settings.window + 1):
            same = owner[distance:] == owner[:-distance]
            before.append(train.values[:-distance][same])
            after.append(train.values[distance:][same])
            weights.append(np.full(int(same.sum()), 1.0 / distance, np.float32))
        pairs: Any = (np.concatenate(weights), (np.concatenate(before), np.concatenate(after)))
        self.followed = csr_array(pairs, shape=(self.items, self.items))
        self.followed.sum_duplicates()
        counts = np.bincount(train.values, minlength=self.items)
        self.popularity = (TINY * counts / max(1, counts.max())).astype(np.float32)
        return Fitted(self.followed.nnz)

    def scores(self, histories: Lists) -> NDArray[np.float32]:
        newest = np.minimum(histories.lengths, self.settings.window)
        last = histories.ranges(histories.starts[1:] - newest, newest)
        distance = np.repeat(last.starts[1:], newest) - np.arange(len(last.values))
        known = csr_array(
            ((1.0 / distance**2).astype(np.float32), last.values, last.starts), shape=(len(histories), self.items)
        )
        return np.asarray((known @ self.followed).todense(), np.float32) + self.popularity
