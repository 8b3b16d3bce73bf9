"""Ratings of people or models for the cells that nothing measures automatically, and how far raters agree."""

import csv
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lerl.envs.files import refuse_endless
from lerl.envs.text import quoted

COLUMNS = ("rater", "item", "cell", "score")
LOWEST, HIGHEST = 1.0, 5.0


class RatingsError(ValueError):
    """A file of ratings that cannot be used; the message names file and line, and says what to do."""


@dataclass(frozen=True)
class Rated:
    """Ratings of one cell.

    Attributes:
        score: mean over items, of the mean over raters of each, in [1, 5]. items, raters: how many.
        icc_single, icc_mean: intraclass correlations ICC(2,1) and ICC(2,k) over the items that all raters rated; None
            with fewer than two raters or two such items, or where no rating differs.
    """

    score: float
    items: int
    raters: int
    icc_single: float | None
    icc_mean: float | None


def read_ratings(path: Path, cells: Sequence[str]) -> Mapping[str, Rated]:
    """Ratings by cell, from a CSV with the columns of `COLUMNS`: score from 1 to 5, one row a rater, item and cell.

    Raises:
        RatingsError: the file cannot be read, or a row cannot be used.
    """
    found: dict[str, dict[tuple[str, str], float]] = defaultdict(dict)
    try:
        refuse_endless(path)
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = csv.DictReader(file, strict=True)
            missing = [name for name in COLUMNS if name not in (lines.fieldnames or ())]
            if missing:
                given = quoted(",".join(lines.fieldnames or ()), 100)
                raise RatingsError(
                    f"{path}, line 1: there is no column {missing[0]} in {given}; it needs {','.join(COLUMNS)}, with "
                    "commas between them"
                )
            for row in lines:
                cell, key, score = _row(path, lines.line_num, row, cells)
                if key in found[cell]:
                    raise RatingsError(
                        f"{path}, line {lines.line_num}: {key[0]} rated {key[1]} in {cell} before; keep one row"
                    )
                found[cell][key] = score
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RatingsError(f"{path} cannot be read: {error}") from None
    if not found:
        raise RatingsError(f"{path} holds no rating; give one row for each rater, item and cell")
    return {cell: _rated(ratings) for cell, ratings in found.items()}


def _row(
    path: Path, line: int, row: Mapping[str | None, Any], cells: Sequence[str]
) -> tuple[str, tuple[str, str], float]:
    if None in row:
        raise RatingsError(f"{path}, line {line}: it has more values than columns; write a score with a point, as 4.5")
    rater, item, cell, score = ((row[name] or "").strip() for name in COLUMNS)
    if cell not in cells:
        raise RatingsError(f"{path}, line {line}: there is no cell {quoted(cell)}; there are {', '.join(cells)}")
    if not rater or not item:
        raise RatingsError(f"{path}, line {line}: rater and item must be given")
    try:
        value = float(score)
    except ValueError:
        value = np.nan
    if not LOWEST <= value <= HIGHEST:
        raise RatingsError(f"{path}, line {line}: score must be a number from 1 to 5, given {quoted(score)}")
    return cell, (rater, item), value


def _rated(ratings: Mapping[tuple[str, str], float]) -> Rated:
    raters = sorted({rater for rater, _ in ratings})
    items = sorted({item for _, item in ratings})
    table = np.array([[ratings.get((rater, item), np.nan) for rater in raters] for item in items])
    single, mean = intraclass(table[~np.isnan(table).any(axis=1)])
    return Rated(float(np.nanmean(table, axis=1).mean()), len(items), len(raters), single, mean)


def intraclass(table: NDArray[np.float64]) -> tuple[float | None, float | None]:
    """ICC(2,1) and ICC(2,k) of ratings (n items, k raters): two-way random effects, absolute agreement.

    Source: Shrout and Fleiss 1979, "Intraclass correlations: uses in assessing rater reliability" (Psych. Bull. 86).
    """
    items, raters = table.shape
    if items < 2 or raters < 2:
        return None, None
    whole = table.mean()
    of_items, of_raters = table.mean(axis=1), table.mean(axis=0)
    between = raters * ((of_items - whole) ** 2).sum() / (items - 1)
    judges = items * ((of_raters - whole) ** 2).sum() / (raters - 1)
    rest = table - of_items[:, None] - of_raters + whole
    error = (rest**2).sum() / ((items - 1) * (raters - 1))
    below = between + (raters - 1) * error + raters * (judges - error) / items
    below_mean = between + (judges - error) / items
    single = float((between - error) / below) if below > 0 else None
    mean = float((between - error) / below_mean) if below_mean > 0 else None
    return single, mean
