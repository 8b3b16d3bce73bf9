"""Bundles are sets: read without an order, and judged by what completes them."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from lerl.agents.next_item.registry import IN_SESSIONS
from lerl.agents.next_item.together import TextPairs, Together
from lerl.cli.main import main
from lerl.envs.draws import seed_from
from lerl.envs.logs.bundles import read_bundles
from lerl.envs.schema import DataError
from lerl.envs.sequences import Lists, completing


def write(folder: Path, count: int = 60) -> Path:
    """Bundles of a camera (0 to 19) and its own case (100 to 119), and now and then a cable."""
    rows = [(b, item) for b in range(count) for item in (b % 20, 100 + b % 20, *((200,) if b % 3 == 0 else ()))]
    rows += [(count, 0), (0, 0)]  # a bundle of one, and an item twice
    pl.DataFrame(rows, schema=["bundle_ID", "item_ID"], orient="row").write_parquet(folder / "bundle_item.parquet")
    items = sorted({item for _, item in rows})
    titles = [f"word{item % 100} {'camera' if item < 100 else 'case' if item < 200 else 'cable'}" for item in items]
    pl.DataFrame({"item_ID": items, "titles": titles}).write_parquet(folder / "item_titles.parquet")
    return folder


def test_bundles_are_read_as_sets_with_what_is_known_of_items(tmp_path: Path) -> None:
    choices = read_bundles(write(tmp_path), seed=0)
    assert (len(choices.users), len(choices.items)) == (61, 41)
    assert choices.lists.lengths.tolist() == [2 + (b % 3 == 0) for b in range(60)] + [1]
    first = {choices.items[item] for item in choices.lists[0]}
    assert first == {"0", "100", "200"}
    assert choices.texts["title"][choices.items.index("105")] == "word5 case"
    assert any("do not say what was refused" in note for note in choices.notes)
    orders = {tuple(read_bundles(tmp_path, seed).lists[0].tolist()) for seed in range(20)}
    assert len(orders) > 3


def test_a_tenth_is_judged_by_all_items_but_one(tmp_path: Path) -> None:
    choices = read_bundles(write(tmp_path), seed=0)
    split = completing(choices, 1)
    assert len(split.validation) + len(split.test) <= 12
    assert not set(split.validation.users.tolist()) & set(split.test.users.tolist())
    for case, bundle in enumerate(split.test.users.tolist()):
        assert len(split.train[bundle]) == 0
        assert [*split.test.histories[case], split.test.targets[case]] == choices.lists[bundle].tolist()
    alone = completing(read_bundles(tmp_path, 0), next(s for s in range(99) if 60 in _tested(s)))
    assert any("1 of 6 sets of the test hold one item: not judged" in note for note in alone.notes)


def _tested(seed: int) -> list[int]:
    place = np.random.default_rng(seed_from(seed, "sets to judge")).permutation(61)
    return np.flatnonzero((place >= 6) & (place < 12)).tolist()


def test_together_finds_what_is_in_bundles_with_it_whatever_the_order() -> None:
    row = Together(5)
    row.fit(Lists.of([[0, 1], [1, 0], [2, 3], [0, 4], [4, 3], [4, 2]]), None, seed=0)  # type: ignore[arg-type]
    scores = row.scores(Lists.of([[0], [1], []]))
    assert scores[0].argmax() == 1
    assert scores[1].argmax() == 0
    assert scores[0, 1] == pytest.approx(2 / np.sqrt(3 * 2), abs=1e-5)
    assert scores[2].argmax() in (0, 4)  # the most popular


def test_pairs_are_learned_from_what_items_are_called(tmp_path: Path) -> None:
    choices = read_bundles(write(tmp_path), seed=0)
    split = completing(choices, 1)
    row = TextPairs(split.items)
    row.know(choices.texts)
    row.fit(split.train, split.validation, seed=0)
    scores = row.scores(Lists.of([[choices.items.index("7")]]))[0]
    scores[choices.items.index("7")] = -np.inf
    assert choices.items[int(scores.argmax())] == "107"
    row.know({})
    with pytest.raises(ValueError, match="--items"):
        row.fit(split.train, split.validation, seed=0)


def test_the_command_ranks_what_completes_bundles(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "ranks"
    code = main(
        ["rank", str(write(tmp_path)), "--rows", "[together,jima-pairs]", "--exclude-history", "--out", str(out)]
    )
    assert code == 0
    assert "jima-pairs" in capsys.readouterr().out
    page = (out / "report.md").read_text(encoding="utf-8")
    assert "do not say what was refused" in page
    assert "Split: a tenth of the bundles." in page
    fitted = {path.stem for path in (out / "trials").iterdir()}
    assert {"together-seed0", "jima-pairs-seed0", "jima-pairs-seed1", "jima-pairs-seed2"} <= fitted
    assert "together-seed1" not in fitted
    assert "jima-pairs" not in IN_SESSIONS


@pytest.mark.parametrize("flag", ["split", "items", "user", "item", "time", "order"])
def test_flags_of_lists_are_refused_for_bundles(flag: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["rank", str(write(tmp_path)), f"--{flag}", "last", "--out", str(tmp_path / "ranks")]) != 0
    said = capsys.readouterr().err
    assert f"holds bundles, for which --{flag} means nothing; leave it out" in said
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "ranks").exists()


def test_too_few_bundles_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["rank", str(write(tmp_path, 6)), "--rows", "[together]", "--out", str(tmp_path / "ranks")]) != 0
    said = capsys.readouterr().err
    assert "nobody can be judged" in said
    assert "give ten bundles" in said


def test_bundles_that_cannot_be_read_get_one_clear_line(tmp_path: Path) -> None:
    pl.DataFrame({"bundle": [1], "item_ID": [2]}).write_parquet(tmp_path / "bundle_item.parquet")
    with pytest.raises(DataError, match="needs the columns bundle_ID, item_ID"):
        read_bundles(tmp_path, 0)
    pl.DataFrame({"bundle_ID": [], "item_ID": []}).write_parquet(tmp_path / "bundle_item.parquet")
    with pytest.raises(DataError, match="holds no bundle"):
        read_bundles(tmp_path, 0)
    (tmp_path / "bundle_item.parquet").write_text("no Parquet")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        read_bundles(tmp_path, 0)


def test_ids_and_texts_of_bundles_may_be_of_other_types(tmp_path: Path) -> None:
    plain = read_bundles(write(tmp_path), 0)
    rows = pl.read_parquet(tmp_path / "bundle_item.parquet")
    rows.cast(pl.Float64).write_parquet(tmp_path / "bundle_item.parquet")
    titles = pl.read_parquet(tmp_path / "item_titles.parquet")
    lists = titles.select(pl.col("item_ID").cast(pl.String), titles=pl.col("titles").str.split(" "))
    lists.write_parquet(tmp_path / "item_titles.parquet")
    found = read_bundles(tmp_path, 0)
    assert (found.users, found.items) == (plain.users, plain.items)
    assert np.array_equal(found.lists.values, plain.lists.values)
    assert found.texts["title"] == tuple(title.replace(" ", ", ") for title in plain.texts["title"])


def test_types_that_are_no_ids_or_no_words_and_sequences_beside_bundles_are_refused(tmp_path: Path) -> None:
    titles = pl.read_parquet(write(tmp_path) / "item_titles.parquet")
    titles.with_columns(titles=pl.lit(True)).write_parquet(tmp_path / "item_titles.parquet")
    with pytest.raises(DataError, match="column titles: given Boolean, allowed"):
        read_bundles(tmp_path, 0)
    pl.DataFrame({"bundle_ID": [[1]], "item_ID": [2.5]}).write_parquet(tmp_path / "bundle_item.parquet")
    with pytest.raises(DataError, match=r"column bundle_ID: given List\(Int64\), allowed are text and whole numbers"):
        read_bundles(tmp_path, 0)
    (tmp_path / "sequences.csv").write_text("user,item,position\n1,2,3\n")
    with pytest.raises(DataError, match=r"holds bundle_item\.parquet and sequences\.csv; give .* itself"):
        read_bundles(tmp_path, 0)
