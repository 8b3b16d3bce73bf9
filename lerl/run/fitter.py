"""Fits the agents of one task: planners first, then policies; parts that several agents share are fitted once."""

from collections.abc import Sequence
from pathlib import Path

from lerl.agents.base import Agent
from lerl.agents.sasrec import clicked, fit_sasrec
from lerl.report.metrics import session_totals
from lerl.run.agent_factory import AgentFactory
from lerl.run.artifacts import ArtifactStore, Point
from lerl.run.context import FitContext, Report
from lerl.run.fit_belief import fit_belief
from lerl.run.fit_planner import FittedPlanners
from lerl.run.fit_policy import fit_policy
from lerl.run.specs import BELIEF, SASREC, AgentSpec
from lerl.run.task import Task

MMR_WEIGHTS = (0.1, 0.3, 1.0, 3.0, 10.0)


class Fitter:
    """Fits agents and makes them; close it, so that what a chat model cost is written.

    Args:
        task: the task. folder: where fitted parts are kept, see `ArtifactStore`. report: called as work goes on.
        how: to go on once a damaged part was removed; without it, by resuming the run in the folder.
        traffic: file of the questions to a chat model; one in the folder where None.

    Attributes:
        context: what all fitting shares. planners: fitted when they are first needed. factory: makes agents.
    """

    def __init__(self, task: Task, folder: Path, report: Report, how: str = "", traffic: Path | None = None) -> None:
        self.context = FitContext(task, ArtifactStore(folder, how), report, traffic)
        self.planners = FittedPlanners(self.context)
        self.factory = AgentFactory(task, self.context.store)

    def fit(self, spec: AgentSpec) -> None:
        """Fit what an agent needs and is not there yet."""
        store, fitted = self.context.store, self.planners.get(spec.planner)
        if spec.learner and not store.has_policy(spec):
            fit_policy(spec, fitted, self.context)
        if spec.baseline == SASREC and not store.next_item_path.is_file():
            fit_next_item(self.context)
        if spec.baseline == BELIEF and not store.belief_path.is_file():
            fit_belief(self.context)
        if spec.diverse and not store.diversity_path(spec).is_file():
            self._fit_diversity(spec)

    def lacks(self, spec: AgentSpec) -> bool:
        """Whether some file that an agent needs is not there: it was not fitted yet, or the file was removed since."""
        return self.context.store.lacks(spec, self.planners.kept(spec.planner))

    def curves(self, specs: Sequence[AgentSpec]) -> list[Point]:
        """The learning curves of fitted agents, each policy's once."""
        return self.context.store.curves(specs)

    def agent(self, spec: AgentSpec, deterministic: bool = False) -> Agent:
        """A fitted agent; what a chat model plans for it is counted under it from here on."""
        self.context.chat.enter("", None)
        planner = self.planners.get(spec.planner).planner
        self.context.chat.enter(f"evaluate {spec.label}{'@det' if deterministic else ''}", planner)
        return self.factory.agent(spec, planner, deterministic)

    def close(self) -> None:
        """Write what the chat model cost, and let go of its endpoint and files."""
        self.context.chat.close()

    def _fit_diversity(self, spec: AgentSpec) -> None:
        """Choose the weight of maximal marginal relevance by cumulative reward on training users."""
        self.context.chat.enter(f"tune {spec.label}", self.planners.get(spec.planner).planner)
        tried = {}
        for number, weight in enumerate(MMR_WEIGHTS):
            agent = self.factory.reranked(spec, self.planners.get(spec.planner).planner, weight)
            tried[weight] = float(session_totals(self.context.validate(agent).rewards).mean())
            self.context.report(f"{spec.label} weight {weight}", number + 1, len(MMR_WEIGHTS), None)
        self.context.store.save_diversity(spec, max(tried, key=lambda weight: tried[weight]), tried)


def fit_next_item(context: FitContext) -> None:
    """Learn to rank the next item from what training users are known to have clicked; nothing is simulated for it."""
    task, train, store = context.task, context.task.config.train, context.store
    checkpoint = store.checkpoint(SASREC, train.checkpoint)
    network = fit_sasrec(
        clicked(task.population.known(task.population.users("train"))),
        len(task.population.catalog),
        train.hidden,
        train.learning_rate,
        seed=task.seed(SASREC),
        checkpoint=checkpoint.path,
        report=lambda done, total, newest: context.report(SASREC, done, total, newest),
    )
    store.save_next_item(network)
    checkpoint.remove()
