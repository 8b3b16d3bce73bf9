"""Reading choices: every layout, ties, what is said, and errors that say what to do."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from lerl.envs.logs.sequences import Named, read_sequences
from lerl.envs.schema import DataError
from lerl.envs.sequences import Choices
from lerl.envs.store import INTERACTIONS_FILE, save_population
from lerl.envs.synthetic import synthetic_population

NOON = 978_300_000


def of_user(choices: Choices, user: str) -> list[str]:
    return [choices.items[item] for item in choices.lists[choices.users.index(user)]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The layout of sequences beside items; rows in no order."""
    rows = [(7, 2, "b"), (7, 0, "c"), (9, 0, "a"), (7, 1, "a"), (9, 1, "b")]
    frame = pl.DataFrame(rows, schema=["user", "position", "item"], orient="row")
    frame.write_parquet(tmp_path / "sequences.parquet")
    about = {"item": ["c", "a", "z"], "title": ["Third", "First", "Nobody's"], "price": [3.5, None, 1.0]}
    pl.DataFrame(about).write_parquet(tmp_path / "items.parquet")
    return tmp_path


def test_a_folder_of_sequences_and_items(folder: Path):
    found = read_sequences(folder)
    assert found.users == ("7", "9")
    assert found.items == ("a", "b", "c")  # z was chosen by nobody, and is not ranked
    assert of_user(found, "7") == ["c", "a", "b"]
    assert found.texts == {"title": ("First", "", "Third"), "price": ("", "", "3.5")}
    assert found.times is None
    assert found.notes == (
        "sequences.parquet: users are user, items are item, in the order of position",
        "items.parquet: title, price of items, not of 1 of them",
    )


def test_a_file_alone_with_names_of_its_own_and_items_elsewhere(folder: Path, tmp_path: Path):
    path = tmp_path / "mine.csv"
    path.write_text("who,what,when\n007,x,2001-01-01 10:00:00\n007,y,2001-01-01 09:00:00\n")
    (tmp_path / "shelf.csv").write_text("id,title\ny,Why\n")
    found = read_sequences(path, tmp_path / "shelf.csv", Named("who", "what", time="when"))
    assert found.users == ("007",)
    assert of_user(found, "007") == ["y", "x"]
    assert found.texts == {"title": ("", "Why")}
    assert found.times is not None
    assert np.diff(found.times).tolist() == [3600 * 10**9]


def test_recboles_files(tmp_path: Path):
    (tmp_path / "set.inter").write_text(
        f"user_id:token\titem_id:token\trating:float\ttimestamp:float\n1\t10\t5.0\t{NOON + 9}.0\n1\t9\t1.0\t{NOON}.0\n"
    )
    (tmp_path / "set.item").write_text("item_id:token\tmovie_title:token_seq\n9\tNine\n10\tTen\n")
    found = read_sequences(tmp_path)
    assert found.items == ("9", "10")  # in the order of numbers
    assert of_user(found, "1") == ["9", "10"]
    assert found.texts == {"movie_title": ("Nine", "Ten")}


def test_clicks_of_a_prepared_folder_in_the_order_of_their_times(tmp_path: Path):
    people = synthetic_population(4, 6, 2, 3)
    save_population(people, tmp_path / "data")
    ids = people.catalog.numbers
    rows = [(1, ids[2], True, NOON + 5), (1, ids[0], True, NOON), (1, ids[1], False, NOON + 2), (2, ids[3], True, NOON)]
    log = pl.DataFrame(rows, schema=["user", "item", "click", "time"], orient="row").with_columns(
        pl.col("user", "item", "time").cast(pl.Int64), rating=pl.lit(None, pl.Float32)
    )
    log.select("user", "item", "click", "rating", "time").write_parquet(tmp_path / "data" / INTERACTIONS_FILE)
    found = read_sequences(tmp_path / "data")
    assert of_user(found, "1") == [people.catalog.item_ids[0], people.catalog.item_ids[2]]
    assert found.texts["title"] == tuple(
        people.catalog.titles[people.catalog.item_ids.index(one)] for one in found.items
    )
    log.with_columns(time=pl.lit(None, pl.Int64)).select("user", "item", "click", "rating", "time").write_parquet(
        tmp_path / "data" / INTERACTIONS_FILE
    )
    with pytest.raises(DataError, match="knows no times of its clicks"):
        read_sequences(tmp_path / "data")


def test_what_has_the_same_time_is_drawn_by_the_seed_and_the_order_in_the_file_says_nothing(tmp_path: Path):
    rows = [("u", f"i{n:02d}", NOON + (0 if n < 20 else 60)) for n in range(25)]
    path, turned = tmp_path / "a.csv", tmp_path / "b.csv"
    for file, given in ((path, rows), (turned, rows[::-1])):
        file.write_text("user,item,time\n" + "".join(f"{u},{i},{t}\n" for u, i, t in given))
    found, other = read_sequences(path, seed=1), read_sequences(turned, seed=1)
    assert np.array_equal(found.lists.values, other.lists.values)
    assert of_user(found, "u") != sorted(of_user(found, "u"))
    assert sorted(of_user(found, "u")[:20]) == [f"i{n:02d}" for n in range(20)]
    assert of_user(read_sequences(path, seed=2), "u") != of_user(found, "u")
    assert found.notes[1].startswith(
        "25 of 25 rows share their time with another row of their user: their order is drawn"
    )


def test_rows_that_repeat_an_item_are_kept_and_counted(folder: Path):
    frame = pl.read_parquet(folder / "sequences.parquet")
    more = frame.with_columns(position=pl.col("position") + 10)
    pl.concat([frame, more]).write_parquet(folder / "sequences.parquet")
    found = read_sequences(folder)
    assert of_user(found, "9") == ["a", "b", "a", "b"]
    assert "5 rows repeat a user and an item: kept" in found.notes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "user,item,score\n1,2,3\n",
            r"no column says in which order .*given \['user', 'item', 'score'\]; name one with",
        ),
        ("user,item,time\n1,,978300000\n", r"row 2, column item: given nothing, allowed is a whole number with all"),
        ("user,item,position\n1,2,0\n1,3,first\n", r"row 3, column position: given 'first', allowed is a whole number"),
        ("user,item,position\n1,2,0.5\n", r"row 2, column position: given '0.5', allowed is a whole number"),
        ("user,item,time\n1,2,978300000\n1,3,soon\n", r"row 3, column time: given 'soon'"),
        ("who,item,time\n1,2,3\n", r"no column looks like the users', given .*--user"),
        ("user,item,time\n", "is empty"),
        (
            "user,item,time\n1,2,1\n1,3,2\n",
            r"given numbers from 1 to 2, .* or give --order time if all they say is in which order",
        ),
    ],
)
def test_files_that_cannot_be_used_say_where_and_what_to_do(text: str, message: str, tmp_path: Path):
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_sequences(tmp_path / "x.csv")


def test_a_folder_without_sequences_says_what_it_may_hold(tmp_path: Path):
    (tmp_path / "other.txt").write_text("x")
    with pytest.raises(DataError, match=r"must hold prepared\.json .*given \['other\.txt'\]; give the file itself"):
        read_sequences(tmp_path)
    with pytest.raises(DataError, match="is not there"):
        read_sequences(tmp_path / "nowhere")


def test_notes_are_part_of_what_is_read(folder: Path):
    (folder / "items.parquet").unlink()
    found = read_sequences(folder)
    assert found.notes[-1] == "no file of items: nothing but their ids is known"
    assert replace(found, notes=()).texts == {}


def about(folder: Path, **columns: Any) -> Choices:
    """What is read where the file of items says this of c, a and b."""
    pl.DataFrame({"item": ["c", "a", "b"], **columns}).write_parquet(folder / "items.parquet")
    return read_sequences(folder)


@pytest.mark.parametrize(
    ("cells", "read"),
    [
        (pl.Series([["x", "y"], None, []], dtype=pl.List(pl.String)), ("", "", "x, y")),
        (pl.Series([["x", "y"], ["z", "w"], None], dtype=pl.Array(pl.String, 2)), ("z, w", "", "x, y")),
        (pl.Series([[["x", None], ["y"]], None, [[]]], dtype=pl.List(pl.List(pl.String))), ("", "", "x, y")),
        (pl.Series([{"of": "x", "more": ["y"]}, {"of": None, "more": None}, None]), ("", "", "x, y")),
        (pl.Series(["x", None, "y"], dtype=pl.Enum(["x", "y"])), ("", "y", "x")),
        (pl.Series([b"x", None, b"y"]), ("", "y", "x")),
        (pl.Series([" x ", "nan", "None"]), ("", "", "x")),
        (pl.Series([1.5, float("nan"), None]), ("", "", "1.5")),
    ],
)
def test_lists_and_structs_are_read_as_text_and_signs_of_missing_values_as_nothing(
    cells: pl.Series, read: tuple[str, ...], folder: Path
):
    assert about(folder, categories=cells).texts == {"categories": read}


def test_what_is_not_read_of_items_and_rows_that_repeat_one_are_said(folder: Path):
    found = about(folder, id=["1", "2", "3"], title=[None] * 3, new=[True, False, True])
    assert found.texts == {"id": ("2", "3", "1")}
    assert found.notes[-1] == "items.parquet: id of items; not read: title (Null), new (Boolean)"
    twice = pl.DataFrame({"item": ["a", "a", "b", "c"], "title": ["One", "Other", "B", "C"]})
    twice.write_parquet(folder / "items.parquet")
    found = read_sequences(folder)
    assert found.texts == {"title": ("One", "B", "C")}
    assert found.notes[-1] == "items.parquet: 1 rows repeat an item: what its first row says is read"


def test_ids_are_the_same_in_both_files_however_numbers_are_written(tmp_path: Path):
    (tmp_path / "sequences.csv").write_text("user,asin,position\n1.0,10.0,0\n1.0,9.0,1\n")
    (tmp_path / "items.csv").write_text("item,asin,title\n0,9,Nine\n1,10,Ten\n")
    found = read_sequences(tmp_path)
    assert (found.users, found.items) == (("1",), ("9", "10"))
    assert found.texts["title"] == ("Nine", "Ten")  # by the log's own column, though another is called item
    pl.DataFrame({"asin": [9.0, None, 10.0], "title": ["N", "Nobody", "T"]}).write_csv(tmp_path / "items.csv")
    assert read_sequences(tmp_path).texts["title"] == ("N", "T")


def test_items_of_which_none_is_in_the_log_are_refused(folder: Path):
    pl.DataFrame({"item": ["B1", "B2"], "title": ["One", "Two"]}).write_parquet(folder / "items.parquet")
    with pytest.raises(DataError, match=r"column item: no id is that of an item in the log, given such as 'B1', there"):
        read_sequences(folder)


@pytest.mark.parametrize("mark", [";", "\t", "|"])
def test_cells_of_csv_may_be_separated_by_what_the_header_shows(mark: str, tmp_path: Path):
    rows = [("user", "item", "position"), ("1", "b", "1"), ("1", "a", "2")]
    (tmp_path / "x.csv").write_text("\ufeff" + "".join(mark.join(row) + "\n" for row in rows), encoding="utf-8")
    assert of_user(read_sequences(tmp_path / "x.csv"), "1") == ["b", "a"]


def test_a_prepared_folder_takes_no_items_and_no_columns(tmp_path: Path):
    save_population(synthetic_population(4, 6, 2, 3), tmp_path / "data")
    for items, named in ((tmp_path / "items.csv", None), (None, Named(user="who"))):
        with pytest.raises(DataError, match="is a prepared folder, which says what is what; leave out --items"):
            read_sequences(tmp_path / "data", items, named)
