"""Cells of categories: lists as programs write them, names with separators in them, and columns of 0 and 1."""

import csv
import io
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from lerl.envs.logs.custom import Choices, read_own_logs
from lerl.envs.logs.dataset import DataSet
from lerl.envs.schema import DataError


def items_of(folder: Path, cells: list[str], **choices: Any) -> DataSet:
    """Items 0, 1, ... with these cells, all of which somebody met."""
    text = io.StringIO()
    csv.writer(text).writerows([["id", "title", "genre"], *([n, f"T{n}", cell] for n, cell in enumerate(cells))])
    return read(folder, text.getvalue(), len(cells), **choices)


def read(folder: Path, items: str, count: int, name: str = "items.csv", **choices: Any) -> DataSet:
    (folder / "log.csv").write_text("user,item,click\n" + "".join(f"1,{n},1\n" for n in range(count)))
    (folder / name).write_text(items)
    return read_own_logs(folder / "log.csv", folder / name, Choices(**choices))


def categories(data: DataSet) -> list[set[str]]:
    """The categories of each item."""
    names = data.catalog.categories.names
    return [{names[c] for c in row.nonzero()[0]} for row in data.catalog.categories.membership]


def note_of(data: DataSet) -> str:
    return next(note for note in data.notes if note.startswith("items.csv")).partition("categories are genre, ")[2]


LISTS: dict[str, tuple[list[str], list[set[str]]]] = {
    "Python": (["['Action', \"Children's\"]", "['Sci-Fi']"], [{"Action", "Children's"}, {"Sci-Fi"}]),
    "JSON": (['["Action", "\\u00c9tude"]', "[]"], [{"Action", "Étude"}, {"other"}]),
    "TMDB": (["[{'id': 1, 'name': 'Science Fiction'}, {'id': 2, 'name': 'War'}]"], [{"Science Fiction", "War"}]),
    "ids without names": (["[{'id': 28}, {'id': 12}]", "[{'id': 28}]"], [{"28", "12"}, {"28"}]),
    "PostgreSQL": (['{Action,"Sci Fi"}', "{War}"], [{"Action", "Sci Fi"}, {"War"}]),
    "NumPy": (["['Action' 'Sci Fi']", "['War']"], [{"Action", "Sci Fi"}, {"War"}]),
    "numbers": (["[27, 9]", "[8]"], [{"27", "9"}, {"8"}]),
    "a set": (["{'a', 'b'}", "{'c'}"], [{"a", "b"}, {"c"}]),
    "a tuple": (["('a', 'b')", "('c',)"], [{"a", "b"}, {"c"}]),
    "bare names": (["[Action, War]", "[Comedy]"], [{"Action", "War"}, {"Comedy"}]),
    "counts": (["{'Action': 55, 'Indie': 3, 'RPG': 0}"], [{"Action", "Indie"}]),
    "arrays": (["array(['Action', 'War'], dtype=object)", "array([], dtype=object)"], [{"Action", "War"}, {"other"}]),
    "sets, one of them empty": (["{'Action'}", "set()", "frozenset({'War'})"], [{"Action"}, {"other"}, {"War"}]),
    "nan in a list": (["['Action', nan]", "['nan', 'Banana']"], [{"Action"}, {"Banana"}]),
    "names in quotation marks": (["'Books', 'Home, Kitchen'", "'Books'"], [{"Books", "Home, Kitchen"}, {"Books"}]),
    "lists of lists": (["[['Books', 'Fiction']]", "nan"], [{"Books", "Fiction"}, {"other"}]),
}


@pytest.mark.parametrize(("cells", "expected"), LISTS.values(), ids=LISTS.keys())
def test_lists_are_lists(tmp_path: Path, cells: list[str], expected: list[set[str]]):
    data = items_of(tmp_path, cells)
    assert categories(data) == expected
    assert note_of(data) == "lists"


@pytest.mark.parametrize("cell", ["Comedy", "['Comedy", "[" * 4000 + "]" * 4000, "[print('x')]"])
def test_a_cell_that_is_no_list_among_lists_is_refused(tmp_path: Path, cell: str):
    with pytest.raises(DataError, match=r"items.csv, row 3, column genre: given .*, allowed is a list such as"):
        items_of(tmp_path, ["['Action', 'War']", cell])


SEPARATED: dict[str, tuple[list[str], str, list[set[str]]]] = {
    "entities": (
        ["Home &amp; Kitchen", "Rock &#38; Roll", "A &amp;amp; B"],
        "one each: 3 names; split at ' ' they would be 7, which --separator ' ' does",  # six words and "&"
        [{"Home & Kitchen"}, {"Rock & Roll"}, {"A & B"}],
    ),
    "entities between bars": (
        ["Home &amp; Kitchen|Toys", "Toys"],
        "separated by '|'",
        [{"Home & Kitchen", "Toys"}, {"Toys"}],
    ),
    "commas in names": (
        ["Clothing, Shoes & Jewelry", "Music, Movies & Games", "Books"],
        "one each: 3 names; split at ',' they would be 5, which --separator ',' does",
        [{"Clothing, Shoes & Jewelry"}, {"Music, Movies & Games"}, {"Books"}],
    ),
    "commas between names": (
        ["Action, War", "War, Drama", "Drama"],
        "separated by ',': 3 names (one each they would be 3)",
        [{"Action", "War"}, {"War", "Drama"}, {"Drama"}],
    ),
    "blanks between names": (
        ["Action War", "War", "Action", "Drama War"],
        "separated by ' ': 3 names (one each they would be 4)",
        [{"Action", "War"}, {"War"}, {"Action"}, {"Drama", "War"}],
    ),
    "blanks in names": (
        ["Science Fiction", "Home Kitchen"],
        "one each: 2 names; split at ' ' they would be 4, which --separator ' ' does",
        [{"Science Fiction"}, {"Home Kitchen"}],
    ),
    "slashes between names": (
        ["R&B / Soul", "R&B", "Soul"],
        "separated by '/': 2 names (one each they would be 3)",
        [{"R&B", "Soul"}, {"R&B"}, {"Soul"}],
    ),
    "a slash in a name": (
        ["Action/Adventure", "War"],
        "one each: 2 names; split at '/' they would be 3, which --separator '/' does",
        [{"Action/Adventure"}, {"War"}],
    ),
    "commas as Chinese has them": (
        ["剧情、犯罪", "剧情", "犯罪"],
        "separated by '、': 2 names (one each they would be 3)",
        [{"剧情", "犯罪"}, {"剧情"}, {"犯罪"}],
    ),
    "a bracket in a name": (
        ["[Official] War", "War"],
        "one each: 2 names; split at ' '",
        [{"[Official] War"}, {"War"}],
    ),
    "none": (["None", r"\N", "(no genres listed)", "War"], "one each", [{"other"}, {"other"}, {"other"}, {"War"}]),
}


@pytest.mark.parametrize(("cells", "note", "expected"), SEPARATED.values(), ids=SEPARATED.keys())
def test_what_separates_is_decided_by_all_cells(tmp_path: Path, cells: list[str], note: str, expected: list[set[str]]):
    data = items_of(tmp_path, cells)
    assert categories(data) == expected
    assert note_of(data).startswith(note)


def test_a_separator_that_is_given_is_obeyed(tmp_path: Path):
    assert categories(items_of(tmp_path, ["['A', 'B']"], separator="")) == [{"['A', 'B']"}]
    assert categories(items_of(tmp_path, ["Clothing, Shoes", "Books"], separator=",")) == [
        {"Clothing", "Shoes"}, {"Books"},
    ]  # fmt: skip


def test_entities_and_items_without_a_category_are_noted(tmp_path: Path):
    data = items_of(tmp_path, ["Home &amp; Kitchen", "", "nan"])
    assert "entities of HTML, such as &amp;, are read as the characters they stand for" in data.notes
    assert "2 items have no category: they are 'other'" in data.notes


@pytest.mark.parametrize("head", ["Action,War", "genre_Action,genre_War"])
def test_columns_of_0_and_1_are_categories(tmp_path: Path, head: str):
    data = read(tmp_path, f"id,title,{head},price,is_new\n0,A,1,0,3,1\n1,B,1,1,4,0\n2,C,0,0,5,1\n", 3)
    assert categories(data) == [{"Action"}, {"Action", "War"}, {"other"}]
    assert "categories are the 2 columns of 0 and 1: Action, War" in data.notes[1]
    assert categories(read(tmp_path, f"id,{head}\n0,1,0\n", 1, categories="")) == [{"other"}]


def test_empty_cells_among_0_and_1_are_counted(tmp_path: Path):
    """Item 1's empty cell takes War from nobody else; a column of other numbers, and an empty one, are none."""
    data = read(tmp_path, "id,Action,War,price,note\n0,1,0,3,\n1,1,,4,\n2,0,1.0,5,\n", 3)
    assert categories(data) == [{"Action"}, {"Action"}, {"War"}]
    assert "the 2 columns of 0 and 1: Action, War; 1 empty cells in them are read as 0" in data.notes[1]


def test_flags_of_an_item_are_no_categories(tmp_path: Path):
    assert categories(read(tmp_path, "id,title,is_new,in_stock\n0,A,1,0\n", 1)) == [{"other"}]


def test_atomic_files_of_recbole_are_read(tmp_path: Path):
    log = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n1\t1\t4\t881250950\n1\t2\t3\t881250949\n"
    items = (
        "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
        "1\tToy Story\t1995\tAnimation Comedy\n2\tHeat\t1995\tAction\n"
    )
    (tmp_path / "ml.inter").write_text(log)
    (tmp_path / "ml.item").write_text(items)
    data = read_own_logs(tmp_path / "ml.inter", tmp_path / "ml.item")
    assert data.log.rows() == [(1, 1, True, 4.0, 881250950, 1), (1, 2, False, 3.0, 881250949, 0)]
    assert data.catalog.titles == ("Toy Story", "Heat")
    assert categories(data) == [{"Animation", "Comedy"}, {"Action"}]
    assert "separated by ' '" in data.notes[1]
    again = read_own_logs(tmp_path / "ml.inter", tmp_path / "ml.item", Choices(user="user_id", categories=""))
    assert again.log.equals(data.log)


def test_names_in_quotation_marks_in_recbole_s_files_are_no_pieces(tmp_path: Path):
    (tmp_path / "x.item").write_text("item_id:token\tcategories:token_seq\n0\t'Books', 'Home & Kitchen'\n1\t'Books'\n")
    (tmp_path / "x.inter").write_text("user_id:token\titem_id:token\tlabel:float\n1\t0\t1\n1\t1\t0\n")
    assert categories(read_own_logs(tmp_path / "x.inter", tmp_path / "x.item")) == [
        {"Books", "Home & Kitchen"},
        {"Books"},
    ]


def test_one_token_of_recbole_is_one_name(tmp_path: Path):
    (tmp_path / "x.item").write_text("item_id:token\tgenre:token\n0\tScience Fiction, War\n1\tScience\n2\tWar\n")
    (tmp_path / "x.inter").write_text("user_id:token\titem_id:token\tlabel:float\n1\t0\t1.0\n1\t1\t0\n1\t2\t1\n")
    data = read_own_logs(tmp_path / "x.inter", tmp_path / "x.item")
    assert categories(data) == [{"Science Fiction, War"}, {"Science"}, {"War"}]
    assert data.log["click"].to_list() == [True, False, True]


@pytest.mark.parametrize(("lists", "expected"), [([["War", " "], []], "War"), ([[27], None], "27")])
def test_parquet_lists_are_categories(tmp_path: Path, lists: list[list[Any]], expected: str):
    pl.DataFrame({"user": [1, 1], "item": [1, 2], "click": [1, 0]}).write_parquet(tmp_path / "log")
    pl.DataFrame({"id": [1, 2], "genres": lists}).write_parquet(tmp_path / "items")
    assert categories(read_own_logs(tmp_path / "log", tmp_path / "items")) == [{expected}, {"other"}]


def test_parquet_flags_are_categories(tmp_path: Path):
    pl.DataFrame({"user": [1, 1], "item": [1, 2], "click": [1, 0]}).write_parquet(tmp_path / "log")
    pl.DataFrame({"id": [1, 2], "War": [True, False], "Drama": [False, False]}).write_parquet(tmp_path / "items")
    assert categories(read_own_logs(tmp_path / "log", tmp_path / "items")) == [{"War"}, {"other"}]
