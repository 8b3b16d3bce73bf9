"""Row `mdgr`: the digits of the next item are revealed in any order, most of them at once.

Mu et al., "Masked diffusion generative recommendation", 2026 (arXiv 2601.19501), whose formulas and code are not
public: codes whose digits are of equal rank, masks that are adapted over training and to the list
(`lerl.agents.generative.masks`), a decoder that reads all digits at once (`lerl.agents.generative.masked`), and a
search in two stages (`lerl.agents.generative.reveal`) are built from its abstract and from DiffGRM (Liu et al., WWW
2026). Codes, encoder, first weights, width and number of layers are those of `tiger`, its control.
"""

from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lerl.agents.generative.decoder import History
from lerl.agents.generative.masked import MaskedDecoder, MaskedNetwork
from lerl.agents.generative.masks import adapted, seen_before, uniform
from lerl.agents.generative.reveal import item_chances, passes
from lerl.agents.generative.tiger import BEHIND, Tiger, TigerSettings
from lerl.agents.next_item.base import EpochReport, Fitted
from lerl.agents.next_item.neural import device
from lerl.envs.codes import Codes
from lerl.envs.sequences import Cases, Lists

MASKS = ("adapted", "uniform")
"""How digits are hidden in training, see `lerl.agents.generative.masks`."""


@dataclass(frozen=True)
class MDGRSettings(TigerSettings):
    """Settings of `mdgr`: those of `tiger`, with codes of its own, and of masks and passes.

    Attributes:
        masks: adapted, or uniform, a control. beta: how much sooner digits are hidden that surprise, 0 for no sooner.
        warm_up: passes that reveal one digit each, before one that says all others; below `levels`.

    Raises:
        ValueError: a value is not allowed, or outside the bounds of `tiger`.
    """

    codes: str = "product"
    levels: int = 4
    masks: str = "adapted"
    beta: float = 1.0
    warm_up: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.masks not in MASKS:
            raise ValueError(f"masks must be one of {', '.join(MASKS)}, given {self.masks!r}")
        if not 0 <= self.beta <= 100:
            raise ValueError(f"beta must be from 0 to 100, given {self.beta:g}")
        if not 0 <= self.warm_up < self.levels:
            raise ValueError(f"warm_up must be from 0 to below {self.levels} levels, given {self.warm_up:,}")


class MDGR(Tiger):
    """Masked digits, an encoder and a decoder.

    Scores are log-chances of all items that fit what the search keeps; all others share one score behind them.
    """

    Settings = MDGRSettings
    settings: MDGRSettings
    seconds = 0.0
    asked = 0
    of_codes: tuple[str, ...] = ()

    def fit(
        self,
        train: Lists,
        validation: Cases,
        *,
        seed: int,
        checkpoint: Path | None = None,
        report: EpochReport | None = None,
    ) -> Fitted:
        fitted = super().fit(train, validation, seed=seed, checkpoint=checkpoint, report=report)
        self.seconds, self.asked = 0.0, 0
        return fitted

    def _codes(self, train: Lists, seed: int) -> Codes:
        codes = super()._codes(train, seed)
        self.of_codes = self.notes
        return codes

    def encoder(self) -> nn.Module:
        one = self.settings
        decoder = MaskedDecoder(self.codes, one.width, one.heads, one.decoder, one.dropout, one.temperature)
        return MaskedNetwork(self.codes, one, decoder)

    def loss(self, lists: Tensor) -> tuple[Tensor, int]:
        hidden = self.hidden(lists)
        return self.network.losses(lists, hidden, self.settings.smoothing).sum(), len(hidden)

    def hidden(self, lists: Tensor) -> Tensor:
        """(N, L) bool, which digits but the last are hidden of all items of lists (B, T) but the first of each."""
        settings, bare = self.settings, self.network.decoder.bare
        if settings.masks == "uniform":
            return uniform(int((lists[:, 1:] >= 0).sum()), bare.shape[1], lists.device)
        return adapted(seen_before(lists, bare), self.progress, settings.beta)

    @torch.no_grad()
    def searched(
        self, newest: Tensor, history: History, beams: int, allowed: Tensor | None = None
    ) -> NDArray[np.float32]:
        barred = None if allowed is None else allowed.to(device())
        chances = item_chances(self.network.decoder, newest, history, beams, self.settings.warm_up, barred)
        found: NDArray[np.float32] = chances.clamp(min=float(BEHIND)).cpu().numpy()
        return found

    def _found(self, histories: Lists, beams: int, allowed: Tensor | None = None) -> NDArray[np.float32]:
        begun = perf_counter()
        found = super()._found(histories, beams, allowed)
        self.seconds, self.asked = self.seconds + perf_counter() - begun, self.asked + len(histories)
        self.notes = (*self.of_codes, self._cost())
        return found

    def log_prob(
        self, histories: Lists, items: NDArray[np.integer], allowed: NDArray[np.bool_] | None = None
    ) -> Tensor:
        """There is none: which digits are revealed first depends on what was revealed, so that no gradient flows.

        Raises:
            NotImplementedError: always; it names the rows that have one.
        """
        raise NotImplementedError("mdgr reveals digits in any order and has no exact chance of an item; use tiger")

    def _cost(self) -> str:
        """What it costs to rank items for a list."""
        digits, mean = len(self.codes.sizes), 1000 * self.seconds / max(1, self.asked)
        many = passes(self.settings.warm_up)
        return (
            f"{many} {'pass' if many == 1 else 'passes'} of the decoder a list, where tiger has {digits} for as many "
            f"digits; {mean:.2f} ms a list"
        )
