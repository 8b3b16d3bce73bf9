"""Memory: what was shown, what came back and what had been predicted, slot by slot and session by session."""

from collections.abc import Callable

import numpy as np
import pytest

from lerl.agents.base import TaskSpec
from lerl.agents.memory import BEST, Memory
from lerl.envs.config import Leave
from lerl.envs.population import Population
from lerl.envs.session import SessionVectorEnv

MakeEnv = Callable[..., SessionVectorEnv]
NEVER = Leave("never")


def slates_of(draw: np.random.Generator, count: int) -> np.ndarray:
    return np.stack([draw.choice(60, 3, replace=False) for _ in range(count)])


@pytest.fixture
def played(task: TaskSpec, make_env: MakeEnv) -> tuple[SessionVectorEnv, Memory]:
    """Four sessions after three slates, some with items shown before."""
    env, memory, draw = make_env(4, leave=NEVER), Memory(task, 4), np.random.default_rng(0)
    observation, _ = env.reset(seed=3)
    memory.begin(np.arange(4), observation, np.array([5, 6, 7, 8], np.uint64))
    first = slates_of(draw, 4)
    for slates in (first, slates_of(draw, 4), np.column_stack([first[:, 0], slates_of(draw, 4)[:, 1:]])):
        observation, *_ = env.step(slates)
        memory.see(observation)
    return env, memory


def test_an_item_shown_appears_with_its_feedback(played: tuple[SessionVectorEnv, Memory]):
    env, memory = played
    np.testing.assert_array_equal(memory.shown, env.state.shown)
    np.testing.assert_array_equal(memory.feedback, env.state.feedback)
    np.testing.assert_array_equal(memory.counts, env.state.exposure)
    np.testing.assert_array_equal(memory.liked, env.state.liked)
    assert memory.steps.tolist() == [3] * 4
    assert (memory.shown[:, 6] == -1).all()  # the copy of the first item was an empty slot


def test_what_known_history_promised_is_kept_beside_it(played: tuple[SessionVectorEnv, Memory], population: Population):
    env, memory = played
    known = population.knowledge
    shown = memory.shown[:, :9]
    logits = np.einsum("bd,bnd->bn", known.tastes[env.state.user], known.item_vectors[shown])
    predicted = 1 / (1 + np.exp(-logits - known.user_offsets[env.state.user][:, None]))
    there = shown >= 0
    np.testing.assert_allclose(memory.estimates[:, :9][there], predicted[there], rtol=1e-5)


def test_seeing_the_same_twice_counts_once(played: tuple[SessionVectorEnv, Memory]):
    env, memory = played
    counts = memory.counts.copy()
    memory.see(env._session.observe())
    assert memory.steps.tolist() == [3] * 4
    np.testing.assert_array_equal(memory.counts, counts)


def test_beginning_forgets_that_slot_and_no_other(played: tuple[SessionVectorEnv, Memory]):
    env, memory = played
    kept = memory.shown[[0, 1, 3]].copy()
    observation, _ = env.reset(options={"reset_mask": np.arange(4) == 2})
    memory.begin(np.array([2]), observation, np.array([99], np.uint64))
    assert (memory.shown[2] == -1).all()
    assert not memory.counts[2].any()
    assert memory.keys.tolist() == [5, 6, 99, 8]
    np.testing.assert_array_equal(memory.tastes[2], observation["taste"][2])
    np.testing.assert_array_equal(memory.shown[[0, 1, 3]], kept)
    fresh = memory.contexts(np.array([2]))
    assert (fresh.recent_items == -1).all()
    assert (fresh.feedback == -1).all()


def test_slots_never_see_each_other(task: TaskSpec, make_env: MakeEnv):
    draw = np.random.default_rng(1)
    env, alone = make_env(5, leave=NEVER), make_env(1, leave=NEVER)
    memory, one = Memory(task, 5), Memory(task, 1)
    observation, single = env.reset(seed=40)[0], alone.reset(seed=42)[0]
    memory.begin(np.arange(5), observation, np.arange(5, dtype=np.uint64))
    one.begin(np.arange(1), single, np.array([2], np.uint64))
    for _ in range(4):
        slates = slates_of(draw, 5)
        memory.see(env.step(slates)[0])
        one.see(alone.step(slates[2:3])[0])
    both = memory.contexts(np.array([2])), one.contexts(np.array([0]))
    for name in ("session_key", "steps", "predicted_ctr", "counts", "feedback", "recent_items", "recent_feedback"):
        np.testing.assert_array_equal(*(getattr(context, name) for context in both))
    np.testing.assert_array_equal(both[0].recent_estimates, both[1].recent_estimates)


def test_sessions_without_keys_get_keys_of_their_own(task: TaskSpec, make_env: MakeEnv):
    memory = Memory(task, 3)
    observation, _ = make_env(3).reset(seed=0)
    memory.begin(np.arange(3), observation)
    first = memory.keys.tolist()
    memory.begin(np.arange(3), observation)
    assert len({*first, *memory.keys.tolist()}) == 6


def test_contexts_hold_the_newest_slates_last(played: tuple[SessionVectorEnv, Memory]):
    _, memory = played
    recent = memory.contexts(np.array([3, 1]), history=2)
    np.testing.assert_array_equal(recent.recent_items, memory.shown[[3, 1], 3:9])
    np.testing.assert_array_equal(recent.recent_feedback, memory.feedback[[3, 1], 3:9])
    longer = memory.contexts(np.array([3]), history=5)
    np.testing.assert_array_equal(longer.recent_items[0], [-1] * 6 + memory.shown[3, :9].tolist())
    seen = memory.counts[[3, 1]] > 0
    np.testing.assert_allclose(recent.feedback[seen], (memory.liked / np.maximum(memory.counts, 1))[[3, 1]][seen])
    assert (recent.feedback[~seen] == -1).all()


def test_liking_is_the_mean_chance_of_the_best_items_left(
    played: tuple[SessionVectorEnv, Memory], population: Population
):
    env, memory = played
    known, user = population.knowledge, env.state.user[1]
    chance = 1 / (1 + np.exp(-known.item_vectors @ known.tastes[user] - known.user_offsets[user]))
    left = np.setdiff1d(np.arange(60), memory.shown[1])
    membership = population.catalog.categories.membership
    expected = [np.sort(chance[left][membership[left, c]])[-BEST:].mean() for c in range(5)]
    np.testing.assert_allclose(memory.predicted_ctr(np.array([1]))[0], expected, rtol=1e-5)


def test_a_category_without_items_left_promises_nothing(task: TaskSpec, make_env: MakeEnv):
    memory = Memory(task, 1)
    memory.begin(np.arange(1), make_env(1).reset(seed=0)[0])
    category = task.axis.membership.sum(axis=0).argmin()
    members = np.flatnonzero(task.axis.membership[:, category])
    assert len(members) < memory.shown.shape[1]
    for shown, left in ((members[1:], True), (members, False)):
        memory.shown[0, : len(shown)] = shown
        memory.restore(memory.snapshot())
        assert (memory.predicted_ctr(np.array([0]))[0, category] > 0) == left
