"""lerl from Python: what `import lerl` offers, on small worlds."""

import doctest
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import lerl
from lerl.config.errors import SettingsError
from lerl.files import RunError

WORLD: dict[str, Any] = {
    "data": {"synthetic": {"users": 80, "items": 60, "categories": 5, "dim": 4}},
    "env": {"max_steps": 12, "slate_size": 3},
    "evaluation": {"users": 15, "bootstrap": 200},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> lerl.Run:
    agents = ["flat+greedy", "random", "privileged"]
    out = tmp_path_factory.mktemp("api") / "run"
    return lerl.train("quickstart", out, agents=agents, train={"steps": 0}, planner={"clusters": 5}, **WORLD)


def test_importing_lerl_imports_nothing_heavy() -> None:
    code = (
        "import lerl, sys; print([name for name in ('torch', 'polars', 'matplotlib', 'rich') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.strip() == "[]"
    assert {"Run", "train", "evaluate", "load_population"} <= set(dir(lerl))
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        lerl.trian  # noqa: B018 - the access is what is tested


def test_train_gives_the_run_that_the_command_line_would(run: lerl.Run, capsys: pytest.CaptureFixture[str]) -> None:
    from lerl.cli.main import main

    other = run.path.with_name("other")
    flags = ["--data.synthetic.users", "80", "--data.synthetic.items", "60", "--data.synthetic.categories", "5"]
    flags += ["--data.synthetic.dim", "4", "--env.max_steps", "12", "--env.slate_size", "3", "--train.steps", "0"]
    flags += ["--evaluation.users", "15", "--evaluation.bootstrap", "200", "--planner.clusters", "5"]
    agents = "[flat+greedy,random,privileged]"
    assert main(["train", "quickstart", "--out", str(other), "--agents", agents, *flags]) == 0
    assert (other / "episodes.parquet").read_bytes() == (run.path / "episodes.parquet").read_bytes()
    capsys.readouterr()
    run.show()
    assert capsys.readouterr().out.splitlines()[1].startswith("privileged")


def test_tables_are_polars_frames(run: lerl.Run) -> None:
    assert run.episodes.height == 3 * 15 * 2
    assert run.episodes["agent"].unique().len() == 3
    table = run.table()
    assert table["agent"].to_list() == sorted(
        run.agents, key=lambda name: -run.summary["agents"][name]["R_cum"]["mean"]
    )
    best = table.row(0, named=True)
    assert best["R_cum_low"] <= best["R_cum"] <= best["R_cum_high"]
    means = run.episodes.group_by("agent").agg(pl.col("R_cum").mean())
    assert dict(means.iter_rows())[best["agent"]] == pytest.approx(best["R_cum"])


def test_differences_have_the_sign_of_their_reference(run: lerl.Run) -> None:
    one, other = run.differences("random"), run.differences("privileged")
    lost, won = (
        frame.filter(pl.col("agent") == name).row(0, named=True)
        for frame, name in ((one, "privileged"), (other, "random"))
    )
    assert lost["mean"] == pytest.approx(-won["mean"])
    assert lost["low"] == pytest.approx(-won["high"])
    assert lost["ratio"] == pytest.approx(1 / won["ratio"])
    with pytest.raises(RunError, match="no agent 'flat'"):
        run.differences("flat")


def test_another_world_is_judged_and_nothing_is_written(run: lerl.Run) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}
    same = run.evaluate()
    assert same.episodes.equals(run.episodes.select(same.episodes.columns))
    other = run.evaluate(agents=["random"], env={"leave": {"rule": "never"}})
    assert other.agents == ["random"]
    assert set(other.episodes["T_int"].to_list()) == {12}
    assert before == {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}
    for wrong in (
        {"env": {"slate_size": 2}},
        {"seed": 1},
        {"auto": {"candidates": ["random"]}},
        {"train": {"steps": 1}},
    ):
        with pytest.raises(SettingsError, match="the run's agents were made for its"):
            run.evaluate(**wrong)


def test_an_agent_of_a_run_acts(run: lerl.Run) -> None:
    assert callable(run.agent("flat+greedy").act)
    with pytest.raises(RunError, match="no agent 'boredom\\+ppo'; there are flat\\+greedy, random, privileged"):
        run.agent("boredom+ppo")


def test_runs_of_several_seeds_are_read_as_one(run: lerl.Run, tmp_path: Path) -> None:
    other = lerl.train(run.config, tmp_path / "seed1", seed=1)
    both = run.compare(other)
    assert both.results.seeds == [0, 1]
    assert both.episodes.height == 2 * run.episodes.height
    with pytest.raises(RunError, match="both have seed 0"):
        run.compare(run)


def test_pictures_are_drawn(run: lerl.Run, tmp_path: Path) -> None:
    assert {path.name for path in run.plot(tmp_path)} >= {"session_lengths.png", "differences.svg"}


class Counting:
    """Shows items in the order of the catalog, each session from the first."""

    def __init__(self) -> None:
        self.steps = np.zeros(256, int)

    def begin(self, rows: Any, observation: Any, keys: Any) -> None:
        self.steps[rows] = 0

    def act(self, observation: Any) -> Any:
        self.steps += 1
        return (self.steps[:, None] * 3 - 3 + np.arange(3)) % 60


def in_order(observation: dict[str, Any]) -> Any:
    steps = np.rint((1 - observation["time_left"]) * 12).astype(int)
    return (steps * 3 + np.arange(3)) % 60


def test_an_agent_of_ones_own_stands_in_the_table() -> None:
    judged = lerl.evaluate(Counting(), name="counting", **WORLD)
    assert judged.agents == ["counting", "random", "popularity", "privileged"]
    by_function = lerl.evaluate(in_order, beside=(), **WORLD)
    assert (
        by_function.episodes["R_cum"].to_list()
        == judged.episodes.filter(pl.col("agent") == "counting")["R_cum"].to_list()
    )


def test_what_means_nothing_to_an_own_agent_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"train\.steps means nothing to an agent of one's own"):
        lerl.evaluate(in_order, train={"steps": 1}, **WORLD)
    with pytest.raises(ValueError, match="name is that of one beside it, 'random'"):
        lerl.evaluate(in_order, name="random", **WORLD)


@pytest.mark.parametrize("wrong", [Counting, 3, None])
def test_what_does_not_act_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match="an agent is an object with act"):
        lerl.evaluate(wrong, **WORLD)


def test_a_wrong_key_says_what_was_meant() -> None:
    with pytest.raises(SettingsError, match=r"unknown key trian\.steps\. Did you mean train\.steps"):
        lerl.train("quickstart", trian={"steps": 1})


def test_configurations_are_compared_from_python(run: lerl.Run, tmp_path: Path) -> None:
    agents = ["flat+greedy", "random"]
    world = WORLD | {"env": {**WORLD["env"], "boredom": {"weight": 0.0}}}
    calm = lerl.train(
        "quickstart", tmp_path / "calm", agents=agents, train={"steps": 0}, planner={"clusters": 5}, **world
    )
    found = lerl.compare({"bored": run, "calm": [calm.path]}, bootstrap=200)
    assert found.settings["env.boredom.weight"]["calm"] == 0.0
    assert found.summary["world"] == ["env.boredom.weight"]
    row = found.differences().row(0, named=True)
    assert (row["agent"], row["group"], row["reference"]) == ("flat+greedy", "calm", "bored")
    means = {
        name: one.episodes.filter(pl.col("agent") == "flat+greedy")["R_cum"].mean()
        for name, one in {"bored": run, "calm": calm}.items()
    }
    assert row["mean"] == pytest.approx(means["calm"] - means["bored"])
    assert found.table().filter(pl.col("group") == "bored")["agent"].to_list() == run.table()["agent"].to_list()
    with pytest.raises(RunError, match="no differences of 'gini'"):
        found.differences("gini")


WITH_EXAMPLES = (
    "serve.comparison",
    "serve.run",
    "serve.evaluation",
    "serve.recommender",
    "serve.own_agent",
    "serve.settings",
)


def test_the_examples_of_the_reference_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one folder, that of `train` first: the others open what it made."""
    monkeypatch.chdir(tmp_path)
    found: list[doctest.DocTest] = []
    for name in (*WITH_EXAMPLES, "wrappers", "sb3.vec_env"):
        here = [one for one in doctest.DocTestFinder().find(import_module(f"lerl.{name}")) if one.examples]
        assert here, f"lerl.{name} has no example"
        found += here
    runner = doctest.DocTestRunner()
    for one in sorted(found, key=lambda test: test.name != "lerl.serve.run.train"):
        assert runner.run(one).failed == 0, one.name
