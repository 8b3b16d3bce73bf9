"""Flags that say where work is done: --workers, --cluster, --cluster-tls and --ship."""

import argparse
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lerl.cli.parser import UsageError

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from lerl.config.schema import Config
    from lerl.run.executors import Where

WHERE = ("workers", "cluster", "cluster-tls")
SHIP = "ship"
MOST_WORKERS = 1_024
SCHEMES = ("tcp://", "tls://")


def read_where(own: Mapping[str, str | None], switches: Collection[str], usual: int) -> "Where":
    """Where work is done.

    Args:
        own: the flags of WHERE that were given, also "jobs", which is an older word for workers. switches: those
            without a value. usual: how many workers, where no flag says it.

    Raises:
        UsageError: a flag cannot be used, or does not go with another.
    """
    from lerl.run.executors import Where

    words = [name for name in ("workers", "jobs") if name in own]
    if len(words) > 1:
        raise UsageError("--workers and --jobs mean the same; give one of them")
    cluster, tls = own.get("cluster"), own.get("cluster-tls")
    if "cluster" in own and not (cluster or "").startswith(SCHEMES):
        raise UsageError(f"--cluster takes the address of a Dask scheduler, such as tcp://host:8786, given {cluster!r}")
    if not cluster and ("cluster-tls" in own or SHIP in switches):
        raise UsageError(f"--{'cluster-tls' if 'cluster-tls' in own else SHIP} goes with --cluster; leave it out")
    if cluster and words:
        raise UsageError(f"--{words[0]} is of this machine, and --cluster has workers of its own; give one of them")
    if "cluster-tls" in own and not tls:
        raise UsageError("--cluster-tls takes the folder of ca.pem, cert.pem and key.pem")
    if (cluster or "").startswith("tls://") and not tls:
        raise UsageError("a tls:// scheduler needs --cluster-tls FOLDER, with ca.pem, cert.pem and key.pem")
    workers = _workers(words[0], own[words[0]]) if words else usual
    return Where(workers, cluster or "", Path(tls) if tls else None, SHIP in switches)


def read_beside(
    own: Mapping[str, str | None], switches: Collection[str], config: "Config | None" = None
) -> "dict[str, Where]":
    """Where something may be done side by side, under the key "where"; nothing for one after another, here.

    Args:
        own, switches: as in `read_where`. config: of a run whose length decides, where no flag does, whether that is
            worth the time that processes need to start. None to let only flags decide.
    """
    if own.keys() & set(WHERE) or SHIP in switches:
        where = read_where(own, switches, 1)
        return {"where": where} if where.workers > 1 or where.cluster else {}

    if config is None:
        return {}

    from lerl.run.executors import Where
    from lerl.run.side_by_side import worth

    usual = worth(config, cores())
    return {"where": Where(usual)} if usual > 1 else {}


@contextmanager
def pool_of(beside: "Mapping[str, Where]") -> "Iterator[Executor | None]":
    """What does the work that `read_beside` gives; None where this process does it."""
    if not beside:
        yield None
        return

    from lerl.run.executors import executor

    with executor(beside["where"], "give the same command again") as pool:
        yield pool


def add_where(parser: argparse.ArgumentParser, flag: str, things: str) -> None:
    """Give the flags to a parser of a command that takes no recipe.

    Args:
        parser: the command's. flag: with which alone they mean something. things: what is done side by side.
    """
    parser.add_argument("--workers", metavar="N", help=f"with {flag}: {things} side by side, in N processes")
    parser.add_argument("--cluster", metavar="ADDRESS", help="the same on a Dask cluster, such as tcp://host:8786")
    parser.add_argument("--cluster-tls", metavar="FOLDER", help="its certificates: ca.pem, cert.pem, key.pem")
    parser.add_argument("--ship", action="store_true", help="send files to a cluster that does not see this disk")


def take_where(given: dict[str, Any]) -> tuple[dict[str, str | None], set[str]]:
    """Those flags that were given, with a value and without, taken out of what a parser found."""
    found = {name: given.pop(name.replace("-", "_")) for name in WHERE}
    switches = {SHIP} if given.pop(SHIP) else set[str]()
    return {name: value for name, value in found.items() if value is not None}, switches


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _workers(flag: str, given: str | None) -> int:
    given = given or ""
    if not given.isdecimal() or not 1 <= int(given) <= MOST_WORKERS:
        raise UsageError(f"--{flag} must be a whole number from 1 to {MOST_WORKERS:,}, given {given!r}")
    return int(given)
