"""Between a planner and its chat model: cache, deduplication, retries, circuit breaker, budget, record and replay.

Whatever the endpoint does, every question ends, in the time it is given, as an answer that was checked or as a cause.
"""

import asyncio
import hashlib
import json
import time
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception

from lerl.planners.chat import Loop, Messages, OversizeError, Schema, check_chat, open_chat, redacted
from lerl.planners.prompt import AnswerError
from lerl.planners.traffic import Asked, Traffic

BREAK_AFTER = 5  # questions in a row that failed for the endpoint's sake
PAUSE = 30.0  # seconds for which nothing is asked then
BACKOFF = 0.5  # seconds before the second attempt, doubling
SHOWN = 2000  # characters of a wrong answer that a model is shown again, and that are kept
RETRIED = ("http 408", "http 409", "http 429", "http 5", "connection")
ENDPOINT = ("timeout", "http", "connection", "too long")


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
        phase: what the run is at, such as "train llm+ppo"; failures hold for one phase.

    Raises:
        ChatError: the settings name no usable model.
        TrafficError: a file of traffic cannot be used.
    """

    def __init__(
        self, settings: Any, prompts: str, traffic: Path, open_model: Callable[[Any], Any] = open_chat
    ) -> None:
        self.settings, self.prompts, self._open_model = settings, prompts, open_model
        self.phase = ""
        self.traffic = Traffic(traffic)
        self.shared = Traffic(Path(settings.cache)) if settings.cache else None
        self.replayed = Traffic(_traffic_of(settings.replay), read_only=True) if settings.replay else None
        if self.replayed is None:
            check_chat(settings)
        self._known: dict[tuple[str, str], Asked] = {}
        self._loop: Loop | None = None
        self._model: Any = None
        self._failed, self._closed_until = 0, 0.0
        self._spent = self._spent_before()
        self._told: set[str] = set()

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
        missing = [question for question in first.values() if self._find(question, counts) is None]
        fresh = self._send(missing, counts) if missing else []
        for entry in fresh:
            self._known[self._place(entry)] = entry
        answers = [self._known_of(question) for question in questions]
        for answer in answers:
            if answer.cause:
                counts[f"fallback: {answer.cause}"] += 1
        self._keep(fresh, counts)
        return answers

    def _place(self, entry: Asked) -> tuple[str, str]:
        return entry.key, self.phase if entry.cause else ""

    def _known_of(self, question: Question) -> Asked:
        return self._known.get((question.key, "")) or self._known[question.key, self.phase]

    def _find(self, question: Question, counts: Counter[str]) -> Asked | None:
        """From memory, this run's file, the shared cache or the replayed run."""
        for place in ((question.key, ""), (question.key, self.phase)):
            if place in self._known:
                counts["cached"] += 1
                return self._known[place]
        found = self.traffic.find(question.key, self.phase)
        if found is None and self.shared is not None:
            found = self.shared.find(question.key, "")
            if found is not None:
                self._keep([found], {})
        if found is not None:
            counts["cached"] += 1
            self._known[self._place(found)] = found
        return found

    def _keep(self, fresh: list[Asked], counts: Mapping[str, float]) -> None:
        by_system: dict[str, list[Asked]] = {}
        for entry in fresh:
            by_system.setdefault(entry.system, []).append(entry)
        for system, entries in by_system.items():
            self.traffic.keep(self.phase, entries, key_of(system), {})
            if self.shared is not None:
                self.shared.keep("", [entry for entry in entries if not entry.cause], key_of(system), {})
        if counts:
            self.traffic.keep(self.phase, [], "", counts)

    def _send(self, questions: list[Question], counts: Counter[str]) -> list[Asked]:
        if self.replayed is not None:
            return [self._replay(question) for question in questions]
        if self._model is None:
            self._model, self._loop = self._open_model(self.settings), Loop()
        assert self._loop is not None
        return list(self._loop.run(self._all(questions, counts)))

    def _replay(self, question: Question) -> Asked:
        assert self.replayed is not None
        found = self.replayed.find(question.key, self.phase)
        if found is None:
            raise ReplayError(
                f"planner.replay is {self.settings.replay}, which was never asked what this run asks; replay with the "
                "same recipe, flags, seed and data, and with planner.replay added"
            )
        return found

    async def _all(self, questions: list[Question], counts: Counter[str]) -> list[Asked]:
        places = asyncio.Semaphore(self.settings.concurrency)

        async def one(question: Question) -> Asked:
            async with places:
                return await self._one(question, counts)

        return list(await asyncio.gather(*(one(question) for question in questions)))

    def count(self, name: str, value: float) -> None:
        """Add to a count of the phase, such as "user_steps"."""
        self.traffic.keep(self.phase, [], "", {name: value})

    async def _one(self, question: Question, counts: Counter[str]) -> Asked:
        begun = time.monotonic()
        attempt = _Attempt(question)
        refused = self._refused()
        if refused:
            attempt.cause = refused
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
            question.user,
            redacted(attempt.text if not attempt.cause else attempt.text[:SHOWN]),
            attempt.cause,
            question.state,
            attempt.sent,
            attempt.prompt_tokens,
            attempt.completion_tokens,
            time.monotonic() - begun if attempt.sent else 0.0,
        )

    async def _attempts(self, attempt: "_Attempt", counts: Counter[str]) -> None:
        """Ask, and once more after an answer that cannot be used."""
        for repair in (False, True):
            try:
                reply = await self._reply(attempt, counts)
            except Exception as error:
                attempt.cause = _cause(error)
                return
            attempt.text = reply.text
            try:
                attempt.question.check(reply.text)
                attempt.cause = ""
                return
            except AnswerError as error:
                attempt.fails(error.cause, counts)
                if repair or self._refused():
                    return
                counts["repairs"] += 1
                attempt.messages = [
                    *attempt.messages,
                    {"role": "assistant", "content": reply.text[:SHOWN]},
                    {"role": "user", "content": f"That cannot be used: {error}. Answer the question again."},
                ]

    async def _reply(self, attempt: "_Attempt", counts: Counter[str]) -> Any:
        """What the endpoint says, asked again after faults that may pass."""
        retrying = AsyncRetrying(
            retry=retry_if_exception(lambda error: _cause(error).startswith(RETRIED) and not self._refused()),
            wait=_wait,
            reraise=True,
        )
        async for turn in retrying:
            with turn:
                counts["calls"] += 1
                self._spent["calls"] += 1
                attempt.sent += 1
                try:
                    reply = await self._model.reply(attempt.messages, attempt.question.schema)
                except Exception as error:
                    attempt.fails(_cause(error), counts)
                    raise
        for name in ("prompt_tokens", "completion_tokens"):
            counts[name] += getattr(reply, name)
            self._spent[name] += getattr(reply, name)
            setattr(attempt, name, getattr(attempt, name) + getattr(reply, name))
        return reply

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
                    f"planner.budget.{name} of {most:g} is spent; {self.settings.fallback} plans what has not been "
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
        """Warn of each thing once."""
        if message not in self._told:
            self._told.add(message)
            warnings.warn(message, stacklevel=2)

    def report(self) -> dict[str, Any]:
        """Counts, rates, cost and latency of the run so far."""
        by_phase = self.traffic.counts()
        total: Counter[str] = Counter()
        for counts in by_phase.values():
            total.update(counts)
        return summary(total, self.cost, self.traffic.seconds()) | {"phases": by_phase}

    def close(self) -> None:
        """Close files and connections."""
        if self._loop is not None:
            close = getattr(self._model, "close", None)
            if close is not None:
                self._loop.run(close())
            self._loop.close()
            self._loop = None
        for file in (self.traffic, self.shared, self.replayed):
            if file is not None:
                file.close()


def _traffic_of(replay: str) -> Path:
    path = Path(replay)
    return path / "planners" / "traffic.sqlite" if path.is_dir() else path


class _Attempt:
    """A question under way."""

    def __init__(self, question: Question) -> None:
        self.question = question
        self.messages: Messages = [
            {"role": "system", "content": question.system},
            {"role": "user", "content": question.user},
        ]
        self.text, self.cause, self.sent, self.prompt_tokens, self.completion_tokens = "", "", 0, 0, 0

    def fails(self, cause: str, counts: Counter[str]) -> None:
        self.cause = cause
        counts[f"fault: {cause}"] += 1


def _cause(error: BaseException) -> str:
    """What went wrong with a request, in two words; every client has errors of its own."""
    if isinstance(error, OversizeError) or isinstance(error.__cause__, OversizeError):
        return "too long"
    status = getattr(error, "status_code", None) or getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(status, int):
        return f"http {status}"
    kinds = {kind.__name__ for cause in (error, error.__cause__) if cause is not None for kind in type(cause).__mro__}
    if any("Timeout" in kind for kind in kinds):
        return "timeout"
    if kinds & {"APIConnectionError", "ConnectionError", "ConnectError", "NetworkError", "TransportError", "OSError"}:
        return "connection"
    return "no answer"


def _wait(state: RetryCallState) -> float:
    """Seconds to wait: those that the endpoint asks for, else half a second, doubling."""
    error = state.outcome.exception() if state.outcome is not None else None
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    try:
        return min(max(float(headers.get("retry-after", "")), 0.0), 3600.0)
    except ValueError:  # none, or a date
        return float(BACKOFF * 2 ** (state.attempt_number - 1))


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
