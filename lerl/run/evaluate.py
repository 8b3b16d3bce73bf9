"""Evaluation of a run: every agent on every evaluation user, and the tables that comparisons and plots read."""

import io
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lerl.agents.base import Agent
from lerl.config.schema import Config
from lerl.envs.files import write_whole
from lerl.envs.simulator import UserSimulator
from lerl.files import RunError, read_table, resume_command
from lerl.report import metrics
from lerl.report.load import Results
from lerl.run.artifacts import CURVE
from lerl.run.executors import Where, executor
from lerl.run.fitter import Fitter
from lerl.run.folder import check_run, check_same
from lerl.run.kept import HIDDEN, PEOPLE, SESSIONS, TITLES, kept_tables, people_table, titles_table
from lerl.run.lives import LIFE_SESSIONS, LIVES, live_agent
from lerl.run.locks import locked
from lerl.run.progress import Progress, counter
from lerl.run.rollout import Episodes, Evaluator
from lerl.run.side_by_side import asks_model, played
from lerl.run.specs import AgentSpec, parse_agents
from lerl.run.task import Task
from lerl.run.trust import read_config

TABLES = ("episodes", "steps", "items", "exposure")
TRAINED = "trained.json"


def evaluate(run: Path, trust: bool = False, where: Where | None = None) -> Config:
    """Judge every agent of a trained run on the evaluation users and write its tables; the run's configuration.

    Args:
        run: its folder. trust: whether what it wants is allowed, see `lerl.run.trust.read_config`. where: where agents
            are judged side by side; one after another, here, where None.

    Raises:
        RunError: the folder is no run, was not trained to its end, or another process is at work there.
    """
    about = check_run(run)
    with locked(run):
        config = read_config(run, trust)
        task = Task.load(config)
        check_same(run, about, task)
        with Progress() as progress, closing(Fitter(task, run, progress.report)) as fitter:
            if not (run / TRAINED).is_file() or any(fitter.lacks(spec) for spec in parse_agents(config)):
                raise RunError(
                    f"{run} was not trained to its end, or lost some of it; go on with: {resume_command(run)}"
                )
            shutil.rmtree(run / "evaluated", ignore_errors=True)  # of an evaluation broken off, perhaps long ago
            fitter.context.chat.evaluate_anew()
            task = fitter.context.task
        if where is not None:
            with executor(where, "give the same command again") as pool:
                judge_side_by_side(task, run, config, pool)
        with Progress() as progress, closing(Fitter(task, run, progress.report)) as fitter:
            judge(task, fitter, run, progress)
    return config


def judge_side_by_side(task: Task, run: Path, config: Config, pool: Executor) -> None:
    """Play the agents that no chat model plans for, and keep their tables, which `judge` then takes as they are.

    Args:
        task: as `lerl.run.learned_axis.settled` gives it. run: its folder. config: as it was read. pool: plays them.
    """
    agents = [one for one in evaluated(config) if not _has(run, one[0], task) and not asks_model(one[1], config)]
    simulator = Evaluator(task.population, task.config.env, task.axis, "evaluation", 1).env.simulator
    users = judged(simulator.users, config)
    for label, sessions, lives in played(agents, users, run, config, pool):
        _keep(tables_of(label, sessions, task, simulator) | lives, run, label)


def tables(task: Task) -> tuple[str, ...]:
    """Names of the tables of a run that is evaluated."""
    return TABLES if task.lives is None else (*TABLES, LIVES, LIFE_SESSIONS)


def is_evaluated(run: Path, task: Task) -> bool:
    """Whether a run has all its tables."""
    return all((run / f"{name}.parquet").is_file() for name in tables(task))


def _names(task: Task) -> tuple[str, ...]:
    """Names of an agent's tables."""
    return (*tables(task), SESSIONS, HIDDEN) if task.config.evaluation.keep_sessions else tables(task)


def _has(run: Path, label: str, task: Task) -> bool:
    return all((run / "evaluated" / label / f"{name}.parquet").is_file() for name in _names(task))


def _keep(found: Mapping[str, pl.DataFrame], run: Path, label: str) -> None:
    for name, table in found.items():
        write_table(table, run / "evaluated" / label / f"{name}.parquet")


def judge(task: Task, fitter: Fitter, run: Path, progress: Progress) -> None:
    """Play all agents and write episodes, steps, items and exposure.

    Each agent's tables are kept under `evaluated/` until all are there, so that an interruption loses one at most.
    """
    config = task.config
    evaluator = Evaluator(task.population, config.env, task.axis, "evaluation", config.evaluation.batch_size)
    users = judged(evaluator.users, config)
    for label, spec, deterministic in evaluated(config):
        if not _has(run, label, task):
            agent = fitter.agent(spec, deterministic)
            fitter.context.chat.recount()  # of an evaluation before this one, or of one that was broken off
            found = play_agent(label, agent, task, evaluator, users, progress)
            fitter.context.chat.count(int(found["episodes"]["T_int"].sum()))
            if task.lives is not None:
                found |= live_agent(label, fitter.agent(spec, deterministic), task, users, progress)
            _keep(found, run, label)
    kept = [run / "evaluated" / label for label, *_ in evaluated(config)]
    for name in _names(task):
        parts = pl.concat([read_table(folder / f"{name}.parquet", fitter.context.store.how) for folder in kept])
        if name == SESSIONS:
            write_table(titles_table(parts, evaluator.env.simulator), run / f"{TITLES}.parquet")
        write_table(parts, run / f"{name}.parquet")
    write_table(people_table(users, task.population), run / f"{PEOPLE}.parquet")
    shutil.rmtree(run / "evaluated")


def play_agents(task: Task, agents: Mapping[str, Callable[[], Agent]], progress: Progress) -> Results:
    """Results of agents by name, made one after another, on the task's evaluation users; nothing is written."""
    config = task.config
    evaluator = Evaluator(task.population, config.env, task.axis, "evaluation", config.evaluation.batch_size)
    users = judged(evaluator.users, config)
    parts = [play_agent(label, made(), task, evaluator, users, progress) for label, made in agents.items()]
    if task.lives is not None:
        lived = [live_agent(label, made(), task, users, progress) for label, made in agents.items()]
        parts = [part | more for part, more in zip(parts, lived, strict=True)]
    seed = pl.lit(config.seed, dtype=pl.Int64).alias("seed")
    found = {name: pl.concat(part[name] for part in parts).with_columns(seed) for name in tables(task)}
    return Results(
        list(agents),
        [config.seed],
        len(task.population.catalog),
        asdict(config if task.lives is None else replace(config, env=task.lives)),
        found["episodes"],
        found["items"],
        found["steps"],
        found["exposure"],
        pl.DataFrame(schema={"seed": pl.Int64, **CURVE}),
        lives=found.get(LIVES),
        life_sessions=found.get(LIFE_SESSIONS),
        days=0.0 if task.lives is None else task.lives.days,
    )


def evaluated(config: Config) -> list[tuple[str, AgentSpec, bool]]:
    """What is evaluated of each agent: its name in tables, what it is, and whether its policy acts without sampling."""
    return [
        (spec.label + ("@det" if deterministic else ""), spec, deterministic)
        for spec in parse_agents(config)
        for deterministic in ((False, True) if spec.samples and config.evaluation.deterministic else (False,))
    ]


def play_agent(
    label: str, agent: Agent, task: Task, evaluator: Evaluator, users: NDArray[np.int64], progress: Progress
) -> dict[str, pl.DataFrame]:
    """The tables of an agent, by name: its sessions with these users, the same draws for every agent."""
    return tables_of(label, _play(evaluator, agent, users, task, label, progress), task, evaluator.env.simulator)


def tables_of(label: str, played: Episodes, task: Task, simulator: UserSimulator) -> dict[str, pl.DataFrame]:
    """The tables of an agent's sessions, by name."""
    found = (
        episodes(label, played, task),
        _steps(label, played),
        _items(label, played),
        pl.concat(_exposures(label, played, task, simulator)),
    )
    return dict(zip(TABLES, found, strict=True)) | kept_tables(label, played)


def judged(users: NDArray[np.int64], config: Config) -> NDArray[np.int64]:
    """The evaluation users: all, or the same few for every seed."""
    wanted = config.evaluation.users
    if wanted is None or wanted >= len(users):
        return users
    return np.sort(np.random.default_rng(0).choice(users, wanted, replace=False))


def _play(
    evaluator: Evaluator, agent: Any, users: NDArray[np.int64], task: Task, label: str, progress: Progress
) -> Episodes:
    how = task.config.evaluation
    count = counter(progress.report, f"evaluate {label}", len(users) * how.replicates)
    return evaluator.play(agent, users, how.replicates, task.seed("evaluation"), count, how.keep_sessions)


def write_table(table: pl.DataFrame, path: Path) -> None:
    """Write a Parquet file whole or not at all."""
    stream = io.BytesIO()
    table.write_parquet(stream)
    write_whole(path, stream.getvalue())


def episodes(label: str, played: Episodes, task: Task) -> pl.DataFrame:
    """One row per session."""
    membership = task.population.catalog.categories.membership
    vectors = task.population.knowledge.item_vectors[:, :-1].astype(np.float64)  # once, not once a session
    rows = []
    for n, length in enumerate(played.lengths.tolist()):
        rewards, satisfaction = played.rewards[n, :length], played.satisfaction[n, :length].astype(np.float64)
        slates = played.slates[n, :length]
        rows.append(
            {
                "seed": task.config.seed,
                "agent": label,
                "user": int(played.users[n]),
                "replicate": int(played.replicates[n]),
                "T_int": metrics.t_int(rewards),
                "R_cum": metrics.r_cum(rewards),
                "R_sin": metrics.r_sin(rewards),
                "satisfaction_final": metrics.satisfaction_final(satisfaction),
                "satisfaction_mean": metrics.satisfaction_mean(satisfaction),
                "left_early": bool(played.left[n]),
                "cut_by_cap": not played.left[n],
                "category_coverage": metrics.category_coverage(slates, membership),
                "category_entropy": metrics.category_entropy(slates, membership),
                "intra_list_distance": metrics.intra_list_distance(slates, vectors),
                "slate_overlap": metrics.slate_overlap(slates, membership),
                "empty_slots": int((slates < 0).sum()),
                "widened": int(played.widened[n]),
            }
        )
    return pl.DataFrame(rows)


def _steps(label: str, played: Episodes) -> pl.DataFrame:
    """Means over the sessions still there, step by step."""
    there = ~np.isnan(played.rewards)
    last = int(played.lengths.max())
    rows = [
        {
            "agent": label,
            "step": step + 1,
            "sessions": int(there[:, step].sum()),
            "satisfaction": float(played.satisfaction[there[:, step], step].mean(dtype=np.float64)),
            "satisfaction_sd": float(played.satisfaction[there[:, step], step].std(dtype=np.float64)),
            "reward": float(played.rewards[there[:, step], step].mean()),
        }
        for step in range(last)
    ]
    return pl.DataFrame(rows)


def _items(label: str, played: Episodes) -> pl.DataFrame:
    """How often each item was shown to each user."""
    sessions, _, _ = found = np.nonzero(played.slates >= 0)
    shown = pl.DataFrame({"user": played.users[sessions], "item": played.slates[found].astype(np.int64)})
    counted = shown.group_by("user", "item").agg(count=pl.len().cast(pl.Int64)).sort("user", "item")
    return counted.select(pl.lit(label).alias("agent"), "user", "item", "count")


def _exposures(label: str, played: Episodes, task: Task, simulator: UserSimulator) -> list[pl.DataFrame]:
    """Shares of the shown slots per category and per topic, step by step."""
    categories = task.population.catalog.categories
    names: Sequence[str] = [f"topic {number + 1}" for number in range(simulator.topic_count)]
    topics = (simulator.topics[:, :, None] == np.arange(simulator.topic_count)).any(axis=1)
    if task.config.env.topics == "categories":
        names, topics = categories.names, categories.membership
    return [
        _exposure(label, played, "category", categories.names, categories.membership),
        _exposure(label, played, "topic", names, topics),
    ]


def _exposure(label: str, played: Episodes, axis: str, names: Any, membership: NDArray[np.bool_]) -> pl.DataFrame:
    last = int(played.lengths.max())
    share = np.zeros((last, len(names)))
    for step in range(last):
        slates = played.slates[:, step]
        counts = membership[slates[slates >= 0]].sum(axis=0)
        share[step] = counts / max(int(counts.sum()), 1)
    return pl.DataFrame(
        {
            "agent": [label] * share.size,
            "axis": [axis] * share.size,
            "name": list(names) * last,
            "step": np.repeat(np.arange(1, last + 1), len(names)),
            "share": share.ravel(),
        }
    )
