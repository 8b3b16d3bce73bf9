"""The journal of a search: an Optuna study in a file to which many processes append, also on a shared disk.

A process takes up a trial by appending a claim with its number. All processes see the records in the same order, so
that of several claims of a number the first one counts; the others are given up at once. A claim whose process is gone
has failed, and its number is free again. Optuna's own numbers count claims, so a trial's number is a note of the claim.
"""

import os
import sqlite3
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, TrialState, create_trial

from lerl.experiment.search import AGAIN
from lerl.experiment.search.plan import Board
from lerl.experiment.search.signs import Sign, gone, this_machine
from lerl.experiment.search.space import Space, check_found
from lerl.files import reading

JOURNAL, EARLIER = "study.journal", "study.db"
SIGNS = "running"
NAME = "lerl"
ENDED = (TrialState.COMPLETE, TrialState.PRUNED)


@dataclass(frozen=True)
class Claim:
    """A trial that this process is at work on.

    Attributes:
        number: of the trial. values: what it tries. record: its number in the journal. sign: of life, of the process.
    """

    number: int
    values: dict[str, Any]
    record: int
    sign: Sign


class Journal:
    """The journal in a search's folder, made where it is not there.

    Args:
        out: the folder. space: what is searched.

    Raises:
        RunError: the journal, or the database that lerl kept before it had one, is damaged.
    """

    def __init__(self, out: Path, space: Space) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.path, self.signs, self.space = out / JOURNAL, out / SIGNS, space
        lock = JournalFileOpenLock(str(self.path))  # not the one of symbolic links, which lerl refuses in its folders
        with reading(self.path, AGAIN):
            _cut_half_record(self.path, lock)
            self.storage = optuna.storages.JournalStorage(_Backend(str(self.path), lock))
            self.study = _study(self.storage)

    def board(self) -> Board:
        """How far the search is.

        Raises:
            RunError: the journal is damaged, or somebody else's.
        """
        done, running = dict[int, FrozenTrial](), dict[int, FrozenTrial]()
        with reading(self.path, AGAIN):
            for trial in self.storage.get_all_trials(self.study, deepcopy=False):
                if trial.state in ENDED or trial.state == TrialState.RUNNING:
                    check_found(trial.params, self.space, self.path)
                    _ = [trial.params[name] for name in self.space]
                    found = running if trial.state == TrialState.RUNNING else done
                    found.setdefault(int(trial.user_attrs["number"]), trial)
        return Board(done, {number: trial for number, trial in running.items() if number not in done})

    def claim(self, number: int, values: dict[str, Any], notes: Mapping[str, Any]) -> Claim | None:
        """Take up a trial; None where another process was first."""
        sign = Sign(self.signs)
        try:
            about = {"number": number, "sign": sign.name, "machine": this_machine(), **notes}
            record = self._add(TrialState.RUNNING, values, about)
            if _mine(record, number, self.board()):
                return Claim(number, values, record, sign)
            self._fail(record)
        except BaseException:
            sign.end()
            raise
        sign.end()
        return None

    def finish(self, claim: Claim, value: float | None, points: Mapping[int, float], notes: Mapping[str, Any]) -> None:
        """Write down how a trial ended.

        Args:
            claim: of the trial. value: what was maximized, None where it could not be scored. points: what is known of
                one that ended early, by step. notes: what else is known.
        """
        with suppress(UpdateFinishedTrialError):  # taken for dead meanwhile: whoever tries it again finds the same
            for step, point in points.items():
                self.storage.set_trial_intermediate_value(claim.record, step, point)
            for name, note in notes.items():
                self.storage.set_trial_user_attr(claim.record, name, note)
            state = TrialState.PRUNED if value is None else TrialState.COMPLETE
            self.storage.set_trial_state_values(claim.record, state, None if value is None else [value])
        claim.sign.end()

    def give_up(self, claim: Claim) -> None:
        """Free a trial for others."""
        self._fail(claim.record)
        claim.sign.end()

    def free_the_dead(self) -> None:
        """Free the trials of processes that are gone."""
        for trial in self.board().running.values():
            about = trial.user_attrs
            if gone(self.signs, str(about.get("sign")), str(about.get("machine"))):
                self._fail(trial._trial_id)

    def copy_earlier(self, path: Path) -> None:
        """Take over the finished trials of a search that lerl kept in an SQLite database, once."""
        if not path.is_file() or self.storage.get_study_user_attrs(self.study).get("earlier"):
            return
        known = self.board().done
        for number, trial in enumerate(_read_earlier(path)):
            check_found(trial.params, self.space, path)
            if number not in known:
                self._add(trial.state, trial.params, {**trial.user_attrs, "number": number}, trial.value)
        self.storage.set_study_user_attr(self.study, "earlier", path.name)

    def _add(
        self, state: TrialState, values: Mapping[str, Any], about: Mapping[str, Any], value: float | None = None
    ) -> int:
        trial = create_trial(
            state=state, value=value, params=dict(values), distributions=self.space, user_attrs=dict(about)
        )
        return self.storage.create_new_trial(self.study, trial)

    def _fail(self, record: int) -> None:
        with suppress(UpdateFinishedTrialError):
            self.storage.set_trial_state_values(record, TrialState.FAIL)


def _study(storage: optuna.storages.BaseStorage) -> int:
    """The number of the search's study in the journal, made where it is not there."""
    try:
        return storage.get_study_id_from_name(NAME)
    except KeyError:
        study = optuna.create_study(storage=storage, study_name=NAME, direction="maximize", load_if_exists=True)
        return study._study_id


def _mine(record: int, number: int, board: Board) -> bool:
    """Whether a claim is the first of its number that has not failed."""
    first = board.running.get(number)
    return number not in board.done and first is not None and first._trial_id == record


class _Backend(JournalFileBackend):
    """Optuna's, which cuts off what another process left of its last record before it appends its own."""

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        _cut_half_record(Path(self._file_path), self._lock)
        super().append_logs(logs)


def _cut_half_record(path: Path, lock: Any) -> None:
    """Cut off what a process that was killed, or a full disk, left of its last record: nobody has acted on it."""
    if not path.is_file():
        return
    lock.acquire()
    try:
        with path.open("rb+") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 1))
            if size and file.read(1) != b"\n":
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)
    finally:
        lock.release()


def _read_earlier(path: Path) -> list[FrozenTrial]:
    """The trials in an SQLite database that were brought to their end, in order."""
    whole = path.resolve()  # opened as a path, since in a URL some of its letters would mean something
    with reading(path, AGAIN):
        with closing(sqlite3.connect(whole)) as kept:
            (said,) = kept.execute("PRAGMA quick_check").fetchone()
            if said != "ok":
                raise sqlite3.DatabaseError(said)
        storage = optuna.storages.RDBStorage("sqlite:///study.db", {"creator": lambda: sqlite3.connect(whole)})
        try:
            return optuna.load_study(study_name=NAME, storage=storage).get_trials(states=ENDED)
        finally:
            storage.remove_session()
            storage.engine.dispose()
