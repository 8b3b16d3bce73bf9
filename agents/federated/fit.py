"""Rounds of a federation: codes of two kinds, text first and taste later; dense and sparse uploads beside them.

After RQFedRec (Han et al., arXiv 2601.18570), of which only the abstract was to be had: the server names items by
residual k-means codes, clients send changes of codes in place of items, and two kinds of codes take turns: of what
items are called (text) and of the vectors learned so far (taste), which weighs more later. The rest is our
reconstruction: vectors are the sum of all codes' changes so far, so that new codes go on where old ones ended.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lerl.agents.federated.clients import Clients, Device, Shared, answer, answer_sparse, first_vectors, sum_answers
from lerl.agents.federated.messages import Download, SparseUpload, Upload
from lerl.agents.federated.privacy import private, share_of_noise
from lerl.agents.federated.server import Adam, Robust, Round, Server, Table
from lerl.envs.codes import Codes, SameDigitsError, residual_codes, shuffled
from lerl.envs.draws import seed_from

Doubles = NDArray[np.float64]
Floats = NDArray[np.float32]
Channel = Literal["text", "taste"]
Schedule = Literal["turns", "blend"]

REFRESH = 5
"""Rounds after which taste codes are made anew from the vectors."""

LATE = 0.9
"""The share of taste codes, of turns or of the blend, that is reached after a third of the rounds."""

TEXT, TASTE, BOTH = 0, 1, 2
FINE, DROPPED, GARBAGE, REPEATED = range(4)


@dataclass(frozen=True)
class Plan:
    """What decides a federation, but for its clients.

    Args:
        rounds: 1 or more. levels, size: of the codes, such as 3 and 256.
        mode: "codes", "dense" (a code for each item), or "sparse" (dense, but only rows of items that were met travel).
        channels: kinds of codes; taste alone begins with codes dealt by chance.
        schedule: "turns", each round one kind of codes, or "blend", both in every round.
        gate: the share of taste in all rounds, 0 to 1, a control; None for one that rises, see `Rounds.share`.
        rate: Adam's; None for RATES[mode]. width: numbers in a vector, beside the offset. seed: of all draws but
            that of noise, which is the system's.
        robust: see `lerl.agents.federated.server.Round`.
        clip, noise: each upload is cut to the length `clip` and gets its share of noise; 0 for neither. A run with
            noise is not the same again: whoever could draw the noise once more could take it out.
    """

    rounds: int = 100
    levels: int = 3
    size: int = 256
    mode: Literal["codes", "dense", "sparse"] = "codes"
    channels: tuple[Channel, ...] = ("text", "taste")
    schedule: Schedule = "turns"
    gate: float | None = None
    rate: float | None = None
    width: int = 16
    seed: int = 0
    robust: Robust = "mean"
    clip: float = 0.0
    noise: float = 0.0

    def __post_init__(self) -> None:
        if not self.channels or len(set(self.channels)) < len(self.channels):
            raise ValueError(f"channels must be text, taste or both, given {self.channels}")
        if self.rounds < 1 or self.width < 1:
            raise ValueError(f"rounds and width must be 1 or more, given {self.rounds} and {self.width}")
        if self.gate is not None and not 0 <= self.gate <= 1:
            raise ValueError(f"gate must be from 0 to 1, given {self.gate}")
        if self.clip < 0 or self.noise < 0 or (self.noise and not self.clip):
            raise ValueError("clip and noise must be 0 or more, and noise needs a clip: give --clip too")


RATES = {"codes": 0.03, "dense": 0.1, "sparse": 0.1}
"""Adam's rates, found on validation items of MovieLens-1M."""


@dataclass(frozen=True)
class Faults:
    """What goes wrong, for tests and figures: shares of clients, drawn anew in each round.

    Attributes:
        dropped: send nothing. garbage: send what is no message, or not finite. repeated: send theirs twice.
    """

    dropped: float = 0.0
    garbage: float = 0.0
    repeated: float = 0.0


@dataclass(frozen=True)
class Federated:
    """What was learned.

    Attributes:
        vectors: (I, W + 1) float64, the last number an offset.
        met: (I,) float64, how often each item was met, as far as counts by code tell.
        upload, download: bytes of a client's messages, the mean over rounds.
        refused, repeated, missed: messages of all rounds that were refused, were a second one, or never came.
        notes: what people should know, one line each.
    """

    vectors: Doubles
    met: Doubles
    upload: float
    download: float
    refused: int = 0
    repeated: int = 0
    missed: int = 0
    notes: tuple[str, ...] = ()


class Rounds:
    """The server's part of a federation, round by round: `ask`, uploads, `end`.

    Args:
        plan: see `Plan`. text: (I, d) float32 vectors of items' texts; None where nothing is known of them.
        items: how many. shuffle: deal text codes to items by chance, a control.
    """

    def __init__(self, plan: Plan, text: Floats | None, items: int, *, shuffle: bool = False) -> None:
        self.plan, self.items, self.notes = plan, items, list[str]()
        self.server = Server(first_vectors(items, plan.width, plan.seed), plan.robust)
        self._tables, self._adams = dict[int, Table](), dict[int, Adam]()
        self._counts = list[tuple[Table, Doubles]]()
        self._turn, self._age, self._now, self.round = 0.0, 0, -1, 0
        if plan.mode == "codes":
            self._tables[TEXT] = self._first_codes(text, shuffle)
        else:
            identity = np.arange(items).reshape(-1, 1)
            if items > 1 << 15:
                raise ValueError(f"dense and sparse uploads are for at most 32,768 items here, given {items:,}")
            self._tables[TEXT] = Table(identity.astype(np.int16), (items,))

    def _first_codes(self, text: Floats | None, shuffle: bool) -> Table:
        plan = self.plan
        if "text" in plan.channels and text is not None:
            try:
                found = residual_codes(text, plan.levels, plan.size, seed=seed_from(plan.seed, "text codes"))
                self.notes += found.notes
                return _table(shuffled(found, plan.seed) if shuffle else found)
            except SameDigitsError as error:
                self.notes.append(f"text codes are dealt by chance: {error}")
        elif "text" in plan.channels:
            self.notes.append("nothing is known of items in words: text codes are dealt to them by chance")
        size = min(plan.size, self.items)
        draw = np.random.default_rng(seed_from(plan.seed, "chance codes"))
        digits = draw.integers(size, size=(self.items, plan.levels)).astype(np.int16)
        return Table(digits, (size,) * plan.levels)

    def share(self) -> float:
        """The share of taste codes in this round: from 0, rising to LATE after a third of the rounds."""
        if self.plan.mode != "codes" or "taste" not in self.plan.channels:
            return 0.0
        if self.plan.channels == ("taste",):
            return float(self.round >= REFRESH)
        if self.plan.gate is not None:
            return self.plan.gate
        return LATE * min(1.0, 3 * self.round / self.plan.rounds)

    def ask(self) -> Download:
        """What to send to all clients."""
        plan, share = self.plan, self.share()
        blend = plan.schedule == "blend" and len(plan.channels) == 2 and plan.mode == "codes"
        self._turn += share
        taste = blend or self._turn >= 1
        if self._turn >= 1:
            self._turn -= 1
        if taste and (TASTE not in self._tables or self._age >= REFRESH):
            self._new_taste()
        self._age += 1
        number = BOTH if blend else TASTE if taste else TEXT
        if blend and (BOTH not in self._tables or self._age == 1):
            one, two = self._tables[TEXT], self._tables[TASTE]
            self._tables[BOTH] = Table(np.hstack([one.digits, two.digits]), (*one.sizes, *two.sizes))
            self._adams.pop(BOTH, None)
        message = self.server.ask(self._tables[number], number)
        self._now = number
        return message

    def _new_taste(self) -> None:
        vectors = self.server.current(self._tables[self._now]) if self._now >= 0 else self.server.vectors
        seed = seed_from(self.plan.seed, "taste codes", self.round)
        self._tables[TASTE] = _table(
            residual_codes(vectors.astype(np.float32), self.plan.levels, self.plan.size, seed=seed)
        )
        self._adams.pop(TASTE, None)
        self._age = 0

    def begin(self, clients: int) -> Round:
        """A round that takes uploads of so many clients, each with its share of the noise."""
        return self.server.begin(self._tables[self._now], share_of_noise(self.plan.clip, self.plan.noise, clients))

    def end(self, done: Round) -> None:
        """Change the codes by what came."""
        table, now, plan = self._tables[self._now], self._now, self.plan
        rate = RATES[plan.mode] if plan.rate is None else plan.rate
        adam = self._adams.setdefault(now, Adam(rate, done.shape))
        adam.rate = rate * (1 - self.round / plan.rounds)
        part: Doubles | float = 1.0
        if now == BOTH:
            first, share = self._tables[TEXT].height, self.share()
            part = np.where(np.arange(table.height) < first, 1 - share, share)[:, None]
        self.server.end(table, done, adam, part)
        if done.accepted:
            self._counts.append((table, done.counts / done.accepted))
        self.round += 1

    def vectors(self) -> Doubles:
        """(I, W + 1) after the last round."""
        return self.server.current(self._tables[self._now])

    def met(self) -> Doubles:
        """(I,) how many of 1 client met each item: what fits the counts by code of all tables, by iterative
        proportional fitting (Deming and Stephan 1940)."""
        latest = {id(table): (table, counts) for table, counts in self._counts}
        found = np.ones(self.items)
        for _ in range(20 if len(latest) > 1 or self.plan.mode == "codes" else 1):
            for table, counts in latest.values():
                for column in table.rows.T:
                    had = np.bincount(column, found, table.height)
                    found *= (np.maximum(counts, 0) / np.maximum(had, 1e-12))[column]
        return found


def _table(codes: Codes) -> Table:
    return Table(codes.bare, codes.sizes[:-1])


def fit_federated(
    clients: Clients,
    text: Floats | None,
    plan: Plan,
    *,
    faults: Faults | None = None,
    shuffle: bool = False,
    report: Callable[[int], object] | None = None,
    noise: np.random.Generator | None = None,
) -> Federated:
    """Learn items' vectors from clients in rounds, in this process, in the same bits as with messages that travel.

    Where nothing can befall a message, uploads are added up without being written.

    Args:
        clients: who take part, all in every round but for what `faults` says.
        text: (I, d) float32 vectors of items' texts, see `lerl.envs.texts`; None where nothing is known.
        plan: see `Plan`. faults: what goes wrong. shuffle: a control, see `Rounds`.
        report: called after each round. noise: for tests alone, see `upload`.
    """
    rounds, device = (
        Rounds(plan, text, clients.catalog, shuffle=shuffle),
        Device(first_vectors(clients.catalog, plan.width, plan.seed)),
    )
    up = 0.0
    down = missed = refused = repeated = 0
    plain = plan.mode != "sparse" and plan.robust == "mean" and not plan.clip and faults is None
    for number in range(plan.rounds):
        asked = rounds.ask().to_bytes()
        down += len(asked)
        shared, done = device.receive(Download.from_bytes(asked)), rounds.begin(len(clients))
        sparse = 0
        if plain:
            size = len(answer(clients, 0, shared).to_bytes())
            done.receive_sum(*sum_answers(clients, shared), len(clients), size)
        else:
            sparse, lost = _send_all(clients, shared, plan, number, done, faults, noise)
            missed += lost
        rounds.end(done)
        up += sparse / max(done.accepted, 1) if plan.mode == "sparse" else done.bytes / max(done.accepted, 1)
        refused, repeated = refused + done.refused, repeated + done.repeated
        if report is not None:
            report(number + 1)
    count = plan.rounds
    return Federated(
        vectors=rounds.vectors(),
        met=rounds.met(),
        upload=up / count,
        download=down / count,
        refused=refused,
        repeated=repeated,
        missed=missed,
        notes=tuple(rounds.notes),
    )


def _send_all(
    clients: Clients,
    shared: Shared,
    plan: Plan,
    number: int,
    done: Round,
    faults: Faults | None,
    noise: np.random.Generator | None,
) -> tuple[int, int]:
    """Each client's message by itself; bytes of all where only rows travel, and how many never came."""
    bad, sparse, missed = _faults(faults, len(clients), plan.seed, number), 0, 0
    for client in range(len(clients)):
        if bad[client] == DROPPED:
            missed += 1
            continue
        sent = upload(clients, client, shared, plan, number, noise)
        if plan.mode == "sparse":
            sparse += sparse_bytes(sent)
        message = sent.to_bytes()
        if bad[client] == GARBAGE:
            message = _spoiled(message, client)
        done.receive(client, message)
        if bad[client] == REPEATED:
            done.receive(client, message)
    return sparse, missed


def upload(
    clients: Clients,
    client: int,
    shared: Shared,
    plan: Plan,
    number: int,
    noise: np.random.Generator | None = None,
) -> Upload:
    """What a client sends in a round, with its noise where the plan has some.

    Args:
        clients: all, each of whom adds a share of the noise. client: which of them. number: of the round.
        noise: for tests alone, what noise is drawn from; the system's randomness where None.
    """
    if plan.mode != "sparse" and not plan.clip:
        return answer(clients, client, shared)
    if plan.mode == "sparse":
        draw = np.random.default_rng(seed_from(plan.seed, "client", number, client))
        return answer_sparse(clients, client, shared, draw)
    return private(
        answer(clients, client, shared), plan.clip, plan.noise, len(clients), noise or np.random.default_rng()
    )


def sparse_bytes(upload: Upload) -> int:
    """Bytes of the rows alone that are not zero, with their places."""
    rows = np.flatnonzero((upload.codebooks != 0).any(axis=1)).astype(np.int32)
    return len(SparseUpload(rows, np.hstack([upload.codebooks, upload.counts[:, None]])[rows]).to_bytes())


def _faults(faults: Faults | None, clients: int, seed: int, number: int) -> NDArray[np.int64]:
    """(C,) what goes wrong with each client in a round: FINE, DROPPED, GARBAGE or REPEATED."""
    if faults is None:
        return np.zeros(clients, np.int64)
    drawn = np.random.default_rng(seed_from(seed, "faults", number)).random(clients)
    shares = np.cumsum([faults.dropped, faults.garbage, faults.repeated])
    return (np.searchsorted(shares, drawn, side="right") + 1) % 4


def _spoiled(message: bytes, client: int) -> bytes:
    """Half a message, one with numbers that are not finite, or none at all."""
    return (message[: len(message) // 2], message[:-4] + b"\x00\x00\xc0\x7f", b"")[client % 3]
