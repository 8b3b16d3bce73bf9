"""Cross-entropy over all items, exact and in bounded memory: each part of the scores is made, used and forgotten."""

from typing import Any

import torch
from torch import Tensor

PART = {"cpu": 1 << 21, "cuda": 1 << 27}
"""Scores that are there at once: on a processor few enough to stay in its cache, which halves the time."""

LEAST = 1e-38
"""The least chance that a loss is computed of."""


class _FullSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, items: Tensor, targets: Tensor, smoothing: float) -> Tensor:
        count, number = len(states), len(items)
        rows = max(1, PART.get(states.device.type, PART["cpu"]) // number)
        across = items.T.contiguous()  # (d, I)
        scores, of_part = states.new_empty(min(rows, count), number), torch.empty_like(items)
        of_states, of_items, losses = torch.empty_like(states), torch.zeros_like(items), []
        for first in range(0, count, rows):
            part, wanted = states[first : first + rows], targets[first : first + rows, None]
            given = scores[: len(part)]
            torch.mm(part, across, out=given)
            score, mean = given.gather(1, wanted)[:, 0], given.mean(1) if smoothing else 0.0
            torch.softmax(given, 1, out=given)
            loss = -given.gather(1, wanted)[:, 0].clamp(min=LEAST).log()
            losses.append((loss + smoothing * (score - mean)).sum())
            if smoothing:
                given -= smoothing / number
            given.scatter_add_(1, wanted, given.new_full(wanted.shape, smoothing - 1.0))
            torch.mm(given, items, out=of_states[first : first + rows])
            of_items += torch.mm(given.T, part, out=of_part)
        ctx.save_for_backward(of_states, of_items)
        return torch.stack(losses).sum()

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor | None, ...]:
        of_states, of_items = ctx.saved_tensors
        return of_states * given[0], of_items * given[0], None, None


def full_softmax(states: Tensor, items: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
    """The sum of the cross-entropies of softmax(states @ items.T), over all items.

    Args:
        states: (N, d). items: (I, d). targets: (N,) int64, below I.
        smoothing: share of the chance that the target gives to all items alike (Szegedy et al., CVPR 2016).
    """
    loss: Tensor = _FullSoftmax.apply(states, items, targets, smoothing)  # type: ignore[no-untyped-call]
    return loss
