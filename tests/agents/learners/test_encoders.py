"""What a network sees, worked out by hand."""

import math
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from lerl.agents.base import TaskSpec
from lerl.agents.hierarchical import Hierarchy
from lerl.agents.learners.encoders import (
    EXTRACTORS,
    CategoryEncoder,
    HistoryEncoder,
    SessionFeatures,
    build_encoder,
    layout_of,
)
from lerl.envs.population import Population
from lerl.planners.base import PlanContexts, Plans

LOG3 = math.log(3)  # log-odds of 0.75


class FirstOnly:
    """Allows category 0 and avoids category 1."""

    def plan(self, contexts: PlanContexts) -> Plans:
        first = np.broadcast_to(np.array([True, False]), (len(contexts), 2)).copy()
        return Plans(first, ~first)


def observation(steps: int, items: list[int], feedback: list[float]) -> dict[str, Any]:
    """What the environment shows of one session with slates of 2, of at most 4."""
    recent, answers = np.full((1, 40), -1, np.int32), np.full((1, 40), -1, np.float32)
    if items:
        recent[0, -len(items) :], answers[0, -len(items) :] = items, feedback
    return {
        "recent_items": recent,
        "recent_feedback": answers,
        "time_left": np.array([[1 - steps / 4]], np.float32),
        "taste": np.array([[LOG3, 1, 1]], np.float32),
        "taste_offset": np.zeros((1, 1), np.float32),
    }


@pytest.fixture(scope="module")
def tiny(by_hand: Callable[..., Population]) -> TaskSpec:
    """Items predicted 0.75, 0.25 (category 0), 0.75 (category 1) and sqrt(3) / (1 + sqrt(3)) (both)."""
    items = [[1, 0], [-1, 0], [0, LOG3], [0.5, 0]]
    people = by_hand(items, [[LOG3, 1]], [[1, 0], [1, 0], [0, 1], [1, 1]])
    return TaskSpec(people.catalog, people.knowledge, people.catalog.categories, 2, 4, 0)


def after_two_steps(task: TaskSpec, planner: Any, every: int = 1) -> Hierarchy:
    """Slate (0, 2) with a click on item 0, then (1, an empty slot) without one."""
    hierarchy = Hierarchy(task, 1, planner, replan_every=every, attentive=True)
    hierarchy.begin(np.arange(1), observation(0, [], []), np.array([7], np.uint64))
    hierarchy.see(observation(1, [0, 2], [1, 0]))
    hierarchy.see(observation(2, [0, 2, 1, -1], [1, 0, 0, -1]))
    return hierarchy


def test_features_by_hand(tiny: TaskSpec):
    fast, slow = math.exp(-1 / 3), math.exp(-1 / 10)
    features = CategoryEncoder(tiny, planned=False).encode(after_two_steps(tiny, None))[0]
    scale = np.maximum(np.std([[1, 0, 0], [-1, 0, 0], [0, LOG3, 0], [0.5, 0, 0]], axis=0), 1e-6)
    # Surprises: item 0 clicked with 0.75 predicted, +0.25; item 2 not with 0.75, -0.75; item 1 not with 0.25, -0.25.
    surprise = slow * 0.25 * np.array([1, 0, 0]) - slow * 0.75 * np.array([0, LOG3, 0]) - 0.25 * np.array([-1, 0, 0])
    weights = 2 * fast + 1
    expected = [
        [LOG3 / 2, LOG3 / 2],  # only item 3 is left, in both categories
        [0.5 * fast + 0.5, 0.5 * fast],  # exposure: half a slate one step ago, half a slate just now
        [(0.5 * slow + 0.5) / 3, 0.5 * slow / 3],
        [2 * (slow * 0.25 - 0.25) / (1 + slow + 1), 2 * (slow * -0.75) / (1 + slow)],
        [2 * 0.5, 0.0],  # of the last slate's two slots one was shown, in category 0
        scale * [LOG3, 1, 1],
        0.3 * surprise / scale,
        [fast / weights, (fast * (0.25 - 0.75) - 0.25) / weights],
        [0.5],  # two of four steps are left
    ]
    np.testing.assert_allclose(features, np.concatenate(expected), rtol=1e-4, atol=1e-5)


def test_a_plan_adds_what_it_allows_and_avoids_and_its_age(tiny: TaskSpec):
    flat = CategoryEncoder(tiny, planned=False).encode(after_two_steps(tiny, None))[0]
    planned = CategoryEncoder(tiny, planned=True).encode(after_two_steps(tiny, FirstOnly(), every=4))[0]
    np.testing.assert_array_equal(planned[: len(flat)], flat)
    assert planned[len(flat) :].tolist() == [1, 0, 0, 1, 0.5]  # allowed, avoided, two of four steps old


@pytest.mark.parametrize("planned", [False, True])
def test_the_size_is_what_comes_out(task: TaskSpec, make_env: Callable[..., Any], planned: bool):
    hierarchy = Hierarchy(task, 4, attentive=True)
    hierarchy.begin(np.arange(4), make_env(4).reset(seed=0)[0])
    encoder = CategoryEncoder(task, planned)
    features = encoder.encode(hierarchy)
    assert features.shape == (4, encoder.size)
    assert features.dtype == np.float32
    assert np.isfinite(features).all()


def test_a_hierarchy_that_does_not_look_cannot_be_encoded(task: TaskSpec):
    with pytest.raises(ValueError, match="the hierarchy must be attentive"):
        CategoryEncoder(task, planned=False).encode(Hierarchy(task, 1))


@pytest.mark.parametrize(
    ("length", "items", "feedback"),
    [(5, [0, 2, 1, -1, -1], [1, 0, 0, -1, -1]), (3, [0, 2, 1], [1, 0, 0]), (2, [2, 1], [0, 0])],
)
def test_a_history_is_the_last_items_in_order_without_holes(
    tiny: TaskSpec, length: int, items: list[int], feedback: list[int]
):
    encoder = HistoryEncoder(tiny, planned=False, history=length)
    hierarchy = after_two_steps(tiny, None)  # items 0, 2, 1 and an empty slot
    seen = encoder.encode(hierarchy)[0]
    flat = CategoryEncoder(tiny, planned=False).encode(hierarchy)[0]
    np.testing.assert_array_equal(seen[: len(flat)], flat)
    assert seen[len(flat) :].tolist() == [*items, *feedback]
    assert len(seen) == encoder.size


def networks(task: TaskSpec, name: str, history: int) -> tuple[SessionFeatures, Callable[..., Any]]:
    """A network, and a function from items and feedback to what it makes of them; the features are all 0.5."""
    encoder = build_encoder(name, task, False, history)
    space = gymnasium.spaces.Box(-np.inf, np.inf, (encoder.size,), np.float32)
    torch.manual_seed(0)
    network = EXTRACTORS[name](space, layout_of(encoder), 8)

    def read(*rows: tuple[list[int], list[float]]) -> Any:
        observations = np.full((len(rows), encoder.size), -1, np.float32)
        first = encoder.size - 2 * history
        observations[:, :first] = 0.5
        for row, (items, feedback) in enumerate(rows):
            observations[row, first : first + len(items)] = items
            observations[row, first + history : first + history + len(items)] = feedback
        with torch.no_grad():
            return network(torch.as_tensor(observations)).numpy()

    return network, read


@pytest.mark.parametrize("name", ["gru", "transformer"])
def test_a_network_reads_items_feedback_and_order_and_no_padding(task: TaskSpec, name: str):
    network, read = networks(task, name, 4)
    features = network.features_dim - 8
    plain = read(([7, 3, 9], [1, 0, 1]))[0]
    assert plain.shape == (features + 8,)
    assert (plain[:features] == 0.5).all()
    for other in (([7, 3, 8], [1, 0, 1]), ([7, 3, 9], [1, 0, 0]), ([3, 7, 9], [1, 0, 1]), ([3, 9], [0, 1])):
        assert np.abs(read(other)[0] - plain)[features:].max() > 1e-3
    together = read(([7, 3, 9], [1, 0, 1]), ([1, 2, 3, 4], [0, 0, 1, 0]), ([5], [1]))
    np.testing.assert_allclose(together[0], plain, atol=1e-5)
    assert (read(([], []))[0, features:] == 0).all()  # nothing was shown yet
    longer = networks(task, name, 4)[1](([7, 3, 9], [1, 0, 1]))[0]
    np.testing.assert_array_equal(longer, plain)


@pytest.mark.parametrize("name", ["gru", "transformer"])
def test_what_lies_in_the_padding_changes_nothing(task: TaskSpec, name: str):
    network, _ = networks(task, name, 4)
    first = network.layout.features
    observations = torch.full((2, first + 8), 0.5)
    observations[:, first : first + 4] = torch.tensor([7.0, 3.0, -1.0, -1.0])
    observations[1, first + 6 :] = 9.0  # feedback on items that are not there
    with torch.no_grad():
        one, other = network(observations).numpy()
    np.testing.assert_allclose(one, other, atol=1e-6)
