"""A teacher's chances, digit by digit: they are those of a search through all items, and 0 of them is tiger."""

from typing import Any

import numpy as np
import pytest
import torch

from lerl.agents.generative import soft_targets
from lerl.agents.generative.decoder import Decoder
from lerl.agents.generative.prefixes import Prefixes
from lerl.agents.generative.s2gr import S2GR, S2GRSettings
from lerl.agents.generative.soft_targets import Labels, digit_shares, masses, soft_loss, teacher_shares
from lerl.agents.generative.tca import S2GRTCA, TCA, S2GRTCASettings, TCASettings
from lerl.agents.generative.tiger import Tiger, TigerSettings
from lerl.envs.codes import Codes
from lerl.envs.sequences import Choices, Lists, leave_one_out

ITEMS = 40
SMALL: dict[str, Any] = {
    "width": 16, "layers": 1, "heads": 2, "dropout": 0.0, "rate": 0.01, "batch": 128, "length": 8, "epochs": 2,
    "size": 8,
}  # fmt: skip
CODES = Codes(np.array([[0, 0, 0], [0, 1, 0], [1, 0, 0], [1, 0, 1], [1, 2, 0], [2, 1, 0]], np.int16), (3, 3, 2))


def test_shares_are_those_of_a_search_through_all_items():
    torch.manual_seed(0)
    prefixes, scores = Prefixes(CODES), torch.randn(4, 6)
    chances, below, digits = scores.softmax(1), masses(prefixes, scores), CODES.digits
    for item in range(6):
        for depth in range(3):
            before = prefixes.path[item, depth].expand(4)
            found = digit_shares(prefixes, below[depth + 1], depth, before)
            under = (digits[:, :depth] == digits[item, :depth]).all(1)
            wanted = np.stack(
                [chances[:, under & (digits[:, depth] == v)].sum(1) for v in range(CODES.sizes[depth])], 1
            )
            assert found.sum(1).tolist() == pytest.approx([1] * 4)
            assert found.numpy() == pytest.approx(wanted / wanted.sum(1, keepdims=True), abs=1e-6)


def decoder() -> Decoder:
    torch.manual_seed(1)
    return Decoder(CODES, 8, 2, 1, 0.0).double()


def test_without_a_share_it_is_the_chance_of_the_item_and_a_teacher_who_is_sure_is_learned_as_the_item_would_be():
    made, items = decoder(), torch.tensor([3, 0, 5, 2])
    states, scores = torch.randn(4, 3, 8, dtype=torch.float64), torch.randn(4, 6, dtype=torch.float64)
    plain = -made.log_chances(states, items).sum()
    shares = teacher_shares(made.prefixes, scores, items)
    torch.testing.assert_close(soft_loss(made, states, items, shares, 0.0), plain)
    others = torch.tensor([2, 1, 5, 3])  # of the same first digit; 2 and 3 differ from each other in the last alone
    sure = torch.full((4, 6), -60.0, dtype=torch.float64)
    sure[torch.arange(4), others] = 60.0
    shares = teacher_shares(made.prefixes, sure[[0, 3]], items[[0, 3]])
    taught = soft_loss(made, states[[0, 3]], items[[0, 3]], shares, 1.0)
    torch.testing.assert_close(taught, -made.log_chances(states[[0, 3]], others[[0, 3]]).sum())


def test_its_slope_is_that_of_differences():
    made, items = decoder(), torch.tensor([3, 1])
    scores = torch.randn(2, 6, dtype=torch.float64)
    states = torch.randn(2, 3, 8, dtype=torch.float64, requires_grad=True)
    shares = teacher_shares(made.prefixes, scores, items)
    assert torch.autograd.gradcheck(lambda given: soft_loss(made, given, items, shares, 0.3), states)


def test_labels_that_are_kept_are_those_that_are_made_each_time_in_whatever_order_lists_come(
    monkeypatch: pytest.MonkeyPatch,
):
    draw, asked = np.random.default_rng(0), []
    pieces = Lists.of([draw.integers(0, 6, draw.integers(2, 9)) for _ in range(30)])
    vectors = torch.randn(6, 6, generator=torch.Generator().manual_seed(0))

    def scores(lists: torch.Tensor) -> torch.Tensor:
        asked.append(len(lists))
        read = vectors[lists.clamp(min=0)].cumsum(1)[:, :-1]  # of a place and all before it
        return read[lists[:, 1:] >= 0]

    monkeypatch.setattr(soft_targets, "AT_ONCE", 20)
    labels, prefixes = Labels(Prefixes(CODES), scores), Prefixes(CODES)
    labels.keep(pieces, torch.device("cpu"))
    assert len(asked) > 2
    assert sum(asked) == 30
    asked.clear()
    for rows in ([4, 29, 0], [17], list(range(29, -1, -1))):
        lists = torch.from_numpy(pieces.take(np.array(rows)).newest(9))
        items = lists[:, 1:][lists[:, 1:] >= 0]
        found = labels.of(lists, items)
        assert not asked
        for kept, made in zip(found, Labels(prefixes, scores).of(lists, items), strict=True):
            torch.testing.assert_close(kept, made, atol=1e-3, rtol=1e-3)
        asked.clear()
    monkeypatch.setattr(soft_targets, "MOST", 100)
    many = Labels(prefixes, scores)
    many.keep(pieces, torch.device("cpu"))
    assert not many.kept


def fitted(row: Any, choices: Choices) -> Any:
    row.know(choices.texts)
    split = leave_one_out(choices)
    row.fit(split.train, split.validation, seed=0)
    return row


def test_with_alpha_0_it_is_tiger_bit_for_bit_and_nothing_is_taught(walk: Choices):
    histories = leave_one_out(walk).test.histories
    tiger, off = (
        fitted(Tiger(ITEMS, TigerSettings(**SMALL)), walk),
        fitted(TCA(ITEMS, TCASettings(**SMALL, alpha=0)), walk),
    )
    assert off.scores(histories).tobytes() == tiger.scores(histories).tobytes()
    assert not hasattr(off, "teacher")
    thinks, off = (
        fitted(S2GR(ITEMS, S2GRSettings(**SMALL)), walk),
        fitted(S2GRTCA(ITEMS, S2GRTCASettings(**SMALL, alpha=0)), walk),
    )
    assert off.scores(histories).tobytes() == thinks.scores(histories).tobytes()


@pytest.mark.parametrize("kind", [TCA, S2GRTCA])
def test_the_teacher_is_asked_once_and_what_it_says_of_another_list_is_something_else(
    kind: Any, walk: Choices, monkeypatch: pytest.MonkeyPatch
):
    asked, found = [], {}
    taught = TCA._taught

    def counted(row: Any, lists: torch.Tensor) -> torch.Tensor:
        asked.append(len(lists))
        return taught(row, lists)

    monkeypatch.setattr(TCA, "_taught", counted)
    histories = leave_one_out(walk).test.histories
    for teacher in ("sasrec", "shuffled"):
        asked.clear()
        row = fitted(kind(ITEMS, kind.Settings(**{**SMALL, "epochs": 3}, alpha=0.3, teacher=teacher)), walk)
        found[teacher] = row.scores(histories)
        assert sum(asked) == (leave_one_out(walk).train.lengths > 1).sum()  # each list, once, in three epochs
    assert not np.array_equal(found["sasrec"], found["shuffled"])
    monkeypatch.setattr(soft_targets, "MOST", 10)
    row = fitted(kind(ITEMS, kind.Settings(**SMALL, alpha=0.3)), walk)
    assert row.notes[-1].endswith("takes more than 1,024 MiB and was made anew in each epoch")


def test_the_more_weight_the_teacher_has_the_nearer_the_student_comes_to_it(walk: Choices):
    """The mean divergence of the student's chances of all items from the teacher's."""
    histories = leave_one_out(walk).test.histories
    lists = torch.from_numpy(histories.newest(8))

    def apart(alpha: float) -> float:
        row = fitted(TCA(ITEMS, TCASettings(**{**SMALL, "epochs": 15}, teacher_epochs=15, alpha=alpha)), walk)
        assert row.notes[-1].startswith("teacher: sasrec, validation NDCG@10 0.")
        with torch.no_grad():
            own = row.network.item_log_chances(lists, torch.arange(ITEMS).expand(len(lists), -1))
        taught = torch.from_numpy(row.teacher.scores(histories)).log_softmax(1)
        return float((own.exp() * (own - taught)).sum(1).mean())

    found = [apart(alpha) for alpha in (0.01, 0.5, 0.95)]
    assert found == sorted(found, reverse=True)
    assert found[2] < 0.95 * found[0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"alpha": 1.5}, "alpha must be from 0 to 1, given 1.5"),
        ({"teacher": "hstu"}, "teacher must be one of sasrec, shuffled, given 'hstu'"),
        ({"smoothing": 0.1}, "smoothing must be 0 where alpha is above 0, given 0.1"),
        ({"teacher_epochs": 0}, "teacher_epochs must be from 1 to 10,000, given 0"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(settings: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        TCASettings(**settings)
