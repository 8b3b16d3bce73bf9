"""Finding items whose digits are revealed in any order: a few one after another, all others at once.

Mu et al., "Masked diffusion generative recommendation", 2026 (arXiv 2601.19501), in two stages. Warm-up: each partial
code that is kept goes on at the digit of which the decoder is surest, whichever that is. As it goes on at one digit
only, each item is below one partial code, and none is found twice. Then one last pass says the chances of all digits
that are left, and every item that fits a partial code gets their product. No code without an item is ever kept or
scored: chances are always those among items that fit what is known.
"""

import torch
from torch import Tensor

from lerl.agents.generative.decoder import History, Who
from lerl.agents.generative.masked import HIDDEN, MaskedDecoder


def passes(warm_up: int) -> int:
    """How often the decoder is asked for a list."""
    return warm_up + 1


def item_chances(
    decoder: MaskedDecoder, newest: Tensor, history: History, beams: int, warm_up: int, allowed: Tensor | None = None
) -> Tensor:
    """The chances of the items that fit what is kept of B lists; with no more partial codes than beams, of all items.

    Those of all items sum to 1. They depend on the order in which digits are revealed, which depends on the list and
    on the digits already known; `warm_up` L - 2 reveals all bare digits one after another.

    Args:
        decoder: of I items, L digits with the last one. newest: (B, d) states. history: of B lists.
        beams: partial codes that are kept after each pass. warm_up: passes that reveal one digit, 0 to L - 2.
        allowed: (B, I) bool, which items may be found; None for all. Their chances are not changed by it.

    Returns:
        (B, I) log-chances, -inf for items that are not allowed or fit nothing that is kept. Those of `beams` items at
        least are above it, or of all that are allowed.
    """
    rows = len(newest)
    known = decoder.bare.new_full((rows, 1, decoder.bare.shape[1]), HIDDEN)  # (B, W, L - 1)
    scores = newest.new_zeros(rows, 1)  # (B, W), of partial codes
    of = decoder.bare.new_zeros(rows, len(decoder.bare))  # (B, I), the partial code that each item fits; W for none
    for _ in range(warm_up):
        states = _states(decoder, newest, known, history)
        place, chances = _surest(decoder, states, known)
        known, scores, of = _further(decoder, known, scores, of, place, chances, beams, allowed)
    states = _states(decoder, newest, known, history)
    row, item = torch.nonzero(of < known.shape[1], as_tuple=True)
    beam = of[row, item]
    total = _left(decoder, states, known, row, beam, item)
    total = total + scores[row, beam] - _sums(total, row * known.shape[1] + beam, scores.numel())
    found = scores.new_full(of.shape, -torch.inf)
    found[row, item] = total
    return found if allowed is None else found.masked_fill(~allowed, -torch.inf)


def _states(decoder: MaskedDecoder, newest: Tensor, known: Tensor, history: History) -> Tensor:
    """(B, W, L, d) by which the digits of partial codes (B, W, L - 1) are chosen."""
    rows, width, _ = known.shape
    row = torch.arange(rows, device=known.device).repeat_interleave(width)
    slot = torch.arange(width, device=known.device).repeat(rows)
    states: Tensor = decoder(newest[row], known.flatten(0, 1), history, Who(row, slot, width))
    return states.view(rows, width, *states.shape[1:])


def _surest(decoder: MaskedDecoder, states: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """(B, W) the hidden digit with the highest chance of a code, and (B, W, size) log-chances of its codes."""
    chances = _padded([decoder.chances(place, states[:, :, place]) for place in range(known.shape[2])])
    place = chances.amax(3).masked_fill(known != HIDDEN, -torch.inf).argmax(2)
    return place, chances.take_along_dim(place[:, :, None, None], 2)[:, :, 0]


def _padded(chances: list[Tensor]) -> Tensor:
    """(B, W, L, most) of L tensors (B, W, size), -inf where there is no such code."""
    most = max(one.shape[2] for one in chances)
    padded = [torch.nn.functional.pad(one, (0, most - one.shape[2]), value=-torch.inf) for one in chances]
    return torch.stack(padded, dim=2)


def _further(
    decoder: MaskedDecoder,
    known: Tensor,
    scores: Tensor,
    of: Tensor,
    place: Tensor,
    chances: Tensor,
    beams: int,
    allowed: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """The likeliest partial codes that know one digit more, that at `place`; see `item_chances`."""
    (rows, width, size), every = chances.shape, torch.arange(of.shape[1], device=of.device)
    at = place.gather(1, of.clamp(max=width - 1))  # (B, I)
    key = of * size + decoder.bare[every, at]  # which candidate each item fits; those behind the last fit none
    key = key.clamp(max=width * size)
    there = _reached(key, width * size).view(chances.shape)
    chances = chances.masked_fill(~there, -torch.inf)
    chances = chances - chances.logsumexp(2, keepdim=True)
    if allowed is not None:
        there = _reached(key.masked_fill(~allowed, width * size), width * size).view(chances.shape)
    candidates = torch.where(there, chances + scores[..., None], -torch.inf).flatten(1)
    scores, found = candidates.topk(min(beams, width * size))
    kept = found.shape[1]
    number = key.new_full((rows, width * size + 1), kept)
    number.scatter_(1, found, torch.arange(kept, device=key.device).expand(rows, -1))
    number.masked_fill_(torch.cat([~there.flatten(1), there.new_ones(rows, 1)], dim=1), kept)
    parent, code = found // size, torch.where(scores > -torch.inf, found % size, 0)  # any digit has a code 0
    known = known.take_along_dim(parent[..., None], 1)
    known = known.scatter(2, place.gather(1, parent)[..., None], code[..., None])
    return known, scores, number.gather(1, key)


def _reached(key: Tensor, count: int) -> Tensor:
    """(B, count) bool: which numbers are among keys (B, I)."""
    found = torch.zeros(len(key), count + 1, dtype=torch.bool, device=key.device)
    return found.scatter_(1, key, True)[:, :-1]


def _left(decoder: MaskedDecoder, states: Tensor, known: Tensor, row: Tensor, beam: Tensor, item: Tensor) -> Tensor:
    """(M,) log-chances of the digits that are hidden of items (M,), by the states of their partial codes."""
    last = decoder.last_logits(states[:, :, -1])
    total = last[row, beam, decoder.last[item]] - last.logcumsumexp(2)[row, beam, decoder.fellows[item] - 1]
    for place in range(known.shape[2]):
        chances = decoder.chances(place, states[:, :, place])
        chances = chances.masked_fill((known[:, :, place] != HIDDEN)[..., None], 0.0)
        total = total + chances[row, beam, decoder.bare[item, place]]
    return total


def _sums(values: Tensor, group: Tensor, groups: int) -> Tensor:
    """(M,) the log of the sum of exp of values (M,) of the same group."""
    most = values.new_full((groups,), -torch.inf).scatter_reduce(0, group, values, "amax")
    sums = values.new_zeros(groups).index_add(0, group, (values - most[group]).exp())
    return sums.log()[group] + most[group]
