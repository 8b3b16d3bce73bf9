"""What is read of the answers that servers give."""

import gzip
import json
from typing import Any

import pytest

from lerl.planners.llm.completion import FaultError, StatusError, canonical, fault_of, message_of, without_tags, words


def answered(message: Any, finish: str = "stop", **more: Any) -> bytes:
    return json.dumps({"choices": [{"message": message, "finish_reason": finish}]} | more).encode()


def text_of(body: bytes) -> str:
    given = json.loads(canonical(body, "application/json"))
    (choice,) = given["choices"]
    assert (choice["index"], choice["finish_reason"], choice["message"]["role"]) == (0, "stop", "assistant")
    return str(choice["message"]["content"])


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"content": "A"}, "A"),
        ({"content": ["A", "B"]}, "AB"),
        ({"content": [{"type": "text", "text": "A"}, {"type": "output_text", "text": "B"}]}, "AB"),
        ({"content": [{"type": "thinking", "thinking": [{"text": "hm"}]}, {"type": "text", "text": "A"}]}, "A"),
        ({"content": [{"type": "thinking", "text": "hm"}, {"text": "A"}, 5, None]}, "A"),
        ({"content": {"allowed": [1]}}, '{"allowed": [1]}'),
        ({"content": None, "reasoning_content": "A"}, "A"),
        ({"content": "", "reasoning": "A"}, "A"),
        ({"content": " \n", "reasoning_content": None, "reasoning": "A"}, "A"),
        ({"content": "A", "reasoning_content": "hm"}, "A"),
        ({"reasoning_content": "A"}, "A"),
        ({"content": None, "reasoning_details": [{"type": "reasoning.text", "text": "A"}]}, "A"),
        ({"content": None, "refusal": "I cannot."}, "I cannot."),
        ({"content": None, "tool_calls": [{"function": {"name": "plan", "arguments": "A"}}]}, "A"),
        ({"content": None, "tool_calls": [{"function": {"arguments": {"a": 1}}}]}, '{"a": 1}'),
        ({"content": "", "function_call": {"arguments": "A"}}, "A"),
        ({"content": ""}, ""),
        ({"content": None}, ""),
        ({"content": "\ud800"}, "\ud800"),
    ],
)
def test_an_answer_is_found_wherever_it_stands(message: Any, text: str):
    assert text_of(answered(message)) == text


def test_thoughts_that_ended_the_answer_are_none():
    assert text_of(answered({"content": None, "reasoning": '{"draft": 1}'}, "length")) == '<think>{"draft": 1}'
    assert text_of(answered({"content": "A", "reasoning": "hm"}, "length")) == "A"
    assert text_of(answered({"role": "assistant"}, "length")) == "<think>"  # of a server that keeps thoughts to itself


@pytest.mark.parametrize("choice", [{"text": "A"}, {"delta": {"content": "A"}}])
def test_older_forms_are_read(choice: Any):
    assert text_of(json.dumps({"choices": [choice]}).encode()) == "A"


def test_odd_letters_and_space_around_are_no_fault():
    assert text_of(b"\n\n  " + answered({"content": "A"})) == "A"
    assert text_of(b"\xef\xbb\xbf" + answered({"content": "A"})) == "A"
    assert text_of('{"choices": [{"message": {"content": "é"}}]}'.encode("latin-1")) == "\ufffd"


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        ({"prompt_tokens": 7, "completion_tokens": 3}, (7, 3)),
        ({"prompt_tokens": 7.0, "completion_tokens": "3"}, (7, 3)),
        ({"input_tokens": 7, "output_tokens": 3}, (7, 3)),
        ({"prompt_tokens": 7, "completion_tokens": None}, (7, 0)),
        ({"prompt_tokens": 7, "completion_tokens": -5}, (7, 0)),
        ({"prompt_tokens": True, "completion_tokens": 3.5}, None),
        ({"prompt_tokens": 10**30, "completion_tokens": float("inf")}, None),
        (None, None),
        ([1], None),
        ("5", None),
    ],
)
def test_tokens_are_whole_numbers_or_unknown(usage: Any, counts: tuple[int, int] | None):
    given = json.loads(canonical(answered({"content": "A"}, usage=usage), ""))
    if counts is None:
        assert "usage" not in given
    else:
        assert (given["usage"]["prompt_tokens"], given["usage"]["completion_tokens"]) == counts


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"error": {"message": "Rate limit exceeded", "code": 429}}, 429),
        ({"error": {"message": "no", "code": "429"}, "choices": None}, 429),
        ({"error": {"message": "no", "status": 503}, "choices": []}, 503),
        ({"error": {"message": "no", "type": "invalid_request_error", "code": "invalid_api_key"}}, 401),
        ({"error": {"message": "no", "type": "server_error", "code": None}}, 500),
        ({"error": {"message": "no", "status": "RESOURCE_EXHAUSTED"}}, 429),
        ({"error": "rate limit reached"}, 429),
        ({"error": "Error code: 502 - upstream"}, 502),
        ({"error": "Service Unavailable"}, 503),
        ({"object": "error", "message": "no", "code": 400}, 400),
        ({"detail": "Too Many Requests"}, 429),
        ({"choices": [{"error": {"code": 502, "message": "no"}, "message": {"content": "half"}}]}, 502),
        ([{"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}}], 503),
    ],
)
def test_an_error_inside_an_answer_has_the_status_that_it_names(body: Any, status: int):
    with pytest.raises(StatusError) as raised:
        canonical(json.dumps(body).encode(), "application/json")
    assert raised.value.status == status


@pytest.mark.parametrize(
    ("body", "kind", "said"),
    [
        (b"", "", "an empty answer"),
        (b" \n", "", "an empty answer"),
        (b"data: {}\n\n", "", "a stream of events, which nobody asked for"),
        (b"{}\n", "text/event-stream", "JSON without an answer: {}\n"),
        (b": keep-alive\n\ndata: {}", "text/event-stream", "a stream of events, which nobody asked for"),
        (b"<html><style>b</style><b>Log in</b></html>", "", "an HTML page:    Log in  "),
        (b"Log in", "text/html; charset=utf-8", "an HTML page: Log in"),
        (b"upstream", "", "no JSON: upstream"),
        (b"[1]", "", "no JSON: [1]"),
        (b'{"choices": []}', "", 'JSON without an answer: {"choices": []}'),
        (b'{"choices": null}', "", 'JSON without an answer: {"choices": null}'),
        (b'{"choices": [5]}', "", 'JSON without an answer: {"choices": [5]}'),
        (b'{"choices": [{"message": 5}]}', "", 'JSON without an answer: {"choices": [{"message": 5}]}'),
        (b'{"error": {"message": "out of luck", "code": "luck"}}', "", "out of luck"),
        (b'{"error": "out of luck"}', "", "out of luck"),
        (b'{"error": true, "message": "out of luck"}', "", 'JSON without an answer: {"error": true, '),
        (b"[" * 5000, "", "no JSON: [["),
        (b'[{"error": {"message": "out of luck"}}]', "", "out of luck"),
        (answered({}, "content_filter"), "", "an answer without text, of finish_reason content_filter"),
    ],
)
def test_what_is_no_answer_is_called_by_its_name(body: bytes, kind: str, said: str):
    with pytest.raises(FaultError) as raised:
        canonical(body, kind)
    assert raised.value.cause == "no answer"
    assert raised.value.said.startswith(said)


def test_a_packed_answer_that_does_not_say_so_is_called_one():
    with pytest.raises(FaultError) as raised:
        canonical(gzip.compress(answered({"content": "A"})), "application/json")
    assert (raised.value.cause, raised.value.said[:27]) == ("compressed", "the answer is compressed (g")


@pytest.mark.parametrize(
    "given",
    [
        {"error": {"message": "no"}},
        [{"error": {"message": "no"}}],
        {"choices": [{"error": {"message": "no"}}]},
        {"message": "no"},
        "no",
    ],
)
def test_an_error_is_found_wherever_it_stands(given: Any):
    assert message_of(fault_of(given)) == "no"


def test_of_a_page_its_words_are_given():
    page = "<html><style>a{}</style><head><title>502 Bad Gateway</title></head></html>"
    assert without_tags(page).split() == ["502", "Bad", "Gateway"]
    assert without_tags("a < b, c > d") == "a < b, c > d"


def test_openais_newer_protocol_is_left_to_its_client():
    body = b'{"object": "response", "output": []}'
    assert canonical(body, "") == body


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("no", "no"),
        ({"message": "no"}, "no"),
        ({"message": {"detail": "no"}}, "no"),
        ({"detail": [{"loc": ["body", "max_tokens"], "msg": "no"}, {"msg": "never"}]}, "body.max_tokens: no; never"),
        ({"message": "Provider returned error", "metadata": {"raw": '{"error": {"message": "no"}}'}}, None),
        ({"code": 5}, ""),
        (5, ""),
    ],
)
def test_what_an_error_says(fault: Any, said: str | None):
    assert message_of(fault) == ("Provider returned error: no" if said is None else said)


def test_what_a_server_repeats_of_a_request_is_no_refusal():
    entry = {"loc": ["body", "stop"], "msg": "wrong", "input": {"temperature": 0}, "url": "https://x/temperature"}
    assert words(json.dumps({"detail": [entry]})).split() == ["body", "stop", "wrong"]
    inner = json.dumps({"error": {"message": "no temperature"}})
    assert words(json.dumps({"error": {"metadata": {"raw": inner}}})) == "no temperature"
    assert words("no max_tokens") == "no max_tokens"
