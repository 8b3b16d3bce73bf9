"""What agents see of a life beside the session that it is in."""

import math
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Space
from numpy.typing import NDArray

from lerl.envs.config import SimulatorConfig
from lerl.envs.sessions.lives import Lives
from lerl.envs.state import Outcome

MOST = 2**24
"""The most sessions that are counted: single precision has every whole number up to here."""


def most_sessions(config: SimulatorConfig) -> int:
    """How many sessions can have been before one that begins within the days, at most."""
    shortest = config.return_.gap.shortest
    return MOST if shortest * MOST <= config.days else math.ceil(config.days / shortest)


def life_spaces(config: SimulatorConfig) -> dict[str, Space[Any]]:
    """The spaces of what `see_life` gives, for one person."""
    days = config.days
    return {
        "sessions": Box(0, most_sessions(config), (1,), np.float32),
        "days_since": Box(0, days, (1,), np.float32),
        "days_left": Box(0, days, (1,), np.float32),
    }


def see_life(lives: Lives, config: SimulatorConfig) -> dict[str, NDArray[np.float32]]:
    """What a recommender may see of lives, each (B, 1): sessions before, days since the last one, days left."""
    sessions = np.minimum(lives.sessions, most_sessions(config))
    seen = {"sessions": sessions, "days_since": lives.gap, "days_left": config.days - lives.day}
    return {name: values.astype(np.float32)[:, None] for name, values in seen.items()}


def life_info(lives: Lives, slate_size: int, outcome: Outcome | None, hidden: bool) -> dict[str, NDArray[Any]]:
    """Extras of lives, each array with B rows; hidden state only when it was asked for."""
    blank = np.full((len(lives), slate_size), -1, np.float32)
    info: dict[str, NDArray[Any]] = {
        "session": lives.sessions.copy(),
        "day": lives.day.copy(),
        "gap": lives.gap.copy(),
        "session_ended": lives.session_ended.copy(),
        "feedback": blank if outcome is None else outcome.feedback,
    }
    if hidden:
        info |= {
            "memory": lives.memory.copy(),
            "habit": lives.habit.copy(),
            "last_satisfaction": lives.last_satisfaction.copy(),
        }
    return info
