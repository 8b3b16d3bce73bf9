"""Agents that fill slates whose slots have roles, by a model of wholes, alone or under a planner."""

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lerl.agents.base import Observation, Pause
from lerl.agents.composite.fill import best_whole
from lerl.agents.composite.model import JIMA, POLYADIC, Terms
from lerl.agents.composite.person import People, Prior
from lerl.agents.hierarchical import HierarchicalAgent, Hierarchy

CPD = "cpd"
"""The agent that learns a CP decomposition, as `lerl.agents.composite.baselines.polyadic` does: from wholes alone."""

ROWS = {
    "jima": Terms(),
    "jima-without-third": Terms(third=False),
    "additive": Terms(pairs=False, third=False),
    CPD: POLYADIC,
}
"""Agents by name, and what their models may do with."""


class Outfits(NamedTuple):
    """What an agent plays by: a model of wholes, and what known taste says of people."""

    model: JIMA
    prior: Prior

    def as_arrays(self) -> dict[str, Any]:
        """Arrays and numbers by name, of which `of` makes the same again."""
        model = asdict(self.model)
        terms = np.array(list(model.pop("terms").values()))
        parts = {**model, **{f"prior_{name}": value for name, value in self.prior._asdict().items()}}
        return {"terms": terms} | {name: one if np.ndim(one) else float(one) for name, one in parts.items()}

    @staticmethod
    def of(kept: Mapping[str, Any]) -> "Outfits":
        """What `as_arrays` gave.

        Raises:
            KeyError: a part is missing.
        """
        parts: dict[str, Any] = {one.name: kept[one.name] for one in fields(JIMA)}
        parts |= {"terms": Terms(*kept["terms"].tolist()), "base": float(parts["base"])}
        prior = Prior(kept["prior_map"], kept["prior_precision"], float(kept["prior_noise"]))
        return Outfits(JIMA(**parts | {"error": float(parts["error"])}), prior)


def opinion(feedback: NDArray[np.float32], whole: NDArray[np.float32]) -> NDArray[np.float64]:
    """What people (B,) said of their slates in all: the mean of the answers to items (B, k) and to the whole (B,), -1
    where nobody said anything of the whole."""
    said = (feedback.sum(axis=1) + whole) / (feedback.shape[1] + 1)
    return np.asarray(np.where(whole < 0, feedback.mean(axis=1), said), np.float64)


class CompositeAgent(HierarchicalAgent):
    """Fills each slot with an item of its role so that the whole is best by the model.

    Exact up to 2,500 combinations, best-first beyond. Under a planner the whole is of what the plan allows, as far as
    every role has such an item; a role without one takes any, and the slate counts as widened.

    Args:
        hierarchy: planner and memory; its task has roles. outfits: fitted; None for items drawn at random.
        explore: share of slots, in training, that hold any item of their role.

    Attributes:
        gaps: sum of what the wholes shown may lack at most, see `Found`. filled: how many there were.
    """

    def __init__(self, hierarchy: Hierarchy, outfits: Outfits | None, explore: float = 0.0) -> None:
        super().__init__(hierarchy)
        if hierarchy.task.roles is None:
            raise ValueError("an agent that fills composite slates needs roles; set env.roles")
        self.roles, self.explore, self.outfits = hierarchy.task.roles, explore, outfits
        count = len(hierarchy.live)
        self.people = None if outfits is None else People(outfits.model, outfits.prior, count)
        self.answered = np.zeros(count, np.int64)  # slates of the session that were taken in
        self.gaps, self.filled = 0.0, 0

    def begin(self, rows: NDArray[np.int64], observation: Observation, keys: NDArray[np.uint64]) -> None:
        """New sessions in these slots."""
        super().begin(rows, observation, keys)
        self.answered[rows] = 0
        if self.people is not None:
            self.people.begin(rows, observation["taste"][rows].astype(np.float64))

    def begin_again(
        self, rows: NDArray[np.int64], observation: Observation, keys: NDArray[np.uint64], pause: Pause
    ) -> None:
        """The people in these slots are back; what they answered in earlier sessions still counts."""
        super().begin_again(rows, observation, keys, pause)
        self.answered[rows] = 0

    def act(self, observation: Observation) -> NDArray[np.int32]:
        """Slates (B, k)."""
        self.hierarchy.see(observation)
        self._listen(observation)
        steered, live = self.hierarchy, np.flatnonzero(self.hierarchy.live)
        slates = np.zeros((len(steered.live), steered.task.slate_size), np.int32)
        left = self._left(live)
        planned = left if steered.planner is None else left & self._allowed(live)
        person = None if self.people is None else self.people.factors(live)
        for row, slot in enumerate(live.tolist()):
            slates[slot] = self._filled(slot, planned[row], left[row], None if person is None else person[row])
        return slates

    def slots(self) -> dict[str, NDArray[Any]]:
        """See `Agent.slots`."""
        own = {} if self.people is None else {"gram": self.people.gram, "right": self.people.right}
        return self.hierarchy.slots() | own | {"answered": self.answered}

    def _left(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """(n, I) what may be shown, whatever is planned."""
        excluded = self.hierarchy.memory.excluded[rows]
        left = np.ones((len(rows), len(self.roles.slot_of) + 1), bool)  # the last column is of -1
        np.put_along_axis(left, excluded.astype(np.int64), False, axis=1)
        return left[:, :-1]

    def _allowed(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """(n, I) what plans allow and do not tell to avoid."""
        steered, member = self.hierarchy, self.hierarchy.task.axis.membership.astype(np.float32)
        allowed: NDArray[np.bool_] = steered.allowed[rows].astype(np.float32) @ member.T > 0
        return allowed & ~(steered.avoid[rows].astype(np.float32) @ member.T > 0)

    def _listen(self, observation: Observation) -> None:
        """Take in what was said of the newest slates."""
        steps, k = self.hierarchy.memory.steps, self.hierarchy.task.slate_size
        if self.people is None:
            return
        items, feedback = observation["recent_items"][:, -k:], observation["recent_feedback"][:, -k:]
        new = np.flatnonzero((steps > self.answered) & (items >= 0).all(axis=1))
        self.answered[:] = steps
        if len(new):
            answers = opinion(feedback[new], observation["recent_whole"][new, -1])
            self.people.answered(new, items[new].astype(np.int64), answers)

    def _filled(
        self, slot: int, planned: NDArray[np.bool_], left: NDArray[np.bool_], person: NDArray[np.float64] | None
    ) -> NDArray[np.int32]:
        """The slate (k,) of one session; where no item of a role is left, one shown before leaves its slot empty."""
        roles, widened, candidates = self.roles, False, []
        for number in range(len(roles.names)):
            own = roles.slot_of == number
            items = np.flatnonzero(own & planned)
            if not len(items):
                widened, items = True, np.flatnonzero(own & left)
            candidates.append(items if len(items) else np.flatnonzero(own)[:1])
        if self.hierarchy.planner is not None:
            self.hierarchy.widened[slot] += widened
        memory = self.hierarchy.memory
        rng = np.random.default_rng([int(memory.keys[slot]), int(memory.steps[slot])])
        if person is None or self.outfits is None:
            return np.array([rng.choice(items) for items in candidates], np.int32)
        found = best_whole(self.outfits.model, person, candidates)
        self.gaps, self.filled = self.gaps + found.gap, self.filled + 1
        slate = found.items.astype(np.int32)
        if self.explore:
            for number, items in enumerate(candidates):
                slate[number] = rng.choice(items) if rng.random() < self.explore else slate[number]
        return slate
