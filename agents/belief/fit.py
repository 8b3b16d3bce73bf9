"""Fits a `UserModel` to training sessions: people, items, strengths and topics in turn, each given the others."""

import numpy as np
from numpy.typing import NDArray

from lerl.agents.belief.filter import TrainingSessions, follow, new_belief
from lerl.agents.belief.items import refit_items
from lerl.agents.belief.model import UserModel
from lerl.agents.belief.people import refit_people
from lerl.agents.belief.strengths import losses, refit_strengths, tastes
from lerl.agents.belief.topics import refit_topics

PASSES = 3
PEOPLE = 2000  # sessions, at most, from which it is learned how people differ


def fit_user_model(start: UserModel, known: UserModel, sessions: TrainingSessions, seed: int) -> UserModel:
    """A model of greater posterior probability than `start`.

    Args:
        start: from which it goes on. known: what items are shrunk towards. seed: of the order of the sessions.
    """
    model, rng = start, np.random.default_rng(seed)
    count = len(sessions.homes)
    few = sessions.take(np.sort(rng.choice(count, min(PEOPLE, count), replace=False)))
    for number in range(PASSES):
        model = refit_people(model, few)
        means = believed(model, sessions)[0]
        dim = model.vectors.shape[1]
        model = refit_items(model, known, sessions, means, means[:, dim:] - losses(model, sessions))
        taste = tastes(model, sessions, means)
        model = refit_strengths(model, sessions, taste)
        tired = taste - losses(model._replace(weight=0.0), sessions)
        model = refit_topics(model, sessions, tired, seed + number)
        model = refit_strengths(model, sessions, taste)
    return model


def believed(model: UserModel, sessions: TrainingSessions) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Means (S, d + 1) before each slate, and the log-odds (S, k) of a click as believed before each answer."""
    found: tuple[NDArray[np.float32], NDArray[np.float32]] = follow(
        model, new_belief(1, model.vectors.shape[1], model.fills.shape[1]), sessions
    )
    return found


def likelihood(model: UserModel, sessions: TrainingSessions) -> float:
    """Mean log-likelihood of an answer, each predicted from those before it."""
    z = believed(model, sessions)[1].astype(np.float64)
    there = sessions.items >= 0
    z, y = z[there], sessions.feedback[there]
    return float((y * z - np.logaddexp(0, z)).mean())
