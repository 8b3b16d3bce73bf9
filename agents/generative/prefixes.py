"""Which digits may follow which: the prefixes of all items' codes, in sorted arrays.

Items are sorted by their digits, so that those below a prefix lie side by side. Prefixes of one length are numbered in
that order; those that are longer by a digit again lie side by side below each.
"""

import numpy as np
import torch
from torch import Tensor, nn

from lerl.envs.codes import Codes


class Prefixes(nn.Module):
    """The prefixes of I items' codes of L digits; depth 0 has one, the empty prefix, and depth L one for each item.

    Tensors move with the network that holds them, and are no part of its weights.

    Args:
        codes: of the items.

    Attributes:
        sizes: L, of digits. digits: (I, L) int64. path: (I, L + 1) int64, of each item its prefix at each depth.
        order: (I,) int64, the item of each prefix at depth L.
    """

    digits: Tensor
    path: Tensor
    order: Tensor

    def __init__(self, codes: Codes) -> None:
        super().__init__()
        digits = codes.digits.astype(np.int64)
        order = np.lexsort(digits.T[::-1])
        ordered, path = digits[order], np.zeros((len(digits), digits.shape[1] + 1), np.int64)
        differs = np.zeros(len(digits), bool)
        for depth in range(digits.shape[1]):
            differs[1:] |= ordered[1:, depth] != ordered[:-1, depth]
            path[order, depth + 1] = np.cumsum(differs)
        self.sizes = codes.sizes
        for depth in range(digits.shape[1] + 1):
            _, firsts, items = np.unique(path[order, depth], return_index=True, return_counts=True)
            self._keep("items", depth, items)
            if depth:
                parents, last = path[order, depth - 1][firsts], ordered[firsts, depth - 1]
                self._keep("last", depth, last)
                self._keep("key", depth, parents * codes.sizes[depth - 1] + last)  # sorted
                below = np.searchsorted(parents, np.arange(parents[-1] + 2))
                self._keep("below", depth - 1, below)
        for name, values in (("digits", digits), ("path", path), ("order", order)):
            self.register_buffer(name, torch.from_numpy(values), persistent=False)

    def _keep(self, name: str, depth: int, values: np.ndarray) -> None:
        self.register_buffer(f"{name}{depth}", torch.from_numpy(np.ascontiguousarray(values)), persistent=False)

    def count(self, depth: int) -> int:
        """How many prefixes of a depth there are."""
        return len(getattr(self, f"items{depth}"))

    def items(self, depth: int, prefixes: Tensor) -> Tensor:
        """How many items are below each of these prefixes, in their shape."""
        counts: Tensor = getattr(self, f"items{depth}")
        return counts[prefixes]

    def longer(self, depth: int, prefixes: Tensor) -> tuple[Tensor, Tensor]:
        """All prefixes that are longer by a digit: (M,) of which of `prefixes` (N,) each is, and (M,) their numbers."""
        below: Tensor = getattr(self, f"below{depth}")
        first = below[prefixes]
        counts = below[prefixes + 1] - first
        of = torch.repeat_interleave(torch.arange(len(prefixes), device=prefixes.device), counts)
        within = torch.arange(len(of), device=of.device) - torch.repeat_interleave(counts.cumsum(0) - counts, counts)
        return of, first[of] + within

    def last(self, depth: int, prefixes: Tensor) -> Tensor:
        """The last digit of each of these prefixes of depth 1 or more, in their shape."""
        digits: Tensor = getattr(self, f"last{depth}")
        return digits[prefixes]

    def possible(self, depth: int, prefixes: Tensor) -> Tensor:
        """(N, size) bool: which digits may follow each of prefixes (N,)."""
        of, longer = self.longer(depth, prefixes)
        mask = torch.zeros(len(prefixes), self.sizes[depth], dtype=torch.bool, device=prefixes.device)
        mask[of, self.last(depth + 1, longer)] = True
        return mask

    def after(self, depth: int, prefixes: Tensor, digits: Tensor) -> Tensor:
        """The prefixes that digits make of prefixes, in their shape; of no meaning where a digit is not possible."""
        keys: Tensor = getattr(self, f"key{depth + 1}")
        found = torch.searchsorted(keys, (prefixes * self.sizes[depth] + digits).contiguous())
        return found.clamp(max=len(keys) - 1)

    def living(self, depth: int, allowed: Tensor) -> Tensor:
        """(B, prefixes of that depth) bool: whether an allowed item, of (B, I) bool, is below each."""
        counts = torch.zeros(len(allowed), self.count(depth), dtype=torch.int32, device=allowed.device)
        return counts.index_add_(1, self.path[:, depth], allowed.to(torch.int32)) > 0
