"""Times of a log: which form a column of times has, decided by the whole column.

Times lie from 1995, the first web shops, to 2037, where seconds of 32 bits end; others are refused, or count as
unknown. The range also identifies the unit of numbers: no number lies in it in two units.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from lerl.envs.logs.table import refused_type
from lerl.envs.schema import DataError

FIRST_YEAR, LAST_YEAR = 1995, 2037
EARLIEST = int(datetime(FIRST_YEAR, 1, 1, tzinfo=UTC).timestamp())
LATEST = int(datetime(LAST_YEAR + 1, 1, 1, tzinfo=UTC).timestamp())
"""Seconds since 1970 from which on, and before which, a time is one that a log may have."""

UNITS = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
UNIT_NAMES = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
SECOND = 1_000_000_000
"""Nanoseconds of a second: times are Int64 nanoseconds until they are written, so that none are reordered."""

SHEET_START = datetime(1899, 12, 30, tzinfo=UTC)
"""Day 0 of spreadsheets."""

SAMPLE = 1_000
"""The first rows, by which forms that read none of them are ruled out."""

CLOCK = (
    r"(?:(?:\s*[T,]\s*|\s+)(?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2})(?:[.,](?P<part>[0-9]{1,9}))?)?"
    r"(?:\s*(?P<noon>[AP]M))?"
    r"(?:\s*(?P<zone>Z|UTC|GMT|(?P<sign>[+-])(?P<zone_hour>[0-9]{2})(?::?(?P<zone_minute>[0-9]{2}))?(?: UTC)?))?)?"
)
YEAR, MONTH, DAY = "(?P<year>[0-9]{4})", "(?P<month>[0-9]{1,2})", "(?P<day>[0-9]{1,2})"
MONTH_NAME, WEEKDAY = r"(?P<month>[a-z]{3,9})\.?", "(?:[a-z]{3,9},? +)?"
MONTHS = {
    "jan": "1", "feb": "2", "mar": "3", "apr": "4", "may": "5", "jun": "6",
    "jul": "7", "aug": "8", "sep": "9", "oct": "10", "nov": "11", "dec": "12",
}  # fmt: skip
FARTHEST_ZONE = 14 * 3600
DATES = {
    "dates, the year first": f"{YEAR}[-/.]{MONTH}[-/.]{DAY}",
    "dates, the day first": f"{DAY}[-/. ]{MONTH}(?:[-/. ]|, ){YEAR}",
    "dates, the month first": f"{MONTH}[-/. ]{DAY}(?:[-/. ]|, ){YEAR}",
    "dates, day, name of the month, year": f"{WEEKDAY}{DAY}[-/. ]{MONTH_NAME}[-/., ]+{YEAR}",
    "dates, name of the month, day, year": f"{WEEKDAY}{MONTH_NAME}[-/. ]{DAY}[-/., ]+{YEAR}",
}
DAY_FIRST, MONTH_FIRST = "dates, the day first", "dates, the month first"
SPAN = f"from {FIRST_YEAR} to {LAST_YEAR}"
A_DATE = f"a date such as 2024-05-31 or 2024-05-31 18:30:00, {SPAN}, its year of four digits"
MEND = "correct or remove the row"
WRITE_DATES = "write dates such as 2024-05-31 (a spreadsheet's days and years too)"

TIME, ZONED, DAYS = "\x00time", "\x00zoned", "\x00days"
"""Columns that a form adds; no header can hold this character."""

PARTS = "\x00parts"
Collect = Callable[[pl.LazyFrame], pl.DataFrame]


@dataclass(frozen=True)
class Form:
    """One form in which cells hold times.

    Attributes:
        name: what it is, to print.
        nanoseconds: since 1970, Int64, null where a cell is no time of this form.
        allowed: what a cell must be.
        mend: what to do where it is not.
        zoned: whether a cell names its zone; None where no cell can.
        days: whether a cell gives only the day; None where none does.
        parts: a struct, called PARTS, that these expressions use; None where they use none.
    """

    name: str
    nanoseconds: pl.Expr
    allowed: str
    mend: str = MEND
    zoned: pl.Expr | None = None
    days: pl.Expr | None = None
    parts: pl.Expr | None = None

    def read(self, frame: pl.LazyFrame) -> pl.LazyFrame:
        """The frame with the columns TIME, in nanoseconds, and ZONED and DAYS, Booleans, null where there are none."""
        if self.parts is not None:
            frame = frame.with_columns(self.parts.alias(PARTS))
        nothing = pl.lit(None, pl.Boolean)
        read = frame.with_columns(
            self.nanoseconds.alias(TIME),
            (nothing if self.zoned is None else self.zoned).alias(ZONED),
            (nothing if self.days is None else self.days).alias(DAYS),
        )
        return read if self.parts is None else read.drop(PARTS)

    def note(self, rows: int, zoned: int, days: int) -> str:
        """What form times have, and what it leaves open, to print.

        Args:
            rows: how many `read` made. zoned, days: how many of them name a zone, and give only the day.
        """
        zone = "" if self.zoned is None or days == rows else ", in UTC, since they name no zone"
        if zoned:
            bare = rows - zoned
            zone = ", in the zones they name" + (f", {bare:,} that name none in UTC" if bare else "")
        order = f", {days:,} only to the day, within which the order is the file's" if days else ""
        return f"{self.name}{zone}{order}"


class UnitError(DataError):
    """Numbers that are times in no unit since 1970.

    Attributes:
        given: what was given, without what to do, which other readers of times than `lerl data import` say otherwise.
    """

    def __init__(self, given: str) -> None:
        self.given = given
        own = "give --time-unit s if they count seconds from another start, or --time '' to take no times"
        super().__init__(f"{given}; {WRITE_DATES}, {own}")


def form_of(
    path: Path, frame: pl.LazyFrame, column: str, unit: str | None, collect: Collect, unit_given: bool = True
) -> Form:
    """The form that reads most cells of a column, the first of several that read as many.

    Args:
        path: of the file, for errors.
        frame: its rows.
        column: of numbers, dates, or text that holds either.
        unit: one of UNITS for numbers in it since 1970, or since another start where they are too small for that; None
            to infer it from the numbers.
        collect: runs a query.
        unit_given: whether the unit was given for this column; else it is the usual one of such columns, and numbers
            that look like seconds, days or years are refused instead of read as times from another start.

    Raises:
        DataError: the column's type is no time, no form reads any cell, or day and month cannot be distinguished.
        UnitError: its numbers are times in no unit.
    """
    forms = _forms(path, column, frame.collect_schema()[column], unit)
    sample = collect(frame.select(column).head(SAMPLE)).lazy()
    counts = [_reads(sample, form, pl.LazyFrame.collect) for form in forms]
    likely = [form for form, count in zip(forms, counts, strict=True) if count] or forms
    if len(likely) > 1:
        counts = [_reads(frame, form, collect) for form in likely]
        likely = [form for form, count in zip(likely, counts, strict=True) if count == max(counts)]
    if {DAY_FIRST, MONTH_FIRST} <= {form.name for form in likely}:
        _refuse_either(path, frame, column, likely, collect)
    if not (max(counts) or unit_given):
        _refuse_others(path, frame, column, unit, collect)
    return likely[0] if max(counts) else _smaller(path, frame, column, unit, likely[0], collect)


def _reads(frame: pl.LazyFrame, form: Form, collect: Collect) -> int:
    """How many cells a form reads."""
    return int(collect(form.read(frame).select(pl.col(TIME).count())).item())


def _forms(path: Path, column: str, dtype: pl.DataType, unit: str | None) -> list[Form]:
    if dtype == pl.Date or dtype == pl.Datetime:
        return [_typed(column, dtype)]
    if dtype == pl.String:
        return [*_number_forms(column, dtype, unit), *(_date_form(column, name) for name in DATES)]
    if dtype.is_numeric() and dtype != pl.Float32:  # which knows times since 1970 to two minutes
        return _number_forms(column, dtype, unit)
    raise refused_type(path, column, dtype, "numbers and dates")


def _typed(column: str, dtype: pl.DataType) -> Form:
    """Dates and times of a Parquet file; their years are checked first, since nanoseconds end in 2262."""
    time = pl.col(column)
    inside = time.dt.year().is_between(FIRST_YEAR, LAST_YEAR)
    nanoseconds = pl.when(inside).then(time.cast(pl.Datetime("us")) if dtype == pl.Date else time).dt.epoch("ns")
    days = pl.col(column).is_not_null() if dtype == pl.Date else None
    kind = "dates" if dtype == pl.Date else "dates and times"
    return Form(kind, nanoseconds, f"a date {SPAN}", days=days)


def _numbers(column: str, dtype: pl.DataType) -> pl.Expr:
    """A column's numbers, Float64, null where a cell is none; an exponent's digits may be lost, so that it is none."""
    if dtype != pl.String:
        return pl.col(column).cast(pl.Float64, strict=False)
    text = pl.col(column).str.strip_chars()
    return pl.when(~text.str.contains("[eE]")).then(text).otherwise(None).cast(pl.Float64, strict=False)


def _number_forms(column: str, dtype: pl.DataType, unit: str | None) -> list[Form]:
    if unit is not None:
        return [_unit_form(column, dtype, unit)]
    return [*(_unit_form(column, dtype, name) for name in UNITS), _eight_digits(_numbers(column, dtype))]


def _unit_form(column: str, dtype: pl.DataType, unit: str, first: int = EARLIEST) -> Form:
    """Numbers in a unit; whole ones stay so, since beyond 2**53 a Float64 has no room for their digits."""
    low, high, scale = first * UNITS[unit], LATEST * UNITS[unit], SECOND // UNITS[unit]
    number = _numbers(column, dtype)
    inside = number.is_between(low, high, closed="left")
    nanoseconds = (pl.when(inside).then(number).otherwise(None) * scale).round().cast(pl.Int64, strict=False)
    if not dtype.is_float():
        whole = (pl.col(column).str.strip_chars() if dtype == pl.String else pl.col(column)).cast(
            pl.Int64, strict=False
        )
        nanoseconds = pl.coalesce(pl.when(whole.is_between(low, high - 1)).then(whole) * scale, nanoseconds)
    mend = f"{MEND}, or say with --time-unit whether it is {', '.join(list(UNITS)[:-1])} or {list(UNITS)[-1]}"
    allowed = f"a number of {UNIT_NAMES[unit]} since 1970, {SPAN}"
    return Form(f"{UNIT_NAMES[unit]} since 1970", nanoseconds, allowed, mend)


def _eight_digits(number: pl.Expr) -> Form:
    """Whole numbers such as 20240531."""
    inside = number.is_between(FIRST_YEAR * 10_000, (LAST_YEAR + 1) * 10_000) & (number.floor() == number)
    text = pl.when(inside).then(number).cast(pl.Int64).cast(pl.String)
    nanoseconds = text.str.to_date("%Y%m%d", strict=False).cast(pl.Datetime("us")).dt.epoch("ns")
    allowed = f"a date of eight digits such as 20240531, {SPAN}"
    return Form("dates of eight digits, year, month, day", nanoseconds, allowed, days=nanoseconds.is_not_null())


def _date_form(column: str, name: str) -> Form:
    found = pl.col(column).str.strip_chars().str.extract_groups(f"(?i)^{DATES[name]}{CLOCK}$")
    return Form(
        name,
        _nanoseconds(named=MONTH_NAME in DATES[name]),
        A_DATE,
        zoned=_part("zone").is_not_null(),
        days=_part("year").is_not_null() & _part("hour").is_null(),
        parts=found,
    )


def _part(name: str) -> pl.Expr:
    return pl.col(PARTS).struct.field(name)


def _whole(name: str) -> pl.Expr:
    """A part as a whole number, 0 where it is left out."""
    return _part(name).cast(pl.Int32, strict=False).fill_null(0)


def _nanoseconds(named: bool) -> pl.Expr:
    """Int64 nanoseconds since 1970 from the parts of a date and a clock, null where there is no such time."""
    month = _part("month")
    if named:
        month = month.str.to_lowercase().str.slice(0, 3).replace_strict(MONTHS, default=None, return_dtype=pl.String)
    date = pl.concat_str(_part("year"), month, _part("day"), separator="-")
    days = date.str.to_date("%Y-%m-%d", strict=False)
    days = pl.when(days.dt.year().is_between(FIRST_YEAR, LAST_YEAR)).then(days).otherwise(None)
    noon, hour = _part("noon").str.to_uppercase(), _whole("hour")
    right = pl.when(noon.is_null()).then(hour < 24).otherwise(hour.is_between(1, 12))
    hour = pl.when(noon.is_null()).then(hour).otherwise(hour % 12 + pl.when(noon == "PM").then(12).otherwise(0))
    away = _whole("zone_hour") * 3600 + _whole("zone_minute") * 60
    right &= (_whole("minute") < 60) & (_whole("second") < 61) & (away <= FARTHEST_ZONE)
    clock = hour * 3600 + _whole("minute") * 60 + _whole("second")
    clock = clock - pl.when(_part("sign") == "-").then(-away).otherwise(away)
    fraction = _part("part").str.pad_end(9, "0").cast(pl.Int64).fill_null(0)
    seconds = days.cast(pl.Int32).cast(pl.Int64) * 86_400 + clock
    return pl.when(right).then(seconds * SECOND + fraction)


def _refuse_either(path: Path, frame: pl.LazyFrame, column: str, forms: Sequence[Form], collect: Collect) -> None:
    """Refuse a column whose every date has another meaning with the month first, for which no row decides."""
    one, other = (next(form for form in forms if form.name == name) for name in (DAY_FIRST, MONTH_FIRST))
    both = other.read(one.read(frame.select(column)).select(column, first=TIME)).filter(pl.col("first") != pl.col(TIME))
    differing = collect(both.select(column).head(1))
    if len(differing):
        raise DataError(
            f"{path}, column {column}: given dates such as {differing.item()!r}, and no row shows whether the day or "
            f"the month comes first; write dates as 2024-05-31"
        )


def _refuse_others(path: Path, frame: pl.LazyFrame, column: str, unit: str | None, collect: Collect) -> None:
    """Refuse numbers each of which is a time in a coarser unit, a date, a year, or a spreadsheet's day."""
    dtype = frame.collect_schema()[column]
    if not (dtype == pl.String or dtype.is_numeric()):
        return
    number = _numbers(column, dtype)
    low, high, count = collect(frame.select(low=number.min(), high=number.max(), count=number.count())).row(0)
    first, last = (datetime(year, 1, 1, tzinfo=UTC) - SHEET_START for year in (FIRST_YEAR, LAST_YEAR + 1))
    spans = {"years": (FIRST_YEAR, LAST_YEAR + 1), "a spreadsheet's days": (first.days, last.days)}
    found = [name for name, (start, end) in spans.items() if count and start <= low <= high < end]
    coarser = [_unit_form(column, dtype, name) for name in UNITS if UNITS[name] < UNITS[unit or "s"]]
    others = (*coarser, _eight_digits(number))
    found += [form.name for form in others if count and _reads(frame, form, collect) == count]
    if found:
        raise DataError(
            f"{path}, column {column}: given numbers from {_shown(low)} to {_shown(high)}, which look like {found[0]}; "
            f"write {UNIT_NAMES[unit or 's']} since 1970, or dates such as 2024-05-31"
        )


def _shown(number: float) -> str:
    return f"{number:.6f}".rstrip("0").rstrip(".")


def _smaller(path: Path, frame: pl.LazyFrame, column: str, unit: str | None, unread: Form, collect: Collect) -> Form:
    """The form of numbers from a start of their own, whose unit must be given; `unread` where there are none."""
    dtype = frame.collect_schema()[column]
    if not (dtype == pl.String or dtype.is_numeric()):
        return unread
    number = _numbers(column, dtype)
    number = number.filter(number.is_finite())
    low, high, count = collect(frame.select(number.min().alias("a"), number.max().alias("b"), number.len())).row(0)
    if not count:
        neither = f"{A_DATE}, or a number of seconds since 1970 with all its digits"
        is_text = dtype == pl.String and unit is None
        dates = _date_form(column, next(iter(DATES)))
        return replace(dates, allowed=neither, mend="write times so") if is_text else unread
    if unit is not None:
        allowed = f"a number of {UNIT_NAMES[unit]} since 1970 or another start, from 0 to {LAST_YEAR}"
        own = _unit_form(column, dtype, unit, first=0)
        return replace(own, name=f"{UNIT_NAMES[unit]} from a start of their own", allowed=allowed)
    raise UnitError(
        f"{path}, column {column}: given numbers from {_shown(low)} to {_shown(high)}, which are times {SPAN} in no "
        f"unit since 1970 ({', '.join(UNITS)})"
    )
