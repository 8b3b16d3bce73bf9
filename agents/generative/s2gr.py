"""Row `s2gr`: `tiger` with a thought before each digit, see `lerl.agents.generative.thinking`.

Of the paper this has thoughts between digits, their alignment with groups of codes, vectors smoothed by co-occurrence
before they become codes (`smooth`) and, where asked for, codes in even use (`balance`) and the second decoder
(`global_weight`). Centres of groups are learned, where the paper takes those of its codebook; repulsion between codes
has no meaning for k-means. With `thinking` 0 the row is `tiger` of the same codes, bit for bit; with `align` 0 it takes
the same extra steps, unaligned.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lerl.agents.generative.network import SemanticNetwork
from lerl.agents.generative.thinking import Alignment, Goal, ThinkingDecoder
from lerl.agents.generative.tiger import Tiger, TigerSettings
from lerl.agents.next_item.base import EpochReport, Fitted
from lerl.agents.next_item.neural import device
from lerl.envs.codes import code_groups
from lerl.envs.sequences import Cases, Lists
from lerl.envs.texts import text_vectors

ASKED = {
    "thinking": (0, 1), "align": (0, 10), "groups": (2, 1024), "nearness": (0.01, 10), "global_weight": (0, 10),
}  # fmt: skip
"""What a setting of thoughts may be, ends included."""

ASKED_AT_ONCE = 256
"""Validation users whose first thoughts are looked at together."""


@dataclass(frozen=True)
class S2GRSettings(TigerSettings):
    """Settings of `s2gr`: those of `tiger`, but for how far vectors are smoothed, and of thoughts.

    Attributes:
        thinking: 1 for a thought before each digit, 0 for none. align: weight of the alignment with groups.
        groups: of the codes of a digit. nearness: cosines of thoughts and groups are divided by it.
        global_weight: of the second decoder, see `lerl.agents.generative.thinking.Goal`; 0 for none. The paper
            weighs its two losses apart.

    Raises:
        ValueError: a value is outside `ASKED` or the bounds of `tiger`.
    """

    smooth: float = 0.7
    thinking: int = 1
    align: float = 0.1
    groups: int = 16
    nearness: float = 0.1
    global_weight: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, (low, high) in ASKED.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name} must be from {low:g} to {high:,g}, given {value:,g}")


class S2GR(Tiger):
    """Thoughts, aligned with groups of codes."""

    Settings = S2GRSettings
    settings: S2GRSettings

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
        if self.settings.thinking and self.settings.align and len(validation):
            self.notes = (*self.notes, self._grounded(self.checked(validation)))
        return fitted

    def _grounded(self, cases: Cases) -> str:
        """How often the first thought says the right group, beside always saying the one that most often is."""
        by_length = np.argsort(cases.histories.lengths, kind="stable")
        cases = cases.take(by_length)
        parts = np.array_split(np.arange(len(cases)), -(-len(cases) // ASKED_AT_ONCE))
        said = np.concatenate([self.first_groups(cases.histories.take(rows)).argmax(1) for rows in parts])
        group = self.network.alignment.group(0).cpu().numpy()
        right = group[self.codes.digits[cases.targets, 0]]
        most = np.bincount(right).max() / len(right)
        return (
            f"thoughts: first group right for {(said == right).mean():.1%} of {len(cases):,} validation users, the "
            f"largest group for {most:.1%}"
        )

    def encoder(self) -> nn.Module:
        if not self.settings.thinking:
            return super().encoder()
        own = self.settings
        network = SemanticNetwork(self.codes, own, self.decoder(ThinkingDecoder))
        vectors = getattr(self, "vectors", None)  # a fit has them; after a load groups align nothing more
        groups = code_groups(self.codes, text_vectors(self.texts).vectors if vectors is None else vectors, own.groups)
        network.alignment = Alignment(groups, own.width, own.nearness)
        if own.global_weight:
            network.decoder.goal = Goal(own.width, own.heads, own.dropout, own.nearness)
        return network

    def loss(self, lists: Tensor) -> tuple[Tensor, int]:
        if not self.settings.thinking or not self.settings.global_weight:
            return super().loss(lists)
        decoder = self.network.decoder
        newest, history, who, items = self.network.every(lists)
        states, digits = decoder.forced(newest, history, who, items), decoder.prefixes.digits[items]
        means = torch.stack([decoder.digits[depth][digits[:, depth]] for depth in range(digits.shape[1] - 1)]).mean(0)
        whole = decoder.goal.loss(decoder.goal(newest, history, who), means, items, states[:, 0])
        return self.told(lists, states, items) + self.settings.global_weight * whole, len(items)

    def told(self, lists: Tensor, states: Tensor, items: Tensor) -> Tensor:
        loss = super().told(lists, states, items)
        if not self.settings.thinking or not self.settings.align:
            return loss
        network = self.network
        return loss + self.settings.align * network.alignment(states, network.decoder.prefixes.digits[items])

    @torch.no_grad()
    def first_groups(self, histories: Lists) -> NDArray[np.float32]:
        """(B, groups) chances of the groups that the first digit will be in: what the first thought says of the next.

        Raises:
            ValueError: it does not think.
        """
        if not self.settings.thinking:
            raise ValueError("thinking is 0: there are no thoughts; set it to 1")
        lists = torch.from_numpy(histories.newest(self.settings.length)).to(device())
        logits = self.network.alignment.logits(0, self.network.first_states(lists))
        found: NDArray[np.float32] = logits.softmax(-1).cpu().numpy()
        return found
