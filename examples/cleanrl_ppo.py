"""PPO in plain PyTorch on one screen, after CleanRL: the environment under a training loop of your own.

Run it:  python examples/cleanrl_ppo.py
64 users learn side by side, one item a step. A session that is cut at its last step (truncated) is not a user who left
(terminated): the value of what would have followed is added to its last reward.
"""

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from torch import nn
from torch.distributions import Categorical

import lerl  # noqa: F401 - registers the environments

USERS, ROLLOUT, UPDATES, EPOCHS, GAMMA, LAMBDA, CLIP, RATE = 64, 16, 12, 4, 0.9, 0.95, 0.2, 2e-3
WORLD = {"users": 200, "items": 100, "categories": 5, "dim": 4, "max_steps": 30}
SEEN = ("taste", "category_exposure", "category_feedback", "last_categories", "time_left")


def features(observation: dict[str, np.ndarray]) -> torch.Tensor:
    """(B, F) float32: taste, exposure and feedback by category, and the time left."""
    return torch.as_tensor(np.concatenate([observation[key] for key in SEEN], axis=1), dtype=torch.float32)


class Network(nn.Module):
    def __init__(self, width: int, items: int):
        super().__init__()
        self.actor = nn.Sequential(nn.Linear(width, 64), nn.Tanh(), nn.Linear(64, items))
        self.critic = nn.Sequential(nn.Linear(width, 64), nn.Tanh(), nn.Linear(64, 1))

    def policy(self, seen: torch.Tensor, mask: torch.Tensor) -> Categorical:
        return Categorical(logits=self.actor(seen).masked_fill(~mask, -1e9))

    def value(self, seen: torch.Tensor) -> torch.Tensor:
        return self.critic(seen)[:, 0]


def advantages(rewards, values, ends, last):
    """(T, B) generalised advantage estimates; `ends` (T, B) where a session ended with that step."""
    found, running = torch.zeros_like(rewards), torch.zeros_like(last)
    for t in reversed(range(len(rewards))):
        following = last if t + 1 == len(rewards) else values[t + 1]
        running = rewards[t] + ~ends[t] * GAMMA * (following + LAMBDA * running) - values[t]
        found[t] = running
    return found


def main(seed: int = 0) -> list[float]:
    """Train; the mean reward a step of each rollout."""
    torch.manual_seed(seed)
    users = gymnasium.make_vec("lerl/Synthetic-v0", num_envs=USERS, autoreset_mode=AutoresetMode.SAME_STEP, **WORLD)
    observation, _ = users.reset(seed=seed)
    network = Network(features(observation).shape[1], WORLD["items"])
    optimizer = torch.optim.Adam(network.parameters(), lr=RATE)
    history = []
    for update in range(UPDATES):
        steps = []
        for _ in range(ROLLOUT):
            seen, mask = features(observation), torch.as_tensor(users.unwrapped.action_masks())
            with torch.no_grad():
                policy = network.policy(seen, mask)
                action = policy.sample()
                observation, reward, terminated, truncated, info = users.step(action.numpy())
                reward = torch.as_tensor(reward, dtype=torch.float32)
                cut = truncated & ~terminated
                if cut.any():
                    final = {key: np.stack([one[key] for one in info["final_obs"][cut]]) for key in SEEN}
                    reward[torch.as_tensor(cut)] += GAMMA * network.value(features(final))
                ends = torch.as_tensor(terminated | truncated)
                steps.append((seen, mask, action, policy.log_prob(action), reward, network.value(seen), ends))
        seen, mask, action, before, reward, value, ends = map(torch.stack, zip(*steps, strict=True))
        with torch.no_grad():
            advantage = advantages(reward, value, ends, network.value(features(observation)))
        seen, mask, action, before, target, gain = (
            part.flatten(0, 1) for part in (seen, mask, action, before, value + advantage, advantage)
        )
        for _ in range(EPOCHS):
            for batch in torch.randperm(len(seen)).split(256):
                policy = network.policy(seen[batch], mask[batch])
                ratio = (policy.log_prob(action[batch]) - before[batch]).exp()
                scaled = (gain[batch] - gain[batch].mean()) / (gain[batch].std() + 1e-8)
                actor = -torch.min(ratio * scaled, ratio.clamp(1 - CLIP, 1 + CLIP) * scaled).mean()
                critic = (network.value(seen[batch]) - target[batch]).square().mean()
                optimizer.zero_grad()
                (actor + 0.5 * critic - 0.01 * policy.entropy().mean()).backward()
                nn.utils.clip_grad_norm_(network.parameters(), 0.5)
                optimizer.step()
        history.append(float(reward.mean()))
        print(f"update {update + 1:2d} of {UPDATES}: {history[-1]:.3f} clicks a step")
    return history


if __name__ == "__main__":
    main()
