"""Caches of keys and values: what is appended is what is read again, for whoever and beside whomever, in few bytes."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from lerl.agents.kv_cache import CollectiveKV, FullKV, ItemKV, KVCache, LowRankKV, OwnKV
from lerl.agents.transformer import distance_bias, distance_slopes

WIDTH, HEADS, ITEMS, WINDOW = 8, 2, 30, 6
SLOPES = distance_slopes(HEADS)
BACK = -SLOPES[:, None] * torch.arange(WINDOW)
KINDS: dict[str, Callable[[], KVCache]] = {
    "full": lambda: FullKV(WIDTH, HEADS),
    "items": lambda: ItemKV(torch.randn(ITEMS, 2 * WIDTH), HEADS),
    "lowrank": lambda: LowRankKV(WIDTH, HEADS, 3),
    "own": lambda: OwnKV(WIDTH, HEADS, 2),
    "collective": lambda: CollectiveKV(WIDTH, HEADS, 1, 16),
}


@pytest.fixture(params=KINDS)
def cache(request: pytest.FixtureRequest) -> KVCache:
    torch.manual_seed(0)
    return KINDS[request.param]().eval()


def tokens_of(cache: KVCache, *shape: int) -> Tensor:
    return torch.randint(ITEMS, shape) if isinstance(cache, ItemKV) else torch.randn(*shape, WIDTH)


def read_again(cache: KVCache, tokens: Tensor, queries: Tensor) -> Tensor:
    """What queries (B, T, d) find, by attention over all tokens (B, T, ...)."""
    keys, values = (one.unflatten(-1, (HEADS, -1)).transpose(1, 2) for one in cache(tokens))
    asked = queries.unflatten(-1, (HEADS, -1)).transpose(1, 2)
    bias = distance_bias(SLOPES, tokens.shape[1], WINDOW)
    shares = (asked @ keys.transpose(-1, -2) / (WIDTH // HEADS) ** 0.5 + bias).softmax(-1)
    return (shares @ values).transpose(1, 2).flatten(2)


def test_appending_equals_reading_again_beyond_the_window_too(cache: KVCache):
    tokens, queries = tokens_of(cache, 3, 20), torch.randn(3, 20, WIDTH)
    again = read_again(cache, tokens, queries)
    cache.reserve(3, WINDOW)
    rows = cache.prefill(tokens[:, :9], torch.tensor([9, 2, 0]), torch.arange(3))
    for row, begun in enumerate((9, 2, 0)):
        for event in range(begun, 20):
            cache.append(rows[row : row + 1], tokens[row, event][None])
            found = cache.attend(queries[row, event][None], rows[row : row + 1], BACK)
            torch.testing.assert_close(found[0], again[row, event], atol=1e-5, rtol=0)
    assert again.std() > 0.1


def test_a_prefill_equals_appending_from_nothing(cache: KVCache):
    tokens = tokens_of(cache, 2, 10)
    cache.reserve(4, WINDOW)
    cache.prefill(tokens, torch.tensor([10, 4]), torch.tensor([0, 1]))
    for event in range(10):
        rows = torch.tensor([2, 3] if event < 4 else [2])
        cache.append(rows, tokens[: len(rows), event])
    for kept in cache.places:
        torch.testing.assert_close(kept[2:], kept[:2], atol=1e-6, rtol=0)
    assert cache.counts.tolist() == [10, 4, 10, 4]


def test_alike_histories_are_kept_alike_and_order_of_users_is_nothing(cache: KVCache):
    tokens, lengths = tokens_of(cache, 5, 7), torch.tensor([7, 3, 5, 1, 7])
    tokens[4, :4] = tokens[0, :4]  # a common beginning
    order, queries = torch.tensor([3, 0, 4, 1, 2]), torch.randn(5, WIDTH)
    rows = cache.prefill(tokens, lengths)
    mixed = cache.prefill(tokens[order], lengths[order])
    assert rows.tolist() == [0, 1, 2, 3, 4]
    assert mixed.tolist() == [5, 6, 7, 8, 9]  # they stand beside the first
    for kept in cache.places:
        assert torch.equal(kept[0, :4], kept[4, :4])
        assert torch.equal(kept[mixed], kept[rows][order])
    bias = -SLOPES[:, None] * torch.arange(cache.window)
    one, other = cache.attend(queries, rows, bias), cache.attend(queries[order], mixed, bias)
    torch.testing.assert_close(other, one[order], atol=1e-6, rtol=0)


def test_an_empty_row_finds_nothing(cache: KVCache):
    cache.reserve(1, WINDOW)
    assert not cache.attend(torch.randn(1, WIDTH), torch.tensor([0]), BACK).any()


BYTES = {"full": 2 * WIDTH * 4, "items": 1, "lowrank": 3 * 4, "own": 4 * 4, "collective": 2 * 4 + 2}
SHARED = {"full": 0, "items": ITEMS * 2 * WIDTH * 4, "lowrank": 0, "own": 2 * (WIDTH - 2) * 4,
          "collective": 2 * 16 * (WIDTH - 1) * 4}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_bytes_are_those_of_the_arrays_that_are_held(name: str):
    cache = KINDS[name]()
    cache.reserve(10, WINDOW)
    assert cache.nbytes() == 10 * (WINDOW * BYTES[name] + 4) + SHARED[name]  # 4 for how many events a row has
    cache.reserve(0, WINDOW)
    assert cache.nbytes() == SHARED[name]


@pytest.mark.parametrize(("pool", "kind"), [(256, torch.uint8), (257, torch.int16), (40_000, torch.int32)])
def test_rows_of_a_pool_are_numbered_by_the_smallest_type(pool: int, kind: torch.dtype):
    cache = CollectiveKV(4, 2, 1, pool)
    assert cache.keep(torch.randn(3, 4))[1].dtype == kind
    with torch.no_grad():
        cache.route.bias[pool - 1] = cache.route.bias[-1] = 1e6  # the last row of both
    keys, values = cache.eval()(torch.randn(3, 4))
    assert torch.equal(keys[:, 1:], cache.pool[0, -1].expand(3, -1))
    assert torch.equal(values[:, 1:], cache.pool[1, -1].expand(3, -1))


def test_a_gate_is_learned_and_then_gone():
    torch.manual_seed(1)
    cache, tokens = CollectiveKV(WIDTH, HEADS, 1, 16, peak=1.0, balance=1.0), torch.randn(200, WIDTH)
    gate, used = cache.seen(tokens)
    with torch.no_grad():
        (soft, _), _ = cache.learned(tokens, torch.ones(200, dtype=torch.bool))
        share = soft[:, 1:] / cache(tokens)[0][:, 1:]
    torch.testing.assert_close(share, share[:, :1].expand_as(share), atol=1e-4, rtol=0)
    assert 0 < share.min() <= share.max() < 1
    optimiser = torch.optim.Adam(cache.parameters(), 0.05)
    for _ in range(60):
        optimiser.zero_grad()
        cache.learned(tokens, torch.ones(200, dtype=torch.bool))[1].backward()
        optimiser.step()
    sharper, spread = cache.seen(tokens)
    assert sharper > 0.95 > gate
    assert spread > 8
    assert used > 1


def test_controls_and_kinds_refuse_what_saves_nothing():
    for made in (lambda: CollectiveKV(8, 2, 8), lambda: OwnKV(8, 2, 0), lambda: LowRankKV(8, 2, 16)):
        with pytest.raises(ValueError, match=r"must be from 1 to \d+, below what is kept whole, given"):
            made()
    with pytest.raises(ValueError, match="a table that is numbered must have from 1"):
        CollectiveKV(8, 2, 1, 0)


def test_the_own_control_knows_events_by_nothing_else():
    cache = OwnKV(WIDTH, HEADS, 2)
    keys, values = cache(torch.randn(5, WIDTH))
    assert np.ptp(keys[:, 2:].detach().numpy(), axis=0).max() == 0
    assert np.ptp(values[:, 2:].detach().numpy(), axis=0).max() == 0
    assert np.ptp(keys[:, :2].detach().numpy(), axis=0).min() > 0


def test_a_pool_may_begin_near_whole_keys_and_values():
    torch.manual_seed(0)
    whole, cache, tokens = FullKV(WIDTH, HEADS), CollectiveKV(WIDTH, HEADS, 2, 16), torch.randn(12, WIDTH)
    cache.begin(whole, tokens, 0)
    for mine, theirs in zip(cache(tokens), whole(tokens), strict=True):  # as many rows as tokens: nothing is lost
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-5)
    assert cache.logits(tokens).amax(-1).mean(0).tolist() == pytest.approx([4.0, 4.0], abs=1e-4)

    many = torch.randn(300, WIDTH)
    cache.begin(whole, many, 0)
    mine, theirs = cache(many)[0][:, 2:], whole(many)[0][:, 2:]  # each goes to the row that is nearest
    nearest = cache.pool[0][torch.cdist(theirs, cache.pool[0]).argmin(1)]
    assert torch.equal(mine, nearest)
    assert ((mine - theirs) ** 2).sum() < 0.7 * ((theirs - theirs.mean(0)) ** 2).sum()
