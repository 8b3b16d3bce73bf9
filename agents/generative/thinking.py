"""A decoder that takes one more step before each digit: its state goes in again as a thought, and the digit follows.

Guo et al., "S2GR: stepwise semantic-guided latent reasoning in generative recommendation", KDD 2026: thoughts stand
between digits and not all before the first, and each is pulled towards the group of codes that its digit is in. A
second, light decoder says where all digits together lie, and the first thought is pulled there.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from lerl.agents.generative.decoder import Decoder, DigitLayer, History, Pair, Who
from lerl.envs.codes import Codes


class ThinkingDecoder(Decoder):
    """The same as `Decoder`, with a thought before each digit; takes twice as many steps, one after another.

    Attributes:
        goal: the second decoder, or None; the last pair of each history is its own.
    """

    def __init__(
        self, codes: Codes, width: int, heads: int, layers: int, dropout: float, temperature: float = 0.0
    ) -> None:
        super().__init__(codes, width, heads, layers, dropout, temperature)
        self.thought = nn.Parameter(torch.zeros(len(codes.sizes), width))
        self.goal: Goal | None = None

    def read(self, states: Tensor, bias: Tensor) -> History:
        found = super().read(states, bias)
        return found if self.goal is None else History([*found.pairs, self.goal.layer.read(states)], bias)

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
        groups: of each digit but the last the group of each of its codes, (K,) int64; kept with the weights.
        count: of groups, at most. width: of states. temperature: cosines are divided by it.
    """

    def __init__(self, groups: Sequence[NDArray[np.int64]], count: int, width: int, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature
        self.centres = nn.ParameterList(torch.randn(min(count, len(one)), width) * 0.02 for one in groups)
        for depth, one in enumerate(groups):
            self.register_buffer(f"group{depth}", torch.from_numpy(one))

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


class Goal(nn.Module):
    """A second decoder, of one layer: a vector of what follows as a whole, said before any digit.

    Args:
        width, heads, dropout: as of `DigitLayer`. temperature: cosines are divided by it.
    """

    def __init__(self, width: int, heads: int, dropout: float, temperature: float) -> None:
        super().__init__()
        self.temperature, self.start = temperature, nn.Parameter(torch.zeros(width))
        self.layer, self.last_norm = DigitLayer(width, heads, dropout), nn.LayerNorm(width)

    def forward(self, newest: Tensor, history: History, who: Who) -> Tensor:
        """(N, d) by the newest states (N, d), for places `who` of histories."""
        found, _ = self.layer((newest + self.start)[:, None], None, history.pairs[-1], history.bias, who)
        return self.last_norm(found[:, 0])

    def loss(self, said: Tensor, means: Tensor, items: Tensor, thoughts: Tensor) -> Tensor:
        """The sum over N places: InfoNCE of what is said and the mean vectors of digits, and 1 - cosine of thoughts.

        The others of the batch are what it is told apart from, but those of the same item. Thoughts are pulled to what
        is said, and not the other way round.

        Args:
            said: (N, d). means: (N, d) of the digits of items (N,). thoughts: (N, d), the first ones.
        """
        said, means = normalize(said, dim=-1), normalize(means, dim=-1)
        same = (items[:, None] == items[None, :]).fill_diagonal_(False)
        logits = (said @ means.T / self.temperature).masked_fill(same, -torch.inf)
        named = cross_entropy(logits, torch.arange(len(items), device=items.device), reduction="sum")
        return named + (1 - (normalize(thoughts, dim=-1) * said.detach()).sum(-1)).sum()
