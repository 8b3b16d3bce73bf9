"""Reading runs, what may be compared, and intervals against numbers worked out another way."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml
from scipy.stats import t

from lerl.files import RunError
from lerl.report import metrics
from lerl.report.bootstrap import DIFFERENCE_METRICS, Summary, by_reward, ratios, summarize
from lerl.report.compare import compare
from lerl.report.load import _LIVED, EPISODE_METRICS, load_runs
from lerl.report.tables import console, difference_table, markdown, show, table

RunMaker = Callable[..., Path]
THREE = ["boredom+ppo", "random", "privileged"]


def set_values(run: Path, **columns: Any) -> Path:
    """Give the run's episodes, in the order of their rows, other values."""
    episodes = pl.read_parquet(run / "episodes.parquet")
    changed = [pl.Series(name, values).cast(episodes[name].dtype) for name, values in columns.items()]
    episodes.with_columns(changed).write_parquet(run / "episodes.parquet")
    return run


def entry(summary: Summary, a: str, b: str, metric: str) -> Any:
    return next(e for e in summary["differences"] if (e["a"], e["b"], e["metric"]) == (a, b, metric))


class Narrow(io.StringIO):
    """A terminal; COLUMNS says how wide."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("columns", [20, 40, 60, 80])
def test_a_narrow_terminal_shows_every_agent_and_number_whole(
    two_seeds: list[Path], monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    summary, file = compare(two_seeds, bootstrap=100), Narrow()
    show(table(summary), file)
    printed = re.sub(r"\x1b\[[\d;]*m", "", file.getvalue())
    assert "…" not in printed
    for agent, values in summary["agents"].items():
        results, sessions = [
            line.split() for line in printed.splitlines() if re.match(rf"{re.escape(agent)} +\d+\.\d", line)
        ]
        for metric, decimals in {"T_int": 1, "R_sin": 3, "normalised": 2}.items():
            assert f"{values[metric]['mean']:.{decimals}f}" in results
        for metric in ("satisfaction_mean", "left_early", "gini"):
            assert f"{values[metric]['mean']:.2f}" in sessions


def text_of(renderable: Any) -> str:
    file = io.StringIO()
    console(file).print(renderable)
    return file.getvalue()


@pytest.fixture
def two_seeds(make_run: RunMaker) -> list[Path]:
    return [make_run(seed=seed, agents=THREE, users=12, n_items=50) for seed in (0, 1)]


def test_runs_are_read_together_in_the_order_of_seeds(make_run: RunMaker) -> None:
    results = load_runs([make_run(seed=3, agents=THREE, users=4), make_run(seed=1, agents=THREE, users=4)])
    assert results.seeds == [1, 3]
    assert results.agents == THREE
    assert results.n_items == 300
    for frame in (results.episodes, results.items, results.steps, results.exposure, results.curves):
        assert set(frame["seed"]) == {1, 3}


def test_agents_that_the_configuration_does_not_name_come_last(make_run: RunMaker) -> None:
    run = make_run(agents=["flat+ppo@det", "random", "flat+ppo"], users=3)
    config = yaml.safe_load((run / "config.yaml").read_text()) | {"agents": ["flat+ppo", "random"]}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    assert load_runs([run]).agents == ["flat+ppo", "random", "flat+ppo@det"]


def test_no_run_is_refused() -> None:
    with pytest.raises(RunError, match="no run folder given"):
        load_runs([])


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"is not a run folder: it has no config\.yaml"):
        load_runs([tmp_path])


def test_a_run_without_evaluation_names_the_command(make_run: RunMaker) -> None:
    run = make_run(users=3, agents=THREE)
    (run / "items.parquet").unlink()
    with pytest.raises(RunError, match=rf"it lacks items\.parquet; go on with: lerl train --resume {run}"):
        load_runs([run])


@pytest.mark.parametrize(("file", "text"), [("config.yaml", "agents: []"), ("run.json", "{}")])
def test_files_without_their_numbers_are_refused(make_run: RunMaker, file: str, text: str) -> None:
    run = make_run(users=3, agents=THREE)
    (run / file).write_text(text)
    with pytest.raises(RunError, match="no whole number"):
        load_runs([run])


def test_two_runs_of_one_seed_are_refused(make_run: RunMaker) -> None:
    runs = [make_run(seed=5, name=name, agents=THREE, users=3) for name in ("a", "b")]
    with pytest.raises(RunError, match="both have seed 5"):
        load_runs(runs)


def test_a_search_space_is_no_setting_of_a_run(make_run: RunMaker) -> None:
    runs = [make_run(seed=0, tune={"trials": 3}), make_run(seed=1)]
    assert load_runs(runs).seeds == [0, 1]


def test_different_settings_are_refused_by_their_dotted_keys(make_run: RunMaker) -> None:
    runs = [
        make_run(seed=0, agents=THREE, users=3, train={"lr": 0.1, "gamma": 0.9}),
        make_run(seed=1, agents=THREE, users=3, train={"lr": 0.2, "gamma": 0.9}, note="x", n_items=80),
    ]
    with pytest.raises(
        RunError, match=r"settings: note \(not set and x\), train\.lr \(0\.1 and 0\.2\), number of items"
    ):
        load_runs(runs)
    assert load_runs(runs, allow_different=True).seeds == [0, 1]


def test_a_key_that_is_gone_makes_no_difference(make_run: RunMaker) -> None:
    planners = ({"size": 3, "client": "openai"}, {"size": 3})
    runs = [make_run(seed=seed, agents=THREE, users=3, planner=planner) for seed, planner in enumerate(planners)]
    assert load_runs(runs).seeds == [0, 1]


def test_agents_that_some_run_lacks_are_refused_or_left_out(make_run: RunMaker) -> None:
    runs = [make_run(seed=0, agents=THREE, users=3), make_run(seed=1, agents=["random", "greedy"], users=3)]
    for run in runs:
        config = yaml.safe_load((run / "config.yaml").read_text()) | {"agents": THREE}
        (run / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(RunError, match=r"not every run has the agents boredom\+ppo, greedy, privileged"):
        load_runs(runs)
    with pytest.warns(UserWarning, match=r"left out agents that not every run has: boredom\+ppo, greedy, privileged"):
        results = load_runs(runs, allow_different=True)
    assert set(summarize(results, 10)["agents"]) == {"random"}


def test_lives_of_different_days_are_left_out(make_run: RunMaker) -> None:
    lived: dict[str, Any] = {"horizon": "days", "days": 30.0}
    runs = [make_run(seed=seed, agents=THREE, users=3, env=lived | {"days": 30.0 * (1 + seed)}) for seed in (0, 1)]
    for run in runs:
        for name, kinds in _LIVED.items():
            pl.DataFrame(schema=kinds).write_parquet(run / f"{name}.parquet")
    with pytest.warns(UserWarning, match=r"left out lives: runs differ in env\.horizon or env\.days"):
        results = load_runs(runs, allow_different=True)
    assert results.lives is None
    assert results.days == 0.0


def test_runs_without_a_common_agent_are_refused(make_run: RunMaker) -> None:
    runs = [make_run(seed=0, agents=["random"], users=3), make_run(seed=1, agents=["greedy"], users=3)]
    with pytest.raises(RunError, match="no agent in common"):
        load_runs(runs, allow_different=True)


@pytest.mark.parametrize("allow_different", [False, True])
def test_different_evaluation_users_are_refused(make_run: RunMaker, allow_different: bool) -> None:
    runs = [make_run(seed=0, agents=THREE, users=3), make_run(seed=1, agents=THREE, users=4)]
    with pytest.raises(RunError, match=r"on other users than .* \(4 and 3 users; only one has 3\)"):
        load_runs(runs, allow_different)


def test_means_average_replicates_then_users_then_seeds(make_run: RunMaker) -> None:
    # user 0 twice, user 1 twice: (1 + 3) / 2 = 2 and (10 + 30) / 2 = 20, so 11; with the other seed's 13 it is 12
    first = set_values(make_run(seed=0, agents=["random"], users=2), R_cum=[1.0, 3.0, 10.0, 30.0])
    second = set_values(make_run(seed=1, agents=["random"], users=2), R_cum=[13.0] * 4)
    assert summarize(load_runs([first, second]), 10)["agents"]["random"]["R_cum"]["mean"] == 12.0


def test_booleans_become_shares(make_run: RunMaker) -> None:
    run = set_values(make_run(agents=["random"], users=2), left_early=[True, True, True, False])
    assert summarize(load_runs([run]), 10)["agents"]["random"]["left_early"]["mean"] == 0.75


def test_sessions_without_a_value_do_not_count(make_run: RunMaker) -> None:
    run = make_run(agents=["random"], users=3, replicates=1)
    set_values(run, slate_overlap=[0.2, float("nan"), 0.4], category_entropy=[float("nan")] * 3)
    rows = summarize(load_runs([run]), 50)["agents"]["random"]
    assert rows["slate_overlap"]["mean"] == pytest.approx(0.3)
    assert rows["category_entropy"] == {"mean": None, "low": None, "high": None}


def test_intervals_of_several_seeds_reach_as_far_as_users_and_seeds_each_by_students_t(make_run: RunMaker) -> None:
    """Worked out from variances, without a bootstrap: (U, S) values whose users and seeds differ."""
    users, seeds = 40, 4
    runs = [make_run(seed=seed, agents=["boredom+ppo", "random"], users=users, replicates=1) for seed in range(seeds)]
    rng = np.random.default_rng(3)
    shape = (2, users, seeds)
    values = 5.0 + rng.normal(size=shape) + 2.0 * rng.normal(size=(1, users, 1)) + rng.normal(size=(2, 1, seeds))
    for seed, run in enumerate(runs):
        set_values(run, R_cum=values[:, :, seed].ravel())
    summary = summarize(load_runs(runs), bootstrap=20_000, seed=1)

    def ends(of: Any) -> list[float]:
        """Of the mean of (U, S) values."""
        reaches = [
            t.ppf(0.975, count - 1) * of.mean(axis=axis).std(ddof=1) / np.sqrt(count)
            for axis, count in ((1, users), (0, seeds))
        ]
        return [of.mean() - np.hypot(*reaches), of.mean() + np.hypot(*reaches)]

    a, b = values
    found, difference = summary["agents"]["boredom+ppo"]["R_cum"], entry(summary, "boredom+ppo", "random", "R_cum")
    assert [found["low"], found["high"]] == pytest.approx(ends(a), rel=0.02)
    assert [difference["low"], difference["high"]] == pytest.approx(ends(a - b), abs=0.03)
    # to first order the logarithm of a ratio of means varies as a / mean(a) - b / mean(b)
    relative = a / a.mean() - b / b.mean()
    ratio = a.mean() / b.mean()
    expected = [ratio * np.exp(end) for end in ends(relative)]
    assert [difference["ratio_low"], difference["ratio_high"]] == pytest.approx(expected, abs=0.03)
    assert found["mean"] == pytest.approx(a.mean())
    assert difference["mean"] == pytest.approx(a.mean() - b.mean())
    assert difference["ratio"] == pytest.approx(ratio)


def test_intervals_of_one_seed_are_those_of_a_plain_bootstrap_over_users(make_run: RunMaker) -> None:
    users = 40
    run = make_run(agents=["boredom+ppo", "random"], users=users, replicates=1)
    rng = np.random.default_rng(3)
    values = 5.0 + rng.normal(size=(2, users)) + 2.0 * rng.normal(size=(1, users))
    summary = summarize(load_runs([set_values(run, R_cum=values.ravel())]), bootstrap=4000, seed=1)
    draws = [values[:, rng.integers(users, size=users)].mean(axis=1) for _ in range(4000)]
    a, b = np.array(draws).T
    found, difference = summary["agents"]["boredom+ppo"]["R_cum"], entry(summary, "boredom+ppo", "random", "R_cum")
    assert [found["low"], found["high"]] == pytest.approx(np.percentile(a, [2.5, 97.5]), abs=0.08)
    assert [difference["low"], difference["high"]] == pytest.approx(np.percentile(a - b, [2.5, 97.5]), abs=0.08)
    expected = np.percentile(a / b, [2.5, 97.5])
    assert [difference["ratio_low"], difference["ratio_high"]] == pytest.approx(expected, abs=0.02)


def test_agents_are_paired(make_run: RunMaker) -> None:
    """An agent that earns twice another's reward of every user has a ratio without any spread, however users differ."""
    run = make_run(agents=["boredom+ppo", "random"], users=20, replicates=1)
    reward = np.random.default_rng(0).gamma(1.0, 10.0, size=20)
    set_values(run, R_cum=np.concatenate([2.0 * reward, reward]))
    found = entry(summarize(load_runs([run]), 200), "boredom+ppo", "random", "R_cum")
    assert (found["ratio"], found["ratio_low"], found["ratio_high"]) == pytest.approx((2.0, 2.0, 2.0))
    assert found["low"] < found["mean"] < found["high"]


def test_more_seeds_count_as_seeds_not_as_users(make_run: RunMaker) -> None:
    """Where only seeds differ, users narrow nothing: three seeds of 1, 2 and 6 have 3 +- t(2) sqrt(7 / 3)."""
    runs = [make_run(seed=seed, agents=["random"], users=30) for seed in range(3)]
    for run, reward in zip(runs, (1.0, 2.0, 6.0), strict=True):
        set_values(run, R_cum=[reward] * 60)
    found = summarize(load_runs(runs), 20_000)["agents"]["random"]["R_cum"]
    half = t.ppf(0.975, 2) * np.sqrt(7 / 3)
    assert [found["mean"], found["low"], found["high"]] == pytest.approx([3.0, 3.0 - half, 3.0 + half], rel=0.02)


def test_every_pair_of_agents_is_there_once_in_their_order(two_seeds: list[Path]) -> None:
    summary = summarize(load_runs(two_seeds), 20)
    pairs = [("boredom+ppo", "random"), ("boredom+ppo", "privileged"), ("random", "privileged")]
    assert [(e["a"], e["b"], e["metric"]) for e in summary["differences"]] == [
        (a, b, metric) for a, b in pairs for metric in DIFFERENCE_METRICS
    ]


def test_every_agent_has_every_metric(two_seeds: list[Path]) -> None:
    rows = summarize(load_runs(two_seeds), 20)["agents"]
    assert set(rows) == set(THREE)
    for row in rows.values():
        assert set(row) == {*EPISODE_METRICS, "catalogue_coverage", "gini", "normalised"}


def test_normalised_is_a_ratio_of_means_between_random_and_privileged(two_seeds: list[Path]) -> None:
    for run in two_seeds:
        set_values(run, R_cum=np.repeat([5.0, 2.0, 6.0], 24))
    rows = summarize(load_runs(two_seeds), 20)["agents"]
    assert rows["boredom+ppo"]["normalised"] == {"mean": 0.75, "low": 0.75, "high": 0.75}
    assert rows["random"]["normalised"]["mean"] == 0.0
    assert rows["privileged"]["normalised"]["mean"] == 1.0


def test_normalised_needs_both_floor_and_ceiling_and_room_between(make_run: RunMaker, two_seeds: list[Path]) -> None:
    without = load_runs([make_run(name="x", agents=["boredom+ppo", "random"], users=3)])
    assert "normalised" not in summarize(without, 10)["agents"]["random"]
    for run in two_seeds:
        set_values(run, R_cum=[3.0] * 72)
    rows = summarize(load_runs(two_seeds), 20)["agents"]
    assert rows["boredom+ppo"]["normalised"] == {"mean": None, "low": None, "high": None}


def test_no_ratio_to_a_mean_that_is_not_positive(two_seeds: list[Path]) -> None:
    for run in two_seeds:
        set_values(run, R_cum=np.repeat([5.0, -2.0, 0.0], 24))
    found = entry(summarize(load_runs(two_seeds), 20), "boredom+ppo", "random", "R_cum")
    assert (found["mean"], found["low"], found["high"]) == (7.0, 7.0, 7.0)
    assert (found["ratio"], found["ratio_low"], found["ratio_high"]) == (None, None, None)


def write_items(run: Path, rows: list[tuple[str, int, int, int]]) -> None:
    frame = pl.DataFrame(rows, schema=["agent", "user", "item", "count"], orient="row")
    frame.write_parquet(run / "items.parquet")


def test_catalogue_metrics_are_those_of_each_seed_averaged(make_run: RunMaker) -> None:
    runs = [make_run(seed=seed, agents=["random"], users=2, n_items=4) for seed in (0, 1)]
    write_items(runs[0], [("random", 0, 0, 3), ("random", 1, 1, 1)])  # 0 0 1 3: Gini 10 / 16, coverage 2 / 4
    write_items(runs[1], [("random", 0, 2, 7)])  # 0 0 0 7: Gini 3 / 4, coverage 1 / 4
    row = summarize(load_runs(runs), 50)["agents"]["random"]
    assert row["catalogue_coverage"]["mean"] == 0.375
    assert row["gini"]["mean"] == 0.6875


@pytest.mark.parametrize(
    ("metric", "function"), [("catalogue_coverage", metrics.catalog_coverage), ("gini", metrics.gini)]
)
def test_catalog_intervals_are_as_wide_as_the_jackknife_says(make_run: RunMaker, metric: str, function: Any) -> None:
    users, items = 100, 400
    run = make_run(agents=["random"], users=users, n_items=items)
    counts = np.random.default_rng(2).poisson(0.01, size=(users, items))
    write_items(run, [("random", int(u), int(i), int(counts[u, i])) for u, i in zip(*np.nonzero(counts), strict=True)])
    row = summarize(load_runs([run]), 8000)["agents"]["random"][metric]
    without = np.array([function(counts.sum(axis=0) - own) for own in counts])
    error = (users - 1) / users * np.sqrt(((without - without.mean()) ** 2).sum())
    assert row["mean"] == pytest.approx(function(counts.sum(axis=0)))
    assert row["low"] == pytest.approx(row["mean"] - 1.96 * error, abs=0.1 * error)
    assert row["high"] == pytest.approx(row["mean"] + 1.96 * error, abs=0.1 * error)


def test_an_agent_that_showed_nothing_has_no_catalogue_metrics(two_seeds: list[Path]) -> None:
    for run in two_seeds:
        items = pl.read_parquet(run / "items.parquet").filter(pl.col("agent") != "random")
        items.write_parquet(run / "items.parquet")
    rows = summarize(load_runs(two_seeds), 20)["agents"]
    assert rows["random"]["gini"] == {"mean": None, "low": None, "high": None}
    assert rows["privileged"]["gini"]["mean"] is not None


def test_one_user_is_enough_for_means(make_run: RunMaker) -> None:
    row = summarize(load_runs([make_run(agents=["random"], users=1)]), 20)["agents"]["random"]
    for metric in ("R_cum", "gini", "catalogue_coverage"):
        assert row[metric]["low"] == row[metric]["mean"] == row[metric]["high"] is not None


def test_the_same_runs_in_any_order_give_the_same_summary(two_seeds: list[Path]) -> None:
    assert compare(two_seeds, bootstrap=100) == compare(two_seeds[::-1], bootstrap=100)
    assert compare(two_seeds, bootstrap=100) != compare(two_seeds, bootstrap=100, seed=1)


def test_the_order_of_sessions_in_a_file_does_not_matter(two_seeds: list[Path]) -> None:
    before = compare(two_seeds, bootstrap=50)
    for name in ("episodes", "items"):
        frame = pl.read_parquet(two_seeds[0] / f"{name}.parquet")
        shuffled = pl.concat([rows.sample(fraction=1.0, shuffle=True, seed=1) for rows in frame.partition_by("agent")])
        shuffled.write_parquet(two_seeds[0] / f"{name}.parquet")
    assert compare(two_seeds, bootstrap=50) == before


def test_no_draws_are_refused(two_seeds: list[Path]) -> None:
    with pytest.raises(ValueError, match="bootstrap must be from 1 to 100,000 draws, given 0"):
        summarize(load_runs(two_seeds), bootstrap=0)


def test_compare_writes_what_it_returns(two_seeds: list[Path], tmp_path: Path) -> None:
    summary = compare(two_seeds, tmp_path / "new" / "folder", bootstrap=50)
    assert json.loads((tmp_path / "new" / "folder" / "summary.json").read_text()) == summary
    assert (tmp_path / "new" / "folder" / "summary.md").read_text() == markdown(summary)


def made_up(**rewards: tuple[float, float, float]) -> Summary:
    """A summary with the given mean, low and high of R_cum, and ratios of the means."""
    agents: Any = {
        agent: {"R_cum": dict(zip(("mean", "low", "high"), values, strict=True))} for agent, values in rewards.items()
    }
    a, b = list(rewards)[:2]
    ratio = {"ratio": rewards[a][0] / rewards[b][0], "ratio_low": 1.25, "ratio_high": 4.0}
    difference: Any = {"a": a, "b": b, "metric": "R_cum", "mean": 1.0, "low": 0.5, "high": 1.5} | ratio
    return {"users": 40, "seeds": 1, "agents": agents, "differences": [difference]}


def test_the_table_has_the_best_agent_first_and_fixed_decimals() -> None:
    lines = text_of(table(made_up(weak=(5.0, 4.0, 6.5), strong=(10.0, 9.125, 11.0)))).splitlines()
    assert lines[0].split() == ["agent", "R_cum"]
    assert lines[1].split(maxsplit=1)[0] == "strong"
    assert "10.00 [9.12, 11.00]" in lines[1]
    assert "5.00 [4.00, 6.50]" in lines[2]


def test_the_table_is_whole_where_there_is_no_terminal(two_seeds: list[Path]) -> None:
    text = text_of(table(compare(two_seeds, bootstrap=20)))
    headings = [line.split() for line in text.splitlines() if line.startswith("agent ")]
    assert headings == [
        ["agent", "R_cum", "T_int", "R_sin", "normalised"],
        ["agent", "satisfaction", "early", "cap", "categories", "distance", "Gini"],
    ]
    assert "…" not in text


def test_the_table_fits_80_columns_and_says_what_it_shows(make_run: RunMaker) -> None:
    """Of an ordinary comparison; a value of 100 and more, or a longer name, takes its room."""
    text = text_of(table(compare([make_run(agents=["round_robin+ppo", *THREE])], bootstrap=20)))
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
    said = " ".join(text.split())
    for words in ("R_cum: sum of rewards over a session", "T_int: steps in a session", "R_sin: reward per step"):
        assert words in said


def test_the_caption_says_which_interval_it_is(make_run: RunMaker, two_seeds: list[Path]) -> None:
    one, two = compare(two_seeds[:1], bootstrap=20), compare(two_seeds, bootstrap=20)
    for made in (text_of(table(one)), markdown(one)):
        assert "percentiles of a bootstrap over users, for one seed" in " ".join(made.split())
    for made in (text_of(table(two)), markdown(two)):
        assert "Student's t, over users and over 2 seeds." in " ".join(made.split())


def test_undefined_values_are_said_to_be_so() -> None:
    summary = made_up(a=(2.0, 1.0, 3.0), b=(1.0, 1.0, 1.0))
    summary["agents"]["a"]["gini"] = {"mean": 0.5, "low": None, "high": None}
    summary["agents"]["b"]["gini"] = {"mean": None, "low": None, "high": None}
    summary["agents"]["b"]["R_cum"]["low"] = None
    lines = [line.split() for line in text_of(table(summary)).splitlines()]
    assert [line for line in lines if line[:1] in (["a"], ["b"])] == [
        ["a", "2.00", "[1.00,", "3.00]"],
        ["b", "1.00", "[n/a]"],
        ["a", "0.50"],
        ["b", "n/a"],
    ]


def test_ratios_of_a_reference_are_turned_round_where_it_comes_second() -> None:
    summary = made_up(a=(6.0, 5.0, 7.0), b=(3.0, 2.0, 4.0))
    assert ratios(summary, "a") == {"b": {"mean": 2.0, "low": 1.25, "high": 4.0}}
    assert ratios(summary, "b") == {"a": {"mean": 0.5, "low": 0.25, "high": 0.8}}
    assert "2.000 [1.250, 4.000]" in text_of(difference_table(summary, "a"))


def test_an_unknown_reference_or_metric_is_refused() -> None:
    summary = made_up(a=(6.0, 5.0, 7.0), b=(3.0, 2.0, 4.0))
    with pytest.raises(RunError, match="no agent 'c' in these runs, there are a, b"):
        difference_table(summary, "c")
    with pytest.raises(RunError, match="no ratios of 'gini', there are T_int, R_cum, R_sin, satisfaction_mean"):
        difference_table(summary, "a", metric="gini")


def test_markdown_is_a_table_and_the_ratios_on_request() -> None:
    lines = markdown(made_up(a=(6.0, 5.0, 7.0), b=(3.0, 2.0, 4.0)), reference="b").splitlines()
    assert lines[:4] == [
        "| agent | R_cum |",
        "|---|---:|",
        "| a | 6.00 [5.00, 7.00] |",
        "| b | 3.00 [2.00, 4.00] |",
    ]
    assert lines[-1] == "| a | 0.500 | [0.250, 0.800] |"


def test_agents_by_reward() -> None:
    assert by_reward(made_up(a=(1.0, 1.0, 1.0), b=(3.0, 3.0, 3.0), c=(2.0, 2.0, 2.0))) == ["b", "c", "a"]


def test_agents_whose_policy_had_too_few_steps_are_marked_everywhere(make_run: RunMaker, tmp_path: Path) -> None:
    run = make_run(agents=["boredom+ppo", "flat+ppo", "random"], train={"steps": 20_000, "users": 10, "rollout": 5})
    curves = {"agent": ["boredom+ppo", "flat+ppo", "flat+ppo"], "steps": [20_000, 0, 199]}
    made = curves | dict.fromkeys(("T_int", "R_cum", "R_sin"), [1.0] * 3) | {"sessions": [1] * 3}
    pl.DataFrame(made).write_parquet(run / "curves.parquet")
    compare([run], tmp_path / "out", bootstrap=100, reference="flat+ppo")
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["untrained"] == {
        "boredom+ppo": {"mark": "untrained", "steps": 0, "lessons": 20_000, "enough": 200},  # 4 x 10 x 5
        "flat+ppo": {"mark": "too few steps", "steps": 199, "lessons": 0, "enough": 200},
    }
    page = (tmp_path / "out" / "summary.md").read_text()
    assert page.count("| boredom+ppo (untrained) | ") == 2
    assert "| flat+ppo (too few steps) | " in page
    assert "boredom+ppo: untrained, its policy took no steps, its planner's lessons took 20,000\n" in page
    assert "flat+ppo: too few steps, its policy took 199 of the 200 that it needs\n" in page


def test_a_run_without_training_says_so_of_planners_too(make_run: RunMaker) -> None:
    said = "train.steps is 0: planners that learn had no training sessions either"
    none = make_run(agents=["boredom+greedy", "random"], learning=False, train={"steps": 0})
    assert said in markdown(summarize(load_runs([none]), 100))
    some = make_run(seed=1, agents=["boredom+greedy", "random"], learning=False, train={"steps": 1})
    assert said not in markdown(summarize(load_runs([some]), 100))


@pytest.mark.parametrize("given", ["true", "1e400", str(10**400), "-1", '"1"'])
def test_counts_that_are_none_are_refused(make_run: RunMaker, given: str) -> None:
    run = make_run(agents=["random"])
    (run / "run.json").write_text(f'{{"n_items": {given}}}')
    with pytest.raises(RunError, match="no whole number under n_items, given"):
        load_runs([run])
    (run / "config.yaml").write_text("agents: [random]\nseed: true\n")
    with pytest.raises(RunError, match="no whole number under `seed`, given True"):
        load_runs([run])


@pytest.mark.parametrize("section", ["train: [1]", "planner: 3", "train: {users: many}", "train: {rollout: .inf}"])
def test_sections_that_are_none_are_damage(make_run: RunMaker, section: str) -> None:
    run = make_run(agents=["random"])
    (run / "config.yaml").write_text(f"agents: [random]\nseed: 0\n{section}\n")
    with pytest.raises(RunError, match=r"config\.yaml is damaged"):
        load_runs([run])
