"""What another recommender thinks of each digit: its chances of items, summed over those that have the digit.

Lin et al., "Token-level collaborative alignment for LLM-based generative recommendation" (TCA4Rec), WWW 2026, section
on the collaborative tokenizer and the soft next-token loss, over semantic IDs in place of the words of titles.
"""

import torch
from torch import Tensor

from lerl.agents.generative.decoder import Decoder
from lerl.agents.generative.prefixes import Prefixes

LEAST = 1e-30
"""Added to every chance of a digit that some item has, so that their sum is not 0."""


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


def soft_loss(decoder: Decoder, states: Tensor, items: Tensor, scores: Tensor, alpha: float) -> Tensor:
    """The sum over N items and digits of -log of sum over v of y(v) P(v), y mixed of the digit and the teacher's share.

    y(v) = (1 - alpha) [v is the item's digit] + alpha share(v); alpha 0 gives minus the log-chance of items.

    Args:
        decoder: of I items. states: (N, L, d). items: (N,) int64. scores: (N, I) of the teacher. alpha: 0 to 1.
    """
    prefixes, total = decoder.prefixes, states.new_zeros(())
    below = masses(prefixes, scores)
    for depth in range(states.shape[1]):
        rows, found, wanted = decoder.choices(depth, states, items)
        before = prefixes.path[items[rows], depth]
        target = alpha * digit_shares(prefixes, below[depth + 1][rows], depth, before)
        target[torch.arange(len(rows), device=rows.device), wanted] += 1 - alpha
        total = total - (found + target.log()).logsumexp(1).sum()
    return total
