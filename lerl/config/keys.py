"""The keys of the configuration tree, one by one: types, defaults and descriptions."""

import dataclasses
import functools
import inspect
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from lerl.config.schema import Config
from lerl.envs.checks import allowed, did_you_mean

ARGS = re.compile(r"^    (\w+): (.*(?:\n {8}.*)*)", re.MULTILINE)
"""One entry of a docstring's Args, whose further lines are indented."""


@dataclass(frozen=True)
class Key:
    """One entry of the configuration tree.

    Attributes:
        name: dotted, such as "env.boredom.weight".
        type: of its values, with their bounds.
        default: its value when nothing else is said.
        help: what it means.
        section: what the part of the tree that holds it is about; empty at the top.
    """

    name: str
    type: Any
    default: Any
    help: str
    section: str

    @functools.cached_property
    def types(self) -> tuple[Any, ...]:
        """The plain types of its values, one by one."""
        return tuple(_plain(self.type))

    @property
    def nested(self) -> bool:
        """Whether its value is a section that a recipe file fills as it likes, which no flag can give."""
        return dict in self.types

    @property
    def allowed(self) -> str:
        """What may be given, in words."""
        if list in self.types:
            return f"a list such as [{', '.join(map(str, self.default[:2] or ['a', 'b']))}]"
        return allowed(self.type)


def _plain(annotation: Any) -> Iterator[Any]:
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _plain(get_args(annotation)[0])
    elif origin in (list, dict):
        yield origin
    elif origin is Literal:
        yield from dict.fromkeys(map(type, get_args(annotation)))
    elif get_args(annotation):
        for one in get_args(annotation):
            yield from _plain(one)
    else:
        yield annotation


def known_keys(config: Config | None = None) -> dict[str, Key]:
    """Every key of the configuration by its dotted name, with the values of `config` as defaults where one is given."""
    return {key.name: key for key in _keys(config or Config(), "", "")}


def _keys(owner: Any, prefix: str, section: str) -> Iterator[Key]:
    types, texts = _described(type(owner))  # type: ignore[arg-type]
    for entry in dataclasses.fields(owner):
        name, value, text = prefix + entry.name, getattr(owner, entry.name), texts.get(entry.name, "")
        if dataclasses.is_dataclass(value):
            yield from _keys(value, name + ".", text)
        else:
            yield Key(name, types[entry.name], value, text, section)


@functools.cache
def _described(owner: type) -> tuple[dict[str, Any], dict[str, str]]:
    """The types and the descriptions of a section's keys."""
    arguments = inspect.cleandoc(owner.__doc__ or "").partition("\nArgs:\n")[2]
    texts = {name: " ".join(text.split()) for name, text in ARGS.findall(arguments)}
    return get_type_hints(owner, include_extras=True), texts


def unknown_key(name: str, known: Iterable[str], dashes: str = "") -> str:
    """What is wrong with a name that is no key, with a hint at what was likely meant."""
    inside = [key for key in known if key.startswith(f"{name}.")]
    if inside:
        return f"{dashes}{name} is a section with keys of its own, such as {dashes}{inside[0]}"
    sections = {key.rpartition(".")[0] for key in known} - {""}
    return f"unknown key {dashes}{name}.{did_you_mean(name, [*known, *sorted(sections)], dashes)}"
