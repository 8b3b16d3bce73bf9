"""Between a planner and its chat model: cache, deduplication, retries, circuit breaker, budget, record and replay.

Whatever the endpoint does, every question ends, in the time it is given, as an answer that was checked or as a cause.
"""

import asyncio
import hashlib
import json
import math
import re
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import numpy as np

from lerl.envs.text import quoted
from lerl.planners.config import PlannerConfig, PriceConfig
from lerl.planners.llm.chat import (
    AdaptedError,
    ChatModel,
    Loop,
    Reply,
    address_of,
    chain,
    check_chat,
    open_chat,
    reason_of,
    redacted,
    status_code,
)
from lerl.planners.llm.completion import FaultError
from lerl.planners.llm.dialect import Messages, Schema
from lerl.planners.llm.environment import proxy_in_the_way
from lerl.planners.llm.prompt import AnswerError
from lerl.planners.llm.traffic import FALLBACK, Asked, Traffic, TrafficError, fallbacks, planner_file

if TYPE_CHECKING:
    from tenacity import RetryCallState

BREAK_AFTER = 5  # questions in a row that failed because of the endpoint
PAUSE = 30.0  # seconds for which nothing is asked then
BACKOFF = 0.5  # seconds before the second attempt at least, doubling
LONGEST_PAUSE = 3600.0  # seconds for which an endpoint may ask for no requests
MOST_TOKENS = 10_000_000  # of one answer; an endpoint that says more is not believed
CHARACTERS = 4  # a token, of English, where the endpoint does not say
CACHE_TIMEOUT = 1.0  # seconds to wait for another process that writes planner.cache
KEPT_CHARACTERS = 2000  # characters of a wrong answer that a model is shown again, and that are kept
RETRIED = ("http 408", "http 409", "http 429", "http 5", "connection")
FREE = ("http", "connection")  # nothing was answered; of other faults nobody knows
REFUSED = ("http 3", "http 400", "http 401", "http 402", "http 403", "http 404", "http 422")  # until the user acts
ENDPOINT = ("timeout", "http", "connection", "oversized", "compressed", "no answer")
UNSENT = ("ConnectError", "ConnectTimeout", "ProxyError", "LocalProtocolError", "UnsupportedProtocol", "InvalidURL")
SPENT = r"insufficient_quota|current quota|billing|balance|credit|spend(?:ing)? limit"  # which no waiting mends
PASSING = r"retry in|again in|per[ -](?:second|minute|min\b)"


class ReplayError(ValueError):
    """A replayed run has a question that the recorded one did not have; the message says what to do."""


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
        settings: the planner's.
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
        self,
        settings: PlannerConfig,
        prompts: str,
        traffic: Path,
        open_model: Callable[[PlannerConfig], ChatModel] = open_chat,
    ) -> None:
        self.settings, self.prompts, self._open_model = settings, prompts, open_model
        self.phase = ""
        if not settings.replay and open_model is open_chat:
            check_chat(settings)
        self._warnings: dict[str, str] = {}  # each warning by what it is about, emptied once it was given
        self._files = ExitStack()
        self.shared: Traffic | None = None
        self.replayed: Traffic | None = None
        with self._files:
            self.traffic = self._open(traffic)
            if settings.replay:
                self.replayed = self._open(planner_file(settings.replay, "traffic.sqlite"), read_only=True)
            elif settings.cache:
                with self._going_on():
                    self.shared = self._open(Path(settings.cache), busy_timeout=CACHE_TIMEOUT)
            self._files = self._files.pop_all()
        self._known: dict[tuple[str, str | None], Asked] = {}
        self._loop: Loop | None = None
        self._model: Any = None
        self._failed, self._closed_until = 0, 0.0
        self._settled = False  # whether it is known how the endpoint has to be asked
        self._spent = _total(self.traffic.counts().values())
        self._answered = self.traffic.answered()

    def _open(self, path: Path, **options: Any) -> Traffic:
        return self._files.enter_context(closing(Traffic(path, **options)))

    @contextmanager
    def _going_on(self) -> Iterator[None]:
        """Do without planner.cache from the moment on that it cannot be used."""
        try:
            yield
        except (TrafficError, OSError) as error:
            self.shared = None
            self._note("planner.cache", f"planner.cache is left out from here on: {error}")

    def ask(self, questions: Sequence[Question]) -> list[Asked]:
        """What becomes of questions, those with the same key asked once.

        Raises:
            ReplayError: a replayed run is asked what was not recorded.
        """
        counts: Counter[str] = Counter()
        borrowed: list[Asked] = []
        missing = []
        try:
            for question in {question.key: question for question in questions}.values():
                if self._find(question, borrowed):
                    counts["cached"] += 1
                else:
                    missing.append(question)
            if missing:
                self._send(missing)
        finally:
            answers = [answer for answer in map(self._known_of, questions) if answer is not None]
            counts["requests"] = len(answers)
            counts["deduplicated"] = len(answers) - len({answer.key for answer in answers})
            counts.update(FALLBACK + answer.cause for answer in answers if answer.cause)
            self._keep(borrowed, counts)
            self._warn()
        return answers

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
            found = None
            with self._going_on():
                found = _fitting(question, self.shared.find(question.key, "")) if self.shared is not None else None
        if found is None:
            return None
        return replace(found, attempts=0, prompt_tokens=0, completion_tokens=0, seconds=0.0)

    def _keep(self, fresh: list[Asked], counts: Mapping[str, float]) -> None:
        self.traffic.keep(self.phase, fresh, counts)
        usable = [entry for entry in fresh if not entry.cause and entry.attempts]
        if self.shared is not None and usable:
            with self._going_on():
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
                f"planner.replay is {self.settings.replay}, which has no answer to a question of this run; replay with "
                "the same recipe, flags, seed and data, and with planner.replay added"
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

        first = [] if self._settled else questions[:1]
        for question in first:  # before the others, so that what the endpoint does not take is refused once
            await one(question)
        await asyncio.gather(*(one(question) for question in questions[len(first) :]))

    def count(self, name: str, value: float) -> None:
        """Add to a count of the phase, such as "user_steps"."""
        self.traffic.keep(self.phase, [], {name: value})

    async def _one(self, question: Question, counts: Counter[str]) -> Asked:
        attempt = _Attempt(question, self.settings.answer_tokens)
        attempt.cause = self._refused(attempt)
        if not attempt.cause:
            try:
                async with asyncio.timeout(self.settings.timeout):
                    await self._attempts(attempt, counts)
            except TimeoutError:
                attempt.fails("timeout", counts)
                attempt.text = attempt.text or self._with_proxy("")
            self._judge(attempt)
        return Asked(
            question.key,
            question.kind,
            str(self.settings.model),
            self.prompts,
            question.pool,
            question.system,
            question.user if attempt.sent else "",  # what was never asked would fill the disk
            attempt.text if not attempt.cause else attempt.text[:KEPT_CHARACTERS],
            attempt.cause,
            question.state if not attempt.cause else b"",
            attempt.sent,
            attempt.tokens["prompt_tokens"],
            attempt.tokens["completion_tokens"],
            time.monotonic() - attempt.begun if attempt.sent else 0.0,
        )

    async def _attempts(self, attempt: "_Attempt", counts: Counter[str]) -> None:
        """Ask, and once more after an answer that cannot be used."""
        for repair in (False, True):
            try:
                reply = await self._reply(attempt, counts)
            except Exception as error:
                attempt.cause = _cause(error)
                self._closed_until = max(self._closed_until, time.monotonic() + min(_asked_for(error), LONGEST_PAUSE))
                return
            attempt.text = _storable(reply.text)
            try:
                attempt.question.check(attempt.text)
                attempt.cause = ""
                return
            except AnswerError as error:
                attempt.fails(error.cause, counts)
                attempt.messages = [
                    *attempt.messages,
                    {"role": "assistant", "content": attempt.text[:KEPT_CHARACTERS]},
                    {"role": "user", "content": f"That cannot be used: {error}. Answer the question again."},
                ]
                if repair or self._refused(attempt):
                    return
                counts["repairs"] += 1

    def _with_proxy(self, said: str) -> str:
        """What is said of a failure, with the proxy that stands between, which it may come from."""
        settings = self.settings
        own = str(settings.model).startswith("openai:")
        proxy = proxy_in_the_way(address_of(settings) if own else settings.base_url or "")
        return f"{said} (through {proxy})".strip() if proxy else said

    async def _reply(self, attempt: "_Attempt", counts: Counter[str]) -> Reply:
        """What the endpoint says, asked again after faults that may pass, while there is time."""
        left = attempt.begun + self.settings.timeout - time.monotonic()
        from tenacity import AsyncRetrying, retry_if_exception, stop_before_delay  # of the extra [llm]

        retrying = AsyncRetrying(
            retry=retry_if_exception(lambda error: _may_pass(error) and not self._refused(attempt)),
            wait=_wait,
            stop=stop_before_delay(left),
            reraise=True,
        )
        failed: Exception | None = None
        async for turn in retrying:
            with turn:
                if failed is not None and self._refused(attempt):  # since others asked while this one waited
                    raise failed
                try:
                    reply = await self._request(attempt)
                except Exception as error:
                    attempt.fails(_cause(error), counts)
                    attempt.text = self._with_proxy(reason_of(error))
                    failed = error
                    raise
        return reply

    async def _request(self, attempt: "_Attempt") -> Reply:
        """One request. It is charged as if answered at length from the moment that it goes out, so that neither others
        under way nor a process that ends overspend, and as the endpoint says once it has answered."""
        charged = attempt.expected()
        self._spend(Counter(calls=1) + charged)
        attempt.sent += 1
        taken = charged
        try:
            reply: Reply = await self._model.reply(attempt.messages, attempt.question.schema)
            if not isinstance(reply.text, str):  # clients believe whatever an endpoint sends
                raise TypeError(f"the answer is no text but {type(reply.text).__name__}")
            taken = Counter(
                prompt_tokens=_believed(reply.prompt_tokens, charged["prompt_tokens"]),
                completion_tokens=_believed(reply.completion_tokens, _tokens(len(reply.text))),
            )
            self._settle()
            return reply
        except Exception as error:
            if _unsent(error):
                self._spend({"calls": -1})
            if _unsent(error) or _cause(error).startswith(FREE):
                taken = Counter()
            raise
        finally:
            attempt.tokens += taken
            self._spend({name: taken[name] - charged[name] for name in charged})

    def _spend(self, amounts: Mapping[str, int]) -> None:
        """Add to what the run has spent, and keep that at once."""
        self.traffic.keep(self.phase, [], amounts)
        self._spent.update(amounts)

    def _settle(self) -> None:
        """Say once how the endpoint is asked otherwise than usual."""
        self._settled = True
        if self.adapted:
            said = f"{self.settings.model} is asked as its endpoint takes it: {'; '.join(self.adapted)}"
            self._note(said, said)

    @property
    def adapted(self) -> list[str]:
        """What the endpoint was found not to take, in words."""
        return self._model.notes() if self._model is not None else []

    def _refused(self, attempt: "_Attempt") -> str:
        """Why it may not be sent now, empty when it may."""
        budget, spent = self.settings.budget, self._spent + attempt.expected()
        for name, used, most in (
            ("calls", spent["calls"] + 1, budget.calls),
            ("tokens", spent["prompt_tokens"] + spent["completion_tokens"], budget.tokens),
            ("money", _cost(spent, self.settings.price), budget.money),
        ):
            if most is not None and used > most:
                self._note(
                    name,
                    f"planner.budget.{name} of {most:,} is spent; {self.settings.fallback} plans what has not been "
                    "answered yet",
                )
                return "budget"
        return "breaker" if time.monotonic() < self._closed_until else ""

    def _judge(self, attempt: "_Attempt") -> None:
        """Stop asking for a while when the endpoint fails again and again."""
        cause, settings = attempt.cause, self.settings
        self._failed = self._failed + 1 if cause.startswith(ENDPOINT) else 0
        self._answered = self._answered or not cause
        if cause:
            said = f", {quoted(attempt.text, 200)}" if cause.startswith(ENDPOINT) and attempt.text else ""
            refused = cause.startswith(REFUSED) and not self._answered
            checks = f"; nothing was answered yet: {mend(settings)}" if refused else ""
            self._note(cause, f"{settings.model}: {cause}{said}; {settings.fallback} plans in its place{checks}")
        if self._failed >= BREAK_AFTER:
            self._closed_until = time.monotonic() + PAUSE

    def _note(self, about: str, message: str) -> None:
        """Warn of each thing once, when all is at rest."""
        self._warnings.setdefault(about, message)

    def _warn(self) -> None:
        for about, message in self._warnings.items():
            if message:
                self._warnings[about] = ""
                warnings.warn(message, stacklevel=3)

    def report(self) -> dict[str, Any]:
        """Counts, rates, cost and latency of the run so far."""
        by_phase = self.traffic.counts()
        return summary(by_phase.values(), self.traffic.seconds(), self.settings.price) | {"phases": by_phase}

    def close(self) -> None:
        """Close files and connections."""
        with self._files:
            if self._loop is not None:
                self._loop.run(self._model.close())
                self._loop.close()
                self._loop = self._model = None


def mend(settings: PlannerConfig) -> str:
    """What to look at where an endpoint refuses everything."""
    own = str(settings.model).startswith("openai:")
    at = "" if settings.base_url is None else f" --base-url {quote(settings.base_url)}"
    checks = [
        "planner.model",
        *(["planner.base_url"] if at else []),
        "OPENAI_API_KEY" if own else "its key in the environment",
    ]
    model = quote(str(settings.model))
    return f"check {', '.join(checks[:-1])} and {checks[-1]}; try lerl planner-probe --model {model}{at}"


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

    def __init__(self, question: Question, answer_tokens: int) -> None:
        self.question, self.answer_tokens, self.begun = question, answer_tokens, time.monotonic()
        self.messages: Messages = [
            {"role": "system", "content": question.system},
            {"role": "user", "content": question.user},
        ]
        self.text, self.cause, self.sent = "", "", 0
        self.tokens: Counter[str] = Counter()

    def expected(self) -> Counter[str]:
        """Tokens of the next request, as estimated."""
        asked = sum(len(message["content"]) for message in self.messages)
        return Counter(prompt_tokens=_tokens(asked), completion_tokens=self.answer_tokens)

    def fails(self, cause: str, counts: Counter[str]) -> None:
        self.cause = cause
        counts[f"fault: {cause}"] += 1


def _kinds(error: BaseException) -> set[str]:
    return {kind.__name__ for cause in chain(error) for kind in type(cause).__mro__}


def _cause(error: BaseException) -> str:
    """What went wrong with a request, in two words; every client has errors of its own."""
    for cause in chain(error):
        if isinstance(cause, FaultError):
            return cause.cause
    status = status_code(error)
    if status:
        return f"http {status}"
    kinds = _kinds(error)
    if any("Timeout" in kind for kind in kinds):
        return "timeout"
    if kinds & {"APIConnectionError", "ConnectionError", "ConnectError", "NetworkError", "TransportError", "OSError"}:
        return "connection"
    return "no answer"


def _unsent(error: BaseException) -> bool:
    """Whether nothing went out, so that nobody can have counted it."""
    return bool(_kinds(error).intersection(UNSENT))


def _may_pass(error: BaseException) -> bool:
    """Whether to send a question again."""
    if isinstance(error, AdaptedError):
        return True
    cause = _cause(error)
    if cause == "http 429" and not _asked_for(error):
        said = reason_of(error)
        if re.search(SPENT, said, re.IGNORECASE) and not re.search(PASSING, said, re.IGNORECASE):
            return False
    return cause.startswith(RETRIED)


def _wait(state: "RetryCallState") -> float:
    """Seconds to wait: half a second, doubling, and as many as the endpoint says; none to ask in another way."""
    error = state.outcome.exception() if state.outcome is not None else None
    if isinstance(error, AdaptedError):
        return 0.0
    return max(_asked_for(error), BACKOFF * 2 ** (state.attempt_number - 1))


def _asked_for(error: BaseException | None) -> float:
    """Seconds that a Retry-After says, as a number, a date or milliseconds; 0 where it says nothing sensible."""
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        given = str(headers.get(name, ""))
        try:
            seconds = float(given) * unit
        except ValueError:
            try:
                seconds = parsedate_to_datetime(given).timestamp() - time.time()
            except (ValueError, TypeError, OverflowError):
                continue
        if math.isfinite(seconds):
            return seconds
    return 0.0


def _storable(text: str) -> str:
    """An answer without keys of the environment, nor halves of characters, which no file takes."""
    return redacted(text.encode("utf-8", "replace").decode())


def _tokens(characters: int) -> int:
    return math.ceil(characters / CHARACTERS)


def _believed(said: Any, estimate: int) -> int:
    """Tokens as an endpoint counts them, or the estimate where it says none, or what cannot be."""
    return said if type(said) is int and 0 < said <= MOST_TOKENS else estimate


def _cost(counts: Counter[str], price: PriceConfig) -> float:
    return float(counts["prompt_tokens"] * price.input + counts["completion_tokens"] * price.output) / 1e6


def _total(phases: Iterable[Mapping[str, float]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for counts in phases:
        total.update(counts)
    return total


def summary(phases: Iterable[Mapping[str, float]], seconds: list[float], price: PriceConfig) -> dict[str, Any]:
    """Counts, cost and latency as they are reported; rates are shares of all plans and reflections asked for.

    Args:
        phases: counts of each. seconds: that each question took. price: of tokens.
    """
    total = _total(phases)
    requests = max(total["requests"], 1)
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
        "cost": _cost(total, price),
        "deduplicated": total["deduplicated"] / requests,
        "cached": total["cached"] / requests,
        "repairs": int(total["repairs"]),
        "fallbacks": fallbacks(total),
        "faults": faults,
        "latency_p50": p50,
        "latency_p95": p95,
    }
