"""A simulated user with a collective cache: the same numbers singly, beside others, and read again; in few bytes."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import softmax

from lerl.bench.sequence import Reader, bytes_of, random_model
from lerl.envs.config import Drift, SimulatorConfig
from lerl.envs.population import Population
from lerl.envs.response import collective
from lerl.envs.response import sequence as whole
from lerl.envs.response.collective import BLOCK, LANES, CollectiveResponse
from lerl.envs.response.sequence import SequenceResponse
from lerl.envs.sequence_weights import COLLECTIVE
from lerl.envs.simulator import UserSimulator
from lerl.envs.synthetic import synthetic_population
from lerl.users.train_sequence import CollectiveSettings, SequenceSettings
from tests.envs.made_sequences import WINDOW, random_sequences


@pytest.fixture(scope="module")
def people(small: Population) -> Population:
    """40 users whose pasts are 0 to 6 events long."""
    draw = np.random.default_rng(1)
    pasts = [draw.integers(60, size=user % 7).tolist() for user in range(40)]
    return replace(small, collective=random_sequences(60, pasts, names=COLLECTIVE))


def session(model: CollectiveResponse, users: NDArray[np.int64], slates: NDArray[np.int32]) -> NDArray[np.float64]:
    """Chances (T, B, k) of slates (T, B, k); every third item is clicked."""
    state, chances = model.init(users), []
    for slate in slates:
        chances.append(model.score(state, slate))
        state = model.advance(state, slate, (slate % 3 == 0).astype(np.float32))
    return np.array(chances)


def test_a_user_is_the_same_bit_for_bit_singly_and_beside_others(people: Population) -> None:
    model, users = CollectiveResponse(people), np.array([3, 0, 6, 3])
    slates = np.random.default_rng(2).integers(0, 60, (9, 4, 3)).astype(np.int32)
    together = session(model, users, slates)
    for row, user in enumerate(users):
        single = session(model, np.array([user]), slates[:, row : row + 1])
        assert np.array_equal(single[:, 0], together[:, row])
    assert together.std(axis=0).min() > 0.001  # the past matters
    order = np.array([2, 0, 3, 1])
    assert np.array_equal(session(model, users[order], slates[:, order]), together[:, order])


def test_steps_equal_reading_everything_again_as_it_was_trained() -> None:
    """Windows below and above a block of events, pools of one and of two bytes, users with no past and long ones."""
    for window, pool, own in ((5, 16, 1), (40, 300, 2)):
        people = synthetic_population(users=30, items=80, categories=6, dim=4)
        settings = CollectiveSettings(width=16, inner=24, window=window, pool=pool, own=own)
        network, people, events, scaling = random_model(people, settings, longest=60)
        reader, model = Reader(network, events, scaling), CollectiveResponse(people)
        users, draw = np.arange(6), np.random.default_rng(1)
        state = model.init(users)
        assert state["rows"].dtype == (np.uint8 if pool == 16 else np.int16)
        parts = [slice(*events.starts[user : user + 2]) for user in users]
        items = [events.items[part] for part in parts]
        clicks = [events.clicks[part].astype(np.float32) for part in parts]
        for _ in range(12):
            slates = draw.integers(0, 80, (6, 3)).astype(np.int32)
            chances = model.score(state, slates)
            for b in range(6):
                again = reader.chances(
                    items[b][None], clicks[b][None], reader.history(clicks[b][None]), slates[b : b + 1]
                )
                np.testing.assert_allclose(chances[b], again[0], atol=1e-5)
            feedback = (draw.random((6, 3)) < 0.4).astype(np.float32)
            state = model.advance(state, slates, feedback)
            items = [np.concatenate([old, new]) for old, new in zip(items, slates, strict=True)]
            clicks = [np.concatenate([old, new]) for old, new in zip(clicks, feedback, strict=True)]
        assert len(np.unique(state["rows"])) > 5


def test_empty_slots_are_no_events_and_copies_look_ahead(people: Population) -> None:
    model = CollectiveResponse(people)
    one, other = model.init(np.array([4])), model.init(np.array([4]))
    model.advance(one, np.array([[-1, 7, -1]], np.int32), np.array([[-1, 1, -1]], np.float32))
    model.advance(other, np.array([[7]], np.int32), np.array([[1]], np.float32))
    assert all(np.array_equal(one[name], other[name]) for name in one)
    config = SimulatorConfig(slate_size=3, response="collective", drift=Drift(enabled=False))
    simulator = UserSimulator(people, config, "all")
    seeds, slates = np.arange(5, dtype=np.uint64), np.random.default_rng(5).integers(0, 60, (6, 5, 3))
    state, single = simulator.start(seeds, np.zeros(5, np.int64)), simulator.start(seeds[2:3], np.zeros(1, np.int64))
    for step in range(6):
        simulator.step(state.take(np.arange(5)), slates[step, ::-1])
        outcome, alone = simulator.step(state, slates[step]), simulator.step(single, slates[step, 2:3])
        assert np.array_equal(outcome.chance[2], alone.chance[0])


def test_a_million_users_take_few_bytes() -> None:
    """By the sizes that are trained: what is held of a user, measured from the arrays."""
    people = synthetic_population(users=30, items=80, categories=6, dim=4)
    sizes = {}
    for settings in (SequenceSettings(), CollectiveSettings()):
        _, found, _, _ = random_model(people, settings, longest=5)
        kind = SequenceResponse if found.collective is None else CollectiveResponse
        sizes[kind] = bytes_of(kind(found).init(np.arange(30))) / 30
    assert sizes[SequenceResponse] == 2 * 50 * 64 * 4 + 32 * 4 + 16
    assert sizes[CollectiveResponse] == 2 * 50 * (2 * 4 + 2) + 32 * 4 + 16
    assert sizes[CollectiveResponse] * 1e6 <= 1.5e9


def test_the_wrong_model_is_refused_in_one_line(small: Population) -> None:
    with pytest.raises(ValueError, match=r"has no such model; make one with `lerl fit .* --cache collective`"):
        UserSimulator(small, SimulatorConfig(response="collective"))
    model = random_sequences(60, [[1]] * 40, names=COLLECTIVE)
    with pytest.raises(ValueError, match=r"response\.attention is missing"):
        replace(small, response=model)
    wide = {**model, "pool": np.zeros((2, 2, 5, 7), np.float32)}
    with pytest.raises(ValueError, match=r"response\.pool must be float32 of shape \(2, 2, 5, 6\), given float32 of"):
        replace(small, collective=wide)
    gone = {**model, "route": np.full((2, 8, 10), np.nan, np.float32)}
    with pytest.raises(ValueError, match=r"response\.route has a number that is not finite"):
        replace(small, collective=gone)


def test_the_largest_is_the_first_of_equal_ones() -> None:
    draw = np.random.default_rng(0)
    for count in (1, 5, LANES, 3 * LANES, 3 * LANES + 5):
        numbers = draw.integers(0, 9, 2 * count).astype(np.float32)
        most = np.empty(LANES, np.float32)
        assert collective.largest(numbers, 0, count, most) == numbers[:count].argmax()
        assert collective.largest(numbers, count, 2 * count, most) == numbers[count:].argmax()


def test_exponentials_are_those_of_a_library() -> None:
    draw = np.random.default_rng(0)
    for spread in (0.1, 1.0, 10.0, 1000.0):
        numbers = (spread * draw.normal(size=64)).astype(np.float32)
        shares = numbers - numbers.max()
        collective.exponentials(shares, np.empty(64, np.int32))
        np.testing.assert_allclose(shares / shares.sum(), softmax(numbers.astype(np.float64)), rtol=1e-5, atol=1e-30)


def test_compiled_parts_equal_their_plain_python_and_what_whole_caches_find(agree: Any) -> None:
    draw = np.random.default_rng(6)

    def some(*shape: int) -> NDArray[np.float32]:
        return draw.normal(size=shape).astype(np.float32)

    agree(collective.route, some(3, 8), some(8, 12), some(12), some(3, 12))
    agree(collective.largest, some(40), 0, 40, some(LANES))
    kept, rows, pool = some(WINDOW, 4), draw.integers(0, 5, (WINDOW, 2)).astype(np.uint8), some(2, 5, 6)
    agree(collective.gather, kept, rows, pool, 3, some(8, BLOCK), some(BLOCK, 8))
    agree(collective.project, some(3, 8), some(3, 4), some(3, 10), 6, kept, rows, pool, some(3, 24))
    slopes, projected = np.array([0.5, 0.1], np.float32), some(3, 24)
    keys, values = some(8, WINDOW), some(WINDOW, 8)
    for before in (0, 6):
        found, wanted = np.zeros((3, 8), np.float32), np.zeros((3, 8), np.float32)
        padded = np.zeros((8, BLOCK), np.float32), np.zeros((BLOCK, 8), np.float32)
        padded[0][:, :WINDOW], padded[1][:WINDOW] = keys, values
        collective.attend(projected, before, WINDOW, *padded, slopes, found)
        whole.attend(projected, before, keys.copy(), values.copy(), slopes, wanted)
        np.testing.assert_allclose(found, wanted, atol=1e-5)
