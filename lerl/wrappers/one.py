"""One user under a planner."""

from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from lerl.wrappers.plans import Plans


class PlannedEnv(gymnasium.Wrapper[Any, Any, Any, Any]):
    """One user under a planner; see `Planned`."""

    def __init__(self, env: gymnasium.Env[Any, Any], plans: Plans) -> None:
        super().__init__(env)
        self._plans = plans
        self.observation_space = plans.spaces(env.observation_space)

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
        slate = self._plans.mend(self._plans.session.checked(action, "PlannedEnv"))
        observation, reward, terminated, truncated, info = self.env.step(slate[0] if self._plans.k > 1 else slate[0, 0])
        ended = np.array([terminated or truncated])
        next_begun = info.get("session_ended", False) & ~ended  # of a life
        self._plans.see(_batched(observation), ended | next_begun)
        self._plans.begin(np.flatnonzero(next_begun), _batched(observation))
        return self._seen(observation), reward, terminated, truncated, self._told(info)

    def action_masks(self) -> NDArray[np.bool_]:
        """(I,) bool, what may be chosen now; (k * I,) for slates, the same for each place."""
        return np.tile(self._plans.eligible()[0], self._plans.k)

    def _seen(self, observation: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        return {name: array[0] for name, array in self._plans.added(_batched(observation)).items()}

    def _told(self, info: dict[str, Any]) -> dict[str, Any]:
        mask = {"action_mask": self._plans.eligible()[0].astype(np.int8)} if self._plans.k == 1 else {}
        return {**info, **mask, "rationale": str(self._plans.rationales()[0])}


def _batched(observation: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {name: array[None] for name, array in observation.items()}
