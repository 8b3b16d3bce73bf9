"""Networks that choose among the eligible items: MaskablePPO's policy, and DQN with its exploration."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sb3_contrib.common.maskable.distributions import MaskableDistribution
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from stable_baselines3 import DQN
from stable_baselines3.dqn.policies import DQNPolicy, QNetwork
from torch import nn

from lerl.agents.learners.encoders import Layout
from lerl.agents.learners.masks import BITS


def known_in(observations: torch.Tensor, layout: Layout) -> tuple[torch.Tensor, torch.Tensor]:
    """Tastes (B, D) and offsets (B, 1) of observations (B, n)."""
    first = layout.features + 2 * layout.history
    last = first + layout.vectors.shape[1]
    return observations[:, first:last], observations[:, last : last + 1]


def predicted(observations: torch.Tensor, layout: Layout) -> tuple[torch.Tensor, torch.Tensor]:
    """What known history says of every item: log-odds of a click without the user's offset (B, I), and that (B, 1).

    Args:
        observations: (B, n), as `DiscreteItemEnv` makes them. layout: what lies where in one.
    """
    tastes, offsets = known_in(observations, layout)
    return tastes @ torch.as_tensor(layout.vectors, device=observations.device).T, offsets


def words_in(observations: torch.Tensor, layout: Layout) -> torch.Tensor:
    """The eligible items of observations (B, n) as bits (B, ceil(I / 24)), see `masks`."""
    first = layout.features + 2 * layout.history + layout.vectors.shape[1] + 1
    return observations[:, first : first + -(-len(layout.vectors) // BITS)]


def eligible_in(observations: torch.Tensor, layout: Layout) -> torch.Tensor:
    """The items (B, I) bool that observations (B, n) call eligible."""
    places = torch.arange(BITS - 1, -1, -1, dtype=torch.int32, device=observations.device)
    whole = words_in(observations, layout).to(torch.int32)[..., None] >> places[7::8]
    bits = whole.to(torch.uint8).flatten(start_dim=1)[..., None] >> places[-8:].to(torch.uint8)  # eight at once
    return (bits & 1).flatten(start_dim=1)[:, : len(layout.vectors)].bool()


class MaskedPolicy(MaskableActorCriticPolicy):
    """Softmax over the eligible items of predicted log-odds plus a correction that is learned, over a temperature.

    The temperature is exp(log_std): a softmax at temperature t is what Gumbel noise of scale t on item scores chooses
    (Gumbel, 1954), so that `train.log_std` means the same to discrete and to continuous learners, noise on the
    log-odds. The mask is exact (Huang and Ontanon, "A closer look at invalid action masking in policy gradient
    algorithms", FLAIRS 2022): probabilities, their logarithms and the entropy are those among the eligible.

    Args:
        log_std_init: logarithm of the temperature. arguments, options: those of Stable-Baselines3's policy.
    """

    def __init__(self, *arguments: Any, log_std_init: float = 0.0, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.log_std = nn.Parameter(torch.full((1,), log_std_init), requires_grad=False)

    def get_distribution(self, obs: Any, action_masks: Any = None) -> MaskableDistribution:
        """The distribution over items for observations (B, n), among the masked-in (B, I) where masks are given."""
        latent = self.mlp_extractor.forward_actor(self.features_extractor(obs))
        scores, _ = predicted(obs, self.features_extractor.layout)  # type: ignore[arg-type]
        logits = (scores + self.action_net(latent)) / self.log_std.exp()
        if action_masks is None:
            return self.action_dist.proba_distribution(logits)
        # Masked here too: sb3-contrib's own -1e8 is no bound below what a small temperature gives eligible items.
        logits = torch.where(
            torch.as_tensor(action_masks, device=logits.device).bool().reshape(logits.shape), logits, -torch.inf
        )
        distribution = self.action_dist.proba_distribution(logits)
        distribution.apply_masking(action_masks)
        return distribution

    def forward(
        self, obs: torch.Tensor, deterministic: bool = False, action_masks: NDArray[Any] | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Items (B,), values (B, 1) and log-probabilities (B,)."""
        distribution = self.get_distribution(obs, action_masks)
        items = distribution.get_actions(deterministic=deterministic)
        return items, self.predict_values(obs), distribution.log_prob(items)

    def evaluate_actions(
        self, obs: torch.Tensor, actions: torch.Tensor, action_masks: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Values (B, 1), log-probabilities (B,) and entropies (B,) of items (B,)."""
        distribution = self.get_distribution(obs, action_masks)
        return self.predict_values(obs), distribution.log_prob(actions), distribution.entropy()


class MaskedQNetwork(QNetwork):
    """Q-values (B, I), minus infinity for items that are not eligible.

    It begins as the predicted reward of the step, and learns the correction. Since the mask is part of the observation,
    the maximum in the target is over the items eligible at the next step, as in Q-learning, and the greedy choice
    needs no repair.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        nn.init.zeros_(self.q_net[-1].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.q_net[-1].bias)  # type: ignore[arg-type]

    def forward(self, obs: Any) -> torch.Tensor:
        """(B, n) -> (B, I)."""
        layout: Layout = self.features_extractor.layout  # type: ignore[assignment]
        scores, offset = predicted(obs, layout)
        values = super().forward(obs) + layout.reward_scale * torch.sigmoid(scores + offset)
        return torch.where(eligible_in(obs, layout), values, -torch.inf)


class MaskedQPolicy(DQNPolicy):
    """DQN's policy with masked Q-networks."""

    def make_q_net(self) -> QNetwork:
        """A Q-network with a features extractor of its own."""
        return MaskedQNetwork(**self._update_features_extractor(self.net_args, features_extractor=None))


class MaskedDQN(DQN):
    """Deep Q-learning (Mnih et al., Nature 2015) that explores among the eligible items only.

    Every slot throws its own coin for exploring; Stable-Baselines3 throws one for all slots, and draws from all items.
    """

    def _sample_action(
        self, learning_starts: int, action_noise: Any = None, n_envs: int = 1
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Items (B,), at random before `learning_starts` steps, and as they are kept in the buffer."""
        network: Any = self.policy.q_net
        observations = torch.as_tensor(self._last_obs, device=self.device)
        with torch.no_grad():
            values = network(observations).cpu().numpy()  # (B, I)
        draw = self.action_space.np_random
        share = 1.0 if self.num_timesteps < learning_starts else self.exploration_rate
        anything = np.where(np.isfinite(values), draw.random(values.shape), -1.0).argmax(axis=1)
        items = np.where(draw.random(n_envs) < share, anything, values.argmax(axis=1))
        return items, items
