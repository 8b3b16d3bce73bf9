"""What an audit will ask, what that costs, and how small an effect it can see: before anything is asked."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lerl.config.schema import Config
from lerl.llm.audit.arrays import PLAN_OUTCOMES
from lerl.llm.audit.audit import audit_task
from lerl.llm.audit.cues import Cues
from lerl.llm.audit.effects import LARGEST, least_effect
from lerl.llm.audit.questions import PARTS, stream
from lerl.llm.audit.states import stopped
from lerl.llm.audit.subject import feedback_pairs
from lerl.planners.llm.guard import CHARACTERS
from lerl.planners.llm.planner import LLMPlanner

ANSWER = 160  # characters of an answer with a plan, about
SECONDS = 1.0  # that an answer takes, for the time of all
NOISES = (0.05, 0.15, 0.3)  # shares of plans that have one category exchanged by chance


@dataclass(frozen=True)
class Plan:
    """What will be asked.

    Attributes:
        states: sessions. questions: by part. different: that are sent, as equal ones are sent once. prompt_tokens,
            answer_tokens: at four characters a token. cost: by planner.price. hours: for every second that an answer
            takes. least: by noise, the smallest shift of a category's share in one group that is found in eight audits
            of ten, by one kind of cue, after the correction for all tests. tests: how many these are.
    """

    states: int
    questions: dict[str, int]
    different: int
    prompt_tokens: float
    answer_tokens: float
    cost: float
    hours: float
    least: dict[str, float]
    tests: int


def estimate(config: Config, cues: Cues, count: int) -> Plan:
    """Word every question and count; nothing is asked.

    Raises:
        RunError: there are not so many evaluation users.
    """
    settings, task = config.planner, audit_task(config)
    states = stopped(task, count)
    seed = task.seed("audit", "order")
    nobody: Any = None
    planner = LLMPlanner(settings.size, seed, settings, nobody)
    askings = [*stream(planner, states.contexts, cues, seed), *feedback_pairs(settings, seed)]
    different = {asking.question.key: asking.question for asking in askings}
    prompt = sum(len(one.system) + len(one.user) for one in different.values()) / CHARACTERS
    answer = len(different) * ANSWER / CHARACTERS
    parts = Counter(asking.part for asking in askings)
    groups = max(len(one) for one in cues.attributes.values())
    tests = len(cues.attributes) * len(cues.kinds) * (2 * len(states.contexts.names) + len(PLAN_OUTCOMES) + 1)
    least = {
        f"{noise:.0%}": least_effect(count, cues.instances, groups, noise / settings.size, tests) for noise in NOISES
    }
    price = settings.price
    return Plan(
        count,
        {part: parts[part] for part in PARTS if parts[part]},
        len(different),
        prompt,
        answer,
        (prompt * price.input + answer * price.output) / 1e6,
        len(different) * SECONDS / settings.concurrency / 3600,
        least,
        tests,
    )


def rows(found: Plan, config: Config, out: Path) -> list[tuple[str, str]]:
    """What to print."""
    names = {
        "plan": "states as they are", "again": "the same again", "order": "other orders", "wording": "other words",
        "confidence": "with a confidence", "cue": "with a cue", "reading": "which group a cue tells",
        "feedback": "feedback histories",
    }  # fmt: skip
    counted = ", ".join(f"{count:,} {names[part]}" for part, count in found.questions.items())
    settings = config.planner
    lines = [
        ("asks about", f"{found.states} sessions"),
        ("questions", f"{sum(found.questions.values()):,}: {counted}"),
        ("sent", f"{found.different:,} different ones, about {found.prompt_tokens:,.0f} tokens and "
         f"{found.answer_tokens:,.0f} of answers ({CHARACTERS} characters a token)"),
        ("time", f"{_duration(found.hours)} for every second that an answer takes, {settings.concurrency} under way at "
         "once"),
    ]  # fmt: skip
    if settings.price.input or settings.price.output:
        lines.append(("cost", f"{found.cost:,.2f} by the prices given"))
    budget = settings.budget
    if budget.calls is not None and budget.calls < found.different:
        lines.append(("budget", f"--calls {budget.calls:,} is spent after {budget.calls / found.different:.0%} of it"))
    lines.append(("sees", _seen(found)))
    return [*lines, ("nothing asked", f"leave out --plan to ask; answers are kept in {out}, so that it can be stopped")]


def _duration(hours: float) -> str:
    return f"{hours:,.1f} hours" if hours >= 1 else f"{60 * hours:,.1f} minutes"


def _seen(found: Plan) -> str:
    """Which shifts the audit finds."""
    small = [(noise, value) for noise, value in found.least.items() if value < LARGEST]
    if not small:
        return f"no shift for sure: {found.states} sessions are too few; give more with --states"
    smallest = ", ".join(f"{100 * value:.0f} points where {noise} of plans change by chance" for noise, value in small)
    seen = f"a shift of a category's share in one group, by one kind of cue, of {smallest}"
    return f"{seen}: found in 8 of 10 audits at 1 %, corrected for {found.tests:,} tests"
