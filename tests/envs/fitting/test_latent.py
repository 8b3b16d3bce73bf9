"""Tastes: the fit finds planted tastes, its probabilities mean what they say, and truth is not knowledge."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from lerl.envs.catalog import Axis, Catalog
from lerl.envs.fitting import latent as taste
from lerl.envs.fitting.latent import FittedPopulation, TasteModel, agreement, calibration_error, fit_population
from lerl.envs.population import Knowledge, Population, Truth
from lerl.envs.prepare import PrepareReport, prepare
from lerl.envs.schema import DataError, held_out, training_users, truth_half

LOGS = Path(os.environ.get("LERL_DATA", Path(__file__).parents[3] / "../shared/data")) / "ml1m"
USERS, ITEMS, EACH = 150, 80, 50


def a_catalog(items: int = ITEMS) -> Catalog:
    ids = tuple(str(number) for number in range(1, items + 1))
    return Catalog(ids, ids, Axis(("all",), np.ones((items, 1), dtype=bool)))


def a_log(seed: int = 0) -> pl.DataFrame:
    """Even users click even items with probability 0.9 and odd items with 0.1; odd users the other way round."""
    draw = np.random.default_rng(seed)
    user = np.repeat(np.arange(1, USERS + 1), EACH)
    item = np.concatenate([draw.choice(np.arange(1, ITEMS + 1), EACH, replace=False) for _ in range(USERS)])
    click = draw.random(len(user)) < np.where((user + item) % 2 == 0, 0.9, 0.1)
    time = draw.integers(0, 1000, len(user))
    rating = np.where(click, 5, 2).astype(np.float32)
    return pl.DataFrame({"user": user, "item": item, "click": click, "rating": rating, "time": time})


@pytest.fixture(scope="module")
def fitted() -> FittedPopulation:
    return fit_population("planted", a_catalog(), a_log(), dim=4)


def probabilities(people: Population, side: str) -> np.ndarray:
    """(U, I) by the formulas that Truth and Knowledge document."""
    if side == "truth":
        truth = people.truth
        logit = truth.user_vectors @ truth.item_vectors.T + truth.item_offsets + truth.user_offsets[:, None]
    else:
        known = people.knowledge
        logit = known.tastes @ known.item_vectors.T + known.user_offsets[:, None]
    return 1 / (1 + np.exp(-logit))


@pytest.mark.parametrize("side", ["truth", "knowledge"])
def test_planted_tastes_are_found_for_users_never_trained_on(fitted: FittedPopulation, side: str):
    people = fitted.population
    predicted = probabilities(people, side)[people.users("evaluation")]
    likes = (people.users("evaluation")[:, None] + np.arange(ITEMS)) % 2 == 0
    # 0.9 and 0.1 were planted; about 20 fitted interactions per user leave some doubt
    assert predicted[likes].mean() > 0.75
    assert predicted[~likes].mean() < 0.25


def test_held_out_clicks_are_predicted_as_well_as_planted(fitted: FittedPopulation):
    # nobody can do better than 0.9: a click is of the liked kind with probability 0.9, a non-click with 0.1, so a
    # perfect model is right with probability 0.81 and guesses in 0.18 of the pairs: 0.81 + 0.18 / 2 = 0.9
    for fit in (fitted.truth_fit, fitted.knowledge_fit):
        assert 0.82 < fit.auc < 0.95
        assert fit.mean_predicted == pytest.approx(fit.base_rate, abs=0.06)
    assert fitted.correlation > 0.8


def test_the_report_judges_held_out_interactions_of_evaluation_users_by_the_documented_formulas(
    fitted: FittedPopulation,
):
    log = a_log()
    user, item = log["user"].to_numpy(), log["item"].to_numpy()
    judged = held_out(user, item) & ~training_users(user)
    for side, fit in (("truth", fitted.truth_fit), ("knowledge", fitted.knowledge_fit)):
        rows = judged & (truth_half(user, item) == (side == "truth"))
        predicted = probabilities(fitted.population, side)[user[rows] - 1, item[rows] - 1]
        assert fit.interactions == rows.sum()
        assert fit.base_rate == pytest.approx(log["click"].to_numpy()[rows].mean())
        assert fit.mean_predicted == pytest.approx(predicted.mean(), abs=1e-6)


def test_truth_and_knowledge_come_from_disjoint_interactions_and_differ(fitted: FittedPopulation):
    people, log = fitted.population, a_log()
    truth = truth_half(log["user"].to_numpy(), log["item"].to_numpy())
    known = {(user + 1, item + 1) for user, item, _ in people.history.tolist()}
    secret = set(log.filter(pl.Series(truth)).select("user", "item").iter_rows())
    assert not known & secret
    assert known | secret == set(log.select("user", "item").iter_rows())
    assert not np.allclose(people.truth.item_vectors, people.knowledge.item_vectors[:, :-1], atol=1e-3)
    assert not np.allclose(people.truth.user_offsets, people.knowledge.user_offsets, atol=1e-3)
    assert fitted.correlation < 0.999


@pytest.mark.parametrize("side", ["truth", "knowledge"])
def test_each_side_sees_nothing_of_the_other_half(fitted: FittedPopulation, side: str):
    log = a_log()
    other = pl.Series(truth_half(log["user"].to_numpy(), log["item"].to_numpy()) != (side == "truth"))
    changed = log.with_columns(click=pl.when(other).then(~pl.col("click")).otherwise("click"))
    again = fit_population("planted", a_catalog(), changed, dim=4).population
    for name, array in vars(getattr(fitted.population, side)).items():
        np.testing.assert_array_equal(getattr(getattr(again, side), name), array)


def test_evaluation_users_leave_no_trace_in_what_is_known_of_items(fitted: FittedPopulation):
    log = a_log()
    evaluated = pl.Series(~training_users(log["user"].to_numpy()))
    changed = log.with_columns(click=pl.when(evaluated).then(~pl.col("click")).otherwise("click"))
    again = fit_population("planted", a_catalog(), changed, dim=4).population
    np.testing.assert_array_equal(again.truth.item_vectors, fitted.population.truth.item_vectors)
    np.testing.assert_array_equal(again.truth.item_offsets, fitted.population.truth.item_offsets)
    np.testing.assert_array_equal(again.knowledge.item_vectors, fitted.population.knowledge.item_vectors)
    np.testing.assert_array_equal(again.knowledge.popularity, fitted.population.knowledge.popularity)


def test_the_same_log_in_another_order_gives_the_same_bits(fitted: FittedPopulation):
    again = fit_population("planted", a_catalog(), a_log().sample(fraction=1, shuffle=True, seed=1), dim=4)
    for side in ("truth", "knowledge"):
        for name, array in vars(getattr(fitted.population, side)).items():
            np.testing.assert_array_equal(getattr(getattr(again.population, side), name), array)
    np.testing.assert_array_equal(again.population.history, fitted.population.history)
    assert (again.truth_fit, again.knowledge_fit) == (fitted.truth_fit, fitted.knowledge_fit)
    assert again.correlation == fitted.correlation


def test_another_seed_gives_other_vectors(fitted: FittedPopulation):
    other = fit_population("planted", a_catalog(), a_log(), dim=4, seed=1).population
    assert not np.allclose(other.truth.item_vectors, fitted.population.truth.item_vectors)


def test_history_is_the_knowledge_half_in_order_of_time_then_item(fitted: FittedPopulation):
    log = a_log()
    known = log.filter(~pl.Series(truth_half(log["user"].to_numpy(), log["item"].to_numpy())))
    expected = known.sort("time", "item", "user").select(pl.col("user") - 1, pl.col("item") - 1, "click")
    assert fitted.population.history.tolist() == [[user, item, int(click)] for user, item, click in expected.rows()]


def test_popularity_counts_known_clicks_of_training_users(fitted: FittedPopulation):
    people = fitted.population
    history = people.history[people.training[people.history[:, 0]]]
    clicks = np.bincount(history[history[:, 2] == 1, 1], minlength=ITEMS)
    expected = (clicks + 1) / (clicks.sum() + ITEMS)
    np.testing.assert_allclose(people.knowledge.popularity, expected, rtol=1e-6)
    assert people.knowledge.popularity.sum() == pytest.approx(1, abs=1e-5)
    assert people.knowledge.popularity.min() > 0


def test_an_item_nobody_rated_has_no_vector_and_an_average_offset():
    people = fit_population("planted", a_catalog(ITEMS + 1), a_log(), dim=4).population
    assert not people.truth.item_vectors[ITEMS].any()
    # half of the interactions are clicks: the prior's log-odds are near 0, and so is the scaled offset
    assert people.truth.item_offsets[ITEMS] == pytest.approx(0, abs=0.1)


def test_catalogs_in_any_order_are_matched_by_item_id(fitted: FittedPopulation):
    catalog = a_catalog()
    turned = Catalog(catalog.item_ids[::-1], catalog.titles[::-1], catalog.categories)
    people = fit_population("planted", turned, a_log(), dim=4).population
    np.testing.assert_array_equal(people.knowledge.popularity[::-1], fitted.population.knowledge.popularity)
    offsets = people.truth.item_offsets[::-1], fitted.population.truth.item_offsets
    assert np.corrcoef(*offsets)[0, 1] == pytest.approx(1)  # their scale follows the vectors, which start elsewhere


def test_vectors_are_fitted_in_one_thread_however_many_there_are(monkeypatch: pytest.MonkeyPatch):
    """Sums of several threads would depend on how many a machine has."""
    threads: list[int] = []

    class Watched(taste.AlternatingLeastSquares):
        def __init__(self, **settings: Any) -> None:
            threads.append(max(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"))
            super().__init__(**settings)

    monkeypatch.setattr(taste, "AlternatingLeastSquares", Watched)
    users, items = np.divmod(np.arange(200), 10)
    rows = taste.Interactions(users, items, (users + items) % 2 == 0)
    with threadpool_limits(2):
        taste.fit_raw(rows, np.ones(20, bool), 10, dim=2, seed=0)
    assert threads == [1]


def test_an_item_outside_the_catalog_is_refused():
    with pytest.raises(DataError, match="item 80 is in the log but not in the catalog; add it there or drop its row"):
        fit_population("planted", a_catalog(79), a_log(), dim=4)


def test_a_log_of_clicks_only_is_refused():
    with pytest.raises(DataError, match=r"too few interactions .* 0 are not, and both are needed; use a larger log"):
        fit_population("planted", a_catalog(), a_log().with_columns(click=pl.lit(True)), dim=4)


def test_calibration_error_by_hand():
    # ten bins of two, in order of prediction; all predictions are right on average but those of the last bin,
    # where 0.9 is said and nothing clicked: 2 / 20 * |0 - 0.9| = 0.09
    clicks = np.array([True, False] * 9 + [False, False])
    predicted = np.array([0.5] * 18 + [0.9] * 2)
    assert calibration_error(clicks, predicted) == pytest.approx(0.09)
    assert calibration_error(clicks[:18], predicted[:18]) == pytest.approx(0, abs=0.06)


def a_model(item_offsets: list[float], user_offset: float = 0.0) -> TasteModel:
    items = len(item_offsets)
    return TasteModel(
        np.zeros((items, 1), np.float32),
        np.array(item_offsets, np.float32),
        np.zeros((2, 1), np.float32),
        np.full(2, user_offset, np.float32),
    )


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (a_model([3, 5, 7], user_offset=-4), 1.0),  # 2 x + 1 of the first
        (a_model([3, 2, 1]), -1.0),
        (a_model([1, 3, 2]), 0.5),  # deviations (-1, 0, 1) . (-1, 1, 0) / 2
        (a_model([4, 4, 4]), 0.0),
    ],
)
def test_agreement_by_hand(other: TasteModel, expected: float):
    assert agreement(a_model([1, 2, 3]), other, np.array([0, 1])) == pytest.approx(expected)


@pytest.mark.parametrize(("bound", "small"), [("USERS_AT_ONCE", 7), ("SCORES_AT_ONCE", 3 * ITEMS)])
def test_agreement_is_the_same_in_blocks(
    fitted: FittedPopulation, monkeypatch: pytest.MonkeyPatch, bound: str, small: int
):
    one = TasteModel(*vars(fitted.population.truth).values())
    whole = agreement(one, a_model_of(fitted.population.knowledge), np.arange(USERS))
    monkeypatch.setattr(taste, bound, small)
    assert agreement(one, a_model_of(fitted.population.knowledge), np.arange(USERS)) == pytest.approx(whole)


def a_model_of(known: Knowledge) -> TasteModel:
    return TasteModel(known.item_vectors[:, :-1], known.item_vectors[:, -1], known.tastes[:, :-1], known.user_offsets)


# the contract that everything else builds on


def a_truth(**changes: np.ndarray) -> Truth:
    arrays = {
        "item_vectors": np.zeros((3, 2), np.float32),
        "item_offsets": np.zeros(3, np.float32),
        "user_vectors": np.zeros((2, 2), np.float32),
        "user_offsets": np.zeros(2, np.float32),
    }
    return Truth(**{**arrays, **changes})


def a_population(history: np.ndarray, items: int = 3) -> Population:
    known = Knowledge(
        np.zeros((3, 3), np.float32),
        np.zeros((2, 3), np.float32),
        np.zeros(2, np.float32),
        np.full(3, 1 / 3, np.float32),
    )
    return Population("tiny", a_catalog(items), a_truth(), known, np.array([True, False]), history)


def test_sides_with_arrays_that_do_not_fit_are_refused():
    with pytest.raises(
        ValueError, match=r"item_vectors must be \(3, d\) and truth\.user_vectors \(2, d\).*given \(3, 5\)"
    ):
        a_truth(item_vectors=np.zeros((3, 5), np.float32))
    with pytest.raises(ValueError, match=r"truth.user_offsets has a number that is not finite"):
        a_truth(user_offsets=np.array([0, np.nan], np.float32))


def test_a_population_whose_parts_do_not_fit_is_refused():
    none = np.zeros((0, 3), np.int32)
    assert a_population(none).users("all").tolist() == [0, 1]
    with pytest.raises(ValueError, match=r"truth must be of 4 items and 2 users.*given 3 and 2"):
        a_population(none, items=4)
    with pytest.raises(ValueError, match=r"history must have three columns .*given an array of shape \(1, 2\)"):
        a_population(np.zeros((1, 2), np.int32))
    with pytest.raises(ValueError, match=r"history has a row outside users 0..1, items 0..2.*to \[2, 0, 1\]"):
        a_population(np.array([[2, 0, 1]], np.int32))


# real logs


@pytest.fixture(scope="module")
def movielens(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PrepareReport]:
    if not (LOGS / "ratings.parquet").is_file():
        pytest.skip(f"no MovieLens logs in {LOGS}; set LERL_DATA to the folder that holds ml1m/ratings.parquet")
    out = tmp_path_factory.mktemp("movielens") / "prepared"
    return out, prepare("movielens", LOGS, out)


def test_real_logs_are_predicted(movielens: tuple[Path, PrepareReport]):
    report = movielens[1]
    assert report.base_rate == pytest.approx(0.569, abs=0.0005)
    assert (report.users, report.items, report.dropped_items) == (2400, 3602, 281)
    assert report.truth_auc > 0.78
    assert report.knowledge_auc > 0.77
    for side in ("truth", "knowledge"):
        assert getattr(report, f"{side}_calibration_error") < 0.03
        predicted, held = getattr(report, f"{side}_mean_predicted"), getattr(report, f"{side}_held_out_rate")
        assert predicted == pytest.approx(held, abs=0.015)
    assert 0.5 < report.correlation < 0.95


def test_real_logs_prepared_twice_are_the_same_bytes(movielens: tuple[Path, PrepareReport], tmp_path: Path):
    prepare("movielens", LOGS, tmp_path / "again")
    for path in movielens[0].iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes(), path.name
