"""Memory that users and items need, measured in a separate process."""

import resource
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from lerl.agents.retrieval import ItemIndex
from lerl.envs.population import Population
from lerl.envs.session import SessionVectorEnv
from lerl.envs.synthetic import synthetic_population

GB = 1e9
STEPS = 3


def _resident() -> float:
    """GB that the process has in memory now; where the system does not say, the most that it had."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith("VmRSS"))) * 1024 / GB
    except OSError:
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / GB


def _many(few: Population, count: int) -> Population:
    """A population of `count` users, those of a smaller one over and over."""
    number = np.arange(count) % len(few.training)
    truth, known = few.truth, few.knowledge
    return replace(
        few,
        truth=replace(truth, user_vectors=truth.user_vectors[number], user_offsets=truth.user_offsets[number]),
        knowledge=replace(known, tastes=known.tastes[number], user_offsets=known.user_offsets[number]),
        training=few.training[number],
    )


def _step(env: SessionVectorEnv) -> object:
    """The observation after some steps, so that it counts too."""
    draw = np.random.default_rng(0)
    seen, _ = env.reset(seed=0)
    for _ in range(STEPS):
        seen, *_ = env.step(draw.integers(1000, size=env.num_envs))
    return seen


def users(count: int, categories: int) -> dict[str, float]:
    """GB of a process that steps so many users side by side, topics = categories, and of only their state."""
    few = synthetic_population(users=1000, items=1000, categories=categories, dim=32)
    env = SessionVectorEnv(_many(few, count), count, split="all", topics="categories")
    seen = _step(env)
    state = vars(env.state)
    arrays = [value for value in state.values() if isinstance(value, np.ndarray)] + list(state["response"].values())
    found = {"held": _resident(), "state": sum(array.nbytes for array in arrays) / GB}
    del seen
    return found


def collective(count: int, categories: int) -> dict[str, float]:
    """GB of the states of so many users of a sequence model with a collective cache, measured from their arrays.

    They have no past: windows have a fixed size, so that a user with a long one has as much.
    """
    from lerl.bench.sequence import bytes_of, random_model
    from lerl.envs.response.collective import CollectiveResponse
    from lerl.users.train_sequence import CollectiveSettings

    few = synthetic_population(users=1000, items=1000, categories=categories, dim=32)
    _, people, _, _ = random_model(few, CollectiveSettings(), longest=2)
    return {"state": bytes_of(CollectiveResponse(people).init(np.zeros(count, np.int64))) / GB}


def items(count: int, categories: int) -> dict[str, float]:
    """GB of a process that steps 64 users among so many items, and with the agents' index for retrieval besides."""
    population = synthetic_population(users=100, items=count, categories=categories, dim=32)
    env = SessionVectorEnv(population, 64, topics="categories")
    seen = _step(env)
    found = {"held": _resident()}
    index = ItemIndex(population.knowledge.item_vectors, population.catalog.categories.groups)
    found["with the agents' index"] = _resident()
    del seen, index
    return found
