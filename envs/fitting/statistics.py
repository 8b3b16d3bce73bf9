"""What sequences of interactions look like: statistics of what was shown and of how people reacted.

Every statistic is made of sums over users, so that intervals come from drawing users again. Where an item has several
categories, the rarest of them, its main one, counts.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.sparse import csr_matrix  # type: ignore[import-untyped, unused-ignore]

LAGS = (1, 2, 5, 10)
WINDOW = 10  # interactions, of which categories are compared from window to window
WINDOW_LAGS = (1, 2, 4, 8)
RECENT = 10  # interactions among which the share of the same category is looked at
FITTED_LAGS = (1, 2, 5, 10, 20)
FITTED_RECENT = (3, 10, 30)
HALF_HOUR = 1800.0
MOST_VIEWS = 50  # in half an hour; more count as so many
DAY = 86_400.0
FEW = 50
"""A statistic that fewer users than this can tell anything about is left out."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Sequences:
    """What U users met, one user after the other, each in order.

    Attributes:
        users: (N,) int64, from 0, ascending. items: (N,) int64. clicks: (N,) float64 in [0, 1], feedback, or the
            chance of it.
        times: (N,) float64, seconds, ascending within users; not a number where they are not known.
    """

    users: Ints
    items: Ints
    clicks: Floats
    times: Floats

    def __len__(self) -> int:
        return len(self.users)

    @cached_property
    def lengths(self) -> Ints:
        """(U,) interactions of each user."""
        return np.bincount(self.users)

    @cached_property
    def starts(self) -> Ints:
        """(U,) where each user begins."""
        return np.cumsum(self.lengths) - self.lengths

    @cached_property
    def places(self) -> Ints:
        """(N,) place of each interaction among its user's, from 0."""
        return np.arange(len(self)) - self.starts[self.users]

    def where(self, keep: NDArray[np.bool_]) -> "Sequences":
        """The interactions for which `keep`, (N,) bool, is true, with users that have any numbered anew."""
        users = np.unique(self.users[keep], return_inverse=True)[1].astype(np.int64)
        return Sequences(users, self.items[keep], self.clicks[keep], self.times[keep])


@dataclass(frozen=True)
class Background:
    """What statistics are measured against; of training users, and the same for real and simulated sequences.

    Attributes:
        main: (I,) int64, each item's main category. item_effects: (I,) float64, how much more often than the average
            item it is clicked. popularity: (I,) float64, logarithm of how often it was met, and once more.
        items: how many items there are.
    """

    main: Ints
    item_effects: Floats
    popularity: Floats

    @property
    def items(self) -> int:
        """How many items there are."""
        return len(self.main)


def background_of(training: Sequences, membership: NDArray[np.bool_]) -> Background:
    """The background of what training users met; membership: (I, C) bool, items' categories."""
    count = len(membership)
    return Background(
        main_categories(membership, training.items),
        item_effects(training.items, training.clicks, count),
        np.log(np.bincount(training.items, minlength=count) + 1.0),
    )


def main_categories(membership: NDArray[np.bool_], items: Ints) -> Ints:
    """(I,) of each item the category that was met least often in `items`, (N,)."""
    met = membership[items].sum(axis=0)
    return np.where(membership, met, met.max() + 1).argmin(axis=1).astype(np.int64)


def item_effects(items: Ints, clicks: Floats, count: int, prior: float = 10.0) -> Floats:
    """(count,) how much oftener than the average item each is clicked, drawn to 0 as by `prior` interactions."""
    seen = np.bincount(items, minlength=count)
    above = np.bincount(items, weights=clicks - clicks.mean(), minlength=count)
    return np.asarray(above / (seen + prior), np.float64)


class Statistics:
    """Statistics of sequences, for any weights of the users.

    Args:
        sequences: what was met.
        background: of training users.
        seed: of the shuffles that nulls come from.
        fitting: only those of reactions, and more of them: what dynamics are fitted to.
    """

    def __init__(self, sequences: Sequences, background: Background, seed: int = 0, *, fitting: bool = False) -> None:
        self.sequences, self.background, self.fitting = sequences, background, fitting
        self._users = len(sequences.lengths)
        self._ratios: dict[str, tuple[Floats, Floats]] = {}
        self._draw = np.random.default_rng(seed)
        if not fitting:
            self._exposure()
        self._response()

    def of(self, weights: Floats | None = None) -> Mapping[str, Floats]:
        """Each statistic by name, (R,), under weights (R, U) of the users; all alike, R = 1, where None."""
        weights = np.ones((1, self._users)) if weights is None else weights
        found = {} if self.fitting else self._popularity(weights)
        for name, (above, below) in self._ratios.items():
            found[name] = (weights @ above) / (weights @ below)
        share = weights / weights.sum(axis=1, keepdims=True)
        mean = share @ self._means
        found["spread of users' rates"] = np.sqrt(share @ self._means**2 - mean**2)
        return found

    def _popularity(self, weights: Floats) -> dict[str, Floats]:
        counts = (self._counts.T @ weights.T).T  # (R, I)
        ordered = np.sort(counts, axis=1)
        total, items = counts.sum(axis=1), counts.shape[1]
        return {
            "item Gini": 2 * (ordered @ np.arange(1, items + 1)) / (items * total) - (items + 1) / items,
            "share of the top 10 % of items": ordered[:, -max(items // 10, 1) :].sum(axis=1) / total,
        }

    def drawn(self, draws: int, seed: int) -> dict[str, Floats]:
        """Each statistic by name, (R,), with users drawn again with replacement R times."""
        rng = np.random.default_rng(seed)
        chance = np.full(self._users, 1 / self._users)
        return dict(self.of(rng.multinomial(self._users, chance, size=draws).astype(np.float64)))

    def intervals(self, draws: int, seed: int) -> dict[str, tuple[float, float, float]]:
        """Value and 95 % interval of each statistic, from drawing users with replacement.

        The interval is moved by the bootstrap's own bias: fewer different users make popularity look more uneven.
        """
        values, drawn = self.of(), self.drawn(draws, seed)
        found = {}
        for name, value in values.items():
            low, high = np.nanpercentile(drawn[name], [2.5, 97.5]) - np.nanmean(drawn[name]) + value[0]
            found[name] = (float(value[0]), float(low), float(high))
        return found

    def _add(self, name: str, above: Floats, below: Floats) -> None:
        if (below > 0).sum() >= min(FEW, self._users) and below.sum() > 0:
            self._ratios[name] = (above, below)

    def _sum(self, rows: Ints, values: Floats) -> Floats:
        """(U,) sums of values over each user's rows."""
        return np.asarray(np.bincount(self.sequences.users[rows], weights=values, minlength=self._users), np.float64)

    def _exposure(self) -> None:
        told, ones = self.sequences, np.ones(self._users)
        self._counts = csr_matrix(
            (np.ones(len(told)), (told.users, told.items)), shape=(self._users, self.background.items)
        )
        main = self.background.main[told.items]
        categories = int(self.background.main.max()) + 1
        table = _table(told.users, main, self._users, categories)
        shuffled = self._draw.permutation(main)
        self._add("effective categories per user", _effective(table), ones)
        null = _effective(_table(told.users, shuffled, self._users, categories))
        self._add("effective categories, drawn by popularity", null, ones)
        pairs = (told.lengths * (told.lengths - 1)).astype(np.float64)
        chance = (table * (table - 1)).sum(axis=1) / np.maximum(pairs, 1)
        for lag in LAGS:
            rows = np.flatnonzero(told.places >= lag)
            same = (main[rows] == main[rows - lag]).astype(np.float64)
            expected = self._sum(rows, chance[told.users[rows]])
            self._add(f"same category at lag {lag} over shuffled", self._sum(rows, same), expected)
        known = self.background.popularity[told.items]
        known = (known - known.mean()) / max(known.std(), 1e-12)
        for lag in (1, 5):
            rows = np.flatnonzero(told.places >= lag)
            alike, number = known[rows] * known[rows - lag], np.ones(len(rows))
            self._add(f"popularity autocorrelation at lag {lag}", self._sum(rows, alike), self._sum(rows, number))
        within = np.lexsort((self._draw.random(len(told)), told.users))
        for name, labels in (("", main), (", shuffled", main[within])):
            for lag in WINDOW_LAGS[: 1 if name else None]:
                above, below = _windows(labels, told.starts, told.lengths, categories, lag)
                self._add(f"drift at lag {lag}{name}", above, below)

    def _response(self) -> None:
        told, background = self.sequences, self.background
        every = np.arange(len(told))
        lengths = told.lengths.astype(np.float64)
        self._means = self._sum(every, told.clicks) / lengths
        self._add("base rate", self._sum(every, told.clicks), lengths)
        main = background.main[told.items]
        left = told.clicks - background.item_effects[told.items]
        left -= (self._sum(every, left) / lengths)[told.users]
        for lag in FITTED_LAGS if self.fitting else (1, 5):
            rows = np.flatnonzero(told.places >= lag)
            square = self._sum(every, left**2) * self._sum(rows, np.ones(len(rows))) / lengths
            self._add(f"residual autocorrelation at lag {lag}", self._sum(rows, left[rows] * left[rows - lag]), square)
        group = told.users * (int(background.main.max()) + 1) + main
        rows = np.flatnonzero(told.places > 0)
        for among in FITTED_RECENT if self.fitting else (RECENT,):
            share = recent_share(main, told.places, among)
            of = f", last {among}" if self.fitting else ""
            self._slope(f"slope on the recent share of the category{of}", left, share, group, rows)
        if np.isfinite(told.times).any():
            rows = np.flatnonzero(np.isfinite(told.times))
            views = recent_views(told.times, told.places) / MOST_VIEWS
            self._slope("slope on views in the last half hour", left, views, told.users, rows)
            if self.fitting:
                few = np.minimum(views * MOST_VIEWS, 10)
                self._slope("slope on views in the last half hour, up to 10", left, few, told.users, rows)
            else:
                self._days()
        sums, squares, sizes = (
            np.bincount(group, weights=part, minlength=self._users * (int(background.main.max()) + 1))
            for part in (left, left**2, np.ones(len(told)))
        )
        together, pairs = (
            np.asarray(part.reshape(self._users, -1).sum(axis=1), np.float64)
            for part in (sums**2 - squares, sizes * (sizes - 1))
        )
        self._add("user-by-category lift", together, pairs)

    def _slope(self, name: str, left: Floats, feature: Floats, group: Ints, rows: Ints) -> None:
        """Least squares of what is left of feedback on a feature, both within groups."""
        y, x = (_centred(part[rows], group[rows]) for part in (left, feature))
        self._add(name, self._sum(rows, x * y), self._sum(rows, x * x))

    def _days(self) -> None:
        """How often a day on which a user met something is followed by another, the log's last day left out."""
        told = self.sequences
        known = np.isfinite(told.times)
        days = np.unique(np.stack([told.users[known], np.floor(told.times[known] / DAY)]), axis=1)
        users, day = days[0].astype(np.int64), days[1]
        again = np.zeros(len(users), bool)
        again[:-1] = (users[1:] == users[:-1]) & (day[1:] == day[:-1] + 1)
        counted = day < day.max()
        returned, there = (
            np.asarray(np.bincount(users[counted], weights=part[counted], minlength=self._users), np.float64)
            for part in (again, np.ones(len(users)))
        )
        self._add("return on the next day", returned, there)


EXPOSURE = ("item", "share of the top", "effective", "same category", "popularity", "drift", "return")
"""What names of statistics of the exposure side begin with; all others are of the response side."""


def side(name: str) -> str:
    """Whether a statistic is of the "exposure" or of the "response" side."""
    return "exposure" if name.startswith(EXPOSURE) else "response"


def recent_share(main: Ints, places: Ints, among: int = RECENT) -> Floats:
    """(N,) share of an interaction's category among its user's last `among` ones before it; 0 where there is none."""
    return _recent_share(main, places, among)


@njit(cache=True)
def _recent_share(main, places, among):  # type: ignore[no-untyped-def]
    share = np.zeros(len(main), np.float64)
    for n in range(len(main)):
        count = min(places[n], among)
        same = 0
        for back in range(1, count + 1):
            same += main[n - back] == main[n]
        share[n] = same / count if count else 0.0
    return share


def recent_views(times: Floats, places: Ints) -> Floats:
    """(N,) how many interactions the user had in the half hour before each, at most `MOST_VIEWS`."""
    return _recent_views(times, places, HALF_HOUR, MOST_VIEWS)


@njit(cache=True)
def _recent_views(times, places, within, most):  # type: ignore[no-untyped-def]
    views = np.zeros(len(times), np.float64)
    for n in range(len(times)):
        back = 1
        while back <= min(places[n], most) and times[n] - times[n - back] <= within:
            back += 1
        views[n] = back - 1
    return views


@njit(cache=True)
def _windows(labels, starts, lengths, categories, lag):  # type: ignore[no-untyped-def]
    """Of each user the sum of Jensen-Shannon divergences in bits between windows so many apart, and their number."""
    above, below = np.zeros(len(starts)), np.zeros(len(starts))
    for user in range(len(starts)):
        count = lengths[user] // WINDOW
        if count <= lag:
            continue
        shares = np.zeros((count, categories))
        for window in range(count):
            for place in range(WINDOW):
                shares[window, labels[starts[user] + window * WINDOW + place]] += 1.0 / WINDOW
        for window in range(count - lag):
            for category in range(categories):
                p, q = shares[window, category], shares[window + lag, category]
                if p > 0:
                    above[user] += 0.5 * p * np.log2(2 * p / (p + q))
                if q > 0:
                    above[user] += 0.5 * q * np.log2(2 * q / (p + q))
            below[user] += 1.0
    return above, below


def _table(users: Ints, labels: Ints, count: int, categories: int) -> Floats:
    """(U, C) how often each user met each category."""
    table = np.bincount(users * categories + labels, minlength=count * categories)
    return table.reshape(count, categories).astype(np.float64)


def _effective(table: Floats) -> Floats:
    """(U,) exponential of the entropy of each row: as many categories, met equally often, are as varied."""
    share = table / table.sum(axis=1, keepdims=True)
    return np.asarray(np.exp(-(share * np.log(np.where(share > 0, share, 1.0))).sum(axis=1)), np.float64)


def _centred(values: Floats, group: Ints) -> Floats:
    place = np.unique(group, return_inverse=True)[1]
    mean = np.bincount(place, weights=values) / np.bincount(place)
    return np.asarray(values - mean[place], np.float64)
