"""A simulated user of the sequence model: the same numbers simulated singly, beside others, and read again."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lerl.envs.config import Drift, SimulatorConfig
from lerl.envs.population import Population
from lerl.envs.response import sequence
from lerl.envs.response.sequence import SequenceResponse
from lerl.envs.simulator import UserSimulator
from tests.envs.made_sequences import WINDOW, random_sequences

REACH = 7  # two layers of 4 events each see 2 * 3 + 1 events


@pytest.fixture(scope="module")
def people(small: Population) -> Population:
    """40 users whose pasts are 0 to 6 events long."""
    draw = np.random.default_rng(1)
    pasts = [draw.integers(60, size=user % 7).tolist() for user in range(40)]
    return replace(small, response=random_sequences(60, pasts))


def session(model: SequenceResponse, users: NDArray[np.int64], slates: NDArray[np.int32]) -> NDArray[np.float64]:
    """Chances (T, B, k) of slates (T, B, k); every third item is clicked."""
    state, chances = model.init(users), []
    for slate in slates:
        chances.append(model.score(state, slate))
        state = model.advance(state, slate, (slate % 3 == 0).astype(np.float32))
    return np.array(chances)


def test_a_user_is_the_same_bit_for_bit_singly_and_beside_others(people: Population) -> None:
    model, users = SequenceResponse(people), np.array([3, 0, 6, 3])
    slates = np.random.default_rng(2).integers(0, 60, (9, 4, 3)).astype(np.int32)
    together = session(model, users, slates)
    for row, user in enumerate(users):
        single = session(model, np.array([user]), slates[:, row : row + 1])
        assert np.array_equal(single[:, 0], together[:, row])
    assert together.std(axis=0).min() > 0.001  # the past matters


def test_stepping_equals_reading_the_last_events_again(small: Population) -> None:
    past = np.random.default_rng(3).integers(0, 60, 30).tolist()
    stepped = SequenceResponse(replace(small, response=random_sequences(60, [past[:2]] * 40)))
    slate = np.arange(5, dtype=np.int32)[None]
    state = stepped.init(np.array([0]))
    for n in range(2, 30):
        state = stepped.advance(state, np.array([[past[n]]], np.int32), np.array([[n % 2]], np.float32))
    begun = 30 - REACH
    last = random_sequences(60, [past[begun:]] * 40, [(begun, begun // 2)] * 40)
    last["past_clicks"] = np.tile(np.arange(begun, 30) % 2, 40).astype(np.float32)
    again = SequenceResponse(replace(small, response=last))
    read = again.score(again.init(np.array([0])), slate)
    np.testing.assert_allclose(stepped.score(state, slate), read, atol=1e-5)

    less = {**last, "past_items": last["past_items"].copy()}
    less["past_items"][0] = (less["past_items"][0] + 1) % 60  # the oldest event of those that are seen
    other = SequenceResponse(replace(small, response=less))
    assert np.abs(other.score(other.init(np.array([0])), slate) - read).max() > 1e-7


def test_items_of_a_slate_do_not_see_each_other(people: Population) -> None:
    model = SequenceResponse(people)
    state = model.init(np.array([4, 5]))
    chances = model.score(state, np.array([[7, 8, 9], [7, 8, 9]], np.int32))
    single = model.score(state, np.array([[9, -1, -1], [8, 0, 1]], np.int32))
    assert single[0].tolist() == [chances[0, 2], 0.0, 0.0]
    assert single[1, 0] == chances[1, 1]
    assert chances[0, 0] != chances[1, 0]


def test_empty_slots_are_no_events(people: Population) -> None:
    model = SequenceResponse(people)
    one, other = model.init(np.array([4])), model.init(np.array([4]))
    model.advance(one, np.array([[-1, 7, -1]], np.int32), np.array([[-1, 1, -1]], np.float32))
    model.advance(other, np.array([[7]], np.int32), np.array([[1]], np.float32))
    for name in one:
        assert np.array_equal(one[name], other[name])
    kept = {name: array.copy() for name, array in one.items()}
    model.advance(one, np.array([[-1, -1, -1]], np.int32), np.full((1, 3), -1, np.float32))
    assert all(np.array_equal(one[name], kept[name]) for name in one)


def test_slots_become_events_in_their_order(people: Population) -> None:
    model = SequenceResponse(people)
    states = [model.init(np.array([4])) for _ in range(3)]
    clicks = np.array([[1, 0]], np.float32)
    model.advance(states[0], np.array([[7, 8]], np.int32), clicks)
    for slot in range(2):
        model.advance(states[1], np.array([[7, 8]], np.int32)[:, slot : slot + 1], clicks[:, slot : slot + 1])
    model.advance(states[2], np.array([[8, 7]], np.int32), clicks[:, ::-1].copy())
    assert np.array_equal(states[0]["query"], states[1]["query"])
    assert not np.allclose(states[0]["query"], states[2]["query"], atol=1e-4)


def test_sessions_do_not_depend_on_how_many_run_and_copies_look_ahead(people: Population) -> None:
    config = SimulatorConfig(slate_size=3, response="sequence", drift=Drift(enabled=False))
    simulator = UserSimulator(people, config, "all")
    seeds, slates = np.arange(5, dtype=np.uint64), np.random.default_rng(5).integers(0, 60, (6, 5, 3))
    state, other = simulator.start(seeds, np.zeros(5, np.int64)), simulator.start(seeds[2:3], np.zeros(1, np.int64))
    for step in range(6):
        ahead = state.take(np.arange(5))
        simulator.step(ahead, slates[step, ::-1])
        outcome, single = simulator.step(state, slates[step]), simulator.step(other, slates[step, 2:3])
        assert np.array_equal(outcome.chance[2], single.chance[0])
        assert np.array_equal(outcome.feedback[2], single.feedback[0])


def test_drift_has_no_taste_to_move(people: Population) -> None:
    simulator = UserSimulator(people, SimulatorConfig(response="sequence"))
    with pytest.raises(ValueError, match=r"SequenceResponse has no 'taste'; set env\.drift\.enabled to false"):
        simulator.start(np.zeros(1, np.uint64), np.zeros(1, np.int64))


def test_a_population_without_the_model_names_the_command(small: Population) -> None:
    with pytest.raises(ValueError, match=r"has no sequence model; make one with `lerl fit FOLDER --model sequence`"):
        UserSimulator(small, SimulatorConfig(response="sequence"))


def test_compiled_parts_equal_their_plain_python(agree: Any) -> None:
    draw = np.random.default_rng(6)

    def some(*shape: int) -> NDArray[np.float32]:
        return draw.normal(size=shape).astype(np.float32)

    agree(sequence.dense, some(3, 8), some(8, 12), some(12), some(3, 12))
    agree(sequence.layer_norm, some(3, 8), some(2, 8), some(3, 8))
    agree(sequence.add_to, some(3, 8), some(3, 9))
    slopes = np.array([0.5, 0.1], np.float32)
    agree(sequence.attend, some(3, 24), 6, some(8, WINDOW), some(WINDOW, 8), slopes, some(3, 8))
    agree(sequence.attend, some(3, 24), 0, some(8, WINDOW), some(WINDOW, 8), slopes, some(3, 8))
