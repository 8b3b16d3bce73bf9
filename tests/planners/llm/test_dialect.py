"""How an endpoint is asked after what it refused."""

import json
from typing import Any

import pytest

from lerl.planners.llm.dialect import Dialect
from lerl.planners.llm.prompt import plan_schema

MESSAGES = [{"role": "system", "content": "Plan."}, {"role": "user", "content": "State a."}]
SCHEMA = plan_schema(5, 2)
USUAL = Dialect()

REFUSALS = {
    # Servers' own words, shortened.
    "extra_forbidden: max_completion_tokens, Extra inputs are not permitted": {"tokens": "max_tokens"},
    "Unrecognized request argument supplied: max_completion_tokens": {"tokens": "max_tokens"},
    "Unsupported parameter: 'max_completion_tokens'. Use 'max_tokens' instead.": {"tokens": "max_tokens"},
    "{'loc': ('body', 'max_completion_tokens'), 'msg': 'Extra inputs are not permitted'}": {"tokens": "max_tokens"},
    "got an unexpected keyword argument 'max_completion_tokens'": {"tokens": "max_tokens"},
    "This response_format type is unavailable now": {"form": "json_object"},
    "response_format.type: unknown variant `json_schema`, expected `text` or `json_object`": {"form": "json_object"},
    "Structured outputs are not supported by this model": {"form": "json_object"},
    "Failed to parse grammar": {"form": "json_object"},
    'Unknown name "additionalProperties" at generation_config.response_schema': {"form": "json_object"},
    "strict is not supported": {"strict": False},
    "In response_format, strict must be false": {"strict": False},
    "Invalid schema for response_format 'plan': 'pattern' is not permitted in strict mode": {"limits": False},
    "'minItems' is not supported": {"limits": False},
    "Unsupported value: 'temperature' does not support 0; only the default (1) is supported.": {"temperature": False},
    "`temperature` must be strictly positive": {"temperature": False},
    "System role not supported": {"system": False},
    "Invalid value: 'system'. Supported values are: 'user' and 'assistant'.": {"system": False},
    "Developer instruction is not enabled for models/gemma-3": {"system": False},
    "Conversation roles must alternate user/assistant/user/assistant": {"system": False},
    "Only user and assistant roles are supported!": {"system": False},
    "Bad Request": {"limits": False},
    "max_completion_tokens and temperature: unknown fields": {"tokens": "max_tokens", "temperature": False},
    # Not of a name: of a number.
    "max_completion_tokens is too large: 600": {"limits": False},
}


@pytest.mark.parametrize("refusal", REFUSALS)
def test_what_a_refusal_names_is_left_out(refusal: str):
    after = USUAL.after(refusal)
    changed = {name: value for name, value in vars(after).items() if value != getattr(USUAL, name)}
    assert changed == REFUSALS[refusal]


@pytest.mark.parametrize("said", ["", "out of memory", "the system is down", "User not found"])
def test_an_error_that_names_nothing_changes_nothing(said: str):
    assert USUAL.after(said, plain=False) == USUAL


def test_a_negotiation_ends():
    everything = "max_completion_tokens, max_tokens, temperature, system role, pattern, strict, response_format"
    seen = [USUAL]
    while (after := seen[-1].after(everything)) != seen[-1]:
        seen.append(after)
    # Of the schema the most specific goes first: limits, strict, json_schema, json_object.
    assert [(step.form, step.strict, step.limits) for step in seen] == [
        ("json_schema", True, True),
        ("json_schema", True, False),
        ("json_schema", False, False),
        ("json_object", False, False),
        ("", False, False),
    ]
    assert {(step.tokens, step.temperature, step.system) for step in seen[1:]} == {("max_tokens", False, False)}


def asked(dialect: Dialect, temperature: float | None = 0.5) -> tuple[Any, dict[str, Any]]:
    return dialect.request(MESSAGES, SCHEMA, temperature, 600)


def test_usually_a_strict_schema_with_limits_is_sent():
    messages, options = asked(USUAL)
    assert messages == MESSAGES
    named = {"name": "plan", "schema": SCHEMA, "strict": True}
    assert options == {
        "max_completion_tokens": 600,
        "temperature": 0.5,
        "response_format": {"type": "json_schema", "json_schema": named},
    }
    assert "temperature" not in asked(USUAL, None)[1]


def test_a_request_holds_no_more_than_is_taken():
    _, options = asked(Dialect(tokens="max_tokens", strict=False, limits=False, temperature=False))
    assert set(options) == {"max_tokens", "response_format"}
    schema = options["response_format"]["json_schema"]
    assert set(schema) == {"name", "schema"}
    assert "pattern" not in json.dumps(schema)


@pytest.mark.parametrize(("form", "sent"), [("json_object", {"type": "json_object"}), ("", None)])
def test_without_a_schema_it_is_told_in_words(form: str, sent: Any):
    messages, options = asked(Dialect(form=form))
    assert options.get("response_format") == sent
    given = messages[0]["content"]
    assert given.startswith("Plan.\n\nAnswer with one JSON object of this JSON schema")
    assert json.loads(given.partition("\n{")[2].join(["{", ""])) == SCHEMA
    assert messages[1] == MESSAGES[1]


def test_without_a_system_role_instructions_stand_before_the_question():
    again = [{"role": "assistant", "content": "no"}, {"role": "user", "content": "Again."}]
    messages, _ = Dialect(system=False).request([*MESSAGES, *again], SCHEMA, None, 600)
    assert messages == [{"role": "user", "content": "Plan.\n\nState a."}, *again]


def test_what_is_done_otherwise_is_said():
    assert USUAL.notes() == []
    assert Dialect("max_tokens", "json_object", True, True, False, False).notes() == [
        "max_tokens in place of max_completion_tokens",
        "the JSON schema put into words, with json_object",
        "no temperature, so that its own holds",
        "the instructions in the question, for want of a system role",
    ]
    assert Dialect(strict=False, limits=False).notes() == [
        "a JSON schema without strict and without lengths and ranges"
    ]
