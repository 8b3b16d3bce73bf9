"""Learners by name: which Stable-Baselines3 algorithm, how it is built, kept, loaded and made to act."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sb3_contrib import MaskablePPO
from stable_baselines3 import A2C, DDPG, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.logger import configure
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.sac.policies import SACPolicy
from stable_baselines3.td3.policies import TD3Policy

from lerl.agents.adam import Adam
from lerl.agents.base import TaskSpec
from lerl.agents.config import TrainConfig
from lerl.agents.hierarchical import HierarchicalAgent, Hierarchy
from lerl.agents.learners.checkpoint import read_weights, write_weights
from lerl.agents.learners.discrete import DiscreteAgent, DiscreteItemEnv, ItemChooser, check_discrete, discrete_spaces
from lerl.agents.learners.encoders import EXTRACTORS, CategoryEncoder, layout_of
from lerl.agents.learners.hac import HAC, HyperActionEnv, HyperPolicy
from lerl.agents.learners.item_values import DNaIRPolicy, ItemValuePolicy, SAC4IRPolicy, SlateQPolicy, item_features
from lerl.agents.learners.masked import MaskedDQN, MaskedPolicy, MaskedQPolicy
from lerl.agents.learners.ppo import FasterPPO
from lerl.agents.learners.reinforce import ActorPolicy, PolicyGradient
from lerl.agents.learners.returning import ReturningSessions
from lerl.agents.learners.slates import SAC4IR, DNaIR, SlateQ, dnair_bonus, sac4ir_bonus
from lerl.agents.learners.td3 import BoundedPolicy
from lerl.agents.learners.vec_env import SessionsView
from lerl.agents.learners.virtual_items import NEAR, REACH, PolicyScorer, VirtualItemEnv, virtual_spaces
from lerl.envs.session import SessionVectorEnv

TARGET_SPEED = 0.005  # share of the way that target networks go per gradient step, as in the papers of SAC and TD3
SOME = 64  # users whose predicted log-odds say how spread sac4ir shall be
Scorer = PolicyScorer | ItemChooser


class Idle:
    """In an optimiser's place where nothing is learned: PyTorch's own import its compiler, which takes a second."""

    def __init__(self, parameters: Any, **options: Any) -> None: ...


IDLE = {"optimizer_class": Idle}


@dataclass(frozen=True)
class Learner:
    """One learner.

    Attributes:
        algorithm, policy: of Stable-Baselines3, or ours over them.
        reach: bound of a virtual item's coordinates; None for learners that choose items by their numbers.
        samples: whether its policy is sampled; the others learn one action per state and explore only in training.
        slates: of learners that choose by number, whether they choose slates; the others choose one item.
        bonus: (I,) what showing an item adds to the reward that is learned from, of a task; none when None.
        view: of learners over virtual items, what they learn in.
    """

    algorithm: type[BaseAlgorithm]
    policy: type[BasePolicy]
    reach: float | None
    samples: bool
    slates: bool = False
    bonus: Callable[[TaskSpec], NDArray[np.float32]] | None = None
    view: type[VirtualItemEnv] = VirtualItemEnv

    @property
    def off_policy(self) -> bool:
        """Whether it learns from a replay buffer."""
        return issubclass(self.algorithm, OffPolicyAlgorithm)


# ppo: Schulman et al., "Proximal policy optimization algorithms", 2017. a2c: Mnih et al., "Asynchronous methods for
# deep reinforcement learning", ICML 2016. sac: Haarnoja et al., "Soft actor-critic", ICML 2018, and "Soft actor-critic
# algorithms and applications", 2018. td3: Fujimoto, van Hoof and Meger, ICML 2018. ddpg: Lillicrap et al., ICLR 2016.
# maskable_ppo: Huang and Ontanon, FLAIRS 2022. dqn: Mnih et al., Nature 2015. pg: Williams, Machine Learning 1992. hac:
# Liu et al., WWW 2023. dnair, sac4ir, slateq: see their classes.
LEARNERS = {
    "ppo": Learner(FasterPPO, ActorCriticPolicy, REACH, samples=True),
    "a2c": Learner(A2C, ActorCriticPolicy, REACH, samples=True),
    "sac": Learner(SAC, SACPolicy, NEAR, samples=True),
    "td3": Learner(TD3, BoundedPolicy, NEAR, samples=False),
    "ddpg": Learner(DDPG, BoundedPolicy, NEAR, samples=False),
    "maskable_ppo": Learner(MaskablePPO, MaskedPolicy, None, samples=True),
    "dqn": Learner(MaskedDQN, MaskedQPolicy, None, samples=False),
    "pg": Learner(PolicyGradient, ActorPolicy, REACH, samples=True),
    "hac": Learner(HAC, HyperPolicy, NEAR, samples=False, view=HyperActionEnv),
    "dnair": Learner(DNaIR, DNaIRPolicy, None, samples=False, slates=True, bonus=dnair_bonus),
    "sac4ir": Learner(SAC4IR, SAC4IRPolicy, None, samples=True, slates=True, bonus=sac4ir_bonus),
    "slateq": Learner(SlateQ, SlateQPolicy, None, samples=False, slates=True),
}


def check_learner(agent: str, learner: str, items: int, slate_size: int) -> None:
    """Refuse a task that a learner is not for.

    Raises:
        ValueError: the learner chooses items by their numbers, and slates or the catalog are too large for that.
    """
    if LEARNERS[learner].reach is None:
        check_discrete(agent, items, slate_size, LEARNERS[learner].slates)


def new_view(
    name: str, env: SessionVectorEnv, hierarchy: Hierarchy, encoder: CategoryEncoder, settings: TrainConfig
) -> SessionsView:
    """What a learner learns in; settings: `train` of the configuration."""
    learner, shared = LEARNERS[name], (env, hierarchy, encoder, settings.start, 1 - settings.gamma)
    if learner.reach is None:
        return DiscreteItemEnv(*shared, learner.slates, learner.bonus and learner.bonus(hierarchy.task))
    return learner.view(*shared, learner.reach)


def new_model(name: str, view: SessionsView, settings: TrainConfig, seed: int, tensorboard: Path | None = None) -> Any:
    """A learner, the last layer of its actor near zero, so that it begins as its start does.

    Args:
        name: one of `LEARNERS`.
        view: what it learns in. settings: `train` of the configuration. seed: of weights, exploration and samples.
        tensorboard: folder for logs.
    """
    torch.set_num_threads(1)
    learner = LEARNERS[name]
    algorithm: Any = learner.algorithm
    network = _network(name, view.encoder, settings)
    model = algorithm(
        learner.policy,
        view,
        learning_rate=lambda left: settings.learning_rate * left,
        gamma=1.0 if isinstance(view.env, ReturningSessions) else settings.gamma,
        policy_kwargs=network if settings.steps else network | IDLE,
        seed=seed % 2**32,
        device=check_device(settings.device),
        **(_off_policy(name, view, settings) if learner.off_policy else _on_policy(name, settings)),
    )
    if isinstance(model.policy, SACPolicy | TD3Policy):
        _begin_at_start(model.policy, settings.log_std)
    model.set_logger(configure(str(tensorboard) if tensorboard else None, ["tensorboard"] if tensorboard else []))
    return model


def check_device(name: str) -> str:
    """The device "cpu" or "cuda" by its name.

    Raises:
        ValueError: it is "cuda", and PyTorch sees no GPU.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("train.device is 'cuda', but PyTorch sees no GPU here; set it to cpu")
    return name


def _on_policy(name: str, settings: TrainConfig) -> dict[str, Any]:
    if name == "pg":
        return {"n_steps": settings.rollout}
    shared = {"n_steps": settings.rollout, "gae_lambda": settings.gae_lambda}
    if name == "a2c":
        return shared  # one gradient step over each whole rollout
    return shared | {
        "batch_size": min(settings.batch_size, settings.rollout * settings.users),
        "n_epochs": settings.epochs,
        "clip_range": settings.clip_range,
    }


def _off_policy(name: str, view: SessionsView, settings: TrainConfig) -> dict[str, Any]:
    chosen = settings.off_policy
    shared = {
        "buffer_size": chosen.buffer,
        "learning_starts": min(chosen.learning_starts, settings.steps // 10),
        "batch_size": settings.batch_size,
        "train_freq": 1,
        "gradient_steps": chosen.gradient_steps,
        "tau": TARGET_SPEED,
    }
    if name == "dqn":
        return shared | {
            "tau": 1 - (1 - TARGET_SPEED) ** chosen.gradient_steps,  # it follows once a step of the users
            "target_update_interval": view.num_envs,
            "exploration_initial_eps": chosen.epsilon,
            "exploration_final_eps": chosen.epsilon,
        }
    if LEARNERS[name].slates:
        return shared | {"epsilon": 0.0 if LEARNERS[name].samples else chosen.epsilon}
    dim = len(view.encoder.scale)
    if name == "sac":
        # Rewards are small: at the temperature that SAC begins with by default, 1, they would count for nothing.
        return shared | {"ent_coef": "auto_0.01", "target_entropy": _entropy(settings.log_std, dim, NEAR)}
    return shared | {"action_noise": NormalActionNoise(np.zeros(dim), np.full(dim, chosen.noise / NEAR))}


def _network(name: str, encoder: CategoryEncoder, settings: TrainConfig) -> dict[str, Any]:
    """Arguments of a learner's policy."""
    layout = layout_of(encoder, 1 - settings.gamma)
    options: dict[str, Any] = {
        "features_extractor_class": EXTRACTORS[settings.encoder],
        "features_extractor_kwargs": {"layout": layout, "hidden": settings.hidden},
        "net_arch": [settings.hidden] * 2,
    }
    if not LEARNERS[name].off_policy:
        options |= {"net_arch": {"pi": options["net_arch"], "vf": options["net_arch"]}}
        options |= {"log_std_init": settings.log_std}
    elif not LEARNERS[name].slates:
        options["optimizer_class"] = Adam
    if issubclass(LEARNERS[name].algorithm, DDPG):
        options["n_critics"] = 1
    if LEARNERS[name].slates:
        task, bonus = encoder.task, LEARNERS[name].bonus
        tastes = task.knowledge.tastes
        predicted_ctr = tastes[:: max(len(tastes) // SOME, 1)][:SOME] @ task.knowledge.item_vectors.T
        options["items"] = item_features(task, bonus and bonus(task))
        options |= {"log_std_init": settings.log_std, "predicted_ctr": predicted_ctr}
    return options


def _entropy(log_std: float, dim: int, reach: float) -> float:
    """Of `dim` normal variables with a standard deviation of exp(log_std), in units of `reach`, in nats."""
    return dim * (0.5 * math.log(2 * math.pi * math.e) + log_std - math.log(reach))


@torch.no_grad()
def _begin_at_start(policy: SACPolicy | TD3Policy, log_std: float) -> None:
    """Last layers near zero, as Stable-Baselines3 does for PPO; SAC's spread as it was asked for."""
    actor: Any = policy.actor
    mean = actor.mu if isinstance(policy, SACPolicy) else actor.mu[-2]
    layers = [mean, actor.log_std] if isinstance(policy, SACPolicy) else [mean]
    for layer in layers:
        layer.weight *= 0.01
        layer.bias.zero_()
    if isinstance(policy, SACPolicy):
        actor.log_std.bias.fill_(log_std - math.log(NEAR))
    else:
        policy.actor_target.load_state_dict(actor.state_dict())


@torch.no_grad()
def set_spread(model: BaseAlgorithm, log_std: float) -> None:
    """Let a learner that samples explore with this logarithm of a standard deviation, in log-odds of item scores.

    PPO, A2C, PG and MaskablePPO are given it; for SAC and SAC4IR it sets the entropy that their temperature is tuned to
    reach. The others explore by noise of their own.
    """
    if isinstance(model, SAC):
        model.target_entropy = _entropy(log_std, int(np.prod(model.action_space.shape)), NEAR)  # type: ignore[arg-type]
    elif isinstance(model, SAC4IR):
        model.target_entropy = model.policy.entropy_at(log_std)
    elif isinstance(getattr(model.policy, "log_std", None), torch.Tensor):
        model.policy.log_std.requires_grad_(False)
        model.policy.log_std.fill_(log_std)  # type: ignore[operator]


def save_policy(policy: torch.nn.Module, path: Path) -> None:
    """Weights as tensors, nothing else; written whole or not at all."""
    write_weights(policy, path)


def load_policy(path: Path, name: str, encoder: CategoryEncoder, settings: TrainConfig) -> BasePolicy:
    """A learner's policy from its weights; loading executes nothing from the file.

    Args:
        path: as `save_policy` wrote it. name: one of `LEARNERS`.
        encoder, settings: those that it was trained with.
    """
    learner = LEARNERS[name]
    spaces: Any = (
        discrete_spaces(encoder, learner.slates) if learner.reach is None else virtual_spaces(encoder, learner.reach)
    )
    options = _network(name, encoder, settings) | IDLE
    policy = learner.policy(*spaces, lambda _: 0.0, **options)
    read_weights(policy, path)
    policy.set_training_mode(False)
    return policy


def new_scorer(policy: BasePolicy, encoder: CategoryEncoder, start: str, deterministic: bool) -> Scorer:
    """What makes queries or chooses items for a hierarchy; start: "taste" or "nothing"."""
    torch.set_num_threads(1)  # more threads sum in another order
    kind = ItemChooser if isinstance(policy, MaskedPolicy | MaskedQPolicy | ItemValuePolicy) else PolicyScorer
    return kind(policy, encoder, start, deterministic)


def new_agent(hierarchy: Hierarchy, scorer: Scorer | None) -> HierarchicalAgent:
    """A hierarchy under a scorer as an agent; by taste when None."""
    return DiscreteAgent(hierarchy, scorer) if isinstance(scorer, ItemChooser) else HierarchicalAgent(hierarchy, scorer)
