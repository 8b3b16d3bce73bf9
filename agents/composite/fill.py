"""The best whole for a person: exact where there are few, best-first beyond, with how far from the best it may be."""

import heapq
from itertools import combinations, count
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lerl.agents.composite.model import JIMA

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

EXACT = 2500  # combinations that are all looked at
OPENED = 200  # beginnings of wholes that best-first search opens at most


class Found(NamedTuple):
    """A whole.

    Attributes:
        items: (n,). value: as the model scores it, in standard deviations. gap: by how much the best of all may be
            better, 0 where it is the best.
    """

    items: Ints
    value: float
    gap: float


class _Problem(NamedTuple):
    """What wholes are worth: what each item adds alone, and each pair; and what products of all add.

    Attributes:
        alone: for each slot (I_s,). pairs: by slots (s, t), s < t, (I_s, I_t). vectors: for each slot (I_s, r). every:
            (r,), multiplied with the product of all vectors; 0 where there is no such term. base: what all have.
    """

    alone: list[Floats]
    pairs: dict[tuple[int, int], Floats]
    vectors: list[Floats]
    every: Floats
    base: float


def best_whole(model: JIMA, person: Floats, candidates: list[Ints]) -> Found:
    """The whole of highest score for a person.

    Args:
        model: fitted. person: (r + 2,) factors. candidates: for each slot items, at least one.
    """
    problem = _problem(model, person, candidates)
    sizes = [len(items) for items in candidates]
    if np.prod(sizes, dtype=float) <= EXACT:
        at = np.indices(sizes).reshape(len(sizes), -1)
        values = _values(problem, at)
        chosen, gap = at[:, int(values.argmax())], 0.0
    else:
        chosen, gap = _best_first(problem)
    items = np.array([own[place] for own, place in zip(candidates, chosen, strict=True)])
    return Found(items, float(_values(problem, np.asarray(chosen)[:, None])[0]), gap)


def _problem(model: JIMA, person: Floats, candidates: list[Ints]) -> _Problem:
    r, u = model.width, person[: model.width]
    vectors = [model.items[items, :r] for items in candidates]
    alone = [
        model.items[items, r] + v @ (head * u) for items, v, head in zip(candidates, vectors, model.parts, strict=True)
    ]
    pairs = {}
    for number, (s, t) in enumerate(combinations(range(model.slots), 2)):
        pairs[s, t] = vectors[s] * (model.duos[number] + model.third[number] * u) @ vectors[t].T
    return _Problem(alone, pairs, vectors, model.every * u, model.base + float(person[r]))


def _values(problem: _Problem, at: Ints) -> Floats:
    """What wholes are worth, by the places (n, C) of their items among the candidates, (C,)."""
    values = problem.base + sum(alone[own] for alone, own in zip(problem.alone, at, strict=True))
    for (s, t), pairs in problem.pairs.items():
        values = values + pairs[at[s], at[t]]
    if problem.every.any():
        product = np.prod([v[own] for v, own in zip(problem.vectors, at, strict=True)], axis=0)
        values = values + product @ problem.every
    return np.asarray(values)


def _best_first(problem: _Problem) -> tuple[Ints, float]:
    """Opens the beginning of a whole that may become best, until a whole is; the best found, and what may be missed.

    A beginning can become at most what it is worth plus, for each open slot, the best of what an item adds with what is
    already there, plus the best pair of each two open slots.
    """
    n = len(problem.alone)
    best = _climbed(problem)
    value = float(_values(problem, best[:, None])[0])
    number = count()
    heap: list[tuple[float, int, tuple[int, ...]]] = [(-np.inf, next(number), ())]
    bound = np.inf
    for _ in range(OPENED):
        if not heap:
            return best, 0.0
        above, _, begun = heapq.heappop(heap)
        bound = -above
        if bound <= value + 1e-12:
            return best, 0.0
        bounds = _bounds(problem, begun)
        if len(begun) == n - 1:
            place = int(bounds.argmax())
            if bounds[place] > value:
                best, value = np.array([*begun, place]), float(bounds[place])
            continue
        for place in np.flatnonzero(bounds > value).tolist():
            heapq.heappush(heap, (-float(bounds[place]), next(number), (*begun, place)))
    left = max((-entry[0] for entry in heap), default=value)
    return best, max(min(bound, left) - value, 0.0)


def _climbed(problem: _Problem) -> Ints:
    """A whole that no change of one item makes better."""
    n = len(problem.alone)
    at = np.array([int(alone.argmax()) for alone in problem.alone])
    for _ in range(10):
        before = at.copy()
        for slot in range(n):
            tried = np.repeat(at[:, None], len(problem.alone[slot]), axis=1)
            tried[slot] = np.arange(tried.shape[1])
            at[slot] = int(_values(problem, tried).argmax())
        if (before == at).all():
            break
    return at


def _bounds(problem: _Problem, begun: tuple[int, ...]) -> Floats:
    """What a whole that begins so is worth at most with each item of the next slot; exact where that is the last."""
    slot, n = len(begun), len(problem.alone)
    worth, product = problem.base, np.ones_like(problem.every)
    for s, place in enumerate(begun):
        worth += problem.alone[s][place] + sum(problem.pairs[s, t][place, begun[t]] for t in range(s + 1, slot))
        product = product * problem.vectors[s][place]
    bounds = worth + problem.alone[slot] + sum(problem.pairs[s, slot][begun[s]] for s in range(slot))
    for t in range(slot + 1, n):
        adds = problem.alone[t] + sum(problem.pairs[s, t][begun[s]] for s in range(slot))
        bounds = bounds + (adds + problem.pairs[slot, t]).max(axis=1)
        bounds = bounds + sum(problem.pairs[t, later].max() for later in range(t + 1, n))
    if problem.every.any():
        sofar = product * problem.vectors[slot]
        rest = [np.abs(problem.vectors[t]).max(axis=0) for t in range(slot + 1, n)]
        most = np.prod(rest, axis=0) if rest else np.ones_like(problem.every)
        bounds = bounds + (np.abs(sofar * problem.every) @ most if rest else sofar @ problem.every)
    return np.asarray(bounds)
