"""Chat models behind one call, through LangChain: messages in, raw text and token counts out."""

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
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from lerl.envs.text import plain
from lerl.planners.config import PlannerConfig
from lerl.planners.llm import environment
from lerl.planners.llm.completion import (
    FaultError,
    StatusError,
    canonical,
    fault_of,
    message_of,
    parsed,
    without_tags,
    words,
)
from lerl.planners.llm.dialect import Dialect, Messages, Schema, without_limits
from lerl.planners.llm.scripted import expert

SCRIPTED = "scripted:expert"
LARGEST = 100_000
"""Bytes of one HTTP answer; a plan has some hundreds, and a client computes for seconds on some that are larger."""

REASON = 2_000
"""Bytes that are read of an HTTP answer that is an error."""

REASON_TIMEOUT = 1.0  # seconds to wait for them

OPENAI = "https://api.openai.com/v1"
REFUSALS = (400, 404, 415, 422, 500, 501)
"""With which an endpoint may refuse a part of a request by name."""


class ChatError(ValueError):
    """A model, an endpoint or a key that cannot be used; the message says what to do."""


class AdaptedError(Exception):
    """A request that was refused for a part that the next one does without; ask again."""


@dataclass(frozen=True)
class Reply:
    """What a model said.

    Attributes:
        text: as it came. prompt_tokens, completion_tokens: whatever the endpoint says, 0 where it says nothing.
    """

    text: str
    prompt_tokens: int
    completion_tokens: int


class ChatModel:
    """Anything that answers messages with text that should be JSON of a schema."""

    async def reply(self, messages: Messages, schema: Schema) -> Reply:
        """One answer to messages, each {"role": ..., "content": ...}; schema: a JSON schema with a title.

        Raises:
            AdaptedError: the same question has to be asked again, which is now put in another way.
        """
        raise NotImplementedError

    def notes(self) -> list[str]:
        """What its endpoint was found not to take, in words."""
        return []

    async def close(self) -> None:
        """Let go of all connections."""


def open_chat(settings: PlannerConfig) -> ChatModel:
    """The chat model that settings name.

    Args:
        settings: its model, base_url, temperature, answer_tokens and timeout are read.

    Raises:
        ChatError: there is no such model or package, or no key in the environment.
    """
    check_chat(settings)
    if settings.model == SCRIPTED:
        return _ScriptedChat()
    try:
        return _OpenAIChat(settings) if str(settings.model).startswith("openai:") else _OtherChat(settings)
    except Exception as error:  # an integration raises whatever it does, of an option that it does not take, too
        raise ChatError(f"planner.model {settings.model!r} cannot be used: {redacted(str(error))}") from None


def check_chat(settings: PlannerConfig) -> None:
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
    wrong = environment.obstacle(provider)
    if wrong:
        raise ChatError(wrong)
    if provider == "openai" and settings.base_url is None and not _own_key():
        raise ChatError("OPENAI_API_KEY is not set; set it in the environment, or give planner.base_url")


def secrets() -> list[str]:
    """The values of all keys in the environment, longest first; without short ones, but for the key that is sent."""
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


class _ScriptedChat(ChatModel):
    """The scripted expert, who counts four characters as a token."""

    async def reply(self, messages: Messages, schema: Schema) -> Reply:
        text = expert(messages)
        return Reply(text, sum(len(message["content"]) for message in messages) // 4, len(text) // 4)


class _LangChainChat(ChatModel):
    """A chat model that LangChain knows.

    Args:
        settings: the planner's. options: of the model's own class.
    """

    def __init__(self, settings: PlannerConfig, **options: Any) -> None:
        from langchain.chat_models import init_chat_model

        # Said of an answer that is not as it should be; it would print what that holds.
        warnings.filterwarnings("ignore", "Pydantic serializer warnings", UserWarning)
        self.settings, self.dialect = settings, Dialect()
        self.model = init_chat_model(settings.model, **options)

    async def reply(self, messages: Messages, schema: Schema) -> Reply:
        sent = self._put(self.dialect, messages, schema)
        used = self.dialect
        try:
            raw: Any = await self._ask(*sent)
        except Exception as error:
            refusal = _refusal(error)
            if refusal is None:
                raise
            after = self._after(*refusal) if self.dialect == used else self.dialect  # which others found meanwhile
            if self._put(after, messages, schema) == sent:
                raise
            self.dialect = after
            raise AdaptedError from error
        usage = raw.usage_metadata or {}
        return Reply(str(raw.text), usage.get("input_tokens", 0), usage.get("output_tokens", 0))

    def notes(self) -> list[str]:
        return self.dialect.notes()

    def _put(self, dialect: Dialect, messages: Messages, schema: Schema) -> tuple[Messages, Any]:
        """The messages and all beside them."""
        raise NotImplementedError

    def _after(self, refusal: str, plain: bool) -> Dialect:
        """What to try after a refusal; plain: whether it is one although it may name nothing."""
        name = re.escape(
            str(self.settings.model).partition(":")[2]
        )  # it may be system-2, and is no part of a request then
        return self.dialect.after(re.sub(rf"(?<![\w-]){name}(?![\w-])", "", refusal), plain)

    async def _ask(self, messages: Messages, beside: Any) -> Any:
        raise NotImplementedError

    async def close(self) -> None:
        clients = (getattr(self.model, name, None) for name in ("_async_client", "async_client", "http_async_client"))
        for client in clients:
            close = getattr(client, "aclose", None) or getattr(client, "close", None)
            if inspect.iscoroutinefunction(close):
                await close()


class _OpenAIChat(_LangChainChat):
    """OpenAI, and whatever speaks its protocol more or less."""

    def __init__(self, settings: PlannerConfig) -> None:
        import openai

        options = HTTP | {"event_hooks": {"response": [_read_completion]}}
        super().__init__(
            settings,
            base_url=address_of(settings),  # or else LangChain may send the key to a gateway of its own
            api_key=_own_key() or "none",  # servers of one's own ask for none
            timeout=settings.timeout,
            max_retries=0,
            stream_usage=False,
            http_socket_options=(),
            http_async_client=openai.DefaultAsyncHttpxClient(**options),
            use_responses_api=None if settings.base_url is None else False,
        )

    def _put(self, dialect: Dialect, messages: Messages, schema: Schema) -> tuple[Messages, Any]:
        return dialect.request(messages, schema, self.settings.temperature, self.settings.answer_tokens)

    async def _ask(self, messages: Messages, beside: dict[str, Any]) -> Any:
        if "max_tokens" in beside:  # which LangChain would give the newer name
            named = {name: value for name, value in beside.items() if name != "max_tokens"}
            beside = named | {"extra_body": {"max_tokens": beside["max_tokens"]}}
        return await self.model.ainvoke([(said["role"], said["content"]) for said in messages], **beside)


class _OtherChat(_LangChainChat):
    """A chat model of any other provider, asked as its LangChain integration does."""

    def __init__(self, settings: PlannerConfig) -> None:
        options: dict[str, Any] = {} if settings.temperature is None else {"temperature": settings.temperature}
        if settings.base_url is not None:
            options["base_url"] = settings.base_url
        if str(settings.model).startswith("ollama:"):
            options |= {"num_predict": settings.answer_tokens, "async_client_kwargs": HTTP}
        else:
            options |= {"max_retries": 0, "max_tokens": settings.answer_tokens}
        self._bound: dict[str, Any] = {}
        super().__init__(settings, **options)

    def _put(self, dialect: Dialect, messages: Messages, schema: Schema) -> tuple[Messages, Any]:
        return messages, schema if dialect.limits else without_limits(schema)

    def _after(self, refusal: str, plain: bool) -> Dialect:
        return replace(self.dialect, limits=self.dialect.limits and not plain)

    async def _ask(self, messages: Messages, beside: Schema) -> Any:
        """The answer without the parser behind it: on a long one that is no JSON it computes for hours, in a thread
        that cannot be ended."""
        name = json.dumps(beside)
        if name not in self._bound:
            structured: Any = self.model.with_structured_output(beside, method="json_schema")
            self._bound[name] = structured.first
        return await self._bound[name].ainvoke([(said["role"], said["content"]) for said in messages])


def address_of(settings: PlannerConfig) -> str:
    """Where a model of OpenAI's protocol is asked."""
    given = (os.environ.get(name) for name in ("OPENAI_API_BASE", "OPENAI_BASE_URL"))
    return settings.base_url or next(filter(None, given), OPENAI)


def _own_key() -> str:
    return os.environ.get("OPENAI_API_KEY", "").strip()


def chain(error: BaseException) -> list[BaseException]:
    """An error and those behind it; a client may raise its own in the place of another's."""
    seen: list[BaseException] = []
    at: BaseException | None = error
    while at is not None and at not in seen:
        seen.append(at)
        at = at.__cause__ or at.__context__
    return seen


def status_code(error: BaseException) -> int:
    """The HTTP status that a request ended with; 0 where it came to none."""
    for at in chain(error):
        status = getattr(at, "status_code", None) or getattr(getattr(at, "response", None), "status_code", None)
        if isinstance(status, int) and status >= 300:  # others: an answer that could not be read
            return status
    return 0


def _kept(error: BaseException) -> tuple[bytes, bool] | None:
    """The body of an HTTP error, and whether that is all of it."""
    for at in chain(error):
        kept: tuple[bytes, bool] | None = getattr(getattr(at, "response", None), "extensions", {}).get("lerl")
        if kept is not None:
            return kept
    return None


def _refusal(error: BaseException) -> tuple[str, bool] | None:
    """What an endpoint says of a request that it may take in another form, and whether its status says so too; None
    where it is about something else."""
    status = status_code(error)
    if status not in REFUSALS:
        return None
    body, _ = _kept(error) or (b"", True)
    return words(body.decode("utf-8", "replace")), status in (400, 422)


async def _read_completion(response: Any) -> None:
    """Read an answer of OpenAI's protocol, so that the client is given one as OpenAI writes it, or the status that an
    error should have had."""
    kind = response.headers.get("Content-Type", "").lower()
    await _read_whole(response)
    if response.status_code >= 300:
        return
    body = response._content
    try:
        response._content = canonical(body, kind)
    except StatusError as error:
        response.status_code = error.status
        response.extensions["lerl"] = (body[:REASON], len(body) <= REASON)
    except RecursionError:
        raise FaultError("no answer", "JSON that is nested too deeply") from None


async def _read_whole(response: Any) -> None:
    """Read an HTTP answer, no more of it than an answer may have. Of one that is none a client is given only
    the status; the beginning of an error is kept beside it, for `reason_of`."""
    response.headers["Content-Type"] = "application/json"  # a client would decode by whatever character set it names
    packing = response.headers.get("Content-Encoding", "").strip().lower()
    packed = packing not in ("", "identity")
    if response.status_code >= 300:
        if response.status_code >= 400 and not packed:
            response.extensions["lerl"] = await _beginning(response)
        elif response.status_code < 400:
            response.extensions["lerl"] = (_elsewhere(response.headers.get("Location", "")).encode(), True)
        await response.aclose()
        response._content = b""
        return
    if packed:
        await response.aclose()
        raise FaultError("compressed", f"the answer is compressed ({packing}), which nobody asked for")
    parts, size = [], 0
    async for part in response.aiter_raw():
        size += len(part)
        if size > LARGEST:
            await response.aclose()
            raise FaultError("oversized", f"the answer has more than {LARGEST:,} bytes")
        parts.append(part)
    response._content = b"".join(parts)


def _elsewhere(location: str) -> str:
    """Where a redirect leads to, without what may be a password."""
    try:
        parts = urlsplit(location)
        place = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    except ValueError:
        place = ""
    where = f" to {place}" if place else ""
    return f"a redirect{where}, which is not followed: a key goes nowhere but where it was sent"


async def _beginning(response: Any) -> tuple[bytes, bool]:
    """The first bytes of an HTTP answer, as many as come soon, and whether they are all of it."""
    body, whole = b"", False
    with suppress(Exception):
        async with asyncio.timeout(REASON_TIMEOUT):
            async for part in response.aiter_raw():
                body += part[: REASON + 1]
                if len(body) > REASON:
                    break
            whole = len(body) <= REASON
    return body[:REASON], whole


def reason_of(error: BaseException) -> str:
    """Why a request failed, in the endpoint's words where it has any, on one line without keys, at most 200
    characters; empty where nothing is known."""
    kept = _kept(error)
    if kept is not None:
        return plain(redacted(_message(*kept)), 200)
    behind = chain(error)
    said = next((at.said for at in behind if isinstance(at, FaultError)), "")
    if not said:
        said = next((text for at in reversed(behind) if isinstance(at, OSError) and (text := str(at))), "")
        said += environment.certificates_hint(said)
    return plain(redacted(said), 200)


def _message(body: bytes, whole: bool) -> str:
    """The message in the body of an error, or else the body."""
    text = redacted(body.decode("utf-8", "replace"))
    if not whole:  # it may end in the middle of a key, which has six characters for each where it is escaped
        return without_tags(text[: max(len(text) - 6 * max(map(len, secrets()), default=0), 0)])
    try:
        return message_of(fault_of(parsed(text))) or without_tags(text)
    except RecursionError:
        return text


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
