"""Which digits of an item are hidden in training, so that they are learned from those that are seen.

Mu et al., "Masked diffusion generative recommendation", 2026 (arXiv 2601.19501), adapts masks in two ways; its abstract
says that it does and not how. Here: few digits are hidden at first and all in the end; and those are hidden sooner that
are surprising for the list before them.

Masks that are not adapted hide 1 to L digits with the same chance. Over a whole training adapted masks hide each number
of digits as often as these do, but for the steps between epochs: a binomial number whose chance grows evenly from 0 to
1 is on the whole even.
"""

import torch
from torch import Tensor


def uniform(items: int, digits: int, device: torch.device) -> Tensor:
    """(N, L) bool, which digits of N items are hidden: 1 to L of them with the same chance, anywhere."""
    number = torch.randint(1, digits + 1, (items,), device=device)
    return _drawn(number, torch.zeros(items, digits, device=device))


def adapted(counts: Tensor, progress: float, beta: float) -> Tensor:
    """(N, L) bool, which digits of N items are hidden: 1 + (L - 1) * progress of them in the mean.

    They are drawn one after another without replacement, each with a chance that grows with its weight,
    softmax(-beta * progress * log(1 + count)).

    Args:
        counts: (N, L) int64, see `seen_before`. progress: of training, 0 to 1. beta: 0 for digits anywhere.
    """
    items, digits = counts.shape
    number = 1 + (torch.rand(items, digits - 1, device=counts.device) < progress).sum(1)
    return _drawn(number, -beta * progress * counts.log1p())


def _drawn(number: Tensor, weights: Tensor) -> Tensor:
    """(N, L) bool, `number` (N,) of each row true: the first that are drawn by log-weights (N, L)."""
    keys = weights - torch.empty_like(weights).exponential_().log()  # the largest are as if drawn one after another
    return keys.argsort(1, descending=True).argsort(1) < number[:, None]


def seen_before(lists: Tensor, digits: Tensor) -> Tensor:
    """How often the list before each item has the code that the item has, digit by digit.

    Args:
        lists: (B, T) int64 items, -1 behind the last. digits: (I, L) int64, of all items.

    Returns:
        (N, L) int64, of all N items but the first of each list, list by list.
    """
    codes = digits[lists.clamp(min=0)]  # (B, T, L)
    same = codes[:, 1:, None] == codes[:, None, :-1]  # (B, T - 1, T - 1, L)
    before = torch.ones(same.shape[1:3], dtype=torch.bool, device=lists.device).tril()
    return (same & before[..., None]).sum(2)[lists[:, 1:] >= 0]
