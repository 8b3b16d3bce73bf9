"""Row `hstu`: hierarchical sequential transduction units.

Zhai et al., "Actions speak louder than words: trillion-parameter sequential transducers for generative
recommendations", ICML 2024, equations 1 to 3, without times: attention weights are SiLU of the products in place of a
softmax, so that how often something was chosen is not lost, and what is found is gated item by item. Places are known
by a learned number for each distance and head.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from lerl.agents.next_item.neural import Encoder, NeuralNextItem, NeuralSettings


class HSTULayer(nn.Module):
    """One unit: pointwise projection, pointwise attention over what lies before, gate.

    Args:
        settings: of the network.
    """

    def __init__(self, settings: NeuralSettings) -> None:
        super().__init__()
        width, self.heads, self.length = settings.width, settings.heads, settings.length
        self.norm, self.found_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.parts, self.out = nn.Linear(width, 4 * width), nn.Linear(width, width)
        self.distance = nn.Parameter(torch.zeros(settings.heads, settings.length))
        self.dropout = nn.Dropout(settings.dropout)

    def forward(self, tokens: Tensor, apart: Tensor) -> Tensor:
        """Tokens (B, T, d), and how far each lies behind each other (T, T), below 0 for later ones -> (B, T, d)."""
        batch, length, width = tokens.shape
        gate, *rest = silu(self.parts(self.norm(tokens))).chunk(4, dim=-1)
        values, queries, keys = (one.view(batch, length, self.heads, -1).transpose(1, 2) for one in rest)
        bias = self.distance[:, apart.clamp(min=0)]  # (H, T, T)
        weights = silu(queries @ keys.transpose(-1, -2) + bias) * (apart >= 0) / self.length
        found = (weights @ values).transpose(1, 2).reshape(batch, length, width)
        return tokens + self.out(self.dropout(self.found_norm(found) * gate))


class HSTUEncoder(Encoder):
    """Units one above the other."""

    def __init__(self, items: int, settings: NeuralSettings) -> None:
        super().__init__(items, settings)
        self.layers = nn.ModuleList(HSTULayer(settings) for _ in range(settings.layers))
        self.last_norm = nn.LayerNorm(settings.width)
        self.dropout = nn.Dropout(settings.dropout)

    def forward(self, lists: Tensor) -> Tensor:
        places = torch.arange(lists.shape[1], device=lists.device)
        apart = places[:, None] - places[None, :]
        tokens = self.dropout(self.item(lists.clamp(min=0)) * self.settings.width**0.5)
        for layer in self.layers:
            tokens = layer(tokens, apart)
        return self.last_norm(tokens)


class HSTU(NeuralNextItem):
    """HSTU with full softmax."""

    def encoder(self) -> Encoder:
        return HSTUEncoder(self.items, self.settings)
