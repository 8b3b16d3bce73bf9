"""A run's folder during the run: one process at a time, checkpoints, and resuming after an interruption."""

import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from shlex import quote
from typing import Any

from lerl.agents.learners.checkpoint import read_checkpoint, write_checkpoint
from lerl.config.schema import Config
from lerl.envs.files import refuse_links
from lerl.files import AFRESH, RunError, read_about, reading, resume_command, seed_runs
from lerl.planners.llm.planner import MODELS
from lerl.planners.llm.prompt import Prompts
from lerl.run.locks import LOCK
from lerl.run.specs import needed_agents
from lerl.run.task import Task
from lerl.run.work import State

FORMAT = 1
"""Version of the layout of run folders; raised when the layout changes."""

SIGNATURE = "signature"
PACKAGES = (
    "numpy",
    "numba",
    "torch",
    "gymnasium",
    "stable-baselines3",
    "sb3-contrib",
    "polars",
    "scipy",
    "scikit-learn",
    "implicit",
)
STOPPING = b"\nlerl: stopping after this rollout; Ctrl-C again stops at once, and loses what is not in a checkpoint\n"
SHARE = 20  # writing a checkpoint takes at most one part in so many of the time between two


def check_vacant(run: Path) -> None:
    """Refuse a folder that holds something, but for what a run leaves that was ended before it began.

    Raises:
        FileExistsError: the folder holds a run, or something else.
    """
    refuse_links(run)
    if (run / "config.yaml").is_file():
        raise FileExistsError(
            f"{run} already holds a run; go on with it by {resume_command(run)}, remove it, or give another folder "
            "with --out"
        )
    if holds_other(run, "run.json", SIGNATURE):
        raise FileExistsError(f"{run} is taken; remove it, or give another folder with --out")


def holds_other(folder: Path, *own: str) -> bool:
    """Whether a path is taken by a file, or by a folder with anything but these names, a lock and unfinished writes."""
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return folder.is_file() or any(name not in (LOCK, *own) and not name.endswith(".partial") for name in names)


def packages() -> dict[str, str | None]:
    """Versions of the packages that a run's numbers depend on."""

    def installed(package: str) -> str | None:
        try:
            return version(package)
        except PackageNotFoundError:
            return None

    return {package: installed(package) for package in PACKAGES}


def check_run(run: Path) -> dict[str, Any]:
    """What run.json says, after a warning where the run was made with other packages than are installed now.

    Raises:
        RunError: there is no run, or it was laid out by a lerl that this one does not understand.
    """
    refuse_links(run)
    if runs := seed_runs(run):
        raise RunError(f"{run} holds a run for each seed; give one of them, such as {runs[0]}")
    if not (run / "config.yaml").is_file():
        raise RunError(f"{run} holds no run; start one with: lerl train RECIPE --out {quote(str(run))}")
    about = read_about(run)
    made = about.get("format")
    if made != FORMAT:
        raise RunError(
            f"{run} was made by lerl {about.get('lerl')} in format {made}, this is format {FORMAT}; read it with that "
            "version, or train again"
        )
    now = packages()
    with reading(run / "run.json", AFRESH):
        before = about["packages"].items()
    changed = [f"{name} {was} then, {now.get(name)} now" for name, was in before if was != now.get(name)]
    if changed:
        warnings.warn(f"{run} was made with other packages, so numbers may differ: {'; '.join(changed)}", stacklevel=2)
    return about


def check_same(run: Path, about: dict[str, Any], task: Task) -> None:
    """Refuse to go on among other users, or with other prompt texts, than a run was begun with.

    Args:
        run: its folder. about: what `check_run` gave. task: as its configuration makes it now.

    Raises:
        RunError: its configuration stands for other users, or other questions to a chat model, now.
    """
    if about.get("population_digest") != task.population.digest():
        now = task.config.data.path or "the synthetic population"
        raise RunError(f"{run} was begun on other users than {now} holds now; begin it again in another folder")
    planner = task.config.planner
    chat_model = any(spec.planner in MODELS for spec in needed_agents(task.config))
    if chat_model and about.get("prompts") != Prompts(planner.prompts).digest:
        raise RunError(
            f"{run} was begun with other prompt texts than {planner.prompts or 'this lerl'} holds now; put those back, "
            "or begin it again in another folder"
        )


def files_of(config: Config) -> tuple[Path, ...]:
    """Files and folders that a configuration names, which a run reads."""
    planner = config.planner
    named = (config.data.path, planner.replay, planner.cache, planner.pool, planner.prompts, planner.distilled)
    return tuple(Path(path) for path in named if path and Path(path).exists())


class Checkpoint:
    """One file that training goes on from, written every so often and removed when there is nothing to go on with.

    Args:
        path: the file.
        every: seconds between two; longer where one takes so long to write that it would cost more than a twentieth.
    """

    def __init__(self, path: Path, every: float) -> None:
        self.path, self.every = path, every
        self._last, self._cost = time.monotonic(), 0.0

    def due(self) -> bool:
        """Whether it is time for the next."""
        return time.monotonic() - self._last >= max(self.every, SHARE * self._cost)

    def write(self, tree: dict[str, Any]) -> None:
        """Replace the last."""
        begun = time.monotonic()
        write_checkpoint(tree, self.path)
        self._last = time.monotonic()
        self._cost = self._last - begun

    def read(self) -> dict[str, Any] | None:
        """The last one, None where there is none."""
        return read_checkpoint(self.path) if self.path.is_file() else None

    def remove(self) -> None:
        """Nothing is left to go on with, nor the folder where it was the last in it."""
        self.path.unlink(missing_ok=True)
        with suppress(OSError):
            self.path.parent.rmdir()


@contextmanager
def patient() -> Iterator[Callable[[], bool]]:
    """Remember Ctrl-C instead of raising it, and tell whether there was one; a second one is raised at once.

    What it gives is called when all is at rest. A Ctrl-C that the caller did not ask about is raised at the end.
    """
    interrupted = False

    def remember(*_: object) -> None:
        nonlocal interrupted
        if interrupted:
            raise KeyboardInterrupt
        interrupted = True
        with suppress(OSError):
            os.write(2, STOPPING)  # not by sys.stderr, which may be in the middle of a write

    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN  # in the background: meant for others
    if ignored or threading.current_thread() is not threading.main_thread():
        yield lambda: State.interrupted
        if State.interrupted:
            raise KeyboardInterrupt
        return
    before = signal.signal(signal.SIGINT, remember)
    try:
        yield lambda: interrupted
    finally:
        signal.signal(signal.SIGINT, before)
    if interrupted:
        raise KeyboardInterrupt
