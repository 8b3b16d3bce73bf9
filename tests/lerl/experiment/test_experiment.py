"""An experiment from its recipe to its report: what is done, what is not done again, and what the report concludes."""

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from lerl.cli.main import main
from lerl.config.errors import SettingsError
from lerl.config.parse import load, overlay
from lerl.envs.store import MissingDataError
from lerl.experiment.report import latex, markdown, write
from lerl.experiment.schedule import run
from lerl.experiment.spec import TUNED, Experiment, overridden, read_tuned
from lerl.experiment.trial import KEPT, done, finished, keep, keep_for, populations, sessions_path
from lerl.experiment.verdict import judge

RECIPE = """
data: {synthetic: {users: 60, items: 60, categories: 6, dim: 4}}
env: {slate_size: 3, max_steps: 6}
planner: {size: 3, sessions: 16}
train: {steps: 128, users: 16, evaluations: 1, validation: 8}
evaluation: {users: 12, replicates: 1, batch_size: 16}
tune:
  trials: 2
  users: 8
  space:
    train.learning_rate: {low: 1.0e-4, high: 1.0e-2, log: true}
experiment:
  seeds: 2
  agents:
    random: {}
    flat+ppo: {}
    "from nothing": {agent: flat+ppo, tuned: flat+ppo, train.start: nothing}
  few: [random, flat+ppo]
  conditions:
    plain: {}
    with repeats: {again: plain, env.repeats: true}
  quick: {agents: [random, flat+ppo], experiment.seeds: 1}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(RECIPE)
    return path


def recipe_of(folder: Path) -> Path:
    """The recipe as it stands, in a file."""
    path = folder / "again.yaml"
    path.write_text(RECIPE)
    return path


def with_agents(recipe: Path, agents: str) -> list[str]:
    """The command that does the recipe with other agents and conditions, one seed, into the folder out."""
    recipe.write_text(RECIPE[: RECIPE.index("    random: {}")] + agents)
    return ["experiment", str(recipe), "--out", str(recipe.parent / "out"), "--experiment.seeds", "1"]


@pytest.fixture
def plug(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Puts a module where worker processes find it too."""

    def put(name: str, text: str) -> None:
        (tmp_path / f"{name}.py").write_text(text)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    return put


def read(recipe: Path, text: str = "", into: str = "") -> Experiment:
    """The experiment of the recipe with some of its text replaced."""
    recipe.write_text(recipe.read_text().replace(text, into))
    return Experiment.read(load(recipe))


def test_an_experiment_goes_on_where_it_was_stopped(recipe: Path, capfd: pytest.CaptureFixture[str]):
    out = recipe.parent / "out"
    command = ["experiment", str(recipe), "--out", str(out)]
    assert main(command) == 0
    said = capfd.readouterr().out
    assert "tuned flat+ppo" in said
    assert "10 trials, 0 done" in said
    assert "| from nothing (too few steps) | flat learner |" in said  # 128, and four rollouts are 512
    files = {path: pl.read_parquet(path) for path in sorted((out / "rows").rglob("*.parquet"))}
    assert [path.stem for path in files] == ["flat+ppo", "from nothing", "random", "flat+ppo", "random"]
    again, plain = (pl.read_parquet(out / "rows" / name / "flat+ppo.parquet") for name in ("with repeats", "plain"))
    assert again.shape == plain.shape == (24, len(KEPT))
    fitted = [path for path in out.rglob("flat+ppo.pt") if "search" not in path.parts]
    assert len(fitted) == 4  # two agents of two seeds: what is judged again is not fitted again

    assert main(command) == 2
    assert "go on with them by --resume" in capfd.readouterr().err

    lost = out / "rows" / "plain" / "random.parquet"
    lost.unlink()
    assert main([*command, "--resume"]) == 0
    assert "10 trials, 8 done" in capfd.readouterr().out
    assert all(pl.read_parquet(path).equals(table) for path, table in files.items())

    assert main([*command, "--plan"]) == 0
    assert "0.0 hours of one core for trials, 0.0 for 0 searches" in capfd.readouterr().out


def test_what_was_made_otherwise_is_announced_before_it_is_replaced(recipe: Path, capfd: pytest.CaptureFixture[str]):
    command = with_agents(recipe, "    random: {}\n  conditions:\n    plain: {}\n")
    assert main(command) == 0
    assert "are replaced" not in capfd.readouterr().out
    assert main([*command, "--resume", "--evaluation.users", "6"]) == 0
    assert "1 of them were made with other settings or prompts, and are replaced" in capfd.readouterr().out


@pytest.mark.parametrize("how", [["--resume"], ["--plan"]])
def test_trials_of_other_users_are_kept_and_refused(recipe: Path, capfd: pytest.CaptureFixture[str], how: list[str]):
    command = with_agents(recipe, "    random: {}\n  conditions:\n    plain: {}\n")
    trial, out = read(recipe).trial("plain", "random", 0, {}), recipe.parent / "out"
    about = {"digest": trial.digest, "population": "of another machine", "steps": 0, "fitting": None, "judging": 1.0}
    keep(trial, pl.DataFrame({name: [0.0] for name in KEPT}), about, out)
    before = sessions_path(out, trial).read_bytes()
    assert main([*command, *how]) == 2
    assert (
        "random.parquet: was evaluated on other users (of another machine) than there are now" in capfd.readouterr().err
    )
    assert sessions_path(out, trial).read_bytes() == before


def test_what_is_judged_again_costs_no_fitting_again(recipe: Path, capfd: pytest.CaptureFixture[str]):
    command = with_agents(recipe, "    random: {}\n  conditions:\n    plain: {}\n    with repeats: {again: plain}\n")
    trial = read(recipe).trial("plain", "random", 0, {})
    about = {"digest": trial.digest, "population": populations(read(recipe))["plain"], "steps": 0}
    sessions = pl.DataFrame(schema=dict.fromkeys(KEPT, pl.Float64))
    keep(trial, sessions, {**about, "fitting": 7200.0, "judging": 3600.0}, recipe.parent / "out")
    assert main([*command, "--plan"]) == 0
    assert "1.0 hours of one core for trials" in capfd.readouterr().out


BREAKS = """
class Breaks:
    def __init__(self, task, count):
        self.count, self.size = count, task.slate_size

    def begin(self, slots, observation, keys):
        if self.count > 2:
            raise OSError("no disk")

    def act(self, observation):
        import numpy as np
        return np.tile(np.arange(self.size, dtype=np.int32), (self.count, 1))
"""


def test_a_trial_that_fails_does_not_stop_the_others(
    recipe: Path, capfd: pytest.CaptureFixture[str], plug: Callable[[str, str], None]
):
    plug("my_agents", BREAKS)
    agents = "    broken: {agent: 'my_agents:Breaks'}\n    flat+greedy: {}\n  few: []\n  conditions: {plain: {}}\n"
    assert main(with_agents(recipe, agents)) == 2
    said = capfd.readouterr()
    assert "plain, broken, seed 0: failed: " in said.out
    assert "1 of the trials and searches failed, the first one: [1/2] plain, broken, seed 0" in said.err
    assert (recipe.parent / "out" / "rows" / "plain" / "flat+greedy.parquet").is_file()


@pytest.mark.slow
def test_a_network_learns_the_plans_of_another_agents_trials(recipe: Path, capfd: pytest.CaptureFixture[str]):
    agents = (
        "    asks: {agent: llm+greedy, planner.model: 'scripted:expert'}\n"
        "    asks not: {agent: distilled+greedy, distills: asks}\n"
        "    asks an endpoint: {agent: llm+greedy, when: planner.model}\n"
        "  conditions: {plain: {}}\n"
    )
    command, out = with_agents(recipe, agents), recipe.parent / "out"
    assert main(command) == 0
    assert "2 trials, 0 done" in capfd.readouterr().out
    work = out / "work" / "plain"
    with np.load(work / "asks not" / "seed0" / "distilled.npz") as network:
        assert network["size"] == 3
    assert not (work / "asks not" / "seed0" / "fit" / "planners" / "traffic.sqlite").exists()
    table = pl.read_parquet(out / "rows" / "plain" / "asks not.parquet")

    (out / "rows" / "plain" / "asks not.parquet").unlink()
    shutil.rmtree(work)  # as on another machine
    assert main([*command, "--resume"]) == 0
    assert pl.read_parquet(out / "rows" / "plain" / "asks not.parquet").equals(table)

    experiment = Experiment.read(load(recipe))
    taught = experiment.trial("plain", "asks not", 0, {})
    text = recipe.read_text()
    recipe.write_text(text.replace("'scripted:expert'", "'scripted:expert', planner.candidates: 3"))
    assert Experiment.read(load(recipe)).trial("plain", "asks not", 0, {}).digest != taught.digest


@pytest.mark.parametrize(
    ("agents", "message"),
    [
        (
            "{asks: {agent: llm+greedy, when: planner.model}, learns: {agent: distilled+greedy, distills: asks}}",
            "left out",
        ),
        ("{asks: {agent: boredom+greedy}, learns: {agent: distilled+greedy, distills: asks}}", "names an agent llm"),
        ("{asks: {agent: llm+greedy}, learns: {agent: boredom+greedy, distills: asks}}", "is for an agent distilled"),
        ("{learns: {agent: distilled+greedy, distills: asks}}", "which is not there"),
        ("{random: {when: planner.modle}}", "when: .*planner.modle.*Did you mean .*planner.model"),
    ],
)
def test_teachers_are_checked_before_anything_is_done(recipe: Path, agents: str, message: str):
    recipe.write_text(RECIPE[: RECIPE.index("  agents:")] + f"  agents: {agents}\n  conditions: {{plain: {{}}}}\n")
    with pytest.raises(SettingsError, match=message):
        Experiment.read(load(recipe))


def test_a_planners_settings_leave_agents_that_do_not_use_them_as_they_are(recipe: Path):
    def digests(**values: Any) -> dict[str, str]:
        experiment = Experiment.read(
            overlay(load(recipe), {f"planner.{name}": value for name, value in values.items()})
        )
        return {label: experiment.trial("plain", label, 0, {}).digest for label in experiment.agents}

    recipe.write_text(
        RECIPE.replace("    flat+ppo: {}\n", "    flat+ppo: {}\n    random+greedy: {}\n    boredom+ppo: {}\n")
    )
    before = digests()
    assert digests(model="openai:some") == before
    assert {label for label, one in digests(size=2).items() if one != before[label]} == {"random+greedy", "boredom+ppo"}
    changed = {label for label, one in digests(axis="clusters", clusters=4).items() if one != before[label]}
    assert changed == before.keys() - {"random"}  # encoders see the axis
    assert digests(clusters=4) == before  # where no cluster is planned on


BREAKS_LATE = """
import numpy as np
from lerl.planners.base import Plans

class BreaksLate:
    def __init__(self, size, seed):
        pass

    def plan(self, contexts):
        if len(contexts) > 2:
            raise OSError("no disk")
        allowed = np.ones((len(contexts), len(contexts.names)), bool)
        return Plans(allowed, ~allowed)
"""


@pytest.mark.slow
def test_a_search_that_fails_stops_only_the_agents_that_need_it(
    recipe: Path, capfd: pytest.CaptureFixture[str], plug: Callable[[str, str], None]
):
    plug("my_planners", BREAKS_LATE)
    agents = (
        "    broken: {agent: 'my_planners:BreaksLate+ppo'}\n"
        "    other: {agent: boredom+ppo, tuned: broken}\n    random: {}\n"
        "  few: [random, other]\n  conditions: {plain: {}, with repeats: {again: plain, env.repeats: true}}\n"
    )
    assert main(with_agents(recipe, agents)) == 2
    said = capfd.readouterr()
    assert "tuned broken: failed: " in said.out
    assert "1 of the trials and searches failed, the first one: tuned broken" in said.err
    kept = recipe.parent / "out" / "rows"
    names = [path.relative_to(kept).as_posix() for path in kept.rglob("*.parquet")]
    assert sorted(names) == ["plain/random.parquet", "with repeats/random.parquet"]


@pytest.mark.parametrize(
    ("text", "into", "message"),
    [
        ("few: [random", "few: [rendom", "experiment.few names 'rendom', which is not there. Did you mean random?"),
        ("again: plain", "again: plane", "names 'plane', which is not there"),
        ("env.repeats: true", "env.repeat: true", "unknown key env.repeat. Did you mean env.repeats?"),
        ("train.start: nothing", "train.start: zero", "train.start must be 'taste' or 'nothing', given 'zero'"),
        ("plain: {}", "a/b: {}", "'a/b' cannot be the name of a file"),
        ("random: {}", "random: 5", "experiment.agents: random must hold settings by dotted key, or {}, given 5"),
        ("random: {}", "random: {kind: flor}", "random: kind must be one of floor, flat learner, .* given 'flor'"),
        (
            "tuned: flat+ppo",
            "tuned: flat+ppp",
            "tuned names 'flat\\+ppp', which is not there. Did you mean flat\\+ppo?",
        ),
        ("tuned: flat+ppo", "tuned: random", "tuned names 'random', which is not searched for itself"),
        ("random: {}", "random: {env.max_steps: 5}", "random: env.max_steps cannot differ between agents"),
        ("plain: {}", "plain: {seed: 5}", "plain: seed is the same under all conditions"),
        ("again: plain", "again: with repeats", "again names 'with repeats', whose agents are another condition's"),
        ("plain: {}", "..: {}", "'..' cannot be the name of a file"),
        ("train.learning_rate: {low: 1.0e-4", "planner.size: {low: 1", "planner.size means nothing to the agent flat"),
        ("random: {}", "randim: {}", "experiment.few names 'random', which is not there. Did you mean randim?"),
    ],
)
def test_what_cannot_be_used_is_named(recipe: Path, text: str, into: str, message: str):
    with pytest.raises(ValueError, match=message):
        read(recipe, text, into)


def test_what_lacks_data_or_is_no_experiment_is_refused_before_anything_is_written(recipe: Path):
    out = recipe.parent / "out"
    recipe.write_text(recipe.read_text().replace("    plain: {}", "    plain: {}\n    other: {data.path: nowhere}"))
    with pytest.raises(MissingDataError, match="nowhere"):
        run(load(recipe), out, quick=False, resume=False, say=print)
    assert not out.exists()
    (out / "mine").mkdir(parents=True)
    with pytest.raises(FileExistsError, match="holds something other than an experiment"):
        run(load(recipe), out, quick=False, resume=True, say=print)


def test_an_interrupted_experiment_ends_at_once_and_keeps_checkpoints(recipe: Path):
    text, out = recipe.read_text(), recipe.parent / "out"
    text = text[: text.index("tune:")] + text[text.index("experiment:") :]
    recipe.write_text(text.replace("steps: 128", "steps: 9000000, checkpoint: 1"))
    command = [sys.executable, "-m", "lerl", "experiment", str(recipe), "--out", str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        end = time.monotonic() + 120
        while not any(out.glob("work/*/*/*/fit/checkpoints/*.pt")) and time.monotonic() < end:
            time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert said.splitlines()[-1] == "lerl: interrupted; the same command with --resume goes on"
    assert len(list(out.glob("work/*/*/*/fit/checkpoints/*.pt"))) == 1  # nothing new was begun


def test_what_was_fitted_for_other_users_is_not_gone_on_with(tmp_path: Path):
    fit = tmp_path / "fit"
    for users, kept in (("a", True), ("a", True), ("b", False)):
        keep_for(users, fit)
        assert fit.is_dir() == (kept and users == "a" and (tmp_path / "begun").is_file())
        fit.mkdir(exist_ok=True)
        (tmp_path / "begun").touch()


def test_searches_that_do_not_count_any_more_are_not_used(recipe: Path, tmp_path: Path):
    whole = read(recipe)
    entry = (
        f'{{"digest": "{whole.search("flat+ppo")[1]}", "values": {{"train.learning_rate": 0.01}}, "population": "p"}}'
    )
    (tmp_path / f"{TUNED}.json").write_text(f'{{"flat+ppo": {entry}}}')
    assert whole.tuned(tmp_path) == whole.tuned(tmp_path, "p") == {"flat+ppo": {"train.learning_rate": 0.01}}
    assert whole.tuned(tmp_path, "q") == {}
    assert read(recipe, "trials: 2", "trials: 3").tuned(tmp_path) == {}
    (tmp_path / f"{TUNED}.json").write_text('{"flat+ppo": 3}')
    with pytest.raises(ValueError, match=r"tuned.json is damaged .* again with --resume"):
        read_tuned(tmp_path)


def test_a_recipe_of_an_earlier_version_makes_the_same_trials(recipe: Path):
    made = read(recipe).trial("plain", "from nothing", 0, {})
    text = recipe.read_text().replace("  agents:\n", "  rows:\n").replace("  conditions:\n", "  settings:\n")
    recipe.write_text(text.replace("{agent: ", "{row: ").replace("{agents: ", "{rows: "))
    with pytest.warns(UserWarning, match="experiment.rows is now experiment.agents"):
        earlier = load(recipe)
    assert Experiment.read(earlier).trial("plain", "from nothing", 0, {}).digest == made.digest
    assert list(Experiment.read(earlier, quick=True).agents) == ["random", "flat+ppo"]


def test_searches_and_trials_of_the_published_experiment_are_recognised():
    root = Path(__file__).parents[3] / "runs"
    whole = Experiment.read(load(root / "whole_session.yaml"))
    tuned = whole.tuned(root / "published" / "whole_session")
    assert set(tuned) == set(whole.searched())
    trial = whole.trial("slot, categories", "rotation+ppo", 4, tuned)
    assert finished(trial, root / "published" / "whole_session") is not None


def test_a_recipe_without_an_experiment_is_refused(recipe: Path):
    recipe.write_text("seed: 1\n")
    with pytest.raises(SettingsError, match="the recipe holds no experiment"):
        Experiment.read(load(recipe))


def test_a_trials_digest_is_of_what_decides_its_numbers(recipe: Path):
    first = read(recipe).trial("plain", "flat+ppo", 0, {}).digest
    assert read(recipe, "  seeds: 2", "  seeds: 3\n  jobs: 4").trial("plain", "flat+ppo", 0, {}).digest == first
    whole = read(recipe, "steps: 128", "steps: 256")
    others = [whole.trial("plain", "flat+ppo", 0, {}), whole.trial("plain", "flat+ppo", 1, {})]
    others += [whole.trial("with repeats", "flat+ppo", 0, {}), whole.trial("plain", "from nothing", 0, {})]
    others += [whole.trial("plain", "flat+ppo", 0, {"flat+ppo": {"train.learning_rate": 0.01}})]
    assert len({first, *(trial.digest for trial in others)}) == 6


def test_quick_is_what_the_recipe_says(recipe: Path):
    whole = Experiment.read(load(recipe), quick=True)
    assert (list(whole.conditions), list(whole.agents), whole.seeds("plain")) == (
        ["plain"],
        ["random", "flat+ppo"],
        [0],
    )
    recipe.write_text(recipe.read_text().replace("agents: [random, flat+ppo]", "agents: random"))
    with pytest.raises(SettingsError, match="quick: agents must be a list"):
        Experiment.read(load(recipe), quick=True)


# the verdict

REWARDS = {
    "random": 2.0,
    "round_robin+greedy": 5.0,
    "random+ppo": 4.0,
    "flat+ppo": 5.0,
    "flat+a2c": 1.0,
    "flat+mmr": 4.5,
    "boredom+ppo": 6.0,
    "privileged": 8.0,
}


def planted(recipe: Path, out: Path, rewards: dict[str, float], seeds: int = 2, **words: Any) -> Experiment:
    """An experiment whose agents have these mean rewards on 200 users, users and seeds differing a little."""
    listed = "".join(f"    {name}: {{}}\n" for name in rewards)
    text = recipe.read_text()
    text = text[: text.index("    random: {}")] + listed + "  conditions: {plain: {}}\n"
    text = text.replace("round_robin+greedy: {}", "round_robin+greedy: {kind: floor}")
    recipe.write_text(text.replace("  seeds: 2", f"  seeds: {seeds}"))
    whole = Experiment.read(load(recipe))
    for label, mean in rewards.items():
        for seed in whole.seeds("plain"):
            drawn = mean + np.random.default_rng(seed).normal(0, 0.3, 200)
            table = pl.DataFrame(
                {
                    "seed": seed,
                    "user": range(200),
                    "replicate": 0,
                    "T_int": 10,
                    "R_cum": drawn,
                }
            )
            trial = whole.trial("plain", label, seed, {})
            about = {"digest": trial.digest, "population": "p", "steps": 100, "fitting": 3.0, "judging": 1.0} | words
            keep(trial, table, about, out)
    return whole


def test_the_verdict_compares_the_best_planner_with_what_it_has_to_beat(recipe: Path, tmp_path: Path):
    whole = planted(recipe, tmp_path / "out", REWARDS, seeds=5)
    found = judge(whole, tmp_path / "out", draws=200)[0]
    assert [ratio.agent for ratio in found.ratios] == ["flat+ppo", "flat+mmr", "random+ppo", "round_robin+greedy"]
    for ratio, expected in zip(found.ratios, (6 / 5, 6 / 4.5, 6 / 4, 6 / 5), strict=True):
        assert ratio.ratio["mean"] == pytest.approx(expected, rel=0.02)
        assert ratio.ratio["low"] < ratio.ratio["mean"] < ratio.ratio["high"]
    assert found.room is not None
    assert found.room["mean"] == pytest.approx(8 / 5, rel=0.02)
    assert found.level == pytest.approx(100 - 5 / 5)  # four ratios and the room
    assert "boredom+ppo beats all 4" in found.line
    assert found.below == ["flat+a2c"]
    scores = {one.agent: one.metrics["normalised"]["mean"] for one in found.scores}
    assert scores["random"] == 0
    assert scores["privileged"] == 1
    assert scores["boredom+ppo"] == pytest.approx(4 / 6, abs=0.02)
    assert found.scores[0].metrics["iqm"]["mean"] == pytest.approx(1)


def test_several_kinds_of_processors_are_named(recipe: Path, tmp_path: Path):
    whole = planted(recipe, tmp_path / "out", REWARDS, processor="one kind")
    assert "processors" not in "\n".join(markdown(judge(whole, tmp_path / "out")))
    trial = whole.trial("plain", "random", 0, {})
    before = done(sessions_path(tmp_path / "out", trial))
    sessions = before.sessions.filter(pl.col("seed") == 0)
    keep(trial, sessions, before.about["0"] | {"processor": "another"}, tmp_path / "out")
    said = "\n".join(markdown(judge(whole, tmp_path / "out")))
    assert "Trials ran on processors of several kinds, which differ in last digits: another, one kind." in said


def test_what_two_seeds_show_is_not_much(recipe: Path, tmp_path: Path):
    whole, out = planted(recipe, tmp_path / "out", REWARDS), tmp_path / "out"
    trial = whole.trial("plain", "boredom+ppo", 0, {})
    kept = done(sessions_path(out, trial))
    own = kept.sessions.filter(pl.col("seed") == 0).with_columns(R_cum=pl.col("R_cum") + 0.2)
    keep(trial, own, kept.about["0"], out)
    assert "boredom+ppo does not beat flat+ppo" in judge(whole, out, draws=200)[0].line


def test_the_best_is_picked_by_the_other_seeds(recipe: Path, tmp_path: Path):
    """Each of two equal planners is lucky in one seed, where the other one is picked."""
    whole, out = planted(recipe, tmp_path / "out", {**REWARDS, "rotation+ppo": 6.0}, seeds=3), tmp_path / "out"
    for label, lucky in (("boredom+ppo", 0), ("rotation+ppo", 1)):
        trial = whole.trial("plain", label, lucky, {})
        kept = done(sessions_path(out, trial))
        own = kept.sessions.filter(pl.col("seed") == lucky).with_columns(R_cum=pl.col("R_cum") + 3)
        keep(trial, own, kept.about[str(lucky)], out)
    found = judge(whole, out, draws=200)[0]
    assert found.best == "boredom+ppo or rotation+ppo"
    assert found.ratios[0].ratio["mean"] == pytest.approx(6 / 5, rel=0.02)  # 7 / 5 is what both have on average


def test_without_room_there_is_no_winner(recipe: Path, tmp_path: Path):
    whole = planted(recipe, tmp_path / "out", {**REWARDS, "privileged": 5.2, "boredom+ppo": 5.1})
    assert "too little room to tell agents apart" in judge(whole, tmp_path / "out", draws=200)[0].line


def test_agents_that_are_not_there_yet_are_named(recipe: Path, tmp_path: Path):
    whole = planted(recipe, tmp_path / "out", REWARDS)
    (tmp_path / "out" / "rows" / "plain" / "flat+a2c.parquet").unlink()
    found = judge(whole, tmp_path / "out", draws=100)[0]
    assert found.missing == ["flat+a2c"]
    assert "plain: so far, while agents are missing, privileged is" in found.line
    (tmp_path / "out" / "rows" / "plain" / "flat+mmr.parquet").unlink()
    found = judge(whole, tmp_path / "out", draws=100)[0]
    assert found.missing == ["flat+a2c", "flat+mmr"]
    assert "no verdict yet" in found.line


def test_agents_with_other_seeds_and_agents_without_reward(recipe: Path, tmp_path: Path):
    out = tmp_path / "out"
    whole = planted(recipe, out, REWARDS)
    for label, lost in (("flat+a2c", 0), ("flat+mmr", 1)):
        path = sessions_path(out, whole.trial("plain", label, 0, {}))
        kept = done(path)
        path.unlink()
        sessions = kept.sessions.filter(pl.col("seed") != lost)
        keep(whole.trial("plain", label, 1 - lost, {}), sessions, kept.about[str(1 - lost)], out)
    found = judge(whole, out, draws=100)[0]
    assert (found.missing, found.seeds) == (["flat+a2c", "flat+mmr"], 2)

    second = tmp_path / "second"
    for label in REWARDS:
        for seed in (0, 1):
            trial = whole.trial("plain", label, seed, {})
            kept = done(sessions_path(out, trial))
            if str(seed) in kept.about and (label, seed) not in {("random", 0), *((agent, 1) for agent in REWARDS)}:
                keep(trial, kept.sessions.filter(pl.col("seed") == seed), kept.about[str(seed)], second)
    trial = whole.trial("plain", "random", 1, {})
    keep(
        trial,
        done(sessions_path(out, trial)).sessions.filter(pl.col("seed") == 1),
        done(sessions_path(out, trial)).about["1"],
        second,
    )
    assert "random" in judge(whole, second, draws=100)[0].missing  # no seed in common with the others

    poor = planted(recipe_of(tmp_path), tmp_path / "third", REWARDS)
    for seed in (0, 1):
        trial = poor.trial("plain", "flat+mmr", seed, {})
        kept = done(sessions_path(tmp_path / "third", trial))
        zero = kept.sessions.filter(pl.col("seed") == seed).with_columns(R_cum=pl.lit(0.0))
        keep(trial, zero, kept.about[str(seed)], tmp_path / "third")
    assert "does not beat flat+mmr" in judge(poor, tmp_path / "third", draws=100)[0].line


def test_a_chat_models_agent_is_done_again_after_a_change_of_its_prompts(recipe: Path, tmp_path: Path):
    whole = read(recipe, "random: {}", "llm+greedy: {planner.model: 'scripted:expert'}\n    random: {}")
    trial = whole.trial("plain", "llm+greedy", 0, {})
    about = {"digest": trial.digest, "population": "p", "steps": 0, "fitting": 1.0, "judging": 1.0}
    table = pl.DataFrame({name: [0.0] for name in KEPT})
    keep(trial, table, about, tmp_path)
    assert finished(trial, tmp_path) is not None  # of before prompts were kept
    keep(trial, table, {**about, "prompts": "others"}, tmp_path)
    assert finished(trial, tmp_path) is None


def test_agents_judged_on_other_users_are_refused(recipe: Path, tmp_path: Path):
    whole = planted(recipe, tmp_path / "out", REWARDS)
    trial = whole.trial("plain", "flat+a2c", 0, {})
    kept = done(sessions_path(tmp_path / "out", trial))
    keep(trial, kept.sessions.filter(pl.col("seed") == 0), {**kept.about["0"], "population": "q"}, tmp_path / "out")
    with pytest.raises(ValueError, match="were evaluated on different users"):
        judge(whole, tmp_path / "out", draws=100)


def test_the_report_is_written_in_every_form(recipe: Path, tmp_path: Path):
    out = tmp_path / "out"
    whole = planted(recipe, out, REWARDS)
    found = judge(whole, out, draws=100)
    names = {path.name for path in write(found, whole, out)}
    assert names == {
        *(f"report.{kind}" for kind in ("md", "tex", "csv", "json", "html")),
        *(f"{name}.{kind}" for name in ("scores", "profiles") for kind in ("png", "svg")),
    }
    assert "| flat+ppo | flat learner |" in "\n".join(markdown(found))
    assert r"round\_robin+greedy & floor &" in "\n".join(latex(found))
    table = pl.read_csv(out / "report.csv")
    assert set(table["metric"]) == {"R_cum", "T_int", "R_sin", "normalised", "iqm", "ratio"}


def test_flags_go_over_what_is_quick(recipe: Path):
    config = overlay(load(recipe), {"experiment.seeds": 2})
    assert Experiment.read(config, quick=True).seeds("plain") == [0]
    assert Experiment.read(config, quick=True, given=["experiment.seeds"]).seeds("plain") == [0, 1]


def test_what_is_not_quick_is_refused_and_without_agents_all_are(recipe: Path):
    quick = "  quick: {agents: [random, flat+ppo], experiment.seeds: 1}\n"
    every = read(recipe, quick, "  quick: {experiment.seeds: 1}\n").base
    assert list(Experiment.read(every, quick=True).agents) == ["random", "flat+ppo", "from nothing"]
    with pytest.raises(SettingsError, match=r"holds no experiment.quick, which says what --quick does; leave out"):
        Experiment.read(read(recipe, "  quick: {experiment.seeds: 1}\n").base, quick=True)


def test_flags_that_conditions_and_agents_say_for_themselves_are_known(recipe: Path):
    config = read(recipe, "plain: {}", "plain: {experiment.seeds: 3}").base
    found = overridden(config, ["experiment.seeds", "train.start", "train.gamma"])
    assert found == {"experiment.seeds": ["plain"], "train.start": ["from nothing"]}


def test_agents_whose_policy_had_too_few_steps_are_marked_in_every_report(recipe: Path, tmp_path: Path):
    whole = planted(recipe, tmp_path / "out", REWARDS, mark="too few steps")
    found = judge(whole, tmp_path / "out", 100)
    assert "| flat+ppo (too few steps) | flat learner |" in "\n".join(markdown(found))
    assert "flat+ppo (too few steps) & flat learner" in "\n".join(latex(found))
