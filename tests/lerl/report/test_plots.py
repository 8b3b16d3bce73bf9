"""Which pictures are drawn, that they are the same for the same runs, and that they can be read."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.text import Text

from lerl.report import plots
from lerl.report import style as style_module
from lerl.report.bootstrap import summarize
from lerl.report.compare import RunError
from lerl.report.load import load_runs

RunMaker = Callable[..., Path]
THREE = ["random", "flat+ppo", "boredom+ppo"]
NAMES = ["learning_curves", "session_lengths", "satisfaction", "exposure", "exposure_topics", "differences"]


def stems(files: list[Path]) -> list[str]:
    return [file.stem for file in files if file.suffix == ".png"]


def change(run: Path, name: str, *expressions: pl.Expr) -> None:
    pl.read_parquet(run / f"{name}.parquet").with_columns(*expressions).write_parquet(run / f"{name}.parquet")


def figures(runs: list[Path]) -> dict[str, Figure]:
    """The drawn figures themselves, with the style that they are written in."""
    results = load_runs(runs)
    summary = summarize(results, 50)
    look = plots._look(results, summary, None)
    drawn = {
        "learning_curves": plots._learning_curves(results, summary, look),
        "session_lengths": plots._session_lengths(results, look),
        "satisfaction": plots._satisfaction(results, look),
        "exposure": plots._exposure(results, look, "category"),
        "differences": plots._differences(results, summary, look),
    }
    return {name: figure for name, figure in drawn.items() if figure is not None}


@pytest.fixture
def style() -> Iterator[None]:
    with matplotlib.rc_context(style_module.STYLE):
        yield


def texts(figure: Figure) -> list[Any]:
    """All words in a figure, the numbers at the ticks apart."""
    found = [*figure.texts, *(text for legend in figure.legends for text in legend.get_texts())]
    for axes in figure.axes:
        found += [*axes.texts, axes.title, axes.xaxis.label, axes.yaxis.label]
    return [text for text in found if text.get_text()]


def test_every_picture_is_written_and_the_same_runs_give_the_same_files(make_run: RunMaker, tmp_path: Path) -> None:
    runs = [make_run(seed=seed, agents=THREE, users=15) for seed in (0, 1)]
    first = plots.plot(runs, tmp_path / "a" / "b", bootstrap=20)
    second = plots.plot(runs[::-1], tmp_path / "c", bootstrap=20)
    assert [file.name for file in first] == [f"{name}.{suffix}" for name in NAMES for suffix in ("png", "svg")]
    assert all(file.parent == tmp_path / "a" / "b" for file in first)
    assert imread(tmp_path / "a" / "b" / "session_lengths.png").shape == (465, 690, 4)  # 4.6 by 3.1 inches at 150 dpi
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes(), one.name
        assert b"dc:date" not in one.read_bytes()


def test_plotting_leaves_no_global_state(make_run: RunMaker, tmp_path: Path) -> None:
    run = make_run(agents=THREE, users=5)
    code = (
        "import sys, pathlib, matplotlib; from lerl.report.plots import plot, STYLE;"
        "style = lambda: {name: matplotlib.rcParams[name] for name in STYLE}; before = style();"
        f"plot([{str(run)!r}], pathlib.Path({str(tmp_path / 'out')!r}), bootstrap=5);"
        "assert 'matplotlib.pyplot' not in sys.modules; assert style() == before"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, cwd=Path(__file__).parents[3])


def test_without_a_learning_row_there_are_no_curves(make_run: RunMaker, tmp_path: Path) -> None:
    files = plots.plot([make_run(agents=THREE, users=5, learning=False)], tmp_path / "out", bootstrap=5)
    assert stems(files) == NAMES[1:]


def test_one_row_has_no_differences_and_topics_may_be_missing(make_run: RunMaker, tmp_path: Path) -> None:
    run = make_run(agents=["flat+ppo"], users=5)
    exposure = pl.read_parquet(run / "exposure.parquet").filter(pl.col("axis") == "category")
    exposure.write_parquet(run / "exposure.parquet")
    assert stems(plots.plot([run], tmp_path / "out", bootstrap=5)) == NAMES[:4]


def test_an_unknown_reference_is_refused(make_run: RunMaker, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no row 'x' in these runs, there are random, flat\+ppo, boredom\+ppo"):
        plots.plot([make_run(agents=THREE, users=3)], tmp_path / "out", reference="x", bootstrap=5)


@pytest.mark.parametrize(
    ("agents", "learning", "expected"),
    [
        (["random", "flat+ppo", "boredom+greedy", "llm+ppo", "boredom+ppo"], True, "llm+ppo"),
        (["random", "flat+ppo", "boredom+greedy"], True, "flat+ppo"),
        (["random", "flat+ppo", "boredom+greedy"], False, "boredom+greedy"),
    ],
)
def test_the_reference_is_the_first_hierarchical_row_that_learned(
    make_run: RunMaker, agents: list[str], learning: bool, expected: str
) -> None:
    results = load_runs([make_run(agents=agents, learning=learning)])
    assert plots._look(results, summarize(results, 5), None).reference == expected


def test_eight_rows_have_a_colour_of_their_own_and_the_rest_is_grey(make_run: RunMaker) -> None:
    results = load_runs([make_run(users=60)])
    look = plots._look(results, summarize(results, 5), None)
    coloured = {row: colour for row, colour in look.colours.items() if look.stands_out(row)}
    assert len(results.agents) == 16
    assert len(set(coloured.values())) == len(coloured) == 8
    assert {"boredom+ppo", "boredom+greedy", "privileged", "random", "flat+ppo"} <= set(coloured)


@pytest.mark.parametrize("best", ["privileged", "random", "boredom+greedy"])
def test_eight_rows_are_in_colour_whichever_the_others_are_held_against(make_run: RunMaker, best: str) -> None:
    """Where nothing learned the best row is the reference, the ceiling or the floor perhaps, and both stay in sight."""
    results = load_runs([make_run(users=60, learning=False)])
    look = plots._look(results, summarize(results, 5), best)
    coloured = {row: colour for row, colour in look.colours.items() if look.stands_out(row)}
    assert len(set(coloured.values())) == len(coloured) == 8
    assert (coloured["privileged"], coloured["random"]) == (style_module._BLACK, style_module._WINE)


def test_a_row_has_the_same_colour_in_every_picture(make_run: RunMaker, style: None) -> None:
    drawn = figures([make_run(agents=THREE)])
    look = {name: {} for name in ("learning_curves", "session_lengths", "satisfaction")}
    for name, colours in look.items():
        colours |= {text.get_text(): to_hex(text.get_color()) for text in drawn[name].axes[0].texts}
    rows = [{row: colours[row] for row in THREE} for colours in look.values()]
    assert rows[0] == rows[1] == rows[2]
    assert len(set(rows[0].values())) == 3


def test_a_variant_of_a_learned_row_is_no_flat_line(make_run: RunMaker, style: None) -> None:
    figure = figures([make_run(agents=["flat+ppo", "flat+ppo@det", "random"])])["learning_curves"]
    assert {text.get_text() for text in figure.axes[0].texts} == {"flat+ppo", "random"}


@pytest.mark.parametrize("agents", [None, THREE])
def test_words_neither_overlap_nor_leave_the_picture(make_run: RunMaker, style: None, agents: list[str] | None) -> None:
    for name, figure in figures([make_run(seed=seed, agents=agents, users=15) for seed in (0, 1)]).items():
        FigureCanvasAgg(figure).draw()
        boxes = {text: Text.get_window_extent(text) for text in texts(figure)}
        for text, box in boxes.items():
            assert figure.bbox.x0 <= box.x0 <= box.x1 <= figure.bbox.x1, (name, text)
            assert figure.bbox.y0 <= box.y0 <= box.y1 <= figure.bbox.y1, (name, text)
        labels = [box.shrunk(1.0, 0.8) for axes in figure.axes for text in axes.texts if (box := boxes.get(text))]
        overlapping = [(a, b) for i, a in enumerate(labels) for b in labels[i + 1 :] if a.overlaps(b)]
        assert not overlapping, name


def test_a_long_name_leaves_room_for_the_picture(make_run: RunMaker, style: None) -> None:
    run = make_run(agents=THREE, users=5)
    long = "a_package_of_mine.with_a_module:AnAgentOfMineWithQuiteALongName"
    for name in ("episodes", "items", "steps", "exposure"):
        change(run, name, pl.col("agent").replace("random", long))
    axes = figures([run])["session_lengths"].axes[0]
    assert "AnAgentOfMineWithQuiteA…" in [text.get_text() for text in axes.texts]
    assert axes.get_position().width > 0.45


def test_one_seed_has_no_interval_and_the_caption_says_so(make_run: RunMaker, style: None) -> None:
    runs = [make_run(seed=seed, agents=THREE) for seed in (0, 1)]
    one, two = (figures(some)["learning_curves"] for some in (runs[:1], runs))
    assert "One seed, hence no interval" in one.texts[0].get_text()
    assert "Mean of 2 seeds with 95 % t interval" in two.texts[0].get_text()


def test_learning_curves_are_means_over_seeds_with_a_t_interval(make_run: RunMaker) -> None:
    runs = [make_run(seed=seed, agents=["flat+ppo"], users=3) for seed in (0, 1)]
    for run, reward in zip(runs, (4.0, 6.0), strict=True):
        change(run, "curves", pl.lit(reward).alias("R_cum"))
    steps, mean, half = plots._curves(load_runs(runs))["flat+ppo"]
    assert steps.tolist() == list(range(0, 200_001, 10_000))
    assert mean.tolist() == [5.0] * 21
    # t(0.975, 1) = 12.706, standard error sqrt(2) / sqrt(2) = 1
    assert half == pytest.approx([12.706] * 21, abs=1e-3)
    assert plots._curves(load_runs(runs[:1]))["flat+ppo"][2].tolist() == [0.0] * 21


def test_steps_that_one_seed_lacks_are_left_out_of_the_mean(make_run: RunMaker) -> None:
    runs = [make_run(seed=seed, agents=["flat+ppo"], users=3) for seed in (0, 1)]
    curves = pl.read_parquet(runs[0] / "curves.parquet").head(5)
    curves.write_parquet(runs[0] / "curves.parquet")
    assert plots._curves(load_runs(runs))["flat+ppo"][0].tolist() == [0, 10_000, 20_000, 30_000, 40_000]


def satisfaction_steps(run: Path, sessions: list[int], means: list[float]) -> None:
    columns = {"agent": ["random"] * len(sessions), "step": list(range(1, len(sessions) + 1)), "sessions": sessions}
    frame = pl.DataFrame(columns | {"satisfaction": means, "satisfaction_sd": [0.5] * len(means), "reward": means})
    frame.write_parquet(run / "steps.parquet")


def test_satisfaction_is_weighted_by_sessions_and_stops_at_twenty_of_them(make_run: RunMaker) -> None:
    runs = [make_run(seed=seed, agents=["random"], users=3) for seed in (0, 1)]
    satisfaction_steps(runs[0], [100, 30, 10], [0.5, 0.6, 0.1])
    satisfaction_steps(runs[1], [100, 10, 9], [0.7, 0.2, 0.1])
    steps, mean, half = plots._satisfaction_band(load_runs(runs), "random")
    assert steps.tolist() == [1, 2]
    assert mean == pytest.approx([0.6, (30 * 0.6 + 10 * 0.2) / 40])
    # users: 0.25 over 100 sessions a seed; seeds: variance of 0.5 and 0.7 is 0.02, over 2, and t(1) of 97.5 % is 12.706
    assert half[0] == pytest.approx(np.sqrt(1.96**2 * 0.25 / 100 + 12.706**2 * 0.02 / 2), rel=1e-4)


def test_curves_of_seeds_with_points_at_different_steps_are_averaged_where_all_of_them_are() -> None:
    first = (np.array([10.0, 30.0]), np.array([1.0, 3.0]))
    second = (np.array([20.0, 40.0]), np.array([4.0, 4.0]))
    steps, mean, half = plots._mean_curve([first, second])
    assert steps.tolist() == [20.0, 30.0]
    assert mean.tolist() == [3.0, 3.5]  # (2 + 4) / 2 and (3 + 4) / 2
    # standard deviations of (2, 4) and (3, 4) over sqrt(2): 1 and 0.5; t(1) of 97.5 % is 12.706
    np.testing.assert_allclose(half, [12.706, 6.353], rtol=1e-4)


def test_too_few_sessions_are_said_to_be_so(make_run: RunMaker, style: None) -> None:
    figure = figures([make_run(agents=THREE, users=4, replicates=1)])["satisfaction"]
    assert "fewer than 20 sessions" in [text.get_text() for text in figure.axes[0].texts]


def test_shares_of_exposure_sum_to_one_over_seeds(make_run: RunMaker) -> None:
    runs = [make_run(seed=seed, agents=THREE) for seed in (0, 1)]
    for run in runs:
        change(run, "exposure", pl.col("share") * 1.7)  # items of several categories
    shares = plots._shares(load_runs(runs), "category")
    assert shares.group_by("agent", "step").agg(pl.col("share").sum())["share"].to_numpy() == pytest.approx(1.0)


def test_the_largest_categories_are_those_of_all_rows_together() -> None:
    shares = pl.DataFrame({"name": [f"c{i:02}" for i in range(12)] * 2, "share": [*range(12), *range(24, 0, -2)]})
    # together 24, 23, .. 13: the first eight
    assert plots._largest(shares) == [f"c{i:02}" for i in range(8)]


def test_the_forest_has_the_chosen_row_over_each_other(make_run: RunMaker, style: None) -> None:
    run = make_run(agents=THREE, users=2, replicates=1)
    change(run, "episodes", pl.Series("R_cum", [1.0, 1.0, 2.0, 2.0, 8.0, 8.0]))
    axes = figures([run])["differences"].axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["flat+ppo", "random"]
    assert [text.get_text() for text in axes.texts] == ["4.00  [4.00, 4.00]", "8.00  [8.00, 8.00]"]
    assert axes.get_xscale() == "log"


def test_ratios_near_one_are_on_a_plain_scale(make_run: RunMaker, style: None) -> None:
    run = make_run(agents=THREE, users=2, replicates=1)
    change(run, "episodes", pl.Series("R_cum", [1.0, 1.0, 2.0, 2.0, 2.2, 2.2]))
    axes = figures([run])["differences"].axes[0]
    assert axes.get_xscale() == "linear"
    assert axes.get_xlim()[0] < 1.0 < 2.2 < axes.get_xlim()[1]


def test_exposure_has_a_panel_for_each_row_best_first(make_run: RunMaker, style: None) -> None:
    rows = ["random", "popularity", "flat+ppo", "boredom+ppo", "privileged"]
    panels = [axes for axes in figures([make_run(agents=rows)])["exposure"].axes if axes.get_visible()]
    assert [panel.get_title() for panel in panels] == rows[::-1]


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=16), st.floats(0.01, 0.06))
def test_labels_are_spread_apart_in_order_within_the_axes(heights: list[float], gap: float) -> None:
    spread = plots._spread(np.sort(heights), gap)
    assert (np.diff(spread) >= gap - 1e-9).all()
    assert spread[0] >= 0.0
    assert spread[-1] <= 1.0 + 1e-9


def test_labels_that_are_apart_stay_where_they_are() -> None:
    assert plots._spread(np.array([0.1, 0.5, 0.9]), 0.05) == pytest.approx([0.1, 0.5, 0.9])
    assert plots._spread(np.array([0.5, 0.5]), 0.1) == pytest.approx([0.45, 0.55])


def test_curves_of_one_point_are_no_picture_and_no_warning(make_run: RunMaker, tmp_path: Path) -> None:
    run = make_run(agents=["flat+ppo", "random"])
    curves = pl.read_parquet(run / "curves.parquet")
    curves.filter(pl.col("steps") == 0).write_parquet(run / "curves.parquet")
    names = {path.name for path in plots.plot([run], tmp_path / "out", bootstrap=100)}
    assert "session_lengths.png" in names
    assert "learning_curves.png" not in names


def curve_at(run: Path, agent: str, *steps: int) -> None:
    """Put points of a row's curve at these steps in the place of its own."""
    curves = pl.read_parquet(run / "curves.parquet")
    points = curves.filter(pl.col("agent") == agent).head(len(steps))
    points = points.with_columns(pl.Series("steps", steps, dtype=curves["steps"].dtype))
    pl.concat([curves.filter(pl.col("agent") != agent), points]).write_parquet(run / "curves.parquet")


def test_curves_without_steps_in_common_are_left_out_and_named(make_run: RunMaker, tmp_path: Path, style: None) -> None:
    runs = [make_run(seed=seed, agents=THREE) for seed in (0, 1)]
    curve_at(runs[0], "boredom+ppo", 100, 90_000)
    curve_at(runs[1], "boredom+ppo", 90_001, 180_000)
    said = " ".join(" ".join(text.get_text() for text in figures(runs)["learning_curves"].texts).split())
    assert said.endswith("Left out, as no steps are common to all seeds: boredom+ppo.")
    for run in runs:
        curves = pl.read_parquet(run / "curves.parquet")
        curves.filter(pl.col("agent") == "boredom+ppo").write_parquet(run / "curves.parquet")
    assert "learning_curves" not in stems(plots.plot(runs, tmp_path / "out", bootstrap=100))


def test_a_row_that_did_not_learn_is_marked_and_no_reference(make_run: RunMaker, style: None) -> None:
    run = make_run(agents=THREE)
    curve_at(run, "boredom+ppo", 20_000)
    drawn = figures([run])
    titles = [axes.get_title() for axes in drawn["exposure"].axes]
    assert set(titles) == {"boredom+ppo (untrained)", "flat+ppo", "random"}
    assert drawn["differences"].axes[0].get_xlabel() == "R_cum of flat+ppo / R_cum of row"
