"""`lerl plan --estimate`: what a chat model will cost, before anything is sent."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lerl.cli.main import main
from lerl.config.parse import dump, load
from lerl.llm.cost import Cost, CostEstimate, EstimateError, Sample, _different, estimate, notes
from lerl.planners.config import BudgetConfig, PriceConfig
from lerl.run.task import Task
from tests.lerl.conftest import chat_config


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def costs(found: CostEstimate) -> dict[str, Cost]:
    return {cost.phase: cost for cost in found.costs}


def test_different_questions_are_counted_as_they_come_and_their_growth_is_that_of_the_second_half() -> None:
    different = _different(["a", "b", "a", "c", "c", "d", "e", "a"])
    assert different.tolist() == [1, 2, 2, 3, 3, 4, 5, 5]
    sample = Sample(2, 8, different, 4.0, 400.0, 40.0, 100.0)
    assert sample.exponent == pytest.approx(np.log2(5 / 3))
    assert [sample.questions(plans) for plans in (0, 1, 2.5, 4, 8)] == [0, 1, 2, 3, 5]
    assert sample.questions(16) == pytest.approx(5 * 5 / 3)  # twice as many plans: as much more as in the second half
    assert replace(sample, different=_different(["a"] * 8)).exponent == 0.0
    assert replace(sample, different=_different(list("abcdefgh"))).exponent == 1.0
    assert replace(sample, different=_different(["a"])).exponent == 1.0


def test_phases_are_those_of_a_run_and_their_steps_those_of_the_recipe() -> None:
    config = replace(chat_config(None), agents=["llm+ppo", "llm+greedy", "random"])
    config = replace(
        config,
        train=replace(config.train, steps=2000, evaluations=3, validation=10),
        evaluation=replace(config.evaluation, replicates=2, deterministic=True),
    )
    found = estimate(config)
    phases, length = costs(found), found.sample.length
    users = len(Task.load(config).population.users("evaluation"))
    lessons = 8 * length
    assert list(phases) == [
        "learn llm", "learn llm: reflections", "train llm+ppo", "train llm+ppo: learning curve", "evaluate llm+ppo",
        "evaluate llm+ppo@det", "evaluate llm+greedy",
    ]  # fmt: skip
    assert phases["learn llm"].user_steps == pytest.approx(lessons)
    assert phases["learn llm: reflections"].calls == 4  # two in each of two lots
    # Lessons are taken off the steps; points at the start, at the end and twice between are of ten sessions each.
    assert phases["train llm+ppo"].user_steps == pytest.approx(2000 - lessons)
    assert phases["train llm+ppo: learning curve"].user_steps == pytest.approx(4 * 10 * length)
    assert phases["evaluate llm+greedy"].user_steps == pytest.approx(users * 2 * length)
    assert found.total.user_steps == pytest.approx(sum(phase.user_steps for phase in phases.values()))
    assert all(0 < phase.calls <= phase.requests for phase in phases.values())
    # What training asked is known when it comes to evaluation.
    assert phases["evaluate llm+greedy"].per_1000 < phases["train llm+ppo"].per_1000
    prompt = phases["train llm+ppo"].prompt_tokens / phases["train llm+ppo"].calls
    assert prompt == pytest.approx(found.sample.prompt / 4)


def test_it_comes_near_what_a_run_asked(chat_run: Path) -> None:
    asked = json.loads((chat_run / "planners" / "traffic.json").read_text())
    found = estimate(load(chat_run / "config.yaml")).total
    assert 0.6 * asked["calls"] < found.calls < 1.6 * asked["calls"]
    assert 0.6 * asked["user_steps"] < found.user_steps < 1.6 * asked["user_steps"]


def test_plans_that_are_kept_for_longer_and_coarser_questions_cost_less() -> None:
    often = estimate(chat_config(None, detail="full")).total
    assert estimate(chat_config(None, detail="coarse")).total.calls < often.calls
    assert estimate(chat_config(None, detail="full", replan_every=3)).total.requests < 0.5 * often.requests


def test_a_distilled_planner_asks_what_it_is_unsure_of_and_nothing_else() -> None:
    config = replace(chat_config(None, refresh=5), agents=["distilled+greedy"])
    assert {phase: cost.calls for phase, cost in costs(estimate(config)).items()} == {"learn distilled": 10}
    with pytest.raises(EstimateError, match=r"planner\.refresh is 0, so distilled never"):
        estimate(replace(chat_config(None), agents=["distilled+greedy"]))


def test_money_and_budget_are_worked_out_from_the_total() -> None:
    config = chat_config(None, price=PriceConfig(2.0, 10.0), budget=BudgetConfig(calls=200, tokens=10_000, money=0.01))
    sample = Sample(1, 10, np.arange(10), 10.0, 400.0, 40.0, 100.0)
    found = CostEstimate([Cost("a", 10, 10, 60, 6000, 600), Cost("b", 10, 10, 40, 4000, 400)], sample, config.planner)
    assert found.money(found.total) == pytest.approx((10_000 * 2 + 1000 * 10) / 1e6)  # 0.03
    assert found.budget() == pytest.approx({"calls": 0.5, "tokens": 1.1, "money": 3.0})
    assert notes(found)[-3:] == [
        "budget: planner.budget.calls of 200 is enough, 50.0% of it is needed",
        "budget: planner.budget.tokens of 10,000 is spent after 90.9% of what is sent; boredom plans the rest",
        "budget: planner.budget.money of 0.01 is spent after 33.3% of what is sent; boredom plans the rest",
    ]


def test_the_command_prints_a_table_with_what_it_rests_on_and_sends_nothing(
    chat: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(dump(chat_config(chat.url)))
    asked = chat.asked
    assert main(["plan", "--estimate", "mine.yaml", "--planner.price.input", "1", "--planner.budget.calls=1"]) == 0
    printed = capsys.readouterr().out
    assert "what will be sent to openai:m" in printed
    for said in (
        "│ learn llm ",
        "│ in all ",
        "\nsimulated: 256 sessions of training users, ",
        "\nextrapolated: ",
        "is spent",
    ):
        assert said in printed
    assert "give --planner.price" not in printed
    assert main(["plan", "--estimate", "--json", "mine.yaml"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["phases"][0]["phase"] == "learn llm"
    assert told["total"]["calls"] == pytest.approx(sum(phase["calls"] for phase in told["phases"]), abs=3)
    assert chat.asked == asked
    assert [path.name for path in tmp_path.iterdir()] == ["mine.yaml"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--estimate"], "give one recipe, such as lerl plan --estimate quickstart, given none; see lerl plan --help"),
        (["--estimate", "a", "b"], "give one recipe, such as lerl plan --estimate quickstart, given b and a; see lerl"),
        (["--estimate", "quickstart"], "no agent of this recipe is planned by a chat model; give --planner.name llm"),
        (
            ["--estimate", "quickstart", "--planner.bugdet.calls", "1"],
            "unknown key --planner.bugdet.calls. Did you mean",
        ),
        (
            ["--estimate", "quickstart", "--planner.name", "llm", "--planner.replay", "runs/x"],
            "planner.replay is given: a replayed run sends nothing, and costs nothing",
        ),
        (
            ["--estimate", "quickstart", "--planner.name", "llm", "--planner.prompts", "no"],
            "planner.prompts is no, which",
        ),
        ([], "the following arguments are required: --run; see lerl plan --help"),
    ],
)
def test_errors_are_one_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"lerl: error: {message}")
    assert printed.err.count("\n") == 1


def test_help_tells_both_commands_and_the_keys(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--help"]) == 0
    printed = capsys.readouterr().out
    assert "lerl plan --run RUN [--user N] [--steps M]\n       lerl plan --estimate RECIPE" in printed
    assert main(["plan", "--estimate", "quickstart", "--help"]) == 0
    printed = capsys.readouterr().out
    assert "usage: lerl plan --estimate RECIPE [--KEY VALUE ...] [--json]\n" in printed
    assert main(["plan", "--estimate", "quickstart", "--help-all"]) == 0
    assert "--planner.budget.calls" in capsys.readouterr().out
