"""What a run keeps of its chat model: which user-steps it planned for, and by which texts it was asked."""

import dataclasses
import json
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from lerl.agents.hierarchical import HierarchicalAgent, Hierarchy
from lerl.cli.main import main
from lerl.config.parse import dump
from lerl.config.schema import Config, DataConfig, SyntheticConfig
from lerl.planners.base import PlanContexts, Plans
from lerl.planners.config import PlannerConfig
from lerl.planners.llm.prompt import TEXTS
from lerl.planners.rules import build_planner
from lerl.run.fitter import Fitter
from lerl.run.rollout import Episodes, Evaluator
from lerl.run.specs import parse_agent
from lerl.run.task import Task
from lerl.run.train import made_with

CONFIG = Config(
    data=DataConfig(synthetic=SyntheticConfig(users=40, items=60, categories=4)),
    planner=PlannerConfig(size=2, sessions=0, model="openai:m", base_url="http://127.0.0.1:1/v1"),
)


def test_only_steps_that_it_planned_for_are_counted(tmp_path: Path):
    with closing(Fitter(Task.load(CONFIG), tmp_path, lambda *_: None)) as fitter:
        for row, steps in (("llm+greedy", 10), ("random", 200), ("llm+greedy", 5), ("boredom+greedy", 1000)):
            fitter.agent(parse_agent(row, "llm"))
            fitter.context.chat.count(steps)
    report = json.loads((tmp_path / "planners" / "traffic.json").read_text(encoding="utf-8"))
    assert report["user_steps"] == 15
    assert list(report["phases"]) == ["evaluate llm+greedy"]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("cache", "notes.txt", "notes.txt cannot be used: file is not a database; give another file, or remove it"),
        ("replay", "notes.txt", "notes.txt cannot be used: file is not a database; give another file, or remove it"),
        ("replay", "gone", "there is no gone; give the folder of a run whose planner was a chat model"),
        ("base_url", "http://me:PW@h/v1", "planner.base_url holds a user, a query or a fragment"),
        ("base_url", "http://localhost:PW/v1", "planner.base_url has a host or a port that cannot be read"),
        ("base_url", "http://999.1.1.1/v1", "planner.model 'openai:m' cannot be used: Invalid IPv4 address"),
    ],
)
def test_what_cannot_be_used_takes_no_folder(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    key: str,
    value: str,
    message: str,
):
    monkeypatch.chdir(tmp_path)
    Path("notes.txt").write_text("nothing that SQLite knows\n" * 100, encoding="utf-8")
    Path("mine.yaml").write_text(dump(dataclasses.replace(CONFIG, agents=["llm+greedy"])), encoding="utf-8")
    assert main(["train", "mine.yaml", f"--planner.{key}", value, "--out", "run"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"lerl: error: {message}")
    assert "PW" not in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.yaml", "notes.txt"]


@pytest.mark.parametrize(("name", "value"), [("model", "openai:m"), ("replay", "x"), ("cache", "x"), ("pool", "x")])
def test_a_chat_model_that_nobody_would_ask_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str
):
    monkeypatch.chdir(tmp_path)
    flags = ["--agents", "[planner+greedy,random]", f"--planner.{name}", value, "--out", "run"]
    assert main(["train", "quickstart", *flags]) == 2
    assert capsys.readouterr().err == (
        f"lerl: error: planner.{name} is given, but no agent of this recipe is planned by a chat model; give "
        "--planner.name llm, or agents such as llm+ppo\n"
    )
    assert list(tmp_path.iterdir()) == []


class Counting:
    """The boredom-aware rule; counts the sessions that it plans for."""

    def __init__(self, size: int, seed: int) -> None:
        self.rule = build_planner("boredom", size, seed)
        self.planned = 0

    def plan(self, contexts: PlanContexts) -> Plans:
        self.planned += len(contexts)
        return self.rule.plan(contexts)


@pytest.mark.parametrize("sessions", [1, 3, 11])  # on eight slots
def test_slots_without_a_session_that_counts_are_not_planned_for(sessions: int, monkeypatch: pytest.MonkeyPatch):
    task = Task.load(CONFIG)

    def play() -> tuple[Episodes, int]:
        planner = Counting(2, 0)
        evaluator = Evaluator(task.population, CONFIG.env, task.axis, "train", 8)
        agent = HierarchicalAgent(Hierarchy(task.task_spec("x"), 8, planner))
        return evaluator.play(agent, evaluator.users[:sessions], 1, 0), planner.planned

    played, planned = play()
    assert planned == played.lengths.sum()
    monkeypatch.delattr(HierarchicalAgent, "attend")
    before, more = play()
    assert more > planned
    for name, values in vars(before).items():
        if name == "kept":
            assert (values.plans, values.boredom.size) == (played.kept.plans, 0) == ([], 0)
            continue
        np.testing.assert_array_equal(getattr(played, name), values, name)


def test_a_run_keeps_which_texts_it_asked_by(tmp_path: Path):
    def digest(folder: str | None) -> str:
        planner = dataclasses.replace(CONFIG.planner, prompts=folder)
        return str(made_with(Task.load(dataclasses.replace(CONFIG, planner=planner)))["prompts"])

    text = (TEXTS / "plan.txt").read_text(encoding="utf-8")
    (tmp_path / "plan.txt").write_text(text, encoding="utf-8")
    assert digest(str(tmp_path)) == digest(None)
    (tmp_path / "plan.txt").write_text(text + "Be brief.\n", encoding="utf-8")
    assert digest(str(tmp_path)) != digest(None)
