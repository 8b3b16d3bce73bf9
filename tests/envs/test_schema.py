"""Logs: the hashed splits do not depend on row order or process, and a frame that is no log is refused."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from lerl.envs.schema import DataError, _splitmix, check_log, held_out, positions, training_users, truth_half, with_half

ROOT = Path(__file__).parents[2]
PAIRS = np.stack(np.meshgrid(np.arange(200), np.arange(100)), axis=-1).reshape(-1, 2).astype(np.int64)
USERS, ITEMS = PAIRS[:, 0], PAIRS[:, 1]


def a_log(**changes: pl.Series) -> pl.DataFrame:
    log = pl.DataFrame(
        {"user": [1, 1, 2], "item": [10, 11, 10], "click": [True, False, True], "rating": [5, 2, 4], "time": [3, 1, 2]},
        schema_overrides={"rating": pl.Float32},
    )
    return log.with_columns(**changes)


def test_shares_are_as_documented():
    # 20,000 draws: the standard error of a share is at most 0.0036; 20,000 users for the user split
    assert truth_half(USERS, ITEMS).mean() == pytest.approx(0.5, abs=0.015)
    assert held_out(USERS, ITEMS).mean() == pytest.approx(0.15, abs=0.015)
    assert training_users(np.arange(20_000)).mean() == pytest.approx(0.75, abs=0.015)


def test_splits_are_independent_of_each_other():
    truth, kept, training = truth_half(USERS, ITEMS), held_out(USERS, ITEMS), training_users(USERS)
    assert kept[truth].mean() == pytest.approx(kept[~truth].mean(), abs=0.02)
    assert truth[training].mean() == pytest.approx(truth[~training].mean(), abs=0.03)


def test_halves_are_split_within_every_user_and_item():
    truth = truth_half(USERS, ITEMS)
    per_user = np.bincount(USERS, weights=truth) / 100
    per_item = np.bincount(ITEMS, weights=truth) / 200
    # six standard errors of a fair coin thrown 100 and 200 times
    assert np.abs(per_user - 0.5).max() < 0.3
    assert np.abs(per_item - 0.5).max() < 0.22


def test_swapping_user_and_item_is_another_interaction():
    assert (truth_half(USERS, ITEMS) != truth_half(ITEMS, USERS)).any()


def test_splits_follow_their_row_whatever_the_order():
    shuffled = np.random.default_rng(0).permutation(len(USERS))
    assert (truth_half(USERS, ITEMS)[shuffled] == truth_half(USERS[shuffled], ITEMS[shuffled])).all()
    assert (held_out(USERS, ITEMS)[shuffled] == held_out(USERS[shuffled], ITEMS[shuffled])).all()


def test_splitmix_gives_its_published_first_number():
    assert int(_splitmix(np.zeros(1, dtype=np.uint64))[0]) == 0xE220A8397B1DCDAF


def test_splits_never_change_between_releases():
    # fixed once: another value here silently moves evaluation users into training in everybody's results
    users, items = np.arange(1, 13), np.arange(101, 113)
    assert "".join("01"[int(x)] for x in truth_half(users, items)) == "100011101111"
    assert "".join("01"[int(x)] for x in held_out(users, items)) == "000100001010"
    assert "".join("01"[int(x)] for x in training_users(users)) == "010010011111"


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_splits_ignore_the_hash_seed_of_python(hash_seed: str):
    code = (
        "import numpy as np; from lerl.envs.schema import truth_half, training_users; x = np.arange(64);"
        "print(np.packbits(truth_half(x, x + 7)).tobytes().hex(), np.packbits(training_users(x)).tobytes().hex())"
    )
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    ran = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=ROOT, capture_output=True, text=True, check=True
    )
    x = np.arange(64)
    here = [np.packbits(bits).tobytes().hex() for bits in (truth_half(x, x + 7), training_users(x))]
    assert ran.stdout.split() == here


def test_ids_of_any_integer_type_are_split_alike():
    small = USERS.astype(np.int16), ITEMS.astype(np.int32)
    assert (truth_half(*small) == truth_half(USERS, ITEMS)).all()


def test_with_half_names_the_half_of_every_row():
    log = with_half(a_log())
    expected = ["truth" if truth else "knowledge" for truth in truth_half(np.array([1, 1, 2]), np.array([10, 11, 10]))]
    assert log["half"].to_list() == expected


def test_with_half_counts_interactions_in_order_of_time():
    times = pl.Series([5, 4, 5, None], dtype=pl.Int64)
    log = pl.DataFrame({"user": [1, 1, 1, 2], "item": [10, 11, 12, 10], "click": True, "rating": 4.0, "time": times})
    log = log.cast({"rating": pl.Float32})
    assert with_half(log)["position"].to_list() == [1, 0, 2, None]
    given = log.with_columns(position=pl.Series([7, 8, 9, 0], dtype=pl.Int32))
    assert with_half(given)["position"].to_list() == [7, 8, 9, 0]


def test_a_log_passes_and_may_lack_ratings_and_times():
    check_log(a_log())
    check_log(a_log(rating=pl.lit(None, dtype=pl.Float32), time=pl.lit(None, dtype=pl.Int64)))


@pytest.mark.parametrize(
    ("log", "message"),
    [
        (a_log().drop("click"), r"needs the columns .*'click' is missing; given \['user', 'item', 'rating', 'time'\]"),
        (a_log(user=pl.lit("a")), r"column 'user' must be Int64, given String; cast it first"),
        (a_log(click=pl.lit(None, dtype=pl.Boolean)), r"column 'click' has 3 nulls; drop those rows first"),
        (a_log().clear(), r"the log is empty; it needs at least one interaction"),
        (a_log(item=pl.lit(10, dtype=pl.Int64)), r"user 1 and item 10 occur together more than once; keep one row"),
    ],
)
def test_a_frame_that_is_no_log_is_refused(log: pl.DataFrame, message: str):
    with pytest.raises(DataError, match=message):
        check_log(log)


def test_items_become_catalog_positions_and_unknown_ones_are_refused():
    numbers = np.array([30, 10, 20])
    assert positions(numbers, np.array([10, 20, 10, 30])).tolist() == [1, 2, 1, 0]
    for unknown in (5, 15, 40):
        with pytest.raises(DataError, match=f"item {unknown} is in the log but not in the catalog"):
            positions(numbers, np.array([10, unknown]))
