"""What a planner is told of a user's gender, ethnicity or age, in which words and where; and questions with it.

After "One Persona, Many Cues, Different Results", arXiv 2601.18572: ten groups of three attributes, six kinds of cue,
five instances of each. The texts are lerl's own (cues.yaml, beside this file), or those of a user's file.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from string import Template

import yaml

from lerl.config.errors import SettingsError
from lerl.config.yaml_file import read_nodes
from lerl.envs.text import quoted
from lerl.planners.llm.guard import Question, key_of

OWN = Path(__file__).resolve().parent / "cues.yaml"
PLACES = ("system", "user", "history")
"""At the end of the instructions, before the question, or as something that the user did before."""

EARLIER = "What this user did before, elsewhere:\n- "
INSTANCES = (2, 50)  # wordings of a cue
LONGEST = 400  # characters of one
WORD = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")


class CueError(ValueError):
    """A file of cues that cannot be used; the message names file and line, and says what to do."""


@dataclass(frozen=True)
class Cue:
    """One thing said of a user.

    Attributes:
        attribute, group: such as gender and female. kind: such as name-user. instance: which wording, from 0.
        place: of `PLACES`. text: as it is said.
    """

    attribute: str
    group: str
    kind: str
    instance: int
    place: str
    text: str


@dataclass(frozen=True)
class Cues:
    """All cues of a file.

    Attributes:
        attributes: the groups of each. kinds: of cue. instances: wordings of each kind for each group. all: every cue,
            by attribute, kind, group and instance.
    """

    attributes: Mapping[str, tuple[str, ...]]
    kinds: tuple[str, ...]
    instances: int
    all: tuple[Cue, ...]

    def of(self, attribute: str, kind: str) -> list[list[Cue]]:
        """The cues of each group, in the order of groups and instances."""
        groups = self.attributes[attribute]
        own = [cue for cue in self.all if (cue.attribute, cue.kind) == (attribute, kind)]
        return [[cue for cue in own if cue.group == group] for group in groups]

    def only(self, attributes: tuple[str, ...]) -> "Cues":
        """Those of some attributes only.

        Raises:
            CueError: there is no such attribute.
        """
        for name in attributes:
            if name not in self.attributes:
                raise CueError(f"there is no attribute {name!r} among the cues; there are {', '.join(self.attributes)}")
        kept = {name: groups for name, groups in self.attributes.items() if name in attributes}
        return replace(self, attributes=kept, all=tuple(cue for cue in self.all if cue.attribute in kept))


def decorated(question: Question, cue: Cue) -> Question:
    """The same question with a cue in it: nothing else changes, and the same answers can be used."""
    key = key_of(question.key, cue.place, cue.text)
    if cue.place == "system":
        return replace(question, key=key, system=f"{question.system.rstrip()}\n\n{cue.text}")
    before = cue.text if cue.place == "user" else f"{EARLIER}{cue.text}"
    return replace(question, key=key, user=f"{before}\n\n{question.user}")


def read_cues(path: Path | None = None) -> Cues:
    """The cues of a file, lerl's own when None.

    Raises:
        CueError: it cannot be read, or lacks something; the message names file and line.
    """
    path = OWN if path is None else path
    try:
        return _cues(read_nodes(path))
    except SettingsError as error:
        raise CueError(f"{path}: {error}") from None
    except _LineError as error:
        raise CueError(f"{path}, line {error.line}: {error}") from None


class _LineError(ValueError):
    """What is wrong at a node."""

    def __init__(self, node: yaml.Node | None, message: str) -> None:
        super().__init__(message)
        self.line = 1 if node is None else node.start_mark.line + 1


@dataclass(frozen=True)
class _Kind:
    """A kind of cue: where its texts stand, and what they are made from; their own under each group where None."""

    place: str
    templates: tuple[str, ...] | None


def _cues(whole: yaml.Node | None) -> Cues:
    parts = _mapping(whole, "a file of cues", {"kinds", "attributes"})
    for name in ("kinds", "attributes"):
        if name not in parts:
            raise _LineError(whole, f"{name} is missing; a file of cues has kinds and attributes, as lerl's own {OWN}")
    kinds = {name: _kind(name, node) for name, node in _mapping(parts["kinds"], "kinds").items()}
    attributes, found = {}, []
    for attribute, node in _mapping(parts["attributes"], "attributes").items():
        groups = _mapping(node, attribute)
        if len(groups) < 2:
            raise _LineError(node, f"{attribute} has {len(groups)} group; a comparison needs two or more")
        attributes[attribute] = tuple(groups)
        for group, texts in groups.items():
            found += _of_group(attribute, group, texts, kinds)
    instances = _instances(parts["kinds"], found)
    _refuse_shared(parts["attributes"], found)
    order = {name: number for number, name in enumerate(kinds)}
    found.sort(key=lambda cue: (list(attributes).index(cue.attribute), order[cue.kind]))
    return Cues(attributes, tuple(kinds), instances, tuple(found))


def _instances(node: yaml.Node, found: Sequence[Cue]) -> int:
    """How many wordings each kind has for each group: the same number everywhere."""
    counts = Counter((cue.attribute, cue.group, cue.kind) for cue in found)
    usual = Counter(counts.values()).most_common(1)[0][0]
    for (_, group, kind), count in counts.items():
        if count != usual:
            message = (
                f"{kind} of {group} has {count} texts where others have {usual}; give the same number for each group"
            )
            raise _LineError(node, message)
    return usual


def _refuse_shared(node: yaml.Node, found: Sequence[Cue]) -> None:
    """Refuse a text that two groups share: no answer to it can tell them apart."""
    seen: dict[tuple[str, str, str], str] = {}
    for cue in found:
        other = seen.setdefault((cue.attribute, cue.kind, cue.text), cue.group)
        if other != cue.group:
            message = f"{cue.kind} says {quoted(cue.text, 60)} of {other} and of {cue.group}; give each its own texts"
            raise _LineError(node, message)


def _kind(name: str, node: yaml.Node) -> _Kind:
    parts = _mapping(node, name, {"place", "templates"})
    place = _text(parts.get("place", node), "place") if "place" in parts else ""
    if place not in PLACES:
        raise _LineError(parts.get("place", node), f"the place of {name} must be one of {', '.join(PLACES)}")
    if "templates" not in parts:
        return _Kind(place, None)
    texts = _texts(parts["templates"], f"templates of {name}")
    for text in texts:
        template = Template(text)
        used = set(template.get_identifiers()) if template.is_valid() else set()
        if used not in ({"name"}, {"group"}):
            message = f"a template of {name} must hold $name or $group, and needs $$ for a dollar sign, given {text!r}"
            raise _LineError(parts["templates"], message)
    return _Kind(place, texts)


def _of_group(attribute: str, group: str, node: yaml.Node, kinds: Mapping[str, _Kind]) -> list[Cue]:
    """The cues of one group, of all kinds."""
    own = {name for name, kind in kinds.items() if kind.templates is None}
    parts = _mapping(node, group, {"group", "name", *own})
    found = []
    for name, kind in kinds.items():
        texts = _filled(group, node, parts, kind.templates) if kind.templates else _given(group, node, parts, name)
        if len(set(texts)) < len(texts):
            raise _LineError(parts.get(name, node), f"{name} of {group} says the same twice; each wording must be new")
        found += [Cue(attribute, group, name, number, kind.place, text) for number, text in enumerate(texts)]
    return found


def _given(group: str, node: yaml.Node, parts: Mapping[str, yaml.Node], name: str) -> tuple[str, ...]:
    if name not in parts:
        raise _LineError(node, f"{group} has no texts of the kind {name}, which has no templates; give it a list")
    return _texts(parts[name], f"{name} of {group}")


def _filled(group: str, node: yaml.Node, parts: Mapping[str, yaml.Node], templates: tuple[str, ...]) -> tuple[str, ...]:
    """Templates with this group's names, one after the other, or with what it is called."""
    names: tuple[str, ...] = ()
    if any("name" in Template(text).get_identifiers() for text in templates):
        if "name" not in parts:
            raise _LineError(node, f"{group} has no name; give it a list of names, one for each template")
        names = _texts(parts["name"], f"name of {group}")
        if len(names) != len(templates):
            message = f"{group} has {len(names)} names for {len(templates)} templates; give as many"
            raise _LineError(parts["name"], message)
    elif "group" not in parts:
        raise _LineError(node, f"{group} has no group; give it the words that fill $group, such as 'a woman'")
    said = _text(parts["group"], f"group of {group}") if "group" in parts else ""
    return tuple(
        Template(text).substitute(name=names[number] if names else "", group=said)
        for number, text in enumerate(templates)
    )


def _mapping(node: yaml.Node | None, what: str, known: set[str] | None = None) -> dict[str, yaml.Node]:
    if not isinstance(node, yaml.MappingNode) or not node.value:
        raise _LineError(node, f"{what} must hold keys and values")
    found: dict[str, yaml.Node] = {}
    for key, value in node.value:
        name = _text(key, f"a key of {what}")
        if name in found:
            raise _LineError(key, f"{name} is given twice; give it once")
        if known is None and not WORD.fullmatch(name):
            message = f"a key of {what} must be small letters, digits and hyphens, at most 40, given {quoted(name)}"
            raise _LineError(key, message)
        if known is not None and name not in known:
            raise _LineError(key, f"{what} has no {quoted(name)}; it may hold {', '.join(sorted(known))}")
        found[name] = value
    return found


def _texts(node: yaml.Node, what: str) -> tuple[str, ...]:
    if not isinstance(node, yaml.SequenceNode) or not INSTANCES[0] <= len(node.value) <= INSTANCES[1]:
        given = f"{len(node.value)}" if isinstance(node, yaml.SequenceNode) else "no list"
        raise _LineError(node, f"{what} must be a list of {INSTANCES[0]} to {INSTANCES[1]} texts, given {given}")
    return tuple(_text(one, what) for one in node.value)


def _text(node: yaml.Node, what: str) -> str:
    if not isinstance(node, yaml.ScalarNode) or not node.value.strip():
        raise _LineError(node, f"{what} must be a text")
    if len(node.value) > LONGEST or not node.value.isprintable():
        raise _LineError(node, f"{what} must be one line of at most {LONGEST} characters")
    return str(node.value).strip()
