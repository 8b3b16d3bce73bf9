"""The main job on a small population: what a run leaves behind, that it repeats, and that it cannot flatter."""

import dataclasses
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml

from lerl.agents.baselines import RandomAgent
from lerl.agents.config import TrainConfig
from lerl.cli.main import main
from lerl.config.parse import dump, load
from lerl.config.schema import Config, DataConfig, EvaluationConfig, SyntheticConfig
from lerl.envs.config import SimulatorConfig
from lerl.envs.plugins import PluginError
from lerl.files import RunError
from lerl.planners.config import PlannerConfig
from lerl.report.bootstrap import summarize
from lerl.run.evaluate import evaluate
from lerl.run.fitter import Fitter
from lerl.run.rollout import Evaluator, sessions_of
from lerl.run.specs import AgentSpec, parse_agent, parse_agents
from lerl.run.task import Task
from lerl.run.train import train

OWN_PLANNER = Path(__file__).parents[3] / "docs" / "how-to" / "own-planner.md"
ROWS = ["planner+ppo", "boredom+greedy", "flat+ppo", "flat+ppo+mmr", "random", "popularity", "privileged"]
SMALL = Config(
    seed=3,
    agents=ROWS,
    data=DataConfig(synthetic=SyntheticConfig(users=40, items=80, categories=5, dim=4)),
    env=SimulatorConfig(slate_size=3, max_steps=15),
    planner=PlannerConfig(size=2, sessions=40),
    train=TrainConfig(steps=600, users=8, rollout=16, batch_size=64, epochs=2, hidden=8, evaluations=2, validation=12),
    evaluation=EvaluationConfig(replicates=2, batch_size=16, deterministic=True, bootstrap=100),
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "first"
    train(SMALL, out)
    return out


def tables(run: Path) -> dict[str, pl.DataFrame]:
    return {
        name: pl.read_parquet(run / f"{name}.parquet") for name in ("episodes", "steps", "items", "exposure", "curves")
    }


def test_settings_of_lives_are_harmless_in_a_run_of_sessions(tmp_path: Path) -> None:
    """A configuration of before lives is read as one without them; whatever they are set to counts for nothing."""
    old = yaml.safe_load(dump(SMALL))
    for name in ("horizon", "days", "return_"):
        del old["env"][name]
    file = tmp_path / "old.yaml"
    file.write_text(yaml.safe_dump(old))
    assert load(file) == SMALL
    set_otherwise = SimulatorConfig(slate_size=3, max_steps=15, days=7, return_={"churn": {"enabled": False}})  # type: ignore[arg-type]
    again = Task.load(dataclasses.replace(SMALL, env=set_otherwise))
    evaluators = [Evaluator(again.population, env, again.axis, "evaluation", 16) for env in (SMALL.env, set_otherwise)]
    agents = [RandomAgent(again.task_spec("random"), 16) for _ in evaluators]
    one, other = (how.play(agent, how.users, 1, 0) for how, agent in zip(evaluators, agents, strict=True))
    assert np.array_equal(one.feedback, other.feedback)


def test_a_run_keeps_what_it_takes_to_repeat_and_to_judge_it(run: Path) -> None:
    about = json.loads((run / "run.json").read_text())
    assert yaml.safe_load((run / "config.yaml").read_text())["planner"]["size"] == 2
    assert about["packages"]["torch"]
    assert about["seeds"]["evaluation"] != about["seeds"]["validation"]
    assert {path.name for path in (run / "policies").iterdir()} == {
        "boredom+ppo.pt", "boredom+ppo.curve.json", "flat+ppo.pt", "flat+ppo.curve.json"
    }  # fmt: skip
    assert (run / "planners" / "boredom.npz").exists()
    assert list((run / "logs" / "flat+ppo").glob("events.out.tfevents*"))


def test_a_slate_larger_than_the_catalog_is_refused_at_the_door(tmp_path: Path) -> None:
    config = dataclasses.replace(SMALL, env=dataclasses.replace(SMALL.env, slate_size=81))
    with pytest.raises(ValueError, match=r"env\.slate_size must be at most the 80 items of the catalog, given 81"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_every_evaluation_user_is_judged_once_per_replicate_by_every_agent(run: Path) -> None:
    episodes = pl.read_parquet(run / "episodes.parquet")
    users = set(Task.load(SMALL).population.users("evaluation").tolist())
    for _, rows in episodes.group_by("agent"):
        assert set(rows["user"].to_list()) == users
        assert sorted(zip(rows["user"], rows["replicate"], strict=True)) == [
            (u, r) for u in sorted(users) for r in (0, 1)
        ]
    assert set(episodes["agent"]) >= {"boredom+ppo", "boredom+ppo@det", "flat+ppo", "flat+ppo+mmr", "privileged"}


def test_sessions_add_up(run: Path) -> None:
    found = tables(run)
    for (agent,), rows in found["episodes"].group_by("agent"):
        shown = found["items"].filter(pl.col("agent") == agent)["count"].sum()
        assert shown == 3 * rows["T_int"].sum() - rows["empty_slots"].sum()
        first = found["steps"].filter((pl.col("agent") == agent) & (pl.col("step") == 1))
        assert first["sessions"].item() == len(rows)
    assert (found["episodes"]["left_early"] ^ found["episodes"]["cut_by_cap"]).all()
    shares = found["exposure"].group_by("agent", "axis", "step").agg(pl.col("share").sum())
    assert np.allclose(shares["share"], 1.0)


def test_the_same_command_gives_the_same_run(run: Path, tmp_path: Path) -> None:
    train(SMALL, tmp_path / "second")
    for name, table in tables(run).items():
        assert table.equals(tables(tmp_path / "second")[name]), name


def test_another_seed_judges_the_same_users_in_other_sessions(run: Path, tmp_path: Path) -> None:
    other = dataclasses.replace(SMALL, seed=4, agents=["random"])
    train(other, tmp_path / "other")
    one, two = (pl.read_parquet(path / "episodes.parquet") for path in (run, tmp_path / "other"))
    one = one.filter(pl.col("agent") == "random")
    assert one["user"].equals(two["user"])
    assert not one["R_cum"].equals(two["R_cum"])


def test_evaluating_again_gives_the_same_tables(run: Path) -> None:
    before = tables(run)
    evaluate(run)
    assert all(before[name].equals(table) for name, table in tables(run).items())


def test_what_was_never_trained_cannot_be_evaluated(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds no run; start one with: lerl train RECIPE"):
        evaluate(tmp_path)


def test_the_curve_counts_the_steps_that_the_planner_took_to_learn(run: Path) -> None:
    curves = pl.read_parquet(run / "curves.parquet")
    with np.load(run / "planners" / "boredom.npz") as kept:
        spent = int(kept["steps"])
    first = {agent: rows["steps"].min() for (agent,), rows in curves.group_by("agent")}
    assert first == {"boredom+ppo": spent, "flat+ppo": 0}
    assert spent > 0


def test_the_summary_has_the_documented_shape(run: Path) -> None:
    assert main(["compare", str(run), "--bootstrap", "100"]) == 0
    from lerl.report.load import load_runs

    summary = summarize(load_runs([run]), bootstrap=100)
    assert set(summary["agents"]["random"]["R_cum"]) == {"mean", "low", "high"}
    assert {"a", "b", "metric", "mean", "ratio", "low", "high"} <= set(summary["differences"][0])
    assert summary["agents"]["random"]["normalised"]["mean"] == 0
    assert summary["agents"]["privileged"]["normalised"]["mean"] == 1


def test_a_policy_without_training_starts_as_its_start_says(tmp_path: Path) -> None:
    untrained = dataclasses.replace(SMALL.train, steps=0, last_log_std=-20.0, log_std=-20.0)
    config = dataclasses.replace(SMALL, train=untrained, agents=["flat+ppo", "flat+greedy"])
    train(config, tmp_path / "run")
    episodes = pl.read_parquet(tmp_path / "run" / "episodes.parquet")
    means = dict(episodes.group_by("agent").agg(pl.col("R_cum").mean()).iter_rows())
    # The last layer starts near zero, not at it, so single slates may differ.
    assert means["flat+ppo@det"] == pytest.approx(means["flat+greedy"], rel=0.15)


def test_without_training_steps_a_planner_has_no_lessons_and_says_so(tmp_path: Path) -> None:
    untrained = dataclasses.replace(SMALL.train, steps=0)
    config = dataclasses.replace(SMALL, train=untrained, agents=["boredom+greedy", "boredom+ppo", "blind+greedy"])
    with pytest.warns(
        UserWarning, match=r"planner (boredom|blind) gets no training sessions .* train.steps is 0"
    ) as warned:
        train(config, tmp_path / "run")
    assert len(warned) == 2  # once a planner, however many agents it plans for
    assert not list((tmp_path / "run").glob("planners/*.npz"))
    task = Task.load(config)
    fitter = Fitter(task, tmp_path / "other", lambda *_: None)
    with pytest.warns(UserWarning, match="no training sessions"):
        agent: Any = fitter.agent(AgentSpec("boredom+greedy", "boredom"))
    assert agent.hierarchy.planner.state() == {}


@pytest.mark.parametrize(
    "spec", [AgentSpec("boredom+greedy", "boredom"), AgentSpec("privileged", baseline="privileged")]
)
def test_results_do_not_depend_on_how_many_sessions_run_side_by_side(spec: AgentSpec, tmp_path: Path) -> None:
    played = []
    for count in (1, 7, 32):
        config = dataclasses.replace(SMALL, evaluation=dataclasses.replace(SMALL.evaluation, batch_size=count))
        task = Task.load(config)
        agent = Fitter(task, tmp_path, lambda *_: None).agent(spec)
        evaluator = Evaluator(task.population, config.env, task.axis, "evaluation", count)
        played.append(evaluator.play(agent, evaluator.users, 2, seed=5))
    for other in played[1:]:
        for name in ("slates", "feedback", "lengths", "satisfaction", "widened"):
            assert np.array_equal(getattr(played[0], name), getattr(other, name), equal_nan=name == "satisfaction"), (
                name
            )


def test_a_planner_learns_from_feedback_and_from_what_was_known_alone(tmp_path: Path) -> None:
    task = Task.load(SMALL)
    evaluator = Evaluator(task.population, SMALL.env, task.axis, "train", SMALL.evaluation.batch_size)
    played = evaluator.play(
        Fitter(task, tmp_path, lambda *_: None).agent(AgentSpec("flat+greedy")), evaluator.users[:3], 1, seed=5
    )
    sessions = sessions_of(played, task.population, task.axis)
    known, user, item = task.population.knowledge, evaluator.users[1], played.slates[1, 0, 2]
    logit = known.tastes[user] @ known.item_vectors[item] + known.user_offsets[user]
    assert sessions.estimates[1, 0, 2] == pytest.approx(1 / (1 + np.exp(-logit)), rel=1e-5)
    assert sessions.items is played.slates
    assert sessions.feedback is played.feedback


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("flat+pp", r"Did you mean 'flat\+ppo'"),
        ("random+sac+mmr", "is no agent"),
        ("flat+sac+mmr", "is no agent"),
        ("boredom+sacc", r"Did you mean 'boredom\+sac'.*learners are ppo, a2c, sac, td3, ddpg, maskable_ppo, dqn"),
        ("bored+ppo", "Did you mean 'boredom'"),
        ("rendom", "Did you mean 'random'"),
        ("nowhere.to_be:Found+ppo", "cannot be imported"),
        ("flat+ppo@det", r"'flat\+ppo' without sampling; give 'flat\+ppo' and evaluation.deterministic true"),
        ("flat+ppo (untrained)", r"as tables mark it; give it without the mark: 'flat\+ppo'"),
        ("boredom", r"does not say what is planned for; give 'boredom\+ppo'"),
        ("ppo", r"does not say what plans; give 'planner\+ppo', or without one 'flat\+ppo'"),
        ("flat+belief", r"is called 'belief\+greedy'"),
        ("MyPlanner+ppo", r"a class without its module; give it as 'my_module:MyPlanner\+ppo'"),
        ("MyAgent", "a class without its module; give it as 'my_module:MyAgent'"),
    ],
)
def test_an_agent_that_is_none_is_refused_with_a_hint(name: str, message: str) -> None:
    with pytest.raises(PluginError, match=message):
        parse_agent(name, "boredom")


def test_what_does_not_fit_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    leave = dataclasses.replace(SMALL.env.leave, rule="satisfied")
    config = dataclasses.replace(SMALL, env=dataclasses.replace(SMALL.env, leave=leave))
    with pytest.raises(PluginError, match="Did you mean 'satisfaction'"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


PLUGINS = """
import sys

import numpy as np
from lerl.planners.base import Plans


class Planner:
    def __init__(self, size, seed):
        pass

    def plan(self, contexts):
        return Plans(np.ones(contexts.counts.shape, bool), np.zeros(contexts.counts.shape, bool))


class Quits(Planner):
    def plan(self, contexts):
        sys.exit(0)


class Vandal(Planner):
    def plan(self, contexts):
        contexts.membership[:] = True


class FailsLater(Planner):
    def plan(self, contexts):
        return super().plan(contexts) if (contexts.steps == 0).all() else {}[1]


class Forgets(Planner):
    def session_ended(self, sessions):
        raise RuntimeError("no room")


class Agent:
    def __init__(self, task, count):
        self.slates = np.zeros((count, task.slate_size), int)

    def begin(self, rows, observation, keys):
        pass

    def act(self, observation):
        return self.slates


class Ragged(Agent):
    def act(self, observation):
        return [[1, 2], [3]]


class Rule:
    def probability(self, situation):
        return np.full(len(situation.steps), -1.0)
"""


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with classes of one's own."""
    (tmp_path / "my_own.py").write_text(PLUGINS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.delitem(sys.modules, "my_own", raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--planner.name", "my_own:Quits"], "my_own:Quits.plan fails: SystemExit: 0; run it again with --debug"),
        (["--planner.name", "my_own:Vandal"], "my_own:Vandal.plan fails: ValueError: assignment destination is read-"),
        (["--planner.name", "my_own:FailsLater"], "my_own:FailsLater.plan fails: KeyError: 1; run it again with"),
        (["--agents+", "my_own:Ragged"], "Ragged.act gives no slates: SessionVectorEnv.step needs item numbers"),
        (["--env.leave.rule", "my_own:Rule"], "my_own:Rule.probability must give chances in [0, 1], given -1.0"),
    ],
)
def test_a_class_of_ones_own_is_tried_before_anything_is_trained_or_written(
    plugins: Path, capsys: pytest.CaptureFixture[str], flags: list[str], message: str
) -> None:
    assert main(["train", "quickstart", "--out", "mine", *flags]) == 2
    assert capsys.readouterr().err.startswith(f"lerl: error: {message}")
    assert not (plugins / "mine").exists()


def test_a_planner_of_ones_own_stands_beside_the_rule_that_comes_with_lerl(
    plugins: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    agents = ["boredom+greedy", "my_own:Planner+greedy", "my_own:Agent", "random"]
    (plugins / "mine.yaml").write_text(dump(dataclasses.replace(SMALL, agents=agents)))
    assert main(["train", "mine.yaml", "--out", "run"]) == 0
    rows = {line.split()[0] for line in capsys.readouterr().out.splitlines() if line}
    assert rows >= {"boredom+greedy", "Planner+greedy", "Agent", "random"}
    assert (plugins / "run" / "plots" / "differences.png").is_file()
    (plugins / "run" / "episodes.parquet").unlink()
    assert main(["train", "--resume", "run"]) == 0
    assert main(["compare", "run", "--reference", "Planner+greedy"]) == 0
    assert "R_cum of Planner+greedy / R_cum of agent" in " ".join(capsys.readouterr().out.split())


def test_the_main_planner_and_another_one_are_rows_of_their_own(plugins: Path) -> None:
    planner = dataclasses.replace(SMALL.planner, name="my_own:Planner")
    both = dataclasses.replace(SMALL, planner=planner, agents=["planner+ppo", "boredom+ppo", "my_own:Planner+ppo"])
    assert [spec.label for spec in parse_agents(both)] == ["Planner+ppo", "boredom+ppo"]
    with pytest.raises(
        PluginError, match=r"without its module; give 'planner\+ppo', as planner.name is 'my_own:Planner"
    ):
        parse_agents(dataclasses.replace(both, agents=["Planner+ppo"]))
    with pytest.raises(PluginError, match=r"'my_own:Planner', which is a planner; say what it plans for: .*\+ppo"):
        parse_agents(dataclasses.replace(both, agents=["my_own:Planner"]))


def test_a_planner_that_cannot_learn_is_named(plugins: Path) -> None:
    planner = dataclasses.replace(SMALL.planner, name="my_own:Forgets", sessions=4)
    with pytest.raises(PluginError, match=r"my_own:Forgets\.session_ended fails: RuntimeError: no room"):
        train(dataclasses.replace(SMALL, planner=planner, agents=["planner+greedy"]), plugins / "run")


def test_what_an_agent_reports_of_itself_is_checked(plugins: Path) -> None:
    module = (plugins / "my_own.py").read_text() + "\n    widened = property(lambda self: sys.exit())\n"
    (plugins / "my_own.py").write_text(module.replace("class Rule:", "class Reports(Agent):"))
    with pytest.raises(PluginError, match=r"Reports\.widened fails: SystemExit"):
        train(dataclasses.replace(SMALL, agents=["my_own:Reports"]), plugins / "run")


def test_agents_are_named_by_what_they_are() -> None:
    specs = parse_agents(dataclasses.replace(SMALL, agents=["planner+ppo", "boredom+ppo", "flat+mmr"]))
    assert specs == [AgentSpec("boredom+ppo", "boredom", learner="ppo"), AgentSpec("flat+mmr", diverse=True)]


@pytest.mark.slow
def test_learners_share_no_policy_and_only_what_samples_is_evaluated_without_sampling_too(tmp_path: Path) -> None:
    agents = ["flat+ppo", "flat+sac", "boredom+td3", "boredom+maskable_ppo", "flat+dqn", "flat+ppo+mmr"]
    agents += ["flat+dnair", "boredom+sac4ir", "flat+slateq"]
    config = dataclasses.replace(
        SMALL,
        agents=agents,
        env=dataclasses.replace(SMALL.env, slate_size=1),
        train=dataclasses.replace(SMALL.train, steps=130, encoder="gru", history=4),
    )
    train(config, tmp_path / "run")
    kept = {path.stem for path in (tmp_path / "run" / "policies").glob("*.pt")}
    assert kept == set(agents) - {"flat+ppo+mmr"}
    found = tables(tmp_path / "run")
    sampled = ["flat+ppo", "flat+sac", "boredom+maskable_ppo", "flat+ppo+mmr", "boredom+sac4ir"]
    assert set(found["episodes"]["agent"]) == {*agents, *(f"{agent}@det" for agent in sampled)}
    assert set(found["curves"]["agent"]) == kept
    evaluate(tmp_path / "run")
    assert found["episodes"].equals(tables(tmp_path / "run")["episodes"])


def test_choosing_by_number_is_refused_for_slates_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"boredom\+dqn chooses one item by its number, so env\.slate_size must be 1"):
        train(dataclasses.replace(SMALL, agents=["boredom+dqn"]), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_recipe_for_real_users_does_not_fall_back_to_made_up_ones() -> None:
    with pytest.raises(ValueError, match=r"needs real users: give --data\.path FOLDER"):
        Task.load(dataclasses.replace(SMALL, data=DataConfig(needed=True)))


def test_the_planner_in_the_docs_runs_as_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    blocks = re.findall(r"```python[^\n]*\n(.*?)```", OWN_PLANNER.read_text(), flags=re.DOTALL)
    mine = next(block for block in blocks if "def plan(" in block)
    assert len([line for line in mine.splitlines() if line.strip()]) <= 12
    name = re.search(r"--planner\.name (\S+)", OWN_PLANNER.read_text())
    assert name is not None
    monkeypatch.chdir(tmp_path)
    Path(name[1].split(":")[0] + ".py").write_text(mine)
    small = ["--train.steps", "200", "--train.users", "8", "--train.rollout", "8", "--train.evaluations", "1"]
    few = ["--train.validation", "4", "--evaluation.users", "4", "--evaluation.batch_size", "8"]
    arguments = ["--planner.name", name[1], "--agents", "[planner+ppo, planner+greedy, random]", "--env.max_steps", "6"]
    assert main(["train", "quickstart", "--out", "mine", *arguments, *small, *few, "--debug"]) == 0
    assert name[1].split(":")[1] + "+ppo" in capsys.readouterr().out


@pytest.mark.parametrize("axis", ["clusters", "categories"])
def test_planning_works_on_either_axis(axis: str) -> None:
    config = dataclasses.replace(SMALL, planner=PlannerConfig(axis=axis, clusters=6, size=2))
    task = Task.load(config)
    assert len(task.axis.names) == (6 if axis == "clusters" else 5)
    assert task.axis.membership.any(axis=1).all()
