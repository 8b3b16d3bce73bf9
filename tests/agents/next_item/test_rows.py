"""One contract for every row, and what rows learn from lists whose next item is plain to see."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from lerl.agents.next_item import neural, softmax
from lerl.agents.next_item.base import DivergedError, NextItem
from lerl.agents.next_item.counts import Counts
from lerl.agents.next_item.neural import NeuralSettings
from lerl.agents.next_item.ranking import ndcg, ranked
from lerl.agents.next_item.registry import ALWAYS, ROWS, row_class, row_settings
from lerl.agents.next_item.sasrec import SASRec
from lerl.envs.sequences import Choices, Lists, Split, leave_one_out

ITEMS = 30
SMALL: dict[str, Any] = {"width": 16, "layers": 1, "dropout": 0.1, "rate": 0.01, "batch": 64, "length": 6}
TITLES = [f"kind{place // 6} colour{place % 6}" for place in range(ITEMS)]
LEARN = [name for name, row in ROWS.items() if row.learns]


def chain(users: int = 120, seed: int = 0) -> Split:
    """Users who go through the items in one fixed order, from anywhere, 4 to 9 of them."""
    draw = np.random.default_rng(seed)
    order = np.random.default_rng(1).permutation(ITEMS)
    lists = [order[(draw.integers(ITEMS) + np.arange(draw.integers(4, 10))) % ITEMS] for _ in range(users)]
    return leave_one_out(Choices(tuple(map(str, range(users))), tuple(map(str, range(ITEMS))), Lists.of(lists)))


def made(name: str, **more: Any) -> NextItem:
    kind = row_class(name)
    two = {"layers": 2} if hasattr(kind.Settings, "first") else {}  # the first is kept by item
    row = kind(ITEMS, kind.Settings(**{**SMALL, **two, **more}) if name in LEARN else None)
    row.know({"title": TITLES})
    return row


@pytest.fixture(scope="module")
def data() -> Split:
    return chain()


@pytest.mark.parametrize("name", ROWS)
def test_every_row_keeps_the_contract(name: str, data: Split):
    row = made(name, epochs=2)
    fitted = row.fit(data.train, data.validation, seed=3)
    assert fitted.parameters > 0
    assert (fitted.epochs > 0) is (name in LEARN)
    histories = data.test.histories.take(np.arange(5))
    scores = row.scores(histories)
    assert (scores.shape, scores.dtype) == ((5, ITEMS), np.float32)
    alone = np.concatenate([row.scores(histories.take(np.array([one]))) for one in range(5)])
    assert np.allclose(scores, alone, atol=1e-5)  # a batch is as one after another
    again = made(name, epochs=2)
    again.fit(data.train, data.validation, seed=3)
    assert again.scores(histories).tobytes() == scores.tobytes()
    assert row.about() == asdict(row.settings)


@pytest.mark.parametrize(("name", "least"), [("counts", 0.95), ("sasrec", 0.9), ("hstu", 0.9), ("tiger", 0.9)])
def test_a_fixed_order_is_learned_and_popularity_does_not_help(name: str, least: float, data: Split):
    row = made(name, epochs=12)
    row.fit(data.train, data.validation, seed=0)
    assert ndcg(ranked(row, data.test), 10).mean() > least
    floor = made("popularity")
    floor.fit(data.train, data.validation, seed=0)
    assert ndcg(ranked(floor, data.test), 10).mean() < 0.4


def test_counts_of_a_small_case_by_hand():
    """Lists 0 1 2 and 0 1: after 0 came 1 twice next and 2 once at distance 2; after 1 came 2 once."""
    row = Counts(4)
    row.fit(Lists.of([[0, 1, 2], [0, 1]]), chain().validation, seed=0)
    scores = row.scores(Lists.of([[0], [0, 1]]))
    assert scores[0, :3].tolist() == pytest.approx([0, 2, 0.5], abs=1e-5)
    assert scores[1, :3].tolist() == pytest.approx([0, 2 / 4, 1 + 0.5 / 4], abs=1e-5)
    assert scores[0, 3] < scores[0, 0]  # popularity orders what nothing led to


def test_what_lies_beyond_the_length_is_not_read_and_longer_lists_are_cut(data: Split):
    row = made("sasrec", epochs=1)
    row.fit(Lists.of([np.arange(ITEMS), np.arange(20)]), data.validation, seed=0)
    tail = [5, 6, 7, 8, 9, 10]
    assert np.array_equal(row.scores(Lists.of([tail])), row.scores(Lists.of([[1, 2, 3, *tail]])))


def test_pieces_predict_every_item_but_the_first_once():
    pieces = neural._pieces(Lists.of([np.arange(12), [7], [3, 4]]), 6)
    lists = [pieces[row].tolist() for row in range(len(pieces))]
    assert lists == [[6, 7, 8, 9, 10, 11], [1, 2, 3, 4, 5, 6], [0, 1], [3, 4]]
    assert sorted(item for one in lists for item in one[1:]) == sorted([*range(1, 12), 4])


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_and_its_slopes_are_those_of_torch(smoothing: float, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(softmax.PART, "cpu", 100)  # three rows at once
    torch.manual_seed(0)
    states, items = (torch.randn(n, 8, dtype=torch.float64, requires_grad=True) for n in (20, 33))
    targets = torch.randint(0, 33, (20,))
    mine = softmax.full_softmax(states, items, targets, smoothing)
    theirs = cross_entropy(states @ items.T, targets, reduction="sum", label_smoothing=smoothing)
    torch.testing.assert_close(mine, theirs)
    for own, other in zip(*(torch.autograd.grad(one / 20, (states, items)) for one in (mine, theirs)), strict=True):
        torch.testing.assert_close(own, other)


@pytest.mark.parametrize("name", LEARN)
def test_a_training_that_was_killed_goes_on_to_the_same_weights(name: str, data: Split, tmp_path: Path):
    class Killed(Exception):
        pass

    def kill(done: int, total: int, newest: str) -> None:
        if done == 2 and "teacher" not in newest:
            raise Killed

    whole, again = made(name, epochs=4), made(name, epochs=4)
    whole.fit(data.train, data.validation, seed=1)
    with pytest.raises(Killed):
        made(name, epochs=4).fit(data.train, data.validation, seed=1, checkpoint=tmp_path / "c.pt", report=kill)
    told: list[int] = []
    report = lambda done, total, newest: told.append(done) if "teacher" not in newest else None  # noqa: E731
    again.fit(data.train, data.validation, seed=1, checkpoint=tmp_path / "c.pt", report=report)
    assert told == [3, 4]
    assert again.scores(data.test.histories).tobytes() == whole.scores(data.test.histories).tobytes()


def test_the_epoch_that_is_best_on_validation_is_kept_and_patience_ends_training(
    data: Split, monkeypatch: pytest.MonkeyPatch
):
    found = iter([0.2, 0.5, 0.4, 0.3, 0.9])
    monkeypatch.setattr(neural.NeuralNextItem, "validate", lambda self, cases: next(found))
    row = made("sasrec", epochs=20, patience=2)
    fitted = row.fit(data.train, data.validation, seed=0)
    assert (fitted.epochs, fitted.best) == (4, 2)
    assert fitted.validation == (0.2, 0.5, 0.4, 0.3)
    short, found = made("sasrec", epochs=20, patience=1), iter([0.2, 0.5, 0.4])
    short.fit(data.train, data.validation, seed=0)
    histories = data.test.histories
    assert row.scores(histories).tobytes() == short.scores(histories).tobytes()


def test_a_loss_that_is_no_number_is_one_clear_error(data: Split):
    row = SASRec(ITEMS, NeuralSettings(**SMALL))
    encoder = row.encoder()
    torch.nn.init.constant_(encoder.item.weight, torch.nan)
    row.encoder = lambda: encoder  # type: ignore[method-assign]
    with pytest.raises(
        DivergedError, match=r"loss of SASRec is no number any more; lower its learning rate, given 0\.01"
    ):
        row.fit(data.train, data.validation, seed=0)


@pytest.mark.parametrize("name", LEARN)
def test_what_an_epoch_costs_is_measured_and_parameters_are_those_that_are_learned(name: str, data: Split):
    parameters, seconds = made(name).measure(data.train, data.validation)
    assert seconds > 0
    assert parameters == made(name, epochs=1).fit(data.train, data.validation, seed=0).parameters


def test_the_registry_says_what_there_is():
    assert set(ALWAYS) <= set(ROWS)
    with pytest.raises(ValueError, match=r"no row 'sasrek'; there are popularity, .*Did you mean sasrec\?"):
        row_class("sasrek")
    assert row_settings("sasrec", {"dropout": "0.3", "batch": "64"}) == NeuralSettings(dropout=0.3, batch=64)


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("sasrec", {"depth": "3"}, r"--sasrec\.depth is no setting; of sasrec there are: --sasrec\.width,"),
        ("popularity", {"rate": "1"}, "of popularity there are: none"),
        ("sasrec", {"batch": "many"}, r"--sasrec\.batch must be a whole number, given 'many'"),
        ("sasrec", {"dropout": "1"}, r"dropout must be from 0 to 0\.95, given 1"),
        ("hstu", {"heads": "3"}, "heads must divide width 64, given 3"),
        ("counts", {"window": "0"}, "window must be from 1 to 1,000, given 0"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(name: str, given: dict[str, str], message: str):
    with pytest.raises(ValueError, match=message):
        row_settings(name, given)
