"""Planners that are rules: what each allows, and how one's own is found."""

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lerl.envs.plugins import PluginError
from lerl.planners.base import PlanContexts, Planner, Sessions, check_plans
from lerl.planners.rules import (
    RULES,
    BlindPlanner,
    BoredomAwarePlanner,
    GreedyPlanner,
    RandomPlanner,
    RotationPlanner,
    RoundRobinPlanner,
    build_planner,
)
from lerl.planners.satiation import Satiation

MakeContexts = Callable[..., PlanContexts]
PER_SESSION = ("items", "feedback", "estimates", "keys")


def chosen(planner: Any, contexts: PlanContexts) -> list[list[int]]:
    """The allowed categories of each session."""
    plans = check_plans(planner.plan(contexts), contexts, planner)
    return [np.flatnonzero(row).tolist() for row in plans.allowed]


@pytest.fixture(scope="module")
def busy(contexts: MakeContexts) -> PlanContexts:
    """50 sessions in the middle of whatever, 6 categories, 3 slots a slate."""
    draw = np.random.default_rng(0)
    return contexts(
        draw.uniform(0.05, 0.95, (50, 6)),
        steps=draw.integers(20, size=50),
        keys=draw.integers(2**63, size=50),
        slate_size=3,
        items=draw.integers(-1, 6, (50, 30)),
        feedback=draw.integers(0, 2, (50, 30)),
        estimates=draw.uniform(0.1, 0.9, (50, 30)),
    )


@pytest.mark.parametrize("name", list(RULES))
def test_a_batch_is_planned_as_each_session_alone(name: str, busy: PlanContexts):
    planner = build_planner(name, 2, 0)
    together = planner.plan(busy)
    for row in range(len(busy)):
        alone = planner.plan(busy.take(np.array([row])))
        np.testing.assert_array_equal(alone.allowed[0], together.allowed[row])
        np.testing.assert_array_equal(alone.avoid[0], together.avoid[row])


@pytest.mark.parametrize("name", list(RULES))
@pytest.mark.parametrize("size", [1, 4, 9])
def test_a_plan_has_the_size_asked_for_or_all_there_are(name: str, size: int, busy: PlanContexts):
    planner = build_planner(name, size, 0)
    assert {len(row) for row in chosen(planner, busy)} == {min(size, 6)}


def test_random_is_uniform_over_categories_and_pairs(contexts: MakeContexts):
    plans = RandomPlanner(2, 0).plan(contexts(np.full((6000, 4), 0.5)))
    together = plans.allowed.T.astype(int) @ plans.allowed
    assert not plans.avoid.any()
    # In 6000 plans each of 4 categories is expected 3000 times (sd 39), each of 6 pairs 1000 times (sd 29).
    np.testing.assert_allclose(np.diag(together), 3000, atol=5 * 39)
    np.testing.assert_allclose(together[np.triu_indices(4, 1)], 1000, atol=5 * 29)


def test_random_draws_anew_at_every_step_and_for_every_session(contexts: MakeContexts):
    several = contexts(np.full((400, 4), 0.5), steps=np.arange(400) % 20, keys=np.arange(400) // 20)
    picks = np.array(chosen(RandomPlanner(1, 0), several)).reshape(20, 20)  # session, step
    assert all(len(set(row)) > 1 for row in picks.tolist())
    assert len({tuple(row) for row in picks.tolist()}) == 20


def test_random_repeats_itself_when_asked_again(busy: PlanContexts):
    assert chosen(RandomPlanner(2, 0), busy) == chosen(RandomPlanner(2, 0), busy)


def test_round_robin_takes_every_category_in_turn(contexts: MakeContexts):
    turns = contexts(np.full((6, 5), 0.5), plans=np.arange(6))
    # 0 1 | 2 3 | 4 0 | 1 2 | 3 4 | 0 1, each plan in order of number
    assert chosen(RoundRobinPlanner(2, 0), turns) == [[0, 1], [2, 3], [0, 4], [1, 2], [3, 4], [0, 1]]


def test_greedy_takes_what_promises_most_and_the_lower_number_on_ties(contexts: MakeContexts):
    two = contexts([[0.1, 0.5, 0.3, 0.5], [0.9, 0.2, 0.2, 0.2]])
    assert chosen(GreedyPlanner(1, 0), two) == [[1], [0]]
    assert chosen(GreedyPlanner(3, 0), two) == [[1, 2, 3], [0, 1, 2]]


def test_boredom_aware_starts_with_what_is_liked(contexts: MakeContexts):
    assert chosen(BoredomAwarePlanner(2, 0), contexts([[0.2, 0.6, 0.4, 0.5]])) == [[1, 3]]


def test_boredom_aware_drops_what_was_shown_a_lot_and_avoids_it(contexts: MakeContexts):
    # After three slates of category 1, tiredness is 0.5 * (keep + keep^2 + keep^3) = 1.17 with keep = exp(-1/8); times
    # the price of 3 that is more than the log-odds between 0.6 and 0.4 (0.81); it exceeds the margin of 0.3 as well.
    after = contexts([[0.4, 0.6, 0.3]], steps=3, items=[[1, 1, 1]], feedback=[[0.6] * 3], estimates=[[0.6] * 3])
    plans = BoredomAwarePlanner(1, 0).plan(after)
    assert plans.allowed.tolist() == [[True, False, False]]
    assert plans.avoid.tolist() == [[False, True, False]]


@pytest.mark.parametrize("planner", [BoredomAwarePlanner, RotationPlanner])
def test_above_a_belief_boredom_is_what_is_believed(contexts: MakeContexts, planner: type[BoredomAwarePlanner]):
    # log-odds 0, 0.41 and -0.41; the price of tiredness is 3, the bonus 0.6 a standard deviation. The history is of no
    # account: by it, category 0 is the tired one.
    shown = {"items": [[0, 0, 0]], "feedback": [[0] * 3], "keys": [1]}
    rule = planner(1, 0)
    if isinstance(rule, RotationPlanner):
        rule.rests = np.array([0])
    for tiredness, uncertainty, allowed, avoid in (
        ([0, 0, 0], [0, 0, 0], 1, []),
        ([0, 0.2, 0], [0, 0, 0], 0, []),  # 0.41 - 0.6 < 0
        ([0, 0.4, 0], [0, 0, 0], 0, [1]),  # by more than the margin of 0.3
        ([0, 0, 0], [0, 0, 1.5], 2, []),  # -0.41 + 0.9 > 0.41
        ([0, 0, 0.29], [0, 0, 1.5], 1, []),  # -0.41 + 0.9 - 0.87 < 0.41
    ):
        plans = rule.plan(contexts([[0.5, 0.6, 0.4]], tiredness=[tiredness], uncertainty=[uncertainty], **shown))
        assert np.flatnonzero(plans.allowed[0]).tolist() == [allowed]
        assert np.flatnonzero(plans.avoid[0]).tolist() == avoid
    assert chosen(rule, contexts([[0.5, 0.45, 0.4]], **shown)) == [[1]]


def test_boredom_aware_comes_back_to_what_is_liked_once_rested(contexts: MakeContexts):
    planner, shown = BoredomAwarePlanner(1, 0), [-1] * 40
    promised = np.array([0.6, 0.45, 0.4])
    history = []
    for step in range(40):
        estimates = [promised[item] for item in shown]
        now = contexts([promised], steps=step, items=[shown], feedback=[estimates], estimates=[estimates])
        history.append(chosen(planner, now)[0][0])
        shown = [*shown[1:], history[-1]]
    times = [history.count(category) for category in range(3)]
    returns = [step for step in range(1, 40) if history[step] == 0 and history[step - 1] != 0]
    assert history[0] == 0
    assert len(returns) >= 3
    assert times[0] > times[1] >= times[2] > 0  # the liked more often, none forgotten


def test_boredom_aware_prefers_the_uncertain_of_equals(contexts: MakeContexts):
    planner = BoredomAwarePlanner(1, 0)
    planner.satiation = Satiation(0.0, 1.0, np.zeros((2, 2)), 0.5)  # nothing tires
    seen = contexts([[0.5, 0.5]], items=[[0, 0]], feedback=[[1, 0]])  # category 0 twice, just as promised
    assert chosen(planner, seen) == [[1]]
    planner.bonus = 0.0
    assert chosen(planner, seen) == [[0]]


def test_boredom_aware_trusts_less_what_stays_below_its_promise(contexts: MakeContexts):
    planner = BoredomAwarePlanner(1, 0)
    planner.satiation = Satiation(0.0, 1.0, np.zeros((2, 2)), 0.5)
    planner.bonus = 0.0
    # Two skips of a promised half: surplus (-0.5 - 0.5) / (1 / 0.25 + 2 * 0.25) = -0.222 in log-odds.
    for gap, expected in ((0.21, 1), (0.23, 0)):
        lower = 1 / (1 + np.exp(gap))
        disappointed = contexts([[0.5, lower]], items=[[0, 0]], feedback=[[0, 0]])
        assert chosen(planner, disappointed) == [[expected]]


def test_boredom_aware_leaves_out_categories_without_items_left(contexts: MakeContexts):
    tired_but_there = contexts([[0.0, 0.05]], items=[[1] * 10], feedback=[[0] * 10])
    assert chosen(BoredomAwarePlanner(1, 0), tired_but_there) == [[1]]


@pytest.mark.parametrize("kind", [BoredomAwarePlanner, RotationPlanner])
def test_what_was_learned_survives_the_file(kind: Any, tmp_path: Path, busy: PlanContexts):
    draw = np.random.default_rng(1)
    shape = (60, 10, 3)
    items = draw.integers(6, size=shape).astype(np.int32)
    feedback = (draw.random(shape) < 0.3 + 0.1 * items / 6).astype(np.float32)
    sessions = Sessions(
        busy.names,
        busy.membership,
        items,
        feedback,
        np.full(shape, 0.5, np.float32),
        np.arange(shape[0], dtype=np.uint64),
    )
    learned, again, fresh = (kind(2, 0) for _ in range(3))
    learned.session_ended(dataclasses.replace(sessions, **{name: getattr(sessions, name)[:30] for name in PER_SESSION}))
    learned.session_ended(sessions)
    np.savez(tmp_path / "planner.npz", **learned.state())
    with np.load(tmp_path / "planner.npz", allow_pickle=False) as kept:
        again.restore({key: kept[key] for key in kept.files})
    for part in ("allowed", "avoid"):
        np.testing.assert_array_equal(getattr(again.plan(busy), part), getattr(learned.plan(busy), part))
    assert not np.array_equal(learned.plan(busy).allowed, fresh.plan(busy).allowed)


@pytest.mark.parametrize("kind", [BoredomAwarePlanner, RotationPlanner])
def test_a_planner_that_has_learned_nothing_restores_to_the_same(kind: Any, busy: PlanContexts):
    fresh = kind(2, 0)
    fresh.restore(kind(2, 0).state())
    assert chosen(fresh, busy) == chosen(kind(2, 0), busy)


@pytest.mark.parametrize("rest", [0, 1, 2])
def test_rotation_shows_nothing_of_the_last_slates(rest: int, contexts: MakeContexts):
    # Slates of two, the newest at the end; category 4 is liked least.
    there = contexts([[0.9, 0.8, 0.7, 0.6, 0.1]], slate_size=2, items=[[0, 1, 1, 2, 3, -1]], feedback=[[1] * 5 + [-1]])
    planner = RotationPlanner(1, 0)
    planner.rests = np.array([rest])
    plans = planner.plan(there)
    excluded = ([], [3], [1, 2, 3])[rest]
    assert set(excluded) <= set(np.flatnonzero(plans.avoid[0]).tolist())
    assert not plans.allowed[0, excluded].any()


def played(planner: RotationPlanner, first: int, count: int, lengths: Callable[[Any], Any]) -> Sessions:
    """Sessions that a planner draws its rests in: all slates are clicked, lengths (count,) follow from the rests."""
    keys = np.arange(first, first + count, dtype=np.uint64)
    shown = np.arange(10) < lengths(planner._drawn(keys))[:, None]
    items = np.where(shown, keys[:, None] % 3, -1)[..., None].astype(np.int32)
    clicks = np.where(shown, 1, -1)[..., None].astype(np.float32)
    return Sessions(("a", "b", "c"), np.eye(3, dtype=bool), items, clicks, np.full(items.shape, 0.5, np.float32), keys)


def test_rotation_learns_from_later_lots_what_makes_sessions_long():
    planner = RotationPlanner(4, 0)
    together = played(planner, 0, 400, lambda drawn: 9 - drawn)  # the first lot says otherwise
    planner.session_ended(together)
    assert planner.rests.tolist() == [0, 1, 2, 3]
    for left in (2, 1):
        lot = played(planner, len(together.keys), 400, lambda drawn: np.where(drawn == 2, 9, 1 + drawn))
        parts = {name: np.concatenate([getattr(one, name) for one in (together, lot)]) for name in PER_SESSION}
        together = dataclasses.replace(together, **parts)
        planner.session_ended(together)
        assert len(planner.rests) == left
        assert 2 in planner.rests
    again = RotationPlanner(4, 0)
    again.restore(planner.state())
    assert again.rests.tolist() == [2]


MODULE = """
import numpy as np

from lerl.planners.base import Plans


class MyPlanner:
    def __init__(self, size, seed):
        self.size, self.seed = size, seed

    def plan(self, contexts):
        allowed = np.zeros((len(contexts), len(contexts.names)), bool)
        allowed[:, self.seed] = True
        return Plans(allowed, np.zeros_like(allowed))


class NoPlan:
    def __init__(self, size, seed):
        pass


class NoRounds(MyPlanner):
    rounds = 0


class OldName(MyPlanner):
    lots = 5


class NoSeed:
    def __init__(self, size):
        pass

    def plan(self, contexts):
        pass


planner = MyPlanner(1, 2)
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory with a module of one's own, gone after the test."""
    (tmp_path / "my_planners.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.delitem(sys.modules, "my_planners", raising=False)


@pytest.mark.usefixtures("here")
def test_a_planner_of_ones_own_is_made_with_size_and_seed(contexts: MakeContexts):
    planner = build_planner("my_planners:MyPlanner", 1, 2)
    assert chosen(planner, contexts([[0.9, 0.1, 0.1]])) == [[2]]


@pytest.mark.usefixtures("here")
def test_a_class_that_only_plans_has_the_defaults_of_a_planner():
    planner = build_planner("my_planners:MyPlanner", 1, 2)
    assert isinstance(planner, Planner)
    assert type(planner).__name__ == "MyPlanner"
    assert (planner.rounds, planner.learns, planner.keeps, planner.state()) == (2, False, False, {})


@pytest.mark.usefixtures("here")
def test_the_old_name_of_rounds_is_read_with_a_note():
    with pytest.warns(UserWarning, match=r"my_planners:OldName': its attribute lots is now called rounds; rename it"):
        assert build_planner("my_planners:OldName", 1, 2).rounds == 5


@pytest.mark.parametrize(
    ("name", "learns"),
    [("random", False), ("greedy", False), ("boredom", True), ("rotation", True), ("blind", True)],
)
def test_rules_say_whether_they_learn(name: str, learns: bool):
    planner = build_planner(name, 2, 0)
    assert (planner.learns, planner.keeps) == (learns, learns)
    assert planner.rounds == (3 if name == "rotation" else 2)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("boredm", r"planner\.name is 'boredm', which is not one of random, .*blind\. Did you mean 'boredom'\?"),
        (
            "no_such_module:MyPlanner",
            "module 'no_such_module' cannot be imported .*; run from the folder that holds it",
        ),
        ("my_planners:Missing", "module 'my_planners' has no class 'Missing'"),
        ("my_planners:planner", "module 'my_planners' has no class 'planner'"),
        ("my_planners:NoRounds", "whose rounds must be a whole number from 1 to 10,000"),
        ("my_planners:NoPlan", "lacks the method 'plan'"),
        ("my_planners:NoSeed", r"NoSeed\(size=\.\.\., seed=\.\.\.\) fails: .*unexpected keyword argument 'seed'"),
    ],
)
def test_a_planner_that_cannot_be_used_is_refused(name: str, message: str):
    with pytest.raises(PluginError, match=message):
        build_planner(name, 2, 0)


def test_the_blind_planner_plans_alike_for_everybody_by_what_the_average_user_likes(contexts: MakeContexts):
    """Log-odds of the average liking are ln 9 = 2.2, 0 and 0; a slate's worth of a category, fading by exp(-1/8) = 0.88
    a step, costs 3 * 0.5 of them. Category 0 is worth 2.2, 0.87 and -0.29 at its first three steps, so 1 and 2 have
    their turns, at 0, before it is worth 0.26 again."""
    planner = BlindPlanner(1, 0)
    items = np.arange(3)[None, :, None]
    feedback, estimates = np.ones((1, 3, 1), np.float32), np.array([0.9, 0.5, 0.5], np.float32)[None, :, None]
    planner.session_ended(
        Sessions(
            ("a", "b", "c"), np.eye(3, dtype=bool), items, feedback, estimates, np.arange(len(items), dtype=np.uint64)
        )
    )
    users = contexts([[0.1, 0.9, 0.5]] * 5, plans=np.arange(5))
    assert planner.plan(users).allowed.argmax(axis=1).tolist() == [0, 0, 1, 2, 0]
    again = BlindPlanner(1, 0)
    again.restore(planner.state())
    np.testing.assert_array_equal(again.plan(users).allowed, planner.plan(users).allowed)
    assert BlindPlanner(1, 0).plan(users).allowed.argmax(axis=1).tolist() == [0, 1, 2, 0, 1]
