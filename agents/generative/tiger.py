"""Row `tiger`: the next item is said digit by digit, by its semantic ID.

Rajput et al., "Recommender systems with generative retrieval", NeurIPS 2023, reduced: codes by k-means of words in
place of an RQ-VAE of sentence vectors; an item of the history is one token instead of four; the encoder is causal, so
that every item of a list is predicted in one pass; digits are chosen among those that some item has; no tokens of
users; two layers and one instead of four and four.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lerl.agents.generative.beam import search
from lerl.agents.generative.decoder import Decoder, History
from lerl.agents.generative.follower import CodedFollower
from lerl.agents.generative.network import SemanticNetwork
from lerl.agents.next_item.base import EpochReport, Fitted, Follower
from lerl.agents.next_item.follower import fits
from lerl.agents.next_item.neural import NeuralNextItem, NeuralSettings, device
from lerl.agents.transformer import deterministic
from lerl.envs.codes import MOST_SIZE, Codes, check_digits, check_shape, product_codes, residual_codes, shuffled
from lerl.envs.sequences import Cases, Lists
from lerl.envs.smoothing import smoothed, together
from lerl.envs.texts import text_vectors

KINDS = ("text", "product", "random")
"""What codes may be made of."""

LIMITS = {
    "levels": (1, 8), "size": (2, MOST_SIZE), "balance": (0, 10), "smooth": (0, 0.99), "decoder": (1, 64),
    "beams": (1, 1000),
}  # fmt: skip
"""What a setting of codes and decoder may be, ends included."""

BEHIND = np.float32(-1e30)
"""The score of all items that no beam found."""

CHECKED = 5000
"""Users by whom an epoch is judged, at most: to find items takes longer than to learn."""


@dataclass(frozen=True)
class TigerSettings(NeuralSettings):
    """Settings of `tiger`: those of every network, and what codes, decoder and search are.

    Rate, dropout and temperature did best in one epoch on Amazon Beauty, the width in four, of those in
    docs/results/next-item.md.

    Attributes:
        codes: text for residual codes of titles, categories and brands; product for codes of them whose digits are of
            equal rank; random for the residual ones, dealt to items by chance, a control.
        text_model: a sentence model that reads the texts, a folder or a name on the hub; empty for counted words.
        levels: digits beside the last, which tells apart items that share the others. size: codes of a digit.
        balance: how far little-used codes come nearer, see `lerl.envs.codes.residual_codes`.
        smooth: share of neighbours in the vectors of which codes are made, see `lerl.envs.smoothing`; 0 for none.
        decoder: layers of the decoder. beams: prefixes that the search keeps, and items that it finds.

    Raises:
        ValueError: a value is outside `LIMITS` or the bounds of every network.
    """

    width: int = 192
    heads: int = 4
    dropout: float = 0.1
    rate: float = 1e-3
    temperature: float = 0.0
    epochs: int = 60
    codes: str = "text"
    text_model: str = ""
    levels: int = 3
    size: int = 256
    balance: float = 0.0
    smooth: float = 0.0
    decoder: int = 1
    beams: int = 20

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.codes not in KINDS:
            raise ValueError(f"codes must be one of {', '.join(KINDS)}, given {self.codes!r}")
        for name, (low, high) in LIMITS.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name} must be from {low:,} to {high:,}, given {value:,}")


class Tiger(NeuralNextItem):
    """Semantic IDs, an encoder and a decoder.

    Scores are log-chances of the items that a beam search finds; all others share one score behind them.
    """

    Settings = TigerSettings
    settings: TigerSettings
    reads_texts = True
    drawn_as = "Tiger"
    vectors: NDArray[np.float32] | None = None
    """Of items, which codes were made of; known while it learns."""

    def fit(
        self,
        train: Lists,
        validation: Cases,
        *,
        seed: int,
        checkpoint: Path | None = None,
        report: EpochReport | None = None,
    ) -> Fitted:
        self._coded(self._codes(train, seed))
        return super().fit(train, validation, seed=seed, checkpoint=checkpoint, report=report)

    def check(self) -> None:
        one = self.settings
        if not one.text_model:
            numbers = text_vectors(self.texts).vectors.shape[1]
            check_digits(one.levels if one.codes == "product" else 1, numbers)
        check_shape(self.items, one.levels, one.size)

    def measure(self, train: Lists, validation: Cases) -> tuple[int, float]:
        self._coded(self._codes(train, 0))
        return super().measure(train, validation)

    def _codes(self, train: Lists, seed: int) -> Codes:
        """Codes as the settings say, and notes on them; also on plain ones of the same shape, where they differ."""
        settings, texts = self.settings, text_vectors(self.texts, model=self.settings.text_model)
        vectors, self.notes = texts.vectors, texts.notes
        if settings.smooth:
            vectors = smoothed(vectors, together(train, self.items), settings.smooth)
            self.notes = (*self.notes, "vectors are smoothed by what stands together in training lists")
        self.vectors = vectors
        if settings.codes == "product":
            codes = product_codes(vectors, settings.levels, settings.size, seed=seed)
        else:
            codes = residual_codes(vectors, settings.levels, settings.size, seed=seed, balance=settings.balance)
        if settings.codes == "random":
            codes = shuffled(codes, seed)
        self.notes = (*self.notes, *codes.notes, codes.about())
        if settings.codes != "product" and (settings.smooth or settings.balance):
            plain = residual_codes(texts.vectors, settings.levels, settings.size, seed=seed)
            self.notes = (*self.notes, f"beside them plain residual {plain.about()}")
        return codes

    def same_code(self) -> NDArray[np.int64]:
        return self.codes.groups

    def encoder(self) -> nn.Module:
        return SemanticNetwork(self.codes, self.settings, self.decoder(Decoder))

    def decoder(self, kind: type[Decoder]) -> Decoder:
        """One of a kind, as the settings say."""
        one = self.settings
        return kind(self.codes, one.width, one.heads, one.decoder, one.dropout, one.temperature)

    def loss(self, lists: Tensor) -> tuple[Tensor, int]:
        states, items = self.network.forced(lists)
        return self.told(lists, states, items), len(items)

    def told(self, lists: Tensor, states: Tensor, items: Tensor) -> Tensor:
        """The sum of the losses of items (N,) by states (N, L, d), as of `SemanticNetwork.forced` of lists (B, T)."""
        return self.of_digits(lists, states, items)

    def of_digits(self, lists: Tensor, states: Tensor, items: Tensor) -> Tensor:
        """The part of these losses that is of what digits are said."""
        return -self.network.decoder.log_chances(states, items, self.settings.smoothing).sum()

    def checked(self, validation: Cases) -> Cases:
        return validation.take(np.arange(len(validation))[:: max(1, -(-len(validation) // CHECKED))])

    def scores(self, histories: Lists) -> NDArray[np.float32]:
        return self._found(histories, self.settings.beams)

    def within(self, histories: Lists, allowed: NDArray[np.bool_], count: int) -> NDArray[np.float32]:
        found = self._found(histories, max(count, self.settings.beams), torch.from_numpy(allowed))
        return np.where(allowed, found, np.float32(-np.inf))

    def follower(self, slots: int) -> Follower | None:
        """See `NextItem.follower`; None where keys and values would take too much memory."""
        one = self.settings
        if not fits(slots, one.length, one.layers + one.decoder, one.width):
            return None
        return CodedFollower(self.network, slots, one.length, one.beams, self.searched)

    @torch.no_grad()
    def _found(self, histories: Lists, beams: int, allowed: Tensor | None = None) -> NDArray[np.float32]:
        """(B, I) log-chances of what a search finds, BEHIND for all else."""
        lists = torch.from_numpy(histories.newest(self.settings.length)).to(device())
        with deterministic(0):  # one thread: small steps gain nothing by more, and lose much where cores are busy
            newest, history = self.network.read(lists)
            return self.searched(newest, history, beams, allowed)

    @torch.no_grad()
    def searched(
        self, newest: Tensor, history: History, beams: int, allowed: Tensor | None = None
    ) -> NDArray[np.float32]:
        """(B, I) log-chances of what a search finds, BEHIND for all else, by what `SemanticNetwork.read` gives."""
        barred = None if allowed is None else allowed.to(device())
        items, chances = (one.cpu() for one in search(self.network.decoder, newest, history, beams, barred))
        found = torch.full((len(newest), self.items + 1), float(BEHIND))  # the last one is nobody's
        found.scatter_(1, torch.where(items < 0, self.items, items), chances)
        return np.ascontiguousarray(found[:, :-1].numpy())

    def log_prob(
        self, histories: Lists, items: NDArray[np.integer], allowed: NDArray[np.bool_] | None = None
    ) -> Tensor:
        """Exact log-chances that items come next, through which a gradient flows: what policy gradients need.

        Over all items, or all that are allowed, the chances of a list sum to 1. With `allowed` all items are
        enumerated, which takes time and memory for B x I of them; without it only those asked for.

        Args:
            histories: B lists of one item or more. items: (B, C) whole numbers. allowed: (B, I) bool, what may come
                next at all; None for everything.

        Returns:
            (B, C) float32 on the network's device; -inf for items that are not allowed.

        Raises:
            ValueError: a list is empty, or nothing is allowed after it.
        """
        if not histories.lengths.all():
            raise ValueError("a history is empty, and chances are those of what follows an item; leave it out")
        lists = torch.from_numpy(histories.newest(self.settings.length)).to(device())
        asked = torch.from_numpy(np.asarray(items, np.int64)).to(device())
        if allowed is None:
            return self.network.item_log_chances(lists, asked)
        if not allowed.any(axis=1).all():
            raise ValueError("after some history no item is allowed; allow one, or leave it out")
        every = self.network.item_log_chances(
            lists, torch.arange(self.items, device=lists.device).repeat(len(lists), 1)
        )
        left = every.masked_fill(~torch.from_numpy(allowed).to(device()), -torch.inf)
        return left.log_softmax(1).gather(1, asked)

    @classmethod
    def files(cls, path: Path) -> tuple[Path, ...]:
        return (path, path.with_suffix(".codes.npz"))

    def save(self, path: Path) -> None:
        """As `NextItem.save`, and the codes beside it: WEIGHTS.codes.npz."""
        self.codes.save(self.files(path)[1])
        super().save(path)

    def load(self, path: Path) -> None:
        """As `NextItem.load`; codes that are not those of the training are refused by their digest."""
        self._coded(Codes.load(self.files(path)[1]))
        if len(self.codes.digits) != self.items:
            raise ValueError(f"its codes are of {len(self.codes.digits):,} items, and there are {self.items:,}")
        super().load(path)

    def _coded(self, codes: Codes) -> None:
        self.codes, self.of = codes, f" {codes.digest}"
