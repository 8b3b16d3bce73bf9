"""What learners over slates of item numbers say of every item: a network of the session, times what the item is like.

phi(s) . psi(i), psi linear in the item's known vector and categories, so that one product of matrices values a whole
catalogue, and what is learned of one item counts for those like it. Each begins as known history has it.
"""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, create_mlp
from torch import nn

from lerl.agents.base import Setting
from lerl.agents.masked import eligible_in, promised, words_in
from lerl.agents.masks import best_eligible

RANK = 32  # length of phi and psi
ROWS = 32  # sessions whose items are valued at once: their values stay in the processor's cache
Scores = Callable[[slice], torch.Tensor]
"""From some rows of a batch to a number for each of their items, (rows, I)."""


def item_features(setting: Setting, bonus: NDArray[np.float32] | None) -> NDArray[np.float32]:
    """(I, F) what an item is like: its known vector, its bonus where there is one, and its categories as 0 and 1."""
    known = [setting.knowledge.item_vectors] + ([] if bonus is None else [bonus[:, None]])
    values = np.concatenate(known, axis=1)
    standard = (values - values.mean(axis=0)) / np.maximum(values.std(axis=0), 1e-6)
    return np.concatenate([standard, setting.axis.membership], axis=1, dtype=np.float32)


class ItemNetwork(nn.Module):
    """scale * phi(s) . psi(i) / sqrt(RANK) for every item, 0 at first, and one number b(s) of the session, 0 at first.

    Args:
        extractor: of features. layers: widths of phi's hidden layers. items: (I, F). scale: of what is learned.
    """

    def __init__(
        self, extractor: BaseFeaturesExtractor, layers: list[int], items: NDArray[np.float32], scale: float
    ) -> None:
        super().__init__()
        self.items: torch.Tensor
        self.register_buffer("items", torch.as_tensor(items), persistent=False)  # known without the policy's file
        self.extractor, self.scale = extractor, scale / RANK**0.5
        self.session = nn.Sequential(*create_mlp(extractor.features_dim, -1, layers))
        self.query = nn.Linear(layers[-1], RANK + 1)
        self.item = nn.Linear(items.shape[1], RANK, bias=False)
        nn.init.zeros_(self.query.weight)
        nn.init.zeros_(self.query.bias)

    def forward(self, observations: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, n) -> scaled phi (B, RANK), and b (B, 1)."""
        found = self.query(self.session(self.extractor(observations)))
        return self.scale * found[:, :RANK], found[:, RANK:]

    def table(self) -> torch.Tensor:
        """psi of every item as columns, (RANK, I)."""
        return self.item(self.items).T

    def of(self, observations: torch.Tensor, slates: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, n) and items (B, k) -> what is learned of these items alone (B, k), and b (B, 1)."""
        queries, base = self(observations)
        return torch.einsum("br,bkr->bk", queries, self.item(self.items[slates])), base


class ItemValuePolicy(BasePolicy):
    """A policy that shows the k eligible items of highest score.

    Args:
        observation_space, action_space: of `DiscreteItemEnv` with slates. lr_schedule: the learner's.
        net_arch: widths of hidden layers. items: (I, F), see `item_features`.
        log_std_init: logarithm of the temperature that SAC4IR begins with; the others have no use for it.
        liking: (N, I) promised log-odds of some users, for SAC4IR alone.
        options: the features extractor and its arguments.
    """

    def __init__(
        self,
        observation_space: gymnasium.spaces.Space[Any],
        action_space: gymnasium.spaces.Space[Any],
        lr_schedule: Callable[[float], float],
        net_arch: list[int],
        items: NDArray[np.float32],
        log_std_init: float,
        liking: NDArray[np.float32],
        **options: Any,
    ) -> None:
        super().__init__(observation_space, action_space, **options)
        self.layout = self.features_extractor_kwargs["layout"]
        self._net_arch, self._items = net_arch, items
        self._build(log_std_init, liking)
        learned = [value for value in self.parameters() if value.requires_grad]
        self.optimizer = torch.optim.Adam(learned, lr=lr_schedule(1))

    def _build(self, log_std_init: float, liking: NDArray[np.float32]) -> None:
        """Make the networks."""
        raise NotImplementedError

    def scores(self, observations: torch.Tensor) -> Scores:
        """What ranks the items in each of these observations (B, n)."""
        raise NotImplementedError

    def _network(self, scale: float) -> ItemNetwork:
        return ItemNetwork(self.make_features_extractor(), self._net_arch, self._items, scale)

    @torch.no_grad()
    def best(
        self, observations: torch.Tensor, k: int, scores: Scores | None = None
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """The k best eligible items of observations (B, n), best first, and their scores; -inf where none is left."""
        scores = scores or self.scores(observations)
        words = np.ascontiguousarray(words_in(observations, self.layout).cpu().numpy())
        names, tops = np.empty((len(words), k), np.int32), np.empty((len(words), k), np.float32)
        for rows in chunks(len(words)):
            best_eligible(scores(rows).cpu().numpy(), words[rows], names[rows], tops[rows])
        return names, tops

    @torch.no_grad()
    def every(self, observations: torch.Tensor) -> torch.Tensor:
        """Scores (B, I) of all items, the eligible and the others."""
        scores = self.scores(observations)
        return torch.cat([scores(rows) for rows in chunks(len(observations))])

    def _predict(self, observation: torch.Tensor, deterministic: bool = False) -> torch.Tensor:
        return torch.as_tensor(self.best(observation, len(self.action_space.nvec))[0])  # type: ignore[attr-defined]

    def promised_chances(self, observations: torch.Tensor) -> torch.Tensor:
        """What known history promises: the chance of a click (B, I) on every item."""
        liking, offsets = promised(observations, self.layout)
        return torch.sigmoid_(liking.add_(offsets))


class DNaIRPolicy(ItemValuePolicy):
    """Values of items, and those of a target network; each begins as the promised reward of the step."""

    def _build(self, log_std_init: float, liking: NDArray[np.float32]) -> None:
        self.values = self._network(self.layout.reward_scale)
        self.target = frozen_copy(self.values)

    def scores(self, observations: torch.Tensor) -> Scores:
        """Values of the items."""
        return self.values_by(self.values, observations)

    def values_by(self, network: ItemNetwork, observations: torch.Tensor) -> Scores:
        """Values of the items according to one of the networks."""
        (queries, base), table = network(observations), network.table()

        def values(rows: slice) -> torch.Tensor:
            chances = self.promised_chances(observations[rows])
            return torch.addmm(base[rows], queries[rows], table).add_(chances, alpha=self.layout.reward_scale)

        return values

    def of(self, observations: torch.Tensor, slates: torch.Tensor) -> torch.Tensor:
        """Values (B, k) of the items of slates (B, k)."""
        learned, base = self.values.of(observations, slates)
        return learned + base + self.layout.reward_scale * torch.sigmoid(promised_of(observations, slates, self.layout))


class SlateQPolicy(ItemValuePolicy):
    """A click model, and what a click on each item is worth beyond no click, and a target network of that."""

    def _build(self, log_std_init: float, liking: NDArray[np.float32]) -> None:
        self.clicks = self._network(1.0)
        self.values = self._network(self.layout.reward_scale)
        self.target = frozen_copy(self.values)

    def scores(self, observations: torch.Tensor) -> Scores:
        """What each item in a slate adds to its value, in k-ths."""
        return self.gains_by(self.values, observations)

    def gains_by(self, network: ItemNetwork, observations: torch.Tensor) -> Scores:
        """The same according to one of the networks of values."""
        (tempted, _), attraction = self.clicks(observations), self.clicks.table()
        (queries, _), table = network(observations), network.table()

        def gains(rows: slice) -> torch.Tensor:
            liking, offsets = promised(observations[rows], self.layout)
            chances = liking.add_(offsets).addmm_(tempted[rows], attraction).sigmoid_()
            return (queries[rows] @ table).add_(self.layout.reward_scale).mul_(chances)

        return gains

    def click_logits(self, observations: torch.Tensor, slates: torch.Tensor) -> torch.Tensor:
        """Log-odds (B, k) of a click on the items of slates (B, k)."""
        return self.clicks.of(observations, slates)[0] + promised_of(observations, slates, self.layout)

    def values_of(self, observations: torch.Tensor, slates: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Long-term values of a click on the items of slates (B, k), and of none (B, 1)."""
        learned, none = self.values.of(observations, slates)
        return learned + none + self.layout.reward_scale, none


class SAC4IRPolicy(ItemValuePolicy):
    """An actor, softmax over the eligible items; twin critics and their targets; the weight of entropy.

    The actor's logits are promised log-odds plus what is learned, over a temperature that begins at exp(log_std_init)
    and is learned as well, per session.
    """

    def _build(self, log_std_init: float, liking: NDArray[np.float32]) -> None:
        self.actor = self._network(1.0)
        self.critics = nn.ModuleList([self._network(self.layout.reward_scale) for _ in range(2)])
        self.targets = frozen_copy(self.critics)
        self.log_std = log_std_init
        # What keeps the softmax over promised rewards, the critics' start, at the temperature that the actor begins
        # with: values change by at most a quarter of reward_scale per unit of log-odds.
        first = np.log(self.layout.reward_scale / 4) + log_std_init
        self.log_alpha = nn.Parameter(torch.tensor(float(first)))
        self.liking: torch.Tensor
        self.register_buffer("liking", torch.as_tensor(liking), persistent=False)

    def entropy_at(self, log_std: float) -> float:
        """Mean entropy, in nats, of a softmax over some users' promised log-odds at the temperature exp(log_std)."""
        logs = torch.log_softmax(self.liking / float(np.exp(log_std)), dim=1)
        return float(-(logs.exp() * logs).nansum(dim=1).mean())

    def scores(self, observations: torch.Tensor) -> Scores:
        """The actor's logits."""
        (queries, heat), table = self.actor(observations), self.actor.table()
        return lambda rows: self.logits(observations[rows], queries[rows], heat[rows], table)

    def logits(
        self, observations: torch.Tensor, queries: torch.Tensor, heat: torch.Tensor, table: torch.Tensor
    ) -> torch.Tensor:
        """(B, I) from what the actor's network says."""
        liking, _ = promised(observations, self.layout)
        return torch.addmm(liking, queries, table) * (heat.clamp(-4, 4) - self.log_std).exp()

    def log_chances(self, observations: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        """Logarithms (B, I) of the chances among the eligible; a huge negative number for the others."""
        return torch.log_softmax(torch.where(eligible_in(observations, self.layout), logits, -1e30), dim=1)

    def critic_scores(self, critics: nn.ModuleList, observations: torch.Tensor) -> Scores:
        """The lesser of two critics' values of the items."""
        found = [(*critic(observations), critic.table()) for critic in critics]

        def lesser(rows: slice) -> torch.Tensor:
            one, other = (torch.addmm(base[rows], queries[rows], table) for queries, base, table in found)
            chances = self.promised_chances(observations[rows])
            return torch.minimum(one, other, out=one).add_(chances, alpha=self.layout.reward_scale)

        return lesser

    def critics_of(self, observations: torch.Tensor, slates: torch.Tensor) -> list[torch.Tensor]:
        """Both critics' values (B, k) of the items of slates (B, k)."""
        start = self.layout.reward_scale * torch.sigmoid(promised_of(observations, slates, self.layout))
        return [sum(critic.of(observations, slates), start) for critic in self.critics]


def promised_of(observations: torch.Tensor, slates: torch.Tensor, layout: Any) -> torch.Tensor:
    """Promised log-odds (B, k) of a click on the items of slates (B, k)."""
    first, dim = layout.features + 2 * layout.history, layout.vectors.shape[1]
    vectors = torch.as_tensor(layout.vectors, device=observations.device)[slates]  # (B, k, D)
    known = observations[:, first : first + dim]
    return torch.einsum("bd,bkd->bk", known, vectors) + observations[:, first + dim, None]


def chunks(count: int) -> Iterator[slice]:
    """So many rows, few at a time."""
    return (slice(first, first + ROWS) for first in range(0, count, ROWS))


def frozen_copy(network: Any) -> Any:
    """A copy that no gradient reaches."""
    return copy.deepcopy(network).requires_grad_(False)
