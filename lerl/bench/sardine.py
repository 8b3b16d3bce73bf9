"""SARDINE to measure against, in a Python environment of its own; it is never a dependency."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

SARDINE = "sardine-rec==1.0.8"  # Deffayet et al. 2024; its simulator needs Gymnasium and NumPy, not its PyTorch
READY = "installed.txt"
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "LERL_THREADS"), "1")

# A line on standard input is a number of steps to do; the answer is the CPU seconds that they took. Actions are drawn
# beforehand, and the environment is taken out of Gymnasium's wrappers where it is not to be timed with them.
_SERVE = """\
import json, sys, time
import gymnasium, numpy, sardine
name, wrapped = sys.argv[1], sys.argv[2] == "wrapped"
env = gymnasium.make(name)
env = env if wrapped else env.unwrapped
slate, items = env.unwrapped.slate_size, env.unwrapped.num_items
draw = numpy.random.default_rng(0)
env.reset(seed=0)
for line in sys.stdin:
    actions = list(draw.integers(items, size=(int(line), slate)))
    begun = time.process_time()
    for action in actions:
        _, _, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            env.reset()
    print(json.dumps(time.process_time() - begun), flush=True)
"""


class SardineError(ValueError):
    """SARDINE cannot be timed; the message says why and what to do."""


def install(folder: Path) -> Path:
    """The Python of an environment that holds SARDINE, made where it is not there yet.

    Raises:
        SardineError: it cannot be installed, for want of a network or of a package for this Python.
    """
    home = folder / SARDINE.replace("==", "-")
    python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if (home / READY).is_file() and python.is_file():
        return python
    shutil.rmtree(home, ignore_errors=True)
    for command in (
        [sys.executable, "-m", "venv", str(home)],
        [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", SARDINE],
    ):
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except OSError as error:
            raise SardineError(f"{SARDINE} cannot be installed in {home}: {error}") from error
        if done.returncode:
            last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
            raise SardineError(
                f"{SARDINE} cannot be installed in {home} ({' '.join(last)}); connect to a package index, or give "
                "a folder with --peers where it is installed already"
            )
    (home / READY).write_text(SARDINE, encoding="utf-8")
    return python


class SardineProcess:
    """One of SARDINE's environments in a process of its own, ready for another burst of steps.

    Args:
        python: as `install` gave it. name: the environment's id.
        wrapped: whether Gymnasium's wrappers around it are timed too; without them it is faster.
    """

    def __init__(self, python: Path, name: str, wrapped: bool) -> None:
        command = [str(python), "-W", "ignore", "-c", _SERVE, name, "wrapped" if wrapped else "bare"]
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.name = name
        self._process = subprocess.Popen(command, text=True, env=os.environ | ONE_THREAD, **pipes)

    def run(self, steps: int) -> float:
        """CPU seconds that so many steps took.

        Raises:
            SardineError: its process ended; the message holds its last words.
        """
        process: Any = self._process
        try:
            process.stdin.write(f"{steps}\n")
            process.stdin.flush()
            return float(json.loads(process.stdout.readline()))
        except (OSError, ValueError) as error:
            last = process.communicate()[1].strip().splitlines()[-1:]
            raise SardineError(f"{self.name} failed: {' '.join(last)}") from error

    def close(self) -> None:
        """End its process."""
        self._process.communicate()
