"""An agent that shows what its belief says is most likely to be clicked."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from lerl.agents.base import Agent, Observation, Pause, TaskSpec
from lerl.agents.belief.filter import begin_all, come_back, learn_all, new_belief
from lerl.agents.belief.model import UserModel
from lerl.agents.belief.slates import Standing, columns, count_repetitions, fill_slates
from lerl.envs import draws, threads

NAME = "belief+greedy"
"""What it is called in `agents` of a recipe and in tables."""

WONDER = 0.5  # standard deviations of what is not known of an item: of many items, too many would be tried with 1
DAY = 5.0  # steps of a session that a day between two counts as, of drift and of boredom that fades; assumed
PRICE = 1.5  # of boredom: more than it costs now, since it costs the next slates too


class Prices(NamedTuple):
    """By what a session's price of boredom is multiplied: `first` at its first slate, `last` when all its slates are
    over, and in between on a straight line by slates shown; both at least 0.

    Where first is above last, topics are spared early, and what a person likes best comes at the end.
    """

    first: float = 1.0
    last: float = 1.0


AS_IN_SESSIONS = Prices()


class BeliefAgent(Agent):
    """Keeps a belief over every session's person, and fills slates by it; no planner, no network.

    Args:
        task: the task. count: B. model: what was learned of people and items.
        explore: whether tastes, and at the begin of a session item offsets, are drawn from what is believed of them
            instead of its mean (Thompson sampling), for training.
        prices: of boredom, early and late in a session.

    Attributes:
        drifts: steps of drift that a day between sessions counts as. fades: exposure that is left after a day, as
            -log of its share; both as `DAY` says unless somebody knows better.
    """

    def __init__(
        self, task: TaskSpec, count: int, model: UserModel, explore: bool = False, prices: Prices = AS_IN_SESSIONS
    ) -> None:
        self.task, self.model, self.explore, self.prices = task, model, explore, prices
        self.belief = new_belief(count, model.vectors.shape[1], model.fills.shape[1])
        self.shown = np.full((count, task.max_steps * task.slate_size), -1, np.int32)
        self.steps = np.zeros(count, np.int64)
        self.repeated = np.zeros(count)
        self.keys = np.zeros(count, np.uint64)
        self.live = np.ones(count, bool)
        self.guesses = np.zeros((count, len(model.offsets) if explore else 0), np.float32)
        self._columns = columns(model)
        self.withheld = np.zeros(0, np.int32)
        self.drifts, self.fades = DAY, -DAY * math.log(max(model.keep, 1e-9))

    def attend(self, live: NDArray[np.bool_]) -> None:
        """Choose for these slots (B,) only; the others show item 0."""
        self.live = live

    def begin(self, rows: NDArray[np.int64], observation: Observation, keys: NDArray[np.uint64]) -> None:
        """New sessions in these slots."""
        self.start(rows, homes(observation["taste"][rows], observation["taste_offset"][rows]), keys)

    def start(self, rows: NDArray[np.int64], known: NDArray[np.float64], keys: NDArray[np.uint64]) -> None:
        """New sessions in these slots (n,), of people of whom taste and level (n, d + 1) are known."""
        threads.each(
            lambda block: begin_all(self.model, self.belief, rows[block], known[block]), len(rows), self._least(0.3)
        )
        self._clear(rows, keys)

    def begin_again(
        self, rows: NDArray[np.int64], observation: Observation, keys: NDArray[np.uint64], pause: Pause
    ) -> None:
        """The people in these slots are back: what was learned of them is where the next session begins."""
        shape = len(self.live), self.task.slate_size
        items, feedback = np.full(shape, -1, np.int32), np.zeros(shape, np.float32)
        items[rows], feedback[rows] = pause.items, pause.feedback

        def go_on(block: slice) -> None:
            learn_all(self.model, self.belief, rows[block], items, feedback)
            come_back(self.model, self.belief, rows[block], pause.days[block], self.drifts, self.fades)

        threads.each(go_on, len(rows), self._least(self.task.slate_size + 2.0))
        self._clear(rows, keys)

    def _clear(self, rows: NDArray[np.int64], keys: NDArray[np.uint64]) -> None:
        """Nothing was shown yet in the sessions of these slots."""
        if self.explore:
            guesses = np.empty((len(rows), len(self.model.doubts)))
            _draw(keys, np.full(len(rows), -1), guesses)
            self.guesses[rows] = WONDER * self.model.doubts * guesses
        self.shown[rows], self.steps[rows], self.repeated[rows], self.keys[rows] = -1, 0, 0.0, keys

    def act(self, observation: Observation) -> NDArray[np.int32]:
        """Slates (B, k)."""
        self.see(observation)
        shown = self.shown[:, :0] if self.task.repeats else self.shown
        if len(self.withheld):
            shown = np.concatenate([np.broadcast_to(self.withheld, (len(shown), len(self.withheld))), shown], axis=1)
        return self.slates(shown)

    def slates(self, shut: NDArray[np.int32]) -> NDArray[np.int32]:
        """Slates (B, k) as believed now, without the items `shut` (B, S), -1 as padding; item 0 where none is left."""
        return self.slates_of(lambda block: shut[block])

    def slates_of(self, shut: Callable[[slice], NDArray[np.int32]]) -> NDArray[np.int32]:
        """As `slates`; `shut` gives the items (n, S) that may not be shown in a block of slots."""
        slates = np.full((len(self.live), self.task.slate_size), -1, np.int32)
        standing = Standing(
            self._tastes(), self.belief.exposure, self.shown, self.steps, self.repeated, self.guesses, self._prices()
        )

        def fill(block: slice) -> None:
            own = Standing(*threads.cut(standing, block))
            fill_slates(self._columns, self.model, own, shut(block), self.live[block], PRICE, slates[block])

        threads.each(fill, len(slates), threads.least(len(self.model.offsets) / 50))
        return np.maximum(slates, 0)

    def slots(self) -> dict[str, NDArray[Any]]:
        """See `Agent.slots`."""
        own = {name: getattr(self, name) for name in ("shown", "steps", "repeated", "keys")}
        return self.belief._asdict() | own

    def withhold(self, items: NDArray[np.int32]) -> None:
        """Leave these items (n,) out of slates until the next call."""
        self.withheld = items

    def see(self, observation: Observation) -> None:
        """Take in the newest slate of every slot whose session has moved on."""
        k = self.task.slate_size
        steps = np.rint((1 - observation["time_left"][:, 0]) * self.task.max_steps).astype(np.int64)
        moved = np.flatnonzero(steps == self.steps + 1)
        items, feedback = (
            np.ascontiguousarray(observation[name][:, -k:]) for name in ("recent_items", "recent_feedback")
        )

        def learn(block: slice) -> None:
            rows = moved[block]
            learn_all(self.model, self.belief, rows, items, feedback)
            self.shown[rows[:, None], self.steps[rows, None] * k + np.arange(k)] = items[rows]
            self.steps[rows] += 1
            count_repetitions(self.model, self.shown, self.steps, rows, k, self.repeated)

        threads.each(learn, len(moved), self._least(k + 1.0))

    def _least(self, passes: float) -> int:
        """How many slots a block has at least where the covariance of each is gone over so many times."""
        return threads.least(0.5 + passes * self.belief.cov[:1].size / 1_000)

    def _prices(self) -> NDArray[np.float64]:
        """(B,), see `Prices`; (0,) where all are 1."""
        if self.prices == AS_IN_SESSIONS:
            return np.zeros(0)
        first, last = self.prices
        return np.asarray(first + (last - first) * self.steps / self.task.max_steps)

    def _tastes(self) -> NDArray[np.float64]:
        """(B, d + 1), the belief's means, or draws from it."""
        if not self.explore:
            return self.belief.mean
        root, drawn = np.linalg.cholesky(self.belief.cov), np.empty(self.belief.mean.shape)
        _draw(self.keys, self.steps, drawn)
        return self.belief.mean + np.einsum("bij,bj->bi", root, drawn)


@njit(cache=True)
def _draw(keys, steps, drawn):  # type: ignore[no-untyped-def]
    """drawn (B, n) <- standard normal, of each session's own stream."""
    for b in range(len(keys)):
        draws.normals(draws.stream(keys[b], 3, steps[b], 0), drawn[b])


def homes(tastes: NDArray[np.float32], offsets: NDArray[np.float32]) -> NDArray[np.float64]:
    """What the history says of users, taste and level (n, d + 1): the 1 at the end of a taste is no part of it."""
    return np.concatenate([tastes[:, :-1], offsets.reshape(len(tastes), 1)], axis=1).astype(np.float64)
