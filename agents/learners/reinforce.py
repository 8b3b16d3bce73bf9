"""Policy gradient with Monte-Carlo returns and no critic, on Stable-Baselines3's A2C."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3 import A2C
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.policies import ActorCriticPolicy


class PolicyGradient(A2C):
    """REINFORCE (Williams, "Simple statistical gradient-following algorithms", Machine Learning 1992).

    One gradient step over each rollout, every action weighted by the discounted sum of rewards from there on, less
    the baseline of `ReturnsBuffer`, over the rollout's standard deviation. Where a session goes on beyond the end of a
    rollout, or is cut by the step cap, what comes later is not estimated and counts nothing, so that late actions of a
    rollout are judged by few steps; a longer `train.rollout` sees further.

    Args:
        arguments, options: those of A2C.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        # With a value of 0 everywhere, and lambda 1, advantages are discounted sums of rewards.
        own = {"gae_lambda": 1.0, "vf_coef": 0.0, "normalize_advantage": True, "rollout_buffer_class": ReturnsBuffer}
        super().__init__(*arguments, **{**options, **own})


class ReturnsBuffer(RolloutBuffer):
    """A rollout whose advantages are returns less their mean over the users at the same step of the rollout.

    Returns late in a rollout are sums of fewer rewards; the mean over everybody's takes that off, and depends on no
    single action. With one user there is no such mean.
    """

    def compute_returns_and_advantage(self, last_values: torch.Tensor, dones: NDArray[np.bool_]) -> None:
        """Advantages (T, B) of the rollout; values are 0."""
        super().compute_returns_and_advantage(last_values, dones)
        if self.n_envs > 1:
            self.advantages -= self.advantages.mean(axis=1, keepdims=True)


class ActorPolicy(ActorCriticPolicy):
    """An actor without a critic: its value is 0 everywhere, and stays so."""

    def _build(self, lr_schedule: Any) -> None:
        super()._build(lr_schedule)
        for weights in self.value_net.parameters():
            weights.requires_grad_(False).zero_()
