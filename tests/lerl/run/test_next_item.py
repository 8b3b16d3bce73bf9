"""The agents sasrec and sasrec+mmr from a prepared folder to a table: what they learn from, and that they go on."""

import dataclasses
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lerl.agents import sasrec
from lerl.agents.config import TrainConfig
from lerl.config.errors import SettingsError
from lerl.config.schema import Config, DataConfig, EvaluationConfig, TuneConfig
from lerl.envs.config import SimulatorConfig
from lerl.envs.population import Population
from lerl.envs.store import save_population
from lerl.envs.synthetic import synthetic_population
from lerl.experiment.tune import tune
from lerl.files import RunError
from lerl.report.compare import compare
from lerl.run.checks import check_agents
from lerl.run.evaluate import evaluate
from lerl.run.specs import parse_agents
from lerl.run.task import Task
from lerl.run.train import resume, train

POLICY = Path("policies") / "sasrec.pt"


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sasrec, "EPOCHS", 3)


@pytest.fixture(scope="module")
def people() -> Population:
    return synthetic_population(60, 50, 5, 4)


@pytest.fixture
def recipe(people: Population, tmp_path: Path) -> Config:
    """Both agents on a prepared folder."""
    save_population(people, tmp_path / "data")
    return Config(
        seed=5,
        agents=["sasrec", "sasrec+mmr", "random"],
        data=DataConfig(path=str(tmp_path / "data")),
        env=SimulatorConfig(slate_size=2, max_steps=6),
        train=TrainConfig(hidden=8, validation=6),
        evaluation=EvaluationConfig(replicates=1, batch_size=8, bootstrap=100),
    )


def test_both_agents_get_to_the_table_and_judge_the_same_again(recipe: Config, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(recipe, run)
    compare([run], run, bootstrap=100)
    summary = json.loads((run / "summary.json").read_text())
    assert {"sasrec", "sasrec+mmr", "random"} <= set(json.dumps(summary).replace('"', " ").split())
    tried = json.loads((run / "rows" / "sasrec+mmr.json").read_text())
    assert tried["weight"] in map(float, tried["tried"])
    assert sorted(path.name for path in (run / "policies").iterdir()) == ["sasrec.pt"]
    assert not (run / "checkpoints").exists()
    judged = (run / "episodes.parquet").read_bytes()
    evaluate(run)
    assert (run / "episodes.parquet").read_bytes() == judged


@pytest.mark.parametrize("fail_at", range(1, 9))
def test_a_run_stopped_at_any_write_goes_on_to_the_same_end(
    recipe: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fail_at: int
) -> None:
    class Killed(BaseException):
        pass

    train(recipe, tmp_path / "whole")
    write, done = Path.write_bytes, []

    def write_bytes(path: Path, content: bytes) -> int:
        if len(done) == fail_at:
            raise Killed
        done.append(path)
        return write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", write_bytes)
        with pytest.raises(Killed):
            train(recipe, tmp_path / "run")
    if (tmp_path / "run" / "config.yaml").exists():
        resume(tmp_path / "run")
    else:
        train(recipe, tmp_path / "run")
    for name in ("episodes.parquet", "rows/sasrec+mmr.json", POLICY):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_it_learns_from_what_is_known_of_training_users_alone(
    recipe: Config, people: Population, tmp_path: Path
) -> None:
    """Neither the simulator's half nor held-out users change the network; training users' clicks do."""
    mine = people.training[people.history[:, 0]]
    other = people.history.copy()
    other[:, 1] = (other[:, 1] + 1) % 50
    truth = dataclasses.replace(people.truth, item_vectors=people.truth.item_vectors[::-1].copy())
    changed = {
        "truth": dataclasses.replace(people, truth=truth),
        "held out": dataclasses.replace(people, history=np.where(mine[:, None], people.history, other)),
        "training": dataclasses.replace(people, history=np.where(mine[:, None], other, people.history)),
    }

    def learned(folder: str) -> bytes:
        agents, data = ["sasrec"], DataConfig(path=str(tmp_path / folder))
        train(dataclasses.replace(recipe, agents=agents, data=data), tmp_path / f"run {folder}")
        return (tmp_path / f"run {folder}" / POLICY).read_bytes()

    for name, population in changed.items():
        save_population(population, tmp_path / name)
    as_it_is = learned("data")
    assert learned("truth") == as_it_is
    assert learned("held out") == as_it_is
    assert learned("training") != as_it_is


@pytest.mark.parametrize("agent", ["sasrec", "sasrec+mmr"])
def test_users_without_a_log_are_refused_before_anything_is_written(
    agent: str, recipe: Config, people: Population, tmp_path: Path
) -> None:
    save_population(dataclasses.replace(people, history=people.history[:0]), tmp_path / "empty")
    message = r"sasrec.* learns from the clicks of training users in a log, and synthetic users have no such log"
    for data in (DataConfig(), DataConfig(path=str(tmp_path / "empty"))):
        with pytest.raises(ValueError, match=message):
            train(dataclasses.replace(recipe, agents=["random", agent], data=data), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    check_agents(Task.load(recipe), parse_agents(recipe))


def test_a_damaged_network_is_named_and_not_executed(recipe: Config, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(dataclasses.replace(recipe, agents=["sasrec"]), run)
    (run / POLICY).write_bytes(pickle.dumps(print))
    with pytest.raises(RunError, match=r"sasrec\.pt"):
        evaluate(run)


def searching(recipe: Config, agent: str, key: str, values: Any) -> Config:
    space = {key: {"choices": values}}
    return dataclasses.replace(recipe, tune=TuneConfig(agent=agent, trials=2, users=6, space=space))


@pytest.mark.parametrize("agent", ["sasrec", "sasrec+mmr"])
def test_what_it_reads_can_be_searched(agent: str, recipe: Config, tmp_path: Path) -> None:
    trials = tune(searching(recipe, agent, "train.hidden", [8, 4]), tmp_path / "search")
    assert sorted(trial.values["train.hidden"] for trial in trials) == [4, 8]
    assert all(len(trial.scores) == 6 for trial in trials)


def test_what_it_does_not_read_cannot_be_searched(recipe: Config, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"train\.gamma means nothing to the agent sasrec\+mmr"):
        tune(searching(recipe, "sasrec+mmr", "train.gamma", [0.5, 0.9]), tmp_path / "search")
