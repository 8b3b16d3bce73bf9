"""A decoder that takes one more step before each digit: its state goes in again as a thought, and the digit follows.

Guo et al., "S2GR: stepwise semantic-guided latent reasoning in generative recommendation", KDD 2026: thoughts stand
between digits and not all before the first, and each is pulled towards the group of codes that its digit is in.
"""

from collections.abc import Sequence

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from lerl.agents.generative.decoder import Decoder, History, Pair, Who
from lerl.envs.codes import Codes


class ThinkingDecoder(Decoder):
    """The same as `Decoder`, with a thought before each digit; takes twice as many steps, one after another."""

    def __init__(
        self, codes: Codes, width: int, heads: int, layers: int, dropout: float, temperature: float = 0.0
    ) -> None:
        super().__init__(codes, width, heads, layers, dropout, temperature)
        self.thought = nn.Parameter(torch.zeros(len(codes.sizes), width))

    def next_state(
        self, tokens: Tensor, past: list[Pair] | None, history: History, who: Who, depth: int
    ) -> tuple[Tensor, list[Pair]]:
        states, past = super().next_state(tokens, past, history, who, depth)
        return super().next_state(states + self.thought[depth], past, history, who, depth)

    def forced(self, newest: Tensor, history: History, who: Who, items: Tensor) -> Tensor:
        found, past = [], None
        for depth, tokens in enumerate(self._said(newest, items)):
            states, past = self.next_state(tokens, past, history, who, depth)
            found.append(states)
        return torch.stack(found, dim=1)


class Alignment(nn.Module):
    """How far thoughts are from the groups of the codes that follow, and near to the other groups.

    Args:
        groups: of each digit but the last the group of each of its codes, (K,) int64. width: of states.
        temperature: cosines are divided by it.
    """

    def __init__(self, groups: Sequence[NDArray], width: int, temperature: float) -> None:  # type: ignore[type-arg]
        super().__init__()
        self.temperature = temperature
        self.centres = nn.ParameterList(torch.randn(int(one.max()) + 1, width) * 0.02 for one in groups)
        for depth, one in enumerate(groups):
            self.register_buffer(f"group{depth}", torch.from_numpy(one), persistent=False)

    def logits(self, depth: int, states: Tensor) -> Tensor:
        """(N, groups) of states (N, d), whose softmax says in which group a digit will be."""
        return normalize(states, dim=-1) @ normalize(self.centres[depth], dim=-1).T / self.temperature

    def forward(self, states: Tensor, digits: Tensor) -> Tensor:
        """The sum over N items and their digits but the last of the loss, for states (N, L, d) and digits (N, L)."""
        losses = [
            cross_entropy(self.logits(depth, states[:, depth]), self.group(depth)[digits[:, depth]], reduction="sum")
            for depth in range(len(self.centres))
        ]
        return torch.stack(losses).sum()

    def group(self, depth: int) -> Tensor:
        """(K,) int64, the group of each code of a digit."""
        found: Tensor = getattr(self, f"group{depth}")
        return found
