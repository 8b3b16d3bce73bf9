"""Between a planner and its chat model: cache, deduplication, retries, circuit breaker, budget, record and replay.

Whatever the endpoint does, every question ends, in the time it is given, as an answer that was checked or as a cause.
"""

import asyncio
import hashlib
import json
import math
import time
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import numpy as np
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_before_delay

from lerl.planners.chat import Loop, Messages, OversizeError, Schema, check_chat, open_chat, redacted, without_limits
from lerl.planners.prompt import AnswerError
from lerl.planners.traffic import Asked, Traffic

BREAK_AFTER = 5  # questions in a row that failed for the endpoint's sake
PAUSE = 30.0  # seconds for which nothing is asked then
BACKOFF = 0.5  # seconds before the second attempt at least, doubling
LEFT_ALONE = 3600.0  # seconds for which an endpoint may ask to be left alone
MOST_TOKENS = 10_000_000  # of one answer; an endpoint that says more is not believed
SHOWN = 2000  # characters of a wrong answer that a model is shown again, and that are kept
RETRIED = ("http 408", "http 409", "http 429", "http 5", "connection")
ENDPOINT = ("timeout", "http", "connection", "too long", "no answer")


class ReplayError(ValueError):
    """A replayed run asks what the recorded one did not; the message says what to do."""


@dataclass(frozen=True)
class Question:
    """One question.

    Attributes:
        key: SHA-256 of all that decides it. kind: "plan" or "reflection".
        system, user: what is asked, the part that is the same for everybody first. schema: of the answer.
        check: raises AnswerError for an answer that cannot be used.
        pool: version of the reflections. state: features of the session, float32 as bytes.
    """

    key: str
    kind: str
    system: str
    user: str
    schema: Schema
    check: Callable[[str], Any]
    pool: int
    state: bytes = b""


def key_of(*parts: Any) -> str:
    """SHA-256 of some values, in hexadecimal."""
    return hashlib.sha256(json.dumps([str(part) for part in parts]).encode("utf-8", "surrogatepass")).hexdigest()


class Guard:
    """Asks a chat model, and everything that keeps that safe and cheap.

    Args:
        settings: a `PlannerConfig`.
        prompts: digest of the prompt texts.
        traffic: file that all questions and answers are kept in.
        open_model: makes the chat model, only when the first question is sent.

    Attributes:
        phase: what the run is at, such as "train llm+ppo"; failures hold for one phase. Plans for states that come up
            first in a phase whose name begins with "evaluate" are never learned from.

    Raises:
        ChatError: the settings name no usable model.
        TrafficError: a file of traffic cannot be used.
    """

    def __init__(
        self, settings: Any, prompts: str, traffic: Path, open_model: Callable[[Any], Any] = open_chat
    ) -> None:
        self.settings, self.prompts, self._open_model = settings, prompts, open_model
        self.phase = ""
        if not settings.replay:
            check_chat(settings)
        self._files = ExitStack()
        with self._files:
            self.traffic = self._open(traffic)
            self.shared = self._open(Path(settings.cache)) if settings.cache and not settings.replay else None
            self.replayed = self._open(_traffic_of(settings.replay), read_only=True) if settings.replay else None
            self._files = self._files.pop_all()
        self._known: dict[tuple[str, str | None], Asked] = {}
        self._loop: Loop | None = None
        self._model: Any = None
        self._failed, self._closed_until = 0, 0.0
        self._limits = True  # whether the endpoint is still believed to take them in a schema
        self._spent = self._spent_before()
        self._seconds = self.traffic.seconds()
        self._told: dict[str, bool] = {}  # each warning, and whether it was given

    def _open(self, path: Path, *, read_only: bool = False) -> Traffic:
        return self._files.enter_context(closing(Traffic(path, read_only=read_only)))

    def _spent_before(self) -> Counter[str]:
        spent: Counter[str] = Counter()
        for counts in self.traffic.counts().values():
            spent.update({name: counts.get(name, 0) for name in ("calls", "prompt_tokens", "completion_tokens")})
        return spent

    @property
    def cost(self) -> float:
        """Money spent so far, by the prices of the settings."""
        price, spent = self.settings.price, self._spent
        return float(spent["prompt_tokens"] * price.input + spent["completion_tokens"] * price.output) / 1e6

    def ask(self, questions: Sequence[Question]) -> list[Asked]:
        """What becomes of questions, those with the same key asked once.

        Raises:
            ReplayError: a replayed run is asked what was not recorded.
        """
        counts: Counter[str] = Counter(requests=len(questions))
        first = {question.key: question for question in questions}
        counts["deduplicated"] = len(questions) - len(first)
        borrowed: list[Asked] = []
        try:
            missing = [question for question in first.values() if not self._find(question, borrowed)]
            counts["cached"] = len(first) - len(missing)
            if missing:
                self._send(missing)
        finally:
            answers = [self._known_of(question) for question in questions]
            counts.update(f"fallback: {answer.cause}" for answer in answers if answer and answer.cause)
            self._keep(borrowed, counts)
            self._warn()
        return [answer for answer in answers if answer is not None]

    def _remember(self, entry: Asked) -> None:
        self._known[entry.key, self.phase if entry.cause else None] = entry

    def _known_of(self, question: Question) -> Asked | None:
        return self._known.get((question.key, self.phase)) or self._known.get((question.key, None))

    def _find(self, question: Question, borrowed: list[Asked]) -> bool:
        """Whether it was asked before: in this run, in those that share its cache, or in the replayed one."""
        if self._known_of(question):
            return True
        found = _fitting(question, self.traffic.find(question.key, self.phase))
        if found is None:
            found = self._borrowed(question)
            borrowed += [found] if found is not None else []
        if found is not None:
            self._remember(found)
        return found is not None

    def _borrowed(self, question: Question) -> Asked | None:
        """What became of it in another run; this one sent nothing for it."""
        if self.replayed is not None:
            found: Asked | None = self._replay(question)
        else:
            found = _fitting(question, self.shared.find(question.key, "")) if self.shared is not None else None
        if found is None:
            return None
        return replace(found, attempts=0, prompt_tokens=0, completion_tokens=0, seconds=0.0)

    def _keep(self, fresh: list[Asked], counts: Mapping[str, float]) -> None:
        self.traffic.keep(self.phase, fresh, counts)
        self._seconds += [entry.seconds for entry in fresh if entry.attempts]
        usable = [entry for entry in fresh if not entry.cause and entry.attempts]
        if self.shared is not None and usable:
            self.shared.keep("", usable, {})

    def _send(self, questions: list[Question]) -> None:
        if self._model is None:
            self._model, self._loop = self._open_model(self.settings), Loop()
        assert self._loop is not None
        self._loop.run(self._all(questions))

    def _replay(self, question: Question) -> Asked:
        assert self.replayed is not None
        found = _fitting(question, self.replayed.find(question.key, self.phase))
        if found is None:
            raise ReplayError(
                f"planner.replay is {self.settings.replay}, which was never asked what this run asks; replay with the "
                "same recipe, flags, seed and data, and with planner.replay added"
            )
        return found

    async def _all(self, questions: list[Question]) -> None:
        places = asyncio.Semaphore(self.settings.concurrency)

        async def one(question: Question) -> None:
            counts: Counter[str] = Counter()
            async with places:
                entry = await self._one(question, counts)
            self._remember(entry)
            self._keep([entry], counts)  # at once: whatever ends the process, it was paid for

        await asyncio.gather(*(one(question) for question in questions))

    def count(self, name: str, value: float) -> None:
        """Add to a count of the phase, such as "user_steps"."""
        self.traffic.keep(self.phase, [], {name: value})

    async def _one(self, question: Question, counts: Counter[str]) -> Asked:
        attempt = _Attempt(question)
        refused = self._refused()
        if refused:
            attempt.cause = refused
            counts["refused"] += 1
        else:
            counts["asked"] += 1
            try:
                async with asyncio.timeout(self.settings.timeout):
                    await self._attempts(attempt, counts)
            except TimeoutError:
                attempt.fails("timeout", counts)
            self._judge(attempt.cause)
        return Asked(
            question.key,
            question.kind,
            self.settings.model,
            self.prompts,
            question.pool,
            question.system,
            question.user if attempt.sent else "",  # what was never asked would fill the disk
            attempt.text if not attempt.cause else attempt.text[:SHOWN],
            attempt.cause,
            question.state if not attempt.cause else b"",
            attempt.sent,
            attempt.prompt_tokens,
            attempt.completion_tokens,
            time.monotonic() - attempt.begun if attempt.sent else 0.0,
        )

    async def _attempts(self, attempt: "_Attempt", counts: Counter[str]) -> None:
        """Ask, and once more after an answer that cannot be used."""
        for repair in (False, True):
            try:
                reply = await self._reply(attempt, counts)
            except Exception as error:
                attempt.cause = _cause(error)
                self._closed_until = max(self._closed_until, time.monotonic() + min(_asked_for(error), LEFT_ALONE))
                return
            attempt.text = _storable(reply.text)
            try:
                attempt.question.check(attempt.text)
                attempt.cause = ""
                return
            except AnswerError as error:
                attempt.fails(error.cause, counts)
                if repair or self._refused():
                    return
                counts["repairs"] += 1
                attempt.messages = [
                    *attempt.messages,
                    {"role": "assistant", "content": attempt.text[:SHOWN]},
                    {"role": "user", "content": f"That cannot be used: {error}. Answer the question again."},
                ]

    async def _reply(self, attempt: "_Attempt", counts: Counter[str]) -> Any:
        """What the endpoint says, asked again after faults that may pass, while there is time."""
        left = attempt.begun + self.settings.timeout - time.monotonic()
        retrying = AsyncRetrying(
            retry=retry_if_exception(lambda error: self._may_pass(attempt, _cause(error)) and not self._refused()),
            wait=_wait,
            stop=stop_before_delay(left),
            reraise=True,
        )
        failed: Exception | None = None
        async for turn in retrying:
            with turn:
                if failed is not None and self._refused():  # since others asked while this one waited
                    raise failed
                self.count("calls", 1)
                self._spent["calls"] += 1
                attempt.sent += 1
                schema = without_limits(attempt.question.schema)
                attempt.limits = self._limits and schema != attempt.question.schema
                if attempt.limits:
                    schema = attempt.question.schema
                try:
                    reply = await self._model.reply(attempt.messages, schema)
                    if not isinstance(reply.text, str):  # clients believe whatever an endpoint sends
                        raise TypeError(f"the answer is no text but {type(reply.text).__name__}")
                except Exception as error:
                    attempt.fails(_cause(error), counts)
                    failed = error
                    raise
        for name in ("prompt_tokens", "completion_tokens"):
            said = getattr(reply, name)
            count = said if isinstance(said, int) and 0 <= said <= MOST_TOKENS else 0
            counts[name] += count
            self._spent[name] += count
            setattr(attempt, name, getattr(attempt, name) + count)
        return reply

    def _may_pass(self, attempt: "_Attempt", cause: str) -> bool:
        """Whether to send a question again; not every endpoint takes a schema that limits lengths and sizes."""
        if cause == "http 400" and attempt.limits:
            self._limits = False
            return True
        return cause.startswith(RETRIED)

    def _refused(self) -> str:
        """Why nothing may be sent now, empty when something may."""
        budget, spent = self.settings.budget, self._spent
        tokens = spent["prompt_tokens"] + spent["completion_tokens"]
        for name, used, most in (
            ("calls", spent["calls"], budget.calls),
            ("tokens", tokens, budget.tokens),
            ("money", self.cost, budget.money),
        ):
            if most is not None and used >= most:
                self._tell(
                    f"planner.budget.{name} of {most:,} is spent; {self.settings.fallback} plans what has not been "
                    "answered yet"
                )
                return "budget"
        return "breaker" if time.monotonic() < self._closed_until else ""

    def _judge(self, cause: str) -> None:
        """Stop asking for a while when the endpoint fails again and again."""
        self._failed = self._failed + 1 if cause.startswith(ENDPOINT) else 0
        if cause:
            self._tell(f"{self.settings.model}: {cause}; {self.settings.fallback} plans in its place")
        if self._failed >= BREAK_AFTER:
            self._closed_until = time.monotonic() + PAUSE

    def _tell(self, message: str) -> None:
        """Warn of each thing once, when all is at rest."""
        self._told.setdefault(message, False)

    def _warn(self) -> None:
        for message in [message for message, given in self._told.items() if not given]:
            self._told[message] = True
            warnings.warn(message, stacklevel=3)

    def report(self) -> dict[str, Any]:
        """Counts, rates, cost and latency of the run so far."""
        by_phase = self.traffic.counts()
        total: Counter[str] = Counter()
        for counts in by_phase.values():
            total.update(counts)
        return summary(total, self.cost, self._seconds) | {"phases": by_phase}

    def close(self) -> None:
        """Close files and connections."""
        with self._files:
            if self._loop is not None:
                self._loop.run(self._model.close())
                self._loop.close()
                self._loop = self._model = None


def _traffic_of(replay: str) -> Path:
    path = Path(replay)
    return path / "planners" / "traffic.sqlite" if path.is_dir() else path


def _fitting(question: Question, found: Asked | None) -> Asked | None:
    """What was kept, unless it is an answer that cannot be used, of a file that was changed."""
    if found is not None and not found.cause:
        try:
            question.check(found.text)
        except AnswerError:
            return None
    return found


class _Attempt:
    """A question under way."""

    def __init__(self, question: Question) -> None:
        self.question, self.begun = question, time.monotonic()
        self.messages: Messages = [
            {"role": "system", "content": question.system},
            {"role": "user", "content": question.user},
        ]
        self.text, self.cause, self.sent, self.prompt_tokens, self.completion_tokens = "", "", 0, 0, 0
        self.limits = True  # whether the schema that was sent last had them

    def fails(self, cause: str, counts: Counter[str]) -> None:
        self.cause = cause
        counts[f"fault: {cause}"] += 1


def _cause(error: BaseException) -> str:
    """What went wrong with a request, in two words; every client has errors of its own."""
    if isinstance(error, OversizeError) or isinstance(error.__cause__, OversizeError):
        return "too long"
    status = getattr(error, "status_code", None) or getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(status, int) and status >= 300:  # others: an answer that could not be read
        return f"http {status}"
    kinds = {kind.__name__ for cause in (error, error.__cause__) if cause is not None for kind in type(cause).__mro__}
    if any("Timeout" in kind for kind in kinds):
        return "timeout"
    if kinds & {"APIConnectionError", "ConnectionError", "ConnectError", "NetworkError", "TransportError", "OSError"}:
        return "connection"
    return "no answer"


def _wait(state: RetryCallState) -> float:
    """Seconds to wait: half a second, doubling, and as many as the endpoint asks for."""
    error = state.outcome.exception() if state.outcome is not None else None
    return max(_asked_for(error), BACKOFF * 2 ** (state.attempt_number - 1))


def _asked_for(error: BaseException | None) -> float:
    """Seconds that a Retry-After asks for, as a number or a date; 0 where it says nothing sensible."""
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    given = str(headers.get("retry-after", ""))
    try:
        seconds = float(given)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(given).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError):
            return 0.0
    return seconds if math.isfinite(seconds) else 0.0


def _storable(text: str) -> str:
    """An answer without keys of the environment, nor halves of characters, which no file takes."""
    return redacted(text.encode("utf-8", "replace").decode())


def summary(total: Counter[str], cost: float, seconds: list[float]) -> dict[str, Any]:
    """Counts as they are reported; rates are shares of all plans and reflections asked for."""
    requests = max(total["requests"], 1)
    fallbacks = {
        name.removeprefix("fallback: "): int(value)
        for name, value in sorted(total.items())
        if name.startswith("fallback: ")
    }
    faults = {
        name.removeprefix("fault: "): int(value) for name, value in sorted(total.items()) if name.startswith("fault: ")
    }
    steps = total["user_steps"]
    p50, p95 = np.percentile(seconds, [50, 95]).tolist() if seconds else (0.0, 0.0)
    return {
        "requests": int(total["requests"]),
        "calls": int(total["calls"]),
        "calls_per_1000_user_steps": 1000 * total["calls"] / steps if steps else 0.0,
        "user_steps": int(steps),
        "prompt_tokens": int(total["prompt_tokens"]),
        "completion_tokens": int(total["completion_tokens"]),
        "cost": cost,
        "deduplicated": total["deduplicated"] / requests,
        "cached": total["cached"] / requests,
        "repairs": int(total["repairs"]),
        "fallbacks": fallbacks,
        "faults": faults,
        "latency_p50": p50,
        "latency_p95": p95,
    }
