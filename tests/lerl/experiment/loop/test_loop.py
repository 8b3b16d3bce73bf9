"""lerl loop from a recipe to a table: who is refitted on what, who is shown what, going on, and what is refused."""

import json
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from lerl.agents.base import Agent, Observation, TaskSpec
from lerl.cli.main import main
from lerl.config.parse import configure
from lerl.config.recipes import find_recipe
from lerl.envs.plugins import PluginError
from lerl.envs.population import Population, Truth
from lerl.envs.schema import DataError
from lerl.envs.synthetic import synthetic_population
from lerl.experiment.loop import deploy
from lerl.experiment.loop.between import AWAY, GONE, LOG
from lerl.experiment.loop.command import loop
from lerl.experiment.loop.deploy import RANDOM, read_between, read_log, read_people, read_sessions, refitted, stage_of
from lerl.experiment.loop.play import only_there
from lerl.experiment.loop.request import request
from lerl.experiment.loop.settings import FROZEN, OPEN, LoopConfig, Request, Row, Trial
from lerl.files import RunError
from lerl.report.metrics import gini
from lerl.run.agent_factory import build_agent
from lerl.run.lives import play_lives
from lerl.run.rollout import Evaluator
from lerl.run.specs import parse_agent

SMALL = {
    "agents": "[flat+greedy]",
    "data.synthetic.users": "80",
    "data.synthetic.items": "120",
    "data.synthetic.categories": "6",
    "planner.axis": "categories",
    "env.slate_size": "3",
    "env.max_steps": "8",
    "env.topic_count": "6",
    "evaluation.users": "60",
    "evaluation.bootstrap": "200",
    "train.steps": "0",
}
DAYS = LoopConfig(days=13, retrain=4, newcomers=0.25, turnover=0.1)


def quiet(line: str) -> None:
    pass


def asked(seeds: Sequence[int] = (0,), days: LoopConfig = DAYS, controls: bool = True, **more: str) -> Request:
    return request(configure(find_recipe("quickstart"), {**SMALL, **more}), days, seeds, controls)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("loop") / "out"
    return out, loop(asked(), out, quiet)


def trials(found: Request) -> list[Trial]:
    return found.trials()


def test_floors_and_controls_stand_beside_what_is_asked_for(done: tuple[Path, dict[str, Any]]) -> None:
    out, summary = done
    assert list(summary["agents"]) == [
        "flat+greedy", "random", "popularity",
        "flat+greedy@frozen", "flat+greedy@open", "popularity@frozen", "popularity@open",
    ]  # fmt: skip
    assert summary["periods"] == [[0, 4], [4, 8], [8, 12]]  # whole periods of the 13 days
    assert {(one["a"], one["b"]) for one in summary["loop"]} == {
        (agent, f"{agent}{mark}") for agent in ("flat+greedy", "popularity") for mark in (FROZEN, OPEN)
    }
    assert json.loads((out / "summary.json").read_text()) == json.loads(json.dumps(summary))
    table = pl.read_parquet(out / "periods.parquet")
    row = table.filter((pl.col("agent") == "random") & (pl.col("period") == 2) & (pl.col("metric") == "gini"))
    assert row["mean"].item() == summary["agents"]["random"]["gini"]["periods"][1]["mean"]
    assert (out / "loop.html").read_text().startswith("<!doctype html>")
    assert (out / "loop.png").is_file()


def test_random_shows_everything_alike_and_people_share_what_chance_says(done: tuple[Path, dict[str, Any]]) -> None:
    _, summary = done
    both = 20 * 20 / summary["items"]
    for value in summary["agents"]["random"]["jaccard"]["periods"]:
        assert value["mean"] == pytest.approx(both / (40 - both), rel=0.2)
    for one in ("gini", "jaccard"):
        change = summary["agents"]["random"][one]["change"]
        assert abs(change["mean"]) < 0.06, one
    assert summary["agents"]["random"]["gini"]["periods"][-1]["mean"] < 0.2
    assert summary["agents"]["popularity"]["gini"]["beside_random"]["low"] > 0.2
    assert summary["agents"]["popularity"]["jaccard"]["periods"][-1]["mean"] == 1.0


def test_items_that_are_not_there_are_never_shown_and_people_not_before_they_come(
    done: tuple[Path, dict[str, Any]],
) -> None:
    out, _ = done
    cast = stage_of(asked(), 0).cast
    begins = dict(zip(cast.people.tolist(), cast.arrivals.tolist(), strict=True))
    for trial in trials(asked()):
        for period in range(3):
            log, people = read_log(out, trial, period), read_people(out, trial, period)
            assert cast.there[period][log["item"].to_numpy()].all(), trial.name
            assert log["day"].is_sorted()
            assert 4 * period <= log["day"].min() <= log["day"].max() < 4 * (period + 1)  # type: ignore[operator]
            assert all(day >= begins[user] for user, day in log.select("user", "day").iter_rows())
            away = cast.people[people["status"].to_numpy() == AWAY]
            assert set(away.tolist()) == {user for user, day in begins.items() if day >= 4 * (period + 1)}


def test_who_is_lost_never_comes_back(done: tuple[Path, dict[str, Any]]) -> None:
    out, _ = done
    people, seen = stage_of(asked(), 0).cast.people, 0
    for trial in trials(asked()):
        for period in range(2):
            lost = people[read_people(out, trial, period)["status"].to_numpy() == GONE]
            seen += len(lost)
            assert not set(lost.tolist()) & set(read_log(out, trial, period + 1)["user"].to_list())
    assert seen


def test_agents_meet_the_same_people_with_the_same_luck(done: tuple[Path, dict[str, Any]]) -> None:
    out, _ = done
    own = [read_sessions(out, Trial(row, 0), 0) for row in asked().rows]
    first = [one.filter(pl.col("session") == 0).select("user", "day") for one in own]
    assert all(one.equals(first[0]) for one in first)  # everybody begins on the same day
    by_label = {row.label: one for row, one in zip(asked().rows, own, strict=True)}
    for agent in ("flat+greedy", "popularity"):  # before the first refit controls are the agent itself
        assert by_label[agent].equals(by_label[f"{agent}{FROZEN}"])
        assert by_label[agent].equals(by_label[f"{agent}{OPEN}"])
    assert not by_label["flat+greedy"].equals(by_label["popularity"])


def test_who_is_refitted_on_what(done: tuple[Path, dict[str, Any]]) -> None:
    out, _ = done
    stage, spec = stage_of(asked(), 0), parse_agent("popularity", "")

    def known(mark: str, period: int) -> Any:
        return refitted(stage, Trial(Row(spec, mark), 0), out, period).population.knowledge

    first = known("", 0)
    assert _same(first, known(FROZEN, 2))
    assert _same(first, known(OPEN, 0))
    assert not _same(first, known("", 1))
    assert not _same(known("", 2), known(OPEN, 2))
    assert _same(known(OPEN, 2), refitted(stage, Trial(RANDOM, 0), out, 2).population.knowledge)


def _same(one: Any, other: Any) -> bool:
    return all(np.array_equal(getattr(one, part.name), getattr(other, part.name)) for part in fields(one))


def test_nothing_hidden_is_in_a_log_or_read_where_one_is_learned_from(done: tuple[Path, dict[str, Any]]) -> None:
    out, _ = done
    stage, trial = stage_of(asked(), 0), Trial(RANDOM, 0)
    assert read_log(out, trial, 1).schema == LOG
    whole = stage.task.population
    rng = np.random.default_rng(0)
    others = Truth(*(rng.normal(size=getattr(whole.truth, one.name).shape).astype(np.float32) for one in fields(Truth)))
    elsewhere = stage._replace(task=replace(stage.task, population=replace(whole, truth=others)))
    found, here = refitted(elsewhere, trial, out, 2), refitted(stage, trial, out, 2)
    assert _same(found.population.knowledge, here.population.knowledge)
    assert _same(found.population.truth, here.population.truth)  # in which policies train: what the log says
    assert here.population.history.shape[0] > len(read_log(out, trial, 1))


def test_what_was_interrupted_goes_on_to_the_same_bits(
    done: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, whole = done
    played, real = list[int](), deploy.play

    def counted(*args: Any) -> Any:
        if len(played) == 5:
            played.append(0)
            raise KeyboardInterrupt
        played.append(1)
        return real(*args)

    monkeypatch.setattr(deploy, "play", counted)
    with pytest.raises(KeyboardInterrupt):
        loop(asked(), tmp_path / "out", quiet)
    assert not (tmp_path / "out" / "summary.json").exists()
    assert loop(asked(), tmp_path / "out", quiet) == whole
    assert sum(played) == 21  # 7 deployments of 3 periods, none twice
    for name in ("summary.json", "periods.parquet", "loop.html", "loop.png"):
        assert (tmp_path / "out" / name).read_bytes() == (out / name).read_bytes(), name
    loop(asked(), tmp_path / "out", quiet)
    assert sum(played) == 21
    assert not list((tmp_path / "out" / "trials").glob("*/fits"))


def test_periods_together_are_lives(tmp_path: Path) -> None:
    days = replace(DAYS, newcomers=0.0, turnover=0.0)
    found = asked(days=days, controls=False)
    loop(found, tmp_path / "out", quiet)
    stage = stage_of(found, 0)
    population, lives = stage.task.population, stage.task.lives
    assert lives is not None
    evaluator = Evaluator(population, lives, stage.task.axis, "all", 60)
    agent = build_agent(parse_agent("random", ""), stage.task)
    once = play_lives(evaluator, agent, stage.cast.people, 1, stage.task.seed("lives"))
    parts = pl.concat([read_sessions(tmp_path / "out", Trial(RANDOM, 0), period) for period in range(3)])
    for user, sessions, gone in zip(once.users.tolist(), once.sessions, once.churned.tolist(), strict=True):
        mine = parts.filter(pl.col("user") == user)
        assert mine["day"].to_list() == [one.day for one in sessions]
        assert mine["T_int"].to_list() == [len(one.slates) for one in sessions]
        assert mine["R_cum"].to_numpy() == pytest.approx([one.rewards.sum() for one in sessions])
        assert mine["satisfaction_final"].to_list() == [one.satisfaction for one in sessions]
        place = int(np.searchsorted(stage.cast.people, user))
        assert (read_between(tmp_path / "out", Trial(RANDOM, 0), 2).status[place] == GONE) == gone


def _alike() -> Population:
    """People who like all items equally: whatever a log says of items is what was shown."""
    whole = synthetic_population(80, 120, 6, 4, 0)
    truth = whole.truth
    flat = Truth(truth.item_vectors, truth.item_offsets * 0, truth.user_vectors * 0, truth.user_offsets * 0)
    return replace(whole, truth=flat)


def test_popularity_feeds_itself_where_nothing_is_better_and_random_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lerl.run.task.population_of", lambda config: _alike())
    found = asked(agents="[popularity]", days=replace(DAYS, turnover=0.0))
    summary = loop(found, tmp_path / "out", quiet)
    stage, spec = stage_of(found, 0), parse_agent("popularity", "")

    def uneven(mark: str, period: int) -> float:
        known = refitted(stage, Trial(Row(spec, mark), 0), tmp_path / "out", period).population.knowledge
        return gini(known.popularity)

    assert uneven("", 2) > uneven("", 0) + 0.2  # what it showed became popular
    assert uneven(OPEN, 2) < uneven(OPEN, 0) + 0.05
    assert uneven(FROZEN, 2) == uneven(FROZEN, 0)
    assert summary["agents"]["popularity"]["gini"]["periods"][-1]["mean"] > 0.5
    assert abs(summary["agents"]["random"]["gini"]["change"]["mean"]) < 0.05


def test_seeds_have_the_same_people_and_intervals_over_both(tmp_path: Path) -> None:
    found = asked(seeds=(0, 1), controls=False)
    summary = loop(found, tmp_path / "out", quiet)
    assert (summary["users"], summary["seeds"]) == (60, 2)
    one, other = (read_sessions(tmp_path / "out", Trial(RANDOM, seed), 0) for seed in (0, 1))
    assert not one.equals(other)
    value = summary["agents"]["random"]["R_session"]["periods"][0]
    means = [part.group_by("user").agg(pl.col("R_cum").mean())["R_cum"] for part in (one, other)]
    total = sum(part.sum() for part in means) / sum(len(part) for part in means)
    assert value["mean"] == pytest.approx(total)
    assert value["low"] < value["mean"] < value["high"]


class ShowsAnything(Agent):
    """Has no `withhold`."""

    def __init__(self, task: TaskSpec, count: int) -> None:
        self.slates = np.tile(np.arange(task.slate_size, dtype=np.int32), (count, 1))

    def begin(self, *_: Any) -> None:
        """Nothing to remember."""

    def act(self, observation: Observation) -> np.ndarray:
        """Slates (B, k)."""
        return self.slates


def test_who_is_told_the_rules_leaves_out_what_is_not_there_too(tmp_path: Path) -> None:
    found = asked(
        agents="[informed,privileged]", days=replace(DAYS, days=8), controls=False, **{"evaluation.users": "20"}
    )
    loop(found, tmp_path / "out", quiet)
    cast = stage_of(found, 0).cast
    for trial in trials(found):
        assert all(cast.there[period][read_log(tmp_path / "out", trial, period)["item"]].all() for period in range(2))


def test_a_place_without_an_item_that_is_there_stays_empty() -> None:
    there = np.array([True, False, True, False])
    shown = np.array([[2, -1], [-1, -1], [-1, -1]])
    given = np.array([[1, 3], [0, 3], [3, 1]])
    mended = only_there(given, there, shown)
    assert mended.tolist() == [[2, 2], [0, 0], [0, 0]]  # shown before; twice in the slate; nothing left to repeat
    assert only_there(given, np.ones(4, bool), shown) is given


@pytest.mark.parametrize(
    ("days", "more", "message"),
    [
        ({"days": 6, "retrain": 4}, {}, "at least two times loop.retrain"),
        ({"days": 0}, {}, "loop.days"),
        ({"newcomers": 1.0}, {}, "loop.newcomers"),
        ({}, {"planner.axis": "learned"}, "planner.axis must be one of categories, clusters, codes"),
        ({}, {"agents": "[llm+greedy]", "planner.replay": "x"}, "asks a chat model"),
        ({}, {"evaluation.users": "81"}, "from 2 to 80"),
        ({"turnover": 0.9, "days": 400, "retrain": 4}, {}, "fewer than two slates"),
        ({"turnover": 0.1}, {"agents": f"[{__name__}:ShowsAnything]"}, "cannot leave out items"),
    ],
)
def test_bad_input_is_refused(days: dict[str, float], more: dict[str, str], message: str, tmp_path: Path) -> None:
    with pytest.raises((ValueError, PluginError), match=message):
        loop(asked(days=LoopConfig(**{"days": 12, "retrain": 4} | days), **more), tmp_path / "out", quiet)  # type: ignore[arg-type]


def test_a_folder_of_other_settings_or_of_something_else_is_left_alone(
    done: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    out, _ = done
    with pytest.raises(RunError, match=r"env.max_steps was 8 and is now 9"):
        loop(asked(**{"env.max_steps": "9"}), out, quiet)
    with pytest.raises(RunError, match=r"loop.turnover was 0.1 and is now 0.0"):
        loop(asked(days=replace(DAYS, turnover=0.0)), out, quiet)
    (tmp_path / "letter.txt").write_text("keep me")
    with pytest.raises(FileExistsError, match="something other than a loop"):
        loop(asked(), tmp_path, quiet)


def test_the_command_prints_plans_and_goes_on(
    done: tuple[Path, dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    out, _ = done
    flags = [f"--{name}={value}" for name, value in SMALL.items()]
    flags += ["--days=13", "--retrain=4", "--newcomers=0.25", "--turnover=0.1", "--controls", f"--out={out}"]
    assert main(["loop", "quickstart", *flags, "--plan"]) == 0
    assert "0 periods of 4 days, 0 fits" in capsys.readouterr().out
    assert main(["loop", "quickstart", *flags, "--seeds=0-1", "--plan"]) == 0
    said = capsys.readouterr().out
    assert "flat+greedy@frozen-seed1" in said
    assert "21 periods of 4 days, 17 fits, 0 training steps" in said
    assert main(["loop", "quickstart", *flags]) == 0
    said = capsys.readouterr().out
    assert "Agent - the same agent refitted on the log of random, days 8 to 12" in said
    assert main(["report", str(out)]) == 0
    for wrong, message in (
        (["--days=x"], "--days must be a whole number"),
        (["--days"], "--days needs a whole number"),
        (["--days=12", "--plan"], "loop.days was 13 and is now 12"),
        (["--env.days=3"], "--env.days does nothing for lerl loop"),
        (["--seeds=0-1", "--seed=2"], "--seed and --seeds are both given"),
    ):
        assert main(["loop", "quickstart", *(flag for flag in flags if flag[:6] != wrong[0][:6]), *wrong]) == 2
        assert message in capsys.readouterr().err


def test_what_was_lost_or_damaged_is_played_again_to_the_same_bits(tmp_path: Path) -> None:
    few, out = asked(days=LoopConfig(days=6, retrain=3), controls=False), tmp_path / "out"
    whole = loop(few, out, quiet)
    trial = Trial(RANDOM, 0)
    log, state = (deploy.path_of(out, trial, 0, what) for what in ("log", "state"))
    kept = log.read_bytes()
    log.write_bytes(kept[: len(kept) // 2])
    with pytest.raises(RunError, match=r"001-log.parquet is damaged .* remove it, then give the same command again"):
        loop(few, out, quiet)
    log.unlink()
    assert loop(few, out, quiet) == whole
    assert log.read_bytes() == kept
    state.write_bytes(b"")
    deploy.path_of(out, trial, 1, "people").unlink()
    with pytest.raises(RunError, match=r"001-state.npz is damaged .* remove it"):
        loop(few, out, quiet)
    state.unlink()
    assert loop(few, out, quiet) == whole
    (out / "loop.json").unlink()
    with pytest.raises(RunError, match="nothing says with which settings"):
        loop(few, out, quiet)


def test_a_log_that_tells_too_little_of_items_says_what_to_give(tmp_path: Path) -> None:
    more = {
        "agents": "[belief+greedy]",
        "evaluation.users": "5",
        "data.synthetic.items": "1000",
        "env.topic_count": "60",
    }
    with pytest.raises(DataError, match=r"belief\+greedy-seed0 cannot be fitted .* Give more people"):
        loop(asked(days=LoopConfig(days=2, retrain=1), controls=False, **more), tmp_path / "out", quiet)


def test_a_note_of_the_loop_is_of_lives(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--agents=[flat+greedy]", "--data.path=nowhere", "--data.returns=fitted", "--env.return_.gap.typical=3"]
    main(["loop", "quickstart", *flags, "--plan"])
    said = capsys.readouterr().err
    assert "--env.return_.gap.typical changes nothing here, since data.returns is fitted" in said
    assert "--data.returns changes" not in said


@pytest.mark.slow
def test_side_by_side_gives_the_same_bits(tmp_path: Path) -> None:
    flags = [f"--{name}={value}" for name, value in SMALL.items()]
    flags += ["--agents=[popularity]", "--days=8", "--retrain=4", "--controls"]
    flags = [flag for flag in flags if not flag.startswith("--agents=[flat")]
    assert main(["loop", "quickstart", *flags, f"--out={tmp_path / 'one'}"]) == 0
    assert main(["loop", "quickstart", *flags, f"--out={tmp_path / 'two'}", "--workers=2"]) == 0
    for name in ("summary.json", "periods.parquet", "loop.png"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name
