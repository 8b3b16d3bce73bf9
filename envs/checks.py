"""Settings are typed data: dataclasses whose fields carry their bounds. Pydantic checks them; the errors are ours."""

import dataclasses
import difflib
import functools
from collections.abc import Iterable, Mapping, Sequence
from types import NoneType
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from pydantic import AllowInfNan, BeforeValidator, ConfigDict, Field, Strict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked_dataclass

LONGEST_INTEGER = 64  # bits; more are not shown
BRIEF = 200  # characters of a value in an error

Section = TypeVar("Section")


def _scalar(value: object) -> object:
    """A number of Python's where NumPy's was given; without an import of NumPy, which a quick command does not need."""
    return value.item() if getattr(value, "shape", None) == () else value  # type: ignore[attr-defined]


Whole = Annotated[int, Strict(), BeforeValidator(_scalar)]
"""A whole number, NumPy's too; neither text nor True."""
Real = Annotated[float, Strict(), BeforeValidator(_scalar), AllowInfNan(False)]
"""A finite number, whole numbers and NumPy's too; neither text nor True."""
Switch = Annotated[bool, Strict(), BeforeValidator(_scalar)]
"""True or false; neither 0 nor text."""
Text = Annotated[str, Strict()]

Count = Annotated[Whole, Field(ge=1)]
Share = Annotated[Real, Field(ge=0, le=1)]
AboveZero = Annotated[Real, Field(ge=1e-9)]
LARGEST = 1e6
"""The most of a strength that is multiplied and summed up: beyond it single precision would overflow."""
Strength = Annotated[Real, Field(ge=0, le=LARGEST)]

KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text", NoneType: "null"}

if TYPE_CHECKING:  # mypy knows dataclasses best by their own name
    from dataclasses import dataclass as settings

    __all__ = ["settings"]
else:

    def settings(*, frozen: bool = True):
        """A dataclass of settings: every field is checked when one is made, whoever makes it.

        A class that holds others is made of them, or of dictionaries with the values that differ from their defaults.
        `SECTION` names the class in errors; its own name does otherwise.

        Raises:
            ValueError: an unknown name, or a value outside its range.
            TypeError: a value of a wrong type.
        """

        def make(cls: type) -> type:
            made = checked_dataclass(frozen=frozen, config=ConfigDict(extra="forbid"))(cls)
            checked = made.__init__

            @functools.wraps(checked)
            def init(self: Any, *args: Any, **values: Any) -> None:
                try:
                    checked(self, *args, **values)
                except ValidationError as error:
                    raise refusal(error, made) from None

            made.__init__ = init
            return made

        return make


def build(owner: type[Section], values: Mapping[str, Any], section: str | None = None) -> Section:
    """An instance of a class made by `settings`, of nested dictionaries.

    Args:
        owner: the class. values: by field. section: its name in errors, instead of the class's own; may be empty.

    Raises:
        ValueError: an unknown name, or a value outside its range.
        TypeError: a value of a wrong type.
    """
    try:
        return TypeAdapter(owner).validate_python(dict(values))
    except ValidationError as error:
        raise refusal(error, owner, section) from None


def merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Nested dictionaries laid over others: what is not named stays."""
    both = dict(old)
    for name, value in new.items():
        inside = both.get(name)
        both[name] = merged(inside, value) if isinstance(inside, Mapping) and isinstance(value, Mapping) else value
    return both


def refusal(error: ValidationError, owner: type, section: str | None = None) -> Exception:
    """The first thing that is wrong, in one sentence: the name, what is allowed, what was given."""
    found = error.errors(include_url=False)[0]
    prefix = _section(owner) if section is None else section
    if found["type"] in ("value_error", "assertion_error"):
        return ValueError(str(found["ctx"]["error"]))
    holder: Any = owner
    path = [prefix] if prefix else []
    *outer, name = map(str, found["loc"])
    for part in outer:
        inside = field_type(holder, part)
        if not dataclasses.is_dataclass(inside):
            name = part  # what follows is a place inside of a list
            break
        path.append(part)
        holder = inside
    path.append(name)
    dotted = ".".join(path)
    if found["type"] in ("unexpected_keyword_argument", "unexpected_positional_argument"):
        known = [field.name for field in dataclasses.fields(holder)]
        before = ".".join(path[:-1]) + "." if path[:-1] else ""
        return ValueError(
            f"unknown key {dotted}.{did_you_mean(name, known, before) or ' There are ' + ', '.join(known)}"
        )
    kind = field_type(holder, name)
    too_large = found["type"] == "float_type" and type(found["input"]) is int
    wrong_type = found["type"].endswith("_type") and not too_large
    return (TypeError if wrong_type else ValueError)(f"{dotted} must be {allowed(kind)}, given {shown(found['input'])}")


def _section(owner: type) -> str:
    return str(getattr(owner, "SECTION", owner.__name__.lower()))


@functools.cache
def _hints(owner: type) -> dict[str, Any]:
    return get_type_hints(owner, include_extras=True)


def field_type(owner: type, name: str) -> Any:
    """The annotation of a field, with its bounds."""
    return _hints(owner)[name]


def allowed(kind: Any) -> str:
    """What a field takes, in words: "a whole number from 1 to 1,000", "'click' or 'rating'"."""
    if get_origin(kind) is Annotated:
        inner, *marks = get_args(kind)
        low, high = _bounds(marks)
        return allowed(inner) + _range(low, high)
    if get_origin(kind) is Literal:
        *choices, last = map(repr, get_args(kind))
        return f"{', '.join(choices)} or {last}" if choices else last
    if dataclasses.is_dataclass(kind):
        first = dataclasses.fields(kind)[0]
        default = first.default if first.default is not dataclasses.MISSING else "..."
        return f"a dictionary such as {{{first.name!r}: {default!r}}} or a {kind.__name__}"  # type: ignore[union-attr]
    if get_origin(kind) is list:
        return "a list"
    if get_origin(kind) is dict:
        return "a section of a recipe file"
    if kind in KINDS:
        return KINDS[kind]
    return " or ".join(map(allowed, get_args(kind))) or getattr(kind, "__name__", str(kind))


def _bounds(marks: Sequence[Any]) -> tuple[float | None, float | None]:
    """The least and the most that are allowed, None where there is no bound."""
    bounds = [inner for mark in marks for inner in getattr(mark, "metadata", (mark,))]
    low = [getattr(mark, "ge", None) for mark in bounds]
    high = [getattr(mark, "le", None) for mark in bounds]
    return next((x for x in low if x is not None), None), next((x for x in high if x is not None), None)


def _range(low: float | None, high: float | None) -> str:
    if low is None and high is None:
        return ""
    if high is None:
        return f" of at least {number(low)}"
    return f" from {number(low)} to {number(high)}" if low is not None else f" of at most {number(high)}"


def number(value: Any) -> str:
    """A bound as people write it: 1,000,000 and 0.05."""
    return f"{int(value):,}" if value == int(value) else f"{value:g}"


def shown(value: object) -> str:
    """A value as an error shows it: what is long is cut."""
    if isinstance(value, int) and value.bit_length() > LONGEST_INTEGER:
        return f"an integer of {value.bit_length():,} bits"
    text = repr(value)
    return text if len(text) <= BRIEF else f"{text[:BRIEF]}..."


def check_type(name: str, value: object, kind: Any) -> None:
    """Refuse an argument that is not of a type, `True` as a number among them, with an error that names it.

    Raises:
        TypeError: the message says what must be given.
    """
    noun = getattr(kind, "__name__", str(kind))
    words = KINDS.get(kind, f"{'an' if noun[0] in 'AEIOU' else 'a'} {noun}")
    plain = _scalar(value)
    if not isinstance(plain, kind) or (kind is int and isinstance(plain, bool)):
        raise TypeError(f"{name} must be {words}, given {value!r}")


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
