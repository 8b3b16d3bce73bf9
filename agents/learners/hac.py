"""The hyper-actor critic: DDPG whose critic is fitted on what was really shown, with a supervised loss of clicks.

Liu et al., "Exploration and regularization of the latent action space in recommendation", WWW 2023, arXiv 2302.03431.
Its hyper-action, a vector that scores every item, is our virtual item.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3 import DDPG
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.utils import polyak_update
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss

from lerl.agents.learners.td3 import BoundedPolicy
from lerl.agents.learners.virtual_items import VirtualItemEnv

SUPERVISED = 0.1
"""The supervised loss's learning rate, as a share of the others': clicks of the moment are not all that counts."""


class HyperActionEnv(VirtualItemEnv):
    """The view of continuous learners, whose infos also hold what was shown, what came back, what actions start from.

    Each slot's info holds `slate` (k,) int32, -1 for an empty slot, `feedback` (k,) float32, and `start` (D + 1,)
    float32: the log-odds that the start gives an item are `start[:D] . (its vector / scale) + start[D]`, and an action
    a adds `a . (its vector / scale)`.
    """

    def _infos(self) -> list[dict[str, Any]]:
        memory, k = self.hierarchy.memory, self.hierarchy.task.slate_size
        rows = np.arange(self.num_envs)[:, None]
        newest = (memory.steps[:, None] - 1) * k + np.arange(k)
        taste = memory.tastes * self.encoder.scale * (self.start == "taste")
        start = np.column_stack([taste, memory.offsets])
        slots = zip(memory.shown[rows, newest], memory.feedback[rows, newest], start, strict=True)
        return [{"slate": slate, "feedback": feedback, "start": begun} for slate, feedback, begun in slots]


class Samples(NamedTuple):
    """N steps: what a replay buffer of Stable-Baselines3 gives, and what `HyperActionEnv` adds; actions in [-1, 1]."""

    observations: Tensor
    actions: Tensor
    next_observations: Tensor
    dones: Tensor
    rewards: Tensor
    slates: Tensor
    feedback: Tensor
    starts: Tensor


class SlateBuffer(ReplayBuffer):
    """A replay buffer that also holds what `HyperActionEnv` adds.

    Args:
        arguments, options: those of Stable-Baselines3's. slate_size: k.
    """

    def __init__(self, *arguments: Any, slate_size: int, **options: Any) -> None:
        super().__init__(*arguments, **options)
        slots = (self.buffer_size, self.n_envs)
        self.slates = np.full((*slots, slate_size), -1, np.int32)
        self.feedback = np.zeros((*slots, slate_size), np.float32)
        self.starts = np.zeros((*slots, self.action_dim + 1), np.float32)

    def add(self, *step: Any) -> None:
        """One step of all users; the last argument is their infos."""
        infos = step[-1]
        self.slates[self.pos] = [info["slate"] for info in infos]
        self.feedback[self.pos] = [info["feedback"] for info in infos]
        self.starts[self.pos] = [info["start"] for info in infos]
        super().add(*step)

    def _get_samples(self, batch_inds: NDArray[np.int64], env: Any = None) -> Any:
        places = batch_inds, np.random.randint(0, self.n_envs, len(batch_inds))  # as Stable-Baselines3 draws users
        dones = self.dones[places] * (1 - self.timeouts[places])
        parts = (
            self.observations[places],
            self.actions[places],
            self.next_observations[places],
            dones[:, None],
            self.rewards[places][:, None],
            self.slates[places],
            self.feedback[places],
            self.starts[places],
        )
        return Samples(*map(self.to_torch, parts))


class HyperPolicy(BoundedPolicy):
    """DDPG's policy and the inverse module, a linear map of the mean vector of the items shown, and of the start."""

    items: Tensor

    def _build(self, lr_schedule: Any) -> None:
        super()._build(lr_schedule)
        vectors = torch.as_tensor(self.features_extractor_kwargs["layout"].vectors)
        scale = vectors.std(dim=0, correction=0).clamp(min=1e-6)
        self.register_buffer("items", vectors / scale, persistent=False)  # known without the policy's file
        self.reach = float(self.action_space.high[0])  # type: ignore[attr-defined]
        self.inverse = nn.Linear(2 * vectors.shape[1], vectors.shape[1])
        nn.init.zeros_(self.inverse.weight)
        nn.init.zeros_(self.inverse.bias)
        options: Any = {"lr": lr_schedule(1), **self.optimizer_kwargs}
        self.inverse_optimizer = self.optimizer_class(self.inverse.parameters(), **options)
        self.supervised_optimizer = self.optimizer_class(self.actor.parameters(), **options)

    def shown_as(self, slates: Tensor, starts: Tensor) -> Tensor:
        """The hyper-actions (N, D), in units of the reach, that slates (N, k) stand for; starts: (N, D + 1)."""
        there = (slates >= 0)[..., None]
        vectors = self.items[slates.clamp(min=0).long()] * there  # (N, k, D)
        pooled = vectors.sum(dim=1) / there.sum(dim=1).clamp(min=1)
        return self.inverse(torch.cat([pooled, starts[:, :-1]], dim=1))

    def click_loss(self, actions: Tensor, slates: Tensor, feedback: Tensor, starts: Tensor) -> Tensor:
        """Binary cross entropy of the feedback (N, k) in [0, 1] on slates (N, k), under hyper-actions (N, D)."""
        there = slates >= 0
        query = starts[:, :-1] + self.reach * actions
        logits = torch.einsum("nd,nkd->nk", query, self.items[slates.clamp(min=0).long()]) + starts[:, -1:]
        return binary_cross_entropy_with_logits(logits[there], feedback[there])


class HAC(DDPG):
    """Hyper-actor critic; four losses with an optimiser each, all at the same learning rate.

    - Alignment: the squared distance of what the inverse module makes of a slate to the hyper-action, exploration
      included, that the slate was chosen by. It trains only the inverse module.
    - The critic's: temporal difference, at the inverse module's hyper-action of what was really shown; the next
      state's value is the target critic's of the target actor's hyper-action, as nothing was shown for that one.
    - The actor's: minus the critic's value of its hyper-action.
    - Supervised: binary cross entropy of the clicks on the items shown, under the actor's present scores.

    The inverse module also reads what actions start from (the paper's only pools items), since a hyper-action is a
    correction of that here.
    """

    policy: HyperPolicy

    def _setup_model(self) -> None:
        view: Any = self.env
        self.replay_buffer_class = SlateBuffer
        self.replay_buffer_kwargs = {"slate_size": view.hierarchy.task.slate_size}
        super()._setup_model()

    def _optimizers(self) -> list[torch.optim.Optimizer]:
        policy = self.policy
        return [
            self.actor.optimizer, self.critic.optimizer, policy.inverse_optimizer, policy.supervised_optimizer,
        ]  # fmt: skip

    def train(self, gradient_steps: int, batch_size: int = 100) -> None:
        """So many steps of each of the four losses on batches from the buffer."""
        self.policy.set_training_mode(True)
        self._update_learning_rate(self._optimizers())
        for group in self.policy.supervised_optimizer.param_groups:
            group["lr"] *= SUPERVISED
        losses: dict[str, list[float]] = {"critic": [], "alignment": [], "actor": [], "supervised": []}
        for _ in range(gradient_steps):
            self._n_updates += 1
            data: Any = self.replay_buffer.sample(batch_size)  # type: ignore[union-attr]
            shown = self.policy.shown_as(data.slates, data.starts)
            self._descend("alignment", self.policy.inverse_optimizer, mse_loss(shown, data.actions), losses)
            self._descend("critic", self.critic.optimizer, self._critic_loss(data, shown.detach()), losses)
            actions = self.actor(data.observations)
            value = self.critic.q1_forward(data.observations, actions).mean()
            self._descend("actor", self.actor.optimizer, -value, losses)
            clicks = self.policy.click_loss(self.actor(data.observations), data.slates, data.feedback, data.starts)
            self._descend("supervised", self.policy.supervised_optimizer, clicks, losses)
            polyak_update(self.critic.parameters(), self.critic_target.parameters(), self.tau)
            polyak_update(self.actor.parameters(), self.actor_target.parameters(), self.tau)
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        for name, values in losses.items():
            self.logger.record(f"train/{name}_loss", np.mean(values))

    def _critic_loss(self, data: Samples, shown: Tensor) -> Tensor:
        """Squared temporal difference at hyper-actions (N, D)."""
        with torch.no_grad():
            later = self.critic_target.q1_forward(data.next_observations, self.actor_target(data.next_observations))
            target = data.rewards + (1 - data.dones) * self.gamma * later
        return mse_loss(self.critic.q1_forward(data.observations, shown), target)

    @staticmethod
    def _descend(name: str, optimizer: torch.optim.Optimizer, loss: Tensor, losses: dict[str, list[float]]) -> None:
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses[name].append(loss.item())

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        modules, tensors = super()._get_torch_save_params()
        return [*modules, "policy.inverse_optimizer", "policy.supervised_optimizer"], tensors
