"""Worker processes on this machine, which end with this process; interrupted, they first write their checkpoints."""

import _thread
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from multiprocessing import active_children, get_context, parent_process
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as readable
from multiprocessing.context import SpawnContext
from typing import Any

from lerl.files import RunError
from lerl.run.work import State, tell_through

TRIES = 4
"""How often work is begun whose workers are killed: once, and three times more."""


@contextmanager
def workers(jobs: int, again: str, heard: Callable[[str, str], object] | None = None) -> Iterator[Executor]:
    """Processes that do work side by side; what one that was killed was at, another one does, up to three times more.

    Args:
        jobs: how many. again: how to go on where work was killed every time, such as "give the same command again".
        heard: called with a name and a line for each line that work writes into its log.

    Raises:
        RunError: the system has no semaphores for processes. The future of work that was killed every time raises it.
    """
    context = get_context("spawn")
    alive, closing_ends_them = context.Pipe(duplex=False)
    others = set(active_children())
    with _listening(context, heard) as line, _Pool(jobs, lambda: _process(context, alive, line()), again) as pool:
        try:
            yield pool
        finally:
            closing_ends_them.close()
            pool.shutdown(wait=False, cancel_futures=True)
            try:
                while set(active_children()) - others:
                    time.sleep(0.1)
            except KeyboardInterrupt:  # the second one
                for child in set(active_children()) - others:
                    child.terminate()
                raise


def _process(context: SpawnContext, alive: Connection, line: Connection | None) -> ProcessPoolExecutor:
    """A pool of one process, so that the end of one is not that of the others."""
    try:
        return ProcessPoolExecutor(1, context, _begin, (alive, line))
    except (OSError, ImportError, NotImplementedError) as error:  # ImportError: Python was built without semaphores
        reason = getattr(error, "strerror", None) or str(error)
        raise RunError(
            f"/dev/shm: no semaphore can be made there ({reason}), which processes side by side need; give it room and "
            "the right to write, in a container with --shm-size=64m for example"
        ) from error


class _Pool(Executor):
    """Processes, each of which is given its next work when it has ended its last."""

    def __init__(self, jobs: int, process: Callable[[], ProcessPoolExecutor], again: str) -> None:
        self._process, self._again = process, again
        self.size = jobs
        self._idle = [process()]  # now, so that a system without means for it says so at once
        self._left = jobs - 1  # processes that were not needed yet
        self._busy: set[ProcessPoolExecutor] = set()
        self._waiting: deque[tuple[Future[Any], Callable[[], Any], int]] = deque()
        self._lock = threading.RLock()
        self._closed = False

    def submit(self, function: Callable[..., Any], /, *given: Any, **named: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self._waiting.append((future, partial(function, *given, **named), 1))
        self._fill()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        with self._lock:
            self._closed = True
            if cancel_futures:
                for future, *_ in self._waiting:
                    future.cancel()
                self._waiting.clear()
            pools = [*self._idle, *self._busy]
        for pool in pools:
            pool.shutdown(wait=wait, cancel_futures=cancel_futures)

    def _fill(self) -> None:
        """Give work to processes that have none."""
        with self._lock:
            while self._waiting and not self._closed:
                if not self._idle and not self._left:
                    return
                future, call, tries = self._waiting.popleft()
                if tries == 1 and not future.running() and not future.set_running_or_notify_cancel():
                    continue
                try:
                    if not self._idle:
                        self._idle.append(self._process())
                        self._left -= 1
                    self._give(self._idle.pop(), future, call, tries)
                except BrokenProcessPool:  # it was killed while it had no work
                    self._left += 1
                    self._waiting.appendleft((future, call, tries))
                except Exception as error:
                    future.set_exception(error)

    def _give(self, pool: ProcessPoolExecutor, future: Future[Any], call: Callable[[], Any], tries: int) -> None:
        def ended(inner: Future[Any]) -> None:
            killed = not inner.cancelled() and isinstance(inner.exception(), BrokenProcessPool)
            again = killed and tries < TRIES and not self._closed
            with self._lock:
                self._busy.discard(pool)
                if killed:  # its pool has shut itself down, and may hold its lock in this moment
                    self._left += 1
                else:
                    self._idle.append(pool)
                if again:
                    self._waiting.appendleft((future, call, tries + 1))
            if killed and not again:
                future.set_exception(
                    RunError(
                        f"it was killed {tries} times, perhaps because memory ran out; {self._again}, with fewer "
                        "--workers if memory is short"
                    )
                )
            elif not again:
                _pass_on(inner, future)
            self._fill()

        given = pool.submit(call)
        self._busy.add(pool)
        given.add_done_callback(ended)


def _pass_on(inner: Future[Any], outer: Future[Any]) -> None:
    if inner.cancelled():
        outer.set_exception(KeyboardInterrupt())
    elif error := inner.exception():
        outer.set_exception(error)
    else:
        outer.set_result(inner.result())


def ended(futures: Iterable[Future[Any]]) -> set[Future[Any]]:
    """Those that have ended, once one has. Looks each second: once Polars is imported, Ctrl-C does not wake a wait."""
    waiting = set(futures)
    while True:
        done, _ = wait(waiting, 1.0, FIRST_COMPLETED)
        if done:
            return done


@contextmanager
def _listening(
    context: SpawnContext, heard: Callable[[str, str], object] | None
) -> Iterator[Callable[[], Connection | None]]:
    """What makes a line for a process to say things through, which are passed on; a line of its own, since one that is
    killed while it speaks would leave another's in the middle of a word."""
    if heard is None:
        yield lambda: None
        return
    ends: list[Connection] = []
    closed = threading.Event()

    def line() -> Connection:
        end, of_worker = context.Pipe(duplex=False)
        ends.append(end)
        return of_worker

    def pass_on() -> None:
        while not closed.is_set():
            for end in readable(list(ends), timeout=0.2) if ends else ():
                speaker: Any = end
                try:
                    heard(*speaker.recv())
                except Exception:  # its process was killed
                    ends.remove(speaker)
            if not ends:
                closed.wait(0.2)

    listener = threading.Thread(target=pass_on, daemon=True)
    listener.start()
    try:
        yield line
    finally:
        closed.set()
        listener.join()


def _begin(alive: Connection, line: Connection | None) -> None:
    """Make this process a worker: the process that it works for interrupts it, the terminal does not."""
    if hasattr(os, "setpgrp"):
        os.setpgrp()
    if line is not None:
        tell_through(lambda name, said: line.send((name, said)))
    signal.signal(signal.SIGINT, _interrupt)
    threading.Thread(target=_watch, args=(alive, parent_process()), daemon=True).start()


def _interrupt(*_: object) -> None:
    if State.busy:
        raise KeyboardInterrupt


def _watch(alive: Connection, parent: Any) -> None:
    alive.poll(None)  # until the other end is closed, by whatever ended the work
    State.stopped = True
    if State.busy:
        _thread.interrupt_main(signal.SIGINT)
    parent.join()
    os._exit(1)
