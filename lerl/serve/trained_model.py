"""A model of Stable-Baselines3 as an agent: it sees what it was trained on, and its draws follow from a seed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from inspect import signature
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict
from numpy.typing import NDArray

from lerl.agents.base import Agent, Observation
from lerl.wrappers.plans import Plans

OF_PEOPLE = ("taste", "taste_offset")
"""What is seen in other ranges where other people are, without being another world."""

LIVES = ("sessions", "days_since", "days_left")
"""What is seen of people who come back alone."""


class TrainedModel(Agent):
    """What has Stable-Baselines3's `predict`, as an agent.

    Args:
        model: it is. MaskablePPO gets action masks, RecurrentPPO what it remembers of sessions.
        plans: that it is under, of B slots. deterministic: whether it acts without sampling.

    Raises:
        ValueError: it was trained on other observations.
    """

    def __init__(self, model: Any, plans: Plans, deterministic: bool) -> None:
        self._model, self._plans, self._deterministic = model, plans, deterministic
        self._masked = "action_masks" in signature(model.predict).parameters
        self._state: Any = None
        self._begun = np.ones(plans.count, bool)
        here = plans.spaces(plans.session.observation_space)
        there = getattr(model, "observation_space", here)
        check_same_world(there, here, plans)
        self._seen = list(there.spaces)

    def begin(self, rows: NDArray[np.int64], observation: Observation, keys: NDArray[np.uint64]) -> None:
        """New sessions in these slots."""
        self._begun[rows] = True

    def act(self, observation: Observation) -> NDArray[np.int32]:
        """What it shows: items (B,), or slates (B, k)."""
        masks = {"action_masks": np.tile(self._plans.eligible(), self._plans.k)} if self._masked else {}
        actions, self._state = self._model.predict(
            {name: observation[name] for name in self._seen},
            state=self._state,
            episode_start=self._begun.copy(),
            deterministic=self._deterministic,
            **masks,
        )
        self._begun[:] = False
        found: NDArray[np.int32] = np.asarray(actions)
        return found


def check_same_world(there: gymnasium.Space[Any], here: Dict, plans: Plans) -> None:
    """Refuse a model that was trained on other observations.

    Args:
        there: what it was trained on. here: what it would be given, under these plans.

    Raises:
        ValueError: a key has another shape or range, or is not here.
    """
    if not isinstance(there, Dict):
        raise ValueError(f"the model was trained on {there}, and sees a dictionary of arrays here: {', '.join(here)}")
    wrong = next((name for name in there if _words(there, name) != _words(here, name)), None)
    if wrong is None:
        return
    if wrong not in here.spaces and wrong.startswith("plan_"):
        raise ValueError(
            f"the model was trained under a planner: {wrong} has {_words(there, wrong)} there and is missing here; "
            "give planner="
        )
    if wrong in LIVES:
        raise ValueError(
            f"the model was trained with horizon='days': it sees {wrong}, which single sessions lack, and agents are "
            "judged on those first; train it with horizon='session'. It is judged on lives all the same where "
            "env.horizon is days"
        )
    world, axis = plans.session.config, plans.hierarchy.task.axis
    raise ValueError(
        f"the model was trained in another world: {wrong} has {_words(there, wrong)} there and {_words(here, wrong)} "
        f"here, where slate_size is {world.slate_size}, max_steps {world.max_steps}, and {len(axis.names)} categories "
        f"have {len(plans.session.population.catalog)} items; give the population and env that it was trained with"
    )


def _words(spaces: Dict, name: str) -> str:
    """The shape of an observation's part, and how far it goes."""
    box = spaces.spaces.get(name)
    if not isinstance(box, Box):
        return "no place"
    return f"shape {box.shape}" + ("" if name in OF_PEOPLE else f" up to {box.high.max():g}")


@contextmanager
def drawing_from(seed: int) -> Iterator[None]:
    """Inside, the generators that Stable-Baselines3 samples with begin at a seed; outside they are what they were."""
    import torch

    before = np.random.get_state()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)
        try:
            yield
        finally:
            np.random.set_state(before)
