"""The network learns what running means cannot know, goes on after an interruption, and steps as it was trained."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from lerl import sequence
from lerl.click_baselines import means_baseline
from lerl.envs.learned import learned
from lerl.envs.population import Population
from lerl.envs.sequence import SequenceResponse
from lerl.envs.synthetic import synthetic_population
from lerl.events import Events, history_features
from lerl.sequence import Fitted, Scaling, SequenceNetwork, SequenceSettings, export, fit_sequence, log_odds

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


def weights(fitted: Fitted) -> dict[str, Any]:
    return {name: value.numpy() for name, value in fitted.network.state_dict().items()}


def same(one: Fitted, other: Fitted) -> bool:
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


def random_model(
    people: Population, settings: SequenceSettings, longest: int
) -> tuple[SequenceNetwork, Population, Events, Scaling]:
    """A network as it is before training, and the population with it; users have pasts of up to `longest` events."""
    generator = np.random.default_rng(0)
    lengths = generator.integers(0, longest + 1, len(people.training))
    lengths[:2] = 0, longest
    users = np.repeat(np.arange(len(lengths)), lengths)
    events = Events(
        users=users,
        items=generator.integers(len(people.catalog), size=len(users)),
        clicks=generator.random(len(users)) < 0.4,
        kept=np.zeros(len(users), bool),
        training=people.training,
        categories=people.catalog.categories.membership,
        item_vectors=generator.normal(size=(len(people.catalog), 8)).astype(np.float32),
    )
    scaling = Scaling.of(events)
    shares = events.categories / events.categories.sum(axis=1, keepdims=True)
    torch.manual_seed(0)
    network = SequenceNetwork(
        torch.from_numpy(events.item_vectors),
        torch.from_numpy(shares.astype(np.float32)),
        torch.zeros(len(shares), 2),
        settings,
    ).eval()
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    arrays = export(Fitted(network, settings, scaling, (0.0,), 1), events)
    return network, replace(people, response=learned(arrays, {})), events, scaling


class Reader:
    """Chances by the network in PyTorch, from all that a user lived through or from what the network sees of it."""

    def __init__(self, network: SequenceNetwork, events: Events, scaling: Scaling) -> None:
        self.network, self.events, self.scaling = network, events, scaling
        with torch.no_grad():
            self.features = torch.from_numpy(scaling.apply(events.catalogue, 2))
            self.vectors, self.offsets = network.describe(torch.arange(len(self.features)), self.features)

    def history(self, clicks: NDArray[np.float32]) -> torch.Tensor:
        """(B, T + 1, 2) features before, between and after T events each."""
        before = np.concatenate([np.zeros((len(clicks), 1)), clicks.cumsum(axis=1)], axis=1)
        seen = np.broadcast_to(np.arange(before.shape[1]), before.shape)
        flat = history_features(seen.ravel(), before.ravel(), self.events.base)
        return torch.from_numpy(self.scaling.apply(flat).reshape(*before.shape, 2))

    @torch.no_grad()
    def chances(
        self, items: NDArray[np.int64], clicks: NDArray[np.float32], history: torch.Tensor, slates: NDArray[np.int32]
    ) -> NDArray[np.float32]:
        """(B, k) after events (B, T)."""
        states = self.network.states(self.vectors[items], torch.from_numpy(clicks), history)
        queries, offsets = self.network.asks(states[:, -1:], history[:, -1:])
        shown = torch.from_numpy(slates.astype(np.int64))
        return torch.sigmoid((queries * self.vectors[shown]).sum(-1) + self.offsets[shown] + offsets).numpy()


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


def test_stepping_is_ten_times_as_fast_as_reading_again() -> None:
    """At KuaiSim's sizes: 32 users, slates of 6, 7,551 items, a history of 100, of which two layers see 99."""
    batch, slate, items = 32, 6, 7551
    people = synthetic_population(users=batch, items=items, categories=20, dim=8)
    settings = SequenceSettings()
    network, people, events, scaling = random_model(people, settings, longest=100)
    reader, model = Reader(network, events, scaling), SequenceResponse(people)
    draw = np.random.default_rng(0)
    lived = draw.integers(0, items, (batch, 100))
    clicks = (draw.random((batch, 100)) < 0.4).astype(np.float32)
    history, slates = reader.history(clicks), draw.integers(0, items, (batch, slate)).astype(np.int32)
    past = {
        "past_starts": np.arange(batch + 1) * 100,
        "past_items": lived.astype(np.int32).ravel(),
        "past_clicks": clicks.ravel(),
        "past_before": np.zeros((batch, 2), np.float32),
    }
    assert people.response is not None
    model = SequenceResponse(replace(people, response={**people.response, **past}))
    state = model.init(np.arange(batch))
    again = reader.chances(lived, clicks, history, slates)
    np.testing.assert_allclose(model.score(state, slates), again, atol=1e-5)
    seen = reader.chances(lived[:, -99:], clicks[:, -99:], history[:, -100:], slates)
    feedback = (draw.random((batch, slate)) < 0.4).astype(np.float32)

    def step() -> None:
        model.score(state, slates)
        model.advance(state, slates, feedback)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        stepping, reading = per_second(step, lambda: reader.chances(lived, clicks, history, slates))
    finally:
        torch.set_num_threads(threads)
    print(f"user-steps per CPU-second: {batch * stepping:,.0f} stepping, {batch * reading:,.0f} reading again")
    assert seen.shape == again.shape
    assert stepping >= 10 * reading


def per_second(*sides: Callable[[], Any]) -> list[float]:
    """Calls of each side per CPU-second, the median of forty short turns: noise comes to all sides alike."""
    turns: list[list[float]] = [[] for _ in sides]
    for _ in range(40):
        for call, found in zip(sides, turns, strict=True):
            begun, calls = time.process_time(), 0
            while calls == 0 or time.process_time() - begun < 0.01:
                call()
                calls += 1
            found.append(calls / (time.process_time() - begun))
    return [float(np.median(found)) for found in turns]


def test_long_histories_are_read_by_few_users_at_a_time() -> None:
    lengths = np.array([10, 3000, 20, 200, 100, 0, 10])
    users = np.array([0, 1, 2, 3, 4, 6])
    parts = list(sequence._parts(users, lengths))
    assert np.array_equal(np.sort(np.concatenate(parts)), users)
    for part in parts:
        assert len(part) == 1 or len(part) * lengths[part].max() ** 2 <= sequence.PAIRS
    assert [part.tolist() for part in parts[:2]] == [[1], [3, 4, 2, 0, 6]]  # 262,144 // 200^2 = 6 at once
