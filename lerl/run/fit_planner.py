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
from lerl.run.agent_factory import belief_agent, hierarchical_agent, load_belief
from lerl.run.artifacts import taught_name
from lerl.run.context import FitContext
from lerl.run.fit_belief import ROUNDS
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

    def get(self, name: str | None, believes: bool = False) -> FittedPlanner:
        """A planner by its name in `agents`, fitted now where it was not before; above a belief or not."""
        if name is None:
            return FittedPlanner(None, 0)
        store, built, taught = self.context.store, self._new(name), taught_name(name, believes)
        if built.learns and not (believes and built.trusts_belief) and taught not in self._announced:
            self._announced.add(taught)
            self._say_lessons(taught, believes)
        has_lessons = self._has_lessons(built, believes)
        if not self._keeps(built, believes):
            if not has_lessons:
                return FittedPlanner(built, 0)
            if taught not in self._taught:
                self._taught[taught] = FittedPlanner(built, fit_planner(built, taught, self.context, believes))
            return copy.deepcopy(self._taught[taught])
        if not store.planner_path(name, believes).exists():
            steps = fit_planner(built, taught, self.context, believes) if has_lessons else 0
            store.save_planner(name, built, steps, believes)
        return FittedPlanner(built, store.restore_planner(name, built, believes))

    def kept(self, name: str | None, believes: bool = False) -> bool:
        """Whether what a planner learned is kept in a file."""
        return name is not None and self._keeps(self._new(name), believes)

    def _new(self, name: str) -> Any:
        config, seed = self.context.task.config.planner, self.context.task.seed("planner")
        if name in MODELS:
            return build_model(name, config, seed, lambda: self.context.chat.guard)
        return build_planner(name, config.size, seed)

    def _keeps(self, planner: Planner, believes: bool) -> bool:
        made_of_files = isinstance(planner, LLMPlanner | DistilledPlanner)
        return planner.keeps and (made_of_files or self._has_lessons(planner, believes))

    def _has_lessons(self, planner: Planner, believes: bool) -> bool:
        return planner.learns and not (believes and planner.trusts_belief) and lesson_count(self.context, believes) > 0

    def _say_lessons(self, name: str, believes: bool) -> None:
        """Say where a planner's lessons are fewer than was asked for."""
        config, given = self.context.task.config, lesson_count(self.context, believes)
        wanted, steps = config.planner.sessions, config.train.steps
        if wanted and not given:
            warnings.warn(
                f"the planner {name} gets no training sessions and learns nothing, since train.steps is "
                f"{steps:,}; give more train.steps",
                stacklevel=2,
            )
        elif given < wanted:
            share = f"{SHARE[0]}/{SHARE[1]} of {'a quarter of ' if believes else ''}train.steps {steps:,}"
            said = f"{given:,} sessions, as planner.sessions {wanted:,} could take more than {share}"
            self.context.report(f"{name} planner", 0, given, said)


def lesson_count(context: FitContext, believes: bool = False) -> int:
    """How many training sessions a planner learns from; their steps count as training steps.

    Above a belief, the belief is that before its last round, and the sessions take no more steps than that round.
    """
    config = context.task.config
    steps = config.train.steps // ROUNDS if believes else config.train.steps
    return lessons(config.planner.sessions, steps, config.env.max_steps)


def fit_planner(planner: Planner, name: str, context: FitContext, believes: bool = False) -> int:
    """Give whole sessions to a planner in rounds: it plans each round with what it learned from those before.

    Args:
        planner: one that learns. name: its name in tables. context: the task, and training users.
        believes: whether items are chosen by an early belief below it, instead of known taste.

    Returns:
        The user-steps that the sessions took.
    """
    given: list[Sessions] = []
    steps, rounds = 0, planner.rounds
    context.chat.enter(f"learn {name}", planner)
    for number in range(rounds):
        played = explore(planner, number, max(lesson_count(context, believes) // rounds, 1), context, believes)
        given.append(sessions_of(played, context.task.population, context.task.axis))
        steps += int(played.lengths.sum())
        context.chat.count(int(played.lengths.sum()))
        planner.session_ended(_joined(given))
        context.report(f"{name} planner", number + 1, rounds, None)
    return steps


def explore(planner: Planner | None, number: int, count: int, context: FitContext, believes: bool = False) -> Episodes:
    """Sessions of training users under a planner, items by taste or belief; `number` is the round: it draws users."""
    task, seed = context.task, context.task.seed("planner sessions", number)
    users = np.random.default_rng(seed).choice(context.evaluator.users, count)
    if believes:
        model = load_belief(task, context.store, early=True)
        agent = belief_agent(task, "explore", planner, model, task.config.evaluation.batch_size)
    else:
        agent = hierarchical_agent(task, "explore", planner)
    return context.evaluator.play(agent, users, 1, seed)


def _joined(parts: list[Sessions]) -> Sessions:
    """Several rounds of sessions as one."""
    first = parts[0]
    arrays = (
        np.concatenate([getattr(one, name) for one in parts]) for name in ("items", "feedback", "estimates", "keys")
    )
    return Sessions(first.names, first.membership, *arrays)
