"""People over days: one session after another of the same person, on top of the simulator of sessions."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lerl.envs import draws
from lerl.envs.sessions import returns
from lerl.envs.simulator import UserSimulator
from lerl.envs.state import Outcome, State

LIFE_BITS = np.int64(32)
"""Of a session's number, how many say which life of its seed it is of; those above say which session of the life."""


@dataclass
class Lives:
    """What lasts from one session of a person to the next; every array has one row per person.

    Attributes:
        number: (B,) int64, which life of its seed, 0 for the first.
        sessions: (B,) int64, sessions before this one.
        day: (B,) float64, when this session began, days since the first one did.
        gap: (B,) float64, days between the session before and this one, 0 in the first.
        memory: (B,) float64 in [0, 1], of how sessions were. habit: (B,) float64 in [0, 1].
        trait: (B,) float64, standard normal: above 0 for people who come back sooner than others.
        last_satisfaction: (B,) float32 in [0, 1], at the end of the newest session that ended; before that, as the
            first one began.
        session_ended: (B,) bool, whether the newest slate was the last of a session.
        churned: (B,) bool, whether the person is gone for good.
    """

    number: NDArray[np.int64]
    sessions: NDArray[np.int64]
    day: NDArray[np.float64]
    gap: NDArray[np.float64]
    memory: NDArray[np.float64]
    habit: NDArray[np.float64]
    trait: NDArray[np.float64]
    last_satisfaction: NDArray[np.float32]
    session_ended: NDArray[np.bool_]
    churned: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.day)

    def take(self, rows: NDArray[np.int64]) -> "Lives":
        """A copy of the given rows, in that order; a row may be taken more than once."""
        return Lives(**{entry.name: getattr(self, entry.name)[rows] for entry in dataclasses.fields(self)})

    @staticmethod
    def room(count: int) -> "Lives":
        """For so many people, nothing in it yet."""
        return Lives(
            number=np.zeros(count, np.int64),
            sessions=np.zeros(count, np.int64),
            day=np.zeros(count, np.float64),
            gap=np.zeros(count, np.float64),
            memory=np.zeros(count, np.float64),
            habit=np.zeros(count, np.float64),
            trait=np.zeros(count, np.float64),
            last_satisfaction=np.zeros(count, np.float32),
            session_ended=np.zeros(count, bool),
            churned=np.zeros(count, bool),
        )


class LifeSimulator:
    """Steps B people at once through their days; the state is a `State` and a `Lives`.

    A life has one seed and one user. Its first session has the bits of a session of that seed and number without a
    life; each further one has draws of its own. Agents that differ see the same person with the same draws for the
    same session of a life, however long the sessions before were.

    Args:
        simulator: of the sessions; its configuration says what happens between them, and how many days there are.
    """

    def __init__(self, simulator: UserSimulator) -> None:
        self.simulator = simulator
        self.config = simulator.config
        self.how = simulator.config.return_
        rest, drift = self.how.rest, self.config.drift
        self._stirs = rest.enabled and self.config.mood.enabled and self.config.mood.spread > 0
        self._wanders = self.how.wander.enabled and drift.enabled

    def start(
        self, seeds: NDArray[np.uint64], numbers: NDArray[np.int64], users: NDArray[np.int64] | None = None
    ) -> tuple[State, Lives]:
        """The first sessions of lives, by seeds and numbers (B,); users are drawn from the split unless given."""
        state, lives = self.simulator.start(seeds, numbers, users), Lives.room(len(seeds))
        self._begin(lives, np.arange(len(seeds)), seeds, numbers)
        return state, lives

    def restart(
        self,
        state: State,
        lives: Lives,
        rows: NDArray[np.int64],
        seeds: NDArray[np.uint64],
        numbers: NDArray[np.int64],
        users: NDArray[np.int64] | None = None,
    ) -> None:
        """New lives in the given rows (n,), in place; otherwise as `start`."""
        self.simulator.restart(state, rows, seeds, numbers, users)
        self._begin(lives, rows, seeds, numbers)

    def _begin(
        self, lives: Lives, rows: NDArray[np.int64], seeds: NDArray[np.uint64], numbers: NDArray[np.int64]
    ) -> None:
        habit = self.how.habit
        lives.number[rows], lives.sessions[rows], lives.day[rows], lives.gap[rows] = numbers, 0, 0.0, 0.0
        lives.memory[rows] = self.how.memory.neutral
        lives.habit[rows] = habit.rate if habit.enabled else 0.0
        lives.trait[rows] = returns.traits(seeds, numbers)
        lives.last_satisfaction[rows] = self.config.satisfaction.initial
        lives.session_ended[rows], lives.churned[rows] = False, False

    def step(self, state: State, lives: Lives, slates: NDArray[np.integer]) -> Outcome:
        """Show slates (B, k) and move both one step, in place; whose session ends begins the next one at once.

        The outcome is that of `UserSimulator.step`, but it ends lives: terminated when a person is gone for good,
        truncated when the next session would begin after the last day. Rows that were not active stay so until others
        begin there; as in `UserSimulator.step`, none may be moved beyond the step cap.
        """
        there = state.active.copy()
        outcome = self.simulator.step(state, slates)
        np.logical_and(there, ~state.active, out=lives.session_ended)
        for ends in (state.active, outcome.terminated, outcome.truncated):
            ends &= there
        rows = np.flatnonzero(lives.session_ended)
        if len(rows):
            outcome.terminated[rows], outcome.truncated[rows] = self._end_session(state, lives, rows)
        return outcome

    def _end_session(
        self, state: State, lives: Lives, rows: NDArray[np.int64]
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Who is gone for good and for whom the days are over, (n,) each; the others' next session begins."""
        how, satisfaction = self.how, state.satisfaction[rows].astype(np.float64)
        seeds, sessions, memory = state.seed[rows], state.session[rows], lives.memory[rows]
        if how.memory.enabled:
            returns.average(memory, satisfaction, how.memory.rate)
        lives.memory[rows], lives.last_satisfaction[rows] = memory, state.satisfaction[rows]
        gone = returns.gone(how.churn, memory, returns.streams(seeds, sessions, draws.CHURN))
        keys = returns.streams(seeds, sessions, draws.GAP)
        gaps = returns.gaps(how.gap, satisfaction, memory, lives.habit[rows], lives.trait[rows], keys)
        over = ~gone & (lives.day[rows] + gaps >= self.config.days)
        lives.churned[rows] = gone
        stay = ~(gone | over)
        if stay.any():
            self._begin_next(state, lives, rows[stay], gaps[stay])
        return gone, over

    def _begin_next(self, state: State, lives: Lives, rows: NDArray[np.int64], gaps: NDArray[np.float64]) -> None:
        """The next sessions of the people in these rows (n,), after gaps (n,)."""
        keys = state.seed[rows], state.session[rows]
        lives.gap[rows] = gaps
        lives.day[rows] += gaps
        lives.sessions[rows] += 1
        self._remember(lives, rows, gaps)
        kept = self._carried(state, rows, gaps, keys)
        self.simulator.restart(
            state, rows, keys[0], lives.number[rows] + (lives.sessions[rows] << LIFE_BITS), state.user[rows]
        )
        if self.how.rest.enabled:
            initial, remembered = self.config.satisfaction.initial, self.how.rest.remembered
            state.satisfaction[rows] = returns.first_satisfaction(lives.memory[rows], initial, remembered)
        for name, values in kept.items():
            target = state.response["taste"] if name == "taste" else getattr(state, name)
            target[rows] = values

    def _remember(self, lives: Lives, rows: NDArray[np.int64], gaps: NDArray[np.float64]) -> None:
        """Memory and habit over the gaps, and what another session adds to the habit."""
        memory, habit = self.how.memory, self.how.habit
        if memory.enabled:
            remembered = lives.memory[rows]
            returns.fade(remembered[:, None], gaps, memory.fades, memory.neutral)
            lives.memory[rows] = remembered
        if habit.enabled:
            used = lives.habit[rows]
            returns.fade(used[:, None], gaps, habit.fades, 0.0)
            returns.average(used, np.ones(len(rows)), habit.rate)
            lives.habit[rows] = used

    def _carried(
        self, state: State, rows: NDArray[np.int64], gaps: NDArray[np.float64], keys: tuple[Any, Any]
    ) -> dict[str, NDArray[Any]]:
        """What the next session begins with of the state at the end of the last one, by its name in `State`."""
        rest, wander = self.how.rest, self.how.wander
        kept: dict[str, NDArray[Any]] = {}
        if rest.enabled:
            boredom, fatigue = state.boredom[rows], state.fatigue[rows]
            returns.fade(boredom, gaps, rest.boredom_fades, 0.0)
            returns.fade(fatigue[:, None], gaps, rest.fatigue_fades, 0.0)
            kept |= {"boredom": boredom, "fatigue": fatigue}
        if self._stirs:
            mood = state.mood[rows]
            returns.sway(mood, gaps, returns.streams(*keys, draws.REST), rest.mood_fades, self.config.mood.spread)
            kept["mood"] = mood
        if self._wanders:
            taste, anchor = state.response["taste"][rows], state.anchor[rows]
            stream = returns.streams(*keys, draws.WANDER)
            returns.wander(taste, anchor, gaps, stream, wander.reverts, wander.noise)
            kept |= {"taste": taste, "anchor": anchor}
        return kept
