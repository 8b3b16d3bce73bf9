"""Sessions of people who come back as a known model says, so that the truth is known."""

import numpy as np
import polars as pl

from lerl.envs.fitting.log_sessions import LogSessions
from lerl.envs.fitting.returns import simulate
from lerl.envs.sessions.config import Gap, Habit

MINUTE = 1 / 1440
PLANTED = Gap(
    typical=1.5, shape=0.8, person=0.6, session=0.8, memory=1.5, habit=0.6, shortest=30 * MINUTE, daily=0.5
)  # fmt: skip


def made_sessions(
    gap: Gap, seed: int, *, users: int = 400, days: float = 60.0, held: int = 60, habit: Habit | None = None
) -> LogSessions:
    """Sessions of five minutes of people who come in the first ten days; quality is drawn anew for each session.

    Args:
        gap: how they come back. seed: of all draws. users: how many. days: that the log goes on. held: sessions of a
            user whose quality is drawn. habit: the settings' own where None.
    """
    rng = np.random.default_rng([seed, 1])
    owners, begun = np.repeat(np.arange(users), held), np.repeat(10.0 * rng.random(users), held)
    quality = np.clip(0.5 + 0.3 * rng.standard_normal(len(owners)), 0.0, 1.0)
    frame = LogSessions(
        owners, begun, begun + 5 * MINUTE, np.full(len(owners), 3), quality, np.zeros(users), np.ones(users, bool), 1.0,
        days, gap.shortest,
    )  # fmt: skip
    return simulate(frame, gap, seed, habit=habit)


def made_log(sessions: LogSessions, seed: int, rows: int = 6) -> pl.DataFrame:
    """A log in which a session has so many interactions, each of which is a click with its quality as chance."""
    rng = np.random.default_rng([seed, 2])
    users = np.repeat(sessions.users, rows)
    times = np.linspace(sessions.starts, sessions.ends, rows, axis=1).ravel() + 19_000.0
    return pl.DataFrame(
        {
            "user": users,
            "item": np.arange(len(users)),
            "click": rng.random(len(users)) < np.repeat(sessions.quality, rows),
            "rating": np.full(len(users), np.nan, np.float32),
            "time": np.round(times * 86_400).astype(np.int64),
        }
    )
