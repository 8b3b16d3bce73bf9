"""Who is audited: a chat model, asked through the guard, or any other planner, asked by its own method."""

import warnings
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lerl.envs.catalog import Axis
from lerl.envs.text import quoted
from lerl.llm import probe
from lerl.llm.audit.cues import Cue, Cues
from lerl.llm.audit.planted import PREFIX, check_planted, planted, state_of
from lerl.llm.audit.questions import ORDERS, Asking, confidence_of, stream
from lerl.llm.audit.states import States
from lerl.planners.base import PlanContexts, Planner, Plans, check_plans
from lerl.planners.config import PlannerConfig
from lerl.planners.llm.chat import ChatError, open_chat
from lerl.planners.llm.guard import ENDPOINT, Guard, mend
from lerl.planners.llm.planner import LLMPlanner
from lerl.planners.llm.prompt import Choice, Prompts
from lerl.planners.llm.traffic import Asked

PHASE = "evaluate audit"  # nothing is ever learned from answers of such a phase
AT_ONCE = 32  # questions for each that is under way: after so many it is seen whether to go on
STOPPED = ("budget", "breaker")  # causes after which nothing more is asked
PAIRS = 20  # of histories in which the clicks on one category fall or rise

Report = Callable[[str, int, int, Any], object]


@dataclass(frozen=True)
class Answer:
    """What became of one question.

    Attributes:
        part, state, number, cue: as in `Asking`. key: of the question in the record. system, user: as it was asked.
        text: the answer. cause: why it cannot be used, empty where it can, "not asked" where it was not.
        choice: the plan, None where there is none. value: the confidence, the group that was read, or how a category
            was treated; None of other parts.
    """

    part: str
    state: int
    number: int
    cue: Cue | None
    key: str
    system: str
    user: str
    text: str
    cause: str
    choice: Choice | None
    value: Any


NOT_ASKED = "not asked"


@dataclass(frozen=True)
class Answers:
    """All answers of an audit.

    Attributes:
        subject: the name of who answered. all: an answer for each question of the stream. report: of the guard, None
            of a planner without a chat model. stopped: why not all was asked, in words; empty where all was.
        adapted: what was changed in requests for the endpoint to take them.
    """

    subject: str
    all: tuple[Answer, ...]
    report: dict[str, Any] | None
    stopped: str
    adapted: tuple[str, ...] = ()

    def of(self, *parts: str) -> list[Answer]:
        """Those of some parts."""
        return [answer for answer in self.all if answer.part in parts]


def check_subject(settings: PlannerConfig) -> None:
    """Refuse a model that cannot be asked; nothing is sent.

    Raises:
        ChatError: what is missing and what to do.
    """
    model = str(settings.model)
    if model.startswith(PREFIX) and not settings.replay:
        check_planted(model.removeprefix(PREFIX))
    elif not settings.replay:
        open_chat(settings)


def ask_model(settings: PlannerConfig, states: States, cues: Cues, seed: int, out: Path, report: Report) -> Answers:
    """Ask a chat model the whole stream; what was answered before, in the same folder, is not asked again.

    Args:
        settings: of the planner; its model may be scripted:NAME of `PLANTED`. seed: of orders and feedback histories.
        out: the folder; the record is planners/traffic.sqlite in it. report: called with how far it is.

    Raises:
        ChatError: nothing came but faults of the endpoint. ChatError, TrafficError, ReplayError: see `Guard`.
    """
    check_subject(settings)
    planner: Any = LLMPlanner(settings.size, seed, settings, None)  # type: ignore[arg-type]
    opened: Any = open_chat
    model = str(settings.model)
    if model.startswith(PREFIX):
        told = [state_of(question.user) for question in planner.questions(states.contexts)]
        opened = planted(model.removeprefix(PREFIX), cues, dict(zip(told, states.taste, strict=True)))
    askings = [*stream(planner, states.contexts, cues, seed), *feedback_pairs(settings, seed)]
    with closing(
        Guard(settings, Prompts(settings.prompts).digest, out / "planners" / "traffic.sqlite", opened)
    ) as guard:
        guard.phase = PHASE
        guard.traffic.forget(PHASE)  # what failed is asked again
        asked, stopped = _ask(guard, askings, settings.concurrency * AT_ONCE, report)
        _refuse_silence(settings, asked)
        answers = tuple(_answer(asking, found) for asking, found in zip(askings, asked, strict=True))
        return Answers(model, answers, guard.report(), stopped, tuple(guard.adapted))


def feedback_pairs(settings: PlannerConfig, seed: int) -> list[Asking]:
    """Made-up histories, two of each pair, that differ in the clicks on one category only; see `lerl.llm.probe`."""
    own = replace(settings, size=probe.SIZE, detail="full", candidates=None)
    planner: Any = LLMPlanner(probe.SIZE, seed, own, None)  # type: ignore[arg-type]
    draw, found = np.random.default_rng(seed), []
    for number in range(PAIRS):
        contexts, category = probe.pair(number, draw)
        found += [Asking("feedback", category, number, None, one) for one in planner.questions(contexts)]
    return found


def _ask(guard: Guard, askings: Sequence[Asking], many: int, report: Report) -> tuple[list[Asked | None], str]:
    """Ask in parts, until the budget is spent or the endpoint gives nothing; and why that was."""
    found: list[Asked | None] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a rule that plans in the model's place: here nothing does
        report("questions", 0, len(askings), None)
        while len(found) < len(askings):
            part = askings[len(found) : len(found) + many]
            found += guard.ask([asking.question for asking in part])
            report("questions", len(found), len(askings), None)
            causes = [answer.cause for answer in found[-len(part) :] if answer is not None]
            if any(cause in STOPPED for cause in causes):
                found += [None] * (len(askings) - len(found))
                return found, _why(found, causes)
    return found, ""


def _why(found: Sequence[Asked | None], causes: Sequence[str]) -> str:
    if "budget" in causes:
        return "the budget is spent; give the same command with a larger one to go on"
    last = next(one for one in reversed(found) if one is not None and one.cause and one.cause not in STOPPED)
    said = f", {quoted(last.text, 200)}" if last.text else ""
    return f"the endpoint gives no answers ({last.cause}{said}); give the same command to go on"


def _refuse_silence(settings: PlannerConfig, asked: Sequence[Asked | None]) -> None:
    """Refuse to judge a model of which nothing came but faults of its endpoint."""
    tried = [one for one in asked if one is not None and one.cause not in STOPPED]
    if tried and all(one.cause.startswith(ENDPOINT) for one in tried):
        last = tried[-1]
        said = f", {quoted(last.text, 200)}" if last.text else ""
        passing = last.cause.startswith(("http 429", "http 5"))
        what = "give the same command again later" if passing else mend(settings)
        raise ChatError(f"{settings.model} answered nothing ({last.cause}{said}): {what}")


def _answer(asking: Asking, asked: Asked | None) -> Answer:
    question = asking.question
    cause = NOT_ASKED if asked is None or asked.cause in STOPPED else asked.cause
    text = "" if asked is None else asked.text
    said = None if cause else question.check(text)
    value: Any = None
    if said is not None and asking.part == "confidence":
        value = confidence_of(text)
    elif asking.part == "reading":
        value = said
    elif said is not None and asking.part == "feedback":
        value = probe.treatment(said, asking.state)
    choice = said if isinstance(said, Choice) else None
    state = -1 if asking.part == "feedback" else asking.state
    cue, number = asking.cue, asking.number
    return Answer(
        asking.part, state, number, cue, question.key, question.system, question.user, text, cause, choice, value
    )


def ask_planner(name: str, make: Callable[[int], Planner], size: int, states: States, seed: int) -> Answers:
    """Ask any other planner for the plans of all states, in the catalog's order of categories and in others, and for
    those of the feedback pairs. It gets no words, so that no cue can reach it.

    Args:
        make: the planner, from the number of categories that its plans allow. size: that number for the states.

    Raises:
        PlanError: it answers something that is no plan.
    """
    contexts, found, planner = states.contexts, [], make(size)
    for part, number, order in _orders(len(states.contexts.names), seed):
        plans = _planned(planner, contexts, order)
        for state in range(len(contexts)):
            found.append(_plain_answer(part, state, number, _choice(plans, state), None))
    draw, planner = np.random.default_rng(seed), make(probe.SIZE)
    for number in range(PAIRS):
        pair, category = probe.pair(number, draw)
        plans = check_plans(planner.plan(pair), pair, planner)
        for row in range(len(pair)):
            choice = _choice(plans, row)
            found.append(_plain_answer("feedback", -1, number, choice, probe.treatment(choice, category)))
    return Answers(name, tuple(found), None, "")


def _orders(count: int, seed: int) -> list[tuple[str, int, NDArray[np.int64]]]:
    same = np.arange(count)
    others = [np.random.default_rng([seed, number]).permutation(count) for number in range(ORDERS)]
    return [("plan", 0, same), ("again", 0, same), *(("order", number, order) for number, order in enumerate(others))]


def _planned(planner: Planner, contexts: PlanContexts, order: NDArray[np.int64]) -> Plans:
    """Its plans where categories stand in another order, told in their own."""
    given = _in_order(contexts, order)
    plans = check_plans(planner.plan(given), given, planner)
    back = np.argsort(order)
    return Plans(plans.allowed[:, back], plans.avoid[:, back], plans.rationale)


def _in_order(contexts: PlanContexts, order: NDArray[np.int64]) -> PlanContexts:
    axis = Axis(tuple(contexts.names[c] for c in order.tolist()), np.ascontiguousarray(contexts.membership[:, order]))
    columns = ("predicted_ctr", "counts", "feedback", "tiredness", "uncertainty")
    there = {name: getattr(contexts, name) for name in columns}
    return replace(contexts, axis=axis, **{name: x[:, order] for name, x in there.items() if x is not None})


def _choice(plans: Plans, row: int) -> Choice:
    allowed, avoid = (tuple(np.flatnonzero(part[row]).tolist()) for part in (plans.allowed, plans.avoid))
    return Choice(allowed, avoid, plans.rationale[row] if plans.rationale is not None else "")


def _plain_answer(part: str, state: int, number: int, choice: Choice, value: Any) -> Answer:
    return Answer(part, state, number, None, "", "", "", "", "", choice, value)
