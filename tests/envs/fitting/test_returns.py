"""Gaps fitted to sessions that were made of a known model, and the sessions of a log."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.optimize import approx_fprime

from lerl.envs.fitting import returns as module
from lerl.envs.fitting.log_sessions import LogSessions, sessions_of, shuffled
from lerl.envs.fitting.returns import (
    HABITS,
    NAMES,
    busiest,
    busiest_day,
    fit_gaps,
    fitted_return,
    likeliest_habit,
    read_gap,
    simulate,
    write_returns,
)
from lerl.envs.schema import SCHEMA, DataError
from lerl.envs.sessions.config import Gap, Habit, Memory, Return
from lerl.envs.sessions.rhythm import clock, slope, unclock
from lerl.envs.store import MissingDataError
from tests.envs.made_sessions import MINUTE, PLANTED, made_log, made_sessions

LATER = 4e9
DAY = 86_400


def log_of(*rows: tuple[int, int, bool, int | None]) -> pl.DataFrame:
    """A log of user, item, click and seconds."""
    return pl.DataFrame([(u, i, c, None, t) for u, i, c, t in rows], schema=SCHEMA, orient="row")


def weekly(users: int = 60, shift: int = 7) -> pl.DataFrame:
    """A log of users who come twice, a week apart."""
    times = [(u, n, n == 1, 1_600_000_000 + shift + u + 7 * DAY * n) for u in range(users) for n in (0, 1)]
    return log_of(*((u, 2 * u + n, click, t) for u, n, click, t in times))


def test_a_pause_ends_a_session_and_the_end_of_the_log_cuts_the_last_gap_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lerl.envs.fitting.log_sessions.LEAST_GAPS", 0)
    day = 1_600_000_000
    rows = [(5, 1, True, day), (5, 2, False, day + 29 * 60), (5, 3, True, day + 59 * 60), (9, 4, False, day + DAY)]
    found = sessions_of(log_of(*rows), 30 * MINUTE, LATER)
    assert found.users.tolist() == [0, 0, 1]
    assert found.counts.tolist() == [2, 1, 1]
    assert found.returned.tolist() == [True, False, False]
    # half an hour after the second row; from 59 minutes on, the log goes on for 23 hours and one minute
    assert found.gaps * 1440 == pytest.approx([30, 23 * 60 + 1, 0], abs=1e-4)
    assert found.quality.tolist() == [0.5, 0.5, 0.5]  # nobody has five other interactions


def test_quality_is_feedback_beside_that_of_the_users_other_interactions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lerl.envs.fitting.log_sessions.LEAST_GAPS", 0)
    before = [(1, item, item < 3, None) for item in range(10)]  # without times: 3 of 10 liked
    visit = [(1, 10, True, 1_600_000_000), (1, 11, False, 1_600_000_060)]
    found = sessions_of(log_of(*before, *visit, (2, 12, True, 1_600_000_001)), 30 * MINUTE, LATER)
    assert found.counts.tolist() == [2, 1]
    assert found.quality[0] == pytest.approx(0.5 + 0.5 - 0.3)  # nobody else met these items


def test_a_good_item_does_not_make_a_session_good(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everybody likes item 0 and nobody item 1: who is shown them reacts as all do."""
    monkeypatch.setattr("lerl.envs.fitting.log_sessions.LEAST_GAPS", 0)
    rows = [(u, 0, True, 1_600_000_000 + u) for u in range(500)]
    rows += [(u, 1, False, 1_600_000_000 + DAY + u) for u in range(500)]
    rows += [(u, 2 + 10 * u + n, n % 2 == 0, None) for u in range(500) for n in range(10)]
    assert sessions_of(log_of(*rows), 30 * MINUTE, LATER).quality == pytest.approx(0.5, abs=0.02)


def test_shuffling_moves_quality_within_users_only() -> None:
    made = made_sessions(PLANTED, 0, users=20)
    (moved,) = shuffled(made, range(1))
    assert not np.array_equal(moved, made.quality)
    for user in range(20):
        own = made.users == user
        assert sorted(moved[own]) == sorted(made.quality[own])


def test_memory_and_habit_follow_their_formulas() -> None:
    """Two sessions a day apart, each of no length."""
    zero = np.zeros(1)
    pair = LogSessions(
        np.array([0, 0]), np.array([0.0, 1.0]), np.array([0.0, 1.0]), np.ones(2, np.int64), np.array([1.0, 0.0]),
        zero, np.ones(1, bool), 1.0, 2.0, MINUTE,
    )  # fmt: skip
    memory, habit = Memory(rate=0.2, fades=10.0), Habit(rate=0.3, fades=5.0)
    remembered, used = pair.states(pair.quality, memory, habit)
    faded = 0.5 + 0.1 * np.exp(-1 / 10)
    assert remembered == pytest.approx([0.6, faded + 0.2 * (0 - faded)])
    assert used == pytest.approx([0.3, 0.3 * np.exp(-1 / 5) + 0.3 * (1 - 0.3 * np.exp(-1 / 5))])
    off = pair.states(pair.quality, replace(memory, enabled=False), replace(habit, enabled=False))
    assert np.array_equal(off, [[0.5, 0.5], [0.0, 0.0]])


def test_the_likelihood_is_that_of_a_fine_grid_and_its_gradient_that_of_differences() -> None:
    """Of persons with none to 300 gaps, and of sums far apart."""
    counts, sums = np.array([0.0, 0.0, 1.0, 5.0, 300.0, 2.0]), np.array([1e-6, 40.0, 0.1, 9.0, 180.0, 1e4])
    grid = np.linspace(-40.0, 40.0, 200_001)
    for spread in (0.0, 0.4, 2.5):
        found = module._integrate(counts, sums, spread)
        logs = counts[:, None] * spread * grid - sums[:, None] * np.exp(spread * grid) - 0.5 * grid**2
        high = logs.max(axis=1)
        exact = high + np.log(np.exp(logs - high[:, None]).sum(axis=1) * (grid[1] - grid[0]) / np.sqrt(2 * np.pi))
        assert found.logs == pytest.approx(exact, abs=2e-4)

    made = made_sessions(PLANTED, 1, users=50, days=30.0)
    remembered, used = made.states(made.quality, Memory(), Habit())
    columns = np.stack([made.quality - 0.5, remembered - 0.5, used], axis=1)
    problem = module._Likelihood.of(made, columns, 0.3)
    point, weights = np.array([0.1, -0.3, 0.5, 0.4, 0.2, 0.3, 0.4]), np.random.default_rng(0).integers(0, 3, 50) * 1.0
    numeric = approx_fprime(point, lambda at: problem.at(at, weights)[0], 1e-6)
    assert problem.at(point, weights)[1] == pytest.approx(numeric, rel=1e-3, abs=0.05)
    weekly = problem._replace(weekly=True)
    assert weekly.at(np.append(point, 0.0), weights)[0] == pytest.approx(problem.at(point, weights)[0], abs=1e-9)
    point = np.append(point, 0.6)
    numeric = approx_fprime(point, lambda at: weekly.at(at, weights)[0], 1e-6)
    assert weekly.at(point, weights)[1] == pytest.approx(numeric, rel=1e-3, abs=0.05)


def test_planted_parameters_are_found() -> None:
    """Each inside its interval widened by half, which no right fit of these seeds leaves."""
    found = fit_gaps(made_sessions(PLANTED, 1), draws=60)
    assert found.ended / found.gaps > 0.9
    for name in NAMES:
        estimate, truth = found.estimates[name], getattr(PLANTED, name)
        reach = 0.25 * (estimate.high - estimate.low)
        assert estimate.low - reach <= truth <= estimate.high + reach, name
    assert found.estimates["session"].low > 0.3
    assert min(found.peak, 1 - found.peak) < 0.03


@pytest.mark.slow
def test_intervals_of_planted_parameters_hold_them_nine_times_of_ten() -> None:
    """Ten logs, seven parameters each."""
    held = dict.fromkeys(NAMES, 0)
    for seed in range(10):
        found = fit_gaps(made_sessions(PLANTED, seed), draws=200, seed=seed)
        for name in NAMES:
            estimate = found.estimates[name]
            held[name] += estimate.low <= getattr(PLANTED, name) <= estimate.high
    assert sum(held.values()) >= 63
    assert min(held.values()) >= 8


def test_gaps_that_the_log_cuts_off_count() -> None:
    """In a log of five days, who comes back every ten days is most often not seen to."""
    slow = Gap(typical=10.0, shape=1.0, person=0.0, session=0.0, memory=0.0, habit=0.0, shortest=30 * MINUTE)
    made = made_sessions(slow, 0, users=3000, days=15.0)
    found = fit_gaps(made)
    assert found.ended / found.gaps < 0.5
    assert found.estimates["typical"].value == pytest.approx(10.0, rel=0.15)
    assert np.median(made.gaps[made.returned]) < 5.0


def test_where_quality_does_nothing_nothing_is_found_and_shuffling_hides_what_it_does() -> None:
    idle = replace(PLANTED, session=0.0, memory=0.0)
    nothing = fit_gaps(made_sessions(idle, 2), draws=60).estimates["session"]
    assert nothing.low <= 0.0 <= nothing.high
    made = made_sessions(PLANTED, 2)
    hidden = [fit_gaps(made, quality=quality).estimates["session"].value for quality in shuffled(made, range(3))]
    assert np.abs(hidden).max() < 0.15


def test_a_log_of_rows_gives_the_weight_of_quality_diluted_by_chance() -> None:
    """Two interactions a session: the weight divided by the reliability is that planted."""
    strong = replace(PLANTED, person=0.0, session=1.5, memory=0.0, habit=0.0)
    sessions = sessions_of(made_log(made_sessions(strong, 3), 3, rows=2), 30 * MINUTE, LATER)
    assert 0.3 < sessions.reliability < 0.6
    seen = fit_gaps(sessions).estimates["session"].value
    assert seen < 1.0
    assert seen / sessions.reliability == pytest.approx(1.5, rel=0.2)


def test_the_habit_that_made_the_gaps_is_the_likeliest() -> None:
    habit = Habit(rate=0.5, fades=2.0)
    made = made_sessions(replace(PLANTED, habit=2.0), 0, users=150, habit=habit)
    assert likeliest_habit(made) == habit


def test_the_clock_goes_back_and_forth_and_is_right_once_a_day() -> None:
    days = np.concatenate([np.linspace(0.0, 3.0, 301), [1234.567]])
    for daily in (0.1, 0.67, 0.95):
        shown = clock(days, daily)
        assert (np.diff(shown) > 0).all()
        assert unclock(shown, daily) == pytest.approx(days, abs=1e-9)
        assert shown[[0, 100, 200]] == pytest.approx([0.0, 1.0, 2.0])
        numeric = (clock(days + 1e-6, daily) - clock(days - 1e-6, daily)) / 2e-6
        assert slope(days, daily) == pytest.approx(numeric, rel=1e-4)


def test_the_clock_of_a_week_is_right_once_a_week_and_that_of_a_day_without_one() -> None:
    days = np.concatenate([np.linspace(0.0, 21.0, 2101), [1234.567]])
    for daily, weekly in ((0.0, 0.5), (0.67, 0.3), (0.95, 0.95)):
        shown = clock(days, daily, weekly)
        assert (np.diff(shown) > 0).all()
        assert unclock(shown, daily, weekly) == pytest.approx(days, abs=1e-8)
        assert shown[[0, 700, 1400]] == pytest.approx([0.0, 7.0, 14.0])
        numeric = (clock(days + 1e-6, daily, weekly) - clock(days - 1e-6, daily, weekly)) / 2e-6
        assert slope(days, daily, weekly) == pytest.approx(numeric, rel=1e-3, abs=1e-6)
    assert np.array_equal(clock(days, 0.5, 0.0), clock(days, 0.5))
    assert np.array_equal(unclock(days, 0.5, 0.0), unclock(days, 0.5))


def test_a_planted_week_is_found_and_one_that_is_not_there_is_not(tmp_path: Path) -> None:
    made = made_sessions(replace(PLANTED, weekly=0.5), 1)
    found = fit_gaps(made, weekly=True)
    assert found.estimates["weekly"].value == pytest.approx(0.5, abs=0.08)
    assert found.estimates["daily"].value == pytest.approx(0.5, abs=0.08)
    assert min(found.peak, 7 - found.peak) < 0.03
    assert found.gap.weekly == found.estimates["weekly"].value
    assert found.log_likelihood > fit_gaps(made).log_likelihood + 100
    assert fit_gaps(made_sessions(PLANTED, 1), weekly=True).estimates["weekly"].value < 0.06
    assert "weekly" not in fit_gaps(made).estimates
    write_returns(tmp_path, found, {})
    assert read_gap(tmp_path) == found.gap
    assert busiest_day(np.array([3.9, 4.0, 10.1])) == pytest.approx(4.0, abs=0.05)
    with pytest.raises(DataError, match=r"is 1\d\.\d days long, and 3 weeks are needed .*leave out --weekly"):
        fit_gaps(made_sessions(PLANTED, 1, users=40, days=20.0), weekly=True)


def test_a_daily_rhythm_brings_people_at_the_busiest_hour() -> None:
    regular = replace(PLANTED, daily=0.8)
    made = made_sessions(regular, 0)
    later = made.starts[~made.first] % 1.0
    near = np.minimum(later, 1 - later) < 0.25
    # the share of the day's first and last quarter is 1/2 + daily / pi where waits are long beside a day
    assert near.mean() == pytest.approx(0.5 + 0.8 / np.pi, abs=0.05)
    flat = made_sessions(replace(PLANTED, daily=0.0), 0)
    later = flat.starts[~flat.first] % 1.0
    assert (np.minimum(later, 1 - later) < 0.25).mean() == pytest.approx(0.5, abs=0.05)
    assert busiest(np.array([0.9, 1.1, 2.0])) % 1.0 == pytest.approx(0.0, abs=1e-9)


def test_the_same_seed_simulates_the_same_sessions_and_no_gap_is_too_short() -> None:
    made = made_sessions(PLANTED, 0, users=50)
    one, same, other = (simulate(made, PLANTED, seed) for seed in (3, 3, 4))
    assert np.array_equal(one.starts, same.starts)
    assert not np.array_equal(one.starts[:50], other.starts[:50])
    assert one.gaps[one.returned].min() >= PLANTED.shortest - 1e-9
    assert (np.unique(one.users) == np.arange(50)).all()
    assert one.starts[one.first].tolist() == made.starts[made.first].tolist()


def test_a_fit_is_kept_whole(tmp_path: Path) -> None:
    found = fit_gaps(made_sessions(PLANTED, 0, users=60))
    with pytest.raises(MissingDataError, match=r"holds no fitted gaps .*; fit them with: lerl fit .* --returns"):
        read_gap(tmp_path)
    path = write_returns(tmp_path, found, {"data": "made"})
    assert read_gap(tmp_path) == found.gap
    content = json.loads(path.read_text())
    assert (content["format"], content["data"], content["habit"]["rate"]) == (1, "made", 0.2)
    path.write_text(json.dumps({**content, "format": 2}))
    with pytest.raises(DataError, match="format 2, this lerl reads 1"):
        read_gap(tmp_path)
    path.write_text("{")
    with pytest.raises(DataError, match=r"returns.json cannot be used"):
        read_gap(tmp_path)


def test_what_was_fitted_takes_the_place_of_what_is_assumed(tmp_path: Path) -> None:
    found = fit_gaps(made_sessions(PLANTED, 0, users=60), habit=HABITS[7])
    held_out = [{"inside": True}] * 4 + [{"inside": False}] * 2
    write_returns(tmp_path, found, {"held_out": held_out})
    assumed = Return(memory=Memory(rate=0.7), gap=Gap(typical=9.0))
    fitted = fitted_return(assumed, tmp_path)
    assert (fitted.gap, fitted.habit) == (found.gap, HABITS[7])
    assert not fitted.churn.enabled
    assert (fitted.memory, fitted.rest, fitted.wander) == (assumed.memory, assumed.rest, assumed.wander)
    write_returns(tmp_path, found, {"held_out": held_out[1:]})  # 3 of 5
    assert fitted_return(assumed, tmp_path) == fitted


def test_a_fit_that_does_not_describe_its_log_is_not_simulated(tmp_path: Path) -> None:
    found = fit_gaps(made_sessions(PLANTED, 0, users=60))
    write_returns(tmp_path, found, {"held_out": [{"inside": True}] * 3 + [{"inside": False}] * 3})
    with pytest.raises(DataError, match=r"must not be used: 3 of 6 statistics .*; try other pauses"):
        fitted_return(Return(), tmp_path)


WEEKLY = weekly()


@pytest.mark.parametrize(
    ("log", "said"),
    [
        (WEEKLY.with_columns(time=pl.lit(None, pl.Int64)), "the log has no times, and the gaps between sessions need"),
        (WEEKLY.with_columns(time=(pl.col("time") // DAY) * DAY), "has only dates, and sessions of one day cannot be"),
        (WEEKLY.filter(pl.col("item") % 2 == 0), "came back 0 times after a pause of 30 minutes or more; gaps are"),
        (WEEKLY.with_columns(time=pl.col("time") + 10**10), "times that are still to come, up to 2337-"),
    ],
    ids=["no times", "only dates", "one session each", "times to come"],
)  # fmt: skip
def test_what_cannot_be_fitted_is_one_error(log: pl.DataFrame, said: str) -> None:
    with pytest.raises(DataError, match=said):
        sessions_of(log, 30 * MINUTE, 1_700_000_000.0)


def test_a_rhythm_that_stops_the_clock_is_refused() -> None:
    with pytest.raises(ValueError, match=r"gap.daily must be a number from 0 to 0.95, given 1.0"):
        Gap(daily=1.0)
