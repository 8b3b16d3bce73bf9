"""A recommender shows people what the agent would show them in the simulator, and keeps their sessions."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

import lerl
from lerl.envs.draws import seed_from
from lerl.envs.session import SessionVectorEnv
from lerl.serve.new_items import NewItemError
from lerl.serve.recommender import SessionError, UnknownSessionError

AGENTS = [
    *("auto", "belief+greedy", "boredom+belief", "flat+greedy", "flat+mmr", "boredom+ppo", "random", "popularity"),
    "privileged",
]
SERVED = AGENTS[:-1]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> lerl.Run:
    small: dict[str, Any] = {
        "data": {"synthetic": {"users": 80, "items": 60, "categories": 5, "dim": 4}},
        "env": {"max_steps": 12, "slate_size": 3},
        "evaluation": {"users": 10, "bootstrap": 200, "replicates": 1},
        "train": {"steps": 600, "users": 8, "rollout": 16, "evaluations": 1, "validation": 5},
        "planner": {"clusters": 5, "size": 2, "sessions": 8},
    }
    return lerl.train("quickstart", tmp_path_factory.mktemp("serve") / "run", agents=AGENTS, **small)


@pytest.mark.parametrize("name", SERVED)
def test_slates_are_those_of_the_simulator(run: lerl.Run, name: str) -> None:
    recommender, task = run.recommender(name), run.task
    user = int(task.population.users("evaluation")[0])
    env = SessionVectorEnv(
        task.population, 1, split="evaluation", config=task.config.env, axis=task.axis, leave="never",
        autoreset_mode=AutoresetMode.DISABLED,
    )  # fmt: skip
    observation, _ = env.reset(seed=3, options={"users": np.array([user])})
    agent = run.recommender(name)._agent
    if agent.recalls:
        agent.recall(np.zeros(1, np.int64), task.population.known(np.array([user])))
    agent.begin(np.zeros(1, np.int64), observation, np.array([seed_from("session key", "k")], np.uint64))
    key = recommender.start(user=user, key="k")
    other = recommender.start(history={"3": True, "5": False})  # a session in between changes nothing
    ids = task.population.catalog.item_ids
    for _ in range(12):
        slate = agent.act(observation)
        shown = recommender.recommend(key)
        assert shown.ids == [ids[item] for item in slate[0]]
        recommender.recommend(other)
        observation, *_ = env.step(slate)
        recommender.observe(key, shown.ids, observation["recent_feedback"][0, -3:].tolist())


@pytest.mark.parametrize("name", ["belief+greedy", "boredom+ppo"])
def test_sessions_outlive_the_recommender(run: lerl.Run, name: str, tmp_path: Path) -> None:
    whole, first = run.recommender(name), run.recommender(name, store=tmp_path / "sessions.db")
    for one in (whole, first):
        one.start(history=[("1", True)], key="a")
        one.observe("a", one.recommend("a").ids, [1, 0, 0])
    assert whole.recommend("a") == first.recommend("a")
    first.close()
    second = run.recommender(name, store=tmp_path / "sessions.db")
    for _ in range(3):
        shown = whole.recommend("a")
        assert second.recommend("a") == shown
        for one in (whole, second):
            one.observe("a", shown.ids, [0, 1, 0])


@pytest.mark.parametrize("name", SERVED)
def test_what_is_excluded_or_was_shown_does_not_come(run: lerl.Run, name: str) -> None:
    recommender = run.recommender(name)
    key, seen = recommender.start(), set()
    for _ in range(12):
        gone = recommender.recommend(key).ids[:2]
        shown = recommender.recommend(key, exclude=[*gone, "not in the catalog"]).ids
        assert len(shown) == 3
        assert not set(shown) & (seen | set(gone))
        seen |= set(shown)
        recommender.observe(key, shown, [True, False, True])


def test_asking_again_gives_the_same_slate(run: lerl.Run) -> None:
    recommender = run.recommender("boredom+ppo")
    key = recommender.start()
    found = recommender.recommend(key)
    assert recommender.recommend(key) == found
    assert found.plan
    assert len(found.plan) <= 2
    assert all(0 < score < 1 for score in found.scores)
    assert recommender.recommend(key, k=1).ids == found.ids[:1]


def test_what_others_showed_counts_as_well(run: lerl.Run) -> None:
    """Slates that the shop chose itself, several of them between two questions."""
    one, other = run.recommender("belief+greedy"), run.recommender("belief+greedy")
    for recommender in (one, other):
        recommender.start(key="a")
        recommender.observe("a", ["7", "8"], [1, 1])
        if recommender is one:
            recommender.recommend("a")
        recommender.observe("a", ["9"], [0])
    found = one.recommend("a")
    assert found == other.recommend("a")
    assert not {"7", "8", "9"} & set(found.ids)


def test_people_come_by_their_history(run: lerl.Run) -> None:
    recommender = run.recommender("flat+greedy")
    user = int(run.task.population.users("evaluation")[1])
    ids = run.task.population.catalog.item_ids
    history = [(ids[item], bool(click)) for item, click in run.task.population.known(np.array([user]))[0].tolist()]
    by_log, by_history, unknown = (
        recommender.recommend(recommender.start(**who)).scores for who in ({"user": user}, {"history": history}, {})
    )
    assert len(by_log) == len(by_history) == len(unknown) == 3
    assert np.abs(np.subtract(by_log, by_history)).max() < 0.25


def test_wrong_requests_say_what_to_do(run: lerl.Run) -> None:
    recommender = run.recommender("flat+greedy")
    key = recommender.start(key="mine")
    with pytest.raises(SessionError, match="there is a session 'mine' already"):
        recommender.start(key="mine")
    with pytest.raises(UnknownSessionError, match="there is no session 'other'"):
        recommender.recommend("other")
    with pytest.raises(SessionError, match="k must be from 1 to 3"):
        recommender.recommend(key, k=4)
    with pytest.raises(SessionError, match="the catalog has no item 'x'"):
        recommender.observe(key, ["x"], [1])
    with pytest.raises(SessionError, match="as many clicks"):
        recommender.observe(key, ["1", "2"], [1])
    with pytest.raises(SessionError, match="clicks must be from 0 to 1"):
        recommender.observe(key, ["1"], [float("nan")])
    with pytest.raises(SessionError, match="the log has no user 'x'"):
        recommender.start(user="x")
    for _ in range(12):
        recommender.observe(key, ["1"], [1])
    with pytest.raises(SessionError, match="12 slates, as many as the agent was trained for"):
        recommender.recommend(key)
    recommender.end(key)
    assert len(recommender.store) == 0


def test_who_is_told_hidden_things_does_not_serve(run: lerl.Run) -> None:
    with pytest.raises(SessionError, match="privileged cannot serve people"):
        run.recommender("privileged")


GROWING = [name for name in SERVED if name not in ("random", "popularity")]


@pytest.mark.parametrize("name", GROWING)
def test_a_catalog_grows(run: lerl.Run, name: str, tmp_path: Path) -> None:
    """Items with a vector like a favourite's are shown; with categories alone they are expected to be like others."""
    known, catalog = run.task.population.knowledge, run.task.population.catalog
    recommender = run.recommender(name, store=tmp_path / "sessions.db")
    other = run.recommender(name, store=tmp_path / "sessions.db")  # as another process has it
    key = recommender.start(key="before")
    first = recommender.recommend(key).ids
    best = known.item_vectors[catalog.item_ids.index(first[0])].copy()
    best[-1] += 3.0
    category = catalog.categories.names[0]
    recommender.add_items({"new": best.tolist(), "plain": [category]})
    assert first[0] not in recommender.recommend(key, exclude=first).ids
    for one in (recommender, other):
        assert "new" in one.recommend(one.start()).ids
    assert "new" in recommender.recommend(key).ids
    recommender.observe(key, ["new", "plain"], [1, 0])
    assert not {"new", "plain"} & set(other.recommend(key).ids)
    again = run.recommender(name, store=tmp_path / "sessions.db")
    assert again.recommend(key) == other.recommend(key)


def test_what_was_added_is_not_ended_like_a_session(run: lerl.Run) -> None:
    recommender = run.recommender("flat+greedy")
    recommender.add_items({"new": ["category 1"]})
    recommender.end("lerl.items")
    assert recommender.store.get("lerl.items") is not None


def test_who_was_there_before_changes_no_slate(run: lerl.Run) -> None:
    """What one person may not be shown is nothing to the next, whose slates were shown without being asked for."""
    found = []
    for before in (False, True):
        recommender = run.recommender("boredom+ppo")
        key = recommender.start(key="a")
        recommender.observe(key, ["1", "2"], [1, 0])
        recommender.observe(key, ["3"], [1])
        if before:
            other = recommender.start(key="b")
            recommender.recommend(other, exclude=[str(item) for item in range(40)])
        found.append((recommender.recommend(key), recommender.start(key="c"), recommender.recommend("c")))
    assert found[0] == found[1]


def test_another_agents_session_is_refused(run: lerl.Run, tmp_path: Path) -> None:
    first = run.recommender("flat+greedy", store=tmp_path / "sessions.db")
    first.start(key="a")
    with pytest.raises(SessionError, match="session 'a' was begun by another agent"):
        run.recommender("belief+greedy", store=tmp_path / "sessions.db").recommend("a")


def test_feedback_that_comes_twice_counts_once(run: lerl.Run) -> None:
    recommender = run.recommender("flat+greedy")
    key = recommender.start()
    slate = recommender.recommend(key)
    assert recommender.observe(key, slate.ids[:2], [1, 0], slate.step) == (1, False)
    before = recommender.recommend(key)
    assert recommender.observe(key, slate.ids[:2], [1, 0], slate.step) == (1, True)
    assert recommender.recommend(key) == before
    for ids, clicks in ((slate.ids[:2], [0, 0]), (slate.ids, [1, 0, 0]), (slate.ids[1::-1], [1, 0])):
        with pytest.raises(SessionError, match="feedback on step 0 came before with other ids or clicks"):
            recommender.observe(key, ids, clicks, slate.step)
    with pytest.raises(SessionError, match="at step 1, and this is feedback on step 2, which is still to come"):
        recommender.observe(key, slate.ids, [1, 0, 0], 2)
    with pytest.raises(SessionError, match="an item stands in a slate once"):
        recommender.observe(key, ["4", "4"], [1, 0])


@pytest.mark.parametrize("name", SERVED)
def test_few_items_are_left(run: lerl.Run, name: str) -> None:
    recommender = run.recommender(name)
    ids = run.task.population.catalog.item_ids
    for left in (["0", "7"], ["7", "9"], []):
        slate = recommender.recommend(recommender.start(), exclude=[one for one in ids if one not in left]).ids
        assert sorted(slate) == left


def test_feedback_on_the_last_slate_may_come_twice(run: lerl.Run) -> None:
    recommender = run.recommender("flat+greedy")
    key = recommender.start()
    for step in range(12):
        recommender.observe(key, ["1"], [1], step)
    assert recommender.observe(key, ["1"], [1], 11) == (12, True)


def test_ids_that_the_catalog_lacks_are_named(run: lerl.Run) -> None:
    recommender = run.recommender("flat+greedy")
    found = recommender.recommend(recommender.start(), exclude=(one for one in ("x", "1", "y")))
    assert found.unknown == ["x", "y"]
    assert recommender.unknown(["3", "z"]) == ["z"]
    recommender.add_items({"z": ["category 1"]})
    assert recommender.unknown(["3", "z"]) == []


def test_items_may_be_sent_again(run: lerl.Run) -> None:
    """Whoever sends the whole catalog every night changes nothing with what is there as it was."""
    recommender, population = run.recommender("flat+greedy"), run.task.population
    names, vectors = population.catalog.categories.names, population.knowledge.item_vectors
    new = {"new": [names[1], names[0]], "other": vectors[3].tolist()}
    recommender.add_items(new)
    kept = recommender.store.get("lerl.items")
    mine = [names[c] for c in np.flatnonzero(population.catalog.categories.membership[2])]
    recommender.add_items({**new, "new": new["new"][::-1], "2": mine, "3": vectors[3].tolist(), "4": vectors[4, :-1]})
    assert recommender.store.get("lerl.items") == kept
    for wrong in ({"new": names[:1]}, {"other": vectors[4].tolist()}, {"3": vectors[4].tolist()}, {"2": names}):
        with pytest.raises(NewItemError, match="with other categories or another vector"):
            recommender.add_items(wrong)
    recommender.add_items({**new, "newest": [names[0]]})
    assert "newest" in recommender._items


def test_without_a_name_the_best_that_can_serve_serves(run: lerl.Run) -> None:
    best = next(name for name in run.table()["agent"] if name != "privileged" and "@" not in name)
    assert run.table()["agent"][0] == "privileged"
    assert run.recommender().spec.label == best == run.best_agent()


def test_a_run_of_which_nobody_can_serve_says_so(tmp_path: Path) -> None:
    small: dict[str, Any] = {"data": {"synthetic": {"users": 40, "items": 30}}, "env": {"max_steps": 4}}
    told = lerl.train("quickstart", tmp_path / "told", agents=["privileged"], planner={"clusters": 4}, **small)
    with pytest.raises(SessionError, match="has no agent that could serve people; train one such as"):
        told.recommender()


def test_items_that_cannot_be_added_are_refused(run: lerl.Run) -> None:
    recommender = run.recommender("flat+greedy")
    for items, said in (
        ({"1": []}, "item '1' needs categories or a vector"),
        ({"1": [1.0, 2.0]}, "item '1' is in the catalog already, with other categories or another vector"),
        ({"a": ["category 9"]}, "item 'a' has category 'category 9', the catalog's are category 1, category 2"),
        ({"a": [1.0, 2.0]}, "item 'a' needs a vector of 4 finite numbers, or 5 with an offset, given 2"),
        ({"a": [1.0, 2.0, 3.0, float("inf")]}, "item 'a' needs a vector of 4 finite numbers"),
        ({"a": []}, "item 'a' needs categories or a vector"),
    ):
        with pytest.raises(NewItemError, match=said):
            recommender.add_items(items)
    assert len(recommender.store) == 0
    with pytest.raises(SessionError, match="is no key for a session"):
        recommender.start(key="lerl.items")
