"""Bundles: sets of items that somebody put together, without an order and without answers."""

from pathlib import Path

import numpy as np
import polars as pl

from lerl.envs.draws import seed_from
from lerl.envs.schema import DataError
from lerl.envs.sequences import Choices, Lists

BUNDLES = "bundle_item.parquet"
TEXTS = {"title": ("item_titles.parquet", "titles"), "categories": ("item_categories.parquet", "categories")}
"""What is known of items: by its name here, the file beside the bundles and its column."""

NOTE = "bundles do not say what was refused, so only what completes a bundle is ranked"


def is_bundles(path: Path) -> bool:
    """Whether a folder holds bundles."""
    return (path / BUNDLES).is_file()


def read_bundles(folder: Path, seed: int) -> Choices:
    """Bundles as lists of items, each in an order that is drawn; an item twice in a bundle counts once.

    Args:
        folder: with bundle_item.parquet (bundle_ID, item_ID), and perhaps item_titles.parquet and
            item_categories.parquet beside it. seed: of the order within bundles.

    Raises:
        DataError: a column is missing or holds nothing.
    """
    rows = _columns(folder / BUNDLES, ("bundle_ID", "item_ID")).unique(maintain_order=True)
    if rows.is_empty():
        raise DataError(f"{folder / BUNDLES} holds no bundle; give one row for each item of each bundle")
    order = np.random.default_rng(seed_from(seed, "order in bundles")).permutation(len(rows))
    rows = rows[order].sort("bundle_ID", maintain_order=True)
    bundles, items = rows["bundle_ID"].unique().sort(), rows["item_ID"].unique().sort()
    number = pl.DataFrame({"item_ID": items, "number": np.arange(len(items), dtype=np.int32)})
    values = rows.join(number, on="item_ID", how="left", maintain_order="left")["number"].to_numpy()
    counts = rows.group_by("bundle_ID", maintain_order=True).len()["len"].to_numpy()
    starts = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
    texts = {}
    for name, (file, column) in TEXTS.items():
        if (folder / file).is_file():
            said = _columns(folder / file, ("item_ID", column)).unique("item_ID", keep="first", maintain_order=True)
            known = number.join(said, on="item_ID", how="left", maintain_order="left")[column]
            texts[name] = tuple(known.cast(pl.String).fill_null("").to_list())
    note = f"{folder.name}: {len(bundles):,} bundles of {len(items):,} items"
    ids = tuple(map(str, bundles.to_list())), tuple(map(str, items.to_list()))
    return Choices(*ids, Lists(values.astype(np.int32), starts), None, texts, (note, NOTE))


def _columns(file: Path, names: tuple[str, str]) -> pl.DataFrame:
    try:
        rows = pl.read_parquet(file)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{file} cannot be read as Parquet: {str(error).splitlines()[0]}") from error
    missing = [name for name in names if name not in rows.columns]
    if missing:
        raise DataError(f"{file} needs the columns {', '.join(names)}, given {rows.columns}; rename {missing[0]}")
    return rows.select(names).drop_nulls()
