"""What of a clause is understood: a claim counts only where every word around it is known.

A phrase means what it says only among words that let it. "Skip Drama" is a plan, "they skip Drama almost every time it
turns up" is none, and silence is better than a guess. What is left of a clause when its phrases are read must be words
of the grammar or such as change nothing. A count with its unit ("3 of 5 clicked") says the same among unknown words,
unless one of them makes a wish, a guess or a comparison of it.
"""

from lerl.llm.audit.tokens import Token, words

MARKS = frozenset((*"()[]=>/+\u2192", "->", "P", "M", "T", "U", "nothing"))
MENTIONS = frozenset(("M", "it", "they", "them", "these", "those", "both"))
GRAMMAR = frozenset(
    words(
        "and or nor not no neither both also either it they them these those there all any here is has gets do does "
        "did of for with to by in on at from as than despite due after given over behind among vs followed well much "
        "enough alone again out first next instead other others new without yet relative most least highest lowest "
        "second today tonight"
    )
)
"""Words by which sayings and categories are joined."""
VERBS = frozenset(
    words(
        "sign signs shows show makes drew earns earned keeps keep leave leaving sits stands goes go going comes came "
        "come brings brought bring attracted delivered delivers met offers gives adds means suggests suggesting "
        "signals hints hinting proves prove performing doing took takes take try testing tested add choosing chose "
        "mix mixing rotating having made works work serves deserves provides carries holds outweighs know see sure "
        "think believe please thanks okay yes"
    )
)
"""Verbs, and words of politeness, that change nothing of what is said beside them; "a sign of fatigue" says it."""
NOUNS = frozenset(
    words(
        "worth attractive obvious safe engaged engaging proven balanced varied familiar close strong strongly "
        "strongest solid reliable dependable sensible natural logical smart wise steady consistent consistently "
        "definitely certainly truly notably particularly comfortably slightly good best top great nice fine "
        "comfortable ready important key main clicks liking promised option options choice bet place round session "
        "plan variety diversity novelty spot seat slot list lineup line balance core anchor staple pick picks time "
        "room history traction alternative maximize maximise data record far effect opportunity potential engagement "
        "point"
    )
)
"""Nouns, and words beside them, that change nothing where a category stands in the same part."""
DOUBTS = frozenset(
    words(
        "not no nor neither without if might may could would should must will can shall let perhaps maybe probably "
        "possibly likely unlikely hope hopefully expect expecting supposed meant aim aiming target goal want wanted "
        "need needs needed require required until unless before next another every each per more less fewer most "
        "least than almost nearly instead against like similar average total together combined # %"
    )
)
"""Words that make something else of a count."""
OPENERS = ("to ", "out of ", "than ")
"""How a part begins that tells of a purpose, of a choice, or of what was not done: "rather than lean on Drama, ..."."""
PURPOSES = frozenset(("to", "for", "without"))
"""Words behind which a purpose may stand: "rest Drama to keep things lively"."""


def understood(clause: list[Token]) -> list[Token]:
    """The clause, with what is said in a part of it that is not understood taken for a word that nobody knows.

    Parts end at commas and colons. A purpose at the end of a part is left out with what is said in it.

    Args:
        clause: its phrases read, its categories found.
    """
    out: list[Token] = []
    start = 0
    for end in [i for i, token in enumerate(clause) if token.text in (",", ":")] + [len(clause)]:
        part = clause[start:end]
        kept = _kept(part)
        counts = kept < len(part) and not any(token.text in DOUBTS for token in part)
        out += part[:kept] + [_silent(token, counts) for token in part[kept:]] + clause[end : end + 1]
        start = end + 1
    return out


def _kept(part: list[Token]) -> int:
    """How many tokens of a part are understood: all, those before a purpose, or none."""
    if "".join(f"{token.text} " for token in part[:2]).startswith(OPENERS):
        return 0
    known = MARKS | GRAMMAR | VERBS
    known |= NOUNS if any(token.text in MENTIONS for token in part) else frozenset()
    unknown = next((i for i, token in enumerate(part) if token.text not in known), None)
    if unknown is None:
        return len(part)
    return next((i for i in range(unknown, 0, -1) if part[i].text in PURPOSES), 0)


def _silent(token: Token, counts: bool) -> Token:
    """The token, made a word that nobody knows where it is something said, unless it is a count and those count."""
    said = token.text == "P" or (token.text == "nothing" and token.value is not None)
    count = said and token.value.amount is not None and token.value.kind in ("liking", "exposure", "shown", "clicked")
    return Token("?", token.start, token.end) if said and not (count and counts) else token
