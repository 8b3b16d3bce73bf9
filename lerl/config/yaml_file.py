"""Reading YAML that may come from a stranger: plain values only, in bounded time and memory."""

from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any

import yaml

from lerl.config.errors import SettingsError, brief

MOST_BYTES, MOST_VALUES, MOST_LEVELS, MOST_DIGITS = 1 << 18, 20_000, 40, 100
"""Of a YAML file, of what it may stand for, and of a number in it: lerl's own recipes need a tenth."""


class _Loader(yaml.SafeLoader):
    """Refuses YAML that would take endless work, and a mapping that gives a key twice, where PyYAML takes the last."""

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
        SettingsError: there are too many, they are nested too deeply, or a number has too many digits.
    """
    line = node.start_mark.line + 1
    if known.get(id(node), 1) == 0 or depth > MOST_LEVELS:
        raise _too_deep(line)
    if isinstance(node, yaml.ScalarNode):
        if len(node.value) > MOST_DIGITS and node.tag != "tag:yaml.org,2002:str":
            raise SettingsError(f"line {line} holds a number of {len(node.value):,} characters; give a shorter one")
        return 1
    if id(node) not in known:
        known[id(node)] = 0  # being counted: an alias to itself has no end
        inside = [one for pair in node.value for one in (pair if isinstance(pair, tuple) else (pair,))]
        known[id(node)] = 1 + sum(_count(one, known, depth + 1) for one in inside)
    if known[id(node)] > MOST_VALUES:
        raise SettingsError(f"line {line} stands for more than {MOST_VALUES:,} values; use fewer aliases (*name)")
    return known[id(node)]


def _too_deep(line: int) -> SettingsError:
    return SettingsError(f"line {line} is nested more than {MOST_LEVELS} levels deep; write it flatter")


def read_yaml(path: Path) -> Any:
    """What a YAML file holds, as plain values.

    Raises:
        SettingsError: it cannot be read, or would take too much time and memory.
    """
    return _read(path, yaml.load)


def read_nodes(path: Path) -> yaml.Node | None:
    """The nodes of a YAML file, which know their lines; None where it is empty.

    Raises:
        SettingsError: it cannot be read, or would take too much time and memory.
    """
    node: yaml.Node | None = _read(path, yaml.compose)
    return node


def _read(path: Path, read: Callable[[str, Any], Any]) -> Any:
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)  # a device has no size and no end
        if len(content) > MOST_BYTES:
            raise SettingsError(f"has more than {MOST_BYTES:,} bytes, which no recipe needs; give a smaller file")
        return read(content.decode("utf-8"), _Loader)
    except SettingsError:
        raise
    except yaml.YAMLError as error:
        raise SettingsError(f"no valid YAML: {' '.join(str(error).split())}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"cannot be read: {error}") from None
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"holds a value that YAML cannot read: {error}") from None


def read_sections(path: Path) -> Mapping[str, Any]:
    """The keys and values of a YAML file; none where it is empty.

    Raises:
        SettingsError: it cannot be read, or holds something else.
    """
    content = read_yaml(path)
    if not isinstance(content, Mapping | None):
        raise SettingsError(f"must hold keys and values such as 'seed: 1', given {brief(repr(content))}")
    return content or {}


def read_value(text: str) -> Any:
    """What a text means as YAML; the text itself where it means nothing.

    Raises:
        SettingsError: reading it would take too much time and memory.
    """
    try:
        value = yaml.load(text, _Loader)
    except SettingsError as error:
        raise SettingsError(str(error).removeprefix("line 1 ")) from None
    except (yaml.YAMLError, ValueError, RecursionError):
        return text
    return value if isinstance(value, bool | int | float | list | dict | None) else text
