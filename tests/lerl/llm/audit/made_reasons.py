"""Made explanations of plans, of which it is known which claims are false.

The phrasings were written before anything that reads them, and truth is decided here, from the numbers of a made
session, by code that shares nothing with lerl.llm.audit. `HELD_OUT` was not looked at while the reader was written.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np

from lerl.planners.llm.prompt import CTR_WORDS, EXPOSURE_WORDS, EXPOSURES, Prompts, States

CATALOGS = (
    ("Drama", "Comedy", "Thriller", "Action", "Romance", "Documentary", "Animation", "Horror"),
    ("Rock", "Folk Rock", "Hip-Hop", "R&B", "Jazz", "Folk", "Rock and Roll", "K-Pop (new)", "Drum & Bass"),
    (
        "Children's",
        "Film-Noir",
        "Sci-Fi",
        "(no genres listed)",
        "War",
        "IMAX",
        "Mystery",
        "Crime",
        "Western",
        "Musical",
    ),
    ("Health", "Other", "New", "Local news", "Sport", "Politics", "Arts, Crafts", "Science"),
    ("剧情", "喜剧", "动作片", "动作", "80s Pop", "Café", "O'Reilly", "Top 40", "Éducation"),
    ("science fiction", "fantasy", "young adult", "poetry", "self-help", "cooking"),
)

# What is said, and the claims in it: a fact and what it is of. Letters are categories, all different; n, m and so on
# are numbers, made up to be right or wrong.
PHRASES = (
    ("{x} is liked", "liked x"),
    ("the user likes {x}", "liked x"),
    ("{x} and {y} are well liked", "liked x, liked y"),
    ("high liking for {x}", "liked x"),
    ("{x}, {y} and {z} have high liking", "liked x, liked y, liked z"),
    ("{x} is disliked", "disliked x"),
    ("the user does not like {x}", "disliked x"),
    ("{x} isn't liked", "disliked x"),
    ("low liking for {x} and {y}", "disliked x, disliked y"),
    ("{x} is liked but tired", "liked x, tired x"),
    ("{x} and {y} are liked but {z} is tired", "liked x, liked y, tired z"),
    ("the user is tired of {x}", "tired x"),
    ("{x} is not tired yet", "fresh x"),
    ("{x} is not tired while {y} is", "fresh x, tired y"),
    ("{x} has not been shown lately", "away x"),
    ("{x} was shown recently", "lately x"),
    ("{x} is rested", "away x"),
    ("liked and rested {x}", "liked x, away x"),
    ("{x} is liked and rested; {y} is neither liked nor rested", "liked x, away x, disliked y, lately y"),
    ("{x} was shown lately and needs a rest", "lately x, tired x"),
    ("{x} is the most liked category", "most_liked x"),
    ("most liked: {x}", "most_liked x"),
    ("{x} is the best liked, {y} the least liked", "most_liked x, least_liked y"),
    ("{x} has the highest liking", "most_liked x"),
    ("{x} is most shown", "most_shown x"),
    ("least shown is {x}", "least_shown x"),
    ("{x} is liked more than {y}", "liked_more x y"),
    ("{x} has a higher liking than {y}", "liked_more x y"),
    ("the user prefers {x} to {y}", "liked_more x y"),
    ("{x} is less liked than {y}", "liked_less x y"),
    ("I allow {x} and {y}", "allowed x, allowed y"),
    ("allow {x} and avoid {y}", "allowed x, avoided y"),
    ("avoid {x}", "avoided x"),
    ("rest {x}", "avoided x"),
    ("{x} is tired, so I avoid it", "tired x, avoided x"),
    ("{x} is allowed because it is liked", "allowed x, liked x"),
    ("giving {x} a rest", "avoided x"),
    ("I pick {x} since the user enjoys it", "allowed x, liked x"),
    ("{x} has {e} exposure", "exposure_word x e"),
    ("exposure to {x} is {e}", "exposure_word x e"),
    ("{x}: liking {w}, exposure {e}", "liking_word x w, exposure_word x e"),
    ("liking for {x} is {w}", "liking_word x w"),
    ("{x} ({p}% liking) is allowed", "liking x p, allowed x"),
    ("{p}% liking for {x}", "liking x p"),
    ("{x} at {p}% and {y} at {q}%", "liking x p, liking y q"),
    ("{x}'s liking is {p}%", "liking x p"),
    ("{x} has exposure {v}", "exposure x v"),
    ("{n} of {m} {x} items clicked", "rate x n m"),
    ("{x}: clicked {n} of {m}", "rate x n m"),
    ("clicked on {n} out of {m} {x}", "rate x n m"),
    ("{x} clicked {nw} times", "clicks x nw"),
    ("{x} was shown {s} times", "shows x s"),
    ("{x} was shown {s} and clicked {n} times", "shows x s, clicks x n"),
    ("{x} has never been clicked", "unclicked x"),
    ("no clicks on {x}", "unclicked x"),
    ("the user clicked {x}", "clicked x"),
    ("{x} was clicked, {y} was not", "clicked x, unclicked y"),
    ("{x} got fewer clicks than promised", "short x"),
    ("{x} got more clicks than promised", "above x"),
    ("{x} is the most clicked", "most_clicked x"),
    ("{x} was clicked more often than {y}", "clicked_more x y"),
    ("{x} was not shown in the last five slates", "gone x"),
    ("{x} (shown {s}, clicked {n}) needs a rest", "shows x s, clicks x n, tired x"),
    ("variety keeps people happy", ""),
    ("a balanced plan over the whole session", ""),
    ("category {xi} is liked and {yi} is tired", "liked x, tired y"),
    ("categories {xi}, {yi} and {zi} are liked", "liked x, liked y, liked z"),
    ("{xi} and {yi} are liked", "liked x, liked y"),
    ("avoid {xi}, allow {yi}", "avoided x, allowed y"),
    ("{x} ({xi}) is liked", "liked x"),
)

HELD_OUT = (
    ("people here enjoy {x}", "liked x"),
    ("{x} is well-liked and has not appeared recently", "liked x, away x"),
    ("there is a strong liking for {x}", "liked x"),
    ("since {x} is liked and {y} tired, {x} comes first", "liked x, tired y, allowed x"),
    ("interest in {x} is low", "disliked x"),
    ("they don't like {x} much", "disliked x"),
    ("boredom with {x}", "tired x"),
    ("{x} shows fatigue", "tired x"),
    ("no sign of tiredness in {x}", "fresh x"),
    ("{x} hasn't been shown recently, so it is rested", "away x, away x"),
    ("we showed {x} recently", "lately x"),
    ("of all categories, {x} is liked best", "most_liked x"),
    ("top liking goes to {x}", "most_liked x"),
    ("the user's least favourite is {x}", "least_liked x"),
    ("{x} has had the most showings", "most_shown x"),
    ("{x} outranks {y} in liking", "liked_more x y"),
    ("liking is higher for {x} than for {y}", "liked_more x y"),
    ("leaving out {x} and including {y}", "skipped x, allowed y"),
    ("{x} stays in, {y} gets a break", "allowed x, avoided y"),
    ("chose {x}, avoided {y}", "allowed x, avoided y"),
    ("with {e} exposure, {x} can be shown", "exposure_word x e"),
    ("{x} and {y} are allowed as both are liked", "allowed x, allowed y, liked x, liked y"),
    ("liking of {p}% makes {x} attractive", "liking x p"),
    ("{x} liked at {p} percent", "liking x p"),
    ("{x} with a liking of {p}%", "liking x p"),
    ("of {m} {x} items shown, {n} were clicked", "rate x n m"),
    ("{n} clicks in {m} showings of {x}", "rate x n m"),
    ("{x} drew {nw} clicks", "clicks x nw"),
    ("{x} appeared {s} times in the last twenty slates", "shows x s"),
    ("nobody clicked {x}", "unclicked x"),
    ("{x} fell short of the promised clicks", "short x"),
    ("{x} clicks exceed what was promised", "above x"),
    ("absent from the last five slates: {x}", "gone x"),
    ("Because the user is bored of {x}, I rest it and allow {y} instead", "tired x, avoided x, allowed y"),
    ("fresh ideas matter for the long run", ""),
    ("{x} [{p}%] then {y} [{q}%]", "liking x p, liking y q"),
)
JOINS = ("; ", ". ", ", and ", ", while ", "; also ")


@dataclass(frozen=True)
class Session:
    """A made session, as a model is asked about it.

    Attributes:
        names: (C). system, user: the question. offered: ids. liking: (C,) percent or number of a word.
        exposure: (C,) slates or number of a word. shown, clicked: (C,), of twenty slates. promised: (C,).
        last: (C,) shown in the last five slates. allowed, avoid: ids.
    """

    names: tuple[str, ...]
    coarse: bool
    system: str
    user: str
    offered: tuple[int, ...]
    liking: np.ndarray
    exposure: np.ndarray
    shown: np.ndarray
    clicked: np.ndarray
    promised: np.ndarray
    last: np.ndarray
    allowed: tuple[int, ...]
    avoid: tuple[int, ...]


@dataclass(frozen=True)
class Reason:
    """A made explanation: its text, and its claims as (category, whether it is true)."""

    text: str
    claims: tuple[tuple[int, bool], ...]


@cache
def _system(names: tuple[str, ...], size: int) -> str:
    """What a model is told that is the same for everybody."""
    return Prompts().plan(names, 6, size, ("Rotate categories before they tire.",))


def session(rng: np.random.Generator, coarse: bool) -> Session:
    """A session of up to twenty slates of six items."""
    names = CATALOGS[rng.integers(len(CATALOGS))]
    count = len(names)
    chance = rng.permutation(np.linspace(0.08, 0.88, count)) + rng.uniform(-0.03, 0.03, count)
    slates = int(rng.integers(6, 21))
    rows = np.zeros((slates, count), int)
    weights = rng.dirichlet(np.full(count, 0.4))
    for row in rows:
        row[:] = rng.multinomial(6, weights)
        weights = weights if rng.random() < 0.7 else rng.dirichlet(np.full(count, 0.4))
    clicks = rng.binomial(rows, np.clip(chance * rng.uniform(0.3, 1.2, count), 0, 1))
    fade = np.exp(-np.arange(slates)[::-1, None] / 8.0)
    exposure = (rows / 6 * fade).sum(axis=0)
    offered = np.sort(rng.choice(count, int(rng.integers(5, count + 1)), replace=False))
    mask = np.isin(np.arange(count), offered)
    size = int(rng.integers(2, 4))
    order = rng.permutation(offered)
    allowed, avoid = order[:size], order[size : size + int(rng.integers(1, 3))]
    odds = np.log(chance / (1 - chance))
    if coarse:
        liking = np.rint(np.clip(odds[mask].max() - odds, 0, 3)).astype(int)
        level = np.abs(exposure[:, None] - EXPOSURES).argmin(axis=1).astype(float)
        states = States(liking[None], level[None], None, None, None, (), mask[None], size)
    else:
        liking, level = np.rint(100 * chance).astype(int), np.round(exposure, 1)
        lines = tuple(
            ", ".join(f"{c}: {click[c]} of {row[c]}" for c in np.flatnonzero(row))
            for row, click in zip(rows[-5:], clicks[-5:], strict=True)
        )
        told = np.round(rows.sum(axis=0) * chance, 1)
        parts = (liking, level, rows.sum(axis=0), clicks.sum(axis=0), told)
        states = States(*(part[None] for part in parts), (lines,), mask[None], size)  # type: ignore[arg-type]
    return Session(
        names,
        coarse,
        _system(names, size),
        f"State 0a1b2c.\n{states.text(0)}",
        tuple(offered.tolist()),
        liking,
        level,
        rows.sum(axis=0),
        clicks.sum(axis=0),
        np.round(rows.sum(axis=0) * chance, 1),
        rows[-5:].sum(axis=0),
        tuple(allowed.tolist()),
        tuple(avoid.tolist()),
    )


FULL_ONLY = ("rate", "clicks", "shows", "unclicked", "clicked", "short", "above", "most_clicked", "clicked_more")
FULL_ONLY += ("gone", "liking", "exposure")


def _worth(of: Session) -> np.ndarray:
    """(C,) liking, more is better."""
    return -of.liking if of.coarse else of.liking


def _level(of: Session, c: int) -> int:
    """The number of the word for an exposure."""
    return int(of.exposure[c]) if of.coarse else int(np.abs(of.exposure[c] - EXPOSURES).argmin())


def true(of: Session, fact: str, about: list[int], given: list[float | str]) -> bool | None:
    """Whether a claim holds; None where people might differ."""
    c, worth, offered = about[0], _worth(of), list(of.offered)
    lately = _level(of, c) > 0 or (not of.coarse and of.last[c] > 0)
    short = not of.coarse and of.promised[c] - of.clicked[c]
    shown = of.exposure if of.coarse else of.shown
    match fact:
        case "liked" | "disliked":
            liked = of.liking[c] <= 1 if of.coarse else worth[c] >= np.median(worth[offered])
            return bool(liked) == (fact == "liked")
        case "lately" | "away":
            return lately == (fact == "lately")
        case "gone":
            return bool(of.last[c] == 0)
        case "tired" | "fresh":
            if _level(of, c) < 2 and 0 < short < 2:
                return None
            return bool(_level(of, c) >= 2 or short >= 2) == (fact == "tired")
        case "most_liked":
            return bool(worth[c] == worth[offered].max())
        case "least_liked":
            return bool(worth[c] == worth[offered].min())
        case "most_shown" | "least_shown":
            return bool(shown[c] == (shown[offered].max() if fact == "most_shown" else shown[offered].min()))
        case "most_clicked":
            return bool(of.clicked[c] == of.clicked[offered].max())
        case "liked_more":
            return bool(worth[c] > worth[about[1]])
        case "liked_less":
            return bool(worth[c] < worth[about[1]])
        case "clicked_more":
            return bool(of.clicked[c] > of.clicked[about[1]])
        case "allowed":
            return c in of.allowed
        case "avoided":
            return c in of.avoid if c in (*of.avoid, *of.allowed) else None
        case "skipped":
            return c not in of.allowed
        case "unclicked" | "clicked":
            return bool(of.clicked[c] > 0) == (fact == "clicked") if of.shown[c] else None
        case "short":
            return bool(short >= 0.5) if abs(short) >= 0.5 else None
        case "above":
            return bool(short <= -0.5) if abs(short) >= 0.5 else None
        case "rate":
            return [of.clicked[c], of.shown[c]] == given
        case "clicks":
            return bool(of.clicked[c] == given[0])
        case "shows":
            return bool(of.shown[c] == given[0])
        case "liking":
            return bool(of.liking[c] == given[0])
        case "exposure":
            return bool(abs(of.exposure[c] - float(given[0])) < 0.05)
        case "liking_word":
            return CTR_WORDS[of.liking[c]] == given[0] if of.coarse else None
        case "exposure_word":
            return EXPOSURE_WORDS[_level(of, c)] == given[0] if of.coarse else None
    raise KeyError(fact)


WORDS = str.split(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
)
WORDS += ["seventeen", "eighteen", "nineteen", "twenty"]


def _number(slot: str, c: int, of: Session, rng: np.random.Generator, right: bool) -> float | str | None:
    """A number or a word about a category, right or off by enough for a person to object."""
    off = 0 if right else int(rng.choice([-1, 1])) * int(rng.integers(1, 4))
    match slot:
        case "w":
            own = CTR_WORDS[of.liking[c]] if of.coarse else "good"
            return own if right else str(rng.choice([word for word in CTR_WORDS if word != own]))
        case "e":
            own = EXPOSURE_WORDS[_level(of, c)]
            return own if right else str(rng.choice([word for word in EXPOSURE_WORDS if word != own]))
        case "p" | "q":
            return int(of.liking[c]) + 5 * off
        case "v":
            return round(abs(float(of.exposure[c]) + 0.6 * off), 1)
        case "n" | "nw":
            return max(int(of.clicked[c]) + off, 0)
        case _:
            return max(int(of.shown[c]) + off, 0)


def _sentence(
    phrase: tuple[str, str], of: Session, rng: np.random.Generator, share: float
) -> tuple[str, list[tuple[int, bool]]] | None:
    """A phrase filled in such that each of its claims is false with a chance; None where that is not to be had."""
    text, told = phrase
    facts = [part.split() for part in told.split(", ")] if told else []
    if of.coarse and any(fact in FULL_ONLY for fact, *_ in facts):
        return None
    wanted = [rng.random() >= share for _ in facts]
    letters = sorted({slot for fact in facts for slot in fact[1:] if slot in "xyz"})
    for _ in range(60):
        cats = dict(zip(letters, rng.permutation(of.offered).tolist(), strict=False))
        slots: dict[str, float | str] = {}
        judged = []
        for (fact, *of_what), want in zip(facts, wanted, strict=True):
            about = [cats[slot] for slot in of_what if slot in "xyz"]
            given = [slot for slot in of_what if slot not in "xyz"]
            for slot in given:
                slots[slot] = _number(slot, about[0], of, rng, want)  # type: ignore[assignment]
            judged.append(true(of, fact, about, [slots[slot] for slot in given]))
        sane = all(float(slots.get(a, 0)) <= float(slots.get(b, 99)) for a, b in (("n", "m"), ("n", "s")))
        sane &= all(float(slots.get(a, 50)) in range(1, 100) for a in "pq") and slots.get("nw", 0) in range(21)
        if judged == wanted and sane:
            break
    else:
        return None
    words = {slot: WORDS[int(value)] if slot == "nw" else value for slot, value in slots.items()}
    names = {letter: of.names[c] for letter, c in cats.items()} | {f"{letter}i": c for letter, c in cats.items()}
    cased = {key: str(name) for key, name in names.items()}
    return text.format(**cased, **words), [(cats[f[1]], want) for f, want in zip(facts, wanted, strict=True)]


def reasons(
    count: int, share: float, coarse: bool, seed: int, phrases: tuple[tuple[str, str], ...]
) -> Iterator[tuple[Session, Reason]]:
    """Made sessions, each with an explanation of one to three sentences, at most 200 characters.

    Args:
        count: how many. share: of false claims. coarse: the detail. phrases: to take from.
    """
    rng = np.random.default_rng(seed)
    made = 0
    while made < count:
        of = session(rng, coarse)
        text, claims = "", list[tuple[int, bool]]()
        for _ in range(int(rng.integers(1, 4))):
            sentence = _sentence(phrases[rng.integers(len(phrases))], of, rng, share)
            if sentence is not None:
                joined = text + (str(rng.choice(JOINS)) if text else "") + sentence[0]
                if len(joined) <= 200:
                    text, claims = joined, claims + sentence[1]
        if text:
            made += 1
            begun = text[0].upper() + text[1:] if rng.random() < 0.5 and not math.isnan(share) else text
            yield of, Reason(begun + (str(rng.choice(["", "."]))), tuple(claims))
