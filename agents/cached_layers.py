"""Causal layers that have read lists of tokens, and go on from there: each new token costs the work of one.

A product of matrices may have other bits when it has another number of rows. So lists are read in groups of one size,
at one length: what is found of a user does not depend on who else is there.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from lerl.agents.transformer import distance_bias

TOGETHER = 16
"""Lists, or newest items of so many lists, that are read together."""


def in_groups(read: Callable[[Tensor, Tensor], Tensor], given: Tensor, rows: Tensor, size: int) -> Tensor:
    """What `read` gives (B, ...) for given (B, ...) and rows (B,), asked about `size` of them at a time.

    The last group is filled up with its first over again, which then does the same to its row.
    """
    found = []
    for first in range(0, len(rows), size):
        part = torch.arange(first, first + size, device=rows.device)
        part = part.where(part < len(rows), first)
        found.append(read(given[part], rows[part]))
    return torch.cat(found)[: len(rows)]


def as_long(lists: Tensor, length: int) -> Tensor:
    """Lists (B, T), -1 behind the last, with so many places (B, length)."""
    return pad(lists, (0, length - lists.shape[1]), value=-1)


class CachedLayers:
    """Whole keys and values of R rows of at most W tokens, in each of some layers that were trained without a cache.

    States are those of reading all tokens again, but for rounding, as long as no row has more than W.

    Args:
        layers: of `lerl.agents.transformer.CausalLayer`, one above the other, trained.
        last_norm: on what the last one gives. slopes: (H,), see `lerl.agents.transformer.distance_slopes`.
        rows: R. window: W.
    """

    def __init__(self, layers: nn.ModuleList, last_norm: nn.Module, slopes: Tensor, rows: int, window: int) -> None:
        self.layers: list[Any] = list(layers)
        self.last_norm, self.slopes, self.window = last_norm, slopes, window
        self.caches = [layer.cache() for layer in self.layers]
        for cache in self.caches:
            cache.reserve(rows, window)
        self.back = -slopes[:, None] * torch.arange(window, device=slopes.device)

    @torch.no_grad()
    def prefill(self, tokens: Tensor, lengths: Tensor, rows: Tensor) -> Tensor:
        """The states (B, T, d) of tokens (B, T, d), of which lengths (B,) are there, kept in rows (B,) int64.

        Lists of W tokens are read and not kept: nothing can be appended to them.
        """
        bias = distance_bias(self.slopes, tokens.shape[1], tokens.shape[1])
        kept = torch.where(lengths < self.window, lengths, 0)
        for layer, cache in zip(self.layers, self.caches, strict=True):
            if kept.any():
                cache.prefill(layer.norms[0](tokens), kept, rows)
            tokens = layer(tokens, bias)
        states: Tensor = self.last_norm(tokens)
        return states

    @torch.no_grad()
    def append(self, tokens: Tensor, rows: Tensor) -> Tensor:
        """The states (B, d) of one more token (B, d) of each of rows (B,), no row twice."""
        for layer, cache in zip(self.layers, self.caches, strict=True):
            tokens = layer.step(tokens, rows, self.back, cache)
        states: Tensor = self.last_norm(tokens)
        return states

    def nbytes(self) -> tuple[int, ...]:
        """Bytes that are held of each layer."""
        return tuple(cache.nbytes() for cache in self.caches)
