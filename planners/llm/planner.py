"""The planner that is a chat model: it is asked per state, reflects on finished sessions, and never stops a run."""

from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lerl.envs.files import refuse_endless
from lerl.planners.base import PlanContexts, Planner, Plans, Sessions, check_plans
from lerl.planners.config import PlannerConfig
from lerl.planners.llm.chat import open_chat, redacted
from lerl.planners.llm.distilled import (
    DistilledError,
    DistilledPlanner,
    Recorded,
    RefreshedPlanner,
    check_categories,
    features,
    load,
    recorded,
)
from lerl.planners.llm.guard import CACHE_TIMEOUT, Guard, Question, key_of
from lerl.planners.llm.prompt import Choice, Prompts, States, look, plan_schema, read_answer
from lerl.planners.llm.reflection import SCHEMA, Pool, read_reflection, session_rewards, session_text
from lerl.planners.llm.traffic import BusyError, Traffic, planner_file
from lerl.planners.rules import build_planner

REMEMBERED = 100_000  # questions that need not be written anew, of some kilobytes each
MODELS = ("llm", "distilled")
"""Planners that are, or come from, a chat model; `build_model` makes them."""


def check_model(name: str, settings: PlannerConfig, categories: int) -> None:
    """Refuse settings that a planner of `MODELS` cannot be made with; nothing is asked, and nothing is written but a
    planner.cache that was not there.

    Args:
        name: of `MODELS`. settings: the planner's. categories: how many there are to plan.

    Raises:
        ChatError, PromptError, PluginError, DistilledError, TrafficError, ValueError: what does not fit and what to do.
    """
    if name == "distilled":
        load(_network(settings))
        if not settings.refresh:
            return
        check_categories(_pairs(settings), categories)
    Prompts(settings.prompts)
    build_planner(settings.fallback, settings.size, 0, "planner.fallback")
    _first_pool(settings)
    if settings.replay:
        Traffic(planner_file(settings.replay, "traffic.sqlite"), read_only=True).close()
        return
    open_chat(settings)
    if settings.cache:
        with suppress(BusyError):  # which a run goes on without
            Traffic(Path(settings.cache), busy_timeout=CACHE_TIMEOUT).close()


def build_model(
    name: str, settings: PlannerConfig, seed: int, guard: Callable[[], Guard]
) -> "LLMPlanner | DistilledPlanner":
    """A planner of `MODELS`.

    Args:
        name: of `MODELS`. settings: the planner's. seed: the planner's.
        guard: makes or finds what queries the chat model; called only where it is queried.
    """
    if name == "llm":
        return LLMPlanner(settings.size, seed, settings, guard())
    weights = load(_network(settings))
    if not settings.refresh:
        return DistilledPlanner(settings.size, weights)
    teacher = LLMPlanner(settings.size, seed, settings, guard())
    return RefreshedPlanner(settings.size, weights, seed, teacher, _pairs(settings), settings.refresh)


def _network(settings: PlannerConfig) -> Path:
    if not settings.distilled:
        raise DistilledError("planner.distilled is missing; give the run that lerl distill RUN was given")
    return planner_file(settings.distilled, "distilled.npz")


def _pairs(settings: PlannerConfig) -> Recorded:
    """What the network learned from, which lies beside it."""
    with closing(Traffic(_network(settings).with_name("traffic.sqlite"), read_only=True)) as file:
        return recorded(file)


class LLMPlanner(Planner):
    """Plans by asking a chat model, after "LERL: LLM-enhanced reinforcement learning for long-term user satisfaction in
    interactive recommendation", arXiv 2601.19585: an actor that is given categories, history and reflections, and a
    critic that writes a reflection on a finished session.

    Other than there, states that look alike are asked once, an excluded category can never win, every answer is
    checked, and reflections are written on whole training sessions before a policy is trained, not while it is.

    Args:
        size: most categories a plan allows.
        seed: decides which reflections are given and which sessions are reflected upon.
        settings: the planner's.
        guard: queries, checks, keeps.
    """

    def __init__(self, size: int, seed: int, settings: PlannerConfig, guard: Guard) -> None:
        self.size, self.seed, self.settings, self.guard = size, seed, settings, guard
        self.prompts = Prompts(settings.prompts)
        self.fallback = build_planner(settings.fallback, size, seed, "planner.fallback")
        self.pool = _first_pool(settings)
        self._system: tuple[Any, str] = (None, "")
        self._asked: dict[bytes, Question] = {}  # by state, under this system text
        self._seen = 0  # sessions that it was given before; later rounds hold the earlier ones

    def plan(self, contexts: PlanContexts) -> Plans:
        """The model's plans; the fallback's where there is none."""
        questions = self.questions(contexts)
        answers = self.guard.ask(questions)
        choices = {
            question.key: question.check(answer.text)
            for question, answer in zip(questions, answers, strict=True)
            if not answer.cause
        }
        allowed, avoid = np.zeros((2, len(contexts), len(contexts.names)), bool)
        reasons = [f"fallback: {answer.cause}" for answer in answers]
        for row, question in enumerate(questions):
            choice = choices.get(question.key)
            if choice is not None:
                allowed[row, list(choice.allowed)], avoid[row, list(choice.avoid)] = True, True
                reasons[row] = choice.rationale
        failed = np.flatnonzero([bool(answer.cause) for answer in answers])
        if len(failed):
            left = contexts.take(failed)
            plans = check_plans(self.fallback.plan(left), left, self.fallback)
            allowed[failed], avoid[failed] = plans.allowed, plans.avoid
        return Plans(allowed, avoid, tuple(reasons), tuple(question.key for question in questions))

    def questions(self, contexts: PlanContexts) -> list[Question]:
        """What is asked about sessions, one question each; those that look alike are equal."""
        states = look(contexts, self.size, self.settings.detail, self.settings.candidates)
        system = self.system(contexts)
        found = self._asked if len(self._asked) < REMEMBERED else {}
        new: dict[bytes, int] = {}
        for row, state in enumerate(states.keys):
            if state not in found:
                new.setdefault(state, row)
        seen = features(contexts.take(np.array(list(new.values()), np.int64)))
        for (state, row), numbers in zip(new.items(), seen, strict=True):
            found[state] = self._question(system, states, row, numbers)
        self._asked = found
        return [found[state] for state in states.keys]

    def _question(self, system: str, states: States, row: int, seen: NDArray[np.float32]) -> Question:
        settings, text = self.settings, states.text(row)
        key = key_of(settings.model, settings.base_url, settings.temperature, self.pool.version, system, text)
        code, candidates = key[:6], states.candidates[row]

        def check(answer: str) -> Choice:
            return read_answer(answer, code, candidates, self.size)

        user, schema = f"State {code}.\n{text}", plan_schema(len(candidates), self.size)
        return Question(key, "plan", system, user, schema, check, self.pool.version, seen.tobytes())

    def system(self, contexts: PlanContexts) -> str:
        """The part of a question that is the same for everybody, until there are other reflections."""
        kept = (contexts.names, contexts.slate_size, self.pool)
        if self._system[0] != kept:
            reflections = self.pool.sample(self.seed)
            self._system = kept, self.prompts.plan(contexts.names, contexts.slate_size, self.size, reflections)
            self._asked = {}
        return self._system[1]

    def session_ended(self, sessions: Sessions) -> None:
        """Have reflections written on some of these sessions, drawn by the seed; the fallback learns from all."""
        self.fallback.session_ended(sessions)
        fresh = np.arange(self._seen if self._seen < len(sessions.items) else 0, len(sessions.items))
        self._seen = len(sessions.items)
        draw = np.random.default_rng([self.seed, self._seen])
        rows = np.sort(draw.choice(fresh, min(self.settings.reflections, len(fresh)), replace=False)).tolist()
        system, settings = self.prompts.reflect(sessions.names), self.settings
        questions = []
        for row in rows:
            text = session_text(sessions, row)
            key = key_of("reflection", settings.model, settings.base_url, settings.temperature, system, text)
            questions.append(Question(key, "reflection", system, text, SCHEMA, read_reflection, self.pool.version))
        answers = self.guard.ask(questions)
        usable = [(row, answer.text) for row, answer in zip(rows, answers, strict=True) if not answer.cause]
        rewards = session_rewards(sessions)
        lines = [redacted(read_reflection(text)) for _, text in usable]
        self.pool = self.pool.added(lines, [rewards[row] for row, _ in usable])

    def state(self) -> dict[str, NDArray[Any]]:
        """The pool, and what the fallback learned."""
        pool = np.frombuffer(self.pool.dump().encode(), np.uint8).copy()  # checkpoints hold numbers
        return {"pool": pool, **{f"fallback.{name}": value for name, value in self.fallback.state().items()}}

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Take over what was learned before."""
        if "pool" in state:
            self.pool = Pool.parse(state["pool"].tobytes().decode())
        own = "fallback."
        learned = {name.removeprefix(own): value for name, value in state.items() if name.startswith(own)}
        if learned:
            self.fallback.restore(learned)


def _first_pool(settings: PlannerConfig) -> Pool:
    """The pool that a run starts with: an earlier run's, or an empty one."""
    if not settings.pool:
        return Pool()
    path = planner_file(settings.pool, "pool.json")
    if not path.is_file():
        raise ValueError(
            f"planner.pool is {settings.pool}, but there is no {path}; give the folder of a run that llm planned, or "
            "its planners/pool.json"
        )
    try:
        refuse_endless(path)
        return replace(Pool.parse(path.read_text(encoding="utf-8")), version=0)
    except (OSError, ValueError) as error:
        raise ValueError(f"planner.pool is {settings.pool}, but {path} cannot be read: {error}") from error
