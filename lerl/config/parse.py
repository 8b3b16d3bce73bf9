"""Recipes and dotted flags to a `Config`, and a `Config` back to YAML.

A flag overrides the recipe, and the recipe overrides the defaults of `lerl.config.schema`.
"""

import dataclasses
import re
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from lerl.config.errors import SettingsError, brief
from lerl.config.keys import Key, known_keys, unknown_key
from lerl.config.old_keys import EARLIER, RENAMED, RETIRED, renewed
from lerl.config.schema import Config
from lerl.config.yaml_file import read_sections, read_value
from lerl.envs.checks import build

EXPONENT = re.compile(r"[-+]?\d+(\.\d*)?e[-+]?\d+", re.IGNORECASE)
"""Numbers such as 1e-3, which YAML 1.1 takes for text where they have no point."""


def load(path: Path) -> Config:
    """The configuration in a YAML file: a recipe, or config.yaml of a run, which stays what it was made with.

    Raises:
        SettingsError: the file cannot be used; the message names file, key, what is allowed and what was given.
    """
    known = known_keys()
    try:
        values, notes = renewed(_flat(read_sections(path), [*known, *RENAMED, *RETIRED]))
        if notes:
            warnings.warn(f"{path}: {'; '.join(notes)}", stacklevel=2)
        of_run = path.name == "config.yaml" and (path.parent / "run.json").is_file()
        return _built(known, {**EARLIER, **values} if of_run else values)
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}") from None


def configure(recipe: Path, flags: Mapping[str, str | None]) -> Config:
    """The configuration of a recipe's file with flags laid over it.

    Args:
        recipe: a YAML file.
        flags: text by dotted key, such as {"train.steps": "1000"}; a key of a list may end in + to add to it.

    Raises:
        SettingsError: recipe or flags cannot be used; the message names the key, what is allowed and what was given.
    """
    known = known_keys(load(recipe))
    given = {name.removesuffix("+"): value for name, value in flags.items()}
    longer = [name[:-1] for name in flags if name.endswith("+")]
    values, notes = renewed(given)
    if notes:
        warnings.warn("; ".join(notes), stacklevel=2)
    for name in longer:
        if name in known and list not in known[name].types:
            raise SettingsError(f"--{name}+ would add to a list, but {name} is {known[name].allowed}; leave out the +")
    for name, value in values.items():
        section = next((key for key in known.values() if key.nested and f"{name}.".startswith(f"{key.name}.")), None)
        if section is not None:
            raise SettingsError(f"--{name} is no flag: write {section.name} into a recipe file, such as {recipe.name}")
        if name not in known:
            raise SettingsError(unknown_key(name, known, "--"))
        if value is None:
            raise SettingsError(f"--{name} needs a value: {known[name].allowed}")
    for name in longer:
        more = read_value(str(values[name]))
        values[name] = [*known[name].default, *(more if isinstance(more, list) else [more])]
    return _built(known, values)


def overlay(config: Config, values: Mapping[str, Any]) -> Config:
    """A configuration with other values, by dotted key, checked as those of a recipe are.

    Raises:
        SettingsError: the message names the key, what is allowed and what was given.
    """
    known = known_keys(config)
    values, notes = renewed(values)
    if notes:
        warnings.warn("; ".join(notes), stacklevel=2)
    for name in values:
        if name not in known:
            raise SettingsError(unknown_key(name, known))
    return _built(known, values)


def dump(config: Config) -> str:
    """The whole configuration as YAML, which `load` reads back."""
    return yaml.safe_dump(dataclasses.asdict(config), sort_keys=False)


def _flat(values: Mapping[str, Any], known: Iterable[str], prefix: str = "") -> dict[str, Any]:
    """Nested values by dotted key; refuses keys that are not known."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        dotted = f"{prefix}{name}"
        found = {dotted: value}
        if dotted not in known:
            if not any(key.startswith(f"{dotted}.") for key in known):
                raise SettingsError(unknown_key(dotted, known))
            if not isinstance(value, Mapping | None):
                raise SettingsError(f"{dotted} is a section with keys of its own, given {brief(repr(value))}")
            found = _flat(value or {}, known, f"{dotted}.")
        for twice in flat.keys() & found.keys():
            raise SettingsError(f"{twice} is given twice, in two notations; give it once")
        flat.update(found)
    return flat


def _built(known: Mapping[str, Key], values: Mapping[str, Any]) -> Config:
    """The configuration of the known keys, with values laid over their defaults."""
    tree: dict[str, Any] = {}
    for key in known.values():
        *sections, name = key.name.split(".")
        holder = tree
        for section in sections:
            holder = holder.setdefault(section, {})
        holder[name] = _read(values[key.name], key) if key.name in values else key.default
    try:
        return build(Config, tree)
    except (TypeError, ValueError) as error:
        raise SettingsError(str(error)) from None


def _read(value: Any, key: Key) -> Any:
    """A value as its key takes it: text is read as YAML where the key takes none, and "null" where it may be null.

    Raises:
        SettingsError: text that no name and no path can hold, or that cannot be read in a short time; no list of text
            where one is needed.
    """
    for text in value if isinstance(value, list) else [value]:
        if isinstance(text, str) and "\0" in text:
            raise SettingsError(f"{key.name} holds a NUL character, which no name and no path has; leave it out")
    if isinstance(value, str) and (str not in key.types or value == "null"):
        try:
            value = read_value(value)
        except SettingsError as error:
            raise SettingsError(f"{key.name}: {error}") from None
        if float in key.types and isinstance(value, str) and EXPONENT.fullmatch(value):
            value = float(value)
    if list in key.types or key.nested:
        fits = isinstance(value, list if list in key.types else Mapping)
        if not fits or not all(isinstance(text, str) for text in value):
            raise SettingsError(f"{key.name} must be {key.allowed}, given {brief(repr(value))}")
    return value
