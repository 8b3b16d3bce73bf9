"""How keys and values of events are kept in few bytes: what the caches of agents and of the simulator agree on."""

from typing import Any

import numpy as np

INDEX_TYPES: tuple[tuple[int, Any], ...] = ((1 << 8, np.uint8), (1 << 15, np.int16), (1 << 31, np.int32))
"""How many rows a table may have, and the smallest type that numbers them; PyTorch indexes with all three."""


def index_type(rows: int) -> Any:
    """The smallest NumPy type that numbers so many rows of a table.

    Raises:
        ValueError: there are fewer than 1, or more than 2,147,483,648.
    """
    if rows >= 1:
        for most, kind in INDEX_TYPES:
            if rows <= most:
                return kind
    raise ValueError(f"a table that is numbered must have from 1 to {1 << 31:,} rows, given {rows:,}")


def check_pool(pool: int, events: int) -> None:
    """Refuse a pool that has no event to learn from for each of its rows.

    Args:
        pool: rows. events: that it is learned from.

    Raises:
        ValueError: it is larger than the events.
    """
    if pool > events:
        raise ValueError(f"pool must be at most the {events:,} events that are learned from, given {pool:,}")
