"""What an agent remembers of the sessions in its slots: what was shown, what came back, what had been expected."""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from lerl.agents.base import Setting
from lerl.agents.retrieval import ItemIndex, best_unseen, mark
from lerl.envs.draws import seed_from
from lerl.planners.base import PlanContexts

Observation = dict[str, NDArray[Any]]
KEPT = ("shown", "feedback", "estimates", "steps", "plans", "tastes", "offsets", "counts", "liked", "keys")
BEST = 3  # items over which a category's liking is averaged
KNOWN = 8  # best items of a category that are looked up once a session; where they are used up, the others are


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
        self.index = ItemIndex(setting.knowledge.item_vectors, self.groups)
        self._best, self._scores = self.index.best(self.tastes, KNOWN)

    def begin(self, rows: NDArray[np.int64], observation: Observation, keys: NDArray[np.uint64] | None = None) -> None:
        """Forget these slots: new sessions start there. Keys tell sessions apart; made here unless given."""
        self.shown[rows], self.feedback[rows], self.estimates[rows] = -1, -1, 0
        self.steps[rows], self.plans[rows], self.counts[rows], self.liked[rows] = 0, 0, 0, 0
        self.tastes[rows] = observation["taste"][rows]
        self.offsets[rows] = observation["taste_offset"][rows, 0]
        self._best[rows], self._scores[rows] = self.index.best(self.tastes[rows], KNOWN)
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
        self._best, self._scores = self.index.best(self.tastes, KNOWN)

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
        index = self.index
        return _liking(
            rows, self.tastes, self.offsets, self._best, self._scores, index.tiles, index.items, index.starts,
            self.barred, len(self.setting.axis.names), BEST, len(self.groups),
        )  # fmt: skip


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
def _liking(rows, tastes, offsets, known, scores, tiles, items, starts, shown, categories, best, count):  # type: ignore[no-untyped-def]
    """Mean chance of the best items left; `known` and `scores` list the best, anew where too few of them are left."""
    liking = np.zeros((len(rows), categories), np.float32)
    seen = np.zeros(count, np.bool_)
    top = np.empty(best, np.float32)
    for n in range(len(rows)):
        b = rows[n]
        mark(seen, shown[b], True)
        for c in range(known.shape[1]):
            found = _left(known[b, c], scores[b, c], seen, top)
            if found < best and known[b, c, -1] >= 0:
                part = slice(starts[c], starts[c + 1])
                best_unseen(tastes, b, tiles[part], items[part], seen, known[b, c], scores[b, c])
                found = _left(known[b, c], scores[b, c], seen, top)
            total = 0.0
            for place in range(found):
                total += 1.0 / (1.0 + np.exp(-top[place] - offsets[b]))
            if found > 0:
                liking[n, c] = total / found
        mark(seen, shown[b], False)
    return liking


@njit(cache=True)
def _left(names, scores, seen, top):  # type: ignore[no-untyped-def]
    """top (n,) <- the scores of the first names (L,) not seen, -1 as padding; how many there are, at most n."""
    found = 0
    for place in range(len(names)):
        if found == len(top) or names[place] < 0:
            break
        if not seen[names[place]]:
            top[found] = scores[place]
            found += 1
    return found
