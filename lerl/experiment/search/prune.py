"""Ends trials that have no hope: training users like the agent less than that of the best trial so far.

Each point of a learning curve is played with the same users and the same draws in every trial, so two trials are
compared by the difference of each user, as the tables compare agents.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lerl.config.errors import SettingsError
from lerl.config.schema import Config
from lerl.experiment.search import AGAIN
from lerl.files import read_table
from lerl.report.intervals import estimate_text, mean_interval, number
from lerl.report.metrics import session_totals
from lerl.run.evaluate import write_table
from lerl.run.rollout import Episodes
from lerl.run.specs import AgentSpec

VALIDATED = "validated.parquet"
POINT = {"agent": pl.String, "steps": pl.Int64, "user": pl.Int64}
DRAWS = 2000
"""Of the bootstrap: not `evaluation.bootstrap`, which may change while a search goes on."""
FROM = 0.5
"""The share of the training before which no trial is ended: learning curves cross."""
IN_A_ROW = 2
"""At how many points in a row a trial has to be worse."""


class Hopeless(Exception):
    """A trial is worse than another one; the message says by how much.

    Attributes:
        steps: after how many user-steps. mean: its mean metric then.
    """

    def __init__(self, said: str, steps: int, mean: float) -> None:
        super().__init__(said)
        self.steps, self.mean = steps, mean


class Watch:
    """Keeps what each user got at each point of a trial's learning curve, and ends the trial where it has no hope.

    Args:
        folder: the trial's. name: whose learning curve, see `lerl.run.artifacts.policy_name`. metric: what is
            maximized. steps: of the whole training. rival: the number and the folder of the best trial so far, None
            where there is none.
    """

    def __init__(self, folder: Path, name: str, metric: str, steps: int, rival: tuple[int, Path] | None) -> None:
        self.path, self.name, self.metric, self.steps, self.rival = folder / VALIDATED, name, metric, steps, rival

    def __call__(self, name: str, steps: int, played: Episodes) -> None:
        """Look at a new point.

        Raises:
            Hopeless: the trial is ended.
        """
        if name != self.name:
            return
        point = sessions_table(played).drop("replicate")
        point = point.select(pl.lit(name).alias("agent"), pl.lit(steps, pl.Int64).alias("steps"), pl.all())
        before = _points(self.path, self.metric)  # with later ones, where training went on from a checkpoint
        kept = point if before is None else pl.concat([before.filter(pl.col("steps") < steps), point])
        write_table(kept, self.path)
        theirs = _points(self.rival[1] / VALIDATED, self.metric) if self.rival else None
        if self.rival is None or theirs is None or not self.steps * FROM <= steps < self.steps:
            return
        newest = sorted(set(kept["steps"].to_list()))[-IN_A_ROW:]
        differences = [paired(kept, theirs, one, self.metric) for one in newest]
        if len(differences) == IN_A_ROW and all(worse(one) for one in differences):
            said = estimate_text(mean_interval(differences[-1], DRAWS), 2, "+")
            raise Hopeless(
                f"after {steps:,} of {self.steps:,} steps {self.metric} {said} compared with trial {self.rival[0]}",
                steps,
                float(np.mean(point[self.metric].to_numpy())),
            )


def check_prunable(config: Config, spec: AgentSpec) -> None:
    """Refuse to prune where no trial has a learning curve that its rank could be seen from.

    Raises:
        SettingsError: the message says what to do.
    """
    if not config.tune.prune:
        return
    why = ""
    if spec.learner is None:
        why = f"{config.tune.agent} has no learning curve of a policy"
    elif config.train.evaluations < IN_A_ROW + 1:
        why = f"train.evaluations is {config.train.evaluations}, and {IN_A_ROW + 1} are needed"
    if why:
        raise SettingsError(f"tune.prune compares learning curves, but {why}; leave tune.prune out, or change that")


def paired(mine: pl.DataFrame, theirs: pl.DataFrame, steps: int, metric: str) -> NDArray[np.float64]:
    """The difference of each user (U,) between a trial after so many steps and another one after no more than these.

    Where planners learn too, the points of two trials differ in their steps by those of the lessons: the other one is
    taken at its last point before. Empty where there is none.
    """
    earlier = theirs.filter(pl.col("steps") <= steps)
    points = mine.filter(pl.col("steps") == steps), earlier.filter(pl.col("steps") == pl.col("steps").max())
    means = [point.group_by("user").agg(pl.col(metric).mean()).sort("user") for point in points]
    if not means[0]["user"].equals(means[1]["user"]):
        return np.zeros(0)
    return np.asarray((means[0][metric] - means[1][metric]).to_numpy(), np.float64)


def worse(difference: NDArray[np.float64]) -> bool:
    """Whether the 95 % interval over users (U,) of a difference lies below 0."""
    return len(difference) > 1 and number(mean_interval(difference, DRAWS)["high"], 0.0) < 0


def sessions_table(played: Episodes) -> pl.DataFrame:
    """One row per session."""
    totals = session_totals(played.rewards)
    columns = {"T_int": played.lengths.astype(np.float64), "R_cum": totals, "R_sin": totals / played.lengths}
    return pl.DataFrame({"user": played.users, "replicate": played.replicates, **columns})


def _points(path: Path, metric: str) -> pl.DataFrame | None:
    columns: Mapping[str, object] = {**POINT, metric: pl.Float64}
    return read_table(path, AGAIN, columns) if path.is_file() else None
