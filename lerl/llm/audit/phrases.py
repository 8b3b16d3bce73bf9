"""The phrases in which planners speak of categories, each with what it says.

They are patterns over the texts of tokens: M is a mention of categories, # a number, % a percentage, P something said
already, T a time. Earlier phrases win, so the long ones come first. None repeats a part that repeats, so that reading
takes time in proportion to the text.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from lerl.llm.audit.facts import Amount, Said
from lerl.llm.audit.tokens import ORDINALS, Maker, Token, line_of, phrase, rewrite

Part = Callable[[str], list[Token]]
Made = str | Said | Callable[[re.Match[str], Part], Said | None]

BE = r"(?:is |has |gets |likely |being )"
WORDS = {
    "be": rf"{BE}{{0,3}}",
    "much": "often|much|great deal|lot|lots|heavily|many|several|excessively|constantly|too often|too much|extensively",
    "little": "little|rarely|few|lightly|less|sparse|minimally|not much|not often|slightly",
    "high": "high|strong|great|solid|big|clear|decent|substantial|well|highly|strongly|very high|large|real|genuine",
    "low": "low|weak|little|limited|bad|small|lacking|minimal|not much|scant|meagre|modest",
    "most": "most|best|highest|top|strongest|greatest|biggest|largest|heaviest|maximum|peak",
    "least": "least|lowest|weakest|worst|smallest|fewest|lightest|poorest|minimum",
    "up": "more|better|higher|stronger|greater|heavier|larger|bigger",
    "down": "less|worse|lower|weaker|fewer|lighter|smaller|poorer",
    "liked": "liked|liking|favourite|favoured|preferred|loved|beloved|adored|popular|enjoyed|appealing|promising|"
    "likeable",
    "shown": "shown|showings|showing",
    "exposed": "exposed|exposure|used",
    "clicked": "clicked|clicks rate|clicks through rate|clicks|rate",
    "rested": "rested|fresh",
    "to": "for|of|to|in|on|with|towards|toward|by|among|at",
    "level": "none|no|light|medium|heavy",
    "eq": r"(?:(?:is|has|of|at|around|:|=|stands|sits|level|about|only|near) ){0,3}",
    "allow": "allow|include|pick|choose|select|keep|prioritise|add|promote|retain|emphasise|explore|mix|mix in|"
    "focus on|"
    "lead with|return to|go with|stick with|switch to|start with|turn to|lean on|rotate to|rotate in|rotate into|"
    "rotate towards|rotate toward|pivot to|pivot towards|pivot toward|exploit|recommend|suggest|opt for|rely on|push|"
    "leverage|introduce|test|showcase|highlight|inject|continue with|weave in|switch in|bring back|"
    "bring in|favour|serve|give|go for|stay with|open with|move to|shift to|"
    "use|offer|feature",
    "allows": "allows|includes|picks|chooses|selects|keeps|prioritises|adds|promotes|retains|emphasises|explores|mixes|"
    "focuses on|leads with|returns to|goes with|switches to|favours",
    "allowing": "allowing|including|picking|choosing|selecting|keeping|prioritising|adding|promoting|retaining|"
    "emphasising|exploring|mixing|focusing on|leading with|returning to|going with|sticking with|switching to|"
    "starting with|turning to|rotating to|rotating in|bringing back|favouring|serving|using|offering|trying|featuring",
    "allowed": "allowed|included|picked|chosen|selected|kept|prioritised|added|promoted|retained|chose|went with|"
    "offered",
    "avoid": "avoid|avoids|avoiding|exclude|excludes|excluding|ban|bans|banning|resting|rests",
    "avoided": "avoided|excluded|banned",
    "out": "skip|skips|skipping|drop|drops|dropping|omit|omits|omitting|pause|pauses|pausing|remove|removes|removing|"
    "leave out|leaves out|leaving out|hold back|holding back|holds back|set aside|setting aside|sets aside|bench|"
    "benching|"
    "cut|cutting|sideline|sidelining|hold off on|holding off on|stay away from|staying away from|leave aside|park|"
    "parking|ease up on|easing up on|go easy on|going easy on|cut back on|cutting back on|cut down on|dial back|"
    "cool down|cooling down|cool off|phase out|phasing out|suppress|suppressing|retire|retiring|shelve|shelving|"
    "refrain from|rotate out|rotating out|pivot away from|pivoting away from|shift away from|shifting away from|"
    "instead of|rotate away from|rotating away from|rotates away from|move away from|moving away from|"
    "steer clear of|ease off|back off",
    "omitted": "skipped|dropped(?! to)(?! from)|omitted|paused|removed|left out|held back|set aside|benched|"
    "sidelined|ruled out|parked|"
    "off list|off table",
    "aux": "to|should|must|can|could|will|would|shall|may|might|i|we|U|let|lets|and|then|not|do|,|;|:|.|so|please",
    "fewer": "fewer|less|lower|below|under|underneath|short of|behind|missed|misses|missing|lags|lag|lagging|lagged|"
    "lagged behind|trails|trailed|trailing|failed|fails|worse|shy of",
    "more": "more|higher|above|over|exceed|exceeds|exceeded|exceeding|beyond|beats|beat|ahead of|surpass|surpasses|"
    "surpassed|better|topped|top",
    "gap": r"(?: [a-z]+){0,4}",
    "worn": "tired|fatigue|worn out|worn thin|worn|wearing thin|fed up|burnt out|burned out|tires|tire|overdone",
    "chance": "chance|likelihood|probability|odds",
    "clicking": "clicks {chance}|{chance} of (?:clicks|clicked)",
    "choice": "options?|choices?|alternatives?|candidates?|areas?|themes?|contenders?",
    "rest": "rest|break|pause|breather|time off|rotation",
}
MEASURES = (
    ("liking", "{liked}", 1),
    ("shown", "{shown}", 1),
    ("exposure", "{exposed}|tired", 1),
    ("exposure", "{rested}", -1),
    ("clicked", "{clicked}", 1),
)
SIGNS = {
    ">": "over|above|more than|exceeding|>|greater than|higher than|north of|upwards of",
    "<": "under|below|less than|fewer than|<|lower than",
    ">=": "at least|>=|no fewer than|no less than|minimum of",
    "<=": "at most|<=|no more than|up to|not more than",
    "~": "about|around|roughly|nearly|approximately|~|almost|approx|approx .|circa",
}


def said(found: list[Token]) -> list[Token]:
    """Tokens with every phrase that says something made a P, and every time a T."""
    line = line_of(found)
    for pattern, make in RULES:
        if pattern.search(line):
            found = rewrite(found, pattern, make)
            line = line_of(found)
    return found


def _p(value: Said) -> Token:
    """Something said; a comparison that leaves out with what is a word of its own, for it may be none of categories."""
    return Token("nothing" if value.kind == "more" and not value.others else "P", -1, -1, value)


def _rule(text: str, *made: Made) -> tuple[re.Pattern[str], Maker]:
    """A phrase and what it becomes: names of groups stay, sayings become a P each."""

    def make(match: re.Match[str], part: Part) -> list[Token]:
        out: list[Token] = []
        for new in made:
            if isinstance(new, str):
                out += part(new) if new in match.re.groupindex else [Token(new, -1, -1)]
                continue
            value = new if isinstance(new, Said) else new(match, part)
            out += [_p(value)] if value is not None else []
        return out

    whole = text
    for _ in range(3):
        for name, words in WORDS.items():
            whole = whole.replace(f"{{{name}}}", words if name in ("be", "eq", "gap") else f"(?:{words})")
    return phrase(whole), make


def _say(text: str, *made: Made) -> None:
    RULES.append(_rule(text, *made))


def _amount(part: Part, group: str) -> Amount | None:
    tokens = part(group)
    return tokens[0].value if tokens else None


def _counted(kind: str, what: str, group: str = "n", of: str = "", **more: Any) -> Made:
    """Something said with a number, or two."""

    def make(_: re.Match[str], part: Part) -> Said:
        return Said(kind, what, _amount(part, group), _amount(part, of) if of else None, **more)

    return make


def _zero(kind: str, what: str, of: str) -> Made:
    return lambda _, part: Said(kind, what, Amount(0.0), _amount(part, of))


def _all(_: re.Match[str], part: Part) -> Said:
    return Said("clicked", "rate", _amount(part, "n"), _amount(part, "n"))


def _signed(sign: str) -> tuple[re.Pattern[str], Maker]:
    """A number with how it compares."""

    def make(_: re.Match[str], part: Part) -> list[Token]:
        (token,) = part("n")
        return [Token(token.text, -1, -1, replace(token.value, sign=sign))]

    return phrase(f"(?<!clicks )(?:{SIGNS[sign]}) (?P<n>[#%])"), make


def _time(match: re.Match[str], part: Part) -> list[Token]:
    amount = _amount(part, "n") if "n" in match.re.groupindex else None
    return [Token("T", -1, -1, int(amount.value) if amount else 0)]


def _last(match: re.Match[str], part: Part) -> list[Token]:
    return [Token("T", -1, -1, 1)]


TIMES: list[tuple[re.Pattern[str], Maker]] = [
    (
        phrase(
            r"(?:(?:in|over|during|of|within|for|from|across|out of) )?(?:all )?(?:last|past|latest|previous|recent|"
            r"most "
            r"recent) (?P<n>#) (?:slate|slates)"
        ),
        _time,
    ),
    (phrase(r"(?:(?:in|on|during|of) )?(?:last|latest|previous|most recent) slate"), _last),
    (
        phrase(
            r"(?:(?:in|over|during|of|from|across) )?(?:last|past|latest|recent|most recent) (?:slates|history|past|"
            r"days|"
            r"rounds|turns)|lately|recently|of late|in recent|these days|as of late"
        ),
        _time,
    ),
]
RULES: list[tuple[re.Pattern[str], Maker]] = [
    *TIMES,
    _rule(r"(?:if|unless|until|whether)(?: [^\s,.;!?|]+)*(?= [,.;!?|]|$)"),  # what may be is no claim
    _rule(
        "(?:prevent|reduce|limit|avoid|relieve|minimi[sz]e|mitigate|counter|combat|delay|manage|offset|ease|fight|"
        "preventing|reducing|limiting|avoiding|relieving|minimi[sz]ing|mitigating|countering|combating|delaying|"
        "managing|against|risking|risk of|risk|before)(?: (?:U|more|further|any|growing|potential|possible))?"
        " (?:fatigue|tired|overexposure|over exposure|saturation|{worn})(?! (?:of|with|from|for|on) M)",
        "also",
    ),
    _rule(
        "(?:show|shows|suggest|suggests|indicate|indicates|mean|means|showing|suggesting)(?: that)?"
        "(?= M (?:is|has|gets|does|do) )",
        "also",
    ),
    _rule(
        "(?:liking|exposure) (?:(?:to|vs|and|versus|/|over) )?(?:liking|exposure) (?:ratio|balance|tradeoff|trade|mix|"
        "combination)",
        "also",
    ),
    _rule("(?:ratio|balance|tradeoff|mix|combination|blend) (?:of|between) [a-z]+ and [a-z]+", "also"),
    _rule("shown(?= (?:[a-z]+ )?exposure| # clicks)", "has"),
    _rule("not only|not just|best shown by", "also"),
    _rule("# (?:liked|fresh|rested|tired) (?:,|and|, and) # (?:liked|fresh|rested|tired)", "also"),  # one of them each
    _rule("(?:unlike|compared to|compared with|besides|apart from|other than) M(?= [,.;]|$)", "also"),
    _rule(
        r"(?:{fewer}) clicks \( (?P<n>#) \) than promised \( (?P<m>#) \)",
        Said("promised", "fewer"),
        _counted("clicked", "times"),
        _counted("promised", "value", "m"),
    ),
    _rule(
        r"(?:{more}) clicks \( (?P<n>#) \) than promised \( (?P<m>#) \)",
        Said("promised", "more"),
        _counted("clicked", "times"),
        _counted("promised", "value", "m"),
    ),
    _rule("it is(?= (?:best|better|time|wise|good|to) )", "it"),
    _rule("(?:keep|keeps|keeping|kept|leaves|leaving)(?= (?:it|they|M) (?:fresh|rested|tired))", "has"),
    _rule("(?:clicks|clicked) with U", "unknown"),
    _rule("(?P<n>%) (?:U )?like(?P<m> M)", _counted("liking", "value", place="object"), "m"),
    _rule("(?:by|for|with|to|from|among|in) U", "also"),
    _rule("yet to(?= is )", "not"),
    _rule("no longer|not any longer|anything but", "not"),
    _rule("no signs? of|no trace of|free of|without|lacks|lacking|lack of|nobody|none of us|far from", "not"),
    _rule("more than (?P<n>#) promised", Said("promised", "more"), _counted("promised", "value")),
    _rule("(?:fewer|less) than (?P<n>#) promised", Said("promised", "fewer"), _counted("promised", "value")),
    _rule(
        "(?:{fewer}){gap} (?P<n>#) (?:clicks )?(?:is )?promised(?: clicks)?",
        Said("promised", "fewer"),
        _counted("promised", "value"),
    ),
    _rule(
        "(?:{more}){gap} (?P<n>#) (?:clicks )?(?:is )?promised(?: clicks)?",
        Said("promised", "more"),
        _counted("promised", "value"),
    ),
    _rule(r"(?P<w>liking) \( (?P<n>%) \)", "w", _counted("liking", "value", place="left")),
    _rule(r"(?P<w>exposure) \( (?P<n>#) \)", "w", _counted("exposure", "value", place="left")),
    _rule(
        "(?:good|decent|fair) {clicking}",
        "high",
        "liking",
    ),
    _rule("{clicking}", "liking"),
    _rule("none of (?P<m>they|them|these|those|M)|neither of (?P<o>they|them|these|those)", "m", "o", "not"),
    _rule("de (?:prioritise|prioritising|prioritised)|deprioriti[sz](?:e|es|ed|ing)", "skip"),
    _rule(
        "(?:keep|keeps|kept|keeping|continue|continues|continued|continuing)(?: to)?"
        "(?= (?:gets|has|is|clicks|performing|drawing|earning) )"
    ),
    _rule("{choice}(?= (?:to )?M)"),
    _rule("recent(?= (?:exposure|shown|showings|liking|clicks))"),
    _rule("(?P<k># )?{choice}(?= : M)", "k"),
    *(_signed(sign) for sign in SIGNS),
]


def _promises() -> None:
    fewer, more = Said("promised", "fewer"), Said("promised", "more")
    clicked = _counted("clicked", "times")
    against = (
        r"(?:,|vs|versus|against|of|out of|when|where|though|while|but|and|with|instead of|for|\(|compared to|"
        r"compared with|/|not)"
    )
    value = _counted("promised", "value", place="any")
    for text, what in (("fewer", fewer), ("more", more)):
        start = (
            r"(?:(?:clicks|clicked|fell|falls|fall|falling|got|has|rate|is|came|come|comes|did|does|performs|"
            r"performed|drew) ){0,2}"
        )
        _say(f"{start}{{{text}}}{{gap}} promised (?:clicks )?(?:of )?(?P<n>#)", what, value)
        _say(f"{start}{{{text}}} (?:[a-z]+ ){{0,5}}?promised(?: clicks)?", what)
    _say(
        "promised (?P<m>#) clicks (?:on|for|from) (?P<c>M) (?:, )?(?:(?:but|and|only|saw|gets|has|drew) ){1,3}(?P<n>#)",
        _counted("promised", "value", "m", place="object"),
        "c",
        clicked,
    )
    _say("(?:fell|falls|fall|falling|comes|came|coming) short(?! of)", fewer)
    _say(
        rf"promised (?:clicks )?(?P<m>#) (?:clicks )?{against} (?:(?:only|has|gets|is|clicks|clicked|saw|drew|"
        r"delivered|it|they|but) ){0,3}(?P<n>#)(?: clicks| clicked)?(?! %)",
        _counted("promised", "value", "m"),
        clicked,
    )
    _say(r"under ?(?:perform|deliver)(?:s|ed|ing)?|disappoint(?:s|ed|ing)|missed promised", fewer)
    _say(r"(?:out|over) ?(?:perform|deliver)(?:s|ed|ing)?", more)
    _say("promised (?:more|higher)(?: clicks)? than (?:was |were )?(?:clicked|delivered|got|has)", fewer)
    kept = Said("promised", "kept")
    _say(
        "(?:as many clicks )?as promised|(?:keep|keeps|kept|meet|meets|met|match|matches|reach|reached|"
        "fulfil|live up to|in line with|deliver|delivered)(?: [a-z]+){0,2} promised(?: clicks)?",
        kept,
    )
    rate, promised = _counted("clicked", "rate", "n", "k"), _counted("promised", "value", "m")
    few = "(?:clicked |clicks )?(?P<n>#) (?:clicks )?(?:of|out of|/) (?P<k>#)(?: (?:clicked|shown|clicks))?"
    _say(few + " (?:vs|versus|against|but|where|when|while|though|,|with) (?P<m>#) (?:is )?promised", rate, promised)
    _say(
        rf"(?:clicked |clicks )?(?P<n>#) (?:clicked |clicks )?{against} (?:[a-z]+ ){{0,2}}?(?P<m>#) (?:clicks )?"
        r"(?:is )?promised",
        clicked,
        _counted("promised", "value", "m"),
    )
    _say(
        rf"(?:clicked |clicks )(?P<n>#) (?:{against} )?(?:[a-z]+ ){{0,2}}?promised (?P<m>#)",
        clicked,
        _counted("promised", "value", "m"),
    )
    _say("promised (?:clicks )?{eq}(?P<n>#)(?: clicks)?", value)
    _say("(?P<n>#) (?:clicks )?(?:is )?promised", value)


def _counts() -> None:
    rate = _counted("clicked", "rate", "n", "m", place="noun")
    shown = "(?: {be}(?:shown|showings))?"
    _say("shown in (?P<n>#) (?:of )?(?:T|slates)", _counted("shown", "slates"))
    _say("(?:clicked|clicks) (?:on |is |: |of )?(?P<n>#) (?:of|out of|/|from) (?:all )?(?P<m>#)" + shown, rate)
    _say("of (?P<m>#) shown , (?P<n>#) (?P<c>M) {be}clicked", rate, "c")
    _say("of (?P<m>#) (?P<c>M )?" + "{be}(?:shown |showings )?(?:, )?{be}(?P<n>#) {be}(?:clicked|clicks)", rate, "c")
    _say(
        "(?P<n>#) (?:clicks )?(?:of|out of|/|from) (?:all )?(?P<m>#)"
        + shown
        + "(?: (?P<c>M))?"
        + shown
        + "(?: {be}(?:clicked|clicks))?(?: on)?",
        rate,
        "c",
    )
    _say(
        "(?P<n>#) clicks (?:in|on|over|across|per|for|with|to|against) (?P<m>#)(?: (?:shown|showings))?(?!"
        " (?:slates|slate))",
        rate,
    )
    _say("(?P<n>#) clicks (?:in|on|over|across|for) (?P<m>#) (?P<c>M)(?: showings)?", rate, "c")
    _say("(?:all|every|each)(?: of)? (?P<n>#)(?: (?P<c>M))?" + shown + " {be}clicked", _all, "c")
    _say("none of (?P<n>#)(?: (?P<c>M))?" + shown + " {be}clicked", _zero("clicked", "rate", "n"), "c")
    _say("clicked none of (?P<n>#)" + shown, _zero("clicked", "rate", "n"))
    _say(
        "(?:every|always|each) (?:it )?(?:is )?shown (?:it )?(?:is )?clicked|clicked (?:every|always|each)"
        " (?:it )?(?:is )?shown",
        Said("clicked", "all"),
    )
    _say(
        "clicks (?:on|for|in) (?P<c>M) (?:fell|dropped|went|sank|down) to (?P<n>#|no|none|nothing)",
        lambda _, part: Said("clicked", "times", _amount(part, "n") or Amount(0.0), place="noun"),
        "c",
    )
    _say(
        "clicked (?:all|every)(?: of)?(?: showings)?|(?:all|every|each)(?: one)?(?: showings)? (?:is |"
        "shown ){0,2}clicked",
        Said("clicked", "all"),
    )
    _say("(?:all|every|each)(?: of)? (?P<c>M)" + shown + " {be}clicked", Said("clicked", "all"), "c")
    _say(
        "none(?: of)?(?: (?P<c>M))?" + shown + " {be}clicked|clicked none(?: of)?(?P<d> M)?",
        Said("clicked", "yes", negated=True),
        "c",
        "d",
    )


def _clicks() -> None:
    rate = _counted("clicked", "rate", "n", "m", place="noun")
    shown = "(?: {be}(?:shown|showings))?"
    percent = _counted("clicked", "percent", place="noun")
    _say("{clicked} {eq}(?P<n>%)(?: of)?" + shown, percent)
    _say("(?P<n>%) (?:of )?(?P<c>M )?" + "{be}(?:clicked|clicks rate|rate|clicks)", percent, "c")
    times = _counted("clicked", "times")
    _say("(?P<n>#) (?:of )?(?P<c>M) {be}(?:clicked|clicks)", times, "c")
    _say("(?P<n>#) (?P<c>M) {be}(?:shown|showings)(?P<t> T)?", _counted("shown", "times"), "c", "t")
    some = r"(?=$| [,.;)|]| and| but| while| so| T)"
    _say("clicked (?:on )?(?P<c>M) (?P<n>#) (?:of|/|out of) (?P<m>#)", rate, "c")
    _say(f"clicked (?:on )?(?P<c>M) (?P<n>#){some}", times, "c")
    _say(f"(?:showed|shown) (?P<c>M) (?P<n>#){some}", _counted("shown", "times"), "c")
    _say("not (?:single|#)(?: of)? (?P<c>M)" + shown + " {be}clicked", Said("clicked", "yes", negated=True), "c")
    half = Said("clicked", "percent", Amount(50.0, "~"), place="noun")
    _say("half(?: of)? (?P<c>M)" + shown + " {be}clicked|clicked half(?: of)?(?P<d> M)?", half, "c", "d")
    _say(
        "most of (?P<c>M)" + shown + " {be}clicked|clicked most of(?P<d> M)?",
        Said("clicked", "often", place="noun"),
        "c",
        "d",
    )
    _say(
        "few of (?P<c>M)" + shown + " {be}clicked|clicked few of(?P<d> M)?",
        Said("clicked", "few", place="noun"),
        "c",
        "d",
    )


def _few_clicks() -> None:
    _say(
        "clicked (?:on |for |: |is |has )?(?P<n>#)(?: clicks)?|clicks {eq}(?P<k>#)",
        lambda _, part: Said("clicked", "times", _amount(part, "n") or _amount(part, "k")),
    )
    _say("(?P<n>#) (?:is )?(?:clicks|clicked)", _counted("clicked", "times", place="noun"))
    _say("(?:shown|showings) {eq}(?P<n>#)(?! slates)(?: showings)?", _counted("shown", "times"))
    _say("(?P<n>#) (?:is )?(?:showings|shown)", _counted("shown", "times", place="noun"))
    none = Said("clicked", "yes", negated=True, place="noun")
    _say("clicked not(?=$| [,.;])", none)
    _say("no (?P<c>M) {be}(?:clicked|clicks)|not (?:has |is |gets )?any clicks", none, "c")
    _say("(?:no|not any) showings", Said("shown", "yes", negated=True))
    percent = _counted("clicked", "percent", place="noun")
    _say("(?:clicks through|clicks rate|rate) (?:on|for|of|in) (?P<c>M) {eq}(?P<n>%)", percent, "c")
    _say("no (?P<c>M) {be}shown(?P<t> T)?", Said("shown", "yes", negated=True), "c", "t")
    _say(
        "(?:no|zero|not any|not single|not one|not) clicks|clicks {eq}none|unclicked|clicked none|"
        "not {be}clicked(?: on)?",
        none,
    )
    _say("ignored?|ignores|overlooked|passed over", Said("clicked", "ignored", place="noun"))
    often, few = Said("clicked", "often", place="noun"), Said("clicked", "few", place="noun")
    _say(
        "(?:many|often|lots of|lot of|plenty of|good|strong|high|frequent|healthy|solid) (?:clicks|clicks rate|rate|"
        "clicked)"
        "|clicked (?:often|well|mostly|much|lot|lots|heavily)|(?:often|mostly|regularly|well|usually|heavily) clicked"
        "|(?:rate|clicks|clicks rate) is (?:high|strong|good)",
        often,
    )
    _say(
        "(?:few|rare|little|low|weak|poor|hardly any|rarely any|rarely|scarce|lightly|not many|very few) (?:clicks|"
        "clicks rate|rate|"
        "clicked)|clicked (?:rarely|little|poorly|very little|not much)|(?:rate|clicks|clicks rate) is (?:low|weak|"
        "poor)",
        few,
    )


def _ranks() -> None:
    among = "(?:among|one of|# of|part of|some of|between) "
    for measure, words, way in MEASURES:
        for side, sign in (("most", 1), ("least", -1)):
            rank = sign * way

            def made(match: re.Match[str], part: Part, measure: str = measure, rank: int = rank) -> Said:
                place = ORDINALS.get((match["o"] or "").strip(), 1)
                half = "half" if match["a"] and "# of" not in match["a"] else ""
                if match["a"] and "# of" in match["a"] and part("a")[0].value.value == 1:
                    half = "half"
                amount = _amount(part, "k")
                return Said("rank", measure, amount, word=half, rank=rank * place, place="noun")

            prefix = rf"(?P<a>{among})?(?P<o>(?:{'|'.join(ORDINALS)}) )?(?P<k># )?"
            _say(
                prefix + f"{{{side}}} (?:often |heavily |highly |well |T |strongly )?(?:{words})(?: liking| T| clicks|"
                f" score)?",
                made,
            )
            _say(prefix + f"(?:{words})(?: of all)?(?P<v> P)? (?:is )?{{{side}}}(?: often| heavily)?", "v", made)
    _say(
        "(?:ranks|rank|is|comes|placed) first (?:in|on|for|by) liking|is top(?=$| [,.;])",
        Said("rank", "liking", rank=1),
    )
    listed = _counted("rank", "liking", rank=1, place="noun")
    _say("top(?= (?:: )?M)", Said("rank", "liking", rank=1, place="noun"))
    _say("top (?P<n>#) (?:[,:] )?(?P<m>M)", _counted("rank", "liking", rank=1, place="object"), "m")
    _say(
        "(?:likes|enjoys|loves|prefers|like|enjoy|love|prefer) (?P<m>M) (?:most|best)",
        "m",
        Said("rank", "liking", rank=1, place="left"),
    )
    _say("tops (?:list|in liking|liking|for liking)|top of list", Said("rank", "liking", rank=1))
    _say("top (?P<n>#)(?: (?:by|in|on|for))? (?:liking|liked|list)", listed)
    _say("is top (?P<n>#)(?=$| [,.;:])", listed)
    _say("freshest|least tired", Said("rank", "exposure", rank=-1, place="noun"))
    _say("heaviest shown|most tired|tiredest", Said("rank", "exposure", rank=1, place="noun"))
    _say(
        "(?P<a>one of |among )?(?P<k># )most disliked|disliked most|most disliked",
        Said("rank", "liking", rank=-1, place="noun"),
    )


def _against(measure: str, rank: int) -> Made:
    """More of a measure, or less of it, than the categories of the group m."""

    def made(_: re.Match[str], part: Part) -> Said:
        others = part("m")
        return Said("more", measure, rank=rank, others=others[0].value if others else (), place="left")

    return made


def _compared() -> None:
    prep = "(?:(?:for|of|to|in|on|with|U|by|those) ){0,2}"
    everyone = "(?:any|all|everything|anything|every|others|each|rest|other)(?: (?:other|others|else|of|rest)){0,2}"
    for measure, words, way in MEASURES:
        for side, sign in (("up", 1), ("down", -1)):
            rank = sign * way
            both = (
                f"(?:{{{side}}} (?:often |heavily |T )?(?:{words})|"
                f"(?:{words})(?: T)?(?: is)?(?: much)? {{{side}}}(?: often| heavily)?(?: T)?)"
            )
            _say(
                f"{both}(?: [a-z]+){{0,2}}? (?:than|compared to|compared with|vs|versus) {prep}(?P<m>M)",
                _against(measure, rank),
            )
            _say(f"{both} {prep}(?P<s>M) than {prep}(?P<m>M)", "s", _against(measure, rank))
            _say(f"{both} than {everyone}", Said("rank", measure, rank=rank, place="noun"))
            _say(both + "(?! {to} M)(?! clicks)", Said("more", measure, rank=rank, place="left"))
        _say(
            f"not (?:as|so|nearly as|quite as) (?:often )?(?:{words})(?: (?:much|well|often))? as (?P<m>M)",
            _against(measure, -way),
        )
        _say(
            f"(?:{words}) {prep}(?P<s>M) (?:is )?(?:exceeds|beats|surpasses|tops|above|over|outranks|ahead of|"
            f"{{up}} than) {prep}(?P<m>M)",
            "s",
            _against(measure, way),
        )
        _say(
            f"(?:{words}) {prep}(?P<s>M) (?:is )?(?:trails|below|under|behind|{{down}} than) {prep}(?P<m>M)",
            "s",
            _against(measure, -way),
        )
        _say(
            f"(?:as|equally|just as|similarly|equal) (?:{words})(?: (?:much|well|often))? as (?P<m>M)|(?:{words})"
            f" (?:at least )?as (?:much|well|often) as (?P<k>M)",
            "nothing",
            "m",
        )
        _say(
            f"(?:beats|beat|outranks|tops|exceeds|surpasses|outscores|leads|ahead of|above|over|trumps|outdoes)"
            f" (?P<m>M) (?:in|on|for|by|in "
            f"terms of) (?:{words})",
            _against(measure, way),
        )
        _say(
            f"(?:trails|behind|below|lags|lags behind|under) (?P<m>M) (?:in|on|for|by|in terms of) (?:{words})",
            _against(measure, -way),
        )
        _say(
            f"(?<!# )(?<!% )(?:{words}) (?:is )?(?:exceeds|beats|surpasses|tops|above|over|outranks|ahead of) "
            f"{prep}(?P<m>M)",
            _against(measure, way),
        )
        _say(f"(?:{words}) (?:is )?(?:trails|below|under|behind) {prep}(?P<m>M)", _against(measure, -way))


def _preferred() -> None:
    _say("fresher than (?P<m>M)", _against("exposure", -1))
    more, less = _against("liking", 1), _against("liking", -1)
    likes = "(?:prefers|prefer|likes|like|enjoys|enjoy|loves|favours)"
    _say(f"{likes} (?P<s>M) (?:to|over|rather than|more than|above|better than) (?P<m>M)", "s", more)
    _say(f"{likes} (?P<s>M) less than (?P<m>M)", "s", less)
    _say("(?:preferred|favoured|liked) (?:to|over|above|ahead of) (?P<m>M)", more)
    _say(
        "(?:outranks|beats|outscores|(?:ranks|rated|rates|sits) (?:above|ahead of|higher than)|better than|"
        "more than) (?P<m>M)",
        more,
    )
    _say("(?:(?:ranks|rated|rates|sits) (?:below|behind|lower than)|worse than) (?P<m>M)", less)


def _levels() -> None:

    def word(kind: str) -> Made:
        def made(match: re.Match[str], part: Part) -> Said:
            level = {"no": "none"}.get(match["w"], match["w"])
            return Said(kind, "word", word=level, place="noun")

        return made

    prep = "(?:(?:for|of|to|in|on|with|towards|toward|at) )?"
    for noun in ("liking", "exposure"):
        for one, two in (("high", "low"), ("low", "high")):
            _say(
                f"{noun} {{eq}}{{{one}}} {{to}} (?P<m>M) (?:and|,|but|while|, and|, but) {{{two}}} {{to}} (?P<k>M)",
                Said(noun, one, place="noun"),
                "m",
                "and",
                Said(noun, two, place="noun"),
                "k",
            )
    for text in ("liking", "exposure"):
        kind = text
        own = "best|good|fair|poor" if kind == "liking" else "none|no|light|medium|heavy"
        noun = "(?:liking|liked)" if kind == "liking" else "(?:exposure|exposed)"
        if kind == "exposure":
            _say(f"no {noun}", Said(kind, "word", word="none", place="noun"))
        for what in ("high", "low"):
            value = Said(kind, what, place="noun")
            extra = "|little|negligible" if what == "low" else "|significant"
            _say(f"{noun} {prep}(?P<m>M) {{eq}}(?:(?:very|too) )?(?:{{{what}}}{extra})", value, "m")
            _say(f"{noun} {{eq}}(?:(?:very|too) )?(?:{{{what}}}{extra})(?! %)", value)
            _say(f"(?:{{{what}}}{extra}) (?:enough )?(?:in |on )?{noun}", value)
        _say(f"{noun} {prep}(?P<m>M) {{eq}}(?P<w>{own})", word(kind), "m")
        _say(f"{noun} {{eq}}(?P<w>{own})", word(kind))
        _say(f"(?P<w>{own}) (?:in |on )?{noun}", word(kind))
        number = "[%#]" if kind == "liking" else "#"
        amount = _counted(kind, "value", place="noun")
        worth = "(?: slates)?(?: worth)?"
        _say(f"{noun} {prep}(?P<m>M) {{eq}}(?P<n>{number}){worth}", amount, "m")
        _say(f"{noun} {{eq}}(?P<n>{number}){worth}", amount)
        _say(f"(?P<n>{number}) (?:slates )?(?:worth )?(?:of )?{noun}", amount)


def _more_levels() -> None:
    percent = _counted("liking", "value", place="noun")
    for noun, kind, what in (
        ("exposure", "exposure", "value"),
        ("showings|shown", "shown", "times"),
        ("clicks|clicked", "clicked", "times"),
    ):
        _say(f"(?:{noun}) : (?P<m>M) (?P<n>#)(?=$| [,.;])", _counted(kind, what), "m")
    chance = "(?:chance|likelihood|probability|odds)(?: of)?(?: (?:click|clicks|clicked))?"
    _say(f"{chance} {{eq}}(?P<n>%)", percent)
    _say(f"(?:at |is |of )?(?P<n>%)(?: {chance})?", percent)
    _say("(?:heavily|highly) (?:exposed|exposure)", Said("exposure", "word", word="heavy"))
    _say("(?:medium|fairly) exposed", Said("exposure", "word", word="medium"))
    _say("lightly (?:exposed|exposure)", Said("exposure", "word", word="light"))
    _say("not exposed|unexposed|zero exposed", Said("exposure", "word", word="none"))
    _say("(?:much|lot of|lots of|plenty of|great deal of) exposure", Said("exposure", "high", place="noun"))
    high, low = Said("exposure", "high", place="noun"), Said("exposure", "low", place="noun")
    _say("shown {little} of (?P<m>M)", replace(low, place="object"), "m")
    _say(
        "over ?exposed|over exposure|overexposure|overused|overplayed|overshown|saturated|oversaturated|saturation|"
        "overserved|over shown"
        "|over used|(?:shown|used)(?: T)? {much}(?: T)?|{much} (?:T )?(?:shown|used|showings)|too many showings|"
        "overloaded|dominat(?:es?|ed|ing|ant)(?: T)?",
        high,
    )
    _say(
        "under ?exposed|underused|undershown|under shown|underexposure|(?:shown|used)(?: T)? {little}(?: T)?|"
        "{little} (?:T )?(?:shown|used|"
        "showings)",
        low,
    )
    _say("exposed(?P<t> T)?", Said("shown", "yes", window=0), "t")


def _tiredness() -> None:
    tired, left = Said("tired", "yes", place="noun"), Said("tired", "yes", place="left")
    need = (
        "(?:needs|need|needing|deserves|deserve|requires|require|wants|want|due|due for|could use|calls for|"
        "in need of|needed)"
    )
    _say("(?:needs|need|deserves) (?:no|not) {rest}", replace(left, negated=True))
    _say(f"{need} (?:some |to )?(?:{{rest}}|recover|recovery)(?: from)?(?P<m> M)?", left, "m")
    _say(
        "(?:U is|U has|U grows|U grown|U are|grown|growing|grow|grew) tired (?:of|with|by|from) (?P<m>M)",
        replace(tired, place="object"),
        "m",
    )
    _say("(?:U )?not is tired (?:of|with|by|from) (?P<m>M)", "not", replace(tired, place="object"), "m")
    _say("tired (?:of|by) (?P<m>M)", replace(tired, place="object"), "m")
    _say("{worn}(?: (?:effects?|signs?|risk))?", tired)
    _say("recovered|untired|unfatigued", replace(tired, negated=True))


def _plans() -> None:
    allow, avoid, out = (Said("plan", what, place="object") for what in ("allow", "avoid", "out"))
    left = [replace(each, place="left") for each in (allow, avoid, out)]
    _say(
        "(?:give|gives|giving|gave|given|let|lets|letting|grant|granting|grants) (?P<m>M|it|they) (?:some |"
        "to )?(?:{rest}|recover)",
        replace(avoid, place="object"),
        "m",
    )
    _say("(?:give|gives|giving|gave|given) (?:some |to )?(?:{rest}) (?:to|for) (?P<m>M)", avoid, "m")
    _say("(?:take|takes|taking|took) (?:{rest}) from", avoid)
    _say("(?:give|gives|giving|gave) (?P<m>M|it|they) (?:try|chance|go|turn|shot|place|spot)", allow, "m")
    _say(
        "(?:leave|leaves|leaving|left|hold|holds|holding|held|keep|keeps|keeping|kept|put|putting) (?P<m>M|it|"
        "they) (?:is )?(?:out|off|away|"
        "aside|back|on hold|resting|avoided)",
        out,
        "m",
    )
    _say("(?:gets|takes|take|taking|given|to have|will have|should have|is on|on) (?:{rest})", left[1])
    _say(
        "(?:should )?(?:is )?(?:stays|stay|sits|sit|left|leaves|goes|go|kept|stand|stands) out|is out(?! of)|sidelined|"
        "stays off|sits this # out",
        left[2],
    )
    _say(
        "(?:is )?(?:stays|stay|goes|go) in|is in(?=$| [,.;])|makes? cut|comes? first|goes first|go first|is first|"
        "first(?=$| [,.;])|"
        "leads(?=$| [,.;]| because| as| since| while| but| and)|gets in|takes lead|gets (?:chance|try|turn|go|shot|"
        "spot)",
        left[0],
    )


def _swaps() -> None:
    allow, out = Said("plan", "allow", place="object"), Said("plan", "out", place="left")
    swap = "(?:replace|replaces|replacing|swap|swaps|swapping|substitute|substituting)"
    _say(f"{swap} (?P<m>M|it|they) (?:with|for|by)(?= M)", "m", out, allow)
    _say("(?P<m>M) in(?=$| [,.;])", "m", replace(allow, place="left"))
    _say("(?P<m>M) (?:out|goes)(?=$| [,.;])", "m", out)
    _say("[a-z]+ away from (?P<m>M) (?:into|to|towards|toward)(?= M)", replace(out, place="object"), "m", allow)
    _say("(?:replaced|swapped|substituted) (?:with|for|by)(?= M)", out, allow)
    _say(
        "(?:pair|pairs|paired|pairing|mix|mixing|combine|combining|blend|blending|balance|balancing) (?P<m>M|it|they)"
        " with(?= M)",
        allow,
        "m",
        allow,
    )
    _say("(?:substitute|substituting|replace|replacing) with(?= M)|instead(?= M)|(?<!U )(?<!they )prefer(?= M)", allow)


def _passive_plans() -> None:
    allow, avoid, out = (Said("plan", what, place="object") for what in ("allow", "avoid", "out"))
    left = [replace(each, place="left") for each in (allow, avoid, out)]
    _say("stop (?:showing|{allowing})", out)
    _say("(?:room|time|way|calls?|calling) for(?= M)|back (?P<m>M|it|they) up with(?= M)", allow)
    can = "(?:can|should|must|could|will|may|shall|to|would)"
    _say(can + " (?:is )?(?:rest|rested|resting)(?! M)", left[1])
    _say("(?:can|could|may|might) is shown", "nothing")
    _say(can + " is (?:shown|{allowed})", left[0])
    _say(can + " is {avoided}", left[1])
    _say(can + " is {omitted}", left[2])
    _say("(?:{allow}|{allows}|{allowing})(?= (?:: )?(?:[a-z]+ ){0,2}(?:M|it|they)\\b)", allow)
    _say("(?:show|showing|try|tries|trying)(?= (?:more |some |out |again )?(?:M|it|they)\\b)", allow)
    _say("(?<=not ){allow}", allow)
    _say("{allowed}", replace(allow, place="noun"))
    _say("(?:is )?(?:resting|rests)(?! (?:P )?M)", left[1])
    _say("(?:part of|in|on) (?:plan|slate|rotation)(?! T)", left[0])
    _say("out of (?:plan|rotation|slate)", left[2])
    _say("(?:\u2192|>|:|=) (?:{avoid}|rest)(?! M)(?! :)", left[1])
    _say("(?:\u2192|>|:|=) (?:{allow}|{allowed})(?! M)(?! :)", left[0])
    _say("{avoid}", avoid)
    _say("{avoided}|on avoid list|in avoid list|to is avoided", replace(avoid, place="noun"))
    _say("rest(?= (?:: )?(?:M|it|they)\\b)", avoid)
    _say("no (?:more )?(?P<m>M)(?=$| [,.;])", replace(out, place="object"), "m")
    _say("{out}", out)
    _say("{omitted}", replace(out, place="noun"))


def _plain() -> None:
    away = Said("shown", "yes", window=0, negated=True)
    _say(
        "(?:well )?rested(?: well)?|fresh|freshly rested|well rest|(?:has|after) (?:some |good |long |"
        "enough )?(?:{rest})(?: T)?|off(?= T)",
        away,
    )
    _say(
        "(?:absent|missing|gone|away|not in)(?: from)? (?P<t>T)",
        lambda _, part: replace(away, window=part("t")[0].value),
    )
    _say("absent", away)
    _say("(?:while|long|ages) since (?P<m>M) {be}shown", away, "m")
    _say("is not (?P<t>T)(?=$| [,.;])", lambda _, part: replace(away, window=part("t")[0].value))
    _say("is (?P<t>T)(?=$| [,.;])", lambda _, part: replace(away, negated=False, window=part("t")[0].value))
    _say("no (?P<m>M) (?P<t>T)", replace(away, place="object"), "m", "t")
    _say(
        "(?:unseen|unshown|undisplayed|unserved|unexplored|untouched|untapped(?! liking)|untested|untried|unused)"
        "(?P<t> T)?",
        Said("shown", "yes", negated=True),
        "t",
    )
    _say("shown not(?=$| [,.;])", Said("shown", "yes", negated=True))
    _say("(?P<t>T) shown", Said("shown", "yes"), "t")
    _say("showed(?P<t> T)?", Said("shown", "yes", place="object"), "t")
    _say("shown(?P<t> T)?", Said("shown", "yes"), "t")
    _say(
        "clicked(?: on)?(?P<t> T)?|(?:gets|has|earns|draws|drew|earned|attracts|"
        "attracted) clicks(?! rate)(?P<u> T)?|clicks on(?= M(?:$| [,.;)]| and| but| while| T))",
        Said("clicked", "yes", place="noun"),
        "t",
        "u",
    )
    _say(
        "disliked|unliked|unpopular|unloved|hated|dislike|poorly liked|little liked|rarely liked|weakly liked",
        Said("liking", "low"),
    )
    _say(
        "(?:well |much |highly |strongly |clearly )?(?:liked|loved|enjoyed|favoured|preferred|popular|appealing|"
        "beloved|adored|"
        "favourite|appreciated)(?: (?:much|lot|well))?",
        Said("liking", "high"),
    )
    _say("well received|highly rated|rated highly", Said("liking", "high"))
    _say(
        "(?:likes|like|enjoys|enjoy|loves|love|prefers|prefer|adores|fond of|keen on|fan of|into|"
        "(?:cares|care) (?:much )?for|"
        "interested in)(?= (?:[a-z]+ ){0,1}(?:M|it|they)\\b)",
        Said("liking", "high", place="object"),
    )
    _say(
        "(?:dislikes|dislike|hates|hate|disliking)(?= (?:[a-z]+ ){0,1}(?:M|it|they)\\b)",
        Said("liking", "low", place="object"),
    )


def _bare_words() -> None:
    """The words of the question alone: "Drama best, Rock heavy"."""
    ends = r"(?=$| [,.;:)|>\u2192]| P| and| or| but| with)"
    begins = "(?P<b>M|is|still|=|:|,|and|P) "
    for text in ("heavy", "medium", "light", "none"):
        _say(f"{begins}{text}{ends}", "b", Said("exposure", "word", word=text, place="left"))
        _say(f"^{text}(?=$| [,;])", Said("exposure", "word", word=text, place="left"))
        _say(f"{text}(?= : M)", Said("exposure", "word", word=text, place="noun"))
    for text in ("best", "good", "fair", "poor"):
        _say(f"(?P<b>M|=|still) {text}{ends}", "b", Said("liking", "word", word=text, place="left"))
        _say(f"{text}(?= : M)|^{text}(?= ,)", Said("liking", "word", word=text, place="noun"))
    for word in ("best", "good", "fair", "poor"):
        _say(
            f"(?:rated |rates |judged |marked |is |: )+{word}(?=$| [,.;:)|]| and| but)".replace(")+", ")"),
            Said("liking", "word", word=word, place="left"),
        )


for _phrases in (
    _promises,
    _counts,
    _clicks,
    _few_clicks,
    _ranks,
    _compared,
    _preferred,
    _levels,
    _more_levels,
    _tiredness,
    _swaps,
    _plans,
    _passive_plans,
    _plain,
    _bare_words,
):
    _phrases()
