"""A small network in a chat model's place."""

import io
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lerl.planners.base import PlanContexts, Plans, Sessions, check_plans
from lerl.planners.config import PlannerConfig
from lerl.planners.llm.distilled import (
    Arrays,
    DistilledError,
    DistilledPlanner,
    RefreshedPlanner,
    features,
    load,
    recorded,
    save,
    train_network,
)
from lerl.planners.llm.planner import build_model
from lerl.planners.llm.traffic import Asked, Traffic

MakeContexts = Callable[..., PlanContexts]
NOBODY = Sessions((), np.zeros((0, 0), bool), *np.zeros((3, 0, 1, 1), np.float32), np.zeros(0, np.uint64))


def states(count: int, categories: int = 8, seed: int = 0) -> np.ndarray:
    """(count, categories, 5) features of made-up states, everything left to show."""
    drawn = np.random.default_rng(seed).normal(size=(count, categories, 5)).astype(np.float32)
    drawn[:, :, 4] = 1
    return drawn


def liked_and_rested(seen: np.ndarray, size: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """A rule: the three best by liking minus exposure; what has most exposure is avoided unless it is allowed."""
    value = seen[:, :, 0] - seen[:, :, 1]
    allowed = np.argsort(np.argsort(-value, axis=1), axis=1) < size
    return allowed, (seen[:, :, 1] > 1) & ~allowed


@pytest.fixture(scope="module")
def lesson() -> tuple[Arrays, Any]:
    seen = states(1000)
    return train_network(seen, *liked_and_rested(seen), 0)


@pytest.fixture(scope="module")
def weights(lesson: tuple[Arrays, Any]) -> Arrays:
    return lesson[0]


def test_what_a_network_sees(contexts: MakeContexts):
    seen = features(contexts([[0.5, 0.0]], items=[[0]], feedback=[[1]], estimates=[[0.5]]))
    assert seen.shape == (1, 2, 5)
    assert seen.dtype == np.float32
    # liking 0.5 is 0 in log-odds; a slate ago fades to exp(-1/8) = 0.8825; a click where half of one was promised:
    # (1 - 0.5) / (4 + 0.25) = 0.1176, with deviation 4.25 ** -0.5 = 0.4851
    np.testing.assert_allclose(seen[0, 0], [0.0, 0.8825, 0.1176, 0.4851, 1.0], atol=1e-4)
    # nothing left, so at 0.001: log(0.001 / 0.999) = -6.907; nothing known: mean 0, deviation 4 ** -0.5
    np.testing.assert_allclose(seen[0, 1], [-6.9068, 0.0, 0.0, 0.5, 0.0], atol=1e-4)


def test_an_obvious_rule_is_learned(lesson: tuple[Arrays, Any]):
    weights, result = lesson
    assert (result.pairs, result.held_out) == (1000, 200)
    assert result.agreement > 0.95
    assert 0.3 < result.chance < 0.5  # three of eight are 0.375
    assert int(weights["size"]) == 3


def test_it_plans_as_the_rule_does_on_states_never_seen(weights: Arrays, monkeypatch: pytest.MonkeyPatch):
    seen = states(500, seed=9)
    allowed, avoid = liked_and_rested(seen)
    plans = _plans(DistilledPlanner(3, weights), seen, monkeypatch)
    assert (plans.allowed & allowed).sum() / allowed.sum() > 0.95
    assert (plans.avoid == avoid).mean() > 0.95
    assert not (plans.allowed & plans.avoid).any()


def _plans(planner: DistilledPlanner, seen: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> Plans:
    monkeypatch.setattr("lerl.planners.llm.distilled.features", lambda _: seen)

    class Contexts:
        predicted_ctr = np.full(seen.shape[:2], 0.5)

    return planner.plan(Contexts())  # type: ignore[arg-type]


def test_it_knows_no_category_by_its_number(weights: Arrays, contexts: MakeContexts):
    predicted_ctr = np.random.default_rng(1).uniform(0.05, 0.95, (20, 12))  # of another number of categories, too
    turned = np.random.default_rng(2).permutation(12)
    planner = DistilledPlanner(3, weights)
    plans, other = planner.plan(contexts(predicted_ctr)), planner.plan(contexts(predicted_ctr[:, turned]))
    np.testing.assert_array_equal(plans.allowed[:, turned], other.allowed)


def test_the_same_seed_gives_the_same_bits():
    seen = states(60)
    one, other, third = (train_network(seen, *liked_and_rested(seen), seed) for seed in (4, 4, 5))
    assert one[1].agreed.tolist() == other[1].agreed.tolist()
    for name, value in one[0].items():
        assert value.tobytes() == other[0][name].tobytes(), name
    assert one[0]["0.weight"].tobytes() != third[0]["0.weight"].tobytes()


def test_many_plans_are_learned_in_fewer_epochs(monkeypatch: pytest.MonkeyPatch):
    steps: list[int] = []
    step = torch.optim.Adam.step
    monkeypatch.setattr(torch.optim.Adam, "step", lambda self: (steps.append(1), step(self)))
    monkeypatch.setattr("lerl.planners.llm.distilled.STEPS", 10)
    seen = states(400)
    train_network(seen, *liked_and_rested(seen), 0)
    assert len(steps) == 10  # two epochs of 320 plans


def test_too_few_plans_are_refused():
    seen = states(19)
    with pytest.raises(DistilledError, match="at least 20 recorded plans to learn from, given 19"):
        train_network(seen, *liked_and_rested(seen), 0)


def test_states_with_nothing_left_do_no_harm():
    seen = states(40)
    seen[:30, :, 4] = 0
    learned, _ = train_network(seen, *liked_and_rested(seen), 0)
    assert all(np.isfinite(value).all() for value in learned.values())


@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 1000))
def test_a_batch_is_planned_as_its_sessions_alone(
    weights: Arrays, contexts: MakeContexts, count: int, categories: int, seed: int
):
    drawn = np.random.default_rng(seed)
    many = contexts(
        drawn.uniform(0, 1, (count, categories)),
        items=drawn.integers(-1, categories, (count, 10)),
        feedback=drawn.integers(0, 2, (count, 10)),
        estimates=drawn.uniform(0, 1, (count, 10)),
    )
    planner = DistilledPlanner(4, weights)
    values, avoid = planner._values(many)
    for row in range(count):
        alone = planner._values(many.take(np.array([row])))
        assert alone[0].tobytes() == values[row].tobytes()
        np.testing.assert_array_equal(alone[1][0], avoid[row])
    plans = check_plans(planner.plan(many), many, planner)
    assert (plans.allowed & ~plans.avoid).any(axis=1).all()
    assert (plans.allowed.sum(axis=1) == min(3, categories)).all()


def test_nothing_exhausted_is_allowed_while_something_is_left(weights: Arrays, contexts: MakeContexts):
    plans = DistilledPlanner(3, weights).plan(contexts([[0.0, 0.01, 0.0, 0.01, 0.01]]))
    assert plans.allowed.tolist() == [[False, True, False, True, True]]


@pytest.mark.parametrize(("size", "allowed"), [(1, 1), (2, 2), (3, 3), (6, 3)])
def test_it_allows_as_many_as_its_teacher_within_the_size(
    weights: Arrays, contexts: MakeContexts, size: int, allowed: int
):
    assert DistilledPlanner(size, weights).plan(contexts([[0.5] * 8])).allowed.sum() == allowed


# Files


def test_weights_are_read_as_they_were_written(weights: Arrays, tmp_path: Path):
    save(weights, tmp_path / "distilled.npz")
    kept = load(tmp_path / "distilled.npz")
    assert kept.keys() == weights.keys()
    for name, value in weights.items():
        assert kept[name].tobytes() == value.tobytes()
        assert kept[name].dtype == value.dtype


def test_state_comes_back(weights: Arrays, contexts: MakeContexts):
    one, other = DistilledPlanner(3, weights), DistilledPlanner(3, {})
    other.restore(one.state())
    some = contexts(np.random.default_rng(0).uniform(0, 1, (9, 8)))
    np.testing.assert_array_equal(one.plan(some).allowed, other.plan(some).allowed)


class Bomb:
    def __reduce__(self) -> Any:
        return pytest.fail, ("executed",)


HOSTILE: dict[str, Callable[[Arrays], dict[str, Any]]] = {
    "objects": lambda held: held | {"size": np.array(Bomb(), object)},
    "text": lambda held: held | {"size": np.array("three")},
    "complex": lambda held: held | {"size": np.array(3j)},
    "times": lambda held: held | {"size": np.array("2026-01-01", "datetime64[D]")},
    "no numbers": lambda held: held | {"0.weight": held["0.weight"] * np.nan},
    "infinite": lambda held: held | {"4.bias": np.array([np.inf, 0])},
    "another shape": lambda held: held | {"2.weight": held["2.weight"][:5]},
    "a part missing": lambda held: {name: value for name, value in held.items() if name != "2.bias"},
    "nothing": lambda _: {},
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE)
def test_other_arrays_are_refused(weights: Arrays, tmp_path: Path, change: Callable[[Arrays], dict[str, Any]]):
    path = tmp_path / "distilled.npz"
    np.savez(path, **change(weights))
    with pytest.raises(DistilledError, match=r"distilled\.npz is no distilled planner.*make one with lerl distill RUN"):
        load(path)


def _whole(weights: Arrays) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **weights)  # type: ignore[arg-type]
    return stream.getvalue()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda whole: b"",
        lambda whole: b"PK",
        lambda whole: b"PK\3\4" + b"x" * 100,
        lambda whole: b"\x80\x04N.",
        lambda whole: whole[:100],
        lambda whole: whole[: len(whole) // 2],
        lambda whole: whole[:-1],
        lambda whole: whole.replace(b"'<f4'", b"'<f9'"),
        lambda whole: whole[:200] + bytes(b ^ 255 for b in whole[200:300]) + whole[300:],
    ],
)
def test_damaged_files_are_refused(weights: Arrays, tmp_path: Path, spoil: Callable[[bytes], bytes]):
    path = tmp_path / "distilled.npz"
    path.write_bytes(spoil(_whole(weights)))
    with pytest.raises(DistilledError, match="is no distilled planner"):
        load(path)


def test_a_claim_of_endless_numbers_is_refused(weights: Arrays, tmp_path: Path):
    path = tmp_path / "distilled.npz"
    save(weights, path)
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }\n"
    with zipfile.ZipFile(path, "a") as file, pytest.warns(UserWarning, match="Duplicate name"):
        file.writestr("size.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    with pytest.raises(DistilledError, match="is no distilled planner"):
        load(path)


def test_a_file_without_an_end_is_refused(tmp_path: Path):
    (tmp_path / "distilled.npz").symlink_to("/dev/zero")
    with pytest.raises(DistilledError, match="is no distilled planner"):
        load(tmp_path / "distilled.npz")


def test_a_single_array_or_a_folder_is_refused(tmp_path: Path):
    np.save(tmp_path / "one.npy", np.zeros(3))
    for path in (tmp_path / "one.npy", tmp_path):
        with pytest.raises(DistilledError, match="is no distilled planner"):
            load(path)
    with pytest.raises(DistilledError, match=r"^there is no .*gone\.npz; make it with lerl distill RUN"):
        load(tmp_path / "gone.npz")


# Recorded plans


def plan(seen: np.ndarray, text: str | None = None, **changed: Any) -> Asked:
    key = changed.pop("key", f"{int(1000 * abs(seen.ravel()[0])):064x}")
    text = text or f'{{"state": "{key[:6]}", "rationale": "", "allowed": [2, 0], "avoid": [0]}}'
    return replace(Asked(key, "plan", "m", "d", 0, "s", "u", text, "", seen.tobytes(), 1, 0, 0, 0.1), **changed)


def kept(folder: Path, asked: list[Asked], phase: str = "train") -> Traffic:
    file = Traffic(folder / "traffic.sqlite")
    file.keep(phase, asked, {})
    return file


def test_recorded_plans_come_with_their_states(tmp_path: Path):
    seen = states(2, 3)
    file = kept(tmp_path, [plan(seen[0], key="a" * 64), plan(seen[1], key="b" * 64)])
    file.keep("evaluate llm+ppo", [plan(states(1, 3, 5)[0], key="c" * 64)], {})  # is never learned from
    held = recorded(file)
    np.testing.assert_array_equal(held[0], seen)
    assert held[1].tolist() == [[False, False, True]] * 2  # 0 is avoided as well, so not allowed
    assert held[2].tolist() == [[True, False, False]] * 2
    file.close()


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ([], "holds no plans of a chat model to learn from"),
        ([plan(states(1, 3)[0], key="a" * 64), plan(states(1, 4)[0], key="b" * 64)], "or of different catalogs"),
        ([plan(states(1, 3)[0], state=b"abc")], "holds a plan that cannot be read"),
        ([plan(states(1, 3)[0], state=b"a" * 24)], "holds a plan that cannot be read"),
        ([plan(states(1, 3)[0], state=b"\xff" * 60)], "holds a plan that cannot be read.*no number"),
        ([plan(states(1, 3)[0], text="{}")], "holds a plan that cannot be read"),
        ([plan(states(1, 2)[0])], "holds a plan that cannot be read.*allowed names 2"),
    ],
)
def test_files_without_usable_plans_are_refused(tmp_path: Path, asked: list[Asked], message: str):
    file = kept(tmp_path, asked)
    with pytest.raises(DistilledError, match=rf"traffic\.sqlite .*{message}"):
        recorded(file)
    file.close()


# Asking again where it is unsure


class Teacher:
    """Allows the first category of everybody; counts what it is asked."""

    def __init__(self, fails: bool = False) -> None:
        self.asked: list[PlanContexts] = []
        self.fails = fails

    def plan(self, contexts: PlanContexts) -> Plans:
        self.asked.append(contexts)
        allowed, avoid = np.zeros((2, len(contexts), len(contexts.names)), bool)
        allowed[:, :4] = True
        avoid[:, 3] = True
        return Plans(allowed, avoid, ("fallback: timeout" if self.fails else "so",) * len(contexts))


def refreshed(weights: Arrays, teacher: Any, most: int, size: int = 3) -> RefreshedPlanner:
    seen = states(30)
    return RefreshedPlanner(size, weights, 0, teacher, (seen, *liked_and_rested(seen)), most)


SURE, UNSURE = [0.9, 0.9, 0.9] + [0.02] * 5, [0.5] * 8


def test_only_states_that_it_is_unsure_of_are_asked_about(weights: Arrays, contexts: MakeContexts):
    teacher = Teacher()
    planner = refreshed(weights, teacher, 10)
    plain = DistilledPlanner(3, weights).plan(contexts([SURE, UNSURE, SURE]))
    np.testing.assert_array_equal(planner.plan(contexts([SURE, UNSURE, SURE], keys=[5, 6, 7])).allowed, plain.allowed)
    planner.plan(contexts([UNSURE], keys=[8]))
    assert teacher.asked == []  # nobody is asked while a session goes on
    planner.session_ended(NOBODY)
    assert [asked.session_key.tolist() for asked in teacher.asked] == [[6], [8]]
    assert len(planner.recorded[0]) == 32
    assert planner.recorded[1][-1].tolist() == [True, True, True] + [False] * 5  # 3 is avoided as well
    assert planner.recorded[2][-1].tolist() == [False, False, False, True] + [False] * 4
    assert planner.weights["0.weight"].tobytes() != weights["0.weight"].tobytes()


def test_no_more_are_asked_about_than_allowed_in_a_lot(weights: Arrays, contexts: MakeContexts):
    teacher = Teacher()
    planner = refreshed(weights, teacher, 7)
    for _ in range(5):
        planner.plan(contexts([UNSURE] * 4))
    planner.session_ended(NOBODY)
    assert sum(map(len, teacher.asked)) == 7
    teacher.asked.clear()
    for _ in range(20):
        planner.plan(contexts(np.linspace(0.45, 0.55, 80).reshape(10, 8)))
    planner.session_ended(NOBODY)
    assert sum(map(len, teacher.asked)) <= 7


def test_where_nothing_new_was_said_it_stays_as_it_was(weights: Arrays, contexts: MakeContexts):
    for teacher, some in ((Teacher(), [SURE]), (Teacher(fails=True), [UNSURE])):
        planner = refreshed(weights, teacher, 10)
        planner.plan(contexts(some))
        planner.session_ended(NOBODY)
        assert len(planner.recorded[0]) == 30
        assert planner.weights is weights


def test_nobody_is_asked_once_it_has_learned(weights: Arrays, contexts: MakeContexts):
    teacher = Teacher()
    planner = refreshed(weights, teacher, 10)
    planner.restore(planner.state())
    planner.plan(contexts([UNSURE] * 3))
    planner.session_ended(NOBODY)
    assert teacher.asked == []


def test_a_plan_of_all_categories_is_never_unsure(weights: Arrays, contexts: MakeContexts):
    teacher = Teacher()
    planner = refreshed(weights, teacher, 10)
    planner.plan(contexts([[0.5, 0.5, 0.5]]))
    planner.session_ended(NOBODY)
    assert teacher.asked == []


def test_another_catalog_cannot_be_learned_together_with_the_first(weights: Arrays, contexts: MakeContexts):
    teacher = Teacher()
    planner = refreshed(weights, teacher, 10)
    planner.plan(contexts([[0.5] * 9]))
    with pytest.raises(DistilledError, match=r"learned from plans for 8 categories, here are 9; .*planner\.refresh 0"):
        planner.session_ended(NOBODY)
    assert teacher.asked == []


def test_one_that_is_not_refreshed_needs_no_guard(weights: Arrays, tmp_path: Path):
    save(weights, tmp_path / "planners" / "distilled.npz")
    save(weights, tmp_path / "mine.npz")
    for place in (tmp_path, tmp_path / "planners" / "distilled.npz", tmp_path / "mine.npz"):
        settings = PlannerConfig(name="distilled", distilled=str(place), size=3)
        planner = build_model("distilled", settings, 0, lambda: pytest.fail("asked for a guard"))
        assert type(planner) is DistilledPlanner
