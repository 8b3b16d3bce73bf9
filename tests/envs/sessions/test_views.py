"""Lives as Gymnasium sees them: spaces, infos, ends, autoreset, snapshots, errors."""

import copy
from typing import Any

import gymnasium
import numpy as np
import pytest
import stable_baselines3.common.env_checker as sb3
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers.vector import RecordEpisodeStatistics
from stable_baselines3 import PPO

import lerl  # noqa: F401 - registers the environments
from lerl.envs.config import Drift, SimulatorConfig
from lerl.envs.population import Population
from lerl.envs.session import SessionEnv, SessionVectorEnv
from lerl.envs.sessions.views import MOST, most_sessions

SIZES = {"users": 40, "items": 60, "categories": 6, "dim": 4}
DAYS: dict[str, Any] = {"horizon": "days", "days": 4, "max_steps": 6, "topic_count": 5, "repeats": True}
SOON: dict[str, Any] = {"gap": {"typical": 0.5}}
OWN = {"sessions", "days_since", "days_left"}
TOLD = {"session", "day", "gap", "session_ended", "feedback"}
HIDDEN = {"memory", "habit", "last_satisfaction"}


def same(one: Any, other: Any) -> None:
    """Asserts that two observations, infos or snapshots are equal to the bit."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            same(one[key], other[key])
    elif isinstance(one, np.ndarray) and one.dtype == object:
        for mine, theirs in zip(one, other, strict=True):
            same(mine, theirs)
    elif one is not None:
        assert np.asarray(one).dtype == np.asarray(other).dtype
        np.testing.assert_array_equal(one, other, strict=True)


def unmasked(step: Any) -> Any:
    """What a vector of single users gave, without their masks, which a vector of our own leaves out."""
    if isinstance(step, dict):
        return {key: unmasked(value) for key, value in step.items() if key not in ("action_mask", "_action_mask")}
    return tuple(map(unmasked, step)) if isinstance(step, tuple) else step


@pytest.mark.parametrize("slate_size", [1, 6])
@pytest.mark.parametrize("name", ["lerl/Synthetic-v0", "lerl/Logs-v0"])
def test_both_checkers_pass_without_a_warning(name: str, slate_size: int, prepared: Any) -> None:
    data = SIZES if name == "lerl/Synthetic-v0" else {"path": str(prepared)}
    env = gymnasium.make(name, slate_size=slate_size, horizon="days", days=30, **data).unwrapped
    check_env(env)
    sb3.check_env(env)


@pytest.mark.parametrize("shortest", [1 / 48, 0, 1e-9])
def test_spaces_are_never_left(small: Population, shortest: float) -> None:
    env = SessionVectorEnv(small, 20, return_={"gap": {"typical": 0.05, "shortest": shortest}}, **DAYS)
    observation, _ = env.reset(seed=0)
    env.action_space.seed(0)
    assert env.single_observation_space["sessions"].high == most_sessions(env.simulator.config)
    for _ in range(200):
        assert observation in env.observation_space
        observation, *_ = env.step(env.action_space.sample())
    assert most_sessions(SimulatorConfig(days=30)) == 1440
    assert most_sessions(SimulatorConfig(days=30, return_={"gap": {"shortest": 0}})) == MOST  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize("slate_size", [1, 3])
def test_a_slot_lives_what_a_single_environment_with_its_seed_lives(
    small: Population, mode: AutoresetMode, slate_size: int
) -> None:
    how = {"slate_size": slate_size, "reveal_hidden": True, "mood": {"spread": 0.3}, "return_": SOON, **DAYS}
    ours = SessionVectorEnv(small, 4, autoreset_mode=mode, **how)
    theirs = SyncVectorEnv([lambda: SessionEnv(small, **how)] * 4, autoreset_mode=mode)
    assert ours.observation_space == theirs.observation_space
    for mine, other in zip(ours.reset(seed=5), unmasked(theirs.reset(seed=5)), strict=True):
        same(mine, other)
    ours.action_space.seed(0)
    lives = sessions = 0
    for _ in range(150):
        action = ours.action_space.sample()
        step = ours.step(action)
        for mine, other in zip(step, unmasked(theirs.step(action)), strict=True):
            same(mine, other)
        ended = step[2] | step[3]
        lives += int(ended.sum())
        sessions += int(step[4]["session_ended"].sum())
        if mode == AutoresetMode.DISABLED and ended.any():
            again = [env.reset(options={"reset_mask": ended.copy()}) for env in (ours, theirs)]
            for mine, other in zip(again[0], unmasked(again[1]), strict=True):
                same(mine, other)
    assert lives > 4
    assert sessions > 2 * lives


def test_the_first_session_is_seen_as_without_a_life(small: Population) -> None:
    plain = {key: value for key, value in DAYS.items() if key not in ("horizon", "days")}
    one, other = SessionEnv(small, **DAYS), SessionEnv(small, **plain)
    (observation, info), (expected, told) = one.reset(seed=3), other.reset(seed=3)
    for item in range(6):
        same({key: value for key, value in observation.items() if key not in OWN}, expected)
        assert info.keys() - told.keys() == TOLD
        assert (observation["sessions"], observation["days_since"], observation["days_left"]) == (0, 0, 4)
        observation, reward, *_, info = one.step(item)
        expected, expected_reward, terminated, truncated, told = other.step(item)
        assert reward == expected_reward
        if terminated or truncated:
            break
    assert info["session_ended"]


def test_the_step_that_ends_a_session_shows_the_start_of_the_next(small: Population) -> None:
    env = SessionEnv(small, leave="never", return_={"churn": {"enabled": False}}, **{**DAYS, "days": 3650})
    observation, info = env.reset(seed=1)
    day = 0.0
    for step in range(1, 31):
        observation, reward, terminated, truncated, info = env.step(step)
        assert not terminated
        assert not truncated
        assert reward == info["feedback"][0]
        assert info["session_ended"] == (step % 6 == 0)
        assert info["session"] == observation["sessions"][0] == step // 6
        assert observation["time_left"][0] == np.float32(1 - step % 6 / 6)
        if step % 6 == 0:
            day += info["gap"]
            assert (observation["recent_items"] == -1).all()
            assert info["gap"] >= 1 / 48
        assert info["day"] == pytest.approx(day)
        assert observation["days_since"][0] == np.float32(info["gap"])
        assert observation["days_left"][0] == pytest.approx(3650 - day)


def test_lives_end_by_churn_or_by_their_last_day_and_show_their_last_session(small: Population) -> None:
    env = SessionVectorEnv(small, 60, autoreset_mode="Disabled", reveal_hidden=True, return_=SOON, **DAYS)
    env.reset(seed=0)
    ends = {"terminated": 0, "truncated": 0}
    for item in range(300):
        observation, _, terminated, truncated, info = env.step(np.full(60, item % 60))
        ended = terminated | truncated
        assert info["session_ended"][ended].all()
        assert (observation["time_left"][ended] < 1).all()
        assert env.lives is not None
        np.testing.assert_array_equal(env.lives.churned[ended], terminated[ended])
        np.testing.assert_array_equal(info["satisfaction"][ended], info["last_satisfaction"][ended])
        ends["terminated"] += terminated.sum()
        ends["truncated"] += truncated.sum()
        if ended.any():
            env.reset(options={"reset_mask": ended})
    assert min(ends.values()) > 10


def test_hidden_state_of_lives_comes_out_on_request_only(small: Population) -> None:
    for hidden in (False, True):
        env = SessionVectorEnv(small, 3, reveal_hidden=hidden, **DAYS)
        for _, info in (env.reset(seed=0), (None, env.step([1, 2, 3])[4])):
            assert info.keys() >= TOLD | {f"_{key}" for key in TOLD}
            assert (info.keys() >= HIDDEN) == hidden
    assert SessionVectorEnv(small, 3).lives is None


def test_a_snapshot_goes_on_the_same(small: Population) -> None:
    how = {"return_": SOON, "reveal_hidden": True, **DAYS}
    env, other = SessionVectorEnv(small, 8, **how), SessionVectorEnv(small, 8, **how)
    env.reset(seed=0)
    other.reset(seed=99)
    for step in range(25):
        env.step(np.full(8, step))
    kept = env.snapshot()
    first = [env.step(np.full(8, step)) for step in range(30)]
    for again in (env, other):
        again.restore(copy.deepcopy(kept))
        for step, expected in enumerate(first):
            for mine, theirs in zip(again.step(np.full(8, step)), expected, strict=True):
                same(mine, theirs)


def test_a_reset_without_a_seed_is_another_life_of_the_same_seed(small: Population) -> None:
    env = SessionEnv(small, **DAYS)
    env.reset(seed=4)
    env.reset()
    assert env._session.lives is not None
    assert env._session.lives.number.tolist() == [1]
    observation, _ = env.reset(seed=4)
    same(observation, SessionEnv(small, **DAYS).reset(seed=4)[0])


def test_threads_do_not_change_a_bit(small: Population, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lerl.envs.threads.LEAST", 5.0)
    actions = np.random.default_rng(0).integers(60, size=(40, 200))
    found = []
    for threads in (1, 3):
        env = SessionVectorEnv(small, 200, threads=threads, return_=SOON, **DAYS)
        env.reset(seed=0)
        found.append([env.step(action) for action in actions])
    for one, other in zip(*found, strict=True):
        for mine, theirs in zip(one, other, strict=True):
            same(mine, theirs)


def test_gymnasiums_wrappers_count_whole_lives(small: Population) -> None:
    never = {"churn": {"enabled": False}, "gap": {"typical": 1e-9, "shortest": 1.0}}
    env = RecordEpisodeStatistics(SessionVectorEnv(small, 3, leave="never", return_=never, **DAYS))
    env.reset(seed=0)
    lengths = []
    for step in range(30):
        *_, truncated, info = env.step(np.full(3, step))
        if truncated.any():
            lengths = info["episode"]["l"].tolist()
            break
    assert lengths == [24, 24, 24]  # sessions of 6 steps on days 0, 1, 2 and 3; the next would be on day 4


def test_a_stock_ppo_trains_on_lives() -> None:
    env = gymnasium.make("lerl/Synthetic-v0", **SIZES, **DAYS)
    model = PPO("MultiInputPolicy", env, n_steps=64, batch_size=32, n_epochs=1, seed=0, device="cpu")
    model.learn(128)
    assert model.num_timesteps == 128


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"horizon": "day"}, r"env\.horizon must be 'session' or 'days', given 'day'"),
        ({"days": 0}, r"env\.days must be a number from 1 to 3,650, given 0"),
        ({"days": 4000}, r"env\.days must be a number from 1 to 3,650, given 4000"),
        ({"return_": {"chrun": {}}}, r"unknown key env\.return_\.chrun\. Did you mean env\.return_\.churn\?"),
        ({"return_": {"gap": {"shape": 0}}}, r"env\.return_\.gap\.shape must be a number from 0\.05 to 20, given 0"),
        ({"return_": {"memory": {"rate": 2}}}, r"env\.return_\.memory\.rate must be a number from 0 to 1, given 2"),
    ],
)
def test_bad_settings_are_refused(small: Population, wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SessionEnv(small, **{**DAYS, **wrong})


def test_what_happens_between_sessions_is_harmless_where_there_is_one(small: Population) -> None:
    env = SessionEnv(small, return_={"churn": {"enabled": False}}, days=7)
    observation, info = env.reset(seed=0)
    assert not observation.keys() & OWN
    assert not info.keys() & TOLD


def test_nobody_steps_before_a_reset_or_after_churning(small: Population) -> None:
    env = SessionEnv(small, return_={"churn": {"highest": 1, "threshold": 1, "width": 1e-9}}, **DAYS)
    with pytest.raises(ResetNeeded, match="called before reset"):
        env.step(0)
    env.reset(seed=0)
    terminated = False
    for item in range(6):
        if not terminated:
            terminated = env.step(item)[2]
    assert terminated
    with pytest.raises(ResetNeeded, match="after the session had ended"):
        env.step(0)


def test_lives_of_users_whose_tastes_do_not_drift_and_of_slates_with_roles(small: Population) -> None:
    env = SessionVectorEnv(small, 6, drift=Drift(enabled=False), return_=SOON, **DAYS)
    env.reset(seed=0)
    composite: Any = gymnasium.make_vec("lerl/Composite-v0", num_envs=6, horizon="days", days=4, return_=SOON)
    composite.reset(seed=0)
    sessions = 0
    for view in (env, composite):
        view.action_space.seed(0)
        for _ in range(60):
            observation, *_, info = view.step(view.action_space.sample())
            assert observation in view.observation_space
            sessions += info["session_ended"].sum()
    assert sessions > 10
