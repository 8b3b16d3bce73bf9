"""Sessions of a log: when each began and ended, how good it was, and when its user came back.

A pause of so many minutes ends a session. Thirty is the usual choice for logs in which everything is recorded
(`lerl.envs.fitting.statistics.HALF_HOUR`); in a log of which only a part was kept, one sitting has longer pauses.

How good a session was is the mean of its feedback beside what the user's other interactions and other users' feedback
on the items let expect, plus 0.5. So neither who likes much nor items that everybody likes make a session good: people
who differ may come back at different rates for other reasons, and no log can tell those apart.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property

import numpy as np
import polars as pl
from numba import njit
from numpy.typing import NDArray

from lerl.envs.schema import DataError, training_users
from lerl.envs.sessions.config import Habit, Memory

SECONDS = 86_400.0
ITEM_PRIOR = 10.0
"""Interactions with average feedback that an item's mean begins with."""

LEAST_OTHERS = 5
"""Other interactions of a user without which nothing is known of how good a session was. A user's mean is not shrunk:
what shrinking leaves in the quality is how people differ, which goes with other things that make them come back."""

LEAST_GAPS = 50
"""Gaps that training users must have, at least, to fit a model with seven parameters to."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class LogSessions:
    """S sessions of U users, one user after the other, each user's in order of time.

    Attributes:
        users: (S,) int64, from 0, ascending; every user has one session at least.
        starts, ends: (S,) float64, of the first and the last interaction, days since 1970 in UTC.
        counts: (S,) int64, interactions.
        quality: (S,) float64, 0.5 plus how much better the feedback was than expected, from -0.5 to 1.5 and most often
            within [0, 1].
        levels: (U,) float64, how much better than that of others a user's feedback is on the same items.
        training: (U,) bool, whether a user is one to train on.
        reliability: share of the variance of quality in [0, 1] that is the sessions' own: how much two interactions of
            one session have in common, beside others of the user. A weight of quality is diluted by about as much
            (Fuller, Measurement Error Models, 1987, section 1.1).
        last: days since 1970 when the log ends; who did not come back until then may still do.
        pause: days without interactions that end a session.
    """

    users: Ints
    starts: Floats
    ends: Floats
    counts: Ints
    quality: Floats
    levels: Floats
    training: Flags
    reliability: float
    last: float
    pause: float

    def __len__(self) -> int:
        return len(self.users)

    @cached_property
    def first(self) -> Flags:
        """(S,) whether it is a user's first session."""
        return np.append(True, self.users[1:] != self.users[:-1])

    @cached_property
    def returned(self) -> Flags:
        """(S,) whether the user came back before the log ended."""
        return ~np.append(self.first[1:], True)

    @cached_property
    def gaps(self) -> Floats:
        """(S,) days until the next session began, or, where there is none, until the log ended."""
        return np.where(self.returned, np.append(self.starts[1:], self.last), self.last) - self.ends

    def only(self, chosen: Flags) -> "LogSessions":
        """The sessions of some users, (U,) bool."""
        rows = chosen[self.users]
        fields = (self.starts[rows], self.ends[rows], self.counts[rows], self.quality[rows])
        numbers = np.cumsum(chosen) - 1
        users = numbers[self.users[rows]]
        return LogSessions(
            users, *fields, self.levels[chosen], self.training[chosen], self.reliability, self.last, self.pause
        )  # fmt: skip

    def states(self, quality: Floats, memory: Memory, habit: Habit) -> tuple[Floats, Floats]:
        """What is remembered of quality (S,), and the habit, both (S,) and as they are when a session ends."""
        weights = memory.rate * memory.enabled, memory.neutral, memory.fades, habit.rate * habit.enabled, habit.fades
        found: tuple[Floats, Floats] = _states(self.first, self.gaps, quality, weights)
        return found


@njit(cache=True)
def _states(first, gaps, quality, weights):  # type: ignore[no-untyped-def]
    rate, neutral, fades, adds, wanes = weights
    remembered, used = np.empty(len(gaps)), np.empty(len(gaps))
    m, h = neutral, 0.0
    for s in range(len(gaps)):
        if first[s]:
            m, h = neutral, 0.0
        else:
            m = neutral + (m - neutral) * np.exp(-gaps[s - 1] / fades)
            h *= np.exp(-gaps[s - 1] / wanes)
        h += adds * (1.0 - h)
        m += rate * (quality[s] - m)
        remembered[s], used[s] = m, h
    return remembered, used


def sessions_of(log: pl.DataFrame, pause: float, now: float, name: str = "the log") -> LogSessions:
    """The sessions of a log.

    Rows without times, such as a history before the log, tell only what a user's feedback usually is.

    Args:
        log: see `lerl.envs.schema.SCHEMA`.
        pause: days without interactions that end a session.
        now: seconds since 1970, after which no log can have times.
        name: of the log, for errors.

    Raises:
        DataError: there are no times, only days, times that are still to come, or hardly anybody who came back.
    """
    _check_times(log["time"], now, name)
    log = log.sort("user", "time", "item", nulls_last=True)
    ids, users = np.unique(log["user"].to_numpy(), return_inverse=True)
    surprise = _beside_items(log["item"].to_numpy(), log["click"].to_numpy().astype(np.float64))
    sums, rows = np.bincount(users, surprise), np.bincount(users)
    timed = log["time"].is_not_null().to_numpy()
    seconds, owners, own = log["time"].drop_nulls().to_numpy(), users[timed], surprise[timed]
    begins = np.append(True, (owners[1:] != owners[:-1]) | (np.diff(seconds) >= round(pause * SECONDS)))
    days = seconds / SECONDS
    session, closes = np.cumsum(begins) - 1, np.append(begins[1:], True)
    counts, total, owner = np.bincount(session), np.bincount(session, own), owners[begins]
    others = rows[owner] - counts
    usual = (sums[owner] - total) / np.maximum(others, 1)
    known = others >= LEAST_OTHERS
    quality = np.where(known, 0.5 + total / counts - usual, 0.5)
    beside, several = own - usual[session], known & (counts > 1)
    pairs = np.bincount(session, beside) ** 2 - np.bincount(session, beside**2)
    alike = (pairs / np.maximum(counts * (counts - 1), 1) - own.var() / np.maximum(others, 1))[several]
    share = float(alike.mean() / max(quality[known].var(), 1e-12)) if several.any() else 0.0
    seen, numbers = np.unique(owner, return_inverse=True)
    levels, training = (sums / rows)[seen], training_users(ids[seen])
    found = LogSessions(
        numbers, days[begins], days[closes], counts, quality, levels, training, min(max(share, 0.0), 1.0),
        float(days.max()), pause,
    )  # fmt: skip
    returned = int((found.returned & training[numbers]).sum())
    if returned < LEAST_GAPS:
        raise DataError(
            f"{name}: users to train on came back {returned} times after a pause of {pause * 1440:g} minutes or more; "
            f"gaps are fitted to {LEAST_GAPS} at least: give a longer log, or one with more users"
        )
    return found


def _check_times(times: pl.Series, now: float, name: str) -> None:
    known = times.drop_nulls()
    if known.is_empty():
        raise DataError(f"{name} has no times, and the gaps between sessions need them; give a log with times")
    newest = int(known.to_numpy().max())
    if newest > now:
        when = datetime.fromtimestamp(newest, UTC)
        raise DataError(
            f"{name} has times that are still to come, up to {when:%Y-%m-%d %H:%M} UTC; correct them, or give times in "
            "their unit with lerl data import --time-unit"
        )
    if not (known.to_numpy() % int(SECONDS)).any():
        raise DataError(
            f"{name} has only dates, and sessions of one day cannot be told apart; give times to the minute"
        )


def _beside_items(items: Ints, feedback: Floats) -> Floats:
    """(N,) feedback less what other users' on the same item lets expect."""
    _, items = np.unique(items, return_inverse=True)
    away = feedback - feedback.mean()
    sums, rows = np.bincount(items, away), np.bincount(items)
    return np.asarray(away - (sums[items] - away) / (rows[items] - 1 + ITEM_PRIOR))


def shuffled(sessions: LogSessions, seeds: range) -> Iterator[Floats]:
    """For each seed, the quality (S,) of sessions after it was shuffled between the sessions of each user."""
    for seed in seeds:
        order = np.lexsort((np.random.default_rng([seed, 11]).random(len(sessions)), sessions.users))
        yield sessions.quality[order]
