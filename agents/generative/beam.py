"""Beam search over semantic IDs: the likeliest items of many lists at once, never a code that no item has."""

import torch
from torch import Tensor

from lerl.agents.generative.decoder import Decoder, History, Who


def search(
    decoder: Decoder, newest: Tensor, history: History, beams: int, allowed: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The likeliest items of each list, best first; exactly those where there are no more items than beams.

    The search never ends with fewer items than beams while there are as many that are allowed: each prefix that is kept
    has an allowed item below it, so that no beam dies.

    Args:
        decoder: of I items. newest: (B, d) states. history: of B lists. beams: prefixes that are kept at each digit.
        allowed: (B, I) bool, which items may be found; None for all. Their chances are not changed by it.

    Returns:
        (B, W) int64 items, -1 where no more are allowed, and (B, W) their log-chances; W at most `beams`.
    """
    prefixes, rows = decoder.prefixes, len(newest)
    nodes, scores = newest.new_zeros(rows, 1, dtype=torch.int64), newest.new_zeros(rows, 1)
    past: list[tuple[Tensor, Tensor]] | None = None
    parent = digit = place = nodes
    for depth, size in enumerate(prefixes.sizes):
        alive = scores > -torch.inf
        many = alive & (prefixes.items(depth, nodes) > 1)  # a prefix of one item goes on as that item does
        row, slot = many.nonzero(as_tuple=True)
        candidates = scores.new_full((rows, nodes.shape[1], size), -torch.inf)
        if len(row):
            if past is None:
                tokens = decoder.first(newest[row])
            else:
                before, tokens = place[row, parent[row, slot]], decoder.token(depth - 1, digit[row, slot])
                past = [(keys[before], values[before]) for keys, values in past]
            states, past = decoder.next_state(tokens, past, history, Who(row, slot, nodes.shape[1]), depth)
            candidates[row, slot] = scores[row, slot, None] + decoder.chances(depth, states, nodes[row, slot])
            place = torch.full_like(nodes, -1)
            place[row, slot] = torch.arange(len(row), device=row.device)
        row, slot = (alive & ~many).nonzero(as_tuple=True)
        _, only = prefixes.longer(depth, nodes[row, slot])
        candidates[row, slot, prefixes.last(depth + 1, only)] = scores[row, slot]
        if allowed is not None:
            _bar(candidates, decoder, depth, nodes, prefixes.living(depth + 1, allowed))
        scores, found = candidates.flatten(1).topk(min(beams, candidates[0].numel()))
        width = max(1, int((scores > -torch.inf).sum(1).max()))
        scores, found = scores[:, :width], found[:, :width]
        parent, digit = found // size, found % size
        nodes = prefixes.after(depth, nodes.gather(1, parent), digit)
    return torch.where(scores > -torch.inf, prefixes.order[nodes], -1), scores


def _bar(candidates: Tensor, decoder: Decoder, depth: int, nodes: Tensor, living: Tensor) -> None:
    """Set candidates (B, W, size) to -inf that lead to no item that is allowed."""
    prefixes, (rows, width) = decoder.prefixes, nodes.shape
    of, longer = prefixes.longer(depth, nodes.flatten())
    dead = ~living[of // width, longer]
    of, longer = of[dead], longer[dead]
    candidates.view(rows * width, -1)[of, prefixes.last(depth + 1, longer)] = -torch.inf
