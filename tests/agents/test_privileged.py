"""The ceiling against agents that are told the true tastes and topics, but do not look ahead."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lerl.agents.base import TaskSpec
from lerl.agents.hierarchical import HierarchicalAgent, Hierarchy
from lerl.agents.privileged import PrivilegedAgent
from lerl.envs.catalog import Axis
from lerl.envs.config import Leave, Similarity, StepBudget
from lerl.envs.population import Knowledge, Population
from lerl.envs.session import SessionVectorEnv
from lerl.envs.state import State
from lerl.envs.synthetic import synthetic_population
from lerl.envs.topics import item_topics
from lerl.planners.rules import build_planner

MakeEnv = Callable[..., SessionVectorEnv]
USERS, K, TOPICS = 32, 4, 8
RULES = {
    "satisfaction": Leave("satisfaction"),
    "window": Leave("window"),
    "slot": Leave("budget", budget=StepBudget(budget=12.0)),
    "shared": Leave("budget", budget=StepBudget(budget=12.0, repetition="shared")),
}
PLANNERS = ("round_robin", "greedy", "boredom", "rotation")


class ToldPrice:
    """Reads taste and boredom: slot by slot the item of highest log-odds minus `price` times the boredom it meets.

    Args:
        price: of a unit of boredom. shun: log-odds, where the leave rule punishes repetition, for the topics of the
            last slate (in the same slot, if `aligned`). like: of the cosine to the items in the slate.
    """

    def __init__(self, price: float, shun: float = 0.0, aligned: bool = False, like: float = 0.0) -> None:
        self.price, self.shun, self.aligned, self.like = price, shun, aligned, like

    def watch(self, env: SessionVectorEnv) -> None:
        """Be given the hidden state."""
        self.env = env

    def begin(self, *_: Any) -> None:
        """Nothing to remember."""

    def act(self, _: Any) -> np.ndarray:
        """Slates (B, k)."""
        simulator, state = self.env.simulator, self.env.state
        member = np.zeros((len(simulator.topics), simulator.topic_count))
        for column in simulator.topics.T:
            member[np.flatnonzero(column >= 0), column[column >= 0]] = 1.0
        mean = member / np.maximum(member.sum(axis=1, keepdims=True), 1)
        everything = np.tile(np.arange(len(member), dtype=np.int32), (len(state), 1))
        chance = simulator.scores(state, everything)
        value = np.log(chance / (1 - chance)) - self.price * state.boredom @ mean.T
        return np.stack([self._slate(row, value[row].copy(), state, member, mean) for row in range(len(state))])

    def _slate(self, row: int, value: np.ndarray, state: State, member: np.ndarray, mean: np.ndarray) -> np.ndarray:
        units, end = self.env.simulator.item_units, int(state.steps[row]) * K
        shown = state.shown[row, :end]
        value[shown[shown >= 0]] = -np.inf
        last, chosen = state.shown[row, max(end - K, 0) : end], []
        for slot in range(K):
            before = last[slot : slot + 1] if self.aligned else last
            repeats = (member @ member[before[before >= 0]].T > 0).any(axis=1)
            chosen.append(int(np.argmax(value - self.shun * repeats)))
            value[chosen[-1]] = -np.inf
            value -= self.price / K * mean @ member[chosen[-1]] + self.like * units @ units[chosen[-1]]
        return np.array(chosen, np.int32)


@pytest.fixture(scope="module")
def people() -> Population:
    """A population whose tastes and vectors agents are told."""
    made = synthetic_population(users=USERS, items=240, categories=TOPICS, dim=8)
    truth, known = made.truth, made.knowledge
    told = Knowledge(
        np.column_stack([truth.item_vectors, truth.item_offsets]).astype(np.float32),
        np.column_stack([truth.user_vectors, np.ones(USERS)]).astype(np.float32),
        truth.user_offsets,
        known.popularity,
    )
    return dataclasses.replace(made, knowledge=told)


def told_task(people: Population, topics: Any, steps: int) -> TaskSpec:
    """What agents know where they are told it all: the topics that users get bored of are what is planned on."""
    groups = item_topics(people, topics, TOPICS)
    member = (groups[:, :, None] == np.arange(TOPICS)).any(axis=1)
    axis = Axis(tuple(f"topic {number}" for number in range(TOPICS)), member)
    return TaskSpec(people.catalog, people.knowledge, axis, K, steps, seed=1)


def earned(env: SessionVectorEnv, agent: Any) -> np.ndarray:
    """Expected rewards of one session each (B,): chances of clicks, weighted by that of being there still.

    Nobody's leaving is drawn, so that all agents are judged with less noise.
    """
    observation, _ = env.reset(seed=0, options={"users": np.arange(env.num_envs)})
    if hasattr(agent, "watch"):
        agent.watch(env)
    agent.begin(np.arange(env.num_envs), observation, np.arange(env.num_envs, dtype=np.uint64))
    value, there = np.zeros(env.num_envs), np.ones(env.num_envs)
    for _ in range(env.simulator.config.max_steps):
        outcome = env.simulator.step(env.state, agent.act(env._session.observe()))
        value += there * outcome.chance.mean(axis=1)
        there *= 1 - outcome.leave_chance
    return value


@pytest.mark.parametrize("likeness", [0.0, 0.2])
@pytest.mark.parametrize("topics", ["hidden", "categories"])
@pytest.mark.parametrize("rule", list(RULES))
def test_no_agent_that_is_told_everything_earns_more(
    rule: str, topics: str, likeness: float, people: Population, make_env: MakeEnv
) -> None:
    steps = 12 if likeness else 30  # likeness has three times as many policies
    task = told_task(people, topics, steps)
    env = make_env(
        USERS, of=people, split="all", axis=task.axis, slate_size=K, max_steps=steps, topics=topics, topic_count=TOPICS,
        leave=RULES[rule], similarity=Similarity(likeness),
    )  # fmt: skip
    ceiling = earned(env, PrivilegedAgent(task, USERS))
    shun = {"satisfaction": 0.0, "window": 0.5}.get(rule, 8.0)
    agents: dict[str, Any] = {"flat": HierarchicalAgent(Hierarchy(task, USERS))}
    for name in PLANNERS:
        agents[name] = HierarchicalAgent(Hierarchy(task, USERS, build_planner(name, 4, 0)))
    for price in (1.5, 2.0):
        agents[f"price {price}"] = ToldPrice(price, shun, rule == "slot", 8 * likeness / K)
    for name, agent in agents.items():
        gain = ceiling - earned(env, agent)
        assert gain.mean() > -2 * gain.std() / len(gain) ** 0.5, (name, gain.mean(), ceiling.mean())
