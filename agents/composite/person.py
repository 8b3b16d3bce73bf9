"""Who somebody is to a model of wholes: known taste says what to expect, and answers of the session correct it."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lerl.agents.composite.model import JIMA

Floats = NDArray[np.float64]


class Prior(NamedTuple):
    """What known taste says of people: their factors and offset are normal.

    Attributes:
        map: (D + 1, m) from taste and 1 to the mean, m = r + 1. precision: (m, m), the inverse of the covariance.
        noise: variance of an answer to a whole, in squares of a standard deviation.
    """

    map: Floats
    precision: Floats
    noise: float

    def mean(self, tastes: Floats) -> Floats:
        """(B, m) of people by their known tastes (B, D)."""
        return np.column_stack([tastes, np.ones(len(tastes))]) @ self.map


def fit_prior(model: JIMA, tastes: Floats, seen: NDArray[np.int64]) -> Prior:
    """What known tastes say of the factors that were learned of training users.

    Args:
        model: fitted. tastes: (U, D) of its users. seen: (U,) how many wholes of each were rated.
    """
    m, trained = model.width + 1, seen > 0
    features = np.column_stack([tastes, np.ones(len(tastes))])[trained]
    targets = model.users[trained][:, :m]
    scale = 1e-2 * np.mean(features**2, axis=0).mean() * len(features) + 1e-9
    weights = np.linalg.solve(features.T @ features + scale * np.eye(features.shape[1]), features.T @ targets)
    residuals = targets - features @ weights
    covariance = residuals.T @ residuals / max(len(residuals), 1) + 1e-4 * np.eye(m)
    return Prior(weights, np.linalg.inv(covariance), float((model.error / model.scale[1]) ** 2))


class People:
    """B people in their sessions, by ridge regression on what they answered, begun at what their taste says.

    Args:
        model, prior: fitted. count: B.
    """

    def __init__(self, model: JIMA, prior: Prior, count: int) -> None:
        self.model, self.prior = model, prior
        m = model.width + 1
        self.gram = np.tile(prior.precision, (count, 1, 1))
        self.right = np.zeros((count, m))

    def begin(self, rows: NDArray[np.int64], tastes: Floats) -> None:
        """New people in these slots (n,), of known tastes (n, D)."""
        self.gram[rows] = self.prior.precision
        self.right[rows] = self.prior.mean(tastes) @ self.prior.precision

    def answered(self, rows: NDArray[np.int64], items: NDArray[np.int64], y: Floats) -> None:
        """These people (n,) answered y (n,) to wholes (n, k)."""
        model, r = self.model, self.model.width
        v = model.items[items]
        of_user, alone = model.against_user(v[:, :, :r])
        features = np.column_stack([of_user, np.ones(len(rows))])
        targets = (y - model.scale[0]) / model.scale[1] - model.base - v[:, :, r].sum(axis=1) - alone
        np.add.at(self.gram, rows, features[:, :, None] * features[:, None, :] / self.prior.noise)
        np.add.at(self.right, rows, features * targets[:, None] / self.prior.noise)

    def factors(self, rows: NDArray[np.int64]) -> Floats:
        """(n, r + 2) of these people, as `JIMA.felt` takes them."""
        solved = np.linalg.solve(self.gram[rows], self.right[rows][..., None])[..., 0]
        return np.column_stack([solved, np.zeros(len(rows))])
