"""Refuses agents that cannot be trained, before anything is trained."""

import dataclasses
import warnings
from collections import Counter
from collections.abc import Sequence

import numpy as np

from lerl.agents.composite.agent import ROWS as COMPOSITE
from lerl.agents.learners.registry import check_device, check_learner
from lerl.agents.next_item.agent import clicked
from lerl.agents.next_item.registry import IN_SESSIONS
from lerl.config.schema import AUTO, Config
from lerl.envs.codes import SAME
from lerl.envs.texts import catalog_texts
from lerl.planners.llm.planner import MODELS, check_model
from lerl.planners.rules import build_planner
from lerl.run.agent_factory import belief_agent, build_agent, composite_agent, hierarchical_agent
from lerl.run.fit_belief import start_model
from lerl.run.rollout import Evaluator
from lerl.run.specs import RETURN, AgentSpec, needed_agents
from lerl.run.task import Task, axis_notes


def check_agents(task: Task, specs: Sequence[AgentSpec]) -> None:
    """Refuse what does not fit before anything is written: every planner and agent acts for two training users.

    Raises:
        ValueError: a learner is not for such a task or such users, or there is no GPU to learn on.
        PluginError: a class of somebody's own fails or gives a wrong answer.
        PlanError: a planner gives no plan.
    """
    specs = list(dict.fromkeys([*specs, *needed_agents(task.config)]))
    check_device(task.config.train.device)
    if task.lives is not None:
        refuse_models(specs, task.config)
    for spec in specs:
        if spec.learner is not None:
            check_learner(spec.label, spec.learner, len(task.population.catalog), task.config.env.slate_size)
        if spec.returns and task.lives is None:
            raise ValueError(
                f"{spec.label} learns from people who come back, but env.horizon is session; give --env.horizon days, "
                f"or the agent {spec.label.removesuffix(RETURN)}, which learns from sessions"
            )
    evaluation = dataclasses.replace(task.config.evaluation, batch_size=2)
    few = dataclasses.replace(task, config=dataclasses.replace(task.config, evaluation=evaluation))
    evaluator = Evaluator(task.population, task.config.env, task.axis, "train", evaluation.batch_size)
    _check_roles(task, specs)
    if notes := axis_notes(task):
        warnings.warn(f"planner.axis codes: {'; '.join(notes)}", stacklevel=2)
    for spec in {spec.next_item: spec for spec in specs if spec.next_item}.values():
        _check_known(spec, task)
    for spec in {(spec.planner, spec.baseline, spec.believes, spec.composite): spec for spec in specs}.values():
        if spec.composite:
            planner = (
                build_planner(spec.planner, task.config.planner.size, task.seed("planner")) if spec.planner else None
            )
            evaluator.rehearse(composite_agent(few, spec.label, planner, None))
            continue
        if spec.baseline == AUTO or (spec.next_item and spec.planner is None):
            continue
        if spec.baseline is not None and not spec.believes:
            evaluator.rehearse(build_agent(spec, few))
        elif spec.planner in MODELS:  # an endpoint that fails must not keep a run from starting
            check_model(spec.planner, task.config.planner, len(task.axis.names))
        else:
            size, seed = task.config.planner.size, task.seed("planner")
            planner = build_planner(spec.planner, size, seed) if spec.planner else None
            if spec.believes:
                evaluator.rehearse(belief_agent(few, spec.label, planner, start_model(few), evaluation.batch_size))
            else:
                evaluator.rehearse(hierarchical_agent(few, spec.label, planner))


def refuse_models(specs: Sequence[AgentSpec], config: Config) -> None:
    """Refuse agents that ask a chat model where people come back: what that costs is foreseen by single sessions.

    Raises:
        ValueError: the message says what to do.
    """
    for spec in specs:
        if spec.planner == "llm" or (spec.planner in MODELS and config.planner.refresh):
            raise ValueError(
                f"{spec.label} asks a chat model, and env.horizon is days: a life has many sessions, and costs are "
                "estimated and limited by single ones; set env.horizon to session, or distil the model's plans "
                "(lerl distill) and judge distilled+... without planner.refresh"
            )


def _check_roles(task: Task, specs: Sequence[AgentSpec]) -> None:
    """Refuse agents that fill slots by roles where slots have none, and such as know of no roles where they have."""
    roles, knowing = task.config.env.roles, ("random", "popularity", "privileged")
    for spec in specs:
        if spec.composite and not roles:
            raise ValueError(
                f"{spec.label} fills slates whose slots have roles, but env.roles is empty; train the recipe "
                "composite, or name a category for each slot, such as --env.roles '[top, bottom]'"
            )
        plain = spec.baseline is None and not spec.believes and spec.next_item is None
        known = spec.composite or spec.baseline in (*knowing, AUTO) or plain
        own = spec.baseline is not None and ":" in spec.baseline
        if roles and (spec.diverse or not (known or own)):
            raise ValueError(
                f"{spec.label} knows nothing of roles, so most of its slots would stay empty; with env.roles there are "
                f"{', '.join((*COMPOSITE, *knowing))}, PLANNER+jima, PLANNER+greedy and learners such as flat+slateq"
            )


def _check_known(spec: AgentSpec, task: Task) -> None:
    """Refuse to rank next items where there is no log, or nothing in it to learn from, or nothing says what items are.

    Raises:
        ValueError: the message says what is missing.
    """
    row = IN_SESSIONS[str(spec.next_item)]
    counts = np.array([len(one) for one in clicked(task.population.known(task.population.users("train")))])
    if task.config.data.path is None or (counts > 0).sum() < 2:
        raise ValueError(
            f"{spec.label} learns from the clicks of training users in a log, and {task.population.name} "
            "users have no such log; give --data.path FOLDER, prepared from one, or leave it out of agents"
        )
    if (counts >= row.least).sum() < 2:
        raise ValueError(
            f"{spec.label} learns from training users with {row.least} known clicks or more, and the log has "
            f"{(counts >= row.least).sum()}; give a longer log, or leave it out of agents"
        )
    if row.reads_texts:
        _check_texts(spec.label, task)


def _check_texts(label: str, task: Task) -> None:
    columns = catalog_texts(task.population.catalog).columns
    (_, most), *_ = Counter(zip(*columns.values(), strict=True)).most_common(1)
    if most > SAME or not any(map(any, columns.values())):
        raise ValueError(
            f"{label} names items by their titles and categories, and {most:,} items of {task.population.name} have "
            f"the same or none, at most {SAME} can be told apart; import the log with titles (--items FILE), or leave "
            "it out of agents"
        )
