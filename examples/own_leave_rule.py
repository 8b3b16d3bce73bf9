"""A leave rule of your own: users leave when satisfaction was below a half after each of the last two slates.

Run it:  python examples/own_leave_rule.py
On the command line:  lerl train quickstart --env.leave.rule own_leave_rule:TwoBadSlates  (in this folder)
"""

import sys
from pathlib import Path

import gymnasium
import numpy as np
from numpy.typing import NDArray

import lerl  # noqa: F401 - registers the environments
from lerl.envs.leave import Situation


class TwoBadSlates:
    """Gives each user's chance of leaving; `spent` is the one number per user that a rule may keep in a session."""

    def probability(self, situation: Situation) -> NDArray[np.float64]:
        bad = situation.satisfaction < 0.5
        situation.spent[:] = np.where(bad, situation.spent + 1, 0)
        return (situation.spent >= 2).astype(np.float64)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))  # where lerl looks for own_leave_rule
    for rule in ("satisfaction", "own_leave_rule:TwoBadSlates"):
        users = gymnasium.make_vec("lerl/Synthetic-v0", num_envs=256, slate_size=6, leave=rule)
        users.reset(seed=0)
        users.action_space.seed(0)
        lengths, going = np.zeros(users.num_envs), np.ones(users.num_envs, bool)
        while going.any():
            _, _, terminated, truncated, _ = users.step(users.action_space.sample())
            lengths += going
            going &= ~(terminated | truncated)
        print(f"{rule}: random slates keep people for {lengths.mean():.1f} steps")
