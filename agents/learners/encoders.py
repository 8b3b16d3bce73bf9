"""From a session's memory and plan to the numbers that a network sees, and the networks that read a history.

An observation is flat, so that buffers hold all of it; `Layout` says what lies where.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn

from lerl.agents.base import TaskSpec
from lerl.agents.hierarchical import Hierarchy
from lerl.envs import threads

FAST, SLOW = math.exp(-1 / 3.0), math.exp(-1 / 10.0)
PER_CATEGORY = 5


class CategoryEncoder:
    """Features per category of the axis, and of the session as a whole; the same for every agent, plans apart.

    Per category: predicted log-odds of its best items left; exposure fading over 3 and over 10 steps; what its feedback
    was beyond what was predicted; its share of the last slate; with a planner also whether it is allowed and whether
    avoided. Of the session: the taste, the sum of surprises times item vectors (the slope of the likelihood
    in the taste), mean feedback and mean surprise of late, time left, age of the plan.

    Args:
        task: the task.
        planned: whether features of a plan are part.
    """

    def __init__(self, task: TaskSpec, planned: bool) -> None:
        self.task, self.planned = task, planned
        self.scale = np.maximum(task.knowledge.item_vectors.std(axis=0), 1e-6)
        categories, dim = len(task.axis.names), task.knowledge.item_vectors.shape[1]
        self.size = self._width = (PER_CATEGORY + 2 * planned) * categories + 2 * dim + 3 + planned

    def encode(self, hierarchy: Hierarchy, rows: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        """Features (n, size) of the sessions in a hierarchy's slots, or in some of them."""
        contexts, memory = hierarchy.contexts, hierarchy.memory
        if contexts is None:
            raise ValueError("the hierarchy must be attentive for an encoder to see its sessions")
        rows = np.arange(len(contexts)) if rows is None else rows
        categories = len(contexts.names)
        features = np.empty((len(rows), self._width), np.float32)
        predicted_ctr = np.clip(contexts.predicted_ctr[rows], 0.01, 0.99)
        features[:, :categories] = np.log(predicted_ctr / (1 - predicted_ctr))
        items = _Items(memory.groups, self.task.knowledge.item_vectors, self.scale)
        steps, most, k = contexts.steps, self.task.max_steps, self.task.slate_size
        own = features[:, categories : self._width - self.planned * (2 * categories + 1)]
        threads.each(
            lambda block: _summarise(rows[block], contexts.recent, items, memory.tastes, steps, most, k, own[block]),
            len(rows),
            threads.least(1 + contexts.recent_items.shape[1] / 100),
        )
        if self.planned:
            planned = features[:, -2 * categories - 1 :]
            planned[:, :categories], planned[:, categories:-1] = hierarchy.allowed[rows], hierarchy.avoid[rows]
            planned[:, -1] = (memory.steps[rows] - hierarchy.planned_at[rows]) / hierarchy.replan_every
        return features


class HistoryEncoder(CategoryEncoder):
    """The same features, and beside them the last H items of the session with the feedback on each.

    Items come as their numbers, H floats, and H floats of feedback in [0, 1]; oldest first, -1 behind the newest. Whole
    numbers below 2**24 are exact in float32; the networks look the vectors up.

    Args:
        task: the task.
        planned: whether features of a plan are part.
        history: H; what is further back than 20 slates is never part.
    """

    def __init__(self, task: TaskSpec, planned: bool, history: int) -> None:
        super().__init__(task, planned)
        self.history = history
        self.size += 2 * history

    def encode(self, hierarchy: Hierarchy, rows: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        """Features and history (n, size) of the sessions in a hierarchy's slots, or in some of them."""
        features = super().encode(hierarchy, rows)
        contexts: Any = hierarchy.contexts
        contexts = contexts if rows is None else contexts.take(rows)
        return np.concatenate(
            [features, _last_items(contexts.recent_items, contexts.recent_feedback, self.history)], axis=1
        )


@njit(cache=True, nogil=True)
def _last_items(items, feedback, history):  # type: ignore[no-untyped-def]
    """(B, 2 H) float32: the last H items that are there, oldest first, -1 behind them; then the feedback on each."""
    last = np.full((len(items), 2 * history), -1, np.float32)
    for b in range(len(items)):
        count = min((items[b] >= 0).sum(), history)
        place = count
        for slot in range(items.shape[1] - 1, -1, -1):
            if place == 0:
                break
            if items[b, slot] >= 0:
                place -= 1
                last[b, place] = items[b, slot]
                last[b, history + place] = feedback[b, slot]
    return last


class _Items(NamedTuple):
    """What kernels see of the items: their categories (I, M), vectors (I, D), and the scale of vectors (D,)."""

    groups: NDArray[np.int32]
    vectors: NDArray[np.float32]
    scale: NDArray[np.float32]


@njit(cache=True, nogil=True, error_model="numpy")
def _summarise(rows, recent, catalog, tastes, steps, max_steps, k, features):  # type: ignore[no-untyped-def]
    """features (n, 4 C + 2 D + 3) <- what is neither predicted nor planned; see `CategoryEncoder`."""
    items, feedback, estimates = recent.items, recent.feedback, recent.estimates
    groups, vectors, scale = catalog.groups, catalog.vectors, catalog.scale
    slots, dim = items.shape[1], len(scale)
    categories = (features.shape[1] - 2 * dim - 3) // 4
    faded = np.empty((4, (slots - 1) // k + 1))
    for age in range(faded.shape[1]):
        faded[0, age], faded[1, age] = FAST**age, SLOW**age
        faded[2, age], faded[3, age] = faded[0, age] / k, faded[1, age] / k
    share = 1.0 / k
    sums = np.empty((5, categories), np.float32)  # exposure fast, slow, surprise and its count, last slate
    surprise = np.empty(dim, np.float32)
    late = np.empty(2, np.float32)
    for n in range(len(rows)):
        b = rows[n]
        sums[:], surprise[:], late[:], weights = 0.0, 0.0, 0.0, 1e-6
        for age in range(faded.shape[1] - 1, -1, -1):
            fast, slow = faded[0, age], faded[1, age]
            for slot in range(max(slots - (age + 1) * k, 0), slots - age * k):
                item = items[b, slot]
                if item < 0:
                    continue
                gap = feedback[b, slot] - estimates[b, slot]
                weights += fast
                late[0] += fast * feedback[b, slot]
                late[1] += fast * gap
                step = slow * gap
                for j in range(dim):
                    surprise[j] += step * vectors[item, j]
                for m in range(groups.shape[1]):
                    group = groups[item, m]
                    if group >= 0:
                        sums[0, group] += faded[2, age]
                        sums[1, group] += faded[3, age]
                        sums[2, group] += step
                        sums[3, group] += slow
                        if age == 0:
                            sums[4, group] += share
        for c in range(categories):
            features[n, c] = sums[0, c]
            features[n, categories + c] = sums[1, c] / np.float32(3)
            features[n, 2 * categories + c] = np.float32(2) * sums[2, c] / (np.float32(1) + sums[3, c])
            features[n, 3 * categories + c] = np.float32(2) * sums[4, c]
        for j in range(dim):
            features[n, 4 * categories + j] = tastes[b, j] * scale[j]
            features[n, 4 * categories + dim + j] = np.float32(0.3) * surprise[j] / scale[j]
        features[n, -3], features[n, -2] = late[0] / weights, late[1] / weights
        features[n, -1] = 1 - steps[b] / max_steps


@dataclass(frozen=True)
class Layout:
    """What lies where in an observation: features | H items, H feedback | taste (D), offset, eligible items | feedback.

    The third part is there for learners that choose items by number, the eligible items in bits; the last, of the
    last slate, for those of slates.

    Attributes:
        features: how many features. history: H, 0 without.
        vectors: (I, D) float32, the agents' item vectors.
        reward_scale: factor on rewards that the learner sees.
        slots: (I,) int8, the only slot that an item may fill, -1 for none; None where slots have no roles.
    """

    features: int
    history: int
    vectors: NDArray[np.float32]
    reward_scale: float = 1.0
    slots: NDArray[np.int8] | None = None


class SessionFeatures(BaseFeaturesExtractor):
    """What `train.encoder: categories` shows a network: the features as they are.

    Args:
        space: of observations. layout: what lies where in one. hidden: width of what is learned from a history.
    """

    def __init__(self, space: gymnasium.spaces.Box, layout: Layout, hidden: int) -> None:
        super().__init__(space, layout.features)
        self.layout = layout

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        """(B, n) -> (B, features)."""
        return observations[:, : self.layout.features]


class _HistoryFeatures(SessionFeatures):
    """The features, and `hidden` numbers that a network makes of the session's last items; zeros before the first."""

    def __init__(self, space: gymnasium.spaces.Box, layout: Layout, hidden: int) -> None:
        super().__init__(space, layout, hidden)
        self._features_dim = layout.features + hidden
        vectors = torch.as_tensor(layout.vectors)
        standard = (vectors - vectors.mean(dim=0)) / vectors.std(dim=0, correction=0).clamp(min=1e-6)
        self.vectors: torch.Tensor
        self.register_buffer("vectors", standard, persistent=False)  # known without the policy's file
        self.inward = nn.Linear(standard.shape[1] + 1, hidden)

    def _summary(self, shown: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        """(B, H, hidden) items with feedback and (B, H) bool -> (B, hidden)."""
        raise NotImplementedError

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        """(B, n) -> (B, features + hidden)."""
        first, count = self.layout.features, self.layout.history
        items, feedback = observations[:, first : first + count], observations[:, first + count : first + 2 * count]
        there = items >= 0
        known = torch.cat([self.vectors[items.clamp(min=0).long()], feedback[..., None]], dim=2)  # (B, H, D + 1)
        summary = self._summary(self.inward(known), there) * there[:, :1]
        return torch.cat([observations[:, :first], summary], dim=1)


class GRUFeatures(_HistoryFeatures):
    """A gated recurrent unit over the items in order, its state after the newest (Cho et al., EMNLP 2014).

    As GRU4Rec reads a session (Hidasi et al., ICLR 2016). The padding lies behind the newest item and is not read.
    """

    def __init__(self, space: gymnasium.spaces.Box, layout: Layout, hidden: int) -> None:
        super().__init__(space, layout, hidden)
        self.unit = nn.GRU(hidden, hidden, batch_first=True)

    def _summary(self, shown: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        states, _ = self.unit(shown)  # (B, H, hidden)
        newest = (there.sum(dim=1) - 1).clamp(min=0)
        return states[torch.arange(len(states), device=states.device), newest]


class TransformerFeatures(_HistoryFeatures):
    """One layer of self-attention over the items, read at the newest (Vaswani et al., NIPS 2017).

    As SASRec reads a session (Kang and McAuley, ICDM 2018), its positions counted from the newest item. The padding
    is masked out. No dropout: what was chosen must have the probability that is recorded.
    """

    def __init__(self, space: gymnasium.spaces.Box, layout: Layout, hidden: int) -> None:
        super().__init__(space, layout, hidden)
        self.position = nn.Parameter(0.1 * torch.randn(layout.history, hidden))
        heads = math.gcd(hidden, 4)
        self.layer = nn.TransformerEncoderLayer(hidden, heads, 2 * hidden, 0.0, batch_first=True, norm_first=True)

    def _summary(self, shown: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        newest = (there.sum(dim=1) - 1).clamp(min=0)
        places = torch.arange(there.shape[1], device=there.device)
        age = (newest[:, None] - places).clamp(min=0)  # (B, H), of the padding 0
        padding = ~there
        padding[:, 0] = False  # a row without items attends to its padding; its summary is zeroed
        read = self.layer(shown + self.position[age], src_key_padding_mask=padding)
        return read[torch.arange(len(read), device=read.device), newest]


EXTRACTORS: dict[str, type[SessionFeatures]] = {
    "categories": SessionFeatures,
    "gru": GRUFeatures,
    "transformer": TransformerFeatures,
}


def build_encoder(name: str, task: TaskSpec, planned: bool, history: int) -> CategoryEncoder:
    """The encoder that `train.encoder` names, "categories", "gru" or "transformer"; see its classes for arguments."""
    if name == "categories":
        return CategoryEncoder(task, planned)
    return HistoryEncoder(task, planned, history)


def layout_of(encoder: CategoryEncoder, reward_scale: float = 1.0) -> Layout:
    """What lies where in the observations of an encoder."""
    history, roles = getattr(encoder, "history", 0), encoder.task.roles
    vectors = encoder.task.knowledge.item_vectors.copy()  # torch shares memory with writable arrays only
    return Layout(encoder.size - 2 * history, history, vectors, reward_scale, roles.slot_of if roles else None)
