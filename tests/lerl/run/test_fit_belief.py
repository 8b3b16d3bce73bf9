"""Learning people and items in a run: within the budget, on from where it was stopped, and refused when damaged."""

import dataclasses
from contextlib import closing
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
import pytest

from lerl.agents.belief.agent import BeliefAgent
from lerl.agents.belief.filter import TrainingSessions
from lerl.agents.belief.model import UserModel
from lerl.agents.config import TrainConfig
from lerl.agents.hierarchical import HierarchicalAgent, Hierarchy
from lerl.config.parse import load
from lerl.config.schema import Config, DataConfig, EvaluationConfig, SyntheticConfig
from lerl.envs.config import SimulatorConfig
from lerl.envs.plugins import PluginError
from lerl.files import RunError
from lerl.planners.base import PlanContexts, Planner, Plans, Sessions
from lerl.planners.config import PlannerConfig
from lerl.planners.rules import build_planner
from lerl.run import fit_belief
from lerl.run.check_belief import check_belief, check_table
from lerl.run.evaluate import evaluate
from lerl.run.fit_belief import choose_topics, training_sessions
from lerl.run.fitter import Fitter
from lerl.run.rollout import Evaluator
from lerl.run.specs import parse_agent, parse_agents
from lerl.run.task import Task
from lerl.run.train import resume, train

STEPS = 900
SMALL = Config(
    agents=["belief+greedy", "flat+greedy"],
    data=DataConfig(synthetic=SyntheticConfig(users=40, items=80, categories=5, dim=4)),
    env=SimulatorConfig(slate_size=3, max_steps=15),
    planner=PlannerConfig(size=2),
    train=TrainConfig(steps=STEPS),
    evaluation=EvaluationConfig(replicates=2, batch_size=16, bootstrap=100),
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "first"
    train(SMALL, out)
    return out


def learned(run: Path, which: str = "model") -> dict[str, np.ndarray]:
    with np.load(run / "belief" / f"{which}.npz", allow_pickle=False) as kept:
        return {name: kept[name] for name in kept.files}


def test_sessions_count_as_training_and_stay_within_it(run: Path) -> None:
    kept = learned(run)
    assert 0.9 * STEPS < kept["steps"] <= STEPS
    assert kept["vectors"].shape == (80, 4)
    assert set(pl.read_parquet(run / "episodes.parquet")["agent"].unique()) == set(SMALL.agents)


def test_what_was_interrupted_ends_as_if_it_had_not_been(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    played: list[int] = []
    play = fit_belief._play

    def stopping(context, agent, steps, number) -> TrainingSessions | None:  # type: ignore[no-untyped-def]
        played.append(number)
        if len(played) == 3:
            raise KeyboardInterrupt
        return play(context, agent, steps, number)

    monkeypatch.setattr(fit_belief, "_play", stopping)
    again = tmp_path / "again"
    with pytest.raises(KeyboardInterrupt):
        train(SMALL, again)
    resume(again)
    assert played == [0, 1, 2, 2, 3]
    first, second = learned(run), learned(again)
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert (run / "episodes.parquet").read_bytes() == (again / "episodes.parquet").read_bytes()
    assert not list((again / "checkpoints").glob("*"))


def test_a_run_says_how_well_it_predicted_sessions_of_another_policy(run: Path) -> None:
    lines = (run / "belief" / "predictions.md").read_text(encoding="utf-8").splitlines()
    rows = [[float(cell.replace(",", "")) for cell in line.strip("|").split("|")] for line in lines[4:]]
    assert len(rows) == 3  # of four rounds, all but the first
    assert all(0 < number < 1.5 for row in rows for number in row[1:])


def test_a_true_model_is_calibrated_and_a_wrong_one_is_not() -> None:
    rng = np.random.default_rng(0)
    zero, one = np.zeros((1, 1)), np.ones((1, 1), np.float32)
    truth = UserModel(one, one[0] - 1, one, one, zero + 1e-9, zero, 0.0, 0.5, 0.0, 0.1, 0.0)
    truth = truth._replace(spread=1e-9 * np.eye(2), noise=np.zeros((2, 2)))
    homes = np.column_stack([rng.normal(size=4000), np.zeros(4000)])
    clicks = (rng.random((4000, 1)) < 1 / (1 + np.exp(-homes[:, :1]))).astype(np.float32)
    played = TrainingSessions(homes, np.arange(4001), np.zeros((4000, 1), np.int32), clicks, np.zeros(4000, bool))
    wrong = truth._replace(offsets=truth.offsets + 1)
    check = check_belief(truth, wrong, played, played)
    assert check.learned_off < 0.03
    assert check.known_off > 0.15
    assert check.learned < min(check.known, check.constant)
    assert check.constant == pytest.approx(np.log(2), abs=0.01)
    assert f"| {check.learned:.4f} |" in check_table([check])


@pytest.mark.parametrize("topics", ["categories", "hidden"])
def test_categories_are_topics_where_users_get_bored_of_them(topics: Literal["categories", "hidden"]) -> None:
    env = SimulatorConfig(slate_size=3, max_steps=15, topics=topics, topic_count=8, boredom={"weight": 6.0})  # type: ignore[arg-type]
    task = Task.load(dataclasses.replace(SMALL, env=env))
    players = Evaluator(task.population, env, task.axis, "train", 16)
    agent = HierarchicalAgent(Hierarchy(task.task_spec("one"), 16, build_planner("random", 2, 0)))
    sessions = training_sessions(task, players.play(agent, players.users, 40, 1), 40 * len(players.users))
    known, given = choose_topics(task, sessions)
    assert given is (topics == "categories")
    if given:
        membership = task.population.catalog.categories.membership
        assert (known.fills == membership).all()
        assert known.suffers.sum(axis=1) == pytest.approx(1)


def test_without_steps_it_knows_what_the_history_says(tmp_path: Path) -> None:
    config = dataclasses.replace(SMALL, agents=["belief+greedy"], train=TrainConfig(steps=0))
    train(config, tmp_path / "run")
    assert learned(tmp_path / "run")["steps"] == 0


class Pupil(Planner):
    """Allows everything, and counts the steps that it was given to learn from."""

    def __init__(self, size: int, seed: int) -> None:
        self.given = 0

    def plan(self, contexts: PlanContexts) -> Plans:
        assert contexts.tiredness is not None
        allowed = np.ones((len(contexts), len(contexts.names)), bool)
        return Plans(allowed, np.zeros_like(allowed))

    def session_ended(self, sessions: Sessions) -> None:
        self.given = int((sessions.items >= 0).any(axis=2).sum())

    def state(self) -> dict[str, np.ndarray]:
        return {"given": np.array(self.given)}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        self.given = int(state["given"])


@pytest.fixture(scope="module")
def above(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of planners above the belief, on the axis of learned topics."""
    out = tmp_path_factory.mktemp("runs") / "above"
    agents = ["flat+greedy", "boredom+greedy", "boredom+belief", "rotation+belief", f"{__name__}:Pupil+belief"]
    planner = dataclasses.replace(SMALL.planner, axis="learned", clusters=6, sessions=20)
    train(dataclasses.replace(SMALL, agents=agents, planner=planner, train=TrainConfig(steps=1600)), out)
    return out


def test_lessons_and_an_early_belief_stay_within_the_budget(above: Path) -> None:
    early = learned(above, "early")
    assert 0.5 * 1600 < early["steps"] <= 1200
    for name in ("rotation", "Pupil"):
        with np.load(above / "planners" / f"{name}+belief.npz") as kept:
            assert 0 < kept["steps"] <= 1600 - early["steps"]
    with np.load(above / "planners" / "Pupil+belief.npz") as kept:
        assert kept["given"] == kept["steps"]
    assert not (above / "planners" / "boredom+belief.npz").exists()  # its contexts say what it would learn
    assert (above / "planners" / "boredom.npz").exists()


def test_who_had_lessons_plays_by_the_early_belief(above: Path) -> None:
    config = load(above / "config.yaml")
    with closing(Fitter(Task.load(config), above, lambda *_: None)) as fitter:
        for name, which in (("boredom+belief", "model"), ("rotation+belief", "early"), ("belief+greedy", "model")):
            agent = fitter.agent(parse_agent(name, "boredom"))
            believing = agent if isinstance(agent, BeliefAgent) else agent.belief  # type: ignore[attr-defined]
            assert np.array_equal(believing.model.vectors, learned(above, which)["vectors"])


def test_all_plan_on_learned_topics(above: Path) -> None:
    shares, config = learned(above, "early")["suffers"], load(above / "config.yaml")
    with closing(Fitter(Task.load(config), above, lambda *_: None)) as fitter:
        axis = fitter.context.task.axis
        for spec in parse_agents(config):
            assert not fitter.lacks(spec)
            assert fitter.agent(spec).hierarchy.task.axis is axis  # type: ignore[attr-defined]
        played = fitter.context.evaluator.env.simulator.axis
    assert played is axis
    assert len(axis.names) == len(np.unique(shares.argmax(axis=1)))
    assert axis.membership[np.arange(80), np.searchsorted(np.unique(shares.argmax(1)), shares.argmax(1))].all()


def test_a_run_on_learned_topics_is_judged_again_and_resumed(above: Path) -> None:
    before = pl.read_parquet(above / "episodes.parquet")
    evaluate(above)
    assert pl.read_parquet(above / "episodes.parquet").equals(before)
    kept = (above / "belief" / "early.npz").read_bytes()
    (above / "belief" / "early.npz").unlink()
    with pytest.raises(RunError, match="lost some of it"):
        evaluate(above)
    resume(above)
    assert (above / "belief" / "early.npz").read_bytes() == kept
    assert pl.read_parquet(above / "episodes.parquet").equals(before)


def test_a_belief_without_a_planner_has_one_name() -> None:
    with pytest.raises(PluginError, match=r"'flat\+belief', which is called 'belief\+greedy'"):
        parse_agent("flat+belief", "boredom")
    spec = parse_agent("planner+belief", "rotation")
    assert (spec.label, spec.planner, spec.believes, spec.learner) == ("rotation+belief", "rotation", True, None)


@pytest.mark.parametrize("steps", [15, 30, 60, 140])
def test_a_handful_of_sessions_is_enough_to_go_on(steps: int, tmp_path: Path) -> None:
    train(dataclasses.replace(SMALL, agents=["belief+greedy"], train=TrainConfig(steps=steps)), tmp_path / "run")
    kept = learned(tmp_path / "run")
    assert 0 < kept["steps"] <= steps
    assert all(np.isfinite(array).all() for array in kept.values())


def test_a_damaged_model_is_refused_with_what_to_do(run: Path, tmp_path: Path) -> None:
    path = run / "belief" / "model.npz"
    before = path.read_bytes()
    try:
        path.write_bytes(before[:100])
        with pytest.raises(RunError, match=r"model\.npz.*lerl train"):
            evaluate(run)
    finally:
        path.write_bytes(before)


def test_a_catalog_of_a_few_items_has_one_topic(tmp_path: Path) -> None:
    tiny = DataConfig(synthetic=SyntheticConfig(users=20, items=12, categories=2, dim=2))
    env = SimulatorConfig(slate_size=2, max_steps=5, topic_count=3)
    train(dataclasses.replace(SMALL, data=tiny, env=env, train=TrainConfig(steps=100)), tmp_path / "run")
    assert learned(tmp_path / "run")["fills"].shape[0] == 12
