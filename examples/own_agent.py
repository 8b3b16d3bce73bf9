"""An agent of your own: it explores with chance 0.1, else shows the items that are predicted to be clicked.

Run it:  python examples/own_agent.py
On the command line the same is:  lerl train quickstart --agents '[own_agent:EpsilonGreedy,random]'  (in this folder)
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lerl.agents.base import Observation, TaskSpec


class EpsilonGreedy:
    """The contract of an agent: `begin` when sessions start, `act` for the next slates, many sessions at once."""

    epsilon = 0.1

    def __init__(self, task: TaskSpec, count: int):
        self.task = task
        self.random = np.random.default_rng(task.seed)
        self.shown = np.zeros((count, len(task.catalog)), bool)

    def begin(self, rows: NDArray[np.int64], observation: Observation, keys: NDArray[np.uint64]) -> None:
        self.shown[rows] = False  # new sessions in these slots: nothing was shown in them yet

    def act(self, observation: Observation) -> NDArray[np.int32]:
        k, items = self.task.slate_size, self.task.knowledge.item_vectors
        scores = observation["taste"] @ items.T  # (B, I), log-odds of a click up to a constant per user
        explore = self.random.random(scores.shape) < self.epsilon
        scores = np.where(explore, self.random.permuted(scores, axis=1), scores)
        scores[self.shown] = -np.inf
        slates = np.argsort(-scores, axis=1)[:, :k]
        np.put_along_axis(self.shown, slates, True, axis=1)
        return slates.astype(np.int32)


if __name__ == "__main__":
    from lerl.cli.main import main

    sys.path.insert(0, str(Path(__file__).parent))  # where lerl looks for own_agent
    out = Path(tempfile.mkdtemp(prefix="lerl-own-agent-")) / "run"
    agents = "[own_agent:EpsilonGreedy,flat+greedy,popularity,random]"
    few = ["--evaluation.users", "50", "--evaluation.replicates", "1"]
    sys.exit(main(["train", "quickstart", "--out", str(out), "--agents", agents, *few]))
