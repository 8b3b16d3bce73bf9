"""Thoughts before digits: off they change nothing, on they see nothing of what follows, aligned they say the group."""

from typing import Any

import numpy as np
import pytest
import torch

from lerl.agents.generative.s2gr import S2GR, S2GRSettings
from lerl.agents.generative.tiger import Tiger, TigerSettings
from lerl.envs.codes import Codes, code_groups
from lerl.envs.sequences import Choices, leave_one_out

ITEMS = 40
SMALL: dict[str, Any] = {
    "width": 16, "layers": 1, "heads": 2, "dropout": 0.0, "rate": 0.01, "batch": 128, "length": 8, "epochs": 6,
    "size": 8,
}  # fmt: skip


def fitted(row: Any, choices: Choices) -> Any:
    row.know(choices.texts)
    split = leave_one_out(choices)
    row.fit(split.train, split.validation, seed=0)
    return row


def test_without_thoughts_it_is_tiger_bit_for_bit(walk: Choices):
    histories = leave_one_out(walk).test.histories
    more = {**SMALL, "epochs": 2}
    tiger, off = (
        fitted(Tiger(ITEMS, TigerSettings(**more)), walk),
        fitted(S2GR(ITEMS, S2GRSettings(**more, thinking=0)), walk),
    )
    assert off.scores(histories).tobytes() == tiger.scores(histories).tobytes()
    on = fitted(S2GR(ITEMS, S2GRSettings(**more, align=0)), walk)
    assert on.scores(histories).tobytes() != tiger.scores(histories).tobytes()
    with pytest.raises(ValueError, match="thinking is 0: there are no thoughts; set it to 1"):
        off.first_groups(histories)


def test_thoughts_say_the_group_of_the_next_item_and_see_nothing_of_what_follows(walk: Choices):
    row = fitted(S2GR(ITEMS, S2GRSettings(**{**SMALL, "epochs": 12}, groups=8, align=1.0)), walk)
    test = leave_one_out(walk).test
    found = row.first_groups(test.histories)
    assert found.sum(1) == pytest.approx(1, abs=1e-5)
    wanted = row.network.alignment.group(0).numpy()[row.codes.digits[test.targets, 0]]
    assert (found.argmax(1) == wanted).mean() > np.bincount(wanted).max() / len(wanted) + 0.1
    digits = row.codes.digits
    alike = np.flatnonzero(digits[:, 0] == digits[0, 0])[:2]  # their second digits differ, read after its own state
    with torch.no_grad():
        one, two = (row.network.forced(torch.tensor([[3, 4, item]]))[0][1] for item in alike.tolist())
    assert torch.equal(one[:2], two[:2])
    assert not torch.equal(one[2], two[2])


def test_groups_of_codes_are_of_codes_that_stand_for_near_vectors():
    """Four codes whose items lie at 0, 0.1, 10 and 10.1: two groups."""
    vectors = np.array([[0, 0], [0.1, 0], [10, 0], [10.1, 0], [0, 0]], np.float32)
    codes = Codes(np.array([[0, 0], [1, 0], [2, 0], [3, 0], [0, 1]], np.int16), (4, 2))
    (groups,) = code_groups(codes, vectors, 2)
    assert groups[0] == groups[1] != groups[2] == groups[3]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"thinking": 2}, "thinking must be from 0 to 1, given 2"),
        ({"groups": 1}, "groups must be from 2 to 1,024, given 1"),
        ({"nearness": 0.0}, "nearness must be from 0.01 to 10, given 0"),
        ({"codes": "words"}, "codes must be one of"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(settings: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        S2GRSettings(**settings)
