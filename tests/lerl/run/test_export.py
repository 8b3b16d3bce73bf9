"""Exported sessions: what Minari and Polars read back, and that the environment of a data set plays them again."""

import json
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

import lerl
from lerl.cli.main import main
from lerl.envs.catalog import Axis
from lerl.envs.store import save_population
from lerl.envs.synthetic import synthetic_population
from lerl.files import RunError
from lerl.run.export import CHUNK, Export, environment_spec
from lerl.run.export_minari import ExportError, MinariWriter
from lerl.run.export_parquet import ParquetWriter

minari = pytest.importorskip("minari")

ITEMS = 60
WORLD: dict[str, Any] = {
    "data": {"synthetic": {"users": 80, "items": ITEMS, "categories": 5, "dim": 4}},
    "env": {"max_steps": 8, "slate_size": 3},
    "train": {"steps": 300, "users": 16, "evaluations": 1, "validation": 20, "hidden": 8},
    "planner": {"clusters": 5},
    "evaluation": {"users": 15, "replicates": 1, "bootstrap": 100},
    "agents": ["flat+greedy", "boredom+ppo", "random", "privileged"],
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> lerl.Run:
    return lerl.train("quickstart", tmp_path_factory.mktemp("export") / "run", **WORLD)


@pytest.fixture(autouse=True)
def datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where Minari keeps data sets in this test."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))
    return tmp_path / "datasets"


def metadata(dataset: Any) -> list[dict[str, Any]]:
    return list(dataset.storage.get_episode_metadata(dataset.episode_indices))


def test_minari_reads_back_the_sessions_of_every_agent(run: lerl.Run, datasets: Path) -> None:
    assert run.export(minari="team/small-v0", sessions=20) == datasets / "team" / "small-v0"
    dataset = minari.load_dataset("team/small-v0")
    about = metadata(dataset)
    assert [one["agent"] for one in about] == [name for name in WORLD["agents"] for _ in range(20)]
    by_agent = {
        name: [(one["seed"], *one["options"]["users"]) for one in about if one["agent"] == name]
        for name in WORLD["agents"]
    }
    assert len(set(map(tuple, by_agent.values()))) == 1  # all meet the same users, in the same draws
    hidden = {"user", "satisfaction", "boredom", "fatigue", "mood", "patience", "true_taste", "chance"}
    assert not hidden & set(dataset.observation_space.spaces)
    for episode in dataset:
        length = len(episode)
        assert 1 <= length <= 8
        assert episode.actions.shape == (length, 3)
        assert all(dataset.action_space.contains(action) for action in episode.actions)
        last = {name: kept[-1] for name, kept in episode.observations.items()}
        assert dataset.observation_space.contains(last)
        assert last["time_left"] == pytest.approx(1 - length / 8)
        assert not np.concatenate([episode.terminations[:-1], episode.truncations[:-1]]).any()
        assert episode.terminations[-1] != episode.truncations[-1]
        assert length == 8 or episode.terminations[-1]
        assert not episode.infos


@pytest.mark.parametrize("axis", ["clusters", "categories"])
def test_the_recovered_environment_plays_every_session_again(run: lerl.Run, axis: str, tmp_path: Path) -> None:
    if axis != run.config.planner.axis:
        small = WORLD | {"agents": ["flat+greedy", "random"], "planner": {"axis": axis}}
        run = lerl.train("quickstart", tmp_path / "run", **small)
    run.export(minari="small-v0", sessions=10)
    dataset = minari.load_dataset("small-v0")
    env = dataset.recover_environment()
    assert env.observation_space == dataset.observation_space
    assert env.action_space == dataset.action_space
    for about, episode in zip(metadata(dataset), dataset, strict=True):
        seen, _ = env.reset(seed=about["seed"], options=about["options"])
        for step, action in enumerate(episode.actions):
            assert all((seen[name] == episode.observations[name][step]).all() for name in seen)
            seen, reward, terminated, truncated, _ = env.step(action)
            assert reward == episode.rewards[step]
            assert (terminated, truncated) == (episode.terminations[step], episode.truncations[step])
        assert all((seen[name] == episode.observations[name][-1]).all() for name in seen)
    held_out = dataset.recover_environment(eval_env=True).unwrapped.simulator.users
    assert set(held_out.tolist()) == set(run.task.population.users("evaluation").tolist())


def test_slates_of_one_are_item_numbers(tmp_path: Path) -> None:
    small = WORLD | {"agents": ["random"], "env": {"max_steps": 8, "slate_size": 1}}
    run = lerl.train("quickstart", tmp_path / "run", **small)
    run.export(minari="one-v0", sessions=5)
    dataset = minari.load_dataset("one-v0")
    assert all(episode.actions.shape == (len(episode),) for episode in dataset)
    env, (about, *_), episode = dataset.recover_environment(), metadata(dataset), dataset[0]
    env.reset(seed=about["seed"], options=about["options"])
    assert [env.step(action)[1] for action in episode.actions] == episode.rewards.tolist()


def test_a_clone_of_an_agent_explains_its_actions_better_than_chance(run: lerl.Run) -> None:
    """Behaviour cloning: a linear policy over items for each slot, by maximum likelihood."""
    run.export(minari="greedy-v0", agents=["flat+greedy"], sessions=CHUNK + 20)
    dataset = minari.load_dataset("greedy-v0")
    assert dataset.total_episodes == CHUNK + 20
    names = ("taste", "category_exposure", "time_left")
    seen = torch.from_numpy(
        np.concatenate([np.concatenate([one.observations[name][:-1] for name in names], 1) for one in dataset])
    )
    actions = torch.from_numpy(np.concatenate([one.actions for one in dataset]))  # (n, k)
    torch.manual_seed(0)
    policy = torch.nn.Linear(seen.shape[1], 3 * ITEMS)
    optimizer = torch.optim.Adam(policy.parameters(), 0.05)
    for _ in range(150):
        logits = policy(seen).reshape(-1, ITEMS)
        loss = torch.nn.functional.cross_entropy(logits, actions.reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    chance = -math.log(ITEMS)  # of a random agent
    print(f"log-likelihood of an action: clone {-loss.item():.2f}, random {chance:.2f}")
    assert -loss.item() > chance + 1


def test_tables_hold_what_minari_holds(run: lerl.Run, tmp_path: Path) -> None:
    agents = ["boredom+ppo", "random"]
    run.export(minari="both-v0", agents=agents, sessions=12, seed=3)
    folder = run.export(parquet=tmp_path / "tables", agents=agents, sessions=12, seed=3)
    dataset, steps = minari.load_dataset("both-v0"), pl.read_parquet(folder / "steps" / "*.parquet")
    sessions = pl.read_parquet(folder / "sessions.parquet")
    assert sessions["agent"].to_list() == ["boredom+ppo"] * 12 + ["random"] * 12
    assert steps.height == int(sessions["steps"].sum()) + 24
    for number, (about, episode) in enumerate(zip(metadata(dataset), dataset, strict=True)):
        rows, row = steps.filter(pl.col("session") == number), sessions.row(number, named=True)
        assert (row["seed"], row["agent"]) == (about["seed"], about["agent"])
        assert row["R_cum"] == pytest.approx(episode.rewards.sum())
        assert row["left"] == episode.terminations[-1]
        assert rows["taste"].to_numpy().tolist() == episode.observations["taste"].tolist()
        assert rows["recent_items"].to_numpy().tolist() == episode.observations["recent_items"].tolist()
        assert rows["action"].to_list() == [*episode.actions.tolist(), None]
        assert rows["reward"].to_list() == [*episode.rewards.tolist(), None]
        shown = np.array([one for one in rows["feedback"].to_list() if one is not None])
        assert np.where(shown < 0, 0, shown).mean(axis=1).tolist() == pytest.approx(episode.rewards.tolist())
    items = pl.read_parquet(folder / "items.parquet")
    assert items["item"].to_list() == list(range(ITEMS))
    assert items["vector"].to_numpy().shape == run.task.population.knowledge.item_vectors.shape
    about = json.loads((folder / "about.json").read_text())
    assert about["environment"]["id"] == "lerl/Synthetic-v0"
    assert about["environment"]["kwargs"]["users"] == 80


def test_the_seed_decides_and_each_part_has_draws_of_its_own(run: lerl.Run, tmp_path: Path) -> None:
    def exported(name: str, **options: Any) -> pl.DataFrame:
        folder = run.export(parquet=tmp_path / name, agents=["random"], **options)
        return pl.read_parquet(folder / "sessions.parquet")

    first = exported("a", sessions=CHUNK + 30)
    assert first.equals(exported("b", sessions=CHUNK + 30, seed=0))  # the run's
    assert first["seed"].n_unique() == CHUNK + 30
    assert not first.equals(exported("c", sessions=CHUNK + 30, seed=1))
    users = set(exported("d", sessions=30, split="evaluation")["user"])
    assert users <= set(run.task.population.users("evaluation").tolist())
    assert set(first["user"]) <= set(run.task.population.users("train").tolist())


def test_the_environment_of_a_log_is_found_by_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import gymnasium

    population = synthetic_population(60, 40, 4, 4, 0)
    save_population(population, tmp_path / "log", about={"settings": {"format": "movielens"}})
    monkeypatch.chdir(tmp_path)
    world = WORLD | {"agents": ["random"], "data": {"path": "log"}}
    run = lerl.train("quickstart", tmp_path / "run", **world)
    spec = environment_spec(run.task, "train")
    assert (spec.id, spec.kwargs["path"]) == ("lerl/MovieLens-v0", str(tmp_path / "log"))
    monkeypatch.chdir("/")
    made: Any = gymnasium.make(spec).unwrapped
    assert made.simulator.axis.names == run.task.axis.names
    assert made.simulator.population.digest() == run.task.population.digest()


def test_users_fitted_to_a_log_come_without_an_environment(run: lerl.Run, tmp_path: Path) -> None:
    export = Export(run.task, {"random": lambda: run.agent("random")}, "train", 2, 0)
    recorded = list(export.recordings(lambda *_: None))
    config = replace(run.config, data=replace(run.config.data, users="fitted"))
    export = replace(export, task=replace(run.task, config=config))
    MinariWriter("fitted-v0", export).write(recorded)
    dataset = minari.load_dataset("fitted-v0")
    assert dataset.total_episodes == 2
    with pytest.raises(ValueError, match="cannot be recovered"):
        dataset.recover_environment()
    folder = ParquetWriter(tmp_path / "tables", export).write(recorded)
    assert json.loads((folder / "about.json").read_text())["environment"] is None


def test_what_is_half_written_is_removed(run: lerl.Run, tmp_path: Path, datasets: Path) -> None:
    export = Export(run.task, {"random": lambda: run.agent("random")}, "train", 2, 0)

    def interrupted() -> Any:
        yield from export.recordings(lambda *_: None)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        MinariWriter("half-v0", export).write(interrupted())
    assert not (datasets / "half-v0").exists()
    with pytest.raises(KeyboardInterrupt):
        ParquetWriter(tmp_path / "tables", export).write(interrupted())
    assert not list((tmp_path / "tables").iterdir())


@pytest.mark.parametrize("name", ["small", "small-v", "../small-v0", "small v0", "", "/etc/small-v0"])
def test_names_that_minari_refuses_are_one_line(run: lerl.Run, name: str) -> None:
    with pytest.raises(ExportError, match="ends in a version, such as quickstart-v0"):
        run.export(minari=name)


def test_the_command_says_what_it_wrote_and_refuses_the_rest(
    run: lerl.Run, tmp_path: Path, datasets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["export", str(run.path), "--minari", "small-v0", "--agents", "random,flat+greedy", "--sessions", "3"]
    assert main(command) == 0
    said = capsys.readouterr().out.splitlines()
    assert said == [f"written: {datasets / 'small-v0'}", "read it in Python: minari.load_dataset('small-v0')"]
    assert main(command) == 2
    assert f"has a data set 'small-v0' already, in {datasets / 'small-v0'}" in capsys.readouterr().err
    for flags, expected in {
        "--minari a-v0 --parquet b": "not allowed with argument",
        "": "one of the arguments --minari --parquet is required",
        "--minari a-v0 --agents sac": "no agent 'sac'; there are flat+greedy, boredom+ppo",
        "--minari a-v0 --agents ,": "--agents takes names with commas",
        "--minari a-v0 --sessions 0": "must be a whole number from 1",
        f"--parquet {run.path.parent}": "is taken; remove it, or give another folder with --parquet",
        f"--parquet {run.path / 'new'}": "is inside the run, which stays as it is",
    }.items():
        assert main(["export", str(run.path), *flags.split()]) == 2
        assert expected in capsys.readouterr().err
    with pytest.raises(RunError, match="no agent"):
        run.export(parquet=tmp_path / "none", agents=["nobody"])
    with pytest.raises(ValueError, match="give one of minari"):
        run.export()
    with pytest.raises(ValueError, match="split must be"):
        run.export(parquet=tmp_path / "none", split="test")


def test_without_minari_tables_are_still_written(
    run: lerl.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "minari", None)  # as if it were not installed
    assert main(["export", str(run.path), "--minari", "a-v0"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[-1] == "lerl: error: this needs minari; install it with: pip install 'lerl-rec[offline]'"
    assert main(["export", str(run.path), "--parquet", str(tmp_path / "tables"), "--sessions", "2"]) == 0


def test_an_axis_as_lists_is_the_axis_again() -> None:
    axis = Axis(("a", "b"), np.array([[True, False], [True, True], [False, True]]))
    assert axis.lists() == {"names": ["a", "b"], "items": [[0, 1], [1, 2]]}
    again = Axis.from_lists(axis.lists(), 3)
    assert again.names == axis.names
    assert (again.membership == axis.membership).all()
    with pytest.raises(ValueError, match="items are 0 to 1, but the axis' group 1 has others"):
        Axis.from_lists(axis.lists(), 2)
    with pytest.raises(ValueError, match="has names and items"):
        Axis.from_lists({"names": ["a"]}, 3)
