"""Known tastes of people who are not in the log, from interactions of theirs, as a log's users have theirs.

Hu, Koren and Volinsky 2008, "Collaborative filtering for implicit feedback datasets", section 4: with item vectors
fixed, a user's vector is one least squares problem. What calibrated the log's own users is found again by linear
regression of their known tastes on these vectors.
"""

import numpy as np
from numpy.typing import NDArray

from lerl.envs.population import Population

CONFIDENCE, REGULARIZATION, PRIOR = 40.0, 30.0, 5.0
"""As in `lerl.envs.fitting.latent`, which needs libraries that are not needed here."""
MOST = 5000
"""Users, at most, that the regression is fitted to."""
Floats = NDArray[np.float64]


class FoldIn:
    """Tastes and offsets of new people, as `Knowledge` has them.

    Args:
        population: whose users show what interactions say of a taste.
    """

    def __init__(self, population: Population) -> None:
        known, users = population.knowledge, population.users("train")
        self.items = known.item_vectors[:, :-1].astype(np.float64)
        self._gram = self.items.T @ self.items + REGULARIZATION * np.eye(self.items.shape[1])
        clicks = population.history[:, 2]
        self._base = (clicks.sum() + 1) / (len(clicks) + 2)
        some = users if len(users) <= MOST else np.sort(np.random.default_rng(0).choice(users, MOST, replace=False))
        given = np.stack([self._features(history) for history in population.known(some)])
        wanted = np.column_stack([known.tastes[some, :-1], known.user_offsets[some]]).astype(np.float64)
        self._map = np.asarray(np.linalg.lstsq(given, wanted, rcond=None)[0], np.float64)
        self._mean = np.append(known.tastes[users, :-1].mean(axis=0), known.user_offsets[users].mean())

    def __call__(self, history: NDArray[np.integer]) -> tuple[NDArray[np.float32], np.float32]:
        """Taste (D,) and offset of somebody, the mean of training users' where nothing is known.

        Args:
            history: (n, 2), items as positions in the catalog and clicks 0 or 1, in any order.
        """
        found = self._features(np.asarray(history)) @ self._map if len(history) else self._mean
        return np.append(found[:-1], 1.0).astype(np.float32), np.float32(found[-1])

    def _features(self, history: NDArray[np.integer]) -> Floats:
        """The least squares vector, the log-odds of a click, and 1: (d + 2,)."""
        vectors, clicked = self.items[history[:, 0]], history[:, 1] > 0
        curve = self._gram + (CONFIDENCE - 1) * vectors.T @ vectors
        taste = np.linalg.solve(curve, CONFIDENCE * vectors[clicked].sum(axis=0))
        share = (clicked.sum() + PRIOR * self._base) / (len(history) + PRIOR)
        return np.concatenate([taste, [np.log(share / (1 - share)), 1.0]])
