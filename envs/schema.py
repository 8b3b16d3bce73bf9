"""Interaction logs: their columns, and the hashed splits that keep truth, knowledge and evaluation apart.

Every split is a pure function of the data set's own identifiers. It depends neither on the order of the rows nor
on Python's hash seed, so that two people who prepare the same data get the same halves and the same users.
"""

from hashlib import blake2b

import numpy as np
import polars as pl
from numpy.typing import NDArray

SCHEMA: dict[str, type[pl.DataType]] = {
    "user": pl.Int64,
    "item": pl.Int64,
    "click": pl.Boolean,
    "rating": pl.Float32,
    "time": pl.Int64,
}
"""Columns of a log: the data set's own user and item numbers, whether it was a click, the rating (null where there is
none), and seconds since 1970 (null where they are not known)."""

KIND_PREFIX = "feedback."
"""A log may have a Boolean column of such a name for each kind of feedback beside the click."""

TRUTH_SHARE = 0.5
TRAINING_SHARE = 0.75
HELD_OUT_SHARE = 0.15

Ids = NDArray[np.int64]
Mask = NDArray[np.bool_]


class DataError(ValueError):
    """A data set that cannot be used as it is; the message says what is wrong, where, and what to do."""


def truth_half(users: Ids, items: Ids) -> Mask:
    """Which interactions make the simulator's users; the others are what a recommender may know.

    Args:
        users: (N,) user ids.
        items: (N,) item ids.

    Returns:
        (N,) bool, true for the truth half and false for the knowledge half.
    """
    return _share("half", users, items) < TRUTH_SHARE


def held_out(users: Ids, items: Ids) -> Mask:
    """Which interactions of a half are kept from fitting, to calibrate and to judge; about 15 %.

    Args:
        users: (N,) user ids.
        items: (N,) item ids.

    Returns:
        (N,) bool.
    """
    return _share("held out", users, items) < HELD_OUT_SHARE


def training_users(users: Ids) -> Mask:
    """Which users to train on, about 75 %; the others are for evaluation only.

    Args:
        users: (U,) user ids.

    Returns:
        (U,) bool.
    """
    return _share("user split", users) < TRAINING_SHARE


def sample_order(users: Ids) -> NDArray[np.int64]:
    """The order in which users join a sample: the first N are the sample of N users, the same in every log.

    A user's place among others depends on both ids only, so that a user of a sample is in every larger one.

    Args:
        users: (U,) user ids, all different.

    Returns:
        (U,) int64, positions among `users`.
    """
    return np.lexsort((users, _share("user sample", users)))


def with_half(log: pl.DataFrame) -> pl.DataFrame:
    """The log with two more columns: `half`, "truth" or "knowledge", and `position` where it has none yet.

    `position`, Int32, counts each user's interactions in order of time, from 0, those of one second in order of their
    rows; null where time is not known.

    Raises:
        DataError: the frame is not a log.
    """
    check_log(log)
    truth = truth_half(log["user"].to_numpy(), log["item"].to_numpy())
    halves = log.with_columns(half=pl.Series(np.where(truth, "truth", "knowledge")))
    if "position" in log.columns:
        return halves
    place = (pl.col("time").rank("ordinal").over("user") - 1).cast(pl.Int32)
    return halves.with_columns(position=pl.when(pl.col("time").is_not_null()).then(place))


def check_log(log: pl.DataFrame) -> None:
    """Refuse a frame that is not a log, see `SCHEMA`.

    Raises:
        DataError: a column is missing or has another type, a user, item or click is null, or a pair occurs twice.
    """
    for name, dtype in SCHEMA.items():
        if name not in log.columns:
            raise DataError(f"a log needs the columns {list(SCHEMA)}, but {name!r} is missing; given {log.columns}")
        if log[name].dtype != dtype:
            raise DataError(f"a log's column {name!r} must be {dtype.__name__}, given {log[name].dtype}; cast it first")
    for name in ("user", "item", "click"):
        if log[name].null_count():
            raise DataError(f"a log's column {name!r} has {log[name].null_count()} nulls; drop those rows first")
    if log.is_empty():
        raise DataError("the log is empty; it needs at least one interaction")
    twice = log.filter(log.select("user", "item").is_duplicated())
    if len(twice):
        user, item = twice.row(0)[:2]
        raise DataError(f"user {user} and item {item} occur together more than once; keep one row per pair")


def positions(numbers: Ids, given: Ids) -> NDArray[np.int64]:
    """The catalog positions of a log's items, (N,) int64.

    Args:
        numbers: (I,) int64, the catalog's items, all different and in any order; see `Catalog.numbers`.
        given: (N,) int64, the items of a log.

    Raises:
        DataError: an item is not in the catalog.
    """
    order = np.argsort(numbers)
    places: NDArray[np.int64] = order[np.searchsorted(numbers, given, sorter=order).clip(max=len(order) - 1)]
    unknown = given[numbers[places] != given]
    if unknown.size:
        raise DataError(f"item {unknown[0]} is in the log but not in the catalog; add it there or drop its rows")
    return places


def _share(purpose: str, *ids: Ids) -> NDArray[np.float64]:
    """A uniform number in [0, 1) per row, a hash of the purpose and of the row's ids."""
    salt = int.from_bytes(blake2b(purpose.encode(), digest_size=8).digest(), "little")
    state = np.full(len(ids[0]), salt, dtype=np.uint64)
    for column in ids:
        state = _splitmix(state ^ column.astype(np.int64, copy=False).view(np.uint64))
    return (state >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _splitmix(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """One step of SplitMix64 (Steele, Lea and Flood 2014, Fast splittable pseudorandom number generators)."""
    state = state + np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))
