"""`lerl compare --sensitivity`: whether a ranking holds where a log leaves the users open."""

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from lerl.agents.base import Observation, TaskSpec
from lerl.agents.config import TrainConfig
from lerl.cli.main import main
from lerl.config.schema import Config, DataConfig, EvaluationConfig
from lerl.envs.config import Boredom, SimulatorConfig
from lerl.envs.store import DYNAMICS_FILE
from lerl.experiment import sensitivity as module
from lerl.experiment import sensitivity_report
from lerl.experiment.sensitivity import sensitivity
from lerl.files import RunError
from lerl.planners.config import PlannerConfig
from lerl.run.train import train
from tests.envs.made_logs import made_up_dynamics, prepared_log

STEADY = {"users_taste_spread": (0.0, 0.0, 0.0), "drift_noise": (0.0, 0.0, 0.0)}
WIDE = STEADY | {"boredom_weight": (0.0, 0.0, 2.0)}  # a log that cannot tell whether people are bored


class Favourites:
    """Shows a user's most liked items in every slate."""

    def __init__(self, task: TaskSpec, count: int) -> None:
        self.task = task

    def begin(self, rows: NDArray[np.int64], observation: Observation, keys: NDArray[np.uint64]) -> None:
        """Nothing to remember."""

    def act(self, observation: Observation) -> NDArray[np.int32]:
        return self.ranked(observation)[:, : self.task.slate_size]

    def ranked(self, observation: Observation) -> NDArray[np.int32]:
        """All items, the most liked first, (B, I)."""
        return np.argsort(-observation["taste"] @ self.task.knowledge.item_vectors.T, axis=1).astype(np.int32)


class Rotation(Favourites):
    """Shows the most liked items of one category after the other."""

    def __init__(self, task: TaskSpec, count: int) -> None:
        super().__init__(task, count)
        self.steps = np.zeros(count, np.int64)

    def begin(self, rows: NDArray[np.int64], observation: Observation, keys: NDArray[np.uint64]) -> None:
        self.steps[rows] = 0

    def act(self, observation: Observation) -> NDArray[np.int32]:
        member, ranked = self.task.catalog.categories.membership, self.ranked(observation)
        now = self.steps % member.shape[1]
        self.steps += 1
        mine = np.take_along_axis(member.T[now], ranked, axis=1)  # (B, I), whether the n-th most liked is in it
        places = np.argsort(~mine, axis=1, kind="stable")[:, : self.task.slate_size]
        return np.take_along_axis(ranked, places, axis=1)


FAVOURITES, ROTATION = f"{__name__}:Favourites", f"{__name__}:Rotation"
TINY = Config(
    agents=[FAVOURITES, ROTATION, "random", "privileged"],
    data=DataConfig(users="fitted"),
    env=SimulatorConfig(
        slate_size=3,
        max_steps=40,
        repeats=True,
        topics="categories",
        boredom=Boredom(within_slate=False),  # so that Rotation may fill a slate from one category
    ),
    planner=PlannerConfig(size=2, sessions=8),
    train=TrainConfig(steps=1000, users=4, rollout=8, batch_size=32, epochs=1, hidden=8, evaluations=1, validation=4),
    evaluation=EvaluationConfig(replicates=3, batch_size=32, bootstrap=200),
)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log to which no boredom was fitted, though it may be there."""
    folder = prepared_log(tmp_path_factory.mktemp("log"))
    made_up_dynamics(folder, **WIDE)
    return folder


def trained(folder: Path, out: Path, **changed: Any) -> Path:
    data = dataclasses.replace(TINY.data, path=str(folder), users=changed.pop("users", "fitted"))
    train(dataclasses.replace(TINY, data=data, **changed), out)
    return out


@pytest.fixture(scope="module")
def runs(log: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    out = tmp_path_factory.mktemp("runs")
    return [trained(log, out / f"s{seed}", seed=seed) for seed in (0, 1)]


@pytest.fixture(scope="module")
def more_runs(log: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Of four seeds, with more sessions: Student's t of two seeds tells next to nothing apart."""
    out, evaluation = tmp_path_factory.mktemp("more"), dataclasses.replace(TINY.evaluation, replicates=12)
    return [trained(log, out / f"s{seed}", seed=seed, evaluation=evaluation) for seed in range(4)]


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_ranking_turns_where_boredom_may_be_and_holds_where_it_may_not(more_runs: list[Path], tmp_path: Path) -> None:
    """Favourites win where nobody is bored, rotation where one item of a topic costs 2 log-odds."""
    found = sensitivity(more_runs, tmp_path / "out", bootstrap=200)
    assert found.judged.world.name == "categories-as judged"
    assert found.judged.order == ["Favourites", "Rotation", "random"]
    assert ("Favourites", "Rotation") in found.told_apart
    by_name = {verdict.world.name: verdict for verdict in found.worlds}
    # The low end is the centre, which for topics = categories is as judged; hidden topics have a centre of their own.
    assert set(by_name) == {"hidden-fitted", "hidden-boredom.weight-high", "categories-boredom.weight-high"}
    assert by_name["hidden-fitted"].ranking == "holds"
    bored = by_name["categories-boredom.weight-high"]
    assert bored.ranking == "turns"
    assert ("Favourites", "Rotation") in bored.turned
    assert bored.order.index("Rotation") < bored.order.index("Favourites")
    assert bored.best_other == "Rotation"
    assert bored.ratio["high"] is not None
    assert bored.ratio["high"] < 1
    assert bored.tau is not None
    assert bored.tau < 1
    lines = "\n".join(sensitivity_report.verdict_lines(found))
    assert "turns at boredom.weight (high)" in lines
    assert "left out: privileged (the ceiling by construction, and slow)" in found.notes


def test_where_the_log_leaves_nothing_open_the_ranking_holds(log: Path, runs: list[Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(log, tmp_path / "log"))
    made_up_dynamics(folder, **STEADY, boredom_weight=(0.0, 0.0, 0.001), mood_spread=(0.0, 0.0, 0.01))
    run = trained(folder, tmp_path / "run")
    found = sensitivity([run], tmp_path / "out", bootstrap=200)
    assert len(found.worlds) == 5
    assert {verdict.ranking for verdict in found.worlds} == {"holds"}
    assert sensitivity_report.verdict_lines(found)[0].startswith("The ranking as judged holds in 5 of 5 worlds")
    assert all(verdict.tau == 1.0 for verdict in found.worlds if verdict.world.topics == "categories")


def test_agents_have_the_draws_of_an_evaluation_on_these_users(log: Path, runs: list[Path], tmp_path: Path) -> None:
    """Judged on assumed users, the fitted world is, to the bit, what a run on fitted users is judged in."""
    assumed = trained(log, tmp_path / "assumed", users="assumed")
    found = sensitivity([assumed], tmp_path / "out", bootstrap=200)
    (centre,) = [verdict for verdict in found.worlds if verdict.world.name == "categories-fitted"]
    direct = pl.read_parquet(runs[0] / "episodes.parquet").filter(pl.col("agent") == "random")["R_cum"].mean()
    assert centre.means["random"] == pytest.approx(direct, rel=1e-9)
    assert found.judged.means["random"] != centre.means["random"]


def test_what_was_interrupted_goes_on_to_the_same_files(
    runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sensitivity_report.write(sensitivity(runs, tmp_path / "whole", bootstrap=200), tmp_path / "whole")
    played, real = 0, module.play_agents

    def stop(*given: Any) -> pl.DataFrame:
        nonlocal played
        played += 1
        if played == 4:
            raise KeyboardInterrupt
        return real(*given)

    monkeypatch.setattr(module, "play_agents", stop)
    with pytest.raises(KeyboardInterrupt):
        sensitivity(runs, tmp_path / "broken", bootstrap=200)
    assert not (tmp_path / "broken" / "sensitivity.json").exists()
    sensitivity_report.write(sensitivity(runs, tmp_path / "broken", bootstrap=200), tmp_path / "broken")
    assert played == 4 + 3  # of three worlds and two runs three were kept
    assert contents(tmp_path / "broken") == contents(tmp_path / "whole")
    other = sensitivity(runs, tmp_path / "broken", "random", bootstrap=200)
    assert (other.reference, played) == ("random", 7)


def test_other_dynamics_are_played_anew(log: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(log, tmp_path / "log"))
    run = trained(folder, tmp_path / "run", users="assumed", agents=["random", "popularity"])
    ratios = []
    for high in (2.0, 0.5):
        made_up_dynamics(folder, boredom_weight=(0.0, 0.0, high))
        found = sensitivity([run], tmp_path / "out", bootstrap=200)
        (bored,) = [verdict for verdict in found.worlds if verdict.world.name == "categories-boredom.weight-high"]
        ratios.append(bored.ratio["mean"])
        assert bored.world.value == high
    assert ratios[0] != ratios[1]


def test_runs_order_does_not_matter_and_runs_are_left_as_they_were(runs: list[Path], tmp_path: Path) -> None:
    before = [contents(run) for run in runs]
    one = sensitivity(runs, tmp_path / "one", bootstrap=200)
    other = sensitivity(runs[::-1], tmp_path / "other", bootstrap=200)
    assert sensitivity_report.as_json(one) == sensitivity_report.as_json(other)
    assert [contents(run) for run in runs] == before


def test_learned_agents_are_played_as_they_were_saved(
    log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    agents = ["boredom+ppo", "boredom+greedy", "flat+ppo+mmr", "random"]
    evaluation = dataclasses.replace(TINY.evaluation, deterministic=True, users=8)
    run = trained(log, tmp_path / "run", agents=agents, evaluation=evaluation)
    before = contents(run)
    assert main(["compare", str(run), "--sensitivity", "--bootstrap", "100", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert contents(run) | before == contents(run)
    assert json.loads((run / "sensitivity" / "sensitivity.json").read_text()) == found
    assert {"sensitivity.json", "sensitivity.png", "sensitivity.svg"} <= {
        p.name for p in (run / "sensitivity").iterdir()
    }
    assert set(found["judged"]["means"]) == {*agents, "boredom+ppo@det", "flat+ppo+mmr@det"}
    assert found["holds"] + found["open"] + found["turns"] == len(found["worlds"]) == 3
    assert found["reference"] == "boredom+ppo"


def test_the_command_prints_a_table_and_a_verdict(
    more_runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command = ["compare", *map(str, more_runs), "--sensitivity", "--bootstrap", "200", "--out", str(out)]
    assert main([*command, "--reference", "Rotation"]) == 0
    printed = capsys.readouterr().out
    for words in (
        "categories: as judged",
        "hidden: fitted",
        "categories: boredom.weight high",
        "2.0000",
        "Rotation / best other",
        "Rotation over Favourites",
        "none is trained again",
        "turns at boredom.weight (high)",
        f"written: {out / 'sensitivity.json'} and {out / 'sensitivity.png'}, also as .svg",
    ):
        assert words in printed


def test_a_mechanism_that_runs_switch_off_is_not_varied(log: Path, tmp_path: Path) -> None:
    env = dataclasses.replace(TINY.env, boredom=Boredom(enabled=False))
    run = trained(log, tmp_path / "run", env=env, agents=["random", "popularity"])
    found = sensitivity([run], tmp_path / "out", bootstrap=200)
    assert [verdict.world.name for verdict in found.worlds] == ["hidden-fitted"]
    assert "not varied: boredom, which these runs switch off" in found.notes


def test_how_fast_nothing_fades_is_not_varied(log: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(log, tmp_path / "log"))
    run = trained(folder, tmp_path / "run", users="assumed", agents=["random", "popularity"])
    made_up_dynamics(folder, mood_time_constant=(5.0, 2.0, 50.0), boredom_time_constant=(20.0, 20.0, 40.0))
    found = sensitivity([run], tmp_path / "out", bootstrap=200)
    assert [verdict.world.name for verdict in found.worlds] == ["hidden-fitted", "categories-fitted"]
    assert "not varied: mood.time_constant with topics hidden, where mood.spread is 0: nothing fades" in found.notes


def test_where_no_agents_are_told_apart_there_is_no_ranking(log: Path, tmp_path: Path) -> None:
    same = [FAVOURITES, f"{__name__}:Twin"]
    run = trained(log, tmp_path / "run", agents=same)
    found = sensitivity([run], tmp_path / "out", bootstrap=200)
    assert found.told_apart == []
    assert found.judged.tau is None
    assert "no two agents differ" in sensitivity_report.verdict_lines(found)[0]


class Twin(Favourites):
    """The same under another name."""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--sensitivity", "--allow-different"], "leave out --allow-different"),
        (["--sensitivity"], "give --out FOLDER for the sensitivity of several runs"),
        (["--sensitivity", "--out", "OUT", "--reference", "privileged"], "no agent 'privileged' in these runs"),
    ],
)
def test_wrong_commands_are_refused(
    options: list[str], message: str, runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [str(tmp_path / "out") if option == "OUT" else option for option in options]
    assert main(["compare", *map(str, runs), *given]) == 2
    assert message in capsys.readouterr().err


def test_runs_that_cannot_be_used_are_refused(log: Path, runs: list[Path], tmp_path: Path) -> None:
    made_up = tmp_path / "made-up"
    train(dataclasses.replace(TINY, data=DataConfig(), agents=["random", "popularity"]), made_up)
    with pytest.raises(
        RunError, match=r"is on made-up users, to which nothing was fitted; .* needs runs on a prepared"
    ):
        sensitivity([made_up], tmp_path / "out")
    with pytest.raises(RunError, match="bootstrap must be from 1"):
        sensitivity(runs, tmp_path / "out", bootstrap=0)
    lonely = trained(log, tmp_path / "lonely", agents=["random", "privileged"])
    with pytest.raises(RunError, match=r"two agents at least are needed .* here is random; left out: privileged"):
        sensitivity([lonely], tmp_path / "out")
    single = trained(log, tmp_path / "single", agents=["random"])
    with pytest.raises(RunError, match=r"needed for a ranking, here is random$"):
        sensitivity([single], tmp_path / "out")
    assert not (tmp_path / "out").exists()
    other = Path(shutil.copytree(runs[0], tmp_path / "other"))
    settings = (other / "config.yaml").read_text()
    (other / "config.yaml").write_text(settings.replace("response: latent", "response: sequence"))
    with pytest.raises(RunError, match=r"was changed since, and agents names code that is not installed"):
        sensitivity([other], tmp_path / "out")
    with pytest.raises(RunError, match=r"has env.response sequence, but dynamics are fitted with users of"):
        sensitivity([other], tmp_path / "out", trust=True)
    broken = Path(shutil.copytree(runs[0], tmp_path / "broken"))
    (broken / "trained.json").unlink()
    with pytest.raises(RunError, match=r"was not trained to its end.* lerl train --resume"):
        sensitivity([broken], tmp_path / "out")


def test_a_log_without_fitted_dynamics_names_the_command(
    log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(log, tmp_path / "log"))
    run = trained(folder, tmp_path / "run", users="assumed", agents=["random", "popularity"])
    (folder / DYNAMICS_FILE).unlink()
    assert main(["compare", str(run), "--sensitivity"]) == 2
    assert f"fit them with: lerl fit {folder} --model latent --dynamics" in capsys.readouterr().err
    assert not (run / "sensitivity").exists()


def test_a_chat_models_agents_are_left_out() -> None:
    config = dataclasses.replace(TINY, agents=["llm+greedy", "distilled+greedy", "random"])
    assert module.left_out(config) == ["left out: llm+greedy (its chat model would be queried anew in every world)"]
    asking = dataclasses.replace(config, planner=dataclasses.replace(config.planner, refresh=3))
    assert [line.split()[2] for line in module.left_out(asking)] == ["llm+greedy", "distilled+greedy"]
