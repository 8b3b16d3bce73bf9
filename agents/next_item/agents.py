"""Recommenders of the next item that are also agents of `lerl train`, by name: what fits, keeps and plays each."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from lerl.agents.base import Agent, TaskSpec
from lerl.agents.sasrec import SASRecAgent, fit_sasrec, load_sasrec


class InSessions(NamedTuple):
    """How a recommender of the next item gets into sessions.

    Attributes:
        fit: lists of items of each user, I, width, rate of learning; and seed, checkpoint and report -> a network, as
            `lerl.agents.sasrec.fit_sasrec`. load: a file of weights, I, width -> the network.
        agent: task, sessions at once, network, weight of maximal marginal relevance -> what shows slates.
        reads: the keys of `train` that mean something to it.
    """

    fit: Callable[..., Any]
    load: Callable[[Path, int, int], Any]
    agent: Callable[[TaskSpec, int, Any, float], Agent]
    reads: tuple[str, ...]


IN_SESSIONS: dict[str, InSessions] = {
    "sasrec": InSessions(fit_sasrec, load_sasrec, SASRecAgent, ("train.hidden", "train.learning_rate"))
}
"""By the name that `agents` of a recipe takes, alone or with "+mmr"."""
