"""The one way to do things side by side: an executor, of processes here or of a cluster's workers."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from lerl.config.schema import Config
from lerl.run.code import code_of
from lerl.run.folder import files_of
from lerl.run.live import Live
from lerl.run.work import Work
from lerl.run.workers import workers


class Where(NamedTuple):
    """Where work is done.

    Attributes:
        workers: processes on this machine, 1 or more; not read with a cluster. cluster: the address of a Dask
            scheduler, such as tcp://10.0.0.1:8786; empty for none. tls: the folder of its certificates, see
            `lerl.run.cluster.security`. ship: whether files reach the cluster's workers through the scheduler, and not
            by a folder that all of them see under the same path.
    """

    workers: int = 1
    cluster: str = ""
    tls: Path | None = None
    ship: bool = False


@contextmanager
def executor(where: Where, again: str) -> Iterator[Executor]:
    """An executor with the interface of `concurrent.futures`; what it runs says how far it is in one live view.

    What is submitted is best a `lerl.run.work.Work`, which says what files it needs. Its results do not depend on where
    it runs, on one kind of processor. Where a worker dies, another one does its work, up to three times more.

    Args:
        where: where. again: how to go on where it cannot go on, such as "give the same command again".

    Raises:
        RunError: the cluster cannot be used, or processes cannot be made here.
        MissingExtraError: a cluster is given, and Dask is not installed.
    """
    with ExitStack() as stack:
        live = stack.enter_context(Live())
        if where.cluster:
            from lerl.run.cluster import cluster

            yield stack.enter_context(cluster(where.cluster, where.tls, where.ship, again, live))
        else:
            yield stack.enter_context(workers(where.workers, again, live.heard))


def work_with(
    config: Config,
    name: str,
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    folder: Path | None = None,
    *,
    reads: Iterable[Path] = (),
    log: bool = True,
) -> Work:
    """Work that reads what a configuration names, and imports the user's own modules that it names; see `Work`."""
    named = tuple(dict.fromkeys((*files_of(config), *reads)))
    return Work(name, function, arguments, folder, named, log, code_of(config))


def size(pool: Executor) -> int:
    """How many things an executor does at the same time."""
    return int(getattr(pool, "size", getattr(pool, "_max_workers", 1)))
