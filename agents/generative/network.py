"""The network of `tiger`: causal attention over items, each one token made of its digits, and a decoder of digits.

What it has in common with other networks that say digits is `CodedNetwork`.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from lerl.agents.generative.beam import search
from lerl.agents.generative.decoder import Decoder, History, Who
from lerl.agents.next_item.neural import NeuralSettings
from lerl.agents.next_item.sasrec import SASRecEncoder
from lerl.agents.transformer import distance_bias, distance_slopes
from lerl.envs.codes import Codes


class CodedEncoder(SASRecEncoder):
    """Causal attention over items of which nothing is known but their digits: a token is the sum of their vectors.

    Args:
        codes: of I items. settings: of the network.
    """

    rows: Tensor

    def __init__(self, codes: Codes, settings: NeuralSettings) -> None:
        super().__init__(sum(codes.sizes), settings)
        starts = torch.tensor([0, *codes.sizes[:-1]]).cumsum(0)
        self.register_buffer("rows", torch.from_numpy(codes.digits.astype("int64")) + starts, persistent=False)

    def tokens(self, items: Tensor) -> Tensor:
        digits = self.rows[items.clamp(min=0)]  # (..., L)
        return self.item(digits).sum(-2) * math.sqrt(self.settings.width / digits.shape[-1])


class CodedNetwork(nn.Module):
    """An encoder of lists of items, and a decoder that reads its states.

    Args:
        codes: of I items. settings: of the encoder. decoder: of the same codes and width.
    """

    slopes: Tensor

    def __init__(self, codes: Codes, settings: NeuralSettings, decoder: Any) -> None:
        super().__init__()
        self.encoder, self.decoder = CodedEncoder(codes, settings), decoder
        self.register_buffer("slopes", distance_slopes(settings.heads), persistent=False)

    def every(self, lists: Tensor) -> tuple[Tensor, History, Who, Tensor]:
        """All N items of lists (B, T) but the first of each, list by list, and what came before; -1 behind the last.

        Returns:
            (N, d) the states before them, the histories, which place of which is whose, and (N,) the items.
        """
        states, wanted = self.encoder(lists[:, :-1]), lists[:, 1:]
        row, place = torch.nonzero(wanted >= 0, as_tuple=True)
        length, items = wanted.shape[1], wanted[row, place]
        history = self.decoder.read(states, distance_bias(self.slopes, length, length)[None])
        return states[row, place], history, Who(row, place, length), items

    def read(self, lists: Tensor) -> tuple[Tensor, History]:
        """The newest states (B, d) of lists (B, T), and what queries read of each."""
        states, length = self.encoder(lists), lists.shape[1]
        last = ((lists >= 0).sum(1) - 1).clamp(min=0)
        bias = distance_bias(self.slopes, length, length)[:, last]  # (H, B, T)
        newest = states[torch.arange(len(lists), device=lists.device), last]
        return newest, self.decoder.read(states, bias.transpose(0, 1)[:, :, None])


class SemanticNetwork(CodedNetwork):
    """From lists of items to chances of the next one, digit by digit.

    Args:
        codes: of I items. settings: of the encoder. decoder: of the same codes and width.
    """

    decoder: Decoder

    def forced(self, lists: Tensor) -> tuple[Tensor, Tensor]:
        """All N items of lists (B, T) but the first of each, list by list, and what tells them; -1 behind the last.

        Returns:
            (N, L, d) states by which their digits are chosen, and (N,) the items.
        """
        newest, history, who, items = self.every(lists)
        return self.decoder.forced(newest, history, who, items), items

    def item_log_chances(self, lists: Tensor, items: Tensor) -> Tensor:
        """(B, C) exact log-chances that items (B, C) come next after lists (B, T)."""
        newest, history = self.read(lists)
        row, slot = torch.nonzero(torch.ones_like(items), as_tuple=True)
        states = self.decoder.forced(newest[row], history, Who(row, slot, items.shape[1]), items.flatten())
        return self.decoder.log_chances(states, items.flatten()).view(items.shape)

    def recommend(self, lists: Tensor, beams: int, allowed: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The likeliest items after lists (B, T) and their log-chances; see `lerl.agents.generative.beam.search`."""
        return search(self.decoder, *self.read(lists), beams, allowed)

    def first_states(self, lists: Tensor) -> Tensor:
        """(B, d) states by which the first digit is chosen after lists (B, T)."""
        newest, history = self.read(lists)
        rows = torch.arange(len(lists), device=lists.device)
        return self.decoder.next_state(
            self.decoder.first(newest), None, history, Who(rows, torch.zeros_like(rows), 1), 0
        )[0]
