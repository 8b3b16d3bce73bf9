"""Learners whose action is a point in item-vector space, a virtual item: their view of the users and their pointing."""

from typing import Any

import gymnasium
import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.sac.policies import SACPolicy
from stable_baselines3.td3.policies import TD3Policy

from lerl.agents.hierarchical import Hierarchy
from lerl.agents.learners.encoders import CategoryEncoder
from lerl.agents.learners.vec_env import SessionsView
from lerl.envs import draws
from lerl.envs.session import SessionVectorEnv

REACH = 20.0  # bound of a Gaussian action's coordinates, in standard deviations of item scores; hardly ever met
NEAR = 1.0  # the same where actions are squashed into their bounds: what a random action of the warm-up may be


class VirtualItemEnv(SessionsView):
    """The view of continuous learners: an action is a virtual item, matched with real ones on this side.

    An action a (D,) stands for the query `start * taste + a / scale`, scale being the items' standard deviation per
    coordinate, so that one unit of any coordinate moves item scores by about one unit of log-odds. The shift and the
    scale are constants of the state, so log-probabilities of actions are exact, and what a replay buffer holds is what
    was chosen.

    Args:
        env: the users, autoreset disabled. hierarchy: plans and retrieval. encoder: features.
        start: "taste" or "nothing".
        reward_scale: factor on rewards, so that values stay near 1.
        reach: bound of every coordinate of an action.
    """

    def __init__(
        self,
        env: SessionVectorEnv,
        hierarchy: Hierarchy,
        encoder: CategoryEncoder,
        start: str,
        reward_scale: float,
        reach: float = REACH,
    ) -> None:
        super().__init__(env, hierarchy, encoder, start, reward_scale, *virtual_spaces(encoder, reach))

    def _slates(self, actions: NDArray[Any]) -> NDArray[np.int32]:
        return self.hierarchy.slates(virtual_items(actions, self.hierarchy, self.encoder, self.start))


def virtual_spaces(encoder: CategoryEncoder, reach: float) -> tuple[gymnasium.spaces.Box, gymnasium.spaces.Box]:
    """Observations and actions of one slot."""
    return (
        gymnasium.spaces.Box(-np.inf, np.inf, (encoder.size,), np.float32),
        gymnasium.spaces.Box(-reach, reach, encoder.scale.shape, np.float32),
    )


def virtual_items(
    actions: NDArray[np.float32], hierarchy: Hierarchy, encoder: CategoryEncoder, start: str
) -> NDArray[np.float32]:
    """Queries (B, D) that actions (B, D) stand for."""
    moved = (actions / encoder.scale).astype(np.float32)
    return hierarchy.memory.tastes + moved if start == "taste" else moved


class PolicyScorer:
    """A trained actor that points for a hierarchy; noise comes from each session's own stream, not from the batch's.

    PPO, A2C, PG and SAC are sampled unless `deterministic`; TD3, DDPG and HAC learn one action per state and explore
    only in training, so they always take it.

    Args:
        policy: the actor. encoder: its features. start: "taste" or "nothing".
        deterministic: whether the mean action is taken.
    """

    def __init__(self, policy: BasePolicy, encoder: CategoryEncoder, start: str, deterministic: bool) -> None:
        self.policy, self.encoder, self.start, self.deterministic = policy, encoder, start, deterministic

    def __call__(self, hierarchy: Hierarchy) -> NDArray[np.float32]:
        """Virtual items (B, D)."""
        actions, spread = _actions(
            self.policy, torch.as_tensor(self.encoder.encode(hierarchy), device=self.policy.device)
        )
        if spread is not None and not self.deterministic:
            actions = actions + spread * _noise(hierarchy.memory.keys, hierarchy.memory.steps, actions.shape[1])
        reach = float(self.policy.action_space.high[0])  # type: ignore[attr-defined]
        if isinstance(self.policy, SACPolicy):
            actions = reach * np.tanh(actions)
        return virtual_items(np.clip(actions, -reach, reach).astype(np.float32), hierarchy, self.encoder, self.start)


@torch.no_grad()
def _actions(policy: BasePolicy, features: torch.Tensor) -> tuple[NDArray[np.float64], NDArray[np.float32] | None]:
    """Mean actions (B, D) and their standard deviations, None without; SAC's before they are squashed."""
    if isinstance(policy, TD3Policy):
        reach = float(policy.action_space.high[0])  # type: ignore[attr-defined]
        return reach * policy.actor(features).cpu().numpy().astype(np.float64), None
    if isinstance(policy, SACPolicy):
        mean, log_spread, _ = policy.actor.get_action_dist_params(features)
        return mean.cpu().numpy().astype(np.float64), log_spread.exp().cpu().numpy()
    if not isinstance(policy, ActorCriticPolicy):
        raise TypeError(f"{type(policy).__name__} does not point at virtual items")
    distribution: Any = policy.get_distribution(features).distribution
    return distribution.mean.cpu().numpy().astype(np.float64), distribution.stddev.cpu().numpy()


@njit(cache=True)
def _noise(keys, steps, dim):  # type: ignore[no-untyped-def]
    noise = np.empty((len(keys), dim), np.float64)
    for b in range(len(keys)):
        key = draws.stream(keys[b], 1, steps[b], 0)
        for j in range(dim):
            noise[b, j] = draws.normal(key, j)
    return noise
