"""Next-item ranking by SASRec, learned from what is known of training users, and the agent that shows its ranking.

Kang and McAuley, "Self-attentive sequential recommendation", ICDM 2018, with a softmax over all items in place of one
sampled negative (as Klenitskiy and Vasilev, "Turning dross into gold loss", RecSys 2023). A sequence holds the items
that a user clicked, in the order of `Population.history`; MovieLens' order within a second is that of the page on which
users rated. Chosen here: places in a sequence are known by distance instead of learned vectors, so that sessions may be
longer than histories; a first token stands before the first item; items have an offset, which begins as their
popularity's logarithm.
"""

import math
from collections.abc import Callable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from lerl.agents.adam import Adam
from lerl.agents.base import Agent, Observation, TaskSpec
from lerl.agents.learners.checkpoint import read_weights
from lerl.agents.memory import Memory
from lerl.agents.mmr import diverse_items
from lerl.agents.retrieval import ItemIndex
from lerl.agents.transformer import CausalLayer, Training, deterministic, distance_bias, distance_slopes
from lerl.envs.draws import seed_from
from lerl.envs.topics import unit_rows

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

CLICKED = 0.5
"""Feedback in [0, 1] from which on an item counts as clicked."""

EpochReport = Callable[[int, int, str], None]


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

    def forward(self, sequences: Tensor) -> Tensor:
        """The states (B, T + 1, d) before each item and after the last; sequences: (B, T), -1 behind the newest."""
        vectors = self.item(sequences.clamp(min=0)) * math.sqrt(self.item.embedding_dim)
        tokens = self.dropout(torch.cat([self.start.expand(len(vectors), 1, -1), vectors], dim=1))
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
        newest = states[torch.arange(len(sequences)), torch.from_numpy((sequences >= 0).sum(axis=1))]
        return torch.cat([newest, torch.ones(len(newest), 1)], dim=1).numpy()


def clicked(known: Sequence[NDArray[np.int32]]) -> list[NDArray[np.int64]]:
    """The items that users clicked, in order, from their known interactions (n, 2), items and clicks."""
    return [rows[rows[:, 1] == 1, 0].astype(np.int64) for rows in known]


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


class SASRecAgent(Agent):
    """Shows the items that SASRec ranks highest after what the user is known to have clicked and clicked since.

    Args:
        task: the task. count: B. network: as it was learned.
        diversity: weight of maximal marginal relevance, on the scale of the scores; 0 for plain top k. Items are alike
            as the agents' item vectors say, as for other agents.
    """

    def __init__(self, task: TaskSpec, count: int, network: SASRec, diversity: float = 0.0) -> None:
        torch.set_num_threads(1)  # more threads sum in another order
        self.task, self.network, self.diversity = task, network, diversity
        self.memory = Memory(task, count)
        self.known = np.full((count, LENGTH), -1, np.int64)  # the newest last
        self._vectors = network.vectors()
        self._index = ItemIndex(self._vectors, self.memory.groups)
        self._units = unit_rows(task.knowledge.item_vectors[:, :-1])
        self._all = np.ones((count, len(task.axis.names)), bool)

    def recall(self, rows: NDArray[np.int64], known: Sequence[NDArray[np.int32]]) -> None:
        """What is known of the users whose sessions begin in these slots."""
        self.known[rows] = -1
        for row, items in zip(rows.tolist(), clicked(known), strict=True):
            if len(items):
                self.known[row, -len(items) :] = items[-LENGTH:]

    def begin(self, rows: NDArray[np.int64], observation: Observation, keys: NDArray[np.uint64]) -> None:
        """New sessions in these slots."""
        self.memory.begin(rows, observation, keys)

    def slots(self) -> dict[str, NDArray[Any]]:
        """See `Agent.slots`."""
        return self.memory.slots() | {"known": self.known}

    def taken_over(self, rows: NDArray[np.int64]) -> None:
        """See `Agent.taken_over`."""
        self.memory.taken_over(rows)

    def withhold(self, items: NDArray[np.int32]) -> None:
        """Leave these items (n,) out of slates until the next call."""
        self.memory.withhold(items)

    def act(self, observation: Observation) -> NDArray[np.int32]:
        """Slates (B, k); when no item is left, one shown before leaves its slot empty."""
        self.memory.see(observation)
        excluded, k = self.memory.excluded, self.task.slate_size
        queries = self.network.queries(_newest_clicked(self.known, self.memory.shown, self.memory.feedback))
        if self.diversity > 0:
            slates = diverse_items(queries, self._vectors, self._units, excluded, k, self.diversity)
        else:
            slates, _ = self._index.top(queries, self._all, ~self._all, excluded, k)
        return np.maximum(slates, 0)


@njit(cache=True)
def _newest_clicked(known, shown, feedback):  # type: ignore[no-untyped-def]
    """(B, LENGTH): the newest of known items (B, LENGTH) and then of clicks in the session, -1 behind them."""
    users, length = known.shape
    newest = np.full((users, length), -1, np.int64)
    for b in range(users):
        count = 0
        for slot in range(shown.shape[1] - 1, -1, -1):
            if count < length and shown[b, slot] >= 0 and feedback[b, slot] >= CLICKED:
                newest[b, count] = shown[b, slot]
                count += 1
        for slot in range(length - 1, -1, -1):
            if count < length and known[b, slot] >= 0:
                newest[b, count] = known[b, slot]
                count += 1
        newest[b, :count] = newest[b, :count][::-1].copy()
    return newest
