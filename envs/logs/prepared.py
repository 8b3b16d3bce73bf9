"""The interactions that a prepared data set was made from, read back."""

from pathlib import Path

import polars as pl

from lerl.envs.schema import check_log
from lerl.envs.store import INTERACTIONS_FILE, OWN_LOGS, damage, format_of, read_about, unusable


def read_prepared_log(folder: Path) -> pl.DataFrame:
    """The log of a prepared folder, see `lerl.envs.schema.SCHEMA`, with the columns `half` and `position`.

    Raises:
        MissingDataError: there is no prepared data set in the folder.
        DataError: it was saved without its interactions, or is damaged.
    """
    format = format_of(read_about(folder, OWN_LOGS), OWN_LOGS)
    path = folder / INTERACTIONS_FILE
    if not path.is_file():
        raise unusable(folder, f"has no {INTERACTIONS_FILE}", format)
    with damage(folder, INTERACTIONS_FILE, format):
        log = pl.read_parquet(path, glob=False)
        check_log(log)
    return log
