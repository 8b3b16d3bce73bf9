"""A pool of reflections and the critic that fills it."""

import itertools
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lerl.planners.base import Sessions
from lerl.planners.llm.prompt import AnswerError
from lerl.planners.llm.reflection import CAPACITY, Pool, first_words, read_reflection, session_rewards, session_text


def sessions(items: Any, feedback: Any, membership: Any = None) -> Sessions:
    """Sessions of one item a category unless a membership is given."""
    items = np.array(items, np.int32)
    member = np.eye(int(items.max()) + 1, dtype=bool) if membership is None else np.array(membership, bool)
    names = tuple(f"category {number}" for number in range(member.shape[1]))
    return Sessions(
        names,
        member,
        items,
        np.array(feedback, np.float32),
        np.full(items.shape, 0.5, np.float32),
        np.arange(len(items), dtype=np.uint64),
    )


def test_the_oldest_are_dropped_beyond_two_hundred():
    pool = Pool().added([f"lesson {number}" for number in range(150)], list(range(150)))
    pool = pool.added([f"lesson {number}" for number in range(150, 203)], list(range(150, 203)))
    assert len(pool.texts) == len(pool.rewards) == CAPACITY == 200
    assert (pool.texts[0], pool.rewards[0]) == ("lesson 3", 3)
    assert (pool.texts[-1], pool.rewards[-1]) == ("lesson 202", 202)
    assert pool.version == 2


def test_a_lot_larger_than_the_pool_leaves_its_newest():
    pool = Pool().added([str(number) for number in range(250)], list(range(250)))
    assert pool.texts == tuple(str(number) for number in range(50, 250))


def test_nothing_added_is_no_new_version():
    pool = Pool(("a",), (1.0,), 4)
    assert pool.added([], []) is pool


def chances(rewards: list[float]) -> dict[tuple[int, ...], float]:
    """Of every ordered sample of three, by exp(0.1 * reward) among those left."""
    weights = [math.exp(0.1 * reward) for reward in rewards]
    found = {}
    for order in itertools.permutations(range(len(rewards)), 3):
        chance, left = 1.0, sum(weights)
        for number in order:
            chance, left = chance * weights[number] / left, left - weights[number]
        found[order] = chance
    return found


def test_samples_come_with_the_chances_of_a_softmax_without_replacement():
    rewards = [0.0, 10.0 * math.log(2), 10.0 * math.log(3), 10.0 * math.log(4)]  # weights 1, 2, 3 and 4
    expected = chances(rewards)
    # The last three in falling order: 4/10, then 3/6 of what is left, then 2/3 of that.
    assert expected[3, 2, 1] == pytest.approx(4 / 10 * 3 / 6 * 2 / 3)
    pool = Pool(("0", "1", "2", "3"), tuple(rewards))
    seen = dict.fromkeys(expected, 0)
    for seed in range(10_000):
        first, second, third = (int(text) for text in pool.sample(seed))
        seen[first, second, third] += 1
    squares = sum((seen[order] - 10_000 * p) ** 2 / (10_000 * p) for order, p in expected.items())
    assert squares < 49.7  # the 0.999 quantile of chi-square with 24 - 1 degrees of freedom


@pytest.mark.parametrize("shift", [1e6, -1e6, 0.0])
def test_only_differences_of_rewards_count_however_large_they_are(shift: float):
    pool = Pool(("a", "b", "c", "d"), tuple(shift + reward for reward in (0.0, 8.0, 16.0, 24.0)))
    near = Pool(pool.texts, (0.0, 8.0, 16.0, 24.0))
    assert [pool.sample(seed) for seed in range(50)] == [near.sample(seed) for seed in range(50)]


def test_a_million_more_is_always_drawn_first():
    pool = Pool(("bad", "good", "worse"), (0.0, 1e6, -1e6))
    assert {pool.sample(seed) for seed in range(20)} == {("good", "bad", "worse")}


def test_a_sample_is_that_of_its_version_and_seed():
    pool = Pool(tuple("abcdefgh"), (0.0,) * 8, 3)
    assert pool.sample(5) == Pool(pool.texts, pool.rewards, 3).sample(5)
    assert len({pool.sample(seed) for seed in range(20)}) > 10
    assert len({Pool(pool.texts, pool.rewards, version).sample(5) for version in range(20)}) > 10


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_small_pool_is_told_whole(count: int):
    texts = ("a", "b")[:count]
    assert sorted(Pool(texts, (1.0, 2.0)[:count]).sample(0)) == sorted(texts)


TEXTS = st.lists(st.tuples(st.text(min_size=1), st.floats(-1e9, 1e9)), max_size=5)


@given(TEXTS, st.integers(0, 10))
def test_a_pool_is_read_as_it_was_written(entries: list[tuple[str, float]], version: int):
    pool = Pool(tuple(first_words(text) for text, _ in entries), tuple(reward for _, reward in entries), version)
    pool.dump().encode()
    assert Pool.parse(pool.dump()) == pool


def test_a_pool_file_that_is_too_long_gives_its_newest():
    held = {"version": 1, "reflections": [{"reflection": str(n), "reward": n} for n in range(300)]}
    assert Pool.parse(json.dumps(held)).texts == tuple(str(n) for n in range(100, 300))


def test_what_a_pool_file_says_is_cut_to_a_line():
    held = {"version": 1, "reflections": [{"reflection": "so\n" * 500, "reward": 1}]}
    assert Pool.parse(json.dumps(held)).texts == (" ".join(["so"] * 19),)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no json",
        "[]",
        "null",
        "{}",
        '{"version": 1}',
        '{"version": 1, "reflections": "all"}',
        '{"version": 1, "reflections": null}',
        '{"version": 1, "reflections": ["a"]}',
        '{"version": 1, "reflections": [{"reflection": "a"}]}',
        '{"version": 1, "reflections": [{"reward": 1}]}',
        '{"version": 1, "reflections": [{"reflection": "a", "reward": "much"}]}',
        '{"version": 1, "reflections": [{"reflection": "a", "reward": NaN}]}',
        '{"version": 1, "reflections": [{"reflection": "a", "reward": Infinity}]}',
        '{"version": 1, "reflections": [{"reflection": "a", "reward": 1' + "0" * 400 + "}]}",
        '{"version": null, "reflections": []}',
        '{"version": -1, "reflections": []}',
        '{"version": Infinity, "reflections": []}',
        '{"version": NaN, "reflections": []}',
        '{"version": 1, "reflections": ' + "[" * 100_000,
    ],
)
def test_a_damaged_pool_is_refused(text: str):
    with pytest.raises(ValueError, match="no pool of reflections"):
        Pool.parse(text)


def test_reflections_have_fewer_than_twenty_words_on_first_words():
    said = read_reflection(json.dumps({"reflection": "one\ntwo\t" + "more " * 40}))
    assert said.split() == ["one", "two", *["more"] * 17]
    assert "\n" not in said


def test_a_reflection_of_one_endless_word_is_cut():
    assert len(read_reflection(json.dumps({"reflection": "x" * 10_000}))) == 400


def test_a_reflection_can_be_shown_and_stored():
    said = read_reflection('{"reflection": "rest \\ud800 \\u001b[2J then\\u0000vary"}')
    assert said == "rest [2J then vary"
    Pool().added([said], [1.0]).dump().encode()


@given(st.text(st.characters(codec=None)))
def test_any_reflection_is_short_printable_and_stays_as_it_is(text: str):
    line = first_words(text)
    assert line.isprintable()
    assert len(line.split()) < 20
    assert first_words(line) == line


def test_a_fenced_reflection_behind_thoughts_is_read():
    assert read_reflection('<think>Short.</think>```json\n{"reflection": "rotate"}\n```') == "rotate"


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("rotate categories", "not JSON"),
        ('{"reflection": "rot', "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"reflection": "' + "x" * 2_000_000 + '"}', "not JSON"),
        ("{}", "empty"),
        ("[]", "not JSON"),
        ('{"reflection": ""}', "empty"),
        ('{"reflection": " \\n\\u0000"}', "empty"),
        ('{"reflection": 5}', "empty"),
        ('{"reflection": ["rest"]}', "empty"),
    ],
)
def test_a_critics_answer_that_cannot_be_used_says_why(text: str, cause: str):
    with pytest.raises(AnswerError) as raised:
        read_reflection(text)
    assert raised.value.cause == cause


def test_the_reward_of_a_session_is_its_slates_mean_feedback_summed():
    played = sessions(
        [[[0, 1], [1, 2]], [[2, -1], [-1, -1]]],
        [[[1, 0], [1, 1]], [[1, -1], [-1, -1]]],
    )
    # the first: (1 + 0) / 2 + (1 + 1) / 2 = 1.5; the second: one slate, its empty slot no click, 1 / 2
    assert session_rewards(played).tolist() == [1.5, 0.5]


def test_what_a_critic_is_given():
    played = sessions(
        [[[0, 1], [2, 2], [-1, -1]]],
        [[[1, 0], [1, 1], [-1, -1]]],
        membership=[[1, 0], [0, 1], [1, 1]],
    )
    assert session_text(played, 0) == (
        "The session lasted 2 slates; its reward was 1.5.\n"
        "Its slates, the last at the end (id: clicked of shown):\n"
        "0: 1 of 1, 1: 0 of 1\n"
        "0: 2 of 2, 1: 2 of 2"
    )


def test_an_empty_slate_in_the_middle_hides_none_behind_it():
    played = sessions([[[0], [-1], [1]]], [[[1], [-1], [0]]])
    assert session_text(played, 0).splitlines()[2:] == ["0: 1 of 1", "1: 0 of 1"]


def test_of_a_long_session_the_last_forty_slates_are_given():
    played = sessions([[[number] for number in range(50)]], [[[1]] * 50])
    lines = session_text(played, 0).splitlines()
    assert lines[0] == "The session lasted 50 slates; its reward was 50.0."
    assert lines[2:] == [f"{number}: 1 of 1" for number in range(10, 50)]
