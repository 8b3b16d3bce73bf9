"""Agents from their specification: a baseline, or a hierarchy of fitted parts."""

from lerl.agents.base import Agent
from lerl.agents.baselines import BASELINES
from lerl.agents.belief.agent import AS_IN_SESSIONS, BeliefAgent, Prices
from lerl.agents.belief.model import UserModel
from lerl.agents.belief.planned import BeliefMemory, PlannedBeliefAgent
from lerl.agents.composite.agent import CompositeAgent, Outfits
from lerl.agents.hierarchical import HierarchicalAgent
from lerl.agents.learners.encoders import build_encoder
from lerl.agents.learners.registry import Scorer, new_agent, new_scorer
from lerl.agents.next_item.agent import NextItemAgent
from lerl.envs.plugins import blamed, load_plugin
from lerl.planners.base import Planner, with_defaults
from lerl.run.artifacts import ArtifactStore
from lerl.run.specs import AgentSpec
from lerl.run.task import Task


class AgentFactory:
    """Makes agents whose policies, networks and weights are in a store.

    Args:
        task: the task. store: what was fitted for it.
    """

    def __init__(self, task: Task, store: ArtifactStore) -> None:
        self.task, self.store = task, store

    def agent(
        self, spec: AgentSpec, planner: Planner | None, deterministic: bool = False, early: bool = False
    ) -> Agent:
        """A fitted agent.

        Args:
            spec: which. planner: its planner, fitted; None where it has none.
            deterministic: whether its policy acts without sampling.
            early: whether its belief is that before the last round, as its planner's lessons took the rest.

        Raises:
            RunError: a part of it is missing or damaged.
            PluginError: a class of somebody's own cannot be found or made.
        """
        if spec.believes:
            model, count = load_belief(self.task, self.store, early), self.task.config.evaluation.batch_size
            prices = self.store.load_prices(spec)[0] if spec.priced else AS_IN_SESSIONS
            agent = belief_agent(self.task, spec.label, planner, model, count, prices)
            if spec.next_item and isinstance(agent, PlannedBeliefAgent):
                return NextItemAgent(agent.hierarchy, self.store.load_next_item(spec.next_item, self.task))
            return agent
        if spec.composite:
            return composite_agent(self.task, spec.label, planner, self.store.load_composite(spec.composite))
        if spec.baseline is not None:
            return build_agent(spec, self.task)
        weight = self.store.load_diversity(spec) if spec.diverse else 0.0
        return self.reranked(spec, planner, weight, deterministic)

    def reranked(self, spec: AgentSpec, planner: Planner | None, weight: float, deterministic: bool = False) -> Agent:
        """The same with this weight of maximal marginal relevance in the place of the one in the store."""
        if spec.next_item:
            count, row = self.task.config.evaluation.batch_size, self.store.load_next_item(spec.next_item, self.task)
            return NextItemAgent(self.task.hierarchy(spec.label, count, planner, weight), row)
        return hierarchical_agent(self.task, spec.label, planner, self.scorer(spec, deterministic), weight)

    def scorer(self, spec: AgentSpec, deterministic: bool = False) -> Scorer | None:
        """What scores items for an agent: its policy, or None for the taste estimated from history."""
        if spec.learner is None:
            return None
        train = self.task.config.train
        encoder = build_encoder(train.encoder, self.task.task_spec(spec.label), spec.planner is not None, train.history)
        return new_scorer(self.store.load_policy(spec, encoder, train), encoder, train.start, deterministic)


def composite_agent(
    task: Task, label: str, planner: Planner | None, outfits: Outfits | None, explore: float = 0.0
) -> CompositeAgent:
    """An agent that fills slates by a model of wholes, alone or under a planner; at random without a model.

    `explore` is the share of slots that hold any item of their role.
    """
    return CompositeAgent(task.hierarchy(label, task.config.evaluation.batch_size, planner), outfits, explore)


def hierarchical_agent(
    task: Task, label: str, planner: Planner | None, scorer: Scorer | None = None, diversity: float = 0.0
) -> HierarchicalAgent:
    """A planner above a scorer, for `evaluation.batch_size` sessions at once.

    Args:
        task: the task. label: what tables call it, from which its draws come. planner: None for all items.
        scorer: what scores items; None for the estimated taste. diversity: weight of maximal marginal relevance, 0 for
            plain top k.
    """
    count = task.config.evaluation.batch_size
    return new_agent(task.hierarchy(label, count, planner, diversity, attentive=scorer is not None), scorer)


def load_belief(task: Task, store: ArtifactStore, early: bool = False) -> UserModel:
    """What was learned of a task's people and items; see `ArtifactStore.load_belief`."""
    return store.load_belief(len(task.population.catalog), task.population.knowledge.tastes.shape[1] - 1, early)


def belief_agent(
    task: Task,
    label: str,
    planner: Planner | None,
    model: UserModel,
    count: int,
    prices: Prices = AS_IN_SESSIONS,
) -> Agent:
    """An agent with a belief, alone or below a planner, for `count` sessions at once."""
    agent = BeliefAgent(task.task_spec(label), count, model, prices=prices)
    return agent if planner is None else planned_belief_agent(task, label, planner, agent)


def planned_belief_agent(task: Task, label: str, planner: Planner, agent: BeliefAgent) -> PlannedBeliefAgent:
    """A planner above an agent with a belief."""
    memory, count = BeliefMemory(agent.task, agent), len(agent.live)
    return PlannedBeliefAgent(task.hierarchy(label, count, planner, memory=memory))


def build_agent(spec: AgentSpec, task: Task) -> Agent:
    """An agent that needs no fitting: a baseline, or one of somebody's own.

    Raises:
        PluginError: it cannot be found, or cannot be made with a task and a count.
    """
    name = str(spec.baseline)
    own, count = task.task_spec(spec.label), task.config.evaluation.batch_size
    if name in BASELINES:
        return BASELINES[name](own, count)
    made = load_plugin(name, "agents", BASELINES, ("begin", "act"), ("watch",))
    with blamed(f"agents names {name!r}, but {made.__name__}(task, count)"):
        agent: Agent = with_defaults(made, Agent)(own, count)
    return agent
