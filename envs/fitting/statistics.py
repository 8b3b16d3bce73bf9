"""Statistics of sequences of interactions: of what was shown, and of how people reacted.

Every statistic is made of sums over users, so that a bootstrap over users gives its interval. Of an item's categories
the rarest, its main one, counts.
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
"""A statistic to which fewer users than this contribute is left out."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Sequences:
    """N interactions of U users, one user after the other, each user's in order.

    Attributes:
        users: (N,) int64, from 0, ascending.
        items: (N,) int64, catalog positions.
        clicks: (N,) float64 in [0, 1], feedback, or the chance of it.
        times: (N,) float64, seconds, ascending within users; NaN where they are not known.
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
        """The interactions for which `keep`, (N,) bool, is true; users that have any are numbered again from 0."""
        users = np.unique(self.users[keep], return_inverse=True)[1].astype(np.int64)
        return Sequences(users, self.items[keep], self.clicks[keep], self.times[keep])


@dataclass(frozen=True)
class Background:
    """What statistics need to know of items; from training users, and the same for real and simulated sequences.

    Attributes:
        main: (I,) int64, each item's main category.
        item_effects: (I,) float64, click rate above the average item's, shrunk to 0.
        popularity: (I,) float64, log(1 + interactions).
    """

    main: Ints
    item_effects: Floats
    popularity: Floats

    @property
    def items(self) -> int:
        """How many items there are."""
        return len(self.main)


def background_of(training: Sequences, membership: NDArray[np.bool_]) -> Background:
    """The background from training users' sequences.

    Args:
        training: their sequences.
        membership: (I, C) bool, items' categories.
    """
    count = len(membership)
    return Background(
        main_categories(membership, training.items),
        item_effects(training.items, training.clicks, count),
        np.log(np.bincount(training.items, minlength=count) + 1.0),
    )


def main_categories(membership: NDArray[np.bool_], items: Ints) -> Ints:
    """(I,) int64, of each item's categories the one that is rarest in `items`, (N,) int64."""
    met = membership[items].sum(axis=0)
    return np.where(membership, met, met.max() + 1).argmin(axis=1).astype(np.int64)


def item_effects(items: Ints, clicks: Floats, count: int, prior: float = 10.0) -> Floats:
    """(count,) float64, each item's click rate above the average, shrunk to 0 as by `prior` more interactions."""
    seen = np.bincount(items, minlength=count)
    above = np.bincount(items, weights=clicks - clicks.mean(), minlength=count)
    return np.asarray(above / (seen + prior), np.float64)


class Statistics:
    """Statistics of sequences, for any weights of the users.

    Args:
        sequences: of U users.
        background: of training users.
        seed: of the shuffles for the values expected by chance.
        fitting: only statistics of reactions, and more of them: those that dynamics are fitted to.
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
        """Each statistic by name, (R,) float64, under weights (R, U) of the users; all weights 1, R = 1, where None."""
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
        """Each statistic by name, (R,) float64, for R = `draws` bootstrap samples of the users."""
        rng = np.random.default_rng(seed)
        chance = np.full(self._users, 1 / self._users)
        return dict(self.of(rng.multinomial(self._users, chance, size=draws).astype(np.float64)))

    def intervals(self, draws: int, seed: int) -> dict[str, tuple[float, float, float]]:
        """Value, low and high end of the 95 % interval of each statistic, from a bootstrap over users.

        The interval is corrected for the bootstrap's bias: a sample has fewer different users, which makes popularity
        look more uneven.
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
        events, ones = self.sequences, np.ones(self._users)
        self._counts = csr_matrix(
            (np.ones(len(events)), (events.users, events.items)), shape=(self._users, self.background.items)
        )
        main = self.background.main[events.items]
        categories = int(self.background.main.max()) + 1
        table = _table(events.users, main, self._users, categories)
        shuffled = self._draw.permutation(main)
        self._add("effective categories per user", _effective(table), ones)
        null = _effective(_table(events.users, shuffled, self._users, categories))
        self._add("effective categories, drawn by popularity", null, ones)
        pairs = (events.lengths * (events.lengths - 1)).astype(np.float64)
        chance = (table * (table - 1)).sum(axis=1) / np.maximum(pairs, 1)
        for lag in LAGS:
            rows = np.flatnonzero(events.places >= lag)
            same = (main[rows] == main[rows - lag]).astype(np.float64)
            expected = self._sum(rows, chance[events.users[rows]])
            self._add(f"same category at lag {lag} over shuffled", self._sum(rows, same), expected)
        known = self.background.popularity[events.items]
        known = (known - known.mean()) / max(known.std(), 1e-12)
        for lag in (1, 5):
            rows = np.flatnonzero(events.places >= lag)
            alike, number = known[rows] * known[rows - lag], np.ones(len(rows))
            self._add(f"popularity autocorrelation at lag {lag}", self._sum(rows, alike), self._sum(rows, number))
        within = np.lexsort((self._draw.random(len(events)), events.users))
        for name, labels in (("", main), (", shuffled", main[within])):
            for lag in WINDOW_LAGS[: 1 if name else None]:
                above, below = _windows(labels, events.starts, events.lengths, categories, lag)
                self._add(f"drift at lag {lag}{name}", above, below)

    def _response(self) -> None:
        events, background = self.sequences, self.background
        every = np.arange(len(events))
        lengths = events.lengths.astype(np.float64)
        self._means = self._sum(every, events.clicks) / lengths
        self._add("base rate", self._sum(every, events.clicks), lengths)
        main = background.main[events.items]
        residual = events.clicks - background.item_effects[events.items]
        residual -= (self._sum(every, residual) / lengths)[events.users]
        for lag in FITTED_LAGS if self.fitting else (1, 5):
            rows = np.flatnonzero(events.places >= lag)
            square = self._sum(every, residual**2) * self._sum(rows, np.ones(len(rows))) / lengths
            self._add(
                f"residual autocorrelation at lag {lag}", self._sum(rows, residual[rows] * residual[rows - lag]), square
            )
        group = events.users * (int(background.main.max()) + 1) + main
        rows = np.flatnonzero(events.places > 0)
        for among in FITTED_RECENT if self.fitting else (RECENT,):
            share = recent_share(main, events.places, among)
            of = f", last {among}" if self.fitting else ""
            self._slope(f"slope on the recent share of the category{of}", residual, share, group, rows)
        if np.isfinite(events.times).any():
            rows = np.flatnonzero(np.isfinite(events.times))
            views = recent_views(events.times, events.places) / MOST_VIEWS
            self._slope("slope on views in the last half hour", residual, views, events.users, rows)
            if self.fitting:
                few = np.minimum(views * MOST_VIEWS, 10)
                self._slope("slope on views in the last half hour, up to 10", residual, few, events.users, rows)
            else:
                self._days()
        sums, squares, sizes = (
            np.bincount(group, weights=part, minlength=self._users * (int(background.main.max()) + 1))
            for part in (residual, residual**2, np.ones(len(events)))
        )
        together, pairs = (
            np.asarray(part.reshape(self._users, -1).sum(axis=1), np.float64)
            for part in (sums**2 - squares, sizes * (sizes - 1))
        )
        self._add("user-by-category lift", together, pairs)

    def _slope(self, name: str, residual: Floats, feature: Floats, group: Ints, rows: Ints) -> None:
        """Least squares of the residual on a feature, both centred within groups."""
        y, x = (_centred(part[rows], group[rows]) for part in (residual, feature))
        self._add(name, self._sum(rows, x * y), self._sum(rows, x * x))

    def _days(self) -> None:
        """How often a day on which a user met something is followed by another, the log's last day left out."""
        events = self.sequences
        known = np.isfinite(events.times)
        days = np.unique(np.stack([events.users[known], np.floor(events.times[known] / DAY)]), axis=1)
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
"""How names of statistics of the exposure side begin; all others are of the response side."""


def side(name: str) -> str:
    """Whether a statistic is of the "exposure" or of the "response" side."""
    return "exposure" if name.startswith(EXPOSURE) else "response"


def recent_share(main: Ints, places: Ints, among: int = RECENT) -> Floats:
    """(N,) float64, share of the interaction's main category among the user's last `among` before it; 0 for the first.

    Args:
        main: (N,) int64, main category of each interaction.
        places: (N,) int64, see `Sequences.places`.
        among: how many interactions to look back on.
    """
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
    """(N,) float64, the user's interactions in the half hour before each, at most `MOST_VIEWS`.

    Args:
        times: (N,) float64, seconds.
        places: (N,) int64, see `Sequences.places`.
    """
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
    """(U,) each user's sum of Jensen-Shannon divergences, in bits, between windows `lag` apart; (U,) their number."""
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
    """(U,) exponential of each row's entropy: so many categories, equally often, would be as varied (perplexity)."""
    share = table / table.sum(axis=1, keepdims=True)
    return np.asarray(np.exp(-(share * np.log(np.where(share > 0, share, 1.0))).sum(axis=1)), np.float64)


def _centred(values: Floats, group: Ints) -> Floats:
    place = np.unique(group, return_inverse=True)[1]
    mean = np.bincount(place, weights=values) / np.bincount(place)
    return np.asarray(values - mean[place], np.float64)
