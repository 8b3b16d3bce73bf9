"""What can be shown: items, their titles, and the axes (categories, clusters) along which they are counted."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray


def read_only(owner: Any) -> None:
    """Make the arrays of an object read-only: many share them, and nobody's code shall change them for the others."""
    for value in vars(owner).values():
        if isinstance(value, np.ndarray):
            value.setflags(write=False)


@dataclass(frozen=True)
class Axis:
    """A way to group items, along which a planner plans and exposure is counted; its arrays become read-only.

    Attributes:
        names: one name per group, length C.
        membership: (I, C) bool, whether an item belongs to a group; every item belongs to at least one.
    """

    names: tuple[str, ...]
    membership: NDArray[np.bool_]

    def __post_init__(self) -> None:
        if self.membership.ndim != 2 or self.membership.shape[1] != len(self.names):
            raise ValueError(
                f"membership must be (items, {len(self.names)}) for {len(self.names)} names, "
                f"given an array of shape {self.membership.shape}"
            )
        lonely = np.flatnonzero(~self.membership.any(axis=1))
        if lonely.size:
            raise ValueError(
                f"every item needs at least one group, but item {lonely[0]} has none "
                f"({lonely.size} such items); put such items into a group of their own, for example 'other'"
            )
        read_only(self)

    @cached_property
    def groups(self) -> NDArray[np.int32]:
        """(I, M) int32, each item's groups in order, -1 as padding."""
        most = int(self.membership.sum(axis=1).max())
        groups = np.full((len(self.membership), most), -1, np.int32)
        items, columns = np.nonzero(self.membership)
        starts = np.searchsorted(items, np.arange(len(self.membership)))
        groups[items, np.arange(len(items)) - starts[items]] = columns
        groups.setflags(write=False)
        return groups


@dataclass(frozen=True)
class Catalog:
    """The items of a data set; index i of every array and tuple is item i.

    Attributes:
        item_ids: the data set's own identifiers, length I.
        titles: what a person would call the item, length I.
        categories: the catalogue's own axis.
    """

    item_ids: tuple[str, ...]
    titles: tuple[str, ...]
    categories: Axis

    def __post_init__(self) -> None:
        counts = (len(self.item_ids), len(self.titles), len(self.categories.membership))
        if len(set(counts)) != 1:
            raise ValueError(f"item_ids, titles and categories must have one row per item, given {counts} rows")

    def __len__(self) -> int:
        return len(self.item_ids)
