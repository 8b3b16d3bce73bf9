"""Rows `tiger+tca` and `s2gr+tca`: they learn from a teacher too, see `lerl.agents.generative.soft_targets`.

The teacher is `sasrec`, fitted first on the same training lists with the same seed; at each place it has read nothing
but what came before. Only the loss differs from `tiger` and `s2gr`: network, first weights, order of lists and search
are the same, and with `alpha` 0 the rows are those two, bit for bit.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lerl.agents.generative.s2gr import S2GR, S2GRSettings
from lerl.agents.generative.soft_targets import MOST, Labels, soft_loss
from lerl.agents.generative.tiger import Tiger, TigerSettings
from lerl.agents.next_item.base import EpochReport, Fitted
from lerl.agents.next_item.neural import NeuralSettings, device
from lerl.agents.next_item.sasrec import SASRec
from lerl.agents.transformer import Training
from lerl.envs.sequences import Cases, Lists

TEACHERS = ("sasrec", "shuffled")
"""Whose chances are learned from: the teacher's of the same list, or of another one, a control."""


@dataclass(frozen=True)
class TCASettings(TigerSettings):
    """Settings of `tiger+tca`: those of `tiger`, and of its teacher.

    Attributes:
        alpha: share of the teacher in what is learned, 0 to 1. teacher: sasrec; or shuffled for what it says of
            another list, a control. teacher_epochs: of its training, at most.

    Raises:
        ValueError: a value is not allowed, or labels are smoothed as well.
    """

    alpha: float = 0.1
    teacher: str = "sasrec"
    teacher_epochs: int = 30

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.alpha <= 1:
            raise ValueError(f"alpha must be from 0 to 1, given {self.alpha:g}")
        if self.teacher not in TEACHERS:
            raise ValueError(f"teacher must be one of {', '.join(TEACHERS)}, given {self.teacher!r}")
        if not 1 <= self.teacher_epochs <= 10_000:
            raise ValueError(f"teacher_epochs must be from 1 to 10,000, given {self.teacher_epochs:,}")
        if self.alpha and self.smoothing:
            raise ValueError(f"smoothing must be 0 where alpha is above 0, given {self.smoothing:g}: use one of them")

    @property
    def of_teacher(self) -> NeuralSettings:
        """The settings of the teacher."""
        return NeuralSettings(batch=self.batch, length=self.length, epochs=self.teacher_epochs)


class TCA(Tiger):
    """The next digit, softened by a teacher."""

    Settings = TCASettings
    settings: TCASettings
    labels: Labels | None

    def fit(
        self,
        train: Lists,
        validation: Cases,
        *,
        seed: int,
        checkpoint: Path | None = None,
        report: EpochReport | None = None,
    ) -> Fitted:
        if self.settings.alpha:
            self.teacher = SASRec(self.items, self.settings.of_teacher)
            beside = None if checkpoint is None else checkpoint.with_name(f"{checkpoint.stem}-teacher.pt")
            told = None if report is None else lambda done, most, said: report(done, most, f"teacher: {said}")
            found = self.teacher.fit(train, validation, seed=seed, checkpoint=beside, report=told)
        self.labels = None
        fitted = super().fit(train, validation, seed=seed, checkpoint=checkpoint, report=report)
        if self.settings.alpha:
            said = f"teacher: sasrec, validation NDCG@10 {max(found.validation):.4f}, epoch {found.best}"
            if self.labels and not self.labels.kept:
                said += f"; what it says takes more than {MOST >> 20:,} MiB and was made anew in each epoch"
            self.notes, self.labels = (*self.notes, said), None
        return fitted

    def _epoch(self, training: Training, pieces: Lists, rng: np.random.Generator) -> float:
        if self.settings.alpha and self.labels is None:
            self.labels = Labels(self.network.decoder.prefixes, self._taught)
            self.labels.keep(pieces, device())
        return super()._epoch(training, pieces, rng)

    def measure(self, train: Lists, validation: Cases) -> tuple[int, float]:
        """As `NextItem.measure`; an epoch has its share of the teacher's training.

        It is an upper bound: here the teacher is asked at each step, in a training once, before the first epoch.
        """
        teaching, self.labels = 0.0, None
        if self.settings.alpha:
            self.teacher = SASRec(self.items, self.settings.of_teacher)
            teaching = self.teacher.measure(train, validation)[1] * self.settings.teacher_epochs / self.settings.epochs
        parameters, seconds = super().measure(train, validation)
        return parameters, seconds + teaching

    def of_digits(self, lists: Tensor, states: Tensor, items: Tensor) -> Tensor:
        if not self.settings.alpha:
            return super().of_digits(lists, states, items)
        if self.labels is None:
            self.labels = Labels(self.network.decoder.prefixes, self._taught)
        return soft_loss(self.network.decoder, states, items, self.labels.of(lists, items), self.settings.alpha)

    @torch.no_grad()
    def _taught(self, lists: Tensor) -> Tensor:
        """(N, I) scores of the teacher at each place of lists (B, T) that something follows, list by list."""
        network = self.teacher.network.to(device()).eval()
        states = network(lists[:, :-1])[lists[:, 1:] >= 0]
        scores: Tensor = network.asked(states) @ network.item_vectors().T
        return scores.roll(len(scores) // 2, 0) if self.settings.teacher == "shuffled" else scores


@dataclass(frozen=True)
class S2GRTCASettings(S2GRSettings, TCASettings):
    """Settings of `s2gr+tca`: those of `s2gr`, and of its teacher."""


class S2GRTCA(TCA, S2GR):
    """Thoughts, and the next digit softened by a teacher."""

    Settings = S2GRTCASettings  # type: ignore[assignment]  # its fields are in another order
    settings: S2GRTCASettings
