"""Logs of your own: which column is what, where it is not given, and the catalog from a file of items."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from lerl.envs.catalog import Axis, Catalog, number_of
from lerl.envs.logs.categories import split_categories, unescaped
from lerl.envs.logs.dataset import CLICK_STARS, OTHER, DataSet, catalog_of, or_id, or_other
from lerl.envs.logs.interactions import MISSING, Columns, Read, flag_of, float_of, ids_of, read_interactions
from lerl.envs.logs.parts import Asked, read_sample
from lerl.envs.logs.scan import ROW, Scan, scan
from lerl.envs.logs.table import Table, refuse_twice, refused_type
from lerl.envs.logs.times import UNITS
from lerl.envs.schema import DataError

THINGS = ("item", "movie", "book", "product", "video", "track", "song", "article", "game", "recipe", "business", "asin")
NAMES: dict[str, tuple[str, ...]] = {
    "user": ("userid", "user", "uid", "customerid", "customer", "visitorid", "memberid", "reviewerid"),
    "item": (*(f"{thing}id" for thing in THINGS), *THINGS, "iid"),
    "click": ("click", "clicked", "isclick", "liked", "islike", "label"),
    "rating": ("rating", "ratings", "stars", "score", "overall"),
    "time": (
        *("timestamp", "unixtimestamp", "timestampms", "timems", "unixtime", "unixreviewtime", "ts", "eventtime"),
        *("datetime", "time", "createdat", "ratedat", "date", "reviewtime"),
    ),
    "order": ("position", "order", "place", "sequence", "step", "itemposition", "rank"),
    "title": ("title", "name", "itemtitle", "itemname", "movietitle", "originaltitle"),
    "categories": ("categories", "category", "genres", "genre", "tags", "tag", "topics", "topic", "class"),
}
"""Usual names of columns, in lower case without blanks and underscores, the most specific first."""

EVENTS = ("event", "eventtype", "action", "behavior", "behaviour", "behaviortype", "interaction", "type")
"""Names of columns that say in words what a user did."""

TYPED = re.compile(r":(?:token|float|token_seq|float_seq)$")
"""Endings of column names in RecBole's atomic files; the tokens of a `token_seq` are separated by blanks."""

FLAG_NAMES = re.compile(r"(?i)^(?:is|has|in|can|was)[_ ]")
"""Columns of 0 and 1 whose names begin so say what is true of an item, not what category it has."""

STARS = 5.0
FEWEST_FLAGS = 2
MOST_EVENTS = 12
MOST_CATEGORIES = 500
"""A column with more different values holds titles or free text, not categories to plan along."""


@dataclass(frozen=True)
class Choices:
    """What is known about the files; None is guessed from the columns' names, and "" is no such column.

    Attributes:
        user: the column of users.
        item: the column of items.
        click: the column that says whether it was a click.
        rating: the column of ratings.
        click_from: a rating of this or more is a click.
        time: the column of times.
        time_unit: of times that are numbers, one of `lerl.envs.logs.times.UNITS`; None to infer it from the numbers.
        item_id: the items file's column of ids.
        title: the items file's column of titles.
        categories: the items file's column of categories.
        separator: between several categories in one cell.
        delimiter: between the cells of CSV files.
        min_interactions: users who met fewer items are left out; from 1 to 2**31.

    Raises:
        ValueError: a value is not allowed, or two exclude each other.
    """

    user: str | None = None
    item: str | None = None
    click: str | None = None
    rating: str | None = None
    click_from: float | None = None
    time: str | None = None
    time_unit: str | None = None
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
        if self.time_unit is not None and self.time_unit not in UNITS:
            raise ValueError(f"--time-unit must be one of {', '.join(UNITS)}, given {self.time_unit!r}")
        if self.min_interactions < 1:
            raise ValueError(f"--min-interactions must be 1 or more, given {self.min_interactions}")
        if self.min_interactions > 2**31:  # more than any log has
            raise ValueError(f"--min-interactions must be at most {2**31:,}, given a larger number")


def read_own_logs(
    interactions: Path,
    items: Path | None = None,
    choices: Choices | None = None,
    *,
    asked: Asked | None = None,
    note: Callable[[str], object] | None = None,
) -> DataSet:
    """A log and a catalog from a CSV or Parquet file each.

    Without a file of items every item of the log is in the catalog, its id is its title, and its category "other".

    Args:
        interactions: who met what.
        items: titles and categories; None if there is no such file.
        choices: which column is what; guessed from the columns' names where None.
        asked: how many users to simulate, where memory is to go by them, see `lerl.envs.logs.sample`; None for all.
        note: called with a line where the file is so large that memory may not do.

    Raises:
        DataError: the data cannot be used as they are; the message names file, row, column and mend.
        OSError: with `asked`, the disk is full.
    """
    choices = choices or Choices()
    events = scan(interactions, choices.delimiter)
    columns = _columns(events, choices)
    listed, seen = (None, []) if items is None else _items(scan(items, choices.delimiter), choices)
    known, least, sample = None if listed is None else listed["item"].to_numpy(), choices.min_interactions, None
    if asked is None:
        read = read_interactions(events, columns, known, note)
        log, left_out = _enough(read.log, least)
    else:
        read, sample, left_out = read_sample(events, columns, asked, known, least)
        log = read.log
    numbers = log["item"].unique().sort() if sample is None else sample.items["item"]
    if listed is None:
        catalog, dropped = _bare_catalog(numbers, read.item_ids), 0
        seen = [f"no items file: titles are ids, and the only category is {OTHER!r}"]
    else:
        met = listed.filter(pl.col("item").is_in(numbers.implode())).sort("item")
        catalog, dropped = catalog_of(met), len(listed) - len(met)
    notes = [_columns_note(events, columns, read), *read.notes, *seen]
    if read.merged:
        last = ", then the latest" if columns.time else ", then the highest rating" if columns.rating else ""
        notes.append(f"{read.merged:,} rows repeat a user and an item: kept was one each, a click first{last}")
    if left_out:
        notes.append(f"{left_out:,} users left out, with fewer than {choices.min_interactions} items")
    return DataSet(Path(interactions).stem, catalog, log, dropped, read.merged, tuple(notes), sample=sample)


def _columns(events: Scan, choices: Choices) -> Columns:
    """Which column is what."""
    user = chosen_column(events, "user", choices.user, needed="--user")
    item = chosen_column(events, "item", choices.item, needed="--item")
    rating = chosen_column(events, "rating", choices.rating)
    time = chosen_column(events, "time", choices.time)
    click = None if choices.click_from is not None else chosen_column(events, "click", choices.click)
    click_from = None if click else _click_from(events, rating, choices.click_from)
    return Columns(_name(user), _name(item), click, rating, click_from, time, choices.time_unit)


def _columns_note(events: Scan, columns: Columns, read: Read) -> str:
    """A line that says what each column was read as."""
    click = f"a click is a {columns.rating} of {columns.click_from:g} or more" if columns.click_from is not None else ""
    times = f"times are {columns.time}: {read.time}" if columns.time else "there are no times"
    taken = [f"users are {columns.user}", f"items are {columns.item}", click or f"a click is {columns.click}", times]
    return f"{events.path.name}: {', '.join(taken)}"


def _name(column: str | None) -> str:
    return column or ""


def chosen_column(of: Scan, role: str, given: str | None, needed: str = "", also: Sequence[str] = ()) -> str | None:
    """The column of a role: the one given, else the first whose name is one of the role's names or `also`."""
    untyped = {TYPED.sub("", column): column for column in reversed(of.columns)}
    if given:
        column = given if given in of.columns else untyped.get(given, given)
        of.need(column)
        return column
    if given is None:
        plain = {re.sub(r"[^a-z]", "", name.lower()): column for name, column in untyped.items()}
        found = next((plain[name] for name in (*NAMES[role], *also) if name in plain), None)
        if found is not None:
            return found
    if needed:
        raise DataError(
            f"{of.path}: no column looks like the {role}s', given {of.columns}; name it with {needed}{_hint(of)}"
        )
    return None


def _hint(of: Scan) -> str:
    """What may be wrong with a file's first row, to end an error with."""
    if of.delimiter is None:
        return ""
    if len(of.columns) == 1:
        return ", or give what separates cells with --delimiter"
    if any(column.strip()[:1].isdecimal() for column in of.columns):
        return ", and if the first row is data, write a row of names above it"
    return ""


def _click_from(events: Scan, rating: str | None, given: float | None) -> float:
    """The lowest rating that is a click: the one given, else 4 where all ratings lie within 0 to 5."""
    if rating is None:
        raise DataError(
            f"{events.path}: no column says what is a click, given {events.columns}{_kinds(events)}; name a "
            f"column of 0 and 1 with --click, or one of ratings with --rating and --click-from; where all rows are "
            f"clicks, what was shown and not clicked is missing: add it as rows with 0"
        )
    if given is not None:
        return given
    number = float_of(events, rating)
    number = number.filter(number.is_finite())  # what is none is refused later, with its row
    low, high = events.collect(events.frame.select(low=number.min(), high=number.max())).row(0)
    if low is None or (0 <= low <= high <= STARS and high >= CLICK_STARS):
        return CLICK_STARS
    raise DataError(
        f"{events.path}, column {rating}: ratings go from {low:g} to {high:g}, and which of them are clicks is not "
        f"plain; say it with --click-from"
    )


def _kinds(events: Scan) -> str:
    """The words that a column of events has, to say in an error; nothing where there is no such column."""
    plain = {re.sub(r"[^a-z]", "", column.lower()): column for column in reversed(events.columns)}
    column = next((plain[name] for name in EVENTS if name in plain), None)
    if column is None or events.schema[column] != pl.String:
        return ""
    words = events.collect(events.frame.select(pl.col(column).drop_nulls().unique())).to_series().sort().to_list()
    if not 1 <= len(words) <= MOST_EVENTS:
        return ""
    return f" (column {column} says {', '.join(map(repr, words))}: make a column of 0 and 1 of it)"


def _enough(log: pl.DataFrame, least: int) -> tuple[pl.DataFrame, int]:
    """The log without users who met fewer items than `least`, and how many those are."""
    if least == 1:
        return log, 0
    kept = log.filter(pl.len().over("user") >= least)
    if kept.is_empty():
        raise DataError(f"no user met {least} items or more; give a lower --min-interactions")
    return kept, log["user"].n_unique() - kept["user"].n_unique()


def _bare_catalog(numbers: pl.Series, texts: Mapping[int, str]) -> Catalog:
    """A catalog of items by their numbers, whose titles are their ids."""
    ids = tuple(texts.get(number, str(number)) for number in numbers.to_list())
    return Catalog(ids, tuple(f"item {name}" for name in ids), Axis((OTHER,), np.ones((len(ids), 1), bool)))


def _items(listed: Scan, choices: Choices) -> tuple[pl.DataFrame, list[str]]:
    """Columns item (the number), id, title and categories, and notes on how columns were read."""
    id_column = _name(chosen_column(listed, "item", choices.item_id, needed="--item-id", also=["id"]))
    title = chosen_column(listed, "title", choices.title)
    category = chosen_column(listed, "categories", choices.categories)
    flags, empty = ({}, 0) if category or choices.categories == "" else _flags(listed, id_column, title)
    ids = ids_of(listed, id_column)
    ids = ids.settled(listed, listed.refuse([ids.check], **ids.facts("item")), "item")
    texts = {"id": ids.text, "title": _text(listed, title), "categories": _cells(listed, category, flags)}
    frame = listed.collect(listed.frame.select(pl.col(ROW).alias("row"), **texts)).sort("row")
    table = Table(listed.path, frame, {"id": id_column, "categories": category or ""}, listed.line)
    refuse_twice(table, frame.select("id"), "id", "an id that no other row has")
    frame, split, entities = _listed(table, choices.separator, _typed_separator(category))
    numbers = pl.Series([number_of(text) for text in frame["id"]], dtype=pl.Int64)
    items = or_other(or_id(frame.with_columns(item=numbers)))
    _check_categories(listed, category, items)
    if category:
        taken = f"categories are {category}{split}"
    elif flags:
        taken = f"categories are the {len(flags)} columns of 0 and 1: {_short(list(flags.values()))}"
        taken += f"; {empty:,} empty cells in them are read as 0" if empty else ""
    else:
        taken = f"the only category is {OTHER!r}"
    notes = [f"{listed.path.name}: ids are {id_column}, titles are {title or 'ids'}, {taken}"]
    notes += [f"ids of {id_column} such as 12.0 are read as 12"] if ids.float_written else []
    notes += ["entities of HTML, such as &amp;, are read as the characters they stand for"] if entities else []
    bare = int((frame["categories"].list.len().fill_null(0) == 0).sum())
    notes += [f"{bare:,} items have no category: they are {OTHER!r}"] if bare and (category or flags) else []
    return items, notes


def _listed(table: Table, separator: str | None, usual: str | None) -> tuple[pl.DataFrame, str, bool]:
    """The table's frame with lists of categories, how its cells were read, and whether it held entities of HTML."""
    frame, split = table.frame, ""
    title, in_titles = unescaped(frame["title"])
    frame, in_categories = frame.with_columns(title), False
    if frame["categories"].dtype == pl.String:
        cells, in_categories = unescaped(frame["categories"])
        cleaned = replace(table, frame=frame.with_columns(cells))
        lists, split = split_categories(cleaned, "categories", separator, usual)
        frame = frame.with_columns(lists)
    return frame, split, in_titles or in_categories


def _typed_separator(category: str | None) -> str | None:
    """What separates several tokens in a column of one of RecBole's types; None for other columns."""
    kind = TYPED.search(category or "")
    if kind is None:
        return None
    return " " if kind.group() == ":token_seq" else ""


def _text(listed: Scan, column: str | None) -> pl.Expr:
    if column is None:
        return pl.lit(None, pl.String)
    given = listed.schema[column]
    if not (given in (pl.String, pl.Categorical, pl.Enum, pl.Null) or given.is_numeric()):
        raise refused_type(listed.path, column, given, "text")
    return pl.col(column).cast(pl.String).str.replace_all(r"\s+", " ")


def _cells(listed: Scan, column: str | None, flags: dict[str, str]) -> pl.Expr:
    """The cells of categories: text, or lists where a file's type or columns of 0 and 1 already say which."""
    if flags:
        names = [pl.when(flag_of(listed, flag)).then(pl.lit(name)) for flag, name in flags.items()]
        return pl.concat_list(names).list.drop_nulls()
    if column is None:
        return pl.lit([], pl.List(pl.String))
    given = listed.schema[column]
    if isinstance(given, pl.List) and (given.inner in (pl.String, pl.Categorical, pl.Enum) or given.inner.is_integer()):
        name = pl.element().str.strip_chars()
        return pl.col(column).cast(pl.List(pl.String)).list.eval(name.filter(name.is_not_null() & (name != "")))
    return _text(listed, column)


def _flags(listed: Scan, *used: str | None) -> tuple[dict[str, str], int]:
    """Columns of 0 and 1, one for each genre in some data sets, with the genres' names; how many cells are empty."""
    usable = [c for c, dtype in listed.schema.items() if dtype in (pl.String, pl.Boolean) or dtype.is_numeric()]
    candidates = [c for c in usable if c and c not in used and not FLAG_NAMES.match(c)]
    if not candidates:
        return {}, 0
    flagged = {c: flag_of(listed, c).is_not_null() for c in candidates}
    empty = {c: pl.col(c).cast(pl.String).str.strip_chars().str.to_lowercase().is_in(MISSING) for c in candidates}
    empty = {c: empty[c].fill_null(True) & ~flagged[c] for c in candidates}
    counts = [pl.struct(flags=flagged[c].sum(), empty=empty[c].sum(), rows=pl.len()).alias(c) for c in candidates]
    found = listed.collect(listed.frame.select(counts)).row(0, named=True)
    flags = [c for c, n in found.items() if n["flags"] and n["flags"] + n["empty"] == n["rows"]]
    if len(flags) < FEWEST_FLAGS:
        return {}, 0
    head = flags[0].partition("_")[0] + "_"  # as pandas' get_dummies names them: genre_Action, genre_Comedy
    cut = len(head) if all(flag.startswith(head) and flag != head for flag in flags) else 0
    return {flag: TYPED.sub("", flag[cut:]) for flag in flags}, sum(found[flag]["empty"] for flag in flags)


def _short(names: list[str]) -> str:
    return ", ".join(names[:4]) + (" and others" if len(names) > 4 else "")


def _check_categories(listed: Scan, column: str | None, items: pl.DataFrame) -> None:
    count = items["categories"].explode().n_unique()
    if count > MOST_CATEGORIES:
        raise DataError(
            f"{listed.path}, column {column}: given {count:,} different categories, allowed are {MOST_CATEGORIES}; "
            f"name a coarser column with --categories, or none with --categories '', and plan on clusters"
        )
