"""Threads: blocks that are handed over as they should be, and users in the same bits however many threads there are."""

import multiprocessing
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

import lerl  # noqa: F401 - registers the environments
from lerl.envs import threads
from lerl.envs.config import SimulatorConfig
from lerl.envs.population import Kinds, Population
from lerl.envs.response.latent import LatentFactorResponse
from lerl.envs.session import SessionVectorEnv
from lerl.envs.simulator import UserSimulator
from tests.envs.made_sequences import random_sequences

MANY = 23  # users that no number of threads divides


@pytest.fixture
def everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of two users are worth a thread."""
    monkeypatch.setattr(threads, "LEAST", 0.0)


@pytest.fixture(autouse=True)
def untold(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nobody said how many threads to use."""
    monkeypatch.delenv(threads.VARIABLE, raising=False)
    yield
    threads.use(None)


def where(block: slice) -> tuple[slice, int]:
    return block, threading.get_ident()


# The helper.


def test_blocks_cover_all_rows_once_and_come_back_in_order():
    for rows in (2, 7, 100, 1001):
        with threads.limit(3):
            found = threads.each(lambda block: block, rows, 2)
        assert [row for block in found for row in range(block.start, block.stop)] == list(range(rows))
        assert all(block.stop - block.start >= 2 for block in found)


@pytest.mark.parametrize(("rows", "least", "count", "number"), [
    (10, 6, 2, 1),  # not twice the least
    (12, 6, 2, 2),
    (17, 5, 2, 2),  # three would leave one thread without work in the end
    (1000, 5, 2, 4),  # two for each thread
    (1000, 5, 5, 10),
    (17, 5, 8, 3),  # fewer blocks than threads
    (1000, 5, 1, 1),
])  # fmt: skip
def test_so_many_blocks_are_made(rows: int, least: int, count: int, number: int):
    with threads.limit(count):
        assert threads.parts(rows, least) == number


def test_small_work_stays_in_the_thread_of_the_caller():
    with threads.limit(8):
        assert threads.each(where, 19, 10) == [(slice(0, 19), threading.get_ident())]


def test_large_work_is_done_by_several_threads_at_once():
    both = threading.Barrier(2, timeout=30)
    with threads.limit(2):
        found = threads.each(lambda block: (both.wait(), where(block)[1])[1], 2, 1)
    assert len(set(found)) == 2


def test_what_a_block_calls_stays_in_its_thread():
    with threads.limit(4):
        nested = threads.each(lambda block: (threads.count(), threads.each(where, 1000, 2)), 8, 2)
        assert all(count == 1 and [one for one, _ in found] == [slice(0, 1000)] for count, found in nested)
        assert threads.count() == 4


def test_arrays_of_blocks_are_put_together():
    rows = np.arange(50)
    with threads.limit(3):
        found = threads.joined(lambda block: (rows[block], -rows[block, None]), 50, 2)
    assert found[0].tolist() == rows.tolist()
    assert found[1].tolist() == (-rows[:, None]).tolist()


class OwnError(Exception):
    pass


def test_an_exception_in_a_block_is_raised_as_it_is_and_that_of_the_first_of_several():
    errors = {number: OwnError(f"block {number}") for number in range(6)}

    def fail(block: slice) -> None:
        if block.start >= 2:
            raise errors[block.start]

    with threads.limit(3):
        for _ in range(20):
            with pytest.raises(OwnError, match="block 2") as caught:
                threads.each(fail, 6, 1)
            assert caught.value is errors[2]
        assert len(threads.each(where, 6, 1)) == 6  # and the threads still work


def test_ctrl_c_waits_for_blocks_at_work_and_takes_no_others():
    begun, done, caller = [], [], threading.get_ident()
    helping = threading.Event()

    def work(block: slice) -> None:
        begun.append(block.start)
        if threading.get_ident() == caller:
            helping.wait(30)
            raise KeyboardInterrupt
        helping.set()
        threading.Event().wait(0.05)
        done.append(block.start)

    with threads.limit(2), pytest.raises(KeyboardInterrupt):
        threads.each(work, 400, 100)
    assert len(begun) < 4
    assert len(done) == len(begun) - 1


def test_the_number_of_threads_is_that_of_the_block_the_variable_the_process_and_the_cores(
    monkeypatch: pytest.MonkeyPatch,
):
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert threads.count() == cores
    threads.use(3)
    assert threads.count() == 3
    monkeypatch.setenv(threads.VARIABLE, "5")
    assert threads.count() == 5
    with threads.limit(7), threads.limit(None):
        assert threads.count() == 7
    assert threads.count() == 5
    monkeypatch.setenv(threads.VARIABLE, "")
    threads.use(None)
    assert threads.count() == cores


@pytest.mark.parametrize("wrong", [0, -1, 1025, 2.0, True, "2"])
def test_a_wrong_number_of_threads_is_refused(wrong: Any):
    for make in (threads.use, threads.limit):
        with pytest.raises(
            ValueError, match=re.escape(f"threads must be a whole number in [1, 1024], given {wrong!r}")
        ):
            make(wrong)


@pytest.mark.parametrize("wrong", ["0", "many", "1.5", "-2", "٣"])
def test_a_wrong_variable_is_refused_by_its_name(monkeypatch: pytest.MonkeyPatch, wrong: str):
    monkeypatch.setenv(threads.VARIABLE, wrong)
    with pytest.raises(ValueError, match=r"LERL_THREADS must be a whole number in \[1, 1024\], given"):
        threads.count()


def test_work_is_done_where_no_thread_can_be_started(monkeypatch: pytest.MonkeyPatch):
    def refuse() -> Any:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threads, "_helpers", refuse)
    with threads.limit(2):
        assert [block.start for block, _ in threads.each(where, 8, 2)] == [0, 2, 4, 6]


def _squares(rows: int) -> list[int]:
    with threads.limit(3):
        return [n for block in threads.each(lambda block: [n * n for n in range(rows)[block]], rows, 2) for n in block]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_has_threads_of_its_own():
    expected = _squares(30)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply_async(_squares, (30,)).get(timeout=60) == expected
    assert _squares(30) == expected


def test_a_process_among_others_uses_one_thread_unless_told(monkeypatch: pytest.MonkeyPatch):
    for told, expected in (("", 1), ("3", 3)):
        monkeypatch.setenv(threads.VARIABLE, told)
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            assert pool.apply_async(threads.count).get(timeout=120) == expected


def test_idle_threads_do_not_keep_python_from_ending():
    code = "from lerl.envs import threads\nwith threads.limit(4): print(len(threads.each(lambda block: 0, 100, 2)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=Path(__file__).parents[2],
        check=True,
    )  # fmt: skip
    assert done.stdout == "8\n"


# The users.


def dense(small: Population) -> Population:
    seen = np.random.default_rng(5).integers(-1, 2, (40, 60)).astype(np.int8)
    return replace(small, dense=seen)


def kinds(small: Population) -> Population:
    draw = np.random.default_rng(6)
    weights, slopes = np.array([1.0, 0.5, 0.25], np.float32), np.array([0.8, 1.2], np.float32)
    return replace(
        small, kinds=Kinds(("click", "like", "share"), weights, slopes, draw.normal(size=(2, 60)).astype(np.float32))
    )


def sequence(small: Population) -> Population:
    draw = np.random.default_rng(0)
    return replace(small, response=random_sequences(60, [draw.integers(60, size=n % 7).tolist() for n in range(40)]))


def as_it_is(small: Population) -> Population:
    return small


STILL: dict[str, Any] = {"drift": {"enabled": False}}
WORLDS: dict[str, tuple[Callable[[Population], Population], dict[str, Any]]] = {
    "latent, satisfaction": (as_it_is, {}),
    "slates of one": (as_it_is, {"slate_size": 1}),
    "window, repeats": (as_it_is, {"leave": "window", "repeats": True}),
    "budget by slots": (as_it_is, {"leave": {"rule": "budget", "budget": {"repetition": "slot"}}}),
    "budget by slates": (as_it_is, {"leave": {"rule": "budget", "budget": {"repetition": "shared"}}}),
    "never, likeness, within a slate": (
        as_it_is, {"leave": "never", "similarity": {"weight": 0.3}, "boredom": {"within_slate": True}},
    ),
    "ratings, moods": (as_it_is, {"feedback": "rating", "mood": {"enabled": True, "spread": 0.5}}),
    "kinds": (kinds, {"feedback": "weighted"}),
    "lookup": (dense, {"response": "lookup"}),
    "sequence": (sequence, {"response": "sequence", **STILL}),
}  # fmt: skip


def same(one: Any, other: Any) -> None:
    """Equal bits, NaN included, of whatever an environment gives."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            same(one[key], other[key])
    elif isinstance(one, tuple | list):
        assert len(one) == len(other)
        for part, its in zip(one, other, strict=True):
            same(part, its)
    elif isinstance(one, np.ndarray) and one.dtype == object:
        same(one.tolist(), other.tolist())
    elif isinstance(one, np.ndarray):
        assert one.dtype == other.dtype
        assert one.shape == other.shape
        assert one.tobytes() == other.tobytes()
    else:
        assert one == other


def lived(people: Population, count: int, number: int, mode: str = "NextStep", **settings: Any) -> list[Any]:
    """All that so many users give in 12 steps with so many threads."""
    chosen = {"slate_size": 3, "max_steps": 8, "topic_count": 5, "reveal_hidden": True, **settings}
    env = SessionVectorEnv(people, count, threads=number, autoreset_mode=mode, **chosen)
    found: list[Any] = [env.reset(seed=4)]
    draw = np.random.default_rng(0)
    for _ in range(12):
        found.append(env.step(draw.integers(60, size=env.action_space.shape)))
        if mode == AutoresetMode.DISABLED.value and not env.state.active.all():
            ended = ~env.state.active
            found.append(env.reset(seed=[7 + slot for slot in range(count)], options={"reset_mask": ended}))
    kept = env.snapshot()
    del kept["random"]  # of Gymnasium, of which nothing is drawn here
    return [*found, kept]


@pytest.mark.parametrize("world", WORLDS)
def test_users_are_the_same_bits_with_any_number_of_threads(small: Population, everything: None, world: str):
    change, settings = WORLDS[world]
    people = change(small)
    alone = lived(people, MANY, 1, **settings)
    for number in (2, 3, 5):
        same(lived(people, MANY, number, **settings), alone)


@pytest.mark.parametrize("mode", ["NextStep", "SameStep", "Disabled"])
@pytest.mark.parametrize("count", [2, 5, 64, 131])
def test_users_begin_anew_in_the_same_bits(small: Population, everything: None, mode: str, count: int):
    settings = {"max_steps": 3, "leave": {"satisfaction": {"highest": 1.0}}}
    alone = lived(small, count, 1, mode, **settings)
    same(lived(small, count, 3, mode, **settings), alone)


def test_threads_really_step_the_users(small: Population, everything: None, monkeypatch: pytest.MonkeyPatch):
    names, step = [], UserSimulator._step

    def noted(self: Any, *given: Any) -> Any:
        names.append(len(given[1]))
        return step(self, *given)

    monkeypatch.setattr(UserSimulator, "_step", noted)
    env = SessionVectorEnv(small, MANY, threads=2)
    env.reset(seed=0)
    env.step(np.zeros(MANY, int))
    assert sorted(names) == [5, 6, 6, 6]


def test_few_users_are_stepped_at_once(small: Population, monkeypatch: pytest.MonkeyPatch):
    env = SessionVectorEnv(small, 256, threads=8)
    env.reset(seed=0)
    monkeypatch.setattr(threads, "each", None)
    env.step(np.zeros(256, int))


def test_wrong_slates_move_nobody_and_are_named_whole(small: Population, everything: None):
    config = SimulatorConfig(slate_size=2, max_steps=3)
    simulator = UserSimulator(small, config, "all")
    with threads.limit(3):
        state = simulator.start(np.arange(MANY, dtype=np.uint64), np.zeros(MANY, np.int64))
        slates = np.tile([0, 1], (MANY, 1))
        slates[-1] = -5, 99
        before = state.take(np.arange(MANY))
        with pytest.raises(ValueError, match=r"items must be in \[-1, 60\), given -5 to 99"):
            simulator.step(state, slates)
        with pytest.raises(ValueError, match=re.escape(f"slates must have shape ({MANY}, 2), given ({MANY}, 3)")):
            simulator.step(state, np.zeros((MANY, 3), int))
        same(
            [getattr(state, entry.name) for entry in fields(state)],
            [getattr(before, entry.name) for entry in fields(state)],
        )
        state.steps[4] = 3
        with pytest.raises(ValueError, match="a user has had all 3 steps"):
            simulator.step(state, np.zeros((MANY, 2), int))


class OwnResponse(LatentFactorResponse):
    """One of somebody's own, which notes in which threads it was called, and for how many users."""

    seen: list[tuple[int, int]] = []  # noqa: RUF012

    def score(self, state: Any, items: Any) -> Any:
        self.seen.append((threading.get_ident(), len(items)))
        return super().score(state, items)


class OwnRule:
    def probability(self, situation: Any) -> Any:
        OwnResponse.seen.append((threading.get_ident(), len(situation.steps)))
        return np.zeros(len(situation.steps))


@pytest.mark.parametrize("own", [{"response": f"{__name__}:OwnResponse"}, {"leave": f"{__name__}:OwnRule"}])
def test_code_of_somebodys_own_stays_in_one_thread(small: Population, everything: None, own: dict[str, Any]):
    OwnResponse.seen.clear()
    lived(small, MANY, 4, **own)
    assert OwnResponse.seen
    assert set(OwnResponse.seen) == {(threading.get_ident(), MANY)}


def test_gymnasium_passes_the_number_of_threads_on():
    env: Any = gymnasium.make_vec("lerl/Synthetic-v0", num_envs=2, threads=3, users=40, items=60, categories=6, dim=4)
    assert env.unwrapped._threads == 3
    with pytest.raises(ValueError, match="threads must be a whole number"):
        gymnasium.make_vec("lerl/Synthetic-v0", num_envs=2, threads=0, users=40, items=60, categories=6, dim=4)
