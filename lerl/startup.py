"""What must be done before large libraries are imported; this module imports none of them."""

import atexit
import gc
import os
import sys
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

COMPILED = tuple(
    Path(__file__).parent / name
    for name in ("agents", "agents/learners", "envs", "envs/fitting", "envs/response", "planners", "planners/llm")
)
"""The folders with functions that Numba compiles."""

EXTRAS = {
    "train": {
        "filelock": "filelock",
        "implicit": "implicit",
        "optuna": "optuna",
        "polars": "polars",
        "rich": "rich",
        "sb3_contrib": "sb3-contrib",
        "scipy": "scipy",
        "stable_baselines3": "stable-baselines3",
        "tensorboard": "tensorboard",
        "threadpoolctl": "threadpoolctl",
        "torch": "torch",
        "yaml": "pyyaml",
    },
    "llm": {
        "langchain": "langchain",
        "langchain_core": "langchain",
        "langchain_openai": "langchain-openai",
        "openai": "openai",
        "tenacity": "tenacity",
    },
    "plot": {"matplotlib": "matplotlib", "PIL": "pillow"},
    "serve": {
        "fastapi": "fastapi",
        "prometheus_client": "prometheus-client",
        "redis": "redis",
        "uvicorn": "uvicorn",
    },
    "track": {"mlflow": "mlflow", "wandb": "wandb"},
    "cluster": {"distributed": "distributed"},
    "offline": {"minari": "minari", "PIL": "pillow", "pyarrow": "pyarrow"},
}
"""What each extra of lerl-rec installs: packages by the name of the module that they hold."""


class MissingExtraError(ImportError):
    """A package that lerl can do without is needed here; the message names it and the command that installs it."""


def install_hint(module: str) -> str:
    """What to do about a module that is not there; empty where it belongs to no extra."""
    top = module.partition(".")[0]
    for extra, packages in EXTRAS.items():
        if top in packages:
            return f"this needs {packages[top]}; install it with: pip install 'lerl-rec[{extra}]'"
    return ""


def require(extra: str) -> None:
    """Refuse to go on without the packages of an extra, which is quicker and says more than a failing import.

    Raises:
        MissingExtraError: one of them is not installed.
    """
    for module in EXTRAS[extra]:
        if sys.modules.get(module) is None and find_spec(module) is None:
            raise MissingExtraError(install_hint(module), name=module)


def keep_compiled(folders: Iterable[Path] = COMPILED) -> None:
    """Give Numba a folder of the user's own where it cannot keep what it compiles beside the code.

    Without any such folder Numba refuses to start. NUMBA_CACHE_DIR overrides all of this.
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
    """Collect garbage after 50,000 new objects instead of 700, and not at all at exit.

    As Python does it, it takes a tenth of the time of imports, and half a second at exit.
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
