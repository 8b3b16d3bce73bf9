"""Causal layers that have read lists of tokens, and go on from there: each new token costs the work of one."""

from typing import Any

import torch
from torch import Tensor, nn

from lerl.agents.transformer import distance_bias


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
        kept = torch.nonzero(lengths < self.window)[:, 0]
        for layer, cache in zip(self.layers, self.caches, strict=True):
            if len(kept):
                cache.prefill(layer.norms[0](tokens[kept]), lengths[kept], rows[kept])
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
