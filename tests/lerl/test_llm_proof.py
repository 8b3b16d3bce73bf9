"""What a chat model's plans are worth and what they cost, with a scripted expert behind real HTTP.

The expert reads nothing but the prompt and answers with the boredom-aware rule. One policy is trained through it; then
planners are swapped above that policy, on the same evaluation users with the same draws.
"""

import dataclasses
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lerl.config import Config, DataConfig, PlannerConfig, SyntheticConfig, TrainConfig
from lerl.envs.simulator import SimulatorConfig
from lerl.fit import Fitter
from lerl.planners.distilled import distil, recorded, save
from lerl.rollout import Stage
from lerl.rows import Task, parse_row
from tests.planners.chat_server import ChatServer

STEPS, DISTILLED_STEPS = 100_000, 60_000
REPLICATES = 12  # sessions of each of the 250 evaluation users; the standard error of a share retained is about 0.025
FEWER = 2  # where every plan is a request

# Five categories, all boring: the fewer there are, the more states look alike.
CONFIG = Config(
    agents=["llm+ppo"],
    data=DataConfig(synthetic=SyntheticConfig(categories=5)),
    env=SimulatorConfig(slate_size=6, topics="categories"),
    planner=PlannerConfig(size=2, sessions=0, model="openai:expert", timeout=60, detail="coarse"),
    train=TrainConfig(steps=STEPS, evaluations=1),
)


def fitter(folder: Path, url: str, steps: int = STEPS, **planner: Any) -> Fitter:
    settings = dataclasses.replace(CONFIG.planner, base_url=url, **planner)
    train = dataclasses.replace(CONFIG.train, steps=steps)
    return Fitter(Task.load(dataclasses.replace(CONFIG, planner=settings, train=train)), folder, lambda *_: None)


class Swapped:
    """The policy that was trained through the expert, under whatever planner."""

    def __init__(self, trained: Fitter) -> None:
        task = trained.task
        self.fitter = trained
        self.scorer = trained._scorer(parse_row("llm+ppo", "llm"), False)
        self.stage = Stage(task.population, task.config.env, task.axis, "evaluation", 256)
        self.known: dict[tuple[str, int], NDArray[np.float64]] = {}

    def reward(self, planner: Any, replicates: int = REPLICATES) -> NDArray[np.float64]:
        """(U,) mean total reward of each evaluation user's sessions."""
        agent = self.fitter._agent(planner, self.scorer, 0.0, "swapped")
        played = self.stage.play(agent, self.stage.users, replicates, seed=1)
        return np.nansum(played.rewards, axis=1).reshape(-1, replicates).mean(axis=1)

    def rule(self, name: str, replicates: int = REPLICATES) -> NDArray[np.float64]:
        if (name, replicates) not in self.known:
            self.known[name, replicates] = self.reward(self.fitter._planner(name)[0], replicates)
        return self.known[name, replicates]

    def retained(self, rewards: NDArray[np.float64], replicates: int = REPLICATES) -> float:
        """The share of the rule's advantage over the random planner."""
        random, rule = self.rule("random", replicates).mean(), self.rule("boredom", replicates).mean()
        return float((rewards.mean() - random) / (rule - random))


def lower(difference: NDArray[np.float64]) -> float:
    """Lower end of the 95 % interval of a mean over users."""
    return float(difference.mean() - 1.96 * difference.std() / len(difference) ** 0.5)


@pytest.fixture(scope="module")
def server() -> Iterator[ChatServer]:
    with ChatServer() as running:
        yield running


@pytest.fixture(scope="module")
def trained(server: ChatServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fitter]:
    with closing(fitter(tmp_path_factory.mktemp("trained"), server.url)) as made:
        made.fit(parse_row("llm+ppo", "llm"))
        yield made


@pytest.fixture(scope="module")
def swapped(trained: Fitter) -> Swapped:
    return Swapped(trained)


def test_training_takes_few_calls_and_its_plans_are_worth_as_much_as_the_rules(trained: Fitter, swapped: Swapped):
    """At most 50 calls per 1,000 user-steps at 0.95 of the rule's advantage; the source method makes 1,000."""
    assert lower(swapped.rule("boredom") - swapped.rule("round_robin")) > 0
    report = trained.guard.report()
    assert report["phases"]["train llm+ppo"]["user_steps"] >= STEPS
    assert 0 < report["calls_per_1000_user_steps"] <= 50
    assert report["fallbacks"] == report["faults"] == {}
    trained.guard.phase = "swapped"
    rewards = swapped.reward(trained._planner("llm")[0])
    print(
        f"\ncoarse: {report['calls_per_1000_user_steps']:.1f} calls per 1,000, retained {swapped.retained(rewards):.3f}"
    )
    assert swapped.retained(rewards) >= 0.95
    assert lower(rewards - swapped.rule("blind")) > 0  # whose one plan for everybody takes no calls


def test_full_questions_keep_the_rules_advantage(server: ChatServer, swapped: Swapped, tmp_path: Path):
    with closing(fitter(tmp_path, server.url, detail="full")) as asked:
        rewards = swapped.reward(asked._planner("llm")[0], FEWER)
        assert asked.guard.report()["fallbacks"] == {}
    print(f"\nfull: retained {swapped.retained(rewards, FEWER):.3f}")
    assert swapped.retained(rewards, FEWER) >= 0.95


def test_distilled_plans_take_a_tenth_of_the_calls(server: ChatServer, swapped: Swapped, tmp_path: Path):
    """At most 10 calls per 1,000 user-steps, those that were recorded for the distillation included."""
    with closing(fitter(tmp_path / "recorded", server.url, detail="full")) as teacher:
        played = teacher._explore(teacher._planner("llm")[0], 0, 25)
        weights, lesson = distil(*recorded(teacher.guard.traffic), 0)
        spent, steps = teacher.guard.report()["calls"], int(played.lengths.sum())
    assert lesson.agreement > 0.85 > lesson.chance
    save(weights, tmp_path / "recorded" / "planners" / "distilled.npz")
    settings = {"distilled": str(tmp_path / "recorded"), "refresh": 30, "sessions": 200, "detail": "full"}
    with closing(fitter(tmp_path / "student", server.url, DISTILLED_STEPS, **settings)) as student:
        student.fit(parse_row("distilled+ppo", "distilled"))
        report = student.guard.report()
        calls, lived = spent + report["calls"], steps + report["user_steps"]
        rewards = swapped.reward(student._planner("distilled")[0])
    print(f"\ndistilled: {1000 * calls / lived:.1f} calls per 1,000, retained {swapped.retained(rewards):.3f}")
    assert report["calls"] > 0
    assert 1000 * calls / lived <= 10
    assert swapped.retained(rewards) >= 0.95
