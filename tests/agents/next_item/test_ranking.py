"""Places among all items: ties, exclusion and metrics, with expected numbers worked out by hand."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lerl.agents.next_item import ranking
from lerl.agents.next_item.base import DivergedError, Fitted, NextItem
from lerl.agents.next_item.ranking import Places, ndcg, ranked, recall, reciprocal
from lerl.envs.sequences import Cases, Lists


class Fixed(NextItem):
    """Gives every history the same scores."""

    def __init__(self, given: Any) -> None:
        super().__init__(len(given))
        self.given = np.array(given, np.float32)

    def fit(self, *given: Any, **more: Any) -> Fitted:
        return Fitted(0)

    def scores(self, histories: Lists) -> NDArray[np.float32]:
        return np.tile(self.given, (len(histories), 1))


def cases(targets: list[int], histories: list[list[int]] | None = None) -> Cases:
    given = histories or [[0]] * len(targets)
    return Cases(np.arange(len(targets)), Lists.of(given), np.array(targets, np.int32))


def test_places_are_counted_from_the_best_and_ties_share_their_mean():
    found = ranked(Fixed([5, 3, 3, 9, 3]), cases([3, 0, 1, 4]))
    assert found.rank.tolist() == [1, 2, 4, 4]  # three items share places 3, 4 and 5
    assert found.tied.tolist() == [1, 1, 3, 3]
    assert found.shown is None


def test_a_code_has_the_score_of_its_best_item_and_is_ranked_among_codes():
    """Codes a = items 0 and 3, b = item 1, c = items 2 and 4; their best scores are 5, 7 and 7."""
    row = Fixed([2, 7, 7, 5, 1])
    row.same_code = lambda: np.array([0, 1, 2, 0, 2])  # type: ignore[method-assign]
    found = ranked(row, cases([0, 3, 4, 1]))
    assert found.by_code is not None
    assert found.by_code.tolist() == [3, 3, 1.5, 1.5]
    assert found.rank.tolist() == [4, 3, 5, 1.5]
    assert ranked(Fixed([1, 2]), cases([0])).by_code is None


@pytest.mark.parametrize("metric", [lambda one: ndcg(one, 10), lambda one: recall(one, 10), reciprocal])
def test_a_constant_score_is_worth_what_random_orders_are_on_average(metric: Any):
    items = 40
    constant = metric(ranked(Fixed(np.zeros(items)), cases([7])))[0]
    orders = [metric(Places(np.array([place], float), np.ones(1, int)))[0] for place in range(1, items + 1)]
    assert constant == pytest.approx(np.mean(orders))


def test_metrics_of_a_place_without_ties():
    found = Places(np.array([1.0, 3.0, 11.0]), np.ones(3, int))
    assert ndcg(found, 10).tolist() == pytest.approx([1.0, 0.5, 0.0])  # 1 / log2(3 + 1) = 0.5
    assert recall(found, 10).tolist() == [1, 1, 0]
    assert reciprocal(found).tolist() == pytest.approx([1, 1 / 3, 1 / 11])


def test_a_tie_over_the_last_place_counts_by_its_share():
    found = Places(np.array([10.5]), np.array([2]))  # places 10 and 11
    assert recall(found, 10)[0] == 0.5
    assert ndcg(found, 10)[0] == pytest.approx(0.5 / np.log2(11))


def test_items_of_the_history_are_ranked_behind_all_others_where_they_are_excluded():
    given = cases([2], [[3, 0]])
    assert ranked(Fixed([5, 3, 4, 9]), given).rank.tolist() == [3]
    assert ranked(Fixed([5, 3, 4, 9]), given, exclude=True).rank.tolist() == [1]
    again = cases([3], [[3, 0]])  # chosen again: both of the history share the places behind
    assert ranked(Fixed([5, 3, 4, 9]), again, exclude=True).rank.tolist() == [3.5]


def test_what_is_shown_are_the_best_and_of_equals_the_same_few_for_everybody():
    shown = ranked(Fixed(np.r_[np.ones(9), np.zeros(30)]), cases([0] * 4), ties=1).shown
    assert shown is not None
    assert shown[:9].tolist() == [4] * 9
    assert sorted(shown[9:].tolist())[-2:] == [0, 4]  # one of thirty equals, drawn once
    other = ranked(Fixed(np.r_[np.ones(9), np.zeros(30)]), cases([0] * 4), ties=2).shown
    assert other is not None
    assert other.tolist() != shown.tolist()


def test_batches_change_nothing(monkeypatch: pytest.MonkeyPatch):
    draw = np.random.default_rng(0)
    given = cases(draw.integers(0, 30, 25).tolist(), [draw.integers(0, 30, n % 5 + 1).tolist() for n in range(25)])
    row = Fixed(draw.permutation(30))
    whole = ranked(row, given, exclude=True, ties=0)
    counted: list[int] = []
    monkeypatch.setattr(ranking, "SCORES", 90)
    parts = ranked(row, given, exclude=True, ties=0, count=counted.append)
    assert counted == [3] * 8 + [1]
    assert parts.rank.tolist() == whole.rank.tolist()
    assert np.array_equal(np.asarray(parts.shown), np.asarray(whole.shown))


def test_scores_that_are_no_numbers_are_refused():
    with pytest.raises(DivergedError, match="no numbers"):
        ranked(Fixed([1, np.nan, 2]), cases([0]))
