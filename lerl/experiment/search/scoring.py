"""A trial of a search: one agent, fitted with other settings and scored on training users."""

import shutil
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lerl.config.errors import SettingsError
from lerl.config.keys import known_keys
from lerl.config.parse import dump, load, overlay
from lerl.config.schema import AUTO, Config
from lerl.envs.files import write_whole
from lerl.envs.plugins import PluginError
from lerl.envs.topics import ClusterError
from lerl.experiment.search import AGAIN
from lerl.experiment.search.prune import Hopeless, Watch, sessions_table
from lerl.files import RunError, read_table
from lerl.run.context import Report
from lerl.run.evaluate import write_table
from lerl.run.fit_policy import DivergedError
from lerl.run.fitter import Fitter
from lerl.run.lives import LIVES, life_tables, play_lives
from lerl.run.locks import LOCK, locked
from lerl.run.progress import counter
from lerl.run.rollout import Episodes, Evaluator
from lerl.run.specs import AgentSpec, parse_agent
from lerl.run.task import Task
from lerl.run.work import LOG

Floats = NDArray[np.float64]

UNLIMITED = ("tune.trials", "agents", "evaluation.bootstrap")  # may change while a search goes on
SESSIONS = {"user": pl.Int64, "replicate": pl.Int64, "T_int": pl.Float64, "R_cum": pl.Float64, "R_sin": pl.Float64}
DAYS = "active_days"
PLAYED = "sessions.parquet"
NOT_FITTED = (SettingsError, ClusterError, PluginError, DivergedError)


class Scored(NamedTuple):
    """How a trial ended.

    Attributes:
        scores: (U,) mean metric of each user; empty where there is none. refused: why it could not be fitted, otherwise
            empty. pruned: why it was ended early, otherwise empty. points: its mean metric then, by step.
    """

    scores: Floats
    refused: str = ""
    pruned: str = ""
    points: Mapping[int, float] = {}


def trial_folder(out: Path, number: int) -> Path:
    """Where a trial of the search in `out` is fitted."""
    return out / "trials" / f"{number:03d}"


def score(
    config: Config,
    values: Mapping[str, Any],
    folder: Path,
    report: Report,
    watch: Watch | None = None,
) -> Scored:
    """Fit and score the agent of a search with other settings; what is done already is not done again.

    Args:
        config: the recipe. values: the settings, by dotted key. folder: the trial's. report: called as work goes on.
        watch: ends the trial where it is hopeless.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder, wait=True):  # a command that was killed may have left a worker at it
        return _score(config, values, folder, report, watch)


def _score(config: Config, values: Mapping[str, Any], folder: Path, report: Report, watch: Watch | None) -> Scored:
    try:
        tried = overlay(config, values)
        if (played := _taken(folder, tried)) is not None:
            return Scored(by_user(played, config.tune.metric))
        played = _fit_and_play(tried, folder, report, watch)
    except NOT_FITTED as error:
        return Scored(np.zeros(0), refused=" ".join(str(error).split()))
    except Hopeless as error:
        return Scored(np.zeros(0), pruned=str(error), points={error.steps: error.mean})
    write_table(played, folder / PLAYED)
    return Scored(by_user(played, config.tune.metric))


def _taken(folder: Path, tried: Config) -> pl.DataFrame | None:
    """The sessions of a trial that was done already; otherwise None, and the folder keeps what it can go on from."""
    kept = folder / "config.yaml"
    try:
        same = kept.is_file() and not differing(tried, placed(load(kept), tried))
    except (SettingsError, OSError):
        same = False
    if not same:
        reuse(folder, tried)
        return None
    try:
        return read_table(folder / PLAYED, AGAIN, columns(tried.tune.metric))
    except RunError:  # not there yet, or damaged
        return None


def _fit_and_play(tried: Config, folder: Path, report: Report, watch: Watch | None) -> pl.DataFrame:
    spec = parse_agent(tried.tune.agent, tried.planner.name)
    with closing(Fitter(Task.load(tried), folder, report, AGAIN)) as fitter:
        fitter.context.watch = watch
        fitter.fit(spec)
        if tried.tune.metric == DAYS:
            return _live(fitter, spec, report)
        played = _play(fitter, spec, report)
        fitter.context.chat.count(int(played.lengths.sum()))
    return sessions_table(played)


def columns(metric: str) -> Mapping[str, Any]:
    """What a trial keeps of each session, or of each life."""
    return {"user": pl.Int64, "replicate": pl.Int64, DAYS: pl.Int64} if metric == DAYS else SESSIONS


def check_metric(config: Config) -> None:
    """Refuse to search by lives where there are none, or to end trials early by learning curves that are of sessions.

    Raises:
        SettingsError: the message says what to do.
    """
    if config.tune.metric != DAYS:
        return
    if config.env.horizon != "days":
        raise SettingsError(f"tune.metric is {DAYS}, and nobody comes back: give --env.horizon days, or another metric")
    if config.tune.prune:
        raise SettingsError(
            f"tune.prune ends trials early by learning curves, which are of sessions, and tune.metric is {DAYS}: set "
            "tune.prune to false, or give another metric"
        )


def differing(mine: Config, theirs: Config) -> str:
    """The first setting in which two searches differ, trials and experiments aside; empty where they do not."""
    now, before = known_keys(mine), known_keys(theirs)
    free = UNLIMITED if mine.tune.agent != AUTO else tuple(name for name in UNLIMITED if name != "agents")
    decisive = (name for name in now if name not in free and not name.startswith("experiment."))
    return next((name for name in decisive if now[name].default != before[name].default), "")


def reuse(folder: Path, tried: Config) -> None:
    """Keep what was fitted in a folder under the same settings, to go on from there; empty the folder otherwise.

    Args:
        folder: with config.yaml, or not there. tried: the settings.
    """
    kept = folder / "config.yaml"
    try:
        same = kept.is_file() and dump(placed(load(kept), tried)) == dump(tried)
    except (SettingsError, OSError):
        same = False
    if same:
        return
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in (LOG, LOCK):
            path.unlink()
    write_whole(kept, dump(tried))


def placed(kept: Config, tried: Config) -> Config:
    """Settings whose data lie where those of others do: they may have been made on another machine."""
    return overlay(kept, {"data.path": tried.data.path})


def _play(fitter: Fitter, spec: AgentSpec, report: Report) -> Episodes:
    """Sessions of training users, the same ones in every trial, which no trial trains on."""
    task, evaluator = fitter.context.task, fitter.context.evaluator
    how, seed = task.config.tune, task.seed("tune")
    users = _users(task, evaluator)
    count = counter(report, "score", len(users) * how.replicates)
    return evaluator.play(fitter.agent(spec), users, how.replicates, seed, count)


def _live(fitter: Fitter, spec: AgentSpec, report: Report) -> pl.DataFrame:
    """One row per life of training users, the same ones in every trial."""
    task = fitter.context.task
    how, lives = task.config.tune, task.lives
    assert lives is not None
    evaluator = Evaluator(task.population, lives, task.axis, "train", task.config.evaluation.batch_size)
    users = _users(task, evaluator)
    count = counter(report, "score", len(users) * how.replicates)
    played = play_lives(evaluator, fitter.agent(spec), users, how.replicates, task.seed("tune"), count)
    return life_tables(spec.label, played, task)[LIVES].select(list(columns(DAYS)))


def _users(task: Task, evaluator: Evaluator) -> NDArray[np.int64]:
    """Training users that every trial is scored on."""
    wanted, users = task.config.tune.users, evaluator.users
    if wanted is not None and wanted < len(users):
        return np.sort(np.random.default_rng(task.seed("tune")).choice(users, wanted, replace=False))
    return users


def by_user(sessions: pl.DataFrame, metric: str) -> Floats:
    """The mean metric of each user (U,), in the order of their numbers."""
    means = sessions.group_by("user").agg(pl.col(metric).mean()).sort("user")
    return np.asarray(means[metric].to_numpy(), np.float64)
