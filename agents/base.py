"""The interface of agents, and what they know of their task."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from types import new_class
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lerl.envs.catalog import Axis, Catalog
from lerl.envs.composite import Roles
from lerl.envs.population import Knowledge
from lerl.envs.session import SessionVectorEnv
from lerl.planners.base import PlanInWords

Observation = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class TaskSpec:
    """What every agent knows: the catalog, what is known of users, and the shape of its slates.

    Attributes:
        catalog: the items.
        knowledge: the agents' item vectors and tastes; never the simulator's.
        axis: what planners plan on and exposure is counted along.
        slate_size: k, items per slate. max_steps: steps after which a session is cut.
        seed: source of the agent's own draws.
        repeats: whether an item may be shown again within a session.
        roles: what each slot is filled from; None where slots have no roles.
    """

    catalog: Catalog
    knowledge: Knowledge
    axis: Axis
    slate_size: int
    max_steps: int
    seed: int
    repeats: bool = False
    roles: Roles | None = None


class Pause(NamedTuple):
    """Between two sessions of the same n people.

    Attributes:
        days: (n,) float64, above 0, since the last session.
        items: (n, k) int32, the last slate of that session, which no observation held; -1 for an empty slot.
        feedback: (n, k) float32 on it, -1 likewise.
    """

    days: NDArray[np.float64]
    items: NDArray[np.int32]
    feedback: NDArray[np.float32]


class Agent(ABC):
    """Chooses slates for B sessions at once.

    Only `begin` and `act` are needed; the rest has defaults. A class that has these two and derives from nothing works
    as well. A run makes an agent as `MyAgent(task, count)`: `task`, a `TaskSpec`; `count`, B, the number of slots. Each
    slot holds one session after the other, and slots do not influence each other.

    begin(rows, observation, keys): new sessions start in the slots `rows`.
        rows: (n,) int64, different slots in [0, B).
        observation: of all slots, by name, each array (B, ...); see `SessionEnv.observation_space`.
        keys: (n,) uint64, different between sessions, for draws that must not depend on B.
    act(observation) -> slates: (B, k) whole numbers in [0, I), items; k is `task.slate_size`. An item that was shown
        before in the session leaves its place empty unless `task.repeats`. The slate of a slot whose session is over
        is ignored, but its numbers must be in range.

    Optional:
        recall(rows, known): called before `begin` with the known interactions of the users in these slots, in the order
            of time: for each an array (n, 2) int32, items and clicks 0/1. The users' identities are not given.
        begin_again(rows, observation, keys, pause): called instead of `begin` where the people in the slots `rows` are
            those of the session before and have come back, see `lerl.envs.sessions`; pause: a `Pause`. `recall` is
            called before it too, with what earlier sessions of this life showed at the end of what is known. It is
            `begin` by default.
        attend(live): called before sessions begin: which slots, (B,) bool, hold a session that counts. An agent that
            has it does not hear of sessions that begin in the others, and may show anything there.
        widened: (B,) int, slates of each running session for which a plan was widened; reported per session.
        watch(env): called before sessions begin with the users' `SessionVectorEnv`, hidden state included. It is for
            ceilings: an agent that uses it must not be compared with others.

    Example, in a file newest.py:

        class Newest(Agent):
            '''Shows the last items of the catalog, k more of them at each step.'''

            def __init__(self, task, count):
                self.task = task
                self.steps = np.zeros(count, int)

            def begin(self, rows, observation, keys):
                self.steps[rows] = 0

            def act(self, observation):
                first = self.steps[:, None] * self.task.slate_size + np.arange(self.task.slate_size)  # (B, k)
                self.steps += 1
                return len(self.task.catalog) - 1 - first % len(self.task.catalog)

    lerl train quickstart --agents+ newest:Newest
    """

    widened: NDArray[np.int64] | None = None

    @abstractmethod
    def begin(self, rows: NDArray[np.int64], observation: Observation, keys: NDArray[np.uint64]) -> None:
        """New sessions have started in the slots `rows` (n,); see the class."""

    @abstractmethod
    def act(self, observation: Observation) -> NDArray[np.int32]:
        """Slates (B, k) of item numbers; see the class."""

    def recall(self, rows: NDArray[np.int64], known: Sequence[NDArray[np.int32]]) -> None:  # noqa: B027 - a default
        """Take in what is known of the users in the slots `rows` (n,). Does nothing by default."""

    def begin_again(
        self,
        rows: NDArray[np.int64],
        observation: Observation,
        keys: NDArray[np.uint64],
        pause: Pause,
    ) -> None:
        """The people in the slots `rows` (n,) have come back after a `pause`. As `begin` by default; see the class."""
        self.begin(rows, observation, keys)

    def attend(self, live: NDArray[np.bool_]) -> None:  # noqa: B027
        """Take in which slots (B,) hold a session that counts. Does nothing by default."""

    def watch(self, env: SessionVectorEnv) -> None:  # noqa: B027
        """Take in the users' environment, hidden state included. Does nothing by default."""

    def slots(self) -> dict[str, NDArray[Any]]:
        """Arrays (B, ...) by name, of which row b is all that is remembered of the session in slot b.

        Whoever serves people keeps these rows between two requests. The arrays themselves are given, not copies.

        Raises:
            NotImplementedError: it keeps no sessions this way.
        """
        raise NotImplementedError

    def taken_over(self, rows: NDArray[np.int64]) -> None:  # noqa: B027
        """Rows (n,) of the arrays of `slots` are now those of other sessions; drop what was computed from them."""

    def withhold(self, items: NDArray[np.int32]) -> None:
        """Leave these items (n,) out of slates until the next call.

        Raises:
            NotImplementedError: it cannot.
        """
        raise NotImplementedError

    def plan_of(self, row: int) -> PlanInWords | None:
        """The plan that the newest slate of a slot was chosen under; None without one."""
        return None

    @property
    def recalls(self) -> bool:
        """Whether it has a `recall` of its own; without one nothing is looked up for it."""
        return type(self).recall is not Agent.recall

    @property
    def attends(self) -> bool:
        """Whether it has an `attend` of its own; without one it hears of every session that begins."""
        return type(self).attend is not Agent.attend


class _Adapted(Agent):
    """An agent made of something that acts."""

    def __init__(self, own: Any) -> None:
        self._own = own

    def begin(self, rows: NDArray[np.int64], observation: Observation, keys: NDArray[np.uint64]) -> None:
        """Hand it on to what has a `begin`."""
        if hasattr(self._own, "begin"):
            self._own.begin(rows, observation, keys)

    def begin_again(
        self,
        rows: NDArray[np.int64],
        observation: Observation,
        keys: NDArray[np.uint64],
        pause: Pause,
    ) -> None:
        """Hand it on to what has a `begin_again`; otherwise it is `begin`."""
        if hasattr(self._own, "begin_again"):
            self._own.begin_again(rows, observation, keys, pause)
        else:
            self.begin(rows, observation, keys)

    def act(self, observation: Observation) -> NDArray[np.int32]:
        """Slates (B, k)."""
        slates: NDArray[np.int32] = np.asarray(
            self._own.act(observation) if hasattr(self._own, "act") else self._own(observation)
        )
        return slates


def as_agent(own: Any) -> Agent:
    """An agent from anything that acts: an `Agent`, an object with `act` (and `begin`), or a function of observations.

    Raises:
        TypeError: it is none of these.
    """
    if isinstance(own, Agent):
        return own
    if isinstance(own, type) or not (callable(getattr(own, "act", None)) or callable(own)):
        raise TypeError(
            f"an agent is an object with act(observation), or a function of an observation, given {own!r}; of a class "
            "give an instance"
        )
    adapted: Agent = new_class(getattr(own, "__name__", type(own).__name__), (_Adapted,))(own)  # which errors name
    return adapted
