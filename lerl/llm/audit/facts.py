"""What a chat model was told of a session, read back from its question, and whether something said of that is true."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lerl.planners.llm.prompt import CTR_WORDS, EXPOSURE_WORDS, EXPOSURES
from lerl.planners.llm.scripted import LINE

LIKED_WORDS = CTR_WORDS[:2]  # "liked", coarse: best or good; a fair category has a tenth of the best one's odds
LIKED_FROM = 0.5  # "liked", full: at or above this quantile of what was offered; nobody is told an absolute bar
SHOWN_FROM = 1  # "shown lately", as number of an exposure word: above none, or in one of the last slates told
MUCH_FROM = 2  # "shown often" and "tired": exposure medium or heavy, as the rule of the prompt's author would rest it
SHORT = 1.0  # "tired": at least one click fewer than promised; less than one click is rounding
KEPT = 0.5  # "as promised": clicks are whole, what was promised is not, so half a click is none
OFTEN = 0.5  # "clicked often": at least half of the items shown
ABOUT = {"percent": 5.0, "slates": 0.3, "clicks": 0.5, "items": 1.0}  # how far off "about" may be
LOST = 0.75  # "tired", with a belief, full: log-odds that boredom costs, from which on the prompt's word is medium
SLATE = re.compile(r"(\d+): ([\d.eE+-]+) of (\d+)")
NAME = re.compile(r'(\d+): (".*")')


@dataclass(frozen=True)
class Facts:
    """What a question says of one category.

    Attributes:
        liking: percent in [0, 100], or best, good, fair or poor; None where nothing is said.
        exposure: slates, from 0, or none, light, medium or heavy; None likewise.
        shown, clicked: items of the last twenty slates; 0 where a question of full detail says nothing, None where
            detail is coarse. promised: clicks that the liking had promised for them, None likewise.
        tired: percent of clicks that boredom leaves, or none to heavy; None where no agent with a belief is planned
            for.
    """

    liking: float | str | None
    exposure: float | str | None
    shown: int | None
    clicked: int | None
    promised: float | None
    tired: float | str | None = None

    def __str__(self) -> str:
        liking = f"{self.liking:g}%" if isinstance(self.liking, float) else self.liking
        exposure = f"{self.exposure:.1f}" if isinstance(self.exposure, float) else self.exposure
        parts = {"liking": liking, "exposure": exposure, "shown": self.shown, "clicked": self.clicked}
        told = {**parts, "promised": self.promised if self.shown else None, "tiredness": self.tired}
        return ", ".join(f"{name} {value}" for name, value in told.items() if value is not None) or "nothing"


@dataclass(frozen=True)
class Given:
    """What was known of a session when its plan was made, and the plan.

    Attributes:
        names: of all C categories, as the question has them. facts: of those offered, by id.
        slates: the last ones, at most five, oldest first: id -> (clicked, shown); empty where detail is coarse.
        allowed, avoid: ids, the plan's.
    """

    names: tuple[str, ...]
    facts: Mapping[int, Facts]
    slates: tuple[Mapping[int, tuple[int, int]], ...]
    allowed: tuple[int, ...]
    avoid: tuple[int, ...]


def given(system: str, user: str, allowed: Sequence[int], avoid: Sequence[int]) -> Given:
    """What the question behind a plan said, also of a recorded run.

    Args:
        system: the part that is the same for everybody, with the names. user: the state of the session.
        allowed, avoid: ids of the plan.

    Raises:
        ValueError: the texts are not those of lerl's own prompts.
    """
    listed = sorted((int(found[1]), _name(found[2])) for line in system.splitlines() if (found := NAME.fullmatch(line)))
    names = [name for _, name in listed]
    lines = user.splitlines()
    facts = {int(found["id"]): _facts(found) for line in lines if (found := LINE.fullmatch(line))}
    coarse = all(fact.shown is None for fact in facts.values())
    history = [line for line in lines if SLATE.match(line)]
    whole = [number for number, _ in listed] == list(range(len(names)))  # the lines may stand in any order
    if not whole or not facts or max(facts) >= len(names) or not re.search(r"^Allow at most \d+", user, re.MULTILINE):
        raise ValueError(
            "claims are judged by questions of no prompts but lerl's own, and this one has other words; "
            "take a run without planner.prompts"
        )
    slates = [
        {int(c): (round(float(clicked)), int(shown)) for c, clicked, shown in SLATE.findall(line)} for line in history
    ]
    told = () if coarse else tuple(slates)
    return Given(tuple(names), facts, told, tuple(map(int, allowed)), tuple(map(int, avoid)))


def against(known: Given, shown: Sequence[int], clicked: Sequence[int]) -> Given:
    """The same with the counts of what was really shown and clicked, to judge claims by instead of by the question.

    Args:
        known: what the question said. shown, clicked: (C,) int, of the twenty slates before the plan, as the simulator
        counted them; of all C categories, so that those not offered are known as well.

    Raises:
        ValueError: the counts are of another number of categories.
    """
    if not len(shown) == len(clicked) == len(known.names):
        raise ValueError(
            f"counts must be of {len(known.names)} categories, given {len(shown)} shown and {len(clicked)} clicked"
        )
    nothing = Facts(None, None, None, None, None)
    facts = {
        c: replace(known.facts.get(c, nothing), shown=int(shown[c]), clicked=int(clicked[c]))
        for c in range(len(known.names))
        if c in known.facts or shown[c] > 0
    }
    return replace(known, facts=facts)


def _name(quoted: str) -> str:
    try:
        return str(json.loads(quoted))
    except ValueError:
        return quoted.strip('"')


def _facts(line: re.Match[str]) -> Facts:
    said = line["liking"]
    coarse = not said.endswith("%")
    liking = said if coarse else float(said[:-1])
    exposure = line["exposure"] if coarse else float(line["exposure"])
    tired = line["tired"] or (float(line["left"]) if line["left"] else None)
    if coarse:
        return Facts(liking, exposure, None, None, None, tired)
    return Facts(
        liking, exposure, int(line["shown"] or 0), int(line["clicked"] or 0), float(line["promised"] or 0.0), tired
    )


@dataclass(frozen=True)
class Amount:
    """A number that was said: how it compares (=, <, >, <=, >= or ~) and what a step of its last digit is worth."""

    value: float
    sign: str = "="
    step: float = 1.0


@dataclass(frozen=True)
class Said:
    """One thing said of a category, before it is known of which.

    Attributes:
        kind: as of a `Claim`. what: which of the things of that kind; a measure where kind is rank or more.
        amount, of: numbers. word: of a question. rank: 1 is the most, -1 the least; 0 in the upper, half.
        others: ids compared with. window: slates looked at, 0 for lately, None for the twenty.
        negated: whether it is denied.
        place: where the category stands: "object" behind it where there is one, "noun" behind a preposition as well,
            "left" before it, or "any".
    """

    kind: str
    what: str
    amount: Amount | None = None
    of: Amount | None = None
    word: str = ""
    rank: int = 0
    others: tuple[int, ...] = ()
    window: int | None = None
    negated: bool = False
    place: str = "any"


def verdict(said: Said, category: int, together: int, known: Given) -> tuple[bool, str]:
    """Whether it is true, and the text that decides it, for a person.

    Args:
        said: what is said. category: of which. together: of how many it is said at once ("the two most liked").
        known: what was given. Of what was not told nothing is true, not even its opposite: it was made up.
    """
    name = f"{category}: {known.names[category]}"
    if said.kind == "plan":
        true = _plan(said.what, category, known)
        return true != said.negated, f"the plan allows {list(known.allowed)} and avoids {list(known.avoid)}"
    fact = known.facts.get(category)
    if fact is None:
        return False, f"{name}: the question does not offer it"
    holds = _holds(said, category, fact, together, known)
    evidence = f"{name}: {fact}{_beside(said, category, known)}"
    if holds is None:
        return False, f"{evidence}; the question does not say more"
    return holds != said.negated, evidence


def _plan(what: str, category: int, known: Given) -> bool:
    allowed = category in known.allowed and category not in known.avoid
    return {"allow": allowed, "avoid": category in known.avoid, "out": not allowed}[what]


def _beside(said: Said, category: int, known: Given) -> str:
    """What else decides it: the other categories, the median, or the last slates."""
    if said.kind == "more":
        return "".join(f"; {other}: {known.facts.get(other, 'not offered')}" for other in said.others)
    if said.kind == "rank":
        order = _ordered(said.what, known)
        return "; most first: " + ", ".join(map(str, order)) if order else ""
    if said.kind == "liking" and said.what in ("high", "low") and isinstance(known.facts[category].liking, float):
        return f"; half of those offered have {_median(known):g}% or more"
    if said.window is not None and known.slates:
        last = known.slates[-(said.window or len(known.slates)) :]
        return "; last slates: " + ", ".join(f"{slate[category][1]}" if category in slate else "0" for slate in last)
    return ""


def _holds(said: Said, category: int, fact: Facts, together: int, known: Given) -> bool | None:
    """Whether it is true when not denied; None where nothing was told of it."""
    match said.kind:
        case "liking":
            return _liking(said, category, fact, known)
        case "exposure":
            return _exposure(said, fact)
        case "shown":
            return _shown(said, category, fact, known)
        case "clicked":
            return _clicked(said, category, fact, known)
        case "promised":
            return _promised(said, fact)
        case "tired":
            return _tired(fact)
        case "rank":
            return _ranked(said, category, together, known)
    return _more(said, category, known)


def _median(known: Given) -> float:
    told = [fact.liking for fact in known.facts.values() if isinstance(fact.liking, float)]
    return float(np.quantile(told, LIKED_FROM))


def _liking(said: Said, category: int, fact: Facts, known: Given) -> bool | None:
    liking = fact.liking
    if liking is None:
        return None
    if isinstance(liking, str):
        if said.what == "value":
            return None
        if said.what == "word":
            return liking == said.word
        return (liking in LIKED_WORDS) == (said.what == "high")
    if said.what == "value" and said.amount is not None:
        return _fits(said.amount, liking, "percent")
    if said.word == "best":
        return _ranked(replace(said, what="liking", rank=1), category, 1, known)
    high = said.what == "high" or said.word == "good"
    return (liking >= _median(known)) == high


def _level(exposure: float | str) -> int:
    """Number of the word for an exposure."""
    return EXPOSURE_WORDS.index(exposure) if isinstance(exposure, str) else int(np.abs(EXPOSURES - exposure).argmin())


def _exposure(said: Said, fact: Facts) -> bool | None:
    exposure = fact.exposure
    if exposure is None:
        return None
    if said.what == "value" and said.amount is not None:
        if isinstance(exposure, str):  # a number was not told, but the prompt says what the words stand for
            told = {word: float(slates) for word, slates in zip(EXPOSURE_WORDS, EXPOSURES, strict=True)}
            return told[exposure] == said.amount.value if said.amount.value in told.values() else None
        return _fits(said.amount, exposure, "slates")
    if said.what == "word":
        faint = isinstance(exposure, float) and exposure > 0 and said.word == "light"
        return EXPOSURE_WORDS[_level(exposure)] == said.word or (faint and _level(exposure) == 0)
    return (_level(exposure) >= MUCH_FROM) == (said.what == "high")


def _within(window: int, category: int, known: Given) -> tuple[int, int]:
    """(clicked, shown) of the last slates told, so many or, where it is 0, all of them."""
    last = [slate.get(category, (0, 0)) for slate in known.slates[-window:]]
    return sum(clicked for clicked, _ in last), sum(shown for _, shown in last)


def _shown(said: Said, category: int, fact: Facts, known: Given) -> bool | None:
    told = [category in slate for slate in known.slates[-(said.window or 0) :]]
    if said.what == "slates" and said.amount is not None:
        return _fits(said.amount, sum(told), "items") if known.slates else None
    exposed = None if fact.exposure is None else _level(fact.exposure) >= SHOWN_FROM
    short = said.window is not None and 0 < said.window <= 5 and bool(known.slates)
    if said.what == "times" and said.amount is not None:
        if short and said.window is not None:
            return _fits(said.amount, _within(said.window, category, known)[1], "items")
        return None if fact.shown is None else _fits(said.amount, fact.shown, "items")
    if short:
        return any(told)
    if said.window == 0 or fact.shown is None:
        return None if exposed is None and not told else bool(exposed) or any(told)
    return fact.shown > 0


def _clicked(said: Said, category: int, fact: Facts, known: Given) -> bool | None:
    clicked, shown = fact.clicked, fact.shown
    if said.window is not None and known.slates and said.window <= 5:
        clicked, shown = _within(said.window, category, known)
        if said.window == 0 and said.what in ("times", "rate") and _count(said, fact.clicked, fact.shown):
            return True  # "lately" may be the twenty slates of the question as well
    if clicked is None or shown is None:
        return None
    return _count(said, clicked, shown)


def _count(said: Said, clicked: int | None, shown: int | None) -> bool:
    if clicked is None or shown is None:
        return False
    match said.what:
        case "times":
            return said.amount is not None and _fits(said.amount, clicked, "items")
        case "rate":
            both = ((said.amount, clicked), (said.of, shown))
            return all(amount is not None and _fits(amount, value, "items") for amount, value in both)
        case "percent":
            return bool(shown) and said.amount is not None and _fits(said.amount, 100 * clicked / shown, "percent")
        case "all":
            return 0 < shown == clicked
        case "ignored":
            return clicked == 0 < shown
        case "often":
            return clicked > 0 and clicked >= OFTEN * shown
        case "few":
            return clicked < OFTEN * shown or clicked == 0
    return clicked > 0


def _promised(said: Said, fact: Facts) -> bool | None:
    if fact.promised is None or fact.clicked is None:
        return None
    if said.what == "value" and said.amount is not None:
        return _fits(said.amount, fact.promised, "clicks")
    more = fact.clicked - fact.promised
    return {"fewer": more < 0, "more": more > 0, "kept": more >= -KEPT}[said.what]


def _tired(fact: Facts) -> bool | None:
    if isinstance(fact.tired, str):
        return EXPOSURE_WORDS.index(fact.tired) >= MUCH_FROM
    if isinstance(fact.tired, float) and isinstance(fact.liking, float):
        before, after = (min(max(percent / 100, 0.001), 0.999) for percent in (fact.liking, fact.tired))
        return math.log(before / (1 - before)) - math.log(after / (1 - after)) >= LOST
    much = fact.exposure is not None and _level(fact.exposure) >= MUCH_FROM
    short = fact.promised is not None and fact.clicked is not None and fact.promised - fact.clicked >= SHORT
    return much or short


def _measure(what: str, fact: Facts | None) -> float | None:
    """How much a category has of a measure."""
    if fact is None:
        return None
    value: Any = getattr(fact, what)
    if value is None and what == "shown":
        value = fact.exposure
    if isinstance(value, str):
        return float(-CTR_WORDS.index(value)) if value in CTR_WORDS else float(EXPOSURE_WORDS.index(value))
    return None if value is None else float(value)


def _ordered(what: str, known: Given) -> list[int]:
    """Categories offered of which it is told, the most first."""
    told = {c: value for c, fact in known.facts.items() if (value := _measure(what, fact)) is not None}
    return sorted(told, key=lambda c: (-told[c], c))


def _ranked(said: Said, category: int, together: int, known: Given) -> bool | None:
    own = _measure(said.what, known.facts.get(category))
    if own is None:
        return None
    values = [_measure(said.what, known.facts[c]) for c in _ordered(said.what, known)]
    sign = -1 if said.rank < 0 else 1
    better = sum(value is not None and sign * value > sign * own for value in values)
    if said.amount is not None:
        together = max(together, int(said.amount.value))
    if said.word == "half":
        return better < len(values) / 2
    if abs(said.rank) > 1:  # the second, say: with ties, wherever it may stand
        equal = sum(value == own for value in values)
        return better < abs(said.rank) <= better + equal
    return better < together


def _more(said: Said, category: int, known: Given) -> bool | None:
    own = _measure(said.what, known.facts.get(category))
    others = [_measure(said.what, known.facts.get(other)) for other in said.others]
    if own is None or any(other is None for other in others):
        return None
    return all(other is not None and said.rank * own > said.rank * other for other in others)


def _fits(said: Amount, true: float, unit: str) -> bool:
    """Whether a number was said rightly: rounded as it was written; an amount of 0 stands for none at all."""
    off = said.step / 2 if unit in ("slates", "clicks") and said.value else 0.05
    if unit == "percent":
        off = 0.5
    match said.sign:
        case "<":
            return true < said.value
        case ">":
            return true > said.value
        case "<=":
            return true <= said.value
        case ">=":
            return true >= said.value
        case "~":
            return abs(true - said.value) <= max(ABOUT[unit], off) + 1e-9
    return abs(true - said.value) <= off + 1e-9
