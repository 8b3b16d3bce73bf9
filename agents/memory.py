"""What an agent remembers of the sessions in its slots: what was shown, what came back, what was predicted."""

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from lerl.agents.base import Observation, Pause, TaskSpec
from lerl.agents.retrieval import Best, ItemIndex, best_unseen, mark
from lerl.envs import threads
from lerl.envs.draws import seed_from
from lerl.planners.base import PlanContexts

KEPT = ("shown", "feedback", "estimates", "steps", "plans", "tastes", "offsets", "counts", "liked", "keys")
BEST = 3  # items over which a category's predicted CTR is averaged
KNOWN = 8  # best items of a category that are looked up once a session; where they are used up, the others are
MET = 2**20  # how many of these are remembered of users who were there before, of all together
GONE = -2  # in the place of one of these that was shown


class Memory:
    """Sessions in B slots, fed with observations; slots never see each other.

    Attributes:
        shown: (B, T * k) int32, items in order, -1 beyond.
        feedback, estimates: (B, T * k) float32, what came back and what known history predicted.
        steps, plans: (B,) int64, slates shown, and plans made (counted by whoever plans).
        tastes: (B, D) float32 and offsets: (B,) float32, from the observation.
    """

    def __init__(self, task: TaskSpec, count: int) -> None:
        slots = task.max_steps * task.slate_size
        self.task = task
        self.groups = task.axis.groups
        self.shown = np.full((count, slots), -1, np.int32)
        self.feedback = np.full((count, slots), -1, np.float32)
        self.estimates = np.zeros((count, slots), np.float32)
        self.steps = np.zeros(count, np.int64)
        self.plans = np.zeros(count, np.int64)
        self.tastes = np.zeros((count, task.knowledge.tastes.shape[1]), np.float32)
        self.offsets = np.zeros(count, np.float32)
        self.counts = np.zeros((count, len(task.axis.names)), np.float32)
        self.liked = np.zeros((count, len(task.axis.names)), np.float32)
        self.keys = np.zeros(count, np.uint64)
        self.withheld = np.zeros(0, np.int32)
        self._begun = 0
        self.index = ItemIndex(task.knowledge.item_vectors, self.groups)
        filled = len(self.index.tiles.starts) - 2  # categories up to the last that has items
        self._best = np.full((count, filled, KNOWN), GONE, np.int32)  # until sessions begin
        self._scores = np.zeros(self._best.shape, np.float32)
        self._met: dict[bytes, Best] = {}
        self._predicted_ctr = np.zeros_like(self.liked)
        self._stale = np.ones(self.liked.shape, bool)
        self._slots = _Slots(  # the same arrays for good: whatever changes them writes into them
            self.steps, self.shown, self.feedback, self.estimates, self.tastes, self.offsets, self.counts, self.liked,
            self._best, self._scores, self._stale, self._predicted_ctr,
        )  # fmt: skip

    def attend(self, live: NDArray[np.bool_]) -> None:
        """Which slots (B,) hold a session that counts; all of them are remembered."""

    def begin(
        self,
        rows: NDArray[np.int64],
        observation: Observation,
        keys: NDArray[np.uint64] | None = None,
        pause: Pause | None = None,
    ) -> None:
        """Forget these slots: new sessions start there. Keys tell sessions apart; made here unless given.

        Where the same people come back after a `pause`, their last session is forgotten all the same.
        """
        self.shown[rows], self.feedback[rows], self.estimates[rows] = -1, -1, 0
        self.steps[rows], self.plans[rows], self.counts[rows], self.liked[rows] = 0, 0, 0, 0
        self.tastes[rows] = observation["taste"][rows]
        self.offsets[rows] = observation["taste_offset"][rows, 0]
        self._meet(rows)
        self._stale[rows] = True
        if keys is None:
            keys = np.array([seed_from(self.task.seed, self._begun + i) for i in range(len(rows))], np.uint64)
            self._begun += len(rows)
        self.keys[rows] = keys

    def _meet(self, rows: NDArray[np.int64]) -> None:
        """Look up the best items for whoever is in these slots, and remember them for when they come again."""
        if len(self._met) * self._best[0].size > MET:
            self._met.clear()
        new = []
        for row in rows.tolist():
            met = self._met.get(self.tastes[row].tobytes())
            if met is None:
                new.append(row)
            else:
                self._best[row], self._scores[row] = met
        found = self.index.best(self.tastes[new], KNOWN)
        self._best[new], self._scores[new] = found
        self._met.update(zip((taste.tobytes() for taste in self.tastes[new]), zip(*found, strict=True), strict=True))

    def see(self, observation: Observation) -> None:
        """Take in the newest slate of every slot whose session has moved on."""
        task = self.task
        steps = np.rint((1 - observation["time_left"][:, 0]) * task.max_steps).astype(np.int64)
        moved = np.flatnonzero(steps == self.steps + 1)
        items, feedback = observation["recent_items"], observation["recent_feedback"]
        vectors, k = task.knowledge.item_vectors, task.slate_size
        threads.each(
            lambda block: _take_in(moved[block], items, feedback, self._slots, vectors, self.groups, k, task.repeats),
            len(moved),
            threads.least(0.1 + 0.1 * k),
        )

    def snapshot(self) -> dict[str, Any]:
        """A copy of all that is remembered, as arrays; `restore` takes it back."""
        return {name: value.copy() for name, value in vars(self).items() if name in KEPT} | {"begun": self._begun}

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Remember what a snapshot holds, and nothing else."""
        for name in KEPT:
            getattr(self, name)[:] = snapshot[name]
        self._begun = snapshot["begun"]
        self._best[:], self._stale[:] = GONE, True

    @property
    def excluded(self) -> NDArray[np.int32]:
        """(B, S) items that may not be shown, -1 as padding."""
        shown = self.shown[:, :0] if self.task.repeats else self.shown
        if not len(self.withheld):
            return shown
        return np.concatenate([np.broadcast_to(self.withheld, (len(shown), len(self.withheld))), shown], axis=1)

    @property
    def ends(self) -> NDArray[np.int64]:
        """(B,) where the padding of `excluded` begins."""
        return len(self.withheld) + self.steps * self.task.slate_size

    def withhold(self, items: NDArray[np.int32]) -> None:
        """Have these items (n,) among the excluded, until the next call."""
        if len(items) or len(self.withheld):
            self.withheld, self._stale[:] = items, True
            self._best[:] = GONE

    def slots(self) -> dict[str, NDArray[Any]]:
        """See `lerl.agents.base.Agent.slots`."""
        return {name: getattr(self, name) for name in KEPT}

    def taken_over(self, rows: NDArray[np.int64]) -> None:
        """See `lerl.agents.base.Agent.taken_over`."""
        self._best[rows], self._stale[rows] = GONE, True

    def contexts(self, rows: NDArray[np.int64], history: int = 20) -> PlanContexts:
        """What a planner may know of the sessions in these slots."""
        task = self.task
        slots = history * task.slate_size
        recent, feedback, estimates, counts, liked = self._history(rows, slots)
        return PlanContexts(
            axis=task.axis,
            slate_size=task.slate_size,
            session_key=self.keys[rows],
            steps=self.steps[rows],
            plans=self.plans[rows],
            counts=counts,
            feedback=liked,
            recent_items=recent,
            recent_feedback=feedback,
            recent_estimates=estimates,
            **self.expected(rows),
        )

    def _history(self, rows: NDArray[np.int64], slots: int) -> tuple[NDArray[Any], ...]:
        """Of some rows: items, feedback and estimates (n, slots) of the last slots; counts and mean feedback (n, C)."""
        wide, narrow, ends = (len(rows), slots), (len(rows), self.counts.shape[1]), self.steps * self.task.slate_size
        newest = np.empty(wide, np.int32), np.empty(wide, np.float32), np.empty(wide, np.float32)
        counts, means = np.empty(narrow, np.float32), np.empty(narrow, np.float32)

        def look(block: slice) -> None:
            own = rows[block]
            _newest(own, ends, self.shown, self.feedback, self.estimates, *threads.cut(newest, block))
            counts[block] = count = self.counts[own]
            means[block] = np.where(count > 0, self.liked[own] / np.maximum(count, 1), np.float32(-1))

        threads.each(look, len(rows), threads.least(0.3 + slots / 500))
        return *newest, counts, means

    def expected(self, rows: NDArray[np.int64]) -> dict[str, NDArray[np.float32]]:
        """What contexts say of categories beyond what happened: by name, (n, C) each."""
        return {"predicted_ctr": self.predicted_ctr(rows)}

    def predicted_ctr(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Estimated chance of a click on the best items left in each category, (n, C), 0 where none is left."""
        tiles, excluded = self.index.tiles, self.excluded
        threads.each(
            lambda block: _predict(rows[block], self._slots, tiles, excluded),
            len(rows),
            threads.least(0.5 + tiles.vectors.size / 50_000),  # few of the lists are made anew
        )
        return self._predicted_ctr[rows]


class _Slots(NamedTuple):
    """What kernels see of a `Memory`, S = T * k.

    Attributes:
        steps: (B,). shown, feedback, estimates: (B, S). tastes: (B, D). offsets: (B,).
        counts, liked: (B, C), slots shown of each category, and the sum of the feedback on them.
        best, scores: (B, C, KNOWN) each category's best items and their inner products with the taste.
        stale: (B, C) bool, where predicted_ctr, (B, C), has to be computed again.
    """

    steps: NDArray[np.int64]
    shown: NDArray[np.int32]
    feedback: NDArray[np.float32]
    estimates: NDArray[np.float32]
    tastes: NDArray[np.float32]
    offsets: NDArray[np.float32]
    counts: NDArray[np.float32]
    liked: NDArray[np.float32]
    best: NDArray[np.int32]
    scores: NDArray[np.float32]
    stale: NDArray[np.bool_]
    predicted_ctr: NDArray[np.float32]


@njit(cache=True, nogil=True)
def _take_in(rows, items, answers, slots, vectors, groups, k, repeats):  # type: ignore[no-untyped-def]
    """slots <- the newest slate of these rows, the last k of items and answers (B, H)."""
    steps, shown, feedback, estimates = slots.steps, slots.shown, slots.feedback, slots.estimates
    tastes, offsets, counts, liked = slots.tastes, slots.offsets, slots.counts, slots.liked
    best, stale = slots.best, slots.stale
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
                        if not repeats and _strike(item, best[b, groups[item, m]]):
                            stale[b, groups[item, m]] = True
        steps[b] += 1


@njit(cache=True)
def _strike(item, names):  # type: ignore[no-untyped-def]
    """Put GONE in an item's place among names (L,); whether it was there."""
    for place in range(len(names)):
        if names[place] == item:
            names[place] = GONE
            return True
    return False


@njit(cache=True, nogil=True)
def _newest(rows, ends, shown, feedback, estimates, items, answers, predicted):  # type: ignore[no-untyped-def]
    slots = items.shape[1]
    for n in range(len(rows)):
        b = rows[n]
        there = min(slots, ends[b])
        for slot in range(slots - there):
            items[n, slot], answers[n, slot], predicted[n, slot] = -1, -1.0, 0.0
        for slot in range(there):
            items[n, slots - 1 - slot] = shown[b, ends[b] - 1 - slot]
            answers[n, slots - 1 - slot] = feedback[b, ends[b] - 1 - slot]
            predicted[n, slots - 1 - slot] = estimates[b, ends[b] - 1 - slot]


@njit(cache=True, nogil=True)
def _predict(rows, slots, tiles, shown):  # type: ignore[no-untyped-def]
    """predicted_ctr of slots <- the mean chance of a click on the BEST best items left, where it is stale.

    A list of best items is made anew where too few of it are left; those shown (B, S) are not in it then.
    """
    tastes, offsets, best, scores = slots.tastes, slots.offsets, slots.best, slots.scores
    stale, predicted_ctr = slots.stale, slots.predicted_ctr
    seen = np.zeros(len(tiles.groups), np.bool_)
    for b in rows:
        for c in range(best.shape[1]):
            if not stale[b, c]:
                continue
            if _count(best[b, c]) < BEST and best[b, c, -1] != -1:
                mark(seen, shown[b], True)
                best_unseen(tastes, b, tiles, c, seen, best[b, c], scores[b, c])
                mark(seen, shown[b], False)
            predicted_ctr[b, c] = _chance(best[b, c], scores[b, c], offsets[b], BEST)
            stale[b, c] = False


@njit(cache=True)
def _count(names):  # type: ignore[no-untyped-def]
    """How many of names (L,) are items."""
    count = 0
    for place in range(len(names)):
        count += names[place] >= 0
    return count


@njit(cache=True, forceinline=True, error_model="numpy")
def _chance(names, scores, offset, most):  # type: ignore[no-untyped-def]
    """The mean chance of a click on the first `most` of names (L,) that are items, 0 where none is."""
    total, found = 0.0, 0
    for place in range(len(names)):
        if names[place] >= 0 and found < most:
            total += 1.0 / (1.0 + np.exp(-scores[place] - offset))
            found += 1
    return total / max(found, 1)
