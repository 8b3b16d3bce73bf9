"""Chat models behind one call: messages in, raw text and token counts out; through LangChain or the openai client."""

import asyncio
import json
import os
import re
import threading
import warnings
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

LARGEST = 1_000_000
"""Bytes of one HTTP answer; a plan has some hundreds."""

LONGEST = 600
"""Tokens asked for in one answer."""

Messages = list[dict[str, str]]
Schema = dict[str, Any]


class ChatError(ValueError):
    """A model, an endpoint or a key that cannot be used; the message says what to do."""


class OversizeError(Exception):
    """An answer that is larger than `LARGEST`."""


@dataclass(frozen=True)
class Reply:
    """What a model said.

    Attributes:
        text: as it came. prompt_tokens, completion_tokens: as the endpoint counted them, 0 where it does not say.
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
        settings: a `PlannerConfig`: client, model, base_url, temperature, timeout.

    Raises:
        ChatError: there is no such model or package, or no key in the environment.
    """
    check_chat(settings)
    return _OpenAIChat(settings) if settings.client == "openai" else _LangChainChat(settings)


def check_chat(settings: Any) -> None:
    """Refuse settings that no endpoint can be asked with; nothing is sent.

    Raises:
        ChatError: what is missing and what to do.
    """
    provider, _, name = (settings.model or "").partition(":")
    if not provider or not name:
        raise ChatError(
            f"planner.model must be PROVIDER:NAME, such as openai:gpt-4.1-mini or ollama:llama3.1, given "
            f"{settings.model!r}"
        )
    if settings.client == "openai" and provider != "openai":
        raise ChatError(f"planner.client openai speaks to openai:NAME only, given planner.model {settings.model!r}")
    if settings.base_url is not None:
        try:
            parts = urlsplit(settings.base_url)
        except ValueError as error:
            raise ChatError(f"planner.base_url cannot be read: {error}") from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ChatError(f"planner.base_url must be http://... or https://..., given {settings.base_url!r}")
        if parts.username or parts.password or parts.query:
            raise ChatError(
                "planner.base_url holds a password or a query, which would be written with the run; give keys in the "
                "environment, as OPENAI_API_KEY"
            )
    elif provider == "openai" and not os.environ.get("OPENAI_API_KEY"):
        raise ChatError("OPENAI_API_KEY is not set; set it in the environment, or give planner.base_url")


def secrets() -> list[str]:
    """The values of all keys in the environment, longest first."""
    found = (value for name, value in os.environ.items() if name.upper().endswith(("_KEY", "_TOKEN", "_SECRET")))
    return sorted({value for value in found if len(value) >= 8}, key=len, reverse=True)


def redacted(text: str) -> str:
    """The text without any key of the environment, written out or with the escapes of JSON."""
    for secret in secrets():
        ways = (f"(?:{re.escape(character)}|{_escaped(character)})" for character in secret)
        text = re.sub("".join(ways), "[key]", text)
    return text


def _escaped(character: str) -> str:
    """A pattern of the ways in which a JSON string may write a character, other than as it is."""
    units = character.encode("utf-16-be", "surrogatepass").hex()
    code = "".join(rf"\\u(?i:{units[start : start + 4]})" for start in range(0, len(units), 4))
    return f"{code}|{re.escape(chr(92) + character)}" if character in '/"\\' else code


class _LangChainChat:
    """Any chat model that LangChain knows."""

    def __init__(self, settings: Any) -> None:
        from langchain.chat_models import init_chat_model

        # Said of an answer that is not as it should be; it would print what that holds.
        warnings.filterwarnings("ignore", "Pydantic serializer warnings", UserWarning)
        provider = settings.model.partition(":")[0]
        options: dict[str, Any] = {"temperature": settings.temperature}
        if settings.base_url is not None:
            options["base_url"] = settings.base_url
        if provider == "openai":
            options |= {"max_retries": 0, "timeout": settings.timeout, "max_tokens": LONGEST, "api_key": _key()}
            options |= {"http_async_client": _client(), "stream_usage": False}
        self._http = options.get("http_async_client")
        self._strict = {"strict": True} if provider == "openai" else {}
        self._bound: dict[str, Any] = {}
        if provider == "ollama":
            options |= {"num_predict": LONGEST, "async_client_kwargs": HTTP}
        try:
            self.model = init_chat_model(settings.model, **options)
        except (ImportError, ValueError) as error:
            raise ChatError(f"planner.model {settings.model!r} cannot be used: {redacted(str(error))}") from None

    async def reply(self, messages: Messages, schema: Schema) -> Reply:
        import openai

        said = [(message["role"], message["content"]) for message in messages]
        try:
            raw: Any = await self._asking_for(schema).ainvoke(said)
        except openai.LengthFinishReasonError as error:
            return _reply(error.completion)
        usage = raw.usage_metadata or {}
        return Reply(str(raw.text), int(usage.get("input_tokens", 0)), int(usage.get("output_tokens", 0)))

    def _asking_for(self, schema: Schema) -> Any:
        """The model that answers by the schema, without the parser behind it: on a long answer that is no JSON, that
        one computes for hours, in a thread that cannot be ended."""
        name = json.dumps(schema)
        if name not in self._bound:
            structured: Any = self.model.with_structured_output(schema, method="json_schema", **self._strict)
            self._bound[name] = structured.first
        return self._bound[name]

    async def close(self) -> None:
        ollama = getattr(getattr(self.model, "_async_client", None), "_client", None)
        for client in (self._http, ollama):
            if client is not None:
                await client.aclose()


class _OpenAIChat:
    """The openai client, for OpenAI and whatever speaks its protocol."""

    def __init__(self, settings: Any) -> None:
        import openai

        self.name, self.temperature = settings.model.partition(":")[2], settings.temperature
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
            temperature=self.temperature,
            max_completion_tokens=LONGEST,
            response_format={
                "type": "json_schema",
                "json_schema": {"name": schema["title"], "schema": schema, "strict": True},
            },
        )
        return _reply(answer)

    async def close(self) -> None:
        await self.client.close()


def _reply(completion: Any) -> Reply:
    """What an answer of OpenAI's protocol says."""
    usage = completion.usage
    text = completion.choices[0].message.content or ""
    return Reply(text, usage.prompt_tokens if usage else 0, usage.completion_tokens if usage else 0)


def _key() -> str:
    return os.environ.get("OPENAI_API_KEY") or "none"  # servers of one's own ask for none


def _client() -> Any:
    import openai

    return openai.DefaultAsyncHttpxClient(**HTTP)


async def _read_whole(response: Any) -> None:
    """Read an HTTP answer, and no more of it than an answer may have."""
    parts, size = [], 0
    async for part in response.aiter_bytes():
        size += len(part)
        if size > LARGEST:
            await response.aclose()
            raise OversizeError(f"the answer has more than {LARGEST:,} bytes")
        parts.append(part)
    response._content = b"".join(parts)


HTTP: dict[str, Any] = {"event_hooks": {"response": [_read_whole]}, "follow_redirects": False}
"""How requests go out: an endpoint cannot send a user's history on to another one."""


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
