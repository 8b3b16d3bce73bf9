"""Slates whose slots have roles, filled slot by slot: what is of another role counts as not to be shown."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lerl.envs.composite import Roles

Ints = NDArray[np.int32]


def slot_by_slot(
    roles: Roles, excluded: Ints, fill: Callable[[int, Ints], tuple[Ints, NDArray[np.bool_] | int]]
) -> tuple[Ints, NDArray[np.bool_] | int]:
    """Slates (B, k), -1 where no item of a role is left, and whether a plan was widened for any slot, (B,).

    Args:
        roles: of the slots. excluded: (B, S) items that may not be shown, -1 as padding.
        fill: called with a slot and what may not be shown there; gives slates of one (B, 1), and what was widened.
    """
    columns: list[Ints] = []
    widened: Any = 0
    for slot in range(len(roles.names)):
        others = np.flatnonzero(roles.slot_of != slot).astype(np.int32)
        barred = np.concatenate([excluded, np.broadcast_to(others, (len(excluded), len(others)))], axis=1)
        own, more = fill(slot, np.ascontiguousarray(barred))
        columns.append(own)
        widened = widened | more
    return np.concatenate(columns, axis=1), widened
