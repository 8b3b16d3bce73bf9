"""What reasons claim, and whether it is true: held to made explanations, of which that is known."""

import itertools
import time
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st

from lerl.llm.audit.claims import Claim, Facts, Given, against, claims, given
from lerl.planners.llm.prompt import Prompts
from tests.lerl.llm.audit.made_blind_reasons import FIRST, SECOND, THIRD, Made, blind_reasons
from tests.lerl.llm.audit.made_fresh_reasons import CHATTY, TERSE
from tests.lerl.llm.audit.made_reasons import HELD_OUT, PHRASES, reasons

NAMES = ("Drama", "Comedy", "Action", "Folk Rock", "Rock", "Health", "Other", "Sci-Fi")
FACTS = {
    0: Facts(62.0, 0.4, 6, 0, 3.1),
    1: Facts(70.0, 2.6, 24, 5, 14.0),
    2: Facts(30.0, 0.0, 0, 0, 0.0),
    3: Facts(45.0, 1.4, 12, 6, 5.0),
    4: Facts(20.0, 0.0, 2, 1, 0.4),
    5: Facts(55.0, 0.0, 0, 0, 0.0),
    6: Facts(10.0, 0.6, 3, 3, 0.3),
    7: Facts(40.0, 1.0, 9, 2, 3.6),
}
SLATES = ({1: (3, 6)}, {1: (1, 4), 3: (2, 2)}, {3: (2, 4), 6: (2, 2)}, {1: (0, 6)}, {0: (0, 3), 1: (0, 3)})
KNOWN = Given(NAMES, FACTS, SLATES, allowed=(5, 0), avoid=(1,))
WORDS = (("fair", "none"), ("best", "heavy"), ("poor", "light"), ("good", "medium"))
COARSE = Given(NAMES[:4], {c: Facts(*words, None, None, None) for c, words in enumerate(WORDS)}, (), (3,), (1,))


def judged(text: str, known: Given = KNOWN) -> list[tuple[str, str, bool]]:
    return [
        (known.names[claim.category], claim.kind, claim.true)
        for claim in claims(text, known)
        if claim.category is not None
    ]


@pytest.mark.parametrize("share", [0.1, 0.2, 0.3, 0.4, 0.5])
@pytest.mark.parametrize("coarse", [False, True], ids=["full", "coarse"])
@pytest.mark.parametrize(("phrases", "count"), [(PHRASES + HELD_OUT, 500), (HELD_OUT, 150)], ids=["all", "held out"])
def test_false_claims_are_found_and_faithfulness_is_estimated(
    phrases: tuple[tuple[str, str], ...], count: int, coarse: bool, share: float
) -> None:
    hits = flagged = planted = 0
    true = said = told_true = told = 0
    for session, reason in reasons(count, share, coarse, round(100 * share), phrases):
        known = given(session.system, session.user, session.allowed, session.avoid)
        found = claims(reason.text, known)
        false = Counter(category for category, right in reason.claims if not right)
        seen = Counter(claim.category for claim in found if not claim.true)
        hits += sum((false & seen).values())
        flagged, planted = flagged + sum(seen.values()), planted + sum(false.values())
        true, said = true + sum(right for _, right in reason.claims), said + len(reason.claims)
        told_true, told = told_true + sum(claim.true for claim in found), told + len(found)
    assert planted > 20
    assert hits / flagged >= 0.95
    assert hits / planted >= 0.95
    assert abs(told_true / told - true / said) <= 0.02


def matched(made: list[Made], found: list[Claim]) -> tuple[list[Made], list[Claim]]:
    """Made claims found with their category, one of their kinds and their truth, each once; and the claims left."""
    left, hit = list(found), []
    for one in made:
        for claim in left:
            if (claim.category, claim.true) == (one.category, one.true) and claim.kind in one.kinds:
                left.remove(claim)
                hit.append(one)
                break
    return hit, left


def measured(lines: str, count: int, share: float) -> tuple[float, float, float]:
    """Precision and recall of false claims in a set of made reasons, and how far off faithfulness is."""
    hits = flagged = planted = 0
    true = said = told_true = told = 0
    for session, text, made, maybe in blind_reasons(count, share, round(100 * share), lines):
        found = list(claims(text, given(session.system, session.user, session.allowed, session.avoid)))
        hit, left = matched(made, found)
        more, _ = matched(maybe, left)
        hits += sum(not one.true for one in hit)
        flagged, planted = flagged + sum(not one.true for one in found), planted + sum(not one.true for one in made)
        true, said = true + sum(one.true for one in made), said + len(made)
        told_true, told = told_true + sum(one.true for one in found) - len(more), told + len(found) - len(more)
    assert planted > 20
    assert abs(planted / said - share) <= 0.01
    return hits / flagged, hits / planted, abs(told_true / told - true / said)


@pytest.mark.parametrize("share", [0.1, 0.2, 0.3, 0.4, 0.5])
@pytest.mark.parametrize(
    ("lines", "count"),
    [(FIRST + SECOND + THIRD, 500), (SECOND + THIRD, 200), (TERSE, 300)],
    ids=["all", "later", "terse"],
)
def test_false_claims_are_found_in_reasons_written_blind(lines: str, count: int, share: float) -> None:
    precision, recall, off = measured(lines, count, share)
    assert precision >= 0.95
    assert recall >= 0.95
    assert off <= 0.02


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5])
def test_what_is_not_understood_is_not_called_false(share: float) -> None:
    precision, recall, _ = measured(CHATTY, 500, share)
    assert precision >= 0.9
    assert recall >= 0.3


@pytest.mark.parametrize(
    "text",
    [
        "they skip Comedy almost every time it turns up",
        "to avoid fatigue with Rock, variety matters",
        "rather than lean on Rock, something new",
        "out of everything offered, Rock soaked up most of the screen",
        "Rock might be tired and Drama could be liked",
        "Rock was supposed to bring 9 clicks",
        "Rock will not be bored of",
        "Health hasn't clicked with the user",
        "I like Rock",
        "Rock is liked 20% more than before",
    ],
)
def test_what_is_not_understood_is_no_claim(text: str) -> None:
    assert judged(text) == []


def test_a_count_and_what_stands_before_a_purpose_are_understood() -> None:
    assert judged("nobody would have dreamt of it, yet Comedy charmed them with 5 clicks") == [
        ("Comedy", "clicked", True)
    ]
    assert judged("avoid Comedy to keep the mood sunny") == [("Comedy", "plan", True)]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("5 of 24 Comedy items clicked", [("Comedy", "clicked", True)]),
        ("Comedy: clicked 5 of 12", [("Comedy", "clicked", False)]),  # 12 are Folk Rock's
        ("clicked on 5 out of 24 Comedy", [("Comedy", "clicked", True)]),
        ("Comedy clicked five times", [("Comedy", "clicked", True)]),
        ("Comedy has been shown twenty-four times", [("Comedy", "shown", True)]),
        ("61% liking for Drama", [("Drama", "liking", False)]),
        ("about 60% liking for Drama", [("Drama", "liking", True)]),
        ("Drama and Comedy at 62% and 71%", [("Drama", "liking", True), ("Comedy", "liking", False)]),
        ("Comedy (70%) and Drama (60%) are liked", [("Comedy", "liking", True), ("Comedy", "liking", True),
         ("Drama", "liking", True), ("Drama", "liking", False)]),
        ("Drama is liked more than Comedy", [("Drama", "more", False)]),
        ("Comedy is the most liked and Other the least", [("Comedy", "rank", True), ("Other", "rank", True)]),
        ("The two most liked are Comedy and Drama", [("Comedy", "rank", True), ("Drama", "rank", True)]),
        ("Health is neither liked nor tired", [("Health", "liking", False), ("Health", "tired", True)]),
        ("Rock isn't liked, nor is Drama", [("Rock", "liking", True), ("Drama", "liking", False)]),
        ("never clicked: Drama, Folk Rock", [("Drama", "clicked", True), ("Folk Rock", "clicked", False)]),
        ("Drama was not shown in the last slate", [("Drama", "shown", False)]),  # 3 of its items were
        ("Folk Rock beat its promise", [("Folk Rock", "promised", True)]),
        ("Comedy is tired, so I avoid it and allow Health",
         [("Comedy", "tired", True), ("Comedy", "plan", True), ("Health", "plan", True)]),
        ("Rest Drama", [("Drama", "plan", False)]),
        ("#1 is tired, not #5", [("Comedy", "tired", True), ("Health", "tired", True)]),
        ("the user is tired, Drama is liked", [("Drama", "liking", True)]),
        ("category 5 and category 0 are liked", [("Health", "liking", True), ("Drama", "liking", True)]),
        ("category 3 0/3 clicked", [("Folk Rock", "clicked", False)]),
        ("Comedy is liked more than Rock and less shown", [("Comedy", "more", True), ("Comedy", "more", False)]),
        ("Drama, Health: none of them shown lately", [("Drama", "shown", False), ("Health", "shown", True)]),
        ("Comedy beats Drama (70% vs 60%)", [("Comedy", "more", True), ("Comedy", "liking", True),
         ("Drama", "liking", False)]),
        ("Start with Health, then Comedy", [("Health", "plan", True), ("Comedy", "plan", False)]),
        ("Comedy: clicked 5 of 24; underperforming", [("Comedy", "clicked", True), ("Comedy", "promised", True)]),
        ("Comedy is clicked rarely, skip", [("Comedy", "clicked", True), ("Comedy", "plan", True)]),
        ("If Drama tires, rest it", []),
        ("Rock keeps getting clicks", [("Rock", "clicked", True)]),
        ("allow Health to prevent fatigue", [("Health", "plan", True)]),
        ("Drama has no exposure", [("Drama", "exposure", False)]),
    ],
)  # fmt: skip
def test_a_reason_says(text: str, told: list[tuple[str, str, bool]]) -> None:
    assert sorted(judged(text)) == sorted(told)


@pytest.mark.parametrize("known", [KNOWN, COARSE], ids=["full", "coarse"])
@pytest.mark.parametrize(
    "text",
    [
        "variety keeps people happy",
        "liked and rested",
        "rotate to keep the user engaged; 3 of 5 slates matter",
        "other categories are tired, new ones are not",
        "Melodrama is liked, Rockabilly is tired and a non-Drama plan is allowed",
        "",
        "((((( , and ; but",
    ],
)
def test_what_names_no_category_claims_nothing_of_any(text: str, known: Given) -> None:
    assert claims(text, known) == ()


def test_names_are_found_whole_whatever_is_in_them() -> None:
    names = (
        "Rock",
        "Folk Rock",
        "New",
        "R&B (soul)",
        "Children's",
        "动作",
        "动作片",
        "rock'n'roll",
        "80s",
        "Drama, Crime",
    )
    known = Given(names, {c: Facts(float(c), 0.0, 0, 0, 0.0) for c in range(10)}, (), (0,), ())
    for c, name in enumerate(names):
        for text in (f"{name} is allowed", f"Today {name} is allowed", f"'{name}' is allowed", f"allow {name}."):
            assert [(claim.category, claim.true) for claim in claims(text, known)] == [(c, c == 0)], text
    assert [claim.category for claim in claims("ROCK and folk rock are liked", known)] == [0, 1]
    assert claims("new things are liked", known) == ()


def test_two_names_of_different_case_are_two_categories() -> None:
    known = Given(("pop", "Pop", "Jazz", "Jazz"), {c: Facts(50.0, 0.0, 0, 0, 0.0) for c in range(4)}, (), (0,), ())
    assert [claim.category for claim in claims("allow pop; avoid Pop", known)] == [0, 1]
    assert claims("allow POP and Jazz", known) == ()  # either of two
    assert [claim.category for claim in claims("allow category 2 and avoid 3", known)] == [2, 3]


def test_what_was_not_told_was_made_up() -> None:
    assert judged("Drama was clicked 5 times and Comedy has 70% liking", COARSE) == [
        ("Drama", "clicked", False),
        ("Comedy", "liking", False),
    ]
    few = replace(KNOWN, facts={0: FACTS[0]})
    (claim,) = claims("Comedy is not liked", few)
    assert not claim.true
    assert claim.evidence == "1: Comedy: the question does not offer it"


def test_the_evidence_is_what_the_question_said() -> None:
    claim, _ = claims("Drama was shown 6 times, so I avoid it", KNOWN)
    assert claim == Claim(
        "Drama was shown 6", "shown", 0, True, "0: Drama: liking 62%, exposure 0.4, shown 6, clicked 0, promised 3.1"
    )
    (claim,) = claims("Health is the most liked", KNOWN)
    assert (
        claim.evidence == "5: Health: liking 55%, exposure 0.0, shown 0, clicked 0; most first: 1, 0, 5, 3, 7, 2, 4, 6"
    )


def test_words_are_read_as_the_question_has_them_where_detail_is_coarse() -> None:
    assert judged("Action: liking fair, exposure light", COARSE) == [
        ("Action", "liking", False),
        ("Action", "exposure", True),
    ]
    assert judged("Folk Rock and Comedy are liked, Action is rested", COARSE) == [
        ("Folk Rock", "liking", True),
        ("Comedy", "liking", True),
        ("Action", "shown", False),
    ]


def test_claims_may_be_judged_by_what_really_happened() -> None:
    shown, clicked = [0, 24, 0, 12, 2, 0, 3, 9], [0, 5, 0, 6, 1, 0, 3, 2]
    real = against(KNOWN, shown, clicked)
    assert (judged("Drama was shown 6 times"), judged("Drama was shown 6 times", real)) == (
        [("Drama", "shown", True)],
        [("Drama", "shown", False)],
    )
    assert against(COARSE, shown[:4], clicked[:4]).facts[1].clicked == 5
    with pytest.raises(ValueError, match="counts must be of 8 categories, given 1 shown and 1 clicked"):
        against(KNOWN, [1], [1])


@pytest.mark.parametrize("believed", [False, True])
def test_a_question_is_read_back(believed: bool) -> None:
    tired = ", tiredness leaves 20%, give or take 5%" if believed else ""
    user = (
        f"State 0a1b2c.\n0: liking 62%, exposure 0.4{tired}, shown 6, clicked 0, promised 3.1\n"
        f"2: liking 7%, exposure 0.0{tired}\n"
        "The last slates, oldest first (id: clicked of shown):\n0: 0 of 4, 1: 2 of 2\n"
        "0: 0 of 2\nAllow at most 2 of these."
    )
    known = given(Prompts().plan(("A", 'B "b"', "C"), 6, 2, ('0: "no"',)), user, [2], [])
    assert known.names == ("A", 'B "b"', "C")
    left = 20.0 if believed else None
    assert known.facts == {0: Facts(62.0, 0.4, 6, 0, 3.1, left), 2: Facts(7.0, 0.0, 0, 0, 0.0, left)}
    assert known.slates == ({0: (0, 4), 1: (2, 2)}, {0: (0, 2)})
    for system, other in (("Plan something.", user), (Prompts().plan(("A",), 6, 1, ()), "Choose."), ("", "")):
        with pytest.raises(ValueError, match="no prompts but lerl's own"):
            given(system, other, [0], [])


def test_names_may_stand_in_any_order() -> None:
    user = "State 0a1b2c.\n2: liking 7%, exposure 0.0\nAllow at most 2 of these."
    lines = Prompts().plan(("A", "B", "C"), 6, 2, ()).splitlines()
    first = lines.index('0: "A"')
    for order in itertools.permutations(lines[first : first + 3]):
        system = "\n".join([*lines[:first], *order, *lines[first + 3 :]])
        assert given(system, user, [2], []).names == ("A", "B", "C")
    for wrong in (['0: "A"', '2: "C"'], ['0: "A"', '1: "B"', '1: "C"', '2: "C"']):  # one missing, one twice
        with pytest.raises(ValueError, match="no prompts but lerl's own"):
            given("\n".join([*lines[:first], *wrong]), user, [2], [])


def test_tiredness_is_what_a_belief_says_where_there_is_one() -> None:
    facts = {0: replace(FACTS[0], tired=60.0), 1: replace(FACTS[1], tired=20.0)}
    assert judged("Drama and Comedy are tired", replace(KNOWN, facts=facts)) == [
        ("Drama", "tired", False),
        ("Comedy", "tired", True),
    ]


@pytest.mark.parametrize("coarse", [False, True], ids=["full", "coarse"])
def test_permuting_categories_changes_no_verdict(coarse: bool) -> None:
    rng = np.random.default_rng(5)
    for session, reason in reasons(60, 0.4, coarse, 5, PHRASES[:64] + HELD_OUT):
        known = given(session.system, session.user, session.allowed, session.avoid)
        new = rng.permutation(len(known.names)).tolist()
        names = [""] * len(new)
        for old, c in enumerate(new):
            names[c] = known.names[old]
        moved = Given(
            tuple(names),
            {new[c]: known.facts[c] for c in reversed(known.facts)},
            tuple({new[c]: counts for c, counts in slate.items()} for slate in known.slates),
            tuple(new[c] for c in known.allowed),
            tuple(new[c] for c in known.avoid),
        )
        before = [(new[claim.category or 0], claim.kind, claim.true) for claim in claims(reason.text, known)]
        assert [(claim.category, claim.kind, claim.true) for claim in claims(reason.text, moved)] == before


PIECES = [
    "Drama",
    "Comedy",
    "3",
    "62%",
    "not",
    "#",
    "%",
    "and",
    ",",
    "(",
    ")",
    "most liked",
    "clicked",
    "5 of",
    "than promised",
    "it",
    ";",
    "so",
    "\u00df",
    "'s",
]


@settings(max_examples=200, deadline=None)
@drawn(st.one_of(st.text(max_size=200), st.lists(st.sampled_from(PIECES), max_size=40).map(" ".join)))
def test_any_text_is_read(text: str) -> None:
    for claim in claims(text, KNOWN):
        assert claim.words
        assert claim.words in text
        assert claim.category in FACTS


@pytest.mark.parametrize(
    "piece",
    [
        "not ",
        "fewer clicks ",
        "Drama ",
        "Drama, ",
        "5 of ",
        "5",
        "(",
        "is has is ",
        "liking for ",
        "more ",
        "' ",
        "Folk ",
        "the most ",
        "62% and ",
        "if Drama ",
        "(62% vs ",
        "its liking, both ",
    ],
)
def test_hostile_text_takes_no_longer(piece: str) -> None:
    claims("Drama is liked", KNOWN)
    seconds = []
    for length in (200, 1_000):
        text = "".join(itertools.islice(itertools.cycle(piece), length))
        start = time.process_time()
        claims(text, KNOWN)
        seconds.append(time.process_time() - start)
    assert seconds[0] < 0.5
    assert seconds[1] < 2.5  # some five times that, not twenty-five
