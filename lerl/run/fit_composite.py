"""Learns a model of wholes from training sessions: half of them hold random slates, half what was learned by then."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lerl.agents.composite.agent import CPD, ROWS, Outfits, opinion
from lerl.agents.composite.data import Singles, Wholes
from lerl.agents.composite.fit import fit_jima
from lerl.agents.composite.model import JIMA
from lerl.agents.composite.person import fit_prior
from lerl.files import reading
from lerl.run.agent_factory import composite_agent
from lerl.run.artifacts import Point
from lerl.run.context import FitContext
from lerl.run.folder import Checkpoint
from lerl.run.rollout import Episodes
from lerl.run.task import Task

EXPLORED = 0.5  # of slots in the second half
WIDTH = 8
CPD_WIDTHS = (8, 16)  # of which the one is taken that tells held-out wholes best
RIDGES = (4.0, 8.0, 16.0, 32.0, 64.0)  # of clicks, most of which is chance
LEAST = 20  # whole slates that a model is fitted to at least
PARTS = 2


class _Sofar(NamedTuple):
    """What the parts of a training that are done have brought: user-steps, feedback, a model, a learning curve."""

    parts: int
    spent: int
    feedback: list[tuple[Singles, Wholes]]
    outfits: Outfits | None
    curve: list[Point]


def fit_composite(name: str, context: FitContext) -> None:
    """Learn from train.steps user-steps of training users, and keep what was learned in the run's folder.

    An interrupted training goes on after the half that it had done.

    Raises:
        ValueError: there were too few whole slates to learn from.
        RunError: the checkpoint is damaged.
    """
    task, steps = context.task, context.task.config.train.steps
    checkpoint = context.store.checkpoint(name, task.config.train.checkpoint)
    with reading(checkpoint.path, context.store.how):
        done, spent, feedback, outfits, curve = _restored(checkpoint)
    curve = curve or [context.curve_point(name, 0, composite_agent(task, name, None, None))]
    for part in range(done, PARTS):
        agent = composite_agent(task, name, None, outfits, EXPLORED)
        seed = task.seed("composite sessions", part)
        count = max(int((steps * (part + 1) // PARTS - spent) // task.config.env.max_steps), 1)
        users = np.random.default_rng(seed).choice(context.evaluator.users, count)
        played = context.evaluator.play(agent, users, 1, seed, keep=count)
        spent += int(played.lengths.sum())
        feedback.append(feedback_of(played))
        outfits = learned(task, name, feedback)
        shown = composite_agent(task, name, None, outfits)
        curve.append(context.curve_point(name, spent, shown))
        context.report(name, spent, steps, curve[-1])
        if shown.gaps:
            lack = f"on average at most {shown.gaps / shown.filled:.3f} standard deviations of an answer"
            context.report(name, spent, steps, f"wholes may lack {lack}")
        checkpoint.write(_kept(_Sofar(part + 1, spent, feedback, outfits, curve)))
    assert outfits is not None
    context.store.save_composite(name, outfits, spent, curve)
    checkpoint.remove()


def _kept(sofar: _Sofar) -> dict[str, Any]:
    """What a checkpoint holds."""
    outfits = {} if sofar.outfits is None else sofar.outfits.as_arrays()
    return {**sofar._asdict(), "feedback": tuple(sofar.feedback), "outfits": outfits}


def _restored(checkpoint: Checkpoint) -> _Sofar:
    kept = checkpoint.read()
    if kept is None:
        return _Sofar(0, 0, [], None, [])
    feedback = [(Singles(*singles), Wholes(*wholes)) for singles, wholes in kept["feedback"]]
    return _Sofar(int(kept["parts"]), int(kept["spent"]), feedback, Outfits.of(kept["outfits"]), list(kept["curve"]))


def learned(task: Task, name: str, feedback: list[tuple[Singles, Wholes]]) -> Outfits:
    """A model of wholes, and what known taste says of people, from what training users answered."""
    one, two = zip(*feedback, strict=True)
    singles, wholes = Singles(*_joined(one)), Wholes(*_joined(two))
    if len(wholes.y) < LEAST:
        raise ValueError(
            f"{name} learns from whole slates of training sessions, of which there were {len(wholes.y)}; give more "
            "train.steps, or a catalog with more items for each role"
        )
    widths, parts = (CPD_WIDTHS, None) if name == CPD else ((WIDTH,), singles)
    tried = [fit_jima(parts, None, wholes, r, task.seed(name), terms=ROWS[name], ridges=RIDGES) for r in widths]
    model = min(tried, key=lambda one: one.error)
    tastes = task.population.knowledge.tastes.astype(np.float64)
    model = _everybody(model, len(tastes), len(task.population.catalog))
    return Outfits(model, fit_prior(model, tastes, np.bincount(wholes.users, minlength=len(tastes)).astype(np.int64)))


def _joined(parts: Sequence[tuple[NDArray[Any], ...]]) -> list[NDArray[Any]]:
    """Arrays of the same place, one after the other."""
    return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]


def feedback_of(played: Episodes) -> tuple[Singles, Wholes]:
    """Clicks on items, and opinions of slates all of whose slots were filled."""
    session, step = np.nonzero((played.slates >= 0).all(axis=2))
    items: NDArray[np.int64] = played.slates[session, step].astype(np.int64)  # (W, n)
    clicks, n = played.feedback[session, step], items.shape[1]
    who, whole = played.users[session], played.kept.whole
    singles = Singles(
        np.repeat(who, n), np.tile(np.arange(n), len(who)), items.ravel(), clicks.ravel().astype(np.float64)
    )
    return singles, Wholes(who, items, opinion(clicks, whole[session, step]))


def _everybody(model: JIMA, users: int, items: int) -> JIMA:
    """The same with a row for every user and item of the task; 0 where nothing was seen."""
    more = [(0, users - len(model.users)), (0, 0)], [(0, items - len(model.items)), (0, 0)]
    return replace(model, users=np.pad(model.users, more[0]), items=np.pad(model.items, more[1]))
