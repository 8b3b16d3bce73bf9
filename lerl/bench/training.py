"""The two learners of the training case: PPO on users, and Stable-Baselines3's PPO on an empty environment."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecEnv

from lerl.agents.config import TrainConfig
from lerl.config.schema import Config, DataConfig, SyntheticConfig
from lerl.envs.config import SimulatorConfig
from lerl.planners.config import PlannerConfig
from lerl.planners.rules import build_planner
from lerl.run.fit_policy import new_learner
from lerl.run.specs import AgentSpec
from lerl.run.task import Task


class NoOp(VecEnv):
    """An environment that costs nothing: the same observations for ever, and nobody leaves."""

    def __init__(self, view: Any) -> None:
        super().__init__(view.num_envs, view.observation_space, view.action_space)
        shape = (view.num_envs, *view.observation_space.shape)
        self._seen = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        self._rewards = np.zeros(view.num_envs, np.float32)
        self._ended = np.zeros(view.num_envs, bool)
        self._infos: list[dict[str, Any]] = [{} for _ in range(view.num_envs)]

    def reset(self) -> Any:
        """The observations."""
        return self._seen

    def step_async(self, actions: Any) -> None:
        """Nothing."""

    def step_wait(self) -> Any:
        """The observations, no rewards, no ends."""
        return self._seen, self._rewards, self._ended, self._infos

    def close(self) -> None:
        """Nothing."""

    def seed(self, seed: int | None = None) -> Any:
        """Nothing is drawn."""
        return [seed] * self.num_envs

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """None for every slot."""
        return [None] * self.num_envs

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Nothing."""

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        """None for every slot."""
        return [None] * self.num_envs

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """No slot is wrapped."""
        return [False] * self.num_envs


@contextmanager
def learners(device: Literal["cpu", "cuda"] = "cpu") -> Iterator[tuple[Callable[[Any], float], Any, Any]]:
    """What trains a learner for one rollout and says its user-steps; the learner on users; the one on nothing."""
    config = Config(
        agents=["boredom+ppo"],
        data=DataConfig(synthetic=SyntheticConfig(users=1000, items=2000, categories=20, dim=16)),
        env=SimulatorConfig(slate_size=6),
        planner=PlannerConfig("boredom"),
        train=TrainConfig(users=256, rollout=64, batch_size=2048, epochs=4, hidden=64, device=device),
    )
    task = Task.load(config)
    steps = config.train.users * config.train.rollout

    def train(learner: Any) -> float:
        learner.learn(steps, reset_num_timesteps=False)
        return float(steps)

    with tempfile.TemporaryDirectory() as folder:
        planner = build_planner("boredom", 3, task.seed("planner"))
        ours, view, _ = new_learner(AgentSpec("boredom+ppo", "boredom", "ppo"), planner, task, Path(folder))
        yield train, ours, _stock_ppo(NoOp(view), config.train)
        ours.logger.close()


def _stock_ppo(env: VecEnv, settings: TrainConfig) -> PPO:
    """Stable-Baselines3's PPO with an agent's settings, and nothing of lerl in it."""
    layers = [settings.hidden] * 2
    return PPO(
        "MlpPolicy",
        env,
        n_steps=settings.rollout,
        batch_size=settings.batch_size,
        n_epochs=settings.epochs,
        policy_kwargs={"net_arch": {"pi": layers, "vf": layers}},
        seed=0,
        device=settings.device,
    )
