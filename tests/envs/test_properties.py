"""What holds in every world that may be set up: all mechanisms over their whole ranges, and any actions at all."""

import dataclasses
import functools
import pickle
import sys
from typing import Any, NamedTuple

import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from lerl.envs.config import SimulatorConfig
from lerl.envs.dynamics import LARGEST, Boredom, Drift, Fatigue, Patience, Satisfaction
from lerl.envs.leave import Leave, RepetitionWindow, SatisfactionHazard, StepBudget
from lerl.envs.population import Population
from lerl.envs.session import SessionEnv, SessionVectorEnv
from lerl.envs.simulator import UserSimulator
from lerl.envs.state import Outcome, State
from lerl.envs.synthetic import synthetic_population

HUGE = sys.float_info.max
SHARE = st.floats(0, 1)


def strength(most: float = HUGE) -> st.SearchStrategy[float]:
    """Strengths as they are set, and as they might be."""
    return st.floats(0, 3) | st.floats(0, most)


def lasting(least: float = 1e-9) -> st.SearchStrategy[float]:
    return st.floats(0.5, 50) | st.floats(least, HUGE)


DRIFTS = st.builds(
    Drift,
    enabled=st.booleans(),
    revert=SHARE,
    pull=SHARE,
    noise=strength(LARGEST),
    shift_probability=SHARE,
    shift_size=SHARE,
)
BOREDOMS = st.builds(Boredom, enabled=st.booleans(), weight=strength(), time_constant=lasting())
FATIGUES = st.builds(Fatigue, enabled=st.booleans(), weight=strength(), time_constant=lasting())
SATISFACTIONS = st.builds(Satisfaction, enabled=st.booleans(), rate=SHARE, initial=SHARE)
PATIENCES = st.builds(Patience, enabled=st.booleans(), spread=strength(10))
LEAVES = st.builds(
    Leave,
    rule=st.sampled_from(("satisfaction", "window", "budget", "never")),
    satisfaction=st.builds(SatisfactionHazard, highest=SHARE, threshold=SHARE, width=lasting()),
    window=st.builds(
        RepetitionWindow,
        window=st.integers(1, 12) | st.integers(1, 2**70),
        most=st.integers(0, 12) | st.integers(0, 2**70),
    ),
    budget=st.builds(
        StepBudget,
        budget=st.floats(1, 9) | st.floats(1e-9, LARGEST),
        step_cost=strength(LARGEST),
        repetition_cost=strength(LARGEST),
        repetition=st.sampled_from(("slot", "shared")),
    ),
)


@functools.cache
def people(items: int, categories: int) -> Population:
    return synthetic_population(users=12, items=items, categories=categories, dim=3)


class World(NamedTuple):
    population: Population
    config: SimulatorConfig
    count: int  # users side by side
    seed: int
    pool: int  # actions come from the first so many items: a small pool shows the same ones again and again

    def slates(self, steps: int) -> np.ndarray:
        """Actions (steps, B, k), with items twice in a slate and again in a session."""
        shape = (steps, self.count, self.config.slate_size)
        return np.random.default_rng(self.seed).integers(self.pool, size=shape)

    def simulator(self) -> UserSimulator:
        return UserSimulator(self.population, self.config)

    def start(self, simulator: UserSimulator) -> State:
        seeds = np.arange(self.seed, self.seed + self.count, dtype=np.uint64)
        return simulator.start(seeds, np.zeros(self.count, np.int64))


@st.composite
def worlds(draw: st.DrawFn) -> World:
    items = draw(st.sampled_from((2, 5, 24)))
    population = people(items, draw(st.sampled_from((1, 4))))
    config = SimulatorConfig(
        slate_size=draw(st.integers(1, min(items, 4))),
        max_steps=draw(st.integers(1, 6)),
        repeats=draw(st.booleans()),
        feedback=draw(st.sampled_from(("click", "rating"))),
        topics=draw(st.sampled_from(("hidden", "categories"))),
        topic_count=draw(st.integers(1, min(items, 5))),
        drift=draw(DRIFTS),
        boredom=draw(BOREDOMS),
        fatigue=draw(FATIGUES),
        satisfaction=draw(SATISFACTIONS),
        patience=draw(PATIENCES),
        leave=draw(LEAVES),
    )
    count, seed = draw(st.integers(1, 5)), draw(st.integers(0, 2**40))
    return World(population, config, count, seed, draw(st.integers(1, items)))


# Without Hypothesis' explanations, which take minutes for states of this size.
bounded = functools.partial(
    settings, deadline=None, derandomize=True, phases=(Phase.explicit, Phase.generate, Phase.shrink)
)


def parts(value: State | Outcome) -> dict[str, np.ndarray]:
    """Every array of a state or an outcome by name."""
    found: dict[str, np.ndarray] = {}
    for entry in dataclasses.fields(value):
        part = getattr(value, entry.name)
        found |= (
            {f"{entry.name}.{key}": array for key, array in part.items()}
            if isinstance(part, dict)
            else {entry.name: part}
        )
    return found


def same(one: State | Outcome, other: State | Outcome, rows: Any = slice(None)) -> None:
    """Asserts that `other` is, bit for bit, the given rows of `one`."""
    for name, array in parts(one).items():
        mine, theirs = np.ascontiguousarray(array[rows]), np.ascontiguousarray(parts(other)[name])
        assert (mine.dtype, mine.shape) == (theirs.dtype, theirs.shape), name
        assert mine.tobytes() == theirs.tobytes(), name


# one step after the other


@bounded(max_examples=240)
@given(worlds())
def test_the_state_stays_possible_and_what_is_off_stays_as_it_was(world: World):
    config, simulator = world.config, world.simulator()
    state = world.start(simulator)
    first = state.take(np.arange(len(state)))
    lengths = np.linalg.norm(first.anchor.astype(np.float64), axis=1)
    assert (state.patience > 0).all()
    assert np.isfinite(state.patience).all()
    for slates in world.slates(config.max_steps):
        before = state.take(np.arange(len(state)))
        outcome = simulator.step(state, slates)
        check_outcome(outcome, config)
        check_boredom(before, state, outcome, simulator)
        assert ((state.satisfaction >= 0) & (state.satisfaction <= 1)).all()
        assert ((state.fatigue >= before.fatigue) & (state.fatigue <= 1)).all()
        assert (np.diff([before.spent, state.spent], axis=0) >= 0).all()
        for taste in (state.anchor, state.response["taste"]):
            np.testing.assert_allclose(np.linalg.norm(taste.astype(np.float64), axis=1), lengths, rtol=1e-3)
        assert (state.active == ~(outcome.terminated | outcome.truncated)).all()
    mechanisms = {
        "drift": ("anchor", "response.taste"),
        "boredom": ("boredom",),
        "fatigue": ("fatigue",),
        "satisfaction": ("satisfaction",),
    }
    unmoved = [part for name, moved in mechanisms.items() if not getattr(config, name).enabled for part in moved]
    unmoved += ["seed", "session", "user", "patience", "response.offset"]
    unmoved += [] if config.leave.rule == "budget" else ["spent"]
    for part in unmoved:
        assert parts(state)[part].tobytes() == parts(first)[part].tobytes(), part
    assert config.patience.enabled or (state.patience == 1).all()


def check_outcome(outcome: Outcome, config: SimulatorConfig) -> None:
    empty = outcome.slates < 0
    allowed = (0, 1) if config.feedback == "click" else (0, 0.25, 0.5, 0.75, 1)
    assert np.isin(outcome.feedback[~empty], allowed).all()
    assert (outcome.feedback[empty] == -1).all()
    assert (outcome.chance[empty] == 0).all()
    for chance in (outcome.chance, outcome.leave_chance, outcome.reward):
        assert ((chance >= 0) & (chance <= 1)).all()
    assert not (outcome.terminated & outcome.truncated).any()


def check_boredom(before: State, after: State, outcome: Outcome, simulator: UserSimulator) -> None:
    """At least 0; it only rises where its topic was shown, by no more than its share, and only fades elsewhere."""
    assert np.isfinite(after.boredom).all()
    assert (after.boredom >= 0).all()
    topics = simulator.topics[outcome.slates]  # (B, k, M)
    fed = (topics[..., None] == np.arange(simulator.topic_count)) & (outcome.slates >= 0)[..., None, None]
    share = fed.any(axis=2).mean(axis=1)  # (B, K)
    assert (after.boredom <= before.boredom + share + 1e-5).all()
    assert (after.boredom[share == 0] <= before.boredom[share == 0]).all()


@bounded(max_examples=160)
@given(worlds())
def test_an_item_is_shown_unless_it_is_a_copy_and_everything_shown_is_counted(world: World):
    config, simulator = world.config, world.simulator()
    state = world.start(simulator)
    shown: list[list[int]] = [[] for _ in range(world.count)]
    for step, slates in enumerate(world.slates(config.max_steps)):
        given_slates = slates.copy()
        outcome = simulator.step(state, slates)
        assert (slates == given_slates).all()
        for user in range(world.count):
            excluded: set[int] = set() if config.repeats else {item for item in shown[user] if item >= 0}
            for slot, item in enumerate(slates[user].tolist()):
                assert outcome.slates[user, slot] == (-1 if item in excluded else item)
                excluded.add(item)
            shown[user] += outcome.slates[user].tolist()
            assert state.shown[user, : len(shown[user])].tolist() == shown[user]
            assert (state.shown[user, len(shown[user]) :] == -1).all()
        assert (state.steps == step + 1).all()
    there = state.shown >= 0
    member = world.population.catalog.categories.membership[state.shown] & there[..., None]
    assert (state.exposure == member.sum(axis=1)).all()
    assert (state.liked == np.where(member, state.feedback[..., None], 0).sum(axis=1)).all()
    with pytest.raises(ValueError, match=f"all {config.max_steps} steps"):
        simulator.step(state, slates)


@bounded(max_examples=120)
@given(worlds(), st.data())
def test_who_runs_beside_a_user_changes_no_bit(world: World, data: st.DataObject):
    """B users at once, some of them in another order, and each singly: the same sessions."""
    simulator = world.simulator()
    rows = np.array(data.draw(st.lists(st.integers(0, world.count - 1), min_size=1, max_size=world.count + 2)))
    whole, part = world.start(simulator), world.start(simulator).take(rows)
    singles = [world.start(simulator).take(np.array([user])) for user in range(world.count)]
    for slates in world.slates(world.config.max_steps):
        outcome = simulator.step(whole, slates)
        same(outcome, simulator.step(part, slates[rows]), rows)
        for user, state in enumerate(singles):
            same(outcome, simulator.step(state, slates[[user]]), [user])
    same(whole, part, rows)
    for user, state in enumerate(singles):
        same(whole, state, [user])


@bounded(max_examples=100)
@given(worlds(), st.data())
def test_a_state_can_be_taken_put_back_and_carried_away(world: World, data: st.DataObject):
    simulator, everyone = world.simulator(), np.arange(world.count)
    rows = np.array(data.draw(st.lists(st.sampled_from(everyone.tolist()), min_size=1, unique=True)))
    *shown, newest = world.slates(world.config.max_steps)
    state = world.start(simulator)
    for slates in shown:
        simulator.step(state, slates)
    kept = pickle.loads(pickle.dumps(state))
    same(state, kept)
    same(state, state.take(everyone))
    same(state, state.take(rows), rows)
    part = state.take(rows)
    outcome = simulator.step(part, newest[rows])  # looking ahead leaves the present as it was
    same(kept, state)
    state.put(rows, part)
    same(state, part, rows)
    others = np.setdiff1d(everyone, rows)
    same(state.take(others), kept.take(others))
    same(simulator.step(kept, newest), outcome, rows)
    same(kept, part, rows)


@bounded(max_examples=100)
@given(worlds(), DRIFTS, BOREDOMS, FATIGUES, SATISFACTIONS, PATIENCES, LEAVES)
def test_strengths_of_what_is_off_change_no_bit(
    world: World,
    drift: Drift,
    boredom: Boredom,
    fatigue: Fatigue,
    satisfaction: Satisfaction,
    patience: Patience,
    leave: Leave,
):
    """The strengths of mechanisms that are switched off, and of leave rules that were not chosen, mean nothing."""
    config = world.config
    changes: dict[str, Any] = {}
    drawn = {"drift": drift, "boredom": boredom, "fatigue": fatigue, "patience": patience}
    for name, other in drawn.items():
        if not getattr(config, name).enabled:
            changes[name] = dataclasses.replace(other, enabled=False)
    if not config.satisfaction.enabled:
        initial = config.satisfaction.initial  # what a session starts with counts all the same
        changes["satisfaction"] = dataclasses.replace(satisfaction, enabled=False, initial=initial)
    rule = config.leave.rule
    chosen = {} if rule == "never" else {rule: getattr(config.leave, rule)}
    changes["leave"] = dataclasses.replace(leave, rule=rule, **chosen)
    other = world._replace(config=dataclasses.replace(config, **changes))
    simulators = world.simulator(), other.simulator()
    states = [world.start(simulator) for simulator in simulators]
    for slates in world.slates(config.max_steps):
        one, two = (simulator.step(state, slates) for simulator, state in zip(simulators, states, strict=True))
        same(one, two)
    same(*states)


# the Gymnasium views


def equal(one: Any, other: Any) -> None:
    """Asserts that two observations or infos are the same to the bit; masks are of one user only."""
    other = {key: value for key, value in other.items() if key != "action_mask"}
    assert one.keys() == other.keys()
    for key, value in one.items():
        mine, theirs = np.asarray(value), np.asarray(other[key])
        assert mine.shape == theirs.shape, key
        assert mine.tobytes() == theirs.tobytes(), key


def row(arrays: dict[str, Any], slot: int) -> dict[str, Any]:
    """One slot's part of a vector environment's observations."""
    return {key: value[slot] for key, value in arrays.items()}


def of_slot(infos: dict[str, Any], slot: int) -> dict[str, Any]:
    """What one slot said, of a vector environment's infos."""
    kept = {key: value for key, value in infos.items() if f"_{key}" in infos and not key.startswith("final")}
    return {key: value[slot] for key, value in kept.items() if infos[f"_{key}"][slot]}


@bounded(max_examples=120)
@given(worlds(), st.booleans(), st.sampled_from(list(AutoresetMode)))
def test_a_slot_lives_in_every_autoreset_mode_what_a_single_environment_lives(
    world: World, reveal: bool, mode: AutoresetMode
):
    """Spaces are never left, and sessions begin anew when and only when the mode says."""
    how: dict[str, Any] = {"config": world.config, "reveal_hidden": reveal}
    many = SessionVectorEnv(world.population, world.count, autoreset_mode=mode, **how)
    single = [SessionEnv(world.population, **how) for _ in range(world.count)]
    observation, _ = many.reset(seed=world.seed)
    for slot, env in enumerate(single):
        equal(row(observation, slot), env.reset(seed=world.seed + slot)[0])
    ended = np.zeros(world.count, bool)
    for action in world.slates(12):
        action = action[:, 0] if world.config.slate_size == 1 else action
        assert action in many.action_space
        if mode == AutoresetMode.DISABLED and ended.any():
            with pytest.raises(ResetNeeded, match="autoreset is disabled"):
                many.step(action)
            observation, infos = many.reset(options={"reset_mask": ended.copy()})
            for slot in np.flatnonzero(ended):
                fresh, info = single[slot].reset()
                equal(row(observation, slot), fresh)
                equal(of_slot(infos, slot), info)
            ended[:] = False
        observation, reward, terminated, truncated, infos = many.step(action)
        assert observation in many.observation_space
        for slot, env in enumerate(single):
            if ended[slot] and mode == AutoresetMode.NEXT_STEP:
                expected = (*env.reset(), 0.0, False, False)
            else:
                seen, gain, left, cut, said = env.step(action[slot])
                assert seen in env.observation_space
                expected = (seen, said, gain, left, cut)
                if (left or cut) and mode == AutoresetMode.SAME_STEP:
                    equal(infos["final_obs"][slot], seen)
                    equal(of_slot(infos["final_info"], slot), said)
                    expected = (*env.reset(), gain, left, cut)
                elif mode == AutoresetMode.SAME_STEP:
                    assert "final_obs" not in infos or infos["final_obs"][slot] is None
            equal(row(observation, slot), expected[0])
            equal(of_slot(infos, slot), expected[1])
            assert (reward[slot], terminated[slot], truncated[slot]) == expected[2:]
        ended = terminated | truncated
        assert (many.state.active == ~ended).all() or mode == AutoresetMode.SAME_STEP
        assert many.state.active.all() or mode != AutoresetMode.SAME_STEP


@bounded(max_examples=120)
@given(worlds())
def test_nobody_steps_after_leaving_and_nobody_stays_beyond_the_cap(world: World):
    env = SessionEnv(world.population, config=world.config)
    env.reset(seed=world.seed)
    for step, action in enumerate(world.slates(world.config.max_steps)[:, 0]):
        action = action if world.config.slate_size > 1 else action[0]
        _, _, terminated, truncated, _ = env.step(action)
        assert truncated == (step + 1 == world.config.max_steps and not terminated)
        if terminated or truncated:
            break
    assert terminated or truncated
    assert not terminated or world.config.leave.rule != "never"
    for _ in range(2):
        with pytest.raises(ResetNeeded, match="after the session had ended"):
            env.step(action)
    assert env.reset()[0]["time_left"] == 1
    env.step(action)
