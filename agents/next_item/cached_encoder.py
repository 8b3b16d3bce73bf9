"""Causal attention as of `sasrec`, whose layers get keys and values from caches: lists are read whole, or item by item.

What is read item by item has the same states as what is read whole, as long as no list is longer than the window.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from lerl.agents.cached_layers import TOGETHER, as_long, in_groups
from lerl.agents.kv_cache import FullKV, ItemKV, KVCache
from lerl.agents.next_item.neural import Encoder, NeuralSettings
from lerl.agents.transformer import distance_bias, distance_slopes


class CachedLayer(nn.Module):
    """As `lerl.agents.transformer.CausalLayer`, with keys and values of a cache.

    Args:
        width: of tokens. inner: of the inner layer. dropout: share of a result that is left out in training.
        cache: of the same width.
    """

    def __init__(self, width: int, inner: int, dropout: float, cache: KVCache) -> None:
        super().__init__()
        self.heads, self.cache = cache.heads, cache
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.query, self.out_proj = nn.Linear(width, width), nn.Linear(width, width)
        self.fc_in, self.fc_out = nn.Linear(width, inner), nn.Linear(inner, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, bias: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (B, T, d), a bias (H, T, T) as of `distance_bias`, and which tokens are real (B, T) bool.

        Returns:
            (B, T, d), and what a training adds to the loss; 0 otherwise.
        """
        normed = self.norms[0](tokens)
        pair, more = self.cache.learned(normed, there) if self.training else (self.cache(normed), tokens.new_zeros(()))
        queries, keys, values = (self._heads(one) for one in (self.query(normed), *pair))
        weights = (queries @ keys.transpose(-1, -2) / math.sqrt(queries.shape[-1]) + bias).softmax(-1)
        return self._rest(tokens, (weights @ values).transpose(1, 2).flatten(2)), more

    def step(self, tokens: Tensor, items: Tensor, rows: Tensor, bias: Tensor, cache: KVCache) -> Tensor:
        """The newest token (B, d) of each row, of these items (B,), after those in a cache, into which it is put."""
        normed = self.norms[0](tokens)
        cache.append(rows, items if isinstance(cache, ItemKV) else normed)
        return self._rest(tokens, cache.attend(self.query(normed), rows, bias))

    def _heads(self, parts: Tensor) -> Tensor:
        """(B, T, d) -> (B, H, T, d / H)."""
        return parts.reshape(*parts.shape[:2], self.heads, -1).transpose(1, 2)

    def _rest(self, tokens: Tensor, found: Tensor) -> Tensor:
        tokens = tokens + self.dropout(self.out_proj(found))
        return tokens + self.dropout(self.fc_out(torch.relu(self.fc_in(self.norms[1](tokens)))))


class CachedEncoder(Encoder):
    """Layers one above the other.

    Args:
        items: I. settings: of the network. kind: makes the cache of a layer.
        by_item: whether the first layer is kept by item numbers, which is exact, and so has whole keys and values.

    Attributes:
        caches: of each layer, once `hold` has made room in them.
    """

    slopes: Tensor

    def __init__(self, items: int, settings: NeuralSettings, kind: Callable[[], KVCache], by_item: bool) -> None:
        super().__init__(items, settings)
        width, heads = settings.width, settings.heads
        self.register_buffer("slopes", distance_slopes(heads), persistent=False)
        self.by_item, self.caches = by_item, list[KVCache]()
        kinds = [FullKV(width, heads) if by_item and not layer else kind() for layer in range(settings.layers)]
        self.layers: Any = nn.ModuleList(CachedLayer(width, 2 * width, settings.dropout, one) for one in kinds)
        self.last_norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(settings.dropout)

    def tokens(self, items: Tensor) -> Tensor:
        """(..., d): what stands for items (...)."""
        found: Tensor = self.item(items.clamp(min=0)) * math.sqrt(self.settings.width)
        return found

    def learned(self, lists: Tensor) -> tuple[Tensor, Tensor]:
        """The states (B, T, d) after each item of lists (B, T), and what a training adds to the loss."""
        tokens, more = self.dropout(self.tokens(lists)), self.slopes.new_zeros(())
        bias = distance_bias(self.slopes, lists.shape[1], lists.shape[1])
        for layer in self.layers:
            tokens, added = layer(tokens, bias, lists >= 0)
            more = more + added
        return self.last_norm(tokens), more

    def forward(self, lists: Tensor) -> Tensor:
        return self.learned(lists)[0]

    @torch.no_grad()
    def hold(self, rows: int, window: int) -> None:
        """Make room for so many lists of at most `window` items; what was kept is gone."""
        self.window, self.size = window, min(TOGETHER, rows)
        self.caches = [layer.cache for layer in self.layers]
        if self.by_item:
            first, every = self.layers[0], torch.arange(self.item.num_embeddings, device=self.slopes.device)
            self.caches[0] = ItemKV(first.cache.pair(first.norms[0](self.tokens(every))), first.heads)
        for cache in self.caches:
            cache.reserve(rows, window)
        self.back = -self.slopes[:, None] * torch.arange(window, device=self.slopes.device)

    def prefill(self, lists: Tensor, rows: Tensor) -> Tensor:
        """Keep lists (B, T), -1 behind the last, in rows (B,) int64, and give their newest states (B, d)."""
        return in_groups(self._prefill, as_long(lists, self.window), rows, self.size)

    def append(self, items: Tensor, rows: Tensor) -> Tensor:
        """Read one more item (B,) of each of rows (B,), no row twice, and give the states (B, d) after it."""
        return in_groups(self._append, items, rows, self.size)

    @torch.no_grad()
    def _prefill(self, lists: Tensor, rows: Tensor) -> Tensor:
        lengths = (lists >= 0).sum(1)
        tokens, bias = self.tokens(lists), distance_bias(self.slopes, lists.shape[1], lists.shape[1])
        for layer, cache in zip(self.layers, self.caches, strict=True):
            cache.prefill(lists if isinstance(cache, ItemKV) else layer.norms[0](tokens), lengths, rows)
            tokens, _ = layer(tokens, bias, lists >= 0)
        found: Tensor = self.last_norm(tokens[torch.arange(len(lists)), lengths - 1])
        return found

    @torch.no_grad()
    def _append(self, items: Tensor, rows: Tensor) -> Tensor:
        tokens = self.tokens(items)
        for layer, cache in zip(self.layers, self.caches, strict=True):
            tokens = layer.step(tokens, items, rows, self.back, cache)
        found: Tensor = self.last_norm(tokens)
        return found

    def nbytes(self) -> tuple[int, ...]:
        """Bytes that are held of each layer."""
        return tuple(cache.nbytes() for cache in self.caches)
