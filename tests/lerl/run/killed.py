"""Work that kills its process; a module of its own, so that a worker that does it has little to import."""

import os
import signal
from pathlib import Path


def grow(folder: Path, times: int) -> int:
    """Write a line, and kill the process that does it until it was written so often."""
    count = folder / "count.txt"
    with count.open("a") as stream:
        stream.write("x")
    if len(count.read_text()) < times:
        os.kill(os.getpid(), signal.SIGKILL)
    return len(count.read_text())
