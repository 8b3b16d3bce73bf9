"""What is kept between two periods: where people are, what they were shown, and what came of it."""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lerl.envs.sessions.lives import Lives
from lerl.envs.state import State

LOG = {"user": pl.Int64, "item": pl.Int32, "click": pl.Boolean, "day": pl.Float64}
"""Columns of a log, in order of time: day is of the session's start, and -1 for what was known before the first day."""
SESSIONS = {
    "user": pl.Int64, "session": pl.Int64, "day": pl.Float64, "T_int": pl.Int64, "R_cum": pl.Float64,
    "satisfaction_final": pl.Float64,
}  # fmt: skip
"""Columns of the sessions of a period; satisfaction is hidden, and for judging alone."""
AWAY, HERE, GONE, OVER = range(4)
"""Has not begun yet; has a session to come; is lost for good; would come again, but after the last day."""


@dataclass(frozen=True)
class Between:
    """Where N people are between two periods, hidden state included.

    Attributes:
        state: N rows. lives: N rows; the day is that of the next session's start. status: (N,) int8, AWAY, HERE, GONE
            or OVER.
    """

    state: State
    lives: Lives
    status: NDArray[np.int8]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All of it by name, as a file keeps it."""
        parts: dict[str, NDArray[Any]] = {"status": self.status}
        for name, owner in (("state", self.state), ("lives", self.lives)):
            for field in fields(owner):
                value = getattr(owner, field.name)
                inside = value if isinstance(value, dict) else {"": value}
                parts |= {f"{name}.{field.name}.{key}".rstrip("."): array for key, array in inside.items()}
        return parts

    @staticmethod
    def of(arrays: dict[str, NDArray[Any]]) -> "Between":
        """What `arrays` gave."""
        tree: dict[str, Any] = {"state": {"response": {}}, "lives": {}}
        for name, array in arrays.items():
            owner, *path = name.split(".", 2)
            if len(path) == 2:
                tree[owner][path[0]][path[1]] = array
            elif path:
                tree[owner][path[0]] = array
        return Between(State(**tree["state"]), Lives(**tree["lives"]), arrays["status"])


def put(into: State | Lives, rows: NDArray[np.int64], given: State | Lives) -> None:
    """Put given rows (n,) in the place of rows (n,)."""
    for field in fields(into):
        own, new = getattr(into, field.name), getattr(given, field.name)
        pairs = [(own[key], new[key]) for key in own] if isinstance(own, dict) else [(own, new)]
        for array, values in pairs:
            array[rows] = values
