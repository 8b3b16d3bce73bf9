"""A log of interactions from a file of any size: checked, typed and made one row per pair, in bounded memory.

The file is read in streams: once to check every cell, once for each column of ids that are text, and once to take what
is needed, about 30 bytes a row. Ids may be whole numbers or text. The log holds numbers: an id that is a whole number,
written without leading zeros, is that number, and any other id is the number that a hash makes of its text. Splits hash
those numbers, and so depend neither on the order of the rows nor on which other ids there are.
"""

import re
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lerl.envs.logs import SCHEMA
from lerl.envs.scans import ROW, Check, Scan
from lerl.envs.tables import refused_type

WHOLE = r"^(?:0|-?[1-9][0-9]{0,18})$"
USER, ITEM, TEXT = "\x00user", "\x00item", "\x00text"
"""Columns beside those of the file: no header can hold this character."""

CLICKED, NOT_CLICKED = ("1", "true", "1.0"), ("0", "false", "0.0")
FARTHEST = 100_000_000_000
"""Seconds from 1970 to the year 5138, and milliseconds from 1970 to 1973: what lies beyond is in a smaller unit."""

UNITS = {"s": 1, "ms": 1_000, "us": 1_000_000}
UNIT_NAMES = {"s": "seconds", "ms": "milliseconds", "us": "microseconds"}
DATES = ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%d")
MEND = "correct or remove the row"


@dataclass(frozen=True)
class Columns:
    """Which column of a file is what.

    Attributes:
        user: who; whole numbers or text.
        item: what; whole numbers or text.
        click: whether it was a click, 0 or 1, true or false; None where ratings tell.
        rating: any number; None where there is none.
        click_from: a rating of so much or more is a click; None where `click` tells.
        time: when, as a number or a date; None where it is not known.
        unit: of a time that is a number: "s", "ms" or "us" since 1970.
        bounds: the lowest and the highest rating allowed; None for any number.
    """

    user: str
    item: str
    click: str | None = None
    rating: str | None = None
    click_from: float | None = None
    time: str | None = None
    unit: str = "s"
    bounds: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.click is None and (self.rating is None or self.click_from is None):
            raise ValueError("clicks need a column of their own, or a rating and the number that a click begins at")
        if self.unit not in UNITS:
            raise ValueError(f"the unit of times must be one of {list(UNITS)}, given {self.unit!r}")

    @property
    def used(self) -> list[str]:
        """Names of the columns that are read."""
        return [name for name in (self.user, self.item, self.click, self.rating, self.time) if name is not None]


@dataclass(frozen=True)
class Read:
    """A log, and what was left out of it.

    Attributes:
        log: see `lerl.envs.logs.SCHEMA`, in order of user and item.
        merged: how many rows met an item that the same user met in another row.
        item_ids: texts of item ids that are no whole numbers, by their number.
    """

    log: pl.DataFrame
    merged: int
    item_ids: dict[int, str]


def read_interactions(scan: Scan, columns: Columns, known: NDArray[np.int64] | None = None) -> Read:
    """The checked log of a file.

    Of rows with the same user and item one is kept: a click before what is none, and of those the latest.

    Args:
        scan: the file.
        columns: which of its columns is what.
        known: numbers of the items that may occur; None for any.

    Raises:
        DataError: the file cannot be used as it is; the message names file, row, column and mend.
    """
    scan.need(*columns.used)
    dates = columns.time is not None and _holds_dates(scan, columns.time)
    ids = {"user": columns.user, "item": columns.item}
    texts = {role: whole_of(scan, column).is_null().any() for role, column in ids.items()}
    are_texts = scan.refuse(_checks(scan, columns, dates), **texts)
    frame, _ = _numbered(scan, scan.frame, columns.user, USER, are_texts["user"])
    frame, item_ids = _numbered(scan, frame, columns.item, ITEM, are_texts["item"])
    log = scan.collect(
        frame.select(ROW, pl.col(USER).alias("user"), pl.col(ITEM).alias("item"), *_values(scan, columns, dates))
    )
    if known is not None:
        _refuse_unknown(scan, log, columns.item, known)
    return _one_row_per_pair(log, item_ids)


def number_of(identifier: str) -> int:
    """The number that stands for an id in a log: the id itself where it is a whole number, else a hash of its text."""
    if re.fullmatch(WHOLE, identifier) and -(2**63) <= int(identifier) < 2**63:
        return int(identifier)
    return int.from_bytes(blake2b(identifier.encode(), digest_size=8).digest(), "little", signed=True)


def id_text(scan: Scan, column: str) -> pl.Expr:
    """A column of ids as text without surrounding blanks, null where there is none.

    Raises:
        DataError: the column's type cannot be an id.
    """
    given = scan.schema[column]
    if given.is_integer():
        return pl.col(column).cast(pl.String)
    if given.is_float():
        whole = pl.when(pl.col(column).floor() == pl.col(column)).then(pl.col(column).cast(pl.Int64, strict=False))
        return whole.otherwise(None).cast(pl.String)
    if given == pl.String or given == pl.Categorical or given == pl.Enum:
        text = pl.col(column).cast(pl.String).str.strip_chars()
        return pl.when(text != "").then(text).otherwise(None)
    raise refused_type(scan.path, column, given, "text and whole numbers")


def id_check(scan: Scan, column: str) -> Check:
    """An id that is missing, is a fraction, or runs over a line's end, as it does where a quotation mark is open."""
    text = id_text(scan, column)
    return Check(column, text.is_null() | text.str.contains(r"[\r\n]"), "a whole number or text in one line", MEND)


def whole_of(scan: Scan, column: str) -> pl.Expr:
    """Ids that are whole numbers, Int64, null for others."""
    if scan.schema[column].is_integer():
        return pl.col(column).cast(pl.Int64, strict=False)
    text = id_text(scan, column)
    return pl.when(text.str.contains(WHOLE)).then(text).otherwise(None).cast(pl.Int64, strict=False)


def _numbered(
    scan: Scan, frame: pl.LazyFrame, column: str, name: str, some_text: bool
) -> tuple[pl.LazyFrame, dict[int, str]]:
    """The frame with the ids of a column as numbers, and the texts of those ids that are none."""
    number, text = whole_of(scan, column), id_text(scan, column)
    if not some_text:
        return frame.with_columns(number.alias(name)), {}
    texts = scan.collect(scan.frame.filter(number.is_null()).select(text=text).unique())["text"].to_list()
    hashed = {number_of(text): text for text in texts}
    table = pl.LazyFrame({TEXT: hashed.values(), name: hashed.keys()}, schema={TEXT: pl.String, name: pl.Int64})
    joined = frame.with_columns(text.alias(TEXT)).join(table, on=TEXT, how="left").drop(TEXT)
    return joined.with_columns(pl.coalesce(number, name).alias(name)), hashed


def _checks(scan: Scan, columns: Columns, dates: bool) -> list[Check]:
    checks = [id_check(scan, columns.user), id_check(scan, columns.item)]
    if columns.click is not None:
        checks.append(Check(columns.click, flag_of(scan, columns.click).is_null(), "0 or 1, true or false", MEND))
    if columns.rating is not None:
        checks.append(_rating_check(scan, columns.rating, columns.bounds))
    if columns.time is not None:
        checks.append(_time_check(scan, columns.time, columns.unit, dates))
    return checks


def _rating_check(scan: Scan, column: str, bounds: tuple[float, float] | None) -> Check:
    rating = float_of(scan, column)
    if bounds is None:
        return Check(column, ~rating.is_finite(), "a number", MEND)
    return Check(column, ~rating.is_between(*bounds), f"a number from {bounds[0]:g} to {bounds[1]:g}", MEND)


def _time_check(scan: Scan, column: str, unit: str, dates: bool) -> Check:
    time = _seconds(scan, column, unit, dates)
    if dates:
        return Check(column, time.is_null(), "a date such as 2024-05-31 or 2024-05-31 18:30:00", MEND)
    mend = f"{MEND}, or say with --time-unit whether it is s, ms or us"
    return Check(column, ~time.is_between(-FARTHEST, FARTHEST), f"a number of {UNIT_NAMES[unit]} since 1970", mend)


def _values(scan: Scan, columns: Columns, dates: bool) -> list[pl.Expr]:
    """Click, rating and time, as a log has them."""
    none = pl.lit(None)
    rating = none if columns.rating is None else float_of(scan, columns.rating)
    click = rating >= columns.click_from if columns.click is None else flag_of(scan, columns.click)
    time = none if columns.time is None else _seconds(scan, columns.time, columns.unit, dates).floor()
    return [click.alias("click"), rating.cast(pl.Float32).alias("rating"), time.cast(pl.Int64).alias("time")]


def float_of(scan: Scan, column: str) -> pl.Expr:
    """A column as numbers, Float64, null where it is none.

    Raises:
        DataError: the column's type is no number.
    """
    given = scan.schema[column]
    if given == pl.String:
        return pl.col(column).str.strip_chars().cast(pl.Float64, strict=False)
    if given.is_numeric():
        return pl.col(column).cast(pl.Float64, strict=False)
    raise refused_type(scan.path, column, given, "numbers")


def flag_of(scan: Scan, column: str) -> pl.Expr:
    given = scan.schema[column]
    if given == pl.Boolean:
        return pl.col(column)
    if not (given == pl.String or given.is_numeric()):
        raise refused_type(scan.path, column, given, "0 and 1, true and false")
    text = pl.col(column).cast(pl.String).str.strip_chars().str.to_lowercase()
    return pl.when(text.is_in(CLICKED)).then(True).when(text.is_in(NOT_CLICKED)).then(False).otherwise(None)


def _seconds(scan: Scan, column: str, unit: str, dates: bool) -> pl.Expr:
    """Seconds since 1970, Float64, null where it is no time."""
    if not dates:
        return float_of(scan, column) / UNITS[unit]
    time = _parsed(pl.col(column)) if scan.schema[column] == pl.String else pl.col(column).cast(pl.Datetime("us"))
    return time.dt.epoch("us") / 1e6


def _parsed(text: pl.Expr) -> pl.Expr:
    """Dates as ISO 8601 writes them, in UTC where they name no other zone."""
    plain = text.str.strip_chars().str.replace("[Tt]", " ").str.replace_all("/", "-").str.replace(r"(?:Z| ?UTC)$", "")
    zoned = plain.str.to_datetime("%Y-%m-%d %H:%M:%S%.f%:z", strict=False, time_unit="us").dt.replace_time_zone(None)
    return pl.coalesce(*(plain.str.to_datetime(form, strict=False, time_unit="us") for form in DATES), zoned)


def _holds_dates(scan: Scan, column: str) -> bool:
    """Whether a column holds dates instead of numbers: by its type, or else by its first cell."""
    given = scan.schema[column]
    if given in (pl.Date, pl.Datetime):
        return True
    if given != pl.String:
        return False
    first = scan.collect(scan.frame.select(date=_parsed(pl.col(column))).head(1))["date"]
    return bool(len(first)) and first[0] is not None


def _refuse_unknown(scan: Scan, log: pl.DataFrame, column: str, known: NDArray[np.int64]) -> None:
    unknown = log.filter(~log["item"].is_in(pl.Series(known).implode()))
    if len(unknown):
        allowed = "the id of an item in the list of items"
        scan.refuse_row(
            int(unknown[ROW].to_numpy().min()),
            len(unknown) - 1,
            column,
            allowed,
            "add the item there or remove the row",
        )


def _one_row_per_pair(log: pl.DataFrame, item_ids: dict[int, str]) -> Read:
    log = log.select(list(SCHEMA)).sort("user", "item", "click", "time", "rating")
    user, item = log["user"], log["item"]
    last = ((user != user.shift(-1)) | (item != item.shift(-1))).fill_null(True)
    kept = log.filter(last)
    return Read(kept, len(log) - len(kept), item_ids)
