"""Reading choices: every layout, ties, what is said, and errors that say what to do."""

from dataclasses import replace
from pathlib import Path

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
