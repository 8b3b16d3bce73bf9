"""Clients: each is a person with the interactions of that person, who computes what a round asks for.

The loss of a client is that of implicit-feedback least squares (Hu, Koren and Volinsky 2008): what was clicked has the
target 1, what was met without a click 0, both with weight 1, and everything else 0 with the weight UNMET. The person's
own vector is solved exactly in each round from the items' vectors as they are, and never leaves the client; nothing is
kept between rounds, so that a client may miss some. As in federated collaborative filtering (Ammad-ud-din et al. 2019,
arXiv 1901.09888) what leaves is a gradient for the items' side, here summed by code. The part of items that were not
met is the same for all items of a code, up to one product, so that no item needs to be sampled, and every code changes.
The last number of a vector is an offset: log-odds that the item is clicked by those who meet it.
"""

from dataclasses import dataclass, replace

import numpy as np
from numba import njit
from numpy.typing import NDArray

from lerl.agents.federated.messages import Download, Floats, MessageError, Upload
from lerl.envs.draws import seed_from

Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]

UNMET = 0.1
"""Weight of an item that was not met, where one that was has 1."""

SAMPLED = 4
"""Items that were not met, for each that was, whose rows the sparse baseline sends."""

RIDGE = 1.0
"""Shrinks a person's vector to 0."""


class ClientError(ValueError):
    """Clients that cannot take part; the message says which and what to do."""


@dataclass(frozen=True)
class Clients:
    """C clients and what each met.

    Attributes:
        items: (N,) int64, places in the catalog, client after client. clicked: (N,) float64, 1 or 0.
        starts: (C + 1,) int64, where each client's begin.
        catalog: how many items there are.

    Raises:
        ClientError: there are none, one has no interactions, or an item is not in the catalog.
    """

    items: Ints
    clicked: Doubles
    starts: Ints
    catalog: int

    def __post_init__(self) -> None:
        if len(self.starts) < 2:
            raise ClientError("there are no clients; give a log with users to train on")
        empty = np.flatnonzero(np.diff(self.starts) < 1)
        if len(empty):
            raise ClientError(f"client {empty[0]} has no interactions ({len(empty):,} such); leave these out")
        if self.items.min() < 0 or self.items.max() >= self.catalog:
            raise ClientError(f"items must be from 0 to below {self.catalog:,}, given up to {self.items.max():,}")

    def __len__(self) -> int:
        return len(self.starts) - 1

    @staticmethod
    def of(users: Ints, items: Ints, clicked: Doubles, catalog: int) -> "Clients":
        """From rows (N,): a client for each user that has one, in the order of users' numbers."""
        order = np.argsort(users, kind="stable")
        _, counts = np.unique(users, return_counts=True)
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return Clients(items[order].astype(np.int64), clicked[order].astype(np.float64), starts, catalog)

    def without(self, items: Ints) -> "Clients":
        """The same who never met some items; clients who met nothing else are left out."""
        users = np.repeat(np.arange(len(self)), np.diff(self.starts))
        kept = ~np.isin(self.items, items)
        return Clients.of(users[kept], self.items[kept], self.clicked[kept], self.catalog)


@dataclass(frozen=True)
class Shared:
    """What all clients of a round compute with; made from what the server sent.

    Attributes:
        vectors: (I, W) float64. rows: (I, L) int64, the rows of a message that an item's codes are.
        gram: (W - 1, W - 1), vectors' products summed over items. sums: (R, W - 1), vectors summed by code.
        sizes: (R,) float64, how many items have a code.
    """

    vectors: Doubles
    rows: Ints
    gram: Doubles
    sums: Doubles
    sizes: Doubles

    @staticmethod
    def of(vectors: Doubles, rows: Ints, count: int) -> "Shared":
        """From vectors and rows, with `count` rows in a message."""
        bare = np.ascontiguousarray(vectors[:, :-1])
        sizes = np.bincount(rows.ravel(), minlength=count).astype(np.float64)
        sums = sum_by_code(bare, rows, count)
        return Shared(np.ascontiguousarray(vectors), np.ascontiguousarray(rows), _gram(bare), sums, sizes)


class Device:
    """What a client keeps of items between rounds, all of it public: vectors and tables of codes.

    The server keeps the same. Clients that share a process share one.

    Args:
        vectors: (I, W) float64, with which all begin; `first_vectors` makes them from a seed.
    """

    def __init__(self, vectors: Doubles) -> None:
        self.vectors = vectors.copy()
        self._tables = dict[int, tuple[Ints, int]]()
        self._now = -1

    def receive(self, message: Download) -> Shared:
        """Add what the last round changed, and make ready for the next.

        Raises:
            MessageError: it does not fit to what was received before.
        """
        if len(message.codebooks):
            if self._now not in self._tables or len(message.codebooks) != self._tables[self._now][1]:
                raise MessageError("codebooks of a table of codes that was never sent")
            add_codes(self.vectors, self._tables[self._now][0], message.codebooks)
        if len(message.digits):
            if len(message.digits) != len(self.vectors) or (message.digits >= np.array(message.sizes)).any():
                raise MessageError("a table of codes that does not fit to the items")
            starts = np.concatenate([[0], np.cumsum(message.sizes)[:-1]]).astype(np.int64)
            self._tables[message.table] = message.digits.astype(np.int64) + starts, sum(message.sizes)
        if message.table not in self._tables:
            raise MessageError("a table of codes that was never sent")
        self._now = message.table
        return Shared.of(self.vectors, *self._tables[self._now])


def first_vectors(items: int, width: int, seed: int) -> Doubles:
    """(I, W + 1) small random vectors, with an offset of 0."""
    vectors = np.random.default_rng(seed_from(seed, "federated vectors")).normal(0.0, 0.1, (items, width + 1))
    vectors[:, width] = 0.0
    return vectors


def add_codes(vectors: Doubles, rows: Ints, books: Floats) -> None:
    """Add to each of vectors (I, W) its codes' numbers: books (R, W) at its rows (I, L)."""
    _add_codes(vectors, rows, books.astype(np.float64))


def sum_by_code(vectors: Doubles, rows: Ints, count: int) -> Doubles:
    """(R, W) vectors (I, W) summed at their rows (I, L)."""
    sums = np.zeros((count, vectors.shape[1]))
    _add_by_code(sums, rows, np.ascontiguousarray(vectors))
    return sums


def answer(clients: Clients, client: int, shared: Shared) -> Upload:
    """What a client sends."""
    rows = slice(clients.starts[client], clients.starts[client + 1])
    books, counts = np.zeros((len(shared.sums), shared.vectors.shape[1])), np.zeros(len(shared.sums))
    _answer(clients.items[rows], clients.clicked[rows], _parts(shared), books, counts)
    return Upload(books.astype(np.float32), counts.astype(np.float32))


def sum_answers(clients: Clients, shared: Shared) -> tuple[Doubles, Doubles]:
    """(R, W) and (R,): the sums over clients, in their order, of what `answer` gives; the same bits, but faster."""
    books, counts = np.zeros((len(shared.sums), shared.vectors.shape[1])), np.zeros(len(shared.sums))
    _sum_answers(clients.items, clients.clicked, clients.starts, _parts(shared), books, counts)
    return books, counts


def answer_sparse(clients: Clients, client: int, shared: Shared, draw: np.random.Generator) -> Upload:
    """The baseline that sends rows of items: of those met, and of SAMPLED times as many drawn from the others.

    Each item must have a code of its own; what is not sent is zero.
    """
    rows = slice(clients.starts[client], clients.starts[client + 1])
    met = clients.items[rows]
    others = np.setdiff1d(draw.integers(clients.catalog, size=SAMPLED * len(met)), met)
    books, counts = np.zeros((len(shared.sums), shared.vectors.shape[1])), np.zeros(len(shared.sums))
    none = replace(shared, sums=np.zeros_like(shared.sums))
    _answer(met, clients.clicked[rows], _parts(none), books, counts)
    own = _solve(met, clients.clicked[rows], np.ascontiguousarray(shared.vectors[:, :-1]), shared.gram)
    weight = UNMET * (clients.catalog - len(met)) / max(len(others), 1)
    books[others, :-1] = -weight * (shared.vectors[others, :-1] @ own)[:, None] * own
    books[met, :-1] -= UNMET * (shared.vectors[met, :-1] @ own)[:, None] * own  # which the sums would have held
    return Upload(books.astype(np.float32), counts.astype(np.float32))


def tastes(clients: Clients, vectors: Doubles) -> Doubles:
    """(C, W - 1) each client's own vector, which only the client can compute."""
    found, bare = np.zeros((len(clients), vectors.shape[1] - 1)), np.ascontiguousarray(vectors[:, :-1])
    _tastes(clients.items, clients.clicked, clients.starts, bare, _gram(bare), found)
    return found


def _parts(shared: Shared) -> tuple[Doubles, Ints, Doubles, Doubles, Doubles]:
    return shared.vectors, shared.rows, shared.gram, shared.sums, shared.sizes


@njit(cache=True)
def _gram(vectors):  # type: ignore[no-untyped-def]
    """(d, d) vectors' (I, d) products, summed item after item: the same bits on any machine."""
    found = np.zeros((vectors.shape[1], vectors.shape[1]))
    for row in vectors:
        for a in range(len(row)):
            for b in range(len(row)):
                found[a, b] += row[a] * row[b]
    return found


@njit(cache=True)
def _add_codes(vectors, rows, books):  # type: ignore[no-untyped-def]
    for item in range(len(rows)):
        for row in rows[item]:
            for a in range(vectors.shape[1]):
                vectors[item, a] += books[row, a]


@njit(cache=True)
def _add_by_code(sums, rows, vectors):  # type: ignore[no-untyped-def]
    """Add vectors (I, W) to sums (R, W) at each of their rows (I, L)."""
    for item in range(len(rows)):
        for row in rows[item]:
            for a in range(vectors.shape[1]):
                sums[row, a] += vectors[item, a]


@njit(cache=True)
def _solve(items, clicked, vectors, gram):  # type: ignore[no-untyped-def]
    """(d,) the vector that has the least loss, by Cholesky's factors."""
    d = gram.shape[0]
    matrix, found = UNMET * gram, np.zeros(d)
    for a in range(d):
        matrix[a, a] += RIDGE
    for n in range(len(items)):
        vector = vectors[items[n]]
        for a in range(d):
            found[a] += clicked[n] * vector[a]
            for b in range(a + 1):
                matrix[a, b] += vector[a] * vector[b]
    for a in range(d):
        for b in range(a + 1):
            value = matrix[a, b]
            for c in range(b):
                value -= matrix[a, c] * matrix[b, c]
            matrix[a, b] = np.sqrt(value) if a == b else value / matrix[b, b]
    for a in range(d):
        for c in range(a):
            found[a] -= matrix[a, c] * found[c]
        found[a] /= matrix[a, a]
    for a in range(d - 1, -1, -1):
        for c in range(a + 1, d):
            found[a] -= matrix[c, a] * found[c]
        found[a] /= matrix[a, a]
    return found


@njit(cache=True)
def _answer(items, clicked, shared, books, counts):  # type: ignore[no-untyped-def]
    """Fill books (R, W) with the gradient summed by code, and counts (R,); shared: see `_parts`."""
    vectors, rows, gram, sums, sizes = shared
    d = gram.shape[0]
    own = _solve(items, clicked, vectors, gram)
    for row in range(len(sums)):
        score = 0.0
        for a in range(d):
            score += own[a] * sums[row, a]
        for a in range(d):
            books[row, a] = -UNMET * score * own[a]
    for n in range(len(items)):
        item, score = items[n], 0.0
        for a in range(d):
            score += own[a] * vectors[item, a]
        error = clicked[n] - score + UNMET * score
        offset = clicked[n] - 1.0 / (1.0 + np.exp(-vectors[item, d]))
        for row in rows[item]:
            for a in range(d):
                books[row, a] += error * own[a]
            books[row, d] += offset
            counts[row] = min(counts[row] + 1.0, sizes[row])  # more where an item was met again


@njit(cache=True)
def _sum_answers(items, clicked, starts, shared, books, counts):  # type: ignore[no-untyped-def]
    """Add to books (R, W) and counts (R,) what all clients send, each rounded to float32 as it would travel."""
    one, few = np.zeros(books.shape), np.zeros(len(counts))
    for client in range(len(starts) - 1):
        first, last = starts[client], starts[client + 1]
        one[:, -1] = 0.0
        few[:] = 0.0
        _answer(items[first:last], clicked[first:last], shared, one, few)
        for row in range(len(books)):
            counts[row] += np.float32(few[row])
            for a in range(books.shape[1]):
                books[row, a] += np.float64(np.float32(one[row, a]))


@njit(cache=True)
def _tastes(items, clicked, starts, vectors, gram, found):  # type: ignore[no-untyped-def]
    for client in range(len(starts) - 1):
        first, last = starts[client], starts[client + 1]
        found[client] = _solve(items[first:last], clicked[first:last], vectors, gram)
