"""Logs of your own: which column is what, where nobody said it, and the catalogue from a file of items."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lerl.envs.catalog import Axis, Catalog
from lerl.envs.interactions import UNITS, Columns, Read, float_of, id_check, id_text, number_of, read_interactions
from lerl.envs.layouts import CLICK_FROM, OTHER, DataSet, catalog_of, or_id, or_other
from lerl.envs.logs import DataError
from lerl.envs.scans import ROW, Scan, scan
from lerl.envs.tables import Table, refuse_twice, refused_type

THINGS = ("item", "movie", "book", "product", "video", "track", "song", "article", "game", "recipe", "business", "asin")
NAMES: dict[str, tuple[str, ...]] = {
    "user": ("userid", "user", "uid", "customerid", "customer", "visitorid", "memberid", "reviewerid"),
    "item": (*(f"{thing}id" for thing in THINGS), *THINGS, "iid", "id"),
    "click": ("click", "clicked", "isclick", "liked", "islike", "label"),
    "rating": ("rating", "ratings", "stars", "score", "overall"),
    "time": ("timestamp", "time", "datetime", "date", "unixreviewtime", "ts", "createdat", "timems"),
    "title": ("title", "name", "itemtitle", "itemname", "originaltitle"),
    "categories": ("categories", "category", "genres", "genre", "tags", "tag", "topics", "topic"),
}
"""Names that columns go by, in lower case without blanks and underscores, the most telling first."""

STARS = 5.0
SEPARATORS = ("|", ";", ",")
MOST_CATEGORIES = 500
"""More would be no axis to plan along: they are titles, or free text."""


@dataclass(frozen=True)
class Choices:
    """What a user says about the files; None is guessed from the column's name, and "" is nothing.

    Attributes:
        user: the column of users.
        item: the column of items.
        click: the column that says whether it was a click.
        rating: the column of ratings.
        click_from: a rating of so much or more is a click.
        time: the column of times.
        time_unit: of times that are numbers: "s", "ms" or "us".
        item_id: the items file's column of ids.
        title: the items file's column of titles.
        categories: the items file's column of categories.
        separator: between several categories in one cell.
        delimiter: between the cells of CSV files.
        min_interactions: users who met fewer items are left out.
    """

    user: str | None = None
    item: str | None = None
    click: str | None = None
    rating: str | None = None
    click_from: float | None = None
    time: str | None = None
    time_unit: str = "s"
    item_id: str | None = None
    title: str | None = None
    categories: str | None = None
    separator: str | None = None
    delimiter: str | None = None
    min_interactions: int = 1

    def __post_init__(self) -> None:
        if self.click and self.click_from is not None:
            raise ValueError("give --click or --click-from, not both: a column says what a click is, or a rating does")
        if self.click_from is not None and not np.isfinite(self.click_from):
            raise ValueError(f"--click-from must be a number, given {self.click_from}")
        if self.time_unit not in UNITS:
            raise ValueError(f"--time-unit must be one of {', '.join(UNITS)}, given {self.time_unit!r}")
        if self.min_interactions < 1:
            raise ValueError(f"--min-interactions must be 1 or more, given {self.min_interactions}")
        if self.min_interactions > 2**31:  # more than any log has
            raise ValueError(f"--min-interactions must be at most {2**31:,}, given a larger number")


def read_own_logs(interactions: Path, items: Path | None = None, choices: Choices | None = None) -> DataSet:
    """A log and a catalogue from a CSV or Parquet file each.

    Without a file of items every item of the log is in the catalogue, its id is its title, and its category "other".

    Raises:
        DataError: the data cannot be used as they are; the message names file, row, column and mend.
    """
    choices = choices or Choices()
    events = scan(interactions, choices.delimiter)
    columns, notes = _columns(events, choices)
    if items is None:
        read = read_interactions(events, columns)
        log, left_out = _enough(read.log, choices.min_interactions)
        catalog, numbers = _bare_catalog(log, read)
        dropped, seen = 0, [f"no items file: titles are ids, and the only category is {OTHER!r}"]
    else:
        listed, seen = _items(scan(items, choices.delimiter), choices)
        read = read_interactions(events, columns, listed["item"].to_numpy())
        log, left_out = _enough(read.log, choices.min_interactions)
        met = listed.filter(pl.col("item").is_in(log["item"].unique().implode())).sort("item")
        catalog, numbers, dropped = catalog_of(met), met["item"].to_numpy(), len(listed) - len(met)
    notes += seen
    if read.merged:
        notes.append(
            f"{read.merged:,} rows repeat a user and an item: kept was one each, a click first, then the latest"
        )
    if left_out:
        notes.append(f"{left_out:,} users left out, with fewer than {choices.min_interactions} items")
    return DataSet(Path(interactions).stem, catalog, log, dropped, read.merged, numbers, tuple(notes))


def _columns(events: Scan, choices: Choices) -> tuple[Columns, list[str]]:
    """Which column is what, and a note that says it."""
    user = _chosen(events, "user", choices.user, needed="--user")
    item = _chosen(events, "item", choices.item, needed="--item")
    rating = _chosen(events, "rating", choices.rating)
    time = _chosen(events, "time", choices.time)
    click = None if choices.click_from is not None else _chosen(events, "click", choices.click)
    click_from = None if click else _click_from(events, rating, choices.click_from)
    columns = Columns(_name(user), _name(item), click, rating, click_from, time, choices.time_unit)
    told = f"a click is {click}" if click else f"a click is a {rating} of {click_from:g} or more"
    taken = [f"users are {user}", f"items are {item}", told, f"times are {time}" if time else "there are no times"]
    return columns, [f"{events.path.name}: {', '.join(taken)}"]


def _name(column: str | None) -> str:
    return column or ""


def _chosen(of: Scan, role: str, given: str | None, needed: str = "") -> str | None:
    """The column that plays a role: the one given, or else the first that goes by one of the role's names."""
    if given:
        of.need(given)
        return given
    if given is None:
        plain = {re.sub(r"[^a-z]", "", column.lower()): column for column in reversed(of.columns)}
        found = next((plain[name] for name in NAMES[role] if name in plain), None)
        if found is not None:
            return found
    if needed:
        raise DataError(
            f"{of.path}: no column looks like the {role}s', given {of.columns}; name it with {needed}"
            + ("" if of.delimiter is None or len(of.columns) > 1 else ", or give what separates cells with --delimiter")
        )
    return None


def _click_from(events: Scan, rating: str | None, given: float | None) -> float:
    """The rating that a click begins at: 4 where all ratings lie within 0 to 5, and nowhere else without being told."""
    if rating is None:
        raise DataError(
            f"{events.path}: nothing tells clicks from what is none, given {events.columns}; name a column of 0 and 1 "
            f"with --click, or one of ratings with --rating and --click-from"
        )
    if given is not None:
        return given
    number = float_of(events, rating)
    number = number.filter(number.is_finite())  # what is none is refused later, with its row
    low, high = events.collect(events.frame.select(low=number.min(), high=number.max())).row(0)
    if low is None or (0 <= low <= high <= STARS and high >= CLICK_FROM):
        return CLICK_FROM
    raise DataError(
        f"{events.path}, column {rating}: ratings go from {low:g} to {high:g}, and which of them are clicks is not "
        f"plain; say it with --click-from"
    )


def _enough(log: pl.DataFrame, least: int) -> tuple[pl.DataFrame, int]:
    """The log without users who met fewer items than `least`, and how many those are."""
    if least == 1:
        return log, 0
    kept = log.filter(pl.len().over("user") >= least)
    if kept.is_empty():
        raise DataError(f"no user met {least} items or more; give a lower --min-interactions")
    return kept, log["user"].n_unique() - kept["user"].n_unique()


def _bare_catalog(log: pl.DataFrame, read: Read) -> tuple[Catalog, NDArray[np.int64]]:
    numbers = log["item"].unique().sort().to_numpy()
    ids = tuple(read.item_ids.get(number, str(number)) for number in numbers.tolist())
    return Catalog(ids, tuple(f"item {name}" for name in ids), Axis((OTHER,), np.ones((len(ids), 1), bool))), numbers


def _items(listed: Scan, choices: Choices) -> tuple[pl.DataFrame, list[str]]:
    """Columns item (the number), id, title and categories, and notes that say what was taken for what."""
    id_column = _name(_chosen(listed, "item", choices.item_id, needed="--item-id"))
    title = _chosen(listed, "title", choices.title)
    category = _chosen(listed, "categories", choices.categories)
    listed.refuse([id_check(listed, id_column)])
    texts = {"id": id_text(listed, id_column), "title": _text(listed, title)}
    lists, split = _categories(listed, category, choices.separator)
    frame = listed.collect(listed.frame.select(pl.col(ROW).alias("row"), **texts, categories=lists))
    table = Table(listed.path, frame, {"id": id_column}, listed.line)
    refuse_twice(table, frame.select("id"), "id", "an id that no other row has")
    numbers = pl.Series([number_of(text) for text in frame["id"]], dtype=pl.Int64)
    items = or_other(or_id(frame.with_columns(item=numbers)))
    _check_categories(listed, category, items)
    told = f"categories are {category}{split}" if category else f"the only category is {OTHER!r}"
    note = f"{listed.path.name}: ids are {id_column}, titles are {title or 'ids'}, {told}"
    return items, [note]


def _text(listed: Scan, column: str | None) -> pl.Expr:
    if column is None:
        return pl.lit(None, pl.String)
    given = listed.schema[column]
    if not (given in (pl.String, pl.Categorical, pl.Enum, pl.Null) or given.is_numeric()):
        raise refused_type(listed.path, column, given, "text")
    return pl.col(column).cast(pl.String).str.replace_all(r"\s+", " ")


def _categories(listed: Scan, column: str | None, separator: str | None) -> tuple[pl.Expr, str]:
    """Lists of categories, and how cells were split, to print."""
    if column is None:
        return pl.lit([], pl.List(pl.String)), ""
    given = listed.schema[column]
    if given == pl.List(pl.String):
        return _cleaned(pl.col(column)), ""
    text = _text(listed, column).fill_null("")
    mark = _separator(listed, text) if separator is None else separator
    cells = text.str.split(mark) if mark else pl.concat_list(text)
    return _cleaned(cells), f", separated by {mark!r}" if mark else ", one each"


def _separator(listed: Scan, text: pl.Expr) -> str:
    """The first of the usual separators that a cell holds; none if no cell holds one."""
    found = listed.collect(
        listed.frame.select(text.str.contains(mark, literal=True).any().alias(mark) for mark in SEPARATORS)
    )
    return next((mark for mark in SEPARATORS if found[mark][0]), "")


def _cleaned(lists: pl.Expr) -> pl.Expr:
    name = pl.element().str.strip_chars()
    return lists.list.eval(name.filter(name.is_not_null() & (name != "")))


def _check_categories(listed: Scan, column: str | None, items: pl.DataFrame) -> None:
    count = items["categories"].explode().n_unique()
    if count > MOST_CATEGORIES:
        raise DataError(
            f"{listed.path}, column {column}: given {count:,} different categories, allowed are {MOST_CATEGORIES}; "
            f"name a coarser column with --categories, or none with --categories '', and plan on clusters"
        )
