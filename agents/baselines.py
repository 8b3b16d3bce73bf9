"""What agents are compared with: floors, `informed`, which knows the rules, and `privileged`, which knows all."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from lerl.agents.base import Agent, Observation, TaskSpec
from lerl.agents.informed import InformedAgent
from lerl.agents.memory import Memory
from lerl.agents.privileged import PrivilegedAgent
from lerl.agents.retrieval import ItemIndex
from lerl.agents.roles import slot_by_slot
from lerl.envs import draws, threads


class _Remembering(Agent):
    """What the floors share: knowing what was shown."""

    def __init__(self, task: TaskSpec, count: int) -> None:
        self.task = task
        self.memory = Memory(task, count)

    def begin(self, rows: NDArray[np.int64], observation: Observation, keys: NDArray[np.uint64]) -> None:
        """New sessions in these slots."""
        self.memory.begin(rows, observation, keys)

    def slots(self) -> dict[str, NDArray[Any]]:
        """See `Agent.slots`."""
        return self.memory.slots()

    def taken_over(self, rows: NDArray[np.int64]) -> None:
        """See `Agent.taken_over`."""
        self.memory.taken_over(rows)

    def withhold(self, items: NDArray[np.int32]) -> None:
        """Leave these items (n,) out of slates until the next call."""
        self.memory.withhold(items)


class RandomAgent(_Remembering):
    """Items drawn uniformly from those that may be shown."""

    def act(self, observation: Observation) -> NDArray[np.int32]:
        """Slates (B, k), drawn from each session's own stream."""
        self.memory.see(observation)
        memory, items, k, roles = self.memory, len(self.task.catalog), self.task.slate_size, self.task.roles
        excluded = memory.excluded
        if roles is not None:
            filled, _ = slot_by_slot(
                roles,
                excluded,
                lambda s, barred: (_draw_items(memory.keys + np.uint64(s), memory.steps, barred, items, 1), 0),
            )
            return np.maximum(filled, 0)

        def draw(at: slice) -> tuple[NDArray[np.int32]]:
            return (_draw_items(memory.keys[at], memory.steps[at], excluded[at], items, k),)

        (drawn,) = threads.joined(draw, len(excluded), threads.least(1 + items / 500))
        return np.maximum(drawn, 0)


@njit(cache=True, nogil=True)
def _draw_items(keys, steps, shown, items, k):  # type: ignore[no-untyped-def]
    slates = np.full((len(keys), k), -1, np.int32)
    free = np.empty(items, np.int32)
    for b in range(len(keys)):
        used = np.zeros(items, np.bool_)
        for slot in range(shown.shape[1]):
            if shown[b, slot] >= 0:
                used[shown[b, slot]] = True
        count = 0
        for item in range(items):
            if not used[item]:
                free[count] = item
                count += 1
        key = draws.stream(keys[b], 2, steps[b], 0)
        for s in range(min(k, count)):
            pick = s + int(draws.uniform(key, s) * (count - s))
            slates[b, s] = free[pick]
            free[pick] = free[s]
    return slates


class PopularityAgent(_Remembering):
    """The items with most known clicks among those that may be shown; the same for everybody."""

    def __init__(self, task: TaskSpec, count: int) -> None:
        super().__init__(task, count)
        self._index = ItemIndex(task.knowledge.popularity[:, None], self.memory.groups)
        self._all = np.ones((count, len(task.axis.names)), bool)

    def act(self, observation: Observation) -> NDArray[np.int32]:
        """Slates (B, k); when no item is left, one shown before leaves its slot empty."""
        self.memory.see(observation)
        everybody, k = np.ones((len(self._all), 1), np.float32), self.task.slate_size
        excluded, roles = self.memory.excluded, self.task.roles
        if roles is not None:
            top = self._index.top
            filled, _ = slot_by_slot(
                roles, excluded, lambda _, barred: top(everybody, self._all, ~self._all, barred, 1)
            )
            return np.maximum(filled, 0)
        slates, _ = self._index.top(everybody, self._all, ~self._all, excluded, k)
        return np.maximum(slates, 0)


BASELINES: dict[str, Callable[[TaskSpec, int], Agent]] = {
    "random": RandomAgent,
    "popularity": PopularityAgent,
    "informed": InformedAgent,
    "privileged": PrivilegedAgent,
}
