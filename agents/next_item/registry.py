"""The rows of `lerl rank` by name, their controls, and what they are as agents: what a new row is added to."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, fields, replace
from types import MappingProxyType
from typing import Any, NamedTuple

from lerl.agents.generative.mdgr import MDGR
from lerl.agents.generative.s2gr import S2GR
from lerl.agents.generative.tca import S2GRTCA, TCA
from lerl.agents.generative.tiger import Tiger
from lerl.agents.next_item.base import NextItem
from lerl.agents.next_item.cached_sasrec import CollectiveSASRec, ItemsSASRec, LowRankSASRec, OwnSASRec
from lerl.agents.next_item.counts import Counts
from lerl.agents.next_item.hstu import HSTU
from lerl.agents.next_item.popularity import Popularity
from lerl.agents.next_item.sasrec import SASRec
from lerl.agents.next_item.together import TextPairs, Together
from lerl.envs.checks import did_you_mean

ROWS: dict[str, type[NextItem]] = {
    "popularity": Popularity, "counts": Counts, "sasrec": SASRec, "hstu": HSTU, "tiger": Tiger,
    "s2gr": S2GR,
    "tiger+tca": TCA,
    "s2gr+tca": S2GRTCA,
    "mdgr": MDGR,
    "together": Together,
    "jima-pairs": TextPairs,
    "sasrec+items": ItemsSASRec,
    "sasrec+collective": CollectiveSASRec,
    "sasrec+lowrank": LowRankSASRec,
    "sasrec+own": OwnSASRec,
}  # fmt: skip
"""Every recommender, by the name that flags, files and tables give it."""

IN_SESSIONS: dict[str, type[NextItem]] = {
    name: row.session_row or row for name, row in ROWS.items() if row.learns and row.plays
}
"""Those that are agents of `lerl train` too, and what each is there."""

READS = ("train.hidden", "train.learning_rate")
"""The keys of a recipe that mean something to them there."""

ALWAYS = ("popularity", "counts")
"""Those that stand in every table: no figure means anything without them."""


class Claim(NamedTuple):
    """What a row may say of itself beside another row, and when.

    Attributes:
        row, beside: two rows. isolates: in what they differ, in a few words.
        margin: what the lower bound of the relative difference has to be above; below 0 for "not worse".
        least: what the relative difference itself has to reach.
    """

    row: str
    beside: str
    isolates: str
    margin: float = 0.0
    least: float = 0.0


class Control(NamedTuple):
    """A row that differs from another in one thing, so that it says what that thing is worth.

    Attributes:
        of: the row that it controls. row: whose class it is.
        fixed: settings that it has whatever is given: a mapping, or a function of the settings of `of`. All others are
            those of `of`, as far as its class has them.
        isolates, margin, least: as in `Claim`.
    """

    of: str
    row: str
    fixed: Mapping[str, Any] | Callable[[Any], Mapping[str, Any]]
    isolates: str
    margin: float = 0.0
    least: float = 0.0

    def settings(self, given: Any) -> Any:
        """Its settings, where those of the row that it controls are `given`."""
        made = ROWS[self.row].Settings()
        own = {one.name for one in fields(made)}
        taken = {name: value for name, value in asdict(given).items() if name in own}
        return replace(made, **{**taken, **self.fixes(given)})

    def fixes(self, given: Any) -> dict[str, Any]:
        """The settings that are fixed."""
        return dict(self.fixed(given) if callable(self.fixed) else self.fixed)


def _of_teacher(row: str, student: str) -> dict[str, Control]:
    """The controls of a row that has a teacher."""
    return {
        f"{row}-shuffled": Control(row, row, {"teacher": "shuffled"}, "what the teacher says of this list"),
        f"{row}-smoothed": Control(
            row, student, lambda given: {"smoothing": given.alpha}, "who gets the share of the teacher", least=0.02
        ),
        f"{row}-teacher": Control(
            row, "sasrec", lambda given: asdict(given.of_teacher), "what it adds to its teacher alone"
        ),
    }


CONTROLS: dict[str, Control] = {
    "tiger-random": Control("tiger", "tiger", {"codes": "random"}, "what digits mean"),
    "s2gr-plain": Control("s2gr", "tiger", {}, "thoughts, over the same codes"),
    "s2gr-unaligned": Control("s2gr", "s2gr", {"align": 0.0}, "alignment with groups of codes"),
    "s2gr-unsmoothed": Control("s2gr", "s2gr", {"smooth": 0.0}, "vectors smoothed by co-occurrence"),
    **_of_teacher("tiger+tca", "tiger"),
    **_of_teacher("s2gr+tca", "s2gr"),
    "mdgr-uniform": Control("mdgr", "mdgr", {"masks": "uniform"}, "masks that are adapted"),
    "mdgr-serial": Control("mdgr", "tiger", {}, "digits in any order", margin=-0.02),
}
"""Rows that isolate a claim, by name."""

BASES: dict[str, tuple[str, str]] = {
    "s2gr": ("tiger", "thoughts and codes"), "tiger+tca": ("tiger", "a teacher"), "s2gr+tca": ("s2gr", "a teacher"),
}  # fmt: skip
"""Rows that are another row with something more: the other, and what more."""

CACHED = "sasrec+collective"
BESIDE: tuple[Claim, ...] = (
    Claim(CACHED, "sasrec", "keys and values in a few bytes", margin=-0.03, least=-0.01),
    Claim(CACHED, "sasrec+lowrank", "a pool that all share, at no more bytes"),
    Claim(CACHED, "sasrec+own", "a pool that all share, at no more bytes"),
)
"""Other claims of rows beside rows."""


def row_class(name: str) -> type[NextItem]:
    """The class of a row, or of a control.

    Raises:
        ValueError: there is none of that name.
    """
    known = {**ROWS, **{control: ROWS[one.row] for control, one in CONTROLS.items()}}
    if name not in known:
        raise ValueError(
            f"no row {name!r}; there are {', '.join(ROWS)}, and controls {', '.join(CONTROLS)}."
            f"{did_you_mean(name, known)}"
        )
    return known[name]


def controls_of(rows: Mapping[str, Any]) -> list[str]:
    """The rows beside which the claims of rows are judged, by their settings: what they build on, and controls.

    A control that would be the row itself is left out, and one that would be another control.
    """
    found = [BASES[row][0] for row in rows if row in BASES] + [one.beside for one in BESIDE if one.row in rows]
    trained = [(CONTROLS[name].row, settings) for name, settings in rows.items() if name in CONTROLS]
    for name, one in CONTROLS.items():
        if one.of in rows and name not in rows:
            settings = one.settings(rows[one.of])
            if settings != rows[one.of] and (one.row, settings) not in trained:
                found.append(name)
                trained.append((one.row, settings))
    return list(dict.fromkeys(found))


def claims_of(rows: Iterable[str], settings: Mapping[str, Mapping[str, Any]] = MappingProxyType({})) -> list[Claim]:
    """All claims of which both rows are among these, in the order of rows.

    Args:
        rows: by name. settings: of them, by row and field: with these, a control that is not among the rows is stood
            for by another that is trained as it would be.
    """
    there = list(rows)
    found = [Claim(row, *BASES[row]) for row in there if row in BASES] + list(BESIDE)
    for name, one in CONTROLS.items():
        found.append(Claim(one.of, name if name in there else _equal(one, there, settings) or name, *one[3:]))
    found = [one for one in found if {one.row, one.beside} <= set(there)]
    return sorted(found, key=lambda one: there.index(one.row))


def _equal(control: Control, rows: Iterable[str], settings: Mapping[str, Mapping[str, Any]]) -> str | None:
    """The control among rows that is trained as this one would be, None for none."""
    if control.of not in settings:
        return None
    wanted = asdict(control.settings(ROWS[control.of].Settings(**settings[control.of])))
    same = (row for row in rows if row in CONTROLS and CONTROLS[row].row == control.row)
    return next((row for row in same if settings[row] == wanted), None)


def all_settings(names: Iterable[str], given: Mapping[str, Mapping[str, str]], epochs: int | None) -> dict[str, Any]:
    """Settings of rows and controls, by name.

    Args:
        names: of them. given: as text, by row and field. epochs: of a training, at most; None for those of the row.

    Raises:
        ValueError: there is no such setting or it is not allowed, a control is given settings of its own, or a control
            would be the row that it controls.
    """
    found = {}
    for name in names:
        control = CONTROLS.get(name)
        of = control.of if control else name
        settings = _capped(row_settings(of, given.get(of, {})), epochs)
        if control:
            own = control.settings(settings)
            if name in given:
                fixed = ", ".join(f"{field} {value}" for field, value in control.fixes(settings).items())
                but = f", but for {fixed}" if fixed else ""
                raise ValueError(
                    f"--{name}.{next(iter(given[name]))}: {name} is a control, its settings are those of {of}{but}; "
                    f"use --{of}.SETTING"
                )
            if own == settings:
                raise ValueError(f"{name} would be {of} itself by these settings; leave out one of both")
            settings = own
        found[name] = settings
    return found


def _capped(settings: Any, epochs: int | None) -> Any:
    """The settings with at most so many epochs of each training, where there are any."""
    if epochs is None:
        return settings
    names = [one.name for one in fields(settings) if one.name in ("epochs", "teacher_epochs", "whole_epochs")]
    return replace(settings, **{name: min(epochs, getattr(settings, name)) for name in names})


def session_row(name: str, items: int, width: int, rate: float) -> NextItem:
    """A new row for sessions, one of IN_SESSIONS, of `train.hidden` width and `train.learning_rate`."""
    row = IN_SESSIONS[name]
    return row(items, row.sized(width, rate))


def row_settings(name: str, given: Mapping[str, str]) -> Any:
    """Settings of a row: its defaults, and what is given as text instead, by field.

    Raises:
        ValueError: the row has no such setting, or the text cannot be one.
    """
    settings = row_class(name).Settings()
    known = {one.name: one.type for one in fields(settings)}
    read = {}
    for field, text in given.items():
        if field not in known:
            allowed = ", ".join(f"--{name}.{one}" for one in known) or "none"
            raise ValueError(f"--{name}.{field} is no setting; of {name} there are: {allowed}")
        kind = type(getattr(settings, field))
        try:
            read[field] = kind(text)
        except ValueError as error:
            what = "a whole number" if kind is int else "a number"
            raise ValueError(f"--{name}.{field} must be {what}, given {text!r}") from error
    return replace(settings, **read)
