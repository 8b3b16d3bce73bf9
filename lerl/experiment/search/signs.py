"""Signs of life: a file for each trial that a process is at work on, from which others see whether it still is.

Optuna's journal has no heartbeat of its own. On the same machine a process is alive as long as it holds the lock of its
file, which the system frees however the process ends, so that one that is only suspended is waited for. Seen from
another machine it is alive as long as the file was touched a short while ago, by the clock of the disk.
"""

import os
import platform
import re
import threading
import uuid
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

BEAT = 5.0  # seconds between two touches
DEAD = 60.0  # seconds without one, after which a process on another machine counts as gone
NOW = "now"


def this_machine() -> str:
    """What tells this machine from others that share a disk with it."""
    return f"{platform.node()}/{uuid.getnode():x}"


class Sign:
    """A file that is touched every few seconds, and locked, until `end`.

    Args:
        folder: of the signs; made where it is not there.

    Attributes:
        name: the file's.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.name = uuid.uuid4().hex
        self._path = folder / self.name
        self._lock = FileLock(self._path, fallback_to_soft=False, thread_local=False)
        self._lock.acquire(timeout=0)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()

    @property
    def lost(self) -> bool:
        """Whether another process took this one for dead, and removed its sign."""
        return not self._path.is_file()

    def end(self) -> None:
        """Remove the sign: the trial has ended, or is given up."""
        self._ended.set()
        self._thread.join()
        self._lock.release()
        self._path.unlink(missing_ok=True)

    def _beat(self) -> None:
        while not self._ended.wait(BEAT):
            with suppress(OSError):  # a disk on the network may be away for a moment
                os.utime(self._path)


def gone(folder: Path, name: str, machine: str) -> bool:
    """Whether the process of a sign is gone; its sign is removed then.

    Args:
        folder: of the signs. name: of the sign. machine: what `this_machine` was for its process.
    """
    if not re.fullmatch(r"[0-9a-f]{32}", name):  # written by somebody else: it may be a path to anywhere
        return True
    path = folder / name
    if not path.is_file():
        return True
    dead = _unlocked(path) if machine == this_machine() else _still(path)
    if dead:
        path.unlink(missing_ok=True)
    return dead


def _unlocked(path: Path) -> bool:
    lock = FileLock(path, fallback_to_soft=False, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    lock.release()
    return True


def _still(path: Path) -> bool:
    """Whether a sign was not touched for long; both times are of the disk that it is on, not of two machines."""
    now = path.with_name(NOW)
    now.touch()
    try:
        with path.open("rb") as sign, now.open("rb") as clock:  # opened, since what a name says may be old on NFS
            return os.fstat(clock.fileno()).st_mtime - os.fstat(sign.fileno()).st_mtime > DEAD
    except FileNotFoundError:
        return True
