"""Users are independent: threads go over blocks of them side by side, and what comes out has the bits of one thread.

Compiled loops that are called in blocks let go of Python's lock (`nogil=True`), as NumPy's own do. A block is a range
of users, or of other rows; what is written for one touches no other, and every draw is of a user's own stream. The
calling thread takes blocks too: where all cores are busy it does all of them, and waits for nobody.
"""

import math
import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar, Token
from multiprocessing import parent_process
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Found = TypeVar("Found")

VARIABLE = "LERL_THREADS"
LEAST = 500.0  # microseconds that a block takes at least: handing it over takes 50, and longer where cores are busy
LEAST_ROWS = 2  # of a block: NumPy may sum a single row in another order
ROUNDS = 2  # blocks for each thread: where one of two cores is slower, the other takes more of them
MOST = 1024  # threads

_here: ContextVar[int | None] = ContextVar("threads", default=None)


class _Process:
    """What holds for this process: how many threads, and those that help."""

    count: int | None = None
    helpers: ThreadPoolExecutor | None = None
    lock = threading.Lock()


def _forget() -> None:
    """In a process that was forked: the threads of the other one are not there."""
    _Process.helpers, _Process.lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def use(threads: int | None) -> None:
    """How many threads this process uses, None for as many as `count` says; `LERL_THREADS` goes before.

    Raises:
        ValueError: it is not in [1, 1024].
    """
    _Process.count = None if threads is None else checked("threads", threads)


class limit:
    """Use so many threads in a `with` block, whatever else was said; None changes nothing.

    Raises:
        ValueError: it is not in [1, 1024].
    """

    def __init__(self, threads: int | None) -> None:
        self.threads = None if threads is None else checked("threads", threads)
        self._before: Token[int | None] | None = None

    def __enter__(self) -> None:
        if self.threads is not None:
            self._before = _here.set(self.threads)

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            _here.reset(self._before)


def count() -> int:
    """How many threads are used here: as `limit`, `LERL_THREADS` or `use` says, else as many as there are cores.

    A process that `multiprocessing` started has others beside it, as a rule as many as there are cores: it uses one.

    Raises:
        ValueError: `LERL_THREADS` is no whole number in [1, 1024].
    """
    here = _here.get()
    if here is not None:
        return here
    told = os.environ.get(VARIABLE)
    if told:
        return checked(VARIABLE, int(told) if told.isascii() and told.isdigit() else told)
    return _cores() if _Process.count is None else _Process.count


def _cores() -> int:
    """The cores that this process may use; 1 for one of several that `multiprocessing` started."""
    if parent_process() is not None:
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def checked(name: str, threads: Any) -> int:
    """A number of threads, or an error that says what is allowed."""
    if isinstance(threads, bool) or not isinstance(threads, int) or not 1 <= threads <= MOST:
        raise ValueError(f"{name} must be a whole number in [1, {MOST}], given {threads!r}")
    return threads


def least(micros: float) -> int:
    """How many rows a block has at least, where one takes about so many microseconds."""
    return max(LEAST_ROWS, math.ceil(LEAST / micros))


def parts(rows: int, least: float) -> int:
    """In how many blocks so many rows are gone over, 1 where that is as fast.

    Args:
        rows: how many. least: how many a block has at least; see the function of that name.
    """
    if rows < 2 * least:
        return 1
    threads = count()
    most = min(int(rows // least), ROUNDS * threads)
    return 1 if threads == 1 else most - most % threads if most > threads else most


def each(work: Callable[[slice], Found], rows: int, least: float) -> list[Found]:
    """What work(block) gives for each block of so many rows, in order; a block is a range of them, as a slice.

    Raises:
        BaseException: whatever `work` does; where it does in several blocks, what it raises in the first of them.
    """
    number = parts(rows, least)
    if number == 1:
        return [work(slice(0, rows))]
    return _Blocks(work, [slice(rows * n // number, rows * (n + 1) // number) for n in range(number)]).run()


def joined(work: Callable[[slice], tuple[NDArray[Any], ...]], rows: int, least: float) -> tuple[NDArray[Any], ...]:
    """The arrays that work(block) gives for each block, with a row for each of its rows; all rows in order."""
    found = each(work, rows, least)
    return found[0] if len(found) == 1 else tuple(map(np.concatenate, zip(*found, strict=True)))


def cut(arrays: Iterable[Any], block: slice) -> tuple[Any, ...]:
    """The rows of a block of each array, not copied."""
    return tuple([array[block] for array in arrays])


class _Blocks:
    """Blocks that several threads take, one after another, until none is left."""

    def __init__(self, work: Callable[[slice], Any], blocks: list[slice]) -> None:
        self.work = work
        self.left = list(enumerate(blocks))[::-1]
        self.found: list[Any] = [None] * len(blocks)
        self.errors: dict[int, BaseException] = {}

    def run(self) -> list[Any]:
        helping: list[Future[None]] = []
        try:
            for _ in range(min(count(), len(self.left)) - 1):
                helping.append(_helpers().submit(self.take))
        except RuntimeError:  # no thread can be started, as when Python is about to end: the rest is done here
            pass
        try:
            self.take()
        finally:  # Ctrl-C too, again while waiting: nothing goes on behind the back of whoever called
            self.left.clear()
            running = [one for one in helping if not one.cancel()]
            try:
                _wait(running)
            finally:
                _wait(running)
        if self.errors:
            raise self.errors[min(self.errors)]
        return self.found

    def take(self) -> None:
        """Take blocks until none is left; what `work` calls stays in this thread."""
        token = _here.set(1)
        try:
            while self.left:
                try:
                    number, block = self.left.pop()
                except IndexError:  # another thread was faster
                    return
                try:
                    self.found[number] = self.work(block)
                except BaseException as error:
                    self.errors[number] = error
                    self.left.clear()  # all that come before it were taken before
        finally:
            _here.reset(token)


def _wait(running: list[Future[None]]) -> None:
    for one in running:
        one.exception()


def _helpers() -> ThreadPoolExecutor:
    """The threads that help in this process: as many as were ever needed at once."""
    with _Process.lock:
        if _Process.helpers is None:
            _Process.helpers = ThreadPoolExecutor(MOST, "lerl")
        return _Process.helpers
