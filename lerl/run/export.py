"""Sessions of a run's agents as data for offline reinforcement learning: played anew, agent by agent."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.envs.registration import EnvSpec

import lerl
from lerl.agents.base import Agent
from lerl.config.schema import Config
from lerl.envs.draws import seed_from
from lerl.envs.session import SessionEnv
from lerl.envs.store import ANY_FORMAT, format_of, read_about
from lerl.run.context import Report
from lerl.run.rollout import Episodes, Evaluator, session_seeds
from lerl.run.tape import Tape
from lerl.run.task import Task

CHUNK = 200
"""Sessions that are played, and kept in memory, at a time."""


@dataclass(frozen=True)
class Recording:
    """N sessions of one agent.

    Attributes:
        agent: its name in tables. played: the sessions. tape: what the agent saw and chose in them.
        seeds: that the environment was reset with, N.
    """

    agent: str
    played: Episodes
    tape: Tape
    seeds: list[int]


@dataclass(frozen=True)
class Export:
    """What is exported.

    Attributes:
        task: the run's. agents: made when their turn comes, by name. split: whose users, "train" or "evaluation".
        sessions: of each agent. seed: of users and of their draws; all agents meet the same.
    """

    task: Task
    agents: Mapping[str, Callable[[], Agent]]
    split: str
    sessions: int
    seed: int

    def recordings(self, report: Report) -> Iterator[Recording]:
        """Sessions of the agents, one agent after the other, a part at a time.

        Args:
            report: called as work goes on.
        """
        config = self.task.config
        evaluator = Evaluator(
            self.task.population, config.env, self.task.axis, self.split, config.evaluation.batch_size
        )
        for label, made in self.agents.items():
            agent = made()
            for first in range(0, self.sessions, CHUNK):
                seed = seed_from(self.seed, "export", self.split, first)
                count = min(CHUNK, self.sessions - first)
                users = np.random.default_rng(seed).choice(evaluator.users, count)
                tape = Tape(evaluator.env, count)
                played = evaluator.play(agent, users, 1, seed, tape=tape)
                report(f"export {label}", first + count, self.sessions, None)
                yield Recording(label, played, tape, session_seeds(seed, played.users, played.replicates))

    def environment(self, split: str = "") -> SessionEnv:
        """One user of the run's world; it has no `spec` where `unrecoverable` says why."""
        task = self.task
        env = SessionEnv(task.population, split=split or self.split, config=task.config.env, axis=task.axis)
        env.spec = None if unrecoverable(task.config) else environment_spec(task, split or self.split)
        return env


def unrecoverable(config: Config) -> str:
    """Why an environment like a run's cannot be made by `gymnasium.make`; empty where it can."""
    if config.data.users == "fitted":
        return "data.users is fitted: no registered environment holds users fitted to a log"
    return ""


def environment_spec(task: Task, split: str) -> EnvSpec:
    """How `gymnasium.make` makes the world of a run: settings are plain values, which JSON can keep.

    Args:
        task: the run's, whose users are not fitted. split: whose users there are.
    """
    config, kwargs = task.config, {"split": split, "config": asdict(task.config.env)}
    if config.planner.axis != "categories":
        kwargs["axis"] = task.axis.lists()
    if config.data.path is None:
        sizes = asdict(config.data.synthetic)
        name, kwargs["population_seed"] = "Synthetic", sizes.pop("seed")
        return _spec(name, kwargs | sizes)
    format = format_of(read_about(Path(config.data.path)), ANY_FORMAT).partition(" --")[0]
    names = {data: name for name, data in lerl.ENVIRONMENTS.items()}
    return _spec(names.get(format, "Logs"), kwargs | {"path": str(Path(config.data.path).resolve())})


def _spec(name: str, kwargs: dict[str, Any]) -> EnvSpec:
    """As Gymnasium registers the environment, with these settings."""
    import gymnasium

    known = gymnasium.spec(f"lerl/{name}-v0")
    return EnvSpec(known.id, known.entry_point, kwargs=known.kwargs | kwargs)
