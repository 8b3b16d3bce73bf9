"""Rows that cannot be trained are refused before anything is."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from lerl.agents.learners.registry import (
    check_device,
    check_learner,
)
from lerl.agents.sasrec import clicked
from lerl.planners.llm.planner import MODELS, check_model
from lerl.planners.rules import build_planner
from lerl.run.fitter import Fitter, build_agent
from lerl.run.specs import SASREC, AgentSpec
from lerl.run.task import Task


def check_agents(task: Task, rows: Sequence[AgentSpec]) -> None:
    """Refuse what does not fit before anything is written: every planner and agent acts for two training users.

    Raises:
        ValueError: a learner is not for such a task, or there is no GPU to learn on.
        PluginError: a class of somebody's own fails or gives a wrong answer.
        PlanError: a planner gives no plan.
    """
    check_device(task.config.train.device)
    for row in rows:
        if row.learner is not None:
            check_learner(row.label, row.learner, len(task.population.catalog), task.config.env.slate_size)
    evaluation = dataclasses.replace(task.config.evaluation, batch_size=2)
    few = dataclasses.replace(task, config=dataclasses.replace(task.config, evaluation=evaluation))
    fitter = Fitter(few, Path(), lambda *_: None)
    for row in {(row.planner, row.baseline): row for row in rows}.values():
        if row.baseline == SASREC:
            _check_known(row, task)
            continue
        if row.baseline is not None:
            fitter.evaluator.rehearse(build_agent(row, few))
            continue
        if row.planner in MODELS:  # an endpoint that fails must not keep a run from starting
            check_model(row.planner, task.config.planner, len(task.axis.names))
            continue
        planner = build_planner(row.planner, task.config.planner.size, task.seed("planner")) if row.planner else None
        fitter.evaluator.rehearse(fitter._agent(planner, None, 0.0, row.label))


def _check_known(row: AgentSpec, task: Task) -> None:
    """Refuse to rank next items where there is no log, or nothing in it to learn from."""
    clicks = clicked(task.population.known(task.population.users("train")))
    if task.config.data.path is None or sum(map(bool, map(len, clicks))) < 2:
        raise ValueError(
            f"{row.label} learns from what a log knows of training users' clicks, and {task.population.name} "
            "users have no such log; give --data.path FOLDER, prepared from one, or leave the row out of agents"
        )
