"""Composite slates: roles, what items do to each other, and what is said of the whole."""

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import lerl  # noqa: F401 - registers
from lerl.envs.composite import complement, complements, read_roles
from lerl.envs.config import Complement, SimulatorConfig
from lerl.envs.session import SessionEnv, SessionVectorEnv
from lerl.envs.simulator import UserSimulator
from lerl.envs.synthetic import synthetic_population

ROLES = ["top", "bottom"]
PEOPLE = synthetic_population(40, 30, 4, 8, roles=ROLES)
HOW = {"slate_size": 2, "roles": ROLES, "repeats": True, "max_steps": 6, "leave": "never"}


def pairs(count: int, seed: int = 0) -> np.ndarray:
    """Slates (B, 2) with an item of each role."""
    roles, rng = read_roles(ROLES, PEOPLE.catalog, 2), np.random.default_rng(seed)
    assert roles is not None
    return np.stack([rng.choice(np.flatnonzero(roles.slot_of == slot), count) for slot in range(2)], axis=1)


def test_the_environment_passes_gymnasiums_checker_and_shows_the_whole() -> None:
    env = gymnasium.make("lerl/Composite-v0", users=40, items=30)
    check_env(env.unwrapped, skip_render_check=True)
    env.reset(seed=3)
    seen = [env.step(_fitting(env))[0]["recent_whole"] for _ in range(5)]
    assert seen[-1].shape == (20,)
    assert set(seen[-1][-5:].tolist()) <= {0.0, 1.0}
    assert (seen[-1][:-5] == -1).all()


def _fitting(env: gymnasium.Env) -> np.ndarray:
    """The first item that the mask lets into each slot."""
    return env.unwrapped.action_masks().reshape(2, -1).argmax(axis=1)


def test_slots_beside_each_other_live_what_single_environments_live() -> None:
    many = SessionVectorEnv(PEOPLE, 3, **HOW, complement={"pair": 1.0, "user_pair": 1.0})
    ones = [SessionEnv(PEOPLE, **HOW, complement={"pair": 1.0, "user_pair": 1.0}) for _ in range(3)]
    many.reset(seed=5)
    for number, env in enumerate(ones):
        env.reset(seed=5 + number)
    for step in range(6):
        slates = pairs(3, step)
        seen, reward, *_ = many.step(slates)
        for number, env in enumerate(ones):
            own, alone, *_ = env.step(slates[number])
            assert alone == reward[number]
            assert np.array_equal(own["recent_whole"], seen["recent_whole"][number])
            assert own["recent_whole"][-1] in (0.0, 1.0)


def test_an_item_in_a_slot_of_another_role_leaves_it_empty() -> None:
    env = SessionEnv(PEOPLE, **HOW)
    env.reset(seed=0)
    slate = pairs(1)[0]
    *_, info = env.step(slate[::-1].copy())
    assert info["empty_slots"] == 2
    *_, info = env.step(slate)
    assert info["empty_slots"] == 0
    mask = env.action_masks().reshape(2, -1)
    assert not (mask[0] & mask[1]).any()
    assert mask[0, slate[0]]
    assert not mask[1, slate[0]]


def test_items_move_each_others_log_odds_as_the_formula_says() -> None:
    terms = complements(PEOPLE, Complement(0.7, 1.3))
    assert terms is not None
    slates, users = pairs(5).astype(np.int32), np.arange(5)
    slates[4, 1] = -1
    chance = np.full((5, 2), 0.3)
    chance[4, 1] = 0.0
    for moved in (complement, complement.py_func):
        found = chance.copy()
        moved(found, slates, users, tuple(terms))
        for b, (i, j) in enumerate(slates[:4]):
            both = terms.items[i].astype(float) * terms.items[j]
            odds = 3 / 7 * np.exp(both @ (terms.pair + terms.user_pair * terms.users[b]))
            assert found[b] == pytest.approx([odds / (1 + odds)] * 2, rel=1e-4)
        assert found[4].tolist() == [0.3, 0.0]


def test_strengths_are_the_spread_of_what_pairs_and_users_make_of_it() -> None:
    terms = complements(PEOPLE, Complement(0.5, 2.0))
    assert terms is not None
    rng = np.random.default_rng(1)
    i, j, u = rng.integers(30, size=(3, 40_000))
    both = terms.items[i] * terms.items[j]
    assert (both @ terms.pair).std() == pytest.approx(0.5, rel=0.05)
    assert (both * terms.users[u] @ terms.user_pair).std() == pytest.approx(2.0, rel=0.1)
    again = complements(PEOPLE, Complement(0.5, 2.0))
    assert again is not None
    assert np.array_equal(again.pair, terms.pair)


def test_roles_beside_everything_else_change_no_bit_of_it() -> None:
    plain, with_roles = synthetic_population(40, 30, 4, 8), PEOPLE
    for name in ("item_vectors", "user_vectors", "item_offsets", "user_offsets"):
        assert np.array_equal(getattr(plain.truth, name), getattr(with_roles.truth, name))
    assert np.array_equal(plain.knowledge.tastes, with_roles.knowledge.tastes)
    off, on = (SessionVectorEnv(PEOPLE, 4, slate_size=2, repeats=True, roles=roles) for roles in ([], ROLES))
    rewards = []
    for env in (off, on):
        env.reset(seed=1)
        rewards.append([env.step(pairs(4, step))[1].tolist() for step in range(8)])
    assert rewards[0] == rewards[1]


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"roles": ["top"], "slate_size": 1}, "at least two"),
        ({"slate_size": 3}, "2 roles, but slates have 3 slots"),
        ({"roles": ["top", "top"]}, "different names"),
        ({"roles": ["top", "bottm"]}, "'bottm', which is no category. Did you mean 'bottom'?"),
        ({"roles": ["top", "again=top"]}, "'again' has no items"),
        ({"roles": [], "complement": {"pair": 1.0}}, "name them in env.roles"),
        ({"complement": {"pair": -1.0}}, "complement.pair must be a number from 0 to 20"),
    ],
)
def test_bad_settings_get_one_clear_line(changed: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says.replace("?", r"\?")):
        SessionEnv(PEOPLE, **HOW | changed)


def test_a_role_may_be_filled_from_several_categories() -> None:
    roles = read_roles(["odd=category 1|category 3", "top"], PEOPLE.catalog, 2)
    assert roles is not None
    member = PEOPLE.catalog.categories.membership
    assert np.array_equal(roles.slot_of == 0, member[:, 0] | member[:, 2])
    styles = roles.styles(PEOPLE.catalog.categories)
    assert len(styles.names) == len(PEOPLE.catalog.categories.names)  # some item has no other category


def test_planners_choose_among_styles() -> None:
    roles = read_roles(ROLES, PEOPLE.catalog, 2)
    assert roles is not None
    assert roles.styles(PEOPLE.catalog.categories).names == tuple(f"category {n}" for n in range(1, 5))


def test_wholes_are_clicked_with_the_mean_chance_of_their_slots() -> None:
    users = UserSimulator(PEOPLE, SimulatorConfig(slate_size=2, roles=ROLES, repeats=True))
    state = users.start(np.arange(4000, dtype=np.uint64), np.zeros(4000, np.int64))
    outcome = users.step(state, pairs(4000))
    assert state.whole[:, 0].mean() == pytest.approx(outcome.chance.mean(), abs=0.02)
    assert abs(np.corrcoef(state.whole[:, 0], outcome.feedback[:, 0] - outcome.chance[:, 0])[0, 1]) < 0.06
