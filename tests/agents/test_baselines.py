"""Floors and the ceiling; the ceiling against every sequence of items there is."""

import copy
import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lerl.agents import privileged
from lerl.agents.base import TaskSpec
from lerl.agents.baselines import BASELINES, PopularityAgent, RandomAgent
from lerl.agents.privileged import PrivilegedAgent
from lerl.envs.config import Boredom, Drift, Leave, RepetitionWindow, SatisfactionHazard, Similarity, StepBudget
from lerl.envs.population import Kinds, Population
from lerl.envs.session import SessionVectorEnv
from lerl.envs.simulator import UserSimulator
from lerl.envs.state import Outcome
from lerl.envs.synthetic import synthetic_population

MakeEnv = Callable[..., SessionVectorEnv]
Play = Callable[..., tuple[Any, Any]]
NEVER = Leave("never")
RULES = {
    "satisfaction": Leave("satisfaction", satisfaction=SatisfactionHazard(highest=0.5, threshold=0.55)),
    "window": Leave("window", window=RepetitionWindow(window=3, most=2)),
    "budget": Leave("budget", budget=StepBudget(budget=6.0)),
}


@pytest.mark.parametrize("agent", [RandomAgent, PopularityAgent])
def test_floors_never_show_an_item_twice(agent: Any, task: TaskSpec, make_env: MakeEnv, play: Play):
    slates, _ = play(make_env(5, leave=NEVER), agent(task, 5))
    for row in range(5):
        assert len(set(slates[:, row].ravel().tolist())) == 18


def test_random_is_uniform_over_what_was_not_shown(task: TaskSpec, make_env: MakeEnv, play: Play):
    slates, _ = play(make_env(2000, leave=NEVER), RandomAgent(task, 2000))
    for shown, number in ((slates, 18), (slates[0], 3), (slates[5, :, :1], 1)):  # all, the first, the last step's top
        counts = np.bincount(shown.ravel(), minlength=60)
        share = number / 60
        np.testing.assert_allclose(counts, 2000 * share, atol=5 * np.sqrt(2000 * share * (1 - share)))


def test_random_depends_on_the_session_alone(task: TaskSpec, make_env: MakeEnv):
    observation, _ = make_env(4).reset(seed=0)
    keys = np.array([9, 8, 7, 6], np.uint64)
    together, alone = RandomAgent(task, 4), RandomAgent(task, 1)
    together.begin(np.arange(4), observation, keys)
    part = {name: value[2:3] for name, value in observation.items()}
    alone.begin(np.arange(1), part, keys[2:3])
    np.testing.assert_array_equal(alone.act(part)[0], together.act(observation)[2])


def test_popularity_goes_down_the_list_for_everybody(task: TaskSpec, make_env: MakeEnv, play: Play):
    slates, _ = play(make_env(3, leave=NEVER), PopularityAgent(task, 3))
    order = np.argsort(-task.knowledge.popularity, kind="stable")
    for row in range(3):
        assert slates[:, row].ravel().tolist() == order[:18].tolist()


@pytest.mark.parametrize("agent", [RandomAgent, PopularityAgent])
def test_floors_go_on_when_the_catalog_is_used_up(agent: Any, task: TaskSpec, make_env: MakeEnv, play: Play):
    long = dataclasses.replace(task, slate_size=7, max_steps=10)
    _, rewards = play(make_env(2, leave=NEVER, slate_size=7, max_steps=10), agent(long, 2))
    assert rewards[:8].any()
    assert not rewards[9].any()


# The ceiling, where the whole truth can be listed.

USERS = [[1.2, 0.2], [0.4, 1.0], [0.9, 0.9], [-0.3, 0.6], [2.0, -1.0], [0.1, 0.1]]
SIX = [[1.0, 0.1], [0.8, -0.2], [0.5, 0.3], [0.1, 1.0], [-0.2, 0.8], [0.3, 0.4]]
TWO_TOPICS = [[1, 0]] * 3 + [[0, 1]] * 3


def tiny_env(people: Population, make_env: MakeEnv, rule: str, repeats: bool, horizon: int = 5) -> SessionVectorEnv:
    """One item a slate, 5 steps, boredom strong enough to matter; all that chance decides is clicks and leaving."""
    env = make_env(
        len(USERS), of=people, slate_size=1, max_steps=horizon, topics="categories", repeats=repeats,
        drift=Drift(enabled=False), boredom=Boredom(weight=2.0, time_constant=3.0), leave=RULES[rule],
    )  # fmt: skip
    env.reset(seed=0, options={"users": np.arange(len(USERS))})
    return env


class Value:
    """Expected sum of rewards of B users along a path: true chances weighted by the chance of being there still."""

    def __init__(self, count: int) -> None:
        self.total, self.there = np.zeros(count), np.ones(count)

    def add(self, outcome: Outcome) -> None:
        self.total += self.there * outcome.chance.mean(axis=1)
        self.there *= 1 - outcome.leave_chance


def values_of_all(env: SessionVectorEnv, repeats: bool) -> tuple[np.ndarray, np.ndarray]:
    """Every sequence of items (N, T), and what it is worth to each user (B, N)."""
    simulator, items = env.simulator, range(len(env.simulator.population.catalog))
    steps = simulator.config.max_steps
    every = itertools.product(items, repeat=steps) if repeats else itertools.permutations(items, steps)
    paths = np.array(list(every), np.int32)
    values = []
    for user in range(env.num_envs):
        state, value = env.state.take(np.full(len(paths), user)), Value(len(paths))
        for step in range(steps):
            value.add(simulator.step(state, paths[:, step : step + 1]))
        values.append(value.total)
    return paths, np.stack(values)


def value_of_privileged(env: SessionVectorEnv, task: TaskSpec) -> np.ndarray:
    """What its decisions are worth to each user (B,), taken one after the other on the states they lead to."""
    agent, value = PrivilegedAgent(task, env.num_envs), Value(env.num_envs)
    agent.watch(env)
    for _ in range(env.simulator.config.max_steps):
        value.add(env.simulator.step(env.state, agent.act({})))
    return value.total


@pytest.mark.parametrize("repeats", [False, True])
@pytest.mark.parametrize("rule", list(RULES))
def test_privileged_is_near_the_optimum_of_all_sequences(
    rule: str, repeats: bool, by_hand: Callable[..., Population], make_env: MakeEnv
):
    keep = slice(None) if not repeats else slice(1, 5)  # 6 * 5 * 4 * 3 * 2 = 720 sequences, or 4^5 = 1024
    people = by_hand(SIX[keep], USERS, TWO_TOPICS[keep])
    env = tiny_env(people, make_env, rule, repeats)
    task = TaskSpec(people.catalog, people.knowledge, people.catalog.categories, 1, 5, 0)
    paths, values = values_of_all(env, repeats)
    optimum = values.max(axis=1)
    privileged = value_of_privileged(env, task)
    known = people.knowledge
    greedy = []
    for user in range(len(USERS)):
        order = np.argsort(-known.item_vectors @ known.tastes[user], kind="stable")[:5]
        path = np.zeros(5, int) + order[0] if repeats else order  # by taste, boredom ignored
        greedy.append(values[user, (paths == path).all(axis=1)][0])
    assert (privileged <= optimum + 1e-9).all()
    # Where one step too many of a topic ends the session, looking ahead with fixed rules finds somewhat less.
    assert (privileged >= (0.97 if rule == "satisfaction" else 0.95) * optimum).all()
    assert (privileged / optimum).mean() >= 0.97
    assert (privileged >= np.array(greedy) - 1e-9).all()
    assert (privileged > values.mean(axis=1)).all()  # all sequences being alike likely is what random does
    assert (optimum > 1.02 * values.mean(axis=1)).all()  # there is something to find


def test_privileged_weighs_how_alike_the_items_of_a_slate_are(
    by_hand: Callable[..., Population], make_env: MakeEnv, monkeypatch: pytest.MonkeyPatch
):
    people = by_hand(SIX, USERS, TWO_TOPICS)
    task = TaskSpec(people.catalog, people.knowledge, people.catalog.categories, 3, 1, 0)
    every = np.array(list(itertools.permutations(range(len(SIX)), 3)), np.int32)

    def shown() -> tuple[np.ndarray, np.ndarray]:
        """The mean chance of a click on each user's slate (B,), and the best of all slates."""
        env = make_env(
            len(USERS), of=people, slate_size=3, max_steps=1, topics="categories", drift=Drift(enabled=False),
            boredom=Boredom(enabled=False), similarity=Similarity(0.5), leave=NEVER,
        )  # fmt: skip
        env.reset(seed=0, options={"users": np.arange(len(USERS))})
        agent, step = PrivilegedAgent(task, len(USERS)), env.simulator.step
        agent.watch(env)
        best = [step(env.state.take(np.full(len(every), user)), every).chance.mean(axis=1).max() for user in range(6)]
        return step(env.state, agent.act({})).chance.mean(axis=1), np.array(best)

    own, best = shown()
    assert (own >= 0.97 * best).all()
    monkeypatch.setattr(privileged, "LIKENESS", (0.0,))
    blind, _ = shown()
    assert (blind <= own + 1e-9).all()
    assert blind.mean() < 0.95 * best.mean()


def copied(env: SessionVectorEnv) -> dict[str, Any]:
    return copy.deepcopy(dataclasses.asdict(env.state))


def assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    for name, value in one.items():
        if isinstance(value, dict):
            assert_same(value, other[name])
        else:
            np.testing.assert_array_equal(value, other[name], err_msg=name)


@pytest.mark.parametrize("rule", ["satisfaction", "window", "budget"])
def test_looking_ahead_leaves_the_session_as_it_was(rule: str, task: TaskSpec, make_env: MakeEnv):
    env = make_env(6, leave=Leave(rule))
    agent = PrivilegedAgent(task, 6)
    agent.watch(env)
    observation, _ = env.reset(seed=0)
    for _ in range(6):
        before = copied(env)
        slates = agent.act(observation)
        assert_same(copied(env), before)
        going = env.state.active.copy()
        observation, _, terminated, truncated, _ = env.step(slates)
        assert going.all()
        ended = terminated | truncated
        if ended.any():
            observation, _ = env.reset(options={"reset_mask": ended})


def test_what_likeness_costs_one_policy_costs_no_other():
    rng = np.random.default_rng(0)
    best, logits = np.arange(8, dtype=np.int32)[None], np.sort(rng.normal(size=(1, 8)))[:, ::-1].copy()
    topics, units = np.arange(8, dtype=np.int32)[:, None] % 4, rng.normal(size=(8, 3)).astype(np.float32)
    candidates = privileged.Candidates(best, logits, *privileged.chains(best, np.arange(8)))

    def filled(alike: list[float]) -> Any:
        count = len(alike)
        none, steps = np.zeros(count), np.zeros(count, np.int32)
        costs = privileged.Policies(none, none, np.array(alike))
        shown = np.full((count, 6), -1, np.int32)
        now = privileged.Situation(np.zeros((count, 4), np.float32), shown, steps, steps)
        items, repetition = privileged.Items(topics, units), privileged.Repetition(3, False, False, 1)
        owners = np.zeros(count, np.int64)
        return privileged.fill_by_price(candidates, owners, now, items, repetition, costs, 3, False)

    assert filled([0.0]).tolist() == [[0, 1, 2]]
    assert filled([4.0, 0.0])[1].tolist() == [0, 1, 2]


def test_looking_ahead_has_other_draws(task: TaskSpec, make_env: MakeEnv, monkeypatch: pytest.MonkeyPatch):
    env, seeds = make_env(6, leave=NEVER), []
    step = UserSimulator.step

    def spied(self: UserSimulator, state: Any, slates: Any) -> Outcome:
        seeds.append(state.seed.copy())
        return step(self, state, slates)

    agent = PrivilegedAgent(task, 6)
    agent.watch(env)
    observation, _ = env.reset(seed=0)
    with monkeypatch.context() as patch:
        patch.setattr(UserSimulator, "step", spied)
        agent.act(observation)
    assert len(seeds) >= 6
    assert not np.isin(np.concatenate(seeds), env.state.seed).any()


def test_where_topics_change_nothing_for_users_privileged_does_the_same_whatever_they_are(make_env: MakeEnv):
    people = synthetic_population(users=12, items=500, categories=6, dim=6)
    task = TaskSpec(people.catalog, people.knowledge, people.catalog.categories, 3, 2, 0)
    shown = []
    for topics in ("categories", "hidden"):
        env = make_env(
            12, of=people, slate_size=3, max_steps=2, topics=topics, boredom=Boredom(enabled=False),
            similarity=Similarity(0.2), leave=Leave("satisfaction"),
        )  # fmt: skip
        env.reset(seed=0)
        agent = PrivilegedAgent(task, 12)
        agent.watch(env)
        shown.append(agent.act({}))
    np.testing.assert_array_equal(*shown)


def test_privileged_earns_more_than_floors_where_tastes_drift(task: TaskSpec, make_env: MakeEnv, play: Play):
    earned = {}
    for name in ("privileged", "random", "popularity"):
        env, agent = make_env(30, leave=NEVER), BASELINES[name](task, 30)
        if name == "privileged":
            agent.watch(env)
        earned[name] = play(env, agent)[1].sum(axis=0).mean()
    assert earned["privileged"] > 1.1 * max(earned["random"], earned["popularity"])


def test_privileged_goes_for_what_all_kinds_of_feedback_are_worth(
    task: TaskSpec, make_env: MakeEnv, population: Population
):
    """Everybody likes the first 30 items and nobody the others, whatever they click, and a like counts five clicks."""
    likes = np.where(np.arange(60) < 30, 6, -6).astype(np.float32)[None]
    kinds = Kinds(("click", "like"), np.array([1, 5], np.float32), np.zeros(1, np.float32), likes)
    for feedback, all_liked in (("weighted", True), ("click", False)):
        env = make_env(20, of=dataclasses.replace(population, kinds=kinds), feedback=feedback, leave=NEVER)
        agent = PrivilegedAgent(task, 20)
        agent.watch(env)
        observation, _ = env.reset(seed=0)
        assert (agent.act(observation) < 30).all() == all_liked


def test_privileged_without_an_environment_says_what_is_missing(task: TaskSpec):
    with pytest.raises(ValueError, match=r"must watch an environment before it acts; call watch\(env\)"):
        PrivilegedAgent(task, 2).act({})
