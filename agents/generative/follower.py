"""Rows that say codes, in sessions: encoder and decoder read only what was clicked since."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lerl.agents.cached_layers import TOGETHER, CachedLayers, as_long, in_groups
from lerl.agents.generative.decoder import DigitLayer, History
from lerl.agents.generative.network import CodedNetwork
from lerl.agents.next_item.follower import ListFollower
from lerl.agents.next_item.neural import device
from lerl.envs.sequences import Lists

Search = Callable[[Tensor, History, int, Tensor | None], NDArray[np.float32]]
"""(B, I) scores by newest states (B, d), histories of B lists, beams, and which items are allowed, (B, I) or None."""


class CodedReader:
    """A network that has read a list of at most W items in each of R rows, and goes on from there.

    Of each item are kept its keys and values in each layer of the encoder, and those that each layer of the decoder
    makes of the encoder's state.

    Args:
        network: trained. rows: R. window: W.
    """

    def __init__(self, network: CodedNetwork, rows: int, window: int) -> None:
        encoder = network.encoder
        self.encoder, self.slopes = encoder, network.slopes
        self.window, self.size = window, min(TOGETHER, rows)
        self.layers = CachedLayers(encoder.layers, encoder.last_norm, encoder.slopes, rows, window)
        self.decoder: list[DigitLayer] = list(network.decoder.layers)
        self.caches = [layer.cache() for layer in self.decoder]
        for cache in self.caches:
            cache.reserve(rows, window)

    def prefill(self, lists: Tensor, rows: Tensor) -> Tensor:
        """See `lerl.agents.next_item.follower.Reader`."""
        return in_groups(self._prefill, as_long(lists, self.window), rows, self.size)

    def append(self, items: Tensor, rows: Tensor) -> Tensor:
        """See `lerl.agents.next_item.follower.Reader`."""
        return in_groups(self._append, items, rows, self.size)

    @torch.no_grad()
    def _prefill(self, lists: Tensor, rows: Tensor) -> Tensor:
        lengths = (lists >= 0).sum(1)
        states = self.layers.prefill(self.encoder.tokens(lists), lengths, rows)
        for cache in self.caches:
            cache.prefill(states, lengths, rows)
        return states[torch.arange(len(lists), device=lists.device), lengths - 1]

    @torch.no_grad()
    def _append(self, items: Tensor, rows: Tensor) -> Tensor:
        states = self.layers.append(self.encoder.tokens(items), rows)
        for cache in self.caches:
            cache.append(rows, states)
        return states

    @torch.no_grad()
    def history(self, rows: Tensor) -> History:
        """What queries read of rows (B,), a query each: as `CodedNetwork.read` gives of their lists."""
        found = [layer.kept(cache, rows) for layer, cache in zip(self.decoder, self.caches, strict=True)]
        back = found[0][1][:, None, None]  # (B, 1, 1, W), the same in all layers
        bias = torch.where(back < 0, -torch.inf, -self.slopes[:, None, None] * back)
        return History([pair for pair, _ in found], bias)

    def nbytes(self) -> tuple[int, ...]:
        """Bytes that are held of each layer, first those of the encoder."""
        return (*self.layers.nbytes(), *(cache.nbytes() for cache in self.caches))


class CodedFollower(ListFollower):
    """A row that says codes, in S sessions.

    What is read of a user does not depend on who else is there; the search does, by rounding, as it goes through the
    digits of all at once.

    Args:
        network: trained. slots: S. length: newest items that are read. beams: of a search, at least.
        search: that of the row.
    """

    reader: CodedReader

    def __init__(self, network: CodedNetwork, slots: int, length: int, beams: int, search: Search) -> None:
        width = network.encoder.settings.width
        super().__init__(CodedReader(network, slots, length), slots, length, width, device())
        self.beams, self.search = beams, search

    def scores(self, slots: NDArray[np.int64], histories: Lists) -> NDArray[np.float32]:
        return self._found(slots, histories, self.beams, None)

    def within(
        self, slots: NDArray[np.int64], histories: Lists, allowed: NDArray[np.bool_], count: int
    ) -> NDArray[np.float32]:
        found = self._found(slots, histories, max(count, self.beams), torch.from_numpy(allowed))
        return np.where(allowed, found, np.float32(-np.inf))

    def _found(
        self, slots: NDArray[np.int64], histories: Lists, beams: int, allowed: Tensor | None
    ) -> NDArray[np.float32]:
        rows, newest = self.follow(slots, histories)
        return self.search(newest, self.reader.history(rows), beams, allowed)
