"""Times: what a column is taken for, by the whole column, and what is refused instead of guessed."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from lerl.envs.logs.custom import Choices, read_own_logs
from lerl.envs.logs.dataset import DataSet
from lerl.envs.schema import DataError

T = 1_700_000_000
NANOSECOND = 10**9


def seconds(*when: int) -> int:
    return int(datetime(*when, tzinfo=UTC).timestamp())  # type: ignore[misc]


def log_of(folder: Path, cells: list[Any] | pl.Series, **choices: Any) -> DataSet:
    """A user who met items 0, 1, ... at these times, from a CSV file, or from Parquet where a series gives them."""
    if isinstance(cells, pl.Series):
        columns = {"user": [1] * len(cells), "item": range(len(cells)), "click": [1] * len(cells), "time": cells}
        pl.DataFrame(columns).write_parquet(folder / "log")
        return read_own_logs(folder / "log", None, Choices(**choices))
    rows = "".join(f'1,{item},1,"{cell}"\n' for item, cell in enumerate(cells))
    (folder / "log.csv").write_text(f"user,item,click,time\n{rows}")
    return read_own_logs(folder / "log.csv", None, Choices(**choices))


def note_of(data: DataSet) -> str:
    return data.notes[0].partition("times are time: ")[2]


READ: dict[str, tuple[list[Any], str, list[int]]] = {
    "seconds": ([T + 1, T], "seconds since 1970", [T + 1, T]),
    "milliseconds": ([T * 1000 + 900, T * 1000 + 100], "milliseconds since 1970", [T, T]),
    "microseconds": ([T * 10**6 + 1, T * 10**6], "microseconds since 1970", [T, T]),
    "nanoseconds": ([T * 10**9 + 1, T * 10**9], "nanoseconds since 1970", [T, T]),
    "fractions": ([f"{T}.9", f"{T}.1"], "seconds since 1970", [T, T]),
    "eight digits": (
        ["20240131", "20240130.0"],
        "dates of eight digits, year, month, day, 2 only to the day, within which the order is the file's",
        [seconds(2024, 1, 31), seconds(2024, 1, 30)],
    ),
    "the day first": (
        ["13/02/2024", "05/01/2024"],
        "dates, the day first, 2 only to the day, within which the order is the file's",
        [seconds(2024, 2, 13), seconds(2024, 1, 5)],
    ),
    "the month first, as MIND writes it": (
        ["11/15/2019 12:05:58 PM", "11/11/2019 12:05:58 AM"],
        "dates, the month first, in UTC, since they name no zone",
        [seconds(2019, 11, 15, 12, 5, 58), seconds(2019, 11, 11, 0, 5, 58)],
    ),
    "as Amazon writes it": (
        ["09 13, 2009", "08 1, 2009"],
        "dates, the month first, 2 only to the day, within which the order is the file's",
        [seconds(2009, 9, 13), seconds(2009, 8, 1)],
    ),
    "with a month's name": (
        ["1-Jun-2024 08:00", "31 May 2024 18:30"],
        "dates, day, name of the month, year, in UTC, since they name no zone",
        [seconds(2024, 6, 1, 8), seconds(2024, 5, 31, 18, 30)],
    ),
    "UTC": (
        ["2024-05-31 18:30:00.5 UTC", "2024-05-31T18:30:00Z"],
        "dates, the year first, in the zones they name",
        [seconds(2024, 5, 31, 18, 30)] * 2,
    ),
    "one zone and another": (  # 18:30 in Berlin is 16:30 in UTC, and 13:00 in Newfoundland, too
        ["2024-05-31T18:30:03+02:00", "2024-05-31 16:30:02+00", "2024-05-31 13:00:01-0330"],
        "dates, the year first, in the zones they name",
        [seconds(2024, 5, 31, 16, 30, 3), seconds(2024, 5, 31, 16, 30, 2), seconds(2024, 5, 31, 16, 30, 1)],
    ),
    "some without a zone": (
        ["2024-05-31 16:30:01", "2024-05-31T18:30:00+02:00"],
        "dates, the year first, in the zones they name, 1 that name none in UTC",
        [seconds(2024, 5, 31, 16, 30, 1), seconds(2024, 5, 31, 16, 30)],
    ),
}


@pytest.mark.parametrize(("cells", "note", "times"), READ.values(), ids=READ.keys())
def test_what_a_column_holds_is_read_and_noted(tmp_path: Path, cells: list[Any], note: str, times: list[int]):
    """The latest comes first in each of these files."""
    data = log_of(tmp_path, cells)
    assert note_of(data) == note
    assert data.log["time"].to_list() == times
    assert data.log["position"].to_list() == list(range(len(cells)))[::-1]


DAYS = pl.Series([date(2024, 1, 2), date(2024, 1, 1)])


@pytest.mark.parametrize(
    ("times", "whole"),
    [
        (pl.Series([T * 1000 + 9, T * 1000 + 1]).cast(pl.Datetime("ms")), T),
        (pl.Series([T * 10**6 + 9, T * 10**6 + 1]).cast(pl.Datetime("us")), T),
        (pl.Series([T * 10**9 + 9, T * 10**9 + 1]).cast(pl.Datetime("ns")), T),
        (pl.Series([T * 10**6 + 9, T * 10**6]).cast(pl.Datetime("us")).dt.replace_time_zone("Asia/Tokyo"), T - 32_400),
        (pl.Series([T * 10**9 + 9, T * 10**9 + 1], dtype=pl.UInt64), T),
        (pl.Series([T + 0.9, T + 0.1]), T),
    ],
)
def test_parquet_keeps_what_lies_within_a_second(tmp_path: Path, times: pl.Series, whole: int):
    data = log_of(tmp_path, times)
    assert data.log["time"].to_list() == [whole, whole]
    assert data.log["position"].to_list() == [1, 0]


def test_parquet_holds_days(tmp_path: Path):
    data = log_of(tmp_path, DAYS)
    assert data.log["time"].to_list() == [seconds(2024, 1, 2), seconds(2024, 1, 1)]
    assert note_of(data) == "dates, 2 only to the day, within which the order is the file's"


def test_rows_of_one_time_keep_the_file_s_order(tmp_path: Path):
    """More rows than are read at once, over few seconds, with items in an order that says nothing of the file's."""
    rows = 60_000
    items = [(7_919 * row) % rows for row in range(rows)]
    frame = pl.DataFrame({"user": [1] * rows, "item": items, "click": [1] * rows, "time": [T] * rows})
    frame.write_csv(tmp_path / "log.csv")
    frame.write_parquet(tmp_path / "log", row_group_size=1_000)
    for name in ("log.csv", "log"):
        assert read_own_logs(tmp_path / name).log.sort("position")["item"].to_list() == items


def test_numbers_from_another_start_must_be_given(tmp_path: Path):
    data = log_of(tmp_path, [5, 3, 9], time_unit="s")
    assert (note_of(data), data.log["time"].to_list()) == ("seconds from a start of their own", [5, 3, 9])


REFUSED: dict[str, tuple[list[Any], str]] = {
    "a spreadsheet's days": (["45292", "45293.5"], "given numbers from 45292 to 45293.5, which are times from 1995 to"),
    "years": (["2023", "2024"], r"a spreadsheet's days and years too\), give --time-unit s if they count"),
    "fourteen digits": (["20240131183000"], "given numbers from 20240131183000 to 20240131183000"),
    "zero among them": ([T, 0, T], "row 3, column time: given '0', allowed is a number of seconds since 1970, from"),
    "long before": ([T, -62135625943], "row 3, column time: given '-62135625943'"),
    "two units": ([T, T * 1000, T], f"row 3, column time: given '{T * 1000}'"),
    "digits lost": (["1.7E+09"], r"given '1.7E\+09', allowed is a date .* or a number of seconds since 1970 with all"),
    "two digits of a year": (["31/05/24", "01/06/24"], r"row 2, .* its year of four digits.*\(1 more such rows\)"),
    "two digits first": (["24-05-31"], "row 2, column time: given '24-05-31'"),
    "day or month": (["05/01/2024", "06/01/2024"], "dates such as '05/01/2024', and no row shows whether the day or"),
    "day and month": (["31/05/2024", "05/31/2024", "30/05/2024"], "row 3, column time: given '05/31/2024'"),
    "a zone's name": (["2024-05-31 18:30:00 EST"], "row 2, column time: given '2024-05-31 18:30:00 EST'"),
    "no such day": (["2024-02-28", "2024-02-30"], "row 3, column time: given '2024-02-30'"),
    "no such hour": (["2024-02-28 23:00", "2024-02-28 25:00"], "row 3, column time: given '2024-02-28 25:00'"),
    "a year that no log has": (["2024-02-28", "1970-01-01", "9999-12-31"], r"row 3, .*'1970-01-01'.*\(1 more such"),
    "the end of 32 bits": ([T, 2**31 - 1], "row 3, column time: given '2147483647'"),
    "none": (["2024-02-28", "NULL"], "row 3, column time: given 'NULL'"),
    "only a clock": (["18:30:00"], "row 2, column time: given '18:30:00'"),
}


@pytest.mark.parametrize(("cells", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_known_is_refused(tmp_path: Path, cells: list[Any], message: str):
    with pytest.raises(DataError, match=message):
        log_of(tmp_path, cells)


@pytest.mark.parametrize(
    ("times", "message"),
    [
        (pl.Series([T, T]).cast(pl.Datetime("ns")), "row 1, column time: given datetime.datetime.1970"),
        (pl.Series([datetime(2024, 1, 1), datetime(9999, 1, 1)]), "row 2, .* allowed is a date from 1995 to 2037"),
        (pl.Series([T, None]), "row 2, column time: given nothing"),
        (pl.Series([float(T), float("nan")]), "row 2, column time: given nan"),
        (pl.Series([T, T], dtype=pl.Float32), "given Float32, allowed are numbers and dates; convert the column"),
        (pl.Series([T, T]).cast(pl.Duration("us")), "given Duration"),
    ],
)
def test_parquet_times_that_cannot_be_are_refused(tmp_path: Path, times: pl.Series, message: str):
    with pytest.raises(DataError, match=message):
        log_of(tmp_path, times)


def test_a_timestamp_goes_before_a_date(tmp_path: Path):
    (tmp_path / "log.csv").write_text(f"user,item,click,date,time_ms\n1,2,1,2024-01-01,{T}000\n")
    data = read_own_logs(tmp_path / "log.csv")
    assert "times are time_ms: milliseconds since 1970" in data.notes[0]
    assert data.log["time"].to_list() == [T]
