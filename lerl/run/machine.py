"""Of the machine that results were made on, what their last digits depend on."""

import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from lerl.run.folder import packages


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


def free_memory() -> int:
    """Bytes that programs may still take; 0 where the system does not say."""
    about = Path("/proc/meminfo")
    lines = about.read_text(encoding="ascii").splitlines() if about.is_file() else []
    free = next((line.split()[1] for line in lines if line.startswith("MemAvailable:")), "0")
    return int(free) * 1024


def compared() -> dict[str, str | None]:
    """Versions of the packages that results depend on, those that searches do among them."""
    try:
        return {**packages(), "optuna": version("optuna")}
    except PackageNotFoundError:
        return {**packages(), "optuna": None}
