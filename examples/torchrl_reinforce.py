"""TorchRL: the environment as a GymEnv, a policy from its modules, and REINFORCE on whole sessions.

Run it:  pip install torchrl, then  python examples/torchrl_reinforce.py
"""

import torch
from tensordict.nn import InteractionType, TensorDictModule
from torch import nn
from torchrl.envs import GymEnv, RewardSum, TransformedEnv
from torchrl.modules import OneHotCategorical, ProbabilisticActor
from torchrl.objectives.value.functional import reward2go

UPDATES, SESSIONS, GAMMA, RATE = 8, 64, 0.9, 1e-2
WORLD = {"users": 200, "items": 50, "categories": 5, "dim": 4, "max_steps": 20}
SEEN = ["taste", "category_exposure", "category_feedback"]


class Logits(nn.Module):
    """(..., items) from the estimated taste and what happened in each category; items shown before are left out."""

    def __init__(self, items: int):
        super().__init__()
        self.items = items
        self.network = nn.Sequential(nn.LazyLinear(64), nn.Tanh(), nn.Linear(64, items + 1))

    def forward(self, recent: torch.Tensor, *seen: torch.Tensor) -> torch.Tensor:
        shown = torch.where(recent < 0, self.items, recent).long()  # padding goes to a column of its own
        return self.network(torch.cat(seen, dim=-1)).scatter(-1, shown, -1e9)[..., :-1]


def main(seed: int = 0) -> list[float]:
    """Train; the mean sum of rewards of each update's sessions."""
    torch.manual_seed(seed)
    env = TransformedEnv(GymEnv("lerl:lerl/Synthetic-v0", **WORLD), RewardSum())
    env.set_seed(seed)
    actor = ProbabilisticActor(
        TensorDictModule(Logits(WORLD["items"]), in_keys=["recent_items", *SEEN], out_keys=["logits"]),
        in_keys=["logits"],
        distribution_class=OneHotCategorical,
        default_interaction_type=InteractionType.RANDOM,
    )
    actor(env.reset())  # the lazy layer learns its width
    optimizer = torch.optim.Adam(actor.parameters(), lr=RATE)
    history = []
    for update in range(UPDATES):
        with torch.no_grad():
            sessions = torch.cat([env.rollout(WORLD["max_steps"], actor) for _ in range(SESSIONS)])
        reward, ends = sessions["next", "reward"], sessions["next", "done"]
        returns = reward2go(reward[None], ends[None], GAMMA).flatten()  # (1, steps, 1) in, one number a step out
        gain = (returns - returns.mean()) / (returns.std() + 1e-8)
        optimizer.zero_grad()
        (-gain * actor.get_dist(sessions).log_prob(sessions["action"])).mean().backward()
        optimizer.step()
        history.append(float(sessions["next", "episode_reward"][ends].mean()))
        print(f"update {update + 1} of {UPDATES}: {history[-1]:.2f} clicks a session")
    return history


if __name__ == "__main__":
    main()
