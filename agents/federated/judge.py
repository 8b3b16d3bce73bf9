"""Leave one out: the place, among all items, of a click that was kept from each client (NDCG at 10)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lerl.agents.federated.clients import Clients, tastes
from lerl.agents.next_item import ranking
from lerl.envs.draws import seed_from

Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]

LEAST = 5
"""Clients with fewer clicks are not judged."""

AT = 10
"""Places that count."""


@dataclass(frozen=True)
class Split:
    """Clients without two of their clicks.

    Attributes:
        clients: C clients. judged: (J,) which are judged. test, valid: (J,) items that were kept from each.
    """

    clients: Clients
    judged: Ints
    test: Ints
    valid: Ints


def leave_one_out(clients: Clients, seed: int) -> Split:
    """Keep two clicks of each client with LEAST or more, drawn by a seed."""
    users = np.repeat(np.arange(len(clients)), np.diff(clients.starts))
    clicks = np.flatnonzero(clients.clicked > 0)
    draw = np.random.default_rng(seed_from(seed, "leave one out")).random(len(clicks))
    clicks = clicks[np.lexsort((draw, users[clicks]))]
    owners, starts, counts = np.unique(users[clicks], return_index=True, return_counts=True)
    enough = counts >= LEAST
    if not enough.any():
        raise ValueError(f"no client has {LEAST} clicks, of which one could be judged; give a larger log")
    kept = np.ones(len(clients.items), bool)
    test, valid = clicks[starts[enough]], clicks[starts[enough] + 1]
    kept[test] = kept[valid] = False
    left = Clients.of(users[kept], clients.items[kept], clients.clicked[kept], clients.catalog)
    return Split(left, owners[enough], clients.items[test], clients.items[valid])


def ndcg(split: Split, vectors: Doubles, *, valid: bool = False, among: Ints | None = None) -> Doubles:
    """(J,) of each judged client: 1 / log2(place + 1) of the click that was kept, 0 from place 11 on.

    Items that the client met are left out; where items share a score, it is the mean over their places.

    Args:
        vectors: (I, W + 1), of which the last number is not used. valid: judge by the items of `valid`.
        among: items that are ranked; all where None.
    """
    own = tastes(split.clients, vectors)[split.judged]
    return by_scores(split, own, vectors[:, :-1], valid=valid, among=among)


def by_scores(split: Split, own: Doubles, items: Doubles, *, valid: bool = False, among: Ints | None = None) -> Doubles:
    """The same for vectors of clients (J, d) and items (I, d)."""
    target, starts = split.valid if valid else split.test, split.clients.starts
    rank, tied = np.zeros(len(split.judged)), np.ones(len(split.judged), np.int64)
    out = np.zeros(len(items), bool) if among is None else ~np.isin(np.arange(len(items)), among)
    for place, client in enumerate(split.judged):
        scores = items @ own[place]
        scores[out] = -np.inf
        scores[split.clients.items[starts[client] : starts[client + 1]]] = -np.inf
        mine = scores[target[place]]
        tied[place] = (scores == mine).sum()
        rank[place] = (scores > mine).sum() + (tied[place] + 1) / 2
    return ranking.ndcg(ranking.Places(rank, tied), AT)
