"""Lists, and their splits: who is judged by what."""

import numpy as np
import pytest

from lerl.envs.sequences import Choices, Lists, all_but_the_test, by_time, last_aside, leave_one_out


def choices(lists: list[list[int]], times: list[list[int]] | None = None) -> Choices:
    when = None if times is None else np.array([time for one in times for time in one], np.int64)
    items = 1 + max(max(one, default=0) for one in lists)
    return Choices(tuple(f"u{n}" for n in range(len(lists))), tuple(map(str, range(items))), Lists.of(lists), when)


def as_lists(lists: Lists) -> list[list[int]]:
    return [lists[row].tolist() for row in range(len(lists))]


def test_lists_of_different_lengths():
    lists = Lists.of([[1, 2, 3], [], [4, 5]])
    assert (len(lists), lists.lengths.tolist()) == (3, [3, 0, 2])
    assert as_lists(lists.take(np.array([2, 0]))) == [[4, 5], [1, 2, 3]]
    assert as_lists(lists.first(np.array([1, 1, 5]))) == [[1], [], [4, 5]]
    assert lists.newest(2).tolist() == [[2, 3], [-1, -1], [4, 5]]
    assert lists.newest(9).tolist() == [[1, 2, 3], [-1, -1, -1], [4, 5, -1]]
    assert Lists.of([[]]).newest(3).tolist() == [[-1]]


def test_leaving_one_out_judges_by_the_last_and_short_lists_are_only_learned_from():
    split = leave_one_out(choices([[1, 2, 3, 4], [5, 6], [7, 8, 9], []]))
    assert as_lists(split.train) == [[1, 2], [5, 6], [7], []]
    assert split.validation.users.tolist() == split.test.users.tolist() == [0, 2]
    assert split.validation.targets.tolist() == [3, 8]
    assert as_lists(split.validation.histories) == [[1, 2], [7]]
    assert split.test.targets.tolist() == [4, 9]
    assert as_lists(split.test.histories) == [[1, 2, 3], [7, 8]]
    assert split.notes == ("2 of 4 users have fewer than 3 items: in training, but not judged",)


def test_validation_items_are_learned_from_where_asked():
    some = choices([[1, 2, 3, 4], [5, 6], [7, 8, 9], []])
    split, usual = all_but_the_test(some), leave_one_out(some)
    assert as_lists(split.train) == [[1, 2, 3], [5, 6], [7, 8], []]
    assert split.test.targets.tolist() == usual.test.targets.tolist()
    assert split.validation.targets.tolist() == usual.validation.targets.tolist()
    assert split.notes == (
        *usual.notes,
        "validation items are learned from: they no longer tell which epoch or setting is better",
    )


def test_by_time_nothing_after_the_split_is_learned_from():
    """20 choices at times 0 to 19: training ends with time 15, validation with 17."""
    times = [[0, 1, 2, 3, 4, 5, 6, 16, 18], [7, 8, 9, 10, 19], [11, 12, 13], [14, 15], [17]]
    split = by_time(choices([[time + 1 for time in one] for one in times], times))
    assert as_lists(split.train) == [[1, 2, 3, 4, 5, 6, 7], [8, 9, 10, 11], [12, 13, 14], [15, 16], []]
    assert split.validation.users.tolist() == [0]
    assert split.validation.targets.tolist() == [17]
    assert split.test.users.tolist() == [0, 1]
    assert split.test.targets.tolist() == [19, 20]
    assert as_lists(split.test.histories) == [[1, 2, 3, 4, 5, 6, 7, 17], [8, 9, 10, 11]]
    assert split.notes == ("3 of 5 users are not judged: nothing before, or nothing after, the split",)


def test_by_time_needs_times_that_differ():
    with pytest.raises(ValueError, match="needs times, and the data have none"):
        by_time(choices([[1, 2, 3]]))
    with pytest.raises(ValueError, match="leaves nobody to judge"):
        by_time(choices([[1, 2, 3]], [[7, 7, 7]]))


def test_last_items_are_set_aside_of_whoever_has_two():
    rest, aside = last_aside(Lists.of([[1, 2, 3], [5], [], [6, 7]]))
    assert as_lists(rest) == [[1, 2], [5], [], [6]]
    assert (aside.users.tolist(), aside.targets.tolist()) == ([0, 3], [3, 7])
    assert as_lists(aside.histories) == [[1, 2], [6]]
