"""The agent's contract, what an agent is told of its task, and how an agent of your own is found."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lerl.envs.catalog import Axis, Catalog
from lerl.envs.population import Knowledge

Observation = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class TaskSpec:
    """What every agent is told: the catalogue, what is known of users, and the shape of its answers.

    Attributes:
        catalog: the items.
        knowledge: the agents' item vectors and tastes; never the simulator's.
        axis: what planners plan on and exposure is counted along.
        slate_size: k, items per answer. max_steps: steps after which a session is cut.
        seed: source of the agent's own draws.
        repeats: whether an item may be shown again within a session.
    """

    catalog: Catalog
    knowledge: Knowledge
    axis: Axis
    slate_size: int
    max_steps: int
    seed: int
    repeats: bool = False


class Agent(Protocol):
    """Chooses slates for B sessions at once; made as `MyAgent(setting, count)`, count being B.

    One that has `watch(env)` is given the users' `SessionVectorEnv`, hidden state included: for ceilings, never for
    what is to be compared with others. One that has an attribute `widened`, (B,) int, has it reported per session.
    One that has `recall(rows, known)` is given, before `begin`, the known interactions of the users in those slots, in
    the order of time: for each an array (n, 2) int32, items and clicks 0/1; never a user's number.
    One that has `attend(live)` is told before sessions begin which slots, (B,) bool, hold one that counts. What it
    shows in the others is of no account, and it need not hear of sessions that begin there.
    """

    def begin(self, rows: NDArray[np.int64], observation: Observation, keys: NDArray[np.uint64]) -> None:
        """New sessions have started in the slots `rows` (n,).

        Args:
            rows: (n,) slots in [0, B).
            observation: of all slots, by name, each array (B, ...); see `SessionEnv.observation_space`.
            keys: (n,) tell sessions apart, for draws that must not depend on B.
        """

    def act(self, observation: Observation) -> NDArray[np.int32]:
        """Slates (B, k) of item numbers; slots whose session is over may hold anything in range."""
