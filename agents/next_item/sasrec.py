"""Row `sasrec`: Kang and McAuley, "Self-attentive sequential recommendation", ICDM 2018.

With cross-entropy over all items in place of one sampled negative, which raises its NDCG by half or more (Klenitskiy
and Vasilev, "Turning dross into gold loss", RecSys 2023), and with places known by distance, see
`lerl.agents.transformer`.
"""

import math

from torch import Tensor, nn

from lerl.agents.next_item.neural import Encoder, NeuralNextItem, NeuralSettings
from lerl.agents.sasrec import SessionSASRec
from lerl.agents.transformer import CausalLayer, distance_bias, distance_slopes


class SASRecEncoder(Encoder):
    """Causal attention over item vectors."""

    slopes: Tensor

    def __init__(self, items: int, settings: NeuralSettings) -> None:
        super().__init__(items, settings)
        width, heads = settings.width, settings.heads
        self.register_buffer("slopes", distance_slopes(heads), persistent=False)
        self.layers = nn.ModuleList(
            CausalLayer(width, 2 * width, heads, settings.dropout) for _ in range(settings.layers)
        )
        self.last_norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(settings.dropout)

    def tokens(self, items: Tensor) -> Tensor:
        """(..., d): what stands for items (...)."""
        found: Tensor = self.item(items.clamp(min=0)) * math.sqrt(self.settings.width)
        return found

    def forward(self, lists: Tensor) -> Tensor:
        tokens = self.dropout(self.tokens(lists))
        bias = distance_bias(self.slopes, lists.shape[1], lists.shape[1])
        for layer in self.layers:
            tokens = layer(tokens, bias)
        return self.last_norm(tokens)


class SASRec(NeuralNextItem):
    """Self-attention with full softmax."""

    session_row = SessionSASRec

    def encoder(self) -> Encoder:
        return SASRecEncoder(self.items, self.settings)
