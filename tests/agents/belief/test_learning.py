"""People and items made up from a known model: what the fit finds of it, part by part."""

from typing import Any

import numpy as np
import pytest

from lerl.agents.belief.filter import TrainingSessions, believed, cosines, join, learn, likelihood, new_belief
from lerl.agents.belief.fit import fit_user_model
from lerl.agents.belief.items import refit_items
from lerl.agents.belief.likeness import refit_likeness
from lerl.agents.belief.model import UserModel, check_model, prior_model
from lerl.agents.belief.people import refit_people
from lerl.agents.belief.strengths import losses, refit_strengths, tastes
from lerl.agents.belief.topics import climb, refit_topics
from lerl.envs.population import Population

ITEMS, TOPICS, DIM, SLOTS, STEPS = 60, 3, 4, 3, 12


def true_model(**changes: Any) -> UserModel:
    rng = np.random.default_rng(0)
    topics = np.eye(TOPICS, dtype=np.float32)[np.arange(ITEMS) % TOPICS]
    model = UserModel(
        rng.normal(0, 1.0, (ITEMS, DIM)).astype(np.float32),
        rng.normal(0, 0.5, ITEMS).astype(np.float32),
        topics,
        topics,
        0.3 * np.eye(DIM + 1),
        0.01 * np.eye(DIM + 1),
        weight=2.0,
        keep=float(np.exp(-1 / 6)),
        tire=0.5,
        rise=float(1 - np.exp(-1 / 30)),
        revert=0.05,
    )
    return model._replace(**changes)


def made_up(model: UserModel, count: int, seed: int, steps: int = STEPS) -> TrainingSessions:
    """Sessions of people who follow a model, under random slates that stay in a topic for a while."""
    rng, rows = np.random.default_rng(seed), np.arange(count)
    home = rng.normal(0, 0.7, (count, DIM + 1))
    person = home + rng.multivariate_normal(np.zeros(DIM + 1), model.spread, count)
    exposure, fatigue = np.zeros((count, TOPICS)), 0.0
    items, feedback = np.zeros((count, steps, SLOTS), np.int32), np.zeros((count, steps, SLOTS), np.float32)
    for step in range(steps):
        liked = rng.integers(TOPICS, size=count)
        for s in range(SLOTS):
            strays = rng.random(count) < 0.4
            items[:, step, s] = rng.integers(ITEMS // TOPICS, size=count) * TOPICS
            items[:, step, s] += np.where(strays, rng.integers(TOPICS, size=count), liked)
            item = items[:, step, s]
            z = (person[:, :DIM] * model.vectors[item]).sum(axis=1) + person[:, DIM] + model.offsets[item]
            z -= model.weight * (model.suffers[item] * exposure).sum(axis=1) + model.tire * fatigue
            feedback[:, step, s] = rng.random(count) < 1 / (1 + np.exp(-z))
            exposure[rows] = (exposure + model.fills[item] / SLOTS) * model.keep ** (1 / SLOTS)
        stay = np.append(np.full(DIM, 1 - model.revert), 1.0)
        moved = rng.multivariate_normal(np.zeros(DIM + 1), model.noise, count)
        person = person * stay + home * (1 - stay) + moved
        fatigue += (1 - fatigue) * model.rise
    starts = np.arange(count + 1) * steps
    return TrainingSessions(home, starts, items.reshape(-1, SLOTS), feedback.reshape(-1, SLOTS), np.zeros(count, bool))


@pytest.fixture(scope="module")
def sessions() -> TrainingSessions:
    return made_up(true_model(), 1500, 1)


def test_an_answer_moves_the_belief_as_by_hand() -> None:
    one = np.ones((1, 1), np.float32)
    model = UserModel(2 * one, one[0] * 0, one, one, np.diag([0.5, 0.25]), np.zeros((2, 2)), 1.0, 0.5, 0.0, 0.1, 0.0)
    belief, logits = new_belief(1, 1, 1), np.empty(1)
    belief.cov[0] = model.spread
    learn(model, belief, 0, np.zeros(1, np.int32), np.ones(1, np.float32), logits)
    # log-odds 0, so p = 1/2 and p (1 - p) = 1/4; x = (2, 1), cov x = (1, 0.25), x cov x = 2.25
    scale = 1 / (1 + 0.25 * 2.25)
    assert logits[0] == 0
    assert belief.mean[0] == pytest.approx(0.5 * scale * np.array([1.0, 0.25]))
    assert belief.cov[0] == pytest.approx(np.diag([0.5, 0.25]) - 0.25 * scale * np.array([[1.0, 0.25], [0.25, 0.0625]]))
    assert belief.exposure[0, 0] == pytest.approx(0.5)  # one whole slate, and a step that leaves a half


def test_the_true_model_is_the_likeliest(sessions: TrainingSessions) -> None:
    truth = true_model()
    best = likelihood(truth, sessions)
    for wrong in (
        {"weight": 0.0}, {"keep": 0.2}, {"tire": -1.0}, {"offsets": np.zeros(ITEMS, np.float32)},
        {"spread": 1e-6 * np.eye(DIM + 1)}, {"spread": 3.0 * np.eye(DIM + 1)}, {"vectors": truth.vectors[::-1].copy()},
        {"fills": truth.fills[:, ::-1].copy()},
    ):  # fmt: skip
        assert likelihood(truth._replace(**wrong), sessions) < best  # type: ignore[arg-type]


def test_the_slope_in_shares_is_that_of_the_likelihood(sessions: TrainingSessions) -> None:
    rng, few = np.random.default_rng(3), sessions.take(np.arange(20))
    shares, taste = rng.dirichlet(np.ones(TOPICS), ITEMS), rng.normal(size=few.items.shape).astype(np.float32)
    _, slope = climb(shares, 1.5, 0.7, few, taste)
    for item, topic in rng.integers((ITEMS, TOPICS), size=(10, 2)):
        ends = []
        for step in (-1e-4, 1e-4):
            moved = shares.copy()
            moved[item, topic] += step
            ends.append(climb(moved, 1.5, 0.7, few, taste)[0])
        assert slope[item, topic] == pytest.approx((ends[1] - ends[0]) / 2e-4, rel=1e-3, abs=1e-3)


def test_topics_that_bore_each_other_are_found(sessions: TrainingSessions) -> None:
    truth, rng = true_model(), np.random.default_rng(4)
    model = truth._replace(**dict.fromkeys(("fills", "suffers"), rng.dirichlet(5 * np.ones(3), ITEMS).astype("f")))
    means = believed(truth, sessions)[0]
    tired = tastes(truth, sessions, means) - losses(truth._replace(weight=0.0), sessions)
    for number in range(4):
        model = refit_topics(model, sessions, tired, number)
    together = model.suffers @ model.suffers.T > 0.5
    assert (together == (truth.suffers @ truth.suffers.T > 0.5)).mean() > 0.95


def test_strengths_are_found() -> None:
    truth = true_model()
    sessions = made_up(truth, 500, 1, steps=100)  # as long as a recipe's: in 12 steps, fatigue rises to a third only
    taste = tastes(truth, sessions, believed(truth, sessions)[0])
    model = truth._replace(weight=0.1, tire=0.0, keep=float(np.exp(-1 / 2)))
    for _ in range(6):
        model = refit_strengths(model, sessions, taste)
    assert model.weight == pytest.approx(truth.weight, rel=0.2)
    assert 4 < -1 / np.log(model.keep) < 9
    assert model.tire == pytest.approx(truth.tire, abs=0.35)


def test_items_go_where_feedback_says_and_stay_where_there_is_none(sessions: TrainingSessions) -> None:
    truth = true_model()
    known = truth._replace(vectors=0 * truth.vectors, offsets=0 * truth.offsets)
    means = believed(truth, sessions)[0]
    rest = means[:, DIM:] - losses(truth, sessions)
    hidden = sessions._replace(items=np.where(sessions.items == 7, -1, sessions.items))
    found = refit_items(known, known, hidden, means, rest)
    seen = np.arange(ITEMS) != 7
    assert np.corrcoef(found.vectors[seen].ravel(), truth.vectors[seen].ravel())[0, 1] > 0.9
    assert np.corrcoef(found.offsets[seen], truth.offsets[seen])[0, 1] > 0.9
    assert (found.vectors[7] == known.vectors[7]).all()
    assert found.offsets[7] == known.offsets[7]


def test_how_people_differ_is_found(sessions: TrainingSessions) -> None:
    truth = true_model()
    start = truth._replace(spread=0.05 * np.eye(DIM + 1), noise=0.03 * np.eye(DIM + 1))
    model, found = start, [likelihood(start, sessions)]
    for _ in range(8):
        model = refit_people(model, sessions)
        found.append(likelihood(model, sessions))
    assert np.diff(found).min() > -1e-5
    assert found[-1] > found[0] + 0.5 * (likelihood(truth, sessions) - found[0])


def test_a_fit_predicts_sessions_that_it_has_not_seen(sessions: TrainingSessions) -> None:
    truth, rng, fresh = true_model(), np.random.default_rng(5), made_up(true_model(), 500, 2)
    noisy = (truth.vectors + rng.normal(0, 0.7, truth.vectors.shape)).astype(np.float32)
    shares = rng.dirichlet(5 * np.ones(TOPICS), ITEMS).astype(np.float32)
    start = truth._replace(vectors=noisy, offsets=0 * truth.offsets, fills=shares, suffers=shares, weight=0.5, tire=0.0)
    found = start
    for number in range(3):
        found = fit_user_model(found, start, sessions, number)
    first, best = likelihood(start, fresh), likelihood(truth, fresh)
    assert likelihood(found, fresh) > first + 0.6 * (best - first)
    once, again = (fit_user_model(start, start, sessions, 0) for _ in range(2))
    assert all(np.array_equal(one, other) for one, other in zip(once, again, strict=True))


def test_topics_that_are_given_stay(sessions: TrainingSessions) -> None:
    start = true_model(weight=0.5)
    found = fit_user_model(start, start, sessions, 0, fixed=True)
    assert np.array_equal(found.fills, start.fills)
    assert np.array_equal(found.suffers, start.suffers)
    assert found.weight > 1


def test_sessions_are_taken_and_joined(sessions: TrainingSessions) -> None:
    parts = [sessions.take(np.arange(0, 700)), sessions.take(np.arange(700, 1500))]
    whole = join(parts)
    assert all(np.array_equal(one, other) for one, other in zip(whole, sessions, strict=True))


def test_a_model_from_a_file_is_checked(population: Population) -> None:
    known = population.knowledge
    topics = np.ones((60, 2), np.float32) / 2
    model = prior_model(known, topics, topics, population.users("train"))
    read = check_model(model._asdict(), 60, known.tastes.shape[1] - 1)
    assert all(np.array_equal(one, other) for one, other in zip(read, model, strict=True))
    for wrong in ({"offsets": model.offsets[1:]}, {"weight": np.nan}, {"spread": model.spread[:2]}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))} is no finite array"):
            check_model({name: np.asarray(value) for name, value in {**model._asdict(), **wrong}.items()}, 60, 4)


def test_what_is_wrong_with_all_items_moves_those_that_were_never_shown(sessions: TrainingSessions) -> None:
    truth = true_model()
    wrong = truth._replace(offsets=truth.offsets + 1)
    hidden = sessions._replace(items=np.where(sessions.items == 7, -1, sessions.items))
    found = fit_user_model(wrong, wrong, hidden, 0)
    assert found.offsets[7] < truth.offsets[7] + 0.5  # the rest is taken for the level of people


@pytest.mark.parametrize("alike", [0.0, 2.0])
def test_likeness_is_found_where_items_of_a_slate_take_clicks_from_each_other(alike: float) -> None:
    rng, truth = np.random.default_rng(6), true_model()
    units = truth.vectors / np.linalg.norm(truth.vectors, axis=1, keepdims=True)
    truth = truth._replace(units=units, alike=alike, doubts=np.zeros(ITEMS, np.float32))
    sessions = made_up(truth, 1500, 7)
    logits = tastes(truth, sessions, believed(truth, sessions)[0]) - losses(truth, sessions)
    answers = (rng.random(logits.shape) < 1 / (1 + np.exp(-logits))).astype(np.float32)
    logits += alike * cosines(units, sessions.items)
    found = refit_likeness(truth._replace(alike=0.0), sessions._replace(feedback=answers), logits.astype(np.float32))
    assert found.alike == pytest.approx(alike, abs=0.25)
    assert alike or found.alike == 0
