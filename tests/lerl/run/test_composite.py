"""Agents that fill slates with roles: trained, judged, kept, and refused where they cannot be."""

import json
from pathlib import Path

import numpy as np
import pytest

from lerl.agents.composite.agent import ROWS
from lerl.cli.main import main
from lerl.config.parse import load
from lerl.config.recipes import find_recipe
from lerl.experiment.spec import Experiment
from lerl.report.page.words import names_of

SMALL = [
    "--data.synthetic.users", "60", "--data.synthetic.items", "24", "--train.steps", "6000", "--env.max_steps", "10",
    "--evaluation.users", "15", "--train.validation", "15",
]  # fmt: skip


def train(out: Path, agents: str, *more: str) -> int:
    return main(["train", "composite", "--agents", agents, "--out", str(out), *SMALL, *more])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("composite") / "run"
    assert train(out, "[jima,additive,round_robin+jima,random,privileged]", "--planner.size", "1") == 0
    return out


def rewards(run: Path) -> dict[str, float]:
    agents = json.loads((run / "summary.json").read_text(encoding="utf-8"))["agents"]
    return {name: found["R_cum"]["mean"] for name, found in agents.items()}


def test_interactions_bring_more_than_parts_alone_and_less_than_the_truth(run: Path) -> None:
    found = rewards(run)
    assert found["random"] < found["additive"] < found["jima"] <= found["privileged"]
    assert found["jima"] > 0.85 * found["privileged"]


def test_what_was_learned_is_kept_and_is_the_same_again(run: Path, tmp_path: Path) -> None:
    assert {path.name for path in (run / "composite").iterdir()} == {
        "jima.npz", "jima.json", "additive.npz", "additive.json",
    }  # fmt: skip
    curve = json.loads((run / "composite" / "jima.json").read_text(encoding="utf-8"))
    assert [point["steps"] for point in curve] == [0, 3000, 6000]
    assert train(tmp_path / "again", "[jima]") == 0
    with np.load(run / "composite" / "jima.npz") as one, np.load(tmp_path / "again/composite/jima.npz") as other:
        assert all(np.array_equal(one[name], other[name]) for name in one.files)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["composite", "--agents", "[belief+greedy]"], "belief+greedy knows nothing of roles"),
        (["composite", "--agents", "[jima]", "--env.slate_size", "3"], "2 roles, but slates have 3 slots"),
        (["composite", "--agents", "[jima]", "--data.synthetic.roles", "[top]"], "which is no category"),
        (["composite", "--agents", "[flat+jima]"], "which is called 'jima'"),
        (["quickstart", "--agents", "[jima]"], "env.roles is empty"),
        (["composite", "--agents", "[jima]", "--train.steps", "10", "--env.max_steps", "5"], "give more train.steps"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    given: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(["train", *given, "--out", str(tmp_path / "run"), *(SMALL[:4] if given[0] == "composite" else [])]) != 0
    assert says in " ".join(capsys.readouterr().err.split())


def test_where_not_all_combinations_are_tried_it_is_said_what_may_be_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    from lerl.agents.composite import fill

    monkeypatch.setattr(fill, "EXACT", 10)
    monkeypatch.setattr(fill, "OPENED", 1)
    assert train(tmp_path / "run", "[jima]") == 0
    said = capsys.readouterr()
    assert "wholes may lack on average at most 0." in said.out + said.err


def test_what_fills_roles_is_judged_as_a_learner_and_has_words(tmp_path: Path) -> None:
    more = "experiment: {agents: {jima: {}, round_robin+jima: {}, flat+greedy: {}}, conditions: {plain: {}}}\n"
    recipe = tmp_path / "outfits.yaml"
    recipe.write_text(find_recipe("composite").read_text(encoding="utf-8") + more, encoding="utf-8")
    whole = Experiment.read(load(recipe))
    assert [whole.kind(label) for label in whole.agents] == ["flat learner", "hierarchical", "practitioner"]
    assert set(dict(names_of(list(ROWS)))) == set(ROWS)


def test_what_fills_roles_is_not_served(run: Path) -> None:
    from lerl import Run
    from lerl.serve.recommender import SessionError

    with pytest.raises(SessionError, match="jima cannot serve people"):
        Run(run).recommender("jima")
