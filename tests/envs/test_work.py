"""How much work a step is: calls and bytes, which are the same on every machine however busy it is, never seconds."""

import sys
import tracemalloc
from typing import Any

import numpy as np
import pytest

from lerl.envs.config import Leave
from lerl.envs.population import Population
from lerl.envs.session import SessionEnv, SessionVectorEnv

LASTING: dict[str, Any] = {"topic_count": 5, "leave": Leave("never"), "repeats": True}


def calls(env: Any, action: Any) -> float:
    """Calls of Python and C functions per step, after a first step that compiles."""
    env.step(action)
    count = 0

    def profile(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        for _ in range(10):
            env.step(action)
    finally:
        sys.setprofile(before)
    return count / 10


def test_one_users_step_is_some_seventy_calls(small: Population):
    env = SessionEnv(small, **LASTING)
    env.reset(seed=0)
    assert calls(env, 3) <= 80  # each costs a tenth of a microsecond and more; a step takes about 27


def test_a_step_of_many_users_is_as_many_calls_as_one_of_few(small: Population):
    found = []
    for count in (4, 300):
        env = SessionVectorEnv(small, count, slate_size=3, **LASTING)
        env.reset(seed=0)
        found.append(calls(env, np.tile(np.arange(3), (count, 1))))
    assert found[0] == found[1] <= 115


def test_a_reset_of_many_slots_is_as_many_calls_as_one_of_few(small: Population):
    found = []
    for count in (4, 300):
        env = SessionVectorEnv(small, count, max_steps=1, **{**LASTING, "leave": Leave("never")})
        env.reset(seed=0)
        found.append(calls(env, np.arange(count) % 60))  # every other step begins all slots anew
    assert found[0] == found[1] <= 190


@pytest.mark.parametrize("slate_size", [1, 6])
def test_a_step_takes_little_more_memory_than_its_observation(small: Population, slate_size: int):
    count = 512
    env = SessionVectorEnv(small, count, slate_size=slate_size, **LASTING)
    observation, _ = env.reset(seed=0)
    action = np.tile(np.arange(slate_size), (count, 1))
    for _ in range(3):
        env.step(action)
    tracemalloc.start()
    try:
        begun = tracemalloc.get_traced_memory()[0]
        kept = env.step(action)
        now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    seen = sum(array.nbytes for array in kept[0].values()) / count
    assert seen == sum(array.nbytes for array in observation.values()) / count
    assert (now - begun) / count <= seen + 60  # rewards, flags, what was shown; bytes a user
    assert (peak - begun) / count <= seen + 250
