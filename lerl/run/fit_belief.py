"""Learns people and items from training sessions, in rounds: each explores with what the last one taught."""

from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np

from lerl.agents.base import Agent
from lerl.agents.belief.agent import BeliefAgent, homes
from lerl.agents.belief.filter import TrainingSessions, join, likelihood
from lerl.agents.belief.fit import fit_user_model
from lerl.agents.belief.leaving import choose_leaving, refit_leaving
from lerl.agents.belief.model import Floats, UserModel, prior_model
from lerl.agents.belief.topics import directions, near_centres
from lerl.agents.hierarchical import HierarchicalAgent, Hierarchy
from lerl.envs.topics import ClusterError, cluster_items
from lerl.files import reading
from lerl.planners.rules import build_planner
from lerl.run.context import FitContext
from lerl.run.folder import Checkpoint
from lerl.run.rollout import Episodes
from lerl.run.specs import BELIEF
from lerl.run.task import Task

ROUNDS = 4
TOPICS = (20, 10, 40)  # numbers of topics that are compared
HELD_OUT = 10  # every so manieth session, by which they are compared
HARDLY = 0.002  # log-likelihood of an answer by which topics must predict better than none
PLANNED = 6  # categories in a plan of the first round
CHUNK = 1000  # sessions played at a time, at most


class _Learned(NamedTuple):
    """What the rounds so far have brought: the prior model, the model, and the sessions that it was fitted to."""

    known: UserModel
    model: UserModel
    sessions: TrainingSessions


def fit_belief(context: FitContext) -> None:
    """Learn from train.steps user-steps of training users, and keep what was learned in the run's folder.

    The first round shows items by known taste under random plans, so that what bores whom can be told from who likes
    what; the others draw tastes from the belief (Thompson sampling). An interrupted one goes on from its last round.
    """
    task, steps = context.task, context.task.config.train.steps
    checkpoint = context.store.checkpoint("belief", task.config.train.checkpoint)
    with reading(checkpoint.path, context.store.how):
        done, learned = _restored(checkpoint)
    for number in range(done, ROUNDS):
        spent = 0 if learned is None else len(learned.sessions.items)
        played = _play(context, _explorer(task, learned), steps * (number + 1) // ROUNDS - spent, number)
        if played is None:  # what is left over is the next round's
            continue
        sessions = played if learned is None else join([learned.sessions, played])
        known = choose_topics(task, sessions) if learned is None else learned.known
        model = known if learned is None else learned.model
        model = fit_user_model(model, known, sessions, task.seed("belief fit", number))
        if learned is None:
            model = choose_leaving(model, _groups(task, model), sessions)
        model = refit_leaving(model, _categories(task), sessions, task.config.env.max_steps)
        learned = _Learned(known, model, sessions)
        checkpoint.write(
            {"round": number + 1, **{name: dict(part._asdict()) for name, part in learned._asdict().items()}}
        )
        context.report(BELIEF, len(sessions.items), steps, f"{len(sessions.homes):,} sessions")
    if learned is None:
        context.store.save_belief(start_model(task), 0)
    else:
        context.store.save_belief(learned.model, len(learned.sessions.items))
    checkpoint.remove()


def start_model(task: Task, count: int = TOPICS[0]) -> UserModel:
    """The prior model with so many topics from clusters of item directions, one where there are not so many.

    Raises:
        ClusterError: items have not so many directions, and the number of topics is not the first that is tried.
    """
    known = task.population.knowledge
    vectors = known.item_vectors[:, :-1]
    try:
        labels = cluster_items(vectors, count, task.config.seed, "the number of topics")
    except ClusterError:
        if count != TOPICS[0]:
            raise
        labels = np.zeros(len(vectors), np.int32)
    shares = np.exp(near_centres(directions(vectors), np.eye(labels.max() + 1)[labels]))
    return prior_model(known, shares.astype(np.float32), task.population.users("train"))


def without_boredom(task: Task) -> UserModel:
    """The prior model of people who do not get bored, with one topic that all items share."""
    shares = np.ones((len(task.population.catalog), 1), np.float32)
    return prior_model(task.population.knowledge, shares, task.population.users("train"))._replace(weight=0.0)


def choose_topics(task: Task, sessions: TrainingSessions) -> UserModel:
    """The prior model with the number of topics whose fit predicts held-out sessions best, none where nothing bores."""
    rows = np.arange(len(sessions.homes))
    if len(rows) < 2 * HELD_OUT:  # too few to tell
        return start_model(task)
    held, others = sessions.take(rows[rows % HELD_OUT == 0]), sessions.take(rows[rows % HELD_OUT != 0])
    tried = []
    for count in (*TOPICS, 0):
        try:
            start = start_model(task, count) if count else without_boredom(task)
        except ClusterError:
            continue
        fitted = fit_user_model(start, start, others, task.seed("belief topics"))
        tried.append((likelihood(fitted, held) + (0.0 if count else HARDLY), start))
    return max(tried, key=lambda one: one[0])[1]


def training_sessions(task: Task, played: Episodes, count: int) -> TrainingSessions:
    """The first `count` of the sessions that were played, as a model learns from them: nothing hidden."""
    known, users, lengths = task.population.knowledge, played.users[:count], played.lengths[:count]
    there = np.arange(played.slates.shape[1]) < lengths[:, None]
    return TrainingSessions(
        homes(known.tastes[users], known.user_offsets[users]),
        np.concatenate([[0], np.cumsum(lengths)]),
        played.slates[:count][there],
        played.feedback[:count][there],
        played.left[:count] & (lengths < task.config.env.max_steps),
    )


def _groups(task: Task, model: UserModel) -> list[Floats]:
    """The ways to group items by whose repetition people may leave: categories, topics, clusters of vectors."""
    found = [_categories(task), model.suffers]
    for count in TOPICS:
        with suppress(ClusterError):
            found.append(start_model(task, count).suffers)
    return [np.ascontiguousarray(shares) for shares in found]


def _categories(task: Task) -> Floats:
    return np.ascontiguousarray(task.population.catalog.categories.membership, np.float32)


def _explorer(task: Task, learned: _Learned | None) -> Agent:
    """What plays the next round; no setting of planners is asked, as the agent has none."""
    spec, count = task.task_spec("belief"), task.config.evaluation.batch_size
    if learned is None:
        return HierarchicalAgent(Hierarchy(spec, count, build_planner("random", PLANNED, task.seed("belief plans"))))
    return BeliefAgent(spec, count, learned.model, explore=True)


def _play(context: FitContext, agent: Agent, steps: int, number: int) -> TrainingSessions | None:
    """Sessions of training users, of at most so many user-steps in all; None where not even one fits."""
    task, found, chunk = context.task, [], 0
    length = float(task.config.env.max_steps)
    while steps >= length:
        count = int(min(CHUNK, steps // length))
        seed = task.seed("belief sessions", number, chunk)
        users = np.random.default_rng(seed).choice(context.evaluator.users, count)
        played = context.evaluator.play(agent, users, 1, seed)
        fits = int(np.searchsorted(np.cumsum(played.lengths), steps, side="right"))
        found.append(training_sessions(task, played, fits))
        steps -= len(found[-1].items)
        length, chunk = float(played.lengths.mean()), chunk + 1
    return join(found) if found else None


def _restored(checkpoint: Checkpoint) -> tuple[int, _Learned | None]:
    """How many rounds are done, and what they brought."""
    kept: dict[str, Any] | None = checkpoint.read()
    if kept is None:
        return 0, None
    models = (UserModel(**kept["known"]), UserModel(**kept["model"]))
    return int(kept["round"]), _Learned(*models, TrainingSessions(**kept["sessions"]))
