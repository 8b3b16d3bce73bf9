"""What a planner's one-line reason claims of categories, and whether each claim is true.

Faithfulness is the share of true claims among those that can be checked, after "HELM: human-centred evaluation of
LLM-powered recommenders", arXiv 2601.19197. The words are a closed vocabulary, that of the questions and of what people
would say for it; a sentence that says nothing checkable of a category is no claim. Reading takes no model, no draws,
and time in proportion to the text.

The words are in phrases.py, what must stand around them is in understood.py, and what decides whether they are true is
in facts.py.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from lerl.llm.audit.facts import Facts, Given, Said, against, given, verdict
from lerl.llm.audit.phrases import said
from lerl.llm.audit.tokens import Aside, Token, tokens, words
from lerl.llm.audit.understood import understood

__all__ = ["Claim", "Facts", "Given", "against", "claims", "given"]

STOPS = frozenset((".", ";", "!", "?", "|"))
TURNS = frozenset(
    words(
        "but while whereas though although so because since as however hence therefore thus then which who when where"
    )
)
"""Words behind which another clause begins."""
MOST, LEAST = ("most", "highest", "best"), ("least", "lowest", "worst", "fewest")
COPULAS = frozenset(("is", "has", "gets", "was"))
FOLLOWING = frozenset(
    words(
        "P T M and or nor not for of with by in on at to as than from over despite due after before again now "
        "first next when most more enough well much alone only vs against out is has gets does do did yet "
        "without under per among until all any every that means makes clicks justifies promised list scores "
        "rating here gave produced drew option choice alternative candidate pick"
    )
)
"""What may stand behind something that is said of a category; another word there is what it is said of."""
OPENERS = frozenset(["with", "given", "despite", "after", "due", "at", "having", "for", "in"])
"""Words that begin a clause whose categories come later: "with light exposure, Drama leads"."""
AHEAD = {
    "noun": frozenset(words("for of to in on with goes belongs towards at is : among from by makes justifies all any"))
}
AHEAD["object"] = frozenset(("more", "some", "on", "out", ":", "again", "in", "to", "with", "for", "of", "all", "any"))
AHEAD["any"] = frozenset((":",))
BEFORE = frozenset(words("the of for in on with T is has do does did either and or any to"))  # between "not" and it


@dataclass(frozen=True)
class Claim:
    """One thing that a reason says of one category.

    Attributes:
        words: of the rationale.
        kind: liking, exposure, shown, clicked, promised, tired; rank ("most liked"), more ("liked more than"); plan
            (what the plan does with it).
        category: its id. true: whether it holds; what the question did not tell was made up, and is false.
        evidence: the text that decides it, for a person.
    """

    words: str
    kind: str
    category: int | None
    true: bool
    evidence: str


def claims(rationale: str, known: Given) -> tuple[Claim, ...]:
    """The claims of a reason, in the order of the text.

    Args:
        rationale: one line, of which the first 1,000 characters are read.
        known: what the model was told; of `given`, or of `against` for what really happened.

    Returns:
        One claim for each category of which something is said; none where nothing can be checked.
    """
    found: list[Claim] = []
    for part in _told(*tokens(rationale, known)):
        for category in part.about:
            true, evidence = verdict(part.said, category, len(part.about), known)
            told = rationale[part.start : part.end].strip()
            found.append(Claim(told, part.said.kind, category, true, evidence))
    return tuple(found)


@dataclass(frozen=True)
class _Told:
    """Something said, and of which categories."""

    said: Said
    about: tuple[int, ...]
    start: int
    end: int


@dataclass
class _Context:
    """What words of a clause may refer to: the last categories, those of this sentence and the last, what was said."""

    last: tuple[int, ...] = ()
    subject: tuple[int, ...] = ()
    said: Said | None = None
    compared: tuple[int, ...] = ()
    told: list[_Told] = field(default_factory=list)


def _told(main: list[Token], asides: list[Aside]) -> list[_Told]:
    """Everything said, each with its categories."""
    context = _Context()
    for sentence in _split(_colons(said(main)), STOPS):
        context.compared = context.subject
        if not {token.text for token in sentence} <= {"P", "T", ",", "and"}:  # "Drama is liked; never shown"
            context.subject = ()
        for clause in _split(sentence, TURNS):
            for part in _listed(clause, bool(context.subject)):
                _clause(_referred(understood(part), context), context)
    for aside in asides:
        inner = said(aside.inner)
        single = any(token.text == "P" and token.value.amount is not None for token in inner)
        about = aside.owner[-1:] if single else aside.owner
        inside = _Context(about, about, told=context.told)
        for clause in _split(inner, STOPS | TURNS):
            _clause(_referred(understood(clause), inside), inside)
    return sorted(context.told, key=lambda part: (part.start, part.end))


def _split(found: list[Token], at: frozenset[str]) -> Iterator[list[Token]]:
    part: list[Token] = []
    for token in found:
        if token.text in at:
            yield part
            part = []
        else:
            part.append(token)
    yield part


def _colons(found: list[Token]) -> list[Token]:
    """Brackets around nothing but categories, behind something said of them, made a colon: "rested (Drama, Rock)"."""
    out: list[Token] = []
    i = 0
    while i < len(found):
        texts = [token.text for token in found[i : i + 3]]
        if (
            len(texts) == 3
            and texts[0] in "(["
            and texts[1] == "M"
            and texts[2] in ")]"
            and out
            and out[-1].text != "M"
        ):
            out += [replace(found[i], text=":"), found[i + 1]]
            i += 3
            continue
        out.append(found[i])
        i += 1
    return out


def _listed(clause: list[Token], begun: bool) -> list[list[Token]]:
    """A clause in parts: behind ", and" with categories on both sides another begins."""
    texts = [token.text for token in clause]
    for i in range(1, len(texts) - 1):
        if texts[i : i + 2] == [",", "and"] and (begun or "M" in texts[:i]) and "M" in texts[i:]:
            return [clause[:i], *_listed(clause[i + 2 :], True)]
    return [clause]


def _referred(clause: list[Token], context: _Context) -> list[Token]:
    """Pronouns made mentions of what they refer to; the user made a mention of no category."""
    out: list[Token] = []
    last: tuple[int, ...] = context.last
    before: tuple[int, ...] = ()
    for token in clause:
        if token.text == "M":
            last, before = token.value or last, last if token.value else before
        if token.text == "both" and last:
            token = Token("M", token.start, token.end, last if len(last) > 1 else (*before[-1:], *last))
        if token.text in ("it", "they", "them", "these", "those") and last:
            token = Token("M", token.start, token.end, last)
        elif token.text == "U":
            token = Token("M", token.start, token.end, ())
        out.append(token)
    return out


def _clause(clause: list[Token], context: _Context) -> None:
    """Reads one clause; what is said of which category is put into the context."""
    window = None
    start = 0
    targets: dict[int, tuple[int, ...]] = {}
    for i in reversed(range(len(clause))):
        if clause[i].text == "P":
            targets[i] = _target(clause, i, targets, context)
    _shared_out(clause, targets)
    before: Said | None = None
    for i, token in enumerate(clause):
        if token.text in (",", ":"):
            start = i + 1
        if token.text == "P":
            window = _window(clause, i, start)
            now = replace(token.value, negated=token.value.negated != _denied(clause, i, before))
            if now.kind in ("shown", "clicked") and now.window is None and window is not None:
                now = replace(now, window=window)
            before = now if now.negated else None
            context.said = now
            if targets[i] and not _twice(clause, i, targets):
                context.told.append(_Told(now, targets[i], *_span(clause, i, targets[i])))
        elif token.text == "nothing" and token.value is not None:
            _completed(clause, i, context)
        elif token.text == "M" and token.value:
            _left_open(clause, i, context)
    mentioned = [token.value for token in clause if token.text == "M" and token.value]
    about = next((target for _, target in sorted(targets.items()) if target), ())
    context.last = mentioned[-1] if mentioned else context.last
    context.subject = about or (mentioned[-1] if mentioned else context.subject)


def _twice(clause: list[Token], i: int, targets: dict[int, tuple[int, ...]]) -> bool:
    """Whether the clause has said it of the same before: "keep Drama in rotation"."""
    now = replace(clause[i].value, place="any")
    return any(replace(clause[j].value, place="any") == now and targets[j] == targets[i] for j in targets if j < i)


def _shared_out(clause: list[Token], targets: dict[int, tuple[int, ...]]) -> None:
    """ "Drama and Comedy at 62% and 70%": as many numbers as categories are shared out among them."""
    places = sorted(i for i in targets if clause[i].value.amount is not None)
    for first in places:
        about, what = targets[first], (clause[first].value.kind, clause[first].value.what)
        run = [
            i
            for i in places
            if i >= first and targets[i] == about and what == (clause[i].value.kind, clause[i].value.what)
        ]
        between = {token.text for token in clause[run[0] : run[-1]]} if run else set()
        if len(run) == len(about) > 1 and between <= {"P", ",", "and"}:
            for i, category in zip(run, about, strict=True):
                targets[i] = (category,)


def _target(clause: list[Token], i: int, targets: dict[int, tuple[int, ...]], context: _Context) -> tuple[int, ...]:
    """The categories of which it is said; the sayings behind it have theirs in `targets`."""
    place = clause[i].value.place
    left: tuple[int, ...] | None = next((token.value for token in reversed(clause[:i]) if token.text == "M"), None)
    right = _right(clause, i, place)
    tied = _tied(clause, i)
    bare = not tied and right is None and place != "left" and clause[i].value.amount is None
    if bare and clause[i + 1 :] and _describes(clause[i + 1].text):
        return ()
    if place == "left":
        return left if left is not None else context.subject or (_first(clause, i) if i == 0 else ())
    if place == "object":
        if right is not None:
            return right
        if i == len(clause) - 1 and clause[i].value.what in ("avoid", "out"):  # "Drama is tired, skip"
            return left or context.subject
        return _chained(clause, i, targets, bool(context.subject)) or ()
    if tied and left is not None:
        return left or right or ()
    if tied and context.subject and not right:
        return context.subject
    if right is not None:
        return right
    if left:
        return left
    chained = _chained(clause, i, targets, bool(context.subject))
    if chained is not None:
        return chained
    if clause[0].text in OPENERS or left is not None:
        return _first(clause, i)
    return context.subject or _first(clause, i)


def _describes(behind: str) -> bool:
    """Whether it is said of another thing, which stands right behind it: "fresh ideas matter"."""
    return behind.isalpha() and behind not in FOLLOWING


def _right(clause: list[Token], i: int, place: str) -> tuple[int, ...] | None:
    """The categories right behind it."""
    for token in clause[i + 1 :]:
        if token.text == "M":
            return tuple(token.value)
        if token.text != "T" and token.text not in AHEAD.get(place, ()):
            return None
    return None


def _tied(clause: list[Token], i: int) -> bool:
    """Whether a form of "to be" or "to have" ties it to what stands before it."""
    for token in reversed(clause[:i]):
        if token.text in COPULAS:
            return True
        if token.text in ("M", "P", ",", ":"):
            return False
    return False


def _chained(clause: list[Token], i: int, targets: dict[int, tuple[int, ...]], begun: bool) -> tuple[int, ...] | None:
    """The categories of the next saying, where nothing but a comma or "and" stands between."""
    for j in range(i + 1, len(clause)):
        if clause[j].text == "P":
            return (targets[j] or None) if not begun or clause[j].value.kind != "plan" else None
        if clause[j].text not in (",", "and", "or", "not", "T", "yet"):
            return None
    return None


def _first(clause: list[Token], i: int) -> tuple[int, ...]:
    """The first categories behind it in the clause: "liked and rested, Drama leads"."""
    behind = clause[i + 1 :]
    return next((token.value for token in behind if token.text == "M"), ())


def _denied(clause: list[Token], i: int, before: Said | None) -> bool:
    """Whether "not" or the like stands before it, or before what it is joined to by "or" or "nor"."""
    j = i - 1
    while j >= 0 and (clause[j].text in BEFORE):
        j -= 1
    if j >= 0 and clause[j].text in ("not", "no", "neither", "nor", "without", "rarely"):
        return True
    last = max((k for k, token in enumerate(clause[:i]) if token.text in ("P", "neither")), default=i)
    if clause[last].text == "neither":
        return True
    joined = i > 0 and clause[i - 1].text in ("or", "nor")
    return joined and before is not None and before.negated


def _window(clause: list[Token], i: int, start: int) -> int | None:
    """The time that it is said of: right behind it, or at the beginning of its part of the clause."""
    for token in clause[i + 1 :]:
        if token.text == "T":
            return int(token.value)
        if token.text in ("P", ",", ":"):
            break
    before = [token.value for token in clause[start:i] if token.text == "T"]
    if not before and start:
        before = [token.value for token in clause[:1] if token.text == "T"]
    return int(before[-1]) if before else None


def _completed(clause: list[Token], i: int, context: _Context) -> None:
    """A comparison that does not say with what: "liked more than Rock and less shown", "; Rock is less liked"."""
    named = next((token.value for token in reversed(clause[:i]) if token.text == "M"), ())
    others = context.said.others if context.said is not None else ()
    if not others and named and _tied(clause, i):
        others = context.compared
    about = named or context.subject
    if about and others and not set(about) & set(others):
        now = replace(clause[i].value, others=others, negated=_denied(clause, i, None))
        context.told.append(_Told(now, about, *_span(clause, i, about)))


def _left_open(clause: list[Token], i: int, context: _Context) -> None:
    """What was said last is said again: "Drama is liked, Comedy is not", "..., nor is Comedy", "so is Comedy"."""
    last = context.said
    texts = [token.text for token in clause[i + 1 : i + 3]]
    if (
        last is not None
        and last.what in ("value", "times")
        and texts[:1] == ["#"]
        and texts[1:] in ([], [","], ["and"])
    ):
        now = replace(last, amount=clause[i + 1].value, negated=False)
        context.told.append(_Told(now, clause[i].value, clause[i].start, clause[i + 1].end))
        return
    lead = [token.text for token in clause[max(i - 2, 0) : i]]
    if (
        last is not None
        and last.what in ("value", "times")
        and lead[:1] in (["#"], ["%"])
        and lead[1:] in (["on"], ["for"])
    ):
        now = replace(last, amount=clause[i - 2].value, negated=False)
        context.told.append(_Told(now, clause[i].value, clause[i - 2].start, clause[i].end))
        return
    if last is None or last.amount is not None or last.others:
        return
    alone = all(token.text in ("M", ",") for token in clause)
    if last.kind == "plan" and (alone or (clause[i - 1].text == "," and texts[:1] == ["for"])):  # ", then Rock"
        context.told.append(_Told(last, clause[i].value, clause[i].start, clause[i].end))
        return
    if last.kind == "rank" and texts[:1] and texts[0] in (*MOST, *LEAST) and texts[1:] in ([], [","], ["and"]):
        now = replace(last, rank=1 if texts[0] in MOST else -1)
        context.told.append(_Told(now, clause[i].value, clause[i].start, clause[i + 1].end))
        return
    verbs = {"is", "has", "do", "does", "did"}
    begin = next((j for j in reversed(range(i)) if clause[j].text == ","), -1) + 1
    end = next((j for j in range(i + 1, len(clause)) if clause[j].text in (",", "and")), len(clause))
    before, behind = ({token.text for token in part} for part in (clause[begin:i], clause[i + 1 : end]))
    if behind & verbs and behind <= {*verbs, "not", "also", "either"}:
        now = replace(last, negated="not" in behind)
    elif not behind and before & verbs and before <= {*verbs, "nor", "neither", "also", "and"}:
        now = replace(last, negated=last.negated or bool(before & {"nor", "neither"}))
    elif not behind and before - {"of"} == {"not"}:
        now = replace(last, negated=not last.negated)
    else:
        return
    context.told.append(_Told(now, clause[i].value, clause[begin].start, clause[end - 1].end))


def _span(clause: list[Token], i: int, about: tuple[int, ...]) -> tuple[int, int]:
    """From where to where the words stand, with the categories where those are in the clause."""
    near = [token for token in clause if token.text == "M" and token.value == about]
    denied = [token for token in clause[max(i - 2, 0) : i] if token.text in ("not", "no", "without")]
    ends = [*near[:1], *denied, clause[i]]
    return min(token.start for token in ends), max(token.end for token in ends)
