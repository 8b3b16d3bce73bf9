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
from lerl.run.artifacts import Point
from lerl.run.check_belief import Check, check_belief, check_table
from lerl.run.context import FitContext
from lerl.run.folder import Checkpoint
from lerl.run.rollout import Episodes
from lerl.run.specs import BELIEF
from lerl.run.task import Task

ROUNDS = 4
TOPICS = 20  # clusters that learned topics start from
GROUPS = (20, 10, 40)  # numbers of clusters whose repetition may drive people away, that are compared
MOST_CATEGORIES = 100  # at most, that are tried as topics and groups: every answer goes through all of them
CHOICES = 2  # rounds after which it is compared why people leave
HELD_OUT = 10  # every so manieth session, by which topics are compared
HARDLY = 0.002  # log-likelihood of an answer by which topics must predict better than none
PLANNED = 6  # categories in a plan of the first round
CHUNK = 1000  # sessions played at a time, at most


class _Learned(NamedTuple):
    """What the rounds so far have brought: the prior model, the model, and the sessions that it was fitted to.

    `given` says that topics stay as they are: the catalog's categories, or none. `checks` are of each round but the
    first.
    """

    known: UserModel
    model: UserModel
    sessions: TrainingSessions
    given: bool
    checks: list[Check]


def fit_belief(context: FitContext) -> None:
    """Learn from train.steps user-steps of training users, and keep what was learned in the run's folder.

    What is known after each round is validated, for the learning curve, on sessions that are not learned from.

    The first round shows items by known taste under random plans, so that what bores whom can be told from who likes
    what; the others draw tastes from the belief (Thompson sampling). An interrupted one goes on from its last round.
    """
    task, steps = context.task, context.task.config.train.steps
    checkpoint = context.store.checkpoint("belief", task.config.train.checkpoint)
    with reading(checkpoint.path, context.store.how):
        done, learned, curve = _restored(checkpoint)
    curve = curve or [_point(context, None)]
    for number in range(done, ROUNDS):
        spent = 0 if learned is None else len(learned.sessions.items)
        if number == ROUNDS - 1:
            context.store.save_belief(start_model(task) if learned is None else learned.model, spent, early=True)
        played = _play(context, _explorer(task, learned), steps * (number + 1) // ROUNDS - spent, number)
        if played is None:  # what is left over is the next round's
            continue
        if learned is None:
            known, given = choose_topics(task, played)
            learned, words = _Learned(known, known, played, given, []), ""
        else:
            check = check_belief(learned.model, learned.known, learned.sessions, played)
            learned, words = _taken_in(learned, played, check), f", {check.words()}"
        learned = learned._replace(model=_refitted(task, learned, number))
        curve.append(_point(context, learned))
        checkpoint.write(_kept(number + 1, learned, curve))
        context.report(BELIEF, len(learned.sessions.items), steps, f"{len(learned.sessions.homes):,} sessions{words}")
    context.store.save_belief_curve(curve)
    if learned is None:
        context.store.save_belief(start_model(task), 0)
    else:
        context.store.save_belief(learned.model, len(learned.sessions.items), check=check_table(learned.checks))
    checkpoint.remove()


def start_model(task: Task, count: int = TOPICS) -> UserModel:
    """The prior model with so many topics from clusters of item directions, one where there are not so many.

    Raises:
        ClusterError: items have not so many directions, and the number of topics is not that of learned ones.
    """
    known = task.population.knowledge
    vectors = known.item_vectors[:, :-1]
    try:
        labels = cluster_items(vectors, count, task.config.seed, "the number of topics")
    except ClusterError:
        if count != TOPICS:
            raise
        labels = np.zeros(len(vectors), np.int32)
    shares = np.exp(near_centres(directions(vectors), np.eye(labels.max() + 1)[labels])).astype(np.float32)
    return prior_model(known, shares, shares, task.population.users("train"))


def category_model(task: Task) -> UserModel:
    """The prior model with the catalog's categories as topics: an item bores of each of its own, as users do."""
    fills = task.population.catalog.categories.membership.astype(np.float32)
    suffers = fills / np.maximum(fills.sum(axis=1, keepdims=True), 1)
    return prior_model(task.population.knowledge, fills, suffers, task.population.users("train"))


def without_boredom(task: Task) -> UserModel:
    """The prior model of people who do not get bored, with one topic that all items share."""
    shares = np.ones((len(task.population.catalog), 1), np.float32)
    return prior_model(task.population.knowledge, shares, shares, task.population.users("train"))._replace(weight=0.0)


def choose_topics(task: Task, sessions: TrainingSessions) -> tuple[UserModel, bool]:
    """The prior model, of learned topics, the catalog's categories and none, whose fit predicts held-out sessions best.

    Returns:
        The model, and whether its topics stay as they are.
    """
    start, rows = start_model(task), np.arange(len(sessions.homes))
    if len(rows) < 2 * HELD_OUT:  # too few to tell
        return start, False
    held, others = sessions.take(rows[rows % HELD_OUT == 0]), sessions.take(rows[rows % HELD_OUT != 0])
    given = [without_boredom(task)]
    if len(task.population.catalog.categories.names) <= MOST_CATEGORIES:
        given.append(category_model(task))
    tried = []
    for known, fixed in ((start, False), *((model, True) for model in given)):
        fitted = fit_user_model(known, known, others, task.seed("belief topics"), fixed=fixed)
        tried.append((likelihood(fitted, held) + (0.0 if known.weight else HARDLY), known, fixed))
    return max(tried, key=lambda one: one[0])[1:]


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
    found = [model.suffers] if _categories(task).shape[1] > MOST_CATEGORIES else [_categories(task), model.suffers]
    for count in GROUPS:
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


def _refitted(task: Task, learned: _Learned, number: int) -> UserModel:
    """The model, fitted to all sessions; how people leave is compared after the first round, and once more after the
    second, whose sessions avoid what the first ones hardly could."""
    sessions, seed = learned.sessions, task.seed("belief fit", number)
    model = fit_user_model(learned.model, learned.known, sessions, seed, fixed=learned.given)
    if len(learned.checks) < CHOICES:
        before = [model.groups] if model.rule[0] else []
        model = choose_leaving(model, [*before, *_groups(task, model)], sessions, seed)
    return refit_leaving(model, _categories(task), sessions, task.config.env.max_steps, seed)


def _taken_in(learned: _Learned, played: TrainingSessions, check: Check) -> _Learned:
    return learned._replace(sessions=join([learned.sessions, played]), checks=[*learned.checks, check])


def _point(context: FitContext, learned: _Learned | None) -> Point:
    """How good what was learned so far is; None before the first round."""
    task, model = context.task, start_model(context.task) if learned is None else learned.model
    agent = BeliefAgent(task.task_spec("belief"), task.config.evaluation.batch_size, model)
    return context.curve_point(BELIEF, 0 if learned is None else len(learned.sessions.items), agent)


def _kept(rounds: int, learned: _Learned, curve: list[Point]) -> dict[str, Any]:
    """What a checkpoint holds after so many rounds."""
    parts = (learned.known, learned.model, learned.sessions)
    known, model, sessions = (dict(part._asdict()) for part in parts)
    checks = [list(check) for check in learned.checks]
    return {
        "round": rounds, "known": known, "model": model, "sessions": sessions, "given": learned.given, "checks": checks,
        "curve": curve,
    }  # fmt: skip


def _restored(checkpoint: Checkpoint) -> tuple[int, _Learned | None, list[Point]]:
    """How many rounds are done, what they brought, and the learning curve so far."""
    kept: dict[str, Any] | None = checkpoint.read()
    if kept is None:
        return 0, None, []
    models = (UserModel(**kept["known"]), UserModel(**kept["model"]))
    checks = [Check(*row) for row in kept["checks"]]
    learned = _Learned(*models, TrainingSessions(**kept["sessions"]), bool(kept["given"]), checks)
    return int(kept["round"]), learned, list(kept["curve"])
