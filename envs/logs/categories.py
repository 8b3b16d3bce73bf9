"""Cells of categories: one name, several names with a separator, or a list as programs write it."""

import ast
import csv
import html
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from lerl.envs.logs.interactions import MISSING
from lerl.envs.logs.table import Table

NONE = (*MISSING, "(no genres listed)", "[]", "{}", "()")
"""Cells without a category, in lower case."""

BRACKETS = {"[": "]", "{": "}", "(": ")"}
ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z][a-zA-Z0-9]{1,31});")
QUOTED = re.compile(r"'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\"")
NAME_KEYS = ("name", "title", "label", "genre", "category")
WRAPPED = re.compile(r"(?:np\.|numpy\.)?(?:array|list|tuple|set|frozenset)\((.*?)(?:, *dtype=[^(),]*)?\)", re.DOTALL)
"""A list with its type around it, as Python prints arrays and some sets."""
QUOTED_NAMES = re.compile(rf"(?:{QUOTED.pattern})(?:\s*,\s*(?:{QUOTED.pattern}))*")
NOT_A_NUMBER = re.compile(r"(?<![\w'\"])nan(?![\w'\"])")
LIST_LIMIT = 100_000
"""A longer cell, in characters, is not read as a list."""

CERTAIN = ("|", ";", "\uff5c", "\uff1b")
LIKELY = (",", "\uff0c", "、", "/", ">", " ")
"""Separators, and characters that may be part of a name, in the order in which they are tried; some are Chinese."""

A_LIST = "a list such as ['Action', 'Drama'], as other rows have it"


def split_categories(
    table: Table, column: str, separator: str | None = None, usual: str | None = None
) -> tuple[pl.Series, str]:
    """The lists of categories of a table's rows, and a note on how cells were read.

    Args:
        table: read whole.
        column: of text, without entities; see `unescaped`.
        separator: between several categories, "" where each cell is one; None to infer it from the cells.
        usual: the separator where cells are no lists; None to infer that too.

    Raises:
        DataError: some cells are lists and another is none.
    """
    cells = table.frame[column].fill_null("").str.strip_chars()
    cells = cells.set(cells.str.to_lowercase().is_in(NONE), "")
    distinct = [cell for cell in cells.unique(maintain_order=True) if cell]
    if separator is None:
        lists = _all_lists(table, column, cells, distinct)
        if lists is not None:
            return _mapped(cells, lists), ", lists"
        separator = usual
    if separator is None:
        mark, note = _separator(distinct)
    else:
        mark, note = separator, f", separated by {separator!r}" if separator else ", one each"
    return _mapped(cells, {cell: cell.split(mark) if mark else [cell] for cell in distinct}), note


def unescaped(text: pl.Series) -> tuple[pl.Series, bool]:
    """Text with HTML's entities, such as `&amp;`, as the characters they stand for, and whether there was one."""
    held = text.str.contains(ENTITY.pattern).fill_null(False)
    if not held.any():
        return text, False
    found = text.filter(held).unique()
    return text.replace(found, pl.Series([_without_entities(each) for each in found])), True


def _without_entities(text: str) -> str:
    """The text without entities, without those that were escaped twice too."""
    before = None
    while before != text:
        before, text = text, ENTITY.sub(lambda match: html.unescape(match.group()), text)
    return " ".join(text.split())


def _mapped(cells: pl.Series, lists: Mapping[str, Sequence[str]]) -> pl.Series:
    names = {cell: [name.strip() for name in lists[cell]] for cell in lists}
    kept = [[name for name in names.get(cell, ()) if name.lower() not in NONE] for cell in cells]
    return pl.Series("categories", kept, dtype=pl.List(pl.String))


def _all_lists(table: Table, column: str, cells: pl.Series, distinct: list[str]) -> dict[str, list[str]] | None:
    """The lists that cells hold, by cell; None where they hold none.

    Quoted names or numbers in brackets certainly are a list. Unquoted names are one where every cell has brackets.
    """
    certain = {cell: names for cell in distinct if (names := _literal(cell)) is not None}
    loose = {cell: names for cell in distinct if cell not in certain and (names := _bare(cell)) is not None}
    found = {**certain, **loose}
    if not found or (not certain and len(loose) < len(distinct)):
        return None
    table.refuse(~cells.is_in(["", *found]), column, A_LIST, "correct the row, or say how cells split with --separator")
    return found


def _bracketed(cell: str) -> bool:
    return len(cell) <= LIST_LIMIT and len(cell) > 1 and BRACKETS.get(cell[0]) == cell[-1]


def _unwrapped(cell: str) -> str:
    """A list without its type around it; quoted names without brackets become a list."""
    if len(cell) > LIST_LIMIT:
        return cell
    if QUOTED_NAMES.fullmatch(cell):
        return f"[{cell}]"
    wrapped = WRAPPED.fullmatch(cell)
    return (wrapped[1].strip() or "[]") if wrapped else cell


def _literal(cell: str) -> list[str] | None:
    """The names in a list, set, tuple or dictionary as JSON, Python and NumPy write them."""
    cell = _unwrapped(cell)
    if not _bracketed(cell):
        return None
    inside = cell[1:-1]
    quoted = [first or second for first, second in QUOTED.findall(inside)]
    if len(quoted) > 1 and not QUOTED.sub("", inside).strip():
        return quoted  # NumPy writes no commas, and Python would join the names
    for read in (json.loads, ast.literal_eval):
        try:
            return _names(read(NOT_A_NUMBER.sub("None", cell) if read is ast.literal_eval else cell))
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            continue
    return None


def _names(value: Any) -> list[str]:
    """The names in a literal: its texts and numbers, the `name` or `id` of a dictionary, or the keys of counts.

    Raises:
        ValueError: there is something else in it.
    """
    if value is None:
        return []
    if isinstance(value, str):
        return [value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return [str(value)]
    if isinstance(value, list | tuple | set):
        inner = [name for each in value for name in _names(each)]
        return sorted(inner) if isinstance(value, set) else inner
    if isinstance(value, dict):
        named = [value[key] for key in NAME_KEYS if isinstance(value.get(key), str)]
        if named or "id" in value:
            return named[:1] or _names(value["id"])
        if value and all(isinstance(count, int | float) for count in value.values()):
            return [str(key) for key, count in value.items() if count]
    raise ValueError(f"no name in {value!r}")


def _bare(cell: str) -> list[str] | None:
    """The names between brackets without quotation marks, or as PostgreSQL writes an array."""
    if not _bracketed(cell) or cell[0] == "(":
        return None
    inside = cell[1:-1]
    if re.search(r"[][{}]", inside) or (cell[0] == "[" and QUOTED.search(inside)):
        return None
    try:
        return next(csv.reader([inside], escapechar="\\", skipinitialspace=True, strict=True), [])
    except csv.Error:
        return None


def _separator(distinct: list[str]) -> tuple[str, str]:
    """The separator of categories, and a note on it.

    A bar or a semicolon is a separator. A comma may be part of a name, and splitting at it then makes more names than
    there are cells: it separates where it makes no more. Another mark separates where most of what it makes stands in
    a cell of its own too, and it makes fewer.
    """
    for mark in CERTAIN:
        if any(mark in cell for cell in distinct):
            return mark, f", separated by {mark!r}"
    whole, hint = len(distinct), ""
    for mark in LIKELY:
        parts = {part.strip() for cell in distinct for part in cell.split(mark) if part.strip()}
        if not any(mark in cell for cell in distinct):
            continue
        own_cells = len(parts.intersection(distinct))
        if len(parts) <= whole if mark == "," else (len(parts) < whole and 2 * own_cells >= len(parts)):
            return mark, f", separated by {mark!r}: {len(parts)} names (one each they would be {whole})"
        more = f": {whole} names; split at {mark!r} they would be {len(parts)}, which --separator {mark!r} does"
        hint = hint or more
    return "", f", one each{hint}"
