"""Semantic IDs said digit by digit: exact chances, a search that finds what enumeration does, codes that mean much."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lerl.agents.generative.decoder import Decoder, Who
from lerl.agents.generative.network import SemanticNetwork
from lerl.agents.generative.prefixes import Prefixes
from lerl.agents.generative.s2gr import S2GR
from lerl.agents.generative.thinking import ThinkingDecoder
from lerl.agents.generative.tiger import BEHIND, Tiger, TigerSettings
from lerl.agents.next_item.ranking import ndcg, ranked
from lerl.envs.codes import Codes
from lerl.envs.sequences import Choices, Lists, leave_one_out

ITEMS = 40
SMALL: dict[str, Any] = {
    "width": 16, "layers": 1, "heads": 2, "dropout": 0.0, "rate": 0.01, "batch": 128, "length": 8, "epochs": 6,
    "size": 8,
}  # fmt: skip


def some_codes(seed: int = 0) -> Codes:
    """Codes of 40 items: two digits of 4 and 5, and a last one for those that share both."""
    draw = np.random.default_rng(seed)
    bare = np.stack([draw.integers(0, 4, ITEMS), draw.integers(0, 5, ITEMS)], axis=1)
    last = [int((bare[:item] == bare[item]).all(1).sum()) for item in range(ITEMS)]
    return Codes(np.c_[bare, last].astype(np.int16), (4, 5, max(last) + 1))


@pytest.fixture(scope="module", params=[(Decoder, 0.0), (Decoder, 0.1), (ThinkingDecoder, 0.1)])
def network(request: pytest.FixtureRequest) -> SemanticNetwork:
    torch.manual_seed(0)
    kind, temperature = request.param
    codes, settings = some_codes(), TigerSettings(**SMALL)
    made = SemanticNetwork(codes, settings, kind(codes, 16, 2, 2, 0.0, temperature)).eval()
    for weights in made.parameters():  # far from the even chances of first weights
        torch.nn.init.normal_(weights, std=0.4)
    return made


@pytest.fixture(scope="module")
def lists() -> Tensor:
    rows = [[3, 7, 1], [5], [2, 9, 9, 30, 11], [0, 39]]
    return torch.from_numpy(Lists.of(rows).newest(8))


def every_item(network: SemanticNetwork, lists: Tensor) -> Tensor:
    with torch.no_grad():
        return network.item_log_chances(lists, torch.arange(ITEMS).expand(len(lists), -1))


def test_prefixes_are_those_of_a_search_through_all_items():
    codes = some_codes()
    prefixes, digits = Prefixes(codes), codes.digits
    allowed = torch.from_numpy(np.random.default_rng(1).random((3, ITEMS)) < 0.2)
    for item in range(ITEMS):
        for depth in range(3):
            node, below = prefixes.path[item, depth], (digits[:, :depth] == digits[item, :depth]).all(1)
            wanted = np.bincount(digits[below, depth], minlength=codes.sizes[depth]) > 0
            assert prefixes.possible(depth, node[None])[0].tolist() == wanted.tolist()
            assert int(prefixes.items(depth, node)) == below.sum()
            assert prefixes.after(depth, node, prefixes.digits[item, depth]) == prefixes.path[item, depth + 1]
            assert prefixes.living(depth, allowed)[:, node].tolist() == (allowed.numpy() & below).any(1).tolist()
    assert prefixes.order[prefixes.path[:, 3]].tolist() == list(range(ITEMS))


def test_chances_of_all_items_sum_to_1_and_are_products_of_those_of_digits(network: SemanticNetwork, lists: Tensor):
    found = every_item(network, lists)
    assert found.exp().sum(1).tolist() == pytest.approx([1] * len(lists), abs=1e-5)
    assert found.exp().max() > 0.2  # not nearly even
    decoder, item = network.decoder, 17
    newest, history = network.read(lists)

    rows, total, past = torch.arange(len(lists)), torch.zeros(len(lists)), None
    tokens = decoder.first(newest)
    for depth in range(3):  # one digit after another, with a past
        states, past = decoder.next_state(tokens, past, history, Who(rows, torch.zeros_like(rows), 1), depth)
        path, digit = decoder.prefixes.path[item, depth].expand(len(rows)), decoder.prefixes.digits[item, depth]
        total = total + decoder.chances(depth, states, path)[:, digit]
        tokens = decoder.token(depth, digit.expand(len(rows)))
    torch.testing.assert_close(total.detach(), found[:, item], atol=1e-5, rtol=1e-5)


def test_what_is_learned_at_each_place_is_the_chance_that_is_asked_for_later(network: SemanticNetwork):
    whole = torch.tensor([[3, 7, 1, 20], [5, 6, -1, -1]])
    with torch.no_grad():
        found = network.decoder.log_chances(*network.forced(whole)).tolist()
    before = [[3], [3, 7], [3, 7, 1], [5]]
    asked = [
        every_item(network, torch.tensor([one]))[0, item].item()
        for one, item in zip(before, [7, 1, 20, 6], strict=True)
    ]
    assert found == pytest.approx(asked, abs=1e-4)


@pytest.mark.parametrize("beams", [40, 100])
def test_with_as_many_beams_as_items_the_search_finds_what_enumeration_does(
    network: SemanticNetwork, lists: Tensor, beams: int
):
    wanted = every_item(network, lists).sort(1, descending=True)
    with torch.no_grad():
        items, chances = network.recommend(lists, beams)
    torch.testing.assert_close(chances, wanted.values, atol=1e-4, rtol=1e-4)
    assert (items == wanted.indices).float().mean() > 0.95  # chances may be the same but for the last bits


def test_a_mask_bars_items_and_changes_no_chances(network: SemanticNetwork, lists: Tensor):
    allowed = torch.from_numpy(np.random.default_rng(2).random((len(lists), ITEMS)) < 0.3)
    allowed[1] = False
    allowed[1, 33] = True
    allowed[3] = False
    wanted = every_item(network, lists).masked_fill(~allowed, -torch.inf)
    with torch.no_grad():
        items, chances = network.recommend(lists, 40, allowed)
        few, _ = network.recommend(lists, 3, allowed)
    for row in range(len(lists)):
        there = items[row] >= 0
        assert sorted(items[row][there].tolist()) == torch.nonzero(allowed[row])[:, 0].tolist()
        torch.testing.assert_close(chances[row][there], wanted[row][items[row][there]], atol=1e-4, rtol=1e-4)
    assert (few >= 0).sum(1).tolist() == [3, 1, 3, 0]  # no beam dies while items are left
    assert few[1, 0] == 33


def test_few_beams_find_different_items_with_their_exact_chances(network: SemanticNetwork, lists: Tensor):
    with torch.no_grad():
        items, chances = network.recommend(lists, 5)
    every = every_item(network, lists)
    assert items.shape == (4, 5)
    assert all(len(set(row)) == 5 for row in items.tolist())
    torch.testing.assert_close(chances, every.gather(1, items), atol=1e-4, rtol=1e-4)
    for row, one in enumerate(lists):  # alone as in a batch
        with torch.no_grad():
            alone, _ = network.recommend(one[one >= 0][None], 5)
        assert alone[0].tolist() == items[row].tolist()


def fitted(choices: Choices, **more: Any) -> Tiger:
    row, split = Tiger(ITEMS, TigerSettings(**{**SMALL, **more})), leave_one_out(choices)
    row.know(choices.texts)
    row.fit(split.train, split.validation, seed=0)
    return row


def test_codes_of_texts_are_above_the_same_codes_dealt_by_chance(walk: Choices):
    test = leave_one_out(walk).test
    text, random = (ndcg(ranked(fitted(walk, codes=kind), test), 10).mean() for kind in ("text", "random"))
    assert text > random + 0.05


def test_items_that_no_beam_finds_share_one_score_behind_the_others(walk: Choices):
    row = fitted(walk, epochs=1, beams=12)
    scores = row.scores(Lists.of([[1, 2], [3]]))
    assert ((scores > BEHIND).sum(1) == 12).all()
    assert ((scores == BEHIND).sum(1) == ITEMS - 12).all()


def test_it_says_how_its_codes_are(walk: Choices):
    row = fitted(walk, epochs=1, codes="random")
    assert row.notes[0] == "items by 21 words of title"
    assert "codes are dealt to items by chance" in row.notes
    assert row.notes[-1].startswith("codes 8 x 5 x 1: used 1.00, 1.00, 1.00, perplexity 8, 5, 1, ")
    same = row.same_code()
    assert same.shape == (ITEMS,)
    assert len(np.unique(same)) == len(np.unique(row.codes.bare, axis=0))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"codes": "words"}, "codes must be one of text, product, random, given 'words'"),
        ({"levels": 0}, "levels must be from 1 to 8, given 0"),
        ({"beams": 5000}, "beams must be from 1 to 1,000, given 5,000"),
        ({"width": 30}, "heads must divide width 30, given 4"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(settings: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        TigerSettings(**settings)


def test_data_that_do_not_say_what_items_are_are_refused(walk: Choices):
    split = leave_one_out(walk)
    with pytest.raises(
        ValueError, match=r"nothing says what items are: .* given none; give a file of items with --items"
    ):
        Tiger(ITEMS).fit(split.train, split.validation, seed=0)
    row = Tiger(ITEMS, TigerSettings(levels=1, size=64))
    row.know(walk.texts)
    with pytest.raises(ValueError, match=r"1 digits of 64 name 64 items, .* given 40"):
        row.fit(split.train, split.validation, seed=0)


@pytest.mark.parametrize("kind", [Tiger, S2GR])
def test_log_probs_are_exact_obey_a_mask_and_have_a_gradient(kind: type[Tiger], walk: Choices):
    row, split = kind(ITEMS, kind.Settings(**{**SMALL, "epochs": 2})), leave_one_out(walk)
    row.know(walk.texts)
    row.fit(split.train, split.validation, seed=0)
    histories = Lists.of([[3, 7, 1], [5], [2, 9, 9, 30, 11]])
    everything = np.tile(np.arange(ITEMS), (3, 1))
    found = row.log_prob(histories, everything)
    assert found.exp().sum(1).tolist() == pytest.approx([1] * 3, abs=1e-5)
    with torch.no_grad():  # as a search through all items, which goes digit by digit
        items, chances = row.network.recommend(torch.from_numpy(histories.newest(8)), ITEMS)
    torch.testing.assert_close(found.detach().gather(1, items), chances, atol=1e-4, rtol=1e-4)

    allowed = np.random.default_rng(2).random((3, ITEMS)) < 0.3
    left = row.log_prob(histories, everything, allowed)
    wanted = found.exp().detach().numpy() * allowed
    assert left.exp().detach().numpy() == pytest.approx(wanted / wanted.sum(1, keepdims=True), abs=1e-5)
    few = np.array([np.flatnonzero(one)[:2] for one in allowed])
    some = row.log_prob(histories, few, allowed)
    torch.testing.assert_close(some, left.gather(1, torch.from_numpy(few)))

    some.sum().backward()  # and a step along it makes them likelier
    with torch.no_grad():
        for weights in row.network.parameters():
            if weights.grad is not None:
                weights += 1e-3 * weights.grad
    assert (row.log_prob(histories, few, allowed) > some).all()


def test_log_probs_of_nothing_are_refused(walk: Choices):
    row = fitted(walk, epochs=1)
    with pytest.raises(ValueError, match="a history is empty"):
        row.log_prob(Lists.of([[1], []]), np.zeros((2, 1), int))
    with pytest.raises(ValueError, match="after some history no item is allowed"):
        row.log_prob(Lists.of([[1]]), np.zeros((1, 1), int), np.zeros((1, ITEMS), bool))
