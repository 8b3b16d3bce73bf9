"""Made-up ratings of parts, pairs and wholes whose interactions are known: what the study and the tests fit.

    y(u, i, j) = u . v_i + u . w_j + strength * (v_i . w_j + sum(u * v_i * w_j)) + noise

All vectors are standard normal, and each product is divided by the root of the rank, so that every term has variance 1.
Parts are rated as u . v_i and u . w_j, pairs as v_i . w_j, with the same noise. After the simulation studies of JIMA
(Bi, Wang, Adomavicius and Curley, arXiv 2601.19005).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lerl.agents.composite.data import Pairs, Singles, Wholes

Floats = NDArray[np.float64]


class MadeUp(NamedTuple):
    """What is observed, and every whole without noise.

    Attributes:
        singles, pairs, wholes: what is observed; items of the second slot are counted on from those of the first.
        users: (T,) int64 and items: (T, 2) int64, of all wholes that are not observed. truth: (T,) without noise.
        liked: (T, 2) each part's true rating.
    """

    singles: Singles
    pairs: Pairs
    wholes: Wholes
    users: NDArray[np.int64]
    items: NDArray[np.int64]
    truth: Floats
    liked: Floats


def made_up(
    seed: int,
    strength: float = 1.0,
    density: float = 0.01,
    *,
    singles: float = 0.2,
    noise: float = 0.3,
    rank: int = 4,
    users: int = 300,
    items: int = 50,
) -> MadeUp:
    """Ratings of tops and bottoms, `items` each.

    Args:
        seed: of all draws. strength: of both interactions, 0 for none. density: share of wholes that are observed.
        singles: share of part ratings that are observed; all pairs are. noise: standard deviation.
        rank: of all vectors. users: how many. items: in each slot.
    """
    rng = np.random.default_rng([seed, 0xC0])
    u, v, w = (rng.normal(size=(n, rank)) for n in (users, items, items))
    root = np.sqrt(rank)
    tops, bottoms, fit = u @ v.T / root, u @ w.T / root, v @ w.T / root
    third = np.einsum("ur,ir,jr->uij", u, v, w) / root
    whole = tops[:, :, None] + bottoms[:, None, :] + strength * (fit + third)  # (U, I, J)
    seen = rng.random(whole.shape) < density
    parts = [(rng.random(tops.shape) < singles, values, slot) for slot, values in enumerate((tops, bottoms))]
    rated = [(*np.nonzero(mask), values[mask], slot) for mask, values, slot in parts]
    pairs, at, rest = np.indices(fit.shape).reshape(2, -1), np.nonzero(seen), np.nonzero(~seen)

    def noisy(values: Floats) -> Floats:
        return values + noise * rng.normal(size=values.shape)

    return MadeUp(
        Singles(
            np.concatenate([user for user, *_ in rated]),
            np.concatenate([np.full(len(user), slot) for user, _, _, slot in rated]),
            np.concatenate([item + slot * items for _, item, _, slot in rated]),
            noisy(np.concatenate([values for _, _, values, _ in rated])),
        ),
        Pairs(pairs[0], pairs[1] + items, noisy(fit.ravel())),
        Wholes(at[0], np.column_stack([at[1], at[2] + items]), noisy(whole[at])),
        rest[0],
        np.column_stack([rest[1], rest[2] + items]),
        whole[rest],
        np.column_stack([tops[rest[:2]], bottoms[rest[0], rest[2]]]),
    )
