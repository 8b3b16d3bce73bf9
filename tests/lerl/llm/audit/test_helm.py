"""The formulas behind the cells, by hand and by their properties."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import spearmanr

from lerl.llm.audit.helm import adaptability, alignment, calibration, consistency, equity
from lerl.llm.audit.outcomes import distance, jaccard
from lerl.llm.audit.questions import confidence_of
from lerl.llm.audit.subject import Answer, Answers
from lerl.planners.llm.prompt import AnswerError, Choice

shares = arrays(np.float64, (4, 6), elements=st.floats(0.01, 1.0)).map(lambda x: x / x.sum(axis=1, keepdims=True))


def answer(part: str, choice: Choice | None, state: int = 0, number: int = 0, value: object = None) -> Answer:
    return Answer(part, state, number, None, "k", "", "", "", "" if choice else "not JSON", choice, value)


def answers(*given: Answer) -> Answers:
    return Answers("m", given, None, "")


def test_jensen_shannon_distance_by_hand() -> None:
    same, other = np.array([[0.5, 0.5, 0.0, 0.0]]), np.array([[0.0, 0.0, 0.5, 0.5]])
    half = np.array([[0.0, 0.5, 0.5, 0.0]])
    assert distance(same, same)[0] == 0.0
    assert distance(same, other)[0] == pytest.approx(1.0)
    assert distance(same, half)[0] == pytest.approx(np.sqrt(0.5))  # half of each is shared
    assert np.isnan(distance(same, np.zeros((1, 4)))[0])


@given(shares, shares, shares)
@settings(max_examples=50)
def test_jensen_shannon_distance_is_a_distance(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> None:
    order = [3, 0, 5, 1, 4, 2]
    np.testing.assert_allclose(distance(a, b), distance(b, a), atol=1e-9)
    np.testing.assert_allclose(distance(a, b), distance(a[:, order], b[:, order]), atol=1e-9)
    assert (distance(a, c) <= distance(a, b) + distance(b, c) + 1e-9).all()


def test_jaccard_index_by_hand() -> None:
    left = np.array([[1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]], bool)
    right = np.array([[0, 1, 1, 0], [1, 0, 0, 0], [1, 0, 0, 0]], bool)
    found = jaccard(left, right)
    assert found[:2].tolist() == [pytest.approx(1 / 3), 1.0]
    assert np.isnan(found[2])


def test_alignment_by_hand() -> None:
    taste = np.array([0.9, 0.7, 0.5, 0.3])
    assert alignment(Choice((0, 1), (3,), ""), taste) == pytest.approx(1.0)
    assert alignment(Choice((3, 2), (0,), ""), taste) == pytest.approx(-1.0)
    assert alignment(Choice((2,), (), ""), taste) == pytest.approx(spearmanr([0, 0, 1, 0], taste)[0])
    assert alignment(Choice((0, 1), (), ""), np.array([0.9, np.nan, 0.5, 0.3])) == pytest.approx(
        spearmanr([2, 0, 0], [0.9, 0.5, 0.3])[0]
    )
    assert np.isnan(alignment(Choice((0, 1, 2, 3), (0, 1, 2, 3), ""), taste))


@given(st.permutations(range(6)), st.integers(1, 5))
def test_alignment_follows_the_names_of_categories(order: Sequence[int], size: int) -> None:
    taste = np.array([0.1, 0.8, 0.3, 0.6, 0.2, 0.5])
    plain = alignment(Choice(tuple(range(size)), (), ""), taste)
    place = np.argsort(order)
    moved = alignment(Choice(tuple(int(place[c]) for c in range(size)), (), ""), taste[list(order)])
    assert moved == pytest.approx(plain)


@pytest.mark.parametrize("said", ["0.85", "101", "-1", "true", '"about fifty"', "null"])
def test_what_is_no_percentage_is_no_confidence(said: str) -> None:
    with pytest.raises(AnswerError, match="from 0 to 100"):
        confidence_of(f'{{"confidence": {said}}}')
    assert confidence_of('{"confidence": "85 %"}') == 0.85
    assert confidence_of('{"confidence": 0}') == 0.0


def test_calibration_error_by_hand() -> None:
    stated = np.array([0.9, 0.9, 0.9, 0.9, 0.2, 0.2])
    hit = np.array([True, True, False, False, False, False])
    error, table = calibration(stated, hit)
    assert error == pytest.approx((4 * 0.4 + 2 * 0.2) / 6)
    assert table == [(pytest.approx(0.2), 0.0, 2), (pytest.approx(0.9), 0.5, 4)]
    assert calibration(np.array([1.0, 0.0]), np.array([True, False]))[0] == 0.0
    assert np.isnan(calibration(np.zeros(0), np.zeros(0, bool))[0])


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=40))
def test_calibration_error_is_between_nothing_and_all(pairs: list[tuple[float, bool]]) -> None:
    stated, hit = np.array([pair[0] for pair in pairs]), np.array([pair[1] for pair in pairs])
    error, table = calibration(stated, hit)
    assert 0.0 <= error <= 1.0
    assert sum(count for _, _, count in table) == len(pairs)


def test_consistency_is_of_the_same_state_only() -> None:
    told = answers(
        answer("plan", Choice((0, 1), (), "")), answer("plan", Choice((2, 3), (), ""), 1),
        answer("order", Choice((1, 2), (), "")), answer("order", Choice((2, 3), (), ""), 1),
        answer("wording", None), answer("wording", Choice((0, 3), (3,), ""), 0, 1),
    )  # fmt: skip
    assert consistency(told, 4) == {"order": pytest.approx((1 / 3 + 1) / 2), "wording": pytest.approx(0.5)}


def test_adaptability_counts_pairs_with_two_plans() -> None:
    plan = Choice((0,), (), "")
    values = [((2, 0), (2, -1)), ((1, 0), (2, 0)), ((1, 0), (1, 0))]
    pairs = [answer("feedback", plan, -1, n, one) for n, pair in enumerate(values) for one in pair]
    pairs += [answer("feedback", plan, -1, 3, (2, 0)), answer("feedback", None, -1, 3)]
    assert adaptability(answers(*pairs)) == (1, 1, 3)


def test_equity_takes_off_what_the_same_question_twice_gives() -> None:
    found = equity([np.array([0.2, 0.4]), np.array([np.nan])], 0.1)
    assert found is not None
    assert found.share == pytest.approx(0.8)
    assert equity([np.array([0.05])], 0.1).share == 1.0  # type: ignore[union-attr]
    assert equity([np.array([np.nan])], 0.0) is None
