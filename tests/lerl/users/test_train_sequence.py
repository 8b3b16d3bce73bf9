"""The network learns what running means cannot know, goes on after an interruption, and steps as it was trained."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.metrics import roc_auc_score

from lerl.bench.sequence import Reader, SequenceCase, random_model
from lerl.envs.response import sequence as envs_sequence
from lerl.envs.response.sequence import SequenceResponse, States, advance_states, exponentials, read_tokens
from lerl.envs.synthetic import synthetic_population
from lerl.users.baselines import means_baseline
from lerl.users.events import Events
from lerl.users.train_sequence import SequenceSettings, TrainedSequence, fit_sequence, log_odds

SMALL = SequenceSettings(width=16, inner=16, window=6, events=768, epochs=4, rate=5e-3)


@pytest.fixture(scope="module")
def fans() -> Events:
    """300 users of 24 events: each clicks on the items of one of two categories, which are liked equally often."""
    generator = np.random.default_rng(0)
    users = np.repeat(np.arange(300), 24)
    items = np.concatenate([generator.permutation(60)[:24] for _ in range(300)])
    likes = (items % 2) == (users // 4 % 2)
    return Events(
        users=users,
        items=items,
        clicks=np.where(generator.random(len(users)) < 0.9, likes, ~likes),
        kept=np.zeros(len(users), bool),
        training=np.arange(300) % 4 > 0,
        categories=np.eye(2, dtype=bool)[np.arange(60) % 2],
        item_vectors=np.zeros((60, 4), np.float32),
    )


def weights(fitted: TrainedSequence) -> dict[str, Any]:
    return {name: value.numpy() for name, value in fitted.network.state_dict().items()}


def same(one: TrainedSequence, other: TrainedSequence) -> bool:
    return all(np.array_equal(one_, weights(other)[name]) for name, one_ in weights(one).items())


def test_it_learns_a_taste_that_running_means_cannot_know(fans: Events) -> None:
    fitted = fit_sequence(fans, replace(SMALL, events=192, epochs=12, patience=12))
    held = np.flatnonzero(~fans.training)
    known = ~fans.to_train & (fans.place >= 5)
    chances = log_odds(fitted, fans, held)
    assert np.isnan(chances[fans.to_train]).all()
    assert roc_auc_score(fans.clicks[known], chances[known]) > 0.8
    assert roc_auc_score(fans.clicks[known], means_baseline(fans)[known]) < 0.6
    hidden = log_odds(fitted, fans, held, hidden=True)
    assert roc_auc_score(fans.clicks[known], hidden[known]) > 0.8  # the category of an item is known


def test_what_is_still_to_come_changes_nothing(fans: Events) -> None:
    fitted = fit_sequence(fans, replace(SMALL, epochs=1))
    later = fans.place >= 10
    changed = replace(fans, clicks=np.where(later & ~fans.to_train, ~fans.clicks, fans.clicks))
    held = np.flatnonzero(~fans.training)
    before, after = log_odds(fitted, fans, held), log_odds(fitted, changed, held)
    judged = ~fans.to_train
    assert np.array_equal(before[judged & (fans.place <= 10)], after[judged & (fans.place <= 10)])
    assert not np.allclose(before[judged & (fans.place > 10)], after[judged & (fans.place > 10)])


def test_held_out_users_are_no_part_of_the_fit(fans: Events) -> None:
    changed = replace(fans, clicks=np.where(fans.to_train, fans.clicks, ~fans.clicks))
    settings = replace(SMALL, epochs=1)
    assert same(fit_sequence(fans, settings), fit_sequence(changed, settings))


def test_a_seed_makes_one_network(fans: Events) -> None:
    settings = replace(SMALL, epochs=1)
    before = torch.get_rng_state()
    one, again, other = (fit_sequence(fans, settings, seed=seed) for seed in (1, 1, 2))
    assert same(one, again)
    assert not same(one, other)
    assert torch.equal(torch.get_rng_state(), before)  # the caller's own draws go on as they would have


def test_an_interrupted_fit_ends_as_one_that_was_not(fans: Events, tmp_path: Path) -> None:
    whole = fit_sequence(fans, SMALL)
    checkpoint, steps = tmp_path / "unfinished.pt", []

    def stop(phase: str, done: int, total: int, latest: str | None) -> None:
        steps.append(done)
        if done == total // 2 + 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_sequence(fans, SMALL, checkpoint=checkpoint, report=stop)
    first: list[int] = []
    resumed = fit_sequence(fans, SMALL, checkpoint=checkpoint, report=lambda _, done, *__: first.append(done))
    assert first[0] == max(steps) - 1  # the epoch that was begun is run again, those before are not
    assert same(whole, resumed)
    assert whole.log_loss == resumed.log_loss

    checkpoint.write_bytes(checkpoint.read_bytes()[:500])
    assert same(whole, fit_sequence(fans, SMALL, checkpoint=checkpoint))  # as good as none
    fit_sequence(fans, SMALL, seed=5, checkpoint=checkpoint)
    assert same(whole, fit_sequence(fans, SMALL, checkpoint=checkpoint))  # of another training


def test_it_stops_when_nothing_is_gained_and_keeps_the_best(fans: Events) -> None:
    noise = replace(fans, clicks=np.random.default_rng(1).random(len(fans)) < 0.5)
    fitted = fit_sequence(noise, replace(SMALL, epochs=40, patience=2, rate=0.02))
    assert len(fitted.log_loss) < 40
    assert fitted.best == len(fitted.log_loss) - 2
    assert fitted.log_loss[fitted.best - 1] == min(fitted.log_loss)


def test_too_small_a_log_is_refused(fans: Events) -> None:
    with pytest.raises(
        ValueError, match="both clicks and other interactions of theirs, given 225 such users and 0 clicks"
    ):
        fit_sequence(replace(fans, clicks=np.zeros(len(fans), bool)), SMALL)


def test_steps_equal_reading_everything_again() -> None:
    """Sessions three times as long as what the network sees, users with no past, a short one, one too long to see."""
    people = synthetic_population(users=30, items=80, categories=6, dim=4)
    settings = SequenceSettings(width=16, inner=24, window=5)
    network, people, events, scaling = random_model(people, settings, longest=25)
    reader, model = Reader(network, events, scaling), SequenceResponse(people)
    users = np.arange(6)
    state, draw = model.init(users), np.random.default_rng(1)
    lived = [slice(*events.starts[user : user + 2]) for user in users]
    items, clicks = [events.items[part] for part in lived], [events.clicks[part].astype(np.float32) for part in lived]
    for _ in range(3 * settings.reach // 3):
        slates = draw.integers(0, 80, (6, 3)).astype(np.int32)
        chances = model.score(state, slates)
        for b in range(6):
            history = reader.history(clicks[b][None])
            again = reader.chances(items[b][None], clicks[b][None], history, slates[b : b + 1])
            np.testing.assert_allclose(chances[b], again[0], atol=1e-5)
        feedback = (draw.random((6, 3)) < 0.4).astype(np.float32)
        state = model.advance(state, slates, feedback)
        items = [np.concatenate([old, new]) for old, new in zip(items, slates, strict=True)]
        clicks = [np.concatenate([old, new]) for old, new in zip(clicks, feedback, strict=True)]
    assert chances.std() > 0.01


def test_a_step_reads_what_is_new_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work is counted, in tokens that go through the network; `lerl bench --rows sequence` measures what it saves."""
    case = SequenceCase(users=4, slate=3, items=50, events=120, settings=replace(SMALL, window=5))
    tokens: list[int] = []

    def read(new: NDArray[np.float32], *rest: Any) -> None:
        tokens.append(len(new))
        read_tokens(new, *rest)

    again = case.again()
    np.testing.assert_allclose(case.model.score(case.state, case.slates), again, atol=1e-5)
    before = States(**{name: array.copy() for name, array in case.state.items()})
    case.step()
    compiled = case.state
    monkeypatch.setattr(envs_sequence, "read_tokens", read)
    advance_states.py_func(case.slates, case.feedback, before, case.model.weights)
    assert tokens == [3] * 4
    assert all(np.array_equal(array, compiled[name]) for name, array in before._asdict().items())


def test_exponentials_are_those_of_a_library() -> None:
    draw = np.random.default_rng(0)
    for spread in (0.1, 1.0, 10.0, 1000.0):
        for count in (1, 2, 5, 50):
            numbers = (spread * draw.normal(size=count)).astype(np.float32)
            shares = numbers.copy()
            total = exponentials(shares)
            np.testing.assert_allclose(shares / total, softmax(numbers.astype(np.float64)), rtol=1e-5, atol=1e-30)
