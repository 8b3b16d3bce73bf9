"""`lerl planner-probe`: whether a chat model's plans react to feedback."""

import json
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lerl.cli.main import main
from lerl.llm.probe import SIZE, _judged, pair
from lerl.planners.llm.prompt import look
from tests.planners.llm.chat_server import ChatServer

Messages = list[dict[str, str]]


def same(messages: Messages) -> str:
    """One plan for everybody."""
    code = re.search(r"State (\w+)", messages[1]["content"])
    assert code is not None
    return json.dumps({"state": code[1], "rationale": "", "allowed": [0, 1, 2, 3], "avoid": []})


def backwards(messages: Messages) -> str:
    """Allows what was shown where it was clicked little, and avoids it where it was clicked much."""
    text = messages[1]["content"]
    found = re.search(r"^(\d): .* shown 24, clicked (\d+),", text, re.MULTILINE)
    assert found is not None
    other = int(found[1]) % 7 + 1
    plan: dict[str, Any] = json.loads(same(messages))
    liked = int(found[2]) < 12
    return json.dumps(
        plan | {"allowed": [int(found[1]) if liked else other], "avoid": [] if liked else [int(found[1])]}
    )


@pytest.fixture
def probe(capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, Any]]:
    def run(answer: Any, *more: str) -> dict[str, Any]:
        with ChatServer(*([answer] if answer else [])) as server:
            given = ["--model", "openai:m", "--base-url", server.url, *more]
            assert main(["planner-probe", *given, "--json"]) == 0
        told: dict[str, Any] = json.loads(capsys.readouterr().out)
        return told

    return run


def test_two_histories_of_a_pair_differ_in_the_clicks_on_one_category_alone() -> None:
    contexts, category = pair(0, np.random.default_rng(0))
    falling, rising = (look(contexts, SIZE, "full", None).text(row).splitlines() for row in (0, 1))
    changed = [line for line, other in zip(falling, rising, strict=True) if line != other]
    # Its own line, and three of the four slates: of the second one, three of six were clicked in both.
    assert [bool(re.search(rf"^{category}: ", line)) for line in changed] == [True] * 4
    told = [
        re.findall(rf"(?:^|, ){category}: (\d) of 6", "\n".join(lines), re.MULTILINE) for lines in (falling, rising)
    ]
    assert told == [["5", "3", "1", "0"], ["1", "3", "5", "6"]]
    summary = [
        next(line for line in lines if line.startswith(f"{category}: liking 50%")) for lines in (falling, rising)
    ]
    assert "shown 24, clicked 9, promised 12.0" in summary[0]
    assert "shown 24, clicked 15, promised 12.0" in summary[1]
    assert sum("shown 6, clicked 3," in line for line in falling) == 4  # the other halves of the slates


def test_the_scripted_expert_reacts(probe: Callable[..., dict[str, Any]]) -> None:
    told = probe(None)
    assert told["reacts"]
    assert (told["pairs"], told["usable"], told["wrong"], told["unusable"]) == (20, 20, 0, {})
    assert told["right"] >= 12
    assert told["low"] < told["share"] == told["right"] / 20 < told["high"]
    assert told["calls"] == 40


@pytest.mark.parametrize(("answer", "wrong"), [(same, 0), (backwards, 20)])
def test_one_plan_for_everybody_and_reacting_backwards_are_no_reaction(
    probe: Callable[..., dict[str, Any]], answer: Any, wrong: int
) -> None:
    told = probe(answer)
    assert (told["right"], told["wrong"], told["usable"], told["reacts"]) == (0, wrong, 20, False)


def test_five_pairs_cannot_show_a_reaction_and_six_can() -> None:
    # An exact sign test at 5 %: 2 * 0.5 ** 5 is 0.0625, 2 * 0.5 ** 6 is 0.03125.
    report = dict.fromkeys(("calls", "prompt_tokens", "completion_tokens"), 0)
    better = [(1, 0), (2, 0)]
    assert not _judged("m", better * 5, Counter(), report).reacts
    found = _judged("m", [*better * 6, (1, 0), (1, 0), None, (2, 0)], Counter({"not JSON": 1}), report)
    assert found.reacts
    assert (found.pairs, found.usable, found.right, found.wrong) == (8, 7, 6, 0)
    assert not _judged("m", better * 6 + better[::-1] * 2, Counter(), report).reacts  # 8 signs, 2 of them wrong: 0.29


def test_unusable_answers_are_counted_by_cause_and_their_pairs_left_out(probe: Callable[..., dict[str, Any]]) -> None:
    def partly(messages: Messages) -> str:
        return "no" if "liking 60%" in messages[1]["content"] else same(messages)

    told = probe(partly, "--pairs", "8")  # the last four are about a category liked by 60 %
    assert told["unusable"] == {"not JSON": 8}
    assert (told["pairs"], told["usable"]) == (8, 4)
    assert told["share"] == 0


def test_what_is_printed_ends_with_a_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    with ChatServer() as server:
        assert main(["planner-probe", "--model", "openai:m", "--base-url", server.url, "--pairs", "12"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "model             openai:m"
    assert printed[1] == "pairs             12, of which 12 with two usable answers"
    assert re.fullmatch(r"reacting          0\.\d\d \[0\.\d\d, [01]\.\d\d\], \d+ pairs", printed[2])
    assert printed[-1] == "verdict           reacts: its plans follow feedback"


def test_a_model_that_never_answers_is_an_error_that_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    with ChatServer(lambda messages: "no") as server:
        given = ["--model", "openai:m", "--base-url", server.url, "--pairs", "2"]
        assert main(["planner-probe", *given]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == (
        'lerl: error: openai:m gave no usable answer to any of 4 questions (8 not JSON), such as "no"; it answers, but '
        "not with a plan as the JSON schema wants it; take another model, or, where this one thinks before it "
        "answers, give more --answer-tokens and a longer --timeout\n"
    )


@pytest.mark.parametrize(
    ("status", "mend"),
    [
        (400, "see whether --model is right, and takes --temperature and --answer-tokens as they are"),
        (401, "see whether the key in the environment is the endpoint's (OPENAI_API_KEY for openai:NAME)"),
        (404, "see whether --model is the endpoint's name for it, and --base-url its address"),
        (422, "see whether --base-url is the endpoint's, and what that takes"),
        (0, "see whether the endpoint is up, and --base-url its address"),
    ],
)
def test_what_to_do_depends_on_why_there_was_no_answer(
    status: int, mend: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = b'{"error": {"message": "no \\n model \\u001b[2J"}}'
    with ChatServer(fault=lambda handler, _: handler.send(status, said) or True) as server:
        url = server.url if status else "http://127.0.0.1:1/v1"
        given = ["--model", "openai:m", "--base_url", url, "--pairs", "1", "--timeout", "2", "--temperature", "null"]
        assert main(["planner-probe", *given]) == 2
    printed = capsys.readouterr().err
    assert printed.endswith(f"; {mend}\n")
    assert (', such as "no model [2J"; see' in printed) == bool(status)


def test_what_an_endpoint_does_not_take_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    def old(handler: Any, _: int) -> bool:
        refused = "max_completion_tokens" in handler.body
        if refused:
            handler.send(422, b'{"detail": [{"loc": ["body", "max_completion_tokens"], "msg": "not permitted"}]}')
        return refused

    with ChatServer(fault=old) as server:
        given = ["--model", "openai:m", "--base-url", server.url, "--pairs", "2"]
        assert main(["planner-probe", *given]) == 0
        assert len(server.requests) == 4 + 1
    printed = capsys.readouterr()
    assert "\nasked with        max_tokens in place of max_completion_tokens\n" in printed.out
    assert printed.err == ""


def test_thoughts_without_an_end_say_what_to_give(capsys: pytest.CaptureFixture[str]) -> None:
    with ChatServer(lambda _: "<think>\nlet me see") as server:
        assert main(["planner-probe", "--model", "openai:m", "--base-url", server.url, "--pairs", "1"]) == 2
    assert capsys.readouterr().err == (
        "lerl: error: openai:m gave no usable answer to any of 2 questions (4 only thoughts), such as "
        '"<think> let me see"; it thinks before it answers: give more --answer-tokens and a longer --timeout\n'
    )


@pytest.mark.filterwarnings("default:--client")  # which the command line prints
@pytest.mark.parametrize(("client", "noted"), [("langchain", False), ("openai", True)])
def test_the_client_that_is_gone_is_noted(client: str, noted: bool, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--model", "scripted:expert", "--pairs", "1", "--client", client]
    assert main(["planner-probe", *given]) == 0
    note = "lerl: warning: --client openai is left out: every chat model is called through LangChain now\n"
    assert capsys.readouterr().err == (note if noted else "")


def test_an_unusable_answer_among_others_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    def partly(messages: Messages) -> str:
        return "I would say\n\x1b[2J jazz" if "liking 60%" in messages[1]["content"] else same(messages)

    with ChatServer(partly) as server:
        given = ["--model", "openai:m", "--base-url", server.url, "--pairs", "8", "--answer-tokens", "90"]
        assert main(["planner-probe", *given]) == 0
        assert server.requests[0]["max_completion_tokens"] == 90
    assert '\nsuch as           "I would say [2J jazz"\n' in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: --model; see lerl planner-probe --help"),
        (
            ["--modle", "openai:m"],
            "unrecognized arguments: --modle (did you mean --model?); see lerl planner-probe --help",
        ),
        (["--model", "gpt"], "planner.model must be PROVIDER:NAME, such as"),
        (["--model", "openai:m"], "OPENAI_API_KEY is not set; set it in the environment, or give planner.base_url"),
        (
            ["--model", "openai:m", "--pairs", "0"],
            "argument --pairs: must be a whole number from 1 to 10000, given '0'",
        ),
        (
            ["--model", "openai:m", "--base-url", "ftp://x"],
            "planner.base_url does not begin with http:// or https://; its form is http://HOST:PORT/v1",
        ),
        (["--model", "openai:m", "--timeout", "0"], "planner.timeout must be a number from 0.001 to 3,600, given 0"),
    ],
)
def test_errors_are_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert main(["planner-probe", *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"lerl: error: {message}")
    assert printed.err.count("\n") == 1


@pytest.mark.parametrize("given", ["warm", "", "0,5"])
def test_a_temperature_that_is_no_number_is_named(given: str, capsys: pytest.CaptureFixture[str]):
    assert main(["planner-probe", "--model", "openai:m", f"--temperature={given}"]) == 2
    assert f"must be a number from 0 to 2, or null, given {given!r}" in capsys.readouterr().err
