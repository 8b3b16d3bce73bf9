"""Rows that say codes, read item by item: the same scores as of lists that are read whole, and the bytes it takes."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from lerl.agents.generative.follower import CodedFollower, CodedReader
from lerl.agents.generative.mdgr import MDGR
from lerl.agents.generative.s2gr import S2GR
from lerl.agents.generative.tca import TCA
from lerl.agents.generative.tiger import BEHIND, Tiger
from lerl.envs.sequences import Choices, Lists, leave_one_out
from tests.agents.generative.test_generative import ITEMS, SMALL

KINDS: list[tuple[type[Tiger], dict[str, Any]]] = [
    (Tiger, {"layers": 2, "decoder": 2}),
    (S2GR, {"layers": 2, "global_weight": 0.1}),
    (TCA, {"teacher_epochs": 1}),
    (MDGR, {"levels": 3}),
]


def fitted(kind: type[Tiger], choices: Choices, **more: Any) -> Tiger:
    row = kind(ITEMS, kind.Settings(**{**SMALL, "beams": ITEMS, "epochs": 1, **more}))
    row.know(choices.texts)
    split = leave_one_out(choices)
    row.fit(split.train, split.validation, seed=0)
    with torch.no_grad():
        for weights in row.network.parameters():  # far from the even chances of first weights
            weights.add_(0.2 * torch.randn(weights.shape, generator=torch.Generator().manual_seed(0)))
    return row


@pytest.mark.parametrize(("kind", "more"), KINDS)
def test_a_list_that_grows_has_the_chances_of_one_that_is_read_whole(
    kind: type[Tiger], more: dict[str, Any], walk: Choices
):
    row, draw = fitted(kind, walk, **more), np.random.default_rng(0)
    follower, slots, lists = row.follower(5), np.array([4, 0, 2]), [[3], [5, 1, 2], [9]]
    assert isinstance(follower, CodedFollower)
    for step in range(14):  # beyond 8 items, where the oldest is forgotten
        histories = Lists.of(lists)
        scores, again = follower.scores(slots, histories), row.scores(histories)
        assert (scores > BEHIND).all()
        np.testing.assert_allclose(scores, again, atol=1e-5, rtol=1e-5)
        allowed = draw.random((3, ITEMS)) < 0.5
        np.testing.assert_allclose(
            follower.within(slots, histories, allowed, 3), row.within(histories, allowed, 3), atol=1e-5, rtol=1e-5
        )
        newest, _ = row.network.read(torch.from_numpy(histories.newest(8)))
        torch.testing.assert_close(follower.states[slots], newest, atol=1e-5, rtol=1e-5)
        lists = [one + draw.integers(ITEMS, size=draw.integers(3)).tolist() for one in lists]
        if step == 6:
            lists[1] = [7, 8]  # another person
    assert min(map(len, lists)) > 8
    assert np.abs(again - again[:1]).max() > 0.1


def test_what_is_read_of_a_user_does_not_depend_on_who_is_beside(walk: Choices):
    row = fitted(Tiger, walk, width=64, length=20, layers=2)
    draw = np.random.default_rng(0)
    beside, alone = (CodedReader(row.network, 20, 20) for _ in range(2))
    for count, read in ((20, "prefill"), (3, "append"), (17, "append"), (1, "append"), (20, "prefill"), (9, "append")):
        slots = np.append(draw.permutation(19)[: count - 1], 19)
        given = draw.integers(ITEMS, size=(count, 5)) if read == "prefill" else draw.integers(ITEMS, size=count)
        states = getattr(beside, read)(torch.from_numpy(given), torch.from_numpy(slots))
        own = getattr(alone, read)(torch.from_numpy(given[-1:]), torch.tensor([4]))
        assert torch.equal(states[-1], own[0])
    for (keys, values), (own_keys, own_values) in zip(
        beside.history(torch.tensor([19])).pairs, alone.history(torch.tensor([4])).pairs, strict=True
    ):
        assert torch.equal(keys, own_keys)
        assert torch.equal(values, own_values)


def test_only_what_is_new_is_read_until_the_window_is_full(walk: Choices, monkeypatch: pytest.MonkeyPatch):
    follower: Any = fitted(Tiger, walk).follower(2)
    read: list[Any] = []

    def noted(whole: Any, items: Any, rows: Any) -> Any:
        read.append(items.tolist())
        return whole(items, rows)

    for name in ("append", "prefill"):
        monkeypatch.setattr(follower.reader, name, partial(noted, getattr(follower.reader, name)))
    full = list(range(8))
    for one, other in (([1, 2], full[:7]), ([1, 2, 3], full), ([1, 2, 3, 4], full), ([1, 2, 3, 4], [*full, 9])):
        follower.scores(np.arange(2), Lists.of([one, other]))
    assert read == [
        [[1, 2, -1, -1, -1, -1, -1], full[:7]],
        [3, 7],
        [4],
        [[*full[1:], 9]],  # all after the item that is forgotten knew of it
    ]


def test_bytes_are_those_of_the_arrays_that_are_held(walk: Choices):
    follower: Any = fitted(Tiger, walk, layers=2).follower(3)
    # three layers of 3 slots, 8 items of 2 x 16 numbers of 4 bytes each, and a count of 4 bytes for each slot
    assert follower.reader.nbytes() == (3 * 8 * 2 * 16 * 4 + 3 * 4,) * 3
    assert follower.nbytes() == sum(follower.reader.nbytes())
