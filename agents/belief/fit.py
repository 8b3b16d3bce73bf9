"""Fits a `UserModel` to training sessions: people, items, strengths and topics in turn, each given the others."""

import numpy as np

from lerl.agents.belief.filter import TrainingSessions, believed
from lerl.agents.belief.items import refit_items
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
    model = refit_items(model, known, sessions, means, means[:, dim:] - losses(model, sessions))
    model = refit_strengths(model, few, tastes(model, few, believed(model, few)[0]))
    if not fixed:
        tired = tastes(model, sessions, means) - losses(model._replace(weight=0.0), sessions)
        model = refit_topics(model, sessions, tired, seed)
    return refit_strengths(model, few, tastes(model, few, believed(model, few)[0]))
