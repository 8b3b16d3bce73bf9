"""The learned item policy: Stable-Baselines3 PPO whose action is a point in item-vector space."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import configure
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.vec_env import VecEnv

from lerl.agents.encoders import CategoryEncoder
from lerl.agents.hierarchical import Hierarchy
from lerl.envs import draws
from lerl.envs.files import write_whole
from lerl.envs.session import SessionVectorEnv

REACH = 20.0  # bound of an action's coordinates, in standard deviations of item scores


class VirtualItemEnv(VecEnv):
    """The Stable-Baselines3 view: features in, virtual items out; planning and retrieval happen on this side.

    An action a (D,) stands for the query `start * taste + a / scale`, scale being the items' standard deviation per
    coordinate, so that one unit of any coordinate moves item scores by about one unit of log-odds. The shift and the
    scale are constants of the state, so log-probabilities of actions are exact.

    Args:
        env: the users, autoreset disabled. hierarchy: plans and retrieval. encoder: features.
        start: "taste" or "nothing".
        reward_scale: factor on rewards, so that values stay near 1.
    """

    def __init__(
        self, env: SessionVectorEnv, hierarchy: Hierarchy, encoder: CategoryEncoder, start: str, reward_scale: float
    ) -> None:
        self.env, self.hierarchy, self.encoder, self.start, self.reward_scale = (
            env, hierarchy, encoder, start, reward_scale,
        )  # fmt: skip
        dim = encoder.scale.shape[0]
        super().__init__(
            env.num_envs,
            gymnasium.spaces.Box(-np.inf, np.inf, (encoder.size,), np.float32),
            gymnasium.spaces.Box(-REACH, REACH, (dim,), np.float32),
        )
        self._seed: int | None = None
        self._actions = np.zeros((env.num_envs, dim), np.float32)
        self._returns = np.zeros(env.num_envs)
        self._lengths = np.zeros(env.num_envs, np.int64)

    def seed(self, seed: int | None = None) -> list[int | None]:
        """Set the base seed of the next reset."""
        self._seed = seed
        return [seed] * self.num_envs

    def reset(self) -> NDArray[np.float32]:
        """Begin sessions in all slots."""
        observation, _ = self.env.reset(seed=self._seed)
        self._seed = None
        self.hierarchy.begin(np.arange(self.num_envs), observation)
        return self.encoder.encode(self.hierarchy)

    def step_async(self, actions: NDArray[np.float32]) -> None:
        """Keep the actions for `step_wait`."""
        self._actions = actions

    def step_wait(self) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
        """Show the slates that the actions stand for; ended slots begin anew, their last features in the infos."""
        queries = virtual_items(self._actions, self.hierarchy, self.encoder, self.start)
        observation, rewards, terminated, truncated, _ = self.env.step(self.hierarchy.slates(queries))
        self.hierarchy.see(observation, terminated)
        features = self.encoder.encode(self.hierarchy)
        self._returns += rewards
        self._lengths += 1
        ended = terminated | truncated
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        if ended.any():
            rows = np.flatnonzero(ended)
            for row in rows.tolist():
                infos[row] = {
                    "terminal_observation": features[row],
                    "TimeLimit.truncated": bool(truncated[row]),
                    "episode": {"r": float(self._returns[row]), "l": int(self._lengths[row]), "t": 0.0},
                }
            self._returns[rows], self._lengths[rows] = 0.0, 0
            observation, _ = self.env.reset(options={"reset_mask": ended})
            self.hierarchy.begin(rows, observation)
            features = self.encoder.encode(self.hierarchy)
        return features, (rewards * self.reward_scale).astype(np.float32), ended, infos

    def snapshot(self) -> dict[str, Any]:
        """A copy of all that coming steps depend on, as nested dictionaries of arrays; `restore` takes it back."""
        running = {"returns": self._returns.copy(), "lengths": self._lengths.copy()}
        return {"users": self.env.snapshot(), "hierarchy": self.hierarchy.snapshot(), **running}

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go back to a snapshot of a view made with the same settings."""
        self.env.restore(snapshot["users"])
        self.hierarchy.restore(snapshot["hierarchy"])
        self._returns, self._lengths = snapshot["returns"].copy(), snapshot["lengths"].copy()

    def close(self) -> None:
        """Nothing to close."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """An attribute of the users' environment, once per slot."""
        return [getattr(self.env, attr_name)] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Not supported: slots share one environment."""
        raise NotImplementedError("slots share one environment; make another with other settings")

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        """Not supported: slots share one environment."""
        raise NotImplementedError("slots share one environment; call it directly")

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """No slot is wrapped."""
        return [False] * len(list(self._get_indices(indices)))


def virtual_items(
    actions: NDArray[np.float32], hierarchy: Hierarchy, encoder: CategoryEncoder, start: str
) -> NDArray[np.float32]:
    """Queries (B, D) that actions (B, D) stand for."""
    moved = (actions / encoder.scale).astype(np.float32)
    return hierarchy.memory.tastes + moved if start == "taste" else moved


def new_model(env: VirtualItemEnv, settings: Any, seed: int, tensorboard: Path | None = None) -> PPO:
    """Stable-Baselines3 PPO over virtual items, its last layer near zero, so that it begins as its start does.

    Args:
        env: what it learns in. settings: a `TrainConfig`. seed: of weights and action noise.
        tensorboard: folder for logs.
    """
    torch.set_num_threads(1)
    model = PPO(
        ActorCriticPolicy,
        env,
        learning_rate=lambda left: settings.learning_rate * left,
        n_steps=settings.rollout,
        batch_size=min(settings.batch_size, settings.rollout * settings.users),
        n_epochs=settings.epochs,
        gamma=settings.gamma,
        gae_lambda=settings.gae_lambda,
        clip_range=settings.clip_range,
        policy_kwargs={
            "net_arch": {"pi": [settings.hidden] * 2, "vf": [settings.hidden] * 2},
            "log_std_init": settings.log_std,
        },
        seed=seed % 2**32,
        device="cpu",
    )
    model.set_logger(configure(str(tensorboard) if tensorboard else None, ["tensorboard"] if tensorboard else []))
    return model


class Report(BaseCallback):
    """Calls back around every rollout, and lets exploration shrink as training goes on.

    Args:
        before: called with the model before every rollout, when all that training depends on is at rest.
        after: called with the model after every rollout.
        log_std: logarithm of the action's standard deviation at the start and at the end, linear in between.
    """

    def __init__(
        self, before: Callable[[PPO], None], after: Callable[[PPO], None], log_std: tuple[float, float]
    ) -> None:
        super().__init__()
        self._before, self._after, self._log_std = before, after, log_std

    def _on_rollout_start(self) -> None:
        self._before(self.model)  # type: ignore[arg-type]
        left = self.model._current_progress_remaining
        first, last = self._log_std
        spread: torch.nn.Parameter = self.model.policy.log_std  # type: ignore[assignment]
        spread.requires_grad_(False)
        spread.fill_(left * first + (1 - left) * last)

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        self._after(self.model)  # type: ignore[arg-type]


class PolicyScorer:
    """A trained actor that points for a hierarchy; noise comes from each session's own stream, not from the batch's.

    Args:
        policy: the actor. encoder: its features. start: "taste" or "nothing".
        deterministic: whether the mean action is taken.
    """

    def __init__(self, policy: ActorCriticPolicy, encoder: CategoryEncoder, start: str, deterministic: bool) -> None:
        torch.set_num_threads(1)  # more threads sum in another order
        self.policy, self.encoder, self.start, self.deterministic = policy, encoder, start, deterministic

    def __call__(self, hierarchy: Hierarchy) -> NDArray[np.float32]:
        """Virtual items (B, D)."""
        features = torch.as_tensor(self.encoder.encode(hierarchy))
        with torch.no_grad():
            distribution: Any = self.policy.get_distribution(features).distribution
        actions = distribution.mean.numpy().astype(np.float64)
        if not self.deterministic:
            noise = _noise(hierarchy.memory.keys, hierarchy.memory.steps, actions.shape[1])
            actions = actions + distribution.stddev.numpy() * noise
        actions = np.clip(actions, -REACH, REACH).astype(np.float32)
        return virtual_items(actions, hierarchy, self.encoder, self.start)


@njit(cache=True)
def _noise(keys, steps, dim):  # type: ignore[no-untyped-def]
    noise = np.empty((len(keys), dim), np.float64)
    for b in range(len(keys)):
        key = draws.stream(keys[b], 1, steps[b], 0)
        for j in range(dim):
            noise[b, j] = draws.normal(key, j)
    return noise


def save_policy(policy: ActorCriticPolicy, path: Path) -> None:
    """Weights as tensors, nothing else; written whole or not at all."""
    stream = io.BytesIO()
    torch.save(policy.state_dict(), stream)
    write_whole(path, stream.getvalue())


def load_policy(path: Path, features: int, dim: int, hidden: int) -> ActorCriticPolicy:
    """A policy from its weights; loading executes nothing from the file."""
    policy = ActorCriticPolicy(
        gymnasium.spaces.Box(-np.inf, np.inf, (features,), np.float32),
        gymnasium.spaces.Box(-REACH, REACH, (dim,), np.float32),
        lambda _: 0.0,
        net_arch={"pi": [hidden] * 2, "vf": [hidden] * 2},
    )
    policy.load_state_dict(torch.load(path, weights_only=True))
    policy.set_training_mode(False)
    return policy
