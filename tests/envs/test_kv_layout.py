"""Tables are numbered by the smallest type, and a pool is no larger than what it is learned from."""

import numpy as np
import pytest

from lerl.envs.kv_layout import check_pool, index_type


def test_the_type_follows_from_the_rows():
    found = [index_type(rows) for rows in (1, 256, 257, 32_768, 32_769, 1 << 31)]
    assert found == [np.uint8, np.uint8, np.int16, np.int16, np.int32, np.int32]
    for rows in (1, 256, 257, 32_768, 32_769, 1 << 31):
        assert np.iinfo(index_type(rows)).max >= rows - 1
    for rows in (0, (1 << 31) + 1):
        with pytest.raises(ValueError, match=r"must have from 1 to 2,147,483,648 rows, given"):
            index_type(rows)


def test_a_pool_larger_than_the_events_is_refused():
    check_pool(100, 100)
    with pytest.raises(ValueError, match=r"pool must be at most the 100 events that are learned from, given 101"):
        check_pool(101, 100)
