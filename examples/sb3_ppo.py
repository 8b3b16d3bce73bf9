"""Stock Stable-Baselines3: MaskablePPO of sb3-contrib learns to choose one item at a time, and is compared with random.

Run it:  python examples/sb3_ppo.py
No planner, and none of lerl's own policies: the environment is a Gymnasium environment like any other.
"""

import gymnasium
from sb3_contrib import MaskablePPO
from stable_baselines3.common.env_util import make_vec_env

STEPS, SESSIONS = 2048, 40
WORLD = {"users": 200, "items": 100, "categories": 5, "dim": 4, "max_steps": 30}


def mean_return(model: MaskablePPO | None) -> float:
    """Mean sum of rewards over sessions of users that were not trained on; None for random items."""
    env = gymnasium.make("lerl:lerl/Synthetic-v0", split="evaluation", **WORLD)
    total = 0.0
    for seed in range(SESSIONS):
        observation, info = env.reset(seed=seed)
        env.action_space.seed(seed)
        over = False
        while not over:
            if model is None:
                action = env.action_space.sample(info["action_mask"])
            else:
                action, _ = model.predict(observation, action_masks=info["action_mask"].astype(bool))
            observation, reward, terminated, truncated, info = env.step(action)
            total += float(reward)
            over = terminated or truncated
    return total / SESSIONS


if __name__ == "__main__":
    users = make_vec_env("lerl:lerl/Synthetic-v0", n_envs=4, seed=0, env_kwargs={"split": "train", **WORLD})
    model = MaskablePPO("MultiInputPolicy", users, n_steps=128, batch_size=128, learning_rate=1e-3, gamma=0.9, seed=0)
    print(f"random items:                    {mean_return(None):.2f} clicks a session")
    print(f"MaskablePPO before it learned:   {mean_return(model):.2f}")
    model.learn(STEPS)
    print(f"MaskablePPO after {STEPS} steps:    {mean_return(model):.2f}")
