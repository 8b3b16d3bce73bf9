"""A piece of work for a worker, wherever that is: a process here, or on another machine."""

import dataclasses
import os
import pickle
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from lerl.files import RunError
from lerl.run.code import use

LOG = "log.txt"
"""How far a piece of work is, in its folder."""


class LostError(RunError):
    """What all work runs on is gone; the message says how to go on."""


class State:
    """Of a worker's process: whether it is at work, whether it shall take up nothing new, and whether its work shall
    come to rest and end, as with Ctrl-C."""

    busy = stopped = interrupted = False


@dataclass(frozen=True)
class Work:
    """A call, and the files that it needs.

    Attributes:
        name: what people call it. function: at the top of a module. arguments: small ones, with which it is called.
        folder: where it works, and log.txt is; None where it writes nothing. It may hold what an earlier try wrote.
        reads: files and folders beside it that it reads. log: whether there is a log. code: modules of the user's own
            that it imports.
    """

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    folder: Path | None = None
    reads: tuple[Path, ...] = ()
    log: bool = True
    code: tuple[Path, ...] = ()

    def at(self, paths: Mapping[str, str]) -> "Work":
        """The same, with other names of files and folders, by those that they have in it."""
        there = {
            "arguments": relocated(self.arguments, paths),
            "folder": relocated(self.folder, paths),
            "reads": relocated(self.reads, paths),
            "code": relocated(self.code, paths),
        }
        return dataclasses.replace(self, **there)

    def __call__(self) -> Any:
        with busy(), _logged(self):
            use(self.code)
            try:
                return self.function(*self.arguments)
            except Exception as error:
                raise _sendable(error) from error


def _sendable(error: Exception) -> Exception:
    """An error that reaches another process: itself where it can be pickled and read back."""
    try:
        pickle.loads(pickle.dumps(error))  # of this process's own making
    except Exception:
        return RunError(f"{type(error).__name__}: {error}")
    return error


one_at_a_time = threading.RLock()
"""Work redirects streams and is interrupted, which is the whole process's."""


@contextmanager
def busy() -> Iterator[None]:
    """At work, so that an interruption reaches it."""
    with one_at_a_time:
        State.busy = True
        try:
            if State.stopped:
                raise KeyboardInterrupt
            yield
        finally:
            State.busy = False


_tell: Callable[[str, str], object] | None = None


def tell_through(tell: Callable[[str, str], object] | None) -> None:
    """Whom the lines that work writes into its log are told, with the work's name; nobody where None."""
    global _tell
    _tell = tell


def _said(name: str, line: str) -> None:
    if _tell is not None:
        with suppress(OSError):  # nobody listens any more
            _tell(name, line)


@contextmanager
def _logged(work: Work) -> Iterator[None]:
    """Standard error goes to the log in the work's folder, and line by line to whom it is told."""
    path = Path(os.devnull)
    if work.folder is not None:
        work.folder.mkdir(parents=True, exist_ok=True)
        path = work.folder / LOG if work.log else path
    with path.open("a", encoding="utf-8", buffering=1) as log, redirect_stderr(_Told(work.name, log)):
        try:
            yield
        except Exception:
            traceback.print_exc(file=log)
            raise
        finally:
            _said(work.name, "")


class _Told:
    """A log whose lines are told as well."""

    def __init__(self, name: str, log: IO[str]) -> None:
        self._name, self._log, self._begun = name, log, ""

    def write(self, text: str) -> int:
        *lines, self._begun = (self._begun + text).split("\n")
        if lines and lines[-1].strip():
            _said(self._name, lines[-1].strip())
        return self._log.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)


PATH_KEYS = ("path", "replay", "cache", "pool", "prompts", "distilled")
"""Last words of the keys of a configuration that name files or folders, see `lerl.run.folder.files_of`."""


def relocated(value: Any, paths: Mapping[str, str]) -> Any:
    """A value in which paths are those of another machine: a path, or in tuples, lists, dicts and dataclasses."""
    if isinstance(value, Path):
        return Path(_moved(str(value), paths))
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(relocated(one, paths) for one in value))
    if isinstance(value, tuple | list):
        return type(value)(relocated(one, paths) for one in value)
    if isinstance(value, dict):
        return {key: relocated(one, paths) for key, one in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        now = {one.name: getattr(value, one.name) for one in dataclasses.fields(value) if one.init}
        then = {
            name: _moved(one, paths) if isinstance(one, str) and name in PATH_KEYS else relocated(one, paths)
            for name, one in now.items()
        }
        return value if then == now else dataclasses.replace(value, **then)
    return value


def _moved(text: str, paths: Mapping[str, str]) -> str:
    plain = os.path.normpath(text)
    for here, there in paths.items():
        if plain == here or plain.startswith(f"{here}{os.sep}"):
            return there + plain[len(here) :]
    return text
