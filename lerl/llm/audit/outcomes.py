"""What came of every plan: categories, how far it is from the plan without a cue, and what the next slate is like."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import rel_entr
from scipy.stats import rankdata

from lerl.llm.audit.states import States
from lerl.planners.base import Plans
from lerl.planners.llm.prompt import Choice
from lerl.report import metrics

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Outcomes:
    """Of n plans for C categories; a row without a usable plan is nan, or False.

    Attributes:
        rows: (n,) int, the state of each. usable: (n,) bool.
        allowed, avoid: (n, C) bool; a category both allowed and avoided counts as avoided only.
        slates: (n, k) int32, what would be shown next, items by what is known of tastes; -1 where there is none.
        diversity: (n,) in [0, 2], mean distance 1 - cosine between these items, by what agents know of them.
        popularity: (n,) in [0, 1], mean rank of these items among all by known clicks, 1 for the most popular.
        reward: (n,) in [0, 1], expected reward of the slate, known to the simulator alone.
    """

    rows: NDArray[np.int64]
    usable: NDArray[np.bool_]
    allowed: NDArray[np.bool_]
    avoid: NDArray[np.bool_]
    slates: NDArray[np.int32]
    diversity: Floats
    popularity: Floats
    reward: Floats

    def shares(self) -> Floats:
        """(n, C) the plan as a distribution: all allowed categories alike."""
        return shares(self.allowed)


def outcomes(states: States, rows: NDArray[np.int64], choices: Sequence[Choice | None]) -> Outcomes:
    """What comes of plans (n,) for states `rows` (n,); None where there was no usable answer."""
    count = len(states.contexts.names)
    allowed, avoid = np.zeros((2, len(rows), count), bool)
    for number, choice in enumerate(choices):
        if choice is not None:
            allowed[number, list(choice.allowed)], avoid[number, list(choice.avoid)] = True, True
    usable = np.array([choice is not None for choice in choices], bool)
    allowed &= ~avoid
    slates = np.full((len(rows), states.task.config.env.slate_size), -1, np.int32)
    slates[usable] = states.slates(rows[usable], Plans(allowed[usable], avoid[usable]))
    diversity, popularity, reward = np.full((3, len(rows)), np.nan)
    known = states.task.population.knowledge
    vectors, rank = known.item_vectors[:, :-1], rankdata(known.popularity) / len(known.popularity)
    kept: dict[bytes, float] = {}
    for number in np.flatnonzero(usable).tolist():
        slate = slates[number]
        if slate.tobytes() not in kept:
            kept[slate.tobytes()] = metrics.intra_list_distance(slate[None], vectors)
        diversity[number] = kept[slate.tobytes()]
        popularity[number] = rank[slate[slate >= 0]].mean() if (slate >= 0).any() else np.nan
    reward[usable] = states.rewards(rows[usable], slates[usable])
    return Outcomes(rows, usable, allowed, avoid, slates, diversity, popularity, reward)


def shares(allowed: NDArray[np.bool_]) -> Floats:
    """Plans (n, C) as distributions: all allowed categories alike; nothing where none is."""
    return np.asarray(allowed / np.maximum(allowed.sum(axis=1, keepdims=True), 1))


def distance(left: Floats, right: Floats) -> Floats:
    """(n,) Jensen-Shannon distance, in [0, 1], of distributions (n, C): the square root of the divergence in bits.

    Source: Endres and Schindelin 2003, "A new metric for probability distributions" (IEEE Trans. Inf. Theory 49).
    """
    middle = (left + right) / 2
    divergence = (rel_entr(left, middle) + rel_entr(right, middle)).sum(axis=1) / (2 * np.log(2))
    there = (left.sum(axis=1) > 0) & (right.sum(axis=1) > 0)
    return np.where(there, np.sqrt(np.clip(divergence, 0.0, 1.0)), np.nan)


def jaccard(left: NDArray[np.bool_], right: NDArray[np.bool_]) -> Floats:
    """(n,) the share of categories in either of two plans (n, C) that is in both; nan where one is empty."""
    both, either = (left & right).sum(axis=1), (left | right).sum(axis=1)
    empty = ~left.any(axis=1) | ~right.any(axis=1)
    return np.where(empty, np.nan, both / np.maximum(either, 1))
