"""What an agent remembers of the sessions in its slots: what was shown, what came back, what had been expected."""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from lerl.agents.base import Setting
from lerl.agents.retrieval import score_all
from lerl.envs.draws import seed_from
from lerl.planners.base import PlanContexts

Observation = dict[str, NDArray[Any]]
KEPT = ("shown", "feedback", "estimates", "steps", "plans", "tastes", "offsets", "counts", "liked", "keys")
BEST = 3  # items over which a category's liking is averaged


class Memory:
    """Sessions in B slots, fed with observations; slots never see each other.

    Attributes:
        shown: (B, T * k) int32, items in order, -1 beyond.
        feedback, estimates: (B, T * k) float32, what came back and what known history promised.
        steps, plans: (B,) int64, slates shown, and plans made (counted by whoever plans).
        tastes: (B, D) float32 and offsets: (B,) float32, from the observation.
    """

    def __init__(self, setting: Setting, count: int) -> None:
        slots = setting.max_steps * setting.slate_size
        self.setting = setting
        self.groups = setting.axis.groups
        self.shown = np.full((count, slots), -1, np.int32)
        self.feedback = np.full((count, slots), -1, np.float32)
        self.estimates = np.zeros((count, slots), np.float32)
        self.steps = np.zeros(count, np.int64)
        self.plans = np.zeros(count, np.int64)
        self.tastes = np.zeros((count, setting.knowledge.tastes.shape[1]), np.float32)
        self.offsets = np.zeros(count, np.float32)
        self.counts = np.zeros((count, len(setting.axis.names)), np.float32)
        self.liked = np.zeros((count, len(setting.axis.names)), np.float32)
        self.keys = np.zeros(count, np.uint64)
        self._begun = 0
        self._columns = np.ascontiguousarray(setting.knowledge.item_vectors.T)

    def begin(self, rows: NDArray[np.int64], observation: Observation, keys: NDArray[np.uint64] | None = None) -> None:
        """Forget these slots: new sessions start there. Keys tell sessions apart; made here unless given."""
        self.shown[rows], self.feedback[rows], self.estimates[rows] = -1, -1, 0
        self.steps[rows], self.plans[rows], self.counts[rows], self.liked[rows] = 0, 0, 0, 0
        self.tastes[rows] = observation["taste"][rows]
        self.offsets[rows] = observation["taste_offset"][rows, 0]
        if keys is None:
            keys = np.array([seed_from(self.setting.seed, self._begun + i) for i in range(len(rows))], np.uint64)
            self._begun += len(rows)
        self.keys[rows] = keys

    def see(self, observation: Observation) -> None:
        """Take in the newest slate of every slot whose session has moved on."""
        setting = self.setting
        steps = np.rint((1 - observation["time_left"][:, 0]) * setting.max_steps).astype(np.int64)
        _take_in(
            np.flatnonzero(steps == self.steps + 1),
            observation["recent_items"],
            observation["recent_feedback"],
            self.steps,
            setting.slate_size,
            self.tastes,
            self.offsets,
            setting.knowledge.item_vectors,
            self.groups,
            self.shown,
            self.feedback,
            self.estimates,
            self.counts,
            self.liked,
        )

    def snapshot(self) -> dict[str, Any]:
        """A copy of all that is remembered, as arrays; `restore` takes it back."""
        return {name: value.copy() for name, value in vars(self).items() if name in KEPT} | {"begun": self._begun}

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Remember what a snapshot holds, and nothing else."""
        for name in KEPT:
            setattr(self, name, snapshot[name].copy())
        self._begun = snapshot["begun"]

    @property
    def barred(self) -> NDArray[np.int32]:
        """(B, S) items that may not be shown again, -1 as padding."""
        return self.shown[:, :0] if self.setting.repeats else self.shown

    def contexts(self, rows: NDArray[np.int64], history: int = 20) -> PlanContexts:
        """What a planner may know of the sessions in these slots."""
        setting = self.setting
        slots = history * setting.slate_size
        recent, feedback, estimates = _newest(
            rows, self.steps * setting.slate_size, slots, self.shown, self.feedback, self.estimates
        )
        counts = self.counts[rows]
        liked = np.where(counts > 0, self.liked[rows] / np.maximum(counts, 1), np.float32(-1))
        return PlanContexts(
            axis=setting.axis,
            slate_size=setting.slate_size,
            session_key=self.keys[rows],
            steps=self.steps[rows],
            plans=self.plans[rows],
            liking=self.liking(rows),
            counts=counts,
            feedback=liked,
            recent_items=recent,
            recent_feedback=feedback,
            recent_estimates=estimates,
        )

    def liking(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Estimated chance of a click on the best items left in each category, (n, C), 0 where none is left."""
        return _liking(
            self.tastes[rows],
            self.offsets[rows],
            self._columns,
            self.groups,
            self.barred[rows],
            len(self.setting.axis.names),
            BEST,
        )


@njit(cache=True)
def _take_in(  # type: ignore[no-untyped-def]
    rows, items, answers, steps, k, tastes, offsets, vectors, groups, shown, feedback, estimates, counts, liked
):
    newest = items.shape[1] - k
    for b in rows:
        for s in range(k):
            item = items[b, newest + s]
            slot = steps[b] * k + s
            shown[b, slot] = item
            feedback[b, slot] = answers[b, newest + s]
            if item >= 0:
                logit = offsets[b]
                for j in range(tastes.shape[1]):
                    logit += tastes[b, j] * vectors[item, j]
                estimates[b, slot] = 1.0 / (1.0 + np.exp(-logit))
                for m in range(groups.shape[1]):
                    if groups[item, m] >= 0:
                        counts[b, groups[item, m]] += 1
                        liked[b, groups[item, m]] += answers[b, newest + s]
        steps[b] += 1


@njit(cache=True)
def _newest(rows, ends, slots, shown, feedback, estimates):  # type: ignore[no-untyped-def]
    items = np.full((len(rows), slots), -1, np.int32)
    answers = np.full((len(rows), slots), -1.0, np.float32)
    promised = np.zeros((len(rows), slots), np.float32)
    for n in range(len(rows)):
        b = rows[n]
        for slot in range(min(slots, ends[b])):
            items[n, slots - 1 - slot] = shown[b, ends[b] - 1 - slot]
            answers[n, slots - 1 - slot] = feedback[b, ends[b] - 1 - slot]
            promised[n, slots - 1 - slot] = estimates[b, ends[b] - 1 - slot]
    return items, answers, promised


@njit(cache=True)
def _liking(tastes, offsets, columns, groups, shown, categories, best):  # type: ignore[no-untyped-def]
    users, items = len(tastes), columns.shape[1]
    liking = np.zeros((users, categories), np.float32)
    scores = np.empty(items, np.float32)
    top = np.empty((categories, best), np.float32)
    for b in range(users):
        score_all(tastes, b, columns, scores)
        for slot in range(shown.shape[1]):
            if shown[b, slot] >= 0:
                scores[shown[b, slot]] = -np.inf
        top[:] = -np.inf
        for item in range(items):
            for m in range(groups.shape[1]):
                group = groups[item, m]
                if group >= 0 and scores[item] > top[group, best - 1]:
                    place = best - 1
                    while place > 0 and top[group, place - 1] < scores[item]:
                        top[group, place] = top[group, place - 1]
                        place -= 1
                    top[group, place] = scores[item]
        for c in range(categories):
            total, count = 0.0, 0
            for place in range(best):
                if top[c, place] > -np.inf:
                    total += 1.0 / (1.0 + np.exp(-top[c, place] - offsets[b]))
                    count += 1
            if count > 0:
                liking[b, c] = total / count
    return liking
