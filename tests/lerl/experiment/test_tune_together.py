"""Many processes on one search: each trial is done once, the dead are replaced, what is found is always the same."""

import dataclasses
import os
import pickle
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import polars as pl
import pytest
from optuna.trial import TrialState, create_trial

from lerl.cli.main import main
from lerl.config.errors import SettingsError
from lerl.config.parse import dump
from lerl.config.schema import Config
from lerl.envs.files import write_whole
from lerl.experiment import tune as tuning
from lerl.experiment.search import journal, prune, signs
from lerl.experiment.search.journal import Journal
from lerl.experiment.search.plan import STARTUP, Plan
from lerl.experiment.search.scoring import SESSIONS, Scored, by_user
from lerl.experiment.search.space import search_space
from lerl.experiment.tune import note_on_workers, table, tune
from lerl.files import RunError
from lerl.run.evaluate import write_table
from lerl.run.fitter import Fitter
from lerl.run.specs import parse_agent
from lerl.run.workers import workers

from .test_tune import QUICK, SMALL, changed, results

ROOT = Path(__file__).parents[3]
CHOICES = {"agent": "boredom+greedy", "space": {"planner.size": {"low": 1, "high": 900}}}
"""A search that no grid covers, without training."""


def space_of(config: Config) -> Any:
    return search_space(config, parse_agent(config.tune.agent, config.planner.name))


def pretended(config: Config, values: dict[str, Any], folder: Path, report: Any, watch: Any = None) -> Scored:
    """A trial that takes a moment, is noted in a file beside the search's, and whose score depends on its settings."""
    with (folder.parents[1].with_suffix(".done")).open("a") as notes:
        notes.write(f"{folder.name}\n")
    time.sleep(0.02)
    scores = np.cos(float(values["planner.size"])) + np.arange(3.0)
    folder.mkdir(parents=True, exist_ok=True)
    columns = {"user": [0, 1, 2], "replicate": [0, 0, 0], **dict.fromkeys(("T_int", "R_cum", "R_sin"), scores)}
    write_table(pl.DataFrame(columns, schema=SESSIONS), folder / "sessions.parquet")
    return Scored(scores)


def numbers_done(out: Path) -> list[str]:
    return sorted(out.with_suffix(".done").read_text().split())


# sharing


def test_eight_at_once_do_each_trial_once_and_find_what_one_finds(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tuning, "score", pretended)
    config = changed(trials=30, batch=4, **CHOICES)
    alone = results(tune(config, tmp_path / "alone"))
    with ThreadPoolExecutor(8) as pool:
        found = [future.result() for future in [pool.submit(tune, config, tmp_path / "together") for _ in range(8)]]
    assert numbers_done(tmp_path / "together") == [f"{number:03d}" for number in range(30)]
    assert all(results(one) == alone for one in found)
    best = [(tmp_path / name / "best.yaml").read_text() for name in ("alone", "together")]
    assert best[0] == best[1]
    assert not list((tmp_path / "together" / journal.SIGNS).glob("?" * 32))


@pytest.mark.parametrize("how", [{"batch": 3, **CHOICES}, QUICK, {"batch": 3, **QUICK, "trials": 40}])
def test_an_executor_finds_what_this_process_finds(
    how: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tuning, "score", pretended)
    config = changed(**{"trials": 14, **how})
    alone = results(tune(config, tmp_path / "alone"))
    for width in (1, 4):
        with ThreadPoolExecutor(width) as pool:
            assert results(tune(config, tmp_path / str(width), pool)) == alone
        assert numbers_done(tmp_path / str(width)) == [f"{entry[0]:03d}" for entry in alone]


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 4])
def test_worker_processes_find_what_this_process_finds(count: int, tmp_path: Path) -> None:
    config = changed(trials=4, batch=2)
    alone = tune(config, tmp_path / "alone")
    with workers(count, "again") as pool:
        assert results(tune(config, tmp_path / "many", pool)) == results(alone)
    best = [(tmp_path / name / "best.yaml").read_text() for name in ("alone", "many")]
    assert best[0] == best[1]
    assert str(table(alone, config).caption) == str(table(tune(config, tmp_path / "many"), config).caption)
    log = (tmp_path / "many" / "trials" / "000" / "log.txt").read_text()
    assert "boredom+ppo" in log
    assert "score" in log


COMMAND = """
import pickle, sys
from pathlib import Path
from lerl.experiment import tune
if sys.argv[2] == "pretended":
    sys.path.insert(0, "tests/lerl/experiment"); sys.path.insert(0, "tests")
    from tests.lerl.experiment.test_tune_together import pretended
    tune.score = pretended
tune.tune(pickle.loads(sys.stdin.buffer.read()), Path(sys.argv[1]))
"""


def begun(config: Config, out: Path, how: str, code: str = COMMAND) -> subprocess.Popen[bytes]:
    """A command of its own at a search."""
    command = [sys.executable, "-c", code, str(out), how]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(pickle.dumps(config))
    process.stdin.close()
    return process


def ended(processes: list[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        with process:
            assert process.stderr is not None
            said = process.stderr.read().decode()
        assert process.returncode == 0, said


@pytest.mark.slow
@pytest.mark.parametrize(("how", "count", "trials"), [("real", 3, 4), ("pretended", 8, 40)])
def test_commands_at_once_on_one_folder_keep_the_budget(how: str, count: int, trials: int, tmp_path: Path) -> None:
    config = changed(trials=trials, batch=3) if how == "real" else changed(trials=trials, batch=8, **CHOICES)
    out = tmp_path / "together"
    ended([begun(config, out, how) for _ in range(count)])
    storage = Journal(out, space_of(config)).storage
    states = [trial.state for trial in storage.get_all_trials(0)]
    assert states.count(TrialState.COMPLETE) == trials
    if how == "pretended":
        assert numbers_done(out) == [f"{number:03d}" for number in range(trials)]
        return
    assert results(tune(config, out)) == results(tune(config, tmp_path / "alone"))
    assert (out / "best.yaml").read_text() == (tmp_path / "alone" / "best.yaml").read_text()


# what a trial waits for


def test_random_trials_and_those_of_a_grid_wait_for_none_and_others_for_those_before_their_batch() -> None:
    for batch, waits in ((1, {9: 0, 10: 10, 11: 11}), (4, {11: 0, 12: 12, 15: 12, 16: 16}), (20, {19: 0, 20: 20})):
        config = changed(trials=60, batch=batch, **CHOICES)
        plan = Plan(config, space_of(config))
        assert {number: plan.waits_for(number) for number in waits} == waits
    grid = changed(trials=40, **QUICK)
    assert Plan(grid, space_of(grid)).waits_for(30) == 0
    pruned = changed(trials=40, batch=4, prune=True)
    assert Plan(pruned, space_of(pruned)).waits_for(7) == 4


def test_a_batch_is_proposed_from_the_trials_before_it_in_whatever_order_they_ended(tmp_path: Path) -> None:
    config = changed(trials=30, batch=5, **CHOICES)
    kept, found = space_of(config), []
    for name, order in (("a", range(10)), ("b", reversed(range(10)))):
        study = Journal(tmp_path, kept) if name == "c" else Journal(made(tmp_path / name), kept)
        plan = Plan(config, kept)
        for number in order:
            claim = study.claim(number, plan.values(number, study.board()), {"own": False, "grid": False})
            assert claim is not None
            study.finish(claim, float(np.sin(number)), {}, {"refused": "", "pruned": ""})
        assert plan.free(study.board()) == [10, 11, 12, 13, 14]
        first = [plan.values(number, study.board()) for number in range(10, 15)]
        claim = study.claim(12, first[2], {"own": False, "grid": False})
        assert claim is not None
        study.finish(claim, 99.0, {}, {"refused": "", "pruned": ""})
        assert plan.values(14, study.board()) == first[4]
        assert plan.free(study.board()) == [10, 11, 13, 14]
        found.append(first)
    assert found[0] == found[1]
    assert STARTUP == 10


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder


@pytest.mark.parametrize(
    ("how", "count", "said"),
    [
        ({"trials": 30}, 1, ""),
        ({"trials": 30}, 4, "from trial 10 on at most 1 of 4 workers can work at a time"),
        ({"trials": 30, "batch": 3}, 4, "from trial 12 on at most 3 of 4 workers"),
        ({"trials": 30, "batch": 4}, 4, ""),
        ({"trials": 10}, 4, ""),
        ({"trials": 30, "prune": True, **{"agent": "boredom+ppo"}}, 4, "at most 1 of 4 workers can work at a time"),
    ],
)
def test_workers_that_cannot_work_are_named(how: dict[str, Any], count: int, said: str) -> None:
    found = note_on_workers(changed(**{**CHOICES, **how}), count)
    assert found.startswith(said)
    assert ("--tune.batch 4 lets all of them work" in found) == bool(said)


# the dead


@contextmanager
def claimed(out: Path, config: Config, number: int) -> Iterator[Callable[[], None]]:
    """A trial that another process is at work on, and what kills it."""
    study = Journal(made(out), space_of(config))
    write_whole(out / "search.yaml", dump(config))
    claim = study.claim(number, Plan(config, space_of(config)).values(number, study.board()), {"grid": False})
    assert claim is not None

    def kill() -> None:
        claim.sign._ended.set()
        claim.sign._lock.release()

    yield kill
    kill()


def test_the_trial_of_a_process_that_dies_is_taken_up_while_another_works(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tuning, "score", pretended)
    config, out = changed(trials=4, **CHOICES), tmp_path / "search"
    with claimed(out, config, 2) as kill:
        other = threading.Thread(target=tune, args=(config, out))
        other.start()
        while not out.with_suffix(".done").is_file() or len(numbers_done(out)) < 3:
            time.sleep(0.05)
        other.join(1.5)
        assert other.is_alive()
        assert numbers_done(out) == ["000", "001", "003"]
        kill()
        other.join(20)
        assert not other.is_alive()
    assert numbers_done(out) == ["000", "001", "002", "003"]
    assert results(tune(config, out)) == results(tune(config, tmp_path / "alone"))


def test_a_process_of_another_machine_is_gone_once_it_gives_no_sign_for_long(tmp_path: Path) -> None:
    sign = signs.Sign(tmp_path)
    old = time.time() - signs.DEAD - 1
    os.utime(tmp_path / sign.name, (old, old))
    assert not signs.gone(tmp_path, sign.name, signs.this_machine())  # suspended, but it holds its lock
    assert not sign.lost
    assert signs.gone(tmp_path, sign.name, "other")
    assert sign.lost
    sign.end()
    fresh = signs.Sign(tmp_path)
    assert not signs.gone(tmp_path, fresh.name, "other")
    fresh.end()
    assert signs.gone(tmp_path, fresh.name, "other")
    (tmp_path / "letter").write_text("dear")
    assert signs.gone(tmp_path / "inner", "../letter", "other")
    assert (tmp_path / "letter").is_file()


def test_a_sign_is_touched_every_few_seconds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(signs, "BEAT", 0.05)
    sign = signs.Sign(tmp_path)
    os.utime(tmp_path / sign.name, (1.0, 1.0))
    time.sleep(0.5)
    assert (tmp_path / sign.name).stat().st_mtime > 1.0
    sign.end()


def test_one_that_was_taken_for_dead_leaves_its_trial_to_the_other(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Suspended for long on another machine; its report is the first that it notices by."""
    config, lost = changed(trials=2, **QUICK), []
    play = tuning.score

    def suspended(config: Config, values: Any, folder: Path, report: Any, watch: Any) -> Scored:
        if folder.name == "001" and not lost:
            lost.extend((folder.parents[1] / journal.SIGNS).glob("?" * 32))
            lost[0].unlink()
        return play(config, values, folder, report, watch)

    monkeypatch.setattr(tuning, "score", suspended)
    found = results(tune(config, tmp_path / "search"))
    assert lost
    monkeypatch.undo()
    assert found == results(tune(config, tmp_path / "alone"))


@pytest.mark.slow
def test_a_command_that_is_killed_is_replaced_by_one_that_runs(tmp_path: Path) -> None:
    killing = "import os, signal\ntune.score = lambda *given: os.kill(os.getpid(), signal.SIGKILL)\n"
    code = COMMAND.replace("tune.tune(", f"{killing}tune.tune(")
    config, out = changed(trials=5, **QUICK), tmp_path / "search"
    with begun(config, out, "real", code) as process:
        assert process.wait() == -signal.SIGKILL
    assert len(list((out / journal.SIGNS).glob("?" * 32))) == 1
    assert results(tune(config, out)) == results(tune(config, tmp_path / "alone"))
    states = [trial.state.name for trial in Journal(out, space_of(config)).storage.get_all_trials(0)]
    assert states == ["FAIL", *["COMPLETE"] * 5]


# what is there already


def test_a_search_with_a_database_of_earlier_versions_is_gone_on_with(tmp_path: Path) -> None:
    config = changed(trials=13, **QUICK)
    whole = tune(config, tmp_path / "whole")
    earlier(tmp_path / "old", changed(trials=12, **QUICK), tmp_path / "whole", 12)
    fitted = list((tmp_path / "old" / "trials").iterdir())
    assert results(tune(config, tmp_path / "old")) == results(whole)
    assert len(list((tmp_path / "old" / "trials").iterdir())) == len(fitted) + 1
    (tmp_path / "old" / "study.db").write_bytes(b"")
    assert results(tune(config, tmp_path / "old")) == results(whole)  # copied once


def earlier(out: Path, config: Config, done: Path, trials: int) -> None:
    """A folder as a search left it that kept its study in SQLite: some failed trials, and those of a search done."""
    write_whole(out / "search.yaml", dump(config))
    storage = optuna.storages.RDBStorage(f"sqlite:///{out / 'study.db'}")
    study = optuna.create_study(storage=storage, study_name="lerl", direction="maximize")
    for number, trial in sorted(Journal(done, space_of(config)).board().done.items()):
        if number >= trials:
            continue
        study.ask()
        notes = {"refused": "", "own": number == 0}
        study.add_trial(
            create_trial(value=trial.value, params=trial.params, distributions=trial.distributions, user_attrs=notes)
        )
        sessions = done / "trials" / f"{number:03d}" / "sessions.parquet"
        write_whole(out / "trials" / sessions.parent.name / sessions.name, sessions.read_bytes())
    storage.remove_session()
    storage.engine.dispose()


def test_a_damaged_database_of_earlier_versions_is_named(tmp_path: Path) -> None:
    config = changed(trials=1, **QUICK)
    write_whole(tmp_path / "search.yaml", dump(config))
    for content in (b"no database" * 99, b""):
        (tmp_path / "study.db").write_bytes(content)
        with pytest.raises(RunError, match=r"study\.db is damaged \(\w+\); remove it, then give the same command"):
            tune(config, tmp_path)
    sqlite3.connect(tmp_path / "study.db").close()


def test_trials_that_are_done_are_taken_where_the_journal_is_gone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = changed(trials=3, **QUICK)
    before = results(tune(config, tmp_path))
    (tmp_path / "trials" / "001" / "sessions.parquet").write_bytes(b"PAR1")
    (tmp_path / "study.journal").unlink()
    fitted: list[str] = []
    fit = Fitter.fit

    def counted(self: Fitter, spec: Any) -> None:
        fitted.append(self.context.store.folder.name)
        fit(self, spec)

    monkeypatch.setattr(Fitter, "fit", counted)
    longer = dataclasses.replace(config, tune=dataclasses.replace(config.tune, trials=4))
    assert results(tune(longer, tmp_path))[:3] == before
    assert fitted == ["001", "003"]


def test_half_a_record_is_cut_off_and_a_damaged_journal_is_named(tmp_path: Path) -> None:
    config = changed(trials=2, **QUICK)
    before, path = results(tune(config, tmp_path)), tmp_path / "study.journal"
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"op_code": 4, "worker')
    assert results(tune(config, tmp_path)) == before
    assert path.read_bytes() == whole
    for damaged in (b'{"op_code"\n' + whole, whole.replace(b'"number"', b'"numbre"')):
        path.write_bytes(damaged)
        with pytest.raises(RunError, match=r"study\.journal is damaged \(\w+\); remove it, then give the same command"):
            tune(config, tmp_path)


def test_settings_of_another_search_in_the_journal_are_refused(tmp_path: Path) -> None:
    config = changed(trials=2, **QUICK)
    tune(config, tmp_path)
    path = tmp_path / "study.journal"
    path.write_bytes(path.read_bytes().replace(b"planner.size", b"planner.mode"))
    with pytest.raises(RunError, match=r"journal says that planner\.mode was found to be .* not in tune\.space"):
        tune(config, tmp_path)


# ending early


CURVES = dataclasses.replace(SMALL.train, steps=640, evaluations=5, validation=30)


def pruning(**changes: Any) -> Config:
    config = changed(trials=6, agent="boredom+ppo", prune=True, **changes)
    return dataclasses.replace(config, train=CURVES)


def test_a_hopeless_trial_ends_early_and_never_wins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """All but the first are taken for hopeless here, whatever they find."""
    monkeypatch.setattr(prune, "worse", lambda difference: len(difference) > 1)
    config = pruning(batch=2)
    trials = sorted(tune(config, tmp_path / "search"), key=lambda trial: trial.number)
    assert [bool(trial.pruned) for trial in trials] == [False, False, True, True, True, True]
    best = max(trials[:2], key=lambda trial: trial.mean)
    for trial in trials[2:]:
        assert not len(trial.scores)
        assert not (tmp_path / "search" / "trials" / f"{trial.number:03d}" / "sessions.parquet").exists()
        assert 320 <= trial.steps < 640
        assert f"after {trial.steps} of 640 steps R_cum " in trial.pruned
        assert f"compared with trial {best.number}" in trial.pruned
    shown = table(trials, config)
    assert "2 (ended early)" in list(shown.columns[0].cells)
    assert f"ended after {trials[2].steps} steps" in list(shown.columns[1].cells)
    assert f"Trial 2 ended early: {trials[2].pruned}" in str(shown.caption)
    with ThreadPoolExecutor(1) as pool:
        assert results(tune(config, tmp_path / "many", pool)) == results(trials)


def test_trials_that_users_like_are_not_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(prune, "worse", lambda difference: False)
    whole = tune(pruning(), tmp_path / "watched")
    assert not any(trial.pruned for trial in whole)
    config = dataclasses.replace(pruning(), tune=dataclasses.replace(pruning().tune, prune=False))
    assert results(tune(config, tmp_path / "alone")) == results(whole)


def test_a_difference_of_users_is_of_the_last_point_with_no_more_steps() -> None:
    def points(*given: tuple[int, list[float]]) -> pl.DataFrame:
        return pl.concat(
            pl.DataFrame({"agent": "x", "steps": steps, "user": [0, 0, 1], "R_cum": values}) for steps, values in given
        )

    mine, theirs = (
        points((100, [1.0, 3.0, 5.0])),
        points((40, [9.0, 9.0, 9.0]), (90, [0.0, 0.0, 1.0]), (120, [7.0] * 3)),
    )
    assert prune.paired(mine, theirs, 100, "R_cum").tolist() == [2.0, 4.0]
    assert prune.paired(mine, points((101, [7.0] * 3)), 100, "R_cum").tolist() == []
    assert prune.worse(np.array([-1.0, -0.9, -1.1]))
    assert not prune.worse(np.array([-1.0, 0.9, -1.1]))
    assert not prune.worse(np.zeros(0))


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (changed(prune=True, **QUICK), "boredom+greedy has no learning curve of a policy"),
        (changed(prune=True), "train.evaluations is 1, and 3 are needed"),
    ],
)
def test_a_search_without_learning_curves_cannot_end_trials_early(config: Config, said: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"tune\.prune compares learning curves, but ") as raised:
        tune(config, tmp_path / "search")
    assert said in str(raised.value)
    assert not (tmp_path / "search").exists()


# the command


@pytest.mark.parametrize("given", ["0", "many", "-1", "9999"])
def test_a_number_of_workers_that_cannot_be_is_one_line(given: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tune", "quickstart", f"--workers={given}"]) == 2
    said = f"lerl: error: --workers must be a whole number from 1 to 1,024, given '{given}'"
    assert capsys.readouterr().err.startswith(said)


@pytest.mark.slow
def test_the_command_has_workers_and_says_how_many_can_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(dump(changed(trials=11, **QUICK)))
    assert main(["tune", str(recipe), "--out", str(tmp_path / "out"), "--workers", "2"]) == 0
    printed = capsys.readouterr()
    assert "lerl: note: from trial 10 on at most 1 of 2 workers can work at a time" in printed.err
    assert "11/11" in printed.err
    assert "0 (own)" in printed.out


def test_scores_are_by_user() -> None:
    frame = pl.DataFrame({"user": [4, 2, 4], "R_cum": [1.0, 5.0, 2.0]})
    assert by_user(frame, "R_cum").tolist() == [5.0, 1.5]
