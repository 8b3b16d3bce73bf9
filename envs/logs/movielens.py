"""MovieLens as GroupLens publishes it (Harper and Konstan 2015, The MovieLens datasets: history and context)."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import polars as pl

from lerl.envs.logs.categories import split_categories
from lerl.envs.logs.dataset import CLICK_STARS, DataSet, Layout, catalog_of, layout_of, or_id, or_other
from lerl.envs.logs.scan import scan
from lerl.envs.logs.table import Table, parquet, refuse_twice, separated, strings, whole, within
from lerl.envs.logs.times import SECOND, TIME, form_of

NO_GENRE = ("", "unknown", "(no genres listed)")
GENRES_100K = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy",
    "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip
"""The order of the genre flags in u.item, as the data set's u.genre gives it."""

ITEM_COLUMNS = ("movie_id", "title", "genres")
RATING_COLUMNS = ("user_id", "movie_id", "rating", "timestamp")


class _Reader(NamedTuple):
    """How a layout's files become tables of ITEM_COLUMNS and of RATING_COLUMNS."""

    items: Callable[[Path], Table]
    ratings: Callable[[Path], Table]


def _items_1m(path: Path) -> Table:
    return separated(path, "::", ITEM_COLUMNS)


def _ratings_1m(path: Path) -> Table:
    return separated(path, "::", RATING_COLUMNS)


def _items_100k(path: Path) -> Table:
    table = separated(path, "|", ("movie_id", "title", "release date", "video release date", "IMDb URL", *GENRES_100K))
    for genre in GENRES_100K:
        table.refuse(~table.frame[genre].is_in(["0", "1"]), genre, "0 or 1", "correct the flag")
    flagged = [pl.when(pl.col(genre) == "1").then(pl.lit(genre)) for genre in GENRES_100K]
    genres = pl.concat_list(flagged).list.drop_nulls().list.join("|")
    return Table(path, table.frame.select("row", "movie_id", "title", genres=genres))


def _ratings_100k(path: Path) -> Table:
    return separated(path, "\t", RATING_COLUMNS)


def _items_latest(path: Path) -> Table:
    return scan(path).table(movie_id="movieId", title="title", genres="genres")


def _ratings_latest(path: Path) -> Table:
    return scan(path).table(user_id="userId", movie_id="movieId", rating="rating", timestamp="timestamp")


def _items_parquet(path: Path) -> Table:
    return parquet(path, ITEM_COLUMNS)


def _ratings_parquet(path: Path) -> Table:
    return parquet(path, RATING_COLUMNS)


LOWEST, HIGHEST = 0.5, 5
READERS = {
    Layout("MovieLens-1M", "movies.dat", "ratings.dat"): _Reader(_items_1m, _ratings_1m),
    Layout("MovieLens-100K", "u.item", "u.data"): _Reader(_items_100k, _ratings_100k),
    Layout("MovieLens-latest", "movies.csv", "ratings.csv"): _Reader(_items_latest, _ratings_latest),
    Layout("Parquet", "movies.parquet", "ratings.parquet"): _Reader(_items_parquet, _ratings_parquet),
}


def read_movielens(folder: Path) -> DataSet:
    """MovieLens as published, or its tables as Parquet files; the files in the folder say which.

    - MovieLens-1M and -10M: movies.dat and ratings.dat, fields separated by `::`;
    - MovieLens-100K: u.item, separated by `|`, and u.data, separated by tabs;
    - MovieLens-latest, -20M, -25M and -32M: movies.csv (movieId, title, genres) and ratings.csv (userId, movieId,
      rating, timestamp), UTF-8;
    - movies.parquet (movie_id, title, genres) and ratings.parquet (user_id, movie_id, rating, timestamp).

    The text of the .dat and u. files is UTF-8 where it is valid UTF-8 and Latin-1, as published, where it is not.
    Ratings go from half a star to 5; of 4 stars or more they are a click. Of a user's ratings of one second the order
    is the file's. An item without a genre gets the category "other"; items without a rating are dropped.

    Raises:
        DataError: the data cannot be used as they are; the message names file, row, column and mend.
    """
    layout = layout_of(folder, list(READERS), "MovieLens")
    reader = READERS[layout]
    items = _items(reader.items(folder / layout.items))
    log = _log(reader.ratings(folder / layout.ratings), items)
    rated = items.filter(pl.col("item").is_in(log["item"].unique().to_list())).sort("item")
    return DataSet("movielens", catalog_of(rated), log, len(items) - len(rated))


def _items(table: Table) -> pl.DataFrame:
    """Columns item, id, title and categories, a list of at least one, from a table of ITEM_COLUMNS."""
    item = whole(table, "movie_id")
    refuse_twice(table, pl.DataFrame({"movie_id": item}), "movie_id", "an id that no other row has")
    title, cells = strings(table, "title"), table.frame.with_columns(strings(table, "genres"))
    genres, _ = split_categories(replace(table, frame=cells), "genres", usual="|")
    frame = pl.DataFrame({"item": item, "id": item.cast(pl.String), "title": title, "categories": genres})
    return or_other(or_id(frame).with_columns(pl.col("categories").list.eval(_known_genres())))


def _known_genres() -> pl.Expr:
    genre = pl.element().str.strip_chars()
    return genre.filter(~genre.str.to_lowercase().is_in(NO_GENRE))


def _log(table: Table, items: pl.DataFrame) -> pl.DataFrame:
    """The checked log from a table of RATING_COLUMNS, in order of user and item."""
    user, item = whole(table, "user_id"), whole(table, "movie_id")
    rating, time = within(table, "rating", LOWEST, HIGHEST), _nanoseconds(table, "timestamp")
    known = "the id of a movie in the list of movies"
    table.refuse(~item.is_in(items["item"].to_list()), "movie_id", known, "add the movie there or remove the row")
    pairs = pl.DataFrame({"user_id": user, "movie_id": item})
    refuse_twice(table, pairs, "movie_id", "one rating of a movie per user")
    log = pl.DataFrame({"user": user, "item": item, "click": rating >= CLICK_STARS, "rating": rating, "time": time})
    place = pl.col("time").rank("ordinal").over("user") - 1  # at the same time the order of the file, a page's
    return log.with_columns(pl.col("time") // SECOND, position=place.cast(pl.Int32)).sort("user", "item")


def _nanoseconds(table: Table, column: str) -> pl.Series:
    """A column of seconds since 1970, or of dates, as Int64 nanoseconds."""
    form = form_of(table.path, table.frame.lazy(), column, "s", pl.LazyFrame.collect, unit_given=False)
    time = form.read(table.frame.lazy()).select(pl.col(TIME).alias(column)).collect()[column]
    table.refuse(time.is_null(), column, form.allowed, "correct or remove the row")
    return time
