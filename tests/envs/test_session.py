"""The Gymnasium views: what they show, refuse and promise, alone and side by side."""

import multiprocessing
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import polars as pl
import pytest
import stable_baselines3.common.env_checker as sb3
from gymnasium.envs.registration import EnvSpec
from gymnasium.error import InvalidAction, ResetNeeded
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers.vector import RecordEpisodeStatistics
from hypothesis import given, settings
from hypothesis import strategies as st
from sb3_contrib import MaskablePPO
from sb3_contrib.common.maskable.utils import get_action_masks
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env

import lerl  # noqa: F401 - registers the environments
from lerl.envs import observation as observing
from lerl.envs import session
from lerl.envs.catalog import Axis
from lerl.envs.config import Boredom, Drift, Leave, SimulatorConfig, StepBudget
from lerl.envs.observation import HISTORY, History, Seen
from lerl.envs.population import Population
from lerl.envs.prepare import prepare
from lerl.envs.session import SessionEnv, SessionVectorEnv
from lerl.envs.store import MissingDataError, load_population, save_population

LOGS = Path(os.environ.get("LERL_DATA", Path(__file__).parents[2] / "../shared/data")) / "ml1m"
NAMES = ("Synthetic", "MovieLens", "Goodbooks", "KuaiRand", "KuaiRec", "Logs")
IDS = tuple(f"lerl/{name}-v0" for name in NAMES)
SIZES = {"users": 40, "items": 60, "categories": 6, "dim": 4}
SHORT: dict[str, Any] = {"max_steps": 6, "topic_count": 5}
LASTING: dict[str, Any] = {"topic_count": 5, "leave": Leave("never")}
HIDDEN = {"user", "satisfaction", "boredom", "fatigue", "mood", "patience", "true_taste"}


def arguments(name: str, prepared: Path) -> dict[str, Any]:
    """What makes a registered environment small."""
    return SIZES if name == "lerl/Synthetic-v0" else {"path": str(prepared)}


def unmasked(step: Any) -> Any:
    """What a vector of single users gave, without their masks, which a vector of our own leaves out."""
    if isinstance(step, dict):
        masks = ("action_mask", "_action_mask")
        return {key: unmasked(value) for key, value in step.items() if key not in masks}
    return tuple(map(unmasked, step)) if isinstance(step, tuple) else step


def same(one: Any, other: Any) -> None:
    """Asserts that two observations or infos are equal to the bit, their types and shapes too."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            same(one[key], other[key])
    elif isinstance(one, np.ndarray) and one.dtype == object:
        assert [entry is None for entry in one] == [entry is None for entry in other]
        for mine, theirs in zip(one, other, strict=True):
            same(mine, theirs)
    elif one is not None:
        assert np.asarray(one).dtype == np.asarray(other).dtype
        np.testing.assert_array_equal(one, other, strict=True)


# as Gymnasium and Stable-Baselines3 want it


def test_every_registered_environment_is_tested():
    assert {name for name in gymnasium.registry if name.startswith("lerl/")} == {*IDS, "lerl/Composite-v0"}


@pytest.mark.parametrize("slate_size", [1, 6])
@pytest.mark.parametrize("name", IDS)
def test_both_checkers_pass_without_a_warning(name: str, slate_size: int, prepared: Path):
    env = gymnasium.make(name, slate_size=slate_size, **arguments(name, prepared)).unwrapped
    check_env(env)  # in every render mode, too
    sb3.check_env(env)


@pytest.mark.parametrize("slate_size", [1, 6])
@pytest.mark.parametrize("name", IDS)
def test_two_copies_live_the_same(name: str, slate_size: int, prepared: Path):
    one, other = (gymnasium.make(name, slate_size=slate_size, **arguments(name, prepared)) for _ in range(2))
    for env in (one, other):
        env.action_space.seed(5)
    for first, second in zip(one.reset(seed=7), other.reset(seed=7), strict=True):
        same(first, second)
    for _ in range(60):
        steps = [env.step(env.action_space.sample()) for env in (one, other)]
        for first, second in zip(*steps, strict=True):
            same(first, second)
        assert steps[0][0] in one.observation_space
        if steps[0][2] or steps[0][3]:
            for first, second in zip(one.reset(), other.reset(), strict=True):
                same(first, second)


@pytest.mark.parametrize("name", IDS)
def test_make_vec_uses_the_batched_view(name: str, prepared: Path):
    env = gymnasium.make_vec(name, num_envs=3, slate_size=2, **arguments(name, prepared))
    assert isinstance(env, SessionVectorEnv)
    assert env.metadata["autoreset_mode"] == AutoresetMode.NEXT_STEP
    observation, _ = env.reset(seed=1)
    assert observation in env.observation_space
    observation, reward, *_ = env.step(env.action_space.sample())
    assert observation in env.observation_space
    assert reward.shape == (3,)


@pytest.mark.parametrize("slate_size", [1, 6])
def test_a_stock_ppo_trains_on_it(slate_size: int):
    env = gymnasium.make("lerl/Synthetic-v0", slate_size=slate_size, **SIZES)
    model = PPO("MultiInputPolicy", env, n_steps=64, batch_size=32, n_epochs=1, seed=0, device="cpu")
    before = [weights.clone() for weights in model.policy.parameters()]
    model.learn(192)
    assert model.num_timesteps == 192
    assert any((old != new).any() for old, new in zip(before, model.policy.parameters(), strict=True))
    observation, _ = env.reset(seed=3)
    action, _ = model.predict(observation, deterministic=True)
    assert action in env.action_space


def test_gymnasiums_wrappers_count_whole_sessions(small: Population):
    env = RecordEpisodeStatistics(SessionVectorEnv(small, 4, max_steps=3, **LASTING))
    env.reset(seed=0)
    *_, infos = [env.step(np.full(4, item)) for item in (1, 2, 3)][-1]
    assert infos["episode"]["l"].tolist() == [3, 3, 3, 3]


# a vector of users is so many single users


@pytest.mark.parametrize("slate_size", [1, 3])
@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_a_slot_lives_what_a_single_environment_with_its_seed_lives(
    small: Population, mode: AutoresetMode, slate_size: int
):
    """Gymnasium's own vector environment over single users, seeded s, s + 1, ..., gives every bit that ours gives."""
    how = {"slate_size": slate_size, "reveal_hidden": True, "feedback": "rating", **SHORT}
    ours = SessionVectorEnv(small, 4, autoreset_mode=mode, **how)
    theirs = SyncVectorEnv([lambda: SessionEnv(small, **how)] * 4, autoreset_mode=mode)
    assert ours.observation_space == theirs.observation_space
    assert ours.action_space == theirs.action_space
    for mine, other in zip(ours.reset(seed=5), unmasked(theirs.reset(seed=5)), strict=True):
        same(mine, other)
    ours.action_space.seed(0)
    sessions = 0
    for _ in range(40):
        action = ours.action_space.sample()
        step = ours.step(action)
        for mine, other in zip(step, unmasked(theirs.step(action)), strict=True):
            same(mine, other)
        ended = step[2] | step[3]
        sessions += int(ended.sum())
        if mode == AutoresetMode.DISABLED and ended.any():
            again = [env.reset(options={"reset_mask": ended.copy()}) for env in (ours, theirs)]
            for mine, other in zip(again[0], unmasked(again[1]), strict=True):
                same(mine, other)
    assert sessions > 12  # of each slot several


def test_a_spawned_process_lives_the_same(small: Population):
    env = SessionVectorEnv(small, 7, slate_size=3, **SHORT)
    env.reset(seed=3)
    actions = np.random.default_rng(0).integers(60, size=(20, 7, 3))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        # One chunk is pickled whole: a single copy of the environment takes all the steps, over there.
        there = pool.map(env.step, actions, chunksize=len(actions))
    for step, action in zip(there, actions, strict=True):
        for mine, other in zip(env.step(action), step, strict=True):
            same(mine, other)


def test_next_step_autoreset_begins_anew_at_the_step_after(small: Population):
    env = SessionVectorEnv(small, 2, max_steps=2, **LASTING)
    first, _ = env.reset(seed=0)
    env.step([1, 2])
    last, _, _, truncated, _ = env.step([3, 4])
    assert truncated.tolist() == [True, True]
    assert last["time_left"].tolist() == [[0], [0]]
    fresh, reward, terminated, truncated, infos = env.step([5, 6])  # of these actions nothing is seen
    assert reward.tolist() == [0, 0]
    assert not (terminated | truncated).any()
    assert (fresh["recent_items"] == -1).all()
    assert infos["empty_slots"].tolist() == [0, 0]
    assert env.state.session.tolist() == [1, 1]
    assert not np.array_equal(fresh["taste"], first["taste"])


def test_same_step_autoreset_keeps_what_came_last(small: Population):
    env = SessionVectorEnv(
        small, 2, slate_size=2, max_steps=2, autoreset_mode="SameStep", reveal_hidden=True, **LASTING
    )
    env.reset(seed=0)
    env.step([[1, 2], [3, 4]])
    observation, _, _, truncated, infos = env.step([[5, 5], [6, 7]])
    assert truncated.tolist() == [True, True]
    assert (observation["recent_items"] == -1).all()
    assert infos["final_obs"][0]["recent_items"][-4:].tolist() == [1, 2, 5, -1]
    assert infos["final_obs"][1]["recent_items"][-4:].tolist() == [3, 4, 6, 7]
    assert infos["final_info"]["empty_slots"].tolist() == [1, 0]
    assert infos["_final_info"].tolist() == [True, True]
    assert infos["empty_slots"].tolist() == [0, 0]
    assert "chance" not in infos  # no slate was shown in the new sessions


def test_same_step_autoreset_of_some_keeps_the_others_infos(small: Population):
    env = SessionVectorEnv(small, 2, slate_size=2, max_steps=2, autoreset_mode="SameStep", **LASTING)
    env.reset(seed=0)
    env.step([[1, 2], [3, 4]])
    env.reset(options={"reset_mask": np.array([False, True])})
    *_, infos = env.step([[5, 6], [7, 7]])
    assert infos["_final_obs"].tolist() == [True, False]
    assert infos["final_obs"][1] is None
    assert infos["empty_slots"].tolist() == [0, 1]


def test_disabled_autoreset_waits_for_a_reset(small: Population):
    env = SessionVectorEnv(small, 3, max_steps=2, autoreset_mode="Disabled", **LASTING)
    env.reset(seed=0)
    env.step([1, 2, 3])
    env.reset(options={"reset_mask": np.array([False, True, False])})
    *_, truncated, _ = env.step([4, 5, 6])
    assert truncated.tolist() == [True, False, True]
    with pytest.raises(ResetNeeded, match=r"slot 0 has ended .* call reset\(options=\{'reset_mask': ended\}\) first"):
        env.step([7, 8, 9])
    observation, infos = env.reset(options={"reset_mask": truncated})
    assert observation["recent_items"][:, -1].tolist() == [-1, 5, -1]
    assert infos["_empty_slots"].tolist() == [True, False, True]
    assert env.state.session.tolist() == [1, 1, 1]
    env.step([7, 8, 9])


# caps and masks


@pytest.mark.parametrize("mode", ["vector_entry_point", "sync"])
def test_a_cap_of_gymnasiums_cuts_sessions(mode: str):
    """make_vec hands its cap on as max_steps; make keeps it, so that time_left goes on counting to max_steps."""
    how = {"max_steps": 8} if mode == "sync" else {}
    env = gymnasium.make_vec(
        "lerl/Synthetic-v0", num_envs=2, vectorization_mode=mode, max_episode_steps=4, **how, **SIZES, **LASTING
    )
    env.reset(seed=0)
    for item in range(3):
        observation, *_, truncated, _ = env.step([item, item])
        assert truncated.tolist() == [False, False]
    left = 5 / 8 if mode == "sync" else 1 / 4
    assert observation["time_left"].tolist() == [[left], [left]]
    *_, truncated, _ = env.step([3, 3])
    assert truncated.tolist() == [True, True]


@pytest.mark.parametrize(("given", "steps"), [(None, 100), (-1, 100), (np.int64(7), 7)])
def test_a_cap_may_be_left_open(small: Population, given: Any, steps: int):
    assert SessionEnv(small, max_episode_steps=given, topic_count=5).simulator.config.max_steps == steps


@pytest.mark.parametrize("repeats", [False, True])
def test_items_that_were_shown_are_masked_unless_they_repeat(build: Any, repeats: bool):
    env = SessionEnv(build(np.eye(4), [[1] * 4]), repeats=repeats, **{**LASTING, "topic_count": 2})
    with pytest.raises(ResetNeeded, match="before reset"):
        env.action_masks()
    _, info = env.reset(seed=0)
    assert info["action_mask"].tolist() == [1, 1, 1, 1]
    for item in (2, 2, 0):
        info = env.step(item)[-1]
    assert info["action_mask"].tolist() == ([1, 1, 1, 1] if repeats else [0, 1, 0, 1])
    assert info["action_mask"].dtype == np.int8
    assert env.action_masks().tolist() == [bool(mark) for mark in info["action_mask"]]
    env.action_space.seed(0)
    drawn = {int(env.action_space.sample(info["action_mask"])) for _ in range(40)}
    assert drawn == ({0, 1, 2, 3} if repeats else {1, 3})
    assert env.reset()[1]["action_mask"].tolist() == [1, 1, 1, 1]


def test_slates_have_one_mask_for_each_slot(build: Any):
    """Of many users too, whose infos hold none: it would be larger than all the rest."""
    how = {**LASTING, "topic_count": 2, "slate_size": 2}
    one, many = SessionEnv(build(np.eye(3), [[1] * 3]), **how), SessionVectorEnv(build(np.eye(3), [[1] * 3]), 2, **how)
    one.reset(seed=0)
    many.reset(seed=0)
    assert "action_mask" not in one.step([2, 2])[-1]
    assert "action_mask" not in many.step([[2, 2], [0, 1]])[-1]
    assert one.action_masks().tolist() == [True, True, False] * 2
    assert many.action_masks().tolist() == [[True, True, False] * 2, [False, False, True] * 2]


@pytest.mark.parametrize("slate_size", [1, 2])
def test_a_masked_ppo_shows_nothing_twice(slate_size: int):
    """In sessions shorter than the catalogue it never leaves a slot empty that its masks forbid."""
    users = make_vec_env(
        "lerl/Synthetic-v0", 2, env_kwargs={"slate_size": slate_size, **SIZES, **LASTING, "max_steps": 20}
    )
    model = MaskablePPO("MultiInputPolicy", users, n_steps=20, batch_size=20, n_epochs=1, seed=0, device="cpu")
    model.learn(40)
    users.seed(0)
    observation = users.reset()
    for _ in range(19):
        action, _ = model.predict(observation, action_masks=get_action_masks(users))
        observation, *_ = users.step(action)
    shown = observation["recent_items"].reshape(2, -1, slate_size)[:, -19:]
    for row in shown:
        for step in range(19):
            assert slate_size > 1 or row[step, 0] >= 0
            earlier = set(row[:step].ravel().tolist()) - {-1}
            assert not earlier & set(row[step].tolist())


# what is seen


def test_an_observation_is_what_happened(build: Any):
    """Item 0 is never clicked and items 1 and 2 always are; item 1 has both categories."""
    population = build([[-1], [1], [1]], [[50]], categories=[[1, 0], [1, 1], [0, 1]])
    still = {"topics": "categories", "drift": Drift(enabled=False), "leave": Leave("never")}
    env = SessionEnv(population, slate_size=2, max_steps=4, **still)
    observation, info = env.reset(seed=0)
    assert info == {"empty_slots": 0}
    assert (observation["recent_items"] == -1).all()
    assert (observation["category_feedback"] == -1).all()
    assert (observation["category_exposure"] == 0).all()
    assert observation["time_left"] == [1]
    assert observation["taste"].tolist() == [50]
    env.step([1, 0])
    observation, reward, _, _, info = env.step([2, 2])
    assert reward == 0.5  # one click over two slots
    assert info == {"empty_slots": 1}
    assert observation["recent_items"].shape == (2 * HISTORY,)
    assert observation["recent_items"][-5:].tolist() == [-1, 1, 0, 2, -1]
    assert observation["recent_categories"][-5:].tolist() == [-1, 0, 0, 1, -1]
    assert observation["recent_feedback"][-5:].tolist() == [-1, 1, 0, 1, -1]
    assert observation["category_exposure"].tolist() == [0.5, 0.5]  # items 1 and 0, items 1 and 2, of four slots
    assert observation["category_feedback"].tolist() == [0.5, 1]
    assert observation["last_categories"].tolist() == [0, 0.5]
    assert observation["time_left"] == [0.5]


def test_compiled_memory_equals_its_plain_python(agree: Any):
    rng = np.random.default_rng(0)
    shown, groups = (
        rng.integers(-1, 4, size=(3, 8)).astype(np.int32),
        np.array([[0, 1], [1, -1], [2, -1], [0, 2]], np.int32),
    )
    recent, categories = np.full((2, 3, 6), -1, np.int32)
    feedback, last = np.full((3, 6), -1, np.float32), np.zeros((3, 3), np.float32)
    steps, log = np.array([0, 1, 4], np.int32), rng.random((3, 8)).astype(np.float32)
    none = np.zeros((0, 0), np.float32)
    history = History(shown, log, steps, none, none, steps)
    seen = Seen(recent, categories, feedback, none, none, last, none, none, none)
    agree(observing._recall, history, groups, 2, seen)


def test_the_oldest_slates_are_forgotten(small: Population):
    env = SessionEnv(small, **LASTING)
    env.reset(seed=0)
    for item in range(25):
        observation, *_ = env.step(item)
    assert observation["recent_items"].tolist() == list(range(25 - HISTORY, 25))


def test_exposure_is_counted_along_another_axis_when_given_one(small: Population):
    parity = Axis(("even", "odd"), np.arange(60)[:, None] % 2 == np.arange(2))
    env = SessionEnv(small, axis=parity, **LASTING)
    env.reset(seed=0)
    for item in (0, 2, 3, 4):
        observation, *_ = env.step(item)
    assert observation["category_exposure"].tolist() == [0.75, 0.25]
    assert observation["recent_categories"][-4:].tolist() == [0, 0, 1, 0]


def test_hidden_state_comes_out_on_request_only(small: Population):
    for reveal, expected in ((False, set()), (True, HIDDEN)):
        env = SessionEnv(small, reveal_hidden=reveal, **SHORT)
        _, info = env.reset(seed=0)
        assert set(info) == {"empty_slots", "action_mask"} | expected
        _, _, _, _, info = env.step(0)
        assert set(info) == {"empty_slots", "action_mask"} | expected | ({"chance"} if reveal else set())
    assert info["satisfaction"] == pytest.approx(0.6 + 0.2 * (info["chance"][0] - 0.6))


def test_no_observation_tells_users_of_the_same_known_taste_apart(build: Any):
    env = SessionEnv(build([[1, 0], [0, 1]], [[1, 2], [1, 2]]), **{**LASTING, "topic_count": 2})
    same(env.reset(options={"users": 0})[0], env.reset(options={"users": 1})[0])


def test_what_was_given_out_is_not_changed_later(small: Population):
    env = SessionVectorEnv(small, 3, reveal_hidden=True, **LASTING)
    observation, infos = env.reset(seed=0)
    kept = {key: value.copy() for key, value in (observation | infos).items()}
    observation["taste"][:] = 0
    env.step([1, 2, 3])
    env.reset(seed=0)
    for key, value in (observation | infos).items():
        if key != "taste":
            np.testing.assert_array_equal(value, kept[key])
    assert np.array_equal(env.reset(seed=0)[0]["taste"], kept["taste"])
    single = SessionEnv(small, reveal_hidden=True, **LASTING)
    _, info = single.reset(seed=0)
    taste = info["true_taste"].copy()
    single.step(1)
    assert info["boredom"].tolist() == [0] * 5
    assert info["true_taste"].tolist() == taste.tolist()


@settings(max_examples=40)
@given(
    st.integers(0, 2**40),
    st.sampled_from([1, 4]),
    st.sampled_from(["click", "rating"]),
    st.booleans(),
    st.sampled_from(["satisfaction", "window", "budget"]),
)
def test_spaces_are_never_left_and_nobody_steps_after_leaving(
    small: Population, seed: int, slate_size: int, feedback: str, repeats: bool, rule: str
):
    how = {"slate_size": slate_size, "feedback": feedback, "repeats": repeats, "leave": Leave(rule)}
    env = SessionEnv(small, max_steps=25, topic_count=5, **how)
    observation, _ = env.reset(seed=seed)
    env.action_space.seed(seed)
    ended, steps = False, 0
    while not ended:
        assert observation in env.observation_space
        observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
        steps += 1
        assert 0 <= reward <= 1
        assert 0 <= info["empty_slots"] <= slate_size
        ended = terminated or truncated
    assert observation in env.observation_space
    assert terminated != truncated
    assert truncated <= (steps == 25)
    with pytest.raises(ResetNeeded, match=r"after the session had ended; call reset\(\) to begin another"):
        env.step(env.action_space.sample())


# who is met


@pytest.mark.parametrize("split", ["train", "evaluation"])
def test_users_come_from_the_split_alone(small: Population, split: str):
    env = SessionVectorEnv(small, 200, split=split, **SHORT)
    env.reset(seed=0)
    assert set(env.state.user.tolist()) == set(small.users(split).tolist())


def test_a_reset_without_a_seed_is_the_next_session(small: Population):
    env, again = (SessionEnv(small, reveal_hidden=True, **SHORT) for _ in range(2))
    sessions = [env.reset(seed=3)[1]["patience"], env.reset()[1]["patience"], env.reset()[1]["patience"]]
    assert len(set(sessions)) == 3
    assert [again.reset(seed=3)[1]["patience"], again.reset()[1]["patience"]] == sessions[:2]
    assert env.reset(seed=3)[1]["patience"] == sessions[0]


def test_without_any_seed_no_two_environments_are_alike(small: Population):
    singles = {float(SessionEnv(small, reveal_hidden=True, **SHORT).reset()[1]["patience"]) for _ in range(8)}
    assert len(singles) == 8
    for seed in (None, [None, None]):
        vectors = [
            SessionVectorEnv(small, 2, reveal_hidden=True, **SHORT).reset(seed=seed)[1]["patience"] for _ in range(4)
        ]
        assert len(np.unique(vectors)) == 8


def test_a_list_seeds_slot_by_slot(small: Population):
    env = SessionVectorEnv(small, 3, **SHORT)
    env.reset(seed=[8, 9, 10])
    env.reset(seed=[5, None, 7])
    assert env.state.seed.tolist() == [5, 9, 7]
    assert env.state.session.tolist() == [0, 1, 0]


def test_users_may_be_chosen(small: Population):
    one, other = small.users("train")[:2].tolist()
    env = SessionEnv(small, reveal_hidden=True, **SHORT)
    assert env.reset(options={"users": [other]})[1]["user"] == other
    assert env.reset(seed=1, options={"users": one})[1]["user"] == one
    vector = SessionVectorEnv(small, 2, **SHORT)
    vector.reset(seed=0, options={"users": [other, one]})
    assert vector.state.user.tolist() == [other, one]
    vector.reset(options={"users": [-1, other], "reset_mask": np.array([False, True])})
    assert vector.state.user.tolist() == [other, other]


def test_a_refused_reset_changes_nothing(small: Population):
    env, undisturbed = (SessionEnv(small, reveal_hidden=True, **SHORT) for _ in range(2))
    env.reset(seed=4)
    undisturbed.reset(seed=4)
    with pytest.raises(ValueError, match="outside this environment's split"):
        env.reset(options={"users": [small.users("evaluation")[0]]})
    same(env.reset()[1], undisturbed.reset()[1])


# refused, with what was given and what to do


@pytest.mark.parametrize(
    ("slate_size", "action", "message"),
    [
        (1, 60, "given item 60, but the catalog's items are 0 to 59; map your item identifiers to positions"),
        (1, -1, "given item -1, but the catalog's items are 0 to 59"),
        (1, 2.0, r"item numbers of an integer type in shape \(\), given an array of shape \(\) and type float64"),
        (
            1,
            [1, 2],
            r"in shape \(\), given an array of shape \(2,\) and type int64; "
            "for slates of 2 make the environment with slate_size=2$",
        ),
        (3, 1, "slates have 3 items here, make the environment with slate_size=1 for one item a step$"),
        (1, None, r"given an array of shape \(\) and type object"),
        (1, True, r"given an array of shape \(\) and type bool"),
        (3, [1, 2], r"in shape \(3,\), given an array of shape \(2,\) and type int64"),
        (3, [[1, 2, 3]], r"in shape \(3,\), given an array of shape \(1, 3\)"),
        (3, [1, 2, 3.0], "integer type .* type float64"),
        (3, [1, 99, 2], "given item 99"),
    ],
)
def test_actions_that_are_none_are_refused(small: Population, slate_size: int, action: Any, message: str):
    env = SessionEnv(small, slate_size=slate_size, **SHORT)
    env.reset(seed=0)
    with pytest.raises(InvalidAction, match=rf"SessionEnv\.step .*{message}"):
        env.step(action)


@pytest.mark.parametrize("shape", [(3,), (2, 4), (6,), (3, 2)])
def test_actions_of_another_number_of_users_are_refused(small: Population, shape: Sequence[int]):
    env = SessionVectorEnv(small, 2, slate_size=3, **SHORT)
    env.reset(seed=0)
    with pytest.raises(InvalidAction, match=r"SessionVectorEnv\.step needs .* in shape \(2, 3\), given an array of"):
        env.step(np.zeros(shape, int))


def test_single_items_may_come_as_a_column(small: Population):
    env, other = (SessionVectorEnv(small, 2, **LASTING) for _ in range(2))
    env.reset(seed=0)
    other.reset(seed=0)
    same(env.step(np.array([[4], [5]]))[0], other.step(np.array([4, 5]))[0])


def test_a_step_before_any_reset_is_refused(small: Population):
    for env in (SessionEnv(small, **SHORT), SessionVectorEnv(small, 1, **SHORT)):
        with pytest.raises(ResetNeeded, match=r"step was called before reset; call reset\(\) first"):
            env.step(0)
    with pytest.raises(ResetNeeded, match=r"nothing to see before reset; call reset\(\) first"):
        _ = SessionVectorEnv(small, 1, **SHORT).state


def test_a_step_after_leaving_is_refused(small: Population):
    env = SessionEnv(small, leave=Leave("budget", budget=StepBudget(budget=1)), topic_count=5)
    env.reset(seed=0)
    assert env.step(0)[2]
    with pytest.raises(ResetNeeded, match=r"after the session had ended; call reset\(\) to begin another"):
        env.step(1)
    env.reset()
    env.step(1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"users": [0, 1, 2]}, r"must hold 2 whole numbers, one user per slot, given an array of shape \(3,\)"),
        ({"users": [0.5, 1.0]}, "given an array of shape .* and type float64"),
        ({"users": [0, 999]}, "names user 999, who is outside this environment's split"),
        ({"reset_mask": np.array([True])}, r"must have shape \(2,\) and type bool, given shape \(1,\)"),
        ({"reset_mask": np.array([0, 1])}, "given shape .* and type int64"),
        ({"users": [[0], [1, 2]]}, "given an array of shape .* and type object"),
        ({"reset_mask": [[True], [True, False]]}, "given shape .* and type object"),
        ({"user": [0, 1]}, r"unknown option 'user'; .* reset knows users and reset_mask\. Did you mean 'users'\?"),
    ],
)
def test_options_that_do_not_fit_are_refused(small: Population, options: dict[str, Any], message: str):
    env = SessionVectorEnv(small, 2, split="all", **SHORT)
    env.reset(seed=0)
    with pytest.raises(ValueError, match=message):
        env.reset(options=options)


@pytest.mark.parametrize("actions", [[[1, 2], [3]], [[1, 2], "ab"], [[True, False]] * 2])
def test_ragged_slates_and_other_types_are_refused(small: Population, actions: Any):
    env = SessionVectorEnv(small, 2, slate_size=2, **SHORT)
    env.reset(seed=0)
    with pytest.raises(InvalidAction, match=r"needs item numbers of an integer type in shape \(2, 2\), given an array"):
        env.step(actions)


def test_one_user_knows_no_mask_and_options_are_a_dictionary(small: Population):
    env = SessionEnv(small, **SHORT)
    with pytest.raises(ValueError, match="unknown option 'reset_mask'; this environment's reset knows users"):
        env.reset(options={"reset_mask": [True]})
    with pytest.raises(TypeError, match=r"options must be a dict, given \['users'\]"):
        env.reset(options=["users"])  # type: ignore[arg-type]


def test_the_first_reset_is_of_every_slot(small: Population):
    with pytest.raises(ResetNeeded, match="the first reset must be of every slot"):
        SessionVectorEnv(small, 2, **SHORT).reset(options={"reset_mask": np.array([True, False])})


@pytest.mark.parametrize(
    ("seed", "message"), [([1, 2, 3], r"one entry per slot \(2\), given 3"), (-1, "at least 0, given -1")]
)
def test_seeds_that_do_not_fit_are_refused(small: Population, seed: Any, message: str):
    with pytest.raises(ValueError, match=message):
        SessionVectorEnv(small, 2, **SHORT).reset(seed=seed)


@pytest.mark.parametrize("seed", [True, 1.5, "12"])
def test_seeds_of_a_wrong_type_are_refused(small: Population, seed: Any):
    for env in (SessionEnv(small, **SHORT), SessionVectorEnv(small, 2, **SHORT)):
        with pytest.raises(TypeError, match=f"^seed must be a whole number, given {seed!r}$"):
            env.reset(seed=seed)


def test_seeds_of_numpy_are_seeds(small: Population):
    env = SessionEnv(small, reveal_hidden=True, **SHORT)
    for one, other in zip(env.reset(seed=np.uint8(7)), env.reset(seed=7), strict=True):  # type: ignore[arg-type]
        same(one, other)


def test_an_unknown_setting_is_told_which_there_are(small: Population):
    said = r"__init__\(\) got an unexpected keyword argument 'slatesize'\. Did you mean 'slate_size'\? .* knows split, "
    for view in (SessionEnv, SessionVectorEnv):
        with pytest.raises(TypeError, match=said if view is SessionEnv else said.replace("split", "num_envs")):
            view(small, slatesize=3)
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'n_users'\. Did you mean 'users'"):
        gymnasium.make("lerl/Synthetic-v0", n_users=3)


@pytest.mark.parametrize("make", [gymnasium.make, gymnasium.make_vec])
@pytest.mark.parametrize("name", IDS)
def test_every_keyword_is_in_the_list_of_those_known(make: Any, name: str):
    """A name that nobody knows is said in Python's words, as TorchRL looks for them, before any data are read."""
    with pytest.raises(TypeError, match=r"__init__\(\) got an unexpected keyword argument 'frameskip'\.") as raised:
        make(name, frameskip=4)
    known = re.split(r", | was raised from", str(raised.value).partition("The environment knows ")[2])
    expected = set(session.KEYWORDS) | ({*SIZES, "population_seed"} if name == "lerl/Synthetic-v0" else {"path"})
    if make is gymnasium.make_vec:
        expected |= {"num_envs", "autoreset_mode"}
    assert expected <= set(known)
    for keyword in ("config", "render_mode", "max_episode_steps", "reveal_hidden", "axis", "boredom", "leave"):
        assert keyword in expected


def test_settings_come_on_top_of_a_configuration(small: Population):
    env = SessionEnv(small, config=SimulatorConfig(slate_size=2, topic_count=5), max_steps=7)
    assert (env.simulator.config.slate_size, env.simulator.config.max_steps) == (2, 7)


def test_sections_may_be_dictionaries_and_a_rule_a_name(small: Population):
    """What stays unsaid in a dictionary stays as it was."""
    env = SessionEnv(small, boredom={"weight": 2}, leave="window", topic_count=5)
    assert env.simulator.config == SimulatorConfig(boredom=Boredom(weight=2), leave=Leave("window"), topic_count=5)
    config = SimulatorConfig(boredom=Boredom(time_constant=3), topic_count=5)
    given = {"rule": "budget", "budget": {"budget": np.float32(4)}}
    chosen = SessionVectorEnv(small, 2, config=config, boredom={"weight": 2}, leave=given).simulator.config
    assert chosen.boredom == Boredom(weight=2, time_constant=3)
    assert chosen.leave == Leave("budget", budget=StepBudget(budget=4))


def test_an_environment_is_made_again_from_its_specification_in_json():
    how: dict[str, Any] = {"config": SimulatorConfig(slate_size=2), "boredom": Boredom(weight=2), "leave": "never"}
    env = gymnasium.make("lerl/Synthetic-v0", **how, **SIZES)
    again = gymnasium.make(EnvSpec.from_json(env.spec.to_json()))
    assert again.unwrapped.simulator.config == env.unwrapped.simulator.config


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"split": "test"}, "split must be 'train', 'evaluation' or 'all', given 'test'"),
        ({"topics": "genres"}, r"env\.topics must be 'hidden' or 'categories', given 'genres'"),
        ({"feedback": "stars"}, r"env\.feedback must be 'click', 'rating' or 'weighted', given 'stars'"),
        ({"slate_size": 0}, r"env\.slate_size must be a whole number from 1 to 1,000, given 0"),
        ({"slate_size": 61}, r"env\.slate_size must be at most the 60 items of the catalog, given 61"),
        ({"topic_count": 61}, r"env\.topic_count must be from 1 to the 60 items, given 61"),
        (
            {"render_mode": "human"},
            "render_mode must be None, 'ansi' or 'rgb_array', given 'human'; gymnasium",
        ),
        ({"boredom": {"wieght": 2}}, r"^unknown key env\.boredom\.wieght\. Did you mean env\.boredom\.weight\?$"),
        (
            {"boredom": {"zzz": 2}},
            r"^unknown key env\.boredom\.zzz\. There are enabled, weight, time_constant, within_slate$",
        ),
        ({"boredom": {"weight": -1}}, r"env\.boredom\.weight must be a number of at least 0, given -1"),
        (
            {"boredom": {"weight": 10**400}},
            r"env\.boredom\.weight must be a number of at least 0, given an integer of 1,329 bits",
        ),
        (
            {"leave": {"budget": {"budget": 0}}},
            r"^env\.leave\.budget\.budget must be .* to 1,000,000, given 0$",
        ),
        ({"leave": "windo"}, r"env\.leave\.rule is 'windo', which is not one of .* Did you mean 'window'\?"),
        ({"config": {"slate_sise": 2}}, r"unknown key env\.slate_sise\. Did you mean env\.slate_size\?"),
        ({"max_episode_steps": 0}, "max_episode_steps must be at least 1, or -1 to leave max_steps as it is, given 0"),
        ({"max_episode_steps": 3, "max_steps": 4}, "Gymnasium's name of max_steps: give one of them, given 3 and 4"),
    ],
)
def test_bad_settings_are_refused(small: Population, wrong: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        SessionEnv(small, **wrong)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"repeats": "false"}, r"env\.repeats must be true or false, given 'false'"),
        ({"slate_size": True}, r"env\.slate_size must be a whole number from 1 to 1,000, given True"),
        ({"max_steps": 2.5}, r"env\.max_steps must be a whole number from 1 to 10,000, given 2\.5"),
        ({"boredom": 1.0}, r"^env\.boredom must be a dictionary such as \{'enabled': True\} or a Boredom, given 1\.0$"),
        ({"boredom": {"weight": "2"}}, r"^env\.boredom\.weight must be a number of at least 0, given '2'$"),
        ({"drift": False}, r"env\.drift must be a dictionary such as .* or a Drift, given False"),
        ({"leave": {"rule": 3}}, r"^env\.leave\.rule must be text, given 3$"),
        ({"config": 3}, "config must be a SimulatorConfig or a dictionary, given 3"),
        ({"axis": "genres"}, "axis must be an Axis, given 'genres'"),
        ({"max_episode_steps": True}, "max_episode_steps must be a whole number, given True"),
        ({"reveal_hidden": "no"}, "reveal_hidden must be true or false, given 'no'"),
    ],
)
def test_settings_of_a_wrong_type_are_refused(small: Population, wrong: dict[str, Any], message: str):
    with pytest.raises(TypeError, match=message):
        SessionEnv(small, **wrong)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Boredom(enabled="false"), r"boredom\.enabled must be true or false, given 'false'"),
        (lambda: Boredom(weight=None), r"boredom\.weight must be a number of at least 0, given None"),
        (lambda: Leave(rule=3), r"leave\.rule must be text, given 3"),
        (lambda: StepBudget(budget="20"), r"stepbudget\.budget must be a number from 1e-09 to 1,000,000, given '20'"),
        (lambda: gymnasium.make("lerl/Synthetic-v0", users="40"), r"synthetic\.users must be a whole .* given '40'"),
        (lambda: gymnasium.make("lerl/Synthetic-v0", population_seed="a"), "population_seed must be a whole .*'a'"),
        (lambda: gymnasium.make("lerl/Logs-v0", path=3), "path must be that of a folder, given 3"),
        (lambda: gymnasium.make_vec("lerl/Synthetic-v0", num_envs=True), "num_envs must be a whole number, given True"),
    ],
)
def test_strengths_and_sizes_of_a_wrong_type_are_refused(make: Callable[[], object], message: str):
    with pytest.raises(TypeError, match=message):
        make()


def test_whole_numbers_of_numpy_are_whole_numbers(small: Population):
    env = SessionEnv(small, slate_size=np.int64(2), boredom=Boredom(weight=np.float32(1)), topic_count=5)
    env.reset(seed=1)
    assert 0 <= env.step([0, 1])[1] <= 1


def test_a_vector_of_nobody_is_refused(small: Population):
    with pytest.raises(ValueError, match="num_envs must be at least 1, given 0"):
        SessionVectorEnv(small, 0)


@pytest.mark.parametrize("make", [gymnasium.make, gymnasium.make_vec])
@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("MovieLens", "lerl data prepare --format movielens FOLDER --out"),
        ("Goodbooks", "lerl data prepare --format goodbooks FOLDER --out"),
        ("KuaiRand", "lerl data prepare --format kuairand FOLDER --out"),
        ("KuaiRec", "lerl data prepare --format kuairec FOLDER --out"),
        ("Logs", "lerl data import --interactions FILE --items FILE --out"),
    ],
)
def test_a_missing_data_set_is_told_how_to_make_it(make: Any, name: str, command: str, tmp_path: Path):
    with pytest.raises(MissingDataError, match=rf"make it with `{command} .*mine`"):
        make(f"lerl/{name}-v0", path=str(tmp_path / "mine"))


@pytest.mark.parametrize("make", [gymnasium.make, gymnasium.make_vec])
def test_logs_of_ones_own_need_a_path(make: Any):
    with pytest.raises(
        ValueError, match=r"path is missing.*`lerl data import --interactions FILE.*`lerl data prepare`"
    ):
        make("lerl/Logs-v0")


@pytest.mark.parametrize("name", ["MovieLens", "Goodbooks", "KuaiRand", "KuaiRec"])
def test_a_named_data_set_has_a_folder_of_its_own(name: str, prepared: Path, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_population(load_population(prepared), tmp_path / "data" / name.lower())
    assert gymnasium.make(f"lerl/{name}-v0").reset(seed=0)


# real logs


def test_real_users_live_whole_sessions(tmp_path: Path):
    """The first 300 users of MovieLens-1M, prepared and played by slates of popular films."""
    if not (LOGS / "ratings.parquet").exists():
        pytest.skip(f"no MovieLens logs in {LOGS}; set LERL_DATA to the folder that holds ml1m/ratings.parquet")
    raw = tmp_path / "raw"
    raw.mkdir()
    pl.read_parquet(LOGS / "ratings.parquet").filter(pl.col("user_id") <= 300).write_parquet(raw / "ratings.parquet")
    pl.read_parquet(LOGS / "movies.parquet").write_parquet(raw / "movies.parquet")
    prepare("movielens", raw, tmp_path / "ml")
    env = gymnasium.make_vec("lerl/MovieLens-v0", 32, path=str(tmp_path / "ml"), split="evaluation", slate_size=6)
    observation, _ = env.reset(seed=0)
    popular = np.argsort(-env.simulator.population.knowledge.popularity, kind="stable")[:300].reshape(50, 6)
    rewards, ended = [], np.zeros(32, bool)
    for slate in popular:
        observation, reward, terminated, truncated, _ = env.step(np.tile(slate, (32, 1)))
        assert observation in env.observation_space
        rewards.append(reward[~ended].mean())
        ended = terminated | truncated
    assert set(env.state.user.tolist()) <= set(env.simulator.population.users("evaluation").tolist())
    assert rewards[0] > 0.4  # films that most people like, met fresh
    assert env.state.session.max() > 0  # somebody had enough of them, and another came
