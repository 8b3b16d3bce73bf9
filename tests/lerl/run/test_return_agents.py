"""Agents that learn from people who come back: their names, their files, who is refused, and one that is fitted."""

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
import torch

from lerl.agents.config import ReturningConfig, TrainConfig
from lerl.config.errors import SettingsError
from lerl.config.schema import Config, DataConfig, EvaluationConfig, SyntheticConfig, TuneConfig
from lerl.envs.config import SimulatorConfig
from lerl.envs.plugins import PluginError
from lerl.experiment.search.space import search_space
from lerl.experiment.spec import Trial
from lerl.planners.config import PlannerConfig
from lerl.report.load import load_runs
from lerl.report.look import learned_agents
from lerl.report.page.words import names_of
from lerl.run.artifacts import policy_name
from lerl.run.checks import check_agents
from lerl.run.specs import AgentSpec, ineffective, parse_agent, parse_agents
from lerl.run.task import Task
from lerl.run.train import train

BOTH = ["flat+ppo", "flat+ppo@return"]
PRICED = "belief+greedy@return"
SMALL = Config(
    seed=3,
    agents=BOTH,
    data=DataConfig(synthetic=SyntheticConfig(users=40, items=80, categories=5, dim=4)),
    env=SimulatorConfig(slate_size=3, max_steps=15, horizon="days", days=10.0),
    planner=PlannerConfig(size=2, sessions=40),
    train=TrainConfig(steps=600, users=8, rollout=16, batch_size=64, epochs=2, hidden=8, evaluations=2, validation=12),
    evaluation=EvaluationConfig(users=6, batch_size=8, deterministic=True, bootstrap=100),
)
SESSIONS = replace(SMALL, env=replace(SMALL.env, horizon="session"))


@pytest.mark.parametrize(
    ("name", "spec"),
    [
        ("flat+ppo@return", AgentSpec("flat+ppo@return", None, "ppo", returns=True)),
        ("planner+a2c@return", AgentSpec("boredom+a2c@return", "boredom", "a2c", returns=True)),
        ("rotation+pg@return", AgentSpec("rotation+pg@return", "rotation", "pg", returns=True)),
        ("flat+maskable_ppo@return", AgentSpec("flat+maskable_ppo@return", None, "maskable_ppo", returns=True)),
        (PRICED, AgentSpec(PRICED, baseline="belief+greedy", believes=True, returns=True)),
    ],
)
def test_a_name_says_what_is_learned_from(name: str, spec: AgentSpec) -> None:
    assert parse_agent(name, "boredom") == spec
    assert parse_agent(name.removesuffix("@return"), "boredom").returns is False


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "flat+sac@return",
            r"LEARNER is ppo, a2c, maskable_ppo, pg; give 'flat\+ppo@return', or 'belief\+greedy@return'",
        ),
        ("boredom+belief@return", r"but what comes back is learned from by"),
        (
            "flat+greedy@return",
            r"'flat\+greedy@return', but what comes back is learned from by PLANNER\+LEARNER@return",
        ),
        ("flat+ppo+mmr@return", r"but what comes back is learned from by"),
        ("privileged@return", r"but what comes back is learned from by"),
        ("flat+pp@return", r"Did you mean 'flat\+ppo'"),
        ("flat+ppo@return@det", r"'flat\+ppo@return' without sampling"),
    ],
)
def test_what_cannot_learn_from_it_is_refused(name: str, message: str) -> None:
    with pytest.raises(PluginError, match=message):
        parse_agent(name, "boredom")


def test_nobody_comes_back_from_a_session(tmp_path: Path) -> None:
    message = (
        r"flat\+ppo@return learns from people who come back, but env\.horizon is session; give --env\.horizon days"
    )
    with pytest.raises(ValueError, match=message):
        train(SESSIONS, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    check_agents(Task.load(SMALL), parse_agents(SMALL))


def test_policies_trials_and_searches_of_both_kinds_are_kept_apart() -> None:
    specs = parse_agents(SMALL)
    assert [policy_name(spec) for spec in specs] == BOTH
    longer = replace(SMALL.train, returning=ReturningConfig(90.0))

    def digest(agent: str, how: TrainConfig) -> str:
        config = replace(SMALL, agents=[agent], train=how)
        return Trial("plain", agent, config, config).digest

    assert digest("flat+ppo", SMALL.train) == digest("flat+ppo", longer)
    assert digest("flat+ppo@return", SMALL.train) != digest("flat+ppo@return", longer)
    space = {"train.returning.days": {"low": 1.0, "high": 30.0}}
    searched = replace(SMALL, tune=TuneConfig(agent="flat+ppo@return", space=space))
    with pytest.raises(SettingsError, match=r"train\.returning\.days cannot be searched, it says what is wanted"):
        search_space(searched, specs[1])


def test_days_mean_nothing_to_agents_that_learn_from_sessions() -> None:
    assert ineffective(SMALL, ["train.returning.days"]) == {}
    assert ineffective(replace(SMALL, agents=["flat+ppo"]), ["train.returning.days"]) == {
        "train.returning.days": "none of agents ends in @return"
    }


def test_settings_of_lives_mean_nothing_to_runs_of_sessions() -> None:
    given = ["env.days", "env.return_.gap.typical", "env.horizon"]
    assert ineffective(SMALL, given) == {}
    alone = replace(SMALL, agents=["flat+ppo"], env=replace(SMALL.env, horizon="session"))
    assert ineffective(alone, given) == dict.fromkeys(given[:2], "env.horizon is session")


def test_a_name_says_once_that_it_learns_from_returns() -> None:
    with pytest.raises(PluginError, match="what comes back is learned from by"):
        parse_agent("flat+ppo@return@return", "")


def test_a_run_fits_and_judges_it_beside_the_one_that_learns_from_sessions(tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(SMALL, run)
    policies = run / "policies"
    assert {path.name for path in policies.iterdir()} == {
        f"{one}{end}" for one in BOTH for end in (".pt", ".curve.json")
    }
    weights = [torch.load(policies / f"{agent}.pt", weights_only=True) for agent in BOTH]
    assert any((weights[0][name] != weights[1][name]).any() for name in weights[0])
    results = load_runs([run])
    assert set(results.curves["agent"]) == set(BOTH)
    played = {*BOTH, *(f"{agent}@det" for agent in BOTH)}
    assert set(results.episodes["agent"]) == played
    assert results.lives is not None
    assert set(results.lives["agent"]) == played
    assert learned_agents(results, [*played, "flat+a2c@return"]) == played
    of_sessions = replace(results, curves=results.curves.filter(pl.col("agent") == "flat+ppo"))
    assert learned_agents(of_sessions, BOTH) == {"flat+ppo"}


def test_a_report_says_what_it_is() -> None:
    assert [part for part, _ in names_of(["flat+ppo@return"])] == ["flat", "ppo", "return"]
    assert [part for part, _ in names_of(["flat+ppo@det"])] == ["flat", "ppo"]
