"""What a population holds: shared by all rows, so that nobody may change it for the others."""

import dataclasses

import numpy as np
import pytest

from lerl.envs.population import Population
from lerl.envs.session import SessionVectorEnv


def test_no_array_that_rows_share_can_be_written(small: Population):
    owners = (small, small.truth, small.knowledge)
    fields = [(owner, field.name) for owner in owners for field in dataclasses.fields(owner)]
    arrays = [getattr(owner, name) for owner, name in fields if isinstance(getattr(owner, name), np.ndarray)]
    arrays.append(SessionVectorEnv(small, 2, topic_count=3).simulator.topics)
    assert len(arrays) == 11
    for array in arrays:
        with pytest.raises(ValueError, match="read-only"):
            array[:] = 0


def test_an_observation_is_a_copy_of_what_is_known(small: Population):
    env = SessionVectorEnv(small, 2, topic_count=3)
    observation, _ = env.reset(seed=1)
    users, before = env.state.user.copy(), small.knowledge.tastes.copy()
    for value in observation.values():
        value[:] = 0
    assert (small.knowledge.tastes == before).all()
    assert (env.state.user == users).all()
