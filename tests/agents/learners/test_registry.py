"""The contract of every learner: batch equals singles, runs repeat, what is obvious is learned, files do the same."""

import copy
import functools
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from lerl.agents.base import TaskSpec
from lerl.agents.config import OffPolicyConfig, TrainConfig
from lerl.agents.hierarchical import Hierarchy
from lerl.agents.learners.callback import Report
from lerl.agents.learners.encoders import build_encoder
from lerl.agents.learners.registry import (
    LEARNERS,
    check_device,
    check_learner,
    load_policy,
    new_agent,
    new_model,
    new_scorer,
    new_view,
    save_policy,
)
from lerl.agents.learners.virtual_items import NEAR
from lerl.envs.config import Boredom, Drift, Fatigue, Leave, SatisfactionHazard
from lerl.envs.population import Population
from lerl.envs.session import SessionVectorEnv
from lerl.planners.rules import build_planner

MakeEnv = Callable[..., SessionVectorEnv]
Play = Callable[..., tuple[Any, Any]]
NEVER = Leave("never")
STILL = {"drift": Drift(enabled=False), "boredom": Boredom(enabled=False), "fatigue": Fatigue(enabled=False)}

SMALL = TrainConfig(
    steps=160, users=4, rollout=8, batch_size=16, epochs=1, hidden=8, history=5, learning_rate=0.01,
    off_policy=OffPolicyConfig(buffer=400, learning_starts=16, gradient_steps=1),
)  # fmt: skip
EVERY = [(name, "categories") for name in LEARNERS]
EVERY_NETWORK = EVERY + [(name, encoder) for encoder in ("gru", "transformer") for name in LEARNERS]
every = pytest.mark.parametrize(("name", "encoder"), EVERY)
every_network = pytest.mark.parametrize(("name", "encoder"), EVERY_NETWORK)


def quiet(learner: object) -> None:
    """What is called around rollouts when nobody listens."""


def slate_size(name: str) -> int:
    return 3 if LEARNERS[name].reach or LEARNERS[name].slates else 1


class World:
    """One task for one learner: its users, its training and its agents."""

    def __init__(self, name: str, task: TaskSpec, make: Callable[[int], SessionVectorEnv], train: TrainConfig) -> None:
        self.name, self.task, self.make, self.train = name, task, make, train
        self.planner: Any = None

    @property
    def on_policy(self) -> bool:
        return not LEARNERS[self.name].off_policy

    @functools.cached_property
    def encoder(self) -> Any:
        return build_encoder(self.train.encoder, self.task, self.planner is not None, self.train.history)

    def learn(self, steps: int, seed: int = 0) -> Any:
        users = self.train.users
        hierarchy = Hierarchy(self.task, users, self.planner, attentive=True)
        view = new_view(self.name, self.make(users), hierarchy, self.encoder, self.train)
        view.seed(5)
        model = new_model(self.name, view, self.train, seed)
        spread = (self.train.log_std, self.train.last_log_std)
        return model.learn(steps, callback=Report(quiet, quiet, spread)) if steps else model

    def agent(self, policy: Any, count: int) -> Any:
        hierarchy = Hierarchy(self.task, count, self.planner, attentive=True)
        return new_agent(hierarchy, new_scorer(policy, self.encoder, self.train.start, deterministic=False))


@pytest.fixture(scope="module")
def world(task: TaskSpec, make_env: MakeEnv) -> Callable[[str, str], World]:
    """40 users, 60 items in 5 categories, two of which the planner allows at each step."""

    def made(name: str, encoder: str) -> World:
        k = slate_size(name)
        own = replace(task, slate_size=k, max_steps=6)
        one = World(
            name, own, lambda count: make_env(count, slate_size=k, leave=NEVER), replace(SMALL, encoder=encoder)
        )
        one.planner = build_planner("boredom", 2, 0)
        return one

    return made


@pytest.fixture(scope="module")
def trained(world: Callable[[str, str], World]) -> Callable[[str, str], tuple[World, Any]]:
    """Every learner after a little training, so that it says something."""

    @functools.cache
    def made(name: str, encoder: str) -> tuple[World, Any]:
        one = world(name, encoder)
        return one, one.learn(SMALL.steps).policy

    return made


@pytest.mark.parametrize("name", [name for name, learner in LEARNERS.items() if learner.slates])
def test_slates_that_drove_people_away_are_learned_from(
    name: str, world: Callable[[str, str], World], make_env: MakeEnv
):
    """A slate's feedback is part of the next observation, whoever has left after it."""
    one, k = world(name, "categories"), slate_size(name)
    leave = Leave(satisfaction=SatisfactionHazard(highest=0.3, threshold=0.9))
    one.make = lambda count: make_env(count, slate_size=k, leave=leave)
    buffer = one.learn(160).replay_buffer
    count = buffer.size()
    left = (buffer.dones[:count] == 1) & (buffer.timeouts[:count] == 0)
    assert left.sum() > 3
    assert (buffer.next_observations[:count][left][:, -k:] >= 0).any(axis=1).all()


@every_network
def test_batch_equals_singles(name: str, encoder: str, trained: Any, play: Play):
    """Network outputs differ by float32 rounding between batch sizes (below 1e-5 here); slates do not differ."""
    one, policy = trained(name, encoder)
    seeds = np.arange(7)
    together, rewards = play(one.make(7), one.agent(policy, 7), seed=20)
    for row in seeds.tolist():
        env, agent = one.make(1), one.agent(policy, 1)
        observation, _ = env.reset(seed=20 + row)
        agent.begin(np.arange(1), observation, np.array([100 + row], np.uint64))  # as `play` counts keys
        for step in range(6):
            slates = agent.act(observation)
            np.testing.assert_array_equal(slates[0], together[step, row])
            observation, reward, *_ = env.step(slates)
            assert reward[0] == rewards[step, row]


@every
def test_the_same_seed_gives_the_same_weights_and_actions(name: str, encoder: str, world: Any, play: Play):
    def run(seed: int) -> tuple[Any, Any]:
        one = world(name, encoder)
        policy = one.learn(SMALL.steps, seed).policy
        weights = torch.cat([value.flatten() for value in policy.state_dict().values()]).numpy()
        return weights, play(one.make(6), one.agent(policy, 6))[0]

    first, again, other = run(3), run(3), run(4)
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert np.abs(first[0] - other[0]).max() > 1e-3


@every_network
def test_a_policy_kept_on_disk_does_the_same(name: str, encoder: str, trained: Any, play: Play, tmp_path: Path):
    one, policy = trained(name, encoder)
    save_policy(policy, tmp_path / "policy.pt")
    again = load_policy(tmp_path / "policy.pt", name, one.encoder, one.train)
    slates = [play(one.make(8), one.agent(each, 8))[0] for each in (policy, again)]
    np.testing.assert_array_equal(*slates)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is seen here")
@every_network
def test_a_gpu_says_what_the_cpu_says(name: str, encoder: str, trained: Any):
    one, policy = trained(name, encoder)
    hierarchy = Hierarchy(one.task, 8, one.planner, attentive=True)
    hierarchy.begin(np.arange(8), one.make(8).reset(seed=3)[0], np.arange(8, dtype=np.uint64))
    eligible = () if LEARNERS[name].reach else (hierarchy.eligible()[0],)
    cpu, gpu = (
        new_scorer(copy.deepcopy(policy).to(device), one.encoder, one.train.start, deterministic=True)(
            hierarchy, *eligible
        )
        for device in ("cpu", "cuda")
    )
    np.testing.assert_allclose(gpu, cpu, rtol=1e-4, atol=1e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is seen here")
@pytest.mark.filterwarnings("ignore:You are trying to run")  # small networks are no faster there, says the library
@every_network
def test_learning_on_a_gpu_ends_in_a_policy_for_the_cpu(
    name: str, encoder: str, world: Any, play: Play, tmp_path: Path
):
    one = world(name, encoder)
    one.train = replace(one.train, device="cuda")
    policy = one.learn(SMALL.steps).policy
    assert policy.device.type == "cuda"
    save_policy(policy, tmp_path / "policy.pt")
    kept = load_policy(tmp_path / "policy.pt", name, one.encoder, one.train)
    assert kept.device.type == "cpu"
    play(one.make(8), one.agent(kept, 8))


def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert check_device("cpu") == "cpu"
    with pytest.raises(ValueError, match=r"train\.device is 'cuda', but PyTorch sees no GPU here; set it to cpu"):
        check_device("cuda")


@every
def test_an_untrained_policy_shows_what_taste_says(
    name: str, encoder: str, task: TaskSpec, make_env: MakeEnv, play: Play
):
    k = slate_size(name)
    still = replace(SMALL, log_std=-20.0, encoder=encoder)
    one = World(name, replace(task, slate_size=k), lambda count: make_env(count, slate_size=k, leave=NEVER), still)
    untrained, _ = play(one.make(8), one.agent(one.learn(0).policy, 8))
    greedy, _ = play(one.make(8), new_agent(Hierarchy(one.task, 8), None))
    assert (untrained == greedy).mean() > 0.8  # last layers start near zero, not at it


# What is obvious. Two kinds of items, which the first coordinate of their vectors separates; tastes are unknown.
ITEMS, LONG = 24, 8
QUICK = TrainConfig(
    users=32, rollout=8, batch_size=64, epochs=4, hidden=32, history=4, gamma=0.8, start="nothing",
    log_std=-0.5, last_log_std=-2.0, learning_rate=3e-3,
    off_policy=OffPolicyConfig(buffer=10_000, learning_starts=800, gradient_steps=4, noise=0.7),
)  # fmt: skip
TUNED: dict[str, dict[str, Any]] = {
    "a2c": {"users": 8, "rollout": 4},
    "maskable_ppo": {"log_std": 0.0, "last_log_std": -1.0},
    "hac": {"learning_rate": 0.01},
}


class Alternating:
    """A user bored after one item: 0.9 for an item of the other kind than the last one, 0.1 for one of the same."""

    def __init__(self, population: Population) -> None:
        self.kind = population.truth.item_vectors[:, 0] > 0

    def init(self, users: Any) -> Any:
        return {"last": np.full(len(users), -1, np.float32)}

    def score(self, state: Any, items: Any) -> Any:
        return np.where(self.kind[items] == state["last"][:, None], 0.1, 0.9)

    def advance(self, state: Any, items: Any, feedback: Any) -> Any:
        return {"last": np.where(items[:, 0] >= 0, self.kind[items[:, 0]], state["last"]).astype(np.float32)}


@pytest.fixture(scope="module")
def obvious(by_hand: Callable[..., Population], make_env: MakeEnv) -> Any:
    """Worlds of users who all like the items of the second kind (0.88 against 0.12), or who want change.

    The kind comes second so that ties, which go to the lower number, do not find it.
    """
    module = ModuleType("obvious_users")
    module.Alternating = Alternating  # type: ignore[attr-defined]
    draw = np.random.default_rng(0)
    items = np.column_stack([np.repeat([-1.0, 1.0], ITEMS // 2), 0.2 * draw.normal(size=ITEMS)])
    people = by_hand(items, np.tile([2.0, 0.0], (16, 1)), np.repeat(np.eye(2), ITEMS // 2, axis=0))
    unknown = replace(people, knowledge=replace(people.knowledge, tastes=np.zeros((16, 3), np.float32)))
    task = TaskSpec(unknown.catalog, unknown.knowledge, unknown.catalog.categories, 1, LONG, 0)
    shape = {"of": unknown, "slate_size": 1, "max_steps": LONG, "topic_count": 2, "leave": NEVER} | STILL

    def made(name: str, encoder: str, response: str) -> World:
        sys.modules["obvious_users"] = module
        train = replace(QUICK, encoder=encoder, **TUNED.get(name, {}))
        return World(name, task, lambda count: make_env(count, response=response, **shape), train)

    yield made
    sys.modules.pop("obvious_users", None)


def reward_of(one: World, policy: Any, play: Play) -> float:
    """Mean reward per step of 64 sessions; its standard error is at most 0.5 / sqrt(64 * 8) = 0.022."""
    return float(play(one.make(64), one.agent(policy, 64), seed=1000)[1].mean())


@every
def test_it_learns_the_one_category_that_everybody_likes(name: str, encoder: str, obvious: Any, play: Play):
    """The best is 0.881, sigmoid(2), at every step; choosing at random brings 0.5. Asked: four fifths of the way."""
    one = obvious(name, encoder, "latent")
    reward = reward_of(one, one.learn(6_000 if one.on_policy else 3_000).policy, play)
    assert reward > 0.5 + 0.8 * (0.881 - 0.5)


@pytest.mark.parametrize(
    ("name", "encoder"),
    [*EVERY, ("ppo", "gru"), ("ppo", "transformer"), ("dqn", "gru"), ("sac", "transformer"), ("td3", "gru")],
)
def test_it_learns_to_alternate_for_users_bored_after_one_item(name: str, encoder: str, obvious: Any, play: Play):
    """The best is 0.9 at every step. Whoever ignores what was shown last gets 0.9 once and then p * p + q * q of 0.1
    and the rest of 0.9, at most 0.5: (0.9 + 7 * 0.5) / 8 = 0.55 over a session. Asked: half the way above that."""
    one = obvious(name, encoder, "obvious_users:Alternating")
    reward = reward_of(one, one.learn(8_000 if one.on_policy else 4_000).policy, play)
    assert reward > 0.55 + 0.5 * (0.9 - 0.55)


DISCRETE = ["maskable_ppo", "dqn"]


@pytest.mark.parametrize("name", [name for name, learner in LEARNERS.items() if learner.reach is None])
def test_ineligible_items_are_never_shown_in_training_or_after(name: str, world: Any, play: Play):
    """Every item shown was eligible when it was shown; what eligible means is tested in test_hierarchical.py."""
    one = world(name, "categories")
    shown: list[tuple[Any, Any, Any]] = []

    def recorded(count: int, make: Any = one.make) -> Any:
        env = make(count)
        step = env.step
        env.step = lambda slates: (shown.append((slates, *hierarchies[-1].eligible())), step(slates))[1]
        return env

    hierarchies: list[Hierarchy] = []
    begin = Hierarchy.begin

    def remembered(self: Hierarchy, *arguments: Any) -> None:
        hierarchies.append(self)
        begin(self, *arguments)

    one.make = recorded
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Hierarchy, "begin", remembered)
        policy = one.learn(SMALL.steps).policy
        trained_on = len(shown)
        play(one.make(8), one.agent(policy, 8))
    assert trained_on == SMALL.steps // SMALL.users
    assert len(shown) == trained_on + 6
    for slates, eligible, widened in shown:
        assert np.take_along_axis(eligible, slates, axis=1).all()
        assert not eligible.all(axis=1).any()
        assert not widened.any()


def test_targets_of_dqn_are_over_what_may_come_next(world: Any):
    """The Q-values that a target maximises are those of the next observation's own eligible items."""
    one = world("dqn", "categories")
    model = one.learn(SMALL.steps)
    view = model.env
    with torch.no_grad():
        values = model.q_net_target(torch.as_tensor(view.reset())).numpy()
        after, *_ = view.step(np.isfinite(values).argmax(axis=1))
        later = model.q_net_target(torch.as_tensor(after)).numpy()
    np.testing.assert_array_equal(np.isfinite(later), view.hierarchy.eligible()[0])
    assert (np.isfinite(values) != np.isfinite(later)).any()
    kept = model.replay_buffer.sample(64)
    with torch.no_grad():
        assert torch.isfinite(model.q_net(kept.observations).gather(1, kept.actions.long())).all()


def test_a_small_temperature_does_not_break_the_mask(world: Any):
    one = world("maskable_ppo", "categories")
    one.train = replace(one.train, log_std=-20.0)
    model = one.learn(0)
    observation = torch.as_tensor(model.env.reset())
    masks = np.stack(model.env.env_method("action_masks"))
    distribution = model.policy.get_distribution(observation, masks).distribution
    assert masks[np.arange(4), distribution.probs.argmax(dim=1)].all()
    assert torch.isfinite(distribution.log_prob(distribution.sample())).all()


def test_a_restored_view_has_the_masks_of_its_snapshot(world: Any):
    one = world("maskable_ppo", "categories")
    view, other = one.learn(0).env, one.learn(0).env
    view.reset()
    view.step(np.array([mask.argmax() for mask in view.env_method("action_masks")]))
    other.restore(view.snapshot())
    masks = np.stack(view.env_method("action_masks"))
    assert not masks.all()
    np.testing.assert_array_equal(np.stack(other.env_method("action_masks")), masks)


def test_what_maskable_ppo_records_is_the_chance_among_the_eligible(world: Any):
    one = world("maskable_ppo", "categories")
    model = one.learn(SMALL.steps)
    buffer = model.rollout_buffer
    data = next(iter(buffer.get(None)))
    assert data.action_masks.sum(dim=1).max() < 60
    logits = model.policy.get_distribution(data.observations, data.action_masks).distribution.logits
    chances = torch.where(data.action_masks.bool(), logits.exp(), 0.0).sum(dim=1)
    torch.testing.assert_close(chances, torch.ones_like(chances))


def test_buffers_hold_what_was_chosen(world: Any):
    """Off-policy learners learn from the action that retrieval matched, in units of the reach."""
    one = world("td3", "categories")
    taken: list[Any] = []
    hierarchy = Hierarchy(one.task, 4, one.planner, attentive=True)
    view = new_view("td3", one.make(4), hierarchy, one.encoder, one.train)
    view.seed(5)
    step = view.step_async
    view.step_async = lambda actions: (taken.append(actions.copy()), step(actions))[1]  # type: ignore[method-assign]
    model = new_model("td3", view, one.train, 0).learn(SMALL.steps)
    kept = model.replay_buffer.actions[: len(taken)]  # (steps, 4 users, D)
    np.testing.assert_allclose(NEAR * kept, np.stack(taken), atol=1e-5)


@pytest.mark.parametrize("name", DISCRETE)
@pytest.mark.parametrize(
    ("items", "slate_size", "message"),
    [
        (
            100,
            6,
            r"flat\+x chooses one item by its number, so env\.slate_size must be 1, given 6; set it, or learn over",
        ),
        (2001, 1, r"among at most 2000 items, the catalog has 2001; use a smaller one, or learn over virtual items"),
    ],
)
def test_tasks_too_large_for_choosing_by_number_are_refused(name: str, items: int, slate_size: int, message: str):
    with pytest.raises(ValueError, match=message):
        check_learner("flat+x", name, items, slate_size)
    check_learner("flat+x", name, 2000, 1)
    check_learner("flat+x", "sac", items, slate_size)


def test_sac_is_asked_for_the_spread_that_was_set(world: Any):
    """At the target, the entropy of 5 normal variables with a standard deviation of exp(-1.5), in units of 1."""
    model = world("sac", "categories").learn(0)
    expected = 5 * (0.5 * np.log(2 * np.pi * np.e) + np.log(np.exp(-1.5)))
    assert model.target_entropy == pytest.approx(expected)
    first = model.policy.actor.get_action_dist_params(torch.as_tensor(model.env.reset()))[1]
    np.testing.assert_allclose(first.detach().numpy(), -1.5, atol=0.1)
