"""Who and what is there when: the same for all agents of a seed."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lerl.envs.draws import seed_from
from lerl.experiment.loop.settings import LoopConfig
from lerl.run.rollout import session_seeds
from lerl.run.task import Task


class Cast(NamedTuple):
    """N people and I items over P periods.

    Attributes:
        people: (N,) int64, user numbers, ascending; the same for all seeds. arrivals: (N,) float64, the day on which
            each begins, 0 for who is there from the first day. seeds: N whole numbers, of each person's draws.
        there: (P, I) bool, which items may be shown in a period.
    """

    people: NDArray[np.int64]
    arrivals: NDArray[np.float64]
    seeds: list[int]
    there: NDArray[np.bool_]

    @property
    def later(self) -> NDArray[np.bool_]:
        """(I,) bool, items that were not there in the first period."""
        found: NDArray[np.bool_] = ~self.there[0]
        return found


def cast_of(task: Task, loop: LoopConfig) -> Cast:
    """Draw who and what is there, by the seed of the task's configuration.

    People are `evaluation.users` of all users (as many as there are evaluation users where that is null).

    Raises:
        ValueError: there are too few users, or too few items for such a turnover.
    """
    people = _people(task)
    rng = np.random.default_rng(seed_from(task.config.seed, "loop", "people"))
    late = rng.permutation(len(people))[: int(loop.newcomers * len(people))]
    arrivals = np.zeros(len(people))
    arrivals[late] = rng.uniform(0, loop.periods * loop.retrain, len(late))
    seeds = session_seeds(task.seed("lives"), people, np.zeros(len(people), np.int64))
    return Cast(people, arrivals, seeds, shelves(len(task.population.catalog), loop, task))


def with_seed(task: Task, seed: int) -> Task:
    """The same task with another seed; its axis stays."""
    return replace(task, config=replace(task.config, seed=seed))


def _people(task: Task) -> NDArray[np.int64]:
    users, asked = len(task.population.training), task.config.evaluation.users
    count = len(task.population.users("evaluation")) if asked is None else asked
    if not 2 <= count <= users:
        raise ValueError(f"evaluation.users must be from 2 to {users:,}, all users that there are, given {count:,}")
    return np.sort(np.random.default_rng(0).permutation(users)[:count])


def shelves(items: int, loop: LoopConfig, task: Task) -> NDArray[np.bool_]:
    """(P, I) bool, which items are there in each period: equally many, of which a share leaves at each refit."""
    size = int(items / (1 + loop.turnover * (loop.periods - 1)))
    moved = int(loop.turnover * size)
    if size < 2 * task.config.env.slate_size:
        raise ValueError(
            f"{size} of {items} items would be there at a time, fewer than two slates of {task.config.env.slate_size}; "
            "give a smaller --turnover or fewer days"
        )
    rng = np.random.default_rng(seed_from(task.config.seed, "loop", "items"))
    order = rng.permutation(items)
    there = np.zeros((loop.periods, items), bool)
    there[0, order[:size]] = True
    for period in range(1, loop.periods):
        there[period] = there[period - 1]
        there[period, rng.choice(np.flatnonzero(there[period]), moved, replace=False)] = False
        there[period, order[size + (period - 1) * moved : size + period * moved]] = True
    return there
