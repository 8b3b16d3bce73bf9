"""What `lerl loop` may be told beside a recipe."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, NamedTuple

from pydantic import Field

from lerl.config.schema import Config
from lerl.envs.checks import Real, Whole, settings
from lerl.run.specs import AgentSpec

CLOSED, FROZEN, OPEN = "", "@frozen", "@open"
"""What an agent is refitted on: its own log; nothing, ever; the log that `random` caused. As tables mark it."""
FLOORS = ("random", "popularity")
"""Agents that stand in every table."""
PRIVILEGED = "privileged"
TAUGHT_NOTHING = ("random", PRIVILEGED)
"""Agents that read no log, and so have no controls."""


@settings(frozen=True)
class LoopConfig:
    """How long the loop is, and who and what comes and goes in it.

    Args:
        days: in all; whole periods of `retrain` days are played, what is left of the days is not.
        retrain: days between two refits.
        newcomers: share of people who begin later than on the first day, each at a time drawn uniformly from the days.
        turnover: share of the items there that leave at each refit, each for good; as many new ones come, so that
            there are always equally many.
    """

    SECTION: ClassVar[str] = "loop"

    days: Annotated[Whole, Field(ge=2, le=3650)] = 60
    retrain: Annotated[Whole, Field(ge=1, le=1825)] = 7
    newcomers: Annotated[Real, Field(ge=0, le=0.95)] = 0.3
    turnover: Annotated[Real, Field(ge=0, le=0.9)] = 0.05

    def __post_init__(self) -> None:
        if self.periods < 2:
            raise ValueError(
                f"loop.days must be at least two times loop.retrain, so that something is refitted once, given "
                f"{self.days} and {self.retrain}"
            )

    @property
    def periods(self) -> int:
        """How many whole periods there are."""
        return self.days // self.retrain


class Row(NamedTuple):
    """A row of the table: an agent, and what it is refitted on."""

    spec: AgentSpec
    learns_from: str = CLOSED

    @property
    def label(self) -> str:
        """What tables call it."""
        return f"{self.spec.label}{self.learns_from}"


class Trial(NamedTuple):
    """A row that is deployed on the people of a seed."""

    row: Row
    seed: int

    @property
    def name(self) -> str:
        """What people and files call it."""
        return f"{self.row.label}-seed{self.seed}"


@dataclass(frozen=True)
class Request:
    """What `lerl loop` is asked for.

    Attributes:
        config: the recipe. loop: see `LoopConfig`. rows: in the order of tables. seeds: ascending.
    """

    config: Config
    loop: LoopConfig
    rows: tuple[Row, ...]
    seeds: tuple[int, ...]

    def trials(self) -> list[Trial]:
        """All deployments; those of `random` first, whose logs others read."""
        found = [Trial(row, seed) for row in self.rows for seed in self.seeds]
        return sorted(found, key=lambda one: one.row.label != FLOORS[0])
