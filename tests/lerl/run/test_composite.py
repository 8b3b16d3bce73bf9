"""Agents that fill slates with roles: trained, judged, kept, and refused where they cannot be."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from gymnasium.vector import AutoresetMode

import lerl
from lerl.agents.composite.agent import ROWS, opinion
from lerl.cli.main import main
from lerl.config.parse import load
from lerl.config.recipes import find_recipe
from lerl.envs.draws import seed_from
from lerl.envs.session import SessionVectorEnv
from lerl.experiment.spec import Experiment
from lerl.report.page.words import names_of
from lerl.run import fit_composite
from lerl.run.train import resume
from lerl.serve.recommender import SessionError

SMALL = [
    "--data.synthetic.users", "60", "--data.synthetic.items", "24", "--train.steps", "6000", "--env.max_steps", "10",
    "--evaluation.users", "15", "--train.validation", "15",
]  # fmt: skip


def train(out: Path, agents: str, *more: str) -> int:
    return main(["train", "composite", "--agents", agents, "--out", str(out), *SMALL, *more])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("composite") / "run"
    assert train(out, "[jima,additive,cpd,round_robin+jima,random,privileged]", "--planner.size", "1") == 0
    return out


def rewards(run: Path) -> dict[str, float]:
    agents = json.loads((run / "summary.json").read_text(encoding="utf-8"))["agents"]
    return {name: found["R_cum"]["mean"] for name, found in agents.items()}


def test_interactions_bring_more_than_parts_alone_and_less_than_the_truth(run: Path) -> None:
    found = rewards(run)
    assert found["random"] < found["additive"] < found["jima"] <= found["privileged"]
    assert found["random"] < found["cpd"] <= found["privileged"]
    assert found["jima"] > 0.85 * found["privileged"]


def test_what_was_learned_is_kept_and_is_the_same_again(run: Path, tmp_path: Path) -> None:
    assert {path.name for path in (run / "composite").iterdir()} == {
        "jima.npz", "jima.json", "additive.npz", "additive.json", "cpd.npz", "cpd.json",
    }  # fmt: skip
    curve = json.loads((run / "composite" / "jima.json").read_text(encoding="utf-8"))
    assert [point["steps"] for point in curve] == [0, 3000, 6000]
    assert train(tmp_path / "again", "[jima]") == 0
    assert not (tmp_path / "again" / "checkpoints").exists()
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


def test_what_was_interrupted_ends_as_if_it_had_not_been(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted: list[int] = []
    learned = fit_composite.learned

    def stopping(task, name, feedback):  # type: ignore[no-untyped-def]
        fitted.append(len(feedback))
        if len(fitted) == 2:
            raise KeyboardInterrupt
        return learned(task, name, feedback)

    monkeypatch.setattr(fit_composite, "learned", stopping)
    again = tmp_path / "again"
    assert train(again, "[jima]") != 0
    resume(again)
    assert fitted == [1, 2, 2]  # the first half was not played again
    with np.load(run / "composite" / "jima.npz") as one, np.load(again / "composite" / "jima.npz") as other:
        assert all(np.array_equal(one[name], other[name]) for name in one.files)
    assert (run / "composite" / "jima.json").read_bytes() == (again / "composite" / "jima.json").read_bytes()
    assert not (again / "checkpoints").exists()


def test_sessions_of_outfits_are_exported(run: Path, tmp_path: Path) -> None:
    lerl.Run(run).export(parquet=tmp_path / "out", agents=["jima"], sessions=2)
    played = pl.read_parquet(tmp_path / "out" / "steps" / "*.parquet").filter(pl.col("action").is_not_null())
    slates, catalog = np.array(played["action"].to_list()), lerl.Run(run).task.population.catalog
    assert slates.shape == (20, 2)
    roles = catalog.categories.membership[:, [catalog.categories.names.index(one) for one in ("top", "bottom")]]
    assert roles[slates[:, 0], 0].all()
    assert roles[slates[:, 1], 1].all()
    wholes = np.array(played["recent_whole"].to_list())
    assert wholes.shape == (20, 20)
    assert set(np.unique(wholes)) <= {-1, 0, 1}


def test_opinions_are_of_items_alone_where_nobody_spoke_of_the_whole() -> None:
    feedback = np.array([[1, 0], [1, 0], [1, 0]], np.float32)
    assert opinion(feedback, np.array([1, 0, -1], np.float32)) == pytest.approx([2 / 3, 1 / 3, 1 / 2])


@pytest.mark.parametrize("name", ["jima", "cpd", "round_robin+jima", "random"])
def test_people_are_shown_the_outfits_of_the_simulator(run: Path, name: str) -> None:
    own = lerl.Run(run)
    recommender, task = own.recommender(name), own.task
    user, ids = int(task.population.users("evaluation")[0]), task.population.catalog.item_ids
    env = SessionVectorEnv(
        task.population, 1, split="evaluation", config=task.config.env, axis=task.axis,
        autoreset_mode=AutoresetMode.DISABLED,
    )  # fmt: skip
    observation, _ = env.reset(seed=3, options={"users": np.array([user])})
    agent = own.recommender(name)._agent
    agent.begin(np.zeros(1, np.int64), observation, np.array([seed_from("session key", "k")], np.uint64))
    key, other = recommender.start(user=user, key="k"), recommender.start()
    for step in range(10):
        slate = agent.act(observation)
        shown = recommender.recommend(key)
        assert shown.ids == [ids[item] for item in slate[0]]
        recommender.recommend(other)
        observation, *_ = env.step(slate)
        clicks, whole = observation["recent_feedback"][0, -2:].tolist(), float(observation["recent_whole"][0, -1])
        turned = slice(None, None, -1 if step % 2 else 1)  # in any order
        recommender.observe(key, shown.ids[turned], clicks[turned], whole=whole)


def test_what_people_say_of_a_whole_changes_what_they_are_shown(run: Path) -> None:
    recommender = lerl.Run(run).recommender("jima")
    liked, disliked, silent = (recommender.start(key=name) for name in ("liked", "disliked", "silent"))
    for step in range(6):
        first = recommender.recommend(liked).ids
        for key, whole in ((liked, 1), (disliked, 0), (silent, None)):
            recommender.observe(key, first, [1, 0], step=step, whole=whole)
    assert recommender.recommend(liked).ids != recommender.recommend(disliked).ids
    assert recommender.observe(liked, first, [1, 0], step=5, whole=1).counted_before
    with pytest.raises(SessionError, match="step 5 came before with other ids or clicks"):
        recommender.observe(liked, first, [1, 0], step=5, whole=0)


def test_slates_of_people_are_whole(run: Path) -> None:
    recommender = lerl.Run(run).recommender("jima")
    key, roles = recommender.start(), recommender._roles
    assert roles is not None
    ids = recommender.task.population.catalog.item_ids
    tops = [ids[item] for item in np.flatnonzero(roles.slot_of == 0)]
    with pytest.raises(SessionError, match="an item of each role, top, bottom; leave k out, given 1"):
        recommender.recommend(key, k=1)
    with pytest.raises(SessionError, match="two of these have one"):
        recommender.observe(key, tops[:2], [1, 1])
    with pytest.raises(SessionError, match="whole must be from 0 to 1, given 2"):
        recommender.observe(key, tops[:1], [1], whole=2)
    with pytest.raises(SessionError, match="jima knows each item by itself"):
        recommender.add_items({"new": ["top"]})
    shown = recommender.recommend(key, exclude=tops).ids
    assert len(shown) == 1
    assert recommender.observe(key, shown, [1]).step == 1  # the other slot was empty
    assert len(recommender.recommend(key, exclude=shown).ids) == 2
