"""What users chose one after another, from a prepared folder or from files that hold nothing but that.

A simulator needs to know what was shown and not chosen, and so `lerl data import` refuses a log of choices alone. To
rank the next item such a log is enough: users, items, and an order.
"""

from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from lerl.envs.draws import seed_from
from lerl.envs.logs.custom import TYPED, chosen_column
from lerl.envs.logs.interactions import AN_ID, MISSING, float_of, ids_of
from lerl.envs.logs.prepared import read_prepared_log
from lerl.envs.logs.scan import ROW, Check, Scan, scan
from lerl.envs.logs.times import SECOND, TIME, WRITE_DATES, Form, UnitError, form_of
from lerl.envs.schema import DataError
from lerl.envs.sequences import Choices, Lists
from lerl.envs.store import ABOUT_FILE, load_population

SEQUENCES, ITEMS = ("sequences.parquet", "sequences.csv"), ("items.parquet", "items.csv")
"""Names of files in a folder, where no other is given."""

HOLDS = f"{ABOUT_FILE} (a prepared folder), one of {', '.join(SEQUENCES)}, or one .inter file of RecBole"
MEND = "correct or remove the row"
AN_ITEM = "\x00item"
"""A column of ids; no header can hold this character."""
MARKS = ";\t|,"
"""What separates cells where the usual mark makes a single column."""


class Named(NamedTuple):
    """Which column is what; None is guessed from the columns' names.

    Attributes:
        user, item: ids. order: of places in each user's list. time: when; where there are both, times are used.
    """

    user: str | None = None
    item: str | None = None
    order: str | None = None
    time: str | None = None


def read_sequences(path: Path, items: Path | None = None, named: Named | None = None, *, seed: int = 0) -> Choices:
    """What each user chose, in order; rows of a user with the same time or place are put in an order that is drawn.

    Args:
        path: a prepared folder, whose clicks are read; a folder as `HOLDS` says; or a file of choices: Parquet, CSV
            with a header, or RecBole's .inter.
        items: a file of what is known of items; None for items.parquet, items.csv or the .item file beside `path`.
        named: which column is what. seed: of the order of what has the same time.

    Raises:
        DataError: the data cannot be used as they are, or a prepared folder is given with items or columns; the
            message names file, row, column and what to do.
        MissingDataError: a prepared folder is damaged.
    """
    path, named = Path(path), named or Named()
    if (path / ABOUT_FILE).is_file():
        if items or any(named):
            raise DataError(f"{path} is a prepared folder, which says what is what; leave out --items and columns")
        return _prepared(path, seed)
    file = _file_in(path) if path.is_dir() else path
    rows, timed, item, read = _rows(_opened(file), named)
    choices, tied = _choices(rows, timed, seed)
    listed = items or _items_beside(file)
    texts, known = dict[str, tuple[str, ...]](), ["no file of items: nothing but their ids is known"]
    if listed is not None:
        texts, known = _texts(_opened(listed), choices.items, item)
    return _noted(choices, texts, (read, *_notes(rows, tied, timed), *known))


def _opened(path: Path) -> Scan:
    """A file whose cells are separated as its name says, or as its header shows where that makes a single column."""
    found = scan(path)
    alone = found.columns[0] if found.delimiter and len(found.columns) == 1 else ""
    mark = next((mark for mark in MARKS if mark in alone), None)
    return found if mark is None else scan(path, mark)


def _file_in(folder: Path) -> Path:
    """The file of choices in a folder."""
    found = [folder / name for name in SEQUENCES if (folder / name).is_file()] or sorted(folder.glob("*.inter"))
    if len(found) != 1:
        given = sorted(path.name for path in folder.iterdir())[:8]
        raise DataError(f"{folder} must hold {HOLDS}, given {given}; give the file itself")
    return found[0]


def _items_beside(file: Path) -> Path | None:
    beside = [file.with_suffix(".item")] if file.suffix == ".inter" else [file.with_name(name) for name in ITEMS]
    return next((path for path in beside if path.is_file() and path != file), None)


def _prepared(folder: Path, seed: int) -> Choices:
    """The clicks of a prepared folder."""
    log, catalog = read_prepared_log(folder).filter("click"), load_population(folder).catalog
    if log.is_empty() or log["time"].null_count():
        why = "holds no clicks" if log.is_empty() else "knows no times of its clicks, so that their order is not known"
        raise DataError(f"{folder} {why}; import a log that has them, or give a file of sequences")
    ids = pl.DataFrame({"item": catalog.numbers, "id": catalog.item_ids})
    rows = log.join(ids, on="item").select(user=pl.col("user").cast(pl.String), item="id", key=pl.col("time") * SECOND)
    choices, tied = _choices(rows, True, seed)
    members = [", ".join(np.array(catalog.categories.names)[row].tolist()) for row in catalog.categories.membership]
    about = {"title": dict(zip(catalog.item_ids, catalog.titles, strict=True))}
    about["categories"] = dict(zip(catalog.item_ids, members, strict=True))
    texts = {name: tuple(of[item] for item in choices.items) for name, of in about.items()}
    return _noted(choices, texts, (f"{folder.name}: clicks in the order of their times", *_notes(rows, tied, True)))


def _rows(events: Scan, named: Named) -> tuple[pl.DataFrame, bool, str, str]:
    """Columns user, item (text) and key (Int64), whether keys are times, the column of items, and a line on all."""
    user = str(chosen_column(events, "user", named.user, needed="--user"))
    item = str(chosen_column(events, "item", named.item, needed="--item"))
    time = chosen_column(events, "time", named.time) if named.time or not named.order else None
    order = None if time else chosen_column(events, "order", named.order)
    if time is None and order is None:
        raise DataError(
            f"{events.path}: no column says in which order items were chosen, given {events.columns}; name one with "
            f"--time or --order: the order of rows in a file says nothing, or says too much"
        )
    users, items = ids_of(events, user), ids_of(events, item)
    checks = [Check(one.column, one.check.bad, AN_ID, MEND) for one in (users, items)]
    found = events.refuse(checks, **users.facts("user"), **items.facts("item"))
    users, items = users.settled(events, found, "user"), items.settled(events, found, "item")
    if time is not None:
        form = _form_of(events, time)
        frame, key, name, allowed = form.read(events.frame), pl.col(TIME), time, form.allowed
    else:
        name, number = str(order), float_of(events, str(order))
        frame, key, allowed = events.frame, number.floor().cast(pl.Int64, strict=False), "a whole number"
        key = pl.when(number == number.floor()).then(key)
    made = frame.select(ROW, user=users.text, item=items.text, key=key)
    rows = events.collect(made).sort(ROW)
    if rows["key"].null_count():
        first = rows.filter(pl.col("key").is_null())[ROW].to_list()
        events.refuse_row(first[0], len(first) - 1, name, allowed, MEND)
    said = f"{events.path.name}: users are {user}, items are {item}, in the order of {name}"
    return rows, time is not None, item, said


def _form_of(events: Scan, time: str) -> Form:
    try:
        return form_of(events.path, events.frame, time, None, events.collect)
    except UnitError as error:
        raise DataError(
            f"{error.given}; {WRITE_DATES}, or give --order {quote(time)} if all they say is in which order"
        ) from None


def _choices(rows: pl.DataFrame, timed: bool, seed: int) -> tuple[Choices, int]:
    """Lists from rows of user, item and key, and how many rows share user and key with another."""
    ids = {name: _sorted_ids(rows[name]) for name in ("user", "item")}
    places = [
        pl.col(name).replace_strict(ids[name], list(range(len(ids[name]))), return_dtype=pl.Int64) for name in ids
    ]
    rows = rows.select(*places, "key").sort("user", "key", "item")  # whatever the order in the file
    drawn = np.random.default_rng(seed_from(seed, "order of ties")).permutation(len(rows))
    rows = rows.with_columns(drawn=drawn).sort("user", "key", "drawn")
    tied = int(rows.select((pl.len().over("user", "key") > 1).sum()).item())
    counts = np.bincount(rows["user"].to_numpy(), minlength=len(ids["user"]))
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    lists = Lists(rows["item"].to_numpy().astype(np.int32), starts)
    times = rows["key"].to_numpy() if timed else None
    return Choices(tuple(ids["user"]), tuple(ids["item"]), lists, times), tied


def _sorted_ids(column: pl.Series) -> list[str]:
    """Ids, in the order of their numbers where all are whole numbers."""
    ids = column.unique()
    numbers = ids.cast(pl.Int64, strict=False)
    if numbers.null_count():
        return list(ids.sort())
    return list(pl.DataFrame({"id": ids, "number": numbers}).sort("number", "id")["id"])


def text_of(cell: pl.Expr, kind: pl.DataType) -> pl.Expr | None:
    """Cells of a type as text, null where there is none; parts of lists and structs are separated by commas.

    Returns:
        None for a type that holds no words: truth values, dates and times.
    """
    if isinstance(kind, pl.List | pl.Array):
        inner: Any = kind.inner
        part = text_of(pl.element(), inner)
        lists = cell.arr.to_list() if isinstance(kind, pl.Array) else cell
        return None if part is None else lists.list.eval(part).list.join(", ", ignore_nulls=True)
    if isinstance(kind, pl.Struct):
        fields: Any = kind.fields
        texts = [text_of(cell.struct.field(field.name), field.dtype) for field in fields]
        parts = [text for text in texts if text is not None]
        return pl.concat_str(parts, separator=", ", ignore_nulls=True) if parts else None
    if not (kind in (pl.String, pl.Categorical, pl.Enum, pl.Binary) or kind.is_numeric()):
        return None
    text = cell.cast(pl.String, strict=False).str.strip_chars()
    return pl.when(~text.str.to_lowercase().is_in(MISSING)).then(text)


def _texts(listed: Scan, items: tuple[str, ...], item: str) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    """What a file says of items, by column: one text each, empty where it says nothing; and notes on it.

    Args:
        listed: the file. items: ids. item: the log's column of items, which the file may have too.
    """
    known = item in listed.schema
    column = item if known else str(chosen_column(listed, "item", None, needed="a name such as item_id", also=["id"]))
    ids, path = ids_of(listed, column), listed.path
    cells = {name: text_of(pl.col(name), kind) for name, kind in listed.schema.items() if name != column}
    readable = {name: cell for name, cell in cells.items() if cell is not None}
    if listed.collect(listed.frame.select(**ids.facts("item")))["item floats"].item():  # "12.0" is 12
        ids = replace(ids, text=ids.text.str.strip_suffix(".0"))
    said = listed.frame.select(ROW, ids.text.alias(AN_ITEM), *(cell.alias(name) for name, cell in readable.items()))
    rows = listed.collect(said).sort(ROW).filter(pl.col(AN_ITEM).is_not_null())
    frame = rows.unique(AN_ITEM, keep="first", maintain_order=True)
    if not frame[AN_ITEM].is_in(items).any():
        given = "nothing" if frame.is_empty() else repr(frame[AN_ITEM][0])
        raise DataError(
            f"{path}, column {column}: no id is that of an item in the log, given such as {given}, there such as "
            f"{items[0]!r}; write ids alike in both files, or give another file with --items"
        )
    wanted = pl.DataFrame({AN_ITEM: items}).join(frame, on=AN_ITEM, how="left", maintain_order="left")
    texts = {TYPED.sub("", name): tuple(wanted[name].fill_null("")) for name in readable}
    bare = sum(not any(column[place] for column in texts.values()) for place in range(len(items)))
    of = f"{path.name}: {', '.join(texts) or 'nothing'} of items" + (f", not of {bare:,} of them" if bare else "")
    unread = [f"{name} ({listed.schema[name]})" for name in cells if name not in readable]
    notes = [of + (f"; not read: {', '.join(unread)}" if unread else "")]
    if repeats := len(rows) - len(frame):
        notes.append(f"{path.name}: {repeats:,} rows repeat an item: what its first row says is read")
    return texts, notes


def _notes(rows: pl.DataFrame, tied: int, timed: bool) -> list[str]:
    """What people should know of the data before they believe a figure."""
    notes, word = [], "time" if timed else "place"
    if tied:
        notes.append(
            f"{tied:,} of {len(rows):,} rows share their {word} with another row of their user: their order is drawn "
            f"by the seed, since that of a file may tell what comes next"
        )
    if repeats := len(rows) - rows.select("user", "item").n_unique():
        notes.append(f"{repeats:,} rows repeat a user and an item: kept")
    return notes


def _noted(choices: Choices, texts: dict[str, tuple[str, ...]], notes: tuple[str, ...]) -> Choices:
    return Choices(choices.users, choices.items, choices.lists, choices.times, texts, notes)
