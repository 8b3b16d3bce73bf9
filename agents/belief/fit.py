"""Fits a `UserModel` to training sessions: people, items, strengths and topics in turn, each given the others."""

import numpy as np
from numpy.typing import NDArray

from lerl.agents.belief.filter import TrainingSessions, believed
from lerl.agents.belief.items import common_offset, refit_items
from lerl.agents.belief.likeness import refit_likeness
from lerl.agents.belief.model import UserModel
from lerl.agents.belief.people import refit_people
from lerl.agents.belief.strengths import losses, refit_strengths, tastes
from lerl.agents.belief.topics import refit_topics

FEW = 2000  # sessions, at most, from which it is learned how people differ, and how much boredom and fatigue cost


def fit_user_model(
    start: UserModel, known: UserModel, sessions: TrainingSessions, seed: int, fixed: bool = False
) -> UserModel:
    """A model of greater posterior probability than `start`: one pass, as the next sessions bring another.

    Args:
        start: from which it goes on. known: what items are shrunk towards. seed: of the order of the sessions.
        fixed: whether topics stay as they are.
    """
    rng, count, dim = np.random.default_rng(seed), len(sessions.homes), start.vectors.shape[1]
    few = sessions.take(np.sort(rng.choice(count, min(FEW, count), replace=False)))
    model = refit_people(start, few)
    means = believed(model, sessions)[0]
    apart = common_offset(sessions, tastes(model, sessions, means) - losses(model, sessions))
    model, known = (one._replace(offsets=one.offsets + apart) for one in (model, known))
    model = refit_items(model, known, sessions, means, means[:, dim:] - losses(model, sessions))
    model = refit_likeness(model, sessions, tastes(model, sessions, means) - losses(model, sessions))
    model = refit_strengths(model, few, _remaining(model, few))
    if known.weight == 0:  # of people who do not get bored
        return model._replace(weight=0.0)
    if not fixed:
        tired = tastes(model, sessions, means) - losses(model._replace(weight=0.0), sessions)
        model = refit_topics(model, sessions, tired, seed)
    return refit_strengths(model, few, _remaining(model, few))


def _remaining(model: UserModel, few: TrainingSessions) -> NDArray[np.float32]:
    """Log-odds (S, k) without boredom and fatigue."""
    near = losses(model._replace(weight=0.0, tire=0.0), few)
    return np.asarray(tastes(model, few, believed(model, few)[0]) - near, np.float32)
