"""Returns of policy gradient on a rollout by hand; that it learns is tested with all learners."""

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3.common.vec_env import DummyVecEnv

from lerl.agents.learners.reinforce import ActorPolicy, PolicyGradient, ReturnsBuffer

SEEN = gymnasium.spaces.Box(-1, 1, (1,), np.float32)


def filled(rewards: list[list[float]], starts: list[list[bool]]) -> ReturnsBuffer:
    """A rollout (T, B) under a policy whose value is 0, at a discount of 0.5."""
    users = len(rewards[0])
    buffer = ReturnsBuffer(len(rewards), SEEN, SEEN, "cpu", gae_lambda=1.0, gamma=0.5, n_envs=users)
    nothing, zero = np.zeros((users, 1), np.float32), torch.zeros(users)
    for reward, start in zip(rewards, starts, strict=True):
        buffer.add(nothing, nothing, np.array(reward), np.array(start), zero, zero)
    buffer.compute_returns_and_advantage(torch.zeros(users), np.zeros(users, bool))
    return buffer


def test_returns_end_with_the_session_and_with_the_rollout_and_lose_their_mean_over_users():
    """User 0 goes on beyond the rollout: returns 1 + 0.5 * (0 + 0.5 * 1) = 1.25, 0.5, 1. User 1 begins anew at the
    third step: returns 0 + 0.5 * 1 = 0.5, 1, 0. Means: 0.875, 0.75, 0.5."""
    buffer = filled([[1, 0], [0, 1], [1, 0]], [[True, True], [False, False], [False, True]])
    np.testing.assert_allclose(buffer.advantages, [[0.375, -0.375], [-0.25, 0.25], [0.5, -0.5]])


def test_one_user_has_no_mean_to_lose():
    np.testing.assert_allclose(filled([[1], [1]], [[True], [False]]).advantages, [[1.5], [1.0]])


class Endless(gymnasium.Env):  # type: ignore[type-arg]
    """A reward of 1 a step for ever; the step cap comes after two."""

    observation_space, action_space = SEEN, SEEN

    def reset(self, **_: object) -> tuple[np.ndarray, dict[str, object]]:
        self.steps = 0
        return np.ones(1, np.float32), {}

    def step(self, _: object) -> tuple[np.ndarray, float, bool, bool, dict[str, object]]:
        self.steps += 1
        return np.ones(1, np.float32), 1.0, False, self.steps == 2, {}


@pytest.mark.parametrize("steps", [2, 3])
def test_nothing_is_estimated_and_no_value_is_learned(steps: int):
    """Neither after the step cap nor after the rollout's end: over 2 steps 1 + 0.5 and 1, and the third begins anew."""
    model = PolicyGradient(ActorPolicy, DummyVecEnv([Endless]), gamma=0.5, n_steps=steps, seed=0)
    weights = [weight.clone() for weight in model.policy.action_net.parameters()]
    model.learn(steps)
    np.testing.assert_allclose(model.rollout_buffer.advantages[:, 0], [1.5, 1.0, 1.0][:steps])
    assert not model.rollout_buffer.values.any()
    assert not any(weight.any() for weight in model.policy.value_net.parameters())
    after = model.policy.action_net.parameters()
    assert any((was != now).any() for was, now in zip(weights, after, strict=True))
