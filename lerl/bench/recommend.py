"""How long a recommender takes for a slate, one session at a time, without HTTP."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from lerl.agents.config import TrainConfig
from lerl.config.schema import Config, DataConfig, EvaluationConfig, SyntheticConfig
from lerl.envs.config import SimulatorConfig
from lerl.run.train import train
from lerl.serve.recommender import Recommender
from lerl.serve.run import Run

AGENTS = ("belief+greedy", "flat+ppo", "boredom+ppo")
ITEMS, SLATES, SESSION = 2000, 120, 30


@contextmanager
def recommenders() -> Iterator[dict[str, Recommender]]:
    """By the agent's name; their run is in a temporary folder meanwhile."""
    config = Config(
        agents=[*AGENTS, "random"],
        data=DataConfig(synthetic=SyntheticConfig(users=600, items=ITEMS)),
        env=SimulatorConfig(slate_size=6),
        train=TrainConfig(steps=4096),
        evaluation=EvaluationConfig(users=20),
    )
    with tempfile.TemporaryDirectory() as folder:
        train(config, Path(folder) / "run")
        run = Run(Path(folder) / "run")
        yield {name: run.recommender(name) for name in AGENTS}


def milliseconds(recommender: Recommender) -> list[float]:
    """Wall-clock time of each `recommend`, feedback given in between."""
    recommender.rehearse()
    took, rng = [], np.random.default_rng(0)
    for number in range(SLATES):
        if number % SESSION == 0:
            session = recommender.start()
        began = time.perf_counter()
        slate = recommender.recommend(session)
        took.append(1e3 * (time.perf_counter() - began))
        recommender.observe(session, slate.ids, (rng.random(len(slate.ids)) < 1 / 3).tolist())
    return took
