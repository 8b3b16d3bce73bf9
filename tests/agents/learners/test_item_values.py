"""Learners over slates of item numbers: masks, bonuses, what they learn from, and that they learn."""

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lerl.agents.base import TaskSpec
from lerl.agents.config import OffPolicyConfig, TrainConfig
from lerl.agents.hierarchical import Hierarchy
from lerl.agents.learners.callback import Report
from lerl.agents.learners.encoders import build_encoder, layout_of
from lerl.agents.learners.item_values import ItemValuePolicy
from lerl.agents.learners.masked import eligible_in
from lerl.agents.learners.masks import best_eligible, drawn, explored, packed
from lerl.agents.learners.registry import (
    LEARNERS,
    check_learner,
    new_agent,
    new_model,
    new_scorer,
    new_view,
    set_spread,
)
from lerl.agents.learners.slates import dnair_bonus, popularity_of, sac4ir_bonus
from lerl.envs.config import Boredom, Drift, Fatigue, Leave
from lerl.envs.population import Population

SLATES = [name for name, learner in LEARNERS.items() if learner.slates]
STILL = {"drift": Drift(enabled=False), "boredom": Boredom(enabled=False), "fatigue": Fatigue(enabled=False)}
QUICK = TrainConfig(
    users=32, batch_size=64, hidden=32, history=4, gamma=0.8, log_std=0.0, learning_rate=3e-3,
    off_policy=OffPolicyConfig(buffer=10_000, learning_starts=800, gradient_steps=4),
)  # fmt: skip
masks = st.tuples(st.integers(1, 4), st.integers(1, 60), st.integers(0, 2**32 - 1))


def test_the_learners_over_slates_are_these():
    assert SLATES == ["dnair", "sac4ir", "slateq"]


@given(masks)
def test_masks_come_back_from_their_bits(shape: tuple[int, int, int]):
    users, items, seed = shape
    eligible = np.random.default_rng(seed).random((users, items)) < 0.5
    words = packed(eligible)
    assert words.shape == (users, -(-items // 24))
    layout = SimpleNamespace(features=2, history=0, vectors=np.zeros((items, 3), np.float32))
    seen = np.column_stack([np.ones((users, 2 + 3 + 1)), words, np.ones((users, 4))]).astype(np.float32)
    np.testing.assert_array_equal(eligible_in(torch.as_tensor(seen), layout).numpy(), eligible)  # type: ignore[arg-type]


@given(masks, st.integers(1, 6))
def test_the_best_eligible_are_those_of_a_full_sort(shape: tuple[int, int, int], k: int):
    users, items, seed = shape
    rng = np.random.default_rng(seed)
    scores = rng.integers(-3, 3, (users, items)).astype(np.float32)  # with ties
    eligible = rng.random((users, items)) < 0.5
    names, tops = np.empty((users, k), np.int32), np.empty((users, k), np.float32)
    best_eligible(scores, packed(eligible), names, tops)
    for b in range(users):
        order = sorted(np.flatnonzero(eligible[b]).tolist(), key=lambda item: (-scores[b, item], item))[:k]
        assert names[b].tolist() == order + [0] * (k - len(order))
        assert tops[b].tolist() == [scores[b, item] for item in order] + [-np.inf] * (k - len(order))


@given(masks, st.integers(1, 6))
def test_slates_drawn_and_explored_hold_each_eligible_item_once(shape: tuple[int, int, int], k: int):
    users, items, seed = shape
    rng = np.random.default_rng(seed)
    eligible = rng.random((users, items)) < 0.7
    words, uniform = packed(eligible), rng.random((users, k))
    of_softmax = drawn(uniform, (rng.normal(size=(users, items)) * 1e6).astype(np.float32), words)
    of_chance = explored(np.zeros((users, k), np.int32), words, np.ones((users, k), bool), uniform, items)
    for slates in (of_softmax, of_chance):
        for b in range(users):
            there = min(k, int(eligible[b].sum()))
            assert len(set(slates[b, :there].tolist())) == there
            assert eligible[b, slates[b, :there]].all()
            assert (slates[b, there:] == 0).all()  # item 0 stands in


def test_the_best_of_every_role_is_found_and_items_are_scored_once():
    rng, users, items = np.random.default_rng(0), 5, 30
    eligible, slots = rng.random((users, items)) < 0.3, rng.integers(-1, 3, items).astype(np.int8)
    eligible[0, slots == 1] = False
    layout = SimpleNamespace(features=2, history=0, vectors=np.zeros((items, 3), np.float32), slots=slots)
    seen = np.column_stack([np.ones((users, 2 + 3 + 1)), packed(eligible), np.ones((users, 4))]).astype(np.float32)
    scored, asked = rng.normal(size=(users, items)).astype(np.float32), list[int]()

    def scores(rows: Any) -> torch.Tensor:
        asked.extend(range(users)[rows])
        return torch.as_tensor(scored[rows])

    names, tops = ItemValuePolicy._best_of_roles(SimpleNamespace(layout=layout), torch.as_tensor(seen), scores)  # type: ignore[arg-type]
    assert asked == list(range(users))
    assert (names.shape, tops.shape) == ((users, 3), (users, 3))
    for b in range(users):
        for slot in range(3):
            able = np.where(eligible[b] & (slots == slot), scored[b], -np.inf)
            assert tops[b, slot] == able.max()
            assert names[b, slot] == able.argmax() or able.max() == -np.inf
    assert tops[0, 1] == -np.inf


def test_only_slots_with_a_coin_are_explored():
    """Of items 0 to 3, 1 is not eligible and 2 stays in its slot: 0 and 3 are left for the other."""
    words = packed(np.array([[True, False, True, True]] * 2))
    coins, draw = np.array([[False, True], [False, False]]), np.array([[0.0, 0.99], [0.0, 0.99]])
    assert explored(np.array([[2, 0], [2, 0]], np.int32), words, coins, draw, 4).tolist() == [[2, 3], [2, 0]]


def test_slates_are_drawn_by_the_softmax():
    """Chances 0.2, 0.3, 0.5: item 2 comes first in half, and second after 0 in 0.2 * 0.5 / 0.8, after 1 in 0.3 * 0.5 /
    0.7: 0.339. Standard errors of 20,000 draws are below 0.004."""
    logits = np.tile(np.log([0.2, 0.3, 0.5, 0.9]), (20_000, 1)).astype(np.float32)
    words = packed(np.tile([True, True, True, False], (20_000, 1)))
    slates = drawn(np.random.default_rng(0).random((20_000, 2)), logits, words)
    assert (slates[:, 0] == 2).mean() == pytest.approx(0.5, abs=0.012)
    assert (slates[:, 1] == 2).mean() == pytest.approx(0.2 * 0.5 / 0.8 + 0.3 * 0.5 / 0.7, abs=0.012)


@pytest.fixture(scope="module")
def tiny(by_hand: Callable[..., Population]) -> Population:
    """Two items that everybody likes by 2 in log-odds, two that nobody does; clicked 0, 9, 99 and 999 times."""
    people = by_hand([[1, 0], [1, 0], [-1, 0], [-1, 0]], [[2, 0]] * 4, [[1, 0], [1, 0], [0, 1], [0, 1]])
    popularity = (np.array([1, 10, 100, 1000]) / 1111).astype(np.float32)
    return replace(people, knowledge=replace(people.knowledge, popularity=popularity))


def of_two(population: Population, steps: int = 4) -> TaskSpec:
    return TaskSpec(population.catalog, population.knowledge, population.catalog.categories, 2, steps, 0)


def test_bonuses_are_those_of_the_papers(tiny: Population):
    """Quality is sigmoid(2) for the first two, sigmoid(-2) for the others; popularity 1, 10, 100, 1000."""
    task = of_two(tiny)
    np.testing.assert_allclose(popularity_of(task), [1, 10, 100, 1000], rtol=1e-4)
    liked, not_liked = 0.880797, 0.119203
    wanted = [
        0.1 * liked / np.log10(2.1),
        0.1 * liked / np.log10(11.1),
        0.1 * not_liked / np.log10(101.1),
        0.1 * not_liked / np.log10(1001.1),
    ]
    np.testing.assert_allclose(dnair_bonus(task), wanted, rtol=1e-4)
    np.testing.assert_allclose(
        sac4ir_bonus(task), [0.1 / (1 + np.log(x)) for x in (2.1, 11.1, 101.1, 1001.1)], rtol=1e-4
    )


class Tiny:
    """A learner among these users before it has learned: temperature 1, gamma 0.8 and so rewards times 0.2."""

    def __init__(self, name: str, population: Population, make_env: Any, repeats: bool = False) -> None:
        task = replace(of_two(population), repeats=repeats)
        self.encoder = build_encoder("categories", task, False, 0)
        env = make_env(2, of=population, slate_size=2, max_steps=4, topic_count=2, leave=Leave("never"), **STILL,
                       repeats=repeats)  # fmt: skip
        train = replace(QUICK, users=2)
        self.view = new_view(name, env, Hierarchy(task, 2, attentive=True), self.encoder, train)
        self.view.seed(1)
        self.model = new_model(name, self.view, train, 0)
        self.first = self.view.reset()

    def batch(self, feedback: list[float], reward: float, done: float) -> Any:
        """A liked and a disliked item shown to the first user; one of each is left."""
        slate = np.array([[0, 2], [0, 2]])
        later, *_ = self.view.step(slate)
        later[:, -2:] = feedback
        one = [torch.as_tensor(part[:1]) for part in (self.first, slate, later)]
        return SimpleNamespace(
            observations=one[0],
            actions=one[1],
            next_observations=one[2],
            rewards=torch.tensor([[reward]]),
            dones=torch.tensor([[done]]),
        )


def biased(network: Any, number: float) -> None:
    """Let a network say this of every session."""
    with torch.no_grad():
        network.query.bias[-1] = number


@pytest.mark.parametrize(
    ("done", "loss"),
    [
        # V of what is left is 0.3 + 0.2 * (0.881 + 0.119) / 2 = 0.4, times gamma 0.32. The click should have 0.2 + 0.32
        # and has 0.5 + 0.2, none should have 0.32 and has 0.5: both are 0.18 off, half of whose square is the loss.
        (0.0, 0.18**2 / 2),
        # Nothing comes later: 0.2 against 0.7 and 0 against 0.5.
        (1.0, 0.5**2 / 2),
    ],
)
def test_slateq_learns_from_clicks_and_from_none(tiny: Population, make_env: Any, done: float, loss: float):
    one = Tiny("slateq", tiny, make_env)
    biased(one.model.policy.values, 0.5)
    biased(one.model.policy.target, 0.3)
    found = one.model._backward(one.batch([1.0, 0.0], 0.1, done))
    assert found["loss"] == pytest.approx(loss, rel=1e-4)
    assert found["clicks_loss"] == pytest.approx(-np.log(0.880797), rel=1e-4)  # as surely clicked as the other not


def test_slateq_learns_nothing_from_an_empty_slot(tiny: Population, make_env: Any):
    """With the click alone, half of what the two slots bring."""
    one = Tiny("slateq", tiny, make_env)
    biased(one.model.policy.values, 0.5)
    biased(one.model.policy.target, 0.3)
    found = one.model._backward(one.batch([1.0, -1.0], 0.1, 0.0))
    assert found["loss"] == pytest.approx(0.18**2 / 4, rel=1e-4)


@pytest.mark.parametrize(("done", "target"), [(0.0, 0.3 + 0.8 * (0.4 + 0.1)), (1.0, 0.3)])
def test_dnair_learns_the_reward_and_the_mean_of_the_best(tiny: Population, make_env: Any, done: float, target: float):
    """At first a liked item is worth 0.2 * (0.5 + 0.25 * 2) = 0.2 and a disliked one 0: 0.1 a slate of both."""
    one = Tiny("dnair", tiny, make_env)
    biased(one.model.policy.target, 0.4)
    found = one.model._backward(one.batch([0.0, 0.0], 0.3, done))
    assert found["loss"] == pytest.approx((target - 0.1) ** 2 / 2, rel=1e-4)


def test_sac4ir_values_what_it_draws_and_its_entropy(tiny: Population, make_env: Any):
    """At temperature 1, one of each kind left: chances sigmoid(4) and the rest; values 0.3 and 0.1 by the lesser."""
    one = Tiny("sac4ir", tiny, make_env)
    batch = one.batch([0.0, 0.0], 0.3, 0.0)
    biased(one.model.policy.targets[0], 0.1)
    biased(one.model.policy.targets[1], 0.2)
    chance = 0.9820138
    entropy = -chance * np.log(chance) - (1 - chance) * np.log(1 - chance)
    value = chance * 0.3 + (1 - chance) * 0.1 + 0.05 * entropy
    found = one.model._soft_values(batch.next_observations, torch.tensor(0.05))
    assert found.tolist() == [[pytest.approx(value, rel=1e-4)]]
    assert one.model._actor_backward(batch.next_observations, torch.tensor(0.05)) == pytest.approx(entropy, rel=1e-3)
    assert one.model.target_entropy == pytest.approx(one.model.policy.entropy_at(0.0))
    everything = np.array([chance / 2] * 2 + [(1 - chance) / 2] * 2)  # nothing shown yet: all four items
    assert one.model.target_entropy == pytest.approx(-(everything * np.log(everything)).sum(), rel=1e-4)


def test_sac4ir_is_asked_for_the_spread_that_was_set(tiny: Population, make_env: Any):
    """At the temperature exp(-1) the odds of a liked item are those of 4 * e in log-odds."""
    model = Tiny("sac4ir", tiny, make_env).model
    set_spread(model, -1.0)
    chance = 1 / (1 + np.exp(-4 * np.e))
    everything = np.array([chance / 2] * 2 + [(1 - chance) / 2] * 2)
    assert model.target_entropy == pytest.approx(-(everything * np.log(everything)).sum(), rel=1e-4)


def test_the_actor_s_slopes_are_those_of_its_loss(tiny: Population, make_env: Any):
    one = Tiny("sac4ir", tiny, make_env)
    policy, seen, weight = one.model.policy, torch.as_tensor(one.first), torch.tensor(0.05)
    torch.nn.init.normal_(policy.actor.query.weight, std=0.3)
    logs = torch.log_softmax(policy.scores(seen)(slice(None)), dim=1)
    with torch.no_grad():
        values = policy.lesser_by(policy.critics, seen)(slice(None))
    loss = (logs.exp() * (weight * logs - values)).sum(dim=1)
    parameters = list(policy.actor.parameters())
    wanted = torch.autograd.grad(loss.mean(), parameters)
    one.model._actor_backward(seen, weight)
    for parameter, slope in zip(parameters, wanted, strict=True):
        assert slope.abs().max() > 0
        torch.testing.assert_close(parameter.grad, slope, atol=1e-6, rtol=1e-3)


def test_bonuses_are_learned_from_and_nothing_else(tiny: Population, make_env: Any):
    """Rewards that are learned from hold the bonus, those of whole sessions do not."""
    one = Tiny("dnair", tiny, make_env, repeats=True)
    learned, rewards = [], []
    step = one.view.env.step
    one.view.env.step = lambda slates: (found := step(slates), rewards.append(found[1]))[0]  # type: ignore[method-assign]
    for _ in range(4):
        _, reward, ended, infos = one.view.step(np.array([[0, 3], [1, 2]]))
        learned.append(reward)
    bonus = dnair_bonus(one.encoder.task)
    added = [(bonus[0] + bonus[3]) / 2, (bonus[1] + bonus[2]) / 2]
    np.testing.assert_allclose(np.array(learned), (np.array(rewards) + added) * 0.2, rtol=1e-5)
    assert ended.all()
    assert [info["episode"]["r"] for info in infos] == pytest.approx(np.sum(rewards, axis=0).tolist())


def test_observations_end_with_the_feedback_on_the_last_slate(tiny: Population, make_env: Any):
    """An item that was shown before is an empty slot."""
    one = Tiny("slateq", tiny, make_env)
    np.testing.assert_array_equal(one.first[:, -2:], -1)
    later, *_ = one.view.step(np.array([[0, 2], [0, 2]]))
    np.testing.assert_array_equal(later[:, -2:], one.view.hierarchy.memory.feedback[:, :2])
    assert np.isin(later[:, -2:], [0, 1]).all()
    later, *_ = one.view.step(np.array([[0, 3], [1, 3]]))
    assert later[0, -2] == -1
    assert later[1, -2] != -1
    eligible = eligible_in(torch.as_tensor(later), layout_of(one.encoder)).numpy()
    assert eligible.tolist() == [[False, True, False, False], [True, False, False, False]]  # the second: item 0 stands


@pytest.mark.parametrize("name", SLATES)
def test_stable_baselines_own_predict_shows_the_best(name: str, tiny: Population, make_env: Any):
    """Before anything is learned those are the liked items."""
    one = Tiny(name, tiny, make_env)
    assert one.model.predict(one.first)[0].tolist() == [[0, 1], [0, 1]]


@pytest.mark.parametrize("name", SLATES)
def test_it_learns_slates_of_what_everybody_likes(name: str, by_hand: Any, make_env: Any, play: Any):
    """12 items of each kind, liked by 0.88 and 0.12, nothing known of tastes; 3 slates of 3 without repeats.

    The best is 0.881, choosing at random brings 0.5. Asked: four fifths of the way; the standard error of 64 sessions
    is at most 0.5 / sqrt(64 * 9) = 0.021.
    """
    items = np.column_stack([np.repeat([-1.0, 1.0], 12), 0.2 * np.random.default_rng(0).normal(size=24)])
    people = by_hand(items, np.tile([2.0, 0.0], (16, 1)), np.repeat(np.eye(2), 12, axis=0))
    people = replace(people, knowledge=replace(people.knowledge, tastes=np.zeros((16, 3), np.float32)))
    task = TaskSpec(people.catalog, people.knowledge, people.catalog.categories, 3, 3, 0)
    encoder = build_encoder("categories", task, False, 0)
    train = replace(QUICK, start="nothing", log_std=-0.5, last_log_std=-2.0)

    def users(count: int) -> Any:
        return make_env(count, of=people, slate_size=3, max_steps=3, topic_count=2, leave=Leave("never"), **STILL)

    view = new_view(name, users(32), Hierarchy(task, 32, attentive=True), encoder, train)
    view.seed(5)
    spread = (train.log_std, train.last_log_std)
    callback = Report(lambda _: None, lambda _: None, spread)
    policy = new_model(name, view, train, 0).learn(3_000, callback=callback).policy
    agent = new_agent(Hierarchy(task, 64, attentive=True), new_scorer(policy, encoder, "nothing", False))
    slates, rewards = play(users(64), agent, seed=1000)
    assert rewards.mean() > 0.5 + 0.8 * (0.881 - 0.5)
    shown = np.sort(slates.transpose(1, 0, 2).reshape(64, 9), axis=1)
    assert (np.diff(shown, axis=1) > 0).all()  # nothing twice


@pytest.mark.parametrize("name", SLATES)
def test_catalogs_too_large_for_valuing_every_item_are_refused(name: str):
    check_learner("flat+x", name, 20_000, 6)
    with pytest.raises(ValueError, match=r"flat\+x chooses items by their number among at most 20000 items, the cat"):
        check_learner("flat+x", name, 20_001, 6)
