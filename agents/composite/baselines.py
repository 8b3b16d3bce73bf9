"""What a model of wholes is compared with: the same solver with less to go by, each at its best on held-out wholes."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lerl.agents.composite.data import Pairs, Singles, Wholes
from lerl.agents.composite.fit import fit_jima
from lerl.agents.composite.model import JIMA, POLYADIC, Terms

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Score = Callable[[Ints, Ints], Floats]
"""What users (B,) are expected to say of wholes (B, n), (B,)."""

PARTS, NOTHING = Terms(pairs=False, third=False), Terms(False, False, False)
MACHINE = Terms(third=False, heads=False)
WIDTHS = (4, 8)


class Feedback(NamedTuple):
    """Feedback on three levels."""

    singles: Singles
    pairs: Pairs
    wholes: Wholes


def jima(data: Feedback, seed: int) -> Score:
    """The model that is compared, on all feedback."""
    return _best([fit_jima(*data, width, seed) for width in WIDTHS]).score


def mean(data: Feedback, seed: int) -> Score:
    """Means of each user's and each item's wholes, as far as they are known."""
    return fit_jima(None, None, data.wholes, 1, seed, terms=NOTHING).score


def regression(data: Feedback, seed: int) -> Score:
    """Additive: single ratings by a factor model of single ratings, then a linear regression of wholes on them."""
    users, slots, items, y = data.singles
    first = 1 + max(int(items.max()), int(data.wholes.items.max()))  # a number for each slot stands beside the item
    rated = Wholes(users, np.column_stack([items, first + slots]), y)
    model = _best([fit_jima(None, None, rated, width, seed, terms=PARTS) for width in WIDTHS])

    def estimated(users: Ints, items: Ints) -> Floats:
        numbers = range(items.shape[1])
        parts = [
            model.score(users, np.column_stack([items[:, slot], np.full(len(users), first + slot)])) for slot in numbers
        ]
        return np.column_stack([*parts, np.ones(len(users))])

    weights, *_ = np.linalg.lstsq(estimated(data.wholes.users, data.wholes.items), data.wholes.y, rcond=None)
    return lambda users, items: estimated(users, items) @ weights


def additive(data: Feedback, seed: int) -> Score:
    """Additive: the same model on the same feedback without interactions, so that wholes help to estimate parts too."""
    tried = [fit_jima(data.singles, pairs, data.wholes, 8, seed, terms=PARTS) for pairs in (None, data.pairs)]
    return _best(tried).score


def single_task(data: Feedback, seed: int) -> Score:
    """The same model with its interactions on wholes alone."""
    return _best([fit_jima(None, None, data.wholes, width, seed) for width in WIDTHS]).score


def polyadic(data: Feedback, seed: int) -> Score:
    """CP decomposition: the sum over factors of the product of user's and all items', and offsets; wholes alone."""
    tried = [fit_jima(None, None, data.wholes, 2 * width, seed, terms=POLYADIC) for width in WIDTHS]
    return _best(tried).score


def machine(data: Feedback, seed: int) -> Score:
    """Factorisation machine of order 2 over user and items (Rendle, 2010); wholes alone."""
    tried = [fit_jima(None, None, data.wholes, width, seed, terms=MACHINE) for width in WIDTHS]
    return _best(tried).score


def _best(tried: list[JIMA]) -> JIMA:
    return min(tried, key=lambda model: model.error)


COMPARED: dict[str, Callable[[Feedback, int], Score]] = {
    "single-task": single_task,
    "additive": additive,
    "regression": regression,
    "CP": polyadic,
    "FM": machine,
    "mean": mean,
}
"""By the names of tables."""
