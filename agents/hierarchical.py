"""Hierarchical agents: a planner, and below it a policy or a taste that scores items; plans and slates."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lerl.agents.base import Agent, Observation, Pause, TaskSpec
from lerl.agents.memory import Memory
from lerl.agents.mmr import diverse_items
from lerl.agents.retrieval import eligible_items
from lerl.agents.roles import slot_by_slot
from lerl.envs import threads
from lerl.envs.topics import unit_rows
from lerl.planners.base import PlanContexts, PlanInWords, Planner, check_plans

RATIONALE = 200  # characters of it, at most


class Hierarchy:
    """Planner, memory and exact retrieval for B slots; what makes the queries is passed in per step.

    Args:
        task: the task.
        count: B.
        planner: chooses categories, or None for all items.
        replan_every: steps a plan is kept.
        replan_below: share of the predicted clicks; a plan whose last slate brought less is replaced before that.
        diversity: weight of maximal marginal relevance among the eligible items, 0 for plain top k.
        attentive: whether `contexts` are kept without a planner too, for an encoder.
        avoidance: whether what plans say to avoid is kept away; what they allow is the same without.
        memory: what remembers sessions; one that predicts clicks from known history unless given.

    Attributes:
        widened: (B,) int, slates of the running session whose plan left fewer than k items and was widened.
        units: (I, d) float32 directions of items, by which slates are diverse.
        live: (B,) bool, slots that are planned for; the others keep whatever plan they had, and show item 0.
    """

    def __init__(
        self,
        task: TaskSpec,
        count: int,
        planner: Planner | None = None,
        *,
        replan_every: int = 1,
        diversity: float = 0.0,
        attentive: bool = False,
        replan_below: float = 0.0,
        avoidance: bool = True,
        memory: Memory | None = None,
    ) -> None:
        self.task, self.planner, self.diversity = task, planner, diversity
        self.replan_every, self.replan_below, self.avoidance = replan_every, replan_below, avoidance
        self.memory = Memory(task, count) if memory is None else memory
        self.attentive = attentive or planner is not None
        self.contexts: PlanContexts | None = None
        shape = (count, len(task.axis.names))
        self.allowed = np.ones(shape, bool)
        self.avoid = np.zeros(shape, bool)
        self.planned_at = np.zeros(count, np.int64)
        self.widened = np.zeros(count, np.int64)
        self.rationales, self._said = np.full(count, "", f"<U{RATIONALE}"), False  # whether there is any
        self._queries = np.full(count, "", object)
        self.live = np.ones(count, bool)
        self.units = unit_rows(task.knowledge.item_vectors[:, :-1])

    def begin(
        self,
        rows: NDArray[np.int64],
        observation: Observation,
        keys: NDArray[np.uint64] | None = None,
        pause: Pause | None = None,
    ) -> None:
        """New sessions in these slots, planned at once; of people who are back after a pause where one is given."""
        self.renew(rows, observation, keys, pause)
        self._look(rows)
        self._plan(rows)

    def see(self, observation: Observation) -> None:
        """Take in the newest slates; sessions get a new plan when theirs is old."""
        self.memory.see(observation)
        self.plan()

    def renew(
        self,
        rows: NDArray[np.int64],
        observation: Observation,
        keys: NDArray[np.uint64] | None = None,
        pause: Pause | None = None,
    ) -> None:
        """New sessions in these slots, whose plans are due."""
        self.memory.begin(rows, observation, keys, pause)
        self.widened[rows], self.planned_at[rows] = 0, -self.replan_every

    def plan(self, rows: NDArray[np.int64] | None = None, ended: NDArray[np.bool_] | None = None) -> None:
        """Look at what is remembered of all live slots or of these, and plan for those whose plans are old.

        Sessions that `ended` (B,) are looked at, and keep their plan.
        """
        self._look(np.flatnonzero(self.live) if rows is None else rows)
        due = self.memory.steps - self.planned_at >= self.replan_every
        if self.replan_below > 0 and self.contexts is not None:
            due |= (self.memory.steps > self.planned_at) & self._disappointing(self.contexts)
        if ended is not None:
            due &= ~ended
        self._plan(np.flatnonzero(due) if rows is None else rows[due[rows]])

    def _disappointing(self, contexts: PlanContexts) -> NDArray[np.bool_]:
        """(B,) whether the last slate brought too few of the clicks that known history predicted."""
        last = slice(-self.task.slate_size, None)
        there = contexts.recent_items[:, last] >= 0
        clicks = np.where(there, contexts.recent_feedback[:, last], 0.0).sum(axis=1)
        predicted = np.where(there, contexts.recent_estimates[:, last], 0.0).sum(axis=1)
        return np.asarray(clicks < self.replan_below * predicted)

    def _look(self, rows: NDArray[np.int64]) -> None:
        if self.attentive:
            fresh = self.memory.contexts(rows)
            everyone = np.array_equal(rows, np.arange(len(self.live)))
            self.contexts = fresh if everyone or self.contexts is None else self.contexts.replaced(rows, fresh)

    def _plan(self, rows: NDArray[np.int64]) -> None:
        rows = rows[self.live[rows]]
        if self.planner is None or self.contexts is None or not len(rows):
            return
        contexts = self.contexts.take(rows)
        plans = check_plans(self.planner.plan(contexts), contexts, self.planner)
        self.allowed[rows], self.avoid[rows] = plans.allowed, plans.avoid & self.avoidance
        self.planned_at[rows] = self.memory.steps[rows]
        if plans.rationale is not None or self._said:
            self.rationales[rows], self._said = plans.rationale or "", True
        if plans.queries is not None:
            self._queries[rows] = plans.queries
        self.memory.plans[rows] += 1

    def slots(self) -> dict[str, NDArray[Any]]:
        """See `lerl.agents.base.Agent.slots`."""
        own = {name: getattr(self, name) for name in ("allowed", "avoid", "planned_at", "widened", "rationales")}
        return self.memory.slots() | own

    def plan_of(self, row: int) -> PlanInWords | None:
        """See `lerl.agents.base.Agent.plan_of`."""
        if self.planner is None:
            return None
        names, avoid = self.task.axis.names, self.avoid[row]
        allowed, avoided = ([names[c] for c in np.flatnonzero(found)] for found in (self.allowed[row] & ~avoid, avoid))
        return PlanInWords(allowed, avoided, str(self.rationales[row]), str(self._queries[row]))

    def snapshot(self) -> dict[str, Any]:
        """A copy of what it remembers and plans, as arrays, and of its planner's `state()` where there is one."""
        plans = {name: getattr(self, name).copy() for name in ("allowed", "avoid", "planned_at", "widened")}
        learned = {} if self.planner is None else self.planner.state()
        return {"memory": self.memory.snapshot(), "plans": plans, "planner": learned}

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Remember and plan as a snapshot says."""
        self.memory.restore(snapshot["memory"])
        for name, value in snapshot["plans"].items():
            setattr(self, name, value.copy())
        if self.planner is not None:
            self.planner.restore(snapshot["planner"])
        self.contexts = None
        self._look(np.arange(len(self.widened)))

    def slates(self, queries: NDArray[np.float32]) -> NDArray[np.int32]:
        """The slates (B, k) that virtual items (B, D) stand for under the current plans, item 0 in slots not live.

        When no item is left, item 0 stands in: it was shown before, so its slot stays empty.
        """
        slates, excluded = np.zeros((len(self.live), self.task.slate_size), np.int32), self.memory.excluded
        ends, everybody, live = self.memory.ends, self.live.all(), np.flatnonzero(self.live)

        def fill(block: slice) -> None:
            rows: Any = block if everybody else live[block]
            found, widened = self._found(rows, queries[rows], excluded[rows], ends[rows])
            self.widened[rows] += widened
            slates[rows] = np.maximum(found, 0)

        threads.each(fill, len(live), self.memory.index.least)
        return slates

    def _found(
        self, rows: Any, queries: NDArray[np.float32], shown: NDArray[np.int32], ends: NDArray[np.int64]
    ) -> tuple[NDArray[np.int32], NDArray[np.bool_] | int]:
        """Slates (n, k) of some slots, -1 where no item is left, and whether their plans were widened (n,)."""
        k, roles, index = self.task.slate_size, self.task.roles, self.memory.index
        if roles is not None:
            plan = self.allowed[rows], self.avoid[rows]
            return slot_by_slot(roles, shown, lambda _, barred: index.top(queries, *plan, barred, 1))
        if self.diversity == 0:
            return self.memory.index.top(queries, self.allowed[rows], self.avoid[rows], shown, k, ends)
        eligible, widened = (None, 0) if self.planner is None else self.eligible(np.arange(len(self.live))[rows])
        vectors = self.task.knowledge.item_vectors
        return diverse_items(queries, vectors, self.units, shown, k, self.diversity, eligible), widened

    def eligible(self, rows: NDArray[np.int64] | None = None) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """The items (n, I) that slates of all or some slots may hold as planned; whether a plan was widened (n,)."""
        some: Any = slice(None) if rows is None else rows
        memory, k = self.memory, self.task.slate_size
        return eligible_items(memory.groups, self.allowed[some], self.avoid[some], memory.excluded[some], k)


class HierarchicalAgent(Agent):
    """A hierarchy steered by a scorer, as an agent.

    Args:
        hierarchy: planner, memory and retrieval.
        scorer: from the hierarchy to virtual items (B, D); by taste when None.
    """

    def __init__(self, hierarchy: Hierarchy, scorer: Callable[[Hierarchy], NDArray[np.float32]] | None = None) -> None:
        self.hierarchy = hierarchy
        self.scorer = scorer or (lambda steered: steered.memory.tastes)

    @property
    def widened(self) -> NDArray[np.int64]:  # type: ignore[override]
        """(B,) int, widened slates of the running sessions."""
        return self.hierarchy.widened

    def attend(self, live: NDArray[np.bool_]) -> None:
        """Plan for these slots (B,) only: what the others show does not count, and a plan may cost a request."""
        self.hierarchy.live = live
        self.hierarchy.memory.attend(live)

    def begin(self, rows: NDArray[np.int64], observation: Observation, keys: NDArray[np.uint64]) -> None:
        """New sessions in these slots."""
        self.hierarchy.begin(rows, observation, keys)

    def begin_again(
        self, rows: NDArray[np.int64], observation: Observation, keys: NDArray[np.uint64], pause: Pause
    ) -> None:
        """The people in these slots are back; what its memory carries over is that memory's affair."""
        self.hierarchy.begin(rows, observation, keys, pause)

    def act(self, observation: Observation) -> NDArray[np.int32]:
        """Slates (B, k)."""
        self.hierarchy.see(observation)
        return self.hierarchy.slates(self.scorer(self.hierarchy))

    def slots(self) -> dict[str, NDArray[Any]]:
        """See `Agent.slots`."""
        return self.hierarchy.slots()

    def taken_over(self, rows: NDArray[np.int64]) -> None:
        """See `Agent.taken_over`."""
        self.hierarchy.memory.taken_over(rows)

    def withhold(self, items: NDArray[np.int32]) -> None:
        """Leave these items (n,) out of slates until the next call."""
        self.hierarchy.memory.withhold(items)

    def plan_of(self, row: int) -> PlanInWords | None:
        """See `Agent.plan_of`."""
        return self.hierarchy.plan_of(row)
