"""Fits the agents of one task: planners first, then policies; parts that several agents share are fitted once."""

from collections.abc import Sequence
from pathlib import Path

from lerl.agents.base import Agent
from lerl.agents.composite.agent import ROWS as COMPOSITE
from lerl.agents.next_item.agent import clicked
from lerl.config.schema import AUTO
from lerl.envs.sequences import Lists
from lerl.envs.texts import catalog_texts
from lerl.report.metrics import session_totals
from lerl.run.agent_factory import AgentFactory
from lerl.run.artifacts import ArtifactStore, Point
from lerl.run.choose import choose
from lerl.run.context import FitContext, Report
from lerl.run.fit_belief import fit_belief
from lerl.run.fit_composite import fit_composite
from lerl.run.fit_planner import FittedPlanners
from lerl.run.fit_policy import fit_policy
from lerl.run.fit_prices import fit_prices
from lerl.run.learned_axis import settled
from lerl.run.specs import AgentSpec, candidates
from lerl.run.task import Task

MMR_WEIGHTS = (0.1, 0.3, 1.0, 3.0, 10.0)


class Fitter:
    """Fits agents and makes them; close it, so that what a chat model cost is written.

    Args:
        task: the task. folder: where fitted parts are kept, see `ArtifactStore`. report: called as work goes on.
        how: to go on once a damaged part was removed; without it, by resuming the run in the folder.
        traffic: file of the questions to a chat model; one in the folder where None.

    Attributes:
        context: what all fitting shares, with the task on the axis that agents plan on. planners: fitted when they are
            first needed. factory: makes agents.
    """

    def __init__(self, task: Task, folder: Path, report: Report, how: str = "", traffic: Path | None = None) -> None:
        store = ArtifactStore(folder, how)
        self.context = FitContext(settled(task, store), store, report, traffic)
        self.planners = FittedPlanners(self.context)
        self.factory = AgentFactory(self.context.task, store)

    def fit(self, spec: AgentSpec) -> None:
        """Fit what an agent needs and is not there yet."""
        if spec.baseline == AUTO:
            self._fit_choice()
            return
        store = self.context.store
        if self._lacks_belief(spec):
            self._fit_belief()
        fitted = self.planners.get(spec.planner, spec.believes)
        if spec.learner and not store.has_policy(spec):
            fit_policy(spec, fitted, self.context)
        if spec.composite and not store.composite_path(spec.composite).is_file():
            fit_composite(spec.composite, self.context)
        if spec.next_item and not store.has_next_item(spec.next_item):
            fit_next_item(spec.next_item, self.context)
        if spec.priced and not store.prices_path(spec).is_file():
            fit_prices(spec, self.context)
        if spec.diverse and not store.diversity_path(spec).is_file():
            self._fit_diversity(spec)

    def lacks(self, spec: AgentSpec) -> bool:
        """Whether some file that an agent needs is not there: it was not fitted yet, or the file was removed since."""
        if spec.baseline == AUTO:
            return not self.context.store.choice_path.is_file() or self.lacks(self.chosen(spec))
        if self._lacks_belief(spec):
            return True
        return self.context.store.lacks(spec, self.planners.kept(spec.planner, spec.believes))

    def curves(self, specs: Sequence[AgentSpec]) -> list[Point]:
        """The learning curves of fitted agents, each policy's once."""
        return self.context.store.curves(specs)

    def steps(self, spec: AgentSpec) -> int:
        """User-steps of training users that an agent learned from, a planner's own lessons apart; for `auto` those of
        all candidates and of the choice."""
        store, specs, found = self.context.store, [spec], 0
        if spec.baseline == AUTO:
            specs = candidates(self.context.task.config)
            found = store.load_choice(specs)[1]
        found += sum(store.composite_steps(name) for name in sorted({one.composite for one in specs if one.composite}))
        if any(one.believes for one in specs):
            found += store.belief_steps()
        found += sum(store.load_prices(one)[1] for one in specs if one.priced)
        points = [point for point in self.curves(specs) if point["agent"] not in COMPOSITE]
        last: dict[str, int] = {point["agent"]: point["steps"] for point in points}
        return found + sum(last.values())

    def chosen(self, spec: AgentSpec) -> AgentSpec:
        """What `auto` chose; any other agent is itself."""
        if spec.baseline != AUTO:
            return spec
        return self.context.store.load_choice(candidates(self.context.task.config))[0]

    def agent(self, spec: AgentSpec, deterministic: bool = False) -> Agent:
        """A fitted agent, for `auto` the one that it chose; what a chat model plans for it is counted under it from
        here on."""
        return self._agent(self.chosen(spec), f"evaluate {spec.label}{'@det' if deterministic else ''}", deterministic)

    def _agent(self, spec: AgentSpec, phase: str, deterministic: bool = False) -> Agent:
        self.context.chat.enter("", None)
        planner, lessons = self.planners.get(spec.planner, spec.believes)
        self.context.chat.enter(phase, planner)
        return self.factory.agent(spec, planner, deterministic, early=lessons > 0)

    def close(self) -> None:
        """Write what the chat model cost, and let go of its endpoint and files."""
        self.context.chat.close()

    def _lacks_belief(self, spec: AgentSpec) -> bool:
        """Whether what was learned of people and items is needed, by the agent or by the axis, and not there."""
        planned = self.context.task.config.planner.axis == "learned"
        early = planned or spec.planner is not None
        return (planned or spec.believes) and not self.context.store.has_belief(early)

    def _fit_belief(self) -> None:
        """Learn people and items, and plan on the topics found where the axis is learned."""
        fit_belief(self.context)
        self.context.settle(settled(self.context.task, self.context.store))
        self.factory = AgentFactory(self.context.task, self.context.store)

    def _fit_choice(self) -> None:
        """Fit all candidates and choose; where it was chosen, see that what was chosen is there."""
        store, specs = self.context.store, candidates(self.context.task.config)
        if store.choice_path.is_file():
            self.fit(store.load_choice(specs)[0])
            return
        for one in specs:
            self.fit(one)
        choice = choose(specs, lambda one: self._agent(one, f"choose {AUTO}: {one.label}"), self.context)
        store.save_choice(choice._asdict())

    def _fit_diversity(self, spec: AgentSpec) -> None:
        """Choose the weight of maximal marginal relevance by cumulative reward on training users."""
        self.context.chat.enter(f"tune {spec.label}", self.planners.get(spec.planner).planner)
        tried = {}
        for number, weight in enumerate(MMR_WEIGHTS):
            agent = self.factory.reranked(spec, self.planners.get(spec.planner).planner, weight)
            tried[weight] = float(session_totals(self.context.validate(agent).rewards).mean())
            self.context.report(f"{spec.label} weight {weight}", number + 1, len(MMR_WEIGHTS), None)
        self.context.store.save_diversity(spec, max(tried, key=lambda weight: tried[weight]), tried)


def fit_next_item(name: str, context: FitContext) -> None:
    """Have a recommender learn what comes next from training users' known clicks, without simulation."""
    task, store = context.task, context.store
    checkpoint = store.checkpoint(name, task.config.train.checkpoint)
    row = store.new_next_item(name, task)
    row.learn(
        Lists.of(clicked(task.population.known(task.population.users("train")))),
        seed=task.seed(name),
        checkpoint=checkpoint.path,
        report=lambda done, total, newest: context.report(name, done, total, newest),
    )
    for note in dict.fromkeys((*(catalog_texts(task.population.catalog).notes if row.reads_texts else ()), *row.notes)):
        context.report(f"{name} learned", 1, 1, note)
    store.save_next_item(name, row)
    for beside in checkpoint.path.parent.glob(f"{name}-*.pt"):  # of a teacher
        beside.unlink()
    checkpoint.remove()
