"""Tables that were read whole, and checks whose errors name file, row, column and what to do."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from lerl.envs.schema import DataError

CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
WIDEST = 80
"""Characters of a value that an error shows, at most."""


@dataclass(frozen=True)
class Table:
    """A file as read: one column per field, and the column `row`, counted from 1 as an editor counts lines.

    Attributes:
        path: of the file.
        frame: its rows.
        names: what the file calls a column, where that is not the frame's name.
        line: from the number in `row` to the line in the file; the same number unless cells hold line breaks.
    """

    path: Path
    frame: pl.DataFrame
    names: Mapping[str, str] = field(default_factory=dict)
    line: Callable[[int], int] = int

    def refuse(self, bad: pl.Series, column: str, allowed: str, mend: str) -> None:
        """Raise a DataError for the first row for which `bad` is true, if there is one."""
        if bad.any():
            row, given = self.frame.filter(bad).select("row", column).row(0)
            name = self.names.get(column, column)
            raise refusal(self.path, self.line(row), name, given, allowed, mend, more=int(bad.sum()) - 1)


def refusal(path: Path, row: int, column: str, given: object, allowed: str, mend: str, more: int) -> DataError:
    """The error for a value that cannot be used; `more` is how many further rows have such a value."""
    others = f" ({more:,} more such rows)" if more else ""
    shown = "nothing" if given is None else repr(given)
    shown = shown if len(shown) <= WIDEST else f"{shown[:WIDEST]}…"
    return DataError(f"{path}, row {row}, column {column}: given {shown}, allowed is {allowed}; {mend}{others}")


def separated(path: Path, separator: str, columns: tuple[str, ...]) -> Table:
    """A text file of separated fields without a header or quotes, UTF-8 or else Latin-1; blank lines are skipped.

    Raises:
        DataError: the file is empty, no text, or a row has another number of fields.
    """
    lines = pl.DataFrame({"line": _decoded(path).split("\n")}).with_row_index("row", offset=1)
    lines = lines.with_columns(pl.col("line").str.strip_suffix("\r")).filter(pl.col("line").str.strip_chars() != "")
    refuse_empty(path, lines)
    split = lines.select("row", "line", fields=pl.col("line").str.split(separator))
    wrong = split.filter(pl.col("fields").list.len() != len(columns))
    if len(wrong):
        row, line, found = wrong.row(0)
        raise DataError(
            f"{path}, row {row}: given {len(found)} fields ({line[:WIDEST]!r}), allowed are {len(columns)}, separated "
            f"by {separator!r}: {', '.join(columns)}; correct or remove the row ({len(wrong)} such rows)"
        )
    return Table(path, split.select("row", *(pl.col("fields").list.get(i).alias(c) for i, c in enumerate(columns))))


def parquet(path: Path, columns: tuple[str, ...]) -> Table:
    """Some columns of a Parquet file.

    Raises:
        DataError: the file is empty or broken, or a column is missing.
    """
    try:
        frame = pl.read_parquet(path, glob=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{path} cannot be read as Parquet ({error}); fetch or write the file again") from error
    refuse_missing(path, columns, frame.columns)
    refuse_empty(path, frame)
    return Table(path, frame.select(columns).with_row_index("row", offset=1))


def refuse_missing(path: Path, wanted: tuple[str, ...], given: list[str], mend: str = "") -> None:
    """Refuse a file without one of the wanted columns."""
    for column in wanted:
        if column not in given:
            raise DataError(f"{path}: column {column} is missing, given {given}; {mend or 'rename or add the column'}")


def refuse_empty(path: Path, frame: pl.DataFrame) -> None:
    """Refuse a file without a row."""
    if frame.is_empty():
        raise DataError(f"{path} is empty; it needs at least one row: fetch or write the file again")


def refuse_twice(table: Table, keys: pl.DataFrame, column: str, allowed: str) -> None:
    """Refuse a row whose key, a row of `keys`, an earlier row has already."""
    repeats = ~keys.select(first=pl.struct(pl.all()).is_first_distinct())["first"]
    if not repeats.any():
        return
    key = keys.filter(repeats).row(0, named=True)
    same = pl.all_horizontal(*(keys[name] == value for name, value in key.items()))
    first = table.line(table.frame.filter(keys.select(same=same)["same"])["row"][0])
    which = ", ".join(f"{table.names.get(name, name)} {value}" for name, value in key.items())
    table.refuse(repeats, column, allowed, f"row {first} has {which} already: remove one of them")


def whole(table: Table, column: str) -> pl.Series:
    """A column of whole numbers, Int64."""
    number = cast(table, column, pl.Int64)
    bad = number.is_null()
    if table.frame[column].dtype.is_float():
        bad |= (table.frame[column] != number).fill_null(True)
    table.refuse(bad, column, "a whole number", "correct or remove the row")
    return number


def within(table: Table, column: str, low: float, high: float) -> pl.Series:
    """A column of numbers from `low` to `high`, Float32."""
    number = cast(table, column, pl.Float32)
    bad = ~number.is_between(low, high).fill_null(False)
    table.refuse(bad, column, f"a number from {low:g} to {high:g}", "correct or remove the row")
    return number


def cast(table: Table, column: str, dtype: type[pl.DataType]) -> pl.Series:
    """A column as numbers, null where it is none."""
    given = table.frame[column]
    if not (given.dtype.is_numeric() or given.dtype == pl.String):
        raise refused_type(table.path, table.names.get(column, column), given.dtype, "numbers")
    return given.cast(dtype, strict=False)


def strings(table: Table, column: str) -> pl.Series:
    """A column of text, nulls included."""
    given = table.frame[column]
    if given.dtype not in (pl.String, pl.Categorical, pl.Enum, pl.Null):
        raise refused_type(table.path, table.names.get(column, column), given.dtype, "text")
    return given.cast(pl.String)


def refused_type(path: Path, column: str, given: pl.DataType, allowed: str) -> DataError:
    """The error for a column of a type that cannot be used."""
    verb = "are" if allowed.endswith("s") else "is"
    return DataError(f"{path}, column {column}: given {given}, allowed {verb} {allowed}; convert the column")


def _decoded(path: Path) -> str:
    """A text file's content, as UTF-8 or else Latin-1.

    Latin-1 has a character for every byte, so that bytes of another encoding or of no text at all show as controls.
    """
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    control = CONTROLS.search(text)
    if control:
        row = text.count("\n", 0, control.start()) + 1
        raise DataError(
            f"{path}, row {row}: given the character {control.group()!r}, allowed is text in UTF-8 or Latin-1; unpack "
            f"the file if it is an archive, else save it as UTF-8"
        )
    return text
