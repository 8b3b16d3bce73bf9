"""The imitation of what a log showed."""

from dataclasses import replace

import numpy as np
import pytest

from lerl.envs.fitting import exposure
from lerl.envs.fitting.exposure import Exposure, fit_exposure
from lerl.envs.fitting.statistics import Sequences, Statistics
from tests.envs.made_logs import made_log


@pytest.fixture(scope="module")
def fitted() -> tuple[Exposure, Sequences, Sequences]:
    """A model, and first and second halves of held-out users."""
    population, halves, background = made_log(3, users=240, items=120, length=60)
    events = halves.sequences
    mine = population.training[events.users]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exposure, "ROUNDS", 2)
        model = fit_exposure(events.where(mine), background, 0)
    return model, events.where(~mine & halves.first), events.where(~mine & ~halves.first)


def test_nothing_is_shown_twice_and_everybody_gets_his_length(fitted: tuple[Exposure, Sequences, Sequences]):
    model, before, real = fitted
    made = model.imitate(before, real.lengths, 1)
    assert made.lengths.tolist() == real.lengths.tolist()
    both = np.concatenate([np.stack([events.users, events.items]) for events in (before, made)], axis=1)
    assert len(np.unique(both, axis=1).T) == both.shape[1]
    assert (np.diff(made.times)[np.diff(made.users) == 0] >= 0).all()


def test_draws_come_from_the_seed(fitted: tuple[Exposure, Sequences, Sequences]):
    model, before, real = fitted
    first, again, other = (model.imitate(before, real.lengths, seed) for seed in (1, 1, 2))
    assert (first.items == again.items).all()
    assert (first.times == again.times).all()
    assert (first.items != other.items).mean() > 0.5


def test_no_sequence_is_replayed(fitted: tuple[Exposure, Sequences, Sequences]):
    model, before, real = fitted
    made = model.imitate(before, real.lengths, 1)
    known = {tuple(real.items[start : start + 4]) for start in range(len(real) - 3)}
    again = [tuple(made.items[start : start + 4]) in known for start in range(len(made) - 3)]
    assert np.mean(again) < 0.01


def test_a_model_comes_near_what_it_imitates(fitted: tuple[Exposure, Sequences, Sequences]):
    """Held-out users: what was shown hangs together as it did, and as much more than under no memory at all."""
    model, before, real = fitted
    _, _, background = made_log(3, users=240, items=120, length=60)

    def clustering(events: Sequences) -> float:
        return float(Statistics(events, background).of()["same category at lag 1 over shuffled"][0])

    forgetful = replace(model, weights=np.zeros_like(model.weights))
    wanted = clustering(real)
    assert abs(clustering(model.imitate(before, real.lengths, 1)) - wanted) < 0.15 * wanted
    assert abs(clustering(forgetful.imitate(before, real.lengths, 1)) - wanted) > 0.15 * wanted


def test_without_times_there_are_none():
    population, halves, background = made_log(4, users=80, items=60, length=30)
    events = replace(halves.sequences, times=np.full(len(halves.sequences), np.nan))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exposure, "ROUNDS", 1)
        model = fit_exposure(events, background, 0)
    made = model.imitate(events, np.full(len(population.training), 3), 0)
    assert np.isnan(made.times).all()
