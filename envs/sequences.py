"""What users chose one after another, and its split into training, validation and test."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from lerl.envs.draws import seed_from

FEWEST = 3
"""Items that a user needs to be judged leaving one out: one to know, one to choose by, one to test by."""

VALIDATION_FROM, TEST_FROM = 0.8, 0.9
"""Shares of all choices after whose times validation and test begin, where the split is by time."""


@dataclass(frozen=True)
class Lists:
    """Lists of different lengths in one array; list u is `values[starts[u] : starts[u + 1]]`.

    Attributes:
        values: (n,) int32. starts: (U + 1,) int64, from 0 to n.
    """

    values: NDArray[np.int32]
    starts: NDArray[np.int64]

    @staticmethod
    def of(lists: Sequence[Sequence[int] | NDArray[np.integer]]) -> "Lists":
        """Lists from separate ones."""
        starts = np.concatenate([[0], np.cumsum([len(one) for one in lists], dtype=np.int64)])
        values = [np.asarray(one, np.int32) for one in lists]
        return Lists(np.concatenate(values) if values else np.zeros(0, np.int32), starts)

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, row: int) -> NDArray[np.int32]:
        return self.values[self.starts[row] : self.starts[row + 1]]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(U,) int64."""
        return np.diff(self.starts)

    def take(self, rows: NDArray[np.integer]) -> "Lists":
        """The lists of these rows, in their order."""
        return self.ranges(self.starts[rows], self.lengths[rows])

    def first(self, counts: NDArray[np.integer]) -> "Lists":
        """The first of each list, `counts` (U,) of them."""
        return self.ranges(self.starts[:-1], np.minimum(counts, self.lengths))

    def ranges(self, starts: NDArray[np.integer], counts: NDArray[np.integer]) -> "Lists":
        """Lists of `counts` (N,) values each, which begin at `starts` (N,) in `values`."""
        ends = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
        places = np.arange(ends[-1]) + np.repeat(starts - ends[:-1], counts)
        return Lists(self.values[places], ends)

    def newest(self, length: int) -> NDArray[np.int64]:
        """(U, T) int64, the last `length` at most of each list, -1 behind them; T is the most of these, 1 or more."""
        counts = np.minimum(self.lengths, length)
        places = np.arange(max(1, int(counts.max(initial=0))))
        there = places < counts[:, None]  # (U, T)
        padded = np.full(there.shape, -1, np.int64)
        padded[there] = self.values[((self.starts[1:] - counts)[:, None] + places)[there]]
        return padded


@dataclass(frozen=True)
class Cases:
    """Users by whom a recommender is judged: what it knows of each, and what the user chose next.

    Attributes:
        users: (N,) int64, rows of `Choices.users`. histories: N lists of items. targets: (N,) int32 items.
    """

    users: NDArray[np.int64]
    histories: Lists
    targets: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.users)

    def take(self, rows: NDArray[np.integer]) -> "Cases":
        """The cases of these rows, in their order."""
        return Cases(self.users[rows], self.histories.take(rows), self.targets[rows])


@dataclass(frozen=True)
class Choices:
    """What every user of a data set chose, in order.

    Attributes:
        users: ids, length U. items: ids, length I. lists: of each user, rows of `items`.
        times: (n,) int64 nanoseconds since 1970, of `lists.values`, ascending in each list; None where unknown.
        texts: what the data say of items, by column, such as "title": I texts each, empty where there is none.
        notes: what people should know of how they were read, one line each.
    """

    users: tuple[str, ...]
    items: tuple[str, ...]
    lists: Lists
    times: NDArray[np.int64] | None = None
    texts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Split:
    """A data set split for judging the next item.

    Attributes:
        items: I, how many can be ranked. train: what is learned from, a list for each user, perhaps empty.
        validation, test: by which settings are chosen, and by which rows are judged.
        notes: who is left out of judging, one line each.
    """

    items: int
    train: Lists
    validation: Cases
    test: Cases
    notes: tuple[str, ...] = ()


def leave_one_out(choices: Choices) -> Split:
    """Each user's last item is for the test and the one before for validation; shorter lists are all for training."""
    lists, lengths = choices.lists, choices.lists.lengths
    judged = np.flatnonzero(lengths >= FEWEST)
    train = lists.first(np.where(lengths >= FEWEST, lengths - 2, lengths))
    notes = []
    if left := len(lengths) - len(judged):
        notes.append(f"{left:,} of {len(lengths):,} users have fewer than {FEWEST} items: in training, but not judged")
    return Split(len(choices.items), train, _last(lists, judged, 2), _last(lists, judged, 1), tuple(notes))


def all_but_the_test(choices: Choices) -> Split:
    """As `leave_one_out`, but validation items are learned from too: for comparison with figures that do so."""
    split = leave_one_out(choices)
    train = choices.lists.first(split.train.lengths + np.isin(np.arange(len(split.train)), split.validation.users))
    note = "validation items are learned from: they no longer tell which epoch or setting is better"
    return replace(split, train=train, notes=(*split.notes, note))


def last_aside(lists: Lists) -> tuple[Lists, Cases]:
    """Lists without the last item of those that have two or more, and these users' last items as cases."""
    users = np.flatnonzero(lists.lengths >= 2)
    return lists.first(np.where(lists.lengths >= 2, lists.lengths - 1, lists.lengths)), _last(lists, users, 1)


def _last(lists: Lists, users: NDArray[np.int64], back: int) -> Cases:
    """The users' items so many from the end, and what came before."""
    counts = lists.lengths[users] - back
    histories = lists.ranges(lists.starts[users], counts)
    return Cases(users, histories, lists.values[lists.starts[users] + counts])


def completing(choices: Choices, seed: int) -> Split:
    """Sets of items, a tenth of them for validation and a tenth for the test: of each its last item is to be found by
    all others. The other sets are for training.

    Args:
        choices: sets, each in an order that was drawn. seed: of which sets are judged.
    """
    lists, count = choices.lists, len(choices.lists)
    place = np.random.default_rng(seed_from(seed, "sets to judge")).permutation(count)
    validating, testing = place < count // 10, (place >= count // 10) & (place < 2 * (count // 10))
    train = lists.first(np.where(validating | testing, 0, lists.lengths))
    enough = lists.lengths >= 2
    notes = []
    if few := int((testing & ~enough).sum()):
        notes.append(f"{few:,} of {testing.sum():,} sets of the test hold one item: not judged")
    validation, test = (_last(lists, np.flatnonzero(part & enough), 1) for part in (validating, testing))
    unseen = int((np.bincount(train.values, minlength=len(choices.items)) == 0).sum())
    notes.append(f"{unseen:,} of {len(choices.items):,} items are in no set of the training")
    return Split(len(choices.items), train, validation, test, tuple(notes))


def by_time(choices: Choices) -> Split:
    """All that lies before one time is for training; of what lies after, each user's first item is judged.

    Validation begins after 80 % of all choices and the test after 90 %. Users who chose nothing before are not judged.

    Raises:
        ValueError: there are no times, or nothing lies after one of the two.
    """
    lists, times = choices.lists, choices.times
    if times is None:
        raise ValueError("--split time needs times, and the data have none; leave it out, or name them with --time")
    ends = np.sort(times)[[int(share * (len(times) - 1)) for share in (VALIDATION_FROM, TEST_FROM)]]
    owner = np.repeat(np.arange(len(lists)), lists.lengths)
    known, later = (np.bincount(owner[times <= end], minlength=len(lists)) for end in ends)
    validation, test = _after(lists, known, later), _after(lists, later, lists.lengths)
    if not len(validation) or not len(test):
        raise ValueError("--split time leaves nobody to judge: all choices have nearly the same time; leave it out")
    left = len(lists) - len(test)
    note = f"{left:,} of {len(lists):,} users are not judged: nothing before, or nothing after, the split"
    return Split(len(choices.items), lists.first(known), validation, test, (note,))


def _after(lists: Lists, known: NDArray[np.integer], until: NDArray[np.integer]) -> Cases:
    """The first item after the first `known` (U,) of each user, where it is among the first `until` (U,)."""
    users = np.flatnonzero((known > 0) & (known < until))
    histories = lists.first(known).take(users)
    return Cases(users, histories, lists.values[lists.starts[users] + known[users]])
