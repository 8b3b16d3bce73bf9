"""Bundles: sets of items that somebody put together, without an order and without answers."""

from pathlib import Path

import numpy as np
import polars as pl

from lerl.envs.draws import seed_from
from lerl.envs.logs.sequences import SEQUENCES, text_of
from lerl.envs.logs.table import refused_type
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
        DataError: a column is missing, holds nothing, or is of a type that cannot be read; or the folder holds
            sequences too, so that it is not clear what is meant.
    """
    if sequences := next((name for name in SEQUENCES if (folder / name).is_file()), None):
        raise DataError(
            f"{folder} holds {BUNDLES} and {sequences}; give {folder / sequences} itself to rank what comes next, or "
            f"move it away to rank what completes bundles"
        )
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
            said = _said(folder / file, column)
            known = number.select(pl.col("item_ID").cast(pl.String)).join(
                said, on="item_ID", how="left", maintain_order="left"
            )
            texts[name] = tuple(known[column].fill_null("").to_list())
    note = f"{folder.name}: {len(bundles):,} bundles of {len(items):,} items"
    ids = tuple(map(str, bundles.to_list())), tuple(map(str, items.to_list()))
    return Choices(*ids, Lists(values.astype(np.int32), starts), None, texts, (note, NOTE))


def _said(file: Path, column: str) -> pl.DataFrame:
    """What a file says of items: item_ID as text, each once, and the column as text."""
    rows = _columns(file, ("item_ID", column))
    text = text_of(pl.col(column), rows.schema[column])
    if text is None:
        raise refused_type(file, column, rows.schema[column], "text, or lists of it")
    said = rows.select(pl.col("item_ID").cast(pl.String), text.alias(column)).drop_nulls()
    return said.unique("item_ID", keep="first", maintain_order=True)


def _columns(file: Path, names: tuple[str, str]) -> pl.DataFrame:
    try:
        rows = pl.read_parquet(file, glob=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{file} cannot be read as Parquet: {str(error).splitlines()[0]}") from error
    missing = [name for name in names if name not in rows.columns]
    if missing:
        raise DataError(f"{file} needs the columns {', '.join(names)}, given {rows.columns}; rename {missing[0]}")
    rows = rows.select(names).drop_nulls()
    for name in names:
        kind, ids = rows.schema[name], rows[name]
        if not name.endswith("_ID") or rows.is_empty() or kind.is_integer() or kind in (pl.String, pl.Categorical):
            continue
        if not kind.is_float() or not (ids.is_finite() & (ids == ids.floor())).all():
            raise refused_type(file, name, kind, "text and whole numbers")
        rows = rows.with_columns(ids.cast(pl.Int64))
    return rows
