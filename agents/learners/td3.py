"""The actor of TD3 and DDPG, which can always come back from the bounds of its actions."""

from typing import Any

import torch
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.td3.policies import Actor, TD3Policy
from torch import nn


class BoundedPolicy(TD3Policy):
    """TD3's policy with an actor that is bounded by inverted gradients instead of a tanh.

    What a virtual item brings is a step function of it, so a critic's slope says little far from the step, and drives
    an actor into its bounds, where a tanh has no gradient left. Inverting gradients (Hausknecht and Stone, "Deep
    reinforcement learning in parameterized action space", ICLR 2016, equation 11) shrinks the gradient towards a bound
    with the way that is left to it and leaves the way back open.
    """

    def make_actor(self, features_extractor: BaseFeaturesExtractor | None = None) -> Actor:
        """An actor of Stable-Baselines3 with another last layer."""
        actor = super().make_actor(features_extractor)
        actor.mu[-1] = Bounds()
        return actor


class Bounds(nn.Module):
    """Actions in [-1, 1], cut off there; the gradient of a loss by them is scaled by half the way left in its sense."""

    def forward(self, actions: torch.Tensor) -> torch.Tensor:
        """Actions of any shape, cut off."""
        return _Inverted.apply(actions)  # type: ignore[no-untyped-call]


class _Inverted(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, actions: torch.Tensor) -> torch.Tensor:
        bounded = actions.clamp(-1.0, 1.0)
        ctx.save_for_backward(bounded)
        return bounded

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        (bounded,), (gradient,) = ctx.saved_tensors, gradients
        return gradient * torch.where(gradient < 0, 1.0 - bounded, 1.0 + bounded) / 2.0
