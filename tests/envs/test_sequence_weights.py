"""The file of a learned response model: kept with its population, checked at the door, refused when damaged."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lerl.envs.population import Population
from lerl.envs.schema import DataError
from lerl.envs.sequence_weights import LEARNED, check_learned, learned, read_learned, write_learned
from lerl.envs.store import RESPONSE_FILE, load_population, save_population

WIDTH, INNER = 4, 8


@pytest.fixture
def model() -> dict[str, Any]:
    """Of 60 items and 40 users, the first of whom met items 5 and 6; one layer, two heads."""

    def zeros(*shape: int) -> Any:
        return np.zeros(shape, np.float32)

    arrays = {
        "item_vectors": zeros(60, WIDTH), "item_offsets": zeros(60), "shown": zeros(60, WIDTH),
        "liked": zeros(60, WIDTH), "start": zeros(WIDTH), "history": zeros(2, WIDTH), "scaling": zeros(6),
        "norms": zeros(1, 2, 2, WIDTH), "attention": zeros(1, WIDTH, 3 * WIDTH), "attention_shift": zeros(1, 3 * WIDTH),
        "out_proj": zeros(1, WIDTH, WIDTH), "out_proj_shift": zeros(1, WIDTH), "fc_in": zeros(1, WIDTH, INNER),
        "fc_in_shift": zeros(1, INNER), "fc_out": zeros(1, INNER, WIDTH), "fc_out_shift": zeros(1, WIDTH),
        "slopes": zeros(2), "last_norm": zeros(2, WIDTH), "query": zeros(WIDTH, WIDTH), "query_shift": zeros(WIDTH),
        "offset": zeros(WIDTH + 3), "window": np.array([50]), "past_starts": np.array([0, *[2] * 40]),
        "past_items": np.array([5, 6], np.int32), "past_clicks": zeros(2), "past_before": zeros(40, 2),
    }  # fmt: skip
    return learned(arrays, {"seed": 3})


def test_a_population_keeps_its_model(tmp_path: Path, small: Population, model: dict[str, Any]) -> None:
    people = replace(small, response=model)
    save_population(people, tmp_path / "one")
    again = load_population(tmp_path / "one")
    assert again.response is not None
    assert {name: array.tolist() for name, array in again.response.items()} == {
        name: array.tolist() for name, array in model.items()
    }
    assert again.digest() == people.digest() != small.digest()
    save_population(again, tmp_path / "two")
    assert (tmp_path / "one" / RESPONSE_FILE).read_bytes() == (tmp_path / "two" / RESPONSE_FILE).read_bytes()
    with pytest.raises(ValueError, match="read-only"):
        again.response["query"][0] = 1


def test_a_population_without_a_model_is_as_before(tmp_path: Path, small: Population) -> None:
    save_population(small, tmp_path / "one")
    assert load_population(tmp_path / "one").response is None
    assert not (tmp_path / "one" / RESPONSE_FILE).exists()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("item_vectors", np.zeros((59, WIDTH), np.float32), r"item_vectors must be float32 of shape \(60, 4\), given"),
        ("past_before", np.zeros((40, 2)), r"past_before must be float32 of shape \(40, 2\), given float64"),
        ("query_shift", np.full(WIDTH, np.nan, np.float32), "query_shift has a number that is not finite"),
        ("past_items", np.array([5, 60], np.int32), r"past_items must be items in \[0, 60\), given 5 to 60"),
        ("past_starts", np.array([0, *[1] * 40]), r"past_starts must rise from 0 to the 2 events"),
        ("window", np.array([0]), r"window must be 1 or more"),
        ("slopes", np.zeros(3, np.float32), r"d by the heads, given window 50, d 4, f 8, 3 heads"),
    ],
)
def test_wrong_arrays_are_named(model: dict[str, Any], name: str, value: Any, message: str) -> None:
    check_learned(model, 60, 40)
    with pytest.raises(ValueError, match=message):
        check_learned({**model, name: value}, 60, 40)


def test_a_missing_array_is_named(model: dict[str, Any]) -> None:
    del model["liked"]
    with pytest.raises(ValueError, match=r"response\.liked is missing"):
        check_learned(model, 60, 40)


@pytest.mark.parametrize("harm", ["cut", "newer", "other users", "pickle"])
def test_a_damaged_file_names_the_command_that_makes_it_again(
    tmp_path: Path, small: Population, model: dict[str, Any], harm: str
) -> None:
    folder = tmp_path / "people"
    save_population(small, folder)
    path = folder / RESPONSE_FILE
    if harm == "newer":
        model["about"] = np.array('{"format_version": 99}')
    if harm == "other users":
        model["past_before"] = np.zeros((39, 2), np.float32)
    write_learned(path, model)
    if harm == "cut":
        path.write_bytes(path.read_bytes()[:1000])
    if harm == "pickle":
        np.savez(path, **{**model, "query": np.array([{}], object)})
    with pytest.raises(DataError, match=r"response\.npz cannot be read .*; remove it, or make it again with `lerl fit"):
        load_population(folder)


def test_a_file_of_version_0_1_0_is_read(tmp_path: Path, model: dict[str, Any]) -> None:
    old = {"out_proj": "mixing", "fc_in": "wide", "fc_out": "narrow"}
    old |= {f"{name}_shift": f"{before}_shift" for name, before in old.items()}
    for number, name in enumerate(old):
        model[name] = model[name] + np.float32(number)
    np.savez(tmp_path / "model.npz", **{old.get(name, name): array for name, array in model.items()})
    found = read_learned(tmp_path / "model.npz")
    assert sorted(found) == sorted(model)
    assert all(np.array_equal(found[name], model[name]) for name in model)


def test_a_population_with_a_model_has_the_digest_that_it_had_in_version_0_1_0(build: Any) -> None:
    """Runs keep the digest of their population, and say when it is another one."""
    sizes = {"I": 2, "U": 1, "d": 4, "f": 8, "L": 1, "H": 2, "N": 2, "3d": 12, "d+3": 7, "U+1": 2}
    arrays = {
        name: np.ones([int(word) if word.isdecimal() else sizes[word] for word in words.split()], kind)
        for name, (kind, words) in LEARNED.items()
    }
    arrays["past_starts"] = np.array([0, 2])
    people = replace(build([[1, 0], [0, 1]], [[1, 1]]), response=learned(arrays, {"seed": 3}))
    assert people.digest() == "92528f5aa5f8b9626ccb3356d05ad430"


def test_what_is_read_is_what_was_written(tmp_path: Path, model: dict[str, Any]) -> None:
    write_learned(tmp_path / "model.npz", model)
    assert sorted(read_learned(tmp_path / "model.npz")) == sorted(model)
