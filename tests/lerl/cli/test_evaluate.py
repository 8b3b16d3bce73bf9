"""lerl evaluate with other settings: what is judged, what is written, what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

import lerl
from lerl.cli.main import main

WORLD: dict[str, Any] = {
    "data": {"synthetic": {"users": 80, "items": 60, "categories": 5, "dim": 4}},
    "env": {"max_steps": 12, "slate_size": 3},
    "planner": {"clusters": 5},
    "evaluation": {"users": 15, "bootstrap": 200},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    agents = ["flat+greedy", "flat+ppo", "random"]
    return lerl.train(
        "quickstart", tmp_path_factory.mktemp("evaluate") / "run", agents=agents, train={"steps": 0}, **WORLD
    ).path


def _content(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


def test_other_settings_are_judged_and_the_run_stays_as_it_is(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, out = _content(run), tmp_path / "out"
    flags = ["--env.leave.rule", "never", "--evaluation.users", "5", "--out", str(out)]
    assert main(["evaluate", str(run), *flags]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "flat+ppo (untrained)" in printed
    assert "judged with env.leave.rule never, evaluation.users 5; agents were not trained for that" in printed
    assert _content(run) == before
    summary = json.loads((out / "summary.json").read_text())
    assert summary["users"] == 5
    assert {found["T_int"]["mean"] for found in summary["agents"].values()} == {12}  # nobody leaves before the cap
    assert sorted(path.name for path in out.iterdir()) == ["summary.json", "summary.md"]


def test_without_other_settings_the_run_is_evaluated_again(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    episodes = (run / "episodes.parquet").read_bytes()
    assert not (run / "summary.json").exists()
    assert main(["evaluate", str(run)]) == 0
    assert (run / "episodes.parquet").read_bytes() == episodes
    assert (run / "summary.json").is_file()
    assert "judged with" not in capsys.readouterr().out


def test_agents_are_chosen_by_the_names_that_tables_print(run: Path) -> None:
    found = lerl.Run(run).evaluate(["flat+ppo@det", "random"], evaluation={"deterministic": True, "users": 5})
    assert found.agents == ["flat+ppo@det", "random"]
    found = lerl.Run(run).evaluate(["flat+ppo"], evaluation={"deterministic": True, "users": 5})
    assert found.agents == ["flat+ppo", "flat+ppo@det"]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--env.slate_size", "4"], "the run's agents were made for its env.slate_size; train others for another one"),
        (["--env.leave.rul", "window"], "unknown key --env.leave.rul. Did you mean --env.leave.rule?"),
        (["--env.leave.rule"], "--env.leave.rule needs a value"),
        (["--env.leave.window.most", "3"], "env.leave.window.most has no effect"),
        (["--agents", "[nope]"], "RUN has no agent 'nope'; there are flat+greedy, flat+ppo, random"),
        (
            ["--agents", "[flat+ppo@det]"],
            "RUN has no agent 'flat+ppo@det'; there are flat+greedy, flat+ppo, random; an",
        ),
        (["--out", "RUN/again"], "--out RUN/again is inside the run, which stays as it is; give another folder"),
        (["--out"], "--out needs a folder"),
        (["other"], "give one run, such as lerl evaluate runs/quickstart-seed0, given RUN and other"),
    ],
)
def test_what_cannot_be_judged_is_one_line(
    run: Path, flags: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(run), *(flag.replace("RUN", str(run)) for flag in flags)]) == 2
    assert capsys.readouterr().err.startswith(f"lerl: error: {said.replace('RUN', str(run))}")


def test_help_fits_on_a_screen(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
