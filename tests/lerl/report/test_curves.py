"""What pictures show: means with intervals, worked out by hand beside the assertions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from lerl.report import curves
from lerl.report.load import load_runs

RunMaker = Callable[..., Path]
THREE = ["random", "flat+ppo", "boredom+ppo"]


def change(run: Path, name: str, *expressions: pl.Expr) -> None:
    pl.read_parquet(run / f"{name}.parquet").with_columns(*expressions).write_parquet(run / f"{name}.parquet")


def test_learning_curves_are_means_over_seeds_with_a_t_interval(make_run: RunMaker) -> None:
    runs = [make_run(seed=seed, agents=["flat+ppo"], users=3) for seed in (0, 1)]
    for run, reward in zip(runs, (4.0, 6.0), strict=True):
        change(run, "curves", pl.lit(reward).alias("R_cum"))
    steps, mean, half = curves.learning_curves(load_runs(runs))["flat+ppo"]
    assert steps.tolist() == list(range(0, 200_001, 10_000))
    assert mean.tolist() == [5.0] * 21
    # t(0.975, 1) = 12.706, standard error sqrt(2) / sqrt(2) = 1
    assert half == pytest.approx([12.706] * 21, abs=1e-3)
    assert curves.learning_curves(load_runs(runs[:1]))["flat+ppo"].half.tolist() == [0.0] * 21


def test_steps_that_one_seed_lacks_are_left_out_of_the_mean(make_run: RunMaker) -> None:
    runs = [make_run(seed=seed, agents=["flat+ppo"], users=3) for seed in (0, 1)]
    first = pl.read_parquet(runs[0] / "curves.parquet").head(5)
    first.write_parquet(runs[0] / "curves.parquet")
    found = curves.learning_curves(load_runs(runs))["flat+ppo"]
    assert found.steps.tolist() == [0, 10_000, 20_000, 30_000, 40_000]


def satisfaction_steps(run: Path, sessions: list[int], means: list[float]) -> None:
    columns = {"agent": ["random"] * len(sessions), "step": list(range(1, len(sessions) + 1)), "sessions": sessions}
    frame = pl.DataFrame(columns | {"satisfaction": means, "satisfaction_sd": [0.5] * len(means), "reward": means})
    frame.write_parquet(run / "steps.parquet")


def test_satisfaction_is_weighted_by_sessions_and_stops_at_twenty_of_them(make_run: RunMaker) -> None:
    runs = [make_run(seed=seed, agents=["random"], users=3) for seed in (0, 1)]
    satisfaction_steps(runs[0], [100, 30, 10], [0.5, 0.6, 0.1])
    satisfaction_steps(runs[1], [100, 10, 9], [0.7, 0.2, 0.1])
    steps, mean, half = curves.satisfaction_curve(load_runs(runs), "random")
    assert steps.tolist() == [1, 2]
    assert mean == pytest.approx([0.6, (30 * 0.6 + 10 * 0.2) / 40])
    # users: 0.25 over 100 sessions a seed; seeds: variance of 0.5 and 0.7 is 0.02, over 2, and t(1) of 97.5 % is 12.706
    assert half[0] == pytest.approx(np.sqrt(1.96**2 * 0.25 / 100 + 12.706**2 * 0.02 / 2), rel=1e-4)


def test_curves_of_seeds_with_points_at_different_steps_are_averaged_where_all_of_them_are() -> None:
    first = (np.array([10.0, 30.0]), np.array([1.0, 3.0]))
    second = (np.array([20.0, 40.0]), np.array([4.0, 4.0]))
    steps, mean, half = curves.mean_curve([first, second])
    assert steps.tolist() == [20.0, 30.0]
    assert mean.tolist() == [3.0, 3.5]  # (2 + 4) / 2 and (3 + 4) / 2
    # standard deviations of (2, 4) and (3, 4) over sqrt(2): 1 and 0.5; t(1) of 97.5 % is 12.706
    np.testing.assert_allclose(half, [12.706, 6.353], rtol=1e-4)


def test_shares_of_exposure_sum_to_one_over_seeds(make_run: RunMaker) -> None:
    runs = [make_run(seed=seed, agents=THREE) for seed in (0, 1)]
    for run in runs:
        change(run, "exposure", pl.col("share") * 1.7)  # items of several categories
    shares = curves.exposure_shares(load_runs(runs), "category")
    assert shares.group_by("agent", "step").agg(pl.col("share").sum())["share"].to_numpy() == pytest.approx(1.0)


def test_entropy_and_the_largest_share_of_a_step() -> None:
    shares = pl.DataFrame({"agent": "a", "step": [1] * 4 + [2] * 4, "share": [0.25] * 4 + [0.5, 0.25, 0.25, 0.0]})
    found = curves.exposure_spread(shares)
    assert found["entropy"].to_list() == pytest.approx([2.0, 1.5])  # -log2 1/4; 1/2 * 1 + 2 * 1/4 * 2
    assert found["top"].to_list() == [0.25, 0.5]


def test_what_is_shown_most_counts_all_steps_and_of_two_alike_the_first_by_name() -> None:
    shares = pl.DataFrame(
        {
            "agent": ["a"] * 4 + ["b"] * 2,
            "name": ["x", "y", "x", "y", "y", "x"],
            "shown": [3.0, 2.0, 0.0, 2.0, 1.0, 1.0],
        }
    )
    assert curves.most_shown(shares) == {"a": "y", "b": "x"}
