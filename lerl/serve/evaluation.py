"""What agents earned: tables, their summary and pictures."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

    from lerl.report.bootstrap import Summary
    from lerl.report.load import Results


class Evaluation:
    """Agents judged on held-out users: tables as Polars frames, their summary, and pictures.

    Every frame has `.to_pandas()`.

    Args:
        results: the tables. bootstrap: draws of intervals.

    Examples:
        >>> import lerl
        >>> run = lerl.Run("runs/small")
        >>> run.episodes.group_by("agent").len().sort("agent")["agent"].to_list()
        ['flat+greedy', 'random']
        >>> [picture.suffix for picture in run.plot("pictures")][:2]
        ['.png', '.svg']
    """

    def __init__(self, results: Results, bootstrap: int = 2000) -> None:
        self.results, self.bootstrap = results, bootstrap

    @property
    def agents(self) -> list[str]:
        """Names of the agents, as in tables."""
        return list(self.results.agents)

    @property
    def episodes(self) -> pl.DataFrame:
        """One row a session: seed, agent, user, replicate, T_int, R_cum, R_sin, satisfaction and so on."""
        return self.results.episodes

    @property
    def steps(self) -> pl.DataFrame:
        """One row an agent and step: sessions still there, mean satisfaction, mean reward."""
        return self.results.steps

    @property
    def items(self) -> pl.DataFrame:
        """One row an agent, user and item: how often it was shown."""
        return self.results.items

    @property
    def exposure(self) -> pl.DataFrame:
        """One row an agent, step and category or topic: its share of the slots."""
        return self.results.exposure

    @property
    def curves(self) -> pl.DataFrame:
        """Learning curves, one row an agent and point; empty where nothing was trained."""
        return self.results.curves

    @property
    def lives(self) -> pl.DataFrame | None:
        """One row a life: active days, retention, R_life, churned and so on; None where people do not come back."""
        return self.results.lives

    @property
    def life_sessions(self) -> pl.DataFrame | None:
        """One row a session of a life: day, gap, T_int, R_cum and so on; None where people do not come back."""
        return self.results.life_sessions

    @cached_property
    def summary(self) -> Summary:
        """Means with 95 % intervals, and paired differences, as in summary.json; see `lerl.report.bootstrap`."""
        from lerl.report.bootstrap import summarize

        return summarize(self.results, self.bootstrap)

    def table(self) -> pl.DataFrame:
        """One row an agent, best R_cum first; each metric with the ends of its 95 % interval, METRIC_low and _high."""
        return table(self.summary)

    def differences(self, reference: str, metric: str = "R_cum") -> pl.DataFrame:
        """The reference minus every other agent on the same users, with the ends of paired 95 % intervals, and ratios.

        Raises:
            RunError: there is no agent `reference`.
        """
        import polars as pl

        from lerl.report.bootstrap import differences_from

        found = differences_from(self.summary, reference, metric)
        return pl.DataFrame(found, infer_schema_length=None).rename({"a": "reference", "b": "agent"})

    def show(self, reference: str | None = None) -> None:
        """Print the tables that `lerl train` prints, and with a reference those of differences."""
        from lerl.report.life_tables import show_results

        show_results(self.summary, reference)

    def report(self, out: str | Path, reference: str | None = None) -> Path:
        """Write the report page, one HTML file, as `lerl report` does.

        Raises:
            RunError: there is no agent `reference`, or the results are of no run folder.
        """
        from lerl.report.page.build import write_page

        return write_page(self.results, self.summary, Path(out), reference, self.bootstrap)

    def plot(self, folder: str | Path, reference: str | None = None) -> list[Path]:
        """Draw what `lerl plot` draws into a folder; the files.

        Raises:
            RunError: there is no agent `reference`.
        """
        from lerl.report.plots import draw

        return draw(self.results, self.summary, Path(folder), reference)


def table(summary: Summary) -> pl.DataFrame:
    """One row an agent of a summary, as `Evaluation.table` gives it."""
    import polars as pl

    from lerl.report.bootstrap import by_reward

    ends = {"mean": "", "low": "_low", "high": "_high"}
    rows = [
        {"agent": agent}
        | {
            f"{metric}{suffix}": found[end]  # type: ignore[literal-required]
            for metric, found in summary["agents"][agent].items()
            for end, suffix in ends.items()
        }
        for agent in by_reward(summary)
    ]
    return pl.DataFrame(rows, infer_schema_length=None)
