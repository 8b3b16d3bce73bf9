"""Recommenders of the next item from a prepared folder to a table: what they learn from, and that they go on."""

import dataclasses
import json
import pickle
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import lerl
from lerl.agents import sasrec
from lerl.agents.config import TrainConfig
from lerl.agents.next_item.neural import NeuralNextItem
from lerl.config.errors import SettingsError
from lerl.config.schema import Config, DataConfig, EvaluationConfig, TuneConfig
from lerl.envs.catalog import Axis
from lerl.envs.codes import Codes
from lerl.envs.config import SimulatorConfig
from lerl.envs.plugins import PluginError
from lerl.envs.population import Population
from lerl.envs.store import save_population
from lerl.envs.synthetic import synthetic_population
from lerl.experiment.search.space import search_space
from lerl.experiment.tune import tune
from lerl.files import RunError
from lerl.planners.config import PlannerConfig
from lerl.report.compare import compare
from lerl.run.checks import check_agents
from lerl.run.evaluate import evaluate
from lerl.run.fitter import Fitter
from lerl.run.rollout import Evaluator
from lerl.run.specs import AgentSpec, parse_agent, parse_agents
from lerl.run.task import Task
from lerl.run.train import resume, train
from lerl.serve.recommender import SessionError

POLICY = Path("policies") / "sasrec.pt"


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sasrec, "EPOCHS", 3)
    usual = NeuralNextItem.sized.__func__  # type: ignore[attr-defined]
    short = classmethod(lambda row, width, rate: dataclasses.replace(usual(row, width, rate), epochs=2))
    monkeypatch.setattr(NeuralNextItem, "sized", short)


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


@pytest.mark.parametrize("agent", ["sasrec", "sasrec+mmr", "tiger"])
def test_what_it_reads_can_be_searched(agent: str, recipe: Config, tmp_path: Path) -> None:
    trials = tune(searching(recipe, agent, "train.hidden", [8, 4]), tmp_path / "search")
    assert sorted(trial.values["train.hidden"] for trial in trials) == [4, 8]
    assert all(len(trial.scores) == 6 for trial in trials)


def test_what_it_does_not_read_cannot_be_searched(recipe: Config, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"train\.gamma means nothing to the agent sasrec\+mmr"):
        tune(searching(recipe, "sasrec+mmr", "train.gamma", [0.5, 0.9]), tmp_path / "search")


# rows of lerl rank, alone and below planners

UNTITLED = pytest.mark.filterwarnings("ignore:planner.axis codes. items have no titles")


@pytest.fixture
def planned(recipe: Config) -> Config:
    """Recommenders below planners, on an axis of codes."""
    agents = ["tiger", "boredom+tiger+mmr", "round_robin+sasrec", "flat+hstu", "random"]
    return dataclasses.replace(
        recipe, agents=agents, planner=PlannerConfig(axis="codes", clusters=4, size=1), train=TrainConfig(
            hidden=8, validation=6, steps=120
        )
    )  # fmt: skip


@UNTITLED
def test_rows_below_planners_get_to_the_table_and_a_kept_run_is_judged_again(planned: Config, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(planned, run)
    kept = {"hstu.pt", "sasrec.pt", "tiger.codes.npz", "tiger.pt"}
    assert {path.name for path in (run / "policies").iterdir()} == kept
    assert sorted(path.name for path in (run / "rows").iterdir()) == ["boredom+tiger+mmr.json"]
    assert not (run / "checkpoints").exists()
    labels = ["tiger", "boredom+tiger+mmr", "round_robin+sasrec", "hstu", "random"]
    table = pl.read_parquet(run / "episodes.parquet")
    assert table["agent"].unique(maintain_order=True).to_list() == labels
    judged = (run / "episodes.parquet").read_bytes()
    evaluate(run)
    assert (run / "episodes.parquet").read_bytes() == judged


@UNTITLED
def test_a_planner_above_a_row_may_plan_by_what_is_believed(planned: Config, tmp_path: Path) -> None:
    run, labels = tmp_path / "run", ["boredom+tiger", "boredom+belief+tiger"]
    train(dataclasses.replace(planned, agents=labels), run)
    table = pl.read_parquet(run / "items.parquet")
    slates = [table.filter(pl.col("agent") == label).drop("agent") for label in labels]
    assert all(map(len, slates))
    assert not slates[0].equals(slates[1])
    judged = (run / "episodes.parquet").read_bytes()
    evaluate(run)
    assert (run / "episodes.parquet").read_bytes() == judged


@UNTITLED
def test_slates_are_of_the_categories_that_are_planned(planned: Config, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(dataclasses.replace(planned, agents=["round_robin+tiger"]), run)
    with closing(Fitter(Task.load(planned), run, lambda *_: None)) as fitter:
        agent, task = fitter.agent(parse_agent("round_robin+tiger", "boredom")), fitter.context.task
        users = task.population.users("evaluation")[:8]
        played = Evaluator(task.population, task.config.env, task.axis, "evaluation", 8).play(agent, users, 1, 3)
    inside = 0
    for session in range(len(users)):
        for step in range(played.lengths[session]):
            items = played.slates[session, step]
            inside += task.axis.membership[items].all(axis=0).any()
    assert inside >= played.lengths.sum() - played.widened.sum() > 0


def test_a_tiger_that_is_stopped_goes_on_to_the_same_end_and_lost_codes_are_made_again(
    recipe: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = dataclasses.replace(recipe, agents=["tiger"])
    train(alone, tmp_path / "whole")
    write, done = Path.write_bytes, []

    def write_bytes(path: Path, content: bytes) -> int:
        done.append(path)
        if ".codes" in path.name:
            raise KeyboardInterrupt
        return write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", write_bytes)
        with pytest.raises(KeyboardInterrupt):
            train(alone, tmp_path / "run")
    resume(tmp_path / "run")
    for name in ("episodes.parquet", "policies/tiger.pt", "policies/tiger.codes.npz"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    (tmp_path / "run" / "policies" / "tiger.codes.npz").unlink()
    with pytest.raises(RunError, match="was not trained to its end, or lost some of it"):
        evaluate(tmp_path / "run")
    resume(tmp_path / "run")
    evaluate(tmp_path / "run")


def test_codes_that_are_not_those_of_the_weights_are_refused(recipe: Config, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(dataclasses.replace(recipe, agents=["tiger"]), run)
    path = run / "policies" / "tiger.codes.npz"
    codes = Codes.load(path)
    Codes(codes.digits[::-1].copy(), codes.sizes).save(path)
    with pytest.raises(RunError, match=r"tiger\.pt"):
        evaluate(run)


@UNTITLED
def test_people_are_served_by_a_planned_row_which_takes_no_new_items(planned: Config, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(dataclasses.replace(planned, agents=["boredom+tiger"]), run)
    with closing(lerl.Run(run).recommender("boredom+tiger")) as people:
        for history in ({"3": True, "8": False}, {}):
            session = people.start(history=history)
            first = people.recommend(session, exclude=["5"])
            assert len(first.ids) == len(set(first.ids)) == 2
            assert "5" not in first.ids
            assert len(first.plan or ()) == 1
            people.observe(session, first.ids, [True, False])
            assert not set(first.ids) & set(people.recommend(session).ids)
        with pytest.raises(SessionError, match=r"boredom\+tiger has an output for each item"):
            people.add_items({"new": ["category 1"]})


def test_what_is_said_of_codes_is_said_in_training(
    recipe: Config, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    train(dataclasses.replace(recipe, agents=["tiger"]), tmp_path / "run")
    said = capsys.readouterr().err
    assert "items have no titles: their categories are all that is read of them" in said
    assert "are told apart by a last digit" in said


def test_items_that_nothing_is_said_of_are_refused_or_counted(
    recipe: Config, people: Population, tmp_path: Path
) -> None:
    one = Axis(("other",), np.ones((50, 1), bool))
    nameless = dataclasses.replace(people, catalog=dataclasses.replace(people.catalog, categories=one))
    save_population(nameless, tmp_path / "nameless")
    config = dataclasses.replace(recipe, data=DataConfig(path=str(tmp_path / "nameless")))
    with pytest.raises(
        ValueError, match=r"tiger names items by their titles and categories, and 50 items of synthetic"
    ):
        train(dataclasses.replace(config, agents=["tiger"]), tmp_path / "run")
    with pytest.raises(
        ValueError, match=r"planner\.axis codes groups items by their words, and the catalog has neither"
    ):
        train(dataclasses.replace(config, agents=["random"], planner=PlannerConfig(axis="codes")), tmp_path / "run")
    few = dataclasses.replace(people.catalog, titles=("red shoe", "blue shoe", "old book", *people.catalog.titles[3:]))
    save_population(dataclasses.replace(nameless, catalog=dataclasses.replace(few, categories=one)), tmp_path / "few")
    config = dataclasses.replace(config, data=DataConfig(path=str(tmp_path / "few")), agents=["round_robin+greedy"])
    config = dataclasses.replace(config, planner=PlannerConfig(axis="codes", clusters=2))
    with pytest.warns(UserWarning, match="planner.axis codes: .*; 47 of 50 items have no words: they are a group"):
        check_agents(Task.load(config), parse_agents(config))


@pytest.mark.parametrize(
    ("name", "label", "planner", "diverse"),
    [
        ("tiger", "tiger", None, False),
        ("flat+tiger", "tiger", None, False),
        ("flat+s2gr+mmr", "s2gr+mmr", None, True),
        ("boredom+tiger", "boredom+tiger", "boredom", False),
        ("planner+tiger+tca", "rotation+tiger+tca", "rotation", False),
        ("planner+hstu", "rotation+hstu", "rotation", False),
        ("round_robin+sasrec+mmr", "round_robin+sasrec+mmr", "round_robin", True),
    ],
)
def test_names_stand_for_rows_alone_and_below_planners(
    name: str, label: str, planner: str | None, diverse: bool
) -> None:
    spec = parse_agent(name, "rotation")
    row = label.removesuffix("+mmr").removeprefix(f"{planner}+")
    assert spec == AgentSpec(label, planner, diverse=diverse, next_item=row)
    assert parse_agent("boredom+belief+s2gr+tca", "rotation") == AgentSpec(
        "boredom+belief+s2gr+tca", "boredom", believes=True, next_item="s2gr+tca"
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tiger+ppo", r"tiger chooses items itself; give 'tiger', 'tiger\+mmr' .* 'boredom\+tiger'"),
        ("sasrec+tiger", r"sasrec chooses items itself"),
        ("belief+tiger", r"a belief is no planner, and chooses items itself; give 'belief\+greedy'.*'boredom\+tiger'"),
        ("flat+belief+tiger", r"a belief that nothing plans by changes no item; give 'tiger'"),
        ("tigre", r"Did you mean 'tiger'\?"),
        ("boredom+tigre", r"Did you mean 'boredom\+tiger'\?"),
    ],
)
def test_what_cannot_be_put_together_is_refused_in_one_line(name: str, message: str) -> None:
    with pytest.raises(PluginError, match=message):
        parse_agent(name, "boredom")


def test_too_short_a_log_is_refused(recipe: Config, people: Population, tmp_path: Path) -> None:
    first = np.unique(people.history[people.history[:, 2] == 1][:, 0], return_index=True)[1]
    few = people.history[people.history[:, 2] == 1][first]  # a click of each
    save_population(dataclasses.replace(people, history=few), tmp_path / "short")
    config = dataclasses.replace(recipe, data=DataConfig(path=str(tmp_path / "short")))
    check_agents(Task.load(config), parse_agents(dataclasses.replace(config, agents=["sasrec"])))
    config = dataclasses.replace(config, agents=["hstu"])
    with pytest.raises(
        ValueError, match="hstu learns from training users with 3 known clicks or more, and the log has 0"
    ):
        check_agents(Task.load(config), parse_agents(config))


def test_a_row_below_a_planner_is_searched_by_what_it_reads_and_what_is_planned(recipe: Config) -> None:
    config = searching(recipe, "boredom+tiger", "planner.size", [2, 3])
    assert set(search_space(config, parse_agent("boredom+tiger", "boredom"))) == {"planner.size"}
    with pytest.raises(SettingsError, match=r"planner\.size means nothing to the agent tiger"):
        search_space(searching(recipe, "tiger", "planner.size", [2, 3]), parse_agent("tiger", "boredom"))
