"""Trains a policy under its planner on training users, with a learning curve and checkpoints to resume from."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from gymnasium.vector import AutoresetMode

from lerl.agents.learners.callback import Report
from lerl.agents.learners.checkpoint import freeze, thaw
from lerl.agents.learners.encoders import CategoryEncoder, build_encoder
from lerl.agents.learners.registry import new_model, new_scorer, new_view
from lerl.agents.learners.returning import ReturningSessions
from lerl.agents.learners.vec_env import SessionsView
from lerl.envs.session import SessionVectorEnv
from lerl.files import reading
from lerl.planners.base import Planner
from lerl.run.agent_factory import hierarchical_agent
from lerl.run.artifacts import Point, policy_name
from lerl.run.context import FitContext
from lerl.run.fit_planner import FittedPlanner
from lerl.run.folder import patient
from lerl.run.specs import AgentSpec
from lerl.run.task import Task


class DivergedError(ValueError):
    """Training that diverged; the message says what to try."""


class Learner(NamedTuple):
    """A learner, its users as it sees them, and what encodes what it sees."""

    model: Any
    view: SessionsView
    encoder: CategoryEncoder


def new_learner(spec: AgentSpec, planner: Planner | None, task: Task, logs: Path) -> Learner:
    """A learner at its start.

    Args:
        spec: an agent that learns; one that learns from people who come back needs `task.lives`.
        planner: fitted. task: the task. logs: TensorBoard's folder.
    """
    config, train, name = task.config, task.config.train, policy_name(spec)
    shared: dict[str, Any] = {"split": "train", "axis": task.axis, "autoreset_mode": AutoresetMode.DISABLED}
    env: SessionVectorEnv
    if spec.returns:
        env = ReturningSessions(task.population, train.users, train.returning.days, config=task.lives, **shared)
    else:
        env = SessionVectorEnv(task.population, train.users, config=config.env, **shared)
    hierarchy = task.hierarchy(name, train.users, planner, attentive=True)
    encoder = build_encoder(train.encoder, hierarchy.task, planner is not None, train.history)
    view = new_view(str(spec.learner), env, hierarchy, encoder, train)
    model = new_model(str(spec.learner), view, train, task.seed("policy", name), logs)
    view.seed(task.seed("train", name))  # after the learner was made: it seeds its environment with its own
    return Learner(model, view, encoder)


def fit_policy(spec: AgentSpec, fitted: FittedPlanner, context: FitContext) -> None:
    """Train an agent's policy to its end, or go on from its checkpoint, and keep it in the store.

    Args:
        spec: an agent that learns. fitted: its planner; the steps of its lessons are taken off `train.steps`.
        context: the task, its store, and training users.

    Raises:
        DivergedError: the policy's weights are no numbers any more.
        RunError: the checkpoint is damaged.
        KeyboardInterrupt: after a checkpoint was written.
    """
    train, name = context.task.config.train, policy_name(spec)
    steps = max(train.steps - fitted.steps, 0)
    if not steps and train.steps:
        warnings.warn(
            f"{name}: its planner's lessons took {fitted.steps:,} of {train.steps:,} steps, so its policy stays as it "
            "starts; give more train.steps, or fewer planner.sessions",
            stacklevel=2,
        )
    _PolicyFit(spec, fitted, steps, context).run()


class _PolicyFit:
    """One policy's training: what happens before and after each of its rollouts.

    Args:
        spec, fitted, context: as in `fit_policy`. steps: of the policy, those of the planner's lessons taken off.
    """

    def __init__(self, spec: AgentSpec, fitted: FittedPlanner, steps: int, context: FitContext) -> None:
        self.spec, self.fitted, self.steps, self.context = spec, fitted, steps, context
        self.name, self.train = policy_name(spec), context.task.config.train
        self.learner = new_learner(spec, fitted.planner, context.task, context.store.logs_path(spec))
        self.checkpoint = context.store.checkpoint(self.name, self.train.checkpoint)
        self.marks = [round(steps * part / self.train.evaluations) for part in range(1, self.train.evaluations)]
        self.curve: list[Point] = []
        self.counted = 0

    def run(self) -> None:
        model, train = self.learner.model, self.train
        self.context.chat.enter(f"train {self.name}", self.fitted.planner)
        resumed = self._restore()
        self.counted = model.num_timesteps
        with _finite(self.name, model.policy, train.learning_rate):
            with patient() as interrupted:
                if not resumed and self.steps:
                    self._report(self._add_point(model))
                if model.num_timesteps < self.steps:
                    report = Report(self._before(interrupted), self._after, (train.log_std, train.last_log_std))
                    model.learn(self.steps - model.num_timesteps, callback=report, reset_num_timesteps=not resumed)
            self._report(self._add_point(model))
        model.logger.close()
        self.context.store.save_policy(self.spec, model.policy, self.curve)
        self.checkpoint.remove()

    def _restore(self) -> bool:
        """Go on from the checkpoint; whether there was one."""
        with reading(self.checkpoint.path, self.context.store.how):
            kept = self.checkpoint.read()
            if kept is None:
                return False
            self.curve += kept["curve"]
            self.learner.view.restore(thaw(self.learner.model, kept))
        return True

    def _before(self, interrupted: Callable[[], bool]) -> Callable[[Any], None]:
        def before(model: Any) -> None:
            if self.checkpoint.due() or interrupted():
                self.checkpoint.write({"curve": self.curve, **freeze(model, self.learner.view.snapshot())})
            if interrupted():
                raise KeyboardInterrupt

        return before

    def _after(self, model: Any) -> None:
        done, spent = model.num_timesteps, self.fitted.steps
        self.context.chat.count(done - self.counted)
        self.counted = done
        self.context.chat.record(model.logger)
        last = self.curve[-1]["steps"] - spent
        newest = self._add_point(model) if any(last < mark <= done for mark in self.marks) else None
        self.context.report(self.name, spent + done, self.train.steps, newest)

    def _report(self, point: Point) -> None:
        """Say what the first or the last validation found."""
        self.context.report(self.name, point["steps"], self.train.steps, point)

    def _add_point(self, model: Any) -> Point:
        """Validate the policy as it is now."""
        scorer = new_scorer(model.policy, self.learner.encoder, self.train.start, deterministic=False)
        agent = hierarchical_agent(self.context.task, self.name, self.fitted.planner, scorer)
        point = self.context.curve_point(self.name, self.fitted.steps + model.num_timesteps, agent)
        for metric in ("T_int", "R_cum", "R_sin"):
            model.logger.record(f"validation/{metric}", point[metric])
        self.curve.append(point)
        return point


@contextmanager
def _finite(name: str, policy: torch.nn.Module, learning_rate: float) -> Iterator[None]:
    """Refuse a policy whose weights are no numbers any more, at the end or where a library stumbled over them."""
    stumbled = None
    try:
        yield
    except ValueError as error:
        stumbled = error
    if not all(bool(weights.isfinite().all()) for weights in policy.parameters()):
        raise DivergedError(
            f"{name} diverged, its weights are no numbers any more; lower train.learning_rate, given {learning_rate:g}"
        ) from stumbled
    if stumbled is not None:
        raise stumbled
