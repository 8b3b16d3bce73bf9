"""The agent `auto`: it is the best of its candidates, to the bit, and says which."""

import dataclasses
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from lerl.agents.config import TrainConfig
from lerl.config.schema import AutoConfig, Config, DataConfig, EvaluationConfig, SyntheticConfig
from lerl.envs.config import SimulatorConfig
from lerl.envs.draws import seed_from
from lerl.envs.plugins import PluginError
from lerl.experiment.spec import Experiment
from lerl.experiment.trial import work
from lerl.experiment.tune import search_space
from lerl.files import RunError
from lerl.planners.config import PlannerConfig
from lerl.report.load import chosen_by_seed, load_runs
from lerl.run.choose import DIVISOR, Choice, choose
from lerl.run.evaluate import evaluate
from lerl.run.specs import AgentSpec, candidates, ineffective, parse_agents
from lerl.run.train import resume, train

LENGTH = 20


class Users:
    """Users whose sessions are worth what the agent is worth, what the user is worth, and luck.

    Attributes:
        played: what was played: agent, users, seed.
    """

    def __init__(self, steps: int, seed: int, luck: float = 1.0) -> None:
        config = SimpleNamespace(train=SimpleNamespace(steps=steps), env=SimpleNamespace(max_steps=5 * LENGTH))
        self.task = SimpleNamespace(config=config, seed=lambda *phase: seed_from(seed, *phase))
        self.users, self.luck = np.arange(500), luck
        self.played: list[tuple[Any, Any, int]] = []
        self.evaluator, self.chat = self, SimpleNamespace(count=lambda steps: None)

    def play(self, agent: Any, users: Any, replicates: int, seed: int) -> Any:
        self.played.append((agent, users, seed))
        own, both = np.random.default_rng(seed_from(seed, *agent)), np.random.default_rng(seed)
        rewards = agent[1] + both.normal(0, 3, len(users)) + self.luck * own.normal(size=len(users))
        lengths = np.full(len(users), LENGTH)
        return SimpleNamespace(rewards=rewards[:, None], lengths=lengths)

    def report(self, phase: str, done: int, total: int, words: Any) -> None:
        assert phase == "choose auto"
        assert 0 < done <= total

    def choose(self, worth: dict[str, float]) -> Choice:
        specs = [AgentSpec(name) for name in worth]
        return choose(specs, lambda spec: (spec.label, worth[spec.label]), self)  # type: ignore[arg-type, return-value]


def test_the_best_of_many_is_found_in_rounds_of_the_same_sessions() -> None:
    worth = {f"agent {number}": 10.0 + 0.2 * (number * 7 % 10) for number in range(10)}
    users = Users(400_000, seed=0)
    found = users.choose(worth)
    assert found.chosen == max(worth, key=lambda name: worth[name])
    assert [len(one) for one in found.rounds] == [10, 5, 3, 2]
    assert found.sessions == sorted(found.sessions)
    assert 0.95 * 400_000 / DIVISOR < found.steps <= 400_000 / DIVISOR
    batches = {seed: others for _, others, seed in users.played}
    assert all(np.array_equal(batches[seed], others) for _, others, seed in users.played)
    assert len({agent for agent, _, seed in users.played if seed == users.played[0][2]}) == 10
    assert len({agent for agent, _, seed in users.played if seed == users.played[-1][2]}) == 2


def test_it_is_hardly_ever_significantly_below_the_best_of_its_candidates() -> None:
    """Whatever the gap, as many paired sessions as an evaluation has do not mislead and convict at once."""
    for gap in (0.02, 0.05, 0.1):
        below = 0
        for seed in range(60):
            worth = {"worse": 10.0, "better": 10.0 + gap, **{f"bad {number}": 9.5 for number in range(6)}}
            found = Users(400_000, seed).choose(worth)
            own = np.random.default_rng(seed).normal(0, 2**0.5, 1108)  # of paired differences of an evaluation
            difference = own + worth["better"] - worth[found.chosen]
            below += difference.mean() > 1.96 * difference.std() / len(own) ** 0.5 and found.chosen != "better"
        assert below <= 3  # of 60


@pytest.mark.parametrize("steps", [0, 1000, 100_000])
def test_of_equals_the_first_is_chosen(steps: int) -> None:
    found = Users(steps, seed=1, luck=0.0).choose({"first": 1.0, "second": 1.0, "third": 1.0})
    assert found.chosen == "first"
    assert found.steps <= steps / DIVISOR


def test_without_steps_nobody_plays() -> None:
    users = Users(0, seed=1)
    assert users.choose({"first": 0.0, "best": 5.0}).chosen == "first"
    assert not users.played


def test_one_candidate_needs_no_sessions() -> None:
    assert Users(400_000, seed=1).choose({"only": 1.0}) == Choice("only", 0, [], [])


# in a run

PLANTED = """
import numpy as np


class Good:
    '''Ranks by the taste that is known.'''

    def __init__(self, task, count):
        self.task, self.scores = task, np.zeros((count, len(task.catalog)))
        self.shown = np.zeros(self.scores.shape, bool)

    def begin(self, rows, observation, keys):
        self.scores[rows] = observation['taste'][rows] @ self.task.knowledge.item_vectors.T
        self.shown[rows] = False

    def act(self, observation):
        slates = np.argsort(self.shown * 1e6 - self.scores, axis=1, kind='stable')[:, : self.task.slate_size]
        np.put_along_axis(self.shown, slates, True, axis=1)
        return slates


class Bad(Good):
    def begin(self, rows, observation, keys):
        super().begin(rows, observation, keys)
        self.scores[rows] *= -1


class Peeking(Good):
    def watch(self, env):
        self.env = env
"""
SMALL = Config(
    agents=["auto", "planted:Bad", "planted:Good", "random"],
    data=DataConfig(synthetic=SyntheticConfig(users=40, items=80, categories=5, dim=4)),
    env=SimulatorConfig(slate_size=3, max_steps=10),
    planner=PlannerConfig(size=2),
    train=TrainConfig(steps=4000),
    evaluation=EvaluationConfig(replicates=1, batch_size=16, bootstrap=100),
)


@pytest.fixture(scope="module", autouse=True)
def _planted(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("modules")
    (folder / "planted.py").write_text(PLANTED)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "first"
    train(SMALL, out)
    return out


def sessions(run: Path, agent: str) -> pl.DataFrame:
    return pl.read_parquet(run / "episodes.parquet").filter(pl.col("agent") == agent).drop("agent")


def test_it_is_what_it_chose_to_the_bit(run: Path) -> None:
    assert sessions(run, "auto").equals(sessions(run, "Good"))
    assert not sessions(run, "auto").equals(sessions(run, "Bad"))
    (note,) = load_runs([run]).notes
    assert note.startswith("auto is Good, chosen by ")


def test_evaluating_again_and_resuming_choose_nothing_anew(run: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(run, tmp_path / "copy"))
    before = (copy / "episodes.parquet").read_bytes()
    choice = copy / "rows" / "auto.json"
    kept = choice.read_text()
    evaluate(copy, trust=True)
    assert (copy / "episodes.parquet").read_bytes() == before
    choice.unlink()
    resume(copy, trust=True)
    assert choice.read_text() == kept
    choice.write_text(kept.replace('"chosen": "Good"', '"chosen": "nobody"'))
    with pytest.raises(RunError, match=r"auto\.json is damaged.*lerl train"):
        evaluate(copy, trust=True)


def chosen_from(agents: list[str], named: list[str] | None = None) -> list[str]:
    return [spec.label for spec in candidates(dataclasses.replace(SMALL, agents=agents, auto=AutoConfig(named or [])))]


def test_it_chooses_from_agents_that_are_told_nothing_and_cost_nothing() -> None:
    every = ["auto", "flat+ppo", "random", "popularity", "informed", "privileged", "llm+ppo", "planted:Peeking"]
    assert chosen_from([*every, "belief+greedy", "flat+ppo"]) == ["flat+ppo", "belief+greedy"]
    assert chosen_from(every, ["llm+ppo", "popularity"]) == ["llm+ppo", "popularity"]


@pytest.mark.parametrize("name", ["auto", "privileged", "informed", "planted:Peeking"])
def test_what_is_told_or_itself_cannot_be_named(name: str) -> None:
    with pytest.raises(PluginError, match=r"auto\.candidates names"):
        chosen_from(["auto"], ["flat+ppo", name])


def test_a_choice_among_nobody_is_refused() -> None:
    with pytest.raises(PluginError, match=r"nothing to choose from; name agents under auto\.candidates"):
        parse_agents(dataclasses.replace(SMALL, agents=["auto", "random", "privileged"]))


def test_candidates_without_auto_have_no_effect() -> None:
    config = dataclasses.replace(SMALL, agents=["random"])
    assert ineffective(config, ["auto.candidates"]) == {"auto.candidates": "auto is none of agents"}
    assert ineffective(SMALL, ["auto.candidates"]) == {}


def test_a_search_may_be_for_auto() -> None:
    tune = dataclasses.replace(SMALL.tune, agent="auto", space={"train.gamma": {"low": 0.8, "high": 0.9}})
    assert list(search_space(dataclasses.replace(SMALL, tune=tune), AgentSpec("auto", baseline="auto"))) == [
        "train.gamma"
    ]


def test_an_experiment_names_its_candidates() -> None:
    agents: dict[str, Any] = {"auto": {"auto.candidates": ["flat+greedy", "boredom+greedy"]}, "flat+greedy": {}}
    recipe = dataclasses.replace(SMALL.experiment, agents=agents, conditions={"first": {}})
    one = Experiment.read(dataclasses.replace(SMALL, experiment=recipe)).trial("first", "auto", 0, {})
    recipe = dataclasses.replace(recipe, agents={**agents, "auto": {"auto.candidates": ["flat+greedy"]}})
    other = Experiment.read(dataclasses.replace(SMALL, experiment=recipe)).trial("first", "auto", 0, {})
    assert one.digest != other.digest
    recipe = dataclasses.replace(recipe, agents={"auto": {}})
    with pytest.raises(PluginError, match="nothing to choose from"):
        Experiment.read(dataclasses.replace(SMALL, experiment=recipe))


def test_a_trial_says_what_it_chose_and_counts_the_steps(tmp_path: Path) -> None:
    agents: dict[str, Any] = {"auto": {"auto.candidates": ["planted:Bad", "planted:Good"]}}
    agents["good"] = {"agent": "planted:Good"}
    recipe = dataclasses.replace(SMALL.experiment, agents=agents, conditions={"first": {}})
    experiment = Experiment.read(dataclasses.replace(SMALL, experiment=recipe))
    auto, about = work(experiment.trial("first", "auto", 0, {}), tmp_path / "auto")
    good, _ = work(experiment.trial("first", "good", 0, {}), tmp_path / "good")
    assert about["chosen"] == "Good"
    assert about["steps"] == json.loads((tmp_path / "auto" / "fit" / "rows" / "auto.json").read_text())["steps"] > 0
    assert auto.equals(good)


def test_what_seeds_chose_is_said_in_words() -> None:
    assert chosen_by_seed([]) == ""
    assert chosen_by_seed(["a", "a"]) == "a"
    assert chosen_by_seed(["a", "b", "a"]) == "a (2 of 3 seeds), b (1 of 3 seeds)"
