"""Which user-steps count as planned by a chat model."""

import json
from contextlib import closing
from pathlib import Path

from lerl.config import Config, DataConfig, PlannerConfig, SyntheticConfig
from lerl.fit import Fitter
from lerl.rows import Task, parse_row

CONFIG = Config(
    data=DataConfig(synthetic=SyntheticConfig(users=40, items=60, categories=4)),
    planner=PlannerConfig(size=2, sessions=0, model="openai:m", base_url="http://127.0.0.1:1/v1"),
)


def test_only_steps_that_it_planned_for_are_counted(tmp_path: Path):
    with closing(Fitter(Task.load(CONFIG), tmp_path, lambda *_: None)) as fitter:
        for row, steps in (("llm+greedy", 10), ("random", 200), ("llm+greedy", 5), ("boredom+greedy", 1000)):
            fitter.agent(parse_row(row, "llm"))
            fitter.lived(steps)
    report = json.loads((tmp_path / "planners" / "traffic.json").read_text(encoding="utf-8"))
    assert report["user_steps"] == 15
    assert list(report["phases"]) == ["evaluate llm+greedy"]
