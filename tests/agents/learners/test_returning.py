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
NOBODY = np.zeros(2, bool)
LIFE: dict[str, Any] = {
    "slate_size": 3, "max_steps": 6, "topic_count": 5, "horizon": "days", "days": 6.0,
    "return_": Return(churn=Churn(highest=0.5, threshold=0.6)), "autoreset_mode": AutoresetMode.DISABLED,
}  # fmt: skip


def numbers(*values: float) -> np.ndarray:
    return np.array(values, np.float64)


def test_an_end_adds_what_the_formula_says():
    """d = 0.5 and 0: mean 0.25, R mean 3, worth 3 / 0.75 = 4; parts 4 * (0.5 - 0.25) and 4 * (0 - 0.25)."""
    coming = ComingSessions(HALF)
    part = coming.add(numbers(4, 2), numbers(1, 7), np.array([False, True]), NOBODY)
    assert coming.worth == pytest.approx(4)
    np.testing.assert_allclose(part, [1, -1])
    # Two days until the last day, and as long again as usual: 0.25 * 0.25. Earlier sessions have faded a little.
    part = coming.add(numbers(6), numbers(2), NOBODY[:1], np.array([True]))
    fade = math.exp(-1 / WINDOW)
    reward, discount, weight = 6 * fade + 6, 0.5 * fade + 0.0625, 2 * fade + 1
    np.testing.assert_allclose(part, reward / (weight - discount) * (0.0625 - discount / weight))


def test_what_a_constant_value_is_worth_is_the_sum_over_a_life():
    """Sessions of reward 3 every two days for ever: 3 * (0.25 + 0.0625 + ...) are yet to come after one."""
    coming = ComingSessions(HALF)
    coming.add(numbers(3, 3), numbers(2, 2), NOBODY, NOBODY)
    assert coming.worth == pytest.approx(3 * sum(0.25**n for n in range(100)))


def test_with_no_days_nothing_is_added_and_with_many_it_is_the_days_saved():
    gaps, rewards = numbers(1, 3), numbers(5, 7)
    assert not ComingSessions(1e-9).add(rewards, gaps, NOBODY, NOBODY).any()
    saved = 6 / 2 * (2 - gaps)  # 6 a session, one every 2 days
    np.testing.assert_allclose(ComingSessions(36_500).add(rewards, gaps, NOBODY, NOBODY), saved, rtol=1e-3)


def test_nothing_is_worth_anything_before_a_session_ended():
    assert (ComingSessions(7.0).worth, ComingSessions(7.0).mean_discount) == (0, 0)
    first = ComingSessions(7.0).add(numbers(2), numbers(1), NOBODY[:1], np.array([True]))
    assert not first.any()  # no mean to forecast from: as one who is gone, like everybody so far


def by_loop(env: SessionVectorEnv, given: list[np.ndarray], days: float) -> list[dict[str, Any]]:
    """What `ReturningSessions` should say, from lives alone, in plain Python."""
    env.reset(seed=3)
    running, seen, told = [0.0] * env.num_envs, [], []
    for slates in given:
        assert env.lives is not None
        began, numbers_ = env.lives.day.copy(), env.lives.sessions.copy()
        _, rewards, gone, over, _ = env.step(slates)
        ended, part = [], [0.0] * env.num_envs
        for row in range(env.num_envs):
            running[row] += rewards[row]
            if gone[row] or over[row] or env.lives.sessions[row] > numbers_[row]:
                ended.append(row)
        mean = sum(w * d for w, _, d in seen) / max(sum(w for w, _, _ in seen), 1e-300)
        seen = [(w * math.exp(-len(ended) / WINDOW), r, d) for w, r, d in seen]
        found = {}
        for row in ended:
            waited = env.lives.day[row] - began[row]
            found[row] = math.exp(-waited / days)
            if gone[row]:
                found[row] = 0.0
            elif over[row]:
                found[row] = math.exp(-(env.simulator.config.days - began[row]) / days) * mean
            seen.append((1.0, running[row], found[row]))
            running[row] = 0.0
        weight = sum(w for w, _, _ in seen)
        for row in ended:
            mean = sum(w * d for w, _, d in seen) / weight
            part[row] = sum(w * r for w, r, _ in seen) / weight / (1 - mean) * (found[row] - mean)
        told.append({"ended": ended, "part": part, "gone": gone, "over": over, "rewards": rewards})
        if (gone | over).any():
            env.reset(options={"reset_mask": gone | over})
    return told


def test_sessions_end_and_add_as_a_plain_loop_over_lives_says(population: Population):
    given = [(np.arange(10)[:, None] * 7 + step * 5 + np.arange(3) * 11) % 60 for step in range(60)]
    told = by_loop(SessionVectorEnv(population, 10, **LIFE), given, 4.0)
    env = ReturningSessions(population, 10, 4.0, **LIFE)
    env.reset(seed=3)
    for step, (slates, one) in enumerate(zip(given, told, strict=True)):
        seen, rewards, ended, cut, infos = env.step(slates)
        np.testing.assert_array_equal(rewards, one["rewards"])
        assert np.flatnonzero(ended).tolist() == one["ended"]
        assert not cut.any()
        np.testing.assert_allclose(infos["return_part"], one["part"], rtol=1e-9, atol=1e-12, err_msg=str(step))
        if ended.any():
            seen, _ = env.reset(options={"reset_mask": ended})
            assert (seen["time_left"][ended] == 1).all()
    assert min(sum(one[how].sum() for one in told) for how in ("gone", "over")) > 3
    assert sum(len(one["ended"]) for one in told) > 50


def test_it_goes_on_from_a_checkpoint(population: Population, tmp_path: Path):
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


def test_a_learner_gets_it_with_the_last_reward_and_nothing_beyond_the_end(task: TaskSpec, population: Population):
    env = ReturningSessions(population, 10, 4.0, **LIFE)
    learned, happened, step = view(task, env), [], env.step
    env.step = lambda slates: (happened.append(step(slates)), happened[-1])[1]  # type: ignore[method-assign]
    learned.reset()
    returns, ends, time = np.zeros(10), 0, 5 * 5 + 2 * 5 + 2
    for _ in range(40):
        features, rewards, dones, infos = learned.step(np.zeros((10, 5), np.float32))
        _, real, ended, _, told = happened[-1]
        returns += real
        np.testing.assert_array_equal(dones, ended)
        np.testing.assert_allclose(rewards, 0.1 * (real + told["return_part"]), rtol=1e-5, atol=1e-6)
        for row in np.flatnonzero(dones):
            assert "terminal_observation" not in infos[row]  # a session that is cut has no more to come either
            assert infos[row]["episode"]["r"] == pytest.approx(returns[row])
            assert features[row, time] == 1  # the next session
        returns[dones] = 0
        ends += int((told["return_part"] != 0).sum())
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
    assert env.coming.weight > 10


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
        model.learn(8_000, callback=Report(lambda _: None, lambda _: None, (-0.5, -2.0)))
        scorer = PolicyScorer(model.policy, CategoryEncoder(task, False), "nothing", deterministic=False)
        agent = HierarchicalAgent(Hierarchy(task, 64, attentive=True), scorer)
        return float(play(make_env(64, of=unknown, **how), agent, seed=1000)[1][-1].mean())

    assert last_reward(1e-9) > 0.75  # of sessions alone
    assert last_reward(1.0) < 0.4
