"""What each trial of a search tries, and which trials have to be done before that is known.

It depends on the seed, the number of the trial and the trials before its batch only, so that a search finds the same
however many processes work on it, and however often it is interrupted.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import FrozenTrial, create_trial

from lerl.config.schema import Config
from lerl.envs.draws import seed_from
from lerl.experiment.search.space import Space, own_settings, whole_grid

STARTUP = 10
"""With fewer finished trials than these, Optuna's TPE draws at random, whatever they found."""
GRID = "grid"
"""A trial's note that its settings are the next of a grid."""


@dataclass(frozen=True)
class Board:
    """How far a search is.

    Attributes:
        done: trials that were brought to their end, by number. running: those that a process is at work on.
    """

    done: Mapping[int, FrozenTrial]
    running: Mapping[int, FrozenTrial]


class Plan:
    """What a search tries.

    Args:
        config: the recipe with its search. space: what is searched.
    """

    def __init__(self, config: Config, space: Space) -> None:
        self.config, self.space = config, space
        self.own = own_settings(config, space)
        self.grid = whole_grid(space, config.tune.trials)

    def numbers(self, board: Board) -> list[int]:
        """The trials of the search: as many as `tune.trials` says, fewer where the space holds no more."""
        if not self.grid:
            return list(range(self.config.tune.trials))
        return sorted({*self._before_grid(board), *self._of_grid(board)})

    def free(self, board: Board) -> list[int]:
        """The trials that can be begun now."""
        open_ = [number for number in self.numbers(board) if number not in board.done and number not in board.running]
        ready = next((number for number in itertools.count() if number not in board.done), 0)
        return [number for number in open_ if self.waits_for(number) <= ready]

    def waits_for(self, number: int) -> int:
        """How many trials, counted from the first, have to be done before this one can be begun."""
        return self.before(number) if self.config.tune.prune else self._informed_by(number)

    def before(self, number: int) -> int:
        """How many trials come before the batch of this one."""
        return number // self.config.tune.batch * self.config.tune.batch

    def values(self, number: int, board: Board) -> dict[str, Any]:
        """What a trial tries, by dotted key."""
        if self.grid:
            return self._of_grid(board)[number]
        if number == 0 and self.own:
            return self.own
        known = [board.done[one] for one in range(self._informed_by(number))]
        return _proposed(known, self.space, seed_from(self.config.seed, "tune", number) % 2**32)

    def side_by_side(self) -> tuple[int, int]:
        """How many of the first trials can be done at the same time at most, and how many of the others."""
        most, batch = self.config.tune.trials, self.config.tune.batch
        if self.grid and not self.config.tune.prune:
            return most, most
        first = batch if self.config.tune.prune else -(-STARTUP // batch) * batch
        return min(first, most), min(batch, most)

    def _informed_by(self, number: int) -> int:
        """How many trials, counted from the first, decide what this one tries."""
        known = self.before(number)
        return 0 if self.grid or known < STARTUP else known

    def _before_grid(self, board: Board) -> dict[int, dict[str, Any]]:
        """What was tried while the search was too short for the whole grid."""
        begun = {**board.running, **board.done}
        return {number: trial.params for number, trial in begun.items() if not trial.user_attrs.get(GRID)}

    def _of_grid(self, board: Board) -> dict[int, dict[str, Any]]:
        """The settings of the grid, the recipe's own first, without those that were tried before."""
        before = self._before_grid(board)
        ordered = [self.own, *(one for one in self.grid if one != self.own)] if self.own else self.grid
        left = [values for values in ordered if values not in before.values()]
        numbers = (number for number in itertools.count() if number not in before)
        return dict(zip(numbers, left[: max(self.config.tune.trials - len(before), 0)], strict=False))


def _proposed(known: Sequence[FrozenTrial], space: Space, seed: int) -> dict[str, Any]:
    """What Optuna's TPE proposes after these trials, in this order, and no others."""
    sampler = optuna.samplers.TPESampler(n_startup_trials=STARTUP, seed=seed)
    study = optuna.create_study(sampler=sampler, direction="maximize")
    study.add_trials(
        [
            create_trial(
                state=trial.state,
                value=trial.value,
                params=trial.params,
                distributions=space,
                intermediate_values=trial.intermediate_values,
            )
            for trial in known
        ]
    )
    return study.ask(space).params
