"""Named data sets: read a folder as its publisher lays it out, check every row, and prepare a population from it.

Supported: `movielens`, that is MovieLens-1M and MovieLens-100K as published by GroupLens (Harper and Konstan 2015,
The MovieLens datasets: history and context), or the tables of the former as Parquet files.
"""

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from lerl.envs.catalog import Axis, Catalog
from lerl.envs.logs import DataError, with_half
from lerl.envs.population import INTERACTIONS_FILE, check_vacant, new_folder

if TYPE_CHECKING:
    from lerl.envs.taste import FittedPopulation

CLICK_FROM = 4
"""A rating of so many stars or more is a click."""

RATINGS = (1, 5)
OTHER = "other"
CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
NO_GENRE = ("", "unknown", "(no genres listed)")
GENRES_100K = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy",
    "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip
"""The order of the genre flags in u.item, as the data set's u.genre gives it."""


@dataclass(frozen=True)
class DataSet:
    """What was read.

    Attributes:
        name: of the data set.
        catalog: the items that somebody rated, in order of their numbers.
        log: see `lerl.envs.logs.SCHEMA`, in order of user and item.
        dropped_items: how many items nobody rated.
    """

    name: str
    catalog: Catalog
    log: pl.DataFrame
    dropped_items: int


@dataclass(frozen=True)
class PrepareReport:
    """What `prepare` made, and how well each side predicts held-out clicks of evaluation users.

    Attributes:
        name: the data set's name.
        users: how many users.
        items: how many items, those nobody rated left out.
        dropped_items: how many items nobody rated.
        interactions: how many interactions, both halves together.
        base_rate: share of interactions that are clicks.
        training_users: how many users to train on.
        evaluation_users: how many users for evaluation only.
        truth_auc: chance that the truth ranks a held-out click above a held-out non-click.
        knowledge_auc: the same for what a recommender may know.
        truth_calibration_error: see `lerl.envs.taste.calibration_error`.
        knowledge_calibration_error: the same for what a recommender may know.
        truth_mean_predicted: mean probability that the truth gives to held-out interactions.
        truth_held_out_rate: share of clicks among them.
        knowledge_mean_predicted: the same for what a recommender may know.
        knowledge_held_out_rate: share of clicks among its held-out interactions.
        correlation: of the two sides' log-odds over all items, see `lerl.envs.taste.agreement`.
    """

    name: str
    users: int
    items: int
    dropped_items: int
    interactions: int
    base_rate: float
    training_users: int
    evaluation_users: int
    truth_auc: float
    knowledge_auc: float
    truth_calibration_error: float
    knowledge_calibration_error: float
    truth_mean_predicted: float
    truth_held_out_rate: float
    knowledge_mean_predicted: float
    knowledge_held_out_rate: float
    correlation: float

    def rows(self) -> list[tuple[str, str]]:
        """Label and value, one pair per line to print."""
        return [
            ("data set", self.name),
            ("users", f"{self.users:,}"),
            ("of them to train on", f"{self.training_users:,}"),
            ("of them for evaluation", f"{self.evaluation_users:,}"),
            ("items", f"{self.items:,}"),
            ("items dropped, nobody rated them", f"{self.dropped_items:,}"),
            ("interactions", f"{self.interactions:,}"),
            ("base rate of clicks", f"{self.base_rate:.3f}"),
            *_fit_rows("truth", self.truth_auc, self.truth_calibration_error),
            ("truth predicts / held out", f"{self.truth_mean_predicted:.3f} / {self.truth_held_out_rate:.3f}"),
            *_fit_rows("knowledge", self.knowledge_auc, self.knowledge_calibration_error),
            (
                "knowledge predicts / held out",
                f"{self.knowledge_mean_predicted:.3f} / {self.knowledge_held_out_rate:.3f}",
            ),
            ("correlation of truth and knowledge", f"{self.correlation:.3f}"),
        ]


def prepare(
    format: str, folder: Path, out: Path, *, dim: int = 8, seed: int = 0, overwrite: bool = False
) -> PrepareReport:
    """Read a data set, fit truth and knowledge, and write a folder for `Population.load`: wholly, or not at all.

    The same input gives the same files, byte for byte.

    Args:
        format: the data set's layout; "movielens".
        folder: where its files are.
        out: where to write; absent or empty, unless `overwrite`.
        dim: length of the item vectors, 1 or more.
        seed: for the start of the fit, 0 or more.
        overwrite: replace a data set prepared before.

    Raises:
        DataError: the data cannot be used as they are; the message names file, row, column and mend.
        FileExistsError: `out` is taken.
        ValueError: an argument is out of range.
    """
    check_vacant(out, overwrite=overwrite)
    data = read(format, folder)
    from lerl.envs.taste import fit_population

    fitted = fit_population(data.name, data.catalog, data.log, dim=dim, seed=seed)
    report = _report(data, fitted)
    settings = {"format": format, "dim": dim, "seed": seed}
    with new_folder(out, overwrite=overwrite) as partial:
        fitted.population.write(partial, about={"settings": settings, "report": asdict(report)})
        with_half(data.log).write_parquet(partial / INTERACTIONS_FILE)
    return report


def read(format: str, folder: Path) -> DataSet:
    """Read a data set and check every row.

    Raises:
        DataError: the data cannot be used as they are; the message names file, row, column and mend.
        ValueError: there is no such format.
    """
    if format not in READERS:
        raise ValueError(f"format must be one of {sorted(READERS)}, given {format!r}")
    return READERS[format](Path(folder))


def read_movielens(folder: Path) -> DataSet:
    """MovieLens as published, or its tables as Parquet files; which of them is told by the files in the folder.

    - MovieLens-1M: movies.dat and ratings.dat, fields separated by `::`;
    - MovieLens-100K: u.item, separated by `|`, and u.data, separated by tabs;
    - movies.parquet (movie_id, title, genres) and ratings.parquet (user_id, movie_id, rating, timestamp).

    Text is UTF-8 where it is valid UTF-8 and Latin-1, as published, where it is not. A rating of 4 stars or more is a
    click. An item without a genre gets the category "other"; items that nobody rated are dropped.

    Raises:
        DataError: the data cannot be used as they are; the message names file, row, column and mend.
    """
    layout = _layout(folder)
    items, table = layout.items(folder / layout.items_file), layout.ratings(folder / layout.ratings_file)
    log = _log(table, items)
    rated = items.filter(pl.col("item").is_in(log["item"].unique().to_list())).sort("item")
    return DataSet("movielens", _catalog(rated), log, len(items) - len(rated))


READERS: dict[str, Callable[[Path], DataSet]] = {"movielens": read_movielens}


@dataclass(frozen=True)
class _Table:
    """A file as read: one column per field, and the column `row`, counted from 1 as an editor counts lines."""

    path: Path
    frame: pl.DataFrame

    def refuse(self, bad: pl.Series, column: str, allowed: str, mend: str) -> None:
        """Raise a DataError for the first row for which `bad` is true, if there is one."""
        if not bad.any():
            return
        row, given = self.frame.filter(bad).select("row", column).row(0)
        others = f" ({bad.sum() - 1} more such rows)" if bad.sum() > 1 else ""
        shown = "nothing" if given is None else repr(given)
        raise DataError(f"{self.path}, row {row}, column {column}: given {shown}, allowed is {allowed}; {mend}{others}")


@dataclass(frozen=True)
class _Layout:
    name: str
    items_file: str
    ratings_file: str
    items: Callable[[Path], pl.DataFrame]
    ratings: Callable[[Path], _Table]


def _items_1m(path: Path) -> pl.DataFrame:
    return _items(_text(path, "::", ("movie_id", "title", "genres")))


def _ratings_1m(path: Path) -> _Table:
    return _text(path, "::", RATING_COLUMNS)


def _items_100k(path: Path) -> pl.DataFrame:
    table = _text(path, "|", ("movie_id", "title", "release date", "video release date", "IMDb URL", *GENRES_100K))
    for genre in GENRES_100K:
        table.refuse(~table.frame[genre].is_in(["0", "1"]), genre, "0 or 1", "correct the flag")
    flagged = [pl.when(pl.col(genre) == "1").then(pl.lit(genre)) for genre in GENRES_100K]
    genres = pl.concat_list(flagged).list.drop_nulls().list.join("|")
    return _items(_Table(path, table.frame.select("row", "movie_id", "title", genres=genres)))


def _ratings_100k(path: Path) -> _Table:
    return _text(path, "\t", RATING_COLUMNS)


def _items_parquet(path: Path) -> pl.DataFrame:
    return _items(_parquet(path, ("movie_id", "title", "genres")))


def _ratings_parquet(path: Path) -> _Table:
    return _parquet(path, RATING_COLUMNS)


RATING_COLUMNS = ("user_id", "movie_id", "rating", "timestamp")
LAYOUTS = (
    _Layout("MovieLens-1M", "movies.dat", "ratings.dat", _items_1m, _ratings_1m),
    _Layout("MovieLens-100K", "u.item", "u.data", _items_100k, _ratings_100k),
    _Layout("Parquet", "movies.parquet", "ratings.parquet", _items_parquet, _ratings_parquet),
)


def _layout(folder: Path) -> _Layout:
    """The layout of a folder: the first of which every file is there."""
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; give the folder that holds {_wanted()}")
    there = {layout: _files(folder, layout) for layout in LAYOUTS}
    for layout, files in there.items():
        if len(files) == 2:
            return layout
    for layout, files in there.items():
        for file in files:
            missing = layout.ratings_file if file == layout.items_file else layout.items_file
            raise DataError(f"{folder / missing} is missing; {layout.name} needs it beside {file}: copy it there")
    raise DataError(f"{folder} holds no MovieLens data; {_elsewhere(folder)}a folder must hold {_wanted()}")


def _files(folder: Path, layout: _Layout) -> list[str]:
    return [file for file in (layout.items_file, layout.ratings_file) if (folder / file).is_file()]


def _wanted() -> str:
    return ", or ".join(f"{layout.items_file} and {layout.ratings_file} ({layout.name})" for layout in LAYOUTS)


def _elsewhere(folder: Path) -> str:
    """A hint for who unpacked an archive and gave the folder around it."""
    for inner in sorted(path for path in folder.iterdir() if path.is_dir()):
        if any(len(_files(inner, layout)) == 2 for layout in LAYOUTS):
            return f"did you mean {inner}? "
    return ""


def _text(path: Path, separator: str, columns: tuple[str, ...]) -> _Table:
    """A text file of separated fields without a header; blank lines are skipped."""
    lines = pl.DataFrame({"line": _decoded(path).split("\n")}).with_row_index("row", offset=1)
    lines = lines.with_columns(pl.col("line").str.strip_suffix("\r")).filter(pl.col("line").str.strip_chars() != "")
    _refuse_empty(path, lines)
    split = lines.select("row", "line", fields=pl.col("line").str.split(separator))
    wrong = split.filter(pl.col("fields").list.len() != len(columns))
    if len(wrong):
        row, line, found = wrong.row(0)
        raise DataError(
            f"{path}, row {row}: given {len(found)} fields ({line[:80]!r}), allowed are {len(columns)}, separated by "
            f"{separator!r}: {', '.join(columns)}; correct or remove the row ({len(wrong)} such rows)"
        )
    return _Table(path, split.select("row", *(pl.col("fields").list.get(i).alias(c) for i, c in enumerate(columns))))


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


def _parquet(path: Path, columns: tuple[str, ...]) -> _Table:
    try:
        frame = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{path} cannot be read as Parquet ({error}); fetch or write the file again") from error
    for column in columns:
        if column not in frame.columns:
            raise DataError(f"{path}: column {column} is missing, given {frame.columns}; rename or add the column")
    _refuse_empty(path, frame)
    return _Table(path, frame.select(columns).with_row_index("row", offset=1))


def _refuse_empty(path: Path, frame: pl.DataFrame) -> None:
    if frame.is_empty():
        raise DataError(f"{path} is empty; it needs at least one row: fetch or write the file again")


def _items(table: _Table) -> pl.DataFrame:
    """Columns item, title and genres, a list of at least one, from a table of movie_id, title and genres."""
    item = _whole(table, "movie_id")
    _refuse_twice(table, pl.DataFrame({"movie_id": item}), "movie_id", "an id that no other row has")
    genres = _strings(table, "genres").fill_null("").str.split("|")
    title = _strings(table, "title").fill_null("").str.strip_chars()
    frame = pl.DataFrame({"item": item, "title": title, "genres": genres}).with_columns(
        pl.when(pl.col("title") == "").then(pl.format("item {}", "item")).otherwise("title").alias("title"),
        pl.col("genres").list.eval(_known_genres()).list.unique(maintain_order=True),
    )
    lonely = pl.col("genres").list.len() == 0
    return frame.with_columns(genres=pl.when(lonely).then(pl.lit([OTHER])).otherwise("genres"))


def _known_genres() -> pl.Expr:
    genre = pl.element().str.strip_chars()
    return genre.filter(~genre.str.to_lowercase().is_in(NO_GENRE))


def _log(table: _Table, items: pl.DataFrame) -> pl.DataFrame:
    """The checked log from a table of user_id, movie_id, rating and timestamp, in order of user and item."""
    user, item = _whole(table, "user_id"), _whole(table, "movie_id")
    rating, time = _rating(table), _seconds(table)
    known = "the id of a movie in the list of movies"
    table.refuse(~item.is_in(items["item"].to_list()), "movie_id", known, "add the movie there or remove the row")
    pairs = pl.DataFrame({"user_id": user, "movie_id": item})
    _refuse_twice(table, pairs, "movie_id", "one rating of a movie per user")
    log = pl.DataFrame({"user": user, "item": item, "click": rating >= CLICK_FROM, "rating": rating, "time": time})
    return log.sort("user", "item")


def _refuse_twice(table: _Table, keys: pl.DataFrame, column: str, allowed: str) -> None:
    repeats = ~keys.select(first=pl.struct(pl.all()).is_first_distinct())["first"]
    if not repeats.any():
        return
    key = keys.filter(repeats).row(0, named=True)
    same = pl.all_horizontal(*(keys[name] == value for name, value in key.items()))
    first = table.frame.filter(keys.select(same=same)["same"])["row"][0]
    which = ", ".join(f"{name} {value}" for name, value in key.items())
    table.refuse(repeats, column, allowed, f"row {first} has {which} already: remove one of them")


def _whole(table: _Table, column: str) -> pl.Series:
    """A column of whole numbers, Int64."""
    number = _cast(table, column, pl.Int64)
    bad = number.is_null()
    if table.frame[column].dtype.is_float():
        bad |= (table.frame[column] != number).fill_null(True)
    table.refuse(bad, column, "a whole number", "correct or remove the row")
    return number


def _rating(table: _Table) -> pl.Series:
    low, high = RATINGS
    rating = _cast(table, "rating", pl.Float32)
    bad = ~rating.is_between(low, high).fill_null(False)
    table.refuse(bad, "rating", f"a number from {low} to {high}", "correct or remove the row")
    return rating


def _seconds(table: _Table) -> pl.Series:
    """The column timestamp as whole seconds since 1970, Int64; dates and times of a Parquet file are converted."""
    given = table.frame["timestamp"]
    if given.dtype == pl.Datetime:
        seconds = given.dt.epoch("s")
    else:
        seconds = _cast(table, "timestamp", pl.Float64).floor().cast(pl.Int64, strict=False)
    table.refuse(seconds.is_null(), "timestamp", "a number of seconds since 1970", "correct or remove the row")
    return seconds


def _cast(table: _Table, column: str, dtype: type[pl.DataType]) -> pl.Series:
    """The column as numbers, null where it is none."""
    given = table.frame[column]
    if not (given.dtype.is_numeric() or given.dtype == pl.String):
        raise DataError(f"{table.path}, column {column}: given {given.dtype}, allowed are numbers; convert the column")
    return given.cast(dtype, strict=False)


def _strings(table: _Table, column: str) -> pl.Series:
    given = table.frame[column]
    if given.dtype not in (pl.String, pl.Categorical, pl.Null):
        raise DataError(f"{table.path}, column {column}: given {given.dtype}, allowed is text; convert the column")
    return given.cast(pl.String)


def _catalog(items: pl.DataFrame) -> Catalog:
    """A catalogue of item, title and genres; categories in order of name, "other" last."""
    used = set(items["genres"].explode())
    names = (*sorted(used - {OTHER}), *sorted(used & {OTHER}))
    membership = np.stack([items["genres"].list.contains(name).to_numpy() for name in names], axis=1)  # (I, C)
    return Catalog(tuple(str(item) for item in items["item"]), tuple(items["title"]), Axis(names, membership))


def _report(data: DataSet, fitted: "FittedPopulation") -> PrepareReport:
    training = fitted.population.training
    return PrepareReport(
        name=data.name,
        users=len(training),
        items=len(data.catalog),
        dropped_items=data.dropped_items,
        interactions=len(data.log),
        base_rate=float(data.log["click"].to_numpy().mean()),
        training_users=int(training.sum()),
        evaluation_users=int((~training).sum()),
        truth_auc=fitted.truth_fit.auc,
        knowledge_auc=fitted.knowledge_fit.auc,
        truth_calibration_error=fitted.truth_fit.calibration_error,
        knowledge_calibration_error=fitted.knowledge_fit.calibration_error,
        truth_mean_predicted=fitted.truth_fit.mean_predicted,
        truth_held_out_rate=fitted.truth_fit.base_rate,
        knowledge_mean_predicted=fitted.knowledge_fit.mean_predicted,
        knowledge_held_out_rate=fitted.knowledge_fit.base_rate,
        correlation=fitted.correlation,
    )


def _fit_rows(side: str, auc: float, error: float) -> tuple[tuple[str, str], ...]:
    return (f"{side} AUC, held out", f"{auc:.3f}"), (f"{side} calibration error", f"{error:.4f}")
