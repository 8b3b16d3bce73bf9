"""Replay: simulated users are shown the items of a log's sequences, one item at a time."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lerl.envs.config import SimulatorConfig
from lerl.envs.fitting.statistics import HALF_HOUR, Sequences
from lerl.envs.simulator import UserSimulator
from lerl.envs.state import State

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


BEFORE = 40
"""Steps without items in which tastes drift before a sequence begins."""


@dataclass(frozen=True)
class Replay:
    """How simulated users reacted to N items.

    Attributes:
        clicks: (N,) float64, 0 or 1.
        chances: (N,) float64, chances of a click, in [0, 1].
    """

    clicks: Floats
    chances: Floats


def session_breaks(sequences: Sequences) -> NDArray[np.bool_]:
    """(N,) bool, where a session begins: at a user's first interaction, and at one after half an hour without any."""
    gap = np.diff(sequences.times, prepend=0.0)
    return (sequences.places == 0) | (gap > HALF_HOUR)  # never where times are not known


def replay(simulator: UserSimulator, sequences: Sequences, owners: Ints, seed: int) -> Replay:
    """Show simulated users the items of sequences.

    After half an hour without an interaction boredom and fatigue are 0 again; tastes go on drifting, and have drifted
    for `BEFORE` steps when a sequence begins.

    Args:
        simulator: of a configuration as `item_by_item` makes it, for at least the longest sequence.
        sequences: of U users.
        owners: (U,) int64, which user of the population each of them is.
        seed: of the draws.
    """
    breaks, lengths = session_breaks(sequences), sequences.lengths
    replayed = Replay(np.zeros(len(sequences)), np.zeros(len(sequences)))
    sizes = np.ceil(np.log2(lengths))
    for size in np.unique(sizes):  # users with sequences of about one length are simulated together
        some = np.flatnonzero(sizes == size)
        seeds = np.full(len(some), seed, np.uint64) + owners[some].astype(np.uint64)
        state = simulator.start(seeds, np.zeros(len(some), np.int64), owners[some])
        show = _at_once if simulator.steps_at_once else _one_by_one
        steps = np.arange(-BEFORE, int(lengths[some].max()))[:, None]  # (T, 1), the first of them without items
        going = (steps >= 0) & (lengths[some] > steps)  # (T, B)
        rows = sequences.starts[some] + np.clip(steps, 0, lengths[some] - 1)
        slates = np.where(going, sequences.items[rows], -1)[:, :, None].astype(np.int32)
        feedback, chances = show(simulator, state, slates, breaks[rows] & (steps >= 0))
        replayed.clicks[rows[going]] = feedback[going, 0]
        replayed.chances[rows[going]] = chances[going, 0]
    return replayed


def _at_once(simulator: UserSimulator, state: State, slates: NDArray[np.int32], rested: NDArray[np.bool_]) -> Any:
    return simulator.live_through(state, slates, rested)


def _one_by_one(simulator: UserSimulator, state: State, slates: NDArray[np.int32], rested: NDArray[np.bool_]) -> Any:
    """As `UserSimulator.live_through`, for every kind of users."""
    feedback, chances = np.empty(slates.shape, np.float32), np.empty(slates.shape)
    for step, slate in enumerate(slates):
        state.boredom[rested[step]], state.fatigue[rested[step]] = 0.0, 0.0
        outcome = simulator.step(state, slate)
        feedback[step], chances[step] = outcome.feedback, outcome.chance
    return feedback, chances


def item_by_item(config: SimulatorConfig, longest: int) -> SimulatorConfig:
    """The configuration for slates of one item, in sessions of up to `longest` items that end early for no user."""
    return replace(
        config, slate_size=1, max_steps=longest + BEFORE, repeats=True, leave=replace(config.leave, rule="never")
    )
