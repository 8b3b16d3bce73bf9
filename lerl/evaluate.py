"""Judging a run: every row on every evaluation user, and the tables that comparisons and plots read."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lerl import metrics
from lerl.config import Config
from lerl.envs.simulator import UserSimulator
from lerl.fit import Fitter
from lerl.progress import Progress
from lerl.rollout import Played, Stage
from lerl.rows import Task, parse_rows
from lerl.settings import load


def evaluate(run: Path) -> None:
    """Judge every row of a trained run on the evaluation users and write its tables.

    Raises:
        FileNotFoundError: the folder is no run, or was not trained to its end.
    """
    if not (run / "config.yaml").exists() or not (run / "trained.json").exists():
        raise FileNotFoundError(f"{run} holds no trained run; make one with: lerl train RECIPE --out {run}")
    config = load(run / "config.yaml")
    task = Task.load(config)
    with Progress() as progress:
        judge(task, Fitter(task, run, progress.report), run, progress)


def judge(task: Task, fitter: Fitter, run: Path, progress: Progress) -> None:
    """Play all rows and write episodes, steps, items and exposure."""
    config = task.config
    stage = Stage(task.population, config.env, task.axis, "evaluation", config.evaluation.batch_size)
    users = _users(stage.users, config)
    tables: dict[str, list[pl.DataFrame]] = {"episodes": [], "steps": [], "items": [], "exposure": []}
    for row in parse_rows(config):
        for deterministic in (False, True) if row.samples and config.evaluation.deterministic else (False,):
            label = row.label + ("@det" if deterministic else "")
            played = _play(stage, fitter.agent(row, deterministic), users, task, label, progress)
            tables["episodes"].append(_episodes(label, played, task))
            tables["steps"].append(_steps(label, played))
            tables["items"].append(_items(label, played))
            tables["exposure"].extend(_exposures(label, played, task, stage.env.simulator))
    for name, parts in tables.items():
        write_table(pl.concat(parts), run / f"{name}.parquet")


def _users(users: NDArray[np.int64], config: Config) -> NDArray[np.int64]:
    """The evaluation users: all, or the same few for every seed."""
    wanted = config.evaluation.users
    if wanted is None or wanted >= len(users):
        return users
    return np.sort(np.random.default_rng(0).choice(users, wanted, replace=False))


def _play(stage: Stage, agent: Any, users: NDArray[np.int64], task: Task, label: str, progress: Progress) -> Played:
    total = len(users) * task.config.evaluation.replicates
    done = 0

    def count(ended: int) -> None:
        nonlocal done
        done += ended
        progress.report(f"evaluate {label}", done, total, None)

    return stage.play(agent, users, task.config.evaluation.replicates, task.seed("evaluation"), count)


def write_table(table: pl.DataFrame, path: Path) -> None:
    """Write a Parquet file whole or not at all."""
    partial = path.with_suffix(".partial")
    table.write_parquet(partial)
    partial.replace(path)


def _episodes(label: str, played: Played, task: Task) -> pl.DataFrame:
    """One row per session."""
    membership = task.population.catalog.categories.membership
    vectors = task.population.knowledge.item_vectors[:, :-1]
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


def _steps(label: str, played: Played) -> pl.DataFrame:
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


def _items(label: str, played: Played) -> pl.DataFrame:
    """How often each item was shown to each user."""
    sessions, _, _ = found = np.nonzero(played.slates >= 0)
    shown = pl.DataFrame({"user": played.users[sessions], "item": played.slates[found].astype(np.int64)})
    counted = shown.group_by("user", "item").agg(count=pl.len().cast(pl.Int64)).sort("user", "item")
    return counted.select(pl.lit(label).alias("agent"), "user", "item", "count")


def _exposures(label: str, played: Played, task: Task, simulator: UserSimulator) -> list[pl.DataFrame]:
    """Shares of the shown slots per category and per topic, step by step."""
    categories = task.population.catalog.categories
    names = [f"topic {number + 1}" for number in range(simulator.topic_count)]
    topics = (simulator.topics[:, :, None] == np.arange(simulator.topic_count)).any(axis=1)
    if task.config.env.topics == "categories":
        names = list(categories.names)
    return [
        _exposure(label, played, "category", categories.names, categories.membership),
        _exposure(label, played, "topic", names, topics),
    ]


def _exposure(label: str, played: Played, axis: str, names: Any, membership: NDArray[np.bool_]) -> pl.DataFrame:
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
