"""`lerl rank --plan`: what is left to do, how large it is, and how long it takes at most."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from lerl.agents.next_item.registry import row_class
from lerl.experiment.rank.request import Request, digests
from lerl.experiment.rank.trial import is_done


class Cost(NamedTuple):
    """What a row costs.

    Attributes:
        row: its name. trials: how many are left. parameters: that are learned, 0 where that is not known before.
        seconds: of an epoch, 0 for rows without epochs. epochs: at most.
    """

    row: str
    trials: int
    parameters: int
    seconds: float
    epochs: int

    @property
    def hours(self) -> float:
        """At most."""
        return self.trials * self.seconds * self.epochs / 3600


def estimate(asked: Request, out: Path) -> list[Cost]:
    """What is left to do, measured on a few steps of each row; nothing is written.

    Raises:
        DataError: the data cannot be used as they are.
    """
    choices, split = asked.data.read()
    names = digests(choices, split, asked)
    left = [trial.row for trial in asked.trials() if not is_done(asked, trial, out, names[trial.row])]
    costs = []
    for row, settings in asked.rows.items():
        made = row_class(row)(split.items, settings)
        made.know(choices.texts)
        parameters, seconds = made.measure(split.train, split.validation) if row in left else (0, 0.0)
        costs.append(Cost(row, left.count(row), parameters, seconds, getattr(settings, "epochs", 0)))
    return costs


def plan_lines(costs: Sequence[Cost]) -> list[str]:
    """What is left, in a table of plain text."""
    wide = max([12, *(len(cost.row) for cost in costs)])
    lines = [f"{'row':<{wide}} {'trials':>6} {'parameters':>12} {'s an epoch':>10} {'epochs':>6} {'hours at most':>13}"]
    for cost in costs:
        lines.append(
            f"{cost.row:<{wide}} {cost.trials:>6} {cost.parameters:>12,} {cost.seconds:>10.1f} {cost.epochs:>6} "
            f"{cost.hours:>13.2f}"
        )
    total = sum(cost.hours for cost in costs)
    return [*lines, f"{sum(cost.trials for cost in costs)} trials, at most {total:.2f} hours one after another"]
