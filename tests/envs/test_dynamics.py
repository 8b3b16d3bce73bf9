"""Drift, boredom, fatigue, satisfaction, patience: each against numbers worked out by hand, on and off."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lerl.envs import draws, dynamics
from lerl.envs.config import Boredom, Drift, Fatigue, Mood, Patience, Satisfaction, Similarity, SimulatorConfig
from lerl.envs.dynamics import Directions, rates
from lerl.envs.kernels import apply_boredom

HALVING = 1 / math.log(2)  # a time constant with which exp(-1 / time_constant) is one half
STILL = Drift(revert=0, pull=0, noise=0, shift_probability=0)
UNITS = np.eye(2, dtype=np.float32)  # two items, or two other users, one along each axis


def drift(
    how: Drift,
    taste: list[float],
    anchor: list[float],
    slate: tuple[int, ...] = (0,),
    clicks: tuple[float, ...] = (0,),
    others: Any = UNITS,
) -> tuple[list[float], list[float]]:
    """Taste and anchor of one user after one step."""
    moved, home = np.array([taste], np.float32), np.array([anchor], np.float32)
    streams = np.array([[1, 2, 3]], np.uint64)
    strengths = rates(SimulatorConfig(drift=how)).drift
    if strengths.enabled:
        shown, clicked = np.array([slate], np.int32), np.array([clicks], np.float32)
        dynamics.drift(moved, home, shown, clicked, Directions(UNITS, others), streams, strengths)
    return moved[0].tolist(), home[0].tolist()


# drift


def test_taste_returns_to_its_anchor_and_keeps_its_length():
    # (0, 2) + 0.5 * ((2, 0) - (0, 2)) = (1, 1), of length sqrt 2; scaled to length 2 that is (sqrt 2, sqrt 2)
    taste, anchor = drift(replace(STILL, revert=0.5), [0, 2], [2, 0])
    assert taste == pytest.approx([math.sqrt(2), math.sqrt(2)])
    assert anchor == [2, 0]


def test_taste_follows_the_mean_of_what_was_clicked():
    # One click on (0, 1): (2, 0) + 0.5 * 2 * (0, 1) = (2, 1), of length sqrt 5
    pull = replace(STILL, pull=0.5)
    one = pytest.approx([4 / math.sqrt(5), 2 / math.sqrt(5)])
    assert drift(pull, [2, 0], [2, 0], (1,), (1,))[0] == one
    assert drift(pull, [2, 0], [2, 0], (0, 1), (0, 1))[0] == one  # the skipped item beside it does not count
    # Both clicked, mean (0.5, 0.5): (2, 0) + 0.5 * 2 * (0.5, 0.5) = (2.5, 0.5), of length sqrt 6.5
    both = drift(pull, [2, 0], [2, 0], (1, 0), (1, 1))[0]
    assert both == pytest.approx([5 / math.sqrt(6.5), 1 / math.sqrt(6.5)])


@pytest.mark.parametrize(("slate", "clicks"), [((1,), (0,)), ((-1,), (-1,))])
def test_what_was_not_clicked_pulls_nobody(slate: tuple[int, ...], clicks: tuple[float, ...]):
    assert drift(replace(STILL, pull=0.5), [2, 0], [2, 0], slate, clicks)[0] == [2, 0]


def test_taste_wanders_by_its_own_stream():
    # noise * length / sqrt(dimensions) = 0.5 * 2 / sqrt 2 per coordinate, times its draw; then back to length 2
    z = [draws.normal(np.uint64(3), j) for j in range(2)]
    raw = [2 + z[0] / math.sqrt(2), z[1] / math.sqrt(2)]
    expected = [2 * x / math.hypot(*raw) for x in raw]
    assert drift(replace(STILL, noise=0.5), [2, 0], [2, 0])[0] == pytest.approx(expected)


def test_the_anchor_shifts_towards_another_users_taste():
    # The only other user likes (0, 1). Half way: 0.5 * (2, 0) + 0.5 * 2 * (0, 1) = (1, 1), scaled to length 2
    other = UNITS[1:]
    taste, anchor = drift(replace(STILL, shift_probability=1, shift_size=0.5), [2, 0], [2, 0], others=other)
    assert anchor == pytest.approx([math.sqrt(2), math.sqrt(2)])
    assert taste == [2, 0]
    assert drift(replace(STILL, shift_probability=1, shift_size=1), [2, 0], [2, 0], others=other)[1] == [0, 2]
    assert drift(replace(STILL, shift_probability=0, shift_size=1), [2, 0], [2, 0], others=other)[1] == [2, 0]


def test_without_drift_nothing_moves():
    wild = Drift(enabled=False, revert=1, pull=1, noise=1, shift_probability=1)
    assert drift(wild, [0, 2], [2, 0], (1,), (1,)) == ([0, 2], [2, 0])


def test_who_likes_nothing_goes_on_liking_nothing():
    assert drift(Drift(noise=1), [0, 0], [0, 0], (1,), (1,)) == ([0, 0], [0, 0])


VECTOR = st.lists(st.floats(-3, 3, width=32), min_size=2, max_size=2)
SHARE = st.floats(0, 1)


@given(VECTOR, VECTOR, SHARE, SHARE, st.floats(0, 2), SHARE, SHARE)
def test_only_the_direction_of_a_taste_drifts(
    taste: list[float], anchor: list[float], revert: float, pull: float, noise: float, chance: float, size: float
):
    how = Drift(revert=revert, pull=pull, noise=noise, shift_probability=chance, shift_size=size)
    moved, home = drift(how, taste, anchor, (0, 1), (1, 0))
    length = math.hypot(*anchor)
    assert math.hypot(*home) == pytest.approx(length, rel=1e-4, abs=1e-6)
    assert math.hypot(*moved) == pytest.approx(length, rel=1e-4, abs=1e-6) or math.hypot(*moved) < 1e-6


# boredom


def bored(how: Boredom, boredom: list[float], slate: list[int]) -> list[float]:
    """Boredom of one user after a slate of items 0 (topic 0) and 1 (topics 0 and 1)."""
    levels = np.array([boredom], np.float32)
    strengths = rates(SimulatorConfig(boredom=how, slate_size=len(slate))).boredom
    if strengths.enabled:
        dynamics.bore(levels, np.array([slate], np.int32), np.array([[0, -1], [0, 1]], np.int32), strengths)
    return levels[0].tolist()


def test_a_slate_bores_as_its_items_do_one_after_another():
    # Four steps of one item, and one slate of four: what the last item meets, and what is left after it
    items, topics = np.array([[1, 0, -1, 0]], np.int32), np.array([[0, -1], [0, 1]], np.int32)
    slate = rates(SimulatorConfig(boredom=Boredom(weight=2.0, time_constant=3.0), slate_size=4)).boredom
    step = rates(SimulatorConfig(boredom=Boredom(weight=0.5, time_constant=12.0), slate_size=1)).boredom
    none, levels, level = np.zeros(1, np.float32), np.array([[1, 0.5]], np.float32), np.array([[4, 2]], np.float32)
    together, singly = np.full((1, 4), 0.5), np.full((1, 4), 0.5)
    apply_boredom(together, items, topics, levels, none, none, slate, 0.0)
    dynamics.bore(levels, items, topics, slate)
    for s in range(4):
        apply_boredom(singly[:, s : s + 1], items[:, s : s + 1], topics, level, none, none, step, 0.0)
        dynamics.bore(level, items[:, s : s + 1], topics, step)
    assert together == pytest.approx(singly, abs=1e-6)
    assert levels * 4 == pytest.approx(level, rel=1e-6)
    assert together[0, 3] < together[0, 1] < 0.5


def test_boredom_may_wait_until_the_slate_is_over():
    how = rates(SimulatorConfig(boredom=Boredom(within_slate=False), slate_size=3)).boredom
    chance, topics, none = np.full((1, 3), 0.5), np.zeros((1, 1), np.int32), np.zeros(1, np.float32)
    apply_boredom(chance, np.zeros((1, 3), np.int32), topics, none[None], none, none, how, 0.0)
    assert (chance == 0.5).all()


def test_a_topic_bores_by_its_share_of_the_slate():
    how = Boredom(time_constant=HALVING, within_slate=False)
    # Two of four slots hold topic 0 and one of them topic 1 too: 0.5 * (1 + 2/4) and 0.5 * (0 + 1/4)
    assert bored(how, [1, 0], [0, 1, -1, -1]) == pytest.approx([0.75, 0.125])


def test_boredom_fades_when_a_topic_is_not_shown():
    assert bored(Boredom(time_constant=HALVING), [1, 0.5], [-1]) == pytest.approx([0.5, 0.25])
    assert bored(Boredom(), [1, 0], [-1]) == pytest.approx([math.exp(-1 / 8), 0])


def test_without_boredom_nothing_bores():
    assert bored(Boredom(enabled=False), [0, 0], [0, 1]) == [0, 0]


@given(
    st.floats(0.01, 100),
    st.lists(st.floats(0, 10, width=32), min_size=2, max_size=2),
    st.lists(st.integers(-1, 1), min_size=1),
)
def test_boredom_is_never_negative_and_fades_unless_fed(time_constant: float, before: list[float], slate: list[int]):
    after = bored(Boredom(time_constant=time_constant), before, slate)
    assert min(after) >= 0
    if 1 not in slate:
        assert after[1] <= before[1]


# fatigue


def test_fatigue_rises_to_one():
    fatigue, levels = np.zeros(1, np.float32), []
    for _ in range(3):
        dynamics.rise(fatigue, rates(SimulatorConfig(fatigue=Fatigue(time_constant=HALVING))).fatigue.share)
        levels.append(float(fatigue[0]))
    assert levels == pytest.approx([0.5, 0.75, 0.875])


def test_without_fatigue_nobody_tires():
    assert not rates(SimulatorConfig(fatigue=Fatigue(enabled=False))).fatigue.enabled


# satisfaction


def test_satisfaction_moves_by_its_rate_towards_what_was_felt():
    satisfaction = np.array([0.6, 0.6], np.float32)
    dynamics.follow(satisfaction, np.array([1.0, 0.2]), 0.25)
    assert satisfaction.tolist() == pytest.approx([0.7, 0.5])  # 0.6 + 0.25 * 0.4 and 0.6 - 0.25 * 0.4


def test_without_satisfaction_nothing_is_felt():
    assert not rates(SimulatorConfig(satisfaction=Satisfaction(enabled=False))).satisfaction.enabled


@given(st.floats(0, 1, width=32), st.lists(st.floats(0, 1), min_size=1, max_size=20), SHARE)
def test_satisfaction_stays_between_none_and_full(start: float, felt: list[float], rate: float):
    satisfaction = np.array([start], np.float32)
    for feeling in felt:
        dynamics.follow(satisfaction, np.array([feeling]), rate)
        assert 0 <= satisfaction[0] <= 1


# patience


def test_patience_is_log_normal_and_drawn_per_session():
    seeds, sessions = np.full(2000, 9, np.uint64), np.arange(2000)
    drawn = dynamics.draw_patience(Patience(spread=0.3), seeds, sessions)
    key = np.uint64(draws.stream(np.uint64(9), 1, 0, draws.PATIENCE))
    assert drawn[1] == pytest.approx(math.exp(0.3 * draws.normal(key, 0)))
    assert np.log(drawn).mean() == pytest.approx(0, abs=0.02)  # standard error 0.007
    assert np.log(drawn).std() == pytest.approx(0.3, abs=0.02)


@pytest.mark.parametrize("how", [Patience(enabled=False), Patience(spread=0)])
def test_without_patience_everybody_is_alike(how: Patience):
    assert dynamics.draw_patience(how, np.arange(3, dtype=np.uint64), np.zeros(3, np.int64)).tolist() == [1, 1, 1]


# all of them


@pytest.mark.parametrize(
    ("mechanism", "name", "value", "allowed"),
    [
        (Drift, "revert", 1.1, r"drift.revert must be a number from 0 to 1, given 1.1"),
        (Drift, "pull", -0.1, r"drift.pull must be a number from 0 to 1, given -0.1"),
        (Drift, "noise", -1, r"drift.noise must be a number from 0 to 1,000,000, given -1"),
        (Drift, "noise", math.inf, r"drift.noise must be a number from 0 to 1,000,000, given inf"),
        (Drift, "shift_probability", 2, r"drift.shift_probability must be a number from 0 to 1, given 2"),
        (Drift, "shift_size", math.nan, r"drift.shift_size must be a number from 0 to 1, given nan"),
        (Boredom, "weight", -1, "boredom.weight must be a number of at least 0, given -1"),
        (Boredom, "time_constant", 0, "boredom.time_constant must be a number of at least 1e-09, given 0"),
        (Fatigue, "weight", -21, "fatigue.weight must be a number of at least -20, given -21"),
        (Mood, "spread", -1, r"mood.spread must be a number from 0 to 1,000,000, given -1"),
        (Similarity, "weight", 1.5, r"similarity.weight must be a number from 0 to 1, given 1.5"),
        (Mood, "time_constant", 0, "mood.time_constant must be a number of at least 1e-09, given 0"),
        (Fatigue, "time_constant", 0, "fatigue.time_constant must be a number of at least 1e-09, given 0"),
        (Satisfaction, "rate", 1.5, r"satisfaction.rate must be a number from 0 to 1, given 1.5"),
        (Satisfaction, "initial", -0.5, r"satisfaction.initial must be a number from 0 to 1, given -0.5"),
        (Patience, "spread", -1, r"patience.spread must be a number from 0 to 10, given -1"),
    ],
)
def test_strengths_out_of_range_are_refused(mechanism: Any, name: str, value: float, allowed: str):
    with pytest.raises(ValueError, match=allowed):
        mechanism(**{name: value})


def test_a_mood_stays_as_wide_as_it_is_and_fades():
    mood = Mood(spread=0.5, time_constant=4.0)
    keys = np.random.default_rng(0).integers(0, 2**63, (41, 20_000)).astype(np.uint64)
    strengths = rates(SimulatorConfig(mood=mood)).mood
    first = dynamics.draw_moods(mood, keys[0])
    now = first.copy()
    for step in range(1, 41):
        dynamics.sway(now, keys[step], 0, strengths.keep, strengths.spread)
        if step == 4:
            assert np.corrcoef(first, now)[0, 1] == pytest.approx(np.exp(-1), abs=0.02)
    assert (first.std(), now.std()) == (pytest.approx(0.5, abs=0.01), pytest.approx(0.5, abs=0.01))
    assert not dynamics.draw_moods(Mood(enabled=False, spread=0.5), keys[0]).any()
    assert not dynamics.draw_moods(Mood(), keys[0]).any()


def test_compiled_mechanisms_equal_their_plain_python(agree: Any):
    rng = np.random.default_rng(0)
    taste, anchor = rng.normal(size=(2, 3, 2)).astype(np.float32)
    slates = np.array([[0, 1], [1, -1], [-1, -1]], np.int32)
    clicks = np.array([[1, 1], [1, -1], [-1, -1]], np.float32)
    streams = rng.integers(2**63, size=(3, 3)).astype(np.uint64)
    for shift in (0.0, 1.0):
        strengths = dynamics.DriftRates(True, 0.1, 0.2, 0.3, shift, 0.5)
        agree(dynamics.drift, taste, anchor, slates, clicks, Directions(UNITS, UNITS), streams, strengths)
    agree(dynamics._rescale, np.array([3, 4], np.float32), 5.0, 2.0)
    agree(dynamics._length, np.array([3, 4], np.float32))
    agree(dynamics._lengths, rng.normal(size=(6, 3)).astype(np.float32))
    for within in (True, False):
        how = dynamics.BoredomRates(True, 1.0, 0.5, within)
        agree(dynamics.fading, 3, how)
        agree(dynamics.bore, rng.random((3, 2)).astype(np.float32), slates, np.array([[0, -1], [0, 1]], np.int32), how)
    agree(dynamics._patience, np.arange(3, dtype=np.uint64), np.arange(3), 0.3)


# similarity


def test_items_alike_in_a_slate_take_clicks_from_each_other():
    # cosines to (itself, its copy in direction, an orthogonal item): 1, 1, 0 for the first two, and 0, 0, 1
    items = np.array([[1, 0], [1, 0], [0, 1]], np.float32)
    chance = np.array([[0.5, 0.1, 0.5], [0.5, 0.0, 0.0]])
    dynamics.resemble(chance, np.array([[0, 1, 2], [2, -1, -1]], np.int32), items, 0.3)
    assert np.allclose(chance, [[0.5 - 0.3 * 2 / 3, 0.0, 0.5 - 0.3 / 3], [0.5 - 0.3, 0.0, 0.0]])
