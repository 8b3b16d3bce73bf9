"""The file of questions and answers."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from lerl.planners.llm.traffic import Asked, BusyError, Traffic, TrafficError

ANSWERED = Asked("k1", "plan", "m", "digest", 2, "system", "user", "answer", "", b"\0\1\2\3", 2, 30, 4, 1.5)
FAILED = replace(ANSWERED, key="k2", text="", cause="timeout", state=b"", attempts=1, seconds=9.0)


def open_in(folder: Path) -> Traffic:
    return Traffic(folder / "traffic.sqlite")


def test_an_answer_holds_for_every_phase_and_every_process(tmp_path: Path):
    file = open_in(tmp_path)
    file.keep("train", [ANSWERED], {})
    assert file.find("k1", "train") == file.find("k1", "evaluate") == ANSWERED
    file.close()
    again = open_in(tmp_path)
    assert again.find("k1", "another") == ANSWERED
    assert again.find("k3", "train") is None
    again.close()


def test_a_failure_holds_for_its_phase_whatever_is_answered_later(tmp_path: Path):
    file = open_in(tmp_path)
    file.keep("learn", [FAILED], {})
    assert file.find("k2", "learn") == FAILED
    assert file.find("k2", "train") is None
    later = replace(ANSWERED, key="k2")
    file.keep("train", [later], {})
    assert file.find("k2", "train") == file.find("k2", "evaluate") == later
    assert file.find("k2", "learn") == FAILED
    file.close()


def test_a_failure_outside_of_any_phase_keeps_no_answer_out(tmp_path: Path):
    file = open_in(tmp_path)
    file.keep("", [FAILED], {})
    file.keep("", [replace(ANSWERED, key="k2")], {})
    assert file.find("k2", "train") == replace(ANSWERED, key="k2")
    file.close()


def test_failures_can_be_forgotten(tmp_path: Path):
    file = open_in(tmp_path)
    file.keep("evaluate a", [ANSWERED, FAILED], {"user_steps": 10, "calls": 3})
    file.keep("learn, then evaluate", [FAILED], {"user_steps": 7})
    file.forget("evaluate ")
    assert file.find("k2", "evaluate a") is None
    assert file.find("k2", "learn, then evaluate") == FAILED
    assert file.find("k1", "evaluate a") == ANSWERED
    assert file.counts() == {"evaluate a": {"calls": 3, "user_steps": 10}, "learn, then evaluate": {"user_steps": 7}}
    file.close()


def test_a_phase_that_is_lived_again_is_counted_anew_but_for_what_was_paid(tmp_path: Path):
    file = open_in(tmp_path)
    played = {"user_steps": 10.0, "requests": 9.0, "cached": 4.0, "deduplicated": 2.0, "fallback: http 404": 3.0}
    paid = {"calls": 5.0, "prompt_tokens": 90.0, "completion_tokens": 7.0, "fault: http 404": 3.0, "repairs": 1.0}
    file.keep("evaluate a", [], played | paid)
    file.keep("evaluate a@det", [], played)
    file.recount("evaluate a")
    assert file.counts() == {"evaluate a": paid, "evaluate a@det": played}
    file.close()


def test_it_is_known_whether_anything_was_answered(tmp_path: Path):
    file = open_in(tmp_path)
    file.keep("train", [FAILED, replace(ANSWERED, attempts=0)], {})  # the latter of a cache
    assert not file.answered()
    file.keep("train", [replace(ANSWERED, key="k3", attempts=1)], {})
    assert file.answered()
    file.close()


def test_what_was_kept_first_stays(tmp_path: Path):
    file = open_in(tmp_path)
    file.keep("train", [ANSWERED], {})
    file.keep("train", [replace(ANSWERED, text="another")], {})
    assert file.find("k1", "train") == ANSWERED
    file.close()


def test_a_text_that_questions_share_is_kept_once(tmp_path: Path):
    file = open_in(tmp_path)
    file.keep("train", [replace(ANSWERED, key=str(number), system="x" * 100_000) for number in range(50)], {})
    assert file.find("49", "train") == replace(ANSWERED, key="49", system="x" * 100_000)
    file.close()
    assert (tmp_path / "traffic.sqlite").stat().st_size < 300_000


def test_counts_add_up_by_phase(tmp_path: Path):
    file = open_in(tmp_path)
    file.keep("train", [], {"calls": 2, "cached": 1})
    file.keep("train", [], {"calls": 3})
    file.keep("evaluate", [], {"calls": 0.5})
    assert file.counts() == {"evaluate": {"calls": 0.5}, "train": {"cached": 1, "calls": 5}}
    file.close()


def test_questions_and_counts_are_kept_together_or_not_at_all(tmp_path: Path):
    file = open_in(tmp_path)
    with pytest.raises(TrafficError):
        file.keep("train", [ANSWERED], {"calls": None})  # type: ignore[dict-item]
    assert file.find("k1", "train") is None
    file.close()


def test_seconds_are_those_of_questions_that_were_sent(tmp_path: Path):
    file = open_in(tmp_path)
    file.keep("train", [ANSWERED, FAILED, replace(ANSWERED, key="k3", attempts=0, seconds=0.0)], {})
    assert sorted(file.seconds()) == [1.5, 9.0]
    file.close()


def test_plans_to_learn_from_are_those_of_training_in_the_order_of_their_keys(tmp_path: Path):
    file = open_in(tmp_path)
    file.keep("evaluate llm+ppo", [replace(ANSWERED, key="k0")], {})
    file.keep("train llm+ppo", [replace(ANSWERED, key="k9"), FAILED, replace(ANSWERED, key="r", kind="reflection")], {})
    file.keep("learn llm", [ANSWERED], {})
    assert list(file.plans()) == [("k1", b"\0\1\2\3", "answer"), ("k9", b"\0\1\2\3", "answer")]
    file.close()


def test_a_file_can_be_read_while_a_run_writes_it(tmp_path: Path):
    writing = open_in(tmp_path)
    writing.keep("train", [ANSWERED], {})
    reading = Traffic(writing.path, read_only=True)
    assert reading.find("k1", "train") == ANSWERED
    with pytest.raises(TrafficError, match="readonly"):
        reading.keep("train", [FAILED], {})
    reading.close()
    writing.close()


def test_two_runs_share_a_file(tmp_path: Path):
    one, other = open_in(tmp_path), open_in(tmp_path)
    one.keep("", [ANSWERED], {})
    other.keep("", [ANSWERED, replace(ANSWERED, key="k3")], {})
    assert one.find("k3", "") == replace(ANSWERED, key="k3")
    one.close()
    other.close()


@pytest.mark.parametrize("name", ["a b", "50%", "what?", "#1", "ü"])
def test_any_folder_will_do(tmp_path: Path, name: str):
    open_in(tmp_path / name).close()
    Traffic(tmp_path / name / "traffic.sqlite", read_only=True).close()


def test_a_file_that_is_not_there_cannot_be_replayed(tmp_path: Path):
    with pytest.raises(TrafficError, match=r"there is no .*traffic\.sqlite; give the folder of a run"):
        Traffic(tmp_path / "traffic.sqlite", read_only=True)


@pytest.mark.parametrize("read_only", [False, True])
def test_other_files_are_refused_and_left_as_they_are(tmp_path: Path, read_only: bool):
    text = tmp_path / "notes.txt"
    text.write_text("nothing that SQLite knows\n" * 100, encoding="utf-8")
    with pytest.raises(TrafficError, match=r"notes\.txt cannot be used: .*; give another file"):
        Traffic(text, read_only=read_only)
    other = tmp_path / "other.sqlite"
    with sqlite3.connect(other) as file:
        file.execute("CREATE TABLE mine (a)")
    file.close()
    before = other.read_bytes()
    with pytest.raises(TrafficError, match=r"other\.sqlite holds no traffic of format 1"):
        Traffic(other, read_only=read_only)
    assert other.read_bytes() == before


def test_a_later_format_is_refused(tmp_path: Path):
    open_in(tmp_path).close()
    with sqlite3.connect(tmp_path / "traffic.sqlite") as file:
        file.execute("PRAGMA user_version = 2")
    file.close()
    with pytest.raises(TrafficError, match="no traffic of format 1"):
        open_in(tmp_path)


def test_a_folder_is_no_file(tmp_path: Path):
    with pytest.raises(TrafficError, match="cannot be opened"):
        Traffic(tmp_path)


def test_a_file_cut_short_is_an_error_that_names_it(tmp_path: Path):
    file = open_in(tmp_path)
    file.keep("train", [replace(ANSWERED, key=str(number), user="u" * 1000) for number in range(100)], {})
    file.close()
    whole = file.path.read_bytes()
    file.path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(TrafficError, match=r"traffic\.sqlite cannot be used: .*; give another file"):
        _read(tmp_path)


def _read(folder: Path) -> None:
    """All that is ever read of a file."""
    with closing(open_in(folder)) as file:
        list(file.plans())
        file.find("k1", "train")
        file.find("k2", "train")
        file.counts()
        file.seconds()


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE asked SET text = NULL",
        "UPDATE asked SET text = CAST(x'ff' AS TEXT)",
        "UPDATE asked SET state = 'text'",
        "UPDATE asked SET attempts = 'many'",
        "UPDATE asked SET pool = 1.5 WHERE key = 'k2'",
        "UPDATE asked SET seconds = 'long'",
        "UPDATE asked SET seconds = NULL",
        "UPDATE texts SET text = x'00'",
        "UPDATE texts SET text = CAST(x'ff' AS TEXT)",
        "UPDATE counts SET value = 'many'",
        "UPDATE counts SET phase = x'00'",
        "DROP TABLE texts",
        "DROP TABLE asked",
        "DROP TABLE counts",
    ],
)
def test_a_damaged_file_is_one_error_that_names_it(tmp_path: Path, damage: str):
    with closing(open_in(tmp_path)) as file:
        file.keep("train", [ANSWERED, FAILED], {"calls": 3})
    _read(tmp_path)
    with closing(sqlite3.connect(tmp_path / "traffic.sqlite")) as other, other:
        other.execute(damage)
    with pytest.raises(
        TrafficError, match=r"traffic\.sqlite cannot be used: .+; give another file, or remove it"
    ) as said:
        _read(tmp_path)
    assert len(str(said.value)) < 500


def test_bytes_that_were_flipped_are_such_an_error_or_do_no_harm(tmp_path: Path):
    with closing(open_in(tmp_path)) as file:
        file.keep("train", [ANSWERED, FAILED, replace(ANSWERED, key="k3", text="t" * 9000)], {"calls": 3})
    path = tmp_path / "traffic.sqlite"
    whole, refused = path.read_bytes(), 0
    for place in [*range(0, 120, 4), *range(120, len(whole), 499)]:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :])
        try:
            _read(tmp_path)
        except TrafficError:
            refused += 1
    assert refused > 10


def test_a_file_that_another_process_writes_is_not_to_be_removed(tmp_path: Path):
    open_in(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / "traffic.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(
            BusyError, match=r"traffic\.sqlite is in use by another process; wait until it is done"
        ) as said:
            Traffic(tmp_path / "traffic.sqlite", busy_timeout=0.1)
    assert "remove" not in str(said.value)


def test_a_full_disk_is_told_as_one(tmp_path: Path):
    file = open_in(tmp_path)
    file._file.execute("PRAGMA max_page_count = 12")
    with pytest.raises(OSError, match="no space left for"):
        file.keep("train", [replace(ANSWERED, user="u" * 1_000_000)], {})
    file.close()
