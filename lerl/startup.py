"""What has to be done before anything large is imported; nothing large is imported here."""

import atexit
import gc
import os
from collections.abc import Iterable
from pathlib import Path

COMPILED = tuple(
    Path(__file__).parent / name
    for name in ("agents", "agents/learners", "envs", "envs/fitting", "envs/response", "planners", "planners/llm")
)
"""The folders with functions that Numba compiles."""


def keep_compiled(folders: Iterable[Path] = COMPILED) -> None:
    """Give Numba a folder of the user's own where it cannot keep what it compiles beside the code.

    Without any such folder Numba refuses to start. NUMBA_CACHE_DIR goes before all of this.
    """
    if "NUMBA_CACHE_DIR" in os.environ or all(_writable(folder) for folder in folders):
        return
    import tempfile

    user = os.getuid() if hasattr(os, "getuid") else 0
    for folder in (cache_folder(), Path(tempfile.gettempdir()) / f"lerl-{user}"):
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if _own(folder):
                os.environ["NUMBA_CACHE_DIR"] = str(folder)
                return
        except OSError:
            continue
    os.environ["NUMBA_CACHE_DIR"] = tempfile.mkdtemp(prefix="lerl-")


def collect_seldom() -> None:
    """Look for garbage after 50,000 new objects, and not at all in the end, when the system takes everything back.

    After seven hundred, as Python does, it takes a tenth of the time of imports, and half a second in the end.
    """
    gc.set_threshold(50_000, *gc.get_threshold()[1:])
    atexit.register(gc.freeze)


def cache_folder() -> Path:
    """The user's own folder for what can be made again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "lerl"


def state_folder() -> Path:
    """The user's own folder for what has to be kept and belongs to no run."""
    given = Path(os.environ.get("XDG_STATE_HOME", ""))
    return (given if given.is_absolute() else Path(os.path.expanduser("~/.local/state"))) / "lerl"


def _writable(folder: Path) -> bool:
    cache = folder / "__pycache__"
    return os.access(cache if cache.is_dir() else folder, os.W_OK | os.X_OK)


def _own(folder: Path) -> bool:
    """Whether nobody else can put something there that this process would load and execute."""
    about = folder.lstat()
    private = not hasattr(os, "getuid") or (about.st_uid == os.getuid() and not about.st_mode & 0o022)
    return private and os.access(folder, os.W_OK | os.X_OK)
