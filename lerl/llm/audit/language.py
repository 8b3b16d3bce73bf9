"""What the wording of a cue is like, whatever it says of a person: so that a reaction to style is not taken for one
to a group."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from lerl.llm.audit.measured import Floats

COVARIATES = ("length", "readability", "sentiment", "informality")
"""What `wording` measures, in order."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


GOOD = _words(
    "amazing awesome beautiful best better enjoy enjoyed excellent excited fantastic favorite favourite fun glad good "
    "great happy interesting kind liked lovely loved love nice perfect pleasant proud recommend thank thanks wonderful "
    "worth"
)
BAD = _words(
    "afraid angry annoyed annoying awful bad bored boring confusing dislike disappointed disappointing dull fear hate "
    "hated horrible poor problem sad slow sorry terrible tired ugly unhappy upset waste weak worried worse worst "
    "wrong"
)
FIRST_PERSON = _words("i me my mine myself we us our ours")
CASUAL = _words(
    "ain't btw bro cool cuz dude gonna gotta guys haha hey hi kinda lol okay ok omg stuff sorta thx tho wanna wow yeah "
    "yep y'all"
)

_CONTRACTED = re.compile(r"(?:n't|'re|'ve|'ll|'d|'m)$|^(?:he|here|how|it|let|she|that|there|what|where|who)'s$")
_WORD = re.compile(r"[^\W_]+(?:['\u2019-][^\W_]+)*")
_SENTENCE = re.compile(r"[.!?\u2026]+(?=\s|$)|\n+")
_VOWELS = re.compile(r"[aeiouy]+")


def wording(texts: Sequence[str]) -> Floats:
    """What N texts are like; English is assumed.

    Returns:
        (V, N) float, a row for each of `COVARIATES`; a text without words has 0 in all.

        length: logarithm to base 2 of the number of words plus one. Twice as long is one more: a word more changes a
            short sentence, and nothing in a long history.
        readability: grade of Flesch and Kincaid (Kincaid et al. 1975, "Derivation of new readability formulas"), in
            years of school: 0.39 words per sentence + 11.8 syllables per word - 15.59. Syllables are counted by a rule
            of thumb: groups of vowels, less a silent e at the end.
        sentiment: from -1 to 1, good less bad words over both, among some seventy common ones. It sees "great" and
            "boring" and nothing subtler: no "not", no irony.
        informality: from 0 up, contractions, words of the first person, casual words and exclamation marks, per word.
    """
    return np.array([_measured(text) for text in texts], float).reshape(len(texts), len(COVARIATES)).T


def _measured(text: str) -> tuple[float, float, float, float]:
    words = [word.replace("\u2019", "'") for word in _WORD.findall(text.lower())]
    if not words:
        return 0.0, 0.0, 0.0, 0.0
    return float(np.log2(len(words) + 1)), _grade(text, words), _sentiment(words), _informality(text, words)


def _grade(text: str, words: Sequence[str]) -> float:
    sentences = sum(bool(_WORD.search(part)) for part in _SENTENCE.split(text))
    return 0.39 * len(words) / sentences + 11.8 * sum(map(syllables, words)) / len(words) - 15.59


def syllables(word: str) -> int:
    """About how many an English word has, at least one."""
    count = len(_VOWELS.findall(word))
    silent = word.endswith("e") and not word.endswith(("le", "ee")) and count > 1
    return max(count - silent, 1)


def _sentiment(words: Sequence[str]) -> float:
    good, bad = (sum(word in known for word in words) for known in (GOOD, BAD))
    return (good - bad) / max(good + bad, 1)


def _informality(text: str, words: Sequence[str]) -> float:
    said = sum(bool(_CONTRACTED.search(word)) or word in FIRST_PERSON or word in CASUAL for word in words)
    return (said + text.count("!")) / len(words)
