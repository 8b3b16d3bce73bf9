"""Lives: one session after another of the same person, whoever lives beside."""

import dataclasses
import math
from typing import Any

import numpy as np
import pytest

from lerl.envs import draws, threads
from lerl.envs.config import Drift, Mood, SimulatorConfig
from lerl.envs.population import Population
from lerl.envs.sessions import returns
from lerl.envs.sessions.config import Churn, Gap, Habit, Memory, Rest, Return, Wander
from lerl.envs.sessions.lives import LifeSimulator, Lives
from lerl.envs.simulator import UserSimulator
from lerl.envs.state import Outcome, State
from tests.envs.made_sequences import random_sequences

SHORT: dict[str, Any] = {"slate_size": 3, "topic_count": 5, "max_steps": 8, "repeats": True, "mood": Mood(spread=0.3)}
OFF = Return(
    gap=Gap(person=0, session=0, memory=0, habit=0),
    memory=Memory(enabled=False),
    habit=Habit(enabled=False),
    churn=Churn(enabled=False),
    rest=Rest(enabled=False),
    wander=Wander(enabled=False),
)
"""Nothing but gaps that depend on nothing."""


def life(population: Population, return_: Return | None = None, **changed: Any) -> LifeSimulator:
    how = {**SHORT, "horizon": "days", "days": 60.0, "return_": return_ or Return(), **changed}
    return LifeSimulator(UserSimulator(population, SimulatorConfig(**how)))


def begin(simulator: LifeSimulator, count: int, first: int = 0) -> tuple[State, Lives]:
    seeds = np.arange(first, first + count, dtype=np.uint64)
    return simulator.start(seeds, np.zeros(count, np.int64))


def slates(step: int, rows: np.ndarray, items: int = 60, k: int = 3) -> np.ndarray:
    """What is shown to people at a step, whoever they live beside."""
    return (rows[:, None] * 7 + step * 5 + np.arange(k) * 11) % items


def show(simulator: LifeSimulator, state: State, lives: Lives, given: np.ndarray) -> Outcome:
    """A step of all, of those who are gone too: they stay at their last one."""
    np.minimum(state.steps, SHORT["max_steps"] - 1, out=state.steps)
    return simulator.step(state, lives, given)


def same(one: Any, other: Any) -> None:
    """Asserts that two states are the same to the bit."""
    one, other = dataclasses.asdict(one), dataclasses.asdict(other)
    for name, values in one.items():
        parts = values.items() if isinstance(values, dict) else [(name, values)]
        for key, array in parts:
            np.testing.assert_array_equal(array, other[name][key] if isinstance(values, dict) else other[name], key)


def lived(simulator: LifeSimulator, count: int, steps: int, first: int = 0) -> tuple[State, Lives, list[Any]]:
    """People who are shown the same slates in one block or another, and what it brought."""
    state, lives = begin(simulator, count, first)
    rows, found = np.arange(first, first + count), []
    for step in range(steps):
        outcome = simulator.step(state, lives, slates(step, rows))
        found.append((outcome.feedback, outcome.terminated, outcome.truncated, lives.day.copy(), lives.memory.copy()))
        over = outcome.terminated | outcome.truncated
        if over.any():
            some = np.flatnonzero(over)
            simulator.restart(state, lives, some, state.seed[some], lives.number[some] + 1)
    return state, lives, found


def test_the_first_session_is_that_of_somebody_without_a_life(small: Population) -> None:
    simulator = life(small)
    state, lives = begin(simulator, 40)
    plain = UserSimulator(small, SimulatorConfig(**SHORT))
    other = plain.start(np.arange(40, dtype=np.uint64), np.zeros(40, np.int64))
    rows, left = np.arange(40), np.ones(40, bool)
    for step in range(SHORT["max_steps"]):
        same(state.take(np.flatnonzero(left)), other.take(np.flatnonzero(left)))
        ours, theirs = (
            simulator.step(state, lives, slates(step, rows)),
            plain.step(other, slates(step, rows)),
        )
        np.testing.assert_array_equal(ours.feedback[left], theirs.feedback[left])
        np.testing.assert_array_equal(ours.leave_chance[left], theirs.leave_chance[left])
        np.testing.assert_array_equal(lives.session_ended[left], ~other.active[left])
        left &= other.active
    assert not left.any()


def test_the_same_person_comes_back_with_draws_of_a_new_session(small: Population) -> None:
    simulator = life(small, dataclasses.replace(Return(), churn=Churn(enabled=False)), days=3650.0)
    state, lives = begin(simulator, 30)
    user, seed, seen = state.user.copy(), state.seed.copy(), [set() for _ in range(30)]
    for step in range(60):
        for row, number in enumerate(state.session.tolist()):
            seen[row].add(number)
        simulator.step(state, lives, slates(step, np.arange(30)))
        np.testing.assert_array_equal(state.user, user)
        np.testing.assert_array_equal(state.seed, seed)
        np.testing.assert_array_equal(state.session, lives.sessions << 32)
    assert (lives.sessions >= 5).all()
    assert [len(numbers) for numbers in seen] == (lives.sessions + 1 - lives.session_ended).tolist()


def test_a_life_does_not_depend_on_those_beside_it(small: Population) -> None:
    simulator = life(small)
    state, lives, found = lived(simulator, 12, 60)
    for first, count in ((0, 5), (5, 7)):
        part_state, part_lives, part = lived(simulator, count, 60, first)
        rows = np.arange(first, first + count)
        same(part_state, state.take(rows))
        same(part_lives, lives.take(rows))
        for whole, block in zip(found, part, strict=True):
            for mine, theirs in zip(whole, block, strict=True):
                np.testing.assert_array_equal(mine[rows], theirs)
    assert lives.number.max() > 0  # lives ended and others began


def test_threads_do_not_change_a_bit(small: Population, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "LEAST", 5.0)
    found = []
    for count in (1, 3):
        with threads.limit(count):
            found.append(lived(life(small), 300, 40))
    same(found[0][0], found[1][0])
    same(found[0][1], found[1][1])


def test_days_are_the_sum_of_gaps_and_lives_end_with_them(small: Population) -> None:
    simulator = life(small, dataclasses.replace(OFF, gap=Gap(typical=4.0, shortest=1.0)), days=20.0)
    state, lives = begin(simulator, 50)
    days, alive = np.zeros(50), np.ones(50, bool)
    for step in range(400):
        outcome = show(simulator, state, lives, slates(step, np.arange(50)))
        assert not outcome.terminated.any()  # nobody churns
        began = lives.session_ended & ~outcome.truncated & alive
        days[began] += lives.gap[began]
        assert (lives.gap[began] >= 1).all()
        alive &= ~outcome.truncated
        np.testing.assert_allclose(lives.day, days)
        np.testing.assert_array_equal(state.active, alive)
        if not alive.any():
            break
    assert not alive.any()
    assert (days < 20).all()
    assert (lives.sessions <= 20).all()
    assert lives.sessions.max() > 3


def test_who_is_dissatisfied_churns_for_good(small: Population) -> None:
    sure = dataclasses.replace(OFF, churn=Churn(highest=1, threshold=1, width=1e-9))
    simulator = life(small, sure)
    state, lives = begin(simulator, 20)
    over = np.zeros(20, bool)
    for step in range(SHORT["max_steps"]):
        outcome = show(simulator, state, lives, slates(step, np.arange(20)))
        np.testing.assert_array_equal(outcome.terminated, lives.session_ended)
        assert not outcome.truncated.any()
        over |= outcome.terminated
    assert over.all()
    assert lives.churned.all()
    assert not lives.sessions.any()


def test_with_all_off_a_session_begins_as_the_first_does(small: Population) -> None:
    simulator = life(small, OFF)
    state, lives = begin(simulator, 30)
    for step in range(200):
        outcome = show(simulator, state, lives, slates(step, np.arange(30)))
        begun = np.flatnonzero(lives.session_ended & ~outcome.truncated)
        if len(begun):
            fresh = simulator.simulator.start(state.seed[begun], state.session[begun], state.user[begun])
            same(state.take(begun), fresh)
    assert (lives.memory == 0.5).all()
    assert (lives.habit == 0).all()
    assert lives.sessions.max() > 3


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("memory", {"memory"}),
        ("habit", {"habit"}),
        ("rest", {"boredom", "fatigue", "mood", "satisfaction"}),
        ("wander", {"taste", "anchor"}),
    ],
)
def test_each_part_alone_carries_what_it_says(small: Population, name: str, changed: set[str]) -> None:
    """What differs at the start of the second session from one where all is off."""
    on = {"memory": Memory(), "habit": Habit(), "rest": Rest(), "wander": Wander()}[name]
    how = dataclasses.replace(OFF, **{name: on})
    if name == "rest":
        how = dataclasses.replace(how, memory=Memory(neutral=0.9))  # with nothing remembered it begins as usual
        without = dataclasses.replace(OFF, memory=Memory(neutral=0.9))
    else:
        without = OFF
    starts = []
    for return_ in (how, without):
        simulator = life(small, return_, drift=Drift(shift_probability=1.0))  # so that the anchor moves, too
        state, lives = begin(simulator, 1)
        step = 0
        while not lives.session_ended[0]:
            simulator.step(state, lives, slates(step, np.zeros(1, np.int64)))
            step += 1
        assert lives.sessions[0] == 1
        starts.append(dataclasses.asdict(state) | state.response | dataclasses.asdict(lives))
    one, other = starts
    one.pop("response"), other.pop("response")
    assert {key for key in one if not np.array_equal(one[key], other[key])} == changed


def test_what_is_carried_is_what_the_formulas_give(small: Population) -> None:
    """One person, by hand: the state at the end of the first session, and that with which the second begins."""
    how = Return(churn=Churn(enabled=False), gap=Gap(person=0.3))
    simulator = life(small, how, days=3650.0)
    plain = UserSimulator(small, SimulatorConfig(**SHORT))
    state, lives = begin(simulator, 1)
    end = plain.start(state.seed, state.session, state.user)
    for step in range(SHORT["max_steps"]):
        simulator.step(state, lives, slates(step, np.zeros(1, np.int64)))
        plain.step(end, slates(step, np.zeros(1, np.int64)))
        if lives.session_ended[0]:
            break
    s = float(end.satisfaction[0])
    m, h = 0.5 + 0.2 * (s - 0.5), 0.2
    keys = {purpose: returns.streams(end.seed, end.session, purpose) for purpose in (draws.GAP, draws.REST)}
    u = 1 - draws.uniform(keys[draws.GAP][0], 0)
    trait = returns.traits(end.seed, end.session)[0]
    log_scale = math.log(1 / math.log(2) ** 1.25) - 0.3 * trait - (s - 0.5) - 2 * (m - 0.5) - 0.5 * h
    gap = 1 / 48 + math.exp(log_scale) * (-math.log(u)) ** 1.25
    assert lives.gap[0] == pytest.approx(gap)
    assert lives.last_satisfaction[0] == end.satisfaction[0]
    assert lives.memory[0] == pytest.approx(0.5 + (m - 0.5) * math.exp(-gap / 30))
    assert lives.habit[0] == pytest.approx(h * math.exp(-gap / 7) * 0.8 + 0.2)
    np.testing.assert_allclose(state.boredom, end.boredom * math.exp(-gap / 2), rtol=1e-5)
    np.testing.assert_allclose(state.fatigue, end.fatigue * math.exp(-gap / 0.25), rtol=1e-5)
    assert state.satisfaction[0] == pytest.approx(0.6 + 0.3 * (lives.memory[0] - 0.6), rel=1e-6)
    keep = math.exp(-gap / 0.5)
    stirred = 0.3 * math.sqrt(1 - keep**2) * draws.normal(keys[draws.REST][0], 0)
    assert state.mood[0] == pytest.approx(keep * end.mood[0] + stirred, rel=1e-5)
    np.testing.assert_array_equal(state.anchor, end.anchor)
    np.testing.assert_allclose(
        np.linalg.norm(state.response["taste"], axis=1), np.linalg.norm(end.anchor, axis=1), rtol=1e-5
    )


def test_tastes_stay_where_drift_is_off(small: Population) -> None:
    simulator = life(small, drift=Drift(enabled=False))
    state, lives = begin(simulator, 20)
    first = state.response["taste"].copy()
    for step in range(40):
        show(simulator, state, lives, slates(step, np.arange(20)))
    assert lives.sessions.max() > 1
    np.testing.assert_array_equal(state.response["taste"], first)


def test_a_sequence_model_reads_each_session_as_the_first(small: Population) -> None:
    people = dataclasses.replace(small, response=random_sequences(60, [[number % 60] * 3 for number in range(40)]))
    simulator = life(people, response="sequence", drift=Drift(enabled=False))
    state, lives = begin(simulator, 8)
    for step in range(20):
        outcome = show(simulator, state, lives, slates(step, np.arange(8)))
        begun = np.flatnonzero(lives.session_ended & ~(outcome.terminated | outcome.truncated))
        fresh = simulator.simulator.start(state.seed[begun], state.session[begun], state.user[begun])
        for name, values in fresh.response.items():
            np.testing.assert_array_equal(state.response[name][begun], values)
    assert lives.sessions.max() > 1


def test_who_is_shown_what_they_like_comes_back_sooner_and_longer(small: Population) -> None:
    """The best six items of the first taste against the worst: more sessions, more days, fewer gone for good."""
    simulator, truth = life(small, days=30.0), small.truth
    found = []
    for sign in (1, -1):
        state, lives = begin(simulator, 300)
        order = np.argsort(-sign * (truth.user_vectors @ truth.item_vectors.T + truth.item_offsets), axis=1)
        alive = np.ones(300, bool)
        for step in range(2000):
            outcome = show(simulator, state, lives, order[state.user][:, (step % 2) * 3 : (step % 2) * 3 + 3])
            alive &= ~(outcome.terminated | outcome.truncated)
            if not alive.any():
                break
        assert not alive.any()
        found.append((lives.sessions.mean(), lives.day.mean(), 1 - lives.churned.mean()))
    liked, disliked = np.array(found)
    assert (liked > 1.2 * disliked).all()


def test_the_gap_is_drawn_the_same_however_long_the_session_was(small: Population) -> None:
    """So that agents are compared on the same luck: with weights of 0, gaps do not depend on what was shown."""
    days = []
    for cap in (2, 8):
        simulator = life(small, OFF, days=3650.0, max_steps=cap)
        state, lives = begin(simulator, 10)
        second = np.zeros(10)
        for step in range(8):
            simulator.step(state, lives, slates(step, np.arange(10)))
            second = np.where((second == 0) & lives.session_ended & (lives.sessions == 1), lives.gap, second)
        days.append(second)
    np.testing.assert_array_equal(*days)
    assert (days[0] > 0).all()
