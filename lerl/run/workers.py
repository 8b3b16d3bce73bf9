"""Worker processes, which end with this process; when interrupted, they first write their checkpoints."""

import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import active_children, get_context, parent_process
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnContext
from typing import Any

from lerl.files import RunError


class _State:
    """Of a worker's process: whether it is at work, and whether it shall take up nothing new."""

    busy = stopped = False


@contextmanager
def workers(jobs: int, again: str, flag: str = "experiment.jobs") -> Iterator[ProcessPoolExecutor]:
    """A pool of processes.

    Args:
        jobs: how many. again: how to go on where one of them was killed, such as "give the same command again".
        flag: what says how many.

    Raises:
        RunError: one of them was killed, or the system has no semaphores for them.
    """
    context = get_context("spawn")
    alive, closing_ends_them = context.Pipe(duplex=False)
    others = set(active_children())
    with _pool(jobs, context, alive) as pool:
        try:
            yield pool
        except BrokenProcessPool:
            raise RunError(
                f"a worker process was killed, perhaps because memory ran out; {again}, with fewer "
                f"{flag} if memory is short"
            ) from None
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


def _pool(jobs: int, context: SpawnContext, alive: Connection) -> ProcessPoolExecutor:
    try:
        return ProcessPoolExecutor(jobs, context, _begin, (alive,))
    except (OSError, ImportError, NotImplementedError) as error:  # ImportError: Python was built without semaphores
        reason = getattr(error, "strerror", None) or str(error)
        raise RunError(
            f"/dev/shm: no semaphore can be made there ({reason}), which processes side by side need; give it room and "
            "the right to write, in a container with --shm-size=64m for example"
        ) from error


def ended(futures: Iterable[Future[Any]]) -> set[Future[Any]]:
    """Those that have ended, once one has. Looks each second: once Polars is imported, Ctrl-C does not wake a wait."""
    waiting = set(futures)
    while True:
        done, _ = wait(waiting, 1.0, FIRST_COMPLETED)
        if done:
            return done


def _begin(alive: Connection) -> None:
    """Make this process a worker: the process that it works for interrupts it, the terminal does not."""
    if hasattr(os, "setpgrp"):
        os.setpgrp()
    signal.signal(signal.SIGINT, _interrupt)
    threading.Thread(target=_watch, args=(alive, parent_process()), daemon=True).start()


def _interrupt(*_: object) -> None:
    if _State.busy:
        raise KeyboardInterrupt


def _watch(alive: Connection, parent: Any) -> None:
    alive.poll(None)  # until the other end is closed, by whatever ended the experiment
    _State.stopped = True
    if _State.busy:
        os.kill(os.getpid(), signal.SIGINT)
    parent.join()
    os._exit(1)


@contextmanager
def busy() -> Iterator[None]:
    _State.busy = True
    try:
        if _State.stopped:
            raise KeyboardInterrupt
        yield
    finally:
        _State.busy = False
