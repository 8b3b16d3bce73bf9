"""One recipe with several seeds: what each run is, what goes on after an interruption, and what is said."""

import dataclasses
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lerl.cli.main import main
from lerl.cli.parser import UsageError
from lerl.cli.train import NOT_TRACKED, read_seeds
from lerl.config.parse import dump
from lerl.config.schema import Config, DataConfig, EvaluationConfig, SyntheticConfig
from lerl.envs.config import SimulatorConfig
from lerl.files import RunError, seed_runs
from lerl.run.seeds import resume_seeds, train_seeds
from lerl.run.train import train

SMALL = Config(
    agents=["flat+greedy", "random"],
    data=DataConfig(synthetic=SyntheticConfig(users=40, items=60, categories=5, dim=4)),
    env=SimulatorConfig(slate_size=2, max_steps=8),
    evaluation=EvaluationConfig(replicates=1, batch_size=8, bootstrap=100),
)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("seeds") / "out"
    train_seeds(SMALL, [3, 0], folder, 2, lambda line: None)
    return folder


def test_each_seed_is_the_run_that_it_would_be_alone(out: Path, tmp_path: Path) -> None:
    assert seed_runs(out) == [out / "seed0", out / "seed3"]
    train(dataclasses.replace(SMALL, seed=3), tmp_path / "alone")
    for name in ("config.yaml", "run.json", "episodes.parquet"):
        assert (out / "seed3" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()
    assert (out / "seed3" / "summary.json").is_file()
    assert "evaluate random" in (out / "seed3" / "log.txt").read_text()


def test_going_on_makes_what_is_missing_and_leaves_what_is_done(out: Path, tmp_path: Path) -> None:
    here = Path(shutil.copytree(out, tmp_path / "out"))
    (here / "seed3" / "episodes.parquet").unlink()
    before = {path: path.stat().st_mtime_ns for path in (here / "seed0").rglob("*") if path.name != ".lock"}
    said: list[str] = []
    assert resume_seeds(here, 1, False, said.append) == seed_runs(here)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert (here / "seed3" / "episodes.parquet").read_bytes() == (out / "seed3" / "episodes.parquet").read_bytes()
    assert [line.split(": ")[0] for line in said[1:]] == ["[1/2] seed0", "[2/2] seed3"]


def test_a_seed_that_fails_does_not_keep_others_from_ending(out: Path, tmp_path: Path) -> None:
    here = Path(shutil.copytree(out, tmp_path / "out"))
    for run in seed_runs(here):
        (run / "steps.parquet").unlink()
    (here / "seed0" / "run.json").write_text("{}")
    with pytest.raises(RunError, match=r"1 of 2 seeds failed, the first one seed0: failed: .*lerl train --resume"):
        resume_seeds(here, 1, False, lambda line: None)
    assert (here / "seed3" / "steps.parquet").is_file()
    assert "Traceback" in (here / "seed0" / "log.txt").read_text()


def test_a_folder_that_holds_seeds_or_something_else_is_refused(out: Path, tmp_path: Path) -> None:
    with pytest.raises(FileExistsError, match=f"already holds seeds; go on with them by lerl train --resume {out}"):
        train_seeds(SMALL, [7], out, 1, print)
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(FileExistsError, match="is taken"):
        train_seeds(SMALL, [7], tmp_path, 1, print)


def test_what_cannot_begin_leaves_nothing_behind(tmp_path: Path) -> None:
    wrong = dataclasses.replace(SMALL, agents=["nope+ppo"])
    with pytest.raises(ValueError, match="nope"):
        train_seeds(wrong, [0, 1], tmp_path / "out", 1, print)
    assert not (tmp_path / "out").exists()


def test_ctrl_c_ends_all_and_says_how_to_go_on(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        dump(dataclasses.replace(SMALL, agents=["flat+ppo"])).replace("steps: 400000", "steps: 9000000")
    )
    command = [sys.executable, "-m", "lerl", "train", str(tmp_path / "mine.yaml"), "--seeds", "0,1", "--jobs", "2"]
    with subprocess.Popen([*command, "--out", str(tmp_path / "out")], stderr=subprocess.PIPE, text=True) as process:
        end, logs = time.monotonic() + 120, [tmp_path / "out" / f"seed{seed}" / "log.txt" for seed in (0, 1)]
        while not all(log.is_file() and "flat+ppo" in log.read_text() for log in logs):  # which say how far they are
            assert time.monotonic() < end
            time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        lines = process.communicate(timeout=60)[1].splitlines()
    assert process.returncode == 130
    assert lines[-1] == f"lerl: interrupted; go on with: lerl train --resume {tmp_path / 'out'}"
    assert len(list((tmp_path / "out").glob("seed*/checkpoints/*.pt"))) == 2


def test_the_command_prints_and_draws_all_seeds_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(dump(SMALL))
    assert main(["train", "mine.yaml", "--seeds", "0-1", "--jobs", "1"]) == 0
    printed, folder = capsys.readouterr(), Path("runs/mine")
    assert "over users and over 2 seeds" in " ".join(printed.out.split())
    assert "2 seeds, 1 side by side; how far each is: runs/mine/seed*/log.txt" in printed.err
    for name in ("summary.json", "summary.md", "report.html", "plots/satisfaction.png"):
        assert (folder / name).is_file(), name
    summary = (folder / "summary.json").read_bytes()
    (folder / "summary.json").unlink()
    assert main(["train", "--resume", "runs/mine"]) == 0
    assert (folder / "summary.json").read_bytes() == summary
    assert main(["evaluate", "runs/mine"]) == 2
    assert "holds a run for each seed; give one of them, such as runs/mine/seed0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "seeds"), [("0-2", [0, 1, 2]), ("7,0,3", [0, 3, 7]), ("5", [5]), ("0-1, 8", [0, 1, 8])]
)
def test_seeds_are_ranges_and_lists(text: str, seeds: list[int]) -> None:
    assert read_seeds(text) == seeds


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "takes seeds such as 0-4 or 0,3,7"),
        ("4-0", "takes seeds such as"),
        ("a", "takes seeds such as"),
        ("-1", "takes seeds such as"),
        ("0,0", "names a seed twice"),
        ("0-5000", "up to 1,000 seeds"),
        ("4294967296", "from 0 to 4,294,967,295"),
    ],
)
def test_seeds_that_are_none_are_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        read_seeds(text)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["quickstart", "--seed", "1", "--seeds", "0-4"], "--seed and --seeds are both given; give one of them"),
        (["quickstart", "--jobs", "2"], "--jobs goes with --seeds: one run is one process"),
        (["quickstart", "--seeds", "0-1", "--jobs", "0"], "--jobs must be a whole number from 1 to 1,024, given '0'"),
        (["quickstart", "--seeds", "0-1", "--track", "tensorboard"], NOT_TRACKED),
        (["--resume", "nowhere", "--jobs", "2"], "--jobs is for a folder of seeds, and nowhere is none; leave it out"),
    ],
)
def test_flags_that_do_not_go_together_are_one_line(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *arguments]) == 2
    assert capsys.readouterr().err == f"lerl: error: {said}\n"
