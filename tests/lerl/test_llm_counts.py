"""What a run keeps of its chat model: which user-steps it planned for, and by which texts it was asked."""

import dataclasses
import json
from contextlib import closing
from pathlib import Path

from lerl.config import Config, DataConfig, PlannerConfig, SyntheticConfig
from lerl.fit import Fitter
from lerl.planners.prompt import TEXTS
from lerl.rows import Task, parse_row
from lerl.train import _about

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


def test_a_run_keeps_which_texts_it_asked_by(tmp_path: Path):
    def digest(folder: str | None) -> str:
        planner = dataclasses.replace(CONFIG.planner, prompts=folder)
        return str(_about(Task.load(dataclasses.replace(CONFIG, planner=planner)))["prompts"])

    text = (TEXTS / "plan.txt").read_text(encoding="utf-8")
    (tmp_path / "plan.txt").write_text(text, encoding="utf-8")
    assert digest(str(tmp_path)) == digest(None)
    (tmp_path / "plan.txt").write_text(text + "Be brief.\n", encoding="utf-8")
    assert digest(str(tmp_path)) != digest(None)
