"""goodbooks-10k: six million ratings of ten thousand books (Zając 2017, github.com/zygmuntz/goodbooks-10k)."""

from pathlib import Path

import polars as pl

from lerl.envs.logs.dataset import CLICK_STARS, DataSet, Layout, catalog_of, layout_of, or_id, or_other
from lerl.envs.logs.interactions import Columns, read_interactions
from lerl.envs.logs.scan import scan
from lerl.envs.logs.table import Table, cast, refuse_twice, strings, whole

CSV = Layout("CSV, as published", "books.csv", "ratings.csv")
PARQUET = Layout("Parquet", "books.parquet", "ratings.parquet")
TAG_FILES = ("tags.csv", "book_tags.csv")
WEIGHTS_FILE = "book_genre_weights.parquet"
RATINGS = Columns("user_id", "book_id", rating="rating", click_from=CLICK_STARS, bounds=(1, 5))

GENRES = (
    "art", "biography", "business", "chick-lit", "childrens", "christian", "classics", "comics", "contemporary",
    "cookbooks", "crime", "fantasy", "graphic-novels", "historical-fiction", "history", "horror", "humor", "manga",
    "memoir", "music", "mystery", "nonfiction", "paranormal", "philosophy", "poetry", "psychology", "religion",
    "romance", "science", "science-fiction", "self-help", "spirituality", "sports", "suspense", "thriller", "travel",
    "young-adult",
)  # fmt: skip
"""Tags that name a genre. Most of the 34,000 tags say when or how a book was read, or who owns it."""

SPELLINGS = {
    "sci-fi": "science-fiction", "scifi": "science-fiction", "non-fiction": "nonfiction", "ya": "young-adult",
    "classic": "classics", "children": "childrens", "children-s": "childrens", "childrens-books": "childrens",
    "biographies": "biography", "memoirs": "memoir", "mysteries": "mystery", "thrillers": "thriller",
    "graphic-novel": "graphic-novels", "humour": "humor", "chicklit": "chick-lit", "cookbook": "cookbooks",
}  # fmt: skip
"""Other spellings of the same genres."""

LEAST_SHARE = 0.2
"""A book is of a genre when readers tagged it so at least this often for each time that they tagged its main genre."""


def read_goodbooks(folder: Path) -> DataSet:
    """goodbooks-10k as published, or its tables as Parquet files; the files in the folder say which.

    - books.csv and ratings.csv (user_id, book_id, rating), and beside them tags.csv and book_tags.csv, by whose counts
      a book gets its genres: see GENRES, SPELLINGS and LEAST_SHARE;
    - books.parquet (book_id, title) and ratings.parquet, and beside them book_genre_weights.parquet with a column per
      genre: a weight above 0 makes it a category of the book.

    A book without a genre gets the category "other", and so do all books where the files of genres are missing.
    A rating of 4 or more is a click. There are no times: the order in which a user read is not known.

    Raises:
        DataError: the data cannot be used as they are; the message names file, row, column and mend.
    """
    layout = layout_of(folder, [CSV, PARQUET], "goodbooks")
    books = _books(folder / layout.items, with_goodreads_id=layout == CSV)
    genres, note = _tagged(folder, books) if layout == CSV else _weighted(folder)
    items = or_other(or_id(books.join(genres, on="item", how="left", maintain_order="left")))
    read = read_interactions(scan(folder / layout.ratings), RATINGS, items["item"].to_numpy())
    rated = items.filter(pl.col("item").is_in(read.log["item"].unique().implode())).sort("item")
    return DataSet("goodbooks", catalog_of(rated), read.log, len(items) - len(rated), read.merged, notes=(note,))


def _books(path: Path, with_goodreads_id: bool) -> pl.DataFrame:
    """Columns item, id and title, and with `with_goodreads_id` goodreads."""
    more = {"goodreads_book_id": "goodreads_book_id"} if with_goodreads_id else {}
    table = scan(path).table(book_id="book_id", title="title", **more)
    item = whole(table, "book_id")
    refuse_twice(table, pl.DataFrame({"book_id": item}), "book_id", "an id that no other row has")
    books = pl.DataFrame({"item": item, "id": item.cast(pl.String), "title": strings(table, "title")})
    return books.with_columns(goodreads=whole(table, "goodreads_book_id")) if more else books


def _tagged(folder: Path, books: pl.DataFrame) -> tuple[pl.DataFrame, str]:
    """Columns item and categories from how often readers gave each tag, and a note."""
    missing = [name for name in TAG_FILES if not (folder / name).is_file()]
    if missing:
        return _no_genres(f"{missing[0]} is not there")
    tags = scan(folder / TAG_FILES[0]).table(tag_id="tag_id", tag_name="tag_name")
    given = scan(folder / TAG_FILES[1]).table(goodreads="goodreads_book_id", tag_id="tag_id", count="count")
    named = pl.DataFrame({"tag": whole(tags, "tag_id"), "name": strings(tags, "tag_name").replace(SPELLINGS)})
    counts = pl.DataFrame({c: whole(given, c) for c in ("goodreads", "tag_id", "count")}).rename({"tag_id": "tag"})
    genres = counts.join(named.filter(pl.col("name").is_in(GENRES)), on="tag").join(books, on="goodreads")
    summed = genres.group_by("item", "name").agg(pl.col("count").sum()).filter(pl.col("count") > 0)
    main = summed.filter(pl.col("count") >= LEAST_SHARE * pl.col("count").max().over("item"))
    return _lists(
        main
    ), f"genres are tags: {len(GENRES)} of them, given at least {LEAST_SHARE:g} as often as a book's main"


def _weighted(folder: Path) -> tuple[pl.DataFrame, str]:
    """Columns item and categories from weights above 0, and a note."""
    path = folder / WEIGHTS_FILE
    if not path.is_file():
        return _no_genres(f"{WEIGHTS_FILE} is not there")
    weights = scan(path)
    weights.need("book_id")
    genres = [name for name in weights.columns if name != "book_id"]
    table = weights.table(book_id="book_id", **{name: name for name in genres})
    item = whole(table, "book_id")
    refuse_twice(table, pl.DataFrame({"book_id": item}), "book_id", "an id that no other row has")
    weighted = pl.DataFrame({"item": item, **{name: _weight(table, name) for name in genres}})
    return _lists(
        weighted.unpivot(index="item", variable_name="name").filter(pl.col("value") > 0)
    ), "genres are weights above 0"


def _weight(table: Table, genre: str) -> pl.Series:
    weight = cast(table, genre, pl.Float64)
    table.refuse(~weight.is_finite().fill_null(False), genre, "a number", "correct the weight; 0 is none")
    return weight


def _lists(pairs: pl.DataFrame) -> pl.DataFrame:
    """Columns item and categories, in order of name, from rows of item and name."""
    return pairs.sort("item", "name").group_by("item", maintain_order=True).agg(categories="name")


def _no_genres(why: str) -> tuple[pl.DataFrame, str]:
    empty = pl.DataFrame(schema={"item": pl.Int64, "categories": pl.List(pl.String)})
    return empty, f"no genres: {why}; the only category is 'other'"
