"""The two sides of the sequence case: a step of the simulator, and the same network in PyTorch reading all again."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lerl.envs.population import Population
from lerl.envs.response.base import ResponseModel
from lerl.envs.response.collective import CollectiveResponse
from lerl.envs.response.sequence import SequenceResponse
from lerl.envs.sequence_weights import Learned, learned
from lerl.envs.synthetic import synthetic_population
from lerl.users.events import Events, history_features
from lerl.users.train_sequence import (
    CollectiveSettings,
    Scaling,
    SequenceNetwork,
    SequenceSettings,
    TrainedSequence,
    export,
)


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
    model = learned(export(TrainedSequence(network, settings, scaling, (0.0,), 1), events), {})
    return network, _with(people, model, settings), events, scaling


def _with(people: Population, model: Learned, settings: SequenceSettings) -> Population:
    if isinstance(settings, CollectiveSettings):
        return replace(people, collective=model)
    return replace(people, response=model)


class Reader:
    """Chances by the network in PyTorch, from all of a user's events or from those that the network sees."""

    def __init__(self, network: SequenceNetwork, events: Events, scaling: Scaling) -> None:
        self.network, self.events, self.scaling = network, events, scaling
        with torch.no_grad():
            self.features = torch.from_numpy(scaling.apply(events.catalog_features, 2))
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
        queries, offsets = self.network.queries(states[:, -1:], history[:, -1:])
        shown = torch.from_numpy(slates.astype(np.int64))
        return torch.sigmoid((queries * self.vectors[shown]).sum(-1) + self.offsets[shown] + offsets).numpy()


class SequenceCase:
    """Users with equally many events, in a simulator and as a log to read.

    Args:
        users, slate, items: how many. events: of each user, more than the network sees. settings: its sizes.
    """

    def __init__(self, users: int, slate: int, items: int, events: int, settings: SequenceSettings) -> None:
        people = synthetic_population(users=users, items=items, categories=20, dim=8)
        network, people, log, scaling = random_model(people, settings, longest=events)
        draw = np.random.default_rng(0)
        self.items = draw.integers(items, size=(users, events))
        self.clicks = (draw.random((users, events)) < 0.4).astype(np.float32)
        self.slates = draw.integers(items, size=(users, slate)).astype(np.int32)
        self.feedback = (draw.random((users, slate)) < 0.4).astype(np.float32)
        self.reader = Reader(network, log, scaling)
        self.history = self.reader.history(self.clicks)
        past: dict[str, NDArray[Any]] = {
            "past_starts": np.arange(users + 1) * events,
            "past_items": self.items.astype(np.int32).ravel(),
            "past_clicks": self.clicks.ravel(),
            "past_before": np.zeros((users, 2), np.float32),
        }
        collective = isinstance(settings, CollectiveSettings)
        model = people.collective if collective else people.response
        assert model is not None
        kind = CollectiveResponse if collective else SequenceResponse
        self.model: ResponseModel = kind(_with(people, {**model, **past}, settings))
        self.state = self.model.init(np.arange(users))

    def step(self) -> NDArray[np.float64]:
        """Chances (B, k); the users have then seen the slates as well."""
        chances = self.model.score(self.state, self.slates)
        self.state = self.model.advance(self.state, self.slates, self.feedback)
        return chances

    def again(self) -> NDArray[np.float32]:
        """The chances (B, k) of the first step, by reading all events."""
        return self.reader.chances(self.items, self.clicks, self.history, self.slates)


def bytes_of(state: dict[str, NDArray[Any]]) -> int:
    """Bytes of a response model's state, measured from its arrays."""
    return sum(array.nbytes for array in state.values())
