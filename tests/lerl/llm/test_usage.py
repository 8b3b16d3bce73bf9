"""What is printed of a run's chat model after the run."""

import io
import json
import re
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lerl.cli.main import main
from lerl.config.parse import dump
from lerl.config.schema import TuneConfig
from lerl.llm import usage as calls
from lerl.planners.llm.traffic import Traffic
from lerl.report.compare import compare
from lerl.report.tables import show, table
from lerl.run.evaluate import evaluate
from tests.lerl.conftest import RunMaker, chat_config

REPORT = {
    "requests": 1000, "calls": 250, "calls_per_1000_user_steps": 312.5, "user_steps": 800, "prompt_tokens": 90000,
    "completion_tokens": 3000, "cost": 0.1234, "deduplicated": 0.5, "cached": 0.25, "repairs": 2,
    "fallbacks": {"not JSON": 3, "timeout": 7}, "faults": {"timeout": 9}, "latency_p50": 0.5, "latency_p95": 2.25,
}  # fmt: skip


def test_a_run_without_a_chat_model_has_nothing_to_tell(make_run: RunMaker) -> None:
    assert calls.lines(make_run(agents=["random"])) == []


def test_counts_are_told_in_one_block(tmp_path: Path) -> None:
    config = chat_config(None, price={"input": 1.0}, replay="runs/first")
    (tmp_path / "config.yaml").write_text(dump(config))
    (tmp_path / "planners").mkdir()
    (tmp_path / "planners" / "traffic.json").write_text(json.dumps(REPORT))
    assert calls.lines(tmp_path) == [
        "chat model openai:m, replayed from runs/first",
        "  calls      250, 312.5 per 1,000 user-steps",
        "  tokens     90,000 of questions, 3,000 of answers; cost 0.12",
        "  requests   1,000, 50% asked once for several users, 25% known before",
        "  fallbacks  1 % of 1,000 plans and reflections: 3 not JSON, 7 timeout (boredom planned); 2 repairs",
        "  latency    0.50 s (p50), 2.25 s (p95)",
    ]
    report = REPORT | {"requests": 233, "fallbacks": {"breaker": 218, "http 404": 15}}
    (tmp_path / "planners" / "traffic.json").write_text(json.dumps(report))
    assert calls.lines(tmp_path)[4:6] == [
        "  fallbacks  100 % of 233 plans and reflections: 15 http 404, 218 breaker (boredom planned); 2 repairs",
        "             breaker: not asked, since the endpoint had failed 5 times in a row",
    ]


def test_it_follows_the_table_of_train_and_evaluate(chat_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["train", "--resume"], ["evaluate"]):
        assert main([*command, str(chat_run)]) == 0
        printed = capsys.readouterr().out
        assert printed.index("llm+greedy") < printed.index("\nchat model openai:m\n  calls ")
        assert "  fallbacks  none; 0 repairs\n" in printed


def test_user_steps_of_an_evaluation_count_once_however_often_it_is_made(chat_run: Path) -> None:
    def counted() -> dict[str, Any]:
        found: dict[str, Any] = json.loads((chat_run / "planners" / "traffic.json").read_text())
        return found

    before = counted()
    for _ in range(2):
        evaluate(chat_run)
        for name in ("calls", "user_steps", "calls_per_1000_user_steps"):
            assert counted()[name] == before[name]
        assert counted()["phases"]["evaluate llm+greedy"]["user_steps"] > 0


@pytest.mark.filterwarnings("ignore:openai.m")
def test_after_an_evaluation_the_fallbacks_are_those_of_that_one(chat_run: Path, chat: Any) -> None:
    def counted() -> tuple[dict[str, float], int]:
        found = json.loads((chat_run / "planners" / "traffic.json").read_text())
        return found["phases"]["evaluate llm+greedy"], found["calls"]

    def notes() -> Any:
        compare([chat_run], chat_run, bootstrap=10)
        lines = (chat_run / "summary.md").read_text().splitlines()
        summary = json.loads((chat_run / "summary.json").read_text())
        return [line for line in lines if line.startswith("llm+greedy: ")], summary.get("fallbacks", {})

    evaluate(chat_run)
    good, calls_before = counted()
    assert good["requests"] == good["user_steps"]  # one plan for every step that counts
    assert notes() == ([], {})
    with closing(Traffic(chat_run / "planners" / "traffic.sqlite")) as traffic:
        traffic._file.execute("DELETE FROM asked")
        traffic._file.commit()
    chat.fault = lambda handler, _: handler.send(404, b"{}") or True
    evaluate(chat_run)
    bad, calls_failed = counted()
    assert bad["requests"] == bad["user_steps"] == bad["fallback: breaker"] + bad["fallback: http 404"]
    causes = {name: int(bad[f"fallback: {name}"]) for name in ("breaker", "http 404")}
    assert notes() == (
        ["llm+greedy: 100 % of its plans by boredom (http 404, breaker)"],
        {"llm+greedy": {"share": 1.0, "rule": "boredom", "causes": causes}},
    )
    printed = io.StringIO()
    show(table(compare([chat_run])), printed)
    assert "llm+greedy: 100 % of its plans by boredom (http 404, breaker)" in " ".join(printed.getvalue().split())
    chat.fault = None
    evaluate(chat_run)
    mended, calls_after = counted()
    assert {name for name in mended if name.startswith("fallback")} == set()
    assert mended["requests"] == good["requests"]
    assert calls_before < calls_failed < calls_after  # what was sent stays paid for
    assert notes() == ([], {})


def test_it_follows_the_table_of_tune_for_all_trials_together(
    chat: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space = {"planner.size": {"choices": [1, 2]}}
    tuned = TuneConfig(agent="llm+greedy", trials=2, users=4, replicates=1, space=space)
    (tmp_path / "mine.yaml").write_text(dump(replace(chat_config(chat.url), tune=tuned)))
    asked = chat.asked
    assert main(["tune", str(tmp_path / "mine.yaml"), "--out", str(tmp_path / "search")]) == 0
    printed = capsys.readouterr().out
    calls_made, per_1000 = re.search(r"\nchat model openai:m\n  calls      (\d+), ([\d.]+) per", printed).groups()  # type: ignore[union-attr]
    assert int(calls_made) == chat.asked - asked
    reports = [json.loads(path.read_text()) for path in tmp_path.glob("search/trials/*/planners/traffic.json")]
    assert len(reports) == 2
    steps = sum(report["user_steps"] for report in reports)
    assert float(per_1000) == pytest.approx(1000 * int(calls_made) / steps, abs=0.1)
    lessons = sum(report["phases"]["learn llm"]["user_steps"] for report in reports)
    assert steps > lessons  # those behind the scores count, too
    assert printed.index("llm+greedy on training users") < printed.index("chat model") < printed.index("the best as")


def test_a_damaged_file_is_named(chat_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = chat_run / "planners" / "traffic.json"
    path.write_text("{}")
    with pytest.raises(ValueError, match=r"traffic\.json is damaged \(KeyError\); remove it, then go on with: lerl"):
        calls.lines(chat_run)
