"""Learners that choose one item by its number, for small catalogues: their view of the users and their agent."""

from typing import Any

import gymnasium
import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from stable_baselines3.common.policies import BasePolicy

from lerl.agents.base import Observation
from lerl.agents.encoders import CategoryEncoder
from lerl.agents.hierarchical import HierarchicalAgent, Hierarchy
from lerl.agents.masked import MaskedPolicy
from lerl.agents.view import SessionsView
from lerl.envs import draws
from lerl.envs.session import SessionVectorEnv

MOST_ITEMS = 2000  # every item is an output of the network, and is only learned about when it is shown


def check_discrete(row: str, items: int, slate_size: int) -> None:
    """Refuse a task that a discrete learner is not for.

    Raises:
        ValueError: slates hold more than one item, or the catalogue more than 2,000.
    """
    if slate_size != 1:
        raise ValueError(
            f"{row} chooses one item by its number, so env.slate_size must be 1, given {slate_size}; "
            "set it, or learn over virtual items with ppo, a2c, sac, td3 or ddpg"
        )
    if items > MOST_ITEMS:
        raise ValueError(
            f"{row} chooses one item by its number among at most {MOST_ITEMS} items, the catalogue has {items}; "
            "use a smaller one, or learn over virtual items with ppo, a2c, sac, td3 or ddpg"
        )


class DiscreteItemEnv(SessionsView):
    """The view of discrete learners: an action is an item's number, and observations say which are eligible.

    Behind the encoder's part an observation holds the taste that the policy starts from (zeros for "nothing"), its
    offset, and the eligible items, eight to a number: `1 + D + ceil(I / 8)` floats. Masks in a replay buffer are
    therefore those of the step itself, and a target's maximum is over the items that could really come next.

    Args:
        env: the users, autoreset disabled, slates of one. hierarchy: plans and retrieval. encoder: features.
        start: "taste" or "nothing".
        reward_scale: factor on rewards, so that values stay near 1.
    """

    def __init__(
        self, env: SessionVectorEnv, hierarchy: Hierarchy, encoder: CategoryEncoder, start: str, reward_scale: float
    ) -> None:
        super().__init__(env, hierarchy, encoder, start, reward_scale, *discrete_spaces(encoder))
        self._eligible = np.ones((env.num_envs, len(hierarchy.setting.catalog)), bool)

    def _slates(self, actions: NDArray[Any]) -> NDArray[np.int32]:
        return actions.astype(np.int32)[:, None]

    def _observe(self) -> NDArray[np.float32]:
        self._eligible, _ = self.hierarchy.eligible()
        return discrete_observation(self.hierarchy, self.encoder, self.start, self._eligible)

    def _renew(self, features: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
        return self._observe()

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go back to a snapshot of a view made with the same settings; masks follow from what it holds."""
        super().restore(snapshot)
        self._eligible, _ = self.hierarchy.eligible()

    def has_attr(self, attr_name: str) -> bool:
        """Whether there is such an attribute; `action_masks` is what MaskablePPO asks for."""
        return attr_name == "action_masks" or super().has_attr(attr_name)

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        """`action_masks`, which MaskablePPO asks for: (I,) bool of every slot."""
        if method_name != "action_masks":
            return super().env_method(method_name, *args, indices=indices, **kwargs)
        return [self._eligible[slot] for slot in self._get_indices(indices)]


def discrete_spaces(encoder: CategoryEncoder) -> tuple[gymnasium.spaces.Box, gymnasium.spaces.Discrete]:
    """Observations and actions of one slot."""
    items, dim = encoder.setting.knowledge.item_vectors.shape
    size = encoder.size + dim + 1 + -(-items // 8)
    return gymnasium.spaces.Box(-np.inf, np.inf, (size,), np.float32), gymnasium.spaces.Discrete(items)


def discrete_observation(
    hierarchy: Hierarchy, encoder: CategoryEncoder, start: str, eligible: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Observations (B, n) of the sessions in a hierarchy's slots; eligible: (B, I) bool."""
    known = np.column_stack([hierarchy.memory.tastes, hierarchy.memory.offsets])
    return np.concatenate(
        [encoder.encode(hierarchy), known if start == "taste" else np.zeros_like(known), np.packbits(eligible, axis=1)],
        axis=1,
        dtype=np.float32,
    )


class ItemChooser:
    """A trained discrete policy that chooses for a hierarchy; its draws come from each session's own stream.

    MaskablePPO is sampled unless `deterministic`. DQN explores in training alone and always takes the best eligible.

    Args:
        policy: the network. encoder: its features. start: "taste" or "nothing".
        deterministic: whether the likeliest item is taken.
    """

    def __init__(self, policy: BasePolicy, encoder: CategoryEncoder, start: str, deterministic: bool) -> None:
        self.policy, self.encoder, self.start = policy, encoder, start
        self.deterministic = deterministic or not isinstance(policy, MaskedPolicy)

    def __call__(self, hierarchy: Hierarchy, eligible: NDArray[np.bool_]) -> NDArray[np.int32]:
        """Items (B,) among the eligible (B, I)."""
        network: Any = self.policy
        seen = discrete_observation(hierarchy, self.encoder, self.start, eligible)
        observation = torch.as_tensor(seen, device=network.device)
        with torch.no_grad():
            if not isinstance(self.policy, MaskedPolicy):
                return network.q_net(observation).argmax(dim=1).cpu().numpy().astype(np.int32)
            distribution = network.get_distribution(observation, eligible).distribution
        if self.deterministic:
            return distribution.logits.argmax(dim=1).cpu().numpy().astype(np.int32)
        chances = np.where(eligible, distribution.probs.cpu().numpy().astype(np.float64), 0.0)
        return _drawn(hierarchy.memory.keys, hierarchy.memory.steps, chances)


@njit(cache=True)
def _drawn(keys, steps, chances):  # type: ignore[no-untyped-def]
    """One item (B,) from each row of chances (B, I), which need not sum to 1; those of chance 0 never come."""
    items = np.zeros(len(keys), np.int32)
    for b in range(len(keys)):
        left = draws.uniform(draws.stream(keys[b], 1, steps[b], 0), 0) * chances[b].sum()
        for item in range(chances.shape[1]):
            if chances[b, item] > 0:
                items[b] = item
                left -= chances[b, item]
                if left < 0:
                    break
    return items


class DiscreteAgent(HierarchicalAgent):
    """A hierarchy whose items a discrete policy chooses, as an agent; slates hold one item.

    Args:
        hierarchy: planner and memory.
        chooser: the policy.
    """

    def __init__(self, hierarchy: Hierarchy, chooser: ItemChooser) -> None:
        super().__init__(hierarchy)
        self.chooser = chooser

    def act(self, observation: Observation) -> NDArray[np.int32]:
        """Slates (B, 1)."""
        self.hierarchy.see(observation)
        eligible, widened = self.hierarchy.eligible()
        self.hierarchy.widened += widened
        return self.chooser(self.hierarchy, eligible)[:, None]
