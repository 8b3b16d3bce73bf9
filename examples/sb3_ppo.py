"""Stock Stable-Baselines3: MaskablePPO of sb3-contrib learns which item to show next, beside random items.

Run it:  python examples/sb3_ppo.py
No planner, and none of lerl's own policies: the environment is a Gymnasium environment like any other.
"""

import gymnasium
import numpy as np
from sb3_contrib import MaskablePPO
from stable_baselines3.common.env_util import make_vec_env

import lerl  # noqa: F401 - registers the environments

STEPS, SESSIONS = 2048, 500
WORLD = {"users": 200, "items": 50, "categories": 5, "dim": 4, "max_steps": 20}


def mean_return(model: MaskablePPO | None) -> float:
    """Mean sum of rewards in sessions of users that were not trained on; with random items where there is no model."""
    users = gymnasium.make_vec("lerl/Synthetic-v0", num_envs=SESSIONS, split="evaluation", **WORLD)
    observation, _ = users.reset(seed=0)
    draw = np.random.default_rng(0)
    total, there = np.zeros(SESSIONS), np.ones(SESSIONS, bool)
    while there.any():
        masks = users.action_masks()
        if model is None:
            items = np.argmax(draw.random(masks.shape) * masks, axis=1)
        else:
            items, _ = model.predict(observation, action_masks=masks)
        observation, reward, terminated, truncated, _ = users.step(items)
        total += reward * there
        there &= ~(terminated | truncated)
    return float(total.mean())


if __name__ == "__main__":
    users = make_vec_env("lerl:lerl/Synthetic-v0", n_envs=4, seed=0, env_kwargs={"split": "train", **WORLD})
    model = MaskablePPO("MultiInputPolicy", users, n_steps=64, batch_size=64, learning_rate=3e-3, gamma=0.9, seed=0)
    print(f"random items:                  {mean_return(None):.2f} clicks a session")
    print(f"MaskablePPO before learning:   {mean_return(model):.2f}")
    model.learn(STEPS)
    print(f"MaskablePPO after {STEPS} steps:  {mean_return(model):.2f}")
