"""Plays the lives of evaluation users, each exactly once, a fixed number of them side by side, and their tables."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lerl.agents.base import Agent, Pause
from lerl.envs.draws import seed_from
from lerl.envs.kernels import CLICK_FROM
from lerl.envs.sessions.lives import Lives
from lerl.envs.threads import limit
from lerl.report import lives as definitions
from lerl.report import metrics
from lerl.run.progress import Progress, counter
from lerl.run.rollout import Evaluator, Queue, occurrence, session_seeds, step_with
from lerl.run.task import Task

LIVES, LIFE_SESSIONS = "lives", "life_sessions"
"""Names of the tables."""


@dataclass(frozen=True)
class PlayedSession:
    """One session of a life, T slates of k.

    Attributes:
        number: from 0. day: when it began. gap: days since the one before, 0 in the first.
        slates: (T, k) int32, -1 for an empty slot. rewards: (T,). satisfaction: at its end, in [0, 1].
    """

    number: int
    day: float
    gap: float
    slates: NDArray[np.int32]
    rewards: NDArray[np.float64]
    satisfaction: float


@dataclass(frozen=True)
class PlayedLives:
    """N whole lives.

    Attributes:
        users, replicates: (N,) int. churned: (N,) bool, lost for good; the other lives went on after the last day.
        sessions: of each life, in the order of time.
    """

    users: NDArray[np.int64]
    replicates: NDArray[np.int64]
    churned: NDArray[np.bool_]
    sessions: list[list[PlayedSession]]


def play_lives(
    evaluator: Evaluator, agent: Agent, users: NDArray[np.int64], replicates: int, seed: int, progress: Any = None
) -> PlayedLives:
    """The lives of every user, `replicates` times; the same seed gives every agent the same people and draws.

    Args:
        evaluator: its users come back (`horizon` "days"). agent: chooses for as many people as there are slots.
        users: (N,) user numbers of the split. progress: called with the number of lives that have just ended.
    """
    agent.watch(evaluator.env)
    user = np.repeat(users, replicates)
    replicate = occurrence(user)
    with limit(evaluator.threads):
        return _LifeQueue(evaluator, agent, user, session_seeds(seed, user, replicate), progress).run(replicate)


class _LifeQueue(Queue):
    """One pass over a queue of lives."""

    def __init__(
        self, evaluator: Evaluator, agent: Agent, users: NDArray[np.int64], seeds: list[int], progress: Any
    ) -> None:
        super().__init__(evaluator.env, agent, users, seeds, progress)
        config, slots = self.env.simulator.config, self.env.num_envs
        self.slates = np.full((slots, config.max_steps, config.slate_size), -1, np.int32)
        self.rewards = np.zeros((slots, config.max_steps))
        self.churned = np.zeros(len(users), bool)
        self.sessions: list[list[PlayedSession]] = [[] for _ in users]
        self.known: list[list[NDArray[np.int32]]] = [[] for _ in range(slots)]

    def run(self, replicates: NDArray[np.int64]) -> PlayedLives:
        observation = self.begin(np.ones(self.env.num_envs, bool))
        while (self.session >= 0).any():
            steps, before = self.env.state.steps.copy(), self._lives.take(np.arange(self.env.num_envs))
            given, (observation, rewards, terminated, truncated, infos) = step_with(self.env, self.agent, observation)
            feedback = infos["feedback"]
            slates = np.where(feedback >= 0, np.asarray(given).reshape(feedback.shape), -1).astype(np.int32)
            self._record(steps, slates, feedback, rewards)
            ended, over = terminated | truncated, self._lives.session_ended
            for slot in np.flatnonzero(over & (self.session >= 0)).tolist():
                self._keep(slot, int(steps[slot]) + 1, before)
            if (again := np.flatnonzero(over & ~ended)).size:
                self._begin_again(again, observation, slates, feedback)
            self.churned[self.session[terminated & (self.session >= 0)]] = True
            if ended.any():
                observation = self.begin(ended)
        return PlayedLives(self.users, replicates, self.churned, self.sessions)

    @property
    def _lives(self) -> Lives:
        lives = self.env.lives
        assert lives is not None
        return lives

    def begin(self, ended: NDArray[np.bool_]) -> Any:
        """As `Queue.begin`; of whoever is new in a slot nothing was shown yet."""
        for slot in np.flatnonzero(ended).tolist():
            self.known[slot] = []
        return super().begin(ended)

    def _record(
        self,
        steps: NDArray[np.int32],
        slates: NDArray[np.int32],
        feedback: NDArray[np.float32],
        rewards: NDArray[np.float64],
    ) -> None:
        slots = np.arange(len(steps))
        self.slates[slots, steps], self.rewards[slots, steps] = slates, rewards
        if self.agent.recalls:
            for slot in slots.tolist():
                self.known[slot].append(answers(slates[slot], feedback[slot]))

    def _keep(self, slot: int, length: int, before: Lives) -> None:
        """The session that has just ended in a slot, of a life that counts."""
        self.sessions[self.session[slot]].append(
            PlayedSession(
                int(before.sessions[slot]),
                float(before.day[slot]),
                float(before.gap[slot]),
                self.slates[slot, :length].copy(),
                self.rewards[slot, :length].copy(),
                float(self._lives.last_satisfaction[slot]),
            )
        )

    def _begin_again(
        self, rows: NDArray[np.int64], observation: Any, slates: NDArray[np.int32], feedback: NDArray[np.float32]
    ) -> None:
        """Have the agent begin the next sessions of people it has met, in slots that it hears of."""
        rows = rows[self.session[rows] >= 0] if self.agent.attends else rows
        if not len(rows):
            return
        if self.agent.recalls:
            known = self.env.simulator.population.known(self.env.state.user[rows])
            for slot in rows.tolist():  # as one, so that each slate is not joined again at each return
                self.known[slot] = [np.concatenate(self.known[slot])]
            parts = zip(rows.tolist(), known, strict=True)
            self.agent.recall(rows, [np.concatenate([one, *self.known[slot]]) for slot, one in parts])
        lives, idle = self._lives, np.maximum(self.session[rows], 0)
        seeds = zip(idle.tolist(), lives.sessions[rows].tolist(), strict=True)
        keys = np.array([seed_from("session key", self.seeds[life], number) for life, number in seeds], np.uint64)
        self.agent.begin_again(rows, observation, keys, Pause(lives.gap[rows], slates[rows], feedback[rows]))


def answers(slate: NDArray[np.int32], feedback: NDArray[np.float32]) -> NDArray[np.int32]:
    """(n, 2): each item of a slate (k,) whose place is not empty, and 1 where feedback (k,) is a click, 0 elsewhere."""
    there = slate >= 0
    return np.column_stack([slate[there], (feedback[there] >= CLICK_FROM).astype(np.int32)])


def live_agent(
    label: str, agent: Agent, task: Task, users: NDArray[np.int64], progress: Progress
) -> dict[str, pl.DataFrame]:
    """The tables of an agent's lives, by name, where people come back; the same draws for every agent.

    Args:
        agent: as it was fitted, without what it may have kept of sessions that it was judged on before.
    """
    assert task.lives is not None
    how = task.config.evaluation
    evaluator = Evaluator(task.population, task.lives, task.axis, "evaluation", how.batch_size)
    count = counter(progress.report, f"lives {label}", len(users) * how.replicates)
    return life_tables(label, play_lives(evaluator, agent, users, how.replicates, task.seed("lives"), count), task)


def life_tables(label: str, played: PlayedLives, task: Task) -> dict[str, pl.DataFrame]:
    """The tables of an agent's lives, by name: one row per life, and one per session of a life."""
    assert task.lives is not None
    sessions = _sessions(label, played, task)
    return {LIVES: _lives(label, played, task, task.lives.days), LIFE_SESSIONS: sessions}


def _lives(label: str, played: PlayedLives, task: Task, horizon: float) -> pl.DataFrame:
    rows = []
    for n, sessions in enumerate(played.sessions):
        days = [one.day for one in sessions]
        rows.append(
            {
                "seed": task.config.seed,
                "agent": label,
                "user": int(played.users[n]),
                "replicate": int(played.replicates[n]),
                "sessions": len(sessions),
                "active_days": definitions.active_days(days),
                **{f"retention_{d}": definitions.retained(days, d, horizon) for d in definitions.RETENTION},
                "mean_gap": definitions.mean_gap(days),
                "R_life": definitions.r_life([metrics.r_cum(one.rewards) for one in sessions]),
                "churned": bool(played.churned[n]),
                "lifetime": definitions.lifetime(days),
            }
        )
    kinds = {f"retention_{d}": pl.Boolean for d in definitions.RETENTION} | {"mean_gap": pl.Float64}
    return pl.DataFrame(rows, schema_overrides=kinds)


def _sessions(label: str, played: PlayedLives, task: Task) -> pl.DataFrame:
    membership = task.population.catalog.categories.membership
    vectors = task.population.knowledge.item_vectors[:, :-1].astype(np.float64)
    rows = [
        {
            "seed": task.config.seed,
            "agent": label,
            "user": int(user),
            "replicate": int(replicate),
            "session": one.number,
            "day": one.day,
            "gap": one.gap,
            "T_int": metrics.t_int(one.rewards),
            "R_cum": metrics.r_cum(one.rewards),
            "satisfaction_final": one.satisfaction,
            "intra_list_distance": metrics.intra_list_distance(one.slates, vectors),
            "category_entropy": metrics.category_entropy(one.slates, membership),
        }
        for user, replicate, sessions in zip(played.users, played.replicates, played.sessions, strict=True)
        for one in sessions
    ]
    return pl.DataFrame(rows)
