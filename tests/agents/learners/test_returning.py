"""What coming back is worth: formulas by hand, lives as a plain loop sees them, limits, and that it is learned."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from lerl.agents.base import TaskSpec
from lerl.agents.config import ReturningConfig, TrainConfig
from lerl.agents.hierarchical import HierarchicalAgent, Hierarchy
from lerl.agents.learners import returning
from lerl.agents.learners.callback import Report
from lerl.agents.learners.checkpoint import read_checkpoint, write_checkpoint
from lerl.agents.learners.encoders import CategoryEncoder
from lerl.agents.learners.registry import LEARNERS, new_model, new_view
from lerl.agents.learners.returning import WINDOW, ComingSessions, ReturningSessions
from lerl.agents.learners.virtual_items import PolicyScorer, VirtualItemEnv
from lerl.envs.config import Boredom, Drift, Fatigue, Leave, Satisfaction
from lerl.envs.population import Population
from lerl.envs.session import SessionVectorEnv
from lerl.envs.sessions.config import Churn, Gap, Habit, Memory, Return

HALF = 1 / math.log(2)
"""Days of discount at which a day counts half."""
LIFE: dict[str, Any] = {
    "slate_size": 3, "max_steps": 6, "topic_count": 5, "horizon": "days", "days": 6.0,
    "return_": Return(churn=Churn(highest=0.5, threshold=0.6)), "autoreset_mode": AutoresetMode.DISABLED,
}  # fmt: skip


def numbers(*values: float) -> np.ndarray:
    return np.array(values, np.float64)


def told(coming: ComingSessions, x: Any, rewards: Any, gaps: Any, gone: Any = (), over: Any = ()) -> np.ndarray:
    """Sessions of people 0, 1, ... that end; the rest of x is 0."""
    count = len(rewards)
    seen = np.zeros((count, 5))
    seen[:, : np.shape(x)[1]] = x
    ends = np.isin(np.arange(count), gone), np.isin(np.arange(count), over)
    return coming.add(np.arange(count), seen, numbers(*rewards), numbers(*gaps), ends)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is added to a diagonal that counts, and few sessions are enough."""
    monkeypatch.setattr(returning, "RIDGE", 1e-9)
    monkeypatch.setattr(returning, "ENOUGH", 1)


def test_what_comes_after_is_what_the_formula_says(at_once: None):
    """One person, x = 1. First d = 0.5, then R' = 4, and the person is gone: (1 - 0.5 + 1) w = 0.5 * 4."""
    coming = ComingSessions(HALF, 1)
    told(coming, [[1]], [9], [1])
    fade = math.exp(-1 / WINDOW)
    told(coming, [[1]], [4], [7], gone=[0])
    assert coming.weights()[0] == pytest.approx(0.5 * 4 / 1.5)
    np.testing.assert_allclose(coming.sums, [fade + 1, 9 * fade + 4, 0.5 * fade])


def test_who_had_not_come_back_counts_by_a_forecast(at_once: None):
    """d = 0.5 and 0 first, then two days are left: 0.25 * mean(d), and the mean R as the next one's."""
    coming = ComingSessions(HALF, 2)
    told(coming, [[1], [1]], [4, 2], [1, 7], gone=[1])
    told(coming, [[1]], [6], [2], over=[0])
    fade = math.exp(-1 / WINDOW)
    d = 0.25 * 0.25
    mean = (6 * fade + 6) / (2 * fade + 1)
    # The end of the one who is gone, the way from the first session to the second, and from there to the forecast.
    found = (0.5 * 6 + d * mean) / (fade + (1 - 0.5) + (1 - d))
    assert coming.weights()[0] == pytest.approx(found, rel=1e-6)


def test_what_a_constant_value_is_worth_is_the_sum_over_a_life():
    """Sessions of reward 3 every two days for ever: 3 * (0.25 + 0.0625 + ...) are yet to come after one."""
    coming = ComingSessions(HALF, 2)
    for _ in range(500):
        part = told(coming, [[1], [1]], [3, 3], [2, 2])
    assert coming.weights()[0] == pytest.approx(3 * sum(0.25**n for n in range(1, 100)), rel=1e-4)
    np.testing.assert_allclose(part, 0, atol=1e-9)  # what all have in common teaches nothing


def test_a_planted_effect_of_sessions_on_returns_is_found_and_counts_for_later_ones_too():
    """d = 0.5 + 0.3 z at random z, each session worth 1: W = d * (1 + mean W), mean W = 1, so that W = 1 + 0.6 z. The
    gaps are those of d with luck: two thirds of the ends are followed by none or twice of it."""
    draw, coming = np.random.default_rng(0), ComingSessions(1.0, 50)
    for _ in range(400):
        z = draw.uniform(-1, 1, 50)
        d = np.clip((0.5 + 0.3 * z) * (1 + 0.2 * draw.choice([-1, 0, 1], 50)), 1e-9, 1)
        part = told(coming, np.column_stack([np.ones(50), z]), [1] * 50, -np.log(d))
    np.testing.assert_allclose(coming.weights()[:2], [1, 0.6], atol=0.05)
    np.testing.assert_allclose(part, 0.6 * z, atol=0.08)


def test_with_no_days_nothing_is_added():
    coming = ComingSessions(1e-9, 2)
    for _ in range(400):
        assert not told(coming, [[1, 0.3], [1, -0.2]], [5, 7], [1, 3]).any()
    assert coming.sums[0] > returning.ENOUGH


def test_few_sessions_add_nothing():
    assert not told(ComingSessions(7.0, 2), [[1, 1], [1, 0]], [5, 7], [1, 3]).any()


def by_loop(env: SessionVectorEnv, given: list[np.ndarray], days: float) -> list[dict[str, Any]]:
    """What `ReturningSessions` should say, from lives alone, in plain Python."""
    env.reset(seed=3)
    people: list[dict[str, Any]] = [{"earlier": 0.5, "before": None, "R": [], "lately": 0.5} for _ in given[0]]
    pairs: list[tuple[float, np.ndarray, float, np.ndarray, float]] = []  # share, x, d, x', R'
    ends: list[tuple[float, np.ndarray, float, float]] = []  # share, x, R, d
    kept = []
    for slates in given:
        assert env.lives is not None
        began, number = env.lives.day.copy(), env.lives.sessions.copy()
        _, rewards, gone, over, _ = env.step(slates)
        ended = []
        for row, one in enumerate(people):
            one["R"].append(rewards[row])
            one["lately"] += 0.2 * (rewards[row] - one["lately"])
            if gone[row] or over[row] or env.lives.sessions[row] > number[row]:
                ended.append(row)
        mean = sum(share * d for share, _, _, d in ends) / max(sum(share for share, *_ in ends), 1)
        fade = math.exp(-len(ended) / WINDOW)
        pairs, ends = [(s * fade, *rest) for s, *rest in pairs], [(s * fade, *rest) for s, *rest in ends]
        new, last = {}, []
        for row in ended:
            one = people[row]
            one["earlier"] += 0.2 * (one["lately"] - one["earlier"])
            total, length = sum(one["R"]), len(one["R"])
            x = numbers(1, one["lately"] - 0.5, one["earlier"] - 0.5, total / length - 0.5, length / 6)
            d = math.exp(-(env.lives.day[row] - began[row]) / days)
            d = math.exp(-(env.simulator.config.days - began[row]) / days) * mean if over[row] else d
            d = 0.0 if gone[row] else d
            new[row] = x
            ends.append((1.0, x, total, d))
            if one["before"] is not None:
                pairs.append((1.0, *one["before"], x, total))
            if gone[row] or over[row]:
                last.append((x, d))
            people[row] = {"earlier": one["earlier"], "before": (x, d), "R": [], "lately": 0.5}
            if gone[row] or over[row]:
                people[row] |= {"earlier": 0.5, "before": None}
        shares = sum(share for share, *_ in ends)
        average = sum(share * total for share, _, total, _ in ends) / max(shares, 1e-9)
        pairs += [(1.0, x, d, x, average) for x, d in last]
        part = np.zeros(len(people))
        if ended and shares >= returning.ENOUGH:
            matrix = sum(s * np.outer(x, x - d * after) for s, x, d, after, _ in pairs) + returning.RIDGE * np.eye(5)
            w = np.linalg.solve(matrix, sum(s * x * d * total for s, x, d, _, total in pairs))
            middle = sum(share * x for share, x, _, _ in ends) / shares
            for row in ended:
                part[row] = w @ (new[row] - middle)
        kept.append({"ended": ended, "part": part, "gone": gone, "over": over, "rewards": rewards})
        if (gone | over).any():
            env.reset(options={"reset_mask": gone | over})
    return kept


def test_sessions_end_and_add_as_a_plain_loop_over_lives_says(population: Population, monkeypatch: Any):
    monkeypatch.setattr(returning, "ENOUGH", 30)
    given = [(np.arange(10)[:, None] * 7 + step * 5 + np.arange(3) * 11) % 60 for step in range(60)]
    found = by_loop(SessionVectorEnv(population, 10, **LIFE), given, 4.0)
    env = ReturningSessions(population, 10, 4.0, **LIFE)
    env.reset(seed=3)
    for step, (slates, one) in enumerate(zip(given, found, strict=True)):
        seen, rewards, ended, cut, infos = env.step(slates)
        np.testing.assert_array_equal(rewards, one["rewards"])
        assert np.flatnonzero(ended).tolist() == one["ended"]
        assert not cut.any()
        np.testing.assert_allclose(infos["return_part"], one["part"], rtol=1e-6, atol=1e-9, err_msg=str(step))
        if ended.any():
            seen, _ = env.reset(options={"reset_mask": ended})
            assert (seen["time_left"][ended] == 1).all()
    assert min(sum(one[how].sum() for one in found) for how in ("gone", "over")) > 3
    assert sum(int((one["part"] != 0).sum()) for one in found) > 30


def test_it_goes_on_from_a_checkpoint(population: Population, tmp_path: Path, at_once: None):
    env = ReturningSessions(population, 10, 4.0, **LIFE)
    env.reset(seed=3)

    def played(count: int) -> list[Any]:
        kept = []
        for step in range(count):
            _, _, ended, _, infos = env.step((np.arange(10)[:, None] * 7 + step * 5 + np.arange(3) * 11) % 60)
            kept.append((ended, infos["return_part"]))
            if ended.any():
                env.reset(options={"reset_mask": ended})
        return kept

    played(20)
    write_checkpoint(env.snapshot(), tmp_path / "users.pt")
    first = played(20)
    env.restore(read_checkpoint(tmp_path / "users.pt"))
    for (ended, part), (ended_again, part_again) in zip(first, played(20), strict=True):
        np.testing.assert_array_equal(ended, ended_again)
        np.testing.assert_array_equal(part, part_again)


def view(task: TaskSpec, env: SessionVectorEnv, start: str = "taste") -> VirtualItemEnv:
    made = VirtualItemEnv(env, Hierarchy(task, env.num_envs, attentive=True), CategoryEncoder(task, False), start, 0.1)
    made.seed(5)
    return made


def test_a_learner_gets_it_with_the_last_reward_and_nothing_beyond_the_end(
    task: TaskSpec, population: Population, at_once: None
):
    env = ReturningSessions(population, 10, 4.0, **LIFE)
    learned, happened, step = view(task, env), [], env.step
    env.step = lambda slates: (happened.append(step(slates)), happened[-1])[1]  # type: ignore[method-assign]
    learned.reset()
    returns, ends, time = np.zeros(10), 0, 5 * 5 + 2 * 5 + 2
    for _ in range(40):
        features, rewards, dones, infos = learned.step(np.zeros((10, 5), np.float32))
        _, real, ended, _, infos_ = happened[-1]
        returns += real
        np.testing.assert_array_equal(dones, ended)
        np.testing.assert_allclose(rewards, 0.1 * (real + infos_["return_part"]), rtol=1e-5, atol=1e-6)
        for row in np.flatnonzero(dones):
            assert "terminal_observation" not in infos[row]  # a session that is cut has no more to come either
            assert infos[row]["episode"]["r"] == pytest.approx(returns[row])
            assert features[row, time] == 1  # the next session
        returns[dones] = 0
        ends += int((infos_["return_part"] != 0).sum())
    assert ends > 30


def test_lives_are_discounted_over_days_only(task: TaskSpec, population: Population, make_env: Any):
    small = TrainConfig(steps=64, users=10, rollout=8, batch_size=16, epochs=1, hidden=8, gamma=0.8)
    assert new_model("ppo", view(task, ReturningSessions(population, 10, 4.0, **LIFE)), small, 0).gamma == 1
    assert new_model("ppo", view(task, make_env(10)), small, 0).gamma == 0.8


@pytest.mark.parametrize("name", [name for name, learner in LEARNERS.items() if not learner.off_policy])
def test_every_learner_without_a_replay_buffer_learns_from_it(name: str, task: TaskSpec, population: Population):
    k = 3 if LEARNERS[name].reach else 1
    small = TrainConfig(steps=80, users=10, rollout=8, batch_size=16, epochs=1, hidden=8)
    env = ReturningSessions(population, 10, 4.0, **LIFE | {"slate_size": k})
    hierarchy = Hierarchy(replace(task, slate_size=k), 10, attentive=True)
    learned = new_view(name, env, hierarchy, CategoryEncoder(hierarchy.task, False), small)
    learned.seed(5)
    model = new_model(name, learned, small, 0).learn(160)
    assert all(bool(weights.isfinite().all()) for weights in model.policy.parameters())
    assert env.coming.sums[0] > 10


@pytest.mark.parametrize("days", [0, 40_000])
def test_days_are_checked(days: float):
    with pytest.raises(ValueError, match=r"train\.returning\.days must be "):
        ReturningConfig(days=days)


def test_it_gives_up_reward_where_that_brings_people_back(by_hand: Callable[..., Population], make_env: Any, play: Any):
    """People like half the items (0.88 against 0.12), and stay away for weeks when the last slate was liked.

    A life of liked slates only is worth little more than one session of 4 * 0.88 at a discount of a day; whoever shows
    what is disliked last gives up 0.76 and meets people again within hours.
    """
    draw = np.random.default_rng(0)
    items = np.column_stack([np.repeat([1.0, -1.0], 20), 0.2 * draw.normal(size=40)])
    people = by_hand(items, np.tile([2.0, 0.0], (16, 1)), np.repeat(np.eye(2), 20, axis=0))
    unknown = replace(people, knowledge=replace(people.knowledge, tastes=np.zeros((16, 3), np.float32)))
    task = TaskSpec(people.catalog, unknown.knowledge, people.catalog.categories, 2, 4, 0)
    gap = Gap(person=0, session=-8, memory=0, habit=0)
    how: dict[str, Any] = {
        "slate_size": 2, "max_steps": 4, "topic_count": 2, "leave": Leave("never"), "drift": Drift(enabled=False),
        "boredom": Boredom(enabled=False), "fatigue": Fatigue(enabled=False), "satisfaction": Satisfaction(rate=1.0),
    }  # fmt: skip
    off = Return(gap, Memory(enabled=False), Habit(enabled=False), Churn(enabled=False))
    lives = how | {"horizon": "days", "return_": off, "autoreset_mode": AutoresetMode.DISABLED}
    settings = TrainConfig(
        users=32, rollout=8, batch_size=64, epochs=4, hidden=16, log_std=-0.5, last_log_std=-2.0, learning_rate=3e-3
    )

    def last_reward(days: float) -> float:
        env = ReturningSessions(unknown, 32, days, **lives)
        model = new_model("ppo", view(task, env, "nothing"), settings, 0)
        model.learn(16_000, callback=Report(lambda _: None, lambda _: None, (0.0, -2.0)))
        scorer = PolicyScorer(model.policy, CategoryEncoder(task, False), "nothing", deterministic=False)
        agent = HierarchicalAgent(Hierarchy(task, 64, attentive=True), scorer)
        return float(play(make_env(64, of=unknown, **how), agent, seed=1000)[1][-1].mean())

    assert last_reward(1e-9) > 0.75  # of sessions alone
    assert last_reward(1.0) < 0.4
