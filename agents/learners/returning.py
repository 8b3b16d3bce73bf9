"""Lives as a learner sees them: each session is an episode, whose end says how soon the person came back."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lerl.envs.observation import Observation
from lerl.envs.session import SessionVectorEnv

WINDOW = 1000
"""Sessions over which means are taken; what is older fades."""


class ComingSessions:
    """What coming back is worth: the value of all sessions to come, discounted over days.

    A life with sessions of reward R_0, R_1, ... on days t_0 = 0, t_1, ... is worth the sum of exp(-t_i / days) * R_i.
    A session takes no time on this clock, so within it nothing is discounted. With d = exp(-gap / days) after a session
    its value is V = R + d * V', V' that of the next session's start: the Bellman equation of a semi-Markov decision
    process (Bradtke and Duff, "Reinforcement learning methods for continuous-time Markov decision problems", NeurIPS
    1994). If V' is the same for all sessions, then V = mean(R) / (1 - mean(d)), and what a session's end adds is

        worth * (d - mean(d)),  worth = mean(R) / (1 - mean(d))

    The constant -worth * mean(d) comes once in every session, so it changes no policy's rank; it keeps values as small
    as those of one session. Where `days` is near 0 nothing is added, and the longer it is, the nearer this comes to the
    mean reward per day times the days that were saved, as in average-reward learning.

        d = exp(-gap / days)              of whoever came back
        d = 0                             of whoever is gone for good
        d = exp(-left / days) * mean(d)   of whoever had not come back when the days were over, `left` days later

    The last is a forecast, right where gaps are exponential. To learn from return times is the subject of RLUR (Cai et
    al., WWW 2023, arXiv 2302.01724); its critics estimate them, here they are rewards.

    Args:
        days: after which a session counts 1/e, above 0.

    Attributes:
        weight, reward, discount: sessions that the means are of, and sums of R and of d over them; the share of a
            session that is n sessions old is exp(-n / 1000).
    """

    def __init__(self, days: float) -> None:
        self.days = days
        self.weight, self.reward, self.discount = 0.0, 0.0, 0.0

    @property
    def worth(self) -> float:
        """Of the next session's start, in units of rewards; 0 before any session ended."""
        return self.reward / (self.weight - self.discount) if self.weight > self.discount else 0.0

    @property
    def mean_discount(self) -> float:
        """The mean of d, in [0, 1)."""
        return self.discount / self.weight if self.weight else 0.0

    def add(
        self,
        rewards: NDArray[np.float64],
        waited: NDArray[np.float64],
        gone: NDArray[np.bool_],
        over: NDArray[np.bool_],
    ) -> NDArray[np.float64]:
        """Take in n sessions that have ended; what each end adds to the reward, (n,).

        Args:
            rewards: (n,) R of each. waited: (n,) days until the next session, or of `over` until the last day; of
                `gone` it does not count. gone, over: (n,) who is gone for good, and who had not come back when the days
                were over.
        """
        kept = np.exp(-waited / self.days)
        kept[over] *= self.mean_discount
        kept[gone] = 0.0
        fade = math.exp(-len(kept) / WINDOW)
        self.weight = self.weight * fade + len(kept)
        self.reward = self.reward * fade + float(rewards.sum())
        self.discount = self.discount * fade + float(kept.sum())
        return self.worth * (kept - self.mean_discount)


class ReturningSessions(SessionVectorEnv):
    """People who come back, session by session: a session's end ends an episode, and is told in the last step's info.

    Infos hold `return_part`, (B,) float64: what `ComingSessions` adds to the reward of the last step of a session, 0 in
    all others. Episodes are terminated and never cut: beyond the step cap there is the next session, not more of this
    one. `reset(options={"reset_mask": ended})` begins new lives where lives are over, and elsewhere only shows the next
    session, which has begun.

    Args:
        population: catalog and users. count: how many side by side. discount_days: `days` of `ComingSessions`.
        settings: those of `SessionVectorEnv`; the configuration's horizon is "days", autoreset disabled.
    """

    def __init__(self, population: Any, count: int, discount_days: float, **settings: Any) -> None:
        super().__init__(population, count, **settings)
        self.coming = ComingSessions(discount_days)
        self._rewards = np.zeros(count)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Observation, dict[str, Any]]:
        """Show the sessions that have begun, and begin new lives where they are over; everywhere without a mask."""
        if options is None:
            self._rewards[:] = 0.0
            return super().reset(seed=seed)
        over = options["reset_mask"] & ~self.state.active
        return super().reset(options={"reset_mask": over}) if over.any() else (self._session.observe(), {})

    def step(
        self, actions: Any
    ) -> tuple[Observation, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Show every user an item or a slate, (B,) or (B, k)."""
        seen, rewards, gone, over, infos = super().step(actions)
        self._rewards += rewards
        lives, part = self.lives, np.zeros(self.num_envs)
        assert lives is not None
        ended = lives.session_ended.copy()
        if ended.any():
            waited = np.where(over, self.simulator.config.days - lives.day, lives.gap)
            part[ended] = self.coming.add(self._rewards[ended], waited[ended], gone[ended], over[ended])
            self._rewards[ended] = 0.0
        return seen, rewards, ended, np.zeros_like(ended), infos | {"return_part": part}

    def snapshot(self) -> dict[str, Any]:
        """See `SessionVectorEnv.snapshot`."""
        sums = {name: getattr(self.coming, name) for name in ("weight", "reward", "discount")}
        return super().snapshot() | {"coming": sums, "rewards": self._rewards.copy()}

    def restore(self, snapshot: dict[str, Any]) -> None:
        """See `SessionVectorEnv.restore`."""
        super().restore(snapshot)
        for name, value in snapshot["coming"].items():
            setattr(self.coming, name, value)
        self._rewards = snapshot["rewards"].copy()
