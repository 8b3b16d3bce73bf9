"""Caches of keys and values behind causal attention: whole, by item, of low rank, and shared by all users.

A layer that reads one event at a time needs the keys and values of the events before. Kept whole they are 2 d numbers
an event and layer. What is kept instead is what a kind says; keys and values are made of it when they are read. Since
only distances count (`lerl.agents.transformer.distance_bias`), what was kept of an event stays right while the window
slides.

`CollectiveKV` follows Li et al., "CollectiveKV: decoupling and sharing collaborative information in sequential
recommendation", ICLR 2026 (arXiv 2601.19178): an event has a few numbers of its own, and the number of a row in a pool
of keys, and in one of values, that all users share.
"""

import math
from abc import abstractmethod

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from lerl.envs.codes import clusters
from lerl.envs.kv_layout import index_type

Parts = tuple[Tensor, ...]
Pair = tuple[Tensor, Tensor]

OPEN = 4.0
"""Mean of the largest logits of a router that begins near whole keys and values: gates of .98."""


class KVCache(nn.Module):
    """Keys and values of one layer, d wide each, made of what is kept of events; and what is kept of R rows of them.

    The projections are learned as those of any layer, by `forward`; rows are kept by `prefill` and `append`, and read
    by `attend`. A row holds its newest W events in a ring: event n in place n % W.

    Args:
        width: d. heads: they divide the width.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.width, self.heads = width, heads
        self.window, self.places, self.counts = 0, list[Tensor](), torch.zeros(0, dtype=torch.int32)

    @abstractmethod
    def keep(self, tokens: Tensor) -> Parts:
        """What is kept of tokens (..., d): tensors (..., n), each in the type in which it is kept."""

    @abstractmethod
    def read(self, parts: Parts) -> Pair:
        """The keys and values (..., d) of what was kept."""

    def forward(self, tokens: Tensor) -> Pair:
        """The keys and values (..., d) of tokens (..., d)."""
        return self.read(self.keep(tokens))

    def learned(self, tokens: Tensor, there: Tensor) -> tuple[Pair, Tensor]:
        """The same for a training, and what it adds to the loss: a mean over the tokens that are there (...), bool."""
        return self(tokens), tokens.new_zeros(())

    def shared(self) -> list[Tensor]:
        """What is held once for all rows."""
        return []

    def reserve(self, rows: int, window: int) -> None:
        """Make room for so many rows of W events each, all empty; what was kept is gone."""
        like = self.keep(self._nothing())
        self.window = window
        self.places = [torch.zeros(rows, window, *one.shape[1:], dtype=one.dtype, device=one.device) for one in like]
        self.counts = torch.zeros(rows, dtype=torch.int32, device=like[0].device)

    def _nothing(self) -> Tensor:
        weight = next(self.parameters())
        return torch.zeros(1, self.width, dtype=weight.dtype, device=weight.device)

    @torch.no_grad()
    def prefill(self, tokens: Tensor, lengths: Tensor, rows: Tensor | None = None) -> Tensor:
        """Keep the events of B rows from their beginning.

        Args:
            tokens: (B, T, ...), what the layer reads of each event. lengths: (B,) int64, how many of T there are.
            rows: (B,) int64 numbers of rows to write over; new ones where None, of T places if none is reserved.

        Returns:
            (B,) int64, the numbers of the rows.
        """
        if rows is None:
            if not self.window:
                self.reserve(0, max(1, tokens.shape[1]))
            rows = self._grow(len(tokens))
        place = torch.arange(tokens.shape[1], device=tokens.device)
        there = (place < lengths[:, None]) & (place >= lengths[:, None] - self.window)
        row, event = torch.nonzero(there, as_tuple=True)
        for kept, part in zip(self.places, self.keep(tokens), strict=True):
            kept[rows[row], event % self.window] = part[row, event]
        self.counts[rows] = lengths.to(self.counts.dtype)
        return rows

    def _grow(self, count: int) -> Tensor:
        """The numbers of so many new rows."""
        before = len(self.counts)
        more = [one.new_zeros(count, *one.shape[1:]) for one in self.places]
        self.places = [torch.cat(both) for both in zip(self.places, more, strict=True)]
        self.counts = torch.cat([self.counts, self.counts.new_zeros(count)])
        return torch.arange(before, before + count, device=self.counts.device)

    @torch.no_grad()
    def append(self, rows: Tensor, tokens: Tensor) -> None:
        """Keep one more event of each of rows (B,), no row twice; tokens: (B, ...). The oldest of W goes."""
        place = self.counts[rows].long() % self.window
        for kept, part in zip(self.places, self.keep(tokens), strict=True):
            kept[rows, place] = part
        self.counts[rows] += 1

    @torch.no_grad()
    def attend(self, queries: Tensor, rows: Tensor, bias: Tensor) -> Tensor:
        """What queries (B, d) find among the events of rows (B,).

        Args:
            queries: of one query a row. rows: int64.
            bias: (H, W), added to the log-weight of the event so many events back; the newest is 0 back.

        Returns:
            (B, d); zeros for a row without events.
        """
        keys, values, back = self.held(rows)
        size = self.width // self.heads
        keys, values = (one.reshape(*one.shape[:2], self.heads, size) for one in (keys, values))  # (B, W, H, d / H)
        products = (queries.view(-1, 1, self.heads, size) * keys).sum(-1)  # einsum's bits depend on the place in B
        weights = products.transpose(1, 2) / math.sqrt(size)
        weights = weights + bias[:, back].transpose(0, 1)
        weights = weights.masked_fill((back < 0)[:, None], -torch.inf).softmax(-1).nan_to_num()
        return torch.einsum("bhw,bwhd->bhd", weights, values).flatten(1)

    @torch.no_grad()
    def held(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The keys and values (B, W, d) of rows (B,), and (B, W) int64 how many events back each is, -1 for none."""
        counts = self.counts[rows].long()[:, None]
        back = (counts - 1 - torch.arange(self.window, device=counts.device)) % self.window
        keys, values = self.read(tuple(one[rows] for one in self.places))
        return keys, values, back.masked_fill(back >= counts, -1)

    def nbytes(self) -> int:
        """Bytes of all that is held: what is kept of rows, how many events they have, and what all of them share."""
        return sum(one.numel() * one.element_size() for one in (*self.places, self.counts, *self.shared()))


class FullKV(KVCache):
    """Keys and values themselves: 2 d numbers an event.

    Args:
        width: d. heads: they divide the width. pair: what makes both of a token, of a layer that has learned it; a new
            one where None.
    """

    def __init__(self, width: int, heads: int, pair: nn.Linear | None = None) -> None:
        super().__init__(width, heads)
        self.pair = nn.Linear(width, 2 * width) if pair is None else pair

    def keep(self, tokens: Tensor) -> Parts:
        return (self.pair(tokens),)

    def read(self, parts: Parts) -> Pair:
        keys, values = parts[0].chunk(2, dim=-1)
        return keys, values


class ItemKV(KVCache):
    """Numbers of items, and one table of the keys and values of all: exact where both follow from the item alone.

    That is so in the first layer of a network whose tokens are items and whose places are known by distance, and in no
    other. Its "tokens" are item numbers (...), int64.

    Args:
        pairs: (I, 2 d), keys and values of every item. heads: they divide the width.
    """

    def __init__(self, pairs: Tensor, heads: int) -> None:
        super().__init__(pairs.shape[1] // 2, heads)
        self.pairs, self.kind = pairs, _torch(index_type(len(pairs)))

    def _nothing(self) -> Tensor:
        return torch.zeros(1, dtype=torch.int64, device=self.pairs.device)

    def keep(self, tokens: Tensor) -> Parts:
        return (tokens.to(self.kind),)

    def read(self, parts: Parts) -> Pair:
        keys, values = self.pairs[parts[0].long()].chunk(2, dim=-1)
        return keys, values

    def shared(self) -> list[Tensor]:
        return [self.pairs]


class LowRankKV(KVCache):
    """A few numbers of which keys and values are linear maps: `rank` numbers an event, for both together."""

    def __init__(self, width: int, heads: int, rank: int) -> None:
        super().__init__(width, heads)
        _few("rank", rank, 2 * width)
        self.down, self.up = nn.Linear(width, rank), nn.Linear(rank, 2 * width)

    def keep(self, tokens: Tensor) -> Parts:
        return (self.down(tokens),)

    def read(self, parts: Parts) -> Pair:
        keys, values = self.up(parts[0]).chunk(2, dim=-1)
        return keys, values


class OwnKV(KVCache):
    """Numbers of an event's own in its key and its value, `own` each, and for all the rest constants: a control."""

    def __init__(self, width: int, heads: int, own: int) -> None:
        super().__init__(width, heads)
        _few("own", own, width)
        self.mine, self.rest = nn.Linear(width, 2 * own), nn.Parameter(torch.zeros(2, width - own))

    def keep(self, tokens: Tensor) -> Parts:
        return (self.mine(tokens),)

    def read(self, parts: Parts) -> Pair:
        keys, values = (
            torch.cat([own, rest.expand(*own.shape[:-1], -1)], dim=-1)
            for own, rest in zip(parts[0].chunk(2, dim=-1), self.rest, strict=True)
        )
        return keys, values

    def shared(self) -> list[Tensor]:
        return [self.rest]


class CollectiveKV(KVCache):
    """Numbers of an event's own, and the rows of two pools that it is sent to: key = own numbers, then a row of a pool.

    While it is trained, a row is multiplied with the gate, the sigmoid of the largest logit of the router, so that the
    router learns; to be read it is the row itself. Two losses of the paper make both the same and keep rows in use:
    the mean of -log gate, and the divergence of the mean of the router's chances from equal ones.

    Args:
        width: d. heads: they divide the width. own: numbers of an event's own, in its key and in its value each.
        pool: rows of each pool.
        peak, balance: weights of the two losses.
    """

    def __init__(
        self, width: int, heads: int, own: int = 1, pool: int = 256, peak: float = 0.1, balance: float = 0.1
    ) -> None:
        super().__init__(width, heads)
        _few("own", own, width)
        self.own, self.peak, self.balance, self.kind = own, peak, balance, _torch(index_type(pool))
        self.mine, self.route = nn.Linear(width, 2 * own), nn.Linear(width, 2 * pool)
        self.pool = nn.Parameter(torch.randn(2, pool, width - own) / math.sqrt(3))  # as large as an untrained layer's

    @torch.no_grad()
    def begin(self, whole: FullKV, tokens: Tensor, seed: int) -> None:
        """Begin near whole keys and values: own numbers are their first, pools the centres of what is left, by k-means.

        The nearest centre c of a rest r has the largest r . c - |c|^2 / 2. A rest is linear in its token, so this is a
        router too.

        Args:
            whole: of a trained layer of the same width. tokens: (N, d) that this layer reads. seed: of k-means.
        """
        own, pool = self.own, self.pool.shape[1]
        for part in range(2):
            weight, bias = (one.chunk(2)[part] for one in (whole.pair.weight, whole.pair.bias))
            rest = tokens @ weight[own:].T + bias[own:]
            found = torch.from_numpy(clusters(rest.double().cpu().numpy(), pool, seed)[1]).to(rest)
            centres = found[torch.arange(pool, device=rest.device) % len(found)]  # over again where too few differ
            shift = -(centres**2).sum(1) / 2
            shift += OPEN - (rest @ centres.T + shift).amax(1).mean()
            self.pool[part] = centres
            mine, route = (slice(part * count, (part + 1) * count) for count in (own, pool))
            self.mine.weight[mine], self.mine.bias[mine] = weight[:own], bias[:own]
            self.route.weight[route], self.route.bias[route] = centres @ weight[own:], centres @ bias[own:] + shift

    def logits(self, tokens: Tensor) -> Tensor:
        """(..., 2, pool): of the rows for the key and for the value of tokens (..., d)."""
        return self.route(tokens).view(*tokens.shape[:-1], 2, -1)

    def keep(self, tokens: Tensor) -> Parts:
        return self.mine(tokens), self.logits(tokens).argmax(-1).to(self.kind)

    def read(self, parts: Parts) -> Pair:
        return self._joined(parts[0], parts[1].long(), None)

    def learned(self, tokens: Tensor, there: Tensor) -> tuple[Pair, Tensor]:
        logits = self.logits(tokens)
        top, row = logits.max(-1)
        peak = -logsigmoid(top[there]).mean()
        usage = logits[there].softmax(-1).mean(0)  # (2, pool)
        balance = (usage * (usage.clamp(min=1e-30) * usage.shape[1]).log()).sum(-1).mean()
        return self._joined(self.mine(tokens), row, top.sigmoid()), self.peak * peak + self.balance * balance

    def _joined(self, mine: Tensor, row: Tensor, gate: Tensor | None) -> Pair:
        """Keys and values of own numbers (..., 2 own), rows (..., 2) and gates (..., 2), which are 1 where None."""
        found = []
        for part, own in enumerate(mine.chunk(2, dim=-1)):
            common = self.pool[part][row[..., part]]
            found.append(torch.cat([own, common if gate is None else common * gate[..., part, None]], dim=-1))
        return found[0], found[1]

    def shared(self) -> list[Tensor]:
        return [self.pool]

    @torch.no_grad()
    def seen(self, tokens: Tensor) -> tuple[float, float]:
        """Of tokens (N, d) the mean gate in (0, 1), and how many rows in equal use would be as surprising, the mean of
        both pools."""
        top, row = self.logits(tokens).max(-1)
        uses = torch.stack([torch.bincount(one, minlength=self.pool.shape[1]) for one in row.T]).double()
        shares = uses / uses.sum(1, keepdim=True)
        surprise = -(shares * shares.clamp(min=1e-30).log()).sum(1)
        return float(top.sigmoid().mean()), float(surprise.exp().mean())


def _few(name: str, given: int, width: int) -> None:
    if not 1 <= given < width:
        raise ValueError(f"{name} must be from 1 to {width - 1}, below what is kept whole, given {given}")


def _torch(kind: type) -> torch.dtype:
    """PyTorch's name of a NumPy type."""
    return torch.from_numpy(np.zeros(0, kind)).dtype
