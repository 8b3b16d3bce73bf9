"""`lerl plan --run`: what a chat model was asked for one user, what it said, and the result."""

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml

from lerl.cli.main import main
from lerl.config.parse import dump, load
from lerl.llm.explain import explain, show
from lerl.planners.llm.traffic import Asked, Traffic
from lerl.run.evaluate import evaluate
from lerl.run.task import Task
from lerl.run.train import train
from lerl.run.trust import sign
from tests.lerl.conftest import chat_config

Run = Callable[..., str]


@pytest.fixture
def population(chat_run: Path) -> Any:
    return Task.load(load(chat_run / "config.yaml")).population


@pytest.fixture
def evaluated(population: Any) -> int:
    return int(population.users("evaluation")[0])


@pytest.fixture
def trained(population: Any, chat_run: Path) -> int:
    """A training user of whom nothing is recorded after the lessons."""
    return int(population.users("train")[-1])


def files(folder: Path) -> dict[str, str]:
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


def fresh(run: Path, user: int) -> int:
    """After how many slates the session of a user comes to a state that the run did not record."""
    return next(steps for steps in range(15) if explain(run, user, steps).source == "the model, asked now")


def change(run: Path, **planner: Any) -> None:
    """Give a run other settings of its planner."""
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["planner"] |= planner
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    sign(run, load(run / "config.yaml"), (run / "config.yaml").read_text())


def test_above_a_belief_the_question_says_what_is_believed(tmp_path: Path, chat: Any) -> None:
    train(replace(chat_config(chat.url, detail="full"), agents=["llm+belief", "random"]), tmp_path / "run")
    asked = chat.asked
    for steps in (0, 2):
        explained = explain(tmp_path / "run", None, steps)
        assert re.search(r"^\d: liking \d+%, exposure [\d.]+, tiredness leaves \d+%,", explained.question.user, re.M)
        assert explained.source == "the run's record"
        assert not explained.answer.cause
    assert chat.asked == asked
    assert {path.name for path in (tmp_path / "run" / "planners").iterdir()} >= {"llm+belief.npz", "pool+belief.json"}


def test_what_the_run_recorded_is_shown_without_asking(
    chat_run: Path, chat: Any, evaluated: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    before, asked = files(chat_run), chat.asked
    assert main(["plan", "--run", str(chat_run), "--user", str(evaluated)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"user {evaluated} of the evaluation users, plan made after 0 slates\n\n--- system ---\n")
    assert printed.endswith("\nsent now   requests: 0; tokens: 0 and 0; 0.00 s\n")
    assert '\n0: "category 1"\n' in printed
    assert "rotate categories before they tire" in printed  # a reflection of the run's pool
    assert "\n--- user ---\nState " in printed
    assert "\n--- answer, from the run's record ---\n{" in printed
    assert '\nrationale  "liked and rested"\n' in printed
    assert "fallback" not in printed
    assert (files(chat_run), chat.asked) == (before, asked)


def test_the_session_is_the_one_that_the_run_evaluated(chat_run: Path, chat: Any, evaluated: int) -> None:
    episodes = pl.read_parquet(chat_run / "episodes.parquet")
    length = episodes.filter(pl.col("agent") == "llm+greedy", pl.col("user") == evaluated)["T_int"].item()
    asked = chat.asked
    found = explain(chat_run, evaluated, length - 1)
    assert (found.slates, found.source, chat.asked) == (length - 1, "the run's record", asked)


def test_a_state_that_is_new_is_asked_now_and_not_kept_in_the_run(chat_run: Path, chat: Any, trained: int) -> None:
    before = files(chat_run)
    steps = fresh(chat_run, trained)
    asked = chat.asked
    found = explain(chat_run, trained, steps)
    assert (found.split, found.source, found.fallback) == ("training", "the model, asked now", "")
    assert json.loads(found.answer.text)["allowed"] == list(found.plan.allowed)
    assert chat.asked == asked + 1
    assert files(chat_run) == before


def test_what_is_asked_now_is_kept_in_planner_cache_where_there_is_one(
    chat_run: Path, chat: Any, trained: int, tmp_path: Path
) -> None:
    steps = fresh(chat_run, trained)
    change(chat_run, cache=str(tmp_path / "cache.sqlite"))
    assert explain(chat_run, trained, steps).source == "the model, asked now"
    asked = chat.asked
    assert explain(chat_run, trained, steps).source == f"the cache {tmp_path / 'cache.sqlite'}"
    assert chat.asked == asked


def test_a_replayed_run_says_where_its_answers_came_from(chat_run: Path, evaluated: int) -> None:
    change(chat_run, replay="runs/first")
    assert explain(chat_run, evaluated, 0).source == "the run's record, replayed from runs/first"


@pytest.mark.filterwarnings("ignore:openai.m")
def test_an_unusable_answer_is_shown_with_the_rule_that_planned_and_why(
    chat_run: Path, chat: Any, trained: int, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = fresh(chat_run, trained)
    chat.answer = lambda messages: "Sure! \x1b[2J Here is your plan."
    assert main(["plan", "--run", str(chat_run), "--user", str(trained), "--steps", str(steps)]) == 0
    printed = capsys.readouterr().out
    assert "\n--- answer, from the model, asked now ---\nSure! \ufffd[2J Here is your plan.\n" in printed
    assert "\nfallback   boredom planned, because of not JSON: the answer must be one JSON object" in printed
    assert "\nallowed    " in printed
    assert "allowed    none" not in printed
    assert "\nasked      openai:m; requests: 2;" in printed  # and one repair
    assert "\nsent now   requests: 2;" in printed


@pytest.mark.filterwarnings("ignore:planner.budget", "ignore:openai.m")
@pytest.mark.parametrize(
    ("status", "budget", "reason"),
    [
        (401, None, 'http 401: the endpoint answered with status 401, and said "who are you?"'),
        (200, {"calls": 0}, "budget: planner.budget is spent"),
    ],
)
def test_a_refusal_is_said_in_words(
    chat_run: Path, chat: Any, trained: int, status: int, budget: Any, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = fresh(chat_run, trained)
    if budget:
        change(chat_run, budget=budget)
    if status != 200:
        monkeypatch.setattr(chat, "fault", lambda handler, _: handler.send(status, b"who are you?") or True)
    found = explain(chat_run, trained, steps)
    assert (found.fallback, found.reason) == ("boredom", reason)
    assert found.plan.allowed


def test_a_failure_that_the_run_recorded_is_told(
    chat_run: Path, trained: int, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = fresh(chat_run, trained)
    question = explain(chat_run, trained, steps).question
    failed = Asked(
        question.key, "plan", "openai:m", "", 0, question.system, question.user, "", "timeout", b"", 3, 0, 0, 1.0
    )  # fmt: skip
    traffic = Traffic(chat_run / "planners" / "traffic.sqlite")
    traffic.keep("evaluate llm+greedy", [failed], {})
    traffic.close()
    found = explain(chat_run, trained, steps)
    assert (found.recorded, found.fallback) == ({"evaluate llm+greedy": "timeout"}, "")
    show(found)
    assert (
        "\nrecorded   timeout, when the run asked this in its phase 'evaluate llm+greedy'\n" in capsys.readouterr().out
    )


def test_all_that_was_sent_to_get_there_is_counted(chat_run: Path, chat: Any, trained: int) -> None:
    (chat_run / "planners" / "traffic.sqlite").unlink()
    Traffic(chat_run / "planners" / "traffic.sqlite").close()
    asked = chat.asked
    found = explain(chat_run, trained, 3)
    assert (len(found.sent), found.answer.attempts) == (4, 1)  # before each of four slates
    assert chat.asked == asked + 4


@pytest.mark.filterwarnings("ignore:openai.m")
def test_where_the_run_had_no_answer_its_fallback_plans_again(chat_run: Path, chat: Any, evaluated: int) -> None:
    """Of a run whose evaluation failed after half of its plans, the session is the one that it judged."""
    config = load(chat_run / "config.yaml")
    with closing(Traffic(chat_run / "planners" / "traffic.sqlite")) as traffic:
        traffic._file.execute("DELETE FROM asked WHERE phase LIKE 'evaluate%'")
        traffic._file.commit()
    chat.fault = lambda handler, number: number % 2 and (handler.send(404, b'{"error": "gone"}') or True)
    evaluate(chat_run)
    chat.fault = None
    episodes = pl.read_parquet(chat_run / "episodes.parquet").filter(pl.col("agent") == "llm+greedy")
    asked, fallbacks = chat.asked, 0
    for user, length in episodes.select("user", "T_int").rows():
        for steps in range(0, length, 3):
            found = explain(chat_run, user, steps)
            fallbacks += found.fallback == config.planner.fallback
            assert found.source == "the run's record"
            assert not found.fallback or found.reason in (
                'http 404: the endpoint answered with status 404, and said "gone"',
                "breaker: the endpoint failed several times in a row and got no requests for a while",
            )
            assert found.refusal == ('http 404, "gone"' if found.reason.startswith("breaker") else "")
    assert chat.asked == asked
    assert fallbacks


@pytest.mark.filterwarnings("ignore:openai.m")
def test_what_the_endpoint_said_before_it_was_left_alone_is_told(
    chat_run: Path, chat: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(Traffic(chat_run / "planners" / "traffic.sqlite")) as traffic:
        traffic._file.execute("DELETE FROM asked")
        traffic._file.commit()
    chat.fault = lambda handler, _: handler.send(404, b'{"error": {"message": "no m"}}') or True
    evaluate(chat_run)
    assert main(["plan", "--run", str(chat_run), "--steps", "3"]) == 0
    printed = capsys.readouterr().out
    assert "\nfallback   boredom planned, because of breaker: the endpoint failed several times in a row" in printed
    assert '\nbefore     the endpoint had answered http 404, "no m"\n' in printed


def test_without_a_user_the_first_one_judged_is_taken(
    chat_run: Path, capsys: pytest.CaptureFixture[str], population: Any
) -> None:
    config = load(chat_run / "config.yaml")
    few = replace(config, evaluation=replace(config.evaluation, users=2))
    (chat_run / "config.yaml").write_text(dump(few))
    judged = np.sort(np.random.default_rng(0).choice(population.users("evaluation"), 2, replace=False)).tolist()
    assert main(["plan", "--run", str(chat_run)]) == 0
    assert capsys.readouterr().out.startswith(f"user {judged[0]} of the evaluation users, plan made after 0 slates\n\n")
    for user in set(population.users("evaluation").tolist()) - set(judged), population.users("train").tolist():
        assert main(["plan", "--run", str(chat_run), "--user", str(min(user))]) == 0
        assert (
            "\nnot judged by this run, so what its record does not hold is asked now; users judged: "
            f"{judged[0]}, {judged[1]}\n"
        ) in capsys.readouterr().out


def test_errors_are_one_line_that_says_what_to_do(
    chat_run: Path, trained: int, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)

    def said(run: Path, user: int, *more: str) -> str:
        assert main(["plan", "--run", str(run), "--user", str(user), *more]) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        return printed.err.removeprefix("lerl: error: ").removesuffix("\n")

    assert said(tmp_path, 0).startswith(f"{tmp_path} holds no run; start one with: lerl train RECIPE --out ")
    assert said(chat_run, 40) == "there is no user 40; users are 0 to 39"
    assert said(chat_run, -1) == "there is no user -1; users are 0 to 39"
    assert said(chat_run, trained, "--steps", "-1") == "--steps must be at least 0, given -1"
    assert "slates; give --steps " in said(chat_run, trained, "--steps", "15")
    change(chat_run, base_url=None)  # so that nothing recorded fits, either
    assert said(chat_run, trained) == "OPENAI_API_KEY is not set; set it in the environment, or give planner.base_url"
    (chat_run / "planners" / "llm.npz").unlink()
    assert said(chat_run, trained).startswith(f"{chat_run / 'planners' / 'llm.npz'} is missing; go on with: lerl train")
    config = load(chat_run / "config.yaml")
    (chat_run / "config.yaml").write_text(dump(replace(config, agents=["boredom+greedy", "distilled+ppo"])))
    assert said(chat_run, 0).startswith(
        f"no agent of {chat_run} is planned by a chat model; train one with: lerl train "
    )
    assert not os.environ.get("OPENAI_API_KEY")


def test_help_loads_no_network_and_no_client() -> None:
    for command in ("plan", "distill", "planner-probe"):
        code = f"import sys; from lerl.cli.main import main; main([{command!r}, '--help']); print(sorted(sys.modules))"
        ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert ran.stdout.startswith(f"usage: lerl {command} ")
        assert not {"'torch'", "'openai'", "'langchain'", "'scipy'"} & set(ran.stdout.strip("[]\n").split(", "))
