"""The benchmark's arithmetic, SARDINE, its cases on tiny sizes and what it refuses; no speed is judged here."""

from __future__ import annotations

import io
import json
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lerl.bench import cases as bench
from lerl.bench import sardine
from lerl.bench import threads as threads_bench
from lerl.bench.cases import RetrievalCase
from lerl.bench.next_item import NextItemCase, learned
from lerl.bench.sardine import READY, SARDINE, SardineError, SardineProcess
from lerl.bench.timing import Spread, Timing, as_json, duel, lines
from lerl.cli.main import main
from lerl.envs import threads

FIELDS = {
    "name", "what", "against", "unit", "ours", "peer", "ratio", "target", "at_most", "cpu_seconds", "note", "met",
}  # fmt: skip


def burst(*speeds: float) -> Any:
    """Bursts of one CPU second at these speeds, the first of which warms up."""
    given = iter(speeds)
    return lambda: (next(given), 1.0)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that take no time: one with a peer that is half as fast, one without its peer, one that is no ratio."""

    def fast(_: bench.Bench) -> Iterator[Timing]:
        yield Timing(
            "fast", "a thing", "a peer", "steps/s", **duel(burst(9, 4000, 6000), burst(9, 2000, 2000), 2), target=3.0
        )

    def alone(one: bench.Bench) -> Iterator[Timing]:
        assert one.sardine is None
        yield Timing("alone", "it", "SARDINE", "steps/s", **duel(burst(1, 5, 7), None, 2), target=2, note=one.missing)

    def small(_: bench.Bench) -> Iterator[Timing]:
        yield Timing("small", "memory", "", "GB", Spread.of([0.5]), target=1.0, at_most=True)

    monkeypatch.setattr(bench, "CASES", {"fast": fast, "alone": alone, "small": small})


def test_sides_take_turns_and_ratios_are_of_the_same_turn() -> None:
    order: list[str] = []

    def side(name: str, speeds: list[float]) -> Any:
        def run() -> tuple[float, float]:
            order.append(name)
            return speeds[len([n for n in order if n == name]) - 1], 2.0

        return run

    found = duel(side("ours", [1, 20, 40, 12]), side("peer", [1, 10, 40, 4]), 3)
    assert order == ["ours", "peer"] * 4
    assert found["ours"] == Spread(10.0, 6.0, 20.0)  # over two seconds each; the first turn warms up
    assert found["peer"] == Spread(5.0, 2.0, 20.0)
    assert found["ratio"] == Spread(2.0, 1.0, 3.0)
    assert found["cpu_seconds"] == 16.0


def test_the_command_prints_json_with_every_field(
    tiny: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "install", lambda folder: (_ for _ in ()).throw(SardineError(f"no way to {folder}")))
    assert main(["bench", "--json", "--repeats", "2", "--peers", str(tmp_path)]) == 0
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert found.keys() == {"machine", "repeats", "rows"}
    assert all(row.keys() == FIELDS for row in found["rows"])
    fast, alone, small = found["rows"]
    assert (fast["ratio"]["median"], fast["met"]) == (2.5, False)
    assert (alone["peer"], alone["ratio"], alone["met"]) == (None, None, None)
    assert alone["note"] == f"no way to {tmp_path}"
    assert small["met"] is True


def test_a_table_says_what_was_met_and_missed(tiny: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "install", lambda folder: (_ for _ in ()).throw(SardineError("no network")))
    text = "\n".join(lines(bench.measure(folder=tmp_path, repeats=2)))
    assert "5,000 steps/s [4,000, 6,000] | a peer | 2,000 steps/s | 2.5 [2, 3] | at least 3, **missed** |" in text
    assert "| it | 6 steps/s [5, 7] | SARDINE |  |  | at least 2 |" in text
    assert "| memory | 0.5 GB |  |  |  | at most 1, met |" in text
    assert "- it: no network" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rows", "one_user,speed"], "there is no row 'speed' to measure; rows are one_user, users, slates, "),
        (["--repeats", "0"], "must be a whole number from 1 to 1000, given '0'"),
        (["--row", "users"], "unrecognized arguments: --row (did you mean --rows?)"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_peer_that_cannot_be_installed_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        failed = "pip" in command
        return subprocess.CompletedProcess(command, int(failed), "", "warning\nERROR: no index" if failed else "")

    monkeypatch.setattr(sardine.subprocess, "run", run)
    with pytest.raises(
        SardineError, match=r"sardine-rec==1\.0\.8 cannot be installed in .* \(ERROR: no index\); connect"
    ):
        sardine.install(tmp_path)
    assert not list(tmp_path.glob(f"**/{READY}"))


def test_a_peer_that_is_there_is_used_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / SARDINE.replace("==", "-")
    (home / "bin").mkdir(parents=True)
    (home / "bin" / "python").touch()
    (home / READY).touch()
    monkeypatch.setattr(sardine.subprocess, "run", lambda *_, **__: pytest.fail("installed again"))
    assert sardine.install(tmp_path) == home / "bin" / "python"


class FakeProcess:
    """A peer's process that says what it was told to say."""

    def __init__(self, answers: str) -> None:
        self.stdin, self.stdout = io.StringIO(), io.StringIO(answers)

    def communicate(self) -> tuple[str, str]:
        return "", "Traceback\nNameNotFound: no such environment"


def test_a_peer_is_asked_line_by_line_and_its_last_words_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []

    def start(command: list[str], **_: Any) -> FakeProcess:
        made.extend([command, FakeProcess("0.5\n0.25\n")])
        return made[1]

    monkeypatch.setattr(sardine.subprocess, "Popen", start)
    peer = SardineProcess(Path("python"), "sardine/X-v0", wrapped=True)
    assert made[0][-2:] == ["sardine/X-v0", "wrapped"]
    assert [peer.run(100), peer.run(200)] == [0.5, 0.25]
    assert made[1].stdin.getvalue() == "100\n200\n"
    with pytest.raises(SardineError, match="sardine/X-v0 failed: NameNotFound: no such environment"):
        peer.run(1)
    peer.close()


def test_both_sides_of_retrieval_find_the_same() -> None:
    case = RetrievalCase(300, 8)
    ours = case.ours()
    for select in (bench.partition, bench.argmax):
        np.testing.assert_array_equal(case.scan(select), ours)


def test_the_environments_are_stepped_as_often_as_said(monkeypatch: pytest.MonkeyPatch) -> None:
    import gymnasium

    env: Any = gymnasium.make_vec("lerl/Synthetic-v0", num_envs=4, users=8, items=30, topic_count=3)
    assert bench.stepping(env, 5)() == 20.0
    assert env.state.session.max() >= 0
    assert as_json({"rows": []}) == '{\n "rows": []\n}'


def test_threads_and_one_thread_do_the_same_work_by_turns() -> None:
    counts: list[int] = []

    def work() -> float:
        counts.append(threads.count())
        return 6.0

    row = threads_bench._row("name", "users", "user-steps/s", work, 3, 2, 1.8)
    assert counts == [3, 1] * 3  # the first turn warms up
    assert row.what == "users, 3 threads, by the clock"
    assert (row.against, row.unit, row.target) == ("one thread", "user-steps/s", 1.8)
    assert row.ratio is not None
    assert "the cores gave 3 threads" in row.note


def test_all_rows_but_those_of_threads_use_one(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def look(one: bench.Bench) -> Iterator[Timing]:
        seen.extend((threads.count(), one.threads))
        yield from bench._threads(one)

    monkeypatch.setenv(threads.VARIABLE, "4")
    monkeypatch.setattr(bench, "CASES", {"look": look})
    monkeypatch.setattr(threads_bench, "rows", lambda count, *_: iter([Timing(f"{count}", "", "", "")]))
    assert [row["name"] for row in bench.measure()["rows"]] == ["4"]
    assert seen == [1, 4]
    monkeypatch.setenv(threads.VARIABLE, "1")
    (alone,) = bench.measure()["rows"]
    assert alone["note"] == "only one thread is allowed here"


def test_judging_plays_a_session_in_every_slot() -> None:
    assert threads_bench.judging("random", 4)() >= 4


def test_sessions_of_a_row_read_what_is_new_and_score_what_reading_everything_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Work is counted, in lists and items that are read; `lerl bench --rows next_item` measures what it saves."""
    row = learned("tiger", 60)
    case = NextItemCase(row, sessions=4, first=5, steps=3)
    read, scores = list[tuple[int, ...]](), list[Any]()

    def noted(whole: Any, given: Any, rows: Any) -> Any:
        read.append(tuple(given.shape))
        return whole(given, rows)

    for name in ("prefill", "append"):
        monkeypatch.setattr(case.follower.reader, name, partial(noted, getattr(case.follower.reader, name)))
    within = case.follower.within
    monkeypatch.setattr(case.follower, "within", lambda *given: scores.append(within(*given)))
    assert case.followed() == 4 * 4
    assert read == [(4, 5), (4,), (4,), (4,)]
    monkeypatch.setattr(case, "row", Again(row, scores))
    assert case.again() == 4 * 4
    assert not scores


class Again:
    """Asserts that a row scores what was scored before, in turn."""

    def __init__(self, row: Any, scores: list[Any]) -> None:
        self.row, self.items, self.before = row, row.items, scores

    def within(self, *given: Any) -> None:
        np.testing.assert_allclose(self.row.within(*given), self.before.pop(0), atol=1e-5)
