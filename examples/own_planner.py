"""A planner in ten lines, its place in the table, and why: show next what was shown least, likely clicks first.

Run it:  python examples/own_planner.py
On the command line the same is:  lerl train quickstart --planner.name own_planner:LeastShown  (in this folder)
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

from lerl.planners.base import PlanContexts, Plans


class LeastShown:
    def __init__(self, size: int, seed: int):
        self.size = size

    def plan(self, contexts: PlanContexts) -> Plans:
        rank = np.argsort(np.argsort(contexts.counts - contexts.predicted_ctr, axis=1, kind="stable"), axis=1)
        return Plans(allowed=rank < self.size, avoid=np.zeros(rank.shape, bool))


if __name__ == "__main__":
    from lerl.cli.main import main

    sys.path.insert(0, str(Path(__file__).parent))  # where lerl looks for own_planner
    out = Path(tempfile.mkdtemp(prefix="lerl-own-planner-")) / "run"
    words = ["train", "quickstart", "--out", str(out), "--planner.name", "own_planner:LeastShown"]
    agents = "[planner+greedy,round_robin+greedy,random+greedy,flat+greedy,random]"  # none of them has to be trained
    sys.exit(main([*words, "--agents", agents, "--evaluation.users", "50", "--evaluation.replicates", "1"]))
