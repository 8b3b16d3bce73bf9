"""What is learned of people and items: item vectors, topics, what boredom costs, how tastes differ and drift."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lerl.envs.population import Knowledge
from lerl.envs.topics import unit_rows

Floats = NDArray[np.float32]

WEIGHT, CONSTANT = 0.5, 8.0  # of boredom, before anything was learned: log-odds per unit, steps
TIRING = 30.0  # steps in which fatigue rises to 1 - 1/e
DRIFT = 0.01  # variance that a step adds to a taste, as a share of its squared length
REVERT = 0.05


class UserModel(NamedTuple):
    """How people react to items, as far as it is known; every array is read by compiled code.

    log-odds of a click = taste . vector + level + offset - weight * suffers . exposure - tire * fatigue
        - alike * mean cosine to the other items of the slate

    A person is a taste and a level, normal around what the history says of them, and drifts from step to step; exposure
    is to topics, see `lerl.envs.config.Boredom`, of which an item may have several in part.

    Attributes:
        vectors: (I, d) float32. offsets: (I,) float32, log-odds.
        fills: (I, K) float32, how much an item exposes to each topic. suffers: (I, K) float32, its share of each
            topic's exposure.
        spread: (d + 1, d + 1) float64, covariance of taste and level at the begin of a session around what is known.
        noise: (d + 1, d + 1) float64, covariance that a step adds.
        weight: log-odds per unit of exposure. keep: of exposure from one step to the next.
        tire: log-odds at full fatigue. rise: share of the way to full fatigue per step.
        revert: share of the way back to what is known, per step, of the taste.
        doubts: (I,) float32, standard deviation of what is not known of an offset.
        units: (I, d) float32, directions in which items are alike. alike: log-odds per unit of the mean cosine.
        groups: (I, G) float32, chances that an item is of each group whose repetition drives people away. rule: (4,)
            float64, which repetition does, see `lerl.agents.belief.repetition.Rule`, zeros where none does.
        prices: (T, R) float64, log-odds that a slate's first repetition costs, by slates and repetitions before it.
    """

    vectors: Floats
    offsets: Floats
    fills: Floats
    suffers: Floats
    spread: NDArray[np.float64]
    noise: NDArray[np.float64]
    weight: float
    keep: float
    tire: float
    rise: float
    revert: float
    doubts: Floats = np.zeros(0, np.float32)
    units: Floats = np.zeros((0, 0), np.float32)
    alike: float = 0.0
    groups: Floats = np.zeros((0, 0), np.float32)
    rule: NDArray[np.float64] = np.zeros(4)
    prices: NDArray[np.float64] = np.zeros((1, 1))


def check_model(arrays: dict[str, NDArray[Any]], items: int, dim: int) -> UserModel:
    """A model from the arrays of a file, for so many items and tastes of `dim` numbers.

    Raises:
        ValueError: shapes that do not fit, or a number that is not finite.
    """
    topics = arrays["fills"].shape[-1]
    matrix, square = (items, topics), (dim + 1, dim + 1)
    shapes = {"vectors": (items, dim), "offsets": (items,), "doubts": (items,), "fills": matrix, "suffers": matrix}
    shapes |= {"spread": square, "noise": square, "units": (items, dim), "rule": (4,)}
    shapes |= {"groups": (items, *arrays["groups"].shape[1:2]), "prices": (*arrays["prices"].shape[:2],)}
    found: dict[str, Any] = {}
    for name, array in arrays.items():
        if np.shape(array) != shapes.get(name, ()) or not np.isfinite(array).all():
            raise ValueError(f"{name} is no finite array of shape {shapes.get(name, ())}")
        wide = np.float64 if name in ("spread", "noise", "rule", "prices") else np.float32
        found[name] = np.ascontiguousarray(array, wide) if np.ndim(array) else float(array)
    return UserModel(**found)


def prior_model(knowledge: Knowledge, fills: Floats, suffers: Floats, users: NDArray[np.int64]) -> UserModel:
    """Before any session: items as known, tastes about as uncertain as they differ, boredom as assumed.

    Args:
        knowledge: the agents'; the last number of a taste is 1, that of an item vector its offset.
        fills, suffers: (I, K), see `UserModel`.
        users: numbers of the training users.
    """
    tastes = knowledge.tastes[users, :-1].astype(np.float64)
    dim = tastes.shape[1]
    spread, noise = np.zeros((dim + 1, dim + 1)), np.zeros((dim + 1, dim + 1))
    np.fill_diagonal(spread[:dim, :dim], tastes.var(axis=0).mean())
    spread[dim, dim] = knowledge.user_offsets[users].var()
    np.fill_diagonal(noise[:dim, :dim], DRIFT * (tastes**2).sum(axis=1).mean() / dim)
    return UserModel(
        np.ascontiguousarray(knowledge.item_vectors[:, :-1]),
        np.ascontiguousarray(knowledge.item_vectors[:, -1]),
        fills,
        suffers,
        spread + 1e-6 * np.eye(dim + 1),
        noise,
        WEIGHT,
        float(np.exp(-1 / CONSTANT)),
        0.0,
        float(1 - np.exp(-1 / TIRING)),
        REVERT,
        np.zeros(len(fills), np.float32),
        unit_rows(knowledge.item_vectors[:, :-1]),
        groups=np.zeros((len(fills), 1), np.float32),
    )
