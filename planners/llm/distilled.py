"""A small network in a chat model's place: it learns from recorded plans which categories a state calls for."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lerl.envs.files import refuse_endless, write_whole
from lerl.planners.base import PlanContexts, Planner, Plans, Sessions
from lerl.planners.llm.prompt import read_answer
from lerl.planners.llm.traffic import Traffic
from lerl.planners.satiation import Satiation, tiredness

FEATURES = 5
FADE = 8.0  # steps over which exposure fades in what the network sees
HIDDEN = 32
EPOCHS, BATCH, RATE = 200, 64, 3e-3
STEPS = 10_000  # of learning at most, where so many plans were recorded that fewer epochs do
HELD_OUT = 0.2
UNSURE = 0.5  # log-odds between the last category allowed and the first one left out

Arrays = dict[str, NDArray[Any]]
Recorded = tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]


class DistilledError(ValueError):
    """Too little to learn from, or a file that is no distilled planner; the message says what to do."""


def features(contexts: PlanContexts) -> NDArray[np.float32]:
    """What the network sees of sessions, (B, C, 5): log-odds of predicted CTR, exposure, what feedback said beyond what
    was predicted, how uncertain that is, and whether anything is left to show."""
    plain = Satiation(0.0, 1.0, np.eye(len(contexts.names)), float(np.exp(-1 / FADE)))  # not math.exp: another bit
    exposure, surplus, spread = tiredness(contexts, plain)
    chance = np.clip(contexts.predicted_ctr.astype(np.float64), 0.001, 0.999)
    left = contexts.predicted_ctr > 0
    return np.stack([np.log(chance / (1 - chance)), exposure, surplus, spread, left], axis=2).astype(np.float32)


@dataclass(frozen=True)
class Distillation:
    """What came of a distillation.

    Attributes:
        pairs: recorded plans in all. held_out: how many of them were kept from training.
        agreement: share of the categories allowed in held-out plans that the network allows too, both allowing as many.
        chance: the same for the categories most often allowed in training, whatever the state.
        agreed, allowed: (held_out,) int, categories of each held-out plan that both allow, and that the plan allows.
    """

    pairs: int
    held_out: int
    agreement: float
    chance: float
    agreed: NDArray[np.int64]
    allowed: NDArray[np.int64]


def train_network(
    seen: NDArray[np.float32], allowed: NDArray[np.bool_], avoid: NDArray[np.bool_], seed: int
) -> tuple[Arrays, Distillation]:
    """Train a network on N recorded plans.

    One network scores every category from its own features and the means and maxima over all, so that it has few
    weights and knows no category by its number (Zaheer et al., "Deep sets", NeurIPS 2017). It is trained by binary
    cross-entropy on what was allowed and, by a second output, avoided.

    Args:
        seen: (N, C, 5). allowed, avoid: (N, C). seed: of weights, batches and what is held out.

    Returns:
        Its weights by name, and how well it does on held-out plans.

    Raises:
        DistilledError: there are too few plans.
    """
    import torch

    count = len(seen)
    if count < 20:
        raise DistilledError(f"a network needs at least 20 recorded plans to learn from, given {count}")
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(seed % 2**63)
    order = torch.randperm(count, generator=generator)
    cut = max(int(HELD_OUT * count), 4)
    held, train = order[:cut].numpy(), order[cut:]
    inputs = torch.as_tensor(_inputs(seen))
    targets = torch.as_tensor(np.stack([allowed, avoid], axis=2).astype(np.float32))
    mask = torch.as_tensor(seen[:, :, 4] > 0)
    network = _network(generator)
    optimiser = torch.optim.Adam(network.parameters(), RATE, weight_decay=1e-4)
    epochs = min(EPOCHS, -(-STEPS * BATCH // len(train)))
    for epoch in range(epochs):
        for group in optimiser.param_groups:
            group["lr"] = RATE * (1 - epoch / epochs)
        for rows in train[torch.randperm(len(train), generator=generator)].split(BATCH):  # type: ignore[no-untyped-call]
            loss = torch.nn.functional.binary_cross_entropy_with_logits(
                network(inputs[rows])[mask[rows]], targets[rows][mask[rows]]
            )
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    weights = {name: value.detach().numpy().copy() for name, value in network.state_dict().items()}
    sizes = allowed.sum(axis=1)
    arrays = {**weights, "size": np.array(int(np.median(sizes)))}
    scores = _scores(arrays, seen[held])[:, :, 0]
    usual = np.broadcast_to(allowed[train.numpy()].mean(axis=0), scores.shape)
    agreed, wanted = _agreed(scores, allowed[held]), sizes[held]
    most = max(int(wanted.sum()), 1)
    chance = float(_agreed(usual, allowed[held]).sum() / most)
    return arrays, Distillation(count, cut, float(agreed.sum() / most), chance, agreed, wanted)


def _agreed(scores: NDArray[Any], allowed: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(N,) categories of each plan that are among the best scored ones, as many as the plan allows."""
    rank = np.argsort(np.argsort(-scores, axis=1, kind="stable"), axis=1)
    return ((rank < allowed.sum(axis=1, keepdims=True)) & allowed).sum(axis=1)


def _network(generator: Any) -> Any:
    import torch

    layers = [torch.nn.Linear(3 * FEATURES, HIDDEN), torch.nn.Linear(HIDDEN, HIDDEN), torch.nn.Linear(HIDDEN, 2)]
    with torch.no_grad():
        for layer in layers:
            bound = layer.in_features**-0.5
            layer.weight.uniform_(-bound, bound, generator=generator)
            layer.bias.zero_()
    first, second, last = layers
    return torch.nn.Sequential(first, torch.nn.Tanh(), second, torch.nn.Tanh(), last)


def _inputs(seen: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, C, 15): each category's own features, and their means and maxima over all."""
    whole = np.concatenate([seen.mean(axis=1), seen.max(axis=1)], axis=1)
    return np.concatenate([seen, np.repeat(whole[:, None], seen.shape[1], axis=1)], axis=2)


def _scores(weights: Arrays, seen: NDArray[np.float32]) -> NDArray[np.float64]:
    """(N, C, 2) log-odds of being allowed and avoided; sums are the same however many states lie side by side."""
    hidden = _inputs(seen).astype(np.float64)
    for layer in (0, 2, 4):
        matrix = weights[f"{layer}.weight"].astype(np.float64)
        hidden = np.einsum("nci,oi->nco", hidden, matrix, optimize=False) + weights[f"{layer}.bias"]
        if layer < 4:
            hidden = np.tanh(hidden)
    return hidden


class DistilledPlanner(Planner):
    """Plans as a chat model was seen to plan, without asking it.

    Args:
        size: most categories a plan allows.
        weights: what `train_network` gave.
    """

    def __init__(self, size: int, weights: Arrays) -> None:
        self.size, self.weights = size, weights

    def plan(self, contexts: PlanContexts) -> Plans:
        """The categories that the network scores highest; avoided are others that it says to avoid."""
        value, avoid = self._values(contexts)
        allowed = np.zeros(value.shape, bool)
        best = np.argsort(-value, axis=1, kind="stable")[:, : self.count]
        np.put_along_axis(allowed, best, True, axis=1)
        return Plans(allowed, avoid & ~allowed)

    @property
    def count(self) -> int:
        """Categories that it allows: as many as most plans it learned from, within the size of a plan."""
        return min(self.size, max(int(self.weights["size"]), 1))

    def _values(self, contexts: PlanContexts) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        scores = _scores(self.weights, features(contexts))
        return np.where(contexts.predicted_ctr > 0, scores[:, :, 0], -1e9), scores[:, :, 1] > 0

    def state(self) -> Arrays:
        """Its weights."""
        return dict(self.weights)

    def restore(self, state: Arrays) -> None:
        """Take over weights."""
        self.weights = dict(state)


class RefreshedPlanner(DistilledPlanner):
    """A distilled planner that queries its teacher in training sessions about states that it is unsure of; never later.

    This is DAgger (Ross, Gordon and Bagnell, "A reduction of imitation learning and structured prediction to no-regret
    online learning", AISTATS 2011), with uncertainty sampling: its own plans lead to the states, and of these the
    teacher says what it would have planned in uncertain ones.

    Args:
        size, weights: as before.
        seed: of what is asked and of training again.
        teacher: the planner that it learned from, whose plans have rationales.
        recorded: the pairs it was trained on, (N, C, 5), (N, C) and (N, C).
        most: states that are asked about in each round of sessions.
    """

    def __init__(self, size: int, weights: Arrays, seed: int, teacher: Any, recorded: Recorded, most: int) -> None:
        super().__init__(size, weights)
        self.seed, self.teacher, self.recorded, self.most = seed, teacher, recorded, most
        self._unsure: list[PlanContexts] = []
        self._learning = True

    def plan(self, contexts: PlanContexts) -> Plans:
        """As before; states on which two categories are nearly even at the edge of the plan are remembered."""
        value, _ = self._values(contexts)
        if self._learning and self.count < value.shape[1]:
            edge = -np.partition(-value, (self.count - 1, self.count), axis=1)[:, self.count - 1 : self.count + 1]
            self._unsure.append(contexts.take(np.flatnonzero(edge[:, 0] - edge[:, 1] < UNSURE)))
        return super().plan(contexts)

    def session_ended(self, sessions: Sessions) -> None:
        """Ask the teacher about some of the remembered states, and train again with its plans, if it has any.

        Raises:
            DistilledError: the catalog is not the one that it learned from.
        """
        for contexts in self._unsure:
            check_categories(self.recorded, len(contexts.names))
        count = sum(len(contexts) for contexts in self._unsure)
        draw = np.random.default_rng([self.seed, len(self.recorded[0])])
        drawn = draw.choice(count, min(self.most, count), replace=False)
        fresh: list[Recorded] = [self.recorded]
        first = 0
        for contexts in self._unsure:
            rows = np.sort(drawn[(drawn >= first) & (drawn < first + len(contexts))]) - first
            first += len(contexts)
            if len(rows):
                asked = contexts.take(rows)
                plans = self.teacher.plan(asked)
                usable = np.array([not reason.startswith("fallback:") for reason in plans.rationale])
                fresh.append((features(asked)[usable], (plans.allowed & ~plans.avoid)[usable], plans.avoid[usable]))
        self._unsure = []
        if sum(len(part[0]) for part in fresh) > len(self.recorded[0]):
            seen, allowed, avoid = (np.concatenate(parts) for parts in zip(*fresh, strict=True))
            self.recorded = seen, allowed, avoid
            self.weights, _ = train_network(*self.recorded, self.seed)

    def restore(self, state: Arrays) -> None:
        """Take over weights, and remember nothing any more."""
        super().restore(state)
        self._unsure, self._learning = [], False


def check_categories(learned: Recorded, categories: int) -> None:
    """Refuse to learn more on a catalog of another size than that which recorded plans are of.

    Raises:
        DistilledError: it is of another size.
    """
    if learned[0].shape[1] != categories:
        raise DistilledError(
            f"planner.distilled learned from plans for {learned[0].shape[1]} categories, here are {categories}; "
            "refresh it on the catalog it comes from, or give planner.refresh 0"
        )


def recorded(traffic: Traffic) -> Recorded:
    """The plans that a file of traffic holds, with the states they were made for.

    Raises:
        DistilledError: there are none, they are of catalogs of different sizes, or the file is damaged.
    """
    pairs = [_pair(*kept, traffic.path) for kept in traffic.plans()]
    if len({len(seen) for seen, _, _ in pairs}) != 1:
        raise DistilledError(f"{traffic.path} holds no plans of a chat model to learn from, or of different catalogs")
    seen, allowed, avoid = (np.stack(part) for part in zip(*pairs, strict=True))
    return seen, allowed & ~avoid, avoid


def _pair(key: str, state: bytes, text: str, path: Path) -> Recorded:
    """(C, 5) features of a state, and (C,) what was allowed and what avoided there."""
    try:
        seen = np.frombuffer(state, np.float32).reshape(-1, FEATURES)
        if not np.isfinite(seen).all():
            raise ValueError("its state holds what is no number")
        allowed, avoid = np.zeros((2, len(seen)), bool)
        choice = read_answer(text, key[:6], np.ones(len(seen), bool), len(seen))
        allowed[list(choice.allowed)], avoid[list(choice.avoid)] = True, True
    except ValueError as error:
        raise DistilledError(f"{path} holds a plan that cannot be read ({error}); record the run again") from error
    return seen, allowed, avoid


def save(weights: Arrays, path: Path) -> None:
    """Write weights as arrays, nothing else; whole or not at all."""
    stream = io.BytesIO()
    np.savez(stream, **weights)  # type: ignore[arg-type]
    write_whole(path, stream.getvalue())


def load(path: Path) -> Arrays:
    """Weights that `save` wrote; loading executes nothing from the file.

    Raises:
        DistilledError: it is something else.
    """
    if not path.exists():
        raise DistilledError(f"there is no {path}; make it with lerl distill RUN, and give RUN as planner.distilled")
    shapes: dict[str, tuple[int, ...]] = {
        "0.weight": (HIDDEN, 3 * FEATURES),
        "2.weight": (HIDDEN, HIDDEN),
        "4.weight": (2, HIDDEN),
    }
    shapes |= {"0.bias": (HIDDEN,), "2.bias": (HIDDEN,), "4.bias": (2,), "size": ()}
    try:
        refuse_endless(path)
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as kept:
            found = {name: kept[name] for name in shapes}
    except Exception as error:  # NumPy raises whatever its readers of archives do
        raise DistilledError(f"{path} is no distilled planner ({error}); make one with lerl distill RUN") from error
    if any(
        found[name].shape != shape or found[name].dtype.kind not in "fiu" or not np.isfinite(found[name]).all()
        for name, shape in shapes.items()
    ):
        raise DistilledError(f"{path} is no distilled planner; make one with lerl distill RUN")
    return found
