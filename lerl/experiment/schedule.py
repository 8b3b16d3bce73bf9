"""`lerl experiment`: does all trials that are left, several at a time, and estimates how long they take."""

import dataclasses
import io
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import polars as pl
from rich.table import Table

from lerl.config.parse import load, overlay
from lerl.config.schema import Config
from lerl.envs.files import write_whole
from lerl.experiment.search.scoring import differing, placed
from lerl.experiment.spec import AGAIN, AGENT_KEYS, TUNED, Experiment, Trial, read_tuned
from lerl.experiment.trial import ROWS, do, done, finished, keep, keep_for, kept, populations, work
from lerl.experiment.trial import ended as trial_ended
from lerl.experiment.tune import SEARCH, tune
from lerl.files import RunError
from lerl.run.checks import check_agents
from lerl.run.executors import Where, executor, work_with
from lerl.run.folder import files_of, holds_other
from lerl.run.locks import locked
from lerl.run.task import Task
from lerl.run.work import LOG, LostError
from lerl.run.workers import ended

WORK = "work"
Say = Callable[[str], object]


def run(
    config: Config,
    out: Path,
    *,
    quick: bool,
    resume: bool,
    say: Say,
    given: Collection[str] = (),
    where: Where | None = None,
) -> tuple[Experiment, str]:
    """Do what is left to do of an experiment.

    Args:
        config: the recipe. out: its folder. quick: whether only `experiment.quick` is done.
        resume: whether to go on with what the folder holds. say: called with a line for each trial that is done.
        given: keys of the recipe that were given as flags, which go over `experiment.quick`.
        where: where trials are done; by `experiment.jobs` processes here where None.

    Returns:
        The experiment, and a line about trials and searches that failed, empty where none did; the others are done.

    Raises:
        FileExistsError: the folder holds trials, and `resume` is not given, or trials of other users, or
            something else.
        SettingsError: the recipe cannot be used.
        MissingDataError: the data of a condition are not there.
        RunError: another process is at work in the folder, or the cluster cannot be used or is lost.
    """
    experiment = Experiment.read(config, quick, given)
    _check_folder(out, resume)
    _check(experiment)
    users = _users(experiment, out)
    out.mkdir(parents=True, exist_ok=True)
    with locked(out), executor(where or Where(experiment.base.experiment.jobs), AGAIN) as pool:
        _check_folder(out, resume)  # another experiment may have been at work there since
        _refuse_other_users(users, out)
        return experiment, _Work(experiment, users, out, pool, say).do()


def _check_folder(out: Path, resume: bool) -> None:
    """Refuse a folder that holds trials, unless they are gone on with, or something else."""
    done_before = any((out / ROWS).rglob("*.parquet"))
    if done_before and not resume:
        raise FileExistsError(
            f"{out} holds trials of an experiment; go on with them by --resume, or give another --out"
        )
    if not done_before and holds_other(out, ROWS, WORK, f"{TUNED}.json"):
        raise FileExistsError(f"{out} holds something other than an experiment; give another folder with --out")


def _users(experiment: Experiment, out: Path) -> dict[str, str]:
    """The digest of each condition's users; refuses a folder that holds trials of others, whatever made them."""
    users = populations(experiment)
    _refuse_other_users(users, out)
    return users


def _refuse_other_users(users: Mapping[str, str], out: Path) -> None:
    for condition, now in users.items():
        for path in sorted((out / ROWS / condition).glob("*.parquet")):
            before = {str(about["population"]) for about in done(path).about.values()}
            if others := sorted(before - {now}):
                raise FileExistsError(
                    f"{path}: was evaluated on other users ({others[0]}) than there are now ({now}), and agents on "
                    "different users cannot be compared. Users fitted to the same log on another processor differ in "
                    "their last digits: go on with the data folder that these trials were made from, or give another "
                    f"--out, or remove {out / ROWS} to do all of them again"
                )


def _check(experiment: Experiment) -> None:
    """Refuse agents that the first condition is not for, before anything is written."""
    first, alike = next(iter(experiment.conditions)), dict[str, list[str]]()
    for label in experiment.labels(first):
        if experiment.agents[label].get("distills"):
            continue
        own = {name: value for name, value in experiment.agents[label].items() if name not in AGENT_KEYS}
        alike.setdefault(json.dumps(own, sort_keys=True), []).append(label)
    for labels in alike.values():
        task = Task.load(experiment.trial(first, labels[0], experiment.base.seed, {}).config)
        check_agents(task, list(dict.fromkeys(experiment.spec(label) for label in labels)))


class _Work:
    """What is left to do of an experiment: trials at once where they need no search, the others after theirs."""

    def __init__(self, experiment: Experiment, users: Mapping[str, str], out: Path, pool: Executor, say: Say) -> None:
        self.experiment, self.users, self.out, self.pool, self.say = experiment, users, out, pool, say
        self.tuned = experiment.tuned(out, self._searched_on)
        self.failed: list[str] = []
        self.number = self.left = 0
        self.begun = time.monotonic()

    @property
    def _searched_on(self) -> str:
        return self.users[next(iter(self.experiment.conditions))]

    def do(self) -> str:
        """Do it; a line about what failed, empty where nothing did."""
        experiment = self.experiment
        searches = [label for label in experiment.searched() if label not in self.tuned]
        trials = [
            experiment.trial(condition, label, seed, self.tuned)
            for condition in experiment.conditions
            for seed in experiment.seeds(condition)
            for label in experiment.labels(condition)
        ]
        trials.sort(key=lambda trial: trial.config.seed)  # so that what is done early is of all conditions
        waits = {label for label in experiment.agents if experiment.tuned_by(label) in searches}
        left = [trial for trial in trials if trial.label in waits or not self._done(trial)]
        first, later = list[Trial](), list[Trial]()
        for trial in left:
            (later if trial.teacher or experiment.conditions[trial.condition].get("again") else first).append(trial)
        self.left = len(left)
        self.say(f"{len(trials)} trials, {len(trials) - len(left)} done; searches to do: {len(searches)}")
        if otherwise := sum(kept(trial, self.out) for trial in left if trial.label not in waits):
            self.say(f"{otherwise} of them were made with other settings or prompts, and are replaced")
        self._wave(first, waits, searches)
        self._wave(self._with_found(later), (), ())  # what they need was fitted by now, or is tried once more
        if not self.failed:
            return ""
        return (
            f"{len(self.failed)} of the trials and searches failed, the first one: {self.failed[0]}; see above, and "
            f"{LOG} in its folder"
        )

    def _done(self, trial: Trial) -> bool:
        return finished(trial, self.out) is not None

    def _wave(self, trials: Sequence[Trial], waits: Collection[str], searches: Collection[str]) -> None:
        """Do trials, and searches that those of the agents which wait need."""
        blocked = [trial for trial in trials if trial.label in waits]
        ready = [trial for trial in trials if trial.label not in waits]
        waiting: dict[Future[Any], Trial | str] = {self._begin(trial): trial for trial in ready}
        for label in searches:
            config, folder = self.experiment.search(label)[0], self.out / WORK / TUNED / label
            given = config, folder, self._searched_on
            waiting[self.pool.submit(work_with(config, f"tuned {label}", _search, given, folder))] = label
        while waiting:
            for future in ended(waiting):
                one = waiting.pop(future)
                if isinstance(one, Trial):
                    self._say_of(one, future)
                    continue
                released = [trial for trial in blocked if self.experiment.tuned_by(trial.label) == one]
                tuned = self._with_found(released) if self._keep_found(one, future) else []
                begun = {self._begin(trial): trial for trial in tuned if not self._done(trial)}
                self.left -= len(released) - len(begun)
                waiting |= begun

    def _with_found(self, trials: Sequence[Trial]) -> list[Trial]:
        """Trials with what searches found by now, without those whose search failed."""
        experiment = self.experiment
        needed = [label for label in experiment.searched() if label not in self.tuned]
        able = [trial for trial in trials if experiment.tuned_by(trial.label) not in needed]
        return [experiment.trial(trial.condition, trial.label, trial.config.seed, self.tuned) for trial in able]

    def _begin(self, trial: Trial) -> Future[Any]:
        taught = _folder(self.experiment, trial.teacher, self.out) if trial.teacher else None
        folder = _folder(self.experiment, trial, self.out)
        name = f"{trial.condition}, {trial.label}, seed {trial.config.seed}"
        given = trial, trial.digest, self.users[trial.condition], folder, taught
        reads = (*files_of(trial.config), *((taught,) if taught else ()))
        return self.pool.submit(work_with(trial.fitted, name, do, given, folder, reads=reads))

    def _failed(self, name: str, future: Future[Any]) -> bool:
        """Whether a trial or a search failed, and say so."""
        if isinstance(error := future.exception(), LostError):
            raise error
        if error is not None:
            self.failed.append(name)
            self.say(f"{name}: failed: {' '.join(str(error).split()) or type(error).__name__}")
        return error is not None

    def _keep_found(self, label: str, future: Future[Any]) -> bool:
        """Keep what a search found; False where it failed."""
        if self._failed(f"tuned {label}", future):
            return False
        experiment, found = self.experiment, read_tuned(self.out)
        about = {"digest": experiment.search(label)[1], "population": self._searched_on}
        found[label] = {**about, "trials": experiment.base.tune.trials, **future.result()}
        write_whole(self.out / f"{TUNED}.json", json.dumps(dict(sorted(found.items())), indent=1) + "\n")
        self.tuned = experiment.tuned(self.out, self._searched_on)
        self.say(f"tuned {label}: {found[label]['values']}, {found[label]['seconds']:,.0f} s")
        return True

    def _say_of(self, trial: Trial, future: Future[Any]) -> None:
        self.number += 1
        name = f"[{self.number}/{self.left}] {trial.condition}, {trial.label}, seed {trial.config.seed}"
        if self._failed(name, future):
            return
        done_here = trial_ended(trial, self.users[trial.condition], _folder(self.experiment, trial, self.out))
        if done_here is None:  # its folder is not the one that its worker wrote to
            raise RunError(
                f"{_folder(self.experiment, trial, self.out)} does not hold what a worker wrote there: the workers see "
                "another folder under that path; give one that all of them see, or --ship"
            )
        about = done_here.about[str(trial.config.seed)]
        keep(trial, done_here.sessions, about, self.out)
        means = done_here.sessions.select(pl.col("T_int", "R_cum").mean()).row(0, named=True)
        rest = (time.monotonic() - self.begun) / self.number * (self.left - self.number) / 60
        figures = f"T_int {means['T_int']:.2f}  R_cum {means['R_cum']:.3f}"
        self.say(f"{name}: {figures}  {_seconds(about):,.0f} s; {rest:,.0f} min left")


def _search(config: Config, folder: Path, users: str) -> dict[str, Any]:
    search = folder / "search"
    keep_for(users, search)
    if (search / SEARCH).is_file() and differing(config, placed(load(search / SEARCH), config)):
        shutil.rmtree(search)
    begun = time.process_time()
    best = tune(config, search)[0]
    return {"values": best.values, "score": best.mean, "seconds": round(time.process_time() - begun, 1)}


def _folder(experiment: Experiment, trial: Trial, out: Path) -> Path:
    """Where a trial is fitted: agents that are judged again lie where they were fitted."""
    own = experiment.conditions[trial.condition].get("again") or trial.condition
    return out / WORK / str(own) / trial.label / f"seed{trial.config.seed}"


def cost(config: Config, out: Path, quick: bool, given: Collection[str] = ()) -> Table:
    """What is left to do, in hours: trials times the seconds that finished ones took, or that a short run takes."""
    experiment = Experiment.read(config, quick, given)
    users = _users(experiment, out)
    tuned = experiment.tuned(out, users[next(iter(experiment.conditions))])
    table = Table("condition", "agent", "trials", "done", "seconds each", "hours left")
    total, like = 0.0, dict[str, list[dict[str, Any]]]()
    for condition, values in experiment.conditions.items():
        seeds = experiment.seeds(condition)
        for label in experiment.labels(condition):
            trials = [experiment.trial(condition, label, seed, tuned) for seed in seeds]
            there = [about for about in (finished(trial, out) for trial in trials) if about is not None]
            if there:
                like[label] = there
            elif label not in like:
                print(f"timing {label}", file=sys.stderr)
                like[label] = [_timed(trials[0])]
            each = statistics.fmean(_seconds(about, "again" in values) for about in like[label])
            hours = (len(trials) - len(there)) * each / 3600
            total += hours
            table.add_row(condition, label, str(len(trials)), str(len(there)), f"{each:,.0f}", f"{hours:.2f}")
    searches = [label for label in experiment.searched() if label not in tuned]
    tries, jobs = experiment.base.tune.trials, experiment.base.experiment.jobs
    tuning = sum(tries * _seconds(like[label][0]) for label in searches) / 3600
    table.caption = (
        f"{total:.1f} hours of one core for trials, {tuning:.1f} for {len(searches)} searches of {tries} trials each; "
        f"{(total + tuning) / jobs:.1f} hours with {jobs} jobs"
    )
    return table


def _seconds(about: Mapping[str, Any], again: bool = False) -> float:
    """What a trial takes; agents that are judged `again` were fitted before."""
    return float(about["judging"] + (0.0 if again else about["fitting"] or 0.0))


def _timed(trial: Trial) -> dict[str, Any]:
    """What a trial would take, from a short one: fixed costs, steps and sessions each by their number."""
    config, short = trial.config, _short(trial)
    with tempfile.TemporaryDirectory() as folder, redirect_stderr(io.StringIO()):
        _, about = work(short, Path(folder) / "own", Path(folder) / "taught")
    longer = max(config.train.steps, 1) / max(short.config.train.steps, 1)
    sessions, few = (one.evaluation.users or 1000 for one in (config, short.config))
    fitting = (about["fitting"] or 0.0) * (longer if about["steps"] else 1.0)
    return {"fitting": fitting, "judging": about["judging"] * sessions * config.evaluation.replicates / few}


def _short(trial: Trial) -> Trial:
    """A trial that takes some seconds."""
    config = trial.config
    small = {
        "train.steps": min(config.train.steps, 8192),
        "train.evaluations": 1,
        "train.validation": 16,
        "evaluation.users": min(config.evaluation.users or 1000, 64),
        "evaluation.replicates": 1,
        "planner.sessions": min(config.planner.sessions, 60),
    }
    short = overlay(config, small)
    return dataclasses.replace(
        trial, config=short, fitted=short, teacher=_short(trial.teacher) if trial.teacher else None
    )
