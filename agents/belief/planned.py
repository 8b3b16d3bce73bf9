"""A planner above the belief: it sees what is believed now, and slates are filled by belief within its plans."""

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from lerl.agents.base import Observation, Pause, TaskSpec
from lerl.agents.belief.agent import BeliefAgent
from lerl.agents.belief.filter import Belief
from lerl.agents.hierarchical import HierarchicalAgent, Hierarchy
from lerl.agents.memory import BEST, Memory
from lerl.agents.retrieval import ItemIndex, best_unseen, mark
from lerl.envs import threads

NAME = "belief"
"""What it is called below a planner: PLANNER+belief."""


class BeliefMemory(Memory):
    """Remembers sessions as `Memory` does, and predicts clicks by what is believed of each instead of known history.

    Args:
        agent: keeps the belief, and is told what happens.
    """

    def __init__(self, task: TaskSpec, agent: BeliefAgent) -> None:
        super().__init__(task, len(agent.live))
        self.agent, model = agent, agent.model
        self._learned = ItemIndex(np.column_stack([model.vectors, model.offsets]), self.groups)

    def attend(self, live: NDArray[np.bool_]) -> None:
        """Believe something of these slots (B,) only."""
        self.agent.attend(live)

    def begin(
        self,
        rows: NDArray[np.int64],
        observation: Observation,
        keys: NDArray[np.uint64] | None = None,
        pause: Pause | None = None,
    ) -> None:
        """Forget these slots: new sessions start there. What is believed of people who are back after a pause stays."""
        super().begin(rows, observation, keys, pause)
        if pause is None:
            self.agent.begin(rows, observation, self.keys[rows])
        else:
            self.agent.begin_again(rows, observation, self.keys[rows], pause)

    def _meet(self, rows: NDArray[np.int64]) -> None:
        """Nothing is looked up by known taste."""

    def see(self, observation: Observation) -> None:
        """Take in the newest slate of every slot whose session has moved on, and what was predicted of it."""
        k, before = self.task.slate_size, self.steps.copy()
        newest, agent = np.ascontiguousarray(observation["recent_items"][:, -k:]), self.agent
        (rested,) = threads.joined(
            lambda block: (_rested(agent.model, Belief(*threads.cut(agent.belief, block)), newest[block]),),
            len(newest),
            threads.least(0.1 + k / 20),
        )
        super().see(observation)
        self.agent.see(observation)
        moved = np.flatnonzero(self.steps > before)
        self.estimates[moved[:, None], before[moved, None] * k + np.arange(k)] = rested[moved]

    def expected(self, rows: NDArray[np.int64]) -> dict[str, NDArray[np.float32]]:
        """Chance of a click, tiredness and uncertainty by belief, of the best items left in each category."""
        found = _Expected(*(np.zeros((len(rows), self.counts.shape[1]), np.float32) for _ in _Expected._fields))
        model, belief, tiles, excluded = self.agent.model, self.agent.belief, self._learned.tiles, self.excluded
        threads.each(
            lambda block: _look(rows[block], model, belief, tiles, excluded, _Expected(*threads.cut(found, block))),
            len(rows),
            threads.least(2 + tiles.vectors.size / 5_000),
        )
        return found._asdict()

    def slots(self) -> dict[str, NDArray[Any]]:
        """See `lerl.agents.base.Agent.slots`."""
        return super().slots() | {f"belief.{name}": array for name, array in self.agent.slots().items()}

    def snapshot(self) -> dict[str, Any]:
        """A copy of all that is remembered and believed, as arrays."""
        return super().snapshot() | {"belief": {name: value.copy() for name, value in self.agent.slots().items()}}

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Remember and believe what a snapshot holds."""
        super().restore(snapshot)
        for name, value in self.agent.slots().items():
            value[:] = snapshot["belief"][name]


class PlannedBeliefAgent(HierarchicalAgent):
    """A hierarchy whose slates are filled by the belief that its planner saw.

    Args:
        hierarchy: its memory is a `BeliefMemory`.
    """

    def __init__(self, hierarchy: Hierarchy) -> None:
        super().__init__(hierarchy)
        if not isinstance(hierarchy.memory, BeliefMemory):
            raise TypeError(f"the hierarchy's memory must be a BeliefMemory, given {type(hierarchy.memory).__name__}")
        self.belief = hierarchy.memory.agent

    def act(self, observation: Observation) -> NDArray[np.int32]:
        """Slates (B, k): by belief among the items that the plan allows, widened where it leaves fewer than k."""
        hierarchy = self.hierarchy
        hierarchy.see(observation)

        def shut(block: slice) -> NDArray[np.int32]:
            items = np.full((block.stop - block.start, len(hierarchy.memory.groups)), -1, np.int32)
            live = np.flatnonzero(hierarchy.live[block])
            eligible, widened = hierarchy.eligible(block.start + live)
            hierarchy.widened[block.start + live] += widened
            items[live] = np.where(eligible, np.int32(-1), np.arange(items.shape[1], dtype=np.int32))
            return items

        return self.belief.slates_of(shut)


class _Expected(NamedTuple):
    """(n, C) float32 each; see `PlanContexts`."""

    predicted_ctr: NDArray[np.float32]
    tiredness: NDArray[np.float32]
    uncertainty: NDArray[np.float32]


@njit(cache=True, nogil=True)
def _rested(model, belief, items):  # type: ignore[no-untyped-def]
    """Chances of a click on items (B, k) before boredom, as believed now; 0.5 for no item."""
    found, dim = np.full(items.shape, 0.5, np.float32), model.vectors.shape[1]
    for b in range(len(items)):
        for s in range(items.shape[1]):
            if items[b, s] >= 0:
                z = belief.mean[b, dim] + model.offsets[items[b, s]] - model.tire * belief.fatigue[b]
                for a in range(dim):
                    z += belief.mean[b, a] * model.vectors[items[b, s], a]
                found[b, s] = 1.0 / (1.0 + np.exp(-z))
    return found


@njit(cache=True, nogil=True)
def _look(rows, model, belief, tiles, shown, found):  # type: ignore[no-untyped-def]
    """found (n, C) <- of the BEST best items of each category that were not shown (B, S), by belief before boredom."""
    dim, categories = model.vectors.shape[1], len(tiles.starts) - 2
    seen, taste = np.zeros(len(tiles.groups), np.bool_), np.ones((1, dim + 1), np.float32)
    names, tops, mean = np.empty(BEST, np.int32), np.empty(BEST, np.float32), np.empty(dim + 1)
    for n in range(len(rows)):
        b = rows[n]
        for a in range(dim):
            taste[0, a] = belief.mean[b, a]
        level, cov, exposure = belief.mean[b, dim] - model.tire * belief.fatigue[b], belief.cov[b], belief.exposure[b]
        mark(seen, shown[b], True)
        for c in range(categories):
            best_unseen(taste, 0, tiles, c, seen, names, tops)
            chance, loss, count = 0.0, 0.0, 0
            for place in range(BEST):
                if names[place] >= 0:
                    count += 1
                    chance += 1.0 / (1.0 + np.exp(-tops[place] - level))
                    for t in range(model.suffers.shape[1]):
                        loss += model.suffers[names[place], t] * exposure[t]
            if count:
                found.predicted_ctr[n, c] = chance / count
                found.tiredness[n, c] = model.weight * loss / count
                found.uncertainty[n, c] = np.sqrt(_variance(model.vectors, cov, names, count, mean))
        mark(seen, shown[b], False)


@njit(cache=True)
def _variance(vectors, cov, items, count, mean):  # type: ignore[no-untyped-def]
    """Of the mean log-odds of the first `count` of items (n,), people having covariance cov (d + 1, d + 1).

    mean: (d + 1,), overwritten.
    """
    dim, share, total = vectors.shape[1], 1.0 / count, 0.0
    mean[:] = 0.0
    mean[dim] = 1.0
    for place in range(count):
        for a in range(dim):
            mean[a] += share * vectors[items[place], a]
    for a in range(dim + 1):
        half = 0.5 * mean[a] * cov[a, a]
        for c in range(a):
            half += mean[c] * cov[a, c]
        total += 2.0 * mean[a] * half
    return max(total, 0.0)
