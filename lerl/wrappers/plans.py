"""Plans for the sessions in an environment: what is seen of them, and what becomes of what they do not allow."""

from typing import Any, Literal

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict
from numpy.typing import NDArray

from lerl.agents.base import TaskSpec
from lerl.agents.hierarchical import Hierarchy
from lerl.envs.draws import seed_from
from lerl.envs.observation import Session
from lerl.planners.base import Planner
from lerl.planners.rules import build_planner

Ineligible = Literal["replace", "refuse", "allow"]
"""What becomes of an item that the plan does not allow: replaced by the best that it does, an error, or shown."""


class IneligibleItemError(ValueError):
    """An item that the plan does not allow, where such items are refused."""


class Plans:
    """What both wrappers share: a hierarchy that plans for B slots, and what is seen of its plans.

    Args:
        session: of the environment. count: B. planner: None for none, so that nothing is added and all that was not
            shown is eligible. size, every, ineligible: see `lerl.wrappers.Planned`.
    """

    def __init__(
        self, session: Session, count: int, planner: Planner | str | None, size: int, every: int, ineligible: str
    ) -> None:
        if every < 1 or size < 1:
            raise ValueError(f"replan_every and size must be at least 1, given {every} and {size}")
        if ineligible not in ("replace", "refuse", "allow"):
            raise ValueError(f"ineligible must be 'replace', 'refuse' or 'allow', given {ineligible!r}")
        population, config = session.population, session.config
        own = build_planner(planner, size, 0, "planner") if isinstance(planner, str) else planner
        if own is not None and not callable(getattr(own, "plan", None)):
            raise TypeError(f"a planner is an object with plan(contexts), or a rule's name, given {planner!r}")
        task = TaskSpec(
            population.catalog, population.knowledge, session.simulator.axis, config.slate_size, config.max_steps, 0,
            config.repeats,
        )  # fmt: skip
        self.hierarchy = Hierarchy(task, count, own, replan_every=every)
        self.session, self.k = session, config.slate_size
        self.ineligible, self.count = ineligible, count
        self._sessions = np.zeros(count, np.int64)
        self._seeds = np.array([seed_from("planned", slot) for slot in range(count)], np.uint64)

    def spaces(self, own: gymnasium.Space[Any]) -> Dict:
        """An observation space with the plan."""
        if self.hierarchy.planner is None:
            return Dict(own.spaces)  # type: ignore[attr-defined]
        categories = len(self.hierarchy.task.axis.names)
        more = {
            "plan_allowed": Box(0, 1, (categories,), np.float32),
            "plan_avoided": Box(0, 1, (categories,), np.float32),
            "plan_age": Box(0, self.hierarchy.task.max_steps, (1,), np.float32),
        }
        return Dict({**own.spaces, **more})  # type: ignore[attr-defined]

    def seed(self, seed: Any) -> None:
        """Session keys follow from the seeds that slots get: seed + slot where it is one number."""
        if seed is None:
            return
        given = [int(seed) + slot for slot in range(self.count)] if np.ndim(seed) == 0 else list(seed)
        for slot, own in enumerate(given):
            if own is not None:
                self._seeds[slot], self._sessions[slot] = seed_from("planned", int(own)), 0

    def begin(self, rows: NDArray[np.int64], observation: dict[str, NDArray[Any]]) -> None:
        """Sessions begin in these slots (n,), planned at once."""
        if not len(rows):
            return
        drawn = zip(self._seeds[rows].tolist(), self._sessions[rows].tolist(), strict=True)
        keys = np.array([seed_from(seed, number) for seed, number in drawn], np.uint64)
        self._sessions[rows] += 1
        self.hierarchy.begin(rows, observation, keys)

    def see(self, observation: dict[str, NDArray[Any]], ended: NDArray[np.bool_]) -> None:
        """Take in the newest slates; sessions that did not end (B,) get a new plan when theirs is old."""
        self.hierarchy.memory.see(observation)
        self.hierarchy.plan(ended=ended)

    def added(self, observation: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """An observation with the plan."""
        own = self.hierarchy
        if own.planner is None:
            return observation
        age = (own.memory.steps - own.planned_at).astype(np.float32)[:, None]
        allowed, avoided = own.allowed.astype(np.float32), own.avoid.astype(np.float32)
        return {**observation, "plan_allowed": allowed, "plan_avoided": avoided, "plan_age": age}

    def eligible(self) -> NDArray[np.bool_]:
        """(B, I), what plans allow and was not shown; a plan that leaves fewer than a slate is widened."""
        return self.hierarchy.eligible()[0]

    def mend(self, given: NDArray[np.int64], idle: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
        """Slates (B, k) without what plans do not allow; those of idle slots (B,) are ignored by the environment.

        Raises:
            IneligibleItemError: there is such an item, and they are refused.
        """
        if self.ineligible == "allow":
            return given
        eligible = self.eligible()
        wrong = ~np.take_along_axis(eligible, given, axis=1)
        wrong[eligible.sum(axis=1) < given.shape[1]] = False  # there is nothing else to show
        if idle is not None:
            wrong[idle] = False
        if not wrong.any():
            return given
        if self.ineligible == "refuse":
            slot, place = np.argwhere(wrong)[0].tolist()
            raise IneligibleItemError(
                f"the plan does not allow item {given[slot, place]} in slot {slot}; choose by action_masks(), or make "
                "the environment with ineligible='replace'"
            )
        rows = np.flatnonzero(wrong.any(axis=1))
        slates, left, bad = given.copy(), eligible[rows], wrong[rows]
        there, place = np.nonzero(~bad)
        left[there, given[rows[there], place]] = False
        scores = self.hierarchy.memory.tastes[rows] @ self.hierarchy.task.knowledge.item_vectors.T
        scores[~left] = -np.inf
        for place in range(given.shape[1]):
            some = np.flatnonzero(bad[:, place])
            best = scores[some].argmax(axis=1)
            slates[rows[some], place], scores[some, best] = best, -np.inf
        return slates

    def rationales(self) -> NDArray[np.str_]:
        """The planner's line, (B,)."""
        return self.hierarchy.rationales.copy()
