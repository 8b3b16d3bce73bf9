"""Planners learn from whole training sessions, before any policy is trained."""

import copy
import warnings
from typing import Any, NamedTuple

import numpy as np

from lerl.planners.base import Planner, Sessions
from lerl.planners.llm.distilled import DistilledPlanner
from lerl.planners.llm.planner import MODELS, LLMPlanner, build_model
from lerl.planners.rules import build_planner
from lerl.report.lessons import SHARE, lessons
from lerl.run.agent_factory import hierarchical_agent
from lerl.run.artifacts import planner_name
from lerl.run.context import FitContext
from lerl.run.rollout import Episodes, sessions_of


class FittedPlanner(NamedTuple):
    """A planner, None for agents without one, and the user-steps that its lessons took of an agent's training."""

    planner: Planner | None
    steps: int


class FittedPlanners:
    """Makes planners, and fits each once; agents that share one do not share its state.

    One that has `state` and `restore` keeps what it learned in the run's folder; another one is taught again by every
    process, from the same sessions.
    """

    def __init__(self, context: FitContext) -> None:
        self.context = context
        self._taught: dict[str, FittedPlanner] = {}
        self._announced: set[str] = set()

    def get(self, name: str | None) -> FittedPlanner:
        """A planner by its name in `agents`, fitted now where it was not before."""
        if name is None:
            return FittedPlanner(None, 0)
        store, built = self.context.store, self._new(name)
        if built.learns and name not in self._announced:
            self._announced.add(name)
            self._say_lessons(planner_name(name))
        if not self._keeps(built):
            if not self._has_lessons(built):
                return FittedPlanner(built, 0)
            if name not in self._taught:
                self._taught[name] = FittedPlanner(built, fit_planner(built, name, self.context))
            return copy.deepcopy(self._taught[name])
        if not store.planner_path(name).exists():
            steps = fit_planner(built, name, self.context) if self._has_lessons(built) else 0
            store.save_planner(name, built, steps)
        return FittedPlanner(built, store.restore_planner(name, built))

    def kept(self, name: str | None) -> bool:
        """Whether what a planner learned is kept in a file."""
        return name is not None and self._keeps(self._new(name))

    def _new(self, name: str) -> Any:
        config, seed = self.context.task.config.planner, self.context.task.seed("planner")
        if name in MODELS:
            return build_model(name, config, seed, lambda: self.context.chat.guard)
        return build_planner(name, config.size, seed)

    def _keeps(self, planner: Planner) -> bool:
        made_of_files = isinstance(planner, LLMPlanner | DistilledPlanner)
        return planner.keeps and (made_of_files or self._has_lessons(planner))

    def _has_lessons(self, planner: Planner) -> bool:
        return planner.learns and lesson_count(self.context) > 0

    def _say_lessons(self, name: str) -> None:
        """Say where a planner's lessons are fewer than was asked for."""
        config, given = self.context.task.config, lesson_count(self.context)
        wanted, steps = config.planner.sessions, config.train.steps
        if wanted and not given:
            warnings.warn(
                f"the planner {name} gets no training sessions and learns nothing, since train.steps is "
                f"{steps:,}; give more train.steps",
                stacklevel=2,
            )
        elif given < wanted:
            share = f"{SHARE[0]}/{SHARE[1]} of train.steps {steps:,}"
            said = f"{given:,} sessions, as planner.sessions {wanted:,} could take more than {share}"
            self.context.report(f"{name} planner", 0, given, said)


def lesson_count(context: FitContext) -> int:
    """How many training sessions a planner learns from; their steps count as training steps."""
    config = context.task.config
    return lessons(config.planner.sessions, config.train.steps, config.env.max_steps)


def fit_planner(planner: Planner, name: str, context: FitContext) -> int:
    """Give whole sessions to a planner in rounds: it plans each round with what it learned from those before.

    Args:
        planner: one that learns. name: its name in `agents`. context: the task, and training users.

    Returns:
        The user-steps that the sessions took.
    """
    given: list[Sessions] = []
    steps, rounds = 0, planner.rounds
    context.chat.enter(f"learn {planner_name(name)}", planner)
    for number in range(rounds):
        played = explore(planner, number, max(lesson_count(context) // rounds, 1), context)
        given.append(sessions_of(played, context.task.population, context.task.axis))
        steps += int(played.lengths.sum())
        context.chat.count(int(played.lengths.sum()))
        planner.session_ended(_joined(given))
        context.report(f"{planner_name(name)} planner", number + 1, rounds, None)
    return steps


def explore(planner: Planner | None, number: int, count: int, context: FitContext) -> Episodes:
    """Sessions of training users under a planner, items by taste; `number` is the round, which draws the users."""
    seed = context.task.seed("planner sessions", number)
    users = np.random.default_rng(seed).choice(context.evaluator.users, count)
    return context.evaluator.play(hierarchical_agent(context.task, "explore", planner), users, 1, seed)


def _joined(parts: list[Sessions]) -> Sessions:
    """Several rounds of sessions as one."""
    first = parts[0]
    arrays = (
        np.concatenate([getattr(one, name) for one in parts]) for name in ("items", "feedback", "estimates", "keys")
    )
    return Sessions(first.names, first.membership, *arrays)
