"""Recommenders of the next item in sessions: plans and what was shown are masks, strangers get what is popular."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lerl.agents.base import TaskSpec
from lerl.agents.hierarchical import Hierarchy
from lerl.agents.next_item import follower
from lerl.agents.next_item.agent import NextItemAgent
from lerl.agents.next_item.base import NextItem
from lerl.agents.next_item.registry import IN_SESSIONS, ROWS, session_row
from lerl.agents.sasrec import SASRec
from lerl.agents.transformer import deterministic
from lerl.envs.config import Leave
from lerl.envs.sequences import Lists
from lerl.envs.session import SessionVectorEnv
from lerl.envs.texts import catalog_texts
from lerl.planners.base import PlanContexts, Plans

ITEMS, B = 60, 4
KNOWN = [[0, 3, 6], [], [1, 4], [2, 5, 8, 11]]


def clicks() -> Lists:
    """Users who go through the items of one residue modulo 3 in order, from anywhere, 4 to 9 of them."""
    draw = np.random.default_rng(0)
    return Lists.of([
        3 * ((draw.integers(20) + np.arange(draw.integers(4, 10))) % 20) + draw.integers(3) for _ in range(60)
    ])  # fmt: skip


class Only:
    """Plans one category, whatever happens."""

    def __init__(self, category: int) -> None:
        self.category = category

    def plan(self, contexts: PlanContexts) -> Plans:
        allowed = np.zeros((len(contexts), len(contexts.names)), bool)
        allowed[:, self.category] = True
        return Plans(allowed, np.zeros_like(allowed))

    def state(self) -> dict[str, NDArray[Any]]:
        return {}


@pytest.fixture(scope="module")
def rows(task: TaskSpec) -> dict[str, NextItem]:
    """Every row that is an agent, learned from a few users for an epoch."""
    found = {}
    for name, kind in IN_SESSIONS.items():
        row = session_row(name, ITEMS, 8, 1e-2)
        more = {"epochs": 1, "size": 8, "teacher_epochs": 1}
        row.settings = replace(row.settings, **{k: v for k, v in more.items() if k in vars(row.settings)})
        row.know(catalog_texts(task.catalog).columns)
        row.learn(clicks(), seed=0)
        assert isinstance(row, kind)
        found[name] = row
    return found


@pytest.fixture
def meet(task: TaskSpec, make_env: Callable[..., SessionVectorEnv]) -> Callable[..., tuple[NextItemAgent, Any, Any]]:
    """An agent, and users whose sessions have begun."""

    def made(row: NextItem, planner: Any = None, diversity: float = 0.0) -> tuple[NextItemAgent, Any, Any]:
        env = make_env(B, leave=Leave("never"))
        agent = NextItemAgent(Hierarchy(task, B, planner, diversity=diversity), row)
        observation, _ = env.reset(seed=0)
        agent.recall(np.arange(B), [np.array([(item, 1) for item in one], np.int32).reshape(-1, 2) for one in KNOWN])
        agent.begin(np.arange(B), observation, np.arange(B).astype(np.uint64))
        return agent, env, observation

    return made


def test_every_row_that_learns_is_an_agent_and_keeps_its_name():
    assert (
        set(IN_SESSIONS)
        == {name for name, row in ROWS.items() if row.learns and row.plays}
        >= {"sasrec", "hstu", "tiger", "s2gr"}
    )
    assert session_row("tiger", 5, 36, 0.01).settings == ROWS["tiger"].Settings(width=36, rate=0.01, heads=4)
    assert session_row("tiger", 5, 7, 0.01).settings.heads == 1  # which divide the width


@pytest.mark.parametrize("name", IN_SESSIONS)
def test_what_was_kept_ranks_as_before(name: str, rows: dict[str, NextItem], task: TaskSpec, tmp_path: Path):
    rows[name].save(tmp_path / "row.pt")
    again = session_row(name, ITEMS, 8, 1e-2)
    again.settings = rows[name].settings
    again.know(catalog_texts(task.catalog).columns)
    again.load(tmp_path / "row.pt")
    asked, allowed = Lists.of([one for one in KNOWN if one]), np.arange(3 * ITEMS).reshape(3, ITEMS) % 4 > 0
    assert np.array_equal(again.within(asked, allowed, 3), rows[name].within(asked, allowed, 3))
    assert sorted(tmp_path.iterdir()) == sorted(IN_SESSIONS[name].files(tmp_path / "row.pt"))


@pytest.mark.parametrize("name", IN_SESSIONS)
@pytest.mark.parametrize("diversity", [0.0, 1.0])
def test_a_plan_and_what_was_shown_bar_items(
    name: str, diversity: float, rows: dict[str, NextItem], meet: Any, task: TaskSpec
):
    member = task.axis.membership[:, 1]
    agent, env, observation = meet(rows[name], Only(1), diversity)
    shown: list[list[int]] = [[] for _ in range(B)]
    for _ in range(2):
        slates = agent.act(observation)
        for row, slate in enumerate(slates.tolist()):
            assert len(set(slate)) == 3
            assert member[slate].all()
            assert not set(slate) & set(shown[row])
            shown[row] += slate
        observation, *_ = env.step(slates)
    assert agent.widened.tolist() == [0] * B
    agent.withhold(np.flatnonzero(member)[:-1].astype(np.int32))
    withheld = agent.act(observation)
    assert not np.isin(withheld, np.flatnonzero(member)[:-1]).any()
    assert agent.widened.tolist() == [1] * B  # one item is left of the plan, which a slate of three widens


@pytest.mark.parametrize("name", ["hstu", "tiger"])
def test_it_shows_the_best_of_what_its_row_finds_and_strangers_get_what_is_popular(
    name: str, rows: dict[str, NextItem], meet: Any, task: TaskSpec
):
    row = rows[name]
    agent, _, observation = meet(row)
    slates = agent.act(observation)
    for slot in (0, 2, 3):
        scores = row.scores(Lists.of([KNOWN[slot]]))[0]
        assert slates[slot].tolist() == np.argsort(-scores, kind="stable")[:3].tolist()
    assert slates[1].tolist() == np.argsort(-task.knowledge.popularity, kind="stable")[:3].tolist()
    assert set(agent.slots()) == {*agent.hierarchy.memory.slots(), "known"}


def test_a_weight_makes_slates_of_tiger_more_diverse(rows: dict[str, NextItem], meet: Any, task: TaskSpec):
    vectors = task.knowledge.item_vectors[:, :-1]
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    likeness = []
    for weight in (0.0, 10.0):
        agent, _, observation = meet(rows["tiger"], Only(0), weight)
        slates = agent.act(observation)
        assert task.axis.membership[slates, 0].all()
        likeness.append(np.mean([(units[slate] @ units[slate].T)[np.triu_indices(3, 1)].mean() for slate in slates]))
    assert likeness[1] < likeness[0]


def test_slots_that_hold_no_session_are_not_searched_for(rows: dict[str, NextItem], meet: Any):
    class Counting(NextItem):
        def __init__(self) -> None:
            super().__init__(ITEMS)
            self.asked: list[int] = []

        def fit(self, *given: Any, **more: Any) -> Any:
            raise NotImplementedError

        def scores(self, histories: Lists) -> NDArray[np.float32]:
            self.asked.append(len(histories))
            return np.zeros((len(histories), ITEMS), np.float32)

    row = Counting()
    agent, _, observation = meet(row)
    agent.act(observation)
    agent.attend(np.array([True, True, False, True]))
    agent.act(observation)
    assert row.asked == [3, 2]


@pytest.mark.parametrize("name", IN_SESSIONS)
def test_what_was_learned_is_kept_and_taken_back(name: str, rows: dict[str, NextItem], task: TaskSpec, tmp_path: Path):
    row, path = rows[name], tmp_path / f"{name}.pt"
    row.save(path)
    assert sorted(one.name for one in tmp_path.iterdir()) == sorted(one.name for one in row.files(path))
    again = type(row)(ITEMS, row.settings)
    again.know(row.texts)
    again.load(path)
    histories = Lists.of([[0, 3, 6], [7]])
    assert again.scores(histories).tobytes() == row.scores(histories).tobytes()


def test_codes_of_another_training_are_refused_by_their_digest(
    rows: dict[str, NextItem], task: TaskSpec, tmp_path: Path
):
    path, other = tmp_path / "tiger.pt", tmp_path / "other.pt"
    rows["tiger"].save(path)
    dealt = session_row("tiger", ITEMS, 8, 1e-2)
    dealt.settings = replace(rows["tiger"].settings, codes="random")
    dealt.know(catalog_texts(task.catalog).columns)
    dealt.learn(clicks(), seed=0)
    dealt.save(other)
    path.with_suffix(".codes.npz").write_bytes(other.with_suffix(".codes.npz").read_bytes())
    again = session_row("tiger", ITEMS, 8, 1e-2)
    again.settings = rows["tiger"].settings
    with pytest.raises(ValueError, match="it was trained with others than lie beside it"):
        again.load(path)
    again.items = ITEMS + 1
    with pytest.raises(ValueError, match="its codes are of 60 items, and there are 61"):
        again.load(other)


def test_a_row_that_cannot_be_kept_says_what_it_lacks(tmp_path: Path):
    with pytest.raises(NotImplementedError, match=r"Counts has no save\(path\) and load\(path\), which sessions need"):
        ROWS["counts"](3).save(tmp_path / "counts.pt")


FOLLOWED = [name for name in IN_SESSIONS if name != "hstu"]
"""Rows that read item by item in sessions."""


def step_by_step(agent: NextItemAgent, env: SessionVectorEnv, observation: Any, steps: int) -> list[NDArray[np.int32]]:
    slates = []
    for _ in range(steps):
        slates.append(agent.act(observation))
        observation, *_ = env.step(slates[-1])
    return slates


@pytest.mark.parametrize("name", FOLLOWED)
def test_reading_what_is_new_shows_what_reading_everything_again_shows(
    name: str, rows: dict[str, NextItem], task: TaskSpec, make_env: Callable[..., SessionVectorEnv]
):
    known = [[0, 3, 6], [], list(range(46)), list(range(59, 1, -1))]  # the third goes beyond 50, the last begins there
    shown = []
    for follows in (True, False):
        env = make_env(B, leave=Leave("never"))
        agent = NextItemAgent(Hierarchy(task, B), rows[name])
        assert agent.follower is not None
        if not follows:
            agent.follower = None
        for seed in (0, 1):  # the second session of each slot is somebody else's
            observation, _ = env.reset(seed=seed)
            order = known if seed == 0 else known[::-1]
            agent.recall(np.arange(B), [np.array([(i, 1) for i in one], np.int32).reshape(-1, 2) for one in order])
            agent.begin(np.arange(B), observation, np.arange(B).astype(np.uint64))
            shown += step_by_step(agent, env, observation, 6)
    half = len(shown) // 2
    np.testing.assert_array_equal(shown[:half], shown[half:])


def wide(name: str) -> Any:
    """A row as wide as in sessions, with first weights: in narrow networks few sums depend on how many there are."""
    row: Any = session_row(name, 60, 64, 1e-3)
    with deterministic(0):
        row.network = SASRec(60, 64).eval() if name == "sasrec" else row.encoder().eval()
    if name == "sasrec":
        row._keep_vectors()
    return row


@pytest.mark.parametrize("name", ["sasrec", "sasrec+items", "sasrec+collective"])
def test_a_user_has_the_same_scores_whoever_is_beside(name: str):
    row, draw, lists = wide(name), np.random.default_rng(0), [[one] for one in range(20)]
    beside, alone = row.follower(20), row.follower(20)
    for count in (20, 3, 17, 20, 1, 9, 20):
        slots = np.append(draw.permutation(19)[: count - 1], 19)
        scores = beside.scores(slots, Lists.of([lists[slot] for slot in slots]))
        own = alone.scores(np.array([4]), Lists.of([lists[19]]))
        assert np.array_equal(scores[-1], own[0])
        lists = [one + draw.integers(60, size=draw.integers(4)).tolist() for one in lists]
        lists[19].append(count)


def test_a_session_begins_with_nothing_of_the_one_before(rows: dict[str, NextItem], meet: Any):
    agent, _, observation = meet(rows["tiger"])
    first = agent.act(observation)
    assert agent.follower.counts.tolist() == [3, -1, 2, 4]  # the second has clicked nothing
    agent.recall(np.array([0, 2]), [np.array([[0, 1], [3, 1], [6, 1]], np.int32), np.zeros((0, 2), np.int32)])
    assert agent.follower.counts.tolist() == [-1, -1, -1, 4]
    again = agent.act(observation)
    assert again[[0, 3]].tolist() == first[[0, 3]].tolist()


def test_too_much_to_keep_is_read_again(rows: dict[str, NextItem], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(follower, "MOST", 2 * 50 * 3 * 2 * 8 * 4)  # two slots of 50 items, three layers of width 8
    assert rows["tiger"].follower(2) is not None
    assert rows["tiger"].follower(3) is None
    assert rows["sasrec"].follower(2) is not None  # two layers, and 51 tokens
    assert rows["sasrec"].follower(4) is None
