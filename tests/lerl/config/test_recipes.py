"""The recipes that come with lerl, on a small made-up log."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from lerl.cli.main import main
from lerl.config.parse import load, overlay
from lerl.config.recipes import find_recipe, recipes
from lerl.envs.store import DYNAMICS_FILE, MissingDataError
from lerl.experiment.spec import Experiment
from lerl.run.specs import parse_agents
from lerl.run.task import Task
from tests.envs.made_logs import made_up_dynamics, prepared_log

ON_LOGS = {"movielens": "fitted", "goodbooks": "assumed", "kuairand": "fitted", "logs": "fitted"}
SMALL = [
    "--planner.clusters", "5", "--planner.sessions", "8", "--train.steps", "300", "--train.users", "4",
    "--train.validation", "4", "--train.evaluations", "1", "--evaluation.users", "6", "--evaluation.replicates", "1",
    "--evaluation.bootstrap", "100", "--env.max_steps", "8",
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepared_log(tmp_path_factory.mktemp("log"))


def test_the_recipes_are_these() -> None:
    assert set(recipes()) == {"quickstart", "lives", "composite", "whole_session", "whole_session_movielens", *ON_LOGS}


def test_the_recipe_of_lives_compares_learning_from_returns_with_learning_from_sessions() -> None:
    config = load(find_recipe("lives"))
    assert Task.load(config).lives is not None
    specs = {spec.label: spec for spec in parse_agents(config)}
    assert {label for label, spec in specs.items() if spec.returns} == {"belief+greedy@return"}
    assert {"belief+greedy", "boredom+belief", "privileged"} <= set(specs)


def test_the_published_experiment_has_its_agents_and_its_protocol() -> None:
    whole = Experiment.read(load(find_recipe("whole_session")))
    published = {f"flat+{name}" for name in ("ppo", "a2c", "td3", "ddpg", "sac", "pg", "hac", "sac4ir", "dnair")}
    deployed = {"sasrec", "sasrec+mmr", "flat+ppo+mmr", "flat+slateq"}
    floors = {"random", "popularity", "round_robin+greedy"}
    planned = {
        f"{name}+{how}" for name in ("round_robin", "boredom", "rotation", "blind", "llm") for how in ("ppo", "greedy")
    }
    assert floors | {"privileged"} | published | deployed | planned <= set(whole.agents)
    kinds = {label: whole.kind(label) for label in whole.agents}
    assert {label for label, kind in kinds.items() if kind == "floor"} == floors
    assert published == {label for label, kind in kinds.items() if kind == "flat learner" and ", " not in label}
    assert deployed <= {label for label, kind in kinds.items() if kind == "practitioner"}
    for condition in whole.conditions:
        assert len(whole.seeds(condition)) == (10 if {"hidden", "satisfaction"} & set(condition.split(", ")) else 5)
        config = whole.trial(condition, "rotation+ppo", 0, {}).config
        assert (config.env.slate_size, config.env.similarity.weight, config.evaluation.users) == (6, 0.2, 1000)
        assert config.env.leave.rule == ("satisfaction" if "satisfaction" in condition else "budget")
        assert config.env.leave.budget.repetition == ("shared" if "shared" in condition else "slot")
        assert config.env.topics == ("hidden" if "hidden" in condition else "categories")


@pytest.mark.parametrize("name", ["whole_session", "whole_session_movielens"])
def test_a_recipe_whose_log_is_not_there_says_how_to_make_it(name: str, tmp_path: Path) -> None:
    config = load(find_recipe(name))
    folder = tmp_path / Path(str(config.data.path)).name
    with pytest.raises(
        MissingDataError, match=f"prepare --format FORMAT .* --out {folder}` or `lerl data import .* --out {folder}`"
    ):
        Task.load(overlay(config, {"data.path": str(folder)}))


def but_clusters(experiment: Experiment, label: str) -> dict[str, Any]:
    """What an agent is given, its number of clusters apart."""
    return {name: value for name, value in experiment.agents[label].items() if name != "planner.clusters"}


def test_movielens_has_the_same_protocol() -> None:
    first, second = (load(find_recipe(name)) for name in ("whole_session", "whole_session_movielens"))
    whole, few = Experiment.read(first), Experiment.read(second)
    assert (first.env, first.train, first.tune) == (second.env, second.train, second.tune)
    assert set(few.agents) == set(few.few) == set(whole.few)
    assert {label: but_clusters(whole, label) for label in few.agents} == {
        label: but_clusters(few, label) for label in few.agents
    }
    assert [*few.conditions, "slot, categories, repeats"] == list(whole.conditions)


@pytest.mark.slow
def test_the_published_experiment_in_little(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["experiment", "whole_session", "--quick", "--out", str(tmp_path / "quick")]) == 0
    said = capfd.readouterr().out
    assert "2 trials, 0 done" in said
    assert "100 evaluation users, 1 seed. " in said
    assert "| rotation+greedy | hierarchical |" in said


@pytest.mark.parametrize(("name", "users"), ON_LOGS.items())
def test_recipes_on_logs_are_as_documented(name: str, users: str) -> None:
    config = load(find_recipe(name))
    assert (config.data.needed, config.data.users, config.env.slate_size) == (True, users, 6)
    assert {"boredom+ppo", "flat+ppo", "random", "privileged"} <= {spec.label for spec in parse_agents(config)}


@pytest.mark.parametrize("name", ON_LOGS)
def test_recipes_on_logs_train(name: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made_up_dynamics(folder, boredom_weight=(0.07, 0.0, 0.1))
    out, agents = tmp_path / "run", ["boredom+ppo", "flat+ppo", "random"]
    given = ["train", name, "--data.path", str(folder), "--out", str(out), "--agents", f"[{','.join(agents)}]"]
    assert main([*given, *SMALL]) == 0
    printed = capsys.readouterr().out
    assert all(re.search(rf"^{re.escape(agent)} ", printed, re.MULTILINE) for agent in agents)
    boredom = Task.load(load(out / "config.yaml")).config.env.boredom.weight
    assert boredom == (pytest.approx(6 * 0.07) if ON_LOGS[name] == "fitted" else 1.0)


@pytest.mark.parametrize("name", [name for name, users in ON_LOGS.items() if users == "fitted"])
def test_a_log_without_fitted_dynamics_names_the_command(
    name: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / DYNAMICS_FILE).unlink(missing_ok=True)
    given = ["train", name, "--data.path", str(folder), "--out", str(tmp_path / "run"), *SMALL]
    assert main(given) == 2
    said = capsys.readouterr().err
    assert f"fit them with: lerl fit {folder} --model latent --dynamics" in said
    assert "or train on assumed users: --data.users assumed" in said
    assert not (tmp_path / "run").exists()
    assert main([*given, "--agents", "[random]", "--data.users", "assumed"]) == 0


@pytest.mark.parametrize("name", ON_LOGS)
def test_recipes_on_logs_need_a_folder(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", name]) == 2
    assert "this recipe needs real users: give --data.path FOLDER" in capsys.readouterr().err


def test_import_ends_with_the_command_that_trains_on_this_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """40 items of few kinds are no 80 clusters, there are no times, and the folder's name has a blank."""
    monkeypatch.chdir(tmp_path)
    rows = [f"{user},{(user + step) % 40},{(user // 20 + step) % 2}" for user in range(60) for step in range(30)]
    Path("log.csv").write_text("\n".join(["user,item,click", *rows]))
    assert main(["data", "import", "--interactions", "log.csv", "--out", "my shop", "--dim", "2"]) == 0
    command = capsys.readouterr().out.splitlines()[-1].partition(": ")[2]
    assert re.fullmatch(
        r"lerl train logs --data.path 'my shop' --planner.clusters \d --env.topic_count \d --data.users assumed",
        command,
    )
    few = ["--agents", "[boredom+greedy,random]", "--evaluation.users", "4", "--evaluation.bootstrap", "100"]
    assert main([*shlex.split(command)[1:], *few, "--out", "run"]) == 0
    assert "boredom+greedy" in capsys.readouterr().out
