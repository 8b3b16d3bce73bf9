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


def within(owner: str, least: float, **values: float | None) -> None:
    """Refuse values below the least, and above what `MOST` says of their keys; None is no value."""
    for name, value in values.items():
        most = MOST[f"{owner}.{name}"]
        if value is not None and not least <= value <= most:
            given = f"{value:,}" if isinstance(value, int) else f"{value:g}"
            raise ValueError(f"{owner}.{name} must be from {least:g} to {most:,}, given {given}")


MOST = {
    "data.synthetic.users": 1_000_000,
    "data.synthetic.items": 1_000_000,
    "data.synthetic.categories": 1_000,
    "data.synthetic.dim": 512,
    "env.slate_size": 1_000,
    "env.max_steps": 10_000,
    "env.topic_count": 10_000,
    "planner.clusters": 10_000,
    "planner.size": 10_000,
    "planner.replan_every": 10_000,
    "planner.sessions": 1_000_000,
    "planner.replan_below": 10,
    "planner.candidates": 10_000,
    "planner.timeout": 3_600,
    "planner.temperature": 2,
    "planner.answer_tokens": 200_000,
    "planner.concurrency": 256,
    "planner.reflections": 10_000,
    "planner.refresh": 100_000,
    "planner.budget.calls": 1_000_000_000,
    "planner.budget.tokens": 1_000_000_000_000,
    "planner.budget.money": 1_000_000,
    "planner.price.input": 1_000_000,
    "planner.price.output": 1_000_000,
    "train.off_policy.buffer": 10_000_000,
    "train.off_policy.gradient_steps": 1_000,
    "train.off_policy.learning_starts": 10_000_000_000,
    "train.off_policy.noise": 100,
    "train.steps": 10_000_000_000,
    "train.users": 100_000,
    "train.rollout": 10_000,
    "train.batch_size": 1_000_000,
    "train.epochs": 1_000,
    "train.learning_rate": 1,
    "train.hidden": 4_096,
    "train.history": 1_000,
    "train.evaluations": 1_000,
    "train.checkpoint": 1_000_000,
    "train.validation": 1_000_000,
    "evaluation.users": 10_000_000,
    "evaluation.replicates": 10_000,
    "evaluation.batch_size": 100_000,
    "tune.trials": 100_000,
    "tune.users": 10_000_000,
    "tune.replicates": 10_000,
    "experiment.seeds": 1_000,
    "experiment.jobs": 1_024,
}
"""The most that a key takes: beyond, nothing useful happens, only memory errors and runs without end."""
