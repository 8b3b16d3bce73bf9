"""The environment for Stable-Baselines3: many users side by side as its `VecEnv`, with or without a planner."""

from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from lerl.envs.population import Population
from lerl.envs.session import SessionVectorEnv
from lerl.planners.base import Planner
from lerl.wrappers import Planned


class SessionVecEnv(VecEnv):
    """Users side by side, stepped at once, for the algorithms of Stable-Baselines3 and sb3-contrib.

    Observations are dictionaries, for `MultiInputPolicy`; see `SessionEnv` and `lerl.wrappers.Planned`. Sessions that
    end begin anew at once, with what was seen last as `terminal_observation` and whether the cap ended them as
    `TimeLimit.truncated`, so that values are bootstrapped as they should be. `action_masks` are there for MaskablePPO.

    Args:
        population: catalog and users. count: how many users.
        planner: plans that they are under; None for none. size, replan_every, ineligible: see `lerl.wrappers.Planned`.
        settings: of `SessionVectorEnv`, such as `split="train"`, `slate_size=1`, `boredom={"weight": 2.0}`.

    Examples:
        >>> from stable_baselines3 import PPO
        >>> from lerl.envs.synthetic import synthetic_population
        >>> from lerl.sb3 import SessionVecEnv
        >>> users = SessionVecEnv(synthetic_population(users=200, items=50), 64, "boredom", slate_size=3)
        >>> PPO("MultiInputPolicy", users, n_steps=16, seed=0).learn(1024).num_timesteps
        1024
    """

    def __init__(
        self,
        population: Population,
        count: int = 256,
        planner: Planner | str | None = None,
        *,
        size: int = 6,
        replan_every: int = 1,
        ineligible: Any = "replace",
        **settings: Any,
    ) -> None:
        users = SessionVectorEnv(population, count, autoreset_mode=AutoresetMode.DISABLED, **settings)
        self.users: Any = users
        if planner is not None:
            self.users = Planned(users, planner, size=size, replan_every=replan_every, ineligible=ineligible)
        self._actions: NDArray[Any] = np.zeros(0)
        self._seed: int | None = None
        self._returns, self._lengths = np.zeros(count), np.zeros(count, np.int64)
        super().__init__(count, self.users.single_observation_space, self.users.single_action_space)

    def seed(self, seed: int | None = None) -> list[int | None]:
        """Set the seed of the next reset; slot i gets seed + i."""
        self._seed = seed
        return [None if seed is None else seed + slot for slot in range(self.num_envs)]

    def reset(self) -> dict[str, NDArray[Any]]:
        """Begin sessions in all slots."""
        observation, _ = self.users.reset(seed=self._seed)
        self._seed = None
        self._returns[:], self._lengths[:] = 0, 0
        found: dict[str, NDArray[Any]] = observation
        return found

    def step_async(self, actions: NDArray[Any]) -> None:
        """Keep the actions for `step_wait`."""
        self._actions = actions

    def step_wait(self) -> Any:
        """Show what the actions say; sessions that ended begin anew."""
        observation, rewards, terminated, truncated, _ = self.users.step(self._actions)
        self._returns += rewards
        self._lengths += 1
        ended = terminated | truncated
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        if ended.any():
            for slot in np.flatnonzero(ended).tolist():
                infos[slot] = {
                    "terminal_observation": {name: array[slot].copy() for name, array in observation.items()},
                    "TimeLimit.truncated": bool(truncated[slot] and not terminated[slot]),
                    "episode": {"r": float(self._returns[slot]), "l": int(self._lengths[slot]), "t": 0.0},
                }
            self._returns[ended], self._lengths[ended] = 0, 0
            observation, _ = self.users.reset(options={"reset_mask": ended})
        return observation, rewards.astype(np.float32), ended, infos

    def close(self) -> None:
        """Nothing to close."""

    def has_attr(self, attr_name: str) -> bool:
        """Whether the users' environment has such an attribute."""
        return hasattr(self.users, attr_name)

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """An attribute of the users' environment, once per slot."""
        return [getattr(self.users, attr_name)] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Not supported: slots share one environment."""
        raise NotImplementedError("slots share one environment; make another with other settings")

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        """`action_masks`, which MaskablePPO needs: those of each slot."""
        if method_name != "action_masks":
            raise NotImplementedError("slots share one environment, `users`; call its methods directly")
        masks = self.users.action_masks()
        return [masks[slot] for slot in self._get_indices(indices)]

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """No slot is wrapped."""
        return [False] * len(list(self._get_indices(indices)))
