"""What a population holds: shared by all rows, so that nobody may change it for the others."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from lerl.envs.population import Kinds, Population
from lerl.envs.schema import DataError
from lerl.envs.session import SessionVectorEnv
from lerl.envs.store import check_destination, load_population, new_folder, save_population


def test_no_array_that_rows_share_can_be_written(small: Population):
    owners = (small, small.truth, small.knowledge)
    fields = [(owner, field.name) for owner in owners for field in dataclasses.fields(owner)]
    arrays = [getattr(owner, name) for owner, name in fields if isinstance(getattr(owner, name), np.ndarray)]
    arrays.append(SessionVectorEnv(small, 2, topic_count=3).simulator.topics)
    assert len(arrays) == 11
    for array in arrays:
        with pytest.raises(ValueError, match="read-only"):
            array[:] = 0


def test_an_observation_is_a_copy_of_what_is_known(small: Population):
    env = SessionVectorEnv(small, 2, topic_count=3)
    observation, _ = env.reset(seed=1)
    users, before = env.state.user.copy(), small.knowledge.tastes.copy()
    for value in observation.values():
        value[:] = 0
    assert (small.knowledge.tastes == before).all()
    assert (env.state.user == users).all()


def test_a_dense_matrix_is_kept_and_part_of_the_digest(small: Population, tmp_path: Path):
    dense = np.full((40, 60), -1, np.int8)
    dense[3, 7] = 1
    people = dataclasses.replace(small, dense=dense)
    save_population(people, tmp_path / "dense")
    loaded = load_population(tmp_path / "dense")
    assert loaded.dense is not None
    np.testing.assert_array_equal(loaded.dense, dense, strict=True)
    assert loaded.digest() == people.digest() != small.digest()
    other = dense.copy()
    other[3, 7] = 0
    assert dataclasses.replace(small, dense=other).digest() != people.digest()
    with pytest.raises(ValueError, match="read-only"):
        loaded.dense[0, 0] = 1


def test_a_population_without_one_is_written_as_before(small: Population, tmp_path: Path):
    save_population(small, tmp_path / "plain")
    assert "dense" not in np.load(tmp_path / "plain" / "arrays.npz")
    assert load_population(tmp_path / "plain").dense is None


@pytest.mark.parametrize(
    ("dense", "message"),
    [
        (np.zeros((40, 59), np.int8), r"1, 0 or -1 for 40 users and 60 items, given an array of shape \(40, 59\)"),
        (np.full((40, 60), 2, np.int8), r"given an array of shape \(40, 60\) with \[2\]"),
        (np.zeros((40, 60), np.float32), r"dense must be int8 in 2 dimensions, given float32"),
        (np.array([[b"x"]], object), r"cannot be read \(arrays.npz: "),
    ],
)
def test_a_damaged_matrix_is_refused(small: Population, tmp_path: Path, dense: np.ndarray, message: str):
    save_population(small, tmp_path / "damaged")
    arrays = dict(np.load(tmp_path / "damaged" / "arrays.npz"))
    np.savez(tmp_path / "damaged" / "arrays.npz", **arrays, dense=dense)
    with pytest.raises(DataError, match=message):
        load_population(tmp_path / "damaged")


KINDS = Kinds(
    ("click", "like"), np.array([2, 1], np.float32), np.array([0.5], np.float32), np.ones((1, 60), np.float32)
)


def test_kinds_of_feedback_are_kept_and_part_of_the_digest(small: Population, tmp_path: Path):
    people = dataclasses.replace(small, kinds=KINDS)
    save_population(people, tmp_path / "kinds")
    loaded = load_population(tmp_path / "kinds")
    assert loaded.kinds is not None
    assert loaded.kinds.names == ("click", "like")
    for name in ("weights", "slopes", "item_offsets"):
        np.testing.assert_array_equal(getattr(loaded.kinds, name), getattr(KINDS, name), strict=True)
    renamed = dataclasses.replace(KINDS, names=("click", "share"))
    digests = {p.digest() for p in (people, small, dataclasses.replace(small, kinds=renamed))}
    assert loaded.digest() == people.digest()
    assert len(digests) == 3
    with pytest.raises(ValueError, match="read-only"):
        loaded.kinds.weights[0] = 1


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"kinds.slopes": None}, "arrays.npz: kinds.slopes is missing"),
        ({"kinds.weights": np.array([1, 0], np.float32)}, r"kinds.weights must be above 0, given \[1.0, 0.0\]"),
        ({"kinds.weights": np.ones(3, np.float32)}, r"kinds must be 2 or more, with a weight each"),
        ({"kinds.item_offsets": np.ones((1, 59), np.float32)}, r"kinds.item_offsets must be \(1, 60\)"),
        ({"kinds.slopes": np.array([np.nan], np.float32)}, r"kinds.slopes has a number that is not finite"),
        ({"kinds.slopes": np.ones(1)}, r"kinds.slopes must be float32 in 1 dimensions, given float64"),
    ],
)
def test_damaged_kinds_are_refused(small: Population, tmp_path: Path, changed: dict[str, np.ndarray], message: str):
    save_population(dataclasses.replace(small, kinds=KINDS), tmp_path / "damaged")
    arrays = dict(np.load(tmp_path / "damaged" / "arrays.npz")) | changed
    np.savez(tmp_path / "damaged" / "arrays.npz", **{k: v for k, v in arrays.items() if v is not None})
    with pytest.raises(DataError, match=message):
        load_population(tmp_path / "damaged")


def test_kinds_without_their_names_are_refused(small: Population, tmp_path: Path):
    save_population(dataclasses.replace(small, kinds=KINDS), tmp_path / "nameless")
    about = tmp_path / "nameless" / "prepared.json"
    about.write_text(about.read_text().replace('"kinds"', '"sorts"'))
    with pytest.raises(DataError, match=r"prepared\.json does not name the kinds"):
        load_population(tmp_path / "nameless")


def test_a_place_that_was_taken_meanwhile_is_left_as_it_is(tmp_path: Path) -> None:
    place = tmp_path / "out"

    def write() -> None:
        with new_folder(place):
            place.mkdir()
            (place / "letter.txt").write_text("dear")

    with pytest.raises(FileExistsError, match="is not empty"):
        write()
    assert (place / "letter.txt").read_text() == "dear"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def killed(place: Path) -> Path:
    """What a process leaves that is killed after it took the old folder out of its place, before the new one was in."""
    holder = place.with_name(f".{place.name}.abcd_123.partial")
    (holder / "new").mkdir(parents=True)
    (holder / "lock").touch()
    place.rename(holder / "old")
    return holder


def test_a_folder_that_was_taken_out_of_its_place_is_put_back_at_its_next_use(small: Population, tmp_path: Path):
    place = tmp_path / "people"
    save_population(small, place)
    killed(place)
    assert load_population(place).digest() == small.digest()
    killed(place)
    with pytest.raises(FileExistsError, match="already holds a prepared data set"):
        check_destination(place)
    save_population(small, place, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["people"]


def test_leftovers_of_a_process_at_work_and_of_other_folders_stay(small: Population, tmp_path: Path):
    place = tmp_path / "people"
    save_population(small, place)
    holder = killed(place)
    (tmp_path / ".people.2.abcdefgh.partial").mkdir()  # of the folder people.2
    with FileLock(holder / "lock"):
        check_destination(place)
        assert (holder / "old").is_dir()
    check_destination(tmp_path / "other")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".people.2.abcdefgh.partial", holder.name]


def test_an_unfinished_file_does_not_keep_a_folder_from_being_replaced(small: Population, tmp_path: Path):
    save_population(small, tmp_path / "people")
    (tmp_path / "people" / ".response.npz.partial").touch()
    save_population(small, tmp_path / "people", overwrite=True)
    assert not (tmp_path / "people" / ".response.npz.partial").exists()
