"""Of the machine that results were made on, what their last digits depend on."""

import platform
from functools import cache
from pathlib import Path


@cache
def processor() -> str:
    """The kind of processor, such as "AMD EPYC 7R13 Processor"."""
    cpus = Path("/proc/cpuinfo")
    names = cpus.read_text(encoding="utf-8", errors="replace").splitlines() if cpus.is_file() else []
    found = next((line.partition(":")[2].strip() for line in names if line.startswith("model name")), "")
    return found or platform.processor() or platform.machine()


def python() -> str:
    """The version of Python."""
    return platform.python_version()
