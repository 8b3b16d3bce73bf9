"""Sequences of items lived through by simulated users, one item at a time."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lerl.envs.config import SimulatorConfig
from lerl.envs.fitting.statistics import HALF_HOUR, Sequences
from lerl.envs.simulator import UserSimulator

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


BEFORE = 40  # steps without items in which tastes drift before a sequence begins


@dataclass(frozen=True)
class Lived:
    """What simulated users did.

    Attributes:
        clicks: (N,) float64, 0 or 1. chances: (N,) float64, of a click.
    """

    clicks: Floats
    chances: Floats


def session_breaks(sequences: Sequences) -> NDArray[np.bool_]:
    """(N,) where a session begins: a user's first interaction, and one after half an hour without any."""
    gap = np.diff(sequences.times, prepend=0.0)
    return (sequences.places == 0) | (gap > HALF_HOUR)  # never where times are not known


def replay(simulator: UserSimulator, sequences: Sequences, owners: Ints, seed: int) -> Lived:
    """Show simulated users the items of sequences.

    Boredom and fatigue are gone after half an hour without anything; tastes go on drifting, and have done so for
    `BEFORE` steps when a sequence begins.

    Args:
        simulator: see `item_by_item`, of sessions at least as long as the longest sequence.
        sequences: of U users. owners: (U,) which user of the population each is. seed: of the draws.
    """
    breaks, lengths = session_breaks(sequences), sequences.lengths
    lived = Lived(np.zeros(len(sequences)), np.zeros(len(sequences)))
    sizes = np.ceil(np.log2(lengths))
    for size in np.unique(sizes):  # users who met about as much live side by side
        some = np.flatnonzero(sizes == size)
        seeds = np.full(len(some), seed, np.uint64) + owners[some].astype(np.uint64)
        state = simulator.start(seeds, np.zeros(len(some), np.int64), owners[some])
        nothing = np.full((len(some), 1), -1, np.int32)
        for _ in range(BEFORE):
            simulator.step(state, nothing)
        for step in range(int(lengths[some].max())):
            going = lengths[some] > step
            rows = sequences.starts[some] + np.minimum(step, lengths[some] - 1)
            rested = breaks[rows]
            state.boredom[rested], state.fatigue[rested] = 0.0, 0.0
            slates = np.where(going, sequences.items[rows], -1)[:, None]
            outcome = simulator.step(state, slates.astype(np.int32))
            lived.clicks[rows[going]] = outcome.feedback[going, 0]
            lived.chances[rows[going]] = outcome.chance[going, 0]
    return lived


def item_by_item(config: SimulatorConfig, longest: int) -> SimulatorConfig:
    """The same behaviour shown one item at a time in sessions of any length that nobody leaves."""
    return replace(
        config, slate_size=1, max_steps=longest + BEFORE, repeats=True, leave=replace(config.leave, rule="never")
    )
