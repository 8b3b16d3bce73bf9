"""What a chat model's plans are worth and what they cost, above an item policy that is no trained network.

So the figures are the same on every machine. `bench_llm_proof.py` beside this file has those of trained policies.
"""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from lerl.planners.base import PlanContexts, Plans
from lerl.planners.llm.distilled import recorded, save, train_network
from lerl.run.fit_planner import explore
from lerl.run.fitter import Fitter
from tests.lerl.llm.worth import Worth, fitter, lower
from tests.planners.llm.chat_server import ChatServer

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server() -> Iterator[ChatServer]:
    with ChatServer() as running:
        yield running


@pytest.fixture(scope="module")
def asked(server: ChatServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fitter]:
    with closing(fitter(tmp_path_factory.mktemp("asked"), server.url)) as made:
        yield made


def explored(of: Fitter, planner: str, steps: int) -> int:
    """Play training sessions under a planner for at least so many user-steps; how many they were."""
    chosen, count = of.planners.get(planner).planner, 0
    of.context.chat.guard.phase = "explore"
    while count < steps:
        lengths = explore(chosen, count, 500, of.context).lengths
        of.context.chat.count(int(lengths.sum()))
        count += int(lengths.sum())
    return count


def test_plans_take_few_calls_and_are_worth_as_much_as_the_rules(asked: Fitter):
    """At most 50 calls per 1,000 user-steps at 0.95 of the rule's advantage; the source method makes 1,000."""
    worth = Worth(asked, replicates=6)
    assert lower(worth.rule("boredom") - worth.rule("round_robin")) > 0
    steps = explored(asked, "llm", 50_000)
    report = asked.context.chat.guard.report()
    assert report["phases"]["explore"]["user_steps"] == steps
    assert 0 < report["calls_per_1000_user_steps"] <= 50
    assert report["fallbacks"] == report["faults"] == {}
    asked.context.chat.guard.phase = "worth"
    rewards = worth.reward(asked.planners.get("llm").planner)
    print(
        f"\ncoarse: {report['calls_per_1000_user_steps']:.1f} calls per 1,000, retained {worth.retained(rewards):.3f}"
    )
    assert worth.retained(rewards) >= 0.95
    assert lower(rewards - worth.rule("blind")) > 0  # whose one plan for everybody takes no calls


class Beside:
    """Plans by the rule, and counts how often a chat model would have allowed the same category."""

    def __init__(self, rule: Any, model: Any) -> None:
        self.rule, self.model = rule, model
        self.same = self.allowed = 0

    def plan(self, contexts: PlanContexts) -> Plans:
        plans, other = self.rule.plan(contexts), self.model.plan(contexts)
        self.same += int((plans.allowed & other.allowed).sum())
        self.allowed += int(plans.allowed.sum())
        return plans


def test_plans_for_full_questions_are_the_rules(server: ChatServer, tmp_path: Path):
    """Numbers are rounded in the prompt, so that close calls differ: two of five by chance would agree in 0.4."""
    with closing(fitter(tmp_path, server.url, detail="full")) as full:
        both = Beside(full.planners.get("boredom").planner, full.planners.get("llm").planner)
        Worth(full, users=60, replicates=1).reward(both)
        assert full.context.chat.guard.report()["fallbacks"] == {}
    print(f"\nfull: {both.same / both.allowed:.3f} of {both.allowed} categories allowed are the rule's")
    assert both.same / both.allowed >= 0.9


def test_distilled_plans_take_a_tenth_of_the_calls(server: ChatServer, tmp_path: Path):
    """At most 10 calls per 1,000 user-steps, those that were recorded for the distillation included.

    A network is trained here, on some 430 plans of two categories out of five: chance is below 0.5, and eight seeds
    agreed with 0.91 to 0.94 of the plans held out. What its plans are worth is for the benchmark to say.
    """
    with closing(fitter(tmp_path / "recorded", server.url, detail="full")) as teacher:
        played = explore(teacher.planners.get("llm").planner, 0, 25, teacher.context)
        weights, lesson = train_network(*recorded(teacher.context.chat.guard.traffic), 0)
        spent, steps = teacher.context.chat.guard.report()["calls"], int(played.lengths.sum())
    assert lesson.agreement > 0.75 > lesson.chance
    save(weights, tmp_path / "recorded" / "planners" / "distilled.npz")
    settings = {"distilled": str(tmp_path / "recorded"), "refresh": 30, "sessions": 200, "detail": "full"}
    with closing(fitter(tmp_path / "student", server.url, **settings)) as student:
        steps += explored(student, "distilled", 60_000)
        calls = spent + student.context.chat.guard.report()["calls"]
        assert student.context.chat.guard.report()["calls"] > 0
    print(f"\ndistilled: {1000 * calls / steps:.1f} calls per 1,000")
    assert 1000 * calls / steps <= 10
