"""One plan of a chat model, looked at closely: what it was asked, what it said, and what became of that."""

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lerl.agents.belief.agent import BeliefAgent
from lerl.agents.hierarchical import HierarchicalAgent
from lerl.config.schema import Config
from lerl.envs.population import Population
from lerl.envs.text import quoted, visible
from lerl.files import RunError
from lerl.planners.config import PlannerConfig
from lerl.planners.llm.guard import Guard, Question
from lerl.planners.llm.planner import LLMPlanner
from lerl.planners.llm.prompt import AnswerError, Choice
from lerl.planners.llm.traffic import Asked, Traffic
from lerl.run.agent_factory import load_belief, planned_belief_agent
from lerl.run.artifacts import ArtifactStore
from lerl.run.evaluate import judged
from lerl.run.folder import check_run, check_same
from lerl.run.learned_axis import settled
from lerl.run.rollout import Evaluator
from lerl.run.specs import parse_agents
from lerl.run.task import Task
from lerl.run.trust import check_trust, read_config

SHOWN = 8  # users judged that are named
REASONS = {
    "budget": "planner.budget is spent",
    "breaker": "the endpoint failed several times in a row and got no requests for a while",
    "timeout": "there was no whole answer within planner.timeout",
    "connection": "the endpoint could not be reached, or hung up",
    "oversized": "the answer was larger than a plan can be",
    "compressed": "the answer was compressed, which nobody asked for",
    "no answer": "the endpoint sent what the client could not read",
}


@dataclass(frozen=True)
class Explained:
    """A plan and how it came about.

    Attributes:
        user: the user's number. split: "training" or "evaluation". slates: shown before the plan was made.
        judged: the users of the run's evaluation.
        names: of the categories. question, answer: as asked, and what came of it. source: where the answer is from.
        plan: what holds, the fallback's where the answer could not be used.
        fallback: the rule that planned, empty where the model did. reason: why.
        recorded: failures of the same question in the run, by phase.
        refusal: the newest HTTP error of the run where the endpoint got no more requests because of its errors.
        sent: all questions that were sent to get there.
    """

    user: int
    split: str
    slates: int
    judged: tuple[int, ...]
    names: tuple[str, ...]
    question: Question
    answer: Asked
    source: str
    plan: Choice
    fallback: str
    reason: str
    recorded: dict[str, str]
    refusal: str
    sent: tuple[Asked, ...]


def explain(run: Path, user: int | None, steps: int, trust: bool = False) -> Explained:
    """The plan for one user of a run whose planner is a chat model.

    The session is the user's first one in the run's evaluation, with items chosen by taste, as llm+greedy does; by
    belief, as llm+belief does, where that is the run's only agent with the chat model's plans.
    Answers that the run had are taken from its record, or from planner.cache; any other question is sent to the model
    now. Where that agent had no usable answer for an evaluation user, the fallback plans again. Nothing is written into
    the run's folder.

    Args:
        run: its folder. user: a training or evaluation user, the first one that the run judged when none.
        steps: slates shown before the plan. trust: see `lerl.run.trust.read_config`.

    Raises:
        RunError: there is no such run or user, the run has no chat model, or the session ended before.
        ChatError: the model has to be asked and cannot be.
    """
    about = check_run(run)
    config = read_config(run, trust, query_model=False)
    _refuse_unplanned(run, config)
    task = settled(Task.load(config), ArtifactStore(run))
    config = task.config
    check_same(run, about, task)
    users = judged(task.population.users("evaluation"), config).tolist()
    user = users[0] if user is None else user
    split = _split_of(task.population, user)
    if steps < 0:
        raise RunError(f"--steps must be at least 0, given {steps}")
    with ExitStack() as opened:
        believes = all(spec.believes for spec in parse_agents(config) if spec.planner == "llm")
        phase = "" if split == "train" else f"evaluate llm+{'belief' if believes else 'greedy'}"
        answers = _Answers(run, config.planner, phase, opened, lambda: check_trust(run, config, trust))
        planner = LLMPlanner(config.planner.size, task.seed("planner"), config.planner, answers)  # type: ignore[arg-type]
        agent = _agent(task, ArtifactStore(run), planner, believes)
        answers.prompts, hierarchy = planner.prompts.digest, agent.hierarchy
        evaluator = Evaluator(task.population, config.env, task.axis, split, 1)
        shown, observation = evaluator.follow(agent, user, task.seed("evaluation"), steps)
        if not evaluator.env.state.active[0]:
            raise RunError(f"the session of user {user} ended after {shown} slates; give --steps {shown - 1} or fewer")
        hierarchy.see(observation)
        question, answer, source = answers.last
        allowed, avoid = (np.flatnonzero(part[0]).tolist() for part in (hierarchy.allowed, hierarchy.avoid))
        return Explained(
            user,
            "training" if split == "train" else split,
            int(hierarchy.planned_at[0]),
            tuple(users),
            task.axis.names,
            question,
            answer,
            source,
            Choice(tuple(allowed), tuple(avoid), "") if answer.cause else question.check(answer.text),
            config.planner.fallback if answer.cause else "",
            _reason(question, answer),
            answers.failures(question),
            answers.refusal() if answer.cause == "breaker" else "",
            tuple(answers.sent),
        )


def _refuse_unplanned(run: Path, config: Config) -> None:
    if not any(spec.planner == "llm" for spec in parse_agents(config)):
        raise RunError(
            f"no agent of {run} is planned by a chat model; train one with: lerl train RECIPE --planner.name llm "
            "--planner.model PROVIDER:NAME"
        )


def _split_of(population: Population, user: int) -> str:
    if not 0 <= user < len(population.training):
        raise RunError(f"there is no user {user}; users are 0 to {len(population.training) - 1}")
    return "train" if population.training[user] else "evaluation"


def _agent(task: Task, store: ArtifactStore, planner: LLMPlanner, believes: bool) -> HierarchicalAgent:
    """The agent under a planner, which is given the reflections and the fallback that the run's has."""
    lessons = store.restore_planner("llm", planner, believes)
    if not believes:
        return HierarchicalAgent(task.hierarchy("explain", 1, planner))
    model = load_belief(task, store, early=lessons > 0)
    return planned_belief_agent(task, "explain", planner, BeliefAgent(task.task_spec("explain"), 1, model))


class _Answers:
    """In the place of a run's guard: takes answers from its record, sends the other questions, and keeps the last one.

    Args:
        run: its folder. settings: the run's. phase: whose failures hold. opened: closes what is opened here.
        check: called before anything is sent.

    Attributes:
        prompts: digest of the prompt texts. last: question, answer, and where that is from. sent: what was asked now.
    """

    def __init__(
        self,
        run: Path,
        settings: PlannerConfig,
        phase: str,
        opened: ExitStack,
        check: Callable[[], object] = lambda: None,
    ) -> None:
        self.settings, self.prompts, self.phase = settings, "", phase
        self.sent: list[Asked] = []
        self.last: tuple[Question, Asked, str]
        self._opened, self._check = opened, check
        self._guard: Guard | None = None
        self._record = self._open(run / "planners" / "traffic.sqlite")
        said = f", replayed from {settings.replay}" if settings.replay else ""
        self._known = [(f"the run's record{said}", self._record)]
        if settings.cache and Path(settings.cache).is_file():
            self._known.append((f"the cache {settings.cache}", self._open(Path(settings.cache))))

    def _open(self, path: Path) -> Traffic:
        file = Traffic(path, read_only=True)
        self._opened.callback(file.close)
        return file

    def ask(self, questions: Sequence[Question]) -> list[Asked]:
        """As a guard's."""
        return [self._ask(question) for question in questions]

    def _ask(self, question: Question) -> Asked:
        for source, file in self._known:
            found = file.find(question.key, self.phase)
            if found is not None:
                self.last = question, found, source
                return found
        asked = self._model().ask([question])[0]
        self.sent += [asked] if asked.key not in {other.key for other in self.sent} else []
        self.last = question, asked, "the model, asked now"
        return asked

    def _model(self) -> Guard:
        if self._guard is None:
            self._check()
            folder = self._opened.enter_context(tempfile.TemporaryDirectory())
            settings = replace(self.settings, replay=None)
            self._guard = Guard(settings, self.prompts, Path(folder) / "traffic.sqlite")
            self._opened.callback(self._guard.close)
        return self._guard

    def refusal(self) -> str:
        """The newest HTTP error of the run, in words."""
        return self._record.refusal()

    def failures(self, question: Question) -> dict[str, str]:
        """Why the run itself had no usable answer to a question, by phase."""
        found = {phase: self._record.find(question.key, phase) for phase in self._record.counts()}
        return {phase: asked.cause for phase, asked in found.items() if asked is not None and asked.cause}


def _reason(question: Question, answer: Asked) -> str:
    """Why an answer could not be used, in a sentence; empty where it could."""
    try:
        question.check(answer.text)
    except AnswerError as error:
        if error.cause == answer.cause:
            return f"{answer.cause}: {error}"
    said = REASONS.get(answer.cause, "")
    if answer.cause.startswith("http "):
        reason = f", and said {quoted(answer.text, 200)}" if answer.text else ""
        said = f"the endpoint answered with status {answer.cause.removeprefix('http ')}{reason}"
    elif said and answer.text:
        said = f"{said}: {quoted(answer.text, 200)}"
    return f"{answer.cause}: {said}" if said else answer.cause


def show(explained: Explained) -> None:
    """Print question, answer and plan."""
    question, answer, plan = explained.question, explained.answer, explained.plan
    print(f"user {explained.user} of the {explained.split} users, plan made after {explained.slates} slates")
    if explained.user not in explained.judged:
        shown = ", ".join(map(str, explained.judged[:SHOWN])) + (", …" if len(explained.judged) > SHOWN else "")
        print(f"not judged by this run, so what its record does not hold is asked now; users judged: {shown}")
    for title, text in (("system", question.system), ("user", question.user)):
        _section(title, text)
    _section(f"answer, from {explained.source}", answer.text or "none")
    print("\n--- plan ---")
    print(f"allowed    {_named(plan.allowed, explained.names)}")
    print(f"avoided    {_named(plan.avoid, explained.names)}")
    if explained.fallback:
        print(f"fallback   {explained.fallback} planned, because of {visible(explained.reason)}")
        if explained.refusal:
            print(f"before     the endpoint had answered {visible(explained.refusal)}")
    else:
        print(f"rationale  {quoted(plan.rationale, 200)}")
    for phase, cause in explained.recorded.items():
        print(f"recorded   {cause}, when the run asked this in its phase {phase!r}")
    print(f"asked      {answer.model}; {_effort([answer])}")
    print(f"sent now   {_effort(explained.sent)}")


def _effort(answers: Sequence[Asked]) -> str:
    names = ("attempts", "prompt_tokens", "completion_tokens", "seconds")
    requests, prompt, completion, seconds = (sum(getattr(answer, name) for answer in answers) for name in names)
    return f"requests: {requests}; tokens: {prompt:,} and {completion:,}; {seconds:.2f} s"


def _section(title: str, text: str) -> None:
    print(f"\n--- {title} ---\n{visible(text).rstrip()}")


def _named(categories: tuple[int, ...], names: tuple[str, ...]) -> str:
    return ", ".join(f"{category} {quoted(names[category])}" for category in categories) or "none"
