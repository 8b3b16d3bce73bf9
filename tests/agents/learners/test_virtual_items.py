"""Learning over virtual items: what PPO is given is what happened, runs repeat, and it learns."""

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback

from lerl.agents.base import TaskSpec
from lerl.agents.config import TrainConfig
from lerl.agents.hierarchical import HierarchicalAgent, Hierarchy
from lerl.agents.learners.callback import Report
from lerl.agents.learners.encoders import CategoryEncoder
from lerl.agents.learners.registry import load_policy, new_model, save_policy
from lerl.agents.learners.virtual_items import PolicyScorer, VirtualItemEnv, virtual_items
from lerl.envs.config import Boredom, Drift, Fatigue, Leave, SatisfactionHazard
from lerl.envs.population import Population
from lerl.envs.session import SessionVectorEnv
from lerl.planners.base import PlanContexts, Plans

MakeEnv = Callable[..., SessionVectorEnv]
Play = Callable[..., tuple[Any, Any]]
NEVER = Leave("never")
SMALL = TrainConfig(steps=64, users=4, rollout=8, batch_size=16, epochs=1, hidden=8)


def quiet(learner: object) -> None:
    """What is called around rollouts when nobody listens."""


class ByStep:
    """Allows the category whose number is the step's."""

    def plan(self, contexts: PlanContexts) -> Plans:
        allowed = np.arange(len(contexts.names)) == contexts.steps[:, None] % len(contexts.names)
        return Plans(allowed, np.zeros(allowed.shape, bool))


def virtual_env(task: TaskSpec, env: SessionVectorEnv, planner: Any = None, start: str = "taste") -> VirtualItemEnv:
    hierarchy = Hierarchy(task, env.num_envs, planner, attentive=True)
    virtual = VirtualItemEnv(env, hierarchy, CategoryEncoder(task, planner is not None), start, 0.1)
    virtual.seed(5)
    return virtual


class Watch(BaseCallback):
    """Holds, for every rollout, the log-probabilities kept in the buffer beside those of the buffer's own actions."""

    def __init__(self) -> None:
        super().__init__()
        self.pairs: list[tuple[Any, Any]] = []
        self.actions: list[Any] = []

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        buffer: Any = self.locals["rollout_buffer"]
        rows = buffer.observations.shape[0] * buffer.observations.shape[1]
        features, actions = buffer.observations.reshape(rows, -1), buffer.actions.reshape(rows, -1)
        with torch.no_grad():
            _, now, _ = self.model.policy.evaluate_actions(torch.as_tensor(features), torch.as_tensor(actions))
        self.pairs.append((buffer.log_probs.reshape(rows).copy(), now.numpy()))
        self.actions.append(actions.copy())


def test_the_buffer_holds_the_virtual_items_themselves(task: TaskSpec, make_env: MakeEnv):
    virtual, taken, watch = virtual_env(task, make_env(4), ByStep()), [], Watch()
    step = virtual.step_async
    virtual.step_async = lambda actions: (taken.append(actions.copy()), step(actions))[1]  # type: ignore[method-assign]
    new_model("ppo", virtual, SMALL, 0).learn(64, callback=watch)
    assert len(watch.pairs) == 2
    for kept, now in watch.pairs:
        np.testing.assert_allclose(kept, now, atol=1e-4)
    first = np.stack(taken[:8])  # (8 steps, 4 users, D)
    np.testing.assert_array_equal(watch.actions[0].reshape(first.shape), first)


def test_the_same_seed_gives_the_same_weights(task: TaskSpec, make_env: MakeEnv):
    def trained(seed: int) -> Any:
        model = new_model("ppo", virtual_env(task, make_env(4), ByStep()), SMALL, seed)
        model.learn(64, callback=Report(quiet, quiet, (-1.0, -2.0)))
        return torch.nn.utils.parameters_to_vector(model.policy.parameters()).detach().numpy()

    np.testing.assert_array_equal(trained(3), trained(3))
    assert np.abs(trained(3) - trained(4)).max() > 1e-3


def test_exploration_shrinks_as_said(task: TaskSpec, make_env: MakeEnv):
    seen = []
    after = lambda model: seen.append((model.num_timesteps, model.policy.log_std.detach().numpy().copy()))  # noqa: E731
    new_model("ppo", virtual_env(task, make_env(4)), SMALL, 0).learn(64, callback=Report(quiet, after, (-1.0, -3.0)))
    assert [steps for steps, _ in seen] == [32, 64]
    # Before the first rollout all training is ahead, before the second half of it.
    np.testing.assert_allclose([spread for _, spread in seen], [[-1.0] * 5, [-2.0] * 5])


def test_the_ends_of_sessions_are_told_apart(task: TaskSpec, make_env: MakeEnv):
    """Leaving is an end, the cap is not: there the last observation holds the next plan."""
    env = make_env(12, leave=Leave(satisfaction=SatisfactionHazard(highest=0.3, threshold=0.9)))
    virtual, happened = virtual_env(task, env, ByStep()), []
    step = env.step

    def recorded(slates: Any) -> Any:
        happened.append(step(slates))
        return happened[-1]

    env.step = recorded  # type: ignore[method-assign]
    features = virtual.reset()
    lengths, returns = np.zeros(12, int), np.zeros(12)
    time, plan = 5 * 5 + 2 * 5 + 2, slice(5 * 5 + 2 * 5 + 3, 5 * 5 + 2 * 5 + 8)  # 5 categories, vectors of length 5
    seen = {"left": 0, "cut": 0}
    for _ in range(30):
        features, rewards, dones, infos = virtual.step(np.zeros((12, 5), np.float32))
        _, true_rewards, terminated, truncated, _ = happened[-1]
        lengths += 1
        returns += true_rewards
        np.testing.assert_array_equal(dones, terminated | truncated)
        np.testing.assert_allclose(rewards, 0.1 * true_rewards, rtol=1e-6)
        for row in range(12):
            if not dones[row]:
                assert infos[row] == {}
                assert features[row, plan].argmax() == lengths[row] % 5  # the next plan is there to see
                continue
            length = int(lengths[row])
            assert infos[row]["TimeLimit.truncated"] == truncated[row] == ("terminal_observation" in infos[row])
            assert infos[row]["episode"]["l"] == length
            assert infos[row]["episode"]["r"] == pytest.approx(returns[row])
            if truncated[row]:
                last = infos[row]["terminal_observation"]
                assert last[time] == pytest.approx(1 - length / 6, abs=1e-6)
                assert last[plan].argmax() == length % 5
                assert last[-1] == 0  # age of the plan
            assert features[row, time] == 1  # the next session has begun
            assert features[row, plan].argmax() == 0
            seen["cut" if truncated[row] else "left"] += 1
        lengths[dones], returns[dones] = 0, 0
    assert min(seen.values()) > 5


def test_no_action_from_the_taste_is_greedy_by_taste(task: TaskSpec, make_env: MakeEnv, play: Play):
    greedy, _ = play(make_env(4, leave=NEVER), HierarchicalAgent(Hierarchy(task, 4)), seed=5)
    env, shown = make_env(4, leave=NEVER), []
    virtual = virtual_env(task, env)
    step = env.step
    env.step = lambda slates: (shown.append(slates), step(slates))[1]  # type: ignore[method-assign]
    virtual.reset()
    for _ in range(6):
        virtual.step(np.zeros((4, 5), np.float32))
    np.testing.assert_array_equal(np.stack(shown), greedy)


def test_one_unit_of_an_action_moves_scores_by_one_deviation(task: TaskSpec):
    hierarchy, encoder = Hierarchy(task, 2, attentive=True), CategoryEncoder(task, False)
    actions = np.zeros((2, 5), np.float32)
    actions[1, 3] = 1
    queries = virtual_items(actions, hierarchy, encoder, "nothing")
    scores = queries @ task.knowledge.item_vectors.T
    assert not scores[0].any()
    assert scores[1].std() == pytest.approx(1, rel=1e-5)


@pytest.fixture(scope="module")
def model(task: TaskSpec, make_env: MakeEnv) -> PPO:
    """A policy after a little training, so that it says something."""
    return new_model("ppo", virtual_env(task, make_env(4)), replace(SMALL, learning_rate=0.05), 0).learn(64)


def test_noise_does_not_depend_on_the_arrangement(task: TaskSpec, make_env: MakeEnv, model: PPO):
    observation, _ = make_env(6).reset(seed=2)
    keys, order = np.arange(6, dtype=np.uint64) + 50, np.array([3, 0, 5, 1, 4, 2])

    def points(rows: Any, deterministic: bool) -> Any:
        hierarchy = Hierarchy(task, len(rows), attentive=True)
        part = {name: value[rows] for name, value in observation.items()}
        hierarchy.begin(np.arange(len(rows)), part, keys[rows])
        scorer = PolicyScorer(model.policy, CategoryEncoder(task, False), "taste", deterministic)
        return scorer(hierarchy)

    plain = points(np.arange(6), False)
    np.testing.assert_array_equal(points(np.arange(6), False), plain)
    np.testing.assert_allclose(points(order, False), plain[order], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(points(order[:2], False), plain[order[:2]], rtol=1e-4, atol=1e-4)
    noise = (plain - points(np.arange(6), True)) * CategoryEncoder(task, False).scale
    assert len(np.unique(noise.round(4))) == noise.size  # every session and coordinate has its own


def test_a_policy_kept_on_disk_does_the_same(task: TaskSpec, make_env: MakeEnv, model: PPO, play: Play, tmp_path: Path):
    encoder = CategoryEncoder(task, False)
    save_policy(model.policy, tmp_path / "policy.pt")
    assert [path.name for path in tmp_path.iterdir()] == ["policy.pt"]
    again = load_policy(tmp_path / "policy.pt", "ppo", encoder, SMALL)
    slates = []
    for policy in (model.policy, again):
        scorer = PolicyScorer(policy, encoder, "taste", deterministic=False)
        agent = HierarchicalAgent(Hierarchy(task, 8, attentive=True), scorer)
        slates.append(play(make_env(8, leave=NEVER), agent)[0])
    np.testing.assert_array_equal(*slates)


class Evil:
    """Does something when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_a_policy_file_with_code_in_it_is_refused_and_nothing_runs(task: TaskSpec, tmp_path: Path):
    torch.save({"weights": Evil(tmp_path / "ran")}, tmp_path / "policy.pt")
    with pytest.raises(pickle.UnpicklingError, match=r"[Ww]eights.only"):
        load_policy(tmp_path / "policy.pt", "ppo", CategoryEncoder(task, False), SMALL)
    assert not (tmp_path / "ran").exists()


def test_settings_of_one_slot_are_refused(task: TaskSpec, make_env: MakeEnv):
    virtual = virtual_env(task, make_env(2))
    with pytest.raises(NotImplementedError, match="slots share one environment"):
        virtual.set_attr("x", 1)
    with pytest.raises(NotImplementedError, match="slots share one environment"):
        virtual.env_method("reset")
    assert virtual.env_is_wrapped(object) == [False, False]


def test_it_learns_what_everybody_likes(by_hand: Callable[..., Population], make_env: MakeEnv, play: Play):
    """Half the items are in the one category that everybody likes (0.88 against 0.12); nothing is known of tastes."""
    draw = np.random.default_rng(0)
    items = np.column_stack([np.repeat([1.0, -1.0], 40), 0.2 * draw.normal(size=80)])
    people = by_hand(items, np.tile([2.0, 0.0], (16, 1)), np.repeat(np.eye(2), 40, axis=0))
    unknown = replace(people.knowledge, tastes=np.zeros((16, 3), np.float32))
    task = TaskSpec(people.catalog, unknown, people.catalog.categories, 2, 8, 0)
    still = {"drift": Drift(enabled=False), "boredom": Boredom(enabled=False), "fatigue": Fatigue(enabled=False)}

    def users(count: int) -> SessionVectorEnv:
        of = replace(people, knowledge=unknown)
        return make_env(count, of=of, slate_size=2, max_steps=8, topic_count=2, leave=NEVER, **still)

    def reward(model: PPO) -> float:
        scorer = PolicyScorer(model.policy, CategoryEncoder(task, False), "nothing", deterministic=False)
        agent = HierarchicalAgent(Hierarchy(task, 64, attentive=True), scorer)
        return float(play(users(64), agent, seed=1000)[1].mean())

    settings = TrainConfig(
        users=32, rollout=8, batch_size=64, epochs=4, hidden=16, log_std=-0.5, last_log_std=-2.0, learning_rate=3e-3
    )
    model = new_model("ppo", virtual_env(task, users(32), start="nothing"), settings, 0)
    before = reward(model)
    model.learn(6_000, callback=Report(quiet, quiet, (-0.5, -2.0)))
    assert before == pytest.approx(0.5, abs=0.1)  # it starts as random does
    assert reward(model) > 0.8
