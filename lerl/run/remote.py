"""What a worker of a cluster does: it runs work, asks for files that it lacks, and stops when it is told."""

import ctypes
import hashlib
import threading
import time
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from distributed import get_worker

import lerl
from lerl.envs import threads
from lerl.envs.files import FULL
from lerl.run.machine import compared, processor, python
from lerl.run.ship import Parcel, Store
from lerl.run.work import State, Work, one_at_a_time, tell_through

PATIENCE = 10.0
"""Seconds in which work that is told to stop may write its checkpoint."""


class Lacks(NamedTuple):
    """The worker has not all files of a parcel."""

    worker: str
    digests: tuple[str, ...]


class Unfit(NamedTuple):
    """The worker cannot do it, for a reason of its own: another one shall."""

    worker: str
    why: str


class Ended(NamedTuple):
    """Work has ended: its result or its error, what it wrote, by path within its folder, and what it removed there."""

    result: Any
    error: BaseException | None
    files: dict[str, bytes]
    gone: tuple[str, ...]


def run(work: Work, session: str, code: str, parcel: Parcel | None, paths: dict[str, str]) -> Lacks | Unfit | Ended:
    """Do work for a session.

    Args:
        work: what is done. session: the command that it is done for. code: the digest of the code that it must be done
            with. parcel: the files that it needs; None where they are not sent. paths: then, the absolute path of each
            of them, by its name in `work`.
    """
    worker: Any = get_worker()
    if code != code_digest():
        return Unfit(worker.address, "its lerl is other code")
    with one_at_a_time:
        threads.use(worker.state.nthreads)
        tell_through(lambda name, line: worker.log_event(topic(session), [name, line]))
        try:
            return _run(work, session, parcel, paths, worker)
        except OSError as error:
            if error.errno not in FULL:
                raise
            return Unfit(worker.address, f"its disk is full ({error})")
        finally:
            tell_through(None)


def _run(work: Work, session: str, parcel: Parcel | None, paths: dict[str, str], worker: Any) -> Lacks | Unfit | Ended:
    store, local = Store.of(worker), work.at(paths)
    if parcel is not None:
        if lacking := store.lacking(parcel):
            return Lacks(worker.address, lacking)
        local = store.unpacked(parcel, work, session)
    result, error = _done(local, session)
    if error is not None and _disk_full(error):
        return Unfit(worker.address, f"its disk is full ({error})")
    if parcel is None:
        return Ended(result, error, {}, ())
    files, gone = store.written(local, parcel)
    if error is None:
        store.clear(local)
    return Ended(result, error, files, gone)


def topic(session: str) -> str:
    """Under which a session hears its workers."""
    return f"lerl-{session}"


def _done(work: Work, session: str) -> tuple[Any, BaseException | None]:
    _Stop.thread, _Stop.session = threading.get_ident(), session
    try:
        return work(), None
    except (Exception, KeyboardInterrupt) as error:  # an interruption would end the worker
        return None, error
    finally:
        _Stop.thread, State.interrupted = 0, False


class _Stop:
    """The thread at work, 0 for none, and whom it works for."""

    thread, session = 0, ""


def stop(session: str) -> None:
    """Have the work of a session write its checkpoint and end; interrupt it where it goes on for long."""
    thread = _Stop.thread
    if not thread or _Stop.session != session:
        return
    State.interrupted = True

    def insist() -> None:
        time.sleep(PATIENCE)
        if _Stop.thread == thread and State.interrupted:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(KeyboardInterrupt))

    threading.Thread(target=insist, daemon=True).start()


def _disk_full(error: BaseException) -> bool:
    """Whether a full disk is behind an error, however it was put."""
    behind: BaseException | None = error
    while behind is not None:
        if isinstance(behind, OSError) and behind.errno in FULL:
            return True
        if any(said in str(behind).lower() for said in ("no space left", "disk is full")):
            return True
        behind = behind.__cause__ or behind.__context__
    return False


def put(digest: str, position: int, chunk: bytes, last: bool, session: str, dask_worker: Any) -> str:
    """Write a part of a file into the worker's store; why it cannot, empty where it can."""
    try:
        Store.of(dask_worker).put(digest, position, chunk, last, session)
    except OSError as error:
        return f"its disk is full ({error})" if error.errno in FULL else str(error)
    return ""


def lacking(parcel: Parcel, dask_worker: Any) -> tuple[str, ...]:
    """The digests of files that the worker has not."""
    return Store.of(dask_worker).lacking(parcel)


def about(dask_worker: Any) -> dict[str, Any]:
    """What results depend on, and how many threads the worker has."""
    return {
        "lerl": code_digest(),
        "python": python(),
        "packages": compared(),
        "processor": processor(),
        "threads": dask_worker.state.nthreads,
        "host": dask_worker.ip,
    }


@cache
def code_digest() -> str:
    """Digest of all modules of lerl, as they are on this machine."""
    found, top = hashlib.blake2b(digest_size=8), Path(lerl.__file__).parent
    folders = [top, *{Path(place) for name in ("agents", "envs", "planners") for place in _places(name)}]
    files = {path.relative_to(folder.parent).as_posix(): path for folder in folders for path in folder.rglob("*.py")}
    for name in sorted(files):
        found.update(name.encode() + files[name].read_bytes())
    return found.hexdigest()


def _places(name: str) -> list[str]:
    return list(__import__(f"lerl.{name}", fromlist=["_"]).__path__)
