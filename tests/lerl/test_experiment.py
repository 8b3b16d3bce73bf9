"""An experiment from its recipe to its report: what is done, what is not done again, and what the report concludes."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from lerl.cli import main
from lerl.experiment import KEPT, Plan, done, finished, keep, row_path
from lerl.settings import SettingsError, load
from lerl.verdict import judge, latex, markdown, write

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
  rows:
    random: {}
    flat+ppo: {}
    "from nothing": {row: flat+ppo, tuned: flat+ppo, train.start: nothing}
  few: [random, flat+ppo]
  settings:
    plain: {}
    with repeats: {again: plain, env.repeats: true}
  quick: {rows: [random, flat+ppo], experiment.seeds: 1}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(RECIPE)
    return path


def plan_of(recipe: Path, text: str = "", into: str = "") -> Plan:
    """The plan of the recipe with some of its text replaced."""
    recipe.write_text(recipe.read_text().replace(text, into))
    return Plan.read(load(recipe))


def test_an_experiment_goes_on_where_it_was_stopped(recipe: Path, capfd: pytest.CaptureFixture[str]):
    out = recipe.parent / "out"
    command = ["experiment", str(recipe), "--out", str(out)]
    assert main(command) == 0
    said = capfd.readouterr().out
    assert "tuned flat+ppo" in said
    assert "10 units of work, 0 done" in said
    assert "| from nothing | flat learner |" in said
    files = {path: pl.read_parquet(path) for path in sorted((out / "rows").rglob("*.parquet"))}
    assert [path.stem for path in files] == ["flat+ppo", "from nothing", "random", "flat+ppo", "random"]
    again, plain = (pl.read_parquet(out / "rows" / name / "flat+ppo.parquet") for name in ("with repeats", "plain"))
    assert again.shape == plain.shape == (24, len(KEPT))
    fitted = [path for path in out.rglob("flat+ppo.pt") if "search" not in path.parts]
    assert len(fitted) == 4  # two rows of two seeds: what is judged again is not fitted again

    assert main(command) == 2
    assert "go on with them by --resume" in capfd.readouterr().err

    lost = out / "rows" / "plain" / "random.parquet"
    lost.unlink()
    assert main([*command, "--resume"]) == 0
    assert "10 units of work, 8 done" in capfd.readouterr().out
    assert all(pl.read_parquet(path).equals(table) for path, table in files.items())

    assert main([*command, "--plan"]) == 0
    assert "0.0 hours of one core for rows, 0.0 for 0 searches" in capfd.readouterr().out


BREAKS = """
class Breaks:
    def __init__(self, setting, count):
        self.count, self.size = count, setting.slate_size

    def begin(self, rows, observation, keys):
        if self.count > 2:
            raise OSError("no disk")

    def act(self, observation):
        import numpy as np
        return np.tile(np.arange(self.size, dtype=np.int32), (self.count, 1))
"""


def test_a_unit_that_fails_does_not_stop_the_others(
    recipe: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    (recipe.parent / "my_agents.py").write_text(BREAKS)
    monkeypatch.syspath_prepend(recipe.parent)
    monkeypatch.setenv("PYTHONPATH", str(recipe.parent))
    text = recipe.read_text()
    rows = "    broken: {row: 'my_agents:Breaks'}\n    flat+greedy: {}\n  few: []\n  settings: {plain: {}}\n"
    recipe.write_text(text[: text.index("    random: {}")] + rows)
    out = recipe.parent / "out"
    assert main(["experiment", str(recipe), "--out", str(out), "--experiment.seeds", "1"]) == 2
    said = capfd.readouterr()
    assert "plain, broken, seed 0: failed: " in said.out
    assert "1 of 2 units failed, the first one: " in said.err
    assert (out / "rows" / "plain" / "flat+greedy.parquet").is_file()


@pytest.mark.parametrize(
    ("text", "into", "message"),
    [
        ("few: [random", "few: [rendom", "experiment.few names 'rendom', which is not there. Did you mean random?"),
        ("again: plain", "again: plane", "names 'plane', which is not there"),
        ("env.repeats: true", "env.repeat: true", "unknown key env.repeat. Did you mean env.repeats?"),
        ("train.start: nothing", "train.start: zero", "train.start must be 'taste' or 'nothing', given 'zero'"),
        ("plain: {}", "a/b: {}", "'a/b' cannot be the name of a file"),
        ("random: {}", "randim: {}", "names 'randim', which is not there|'randim', which is no row|randim"),
    ],
)
def test_what_cannot_be_used_is_named(recipe: Path, text: str, into: str, message: str):
    with pytest.raises(ValueError, match=message.replace("|", "|")):
        plan_of(recipe, text, into)


def test_a_recipe_without_an_experiment_is_refused(recipe: Path):
    recipe.write_text("seed: 1\n")
    with pytest.raises(SettingsError, match="the recipe holds no experiment"):
        Plan.read(load(recipe))


def test_a_units_digest_is_of_what_decides_its_numbers(recipe: Path):
    first = plan_of(recipe).unit("plain", "flat+ppo", 0, {}).digest
    assert plan_of(recipe, "  seeds: 2", "  seeds: 3\n  jobs: 4").unit("plain", "flat+ppo", 0, {}).digest == first
    plan = plan_of(recipe, "steps: 128", "steps: 256")
    others = [plan.unit("plain", "flat+ppo", 0, {}), plan.unit("plain", "flat+ppo", 1, {})]
    others += [plan.unit("with repeats", "flat+ppo", 0, {}), plan.unit("plain", "from nothing", 0, {})]
    others += [plan.unit("plain", "flat+ppo", 0, {"flat+ppo": {"train.learning_rate": 0.01}})]
    assert len({first, *(unit.digest for unit in others)}) == 6


def test_quick_is_what_the_recipe_says(recipe: Path):
    plan = Plan.read(load(recipe), quick=True)
    assert (list(plan.settings), list(plan.rows), plan.seeds) == (["plain"], ["random", "flat+ppo"], [0])


# the verdict

ROWS = {
    "random": 2.0,
    "round_robin+greedy": 5.0,
    "random+ppo": 4.0,
    "flat+ppo": 5.0,
    "flat+a2c": 1.0,
    "flat+mmr": 4.5,
    "boredom+ppo": 6.0,
    "privileged": 8.0,
}


def planted(recipe: Path, out: Path, rows: dict[str, float], users: int = 200, **words: Any) -> Plan:
    """An experiment whose rows have these mean rewards, two seeds, users and seeds differing a little."""
    listed = "".join(f"    {name}: {{}}\n" for name in rows)
    text = recipe.read_text()
    text = text[: text.index("    random: {}")] + listed + "  settings: {plain: {}}\n"
    recipe.write_text(text.replace("round_robin+greedy: {}", "round_robin+greedy: {kind: floor}"))
    plan = Plan.read(load(recipe))
    for label, mean in rows.items():
        for seed in plan.seeds:
            drawn = mean + np.random.default_rng(seed).normal(0, 0.3, users)
            table = pl.DataFrame(
                {
                    "seed": seed,
                    "user": range(users),
                    "replicate": 0,
                    "T_int": 10,
                    "R_cum": drawn,
                    "category_coverage": 0.5,
                }
            )
            unit = plan.unit("plain", label, seed, {})
            about = {"digest": unit.digest, "population": "p", "steps": 100, "fitting": 3.0, "judging": 1.0} | words
            keep(unit, table, about, out)
    return plan


def test_the_verdict_holds_the_best_planner_against_what_it_has_to_beat(recipe: Path, tmp_path: Path):
    plan = planted(recipe, tmp_path / "out", ROWS)
    found = judge(plan, tmp_path / "out", draws=200)[0]
    assert [ratio.row for ratio in found.ratios] == ["flat+ppo", "flat+mmr", "random+ppo", "round_robin+greedy"]
    for ratio, expected in zip(found.ratios, (6 / 5, 6 / 4.5, 6 / 4, 6 / 5), strict=True):
        assert ratio.ratio.mean == pytest.approx(expected, rel=0.02)
        assert ratio.ratio.low < ratio.ratio.mean < ratio.ratio.high
    assert found.room is not None
    assert found.room.mean == pytest.approx(8 / 5, rel=0.02)
    assert found.level == pytest.approx(100 - 5 / 4)  # four ratios
    assert "boredom+ppo beats all 4" in found.line
    assert found.below == ["flat+a2c"]
    scores = {one.row: one.metrics["normalised"].mean for one in found.scores}
    assert scores["random"] == 0
    assert scores["privileged"] == 1
    assert scores["boredom+ppo"] == pytest.approx(4 / 6, abs=0.02)
    assert found.scores[0].metrics["iqm"].mean == pytest.approx(1)


def test_without_room_there_is_no_winner(recipe: Path, tmp_path: Path):
    plan = planted(recipe, tmp_path / "out", {**ROWS, "privileged": 5.2, "boredom+ppo": 5.1})
    assert "too little room to tell agents apart" in judge(plan, tmp_path / "out", draws=200)[0].line


def test_rows_that_are_not_there_yet_are_named(recipe: Path, tmp_path: Path):
    plan = planted(recipe, tmp_path / "out", ROWS)
    (tmp_path / "out" / "rows" / "plain" / "flat+mmr.parquet").unlink()
    found = judge(plan, tmp_path / "out", draws=100)[0]
    assert found.missing == ["flat+mmr"]
    assert "no verdict yet" in found.line


def test_rows_judged_on_other_users_are_refused(recipe: Path, tmp_path: Path):
    plan = planted(recipe, tmp_path / "out", ROWS)
    unit = plan.unit("plain", "flat+a2c", 0, {})
    kept = done(row_path(tmp_path / "out", unit))
    keep(unit, kept.sessions.filter(pl.col("seed") == 0), {**kept.about["0"], "population": "q"}, tmp_path / "out")
    assert finished(unit, tmp_path / "out", "p") is None
    with pytest.raises(ValueError, match="were judged on different users"):
        judge(plan, tmp_path / "out", draws=100)


def test_the_report_is_written_in_every_form(recipe: Path, tmp_path: Path):
    out = tmp_path / "out"
    plan = planted(recipe, out, ROWS)
    found = judge(plan, out, draws=100)
    names = {path.name for path in write(found, plan, out)}
    assert names == {
        *(f"report.{kind}" for kind in ("md", "tex", "csv", "json")),
        *(f"{name}.{kind}" for name in ("scores", "profiles") for kind in ("png", "svg")),
    }
    assert "| flat+ppo | flat learner |" in "\n".join(markdown(found))
    assert r"round\_robin+greedy & floor &" in "\n".join(latex(found))
    table = pl.read_csv(out / "report.csv")
    assert set(table["metric"]) == {"R_cum", "T_int", "R_sin", "normalised", "iqm", "ratio"}
