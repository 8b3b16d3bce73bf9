"""Lives of evaluation users: each once, whoever lives beside, and what an agent is told of those who come back."""

import dataclasses
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import lerl
from lerl.agents.base import Agent, Pause, as_agent
from lerl.agents.config import TrainConfig
from lerl.cli.main import main
from lerl.config.errors import SettingsError
from lerl.config.parse import overlay
from lerl.config.schema import Config, DataConfig, EvaluationConfig, SyntheticConfig
from lerl.envs.config import SimulatorConfig
from lerl.experiment.spec import Experiment
from lerl.llm.cost import estimate
from lerl.report.compare import compare
from lerl.run.agent_factory import build_agent
from lerl.run.evaluate import judge_side_by_side
from lerl.run.lives import PlayedLives, life_tables, play_lives
from lerl.run.rollout import Evaluator
from lerl.run.specs import parse_agent
from lerl.run.task import Task
from lerl.run.train import train

DAYS = 9.0
SMALL = Config(
    agents=["flat+greedy", "random"],
    data=DataConfig(synthetic=SyntheticConfig(users=40, items=60, categories=5, dim=4)),
    env=SimulatorConfig(slate_size=2, max_steps=8, horizon="days", days=DAYS),
    train=TrainConfig(steps=0),
    evaluation=EvaluationConfig(replicates=2, batch_size=8, bootstrap=100),
)


class Recorder(Agent):
    """Shows the same few items, and writes down what it is told."""

    def __init__(self, count: int) -> None:
        self.count, self.keys, self.pauses = count, list[int](), list[Pause]()
        self.known: dict[int, list[Any]] = defaultdict(list)
        self.last: dict[int, Any] = {}

    def recall(self, rows: Any, known: Any) -> None:
        self.last |= dict(zip(rows.tolist(), known, strict=True))

    def begin(self, rows: Any, observation: Any, keys: Any) -> None:
        self.keys += keys.tolist()
        assert (observation["sessions"][rows] == 0).all()

    def begin_again(self, rows: Any, observation: Any, keys: Any, pause: Pause) -> None:
        self.keys += keys.tolist()
        self.pauses.append(pause)
        for row in rows.tolist():
            self.known[row].append(self.last[row])
        assert (observation["sessions"][rows] > 0).all()
        np.testing.assert_array_equal(observation["days_since"][rows, 0], pause.days.astype(np.float32))

    def act(self, observation: Any) -> Any:
        step = np.rint((1 - observation["time_left"]) * 8).astype(np.int64)  # of this session
        return (step * 2 + np.arange(2)) % 60


def lived(task: Task, agent: Any, batch: int, users: int = 6, replicates: int = 1) -> PlayedLives:
    assert task.lives is not None
    evaluator = Evaluator(task.population, task.lives, task.axis, "evaluation", batch)
    return play_lives(evaluator, agent, evaluator.users[:users], replicates, task.seed("lives"))


@pytest.fixture(scope="module")
def task() -> Task:
    return Task.load(SMALL)


@pytest.mark.parametrize("name", ["random", "flat+greedy", "informed"])
def test_lives_are_the_same_whoever_lives_beside(task: Task, name: str) -> None:
    def tables(batch: int) -> dict[str, pl.DataFrame]:
        evaluation = dataclasses.replace(task.config.evaluation, batch_size=batch)
        sized = dataclasses.replace(task, config=dataclasses.replace(task.config, evaluation=evaluation))
        if name == "flat+greedy":
            from lerl.run.agent_factory import hierarchical_agent

            agent: Agent = hierarchical_agent(sized, name, None)
        else:
            agent = build_agent(parse_agent(name, ""), sized)
        return life_tables(name, lived(sized, agent, batch, replicates=2), sized)

    few, many = tables(3), tables(20)
    for table, found in few.items():
        assert found.equals(many[table])


def test_every_person_lives_once_and_sessions_follow_each_other(task: Task) -> None:
    agent = Recorder(4)
    played = lived(task, agent, 4, replicates=2)
    tables = life_tables("own", played, task)
    lives, sessions = tables["lives"], tables["life_sessions"]
    assert lives.select("user", "replicate").is_unique().all()
    assert len(lives) == 12
    assert lives["sessions"].to_list() == [len(one) for one in played.sessions]
    for own in sessions.partition_by("user", "replicate"):
        assert own["session"].to_list() == list(range(len(own)))
        assert own["day"][0] == 0
        assert own["day"][-1] < DAYS
        np.testing.assert_allclose(own["day"].diff().drop_nulls(), own["gap"][1:])
    assert len(sessions) > len(lives)
    together = lives.join(sessions.group_by("user", "replicate").agg(pl.col("R_cum").sum()), on=("user", "replicate"))
    np.testing.assert_allclose(together["R_life"], together["R_cum"])
    assert sessions["T_int"].is_between(1, 8).all()
    assert len(set(agent.keys)) >= len(sessions)  # an idle slot repeats the first life


def test_replicates_of_a_person_are_different_lives(task: Task) -> None:
    tables = life_tables("own", lived(task, Recorder(4), 4, replicates=2), task)
    first, second = (tables["lives"].filter(pl.col("replicate") == number)["R_life"] for number in (0, 1))
    assert first.to_list() != second.to_list()


def test_who_comes_back_is_recalled_with_what_earlier_sessions_showed(task: Task) -> None:
    agent = Recorder(1)
    played = lived(task, agent, 1)
    life = next(n for n, sessions in enumerate(played.sessions) if len(sessions) > 2)
    history = task.population.known(played.users[[life]])[0]
    sessions, before = played.sessions[life], sum(len(one) - 1 for one in played.sessions[:life])
    agent.known[0] = agent.known[0][before : before + len(sessions) - 1]
    shown = np.concatenate([one.slates[one.slates >= 0] for one in sessions[:2]])
    after_two = agent.known[0][1]
    np.testing.assert_array_equal(after_two[: len(history)], history)
    np.testing.assert_array_equal(after_two[len(history) :, 0], shown)
    reward = sum(float(one.rewards.sum()) for one in sessions[:2])
    assert after_two[len(history) :, 1].sum() == pytest.approx(2 * reward)  # clicks on slates of two


def test_the_pause_holds_the_slate_that_no_observation_did(task: Task) -> None:
    agent = Recorder(1)
    sessions = lived(task, agent, 1, users=1).sessions[0]
    for before, after, pause in zip(sessions[:-1], sessions[1:], agent.pauses, strict=True):
        np.testing.assert_array_equal(pause.items[0], before.slates[-1])
        assert pause.feedback[0][pause.items[0] >= 0].sum() / 2 == pytest.approx(before.rewards[-1])
        assert pause.days[0] == after.gap


def test_what_only_begins_and_acts_lives_too(task: Task) -> None:
    class Own:
        begun = 0

        def begin(self, rows: Any, observation: Any, keys: Any) -> None:
            self.begun += len(rows)

        def act(self, observation: Any) -> Any:
            return np.tile([1, 2], (len(observation["taste"]), 1))

    own = Own()
    played = lived(task, as_agent(own), 2, users=2)
    assert own.begun >= sum(map(len, played.sessions)) > 2


def test_an_agent_of_ones_own_is_judged_on_lives_in_python() -> None:
    judged = lerl.evaluate(
        lambda seen: np.tile([1, 2], (len(seen["taste"]), 1)),
        beside=["random"],
        env={"horizon": "days", "days": 3, "slate_size": 2},
        data={"synthetic": {"users": 40, "items": 60}},
        evaluation={"users": 4},
    )
    assert judged.lives is not None
    assert judged.life_sessions is not None
    assert set(judged.lives["agent"]) == {"own", "random"}
    assert judged.summary["lives"]["days"] == 3
    assert len(judged.life_sessions) >= len(judged.lives)


def test_a_run_with_lives_has_the_same_sessions_and_two_more_tables(tmp_path: Path) -> None:
    sessions = dataclasses.replace(SMALL, env=dataclasses.replace(SMALL.env, horizon="session"))
    train(SMALL, tmp_path / "days")
    train(sessions, tmp_path / "sessions")
    for name in ("episodes", "steps", "items", "exposure", "curves"):
        assert (tmp_path / "days" / f"{name}.parquet").read_bytes() == (
            tmp_path / "sessions" / f"{name}.parquet"
        ).read_bytes()
    with_lives, without = (compare([tmp_path / name], bootstrap=100) for name in ("days", "sessions"))
    assert not (tmp_path / "sessions" / "lives.parquet").exists()
    assert "lives" not in without
    assert with_lives["agents"] == without["agents"]
    assert set(with_lives["lives"]["agents"]) == {"flat+greedy", "random"}
    assert with_lives["lives"]["days"] == DAYS
    found = with_lives["lives"]["agents"]["random"]
    assert found["retention_30"]["mean"] is None  # which nobody sees in nine days
    assert 1 <= (found["active_days"]["mean"] or 0) <= DAYS


def test_lives_are_the_same_side_by_side(tmp_path: Path) -> None:
    config = dataclasses.replace(SMALL, agents=["random", "privileged"])
    config = dataclasses.replace(config, evaluation=dataclasses.replace(config.evaluation, users=4, replicates=1))
    train(config, tmp_path)
    with ThreadPoolExecutor(1) as pool:  # the users of privileged in four parts
        judge_side_by_side(Task.load(config), tmp_path, config, pool)
    for name in ("lives", "life_sessions"):
        parts = [pl.read_parquet(tmp_path / "evaluated" / agent / f"{name}.parquet") for agent in config.agents]
        assert pl.concat(parts).equals(pl.read_parquet(tmp_path / f"{name}.parquet"))


def test_tables_are_printed_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(SMALL, tmp_path / "run")
    main(["compare", str(tmp_path / "run"), "--surrogates", "--reference", "random", "--out", str(tmp_path / "out")])
    printed = capsys.readouterr().out
    for words in ("Lives of 9 days", "active days", "R_life", "What a session tells of coming back", "Day 30 cannot"):
        assert words in printed
    written = (tmp_path / "out" / "summary.md").read_text()
    assert "## Lives of 9 days" in written
    assert "active_days of random" in written


def test_surrogates_need_lives(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(dataclasses.replace(SMALL, env=dataclasses.replace(SMALL.env, horizon="session")), tmp_path / "run")
    assert main(["compare", str(tmp_path / "run"), "--surrogates"])
    assert "--env.horizon days" in capsys.readouterr().err


def test_a_chat_model_is_not_judged_on_lives(tmp_path: Path) -> None:
    config = overlay(SMALL, {"agents": ["llm+greedy"], "planner.model": "some-model"})
    with pytest.raises(ValueError, match="a life has many sessions"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(ValueError, match="a life has many sessions"):
        estimate(config)


def test_an_experiment_is_of_sessions() -> None:
    config = overlay(SMALL, {"experiment.agents": {"random": {}}, "experiment.conditions": {"all": {}}})
    with pytest.raises(SettingsError, match="judges agents by single sessions"):
        Experiment.read(config)
