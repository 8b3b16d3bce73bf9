"""KuaiRec: a video app's views, and a small matrix in which nearly every user met every item.

Gao et al. 2022, KuaiRec: A Fully-observed Dataset and Insights for Evaluating Recommender Systems.
"""

import csv
import io
from pathlib import Path
from typing import NamedTuple

import polars as pl

from lerl.envs.logs import views
from lerl.envs.logs.dataset import DataSet, catalog_of, or_id, or_other
from lerl.envs.logs.scan import scan
from lerl.envs.logs.table import strings
from lerl.envs.schema import DataError

BIG, SMALL = "big_matrix.csv", "small_matrix.csv"
TAGS_FILE, CAPTIONS_FILE = "item_categories.csv", "kuairec_caption_category.csv"
WATCHED = 2.0
"""A view is a click when so many times the video's length was watched; the publisher's README suggests it as a like."""

VIEWS = views.ViewColumns(
    {"click": views.Flag("watch_ratio", at_least=WATCHED)},
    clock=views.Clock("timestamp", needed=False),
    rating="watch_ratio",
)
TAGS = r"^\s*\[\s*(\d+\s*(,\s*\d+\s*)*)?\]\s*$"
ID, CAPTION, CATEGORY = "video_id", "caption", "first_level_category_name"
NOTHING = ("", "UNKNOWN")


def read_kuairec(folder: Path) -> DataSet:
    """KuaiRec as published: the folder of the archive, or the folder `data` in it.

    Read are big_matrix.csv (user_id, video_id, timestamp, watch_ratio) and item_categories.csv (video_id and feat, a
    list such as [27, 9]), and kuairec_caption_category.csv where it is there.

    A click is a watch_ratio of 2 or more. The README says "> 2.0" where it suggests a like; there is no other signal.
    The log's rating is the watch_ratio. Of a user's views of one video the first is kept. A row without a timestamp, or
    with one that no log has (the matrices hold some long before 1970), is a view at an unknown time, after the others
    of its user; such views are counted.

    With the captions, a title is a video's caption and its category the name of the first of three levels; without them
    titles are ids and the categories are feat, called "tag 27". Rows of the captions that broke (line breaks and
    quotation marks in captions) are skipped and counted; such videos are "other".

    The layout is that of the publisher's README. The reader was tested on files made after it, not on the official
    files.

    Raises:
        DataError: the data cannot be used as they are; the message names file, row, column and mend.
    """
    place = _place(folder, BIG)
    log, merged = views.first_views([views.read_views(scan(place / BIG), VIEWS)])
    listed, notes = _videos(place)
    items, dropped, unlisted = views.items_of(log, listed)
    items = or_other(or_id(items))
    notes = [_click_note(), *notes, *views.merged_note(merged), *views.unlisted_note(unlisted, TAGS_FILE)]
    notes += views.untimed_note(log)
    return DataSet("kuairec", catalog_of(items), log, dropped, merged, tuple(notes))


def read_kuairec_dense(folder: Path) -> DataSet:
    """KuaiRec's small matrix as the truth, and the big matrix as what is known of its users and videos.

    The catalog and the users are those of small_matrix.csv, whose every cell is a view by `read_kuairec`'s rules. The
    known log is big_matrix.csv without the pairs that the small matrix has.

    Raises:
        DataError: as in `read_kuairec`.
    """
    place = _place(folder, SMALL, BIG)
    log, merged = views.first_views([views.read_views(scan(place / SMALL), VIEWS)])
    big, big_merged = views.first_views([views.read_views(scan(place / BIG), VIEWS)])
    known = big.join(log, on=["user", "item"], how="anti", maintain_order="left")
    listed, notes = _videos(place)
    _, dropped, _ = views.items_of(pl.concat([log.select("item"), big.select("item")]), listed)
    items, _, unlisted = views.items_of(log, listed)
    items = or_other(or_id(items))
    users = log["user"].n_unique()
    filled = len(log) / (users * len(items))
    notes = [
        _click_note(),
        f"truth: {SMALL}, {users:,} users x {len(items):,} videos, {filled:.1%} of all pairs",
        f"knowledge: {len(known):,} pairs of {BIG}; {len(big) - len(known):,} others are in the truth",
        *notes,
        *views.merged_note(merged + big_merged),
        *views.unlisted_note(unlisted, TAGS_FILE),
        *views.untimed_note(log),
    ]
    return DataSet("kuairec dense", catalog_of(items), log, dropped, merged, tuple(notes), known)


def _click_note() -> str:
    return f"a click is a watch_ratio of {WATCHED:g} or more, which is kept as the rating"


def _place(folder: Path, *needed: str) -> Path:
    """The folder in which the matrices lie, with all files needed."""
    wanted = f"{', '.join(needed)} and {TAGS_FILE} (KuaiRec)"
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; give the folder that holds {wanted}")
    place = views.inner_folder(folder, lambda inner: any((inner / file).is_file() for file in (BIG, SMALL)))
    if place is None:
        raise DataError(f"{folder} holds no KuaiRec data; a folder must hold {wanted}")
    for file in (*needed, TAGS_FILE):
        if not (place / file).is_file():
            raise DataError(f"{place / file} is missing; KuaiRec needs {wanted}: copy it there")
    return place


def _videos(place: Path) -> tuple[pl.DataFrame, list[str]]:
    """Columns item, title and categories of every video, and notes."""
    table = scan(place / TAGS_FILE).table(video_id=ID, feat="feat")
    feat = strings(table, "feat")
    table.refuse(~feat.fill_null("").str.contains(TAGS), "feat", "a list such as [27, 9]", "correct the list")
    tags = pl.col("feat").str.extract_all(r"\d+").list.eval(pl.format("tag {}", pl.element()))
    listed = views.listed_categories(table, tags)
    if not (place / CAPTIONS_FILE).is_file():
        return listed.with_columns(title=pl.lit("")), [f"titles are ids, categories are tags: no {CAPTIONS_FILE}"]
    captions = _captions(place / CAPTIONS_FILE)
    named = listed.drop("categories").join(captions.frame, on="item", how="left", maintain_order="left")
    notes = [f"titles are captions, categories those of the first level, from {CAPTIONS_FILE}"]
    if captions.skipped:
        notes.append(f"{captions.skipped:,} broken rows of {CAPTIONS_FILE} skipped")
    return named, notes


class _Captions(NamedTuple):
    """Columns item, title and categories, and how many rows were broken."""

    frame: pl.DataFrame
    skipped: int


def _captions(path: Path) -> _Captions:
    """Titles and categories, read by Python's CSV reader, which goes on after a broken row."""
    text = path.read_bytes().decode("utf-8-sig", errors="replace").replace("\r\n", "\n").replace("\r", " ")
    rows = csv.reader(io.StringIO(text.replace("\0", " "), newline="\n"))
    found: dict[int, tuple[str, list[str]]] = {}
    skipped = 0
    try:
        header = next(rows, [])
        missing = [name for name in (ID, CAPTION, CATEGORY) if name not in header]
        if missing:
            raise DataError(f"{path}: column {missing[0]} is missing, given {header}; fetch the file again")
        at = {name: header.index(name) for name in (ID, CAPTION, CATEGORY)}
        for row in rows:
            if len(row) != len(header) or not row[at[ID]].strip().isdecimal() or int(row[at[ID]]) >= 2**63:
                skipped += bool(row)
                continue
            title, category = (" ".join(row[at[name]].split()) for name in (CAPTION, CATEGORY))
            names = [] if category in NOTHING else [category]
            found.setdefault(int(row[at[ID]]), ("" if title in NOTHING else title, names))
    except csv.Error as error:
        raise DataError(f"{path} cannot be read as CSV ({error}); fetch it again, or remove it") from error
    columns = {
        "item": list(found),
        "title": [t for t, _ in found.values()],
        "categories": [c for _, c in found.values()],
    }
    frame = pl.DataFrame(columns, schema={"item": pl.Int64, "title": pl.String, "categories": pl.List(pl.String)})
    return _Captions(frame, skipped)
