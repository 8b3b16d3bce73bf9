"""Row `s2gr`: `tiger` with a thought before each digit, see `lerl.agents.generative.thinking`.

Of the paper this has thoughts between digits and their alignment with groups of codes. Centres of groups are learned,
where the paper takes those of its codebook; its smoothing of vectors by co-occurrence and its second decoder are left
out. With `thinking` 0 the row is `tiger`, bit for bit; with `align` 0 it takes the same extra steps, unaligned.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lerl.agents.generative.network import SemanticNetwork
from lerl.agents.generative.thinking import Alignment, ThinkingDecoder
from lerl.agents.generative.tiger import Tiger, TigerSettings
from lerl.agents.next_item.neural import device
from lerl.envs.codes import code_groups
from lerl.envs.sequences import Lists
from lerl.envs.texts import text_vectors

ASKED = {"thinking": (0, 1), "align": (0, 10), "groups": (2, 1024), "nearness": (0.01, 10)}
"""What a setting of thoughts may be, ends included."""


@dataclass(frozen=True)
class S2GRSettings(TigerSettings):
    """Settings of `s2gr`: those of `tiger`, and of thoughts.

    Attributes:
        thinking: 1 for a thought before each digit, 0 for none. align: weight of the alignment with groups.
        groups: of the codes of a digit. nearness: cosines of thoughts and groups are divided by it.

    Raises:
        ValueError: a value is outside `ASKED` or the bounds of `tiger`.
    """

    thinking: int = 1
    align: float = 0.1
    groups: int = 16
    nearness: float = 0.1

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

    def encoder(self) -> nn.Module:
        if not self.settings.thinking:
            return super().encoder()
        network = SemanticNetwork(self.codes, self.settings, self.decoder(ThinkingDecoder))
        vectors = text_vectors(self.texts).vectors
        groups = code_groups(self.codes, vectors, self.settings.groups)
        network.alignment = Alignment(groups, self.settings.width, self.settings.nearness)
        return network

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
