"""Names in any script: which letters a font lacks, which fonts are taken for them, and one warning where none has."""

import warnings
from pathlib import Path

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lerl.report import fonts
from lerl.report.style import save

DEJAVU = ["DejaVu Sans"]


def figure(*names: str) -> Figure:
    made = Figure(figsize=(3, 2))
    FigureCanvasAgg(made)
    made.subplots().set_yticks(range(len(names)), names)
    return made


def test_what_a_font_lacks() -> None:
    assert fonts.lacked("Drama, café, Кино, العربية", DEJAVU) == set()
    assert fonts.lacked("美食 and 喜剧", DEJAVU) == set("美食喜剧")
    assert fonts.lacked("\u2764\ufe0f\u200d\n", DEJAVU) == set()  # marks that are no letters of their own
    assert fonts.lacked("हि", DEJAVU) == set("हि")


def test_the_fewest_fonts_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"One": frozenset("美"), "Two": frozenset("美食"), "Three": frozenset("ह")}
    monkeypatch.setattr(fonts, "_installed", lambda: there)
    assert fonts.chosen("美食") == (["Two"], set())
    assert fonts.chosen("美食ह🎬") == (["Two", "Three"], {"🎬"})


@pytest.mark.parametrize(
    ("letter", "package"),
    [
        ("美", "fonts-noto-cjk"), ("か", "fonts-noto-cjk"), ("한", "fonts-noto-cjk"), ("ह", "fonts-noto-core"),
        ("🎬", "fonts-symbola"),
    ],
)  # fmt: skip
def test_the_package_to_install(letter: str, package: str) -> None:
    assert fonts.package(letter) == package


def test_a_name_takes_a_font_that_holds_it_and_nothing_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A letter of a font that comes with Matplotlib, which DejaVu Sans lacks."""
    stix = fonts._held(fonts.findfont(fonts.FontProperties(family=["STIXGeneral"])))
    letter = min(letter for letter in stix if fonts.lacked(letter, DEJAVU))
    monkeypatch.setattr(fonts, "_installed", lambda: {"STIXGeneral": stix})
    made = figure("Drama", letter)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        save(made, tmp_path / "page")
    assert not said
    assert [label.get_fontfamily()[-1] for label in made.axes[0].get_yticklabels()] == ["STIXGeneral"] * 2


def test_where_no_font_has_a_letter_there_is_one_warning_for_all_pictures(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(fonts, "_installed", dict)
    fonts._warn.cache_clear()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for stem in ("one", "two"):
            save(figure("美食", "喜剧 $x$"), tmp_path / stem)
    assert [str(one.message) for one in said] == [
        "names hold letters that no installed font has, and which are drawn as boxes; install one that has them and "
        "give the command again, on Debian and Ubuntu: apt-get install fonts-noto-cjk"
    ]


def test_pictures_of_names_that_the_font_holds_are_drawn_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "_installed", lambda: pytest.fail("no other font is looked for"))
    save(figure("Drama", "Кино…"), tmp_path / "page")
