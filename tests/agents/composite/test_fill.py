"""The best whole: what all combinations say, found without looking at all of them."""

import numpy as np
import pytest

from lerl.agents.composite import ceiling, fill
from lerl.agents.composite.ceiling import best_together, together
from lerl.agents.composite.fill import best_whole
from lerl.agents.composite.model import JIMA, Terms
from lerl.agents.privileged import _log_odds
from lerl.envs.config import Boredom, Complement, SimulatorConfig
from lerl.envs.simulator import UserSimulator
from lerl.envs.synthetic import synthetic_population


def random_model(slots: int, each: int, seed: int, strength: float = 1.0) -> JIMA:
    rng, r = np.random.default_rng(seed), 3
    duos = slots * (slots - 1) // 2
    return JIMA(
        rng.normal(size=(4, r + 2)), rng.normal(size=(slots * each, r + 3)), rng.normal(size=(slots, r)),
        strength * rng.normal(size=(duos, r)), strength * rng.normal(size=(duos, r)),
        strength * rng.normal(size=r) * (slots > 2), np.ones((slots, r + 1)), np.ones(r + 1), 0.5,
        np.array([0.0, 1.0]), Terms(),
    )  # fmt: skip


def all_of(model: JIMA, each: int) -> tuple[np.ndarray, np.ndarray]:
    """Every whole for user 1, and its score."""
    slots = model.slots
    items = np.indices((each,) * slots).reshape(slots, -1).T + np.arange(slots) * each
    return items, model.score(np.ones(len(items), int), items)


@pytest.mark.parametrize(("slots", "each"), [(2, 50), (2, 60), (3, 14), (3, 20)])
@pytest.mark.parametrize("seed", range(3))
def test_the_best_whole_is_that_of_all_combinations(slots: int, each: int, seed: int) -> None:
    model = random_model(slots, each, seed, 0.3)
    items, scores = all_of(model, each)
    candidates = [np.arange(each) + slot * each for slot in range(slots)]
    found = best_whole(model, model.factors(np.array([1]))[0], candidates)
    assert found.value == pytest.approx(model.score(np.array([1]), found.items[None])[0])
    assert found.value + found.gap >= scores.max() - 1e-9
    if not found.gap:
        assert found.items.tolist() == items[scores.argmax()].tolist()
    if slots == 2:
        assert found.gap == 0


def test_where_search_ends_early_the_gap_holds_what_may_be_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fill, "OPENED", 2)
    model = random_model(3, 20, 1, 3.0)
    _, scores = all_of(model, 20)
    candidates = [np.arange(20) + slot * 20 for slot in range(3)]
    found = best_whole(model, model.factors(np.array([1]))[0], candidates)
    assert found.gap > 0
    assert found.value <= scores.max() <= found.value + found.gap


@pytest.mark.parametrize("boredom", [False, True])
def test_the_ceilings_whole_is_the_best_of_the_true_chances(boredom: bool) -> None:
    roles = ["top", "bottom"]
    people = synthetic_population(40, 24, 4, 8, roles=roles)
    config = SimulatorConfig(
        slate_size=2, roles=roles, repeats=True, complement=Complement(1.0, 1.0), boredom=Boredom(enabled=boredom)
    )
    users = UserSimulator(people, config)
    state = users.start(np.arange(3, dtype=np.uint64), np.zeros(3, np.int64))
    assert users.roles is not None
    items = [np.flatnonzero(users.roles.slot_of == slot) for slot in range(2)]
    slates = np.stack(np.meshgrid(*items, indexing="ij"), axis=-1).reshape(-1, 2).astype(np.int32)
    for _ in range(3):
        users.step(state, slates[[5, 50, 90]])
    costs = np.full(3, config.boredom.weight * boredom)
    found = best_together(together(users), _log_odds(users, state), np.arange(3), state, costs, users)
    for b in range(3):
        chances = users.chances(state.take(np.full(len(slates), b)), slates).mean(axis=1)
        own = users.chances(state.take(np.array([b])), found[b : b + 1]).mean()
        assert own == pytest.approx(chances.max(), abs=1e-6)


def test_beyond_the_limit_the_ceiling_tries_the_items_best_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    roles = ["top", "bottom"]
    people = synthetic_population(40, 24, 4, 8, roles=roles)
    users = UserSimulator(people, SimulatorConfig(slate_size=2, roles=roles, complement=Complement(3.0, 3.0)))
    state = users.start(np.arange(9, dtype=np.uint64), np.zeros(9, np.int64))
    logits = _log_odds(users, state)
    assert users.roles is not None

    def best(limit: int) -> np.ndarray:
        monkeypatch.setattr(ceiling, "EXACT", limit)
        return best_together(together(users), logits, np.arange(9), state, np.zeros(9), users)

    for slot in range(2):
        own = np.flatnonzero(users.roles.slot_of == slot)
        two = own[np.argsort(-logits[:, own], axis=1)[:, :2]]
        assert (best(4)[:, slot, None] == two).any(axis=1).all()
        assert not (best(2500)[:, slot, None] == two).any(axis=1).all()


def test_what_was_shown_is_no_candidate_of_the_ceiling() -> None:
    roles = ["top", "bottom"]
    people = synthetic_population(40, 24, 4, 8, roles=roles)
    users = UserSimulator(people, SimulatorConfig(slate_size=2, roles=roles))
    state = users.start(np.zeros(1, np.uint64), np.zeros(1, np.int64))
    known, costs = together(users), np.ones(1)
    shown: set[int] = set()
    for _ in range(12):
        slate = best_together(known, _log_odds(users, state), np.zeros(1, int), state, costs, users)
        assert not shown & set(slate[0].tolist())
        shown |= set(slate[0].tolist())
        users.step(state, slate)
    assert (best_together(known, _log_odds(users, state), np.zeros(1, int), state, costs, users) == -1).all()
