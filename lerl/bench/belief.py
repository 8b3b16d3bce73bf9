"""How long an agent takes for a slate of one session, the users' own step apart."""

from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode

from lerl.agents.base import Agent
from lerl.agents.belief.agent import BeliefAgent
from lerl.agents.belief.model import UserModel
from lerl.agents.belief.topics import LEAST
from lerl.agents.config import TrainConfig
from lerl.config.schema import Config, DataConfig, EvaluationConfig, SyntheticConfig
from lerl.envs.config import SimulatorConfig
from lerl.envs.session import SessionVectorEnv
from lerl.run.fit_belief import start_model
from lerl.run.specs import BELIEF
from lerl.run.task import Task

SLATES = 12


class AgentCase:
    """What an agent was shown in the first slates of many sessions, to be shown to it again.

    Args:
        items: how many. sessions: how many side by side. make: an agent of a task and a number of slots.
    """

    def __init__(self, items: int, sessions: int, make: Callable[[Task, int], Agent]) -> None:
        config = Config(
            agents=["random"],
            data=DataConfig(synthetic=SyntheticConfig(users=1000, items=items, categories=20, dim=16)),
            env=SimulatorConfig(slate_size=6),
            train=TrainConfig(steps=0),
            evaluation=EvaluationConfig(batch_size=sessions),
        )
        task = Task.load(config)
        self.agent, self.sessions = make(task, sessions), sessions
        self.seen: list[dict[str, Any]] = []
        env = SessionVectorEnv(
            task.population, sessions, config=config.env, axis=task.axis, autoreset_mode=AutoresetMode.DISABLED
        )
        observation, _ = env.reset(seed=0)
        for number in range(SLATES):
            self.seen.append({name: values.copy() for name, values in observation.items()})
            if number == 0:
                self._begin()
            observation, *_ = env.step(self.agent.act(self.seen[-1]))
            env.state.active[:] = True  # so that all sessions are as long

    def _begin(self) -> None:
        everyone = np.arange(self.sessions)
        self.agent.begin(everyone, self.seen[0], everyone.astype(np.uint64))

    def act(self) -> float:
        """All slates again; how many."""
        self._begin()
        for observation in self.seen:
            self.agent.act(observation)
        return float(self.sessions * len(self.seen))


def user_model(task: Task) -> UserModel:
    """What stands for a learned model, whose items have one topic or a few: small shares are left out, as there."""
    model = start_model(task)
    shares = np.where(model.fills < LEAST, 0, model.fills)
    shares = (shares / shares.sum(axis=1, keepdims=True)).astype(np.float32)
    return model._replace(fills=shares, suffers=shares)


def belief_greedy(task: Task, count: int) -> Agent:
    """belief+greedy."""
    return BeliefAgent(task.task_spec(BELIEF), count, user_model(task))
