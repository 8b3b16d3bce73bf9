"""The agent that shows what a recommender of the next item ranks highest, under a planner's plans or without."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray

from lerl.agents.base import Observation
from lerl.agents.hierarchical import HierarchicalAgent, Hierarchy
from lerl.agents.mmr import picked
from lerl.agents.next_item.base import NextItem
from lerl.envs.sequences import Lists

LENGTH = 50
"""Clicks that are looked back on."""

CLICKED = 0.5
"""Feedback in [0, 1] from which on an item counts as clicked."""

SCORES = 1 << 26
"""Scores at once, at most: 256 MB."""

POOL = 5
"""Items that a search finds for each place of a slate, where slates are re-ranked for diversity."""


class NextItemAgent(HierarchicalAgent):
    """Shows the items that a row ranks highest after what the user is known to have clicked and clicked since.

    A plan is a mask on items, and so is what was shown or withheld: of what is left the best are shown, and a plan that
    leaves fewer than a slate holds is widened, as `lerl.agents.retrieval.eligible_items` says. Of whom no click is
    known is shown what is popular, by rows that cannot rank after an empty list.

    Args:
        hierarchy: memory, and a planner or none; its diversity is the weight of maximal marginal relevance, on the
            scale of the row's scores. Items are alike as the agents' item vectors say, as for other agents.
        row: fitted.
    """

    def __init__(self, hierarchy: Hierarchy, row: NextItem) -> None:
        torch.set_num_threads(1)  # more threads sum in another order
        super().__init__(hierarchy)
        self.row, self.known = row, np.full((len(hierarchy.live), LENGTH), -1, np.int64)  # the newest last
        self.follower = row.follower(len(hierarchy.live))
        self._popularity = np.ascontiguousarray(hierarchy.task.knowledge.popularity, np.float32)

    def recall(self, rows: NDArray[np.int64], known: Sequence[NDArray[np.int32]]) -> None:
        """What is known of the users whose sessions begin in these slots."""
        self.known[rows] = -1
        if self.follower is not None:
            self.follower.forget(rows)
        for row, items in zip(rows.tolist(), clicked(known), strict=True):
            if len(items):
                self.known[row, -len(items) :] = items[-LENGTH:]

    def slots(self) -> dict[str, NDArray[Any]]:
        """See `Agent.slots`."""
        hierarchy = self.hierarchy
        planned = hierarchy.memory.slots() if hierarchy.planner is None else hierarchy.slots()
        return planned | {"known": self.known}

    def act(self, observation: Observation) -> NDArray[np.int32]:
        """Slates (B, k); when no item is left, one shown before leaves its slot empty."""
        hierarchy, k = self.hierarchy, self.hierarchy.task.slate_size
        hierarchy.see(observation)
        newest = _newest_clicked(self.known, hierarchy.memory.shown, hierarchy.memory.feedback)
        newest[~hierarchy.live] = -1  # nothing to search for
        slates = np.zeros((len(newest), k), np.int32)
        size = max(1, SCORES // len(self._popularity))
        for first in range(0, len(newest), size):
            rows = np.arange(first, min(first + size, len(newest)))
            allowed, widened = hierarchy.eligible(rows)
            if hierarchy.planner is not None:
                hierarchy.widened[rows] += widened & hierarchy.live[rows]
            scores = self._scores(rows, newest[rows], allowed, POOL * k if hierarchy.diversity > 0 else k)
            slates[rows] = np.maximum(picked(scores, hierarchy.units, k, hierarchy.diversity), 0)
        return slates

    def _scores(
        self, slots: NDArray[np.int64], newest: NDArray[np.int64], allowed: NDArray[np.bool_], count: int
    ) -> NDArray[np.float32]:
        """(n, I) of allowed items (n, I) after the newest clicks (n, LENGTH) of slots (n,), -inf for the others."""
        there = newest >= 0
        counts = there.sum(axis=1)
        asked = np.flatnonzero((counts > 0) | self.row.starts)
        histories = Lists(newest[there].astype(np.int32), np.concatenate([[0], np.cumsum(counts)]))
        if len(asked) == len(newest):
            return self._within(slots, histories, allowed, count)
        scores = np.where(allowed, self._popularity, np.float32(-np.inf))
        if len(asked):
            scores[asked] = self._within(slots[asked], histories.take(asked), allowed[asked], count)
        return scores

    def _within(
        self, slots: NDArray[np.int64], histories: Lists, allowed: NDArray[np.bool_], count: int
    ) -> NDArray[np.float32]:
        if self.follower is None:
            return self.row.within(histories, allowed, count)
        return self.follower.within(slots, histories, allowed, count)


def clicked(known: Sequence[NDArray[np.int32]]) -> list[NDArray[np.int64]]:
    """The items that users clicked, in order, from their known interactions (n, 2), items and clicks."""
    return [rows[rows[:, 1] == 1, 0].astype(np.int64) for rows in known]


@njit(cache=True)
def _newest_clicked(known, shown, feedback):  # type: ignore[no-untyped-def]
    """(B, LENGTH): the newest of known items (B, LENGTH) and then of clicks in the session, -1 behind them."""
    users, length = known.shape
    newest = np.full((users, length), -1, np.int64)
    for b in range(users):
        count = 0
        for slot in range(shown.shape[1] - 1, -1, -1):
            if count < length and shown[b, slot] >= 0 and feedback[b, slot] >= CLICKED:
                newest[b, count] = shown[b, slot]
                count += 1
        for slot in range(length - 1, -1, -1):
            if count < length and known[b, slot] >= 0:
                newest[b, count] = known[b, slot]
                count += 1
        newest[b, :count] = newest[b, :count][::-1].copy()
    return newest
