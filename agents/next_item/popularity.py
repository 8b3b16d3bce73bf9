"""The floor: items that most were chosen in training come first for everybody."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lerl.agents.next_item.base import EpochReport, Fitted, NextItem
from lerl.envs.sequences import Cases, Lists


class Popularity(NextItem):
    """How often each item was chosen in training."""

    def fit(
        self,
        train: Lists,
        validation: Cases,
        *,
        seed: int,
        checkpoint: Path | None = None,
        report: EpochReport | None = None,
    ) -> Fitted:
        self.counts = np.bincount(train.values, minlength=self.items).astype(np.float32)
        return Fitted(self.items)

    def scores(self, histories: Lists) -> NDArray[np.float32]:
        return np.tile(self.counts, (len(histories), 1))
