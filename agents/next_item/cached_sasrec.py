"""Rows `sasrec+items`, `sasrec+collective`, `sasrec+lowrank` and `sasrec+own`: `sasrec` whose caches are smaller.

Each is a network of its own, trained with the keys and values that its caches give. In the first layer keys and values
follow from the item alone, so there item numbers and one table are exact (`first items`, the default of all four);
`first same` has the row's own cache there too. See `lerl.agents.kv_cache`.
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lerl.agents.cached_layers import in_groups
from lerl.agents.kv_cache import CollectiveKV, FullKV, KVCache, LowRankKV, OwnKV
from lerl.agents.next_item.base import EpochReport, Fitted
from lerl.agents.next_item.cached_encoder import CachedEncoder
from lerl.agents.next_item.follower import ListFollower
from lerl.agents.next_item.neural import NeuralNextItem, NeuralSettings, device
from lerl.agents.next_item.softmax import full_softmax
from lerl.agents.transformer import distance_bias
from lerl.envs.draws import seed_from
from lerl.envs.kv_layout import check_pool, index_type
from lerl.envs.sequences import Cases, Lists

FIRST = ("items", "same")
"""What the first layer's cache may be: item numbers, or what the others have."""

MOST_POOL = 1 << 20
SAMPLE = 500
"""Validation users of whose items it is said how the pool is used; training users of whose items it is made, if so."""


@dataclass(frozen=True)
class CacheSettings(NeuralSettings):
    """Settings of a smaller cache: those of every network, and

    Attributes:
        first: items, for item numbers and a table in the first layer, which is exact; same, for what the others have.

    Raises:
        ValueError: a value is not allowed.
    """

    first: str = "items"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.first not in FIRST:
            raise ValueError(f"first must be one of {', '.join(FIRST)}, given {self.first!r}")
        if self.first == "items" and self.layers == 1:
            raise ValueError("layers must be 2 or more where first is items: no other cache would be used, given 1")
        for name, most in (("own", self.width - 1), ("rank", 2 * self.width - 1), ("pool", MOST_POOL)):
            if hasattr(self, name) and not 1 <= getattr(self, name) <= most:
                raise ValueError(f"{name} must be from 1 to {most:,}, given {getattr(self, name):,}")


@dataclass(frozen=True)
class CollectiveSettings(CacheSettings):
    """Settings of `sasrec+collective`.

    Attributes:
        own: numbers of an event's own, in its key and in its value each. pool: rows of keys, and of values, of a layer.
        peak, balance: weights of the losses that make gates 1 and keep rows in use, 0 to 10.
        whole_epochs: of a network with whole keys and values, trained first, at most: where it ends, this one begins,
            with pools by k-means (`lerl.agents.kv_cache.CollectiveKV.begin`). 0 for first weights by chance, as in the
            paper as far as it is known.
    """

    own: int = 1
    pool: int = 256
    peak: float = 0.1
    balance: float = 0.1
    whole_epochs: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.whole_epochs <= 10_000:
            raise ValueError(f"whole_epochs must be from 0 to 10,000, given {self.whole_epochs:,}")
        for name in ("peak", "balance"):
            if not 0 <= getattr(self, name) <= 10:
                raise ValueError(f"{name} must be from 0 to 10, given {getattr(self, name):g}")

    @property
    def of_whole(self) -> NeuralSettings:
        """The settings of the network that is trained first."""
        own = {one.name: getattr(self, one.name) for one in fields(NeuralSettings)}
        return NeuralSettings(**own | {"epochs": self.whole_epochs})


@dataclass(frozen=True)
class LowRankSettings(CacheSettings):
    """Settings of `sasrec+lowrank`; `rank` numbers an event and layer, for key and value together."""

    rank: int = 3


@dataclass(frozen=True)
class OwnSettings(CacheSettings):
    """Settings of `sasrec+own`; `own` numbers in the key and in the value of an event each."""

    own: int = 2


class ItemsSASRec(NeuralNextItem):
    """`sasrec` with a cache of item numbers in its first layer, and whole keys and values above."""

    Settings = NeuralSettings
    drawn_as = "CachedSASRec"

    def cache(self) -> KVCache:
        """That of a layer, untrained."""
        return FullKV(self.settings.width, self.settings.heads)

    def encoder(self) -> CachedEncoder:
        return CachedEncoder(self.items, self.settings, self.cache, getattr(self.settings, "first", "items") == "items")

    def fit(
        self,
        train: Lists,
        validation: Cases,
        *,
        seed: int,
        checkpoint: Path | None = None,
        report: EpochReport | None = None,
    ) -> Fitted:
        """As `NextItem.fit`; notes say what its caches would take for all users of the training lists.

        Raises:
            ValueError: the pool is larger than the training items.
        """
        check_pool(getattr(self.settings, "pool", 1), len(train.values))
        fitted = super().fit(train, validation, seed=seed, checkpoint=checkpoint, report=report)
        self.notes = (*self._sizes(len(train)), *self._use(validation))
        return fitted

    def loss(self, lists: Tensor) -> tuple[Tensor, int]:
        wanted = lists[:, 1:]
        there, network = wanted >= 0, self.network
        states, more = network.learned(lists[:, :-1])
        found = network.asked(states[there])
        told = full_softmax(found, network.item_vectors(), wanted[there], self.settings.smoothing)
        return told + more * len(found), len(found)

    def _sizes(self, users: int) -> list[str]:
        """What caches of so many users take, measured in each layer, beside whole keys and values."""
        network, window, width = self.network, self.settings.length, self.settings.width
        network.hold(users, window)
        held = network.nbytes()
        whole, events = users * window * 2 * width * 4, users * window
        lines = [
            f"cache: {sum(held):,} bytes for {users:,} users, {window} events each, tables and pools counted: "
            f"{sum(held) / len(held) / events:.2f} bytes an event and layer, {sum(held) / users:,.0f} a user, "
            f"{sum(held) / len(held) / whole:.2%} of the {len(held) * whole:,} of whole keys and values"
        ]
        by_item = held[0] if network.by_item else _by_item(self.items, users, window, width)
        if len(held) > 1 and held[-1] != by_item:
            smaller = "item numbers, which are exact there" if by_item <= held[-1] else "the cache of the others"
            lines.append(
                f"first layer: item numbers and their table take {by_item / events:.2f} bytes an event, the cache of "
                f"the others {held[-1] / events:.2f}; smaller there: {smaller}"
            )
        network.hold(0, 1)
        return lines

    def _use(self, validation: Cases) -> list[str]:
        """How the pools of the layers are used."""
        return []

    def follower(self, slots: int) -> "CachedFollower":
        return CachedFollower(self, slots)


class CollectiveSASRec(ItemsSASRec):
    """Own numbers and pools."""

    Settings = CollectiveSettings
    settings: CollectiveSettings
    begins: Callable[[CachedEncoder], None] | None = None
    """Gives an encoder its first weights, while it learns and where they are no draws."""

    def fit(
        self,
        train: Lists,
        validation: Cases,
        *,
        seed: int,
        checkpoint: Path | None = None,
        report: EpochReport | None = None,
    ) -> Fitted:
        check_pool(self.settings.pool, len(train.values))
        if not self.settings.whole_epochs:
            return super().fit(train, validation, seed=seed, checkpoint=checkpoint, report=report)
        whole = ItemsSASRec(self.items, self.settings.of_whole)
        beside = None if checkpoint is None else checkpoint.with_name(f"{checkpoint.stem}-whole.pt")
        told = None if report is None else lambda done, most, said: report(done, most, f"whole: {said}")
        found = whole.fit(train, validation, seed=seed, checkpoint=beside, report=told)
        some = train.take(np.flatnonzero(train.lengths)[:SAMPLE]).newest(self.settings.length)
        self.begins = partial(_begin, whole=whole.network.cpu(), lists=torch.from_numpy(some), seed=seed)
        try:
            fitted = super().fit(train, validation, seed=seed, checkpoint=checkpoint, report=report)
        finally:
            self.begins = None
        said = f"began with whole keys and values, validation NDCG@10 {max(found.validation):.4f}, epoch {found.best}"
        self.notes = (*self.notes, said)
        return fitted

    def encoder(self) -> CachedEncoder:
        network = super().encoder()
        if self.begins is not None:
            self.begins(network)
        return network

    def measure(self, train: Lists, validation: Cases) -> tuple[int, float]:
        """As `NextItem.measure`; an epoch has its share of the training with whole keys and values."""
        first = 0.0
        if self.settings.whole_epochs:
            whole = ItemsSASRec(self.items, self.settings.of_whole).measure(train, validation)[1]
            first = whole * self.settings.whole_epochs / self.settings.epochs
        parameters, seconds = super().measure(train, validation)
        return parameters, seconds + first

    def cache(self) -> KVCache:
        one = self.settings
        return CollectiveKV(one.width, one.heads, one.own, one.pool, one.peak, one.balance)

    @torch.no_grad()
    def _use(self, validation: Cases) -> list[str]:
        network, lines = self.network, list[str]()
        histories = validation.histories.take(np.arange(min(SAMPLE, len(validation))))
        if not len(histories):
            return lines
        lists = torch.from_numpy(histories.newest(self.settings.length)).to(device())
        tokens, bias = network.tokens(lists), distance_bias(network.slopes, lists.shape[1], lists.shape[1])
        for number, layer in enumerate(network.layers, 1):
            if isinstance(layer.cache, CollectiveKV):
                gate, used = layer.cache.seen(layer.norms[0](tokens)[lists >= 0])
                lines.append(
                    f"pool of layer {number}: mean gate {gate:.3f}, perplexity {used:.0f} of {self.settings.pool}"
                )
            tokens, _ = layer(tokens, bias, lists >= 0)
        return lines


class CachedFollower(ListFollower):
    """`sasrec` with a smaller cache, with rows of its own.

    Args:
        row: fitted. slots: S.
    """

    def __init__(self, row: ItemsSASRec, slots: int) -> None:
        network, settings = row.network, row.settings
        self.network = deepcopy(network, {id(network.item): network.item})  # rows of its own, and the same item vectors
        self.network.hold(slots, settings.length)
        super().__init__(self.network, slots, settings.length, settings.width, device())

    @torch.no_grad()
    def scores(self, slots: NDArray[np.int64], histories: Lists) -> NDArray[np.float32]:
        slot, states = self.follow(slots, histories)
        found: NDArray[np.float32] = in_groups(self._scored, states, slot, self.network.size).cpu().numpy()
        return found

    def _scored(self, states: Tensor, slots: Tensor) -> Tensor:
        return self.network.asked(states) @ self.network.item_vectors().T


class LowRankSASRec(ItemsSASRec):
    """A control: a few numbers, and linear maps of them."""

    Settings = LowRankSettings
    settings: LowRankSettings
    plays = False

    def cache(self) -> KVCache:
        return LowRankKV(self.settings.width, self.settings.heads, self.settings.rank)


class OwnSASRec(ItemsSASRec):
    """A control: own numbers without a pool."""

    Settings = OwnSettings
    settings: OwnSettings
    plays = False

    def cache(self) -> KVCache:
        return OwnKV(self.settings.width, self.settings.heads, self.settings.own)


@torch.no_grad()
def _begin(network: CachedEncoder, whole: CachedEncoder, lists: Tensor, seed: int) -> None:
    """Give a network the weights of one with whole keys and values, and pools by what that reads of lists (B, T)."""
    learned = whole.state_dict()
    network.load_state_dict({name: learned.get(name, value) for name, value in network.state_dict().items()})
    whole.eval()
    there, tokens = lists >= 0, whole.tokens(lists)
    bias = distance_bias(whole.slopes, lists.shape[1], lists.shape[1])
    for number, (layer, other) in enumerate(zip(network.layers, whole.layers, strict=True)):
        if isinstance(layer.cache, CollectiveKV):
            layer.cache.begin(other.cache, other.norms[0](tokens)[there], seed_from(seed, "pools", number))
        tokens, _ = other(tokens, bias, there)


def _by_item(items: int, users: int, window: int, width: int) -> int:
    """Bytes of item numbers and a table of keys and values, as `ItemKV` would hold for so many users."""
    number = np.dtype(index_type(items)).itemsize
    return users * (window * number + 4) + items * 2 * width * 4
