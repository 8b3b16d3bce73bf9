"""Search for settings: each trial fits one agent and is scored on training users; evaluation users are never used.

The search is an Optuna study in a journal file, on which any number of processes work; it continues where it was
stopped, even after a kill.
"""

import dataclasses
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from lerl.config.errors import SettingsError, brief
from lerl.config.keys import known_keys
from lerl.config.parse import dump, load, overlay
from lerl.config.schema import Config
from lerl.envs.files import write_whole
from lerl.experiment.search import AGAIN
from lerl.experiment.search.journal import EARLIER, JOURNAL, Claim, Journal
from lerl.experiment.search.plan import GRID, Board, Plan
from lerl.experiment.search.prune import Watch, check_prunable
from lerl.experiment.search.scoring import (
    PLAYED,
    Scored,
    by_user,
    check_metric,
    columns,
    differing,
    score,
    trial_folder,
)
from lerl.experiment.search.space import search_space
from lerl.files import read_table
from lerl.report.intervals import estimate_text, interval_note, mean_interval
from lerl.report.tables import explained
from lerl.run.artifacts import policy_name
from lerl.run.checks import check_agents
from lerl.run.context import Report
from lerl.run.executors import size, work_with
from lerl.run.folder import holds_other
from lerl.run.locks import locked
from lerl.run.progress import Progress
from lerl.run.specs import parse_agent, parse_agents
from lerl.run.task import Task
from lerl.run.work import Work

Floats = NDArray[np.float64]

SEARCH = "search.yaml"
NO_EFFECT = "No gain: all trials score the same for every user, so none of these settings had an effect on the agent."
SHOWN = 10  # trials in the table
LOOK = 0.5  # seconds between two looks at what other processes do


@dataclass(frozen=True)
class SearchTrial:
    """A trial that was brought to its end.

    Attributes:
        number: from 0, in the order of the search. values: what was tried, by dotted key.
        scores: (U,) mean metric of each user, the same users in every trial; empty when it could not be fitted, or was
            ended early.
        refused: why it could not be fitted, otherwise empty.
        own: whether these are the recipe's own settings.
        pruned: why it was ended early, otherwise empty. steps: after how many user-steps that was.
    """

    number: int
    values: dict[str, Any]
    scores: Floats
    refused: str
    own: bool
    pruned: str = ""
    steps: int = 0

    @property
    def mean(self) -> float:
        """What the search makes as large as possible."""
        return float(self.scores.mean()) if len(self.scores) else float("-inf")


def tune(config: Config, out: Path, executor: Executor | None = None) -> list[SearchTrial]:
    """Search the space of `config.tune`, or go on with the search that is in the folder.

    Several processes may do so at once, on one machine or on several that share the disk: they share the trials, and
    each ends when all of them are done. What is found does not depend on how many they are.

    Args:
        config: the recipe with its search space; where that holds fewer settings than trials, each is tried once.
        out: the folder: search.yaml (the configuration), study.journal (Optuna), trials/NUMBER/ with what each trial
            fitted and sessions.parquet, running/ with a sign of life of each process, and at the end best.yaml, a
            recipe with the best settings.
        executor: does the trials, such as `lerl.run.executors.executor`; this process where None. Each of its workers
            does one trial at a time: learners draw from random numbers that a process has once. The caller closes it.

    Returns:
        All trials, best first.

    Raises:
        SettingsError: the space cannot be searched, or the folder holds another search.
        RunError: a file of the search is missing or damaged.
        ValueError: the configuration cannot be fitted, or none of the trials could.
    """
    spec = parse_agent(config.tune.agent, config.planner.name)
    search_space(config, spec)
    check_metric(config)
    check_prunable(config, spec)
    check_agents(Task.load(config), [spec])  # what does not fit is refused before anything is written
    _check_folder(config, out)
    out.mkdir(parents=True, exist_ok=True)
    with locked(out, wait=True):  # for as long as it takes to begin
        _check_folder(config, out)  # another search may have begun there since
        write_whole(out / SEARCH, dump(config))
        search = _Search(config, out)
        search.journal.copy_earlier(out / EARLIER)
    if executor is None:
        with Progress() as progress:
            search.do(progress.report)
    else:
        search.hand_out(executor)
    trials = _trials(search.journal.board(), config, out)
    if not len(trials[0].scores):
        raise ValueError(f"none of the {len(trials)} trials could be fitted; the first says: {trials[0].refused}")
    with locked(out, wait=True):
        _write_best(trials, config, out)
    return trials


# the work


class _Search:
    """A search at which this process is at work, perhaps as one of many."""

    def __init__(self, config: Config, out: Path) -> None:
        self.config, self.out = config, out
        self.spec = parse_agent(config.tune.agent, config.planner.name)
        space = search_space(config, self.spec)
        self.plan, self.journal = Plan(config, space), Journal(out, space)

    def do(self, report: Report) -> None:
        """Do trials until all are done, by this process or by others."""
        while not self._all_done(board := self._board()):
            if not self.do_one(report):
                report("wait for other processes", len(board.done), len(self.plan.numbers(board)), None)
                time.sleep(LOOK)

    def hand_out(self, executor: Executor) -> None:
        """Have trials done by an executor, until all are done, by it or by other commands."""
        waiting: dict[Future[Scored], Claim] = {}
        try:
            while not self._all_done(self._board()):
                while len(waiting) < size(executor) and (claim := self._claim()):
                    waiting[executor.submit(self._work(claim))] = claim
                if not waiting:
                    time.sleep(LOOK)
                for future in wait(waiting, LOOK, FIRST_COMPLETED).done:
                    found = future.result()
                    self._finish(claim := waiting.pop(future), found)
                    self._say(claim, found)
        finally:
            for future, claim in waiting.items():
                future.cancel()
                self.journal.give_up(claim)

    def _say(self, claim: Claim, found: Scored) -> None:
        board, metric = self.journal.board(), self.config.tune.metric
        said = f"{metric} {found.scores.mean():.3f}" if len(found.scores) else found.refused or found.pruned
        of = f"[{len(board.done)}/{len(self.plan.numbers(board))}]"
        print(f"{of} trial {claim.number}: {said}", file=sys.stderr, flush=True)

    def _work(self, claim: Claim) -> Work:
        """A trial, for a worker."""
        folder, rival = trial_folder(self.out, claim.number), self._rival(claim) if self.config.tune.prune else None
        given, reads = (self.config, claim.values, folder, rival), (rival[1],) if rival else ()
        return work_with(self.config, f"trial {claim.number}", scored, given, folder, reads=reads)

    def do_one(self, report: Report) -> bool:
        """Take up a trial that can be begun now and do it; False where there is none."""
        claim = self._claim()
        if claim is None:
            return False
        try:
            self._finish(claim, self._score(claim, report))
        except _Taken:
            self.journal.give_up(claim)
        except BaseException:
            self.journal.give_up(claim)
            raise
        return True

    def _finish(self, claim: Claim, scored: Scored) -> None:
        value = float(scored.scores.mean()) if len(scored.scores) else None
        self.journal.finish(claim, value, scored.points, {"refused": scored.refused, "pruned": scored.pruned})

    def _board(self) -> Board:
        self.journal.free_the_dead()
        return self.journal.board()

    def _all_done(self, board: Board) -> bool:
        return all(number in board.done for number in self.plan.numbers(board))

    def _claim(self) -> Claim | None:
        board = self.journal.board()
        while free := self.plan.free(board):
            values = self.plan.values(free[0], board)
            own = free[0] == 0 and values == self.plan.own
            if claim := self.journal.claim(free[0], values, {"own": own, GRID: bool(self.plan.grid)}):
                return claim
            board = self.journal.board()
        return None

    def _score(self, claim: Claim, report: Report) -> Scored:
        most = len(self.plan.numbers(self.journal.board()))
        folder = trial_folder(self.out, claim.number)

        def checked(phase: str, done: int, total: int, point: dict[str, Any] | str | None) -> None:
            if claim.sign.lost:
                raise _Taken
            report(f"trial {claim.number + 1}/{most} {phase}", done, total, point)

        watch = _watch(self.config, claim.values, folder, self._rival(claim)) if self.config.tune.prune else None
        return score(self.config, claim.values, folder, checked, watch)

    def _rival(self, claim: Claim) -> tuple[int, Path] | None:
        """The best of the trials before a trial's batch, and its folder."""
        done, before = self.journal.board().done, range(self.plan.before(claim.number))
        best = max((n for n in before if done[n].value is not None), key=lambda n: (done[n].value, -n), default=None)
        return None if best is None else (best, trial_folder(self.out, best))


def _watch(config: Config, values: Mapping[str, Any], folder: Path, rival: tuple[int, Path] | None) -> Watch:
    tried = overlay(config, values)
    spec = parse_agent(tried.tune.agent, tried.planner.name)
    return Watch(folder, policy_name(spec), config.tune.metric, tried.train.steps, rival)


def scored(config: Config, values: dict[str, Any], folder: Path, rival: tuple[int, Path] | None) -> Scored:
    """Do a trial in a worker, which says on standard error how far it is.

    Args:
        config: the recipe. values: what the trial tries. folder: its own. rival: see `Watch`.
    """
    watch = _watch(config, values, folder, rival) if config.tune.prune else None
    return score(config, values, folder, Progress().report, watch)


class _Taken(Exception):
    """Another process took this one for dead, since it was suspended, and has taken over its trial."""


# the folder


def _check_folder(config: Config, out: Path) -> None:
    """Refuse a folder that holds something else than this search; how many trials may have changed."""
    other = holds_other(out)  # looked at first: a search that another process begins now writes search.yaml first
    if (out / SEARCH).is_file():
        _refuse_other(config, load(out / SEARCH), out)
        return
    if other:
        raise FileExistsError(f"{out} holds something other than a search; give another folder with --out")


def _refuse_other(mine: Config, theirs: Config, out: Path) -> None:
    if name := differing(mine, theirs):
        now, before = (known_keys(one)[name].default for one in (mine, theirs))
        raise SettingsError(
            f"{out} holds a search with other settings: {name} was {brief(str(before))} and is now "
            f"{brief(str(now))}; go on with the same, or give another folder with --out"
        )


# the end


def _trials(board: Board, config: Config, out: Path) -> list[SearchTrial]:
    """All trials, best first, of equals the earlier."""
    trials = []
    for number, kept in sorted(board.done.items()):
        refused, pruned = (str(kept.user_attrs.get(name, "")) for name in ("refused", "pruned"))
        scores = np.zeros(0)
        if kept.value is not None:
            path = trial_folder(out, number) / PLAYED
            metric = config.tune.metric
            scores = by_user(read_table(path, f"remove {out / JOURNAL} and {AGAIN}", columns(metric)), metric)
        own = bool(kept.user_attrs.get("own"))
        steps = max(kept.intermediate_values, default=0)
        trials.append(SearchTrial(number, dict(kept.params), scores, refused, own, pruned, steps))
    return sorted(trials, key=lambda trial: -trial.mean)


def _write_best(trials: list[SearchTrial], config: Config, out: Path) -> None:
    """The recipe with the best settings; the tuned agent is among its agents."""
    best = trials[0]
    found = overlay(config, best.values)
    spec = parse_agent(found.tune.agent, found.planner.name)
    if spec.label not in [other.label for other in parse_agents(found)]:
        found = dataclasses.replace(found, agents=[found.tune.agent, *found.agents])
    tried = ", ".join(f"{name} {value}" for name, value in best.values.items())
    head = f"# The best of {len(trials)} trials by {config.tune.metric} of {spec.label} on training users: {tried}\n"
    head = f"# {NO_EFFECT}\n{head}" if without_effect(trials) else head
    write_whole(out / "best.yaml", head + dump(found))


def without_effect(trials: Sequence[SearchTrial]) -> bool:
    """Whether several trials were scored, and every user had the same sessions in each."""
    scored = [trial.scores for trial in trials if len(trial.scores)]
    return len(scored) > 1 and all(np.array_equal(scores, scored[0]) for scores in scored)


def note_on_workers(config: Config, workers: int) -> str:
    """A line that says how many trials can be done at once where more workers were asked for; empty otherwise."""
    space = search_space(config, parse_agent(config.tune.agent, config.planner.name))
    (first, later), most = Plan(config, space).side_by_side(), config.tune.trials
    if workers <= later or first == most:
        return ""
    at_once = f"at most {later} of {workers} workers can work at a time"
    if first > later:
        at_once = f"from trial {first} on {at_once}"
    return (
        f"{at_once}, since a trial waits for all trials before its batch; --tune.batch {min(workers, most)} lets all "
        "of them work, and is a search of its own"
    )


def table(trials: list[SearchTrial], config: Config) -> Table:
    """The best trials for a terminal, with 95 % intervals over users, paired where they are of a difference."""
    own = next((trial for trial in trials if trial.own and len(trial.scores)), None)
    names = list(config.tune.space)
    metric, draws = config.tune.metric, config.evaluation.bootstrap
    columns = ["trial", metric, *([f"{metric} - recipe's own"] if own else []), *names]
    whole = len(trials) < config.tune.trials
    made = Table(*columns, title=f"{config.tune.agent} on training users", caption=_caption(trials, metric, whole))
    for trial in [trial for trial in trials if len(trial.scores)][:SHOWN]:
        cells = [
            str(trial.number) + (" (own)" if trial.own else ""),
            estimate_text(mean_interval(trial.scores, draws), 2),
        ]
        if own is not None:
            cells.append("" if trial is own else estimate_text(mean_interval(trial.scores - own.scores, draws), 2, "+"))
        made.add_row(*cells, *(_shown(trial.values[str(name)]) for name in names))
    for trial in [trial for trial in trials if trial.pruned][:SHOWN]:
        cells = [f"{trial.number} (ended early)", f"ended after {trial.steps:,} steps", *([""] if own else [])]
        made.add_row(*cells, *(_shown(trial.values[str(name)]) for name in names))
    return made


def _caption(trials: list[SearchTrial], metric: str, whole: bool) -> str:
    refused = [trial for trial in trials if trial.refused]
    lines = [
        f"{explained([metric])}. {interval_note(1)}",
        "The best of many trials looks better than it is: evaluate it with lerl train.",
    ]
    if without_effect(trials):
        lines = [NO_EFFECT]
    if whole:
        lines.append(f"These {len(trials)} are all settings of the space.")
    lines += [f"Trial {trial.number} ended early: {trial.pruned}" for trial in trials if trial.pruned][:SHOWN]
    if refused:
        lines.append(f"{len(refused)} trials could not be fitted; trial {refused[0].number}: {refused[0].refused}")
    return "\n".join(lines)


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
