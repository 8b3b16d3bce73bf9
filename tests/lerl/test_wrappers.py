"""A planner around the environment: what is seen, what may be chosen, and what becomes of the rest."""

from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.error import InvalidAction
from gymnasium.vector import AutoresetMode

from lerl.envs.population import Population
from lerl.envs.session import SessionEnv, SessionVectorEnv
from lerl.envs.synthetic import synthetic_population
from lerl.planners.base import PlanContexts, Plans
from lerl.sb3 import SessionVecEnv
from lerl.wrappers import IneligibleItemError, Planned

CATEGORIES = 5


class InTurn:
    """One category after another, whoever the user is."""

    def plan(self, contexts: PlanContexts) -> Plans:
        turn = contexts.steps % len(contexts.names)
        allowed = turn[:, None] == np.arange(len(contexts.names))
        return Plans(allowed, np.zeros_like(allowed), tuple(f"turn {number}" for number in turn.tolist()))


@pytest.fixture(scope="module")
def population() -> Population:
    return synthetic_population(60, 80, CATEGORIES, 4, 0)


def drawn(masks: Any, draw: np.random.Generator) -> Any:
    return np.argmax(draw.random(masks.shape) * masks, axis=-1)


def test_one_user_under_a_plan(population: Population) -> None:
    env = Planned(SessionEnv(population, max_steps=8, leave="never"), InTurn())
    observation, info = env.reset(seed=1)
    membership, draw = population.catalog.categories.membership, np.random.default_rng(0)
    for step in range(8):
        assert env.observation_space.contains(observation)
        turn = step % CATEGORIES
        assert observation["plan_allowed"].tolist() == [float(c == turn) for c in range(CATEGORIES)]
        assert observation["plan_age"] == [0]
        assert info["rationale"] == f"turn {turn}"
        mask = env.action_masks()
        assert (mask == info["action_mask"]).all()
        assert membership[mask, turn].all()
        item = drawn(mask, draw)
        observation, _, terminated, truncated, info = env.step(item)
        assert not env.action_masks()[item]
    assert truncated
    assert not terminated


def test_a_plan_is_kept_as_long_as_said(population: Population) -> None:
    env = Planned(SessionEnv(population, max_steps=8, leave="never"), InTurn(), replan_every=3)
    observation, _ = env.reset(seed=1)
    ages = [observation["plan_age"][0]]
    for _ in range(7):
        observation, *_ = env.step(int(np.argmax(env.action_masks())))
        ages.append(observation["plan_age"][0])
    assert ages == [0, 1, 2, 0, 1, 2, 0, 1]


@pytest.mark.parametrize("k", [1, 3])
def test_what_a_plan_does_not_allow(population: Population, k: int) -> None:
    def make(how: Any) -> Any:
        env = Planned(SessionEnv(population, max_steps=8, slate_size=k, leave="never"), InTurn(), ineligible=how)
        env.reset(seed=1)
        return env

    membership = population.catalog.categories.membership
    foreign = np.flatnonzero(~membership[:, 0])[:k]
    action: Any = foreign if k > 1 else int(foreign[0])
    with pytest.raises(IneligibleItemError, match=f"the plan does not allow item {foreign[0]} in slot 0"):
        make("refuse").step(action)
    shown, *_ = make("allow").step(action)
    assert shown["recent_items"][-k:].tolist() == foreign.tolist()
    shown, *_ = make("replace").step(action)
    items = shown["recent_items"][-k:]
    assert membership[items, 0].all()
    assert len(set(items.tolist())) == k


def test_only_what_is_wrong_is_replaced(population: Population) -> None:
    env = Planned(SessionEnv(population, max_steps=8, slate_size=3, leave="never"), InTurn())
    env.reset(seed=1)
    member = population.catalog.categories.membership[:, 0]
    mine, foreign = np.flatnonzero(member)[3], np.flatnonzero(~member)[0]
    shown, *_ = env.step(np.array([foreign, mine, foreign]))
    items = shown["recent_items"][-3:].tolist()
    assert items[1] == mine
    assert len(set(items)) == 3
    assert member[items].all()


def steps(env: Any, seed: int) -> Iterator[tuple[Any, ...]]:
    observation, _ = env.reset(seed=seed)
    draw = np.random.default_rng(seed)
    for _ in range(25):
        masks = env.action_masks()
        found = env.step(drawn(masks, draw))
        yield observation, masks, *found
        observation = found[0]


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_sessions_that_begin_anew_are_planned_anew(population: Population, mode: AutoresetMode) -> None:
    env = Planned(SessionVectorEnv(population, 6, max_steps=4, autoreset_mode=mode), InTurn())
    for observation, masks, after, _, terminated, truncated, info in steps(env, 0):
        fresh = observation["time_left"][:, 0] == 1
        assert (observation["plan_allowed"][fresh, 0] == 1).all()
        assert masks.any(axis=1).all()
        assert env.observation_space.contains(after)
        ended = terminated | truncated
        if mode == AutoresetMode.SAME_STEP and ended.any():
            assert (after["time_left"][ended] == 1).all()
            for slot in np.flatnonzero(ended).tolist():
                final = info["final_obs"][slot]
                assert env.single_observation_space.contains(final)
                assert final["plan_age"] == [1]


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_sessions_of_a_life_are_planned_anew(population: Population, mode: AutoresetMode) -> None:
    how: Any = {
        "max_steps": 7,
        "leave": "never",
        "horizon": "days",
        "days": 3650,
        "return_": {"churn": {"enabled": False}},
    }
    one = Planned(SessionEnv(population, **how), InTurn(), replan_every=2)
    many = Planned(SessionVectorEnv(population, 3, autoreset_mode=mode, **how), InTurn(), replan_every=2)
    one.reset(seed=5)
    many.reset(seed=5)
    for step in range(1, 25):
        seen, *_, ended, _ = one.step(int(np.argmax(one.action_masks())))
        others, *_, info = many.step(np.argmax(many.action_masks(), axis=1))
        assert not ended
        assert info["session_ended"].all() == (step % 7 == 0)
        turn = step % 7 // 2 * 2 % CATEGORIES  # a plan is kept for two steps, and never for the next session
        for allowed in (seen["plan_allowed"], *others["plan_allowed"]):
            assert allowed.tolist() == [float(c == turn) for c in range(CATEGORIES)]
        assert seen["plan_age"][0] == others["plan_age"][0, 0] == step % 7 % 2
        assert seen["sessions"][0] == step // 7


def test_many_users_are_as_one(population: Population) -> None:
    many = Planned(SessionVectorEnv(population, 3, max_steps=6, leave="never"), "boredom", size=2)
    together, _ = many.reset(seed=5)
    singles = [Planned(SessionEnv(population, max_steps=6, leave="never"), "boredom", size=2) for _ in range(3)]
    alone = [env.reset(seed=5 + slot)[0] for slot, env in enumerate(singles)]
    for _ in range(6):
        for slot, seen in enumerate(alone):
            for name in ("plan_allowed", "plan_avoided", "recent_items", "recent_feedback"):
                np.testing.assert_array_equal(together[name][slot], seen[name])
        items = many.action_masks().argmax(axis=1)
        together, *_ = many.step(items)
        alone = [env.step(int(item))[0] for env, item in zip(singles, items, strict=True)]


def test_slots_draw_differently_whatever_the_seed_is(population: Population) -> None:
    for seed in (None, 3, np.int64(3), [3, None, 5, 6]):
        env = Planned(SessionVectorEnv(population, 4, max_steps=6), "random", size=2)
        observation, _ = env.reset(seed=seed)
        assert len(np.unique(observation["plan_allowed"], axis=0)) > 1


def test_the_end_of_a_catalog_refuses_nothing() -> None:
    few = synthetic_population(60, 5, 2, 4, 0)
    env = Planned(
        SessionEnv(few, max_steps=8, slate_size=3, leave="never", topics="categories"), InTurn(), ineligible="refuse"
    )
    env.reset(seed=0)
    for _ in range(8):
        eligible = np.flatnonzero(env.action_masks()[:5])
        env.step(eligible[:3] if len(eligible) >= 3 else np.array([0, 1, 2]))


def test_actions_are_checked_as_the_environment_checks_them(population: Population) -> None:
    env = Planned(SessionEnv(population, max_steps=8), InTurn())
    env.reset(seed=0)
    for wrong in (80, -1, 1.5):
        with pytest.raises(InvalidAction):
            env.step(wrong)


def test_wrong_arguments_are_refused(population: Population) -> None:
    with pytest.raises(TypeError, match="Planned wraps lerl's environments"):
        Planned(gymnasium.make("CartPole-v1"))
    with pytest.raises(TypeError, match=r"a planner is an object with plan\(contexts\)"):
        Planned(SessionEnv(population), 3)
    with pytest.raises(TypeError, match="Planned needs a planner"):
        Planned(SessionEnv(population), None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="ineligible must be"):
        Planned(SessionEnv(population), ineligible="no")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="replan_every and size must be at least 1"):
        Planned(SessionEnv(population), replan_every=0)


@pytest.mark.parametrize("planner", [None, "rotation"])
def test_stable_baselines_sees_how_sessions_end(population: Population, planner: str | None) -> None:
    env = SessionVecEnv(population, 8, planner, max_steps=5, slate_size=2)
    env.seed(0)
    observation = env.reset()
    assert observation["time_left"].shape == (8, 1)
    seen = 0
    for _ in range(12):
        masks = np.stack(env.env_method("action_masks"))
        actions = masks.reshape(8, 2, -1)[:, 0].argsort(axis=1)[:, -2:]
        observation, rewards, ended, infos = env.step(actions)
        assert rewards.dtype == np.float32
        for slot in np.flatnonzero(ended).tolist():
            last = infos[slot]["terminal_observation"]
            assert env.observation_space.contains(last)
            assert last["time_left"][0] == 0 or not infos[slot]["TimeLimit.truncated"]
            assert infos[slot]["episode"]["l"] == round((1 - float(last["time_left"][0])) * 5)
            assert observation["time_left"][slot] == 1
            seen += 1
    assert seen >= 8


@pytest.mark.slow
def test_stock_algorithms_learn_under_a_plan(population: Population) -> None:
    from sb3_contrib import MaskablePPO
    from stable_baselines3 import PPO

    masked = SessionVecEnv(population, 16, InTurn(), max_steps=10)
    MaskablePPO("MultiInputPolicy", masked, n_steps=16, batch_size=64, seed=0).learn(512)
    PPO("MultiInputPolicy", SessionVecEnv(population, 16, max_steps=10, slate_size=3), n_steps=16, seed=0).learn(512)
