"""The agents of one run, fitted and judged side by side, with the numbers of one after another."""

import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import closing
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lerl.config.schema import AUTO, Config
from lerl.planners.llm.planner import MODELS
from lerl.run.artifacts import policy_name, taught_name
from lerl.run.executors import work_with
from lerl.run.fitter import Fitter
from lerl.run.lives import live_agent
from lerl.run.locks import locked
from lerl.run.machine import free_memory
from lerl.run.progress import Progress, counter
from lerl.run.rollout import Episodes, Evaluator, Kept
from lerl.run.specs import TOLD, AgentSpec, candidates, parse_agents
from lerl.run.task import Task
from lerl.run.work import LostError, Work
from lerl.run.workers import ended

CHAT = "chat model"
LONG = 200_000
"""User-steps of training in all, from which on it is worth starting processes for it."""
WORKER_MEMORY = 2 << 30
"""Bytes for each of them."""
_Played = tuple[Episodes, dict[str, pl.DataFrame]]
SHARDS = 8
"""In how many parts the sessions of an agent that looks ahead are judged."""


def independent(specs: Sequence[AgentSpec], config: Config) -> list[list[AgentSpec]]:
    """Agents in groups that share nothing that is fitted; those that ask a chat model, or need nothing, are in none."""
    groups: list[tuple[set[str], list[AgentSpec]]] = []
    for spec in specs:
        parts = _parts(spec, config)
        if CHAT in parts:
            continue
        joined = [group for group in groups if group[0] & parts]
        groups = [group for group in groups if not group[0] & parts]
        groups.append((parts.union(*(shared for shared, _ in joined)), [*(s for _, ss in joined for s in ss), spec]))
    return [sorted(group, key=specs.index) for parts, group in groups if parts]


def worth(config: Config, cores: int) -> int:
    """How many workers a run is worth on this machine: one where training is short, or memory is."""
    specs = _before_choice(parse_agents(config), config)
    groups = [group for group in independent(specs, config) if any(map(_learns, group))]
    steps = config.train.steps * sum(_learns(spec) for group in groups for spec in group)
    if steps < LONG:
        return 1
    return max(1, min(cores, len(groups), free_memory() // WORKER_MEMORY))


def _learns(spec: AgentSpec) -> bool:
    return spec.learner is not None or spec.believes or spec.composite is not None


def asks_model(spec: AgentSpec, config: Config) -> bool:
    """Whether an agent, or one that it may choose, is planned by a chat model, whose one guard keeps the budget."""
    return CHAT in _parts(spec, config)


def _parts(spec: AgentSpec, config: Config) -> set[str]:
    """Names of what is fitted for an agent."""
    if spec.baseline == AUTO:
        return {AUTO}.union(*(_parts(one, config) for one in candidates(config)))
    found = {"policy " + policy_name(spec)} if spec.learner else set()
    found |= {"planner " + taught_name(spec.planner, spec.believes)} if spec.planner else set()
    found |= {"belief"} if spec.believes or config.planner.axis == "learned" else set()
    found |= {f"composite {spec.composite}"} if spec.composite else set()
    found |= {f"next item {spec.next_item}"} if spec.next_item else set()
    found |= {"row " + spec.label} if spec.diverse or spec.priced else set()
    found |= {CHAT} if spec.planner in MODELS else set()
    return found


def fit(specs: Sequence[AgentSpec], run: Path, config: Config, pool: Executor) -> None:
    """Fit what groups of agents lack, each group in a worker, in the run's folder; `auto` once its candidates are."""
    choosing = [spec for spec in specs if spec.baseline == AUTO and not asks_model(spec, config)]
    for wave in (independent(_before_choice(specs, config), config), [choosing] if choosing else []):
        works = [
            work_with(config, f"fit {group[0].label}", _fit, (run, config, group), run, log=False) for group in wave
        ]
        for _ in results(works, pool):
            pass
    shutil.rmtree(run / "fitting", ignore_errors=True)


def _before_choice(specs: Sequence[AgentSpec], config: Config) -> list[AgentSpec]:
    """Agents, and instead of `auto` those that it chooses from."""
    chosen_from = candidates(config) if any(spec.baseline == AUTO for spec in specs) else []
    return list(dict.fromkeys([*(spec for spec in specs if spec.baseline != AUTO), *chosen_from]))


def _fit(run: Path, config: Config, specs: Sequence[AgentSpec]) -> None:
    own = run / "fitting" / specs[0].label
    own.mkdir(parents=True, exist_ok=True)
    # Of the run itself the command holds the lock; another one that was killed may have left a worker at this.
    with locked(own, wait=True), closing(Fitter(Task.load(config), run, Progress().report)) as fitter:
        for spec in specs:
            if fitter.lacks(spec):
                fitter.fit(spec)


def played(
    agents: Sequence[tuple[str, AgentSpec, bool]], users: NDArray[np.int64], run: Path, config: Config, pool: Executor
) -> Iterator[tuple[str, Episodes, dict[str, pl.DataFrame]]]:
    """The sessions of fitted agents with evaluation users, and the tables of their lives where people come back, agent
    by agent as they are done.

    Args:
        agents: name, what it is, and whether it acts without sampling, see `lerl.run.evaluate.evaluated`. users: (N,)
            int64. run, config: whose agents they are. pool: does it.
    """
    works, owners = list[Work](), list[tuple[str, int]]()
    for label, spec, deterministic in agents:
        parts = np.array_split(users, min(SHARDS, len(users))) if spec.baseline in TOLD else [users]
        keep = config.evaluation.keep_sessions
        for n, part in enumerate(parts):
            given = run, config, (label, spec, deterministic), part, keep
            name = f"evaluate {label} {n + 1}/{len(parts)}"
            works.append(work_with(config, name, _play, given, reads=[run]))
            owners.append((label, n))
            keep = max(0, keep - len(part) * config.evaluation.replicates)
    there: dict[str, dict[int, _Played]] = {}
    for at, found in results(works, pool):
        label, n = owners[at]
        there.setdefault(label, {})[n] = found
        if len(there[label]) == sum(owner == label for owner, _ in owners):
            parts_of = there.pop(label)
            ordered = [parts_of[n] for n in sorted(parts_of)]
            lives = {name: pl.concat([part[1][name] for part in ordered]) for name in ordered[0][1]}
            yield label, joined([sessions for sessions, _ in ordered]), lives


def _play(
    run: Path, config: Config, agent: tuple[str, AgentSpec, bool], users: NDArray[np.int64], keep: int
) -> _Played:
    label, spec, deterministic = agent
    with closing(Fitter(Task.load(config), run, Progress().report)) as fitter:
        task, how = fitter.context.task, config.evaluation
        evaluator = Evaluator(task.population, task.config.env, task.axis, "evaluation", how.batch_size)
        count = counter(Progress().report, f"evaluate {label}", len(users) * how.replicates)
        made = fitter.agent(spec, deterministic)
        sessions = evaluator.play(made, users, how.replicates, task.seed("evaluation"), count, keep)
        if task.lives is None:
            return sessions, {}
        lives = live_agent(label, fitter.agent(spec, deterministic), task, users, Progress())
        return sessions, lives


def joined(parts: Sequence[Episodes]) -> Episodes:
    """Sessions of different users as one."""
    arrays: dict[str, Any] = {
        one.name: np.concatenate([getattr(part, one.name) for part in parts])
        for one in fields(Episodes)
        if one.name != "kept"
    }
    plans = [plan for part in parts for plan in part.kept.plans]
    kept = (np.concatenate([getattr(part.kept, name) for part in parts]) for name in ("boredom", "whole"))
    return Episodes(**arrays, kept=Kept(plans, *kept))


def results(works: Sequence[Work], pool: Executor) -> Iterator[tuple[int, Any]]:
    """What pieces of work give, with their number, as they end.

    Raises:
        Exception: what the first of them raised that failed; closing the executor interrupts those under way.
    """
    waiting: dict[Future[Any], int] = {pool.submit(work): n for n, work in enumerate(works)}
    while waiting:
        for future in ended(waiting):
            n = waiting.pop(future)
            if (error := future.exception()) is not None:
                for other in waiting:
                    other.cancel()
                if not isinstance(error, LostError):
                    error.add_note(works[n].name)
                raise error
            yield n, future.result()
