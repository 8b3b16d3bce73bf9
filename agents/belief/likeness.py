"""What items of one slate that are alike take from each other, found by likelihood."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lerl.agents.belief.filter import TrainingSessions, cosines
from lerl.agents.belief.model import UserModel

SURE = 3.0  # standard errors; a strength of fewer is none


def refit_likeness(model: UserModel, sessions: TrainingSessions, logits: NDArray[np.float32]) -> UserModel:
    """The model with `alike` of greater likelihood, 0 where it is not clearly above.

    Only differences between the answers to one item, and within one session, are used (about fixed effects): what an
    item gets less in all of its slates may as well be the item's own offset.

    Args:
        logits: (S, k), as believed with the model's `alike`.
    """
    items = sessions.items
    there = items >= 0
    item, x = items[there], -cosines(model.units, items)[there]
    session = np.repeat(np.arange(len(sessions.homes)), np.diff(sessions.starts) * items.shape[1])[there.ravel()]
    p = 1 / (1 + np.exp(-logits[there].astype(np.float64)))
    off = sessions.feedback[there] - p
    for group in (session, item):
        x, off = _within(group, x), _within(group, off)
    curve = float((p * (1 - p) * x * x).sum())
    alike = model.alike + float((off * x).sum()) / max(curve, 1e-9)
    return model._replace(alike=alike if alike > SURE / math.sqrt(max(curve, 1e-9)) else 0.0)


def _within(group: NDArray[Any], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values (N,) minus the mean of those of the same group."""
    means = np.bincount(group, values) / np.maximum(np.bincount(group), 1)
    return np.asarray(values - means[group], np.float64)
