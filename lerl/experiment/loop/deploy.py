"""One agent on its own copy of the people: period after period, each written whole, so that it is done once."""

import io
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lerl.envs.draws import seed_from
from lerl.envs.files import write_whole
from lerl.envs.population import Population, Truth
from lerl.envs.schema import DataError
from lerl.envs.topics import ClusterError
from lerl.experiment.loop.between import LOG, SESSIONS, Between
from lerl.experiment.loop.cast import Cast, cast_of
from lerl.experiment.loop.knowledge import agreement, first_log, fit_knowledge
from lerl.experiment.loop.play import Played, new_env, play
from lerl.experiment.loop.request import TRIALS
from lerl.experiment.loop.settings import FLOORS, FROZEN, OPEN, Request, Row, Trial
from lerl.files import read_table, reading
from lerl.run.context import Report
from lerl.run.evaluate import write_table
from lerl.run.fitter import Fitter
from lerl.run.locks import locked
from lerl.run.progress import Progress
from lerl.run.specs import AgentSpec
from lerl.run.task import Task

AGAIN = "give the same command again"
FITS = "fits"
PARTS = ("log", "sessions", "people", "state")
"""Files of a period, in the order in which they are written."""
RANDOM = Row(AgentSpec(FLOORS[0], baseline=FLOORS[0]))


class Stage(NamedTuple):
    """What all deployments of a seed share: the task, of which the loop is, and who and what is there."""

    task: Task
    cast: Cast


def stage_of(asked: Request, seed: int) -> Stage:
    """The task of a seed, in which people come back, and its cast.

    Raises:
        ValueError: the recipe cannot be looped; the message says why.
    """
    loop, config = asked.loop, asked.config
    env = replace(config.env, horizon="days", days=float(loop.periods * loop.retrain))
    task = Task.load(replace(config, seed=seed, env=env))
    cast = cast_of(task, loop)
    # policies always see as many rows as there are people
    how = replace(task.config.evaluation, batch_size=len(cast.people))
    return Stage(replace(task, config=replace(task.config, evaluation=how)), cast)


def folder_of(out: Path, trial: Trial) -> Path:
    """Where a deployment is kept."""
    return out / TRIALS / trial.name


def path_of(out: Path, trial: Trial, period: int, what: str) -> Path:
    """A file of a period: its "log", "sessions" or "people", or the "state" at its end, which is written last."""
    ending = "npz" if what == "state" else "parquet"
    return folder_of(out, trial) / f"{period + 1:03d}-{what}.{ending}"


def is_done(out: Path, trial: Trial, period: int) -> bool:
    """Whether a period was played to its end, and all that it wrote is still there; else it is played again."""
    return all(path_of(out, trial, period, what).is_file() for what in PARTS)


def do(asked: Request, trial: Trial, out: Path) -> None:
    """Play what is left of a deployment in a worker, which says on standard error how far it is."""
    folder_of(out, trial).mkdir(parents=True, exist_ok=True)
    # the command holds the lock of the whole; one that was killed may have left a worker at this
    with locked(folder_of(out, trial), wait=True), Progress() as progress:
        run(asked, trial, out, progress.report)


def run(asked: Request, trial: Trial, out: Path, report: Report) -> None:
    """Play what is left of a deployment in this process; `report` is told how far it is."""
    stage, periods = stage_of(asked, trial.seed), asked.loop.periods
    for period in range(periods):
        if not is_done(out, trial, period):
            until = float((period + 1) * asked.loop.retrain)
            _period(stage, trial, out, period, until, report)
            report(f"play {trial.name}", period + 1, periods, None)
    shutil.rmtree(folder_of(out, trial) / FITS, ignore_errors=True)


def _period(stage: Stage, trial: Trial, out: Path, period: int, until: float, report: Report) -> None:
    """Fit the agent and play a period."""
    task, people = refitted(stage, trial, out, period), len(stage.cast.people)
    own = stage.task.population
    env = new_env(
        replace(own, knowledge=task.population.knowledge, history=task.population.history), stage.task, people
    )
    before = None if period == 0 else read_between(out, trial, period - 1)
    fits = folder_of(out, trial) / FITS / f"{fitted_in(trial, period) + 1:03d}"
    fits.mkdir(parents=True, exist_ok=True)
    with closing(Fitter(task, fits, report, AGAIN)) as fitter:
        with _enough_known(trial, period, people):
            if fitter.lacks(trial.row.spec):
                fitter.fit(trial.row.spec)
            agent = fitter.agent(trial.row.spec)
        played = play(env, agent, stage.cast, period, until, before)
    agreed = agreement(task.population.knowledge, own.truth, stage.cast, period, before)
    _write(out, trial, period, played, agreed)
    if trial.row.learns_from != FROZEN:
        shutil.rmtree(fits)


@contextmanager
def _enough_known(trial: Trial, period: int, people: int) -> Iterator[None]:
    """Say what is too few where a log tells too little of items to find the topics that people get bored of."""
    try:
        yield
    except ClusterError as error:
        raise DataError(
            f"{trial.name} cannot be fitted before period {period + 1}: {error}; the log of {people:,} people says no "
            "more of items. Give more people (--evaluation.users), or a smaller number and another folder with --out"
        ) from error


def fitted_in(trial: Trial, period: int) -> int:
    """Before which period an agent was fitted that plays in this one."""
    return 0 if trial.row.learns_from == FROZEN else period


def log_for(stage: Stage, trial: Trial, out: Path, period: int) -> pl.DataFrame:
    """What an agent is fitted from that plays in a period, see `LOG`."""
    source = Trial(RANDOM, trial.seed) if trial.row.learns_from == OPEN else trial
    parts = [read_log(out, source, earlier) for earlier in range(fitted_in(trial, period))]
    return pl.concat([first_log(stage.task, stage.cast), *parts])


def refitted(stage: Stage, trial: Trial, out: Path, period: int) -> Task:
    """The task in which an agent is fitted that plays in a period: people and items as its log shows them.

    Its truth, in which policies train, is what the log says of tastes and items, and not the truth that people have;
    only the rules by which people get bored, tired and leave are the recipe's.
    """
    whole, people = stage.task.population, np.zeros(len(stage.task.population.training), bool)
    people[stage.cast.people] = True
    log = log_for(stage, trial, out, period)
    dim, items = whole.knowledge.item_vectors.shape[1] - 1, len(whole.catalog)
    seed = seed_from(trial.seed, "loop", "knowledge") % 2**32
    known = fit_knowledge(log, people, items, dim, seed)
    vectors, tastes = (np.ascontiguousarray(one[:, :-1]) for one in (known.item_vectors, known.tastes))
    truth = Truth(vectors, known.item_vectors[:, -1].copy(), tastes, known.user_offsets)
    history = log.select("user", "item", pl.col("click").cast(pl.Int32)).to_numpy().astype(np.int32)
    population = Population(whole.name, whole.catalog, truth, known, people, history)
    lives = stage.task.lives
    assert lives is not None
    env = replace(lives, response="latent", feedback="click" if lives.feedback == "weighted" else lives.feedback)
    return Task(replace(stage.task.config, env=env), population, stage.task.axis)


def _write(out: Path, trial: Trial, period: int, played: Played, known: NDArray[np.float64]) -> None:
    """Keep a period; its state last, by which it is done."""
    now = played.between
    people = pl.DataFrame({"status": now.status, "known": known})
    for what, table in (("log", played.log), ("sessions", played.sessions), ("people", people)):
        write_table(table, path_of(out, trial, period, what))
    stream = io.BytesIO()
    arrays: dict[str, Any] = now.arrays()
    np.savez_compressed(stream, **arrays)
    write_whole(path_of(out, trial, period, "state"), stream.getvalue())


def read_log(out: Path, trial: Trial, period: int) -> pl.DataFrame:
    """The log of a period, see `LOG`.

    Raises:
        RunError: it is missing or damaged.
    """
    return read_table(path_of(out, trial, period, "log"), AGAIN, LOG)


def read_sessions(out: Path, trial: Trial, period: int) -> pl.DataFrame:
    """The sessions of a period, see `SESSIONS`."""
    return read_table(path_of(out, trial, period, "sessions"), AGAIN, SESSIONS)


def read_people(out: Path, trial: Trial, period: int) -> pl.DataFrame:
    """Where people are after a period, in the order of `Cast.people`, and `agreement` on each."""
    return read_table(path_of(out, trial, period, "people"), AGAIN, {"status": pl.Int8, "known": pl.Float64})


def read_between(out: Path, trial: Trial, period: int) -> Between:
    """Where a period left people.

    Raises:
        RunError: it is missing or damaged.
    """
    path = path_of(out, trial, period, "state")
    with reading(path, AGAIN), np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as kept:
        return Between.of({name: kept[name] for name in kept.files})
