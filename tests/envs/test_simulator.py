"""The simulator: one step by hand, each mechanism alone, and the same lives however many users run side by side."""

import copy
import dataclasses
import functools
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lerl.envs import draws, dynamics, kernels, simulator
from lerl.envs.catalog import Axis
from lerl.envs.config import (
    Boredom,
    Drift,
    Fatigue,
    Leave,
    Mood,
    Patience,
    Satisfaction,
    Similarity,
    SimulatorConfig,
    StepBudget,
)
from lerl.envs.kernels import STAR_STEPS, Users
from lerl.envs.population import Kinds, Population
from lerl.envs.simulator import UserSimulator
from lerl.envs.state import Outcome, State
from lerl.envs.synthetic import synthetic_population

LOGS = Path(os.environ.get("LERL_DATA", Path(__file__).parents[2] / "../shared/data")) / "ml1m"
HALVING = 1 / math.log(2)  # a time constant with which exp(-1 / time_constant) is one half
QUIET: dict[str, Any] = {
    "topics": "categories",
    "drift": Drift(enabled=False),
    "boredom": Boredom(enabled=False),
    "fatigue": Fatigue(enabled=False),
    "satisfaction": Satisfaction(enabled=False),
    "patience": Patience(enabled=False),
    "leave": Leave("never"),
}


def quiet(population: Population, **changed: Any) -> UserSimulator:
    """Users in whom nothing goes on but what is switched on here."""
    return UserSimulator(population, SimulatorConfig(**{**QUIET, **changed}))


def begin(users: UserSimulator, seeds: Any = (0,), session: int = 0) -> State:
    return users.start(np.array(seeds, np.uint64), np.full(len(seeds), session, np.int64))


def show(users: UserSimulator, state: State, *slates: list[int]) -> Outcome:
    return users.step(state, np.array(slates, np.int32))


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def arrays(value: State | Outcome) -> dict[str, Any]:
    """Every array of a state or an outcome by name."""
    found = {}
    for field in dataclasses.fields(value):
        part = getattr(value, field.name)
        found |= (
            {f"{field.name}.{key}": array for key, array in part.items()}
            if isinstance(part, dict)
            else {field.name: part}
        )
    return found


def differing(one: State | Outcome, other: State | Outcome) -> set[str]:
    second = arrays(other)
    return {name for name, array in arrays(one).items() if not np.array_equal(array, second[name])}


# one user, by hand


def test_two_steps_by_hand(build: Any):
    population = build([[1, 0], [0, 1], [1, 1]], [[2, -1]], categories=[[1, 0], [0, 1], [1, 1]])
    users = quiet(
        population,
        slate_size=2,
        boredom=Boredom(weight=1.0, time_constant=HALVING),
        fatigue=Fatigue(weight=0.4, time_constant=HALVING),
        satisfaction=Satisfaction(rate=0.5, initial=0.8),
    )
    state = begin(users)
    first = show(users, state, [0, 2])
    # Item 2 is of both topics, and topic 0 was in the slot before: half a slate, faded by the root of a half
    later = sigmoid(1 - 1.0 * (0.5 * 0.5**0.5) / 2)
    assert first.chance[0] == pytest.approx([sigmoid(2), later])
    felt = (sigmoid(2) + later) / 2
    assert state.satisfaction[0] == pytest.approx(0.8 + 0.5 * (felt - 0.8))
    # After the slate, the first slot's half has faded by a half, the second's by the root of it
    assert state.boredom[0] == pytest.approx([0.5 * 0.5 + 0.5 * 0.5**0.5, 0.5 * 0.5**0.5])
    assert state.fatigue[0] == pytest.approx(0.5)
    second = show(users, state, [1, 1])
    assert second.slates.tolist() == [[1, -1]]
    assert second.chance[0] == pytest.approx([sigmoid(-1 - 1.0 * 0.5 * 0.5**0.5 - 0.4 * 0.5), 0])
    felt_then = second.chance[0, 0] / 2
    assert state.satisfaction[0] == pytest.approx(0.25 * 0.8 + 0.25 * felt + 0.5 * felt_then)
    assert state.shown[0, :4].tolist() == [0, 2, 1, -1]
    assert state.exposure.tolist() == [[2, 2]]


def test_an_item_of_two_topics_bores_by_their_mean(build: Any):
    users = quiet(build([[0], [0]], [[0]], categories=[[1, 0], [1, 1]]), boredom=Boredom(time_constant=HALVING))
    state = begin(users)
    show(users, state, [0])
    assert show(users, state, [1]).chance[0, 0] == pytest.approx(sigmoid(-(0.5 + 0) / 2))


@pytest.mark.parametrize("seed", range(5))
def test_a_click_is_a_coin_of_the_users_own(build: Any, seed: int):
    users = quiet(build([[0], [1], [-1]], [[1]]), slate_size=3)
    state = begin(users, [seed], session=4)
    outcome = show(users, state, [0, 1, 2])
    coins = np.uint64(draws.stream(np.uint64(seed), 4, 0, draws.CLICK))
    clicks = [float(draws.uniform(coins, slot) < sigmoid(x)) for slot, x in enumerate((0, 1, -1))]
    assert outcome.feedback[0].tolist() == clicks
    assert outcome.reward[0] == pytest.approx(sum(clicks) / 3)
    assert state.liked[0].tolist() == clicks


# each mechanism alone

SHIFTING = Drift(shift_probability=1.0)


@pytest.mark.parametrize(
    ("name", "mechanism", "moved"),
    [
        ("drift", SHIFTING, {"anchor", "response.taste"}),
        ("boredom", Boredom(), {"boredom"}),
        ("fatigue", Fatigue(), {"fatigue"}),
        ("satisfaction", Satisfaction(), {"satisfaction"}),
        ("patience", Patience(), {"patience"}),
    ],
)
def test_a_mechanism_moves_its_own_part_and_nothing_else(small: Population, name: str, mechanism: Any, moved: set[str]):
    without, alone = (quiet(small, leave=Leave(), **extra) for extra in ({}, {name: mechanism}))
    states = begin(without, range(20)), begin(alone, range(20))
    slates = np.random.default_rng(0).permutation(60)[:4, None]
    outcomes = [
        [show(users, state, *[slate] * 20) for slate in slates]
        for users, state in zip((without, alone), states, strict=True)
    ]
    clicks_and_leaving = {"feedback", "liked", "active"}
    assert differing(*states) - clicks_and_leaving == moved
    before, after = (np.stack([outcome.chance for outcome in run]) for run in outcomes)
    if name in ("satisfaction", "patience"):
        leaving = [np.stack([outcome.leave_chance for outcome in run]) for run in outcomes]
        assert np.array_equal(before, after)
        assert (leaving[0] != leaving[1]).all()
    else:
        assert np.array_equal(before[0], after[0])  # the first slate is met fresh
        assert (before[1:] != after[1:]).all() if name == "drift" else (before[3] > after[3]).any()
    if name == "fatigue":
        assert (before[1:] > after[1:]).all()


def test_the_anchor_shifts_when_and_where_its_own_streams_say(build: Any):
    """Four users of as many directions: every shift goes all the way to one of them, with chance one half."""
    population = build([[1, 0], [0, 1]], [[2, 0], [0, 2], [-2, 0], [0, -2]])
    users = quiet(population, drift=Drift(revert=0, pull=0, noise=0, shift_probability=0.5, shift_size=1))
    state = begin(users, [5])
    home, shifts = state.anchor[0].tolist(), 0
    for step in range(20):
        when, where = (
            draws.uniform(np.uint64(draws.stream(np.uint64(5), 0, step, purpose)), 0)
            for purpose in (draws.SHIFT, draws.SHIFT_TARGET)
        )
        if when < 0.5:
            home, shifts = population.truth.user_vectors[int(4 * where)].tolist(), shifts + 1
        show(users, state, [-1])
        assert state.anchor[0].tolist() == home
    assert 5 <= shifts <= 15


def test_boredom_is_for_the_topic_that_was_shown(build: Any):
    """Items 0 and 1 share a category, items 0 and 2 a direction: which of them bores after 0 is the switch's doing."""
    population = build([[1, 0], [0, 1], [2, 0]], [[1, 1]], categories=[[1, 0], [1, 0], [0, 1]])
    fresh = [sigmoid(1), sigmoid(2)]
    chances = {}
    for topics in ("categories", "hidden"):
        users = quiet(population, topics=topics, topic_count=2, boredom=Boredom(time_constant=HALVING), repeats=True)
        state = begin(users)
        show(users, state, [0])
        chances[topics] = [users.chances(state, np.array([[item]], np.int32))[0, 0] for item in (1, 2)]
    assert chances["categories"] == pytest.approx([sigmoid(1 - 0.5), fresh[1]])
    assert chances["hidden"] == pytest.approx([fresh[0], sigmoid(2 - 0.5)])


@pytest.mark.parametrize("rule", ["satisfaction", "window", "budget"])
def test_a_leave_rule_decides_leaving_and_nothing_else(small: Population, rule: str):
    runs = []
    for name in ("never", rule):
        users = UserSimulator(small, SimulatorConfig(topic_count=3, max_steps=30, leave=Leave(name)))
        state = begin(users, range(30))
        items = np.argsort(users.topics[:, 0], kind="stable")[:30]  # one topic after the other
        outcomes = [show(users, state, *[[item]] * 30) for item in items]
        runs.append((state, np.stack([outcome.terminated for outcome in outcomes])))
    (stayed, nobody), (went, somebody) = runs
    assert differing(stayed, went) <= {"active", "spent"}
    assert not nobody.any()
    assert somebody.any(axis=0).mean() > 0.5


def test_who_leaves_at_the_last_step_was_not_cut(build: Any):
    population = build([[0]] * 4, [[0]], categories=[[1]] * 4)
    cut = quiet(population, max_steps=3)
    state = begin(cut)
    ends = [
        (bool(outcome.terminated[0]), bool(outcome.truncated[0]))
        for outcome in (show(cut, state, [i]) for i in range(3))
    ]
    assert ends == [(False, False), (False, False), (False, True)]
    assert not state.active[0]
    left = quiet(population, max_steps=3, leave=Leave("budget", budget=StepBudget(3, repetition_cost=0)))
    state = begin(left)
    outcomes = [show(left, state, [i]) for i in range(3)]
    assert [bool(outcome.terminated[0]) for outcome in outcomes] == [False, False, True]
    assert not outcomes[2].truncated[0]


# empty slots


def test_a_copy_leaves_its_slot_empty(build: Any):
    users = quiet(build([[0]] * 4, [[0]]), slate_size=3)
    state = begin(users)
    assert show(users, state, [1, 0, 1]).slates.tolist() == [[1, 0, -1]]
    again = show(users, state, [1, 2, 0])
    assert again.slates.tolist() == [[-1, 2, -1]]
    assert again.feedback[0, [0, 2]].tolist() == [-1, -1]
    assert again.chance[0, [0, 2]].tolist() == [0, 0]
    assert again.reward[0] == float(again.feedback[0, 1]) / 3
    assert state.exposure.tolist() == [[1, 1, 1, 0]]


def test_repeats_allow_an_item_again_but_not_twice_in_a_slate(build: Any):
    users = quiet(build([[0]] * 4, [[0]]), slate_size=3, repeats=True)
    state = begin(users)
    show(users, state, [1, 0, 2])
    assert show(users, state, [1, 1, 0]).slates.tolist() == [[1, -1, 0]]


# ratings


def test_a_rating_of_four_or_more_is_the_click_on_the_same_coin(small: Population):
    """The two kinds of feedback live the same sessions, drift included, which follows clicks."""
    clicking, rating = (
        UserSimulator(small, SimulatorConfig(slate_size=2, topic_count=4, feedback=kind))
        for kind in ("click", "rating")
    )
    states = begin(clicking, range(50)), begin(rating, range(50))
    order = np.random.default_rng(1).permutation(60).reshape(30, 1, 2)
    stars = set()
    for slates in order:
        clicks, ratings = (
            users.step(state, np.repeat(slates, 50, axis=0))
            for users, state in zip((clicking, rating), states, strict=True)
        )
        assert np.array_equal(clicks.feedback == 1, ratings.feedback >= 0.75)
        assert differing(clicks, ratings) <= {"feedback", "reward"}
        stars |= set(ratings.feedback.ravel().tolist())
    assert stars == {0, 0.25, 0.5, 0.75, 1}
    assert differing(*states) == {"feedback", "liked"}


def test_ratings_are_spread_as_in_movielens(build: Any):
    # An item that 57 % of MovieLens-1M's ratings would like: its log-odds of a click are ln(0.569 / 0.431) = 0.278.
    users = quiet(build([[0.278]], [[1]]), feedback="rating")
    outcome = show(users, begin(users, range(20_000)), *[[0]] * 20_000)
    shares = [(outcome.feedback == stars / 4).mean() for stars in range(5)]
    assert shares == pytest.approx([0.059, 0.112, 0.260, 0.348, 0.221], abs=0.015)


# several kinds of feedback


def with_kinds(
    population: Population, weights: list[float], slopes: list[float], offsets: list[list[float]]
) -> Population:
    """The population with kinds "click", "kind 1", "kind 2" and so on."""
    names = ("click", *(f"kind {number}" for number in range(1, len(weights))))
    arrays = (np.array(part, np.float32) for part in (weights, slopes, offsets))
    return dataclasses.replace(population, kinds=Kinds(names, *arrays))


def test_feedback_is_the_weighted_mean_of_the_kinds_coins(build: Any):
    """Log-odds of 20 or -20 leave coins no choice: weights 1, 2 and 5 of clicked, liked and shared items, 8 in all."""
    population = with_kinds(
        build([[20], [-20], [20], [-20]], [[1]]), [1, 2, 5], [0, 1], [[20, 20, -20, -20], [0, 0, 0, 40]]
    )
    users = quiet(population, slate_size=4, feedback="weighted", repeats=True)
    outcome = show(users, begin(users), [0, 1, 2, 3])
    assert outcome.feedback.tolist() == [[1.0, 2 / 8, 6 / 8, 5 / 8]]
    assert outcome.reward.tolist() == [pytest.approx((8 + 2 + 6 + 5) / 32)]
    assert show(users, begin(users), [0, 0, 1, -1]).feedback.tolist() == [[1.0, -1.0, 2 / 8, -1.0]]


def test_a_kind_s_chance_follows_from_the_click_s_log_odds(build: Any):
    """Log-odds of a click 0.5; of the kind 2 * 0.5 - 1.5 = -0.5. Both coins fall apart: neither tells of the other."""
    users = quiet(with_kinds(build([[0.5]], [[1]]), [1, 3], [2], [[-1.5]]), feedback="weighted")
    feedback = show(users, begin(users, range(20_000)), *[[0]] * 20_000).feedback.ravel()
    both, kind, click = ((feedback == part).mean() for part in (1.0, 0.75, 0.25))
    assert both + click == pytest.approx(sigmoid(0.5), abs=0.015)
    assert both + kind == pytest.approx(sigmoid(-0.5), abs=0.015)
    assert both == pytest.approx(sigmoid(0.5) * sigmoid(-0.5), abs=0.015)
    worth = users.expected_reward(np.zeros((1, 1), np.int32), np.full((1, 1), sigmoid(0.5)))
    assert worth[0, 0] == pytest.approx((sigmoid(0.5) + 3 * sigmoid(-0.5)) / 4)
    assert feedback.mean() == pytest.approx(worth[0, 0], abs=0.015)


def test_weighted_users_live_the_lives_of_clicking_ones(small: Population):
    """Clicks, drift, boredom, satisfaction and leaving stay as they are to the bit; only what is told of it differs."""
    draw = np.random.default_rng(5)
    population = with_kinds(small, [1, 0.5, 0.2], [0.8, -0.5], draw.normal(-1, 1, (2, 60)).tolist())
    sides = [
        UserSimulator(people, SimulatorConfig(slate_size=2, topic_count=4, feedback=feedback))
        for people, feedback in ((small, "click"), (population, "click"), (population, "weighted"))
    ]
    states = [begin(users, range(50)) for users in sides]
    for slates in draw.permutation(60).reshape(30, 1, 2):
        shown = np.repeat(slates, 50, axis=0)
        one, two, three = (users.step(state, shown) for users, state in zip(sides, states, strict=True))
        assert differing(one, two) == set()
        assert differing(two, three) <= {"feedback", "reward"}
        clicked = three.feedback > 0.5  # with a click at least 1 of 1.7, without one at most 0.7
        assert np.array_equal(clicked, two.feedback == 1)
        assert three.feedback.max() <= 1
    assert differing(states[0], states[1]) == set()
    assert differing(states[1], states[2]) == {"feedback", "liked"}


def test_weighted_feedback_needs_kinds(small: Population):
    with pytest.raises(
        ValueError, match=r"'weighted', which needs several kinds.*--feedback 'long_view=1,is_like=0.5'`"
    ):
        UserSimulator(small, SimulatorConfig(feedback="weighted", topic_count=3))


def test_star_steps_are_those_of_the_real_ratings():
    if not (LOGS / "ratings.parquet").exists():
        pytest.skip(f"no MovieLens ratings in {LOGS}; set LERL_DATA to the folder that holds ml1m/ratings.parquet")
    stars = pl.read_parquet(LOGS / "ratings.parquet")["rating"].to_numpy()
    odds = {least: math.log((stars >= least).mean() / (stars < least).mean()) for least in (2, 3, 4, 5)}
    assert pytest.approx([odds[4] - odds[least] for least in (2, 3, 5)], abs=0.05) == list(STAR_STEPS)


# randomness


@functools.cache
def crowd(rule: str, feedback: str) -> UserSimulator:
    population = synthetic_population(users=40, items=60, categories=6, dim=4)
    return UserSimulator(population, SimulatorConfig(slate_size=3, topic_count=5, feedback=feedback, leave=Leave(rule)))


@pytest.mark.parametrize("rule", ["satisfaction", "window", "budget"])
@pytest.mark.parametrize("feedback", ["click", "rating"])
def test_who_runs_beside_a_user_changes_no_bit(rule: str, feedback: str):
    users = crowd(rule, feedback)
    slates = np.random.default_rng(0).integers(60, size=(15, 256, 3))
    everybody = begin(users, range(256))
    outcomes = [users.step(everybody, slate) for slate in slates]
    for rows in (np.array([200]), np.arange(100, 107)):
        few = begin(users, rows)
        for slate, outcome in zip(slates, outcomes, strict=True):
            alone = users.step(few, slate[rows])
            assert not differing(alone, Outcome(**{name: array[rows] for name, array in arrays(outcome).items()}))
        assert not differing(few, everybody.take(rows))


def test_sessions_and_seeds_differ_and_repeat():
    users = crowd("satisfaction", "click")
    state = begin(users, range(200))
    assert not differing(state, begin(users, range(200)))
    for other in (begin(users, range(200), session=1), begin(users, range(1000, 1200))):
        assert (state.user != other.user).mean() > 0.9
        assert (state.patience != other.patience).all()


@pytest.mark.parametrize("split", ["train", "evaluation", "all"])
def test_users_come_from_the_split_alone_and_all_of_them_do(small: Population, split: str):
    users = UserSimulator(small, SimulatorConfig(topic_count=3), split)
    assert set(begin(users, range(1000)).user.tolist()) == set(small.users(split).tolist())


def test_users_may_be_chosen(small: Population):
    users = UserSimulator(small, SimulatorConfig(topic_count=3))
    state = users.start(np.arange(2, dtype=np.uint64), np.zeros(2, np.int64), np.array([7, 3]))
    assert state.user.tolist() == [7, 3]
    assert state.response["taste"].tolist() == small.truth.user_vectors[[7, 3]].tolist()


# the state as a value


def test_looking_ahead_leaves_the_present_alone_and_sees_what_comes():
    users = crowd("budget", "click")
    present = begin(users, range(4))
    slates = np.random.default_rng(0).integers(60, size=(6, 4, 3))
    users.step(present, slates[0])
    before = copy.deepcopy(present)
    rows = np.array([2, 0, 2])
    ahead = present.take(rows)
    foreseen = [users.step(ahead, slate[rows]) for slate in slates[1:]]
    assert not differing(present, before)
    lived = [users.step(present, slate) for slate in slates[1:]]
    for vision, outcome in zip(foreseen, lived, strict=True):
        assert not differing(vision, Outcome(**{name: array[rows] for name, array in arrays(outcome).items()}))
    assert not differing(ahead, present.take(rows))


# what always holds


@settings(max_examples=60)
@given(
    st.sampled_from(["satisfaction", "window", "budget"]),
    st.sampled_from(["click", "rating"]),
    st.integers(0, 2**63),
    st.lists(st.lists(st.integers(-1, 59), min_size=6, max_size=6), min_size=1, max_size=12),
)
def test_whatever_is_shown_the_state_stays_possible(rule: str, feedback: str, seed: int, slates: list[list[int]]):
    users = crowd(rule, feedback)
    state = begin(users, [seed, seed + 1])
    lengths = np.linalg.norm(state.response["taste"], axis=1)
    for step, slate in enumerate(slates, start=1):
        bored = state.boredom.copy()
        outcome = users.step(state, np.array(slate).reshape(2, 3))
        shown = [set(users.topics[row[row >= 0]].ravel().tolist()) for row in outcome.slates]
        for user in range(2):
            unseen = [topic for topic in range(5) if topic not in shown[user]]
            assert (state.boredom[user, unseen] <= bored[user, unseen]).all()
        assert (state.boredom >= 0).all()
        for share in (state.satisfaction, state.fatigue, outcome.chance, outcome.reward, outcome.leave_chance):
            assert ((share >= 0) & (share <= 1)).all()
        assert set(outcome.feedback.ravel().tolist()) <= {-1, 0, 0.25, 0.5, 0.75, 1}
        assert np.array_equal(outcome.feedback == -1, outcome.slates == -1)
        assert not (outcome.terminated & outcome.truncated).any()
        assert np.array_equal(state.active, ~(outcome.terminated | outcome.truncated))
        assert state.steps.tolist() == [step, step]
        assert np.linalg.norm(state.response["taste"], axis=1) == pytest.approx(lengths, rel=1e-4)
    for row in state.shown:
        kept = row[row >= 0]
        assert len(kept) == len(set(kept.tolist()))
    groups = users.population.catalog.categories.membership.astype(int)
    assert state.exposure.tolist() == [groups[row[row >= 0]].sum(axis=0).tolist() for row in state.shown]


# refused


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"slate_size": 0}, r"env.slate_size must be a whole number from 1 to 1,000, given 0"),
        ({"max_steps": 0}, r"env.max_steps must be a whole number from 1 to 10,000, given 0"),
        ({"topic_count": 0}, r"env.topic_count must be a whole number from 1 to 10,000, given 0"),
        ({"feedback": "stars"}, r"env.feedback must be 'click', 'rating' or 'weighted', given 'stars'"),
        ({"topics": "genres"}, r"env.topics must be 'hidden' or 'categories', given 'genres'"),
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        SimulatorConfig(**wrong)


def test_splits_without_users_are_refused(build: Any):
    population = build([[0], [1]], [[1], [2]], training=[True, True])
    with pytest.raises(ValueError, match="'by hand' has no users in the split 'evaluation'"):
        UserSimulator(population, SimulatorConfig(**QUIET), "evaluation")
    with pytest.raises(ValueError, match="split must be 'train', 'evaluation' or 'all', given 'test'"):
        UserSimulator(population, SimulatorConfig(**QUIET), "test")


def test_shifts_need_training_users(build: Any):
    population = build([[0], [1]], [[1], [2]], training=[False, False])
    with pytest.raises(ValueError, match=r"'by hand' has none; set env\.drift\.shift_probability to 0"):
        UserSimulator(population, SimulatorConfig(**{**QUIET, "drift": Drift()}), "evaluation")
    still = Drift(shift_probability=0)
    assert begin(UserSimulator(population, SimulatorConfig(**{**QUIET, "drift": still}), "evaluation")).active.all()


def test_an_axis_of_other_items_is_refused(build: Any):
    axis = Axis(("all",), np.ones((5, 1), bool))
    with pytest.raises(ValueError, match="the axis must group the 2 items, given 5 rows"):
        UserSimulator(build([[0], [1]], [[1]]), SimulatorConfig(**QUIET), axis=axis)


def test_slates_that_would_leave_the_arrays_are_refused(build: Any):
    users = quiet(build([[0], [1]], [[1]]), max_steps=1)
    state = begin(users)
    for slate, message in [
        ([2], r"in \[-1, 2\), given 2 to 2"),
        ([-2], "given -2 to -2"),
        ([0, 1], r"\(1, 1\), given \(1, 2\)"),
    ]:
        with pytest.raises(ValueError, match=message):
            show(users, state, slate)
    show(users, state, [-1])
    with pytest.raises(ValueError, match="had all 1 steps of the session; start another"):
        show(users, state, [0])


# compiled code


def test_compiled_steps_equal_their_plain_python(agree: Any):
    rng = np.random.default_rng(0)
    seeds, sessions, steps = np.array([1, 2**63], np.uint64), np.array([0, 5]), np.array([0, 2], np.int32)
    agree(kernels.draw_users, seeds, sessions, 40)
    agree(kernels.streams, seeds, sessions, steps)
    keys = kernels.streams(seeds, sessions, steps)[:, draws.CLICK]
    agree(kernels._uniforms, keys)
    shown = np.array([[-1] * 9, [0, 1, 2, 3, -1, -1, -1, -1, -1]], np.int32)
    slates = np.array([[4, 4, 5], [1, 6, 6]], np.int32)
    for repeats in (True, False):
        agree(kernels._blank_copies, slates, shown, steps, repeats)
    slates = np.array([[4, -1, 5], [-1, 6, 0]], np.int32)
    chance, topics = rng.random((2, 3)), np.array([[0, 1]] * 4 + [[1, -1]] * 3, np.int32)
    levels = rng.random((2, 2)).astype(np.float32)
    for within in (True, False):
        how = dynamics.BoredomRates(True, 1.5, 0.5, within)
        agree(kernels.apply_boredom, chance, slates, topics, levels, levels[0], levels[1], how, 0.5)
    agree(kernels._met_before, np.array([4, -1, 0], np.int32), 1, topics, dynamics.fading(3, how))
    for rating in (True, False):
        agree(kernels._react, slates, chance, keys, rating)
    counts, sums, log = np.zeros((2, 2), np.int32), np.zeros((2, 2), np.float32), np.full((2, 9), -1, np.float32)
    none = np.zeros(0, np.float32)
    users = Users(steps, shown, log, counts, sums, *[none] * 5)
    agree(kernels._record, slates, np.where(slates < 0, -1, 0.75).astype(np.float32), topics, users)


def test_a_step_in_plain_python_is_the_compiled_step(small: Population, monkeypatch: pytest.MonkeyPatch):
    config = SimulatorConfig(slate_size=3, topic_count=5, mood=Mood(spread=0.3), similarity=Similarity(0.2))
    users = UserSimulator(small, config)
    items = np.random.default_rng(0).integers(60, size=(6, 8, 3))
    states, outcomes = [], []
    for plain in (False, True):
        for name in ("begin_step", "live", "leave", "clear") if plain else ():
            monkeypatch.setattr(simulator, name, getattr(simulator, name).py_func)
        state = begin(users, range(8))
        for slates in items:
            outcome = users.step(state, slates)
        outcomes.append(outcome)
        users.restart(state, np.array([2, 5]), np.array([7, 8], np.uint64), np.array([1, 0]))
        states.append(state)
    for one, other in ((states[0], states[1]), (outcomes[0], outcomes[1])):
        theirs = arrays(other)
        for name, mine in arrays(one).items():
            np.testing.assert_allclose(theirs[name], mine, rtol=1e-5, err_msg=name)


def test_a_row_that_begins_again_is_as_fresh_as_a_new_one(small: Population):
    users = UserSimulator(small, SimulatorConfig(slate_size=3, topic_count=5, mood=Mood(spread=0.3)))
    state, rng = begin(users, range(8)), np.random.default_rng(0)
    for _ in range(6):
        users.step(state, rng.integers(60, size=(8, 3)))
    kept, rows = state.take(np.array([0, 2, 3])), np.array([5, 1])
    users.restart(state, rows, np.array([7, 8], np.uint64), np.array([4, 4]))
    fresh, theirs = arrays(begin(users, (7, 8), session=4)), arrays(state.take(rows))
    undisturbed, others = arrays(kept), arrays(state.take(np.array([0, 2, 3])))
    for name in fresh:
        np.testing.assert_array_equal(theirs[name], fresh[name], err_msg=name)
        np.testing.assert_array_equal(others[name], undisturbed[name], err_msg=name)
