"""Checks of settings that are given in Python: their names, types and ranges."""

import dataclasses
import difflib
import math
import sys
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import numpy as np

WORDS: dict[Any, tuple[Any, str]] = {
    int: ((int, np.integer), "a whole number"),
    float: ((int, float, np.integer, np.floating), "a number"),
    bool: ((bool, np.bool_), "True or False"),
    str: (str, "text"),
}

Section = TypeVar("Section")
LARGEST_FLOAT = sys.float_info.max


def check_type(name: str, value: object, kind: Any) -> None:
    """Refuse a value that is not of a type, `True` as a number among them, with an error that names the setting.

    Raises:
        TypeError: the message says what must be given.
    """
    noun = getattr(kind, "__name__", str(kind))
    types, words = WORDS.get(kind, (kind, f"{'an' if noun[0] in 'AEIOU' else 'a'} {noun}"))
    if not isinstance(value, types) or (kind in (int, float) and isinstance(value, bool)):
        raise TypeError(f"{name} must be {words}, given {value!r}")


def check_types(owner: Any, section: str = "") -> None:
    """Refuse fields of a dataclass that are not of their types; `section` names it, its class does otherwise."""
    for field in dataclasses.fields(owner):
        name = f"{section or type(owner).__name__.lower()}.{field.name}"
        check_type(name, getattr(owner, field.name), field.type)


def check_range(owner: object, name: str, low: float, high: float = math.inf) -> None:
    """Refuse a strength that is not finite or outside [low, high] with an error that names it."""
    value = getattr(owner, name)
    huge = isinstance(value, int) and abs(value) > LARGEST_FLOAT
    if huge or not low <= value <= high or math.isinf(value):
        shown = f"an integer of {value.bit_length():,} bits" if huge else value
        allowed = f"finite and at least {low:g}" if math.isinf(high) else f"in [{low:g}, {high:g}]"
        raise ValueError(f"{type(owner).__name__.lower()}.{name} must be {allowed}, given {shown}")


def did_you_mean(name: str, known: Iterable[str], before: str = "", *, quotes: bool = False) -> str:
    """A hint at the known name that was likely meant: one that ends in what was given, or else the one most alike.

    Args:
        name: what was given. known: what could have been. before: what stands in front of the known name, such as "--".
        quotes: whether the known name is quoted.
    """
    known = list(known)
    close = [key for key in known if key.endswith(f".{name}")] + difflib.get_close_matches(name, known, 1)
    if not close:
        return ""
    return f" Did you mean {before}{repr(close[0]) if quotes else close[0]}?"


def placed(message: str, prefix: str, names: Iterable[str]) -> str:
    """An error of one section with the whole dotted name of the key that it is about."""
    subject, _, rest = message.partition(" ")
    name = subject.rpartition(".")[2]
    if name in names:
        return f"{prefix}{name} {rest}"
    return f"{prefix.rstrip('.')}: {message}" if prefix else message


def overlaid(owner: Section, values: Mapping[str, Any], prefix: str) -> Section:
    """A copy of a dataclass with other values.

    Args:
        owner: a dataclass; fields that hold one are its sections.
        values: by field; a section is given whole, or as a dictionary of the values in it that change.
        prefix: of the dotted names in errors, such as "env.".

    Raises:
        ValueError: an unknown name, or a value outside its range.
        TypeError: a value of a wrong type.
    """
    known = [field.name for field in dataclasses.fields(owner)]  # type: ignore[arg-type]
    changes = {}
    for name, value in values.items():
        key = f"{prefix}{name}"
        if name not in known:
            hint = did_you_mean(str(name), known, prefix) or f" There are {', '.join(known)}"
            raise ValueError(f"unknown key {key}.{hint}")
        section = getattr(owner, name)
        if dataclasses.is_dataclass(section) and not isinstance(value, type(section)):
            if not isinstance(value, Mapping):
                kind, example = type(section).__name__, dataclasses.fields(section)[0]
                sample = {example.name: getattr(section, example.name)}
                raise TypeError(f"{key} must be a dictionary such as {sample} or a {kind}, given {value!r}")
            value = overlaid(section, value, f"{key}.")
        changes[name] = value
    try:
        return dataclasses.replace(owner, **changes)  # type: ignore[type-var]
    except (TypeError, ValueError) as error:
        raise type(error)(placed(str(error), prefix, changes)) from None
