"""The planner that is a chat model, over real HTTP, with a scripted expert for a model."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lerl.envs.plugins import PluginError
from lerl.planners.base import PlanContexts, PlanError, Plans, Sessions, check_plans
from lerl.planners.config import PlannerConfig
from lerl.planners.llm.chat import ChatError
from lerl.planners.llm.distilled import DistilledError
from lerl.planners.llm.guard import Guard
from lerl.planners.llm.planner import LLMPlanner, check_model
from lerl.planners.llm.prompt import PromptError, Prompts
from lerl.planners.llm.reflection import Pool
from lerl.planners.llm.traffic import TrafficError
from lerl.planners.rules import BoredomAwarePlanner
from tests.planners.llm.chat_server import ChatServer, expert

MakeContexts = Callable[..., PlanContexts]
PREDICTED = [[0.9, 0.5, 0.1, 0.4], [0.2, 0.8, 0.3, 0.6], [0.2, 0.8, 0.3, 0.6], [0.1, 0.2, 0.3, 0.4]]


def settings(url: str = "http://127.0.0.1:1/v1", **changed: Any) -> PlannerConfig:
    given = {"model": "openai:m", "base_url": url, "size": 2, "timeout": 10.0, "reflections": 2}
    return PlannerConfig(**(given | changed))


@contextmanager
def planning(folder: Path, url: str, seed: int = 0, **changed: Any) -> Iterator[LLMPlanner]:
    config = settings(url, **changed)
    guard = Guard(config, Prompts(config.prompts).digest, folder / "traffic.sqlite")
    guard.phase = "train"
    try:
        yield LLMPlanner(config.size, seed, config, guard)
    finally:
        guard.close()


def answering(**parts: Any) -> Callable[[list[dict[str, str]]], str]:
    """The same plan for everybody, with the right code."""

    def answer(messages: list[dict[str, str]]) -> str:
        return json.dumps({"state": messages[1]["content"][6:12], "rationale": "", "avoid": []} | parts)

    return answer


def played(rewards: list[list[int]]) -> Sessions:
    """Sessions of single items: session n shows category n all the time."""
    longest = max(map(len, rewards))
    feedback = np.array([row + [-1] * (longest - len(row)) for row in rewards], np.float32)[:, :, None]
    items = np.where(feedback >= 0, np.arange(len(rewards))[:, None, None] % 4, -1).astype(np.int32)
    names = tuple(f"category {number}" for number in range(4))
    return Sessions(
        names,
        np.eye(4, dtype=bool),
        items,
        feedback,
        np.full(items.shape, 0.5, np.float32),
        np.arange(len(items), dtype=np.uint64),
    )


def test_plans_are_what_the_model_says(tmp_path: Path, contexts: MakeContexts):
    said = answering(allowed=[3, 1], avoid=[0, 3], rationale="why\nnot")
    with ChatServer(said) as server, planning(tmp_path, server.url) as planner:
        four = contexts(PREDICTED)
        plans = check_plans(planner.plan(four), four, planner)
        assert plans.allowed.tolist() == [[False, True, False, True]] * 4
        assert plans.avoid.tolist() == [[True, False, False, True]] * 4
        assert plans.rationale == ("why not",) * 4
        assert len(server.requests) == 3  # two sessions look alike


def test_the_question_is_the_static_text_and_the_state(tmp_path: Path, contexts: MakeContexts):
    with ChatServer() as server, planning(tmp_path, server.url) as planner:
        planner.plan(contexts([[0.9, 0.5, 0.1, 0.4]]))
        system, user = (message["content"] for message in server.requests[0]["messages"])
    assert '3: "category 3"' in system
    assert "at most 2 categories" in system
    lines = user.splitlines()
    assert lines[0][:6] == "State "
    assert lines[1] == "0: liking 90%, exposure 0.0"
    assert lines[-1] == "Allow at most 2 of these."


def test_the_static_text_is_the_same_for_everybody(tmp_path: Path, contexts: MakeContexts):
    with ChatServer() as server, planning(tmp_path, server.url) as planner:
        planner.plan(contexts(PREDICTED))
        planner.plan(contexts(PREDICTED, items=[[0], [1], [2], [3]], feedback=[[1], [0], [1], [0]], steps=1))
        texts = {request["messages"][0]["content"] for request in server.requests}
        assert len(texts) == 1
        assert len(server.requests) == 7


def test_the_expert_is_the_rule(tmp_path: Path, contexts: MakeContexts):
    shown = {"items": [[0, 0], [1, 3], [1, 3], [3, 3]], "feedback": [[1, 0], [1, 1], [1, 1], [0, 0]]}
    four = contexts(PREDICTED, steps=2, **shown)
    with ChatServer() as server, planning(tmp_path, server.url) as planner:
        plans = planner.plan(four)
    np.testing.assert_array_equal(plans.allowed, BoredomAwarePlanner(2, 0).plan(four).allowed)


@pytest.mark.filterwarnings("ignore:openai")
@pytest.mark.parametrize("fallback", ["random", "boredom", "round_robin"])
def test_where_the_model_fails_the_fallback_plans(tmp_path: Path, contexts: MakeContexts, fallback: str):
    def answer(messages: list[dict[str, str]]) -> str:
        return "no" if "0: liking 20%" in messages[1]["content"] else expert(messages)

    four = contexts(PREDICTED, keys=[5, 6, 7, 8], plans=[0, 1, 2, 3])
    with ChatServer(answer) as server, planning(tmp_path, server.url, seed=3, fallback=fallback) as planner:
        plans = check_plans(planner.plan(four), four, planner)
        alone = planner.fallback.plan(four)
        assert plans.rationale is not None
        assert plans.rationale == ("liked and rested", *["fallback: not JSON"] * 2, "liked and rested")
        np.testing.assert_array_equal(plans.allowed[1:3], alone.allowed[1:3])
        np.testing.assert_array_equal(plans.avoid[1:3], alone.avoid[1:3])
        assert plans.allowed[0].tolist() == [True, True, False, False]
        assert planner.guard.report()["fallbacks"] == {"not JSON": 2}


class Broken:
    """A fallback of a user's own that gives no plan."""

    def __init__(self, size: int, seed: int) -> None:
        pass

    def plan(self, contexts: PlanContexts) -> Plans:
        none = np.zeros((len(contexts), len(contexts.names)), bool)
        return Plans(none, none)


@pytest.mark.filterwarnings("ignore:openai")
def test_a_fallback_that_gives_no_plan_is_named(tmp_path: Path, contexts: MakeContexts):
    with planning(tmp_path, "http://127.0.0.1:1/v1", timeout=0.2) as planner:
        planner.fallback = Broken(2, 0)
        with pytest.raises(PlanError, match=r"Broken\.plan allowed no category for session 0"):
            planner.plan(contexts(PREDICTED))


@pytest.mark.filterwarnings("ignore:openai")
def test_another_users_answer_is_nobodys_plan(tmp_path: Path, contexts: MakeContexts):
    swapped = answering(state="abc", allowed=[0])
    with ChatServer(swapped) as server, planning(tmp_path, server.url) as planner:
        assert planner.plan(contexts(PREDICTED)).rationale == ("fallback: other state",) * 4


@pytest.mark.parametrize("detail", ["full", "coarse"])
def test_a_batch_is_planned_as_its_sessions_alone(tmp_path: Path, contexts: MakeContexts, detail: str):
    drawn = np.random.default_rng(0)
    count = 24
    many = contexts(
        drawn.uniform(0, 1, (count, 4)),
        slate_size=2,
        items=drawn.integers(-1, 4, (count, 8)),
        feedback=drawn.integers(0, 2, (count, 8)),
        estimates=drawn.uniform(0, 1, (count, 8)),
    )
    with ChatServer() as server:
        with planning(tmp_path / "batch", server.url, detail=detail) as planner:
            together = planner.plan(many)
        with planning(tmp_path / "single", server.url, detail=detail) as planner:
            alone = [planner.plan(many.take(np.array([row]))) for row in range(count)]
    np.testing.assert_array_equal(together.allowed, np.concatenate([plans.allowed for plans in alone]))
    np.testing.assert_array_equal(together.avoid, np.concatenate([plans.avoid for plans in alone]))


def test_keys_are_those_of_all_that_decides_a_question(tmp_path: Path, contexts: MakeContexts):
    one = contexts([[0.9, 0.5, 0.1, 0.4]])

    def key(pool: Pool | None = None, state: PlanContexts = one, **changed: Any) -> str:
        with planning(tmp_path, "http://127.0.0.1:1/v1", **changed) as planner:
            planner.pool = pool or planner.pool
            return planner.questions(state)[0].key

    own = tmp_path / "own"
    own.mkdir()
    (own / "plan.txt").write_text("$categories", encoding="utf-8")
    others = [
        key(model="openai:n"),
        key(temperature=0.5),
        key(prompts=str(own)),
        key(size=3),
        key(detail="coarse"),
        key(Pool(version=1)),
        key(Pool(("rest",), (1.0,))),
        key(state=contexts([[0.8, 0.5, 0.1, 0.4]])),
        key(state=contexts([[0.9, 0.5, 0.1, 0.4]], items=[[0]], feedback=[[1]])),
    ]
    assert len({key(), *others}) == 10
    same = [key(concurrency=1), key(timeout=1.0), key(fallback="random"), key(seed=5)]
    same.append(key(state=contexts([[0.9, 0.5, 0.1, 0.4]], keys=[99], steps=7)))  # neither who it is nor when
    assert {key(), *same} == {key()}


# Reflections


def test_each_reflection_is_kept_with_its_own_sessions_reward(tmp_path: Path):
    ended = played([[1, 1, 0], [1], [0, 1, 1, 1, 0, 0]])  # 2, 1 and 3 clicks; 3, 1 and 6 slates of one item
    with ChatServer() as server, planning(tmp_path, server.url, reflections=3) as planner:
        planner.session_ended(ended)
        given = dict(zip(planner.pool.texts, planner.pool.rewards, strict=True))
        assert given == {
            "Lasted 3 slates; rotate categories before they tire.": 2.0,
            "Lasted 1 slates; rotate categories before they tire.": 1.0,
            "Lasted 6 slates; rotate categories before they tire.": 3.0,
        }
        assert planner.pool.version == 1
        assert all("reflection" in r["response_format"]["json_schema"]["name"] for r in server.requests)


@pytest.mark.filterwarnings("ignore:openai")
def test_a_reflection_that_fails_is_none(tmp_path: Path):
    def answer(messages: list[dict[str, str]]) -> str:
        return "{}" if "lasted 1 slates" in messages[1]["content"] else expert(messages)

    with ChatServer(answer) as server, planning(tmp_path, server.url, reflections=3) as planner:
        planner.session_ended(played([[1, 1, 0], [1], [0, 1]]))
        assert planner.pool.rewards == (2.0, 1.0)  # of the first and the third
        planner.session_ended(played([[1], [1], [1], [1]]))
        assert planner.pool.version == 1


def test_later_lots_are_reflected_upon_once(tmp_path: Path):
    first = played([[1], [0, 1]])
    both = played([[1], [0, 1], [1, 1, 1], [0, 0, 0, 0]])
    with ChatServer() as server, planning(tmp_path, server.url, reflections=10) as planner:
        planner.session_ended(first)
        planner.session_ended(both)
        assert planner.pool.rewards == (1.0, 1.0, 3.0, 0.0)
        assert planner.pool.version == 2
        assert len(server.requests) == 4


def test_as_many_sessions_are_reflected_upon_as_are_asked_for(tmp_path: Path):
    many = played([[1] * (1 + number) for number in range(20)])
    with ChatServer() as server:
        with planning(tmp_path / "a", server.url, seed=1) as planner:
            planner.session_ended(many)
            assert len(server.requests) == 2
            drawn = planner.pool
        with planning(tmp_path / "b", server.url, seed=1) as planner:
            planner.session_ended(many)
            assert planner.pool == drawn
        with planning(tmp_path / "c", server.url, reflections=0) as planner:
            planner.session_ended(many)
            assert planner.pool == Pool()


def test_what_is_told_changes_with_the_pool_alone(tmp_path: Path, contexts: MakeContexts):
    one = contexts([[0.9, 0.5, 0.1, 0.4]])
    with ChatServer() as server, planning(tmp_path, server.url, reflections=5) as planner:
        planner.plan(one)
        planner.session_ended(played([[1], [1, 1], [1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1, 1]]))
        given = planner.system(one)
        for _ in range(3):
            planner.plan(one)
            assert planner.system(one) == given
        plans = [r for r in server.requests if r["response_format"]["json_schema"]["name"] == "plan"]
        assert [request["messages"][0]["content"] for request in plans] == [plans[0]["messages"][0]["content"], given]
        assert given.count("rotate categories before they tire.") == 3  # N_s of the five


def test_the_fallback_learns_from_the_sessions(tmp_path: Path):
    with ChatServer() as server, planning(tmp_path, server.url) as planner:
        planner.session_ended(played([[1, 1, 0, 0], [1, 0, 0]]))
        assert planner.fallback.satiation is not None


def test_a_leaked_key_is_no_part_of_a_reflection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted-0123456789")
    hidden = json.dumps({"reflection": "the key is sk-planted-0123456789"}).replace("sk-", "\\u0073k-")
    with ChatServer(lambda _: hidden) as server, planning(tmp_path, server.url) as planner:
        planner.session_ended(played([[1]]))
        assert planner.pool.texts == ("the key is [key]",)


def test_what_was_learned_is_kept_as_numbers_and_comes_back(tmp_path: Path):
    with ChatServer() as server, planning(tmp_path / "a", server.url) as planner:
        planner.session_ended(played([[1, 1, 0, 0], [1, 0, 0]]))
        kept = planner.state()
        assert all(value.dtype.kind in "fiu" for value in kept.values())
        with planning(tmp_path / "b", server.url) as other:
            other.restore(kept)
            assert other.pool == planner.pool
            np.testing.assert_array_equal(other.fallback.satiation.weights, planner.fallback.satiation.weights)
            assert other.fallback.satiation.keep == planner.fallback.satiation.keep


def test_nothing_learned_comes_back_as_nothing(tmp_path: Path):
    with planning(tmp_path, "http://127.0.0.1:1/v1") as planner:
        planner.restore(planner.state())
        assert planner.pool == Pool()
        assert planner.fallback.satiation is None


def test_planning_changes_nothing_that_was_learned(tmp_path: Path, contexts: MakeContexts):
    with ChatServer() as server, planning(tmp_path, server.url) as planner:
        planner.session_ended(played([[1, 1, 0, 0], [1, 0, 0]]))
        before = planner.state()
        for steps in range(3):
            planner.plan(contexts(PREDICTED, steps=steps))
        assert {name: value.tobytes() for name, value in planner.state().items()} == {
            name: value.tobytes() for name, value in before.items()
        }


@pytest.mark.parametrize("as_folder", [True, False])
def test_a_run_starts_with_the_reflections_of_an_earlier_one(tmp_path: Path, contexts: MakeContexts, as_folder: bool):
    file = tmp_path / "earlier" / "planners" / "pool.json"
    file.parent.mkdir(parents=True)
    file.write_text(Pool(("rest early",), (7.0,), 2).dump(), encoding="utf-8")
    pool = str(tmp_path / "earlier" if as_folder else file)
    with planning(tmp_path, "http://127.0.0.1:1/v1", pool=pool) as planner:
        assert planner.pool == Pool(("rest early",), (7.0,), 0)
        assert '- "rest early"' in planner.system(contexts(PREDICTED))


def test_a_pool_that_cannot_be_read_is_named(tmp_path: Path):
    with pytest.raises(ValueError, match=r"planner\.pool is .*, but there is no .*pool\.json; give the"):
        check_model("llm", settings(pool=str(tmp_path)), 4)
    (tmp_path / "mine.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ValueError, match=r"mine\.json cannot be read: no pool of reflections"):
        check_model("llm", settings(pool=str(tmp_path / "mine.json")), 4)


# Replay, and what is refused


@pytest.mark.filterwarnings("ignore:openai")
def test_a_replay_plans_the_same(tmp_path: Path, contexts: MakeContexts):
    def answer(messages: list[dict[str, str]]) -> str:
        return "no" if "0: liking 20%" in messages[1]["content"] else expert(messages)

    def live(planner: LLMPlanner) -> list[Plans]:
        planner.session_ended(played([[1, 1, 0], [1]]))
        return [planner.plan(contexts(PREDICTED)), planner.plan(contexts(PREDICTED[::-1], steps=2))]

    with ChatServer(answer) as server:
        url = server.url
        with planning(tmp_path / "run", url) as planner:
            recorded, pool = live(planner), planner.pool
    with planning(tmp_path / "again", url, replay=str(tmp_path / "run" / "traffic.sqlite")) as planner:
        for before, after in zip(recorded, live(planner), strict=True):
            np.testing.assert_array_equal(before.allowed, after.allowed)
            np.testing.assert_array_equal(before.avoid, after.avoid)
            assert before.rationale == after.rationale
        assert planner.pool == pool


def test_settings_that_fit_are_checked_without_asking(tmp_path: Path):
    with ChatServer() as server:
        check_model("llm", settings(server.url), 4)
        check_model("llm", settings(server.url), 4)
        assert server.requests == []


@pytest.mark.parametrize(
    ("name", "changed", "kind", "message"),
    [
        ("llm", {"model": None}, ChatError, r"planner\.model must be"),
        ("llm", {"model": "nobody:m"}, ChatError, r"'nobody:m' cannot be used"),
        ("llm", {"prompts": "nowhere"}, PromptError, r"planner\.prompts is nowhere"),
        ("llm", {"fallback": "boredm"}, PluginError, r"planner\.fallback is 'boredm'.*Did you mean 'boredom'"),
        ("distilled", {}, DistilledError, r"planner\.distilled is missing"),
        ("distilled", {"distilled": "nowhere.npz"}, DistilledError, r"^there is no nowhere\.npz; make it with lerl"),
        ("llm", {"replay": "nowhere.sqlite"}, TrafficError, r"there is no nowhere\.sqlite"),
        ("llm", {"cache": __file__}, TrafficError, r"test_planner\.py cannot be used: file is not a database"),
    ],
)
def test_settings_that_do_not_fit_are_refused(name: str, changed: Any, kind: type[ValueError], message: str):
    with pytest.raises(kind, match=message):
        check_model(name, settings(**changed), 4)


def test_a_cache_that_is_in_use_keeps_no_run_from_starting(tmp_path: Path):
    cache = tmp_path / "cache.sqlite"
    with closing(sqlite3.connect(cache, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        check_model("llm", settings(cache=str(cache)), 4)
