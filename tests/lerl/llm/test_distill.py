"""`lerl distill`: a network in the place of a run's chat model."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lerl.cli.main import main
from lerl.config.parse import dump
from lerl.config.parse import load as load_config
from lerl.files import RunError
from lerl.llm.distill import _interval, distill
from lerl.planners.llm.distilled import Distillation, DistilledError, load
from lerl.run.train import train
from tests.lerl.conftest import chat_config


def test_a_network_is_written_that_a_run_can_plan_with(
    chat_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["distill", str(chat_run)]) == 0
    printed = capsys.readouterr().out
    for label in ("recorded plans  ", "agreement       ", "by chance       ", f"written to      {chat_run}"):
        assert f"{label}" in printed
    how = f"--planner.name distilled --planner.distilled {chat_run}"
    assert printed.endswith(f"plan with it: lerl train RECIPE {how}\n")
    weights = load(chat_run / "planners" / "distilled.npz")
    assert not list((chat_run / "planners").glob(".*"))
    config = chat_config(None, distilled=str(chat_run))
    train(replace(config, agents=["distilled+greedy"]), tmp_path / "second")
    assert not (tmp_path / "second" / "planners" / "traffic.json").exists()  # no model was asked
    again = distill(chat_run)
    assert all(np.array_equal(weights[name], value) for name, value in load(again.path).items())


def test_the_interval_holds_the_agreement_and_is_that_of_held_out_plans() -> None:
    # Of 50 held-out plans that allow 2 each, 40 agree wholly and 10 not at all: 0.8, with a standard error of 0.057.
    agreed = np.repeat([2, 0], [40, 10])
    low, high = _interval(Distillation(250, 50, 0.8, 0.5, agreed, np.full(50, 2)))
    assert low == pytest.approx(0.8 - 1.96 * 0.057, abs=0.02)
    assert high == pytest.approx(0.8 + 1.96 * 0.057, abs=0.02)


def test_a_run_without_recorded_plans_is_refused_with_what_to_do(
    chat_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (chat_run / "planners" / "traffic.sqlite").unlink()
    assert main(["distill", str(chat_run)]) == 2
    assert capsys.readouterr().err == (
        f"lerl: error: {chat_run} recorded no plans of a chat model; train it with an agent such as llm+greedy: lerl "
        "train RECIPE --planner.name llm --planner.model PROVIDER:NAME\n"
    )
    assert not (chat_run / "planners" / "distilled.npz").exists()
    assert main(["distill", str(tmp_path / "no")]) == 2
    assert "no holds no run; start one with: lerl train" in capsys.readouterr().err
    assert main(["distill"]) == 2
    assert "required: RUN; see lerl distill --help" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:openai.m")
def test_a_run_whose_plans_were_all_the_fallbacks_says_so(
    chat: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chat.fault = lambda handler, _: handler.send(404, b"{}") or True
    train(chat_config(chat.url), tmp_path / "run")
    assert main(["distill", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert re.fullmatch(
        rf"lerl: error: {tmp_path / 'run'} recorded no plans of a chat model outside of its evaluation: all were "
        r"planner\.fallback's \(\d+ http 404, \d+ breaker\); see lerl plan --run \S+ for the reason, fix it, and "
        "train again in another folder",
        said,
    )


def test_another_number_of_categories_is_refused_before_anything_is_asked(
    chat_run: Path, chat: Any, tmp_path: Path
) -> None:
    distill(chat_run)
    config = chat_config(chat.url, distilled=str(chat_run), refresh=5)
    more = replace(config.data, synthetic=replace(config.data.synthetic, categories=6))
    asked = chat.asked
    with pytest.raises(DistilledError, match=r"learned from plans for 5 categories, here are 6"):
        train(replace(config, agents=["distilled+greedy"], data=more), tmp_path / "second")
    assert chat.asked == asked
    assert not (tmp_path / "second").exists()


def test_a_run_that_a_network_planned_keeps_its_own(chat_run: Path) -> None:
    config = load_config(chat_run / "config.yaml")
    planner = replace(config.planner, distilled="runs/first")
    changed = replace(config, agents=["distilled+greedy"], planner=planner)
    (chat_run / "config.yaml").write_text(dump(changed))
    with pytest.raises(RunError, match="distill the run that it came from, runs/first"):
        distill(chat_run)
