"""Modules of the user's own that a configuration names: where they lie, and how a worker comes to use them."""

import hashlib
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from lerl.config.schema import Config
from lerl.envs.plugins import executed

_used: dict[str, str] = {}
"""The digest of what was used last, by the name of a module or package."""


def classes(config: Config) -> Iterator[tuple[str, str]]:
    """All that a configuration names as "module:Class", with its key."""
    named = [("planner.name", config.planner.name), ("planner.fallback", config.planner.fallback)]
    named += [("agents", name.partition("+")[0]) for name in config.agents]
    named += [("env.response", config.env.response), ("env.leave.rule", config.env.leave.rule)]
    named += [("tune.agent", config.tune.agent.partition("+")[0])]
    yield from dict.fromkeys((key, name) for key, name in named if ":" in name)


def places(name: str) -> list[Path]:
    """The files that an import of a class's module would execute; nothing is executed here."""
    return executed(name.partition(":")[0], os.getcwd()) or []


def code_of(config: Config) -> tuple[Path, ...]:
    """The modules, and whole packages, of classes that lie in no folder of installed packages."""
    found = dict[Path, None]()
    for _, name in classes(config):
        if files := places(name):
            top = files[0].parent if files[0].name == "__init__.py" else files[0]
            if not any(part in ("site-packages", "dist-packages") for part in top.parts):
                found[top] = None
    return tuple(found)


def use(code: Sequence[Path]) -> None:
    """Have modules and packages imported from where they lie, also where others of their name were imported before."""
    for path in code:
        name, digest = path.stem, _digest(path)
        if str(path.parent) not in sys.path:
            sys.path.append(str(path.parent))
        if _used.get(name, digest) != digest or _elsewhere(name, path):
            for module in [one for one in sys.modules if one.partition(".")[0] == name]:
                del sys.modules[module]
            sys.path.remove(str(path.parent))
            sys.path.insert(0, str(path.parent))
        _used[name] = digest


def _elsewhere(name: str, path: Path) -> bool:
    """Whether a module of that name was imported from another place."""
    found = getattr(sys.modules.get(name), "__file__", None)
    return found is not None and path not in (Path(found), Path(found).parent)


def _digest(path: Path) -> str:
    found = hashlib.blake2b(digest_size=16)
    for file in [path] if path.is_file() else sorted(path.rglob("*.py")):
        found.update(file.name.encode() + file.read_bytes())
    return found.hexdigest()
