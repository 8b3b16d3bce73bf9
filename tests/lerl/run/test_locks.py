"""Two commands in one folder: the second looks again once it has the lock, and what has no locks is said in a line."""

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from lerl.cli.main import main
from lerl.config.errors import SettingsError
from lerl.config.parse import dump
from lerl.config.schema import Config, DataConfig, SyntheticConfig, TuneConfig
from lerl.envs.config import SimulatorConfig
from lerl.experiment import schedule, tune
from lerl.files import RunError
from lerl.run import train as training
from lerl.run.locks import locked
from lerl.users.fit import fit_users

SMALL = Config(
    agents=["random"],
    data=DataConfig(synthetic=SyntheticConfig(users=20, items=20, categories=3, dim=2)),
    env=SimulatorConfig(slate_size=2, max_steps=3),
)


def after(other: Callable[[], object]) -> Callable[..., object]:
    """A lock that is had only when another process has done its work in the folder and is gone."""

    @contextmanager
    def late(folder: Path, wait: bool = False) -> Iterator[None]:
        other()
        with locked(folder, wait):
            yield

    return late


def test_a_run_that_began_meanwhile_is_not_taken_for_ones_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    run = tmp_path / "run"
    monkeypatch.setattr(training, "locked", after(lambda: (run / "config.yaml").write_text("seed: 7\n")))
    with pytest.raises(FileExistsError, match="run already holds a run; go on with it by lerl train --resume"):
        training.train(SMALL, run)
    assert (run / "config.yaml").read_text() == "seed: 7\n"
    assert not (run / "run.json").exists()


def test_a_search_that_began_meanwhile_is_not_gone_on_with(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    mine = replace(SMALL, tune=TuneConfig(agent="flat+ppo", space={"train.gamma": {"low": 0.5, "high": 0.9}}))
    theirs = dump(replace(mine, seed=7))
    monkeypatch.setattr(tune, "locked", after(lambda: (tmp_path / "out" / tune.SEARCH).write_text(theirs)))
    with pytest.raises(SettingsError, match="holds a search with other settings: seed was 7 and is now 0"):
        tune.tune(mine, tmp_path / "out")
    assert (tmp_path / "out" / tune.SEARCH).read_text() == theirs


def test_an_experiment_that_began_meanwhile_is_not_gone_on_with(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    mine = replace(SMALL, experiment=replace(SMALL.experiment, agents={"random": {}}, conditions={"plain": {}}))

    def other() -> None:
        (tmp_path / "out" / "rows").mkdir()
        (tmp_path / "out" / "rows" / "x.parquet").write_bytes(b"")

    monkeypatch.setattr(schedule, "locked", after(other))
    with pytest.raises(FileExistsError, match="out holds trials of an experiment; go on with them by --resume"):
        schedule.run(mine, tmp_path / "out", quick=False, resume=False, say=print)


def test_users_are_fitted_by_one_command_at_a_time(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no prepared data set"):
        fit_users(tmp_path, "latent")
    assert not any(tmp_path.iterdir())
    (tmp_path / "prepared.json").write_text('{"format_version": 1}')
    with locked(tmp_path), pytest.raises(RunError, match="another lerl is at work"):
        fit_users(tmp_path, "latent")


def test_a_data_set_is_not_replaced_while_another_command_works_in_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "prepared.json").write_text("{}")
    command = ["data", "import", "--interactions", str(tmp_path / "log.csv"), "--out", str(out), "--overwrite"]
    with locked(out):
        assert main(command) == 2
    assert f"another lerl is at work in {out}" in capsys.readouterr().err
    assert (out / "prepared.json").read_text() == "{}"


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, number: int) -> None:
    def flock(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    said = rf"the file system of {tmp_path} has no locks \({os.strerror(number)}\).*give a folder on another one"
    with pytest.raises(RunError, match=said), locked(tmp_path):
        pass
