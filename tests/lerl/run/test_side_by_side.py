"""Agents of one run that are fitted and judged side by side: what is independent, and that the numbers stay."""

import dataclasses
import sys
from pathlib import Path

import pytest

from lerl.config.schema import AutoConfig, Config, DataConfig, EvaluationConfig, SyntheticConfig
from lerl.envs.config import SimulatorConfig
from lerl.run import side_by_side
from lerl.run.code import use
from lerl.run.evaluate import evaluate
from lerl.run.executors import Where
from lerl.run.side_by_side import asks_model, independent, worth
from lerl.run.specs import parse_agents
from lerl.run.train import train
from lerl.run.work import relocated

AGENTS = ["flat+greedy", "boredom+ppo", "flat+ppo", "flat+ppo+mmr", "boredom+greedy", "auto", "random", "privileged"]
SMALL = Config(
    agents=AGENTS,
    data=DataConfig(synthetic=SyntheticConfig(users=40, items=60, categories=5, dim=4)),
    env=SimulatorConfig(slate_size=2, max_steps=8),
    auto=AutoConfig(candidates=["flat+greedy", "flat+ppo"]),
    evaluation=EvaluationConfig(replicates=2, batch_size=8, bootstrap=100, keep_sessions=9),
)
SMALL = dataclasses.replace(
    SMALL,
    train=dataclasses.replace(SMALL.train, steps=64, users=8, rollout=8, evaluations=1, validation=4),
    planner=dataclasses.replace(SMALL.planner, sessions=8),
)


def names(agents: list[str]) -> list[list[str]]:
    config = dataclasses.replace(SMALL, agents=agents)
    return [[spec.label for spec in group] for group in independent(parse_agents(config), config)]


def test_agents_that_share_what_is_fitted_are_one_group() -> None:
    assert names(["flat+ppo", "boredom+ppo"]) == [["flat+ppo"], ["boredom+ppo"]]
    assert names(["flat+ppo", "random", "flat+ppo+mmr"]) == [["flat+ppo", "flat+ppo+mmr"]]  # one policy
    assert names(["boredom+ppo", "flat+a2c", "boredom+greedy"]) == [["flat+a2c"], ["boredom+ppo", "boredom+greedy"]]
    assert names(["belief+greedy", "flat+ppo", "boredom+belief"]) == [["flat+ppo"], ["belief+greedy", "boredom+belief"]]
    assert names(["flat+ppo", "boredom+ppo", "auto"]) == [
        ["boredom+ppo"],
        ["flat+ppo", "auto"],
    ]  # what auto chooses from
    assert names(["llm+ppo", "flat+ppo", "random"]) == [["flat+ppo"]]  # one guard keeps the budget


def test_an_agent_that_may_choose_a_chat_model_asks_it() -> None:
    config = dataclasses.replace(SMALL, agents=["auto"], auto=AutoConfig(candidates=["llm+greedy", "flat+greedy"]))
    assert asks_model(parse_agents(config)[0], config)
    assert not asks_model(parse_agents(SMALL)[0], SMALL)


def test_only_long_training_is_worth_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    long = dataclasses.replace(SMALL, train=dataclasses.replace(SMALL.train, steps=100_000))
    monkeypatch.setattr(side_by_side, "free_memory", lambda: 100 << 30)
    assert (worth(SMALL, 8), worth(long, 8), worth(long, 1)) == (1, 2, 1)
    monkeypatch.setattr(side_by_side, "free_memory", lambda: 3 << 30)
    assert worth(long, 8) == 1


def test_the_tables_are_those_of_one_agent_after_another(tmp_path: Path) -> None:
    train(SMALL, tmp_path / "one")
    train(SMALL, tmp_path / "two", where=Where(2))
    kept = sorted(path.name for path in (tmp_path / "one").glob("*.parquet"))
    assert {"episodes.parquet", "sessions.parquet", "curves.parquet"} <= set(kept)
    assert kept == sorted(path.name for path in (tmp_path / "two").glob("*.parquet"))
    for name in kept:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name
    assert not (tmp_path / "two" / "fitting").exists()
    before = (tmp_path / "two" / "episodes.parquet").read_bytes()
    (tmp_path / "two" / "episodes.parquet").unlink()
    evaluate(tmp_path / "two", where=Where(2))
    assert (tmp_path / "two" / "episodes.parquet").read_bytes() == before


def test_only_paths_are_relocated() -> None:
    config = dataclasses.replace(SMALL, data=DataConfig(path="./data/boredom", synthetic=SMALL.data.synthetic))
    there = relocated((config, Path("data/boredom/x"), ["boredom"]), {"data/boredom": "/there"})
    assert there[0].data.path == "/there"
    assert there[1:] == (Path("/there/x"), ["boredom"])
    assert relocated(config, {"boredom": "/there"}) == config


def test_a_module_that_changed_is_imported_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for number in (1, 2):
        place = tmp_path / str(number) / "mine_of_a_test.py"
        place.parent.mkdir()
        place.write_text(f"NUMBER = {number}\n")
        use([place])
        import mine_of_a_test  # type: ignore[import-not-found]

        assert number == mine_of_a_test.NUMBER
    del sys.modules["mine_of_a_test"]
