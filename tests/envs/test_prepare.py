"""Data sets: what is read from each layout, how bad data is refused, and that a folder is written wholly or not."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from lerl.envs import population
from lerl.envs.logs import movielens
from lerl.envs.prepare import PrepareReport, prepare, read
from lerl.envs.schema import DataError, truth_half
from lerl.envs.store import MissingDataError, load_population, save_population

ROOT = Path(__file__).parents[2]
MOVIES = ["1::Toy Story (1995)::Animation|Comedy", "2::Les Misérables (1995)::Drama", "3::Unseen (1999)::War"]
RATINGS = ["7::1::5::100", "7::2::3::90", "8::2::4::95"]


def write_1m(folder: Path, movies: list[str] = MOVIES, ratings: list[str] = RATINGS) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "movies.dat").write_text("\n".join(movies) + "\n", encoding="latin-1")
    (folder / "ratings.dat").write_text("\n".join(ratings) + "\n", encoding="latin-1")
    return folder


def u_item(number: int, title: str, *genres: str) -> str:
    flags = ["1" if genre in genres else "0" for genre in movielens.GENRES_100K]
    return "|".join([str(number), title, "01-Jan-1995", "", "http://example.org", *flags])


def write_100k(folder: Path, items: list[str], data: list[str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "u.item").write_text("\n".join(items) + "\n", encoding="latin-1")
    (folder / "u.data").write_text("\n".join(data) + "\n", encoding="latin-1")
    return folder


def write_parquet(folder: Path, **ratings: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    movies = {"movie_id": [1, 2], "title": ["Toy Story (1995)", None], "genres": ["Animation|Comedy", None]}
    columns = {"user_id": [7, 7, 8], "movie_id": [1, 2, 2], "rating": [5, 3, 4], "timestamp": [100, 90, 95]}
    pl.DataFrame(movies).write_parquet(folder / "movies.parquet")
    pl.DataFrame({**columns, **ratings}, strict=False).write_parquet(folder / "ratings.parquet")
    return folder


def many(users: int = 80, items: int = 60, each: int = 30) -> tuple[list[str], list[str]]:
    """Two tastes, two genres: users like the genre that their number is even or odd with, four times in five."""
    draw = np.random.default_rng(0)
    movies = [f"{i}::Movie {i}::{('Drama', 'Comedy')[i % 2]}" for i in range(1, items + 1)]
    ratings = []
    for user in range(1, users + 1):
        for item in draw.choice(np.arange(1, items + 1), size=each, replace=False):
            likes = (draw.random() < 0.8) == ((user + item) % 2 == 0)
            ratings.append(f"{user}::{item}::{5 if likes else 2}::{draw.integers(1_000_000)}")
    return movies, ratings


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_1m(tmp_path_factory.mktemp("raw") / "ml-1m", *many())


@pytest.fixture(scope="module")
def prepared(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PrepareReport]:
    out = tmp_path_factory.mktemp("out") / "small"
    return out, prepare("movielens", raw, out, dim=4)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# reading


def test_1m_layout_is_read(tmp_path: Path):
    data = read("movielens", write_1m(tmp_path))
    assert data.catalog.item_ids == ("1", "2")
    assert data.catalog.titles == ("Toy Story (1995)", "Les Misérables (1995)")
    assert data.catalog.categories.names == ("Animation", "Comedy", "Drama")
    assert data.catalog.categories.membership.tolist() == [[True, True, False], [False, False, True]]
    assert data.dropped_items == 1  # movie 3, and War with it
    assert data.log.rows() == [(7, 1, True, 5.0, 100, 1), (7, 2, False, 3.0, 90, 0), (8, 2, True, 4.0, 95, 0)]


def test_utf8_and_windows_line_ends_are_read_alike(tmp_path: Path):
    folder = write_1m(tmp_path)
    (folder / "movies.dat").write_bytes("\r\n".join(MOVIES).encode("utf-8-sig") + b"\r\n\r\n")
    (folder / "ratings.dat").write_bytes("\r\n".join(RATINGS).encode())
    data = read("movielens", folder)
    assert data.catalog.item_ids == ("1", "2")
    assert data.catalog.titles[1] == "Les Misérables (1995)"
    assert data.log["time"].to_list() == [100, 90, 95]


def test_100k_layout_is_read(tmp_path: Path):
    items = [u_item(2, "Misérables, Les", "Drama", "War"), u_item(1, "unknown", "unknown"), u_item(3, "None at all")]
    data = read("movielens", write_100k(tmp_path, items, ["5\t2\t4\t20", "5\t1\t3\t10", "6\t3\t1\t30"]))
    assert data.catalog.titles == ("unknown", "Misérables, Les", "None at all")
    assert data.catalog.categories.names == ("Drama", "War", "other")
    assert data.catalog.categories.membership.tolist() == [
        [False, False, True],
        [True, True, False],
        [False, False, True],
    ]
    assert data.log.rows() == [(5, 1, False, 3.0, 10, 0), (5, 2, True, 4.0, 20, 1), (6, 3, False, 1.0, 30, 0)]


def test_parquet_layout_is_read(tmp_path: Path):
    data = read("movielens", write_parquet(tmp_path))
    assert data.catalog.titles == ("Toy Story (1995)", "item 2")
    assert data.catalog.categories.names == ("Animation", "Comedy", "other")
    assert data.log.rows() == [(7, 1, True, 5.0, 100, 1), (7, 2, False, 3.0, 90, 0), (8, 2, True, 4.0, 95, 0)]


def test_parquet_times_may_be_dates_and_ids_whole_floats(tmp_path: Path):
    times = pl.Series([1_500_000_000_999, 1_500_000_000_001, 1_500_000_000_000]).cast(pl.Datetime("ms"))
    data = read("movielens", write_parquet(tmp_path, user_id=[7.0, 7.0, 8.0], timestamp=times))
    assert data.log["user"].to_list() == [7, 7, 8]
    assert data.log["time"].to_list() == [1_500_000_000] * 3
    assert data.log["position"].to_list() == [1, 0, 0]


LATEST = 'movieId,title,genres\n1,"Misérables, Les",Drama|War\n2,B,(no genres listed)\n'


def write_latest(folder: Path, *ratings: str, movies: str = LATEST) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "movies.csv").write_text(movies, encoding="utf-8")
    (folder / "ratings.csv").write_text("\n".join(["userId,movieId,rating,timestamp", *ratings, ""]))
    return folder


def test_latest_layout_is_read_with_half_stars(tmp_path: Path):
    data = read("movielens", write_latest(tmp_path, "7,1,3.5,100", "7,2,0.5,90", "8,1,4.0,95"))
    assert data.catalog.titles == ("Misérables, Les", "B")
    assert data.catalog.categories.names == ("Drama", "War", "other")
    assert data.log.rows() == [(7, 1, False, 3.5, 100, 1), (7, 2, False, 0.5, 90, 0), (8, 1, True, 4.0, 95, 0)]


def test_times_of_text_files_may_be_dates(tmp_path: Path):
    data = read("movielens", write_1m(tmp_path, ratings=["7::1::5::2000-12-31", "7::2::3::2000-12-30 18:30:00"]))
    assert data.log["time"].to_list() == [978_220_800, 978_201_000]  # 11,322 days from 1970, and 5.5 hours less
    assert data.log["position"].to_list() == [1, 0]


def test_dates_and_lists_of_genres_in_latest_are_read(tmp_path: Path):
    """1,112,484,580 seconds after 1970 it was 23:29:40 on 2 April 2005."""
    movies = "movieId,title,genres\n1,A,\"['Drama', 'War']\"\n2,B,[]\n"
    ratings = ("7,1,3.5,2005-04-02 23:29:40", "7,2,4,2005-04-02 23:29:38")
    data = read("movielens", write_latest(tmp_path, *ratings, movies=movies))
    assert data.log.select("item", "time", "position").rows() == [(1, 1_112_484_580, 1), (2, 1_112_484_578, 0)]
    assert data.catalog.categories.names == ("Drama", "War", "other")
    with pytest.raises(DataError, match=r"row 3, column timestamp: given '2 April', allowed is a date such as"):
        read("movielens", write_latest(tmp_path, ratings[0], "7,2,4,2 April"))


@pytest.mark.parametrize(
    ("first", "second", "found"),
    [
        ("20200102", "20200103.0", "from 20200102 to 20200103, which look like dates of eight digits"),
        ("43832.5", "43833", "from 43832.5 to 43833, which look like a spreadsheet's days"),
        ("1999", "2003", "from 1999 to 2003, which look like years"),
    ],
)
def test_numbers_that_are_no_seconds_are_refused(tmp_path: Path, first: str, second: str, found: str):
    with pytest.raises(DataError, match=f"{found}.*; write seconds since 1970, or dates such as 2024-05-31"):
        read("movielens", write_latest(tmp_path, f"7,1,3,{first}", f"7,2,4,{second}"))


def test_half_stars_of_10m_are_read(tmp_path: Path):
    data = read("movielens", write_1m(tmp_path, ratings=["7::1::0.5::1230768000", "7::2::4.5::1230768001"]))
    assert data.log.select("rating", "click").rows() == [(0.5, False), (4.5, True)]


def test_ratings_of_one_second_are_in_the_file_s_order_in_the_log_and_in_what_is_known(tmp_path: Path):
    """User 7 rated all films in one second, the highest number first."""
    movies, ratings = many()
    mine = [f"7::{movie}::{1 + movie % 5}::500000" for movie in range(len(movies), 0, -1)]
    folder = write_1m(tmp_path / "raw", movies, [row for row in ratings if not row.startswith("7::")] + mine)
    assert read("movielens", folder).log.filter(pl.col("user") == 7).sort("position")["item"].is_sorted(descending=True)
    prepare("movielens", folder, tmp_path / "out", dim=2)
    people = load_population(tmp_path / "out")
    log = pl.read_parquet(tmp_path / "out" / "interactions.parquet").filter(pl.col("user") == 7)
    known = log.filter(pl.col("half") == "knowledge").sort("position")["item"].to_list()
    user = pl.read_parquet(tmp_path / "out" / "interactions.parquet")["user"].unique().sort().to_list().index(7)
    assert [int(people.catalog.item_ids[item]) for item, _ in people.known(np.array([user]))[0]] == known
    assert len(known) > 5


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("7,1,0,1", "row 3, column rating: given '0', allowed is a number from 0.5 to 5"),
        ("x,1,4,1", "row 3, column userId: given 'x', allowed is a whole number"),
        ("7,9,4,1", "row 3, column movieId: given '9', allowed is the id of a movie"),
        ("7,2,4,1", "row 2 has userId 7, movieId 2 already"),
    ],
)
def test_errors_name_the_columns_as_the_file_does(tmp_path: Path, row: str, message: str):
    with pytest.raises(DataError, match=f"ratings.csv.*{message}"):
        read("movielens", write_latest(tmp_path, "7,2,4,1", row))


@pytest.mark.parametrize("genres", ["", "unknown", "(no genres listed)", " | "])
def test_an_item_without_a_genre_is_other(tmp_path: Path, genres: str):
    data = read("movielens", write_1m(tmp_path, [f"1::A::{genres}", "2::B::War"]))
    assert data.catalog.categories.names == ("War", "other")
    assert data.catalog.categories.membership.tolist() == [[False, True], [True, False]]


# bad data


def ratings_row(row: str) -> Callable[[Path], Path]:
    return lambda folder: write_1m(folder, ratings=[RATINGS[0], row])


def movies_row(row: str) -> Callable[[Path], Path]:
    return lambda folder: write_1m(folder, movies=[*MOVIES, row])


def overwritten(file: str, content: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (write_parquet if file.endswith("parquet") else write_1m)(folder)
        (folder / file).write_bytes(content)
        return folder

    return make


NUMBER = "correct or remove the row"
BAD = {
    "rating too high": (
        ratings_row("7::2::6::1"),
        ["ratings.dat, row 2, column rating: given '6'", "from 0.5 to 5", NUMBER],
    ),
    "rating zero": (ratings_row("7::2::0::1"), ["row 2, column rating: given '0', allowed is a number from 0.5 to 5"]),
    "rating a word": (ratings_row("7::2::good::1"), ["row 2, column rating: given 'good'", "a number from 0.5 to 5"]),
    "rating not a number": (ratings_row("7::2::nan::1"), ["row 2, column rating: given 'nan'"]),
    "rating infinite": (ratings_row("7::2::inf::1"), ["row 2, column rating: given 'inf'"]),
    "rating empty": (ratings_row("7::2::::1"), ["row 2, column rating: given ''"]),
    "user no number": (ratings_row("u7::2::4::1"), ["row 2, column user_id: given 'u7', allowed is a whole number"]),
    "time no number": (ratings_row("7::2::4::noon"), ["row 2, column timestamp: given 'noon'", "seconds since 1970"]),
    "time nan": (ratings_row("7::2::4::nan"), ["row 2, column timestamp: given 'nan'", "seconds since 1970"]),
    "movie unknown": (
        ratings_row("7::99::4::1"),
        ["row 2, column movie_id: given '99'", "add the movie there or remove"],
    ),
    "pair twice": (
        ratings_row("7::1::4::1"),
        [
            "row 2, column movie_id",
            "one rating of a movie per user",
            "row 1 has user_id 7, movie_id 1 already: remove one of them",
        ],
    ),
    "rating row short": (
        ratings_row("7::2::4"),
        ["row 2: given 3 fields ('7::2::4'), allowed are 4, separated by '::'"],
    ),
    "rating row by tabs": (
        ratings_row("7\t2\t4\t1"),
        ["row 2: given 1 fields", "user_id, movie_id, rating, timestamp"],
    ),
    "movie twice": (
        movies_row("2::Again::War"),
        ["movies.dat, row 4, column movie_id: given '2'", "row 2 has movie_id 2"],
    ),
    "movie row long": (movies_row("4::A::B::War"), ["movies.dat, row 4: given 4 fields", "movie_id, title, genres"]),
    "movie id no number": (movies_row("x::A::War"), ["movies.dat, row 4, column movie_id: given 'x'"]),
    "no ratings": (overwritten("ratings.dat", b""), ["ratings.dat is empty; it needs at least one row"]),
    "only blank lines": (overwritten("movies.dat", b"\n \r\n"), ["movies.dat is empty"]),
    "a zip": (overwritten("movies.dat", b"PK\x03\x04\xff\x00"), ["movies.dat, row 1", "'\\x03'", "unpack the file"]),
    "utf-16": (
        overwritten("ratings.dat", "7::1::5::1\n".encode("utf-16")),
        ["row 1: given the character", "save it as UTF-8"],
    ),
    "windows-1252": (
        overwritten("movies.dat", b"1::A::War\n2::It\x92s::War\n"),
        ["row 2: given the character '\\x92'"],
    ),
    "parquet broken": (overwritten("ratings.parquet", b"PAR1"), ["ratings.parquet cannot be read as Parquet"]),
    "parquet null": (
        lambda f: write_parquet(f, rating=[5, None, 4]),
        ["ratings.parquet, row 2, column rating: given nothing"],
    ),
    "parquet nan": (lambda f: write_parquet(f, rating=[5.0, 3.0, float("nan")]), ["row 3, column rating: given nan"]),
    "parquet id nan": (
        lambda f: write_parquet(f, user_id=[7.0, float("nan"), 8.0]),
        ["row 2, column user_id: given nan"],
    ),
    "parquet id half": (lambda f: write_parquet(f, user_id=[7.0, 7.5, 8.0]), ["row 2, column user_id: given 7.5"]),
    "parquet time null": (
        lambda f: write_parquet(f, timestamp=[1, 2, None]),
        ["row 3, column timestamp: given nothing"],
    ),
    "parquet type": (
        lambda f: write_parquet(f, rating=[[5], [3], [4]]),
        ["column rating: given List(Int64)", "numbers"],
    ),
}


@pytest.mark.parametrize(("make", "parts"), BAD.values(), ids=BAD.keys())
def test_bad_data_is_one_clear_error_and_nothing_is_written(
    tmp_path: Path, make: Callable[[Path], Path], parts: list[str]
):
    folder = make(tmp_path / "raw")
    with pytest.raises(DataError) as caught:
        prepare("movielens", folder, tmp_path / "out")
    message = str(caught.value)
    assert str(folder) in message
    for part in parts:
        assert part in message
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


def test_the_error_counts_further_bad_rows(tmp_path: Path):
    folder = write_1m(tmp_path, ratings=["7::1::9::1", "7::2::8::1", "8::1::5::1", "8::2::7::1"])
    with pytest.raises(DataError, match=r"row 1, column rating: given '9'.*\(2 more such rows\)"):
        read("movielens", folder)


def test_rows_are_counted_as_an_editor_does(tmp_path: Path):
    folder = write_1m(tmp_path, ratings=["7::1::5::1", "", "", "7::2::6::1"])
    with pytest.raises(DataError, match="row 4, column rating"):
        read("movielens", folder)


def test_a_bad_genre_flag_is_refused(tmp_path: Path):
    folder = write_100k(tmp_path, [u_item(1, "A", "War"), u_item(2, "B")[:-1] + "2"], ["5\t1\t4\t1"])
    with pytest.raises(DataError, match=r"u.item, row 2, column Western: given '2', allowed is 0 or 1"):
        read("movielens", folder)


@pytest.mark.parametrize(("left", "missing"), [("movies.dat", "ratings.dat"), ("ratings.dat", "movies.dat")])
def test_a_missing_file_is_named(tmp_path: Path, left: str, missing: str):
    (write_1m(tmp_path) / missing).unlink()
    with pytest.raises(DataError, match=rf"{missing} is missing; MovieLens-1M needs it beside {left}"):
        read("movielens", tmp_path)


def test_a_missing_parquet_column_is_named(tmp_path: Path):
    folder = write_parquet(tmp_path)
    pl.read_parquet(folder / "ratings.parquet").rename({"rating": "stars"}).write_parquet(folder / "ratings.parquet")
    with pytest.raises(DataError, match=r"ratings.parquet: column rating is missing, given .*'stars'"):
        read("movielens", folder)


def test_a_folder_without_data_says_what_it_must_hold(tmp_path: Path):
    with pytest.raises(DataError, match=r"holds no MovieLens data; a folder must hold movies.dat and ratings.dat"):
        read("movielens", tmp_path)
    with pytest.raises(DataError, match=r"nowhere is not a folder; give the folder that holds movies.dat"):
        read("movielens", tmp_path / "nowhere")


def test_the_folder_around_the_data_is_answered_with_the_right_one(tmp_path: Path):
    inner = write_1m(tmp_path / "ml-1m")
    with pytest.raises(DataError, match=f"did you mean {inner}"):
        read("movielens", tmp_path)


def test_an_unknown_format_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match=r"format must be one of \['goodbooks', 'kuairand', .*\], given 'netflix'"):
        read("netflix", tmp_path)


def test_a_log_too_small_to_judge_is_refused(tmp_path: Path):
    with pytest.raises(DataError, match=r"too few interactions to calibrate and judge .*use a larger log"):
        prepare("movielens", write_1m(tmp_path / "raw"), tmp_path / "out")


@pytest.mark.parametrize(("setting", "message"), [({"dim": 0}, "dim.* given 0"), ({"seed": -1}, "seed .* given -1")])
def test_settings_out_of_range_are_refused(raw: Path, tmp_path: Path, setting: dict[str, int], message: str):
    with pytest.raises(ValueError, match=message):
        prepare("movielens", raw, tmp_path / "out", **setting)


# preparing, saving, loading


def test_prepare_writes_a_folder_that_loads(prepared: tuple[Path, PrepareReport]):
    out, report = prepared
    people = load_population(out)
    assert (report.users, report.items, report.interactions) == (80, 60, 2400)
    assert report.training_users + report.evaluation_users == 80
    assert report.training_users == len(people.users("train"))
    assert people.name == "movielens"
    assert people.catalog.titles[0] == "Movie 1"
    assert people.truth.item_vectors.shape == (60, 4)
    assert people.knowledge.item_vectors.shape == (60, 5)
    assert {array.dtype for array in vars(people.truth).values()} == {np.dtype(np.float32)}
    assert people.history.dtype == np.int32


def test_the_report_is_printed_and_kept(prepared: tuple[Path, PrepareReport]):
    out, report = prepared
    rows = dict(report.rows())
    assert rows["interactions"] == "2,400"
    assert rows["truth AUC, held out"] == f"{report.truth_auc:.3f}"
    about = json.loads((out / "prepared.json").read_text(encoding="utf-8"))
    assert PrepareReport(**about["report"]) == report
    assert about["settings"] == {"format": "movielens", "dim": 4, "seed": 0}


def test_interactions_are_kept_with_their_half(prepared: tuple[Path, PrepareReport]):
    log = pl.read_parquet(prepared[0] / "interactions.parquet")
    assert log.columns == ["user", "item", "click", "rating", "time", "position", "half"]
    truth = truth_half(log["user"].to_numpy(), log["item"].to_numpy())
    assert ((log["half"] == "truth").to_numpy() == truth).all()
    assert len(load_population(prepared[0]).history) == (~truth).sum()


def test_preparing_twice_gives_the_same_bytes_whatever_the_order_of_rows(
    raw: Path, prepared: tuple[Path, PrepareReport], tmp_path: Path
):
    movies, ratings = many()
    prepare("movielens", raw, tmp_path / "again", dim=4)
    prepare("movielens", write_1m(tmp_path / "raw", movies[::-1], ratings[::-1]), tmp_path / "reversed", dim=4)
    assert contents(tmp_path / "again") == contents(prepared[0])
    assert contents(tmp_path / "reversed") == contents(prepared[0])


def test_save_and_load_keep_everything(prepared: tuple[Path, PrepareReport], tmp_path: Path):
    people = load_population(prepared[0])
    save_population(people, tmp_path / "copy", about={"note": "a copy"})
    copy = load_population(tmp_path / "copy")
    assert (copy.name, copy.catalog.item_ids, copy.catalog.titles) == (
        people.name,
        *(vars(people.catalog)[k] for k in ("item_ids", "titles")),
    )
    assert copy.catalog.categories.names == people.catalog.categories.names
    assert (copy.catalog.categories.membership == people.catalog.categories.membership).all()
    for side in ("truth", "knowledge"):
        for name, array in vars(getattr(people, side)).items():
            np.testing.assert_array_equal(getattr(getattr(copy, side), name), array)
    np.testing.assert_array_equal(copy.training, people.training)
    np.testing.assert_array_equal(copy.history, people.history)


def test_an_absent_or_unprepared_folder_names_the_command(tmp_path: Path):
    absent = tmp_path / "my data"
    command = f"lerl data prepare --format FORMAT FOLDER --out '{absent}'"
    with pytest.raises(MissingDataError, match="is not there") as caught:
        load_population(absent)
    assert command in str(caught.value)
    absent.mkdir()
    with pytest.raises(MissingDataError, match=r"has no prepared.json") as caught:
        load_population(absent)
    assert command in str(caught.value)


@pytest.mark.parametrize(("version", "age"), [(0, "older"), (99, "newer"), ("one", "older")])
def test_another_format_version_names_the_command(
    prepared: tuple[Path, PrepareReport], tmp_path: Path, version: object, age: str
):
    save_population(load_population(prepared[0]), tmp_path / "old")
    about = tmp_path / "old" / "prepared.json"
    about.write_text(json.dumps({**json.loads(about.read_text()), "format_version": version}))
    with pytest.raises(DataError, match=rf"made by an? {age} version of lerl.*`lerl data prepare .*old --overwrite`"):
        load_population(tmp_path / "old")


DAMAGE: dict[str, Callable[[Path], object]] = {
    "arrays gone": lambda folder: (folder / "arrays.npz").unlink(),
    "arrays cut": lambda folder: (folder / "arrays.npz").write_bytes((folder / "arrays.npz").read_bytes()[:1000]),
    "arrays empty": lambda folder: (folder / "arrays.npz").write_bytes(b""),
    "arrays fewer": lambda folder: np.savez(folder / "arrays.npz", training=np.ones(2, dtype=bool)),
    "catalog gone": lambda folder: (folder / "catalog.parquet").unlink(),
    "catalog cut": lambda folder: (folder / "catalog.parquet").write_bytes(b"PAR1"),
    "catalog shorter": lambda folder: pl.read_parquet(folder / "catalog.parquet")[:5].write_parquet(
        folder / "catalog.parquet"
    ),
    "json cut": lambda folder: (folder / "prepared.json").write_text('{"format_version": 1, "na'),
    "json a list": lambda folder: (folder / "prepared.json").write_text("[1]"),
    "json less": lambda folder: (folder / "prepared.json").write_text('{"format_version": 1}'),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_folder_is_one_clear_error(
    prepared: tuple[Path, PrepareReport], tmp_path: Path, damage: Callable[[Path], object]
):
    save_population(load_population(prepared[0]), tmp_path / "copy")
    damage(tmp_path / "copy")
    with pytest.raises(DataError, match=r"copy cannot be read .*make it again with `lerl data prepare"):
        load_population(tmp_path / "copy")


def with_array(name: str, change: Callable[[Any], Any]) -> Callable[[Path], None]:
    """Damage: one array of a folder is changed, or left out where the change gives None."""

    def make(folder: Path) -> None:
        arrays = {key: value.copy() for key, value in np.load(folder / "arrays.npz").items()}
        changed = change(arrays.pop(name))
        np.savez(folder / "arrays.npz", **arrays | ({} if changed is None else {name: changed}))

    return make


def panic(*_: object, **__: object) -> None:
    raise pl.exceptions.PanicException("called unwrap")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (with_array("truth.item_vectors", lambda _: None), "arrays.npz: truth.item_vectors is missing"),
        (
            with_array("knowledge.tastes", lambda old: old.astype(str)),
            "arrays.npz: knowledge.tastes must be float32 in 2 dimensions, given <U32 of shape (80, 5)",
        ),
        (
            with_array("truth.user_offsets", lambda old: old[:, None]),
            "truth.user_offsets must be float32 in 1 dimensions",
        ),
        (with_array("training", lambda old: old.astype(int)), "arrays.npz: training must be bool in 1 dimensions"),
        (with_array("knowledge.popularity", lambda old: old * np.nan), "knowledge.popularity has a number that is not"),
        (with_array("truth.user_vectors", lambda old: old[:, 1:]), "arrays.npz: truth.item_vectors must be"),
        (with_array("training", lambda old: old[1:]), "arrays.npz: truth must be of 60 items and 79 users"),
        (with_array("history", lambda old: old + 99), "arrays.npz: history has a row outside users 0..79"),
        (
            lambda folder: (folder / "prepared.json").write_text(
                (folder / "prepared.json").read_text().replace('"Drama"', '"Dramas"')
            ),
            "has the category 'Drama', which prepared.json does not list",
        ),
    ],
)
def test_what_is_wrong_in_a_damaged_folder_is_named(
    prepared: tuple[Path, PrepareReport], tmp_path: Path, make: Callable[[Path], object], message: str
):
    save_population(load_population(prepared[0]), tmp_path / "copy")
    make(tmp_path / "copy")
    with pytest.raises(DataError, match=r"make it again with `lerl data prepare") as caught:
        load_population(tmp_path / "copy")
    assert message in str(caught.value)


def test_a_file_that_makes_polars_panic_is_damaged_as_well(
    prepared: tuple[Path, PrepareReport], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(pl, "read_parquet", panic)
    with pytest.raises(DataError, match=r"cannot be read \(catalog\.parquet: called unwrap\); make it again"):
        load_population(prepared[0])


class Bomb:
    """Creates a file when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


def test_loading_executes_nothing(prepared: tuple[Path, PrepareReport], tmp_path: Path):
    save_population(load_population(prepared[0]), tmp_path / "copy")
    arrays = dict(np.load(tmp_path / "copy" / "arrays.npz"))
    arrays["training"] = np.array([Bomb(tmp_path / "executed")], dtype=object)
    np.savez(tmp_path / "copy" / "arrays.npz", **arrays)
    with pytest.raises(DataError, match="cannot be read"):
        load_population(tmp_path / "copy")
    assert not (tmp_path / "executed").exists()


def test_an_output_that_holds_other_things_is_refused_even_with_overwrite(raw: Path, tmp_path: Path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(FileExistsError, match=r"is not empty and holds .*'thesis.tex'.*give a new folder"):
            prepare("movielens", raw, tmp_path / "out", overwrite=overwrite)
    assert contents(tmp_path / "out") == {"thesis.tex": b"years of work"}


def test_a_prepared_folder_with_a_file_beside_is_not_overwritten(
    raw: Path, prepared: tuple[Path, PrepareReport], tmp_path: Path
):
    save_population(load_population(prepared[0]), tmp_path / "out")
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"'notes.txt'"):
        prepare("movielens", raw, tmp_path / "out", overwrite=True)
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"


def test_an_output_that_is_a_file_is_refused(raw: Path, tmp_path: Path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(FileExistsError, match="out is a file, and the output is a folder"):
        prepare("movielens", raw, tmp_path / "out")


def test_a_prepared_folder_is_replaced_only_when_asked(raw: Path, tmp_path: Path):
    out = tmp_path / "deep" / "out"
    prepare("movielens", raw, out, dim=2)
    with pytest.raises(FileExistsError, match=r"already holds a prepared data set; give a new folder, or --overwrite"):
        prepare("movielens", raw, out, dim=3)
    assert load_population(out).truth.item_vectors.shape == (60, 2)
    prepare("movielens", raw, out, dim=3, overwrite=True)
    assert load_population(out).truth.item_vectors.shape == (60, 3)
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def test_an_empty_folder_is_taken(prepared: tuple[Path, PrepareReport], tmp_path: Path):
    (tmp_path / "out").mkdir()
    save_population(load_population(prepared[0]), tmp_path / "out")
    assert load_population(tmp_path / "out").name == "movielens"


def test_an_interrupted_write_leaves_what_was_there(
    raw: Path, prepared: tuple[Path, PrepareReport], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    save_population(load_population(prepared[0]), tmp_path / "out")
    before = contents(tmp_path / "out")

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(population.np, "savez", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare("movielens", raw, tmp_path / "out", dim=2, overwrite=True)
    assert contents(tmp_path / "out") == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_was_there_comes_back_when_its_place_cannot_be_taken(
    prepared: tuple[Path, PrepareReport], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    people = load_population(prepared[0])
    save_population(people, tmp_path / "out")
    before, rename = contents(tmp_path / "out"), Path.rename

    def no_new(self: Path, target: Path) -> Path:
        if self.name == "new":
            raise OSError("disk quota exceeded")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", no_new)
    with pytest.raises(OSError, match="quota"):
        save_population(people, tmp_path / "out", overwrite=True)
    assert contents(tmp_path / "out") == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_the_written_folder_has_ordinary_permissions(prepared: tuple[Path, PrepareReport], tmp_path: Path):
    ordinary = tmp_path / "ordinary"
    ordinary.mkdir()
    assert prepared[0].stat().st_mode == ordinary.stat().st_mode


def test_populations_can_be_used_without_the_libraries_that_fit_them():
    code = (
        "import sys, lerl.envs.population; print(sorted({'polars', 'implicit', 'sklearn', 'scipy'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=dict(os.environ), capture_output=True, text=True)
    assert (ran.stdout.strip(), ran.returncode) == ("[]", 0)
