"""Item values of learners over slates of item numbers: a network of the session, multiplied with item features.

phi(s) . psi(i), psi linear in the item's known vector and categories, so that one product of matrices values a whole
catalog, and what is learned of one item counts for those like it. Each begins as known history has it.
"""

import copy
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, create_mlp
from torch import nn

from lerl.agents.adam import Adam
from lerl.agents.base import TaskSpec
from lerl.agents.learners.encoders import Layout
from lerl.agents.learners.masked import eligible_in, known_in, words_in
from lerl.agents.learners.masks import best_eligible, of_role, put_where_excluded

RANK = 16  # length of phi and psi
BLOCK = 32  # sessions whose items are valued at once: their values stay in the processor's cache
EXCLUDED = -1e30  # logit of items that are not eligible
Scores = Callable[[slice], torch.Tensor]
"""From some rows of a batch to a number for each of their items, (rows, I)."""
Start = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
Network = TypeVar("Network", bound=nn.Module)


def item_features(task: TaskSpec, bonus: NDArray[np.float32] | None) -> NDArray[np.float32]:
    """(I, F) what an item is like: its known vector, its bonus where there is one, and its categories as 0 and 1."""
    known = [task.knowledge.item_vectors] + ([] if bonus is None else [bonus[:, None]])
    values = np.concatenate(known, axis=1)
    standard = (values - values.mean(axis=0)) / np.maximum(values.std(axis=0), 1e-6)
    return np.concatenate([standard, task.axis.membership], axis=1, dtype=np.float32)


class ItemNetwork(nn.Module):
    """What is predicted of every item, plus scale * phi(s) . psi(i) / sqrt(RANK), and a number of the session.

    What is learned is 0 at first.

    Args:
        extractor: of features. layers: widths of phi's hidden layers. items: (I, F). scale: of what is learned.
        start: from offsets (B, 1) to the weight (B, 1) of predicted log-odds and the session's number (B, 1) at first;
            nothing is predicted without.
    """

    def __init__(
        self,
        extractor: BaseFeaturesExtractor,
        layers: list[int],
        items: NDArray[np.float32],
        scale: float,
        start: Start | None,
    ) -> None:
        super().__init__()
        self.layout: Layout = extractor.layout  # type: ignore[assignment]
        self.extractor, self.scale, self.start = extractor, scale / RANK**0.5, start
        self.items: torch.Tensor
        self.vectors: torch.Tensor
        self.register_buffer("items", torch.as_tensor(items), persistent=False)  # known without the policy's file
        self.register_buffer("vectors", torch.as_tensor(self.layout.vectors), persistent=False)
        self.session = nn.Sequential(*create_mlp(extractor.features_dim, -1, layers))
        self.query = nn.Linear(layers[-1], RANK + 1)
        self.item = nn.Linear(items.shape[1], RANK, bias=False)
        nn.init.zeros_(self.query.weight)
        nn.init.zeros_(self.query.bias)

    def forward(self, observations: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, n) -> queries (B, r), whose products with the columns of `table` value the items; numbers (B, 1)."""
        found = self.query(self.session(self.extractor(observations)))
        learned, number = self.scale * found[:, :RANK], found[:, RANK:]
        if self.start is None:
            return learned, number
        tastes, offsets = known_in(observations, self.layout)
        weight, first = self.start(offsets)
        return torch.cat([learned, weight * tastes], dim=1), number + first

    def table(self) -> torch.Tensor:
        """What every item is like, as columns (r, I)."""
        learned = self.item(self.items)
        return (learned if self.start is None else torch.cat([learned, self.vectors], dim=1)).T

    def of(self, observations: torch.Tensor, slates: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, n) and items (B, k) -> values of these items (B, k), and numbers (B, 1)."""
        queries, number = self(observations)
        columns = self.item(self.items[slates])
        if self.start is not None:
            columns = torch.cat([columns, self.vectors[slates]], dim=2)
        return torch.einsum("br,bkr->bk", queries, columns), number


def odds(offsets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The start of what is a click's log-odds."""
    return torch.ones_like(offsets), offsets


def order(offsets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The start of what ranks items by predicted log-odds."""
    return torch.ones_like(offsets), torch.zeros_like(offsets)


class Reward:
    """The start of what is a value: the predicted reward of the step, to first order in the taste.

    Args:
        scale: factor on rewards that the learner sees.
    """

    def __init__(self, scale: float) -> None:
        self.scale = scale

    def __call__(self, offsets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Weight and number, both (B, 1)."""
        chances = torch.sigmoid(offsets)
        return self.scale * chances * (1 - chances), self.scale * chances


class ItemValuePolicy(BasePolicy):
    """A policy that shows the k eligible items of highest score.

    Args:
        observation_space, action_space: of `DiscreteItemEnv` with slates. lr_schedule: the learner's.
        net_arch: widths of hidden layers. items: (I, F), see `item_features`.
        log_std_init: logarithm of the temperature that SAC4IR begins with; the others have no use for it.
        predicted_ctr: (N, I) predicted log-odds of some users, only for SAC4IR.
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
        predicted_ctr: NDArray[np.float32],
        **options: Any,
    ) -> None:
        super().__init__(observation_space, action_space, **options)
        self.layout = self.features_extractor_kwargs["layout"]
        self._net_arch, self._items = net_arch, items
        self._build(log_std_init, predicted_ctr)
        learned = [value for value in self.parameters() if value.requires_grad]
        self.optimizer = Adam(learned, lr=lr_schedule(1))

    def _build(self, log_std_init: float, predicted_ctr: NDArray[np.float32]) -> None:
        """Make the networks."""
        raise NotImplementedError

    def scores(self, observations: torch.Tensor) -> Scores:
        """What ranks the items in each of these observations (B, n)."""
        raise NotImplementedError

    def _network(self, scale: float, start: Start | None) -> ItemNetwork:
        return ItemNetwork(self.make_features_extractor(), self._net_arch, self._items, scale, start)

    def _value_network(self) -> ItemNetwork:
        scale = self.layout.reward_scale
        return self._network(scale, Reward(scale))

    @torch.no_grad()
    def best(
        self, observations: torch.Tensor, k: int, scores: Scores | None = None
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """The k best eligible items of observations (B, n), best first, and their scores; -inf where none is left."""
        scores = scores or self.scores(observations)
        if self.layout.slots is not None:
            return self._best_of_roles(observations, scores)
        words = np.ascontiguousarray(words_in(observations, self.layout).cpu().numpy())
        names, tops = np.empty((len(words), k), np.int32), np.empty((len(words), k), np.float32)
        for rows in chunks(len(words)):
            best_eligible(scores(rows).cpu().numpy(), words[rows], names[rows], tops[rows])
        return names, tops

    def _best_of_roles(
        self, observations: torch.Tensor, scores: Scores
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """The best eligible item of each slot's role, -1 at -inf where none is left, and their scores."""
        slots, eligible = self.layout.slots, words_in(observations, self.layout).cpu().numpy()
        k, count = int(slots.max()) + 1, len(eligible)
        words = [np.ascontiguousarray(of_role(eligible, slots, slot)) for slot in range(k)]
        names, tops = np.empty((k, count, 1), np.int32), np.empty((k, count, 1), np.float32)
        for rows in chunks(count):
            scored = scores(rows).cpu().numpy()
            for slot in range(k):
                best_eligible(scored, words[slot][rows], names[slot, rows], tops[slot, rows])
        return names[:, :, 0].T.copy(), tops[:, :, 0].T.copy()

    @torch.no_grad()
    def every(self, observations: torch.Tensor) -> torch.Tensor:
        """Scores (B, I) of all items, the eligible and the others."""
        scores = self.scores(observations)
        return torch.cat([scores(rows) for rows in chunks(len(observations))])

    def _predict(self, observation: Any, deterministic: bool = False) -> torch.Tensor:
        return torch.as_tensor(self.best(observation, len(self.action_space.nvec))[0])  # type: ignore[attr-defined]


def values_by(network: ItemNetwork, observations: torch.Tensor) -> Scores:
    """What a network says of the items: products and the session's number."""
    (queries, numbers), table = network(observations), network.table()
    return lambda rows: torch.addmm(numbers[rows], queries[rows], table)


class DNaIRPolicy(ItemValuePolicy):
    """Values of items, and those of a target network; each begins as the predicted reward of the step."""

    def _build(self, log_std_init: float, predicted_ctr: NDArray[np.float32]) -> None:
        self.values = self._value_network()
        self.target = frozen_copy(self.values)

    def scores(self, observations: torch.Tensor) -> Scores:
        """Values of the items."""
        return values_by(self.values, observations)


class SlateQPolicy(ItemValuePolicy):
    """A click model, the value of a click on each item beyond that of no click, the latter, and a target network."""

    def _build(self, log_std_init: float, predicted_ctr: NDArray[np.float32]) -> None:
        self.clicks = self._network(1.0, odds)
        self.values = self._network(self.layout.reward_scale, None)
        self.target = frozen_copy(self.values)

    def scores(self, observations: torch.Tensor) -> Scores:
        """What each item in a slate adds to its value, in k-ths."""
        return self.gains_by(self.values, observations)

    def gains_by(self, network: ItemNetwork, observations: torch.Tensor) -> Scores:
        """The same according to one of the networks of values."""
        logits = values_by(self.clicks, observations)
        (queries, _), table = network(observations), network.table()
        click = torch.tensor(self.layout.reward_scale, device=observations.device)
        return lambda rows: torch.addmm(click, queries[rows], table).mul_(logits(rows).sigmoid_())

    def values_of(self, observations: torch.Tensor, slates: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Long-term values of a click on the items of slates (B, k), and of none (B, 1)."""
        learned, none = self.values.of(observations, slates)
        return learned + none + self.layout.reward_scale, none


class SAC4IRPolicy(ItemValuePolicy):
    """An actor, softmax over the eligible items; twin critics and their targets; the weight of entropy.

    The actor's logits are predicted log-odds plus what is learned, over a temperature that begins at exp(log_std_init)
    and is learned as well, per session.
    """

    def _build(self, log_std_init: float, predicted_ctr: NDArray[np.float32]) -> None:
        self.actor = self._network(1.0, order)
        self.critics = nn.ModuleList([self._value_network() for _ in range(2)])
        self.targets = frozen_copy(self.critics)
        self.log_std = log_std_init
        # What keeps the softmax over predicted rewards, the critics' start, at the temperature that the actor begins
        # with: values change by at most a quarter of reward_scale per unit of log-odds.
        first = np.log(self.layout.reward_scale / 4) + log_std_init
        self.log_alpha = nn.Parameter(torch.tensor(float(first)))
        self.predicted_ctr: torch.Tensor
        self.register_buffer("predicted_ctr", torch.as_tensor(predicted_ctr), persistent=False)

    def entropy_at(self, log_std: float) -> float:
        """Mean entropy, in nats, of a softmax over some users' predicted log-odds at the temperature exp(log_std)."""
        logs = torch.log_softmax(self.predicted_ctr / float(np.exp(log_std)), dim=1)
        return float(-(logs.exp() * logs).nansum(dim=1).mean())

    def queries(self, observations: torch.Tensor) -> torch.Tensor:
        """(B, r), whose products with the columns of the actor's table are logits."""
        queries, heat = self.actor(observations)
        return queries * (heat.clamp(-4, 4) - self.log_std).exp()  # bounded, so that no step of learning overflows

    def scores(self, observations: torch.Tensor) -> Scores:
        """The actor's logits."""
        queries, table = self.queries(observations), self.actor.table()
        return lambda rows: queries[rows] @ table

    @torch.no_grad()
    def chances(self, observations: torch.Tensor, logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Chances (B, I) among the eligible, and their logarithms, hugely negative for the others; logits change."""
        if logits.is_cuda:
            logits = torch.where(eligible_in(observations, self.layout), logits, EXCLUDED)
        else:  # in place, twenty times as fast
            put_where_excluded(logits.numpy(), words_in(observations, self.layout).numpy(), np.float32(EXCLUDED))
        # Not the exponentials of the logarithms: those of hugely negative numbers take ten times as long.
        return torch.softmax(logits, dim=1), torch.log_softmax(logits, dim=1)

    def lesser_by(self, critics: nn.ModuleList, observations: torch.Tensor) -> Scores:
        """The lesser of two critics' values of the items, without a gradient."""
        one, other = (values_by(critic, observations) for critic in critics)  # type: ignore[arg-type]

        def lesser(rows: slice) -> torch.Tensor:
            values = one(rows)
            return torch.minimum(values, other(rows), out=values)

        return lesser


def chunks(count: int) -> Iterator[slice]:
    """So many rows, few at a time."""
    return (slice(first, first + BLOCK) for first in range(0, count, BLOCK))


def frozen_copy(network: Network) -> Network:
    """A copy that no gradient reaches."""
    copied = copy.deepcopy(network)
    copied.requires_grad_(False)
    return copied
