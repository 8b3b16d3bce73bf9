"""The state of users at one step, and the outcome of showing them slates."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lerl.envs.response.base import Arrays


@dataclass
class State:
    """The whole state of B users; every array has one row per user.

    Attributes:
        seed: (B,) uint64. session: (B,) int64. steps: (B,) int32, slates shown. user: (B,) int64.
        active: (B,) bool, whether the session goes on.
        response: the response model's state. anchor: (B, d) float32, where taste returns to.
        boredom: (B, K) float32, at least 0. mood: (B,) float32, log-odds.
        fatigue, satisfaction: (B,) float32 in [0, 1]. patience: (B,) float32.
        spent: (B,) float32, used up of a step budget.
        shown: (B, T * k) int32, items slot after slot, -1 where nothing was. feedback: (B, T * k) float32, -1 likewise.
        whole: (B, T) float32, clicks on whole slates where slots have roles, -1 where nothing was; else (B, 0).
        exposure: (B, C) int32, slots shown per category. liked: (B, C) float32, feedback summed per category.
    """

    seed: NDArray[np.uint64]
    session: NDArray[np.int64]
    steps: NDArray[np.int32]
    user: NDArray[np.int64]
    active: NDArray[np.bool_]
    response: Arrays
    anchor: NDArray[np.float32]
    boredom: NDArray[np.float32]
    fatigue: NDArray[np.float32]
    mood: NDArray[np.float32]
    satisfaction: NDArray[np.float32]
    patience: NDArray[np.float32]
    spent: NDArray[np.float32]
    shown: NDArray[np.int32]
    feedback: NDArray[np.float32]
    exposure: NDArray[np.int32]
    liked: NDArray[np.float32]
    whole: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.seed)

    def take(self, rows: NDArray[np.int64]) -> "State":
        """A copy of the given rows, in that order; a row may be taken more than once."""
        return self._pick(rows)

    def view(self, block: slice) -> "State":
        """The rows of a block, not copied: what moves there moves here."""
        return self._pick(block)

    def _pick(self, rows: Any) -> "State":
        def pick(value: Any) -> Any:
            return {key: array[rows] for key, array in value.items()} if isinstance(value, dict) else value[rows]

        return State(**{entry.name: pick(getattr(self, entry.name)) for entry in dataclasses.fields(self)})


@dataclass(frozen=True)
class Outcome:
    """What a step brought, for B users.

    Attributes:
        slates: (B, k) int32, what was really shown, -1 for an empty slot (an item twice, or shown before).
        feedback: (B, k) float32 in [0, 1], -1 for an empty slot.
        chance: (B, k) float64, the true chance of a click, 0 for an empty slot.
        reward: (B,) float64 in [0, 1], mean feedback over the slate, an empty slot counting 0.
        leave_chance: (B,) float64 in [0, 1].
        terminated: (B,) bool, the user left. truncated: (B,) bool, the session was cut at the step cap.
    """

    slates: NDArray[np.int32]
    feedback: NDArray[np.float32]
    chance: NDArray[np.float64]
    reward: NDArray[np.float64]
    leave_chance: NDArray[np.float64]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]

    @staticmethod
    def room(users: int, slate_size: int) -> "Outcome":
        """For so many users, nothing in it yet."""
        shape = (users, slate_size)
        return Outcome(
            np.empty(shape, np.int32),
            np.empty(shape, np.float32),
            np.empty(shape, np.float64),
            np.empty(users, np.float64),
            np.empty(users, np.float64),
            np.empty(users, np.bool_),
            np.empty(users, np.bool_),
        )

    def fill(self, block: slice, found: "Outcome") -> None:
        """Put in what a step brought for a block of the users."""
        for entry in dataclasses.fields(self):
            getattr(self, entry.name)[block] = getattr(found, entry.name)
