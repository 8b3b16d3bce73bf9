"""Why people leave: rules that were planted are found, none where there is none, and slates keep to them."""

from collections.abc import Callable

import numpy as np
import pytest

from lerl.agents.belief.filter import TrainingSessions
from lerl.agents.belief.hazard import fit_hazard, steps_lost
from lerl.agents.belief.leaving import choose_leaving, refit_leaving
from lerl.agents.belief.model import UserModel, prior_model
from lerl.agents.belief.repetition import Rule, repetitions
from lerl.agents.belief.slates import Standing, columns, count_repetitions, fill_slates
from lerl.envs.config import Leave, StepBudget
from lerl.envs.leave import BudgetRule, Situation, WindowRule
from lerl.envs.population import Population

GROUPS, LONGEST, SLOTS, SESSIONS = 5, 20, 4, 600
Rules = Callable[[Situation], np.ndarray]


def learned(model: UserModel, groups: list[np.ndarray], sessions: TrainingSessions) -> UserModel:
    return refit_leaving(choose_leaving(model, groups, sessions, 0), groups[-1], sessions, LONGEST, 0)


def sessions_under(rule: Rules | None, population: Population, seed: int = 0) -> TrainingSessions:
    """Sessions of random items, mostly of two groups for a while, that end as the rule says, or by chance."""
    rng = np.random.default_rng(seed)
    items, feedback, starts, left = [], [], [0], []
    topics = (np.arange(60) % GROUPS).astype(np.int32)[:, None]
    for _ in range(SESSIONS):
        shown, spent, gone = np.full((1, LONGEST * SLOTS), -1, np.int32), np.zeros(1, np.float32), False
        for step in range(1, LONGEST + 1):
            liked = rng.choice(GROUPS, 1 + int(rng.integers(4)), replace=False)
            slate = rng.integers(12, size=SLOTS) * GROUPS + rng.choice(liked, SLOTS)
            shown[0, (step - 1) * SLOTS : step * SLOTS] = slate
            items.append(slate)
            feedback.append(rng.random(SLOTS) < 0.4)
            one = np.ones(1, np.float32)
            where = Situation(one, one, np.array([step], np.int32), shown, SLOTS, topics, spent)
            gone = bool(rng.random() < (0.1 if rule is None else rule(where)[0]))
            if gone or step == LONGEST:
                break
        starts.append(len(items))
        left.append(gone and step < LONGEST)
    homes = np.zeros((SESSIONS, population.knowledge.tastes.shape[1]))
    return TrainingSessions(
        homes, np.array(starts), np.array(items, np.int32), np.array(feedback, np.float32), np.array(left)
    )


@pytest.fixture(scope="module")
def model(population: Population) -> UserModel:
    return prior_model(population.knowledge, *[np.ones((60, 1), np.float32)] * 2, population.users("train"))


@pytest.fixture(scope="module")
def groups() -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    wrong = np.eye(4, dtype=np.float32)[rng.integers(4, size=60)]
    return [wrong, np.eye(GROUPS, dtype=np.float32)[np.arange(60) % GROUPS]]


@pytest.mark.parametrize("kind", ["slot", "shared"])
def test_a_budget_of_steps_is_found(
    kind: str, model: UserModel, groups: list[np.ndarray], population: Population
) -> None:
    leave = Leave("budget", budget=StepBudget(budget=16.0, repetition=kind))  # type: ignore[arg-type]
    sessions = sessions_under(BudgetRule(leave.budget).probability, population)
    found = learned(model, groups, sessions)
    assert found.groups.shape[1] == GROUPS
    assert Rule(*found.rule.astype(int).tolist()) == Rule(SLOTS, kind == "slot", False, 1)
    in_steps = found.prices / (4 * SLOTS * sessions.feedback.mean())
    assert in_steps[2, 1] == pytest.approx(1.0, abs=0.15)  # a repetition costs a step
    assert in_steps[14, 3] < 0.1  # and nothing when the budget is about to end


def test_a_window_is_found(model: UserModel, groups: list[np.ndarray], population: Population) -> None:
    leave = Leave("window").window
    found = learned(model, groups, sessions_under(WindowRule(leave).probability, population))
    assert Rule(*found.rule.astype(int).tolist()) == Rule(leave.window, False, True, leave.most)
    assert found.groups.shape[1] == GROUPS
    assert found.prices[0, 0] > 10


def test_where_repetition_drives_nobody_away_it_costs_nothing(
    model: UserModel, groups: list[np.ndarray], population: Population
) -> None:
    found = learned(model, groups, sessions_under(None, population))
    assert not found.rule.any()
    assert not found.prices.any()


def test_a_hazard_is_found() -> None:
    rng = np.random.default_rng(0)
    x = np.column_stack([np.ones(20_000), rng.random((20_000, 4)) * 3])
    true = np.array([-2.0, 0.5, 0.0, 1.0, -1.0])
    leaves = (rng.random(20_000) < 1 / (1 + np.exp(-x @ true))).astype(float)
    assert fit_hazard(x, leaves).weights == pytest.approx(true, abs=0.12)


def test_steps_lost_are_those_of_a_simulation() -> None:
    x = np.column_stack([np.ones(4), np.zeros((4, 4))])
    hazard = fit_hazard(x, np.array([0.0, 1.0, 0.0, 1.0]))._replace(weights=np.array([-3.0, 0.1, 0.2, 0.5, 0.0]))
    rng, lengths = np.random.default_rng(0), []
    for repeats in (0, 1):  # the third slate repeats a group, or not, after one that did
        there, total = np.ones(200_000, bool), np.zeros(200_000)
        for step in range(3, 11):
            count = 1 + repeats
            z = -3 + 0.1 * step + 0.2 * count + 0.5 * (repeats if step == 3 else 0)
            there &= rng.random(200_000) > 1 / (1 + np.exp(-z))
            total += there if step < 10 else 0
        lengths.append(total.mean())
    assert steps_lost(hazard, 10, 200)[2, 1] == pytest.approx(lengths[0] - lengths[1], abs=0.03)
    few, all_of_them = steps_lost(hazard, 10, 5), steps_lost(hazard, 10, 10)
    assert few.shape == (5, 5)
    np.testing.assert_array_equal(few, all_of_them[:5, :5])


@pytest.mark.parametrize("rule", [Rule(4, True, False, 1), Rule(4, False, False, 1), Rule(8, False, True, 3)])
def test_slates_repeat_nothing_that_costs_much(rule: Rule, model: UserModel, groups: list[np.ndarray]) -> None:
    own = model._replace(groups=groups[1], rule=np.array(rule, float), prices=np.full((1, 1), 50.0))
    shown, steps, repeated = np.full((30, 10 * SLOTS), -1, np.int32), np.zeros(30, np.int64), np.zeros(30)
    rng, free = np.random.default_rng(0), 0.0
    for told in (own, own._replace(rule=np.zeros(4))):
        shown[:], steps[:], repeated[:] = -1, 0, 0.0
        for step in range(3):
            means = rng.normal(size=(30, model.vectors.shape[1] + 1))
            slates = np.full((30, SLOTS), -1, np.int32)
            where = Standing(means, np.zeros((30, 1)), shown, steps, repeated, np.zeros((30, 0), np.float32))
            fill_slates(columns(told), told, where, shown, np.ones(30, bool), 1.0, slates)
            shown[:, step * SLOTS : (step + 1) * SLOTS] = slates
            steps += 1
            count_repetitions(own, shown, steps, np.arange(30), SLOTS, repeated)
        if told is own:
            assert not repeated.any()
        else:
            free = repeated.sum()
    assert free > 10


def test_soft_groups_repeat_by_chance() -> None:
    shares = np.array([[0.5, 0.5], [1.0, 0.0]], np.float32)
    found = repetitions(shares, Rule(1, True, False, 1), np.array([0, 3]), np.array([[0], [1], [1]], np.int32))
    assert found == pytest.approx([0.0, 0.5, 1.0])


def test_items_that_are_alike_are_not_shown_together(model: UserModel) -> None:
    units = np.zeros_like(model.units)
    units[:30, 0], units[30:, 1] = 1.0, 1.0  # two kinds
    ranked = model._replace(offsets=np.where(np.arange(60) < 30, 0.1, 0.0).astype(np.float32), units=units)
    slates = np.full((1, 4), -1, np.int32)
    nobody, nothing = np.zeros((1, model.vectors.shape[1] + 1)), np.full((1, 8), -1, np.int32)
    where = Standing(
        nobody, np.zeros((1, 1)), nothing, np.zeros(1, np.int64), np.zeros(1), np.zeros((1, 0), np.float32)
    )
    for alike, of_the_second in ((0.0, 0), (1.0, 2)):
        told = ranked._replace(alike=alike)
        fill_slates(columns(told), told, where, nothing, np.ones(1, bool), 1.0, slates)
        assert (slates >= 30).sum() == of_the_second
