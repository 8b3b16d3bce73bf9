"""Simulates whole sessions of chosen users, each exactly once, a fixed number of them side by side."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium.error import InvalidAction
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from lerl.agents.base import Agent
from lerl.envs.catalog import Axis
from lerl.envs.config import SimulatorConfig
from lerl.envs.draws import seed_from
from lerl.envs.plugins import PluginError, blamed
from lerl.envs.population import Population
from lerl.envs.session import SessionVectorEnv
from lerl.envs.state import State
from lerl.envs.threads import each, least, limit
from lerl.planners.base import PlanInWords, Sessions
from lerl.run.tape import Tape


@dataclass(frozen=True)
class Kept:
    """What is kept of the first n sessions beside slates; T is the step cap, K the number of topics.

    Attributes:
        plans: by session and step, None without a plan. boredom: (n, T, K) float32 after each slate; hidden.
        whole: (n, T) float32, clicks on whole slates where slots have roles, else -1.
    """

    plans: list[list[PlanInWords | None]]
    boredom: NDArray[np.float32]
    whole: NDArray[np.float32]

    @staticmethod
    def room(sessions: int, steps: int, topics: int) -> "Kept":
        """For so many sessions, nothing kept yet."""
        shape = (sessions, steps)
        return Kept(
            [[] for _ in range(sessions)], np.zeros((*shape, topics), np.float32), np.full(shape, -1, np.float32)
        )

    def take_in(self, agent: Agent, state: State, slots: NDArray[np.int64], sessions: NDArray[np.int64]) -> None:
        """The slate that these slots (n,) have just shown to these sessions (n,); later sessions are left out."""
        kept = sessions < len(self.plans)
        for slot, session in zip(slots[kept].tolist(), sessions[kept].tolist(), strict=True):
            plans = self.plans[session]
            self.boredom[session, len(plans)] = state.boredom[slot]
            if state.whole.shape[1]:
                self.whole[session, len(plans)] = state.whole[slot, len(plans)]
            with blamed(f"{type(agent).__name__}.plan_of"):
                plans.append(agent.plan_of(slot))


@dataclass(frozen=True)
class Episodes:
    """N whole sessions; T is the step cap, k the slate size.

    Attributes:
        users, replicates: (N,) int. keys: (N,) uint64, `PlanContexts.session_key` of each.
        lengths: (N,) int, steps survived. left: (N,) bool, left before the cap.
        slates: (N, T, k) int32, -1 for an empty slot and beyond the end. feedback: (N, T, k) float32, -1 likewise.
        rewards, satisfaction: (N, T) float, nan beyond the end.
        widened: (N,) int, slates whose plan was widened.
        kept: what else is kept of the first sessions.
    """

    users: NDArray[np.int64]
    replicates: NDArray[np.int64]
    keys: NDArray[np.uint64]
    lengths: NDArray[np.int64]
    left: NDArray[np.bool_]
    slates: NDArray[np.int32]
    feedback: NDArray[np.float32]
    rewards: NDArray[np.float64]
    satisfaction: NDArray[np.float32]
    widened: NDArray[np.int64]
    kept: Kept


def sessions_of(played: Episodes, population: Population, axis: Axis) -> Sessions:
    """Episodes as a planner may learn from them: feedback beside what known history predicts, nothing hidden."""
    known = population.knowledge
    logit = np.einsum("nd,ntkd->ntk", known.tastes[played.users], known.item_vectors[played.slates])
    estimates = 1 / (1 + np.exp(-logit - known.user_offsets[played.users][:, None, None]))
    estimates = estimates.astype(np.float32)
    return Sessions(axis.names, axis.membership, played.slates, played.feedback, estimates, played.keys)


class Evaluator:
    """A vector environment of B slots on which agents are judged.

    Args:
        population, config, axis: the task. split: whose users may be played.
        count: B; networks always see this many rows, whatever is left to play.
        threads: how many step the users and choose for them, in the same bits; as `lerl.envs.threads` says when None.
    """

    def __init__(
        self,
        population: Population,
        config: SimulatorConfig,
        axis: Axis,
        split: str,
        count: int,
        *,
        threads: int | None = None,
    ) -> None:
        self.threads = limit(threads).threads
        self.env = SessionVectorEnv(
            population, count, split=split, config=config, axis=axis, autoreset_mode=AutoresetMode.DISABLED
        )
        self.users = self.env.simulator.users

    def play(
        self,
        agent: Agent,
        users: NDArray[np.int64],
        replicates: int,
        seed: int,
        progress: Any = None,
        keep: int = 0,
        tape: Tape | None = None,
    ) -> Episodes:
        """Every user `replicates` times; the same seed gives every agent the same users and draws.

        Args:
            agent: begins and acts for as many sessions as there are slots.
            users: (N,) user numbers of the split; one that comes twice has different sessions.
            replicates: sessions of each.
            seed: of the users' draws.
            progress: called with the number of sessions that have just ended.
            keep: of so many sessions, the first ones, more is kept.
            tape: keeps what the agent sees and chooses; nothing does where None.
        """
        agent.watch(self.env)
        user = np.repeat(users, replicates)
        replicate = occurrence(user)
        seeds = session_seeds(seed, user, replicate)
        with limit(self.threads):
            return _Rollout(self.env, agent, user, replicate, seeds, progress, keep=keep, tape=tape).run()

    def follow(self, agent: Agent, user: int, seed: int, steps: int) -> tuple[int, Any]:
        """The first slates of one user's first session under that seed, as `play` gives it; for one slot.

        Returns:
            How many slates were shown, fewer than `steps` where the user has left, and the last observation.
        """
        (begun,) = session_seeds(seed, np.array([user]), np.zeros(1, np.int64))
        observation, _ = self.env.reset(seed=[begun], options={"users": np.array([user])})
        key = np.array([seed_from("session key", begun)], np.uint64)
        begin_sessions(self.env, agent, np.zeros(1, np.int64), observation, key)
        for shown in range(steps):
            _, (observation, _, terminated, truncated, _) = step_with(self.env, agent, observation)
            if terminated[0] or truncated[0]:
                return shown + 1, observation
        return steps, observation

    def rehearse(self, agent: Agent) -> None:
        """Have an agent act, and see what came of it, once: what it cannot do shows before anything is trained."""
        agent.watch(self.env)
        everyone = np.arange(self.env.num_envs)
        observation, _ = self.env.reset(seed=0)
        begin_sessions(self.env, agent, everyone, observation, everyone.astype(np.uint64))
        _, (observation, *_) = step_with(self.env, agent, observation)
        if self.env.state.active.any():
            agent.act(observation)


def begin_sessions(
    env: SessionVectorEnv, agent: Agent, slots: NDArray[np.int64], observation: Any, keys: NDArray[np.uint64]
) -> None:
    """Have the agent begin new sessions, with what is known of their users."""
    if agent.recalls:
        agent.recall(slots, env.simulator.population.known(env.state.user[slots]))
    agent.begin(slots, observation, keys)


def session_seeds(seed: int, users: NDArray[np.int64], replicates: NDArray[np.int64]) -> list[int]:
    """The seeds that `Evaluator.play` resets the environment with: of each of (N,) users, in its so manieth session."""
    return [seed_from(seed, user, number) for user, number in zip(users.tolist(), replicates.tolist(), strict=True)]


def step_with(env: SessionVectorEnv, agent: Agent, observation: Any) -> tuple[Any, Any]:
    """The slates that an agent shows, and what they bring."""
    slates = agent.act(observation)
    try:
        return slates, env.step(slates)
    except InvalidAction as error:
        raise PluginError(f"{type(agent).__name__}.act gives no slates: {error}") from error


def occurrence(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """How often each of (N,) values came before: 0 for the first of its kind, 1 for the second, ..."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    found = np.empty(len(values), np.int64)
    found[order] = np.arange(len(values)) - np.searchsorted(ordered, ordered)
    return found


class Queue:
    """Episodes that slots take one after the other; slots that end take the next, or idle when none is left.

    An idle slot repeats an episode that nobody counts.

    Args:
        env: the slots; without autoreset. agent: chooses for them. users: (N,) whose episodes. seeds: N of them.
        progress: called with the number of episodes that have just ended; nothing where None.

    Attributes:
        session: (B,) int64, which episode is in each slot, -1 where it idles.
        keys: (N,) uint64, hashed, so that nobody can work out the users' draws from them.
    """

    def __init__(
        self, env: SessionVectorEnv, agent: Agent, users: NDArray[np.int64], seeds: list[int], progress: Any
    ) -> None:
        self.env, self.agent, self.users, self.seeds, self.progress = env, agent, users, seeds, progress
        self.keys = np.array([seed_from("session key", one) for one in seeds], np.uint64)
        self.session = np.full(env.num_envs, -1, np.int64)
        self.next = 0

    def begin(self, ended: NDArray[np.bool_]) -> Any:
        """Begin the next episodes in these slots (B,); what is then seen of all slots."""
        slots = np.flatnonzero(ended)
        if self.progress is not None and self.next:
            self.progress(int((self.session[slots] >= 0).sum()))
        self.session[slots] = -1
        take = min(len(slots), len(self.users) - self.next)
        self.session[slots[:take]] = np.arange(self.next, self.next + take)
        self.next += take
        self.agent.attend(self.session >= 0)
        begun = slots[:take] if self.agent.attends and not ended.all() else slots
        idle = np.maximum(self.session, 0)  # an idle slot repeats a session that nobody counts
        seeds: list[int | None] = [None] * len(idle)
        for slot, session in zip(slots.tolist(), idle[slots].tolist(), strict=True):
            seeds[slot] = self.seeds[session]
        observation, _ = self.env.reset(seed=seeds, options={"reset_mask": ended, "users": self.users[idle]})
        if len(begun):
            begin_sessions(self.env, self.agent, begun, observation, self.keys[idle[begun]])
        return observation


class _Rollout(Queue):
    """One pass over a queue of sessions."""

    def __init__(
        self,
        env: SessionVectorEnv,
        agent: Agent,
        users: NDArray[np.int64],
        replicates: NDArray[np.int64],
        seeds: list[int],
        progress: Any,
        *,
        keep: int,
        tape: Tape | None,
    ) -> None:
        super().__init__(env, agent, users, seeds, progress)
        self.replicates, self.tape = replicates, tape
        config = env.simulator.config
        count = len(users)
        self.slates = np.full((count, config.max_steps, config.slate_size), -1, np.int32)
        self.feedback = np.full(self.slates.shape, -1, np.float32)
        self.rewards = np.full((count, config.max_steps), np.nan)
        self.satisfaction = np.full((count, config.max_steps), np.nan, np.float32)
        self.lengths = np.zeros(count, np.int64)
        self.left = np.zeros(count, bool)
        self.widened = np.zeros(count, np.int64)
        self.kept = Kept.room(min(keep, count), config.max_steps, env.simulator.topic_count)

    def run(self) -> Episodes:
        observation = self.begin(np.ones(self.env.num_envs, bool))
        while (self.session >= 0).any():
            steps = self.env.state.steps.copy()
            before = observation
            slates, (observation, rewards, terminated, truncated, _) = step_with(self.env, self.agent, before)
            ended = terminated | truncated
            self._record(steps, rewards, terminated, ended)
            if self.tape is not None:
                self.tape.keep(self.session, steps, before, slates, observation)
            if ended.any():
                observation = self.begin(ended)
        return Episodes(
            self.users,
            self.replicates,
            self.keys,
            self.lengths,
            self.left,
            self.slates,
            self.feedback,
            self.rewards,
            self.satisfaction,
            self.widened,
            self.kept,
        )

    def _record(
        self,
        steps: NDArray[np.int32],
        rewards: NDArray[np.float64],
        terminated: NDArray[np.bool_],
        ended: NDArray[np.bool_],
    ) -> None:
        slots = np.flatnonzero(self.session >= 0)
        session, step = self.session[slots], steps[slots]
        state, k = self.env.state, self.slates.shape[2]

        def record(block: slice) -> None:
            slot, number, at = slots[block], session[block], step[block]
            newest = (slot[:, None], at[:, None] * k + np.arange(k))
            self.slates[number, at] = state.shown[newest]
            self.feedback[number, at] = state.feedback[newest]
            self.rewards[number, at] = rewards[slot]
            self.satisfaction[number, at] = state.satisfaction[slot]
            self.lengths[number] = at + 1
            self.left[number] = terminated[slot]

        each(record, len(slots), least(0.1 + k / 50))
        self.kept.take_in(self.agent, state, slots, session)
        with blamed(f"{type(self.agent).__name__}.widened"):
            if self.agent.widened is not None:
                done = slots[ended[slots]]
                self.widened[self.session[done]] = self.agent.widened[done]
