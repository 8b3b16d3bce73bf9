from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import yaml
from hypothesis import strategies as st

from lerl.config.errors import SettingsError
from lerl.config.keys import known_keys
from lerl.config.parse import configure, dump, load, overlay
from lerl.config.recipes import find_recipe, recipes
from lerl.config.schema import Config

TEXT = st.characters(exclude_characters="\0", codec="utf-8")  # a NUL is refused

RecipeMaker = Callable[[str], Path]


@pytest.fixture
def recipe(tmp_path: Path) -> RecipeMaker:
    def write(text: str) -> Path:
        path = tmp_path / "mine.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def leaves(owner: Any, prefix: str = "") -> dict[str, Any]:
    """Values of a configuration by dotted key, found without lerl.config.parse."""
    found: dict[str, Any] = {}
    for entry in fields(owner):
        value = getattr(owner, entry.name)
        dotted = f"{prefix}{entry.name}"
        found |= leaves(value, f"{dotted}.") if is_dataclass(value) else {dotted: value}
    return found


def test_an_empty_recipe_gives_the_defaults(recipe: RecipeMaker) -> None:
    assert load(recipe("")) == Config()


def test_a_flag_goes_over_the_recipe_and_the_recipe_over_the_default(recipe: RecipeMaker) -> None:
    path = recipe("seed: 4\ntrain: {steps: 5, users: 6}\nenv:\n  boredom:\n    weight: 2\n")
    config = configure(path, {"train.steps": "7", "env.boredom.time_constant": "3"})
    assert (config.seed, config.train.steps, config.train.users) == (4, 7, 6)
    assert (config.env.boredom.weight, config.env.boredom.time_constant) == (2.0, 3.0)
    assert config.train.gamma == Config().train.gamma
    assert config.env.slate_size == 6  # the default of Config, not that of SimulatorConfig


def test_every_leaf_of_the_tree_is_a_key_with_its_default_and_help() -> None:
    known = known_keys()
    assert {name: key.default for name, key in known.items()} == leaves(Config())
    assert [name for name, key in known.items() if not key.help] == []


@pytest.mark.parametrize(
    ("text", "agents"),
    [
        ("[random, flat+greedy]", ["random", "flat+greedy"]),
        ("[my_package.my_module:MyAgent]", ["my_package.my_module:MyAgent"]),
        ("[]", []),
    ],
)
def test_a_list_is_given_as_yaml(recipe: RecipeMaker, text: str, agents: list[str]) -> None:
    assert configure(recipe("agents: [privileged]"), {"agents": text}).agents == agents


def test_a_plus_adds_to_the_list_of_the_recipe(recipe: RecipeMaker) -> None:
    config = configure(recipe("agents: [privileged]"), {"agents+": "random"})
    assert config.agents == ["privileged", "random"]


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("train.log_std", "-1e-1", -0.1),
        ("train.learning_rate", "1e-3", 0.001),
        ("train.gae_lambda", "1", 1.0),
        ("evaluation.users", "20", 20),
        ("evaluation.users", "null", None),
        ("evaluation.deterministic", "true", True),
        ("data.path", "2026", "2026"),
        ("data.path", "#1", "#1"),
        ("data.path", "null", None),
        ("data.path", "a folder/b=c", "a folder/b=c"),
    ],
)
def test_flags_are_read_by_the_type_of_their_key(recipe: RecipeMaker, key: str, text: str, value: object) -> None:
    found = leaves(configure(recipe(""), {key: text}))[key]
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"env.bordom.weight": "1"}, "unknown key --env.bordom.weight. Did you mean --env.boredom.weight?"),
        ({"steps": "1"}, "unknown key --steps. Did you mean --train.steps?"),
        ({"zzz": "1"}, "unknown key --zzz."),
        ({"train": "1"}, "--train is a section with keys of its own, such as --train.steps"),
        ({"train.steps": None}, "--train.steps needs a value: a whole number from 0 to 10,000,000,000"),
        ({"train.steps": "many"}, "train.steps must be a whole number from 0 to 10,000,000,000, given 'many'"),
        ({"train.steps": "1e6"}, "train.steps must be a whole number from 0 to 10,000,000,000, given '1e6'"),
        ({"train.gamma": "nan"}, "train.gamma must be a number from 0 to 1, given 'nan'"),
        ({"evaluation.deterministic": "1"}, "evaluation.deterministic must be true or false, given 1"),
        (
            {"evaluation.users": "all"},
            "evaluation.users must be a whole number from 2 to 10,000,000 or null, given 'all'",
        ),
        ({"agents": "random"}, "agents must be a list such as [random, privileged], given 'random'"),
        ({"seed": "-1"}, "seed must be a whole number from 0 to 4,294,967,295, given -1"),
        ({"train.gamma": "1"}, "train.gamma must be below 1, given 1"),
        ({"env.drift.revert": "2"}, "env.drift.revert must be a number from 0 to 1, given 2"),
        (
            {"env.leave.satisfaction.highest": "2"},
            "env.leave.satisfaction.highest must be a number from 0 to 1, given 2",
        ),
        ({"train.encoder": "lstm"}, "train.encoder must be 'categories', 'gru' or 'transformer', given 'lstm'"),
        ({"train.off_policy.epsilon": "2"}, "train.off_policy.epsilon must be a number from 0 to 1, given 2"),
        (
            {"train.off_policy.buffer": "0"},
            "train.off_policy.buffer must be a whole number from 1 to 10,000,000, given 0",
        ),
        ({"data.synthetic.dim": "100000"}, "data.synthetic.dim must be a whole number from 2 to 512, given 100000"),
        ({"env.max_steps": "100000000"}, "env.max_steps must be a whole number from 1 to 10,000, given 100000000"),
        (
            {"train.evaluations": "100000000"},
            "train.evaluations must be a whole number from 1 to 1,000, given 100000000",
        ),
        (
            {"evaluation.replicates": "99999"},
            "evaluation.replicates must be a whole number from 1 to 10,000, given 99999",
        ),
        ({"train.learning_rate": "1e20"}, "train.learning_rate must be a number from 0 to 1, given 1e+20"),
        (
            {"train.users": "1", "train.rollout": "1"},
            "train.users must be at least 2 where train.rollout is 1, given 1; or give a longer rollout",
        ),
        (
            {"seed+": "1"},
            "--seed+ would add to a list, but seed is a whole number from 0 to 4,294,967,295; leave out the +",
        ),
        (
            {"planner.axis": "genre"},
            "planner.axis must be 'categories', 'clusters', 'codes' or 'learned', given 'genre'",
        ),
    ],
)
def test_a_bad_flag_is_one_line_that_names_the_key(
    recipe: RecipeMaker, flags: dict[str, str | None], message: str
) -> None:
    with pytest.raises(SettingsError) as raised:
        configure(recipe("agents: [random, privileged]"), flags)
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("http://me:PW@localhost:8000/v1", "holds a user, a query or a fragment"),
        ("http://PW@localhost/v1", "holds a user, a query or a fragment"),
        ("http://@localhost/v1", "holds a user, a query or a fragment"),
        ("http://localhost/v1?key=PW", "holds a user, a query or a fragment"),
        ("http://localhost/v1#PW", "holds a user, a query or a fragment"),
        ("ftp://me:PW@localhost/v1", "holds a user, a query or a fragment"),
        ("me:PW@localhost/v1", "does not begin with http:// or https://"),
        ("PW.example.org:8000/v1", "does not begin with http:// or https://"),
        ("ftp://PW.example.org/v1", "does not begin with http:// or https://"),
        ("http://[PW/v1", "has a host or a port that cannot be read"),
        ("http://[::PW]/v1", "has a host or a port that cannot be read"),
        ("http://localhost:PW/v1", "has a host or a port that cannot be read"),
        ("http://localhost:99999/PW", "has a host or a port that cannot be read"),
        ("http:///PW", "names no host"),
        ("", "does not begin with http:// or https://"),
        (" http://localhost/PW", "holds a blank, or a character beyond ASCII"),
        ("http://localhost/v1\n", "holds a blank, or a character beyond ASCII"),
        ("http://me\u2100PW.org/v1", "holds a blank, or a character beyond ASCII"),
    ],
)
def test_an_address_that_holds_a_key_or_cannot_be_read_is_refused_without_a_word_of_it(
    recipe: RecipeMaker, address: str, message: str
) -> None:
    with pytest.raises(SettingsError) as raised:
        configure(recipe("agents: [random]"), {"planner.base_url": address})
    assert str(raised.value).startswith(f"planner.base_url {message}")
    assert str(raised.value).endswith("; its form is http://HOST:PORT/v1")
    assert "PW" not in str(raised.value)


@pytest.mark.parametrize(
    "address", ["http://localhost:8000/v1", "https://example.org", "http://[::1]:80/v1", "http://10.0.0.1/a-b/v1/"]
)
def test_an_address_of_an_endpoint_is_taken(recipe: RecipeMaker, address: str) -> None:
    assert configure(recipe(""), {"planner.base_url": address}).planner.base_url == address


def test_a_budget_of_money_needs_a_price(recipe: RecipeMaker) -> None:
    with pytest.raises(
        SettingsError, match=r"^planner\.price is missing, without which planner\.budget\.money is never"
    ):
        configure(recipe(""), {"planner.budget.money": "1"})
    for price in ("input", "output"):
        configure(recipe(""), {"planner.budget.money": "1", f"planner.price.{price}": "0.1"})


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("train.hidden", "a whole number from 1 to 4,096"),
        ("planner.candidates", "a whole number from 1 to 10,000 or null"),
        ("planner.detail", "'full' or 'coarse'"),
        ("env.boredom.weight", "a number of at least 0"),
        ("experiment.few", "a list such as [a, b]"),
        ("tune.space", "a section of a recipe file"),
    ],
)
def test_a_key_says_what_it_takes(name: str, allowed: str) -> None:
    assert known_keys()[name].allowed == allowed


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train: {stepz: 5}", "unknown key train.stepz. Did you mean train.steps?"),
        ("trian: {steps: 5}", "unknown key trian. Did you mean train?"),
        ("1: 2", "unknown key 1."),
        ("train: 3", "train is a section with keys of its own, given 3"),
        ("seed: true", "seed must be a whole number from 0 to 4,294,967,295, given True"),
        ("train: {steps: 1.0}", "train.steps must be a whole number from 0 to 10,000,000,000, given 1.0"),
        ("planner: {name: null}", "planner.name must be text, given None"),
        ("agents: [1, 2]", "agents must be a list such as [planner+ppo, flat+ppo], given [1, 2]"),
        ("env: {slate_size: 0}", "env.slate_size must be a whole number from 1 to 1,000, given 0"),
        ("seed: 1\nseed: 2", "seed is given twice, the second time in line 2; give it once"),
        ("train:\n  steps: 1\n  steps: 2", "steps is given twice, the second time in line 3; give it once"),
        ("train.steps: 1\ntrain: {steps: 2}", "train.steps is given twice, in two notations; give it once"),
        ("[seed]", "must hold keys and values such as 'seed: 1', given ['seed']"),
    ],
)
def test_a_bad_recipe_is_one_line_that_names_file_and_key(recipe: RecipeMaker, text: str, message: str) -> None:
    path = recipe(text)
    with pytest.raises(SettingsError) as raised:
        load(path)
    assert str(raised.value) == f"{path}: {message}"


def test_a_key_that_is_gone_is_left_out_with_a_note_where_it_matters(recipe: RecipeMaker) -> None:
    note = r"planner.client openai is left out: every chat model is called through LangChain now; remove it$"
    path = recipe("planner: {client: openai, size: 3}")
    with pytest.warns(UserWarning, match=f"^{path}: {note}"):
        assert load(path).planner.size == 3
    with pytest.warns(UserWarning, match=f"^{note}"):
        assert configure(recipe(""), {"planner.client": "openai"}) == Config()
    with pytest.warns(UserWarning, match=f"^{note}"):
        assert overlay(Config(), {"planner.client": "openai"}) == Config()
    assert load(recipe("planner: {client: langchain}")) == Config()  # as earlier runs wrote it, all of them


OLD_EXPERIMENT = """
tune: {row: flat+ppo}
experiment:
  rows: {a: {row: llm+ppo, kind: other}, b: {distils: a}, c: }
  settings: {plain: {}}
  quick: {rows: [a], experiment.seeds: 1}
"""


def test_keys_that_are_renamed_are_read_under_their_old_names_with_one_note(recipe: RecipeMaker) -> None:
    path = recipe(OLD_EXPERIMENT)
    with pytest.warns(UserWarning, match="tune.row is now tune.agent, experiment.rows is now .*still read$") as notes:
        config = load(path)
    assert len(notes) == 1
    assert config.tune.agent == "flat+ppo"
    assert config.experiment.agents == {"a": {"agent": "llm+ppo", "kind": "other"}, "b": {"distills": "a"}, "c": None}
    assert config.experiment.conditions == {"plain": {}}
    assert config.experiment.quick == {"agents": ["a"], "experiment.seeds": 1}
    path.write_text(dump(config))
    assert load(path) == config  # with no note


def test_an_old_flag_still_works(recipe: RecipeMaker) -> None:
    with pytest.warns(UserWarning, match="^tune.row is now tune.agent; the old name is still read$"):
        assert configure(recipe(""), {"tune.row": "flat+ppo"}).tune.agent == "flat+ppo"


@pytest.mark.parametrize("text", ["tune: {row: a, agent: b}", "tune: {agent: b, row: a}"])
def test_a_key_under_both_its_names_is_refused(recipe: RecipeMaker, text: str) -> None:
    with pytest.raises(SettingsError, match=r"tune\.agent is given twice, also under its old name; give it once"):
        load(recipe(text))


def test_a_run_stays_what_it_was_made_with(tmp_path: Path) -> None:
    written = dump(Config()).replace("    within_slate: true\n", "")  # as before version 0.2
    (tmp_path / "config.yaml").write_text(written)
    assert load(tmp_path / "config.yaml").env.boredom.within_slate  # a recipe, by that name
    (tmp_path / "run.json").write_text("{}")
    assert not load(tmp_path / "config.yaml").env.boredom.within_slate
    (tmp_path / "config.yaml").write_text(dump(Config()))
    assert load(tmp_path / "config.yaml").env.boredom.within_slate


def test_broken_yaml_is_one_line_with_its_place(recipe: RecipeMaker) -> None:
    with pytest.raises(SettingsError, match=r"mine\.yaml: no valid YAML: .*line 2") as raised:
        load(recipe("seed: 1\nagents: [random"))
    assert "\n" not in str(raised.value)


def test_a_file_that_is_no_text_is_refused(recipe: RecipeMaker) -> None:
    path = recipe("")
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match=r"mine\.yaml: cannot be read"):
        load(path)


def test_an_unknown_recipe_lists_those_there_are() -> None:
    with pytest.raises(
        SettingsError, match=r"no recipe 'quikstart'\. Did you mean quickstart\? There are: .*quickstart"
    ):
        find_recipe("quikstart")


def test_a_recipe_is_found_by_name_and_by_path(recipe: RecipeMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_recipe("quickstart").name == "quickstart.yaml"
    path = recipe("")
    monkeypatch.chdir(path.parent)
    assert find_recipe("mine.yaml") == Path("mine.yaml")
    with pytest.raises(SettingsError, match=r"there is no recipe file other\.yaml"):
        find_recipe("other.yaml")


@pytest.mark.parametrize("name", recipes())
def test_every_recipe_that_comes_with_lerl_can_be_read(name: str) -> None:
    path = find_recipe(name)
    assert load(path).agents
    assert yaml.safe_load(path.read_text(encoding="utf-8"))


@hypothesis.settings(deadline=None, max_examples=20)
@hypothesis.given(
    seed=st.integers(0, 2**31),
    gamma=st.floats(0, 1, exclude_max=True),
    agents=st.lists(st.text(TEXT, min_size=1), max_size=3),
    path=st.none() | st.text(TEXT, min_size=1),
    enabled=st.booleans(),
)
def test_a_dump_reads_back_as_the_same_configuration(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    gamma: float,
    agents: list[str],
    path: str | None,
    enabled: bool,
) -> None:
    text = yaml.safe_dump(
        {
            "seed": seed,
            "agents": agents,
            "data": {"path": path},
            "train": {"gamma": gamma},
            "env": {"drift": {"enabled": enabled}},
        }
    )
    file = tmp_path_factory.getbasetemp() / "dumped.yaml"
    file.write_text(text, encoding="utf-8")
    config = load(file)
    assert (config.seed, config.agents, config.data.path) == (seed, agents, path)
    file.write_text(dump(config), encoding="utf-8")
    assert load(file) == config


def test_every_key_has_a_help_of_its_own() -> None:
    """A docstring that describes two keys in one line leaves one of them without a text."""
    keys = known_keys()
    for name, key in keys.items():
        siblings = {other.rpartition(".")[2] for other in keys if other.rpartition(".")[0] == name.rpartition(".")[0]}
        assert key.help.rstrip().endswith("."), name
        assert not key.help.startswith("At most"), name
        assert not [other for other in siblings if re.search(rf"(^|[.;] ){other}: ", key.help)], name


BOMB = "a: &a0 [x, x]\n" + "".join(f"k{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, r"line \d+ stands for more than 20,000 values; use fewer aliases"),
        ("agents: &a [*a]", r"line 1 is nested more than 40 levels deep; write it flatter"),
        ("agents: " + "[" * 50 + "]" * 50, r"line 1 is nested more than 40 levels deep"),
        ("agents: " + "[" * 5000 + "]" * 5000, r"line 1 is nested more than 40 levels deep"),
        ("seed:\n  <<: {x: 1}\n  <<: {y: 1}", "<< is given twice, the second time in line 3"),
        ("seed: " + "9" * 400, "line 1 holds a number of 400 characters"),
        ("seed: 0x" + "f" * 10_000, "line 1 holds a number of 10,002 characters"),
        ("seed: 1" + ":1" * 10_000, "line 1 holds a number of 20,001 characters"),
        ("agents:\n" + "- random\n" * 40_000, r"has more than 262,144 bytes, which no recipe needs"),
        ('data: {path: "a\\0b"}', r"data\.path holds a NUL character, which no name and no path has"),
        ('agents: ["a\\0b:C"]', r"agents holds a NUL character"),
        (f"agents: '{{{BOMB.replace(chr(10), ', ')}}}'", r"agents: stands for more than 20,000 values"),
    ],
)
def test_yaml_that_would_take_for_ever_is_refused_at_once(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "recipe.yaml").write_text(text)
    with pytest.raises(SettingsError, match=message) as error:
        load(tmp_path / "recipe.yaml")
    assert len(str(error.value)) < 400 + len(str(tmp_path))


def test_text_is_no_yaml_even_where_it_may_be_null(tmp_path: Path) -> None:
    """A name that reads as nested aliases is kept as it is; reading it would take minutes."""
    name = f"{{{BOMB.replace(chr(10), ', ')}}}"
    (tmp_path / "recipe.yaml").write_text(json.dumps({"planner": {"model": name}}))
    config = configure(tmp_path / "recipe.yaml", {"seed": "3"})
    assert (config.planner.model, config.seed) == (name, 3)
    assert overlay(config, {"seed": 4}).planner.model == name


def test_some_aliases_and_merges_are_read(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("train: &t {steps: 7}\nexperiment: {agents: {a: {<<: *t, gamma: 1}, b: *t}}")
    agents = load(tmp_path / "recipe.yaml").experiment.agents
    assert agents == {"a": {"steps": 7, "gamma": 1}, "b": {"steps": 7}}


@pytest.mark.parametrize("key", ["env.boredom.weight", "train.learning_rate", "data.synthetic.seed"])
def test_a_number_beyond_all_floats_is_refused(key: str) -> None:
    with pytest.raises(SettingsError, match=rf"{key} must be a .*number .*, given an integer of 1,329 bits"):
        overlay(Config(), {key: 10**400})
    with pytest.raises(SettingsError, match=rf"{key}: holds a number of 400 characters"):
        configure(find_recipe("quickstart"), {key: "9" * 400})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tune: {space: {1: {}}}", r"tune\.space must be a section of a recipe file, given \{1: \{\}\}"),
        ("tune: {space: 3}", r"tune\.space must be a section of a recipe file, given 3"),
        ("experiment: {few: {a: 1}}", r"experiment\.few must be a list such as \[a, b\], given \{'a': 1\}"),
    ],
)
def test_sections_and_lists_are_checked(recipe: RecipeMaker, text: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        load(recipe(text))


BEFORE = """
import lerl.config.parse, lerl.config.recipes, sys
lerl.config.parse.configure(lerl.config.recipes.find_recipe("quickstart"), {"train.steps": "5"})
print(*(name for name in ("numba", "torch", "polars", "langchain") if name in sys.modules))
"""


def test_reading_settings_imports_nothing_large() -> None:
    ran = subprocess.run([sys.executable, "-c", BEFORE], capture_output=True, text=True, check=True)
    assert ran.stdout == "\n"
