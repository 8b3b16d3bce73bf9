"""The server: adds up what clients sent, refuses what is wrong, and changes the codes.

The sum of changes over the sum of counts is the mean over clients weighted by counts. The server's step on it is Adam
(Reddi et al., "Adaptive federated optimization", ICLR 2021), the same for codes and for the dense baseline.
"""

from typing import Literal, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from lerl.agents.federated.clients import UNMET, Device, add_codes, sum_by_code
from lerl.agents.federated.messages import Download, Floats, MessageError, Upload

Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]
Robust = Literal["mean", "capped", "trimmed", "median"]

TRIMMED = 0.25
"""Share of clients at either end that the trimmed mean leaves out, for each number by itself."""

MOST_BYTES = 2 << 30
"""Memory, at most, in which the trimmed mean and the median hold all uploads of a round."""

SHRINK, SHRINK_OFFSET = 1.0, 2.5
"""Weight with which an item's vector is held at 0, and its offset at the items' mean: about ten interactions."""

SLACK = 8.0
"""Standard deviations of an upload's noise by which its counts may be outside of what is possible."""

FIRST, SECOND, TINY = 0.9, 0.99, 1e-8
"""Adam's two rates and its smallest divisor."""


class Table(NamedTuple):
    """A table of codes: (I, L) int16 digits and how many codes each digit has."""

    digits: NDArray[np.int16]
    sizes: tuple[int, ...]

    @property
    def height(self) -> int:
        """Rows of a message."""
        return sum(self.sizes)

    @property
    def rows(self) -> Ints:
        """(I, L) the rows of a message that an item's codes are."""
        return self.digits.astype(np.int64) + np.concatenate([[0], np.cumsum(self.sizes)[:-1]]).astype(np.int64)


class Adam:
    """Steps of about `rate`, whatever the size of the gradient; a code that nobody used keeps its value."""

    def __init__(self, rate: float, shape: tuple[int, int]) -> None:
        self.rate, self.steps = rate, 0
        self.mean, self.square = np.zeros(shape), np.zeros(shape)

    def step(self, gradient: Doubles) -> Doubles:
        """What to add, of the gradient's shape."""
        self.steps += 1
        self.mean = FIRST * self.mean + (1 - FIRST) * gradient
        self.square = SECOND * self.square + (1 - SECOND) * gradient**2
        mean, square = self.mean / (1 - FIRST**self.steps), self.square / (1 - SECOND**self.steps)
        return np.asarray(self.rate * mean / (np.sqrt(square) + TINY))


class Round:
    """The uploads of one round.

    Args:
        table: what they are about. robust: "mean"; "capped" cuts each to `limit`; "trimmed" and "median" are taken for
            each number over clients (Yin et al., ICML 2018). limit: the longest upload, for "capped".
        noise: standard deviation of the noise in each number of an upload, 0 for none.
    """

    def __init__(
        self, table: Table, width: int, robust: Robust = "mean", limit: float = np.inf, noise: float = 0.0
    ) -> None:
        self.shape, self.robust, self.limit, self.slack = (table.height, width), robust, limit, SLACK * noise
        self.codes_size = np.bincount(table.rows.ravel(), minlength=table.height)
        self.books, self.counts = np.zeros(self.shape), np.zeros(table.height)
        self.accepted = self.refused = self.repeated = self.bytes = 0
        self.norms = list[float]()
        self._senders, self._held = set[int](), list[Upload]()

    def receive(self, sender: int, message: bytes) -> bool:
        """Whether a message was taken; a second one of a sender is not, nor one with counts that cannot be.

        Args:
            sender: through which connection it came; the message itself does not say.

        Raises:
            ValueError: there is no memory for so many uploads.
        """
        if sender in self._senders:
            self.repeated += 1
            return False
        try:
            upload = self._possible(Upload.from_bytes(message, self.shape))
        except MessageError:
            self.refused += 1
            return False
        self._senders.add(sender)
        self.accepted += 1
        self.bytes += len(message)
        if self.robust in ("trimmed", "median"):
            if (needed := len(message) * (len(self._held) + 1)) > MOST_BYTES:
                raise ValueError(
                    f"robust {self.robust} holds all uploads of a round, more than {needed >> 30} GB: "
                    "give fewer codes, or robust capped"
                )
            self._held.append(upload)
        else:
            _add(self.books, self.counts, upload.codebooks, upload.counts, self._scale(upload))
        return True

    def _possible(self, upload: Upload) -> Upload:
        """The same; a client has met from none to all of the items with a code.

        Raises:
            MessageError: counts say otherwise.
        """
        if (upload.counts < -self.slack).any() or (upload.counts > self.codes_size + self.slack).any():
            raise MessageError("counts outside of 0 to the items with the code")
        return upload

    def receive_sum(self, books: Doubles, counts: Doubles, clients: int, size: int) -> None:
        """Take the sums over clients of all their uploads at once, of `size` bytes each; for a robust of mean."""
        self.books, self.counts = books, counts
        self.accepted, self.bytes = clients, clients * size

    def _scale(self, upload: Upload) -> float:
        """What an upload is multiplied by, at most 1."""
        if self.robust != "capped":
            return 1.0
        norm = float(np.linalg.norm(upload.codebooks.astype(np.float64)))
        self.norms.append(norm)
        return min(1.0, self.limit / norm) if norm > 0 else 1.0

    def mean(self) -> tuple[Doubles, Doubles]:
        """The gradient of each code, (R, W), and the weight behind it, (R,), zeros where no client was."""
        if self._held:
            return self._robust()
        weight = np.maximum(self.counts, 0.0) + UNMET * self.accepted * self.codes_size
        return self.books, weight

    def _robust(self) -> tuple[Doubles, Doubles]:
        counts = np.stack([upload.counts for upload in self._held]).astype(np.float64)
        weights = np.maximum(counts, 0.0) + UNMET * self.codes_size
        total, means = weights.sum(axis=0), np.zeros(self.shape)
        cut = int(TRIMMED * len(self._held)) if self.robust == "trimmed" else (len(self._held) - 1) // 2
        self.counts = counts.sum(axis=0)
        for column in range(self.shape[1]):
            values = np.stack([upload.codebooks[:, column] for upload in self._held]) / np.maximum(weights, TINY)
            values = np.sort(values, axis=0)[cut : len(values) - cut]
            means[:, column] = values.mean(axis=0)
        return means * total[:, None], total


@njit(cache=True)
def _add(books, counts, more, more_counts, scale):  # type: ignore[no-untyped-def]
    for row in range(len(books)):
        counts[row] += more_counts[row]
        for a in range(books.shape[1]):
            books[row, a] += scale * more[row, a]


class Server:
    """Knows the items and their codes; of people, only what uploads add up to.

    Args:
        vectors: (I, W) float64, with which all begin. robust: see `Round`.
    """

    def __init__(self, vectors: Doubles, robust: Robust = "mean") -> None:
        self.device, self.robust, self.limit = Device(vectors), robust, np.inf
        self._books: Floats = np.zeros((0, vectors.shape[1]), np.float32)
        self._known = dict[int, Table]()

    @property
    def vectors(self) -> Doubles:
        """(I, W) as they are now, before what the last round changed."""
        return self.device.vectors

    def current(self, table: Table) -> Doubles:
        """(I, W) vectors with what the last round changed, for making the next table of codes."""
        vectors = self.device.vectors.copy()
        if len(self._books):
            add_codes(vectors, table.rows, self._books)
        return vectors

    def ask(self, table: Table, number: int) -> Download:
        """What to send to all clients: the last round's changes, and the codes that the next is about."""
        fresh = self._known.get(number) is not table
        digits = table.digits if fresh else table.digits[:0]
        self._known[number] = table
        message = Download(self._books, number, table.sizes, digits)
        self.device.receive(message)
        return message

    def begin(self, table: Table, noise: float = 0.0) -> Round:
        """A round that takes uploads; noise: see `Round`."""
        return Round(table, self.vectors.shape[1], self.robust, self.limit, noise)

    def end(self, table: Table, done: Round, adam: Adam, share: Doubles | float = 1.0) -> None:
        """Change the codes by what clients sent; nothing changes where none came.

        Args:
            share: of the step that is taken, a number or (R, 1).
        """
        if not done.accepted:
            self._books = np.zeros(done.shape, np.float32)
            return
        books, weight = done.mean()
        if done.norms:
            self.limit = float(np.median(done.norms))
        held = self.vectors * SHRINK
        held[:, -1] = SHRINK_OFFSET * (self.vectors[:, -1] - self.vectors[:, -1].mean())
        books = books - sum_by_code(held, table.rows, table.height)
        gradient = np.where(weight[:, None] > 0, books / np.maximum(weight, TINY)[:, None], 0.0)
        self._books = np.asarray(share * adam.step(gradient), np.float32)
