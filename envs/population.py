"""A population: its users and items as the simulator has them (truth), and what a recommender may know (knowledge)."""

from dataclasses import dataclass, fields
from functools import cached_property
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lerl.envs.catalog import Catalog, read_only
from lerl.envs.sequence_weights import COLLECTIVE, LEARNED, STORED_NAMES, Learned, check_learned

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Truth:
    """What the simulator runs on: P(click) = sigmoid(user . item + item offset + user offset); read-only.

    Attributes:
        item_vectors: (I, d) float32.
        item_offsets: (I,) float32, log-odds.
        user_vectors: (U, d) float32, the taste a session starts from.
        user_offsets: (U,) float32, log-odds, the intercept included.

    Raises:
        ValueError: shapes that do not fit together, or a number that is not finite.
    """

    item_vectors: Floats
    item_offsets: Floats
    user_vectors: Floats
    user_offsets: Floats

    def __post_init__(self) -> None:
        items, users = len(self.item_offsets), len(self.user_offsets)
        _check_matrices("truth.item_vectors", self.item_vectors, items, "truth.user_vectors", self.user_vectors, users)
        _check_finite(self)
        read_only(self)

    @cached_property
    def clusters(self) -> dict[int, NDArray[np.int32]]:
        """Hidden topics by how many there are, as `item_topics` has found them so far."""
        return {}


@dataclass(frozen=True)
class Knowledge:
    """What agents may know, estimated from other interactions than the truth; read-only.

    Attributes:
        item_vectors: (I, D) float32; the last column is the item's offset in log-odds.
        tastes: (U, D) float32; tastes[u] . item_vectors[i] + user_offsets[u] estimates the log-odds of a click.
        user_offsets: (U,) float32, log-odds.
        popularity: (I,) float32, share of the known clicks that went to the item; sums to 1.

    Raises:
        ValueError: shapes that do not fit together, or a number that is not finite.
    """

    item_vectors: Floats
    tastes: Floats
    user_offsets: Floats
    popularity: Floats

    def __post_init__(self) -> None:
        items, users = len(self.popularity), len(self.user_offsets)
        _check_matrices("knowledge.item_vectors", self.item_vectors, items, "knowledge.tastes", self.tastes, users)
        _check_finite(self)
        read_only(self)


@dataclass(frozen=True)
class Kinds:
    """K kinds of feedback, part of the truth: the click, and others whose chance depends on the click's; read-only.

    P(kind) = sigmoid(slope * log-odds of the click + item offset). The feedback on an item is the kinds' weighted mean.

    Attributes:
        names: of the kinds, the click's first.
        weights: (K,) float32, above 0.
        slopes: (K - 1,) float32, of the kinds after the click.
        item_offsets: (K - 1, I) float32, log-odds, of the kinds after the click.

    Raises:
        ValueError: shapes that do not fit together, a number that is not finite, or a weight that is not above 0.
    """

    names: tuple[str, ...]
    weights: Floats
    slopes: Floats
    item_offsets: Floats

    def __post_init__(self) -> None:
        kinds = len(self.names)
        if kinds < 2 or (self.weights.shape, self.slopes.shape) != ((kinds,), (kinds - 1,)):
            raise ValueError(
                f"kinds must be 2 or more, with a weight each and a slope for all but the first, given the names "
                f"{self.names}, {self.weights.shape} weights and {self.slopes.shape} slopes"
            )
        _check_finite(self)
        if not (self.weights > 0).all():
            raise ValueError(f"kinds.weights must be above 0, given {self.weights.tolist()}")
        read_only(self)


@dataclass(frozen=True)
class Population:
    """A catalog, its users, and what is known of both; its arrays become read-only.

    Attributes:
        name: the data set's name.
        catalog: the items.
        truth: what the simulator runs on; hidden from agents and planners.
        knowledge: what agents and planners may use.
        training: (U,) bool, users to train on; the others are for evaluation only.
        history: (N, 3) int32, rows (user, item, clicked 0 or 1), the known interactions, in order of time where it is
            known, and each user's in the user's own order where that is.
        dense: (U, I) int8, what users did with items, 1 a click, 0 none, -1 not met; None for most data sets.
        kinds: several kinds of feedback; None where there are only clicks.
        response: a sequence model that `lerl fit` made from the truth half, see `lerl.envs.sequence_weights`; None
            where there is none.
        collective: the same with a collective cache, another model; None where there is none.

    Raises:
        ValueError: arrays that do not fit together, or values outside their ranges.
    """

    name: str
    catalog: Catalog
    truth: Truth
    knowledge: Knowledge
    training: NDArray[np.bool_]
    history: NDArray[np.int32]
    dense: NDArray[np.int8] | None = None
    kinds: Kinds | None = None
    response: Learned | None = None
    collective: Learned | None = None

    def __post_init__(self) -> None:
        items, users = len(self.catalog), len(self.training)
        counts = {
            "truth": (len(self.truth.item_offsets), len(self.truth.user_offsets)),
            "knowledge": (len(self.knowledge.popularity), len(self.knowledge.user_offsets)),
        }
        for side, given in counts.items():
            if given != (items, users):
                raise ValueError(
                    f"{side} must be of {items} items and {users} users, as the catalog and `training`, "
                    f"given {given[0]} and {given[1]}"
                )
        _check_history(self.history, items, users)
        _check_dense(self.dense, (users, items))
        if self.kinds is not None and self.kinds.item_offsets.shape != (len(self.kinds.slopes), items):
            raise ValueError(
                f"kinds.item_offsets must be ({len(self.kinds.slopes)}, {items}), a row per kind after the first, "
                f"given {self.kinds.item_offsets.shape}"
            )
        read_only(self)
        for model, names in ((self.response, LEARNED), (self.collective, COLLECTIVE)):
            if model is not None:
                check_learned(model, items, users, names)
                for array in model.values():
                    array.setflags(write=False)

    def users(self, split: str) -> NDArray[np.int64]:
        """Numbers (N,) int64 of the users of a split: "train", "evaluation" or "all".

        Raises:
            ValueError: there is no such split.
        """
        if split == "all":
            return np.arange(len(self.training))
        if split not in ("train", "evaluation"):
            raise ValueError(f"split must be 'train', 'evaluation' or 'all', given {split!r}")
        return np.flatnonzero(self.training == (split == "train"))

    def known(self, users: NDArray[np.int64]) -> list[NDArray[np.int32]]:
        """Known interactions of users (N,), (n, 2) int32 each: items and clicks 0 or 1, in the order of `history`."""
        rows, starts = self._by_user
        return [rows[starts[user] : starts[user + 1]] for user in users.tolist()]

    @cached_property
    def _by_user(self) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Items and clicks of `history`, (N, 2), user after user, and where each user's start, (U + 1,)."""
        order = np.argsort(self.history[:, 0], kind="stable")
        starts = np.searchsorted(self.history[order, 0], np.arange(len(self.training) + 1))
        return self.history[order, 1:], starts

    def arrays(self) -> dict[str, Any]:
        """The arrays that a prepared folder keeps, by the names in `ARRAYS` and `MORE_ARRAYS`."""
        sides: dict[str, Truth | Knowledge] = {"truth": self.truth, "knowledge": self.knowledge}
        parts = {f"{side}.{field.name}": getattr(of, field.name) for side, of in sides.items() for field in fields(of)}
        more: dict[str, Any] = {} if self.dense is None else {"dense": self.dense}
        if self.kinds is not None:
            more |= {name: getattr(self.kinds, name.removeprefix("kinds.")) for name in MORE_ARRAYS if "." in name}
        return {**parts, "training": self.training, "history": self.history, **more}

    def digest(self) -> str:
        """A hexadecimal hash, the same for equal populations on any machine and since version 0.1.0."""
        found = blake2b(digest_size=16)
        learned = {f"response.{STORED_NAMES.get(name, name)}": array for name, array in (self.response or {}).items()}
        learned |= {f"collective.{name}": array for name, array in (self.collective or {}).items()}
        for name, array in sorted({**self.arrays(), **learned}.items()):
            found.update(f"{name} {array.dtype.str} {array.shape}".encode() + np.ascontiguousarray(array).tobytes())
        catalog = self.catalog
        found.update(repr((catalog.item_ids, catalog.titles, catalog.categories.names)).encode())
        found.update(np.packbits(catalog.categories.membership).tobytes())
        if self.kinds is not None:
            found.update(repr(self.kinds.names).encode())
        return found.hexdigest()


def _check_matrices(left: str, items: Floats, n_items: int, right: str, users: Floats, n_users: int) -> None:
    if items.ndim == users.ndim == 2 and items.shape == (n_items, users.shape[1]) and len(users) == n_users:
        return
    raise ValueError(
        f"{left} must be ({n_items}, d) and {right} ({n_users}, d) with the same d, as the offsets say, "
        f"given {items.shape} and {users.shape}"
    )


def _check_finite(side: Truth | Knowledge | Kinds) -> None:
    for field in fields(side):
        if field.name != "names" and not np.isfinite(getattr(side, field.name)).all():
            raise ValueError(f"{type(side).__name__.lower()}.{field.name} has a number that is not finite")


def _check_history(history: NDArray[np.int32], items: int, users: int) -> None:
    if history.ndim != 2 or history.shape[1] != 3:
        raise ValueError(
            f"history must have three columns (user, item, clicked), given an array of shape {history.shape}"
        )
    if len(history) and (history.min() < 0 or (history.max(axis=0) >= (users, items, 2)).any()):
        raise ValueError(
            f"history has a row outside users 0..{users - 1}, items 0..{items - 1}, clicked 0..1: "
            f"columns reach from {history.min(axis=0).tolist()} to {history.max(axis=0).tolist()}"
        )


def _check_dense(dense: NDArray[np.int8] | None, shape: tuple[int, int]) -> None:
    if dense is not None and (dense.shape != shape or not np.isin(dense, (-1, 0, 1)).all()):
        raise ValueError(
            f"dense must hold 1, 0 or -1 for {shape[0]} users and {shape[1]} items, "
            f"given an array of shape {dense.shape} with {np.unique(dense)[:5].tolist()}"
        )


ARRAYS: dict[str, tuple[type, int]] = {
    "truth.item_vectors": (np.float32, 2),
    "truth.item_offsets": (np.float32, 1),
    "truth.user_vectors": (np.float32, 2),
    "truth.user_offsets": (np.float32, 1),
    "knowledge.item_vectors": (np.float32, 2),
    "knowledge.tastes": (np.float32, 2),
    "knowledge.user_offsets": (np.float32, 1),
    "knowledge.popularity": (np.float32, 1),
    "training": (np.bool_, 1),
    "history": (np.int32, 2),
}
"""Type and number of dimensions of a prepared folder's arrays."""


MORE_ARRAYS: dict[str, tuple[type, int]] = {
    "dense": (np.int8, 2),
    "kinds.weights": (np.float32, 1),
    "kinds.slopes": (np.float32, 1),
    "kinds.item_offsets": (np.float32, 2),
}
"""The same for arrays that only some data sets have."""
