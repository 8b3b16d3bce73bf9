"""Your own classes by name: "my_package.my_module:MyClass"."""

import difflib
import importlib
import os
import sys
from collections.abc import Iterable
from typing import Any


class PluginError(ValueError):
    """A name in the configuration that leads to nothing usable; the message says why and what to do."""


def load_plugin(name: str, key: str, known: Iterable[str], methods: Iterable[str]) -> Any:
    """The class that `name` points to.

    Args:
        name: "package.module:Class"; modules in the working directory are found too.
        key: where the name was given, for the error.
        known: the built-in names, for the error.
        methods: what the class must offer.

    Raises:
        PluginError: the name is no built-in and no importable class with those methods.
    """
    known = list(known)
    module_name, _, class_name = name.partition(":")
    if not module_name or module_name.startswith(".") or not class_name:
        close = difflib.get_close_matches(name, known, 1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise PluginError(
            f"{key} is {name!r}, which is not one of {', '.join(known)}.{hint} "
            "Your own class is named as 'my_package.my_module:MyClass'."
        )
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
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
    return found
