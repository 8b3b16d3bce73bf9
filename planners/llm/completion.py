"""What an answer of OpenAI's protocol says, in the many shapes in which servers write it."""

import json
import re
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

THOUGHTS = ("reasoning_content", "reasoning", "thinking", "reasoning_details")
"""Where some servers put what a model says."""

STATUSES = {
    "rate_limit_exceeded": 429,
    "rate_limit_error": 429,
    "resource_exhausted": 429,
    "insufficient_quota": 429,
    "insufficient_balance": 402,
    "billing_error": 402,
    "invalid_api_key": 401,
    "authentication_error": 401,
    "unauthenticated": 401,
    "permission_error": 403,
    "permission_denied": 403,
    "model_not_found": 404,
    "not_found_error": 404,
    "invalid_request_error": 400,
    "badrequesterror": 400,
    "server_error": 500,
    "api_error": 500,
    "internal_server_error": 500,
    "internalservererror": 500,
    "unavailable": 503,
    "service_unavailable": 503,
    "overloaded_error": 503,
}
"""What errors are called, with the status that goes with them."""
PHRASES = {HTTPStatus(status).phrase.lower(): status for status in (401, 402, 429, 500, 502, 503, 504)}
PHRASES |= {"rate limit": 429, "rate-limit": 429, "overloaded": 503}
GZIP = b"\x1f\x8b"
TAGS = re.compile(r"<(script|style).*?</\1>|<[^>]*>", re.DOTALL | re.IGNORECASE)
MESSAGES = ("message", "msg", "detail", "error_msg", "status_msg", "error_description", "error")
ECHOES = ("input", "ctx", "body", "request", "url")  # where validators repeat what they were sent


class FaultError(Exception):
    """An answer that cannot be read.

    Attributes:
        cause: in one or two words. said: what came instead, in words, maybe the server's.
    """

    def __init__(self, cause: str, said: str) -> None:
        super().__init__(said)
        self.cause, self.said = cause, said


class StatusError(Exception):
    """An error inside an answer that says it is none.

    Attributes:
        status: the HTTP status that it should have had.
    """

    def __init__(self, status: int) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status


def canonical(body: bytes, kind: str) -> bytes:
    """An answer as OpenAI writes it: its text in one string, whole numbers of tokens, nothing else.

    Args:
        body: of an answer with a status of success. kind: its Content-Type, "" where it has none.

    Raises:
        StatusError: it is an error with a status. FaultError: it is no answer.
    """
    if body.startswith(GZIP):
        raise FaultError("compressed", "the answer is compressed (gzip), and does not say so")
    read = body.decode("utf-8", "replace")
    answer = parsed(read)
    if not isinstance(answer, dict):
        _raise_status(answer)
        raise FaultError("no answer", message_of(fault_of(answer)) or _described(read, kind))
    if answer.get("object") == "response":  # OpenAI's newer protocol, which its own client reads
        return body
    choice = _choice(answer)
    text = None if choice.get("error") else _text(choice)
    if text is None:
        _raise_status(answer)
        ended = choice.get("finish_reason")
        nothing = f"an answer without text, of finish_reason {ended}" if isinstance(ended, str) else ""
        raise FaultError("no answer", message_of(fault_of(answer)) or nothing or f"JSON without an answer: {read}")
    message = {"role": "assistant", "content": text}
    written = {"id": "", "object": "chat.completion", "created": 0, "model": ""}
    written |= {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    return json.dumps(written | _usage(answer.get("usage"))).encode()


def _choice(answer: dict[str, Any]) -> dict[str, Any]:
    """The first choice of an answer, empty where there is none."""
    choices = answer.get("choices")
    return choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}


def fault_of(answer: Any) -> Any:
    """The error that JSON holds: beside its answer, inside of it, or as the only entry of a list; or else the JSON."""
    answer = answer[0] if isinstance(answer, list) and len(answer) == 1 else answer
    return (_choice(answer).get("error") or answer.get("error") or answer) if isinstance(answer, dict) else answer


def _raise_status(answer: Any) -> None:
    status = status_of(fault_of(answer))
    if status:
        raise StatusError(status)


def parsed(text: str) -> Any:
    """A JSON text's value; None where it is none."""
    try:
        return json.loads(text.lstrip("\ufeff"))
    except (ValueError, RecursionError):
        return None


def _text(choice: dict[str, Any]) -> str | None:
    """What was said; None where nothing was."""
    message = choice.get("message") or choice.get("delta") or {"content": choice.get("text")}
    if not isinstance(message, dict):
        return None
    content = _joined(message.get("content"))
    if content.strip():
        return content
    called = message.get("tool_calls")
    calls = [call.get("function") for call in called if isinstance(call, dict)] if isinstance(called, list) else []
    calls = calls or [message.get("function_call")]
    if len(calls) == 1 and isinstance(calls[0], dict) and calls[0].get("arguments"):
        return _joined(calls[0]["arguments"])
    thought = next((said for name in THOUGHTS if (said := _joined(message.get(name))).strip()), "")
    if choice.get("finish_reason") == "length":  # it never came to an answer; some servers keep its thoughts
        return f"<think>{thought}"
    if thought:  # the answer, of a model that was not to think
        return thought
    refusal = message.get("refusal")
    if isinstance(refusal, str) and refusal:
        return refusal
    return content if "content" in message and choice.get("message") else None


def _joined(content: Any) -> str:
    """The text of a message: a string, a list of parts of which thoughts are left out, or JSON that was parsed."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(_joined(part) for part in content if isinstance(part, str) or _is_text(part))
    if isinstance(content, dict):
        return content["text"] if isinstance(content.get("text"), str) else json.dumps(content)
    return ""


def _is_text(part: Any) -> bool:
    return isinstance(part, dict) and isinstance(part.get("text"), str) and "think" not in str(part.get("type"))


def _usage(given: Any) -> dict[str, Any]:
    given = given if isinstance(given, dict) else {}
    counts = [
        next((count for name in names if (count := _whole(given.get(name)))), 0)
        for names in (("prompt_tokens", "input_tokens"), ("completion_tokens", "output_tokens"))
    ]
    if not any(counts):
        return {}
    return {"usage": {"prompt_tokens": counts[0], "completion_tokens": counts[1], "total_tokens": sum(counts)}}


def _whole(count: Any) -> int:
    """A number of tokens, also as 5.0 or "5"; 0 where it is none."""
    if isinstance(count, str) and re.fullmatch(r"[0-9]{1,9}", count):
        return int(count)
    if type(count) is float and 0 < count < 1e9 and count.is_integer():
        return int(count)
    return count if type(count) is int and 0 < count < 10**9 else 0


def status_of(fault: Any) -> int:
    """The HTTP status that an error in JSON stands for; 0 where it says none."""
    if isinstance(fault, dict):
        given = [fault.get(name) for name in ("status_code", "status", "code", "type")]
        for value in given:
            number = int(value) if isinstance(value, str) and re.fullmatch(r"[0-9]{3}", value) else value
            if type(number) is int and 400 <= number < 600:
                return number
        for value in given[1:]:
            if isinstance(value, str) and value.lower() in STATUSES:
                return STATUSES[value.lower()]
    said = message_of(fault)
    number = re.match(r"(?:http|error)?(?: code| status)?[: ]{0,2}([45][0-9]{2})\b", said, re.IGNORECASE)
    if number:
        return int(number[1])
    return next((status for phrase, status in PHRASES.items() if phrase in said.lower()), 0)


def message_of(fault: Any) -> str:
    """What an error in JSON says in words; "" where it says nothing."""
    if isinstance(fault, str):
        return fault
    if not isinstance(fault, dict):
        return ""
    said = next((text for name in MESSAGES if (text := _first(fault.get(name)))), "")
    behind = fault.get("metadata")
    raw = behind.get("raw") if isinstance(behind, dict) else None  # a provider's own words, passed on by another
    if isinstance(raw, str) and raw:
        said = f"{said}: {message_of(parsed(raw)) or raw}"
    return said


def _first(said: Any) -> str:
    """The words of a message that is a string, an object, or a validator's list of objects."""
    if isinstance(said, list):
        return "; ".join(filter(None, map(_placed, said)))
    return message_of(said)


def _placed(entry: Any) -> str:
    place = entry.get("loc") if isinstance(entry, dict) else None
    where = ".".join(map(str, place)) if isinstance(place, list) else ""
    return ": ".join(filter(None, (where, message_of(entry))))


def words(body: str) -> str:
    """Everything that an error says, but for what it repeats of the request; the body where it is no JSON."""
    error = parsed(body)
    return "\n".join(_words(error)) if isinstance(error, dict | list) else body


def _words(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        inner = parsed(value) if value[:1] in "{[" else None
        yield from _words(inner) if isinstance(inner, dict | list) else (value,)
    elif isinstance(value, list):
        for part in value:
            yield from _words(part)
    elif isinstance(value, dict):
        for name, part in value.items():
            if name not in ECHOES:
                yield from _words(part)


def without_tags(text: str) -> str:
    """What a page says, of HTML, and other texts as they are."""
    return TAGS.sub(" ", text) if text.lstrip().startswith("<") else text


def _described(text: str, kind: str) -> str:
    """What came in place of JSON."""
    text = text.strip()
    if not text:
        return "an empty answer"
    if "event-stream" in kind or re.match(r"(?:data|event|id|retry)?: ?", text):
        return "a stream of events, which nobody asked for"
    if "html" in kind or text.startswith("<"):
        return f"an HTML page: {without_tags(text)}"
    return f"no JSON: {text}"
