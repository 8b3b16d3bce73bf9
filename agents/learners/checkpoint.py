"""A learner in mid-training with its users, plans and draws, as one file of tensors and plain values.

Training that goes on from such a file takes the very steps that it would have taken without the interruption.
"""

import io
import random
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm

from lerl.envs.files import write_whole

COUNTERS = (
    "num_timesteps", "_episode_num", "_n_updates", "_n_calls", "_current_progress_remaining", "exploration_rate",
)  # fmt: skip
KEPT = (np.ndarray, int)  # of the attributes of a replay buffer
Tree = dict[str, Any]


def freeze(model: BaseAlgorithm, users: Tree) -> Tree:
    """All that the rest of a training depends on; to be taken between two rollouts.

    Args:
        model: the learner. users: what its environment's `snapshot` gave.
    """
    buffer = getattr(model, "replay_buffer", None)
    return {
        "parameters": model.get_parameters(),
        "tensors": {name: attrgetter(name)(model).data for name in model._get_torch_save_params()[1]},
        "counters": {name: getattr(model, name) for name in COUNTERS if hasattr(model, name)},
        "observation": model._last_obs,
        "starts": model._last_episode_starts,
        "buffer": {name: value for name, value in vars(buffer).items() if isinstance(value, KEPT)} if buffer else {},
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if model.device.type == "cuda" else None,
        "numpy": np.random.get_state(legacy=False),
        "python": random.getstate(),
        "actions": model.action_space.np_random.bit_generator.state,
        "users": users,
    }


def thaw(model: BaseAlgorithm, frozen: Tree) -> Tree:
    """Put a learner made with the same settings back to where `freeze` saw it; the users' part, for `restore`."""
    model.set_parameters(frozen["parameters"])
    for name, value in frozen["tensors"].items():
        attrgetter(name)(model).data = value
    for name, value in frozen["counters"].items():
        setattr(model, name, value)
    model._last_obs, model._last_episode_starts = frozen["observation"], frozen["starts"]
    for name, value in frozen["buffer"].items():
        setattr(model.replay_buffer, name, value)  # type: ignore[attr-defined]
    torch.set_rng_state(frozen["torch"])
    if frozen.get("cuda") is not None:
        torch.cuda.set_rng_state(frozen["cuda"])
    np.random.set_state(frozen["numpy"])
    random.setstate(frozen["python"])
    model.action_space.np_random.bit_generator.state = frozen["actions"]
    users: Tree = frozen["users"]
    return users


def write_checkpoint(tree: Tree, path: Path) -> int:
    """Write a tree of tensors, arrays and plain values, whole or not at all; how many bytes it takes."""
    stream = io.BytesIO()
    torch.save(_packed(tree), stream)
    content = stream.getvalue()
    write_whole(path, content)
    return len(content)


def read_checkpoint(path: Path) -> Tree:
    """The tree in a file; loading executes nothing from it, and fails in many ways where the file is none of ours."""
    tree: Tree = _unpacked(torch.load(path, weights_only=True))
    return tree


def read_weights(network: torch.nn.Module, path: Path) -> None:
    """Give a network the weights in a file; loading executes nothing from it.

    Raises:
        ValueError: a weight is no finite number. Other errors where the file is none of ours, many kinds of them.
    """
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    if not all(bool(value.isfinite().all()) for value in network.state_dict().values()):
        raise ValueError("it holds weights that are no finite numbers")


def write_weights(network: torch.nn.Module, path: Path) -> None:
    """Keep a network's weights as tensors, nothing else; written whole or not at all."""
    stream = io.BytesIO()
    torch.save(network.state_dict(), stream)
    write_whole(path, stream.getvalue())


def _packed(value: Any) -> Any:
    """Arrays become tensors, marked as arrays."""
    if isinstance(value, dict):
        return {key: _packed(inner) for key, inner in value.items()}
    if isinstance(value, np.ndarray):
        return ("array", torch.from_numpy(np.ascontiguousarray(value)))
    if isinstance(value, tuple):
        return ("tuple", [_packed(inner) for inner in value])
    return value


def _unpacked(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _unpacked(inner) for key, inner in value.items()}
    if isinstance(value, tuple):
        kind, content = value
        return content.numpy() if kind == "array" else tuple(_unpacked(inner) for inner in content)
    return value
