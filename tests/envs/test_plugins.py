"""Classes of one's own by name: found, used by the environment, and refused with what to do."""

import copy
import sys
from pathlib import Path

import numpy as np
import pytest

from lerl.envs.config import Boredom, Drift, Fatigue, Leave
from lerl.envs.plugins import PluginError, blamed, executed, load_plugin
from lerl.envs.population import Population
from lerl.envs.session import SessionEnv, SessionVectorEnv

MODULE = '''
import sys

import numpy as np


class Lookup:
    """A dense table of chances, one row per user; a user clicks less with every slate."""

    def __init__(self, population):
        self.table = np.linspace(0.1, 0.9, len(population.training) * len(population.catalog))
        self.table = self.table.reshape(len(population.training), -1)

    def init(self, users):
        return {"rows": self.table[users], "slates": np.zeros(len(users), np.float32)}

    def score(self, state, items):
        return state["rows"][np.arange(len(items))[:, None], items] / (1 + state["slates"][:, None])

    def advance(self, state, items, feedback):
        return {**state, "slates": state["slates"] + 1}


class Coin(Lookup):
    half = np.full((1, 1), 0.5)

    def score(self, state, items):
        return self.half


class WrongShape(Lookup):
    def score(self, state, items):
        return np.full(len(items), 0.5)


class WrongTaste(Lookup):
    def init(self, users):
        return {**super().init(users), "taste": np.ones((len(users), 99), np.float32)}


class AfterThree:
    def probability(self, situation):
        return (situation.steps >= 3).astype(float)


class OneForAll:
    def probability(self, situation):
        return 0.5


class Doubtful:
    def probability(self, situation):
        return np.where(situation.steps < 2, 0.0, np.nan)


class Leaver:
    def probability(self, situation):
        raise SystemExit("enough")


class Unmakable(AfterThree):
    def __init__(self):
        sys.exit(3)


class Likely(Lookup):
    answer = 1.5

    def score(self, state, items):
        return np.where(items < 0, np.nan, self.answer)


class Words(Lookup):
    def score(self, state, items):
        return np.full(items.shape, "often")


class Digits(Lookup):
    def score(self, state, items):
        return np.full(items.shape, "0.5")


class Masked(Lookup):
    def score(self, state, items):
        return np.ma.masked_all(items.shape)


class Complex(Lookup):
    def score(self, state, items):
        return np.full(items.shape, 0.5 + 0j)


class Huge(Lookup):
    def score(self, state, items):
        return [[10**400] * items.shape[1]] * len(items)


class OneRow(Lookup):
    def init(self, users):
        return {"rows": self.table[:1]}


class Stateless(Lookup):
    def init(self, users):
        return None


class Forgetful(Lookup):
    def advance(self, state, items, feedback):
        return {"rows": state["rows"]}


class Static(AfterThree):
    @staticmethod
    def probability(situation):
        return np.zeros(len(situation.steps))


class Nothing:
    pass


instance = AfterThree()
'''
STILL = {"drift": Drift(enabled=False), "boredom": Boredom(enabled=False), "fatigue": Fatigue(enabled=False)}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory with a module of one's own, gone after the test."""
    (tmp_path / "my_users.py").write_text(MODULE)
    (tmp_path / "my_broken.py").write_text("import a_module_that_is_not_there\n")
    (tmp_path / "my_quitting.py").write_text("raise SystemExit(0)\n")
    (tmp_path / "my_unfinished.py").write_text("class Rule(\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.delitem(sys.modules, "my_users", raising=False)


def env(population: Population, **settings: object) -> SessionEnv:
    return SessionEnv(population, topic_count=3, max_steps=5, reveal_hidden=True, **settings)


def test_a_class_in_the_working_directory_is_found():
    found = load_plugin("my_users:AfterThree", "env.leave.rule", ("never",), ("probability",))
    assert found().probability.__name__ == "probability"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nevr", r"env.leave.rule is 'nevr', which is not one of never, window. Did you mean 'never'\?"),
        ("unlike anything", r"not one of never, window. Your own class is named as 'my_package.my_module:MyClass'"),
        (":Rule", "Your own class is named as 'my_package.my_module:MyClass'"),
        ("my_users:", "Your own class is named as 'my_package.my_module:MyClass'"),
        (".my_users:AfterThree", "Your own class is named as 'my_package.my_module:MyClass'"),
        ("no_such_module:Rule", "'no_such_module' cannot be imported .*; run from the folder that holds it"),
        ("my_broken:Rule", "'my_broken' cannot be imported .No module named 'a_module_that_is_not_there'"),
        ("my_quitting:Rule", "is 'my_quitting:Rule', but the import of module 'my_quitting' fails: SystemExit: 0"),
        ("my_unfinished:Rule", "the import of module 'my_unfinished' fails: SyntaxError: .*was never closed"),
        ("my_users:NoSuchRule", "module 'my_users' has no class 'NoSuchRule'"),
        ("my_users:instance", "module 'my_users' has no class 'instance'"),
        ("my_users:Nothing", "lacks the method 'probability' that every such class needs"),
    ],
)
def test_a_name_that_leads_nowhere_is_refused(name: str, message: str):
    with pytest.raises(PluginError, match=message):
        load_plugin(name, "env.leave.rule", ("never", "window"), ("probability",))


def test_a_response_model_of_ones_own_decides_the_clicks(small: Population):
    lookup = env(small, slate_size=2, response="my_users:Lookup", leave=Leave("never"), **STILL)
    _, info = lookup.reset(seed=1)
    row = np.linspace(0.1, 0.9, 40 * 60).reshape(40, 60)[info["user"]]
    assert "true_taste" not in info
    *_, info = lookup.step([7, 3])
    assert info["chance"] == pytest.approx(row[[7, 3]])
    *_, info = lookup.step([8, 7])  # the second slate halves its chances; item 7 was shown before
    assert info["chance"] == pytest.approx([row[8] / 2, 0])


def test_an_empty_slot_is_not_felt_whatever_the_model_says_of_it(small: Population):
    lookup = env(small, slate_size=2, response="my_users:Lookup", leave=Leave("never"), **STILL)
    lookup.reset(seed=1)
    *_, info = lookup.step([7, 7])  # the model gets item -1 and gives the last item's chance
    assert info["satisfaction"] == pytest.approx(0.6 + 0.2 * (info["chance"][0] / 2 - 0.6))


def test_what_a_model_gives_out_stays_its_own(small: Population):
    coin = env(small, response="my_users:Coin", leave=Leave("never"), drift=Drift(enabled=False))
    coin.reset(seed=1)
    chances = [coin.step(item)[4]["chance"][0] for item in range(3)]
    assert chances == sorted(chances, reverse=True)  # fatigue grows
    assert chances[0] == pytest.approx(0.5)
    assert coin.simulator.model.half == 0.5


def test_a_model_without_tastes_cannot_drift(small: Population):
    with pytest.raises(ValueError, match=r"state of Lookup has no 'taste'; set env\.drift\.enabled to false"):
        env(small, response="my_users:Lookup").reset(seed=1)


def test_a_taste_in_another_space_cannot_drift(small: Population):
    with pytest.raises(ValueError, match=r"space of the true item vectors, \(1, 4\), but WrongTaste has .*\(1, 99\)"):
        env(small, response="my_users:WrongTaste").reset(seed=1)


def test_scores_of_the_wrong_shape_are_refused(small: Population):
    wrong = env(small, response="my_users:WrongShape", **STILL)
    wrong.reset(seed=1)
    with pytest.raises(ValueError, match=r"WrongShape.score must give one chance per slot, \(1, 1\), given .* \(1,\)"):
        wrong.step(0)


def test_an_incomplete_response_model_is_refused(small: Population):
    with pytest.raises(PluginError, match=r"env\.response is 'my_users:AfterThree', which lacks the method 'init'"):
        env(small, response="my_users:AfterThree")


def test_a_leave_rule_of_ones_own_decides_who_goes(small: Population):
    short = env(small, leave=Leave("my_users:AfterThree"))
    short.reset(seed=1)
    assert [short.step(item)[2] for item in range(3)] == [False, False, True]


def test_a_leave_rule_of_the_wrong_shape_is_refused(small: Population):
    wrong = env(small, leave=Leave("my_users:OneForAll"))
    wrong.reset(seed=1)
    with pytest.raises(ValueError, match=r"OneForAll.probability must give one chance per user, \(1,\), given .* \(\)"):
        wrong.step(0)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("Doubtful", r"my_users:Doubtful\.probability must give chances in \[0, 1\], given nan"),
        ("Leaver", r"my_users:Leaver\.probability fails: SystemExit: enough"),
        ("Unmakable", r"env\.leave\.rule is 'my_users:Unmakable', but Unmakable\(\) fails: SystemExit: 3"),
    ],
)
def test_a_leave_rule_that_fails_is_named(small: Population, rule: str, message: str):
    def live() -> None:
        session = env(small, leave=Leave(f"my_users:{rule}"))
        session.reset(seed=1)
        for item in range(2):
            session.step(item)

    with pytest.raises(PluginError, match=message):
        live()


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("Likely", r"my_users:Likely\.score must give chances in \[0, 1\], given 1\.5"),
        ("Words", r"my_users:Words\.score must give chances as numbers, given an array of type <U5"),
        ("Digits", r"my_users:Digits\.score must give chances as numbers, given an array of type <U3"),
        ("Masked", r"my_users:Masked\.score must give chances as numbers, given masked numbers"),
        ("Complex", r"my_users:Complex\.score must give chances as numbers, given an array of type complex128"),
        ("Huge", r"my_users:Huge\.score must give chances as numbers, given an array of type object"),
        ("OneRow", r"my_users:OneRow\.init must give arrays with one row per user, 2, but 'rows' has other rows"),
        ("Stateless", r"my_users:Stateless\.init must give a dictionary of arrays, given NoneType"),
        ("Forgetful", r"my_users:Forgetful\.advance must give every entry of the state, but left out 'slates'"),
    ],
)
def test_a_response_model_that_fails_is_named(small: Population, model: str, message: str):
    def live() -> None:
        users = SessionVectorEnv(small, 2, topic_count=3, max_steps=5, response=f"my_users:{model}", **STILL)
        users.reset(seed=1)
        users.step([0, 1])

    with pytest.raises(PluginError, match=message):
        live()


def test_an_empty_slot_may_have_any_score(small: Population, monkeypatch: pytest.MonkeyPatch):
    session = env(small, slate_size=2, response="my_users:Likely", leave=Leave("never"), **STILL)
    monkeypatch.setattr(type(session.simulator.model), "answer", 0.5)
    session.reset(seed=1)
    assert session.step([4, 4])[4]["chance"] == pytest.approx([0.5, 0])


def test_a_method_may_be_static_and_a_plugin_can_be_copied(small: Population):
    session = env(small, leave=Leave("my_users:Static"))
    session.reset(seed=1)
    assert not session.step(0)[2]
    assert type(copy.deepcopy(session.simulator.rule)) is type(session.simulator.rule)


def test_an_interruption_stays_one():
    with pytest.raises(KeyboardInterrupt), blamed("my_users:Rule.probability"):
        raise KeyboardInterrupt


def test_what_an_import_would_execute_is_known_without_it(tmp_path: Path):
    (tmp_path / "space" / "pack").mkdir(parents=True)
    for file in ("space/pack/__init__.py", "space/pack/inner.py"):
        (tmp_path / file).write_text("raise SystemExit('executed')")
    folder, pack = str(tmp_path), tmp_path / "space" / "pack"
    assert executed("space.pack.inner", folder) == [pack / "__init__.py", pack / "inner.py"]
    assert executed("space.pack", folder) == [pack / "__init__.py"]
    assert executed("space", folder) == []  # a namespace has no code
    assert executed("space.pack.inner") is executed("space.nothing", folder) is executed("..", folder) is None
    assert [place.name for place in executed("lerl.envs.plugins") or []] == ["__init__.py", "__init__.py", "plugins.py"]


def test_a_module_in_folders_without_code_is_found_in_each_of_them(tmp_path: Path):
    for number, file in enumerate(("outer/inner/here.py", "outer/inner/both.py", "outer/inner/both.py")):
        place = tmp_path / ("b" if number == 2 else "a") / file
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("raise SystemExit('executed')")
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    assert executed("outer.inner.here", b, a) == [tmp_path / "a" / "outer" / "inner" / "here.py"]
    assert executed("outer.inner.both", b, a) == [tmp_path / "b" / "outer" / "inner" / "both.py"]
    assert executed("outer.inner", b, a) == []
    assert executed("outer.inner.neither", b, a) is None


def test_the_working_directory_is_searched_for_what_is_not_installed_alone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if Path(entry or ".").resolve() != Path.cwd()])
    before = sys.path.copy()
    load_plugin("lerl.envs.leave:BudgetRule", "env.leave.rule", ("never",), ("probability",))
    assert sys.path == before
    load_plugin("my_users:AfterThree", "env.leave.rule", ("never",), ("probability",))
    assert sys.path == [*before, str(Path.cwd())]
