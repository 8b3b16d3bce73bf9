"""A sample of a log's users: who is in it, and what is counted over all users beside it.

Simulated users are the first N in the order of `lerl.envs.schema.sample_order`. Factor models see more users where N
are few: the first ones in that order whose interactions are FITTED_ROWS together. How often items are met and clicked
is counted over all users. So memory goes by the sample and by FITTED_ROWS, however many users a log has.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lerl.envs.schema import DataError, held_out, sample_order, training_users, truth_half

FITTED_ROWS = 10_000_000
"""Interactions that factor models are fitted to, unless those of the simulated users are more."""

COUNTS = ("met", "clicks", "truth_seen", "truth_clicked", "knowledge_seen", "knowledge_clicked", "popular")
"""What is counted of an item: interactions and clicks of all users; and of training users, interactions and clicks of
either half that are fitted to, and all clicks of the knowledge half."""

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Sample:
    """Which users of a log are simulated, and counts over all of its users.

    Attributes:
        asked: how many users were asked for.
        users: (N,) int64, numbers of the simulated users, in order.
        fitted: how many users the factor models are fitted to; the simulated users are among them.
        all_users: how many users the log has.
        rows: how many rows were read.
        items: column item (the number), in order, and one for each of COUNTS, Int64.
    """

    asked: int
    users: Numbers
    fitted: int
    all_users: int
    rows: int
    items: pl.DataFrame

    def count(self, name: str) -> Numbers:
        """(I,) int64, one of COUNTS for each item of the catalog."""
        return self.items[name].to_numpy()

    @property
    def interactions(self) -> int:
        """How many interactions all users have, one for each pair of a user and an item."""
        return int(self.count("met").sum())

    @property
    def base_rate(self) -> float:
        """Share of clicks among them."""
        return float(self.count("clicks").sum() / self.interactions)


def count_items(log: pl.DataFrame) -> pl.DataFrame:
    """The counts of `Sample.items` for a log, or for a part of it that has all rows of its users."""
    users, items, clicks = (log[name].to_numpy() for name in ("user", "item", "click"))
    training, truth, fitted = training_users(users), truth_half(users, items), ~held_out(users, items)
    marks = (
        np.ones(len(log), bool), clicks,
        training & truth & fitted, training & truth & fitted & clicks,
        training & ~truth & fitted, training & ~truth & fitted & clicks,
        training & ~truth & clicks,
    )  # fmt: skip
    return add_up([pl.DataFrame({"item": items, **dict(zip(COUNTS, marks, strict=True))})])


def add_up(counted: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Counts of several parts of a log as those of all."""
    whole = [frame.cast(dict.fromkeys(COUNTS, pl.Int64)) for frame in counted]
    return pl.concat(whole).group_by("item").sum().sort("item")


def choose(users: Numbers, interactions: Numbers, asked: int) -> tuple[Numbers, Numbers]:
    """The simulated users, and all whom factor models are fitted to, each in order of their numbers.

    Args:
        users: (U,) int64, all users of a log, each once, in any order.
        interactions: (U,) int64, how many each has.
        asked: how many users to simulate, 1 or more.

    Raises:
        DataError: the simulated users are all for training, or all for evaluation.
    """
    order = sample_order(users)
    enough = int(np.searchsorted(np.cumsum(interactions[order]), FITTED_ROWS, side="right"))
    simulated = np.sort(users[order[:asked]])
    to_train = int(training_users(simulated).sum())
    if to_train in (0, len(simulated)):
        raise DataError(
            f"the sample has {len(simulated):,} of {len(users):,} users, {to_train:,} to train on and "
            f"{len(simulated) - to_train:,} for evaluation, and both are needed; give a larger --users"
        )
    return simulated, np.sort(users[order[: max(asked, enough)]])


def of_users(log: pl.DataFrame, users: Numbers) -> pl.DataFrame:
    """The rows of some users, in their order."""
    return log.filter(pl.col("user").is_in(pl.Series(users).implode()))
