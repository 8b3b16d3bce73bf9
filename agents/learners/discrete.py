"""Learners that choose items by their numbers: their view of the users and their agent."""

from typing import Any

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.policies import BasePolicy

from lerl.agents.base import Observation
from lerl.agents.hierarchical import HierarchicalAgent, Hierarchy
from lerl.agents.learners.encoders import CategoryEncoder
from lerl.agents.learners.item_values import ItemValuePolicy, SAC4IRPolicy
from lerl.agents.learners.masked import MaskedPolicy
from lerl.agents.learners.masks import BITS, drawn, packed
from lerl.agents.learners.vec_env import SessionsView
from lerl.envs import draws
from lerl.envs.session import SessionVectorEnv

MOST_ITEMS = 2000  # every item is an output of the network, and is only learned about when it is shown
MOST_VALUED = 20_000  # every item is looked at, but what is learned of one counts for those with vectors like its own


def check_discrete(agent: str, items: int, slate_size: int, slates: bool) -> None:
    """Refuse a task that a discrete learner is not for.

    Args:
        agent: its name. items, slate_size: of the task. slates: whether it chooses slates, and
            values items by what they are like.

    Raises:
        ValueError: slates hold more than one item, or the catalog more than 2,000; 20,000 where it chooses slates.
    """
    if slate_size != 1 and not slates:
        raise ValueError(
            f"{agent} chooses one item by its number, so env.slate_size must be 1, given {slate_size}; "
            "set it, or learn over virtual items with ppo, a2c, sac, td3 or ddpg, or over slates with dnair, sac4ir "
            "or slateq"
        )
    most = MOST_VALUED if slates else MOST_ITEMS
    if items > most:
        raise ValueError(
            f"{agent} chooses {'items by their' if slates else 'one item by its'} number among at most {most} items, "
            f"the catalog has {items}; use a smaller one, or learn over virtual items with ppo, a2c, sac, td3 or ddpg"
        )


class DiscreteItemEnv(SessionsView):
    """The view of discrete learners: an action is one item or a slate by number; observations say what is eligible.

    Behind the encoder's part an observation holds the taste that the policy starts from (zeros for "nothing"), its
    offset, and the eligible items, 24 to a number: `1 + D + ceil(I / 24)` floats. Masks in a replay buffer are
    therefore those of the step itself, and a target's maximum is over the items that could really come next. With
    slates, k floats follow: the feedback on the last slate, -1 for an empty slot and before the first.

    Args:
        env: the users, autoreset disabled, slates of one unless `slates`. hierarchy: plans and retrieval.
        encoder: features.
        start: "taste" or "nothing".
        reward_scale: factor on rewards, so that values stay near 1.
        slates: whether an action is a slate.
        bonus: (I,) what showing an item adds to the reward that is learned from, mean over the slate; none when None.
    """

    shows_ends = True  # the last slate's feedback is part of what comes after it

    def __init__(
        self,
        env: SessionVectorEnv,
        hierarchy: Hierarchy,
        encoder: CategoryEncoder,
        start: str,
        reward_scale: float,
        slates: bool = False,
        bonus: NDArray[np.float32] | None = None,
    ) -> None:
        super().__init__(env, hierarchy, encoder, start, reward_scale, *discrete_spaces(encoder, slates))
        self.slates = slates
        self.item_bonus = bonus
        self._eligible = np.ones((env.num_envs, len(hierarchy.task.catalog)), bool)

    def _slates(self, actions: NDArray[Any]) -> NDArray[np.int32]:
        return actions.astype(np.int32).reshape(self.num_envs, -1)

    def _bonus(self, slates: NDArray[np.int32]) -> NDArray[np.float32] | float:
        return 0.0 if self.item_bonus is None else self.item_bonus[slates].mean(axis=1)

    def _observe(self, rows: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        eligible, _ = self.hierarchy.eligible(rows)
        if rows is None:
            self._eligible = eligible
        return discrete_observation(self.hierarchy, self.encoder, self.start, eligible, self.slates, rows)

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go back to a snapshot of a view made with the same settings; masks follow from what it holds."""
        super().restore(snapshot)
        self._eligible, _ = self.hierarchy.eligible()

    def has_attr(self, attr_name: str) -> bool:
        """Whether there is such an attribute; `action_masks` is what MaskablePPO needs."""
        return attr_name == "action_masks" or super().has_attr(attr_name)

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        """`action_masks`, which MaskablePPO needs: (I,) bool of every slot."""
        if method_name != "action_masks":
            return super().env_method(method_name, *args, indices=indices, **kwargs)
        return [self._eligible[slot] for slot in self._get_indices(indices)]


def discrete_spaces(encoder: CategoryEncoder, slates: bool) -> tuple[gymnasium.spaces.Box, gymnasium.Space[Any]]:
    """Observations and actions of one slot."""
    items, dim = encoder.task.knowledge.item_vectors.shape
    k = encoder.task.slate_size
    size = encoder.size + dim + 1 + -(-items // BITS) + k * slates
    actions = gymnasium.spaces.MultiDiscrete([items] * k) if slates else gymnasium.spaces.Discrete(items)
    return gymnasium.spaces.Box(-np.inf, np.inf, (size,), np.float32), actions


def discrete_observation(
    hierarchy: Hierarchy,
    encoder: CategoryEncoder,
    start: str,
    eligible: NDArray[np.bool_],
    slates: bool,
    rows: NDArray[np.int64] | None = None,
) -> NDArray[np.float32]:
    """Observations (n, m) of the sessions in a hierarchy's slots, or in some of them; eligible: (n, I) bool."""
    memory, some = hierarchy.memory, np.arange(len(hierarchy.widened)) if rows is None else rows
    known = np.column_stack([memory.tastes[some], memory.offsets[some]])
    parts = [encoder.encode(hierarchy, rows), known if start == "taste" else np.zeros_like(known), packed(eligible)]
    if slates:
        k = hierarchy.task.slate_size
        last = (memory.steps[some, None] - 1) * k + np.arange(k)
        parts.append(np.where(last >= 0, memory.feedback[some[:, None], np.maximum(last, 0)], -1))
    return np.concatenate(parts, axis=1, dtype=np.float32)


class ItemChooser:
    """A trained discrete policy that chooses for a hierarchy; its draws come from each session's own stream.

    MaskablePPO and SAC4IR are sampled unless `deterministic`. DQN, DNaIR and SlateQ explore only in training and
    always take the best eligible.

    Args:
        policy: the network. encoder: its features. start: "taste" or "nothing".
        deterministic: whether the likeliest item is taken.
    """

    def __init__(self, policy: BasePolicy, encoder: CategoryEncoder, start: str, deterministic: bool) -> None:
        self.policy, self.encoder, self.start = policy, encoder, start
        self.deterministic = deterministic or not isinstance(policy, MaskedPolicy | SAC4IRPolicy)

    def __call__(self, hierarchy: Hierarchy, eligible: NDArray[np.bool_]) -> NDArray[np.int32]:
        """Slates (B, k) of items among the eligible (B, I)."""
        network: Any = self.policy
        slates, k = isinstance(network, ItemValuePolicy), hierarchy.task.slate_size
        seen = discrete_observation(hierarchy, self.encoder, self.start, eligible, slates)
        observation = torch.as_tensor(seen, device=network.device)
        with torch.no_grad():
            if slates and self.deterministic:
                return network.best(observation, k)[0]
            if slates:
                logits = network.every(observation)
            elif not isinstance(network, MaskedPolicy):
                return network.q_net(observation).argmax(dim=1, keepdim=True).cpu().numpy().astype(np.int32)
            else:
                distribution: Any = network.get_distribution(observation, eligible).distribution
                logits = distribution.logits
                if self.deterministic:
                    return logits.argmax(dim=1, keepdim=True).cpu().numpy().astype(np.int32)
        uniform = draws.uniforms(hierarchy.memory.keys, 1, hierarchy.memory.steps, k)
        return drawn(uniform, logits.cpu().numpy(), packed(eligible))


class DiscreteAgent(HierarchicalAgent):
    """A hierarchy whose items a discrete policy chooses, as an agent.

    Args:
        hierarchy: planner and memory.
        chooser: the policy.
    """

    def __init__(self, hierarchy: Hierarchy, chooser: ItemChooser) -> None:
        super().__init__(hierarchy)
        self.chooser = chooser

    def act(self, observation: Observation) -> NDArray[np.int32]:
        """Slates (B, k)."""
        self.hierarchy.see(observation)
        eligible, widened = self.hierarchy.eligible()
        self.hierarchy.widened += widened
        return self.chooser(self.hierarchy, eligible)
