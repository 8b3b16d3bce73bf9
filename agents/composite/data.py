"""Feedback on three levels: on single items, on pairs of items that no user is asked for, and on whole slates."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class Singles(NamedTuple):
    """Ratings of single items.

    Attributes:
        users: (S,). slots: (S,) in which the item was. items: (S,). y: (S,) ratings, or clicks 0 and 1.
    """

    users: Ints
    slots: Ints
    items: Ints
    y: Floats


class Pairs(NamedTuple):
    """How well items go together, whoever wears them.

    Attributes:
        first, second: (P,) items. y: (P,) ratings.
    """

    first: Ints
    second: Ints
    y: Floats


class Wholes(NamedTuple):
    """Ratings of whole slates.

    Attributes:
        users: (W,). items: (W, n), one of each slot. y: (W,) ratings.
    """

    users: Ints
    items: Ints
    y: Floats


NO_SINGLES = Singles(*(np.zeros(0, np.int64),) * 3, np.zeros(0))
NO_PAIRS = Pairs(*(np.zeros(0, np.int64),) * 2, np.zeros(0))


def check_feedback(singles: Singles, pairs: Pairs, wholes: Wholes) -> None:
    """Refuse what no model can be fitted to.

    Raises:
        ValueError: fewer than two slots, fewer than two wholes, arrays of unlike lengths, numbers below 0, or ratings
            that are no finite numbers.
    """
    items = np.asarray(wholes.items)
    if items.ndim != 2 or items.shape[1] < 2:
        raise ValueError(f"wholes need items of shape (W, n) with two slots or more, given shape {items.shape}")
    if len(items) < 2:
        raise ValueError(f"at least two wholes must be rated, given {len(items)}")
    for name, part in (("singles", singles), ("pairs", pairs), ("wholes", wholes)):
        lengths = {len(array) for array in part}
        if len(lengths) > 1:
            raise ValueError(f"the arrays of {name} must be of one length, given {sorted(lengths)}")
        if not np.isfinite(part.y).all():
            raise ValueError(f"ratings of {name} must be finite numbers")
        if any(np.asarray(array).size and np.asarray(array).min() < 0 for array in part[:-1]):
            raise ValueError(f"users, slots and items of {name} must be at least 0")
    if len(singles.slots) and int(singles.slots.max()) >= items.shape[1]:
        raise ValueError(f"slots of singles must be below the {items.shape[1]} of wholes, given {singles.slots.max()}")
