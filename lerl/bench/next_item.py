"""The two sides of the case of next-item agents: scores when only new clicks are read, and when all are read again."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from lerl.agents.next_item.base import NextItem
from lerl.agents.next_item.follower import ListFollower
from lerl.agents.next_item.registry import IN_SESSIONS
from lerl.envs.sequences import Lists

ROWS = ("sasrec", "tiger", "s2gr", "mdgr")
LENGTH, SLATE = 50, 6


class NextItemCase:
    """Sessions in which an item is clicked after each slate, and all items are scored then; clicked ones are barred.

    Args:
        row: in sessions. sessions: how many side by side. first: clicks known at the beginning. steps: that follow.
    """

    def __init__(self, row: NextItem, sessions: int, first: int, steps: int) -> None:
        found = row.follower(sessions)
        if not isinstance(found, ListFollower):
            raise TypeError(f"{type(row).__name__} reads everything again at each step")
        self.row, self.follower, self.first, self.steps = row, found, first, steps
        clicks = np.random.default_rng(0).permuted(np.tile(np.arange(row.items), (sessions, 1)), axis=1)
        self.clicks = clicks[:, : first + steps].astype(np.int32)

    def followed(self) -> float:
        """All steps, reading what is new; how many slates. The first, which reads everything, is one of them."""
        slots = np.arange(len(self.clicks))
        self.follower.forget(slots)
        return self._steps(lambda *given: self.follower.within(slots, *given))

    def again(self) -> float:
        """The same, reading everything at each step."""
        return self._steps(self.row.within)

    def _steps(self, within: Callable[..., Any]) -> float:
        for step in range(self.steps + 1):
            lists = self.clicks[:, : self.first + step]
            allowed = np.ones((len(lists), self.row.items), bool)
            np.put_along_axis(allowed, lists.astype(np.int64), False, axis=1)
            within(Lists(lists.ravel(), np.arange(len(lists) + 1) * lists.shape[1]), allowed, SLATE)
        return float(len(self.clicks) * (self.steps + 1))


def learned(name: str, items: int) -> NextItem:
    """A row of its size in `lerl rank` that has learned a little from what 50 users clicked by chance."""
    draw = np.random.default_rng(0)
    row = IN_SESSIONS[name](items)
    if hasattr(row.settings, "epochs"):
        row.settings = replace(row.settings, epochs=1)
    row.know({"title": [" ".join(f"word{one}" for one in draw.integers(500, size=5)) for _ in range(items)]})
    row.learn(Lists.of([draw.integers(items, size=5) for _ in range(50)]), seed=0)
    torch.set_num_threads(1)
    return row
