"""Thoughts before digits: off they change nothing, on they see nothing of what follows, aligned they say the group."""

from typing import Any

import numpy as np
import pytest
import torch

from lerl.agents.generative.s2gr import S2GR, S2GRSettings
from lerl.agents.generative.thinking import Goal
from lerl.agents.generative.tiger import Tiger, TigerSettings
from lerl.envs.codes import Codes, code_groups
from lerl.envs.sequences import Cases, Choices, Lists, leave_one_out

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
    more = {**SMALL, "epochs": 2, "smooth": 0.5}
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


def test_it_says_how_often_the_first_thought_is_right(walk: Choices):
    row = fitted(S2GR(ITEMS, S2GRSettings(**{**SMALL, "epochs": 12}, groups=8, align=1.0)), walk)
    validation = leave_one_out(walk).validation
    group = row.network.alignment.group(0).numpy()
    right = group[row.codes.digits[validation.targets, 0]]
    share = (row.first_groups(validation.histories).argmax(1) == right).mean()
    most = np.bincount(right).max() / len(right)
    said = f"thoughts: first group right for {share:.1%} of {len(right)} validation users, the largest group for "
    assert row.notes[-1] == f"{said}{most:.1%}"
    assert share > most
    unaligned = fitted(S2GR(ITEMS, S2GRSettings(**{**SMALL, "epochs": 1}, align=0)), walk)
    assert not any(note.startswith("thoughts") for note in unaligned.notes)


def test_smoothed_vectors_and_balanced_codes_are_said_beside_plain_ones(walk: Choices):
    plain = fitted(Tiger(ITEMS, TigerSettings(**{**SMALL, "epochs": 1})), walk)
    row = fitted(S2GR(ITEMS, S2GRSettings(**{**SMALL, "epochs": 1}, smooth=0.7)), walk)
    assert "vectors are smoothed by what stands together in training lists" in row.notes
    assert f"beside them plain residual {plain.codes.about()}" in row.notes
    assert row.codes.digest != plain.codes.digest
    same = fitted(S2GR(ITEMS, S2GRSettings(**{**SMALL, "epochs": 1}, smooth=0.0)), walk)
    assert same.codes.digest == plain.codes.digest


def test_the_graph_is_of_training_lists_alone(walk: Choices):
    """What validation and test users chose does not change codes."""
    split = leave_one_out(walk)
    row = S2GR(ITEMS, S2GRSettings(**{**SMALL, "epochs": 1}, smooth=0.7))
    row.know(walk.texts)
    turned = Cases(split.validation.users, split.validation.histories, split.validation.targets[::-1].copy())
    row.fit(split.train, turned, seed=0)
    assert (
        row.codes.digest == fitted(S2GR(ITEMS, S2GRSettings(**{**SMALL, "epochs": 1}, smooth=0.7)), walk).codes.digest
    )


def test_a_second_decoder_names_what_follows_and_first_thoughts_come_nearer_to_it(walk: Choices):
    more = {**SMALL, "epochs": 12}
    on = fitted(S2GR(ITEMS, S2GRSettings(**more, global_weight=1.0)), walk)
    validation = leave_one_out(walk).validation
    whole = torch.from_numpy(Lists.of(
        [[*validation.histories[row], validation.targets[row]] for row in range(len(validation))]
    ).newest(9))  # fmt: skip
    network = on.network
    with torch.no_grad():
        newest, history, who, items = network.every(whole)
        thoughts = network.decoder.forced(newest, history, who, items)[:, 0]
        said = network.decoder.goal(newest, history, who)
        near = torch.nn.functional.cosine_similarity(thoughts, said).mean()
        far = torch.nn.functional.cosine_similarity(thoughts, said.roll(1, 0)).mean()
        digits = network.decoder.prefixes.digits
        vectors = torch.stack([network.decoder.digits[n][digits[:, n]] for n in range(digits.shape[1] - 1)]).mean(0)
        likeness = torch.nn.functional.normalize(said, dim=-1) @ torch.nn.functional.normalize(vectors, dim=-1).T
        place = (likeness > likeness.gather(1, items[:, None])).sum(1).float().mean()
    assert near > 0.5
    assert near > far + 0.05
    assert place < 0.6 * ITEMS / 2  # half of all items, if it said nothing


def test_what_the_second_decoder_says_is_told_apart_from_others_but_not_from_the_same_item():
    goal, same = Goal(2, 1, 0.0, 1.0), torch.tensor([3, 3, 5])
    said = torch.tensor([[1.0, 0], [1, 0], [0, 1]])
    found = goal.loss(said, said, same, -said)
    assert float(found) == pytest.approx(2 * np.log(1 + np.exp(-1)) + np.log(1 + 2 * np.exp(-1)) + 3 * 2, abs=1e-5)


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
        ({"smooth": 1.0}, "smooth must be from 0 to 0.99, given 1"),
        ({"global_weight": -1}, "global_weight must be from 0 to 10, given -1"),
        ({"codes": "words"}, "codes must be one of"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(settings: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        S2GRSettings(**settings)
