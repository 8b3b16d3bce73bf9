"""Checks of settings that are given in Python: their types and ranges."""

import dataclasses
import math
import sys
from typing import Any

import numpy as np

WORDS: dict[Any, tuple[Any, str]] = {
    int: ((int, np.integer), "a whole number"),
    float: ((int, float, np.integer, np.floating), "a number"),
    bool: ((bool, np.bool_), "True or False"),
    str: (str, "text"),
}


LARGEST = sys.float_info.max


def check_type(name: str, value: object, kind: Any) -> None:
    """Refuse a value that is not of a type, `True` as a number among them, with an error that names the setting.

    Raises:
        TypeError: the message says what must be given.
    """
    types, words = WORDS.get(kind, (kind, f"a {getattr(kind, '__name__', kind)}"))
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
    if not low <= value <= min(high, LARGEST):
        shown = (
            f"an integer of {value.bit_length():,} bits" if isinstance(value, int) and abs(value) > LARGEST else value
        )
        allowed = f"finite and at least {low:g}" if math.isinf(high) else f"in [{low:g}, {high:g}]"
        raise ValueError(f"{type(owner).__name__.lower()}.{name} must be {allowed}, given {shown}")
