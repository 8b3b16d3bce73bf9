"""What stands between a planner and its chat model."""

import asyncio
import base64
import gzip
import json
import os
import signal
import socket
import sqlite3
import threading
import time
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

import lerl.planners.llm.guard as module
from lerl.planners.config import BudgetConfig, PlannerConfig, PriceConfig
from lerl.planners.llm.chat import LARGEST, ChatError, ChatModel, Reply, check_chat, redacted
from lerl.planners.llm.completion import FaultError
from lerl.planners.llm.dialect import without_limits
from lerl.planners.llm.guard import Guard, Question, ReplayError, key_of
from lerl.planners.llm.prompt import AnswerError, plan_schema
from lerl.planners.llm.traffic import Asked, Traffic, TrafficError
from tests.planners.llm.chat_server import ChatServer, completion

KEY = "sk-planted-0123456789abcdef"
GOOD = '{"ok": true}'
LIMITED = plan_schema(5, 2)
PLAIN = without_limits(LIMITED)


def check(text: str) -> Any:
    if text != GOOD:
        raise AnswerError("not good", "say something good")


def question(name: str = "a", **changed: Any) -> Question:
    given = {"system": "You plan.", "user": f"State {name}.", "schema": PLAIN, "check": check, "pool": 3}
    return Question(key_of(name), "plan", **(given | {"state": b"\0\0\0\0"} | changed))


def questions(names: str) -> list[Question]:
    return [question(name) for name in names]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for half a second; a key is in the environment."""
    monkeypatch.setattr(module, "BACKOFF", 0.01)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def guarding(folder: Path, url: str, **settings: Any) -> Guard:
    given = {"model": "openai:m", "base_url": url, "timeout": 5.0}
    return Guard(PlannerConfig(**(given | settings)), "digest", folder / "traffic.sqlite")


@contextmanager
def asking(folder: Path, url: str, **settings: Any) -> Iterator[Guard]:
    guard = guarding(folder, url, **settings)
    guard.phase = "train"
    try:
        yield guard
    finally:
        guard.close()


def causes(answers: list[Asked]) -> list[str]:
    return [answer.cause for answer in answers]


def failing(status: int, times: int = 10**9, headers: dict[str, str] | None = None) -> Callable[[Any, int], bool]:
    """Answers the first requests with a status, and echoes what a proxy would."""

    def fault(handler: Any, number: int) -> bool:
        if number > times:
            return False
        body = {"error": {"message": f"no; you sent {handler.headers['Authorization']}"}}
        handler.send(status, json.dumps(body).encode(), headers)
        return True

    return fault


def good(_: Any) -> str:
    return GOOD


# Asking


def test_an_answer_comes_back_with_all_that_is_known_of_it(tmp_path: Path):
    with ChatServer(good) as server, asking(tmp_path, server.url, temperature=0.5) as guard:
        (answer,) = guard.ask([question()])
        assert (answer.text, answer.cause, answer.attempts) == (GOOD, "", 1)
        assert (answer.prompt_tokens, answer.completion_tokens) == (4, 2)  # words: "You plan." "State a."; the answer
        assert 0 < answer.seconds < 5
        assert (answer.model, answer.prompts, answer.pool) == ("openai:m", "digest", 3)
        assert guard.traffic.find(question().key, "train") == answer
        (sent,) = server.requests
        assert [message["role"] for message in sent["messages"]] == ["system", "user"]  # what is the same comes first
        assert [message["content"] for message in sent["messages"]] == ["You plan.", "State a."]
        assert (sent["model"], sent["temperature"]) == ("m", 0.5)
        assert sent["response_format"]["type"] == "json_schema"
        schema = sent["response_format"]["json_schema"]
        assert schema["strict"] is True
        assert schema["schema"]["required"] == ["state", "rationale", "allowed", "avoid"]
        assert server.headers[0]["authorization"] == f"Bearer {KEY}"


def test_an_endpoint_that_takes_no_limits_in_a_schema_is_asked_without_them(tmp_path: Path):
    def strict(handler: Any, _: int) -> bool:
        limited = "pattern" in json.dumps(handler.body["response_format"])
        if limited:
            handler.send(400, b'{"error": {"message": "pattern is not permitted"}}')
        return limited

    with ChatServer(good, fault=strict) as server, asking(tmp_path, server.url, concurrency=1) as guard:
        with pytest.warns(
            UserWarning, match="m is asked as its endpoint takes it: a JSON schema without lengths and"
        ) as warned:
            assert causes(guard.ask([question(name, schema=LIMITED) for name in "abc"])) == ["", "", ""]
        assert (len(server.requests), len(warned)) == (4, 1)
        schema = server.requests[-1]["response_format"]["json_schema"]["schema"]
        report = guard.report()
    ids = {"type": "array", "items": {"type": "integer"}}
    assert {name: schema["properties"][name] for name in ("rationale", "allowed", "avoid")} == {
        "rationale": {"type": "string"},
        "allowed": ids,
        "avoid": ids,
    }
    assert (report["calls"], report["faults"]) == (4, {"http 400": 1})


def test_what_an_endpoint_refuses_for_other_reasons_is_asked_twice_at_most(tmp_path: Path):
    with ChatServer(good, fault=failing(400)) as server, asking(tmp_path, server.url, concurrency=1) as guard:
        with pytest.warns(UserWarning, match="http 400"):
            assert causes(guard.ask([question(name, schema=LIMITED) for name in "ab"])) == ["http 400"] * 2
        assert len(server.requests) == 3


def test_the_same_question_is_asked_once(tmp_path: Path):
    with ChatServer(good) as server, asking(tmp_path, server.url) as guard:
        first = guard.ask(questions("abaab"))
        assert [answer.key for answer in first] == [key_of(name) for name in "abaab"]
        assert len(server.requests) == 2
        guard.ask(questions("abc"))
        assert len(server.requests) == 3
        report = guard.report()
    # 8 requests: 5 with 3 duplicates, then 3 of which 2 were known
    assert (report["requests"], report["calls"]) == (8, 3)
    assert (report["deduplicated"], report["cached"]) == (3 / 8, 2 / 8)


def test_nothing_asked_opens_nothing(tmp_path: Path):
    guard = Guard(PlannerConfig(model="openai:m"), "d", tmp_path / "t.sqlite", lambda _: pytest.fail("opened"))
    assert guard.ask([]) == []
    guard.close()


def test_another_process_asks_nothing_again(tmp_path: Path):
    with ChatServer(good) as server:
        with asking(tmp_path, server.url) as guard:
            before = guard.ask(questions("ab"))
        with asking(tmp_path, server.url) as guard:
            guard.phase = "evaluate"
            assert guard.ask(questions("ba")) == before[::-1]
            assert guard.report()["calls"] == 2  # of the process before
        assert len(server.requests) == 2


def test_runs_share_a_cache_but_no_failures(tmp_path: Path):
    cache = str(tmp_path / "cache.sqlite")

    def answer(messages: list[dict[str, str]]) -> str:
        return "bad" if "State b" in messages[1]["content"] else GOOD

    with ChatServer(answer) as server:
        with asking(tmp_path / "one", server.url, cache=cache) as guard, pytest.warns(UserWarning, match="not good"):
            assert causes(guard.ask(questions("ab"))) == ["", "not good"]
        sent = len(server.requests)
        assert sent == 3  # b was repaired
        with asking(tmp_path / "other", server.url, cache=cache) as guard:
            assert causes(guard.ask(questions("a"))) == [""]
            report = guard.report()
        assert len(server.requests) == sent
        assert (report["calls"], report["cached"], report["latency_p95"]) == (0, 1.0, 0.0)
        with asking(tmp_path / "other", "http://127.0.0.1:1/v1") as guard:  # what was borrowed is its own from then on
            assert causes(guard.ask(questions("a"))) == [""]


def test_a_cached_answer_that_does_not_fit_is_asked_for_again(tmp_path: Path):
    cache = tmp_path / "cache.sqlite"
    kept = Asked(key_of("a"), "plan", "m", "d", 0, "s", "u", "tampered", "", b"", 1, 0, 0, 1.0)
    shared = Traffic(cache)
    shared.keep("", [kept], {})
    shared.close()
    with ChatServer(good) as server, asking(tmp_path, server.url, cache=str(cache)) as guard:
        assert guard.ask([question()])[0].text == GOOD
        assert len(server.requests) == 1


@pytest.mark.parametrize("when", ["at the start", "later"])
def test_a_cache_that_another_process_keeps_to_itself_is_left_out(tmp_path: Path, when: str):
    cache = tmp_path / "cache.sqlite"
    if when == "later":
        Traffic(cache).close()
    with ChatServer(good) as server, closing(sqlite3.connect(cache, isolation_level=None)) as other:
        if when == "at the start":
            other.execute("BEGIN EXCLUSIVE")
        with asking(tmp_path, server.url, cache=str(cache)) as guard:
            if when == "later":
                guard.ask(questions("z"))
                other.execute("BEGIN IMMEDIATE")
            begun = time.monotonic()
            with pytest.warns(
                UserWarning, match=r"left out from here on: .*cache\.sqlite is in use by another"
            ) as warned:
                assert causes(guard.ask(questions("ab"))) == ["", ""]
            assert causes(guard.ask(questions("cd"))) == ["", ""]  # a second warning would be an error
            assert time.monotonic() - begun < 3
            assert len(warned) == 1


def test_a_run_goes_on_without_a_cache_on_a_full_disk(tmp_path: Path):
    with ChatServer(good) as server, asking(tmp_path, server.url, cache=str(tmp_path / "cache.sqlite")) as guard:
        assert guard.shared is not None
        guard.shared._file.execute("PRAGMA max_page_count = 12")
        with pytest.warns(UserWarning, match="planner.cache is left out from here on: .*no space left"):
            assert causes(guard.ask([question("a", user="u" * 100_000), question("b")])) == ["", ""]


def test_keys_are_those_of_all_parts_in_their_order():
    keys = {key_of(*parts) for parts in (("a", "b"), ("b", "a"), ("ab", ""), ("a", "b", ""), ("a", 0.5), ("\ud800",))}
    assert len(keys) == 6
    assert key_of("a", 1) == key_of("a", "1")
    assert len(key_of("a")) == 64


@pytest.mark.parametrize("concurrency", [1, 3])
def test_no_more_are_under_way_than_are_allowed(tmp_path: Path, concurrency: int):
    lock, now, most = threading.Lock(), [0], [0]

    def slow(_: Any) -> str:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.05)
        with lock:
            now[0] -= 1
        return GOOD

    with ChatServer(slow) as server, asking(tmp_path, server.url, concurrency=concurrency) as guard:
        guard.ask(questions("abcdefghi"))
    assert most[0] == concurrency


# Faults


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_what_may_pass_is_tried_again(tmp_path: Path, status: int):
    with ChatServer(good, failing(status, 2)) as server, asking(tmp_path, server.url) as guard:
        (answer,) = guard.ask([question()])
        assert (answer.cause, answer.attempts, len(server.requests)) == ("", 3, 3)
        report = guard.report()
        assert report["faults"] == {f"http {status}": 2}
        assert report["fallbacks"] == {}


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_what_will_not_pass_is_not_tried_again(tmp_path: Path, status: int):
    with ChatServer(good, failing(status)) as server, asking(tmp_path, server.url) as guard:
        with pytest.warns(UserWarning, match=f"openai:m: http {status}, .*; boredom plans in its place"):
            assert causes(guard.ask([question()])) == [f"http {status}"]
        assert len(server.requests) == 1


REFUSALS = {
    b'{"error": {"message": "The model m\\n does not exist", "code": 4}}': '"The model m does not exist"',
    b'{"error": "no \\"such\\" model"}': r'"no \"such\" model"',
    b'{"detail": "wrong"}': '"wrong"',
    b"<h1>\xff Not\x1b[2J here</h1>": '"\ufffd Not [2J here"',
    b"[" * 1_900: '"' + "[" * 199 + '\u2026"',
    b"y" * 300_000: '"' + "y" * 199 + '\u2026"',
}


@pytest.mark.parametrize("body", REFUSALS)
def test_what_an_endpoint_says_of_an_error_is_told_in_short(tmp_path: Path, body: bytes):
    odd = ODD_LETTERS if body[:1] == b"y" else None
    with ChatServer(good, send(body, odd, 404)) as server, asking(tmp_path, server.url) as guard:
        with pytest.warns(UserWarning, match="plans in its place") as warned:
            (answer,) = guard.ask([question()])
        said = str(warned[0].message)
        assert said.startswith(f"openai:m: http 404, {REFUSALS[body]}; boredom plans in its place")
        assert answer.cause == "http 404"
        assert json.dumps(answer.text, ensure_ascii=False) == REFUSALS[body]


@pytest.mark.parametrize("at", [0, 150, 1_990])
@pytest.mark.parametrize("form", ["{}", '{{"error": {{"message": "{}"}}}}'])
def test_no_key_comes_with_what_an_endpoint_says(tmp_path: Path, at: int, form: str):
    body = form.format(" " * at + KEY + " " * 50 + "\\u0073" + KEY[1:] + " " * 900).encode()
    with ChatServer(good, send(body, status=401)) as server, asking(tmp_path, server.url) as guard:
        with pytest.warns(UserWarning, match="plans in its place") as warned:
            (answer,) = guard.ask([question()])
        for text in (str(warned[0].message), answer.text):
            assert "planted" not in text
            assert "sk-" not in text


def test_an_error_that_drips_is_told_without_its_reason_in_time(tmp_path: Path):
    def slowly(handler: Any, _: int) -> bool:
        handler.send_response(401)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(KEY[:12].encode())
        handler.wfile.flush()
        time.sleep(2.0)
        handler.close_connection = True
        return True

    with ChatServer(good, slowly) as server, asking(tmp_path, server.url) as guard:
        begun = time.monotonic()
        with pytest.warns(UserWarning, match="openai:m: http 401; boredom plans"):
            assert guard.ask([question()])[0].text == ""
        assert time.monotonic() - begun < 2


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_where_nothing_was_answered_yet_a_refusal_says_what_to_check(tmp_path: Path, status: int):
    with ChatServer(good, failing(status)) as server:
        with asking(tmp_path, server.url) as guard, pytest.warns(UserWarning, match="plans in its place") as warned:
            guard.ask([question()])
        assert len(warned) == 1
        assert str(warned[0].message).endswith(
            "nothing was answered yet: check planner.model, planner.base_url and OPENAI_API_KEY; "
            f"try lerl planner-probe --model openai:m --base-url {server.url}"
        )


@pytest.mark.parametrize("again", [False, True])
def test_where_something_was_answered_a_refusal_is_the_endpoints(tmp_path: Path, again: bool):
    with ChatServer(good, lambda handler, number: number > 1 and failing(404)(handler, number)) as server:
        with asking(tmp_path, server.url) as guard:
            guard.ask(questions("a"))
            if not again:
                with pytest.warns(UserWarning, match="boredom plans in its place$"):
                    guard.ask(questions("b"))
        if again:  # in another process
            with asking(tmp_path, server.url) as guard, pytest.warns(UserWarning, match="in its place$"):
                guard.ask(questions("b"))


def test_no_temperature_is_sent_where_there_is_none_and_as_many_tokens_as_are_given(tmp_path: Path):
    with ChatServer(good) as server:
        with asking(tmp_path, server.url, temperature=None, answer_tokens=4_000) as guard:
            assert causes(guard.ask([question()])) == [""]
        assert "temperature" not in server.requests[0]
        assert {server.requests[0].get(name) for name in ("max_tokens", "max_completion_tokens")} == {None, 4_000}


def _later(seconds: int) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize("given", ["1", "1.0", _later])
def test_a_retry_waits_as_long_as_it_is_asked_to(tmp_path: Path, given: Any):
    # a date has whole seconds: two from now are at least one
    headers = {"Retry-After": given(2) if callable(given) else given}
    with ChatServer(good, failing(429, 1, headers)) as server, asking(tmp_path, server.url) as guard:
        begun = time.monotonic()
        assert causes(guard.ask([question()])) == [""]
        assert 0.7 < time.monotonic() - begun < 4


@pytest.mark.parametrize("given", ["nan", "inf", "-5", "soon", "", "1e999", "Mon, 99 Foo 2026 00:00:00 GMT"])
def test_a_retry_after_that_makes_no_sense_is_no_wait(tmp_path: Path, given: str):
    with ChatServer(good, failing(503, 2, {"Retry-After": given})) as server, asking(tmp_path, server.url) as guard:
        begun = time.monotonic()
        assert causes(guard.ask([question()])) == [""]
        assert time.monotonic() - begun < 2


def test_nobody_waits_for_an_answer_beyond_the_time_there_is(tmp_path: Path):
    headers = {"Retry-After": "3600"}
    with ChatServer(good, failing(429, headers=headers)) as server, asking(tmp_path, server.url) as guard:
        begun = time.monotonic()
        with pytest.warns(UserWarning, match="http 429"):
            assert causes(guard.ask([question()])) == ["http 429"]
        assert time.monotonic() - begun < 2
        assert guard.report()["faults"] == {"http 429": 1}


def test_waits_grow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(module, "BACKOFF", 0.1)
    with ChatServer(good, failing(500, headers={"Retry-After": "0"})) as server:
        with asking(tmp_path, server.url, timeout=1.2) as guard, pytest.warns(UserWarning, match="http 500"):
            guard.ask([question()])
        # at 0, 0.1, 0.3 and 0.7 s; the next at 1.5 would be too late
        assert 3 <= len(server.requests) <= 4


def test_one_repair_is_asked_for_with_what_was_wrong(tmp_path: Path):
    said = iter(["nonsense " * 1000, GOOD])
    with ChatServer(lambda _: next(said)) as server, asking(tmp_path, server.url) as guard:
        (answer,) = guard.ask([question()])
        assert (answer.text, answer.cause, answer.attempts) == (GOOD, "", 2)
        messages = server.requests[1]["messages"]
        assert [message["role"] for message in messages] == ["system", "user", "assistant", "user"]
        assert len(messages[2]["content"]) == 2000
        assert messages[3]["content"] == "That cannot be used: say something good. Answer the question again."
        report = guard.report()
        assert (report["repairs"], report["faults"], report["fallbacks"]) == (1, {"not good": 1}, {})
        # words asked: 4, then 4 + 223 (2,000 characters of "nonsense ") + 10; answered: 1000 and 2
        assert report["completion_tokens"] == 1002


def test_two_wrong_answers_are_a_failure_that_keeps_the_last(tmp_path: Path):
    said = iter(["nonsense", "x" * 5000])
    with ChatServer(lambda _: next(said)) as server, asking(tmp_path, server.url) as guard:
        with pytest.warns(UserWarning, match="not good"):
            (answer,) = guard.ask([question()])
        assert (answer.text, answer.cause, answer.attempts) == ("x" * 2000, "not good", 2)
        assert answer.state == b""
        report = guard.report()
        assert report["faults"] == {"not good": 2}
        assert report["fallbacks"] == {"not good": 1}


def test_a_truncated_answer_is_repaired_and_paid_for(tmp_path: Path):
    def truncated(handler: Any, number: int) -> bool:
        if number == 1:
            handler.reply('{"ok": ', finish="length")
        return number == 1

    with ChatServer(good, truncated) as server, asking(tmp_path, server.url) as guard:
        (answer,) = guard.ask([question()])
        assert (answer.cause, answer.attempts) == ("", 2)
        assert answer.completion_tokens == 1 + 2
        assert guard.report()["faults"] == {"not good": 1}


def send(body: bytes, headers: dict[str, str] | None = None, status: int = 200) -> Callable[[Any, int], bool]:
    def fault(handler: Any, _: int) -> bool:
        handler.send(status, body, headers)
        return True

    return fault


def endless(handler: Any, _: int) -> bool:
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.end_headers()
    handler.close_connection = True
    while True:
        handler.wfile.write(b"x" * 65536)


def dripping(handler: Any, _: int) -> bool:
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", "10000")
    handler.end_headers()
    for _ in range(100):
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.1)
    return True


def hanging(handler: Any, _: int) -> bool:
    time.sleep(3)
    handler.close_connection = True
    return True


def half(handler: Any, _: int) -> bool:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"id"')
    handler.wfile.flush()
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True
    return True


ODD_LETTERS = {"Content-Type": "application/json; charset=punycode"}  # which take a decoder the square of their number
WRONG = {
    "oversized": [
        send(b" " * (LARGEST + 1)),
        endless,
        send(b'{"choices": [' + b"{}," * 300_000 + b"{}]}"),
    ],
    "compressed": [send(b"{}", {"Content-Encoding": "br"})],
    "http 400": [send(b"9" * 300_000, ODD_LETTERS, 400), send(b"{}", {"Content-Encoding": "gzip"}, 400)],
    "timeout": [hanging, dripping],
    "connection": [half],
    "no answer": [
        send(b"<html>"),
        send(b"{}"),
        send(b"[]"),
        send(b'{"choices": []}'),
        send(b'{"choices": null}'),
        send(b"9" * (LARGEST - 1), ODD_LETTERS),
    ],
}


@pytest.mark.parametrize(
    ("cause", "fault"),
    [pytest.param(c, f, id=f"{c} {n}") for c, faults in WRONG.items() for n, f in enumerate(faults)],
)
def test_whatever_an_endpoint_does_is_a_cause_in_time(tmp_path: Path, cause: str, fault: Any):
    with ChatServer(good, fault) as server, asking(tmp_path, server.url, timeout=1.0) as guard:
        begun = time.monotonic()
        with pytest.warns(UserWarning, match=cause):
            assert causes(guard.ask([question()])) == [cause]
        assert time.monotonic() - begun < 2.5
        faults = guard.report()["faults"]
        assert set(faults) == {cause}
        assert faults[cause] == len(server.requests)


@pytest.mark.parametrize("times", [1, 2])
def test_an_answer_that_would_grow_is_never_unpacked(tmp_path: Path, times: int):
    body = b" " * 50_000_000
    for _ in range(times):
        body = gzip.compress(body)
    assert len(body) < LARGEST
    bomb = send(body, {"Content-Encoding": ", ".join(["gzip"] * times)})
    with ChatServer(good, bomb) as server, asking(tmp_path, server.url) as guard:
        with pytest.warns(
            UserWarning, match=r'compressed, "the answer is compressed \((gzip|gzip, gzip)\), which nobody'
        ):
            guard.ask([question("warm")])  # whatever is made once for the process
        tracemalloc.start()
        assert causes(guard.ask([question()])) == ["compressed"]
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
        tracemalloc.stop()
        assert server.headers[0]["accept-encoding"] == "identity"


ODD_USAGE = [
    *("Infinity", '"many"', "[1]", "5", "true", "null", "{}", '{"prompt_tokens": 1.5, "completion_tokens": {}}'),
    '{"prompt_tokens": Infinity, "completion_tokens": -3, "total_tokens": 5}',
]


@pytest.mark.parametrize("usage", ODD_USAGE)
def test_an_answer_with_an_odd_usage_is_used_and_its_tokens_are_estimated(tmp_path: Path, usage: str):
    body = json.dumps(completion(GOOD, 1) | {"usage": 0}).replace('"usage": 0', f'"usage": {usage}').encode()
    with ChatServer(good, send(body)) as server, asking(tmp_path, server.url) as guard:
        (answer,) = guard.ask([question()])
        # Four characters a token: "You plan." and "State a." have 17, the answer has 12.
        assert (answer.cause, answer.prompt_tokens, answer.completion_tokens) == ("", 5, 3)


def test_an_endpoint_that_is_not_there_is_a_cause(tmp_path: Path):
    nowhere = asking(tmp_path, "http://127.0.0.1:1/v1", timeout=3.0)
    with nowhere as guard, pytest.warns(UserWarning, match="connection"):
        assert causes(guard.ask([question()])) == ["connection"]


def test_a_long_answer_in_free_text_takes_no_time(tmp_path: Path):
    before = threading.active_count()
    with ChatServer(lambda _: "word " * (LARGEST // 6)) as server, asking(tmp_path, server.url) as guard:
        begun = time.monotonic()
        with pytest.warns(UserWarning, match="not good"):
            assert causes(guard.ask([question()])) == ["not good"]
        assert time.monotonic() - begun < 4
    assert _settles(lambda: threading.active_count() <= before)  # nothing computes on


def test_half_characters_can_be_answered(tmp_path: Path):
    with ChatServer(lambda _: '"\ud800"') as server, asking(tmp_path, server.url) as guard:
        with pytest.warns(UserWarning, match="not good"):
            (answer,) = guard.ask([question()])
        assert (answer.text, answer.attempts) == ('"?"', 2)


def test_a_question_has_its_time_in_all(tmp_path: Path):
    def slow(handler: Any, number: int) -> bool:
        time.sleep(0.4)
        return failing(500)(handler, number)

    with ChatServer(good, slow) as server, asking(tmp_path, server.url, timeout=1.0) as guard:
        begun = time.monotonic()
        with pytest.warns(UserWarning, match="timeout"):
            guard.ask([question()])
        assert time.monotonic() - begun < 1.6
        assert len(server.requests) == 3


def test_a_failure_holds_in_its_phase_and_is_asked_again_in_another(tmp_path: Path):
    with ChatServer(good, failing(400, 1)) as server, asking(tmp_path, server.url) as guard:
        with pytest.warns(UserWarning, match="http 400"):
            assert causes(guard.ask(questions("aa"))) == ["http 400"] * 2
        assert causes(guard.ask(questions("a"))) == ["http 400"]
        assert len(server.requests) == 1
        guard.phase = "evaluate"
        assert causes(guard.ask(questions("a"))) == [""]
        guard.phase = "train"
        assert causes(guard.ask(questions("a"))) == ["http 400"]
        assert guard.report()["fallbacks"] == {"http 400": 4}
    with ChatServer(good) as server, asking(tmp_path, server.url) as guard:  # another process, in each phase
        assert causes(guard.ask(questions("a"))) == ["http 400"]
        guard.phase = "evaluate"
        assert causes(guard.ask(questions("a"))) == [""]
        assert server.requests == []


# Endpoints that speak another dialect


def refusing(**parts: str) -> Callable[[Any, int], bool]:
    """Answers with 400 where the request holds a part, and says what is given for it."""

    def fault(handler: Any, _: int) -> bool:
        held = json.dumps(handler.body)
        said = next((words for part, words in parts.items() if f'"{part}"' in held), "")
        if said:
            handler.send(400, json.dumps({"error": {"message": said}}).encode())
        return bool(said)

    return fault


DIALECTS = {
    "max_tokens in place of max_completion_tokens": {"max_completion_tokens": "unknown: max_completion_tokens"},
    "the JSON schema put into words, with json_object": {"json_schema": "This response_format type is unavailable"},
    "the JSON schema put into words, with no response_format": {"response_format": "unknown: response_format"},
    "a JSON schema without strict": {"strict": "strict is not supported"},
    "no temperature, so that its own holds": {"temperature": "Only the default temperature is supported"},
    "the instructions in the question, for want of a system role": {"system": "System role not supported"},
}


@pytest.mark.parametrize("note", DIALECTS)
def test_what_an_endpoint_refuses_by_name_is_left_out_and_said_once(tmp_path: Path, note: str):
    with ChatServer(good, refusing(**DIALECTS[note])) as server, asking(tmp_path, server.url) as guard:
        with pytest.warns(UserWarning, match="openai:m is asked as its endpoint takes it: ") as warned:
            assert causes(guard.ask(questions("abcdefgh"))) == [""] * 8
        assert [str(warning.message).partition("it: ")[2] for warning in warned] == [note]
        refused = 2 if "no response_format" in note else 1
        assert len(server.requests) == 8 + refused  # the first question found out for all that wait behind it
        assert causes(guard.ask(questions("ij"))) == ["", ""]
        assert len(server.requests) == 10 + refused
        report = guard.report()
    assert (report["calls"], report["faults"]) == (10 + refused, {"http 400": refused})


def test_a_server_of_the_old_days_is_settled_with_once(tmp_path: Path):
    fault = refusing(
        max_completion_tokens="extra fields: max_completion_tokens",
        response_format="extra fields: response_format",
        temperature="temperature must be positive",
        system="System role not supported",
    )
    noted = pytest.warns(UserWarning, match="max_tokens .*no response_format; no temperature.*; the instructions")
    with ChatServer(good, fault) as server, asking(tmp_path, server.url, concurrency=1) as guard, noted:
        assert causes(guard.ask(questions("ab"))) == ["", ""]
    body = server.requests[-1]
    assert (set(body) - {"stream"}, body["max_tokens"]) == ({"model", "messages", "max_tokens"}, 600)
    (message,) = body["messages"]
    assert message["role"] == "user"
    assert message["content"].startswith("You plan.\n\nAnswer with one JSON object of this JSON schema")
    assert message["content"].endswith("State b.")
    assert len(server.requests) == 2 + 5  # json_schema, then json_object, are refused


def test_questions_under_way_at_once_are_not_adapted_to_twice(tmp_path: Path):
    fault = refusing(json_schema="json_schema is unavailable")
    with ChatServer(good, fault) as server, asking(tmp_path, server.url) as guard:
        guard._settled = True  # as where the first question failed for another reason
        with pytest.warns(UserWarning, match="with json_object$"):
            assert causes(guard.ask(questions("abcd"))) == [""] * 4
        assert server.requests[-1]["response_format"] == {"type": "json_object"}


def test_a_name_that_a_models_own_name_holds_is_none(tmp_path: Path):
    with ChatServer(good, send(b'{"error": "temperature-1 is unknown"}', status=404)) as server:
        named = asking(tmp_path, server.url, model="openai:temperature-1")
        with named as guard, pytest.warns(UserWarning, match="http 404"):
            guard.ask([question()])
        assert len(server.requests) == 1


def in_an_answer(error: Any, times: int = 10**9, headers: dict[str, str] | None = None) -> Callable[[Any, int], bool]:
    def fault(handler: Any, number: int) -> bool:
        if number <= times:
            handler.send(200, json.dumps({"error": error}).encode(), headers)
        return number <= times

    return fault


@pytest.mark.parametrize("code", [429, "503", "server_error"])
def test_an_error_inside_an_answer_that_may_pass_is_asked_again(tmp_path: Path, code: Any):
    fault = in_an_answer({"message": "busy", "code": code}, 1, {"Retry-After": "0.3"})
    with ChatServer(good, fault) as server, asking(tmp_path, server.url) as guard:
        begun = time.monotonic()
        assert causes(guard.ask([question()])) == [""]
        assert time.monotonic() - begun >= 0.3
        assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        ({"message": "no such key", "code": 401}, "http 401"),
        ({"message": "pay first", "code": "402"}, "http 402"),
        ({"message": "You exceeded your current quota, see billing.", "code": 429}, "http 429"),
        ({"message": "empty", "code": "insufficient_balance"}, "http 402"),
        ("out of luck", "no answer"),
    ],
)
def test_an_error_inside_an_answer_that_will_not_pass_is_given(tmp_path: Path, error: Any, cause: str):
    with ChatServer(good, in_an_answer(error)) as server, asking(tmp_path, server.url) as guard:
        said = error if isinstance(error, str) else error["message"]
        with pytest.warns(UserWarning, match=f'openai:m: {cause}, "{said}"; boredom plans'):
            (answer,) = guard.ask([question()])
        assert (answer.cause, len(server.requests)) == (cause, 1)
        assert answer.completion_tokens == (0 if cause.startswith("http") else 600)


def test_an_endpoint_whose_limit_is_by_the_minute_is_asked_again(tmp_path: Path):
    said = b'{"error": {"message": "You exceeded your current quota of requests per minute. Please retry in 1 s."}}'
    busy = send(said, status=429)
    with ChatServer(good, lambda handler, number: number == 1 and busy(handler, number)) as server:
        with asking(tmp_path, server.url) as guard:
            assert causes(guard.ask([question()])) == [""]
        assert len(server.requests) == 2


def test_a_retry_waits_for_as_many_milliseconds_as_it_is_asked_to(tmp_path: Path):
    headers = {"retry-after-ms": "700", "Retry-After": "60"}
    with ChatServer(good, failing(429, 1, headers)) as server, asking(tmp_path, server.url) as guard:
        begun = time.monotonic()
        assert causes(guard.ask([question()])) == [""]
        assert 0.7 <= time.monotonic() - begun < 3


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (send(b"data: {}\n\n", {"Content-Type": "text/event-stream"}), "a stream of events, which nobody asked for"),
        (send(b"<html><b>Log in</b></html>", {"Content-Type": "text/html"}), "an HTML page: Log in"),
        (
            send(b"", {"Location": "https://me:pw@there.example/v1?key=k"}, 308),
            "a redirect to https://there.example/v1, ",
        ),
        (send(b"", status=302), "a redirect, which is not followed"),
    ],
)
def test_what_comes_in_an_answers_place_is_named(tmp_path: Path, fault: Any, said: str):
    with ChatServer(good, fault) as server, asking(tmp_path, server.url) as guard:
        with pytest.warns(UserWarning, match="boredom plans") as warned:
            (answer,) = guard.ask([question()])
        assert answer.text.startswith(said)
        assert said in str(warned[0].message)
        assert len(server.requests) == 1


def test_nothing_is_charged_where_nothing_was_sent(tmp_path: Path):
    with asking(tmp_path, "http://127.0.0.1:1/v1", timeout=1.0) as guard:
        with pytest.warns(UserWarning, match="connection"):
            guard.ask([question()])
        report = guard.report()
    assert (report["calls"], report["prompt_tokens"], report["completion_tokens"]) == (0, 0, 0)
    assert report["fallbacks"] == {"connection": 1}


def test_a_proxy_in_the_way_is_named_without_its_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HTTP_PROXY", "http://me:secret@127.0.0.1:1")
    monkeypatch.delenv("http_proxy", raising=False)
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", "")
    with ChatServer(good) as server, asking(tmp_path, server.url, timeout=1.0) as guard:
        with pytest.warns(
            UserWarning, match=r"connection, .*through the proxy 127.0.0.1:1 of HTTP_PROXY; NO_PROXY="
        ) as warned:
            guard.ask([question()])
        assert "secret" not in str(warned[0].message)
        assert server.requests == []
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with ChatServer(good) as server, asking(tmp_path, server.url) as guard:
        assert causes(guard.ask([question("b")])) == [""]


def test_a_key_that_no_header_can_carry_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OPENAI_API_KEY", f"\u201c{KEY}\u201d")
    with pytest.raises(ChatError, match="OPENAI_API_KEY holds a typographic quotation mark") as raised:
        guarding(tmp_path, "http://x/v1")
    assert KEY not in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_a_gateway_of_langchains_own_is_never_sent_the_key(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LANGSMITH_GATEWAY", "http://127.0.0.1:1")
    for name in ("OPENAI_API_BASE", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    chat: Any = module.open_chat(PlannerConfig(model="openai:m"))
    assert str(chat.model.root_async_client.base_url) == "https://api.openai.com/v1/"
    asyncio.run(chat.close())


# Breaker and budget


def test_nothing_is_asked_for_a_while_after_failure_upon_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "PAUSE", 0.5)
    with ChatServer(good, failing(400, 5)) as server, asking(tmp_path, server.url, concurrency=1) as guard:
        with pytest.warns(UserWarning, match="http 400"):
            found = causes(guard.ask(questions("abcdefg")))
        assert found == ["http 400"] * 5 + ["breaker"] * 2
        assert len(server.requests) == 5
        time.sleep(0.6)
        assert causes(guard.ask(questions("hi"))) == ["", ""]
        report = guard.report()
        assert report["fallbacks"] == {"breaker": 2, "http 400": 5}
        assert report["faults"] == {"http 400": 5}


def test_after_the_pause_one_more_failure_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "PAUSE", 0.3)
    with ChatServer(good, failing(400)) as server, asking(tmp_path, server.url, concurrency=1) as guard:
        with pytest.warns(UserWarning, match="http 400"):
            guard.ask(questions("abcde"))
        time.sleep(0.4)
        assert causes(guard.ask(questions("fgh"))) == ["http 400", "breaker", "breaker"]


def test_wrong_answers_do_not_close_an_endpoint(tmp_path: Path):
    with ChatServer(lambda _: "bad") as server, asking(tmp_path, server.url) as guard:
        with pytest.warns(UserWarning, match="not good"):
            assert set(causes(guard.ask(questions("abcdefghij")))) == {"not good"}
        assert len(server.requests) == 20


def test_long_answers_do_not_close_an_endpoint(tmp_path: Path):
    def short(text: str) -> None:
        raise AnswerError("too long", f"the answer must be shorter, given {len(text)}")

    with ChatServer(lambda _: "word " * 5000) as server, asking(tmp_path, server.url) as guard:
        with pytest.warns(UserWarning, match="too long"):
            assert set(causes(guard.ask([question(name, check=short) for name in "abcdefghij"]))) == {"too long"}
        assert len(server.requests) == 20


def test_an_outage_takes_its_timeout_once(tmp_path: Path):
    with ChatServer(good, hanging) as server, asking(tmp_path, server.url, timeout=0.5) as guard:
        begun = time.monotonic()
        with pytest.warns(UserWarning, match="timeout"):
            found = causes(guard.ask([question(str(number)) for number in range(200)]))
        assert time.monotonic() - begun < 3  # 8 at once, after which the breaker is open
        assert 192 - 8 <= found.count("breaker") <= 192  # some begin before all of the first have failed


@pytest.mark.parametrize(
    ("budget", "most"),
    [(BudgetConfig(calls=3), 3), (BudgetConfig(tokens=620), 3), (BudgetConfig(money=0.55), 4)],
)
def test_a_budget_is_kept_and_told_once(tmp_path: Path, budget: BudgetConfig, most: int):
    # A call may take 5 tokens (17 characters) + 600, at 200 and 900 for a million 0.541; it takes 4 + 2 (words) and
    # 0.0026. So after 18 tokens there is no room for another in 620, and after 0.0104 none in 0.55.
    settings = {"budget": budget, "price": PriceConfig(200.0, 900.0), "concurrency": 1}
    with ChatServer(good) as server:
        with asking(tmp_path, server.url, **settings) as guard:
            with pytest.warns(UserWarning, match=r"planner\.budget\.\w+ of [\d.]+ is spent; boredom plans") as warned:
                found = causes(guard.ask(questions("abcdef")))
            assert len(warned) == 1
            found += causes(guard.ask(questions("gh")))  # a second warning would be an error
            assert found == [""] * most + ["budget"] * (8 - most)
            assert len(server.requests) == most
            assert guard.report()["cost"] == pytest.approx(0.0026 * most)
            assert causes(guard.ask(questions("a"))) == [""]  # what is known costs nothing
        with asking(tmp_path, server.url, **settings) as guard, pytest.warns(UserWarning, match="is spent"):
            assert causes(guard.ask(questions("i"))) == ["budget"]  # it is the run's, not the process's
        assert len(server.requests) == most


@pytest.mark.parametrize("concurrency", [1, 8])
@pytest.mark.parametrize("budget", [BudgetConfig(tokens=2000), BudgetConfig(money=2.0)])
def test_no_budget_is_overspent_by_questions_under_way_nor_where_no_tokens_are_given(
    tmp_path: Path, budget: BudgetConfig, concurrency: int
):
    text = "x" * 2400

    def silent(handler: Any, _: int) -> bool:
        time.sleep(0.1)
        handler.send(200, json.dumps(completion(text, 1) | {"usage": None}).encode())
        return True

    settings = {"budget": budget, "price": PriceConfig(1000.0, 1000.0), "concurrency": concurrency}
    with ChatServer(good, silent) as server, asking(tmp_path, server.url, **settings) as guard:
        with pytest.warns(UserWarning, match="is spent"):
            found = causes(guard.ask([question(name, check=len) for name in "abcdefghijkl"]))
        report = guard.report()
    # Each takes 5 + 600 tokens: three have 1815, a fourth would have 2420.
    assert len(server.requests) == 3
    assert found.count("budget") == 9
    assert (report["prompt_tokens"], report["completion_tokens"]) == (15, 1800)
    assert report["cost"] == pytest.approx(1.815)


@pytest.mark.parametrize(("fault", "charged"), [(hanging, (5, 600)), (send(b"{}"), (5, 600)), (failing(401), (0, 0))])
def test_what_may_have_been_answered_is_paid_for(tmp_path: Path, fault: Any, charged: tuple[int, int]):
    with ChatServer(good, fault) as server, asking(tmp_path, server.url, timeout=0.5) as guard:
        with pytest.warns(UserWarning, match="boredom plans"):
            (answer,) = guard.ask([question()])
        report = guard.report()
    assert (answer.prompt_tokens, answer.completion_tokens) == charged
    assert (report["prompt_tokens"], report["completion_tokens"]) == charged


@pytest.mark.filterwarnings("ignore:openai")  # of faults, once each
def test_retries_repairs_and_neighbours_stay_within_the_calls(tmp_path: Path):
    with ChatServer(lambda _: "bad", failing(500, 3)) as server:
        few = asking(tmp_path, server.url, budget=BudgetConfig(calls=6))
        with few as guard, pytest.warns(UserWarning, match="calls of 6 is spent"):
            guard.ask(questions("abcdefgh"))
        assert len(server.requests) == 6


def test_what_was_never_sent_takes_next_to_no_room(tmp_path: Path):
    nothing = asking(tmp_path, "http://127.0.0.1:1/v1", budget=BudgetConfig(calls=0))
    with nothing as guard, pytest.warns(UserWarning, match=r"planner\.budget\.calls of 0 is spent"):
        guard.ask([question(str(number), user="u" * 10_000) for number in range(100)])
    assert (tmp_path / "traffic.sqlite").stat().st_size < 100_000


# Replay


@pytest.mark.parametrize("as_folder", [True, False])
def test_a_replay_needs_no_endpoint_and_repeats_failures(
    tmp_path: Path, as_folder: bool, monkeypatch: pytest.MonkeyPatch
):
    recorded = tmp_path / "run" / "planners"
    with ChatServer(good, failing(400, 1)) as server, asking(recorded, server.url, concurrency=1) as guard:
        with pytest.warns(UserWarning, match="http 400"):
            before = guard.ask(questions("aba"))
        guard.phase = "evaluate"
        later = guard.ask(questions("ac"))
    assert causes(before) == ["http 400", "", "http 400"]
    assert causes(later) == ["", ""]
    monkeypatch.delenv("OPENAI_API_KEY")
    given = recorded.parent if as_folder else recorded / "traffic.sqlite"
    cache = tmp_path / "cache.sqlite"  # knows better, and is not asked
    shared = Traffic(cache)
    shared.keep("", [later[0]], {})
    shared.close()
    settings = PlannerConfig(model="openai:m", replay=str(given), cache=str(cache))
    guard = Guard(settings, "digest", tmp_path / "replay.sqlite", lambda _: pytest.fail("opened"))
    guard.phase = "train"
    assert [(a.text, a.cause) for a in guard.ask(questions("aba"))] == [(a.text, a.cause) for a in before]
    assert causes(guard.ask(questions("ab"))) == ["http 400", ""]
    guard.phase = "evaluate"
    assert [(a.text, a.cause) for a in guard.ask(questions("ac"))] == [(a.text, a.cause) for a in later]
    report = guard.report()
    assert (report["calls"], report["requests"], report["fallbacks"]) == (0, 7, {"http 400": 3})
    assert (report["deduplicated"], report["cached"]) == (1 / 7, 6 / 7)
    guard.close()


def test_a_replay_is_asked_nothing_new(tmp_path: Path):
    with ChatServer(good) as server, asking(tmp_path / "run", server.url) as guard:
        guard.ask(questions("a"))
    replay = str(tmp_path / "run" / "traffic.sqlite")
    with asking(tmp_path, "http://127.0.0.1:1/v1", replay=replay) as guard:
        assert causes(guard.ask(questions("a"))) == [""]
        with pytest.raises(ReplayError, match=r"traffic\.sqlite, which has no answer .* same recipe, flags, seed"):
            guard.ask(questions("ab"))


def test_a_run_without_traffic_cannot_be_replayed(tmp_path: Path):
    with pytest.raises(TrafficError, match=r"there is no .*traffic\.sqlite"):
        guarding(tmp_path, "http://x/v1", replay=str(tmp_path))


# Counting


def test_counts_add_up(tmp_path: Path):
    def answer(messages: list[dict[str, str]]) -> str:
        return "bad" if "State b" in messages[1]["content"] else GOOD

    with ChatServer(answer, failing(503, 1)) as server:
        settings: dict[str, Any] = {"concurrency": 1, "price": PriceConfig(5e5, 1e6), "budget": BudgetConfig(calls=5)}
        with asking(tmp_path, server.url, **settings) as guard:
            with pytest.warns(UserWarning, match="openai:m: not good"):
                guard.ask(questions("abab"))  # a: 503, answered; b: wrong, repaired in vain
            guard.phase = "evaluate"
            with pytest.warns(UserWarning, match=r"planner\.budget\.calls of 5 is spent"):
                guard.ask(questions("acd"))  # a is known, c takes the fifth call, d is refused
            guard.count("user_steps", 400)
            guard.count("user_steps", 100)
            report = guard.report()
        sent = len(server.requests)
    assert report["calls"] == sent == 5
    assert report["requests"] == 7
    assert report["fallbacks"] == {"budget": 1, "not good": 2}
    assert report["faults"] == {"http 503": 1, "not good": 2}
    assert report["repairs"] == 1
    assert report["user_steps"] == 500
    assert report["calls_per_1000_user_steps"] == 10.0
    assert report["cost"] == report["prompt_tokens"] / 2 + report["completion_tokens"]
    assert 0 < report["latency_p50"] <= report["latency_p95"] < 5
    train, evaluate = report["phases"]["train"], report["phases"]["evaluate"]
    assert (train["requests"], train["deduplicated"], train.get("cached", 0)) == (4, 2, 0)
    assert (evaluate["requests"], evaluate["deduplicated"], evaluate["cached"]) == (3, 0, 1)


def test_a_report_of_nothing(tmp_path: Path):
    with asking(tmp_path, "http://x/v1") as guard:
        assert guard.report() == {
            "requests": 0,
            "calls": 0,
            "calls_per_1000_user_steps": 0.0,
            "user_steps": 0,
            "prompt_tokens": 0,
            "completion_tokens": 0,
            "cost": 0.0,
            "deduplicated": 0.0,
            "cached": 0.0,
            "repairs": 0,
            "fallbacks": {},
            "faults": {},
            "latency_p50": 0.0,
            "latency_p95": 0.0,
            "phases": {},
        }


def test_latencies_are_those_of_all_processes(tmp_path: Path):
    class Waiting(ChatModel):
        async def reply(self, messages: Any, schema: Any) -> Reply:
            await asyncio.sleep(0.2 if "State a" in messages[1]["content"] else 0.0)
            return Reply(GOOD, 0, 0)

    for name in "ab":
        guard = Guard(PlannerConfig(model="openai:m"), "d", tmp_path / "t.sqlite", lambda _: Waiting())
        guard.ask([question(name)])
        report = guard.report()
        guard.close()
    # 0.2 and 0.0 s: half of the way, and 95 % of it
    assert report["latency_p50"] == pytest.approx(0.1, abs=0.04)
    assert report["latency_p95"] == pytest.approx(0.19, abs=0.04)


# Letting go


def _settles(done: Callable[[], bool]) -> bool:
    until = time.monotonic() + 5
    while not done() and time.monotonic() < until:
        time.sleep(0.02)
    return done()


def _open_files() -> list[str]:
    return [fd for fd in os.listdir("/proc/self/fd") if os.path.islink(f"/proc/self/fd/{fd}")]


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files as Linux shows them")
@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_nothing_is_left_open(tmp_path: Path):
    with ChatServer(good) as warm, asking(tmp_path / "warm", warm.url) as guard:
        guard.ask([question()])  # whatever is made once for the process
    with ChatServer(good, failing(500, 3)) as server:
        assert _settles(lambda: not [t for t in threading.enumerate() if t.name == "lerl-chat"])
        threads, files = threading.active_count(), len(_open_files())
        with asking(tmp_path, server.url, cache=str(tmp_path / "cache.sqlite")) as guard:
            guard.ask(questions("abcdefghij"))
        assert _settles(lambda: threading.active_count() <= threads)
        assert _settles(lambda: len(_open_files()) <= files)


def test_a_guard_that_never_asked_is_closed_too(tmp_path: Path):
    guard = guarding(tmp_path, "http://x/v1")
    guard.close()
    guard.close()


def test_an_interruption_ends_what_is_under_way_and_keeps_what_was_answered(tmp_path: Path):
    def fault(handler: Any, number: int) -> bool:
        if number > 1:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(3)
            handler.close_connection = True
            return True
        return False

    with ChatServer(good, fault) as server, asking(tmp_path, server.url, concurrency=1) as guard:
        begun = time.monotonic()
        before = signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever other tests made of it
        try:
            with pytest.raises(KeyboardInterrupt):
                guard.ask(questions("aabbc"))
        finally:
            signal.signal(signal.SIGINT, before)
        assert time.monotonic() - begun < 2.5
        assert guard.traffic.find(key_of("a"), "train") is not None
        assert guard.traffic.find(key_of("b"), "train") is None
        report = guard.report()
        assert report["calls"] == 2  # both were sent, and may have to be paid for
        assert (report["prompt_tokens"], report["completion_tokens"]) == (4 + 5, 2 + 600)  # the second as estimated
        assert (report["requests"], report["deduplicated"]) == (2, 0.5)  # what was answered
        guard.close()


# Keys


def test_a_key_is_written_nowhere(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    def leak(handler: Any, number: int) -> bool:
        key = handler.headers["Authorization"]
        if number in (1, 2):
            return failing(500)(handler, number)
        if number == 3:
            handler.reply(f"your key is {key}")
        elif number == 4:
            handler.reply(json.dumps({"rationale": key}))
        else:
            return failing(401)(handler, number)
        return True

    with ChatServer(good, leak) as server, asking(tmp_path, server.url, concurrency=1) as guard:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            answers = guard.ask(questions("ab"))
        report = json.dumps(guard.report())
        repaired = json.dumps(server.requests)
    assert causes(answers) == ["not good", "http 401"]
    assert "[key]" in answers[0].text
    said = capfd.readouterr()
    for text in (*(repr(answer) for answer in answers), *(str(w.message) for w in warned), report, repaired, *said):
        assert KEY not in text
    for path in tmp_path.rglob("*"):
        assert KEY.encode() not in path.read_bytes()


def test_an_answer_with_a_key_in_it_is_judged_as_it_is_kept(tmp_path: Path):
    def known(text: str) -> None:
        if KEY in text:
            raise AnswerError("leak", "no keys")

    with ChatServer(lambda _: f'{{"rationale": "{KEY}"}}') as server, asking(tmp_path, server.url) as guard:
        (answer,) = guard.ask([question(check=known)])
        assert (answer.cause, answer.text) == ("", '{"rationale": "[key]"}')


def test_what_is_too_short_for_a_key_is_none(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SHORT_KEY", "plan")
    monkeypatch.setenv("OTHER_TOKEN", f"{KEY}-and-more")
    assert redacted(f"a plan with {KEY} and {KEY}-and-more") == "a plan with [key] and [key]"


@pytest.mark.parametrize("key", [KEY, "sk-~~~???>>>ÿÿ0123"])
@pytest.mark.parametrize("before", ["", "x", "me", "Bearer "])
def test_a_key_is_found_however_it_is_written(monkeypatch: pytest.MonkeyPatch, key: str, before: str):
    monkeypatch.setenv("OPENAI_API_KEY", key)
    said = (before + key).encode()
    for written in (base64.b64encode(said), base64.urlsafe_b64encode(said)):
        left = redacted(written.decode()).split("[key]")
        assert len(left) == 2
        # of the key no more than what shares a character with what stands before and behind it
        assert len("".join(left)) <= 4 * (len(before) // 3 + 2)
    for text in (said.hex(), said.hex().upper()):
        assert redacted(text).lower() == before.encode().hex() + "[key]"
    assert redacted(before + quote(key)) == before + "[key]"
    assert redacted(before + "".join(f"%{byte:02X}" for byte in key.encode())) == before + "[key]"
    assert redacted(before + json.dumps(key)) == before + '"[key]"'


def test_the_key_that_is_sent_is_never_written_however_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_API_KEY", " ab-1\n")
    with ChatServer(lambda _: "it is ab-1") as server, asking(tmp_path, server.url) as guard:
        with pytest.warns(UserWarning, match="not good"):
            assert guard.ask([question()])[0].text == "it is [key]"
        assert server.headers[0]["authorization"] == "Bearer ab-1"


# Other providers


class Other:
    """A chat model of a provider of its own, as LangChain makes them."""

    def __init__(self, name: str, **options: Any) -> None:
        if "nothing" in name:
            raise TypeError("unexpected keyword argument 'max_retries'")
        self.options, self.async_client, self.closed = options, self, False

    async def aclose(self) -> None:
        self.closed = True


def test_another_provider_is_asked_once_and_for_a_short_answer(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("langchain.chat_models.init_chat_model", Other)
    chat: Any = module.open_chat(PlannerConfig(model="other:m", temperature=0.5))
    assert chat.model.options == {"temperature": 0.5, "max_retries": 0, "max_tokens": 600}
    asyncio.run(chat.close())
    assert chat.model.closed
    with pytest.raises(ChatError, match=r"'other:nothing' cannot be used: unexpected keyword argument 'max_retries'"):
        module.open_chat(PlannerConfig(model="other:nothing"))


# Settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": None}, r"planner\.model must be PROVIDER:NAME.*given None"),
        ({"model": "gpt-4.1-mini"}, r"planner\.model must be PROVIDER:NAME.*given 'gpt-4.1-mini'"),
        ({"model": "openai:"}, r"planner\.model must be PROVIDER:NAME"),
        ({"model": ":m"}, r"planner\.model must be PROVIDER:NAME"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_anything_is_written(tmp_path: Path, settings: Any, message: str):
    given = {"base_url": "http://x/v1"} | settings
    with pytest.raises(ChatError, match=message):
        guarding(tmp_path, given.pop("base_url"), **given)
    assert list(tmp_path.iterdir()) == []


def test_openai_itself_needs_a_key(monkeypatch: pytest.MonkeyPatch):
    settings = PlannerConfig(model="openai:m")
    check_chat(settings)
    for blank in ("", " \n"):
        monkeypatch.setenv("OPENAI_API_KEY", blank)
        with pytest.raises(ChatError, match=r"OPENAI_API_KEY is not set; set it in the environment, or give"):
            check_chat(settings)
    check_chat(PlannerConfig(model="openai:m", base_url="http://localhost:8000/v1"))  # one's own asks for none


@pytest.mark.parametrize("model", ["nobody:m", "ollamma:m"])
def test_a_provider_that_nobody_knows_is_refused(model: str):
    with pytest.raises(ChatError, match=f"planner.model '{model}' cannot be used"):
        module.open_chat(PlannerConfig(model=model))


# Ollama


class Ollama:
    """Speaks Ollama's /api/chat: one answer, as a stream of one line or as one object."""

    def __init__(self, status: int = 200) -> None:
        self.requests: list[dict[str, Any]] = []
        self.accepted: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                outer.accepted.append(self.headers["Accept-Encoding"])
                outer.requests.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                answer = {
                    "model": "m",
                    "created_at": "2026-01-01T00:00:00Z",
                    "message": {"role": "assistant", "content": GOOD},
                    "done": True,
                    "done_reason": "stop",
                    "prompt_eval_count": 7,
                    "eval_count": 3,
                }
                body = json.dumps(answer if status == 200 else {"error": "no"}).encode() + b"\n"
                self.send_response(status)
                self.send_header("Content-Type", "application/x-ndjson")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    def __enter__(self) -> "Ollama":
        return self

    def __exit__(self, *_: Any) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


def test_ollama_is_asked_in_its_own_way(tmp_path: Path):
    with Ollama() as server, asking(tmp_path, server.url, model="ollama:m") as guard:
        (answer,) = guard.ask([question()])
        assert (answer.text, answer.cause) == (GOOD, "")
        assert (answer.prompt_tokens, answer.completion_tokens) == (7, 3)
        (sent,) = server.requests
        assert server.accepted == ["identity"]
        assert sent["model"] == "m"
        assert sent["format"]["required"] == ["state", "rationale", "allowed", "avoid"]
        assert sent["options"]["num_predict"] == 600
        assert sent["options"]["temperature"] == 0
        assert [message["content"] for message in sent["messages"]] == ["You plan.", "State a."]


def test_ollamas_faults_are_causes(tmp_path: Path):
    settings: dict[str, Any] = {"model": "ollama:m", "timeout": 5.0}
    with Ollama(404) as server:
        refusing = asking(tmp_path, server.url, **settings)
        with refusing as guard, pytest.warns(UserWarning, match='http 404, "no"; .* its key in the environment; try'):
            assert causes(guard.ask([question()])) == ["http 404"]
    gone = asking(tmp_path / "gone", "http://127.0.0.1:1", **settings)
    with gone as guard, pytest.warns(UserWarning, match="connection"):
        assert causes(guard.ask([question()])) == ["connection"]


def test_an_oversized_answer_stays_one_however_a_client_wraps_it():
    inner, outer = ConnectionError("a client's own"), RuntimeError("another's, around it")
    inner.__cause__, outer.__cause__ = FaultError("oversized", "large"), inner
    assert module._cause(inner) == module._cause(outer) == "oversized"
