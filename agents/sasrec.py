"""Next-item ranking by SASRec in sessions, learned from what is known of training users.

Kang and McAuley, "Self-attentive sequential recommendation", ICDM 2018, with a softmax over all items in place of one
sampled negative (as Klenitskiy and Vasilev, "Turning dross into gold loss", RecSys 2023). A sequence holds the items
that a user clicked, in the order of `Population.history`; MovieLens' order within a second is that of the page on which
users rated. Chosen here: places in a sequence are known by distance instead of learned vectors, so that sessions may be
longer than histories; a first token stands before the first item; items have an offset, which begins as their
popularity's logarithm.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from lerl.agents.adam import Adam
from lerl.agents.cached_layers import TOGETHER, CachedLayers, as_long, in_groups
from lerl.agents.learners.checkpoint import read_weights, write_weights
from lerl.agents.next_item.base import EpochReport, Fitted, Follower, NextItem
from lerl.agents.next_item.follower import ListFollower, fits
from lerl.agents.retrieval import scored
from lerl.agents.transformer import CausalLayer, Training, deterministic, distance_bias, distance_slopes
from lerl.envs.draws import seed_from
from lerl.envs.sequences import Cases, Lists

LENGTH = 50
"""Items that are looked back on; longer histories are learned from in pieces."""

LAYERS, DROPOUT, EVENTS, EPOCHS, STALE_EPOCHS = 2, 0.2, 1024, 50, 3
"""Layers; share left out in training; clicks a step, about; epochs at most; epochs without a better log loss."""

ASIDE = 0.1
"""Share of the users by whom training is stopped."""

LOGITS = 1 << 23
"""A step goes through the network in parts of about so many scores."""

SMALL = 0.02
"""Standard deviation of item vectors at first, so that training begins near popularity."""


class SASRec(nn.Module):
    """A score of every item as the next, from the items before.

    Args:
        items: I. width: of item vectors and tokens.
    """

    slopes: Tensor

    def __init__(self, items: int, width: int) -> None:
        super().__init__()
        heads = math.gcd(width, 2)
        self.register_buffer("slopes", distance_slopes(heads), persistent=False)
        self.item = nn.Embedding(items, width, _weight=SMALL * torch.randn(items, width))
        self.offset = nn.Parameter(torch.zeros(items))
        self.start = nn.Parameter(torch.zeros(width))
        self.layers = nn.ModuleList(CausalLayer(width, 2 * width, heads, DROPOUT) for _ in range(LAYERS))
        self.last_norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(DROPOUT)

    def vectors_of(self, items: Tensor) -> Tensor:
        """(..., d): what stands for items (...)."""
        found: Tensor = self.item(items.clamp(min=0)) * math.sqrt(self.item.embedding_dim)
        return found

    def tokens(self, sequences: Tensor) -> Tensor:
        """(B, T + 1, d): the first token, and what stands for the items of sequences (B, T)."""
        vectors = self.vectors_of(sequences)
        return torch.cat([self.start.expand(len(vectors), 1, -1), vectors], dim=1)

    def forward(self, sequences: Tensor) -> Tensor:
        """The states (B, T + 1, d) before each item and after the last; sequences: (B, T), -1 behind the newest."""
        tokens = self.dropout(self.tokens(sequences))
        bias = distance_bias(self.slopes, tokens.shape[1], tokens.shape[1])
        for layer in self.layers:
            tokens = layer(tokens, bias)
        return self.last_norm(tokens)

    def scores(self, states: Tensor) -> Tensor:
        """Logarithms of what is proportional to the chances (N, I) of each item to come next; states: (N, d)."""
        return states @ self.item.weight.T + self.offset

    def loss(self, sequences: Tensor) -> tuple[Tensor, int]:
        """Sum of the log losses of all items of sequences (B, T), each predicted from those before, and their count."""
        there = sequences >= 0
        states = self(sequences[:, :-1])[there]
        return cross_entropy(self.scores(states), sequences[there], reduction="sum"), len(states)

    @torch.no_grad()
    def vectors(self) -> NDArray[np.float32]:
        """(I, d + 1): `queries` times these are the scores."""
        return torch.cat([self.item.weight, self.offset[:, None]], dim=1).numpy()

    @torch.no_grad()
    def queries(self, sequences: NDArray[np.int64]) -> NDArray[np.float32]:
        """(B, d + 1) after the last items of sequences (B, T), -1 behind the newest."""
        states = self(torch.from_numpy(sequences))
        return self.asked(states[torch.arange(len(sequences)), torch.from_numpy((sequences >= 0).sum(axis=1))])

    def asked(self, states: Tensor) -> NDArray[np.float32]:
        """(B, d + 1) queries of states (B, d)."""
        return torch.cat([states, torch.ones(len(states), 1)], dim=1).numpy()


def fit_sasrec(
    sequences: Sequence[NDArray[np.int64]],
    items: int,
    width: int,
    rate: float,
    *,
    seed: int,
    checkpoint: Path | None = None,
    report: EpochReport | None = None,
) -> SASRec:
    """Train by Adam, a tenth of the users set aside: training stops when their next items are predicted no better.

    The same sequences, sizes and seed give the same network, whether training was interrupted or not.

    Args:
        sequences: what each user clicked, items in order. items: I.
        width: of the network. rate: of learning.
        seed: of first weights, who is set aside, the order of sequences and what is dropped.
        checkpoint: written after each epoch, gone on from if it is of the same training.
        report: called with epochs done, epochs at most, and the newest log loss.

    Raises:
        ValueError: fewer than two users clicked anything.
    """
    users = [sequence for sequence in sequences if len(sequence)]
    if len(users) < 2:
        raise ValueError(f"sasrec learns from what training users clicked, and only {len(users)} of them clicked")
    order = np.random.default_rng(seed_from(seed, "sasrec aside")).permutation(len(users))
    count = max(1, round(ASIDE * len(users)))
    aside, fitting = (_pieces([users[user] for user in np.sort(part)]) for part in (order[:count], order[count:]))
    with deterministic(seed_from(seed, "sasrec weights")):
        network = SASRec(items, width)
        _begin_with_popularity(network, fitting)
        training = Training(network, Adam(network.parameters(), lr=rate))
        key = f"{seed} {items} {width} {rate} {_digest(fitting)} {_digest(aside)}"
        training.load(checkpoint, key)
        while not training.finished(EPOCHS, STALE_EPOCHS):
            epoch = len(training.log_loss)
            torch.manual_seed(seed_from(seed, "sasrec epoch", epoch))
            mixed = np.random.default_rng(seed_from(seed, "sasrec order", epoch)).permutation(len(fitting))
            for step in np.array_split(mixed, max(1, round((fitting >= 0).sum() / EVENTS))):
                _descend(training, fitting[step])
            training.keep(_log_loss(network, aside))
            training.save(checkpoint, key)
            if report is not None:
                report(epoch + 1, EPOCHS, f"log loss {training.log_loss[-1]:.4f}")
        network.load_state_dict(training.best)
    return network.eval()


def _descend(training: Training, sequences: NDArray[np.int64]) -> None:
    """One step on the mean log loss of sequences (B, LENGTH)."""
    network: Any = training.network
    network.train()
    training.optimiser.zero_grad()
    for part in _parts(sequences, len(network.offset)):
        loss, _ = network.loss(part)
        (loss / int((sequences >= 0).sum())).backward()
    training.optimiser.step()


@torch.no_grad()
def _log_loss(network: SASRec, sequences: NDArray[np.int64]) -> float:
    network.eval()
    losses, counts = zip(*(network.loss(part) for part in _parts(sequences, len(network.offset))), strict=True)
    return float(torch.stack(losses).sum()) / sum(counts)


def _parts(sequences: NDArray[np.int64], items: int) -> list[Tensor]:
    """Sequences (B, LENGTH) in parts that are not too large at once, without the padding that all of a part have."""
    count = max(1, LOGITS // (items * LENGTH))
    parts = (sequences[first : first + count] for first in range(0, len(sequences), count))
    return [torch.from_numpy(part[:, : int((part >= 0).sum(axis=1).max())]) for part in parts]


def _pieces(users: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """(S, LENGTH), -1 behind the last; longer sequences are cut into pieces, beginning at the newest."""
    pieces = [one[max(end - LENGTH, 0) : end] for one in users for end in range(len(one), 0, -LENGTH)]
    padded = np.full((len(pieces), LENGTH), -1, np.int64)
    for row, piece in zip(padded, pieces, strict=True):
        row[: len(piece)] = piece
    return padded


@torch.no_grad()
def _begin_with_popularity(network: SASRec, sequences: NDArray[np.int64]) -> None:
    """Offsets are the logarithms of shares of clicks, every item clicked once more than it was."""
    counts = np.bincount(sequences[sequences >= 0], minlength=len(network.offset)) + 1.0
    network.offset.copy_(torch.from_numpy(np.log(counts / counts.sum())))


def _digest(sequences: NDArray[np.int64]) -> str:
    return blake2b(f"{sequences.shape}".encode() + sequences.tobytes(), digest_size=16).hexdigest()


def load_sasrec(path: Path, items: int, width: int) -> SASRec:
    """A network from its weights; loading executes nothing from the file. Sizes as in `SASRec`."""
    with deterministic(0):
        network = SASRec(items, width)
    read_weights(network, path)
    return network.eval()


@dataclass(frozen=True)
class SessionSettings:
    """Settings of `sasrec` in sessions.

    Attributes:
        width: of the network. rate: of learning.
    """

    width: int = 64
    rate: float = 1e-3


class SessionSASRec(NextItem):
    """What `sasrec` is in sessions: the network above, as it was before `lerl rank` had a row of that name.

    It sets users aside instead of last clicks, and scores after an empty list too.
    """

    Settings = SessionSettings
    learns, least, starts = True, 1, True
    settings: SessionSettings
    network: SASRec

    @classmethod
    def sized(cls, width: int, rate: float) -> SessionSettings:
        return SessionSettings(width, rate)

    def learn(
        self, clicks: Lists, *, seed: int, checkpoint: Path | None = None, report: EpochReport | None = None
    ) -> Fitted:
        nobody = Cases(np.zeros(0, np.int64), Lists.of([]), np.zeros(0, np.int32))
        return self.fit(clicks, nobody, seed=seed, checkpoint=checkpoint, report=report)

    def fit(
        self,
        train: Lists,
        validation: Cases,
        *,
        seed: int,
        checkpoint: Path | None = None,
        report: EpochReport | None = None,
    ) -> Fitted:
        """As `fit_sasrec`; validation is not read."""
        size, users = self.settings, [train[row].astype(np.int64) for row in range(len(train))]
        self.network = fit_sasrec(
            users, self.items, size.width, size.rate, seed=seed, checkpoint=checkpoint, report=report
        )
        self._keep_vectors()
        return Fitted(sum(weights.numel() for weights in self.network.parameters()))

    def scores(self, histories: Lists) -> NDArray[np.float32]:
        newest = histories.newest(LENGTH)
        padded = np.full((len(newest), LENGTH), -1, np.int64)  # always so wide: other widths sum in another order
        padded[:, : newest.shape[1]] = newest
        return self.queried(self.network.queries(padded))

    def follower(self, slots: int) -> Follower | None:
        """See `NextItem.follower`; None where keys and values would take too much memory."""
        return SessionFollower(self, slots) if fits(slots, LENGTH + 1, LAYERS, self.settings.width) else None

    def queried(self, queries: NDArray[np.float32]) -> NDArray[np.float32]:
        """(B, I) scores by queries (B, d + 1)."""
        return scored(queries, self._columns)

    def save(self, path: Path) -> None:
        write_weights(self.network, path)

    def load(self, path: Path) -> None:
        self.network = load_sasrec(path, self.items, self.settings.width)
        self._keep_vectors()

    def _keep_vectors(self) -> None:
        self._columns = np.ascontiguousarray(self.network.vectors().T)


class SessionReader:
    """A network that has read what R users clicked, and goes on from there; see `lerl.agents.next_item.follower`.

    Args:
        network: trained. rows: R.
    """

    def __init__(self, network: SASRec, rows: int) -> None:
        self.network, self.size = network, min(TOGETHER, rows)
        self.layers = CachedLayers(network.layers, network.last_norm, network.slopes, rows, LENGTH + 1)

    def prefill(self, lists: Tensor, rows: Tensor) -> Tensor:
        """As `Reader.prefill`; lists may be empty."""
        return in_groups(self._prefill, as_long(lists, LENGTH), rows, self.size)

    def append(self, items: Tensor, rows: Tensor) -> Tensor:
        """As `Reader.append`."""
        return in_groups(self._append, items, rows, self.size)

    def _prefill(self, lists: Tensor, rows: Tensor) -> Tensor:
        lengths = (lists >= 0).sum(1)  # and the first token, so that the newest state is at this place
        states = self.layers.prefill(self.network.tokens(lists), lengths + 1, rows)
        return states[torch.arange(len(lists)), lengths]

    def _append(self, items: Tensor, rows: Tensor) -> Tensor:
        return self.layers.append(self.network.vectors_of(items), rows)

    def nbytes(self) -> tuple[int, ...]:
        """Bytes that are held of each layer."""
        return self.layers.nbytes()


class SessionFollower(ListFollower):
    """`sasrec` in S sessions.

    Args:
        row: fitted. slots: S.
    """

    def __init__(self, row: SessionSASRec, slots: int) -> None:
        super().__init__(SessionReader(row.network, slots), slots, LENGTH, row.settings.width, torch.device("cpu"))
        self.row = row

    @torch.no_grad()
    def scores(self, slots: NDArray[np.int64], histories: Lists) -> NDArray[np.float32]:
        return self.row.queried(self.row.network.asked(self.follow(slots, histories)[1]))
