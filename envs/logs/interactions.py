"""A log of interactions from a file of any size: checked, typed and made one row per pair, in bounded memory.

The file is read in streams: once to check every cell, once for each column of ids that are text, and once to take what
is needed, about 30 bytes a row. Ids may be whole numbers or text. The log holds numbers: an id that is a whole number,
written without leading zeros, is that number, and any other id is the number that a hash makes of its text. Splits hash
those numbers, and so depend neither on the order of the rows nor on which other ids there are.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lerl.envs.catalog import WHOLE, number_of
from lerl.envs.logs.scan import ROW, Check, Scan
from lerl.envs.logs.table import refused_type
from lerl.envs.logs.times import DAYS, MEND, SECOND, TIME, UNITS, ZONED, Form, form_of
from lerl.envs.schema import SCHEMA

USER, ITEM, TEXT = "\x00user", "\x00item", "\x00text"
USER_TEXT, ITEM_TEXT = "\x00user text", "\x00item text"
"""Columns beside those of the file: no header can hold this character."""

CLICKED, NOT_CLICKED = ("1", "true", "1.0"), ("0", "false", "0.0")
MISSING = ("", "null", "<null>", "(null)", "none", "nan", "nat", "na", "n/a", "#n/a", "<na>", "nil", "undefined", "\\n")
"""What programs write where there is no value, in lower case; `\\N` is MySQL's, PostgreSQL's and IMDb's."""

ROUNDED = r"^-?[0-9]+(?:\.[0-9]+[eE]\+?[0-9]+|[eE]\+[0-9]+)$"
"""A number such as 1.23457E+12, as spreadsheets write long ids: the digits that distinguish them are lost."""

PLAIN = r"^(?:0|-?[1-9][0-9]{0,17})$"
"""A whole number as `lerl.envs.catalog.WHOLE`, of so few digits that it has 64 bits."""

FLOAT_WRITTEN = r"^-?[0-9]+(?:\.0)?$"
EXACT = 2**53
"""Whole numbers up to here stay different when they are written as floats."""

LONGEST_MISSING = max(map(len, MISSING))
LARGE, BYTES_A_ROW = 20_000_000, 200
"""Rows from which on a line says how much memory they need, and bytes that each needs until all is fitted."""

NO_TIMES = ", or take no times with --time ''"
ADD_ITEM = "add the item there or remove the row"
AN_ID = "a whole number with all its digits, or text in one line, but no sign for a missing value such as NULL or nan"


@dataclass(frozen=True)
class Columns:
    """Which column of a file is what.

    Attributes:
        user: who; whole numbers or text.
        item: what; whole numbers or text.
        click: whether it was a click, 0 or 1, true or false; None where ratings decide.
        rating: any number; None where there is none.
        click_from: a rating of so much or more is a click; None where `click` decides.
        time: when, as a number or a date; None where it is not known.
        unit: of a time that is a number, one of `lerl.envs.logs.times.UNITS`; None to infer it from the numbers.
        bounds: the lowest and the highest rating allowed; None for any number.
    """

    user: str
    item: str
    click: str | None = None
    rating: str | None = None
    click_from: float | None = None
    time: str | None = None
    unit: str | None = None
    bounds: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.click is None and (self.rating is None or self.click_from is None):
            raise ValueError("clicks need a column of their own, or a rating and the number that a click begins at")
        if self.unit is not None and self.unit not in UNITS:
            raise ValueError(f"the unit of times must be one of {list(UNITS)}, given {self.unit!r}")

    @property
    def used(self) -> list[str]:
        """Names of the columns that are read."""
        return [name for name in (self.user, self.item, self.click, self.rating, self.time) if name is not None]


@dataclass(frozen=True)
class Read:
    """A log, and what was left out of it.

    Attributes:
        log: see `lerl.envs.schema.SCHEMA`, with `position`, in order of user and item.
        merged: how many rows met an item that the same user met in another row.
        item_ids: texts of item ids that are no whole numbers, by their number.
        time: the form of the file's times, to print; empty where it has none.
        notes: how other columns were read, one line each.
    """

    log: pl.DataFrame
    merged: int
    item_ids: dict[int, str]
    time: str = ""
    notes: tuple[str, ...] = ()


def read_interactions(
    scan: Scan,
    columns: Columns,
    known: NDArray[np.int64] | None = None,
    note: Callable[[str], object] | None = None,
) -> Read:
    """The checked log of a file.

    Of rows with the same user and item one is kept: a click rather than none, and of these the latest. `position`
    counts each user's rows in order of time, from 0, those of the same time in the file's order; it is null where there
    are no times.

    Args:
        scan: the file.
        columns: which of its columns is what.
        known: numbers of the items that may occur; None for any.
        note: called with a line where the file is so large that memory may not do, before it is read.

    Raises:
        DataError: the file cannot be used as it is; the message names file, row, column and mend.
    """
    checked = check_cells(scan, columns)
    if note is not None and checked.rows > LARGE:
        need = checked.rows * BYTES_A_ROW / 1e9
        note(
            f"{scan.path.name} has {checked.rows:,} rows: to keep them all needs about {need:.0f} GB of memory; with "
            f"--users N a sample of users is kept, and memory goes by that"
        )
    log = scan.collect(checked.frame)
    untimed, unknown = unreadable(log, known)
    checked.refuse(rows_of(untimed), rows_of(unknown))
    kept = one_row_per_pair(log)
    time = "" if checked.form is None else checked.form.note(len(log), *dated(log))
    return Read(kept, len(log) - len(kept), checked.item_ids, time, checked.notes)


@dataclass(frozen=True)
class Checked:
    """A file whose cells were checked one by one, and a query for its rows.

    Attributes:
        scan: the file.
        columns: which of its columns is what.
        frame: ROW, user, item, click, rating and time, in nanoseconds, of each row; and where there are times, ZONED
            and DAYS, see `lerl.envs.logs.times.Form.read`. An item is its number; so is a user, or where `text` the
            text of its id.
        rows: how many there are.
        text: whether users are text.
        form: of the file's times; None where it has none.
        item_ids: texts of item ids that are no whole numbers, by their number.
        notes: how ids were read, one line each.
    """

    scan: Scan
    columns: Columns
    frame: pl.LazyFrame
    rows: int
    text: bool
    form: Form | None
    item_ids: dict[int, str]
    notes: tuple[str, ...]

    def refuse(self, untimed: "Rows", unknown: "Rows") -> None:
        """Refuse the first row without a time, or with an item that is not in the list, if there is one."""
        if untimed.total and self.form is not None and self.columns.time is not None:
            mend = f"{self.form.mend}{NO_TIMES}"
            self.scan.refuse_row(untimed.first, untimed.total - 1, self.columns.time, self.form.allowed, mend)
        if unknown.total:
            allowed = "the id of an item in the list of items"
            self.scan.refuse_row(unknown.first, unknown.total - 1, self.columns.item, allowed, ADD_ITEM)


def check_cells(scan: Scan, columns: Columns, *, text_users: bool = False) -> Checked:
    """Check every cell of a file but for what is only seen when its rows are read; see `Checked.refuse`.

    Args:
        scan: the file.
        columns: which of its columns is what.
        text_users: whether users whose ids are text may stay so: their number is then a hash of it, see
            `lerl.envs.catalog.number_of`.

    Raises:
        DataError: as `read_interactions`.
    """
    scan.need(*columns.used)
    form = None if columns.time is None else form_of(scan.path, scan.frame, columns.time, columns.unit, scan.collect)
    users, items = ids_of(scan, columns.user), ids_of(scan, columns.item)
    plain = pl.all_horizontal(users.plain, items.plain).fill_null(False).all()
    rows, plain = scan.collect(scan.frame.select(pl.len(), plain.alias("plain"))).row(0)
    if plain:  # so that slower checks are left out
        users, items = users.as_plain(scan), items.as_plain(scan)
        scan.refuse(_value_checks(scan, columns))
    else:
        scan = replace(scan, frame=scan.frame.with_columns(users.text.alias(USER_TEXT), items.text.alias(ITEM_TEXT)))
        users, items = users.by(USER_TEXT, scan), items.by(ITEM_TEXT, scan)
        checks = [users.check, items.check, *_value_checks(scan, columns)]
        found = scan.refuse(checks, **users.facts("user"), **items.facts("item"))
        users, items = users.settled(scan, found, "user"), items.settled(scan, found, "item")
    frame = scan.frame if form is None else form.read(scan.frame)
    text = text_users and users.some_text
    frame = frame.with_columns(users.text.alias(USER)) if text else _numbered(scan, frame, users, USER)[0]
    frame, item_ids = _numbered(scan, frame, items, ITEM)
    values = _values(scan, columns, form)
    log = frame.select(ROW, pl.col(USER).alias("user"), pl.col(ITEM).alias("item"), *values)
    notes = tuple(f"ids of {ids.column} such as 12.0 are read as 12" for ids in (users, items) if ids.float_written)
    return Checked(scan, columns, log, rows, text, form, item_ids, notes)


class Rows(NamedTuple):
    """Rows of a file: how many, and the first of them; -1 where there is none."""

    total: int = 0
    first: int = -1


def rows_of(frame: pl.DataFrame) -> Rows:
    """Those in the column ROW."""
    return Rows(len(frame), int(frame[ROW].to_numpy().min())) if len(frame) else Rows()


def unreadable(log: pl.DataFrame, known: NDArray[np.int64] | None) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Of rows as `Checked.frame` has them, those without a time where there are times; and those of unknown items."""
    untimed = log.filter(pl.col("time").is_null()) if ZONED in log.columns else log.clear()
    unknown = log.clear() if known is None else log.filter(~pl.col("item").is_in(pl.Series(known).implode()))
    return untimed, unknown


def dated(log: pl.DataFrame) -> tuple[int, int]:
    """How many rows name a zone, and how many give only the day."""
    return (int(log[ZONED].sum()), int(log[DAYS].sum())) if ZONED in log.columns else (0, 0)


@dataclass(frozen=True)
class Ids:
    """A column of ids.

    Attributes:
        column: its name.
        text: an id without surrounding blanks, null where there is none or its digits are lost.
        number: an id that is a whole number, Int64, null for others.
        plain: whether a cell is beyond doubt a whole number that nothing needs to be left out of; null for false.
        some_text: whether some are no whole numbers.
        float_written: whether its whole numbers are written as 12.0, as pandas does where some are missing.
    """

    column: str
    text: pl.Expr
    number: pl.Expr
    plain: pl.Expr
    some_text: bool = False
    float_written: bool = False

    @property
    def check(self) -> Check:
        """An id that is missing, a fraction, or runs over a line's end, as it does where a quotation mark is open."""
        return Check(self.column, self.text.is_null() | self.text.str.contains(r"[\r\n]"), AN_ID, MEND)

    def facts(self, role: str) -> dict[str, pl.Expr]:
        """Aggregates over the whole column that `settled` needs, by name."""
        whole, written = self.text.str.contains(FLOAT_WRITTEN).all(), self.text.str.ends_with(".0").any()
        return {f"{role} texts": self.number.is_null().any(), f"{role} floats": whole & written}

    def as_plain(self, scan: Scan) -> "Ids":
        """These ids where all of them in the file are plain."""
        if not _is_text(scan.schema[self.column]):
            return self
        text = pl.col(self.column).cast(pl.String)
        return replace(self, text=text, number=text.cast(pl.Int64))

    def by(self, name: str, scan: Scan) -> "Ids":
        """These ids where a column of the file holds their texts already, which takes time to make."""
        text = pl.col(name)
        return replace(
            self, text=text, number=_whole_number(text) if _is_text(scan.schema[self.column]) else self.number
        )

    def settled(self, scan: Scan, found: Mapping[str, Any], role: str) -> "Ids":
        """These ids given the whole column: they are numbers where all are whole numbers, with or without `.0`.

        Args:
            scan: the file.
            found: the values of `facts`.
            role: "user" or "item", as given to `facts`.

        Raises:
            DataError: such a number is so large that its last digits are lost.
        """
        if not found[f"{role} floats"]:
            return replace(self, some_text=bool(found[f"{role} texts"]))
        whole = self.text.str.strip_suffix(".0")
        lost = (self.text != whole) & ~whole.cast(pl.Int64, strict=False).is_between(-EXACT, EXACT).fill_null(False)
        text = pl.when(~lost).then(whole).otherwise(None)
        ids = replace(self, text=text, number=_whole_number(text), float_written=True)
        return replace(ids, some_text=scan.refuse([ids.check], **ids.facts(role))[f"{role} texts"])


def ids_of(scan: Scan, column: str) -> Ids:
    """The ids of a column, each cell by itself; `Ids.settled` then looks at the whole column.

    Raises:
        DataError: the column's type cannot be an id.
    """
    given = scan.schema[column]
    if given.is_integer():
        number = pl.col(column).cast(pl.Int64, strict=False)
        return Ids(column, pl.col(column).cast(pl.String), number, number.is_not_null())
    if given.is_float():
        most = EXACT if given == pl.Float64 else 2**24
        exact = (pl.col(column).floor() == pl.col(column)) & (pl.col(column).abs() <= most)
        number = pl.when(exact).then(pl.col(column).cast(pl.Int64, strict=False)).otherwise(None)
        return Ids(column, number.cast(pl.String), number, number.is_not_null())
    if not _is_text(given):
        raise refused_type(scan.path, column, given, "text and whole numbers")
    text = pl.col(column).cast(pl.String).str.strip_chars()
    missing = text.str.len_bytes() <= LONGEST_MISSING
    bad = (missing & text.str.to_lowercase().is_in(MISSING)) | text.str.contains(ROUNDED)
    text = pl.when(~bad).then(text).otherwise(None)
    return Ids(column, text, _whole_number(text), pl.col(column).cast(pl.String).str.contains(PLAIN))


def _is_text(given: pl.DataType) -> bool:
    return given == pl.String or given == pl.Categorical or given == pl.Enum


def _whole_number(text: pl.Expr) -> pl.Expr:
    return pl.when(text.str.contains(WHOLE)).then(text).otherwise(None).cast(pl.Int64, strict=False)


def whole_of(scan: Scan, column: str) -> pl.Expr:
    """Whole numbers, Int64, null where a cell is none.

    Raises:
        DataError: the column's type can hold none.
    """
    return ids_of(scan, column).number


def _numbered(scan: Scan, frame: pl.LazyFrame, ids: Ids, name: str) -> tuple[pl.LazyFrame, dict[int, str]]:
    """The frame with the ids of a column as numbers, and the texts of those ids that are none."""
    if not ids.some_text:
        return frame.with_columns(ids.number.alias(name)), {}
    texts = scan.collect(scan.frame.filter(ids.number.is_null()).select(text=ids.text).unique())["text"].to_list()
    hashed = {number_of(text): text for text in texts}
    table = pl.LazyFrame({TEXT: hashed.values(), name: hashed.keys()}, schema={TEXT: pl.String, name: pl.Int64})
    joined = frame.with_columns(ids.text.alias(TEXT)).join(table, on=TEXT, how="left").drop(TEXT)
    return joined.with_columns(pl.coalesce(ids.number, name).alias(name)), hashed


def _value_checks(scan: Scan, columns: Columns) -> list[Check]:
    checks = []
    if columns.click is not None:
        checks.append(Check(columns.click, flag_of(scan, columns.click).is_null(), "0 or 1, true or false", MEND))
    if columns.rating is not None:
        checks.append(_rating_check(scan, columns.rating, columns.bounds))
    return checks


def _rating_check(scan: Scan, column: str, bounds: tuple[float, float] | None) -> Check:
    rating = float_of(scan, column)
    if bounds is None:
        return Check(column, ~rating.is_finite(), "a number", MEND)
    return Check(column, ~rating.is_between(*bounds), f"a number from {bounds[0]:g} to {bounds[1]:g}", MEND)


def _values(scan: Scan, columns: Columns, form: Form | None) -> list[pl.Expr]:
    """Click, rating and time, in nanoseconds, as a log has them."""
    none = pl.lit(None)
    rating = none if columns.rating is None else float_of(scan, columns.rating)
    click = rating >= columns.click_from if columns.click is None else flag_of(scan, columns.click)
    values = [click.alias("click"), rating.cast(pl.Float32).alias("rating")]
    if form is None:
        return [*values, none.cast(pl.Int64).alias("time")]
    return [*values, pl.col(TIME).alias("time"), pl.col(ZONED), pl.col(DAYS)]


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
    """A column of 0 and 1, or true and false, as Booleans, null where a cell is neither.

    Raises:
        DataError: the column's type cannot hold them.
    """
    given = scan.schema[column]
    if given == pl.Boolean:
        return pl.col(column)
    if not (given == pl.String or given.is_numeric()):
        raise refused_type(scan.path, column, given, "0 and 1, true and false")
    text = pl.col(column).cast(pl.String).str.strip_chars().str.to_lowercase()
    return pl.when(text.is_in(CLICKED)).then(True).when(text.is_in(NOT_CLICKED)).then(False).otherwise(None)


def one_row_per_pair(log: pl.DataFrame) -> pl.DataFrame:
    """From rows with times in nanoseconds a log with whole seconds and places, in order of user and item."""
    log = log.sort("user", "item", "click", "time", "rating", ROW)
    user, item = log["user"], log["item"]
    last = ((user != user.shift(-1)) | (item != item.shift(-1))).fill_null(True)
    kept = log.filter(last).sort("user", "time", ROW)
    place = pl.when(pl.col("time").is_not_null()).then(pl.int_range(pl.len(), dtype=pl.Int32).over("user"))
    kept = kept.with_columns(position=place, time=pl.col("time") // SECOND).sort("user", "item")
    return kept.select(*SCHEMA, "position")
