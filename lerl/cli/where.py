"""Flags that say where work is done: --workers, --cluster, --cluster-tls and --ship."""

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lerl.cli.parser import UsageError

if TYPE_CHECKING:
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


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _workers(flag: str, given: str | None) -> int:
    given = given or ""
    if not given.isdecimal() or not 1 <= int(given) <= MOST_WORKERS:
        raise UsageError(f"--{flag} must be a whole number from 1 to {MOST_WORKERS:,}, given {given!r}")
    return int(given)
