"""Plays one period of everybody's life, from where the one before left them, and writes down what was shown."""

from typing import Any, NamedTuple

import numpy as np
import polars as pl
from gymnasium.error import InvalidAction
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from lerl.agents.base import Agent, Observation, Pause
from lerl.envs.draws import seed_from
from lerl.envs.kernels import CLICK_FROM
from lerl.envs.plugins import PluginError
from lerl.envs.population import Population
from lerl.envs.session import SessionVectorEnv
from lerl.envs.sessions.lives import Lives
from lerl.experiment.loop.between import AWAY, GONE, HERE, LOG, OVER, SESSIONS, Between, put
from lerl.experiment.loop.cast import Cast
from lerl.run.lives import answers
from lerl.run.rollout import begin_sessions
from lerl.run.task import Task


class Played(NamedTuple):
    """What a period brought: the log, see `LOG`; the sessions, see `SESSIONS`; and where people are now."""

    log: pl.DataFrame
    sessions: pl.DataFrame
    between: Between


def new_env(population: Population, task: Task, count: int) -> SessionVectorEnv:
    """People of a population who come back, in `count` slots, one for each person."""
    return SessionVectorEnv(
        population, count, split="all", config=task.lives, axis=task.axis, autoreset_mode=AutoresetMode.DISABLED
    )


def play(
    env: SessionVectorEnv,
    agent: Agent,
    cast: Cast,
    period: int,
    until: float,
    before: Between | None,
) -> Played:
    """Everybody's sessions that begin before the day `until`.

    The agent begins anew with everybody: what it is to know of them is in what it was fitted to.

    Args:
        env: a slot for each person. agent: of as many slots. cast: who they are, and which items are there.
        period: which, from 0. until: the day on which it ends. before: where the last one left people; None for none.

    Raises:
        NotImplementedError: the agent cannot leave out items that are not there.
    """
    return _Period(env, agent, cast, period, until).run(before)


class _Period:
    """One period of N lives, each in the slot of its number; other slots play what nobody counts."""

    def __init__(self, env: SessionVectorEnv, agent: Agent, cast: Cast, period: int, until: float) -> None:
        self.env, self.agent, self.cast, self.until = env, agent, cast, until
        self.there, people = cast.there[period], len(cast.people)
        self.everybody = np.arange(people)
        self.live = np.zeros(people, bool)
        self.rewards = np.zeros(people)
        self.known: list[list[NDArray[np.int32]]] = [[] for _ in range(people)]
        self.rows: list[tuple[NDArray[Any], ...]] = []
        self.sessions: list[tuple[NDArray[Any], ...]] = []
        agent.watch(env)
        if not self.there.all():
            agent.withhold(np.flatnonzero(~self.there).astype(np.int32))

    def run(self, before: Between | None) -> Played:
        observation = self._begin(before)
        while self.live.any():
            steps, at = self.env.state.steps.copy(), (self.lives.day.copy(), self.lives.sessions.copy())
            slates = only_there(self.agent.act(observation), self.there, self.env.state.shown)
            observation, rewards, terminated, truncated, infos = self._step(slates)
            feedback = infos["feedback"]
            shown = np.where(feedback >= 0, np.asarray(slates).reshape(feedback.shape), -1).astype(np.int32)
            self._record(at, steps, shown, feedback, rewards)
            over, ended = self.lives.session_ended.copy(), terminated | truncated
            self._end_sessions(at, steps, over & self.live)
            self.status[self.live & terminated] = GONE
            self.status[self.live & truncated] = OVER
            late = over & ~ended & self.live & (self.lives.day >= self.until)
            self._keep(np.flatnonzero(late))
            self.live &= ~(ended | late)
            if (again := np.flatnonzero(over & ~ended & ~late)).size:
                self._begin_again(again, observation, shown, feedback)
            if (ended | late).any():
                observation = self._attended(ended | late, np.flatnonzero(ended | late))
        return Played(*self._tables(), Between(self.state, self.kept_lives, self.status))

    def _step(self, slates: Any) -> Any:
        try:
            return self.env.step(slates)
        except InvalidAction as error:
            raise PluginError(f"{type(self.agent).__name__}.act gives no slates: {error}") from error

    @property
    def lives(self) -> Lives:
        found = self.env.lives
        assert found is not None
        return found

    def _begin(self, before: Between | None) -> Observation:
        """Put everybody where they are, and have the agent begin with all."""
        self.env.reset(seed=list(self.cast.seeds), options={"users": self.cast.people})
        self.lives.day[:] = self.cast.arrivals
        self.state, self.kept_lives = self.env.state.take(self.everybody), self.lives.take(self.everybody)
        self.status = np.full(len(self.live), AWAY, np.int8)
        if before is not None:
            begun = np.flatnonzero(before.status != AWAY)
            self.status[begun] = before.status[begun]
            put(self.state, begun, before.state.take(begun))
            put(self.kept_lives, begun, before.lives.take(begun))
        self.status[(self.status == AWAY) & (self.kept_lives.day < self.until)] = HERE
        self.live = (self.status == HERE) & (self.kept_lives.day < self.until)
        now = {"state": vars(self.state.take(self.everybody)), "lives": vars(self.kept_lives.take(self.everybody))}
        self.env.restore(self.env.snapshot() | now)
        return self._attended((self.status == GONE) | (self.status == OVER), self.everybody)

    def _attended(self, idle: NDArray[np.bool_], begun: NDArray[np.int64]) -> Observation:
        """Have slots (N,) bool go on with a life that nobody counts; the agent begins in slots (n,): in those that
        count alone where it hears of no others, but for the first time, when it begins in all."""
        options = {"reset_mask": idle, "users": self.cast.people}
        observation, _ = self.env.reset(seed=list(self.cast.seeds), options=options)
        self.agent.attend(self.live)
        rows = begun[self.live[begun]] if self.agent.attends and len(begun) < len(self.live) else begun
        if len(rows):
            begin_sessions(self.env, self.agent, rows, observation, self._keys(rows))
        return observation

    def _keys(self, rows: NDArray[np.int64]) -> NDArray[np.uint64]:
        """Keys (n,) of the sessions that begin in these slots, those of `lerl.run.lives.play_lives`."""
        numbers = [(number,) if number else () for number in self.lives.sessions[rows].tolist()]
        pairs = zip(rows.tolist(), numbers, strict=True)
        return np.array([seed_from("session key", self.cast.seeds[row], *which) for row, which in pairs], np.uint64)

    def _record(
        self, at: Any, steps: NDArray[np.int32], shown: NDArray[np.int32], feedback: NDArray[np.float32], rewards: Any
    ) -> None:
        rows = np.flatnonzero(self.live)
        self.rewards[rows] += rewards[rows]
        self.rows.append((rows, at[0][rows], at[1][rows], steps[rows], shown[rows], feedback[rows]))
        if self.agent.recalls:
            for row in rows.tolist():
                self.known[row].append(answers(shown[row], feedback[row]))

    def _end_sessions(self, at: Any, steps: NDArray[np.int32], over: NDArray[np.bool_]) -> None:
        rows = np.flatnonzero(over)
        satisfaction = self.lives.last_satisfaction[rows].astype(np.float64)
        self.sessions.append((rows, at[1][rows], at[0][rows], steps[rows] + 1, self.rewards[rows].copy(), satisfaction))
        self.rewards[over] = 0.0

    def _keep(self, rows: NDArray[np.int64]) -> None:
        """Keep where these slots are: their next session is of another period."""
        put(self.state, rows, self.env.state.take(rows))
        put(self.kept_lives, rows, self.lives.take(rows))

    def _begin_again(
        self, rows: NDArray[np.int64], observation: Observation, shown: NDArray[np.int32], feedback: NDArray[np.float32]
    ) -> None:
        rows = rows[self.live[rows]] if self.agent.attends else rows
        if not len(rows):
            return
        if self.agent.recalls:
            known = self.env.simulator.population.known(self.env.state.user[rows])
            parts = zip(rows.tolist(), known, strict=True)
            self.agent.recall(rows, [np.concatenate([one, *self.known[row]]) for row, one in parts])
        pause = Pause(self.lives.gap[rows], shown[rows], feedback[rows])
        self.agent.begin_again(rows, observation, self._keys(rows), pause)

    def _tables(self) -> tuple[pl.DataFrame, pl.DataFrame]:
        """The log in order of time, and the sessions."""
        people, k = self.cast.people, self.env.simulator.config.slate_size
        if not self.rows:
            return pl.DataFrame(schema=LOG), pl.DataFrame(schema=SESSIONS)
        row, day, _, step, shown, feedback = (np.concatenate(part) for part in zip(*self.rows, strict=True))
        there = shown >= 0
        owner = np.repeat(np.arange(len(row)), k).reshape(-1, k)[there]
        order = np.lexsort((np.broadcast_to(np.arange(k), shown.shape)[there], step[owner], row[owner], day[owner]))
        owner, items = owner[order], shown[there][order]
        log = pl.DataFrame(
            {
                "user": people[row[owner]],
                "item": items,
                "click": feedback[there][order] >= CLICK_FROM,
                "day": day[owner],
            },
            schema=LOG,
        )
        parts = [np.concatenate(part) for part in zip(*self.sessions, strict=True)]
        columns = dict(zip(SESSIONS, [people[parts[0]], *parts[1:]], strict=True))
        return log, pl.DataFrame(columns, schema_overrides=SESSIONS).sort("user", "session")


def only_there(given: Any, there: NDArray[np.bool_], shown: NDArray[np.int32]) -> Any:
    """Slates (B, k) without items that are not there, whose places stay empty.

    Agents are told what is not there, and choose it only where nothing else is left that they may show. A place is
    empty where an item stands twice in a session.

    Args:
        given: what an agent chose. there: (I,) bool. shown: (B, S) earlier in the session, -1 as padding.
    """
    slates = np.asarray(given)
    if there.all() or slates.dtype.kind not in "iu" or slates.min() < 0 or slates.max() >= len(there):
        return given  # the environment says what is wrong
    wrong = ~there[slates].reshape(len(slates), -1)
    if not wrong.any():
        return given
    mended = slates.reshape(wrong.shape).copy()
    for row in np.flatnonzero(wrong.any(axis=1)).tolist():
        twice = [*mended[row, ~wrong[row]].tolist(), *shown[row, shown[row] >= 0].tolist()]
        mended[row, wrong[row]] = twice[0] if twice else np.flatnonzero(there)[0]
    return mended.reshape(slates.shape)
