"""What is printed of a run's chat model after the run."""

import json
from pathlib import Path

import pytest

from lerl import calls, settings
from lerl.cli import main
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
    (tmp_path / "config.yaml").write_text(settings.dump(config))
    (tmp_path / "planners").mkdir()
    (tmp_path / "planners" / "traffic.json").write_text(json.dumps(REPORT))
    assert calls.lines(tmp_path) == [
        "chat model openai:m, replayed from runs/first",
        "  calls      250, 312.5 per 1,000 user-steps",
        "  tokens     90,000 of questions, 3,000 of answers; cost 0.12",
        "  requests   1,000, 50% asked once for several users, 25% known before",
        "  fallbacks  3 not JSON, 7 timeout (boredom planned); 2 repairs",
        "  latency    0.50 s (p50), 2.25 s (p95)",
    ]


def test_it_follows_the_table_of_train_and_evaluate(chat_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["train", "--resume"], ["evaluate"]):
        assert main([*command, str(chat_run)]) == 0
        printed = capsys.readouterr().out
        assert printed.index("llm+greedy") < printed.index("\nchat model openai:m\n  calls ")
        assert "  fallbacks  none; 0 repairs\n" in printed


def test_a_damaged_file_is_named(chat_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = chat_run / "planners" / "traffic.json"
    path.write_text("{}")
    with pytest.raises(ValueError, match=r"traffic\.json is damaged \(KeyError\); remove it, then go on with: lerl"):
        calls.lines(chat_run)
