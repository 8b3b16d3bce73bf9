"""Threads: what agents show, learn and are judged by is the same, bit for bit, however many there are."""

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import lerl
from lerl.agents.base import Agent
from lerl.agents.baselines import BASELINES
from lerl.agents.belief.agent import BeliefAgent
from lerl.agents.belief.repetition import Rule
from lerl.agents.hierarchical import HierarchicalAgent
from lerl.agents.retrieval import ItemIndex
from lerl.bench.belief import user_model
from lerl.config.schema import Config, DataConfig, EvaluationConfig, SyntheticConfig
from lerl.envs import threads
from lerl.envs.config import SimulatorConfig, configured
from lerl.planners.base import PlanContexts
from lerl.planners.rules import build_planner
from lerl.planners.satiation import Satiation, Tiredness
from lerl.run.agent_factory import hierarchical_agent, planned_belief_agent
from lerl.run.rollout import Episodes, Evaluator
from lerl.run.task import Task

SLOTS, SESSIONS = 21, 34  # which no number of threads divides; slots begin anew, and some idle in the end
COUNTS = (2, 3, 5)


@pytest.fixture(autouse=True)
def everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of two sessions are worth a thread, and nobody said how many there are."""
    monkeypatch.setattr(threads, "LEAST", 0.0)
    monkeypatch.delenv(threads.VARIABLE, raising=False)


def task_of(**env: Any) -> Task:
    config = Config(
        agents=["random"],
        data=DataConfig(synthetic=SyntheticConfig(users=60, items=70, categories=5, dim=4)),
        env=configured(SimulatorConfig(slate_size=3, max_steps=7), env),
        evaluation=EvaluationConfig(batch_size=SLOTS),
    )
    return Task.load(config)


def repeating(task: Task) -> Any:
    """A model of people whom repetition drives away, and who dislike what is alike."""
    model, rule = user_model(task), Rule(6, False, True, 2)
    groups = np.eye(4, dtype=np.float32)[np.arange(len(model.offsets)) % 4]
    doubts, prices = np.full(len(model.offsets), 0.5, np.float32), np.full((7, 4), 0.7)
    rules = np.array(rule, np.float64)
    return model._replace(groups=groups, rule=rules, prices=prices, doubts=doubts, alike=0.4)


def belief(task: Task, explore: bool = False) -> BeliefAgent:
    return BeliefAgent(task.task_spec("belief"), SLOTS, repeating(task), explore)


def planned(task: Task, name: str, **more: Any) -> HierarchicalAgent:
    return hierarchical_agent(task, name, build_planner(name, 2, task.seed("planner")), **more)


AGENTS: dict[str, Callable[[Task], Agent]] = {
    **{name: lambda task, name=name: BASELINES[name](task.task_spec(name), SLOTS) for name in BASELINES},  # type: ignore[misc]
    "flat": lambda task: hierarchical_agent(task, "flat", None),
    "flat+mmr": lambda task: hierarchical_agent(task, "flat", None, diversity=0.5),
    "boredom": lambda task: planned(task, "boredom"),
    "rotation+mmr": lambda task: planned(task, "rotation", diversity=0.5),
    "belief": belief,
    "belief, exploring": lambda task: belief(task, explore=True),
    "boredom+belief": lambda task: planned_belief_agent(
        task, "boredom+belief", build_planner("boredom", 2, task.seed("planner")), belief(task)
    ),
}


def played(task: Task, make: Callable[[Task], Agent], count: int) -> Episodes:
    evaluator = Evaluator(task.population, task.config.env, task.axis, "train", SLOTS, threads=count)
    return evaluator.play(make(task), np.resize(evaluator.users, SESSIONS), 1, seed=3, keep=4)


def same(one: Episodes, other: Episodes) -> None:
    for entry in fields(Episodes):
        mine, its = getattr(one, entry.name), getattr(other, entry.name)
        if entry.name == "kept":
            assert mine.plans == its.plans
            mine, its = mine.boredom, its.boredom
        assert mine.tobytes() == its.tobytes(), entry.name


@pytest.mark.parametrize("name", AGENTS)
def test_sessions_of_an_agent_are_the_same_bits_with_any_number_of_threads(name: str):
    task = task_of()
    alone = played(task, AGENTS[name], 1)
    for count in COUNTS:
        same(played(task, AGENTS[name], count), alone)


HARD = {
    "likeness": {"similarity": {"weight": 0.3}, "leave": "never"},
    "window": {"leave": {"rule": "window", "window": {"window": 6, "most": 2}}},
    "budget": {"leave": {"rule": "budget", "budget": {"budget": 9.0}}},
    "moods and repeats": {"mood": {"enabled": True, "spread": 0.5}, "repeats": True},
    "nothing bores": {"boredom": {"enabled": False}, "leave": "never"},
}


@pytest.mark.parametrize("world", HARD)
def test_look_ahead_is_the_same_bits_with_any_number_of_threads(world: str):
    task = task_of(**HARD[world])
    for name in ("privileged", "informed"):
        alone = played(task, AGENTS[name], 1)
        for count in COUNTS:
            same(played(task, AGENTS[name], count), alone)


@pytest.mark.parametrize("users", [2, 3, 17, 64])
def test_retrieval_is_the_same_bits_with_any_number_of_threads(users: int):
    draw = np.random.default_rng(users)
    groups = draw.integers(-1, 6, size=(300, 2)).astype(np.int32)
    index = ItemIndex(draw.normal(size=(300, 9)).astype(np.float32), groups)
    queries = draw.normal(size=(users, 9)).astype(np.float32)
    allowed, avoid = draw.random((users, 6)) < 0.4, draw.random((users, 6)) < 0.2
    shown = draw.integers(-1, 300, size=(users, 40)).astype(np.int32)

    def found(count: int) -> list[NDArray[Any]]:
        with threads.limit(count):
            return [*index.top(queries, allowed, avoid, shown, 5), *index.best(queries, 4)]

    for count in COUNTS:
        for one, other in zip(found(count), found(1), strict=True):
            assert one.tobytes() == other.tobytes()


def test_what_a_planner_keeps_of_sessions_is_the_same_with_any_number_of_threads(make_contexts: Any):
    """Sessions whose places are few, so that they take each other's; slates go on, and some are forgotten."""
    model = Satiation(0.1, 0.9, np.random.default_rng(1).normal(size=(3, 3)), 0.8)

    def found(count: int) -> tuple[list[bytes], list[bytes]]:
        tiredness, seen = Tiredness(), []
        with threads.limit(count):
            for contexts in make_contexts():
                seen += [part.tobytes() for part in tiredness.of(contexts, model)]
        assert tiredness._kept is not None
        return seen, [tiredness._kept.keys.tobytes(), tiredness._kept.used.tobytes(), tiredness._kept.sums.tobytes()]

    alone = found(1)
    for count in COUNTS:
        assert found(count) == alone


@pytest.fixture
def make_contexts() -> Callable[[], list[PlanContexts]]:
    task = task_of()
    axis = replace(task.axis, names=task.axis.names[:3], membership=np.eye(3, dtype=bool)[np.arange(70) % 3])

    def make() -> list[PlanContexts]:
        draw, steps, found = np.random.default_rng(2), 6, []
        items = draw.integers(70, size=(60, 3 * steps)).astype(np.int32)
        answers = draw.random(items.shape).astype(np.float32)
        keys = draw.integers(50, size=60).astype(np.uint64)
        for step in range(1, steps + 1):
            some = draw.permutation(60)[: 30 + step]
            recent = np.full((len(some), 3 * steps), -1, np.int32)
            recent[:, -3 * step :] = items[some, : 3 * step]
            zeros, none = np.zeros((len(some), 3), np.float32), np.zeros(len(some), np.int64)
            found.append(
                PlanContexts(axis, 3, keys[some], none, none, zeros, zeros, zeros, recent, answers[some], answers[some])
            )
        return found

    return make


TABLES = ("episodes", "steps", "items", "exposure", "curves")
WORLD: dict[str, Any] = {
    "data": {"synthetic": {"users": 50, "items": 60, "categories": 5, "dim": 4}},
    "env": {"max_steps": 8, "slate_size": 3},
    "train": {"steps": 400, "users": 8, "rollout": 10, "batch_size": 40, "epochs": 1, "hidden": 8},
    "planner": {"clusters": 5, "size": 2, "sessions": 30},
    "evaluation": {"users": 12, "batch_size": 7, "bootstrap": 100},
}


def test_a_whole_run_is_the_same_with_any_number_of_threads(tmp_path: Path):
    tables = []
    for count in (1, 3):
        with threads.limit(count):
            agents = ["boredom+ppo", "flat+ppo+mmr", "belief+greedy", "random"]
            run = lerl.train("quickstart", tmp_path / str(count), agents=agents, **WORLD)
        tables.append([(run.path / f"{name}.parquet").read_bytes() for name in TABLES])
    assert tables[0] == tables[1]
