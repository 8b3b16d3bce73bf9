from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from lerl.cli.main import main
from lerl.envs.prepare import import_logs
from lerl.envs.schema import DataError
from lerl.envs.store import MissingDataError, load_population, save_population
from lerl.users.describe import describe, draw

NEW_YEAR = 1_704_067_200
"""Seconds from 1970 to 2024."""


def _prepared(folder: Path, times: bool = True) -> Path:
    """40 users who each met 30 of 40 items, each user's items one place further; every even item is odd's equal."""
    log = ["user,item,click,time" if times else "user,item,click"]
    for user in range(40):
        for step in range(30):
            item = (user + step) % 40
            end = f",{NEW_YEAR + 86400 * step}" if times else ""
            log.append(f"u{user},i{item},{int((user // 20 + item) % 2 == 0)}{end}")
    items = ["id,title,genre", *(f"i{n},Thing {n},{'all|half' if n % 2 else 'all'}" for n in range(40))]
    (folder / "log.csv").write_text("\n".join(log))
    (folder / "items.csv").write_text("\n".join(items))
    import_logs(folder / "log.csv", folder / "items.csv", folder / "out", dim=2)
    return folder / "out"


def test_numbers_are_those_of_the_log(tmp_path: Path) -> None:
    found = describe(_prepared(tmp_path))
    rows = dict(found.rows())
    assert (rows["users"], rows["items"], rows["interactions"]) == ("40", "40", "1,200")
    assert rows["density"] == "75.000%"  # 1200 of 40 x 40
    assert rows["popularity Gini"] == "0.000"  # each item was met by 30 users
    assert rows["base rate of clicks"] == "0.500"
    assert rows["interactions per user, 10 / 50 / 90 %"] == "30 / 30 / 30"
    assert (rows["categories"], rows["largest of them"]) == ("2", "all 100%, half 50%")
    assert rows["time span"] == "2024-01-01 to 2024-01-30"
    assert found.category_counts.tolist() == [1200, 600]


def test_one_item_more_popular_than_another_shows_in_the_gini(tmp_path: Path) -> None:
    counts = np.zeros(40, np.int64)
    counts[0] = 1200
    assert replace(describe(_prepared(tmp_path)), item_counts=counts).popularity_gini == pytest.approx(1 - 1 / 40)


@pytest.mark.parametrize("times", [True, False])
def test_the_page_is_drawn_and_the_same_each_time(tmp_path: Path, times: bool) -> None:
    found = describe(_prepared(tmp_path, times))
    files = draw(found, tmp_path / "one")
    assert [file.name for file in files] == ["description.png", "description.svg"]
    assert [file.read_bytes() for file in draw(found, tmp_path / "two")] == [file.read_bytes() for file in files]
    assert files[0].read_bytes()[:4] == b"\x89PNG"


def test_the_command_prints_and_draws_and_the_folder_can_still_be_replaced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = _prepared(tmp_path)
    assert main(["data", "describe", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "popularity Gini                        0.000\n" in printed
    assert f"pictures: {out / 'description.png'}" in printed
    again = ["data", "import", "--interactions", str(tmp_path / "log.csv"), "--out", str(out), "--dim", "2"]
    assert main([*again, "--overwrite"]) == 0
    assert not (out / "description.png").exists()
    assert "the only category is 'other'" in capsys.readouterr().out


def test_other_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="lerl data import"):
        describe(tmp_path / "nowhere")
    out = _prepared(tmp_path)
    save_population(load_population(out), tmp_path / "bare")
    with pytest.raises(DataError, match=r"has no interactions.parquet; make it again with `lerl data import"):
        describe(tmp_path / "bare")
    (out / "interactions.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"cannot be read \(interactions.parquet"):
        describe(out)


def test_times_of_years_that_no_log_has_are_counted_and_not_drawn(tmp_path: Path) -> None:
    """As folders that were prepared before such times were refused may hold them: one in the year 0."""
    folder = _prepared(tmp_path)
    log = pl.read_parquet(folder / "interactions.parquet")
    strange = log.with_columns(time=pl.when(pl.int_range(pl.len()) == 0).then(-62135625943).otherwise("time"))
    strange.write_parquet(folder / "interactions.parquet")
    found = describe(folder)
    assert (len(found.times), found.strange_times) == (len(log) - 1, 1)
    assert dict(found.rows())["time span"].endswith(", and 1 of years that no log has")
    assert draw(found, tmp_path / "page")


def test_the_import_prints_the_sample_and_a_wrong_number_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _prepared(tmp_path)
    capsys.readouterr()
    again = ["data", "import", "--interactions", str(tmp_path / "log.csv"), "--out", str(tmp_path / "some")]
    assert main([*again, "--dim", "2", "--users", "20"]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"^of them simulated  +20 of 20 asked for \(\d+ to train on, \d+ for evaluation\)$", printed, re.M)
    assert re.search(r"^time, most memory  +\d+ s, \d\.\d GB$", printed, re.M)
    assert describe(tmp_path / "some").users == 20
    assert main([*again, "--overwrite", "--users", "0"]) == 2
    said = "lerl: error: --users, how many users to simulate, must be 1 or more, given 0; leave it out for all\n"
    assert capsys.readouterr().err == said
