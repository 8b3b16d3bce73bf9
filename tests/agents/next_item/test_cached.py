"""`sasrec` with smaller caches: read item by item as when read whole, in the bytes that are printed."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lerl.agents.kv_cache import ItemKV
from lerl.agents.next_item.agent import LENGTH
from lerl.agents.next_item.cached_sasrec import CollectiveSASRec, CollectiveSettings, ItemsSASRec
from lerl.agents.next_item.registry import BESIDE, ROWS, claims_of, controls_of, row_class, row_settings
from lerl.envs.sequences import Lists
from tests.agents.next_item.test_rows import ITEMS, chain, made

CACHED = ["sasrec+items", "sasrec+collective", "sasrec+lowrank", "sasrec+own"]


def fitted(name: str, **more: Any) -> Any:
    row, data = made(name, epochs=1, **more), chain()
    row.fit(data.train, data.validation, seed=0)
    return row


@pytest.mark.parametrize("first", ["items", "same"])
@pytest.mark.parametrize("name", CACHED)
def test_a_list_that_grows_has_the_scores_of_one_that_is_read_whole(name: str, first: str):
    row = fitted(name, length=8, **({"first": first} if name != "sasrec+items" else {}))
    draw, lists = np.random.default_rng(0), [[3], [5, 1, 2], [9]]
    follower, slots = row.follower(5), np.array([4, 0, 2])
    assert isinstance(follower.network.caches[0], ItemKV) is (name == "sasrec+items" or first == "items")
    for step in range(14):  # beyond 8 items, where the oldest is forgotten
        histories = Lists.of(lists)
        scores, again = follower.scores(slots, histories), row.scores(histories)
        np.testing.assert_allclose(scores, again, atol=1e-5)
        assert (scores.argsort(1) == again.argsort(1)).all()
        lists = [one + draw.integers(ITEMS, size=draw.integers(3)).tolist() for one in lists]
        if step == 6:
            lists[1] = [7, 8]  # another person
    assert np.abs(again - again[:1]).max() > 0.1


def test_only_what_is_new_is_read(monkeypatch: pytest.MonkeyPatch):
    row = fitted("sasrec+collective", length=8)
    follower, read = row.follower(2), []

    def noted(whole: Any, items: Any, rows: Any) -> Any:
        read.append(items.tolist())
        return whole(items, rows)

    for name in ("append", "prefill"):
        monkeypatch.setattr(follower.network, name, partial(noted, getattr(follower.network, name)))
    for histories in ([[1, 2], [3]], [[1, 2], [3, 4]], [[1, 2], [3, 4]], [[5], [3, 4]]):
        follower.scores(np.arange(2), Lists.of(histories))
    assert read == [[[1, 2], [3, -1]], [4], [[5]]]


def test_two_followers_of_a_row_do_not_meet():
    row = fitted("sasrec+collective", length=8)
    one, other = row.follower(1), row.follower(1)
    one.scores(np.arange(1), Lists.of([[1, 2, 3]]))
    other.scores(np.arange(1), Lists.of([[4]]))
    scores = one.scores(np.arange(1), Lists.of([[1, 2, 3, 4]]))
    np.testing.assert_allclose(scores, row.scores(Lists.of([[1, 2, 3, 4]])), atol=1e-5)


@pytest.mark.parametrize("name", CACHED)
def test_the_bytes_that_are_printed_are_those_that_are_held(name: str):
    row = fitted(name, length=8)
    users = len(chain().train)
    row.network.hold(users, 8)
    held = sum(row.network.nbytes())
    arrays = [one for cache in row.network.caches for one in (*cache.places, cache.counts, *cache.shared())]
    assert held == sum(one.numpy().nbytes if not one.requires_grad else one.detach().numpy().nbytes for one in arrays)
    assert row.notes[0].startswith(f"cache: {held:,} bytes for {users} users, 8 events each")
    assert f"of the {row.settings.layers * users * 8 * 2 * 16 * 4:,} of whole keys and values" in row.notes[0]


def test_the_smaller_cache_of_the_first_layer_is_named():
    notes = fitted("sasrec+collective").notes
    assert "smaller there: item numbers, which are exact there" in notes[1]
    assert notes[2].startswith("pool of layer 2: mean gate 0.")
    assert [one.partition(":")[0] for one in fitted("sasrec+collective", first="same").notes[2:]] == [
        "pool of layer 1",
        "pool of layer 2",
    ]
    few = fitted("sasrec+lowrank", length=1, rank=1).notes[1]  # a table of all items, for hardly an event each
    assert "smaller there: the cache of the others" in few


def test_gates_become_one_and_rows_stay_in_use():
    data = chain(users=400)
    row = made("sasrec+collective", epochs=12, first="same", pool=16, peak=1.0, balance=1.0)
    row.fit(data.train, data.validation, seed=0)
    for line in row.notes[2:]:
        gate, used = float(line.split("gate ")[1].split(",")[0]), float(line.split("perplexity ")[1].split(" ")[0])
        assert gate > 0.9
        assert used >= 8


def test_a_training_may_begin_where_one_with_whole_keys_and_values_ends(tmp_path: Path):
    data, more = chain(), {"epochs": 1, "first": "same", "pool": 16}
    found = {}
    for epochs in (0, 3):
        row = made("sasrec+collective", whole_epochs=epochs, **more)
        found[epochs] = row.fit(data.train, data.validation, seed=0, checkpoint=tmp_path / f"{epochs}.pt")
    assert found[3].validation[0] > found[0].validation[0] + 0.1
    assert row.notes[-1].startswith("began with whole keys and values, validation NDCG@10 0.")
    assert row.begins is None
    assert (tmp_path / "3-whole.pt").is_file()
    again = made("sasrec+collective", whole_epochs=3, **more)
    again.fit(data.train, data.validation, seed=0)
    histories = Lists.of([[1, 2], [3]])
    assert np.array_equal(again.scores(histories), row.scores(histories))
    with pytest.raises(ValueError, match=r"whole_epochs must be from 0 to 10,000, given -1"):
        row_settings("sasrec+collective", {"whole_epochs": "-1"})


def test_bad_settings_are_refused_in_one_line():
    for given, message in (
        ({"own": "64"}, r"own must be from 1 to 63, given 64"),
        ({"pool": "0"}, r"pool must be from 1 to 1,048,576, given 0"),
        ({"first": "last"}, r"first must be one of items, same, given 'last'"),
        ({"layers": "1"}, r"layers must be 2 or more where first is items: no other cache would be used, given 1"),
        ({"peak": "-1"}, r"peak must be from 0 to 10, given -1"),
    ):
        with pytest.raises(ValueError, match=message):
            row_settings("sasrec+collective", given)
    with pytest.raises(ValueError, match=r"rank must be from 1 to 127, given 128"):
        row_settings("sasrec+lowrank", {"rank": "128"})
    data = chain(users=20)
    row = made("sasrec+collective", pool=5000)
    with pytest.raises(ValueError, match=r"pool must be at most the \d+ events that are learned from, given 5,000"):
        row.fit(data.train, data.validation, seed=0)


def test_caches_are_claimed_beside_whole_ones_and_controls():
    settings = {name: row_class(name).Settings() for name in ("sasrec+collective", "counts")}
    assert set(controls_of(settings)) == {"sasrec", "sasrec+lowrank", "sasrec+own"}
    found = claims_of([*CACHED, "sasrec"])
    assert found == list(BESIDE)
    assert (found[0].margin, found[0].least) == (-0.03, -0.01)
    assert claims_of(["sasrec+collective"]) == []


def test_sessions_are_no_longer_than_what_is_kept():
    row = CollectiveSASRec(ITEMS, CollectiveSASRec.sized(8, 0.01))
    assert isinstance(row.settings, CollectiveSettings)
    assert row.settings == replace(CollectiveSettings(), width=8, rate=0.01)
    assert row.settings.length >= LENGTH
    assert not ROWS["sasrec+own"].plays
    assert ItemsSASRec.plays
