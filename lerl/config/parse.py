"""Recipes and dotted flags to a `Config`, and a `Config` back to YAML.

What a flag says goes over what the recipe says, and that over the defaults of `lerl.config.schema`.
"""

import dataclasses
import functools
import itertools
import re
import types
import warnings
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union, cast, get_args, get_origin, get_type_hints

import yaml
from docstring_parser import parse as parse_docstring
from jsonargparse import ArgumentError, ArgumentParser, Namespace

from lerl.config.schema import RETIRED, Config
from lerl.envs.checks import LARGEST_FLOAT, MOST, did_you_mean, placed

WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "null"}

MOST_BYTES, MOST_VALUES, MOST_LEVELS, MOST_DIGITS = 1 << 18, 20_000, 40, 100
"""Of a YAML file, of what it may stand for, and of a number in it: lerl's own need a tenth."""
BRIEF = 200  # characters of a value in an error


class _Loader(yaml.SafeLoader):
    """Refuses what would make YAML work without end, and a mapping that gives a key twice, where it takes the last."""

    def fetch_flow_collection_start(self, token: Any) -> None:
        if self.flow_level > MOST_LEVELS:  # the scanner takes the square of the time for brackets in brackets
            raise _too_deep(self.line + 1)
        super().fetch_flow_collection_start(token)

    def get_single_node(self) -> yaml.Node | None:
        node: yaml.Node | None = super().get_single_node()
        if node is not None:
            _count(node, {}, 0)
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                line = key.start_mark.line + 1
                raise SettingsError(f"{key.value} is given twice, the second time in line {line}; give it once")
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


def _count(node: yaml.Node, known: dict[int, int], depth: int) -> int:
    """How many values a node stands for, each alias as often as it is named.

    Raises:
        SettingsError: there are too many, they lie too deep, or a number is too long to be one.
    """
    line = node.start_mark.line + 1
    if known.get(id(node), 1) == 0 or depth > MOST_LEVELS:
        raise _too_deep(line)
    if isinstance(node, yaml.ScalarNode):
        if len(node.value) > MOST_DIGITS and node.tag != "tag:yaml.org,2002:str":
            raise SettingsError(f"line {line} holds a number of {len(node.value):,} characters; give a shorter one")
        return 1
    if id(node) not in known:
        known[id(node)] = 0  # under way: an alias to itself has no end
        inside = [one for pair in node.value for one in (pair if isinstance(pair, tuple) else (pair,))]
        known[id(node)] = 1 + sum(_count(one, known, depth + 1) for one in inside)
    if known[id(node)] > MOST_VALUES:
        raise SettingsError(f"line {line} stands for more than {MOST_VALUES:,} values; use fewer aliases (*name)")
    return known[id(node)]


def _too_deep(line: int) -> "SettingsError":
    return SettingsError(f"line {line} lies more than {MOST_LEVELS} levels deep; write it flatter")


class SettingsError(ValueError):
    """A recipe or a flag that cannot be used; the message names the key, what was given and what is allowed."""


@dataclass(frozen=True)
class Key:
    """One entry of the configuration tree.

    Attributes:
        name: dotted, such as "env.boredom.weight".
        type: of its values.
        default: its value when nothing else is said.
        help: what it means.
        section: what the part of the tree that holds it is about; empty at the top.
    """

    name: str
    type: Any
    default: Any
    help: str
    section: str

    @property
    def choices(self) -> tuple[Any, ...]:
        """The types of its values, one by one."""
        return get_args(self.type) if get_origin(self.type) in (Union, types.UnionType) else (self.type,)

    @property
    def nested(self) -> bool:
        """Whether its value is a section that a recipe file fills as it likes, which no flag can give."""
        return get_origin(self.type) is dict

    @property
    def allowed(self) -> str:
        """What may be given, in words."""
        if self.nested:
            return "a section of a recipe file"
        if get_origin(self.type) is list:
            return f"a list such as [{', '.join(map(str, self.default[:2]))}]"
        return " or ".join(WORDS.get(choice, str(choice)) for choice in self.choices)


def known_keys(config: Config | None = None) -> dict[str, Key]:
    """Every key of the configuration by its dotted name, with the values of `config` as defaults where one is given."""
    return {key.name: key for key in _keys(config or Config(), "", "")}


def _keys(owner: Any, prefix: str, section: str) -> Iterator[Key]:
    hints, texts = _described(type(owner))  # type: ignore[arg-type]
    for entry in dataclasses.fields(owner):
        name, value, text = prefix + entry.name, getattr(owner, entry.name), texts.get(entry.name, "")
        if dataclasses.is_dataclass(value):
            yield from _keys(value, name + ".", text)
        else:
            most = f" At most {MOST[name]:,}." if name in MOST else ""
            yield Key(name, hints[entry.name], value, " ".join(text.split()) + most, section)


@functools.cache
def _described(owner: type) -> tuple[dict[str, Any], dict[str, str]]:
    """The types and the descriptions of a section's keys."""
    told = parse_docstring(owner.__doc__ or "").params
    return get_type_hints(owner), {entry.arg_name: entry.description or "" for entry in told}


def recipe_folder() -> Path:
    """Where the recipes lie that come with lerl: in lerl/recipes when installed, in runs/ in a checkout."""
    here = Path(__file__).resolve().parents[1]
    return here / "recipes" if (here / "recipes").is_dir() else here.parent / "runs"


def recipes(holding: str = "") -> list[str]:
    """Names of the recipes that come with lerl, where `holding` names a section ("tune", say) of those that hold it."""
    paths = recipe_folder().glob("*.yaml")
    return sorted(path.stem for path in paths if not holding or _sections(path).get(holding))


def find_recipe(name: str, holding: str = "") -> Path:
    """The file of a recipe, given as the name of one that comes with lerl or as a path that ends in .yaml.

    Args:
        name: or path. holding: a section that the recipes hold which the error lists.

    Raises:
        SettingsError: there is no such recipe; the message lists those there are.
    """
    path = Path(name) if Path(name).suffix in (".yaml", ".yml") else recipe_folder() / f"{name}.yaml"
    if path.is_file():
        return path
    if path.parent != recipe_folder():
        raise SettingsError(f"there is no recipe file {name}")
    raise SettingsError(
        f"there is no recipe {name!r}.{did_you_mean(name, recipes(holding))} There are: "
        f"{', '.join(recipes(holding)) or 'none'}. "
        "Your own is given as a path that ends in .yaml."
    )


def load(path: Path) -> Config:
    """The configuration in a YAML file: a recipe, or config.yaml of a run.

    Raises:
        SettingsError: the file cannot be used; the message names file, key, what was given and what is allowed.
    """
    known = known_keys()
    try:
        values = _flat(_sections(path), known)
        return _build(lambda: flag_parser(known).parse_object(_shielded(values, known)), known, values)
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}") from None


def configure(recipe: Path, flags: Mapping[str, str | None]) -> Config:
    """The configuration of a recipe's file with flags laid over it.

    Args:
        recipe: a YAML file.
        flags: text by dotted key, such as {"train.steps": "1000"}; a key of a list may end in + to add to it.

    Raises:
        SettingsError: recipe or flags cannot be used; the message names the key, what was given and what is allowed.
    """
    config = load(recipe)
    known = known_keys(config)
    flags = {name: value for name, value in flags.items() if not _retired(name, value)}
    given = {name.removesuffix("+"): value for name, value in flags.items()}
    for name in flags:
        if name.endswith("+") and (key := known.get(name[:-1])) and get_origin(key.type) not in (list, dict):
            raise SettingsError(f"--{name} would add to a list, but {key.name} is {key.allowed}; leave out the +")
    for name, value in given.items():
        inside = next((key for key in known.values() if key.nested and f"{name}.".startswith(f"{key.name}.")), None)
        if inside is not None:
            raise SettingsError(f"--{name} is no flag: write {inside.name} into a recipe file, such as {recipe.name}")
        if name not in known:
            raise SettingsError(unknown(name, known, "--"))
        if value is None:
            raise SettingsError(f"--{name} needs a value: {known[name].allowed}")

    def parse() -> Namespace:
        shielded = _shielded(given, known)
        arguments = [f"--{name}={shielded[name.removesuffix('+')]}" for name in flags]
        return _completed(_parser_of(given, known).parse_args(arguments), given, known)

    return _build(parse, known, given)


def overlay(config: Config, values: Mapping[str, Any]) -> Config:
    """A configuration with other values, by dotted key, checked as those of a recipe are.

    Raises:
        SettingsError: the message names the key, what was given and what is allowed.
    """
    known = known_keys(config)
    values = {name: value for name, value in values.items() if not _retired(name, value)}
    for name in values:
        if name not in known:
            raise SettingsError(unknown(name, known))

    def parse() -> Namespace:
        return _completed(_parser_of(values, known).parse_object(_shielded(values, known)), values, known)

    return _build(parse, known, values)


def _parser_of(names: Iterable[str], known: Mapping[str, Key]) -> ArgumentParser:
    """A parser of some keys, whose defaults it does not read as YAML."""
    keys = {name: known[name] for name in names}
    text = {name: dataclasses.replace(key, default="text") for name, key in keys.items() if _is_text(key.default, key)}
    return flag_parser(keys | text)


def _completed(read: Namespace, names: Iterable[str], known: Mapping[str, Key]) -> Namespace:
    """What was read of some keys, and the defaults of the others."""
    whole = Namespace()  # type: ignore[no-untyped-call]
    for name, key in known.items():
        whole[name] = read[name] if name in names else key.default
    return whole


def flag_parser(known: Mapping[str, Key]) -> ArgumentParser:
    """A parser with one flag per key, in groups by section; `known` comes from `known_keys`."""
    parser = ArgumentParser(exit_on_error=False, add_help=False, allow_abbrev=False)
    for section, members in itertools.groupby(known.values(), lambda key: (key.name.rpartition(".")[0], key.section)):
        group = parser.add_argument_group(": ".join(filter(None, section)).rstrip(".") or "the run")
        for key in members:
            group.add_argument(f"--{key.name}", type=key.type, default=key.default, help=key.help.replace("%", "%%"))
    return parser


def dump(config: Config) -> str:
    """The whole configuration as YAML, which `load` reads back."""
    return yaml.safe_dump(dataclasses.asdict(config), sort_keys=False)


def read_yaml(path: Path) -> Any:
    """What a YAML file holds, plain values alone.

    Raises:
        SettingsError: it cannot be read, or would take too much time and memory.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise SettingsError(f"has more than {MOST_BYTES:,} bytes, which no recipe needs; give a smaller file")
        return yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except SettingsError:
        raise
    except yaml.YAMLError as error:
        raise SettingsError(f"no valid YAML: {' '.join(str(error).split())}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"cannot be read: {error}") from None
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"holds a value that YAML cannot read: {error}") from None


def _sections(path: Path) -> Mapping[str, Any]:
    content = read_yaml(path)
    if not isinstance(content, Mapping | None):
        raise SettingsError(f"must hold keys and values such as 'seed: 1', given {brief(repr(content))}")
    return content or {}


def brief(value: str) -> str:
    """A value, in words, as an error shows it."""
    return value if len(value) <= BRIEF else f"{value[:BRIEF]}..."


def _flat(values: Mapping[str, Any], known: Mapping[str, Key], prefix: str = "") -> dict[str, Any]:
    """Nested values by dotted key; refuses keys that are not known."""
    flat: dict[str, Any] = {}

    def add(found: Mapping[str, Any]) -> None:
        for name in flat.keys() & found.keys():
            raise SettingsError(f"{name} is given twice, in two notations; give it once")
        flat.update(found)

    for name, value in values.items():
        dotted = f"{prefix}{name}"
        if _retired(dotted, value):
            continue
        if dotted in known:
            add({dotted: value})
        elif not any(key.startswith(f"{dotted}.") for key in known):
            raise SettingsError(unknown(dotted, known))
        elif isinstance(value, Mapping):
            add(_flat(value, known, f"{dotted}."))
        elif value is not None:
            raise SettingsError(f"{dotted} is a section with keys of its own, given {brief(repr(value))}")
    return flat


def _retired(name: str, value: Any) -> bool:
    """Whether a key is gone and left out, with a note where that may matter."""
    if name not in RETIRED:
        return False
    usual, why = RETIRED[name]
    if value != usual:
        warnings.warn(f"{name} {value} is left out: {why}; remove it", stacklevel=2)
    return True


def unknown(name: str, known: Iterable[str], dashes: str = "") -> str:
    """What is wrong with a name that is no key, with a hint at what was likely meant."""
    inside = [key for key in known if key.startswith(f"{name}.")]
    if inside:
        return f"{dashes}{name} is a section with keys of its own, such as {dashes}{inside[0]}"
    sections = {key.rpartition(".")[0] for key in known} - {""}
    return f"unknown key {dashes}{name}.{did_you_mean(name, [*known, *sorted(sections)], dashes)}"


def _build(parse: Callable[[], Namespace], known: Mapping[str, Key], given: Mapping[str, Any]) -> Config:
    """The configuration that `parse` finds; `given` is what came in, by key, for errors."""
    try:
        parsed = parse()
    except ArgumentError as error:
        raise SettingsError(_wrong_type(str(error), known, given)) from None
    for name, value in given.items():
        if _is_text(value, known[name]):
            parsed[name] = value
    for key in known.values():
        if parsed[key.name] is None and type(None) not in key.choices:
            raise SettingsError(f"{key.name} must be {key.allowed}, given null")
    return cast(Config, _make(Config, parsed.as_dict(), ""))


def _is_text(value: Any, key: Key) -> bool:
    return isinstance(value, str) and value != "null" and str in key.choices


def _shielded(values: Mapping[str, Any], known: Mapping[str, Key]) -> dict[str, Any]:
    """Values as jsonargparse may see them: it reads text that may be null as YAML, so that "#1" would be null to it.

    Raises:
        SettingsError: a text holds what no name or path can, or is YAML that cannot be read in a short time.
    """
    for name, value in values.items():
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and "\0" in text:
                raise SettingsError(f"{name} holds a NUL character, which no name and no path has; leave it out")
        if isinstance(value, int) and abs(value) > LARGEST_FLOAT:
            raise SettingsError(f"{name} must be a number up to {LARGEST_FLOAT:g}, given a larger one")
        if isinstance(value, str) and not _is_text(value, known[name]):
            try:
                _Loader(value).get_single_node()
            except SettingsError as error:
                raise SettingsError(f"{name}: {str(error).removeprefix('line 1 ')}") from None
            except (yaml.YAMLError, RecursionError):
                pass  # which is refused as a value of a wrong type
    return {name: "text" if _is_text(value, known[name]) else value for name, value in values.items()}


def _wrong_type(message: str, known: Mapping[str, Key], given: Mapping[str, Any]) -> str:
    found = re.search(r'Parser key "([\w.]+)"', message)
    if not found:
        return " ".join(message.split())
    name = found.group(1)
    return f"{name} must be {known[name].allowed}, given {brief(repr(given[name]))}"


def _make(owner: Any, values: Mapping[str, Any], prefix: str) -> Any:
    hints, _ = _described(owner)
    parts = {
        name: _make(hints[name], value, f"{prefix}{name}.") if dataclasses.is_dataclass(hints[name]) else value
        for name, value in values.items()
    }
    try:
        return owner(**parts)
    except ValueError as error:
        raise SettingsError(placed(str(error), prefix, values)) from error
