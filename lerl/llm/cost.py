"""Estimates what a recipe's chat model will cost, before anything is sent, from sessions that a rule plans."""

import json
import math
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from lerl.agents.hierarchical import HierarchicalAgent
from lerl.config.schema import Config
from lerl.planners.base import PlanContexts, Planner, Plans
from lerl.planners.config import PlannerConfig
from lerl.planners.llm.guard import CHARACTERS
from lerl.planners.llm.planner import MODELS, LLMPlanner
from lerl.planners.llm.reflection import session_text
from lerl.report.lessons import lessons
from lerl.run.checks import refuse_models
from lerl.run.rollout import Episodes, Evaluator, sessions_of
from lerl.run.specs import AgentSpec, parse_agents
from lerl.run.task import Task

SESSIONS, STEPS = 256, 40_000  # that are simulated at most
LESSON = "After four slates of one category clicks fell from five to none; rest it for eight slates, then return."
RATIONALE = "Liked and rested categories first; the one shown in every slate of late needs a rest."
READ = 100  # sessions whose text counts for the critic


class EstimateError(ValueError):
    """A recipe that sends nothing to a chat model; the message says what to do."""


@dataclass(frozen=True)
class Cost:
    """What one phase of a run will send to the chat model.

    Attributes:
        phase: as in the run's traffic, reflections and the sessions behind learning curves apart.
        user_steps: that are planned for. requests: plans and reflections wanted.
        calls: different questions among them that no earlier phase asked.
        prompt_tokens, completion_tokens: of the calls.
    """

    phase: str
    user_steps: float
    requests: float
    calls: float
    prompt_tokens: float
    completion_tokens: float

    @property
    def per_1000(self) -> float:
        """Calls per 1,000 user-steps."""
        return 1000 * self.calls / self.user_steps if self.user_steps else 0.0


@dataclass(frozen=True)
class Sample:
    """What was simulated, with the fallback in the model's place.

    Attributes:
        sessions, user_steps: how many. different: (plans,) different questions among the first n plans, n from 1.
        length: steps of a session. prompt, answer: characters of a question on a plan and of its answer.
        session: characters of a question to the critic.
    """

    sessions: int
    user_steps: int
    different: NDArray[np.int64]
    length: float
    prompt: float
    answer: float
    session: float

    @property
    def plans(self) -> int:
        """How many were made."""
        return len(self.different)

    @property
    def exponent(self) -> float:
        """e of the growth n^e of different questions over the second half, in [0, 1]."""
        half = self.plans // 2
        if not half:
            return 1.0
        growth = math.log(self.different[-1] / self.different[half - 1]) / math.log(self.plans / half)
        return min(max(growth, 0.0), 1.0)

    def questions(self, plans: float) -> float:
        """Different questions among so many plans: as simulated, and beyond that growing as they did at its end."""
        if plans <= self.plans:
            return float(np.interp(plans, np.arange(self.plans + 1), [0, *self.different]))
        return float(self.different[-1] * (plans / self.plans) ** self.exponent)


@dataclass(frozen=True)
class CostEstimate:
    """What a run will cost by phase, and what that is extrapolated from."""

    costs: list[Cost]
    sample: Sample
    settings: PlannerConfig

    @property
    def total(self) -> Cost:
        """All phases together."""
        return _sum("in all", self.costs)

    def money(self, cost: Cost) -> float:
        """By planner.price."""
        price = self.settings.price
        return (cost.prompt_tokens * price.input + cost.completion_tokens * price.output) / 1e6

    def budget(self) -> dict[str, float]:
        """For each part of planner.budget that is given, how many times it the run needs."""
        total, given = self.total, self.settings.budget
        tokens = total.prompt_tokens + total.completion_tokens
        needed = {"calls": total.calls, "tokens": tokens, "money": self.money(total)}
        limits = {name: getattr(given, name) for name in needed if getattr(given, name) is not None}
        return {
            name: needed[name] / limit if limit else math.inf if needed[name] else 0.0 for name, limit in limits.items()
        }


def estimate(config: Config) -> CostEstimate:
    """Simulate some training users and work out what the whole recipe will send. Nothing is sent, no key is needed.

    Raises:
        EstimateError: no agent of the recipe is planned by a chat model.
    """
    specs = [spec for spec in parse_agents(config) if spec.planner in MODELS]
    paid = [spec for spec in specs if spec.planner == "llm" or config.planner.refresh]
    if config.planner.replay:
        raise EstimateError("planner.replay is given: a replayed run sends nothing, and costs nothing")
    if specs and not paid:
        raise EstimateError(
            "no agent of this recipe sends anything: planner.refresh is 0, so distilled never queries the chat model"
        )
    if not specs:
        raise EstimateError(
            "no agent of this recipe is planned by a chat model; give --planner.name llm, or agents such as llm+ppo"
        )
    if config.env.horizon == "days":
        refuse_models(paid, config)
    task = Task.load(config)
    sample = _sample(task)
    return CostEstimate(_costs(config, paid, task, sample), sample, config.planner)


class _Rehearsal(Planner):
    """A planner that words every question, sends none, and plans by the fallback."""

    def __init__(self, planner: LLMPlanner) -> None:
        self.planner = planner
        self.keys: dict[tuple[int, int], str] = {}  # by session and step
        self.prompts: list[int] = []
        self.answers: list[int] = []

    def plan(self, contexts: PlanContexts) -> Plans:
        questions = self.planner.questions(contexts)
        plans: Plans = self.planner.fallback.plan(contexts)
        for number, question in enumerate(questions):
            place = int(contexts.session_key[number]), int(contexts.steps[number])
            if place not in self.keys:
                self.keys[place] = question.key
                self.prompts.append(len(question.system) + len(question.user))
                self.answers.append(_answer_length(plans, number))
        return plans


def _answer_length(plans: Plans, number: int) -> int:
    """Characters of an answer that gives plan `number` of (B,)."""
    allowed, avoid = (np.flatnonzero(part[number]).tolist() for part in (plans.allowed, plans.avoid))
    return len(json.dumps({"state": "012345", "rationale": RATIONALE, "allowed": allowed, "avoid": avoid}))


def _sample(task: Task) -> Sample:
    """Sessions of training users, drawn as those of the planner's lessons are."""
    config = task.config
    count = max(min(SESSIONS, STEPS // config.env.max_steps), 1)
    seed = task.seed("estimate")
    guard: Any = None  # nothing is sent
    planner = LLMPlanner(config.planner.size, task.seed("planner"), config.planner, guard)
    if config.planner.reflections and not planner.pool.texts:
        planner.pool = planner.pool.added([LESSON] * 3, [0.0] * 3)
    rehearsal = _Rehearsal(planner)
    evaluator = Evaluator(task.population, config.env, task.axis, "train", count)
    hierarchy = task.hierarchy("estimate", count, rehearsal)
    users = np.random.default_rng(seed).choice(evaluator.users, count)
    episodes = evaluator.play(HierarchicalAgent(hierarchy), users, 1, seed)
    keys = [key for _, key in sorted(rehearsal.keys.items())]  # session after session, in no order of time
    return Sample(
        count,
        int(episodes.lengths.sum()),
        _different(keys),
        float(episodes.lengths.mean()),
        float(np.mean(rehearsal.prompts)),
        float(np.mean(rehearsal.answers)),
        _session_length(planner, episodes, task),
    )


def _different(keys: list[str]) -> NDArray[np.int64]:
    """(N,) how many different ones there are among the first n, n from 1."""
    first = np.unique(keys, return_index=True)[1]
    fresh = np.zeros(len(keys), np.int64)
    fresh[first] = 1
    return np.cumsum(fresh)


def _session_length(planner: LLMPlanner, episodes: Episodes, task: Task) -> float:
    sessions = sessions_of(episodes, task.population, task.axis)
    texts = [len(session_text(sessions, number)) for number in range(min(len(sessions.items), READ))]
    return len(planner.prompts.reflect(sessions.names)) + float(np.mean(texts))


class _Ledger:
    """Adds up what phases send, one after the other; a question is sent once for each version of the reflections."""

    def __init__(self, sample: Sample) -> None:
        self.sample = sample
        self.costs: list[Cost] = []
        self._sent: dict[int, float] = {}

    def plan(self, phase: str, user_steps: float, version: int) -> None:
        wanted = user_steps * self.sample.plans / self.sample.user_steps
        before = self._sent.get(version, 0.0)
        self._sent[version] = before + wanted
        calls = self.sample.questions(before + wanted) - self.sample.questions(before)
        self.add(phase, user_steps, wanted, calls, self.sample.prompt, self.sample.answer)

    def add(self, phase: str, user_steps: float, wanted: float, calls: float, prompt: float, answer: float) -> None:
        self.costs.append(
            Cost(phase, user_steps, wanted, calls, calls * prompt / CHARACTERS, calls * answer / CHARACTERS)
        )


def _costs(config: Config, specs: list[AgentSpec], task: Task, sample: Sample) -> list[Cost]:
    """In the order of a run: lessons of each planner, then training under it, and evaluation at the end."""
    ledger, planner, train = _Ledger(sample), config.planner, config.train
    sessions = lessons(planner.sessions, train.steps, config.env.max_steps) // 2
    lesson_steps = 2 * sessions * sample.length
    version = 0
    if sessions and any(spec.planner == "llm" for spec in specs):
        written = min(planner.reflections, sessions)
        for _ in range(2):
            ledger.plan("learn llm", sessions * sample.length, version)
            version += bool(written)
        if written:
            answer = len(json.dumps({"reflection": LESSON}))
            ledger.add("learn llm: reflections", 0.0, 2 * written, 2 * written, sample.session, answer)
    if sessions and any(spec.planner == "distilled" for spec in specs):
        sent = 2.0 * min(planner.refresh, sessions * sample.length)
        ledger.add("learn distilled", lesson_steps, sent, sent, sample.prompt, sample.answer)
    llm = [spec for spec in specs if spec.planner == "llm"]
    for name in dict.fromkeys(spec.learner for spec in llm if spec.learner is not None):
        steps = max(train.steps - lesson_steps, 0.0)
        points = train.evaluations + 1 if steps else 1
        ledger.plan(f"train llm+{name}", steps, version)
        ledger.plan(f"train llm+{name}: learning curve", points * train.validation * sample.length, version)
    users = len(task.population.users("evaluation"))
    users = min(config.evaluation.users or users, users)
    for spec in llm:
        twice = spec.samples and config.evaluation.deterministic
        for label in (spec.label, f"{spec.label}@det") if twice else (spec.label,):
            ledger.plan(f"evaluate {label}", users * config.evaluation.replicates * sample.length, version)
    return _merged(ledger.costs)


def _sum(phase: str, costs: list[Cost]) -> Cost:
    """Several costs as one."""
    names = [entry.name for entry in fields(Cost) if entry.name != "phase"]
    return Cost(phase, *(sum(getattr(cost, name) for cost in costs) for name in names))


def _merged(costs: list[Cost]) -> list[Cost]:
    """One entry for each phase."""
    phases = dict.fromkeys(cost.phase for cost in costs)
    return [_sum(phase, [cost for cost in costs if cost.phase == phase]) for phase in phases]


def as_json(found: CostEstimate) -> str:
    """All of it, for programs."""

    def rounded(cost: Cost) -> dict[str, Any]:
        numbers = {name: value if name == "phase" else round(value) for name, value in asdict(cost).items()}
        return numbers | {"calls_per_1000_user_steps": round(cost.per_1000, 1), "cost": found.money(cost)}

    whole = {
        "phases": [rounded(cost) for cost in found.costs],
        "total": rounded(found.total),
        "budget": {name: {"share": share if math.isfinite(share) else None} for name, share in found.budget().items()},
        "sample": _sample_json(found.sample),
        "characters_per_token": CHARACTERS,
    }
    return json.dumps(whole, indent=1)


def _sample_json(sample: Sample) -> dict[str, Any]:
    counts = {"plans": sample.plans, "different": int(sample.different[-1]), "exponent": sample.exponent}
    return asdict(sample) | counts


def table(found: CostEstimate) -> Table:
    """For a terminal."""
    priced = found.settings.price.input or found.settings.price.output
    headings = ("phase", "user-steps", "requests", "calls", "calls per\n1,000 steps", "tokens in", "tokens out", "cost")
    made = Table(title=f"what will be sent to {found.settings.model or 'a chat model'}", title_justify="left")
    for heading in headings:
        made.add_column(heading, justify="left" if heading == "phase" else "right")
    for cost in (*found.costs, found.total):
        if cost.phase == "in all":
            made.add_section()
        numbers = [cost.user_steps, cost.requests, cost.calls]
        cells = [f"{number:,.0f}" for number in numbers]
        cells.append(f"{cost.per_1000:,.1f}" if cost.user_steps else "")
        cells += [f"{number:,.0f}" for number in (cost.prompt_tokens, cost.completion_tokens)]
        made.add_row(cost.phase, *cells, f"{found.money(cost):,.2f}" if priced else "")
    return made


def notes(found: CostEstimate) -> list[str]:
    """Where the numbers come from, and how they stand to the budget."""
    sample, settings = found.sample, found.settings
    lines = [
        f"simulated: {sample.sessions} sessions of training users, {sample.user_steps:,} user-steps, with "
        f"{settings.fallback} in the model's place; {sample.plans:,} plans, {sample.different[-1]:,} different",
        f"extrapolated: different questions grow as plans^{sample.exponent:.2f}, as in the second half of what was "
        f"simulated, which leans high for long runs; sessions last {sample.length:.1f} steps, longer where planning is "
        "better",
        f"counted: {CHARACTERS} characters a token; no retries or repairs; nothing that planner.cache holds already",
    ]
    if not (settings.price.input or settings.price.output):
        lines.append("cost: give --planner.price.input and --planner.price.output, per million tokens")
    hours = found.total.calls / settings.concurrency / 3600
    lines.append(
        f"time: {hours:,.1f} hours for every second that an answer takes, {settings.concurrency} under way at once"
    )
    for name, share in found.budget().items():
        limit = f"planner.budget.{name} of {getattr(settings.budget, name):,}"
        if share <= 1:
            lines.append(f"budget: {limit} is enough, {share:.1%} of it is needed")
        else:
            lines.append(
                f"budget: {limit} is spent after {1 / share:.1%} of what is sent; {settings.fallback} plans the rest"
            )
    return lines
