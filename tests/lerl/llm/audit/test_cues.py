"""Cues: lerl's own are complete, a file with a fault says where, and a question with a cue differs by the cue only."""

from itertools import product
from pathlib import Path

import pytest

from lerl.llm.audit.cues import OWN, Cue, CueError, decorated, read_cues
from lerl.planners.llm.guard import Question

SMALL = """\
kinds:
  told: {place: user, templates: ["I am $group.", "Know that I am $group."]}
  name: {place: system, templates: ["The user is $name.", "It is $name."]}
  dialect: {place: history}
attributes:
  town:
    north:
      group: from the north
      name: [Ann, Bo]
      dialect: ["said aye", "said nowt"]
    south:
      group: from the south
      name: [Cy, Di]
      dialect: ["said yes", "said nothing"]
"""


def _question() -> Question:
    return Question("ab" * 32, "plan", "Plan well.\n", "State ababab.\n0: liking 50%", {}, lambda text: text, 0)


def test_own_cues_are_ten_groups_six_kinds_and_five_instances() -> None:
    cues = read_cues()
    assert {name: len(groups) for name, groups in cues.attributes.items()} == {"gender": 3, "ethnicity": 4, "age": 3}
    assert (len(cues.kinds), cues.instances, len(cues.all)) == (6, 5, 300)
    places = {(cue.attribute, cue.group, cue.kind, cue.instance) for cue in cues.all}
    groups = [(attribute, group) for attribute, names in cues.attributes.items() for group in names]
    assert places == {(*group, kind, number) for group, kind, number in product(groups, cues.kinds, range(5))}
    assert len({cue.text for cue in cues.all}) == 300


def test_own_cues_say_nothing_of_tastes() -> None:
    words = (
        "like",
        "love",
        "prefer",
        "favourite",
        "favorite",
        "enjoy",
        "watch",
        "read ",
        "movie",
        "film",
        "music",
        "book ",
    )
    told = [(cue.text, word) for cue in read_cues().all for word in words if word in cue.text.lower()]
    assert [text for text, word in told if "hair like ours" not in text] == []


def test_a_kind_of_ones_own_is_a_plug_in(tmp_path: Path) -> None:
    (tmp_path / "cues.yaml").write_text(SMALL, encoding="utf-8")
    cues = read_cues(tmp_path / "cues.yaml")
    assert cues.kinds == ("told", "name", "dialect")
    (north, south) = cues.of("town", "dialect")
    assert [cue.text for cue in north] == ["said aye", "said nowt"]
    assert [cue.text for cue in south] == ["said yes", "said nothing"]
    assert cues.of("town", "name")[1][1] == Cue("town", "south", "name", 1, "system", "It is Di.")


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("place: user", "place: mind", 2, "place of told must be one of system, user, history"),
        ("$group.\", \"Know", "$grup.\", \"Know", 2, "$name or $group"),
        ("name: [Cy, Di]", "name: [Cy, Di, Ed]", 13, "3 names for 2 templates"),
        ("      name: [Ann, Bo]\n", "", 8, "north has no name"),
        ('dialect: ["said yes", "said nothing"]', "", 12, "south has no texts of the kind dialect"),
        ('"said yes", "said nothing"', '"said yes", "said yes"', 14, "says the same twice"),
        ("group: from the south", "group: [a]", 12, "must be a text"),
        ("    south:", "    north:", 11, "north is given twice"),
        ("  dialect: {place: history}", "  Dialect: {place: history}", 4, "small letters"),
        ("said nowt", "said " + "x" * 500, 10, "at most 400 characters"),
        ('["said aye", "said nowt"]', '["said aye"]', 10, "must be a list of 2 to 50 texts, given 1"),
        ('"said nowt"', '"said nowt", "said nay"', 2, "dialect of north has 3 texts where others have 2"),
        ('"said nothing"', '"said aye"', 6, 'dialect says "said aye" of north and of south'),
        ("attributes:", "attribute:", 5, "a file of cues has no"),
    ],
)  # fmt: skip
def test_a_bad_file_is_told_by_line_and_mend(tmp_path: Path, old: str, new: str, line: int, said: str) -> None:
    path = tmp_path / "cues.yaml"
    assert old in SMALL
    path.write_text(SMALL.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(CueError) as caught:
        read_cues(path)
    assert f"{path}, line {line}: " in str(caught.value), str(caught.value)
    assert said in str(caught.value)


@pytest.mark.parametrize("content", ["", "[]", "kinds: 1", "a: &a [*a]", "kinds: {", "\x00", "attributes: {}"])
def test_no_file_of_cues(tmp_path: Path, content: str) -> None:
    path = tmp_path / "cues.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(CueError, match=r"cues\.yaml"):
        read_cues(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CueError, match=r"none\.yaml"):
        read_cues(tmp_path / "none.yaml")


def test_a_file_without_an_end_is_refused() -> None:
    with pytest.raises(CueError, match="262,144 bytes"):
        read_cues(Path("/dev/zero"))


def test_an_unknown_attribute_is_named() -> None:
    with pytest.raises(CueError, match="there are gender, ethnicity, age"):
        read_cues().only(("sex",))


@pytest.mark.parametrize("place", ["system", "user", "history"])
def test_nothing_changes_but_the_cue(place: str) -> None:
    question = _question()
    found = decorated(question, Cue("a", "g", "k", 0, place, "The user is Ann."))
    assert found.key != question.key
    assert (found.schema, found.check, found.state) == (question.schema, question.check, question.state)
    if place == "system":
        assert (found.system, found.user) == ("Plan well.\n\nThe user is Ann.", question.user)
    else:
        assert (found.system, found.user.partition("\n\n")[2]) == (question.system, question.user)
        assert "The user is Ann." in found.user


def test_the_file_that_users_copy_is_in_the_package() -> None:
    assert OWN.is_file()
