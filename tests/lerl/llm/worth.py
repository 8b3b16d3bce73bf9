"""A chat model's plans against the rule that its answers follow, played on the same users with the same draws.

The model is a scripted expert behind real HTTP: it reads nothing but the prompt and answers with that rule.
"""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lerl.agents.config import TrainConfig
from lerl.config.schema import Config, DataConfig, SyntheticConfig
from lerl.envs.config import SimulatorConfig
from lerl.planners.config import PlannerConfig
from lerl.run.agent_factory import hierarchical_agent
from lerl.run.fitter import Fitter
from lerl.run.rollout import Evaluator
from lerl.run.task import Task

# Five categories, all boring: the fewer there are, the more states look alike.
CONFIG = Config(
    agents=["llm+ppo"],
    data=DataConfig(synthetic=SyntheticConfig(categories=5)),
    env=SimulatorConfig(slate_size=6, topics="categories"),
    planner=PlannerConfig(size=2, sessions=0, model="openai:expert", timeout=60, detail="coarse"),
    train=TrainConfig(steps=100_000, evaluations=1),
)


def fitter(folder: Path, url: str, steps: int = CONFIG.train.steps, seed: int = 0, **planner: Any) -> Fitter:
    """What fits and plans under the configuration, with other settings of its planner."""
    config = dataclasses.replace(
        CONFIG,
        seed=seed,
        planner=dataclasses.replace(CONFIG.planner, base_url=url, **planner),
        train=dataclasses.replace(CONFIG.train, steps=steps),
    )
    return Fitter(Task.load(config), folder, lambda *_: None)


class Worth:
    """Mean total rewards under whatever planner, above one item policy.

    Args:
        of: whose task and rules are used. scorer: the item policy; None for the greedy one, which is no network.
        users: how many evaluation users are played. replicates: sessions of each.
    """

    def __init__(self, of: Fitter, scorer: Any = None, users: int = 250, replicates: int = 12) -> None:
        self.fitter, self.scorer, self.replicates = of, scorer, replicates
        task = of.context.task
        self.evaluator = Evaluator(task.population, task.config.env, task.axis, "evaluation", 256)
        self.users = self.evaluator.users[:users]
        self.known: dict[str, NDArray[np.float64]] = {}

    def reward(self, planner: Any) -> NDArray[np.float64]:
        """(U,) mean total reward of each user's sessions."""
        agent = hierarchical_agent(self.fitter.context.task, "worth", planner, self.scorer)
        played = self.evaluator.play(agent, self.users, self.replicates, seed=1)
        return np.nansum(played.rewards, axis=1).reshape(-1, self.replicates).mean(axis=1)

    def rule(self, name: str) -> NDArray[np.float64]:
        """That of a built-in rule."""
        if name not in self.known:
            self.known[name] = self.reward(self.fitter.planners.get(name).planner)
        return self.known[name]

    def retained(self, rewards: NDArray[np.float64]) -> float:
        """The share of the rule's advantage over random plans."""
        random, rule = self.rule("random").mean(), self.rule("boredom").mean()
        return float((rewards.mean() - random) / (rule - random))


def lower(difference: NDArray[np.float64]) -> float:
    """Lower end of the 95 % interval of a mean over users."""
    return float(difference.mean() - 1.96 * difference.std() / len(difference) ** 0.5)
