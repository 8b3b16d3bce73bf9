"""Groups of runs compared: what is paired, what is refused, what is said of settings that differ."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from lerl.cli.groups import read_groups
from lerl.cli.main import main
from lerl.cli.parser import UsageError
from lerl.files import RunError
from lerl.report.compare import compare
from lerl.report.group_tables import markdown
from lerl.report.groups import compare_groups

RunMaker = Callable[..., Path]
AGENTS = ["boredom+ppo", "random", "privileged"]


@pytest.fixture
def groups(make_run: RunMaker) -> dict[str, list[Path]]:
    """Two folders of two seeds; in the second every session earns one more, and one setting differs."""
    for seed in (0, 1):
        run = make_run(seed=seed, name=f"base/seed{seed}", agents=AGENTS)
        better = make_run(seed=seed, name=f"more/seed{seed}", agents=AGENTS, train={"steps": 7})
        _set_episodes(better, pl.read_parquet(run / "episodes.parquet").with_columns(pl.col("R_cum") + 1.0))
    return {"base": [run.parent], "more": [better.parent]}


def _set_episodes(run: Path, episodes: pl.DataFrame) -> None:
    episodes.write_parquet(run / "episodes.parquet")


def _edit(run: Path, name: str, **values: object) -> None:
    about = json.loads((run / name).read_text())
    (run / name).write_text(json.dumps(about | values))


def test_the_same_users_and_seeds_are_paired(groups: dict[str, list[Path]]) -> None:
    found = compare_groups(groups, bootstrap=200)
    assert (found["reference"], found["users"], found["seeds"]) == ("base", 40, 2)
    for entry in (one for one in found["differences"] if one["metric"] == "R_cum"):
        assert (entry["group"], entry["reference"]) == ("more", "base")
        for end in ("mean", "low", "high"):  # each session earns one more, so that nothing is left to be uncertain of
            assert entry[end] == pytest.approx(1.0)
        mean = found["groups"]["base"]["agents"][entry["agent"]]["R_cum"]["mean"]
        assert entry["ratio"] == pytest.approx((mean + 1) / mean)
        assert entry["ratio_low"] < entry["ratio"] < entry["ratio_high"]
    assert {entry["agent"] for entry in found["differences"]} == set(AGENTS)


def test_a_group_has_the_numbers_that_it_has_alone(groups: dict[str, list[Path]]) -> None:
    found = compare_groups(groups, bootstrap=200)
    assert found["groups"]["more"] == compare(groups["more"], bootstrap=200)


def test_the_reference_may_be_any_group(groups: dict[str, list[Path]]) -> None:
    (first, *_) = compare_groups(groups, "more", 200)["differences"]
    assert (first["group"], first["reference"]) == ("base", "more")
    with pytest.raises(RunError, match="no group 'x' here, there are base, more"):
        compare_groups(groups, "x")


def test_settings_that_differ_are_said_and_the_world_apart(groups: dict[str, list[Path]], make_run: RunMaker) -> None:
    found = compare_groups(groups, bootstrap=200)
    assert found["settings"] == {"train.steps": {"base": "not set", "more": 7}}
    assert found["world"] == []
    assert "worlds" not in markdown(found)
    third = [make_run(seed=seed, name=f"third/seed{seed}", agents=AGENTS, env={"slate_size": 9}) for seed in (0, 1)]
    found = compare_groups({**groups, "third": third}, bootstrap=200)
    assert found["settings"]["env.slate_size"] == {"base": 5, "more": 5, "third": 9}
    assert found["world"] == ["env.max_steps", "env.slate_size"]
    assert "env.max_steps, env.slate_size change the users: a ratio between such groups compares worlds" in markdown(
        found
    )
    assert "| env.slate_size | 5 | 5 | 9 |" in markdown(found)


def test_an_agent_of_one_group_only_is_shown_but_not_compared(
    groups: dict[str, list[Path]], make_run: RunMaker
) -> None:
    other = [make_run(seed=seed, name=f"o/seed{seed}", agents=["flat+ppo", "random"]) for seed in (0, 1)]
    found = compare_groups({"base": groups["base"], "other": other}, bootstrap=200)
    assert {entry["agent"] for entry in found["differences"]} == {"random"}
    assert "| flat+ppo | other |" in markdown(found)
    alone = [make_run(seed=seed, name=f"a/seed{seed}", agents=["flat+ppo"]) for seed in (0, 1)]
    found = compare_groups({"base": groups["base"], "alone": alone}, bootstrap=200)
    assert found["differences"] == []
    assert "No agent of base is in another group." in markdown(found)


def test_groups_of_different_seeds_are_refused(groups: dict[str, list[Path]]) -> None:
    shutil.rmtree(groups["more"][0] / "seed1")
    with pytest.raises(RunError, match="the same seeds, but base has seeds 0, 1 and more has seed 0;"):
        compare_groups(groups)


def test_groups_of_different_users_are_refused(groups: dict[str, list[Path]], make_run: RunMaker) -> None:
    few = [make_run(seed=seed, name=f"few/seed{seed}", agents=AGENTS, users=30) for seed in (0, 1)]
    with pytest.raises(RunError, match=r"the same users, but base and few are not \(40 and 30 users\)"):
        compare_groups({"base": groups["base"], "few": few})
    for digest, group in zip("ab", groups.values(), strict=True):
        for seed in (0, 1):
            _edit(group[0] / f"seed{seed}", "run.json", population_digest=digest)
    with pytest.raises(RunError, match=r"40 and 40 users of different data"):
        compare_groups(groups)


def test_runs_of_different_seeds_are_one_group_and_others_are_compared(
    groups: dict[str, list[Path]], make_run: RunMaker
) -> None:
    base, more = (paths[0] for paths in groups.values())
    runs = [base / "seed0", base / "seed1"]
    assert read_groups(runs) == {"": runs}
    assert read_groups([base]) == {"": [base]}
    assert read_groups([base, more]) == {"base": [base], "more": [more]}
    assert read_groups([Path(f"A={base}"), more]) == {"A": [base], "more": [more]}
    named = [Path(f"A={runs[0]}"), Path(f"A={runs[1]}"), Path(f"B={more}")]
    assert read_groups(named) == {"A": runs, "B": [more]}
    single = [make_run(seed=0, name=name, agents=AGENTS) for name in ("x", "y=z")]
    assert read_groups(single) == {"x": [single[0]], "y=z": [single[1]]}
    with pytest.raises(UsageError, match="two groups are called 'seed0'; give them names"):
        read_groups([base / "seed0", more / "seed0"])
    with pytest.raises(UsageError, match="a group is given as NAME=FOLDER, given '=x'"):
        read_groups([Path("=x"), base])


def test_the_command_prints_and_writes_groups(
    groups: dict[str, list[Path]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base, more = (str(paths[0]) for paths in groups.values())
    out = tmp_path / "out"
    assert main(["compare", base, more, "--bootstrap", "200", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert printed.index("Settings that differ") < printed.index("train.steps") < printed.index("All agents")
    assert "+1.00 [+1.00, +1.00]" in printed
    assert "Paired: the same 40 users and the same 2 seeds in every group." in printed
    assert (out / "summary.md").read_text().startswith("**Settings that differ**")
    assert main(["compare", base, more, "--bootstrap", "200", "--json"]) == 0
    assert capsys.readouterr().out == (out / "summary.json").read_text()
    assert main(["compare", base, "--bootstrap", "200", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["seeds"] == 2


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["compare", "A", "B", "--allow-different"], "--allow-different is for the runs of one group"),
        (["compare", "A", "B", "--sensitivity"], "--sensitivity is for the runs of one group"),
        (["plot", "A", "B", "--out", "x"], "lerl plot draws the runs of one group, given base, more"),
        (["compare", "A", "--trust"], "--trust goes with --sensitivity"),
    ],
)
def test_what_is_for_one_group_only_says_so(
    groups: dict[str, list[Path]], capsys: pytest.CaptureFixture[str], flags: list[str], said: str
) -> None:
    places = {"A": str(groups["base"][0]), "B": str(groups["more"][0])}
    assert main([places.get(flag, flag) for flag in flags]) == 2
    assert capsys.readouterr().err.startswith(f"lerl: error: {said}")


def test_a_folder_of_seeds_is_drawn_as_its_runs(groups: dict[str, list[Path]], tmp_path: Path) -> None:
    assert main(["plot", str(groups["base"][0]), "--bootstrap", "100"]) == 0
    assert (groups["base"][0] / "plots" / "satisfaction.png").is_file()
