"""Learns a model of wholes from training sessions: half of them hold random slates, half what was learned by then."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lerl.agents.composite.agent import ROWS, Outfits, opinion
from lerl.agents.composite.data import Singles, Wholes
from lerl.agents.composite.fit import fit_jima
from lerl.agents.composite.model import JIMA
from lerl.agents.composite.person import fit_prior
from lerl.run.agent_factory import composite_agent
from lerl.run.context import FitContext
from lerl.run.rollout import Episodes
from lerl.run.task import Task

EXPLORED = 0.5  # of slots in the second half
WIDTH = 8
RIDGES = (4.0, 8.0, 16.0, 32.0, 64.0)  # of clicks, most of which is chance
LEAST = 20  # whole slates that a model is fitted to at least


def fit_composite(name: str, context: FitContext) -> None:
    """Learn from train.steps user-steps of training users, and keep what was learned in the run's folder.

    Raises:
        ValueError: there were too few whole slates to learn from.
    """
    task, steps = context.task, context.task.config.train.steps
    outfits: Outfits | None = None
    spent = 0
    played: list[Episodes] = []
    curve = [context.curve_point(name, 0, composite_agent(task, name, None, None))]
    for part in range(2):
        agent = composite_agent(task, name, None, outfits, EXPLORED)
        seed = task.seed("composite sessions", part)
        count = max(int((steps * (part + 1) // 2 - spent) // task.config.env.max_steps), 1)
        users = np.random.default_rng(seed).choice(context.evaluator.users, count)
        played.append(context.evaluator.play(agent, users, 1, seed, keep=count))
        spent += int(played[-1].lengths.sum())
        outfits = learned(task, name, played)
        shown = composite_agent(task, name, None, outfits)
        curve.append(context.curve_point(name, spent, shown))
        context.report(name, spent, steps, curve[-1])
        if shown.gaps:
            lack = f"on average at most {shown.gaps / shown.filled:.3f} standard deviations of an answer"
            context.report(name, spent, steps, f"wholes may lack {lack}")
    assert outfits is not None
    context.store.save_composite(name, outfits, spent, curve)


def learned(task: Task, name: str, played: list[Episodes]) -> Outfits:
    """A model of wholes, and what known taste says of people, from sessions of training users."""
    singles, wholes = feedback_of(played)
    if len(wholes.y) < LEAST:
        raise ValueError(
            f"{name} learns from whole slates of training sessions, of which there were {len(wholes.y)}; give more "
            "train.steps, or a catalog with more items for each role"
        )
    model = fit_jima(singles, None, wholes, WIDTH, task.seed(name), terms=ROWS[name], ridges=RIDGES)
    tastes = task.population.knowledge.tastes.astype(np.float64)
    model = _everybody(model, len(tastes), len(task.population.catalog))
    return Outfits(model, fit_prior(model, tastes, np.bincount(wholes.users, minlength=len(tastes)).astype(np.int64)))


def feedback_of(played: list[Episodes]) -> tuple[Singles, Wholes]:
    """Clicks on items, and opinions of slates all of whose slots were filled."""
    slates, users = np.concatenate([one.slates for one in played]), np.concatenate([one.users for one in played])
    feedback = np.concatenate([one.feedback for one in played])
    whole = np.concatenate([one.kept.whole for one in played])
    session, step = np.nonzero((slates >= 0).all(axis=2))
    items: NDArray[np.int64] = slates[session, step].astype(np.int64)  # (W, n)
    clicks, n = feedback[session, step], items.shape[1]
    who = users[session]
    singles = Singles(
        np.repeat(who, n), np.tile(np.arange(n), len(who)), items.ravel(), clicks.ravel().astype(np.float64)
    )
    return singles, Wholes(who, items, opinion(clicks, whole[session, step]))


def _everybody(model: JIMA, users: int, items: int) -> JIMA:
    """The same with a row for every user and item of the task; 0 where nothing was seen."""
    more = [(0, users - len(model.users)), (0, 0)], [(0, items - len(model.items)), (0, 0)]
    return replace(model, users=np.pad(model.users, more[0]), items=np.pad(model.items, more[1]))
