"""goodbooks-10k: its two layouts, how books get their genres, and what is refused."""

import os
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from lerl.envs.prepare import prepare, read
from lerl.envs.schema import DataError
from lerl.envs.store import load_population

GOODBOOKS = Path(os.environ.get("LERL_DATA", Path(__file__).parents[3] / "../shared/data")) / "goodbooks"
FILES = {
    "books.csv": "book_id,goodreads_book_id,authors,title\n1,11,A,Dune\n2,12,B,\n3,13,C,Unread\n",
    "ratings.csv": "user_id,book_id,rating\n7,1,5\n7,2,3\n8,2,4\n7,1,2\n",
    "tags.csv": "tag_id,tag_name\n1,to-read\n2,science-fiction\n3,sci-fi\n4,fantasy\n5,romance\n",
    "book_tags.csv": "goodreads_book_id,tag_id,count\n11,1,900\n11,2,60\n11,3,40\n11,4,20\n11,5,19\n12,1,5\n12,5,-1\n",
}


def written(folder: Path, **changed: str | None) -> Path:
    """The published layout with some files changed or, where None, left out; `tags` stands for tags.csv."""
    for name, content in (FILES | {f"{name}.csv": text for name, text in changed.items()}).items():
        if content is not None:
            (folder / name).write_text(content)
    return folder


def test_genres_are_tags_given_often_enough(tmp_path: Path):
    """Of Dune, science-fiction has 60 + 40 tags, fantasy 20, a fifth of that, and romance 19, which is less."""
    data = read("goodbooks", written(tmp_path))
    assert data.catalog.titles == ("Dune", "item 2")
    assert data.catalog.categories.names == ("fantasy", "science-fiction", "other")
    assert data.catalog.categories.membership.tolist() == [[True, True, False], [False, False, True]]
    assert data.log.rows() == [
        (7, 1, True, 5.0, None, None),
        (7, 2, False, 3.0, None, None),
        (8, 2, True, 4.0, None, None),
    ]
    assert (data.dropped_items, data.merged) == (1, 1)


@pytest.mark.parametrize("missing", ["tags", "book_tags"])
def test_without_tags_there_is_one_category_and_a_note(tmp_path: Path, missing: str):
    data = read("goodbooks", written(tmp_path, **{missing: None}))
    assert data.catalog.categories.names == ("other",)
    assert data.notes == (f"no genres: {missing}.csv is not there; the only category is 'other'",)


def parquet(folder: Path, **weights: list[float | None]) -> Path:
    books = {"book_id": [1, 2, 3], "title": ["Dune", "Emma", "Unread"]}
    ratings = {"user_id": [7, 7, 8], "book_id": [1, 2, 2], "rating": [5, 3, 4], "order": [0, 1, 0]}
    pl.DataFrame(books).write_parquet(folder / "books.parquet")
    pl.DataFrame(ratings).write_parquet(folder / "ratings.parquet")
    if weights:
        pl.DataFrame({"book_id": [2, 1], **weights}).write_parquet(folder / "book_genre_weights.parquet")
    return folder


def test_genres_are_weights_above_zero(tmp_path: Path):
    data = read("goodbooks", parquet(tmp_path, romance=[0.0, 0.0], fantasy=[0.0, 0.1], crime=[0.0, 1.0]))
    assert data.catalog.categories.names == ("crime", "fantasy", "other")
    assert data.catalog.categories.membership.tolist() == [[True, True, False], [False, False, True]]
    assert data.log["time"].null_count() == 3


def changed(**files: str | None) -> Callable[[Path], Path]:
    return lambda folder: written(folder, **files)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (changed(ratings="user_id,book_id,rating\n7,1,6\n"), r"row 2, column rating: given '6'.*from 1 to 5"),
        (changed(ratings="user_id,book_id,rating\n7,1,5\n7,9,5\n"), r"ratings.csv, row 3, column book_id: given '9'"),
        (changed(ratings="user_id,book_id\n7,1\n"), r"ratings.csv: column rating is missing"),
        (changed(books=FILES["books.csv"] + "1,14,D,Again\n"), r"row 5, column book_id.*row 2 has book_id 1"),
        (changed(books="id,book_id,title\n1,1,A\n"), r"books.csv: column goodreads_book_id is missing"),
        (changed(book_tags="goodreads_book_id,tag_id,count\n11,x,3\n"), r"row 2, column tag_id: given 'x'"),
        (changed(tags="tag_id,tag_name\n"), r"tags.csv is empty"),
        (changed(books=None), r"books.csv is missing; CSV, as published needs it beside ratings.csv"),
        (changed(books=None, ratings=None), r"holds no goodbooks data; a folder must hold books.csv and ratings.csv"),
        (lambda folder: parquet(folder, crime=[0.0, float("nan")]), r"weights.parquet, row 2, column crime: given nan"),
        (lambda folder: parquet(folder, crime=[None, 1.0]), r"weights.parquet, row 1, column crime: given nothing"),
    ],
)
def test_bad_files_are_one_clear_error(tmp_path: Path, make: Callable[[Path], Path], message: str):
    with pytest.raises(DataError, match=message):
        read("goodbooks", make(tmp_path))


def test_real_books_and_readers(tmp_path: Path):
    """The first 400 readers: genres as weighted, and a known history that is a part of what they read."""
    if not (GOODBOOKS / "ratings.parquet").is_file():
        pytest.skip(f"no goodbooks in {GOODBOOKS}; set LERL_DATA to the folder that holds goodbooks/ratings.parquet")
    raw = tmp_path / "raw"
    raw.mkdir()
    ratings = pl.read_parquet(GOODBOOKS / "ratings.parquet")
    few = ratings.filter(pl.col("user_id").is_in(ratings["user_id"].unique().sort().head(400).implode()))
    few.write_parquet(raw / "ratings.parquet")
    for name in ("books", "book_genre_weights"):
        pl.read_parquet(GOODBOOKS / f"{name}.parquet").write_parquet(raw / f"{name}.parquet")
    report = prepare("goodbooks", raw, tmp_path / "out")
    people = load_population(tmp_path / "out")
    assert (report.users, report.interactions) == (400, len(few))
    assert people.catalog.titles[0] == "The Hunger Games (The Hunger Games, #1)"
    weights = pl.read_parquet(GOODBOOKS / "book_genre_weights.parquet").filter(pl.col("book_id") == 1).drop("book_id")
    wanted = {name for name in weights.columns if weights[name][0] > 0}
    names = people.catalog.categories.names
    assert {name for name, held in zip(names, people.catalog.categories.membership[0], strict=True) if held} == wanted
    assert 0.4 < len(people.history) / len(few) < 0.6
    assert report.knowledge_auc > 0.65
