"""What an agent saw and chose in whole sessions, as it saw and chose it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lerl.envs.session import SessionVectorEnv


class Tape:
    """Room for N sessions of at most T steps with slates of k; beyond a session's end it is zero.

    Args:
        env: that the sessions are played in. count: N.

    Attributes:
        observations: by name, each (N, T + 1, n): at t what was seen before slate t, and after the last one.
        actions: (N, T, k) int64, the slates as they were chosen; an item that may not be shown is still in them.
    """

    def __init__(self, env: SessionVectorEnv, count: int) -> None:
        config, space = env.simulator.config, env.single_observation_space
        boxes: Any = space
        self.observations: dict[str, NDArray[Any]] = {
            name: np.zeros((count, config.max_steps + 1, *box.shape), box.dtype) for name, box in boxes.items()
        }
        self.actions = np.zeros((count, config.max_steps, config.slate_size), np.int64)

    def keep(self, session: NDArray[np.int64], steps: NDArray[np.int32], before: Any, slates: Any, after: Any) -> None:
        """Keep one step of B slots.

        Args:
            session: (B,) the session in each slot, -1 for none. steps: (B,) how many slates it had before this one.
            before, after: observations of all slots. slates: (B, k) that the agent chose.
        """
        slots = np.flatnonzero(session >= 0)
        row, step = session[slots], steps[slots]
        self.actions[row, step] = np.asarray(slates).reshape(len(session), -1)[slots]
        for name, kept in self.observations.items():
            kept[row, step] = before[name][slots]
            kept[row, step + 1] = after[name][slots]
