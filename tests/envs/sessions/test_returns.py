"""What happens between two sessions: each mechanism against its formula in plain Python."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lerl.envs import draws
from lerl.envs.sessions import returns
from lerl.envs.sessions.config import Churn, Gap
from lerl.envs.sessions.rhythm import clock

MANY = 20_000
KEYS = returns.streams(np.arange(MANY, dtype=np.uint64), np.zeros(MANY, np.int64), draws.GAP)


def gaps(how: Gap, s: Any = 0.5, m: Any = 0.5, h: Any = 0.0, z: Any = 0.0) -> np.ndarray:
    """Gaps of many people who are all alike."""
    return returns.gaps(how, *(np.full(MANY, float(value)) for value in (s, m, h, z)), KEYS)


def test_new_purposes_leave_the_streams_of_steps_alone() -> None:
    assert draws.PURPOSES == 9
    assert sorted({draws.GAP, draws.CHURN, draws.PERSON, draws.REST, draws.WANDER}) == [9, 10, 11, 12, 13]


def test_a_gap_is_what_the_formula_says() -> None:
    how = Gap(typical=2.0, shape=0.7, person=0.4, session=1.5, memory=2.5, habit=0.6, shortest=0.1)
    s, m, h, z = 0.9, 0.3, 0.25, -1.2
    log_scale = math.log(2.0 / math.log(2) ** (1 / 0.7)) - 0.4 * z - 1.5 * (s - 0.5) - 2.5 * (m - 0.5) - 0.6 * h
    for key, found in zip(KEYS[:50], gaps(how, s, m, h, z)[:50], strict=True):
        u = 1 - draws.uniform(key, 0)
        assert found == pytest.approx(0.1 + math.exp(log_scale) * (-math.log(u)) ** (1 / 0.7))


@pytest.mark.parametrize("shape", [0.5, 0.8, 1.0, 3.0])
def test_gaps_are_weibull_with_the_typical_median(shape: float) -> None:
    found = np.sort(gaps(Gap(typical=3.0, shape=shape, shortest=0.25))) - 0.25
    assert np.median(found) == pytest.approx(3.0, rel=0.06)
    scale = 3.0 / math.log(2) ** (1 / shape)
    expected = 1 - np.exp(-((found / scale) ** shape))
    assert np.abs(expected - np.arange(MANY) / MANY).max() < 1.63 / math.sqrt(MANY)  # Kolmogorov and Smirnov, 1 %


@pytest.mark.parametrize(("name", "lower", "upper"), [("s", 0.2, 0.8), ("m", 0.2, 0.8), ("h", 0.0, 0.9), ("z", -1, 1)])
def test_each_part_shortens_the_gap_by_its_weight(name: str, lower: float, upper: float) -> None:
    how = Gap(shortest=0)
    weight = {"s": how.session, "m": how.memory, "h": how.habit, "z": how.person}[name]
    ratio = gaps(how, **{name: upper}) / gaps(how, **{name: lower})
    np.testing.assert_allclose(ratio, math.exp(-weight * (upper - lower)), rtol=1e-9)


def test_a_daily_rhythm_moves_gaps_to_the_busy_hours_and_keeps_whole_days() -> None:
    """From half a day after the busiest hour on; the wait of each is that of the same draw without a rhythm."""
    how, now = Gap(typical=2.0, shortest=0.0), np.full(MANY, 0.5)
    others = [np.full(MANY, value) for value in (0.5, 0.5, 0.0, 0.0)]
    plain = returns.gaps(how, *others, KEYS)
    found = returns.gaps(replace(how, daily=0.8), *others, KEYS, now)
    np.testing.assert_allclose(clock(now + found, 0.8), clock(now, 0.8) + plain, atol=1e-9)
    assert np.array_equal(found < 3.0, plain < 3.0)
    busy = np.abs((now + found + 0.25) % 1.0 - 0.25) < 0.25  # within a quarter of a day of a whole day
    assert busy.mean() == pytest.approx(0.5 + 0.8 / math.pi, abs=0.06)
    assert np.array_equal(returns.gaps(replace(how, daily=0.0), *others, KEYS, now), plain)


def test_a_weekly_rhythm_moves_gaps_to_the_busy_days() -> None:
    how, now = Gap(typical=12.0, shortest=0.0), np.full(MANY, 3.5)
    others = [np.full(MANY, value) for value in (0.5, 0.5, 0.0, 0.0)]
    plain = returns.gaps(how, *others, KEYS, now)
    found = returns.gaps(replace(how, weekly=0.8), *others, KEYS, now)
    np.testing.assert_allclose(clock(now + found, 0.0, 0.8), clock(now, 0.0, 0.8) + plain, atol=1e-8)
    busy = np.abs((now + found + 1.75) % 7.0 - 1.75) < 1.75  # within a quarter of a week of a whole one
    assert busy.mean() == pytest.approx(0.5 + 0.8 / math.pi, abs=0.06)
    assert np.array_equal(returns.gaps(replace(how, weekly=0.0), *others, KEYS, now), plain)


def test_no_rounding_brings_anybody_back_before_the_shortest_gap() -> None:
    others = [np.full(MANY, value) for value in (0.5, 0.5, 0.0, 0.0)]
    now = np.linspace(0.0, 60.0, MANY)
    for shortest in (0.0, 0.1):
        how = Gap(shape=0.05, shortest=shortest, daily=0.7)  # of such a shape many waits are next to nothing
        assert returns.gaps(how, *others, KEYS, now).min() >= shortest


def test_nobody_comes_back_before_the_shortest_gap() -> None:
    assert gaps(Gap(typical=1e-9, shortest=0.5)).min() >= 0.5


def test_gaps_stay_numbers_at_the_bounds_of_the_settings() -> None:
    for how in (Gap(typical=1e300, shape=0.05, person=10, memory=-20), Gap(typical=1e-9, shape=0.05, memory=20)):
        for z in (-8, 8):
            assert not np.isnan(gaps(how, 1, 1, 1, z)).any()


def test_memory_and_habit_are_leaky_averages() -> None:
    memory = np.array([0.5, 0.9])
    returns.average(memory, np.array([1.0, 0.4]), 0.2)
    np.testing.assert_allclose(memory, [0.6, 0.8])  # 0.5 + 0.2 * 0.5; 0.9 - 0.2 * 0.5
    returns.fade(memory[:, None], np.array([0.0, 30.0]), 30.0, 0.5)
    np.testing.assert_allclose(memory, [0.6, 0.5 + 0.3 / math.e])


def test_each_topic_fades_and_stays_single_precision() -> None:
    boredom = np.array([[1.0, 0.5], [2.0, 0.0]], np.float32)
    returns.fade(boredom, np.array([2.0, 4.0]), 2.0, 0.0)
    np.testing.assert_allclose(boredom, [[1 / math.e, 0.5 / math.e], [2 / math.e**2, 0]], rtol=1e-6)


@pytest.mark.parametrize("memory", [0.0, 0.35, 0.5, 1.0])
def test_so_many_churn_as_the_formula_says(memory: float) -> None:
    how = Churn(highest=0.4, threshold=0.35, width=0.1)
    chance = 0.4 / (1 + math.exp((memory - 0.35) / 0.1))
    share = returns.gone(how, np.full(MANY, memory), KEYS).mean()
    assert share == pytest.approx(chance, abs=4 * math.sqrt(chance * (1 - chance) / MANY) + 1e-9)


def test_nobody_churns_where_that_is_off_and_sharp_thresholds_hold() -> None:
    assert not returns.gone(Churn(enabled=False, highest=1), np.zeros(MANY), KEYS).any()
    sharp = Churn(highest=1, threshold=0.5, width=1e-9)
    assert returns.gone(sharp, np.array([0.4, 0.6]), KEYS[:2]).tolist() == [True, False]


def test_moods_keep_their_spread_and_what_fades_is_gone() -> None:
    mood = np.full(MANY, 5.0, np.float32)
    returns.sway(mood, np.full(MANY, 1e3), KEYS, 0.5, 0.7)
    assert abs(mood.mean()) < 0.02
    assert mood.std() == pytest.approx(0.7, rel=0.02)
    kept = np.array([0.3], np.float32)
    returns.sway(kept, np.array([0.5]), KEYS[:1], 0.5, 0.7)
    keep = math.exp(-1)
    assert kept[0] == pytest.approx(0.3 * keep + 0.7 * math.sqrt(1 - keep**2) * draws.normal(KEYS[0], 0), rel=1e-6)


def test_taste_wanders_as_the_formula_says() -> None:
    taste, anchor = np.array([[3.0, 0.0, 1.0]], np.float32), np.array([[0.0, 2.0, 0.0]], np.float32)
    drawn = np.zeros(3)
    draws.normals(KEYS[0], drawn)
    moved = taste[0] + (1 - math.exp(-4 / 10)) * (anchor[0] - taste[0]) + 0.1 * 2 * 2 * drawn / math.sqrt(3)
    moved *= 2 / np.linalg.norm(moved)  # the anchor's length
    returns.wander(taste, anchor, np.array([4.0]), KEYS[:1], 10.0, 0.1)
    np.testing.assert_allclose(taste[0], moved, rtol=1e-5)
    assert anchor.tolist() == [[0, 2, 0]]


def test_a_long_gap_without_noise_leads_back_to_the_anchor() -> None:
    taste, anchor = np.array([[3.0, 0.0]], np.float32), np.array([[0.0, 2.0]], np.float32)
    returns.wander(taste, anchor, np.array([1e4]), KEYS[:1], 10.0, 0.0)
    np.testing.assert_allclose(taste, anchor, atol=1e-6)


def test_a_session_begins_with_a_share_of_what_is_remembered() -> None:
    begun = returns.first_satisfaction(np.array([0.0, 0.6, 1.0]), 0.6, 0.3)
    np.testing.assert_allclose(begun, [0.42, 0.6, 0.72], rtol=1e-6)
    assert begun.dtype == np.float32


def test_people_differ_by_seed_and_life() -> None:
    seeds, lives = np.repeat(np.arange(MANY // 2, dtype=np.uint64), 2), np.tile(np.arange(2), MANY // 2)
    found = returns.traits(seeds, lives)
    assert abs(found.mean()) < 0.03
    assert found.std() == pytest.approx(1, rel=0.02)
    assert abs(np.corrcoef(found[::2], found[1::2])[0, 1]) < 0.04


def test_compiled_functions_equal_their_plain_python(agree: Any) -> None:
    keys, time = KEYS[:6], np.linspace(0.0, 5.0, 6)
    draw = np.random.default_rng(0)
    agree(returns.average, draw.random(6), draw.random(6), 0.3)
    agree(returns.fade, draw.random((6, 3)), time, 2.0, 0.5)
    agree(returns._gone, draw.random(6), keys, 0.5, 0.4, 0.1)
    agree(returns._gaps, *draw.random((4, 6)), keys, (0.5, 1.0, 2.0, 0.5), (0.1, 0.8, 0.02))
    agree(returns.sway, draw.random(6).astype(np.float32), time, keys, 0.5, 0.3)
    agree(returns.wander, *draw.random((2, 6, 4)).astype(np.float32), time, keys, 10.0, 0.1)
    agree(returns.first_satisfaction, draw.random(6), 0.6, 0.3)
