"""The planner's contract: what it sees, what it answers, and how a planner of your own is found."""

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class PlanContexts:
    """What a planner may know of B sessions; C categories (or clusters), the last H slots shown, k of them per slate.

    Attributes:
        names: the C categories' names.
        membership: (I, C) bool, which items are in which category.
        slate_size: k.
        session_key: (B,) uint64, the same during a session, different between sessions; the source of a planner's draws.
        steps: (B,) int, slates shown so far.
        liking: (B, C) float in (0, 1), chance of a click on a category's best items, estimated from known history alone.
        counts: (B, C) float, slots shown per category so far.
        feedback: (B, C) float in [0, 1], mean feedback per category so far, -1 where nothing was shown.
        recent_items: (B, H) int, items shown, oldest first, -1 as padding.
        recent_feedback: (B, H) float in [0, 1], feedback on each, -1 as padding.
    """

    names: tuple[str, ...]
    membership: NDArray[np.bool_]
    slate_size: int
    session_key: NDArray[np.uint64]
    steps: NDArray[np.int64]
    liking: NDArray[np.float32]
    counts: NDArray[np.float32]
    feedback: NDArray[np.float32]
    recent_items: NDArray[np.int32]
    recent_feedback: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.session_key)

    @cached_property
    def recent_categories(self) -> NDArray[np.bool_]:
        """(B, H, C) bool, the categories of each recent item; all False where there is none."""
        return self.membership[self.recent_items] & (self.recent_items >= 0)[..., None]

    def take(self, rows: NDArray[np.int64]) -> "PlanContexts":
        """The contexts of some sessions only."""
        return PlanContexts(
            self.names,
            self.membership,
            self.slate_size,
            *(getattr(self, name)[rows] for name in _PER_SESSION),
        )


_PER_SESSION = (
    "session_key",
    "steps",
    "liking",
    "counts",
    "feedback",
    "recent_items",
    "recent_feedback",
)


@dataclass(frozen=True)
class Plans:
    """What may be shown next: an item needs an allowed category and must have no avoided one.

    Attributes:
        allowed: (B, C) bool, at least one per session.
        avoid: (B, C) bool; a category both allowed and avoided is avoided.
        most: how many items of one allowed category a slate may hold, at least 1; no limit when None.
        rationale: one line per session, when the planner gives one.
    """

    allowed: NDArray[np.bool_]
    avoid: NDArray[np.bool_]
    most: int | None = None
    rationale: tuple[str, ...] | None = None


class Planner(Protocol):
    """Chooses categories for many sessions at once; a planner of your own needs nothing else.

    It is made once per row as `MyPlanner(size=..., seed=...)`: how many categories to allow, and the run's seed.
    """

    def plan(self, contexts: PlanContexts) -> Plans:
        """One plan per session."""
