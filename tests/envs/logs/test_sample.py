"""A sample of a log's users: whose rows are kept, what is counted over all users, and that nothing else decides."""

import pickle
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from lerl.envs.catalog import number_of
from lerl.envs.logs import interactions, parts, sample
from lerl.envs.logs.custom import Choices
from lerl.envs.population import Population
from lerl.envs.prepare import PrepareReport, import_logs, prepare
from lerl.envs.schema import DataError, sample_order, training_users
from lerl.envs.store import load_population, read_about
from tests.envs.logs.test_custom import BAD, many, written
from tests.envs.test_prepare import many as many_movies
from tests.envs.test_prepare import write_1m

USERS, ASKED = 80, 20


def repeated() -> tuple[str, str]:
    """A log in which users met items twice, at the same time and not, and some met few."""
    log, items = many(each=15)
    head, *rows = log.split("\n")
    draw = np.random.default_rng(1)
    again = [rows[n].rsplit(",", 2)[0] for n in draw.choice(len(rows), 300)]
    rows += [f"{row},{draw.integers(2)},{1_500_000_000 + draw.integers(3)}" for row in again]
    return "\n".join([head, *rows, "u900,i1,1,1500000000", "901,i2,0,1500000000"]), items


class Elsewhere(Executor):
    """Does work at once, on what another process would get of it."""

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        done: Future[Any] = Future()
        function, args, kwargs = pickle.loads(pickle.dumps((function, args, kwargs)))
        done.set_result(pickle.loads(pickle.dumps(function(*args, **kwargs))))
        return done


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path | None]:
    return written(tmp_path_factory.mktemp("raw"), *repeated())


@pytest.fixture(scope="module")
def whole(raw: tuple[Path, Path | None], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PrepareReport]:
    out = tmp_path_factory.mktemp("whole") / "out"
    return out, import_logs(*raw, out, dim=3)


@pytest.fixture(scope="module")
def some(raw: tuple[Path, Path | None], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PrepareReport]:
    out = tmp_path_factory.mktemp("some") / "out"
    return out, import_logs(*raw, out, dim=3, users=ASKED)


def log_of(folder: Path) -> pl.DataFrame:
    return pl.read_parquet(folder / "interactions.parquet")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def chosen(folder: Path, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The users of a whole log that a sample of so many has: their numbers, in order, and their places."""
    users = np.unique(log_of(folder)["user"].to_numpy())
    places = np.sort(sample_order(users)[:count])
    return users[places], places


def test_the_first_users_of_an_order_are_the_same_in_every_log():
    users = np.arange(1000) * 7
    first = users[sample_order(users)[:100]]
    assert set(users[sample_order(users)[:50]]) <= set(first)
    fewer = np.concatenate([first, users[500:]])
    fewer = np.unique(fewer)[::-1]
    assert fewer[sample_order(fewer)[:100]].tolist() == first.tolist()
    assert 0.6 < training_users(first).mean() < 0.9


def test_a_sample_has_its_users_rows_as_the_whole_log_has_them(
    whole: tuple[Path, PrepareReport], some: tuple[Path, PrepareReport]
):
    users, places = chosen(whole[0], ASKED)
    mine = log_of(whole[0]).filter(pl.col("user").is_in(users.tolist()))
    assert log_of(some[0]).equals(mine)
    every, few = load_population(whole[0]), load_population(some[0])
    assert few.training.tolist() == every.training[places].tolist()
    for one, other in zip(few.known(np.arange(ASKED)), every.known(places), strict=True):
        assert one.tolist() == other.tolist()


def test_what_is_fitted_to_all_users_is_theirs(whole: tuple[Path, PrepareReport], some: tuple[Path, PrepareReport]):
    """The log is small, so that factor models see it whole."""
    places = chosen(whole[0], ASKED)[1]
    every, few = load_population(whole[0]), load_population(some[0])
    assert few.catalog.item_ids == every.catalog.item_ids
    for name in ("truth.item_vectors", "truth.item_offsets", "knowledge.item_vectors", "knowledge.popularity"):
        assert np.array_equal(few.arrays()[name], every.arrays()[name]), name
    for name in ("truth.user_vectors", "truth.user_offsets", "knowledge.tastes", "knowledge.user_offsets"):
        assert np.array_equal(few.arrays()[name], every.arrays()[name][places]), name
    assert (some[1].truth_auc, some[1].knowledge_auc) == (whole[1].truth_auc, whole[1].knowledge_auc)
    assert (some[1].base_rate, some[1].items, some[1].merged) == (whole[1].base_rate, whole[1].items, whole[1].merged)


def test_of_a_log_that_is_too_large_the_models_see_the_first_users_and_items_are_counted_over_all(
    raw: tuple[Path, Path | None], whole: tuple[Path, PrepareReport], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sample, "FITTED_ROWS", 800)
    report = import_logs(*raw, tmp_path / "out", dim=3, users=ASKED)
    assert report.sample is not None
    counts = log_of(whole[0]).group_by("user").len().sort("user")
    rows = counts["len"].to_numpy()[sample_order(counts["user"].to_numpy())]
    fitted = int((np.cumsum(rows) <= 800).sum())
    assert ASKED < fitted < USERS
    assert (report.sample.fitted_users, report.sample.fitted_interactions) == (fitted, rows[:fitted].sum())
    every, few = load_population(whole[0]), load_population(tmp_path / "out")
    assert np.array_equal(few.knowledge.popularity, every.knowledge.popularity)
    assert not np.array_equal(few.truth.item_vectors, every.truth.item_vectors)
    # Calibration makes a line of the offsets, and so keeps their order.
    assert few.truth.item_offsets.argsort().tolist() == every.truth.item_offsets.argsort().tolist()


@pytest.mark.parametrize("count", [1, 3, 500])
def test_neither_parts_nor_processes_nor_the_order_of_rows_change_a_bit(
    raw: tuple[Path, Path | None],
    some: tuple[Path, PrepareReport],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    count: int,
):
    monkeypatch.setattr(parts, "PARTS", count)
    monkeypatch.setattr(parts, "ROWS_AT_ONCE", 70)
    import_logs(*raw, tmp_path / "out", dim=3, users=ASKED, executor=Elsewhere())
    assert contents(tmp_path / "out") == contents(some[0])


def test_the_order_of_rows_changes_nothing(tmp_path: Path):
    log, items = many()
    head, *lines = log.split("\n")
    import_logs(*written(tmp_path / "raw", log, items), tmp_path / "one", dim=2, users=ASKED)
    import_logs(
        *written(tmp_path / "raw", "\n".join([head, *lines[::-1]]), items), tmp_path / "two", dim=2, users=ASKED
    )
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_csv_and_parquet_give_the_same_sample(tmp_path: Path):
    log, items = many()
    files = written(tmp_path / "raw", log.replace("\nu", "\n"), items)
    import_logs(*files, tmp_path / "one", dim=2, users=ASKED)
    pl.read_csv(files[0]).write_parquet(tmp_path / "raw" / "log.parquet")
    import_logs(tmp_path / "raw" / "log.parquet", files[1], tmp_path / "two", dim=2, users=ASKED)
    assert (tmp_path / "one" / "arrays.npz").read_bytes() == (tmp_path / "two" / "arrays.npz").read_bytes()


def test_users_who_met_few_items_are_neither_sampled_nor_counted(raw: tuple[Path, Path | None], tmp_path: Path):
    noted: list[str] = []
    choices = Choices(min_interactions=2)
    report = import_logs(*raw, tmp_path / "some", dim=3, users=ASKED, choices=choices, note=noted.append)
    assert "2 users left out, with fewer than 2 items" in noted
    import_logs(*raw, tmp_path / "whole", dim=3, choices=choices, note=noted.append)
    assert report.sample is not None
    assert report.sample.all_users == USERS
    users, _ = chosen(tmp_path / "whole", ASKED)
    assert np.unique(log_of(tmp_path / "some")["user"].to_numpy()).tolist() == users.tolist()
    popular = [load_population(tmp_path / name).knowledge.popularity for name in ("some", "whole")]
    assert np.array_equal(*popular)


def test_all_users_are_taken_where_more_are_asked_for(
    raw: tuple[Path, Path | None], whole: tuple[Path, PrepareReport], tmp_path: Path
):
    report = import_logs(*raw, tmp_path / "out", dim=3, users=1000)
    held, before = contents(tmp_path / "out"), contents(whole[0])
    assert {name for name in held if held[name] != before[name]} == {"prepared.json"}
    assert dict(report.rows())["of them simulated"].startswith("82 of 1,000 asked for, all there are (")


def test_the_report_says_what_was_sampled_and_what_all_users_gave(some: tuple[Path, PrepareReport]):
    report, people = some[1], load_population(some[0])
    training = int(people.training.sum())
    assert report.rows()[-6:] == [
        ("rows read", "1,502"),
        ("rows kept, one of each user and item", "1,202"),
        ("users in the log", "82"),
        ("of them simulated", f"20 of 20 asked for ({training} to train on, {20 - training} for evaluation)"),
        ("factor models fitted to", "1,202 interactions of 82 users"),
        ("popularity, item offsets, base rate", "of all 82 users"),
    ]
    about = read_about(some[0])
    assert about["settings"]["users"] == ASKED
    assert about["report"]["sample"]["rows_read"] == 1502


def test_a_whole_log_says_nothing_of_samples(whole: tuple[Path, PrepareReport]):
    about = read_about(whole[0])
    assert "users" not in about["settings"]
    assert "sample" not in about["report"]
    assert "rows read" not in dict(whole[1].rows())


def test_a_large_log_says_what_memory_it_needs(
    raw: tuple[Path, Path | None], whole: tuple[Path, PrepareReport], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(interactions, "LARGE", 1000)
    noted: list[str] = []
    import_logs(*raw, tmp_path / "out", dim=3, note=noted.append)
    assert noted[0].startswith("log.csv has 1,502 rows: to keep them all needs about 0 GB of memory; with --users N")
    assert contents(tmp_path / "out") == contents(whole[0])


# named data sets


def test_a_named_data_set_is_sampled_too(tmp_path: Path):
    raw = write_1m(tmp_path / "raw", *many_movies())
    prepare("movielens", raw, tmp_path / "whole", dim=3)
    report = prepare("movielens", raw, tmp_path / "some", dim=3, users=ASKED)
    users, places = chosen(tmp_path / "whole", ASKED)
    assert log_of(tmp_path / "some").equals(log_of(tmp_path / "whole").filter(pl.col("user").is_in(users.tolist())))
    every, few = load_population(tmp_path / "whole"), load_population(tmp_path / "some")
    assert np.array_equal(few.truth.user_vectors, every.truth.user_vectors[places])
    assert np.array_equal(few.knowledge.popularity, every.knowledge.popularity)
    assert report.sample is not None
    assert report.sample.rows_read == 80 * 30
    assert isinstance(few, Population)


# what is refused


@pytest.mark.parametrize("users", [0, -3])
def test_a_sample_of_nobody_is_refused(raw: tuple[Path, Path | None], tmp_path: Path, users: int):
    message = rf"--users, how many users to simulate, must be 1 or more, given {users}; leave it out for all"
    with pytest.raises(ValueError, match=message):
        import_logs(*raw, tmp_path / "out", users=users)
    with pytest.raises(ValueError, match=message):
        prepare("movielens", tmp_path, tmp_path / "out", users=users)


def test_a_sample_without_users_to_judge_by_is_refused(raw: tuple[Path, Path | None], tmp_path: Path):
    with pytest.raises(DataError, match=r"the sample has 1 of 82 users, . to train on and . for evaluation, and both"):
        import_logs(*raw, tmp_path / "out", users=1)
    assert list(tmp_path.iterdir()) == []


def test_a_sample_with_one_kind_of_feedback_is_refused(tmp_path: Path):
    log, items = many()
    head, *rows = log.split("\n")
    numbers = np.array(sorted({row.split(",")[0] for row in rows}))
    order = sample_order(np.array([number_of(name) for name in numbers]))
    liking = set(numbers[order[:10]])
    changed = []
    for row in rows:
        user, item, click, time = row.split(",")
        changed.append(f"{user},{item},{1 if user in liking else click},{time}")
    files = written(tmp_path / "raw", "\n".join([head, *changed]), items)
    with pytest.raises(
        DataError, match=r"of the 300 interactions of the 10 sampled users of log 300 are clicks, .*larg"
    ):
        import_logs(*files, tmp_path / "out", users=10)
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


NO_SAMPLE = ("no click", "log too small")  # so few users that no sample can be drawn


@pytest.mark.parametrize(("made", "said"), [BAD[name] for name in BAD if name not in NO_SAMPLE])
def test_bad_input_is_refused_as_without_a_sample(tmp_path: Path, made: tuple[Any, ...], said: list[str]):
    text, items, choices = made
    files = written(tmp_path / "raw", text, items)
    with pytest.raises(DataError) as caught:
        import_logs(*files, tmp_path / "out", choices=Choices(**{"time_unit": "s"} | choices), users=100)
    for part in said:
        assert part in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


def test_the_first_bad_row_of_all_parts_is_named(tmp_path: Path):
    """Their users are in different parts."""
    log, items = many()
    rows = log.split("\n")
    for line in (700, 300, 1500):
        rows[line - 1] = ",".join([*rows[line - 1].split(",")[:3], "1"])
    files = written(tmp_path / "raw", "\n".join(rows), items)
    with pytest.raises(DataError, match=r"log.csv, row 300, column time: given '1'.*\(2 more such rows\)"):
        import_logs(*files, tmp_path / "out", users=ASKED)


# what is left behind


@pytest.mark.parametrize("where", ["tally", "log_of"])
def test_an_interruption_leaves_nothing(
    raw: tuple[Path, Path | None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
):
    def interrupted(*_: object, **__: object) -> None:
        assert [path.suffix for path in tmp_path.iterdir()] == [".partial"]
        raise KeyboardInterrupt

    monkeypatch.setattr(parts, where, interrupted)
    with pytest.raises(KeyboardInterrupt):
        import_logs(*raw, tmp_path / "out", users=ASKED)
    assert list(tmp_path.iterdir()) == []
