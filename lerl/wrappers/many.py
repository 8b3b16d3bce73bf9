"""Many users side by side under a planner."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray

from lerl.wrappers.plans import Plans


class PlannedVectorEnv(gymnasium.vector.VectorWrapper):
    """Many users side by side under a planner; see `Planned`."""

    def __init__(self, env: VectorEnv[Any, Any, Any], plans: Plans) -> None:
        super().__init__(env)
        own: Any = env.unwrapped
        self._plans, self._mode = plans, own.autoreset_mode
        self._ended = np.zeros(env.num_envs, bool)
        self.single_observation_space = plans.spaces(env.single_observation_space)
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
        """Show every user an item or a slate, mended as `ineligible` says; a life's next session is planned at once."""
        slates = self._plans.mend(self._plans.session.checked(actions, "PlannedVectorEnv"), self._ended)
        observation, reward, terminated, truncated, info = self.env.step(slates if self._plans.k > 1 else slates[:, 0])
        ended = terminated | truncated
        again = self._ended
        if self._mode == AutoresetMode.SAME_STEP:
            again = ended
            if ended.any():
                info = {**info, "final_obs": self._final(observation, info["final_obs"], ended)}
        again = again | (info.get("session_ended", ended) & ~ended)  # of lives: the next session has begun
        going = {**observation, "time_left": np.where(again[:, None], 1.0, observation["time_left"])}
        self._plans.see(going, ended | again)
        self._plans.begin(np.flatnonzero(again), observation)
        self._ended = ended if self._mode == AutoresetMode.NEXT_STEP else np.zeros(self.num_envs, bool)
        return self._plans.added(observation), reward, terminated, truncated, self._told(info)

    def action_masks(self) -> NDArray[np.bool_]:
        """(B, I) bool, what may be chosen now; (B, k * I) for slates, the same for each place."""
        return np.tile(self._plans.eligible(), self._plans.k)

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
