"""Which pictures are drawn, that they are the same for the same runs, and that they can be read."""

from __future__ import annotations

import subprocess
import sys
import warnings
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

from lerl.files import RunError
from lerl.report import plots
from lerl.report import style as style_module
from lerl.report.bootstrap import summarize
from lerl.report.fonts import fit_fonts
from lerl.report.load import load_runs
from lerl.report.strips import level, round_scale

RunMaker = Callable[..., Path]
THREE = ["random", "flat+ppo", "boredom+ppo"]
NAMES = ["learning_curves", "session_lengths", "satisfaction", "exposure", "exposure_topics", "differences"]


def stems(files: list[Path]) -> list[str]:
    return [file.stem for file in files if file.suffix == ".png"]


def change(run: Path, name: str, *expressions: pl.Expr) -> None:
    pl.read_parquet(run / f"{name}.parquet").with_columns(*expressions).write_parquet(run / f"{name}.parquet")


def figures(runs: list[Path], reference: str | None = None) -> dict[str, Figure]:
    results = load_runs(runs)
    return plots.figures(results, summarize(results, 50), reference)


def names(figure: Figure) -> list[str]:
    """The agents of a picture, from top to bottom."""
    axes = figure.axes[0]
    height = int(axes.get_ylim()[0])
    return [text.get_text() for text in axes.texts if text.get_ha() == "right"][:height]


def numbers(figure: Figure, panel: int = 0) -> list[str]:
    """The texts right of the strips, from top to bottom."""
    axes = figure.axes[panel]
    beside = [text for text in axes.texts if text.get_ha() == "left" and text.get_position()[0] > 1]
    return [text.get_text() for text in beside][: int(axes.get_ylim()[0])]


def title(figure: Figure) -> str:
    return " ".join(figure.texts[0].get_text().split())


def caption(figure: Figure) -> str:
    return " ".join(figure.texts[1].get_text().split())


def colours(figure: Figure) -> dict[str, str]:
    """The colour of each agent's name."""
    there = names(figure)
    return {text.get_text(): to_hex(text.get_color()) for text in figure.axes[0].texts if text.get_text() in there}


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
    first = plots.plot(runs, tmp_path / "a" / "b", bootstrap=50)
    second = plots.plot(runs[::-1], tmp_path / "c", bootstrap=50)
    assert [file.name for file in first] == [f"{name}.{suffix}" for name in NAMES for suffix in ("png", "svg")]
    assert all(file.parent == tmp_path / "a" / "b" for file in first)
    with matplotlib.rc_context(style_module.STYLE):
        width, height = figures(runs)["session_lengths"].get_size_inches()
    assert imread(tmp_path / "a" / "b" / "session_lengths.png").shape == (int(150 * height), int(150 * width), 4)
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


def test_where_nothing_learned_there_are_no_curves(make_run: RunMaker, tmp_path: Path) -> None:
    files = plots.plot([make_run(agents=THREE, users=5, learning=False)], tmp_path / "out", bootstrap=5)
    assert stems(files) == NAMES[1:]


def test_one_agent_has_no_differences_and_topics_may_be_missing(make_run: RunMaker, tmp_path: Path) -> None:
    run = make_run(agents=["flat+ppo"], users=5)
    exposure = pl.read_parquet(run / "exposure.parquet").filter(pl.col("axis") == "category")
    exposure.write_parquet(run / "exposure.parquet")
    assert stems(plots.plot([run], tmp_path / "out", bootstrap=5)) == NAMES[:4]


def test_an_unknown_reference_is_refused(make_run: RunMaker, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no agent 'x' in these runs, there are random, flat\+ppo, boredom\+ppo"):
        plots.plot([make_run(agents=THREE, users=3)], tmp_path / "out", reference="x", bootstrap=5)


@pytest.mark.parametrize(
    ("agents", "learning", "expected"),
    [
        (["random", "flat+ppo", "boredom+greedy", "llm+ppo", "boredom+ppo"], True, "llm+ppo"),
        (["random", "flat+ppo", "boredom+greedy"], True, "flat+ppo"),
        (["random", "flat+ppo", "boredom+greedy"], False, "boredom+greedy"),
    ],
)
def test_the_reference_is_the_first_hierarchical_agent_that_learned(
    make_run: RunMaker, style: None, agents: list[str], learning: bool, expected: str
) -> None:
    figure = figures([make_run(agents=agents, learning=learning)])["differences"]
    assert figure.axes[0].get_xlabel() == f"R_cum of {expected} / R_cum of the agent"


def test_colours_say_who_is_compared_who_learned_and_who_did_not(make_run: RunMaker, style: None) -> None:
    run = make_run(users=60)
    drawn = figures([run])
    found = colours(drawn["session_lengths"])
    assert len(found) == 16
    assert len({found["boredom+ppo"], found["privileged"], found["flat+ppo"], found["random"]}) == 4
    assert found["llm+ppo"] == found["flat+sac"] == found["flat+ppo@det"] == found["flat+ppo"]
    assert found["llm+greedy"] == found["popularity"] == found["random"]
    assert all(colours(drawn[name]).items() <= found.items() for name in NAMES)
    assert caption(drawn["session_lengths"]).endswith(
        "Colours: orange boredom+ppo, black privileged, which reads the hidden state, blue other agents that learned, "
        "grey agents that did not learn."
    )


def test_an_agent_that_shows_what_another_ones_policy_chooses_from_learned_as_well(
    make_run: RunMaker, style: None
) -> None:
    run = make_run(agents=["boredom+ppo", "flat+ppo", "random"])
    for name in ("episodes", "items", "steps", "exposure"):
        change(run, name, pl.col("agent").replace("random", "flat+ppo+mmr"))
    found = colours(figures([run])["satisfaction"])
    assert found["flat+ppo+mmr"] == found["flat+ppo"]


def test_a_variant_of_a_learned_agent_has_no_curve_of_its_own(make_run: RunMaker, style: None) -> None:
    figure = figures([make_run(agents=["flat+ppo", "flat+ppo@det", "random"])])["learning_curves"]
    assert names(figure) == ["flat+ppo"]


def overlapping(figure: Figure) -> list[tuple[str, str]]:
    """Pairs of texts that lie over each other."""
    boxes = [(text.get_text(), Text.get_window_extent(text).shrunk(1.0, 0.8)) for text in texts(figure)]
    return [(a, b) for i, (a, one) in enumerate(boxes) for b, other in boxes[i + 1 :] if one.overlaps(other)]


MANY = {
    f"my_package.{number}:{name}": "random"
    for number, name in enumerate(
        ("推荐系统规划者美食喜剧动作爱情冒险", "MMMMMMMMMMWWWWWWWWWWWWWWWWWWW", "AnAgentOfMineWithQuiteALongName")
    )
}


@pytest.mark.parametrize(("agents", "extra"), [(None, MANY), (THREE, {}), (["random"], {})])
def test_texts_neither_overlap_nor_leave_the_picture(
    make_run: RunMaker, style: None, agents: list[str] | None, extra: dict[str, str]
) -> None:
    runs = [make_run(seed=seed, agents=agents, users=15) for seed in (0, 1)]
    for run in runs:
        for name in ("episodes", "items", "steps", "exposure"):
            whole = pl.read_parquet(run / f"{name}.parquet")
            parts = [whole.filter(pl.col("agent") == of).with_columns(agent=pl.lit(new)) for new, of in extra.items()]
            pl.concat([whole, *parts]).write_parquet(run / f"{name}.parquet")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # where no font of this machine has them
        for name, figure in figures(runs).items():
            fit_fonts(figure)
            FigureCanvasAgg(figure).draw()
            for text in texts(figure):
                box = Text.get_window_extent(text)
                assert figure.bbox.x0 <= box.x0 <= box.x1 <= figure.bbox.x1, (name, text)
                assert figure.bbox.y0 <= box.y0 <= box.y1 <= figure.bbox.y1, (name, text)
            assert not overlapping(figure), name


def test_a_long_name_leaves_room_for_the_picture(make_run: RunMaker, style: None) -> None:
    run = make_run(agents=THREE, users=5)
    long = "a_package_of_mine.with_a_module:AnAgentOfMineWithQuiteALongName"
    for name in ("episodes", "items", "steps", "exposure"):
        change(run, name, pl.col("agent").replace("random", long))
    figure = figures([run])["session_lengths"]
    assert "AnAgentOfMineWithQuite…" in names(figure)
    assert figure.axes[0].get_position().width > 0.45


def test_one_seed_has_no_interval_and_the_caption_says_so(make_run: RunMaker, style: None) -> None:
    runs = [make_run(seed=seed, agents=THREE) for seed in (0, 1)]
    one, two = (caption(figures(some)["learning_curves"]) for some in (runs[:1], runs))
    assert one.startswith("One seed, no interval; validation sessions of training users.")
    assert two.startswith("Mean of 2 seeds with 95 % t interval")


def test_learning_curves_say_how_far_learning_went_and_what_the_planner_earns_without(
    make_run: RunMaker, style: None
) -> None:
    run = make_run(agents=["random", "flat+ppo", "boredom+ppo", "boredom+greedy"], users=2, replicates=1)
    change(run, "episodes", pl.Series("R_cum", [1.0, 1.0, 2.0, 2.0, 8.0, 8.0, 3.0, 4.0]))
    curves = pl.read_parquet(run / "curves.parquet")
    ends = pl.col("steps").is_in([0, 200_000])
    reward = (
        pl.when(pl.col("steps") == 0)
        .then(2.0)
        .otherwise(pl.when(pl.col("agent") == "flat+ppo").then(5.0).otherwise(6.0))
    )
    curves.filter(ends).with_columns(R_cum=reward).write_parquet(run / "curves.parquet")
    figure = figures([run])["learning_curves"]
    assert title(figure) == "boredom+ppo ends highest of the policies: R_cum from 2.0 to 6.0"
    assert names(figure) == ["boredom+ppo", "flat+ppo"]
    assert numbers(figure) == ["2.0 → 6.0\ndashed: 3.5", "2.0 → 5.0"]
    assert "For comparison, on evaluation users: random 1.0." in caption(figure)


def test_session_lengths_are_sorted_and_say_the_mean_and_the_cap(make_run: RunMaker, style: None) -> None:
    run = make_run(agents=THREE, users=2, replicates=1)
    lengths = pl.Series("T_int", [1, 3, 4, 4, 2, 60])  # means 2, 4 and 31
    change(run, "episodes", lengths, pl.Series("cut_by_cap", [False] * 5 + [True]))
    figure = figures([run])["session_lengths"]
    assert names(figure) == ["boredom+ppo", "flat+ppo", "random"]
    assert [said.split()[0] for said in numbers(figure)] == ["31.0", "4.0", "2.0"]
    assert title(figure) == "Users stay 31.0 steps with boredom+ppo, 2.0 with random"
    assert "Dotted: step cap 60." in caption(figure)


def test_too_few_sessions_are_said_to_be_so(make_run: RunMaker, style: None) -> None:
    figure = figures([make_run(agents=THREE, users=4, replicates=1)])["satisfaction"]
    said = [text.get_text() for text in figure.axes[0].texts]
    assert said.count("fewer than 20 sessions") == 3


def test_exposure_is_sorted_by_entropy_and_names_what_is_shown_most(make_run: RunMaker, style: None) -> None:
    run = make_run(agents=THREE)
    shares = {"random": [0.5, 0.5, 0.0, 0.0], "flat+ppo": [0.25] * 4, "boredom+ppo": [0.0, 0.0, 0.0, 1.0]}
    exposure = [
        pl.DataFrame({"agent": agent, "axis": "category", "name": ["a", "b", "c", "d"], "step": 1, "share": share})
        for agent, share in shares.items()
    ]
    pl.concat(exposure).with_columns(pl.col("step").cast(pl.Int64)).write_parquet(run / "exposure.parquet")
    figure = figures([run])["exposure"]
    assert names(figure) == ["flat+ppo", "random", "boredom+ppo"]
    assert numbers(figure) == ["2.00", "1.00", "0.00"]  # log2 of 4, of 2 and of 1
    assert numbers(figure, panel=1) == ["25 %  a", "50 %  a", "100 %  d"]
    assert title(figure) == "flat+ppo shows the most even mix of categories, boredom+ppo the least"


def test_differences_have_the_reference_over_each_other_agent(make_run: RunMaker, style: None) -> None:
    run = make_run(agents=THREE, users=2, replicates=1)
    change(run, "episodes", pl.Series("R_cum", [1.0, 1.0, 2.0, 2.0, 8.0, 8.0]))
    figure = figures([run])["differences"]
    assert names(figure) == ["flat+ppo", "random"]
    assert numbers(figure) == ["4.00 [4.00, 4.00]", "8.00 [8.00, 8.00]"]
    assert title(figure) == "boredom+ppo earns more than 2 of 2 other agents"
    assert figure.axes[0].get_xscale() == "log"


def test_agents_that_intervals_do_not_tell_apart_are_counted_as_such(make_run: RunMaker, style: None) -> None:
    run = make_run(agents=THREE, users=2, replicates=1)
    change(run, "episodes", pl.Series("R_cum", [9.0, 9.0, 1.0, 3.0, 3.0, 1.0]))
    figure = figures([run])["differences"]
    said = "boredom+ppo earns more than 0 of 2 other agents, less than 1; 1 cannot be distinguished from it"
    assert title(figure) == said


def test_ratios_near_one_are_on_a_plain_scale(make_run: RunMaker, style: None) -> None:
    run = make_run(agents=THREE, users=2, replicates=1)
    change(run, "episodes", pl.Series("R_cum", [1.0, 1.0, 2.0, 2.0, 2.2, 2.2]))
    axes = figures([run])["differences"].axes[0]
    assert axes.get_xscale() == "linear"
    assert axes.get_xlim()[0] < 1.0 < 2.2 < axes.get_xlim()[1]


def test_curves_of_one_point_are_no_picture_and_no_warning(make_run: RunMaker, tmp_path: Path) -> None:
    run = make_run(agents=["flat+ppo", "random"])
    curves = pl.read_parquet(run / "curves.parquet")
    curves.filter(pl.col("steps") == 0).write_parquet(run / "curves.parquet")
    written = {path.name for path in plots.plot([run], tmp_path / "out", bootstrap=100)}
    assert "session_lengths.png" in written
    assert "learning_curves.png" not in written


def curve_at(run: Path, agent: str, *steps: int) -> None:
    """Put points of an agent's curve at these steps in the place of its own."""
    curves = pl.read_parquet(run / "curves.parquet")
    points = curves.filter(pl.col("agent") == agent).head(len(steps))
    points = points.with_columns(pl.Series("steps", steps, dtype=curves["steps"].dtype))
    pl.concat([curves.filter(pl.col("agent") != agent), points]).write_parquet(run / "curves.parquet")


def test_curves_without_steps_in_common_are_left_out_and_named(make_run: RunMaker, tmp_path: Path, style: None) -> None:
    runs = [make_run(seed=seed, agents=THREE) for seed in (0, 1)]
    curve_at(runs[0], "boredom+ppo", 100, 90_000)
    curve_at(runs[1], "boredom+ppo", 90_001, 180_000)
    assert "Left out, because no training steps are common to all seeds: boredom+ppo." in caption(
        figures(runs)["learning_curves"]
    )
    for run in runs:
        curves = pl.read_parquet(run / "curves.parquet")
        curves.filter(pl.col("agent") == "boredom+ppo").write_parquet(run / "curves.parquet")
    assert "learning_curves" not in stems(plots.plot(runs, tmp_path / "out", bootstrap=100))


def test_an_agent_that_did_not_learn_is_marked_and_no_reference(make_run: RunMaker, style: None) -> None:
    run = make_run(agents=THREE)
    curve_at(run, "boredom+ppo", 20_000)
    drawn = figures([run])
    assert set(names(drawn["exposure"])) == {"boredom+ppo (untrained)", "flat+ppo", "random"}
    assert drawn["differences"].axes[0].get_xlabel() == "R_cum of flat+ppo / R_cum of the agent"


@given(st.lists(st.floats(-5.0, 5.0), min_size=1, max_size=9), st.integers(0, 24))
def test_a_curve_stays_in_its_strip(values: list[float], strip: int) -> None:
    heights = level(strip, values, (-1.0, 1.0))
    assert (heights > strip).all()
    assert (heights < strip + 1).all()
    assert (np.diff(heights)[np.diff(values) > 0] <= 0).all()  # strips go downwards, values upwards


@given(st.lists(st.integers(-1_000_000, 1_000_000), min_size=1, max_size=9))
def test_a_scale_holds_all_values(values: list[int]) -> None:
    low, high = round_scale(values)
    assert low < high
    assert low <= min(values) + 1e-6 * abs(min(values))
    assert high >= max(values) - 1e-6 * abs(max(values))
