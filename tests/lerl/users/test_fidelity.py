"""`lerl fidelity`: simulated beside real sessions, and what is said of them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from lerl.cli.main import main
from lerl.config.parse import load
from lerl.envs.fitting import dynamics as fitting
from lerl.envs.fitting import exposure
from lerl.envs.fitting.statistics import Background, Sequences
from lerl.envs.schema import DataError
from lerl.envs.store import DYNAMICS_FILE, load_population, save_population
from lerl.run.task import Task
from lerl.users import fidelity
from lerl.users.fidelity import compare, session_features, tell_apart
from tests.envs.made_logs import prepared_log

NAMES = {"statistics", "classifier", "assumptions", "estimates", "users", "without"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared folder of a log that the simulator made."""
    return prepared_log(tmp_path_factory.mktemp("made"))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exposure, "ROUNDS", 1)
    monkeypatch.setattr(fitting, "ROUNDS", 3)
    monkeypatch.setattr(fidelity, "REPLICATES", 2)


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_a_report_says_all_that_was_found(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(path.name for path in folder.iterdir())
    assert main(["fidelity", str(folder), "--users", "40", "--json", "--out", str(tmp_path / "out")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == NAMES
    assert json.loads((tmp_path / "out" / "fidelity.json").read_text()) == found
    assert {"fidelity.json", "fidelity.png", "fidelity.svg"} == {path.name for path in (tmp_path / "out").iterdir()}
    assert sorted(path.name for path in folder.iterdir()) == before
    assert found["users"] == 40
    sides = {entry["side"] for entry in found["statistics"]}
    assert sides == {"exposure", "response"}
    for entry in found["statistics"]:
        assert entry["inside"] == (entry["low"] <= entry["simulated"] <= entry["high"])
        assert entry["within_ten_percent"] == (abs(entry["simulated"] - entry["real"]) <= 0.1 * abs(entry["real"]))
    assert found["classifier"]["low"] <= found["classifier"]["auc"] <= found["classifier"]["high"]
    assert len(found["classifier"]["features"]) == 5
    assert set(found["without"]) == {"boredom", "fatigue", "mood", "drift", "users"}
    assert "leave" in found["assumptions"]


@pytest.mark.usefixtures("quick")
def test_fitted_users_can_be_trained_on(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, small = tmp_path / "run", ["--agents", "[random]", "--evaluation.users", "8", "--evaluation.replicates", "1"]
    train = ["train", "quickstart", "--data.path", str(folder), "--data.users", "fitted", "--out", str(out), *small]
    assert main(train) == 2
    assert "holds no fitted dynamics" in capsys.readouterr().err
    assert main(["fit", str(folder), "--model", "latent", "--dynamics"]) == 0
    said = capsys.readouterr().out
    assert "topics hidden, in units of one item:" in said
    assert "boredom.weight" in said
    assert (folder / DYNAMICS_FILE).is_file()
    assert main(train) == 0
    task = Task.load(load(out / "config.yaml"))
    kept = fitting.read_fitted(folder, task.config.env.topics).values
    assert task.config.env.fatigue.weight == kept["fatigue.weight"]
    assert task.population.digest() != load_population(folder).digest()
    assert json.loads((out / "run.json").read_text())["population_digest"] == task.population.digest()
    assert main(["evaluate", str(out)]) == 0
    assert main([*train[:6], "--env.fatigue.weight", "1", "--out", str(tmp_path / "other")]) == 2
    assert "data.users is fitted, which decides env.fatigue.weight" in capsys.readouterr().err
    (folder / DYNAMICS_FILE).unlink()


def test_dynamics_are_of_the_latent_model_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", str(folder), "--model", "sequence", "--dynamics"]) == 2
    assert "give --model latent with --dynamics" in capsys.readouterr().err


def test_a_log_without_order_is_refused(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    people = load_population(folder)
    log = pl.read_parquet(folder / "interactions.parquet")
    save_population(people, tmp_path / "F")
    log.with_columns(position=pl.lit(None, pl.Int32)).write_parquet(tmp_path / "F" / "interactions.parquet")
    assert main(["fidelity", str(tmp_path / "F")]) == 2
    assert "has no order" in capsys.readouterr().err
    log.drop("position").write_parquet(tmp_path / "F" / "interactions.parquet")
    assert main(["fidelity", str(tmp_path / "F")]) == 2
    assert "prepare it again" in capsys.readouterr().err


def made(seed: int, rate: float, users: int = 200, length: int = 40) -> Sequences:
    draw = np.random.default_rng(seed)
    count = users * length
    clicks = (draw.random(count) < rate).astype(float)
    return Sequences(np.repeat(np.arange(users), length), draw.integers(0, 60, count), clicks, np.full(count, np.nan))


FLAT = Background(np.arange(60) % 6, np.zeros(60), np.zeros(60))


def test_a_classifier_cannot_tell_what_is_alike_and_can_tell_what_is_not() -> None:
    same = tell_apart(made(0, 0.5), made(1, 0.5), FLAT, 0)
    other = tell_apart(made(0, 0.5), made(1, 0.8), FLAT, 0)
    assert same.low < 0.5 < same.high
    assert other.low > 0.9
    assert next(iter(other.features)) == "click rate"


def test_a_classifier_needs_two_users_and_no_more() -> None:
    few = tell_apart(made(0, 0.0, users=2), made(1, 1.0, users=2), FLAT, 0)
    assert few.auc == 0.5  # a leaf of a tree has twenty rows, and there are fewer: every guess is the same
    with pytest.raises(DataError, match="too few held-out users"):
        tell_apart(made(0, 0.5, users=1), made(1, 0.5, users=1), FLAT, 0)


def test_features_of_a_session_by_hand() -> None:
    one = Sequences(np.zeros(4, np.int64), np.array([0, 6, 1, 2]), np.array([1.0, 1.0, 0.0, 1.0]), np.full(4, np.nan))
    known = replace(FLAT, popularity=np.arange(60.0))
    features, users = session_features(one, known, 4)
    rate, like, run, trend, different, main_share, same, popular, spread, steps, *_ = features[0]
    assert users.tolist() == [0]
    assert (rate, like, run, trend) == (0.75, pytest.approx(1 / 3), 2, -0.5)
    assert (different, main_share, same) == (3, 0.5, pytest.approx(1 / 3))
    assert (popular, steps) == (2.25, pytest.approx((6 + 5 + 1) / 3))
    assert spread == pytest.approx(np.std([0, 6, 1, 2]))


def test_what_is_compared_with_itself_is_inside() -> None:
    real = made(0, 0.5)
    assert all(entry.inside and entry.within_ten_percent for entry in compare(real, [real], FLAT, 0))
    rates = [entry for entry in compare(real, [made(1, 0.8)], FLAT, 0) if entry.name == "base rate"]
    assert not rates[0].inside
