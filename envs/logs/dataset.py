"""A data set that was read, and which layout a folder has."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from lerl.envs.catalog import Axis, Catalog
from lerl.envs.logs.sample import Sample
from lerl.envs.schema import DataError

CLICK_STARS = 4.0
"""Of ratings up to five stars, this or more counts as a click."""

OTHER = "other"
"""The category of items that have none."""


@dataclass(frozen=True)
class DataSet:
    """A log, its catalog, and what was left out.

    Attributes:
        name: of the data set.
        catalog: the items that a user met, in order of their numbers in the log, see `Catalog.numbers`.
        log: see `lerl.envs.schema.SCHEMA`, in order of user and item.
        dropped_items: how many items no user met.
        merged: how many interactions were left out because the same user met the same item in another row.
        notes: how columns were read, and what was left out, one line each.
        known: another log, of more users and items, that knowledge is fitted to, while the truth is fitted to `log`, in
            which nearly every user met every item; None where the halves of `log` make truth and knowledge.
        weights: of several kinds of feedback, the click's first; `log` then has a Boolean column `feedback.NAME` for
            each of the others. Empty where there are only clicks.
        sample: where only a sample of users was kept; `log` then has those whom factor models are fitted to, the
            simulated ones among them.
    """

    name: str
    catalog: Catalog
    log: pl.DataFrame
    dropped_items: int
    merged: int = 0
    notes: tuple[str, ...] = ()
    known: pl.DataFrame | None = None
    weights: Mapping[str, float] = field(default_factory=dict)
    sample: Sample | None = None


@dataclass(frozen=True)
class Layout:
    """A layout is known by the names of two files: of the items, and of the ratings."""

    name: str
    items: str
    ratings: str

    @property
    def files(self) -> tuple[str, str]:
        """Both names."""
        return self.items, self.ratings

    def there(self, folder: Path) -> list[str]:
        """Names of those of the two files that a folder holds."""
        return [file for file in self.files if (folder / file).is_file()]


def layout_of(folder: Path, layouts: Sequence[Layout], publisher: str) -> Layout:
    """The first layout of which a folder holds both files.

    Args:
        folder: that holds the files.
        layouts: that are known.
        publisher: of the data, for the error.

    Raises:
        DataError: there is none; the message says what is missing, or what a folder must hold.
    """
    wanted = ", or ".join(f"{layout.items} and {layout.ratings} ({layout.name})" for layout in layouts)
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; give the folder that holds {wanted}")
    there = {layout: layout.there(folder) for layout in layouts}
    for layout, files in there.items():
        if len(files) == 2:
            return layout
    for layout, files in there.items():
        for file in files:
            missing = layout.ratings if file == layout.items else layout.items
            raise DataError(f"{folder / missing} is missing; {layout.name} needs it beside {file}: copy it there")
    raise DataError(f"{folder} holds no {publisher} data; {_elsewhere(folder, layouts)}a folder must hold {wanted}")


def _elsewhere(folder: Path, layouts: Sequence[Layout]) -> str:
    """A hint where the archive was unpacked into a folder inside the one given."""
    for inner in sorted(path for path in folder.iterdir() if path.is_dir()):
        if any(len(layout.there(inner)) == 2 for layout in layouts):
            return f"did you mean {inner}? "
    return ""


def catalog_of(items: pl.DataFrame) -> Catalog:
    """A catalog from columns id, title (both text) and categories (lists of text); their names sorted, "other" last."""
    used = set(items["categories"].explode())
    names = (*sorted(used - {OTHER}), *sorted(used & {OTHER}))
    membership = np.stack([items["categories"].list.contains(name).to_numpy() for name in names], axis=1)  # (I, C)
    return Catalog(tuple(items["id"]), tuple(items["title"]), Axis(names, membership))


def or_other(items: pl.DataFrame) -> pl.DataFrame:
    """The items, those with no category in the category "other"; each item has a category once."""
    lonely = pl.col("categories").list.len().fill_null(0) == 0
    filled = pl.when(lonely).then(pl.lit([OTHER])).otherwise("categories")
    return items.with_columns(categories=filled.list.unique(maintain_order=True))


def or_id(items: pl.DataFrame) -> pl.DataFrame:
    """The items, those without a title called "item ID"."""
    title = pl.col("title").fill_null("").str.strip_chars()
    return items.with_columns(title=pl.when(title == "").then(pl.format("item {}", "id")).otherwise(title))
