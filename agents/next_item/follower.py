"""Sessions whose growing lists are read item by item: what is new is appended, what is another list is read anew."""

from abc import abstractmethod
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lerl.agents.next_item.base import Follower
from lerl.envs.sequences import Lists

MOST = 1 << 31
"""Bytes of keys and values that are kept whole, at most: where there would be more, lists are read anew each time."""


def fits(slots: int, window: int, layers: int, width: int) -> bool:
    """Whether whole keys and values of so many slots, events, layers and numbers are at most `MOST` bytes."""
    return slots * window * layers * 2 * width * 4 <= MOST


class Reader(Protocol):
    """A network that has read a list in each of its rows."""

    def prefill(self, lists: Tensor, rows: Tensor) -> Tensor:
        """Keep lists (B, T), -1 behind the last, in rows (B,) int64, and give their newest states (B, d)."""

    def append(self, items: Tensor, rows: Tensor) -> Tensor:
        """Read one more item (B,) of each of rows (B,), no row twice, and give the states (B, d) after it."""

    def nbytes(self) -> tuple[int, ...]:
        """Bytes that are held of each layer."""


class ListFollower(Follower):
    """Has read a list in each of S slots: items that are new are read, and lists that are others from their beginning.

    A list that is longer than the window loses its oldest item with each new one, and all that was read after that item
    knows of it: such a list is another one each time.

    Args:
        reader: with S rows of at most `length` items. slots: S. length: newest items of a list that are read.
        width: of states. at: where the reader is.
    """

    def __init__(self, reader: Reader, slots: int, length: int, width: int, at: torch.device) -> None:
        self.reader, self.length, self.at = reader, length, at
        self.read, self.counts = np.full((slots, length), -1, np.int64), np.full(slots, -1)
        self.states = torch.zeros(slots, width, device=at)

    def forget(self, slots: NDArray[np.int64]) -> None:
        self.counts[slots] = -1

    @abstractmethod
    def scores(self, slots: NDArray[np.int64], histories: Lists) -> NDArray[np.float32]: ...

    @torch.no_grad()
    def follow(self, slots: NDArray[np.int64], histories: Lists) -> tuple[Tensor, Tensor]:
        """The numbers of slots (B,) as a tensor, and the states (B, d) after what lists hold there now."""
        lists = np.full((len(slots), self.length), -1, np.int64)
        newest = histories.newest(self.length)
        lists[:, : newest.shape[1]] = newest
        counts, before = (lists >= 0).sum(axis=1), self.counts[slots]
        known = (self.read[slots] == lists) | (np.arange(self.length) >= before[:, None])
        goes_on = known.all(axis=1) & (before >= 0) & (counts >= before)
        if not goes_on.all():
            again = np.flatnonzero(~goes_on)
            part = torch.from_numpy(lists[again, : counts[again].max()]).to(self.at)
            rows = torch.from_numpy(slots[again]).to(self.at)
            self.states[rows] = self.reader.prefill(part, rows)
        for ahead in range(int((counts - before)[goes_on].max(initial=0))):
            some = np.flatnonzero(goes_on & (before + ahead < counts))
            items = torch.from_numpy(lists[some, before[some] + ahead]).to(self.at)
            rows = torch.from_numpy(slots[some]).to(self.at)
            self.states[rows] = self.reader.append(items, rows)
        self.read[slots], self.counts[slots] = lists, counts
        every = torch.from_numpy(slots).to(self.at)
        return every, self.states[every]

    def nbytes(self) -> int:
        """Bytes of keys and values that are held."""
        return sum(self.reader.nbytes())
