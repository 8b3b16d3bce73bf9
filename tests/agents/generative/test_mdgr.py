"""Digits in any order: masks as they are said to be, chances that enumeration finds too, and nothing that is barred."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from lerl.agents.generative.masked import HIDDEN, MaskedDecoder, MaskedNetwork
from lerl.agents.generative.masks import adapted, seen_before, uniform
from lerl.agents.generative.mdgr import MDGR, MDGRSettings
from lerl.agents.generative.reveal import item_chances
from lerl.agents.generative.tiger import BEHIND, Tiger, TigerSettings
from lerl.agents.next_item.ranking import ndcg, ranked
from lerl.envs.codes import Codes
from lerl.envs.sequences import Choices, Lists, leave_one_out

ITEMS = 40
SMALL: dict[str, Any] = {
    "width": 16, "layers": 1, "heads": 2, "dropout": 0.0, "rate": 0.01, "batch": 128, "length": 8, "epochs": 6,
    "size": 8, "levels": 3,
}  # fmt: skip


def some_codes() -> Codes:
    """Codes of 40 items: three digits of 4, 5 and 3, and a last one for those that share them."""
    draw = np.random.default_rng(0)
    bare = np.stack([draw.integers(0, size, ITEMS) for size in (4, 5, 3)], axis=1)
    last = [int((bare[:item] == bare[item]).all(1).sum()) for item in range(ITEMS)]
    return Codes(np.c_[bare, last].astype(np.int16), (4, 5, 3, max(last) + 1))


@pytest.fixture(scope="module", params=[0.0, 0.1])
def network(request: pytest.FixtureRequest) -> MaskedNetwork:
    torch.manual_seed(0)
    codes, settings = some_codes(), MDGRSettings(**SMALL)
    made = MaskedNetwork(codes, settings, MaskedDecoder(codes, 16, 2, 2, 0.0, request.param)).eval()
    for weights in made.parameters():  # far from the even chances of first weights
        torch.nn.init.normal_(weights, std=0.4)
    return made


@pytest.fixture(scope="module")
def lists() -> Tensor:
    return torch.from_numpy(Lists.of([[3, 7, 1], [5], [2, 9, 9, 30, 11], [0, 39]]).newest(8))


def found(network: MaskedNetwork, lists: Tensor, beams: int, warm_up: int, allowed: Tensor | None = None) -> Tensor:
    with torch.no_grad():
        return item_chances(network.decoder, *network.read(lists), beams, warm_up, allowed)


def enumerated(network: MaskedNetwork, one: Tensor, warm_up: int) -> list[float]:
    """The log-chance of every item after a list (1, T), item by item: digits are revealed by their own passes."""
    digits, codes = network.decoder.bare, some_codes()
    with torch.no_grad():
        newest, history = network.read(one)
        zero, last = torch.zeros(1, dtype=torch.int64), network.decoder.digits[3]
        if network.decoder.temperature:
            last = normalize(last, dim=-1)
        who = type("Who", (), {"row": zero, "slot": zero, "slots": 1})

        def going_on(known: list[int], left: int) -> dict[int, float]:
            fits = [
                item for item in range(ITEMS)
                if all(digit in (HIDDEN, int(digits[item, at])) for at, digit in enumerate(known))
            ]  # fmt: skip
            states = network.decoder(newest, torch.tensor([known]), history, who)[0]
            said = [network.decoder.chances(at, states[at]).exp() for at in range(3)]
            hidden = [at for at in range(3) if known[at] == HIDDEN]
            if left:
                at = max(hidden, key=lambda place: float(said[place].max()))
                codes_there = sorted({int(digits[item, at]) for item in fits})
                whole = sum(float(said[at][code]) for code in codes_there)
                chances = {}
                for code in codes_there:
                    below = going_on([*known[:at], code, *known[at + 1 :]], left - 1)
                    chances |= {item: float(said[at][code]) / whole * one for item, one in below.items()}
                return chances
            chances = {}
            for item in fits:
                alike = [other for other in range(ITEMS) if (codes.bare[other] == codes.bare[item]).all()]
                vectors = [network.decoder.digits[at][digits[item, at]] for at in range(3)]
                asked = states[3] * (1 + 4 * (vectors[0] + vectors[1] + vectors[2]))  # 4 is the root of the width
                if network.decoder.temperature:
                    asked = normalize(asked, dim=-1) / 0.1
                said_last = {other: float((asked @ last[codes.digits[other, 3]]).double().exp()) for other in alike}
                told = said_last[item] / sum(said_last.values())
                chances[item] = told * float(np.prod([float(said[at][digits[item, at]]) for at in hidden]))
            whole = sum(chances.values())
            return {item: one / whole for item, one in chances.items()}

        chances = going_on([HIDDEN] * 3, warm_up)
    return [float(np.log(chances[item])) for item in range(ITEMS)]


@pytest.mark.parametrize("warm_up", [0, 1, 2])
def test_with_as_many_beams_as_items_all_get_the_chances_that_enumeration_gives(
    network: MaskedNetwork, lists: Tensor, warm_up: int
):
    """All at once, two stages, and all bare digits one after another: in each list's own order, code by code."""
    mine = found(network, lists, ITEMS, warm_up)
    assert mine.exp().sum(1).tolist() == pytest.approx([1] * len(lists), abs=1e-5)
    assert mine.exp().max() > 0.2  # not nearly even
    for row, one in enumerate(lists):
        wanted = enumerated(network, one[one >= 0][None], warm_up)
        assert mine[row].tolist() == pytest.approx(wanted, abs=1e-3, rel=1e-3)
        assert int(mine[row].argmax()) == int(np.argmax(wanted))


def test_few_beams_keep_exact_chances_of_what_they_find_as_all_partial_codes_lie_apart(
    network: MaskedNetwork, lists: Tensor
):
    few, every = found(network, lists, 2, 1), found(network, lists, ITEMS, 1)
    there = few > -torch.inf
    assert ((there.sum(1) >= 2) & (there.sum(1) < ITEMS)).all()
    torch.testing.assert_close(few[there], every[there], atol=1e-4, rtol=1e-4)
    for row, one in enumerate(lists):  # alone as in a batch
        alone = found(network, one[one >= 0][None], 2, 1)
        torch.testing.assert_close(alone[0], few[row], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("warm_up", [0, 1, 2])
def test_a_mask_bars_items_and_changes_no_chances(network: MaskedNetwork, lists: Tensor, warm_up: int):
    allowed = torch.from_numpy(np.random.default_rng(2).random((len(lists), ITEMS)) < 0.3)
    allowed[1] = False
    allowed[1, 33] = True
    allowed[3] = False
    every = found(network, lists, ITEMS, warm_up).masked_fill(~allowed, -torch.inf)
    torch.testing.assert_close(found(network, lists, ITEMS, warm_up, allowed), every, atol=1e-4, rtol=1e-4)
    few = found(network, lists, 3, warm_up, allowed)
    least = torch.tensor([3, 1, 3, 0])  # no beam dies while items are left
    assert ((few > -torch.inf).sum(1) >= least).all()
    assert not ((few > -torch.inf) & ~allowed).any()


def test_the_loss_asks_for_hidden_digits_alone_and_for_the_last_where_items_share_the_others():
    codes = some_codes()
    torch.manual_seed(0)
    decoder = MaskedDecoder(codes, 16, 2, 1, 0.0)
    groups = codes.groups
    single = int(np.flatnonzero(np.bincount(groups)[groups] == 1)[0])
    shared = int(np.flatnonzero(np.bincount(groups)[groups] > 1)[0])
    items, hidden = torch.tensor([single, shared]), torch.tensor([[True, False, True], [False, True, False]])
    states = torch.randn(2, 4, 16, requires_grad=True)
    losses = decoder.losses(states, items, hidden)
    (slopes,) = torch.autograd.grad(losses.sum(), states)
    assert (slopes.abs().sum(2) > 0).tolist() == [[True, False, True, False], [False, True, False, True]]
    wanted = (
        -(
            decoder.chances(0, states)[0, 0, codes.bare[single, 0]]
            + decoder.chances(2, states)[0, 2, codes.bare[single, 2]]
        )
        / 2
    )
    assert losses[0].item() == pytest.approx(wanted.item(), rel=1e-5)
    other = decoder.bare.clone()
    other[single, 1] = (other[single, 1] + 1) % 5  # what a digit is that is seen is not asked for
    decoder.bare = other
    assert torch.equal(decoder.losses(states, items, hidden), losses)


def test_smoothing_asks_a_share_of_all_possible_codes():
    """Even logits but for one: by hand over 5 codes, and over the fellows of an item for the last digit."""
    codes = Codes(np.array([[0, 0], [1, 0], [1, 1], [2, 0]], np.int16), (3, 2))
    decoder = MaskedDecoder(codes, 4, 1, 1, 0.0)
    torch.manual_seed(0)
    states, hidden = torch.randn(1, 2, 4) * 50, torch.ones(1, 1, dtype=torch.bool)
    bare, last = decoder.chances(0, states[:, 0])[0], decoder.last_chances(states[:, 1], torch.tensor([1]))[0]
    asked = [0.8 * said[1] + 0.2 * said.mean() for said in (bare, last)]
    assert decoder.losses(states, torch.tensor([2]), hidden, 0.2).item() == pytest.approx(-sum(asked).item() / 2)
    alone = -(0.8 * bare[2] + 0.2 * bare.mean())
    assert decoder.losses(states, torch.tensor([3]), hidden, 0.2).item() == pytest.approx(alone.item())


def test_counts_are_of_the_same_code_in_the_list_before():
    digits = torch.tensor([[0, 5], [0, 6], [1, 5]])
    lists = torch.tensor([[0, 1, 0, 2], [2, 2, -1, -1]])
    # before 1: item 0 shares its first; before 0: items 0 and 1 share its first, 0 its second; before 2: 0 twice
    assert seen_before(lists, digits).tolist() == [[1, 0], [2, 1], [0, 2], [1, 1]]


def test_adapted_masks_grow_with_training_and_hide_what_surprises_while_uniform_ones_do_neither():
    torch.manual_seed(0)
    counts = torch.tensor([[0, 3, 3, 3]]).expand(20_000, -1)
    for progress in (0.0, 0.25, 1.0):
        hidden = adapted(counts, progress, 2.0)
        assert hidden.any(1).all()
        assert hidden.sum(1).float().mean().item() == pytest.approx(1 + 3 * progress, abs=0.03)
    assert adapted(counts, 0.0, 2.0).float().mean(0).tolist() == pytest.approx([0.25] * 4, abs=0.02)
    half = adapted(counts, 0.5, 2.0)
    one = half[half.sum(1) == 1].float().mean(0)  # weights 1 and 1 / 4 three times
    assert one.tolist() == pytest.approx([4 / 7, 1 / 7, 1 / 7, 1 / 7], abs=0.03)
    even = adapted(counts, 0.5, 0.0)
    assert even[even.sum(1) == 1].float().mean(0).tolist() == pytest.approx([0.25] * 4, abs=0.03)
    hidden = uniform(20_000, 4, torch.device("cpu"))
    assert (torch.bincount(hidden.sum(1)) / 20_000).tolist() == pytest.approx([0, 0.25, 0.25, 0.25, 0.25], abs=0.02)
    assert hidden.float().mean(0).tolist() == pytest.approx([2.5 / 4] * 4, abs=0.02)


def test_over_a_whole_training_adapted_masks_hide_each_number_of_digits_as_often_as_uniform_ones():
    torch.manual_seed(0)
    counts = torch.zeros(2000, 4, dtype=torch.int64)
    numbers = torch.cat([adapted(counts, (epoch + 0.5) / 60, 1.0).sum(1) for epoch in range(60)])
    assert (torch.bincount(numbers) / len(numbers)).tolist() == pytest.approx([0, 0.25, 0.25, 0.25, 0.25], abs=0.01)


def fitted(choices: Choices, kind: Callable[..., Any] = MDGR, settings: Any = MDGRSettings, **more: Any) -> Any:
    row, split = kind(ITEMS, settings(**{**SMALL, **more})), leave_one_out(choices)
    row.know(choices.texts)
    row.fit(split.train, split.validation, seed=0)
    return row


def test_with_all_digits_seen_but_one_a_small_catalogue_is_known_by_heart():
    """Each digit names the item in another order; lists are drawn anew, so that they say nothing of it."""
    draw = np.random.default_rng(0)
    names = [draw.permutation(16) for _ in range(3)]
    codes = Codes(np.stack([*names, np.zeros(16)], axis=1).astype(np.int16), (16, 16, 16, 1))
    torch.manual_seed(0)
    network = MaskedNetwork(codes, MDGRSettings(**{**SMALL, "width": 32}), MaskedDecoder(codes, 32, 2, 1, 0.0))
    optimiser = torch.optim.AdamW(network.parameters(), lr=0.01, weight_decay=0.0)
    for _ in range(100):
        lists = torch.randint(0, 16, (16, 9))
        loss = network.losses(lists, uniform(128, 3, lists.device)).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        newest, history, who, items = network.every(torch.randint(0, 16, (16, 9)))
        for place in range(3):
            known = network.decoder.bare[items].clone()
            known[:, place] = HIDDEN
            said = network.decoder.chances(place, network.decoder(newest, known, history, who)[:, place]).argmax(1)
            assert (said == network.decoder.bare[items, place]).float().mean() > 0.99


def test_codes_parameters_first_weights_and_digest_are_those_of_its_control(walk: Choices):
    mine = fitted(walk, epochs=1)
    control = fitted(walk, Tiger, TigerSettings, epochs=1, codes="product")
    assert mine.codes.digest == control.codes.digest
    torch.manual_seed(0)
    one = mine.encoder()
    torch.manual_seed(0)
    other = control.encoder()
    ours, theirs = one.state_dict(), other.state_dict()
    assert set(ours) - set(theirs) == {"decoder.masks"}
    assert set(theirs) - set(ours) == {"decoder.start"}
    assert all(torch.equal(ours[name], theirs[name]) for name in set(ours) & set(theirs))
    sizes = [sum(weights.numel() for weights in made.parameters()) for made in (one, other)]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.05)


def test_codes_of_words_are_learned_and_it_says_what_a_list_costs(walk: Choices):
    row, test = fitted(walk), leave_one_out(walk).test
    floor = (1 / np.log2(np.arange(2, 12))).sum() / ITEMS
    assert ndcg(ranked(row, test), 10).mean() > 2 * floor
    assert row.asked == len(test)  # those of validation are not counted
    assert row.notes[-2].startswith("codes 8 x ")
    start = "2 passes of the decoder a list, where tiger has 4 for as many digits; "
    assert row.notes[-1].startswith(start)
    mean = float(row.notes[-1].removeprefix(start).removesuffix(" ms a list"))
    assert mean == pytest.approx(1000 * row.seconds / len(test), abs=0.01)
    assert mean > 0
    scores = row.scores(test.histories)
    assert np.exp(scores[scores > BEHIND]).sum() <= len(test) + 1e-3
    assert fitted(walk, epochs=1, warm_up=0).notes[-1].startswith("1 pass of the decoder a list, ")


def test_masks_of_a_training_are_as_its_settings_say(walk: Choices, monkeypatch: pytest.MonkeyPatch):
    def shares(**more: Any) -> list[float]:
        """The mean number of hidden digits of each of four epochs."""
        told: dict[float, list[float]] = {}
        hidden = MDGR.hidden

        def noted(self: MDGR, lists: Tensor) -> Tensor:
            drawn = hidden(self, lists)
            told.setdefault(self.progress, []).extend(drawn.sum(1).tolist())
            return drawn

        with monkeypatch.context() as changed:
            changed.setattr(MDGR, "hidden", noted)
            fitted(walk, epochs=4, **more)
        assert list(told) == [0.25, 0.5, 0.75, 1.0]
        return [float(np.mean(numbers)) for numbers in told.values()]

    assert shares() == pytest.approx([1.5, 2.0, 2.5, 3.0], abs=0.12)
    assert shares(masks="uniform") == pytest.approx([2.0] * 4, abs=0.12)
    ways = ({}, {"beta": 0.0}, {"masks": "uniform"})
    test = leave_one_out(walk).test.histories
    assert len({fitted(walk, epochs=2, **way).scores(test).tobytes() for way in ways}) == 3


def test_a_training_that_was_killed_goes_on_to_the_same_bits(walk: Choices, tmp_path: Path):
    class Killed(Exception):
        pass

    def kill(done: int, total: int, newest: str) -> None:
        if done == 2:
            raise Killed

    split = leave_one_out(walk)

    def made() -> MDGR:
        row = MDGR(ITEMS, MDGRSettings(**{**SMALL, "epochs": 4, "dropout": 0.2}))
        row.know(walk.texts)
        return row

    whole, again = made(), made()
    whole.fit(split.train, split.validation, seed=1)
    with pytest.raises(Killed):
        made().fit(split.train, split.validation, seed=1, checkpoint=tmp_path / "c.pt", report=kill)
    told: list[int] = []
    again.fit(
        split.train, split.validation, seed=1, checkpoint=tmp_path / "c.pt", report=lambda done, *_: told.append(done)
    )
    assert told == [3, 4]
    for name, weights in whole.network.state_dict().items():
        assert torch.equal(weights, again.network.state_dict()[name])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"masks": "many"}, "masks must be one of adapted, uniform, given 'many'"),
        ({"beta": -1.0}, "beta must be from 0 to 100, given -1"),
        ({"warm_up": 4}, "warm_up must be from 0 to below 4 levels, given 4"),
        ({"warm_up": -1}, "warm_up must be from 0 to below 4 levels, given -1"),
        ({"codes": "words"}, "codes must be one of text, product, random, given 'words'"),
        ({"beams": 0}, "beams must be from 1 to 1,000, given 0"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(settings: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        MDGRSettings(**settings)


def test_data_and_codes_that_cannot_be_used_are_refused(walk: Choices):
    split = leave_one_out(walk)
    with pytest.raises(ValueError, match=r"nothing says what items are: .* given none; give a file of items"):
        MDGR(ITEMS).fit(split.train, split.validation, seed=0)
    row = MDGR(ITEMS, MDGRSettings(levels=2, size=8))
    row.know(walk.texts)
    with pytest.raises(ValueError, match=r"2 digits of 8 name 64 items, .* given 40; use more levels or a larger size"):
        row.fit(split.train, split.validation, seed=0)
    with pytest.raises(ValueError, match="the last digit must count the items with the same other digits, from 0"):
        MaskedDecoder(Codes(np.array([[0, 1], [1, 0]], np.int16), (2, 2)), 8, 2, 1, 0.0)
