"""One model over feedback on items, on pairs of items and on whole slates, with interactions.

With factors of users u and of items v, * element by element, and heads a, b, c, d, e that weigh each factor:

    single(u, s, i) = a_s . (u * v_i) + offsets
    pair(i, j)      = b . (v_i * v_j) + offsets
    whole(u, i...)  = sum over slots of a_s . (u * v_i) + sum over pairs of slots of c_st . (v_i * v_j)
                      + d_st . (u * v_i * v_j), with three slots or more + e . (u * product of all v) + offsets

All three share their factors, so that ratings of items and of pairs help where few wholes were rated. After JIMA (Bi,
Wang, Adomavicius and Curley, arXiv 2601.19005), which puts small networks where the heads are.
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Terms:
    """What wholes are made of, beside offsets.

    Attributes:
        parts: user with item. pairs: item with item. third: user with pairs of items, and with all items.
        heads: whether each factor is weighed; otherwise all weigh 1.
    """

    parts: bool = True
    pairs: bool = True
    third: bool = True
    heads: bool = True


POLYADIC = Terms(parts=False, pairs=False, heads=False)
"""Those of a CP decomposition: with two slots, the sum over factors of the product of user and both items."""


@dataclass(frozen=True)
class JIMA:
    """A fitted model; ratings of each kind are told in standard deviations from their mean.

    Attributes:
        users: (U, r + 2) factors, and offsets in wholes and in singles.
        items: (I, r + 3) factors, and offsets in wholes, in singles and in pairs.
        parts: (n, r), duos: (P, r), third: (P, r) and every: (r,): heads of wholes, 0 of terms that it does without; P
            pairs of slots in the order of `itertools.combinations`.
        single: (n, r + 1), pair: (r + 1,): heads of singles and pairs, and a constant.
        base: the constant of wholes. scale: (2,) mean and standard deviation of their ratings.
        terms: what wholes are made of.
        error: root mean squared error on the wholes that were held out.
    """

    users: Floats
    items: Floats
    parts: Floats
    duos: Floats
    third: Floats
    every: Floats
    single: Floats
    pair: Floats
    base: float
    scale: Floats
    terms: Terms
    error: float = np.inf

    @property
    def width(self) -> int:
        """r."""
        return len(self.every)

    @property
    def slots(self) -> int:
        """n."""
        return len(self.parts)

    def factors(self, users: Ints) -> Floats:
        """Factors (B, r + 2) of users (B,); of a number that was never seen, such as -1, the mean of all."""
        users = np.asarray(users)
        there = (users >= 0) & (users < len(self.users))
        return np.where(there[:, None], self.users[np.where(there, users, 0)], self.users.mean(axis=0))

    def score(self, users: Ints, items: Ints) -> Floats:
        """What users (B,) are expected to say of wholes (B, n), (B,).

        Raises:
            ValueError: items of another shape, or an item that is none.
        """
        items = np.asarray(items)
        if items.shape != (len(users), self.slots):
            raise ValueError(f"items must have shape ({len(users)}, {self.slots}), given {items.shape}")
        if items.size and not 0 <= items.min() <= items.max() < len(self.items):
            raise ValueError(f"items must be 0 to {len(self.items) - 1}, given {items.min()} to {items.max()}")
        return self.scale[0] + self.scale[1] * self.felt(self.factors(users), items)

    def felt(self, people: Floats, items: Ints) -> Floats:
        """The same of people by their factors (B, r + 2), in standard deviations from the mean."""
        r, v = self.width, self.items[items]  # (B, n, r + 3)
        return self.base + people[:, r] + v[:, :, r].sum(axis=1) + self.products(people[:, :r], v[:, :, :r])

    def products(self, u: Floats, v: Floats) -> Floats:
        """What the factors of users (B, r) and of items (B, n, r) make together, (B,)."""
        of_user, alone = self.against_user(v)
        return (u * of_user).sum(axis=1) + alone

    def against_user(self, v: Floats) -> tuple[Floats, Floats]:
        """What is multiplied with the user's factors (B, r), and what is added without (B,)."""
        of_user, alone = (v * self.parts).sum(axis=1), np.zeros(len(v))
        for number, (s, t) in enumerate(combinations(range(self.slots), 2)):
            both = v[:, s] * v[:, t]
            if self.terms.pairs:
                alone += both @ self.duos[number]
            if self.terms.third:
                of_user += both * self.third[number]
        if self.terms.third and self.slots > 2:
            of_user += v.prod(axis=1) * self.every
        return of_user, alone

    def against_item(self, u: Floats, v: Floats, slot: int) -> Floats:
        """What is multiplied with the factors of the item in a slot, (B, r)."""
        of_item = u * self.parts[slot]
        for number, (s, t) in enumerate(combinations(range(self.slots), 2)):
            if slot in (s, t) and (self.terms.pairs or self.terms.third):
                of_item = of_item + v[:, s + t - slot] * (self.duos[number] + self.third[number] * u)
        if self.terms.third and self.slots > 2:
            of_item = of_item + u * np.delete(v, slot, axis=1).prod(axis=1) * self.every
        return of_item

    def rated(self, users: Ints, slots: Ints, items: Ints) -> Floats:
        """What users (B,) are expected to say of single items (B,) in slots (B,), in standard deviations."""
        r, u, v = self.width, self.factors(users), self.items[items]
        of_factors = (u[:, :r] * v[:, :r] * self.single[slots, :r]).sum(axis=1)
        return of_factors + self.single[slots, r] + u[:, r + 1] + v[:, r + 1]
