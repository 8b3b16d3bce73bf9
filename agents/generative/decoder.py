"""The decoder of semantic IDs: digit after digit, each with an eye on the states of the history.

What it says is a chance of every item: each digit is chosen by a softmax among those that some item has after the
digits before it, so that the chances of all items sum to 1.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize, scaled_dot_product_attention

from lerl.agents.generative.prefixes import Prefixes
from lerl.agents.kv_cache import FullKV
from lerl.envs.codes import Codes

Pair = tuple[Tensor, Tensor]
"""Keys and values, (N, H, t, d / H) each."""


class History(NamedTuple):
    """What queries read of B lists, made once for all of their queries.

    Attributes:
        pairs: keys and values of each layer, (B, H, T, d / H). bias: (B or 1, H, S or 1, T), added to the log-weight of
            a place of the list for a query of each of S slots; -inf for places that it must not see.
    """

    pairs: list[Pair]
    bias: Tensor


class Who(NamedTuple):
    """To which list, and which slot of it, each of N queries belongs.

    Attributes:
        row, slot: (N,) int64, no pair twice. slots: S, how many there are.
    """

    row: Tensor
    slot: Tensor
    slots: int


def logits(states: Tensor, vectors: Tensor, temperature: float) -> Tensor:
    """(..., K): states (..., d) times vectors (K, d), or their cosines / temperature where that is above 0."""
    if temperature:
        states, vectors = normalize(states, dim=-1) / temperature, normalize(vectors, dim=-1)
    return states @ vectors.T


class DigitLayer(nn.Module):
    """Attention to the digits before, attention to the history, and an inner layer (Vaswani et al., NIPS 2017).

    Args:
        width, heads, dropout: as of `lerl.agents.transformer.CausalLayer`; the inner layer is twice as wide.
        causal: whether a digit sees only those before it; else all see all.
    """

    def __init__(self, width: int, heads: int, dropout: float, causal: bool = True) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.attention, self.out_proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.query, self.pair, self.cross_proj = (nn.Linear(width, n * width) for n in (1, 2, 1))
        self.fc_in, self.fc_out = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.dropout = nn.Dropout(dropout)

    def read(self, states: Tensor) -> Pair:
        """The keys and values of states (B, T, d)."""
        keys, values = self.pair(states).chunk(2, dim=-1)
        return self._heads(keys), self._heads(values)

    def cache(self) -> FullKV:
        """One for the states of histories, with the weights of this layer."""
        return FullKV(self.out_proj.in_features, self.heads, self.pair)

    def kept(self, cache: FullKV, rows: Tensor) -> tuple[Pair, Tensor]:
        """The keys and values of rows (B,) of a cache, and (B, W) how many events back each is, -1 for none."""
        keys, values, back = cache.held(rows)
        return (self._heads(keys), self._heads(values)), back

    def forward(self, tokens: Tensor, past: Pair | None, pair: Pair, bias: Tensor, who: Who) -> tuple[Tensor, Pair]:
        """Tokens (N, t, d) behind those of `past` -> (N, t, d), and the past with them."""
        queries, *own = (self._heads(part) for part in self.attention(self.norms[0](tokens)).chunk(3, dim=-1))
        keys, values = own if past is None else (torch.cat(both, dim=2) for both in zip(past, own, strict=True))
        seen = None
        if self.causal:
            before = keys.shape[2] - tokens.shape[1]
            seen = torch.ones(tokens.shape[1], keys.shape[2], dtype=torch.bool, device=tokens.device).tril(before)
        found = scaled_dot_product_attention(queries, keys, values, seen)
        tokens = tokens + self.dropout(self.out_proj(self._joined(found)))
        tokens = tokens + self.dropout(
            self.cross_proj(self._looked_up(self.query(self.norms[1](tokens)), pair, bias, who))
        )
        inner = torch.relu(self.fc_in(self.norms[2](tokens)))
        return tokens + self.dropout(self.fc_out(inner)), (keys, values)

    def _looked_up(self, queries: Tensor, pair: Pair, bias: Tensor, who: Who) -> Tensor:
        """(N, t, d) of the histories, for queries (N, t, d): those of one list side by side."""
        _, length, width = queries.shape
        asked = queries.new_zeros(len(pair[0]), who.slots, length, width)
        asked[who.row, who.slot] = queries
        bias = bias.repeat_interleave(length, dim=2) if bias.shape[2] > 1 else bias
        found = scaled_dot_product_attention(self._heads(asked.flatten(1, 2)), *pair, bias)
        return self._joined(found).view(asked.shape)[who.row, who.slot]

    def _heads(self, parts: Tensor) -> Tensor:
        """(N, t, d) -> (N, H, t, d / H)."""
        return parts.view(*parts.shape[:2], self.heads, -1).transpose(1, 2)

    def _joined(self, parts: Tensor) -> Tensor:
        """(N, H, t, d / H) -> (N, t, d)."""
        return parts.transpose(1, 2).flatten(2)


class Decoder(nn.Module):
    """Layers one above the other, and a vector for each code of each digit, which is read in and asked for.

    Args:
        codes: of I items, L digits. width, heads, dropout: of layers. layers: how many.
        temperature: logits are cosines divided by it; 0 for dot products.
    """

    def __init__(
        self, codes: Codes, width: int, heads: int, layers: int, dropout: float, temperature: float = 0.0
    ) -> None:
        super().__init__()
        self.prefixes, self.temperature = Prefixes(codes), temperature
        self.digits = nn.ParameterList(torch.randn(size, width) * 0.02 for size in codes.sizes)
        self.start = nn.Parameter(torch.zeros(width))
        self.layers = nn.ModuleList(DigitLayer(width, heads, dropout) for _ in range(layers))
        self.last_norm = nn.LayerNorm(width)

    def read(self, states: Tensor, bias: Tensor) -> History:
        """What queries read of states (B, T, d); bias as in `History`."""
        return History([layer.read(states) for layer in self.layers], bias)  # type: ignore[operator]

    def step(self, tokens: Tensor, past: list[Pair] | None, history: History, who: Who) -> tuple[Tensor, list[Pair]]:
        """Tokens (N, t, d) -> states (N, t, d), by which the next digits are chosen, and the past with them."""
        now = []
        for place, layer in enumerate(self.layers):
            before = None if past is None else past[place]
            tokens, both = layer(tokens, before, history.pairs[place], history.bias, who)
            now.append(both)
        return self.last_norm(tokens), now

    def first(self, states: Tensor) -> Tensor:
        """The token before the first digit, of the newest states (N, d)."""
        return states + self.start

    def token(self, depth: int, digits: Tensor) -> Tensor:
        """(N, d): what is read in of digits (N,) at a depth, 0 for the first digit."""
        return self.digits[depth][digits] * self.start.shape[0] ** 0.5

    def chances(self, depth: int, states: Tensor, prefixes: Tensor) -> Tensor:
        """(N, size) log-chances of the next digit after prefixes (N,), by states (N, d); -inf for no item's."""
        found = logits(states, self.digits[depth], self.temperature)
        return found.masked_fill(~self.prefixes.possible(depth, prefixes), -torch.inf).log_softmax(-1)

    def next_state(
        self, tokens: Tensor, past: list[Pair] | None, history: History, who: Who, depth: int
    ) -> tuple[Tensor, list[Pair]]:
        """Tokens (N, d) before a digit -> states (N, d), by which it is chosen, and the past with them."""
        states, past = self.step(tokens[:, None], past, history, who)
        return states[:, 0], past

    def forced(self, newest: Tensor, history: History, who: Who, items: Tensor) -> Tensor:
        """(N, L, d) states by which each digit of items (N,) int64 is chosen after those before it, all at once.

        Args:
            newest: (N, d) states. history, who: what each query reads. items: whose digits are said.
        """
        return self.step(torch.stack(self._said(newest, items), dim=1), None, history, who)[0]

    def _said(self, newest: Tensor, items: Tensor) -> list[Tensor]:
        """L tokens (N, d): that before the first digit, and all digits of items (N,) but the last."""
        digits = self.prefixes.digits[items]
        return [self.first(newest), *(self.token(depth, digits[:, depth]) for depth in range(digits.shape[1] - 1))]

    def log_chances(self, states: Tensor, items: Tensor, smoothing: float = 0.0) -> Tensor:
        """(N,) exact log-chances of items (N,), by states (N, L, d) as of `forced`.

        Args:
            states: of each digit. items: int64. smoothing: share of each digit's chance that is asked for at all
                possible digits alike, for a loss.
        """
        total = states.new_zeros(len(items))
        for depth in range(states.shape[1]):
            rows, found, wanted = self.choices(depth, states, items)
            value = found.gather(1, wanted[:, None])[:, 0]
            if smoothing:
                there = found > -torch.inf
                mean = found.masked_fill(~there, 0.0).sum(1) / there.sum(1)
                value = (1 - smoothing) * value + smoothing * mean
            total = total.index_add(0, rows, value)
        return total

    def choices(self, depth: int, states: Tensor, items: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What is left to choose at a depth: (M,) for which of N items, (M, size) log-chances, (M,) its digit."""
        before = self.prefixes.path[items, depth]
        rows = torch.nonzero(self.prefixes.items(depth, before) > 1)[:, 0]
        found = self.chances(depth, states[rows, depth], before[rows])
        return rows, found, self.prefixes.digits[items[rows], depth]
