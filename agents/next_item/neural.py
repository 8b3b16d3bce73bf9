"""Networks that read a list of items and say what comes next: how all of them are trained, stopped and asked.

One rule for every network: cross-entropy over all items at every place of the training lists; after each epoch NDCG@10
of full ranking on validation users; the epoch that is best by it is kept, and training ends when `patience` epochs were
no better.
"""

import io
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from hashlib import blake2b
from math import gcd
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import normalize

from lerl.agents.next_item.base import DivergedError, EpochReport, Fitted, NextItem
from lerl.agents.next_item.ranking import ndcg, ranked
from lerl.agents.next_item.softmax import full_softmax
from lerl.agents.transformer import Training, deterministic
from lerl.envs.draws import seed_from
from lerl.envs.files import write_whole
from lerl.envs.sequences import Cases, Lists

GROUP = 16
"""Steps whose lists are sorted by length together, so that those of one step are about as long: little is padded."""

TRIED, ASKED = 12, 1000
"""Steps, and validation users about, by which it is measured how long an epoch takes."""

CHOSEN_BY = 10
"""Validation chooses by NDCG at so many places."""


BOUNDS = {
    "width": (1, 4096), "layers": (1, 64), "heads": (1, 64), "dropout": (0, 0.95), "rate": (0, 1), "decay": (0, 10),
    "batch": (1, 1 << 20), "length": (1, 4096), "smoothing": (0, 0.9), "temperature": (0, 10), "epochs": (1, 10_000),
    "patience": (1, 10_000),
}  # fmt: skip
"""What a setting may be, ends included."""


@dataclass(frozen=True)
class NeuralSettings:
    """Settings of every network; the defaults did best on Amazon Beauty, of those in docs/results/next-item.md.

    Attributes:
        width: of item vectors and states. layers: of the encoder. heads: they divide the width.
        dropout: share left out in training. rate: of learning, by AdamW, falling by the same amount after each of
            `epochs`, to 0. decay: of weights.
        batch: predicted items a step, about. length: items that are looked back on; longer lists are cut.
        smoothing: of labels. temperature: scores are cosines / temperature; 0 for dot products.
        epochs: at most. patience: epochs without a better validation before training ends.

    Raises:
        ValueError: a value is outside `BOUNDS`, or heads do not divide the width.
    """

    width: int = 64
    layers: int = 2
    heads: int = 2
    dropout: float = 0.3
    rate: float = 5e-3
    decay: float = 0.0
    batch: int = 512
    length: int = 50
    smoothing: float = 0.0
    temperature: float = 0.07
    epochs: int = 30
    patience: int = 8

    def __post_init__(self) -> None:
        for name, (low, high) in BOUNDS.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name} must be from {low:g} to {high:g}, given {value:g}")
        if self.width % self.heads:
            raise ValueError(f"heads must divide width {self.width}, given {self.heads}")


class Encoder(nn.Module):
    """Item vectors, and what turns those of a list into a state after each place.

    Args:
        items: I. settings: of the network.
    """

    def __init__(self, items: int, settings: NeuralSettings) -> None:
        super().__init__()
        self.settings = settings
        self.item = nn.Embedding(items, settings.width)
        nn.init.normal_(self.item.weight, std=0.02)

    @abstractmethod
    def forward(self, lists: Tensor) -> Tensor:
        """The states (B, T, d) after each item of lists (B, T), -1 behind the last."""

    def asked(self, states: Tensor) -> Tensor:
        """States as they are multiplied with `item_vectors` to give scores."""
        temperature = self.settings.temperature
        return normalize(states, dim=-1) / temperature if temperature else states

    def item_vectors(self) -> Tensor:
        """(I, d)."""
        return normalize(self.item.weight, dim=-1) if self.settings.temperature else self.item.weight


class NeuralNextItem(NextItem):
    """A network as a row; a subclass says which encoder it has."""

    Settings = NeuralSettings
    learns = True
    settings: NeuralSettings

    network: Any
    of = ""
    """What else a training depends on, such as codes: one of another is not gone on with."""
    progress = 1.0
    """Share of its epochs that a training will have done after the one it is in."""
    drawn_as = ""
    """Whose draws it has: rows of one name begin with the same weights and see lists in the same order."""

    @abstractmethod
    def encoder(self) -> nn.Module:
        """A new one, with first weights."""

    def fit(
        self,
        train: Lists,
        validation: Cases,
        *,
        seed: int,
        checkpoint: Path | None = None,
        report: EpochReport | None = None,
    ) -> Fitted:
        name, settings = self.drawn_as or type(self).__name__, self.settings
        pieces = _pieces(train, settings.length + 1)
        marks = [perf_counter()]
        key = f"{name} {seed} {self.items} {asdict(settings)} {_digest(train, validation)}{self.of}"
        with deterministic(seed_from(seed, name, "weights")):
            self.network = self.encoder().to(device())
            training = Training(self.network, _optimiser(self.network, settings))
            training.load(checkpoint, key)  # the negative of NDCG stands where other trainings keep their loss
            while not training.finished(settings.epochs, settings.patience):
                epoch = len(training.log_loss)
                self.progress = (epoch + 1) / settings.epochs
                for group in training.optimiser.param_groups:
                    group["lr"] = settings.rate * (1 - epoch / settings.epochs)
                torch.manual_seed(seed_from(seed, name, "epoch", epoch))
                loss = self._epoch(training, pieces, np.random.default_rng(seed_from(seed, name, "order", epoch)))
                training.keep(-self.validate(self.checked(validation)))
                training.save(checkpoint, key)
                marks.append(perf_counter())
                if report is not None:
                    said = f"loss {loss:.3f}  validation NDCG@{CHOSEN_BY} {-training.log_loss[-1]:.4f}"
                    report(epoch + 1, settings.epochs, said)
            if training.best:
                self.network.load_state_dict(training.best)
        self.network.eval()
        found = tuple(-value for value in training.log_loss)
        best = int(np.argmax(found)) + 1 if found else 0
        parameters = sum(weights.numel() for weights in self.network.parameters())
        took = float(np.median(np.diff(marks))) if len(marks) > 1 else 0.0
        return Fitted(parameters, len(found), best, found, took)

    def _epoch(self, training: Training, pieces: Lists, rng: np.random.Generator) -> float:
        """Every piece once, in steps; the mean loss of an item."""
        total = predicted = 0.0
        self.network.train()
        for rows in _steps(pieces.lengths - 1, self.settings.batch, rng):
            total += self._step(training.optimiser, pieces.take(rows))
            predicted += float((pieces.lengths[rows] - 1).sum())
        return total / max(1.0, predicted)

    def _step(self, optimiser: torch.optim.Optimizer, pieces: Lists) -> float:
        """One step down on the mean loss of pieces; the sum of their losses."""
        loss, predicted = self.loss(torch.from_numpy(pieces.newest(self.settings.length + 1)).to(device()))
        if not bool(loss.isfinite()):
            raise DivergedError(
                f"the loss of {type(self).__name__} is no number any more; lower its learning rate, given "
                f"{self.settings.rate:g}"
            )
        optimiser.zero_grad()
        (loss / predicted).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        return float(loss.detach())

    def loss(self, lists: Tensor) -> tuple[Tensor, int]:
        """The sum of the losses of all items of lists (B, T), -1 behind the last, but the first; and of how many."""
        wanted = lists[:, 1:]
        there = wanted >= 0
        states = self.network(lists[:, :-1])[there]
        asked, vectors = self.network.asked(states), self.network.item_vectors()
        return full_softmax(asked, vectors, wanted[there], self.settings.smoothing), len(states)

    def measure(self, train: Lists, validation: Cases) -> tuple[int, float]:
        with deterministic(0):
            pieces, self.network = _pieces(train, self.settings.length + 1), self.encoder().to(device())
            optimiser = _optimiser(self.network, self.settings)
            steps = list(_steps(pieces.lengths - 1, self.settings.batch, np.random.default_rng(0)))
            tried = steps[1 : 1 + TRIED]
            for rows in steps[:1]:  # what is done only once is not counted
                self._step(optimiser, pieces.take(rows))
            begun = perf_counter()
            for rows in tried:
                self._step(optimiser, pieces.take(rows))
            training = (perf_counter() - begun) / max(1, len(tried)) * len(steps)
            judged = self.checked(validation)
            cases = judged.take(np.arange(len(judged))[:: max(1, len(judged) // ASKED)])
            self.validate(cases)
            begun = perf_counter()
            self.validate(cases)
            judging = (perf_counter() - begun) / max(1, len(cases)) * len(judged)
        return sum(weights.numel() for weights in self.network.parameters()), training + judging

    def checked(self, validation: Cases) -> Cases:
        """Those by whom epochs are judged: all of them, or a part, always the same, where that takes too long."""
        return validation

    def validate(self, cases: Cases) -> float:
        """NDCG@10 of full ranking."""
        self.network.eval()
        return float(ndcg(ranked(self, cases), CHOSEN_BY).mean()) if len(cases) else 0.0

    @torch.no_grad()
    def scores(self, histories: Lists) -> NDArray[np.float32]:
        lists = torch.from_numpy(histories.newest(self.settings.length)).to(device())
        last = (lists >= 0).sum(1) - 1
        states = self.network(lists)[torch.arange(len(lists)), last]
        found: NDArray[np.float32] = (self.network.asked(states) @ self.network.item_vectors().T).cpu().numpy()
        return found

    @classmethod
    def sized(cls, width: int, rate: float) -> Any:
        usual = cls.Settings()
        return replace(usual, width=width, rate=rate, heads=gcd(width, usual.heads))

    def save(self, path: Path) -> None:
        stream = io.BytesIO()
        torch.save({"network": self.network.state_dict(), "of": self.of}, stream)
        write_whole(path, stream.getvalue())

    def load(self, path: Path) -> None:
        kept = torch.load(path, map_location="cpu", weights_only=True)
        if kept["of"] != self.of:
            raise ValueError(f"it was trained with others than lie beside it: {kept['of']!r}, not {self.of!r}")
        with deterministic(0):
            self.network = self.encoder()
        self.network.load_state_dict(kept["network"])
        if not all(bool(weights.isfinite().all()) for weights in self.network.state_dict().values()):
            raise ValueError("it holds weights that are no finite numbers")
        self.network.to(device()).eval()


def device() -> torch.device:
    """The graphics processor where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _optimiser(network: nn.Module, settings: NeuralSettings) -> torch.optim.Optimizer:
    return torch.optim.AdamW(network.parameters(), lr=settings.rate, weight_decay=settings.decay, fused=True)


def _pieces(train: Lists, length: int) -> Lists:
    """Training lists of 2 items or more, cut into pieces of `length`, which overlap by one item: each is predicted."""
    starts, counts = [], []
    for start, end in zip(train.starts[:-1], train.starts[1:], strict=True):
        for last in range(int(end), int(start) + 1, 1 - length):
            first = max(int(start), last - length)
            starts.append(first)
            counts.append(last - first)
    return train.ranges(np.array(starts, np.int64), np.array(counts, np.int64))


def _steps(lengths: NDArray[np.int64], batch: int, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Rows of pieces in steps of about `batch` predicted items, each of pieces of like length, in random order."""
    mixed = rng.permutation(len(lengths))
    steps = []
    group = np.cumsum(lengths[mixed]) // (GROUP * batch)
    for rows in np.split(mixed, np.flatnonzero(np.diff(group)) + 1):
        by_length = rows[np.argsort(lengths[rows], kind="stable")]
        step = np.cumsum(lengths[by_length]) // (batch + 1)
        steps += np.split(by_length, np.flatnonzero(np.diff(step)) + 1)
    return (steps[place] for place in rng.permutation(len(steps)))


def _digest(train: Lists, validation: Cases) -> str:
    parts = (train.values, train.starts, validation.users, validation.targets)
    return blake2b(b"".join(part.tobytes() for part in parts), digest_size=16).hexdigest()
