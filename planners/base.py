"""The interface of planners: their input, their output, and optional methods."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from types import new_class
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lerl.envs import threads
from lerl.envs.catalog import Axis
from lerl.envs.plugins import PluginError, blamed

COPY = 0.5  # microseconds that copying the context of a session takes, about


# Compiled kernels that Numba keeps name this class: whoever renames it touches satiation.py and encoders.py.
class Recent(NamedTuple):
    """The last H slots that were shown in each of B sessions, as kernels see them.

    Attributes:
        items: (B, H) int32, oldest first, -1 as padding. feedback: (B, H) float32 in [0, 1], -1 as padding.
        estimates: (B, H) float32 in (0, 1), the chance of a click that known history predicted for each.
    """

    items: NDArray[np.int32]
    feedback: NDArray[np.float32]
    estimates: NDArray[np.float32]


@dataclass(frozen=True)
class PlanContexts:
    """What a planner may know of B sessions; C categories (or clusters), the last H slots shown, k of them per slate.

    Attributes:
        axis: the C categories: `names`, and `membership`, (I, C) bool, which items are in which; read-only.
        slate_size: k.
        session_key: (B,) uint64, the same during a session, different between sessions; source of a planner's draws.
        steps: (B,) int, slates shown so far. plans: (B,) int, plans made so far in the session.
        predicted_ctr: (B, C) float in (0, 1), chance of a click on a category's best items not shown yet, before
            boredom, estimated from known history only, or by the agent's belief; 0 where none is left.
        counts: (B, C) float, slots shown per category so far.
        feedback: (B, C) float in [0, 1], mean feedback per category so far, -1 where nothing was shown.
        recent_items: (B, H) int, items shown, oldest first, -1 as padding.
        recent_feedback: (B, H) float in [0, 1], feedback on each, -1 as padding.
        recent_estimates: (B, H) float in (0, 1), the chance of a click that was predicted for each when it was shown,
            from what predicted_ctr is estimated from.
        tiredness: (B, C) float, log-odds that boredom costs these best items now, as learned from training sessions;
            None above agents without a belief.
        uncertainty: (B, C) float, standard deviation of these items' mean log-odds by the belief; None likewise.
    """

    axis: Axis
    slate_size: int
    session_key: NDArray[np.uint64]
    steps: NDArray[np.int64]
    plans: NDArray[np.int64]
    predicted_ctr: NDArray[np.float32]
    counts: NDArray[np.float32]
    feedback: NDArray[np.float32]
    recent_items: NDArray[np.int32]
    recent_feedback: NDArray[np.float32]
    recent_estimates: NDArray[np.float32]
    tiredness: NDArray[np.float32] | None = None
    uncertainty: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.session_key)

    @property
    def names(self) -> tuple[str, ...]:
        """The C categories' names."""
        return self.axis.names

    @property
    def membership(self) -> NDArray[np.bool_]:
        """(I, C) bool, which items are in which category."""
        return self.axis.membership

    @property
    def recent(self) -> Recent:
        """Recent items, feedback and estimates, together."""
        return Recent(self.recent_items, self.recent_feedback, self.recent_estimates)

    @cached_property
    def recent_categories(self) -> NDArray[np.bool_]:
        """(B, H, C) bool, the categories of each recent item; all False where there is none."""
        return self.membership[self.recent_items] & (self.recent_items >= 0)[..., None]

    def take(self, rows: NDArray[np.int64]) -> "PlanContexts":
        """The contexts of some sessions only, a copy."""
        rows = np.arange(len(self))[rows]
        there = {name: part for name, part in zip(_PER_SESSION, self._parts, strict=True) if part is not None}
        found = {name: np.empty((len(rows), *part.shape[1:]), part.dtype) for name, part in there.items()}

        def take(block: slice) -> None:
            for name, part in there.items():
                found[name][block] = part[rows[block]]

        threads.each(take, len(rows), threads.least(COPY))
        return PlanContexts(self.axis, self.slate_size, **found)

    def replaced(self, rows: NDArray[np.int64], fresh: "PlanContexts") -> "PlanContexts":
        """These contexts with those of some sessions overwritten, in place."""
        pairs = list(zip(self._parts, fresh._parts, strict=True))

        def put(block: slice) -> None:
            for part, new in pairs:
                if part is not None and new is not None:
                    part[rows[block]] = new[block]

        threads.each(put, len(rows), threads.least(COPY))
        return self

    @property
    def _parts(self) -> list[NDArray[Any] | None]:
        """What there is of each session, in the order of the fields."""
        return [getattr(self, name) for name in _PER_SESSION]


_PER_SESSION = (
    "session_key",
    "steps",
    "plans",
    "predicted_ctr",
    "counts",
    "feedback",
    "recent_items",
    "recent_feedback",
    "recent_estimates",
    "tiredness",
    "uncertainty",
)


@dataclass(frozen=True)
class Plans:
    """What may be shown next: an item needs an allowed category and must have no avoided one.

    Attributes:
        allowed: (B, C) bool, at least one per session.
        avoid: (B, C) bool; a category both allowed and avoided is avoided.
        rationale: one line per session, when the planner gives one.
        queries: of a chat model: the key, in the run's record of its traffic, of each session's question.
    """

    allowed: NDArray[np.bool_]
    avoid: NDArray[np.bool_]
    rationale: tuple[str, ...] | None = None
    queries: tuple[str, ...] | None = None


class PlanInWords(NamedTuple):
    """The plan of one session.

    Attributes:
        allowed, avoided: names of categories; one that is both is avoided. rationale, query: as in `Plans`, or "".
    """

    allowed: list[str]
    avoided: list[str]
    rationale: str = ""
    query: str = ""


@dataclass(frozen=True)
class Sessions:
    """Whole sessions that have ended, of N users; T slates of k slots at most.

    Attributes:
        names, membership: as in `PlanContexts`.
        items: (N, T, k) int, -1 where nothing was shown. feedback: (N, T, k) float in [0, 1], -1 likewise.
        estimates: (N, T, k) float in (0, 1), the chance of a click that known history predicted.
        keys: (N,) uint64, `PlanContexts.session_key` of each, so that a planner knows what it tried in which.
    """

    names: tuple[str, ...]
    membership: NDArray[np.bool_]
    items: NDArray[np.int32]
    feedback: NDArray[np.float32]
    estimates: NDArray[np.float32]
    keys: NDArray[np.uint64]


class Planner(ABC):
    """Chooses the categories that come next, for many sessions at once.

    Only `plan` is needed; the rest has defaults. A class that has a `plan` and derives from nothing works as well. A
    run makes a planner as `MyPlanner(size=..., seed=...)`, several times, even for one agent: `size`, int from 1, most
    categories that a plan allows; `seed`, int, the run's.

    `plan(contexts)` is given B sessions and answers `Plans` for these B, in their order; B differs between calls.
    `PlanContexts` and `Plans` say what their arrays hold, with shapes and dtypes. The arrays belong to the caller: copy
    what is kept, and write to none. Draws should depend on `contexts.session_key` and `contexts.steps` only: then
    a session has the same plans whatever other sessions are planned with it.

    Optional, for a planner that learns:
        session_ended(sessions): gets whole training sessions before a policy is trained, once per round: those of the
            first round, then those of the first two, and so on. The planner itself makes the plans in them.
        rounds: how many rounds, int in [1, 10000]; 2 unless the class says otherwise.
        trusts_belief: whether it gets no such sessions above an agent with a belief, as contexts say there what it
            would learn; False unless the class says otherwise.
        state(), restore(state): what was learned, as arrays by name. A run keeps it in a file, so that training and
            evaluation, and a run that is resumed, plan alike. Without both, the planner learns again in every process.

    Example, in a file least_shown.py:

        class LeastShown(Planner):
            '''Allows the categories shown least so far.'''

            def __init__(self, size, seed):
                self.size = size

            def plan(self, contexts):
                order = np.argsort(contexts.counts, axis=1, kind="stable")  # (B, C), the least shown first
                allowed = np.zeros(order.shape, bool)
                np.put_along_axis(allowed, order[:, : self.size], True, axis=1)
                return Plans(allowed, avoid=np.zeros_like(allowed))

    lerl train quickstart --planner.name least_shown:LeastShown
    """

    rounds: int = 2
    trusts_belief: bool = False

    @abstractmethod
    def plan(self, contexts: PlanContexts) -> Plans:
        """One plan per session; see the class.

        Args:
            contexts: what may be known of B sessions.

        Returns:
            Plans for these sessions; `check_plans` refuses anything else with a `PlanError`.
        """

    def session_ended(self, sessions: Sessions) -> None:  # noqa: B027 - a default
        """Learn from whole training sessions, all that were played so far. Does nothing by default."""

    def state(self) -> dict[str, NDArray[Any]]:
        """What was learned: arrays of numbers or text, by any names but "steps" and "file". Empty by default."""
        return {}

    def restore(self, state: dict[str, NDArray[Any]]) -> None:  # noqa: B027
        """Take over what `state` gave, maybe in another process. Does nothing by default."""

    @property
    def learns(self) -> bool:
        """Whether it has a `session_ended` of its own; without one it is given no sessions."""
        return type(self).session_ended is not Planner.session_ended

    @property
    def keeps(self) -> bool:
        """Whether it has a `state` and a `restore` of its own."""
        return type(self).state is not Planner.state and type(self).restore is not Planner.restore


def with_defaults(own: type, base: type) -> Any:
    """A user's class with what it lacks of `Planner` or `Agent`; the class itself where it derives from it.

    Args:
        own: has the methods that are needed, whatever it derives from. base: whose defaults stand behind.
    """
    return own if issubclass(own, base) else new_class(own.__name__, (own, base))


class PlanError(ValueError):
    """A planner answered something that is no plan; the message says what."""


def check_plans(plans: Plans, contexts: PlanContexts, planner: object) -> Plans:
    """The plans, or an error that says what a planner got wrong."""
    name, shape = type(planner).__name__, (len(contexts), len(contexts.names))
    for part in ("allowed", "avoid"):
        with blamed(f"{part} of what {name}.plan returned"):
            mask: Any = getattr(plans, part, None)
        plain = type(mask) is np.ndarray  # a masked array, say, has values that it does not mean
        if not plain or mask.dtype != np.bool_ or mask.shape != shape:
            given = f"{mask.dtype} {mask.shape}" if plain else type(mask).__name__
            raise PlanError(
                f"{name}.plan must return Plans whose {part} is a bool array of shape {shape}, given {given}"
            )
    if not plans.allowed.any(axis=1).all():
        row = int(np.flatnonzero(~plans.allowed.any(axis=1))[0])
        raise PlanError(f"{name}.plan allowed no category for session {row}; every plan needs at least one")
    return plans


def check_state(state: Any, planner: object) -> dict[str, NDArray[Any]]:
    """What a user's planner gave to be kept: arrays by name, with numbers or text in them.

    Raises:
        PluginError: it is something else, which could not be read back.
    """
    who = f"{type(planner).__name__}.state"
    if not isinstance(state, dict):
        raise PluginError(f"{who} must give a dictionary of arrays, given {type(state).__name__}")
    kept = {}
    for name, value in state.items():
        if not isinstance(name, str) or name in ("steps", "file"):
            raise PluginError(f"{who} must give arrays by names other than 'steps' and 'file', given the name {name!r}")
        with blamed(f"{who}, whose {name!r} is read as an array,"):
            kept[name] = np.array(value)
        if kept[name].dtype.hasobject or np.ma.isMaskedArray(value):
            raise PluginError(f"{who} must give arrays of numbers or text, given {type(value).__name__} for {name!r}")
    return kept
