"""Learns people and items from training sessions, in rounds: each explores with what the last one taught."""

from typing import NamedTuple

import numpy as np

from lerl.agents.base import Agent
from lerl.agents.belief.agent import BeliefAgent, homes
from lerl.agents.belief.filter import TrainingSessions
from lerl.agents.belief.fit import fit_user_model, likelihood
from lerl.agents.belief.model import UserModel, prior_model
from lerl.agents.belief.topics import directions, near_centres
from lerl.envs.topics import ClusterError, cluster_items
from lerl.planners.rules import build_planner
from lerl.run.agent_factory import hierarchical_agent
from lerl.run.context import FitContext
from lerl.run.rollout import Episodes
from lerl.run.task import Task

ROUNDS = 4
TOPICS = (10, 20, 40)  # numbers of topics that are compared
HELD_OUT = 10  # every so manieth session, by which they are compared
CHUNK = 1000  # sessions played at a time, at most


class FittedBelief(NamedTuple):
    """What was learned, and the user-steps that it took."""

    model: UserModel
    steps: int


def fit_belief(context: FitContext, steps: int) -> FittedBelief:
    """Learn from at most `steps` user-steps of training users."""
    task, explorer = context.task, build_planner("random", context.task.config.planner.size, context.task.seed("belief"))
    agent: Agent = hierarchical_agent(task, "belief", explorer)
    parts: list[TrainingSessions] = []
    spent, model, known = 0, None, None
    for number in range(ROUNDS):
        parts.append(_play(context, agent, steps * (number + 1) // ROUNDS - spent, number))
        spent += len(parts[-1].items)
        sessions = join(parts)
        if known is None or model is None:
            known = model = choose_topics(task, sessions)
        model = fit_user_model(model, known, sessions, task.seed("belief fit", number))
        agent = BeliefAgent(task.task_spec("belief"), task.config.evaluation.batch_size, model, explore=True)
        context.report("belief", spent, steps, f"{len(sessions.homes):,} sessions")
    assert model is not None
    return FittedBelief(model, spent)


def choose_topics(task: Task, sessions: TrainingSessions) -> UserModel:
    """The prior model with the number of topics that predicts held-out sessions best."""
    rows = np.arange(len(sessions.homes))
    held = sessions.take(rows[rows % HELD_OUT == 0])
    others = sessions.take(rows[rows % HELD_OUT != 0])
    tried = []
    for count in TOPICS:
        if start := start_model(task, count):
            fitted = fit_user_model(start, start, others, 0)
            tried.append((likelihood(fitted, held), start))
            print(count, tried[-1][0], fitted.weight, fitted.tire, -1 / np.log(fitted.keep))
    return max(tried, key=lambda one: one[0])[1]


def start_model(task: Task, count: int) -> UserModel | None:
    """The prior model with topics from clusters of item directions; None where items have not so many directions."""
    known = task.population.knowledge
    vectors = known.item_vectors[:, :-1]
    try:
        labels = cluster_items(vectors, count, task.config.seed, "topics")
    except ClusterError:
        return None
    shares = np.exp(near_centres(directions(vectors), np.eye(count)[labels]))
    return prior_model(known, shares.astype(np.float32), task.population.users("train"))


def join(parts: list[TrainingSessions]) -> TrainingSessions:
    """Several lots of sessions as one."""
    ends = np.cumsum([0] + [len(part.items) for part in parts])
    starts = [part.starts[:-1] + end for part, end in zip(parts, ends, strict=False)]
    return TrainingSessions(
        np.concatenate([part.homes for part in parts]),
        np.concatenate([*starts, ends[-1:]]),
        np.concatenate([part.items for part in parts]),
        np.concatenate([part.feedback for part in parts]),
    )


def _play(context: FitContext, agent: Agent, steps: int, number: int) -> TrainingSessions:
    """Sessions of training users, of at most so many user-steps in all."""
    task, found, length, chunk = context.task, [], float(context.task.config.env.max_steps), 0
    left = steps
    while left >= length:
        count = int(min(CHUNK, max(left // length, 1)))
        seed = task.seed("belief sessions", number, chunk)
        users = np.random.default_rng(seed).choice(context.evaluator.users, count)
        played = context.evaluator.play(agent, users, 1, seed)
        fits = int(np.searchsorted(np.cumsum(played.lengths), left, side="right"))
        found.append(training_sessions(task, played, fits))
        left -= len(found[-1].items)
        length, chunk = float(played.lengths.mean()), chunk + 1
    return join(found)


def training_sessions(task: Task, played: Episodes, count: int) -> TrainingSessions:
    """The first `count` of the sessions that were played, as a model learns from them: nothing hidden."""
    known, users, lengths = task.population.knowledge, played.users[:count], played.lengths[:count]
    there = np.arange(played.slates.shape[1]) < lengths[:, None]
    return TrainingSessions(
        homes(known.tastes[users], known.user_offsets[users]),
        np.concatenate([[0], np.cumsum(lengths)]),
        played.slates[:count][there],
        played.feedback[:count][there],
    )
