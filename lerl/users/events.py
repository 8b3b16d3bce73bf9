"""A prepared log as sequences of events by user, with what was known before each event."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lerl.envs.draws import seed_from
from lerl.envs.logs.prepared import read_prepared_log
from lerl.envs.population import Population
from lerl.envs.schema import DataError, held_out, positions
from lerl.envs.store import OWN_LOGS, format_of, read_about, unusable

FOLDS = 5
USER_PRIOR = 5.0
ITEM_PRIOR = 10.0

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Events:
    """The truth half of a log, N rows in order of users and, within each, of position.

    Attributes:
        users: (N,) int64, numbers of the population's users.
        items: (N,) int64, positions in the catalog.
        clicks: (N,) bool.
        kept: (N,) bool, kept from the fit of the latent-factor model.
        training: (U,) bool, whether a user is one to train on.
        categories: (I, C) bool, the catalog's own.
        item_vectors: (I, v) float32, the latent-factor model's, made only from training users' events.
    """

    users: NDArray[np.int64]
    items: NDArray[np.int64]
    clicks: NDArray[np.bool_]
    kept: NDArray[np.bool_]
    training: NDArray[np.bool_]
    categories: NDArray[np.bool_]
    item_vectors: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.users)

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """(U + 1,) int64: the events of user u are starts[u] to starts[u + 1]."""
        return np.searchsorted(self.users, np.arange(len(self.training) + 1))

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """(U,) int64, events per user."""
        return np.diff(self.starts)

    @cached_property
    def place(self) -> NDArray[np.int64]:
        """(N,) int64, how many events of the user came before."""
        return np.arange(len(self)) - self.starts[self.users]

    @cached_property
    def to_train(self) -> NDArray[np.bool_]:
        """(N,) bool, whether the event is of a training user."""
        return self.training[self.users]

    @cached_property
    def base(self) -> float:
        """Share of clicks among training users' events."""
        return float(self.clicks[self.to_train].mean())

    @cached_property
    def clicked_before(self) -> NDArray[np.int64]:
        """(N,) int64, how many of the user's earlier events are clicks."""
        running = np.concatenate([[0], np.cumsum(self.clicks)])
        return np.asarray(running[:-1] - running[self.starts[self.users]])

    @cached_property
    def _others(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(FOLDS + 1, I) int64 each: events and clicks per item of the training users in all folds but one."""
        own = self._fold[self.users]
        seen, clicked = (np.zeros((FOLDS + 1, len(self.categories)), np.int64) for _ in range(2))
        np.add.at(seen, (own, self.items), self.to_train)
        np.add.at(clicked, (own, self.items), self.to_train & self.clicks)
        return seen.sum(axis=0) - seen, clicked.sum(axis=0) - clicked

    @cached_property
    def _fold(self) -> NDArray[np.int64]:
        """(U,) int64, a fold for each training user, FOLDS for the others; the same for every seed."""
        drawn = np.random.default_rng(seed_from("item folds")).integers(FOLDS, size=len(self.training))
        return np.where(self.training, drawn, FOLDS)

    @cached_property
    def item_counts(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(N,) int64 each: events and clicks of an event's item among training users, out of fold.

        Training users are in 5 folds; an event of one counts the other folds only, an event of any other user all.
        """
        (seen, clicked), own = self._others, self._fold[self.users]
        return seen[own, self.items], clicked[own, self.items]

    @cached_property
    def _category_shares(self) -> Floats:
        """(FOLDS + 1, I): the share of clicks in each item's categories; see `category_share`."""
        seen, clicked = (counts @ self.categories for counts in self._others)  # (FOLDS + 1, C)
        share = (clicked + ITEM_PRIOR * self.base) / (seen + ITEM_PRIOR)
        return np.asarray(share @ self.categories.T / self.categories.sum(axis=1))

    @cached_property
    def category_share(self) -> Floats:
        """(N,) share of clicks among training users' events in the categories of an event's item, out of fold.

        A category's share is as if 10 more of its events had the base rate; of several categories it is the mean.
        """
        return np.asarray(self._category_shares[self._fold[self.users], self.items])

    @cached_property
    def running(self) -> Floats:
        """(N, 4): `history_features` of the user and `item_features` of the item, both before the event."""
        history = history_features(self.place, self.clicked_before, self.base)
        return np.hstack([history, item_features(*self.item_counts, self.base)])

    @cached_property
    def features(self) -> Floats:
        """(N, 4): `running` for the sequence model, where an item of which little is known is like its categories."""
        return np.hstack([self.running[:, :2], item_features(*self.item_counts, self.category_share)])

    @cached_property
    def catalog_features(self) -> Floats:
        """(I, 2): `item_features` of every item over all training users, as in `features`."""
        seen, clicked = (counts[FOLDS] for counts in self._others)
        return item_features(seen, clicked, self._category_shares[FOLDS])

    @cached_property
    def unmet(self) -> Floats:
        """(I, 2): the same as if no training user had met the item."""
        none = np.zeros(len(self.categories), np.int64)
        return item_features(none, none, self._category_shares[FOLDS])


def history_features(seen: NDArray[np.int64], clicked: NDArray[np.int64], base: float) -> Floats:
    """(N, 2): log-odds of a user's share of clicks, as if 5 more events had the base rate, and log(1 + events)."""
    return _log_odds_and_count(seen, clicked, base, USER_PRIOR)


def item_features(seen: NDArray[np.int64], clicked: NDArray[np.int64], base: float | Floats) -> Floats:
    """(N, 2): the same of an item, with 10 more events; `base` may be a rate for each."""
    return _log_odds_and_count(seen, clicked, base, ITEM_PRIOR)


def _log_odds_and_count(
    seen: NDArray[np.int64], clicked: NDArray[np.int64], base: float | Floats, prior: float
) -> Floats:
    share = (clicked + prior * base) / (seen + prior)
    return np.stack([np.log(share) - np.log1p(-share), np.log1p(seen)], axis=1)


def read_events(folder: Path, population: Population) -> Events:
    """The truth half of a prepared folder's log.

    Args:
        folder: as `lerl data prepare` or `import` left it.
        population: read from it.

    Raises:
        DataError: the log has no order, was prepared before orders were kept, or is damaged.
    """
    log = read_prepared_log(folder)
    if not {"half", "position"} <= set(log.columns):
        raise unusable(folder, "does not say in which order things happened", format_of(read_about(folder), OWN_LOGS))
    owners, places = log_positions(folder, population, log)
    log = log.with_columns(owner=owners, place=places)
    log = log.filter(pl.col("half") == "truth").sort("user", "position")
    if log["position"].null_count():
        raise DataError(
            f"the log in {folder} has no order: {log['position'].null_count():,} of its interactions have no time, and "
            "what comes before what is all that a sequence is; use a log with times, or the latent-factor users as "
            "they were prepared"
        )
    return Events(
        users=log["owner"].to_numpy(),
        items=log["place"].to_numpy(),
        clicks=log["click"].to_numpy(),
        kept=held_out(log["user"].to_numpy(), log["item"].to_numpy()),
        training=population.training,
        categories=population.catalog.categories.membership,
        item_vectors=population.truth.item_vectors,
    )


def log_positions(
    folder: Path, population: Population, log: pl.DataFrame
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The population's users and the catalog's items that a prepared folder's log names, (N,) int64 each.

    Raises:
        DataError: its users or items are others than the population's.
    """
    numbers, users = np.unique(log["user"].to_numpy(), return_inverse=True)
    try:
        items = positions(population.catalog.numbers, log["item"].to_numpy())
    except DataError:
        items = None
    if items is None or len(numbers) != len(population.training):
        raise unusable(folder, "has other users or items in its log", format_of(read_about(folder), OWN_LOGS))
    return users.astype(np.int64), items
