"""The words, numbers and categories of a rationale, in the few spellings that phrases are written in.

A token's `text` is a word in lower case or one of: M, a mention of categories; # a number; % a percentage. Phrases make
P, something said, and T, a time, of them.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

from lerl.llm.audit.facts import Amount, Given


def words(text: str) -> list[str]:
    """The words of a text."""
    return text.split()


LENGTH = 1_000  # characters of a rationale that are read; a plan's has 200
NUMBERS = words(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen twenty"
)
ORDINALS = {"second": 2, "2nd": 2, "third": 3, "3rd": 3, "fourth": 4, "4th": 4, "fifth": 5, "5th": 5}
COMMON = frozenset(
    words(
        "a all allow an and any are as at avoid bad best better both but by category clicked each every fair "
        "few for fresh general good had has have heavy high i in is it items last latest least less light "
        "liked likes low many medium misc more most never new no none not of on one only or other others "
        "people plan poor popular recent recently rest rested shown slate slates so some that the them then "
        "there these they this tired to top trending unknown user variety various was we were while with"
    )
)
"""Names that are also words of such sentences: taken for a category only when written with its capital or in quotes."""
SUBJECT_OF = frozenset(
    words(
        "is was has had isn wasn hasn hadn got gets needs and or nor but clicked shown liked tired at with "
        "exposure liking drew should stays rests leads first appeared shows showed earned fell falls "
        "underperforms outperforms exceeds comes scores suffers sees saw remains looks seems clicks in "
        "deserves beats outranks never"
    )
)
"""Words behind a name that is a common word, at the beginning of a sentence, where it has its capital anyway."""
THINGS = frozenset(
    words(
        "category categories genre genres topic topics item items title titles movie movies film films song "
        "songs video videos article articles book books content stuff ones thing things cluster clusters slot "
        "slots post posts"
    )
)
BEFORE_IDS = frozenset(words("category categories cat cats genre genres topic topics cluster clusters id ids hash"))
DROPPED = frozenset(
    words(
        "a an the very quite really still already also currently now just only simply clearly always somewhat "
        "fairly relatively pretty even too time times both such my your our their his her its this that "
        "particular rather more-or-less so-called again well indeed overall yet ever actually especially is's "
        "at_all"
    )
) - {"well"}
USERS = frozenset(
    words(
        "user users person people viewer viewers listener listeners reader readers customer customers i we he "
        "she you everyone somebody someone"
    )
)
SPELLED = {
    word: canonical
    for canonical, words in {
        "liking": "interest affinity appeal preference taste rating score enthusiasm ratings scores preferences "
        "potential",
        "exposure": "exp",
        "promised": "promise promises expected expectation expectations predicted forecast expectancy anticipated",
        "clicks": "click clicking",
        "rate": "ctr clickthrough",
        "gets": "get getting",
        "shown": "displayed presented recommended served appeared surfaced seen aired tried",
        "showings": "impressions exposures appearances displays views impression",
        "favourite": "favorite favourites favorites",
        "favour": "favor",
        "favouring": "favoring",
        "favours": "favors",
        "favoured": "favored",
        "prioritise": "prioritize",
        "prioritising": "prioritizing",
        "prioritised": "prioritized",
        "not": "never cannot",
        "rarely": "barely hardly scarcely seldom infrequently sparsely sparingly",
        "often": "frequently repeatedly regularly lots",
        "is": "are was were be been being am remains remain stays stay seems seem looks look feels feel appears appear",
        "has": "have had having got gained gain gains received receives",
        "medium": "moderate moderately",
        "tired": "bored weary fatigued tiring boring stale exhausted jaded fatiguing",
        "fatigue": "boredom tiredness weariness",
        "and": "& / + plus",
        ",": "\u3001 \uff0c \uff1b",
    }.items()
    for word in words.split()
}
LEXEME = re.compile(
    r"(?P<number>\d+(?:\.\d+)?|\.\d+)(?:\s?(?P<percent>%|percent\b|per cent\b|pct\b))?(?:[x\u00d7](?!\w))?"
    r"(?P<th>st|nd|rd|th)?"
    r"|(?P<own>['\u2019]s\b)|(?P<word>[^\W\d_]+(?:['\u2019][^\W\d_]+)*)|(?P<other>>=|<=|[^\s\w]|_)"
)


@dataclass(frozen=True)
class Token:
    """A piece of a rationale, from `start` to `end`; `value` is a tuple of ids, an `Amount`, or what a phrase made."""

    text: str
    start: int
    end: int
    value: Any = None


@dataclass(frozen=True)
class Aside:
    """What stands in brackets behind a mention of categories, and those."""

    owner: tuple[int, ...]
    inner: list[Token]


def tokens(rationale: str, known: Given) -> tuple[list[Token], list[Aside]]:
    """A rationale in pieces, mentions of categories found, and what it has in brackets behind them.

    Args:
        rationale: of which the first `LENGTH` characters are read. known: has the names.
    """
    text = rationale[:LENGTH].replace("\u2019", "'").replace("\u2018", "'")
    found: list[Token] = []
    names = _pattern(known.names)
    position = 0
    while position < len(text):
        match = names.match(text, position) if names is not None else None
        category = _named(match, text, known.names) if match else None
        if match and category is not None:
            found.append(Token("M", position, match.end(), (category,)))
            position = match.end()
        elif lexeme := LEXEME.match(text, position):
            found += _lexeme(lexeme)
            position = lexeme.end()
        else:
            position += 1
    main, asides = _bracketed(_grouped(_ids(_twenties(found), known)))
    return _plain(_grouped(main)), [Aside(aside.owner, _plain(aside.inner)) for aside in asides]


@lru_cache(maxsize=64)
def _pattern(names: tuple[str, ...]) -> re.Pattern[str] | None:
    """Finds a name as a whole word, the longest first."""
    parts = [
        (r"(?<!\w)(?<!\w['-])" if name[0].isalnum() else "")
        + re.escape(name)
        + (r"(?!\w)(?!-\w)(?!'(?!s\b)\w)" if name[-1].isalnum() else "")
        for name in sorted({name.replace("\u2019", "'") for name in names}, key=lambda name: (-len(name), name))
        if re.search(r"[^\W\d]", name)
    ]
    return re.compile("|".join(parts), re.IGNORECASE) if parts else None


def _named(match: re.Match[str], text: str, names: tuple[str, ...]) -> int | None:
    """The one category that a name is of; None where several have it, or where it is a common word."""
    said = match[0]
    own = [name.replace("\u2019", "'") for name in names]
    exact = [c for c, name in enumerate(own) if name == said]
    found = exact or [c for c, name in enumerate(own) if name.casefold() == said.casefold()]
    if len(found) != 1:
        return None
    if said.casefold() in COMMON:
        around = text[max(match.start() - 1, 0) : match.start()], text[match.end() : match.end() + 1]
        if all(mark in "'\"\u201c\u201d`\u00ab\u00bb" and mark for mark in around):
            return found[0]
        behind = re.match(r"\s*([a-z]+)", text[match.end() : match.end() + 20])
        begins = re.search(r"(?:^|[.!?;:])\s*$", text[max(match.start() - 3, 0) : match.start()])
        if not exact or said.islower() or (begins and behind and behind[1] not in SUBJECT_OF):
            return None
    return found[0]


def _lexeme(found: re.Match[str]) -> list[Token]:
    start, end = found.span()
    if found["number"]:
        if found["th"]:
            return [Token(found[0].lower(), start, end)]
        return [_number(found["number"], start, end, "%" if found["percent"] else "#")]
    if found["own"] or found["other"] in ("'", '"', "\u201c", "\u201d", "`", "\u00ab", "\u00bb", "*", "_"):
        return []
    if found["other"] in ("#", "%"):  # as texts they stand for numbers
        return [Token({"#": "hash", "%": "percent"}[found["other"]], start, end)]
    if found["other"]:
        return [
            Token(
                {"\uff1b": ";", "\u3002": ".", "\u2014": ";", "\u2013": ";", "\uff1a": ":"}.get(found[0], found[0]),
                start,
                end,
            )
        ]
    word = found["word"].lower()
    stem, apostrophe, ending = word.partition("'")
    if word == "can't" or (apostrophe and word.endswith("n't")):
        whole = {"can't": "can", "won't": "will"}.get(word, word[:-3])
        return [Token(whole, start, end), Token("not", start, end)]
    if apostrophe and ending == "s" and stem in ("it", "that", "there", "he", "she"):
        return [Token(stem, start, end), Token("is", start, end)]
    if ending == "s" and stem in USERS:
        return []  # "the user's favourite"
    if word == "its":
        return [Token("it", start, end), Token("has", start, end)]
    if stem in NUMBERS:
        return [_number(str(NUMBERS.index(stem)), start, end, "#")]
    if stem in ("once", "twice"):
        return [_number("1" if stem == "once" else "2", start, end, "#")]
    return [Token(stem, start, end)]


def _twenties(found: list[Token]) -> list[Token]:
    """ "twenty-four" made one number."""
    out: list[Token] = []
    for i, token in enumerate(found):
        whole = i > 1 and [part.text for part in found[i - 2 : i + 1]] == ["#", "-", "#"]
        if whole and found[i - 2].value is not None and found[i - 2].value.value == 20 and 0 < token.value.value < 10:
            out[-2:] = [Token("#", found[i - 2].start, token.end, Amount(20 + token.value.value))]
        else:
            out.append(token)
    return out


def _number(digits: str, start: int, end: int, text: str) -> Token:
    places = len(digits.partition(".")[2])
    return Token(text, start, end, Amount(float(digits), "=", 10.0**-places))


def _id(token: Token, known: Given) -> int | None:
    """The category whose id a number may be; None where a category is named so."""
    if token.text != "#" or token.value.step != 1.0 or token.value.value >= len(known.names):
        return None
    category = int(token.value.value)
    return category if str(category) not in known.names or known.names[category] == str(category) else None


def _ids(found: list[Token], known: Given) -> list[Token]:
    """Ids made mentions: "category 3", "categories 3, 5 and 7", "#3", "3 (Drama)", and "3" where only one can stand."""
    out: list[Token] = []
    i, listing = 0, False
    while i < len(found):
        token, category = found[i], _id(found[i], known)
        before = out[-1].text if out else ""
        if category is not None:
            named, size = _beside(found, i, category)
            if named and (size != 2 or before not in ("of", "from", "/", "clicked", "shown", "all", "on", "in")):
                out.append(Token("M", token.start, found[i + size - 1].end, (category,)))
                i, listing = i + size, True
                continue
            if (listing and before != "M") or before in BEFORE_IDS or _bare(found, i, out):
                if before in BEFORE_IDS:  # so that "category 3 and category 5" is a list
                    out.pop()
                out.append(Token("M", token.start, token.end, (category,)))
                i, listing = i + 1, True
                continue
        if listing and token.text not in (",", "and", "or", "&", "/", "nor"):
            listing = token.text == "hash"
        if listing and i + 1 < len(found) and (_id(found[i + 1], known) is None or not _ends(found, i + 2)):
            listing = False
        if before == "M" and token.text in "([" and _same(found, i, out[-1].value, known):
            i += 3
            continue
        out.append(token)
        i += 1
    return out


def _beside(found: list[Token], i: int, category: int) -> tuple[bool, int]:
    """Whether an id stands with its name, as "3 (Drama)", "3: Drama" or "3 Drama", and in how many tokens."""
    texts = [token.text for token in found[i : i + 4]]
    for shape, at in ((["#", "(", "M", ")"], 2), (["#", "[", "M", "]"], 2), (["#", ":", "M"], 2), (["#", "M"], 1)):
        named = texts[: len(shape)] == shape and found[i + at].value == (category,)
        if named and (at > 1 or _ends(found, i + 2)):
            return True, len(shape)
    return False, 0


def _same(found: list[Token], i: int, category: tuple[int, ...], known: Given) -> bool:
    """Whether brackets hold nothing but the id of the category before."""
    inside = [token for token in found[i + 1 : i + 4] if token.text != "hash"]
    closed = len(inside) > 1 and inside[1].text in ")]"
    return closed and found[i + 2].text in ")]" and inside[0].text == "#" and (_id(inside[0], known),) == category


VERBS = frozenset(
    words(
        "allow allows allowed allowing avoid avoids avoided avoiding rest resting rests include "
        "including pick picking choose choosing chose exclude excluding picked chosen selected included "
        "dropped excluded kept skip skipping drop dropping keep keeping prefer prefers likes like enjoys "
        "dislikes allow: avoid: select selecting try trying"
    )
)
AFTER = frozenset(["is", "are", "was", "were", "has", "have", "had", "isn", "hasn", "does"])


def _ends(found: list[Token], i: int) -> bool:
    """Whether a list of ids may end before this token: no unit of a count follows."""
    return i >= len(found) or found[i].text in AFTER or found[i].text in (*".,;:)]!?(&/", "and", "or", "but", "while",
        "because", "since", "as", "for", "so", "nor", "instead", "over", "to", "liked", "tired", "rested", "next",
        "lately", "recently")  # fmt: skip


def _bare(found: list[Token], i: int, out: list[Token]) -> bool:
    """Whether a lone number can only be an id: a subject at the beginning, or the object of a verb or preposition."""
    before = [token.text for token in out[-2:]]
    last = before[-1] if before else ""
    if last in VERBS or before in (
        ["liking", "for"],
        ["liking", "of"],
        ["tired", "of"],
        ["bored", "of"],
        ["bored", "with"],
    ):
        return _ends(found, i + 1)
    if before in ([")", "and"], [")", ","]) and i + 1 < len(found) and found[i + 1].text == "(":
        return True
    if last == ":" and before[0] in VERBS:
        return _ends(found, i + 1)
    if last not in ("", ".", ";", "but", "while", "so", "and", "because", "since", "as", ",", "whereas", "although",
                    "also", "then", "however"):  # fmt: skip
        return False
    counted = [token.text for token in found[i + 1 : i + 4] if token.text in ("clicked", "shown", "promised", "clicks")]
    if counted and last not in ("", ".", ";"):
        return False
    j = i + 1
    while j + 1 < len(found) and found[j].text in (",", "and", "&", "/") and found[j + 1].text in ("#", "and", "&"):
        j += 1 if found[j + 1].text != "#" else 2
    return j < len(found) and (
        found[j].text in (*AFTER, "liked", "tired", "rested", "disliked") or found[i + 1].text == ":"
    )


def _bracketed(found: list[Token]) -> tuple[list[Token], list[Aside]]:
    main: list[Token] = []
    asides: list[Aside] = []
    i = 0
    before: tuple[int, ...] = ()  # the mention before the last
    last: tuple[int, ...] = ()
    while i < len(found):
        if found[i].text in ("(", "[") and before and _versus(found, i):  # "beats Drama (62% vs 45%)"
            asides += [Aside(before, found[i + 1 : i + 2]), Aside(last, found[i + 3 : i + 4])]
            i += 5
        elif found[i].text in ("(", "[") and main and main[-1].text == "M":
            end = next((j for j in range(i + 1, len(found)) if found[j].text in (")", "]")), len(found))
            asides.append(Aside(main[-1].value, found[i + 1 : end]))
            i = end + 1
        elif found[i].text == "at" and main and main[-1].text == "M" and _percent(found, i + 1):
            asides.append(Aside(main[-1].value, found[i + 1 : i + 2]))
            i += 2
        else:
            before, last = (last, found[i].value) if found[i].text == "M" else (before, last)
            main.append(found[i])
            i += 1
    return main, asides


def _versus(found: list[Token], i: int) -> bool:
    """Whether brackets that open here hold two percentages and nothing else."""
    texts = [token.text for token in found[i + 1 : i + 5]]
    return (
        texts[:1] == ["%"] and texts[1:2] in (["vs"], ["versus"], ["against"]) and texts[2:] in (["%", ")"], ["%", "]"])
    )


def _percent(found: list[Token], i: int) -> bool:
    """Whether a percentage stands here alone: "beats Drama at 62%", but not "at 62% and 70%" or "at 62% clicked"."""
    behind = [token.text for token in found[i + 1 : i + 3]]
    return i < len(found) and found[i].text == "%" and (not behind or behind[0] in ".;,)]") and "%" not in behind


JOINING = ("and", "&", "/", "or", "nor", "plus", "+", "alongside")


def _grouped(found: list[Token]) -> list[Token]:
    """Lists of categories made one mention."""
    out: list[Token] = []
    i = 0
    while i < len(found):
        if found[i].text != "M":
            out.append(found[i])
            i += 1
            continue
        members, joins = [i], list[int]()
        while size := _joining(found, members[-1] + 1):
            joins.append(size)
            members.append(members[-1] + 1 + size)
        i = members[-1] + 1
        cut = _cut(found, members, out[-1].text if out else "")
        for part in (members[:cut], members[cut:]) if cut else (members,):
            if part is not members and out and part[0] == members[cut]:
                out += found[part[0] - joins[cut - 1] : part[0]]
            value = tuple(category for k in part for category in found[k].value)
            out.append(Token("M", found[part[0]].start, found[part[-1]].end, value))
    return out


SINGULAR = ("is", "was", "has", "isn", "hasn", "wasn")
BREAKS = (*".;!?,:()", "but", "while", "because", "since", "as", "so", "although", "though", "whereas", "also", "that")
LINKS = ("for", "with", "to", "in", "of", "on", "now", "lately", "recently", "first", "next", "instead", "again")


def _cut(found: list[Token], members: list[int], before: str) -> int:
    """Before which member of a list another sentence begins: "avoid Drama, and Rock and Jazz are liked"; 0 for none.

    Args:
        found: the tokens. members: places of the list. before: the text of the token before it.
    """
    behind = found[members[-1] + 1].text if members[-1] + 1 < len(found) else "."
    between = [[token.text for token in found[a + 1 : b]] for a, b in pairwise(members)]
    if any(joint[-1:] in (["or"], ["nor"]) for joint in between):
        return 0
    governed = before == ":" or before not in ("", *BREAKS)
    if governed and (behind in "(:" or behind not in BREAKS):
        commas = [k + 1 for k, joint in enumerate(between) if joint == [",", "and"]]
        listed = bool(commas) and [","] in between[: commas[0] - 1]
        if commas and (behind not in LINKS or not listed):
            return commas[0]
    return len(members) - 1 if behind in SINGULAR and between else 0


def _joining(found: list[Token], i: int) -> int:
    """How many tokens join two mentions here; 0 where none do."""
    texts = [token.text for token in found[i : i + 4]]
    comma = 1 if texts and texts[0] == "," else 0
    words = 1 if texts[comma : comma + 1] and texts[comma] in JOINING else 0
    words = 2 if texts[comma : comma + 2] in (["along", "with"], ["together", "with"]) else words
    words = 3 if texts[comma : comma + 3] == ["as", "well", "as"] else words
    size = comma + words
    return size if size and i + size < len(found) and found[i + size].text == "M" else 0


def _plain(found: list[Token]) -> list[Token]:
    """In the few spellings, without words that say nothing here."""
    out: list[Token] = []
    for i, token in enumerate(found):
        behind = found[i + 1].text if i + 1 < len(found) else ""
        ratio = token.text == "/" and behind == "#"
        word = token.text if ratio else SPELLED.get(token.text, token.text)
        if token.value is not None:
            out.append(token)
        elif word in ("the", "their", "his", "her", "user", "its") and behind.startswith("favo") and "rit" in behind:
            out.append(Token("most", token.start, token.end))
        elif (word in USERS and not (word in ("i", "we") and behind in ("like", "love", "enjoy"))) or (
            word == "they" and behind in ("like", "enjoy", "love", "click", "clicked", "do", "dislike")
        ):
            out.append(Token("U", token.start, token.end))
        elif token.text == "appears" or token.text == "appear":
            out.append(Token("is", token.start, token.end))
        elif word == "which":  # of what stands right before it
            out += [token, Token("it", token.start, token.end)]
        elif word == "both" and behind != "M" and (not out or out[-1].text in (*".;:,", "as", "because", "since")):
            out.append(token)
        elif (word not in DROPPED or (word == "yet" and behind == "to")) and word not in THINGS and word != "-":
            out.append(Token(word, token.start, token.end))
    return out


Maker = Callable[[re.Match[str], Callable[[str], list[Token]]], list[Token]]


def line_of(found: list[Token]) -> str:
    """The texts of tokens, with one space between."""
    return " ".join(token.text for token in found)


def rewrite(found: list[Token], pattern: re.Pattern[str], make: Maker) -> list[Token]:
    """Tokens with each stretch that a pattern matches replaced.

    Args:
        found: the tokens. pattern: for their `line_of`. make: the new tokens, from the match and a function that gives
        the tokens of one of its groups.
    """
    line = line_of(found)
    out: list[Token] = []
    done = 0
    for match in pattern.finditer(line):
        first, last = line.count(" ", 0, match.start()), line.count(" ", 0, match.end() - 1)

        def part(group: str, match: re.Match[str] = match) -> list[Token]:
            if match[group] is None:
                return []
            inner = match[group].strip()
            start = line.count(" ", 0, match.start(group) + match[group].index(inner))
            return found[start : start + inner.count(" ") + 1]

        made = make(match, part)
        span = found[first].start, found[last].end
        fresh = [Token(new.text, *span, new.value) if new.start < 0 else new for new in made]
        out += found[done:first] + fresh
        done = last + 1
    return out + found[done:]


def phrase(text: str) -> re.Pattern[str]:
    """A pattern of whole tokens."""
    return re.compile(rf"(?<!\S)(?:{text})(?!\S)")
