"""Logs of views, where a user may meet an item many times and all ids are whole numbers.

A file is read in streams: once to check every cell, once to take what is needed, about 30 bytes a row.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import polars as pl

from lerl.envs.logs.dataset import OTHER
from lerl.envs.logs.interactions import flag_of, float_of, whole_of
from lerl.envs.logs.scan import ROW, Check, Scan
from lerl.envs.logs.table import Table, refuse_twice, whole
from lerl.envs.logs.times import MEND, SECOND, SPAN, TIME, Form, form_of
from lerl.envs.schema import DataError

ORDER = "order"
"""A user's views lie in order of this column, null where it is not known."""


class Flag(NamedTuple):
    """A Boolean from a column: 0 or 1, or whether its number is at least `at_least`."""

    column: str
    at_least: float | None = None

    def expression(self, scan: Scan) -> pl.Expr:
        """The Boolean, null where a cell is neither."""
        if self.at_least is None:
            return flag_of(scan, self.column)
        number = float_of(scan, self.column)
        return pl.when(number.is_finite()).then(number >= self.at_least)

    def check(self, scan: Scan) -> Check:
        """Refuses a cell that is neither."""
        allowed = "0 or 1, true or false" if self.at_least is None else "a number"
        return Check(self.column, self.expression(scan).is_null(), allowed, MEND)


@dataclass(frozen=True)
class Clock:
    """Which column holds times, and in which unit.

    Attributes:
        column: a number since 1970.
        unit: its unit, one of `lerl.envs.logs.times.UNITS`.
        needed: whether every row must have a time; else a cell that holds no time of a log is an unknown one.
    """

    column: str
    unit: str = "s"
    needed: bool = True

    def form(self, scan: Scan) -> Form:
        """The form of the column's times."""
        return form_of(scan.path, scan.frame, self.column, self.unit, scan.collect, unit_given=False)

    def check(self, form: Form) -> Check:
        """Refuses a cell without a time where one is needed, in a frame that `form` read."""
        bad = pl.col(TIME).is_null() if self.needed else pl.lit(False)
        return Check(self.column, bad, form.allowed, MEND)


@dataclass(frozen=True)
class ViewColumns:
    """Which column of a log of views is what.

    Attributes:
        flags: Booleans to take, by the names that they get.
        clock: when; None where `last` gives the order.
        last: how many views of the user came after it; None where `clock` gives the order.
        rating: a number to keep; None where there is none.
    """

    flags: Mapping[str, Flag]
    clock: Clock | None = None
    last: str | None = None
    rating: str | None = None
    user: str = field(default="user_id", kw_only=True)
    item: str = field(default="video_id", kw_only=True)

    @property
    def used(self) -> list[str]:
        """Names of the columns that are read."""
        given = [self.user, self.item, *(flag.column for flag in self.flags.values()), self.last, self.rating]
        return [name for name in (*given, self.clock.column if self.clock else None) if name is not None]


def read_views(scan: Scan, columns: ViewColumns) -> pl.DataFrame:
    """A file's views: user and item (Int64), the flags, rating, time (whole seconds) and ORDER, in the file's order.

    Raises:
        DataError: the file cannot be used as it is; the message names file, row, column and mend.
    """
    scan.need(*columns.used)
    user, item = whole_of(scan, columns.user), whole_of(scan, columns.item)
    flags = {name: flag.expression(scan) for name, flag in columns.flags.items()}
    checks = [
        Check(name, whole_of(scan, name).is_null(), "a whole number", MEND) for name in (columns.user, columns.item)
    ]
    checks += [flag.check(scan) for flag in columns.flags.values()]
    time = order = rating = pl.lit(None)
    if columns.clock is not None:
        form = columns.clock.form(scan)
        checks.append(columns.clock.check(form))
        scan = replace(scan, frame=form.read(scan.frame))
        order = pl.col(TIME)
        time = order // SECOND
    if columns.last is not None:
        order = -whole_of(scan, columns.last)
        checks.append(Check(columns.last, order.is_null(), "a whole number", MEND))
    if columns.rating is not None:
        rating = float_of(scan, columns.rating)
    scan.refuse(checks)
    views = {"rating": rating.cast(pl.Float32), "time": time.cast(pl.Int64), ORDER: order.cast(pl.Int64)}
    return scan.collect(scan.frame.select(ROW, user=user, item=item, **flags, **views)).sort(ROW).drop(ROW)


def first_views(parts: Sequence[pl.DataFrame]) -> tuple[pl.DataFrame, int]:
    """One row per user and item, the first view, and how many others there were.

    The parts follow one another in time: a user's views in one come before those in the next. Within a part ORDER
    decides, and the order of the rows where ORDER is the same or unknown.

    Returns:
        The views without ORDER, with `position`, Int32, a user's views counted from 0, null where ORDER is unknown; in
        order of user and item.
    """
    numbered = [part.with_columns(part=pl.lit(number, pl.Int8)) for number, part in enumerate(parts)]
    views = pl.concat(numbered).sort("user", "part", ORDER, nulls_last=True, maintain_order=True)
    kept = views.unique(["user", "item"], keep="first", maintain_order=True)
    place = pl.when(pl.col(ORDER).is_not_null()).then(pl.int_range(pl.len(), dtype=pl.Int32).over("user"))
    log = kept.with_columns(position=place).drop("part", ORDER).sort("user", "item")
    return log, len(views) - len(kept)


def merged_note(merged: int) -> list[str]:
    """A line that says how many views were left out, if any."""
    return [f"{merged:,} rows repeat a user and a video: kept was the first view of each"] if merged else []


def untimed_note(log: pl.DataFrame) -> list[str]:
    """A line that says how many views have no time, if any."""
    unknown = log["time"].null_count()
    note = f"{unknown:,} views have no time {SPAN}: they come after their user's others, in an order that is not known"
    return [note] if unknown else []


def listed_categories(table: Table, lists: pl.Expr) -> pl.DataFrame:
    """Columns item and categories from a table of video_id and lists of texts.

    Raises:
        DataError: an id is no whole number, or occurs twice.
    """
    item = whole(table, "video_id")
    refuse_twice(table, pl.DataFrame({"video_id": item}), "video_id", "an id that no other row has")
    return table.frame.select(item=item, categories=lists)


def items_of(log: pl.DataFrame, listed: pl.DataFrame) -> tuple[pl.DataFrame, int, int]:
    """Columns item, id and whatever `listed` has, for the items of a log.

    Returns:
        The items in order; how many listed ones no user met; how many met ones are not listed.
    """
    met = log.select("item").unique().sort("item")
    items = met.join(listed, on="item", how="left", maintain_order="left").with_columns(
        id=pl.col("item").cast(pl.String)
    )
    known = met.join(listed, on="item", how="semi").height
    return items, listed.height - known, met.height - known


def unlisted_note(unlisted: int, file: str) -> list[str]:
    """A line that says how many items lack features, if any."""
    return [f"{unlisted:,} videos are not in {file}: their category is {OTHER!r}"] if unlisted else []


def inner_folder(folder: Path, holds: Callable[[Path], bool]) -> Path | None:
    """The folder for which `holds` is true: this one, else the only one among folders up to two levels inside.

    Raises:
        DataError: several of those inside hold it.
    """
    if holds(folder):
        return folder
    found = [place for place in sorted((*folder.glob("*"), *folder.glob("*/*"))) if place.is_dir() and holds(place)]
    if len(found) > 1:
        raise DataError(f"{folder} holds several data sets, {' and '.join(map(str, found))}; give one of these folders")
    return found[0] if found else None
