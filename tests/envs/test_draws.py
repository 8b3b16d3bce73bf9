"""Random numbers: pure functions of what they are for, unrelated to each other, the same on every machine."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lerl.envs import draws

KEYS = st.integers(0, 2**64 - 1).map(np.uint64)
COUNTS = st.integers(0, 2**31 - 1)


def key(seed: int = 0, session: int = 0, step: int = 0, purpose: int = draws.CLICK) -> np.uint64:
    return np.uint64(draws.stream(np.uint64(seed), session, step, purpose))


def test_mixing_is_splitmix64():
    # The first outputs of Vigna's splitmix64.c from state 0, to which each call adds the golden ratio.
    golden = 0x9E3779B97F4A7C15
    states = [np.uint64(golden * call % 2**64) for call in range(3)]
    assert [draws.mix(state) for state in states] == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]


@given(KEYS, COUNTS, COUNTS, COUNTS)
def test_compiled_draws_equal_their_plain_python(seed: np.uint64, session: int, step: int, index: int):
    with np.errstate(over="ignore"):  # 64-bit numbers wrap on purpose
        assert draws.mix(seed) == draws.mix.py_func(seed)
    assert draws.stream(seed, session, step, 3) == draws.stream.py_func(seed, session, step, 3)
    assert draws.uniform(seed, index) == draws.uniform.py_func(seed, index)
    assert draws.normal(seed, index) == pytest.approx(draws.normal.py_func(seed, index), rel=1e-12, abs=1e-12)


@given(KEYS, COUNTS)
def test_draws_stay_in_their_range(seed: np.uint64, index: int):
    assert 0 <= draws.uniform(seed, index) < 1
    assert np.isfinite(draws.normal(seed, index))


def test_one_stream_is_uniform_and_normal():
    uniforms = np.array([draws.uniform(key(), index) for index in range(20_000)])
    assert uniforms.mean() == pytest.approx(0.5, abs=0.01)  # standard error 0.002
    assert np.histogram(uniforms, 10, (0, 1))[0] == pytest.approx(2000, abs=200)
    normals = np.array([draws.normal(key(), index) for index in range(20_000)])
    assert normals.mean() == pytest.approx(0, abs=0.03)
    assert normals.std() == pytest.approx(1, abs=0.03)
    assert (np.abs(normals) > 1.96).mean() == pytest.approx(0.05, abs=0.01)


def test_a_normal_number_is_box_and_mullers():
    """The logarithm and the cosine are our own: as exact as the C library's."""
    keys = [key(step=step) for step in range(500)]
    pairs = [[draws.uniform(one, 2 * index + side) for side in range(2)] for one in keys for index in range(4)]
    expected = [math.sqrt(-2 * math.log(1 - u)) * math.cos(2 * math.pi * v) for u, v in pairs]
    given = np.empty((len(keys), 4))
    for row, one in zip(given, keys, strict=True):
        draws.normals(one, row)
    np.testing.assert_allclose(given.ravel(), expected, rtol=1e-14, atol=2e-15)
    assert given[7, 3] == draws.normal(keys[7], 3)
    assert [draws._log(x) for x in (1.0, 0.5)] == [0.0, math.log(0.5)]
    assert draws._log(2.0**-53) == pytest.approx(math.log(2.0**-53), rel=1e-15)


@pytest.mark.parametrize("part", ["seed", "session", "step", "purpose"])
def test_streams_of_neighbours_are_unrelated(part: str):
    first = np.array([draws.uniform(key(**{part: number}), 0) for number in range(5000)])
    assert len(np.unique(first)) == 5000
    assert np.corrcoef(first[1:], first[:-1])[0, 1] == pytest.approx(0, abs=0.05)  # standard error 0.014


def test_seed_and_session_are_not_interchangeable():
    assert key(seed=1, session=2) != key(seed=2, session=1)
    assert key(session=1, step=2) != key(session=2, step=1)


def test_every_purpose_has_a_stream_of_its_own():
    purposes = [draws.USER, draws.PATIENCE, draws.CLICK, draws.LEAVE, draws.SHIFT, draws.SHIFT_TARGET, draws.DRIFT]
    assert purposes == list(range(7))  # another number would move every published session
    assert len({int(key(purpose=purpose)) for purpose in (*purposes, draws.KIND)}) == 8


def test_base_seeds_are_the_same_everywhere_and_share_nothing():
    assert draws.seed_from(0, "train") == 8448861566626220853  # a published run is repeated by this very number
    names = [(run, phase) for run in range(50) for phase in ("train", "evaluation")]
    seeds = [draws.seed_from(*name) for name in names]
    assert len(set(seeds)) == 100
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert draws.seed_from("1", "23") != draws.seed_from("12", "3")
