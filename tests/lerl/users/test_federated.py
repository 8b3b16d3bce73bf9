"""`lerl fit --knowledge federated` from a prepared folder to a run, and as a real federation where Flower is there."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import lerl
from lerl.agents.federated.fit import Federated, Plan
from lerl.agents.federated.knowledge import Learned, clients_of, with_federated
from lerl.cli.main import main
from lerl.envs.prepare import prepare
from lerl.envs.schema import DataError
from lerl.envs.store import KNOWLEDGE_FILE, MissingDataError, load_population
from lerl.report.groups import compare_groups
from lerl.users.federated import _about, _lines, fit_knowledge
from lerl.users.federated_compare import Row

PLAN = Plan(rounds=40, levels=2, size=16, width=4)
SMALL = ["--codes", "2x16", "--rounds", "3"]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MovieLens-like files: 120 users who rate 40 of 60 films; each likes two of the four genres."""
    folder, draw = tmp_path_factory.mktemp("films"), np.random.default_rng(0)
    genres = np.array(["Drama", "Comedy", "War", "Crime"])
    titles = [f"Film {n} (1995)" for n in range(60)]
    films = {"movie_id": np.arange(60), "title": titles, "genres": genres[np.arange(60) % 4].tolist()}
    pl.DataFrame(films).write_parquet(folder / "movies.parquet")
    users = np.repeat(np.arange(120), 40)
    seen = np.concatenate([draw.permutation(60)[:40] for _ in range(120)])
    likes = ((seen + users // 3) % 4 < 2) == (draw.random(len(seen)) < 0.85)
    log = {
        "user_id": users,
        "movie_id": seen,
        "rating": np.where(likes, 5, 2),
        "timestamp": 1000 + np.arange(len(seen)),
    }
    pl.DataFrame(log).write_parquet(folder / "ratings.parquet")
    prepare("movielens", folder, folder / "prepared", dim=4)
    return folder / "prepared"


@pytest.fixture(scope="module")
def learned(prepared: Path) -> Path:
    fit_knowledge(prepared, PLAN)
    return prepared


def test_the_file_holds_nothing_of_any_person_and_is_the_same_again(learned: Path) -> None:
    first = (learned / KNOWLEDGE_FILE).read_bytes()
    found = Learned.load(learned / KNOWLEDGE_FILE)
    assert found.item_vectors.shape == (60, 5)
    assert found.popularity.sum() == pytest.approx(1.0, abs=1e-5)
    with np.load(learned / KNOWLEDGE_FILE) as kept:
        assert set(kept) == {"item_vectors", "popularity", "scale", "about"}
    fit_knowledge(learned, PLAN)
    assert (learned / KNOWLEDGE_FILE).read_bytes() == first
    assert not list(learned.glob("*.partial"))


def test_only_what_agents_know_changes(learned: Path) -> None:
    central = load_population(learned)
    other = with_federated(central, learned)
    assert other.truth is central.truth
    assert (other.history == central.history).all()
    assert other.knowledge.tastes.shape == (120, 5)
    odds = other.knowledge.tastes @ other.knowledge.item_vectors.T + other.knowledge.user_offsets[:, None]
    truth = central.truth
    real = truth.user_vectors @ truth.item_vectors.T + truth.item_offsets + truth.user_offsets[:, None]
    within = [np.corrcoef(odds[user], real[user])[0, 1] for user in np.flatnonzero(~central.training)]
    assert np.mean(within) > 0.3


def test_a_run_trains_on_it_and_says_what_is_missing(learned: Path, tmp_path: Path) -> None:
    small = {"planner": {"clusters": 5}, "env": {"max_steps": 6, "slate_size": 3, "topic_count": 4}}
    more = {"evaluation": {"users": 8, "bootstrap": 200}, "agents": ["flat+greedy", "random"]}
    runs = [
        lerl.train(
            "logs", tmp_path / one, data={"path": str(learned), "knowledge": one, "users": "assumed"}, **small, **more
        )
        for one in ("central", "federated")
    ]
    central, federated = (run.episodes for run in runs)
    assert not central.equals(federated)
    chance = [one.filter(pl.col("agent") == "random")["R_cum"].to_list() for one in (central, federated)]
    assert chance[0] == chance[1]  # the same users
    found = compare_groups({"central": [runs[0].path], "federated": [runs[1].path]}, bootstrap=200)
    assert found["world"] == []
    assert list(found["settings"]) == ["data.knowledge"]
    with pytest.raises(ValueError, match=r"learned from a log: give --data\.path"):
        lerl.train("quickstart", tmp_path / "none", data={"knowledge": "federated"})


def test_a_missing_or_damaged_file_gets_one_line_with_the_command(prepared: Path, tmp_path: Path) -> None:
    population = load_population(prepared)
    with pytest.raises(MissingDataError, match=r"make it with `lerl fit .* --knowledge federated`"):
        with_federated(population, tmp_path)
    (tmp_path / KNOWLEDGE_FILE).write_bytes(b"no")
    with pytest.raises(DataError, match="make it again with"):
        with_federated(population, tmp_path)


def test_knowledge_of_other_items_is_refused(learned: Path, tmp_path: Path) -> None:
    population = load_population(learned)
    ids = tuple(f"other {n}" for n in range(60))
    with pytest.raises(DataError, match="other items"):
        with_federated(replace(population, catalog=replace(population.catalog, item_ids=ids)), learned)


def test_a_log_in_which_no_client_has_interactions_is_refused(prepared: Path) -> None:
    population = load_population(prepared)
    with pytest.raises(ValueError, match=r"no training user of .* has an interaction in the half"):
        clients_of(replace(population, history=np.zeros((0, 3), np.int32)))


def test_the_command_prints_bytes_and_epsilon(prepared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", str(prepared), "--knowledge", "federated", *SMALL, "--clip", "1", "--noise", "5"]) == 0
    said = capsys.readouterr().out
    assert "each sent 2,316 bytes a round (" in said
    assert "epsilon " in said
    assert "no epsilon" not in said
    assert "the scale of log-odds, found at the end without noise, is not covered" in said
    assert "the same command gives other numbers" in said
    assert "--data.knowledge federated" in said
    assert main(["fit", str(prepared), "--knowledge", "federated", *SMALL, "--robust", "median", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["upload_bytes"] == 2316


@pytest.mark.parametrize(
    ("lost", "robust", "said"),
    [
        ({"missed": 2}, "mean", "no epsilon: 2 messages are missing"),
        ({"refused": 1}, "mean", "no epsilon: 1 messages are missing"),
        ({}, "median", "no epsilon: only --robust mean"),
        ({}, "mean", "epsilon 0.22 at delta 1.0e-03"),
    ],
)
def test_an_epsilon_is_printed_only_where_it_holds(lost: dict[str, int], robust: str, said: str) -> None:
    """Noise of 30 and 3 rounds: rho = 1/600, rho + 2 sqrt(rho ln 1000) = 0.216; rounded 0.22."""
    plan = replace(PLAN, rounds=3, clip=1.0, noise=30.0, robust=robust)  # type: ignore[arg-type]
    about = _about(plan, Federated(np.zeros((2, 5)), np.zeros(2), 10.0, 10.0, **lost), 100, 2)
    assert next(line for line in _lines(about) if "epsilon" in line).startswith(said)


def test_the_comparison_has_all_rows(prepared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--compare", "--seeds", "1", *SMALL]
    assert main(["fit", str(prepared), "--knowledge", "federated", *flags]) == 0
    said = capsys.readouterr().out
    for row in (
        "popularity",
        "central",
        "dense",
        "sparse",
        "in turns",
        "blended",
        "half of all rounds",
        "taste alone",
        "shuffled",
        "new items",
    ):
        assert row in said
    assert main(["fit", str(prepared), "--knowledge", "federated", *flags, "--noisy", "0.2", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 10


def test_what_guards_uploads_is_compared_with_codes_that_lack_it(
    prepared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--compare", "--seeds", "1", *SMALL, "--robust", "median", "--clip", "1", "--noise", "5"]
    assert main(["fit", str(prepared), "--knowledge", "federated", *flags]) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.partition("  ")[0] for line in said[1:]] == [
        "popularity", "central factorisation", "dense", "codes 2x16", "codes 2x16, median, clip 1, noise 5",
    ]  # fmt: skip


def test_shares_of_dense_have_intervals_of_paired_clients() -> None:
    own, dense = (Row("", 1.0, (np.array(one),), 0.1) for one in ([1.0, 0.0, 0.0, 0.6], [1.0, 0.0, 0.0, 1.0]))
    share, low, high = own.share(dense)
    assert share == pytest.approx(0.8)  # left over: 0.2, 0, 0, -0.2; deviation sqrt(0.02)
    assert high - share == pytest.approx(1.96 * 0.02**0.5 / 2 / 0.5)
    assert share - low == pytest.approx(high - share)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--model", "latent", "--codes", "3x8"], "--codes is for --knowledge federated"),
        (["--knowledge", "federated", "--dynamics"], "--dynamics is for --model"),
        (["--knowledge", "federated", "--codes", "3by8"], "must be LxK such as 3x256, given '3by8'"),
        (["--knowledge", "federated", "--noise", "1"], "give --clip too"),
        (["--knowledge", "federated", "--noisy", "0.2"], "--noisy is for --compare"),
        (["--knowledge", "federated", "--compare", "--processes", "2"], "--processes is not for --compare"),
        (["--knowledge", "federated", "--codes", "1x8"], "use more levels or a larger size"),
    ],
)
def test_flags_that_do_not_fit_get_one_line(
    prepared: Path, flags: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", str(prepared), *flags]) != 0
    lines = capsys.readouterr().err.strip().splitlines()
    assert said in lines[-1]


def test_without_flower_processes_get_one_line(prepared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if importlib.util.find_spec("flwr"):
        pytest.skip("Flower is here")
    assert main(["fit", str(prepared), "--knowledge", "federated", *SMALL, "--processes", "2"]) != 0
    assert "pip install 'lerl-rec[train,federated]'" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.skipif(not importlib.util.find_spec("flwr"), reason="Flower is not installed: the extra [federated]")
def test_a_real_federation_by_grpc_finds_the_same_bits(prepared: Path) -> None:
    fit_knowledge(prepared, PLAN)
    simulated = Learned.load(prepared / KNOWLEDGE_FILE)
    fit_knowledge(prepared, PLAN, processes=3)
    real = Learned.load(prepared / KNOWLEDGE_FILE)
    assert (simulated.item_vectors == real.item_vectors).all()
    assert (simulated.popularity == real.popularity).all()
    assert simulated.about == real.about


def test_knowledge_of_another_log_of_the_same_items_is_refused(learned: Path) -> None:
    population = load_population(learned)
    with pytest.raises(DataError, match="other items or users"):
        with_federated(replace(population, history=population.history[:-1]), learned)
