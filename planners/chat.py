"""Chat models behind one call: messages in, raw text and token counts out; through LangChain or the openai client."""

import asyncio
import base64
import inspect
import json
import os
import re
import threading
import warnings
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from lerl.planners.prompt import plain
from lerl.planners.scripted import expert

SCRIPTED = "scripted:expert"
LARGEST = 100_000
"""Bytes of one HTTP answer; a plan has some hundreds, and a client computes for seconds on some that are larger."""

REASON = 2_000
"""Bytes that are read of an HTTP answer that is an error."""

PATIENCE = 1.0  # seconds to wait for them

Messages = list[dict[str, str]]
Schema = dict[str, Any]


class ChatError(ValueError):
    """A model, an endpoint or a key that cannot be used; the message says what to do."""


class OversizeError(Exception):
    """An answer that is larger than `LARGEST`, or compressed, so that nobody knows how large it is."""


@dataclass(frozen=True)
class Reply:
    """What a model said.

    Attributes:
        text: as it came. prompt_tokens, completion_tokens: whatever the endpoint says, 0 where it says nothing.
    """

    text: str
    prompt_tokens: int
    completion_tokens: int


def without_limits(schema: Schema) -> Schema:
    """The schema without lengths, sizes and ranges, which not every endpoint takes."""
    limits = ("pattern", "minItems", "maxItems", "minimum", "maximum")
    return {
        name: without_limits(part) if isinstance(part, dict) else part
        for name, part in schema.items()
        if name not in limits
    }


class ChatModel(Protocol):
    """Anything that answers messages with text that should be JSON of a schema."""

    async def reply(self, messages: Messages, schema: Schema) -> Reply:
        """One answer to messages, each {"role": ..., "content": ...}; schema: a JSON schema with a title."""

    async def close(self) -> None:
        """Let go of all connections."""


def open_chat(settings: Any) -> ChatModel:
    """The chat model that settings name.

    Args:
        settings: a `PlannerConfig`: client, model, base_url, temperature, answer_tokens, timeout.

    Raises:
        ChatError: there is no such model or package, or no key in the environment.
    """
    check_chat(settings)
    if settings.model == SCRIPTED:
        return _ScriptedChat()
    try:
        return _OpenAIChat(settings) if settings.client == "openai" else _LangChainChat(settings)
    except Exception as error:  # an integration raises whatever it does, of an option that it does not take, too
        raise ChatError(f"planner.model {settings.model!r} cannot be used: {redacted(str(error))}") from None


def check_chat(settings: Any) -> None:
    """Refuse settings that no endpoint can be asked with; nothing is sent.

    Raises:
        ChatError: what is missing and what to do.
    """
    if settings.model == SCRIPTED:
        return
    provider, _, name = (settings.model or "").partition(":")
    if not provider or not name:
        raise ChatError(
            "planner.model must be PROVIDER:NAME, such as openai:gpt-4.1-mini or ollama:llama3.1, or "
            f"{SCRIPTED}, given {settings.model!r}"
        )
    if settings.client == "openai" and provider != "openai":
        raise ChatError(f"planner.client openai speaks to openai:NAME only, given planner.model {settings.model!r}")
    if provider == "openai" and settings.base_url is None and not _own_key():
        raise ChatError("OPENAI_API_KEY is not set; set it in the environment, or give planner.base_url")


def secrets() -> list[str]:
    """The values of all keys in the environment, longest first; short ones are words, but for the key that is sent."""
    found = {
        value.strip() for name, value in os.environ.items() if name.upper().endswith(("_KEY", "_TOKEN", "_SECRET"))
    }
    own = _own_key()
    return sorted((value for value in found if len(value) >= (4 if value == own else 8)), key=len, reverse=True)


def redacted(text: str) -> str:
    """The text without any key of the environment: written out, with escapes of JSON or of URLs, in hex or base64."""
    for secret in secrets():
        text = re.sub("|".join(_forms(secret)), "[key]", text)
    return text


def _forms(secret: str) -> list[str]:
    """Patterns of the ways in which a key may be written."""
    raw = secret.encode("utf-8", "surrogatepass")
    plain = "".join(f"(?:{re.escape(character)}|{_escaped(character)})" for character in secret)
    return [plain, f"(?i:{raw.hex()})", *_base64(raw)]


def _escaped(character: str) -> str:
    """A pattern of the ways in which a JSON string or a URL may write a character, other than as it is."""
    units = character.encode("utf-16-be", "surrogatepass").hex()
    code = "".join(rf"\\u(?i:{units[start : start + 4]})" for start in range(0, len(units), 4))
    code += "|" + "".join(f"%(?i:{byte:02x})" for byte in character.encode("utf-8", "surrogatepass"))
    return f"{code}|{re.escape(chr(92) + character)}" if character in '/"\\' else code


def _base64(raw: bytes) -> list[str]:
    """Patterns of bytes inside a longer text in base64, by where in a group of three they begin."""
    found = []
    for before in range(3):
        whole = base64.b64encode(bytes(before) + raw).decode()
        own = whole[(8 * before + 5) // 6 : 8 * (before + len(raw)) // 6]  # which no neighbour has a part in
        if len(own) >= 8:
            found.append("".join({"+": "[+-]", "/": r"\\?[/_]"}.get(character, character) for character in own))
    return found


class _ScriptedChat:
    """The scripted expert, who counts four characters as a token."""

    async def reply(self, messages: Messages, schema: Schema) -> Reply:
        text = expert(messages)
        return Reply(text, sum(len(message["content"]) for message in messages) // 4, len(text) // 4)

    async def close(self) -> None:
        pass


class _LangChainChat:
    """Any chat model that LangChain knows."""

    def __init__(self, settings: Any) -> None:
        from langchain.chat_models import init_chat_model

        # Said of an answer that is not as it should be; it would print what that holds.
        warnings.filterwarnings("ignore", "Pydantic serializer warnings", UserWarning)
        provider = settings.model.partition(":")[0]
        options: dict[str, Any] = {} if settings.temperature is None else {"temperature": settings.temperature}
        longest = settings.answer_tokens
        if settings.base_url is not None:
            options["base_url"] = settings.base_url
        if provider == "openai":
            options |= {"max_retries": 0, "timeout": settings.timeout, "max_tokens": longest, "api_key": _key()}
            options |= {"http_async_client": _client(), "stream_usage": False}
        elif provider == "ollama":
            options |= {"num_predict": longest, "async_client_kwargs": HTTP}
        else:
            options |= {"max_retries": 0, "max_tokens": longest}
        self._http = options.get("http_async_client")
        self._strict = {"strict": True} if provider == "openai" else {}
        self._bound: dict[str, Any] = {}
        self.model = init_chat_model(settings.model, **options)

    async def reply(self, messages: Messages, schema: Schema) -> Reply:
        import openai

        said = [(message["role"], message["content"]) for message in messages]
        try:
            raw: Any = await self._asking_for(schema).ainvoke(said)
        except openai.LengthFinishReasonError as error:
            return _reply(error.completion)
        usage = raw.usage_metadata or {}
        return Reply(str(raw.text), usage.get("input_tokens", 0), usage.get("output_tokens", 0))

    def _asking_for(self, schema: Schema) -> Any:
        """The model that answers by the schema, without the parser behind it: on a long answer that is no JSON, that
        one computes for hours, in a thread that cannot be ended."""
        name = json.dumps(schema)
        if name not in self._bound:
            structured: Any = self.model.with_structured_output(schema, method="json_schema", **self._strict)
            self._bound[name] = structured.first
        return self._bound[name]

    async def close(self) -> None:
        clients = (getattr(self.model, name, None) for name in ("_async_client", "async_client"))
        for client in (self._http, *clients):
            close = getattr(client, "aclose", None) or getattr(client, "close", None)
            if inspect.iscoroutinefunction(close):
                await close()


class _OpenAIChat:
    """The openai client, for OpenAI and whatever speaks its protocol."""

    def __init__(self, settings: Any) -> None:
        import openai

        self.name = settings.model.partition(":")[2]
        self.options = {"max_completion_tokens": settings.answer_tokens}
        if settings.temperature is not None:  # which some models refuse
            self.options["temperature"] = settings.temperature
        self.client = openai.AsyncOpenAI(
            api_key=_key(),
            base_url=settings.base_url,
            timeout=settings.timeout,
            max_retries=0,
            http_client=_client(),
        )

    async def reply(self, messages: Messages, schema: Schema) -> Reply:
        create: Any = self.client.chat.completions.create  # plain dictionaries do for its many types
        answer = await create(
            model=self.name,
            messages=messages,
            response_format={
                "type": "json_schema",
                "json_schema": {"name": schema["title"], "schema": schema, "strict": True},
            },
            **self.options,
        )
        return _reply(answer)

    async def close(self) -> None:
        await self.client.close()


def _reply(completion: Any) -> Reply:
    """What an answer of OpenAI's protocol says."""
    text, usage = completion.choices[0].message.content or "", completion.usage
    return Reply(text, getattr(usage, "prompt_tokens", 0), getattr(usage, "completion_tokens", 0))


def _own_key() -> str:
    return os.environ.get("OPENAI_API_KEY", "").strip()


def _key() -> str:
    return _own_key() or "none"  # servers of one's own ask for none


def _client() -> Any:
    import openai

    return openai.DefaultAsyncHttpxClient(**HTTP)


async def _read_whole(response: Any) -> None:
    """Read an HTTP answer, no more of it than an answer may have. Of one that is none a client is given the status
    alone; the beginning of an error is kept beside it, for `reason_of`."""
    response.headers["Content-Type"] = "application/json"  # a client would decode by whatever character set it names
    packed = response.headers.get("Content-Encoding", "").strip().lower() not in ("", "identity")
    if response.status_code >= 300:
        if response.status_code >= 400 and not packed:
            response.extensions["lerl"] = await _beginning(response)
        await response.aclose()
        response._content = b""
        return
    if packed:
        await response.aclose()
        raise OversizeError("the answer is compressed, which nobody asked for")
    parts, size = [], 0
    async for part in response.aiter_raw():
        size += len(part)
        if size > LARGEST:
            await response.aclose()
            raise OversizeError(f"the answer has more than {LARGEST:,} bytes")
        parts.append(part)
    response._content = b"".join(parts)


async def _beginning(response: Any) -> tuple[bytes, bool]:
    """The first bytes of an HTTP answer, as many as come soon, and whether they are all of it."""
    body, whole = b"", False
    with suppress(Exception):
        async with asyncio.timeout(PATIENCE):
            async for part in response.aiter_raw():
                body += part[: REASON + 1]
                if len(body) > REASON:
                    break
            whole = len(body) <= REASON
    return body[:REASON], whole


def reason_of(error: BaseException) -> str:
    """What an endpoint said of an error, on one line without keys, at most 200 characters; empty where nothing."""
    seen: list[BaseException] = []
    at: BaseException | None = error
    while at is not None and at not in seen:
        kept = getattr(getattr(at, "response", None), "extensions", {}).get("lerl")
        if kept is not None:
            return plain(redacted(_message(*kept)), 200)
        seen.append(at)
        at = at.__cause__ or at.__context__  # a client may raise its own error in its place
    return ""


def _message(body: bytes, whole: bool) -> str:
    """The message in the body of an error, or else the body."""
    text = redacted(body.decode("utf-8", "replace"))
    if not whole:  # it may end in the middle of a key, which has six characters for each where it is escaped
        return text[: max(len(text) - 6 * max(map(len, secrets()), default=0), 0)]
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        return text
    told = told.get("error", told) if isinstance(told, dict) else told
    for name in ("message", "detail"):
        if isinstance(told, dict) and isinstance(told.get(name), str):
            return str(told[name])
    return told if isinstance(told, str) else text


HTTP: dict[str, Any] = {
    "event_hooks": {"response": [_read_whole]},
    "follow_redirects": False,
    "headers": {"Accept-Encoding": "identity"},
}
"""How requests go out: an endpoint cannot send a user's history on to another one, nor a small answer that grows."""


class Loop:
    """An event loop in a thread of its own, so that code without async can wait for code with it, in notebooks too."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="lerl-chat", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """The coroutine's result; an interruption cancels it."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            self._end_tasks()
            raise

    def _end_tasks(self) -> None:
        """Cancel whatever is under way and wait until it has let go of its connections."""
        asyncio.run_coroutine_threadsafe(_end_others(), self._loop).result()

    def close(self) -> None:
        """End the thread, and whatever is under way in it."""
        self._end_tasks()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _end_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
