"""Codes of items: what they say of vectors, that every item has its own, and what is refused."""

from pathlib import Path

import numpy as np
import pytest

from lerl.envs.codes import Codes, product_codes, residual_codes, shuffled


def heaps(per: int = 40, seed: int = 0) -> np.ndarray:
    """Vectors of four heaps far from each other, each of two heaps near to each other."""
    draw = np.random.default_rng(seed)
    far, near = np.eye(6)[:4] * 10, np.eye(6)[4:]
    return np.concatenate(
        [far[a] + near[b] + draw.normal(scale=0.05, size=(per, 6)) for a in range(4) for b in range(2)]
    ).astype(np.float32)


def test_the_first_digit_is_coarse_and_the_next_finer():
    codes = residual_codes(heaps(), 2, 32, seed=0)
    assert codes.sizes[:2] == (32, 32)
    coarse = residual_codes(heaps(), 6, 4, seed=0)
    first = coarse.digits[:, 0].reshape(4, 80)
    assert (first == first[:, :1]).all()  # a code for each far heap
    assert len(set(first[:, 0].tolist())) == 4
    assert coarse.left < 0.01
    assert codes.left < 0.01
    assert coarse.digits.dtype == np.int16


def test_every_item_has_its_own_code_and_the_last_digit_counts_those_that_share_theirs():
    vectors = np.repeat(heaps(8), 3, axis=0)  # three items each are the same
    codes = residual_codes(vectors, 3, 16, seed=0)
    assert len(np.unique(codes.digits, axis=0)) == len(vectors)
    assert codes.collisions == len(vectors)
    counts = np.bincount(codes.groups)
    assert counts.max() == codes.sizes[-1] >= 3
    assert codes.digits[:3, -1].tolist() == [0, 1, 2] or counts[codes.groups[0]] > 3
    assert "share theirs and are told apart by a last digit of" in codes.about()


def test_the_same_seed_gives_the_same_codes_and_another_one_others():
    vectors = np.random.default_rng(0).normal(size=(300, 8)).astype(np.float32)
    one, again, other = (residual_codes(vectors, 2, 32, seed=seed) for seed in (1, 1, 2))
    assert one.digest == again.digest != other.digest


def test_balanced_codes_are_in_more_even_use_and_leave_more_variance():
    draw = np.random.default_rng(0)
    vectors = (draw.normal(size=(1000, 4)) * np.exp(draw.normal(size=(1000, 1)) / 2)).astype(np.float32)
    plain, even = (residual_codes(vectors, 3, 32, seed=0, balance=balance) for balance in (0, 2))
    assert even.perplexity[0] > plain.perplexity[0] + 1
    assert even.left > plain.left


def test_figures_of_a_small_case_by_hand():
    """The first digit is 0 0 0 1 of two codes: perplexity exp(-(.75 log .75 + .25 log .25)) = 1.75."""
    codes = Codes(np.array([[0, 0, 0], [0, 0, 1], [0, 1, 0], [1, 2, 0]], np.int16), (2, 4, 2))
    assert codes.perplexity == pytest.approx((1.7548, 2.8284), abs=1e-4)
    assert codes.used == (1.0, 0.75)
    assert codes.collisions == 2
    assert codes.groups.tolist() == [0, 0, 1, 2]


def test_product_codes_tell_apart_what_differs_in_independent_directions():
    draw = np.random.default_rng(0)
    kinds = draw.integers(0, 4, (400, 2))
    vectors = np.zeros((400, 4))
    vectors[np.arange(400), kinds[:, 0] % 2] = 5.0 * (1 + kinds[:, 0] // 2)
    vectors[np.arange(400), 2 + kinds[:, 1] % 2] = 3.0 * (1 + kinds[:, 1] // 2)
    codes = product_codes((vectors + draw.normal(scale=0.01, size=(400, 4))).astype(np.float32), 2, 32, seed=0)
    assert codes.left < 0.01
    assert codes.digits.shape == (400, 3)


def test_shuffled_codes_are_the_same_codes_of_other_items():
    codes = residual_codes(heaps(), 3, 16, seed=0)
    mixed = shuffled(codes, 0)
    assert sorted(mixed.digits.tolist()) == sorted(codes.digits.tolist())
    assert mixed.digest != codes.digest
    assert mixed.perplexity == pytest.approx(codes.perplexity)
    assert shuffled(codes, 0).digest == mixed.digest != shuffled(codes, 1).digest


def test_fewer_vectors_than_codes_lower_the_size_and_it_is_said():
    codes = residual_codes(heaps(1), 2, 256, seed=0)  # eight items
    assert codes.sizes == (8, 1, 1)
    assert codes.notes[0] == "digit 1 has 8 codes in place of 256: no more vectors differ"


def test_codes_are_read_as_they_were_written(tmp_path: Path):
    codes = residual_codes(heaps(), 2, 32, seed=0)
    codes.save(tmp_path / "codes.npz")
    kept = Codes.load(tmp_path / "codes.npz")
    assert (kept.digest, kept.sizes, kept.left) == (codes.digest, codes.sizes, codes.left)
    (tmp_path / "codes.npz").write_bytes((tmp_path / "codes.npz").read_bytes()[:200])
    with pytest.raises(ValueError, match=r"codes\.npz holds no codes .*make them again"):
        Codes.load(tmp_path / "codes.npz")


@pytest.mark.parametrize(
    ("vectors", "given", "message"),
    [
        (heaps(), {"levels": 9}, "levels must be from 1 to 8, given 9"),
        (heaps(), {"size": 1}, "size must be from 2 to 16,384, given 1"),
        (heaps(), {"levels": 2, "size": 16}, "2 digits of 16 name 256 items, .*: given 320; use more levels"),
        (heaps(), {"balance": 11}, "balance must be from 0 to 10, given 11"),
        (np.zeros((300, 4), np.float32), {}, "300 items have the same digits, at most 256 can be told apart"),
    ],
)
def test_what_cannot_be_named_is_refused_with_numbers(vectors: np.ndarray, given: dict[str, int], message: str):
    with pytest.raises(ValueError, match=message):
        residual_codes(vectors, seed=0, **given)


@pytest.mark.parametrize(
    ("digits", "sizes", "message"),
    [
        ([[0, 0], [0, 0]], (1, 1), "two items have the same digits"),
        ([[0, 3]], (1, 2), "digits must be from 0 to below"),
        ([[0, 0]], (1,), r"digits must be \(items, 1\), given \(1, 2\)"),
    ],
)
def test_digits_that_are_no_codes_are_refused(digits: list[list[int]], sizes: tuple[int, ...], message: str):
    with pytest.raises(ValueError, match=message):
        Codes(np.array(digits, np.int16), sizes)
