"""`lerl fit` from a prepared folder to a table, a picture and users that can be simulated."""

import json
import shlex
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from lerl.cli.main import main
from lerl.envs.prepare import prepare
from lerl.envs.schema import DataError
from lerl.envs.store import CHECKPOINT_FILE, COLLECTIVE_FILE, INTERACTIONS_FILE, RESPONSE_FILE, load_population
from lerl.users import fit as module
from lerl.users.events import read_events
from lerl.users.fit import Cache, fit_users


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MovieLens-like files: 120 users who rate 40 of 60 films, in a random order; each likes two of the four genres."""
    folder, draw = tmp_path_factory.mktemp("films"), np.random.default_rng(0)
    genres = np.array(["Drama", "Comedy", "War", "Crime"])
    pl.DataFrame(
        {
            "movie_id": np.arange(60),
            "title": [f"Film {n} (1995)" for n in range(60)],
            "genres": genres[np.arange(60) % 4].tolist(),
        }
    ).write_parquet(folder / "movies.parquet")
    users = np.repeat(np.arange(120), 40)
    seen = np.concatenate([draw.permutation(60)[:40] for _ in range(120)])
    likes = ((seen + users // 3) % 4 < 2) == (draw.random(len(seen)) < 0.85)
    pl.DataFrame(
        {"user_id": users, "movie_id": seen, "rating": np.where(likes, 5, 2), "timestamp": 1000 + np.arange(len(seen))}
    ).write_parquet(folder / "ratings.parquet")
    return folder


@pytest.fixture
def folder(films: Path, tmp_path: Path) -> Path:
    prepare("movielens", films, tmp_path / "prepared", dim=4)
    return tmp_path / "prepared"


def test_events_are_the_truth_half_in_order(folder: Path) -> None:
    population = load_population(folder)
    events, log = read_events(folder, population), pl.read_parquet(folder / INTERACTIONS_FILE)
    assert len(events) == len(log.filter(pl.col("half") == "truth"))
    own = log.filter((pl.col("half") == "truth") & (pl.col("user") == 7)).sort("time")
    mine = events.users == 7
    assert [population.catalog.item_ids[item] for item in events.items[mine]] == own["item"].cast(pl.String).to_list()
    assert events.clicks[mine].tolist() == own["click"].to_list()
    known = {(int(user), int(item)) for user, item, _ in population.history}
    assert not known & set(zip(events.users.tolist(), events.items.tolist(), strict=True))


def test_a_fit_is_judged_drawn_and_can_be_simulated(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", str(folder), "--model", "sequence", "--epochs", "2", "--seed", "3"]) == 0
    printed = capsys.readouterr().out
    for words in ("running means", "boosted trees", "sequence", "later time", "first-time items", "all, items hidden"):
        assert words in printed
    assert {"response.npz", "calibration-sequence.png", "calibration-sequence.svg"} <= {
        p.name for p in folder.iterdir()
    }
    assert not (folder / CHECKPOINT_FILE).exists()
    population = load_population(folder)
    assert population.response is not None
    assert json.loads(str(population.response["about"]))["seed"] == 3
    out = tmp_path / "run"
    command = shlex.split(printed.partition("simulate with it: ")[2].splitlines()[0])  # 60 films make no 80 clusters
    small = ["--agents", "[privileged,boredom+greedy]", "--evaluation.users", "8", "--evaluation.replicates", "1"]
    assert main([*command[1:], "--out", str(out), *small]) == 0
    assert "privileged" in capsys.readouterr().out


def test_a_fit_leaves_runs_of_other_users_as_they_were(folder: Path, tmp_path: Path) -> None:
    small = ["--agents", "[random]", "--evaluation.users", "8", "--evaluation.replicates", "1"]
    runs = tmp_path / "latent", tmp_path / "sequence"
    assert main(["train", "quickstart", "--out", str(runs[0]), "--data.path", str(folder), *small]) == 0
    fit_users(folder, "sequence", epochs=1)
    assert main(["evaluate", str(runs[0])]) == 0
    users = ["--data.path", str(folder), "--env.response", "sequence", "--env.drift.enabled", "false"]
    assert main(["train", "quickstart", "--out", str(runs[1]), *users, *small]) == 0
    assert main(["evaluate", str(runs[1])]) == 0
    fit_users(folder, "sequence", epochs=1, seed=1)
    assert main(["evaluate", str(runs[1])]) == 2  # these are other users now


def test_the_same_command_makes_the_same_file(folder: Path) -> None:
    fit_users(folder, "sequence", epochs=1)
    first = (folder / RESPONSE_FILE).read_bytes()
    fit_users(folder, "sequence", epochs=1)
    assert (folder / RESPONSE_FILE).read_bytes() == first
    fit_users(folder, "sequence", epochs=1, seed=1)
    assert (folder / RESPONSE_FILE).read_bytes() != first


def test_an_interrupted_fit_goes_on(folder: Path) -> None:
    fit_users(folder, "sequence", epochs=3)
    whole = (folder / RESPONSE_FILE).read_bytes()

    def stop(phase: str, done: int, total: int, latest: str | None) -> None:
        if done == total - 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_users(folder, "sequence", epochs=3, report=stop)
    assert (folder / CHECKPOINT_FILE).exists()
    assert (folder / RESPONSE_FILE).read_bytes() == whole  # what was there stays until the new one is whole
    begun: list[int] = []
    fit_users(folder, "sequence", epochs=3, report=lambda _, done, *__: begun.append(done))
    assert begun[0] > 0
    assert (folder / RESPONSE_FILE).read_bytes() == whole


def test_a_collective_cache_is_another_model_beside_the_whole_one(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit_users(folder, "sequence", epochs=1)
    first = (folder / RESPONSE_FILE).read_bytes()
    smaller = ["fit", str(folder), "--model", "sequence", "--cache", "collective", "--pool", "16", "--epochs", "2"]
    assert main(smaller) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "with a whole cache: AUC 0." in printed
    assert "; collective: AUC 0." in printed
    assert {"response-collective.npz", "calibration-collective.png", "calibration-collective.json"} <= {
        p.name for p in folder.iterdir()
    }
    assert (folder / RESPONSE_FILE).read_bytes() == first
    again = (folder / COLLECTIVE_FILE).read_bytes()
    fit_users(folder, "sequence", epochs=2, cache=Cache("collective", pool=16))
    assert (folder / COLLECTIVE_FILE).read_bytes() == again
    population = load_population(folder)
    assert population.collective is not None
    assert population.collective["pool"].shape == (2, 2, 16, 31)
    runs = {name: tmp_path / name for name in ("sequence", "collective")}
    small = ["--agents", "[random]", "--evaluation.users", "8", "--evaluation.replicates", "1"]
    for name, run in runs.items():
        users = ["--data.path", str(folder), "--env.response", name, "--env.drift.enabled", "false"]
        assert main(["train", "quickstart", "--out", str(run), *users, *small]) == 0
    fit_users(folder, "sequence", epochs=1, seed=1, cache=Cache("collective", pool=16))
    assert main(["evaluate", str(runs["sequence"])]) == 0
    assert main(["evaluate", str(runs["collective"])]) == 2  # these are other users now
    (folder / COLLECTIVE_FILE).write_bytes(again[:1000])
    with pytest.raises(DataError, match=r"response-collective\.npz cannot be read .* --cache collective"):
        load_population(folder)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--model", "sequence", "--pool", "16"], "give --cache collective with them"),
        (["--model", "latent", "--cache", "collective"], "caches are of the sequence model only"),
        (["--model", "sequence", "--cache", "collective", "--pool", "100000"], "pool must be at most the"),
        (["--model", "sequence", "--cache", "collective", "--own", "32"], "--own: must be a whole number from 1 to 31"),
    ],
)
def test_caches_that_cannot_be_are_refused(
    folder: Path, flags: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", str(folder), *flags]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (folder / COLLECTIVE_FILE).exists()


def test_latent_judges_what_is_there(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (folder / "arrays.npz").read_bytes()
    assert main(["fit", str(folder), "--model", "latent", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    events = read_events(folder, load_population(folder))
    judged = ~events.to_train & events.kept
    assert told["groups"][0]["events"] == int(judged.sum())
    assert [score["model"] for score in told["groups"][0]["scores"]] == ["running means", "boosted trees", "latent"]
    assert told["groups"][0]["scores"][2]["auc"]["value"] > 0.6
    assert (folder / "arrays.npz").read_bytes() == before
    assert not (folder / RESPONSE_FILE).exists()
    assert (folder / "calibration-latent.png").exists()


def test_a_log_without_order_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / INTERACTIONS_FILE
    log = pl.read_parquet(path)
    log.with_columns(position=pl.lit(None, pl.Int32)).write_parquet(path)
    assert main(["fit", str(folder), "--model", "sequence"]) == 2
    said = capsys.readouterr().err
    assert "has no order" in said
    assert "use a log with times" in said
    log.drop("position").write_parquet(path)
    assert main(["fit", str(folder), "--model", "sequence"]) == 2
    assert "does not say in which order things happened; make it again with" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["FOLDER"], "--model"),
        (["FOLDER", "--model", "mamba"], "invalid choice: 'mamba' (choose from 'latent', 'sequence')"),
        (["FOLDER", "--model", "latent", "--epochs", "0"], "must be a whole number from 1 to 1000, given '0'"),
        (["missing", "--model", "latent"], "no prepared data set: missing is not there"),
    ],
)
def test_wrong_commands_are_refused(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_models_are_named(folder: Path) -> None:
    with pytest.raises(ValueError, match="model must be one of latent, sequence, given 'mamba'"):
        fit_users(folder, "mamba")
    assert set(module.MODELS) == {"latent", "sequence"}
