"""Runs that are interrupted, killed, or meet a full disk: they go on, and end as if nothing had happened."""

import dataclasses
import errno
import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lerl.agents.config import OffPolicyConfig, TrainConfig
from lerl.agents.learners import checkpoint
from lerl.cli import main as cli
from lerl.config.parse import dump
from lerl.config.schema import Config, DataConfig, EvaluationConfig, SyntheticConfig
from lerl.envs.config import SimulatorConfig
from lerl.files import RunError
from lerl.planners.base import PlanContexts, Plans, Sessions
from lerl.planners.config import PlannerConfig
from lerl.report.compare import compare
from lerl.run import folder as runs
from lerl.run.evaluate import evaluate
from lerl.run.folder import check_run
from lerl.run.locks import locked
from lerl.run.train import resume, train

SMALL = Config(
    seed=5,
    agents=["boredom+ppo", "flat+ppo", "flat+ppo+mmr", "random"],
    data=DataConfig(synthetic=SyntheticConfig(users=40, items=60, categories=5, dim=4)),
    env=SimulatorConfig(slate_size=2, max_steps=8),
    planner=PlannerConfig(size=2, sessions=20),
    train=TrainConfig(
        steps=600, users=8, rollout=8, batch_size=32, epochs=2, hidden=8, evaluations=3, validation=6, checkpoint=0.0
    ),
    evaluation=EvaluationConfig(replicates=1, batch_size=8, bootstrap=100),
)


def ending(run: Path, policies: Sequence[str] = ("boredom+ppo", "flat+ppo")) -> dict[str, bytes]:
    """What a run ends with, to compare bit for bit."""
    compare([run], run, bootstrap=100)
    names = ["summary.json", "episodes.parquet", "curves.parquet", "run.json", "config.yaml"]
    return {name: (run / name).read_bytes() for name in [*names, *(f"policies/{policy}.pt" for policy in policies)]}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("runs") / "undisturbed"
    train(dataclasses.replace(SMALL, train=dataclasses.replace(SMALL.train, checkpoint=3600.0)), out)
    assert not (out / "checkpoints").exists()
    (out / "config.yaml").write_text(dump(SMALL))
    return ending(out)


class Killed(BaseException):
    """The process is gone."""


def writes(monkeypatch: pytest.MonkeyPatch, fail_at: int, error: BaseException, half: bool = False) -> list[str]:
    """Count whole writes and fail at one of them, before it or with half of the file written."""
    done: list[str] = []
    write = Path.write_bytes

    def write_bytes(path: Path, content: bytes) -> int:
        if len(done) == fail_at:
            if half:
                write(path, content[: len(content) // 2])
            raise error
        done.append(path.name)
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    monkeypatch.setattr(runs, "SHARE", 0)  # as many checkpoints on a busy machine as on an idle one
    return done


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> int:
    """How many files the run writes."""
    with pytest.MonkeyPatch.context() as patch:
        done = writes(patch, -1, Killed())
        train(SMALL, tmp_path_factory.mktemp("runs") / "counted")
    assert {".boredom+ppo.pt.partial", ".boredom.npz.partial", ".trained.json.partial"} <= set(done)
    return len(done)


@pytest.mark.parametrize("part", [0.01, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.99])
def test_a_run_stopped_at_any_write_ends_as_if_it_had_not_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: dict[str, bytes], places: int, part: float
) -> None:
    with monkeypatch.context() as patch:
        writes(patch, int(part * places), Killed(), half=True)
        with pytest.raises(Killed):
            train(SMALL, tmp_path / "run")
    if (tmp_path / "run" / "config.yaml").exists():
        resume(tmp_path / "run")
    else:  # stopped before there was a run: the folder can be used again
        train(SMALL, tmp_path / "run")
    assert ending(tmp_path / "run") == undisturbed


LEARNERS = ["flat+a2c", "flat+pg", "boredom+sac", "flat+td3", "boredom+hac", "boredom+maskable_ppo", "flat+dqn"]
LEARNERS += ["flat+dnair", "boredom+sac4ir", "flat+slateq"]
ALL = dataclasses.replace(
    SMALL,
    agents=LEARNERS,
    env=dataclasses.replace(SMALL.env, slate_size=1),
    train=dataclasses.replace(
        SMALL.train,
        steps=160,
        encoder="gru",
        history=4,
        off_policy=OffPolicyConfig(buffer=400, learning_starts=40, gradient_steps=1),
    ),
)


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """A run of every learner that nothing stopped, and how many files it wrote."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        done = writes(patch, -1, Killed())
        train(ALL, out)
    return out, len(done)


@pytest.mark.slow
@pytest.mark.parametrize("part", [0.3, 0.6, 0.9])
def test_every_learner_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, learned: tuple[Path, int], part: float
) -> None:
    undisturbed, count = learned
    with monkeypatch.context() as patch:
        writes(patch, int(part * count), Killed())
        with pytest.raises(Killed):
            train(ALL, tmp_path / "run")
    resume(tmp_path / "run")
    for name in ("episodes.parquet", "curves.parquet", *(f"policies/{agent}.pt" for agent in LEARNERS)):
        assert (tmp_path / "run" / name).read_bytes() == (undisturbed / name).read_bytes()


@pytest.mark.slow
def test_killed_for_good_again_and_again(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    (tmp_path / "mine.yaml").write_text(dump(SMALL))
    command = [sys.executable, "-m", "lerl", "train"]
    phases = ["boredom planner", "boredom+ppo", "flat+ppo+mmr weight", "evaluate flat+ppo"]
    arguments = [str(tmp_path / "mine.yaml"), "--out", str(tmp_path / "run")]
    for phase in phases:
        with subprocess.Popen([*command, *arguments], stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            assert any(line.startswith(phase) for line in process.stderr), phase
            process.send_signal(signal.SIGKILL)
        arguments = ["--resume", str(tmp_path / "run")]
    resume(tmp_path / "run")
    assert ending(tmp_path / "run") == undisturbed


def test_ctrl_c_keeps_what_was_learned_so_far(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    (tmp_path / "mine.yaml").write_text(dump(SMALL).replace("checkpoint: 0.0", "checkpoint: 3600.0"))
    command = [sys.executable, "-m", "lerl", "train", str(tmp_path / "mine.yaml"), "--out", str(tmp_path / "run")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert any(line.startswith("boredom+ppo") for line in process.stderr)
        process.send_signal(signal.SIGINT)
        lines = process.stderr.readlines()
        last = lines[-1]
    assert any(line.startswith("lerl: stopping after this rollout; Ctrl-C again stops at once") for line in lines)
    assert process.returncode == 130
    assert last == f"lerl: interrupted; go on with: lerl train --resume {tmp_path / 'run'}\n"
    assert list((tmp_path / "run" / "checkpoints").iterdir())
    resume(tmp_path / "run")
    (tmp_path / "run" / "config.yaml").write_text(dump(SMALL))
    assert ending(tmp_path / "run") == undisturbed


def test_a_full_disk_ends_a_run_cleanly_and_it_goes_on_later(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    undisturbed: dict[str, bytes],
    places: int,
) -> None:
    run = tmp_path / "run"
    (tmp_path / "mine.yaml").write_text(dump(SMALL))
    with monkeypatch.context() as patch:
        writes(patch, places // 2, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), half=True)
        assert cli.main(["train", str(tmp_path / "mine.yaml"), "--out", str(run)]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"lerl: error: {run} cannot be written ([Errno 28] No space left on device)")
    assert last.endswith(f"make room, then go on with: lerl train --resume {run}")
    assert not list(run.rglob("*.partial"))
    assert cli.main(["train", "--resume", str(run)]) == 0
    assert ending(run) == undisturbed


def test_a_run_that_has_ended_is_left_as_it_is(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    train(SMALL, tmp_path / "run")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*.p*") if path.is_file()}
    resume(tmp_path / "run")
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert ending(tmp_path / "run") == undisturbed


def test_two_processes_cannot_work_in_one_folder(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with locked(tmp_path / "run"), pytest.raises(RunError, match=r"another lerl is at work in .*run; wait"):
        train(SMALL, tmp_path / "run")
    train(dataclasses.replace(SMALL, agents=["random"]), tmp_path / "run")
    with locked(tmp_path / "run"):
        for work in (resume, evaluate):
            with pytest.raises(RunError, match="another lerl is at work"):
                work(tmp_path / "run")


def test_a_run_of_another_format_is_refused_and_of_other_packages_warned_about(tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(dataclasses.replace(SMALL, agents=["random"]), run)
    about = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(about | {"packages": {"torch": "0.1"}}))
    with pytest.warns(UserWarning, match=r"other packages, so numbers may differ: torch 0\.1 then, \d"):
        check_run(run)
    (run / "run.json").write_text(json.dumps(about | {"format": 99, "lerl": "7.0"}))
    with pytest.raises(RunError, match=rf"made by lerl 7\.0 in format 99, this is format {runs.FORMAT}"):
        resume(run)
    (run / "run.json").write_text(json.dumps(about)[:20])
    with pytest.raises(RunError, match="is damaged"):
        resume(run)
    (run / "run.json").unlink()
    for work in (resume, evaluate, lambda run: compare([run])):
        with pytest.raises(RunError, match=r"run\.json is missing; begin the run again in another folder"):
            work(run)
    with pytest.raises(RunError, match="holds no run; start one with"):
        resume(tmp_path)


def test_a_run_does_not_go_on_among_other_users(tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(dataclasses.replace(SMALL, agents=["random"]), run)
    about = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(about | {"population_digest": "0"}))
    for work in (resume, evaluate):
        with pytest.raises(RunError, match="begun on other users than the synthetic population holds now"):
            work(run)


PARTS = (
    "policies/flat+ppo.pt",
    "policies/flat+ppo.curve.json",
    "planners/boredom.npz",
    "rows/flat+ppo+mmr.json",
    "curves.parquet",
    "episodes.parquet",
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "whole"
    train(SMALL, run)
    return run


@pytest.mark.parametrize("part", PARTS)
def test_resume_makes_again_what_was_removed(
    tmp_path: Path, whole: Path, undisturbed: dict[str, bytes], part: str
) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    (run / part).unlink()
    if part.startswith(("policies", "planners", "rows")):
        with pytest.raises(RunError, match=rf"lost some of it; go on with: lerl train --resume {run}"):
            evaluate(run)
    resume(run)
    assert (run / part).read_bytes() == (whole / part).read_bytes()
    assert ending(run) == undisturbed


@pytest.mark.parametrize("part", [*PARTS, "steps.parquet", "config.yaml", "run.json"])
@pytest.mark.parametrize("damage", [lambda content: content[:-99], lambda _: b"{}", lambda _: b"\0\xff"])
def test_a_damaged_file_is_one_line_that_names_it_and_ends_with_2(
    tmp_path: Path, whole: Path, capsys: pytest.CaptureFixture[str], part: str, damage: Callable[[bytes], bytes]
) -> None:
    run = tmp_path / "a run"
    shutil.copytree(whole, run)
    (run / part).write_bytes(b"seed: [" if part == "config.yaml" else damage((run / part).read_bytes()))
    if part.endswith((".parquet", ".yaml", "run.json")):
        commands = [["compare", str(run)], ["plot", str(run)]]
    elif part.endswith(".curve.json"):
        (run / "curves.parquet").unlink()
        commands = [["train", "--resume", str(run)]]
    else:
        (run / "episodes.parquet").unlink()
        commands = [["evaluate", str(run)], ["train", "--resume", str(run)]]
    for command in commands:
        assert cli.main(command) == 2
        last = capsys.readouterr().err.splitlines()[-1]
        assert re.match(rf"lerl: error: {re.escape(str(run / part))}:? ", last)
        if part not in ("config.yaml", "run.json"):
            assert re.search(rf" is damaged \(\w+\); remove it, then go on with: lerl train --resume '{run}'$", last)


@pytest.mark.parametrize("content", [b"", b"PK", None])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None) -> None:
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        writes(patch, 8, Killed())
        with pytest.raises(Killed):
            train(SMALL, run)
    (kept,) = (run / "checkpoints").iterdir()
    if content is None:
        checkpoint.write_checkpoint({"curve": []}, kept)
    else:
        kept.write_bytes(content)
    with pytest.raises(RunError, match=rf"{re.escape(str(kept))} is damaged \(\w+\); remove it, then go on with: lerl"):
        resume(run)
    kept.unlink()
    resume(run)


def test_a_folder_may_have_letters_that_mean_something_in_patterns(tmp_path: Path) -> None:
    run = tmp_path / "x[1]*?"
    train(dataclasses.replace(SMALL, agents=["random"]), run)
    assert json.loads(ending(run, policies=())["summary.json"])["agents"]


def test_an_evaluation_starts_afresh(tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(dataclasses.replace(SMALL, agents=["random"]), run)
    before = (run / "episodes.parquet").read_bytes()
    (run / "evaluated" / "random").mkdir(parents=True)
    for name in ("episodes", "steps", "items", "exposure"):
        (run / "evaluated" / "random" / f"{name}.parquet").write_bytes(b"left by an evaluation that was broken off")
    evaluate(run)
    assert (run / "episodes.parquet").read_bytes() == before


def test_resume_takes_no_other_settings(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", "--resume", "x", "--seed", "3"]) == 2
    assert cli.main(["train", "quickstart", "--resume"]) == 2
    said = (
        "--resume takes a run, or a folder of seeds, and nothing else but --track, --trust, --workers and --cluster, "
        "such as lerl train"
    )
    assert said in capsys.readouterr().err


class Learns:
    """A planner that learns from sessions and cannot keep it in a file: it allows what was shown least."""

    def __init__(self, size: int, seed: int) -> None:
        self.best = 0

    def session_ended(self, sessions: Sessions) -> None:
        shown = sessions.membership[sessions.items[sessions.items >= 0]].sum(axis=0)
        self.best = int(shown.argmin()) + 1

    def plan(self, contexts: PlanContexts) -> Plans:
        allowed = np.zeros((len(contexts), len(contexts.names)), bool)
        allowed[:, self.best - 1] = True  # untaught: the last
        return Plans(allowed, np.zeros(allowed.shape, bool))


def test_a_planner_without_state_is_taught_again_wherever_it_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "learns.py").write_text(Path(__file__).read_text())
    monkeypatch.syspath_prepend(tmp_path)
    config = dataclasses.replace(SMALL, agents=["learns:Learns+greedy"])
    train(config, tmp_path / "run")
    first = (tmp_path / "run" / "episodes.parquet").read_bytes()
    evaluate(tmp_path / "run")
    assert (tmp_path / "run" / "episodes.parquet").read_bytes() == first
    untaught = dataclasses.replace(config, planner=dataclasses.replace(config.planner, sessions=0))
    train(untaught, tmp_path / "untaught")
    assert (tmp_path / "untaught" / "episodes.parquet").read_bytes() != first


def test_a_checkpoint_holds_arrays_and_plain_values_and_runs_no_code(tmp_path: Path) -> None:
    tree: dict[str, Any] = {
        "keys": np.array([2**63, 1], np.uint64),
        "flags": {"there": np.array([True, False])},
        "random": (3, (1, 2), None),
        "state": {"state": 2**127},
    }
    assert checkpoint.write_checkpoint(tree, tmp_path / "x.pt") == (tmp_path / "x.pt").stat().st_size
    back = checkpoint.read_checkpoint(tmp_path / "x.pt")
    np.testing.assert_array_equal(back["keys"], tree["keys"])
    assert back["keys"].dtype == np.uint64
    assert back["flags"]["there"].tolist() == [True, False]
    assert (back["random"], back["state"]) == (tree["random"], tree["state"])

    class Harm:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "harm"),)

    import torch

    torch.save({"x": Harm()}, tmp_path / "bad.pt")
    with pytest.raises(pickle.UnpicklingError):
        checkpoint.read_checkpoint(tmp_path / "bad.pt")
    assert not (tmp_path / "harm").exists()


def test_checkpoints_cost_at_most_a_twentieth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(runs.time, "monotonic", lambda: now[0])
    kept = runs.Checkpoint(tmp_path / "x.pt", every=10.0)
    now[0] = 9.0
    assert not kept.due()
    now[0] = 10.0
    assert kept.due()

    def slow(tree: dict[str, Any], path: Path) -> int:
        now[0] += 3.0
        return 0

    monkeypatch.setattr(runs, "write_checkpoint", slow)
    kept.write({})
    now[0] = 13.0 + 59.0
    assert not kept.due()
    now[0] = 13.0 + 60.0
    assert kept.due()


def test_weights_that_are_no_numbers_are_damage(tmp_path: Path) -> None:
    network = torch.nn.Linear(2, 1)
    torch.save({**network.state_dict(), "bias": torch.full((1,), torch.nan)}, tmp_path / "nan.pt")
    with pytest.raises(ValueError, match="holds weights that are no finite numbers"):
        checkpoint.read_weights(network, tmp_path / "nan.pt")
    torch.save({"weight": torch.ones(1, 2), "bias": torch.zeros(1)}, tmp_path / "good.pt")
    checkpoint.read_weights(network, tmp_path / "good.pt")
    assert network.weight.tolist() == [[1.0, 1.0]]
