"""Finding items whose digits are revealed in any order: a few one after another, all others at once.

Mu et al., "Masked diffusion generative recommendation", 2026 (arXiv 2601.19501), in two stages. Warm-up: each partial
code that is kept goes on at the digit of which the decoder is surest, whichever that is. As it goes on at one digit
only, each code is below one partial code, and none is found twice. Then one last pass says the chances of all digits
that are left, and every code that fits a partial code gets their product. No code without an item is ever kept or
scored: chances are always those among codes that fit what is known. "Code" means all digits but the last, which tells
apart the items of a code in the end.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

from lerl.agents.generative.decoder import History, Who
from lerl.agents.generative.masked import HIDDEN, MaskedDecoder


def passes(warm_up: int) -> int:
    """How often the decoder is asked for a list."""
    return warm_up + 1


def item_chances(
    decoder: MaskedDecoder, newest: Tensor, history: History, beams: int, warm_up: int, allowed: Tensor | None = None
) -> Tensor:
    """The chances of the items of the likeliest codes of B lists; with no more codes than beams, of all items.

    Those of all items sum to 1. They depend on the order in which digits are revealed, which depends on the list and
    on the digits already known; `warm_up` L - 2 reveals all digits of a code one after another.

    Args:
        decoder: of I items, L digits with the last one. newest: (B, d) states. history: of B lists.
        beams: partial codes that are kept after each pass, and codes in the end.
        warm_up: passes that reveal one digit, 0 to L - 2.
        allowed: (B, I) bool, which items may be found; None for all. Their chances are not changed by it.

    Returns:
        (B, I) log-chances, -inf for items that are not allowed or not found. Those of `beams` items at least are above
        it, or of all that are allowed.
    """
    rows, (count, digits) = len(newest), decoder.codes.shape
    known = decoder.codes.new_full((rows, 1, digits), HIDDEN)  # (B, W, L - 1)
    scores = newest.new_zeros(rows, 1)  # (B, W), of partial codes
    of = decoder.codes.new_zeros(rows, count)  # (B, G), the partial code that each code fits; W for none
    living = None if allowed is None else _living(decoder, allowed)
    for _ in range(warm_up):
        states = _states(decoder, newest, known, history)
        place, chances = _surest(decoder, states, known)
        known, scores, of = _further(decoder, known, scores, of, place, chances, beams, living)
    states = _states(decoder, newest, known, history)
    found = _at_once(decoder, states, known, scores, of)
    if living is not None:
        found = found.masked_fill(~living, -torch.inf)
    items = _told_apart(decoder, states[:, :, -1], of, *found.topk(min(beams, count)))
    return items if allowed is None else items.masked_fill(~allowed, -torch.inf)


def _living(decoder: MaskedDecoder, allowed: Tensor) -> Tensor:
    """(B, G) bool: which codes have an item that is allowed, of (B, I) bool."""
    counts = torch.zeros(len(allowed), len(decoder.codes), dtype=torch.int32, device=allowed.device)
    return counts.index_add_(1, decoder.group, allowed.to(torch.int32)) > 0


def _states(decoder: MaskedDecoder, newest: Tensor, known: Tensor, history: History) -> Tensor:
    """(B, W, L, d) by which the digits of partial codes (B, W, L - 1) are chosen."""
    rows, width, _ = known.shape
    row = torch.arange(rows, device=known.device).repeat_interleave(width)
    slot = torch.arange(width, device=known.device).repeat(rows)
    states: Tensor = decoder(newest[row], known.flatten(0, 1), history, Who(row, slot, width))
    return states.view(rows, width, *states.shape[1:])


def _surest(decoder: MaskedDecoder, states: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """(B, W) the hidden digit with the highest chance of a code, and (B, W, size) log-chances of its codes.

    Sizes are those of the largest digit; there is -inf where a smaller one has no code.
    """
    said = [decoder.chances(place, states[:, :, place]) for place in range(known.shape[2])]
    size = max(one.shape[2] for one in said)
    chances = torch.stack([pad(one, (0, size - one.shape[2]), value=-torch.inf) for one in said], dim=2)
    place = chances.amax(3).masked_fill(known != HIDDEN, -torch.inf).argmax(2)
    return place, chances.take_along_dim(place[:, :, None, None], 2)[:, :, 0]


def _further(
    decoder: MaskedDecoder,
    known: Tensor,
    scores: Tensor,
    of: Tensor,
    place: Tensor,
    chances: Tensor,
    beams: int,
    living: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """The likeliest partial codes that know one digit more, that at `place`, their scores, and which each code fits."""
    (rows, width, size), every = chances.shape, torch.arange(of.shape[1], device=of.device)
    digit = decoder.codes[every, place.gather(1, of.clamp(max=width - 1))]  # (B, G)
    nobody = width * size
    key = (of * size + digit).clamp(max=nobody)  # the candidate that each code fits
    there = _reached(key, nobody).view(chances.shape)
    chances = chances.masked_fill(~there, -torch.inf)
    chances = chances - chances.logsumexp(2, keepdim=True)
    if living is not None:
        there = _reached(key.masked_fill(~living, nobody), nobody).view(chances.shape)
    scores, found = torch.where(there, chances + scores[..., None], -torch.inf).flatten(1).topk(min(beams, nobody))
    kept, alive = found.shape[1], scores > -torch.inf
    slots = torch.where(alive, torch.arange(kept, device=key.device), kept)
    number = key.new_full((rows, nobody + 1), kept).scatter_(1, found, slots)
    parent, digit = found // size, torch.where(alive, found % size, 0)  # every digit has a code 0
    known = known.take_along_dim(parent[..., None], 1)
    known = known.scatter(2, place.gather(1, parent)[..., None], digit[..., None])
    return known, scores, number.gather(1, key)


def _reached(key: Tensor, count: int) -> Tensor:
    """(B, count) bool: which numbers are among keys (B, G)."""
    found = torch.zeros(len(key), count + 1, dtype=torch.bool, device=key.device)
    return found.scatter_(1, key, True)[:, :-1]


def _at_once(decoder: MaskedDecoder, states: Tensor, known: Tensor, scores: Tensor, of: Tensor) -> Tensor:
    """(B, G) log-chances of codes that fit a partial code, by all its hidden digits at once; -inf for others."""
    row, code = torch.nonzero(of < known.shape[1], as_tuple=True)
    beam, total = of[row, code], scores.new_zeros(len(row))
    for place in range(known.shape[2]):
        chances = decoder.chances(place, states[:, :, place])
        chances = chances.masked_fill((known[:, :, place] != HIDDEN)[..., None], 0.0)
        total = total + chances[row, beam, decoder.codes[code, place]]
    total = total + scores[row, beam] - _sums(total, row * known.shape[1] + beam, scores.numel())
    found = scores.new_full(of.shape, -torch.inf)
    found[row, code] = total
    return found


def _sums(values: Tensor, group: Tensor, groups: int) -> Tensor:
    """(M,) the log of the sum of exp of values (M,) of the same group."""
    most = values.new_full((groups,), -torch.inf).scatter_reduce(0, group, values, "amax")
    sums = values.new_zeros(groups).index_add(0, group, (values - most[group]).exp())
    return sums.log()[group] + most[group]


def _told_apart(decoder: MaskedDecoder, states: Tensor, of: Tensor, scores: Tensor, codes: Tensor) -> Tensor:
    """(B, I) log-chances of the items of codes (B, K) with log-chances (B, K), -inf for others.

    Args:
        states: (B, W, d) of the last place, of partial codes. of: (B, G), the partial code that each code fits.
    """
    beam = of.gather(1, codes).clamp(max=states.shape[1] - 1)  # those that fit none have no chance
    last = decoder.last_chances(states.take_along_dim(beam[..., None], 1), codes)
    chances = scores[..., None] + last  # (B, K, size)
    slot = codes.new_full(of.shape, codes.shape[1])
    slot.scatter_(1, codes, torch.arange(codes.shape[1], device=codes.device).expand_as(codes))
    slot = slot[:, decoder.group]  # (B, I)
    row, item = torch.nonzero(slot < codes.shape[1], as_tuple=True)
    found = scores.new_full(slot.shape, -torch.inf)
    found[row, item] = chances[row, slot[row, item], decoder.last[item]]
    return found
