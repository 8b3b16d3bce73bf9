"""Logs of one's own: what is taken from which column, what is refused, and that nothing is half-written."""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lerl.envs import population
from lerl.envs.catalog import number_of
from lerl.envs.logs.custom import Choices, read_own_logs
from lerl.envs.logs.dataset import DataSet
from lerl.envs.prepare import import_logs
from lerl.envs.schema import DataError
from lerl.envs.store import load_population

ROOT = Path(__file__).parents[3]
T = 1_500_000_000
LOG = f"user_id,item_id,rating,timestamp\n7,1,5,{T + 100}\n7,2,3,{T + 90}\n8,2,4,{T + 95}\n"
ITEMS = "item_id,title,categories\n1,Toy Story,Animation|Comedy\n2,Heat,\n3,Unseen,War\n"


def written(folder: Path, log: str | bytes = LOG, items: str | bytes | None = ITEMS) -> tuple[Path, Path | None]:
    """Both files in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {"log.csv": log, "items.csv": items}
    for name, content in files.items():
        if content is not None:
            (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return folder / "log.csv", None if items is None else folder / "items.csv"


def rows(folder: Path, log: str, **choices: Any) -> list[tuple[Any, ...]]:
    return read_own_logs(*written(folder, log, None), Choices(**choices)).log.rows()


# what is taken


def test_numbers_of_rows_are_no_items(tmp_path: Path):
    with pytest.raises(DataError, match=r"no column looks like the items', given .*; name it with --item"):
        rows(tmp_path, "id,user_id,sku,click\n1,7,5,1\n2,7,6,0\n")
    assert rows(tmp_path, "id,user_id,sku,click\n1,7,5,1\n", item="id") == [(7, 1, True, None, None, None)]


def test_columns_go_by_common_names_and_a_note_says_which(tmp_path: Path):
    data = read_own_logs(*written(tmp_path))
    assert data.log.rows() == [
        (7, 1, True, 5.0, T + 100, 1), (7, 2, False, 3.0, T + 90, 0), (8, 2, True, 4.0, T + 95, 0),
    ]  # fmt: skip
    assert data.catalog.item_ids == ("1", "2")
    assert data.catalog.titles == ("Toy Story", "Heat")
    assert data.catalog.categories.names == ("Animation", "Comedy", "other")
    assert data.catalog.categories.membership.tolist() == [[True, True, False], [False, False, True]]
    assert (data.name, data.dropped_items, data.merged) == ("log", 1, 0)
    assert data.notes == (
        "log.csv: users are user_id, items are item_id, a click is a rating of 4 or more, times are timestamp: "
        "seconds since 1970",
        "items.csv: ids are item_id, titles are title, categories are categories, separated by '|'",
        "1 items have no category: they are 'other'",
    )


@pytest.mark.parametrize(
    "header", ["userId,movieId,Rating,ts", "USER,Item,stars,time", "customer_id,product id,score,date"]
)
def test_other_names_are_known_too(tmp_path: Path, header: str):
    assert rows(tmp_path, LOG.replace("user_id,item_id,rating,timestamp", header))[0] == (7, 1, True, 5.0, T + 100, 1)


def test_flags_go_before_names(tmp_path: Path):
    log = "user_id,item_id,a,b,rating,c\n0,0,7,1,5,9\n"
    assert rows(tmp_path, log, user="a", item="b", rating="c", click_from=9.5) == [(7, 1, False, 9.0, None, None)]


@pytest.mark.parametrize(
    ("cells", "clicks"),
    [(("1", "0"), [True, False]), (("True", "FALSE"), [True, False]), (("0.0", "1.0"), [False, True])],
)
def test_a_column_may_say_what_a_click_is(tmp_path: Path, cells: tuple[str, str], clicks: list[bool]):
    found = rows(tmp_path, "user,item,like\n" + "".join(f"1,{n},{c}\n" for n, c in enumerate(cells)), click="like")
    assert [row[2] for row in found] == clicks
    assert {row[3] for row in found} == {None}


def test_ids_may_be_text_and_do_not_depend_on_each_other(tmp_path: Path):
    log = "user,item,click\nanna,a-1,1\n007,a-1,0\n7, b ,1\n"
    data = read_own_logs(*written(tmp_path, log, "item,title\na-1,One\nb,Two\nc,Three\n"))
    assert dict(zip(data.catalog.item_ids, data.catalog.titles, strict=True)) == {"a-1": "One", "b": "Two"}
    assert set(data.log["user"]) == {number_of("anna"), number_of("007"), 7}
    assert sorted(set(data.log["item"])) == data.catalog.numbers.tolist()
    assert rows(tmp_path / "fewer", "user,item,click\nanna,a-1,1\n") == [
        row for row in data.log.rows() if row[0] == number_of("anna")
    ]


@pytest.mark.parametrize(
    ("identifier", "number"),
    [("0", 0), ("-5", -5), ("9223372036854775807", 2**63 - 1)],
)
def test_whole_numbers_are_themselves(identifier: str, number: int):
    assert number_of(identifier) == number


@pytest.mark.parametrize("identifier", ["", "00", "-0", "+5", "5.0", "9223372036854775808", "x", "٣"])
def test_other_ids_are_hashes_within_64_bits(identifier: str):
    assert -(2**63) <= number_of(identifier) < 2**63
    assert number_of(identifier) not in (0, 3, 5)


@pytest.mark.parametrize(
    ("cell", "unit", "seconds"),
    [
        ("100.9", "s", 100),
        ("1649421296123", "ms", 1649421296),
        ("2022-04-08", "s", 1649376000),
        ("2022-04-08 12:34:56", "s", 1649421296),
        ("2022-04-08T12:34:56.789Z", "s", 1649421296),
        ("2022-04-08T14:34:56+02:00", "s", 1649421296),
        ("2022/04/08 12:34", "s", 1649421240),
    ],
)
def test_times_are_numbers_or_dates(tmp_path: Path, cell: str, unit: str, seconds: int):
    assert rows(tmp_path, f"user,item,click,time\n1,2,1,{cell}\n", time_unit=unit)[0][4] == seconds


def test_of_a_repeated_pair_a_click_is_kept_and_then_the_latest(tmp_path: Path):
    log = "user,item,rating,time\n1,2,5,10\n1,2,4,20\n1,2,1,30\n1,3,1,5\n1,3,2,6\n"
    data = read_own_logs(*written(tmp_path, log, None), Choices(time_unit="s"))
    assert data.log.rows() == [(1, 2, True, 4.0, 20, 1), (1, 3, False, 2.0, 6, 0)]
    assert data.merged == 3
    assert "3 rows repeat a user and an item: kept was one each, a click first, then the latest" in data.notes


@pytest.mark.parametrize(
    ("log", "note"),
    [
        ("user,item,click\n1,2,0\n1,2,1\n", "a click first"),
        ("user,item,rating\n1,2,5\n1,2,4\n", "a click first, then the highest rating"),
    ],
)
def test_which_row_of_a_pair_is_kept_without_times_is_noted(tmp_path: Path, log: str, note: str):
    data = read_own_logs(*written(tmp_path, log, None))
    assert f"1 rows repeat a user and an item: kept was one each, {note}" in data.notes


def test_users_who_met_little_are_left_out(tmp_path: Path):
    data = read_own_logs(*written(tmp_path), Choices(min_interactions=2))
    assert data.log["user"].unique().to_list() == [7]
    assert "1 users left out, with fewer than 2 items" in data.notes


def test_without_an_items_file_titles_are_ids(tmp_path: Path):
    data = read_own_logs(*written(tmp_path, "user,item,click\n1,x,1\n1,5,0\n", None))
    assert set(data.catalog.item_ids) == {"x", "5"}
    assert set(data.catalog.titles) == {"item x", "item 5"}
    assert data.catalog.categories.names == ("other",)


def test_parquet_is_read_like_csv(tmp_path: Path):
    log, items = written(tmp_path)
    pl.read_csv(log).with_columns(
        (1_000 * pl.col("timestamp")).cast(pl.Datetime("ms")), pl.col("user_id").cast(pl.Float64)
    ).write_parquet(tmp_path / "log")
    lists = pl.read_csv(items).with_columns(pl.col("categories").str.split("|"), pl.col("title").cast(pl.Categorical))
    lists.write_parquet(tmp_path / "items")
    csv, parquet = read_own_logs(log, items), read_own_logs(tmp_path / "log", tmp_path / "items")
    assert parquet.log.equals(csv.log)
    assert parquet.catalog.titles == csv.catalog.titles
    assert (parquet.catalog.categories.membership == csv.catalog.categories.membership).all()


@pytest.mark.parametrize(
    ("choices", "names"),
    [
        ({}, ("Action", "Sports; Outdoors")),  # "|" comes before ";"
        ({"separator": ";"}, ("Action|Sports", "Outdoors")),
        ({"separator": ""}, ("Action|Sports; Outdoors",)),
        ({"categories": ""}, ("other",)),
    ],
)
def test_categories_are_separated_as_given(tmp_path: Path, choices: dict[str, str], names: tuple[str, ...]):
    items = "id,name,genre\n1,A,Action|Sports; Outdoors\n2,B,\n"
    data = read_own_logs(*written(tmp_path, "user,item,click\n1,1,1\n", items), Choices(**choices))
    expected = {"Action", "Sports; Outdoors"} if not choices else set(names)
    assert set(data.catalog.categories.names) == expected


def test_other_delimiters_line_ends_quotes_and_blank_lines(tmp_path: Path):
    tabs = LOG.replace(",", "\t").replace("\n", "\r\n\r\n")
    assert rows(tmp_path, tabs, delimiter="tab") == rows(tmp_path, LOG)
    assert rows(tmp_path, "\ufeff" + LOG.replace(",", ";"), delimiter=";") == rows(tmp_path, LOG)
    assert rows(tmp_path, '"user","item","click"\n"a, ""b""","1","1"\n') == [
        (number_of('a, "b"'), 1, True, None, None, None)
    ]
    (tmp_path / "log.tsv").write_text(tabs)
    assert len(read_own_logs(tmp_path / "log.tsv").log) == 3


# what is refused


def log_of(
    text: str | bytes, items: str | None = None, **choices: Any
) -> tuple[str | bytes, str | None, dict[str, Any]]:
    return text, items, choices


HEAD = "user,item,rating,time\n"
BAD: dict[str, tuple[Any, list[str]]] = {
    "no user column": (
        log_of("a,item,rating\n1,2,3\n"),
        ["column looks like the users', given ['a', 'item', 'rating']", "--user"],
    ),
    "named column missing": (log_of(LOG, user="who"), ["log.csv: column who is missing, given ['user_id',"]),
    "another delimiter": (log_of(LOG.replace(",", ";")), ["no column looks like the users'", "--delimiter"]),
    "no column of clicks": (
        log_of("user,item\n1,2\n"),
        ["no column says what is a click", "--click", "--rating and --click-from"],
    ),
    "ratings of ten": (
        log_of(HEAD + "1,2,10,1\n1,3,2,1\n"),
        ["column rating: ratings go from 2 to 10", "--click-from"],
    ),
    "empty": (log_of(""), ["log.csv is empty; it needs a header"]),
    "only a header": (log_of(HEAD), ["log.csv is empty; it needs at least one row"]),
    "only blank lines": (log_of("\n\n\n"), ["log.csv is empty"]),
    "no user": (log_of(HEAD + "1,2,4,4\n\n ,2,4,4\n"), ["log.csv, row 4, column user: given ' '", "or text"]),
    "no item": (log_of(HEAD + "1,,4,4\n"), ["row 2, column item: given nothing"]),
    "rating nan": (
        log_of(HEAD + "1,2,4,4\n1,3,NaN,4\n1,4,nan,4\n"),
        ["row 3, column rating: given 'NaN'", "(1 more such rows)"],
    ),
    "rating infinite": (
        log_of(HEAD + "1,2,inf,4\n", click_from=1),
        ["row 2, column rating: given 'inf', allowed is a number"],
    ),
    "rating a word": (log_of(HEAD + '1,2,"4,5",4\n', click_from=1), ["row 2, column rating: given '4,5'"]),
    "click two": (
        log_of("user,item,click\n1,2,2\n"),
        ["row 2, column click: given '2', allowed is 0 or 1, true or false"],
    ),
    "time a word": (
        log_of(HEAD + "1,2,4,4\n1,3,4,noon\n"),
        ["row 3, column time: given 'noon', allowed is a number of seconds since 1970"],
    ),
    "time nan": (log_of(HEAD + "1,2,4,nan\n"), ["row 2, column time: given 'nan'"]),
    "time in milliseconds": (log_of(HEAD + "1,2,4,1649421296000\n"), ["row 2, column time", "--time-unit"]),
    "date among numbers": (log_of(HEAD + f"1,2,4,{T}\n1,3,4,2022-04-08\n"), ["row 3, column time: given '2022-04-08'"]),
    "number among dates": (
        log_of(HEAD + "1,2,4,2022-04-08\n1,3,4,4\n", time_unit=None),
        ["row 3, column time: given '4', allowed is a date"],
    ),
    "short row": (log_of(HEAD + "1,2\n"), ["row 2, column rating: given nothing"]),
    "long row": (log_of(HEAD + "1,2,4,4\n\n1,2,4,4,5\n"), ["log.csv, row 4: given 5 cells, allowed are 4"]),
    "open quote": (log_of(HEAD + '1,2,4,4\n1,"2,3,4\n1,3,4,4\n'), ["log.csv, row 3: a quotation mark is open"]),
    "quoted over lines": (
        log_of(HEAD + '1,2,4,4\n1,"2\n3",4,4\n'),
        ["row 3, column item: given '2\\n3'", "in one line"],
    ),
    "row after a quoted break": (
        log_of('user,item,note,rating\n1,2,"a\nb\nc",4\n1,3,,x\n'),
        ["row 5, column rating: given 'x'"],
    ),
    "column twice": (log_of("user,user,item,click\n1,1,2,1\n"), ["row 1: column 'user' occurs 2 times"]),
    "latin-1": (
        log_of(HEAD.encode() + b"1,2,4,4\nAndr\xe9,2,3,4\n"),
        ["log.csv, row 3: given the byte b'\\xe9'", "UTF-8"],
    ),
    "utf-16": (log_of(LOG.encode("utf-16")), ["log.csv, row 1: given the byte", "save the file as UTF-8"]),
    "null bytes": (log_of(HEAD + "1,\x00,3,4\n"), ["log.csv, row 2: given the character '\\x00'"]),
    "cut in a character": (log_of(LOG.encode() + b"9,\xc3"), ["unfinished character at the end"]),
    "old line ends": (log_of(LOG.replace("\n", "\r")), ["ends its lines with only \\r"]),
    "zip": (log_of(b"PK\x03\x04 and so on"), ["is a ZIP archive; unpack it"]),
    "gzip": (log_of(b"\x1f\x8b\x08 and so on"), ["is a gzip archive; unpack it"]),
    "broken parquet": (log_of(b"PAR1 and so on"), ["log.csv cannot be read as Parquet"]),
    "unknown item": (
        log_of(LOG + f"9,99,3,{T}\n9,x,3,{T}\n", ITEMS),
        ["log.csv, row 5, column item_id: given '99'", "add the item there", "(1 more such rows)"],
    ),
    "item twice": (
        log_of(LOG, ITEMS + "\n2,Again,\n"),
        ["items.csv, row 6, column item_id: given '2'", "row 3 has item_id 2 already"],
    ),
    "item without id": (log_of(LOG, ITEMS + ",Nameless,\n"), ["items.csv, row 5, column item_id: given nothing"]),
    "items empty": (log_of(LOG, ""), ["items.csv is empty"]),
    "no id column": (log_of(LOG, "a,b\n1,2\n"), ["items.csv: no column looks like the items'", "--item-id"]),
    "titles as categories": (
        log_of(LOG, "id,category\n" + "".join(f"{n},c{n}\n" for n in range(1, 502))),
        ["items.csv, column category: given 501 different categories, allowed are 500", "--categories ''"],
    ),
    "nobody left": (log_of(LOG, min_interactions=9), ["no user met 9 items or more"]),
    "delimiter too long": (log_of(LOG, delimiter="::"), ["must be one ASCII character", "'::'"]),
    "only clicks": (
        log_of("user,item,click\n" + "".join(f"{n},{n},1\n" for n in range(40))),
        [
            "all 40 interactions of log are clicks",
            "what people were shown and did not click is missing",
            "--click-from",
        ],
    ),
    "no click": (log_of("user,item,click\n1,2,0\n"), ["none of the 1 interactions of log is a click", "--click"]),
    "log too small": (log_of(LOG), ["too few interactions to calibrate and judge"]),
}


@pytest.mark.parametrize(("made", "parts"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_one_clear_error_and_nothing_is_written(tmp_path: Path, made: tuple[Any, ...], parts: list[str]):
    text, items, choices = made
    files = written(tmp_path / "raw", text, items)
    with pytest.raises(DataError) as caught:
        import_logs(*files, tmp_path / "out", choices=Choices(**{"time_unit": "s"} | choices))
    for part in parts:
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"click": "c", "click_from": 3.0}, "--click or --click-from, not both"),
        ({"click_from": float("nan")}, "--click-from must be a number, given nan"),
        ({"time_unit": "h"}, "--time-unit must be one of s, ms, us, ns, given 'h'"),
        ({"min_interactions": 0}, "--min-interactions must be 1 or more, given 0"),
    ],
)
def test_choices_that_cannot_be_are_refused(choices: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        Choices(**choices)


def test_types_that_cannot_be_are_refused(tmp_path: Path):
    good = {"user": [1, 2], "item": [1, 2], "rating": [1, 5], "time": [T, T]}
    for column, values in {"user": [1.5, 2], "item": [[1], [2]], "rating": [True, False], "time": [None, T]}.items():
        pl.DataFrame(good | {column: values}, strict=False).write_parquet(tmp_path / "log")
        with pytest.raises(DataError, match=rf"log.* column {column}: given "):
            read_own_logs(tmp_path / "log")


def test_missing_files_and_folders_are_named(tmp_path: Path):
    with pytest.raises(DataError, match=r"nowhere.csv is not there; give a CSV or Parquet file"):
        read_own_logs(tmp_path / "nowhere.csv")
    with pytest.raises(DataError, match=r"is no file; give a CSV or Parquet file"):
        read_own_logs(tmp_path)


MISSING = ["NULL", "nan", "NaN", "NaT", r"\N", "None", "N/A", "NA", "<null>", "<NA>", "#N/A", "", " "]


@pytest.mark.parametrize("sign", MISSING)
@pytest.mark.parametrize("column", ["user", "item", "id"])
def test_a_missing_id_is_nobody_and_nothing(tmp_path: Path, column: str, sign: str):
    user, item = sign if column == "user" else "9", sign if column == "item" else "1"
    log = f'user,item,click\n1,1,1\n"{user}","{item}",0\n"{user}","{item}",1\n'
    items = "id,title\n1,A\n" + (f'"{sign}",B\n' if column == "id" else "")
    more = r"" if column == "id" else r".*\(1 more such rows\)"
    with pytest.raises(
        DataError, match=rf"row 3, column {column}: given .* no sign for a missing value such as NULL{more}"
    ):
        read_own_logs(*written(tmp_path, log, items))


@pytest.mark.parametrize("rounded", ["1.23457E+12", "1e+05", "1.5e12"])
def test_ids_whose_digits_are_lost_are_refused(tmp_path: Path, rounded: str):
    with pytest.raises(DataError, match=r"row 2, column user: given .*, allowed is a whole number with all its digits"):
        rows(tmp_path, f"user,item,click\n{rounded},1,1\n5,2,0\n")


@pytest.mark.parametrize("identifier", ["12e5", "1E10", "123e4567-e89b", "1.5", "Nanette", "-"])
def test_ids_that_only_look_like_that_are_kept(tmp_path: Path, identifier: str):
    assert rows(tmp_path, f"user,item,click\n{identifier},1,1\n")[0][0] == number_of(identifier)


@pytest.mark.parametrize("floats", ["log", "items"])
def test_ids_written_as_12_and_as_12_point_0_meet(tmp_path: Path, floats: str):
    log, items = "user,item,click\n1,12,1\n1,13,0\n", "id,title\n12,A\n13,B\n"
    if floats == "log":
        log = log.replace("12", "12.0")  # and 13 as it was
    else:
        items = items.replace("12", "12.0").replace("13", "13.0")
    data = read_own_logs(*written(tmp_path, log, items))
    assert data.log["item"].to_list() == [12, 13]
    assert data.catalog.item_ids == ("12", "13")
    assert f"ids of {'item' if floats == 'log' else 'id'} such as 12.0 are read as 12" in data.notes


def test_versions_are_no_floats(tmp_path: Path):
    found = rows(tmp_path, "user,item,click\n1,1.0,1\n1,1.1,0\n")
    assert {row[1] for row in found} == {number_of("1.0"), number_of("1.1")}


@pytest.mark.parametrize("ids", [["9007199254740993.0", "1.0"], pl.Series([2.0**54, 1.0])])
def test_floats_too_large_to_stay_different_are_refused(tmp_path: Path, ids: list[str] | pl.Series):
    frame = pl.DataFrame({"user": ids, "item": [1, 2], "click": [1, 0]})
    frame.write_parquet(tmp_path / "log")
    with pytest.raises(DataError, match=r"row 1, column user: given .* with all its digits"):
        read_own_logs(tmp_path / "log")


@pytest.mark.parametrize(
    ("name", "log", "message"),
    [
        ("e.csv", "visitorid,event,itemid\n1,view,2\n1,addtocart,3\n", "event says 'addtocart', 'view': make a column"),
        (
            "l.csv",
            "user,item,time\n1,2,1700000000\n",
            "what was shown and not clicked is missing: add it as rows with 0",
        ),
        ("b.tsv", "1\tU1\t11/11/2019 9:05:58 AM\n", "if the first row is data, write a row of names above it"),
        (
            "r.json",
            '{"reviewerID": "A", "asin": "B"}\n',
            "r.json is JSON; write its fields as columns of CSV or Parquet",
        ),
    ],
)
def test_other_people_s_logs_say_what_they_lack(tmp_path: Path, name: str, log: str, message: str):
    (tmp_path / name).write_text(log)
    with pytest.raises(DataError, match=message):
        read_own_logs(tmp_path / name)


# importing


def many(users: int = 80, items: int = 60, each: int = 30) -> tuple[str, str]:
    """Two tastes, two genres: users like the genre that their number is even or odd with, four times in five."""
    draw = np.random.default_rng(0)
    listed = ["id,title,genre", *(f"i{i},Movie {i},{('Drama', 'Comedy')[i % 2]}" for i in range(items))]
    log = ["user,item,click,time"]
    for user in range(users):
        for item in draw.choice(items, size=each, replace=False):
            likes = (draw.random() < 0.8) == ((user + item) % 2 == 0)
            log.append(f"u{user},i{item},{int(likes)},{T + draw.integers(1_000_000)}")
    return "\n".join(log), "\n".join(listed)


def test_an_import_can_be_lived_in(tmp_path: Path):
    noted: list[str] = []
    report = import_logs(*written(tmp_path / "raw", *many()), tmp_path / "out", dim=4, note=noted.append)
    assert (report.users, report.items, report.interactions, report.name) == (80, 60, 2400, "log")
    people = load_population(tmp_path / "out")
    assert set(people.catalog.item_ids) == {f"i{n}" for n in range(60)}
    assert people.catalog.categories.names == ("Comedy", "Drama")
    place = people.catalog.item_ids.index("i1")
    assert people.catalog.titles[place] == "Movie 1"
    assert people.catalog.categories.membership[place].tolist() == [True, False]
    assert report.truth_auc > 0.6
    about = json.loads((tmp_path / "out" / "prepared.json").read_text())
    assert about["settings"]["notes"] == noted
    assert about["settings"]["choices"]["time_unit"] is None


def test_the_order_of_rows_changes_nothing(tmp_path: Path):
    log, items = many()
    head, *lines = log.split("\n")
    import_logs(*written(tmp_path / "raw", log, items), tmp_path / "one", dim=2)
    import_logs(*written(tmp_path / "raw", "\n".join([head, *lines[::-1]]), items), tmp_path / "two", dim=2)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes(), path.name


# a disk that fills


def test_a_full_disk_is_noted_and_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    files = written(tmp_path / "raw", *many())
    import_logs(*files, tmp_path / "out", dim=2)
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(population.np, "savez", full)
    with pytest.raises(OSError, match=r"no room on the disk to write .*out .*nothing was left behind: make room"):
        import_logs(*files, tmp_path / "out", dim=2, overwrite=True)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "raw"]


def _limit_files() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))


@pytest.mark.parametrize("sampled", [(), ("--users", "20")])
def test_files_that_cannot_grow_leave_nothing(sampled: tuple[str, ...], tmp_path: Path):
    """The operating system itself refuses to write on, in the middle of a file, or of the parts of a log."""
    log, items = written(tmp_path / "raw", *many())
    command = [sys.executable, "-m", "lerl", "data", "import", "--interactions", str(log), "--items", str(items)]
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    ran = subprocess.run(
        [*command, "--out", str(tmp_path / "out"), *sampled],
        cwd=ROOT, env=environment, capture_output=True, text=True, preexec_fn=_limit_files, check=False,
    )  # fmt: skip
    assert ran.returncode == 2, ran.stderr
    assert ran.stderr.startswith(f"lerl: error: no room on the disk to write {tmp_path / 'out'}")
    assert ran.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


# anything at all

CELLS = st.one_of(
    st.sampled_from(
        [
            "1",
            "2",
            "0",
            "5",
            "-1",
            "4.5",
            "",
            " ",
            "nan",
            "inf",
            "x",
            "true",
            '"',
            '"a"',
            "2022-04-08",
            "1e400",
            "9" * 25,
        ]
    ),
    st.text(max_size=6),
    st.integers().map(str),
    st.floats().map(str),
)
LINES = st.lists(st.lists(CELLS, min_size=1, max_size=6).map(",".join), max_size=8)
HEADERS = st.sampled_from(
    ["user,item,rating,time", "user,item,click", "user_id,item_id,stars", "a,b,c", "user;item;click"]
)
TABLES = st.tuples(HEADERS, LINES, st.sampled_from(["\n", "\r\n", "\n\n"])).map(
    lambda t: t[2].join([t[0], *t[1]]).encode(errors="replace")
)
BYTES = st.one_of(st.binary(max_size=200), st.binary(max_size=60).map(lambda b: LOG.encode() + b), TABLES)
ITEM_TABLES = st.one_of(
    st.none(), st.just(ITEMS.encode()), st.binary(max_size=60),
    LINES.map(lambda lines: "\n".join(["id,title,genre", *lines]).encode(errors="replace")),
)  # fmt: skip
CHOICES = st.fixed_dictionaries(
    {},
    optional={
        "user": st.sampled_from(["user", "", "item", "nothing"]),
        "click_from": st.sampled_from([0.0, 3.0]),
        "time": st.sampled_from(["", "time", "user"]),
        "categories": st.sampled_from(["", "genre", "title"]),
        "separator": st.sampled_from(["", "|", "a", ".*"]),
        "delimiter": st.sampled_from([",", ";", '"', "ab", "é"]),
        "min_interactions": st.integers(1, 3),
    },
)


def read_or_refused(*given: Any) -> DataSet | None:
    """The data set, or None where it was refused in one line."""
    refused = []
    try:
        return read_own_logs(*given)
    except DataError as error:
        refused.append(str(error))
    assert "\n" not in refused[0]
    assert len(refused[0]) < 1000
    return None


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(log=BYTES, items=ITEM_TABLES, choices=CHOICES)
def test_no_input_ends_in_anything_but_data_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, log: bytes, items: bytes | None, choices: dict[str, Any]
):
    files = written(tmp_path_factory.mktemp("fuzz"), log, items)
    data = read_or_refused(*files, Choices(**choices))
    if data is not None:
        assert len(data.log) > 0
        assert set(data.log["item"]) == set(data.catalog.numbers.tolist())
        assert not data.log.select("user", "item").is_duplicated().any()


DAMAGE: dict[str, Callable[[bytes, int], bytes]] = {
    "cut": lambda content, at: content[: at % len(content)],
    "changed": lambda content, at: content[: at % len(content)] + bytes([at % 256]) + content[at % len(content) + 1 :],
}


@settings(max_examples=60)
@given(at=st.integers(0, 10**6), damage=st.sampled_from(sorted(DAMAGE)))
def test_damaged_parquet_is_one_line(tmp_path_factory: pytest.TempPathFactory, at: int, damage: str):
    folder = tmp_path_factory.mktemp("parquet")
    whole = pl.DataFrame({"user": [1, 2, 3], "item": ["a", "b", "c"], "rating": [1.0, 4.0, 5.0]})
    whole.write_parquet(folder / "log")
    content = (folder / "log").read_bytes()
    (folder / "log").write_bytes(DAMAGE[damage](content, at))
    read_or_refused(folder / "log")
