"""An agent under a planner, as it would be in a planned environment: for judging what was trained in one."""

from collections.abc import Callable, Sequence

import numpy as np
from gymnasium.error import InvalidAction
from numpy.typing import NDArray

from lerl.agents.base import Agent, Observation, Pause
from lerl.envs.plugins import PluginError
from lerl.envs.session import SessionVectorEnv
from lerl.planners.base import Planner
from lerl.wrappers.plans import Plans


class PlannedAgent(Agent):
    """An agent that sees plans, and whose items that a plan does not allow are replaced, as `Planned` does.

    Args:
        make: the agent itself, from the plans that it will see. planner: None for none; then it sees and shows what it
            would without this class. size, replan_every: see `lerl.wrappers.Planned`.
    """

    def __init__(
        self, make: Callable[[Plans], Agent], planner: Planner | str | None, size: int = 6, replan_every: int = 1
    ) -> None:
        self._make, self._planner, self._size, self._every = make, planner, size, replan_every
        self._plans: Plans
        self._own: Agent

    @property
    def recalls(self) -> bool:
        """Whether the agent itself does."""
        return self._own.recalls

    def watch(self, env: SessionVectorEnv) -> None:
        """Take in what there is to plan for; the users' hidden state is none of it."""
        how = "replace" if self._planner is not None else "allow"
        self._plans = Plans(env._session, env.num_envs, self._planner, self._size, self._every, how)
        self._own = self._make(self._plans)
        self._own.watch(env)

    def attend(self, live: NDArray[np.bool_]) -> None:
        """Plan for these slots (B,) only."""
        self._plans.hierarchy.live = live
        self._own.attend(live)

    def recall(self, rows: NDArray[np.int64], known: Sequence[NDArray[np.int32]]) -> None:
        """Hand it on."""
        self._own.recall(rows, known)

    def begin(self, rows: NDArray[np.int64], observation: Observation, keys: NDArray[np.uint64]) -> None:
        """New sessions in these slots, planned at once."""
        self._plans.hierarchy.begin(rows, observation, keys)
        self._own.begin(rows, self._plans.added(observation), keys)

    def begin_again(
        self, rows: NDArray[np.int64], observation: Observation, keys: NDArray[np.uint64], pause: Pause
    ) -> None:
        """The people in these slots have come back; planned at once."""
        self._plans.hierarchy.begin(rows, observation, keys)
        self._own.begin_again(rows, self._plans.added(observation), keys, pause)

    def act(self, observation: Observation) -> NDArray[np.int32]:
        """Slates (B, k), item 0 in slots that do not count."""
        plans = self._plans
        plans.hierarchy.see(observation)
        given, idle = np.array(self._own.act(plans.added(observation))), ~plans.hierarchy.live
        if given.shape[:1] == idle.shape:
            given[idle] = 0
        try:
            slates = plans.session.checked(given, "SessionVectorEnv")
        except InvalidAction as error:
            raise PluginError(f"{type(self._own).__name__}.act gives no slates: {error}") from error
        return plans.mend(slates, idle).astype(np.int32)
