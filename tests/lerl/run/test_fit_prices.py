"""Prices of boredom that are chosen on lives: which are taken, on what they are judged, and how much is played."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from lerl.agents.belief.agent import AS_IN_SESSIONS, Prices
from lerl.agents.config import ReturningConfig
from lerl.files import RunError
from lerl.report.load import load_runs
from lerl.run import fit_prices as module
from lerl.run.artifacts import ArtifactStore
from lerl.run.context import FitContext
from lerl.run.fit_belief import start_model
from lerl.run.fit_prices import TRIED, fit_prices, worth
from lerl.run.lives import PlayedLives, PlayedSession
from lerl.run.specs import parse_agent
from lerl.run.task import Task
from lerl.run.train import train
from tests.lerl.run.test_return_agents import PRICED, SMALL

SPEC = parse_agent(PRICED, "boredom")
LENGTH = 5


def life(*sessions: tuple[float, float]) -> list[PlayedSession]:
    """Of sessions of five slates, each by its day and its reward."""
    rewards = [(day, np.full(LENGTH, reward / LENGTH)) for day, reward in sessions]
    return [
        PlayedSession(n, day, 0.0, np.zeros((LENGTH, 1), np.int32), own, 0.5) for n, (day, own) in enumerate(rewards)
    ]


def played(*lives: list[PlayedSession]) -> PlayedLives:
    """These lives, of whoever."""
    numbers = np.arange(len(lives))
    return PlayedLives(numbers, numbers, np.zeros(len(lives), bool), list(lives))


def context(folder: Path, steps: int, days: float = 7.0) -> FitContext:
    """For a small task with so many user-steps, with what is known before any session in the place of a belief."""
    how = dataclasses.replace(SMALL.train, steps=steps, returning=ReturningConfig(days))
    task, store = Task.load(dataclasses.replace(SMALL, train=how)), ArtifactStore(folder)
    store.save_belief(start_model(task, 2), 0)
    return FitContext(task, store, lambda *_: None)


def test_a_life_is_worth_its_sessions_the_less_the_later_they_are() -> None:
    lives = played(life((0.0, 2.0), (7.0, 3.0)), life((0.0, 2.0)))
    assert worth(lives, 7.0).tolist() == pytest.approx([2.0 + 3.0 / math.e, 2.0])
    assert worth(lives, 0.001).tolist() == pytest.approx([2.0, 2.0])  # the first session alone


@pytest.mark.parametrize(("days", "best"), [(30.0, Prices(4.0, 0.5)), (0.001, Prices(2.0, 1.0))])
def test_those_are_taken_under_which_lives_are_worth_most(
    days: float, best: Prices, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With (4, 0.5) people come back once more than with others; their first session is best with (2, 1)."""
    steps, seeds = [0], dict[int, int]()

    def play(evaluator: Any, agent: Any, users: Any, replicates: int, seed: int) -> PlayedLives:
        first = 2.0 + (agent.prices == Prices(2.0, 1.0)) * 0.5
        more = [(3.0, 2.0)] if agent.prices == Prices(4.0, 0.5) else []
        steps[0] += LENGTH * len(users) * (1 + len(more))
        assert seeds.setdefault(seed, len(users)) == len(users)  # all have the same people
        return played(*[life((0.0, first), *more)] * len(users))

    monkeypatch.setattr(module, "play_lives", play)
    given = context(tmp_path, 4000, days)
    fit_prices(SPEC, given)
    assert given.store.load_prices(SPEC) == (best, steps[0])
    assert 3000 < steps[0] <= 4400  # lives under the best are longer than others
    kept = json.loads(given.store.prices_path(SPEC).read_text())
    assert [len(one) for one in kept["rounds"]] == [16, 8, 4, 2]
    assert kept["lives"] == sorted(kept["lives"])


def test_too_few_steps_leave_prices_as_in_sessions(tmp_path: Path) -> None:
    for steps in (0, 600):
        given = context(tmp_path / str(steps), steps)
        fit_prices(SPEC, given)
        prices, spent = given.store.load_prices(SPEC)
        assert (prices, spent > 0) == (AS_IN_SESSIONS, steps > 0)
    assert TRIED[0] == AS_IN_SESSIONS


def test_damaged_prices_are_refused(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    for prices in ([-1.0, 1.0], [1.0], [float("nan"), 1.0]):
        store.save_prices(SPEC, {"prices": prices, "steps": 0})
        with pytest.raises(RunError):
            store.load_prices(SPEC)


def test_a_run_judges_it_beside_the_agent_that_learns_from_sessions(tmp_path: Path) -> None:
    agents = ["belief+greedy", PRICED]
    train(dataclasses.replace(SMALL, agents=agents), tmp_path / "run")
    store = ArtifactStore(tmp_path / "run")
    assert store.load_prices(SPEC)[0] == AS_IN_SESSIONS  # 600 steps are no life for each
    lives = load_runs([tmp_path / "run"]).lives
    assert lives is not None
    one, other = (lives.filter(pl.col("agent") == agent).drop("agent") for agent in agents)
    assert one.equals(other)
