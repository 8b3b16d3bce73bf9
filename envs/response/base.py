"""The interface of response models: chances of a click, for many users at once."""

import math
from typing import Any, Protocol

import numpy as np
from numba import njit
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]


class ResponseModel(Protocol):
    """Chance of a click, for B users at once, from a state that is a dictionary of arrays with B rows.

    Drift moves "taste" (B, d) where a state has it; any other key is the model's own.
    """

    def init(self, users: NDArray[np.int64]) -> Arrays:
        """State of fresh sessions of users (B,)."""

    def score(self, state: Arrays, items: NDArray[np.int32]) -> NDArray[np.float64]:
        """Chance of a click (B, k) in (0, 1) for items (B, k), -1 for an empty slot (its value is not used)."""

    def advance(self, state: Arrays, items: NDArray[np.int32], feedback: NDArray[np.float32]) -> Arrays:
        """State after feedback (B, k) in [0, 1] on items (B, k), -1 for an empty slot; the one given may be changed."""


@njit(cache=True, nogil=True)
def click_chances(taste, offset, items, item_vectors, item_offsets):  # type: ignore[no-untyped-def]
    """(B, k) float64, sigmoid(taste . item + item offset + offset) for items (B, k); 0 for an empty slot, -1."""
    chance = np.zeros(items.shape, np.float64)
    for b in range(items.shape[0]):
        for s in range(items.shape[1]):
            item = items[b, s]
            if item >= 0:
                logit = float(offset[b]) + item_offsets[item]
                for j in range(taste.shape[1]):
                    logit += float(taste[b, j]) * item_vectors[item, j]
                chance[b, s] = 1.0 / (1.0 + math.exp(-logit))
    return chance
