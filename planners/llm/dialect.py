"""Adapts requests to an endpoint of OpenAI's protocol: by the parameters it refuses, not by the model's name."""

import json
import re
from dataclasses import dataclass, replace
from typing import Any

Messages = list[dict[str, str]]
Schema = dict[str, Any]

LIMITS = (
    r"\bpattern\b|(?:min|max)_?(?:items|length)|\bminimum\b|\bmaximum\b"
    r"|invalid[ _](?:json[ _])?schema|\bkeywords?\b(?! arg)"
)
STRICT = r"\bstrict\b"
FORMAT = (
    r"response[_ ]?(?:format|schema)|additional_?properties"
    r"|json[_ ]?(?:schema|object|mode)|structured[_ ]?output|\bguided|\bgrammar|\bschema\b"
)
TEMPERATURE = r"\btemperature\b"
TOKENS = {"max_completion_tokens": r"max[_ ]?completion[_ ]?tokens", "max_tokens": r"\bmax[_ ]?tokens\b"}
TOO_MANY = r"too (?:large|long|big|high|many)|context (?:length|window|size)|exceed"  # a number, not a name
SYSTEM = (
    r"\bsystem\b.{0,30}\b(?:role|message|prompt|instruction)|\brole.{0,60}\bsystem\b|['\"`]system['\"`]"
    r"|developer instruction|roles? must alternate|only.{0,20}\buser\b.{0,20}\bassistant\b"
)


def without_limits(schema: Schema) -> Schema:
    """The schema without lengths, sizes and ranges, which not every endpoint takes."""
    limits = ("pattern", "minItems", "maxItems", "minimum", "maximum")
    return {
        name: without_limits(part) if isinstance(part, dict) else part
        for name, part in schema.items()
        if name not in limits
    }


@dataclass(frozen=True)
class Dialect:
    """What a request holds; each refusal leaves less of it, so that every negotiation ends after some requests.

    Attributes:
        tokens: the name under which an answer's length is limited.
        form: type of the response_format, "" for none; without "json_schema" the schema is put into words.
        strict, limits: whether a schema is sent as strict, and with lengths and ranges.
        temperature: whether one is sent. system: whether the first message has a role of its own.
    """

    tokens: str = "max_completion_tokens"
    form: str = "json_schema"
    strict: bool = True
    limits: bool = True
    temperature: bool = True
    system: bool = True

    def request(
        self, messages: Messages, schema: Schema, temperature: float | None, answer_tokens: int
    ) -> tuple[Messages, dict[str, Any]]:
        """The messages, and everything beside them, as OpenAI's protocol has it."""
        options: dict[str, Any] = {self.tokens: answer_tokens}
        if self.temperature and temperature is not None:
            options["temperature"] = temperature
        if not self.limits:
            schema = without_limits(schema)
        first, *rest = messages
        if self.form == "json_schema":
            strict = {"strict": True} if self.strict else {}
            named = {"name": schema["title"], "schema": schema}
            options["response_format"] = {"type": self.form, "json_schema": named | strict}
        else:
            if self.form:
                options["response_format"] = {"type": self.form}
            asked = f"Answer with one JSON object of this JSON schema and with nothing else:\n{json.dumps(schema)}"
            first = first | {"content": f"{first['content']}\n\n{asked}"}
        if not self.system and rest:
            question, *rest = rest
            first = question | {"content": f"{first['content']}\n\n{question['content']}"}
        return [first, *rest], options

    def after(self, refusal: str, plain: bool = True) -> "Dialect":
        """What to try next: without all that a refusal names.

        Args:
            refusal: in the endpoint's words. plain: whether it is one even where it names nothing; limits go then.
        """

        def names(pattern: str) -> bool:
            return re.search(pattern, refusal, re.IGNORECASE | re.DOTALL) is not None

        changed: dict[str, Any] = {}
        if self.tokens == "max_completion_tokens" and names(TOKENS[self.tokens]) and not names(TOO_MANY):
            changed["tokens"] = "max_tokens"
        if self.temperature and names(TEMPERATURE):
            changed["temperature"] = False
        if self.system and names(SYSTEM):
            changed["system"] = False
        if self.form == "json_schema" and self.limits and names(LIMITS):
            changed["limits"] = False
        elif self.form == "json_schema" and self.strict and names(STRICT):
            changed["strict"] = False
        elif self.form and names(FORMAT):
            changed["form"] = "json_object" if self.form == "json_schema" else ""
        if plain and not changed:
            changed["limits"] = False
        return replace(self, **changed)

    def notes(self) -> list[str]:
        """What is done otherwise than OpenAI has it, in words."""
        said = []
        if self.tokens != "max_completion_tokens":
            said.append("max_tokens in place of max_completion_tokens")
        if self.form != "json_schema":
            said.append(f"the JSON schema put into words, with {'json_object' if self.form else 'no response_format'}")
        elif not (self.strict and self.limits):
            left = ["strict"] * (not self.strict) + ["lengths and ranges"] * (not self.limits)
            said.append(f"a JSON schema without {' and without '.join(left)}")
        if not self.temperature:
            said.append("no temperature, so that its own holds")
        if not self.system:
            said.append("the instructions in the question, for want of a system role")
        return said
