"""Configurations side by side, from Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lerl.serve.run import Run

if TYPE_CHECKING:
    import polars as pl

    from lerl.report.groups import Comparison as Summary


def compare(
    groups: Mapping[str, Run | str | Path | Sequence[Run | str | Path]],
    reference: str | None = None,
    bootstrap: int = 2000,
) -> Comparison:
    """Compare configurations on the same users with the same seeds, as `lerl compare A B` does.

    Args:
        groups: by name, a run, a folder of seeds, or a list of runs that differ in their seed only; at least two.
        reference: the group that the others are compared with; the first where None. bootstrap: draws of intervals.

    Raises:
        RunError: groups have different users or seeds, or cannot be read; there is no group `reference`.

    Examples:
        >>> import lerl
        >>> agents, world = ["flat+greedy", "random"], {"slate_size": 3}
        >>> three = lerl.train("quickstart", "runs/three", agents=agents, train={"steps": 0}, env=world)
        >>> found = lerl.compare({"six": "runs/small", "three": three})
        >>> found.settings
        {'env.slate_size': {'six': 6, 'three': 3}}
        >>> found.differences().select("agent", "group", "reference").row(0)
        ('flat+greedy', 'three', 'six')
    """
    from lerl.report.groups import compare_groups

    listed = {name: [given] if isinstance(given, Run | str | Path) else given for name, given in groups.items()}
    paths = {name: [one.path if isinstance(one, Run) else Path(one) for one in own] for name, own in listed.items()}
    return Comparison(compare_groups(paths, reference, bootstrap))


class Comparison:
    """Groups of runs and the paired differences between them.

    Args:
        summary: as in summary.json; see `lerl.report.groups.Comparison`.
    """

    def __init__(self, summary: Summary) -> None:
        self.summary = summary

    @property
    def settings(self) -> dict[str, dict[str, Any]]:
        """The settings that differ, by dotted key, each with its value in every group."""
        return self.summary["settings"]

    def table(self) -> pl.DataFrame:
        """One row an agent and group; each metric with the ends of its 95 % interval, METRIC_low and METRIC_high."""
        import polars as pl

        from lerl.serve.evaluation import table

        frames = [
            table(found).with_columns(pl.lit(name).alias("group")) for name, found in self.summary["groups"].items()
        ]
        joined = pl.concat(frames, how="diagonal_relaxed")
        return joined.select("agent", "group", pl.all().exclude("agent", "group"))

    def differences(self, metric: str = "R_cum") -> pl.DataFrame:
        """One row an agent and group: minus the same agent in the reference, and divided by it, with paired 95 %
        intervals; `metric` is R_cum, T_int, R_sin or satisfaction_mean."""
        import polars as pl

        from lerl.files import RunError
        from lerl.report.bootstrap import DIFFERENCE_METRICS

        if metric not in DIFFERENCE_METRICS:
            raise RunError(f"no differences of {metric!r}, there are {', '.join(DIFFERENCE_METRICS)}")
        found = [entry for entry in self.summary["differences"] if entry["metric"] == metric]
        return pl.DataFrame(found, infer_schema_length=None)

    def show(self) -> None:
        """Print what `lerl compare` prints."""
        from lerl.report.group_tables import table
        from lerl.report.tables import show

        show(table(self.summary))
