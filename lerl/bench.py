"""How fast lerl is: each row against a peer or a ceiling, both sides by turns in one run, in CPU seconds."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from threadpoolctl import threadpool_limits

from lerl.measured import REPEATS, Burst, Measured, duel, machine
from lerl.peers import Peer, PeerError, install
from lerl.start import cache_folder

MECHANISMS = "drift, shifts, boredom, fatigue, satisfaction, patience and leaving on, moods off"


class Bench:
    """What all rows share.

    Args:
        peers: where peers are, or are installed. repeats: of both sides. report: called with a line before each row.
    """

    def __init__(self, peers: Path | None, repeats: int, report: Callable[[str], None]) -> None:
        self.peers, self.repeats, self.report = peers or cache_folder() / "peers", repeats, report
        self.missing = ""

    @cached_property
    def sardine(self) -> Path | None:
        """The Python that has SARDINE, or None, `missing` saying why."""
        self.report("SARDINE: installing it where it is not there yet")
        try:
            return install(self.peers)
        except PeerError as error:
            self.missing = str(error)
            return None


@contextmanager
def sardine(python: Path | None, name: str, wrapped: bool, steps: int) -> Iterator[Burst | None]:
    """Bursts of a SARDINE environment, or None where there is no Python that has it."""
    if python is None:
        yield None
        return
    with closing(Peer(python, name, wrapped)) as peer:
        yield lambda: (float(steps), peer.run(steps))


def timed(work: Callable[[], float]) -> Burst:
    """A burst of work that says how much it was."""

    def burst() -> tuple[float, float]:
        begun = time.process_time()
        done = work()
        return done, time.process_time() - begun

    return burst


def _one_user(bench: Bench) -> Iterator[Measured]:
    bench.report("one user")
    env: Any = gymnasium.make("lerl/Synthetic-v0")
    steps = 10_000
    items = np.random.default_rng(0).integers(1000, size=steps).tolist()
    env.reset(seed=0)

    def work() -> float:
        for item in items:
            _, _, terminated, truncated, _ = env.step(item)
            if terminated or truncated:
                env.reset()
        return steps

    with sardine(bench.sardine, "sardine/SingleItem-Static-v0", wrapped=True, steps=3000) as peer:
        yield Measured(
            "one_user",
            "one user, gymnasium.make, single item, 1,000 items",
            "SARDINE SingleItem-Static-v0, gymnasium.make",
            "user-steps/s",
            **duel(timed(work), peer, bench.repeats),
            target=2.0,
            note=f"{MECHANISMS}; random items, resets counted. {bench.missing}".strip(),
        )


def _many(bench: Bench, name: str, slate: int, peer_name: str, target: float) -> Iterator[Measured]:
    bench.report(f"1,024 users, slates of {slate}")
    env: Any = gymnasium.make_vec("lerl/Synthetic-v0", num_envs=1024, slate_size=slate)
    work = stepping(env, 200 if slate == 1 else 60)
    with sardine(bench.sardine, f"sardine/{peer_name}", wrapped=False, steps=3000) as peer:
        yield Measured(
            name,
            f"1,024 users, vector view, slates of {slate}, 1,000 items",
            f"SARDINE {peer_name}, bare",
            "user-steps/s",
            **duel(timed(work), peer, bench.repeats),
            target=target,
            note=f"{MECHANISMS}; random items, autoreset NEXT_STEP counted. {bench.missing}".strip(),
        )


def stepping(env: Any, steps: int) -> Callable[[], float]:
    """Random items for so many steps of a vector environment, drawn beforehand."""
    items, shape = len(env.simulator.population.catalog), (steps, *env.action_space.shape)
    actions = np.random.default_rng(0).integers(items, size=shape)
    env.reset(seed=0)

    def work() -> float:
        for action in actions:
            env.step(action)
        return float(steps * env.num_envs)

    return work


ROWS: dict[str, Callable[[Bench], Iterator[Measured]]] = {
    "one_user": _one_user,
    "users": lambda bench: _many(bench, "users", 1, "SingleItem-Static-v0", 150.0),
    "slates": lambda bench: _many(bench, "slates", 10, "SlateTopK-Bored-v0", 60.0),
}
"""Rows by name; one may give several."""


def measure(
    names: Sequence[str] | None = None,
    peers: Path | None = None,
    repeats: int = REPEATS,
    report: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Measure the rows named, all of them without names, and say on what machine.

    Args:
        names: of `ROWS`.
        peers: where peers are installed, or are already; the user's cache folder when None.
        repeats: of both sides, 1 or more.
        report: called with a line about each row before it is measured.

    Raises:
        ValueError: a name is no row's, or there are no repeats.
    """
    names = list(ROWS) if names is None else list(names)
    unknown = [name for name in names if name not in ROWS]
    if unknown:
        raise ValueError(f"there is no row {unknown[0]!r} to measure; rows are {', '.join(ROWS)}")
    if repeats < 1:
        raise ValueError(f"repeats must be at least 1, given {repeats}")
    bench = Bench(peers, repeats, report)
    with threadpool_limits(1):
        rows = [row for name in names for row in ROWS[name](bench)]
    return {"machine": machine(), "repeats": repeats, "rows": [asdict(row) | {"met": row.met} for row in rows]}
