"""Your own classes by name: "my_package.my_module:MyClass"."""

import functools
import importlib
import os
import pkgutil
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lerl.envs.checks import did_you_mean


class PluginError(ValueError):
    """Your own class is missing, fails or gives a wrong answer; the message names it and says why."""


@contextmanager
def blamed(what: str) -> Iterator[None]:
    """Turns whatever your own code raises inside, SystemExit too, into a PluginError.

    Args:
        what: runs inside, such as "my_module:MyPlanner.plan".

    Raises:
        PluginError: the message begins with `what`.
    """
    try:
        yield
    except (PluginError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise PluginError(f"{what} fails: {type(error).__name__}: {error}") from error


def load_plugin(name: str, key: str, known: Iterable[str], methods: Sequence[str], optional: Sequence[str] = ()) -> Any:
    """The class of a name, changed so that what its methods raise becomes a PluginError that names them.

    Args:
        name: "package.module:Class"; modules in the working directory are found too.
        key: where the name was given, for the error.
        known: the built-in names, for the error.
        methods: what the class must offer.
        optional: what else it may offer.

    Raises:
        PluginError: the name is no built-in and no importable class with those methods.
    """
    known = list(known)
    module_name, _, class_name = name.partition(":")
    if not module_name or module_name.startswith(".") or not class_name:
        raise PluginError(
            f"{key} is {name!r}, which is not one of {', '.join(known)}.{did_you_mean(name, known, quotes=True)} "
            "Your own class is named as 'my_package.my_module:MyClass'."
        )
    if not executed(module_name) and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # only then: whatever is imported later would be looked for here too
    with blamed(f"{key} is {name!r}, but the import of module {module_name!r}"):
        try:
            module = importlib.import_module(module_name)
        except ImportError as error:
            raise PluginError(
                f"{key} is {name!r}, but module {module_name!r} cannot be imported ({error}); "
                "run from the folder that holds it, or install it"
            ) from error
        found = getattr(module, class_name, None)
    if not isinstance(found, type):
        raise PluginError(f"{key} is {name!r}, but module {module_name!r} has no class {class_name!r}")
    missing = [method for method in methods if not callable(getattr(found, method, None))]
    if missing:
        raise PluginError(f"{key} is {name!r}, which lacks the method {missing[0]!r} that every such class needs")
    offered = [method for method in (*methods, *optional) if callable(getattr(found, method, None))]
    with blamed(f"{key} is {name!r}, but a class derived from it"):
        made: Any = types.new_class(found.__name__, (found,))
    for method in offered:
        setattr(made, method, _blamed_method(made, method, name))
    return made


def executed(module: str, *folders: str) -> list[Path] | None:
    """The files that an import of a module would execute, its packages' first; nothing is imported for this.

    Args:
        module: dotted name.
        folders: searched last, after `sys.path`.

    Returns:
        None where the module is not found.
    """
    places: list[Path] = []
    search = [*sys.path, *folders]
    names = module.split(".")
    for depth in range(1, len(names) + 1):
        name = ".".join(names[:depth])
        spec = _spec(name, search) or (_spec(name, None) if depth == 1 else None)
        if spec is None:
            return None
        if spec.origin is not None:  # a namespace package has no code
            places.append(Path(spec.origin).absolute())
        locations: Any = spec.submodule_search_locations or ()
        search = list(getattr(locations, "_path", locations))  # a namespace's own iterator imports its parents
    return places


def _spec(name: str, search: Sequence[str] | None) -> ModuleSpec | None:
    """What a module is, as Python's own import would find it; see `importlib.util.find_spec`, which imports parents."""
    for finder in sys.meta_path:
        with suppress(ImportError, ValueError):  # a name that no module can have
            if finder is PathFinder and search is not None:
                spec = _on_path(name, search)
            else:
                find = getattr(finder, "find_spec", None)
                spec = find(name, search) if find else None
            if spec is not None:
                return spec
    return None


def _on_path(name: str, search: Sequence[str]) -> ModuleSpec | None:
    """As `PathFinder` has it, which fails for a folder without __init__.py in another one that was not imported."""
    namespace = ModuleSpec(name, None)
    portions = namespace.submodule_search_locations = list[str]()
    for entry in search:
        finder = pkgutil.get_importer(entry or os.getcwd())
        spec = finder.find_spec(name) if finder else None
        if spec is not None and spec.loader is not None:
            return spec
        portions += (spec and spec.submodule_search_locations) or ()
    return namespace if portions else None


def _blamed_method(made: Any, method: str, name: str) -> Callable[..., Any]:
    @functools.wraps(getattr(made, method))
    def call(self: Any, *arguments: Any, **options: Any) -> Any:
        with blamed(f"{name}.{method}"):
            return getattr(super(made, self), method)(*arguments, **options)

    return call


def checked_chances(
    given: Any, shape: tuple[int, ...], what: str, each: str, counts: NDArray[np.bool_] | bool = True
) -> NDArray[np.float64]:
    """A copy of the chances that your own code gave, checked.

    Args:
        given: the chances.
        shape: that they must have.
        what: gave them, such as "my_module:MyRule.probability".
        each: what there must be a chance for: "user" or "slot".
        counts: which of them are checked, bool of the same shape; the others may be anything.

    Raises:
        PluginError: they are not numbers, of another shape, or outside [0, 1].
    """
    with blamed(f"{what}, read as an array of numbers,"):
        read = np.asanyarray(given)
        if read.dtype.kind not in "biuf" or np.ma.is_masked(read):
            kind = "masked numbers" if np.ma.is_masked(read) else f"an array of type {read.dtype}"
            raise PluginError(f"{what} must give chances as numbers, given {kind}")
        chances = np.array(read, np.float64, subok=False)
    if chances.shape != shape:
        raise PluginError(f"{what} must give one chance per {each}, {shape}, given an array of shape {chances.shape}")
    wrong = counts & ~((chances >= 0) & (chances <= 1))
    if wrong.any():
        raise PluginError(f"{what} must give chances in [0, 1], given {chances[wrong][0]}")
    return chances
