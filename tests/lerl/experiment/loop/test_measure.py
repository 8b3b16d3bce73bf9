"""Figures of a period: what two people share, the share of items, and what leaving somebody out changes."""

import numpy as np
import polars as pl
import pytest

from lerl.config.parse import configure
from lerl.config.recipes import find_recipe
from lerl.envs.population import Population
from lerl.envs.schema import DataError
from lerl.envs.synthetic import synthetic_population
from lerl.experiment.loop.between import AWAY, HERE, LOG, SESSIONS
from lerl.experiment.loop.cast import Cast, cast_of, shelves, with_seed
from lerl.experiment.loop.knowledge import first_log, fit_knowledge
from lerl.experiment.loop.measure import SHARED, first_items, mean_jaccard, measure
from lerl.experiment.loop.settings import LoopConfig
from lerl.run.task import Task


def test_two_people_who_share_one_of_two_items_are_a_third_alike() -> None:
    sets = [np.array([1, 2]), np.array([2, 3]), np.array([1, 2]), np.zeros(0, np.int64)]
    found, without = mean_jaccard(sets)
    assert found == pytest.approx((1 / 3 + 1 + 1 / 3) / 3)  # pairs 0-1, 0-2, 1-2
    assert without[:3] == pytest.approx([1 / 3, 1, 1 / 3])
    assert np.isnan(without[3])  # in no pair, so that nothing changes
    assert np.isnan(mean_jaccard(sets[-2:])[0])


def test_sets_drawn_at_random_share_what_chance_says() -> None:
    rng = np.random.default_rng(0)
    sets = [rng.choice(500, 20, replace=False) for _ in range(300)]
    both = 20 * 20 / 500
    assert mean_jaccard(sets)[0] == pytest.approx(both / (40 - both), rel=0.05)


def test_the_first_different_items_are_compared_and_nobody_with_fewer() -> None:
    owner = np.array([0, 1, 0, 0, 1, 0, 0])
    items = np.array([5, 7, 5, 6, 7, 4, 3])
    first, second = first_items(owner, items, 2, 3)
    assert first.tolist() == [5, 6, 4]  # 5 came twice, 3 is beyond the third
    assert second.tolist() == []


def _cast() -> Cast:
    there = np.ones((2, 4), bool)
    there[0, 3] = there[1, 0] = False
    return Cast(np.array([10, 20, 30]), np.zeros(3), [0, 1, 2], there)


def _period(log: pl.DataFrame) -> dict[str, float]:
    rows = {"user": [10, 10, 20], "session": [0, 1, 0], "day": [7.2, 7.9, 9.0], "T_int": [2, 3, 5]}
    sessions = pl.DataFrame(
        rows | {"R_cum": [1.0, 2.0, 1.0], "satisfaction_final": [0.4, 0.6, 0.2]}, schema_overrides=SESSIONS
    )
    people = pl.DataFrame({"status": [HERE, HERE, AWAY], "known": [0.5, 0.1, 0.9]})
    found = measure(_cast(), 1, log, sessions, people)
    assert np.isnan(found.personal[2]).all()  # who has not begun is in no mean
    assert found.personal[0].tolist() == [1.5, 3.0, 0.5, 0.6, 1.0, 1.0, 0.0, 0.5]  # both sessions on one day
    return dict(zip(SHARED, found.shared.tolist(), strict=True))


def test_shares_are_of_the_items_that_are_there() -> None:
    log = pl.DataFrame(
        {"user": [10, 10, 20, 20], "item": [1, 2, 1, 3], "click": True, "day": 7.0}, schema_overrides=LOG
    )
    found = _period(log)
    assert found["coverage"] == 1.0  # item 0, which nobody was shown, is not there
    assert found["later_items"] == 0.25  # item 3 came
    assert found["top_tenth"] == 0.5  # one item of three: item 1
    assert found["gini"] == pytest.approx((2 * (1 + 2 + 3 * 2) / 4 - 4) / 3)
    assert np.isnan(found["jaccard"])  # nobody was shown 20 items


def test_leaving_somebody_out_is_what_it_is_called() -> None:
    rng = np.random.default_rng(1)
    log = pl.DataFrame(
        {"user": rng.choice([10, 20, 30], 60), "item": rng.integers(1, 4, 60), "click": True, "day": 7.0}
    )
    sessions, people = pl.DataFrame(schema=SESSIONS), pl.DataFrame({"status": [HERE] * 3, "known": [0.0] * 3})
    whole = measure(_cast(), 1, log, sessions, people)
    for place, user in enumerate((10, 20, 30)):
        less = measure(_cast(), 1, log.filter(pl.col("user") != user), sessions, people)
        for number, name in enumerate(SHARED):
            if name not in ("top_tenth", "jaccard"):  # which items are top is held fixed
                assert whole.without[number, place] == pytest.approx(less.shared[number]), name


def _task(**more: str) -> Task:
    sizes = {"data.synthetic.users": "60", "data.synthetic.items": "120", "data.synthetic.categories": "6"}
    return Task.load(configure(find_recipe("quickstart"), {**sizes, "planner.axis": "categories", **more}))


def test_equally_many_items_are_there_and_none_comes_back() -> None:
    loop = LoopConfig(days=30, retrain=5, turnover=0.1)
    there = shelves(120, loop, _task())
    assert there.sum(axis=1).tolist() == [80] * 6  # 120 / (1 + 0.1 * 5)
    left = np.diff(there.astype(int), axis=0)
    assert (left == -1).sum(axis=1).tolist() == [8] * 5
    assert (np.abs(left).sum(axis=0) <= 2).all()
    assert ((left == 1).sum(axis=0) <= 1).all()


def test_who_comes_later_has_no_history_and_neither_have_items() -> None:
    task = _task(**{"evaluation.users": "40"})
    cast = cast_of(task, LoopConfig(days=30, retrain=5, newcomers=0.25))
    assert (cast.arrivals > 0).sum() == 10
    log = first_log(task, cast)
    assert set(log["user"].to_list()) == set(cast.people[cast.arrivals == 0].tolist())
    assert cast.there[0][log["item"].to_numpy()].all()
    assert log.schema == LOG
    again = cast_of(with_seed(task, 7), LoopConfig(days=30, retrain=5, newcomers=0.25))
    assert (again.people == cast.people).all()  # seeds have the same people, at other times
    assert (again.arrivals != cast.arrivals).any()


def _log(population: Population, copies: int = 1) -> pl.DataFrame:
    user, item, click = population.history.T
    log = pl.DataFrame({"user": user, "item": item, "click": click > 0, "day": -1.0}, schema_overrides=LOG)
    return pl.concat([log] * copies)


def test_what_nobody_was_shown_is_known_as_what_holds_on_average() -> None:
    population = synthetic_population(80, 50, 5, 4, 0)
    log = _log(population).filter((pl.col("item") != 3) & (pl.col("user") != 5))
    known = fit_knowledge(log, np.ones(80, bool), 50, 4, 0)
    assert np.abs(known.item_vectors[3, :-1]).max() < 1e-6
    assert np.abs(known.tastes[5, :-1]).max() < 1e-6
    offsets = np.delete(known.item_vectors[:, -1], 3)
    assert offsets.min() < known.item_vectors[3, -1] < offsets.max()
    assert known.popularity[3] == known.popularity.min()


def test_a_click_and_a_skip_of_one_pair_cancel() -> None:
    population = synthetic_population(80, 50, 5, 4, 0)
    log = _log(population)
    turned = log.with_columns(~pl.col("click"))
    known = fit_knowledge(pl.concat([log, turned]), np.ones(80, bool), 50, 4, 0)
    assert np.abs(known.item_vectors[:, :-1]).max() < 1e-6


def test_a_log_too_short_to_learn_from_is_refused() -> None:
    log = _log(synthetic_population(80, 50, 5, 4, 0)).with_columns(click=pl.lit(True))
    with pytest.raises(DataError, match="too short to fit what agents know"):
        fit_knowledge(log, np.ones(80, bool), 50, 4, 0)
