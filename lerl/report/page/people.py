"""For whom one agent is better than another: users one by one, and groups of users by what is known of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lerl.files import evaluate_command, read_table, reading
from lerl.report.curves import Floats
from lerl.report.intervals import Interval, bootstrap_weights, intervals, weighted_means
from lerl.report.load import Results

PEOPLE = "people.parquet"
_PEOPLE: dict[str, Any] = {"user": pl.Int64, "known": pl.Int64, "favourite": pl.String}
FEWEST = 10  # users of a group
FAVOURITES = 6  # favourite categories that are groups of their own, at most
EQUAL = 1e-9


class Group(NamedTuple):
    """Some users: what they have in common, how many they are, mean R_cum of both agents, and the paired difference."""

    name: str
    users: int
    first: float
    second: float
    difference: Interval


class Comparison(NamedTuple):
    """One agent beside another: difference of each user (U,), and of groups of users."""

    first: str
    second: str
    differences: Floats
    groups: list[Group]

    @property
    def shares(self) -> tuple[float, float, float]:
        """Shares of users who are better off with the first agent, as well off, and worse off."""
        better, worse = float((self.differences > EQUAL).mean()), float((self.differences < -EQUAL).mean())
        return better, 1.0 - better - worse, worse


def compare_people(
    results: Results, runs: Sequence[Path], first: str, second: str, bootstrap: int = 2000
) -> Comparison:
    """R_cum of two agents user by user, replicates and seeds averaged.

    Args:
        results: of the runs. runs: their folders, of which one may tell what is known of the users.
        first, second: agents. bootstrap: draws of the groups' intervals.
    """
    users, of_first, of_second = _rewards(results, first, second)
    found = Comparison(first, second, (of_first - of_second).mean(axis=1), [])
    path = runs[0] / PEOPLE
    if path.is_file():
        how = evaluate_command(runs[0])
        table = read_table(path, how, _PEOPLE)
        with reading(path, how):
            known = table.select(pl.col(name).cast(kind) for name, kind in _PEOPLE.items())
            known = known.filter(pl.col("user").is_in(users)).sort("user")
            groups = _groups(known) if known.height == len(users) else []
        for name, members in groups:
            found.groups.append(_group(name, of_first[members], of_second[members], bootstrap))
    return found


def _rewards(results: Results, first: str, second: str) -> tuple[list[int], Floats, Floats]:
    """The users, and R_cum of both agents, (U, S) each, replicates averaged."""
    means = (
        results.episodes.filter(pl.col("agent").is_in([first, second]))
        .group_by("agent", "user", "seed")
        .agg(pl.col("R_cum").mean())
        .sort("user", "seed")
    )
    users = means["user"].unique(maintain_order=True).to_list()
    one, other = (
        means.filter(pl.col("agent") == agent)["R_cum"].to_numpy().reshape(len(users), -1) for agent in (first, second)
    )
    return users, one, other


def _groups(known: pl.DataFrame) -> list[tuple[str, NDArray[np.int64]]]:
    """Groups by how much is known, in thirds, and by favourite category, with their rows; small ones are left out."""
    found = []
    counts = known["known"].to_numpy()
    low, high = (int(value) for value in np.quantile(counts, [1 / 3, 2 / 3], method="higher"))
    if counts.min() < low <= high:
        found += [
            (f"fewer than {low} interactions known", counts < low),
            (f"{low} to {high} interactions known", (counts >= low) & (counts <= high)),
            (f"more than {high} interactions known", counts > high),
        ]
    favourites = known["favourite"].to_list()
    counted = known["favourite"].drop_nulls().value_counts().sort("count", "favourite", descending=[True, False])
    common = counted.filter(pl.col("count") >= FEWEST).head(FAVOURITES)["favourite"].to_list()
    if len(common) > 1:
        found += [(f"the favourite “{name}”", np.array([one == name for one in favourites])) for name in common]
        found.append(("another favourite, or none", np.array([one not in common for one in favourites])))
    return [(name, np.flatnonzero(members)) for name, members in found if members.sum() >= FEWEST]


def _group(name: str, first: Floats, second: Floats, bootstrap: int) -> Group:
    users, seeds = first.shape
    weights = bootstrap_weights(users, seeds, bootstrap, np.random.default_rng(0))
    drawn = [weighted_means((first - second)[None], one) for one in weights]
    (difference,) = intervals(drawn, users, seeds)
    return Group(name, users, float(first.mean()), float(second.mean()), difference)
