"""A search on a small population: what it tries, for which users, and that it ends the same however often stopped."""

import dataclasses
import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import polars as pl
import pytest
import yaml
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.storages.journal import JournalFileBackend

from lerl.agents.config import TrainConfig
from lerl.cli.main import main
from lerl.config.errors import SettingsError
from lerl.config.keys import known_keys
from lerl.config.parse import dump, load
from lerl.config.recipes import find_recipe, recipes
from lerl.config.schema import Config, DataConfig, EvaluationConfig, SyntheticConfig, TuneConfig
from lerl.envs.config import SimulatorConfig
from lerl.envs.simulator import UserSimulator
from lerl.experiment.search.scoring import differing
from lerl.experiment.search.space import check_found, search_space
from lerl.experiment.tune import SearchTrial, table, tune, without_effect
from lerl.files import RunError
from lerl.planners.config import PlannerConfig
from lerl.run import fit_policy
from lerl.run.fitter import Fitter
from lerl.run.specs import parse_agent
from lerl.run.task import Task
from lerl.run.train import train

ROOT = Path(__file__).parents[3]
SPACE = {
    "train.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
    "train.gamma": {"low": 0.8, "high": 0.99},
    "planner.size": {"choices": [1, 2, 3]},
}
SMALL = Config(
    seed=3,
    agents=["random", "planner+greedy"],
    data=DataConfig(synthetic=SyntheticConfig(users=40, items=80, categories=5, dim=4)),
    env=SimulatorConfig(slate_size=3, max_steps=8),
    planner=PlannerConfig(size=2, sessions=10),
    train=TrainConfig(steps=260, users=8, rollout=8, batch_size=64, epochs=1, hidden=8, evaluations=1, validation=4),
    evaluation=EvaluationConfig(users=4, replicates=1, batch_size=16, bootstrap=100),
    tune=TuneConfig(agent="boredom+ppo", trials=4, users=20, replicates=2, space=SPACE),
)


def changed(**changes: Any) -> Config:
    """The small search with other entries in its tune section."""
    return dataclasses.replace(SMALL, tune=dataclasses.replace(SMALL.tune, **changes))


QUICK = {
    "agent": "boredom+greedy",
    "space": {"planner.size": {"choices": [1, 2, 3, 4]}, "planner.replan_every": {"low": 1, "high": 8}},
}
"""A search without training."""


def results(trials: list[SearchTrial]) -> list[tuple[Any, ...]]:
    """All that trials say, in the order of the search."""
    found = [(trial.number, trial.values, trial.scores.tolist(), trial.refused, trial.own) for trial in trials]
    return sorted(found, key=lambda entry: entry[0])


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[SearchTrial]]:
    out = tmp_path_factory.mktemp("searches") / "whole"
    return out, tune(SMALL, out)


def test_trials_are_in_the_space_and_the_recipe_is_the_first(searched: tuple[Path, list[SearchTrial]]) -> None:
    trials = results(searched[1])
    own = {"train.learning_rate": SMALL.train.learning_rate, "train.gamma": 0.9, "planner.size": 2}
    assert [number for number, *_ in trials] == [0, 1, 2, 3]
    assert trials[0][1] == own
    assert [entry[-1] for entry in trials] == [True, False, False, False]
    rates = [values["train.learning_rate"] for _, values, *_ in trials]
    assert len(set(rates)) == 4
    for _, values, *_ in trials:
        assert list(values) == list(SPACE)
        assert 1e-4 <= values["train.learning_rate"] <= 1e-2
        assert 0.8 <= values["train.gamma"] <= 0.99
        assert values["planner.size"] in (1, 2, 3)


def test_trials_come_best_first_by_the_mean_over_users_of_their_sessions(
    searched: tuple[Path, list[SearchTrial]],
) -> None:
    out, trials = searched
    assert [trial.mean for trial in trials] == sorted((trial.mean for trial in trials), reverse=True)
    for trial in trials:
        sessions = pl.read_parquet(out / "trials" / f"{trial.number:03d}" / "sessions.parquet")
        assert len(sessions) == 2 * 20
        assert trial.mean == pytest.approx(sessions["R_cum"].mean())
        means = (sessions["R_cum"] / sessions["T_int"]).to_numpy()
        np.testing.assert_allclose(sessions["R_sin"].to_numpy(), means)


def test_every_trial_is_scored_on_the_same_sessions_of_training_users(searched: tuple[Path, list[SearchTrial]]) -> None:
    out, trials = searched
    training = set(Task.load(SMALL).population.users("train").tolist())
    played = [pl.read_parquet(out / "trials" / f"{n:03d}" / "sessions.parquet") for n in range(len(trials))]
    for sessions in played:
        assert sessions.select("user", "replicate").equals(played[0].select("user", "replicate"))
    assert set(played[0]["user"].to_list()) <= training
    assert played[0]["user"].n_unique() == 20


def test_no_evaluation_user_is_ever_started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    started: set[int] = set()
    begun = UserSimulator._begin  # which `start` and `restart` share

    def begin(self: UserSimulator, state: Any, rows: Any, *given: Any) -> None:
        begun(self, state, rows, *given)
        started.update(state.user[rows].tolist())

    monkeypatch.setattr(UserSimulator, "_begin", begin)
    tune(changed(trials=2, users=None), tmp_path / "search")
    population = Task.load(SMALL).population
    assert started == set(population.users("train").tolist())
    assert not started & set(population.users("evaluation").tolist())


def test_the_same_settings_get_the_same_score_in_every_trial(tmp_path: Path) -> None:
    """So that differences between trials are differences of settings."""
    trials = tune(
        changed(agent="boredom+greedy", trials=6, space={"planner.size": {"choices": [1, 2]}}), tmp_path / "a"
    )
    scores: dict[int, list[float]] = {}
    for trial in trials:
        scores.setdefault(trial.values["planner.size"], trial.scores.tolist())
        assert trial.scores.tolist() == scores[trial.values["planner.size"]]
    assert scores[1] != scores[2]


# going on


@pytest.mark.slow
def test_a_search_killed_in_the_middle_of_a_trial_ends_as_one_that_was_not(
    searched: tuple[Path, list[SearchTrial]], tmp_path: Path
) -> None:
    """Killed by SIGKILL in the second trial's training, with three asked for, then run again with four."""
    code = """
import os, pickle, signal, sys
from pathlib import Path
from lerl.run.fitter import Fitter
from lerl.experiment.tune import tune

fit = Fitter.fit
def killing(self, spec):
    if self.context.store.folder.name == "001":
        self.context.report = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    fit(self, spec)
Fitter.fit = killing
tune(pickle.loads(sys.stdin.buffer.read()), Path(sys.argv[1]))
"""
    out = tmp_path / "killed"
    command = [sys.executable, "-c", code, str(out)]
    ran = subprocess.run(command, cwd=ROOT, input=pickle.dumps(changed(trials=3)), capture_output=True, check=False)
    assert ran.returncode == -9, ran.stderr.decode()
    assert (out / "trials" / "001").is_dir()
    assert not (out / "best.yaml").exists()
    assert results(tune(SMALL, out)) == results(searched[1])
    assert (out / "best.yaml").read_text() == (searched[0] / "best.yaml").read_text()
    journal = optuna.storages.JournalStorage(JournalFileBackend(str(out / "study.journal")))
    states = [trial.state.name for trial in optuna.load_study(study_name="lerl", storage=journal).trials]
    assert states == ["COMPLETE", "FAIL", "COMPLETE", "COMPLETE", "COMPLETE"]


def test_an_interrupted_search_goes_on_and_a_finished_one_can_be_made_longer(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole = tune(changed(trials=14, **QUICK), tmp_path / "whole")
    fitted: list[str] = []
    fit = Fitter.fit

    def counted(self: Fitter, spec: Any) -> None:
        fitted.append(self.context.store.folder.name)
        if len(fitted) == 3:
            raise KeyboardInterrupt
        fit(self, spec)

    monkeypatch.setattr(Fitter, "fit", counted)
    with pytest.raises(KeyboardInterrupt):
        tune(changed(trials=12, **QUICK), tmp_path / "parts")
    tune(changed(trials=12, **QUICK), tmp_path / "parts")
    assert fitted == ["000", "001", "002", *(f"{number:03d}" for number in range(2, 12))]
    assert results(tune(changed(trials=14, **QUICK), tmp_path / "parts")) == results(whole)
    assert fitted[-2:] == ["012", "013"]


def test_a_folder_of_another_search_or_of_something_else_is_refused(tmp_path: Path) -> None:
    config = changed(trials=1, **QUICK)
    tune(config, tmp_path / "search")
    with pytest.raises(SettingsError, match=r"other settings: train\.steps was 260 and is now 5; go on with the same"):
        tune(dataclasses.replace(config, train=dataclasses.replace(SMALL.train, steps=5)), tmp_path / "search")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("dear")
    with pytest.raises(FileExistsError, match="holds something other than a search"):
        tune(config, tmp_path / "other")


def test_what_an_experiment_says_and_more_trials_do_not_make_another_search() -> None:
    other = dataclasses.replace(SMALL, experiment=dataclasses.replace(SMALL.experiment, seeds=2), agents=["random"])
    assert not differing(dataclasses.replace(other, tune=dataclasses.replace(SMALL.tune, trials=9)), SMALL)
    assert differing(changed(users=19), SMALL) == "tune.users"


def test_a_long_setting_is_cut_short_where_another_search_is_refused(tmp_path: Path) -> None:
    many = {"planner.size": {"choices": list(range(1, 200))}}
    tune(changed(agent="boredom+greedy", trials=1, space=many), tmp_path)
    fewer = {"planner.size": {"choices": list(range(2, 200))}}
    with pytest.raises(SettingsError, match=r"tune\.space was \{'planner.* and is now \{.*\.\.\.; go on") as error:
        tune(changed(agent="boredom+greedy", trials=1, space=fewer), tmp_path)
    assert len(str(error.value)) < 700


@pytest.mark.parametrize("sizes", [{"choices": [3, 1, 2]}, {"low": 1, "high": 3}])
def test_a_space_of_fewer_settings_than_trials_is_tried_whole_each_once(tmp_path: Path, sizes: Any) -> None:
    config = changed(agent="boredom+greedy", space={"planner.size": sizes})
    short = dataclasses.replace(config, tune=dataclasses.replace(config.tune, trials=1))
    tune(short, tmp_path)
    found = sorted(tune(config, tmp_path), key=lambda trial: trial.number)
    assert sorted(trial.values["planner.size"] for trial in found) == [1, 2, 3]
    assert [trial.own for trial in found] == [True, False, False]
    assert "These 3 are all settings of the space." in str(table(found, config).caption)
    assert "all settings" not in str(table(found[:1], short).caption)


# what cannot be fitted


def test_settings_that_do_not_fit_together_count_as_trials_and_are_named(tmp_path: Path) -> None:
    config = changed(trials=4, space={"train.batch_size": {"low": 32, "high": 64}})  # it has to divide 8 * 8
    trials = tune(config, tmp_path / "search")
    refused = [trial for trial in trials if trial.refused]
    assert refused
    assert not {trial.values["train.batch_size"] for trial in refused} & {32, 64}
    assert {trial.values["train.batch_size"] for trial in trials if not trial.refused} <= {32, 64}
    assert trials[-1] in refused
    assert "train.batch_size must divide" in str(table(trials, config).caption)
    assert f"{len(refused)} trials could not be fitted" in str(table(trials, config).caption)


def test_a_search_in_which_nothing_fits_says_why(tmp_path: Path) -> None:
    config = changed(trials=1, space={"train.batch_size": {"low": 32, "high": 64}})
    outside = dataclasses.replace(config, train=dataclasses.replace(SMALL.train, batch_size=128))
    with pytest.raises(
        ValueError, match=r"none of the 1 trials could be fitted; the first says: train\.batch_size must"
    ):
        tune(outside, tmp_path / "search")
    assert not (tmp_path / "search" / "best.yaml").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"space": {}}, "tune.space is empty; the recipe says there what to search, such as "),
        ({"agent": "random"}, "tune.agent is random, which has nothing to tune; give an agent such as planner+ppo"),
        ({"space": {"train.gama": {"low": 0.1, "high": 1}}}, "unknown key train.gama. Did you mean train.gamma?"),
        ({"space": {"train": {"low": 0.1, "high": 1}}}, "train is a section with keys of its own, such as train.steps"),
        ({"space": {"train.gamma": {"low": 0.9, "high": 0.8}}}, "train.gamma.low must be at most high, given 0.9 and"),
        ({"space": {"train.gamma": {"low": 0.9, "high": 1.5}}}, "train.gamma must be a number from 0 to 1, given 1.5"),
        ({"space": {"train.gamma": {"low": "x", "high": 0.9}}}, "train.gamma must be a number from 0 to 1, given 'x'"),
        (
            {"space": {"train.hidden": {"low": 1.5, "high": 9}}},
            "train.hidden must be a whole number from 1 to 4,096, given 1.5",
        ),
        ({"space": {"train.gamma": {"low": 0, "high": 0.9, "log": True}}}, "train.gamma.low must be above 0 to search"),
        ({"space": {"train.gamma": {"low": 0.5, "high": 0.9, "log": 1}}}, "train.gamma.log must be true or false"),
        ({"space": {"train.gamma": {"low": 0.5, "hihg": 0.9}}}, "train.gamma must hold low and high, or choices, such"),
        (
            {"space": {"train.gamma": {"low": 0.5, "high": 0.9, "lag": True}}},
            "train.gamma knows low and high and log, given 'lag'. Did you mean log?",
        ),
        ({"space": {"train.gamma": 0.9}}, "train.gamma must hold low and high, or choices, such as"),
        ({"space": {"planner.size": {"choices": 4}}}, "planner.size.choices must be a list such as [4, 6, 8], given 4"),
        ({"space": {"planner.size": {"choices": []}}}, "planner.size.choices must be a list"),
        ({"space": {"planner.size": {"choices": [4, 4]}}}, "planner.size.choices must differ from each other"),
        (
            {"space": {"planner.size": {"choices": [4, 0]}}},
            "planner.size must be a whole number from 1 to 10,000, given 0",
        ),
        (
            {"space": {"train.start": {"low": "nothing", "high": "taste"}}},
            "train.start is 'taste' or 'nothing'; give choices instead of low and high",
        ),
        ({"space": {"env.boredom.weight": {"low": 0, "high": 1}}}, "env.boredom.weight cannot be searched, only how"),
        ({"space": {"seed": {"low": 0, "high": 9}}}, "seed cannot be searched, only how agents learn: keys of train"),
        (
            {"space": {"train.validation": {"low": 1, "high": 9}}},
            "train.validation cannot be searched, it changes what",
        ),
        (
            {"agent": "boredom+greedy", "space": {"train.gamma": {"low": 0.5, "high": 0.9}}},
            "train.gamma means nothing to the agent boredom+greedy; leave it out",
        ),
        (
            {"agent": "flat+ppo", "space": {"planner.size": {"low": 1, "high": 9}}},
            "planner.size means nothing to the agent",
        ),
        (
            {"agent": "flat+ppo", "space": {"planner.avoidance": {"choices": [True, False]}}},
            "planner.avoidance means nothing to the agent",
        ),
        ({"space": {"planner.name": {"choices": ["greedy"]}}}, "planner.name means nothing to the agent boredom+ppo"),
    ],
)
def test_a_space_that_cannot_be_searched_is_one_line_that_names_the_key(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    config = changed(**changes)
    with pytest.raises(SettingsError) as raised:
        tune(config, tmp_path / "search")
    said = str(raised.value)
    assert said.startswith("tune.")
    assert message in said
    assert "\n" not in said
    assert not (tmp_path / "search").exists()


def test_numbers_in_a_space_are_read_as_their_key_says() -> None:
    """YAML reads 1e-4 as text."""
    config = changed(space={"train.learning_rate": {"low": "1e-4", "high": 1}, "train.hidden": {"low": 2, "high": 8}})
    space = search_space(config, parse_agent("boredom+ppo", "boredom"))
    rate, hidden = space["train.learning_rate"], space["train.hidden"]
    assert json.loads(json.dumps([rate._asdict(), hidden._asdict()])) == [
        {"low": 1e-4, "high": 1.0, "log": False, "step": None},
        {"low": 2, "high": 8, "log": False, "step": 1},
    ]


def test_an_agent_that_the_task_is_not_for_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    config = changed(agent="flat+dqn", space={"train.gamma": {"low": 0.8, "high": 0.9}})
    with pytest.raises(ValueError, match=r"flat\+dqn chooses one item by its number, so env\.slate_size must be 1"):
        tune(config, tmp_path / "search")
    assert not (tmp_path / "search").exists()


def test_more_clusters_than_items_are_a_refused_trial(tmp_path: Path) -> None:
    config = dataclasses.replace(SMALL, planner=dataclasses.replace(SMALL.planner, axis="clusters", clusters=10))
    space = {"planner.clusters": {"choices": [10, 81]}}
    how = dataclasses.replace(SMALL.tune, agent="boredom+greedy", trials=6, space=space)
    trials = tune(dataclasses.replace(config, tune=how), tmp_path / "search")
    said = {trial.refused for trial in trials if trial.values["planner.clusters"] == 81}
    assert said == {"planner.clusters must be from 1 to the 80 items, given 81"}


def test_learning_that_blows_up_is_a_refused_trial_and_a_plain_error_of_train(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = fit_policy.new_model

    def broken(*given: Any) -> Any:
        model = made(*given)
        model.policy.action_net.weight.data.fill_(float("nan"))
        return model

    monkeypatch.setattr(fit_policy, "new_model", broken)
    said = "boredom\\+ppo diverged, its weights are no numbers any more; lower train.learning_rate, given 0.001"
    with pytest.raises(ValueError, match=f"none of the 1 trials could be fitted; the first says: {said}"):
        tune(changed(trials=1), tmp_path / "search")
    with pytest.raises(fit_policy.DivergedError, match=said):
        train(dataclasses.replace(SMALL, agents=["boredom+ppo"]), tmp_path / "run")


def test_a_bug_is_no_refused_trial(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fails(self: Fitter, spec: Any) -> None:
        raise ValueError("operands could not be broadcast")

    monkeypatch.setattr(Fitter, "fit", fails)
    with pytest.raises(ValueError, match="operands"):
        tune(changed(trials=3, **QUICK), tmp_path / "search")
    assert not list((tmp_path / "search").glob("*/*/sessions.parquet"))


def test_damaged_files_of_a_search_are_named_and_it_goes_on_without_them(tmp_path: Path) -> None:
    out, config = tmp_path / "search", changed(trials=2, **QUICK)
    before = results(tune(config, out))
    sessions = out / "trials" / "001" / "sessions.parquet"
    for content in (None, b"PAR1"):
        sessions.unlink() if content is None else sessions.write_bytes(content)
        with pytest.raises(
            RunError, match=r"sessions\.parquet is (missing|damaged).* remove .*study\.journal and give"
        ):
            tune(config, out)
    (out / "study.journal").write_bytes(b"no journal\n" * 99)
    with pytest.raises(
        RunError, match=r"study\.journal is damaged \(\w+\); remove it, then give the same command again"
    ):
        tune(config, out)
    (out / "study.journal").unlink()
    assert results(tune(config, out)) == before


# what comes out


@pytest.mark.filterwarnings("default:the planner boredom gets no training sessions")
def test_the_best_is_a_recipe_with_the_tuned_agent_that_train_takes(
    searched: tuple[Path, list[SearchTrial]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, trials = searched
    best = load(out / "best.yaml")
    assert {name: key.default for name, key in known_keys(best).items() if name in SPACE} == trials[0].values
    assert best.agents == ["boredom+ppo", "random", "planner+greedy"]
    assert dataclasses.replace(best, agents=SMALL.agents, train=SMALL.train, planner=SMALL.planner) == SMALL
    assert main(["train", str(out / "best.yaml"), "--out", str(tmp_path / "run"), "--train.steps", "0"]) == 0
    assert "boredom+ppo" in capsys.readouterr().out


def test_the_command_searches_prints_the_best_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(dump(changed(**QUICK)))
    command = ["tune", str(recipe), "--out", str(tmp_path / "out"), "--tune.trials"]
    assert main([*command, "2"]) == 0
    printed = capsys.readouterr()
    assert "0 (own)" in printed.out
    assert "planner.size" in printed.out
    assert f"lerl train {tmp_path / 'out' / 'best.yaml'}" in printed.out
    assert "trial 2/2" in printed.err
    assert main([*command, "3"]) == 0
    assert "trial 3/3" in (err := capsys.readouterr().err)
    assert "trial 2/3" not in err
    assert main([*command, "3", "--env.drift.noise", "0"]) == 2
    assert "holds a search with other settings: env.drift.noise was 0.1 and is now 0.0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("--tune.space", "--tune.space is no flag: write tune.space into a recipe file, such as movielens.yaml"),
        (
            "--tune.space.train.gamma",
            "--tune.space.train.gamma is no flag: write tune.space into a recipe file, such as ",
        ),
        ("--tune.space+", "--tune.space+ would add to a list, but tune.space is a section of a recipe file"),
    ],
)
def test_a_space_is_given_in_a_recipe_and_not_as_a_flag(
    capsys: pytest.CaptureFixture[str], flag: str, said: str
) -> None:
    assert main(["tune", "movielens", flag, "{low: 1}"]) == 2
    assert capsys.readouterr().err.startswith(f"lerl: error: {said}")


def test_help_says_what_is_searched_and_how_to_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tune", "--help"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    for part in (
        "lerl tune RECIPE",
        "training users",
        "the same command again to continue",
        "--tune.trials N",
        "best.yaml",
    ):
        assert part in printed
    assert main(["tune"]) == 2
    assert "give one recipe, such as lerl tune quickstart" in capsys.readouterr().err


@pytest.mark.parametrize("name", [name for name in recipes() if load(find_recipe(name)).tune.space])
def test_the_search_spaces_that_come_with_lerl_can_be_searched(name: str) -> None:
    config = load(find_recipe(name))
    assert search_space(config, parse_agent(config.tune.agent, config.planner.name)).keys() == config.tune.space.keys()
    assert yaml.safe_load(dump(config))["tune"]["space"] == config.tune.space


def test_settings_without_effect_are_no_gain(tmp_path: Path) -> None:
    """Nothing is learned in no steps, whatever the rate."""
    space = {"train.learning_rate": {"choices": [0.001, 0.01]}}
    none = dataclasses.replace(SMALL.train, steps=0)
    config = dataclasses.replace(changed(agent="flat+ppo", trials=2, space=space), train=none)
    trials = tune(config, tmp_path)
    assert str(table(trials, config).caption).startswith("No gain: all trials score the same for every user")
    assert (tmp_path / "best.yaml").read_text().startswith("# No gain: ")
    assert trials[0].number == 0


def test_searches_with_an_effect_do_not_say_that_there_is_none(searched: tuple[Path, list[SearchTrial]]) -> None:
    assert "No gain" not in str(table(searched[1], SMALL).caption)
    assert not without_effect(searched[1][:1])  # one trial shows nothing


def test_settings_that_no_search_found_are_refused() -> None:
    space = {"planner.name": CategoricalDistribution(["boredom", "greedy"]), "train.gamma": FloatDistribution(0.5, 0.9)}
    check_found({"planner.name": "greedy", "train.gamma": 0.5}, space, Path("study.db"))
    for wrong in ({"planner.name": "evil:Planner"}, {"planner.base_url": "http://evil"}, {"train.gamma": 0.95}):
        with pytest.raises(RunError, match=r"study.db says that .* was found to be .*, which is not in tune\.space"):
            check_found(wrong, space, Path("study.db"))


def test_a_search_by_active_days_plays_lives(tmp_path: Path) -> None:
    env = dataclasses.replace(SMALL.env, horizon="days", days=6.0)
    space = {"planner.size": {"choices": [1, 2, 3]}}
    how = dataclasses.replace(SMALL.tune, agent="boredom+greedy", space=space, trials=3, metric="active_days", users=6)
    trials = tune(dataclasses.replace(SMALL, env=env, tune=how), tmp_path / "search")
    days = np.stack([trial.scores for trial in trials])
    assert days.shape == (3, 6)
    assert ((days >= 1) & (days <= 6) & (2 * days == np.round(2 * days))).all()  # whole days, of two lives each
    assert [trial.mean for trial in trials] == sorted((trial.mean for trial in trials), reverse=True)
    assert "metric: active_days" in (tmp_path / "search" / "best.yaml").read_text()


@pytest.mark.parametrize(
    ("horizon", "prune", "message"),
    [
        ("session", False, r"nobody comes back: give --env\.horizon days"),
        ("days", True, r"which are of sessions, and tune\.metric is active_days: set tune\.prune to false"),
    ],
)
def test_a_search_by_active_days_needs_lives(horizon: Any, prune: bool, message: str, tmp_path: Path) -> None:
    changes = {"metric": "active_days", "prune": prune}
    with pytest.raises(SettingsError, match=message):
        tune(dataclasses.replace(changed(**changes), env=dataclasses.replace(SMALL.env, horizon=horizon)), tmp_path)
