"""Files that may be larger than memory: CSV with a header, or Parquet, read and checked in streams."""

import codecs
import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from lerl.envs.files import full_disk
from lerl.envs.logs.table import Table, refusal, refuse_empty, refuse_missing
from lerl.envs.schema import DataError

ROW = "\x00row"
"""The column of record numbers, from 0; no header can hold this character, since controls are refused."""

BLOCK = 1 << 22
CONTROL_BYTES = bytes(code for code in range(32) if code not in b"\t\n\r")
TABBED = (".tsv", ".tab", ".inter", ".item", ".user")
"""Endings of files whose cells are separated by tabs; the last three are those of RecBole's atomic files."""

ARCHIVES = {b"PK\x03\x04": "a ZIP archive", b"\x1f\x8b": "a gzip archive", b"\x28\xb5\x2f\xfd": "a zstd archive"}
FAILURES = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError)


class Check(NamedTuple):
    """Rows that `Scan.refuse` refuses.

    Attributes:
        column: that the error names.
        bad: whether a row is refused; null counts as true.
        allowed: what a cell must be.
        mend: what to do.
    """

    column: str
    bad: pl.Expr
    allowed: str
    mend: str


@dataclass(frozen=True)
class Scan:
    """An open file, read only when a query is run.

    Attributes:
        path: of the file.
        frame: its columns by the names in the file, and ROW; blank lines are left out.
        schema: types by column, all text in a CSV file.
        delimiter: between a CSV file's cells; None for Parquet.
    """

    path: Path
    frame: pl.LazyFrame
    schema: dict[str, pl.DataType]
    delimiter: str | None

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        return list(self.schema)

    def need(self, *columns: str) -> None:
        """Refuse a file that lacks a column."""
        single = self.delimiter is not None and len(self.columns) == 1
        mend = "if cells are separated by something else than a comma, give it with --delimiter" if single else ""
        refuse_missing(self.path, columns, self.columns, mend)

    def collect(self, frame: pl.LazyFrame) -> pl.DataFrame:
        """Run a query over the scan in a stream.

        Raises:
            DataError: the file is damaged; the message names the first damaged row where it can be found.
        """
        try:
            return frame.collect(engine="streaming")
        except FAILURES as error:
            raise self._damaged(error) from error

    def write(self, frame: pl.LazyFrame, path: Path) -> None:
        """Write the rows of a query over the scan to a Parquet file, in a stream and in any order.

        Raises:
            DataError: the file is damaged.
            PolarsError, OSError: the disk is full.
        """
        try:
            frame.sink_parquet(path, compression="lz4", statistics=False, maintain_order=False)
        except FAILURES as error:
            if full_disk(error) is not None:
                raise
            raise self._damaged(error) from error

    def refuse(self, checks: Sequence[Check], **also: pl.Expr) -> dict[str, Any]:
        """Raise a DataError for the first check that a row fails, and for its first such row, in one pass.

        Returns:
            The values of further aggregates, by name.
        """
        bad = [f"\x00bad {n}" for n in range(len(checks))]
        frame = self.frame.with_columns(
            **{name: check.bad.fill_null(True) for name, check in zip(bad, checks, strict=True)}
        )
        counts = [pl.col(each).sum().alias(f"count {n}") for n, each in enumerate(bad)]
        firsts = [pl.col(ROW).filter(pl.col(each)).min().alias(f"first {n}") for n, each in enumerate(bad)]
        found = self.collect(frame.select(pl.len().alias("rows"), *counts, *firsts, **also)).row(0, named=True)
        if not found["rows"]:
            raise DataError(f"{self.path} is empty; it needs at least one row: fetch or write the file again")
        for n, check in enumerate(checks):
            if found[f"count {n}"]:
                more = found[f"count {n}"] - 1
                self.refuse_row(found[f"first {n}"], more, check.column, check.allowed, check.mend)
        return {name: found[name] for name in also}

    def refuse_row(self, record: int, more: int, column: str, allowed: str, mend: str) -> None:
        """Raise the DataError for a value that cannot be used."""
        given = self.collect(self.frame.filter(pl.col(ROW) == record).select(column)).item()
        raise refusal(self.path, self.line(record), column, given, allowed, mend, more)

    def table(self, **columns: str) -> Table:
        """Some columns as a table that is read whole, by names of its own: `movie_id="movieId"`."""
        self.need(*columns.values())
        frame = self.collect(self.frame.select(pl.col(ROW).alias("row"), **{k: pl.col(v) for k, v in columns.items()}))
        refuse_empty(self.path, frame)
        return Table(self.path, frame, columns, self.line)

    def line(self, record: int) -> int:
        """The line of a record in a text file, or the row in a Parquet file, from 1."""
        if self.delimiter is None:
            return record + 1
        try:
            lines = (line for number, (line, _) in enumerate(self._records()) if number == record + 1)
            return next(lines, record + 2)
        except csv.Error:
            return record + 2

    def _records(self) -> Iterator[tuple[int, list[str]]]:
        """First line and cells of each record from the header on, as Python's own reader sees them."""
        with self.path.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
            reader = csv.reader(stream, delimiter=self.delimiter or ",")
            begun, header = 1, False
            for cells in reader:
                header = header or bool(cells)
                if header:
                    yield begun, cells
                begun = reader.line_num + 1

    def _damaged(self, error: BaseException) -> DataError:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        if self.delimiter is None:
            return DataError(f"{self.path} cannot be read as Parquet ({first}); fetch or write the file again")
        return self._damaged_row() or DataError(
            f"{self.path} cannot be read as CSV ({first}); quotation marks must open and close whole cells, and those "
            f"inside a quoted cell be doubled: write the file again"
        )

    def _damaged_row(self) -> DataError | None:
        """The first row with more cells than the header, or with a stray quotation mark."""
        try:
            for line, cells in self._records():
                if len(cells) > len(self.columns):
                    return DataError(
                        f"{self.path}, row {line}: given {len(cells)} cells, allowed are {len(self.columns)} as in the "
                        f"header; correct or remove the row"
                    )
        except csv.Error as error:
            return DataError(f"{self.path} cannot be read as CSV ({error}); write the file again")
        return _stray_quote(self.path)


def scan(path: Path, delimiter: str | None = None) -> Scan:
    """Open a CSV file with a header, or a Parquet file; its first bytes say which.

    Args:
        path: of the file.
        delimiter: between the cells of a CSV file, one character, or "tab"; None for a tab where the name ends in one
            of TABBED, and a comma elsewhere.

    Raises:
        DataError: there is no such file, it is empty, or it is neither UTF-8 text nor Parquet.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path} {'is no file' if path.exists() else 'is not there'}; give a CSV or Parquet file")
    start = _start(path)
    if start == b"PAR1":
        return _scan_parquet(path)
    for magic, kind in ARCHIVES.items():
        if start.startswith(magic):
            raise DataError(f"{path} is {kind}; unpack it, and give the CSV or Parquet file inside")
    if start[:1] in (b"{", b"["):
        raise DataError(f"{path} is JSON; write its fields as columns of CSV or Parquet, and give that")
    usual = "\t" if path.suffix.lower() in TABBED else ","
    delimiter = "\t" if delimiter in ("\\t", "tab") else delimiter or usual
    if len(delimiter.encode()) != 1 or delimiter in '"\n\r':
        raise DataError(f"the delimiter between cells must be one ASCII character but no quote, given {delimiter!r}")
    _check_text(path)
    return _scan_csv(path, delimiter)


def _start(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(4)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); mend that, or give another file") from error


def _scan_parquet(path: Path) -> Scan:
    try:
        frame = pl.scan_parquet(path, row_index_name=ROW, glob=False)
        schema = dict(frame.collect_schema())
    except FAILURES as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{path} cannot be read as Parquet ({first}); fetch or write the file again") from error
    del schema[ROW]
    return Scan(path, frame, schema, None)


def _scan_csv(path: Path, delimiter: str) -> Scan:
    try:
        frame = pl.scan_csv(path, separator=delimiter, infer_schema=False, row_index_name=ROW, glob=False)
        schema = dict(frame.collect_schema())
    except pl.exceptions.NoDataError as error:
        raise DataError(f"{path} is empty; it needs a header and at least one row: write the file again") from error
    except FAILURES as error:
        raise _stray_quote(path) or DataError(f"{path} cannot be read as CSV ({error}); write it again") from error
    del schema[ROW]
    _check_header(path, list(schema), delimiter)
    blank = pl.all_horizontal(pl.col(name).is_null() for name in list(schema)[1:]) if len(schema) > 1 else pl.lit(True)
    nothing = pl.col(next(iter(schema))).fill_null("").str.strip_chars() == ""
    return Scan(path, frame.filter(~(blank & nothing)), schema, delimiter)


def _check_header(path: Path, columns: list[str], delimiter: str) -> None:
    """Refuse a name that occurs twice, which Polars renames, and a header that another delimiter would split."""
    with path.open(encoding="utf-8-sig", newline="") as stream:
        try:
            given = next((cells for cells in csv.reader(stream, delimiter=delimiter) if cells), [])
        except csv.Error as error:
            raise DataError(f"{path}: the header cannot be read ({error}); write the file again") from error
    twice = sorted({name for name in given if name and given.count(name) > 1})
    if twice:
        raise DataError(f"{path}, row 1: column {twice[0]!r} occurs {given.count(twice[0])} times; rename one of them")


def _check_text(path: Path) -> None:
    """Refuse what is no UTF-8 text, naming the row: Polars would only say that there is something."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    lines, returns, quotes = 1, 0, 0
    with path.open("rb") as stream:
        while block := stream.read(BLOCK):
            try:
                decoder.decode(block)
            except UnicodeDecodeError as error:
                row = lines + error.object[: error.start].count(b"\n")
                found = error.object[error.start : error.start + 1]
                raise _no_text(path, row, f"the byte {found!r}") from error
            control = re.search(b"[" + re.escape(CONTROL_BYTES) + b"]", block)
            if control:
                row = lines + block.count(b"\n", 0, control.start())
                raise _no_text(path, row, f"the character {control.group().decode()!r}")
            lines, returns, quotes = (
                lines + block.count(b"\n"),
                returns + block.count(b"\r"),
                quotes + block.count(b'"'),
            )
    if decoder.getstate()[0]:
        raise _no_text(path, lines, "an unfinished character at the end")
    if lines == 1 and returns:
        raise DataError(f"{path} ends its lines with only \\r, allowed is \\n or \\r\\n; save it with such line ends")
    if quotes % 2:
        raise _stray_quote(path) or DataError(f"{path} has an odd number of quotation marks; close the open one")


def _no_text(path: Path, row: int, found: str) -> DataError:
    return DataError(
        f"{path}, row {row}: given {found}, allowed is text in UTF-8; save the file as UTF-8 (in a spreadsheet: "
        f"'CSV UTF-8'), or give Parquet"
    )


def _stray_quote(path: Path) -> DataError | None:
    """An error that names the first line with an odd number of quotation marks, if there is one."""
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            if line.count(b'"') % 2:
                return DataError(
                    f"{path}, row {number}: a quotation mark is open; quote whole cells, and double the marks inside "
                    f"a quoted cell"
                )
    return None
