"""Chances of a click before boredom and fatigue: by latent factors, or looked up in a dense matrix."""

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from lerl.envs.population import Population
from lerl.envs.response.base import Arrays, click_chances

LOOKUP_PRIOR = 0.1
"""Weight of the latent model in `LookupResponse`, in views: a single view does not make a click certain.

Boredom and fatigue, which lower log-odds, then have an effect, and the mean chance stays near the share of clicks.
"""


class LatentFactorResponse:
    """P(click) = sigmoid(taste . item + item offset + user offset), the population's truth."""

    def __init__(self, population: Population) -> None:
        self.truth = population.truth

    def init(self, users: NDArray[np.int64]) -> Arrays:
        """Taste (B, d) and offset (B,) of users (B,)."""
        return {"taste": self.truth.user_vectors[users].copy(), "offset": self.truth.user_offsets[users].copy()}

    def score(self, state: Arrays, items: NDArray[np.int32]) -> NDArray[np.float64]:
        """Chance of a click (B, k) in (0, 1)."""
        return click_chances(state["taste"], state["offset"], items, self.truth.item_vectors, self.truth.item_offsets)

    def advance(self, state: Arrays, items: NDArray[np.int32], feedback: NDArray[np.float32]) -> Arrays:
        """The same state: what moves a taste is the simulator's drift."""
        return state


class LookupResponse:
    """The chance of a click, looked up in the population's dense matrix of what users did with items.

    chance = (y + w p) / (1 + w) where the matrix has a click (y = 1) or none (y = 0), p where it has nothing; p is the
    latent model's probability at the start of the session, w = LOOKUP_PRIOR. What drift does to the taste is added in
    log-odds: (taste - taste at the start) . item. KuaiRec's matrix was made for such a look-up (Gao et al. 2022), there
    with the watch ratio itself and without boredom or fatigue.

    Raises:
        ValueError: the population has no dense matrix.
    """

    def __init__(self, population: Population) -> None:
        if population.dense is None:
            raise ValueError(
                f"env.response is 'lookup', which needs a dense matrix, and the population {population.name!r} has "
                "none; make one with `lerl data prepare --format kuairec --dense`, or set env.response to 'latent'"
            )
        self.truth, self.dense = population.truth, population.dense

    def init(self, users: NDArray[np.int64]) -> Arrays:
        """Taste (B, d), the same taste as the start (B, d), offset (B,) and matrix row (B,) of users (B,)."""
        taste, offset = self.truth.user_vectors[users], self.truth.user_offsets[users]
        return {"taste": taste.copy(), "start": taste.copy(), "offset": offset.copy(), "row": users.astype(np.int64)}

    def score(self, state: Arrays, items: NDArray[np.int32]) -> NDArray[np.float64]:
        """Chance of a click (B, k) in (0, 1)."""
        return _look_up(
            state["row"], state["taste"], state["start"], state["offset"], items, self.dense,
            self.truth.item_vectors, self.truth.item_offsets,
        )  # fmt: skip

    def advance(self, state: Arrays, items: NDArray[np.int32], feedback: NDArray[np.float32]) -> Arrays:
        """The same state: what moves a taste is the simulator's drift."""
        return state


@njit(cache=True, nogil=True)
def _look_up(row, taste, start, offset, items, dense, item_vectors, item_offsets):  # type: ignore[no-untyped-def]
    chance = np.zeros(items.shape, np.float64)
    for b in range(items.shape[0]):
        for s in range(items.shape[1]):
            item = items[b, s]
            if item < 0:
                continue
            logit, drifted = float(offset[b]) + item_offsets[item], 0.0
            for j in range(taste.shape[1]):
                logit += float(start[b, j]) * item_vectors[item, j]
                drifted += (float(taste[b, j]) - float(start[b, j])) * item_vectors[item, j]
            seen = dense[row[b], item]
            if seen >= 0:
                p = (seen + LOOKUP_PRIOR / (1.0 + math.exp(-logit))) / (1.0 + LOOKUP_PRIOR)
                logit = math.log(p) - math.log(1.0 - p)
            chance[b, s] = 1.0 / (1.0 + math.exp(-logit - drifted))
    return chance
