"""Work on the workers of a Dask scheduler, see https://distributed.dask.org: by its client, as an executor."""

import logging
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lerl.files import RunError
from lerl.run.live import Live
from lerl.run.ship import CHUNK, Parcel, Sender, take_in
from lerl.run.work import LostError, Work
from lerl.run.workers import TRIES
from lerl.startup import require

WAIT = 60.0
"""Seconds for the scheduler to answer, and for its first worker to come."""
CERTIFICATES = ("ca.pem", "cert.pem", "key.pem")
"""What the folder of --cluster-tls holds: the authority's certificate, one of one's own, and its key."""


@contextmanager
def cluster(address: str, tls: Path | None, ship: bool, again: str, live: Live) -> Iterator[Executor]:
    """An executor whose work is done by the workers of a scheduler.

    Args:
        address: the scheduler's. tls: the folder of CERTIFICATES; None for none. ship: whether files are sent.
        again: how to go on when the scheduler is lost. live: shows how far all work is.

    Raises:
        MissingExtraError: Dask is not installed.
        RunError: nobody answers at the address, no worker comes, or a worker would compute something else.
    """
    require("cluster")
    from distributed import Client

    connect: Any = Client
    levels = _silence()
    try:
        client = connect(address, timeout=WAIT, security=security(tls), set_as_default=False, name="lerl")
    except (OSError, ValueError, TypeError) as error:
        raise RunError(
            f"no Dask scheduler answers at {address} ({_first_line(error)}); start one with: dask scheduler, and give "
            "the address that it prints, with --cluster-tls where it begins with tls://"
        ) from error
    try:
        _check_workers(client, address)
        with _Cluster(client, ship, again, live) as pool:
            yield pool
    finally:
        with suppress(Exception):
            client.close(timeout=5)
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def _silence() -> dict[str, int]:
    """Silence Dask, since what there is to say is said here; the levels of its loggers before."""
    names = [name for name in logging.root.manager.loggerDict if name.partition(".")[0] == "distributed"]
    levels = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return levels


def security(tls: Path | None) -> Any:
    """What Dask needs to know of certificates; None for none.

    Raises:
        RunError: one of them is missing.
    """
    if tls is None:
        return None
    from distributed import Security

    made: Any = Security

    for name in CERTIFICATES:
        if not (tls / name).is_file():
            raise RunError(f"{tls / name} is missing; --cluster-tls takes a folder with {', '.join(CERTIFICATES)}")
    ca, cert, key = (str(tls / name) for name in CERTIFICATES)
    return made(tls_ca_file=ca, tls_client_cert=cert, tls_client_key=key, require_encryption=True)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _check_workers(client: Any, address: str) -> None:
    """Refuse workers that would compute something else, and say how many there are."""
    theirs = _asked(client, address)
    mine = _about()
    for worker, about in theirs.items():
        _refuse_other(worker, about, mine)
    hosts = {about["host"] for about in theirs.values()}
    print(f"{len(theirs)} workers on {len(hosts)} hosts, scheduler {address}", file=sys.stderr)
    kinds = {about["processor"] for about in theirs.values()}
    if len(kinds) > 1:
        print(
            f"lerl: note: the workers' processors are of different kinds ({', '.join(sorted(kinds))}), so that "
            "networks trained there differ in their last digits",
            file=sys.stderr,
        )
    if any(about["threads"] > 1 for about in theirs.values()):
        print(
            "lerl: note: a worker does one thing at a time, in as many threads as it has; several workers with "
            "--nthreads 1 are quicker",
            file=sys.stderr,
        )


def _asked(client: Any, address: str) -> dict[str, dict[str, Any]]:
    """What each worker says of itself; one that comes or goes in this moment is asked when it gets work."""
    from lerl.run import remote

    ends = time.monotonic() + WAIT
    while time.monotonic() < ends:
        try:
            client.wait_for_workers(1, timeout=WAIT)
            said: dict[str, Any] = client.run(remote.about, on_error="return")
        except TimeoutError:
            break
        except (OSError, RuntimeError):  # it went away while it was asked
            time.sleep(1.0)
            continue
        for worker, error in said.items():
            if isinstance(error, ImportError | AttributeError):
                raise RunError(
                    f"the worker {worker} cannot import lerl as it is here ({_first_line(error)}); install the same "
                    "lerl on all workers"
                )
        if answers := {worker: about for worker, about in said.items() if isinstance(about, dict)}:
            return answers
        time.sleep(1.0)
    raise RunError(
        f"the scheduler at {address} has no workers; start some with: dask worker {address} --nthreads 1"
    ) from None


def _about() -> dict[str, Any]:
    from lerl.run.machine import compared, python
    from lerl.run.remote import code_digest

    return {"lerl": code_digest(), "python": python(), "packages": compared()}


def _refuse_other(worker: str, theirs: dict[str, Any], mine: dict[str, Any]) -> None:
    there, here = dict(theirs["packages"], python=theirs["python"]), dict(mine["packages"], python=mine["python"])
    differing = [f"{name} {there.get(name)} there, {here[name]} here" for name in here if there.get(name) != here[name]]
    if theirs["lerl"] != mine["lerl"]:
        differing.insert(0, "lerl is other code there")
    if differing:
        raise RunError(
            f"the worker {worker} would compute something else: {'; '.join(differing)}; install the same there, or "
            "leave that worker out"
        )


class _Cluster(Executor):
    """Gives work to the scheduler, sends files that workers ask for, and takes in what they wrote."""

    def __init__(self, client: Any, ship: bool, again: str, live: Live) -> None:
        self._client, self._again, self._address = client, again, client.scheduler.address
        self._sender = Sender() if ship else None
        self._session = uuid.uuid4().hex
        self._code = _about()["lerl"]
        self._inner: dict[Future[Any], Any] = {}
        self._unfit: dict[str, str] = {}
        self._sending: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()
        self._closed = False
        self._hands = ThreadPoolExecutor(8)
        from lerl.run.remote import topic

        client.subscribe_topic(topic(self._session), lambda event: live.heard(*event[1]))

    @property
    def size(self) -> int:
        """How many workers there are."""
        return max(1, len(self._client.scheduler_info(n_workers=-1)["workers"]))

    def submit(self, function: Callable[..., Any], /, *given: Any, **named: Any) -> Future[Any]:
        if isinstance(function, Work) and not given and not named:
            work = function
        elif named:
            raise TypeError("give arguments by their place")
        else:
            work = Work(getattr(function, "__name__", "work"), function, given)
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        self._hands.submit(self._give, work, future)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        with self._lock:
            self._closed = True
            left, self._inner = list(self._inner.values()), {}
        if left:
            from lerl.run import remote

            with suppress(Exception):
                self._client.cancel(left, force=True)
                self._client.run(remote.stop, self._session, on_error="ignore")
        self._hands.shutdown(wait=wait, cancel_futures=cancel_futures)

    def _give(self, work: Work, future: Future[Any], parcel: Parcel | None = None, sent: Sequence[str] = ()) -> None:
        """Hand work to the scheduler.

        Args:
            work, future: which. parcel: its files, once they were looked at. sent: the workers that they were sent to,
                the newest last, which shall do it.
        """
        from lerl.run import remote

        try:
            if parcel is None and self._sender is not None:
                parcel = self._sender.parcel(work)
            if sent and sent.count(sent[-1]) >= TRIES:
                self._leave_out(sent[-1], "files that were sent to it are not there")
            paths = {str(path): str(path.absolute()) for path in (*work.reads, *work.code, work.folder) if path}
            only = self._only(sent[-1] if sent else "")
            with self._lock:
                if self._closed:
                    return
                given = work, self._session, self._code, parcel, paths
                inner = self._client.submit(remote.run, *given, pure=False, key=f"lerl-{uuid.uuid4().hex}", **only)
                self._inner[future] = inner
            inner.add_done_callback(lambda done: self._hands.submit(self._ended, done, work, future, parcel, sent))
        except Exception as error:
            future.set_exception(error if self._client.status == "running" else self._lost())

    def _lost(self) -> LostError:
        return LostError(f"the scheduler {self._address} is lost; {self._again}")

    def _only(self, to: str) -> dict[str, Any]:
        """Which workers may do it.

        Raises:
            RunError: none of those that are there can.
        """
        there = set(self._client.scheduler_info(n_workers=-1)["workers"])
        fit = there - set(self._unfit)
        if there and not fit:
            raise RunError(f"no worker can do it: {'; '.join(f'{one}: {why}' for one, why in self._unfit.items())}")
        if to not in fit and fit == there:
            return {}
        return {"workers": [to] if to in fit else sorted(fit), "allow_other_workers": True}  # others: if all are gone

    def _ended(self, inner: Any, work: Work, future: Future[Any], parcel: Parcel | None, sent: Sequence[str]) -> None:
        from distributed.scheduler import KilledWorker

        from lerl.run import remote

        if self._closed:
            return
        try:
            if inner.status == "cancelled":
                raise self._lost()
            if inner.status == "error":
                error = inner.exception()
                if isinstance(error, KilledWorker):
                    raise RunError(
                        f"it was killed on {error.allowed_failures + 1} workers, perhaps because memory ran out; "
                        f"{self._again}"
                    )
                raise error
            found = inner.result()
            if isinstance(found, remote.Lacks) and parcel is not None:
                self._send(found.worker, parcel)
                self._give(work, future, parcel, (*sent, found.worker))
            elif isinstance(found, remote.Unfit):
                self._leave_out(found.worker, found.why)
                self._give(work, future, parcel)
            else:
                if work.folder is not None:
                    take_in(work.folder, found.files, found.gone)
                self._forget(future)
                future.set_result(found.result) if found.error is None else future.set_exception(found.error)
        except BaseException as error:
            self._forget(future)
            future.set_exception(error)

    def _forget(self, future: Future[Any]) -> None:
        with self._lock:
            self._inner.pop(future, None)

    def _leave_out(self, worker: str, why: str) -> None:
        with self._lock:
            known, self._unfit[worker] = worker in self._unfit, why
        if not known:
            print(f"lerl: note: {worker} is left out, since {why}", file=sys.stderr)

    def _send(self, worker: str, parcel: Parcel) -> None:
        """Send a worker the files of a parcel that it has not, piece by piece; nothing more once it is gone."""
        from lerl.run import remote

        assert self._sender is not None
        with self._lock:
            one_at_a_time = self._sending.setdefault(worker, threading.Lock())
        with one_at_a_time:
            for digest in self._ask(worker, remote.lacking, parcel) or ():
                for position, chunk, last in _pieces(self._sender.path(digest)):
                    said = self._ask(worker, remote.put, digest, position, chunk, last, self._session)
                    if said is None:
                        return
                    if said:
                        self._leave_out(worker, str(said))
                        return

    def _ask(self, worker: str, function: Callable[..., Any], *given: Any) -> Any:
        """What a worker answers at once, beside its work; None where it is gone."""
        try:
            return self._client.run(function, *given, workers=[worker], on_error="return").get(worker)
        except (OSError, RuntimeError, KeyError):
            return None


def _pieces(path: Path) -> Iterator[tuple[int, bytes, bool]]:
    """A file's parts: where each begins, its bytes, and whether it is the last."""
    size, position = path.stat().st_size, 0
    with path.open("rb") as stream:
        while True:
            chunk = stream.read(CHUNK)
            last = position + len(chunk) >= size or not chunk
            yield position, chunk, last
            if last:
                return
            position += len(chunk)
