"""A log that is larger than memory, of which only a sample of users is kept.

Its rows are cut into parts on disk, all rows of a user into one part, and each part is read by itself: once to count,
and once to take the sampled users' rows. What is done with a part is a plain function of the part's path, so that an
executor can do it in several processes. Neither the number of parts nor the order in which they are done changes a bit.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import polars as pl

from lerl.envs.catalog import number_of
from lerl.envs.logs.interactions import (
    Checked,
    Columns,
    Read,
    Rows,
    check_cells,
    dated,
    one_row_per_pair,
    rows_of,
    unreadable,
)
from lerl.envs.logs.sample import Numbers, Sample, add_up, choose, count_items, of_users
from lerl.envs.logs.scan import Scan
from lerl.envs.schema import SCHEMA, DataError

PARTS = 64
ROWS_AT_ONCE = 4_000_000
PART = "\x00part"
EMPTY = pl.DataFrame(schema=SCHEMA)

R = TypeVar("R")


@dataclass(frozen=True)
class Asked:
    """A sample of users that is asked for.

    Attributes:
        users: how many to simulate, 1 or more.
        folder: an empty one for the parts, about 40 bytes a row; they stay there.
        executor: that the parts are submitted to; None to do one after another in this process.
    """

    users: int
    folder: Path
    executor: Executor | None = None


@dataclass(frozen=True)
class Tally:
    """What is counted in a part.

    Attributes:
        rows: how many it has. merged: how many of them met an item that the same user met in another row.
        zoned, days: how many name a zone, and give only the day.
        untimed, unknown: rows that `Checked.refuse` refuses; where there are any, nothing further is counted.
        users: (U,) int64, those who met enough items. interactions: (U,) int64, of each. left_out: how many others.
        items: see `lerl.envs.logs.sample.count_items`.
    """

    rows: int
    merged: int
    zoned: int
    days: int
    untimed: Rows
    unknown: Rows
    users: Numbers
    interactions: Numbers
    left_out: int
    items: pl.DataFrame


def read_sample(
    scan: Scan, columns: Columns, asked: Asked, known: Numbers | None = None, least: int = 1
) -> tuple[Read, Sample, int]:
    """A log of some users of a file, see `lerl.envs.logs.sample`, in memory that goes by them.

    Args:
        scan: the file.
        columns: which of its columns is what.
        asked: how many users.
        known: numbers of the items that may occur; None for any.
        least: users who met fewer items are left out.

    Returns:
        The log as `lerl.envs.logs.interactions.read_interactions` would have these users' rows, the sample, and how
        many users met too few items.

    Raises:
        DataError: the file cannot be used as it is, as in `read_interactions`, or the sample is too small.
        OSError: the disk is full.
    """
    checked = check_cells(scan, columns, text_users=True)
    parts = cut(checked, asked.folder)
    tallies, items = [], count_items(EMPTY)
    for part in each(partial(tally, known=known, least=least), parts, asked.executor):
        items = add_up([items, part.items])
        tallies.append(replace(part, items=items.clear()))
    checked.refuse(*(first_of([getattr(part, name) for part in tallies]) for name in ("untimed", "unknown")))
    users = np.concatenate([part.users for part in tallies])
    if not len(users):
        raise DataError(f"no user met {least} items or more; give a lower --min-interactions")
    simulated, fitted = choose(users, np.concatenate([part.interactions for part in tallies]), asked.users)
    sample = Sample(asked.users, simulated, len(fitted), len(users), checked.rows, items)
    log = pl.concat(each(partial(log_of, users=fitted), parts, asked.executor)).sort("user", "item")
    rows, zoned, days = (sum(getattr(part, name) for part in tallies) for name in ("rows", "zoned", "days"))
    time = "" if checked.form is None else checked.form.note(rows, zoned, days)
    read = Read(log, sum(part.merged for part in tallies), checked.item_ids, time, checked.notes)
    return read, sample, sum(part.left_out for part in tallies)


def cut(checked: Checked, folder: Path) -> list[Path]:
    """Write the rows of a file into PARTS folders of Parquet files, all rows of a user into one folder.

    Args:
        checked: the file.
        folder: where to write.

    Returns:
        The folders that have rows.

    Raises:
        DataError: the file is damaged.
        OSError: the disk is full.
    """
    whole = folder / "rows.parquet"
    checked.scan.write(checked.frame.with_columns((pl.col("user").hash() % PARTS).cast(pl.UInt32).alias(PART)), whole)
    paths = [folder / f"{number:04}" for number in range(PARTS)]
    for path in paths:
        path.mkdir()
    for start in range(0, checked.rows, ROWS_AT_ONCE):
        rows = pl.scan_parquet(whole, glob=False).slice(start, ROWS_AT_ONCE).collect()
        for (number,), held in rows.partition_by(PART, as_dict=True, include_key=False).items():
            held.write_parquet(paths[number] / f"{start:015}.parquet", compression="lz4", statistics=False)
    whole.unlink()
    return [path for path in paths if any(path.iterdir())]


def each(function: Callable[[Path], R], parts: Sequence[Path], executor: Executor | None) -> Iterator[R]:
    """A function's result for each part, in their order; a `functools.partial` brings its other arguments."""
    if executor is None:
        yield from map(function, parts)
        return
    submitted = [executor.submit(function, part) for part in parts]
    while submitted:  # what was given is not kept
        yield submitted.pop(0).result()


def tally(part: Path, known: Numbers | None, least: int) -> Tally:
    """Count a part; arguments as in `read_sample`."""
    rows = _rows(part)
    untimed, unknown = unreadable(rows, known)
    bad = bool(len(untimed) or len(unknown))
    pairs = _numbered(rows.clear() if bad else rows).group_by("user", "item").agg(pl.col("click").any())
    counts = pairs.group_by("user").len().sort("user")
    enough = counts.filter(pl.col("len") >= least)
    kept = pairs if least == 1 else of_users(pairs, enough["user"].to_numpy())
    return Tally(
        len(rows),
        len(rows) - len(pairs),
        *dated(rows),
        untimed=rows_of(untimed),
        unknown=rows_of(unknown),
        users=enough["user"].to_numpy(),
        interactions=enough["len"].to_numpy().astype(np.int64),
        left_out=len(counts) - len(enough),
        items=count_items(kept),
    )


def log_of(part: Path, users: Numbers) -> pl.DataFrame:
    """The log of those of some users who are in a part."""
    return one_row_per_pair(of_users(_numbered(_rows(part)), users))


def first_of(rows: Sequence[Rows]) -> Rows:
    """Rows of several parts as those of all."""
    found = [part for part in rows if part.total]
    return Rows(sum(part.total for part in found), min((part.first for part in found), default=-1))


def _rows(part: Path) -> pl.DataFrame:
    """A part's rows, as `Checked.frame` has them."""
    return pl.concat([pl.read_parquet(file, glob=False) for file in sorted(part.iterdir())])


def _numbered(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows with users as numbers, where they are text."""
    if rows.schema["user"] != pl.String:
        return rows
    texts = rows["user"].unique()
    numbers = pl.Series("number", [number_of(text) for text in texts], dtype=pl.Int64)
    joined = rows.join(pl.DataFrame([texts, numbers]), on="user", how="left")
    return joined.with_columns(user="number").drop("number")
