"""What can be shown: items, their titles, and the axes (categories, clusters) along which they are counted."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

WHOLE = r"^(?:0|-?[1-9][0-9]{0,18})$"
"""An id that is a whole number, written without leading zeros."""


def number_of(identifier: str) -> int:
    """The number that stands for an id in a log: the id itself where it is a whole number, else a hash of its text."""
    if re.fullmatch(WHOLE, identifier) and -(2**63) <= int(identifier) < 2**63:
        return int(identifier)
    return int.from_bytes(blake2b(identifier.encode(), digest_size=8).digest(), "little", signed=True)


def read_only(owner: Any) -> None:
    """Make an object's arrays read-only: many share them, and no code may change them for the others."""
    for value in vars(owner).values():
        if isinstance(value, np.ndarray):
            value.setflags(write=False)


@dataclass(frozen=True)
class Axis:
    """A way to group items, along which a planner plans and exposure is counted; its arrays become read-only.

    Attributes:
        names: one name per group, length C.
        membership: (I, C) bool, whether an item belongs to a group; every item belongs to at least one.

    Raises:
        ValueError: an item has no group, or there are not as many names as columns.
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

    @staticmethod
    def from_lists(lists: Mapping[str, Any], items: int) -> "Axis":
        """An axis from what `lists` made of one, for so many items.

        Raises:
            ValueError: it has not `names` and `items`, or names an item that is not there.
        """
        if set(lists) != {"names", "items"} or len(lists["names"]) != len(lists["items"]):
            raise ValueError(f"an axis as a dictionary has names and items, a list for each name, given {list(lists)}")
        membership = np.zeros((items, len(lists["names"])), bool)
        for group, own in enumerate(lists["items"]):
            held = np.asarray(own, np.int64)
            if held.size and not (held.min() >= 0 and held.max() < items):
                raise ValueError(f"items are 0 to {items - 1}, but the axis' group {group} has others")
            membership[held, group] = True
        return Axis(tuple(map(str, lists["names"])), membership)

    def lists(self) -> dict[str, list[Any]]:
        """Its names, and for each the numbers of its items: what JSON can keep."""
        return {"names": list(self.names), "items": [np.flatnonzero(column).tolist() for column in self.membership.T]}

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
        titles: to show to people, length I.
        categories: the catalog's own axis.

    Raises:
        ValueError: they are not of the same number of items.
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

    @cached_property
    def numbers(self) -> NDArray[np.int64]:
        """(I,) int64, the items as logs number them, see `number_of`; `lerl.envs.schema.positions` is the way back."""
        numbers = np.array([number_of(item) for item in self.item_ids], np.int64)
        numbers.setflags(write=False)
        return numbers
