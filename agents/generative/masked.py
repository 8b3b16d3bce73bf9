"""A decoder that reads all digits of an item at once, some of them hidden, and says what the hidden ones are.

Unlike `lerl.agents.generative.decoder.Decoder` it has no order of digits: any of them may be known when another is
asked for (Mu et al., "Masked diffusion generative recommendation", 2026; Liu et al., "DiffGRM", WWW 2026, whose
decoder it follows: no vectors of places, a mask vector for each digit, keys and values of the history made once).

The last digit is none of these: it has no meaning but to tell apart items whose other digits are the same. It is
always hidden and never read, and its chance is that among the items with the same other digits: 1 where there is one.
What it means differs from code to code, so that it is asked for with the vectors of the other digits at hand. These are
known of every item that is judged, whatever the decoder has seen, and no pass is needed for it.
"""

import numpy as np
import torch
from torch import Tensor, nn

from lerl.agents.generative.decoder import DigitLayer, History, Who, logits
from lerl.agents.generative.network import CodedNetwork
from lerl.agents.next_item.neural import NeuralSettings
from lerl.envs.codes import Codes

HIDDEN = -1
"""Stands for a digit that is not known."""


class MaskedDecoder(nn.Module):
    """Layers in which every digit sees every other, and a vector for each code of each digit, read in and asked for.

    Tensors of codes move with it, and are no part of its weights.

    Args:
        codes: of I items, L digits with the last one. width, heads, dropout: of layers. layers: how many.
        temperature: logits are cosines divided by it; 0 for dot products.

    Attributes:
        bare: (I, L - 1) int64 digits of items, without the last. last: (I,) int64, it.
        group: (I,) int64, which of G bare codes each item has. codes: (G, L - 1) int64, their digits.
        fellows: (G,) int64, how many items have each of them.

    Raises:
        ValueError: the last digit does not count items with the same bare digits from 0.
    """

    bare: Tensor
    last: Tensor
    group: Tensor
    codes: Tensor
    fellows: Tensor

    def __init__(
        self, codes: Codes, width: int, heads: int, layers: int, dropout: float, temperature: float = 0.0
    ) -> None:
        super().__init__()
        self.temperature = temperature
        self.digits = nn.ParameterList(torch.randn(size, width) * 0.02 for size in codes.sizes)
        self.masks = nn.Parameter(torch.zeros(len(codes.sizes), width))
        self.layers = nn.ModuleList(DigitLayer(width, heads, dropout, causal=False) for _ in range(layers))
        self.last_norm = nn.LayerNorm(width)
        bare, last = codes.bare.astype(np.int64), codes.digits[:, -1].astype(np.int64)
        group, fellows = codes.groups, np.bincount(codes.groups)
        if (last >= fellows[group]).any():
            raise ValueError("the last digit must count the items with the same other digits, from 0")
        kept = {"bare": bare, "last": last, "group": group, "codes": bare[last == 0], "fellows": fellows}
        kept["codes"] = kept["codes"][np.argsort(group[last == 0])]
        for name, values in kept.items():
            self.register_buffer(name, torch.from_numpy(values), persistent=False)

    def read(self, states: Tensor, bias: Tensor) -> History:
        """What queries read of states (B, T, d); bias as in `History`."""
        return History([layer.read(states) for layer in self.layers], bias)  # type: ignore[operator]

    def forward(self, newest: Tensor, known: Tensor, history: History, who: Who) -> Tensor:
        """The states by which all digits are chosen, in one pass.

        Args:
            newest: (N, d) states. known: (N, L - 1) int64 digits, HIDDEN where one is not known.
            history, who: what each query reads.

        Returns:
            (N, L, d); those of known digits are of no use.
        """
        asked, scale = newest[:, None] + self.masks, newest.shape[1] ** 0.5  # (N, L, d)
        read = [self.digits[place][known[:, place].clamp(min=0)] * scale for place in range(known.shape[1])]
        hidden = (known == HIDDEN)[..., None]
        tokens = torch.cat([torch.where(hidden, asked[:, :-1], torch.stack(read, dim=1)), asked[:, -1:]], dim=1)
        for layer, pair in zip(self.layers, history.pairs, strict=True):
            tokens, _ = layer(tokens, None, pair, history.bias, who)
        found: Tensor = self.last_norm(tokens)
        return found

    def chances(self, place: int, states: Tensor) -> Tensor:
        """(..., size) log-chances of a bare digit, by states (..., d)."""
        return logits(states, self.digits[place], self.temperature).log_softmax(-1)

    def last_chances(self, states: Tensor, groups: Tensor) -> Tensor:
        """(..., size) log-chances of the last digit of items with bare codes (...), -inf where no item has it.

        Args:
            states: (..., d) of the last place. groups: int64, below G.
        """
        codes = self.codes[groups]
        vectors = torch.stack([self.digits[place][codes[..., place]] for place in range(codes.shape[-1])]).sum(0)
        found = logits(states * (1 + vectors * states.shape[-1] ** 0.5), self.digits[-1], self.temperature)
        beyond = torch.arange(found.shape[-1], device=found.device) >= self.fellows[groups][..., None]
        return found.masked_fill(beyond, -torch.inf).log_softmax(-1)

    def losses(self, states: Tensor, items: Tensor, hidden: Tensor, smoothing: float = 0.0) -> Tensor:
        """(N,) the mean cross-entropy of the hidden digits of items (N,), by states (N, L, d).

        The last digit is one of them where other items have the same bare digits.

        Args:
            states: see `forward`. items: int64. hidden: (N, L - 1) bool, at least one in a row.
            smoothing: share of each digit's chance that is asked for at all possible digits alike.
        """
        groups, digits = self.group[items], self.bare[items]
        values = [
            _value(self.chances(place, states[:, place]), digits[:, place], smoothing)
            for place in range(hidden.shape[1])
        ]
        values.append(_value(self.last_chances(states[:, -1], groups), self.last[items], smoothing))
        asked = torch.cat([hidden, self.fellows[groups, None] > 1], dim=1)
        return -torch.where(asked, torch.stack(values, dim=1), 0.0).sum(1) / asked.sum(1)


def _value(chances: Tensor, wanted: Tensor, smoothing: float) -> Tensor:
    """(N,) log-chances (N, size) of what is wanted (N,), a share of them the mean of all that are possible."""
    value = chances.gather(1, wanted[:, None])[:, 0]
    if not smoothing:
        return value
    there = chances > -torch.inf
    return (1 - smoothing) * value + smoothing * chances.masked_fill(~there, 0.0).sum(1) / there.sum(1)


class MaskedNetwork(CodedNetwork):
    """From lists of items to chances of the digits of the next one, any of which may be known.

    Args:
        codes: of I items. settings: of the encoder. decoder: of the same codes and width.
    """

    decoder: MaskedDecoder

    def __init__(self, codes: Codes, settings: NeuralSettings, decoder: MaskedDecoder) -> None:
        super().__init__(codes, settings, decoder)
        nn.init.normal_(decoder.masks, std=0.02)  # after all other draws, so that those are as in `tiger`

    def losses(self, lists: Tensor, hidden: Tensor, smoothing: float = 0.0) -> Tensor:
        """(N,) of all items of lists (B, T) but the first of each, list by list; see `MaskedDecoder.losses`.

        Args:
            lists: int64, -1 behind the last item. hidden: (N, L - 1) bool.
        """
        newest, history, who, items = self.every(lists)
        known = self.decoder.bare[items].masked_fill(hidden, HIDDEN)
        states = self.decoder(newest, known, history, who)
        return self.decoder.losses(states, items, hidden, smoothing)
