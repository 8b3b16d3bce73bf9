"""The users as Stable-Baselines3 sees them: features in, actions out; planning happens on this side."""

from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from lerl.agents.hierarchical import Hierarchy
from lerl.agents.learners.encoders import CategoryEncoder
from lerl.envs.session import SessionVectorEnv


class SessionsView(VecEnv):
    """Sessions side by side, with plans; what an action stands for is said by `_slates` of the views derived from it.

    Args:
        env: the users, autoreset disabled; `ReturningSessions` adds to rewards what coming back is worth.
        hierarchy: plans and retrieval. encoder: features.
        start: "taste" or "nothing", what untrained actions mean.
        reward_scale: factor on rewards, so that values stay near 1.
        observations, actions: spaces of one slot.

    Attributes:
        shows_ends: whether a learner also gets the last features of sessions whose user has left.
    """

    shows_ends = False

    def __init__(
        self,
        env: SessionVectorEnv,
        hierarchy: Hierarchy,
        encoder: CategoryEncoder,
        start: str,
        reward_scale: float,
        observations: gymnasium.spaces.Box,
        actions: gymnasium.Space[Any],
    ) -> None:
        self.env, self.hierarchy, self.encoder, self.start, self.reward_scale = (
            env, hierarchy, encoder, start, reward_scale,
        )  # fmt: skip
        super().__init__(env.num_envs, observations, actions)
        self._seed: int | None = None
        self._actions = np.zeros((env.num_envs, *(actions.shape or ())), actions.dtype)
        self._returns = np.zeros(env.num_envs)
        self._lengths = np.zeros(env.num_envs, np.int64)

    def _slates(self, actions: NDArray[Any]) -> NDArray[np.int32]:
        """The slates (B, k) that actions stand for."""
        raise NotImplementedError

    def _infos(self) -> list[dict[str, Any]]:
        """What a learner gets of each slot's step beside features and rewards, before ended slots begin anew."""
        return [{} for _ in range(self.num_envs)]

    def _bonus(self, slates: NDArray[np.int32]) -> NDArray[np.float32] | float:
        """What is added to rewards (B,) that are learned from, and from nothing else."""
        return 0.0

    def _observe(self, rows: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        """What the learner sees of all slots, or of these, (B, observations)."""
        return self.encoder.encode(self.hierarchy, rows)

    def seed(self, seed: int | None = None) -> list[int | None]:
        """Set the base seed of the next reset."""
        self._seed = seed
        return [seed] * self.num_envs

    def reset(self) -> NDArray[np.float32]:
        """Begin sessions in all slots."""
        observation, _ = self.env.reset(seed=self._seed)
        self._seed = None
        self.hierarchy.begin(np.arange(self.num_envs), observation)
        return self._observe()

    def step_async(self, actions: NDArray[Any]) -> None:
        """Keep the actions for `step_wait`."""
        self._actions = actions

    def step_wait(self) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
        """Show the slates that the actions stand for; ended slots begin anew.

        Infos hold the last features of sessions that were cut, as learning looks beyond these, and where `shows_ends`
        of all that ended.
        """
        slates = self._slates(self._actions)
        observation, rewards, terminated, truncated, told = self.env.step(slates)
        self.hierarchy.memory.see(observation)
        self._returns += rewards
        self._lengths += 1
        infos = self._infos()
        ended = terminated | truncated
        if ended.any():
            self._end(terminated, truncated, infos)
        self.hierarchy.plan()
        learned = (rewards + self._bonus(slates) + told.get("return_part", 0.0)) * self.reward_scale
        return self._observe(), learned.astype(np.float32), ended, infos

    def _end(self, left: NDArray[np.bool_], cut: NDArray[np.bool_], infos: list[dict[str, Any]]) -> None:
        """Put into infos how sessions that were left or cut, (B,) each, ended, and begin others in their slots."""
        ended = left | cut
        rows, looked = np.flatnonzero(ended), np.flatnonzero(ended if self.shows_ends else cut)
        for row in rows.tolist():
            returned, length = float(self._returns[row]), int(self._lengths[row])
            infos[row] |= {"TimeLimit.truncated": bool(cut[row]), "episode": {"r": returned, "l": length, "t": 0.0}}
        if len(looked):
            self.hierarchy.plan(looked, ended=left)
            for row, features in zip(looked.tolist(), self._observe(looked), strict=True):
                infos[row]["terminal_observation"] = features
        self._returns[rows], self._lengths[rows] = 0.0, 0
        observation, _ = self.env.reset(options={"reset_mask": ended})
        self.hierarchy.renew(rows, observation)

    def snapshot(self) -> dict[str, Any]:
        """A copy of all that coming steps depend on, as nested dictionaries of arrays; `restore` takes it back."""
        running = {"returns": self._returns.copy(), "lengths": self._lengths.copy()}
        return {"users": self.env.snapshot(), "hierarchy": self.hierarchy.snapshot(), **running}

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go back to a snapshot of a view made with the same settings."""
        self.env.restore(snapshot["users"])
        self.hierarchy.restore(snapshot["hierarchy"])
        self._returns, self._lengths = snapshot["returns"].copy(), snapshot["lengths"].copy()

    def close(self) -> None:
        """Nothing to close."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """An attribute of the users' environment, once per slot."""
        return [getattr(self.env, attr_name)] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Not supported: slots share one environment."""
        raise NotImplementedError("slots share one environment; make another with other settings")

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        """Not supported: slots share one environment."""
        raise NotImplementedError("slots share one environment; call it directly")

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """No slot is wrapped."""
        return [False] * len(list(self._get_indices(indices)))
