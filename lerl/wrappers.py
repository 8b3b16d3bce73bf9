"""A planner around the environment: plans in the observation, and what they allow as action masks.

Any learner can then be trained under any planner, built in or of one's own, a chat model's included.
"""

from typing import Any, Literal

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray

from lerl.agents.base import TaskSpec
from lerl.agents.hierarchical import Hierarchy
from lerl.envs.draws import seed_from
from lerl.envs.observation import Session
from lerl.envs.session import SessionEnv, SessionVectorEnv
from lerl.planners.base import Planner
from lerl.planners.rules import build_planner

Ineligible = Literal["replace", "refuse", "allow"]
"""What becomes of an item that the plan does not allow: replaced by the best that it does, an error, or shown."""


class IneligibleItemError(ValueError):
    """An item that the plan does not allow, where such items are refused."""


class _Plans:
    """What both wrappers share: a hierarchy that plans for B slots, and what is seen of its plans."""

    def __init__(
        self, session: Session, count: int, planner: Planner | str, size: int, every: int, ineligible: str
    ) -> None:
        if every < 1 or size < 1:
            raise ValueError(f"replan_every and size must be at least 1, given {every} and {size}")
        if ineligible not in ("replace", "refuse", "allow"):
            raise ValueError(f"ineligible must be 'replace', 'refuse' or 'allow', given {ineligible!r}")
        population, config = session.population, session.config
        own = build_planner(planner, size, 0, "planner") if isinstance(planner, str) else planner
        if not callable(getattr(own, "plan", None)):
            raise TypeError(f"a planner is an object with plan(contexts), or a rule's name, given {planner!r}")
        task = TaskSpec(
            population.catalog, population.knowledge, session.simulator.axis, config.slate_size, config.max_steps, 0,
            config.repeats,
        )  # fmt: skip
        self.hierarchy = Hierarchy(task, count, own, replan_every=every)
        self.ineligible, self.count = ineligible, count
        self._sessions = np.zeros(count, np.int64)
        self._seeds = np.array([seed_from("planned", slot) for slot in range(count)], np.uint64)

    def spaces(self, own: gymnasium.Space[Any]) -> Dict:
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
        own = self.hierarchy
        age = (own.memory.steps - own.planned_at).astype(np.float32)[:, None]
        allowed, avoided = own.allowed.astype(np.float32), own.avoid.astype(np.float32)
        return {**observation, "plan_allowed": allowed, "plan_avoided": avoided, "plan_age": age}

    def eligible(self) -> NDArray[np.bool_]:
        """(B, I), what plans allow and was not shown; all that was not shown where ineligible items are allowed."""
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
        best = np.argsort(-np.where(left, scores, -np.inf), axis=1, kind="stable")[:, : given.shape[1]]
        others = np.take_along_axis(best, np.maximum(bad.cumsum(axis=1) - 1, 0), axis=1)
        slates[rows] = np.where(bad, others, given[rows])
        return slates

    def rationales(self) -> NDArray[np.str_]:
        return self.hierarchy.rationales.copy()


class PlannedEnv(gymnasium.Wrapper[Any, Any, Any, Any]):
    """One user under a planner; see `Planned`."""

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        planner: Planner | str = "boredom",
        *,
        size: int = 6,
        replan_every: int = 1,
        ineligible: Ineligible = "replace",
    ) -> None:
        super().__init__(env)
        own = env.unwrapped
        if not isinstance(own, SessionEnv):
            raise TypeError(f"Planned wraps lerl's environments, given {own!r}")
        self._session = own._session
        self._plans = _Plans(self._session, 1, planner, size, replan_every, ineligible)
        self._k = self._session.config.slate_size
        self.observation_space = self._plans.spaces(env.observation_space)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Begin a session, planned at once."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._plans.seed(seed)
        self._plans.begin(np.zeros(1, np.int64), _batched(observation))
        return self._seen(observation), self._told(info)

    def step(self, action: Any) -> tuple[dict[str, NDArray[Any]], Any, bool, bool, dict[str, Any]]:
        """Show an item or a slate, mended as `ineligible` says; sessions get a new plan when theirs is old."""
        slate = self._plans.mend(self._session.checked(action, "PlannedEnv"))
        observation, reward, terminated, truncated, info = self.env.step(slate[0] if self._k > 1 else slate[0, 0])
        self._plans.see(_batched(observation), np.array([terminated or truncated]))
        return self._seen(observation), reward, terminated, truncated, self._told(info)

    def action_masks(self) -> NDArray[np.bool_]:
        """(I,) bool, what may be chosen now; (k * I,) for slates, the same for each place."""
        return np.tile(self._plans.eligible()[0], self._k)

    def _seen(self, observation: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        return {name: array[0] for name, array in self._plans.added(_batched(observation)).items()}

    def _told(self, info: dict[str, Any]) -> dict[str, Any]:
        mask = {"action_mask": self._plans.eligible()[0].astype(np.int8)} if self._k == 1 else {}
        return {**info, **mask, "rationale": str(self._plans.rationales()[0])}


class PlannedVectorEnv(gymnasium.vector.VectorWrapper):
    """Many users side by side under a planner; see `Planned`."""

    def __init__(
        self,
        env: VectorEnv[Any, Any, Any],
        planner: Planner | str = "boredom",
        *,
        size: int = 6,
        replan_every: int = 1,
        ineligible: Ineligible = "replace",
    ) -> None:
        super().__init__(env)
        own = env.unwrapped
        if not isinstance(own, SessionVectorEnv):
            raise TypeError(f"Planned wraps lerl's environments, given {own!r}")
        self._session = own._session
        self._plans = _Plans(self._session, env.num_envs, planner, size, replan_every, ineligible)
        self._k, self._mode = self._session.config.slate_size, own.autoreset_mode
        self._ended = np.zeros(env.num_envs, bool)
        self.single_observation_space = self._plans.spaces(env.single_observation_space)
        self.observation_space = gymnasium.vector.utils.batch_space(self.single_observation_space, env.num_envs)

    def reset(
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Begin sessions in every slot, or in those of `options["reset_mask"]`, planned at once."""
        observation, info = self.env.reset(seed=seed, options=options)
        begun = (options or {}).get("reset_mask", np.ones(self.num_envs, bool))
        self._plans.seed(seed)
        self._plans.begin(np.flatnonzero(begun), observation)
        self._ended &= ~begun
        return self._plans.added(observation), self._told(info)

    def step(self, actions: Any) -> tuple[Any, Any, NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Show every user an item or a slate, mended as `ineligible` says."""
        slates = self._plans.mend(self._session.checked(actions, "PlannedVectorEnv"), self._ended)
        observation, reward, terminated, truncated, info = self.env.step(slates if self._k > 1 else slates[:, 0])
        ended = terminated | truncated
        again = self._ended
        if self._mode == AutoresetMode.SAME_STEP:
            again = ended
            if ended.any():
                info = {**info, "final_obs": self._final(observation, info["final_obs"], ended)}
        going = {**observation, "time_left": np.where(again[:, None], 1.0, observation["time_left"])}
        self._plans.see(going, ended | again)
        self._plans.begin(np.flatnonzero(again), observation)
        self._ended = ended if self._mode == AutoresetMode.NEXT_STEP else np.zeros(self.num_envs, bool)
        return self._plans.added(observation), reward, terminated, truncated, self._told(info)

    def action_masks(self) -> NDArray[np.bool_]:
        """(B, I) bool, what may be chosen now; (B, k * I) for slates, the same for each place."""
        return np.tile(self._plans.eligible(), self._k)

    def _final(self, observation: Any, final: NDArray[Any], ended: NDArray[np.bool_]) -> NDArray[Any]:
        """The last observations of sessions that ended, with the plans that they ended under."""
        whole = {name: array.copy() for name, array in observation.items()}
        for slot in np.flatnonzero(ended).tolist():
            for name, array in final[slot].items():
                whole[name][slot] = array
        self._plans.hierarchy.memory.see(whole)
        added = self._plans.added(whole)
        last = np.full(self.num_envs, None, object)
        for slot in np.flatnonzero(ended).tolist():
            last[slot] = {name: array[slot] for name, array in added.items()}
        return last

    def _told(self, info: dict[str, Any]) -> dict[str, Any]:
        return {**info, "rationale": self._plans.rationales(), "_rationale": np.ones(self.num_envs, bool)}


def _batched(observation: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {name: array[None] for name, array in observation.items()}


def Planned(
    env: Any,
    planner: Planner | str = "boredom",
    *,
    size: int = 6,
    replan_every: int = 1,
    ineligible: Ineligible = "replace",
) -> Any:
    """An environment of lerl's under a planner.

    The observation gets `plan_allowed` and `plan_avoided`, (C,) float32 of 0 and 1, and `plan_age`, (1,) float32, steps
    since the plan was made. `action_masks()`, and with slates of one `info["action_mask"]`, say which items the plan
    allows that were not shown; a plan that leaves fewer than a slate is widened as agents of a run widen theirs.
    `info["rationale"]` is the planner's line, "" where it gives none.

    Args:
        env: a `SessionEnv` or `SessionVectorEnv`, wrapped or not, of any autoreset mode. Its axis is planned on.
        planner: an object with `plan(contexts)`, a chat model's too; or the name of a rule.
        size: most categories in a plan of a rule that is given by name. replan_every: steps for which a plan is kept.
        ineligible: what becomes of an item in an action that the plan does not allow: "replace" it by the allowed item
            that the user's known taste ranks first, "refuse" it with `IneligibleItemError`, or "allow" it.

    Raises:
        TypeError: no environment of lerl's, or no planner. ValueError: an argument out of range.
    """
    kind = PlannedVectorEnv if isinstance(env, VectorEnv) else PlannedEnv
    return kind(env, planner, size=size, replan_every=replan_every, ineligible=ineligible)
