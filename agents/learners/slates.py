"""Learners over slates of item numbers: DNaIR, SlateQ and SAC4IR, on Stable-Baselines3's off-policy loop."""

from typing import Any

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from stable_baselines3.common.utils import polyak_update
from torch.nn import functional

from lerl.agents.base import TaskSpec
from lerl.agents.learners.item_values import (
    DNaIRPolicy,
    ItemNetwork,
    ItemValuePolicy,
    SAC4IRPolicy,
    SlateQPolicy,
    chunks,
    values_by,
)
from lerl.agents.learners.masked import words_in
from lerl.agents.learners.masks import drawn, explored, of_role

MOST_GRADIENT = 10.0  # norm at which gradients are cut off, as DQN's are


def popularity_of(task: TaskSpec) -> NDArray[np.float64]:
    """(I,) how often training users clicked an item, and once more, as the agents know it; at least 1.

    The once more is that of `Knowledge.popularity`. Without it DNaIR's bonus for an item that nobody clicked is 2.4
    times its quality, more than any slate brings. Counts are exact where some item was never clicked; otherwise they
    are in multiples of the least popular item's.
    """
    share = task.knowledge.popularity.astype(np.float64)
    return np.maximum(share / share[share > 0].min(), 1.0)


def dnair_bonus(task: TaskSpec) -> NDArray[np.float32]:
    """(I,) 0.1 * quality / log10(1.1 + popularity), see `DNaIR`."""
    knowledge = task.knowledge
    logits = knowledge.item_vectors @ knowledge.tastes.mean(axis=0) + knowledge.user_offsets.mean()
    quality = 1 / (1 + np.exp(-logits))
    return np.asarray(0.1 * quality / np.log10(1.1 + popularity_of(task)), np.float32)


def sac4ir_bonus(task: TaskSpec) -> NDArray[np.float32]:
    """(I,) 0.1 / (1 + log(1.1 + popularity)), see `SAC4IR`."""
    return np.asarray(0.1 / (1 + np.log(1.1 + popularity_of(task))), np.float32)


class SlateLearner(OffPolicyAlgorithm):
    """Learns values of items from slates of them.

    Args:
        epsilon: share of a slate's items in training that are random among the eligible; all of them before
            `learning_starts`.
        policy, env, options: see Stable-Baselines3.
    """

    policy: Any

    def __init__(self, policy: Any, env: Any, *, epsilon: float = 0.0, **options: Any) -> None:
        spaces = (gymnasium.spaces.MultiDiscrete,)
        super().__init__(policy, env, sde_support=False, support_multi_env=True, supported_action_spaces=spaces,
                         **options)  # fmt: skip
        self.epsilon = epsilon
        self._setup_model()

    def _backward(self, batch: ReplayBufferSamples) -> dict[str, float]:
        """Add the gradients of the losses on a batch to the parameters; the losses by name."""
        raise NotImplementedError

    def _follow(self) -> None:
        """Let target networks follow a little."""
        polyak_update(self.policy.values.parameters(), self.policy.target.parameters(), self.tau)

    def train(self, gradient_steps: int, batch_size: int = 512) -> None:
        """Gradient steps on the replay buffer, the target networks following each."""
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        losses: dict[str, float] = {}
        for _ in range(gradient_steps):
            self.policy.optimizer.zero_grad()
            losses = self._backward(self.replay_buffer.sample(batch_size))  # type: ignore[union-attr]
            torch.nn.utils.clip_grad_norm_(self.policy.parameters(), MOST_GRADIENT)
            self.policy.optimizer.step()
            self._follow()
        self._n_updates += gradient_steps
        for name, value in losses.items():
            self.logger.record(f"train/{name}", value)

    def _choose(self, observations: torch.Tensor, k: int) -> NDArray[np.int32]:
        return self.policy.best(observations, k)[0]

    def _sample_action(
        self, learning_starts: int, action_noise: Any = None, n_envs: int = 1
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Slates (B, k), and as they are kept in the buffer."""
        observations = torch.as_tensor(self._last_obs, device=self.device)
        draw, shape = self.action_space.np_random, (n_envs, *self.action_space.shape)  # type: ignore[misc]
        slates = self._choose(observations, shape[1])
        share = 1.0 if self.num_timesteps < learning_starts else self.epsilon
        words = words_in(observations, self.policy.layout).cpu().numpy()
        coins = draw.random(shape) < share
        places, items, slots = draw.random(shape), len(self.policy.layout.vectors), self.policy.layout.slots
        if slots is None:
            slates = explored(slates, words, coins, places, items)
        else:
            for slot in range(shape[1]):
                own, only = of_role(words, slots, slot), slice(slot, slot + 1)
                slates[:, only] = explored(slates[:, only], own, coins[:, only], places[:, only], items)
        return slates, slates

    def _discounted(self, batch: ReplayBufferSamples, values: torch.Tensor) -> torch.Tensor:
        """Values (B, 1) of the next observations, nothing where a user left, as they count today."""
        return (1 - batch.dones) * self.gamma * values

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return ["policy", "policy.optimizer"], []


class DNaIR(SlateLearner):
    """Diversity-novelty-aware interactive recommendation: DQN over items, paid for good ones that few know.

    The reward that is learned from is the slate's own plus the mean over its items of 0.1 * quality / log10(1.1 +
    popularity). Popularity is how often training users clicked an item, see `popularity_of`; quality, which is left
    open, is the chance of a click by a user of mean taste, estimated from the same knowledge.

    The value of a slate is the mean of its items' values, so that the best slate is the k best items, in targets (by
    the target network, as in Mnih et al., Nature 2015) as in what is shown; an item's value is learned from the slates
    that it was in.
    """

    def _backward(self, batch: ReplayBufferSamples) -> dict[str, float]:
        policy: DNaIRPolicy = self.policy
        slates = batch.actions.long()
        with torch.no_grad():
            later = values_by(policy.target, batch.next_observations)
            future = mean_best(policy, batch.next_observations, slates.shape[1], later)
            target = batch.rewards + self._discounted(batch, future)
        values = mean_of(policy.values, batch.observations, slates)
        loss = functional.smooth_l1_loss(values, target)
        loss.backward()  # type: ignore[no-untyped-call]
        return {"loss": loss.item()}


class SlateQ(SlateLearner):
    """Values of slates decomposed into those of their items.

    Ie et al., "SlateQ: a tractable decomposition for reinforcement learning with recommendation sets", IJCAI 2019. The
    paper's user clicks one item of a slate or none. Here every slot takes its own click, and the reward is their
    mean; that is also what a user brings who looks at one slot, each as likely as another, and clicks its item with the
    chance p_i. With that choice model, p_i / k for item i and the rest for none, the decomposition is the paper's:

        Q(s, A) = mean over i in A of  p_i(s) Q(s, i) + (1 - p_i(s)) Q(s, none),

    and the best slate, for which the paper solves a linear programme, is the k items of largest
    p_i(s) (Q(s, i) - Q(s, none)): its "top-k" is exact here. Every slot that was shown teaches: one with a click
    Q(s, i) = 1 + gamma V(s'), one without Q(s, none) = gamma V(s'), V(s') being that of the best slate by the target
    network (Q-learning; the paper's other choice, SARSA, would take the slate shown next). Feedback between 0 and 1
    counts as that share of a click.

    The click model is the agent's own: it begins as the chance that known taste and item vectors predict and learns a
    correction from the clicks of training, by cross-entropy.
    """

    def _backward(self, batch: ReplayBufferSamples) -> dict[str, float]:
        policy: SlateQPolicy = self.policy
        slates = batch.actions.long()
        clicks = batch.next_observations[:, -slates.shape[1] :]  # feedback on these slates, -1 for an empty slot
        with torch.no_grad():
            gains = policy.gains_by(policy.target, batch.next_observations)
            none_later = policy.target(batch.next_observations)[1]
            future = none_later + mean_best(policy, batch.next_observations, slates.shape[1], gains)
            later = self._discounted(batch, future)
        there = (clicks >= 0).float()
        share = clicks.clamp(min=0)
        clicked, none = policy.values_of(batch.observations, slates)
        errors = share * functional.smooth_l1_loss(
            clicked, (policy.layout.reward_scale + later).expand_as(clicked), reduction="none"
        ) + (1 - share) * functional.smooth_l1_loss(none.expand_as(clicked), later.expand_as(clicked), reduction="none")
        surprise = functional.binary_cross_entropy_with_logits(
            torch.add(*policy.clicks.of(batch.observations, slates)), share, reduction="none"
        )
        loss, clicks_loss = (there * errors).mean(), (there * surprise).mean()
        (loss + clicks_loss).backward()  # type: ignore[no-untyped-call]
        return {"loss": loss.item(), "clicks_loss": clicks_loss.item()}


class SAC4IR(SlateLearner):
    """Maximum-entropy interactive recommendation: discrete soft actor-critic over items, paid for little known ones.

    Twin critics and a weight of entropy that is learned (Haarnoja et al., "Soft actor-critic algorithms and
    applications", 2018), with expectations over all actions (Christodoulou, "Soft actor-critic for discrete action
    settings", 2019).

    The reward that is learned from is the slate's own plus the mean over its items of 0.1 / (1 + log(1.1 +
    popularity)), popularity being how often training users clicked an item, see `popularity_of`.

    A slate is drawn from the actor's softmax over the eligible items one by one without putting back, and its value is
    the mean of its items'; expectations and entropy are those of a single draw, which is the same but for items drawn
    before. The entropy aimed at follows `train.log_std`: that of a softmax over predicted log-odds at the temperature
    exp(log_std).
    """

    target_entropy = 0.0

    def _setup_model(self) -> None:
        super()._setup_model()
        self.target_entropy = self.policy.entropy_at(self.policy.log_std)

    def _follow(self) -> None:
        polyak_update(self.policy.critics.parameters(), self.policy.targets.parameters(), self.tau)

    def _choose(self, observations: torch.Tensor, k: int) -> NDArray[np.int32]:
        logits = self.policy.every(observations).cpu().numpy()
        words = words_in(observations, self.policy.layout).cpu().numpy()
        return drawn(self.action_space.np_random.random((len(logits), k)), logits, words)

    def _backward(self, batch: ReplayBufferSamples) -> dict[str, float]:
        policy: SAC4IRPolicy = self.policy
        weight = policy.log_alpha.detach().exp()
        with torch.no_grad():
            target = batch.rewards + self._discounted(batch, self._soft_values(batch.next_observations, weight))
        found = [mean_of(critic, batch.observations, batch.actions.long()) for critic in policy.critics]  # type: ignore[arg-type]
        loss = sum(functional.mse_loss(values, target) for values in found) / 2
        loss.backward()  # type: ignore[union-attr]
        entropy = self._actor_backward(batch.observations, weight)
        (policy.log_alpha * (entropy - self.target_entropy)).backward()  # type: ignore[no-untyped-call]
        return {"critic_loss": loss.item(), "entropy": entropy, "ent_coef": weight.item()}  # type: ignore[union-attr]

    def _soft_values(self, observations: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """(B, 1) value of the actor's draws by the targets, entropy included."""
        policy: SAC4IRPolicy = self.policy
        logits, values = policy.scores(observations), policy.lesser_by(policy.targets, observations)
        parts = []
        for rows in chunks(len(observations)):
            chances, logs = policy.chances(observations[rows], logits(rows))
            parts.append(torch.linalg.vecdot(chances, values(rows).sub_(logs, alpha=weight.item())))
        return torch.cat(parts)[:, None]

    def _actor_backward(self, observations: torch.Tensor, weight: torch.Tensor) -> float:
        """Gradients of the actor's loss, few sessions at a time; the mean entropy in nats.

        The loss of a session is the mean of c = weight * log(chance) - value over the chances; its slope in an item's
        logit is the chance times what c is above that mean.
        """
        policy: SAC4IRPolicy = self.policy
        with torch.no_grad():
            values = policy.lesser_by(policy.critics, observations)
        whole = policy.queries(observations), policy.actor.table()
        queries, table = leaves = [part.detach().requires_grad_() for part in whole]
        entropy = 0.0
        for rows in chunks(len(observations)):
            logits = queries[rows] @ table
            with torch.no_grad():
                chances, logs = policy.chances(observations[rows], logits.detach())
                entropy -= float(torch.vdot(chances.flatten(), logs.flatten())) / len(observations)
                costs = logs.mul_(weight).sub_(values(rows))
                mean = torch.linalg.vecdot(chances, costs)[:, None]
                slopes = costs.sub_(mean).mul_(chances.div_(len(observations)))
            logits.backward(slopes)  # type: ignore[no-untyped-call]
        torch.autograd.backward(whole, [leaf.grad for leaf in leaves])
        return entropy


def mean_of(network: ItemNetwork, observations: torch.Tensor, slates: torch.Tensor) -> torch.Tensor:
    """(B, 1) a network's values of slates (B, k), the means of their items'."""
    values, number = network.of(observations, slates)
    return values.mean(dim=1, keepdim=True) + number


def mean_best(policy: ItemValuePolicy, observations: torch.Tensor, k: int, scores: Any) -> torch.Tensor:
    """(B, 1) mean score of the k best eligible items; an empty slot counts 0."""
    _, tops = policy.best(observations, k, scores)
    found = torch.as_tensor(tops, device=observations.device)
    return torch.where(found.isfinite(), found, 0.0).mean(dim=1, keepdim=True)
