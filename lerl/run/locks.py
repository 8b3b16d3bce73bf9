"""One command at a time in a folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from lerl.envs.files import refuse_links
from lerl.files import RunError

LOCK = ".lock"


@contextmanager
def locked(folder: Path, wait: bool = False) -> Iterator[None]:
    """Keep other processes out of a folder; the system frees it when this one ends, however it ends.

    What was seen in the folder before may be otherwise by now: look again under the lock before writing.

    Args:
        folder: it has to be there. wait: whether to wait for a process that is at work there.

    Raises:
        RunError: another process is at work there, or the folder's file system has no locks.
        LinkError: the folder holds a link, through which something outside of it would be written.
    """
    refuse_links(folder)
    lock = FileLock(folder / LOCK, fallback_to_soft=False)  # a soft lock would outlive a process that was killed
    try:
        lock.acquire(timeout=-1 if wait else 0)
    except Timeout:
        raise RunError(
            f"another lerl is at work in {folder}; wait until it is done, or give another folder with --out"
        ) from None
    except OSError as error:
        if error.filename is not None:  # it could not be opened; without a name it could not be locked
            raise
        raise RunError(
            f"the file system of {folder} has no locks ({error.strerror}), without which two commands could spoil "
            "each other's work; give a folder on another one, such as a local disk"
        ) from error
    try:
        yield
    finally:
        lock.release()
