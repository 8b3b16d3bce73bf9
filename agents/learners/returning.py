"""Lives as a learner sees them: each session is an episode, and its end is worth what comes after such a session."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lerl.envs.observation import Observation
from lerl.envs.session import SessionVectorEnv

WINDOW = 4000
"""Sessions over which is averaged; what is older fades."""
ENOUGH = 500
"""Ended sessions before which nothing is added to rewards: too few to know anything from."""
RIDGE = 1e-3
"""Added to the diagonal, so that there is always a solution."""
SEEN = 5
"""How many numbers say how a session was."""
RATE = 0.2
"""Weight of the newest reward in what was lately, and of the newest session in what was earlier."""


class ComingSessions:
    """What coming back is worth: the value of all sessions to come, discounted over days, by how a session was.

    A life with sessions of reward R_0, R_1, ... on days t_0 = 0, t_1, ... is worth the sum of exp(-t_i / days) * R_i.
    A session takes no time on this clock, so within it nothing is discounted. With x what was seen of a session, and d
    the discount over the gap after it, the value W of all that comes later is

        W(x) = E[d * (R' + W(x'))]

    where R' and x' are of the next session: the Bellman equation of a semi-Markov decision process (Bradtke and Duff,
    "Reinforcement learning methods for continuous-time Markov decision problems", NeurIPS 1994). W is linear in x, and
    found by least squares over sessions that ended (LSTD: Bradtke and Barto, Machine Learning 1996):

        W(x) = w . x,  (sum of x (x - d x')^T) w = sum of x d R'

        d = exp(-gap / days)              of whoever came back
        d = 0                             of whoever is gone for good
        d = exp(-left / days) * mean(d)   of whoever had not come back when the days were over, `left` days later, with
                                          x' = x and the mean R as R'; right where gaps are exponential

    A session's end adds W(x) - mean(W) to the reward: not the gap itself, whose luck is larger than what an agent can
    do about it, but what is expected of it and of all later ones after such a session. The constant comes once in every
    session, so it changes no policy's rank; it keeps values as small as those of one session. Where `days` is near 0
    nothing is added.

    To learn from return times is the subject of RLUR (Cai et al., WWW 2023, arXiv 2302.01724); to learn from what
    predicts the long term, and not from the long term itself, that of impatient bandits (McDonald et al., KDD 2023).

    Args:
        days: after which a session counts 1/e, above 0.
        count: people side by side, B.

    Attributes:
        matrix, vector: (5, 5) and (5,), the two sums. last, owed: (B, 5) and (B,), x and d of the session before, NaN
            before there was one.
        sums, seen: (3,) and (5,), of sessions, R and d, and of x. In all sums the share of a session that is n sessions
            old is exp(-n / 4000).
    """

    def __init__(self, days: float, count: int) -> None:
        self.days = days
        self.matrix, self.vector = np.zeros((SEEN, SEEN)), np.zeros(SEEN)
        self.sums, self.seen = np.zeros(3), np.zeros(SEEN)
        self.last, self.owed = np.zeros((count, SEEN)), np.full(count, np.nan)

    def weights(self) -> NDArray[np.float64]:
        """w, (5,), in units of rewards."""
        return np.asarray(np.linalg.solve(self.matrix + RIDGE * np.eye(SEEN), self.vector), np.float64)

    def forget(self) -> None:
        """Other people are in all slots."""
        self.owed[:] = np.nan

    def add(
        self,
        rows: NDArray[np.int64],
        seen: NDArray[np.float64],
        rewards: NDArray[np.float64],
        waited: NDArray[np.float64],
        ends: tuple[NDArray[np.bool_], NDArray[np.bool_]],
    ) -> NDArray[np.float64]:
        """Take in sessions that have ended in slots `rows`; what each end adds to the reward, (n,).

        Args:
            rows: (n,). seen: (n, 5) x of each. rewards: (n,) R of each. waited: (n,) days until the next session, or
                until the last day; it does not count for those who are gone. ends: (n,) each, who is gone for good, and
                who had not come back when the days were over.
        """
        gone, over = ends
        d = np.exp(-waited / self.days)
        d[over] *= self.sums[2] / max(self.sums[0], 1.0)
        d[gone] = 0.0
        for sums in (self.matrix, self.vector, self.sums, self.seen):
            sums *= math.exp(-len(rows) / WINDOW)
        self.sums += len(rows), rewards.sum(), d.sum()
        self.seen += seen.sum(axis=0)
        back = ~np.isnan(self.owed[rows])
        self._learn(self.last[rows[back]], self.owed[rows[back]], seen[back], rewards[back])
        mean = np.full(len(rows), self.sums[1] / self.sums[0])
        self._learn(seen[gone], d[gone], seen[gone], mean[gone])
        self._learn(seen[over], d[over], seen[over], mean[over])
        self.last[rows], self.owed[rows] = seen, np.where(gone | over, np.nan, d)
        if self.sums[0] < ENOUGH:
            return np.zeros(len(rows))
        return np.asarray((seen - self.seen / self.sums[0]) @ self.weights())

    def _learn(
        self,
        before: NDArray[np.float64],
        d: NDArray[np.float64],
        after: NDArray[np.float64],
        rewards: NDArray[np.float64],
    ) -> None:
        self.matrix += before.T @ (before - d[:, None] * after)
        self.vector += before.T @ (d * rewards)


class ReturningSessions(SessionVectorEnv):
    """People who come back, session by session: a session's end ends an episode, and is told in the last step's info.

    Infos hold `return_part`, (B,) float64: what `ComingSessions` adds to the reward of the last step of a session, 0 in
    all others. Episodes are terminated and never cut: beyond the step cap there is the next session, not more of this
    one. `reset(options={"reset_mask": ended})` begins new lives where lives are over, and elsewhere only shows the next
    session, which has begun.

    What is seen of a session, x, is what any platform sees: 1; rewards lately, an average that moves a fifth towards
    each; the same of earlier sessions, an average that moves a fifth towards what was lately at each end; the mean
    reward (all three less 0.5, where the averages begin); and the length, as a share of the step cap.

    Args:
        population: catalog and users. count: how many side by side. discount_days: `days` of `ComingSessions`.
        settings: those of `SessionVectorEnv`; the configuration's horizon is "days", autoreset disabled.
    """

    def __init__(self, population: Any, count: int, discount_days: float, **settings: Any) -> None:
        super().__init__(population, count, **settings)
        self.coming = ComingSessions(discount_days, count)
        self._rewards, self._lately, self._earlier = np.zeros(count), np.full(count, 0.5), np.full(count, 0.5)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Observation, dict[str, Any]]:
        """Show the sessions that have begun, and begin new lives where they are over; everywhere without a mask."""
        if options is None:
            self.coming.forget()
            self._rewards[:], self._lately[:], self._earlier[:] = 0.0, 0.5, 0.5
            return super().reset(seed=seed)
        over = options["reset_mask"] & ~self.state.active
        return super().reset(options={"reset_mask": over}) if over.any() else (self._session.observe(), {})

    def step(
        self, actions: Any
    ) -> tuple[Observation, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Show every user an item or a slate, (B,) or (B, k)."""
        lengths = self.state.steps + 1
        seen, rewards, gone, over, infos = super().step(actions)
        self._rewards += rewards
        self._lately += RATE * (rewards - self._lately)
        lives, part = self.lives, np.zeros(self.num_envs)
        assert lives is not None
        ended = lives.session_ended.copy()
        if ended.any():
            rows = np.flatnonzero(ended)
            waited = np.where(over, self.simulator.config.days - lives.day, lives.gap)[rows]
            how = self._how_it_was(rows, lengths[rows])
            part[rows] = self.coming.add(rows, how, self._rewards[rows], waited, (gone[rows], over[rows]))
            self._rewards[rows], self._lately[rows] = 0.0, 0.5
            self._earlier[gone | over] = 0.5
        return seen, rewards, ended, np.zeros_like(ended), infos | {"return_part": part}

    def _how_it_was(self, rows: NDArray[np.int64], lengths: NDArray[np.integer]) -> NDArray[np.float64]:
        """What is seen of sessions that have ended after so many steps (n,), (n, 5), see the class."""
        self._earlier[rows] += RATE * (self._lately[rows] - self._earlier[rows])
        parts = self._lately[rows] - 0.5, self._earlier[rows] - 0.5, self._rewards[rows] / lengths - 0.5
        return np.column_stack([np.ones(len(rows)), *parts, lengths / self.simulator.config.max_steps])

    def snapshot(self) -> dict[str, Any]:
        """See `SessionVectorEnv.snapshot`."""
        own = {name: getattr(self, name).copy() for name in ("_rewards", "_lately", "_earlier")}
        coming = {
            name: getattr(self.coming, name).copy() for name in ("matrix", "vector", "sums", "seen", "last", "owed")
        }
        return super().snapshot() | {"own": own, "coming": coming}

    def restore(self, snapshot: dict[str, Any]) -> None:
        """See `SessionVectorEnv.restore`."""
        super().restore(snapshot)
        for owner, values in ((self, snapshot["own"]), (self.coming, snapshot["coming"])):
            for name, value in values.items():
                setattr(owner, name, value.copy())
