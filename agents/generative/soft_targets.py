"""What another recommender thinks of each digit: its chances of items, summed over those that have the digit.

Lin et al., "Token-level collaborative alignment for LLM-based generative recommendation" (TCA4Rec), WWW 2026, section
on the collaborative tokenizer and the soft next-token loss, over semantic IDs in place of the words of titles.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from lerl.agents.generative.decoder import Decoder
from lerl.agents.generative.prefixes import Prefixes
from lerl.envs.sequences import Lists

LEAST = 1e-30
"""Added to every chance of a digit that some item has, so that their sum is not 0."""

MOST, AT_ONCE = 1 << 30, 512
"""Bytes of labels that are kept, at most; and items of which they are made at once."""


def masses(prefixes: Prefixes, scores: Tensor) -> list[Tensor]:
    """For each depth, 0 to L, (N, prefixes of it): the softmax of scores (N, I), summed over items below a prefix."""
    chances = scores.softmax(-1)
    found = []
    for depth in range(len(prefixes.sizes) + 1):
        path = prefixes.path[:, depth]
        found.append(chances.new_zeros(len(scores), prefixes.count(depth)).index_add_(1, path, chances))
    return found


def digit_shares(prefixes: Prefixes, longer: Tensor, depth: int, before: Tensor) -> Tensor:
    """(N, size) chances of the next digit after prefixes (N,) of a depth; rows sum to 1.

    Args:
        prefixes: of all items. longer: (N, prefixes of depth + 1), as of `masses`. depth, before: the prefixes.
    """
    of, after = prefixes.longer(depth, before)
    shares = longer.new_zeros(len(before), prefixes.sizes[depth])
    shares[of, prefixes.last(depth + 1, after)] = longer[of, after] + LEAST
    return shares / shares.sum(1, keepdim=True)


def teacher_shares(prefixes: Prefixes, scores: Tensor, items: Tensor) -> list[Tensor]:
    """Of each digit (N, size) chances of it after those before it of items (N,), by scores (N, I) of a teacher."""
    below = masses(prefixes, scores)
    return [digit_shares(prefixes, below[n + 1], n, prefixes.path[items, n]) for n in range(len(prefixes.sizes))]


def soft_loss(decoder: Decoder, states: Tensor, items: Tensor, shares: Sequence[Tensor], alpha: float) -> Tensor:
    """The sum over N items and digits of -log of sum over v of y(v) P(v), y mixed of the digit and the teacher's share.

    y(v) = (1 - alpha) [v is the item's digit] + alpha share(v); alpha 0 gives minus the log-chance of items.

    Args:
        decoder: of I items. states: (N, L, d). items: (N,) int64. shares: L times (N, size), as of `teacher_shares`.
        alpha: 0 to 1.
    """
    total = states.new_zeros(())
    for depth in range(states.shape[1]):
        rows, found, wanted = decoder.choices(depth, states, items)
        target = alpha * shares[depth][rows]
        target[torch.arange(len(rows), device=rows.device), wanted] += 1 - alpha
        total = total - (found + target.log()).logsumexp(1).sum()
    return total


class Labels:
    """A teacher's shares of the digits of training items; once kept, they are looked up by the list that holds an item.

    Args:
        prefixes: of all items. scores: lists (B, T), -1 behind the last, to scores (N, I) at each place that something
            follows, list by list.

    Attributes:
        kept: L times (items of all lists, size) float16; empty where each is made when it is asked for.
    """

    def __init__(self, prefixes: Prefixes, scores: Callable[[Tensor], Tensor]) -> None:
        self.prefixes, self.scores = prefixes, scores
        self.kept: list[Tensor] = []
        self.first: dict[bytes, int] = {}

    def of(self, lists: Tensor, items: Tensor) -> list[Tensor]:
        """L times (N, size): of all N items of lists (B, T) but the first of each."""
        if not self.kept:
            return teacher_shares(self.prefixes, self.scores(lists), items)
        rows = lists.cpu().numpy().astype(np.int32)
        starts = [self.first[row[row >= 0].tobytes()] for row in rows]
        counts = (rows >= 0).sum(1) - 1
        places = np.arange(counts.sum()) + np.repeat(starts - np.cumsum(counts) + counts, counts)
        found = torch.from_numpy(places).to(lists.device)
        return [one[found].float() for one in self.kept]

    def keep(self, pieces: Lists, at: torch.device) -> None:
        """Make those of all lists that are learned from, on a device, unless they take more than `MOST` bytes."""
        ends = np.cumsum(pieces.lengths - 1)
        total, sizes = int(ends[-1]) if len(ends) else 0, self.prefixes.sizes
        if not total or 2 * total * sum(sizes) > MOST:
            return
        made = [torch.empty(total, size, dtype=torch.float16, device=at) for size in sizes]
        part = (ends - 1) * max(1, total // AT_ONCE) // total
        for rows in np.split(np.arange(len(pieces)), np.flatnonzero(np.diff(part)) + 1):
            some = pieces.take(rows)
            lists = torch.from_numpy(some.newest(int(some.lengths.max()))).to(at)
            items = lists[:, 1:][lists[:, 1:] >= 0]
            end = int(ends[rows[-1]])
            for whole, shares in zip(made, self.of(lists, items), strict=True):
                whole[end - len(items) : end] = shares
        starts = ends - pieces.lengths + 1
        self.first = {pieces[row].astype(np.int32).tobytes(): int(start) for row, start in enumerate(starts)}
        self.kept = made
