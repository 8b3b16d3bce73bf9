"""The faster PPO learns what Stable-Baselines3's learns, bit for bit, and stops where its weights are no numbers."""

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv

from lerl.agents.learners.ppo import FasterPPO

SETTINGS: dict[str, Any] = {"n_steps": 32, "batch_size": 24, "n_epochs": 3, "seed": 0, "device": "cpu"}


class Pointing(gymnasium.Env):  # type: ignore[type-arg]
    """A reward for pointing where one was given to, less where another did; ends after five steps."""

    observation_space = gymnasium.spaces.Box(-1, 1, (3,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (3,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        """Begin."""
        super().reset(seed=seed)
        self.steps = 0
        self.given = self.np_random.uniform(-1, 1, 3).astype(np.float32)
        return self.given, {}

    def step(self, action: Any) -> Any:
        """Point, and be given anew."""
        self.steps += 1
        reward = 1 - float(np.square(action - self.given).sum())
        self.given = self.np_random.uniform(-1, 1, 3).astype(np.float32)
        return self.given, reward, False, self.steps >= 5, {}


def trained(kind: type[PPO]) -> PPO:
    network = {"net_arch": {"pi": [16, 16], "vf": [16, 16]}}
    model = kind("MlpPolicy", DummyVecEnv([Pointing] * 3), policy_kwargs=network, **SETTINGS)
    return model.learn(500)


def test_it_learns_the_same_weights_as_stable_baselines3():
    faster, plain = trained(FasterPPO).policy.state_dict(), trained(PPO).policy.state_dict()
    assert faster.keys() == plain.keys()
    for name, weights in plain.items():
        assert torch.equal(faster[name], weights), name


def test_weights_that_are_no_numbers_end_the_training():
    model = FasterPPO("MlpPolicy", DummyVecEnv([Pointing] * 3), policy_kwargs={}, learning_rate=1e30, **SETTINGS)
    with pytest.raises(ValueError, match="weights are no numbers any more"):
        model.learn(500)
    assert model.num_timesteps <= 3 * 96
