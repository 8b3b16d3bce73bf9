"""Fonts for names in any script: of those that are installed, the ones that hold the letters."""

import functools
import logging
import unicodedata
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, findSystemFonts, fontManager, get_font
from matplotlib.text import Text

EAST_ASIAN = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO", "IDEOGRAPHIC", "FULLWIDTH", "HALFWIDTH")
"""What the names of letters begin with for which there are fonts of tens of thousands."""
BOXES = "Last Resort"
"""Of a font that has a box for everything."""


@contextmanager
def no_warning_per_letter() -> Iterator[None]:
    """Keep Matplotlib from a warning for each letter, and for each font that has no regular weight."""
    log = logging.getLogger("matplotlib.font_manager")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph")
            yield
    finally:
        log.setLevel(before)


def fit_fonts(figure: Figure) -> bool:
    """Give a figure that was drawn once fonts for the letters that its own font lacks; whether there are any such.

    Letters that no installed font has are drawn as boxes, with one warning that names what to install.
    """
    texts = figure.findobj(Text)
    lacking = {letter for text in texts for letter in lacked(text.get_text(), text.get_fontfamily())}
    if not lacking:
        return False
    families, unknown = chosen(lacking)
    for text in texts:
        text.set_fontfamily([*text.get_fontfamily(), *families])
    if unknown:
        _warn(" ".join(sorted({package(letter) for letter in unknown})))
    return True


def lacked(text: str, families: Sequence[str]) -> set[str]:
    """The letters of a text that the first of these fonts does not have."""
    letters = {letter for letter in text if letter.isprintable() and not "\ufe00" <= letter <= "\ufe0f"}
    return letters - _held(findfont(FontProperties(family=[families[0]]))) if not text.isascii() else set()


def chosen(letters: Iterable[str]) -> tuple[list[str], set[str]]:
    """The fewest installed families that hold these letters, and the letters that none holds."""
    left, families = set(letters), list[str]()
    there = _installed()
    while left:
        best = max(there, key=lambda family: len(left & there[family]), default="")
        if not best or not left & there[best]:
            break
        families.append(best)
        left -= there[best]
    return families, left


def package(letter: str) -> str:
    """The package of Debian and Ubuntu that brings a font with a letter."""
    if unicodedata.name(letter, "").startswith(EAST_ASIAN):
        return "fonts-noto-cjk"
    return "fonts-symbola" if unicodedata.category(letter) == "So" else "fonts-noto-core"


@functools.cache
def _installed() -> dict[str, frozenset[str]]:
    """The letters of each installed family, sans serif first; Matplotlib's list may be older than a font."""
    own = matplotlib.get_data_path()
    for path in sorted(set(findSystemFonts()) - {font.fname for font in fontManager.ttflist}):
        with suppress(Exception):  # a font that Matplotlib cannot draw with, as one of coloured pictures
            fontManager.addfont(path)
    names = {font.name for font in fontManager.ttflist if not font.fname.startswith(own)}
    names = {name for name in names if BOXES not in name and not name.startswith(".")}
    held = {}
    for name in sorted(names, key=lambda name: ("Sans" not in name, "Mono" in name, name)):
        with suppress(Exception):
            held[name] = _held(findfont(FontProperties(family=[name]), fallback_to_default=False))
    return held


@functools.cache
def _held(path: str | Path) -> frozenset[str]:
    """The letters of a font's file."""
    return frozenset(map(chr, get_font(path).get_charmap()))


@functools.cache  # once, however many pictures there are
def _warn(packages: str) -> None:
    warnings.warn(
        "names hold letters that no installed font has, and which are drawn as boxes; install one that has them and "
        f"give the command again, on Debian and Ubuntu: apt-get install {packages}",
        stacklevel=2,
    )
