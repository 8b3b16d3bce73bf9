"""The sequence model in PyTorch: trained on a log here, exported as arrays for `lerl.envs.response.sequence`."""

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from lerl.agents.kv_cache import CollectiveKV
from lerl.agents.next_item.cached_encoder import CachedLayer
from lerl.agents.transformer import CausalLayer, Training, deterministic, distance_bias, distance_slopes
from lerl.envs.draws import seed_from
from lerl.envs.kv_layout import check_pool
from lerl.users.events import USER_PRIOR, Events

VALIDATION_SHARE = 0.1
PAIRS = 1 << 18
"""Users go through the network in parts, alike in length, of at most so many pairs of events, padding included."""

Report = Callable[[str, int, int, str | None], None]


@dataclass(frozen=True)
class SequenceSettings:
    """Sizes of the network and of its training.

    Args:
        width: of tokens and item vectors, divisible by 4 and by heads. inner: of the inner layers, divisible by 4.
        layers: how many. heads: per layer. window: events that a layer sees.
        dropout: share of a layer's results left out in training. item_dropout: share of events whose item is without
            the numbers that are learned for it.
        events: per step of the optimiser, about, in whole users. rate: its largest step, falling to 0 along a cosine.
            item_rate: the same for the numbers learned per item. decay, item_decay: of weights (Loshchilov and Hutter
            2019).
        epochs: at most so many. patience: epochs without a better log loss before training stops.
    """

    width: int = 32
    inner: int = 64
    layers: int = 2
    heads: int = 4
    window: int = 50
    dropout: float = 0.1
    item_dropout: float = 0.2
    events: int = 4096
    rate: float = 2e-3
    item_rate: float = 6e-4
    decay: float = 0.01
    item_decay: float = 0.0
    epochs: int = 12
    patience: int = 4

    @property
    def reach(self) -> int:
        """How many events, the last one included, the state after an event depends on."""
        return self.layers * (self.window - 1) + 1


@dataclass(frozen=True)
class CollectiveSettings(SequenceSettings):
    """The same with a collective cache, see `lerl.agents.kv_cache.CollectiveKV`.

    Args:
        own: numbers of an event's own, in key and value each. pool: rows of the pools of a layer.
        peak, balance: weights of the losses that make gates 1 and keep rows in use.
    """

    own: int = 1
    pool: int = 256
    peak: float = 0.01
    balance: float = 0.01


class SequenceNetwork(nn.Module):
    """Log-odds of a click on each event's item from the events before it.

    A token stands before each event: the first is learned, any other holds the event before, its item and its feedback.
    All hold the running features of the user's history. An item is a learned vector, its categories' and two features.

    Args:
        item_vectors: (I, v), what to start the learned vectors from. categories: (I, C), each row adds up to 1.
        unmet: (I, 2), the features of each item if nobody had met it. settings: sizes.
    """

    categories: Tensor
    unmet: Tensor
    slopes: Tensor
    more: Tensor | None

    def __init__(self, item_vectors: Tensor, categories: Tensor, unmet: Tensor, settings: SequenceSettings) -> None:
        super().__init__()
        self.settings, width = settings, settings.width
        items, groups = categories.shape
        self.register_buffer("categories", categories)
        self.register_buffer("unmet", unmet)
        self.register_buffer("slopes", distance_slopes(settings.heads))
        self.item = nn.Embedding(items, item_vectors.shape[1], _weight=item_vectors.clone())
        self.item_offset = nn.Embedding(items, 1)
        self.widen = nn.Linear(item_vectors.shape[1], width, bias=False)
        self.category = nn.Linear(groups, width, bias=False)
        self.item_feature = nn.Linear(2, width)
        self.shown, self.liked = nn.Linear(width, width), nn.Linear(width, width)
        self.history = nn.Linear(2, width, bias=False)
        self.start = nn.Parameter(torch.zeros(width))
        self.layers = nn.ModuleList(_layer(settings) for _ in range(settings.layers))
        self.more = None
        self.last_norm = nn.LayerNorm(width)
        self.query, self.state_offset = nn.Linear(width, width), nn.Linear(width, 1)
        self.vector_offset, self.feature_offset = nn.Linear(width, 1, bias=False), nn.Linear(2, 1, bias=False)
        self.history_offset = nn.Linear(2, 1, bias=False)
        self.dropout = nn.Dropout(settings.dropout)
        nn.init.zeros_(self.item_offset.weight)
        nn.init.zeros_(self.query.bias)
        with torch.no_grad():
            self.query.weight.mul_(0.3)

    def describe(self, items: Tensor, features: Tensor, hidden: bool = False) -> tuple[Tensor, Tensor]:
        """Vectors (..., d) and offsets (...) of items (...) with features (..., 2).

        Of a hidden item nothing but its categories is known. Of a share of them, in training, no learned numbers are.
        """
        learned, offset = self.item(items), self.item_offset(items)[..., 0]
        if self.training or hidden:
            known = torch.zeros(items.shape) if hidden else torch.rand(items.shape) >= self.settings.item_dropout
            known = known.to(learned.dtype)
            learned, offset = learned * known[..., None], offset * known
        if hidden:
            features = self.unmet[items]
        vectors = self.widen(learned) + self.category(self.categories[items]) + self.item_feature(features)
        return vectors, offset + self.vector_offset(vectors)[..., 0] + self.feature_offset(features)[..., 0]

    def states(self, vectors: Tensor, clicks: Tensor, history: Tensor) -> Tensor:
        """What the network makes of the past.

        Args:
            vectors: (B, T - 1, d), of all events but the last. clicks: (B, T - 1), feedback on them.
            history: (B, T, 2), features before each event.

        Returns:
            (B, T, d), the state before each event.
        """
        past = self.shown(vectors) + clicks[..., None] * self.liked(vectors)
        start = self.start.expand(len(past), 1, -1)
        tokens = self.dropout(torch.cat([start, past], dim=1) + self.history(history))  # (B, T, d)
        return self.through(tokens)

    def through(self, tokens: Tensor) -> Tensor:
        """Tokens (B, T, d) through all layers; what a collective cache adds to the loss of an event goes to `more`."""
        bias = distance_bias(self.slopes, tokens.shape[1], self.settings.window)
        if isinstance(self.settings, CollectiveSettings):
            there, self.more = torch.ones(tokens.shape[:2], dtype=torch.bool), tokens.new_zeros(())
            for layer in self.layers:
                tokens, more = layer(tokens, bias, there)
                self.more = self.more + more
            return self.last_norm(tokens)  # type: ignore[no-any-return]
        for layer in self.layers:
            tokens = layer(tokens, bias)
        return self.last_norm(tokens)  # type: ignore[no-any-return]

    def queries(self, states: Tensor, history: Tensor) -> tuple[Tensor, Tensor]:
        """Queries (B, T, d), to be multiplied with item vectors, and user offsets (B, T)."""
        scaled = self.query(states) / math.sqrt(self.settings.width)
        return scaled, self.state_offset(states)[..., 0] + self.history_offset(history)[..., 0]

    def forward(self, items: Tensor, clicks: Tensor, history: Tensor, features: Tensor, hidden: bool = False) -> Tensor:
        """Log-odds (B, T) of a click on items (B, T).

        Args:
            items: whole numbers. clicks: (B, T), feedback on them; the last is not looked at.
            history: (B, T, 2), features of the user before each event. features: (B, T, 2), of the items.
            hidden: whether each item, until it is past, is one that nobody met.
        """
        vectors, offsets = self.describe(items, features)
        queries, user_offsets = self.queries(self.states(vectors[:, :-1], clicks[:, :-1], history), history)
        if hidden:
            vectors, offsets = self.describe(items, features, hidden=True)
        return (queries * vectors).sum(-1) + offsets + user_offsets


def _layer(settings: SequenceSettings) -> nn.Module:
    if not isinstance(settings, CollectiveSettings):
        return CausalLayer(settings.width, settings.inner, settings.heads, settings.dropout)
    sizes = settings.own, settings.pool, settings.peak, settings.balance
    cache = CollectiveKV(settings.width, settings.heads, *sizes)
    return CachedLayer(settings.width, settings.inner, settings.dropout, cache)


@dataclass(frozen=True)
class Scaling:
    """How the four running features are standardised: their means and deviations (4,) over training users' events."""

    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]

    @staticmethod
    def of(events: Events) -> "Scaling":
        """Of a log's training users."""
        known = events.features[events.to_train]
        return Scaling(known.mean(axis=0), np.maximum(known.std(axis=0), 1e-6))

    def apply(self, features: NDArray[np.float64], first: int = 0) -> NDArray[np.float32]:
        """Standardised features (N, n), the ones from number `first` on."""
        part = slice(first, first + features.shape[1])
        return ((features - self.mean[part]) / self.deviation[part]).astype(np.float32)


@dataclass(frozen=True)
class TrainedSequence:
    """A network with what training found.

    Attributes:
        network: with the weights of the best epoch. settings: its sizes. scaling: of its features.
        log_loss: of the training users set aside, after each epoch. best: the epoch, from 1.
    """

    network: SequenceNetwork
    settings: SequenceSettings
    scaling: Scaling
    log_loss: tuple[float, ...]
    best: int


class _Batches:
    """Events of users as padded arrays."""

    def __init__(self, events: Events, scaling: Scaling) -> None:
        self.events = events
        self.features = scaling.apply(events.features)

    def of(self, users: NDArray[np.int64]) -> tuple[tuple[Tensor, Tensor, Tensor, Tensor], Tensor, NDArray[np.int64]]:
        """Arguments of the network for users (B,), which events (B, T) are real, and the numbers of those."""
        events = self.events
        lengths = events.lengths[users]
        steps = np.arange(lengths.max())
        rows = events.starts[users][:, None] + np.minimum(steps, lengths[:, None] - 1)  # (B, T)
        real = steps < lengths[:, None]
        features = torch.from_numpy(self.features[rows])
        clicks = torch.from_numpy(events.clicks[rows].astype(np.float32))
        arguments = torch.from_numpy(events.items[rows]), clicks, features[..., :2], features[..., 2:]
        return arguments, torch.from_numpy(real), rows[real]


def fit_sequence(
    events: Events,
    settings: SequenceSettings | None = None,
    *,
    seed: int = 0,
    checkpoint: Path | None = None,
    report: Report | None = None,
) -> TrainedSequence:
    """Train on the training users' events, a tenth of these users set aside to know when to stop.

    The same events, settings and seed give the same network, whether training was interrupted or not.

    Args:
        events: of a log.
        settings: sizes.
        seed: of the first weights, the order of users and what is left out.
        checkpoint: written after each epoch, and read again if it is of the same training.
        report: called with the phase, steps done, steps in all, and the newest log loss.

    Raises:
        ValueError: fewer than two training users have events, or none of these is a click, or all are; or a pool is
            larger than the events, or has own numbers that save nothing.
    """
    settings = settings or SequenceSettings()
    if isinstance(settings, CollectiveSettings):
        check_pool(settings.pool, int(events.to_train.sum()))
    fitting, aside = _split(events, seed)
    scaling = Scaling.of(events)
    batches = _Batches(events, scaling)
    with deterministic(seed_from(seed, "sequence weights")):
        unmet = torch.from_numpy(scaling.apply(events.unmet, 2))
        network = SequenceNetwork(_scaled(events.item_vectors), _shares(events.categories), unmet, settings)
        optimiser = _optimiser(network, settings)
        training = Training(network, optimiser)
        key = f"{seed} {asdict(settings)} {_digest(events)}"
        training.load(checkpoint, key)
        while not training.finished(settings.epochs, settings.patience):
            epoch = len(training.log_loss)
            torch.manual_seed(seed_from(seed, "sequence epoch", epoch))
            order = np.random.default_rng(seed_from(seed, "sequence order", epoch)).permutation(fitting)
            steps = np.array_split(order, max(1, round(int(events.lengths[order].sum()) / settings.events)))
            _epoch(training, batches, steps, settings, report)
            training.keep(_log_loss(network, batches, aside))
            training.save(checkpoint, key)
            if report is not None:
                done, total = (epoch + 1) * len(steps), settings.epochs * len(steps)
                report("sequence", done, total, f"log loss {training.log_loss[-1]:.4f}")
        network.load_state_dict(training.best)
        _forget_unmet(network, events)
        network.eval()
    return TrainedSequence(network, settings, scaling, tuple(training.log_loss), int(np.argmin(training.log_loss)) + 1)


def _split(events: Events, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Training users to fit on, and those set aside."""
    users = np.flatnonzero(events.training & (events.lengths > 0))
    clicks = int(events.clicks[events.to_train].sum())
    if len(users) < 2 or not 0 < clicks < int(events.to_train.sum()):
        raise ValueError(
            "a sequence model needs two training users and both clicks and other interactions of theirs, given "
            f"{len(users)} such users and {clicks} clicks of {int(events.to_train.sum())} interactions; use a larger "
            "log"
        )
    users = np.random.default_rng(seed_from(seed, "sequence aside")).permutation(users)
    aside = max(1, round(VALIDATION_SHARE * len(users)))
    return np.sort(users[aside:]), np.sort(users[:aside])


def _optimiser(network: SequenceNetwork, settings: SequenceSettings) -> torch.optim.Optimizer:
    items = [network.item.weight, network.item_offset.weight]
    others = [weight for weight in network.parameters() if all(weight is not item for item in items)]
    return torch.optim.AdamW(
        [
            {
                "params": items,
                "lr": settings.item_rate,
                "rate": settings.item_rate,
                "weight_decay": settings.item_decay,
            },
            {"params": others, "lr": settings.rate, "rate": settings.rate, "weight_decay": settings.decay},
        ]
    )


def _epoch(
    training: Training,
    batches: _Batches,
    steps: list[NDArray[np.int64]],
    settings: SequenceSettings,
    report: Report | None,
) -> None:
    """One pass over users, so many at a step; a step's loss is the mean over its events."""
    optimiser, lengths = training.optimiser, batches.events.lengths
    network: Any = training.network
    network.train()
    first, total = len(training.log_loss) * len(steps), settings.epochs * len(steps)
    for step, users in enumerate(steps, first):
        for group in optimiser.param_groups:
            group["lr"] = group["rate"] * 0.5 * (1 + math.cos(math.pi * step / total))
        optimiser.zero_grad()
        for part in _parts(users, lengths):
            arguments, real, rows = batches.of(part)
            clicks = torch.from_numpy(batches.events.clicks[rows].astype(np.float32))
            loss = binary_cross_entropy_with_logits(network(*arguments)[real], clicks, reduction="sum")
            if network.more is not None:
                loss = loss + network.more * len(rows)
            (loss / int(lengths[users].sum())).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        if report is not None:
            report("sequence", step, total, None)


def _parts(users: NDArray[np.int64], lengths: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Users, the longest histories first, in parts whose padded histories have at most PAIRS pairs of events."""
    users = users[np.argsort(-lengths[users], kind="stable")]
    while len(users):
        count = max(1, PAIRS // int(lengths[users[0]]) ** 2)
        yield users[:count]
        users = users[count:]


def log_odds(
    fitted: TrainedSequence, events: Events, users: NDArray[np.int64], hidden: bool = False
) -> NDArray[np.float64]:
    """(N,) log-odds of a click on each event of users from those before it; not a number for other users' events.

    Args:
        fitted: the model. events: of a log. users: numbers.
        hidden: whether to predict each event as if nobody had met its item.
    """
    return _log_odds(fitted.network, _Batches(events, fitted.scaling), users, hidden)


def _log_odds(
    network: SequenceNetwork, batches: _Batches, users: NDArray[np.int64], hidden: bool = False
) -> NDArray[np.float64]:
    network.eval()
    found = np.full(len(batches.events), np.nan)
    users = users[batches.events.lengths[users] > 0]
    with torch.no_grad():
        for part in _parts(users, batches.events.lengths):
            arguments, real, rows = batches.of(part)
            found[rows] = network(*arguments, hidden)[real].numpy()
    return found


def _log_loss(network: SequenceNetwork, batches: _Batches, users: NDArray[np.int64]) -> float:
    found = _log_odds(network, batches, users)
    known = ~np.isnan(found)
    signed = np.where(batches.events.clicks[known], found[known], -found[known])
    return float(np.logaddexp(0.0, -signed).mean())


def _shares(categories: NDArray[np.bool_]) -> Tensor:
    return torch.from_numpy((categories / categories.sum(axis=1, keepdims=True)).astype(np.float32))


def _scaled(vectors: NDArray[np.float32]) -> Tensor:
    """A copy of item vectors whose numbers deviate by 1/2, about what a linear layer takes best."""
    return torch.from_numpy((vectors * (0.5 / max(float(vectors.std()), 1e-6))).astype(np.float32))


def _forget_unmet(network: SequenceNetwork, events: Events) -> None:
    """An item that no training user met is only its categories: what was drawn for it at first goes."""
    met = np.bincount(events.items[events.to_train], minlength=len(events.categories)) > 0
    unmet = torch.from_numpy(~met)
    with torch.no_grad():
        network.item.weight[unmet] = 0.0
        network.item_offset.weight[unmet] = 0.0


def _digest(events: Events) -> str:
    found = blake2b(digest_size=16)
    for array in (
        events.users, events.items, events.clicks, events.training, events.categories, events.item_vectors,
    ):  # fmt: skip
        found.update(f"{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def export(fitted: TrainedSequence, events: Events) -> dict[str, NDArray[Any]]:
    """The network's numbers and the users' pasts, as `lerl.envs.sequence_weights` says: LEARNED, or COLLECTIVE."""
    network, scaling = fitted.network, fitted.scaling
    features = torch.from_numpy(scaling.apply(events.catalog_features, 2))
    with torch.no_grad():
        vectors, offsets = network.describe(torch.arange(len(features)), features)
        shown, liked = network.shown(vectors), network.liked(vectors)
    root = math.sqrt(fitted.settings.width)
    layers: list[Any] = list(network.layers)
    parts: dict[str, Any] = {
        "item_vectors": vectors,
        "item_offsets": offsets,
        "shown": shown,
        "liked": liked,
        "start": network.start,
        "history": network.history.weight.T,
        "scaling": torch.tensor([USER_PRIOR, events.base, *scaling.mean[:2], *scaling.deviation[:2]]),
        "norms": torch.stack([torch.stack([torch.stack([n.weight, n.bias]) for n in layer.norms]) for layer in layers]),
        "slopes": network.slopes,
        "last_norm": torch.stack([network.last_norm.weight, network.last_norm.bias]),
        "query": network.query.weight.T / root,
        "query_shift": network.query.bias / root,
        "offset": torch.cat(
            [network.state_offset.weight[0], network.history_offset.weight[0], network.state_offset.bias]
        ),
    }
    linear = {name: [getattr(layer, name) for layer in layers] for name in ("out_proj", "fc_in", "fc_out")}
    if isinstance(fitted.settings, CollectiveSettings):
        linear["queries"] = [layer.query for layer in layers]
        linear["own"] = [layer.cache.mine for layer in layers]
        linear["route"] = [layer.cache.route for layer in layers]
        parts["pool"] = torch.stack([layer.cache.pool for layer in layers])
    else:
        linear["attention"] = [layer.attention for layer in layers]
    for name, of in linear.items():
        parts[name] = torch.stack([one.weight.T for one in of])
        parts[f"{name}_shift"] = torch.stack([one.bias for one in of])
    arrays = {name: np.ascontiguousarray(part.detach().numpy(), np.float32) for name, part in parts.items()}
    return {**arrays, "window": np.array([fitted.settings.window], np.int64), **_past(events, fitted.settings.reach)}


def _past(events: Events, reach: int) -> dict[str, NDArray[Any]]:
    """Each user's last events, as far back as the network sees, and how many and how many clicks were before."""
    left_out = np.maximum(events.lengths - reach, 0)
    keep = events.place >= left_out[events.users]
    first = np.minimum(events.starts[:-1] + left_out, len(events) - 1)
    clicked = np.where(left_out > 0, events.clicked_before[first], 0)
    return {
        "past_starts": np.concatenate([[0], np.cumsum(events.lengths - left_out)]),
        "past_items": events.items[keep].astype(np.int32),
        "past_clicks": events.clicks[keep].astype(np.float32),
        "past_before": np.stack([left_out, clicked], axis=1).astype(np.float32),
    }
