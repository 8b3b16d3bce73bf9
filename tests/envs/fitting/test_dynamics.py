"""Dynamics fitted to logs that the simulator made, so that the truth is known."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lerl.envs.config import Boredom, Drift, Mood, SimulatorConfig
from lerl.envs.dynamics import bore, rates
from lerl.envs.fitting.dynamics import (
    PARAMETERS,
    FittedDynamics,
    Parameter,
    ParameterEstimate,
    configured,
    fit_dynamics,
    fitted_users,
    read_fitted,
    with_spread,
    write_fitted,
)
from lerl.envs.fitting.replay import BEFORE, item_by_item, replay, session_breaks
from lerl.envs.schema import DataError
from lerl.envs.simulator import UserSimulator
from lerl.envs.store import MissingDataError
from lerl.envs.synthetic import synthetic_population
from tests.envs.made_logs import PAUSE, made_log

AS_ASSUMED = FittedDynamics(
    {p.name: ParameterEstimate(p.assumed, p.least, p.most, False) for p in PARAMETERS}, "categories", 0.0
)


@pytest.mark.slow
def test_boredom_is_found_where_it_is_and_not_where_it_is_not():
    """What is shown depends on tastes and stays in a category for a while, whether people are bored or not.

    Of ten pairs of such logs, seeds 0 to 9, the interval of boredom's weight held 0 nine times and 0.15 nine times.
    """
    found = {}
    for weight, mood in ((0.0, 0.0), (0.15, 0.5)):
        population, halves, background = made_log(3, boredom=weight, mood=mood, users=600)
        fitted, _ = fit_dynamics(population, halves, background, "categories", dim=6, seed=0)
        found[weight] = fitted.estimates
        assert fitted.away < 2.0
    assert found[0.0]["boredom.weight"].identifiable
    assert found[0.0]["boredom.weight"].low == 0.0
    for name, truth in (("boredom.weight", 0.15), ("boredom.time_constant", 20.0), ("mood.spread", 0.5)):
        estimate = found[0.15][name]
        assert estimate.identifiable
        assert 0.0 < estimate.low <= truth <= estimate.high


def test_what_stands_for_one_item_stands_for_a_slate_of_them():
    values = AS_ASSUMED.values | {"boredom.weight": 0.1, "boredom.time_constant": 24.0, "drift.revert": 0.1}
    one, six = (configured(SimulatorConfig(), values, k) for k in (1, 6))
    assert one.boredom == Boredom(weight=0.1, time_constant=24.0)
    assert (six.boredom.weight, six.boredom.time_constant) == (pytest.approx(0.6), 4.0)
    assert six.drift.revert == pytest.approx(1 - 0.9**6)
    # six items of one topic in a row, or one slate of them: log-odds lost right after
    level = np.zeros((2, 1), np.float32)
    topic, item = np.zeros((1, 1), np.int32), np.zeros((1, 6), np.int32)
    for _ in range(6):
        bore(level[:1], item[:, :1], topic, rates(configured(SimulatorConfig(slate_size=1), values, 1)).boredom)
    bore(level[1:], item, topic, rates(configured(SimulatorConfig(slate_size=6), values, 6)).boredom)
    assert 0.1 * level[0, 0] == pytest.approx(0.6 * level[1, 0], rel=1e-6)


def test_users_differ_as_configured_and_are_the_same_every_time():
    population = synthetic_population(2000, 50, 5, 4, 0)
    values = AS_ASSUMED.values | {"users.level": 1.0, "users.offset_spread": 2.0, "users.taste_spread": 0.0}
    spread = with_spread(population, values, 0)
    moved = spread.truth.user_offsets - population.truth.user_offsets
    assert (moved.mean(), moved.std()) == (pytest.approx(1.0, abs=0.1), pytest.approx(2.0, abs=0.1))
    assert (spread.truth.user_vectors == population.truth.user_vectors).all()
    assert spread.digest() == with_spread(population, values, 0).digest() != population.digest()


def test_sessions_of_a_log_rest_people_but_leave_their_tastes():
    population, halves, _ = made_log(5, users=30, items=60, length=30)
    events = halves.sequences
    breaks = session_breaks(events)
    assert breaks[events.starts].all()
    assert (breaks == ((events.places == 0) | (np.diff(events.times, prepend=0.0) >= PAUSE))).all()
    config = replace(SimulatorConfig(topics="categories"), drift=Drift(enabled=False))
    simulator = UserSimulator(population, item_by_item(config, 30), "all")
    assert simulator.config.max_steps == 30 + BEFORE
    owners = np.arange(30)
    tired = replay(simulator, events, owners, 0)
    fresh = simulator.changed(population, replace(simulator.config, boredom=Boredom(weight=0.0)))
    rested = replay(fresh, events, owners, 0)
    assert set(np.unique(tired.clicks)) <= {0.0, 1.0}
    assert (tired.chances <= rested.chances + 1e-9).all()
    assert np.allclose(tired.chances[breaks], rested.chances[breaks])
    assert (tired.chances[~breaks] < rested.chances[~breaks]).mean() > 0.7


@pytest.mark.parametrize(
    "changed", [{}, {"drift": Drift(enabled=False), "mood": Mood(spread=0.5)}, {"feedback": "rating"}]
)
def test_compiled_steps_have_the_bits_of_steps_one_by_one(changed):
    population, halves, _ = made_log(5, users=30, items=60, length=30)
    events, owners = halves.sequences, np.arange(30)
    simulator = UserSimulator(population, item_by_item(SimulatorConfig(topics="hidden", **changed), 30), "all")
    assert simulator.steps_at_once
    at_once = replay(simulator, events, owners, 7)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(UserSimulator, "steps_at_once", False)
        one_by_one = replay(simulator, events, owners, 7)
    assert np.array_equal(at_once.clicks, one_by_one.clicks)
    assert np.array_equal(at_once.chances, one_by_one.chances)


def test_compiled_steps_refuse_what_steps_refuse():
    simulator = UserSimulator(synthetic_population(8, 20, 4, 4, 0), item_by_item(SimulatorConfig(), 1), "all")
    state, most = simulator.start(np.arange(2, dtype=np.uint64), np.zeros(2, int), np.arange(2)), 1 + BEFORE
    with pytest.raises(ValueError, match=r"items must be in \[-1, 20\), given 20 to 20"):
        simulator.live_through(state, np.full((1, 2, 1), 20, np.int32), np.zeros((1, 2), bool))
    with pytest.raises(ValueError, match=f"a user has had all {most} steps"):
        simulator.live_through(state, np.zeros((most + 1, 2, 1), np.int32), np.zeros((most + 1, 2), bool))


def test_what_was_fitted_is_kept_and_read_again(tmp_path: Path):
    (tmp_path / "F").mkdir()
    with pytest.raises(
        MissingDataError, match=r"holds no fitted dynamics .* fit them with: lerl fit .*F --model latent"
    ):
        read_fitted(tmp_path / "F", "categories")
    path = write_fitted(tmp_path / "F", [AS_ASSUMED])
    assert read_fitted(tmp_path / "F", "categories") == AS_ASSUMED
    with pytest.raises(DataError, match=r"dynamics.json cannot be used \(KeyError"):
        read_fitted(tmp_path / "F", "hidden")
    good = path.read_text()
    path.write_text(good.replace('"identifiable"', '"told"'))  # as version 0.1.0 called it
    assert read_fitted(tmp_path / "F", "categories") == AS_ASSUMED
    path.write_text(good.replace('"value": 20.0', '"value": -20.0'))
    with pytest.raises(DataError, match=r"boredom.time_constant is -20.0"):
        read_fitted(tmp_path / "F", "categories")
    path.write_text(good.replace('"high": 500.0', '"high": 501.0'))
    with pytest.raises(DataError, match=r"boredom.time_constant is 501.0"):
        read_fitted(tmp_path / "F", "categories")


@pytest.mark.parametrize("parameter", PARAMETERS, ids=lambda parameter: parameter.name)
def test_every_parameter_can_be_simulated_at_its_bounds(parameter: Parameter):
    population = synthetic_population(20, 30, 4, 4, 0)
    config = SimulatorConfig(topics="categories", slate_size=6, max_steps=5)
    slates = np.arange(12, dtype=np.int32).reshape(2, 6)
    for value in (parameter.least, parameter.most):
        values = AS_ASSUMED.values | {parameter.name: value}
        simulator = UserSimulator(with_spread(population, values, 0), configured(config, values, 6), "all")
        state = simulator.start(np.arange(2, dtype=np.uint64), np.zeros(2, np.int64))
        assert np.isfinite(simulator.step(state, slates).chance).all()


def test_fitted_users_do_not_take_strengths_of_a_recipe_silently():
    population = synthetic_population(50, 20, 4, 4, 0)
    config = SimulatorConfig(topics="categories", slate_size=6)
    _, made = fitted_users(population, config, AS_ASSUMED)
    assert made.fatigue.time_constant == 5.0
    assert made.satisfaction == config.satisfaction
    with pytest.raises(ValueError, match=r"data.users is fitted, which decides env.boredom.weight; leave that out"):
        fitted_users(population, replace(config, boredom=Boredom(weight=2.0)), AS_ASSUMED)
    _, off = fitted_users(population, replace(config, boredom=Boredom(enabled=False)), AS_ASSUMED)
    assert not off.boredom.enabled
