"""Learns a model of wholes by alternating least squares: with all else held still, each unknown is a linear problem.

Ratings of each kind are taken in standard deviations from their mean, so that the kinds weigh alike at first; then each
weighs by how well it is predicted. The ridge, and how many interactions there are, is chosen by the error on wholes
that are held out.
"""

from dataclasses import replace
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from lerl.agents.composite.data import NO_PAIRS, NO_SINGLES, Pairs, Singles, Wholes, check_feedback
from lerl.agents.composite.model import JIMA, Terms

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Trust = tuple[float, float, float]

HELD_OUT = 0.1  # of wholes
SWEEPS, PATIENCE = 60, 4  # at most; so many without a better held-out error are the end
BETTER = 0.999  # of the error, at most, is better
RIDGES = (4.0, 2.0, 1.0)  # tried one after the other, each from where the one before ended
SIMPLER = 0.99  # of the error without them, at most, lets further terms stay
EQUAL = (1.0, 1.0, 1.0)  # weights of singles, pairs and wholes
MOST_TRUST = 10.0  # of singles or pairs, wholes having 1
START, STIR = 0.3, 0.1  # standard deviation of factors, and of what is added when terms are: 0 would stay 0


class Observed(NamedTuple):
    """What a model is fitted to, in standard deviations, and the wholes that are held out.

    Attributes:
        singles, pairs, wholes, held: feedback. scale: (2,) mean and standard deviation of wholes.
        slot_of: (I,) each item's slot, -1 where only pairs name it. users: how many.
    """

    singles: Singles
    pairs: Pairs
    wholes: Wholes
    held: Wholes
    scale: Floats
    slot_of: Ints
    users: int


def fit_jima(
    singles: Singles | None,
    pairs: Pairs | None,
    wholes: Wholes,
    width: int = 8,
    seed: int = 0,
    *,
    terms: Terms = Terms(),  # noqa: B008 - frozen
    ridges: tuple[float, ...] = RIDGES,
) -> JIMA:
    """Learn from feedback on three levels.

    A tenth of the wholes is held out. Parts come first, then pairs, then user-pair and whole products: each stage
    starts from the one before, and stays where what is held out is predicted better by it. So where there is no
    interaction, none is learned. The ridge is chosen by what is held out, too.

    Args:
        singles, pairs: None for none. wholes: at least two, of n slots; an item belongs to one slot.
        width: r, factors. seed: of what is held out and of where factors start.
        terms: what it may do with. ridges: tried.

    Raises:
        ValueError: what `check_feedback` refuses, an item in two slots, or a width below 1.
    """
    if width < 1:
        raise ValueError(f"width must be at least 1, given {width}")
    rng = np.random.default_rng([seed, 0x71])
    data = _observed(singles or NO_SINGLES, pairs or NO_PAIRS, wholes, rng)
    start = _begin(data, width, rng)
    stages = [replace(terms, pairs=False, third=False)] if terms.parts else []
    stages += [replace(terms, third=False)] if terms.pairs else []
    stages += [terms] if terms.third or not stages else []
    best = start
    for stage in stages:
        now = _opened(best, stage, rng)
        tried: list[JIMA] = []
        for ridge in ridges:
            now = _alternate(now, data, _trust(now, data) if tried else EQUAL, ridge)
            tried.append(now)
        now = min(tried, key=lambda model: model.error)
        best = now if now.error < SIMPLER * best.error else best
    return best


def _observed(singles: Singles, pairs: Pairs, wholes: Wholes, rng: np.random.Generator) -> Observed:
    check_feedback(singles, pairs, wholes)
    held = rng.permutation(len(wholes.y)) < max(1, round(HELD_OUT * len(wholes.y)))
    scale = _scale(wholes.y[~held])
    kept, out = (
        Wholes(wholes.users[mask], wholes.items[mask], (wholes.y[mask] - scale[0]) / scale[1]) for mask in (~held, held)
    )
    one, two = _scale(singles.y), _scale(pairs.y)
    people = max(int(part.max(initial=-1)) for part in (singles.users, wholes.users)) + 1
    return Observed(
        singles._replace(y=(singles.y - one[0]) / one[1]),
        pairs._replace(y=(pairs.y - two[0]) / two[1]),
        kept,
        out,
        scale,
        _slots(singles, pairs, wholes),
        people,
    )


def _scale(y: Floats) -> Floats:
    """Mean and standard deviation, 0 and 1 of nothing."""
    return np.array([y.mean(), y.std() or 1.0]) if len(y) else np.array([0.0, 1.0])


def _slots(singles: Singles, pairs: Pairs, wholes: Wholes) -> Ints:
    n = wholes.items.shape[1]
    items = np.concatenate([singles.items, wholes.items.ravel()])
    slots = np.concatenate([singles.slots, np.tile(np.arange(n), len(wholes.items))])
    count = 1 + max(int(part.max(initial=-1)) for part in (items, pairs.first, pairs.second))
    slot_of = np.full(count, -1)
    slot_of[items] = slots
    if (slot_of[items] != slots).any():
        wrong = int(items[slot_of[items] != slots][0])
        raise ValueError(f"an item belongs to one slot, but item {wrong} was in two; give it a number for each")
    return slot_of


def _begin(data: Observed, width: int, rng: np.random.Generator) -> JIMA:
    n, count = data.wholes.items.shape[1], len(data.slot_of)
    users = np.column_stack([rng.normal(size=(data.users, width)) * START, np.zeros((data.users, 2))])
    items = np.column_stack([rng.normal(size=(count, width)) * START, np.zeros((count, 3))])
    none = np.zeros((n * (n - 1) // 2, width))
    single, pair = np.ones((n, width + 1)), np.ones(width + 1)
    single[:, -1], pair[-1] = 0.0, 0.0
    nothing = Terms(False, False, False)
    return JIMA(users, items, np.zeros((n, width)), none, none, np.zeros(width), single, pair, 0.0, data.scale, nothing)


def _opened(model: JIMA, terms: Terms, rng: np.random.Generator) -> JIMA:
    """The same with further terms; their heads begin at 1 where nothing was learned or they stay 1, else at 0."""
    r, users, items = model.width, model.users.copy(), model.items.copy()
    users[:, :r] += rng.normal(size=(len(users), r)) * STIR
    items[:, :r] += rng.normal(size=(len(items), r)) * STIR
    first = not model.terms.parts and not model.terms.pairs
    weight = 1.0 if first or not terms.heads else 0.0
    return replace(
        model,
        users=users,
        items=items,
        terms=terms,
        error=np.inf,
        parts=model.parts + weight * (terms.parts and not model.terms.parts),
        duos=model.duos + weight * (terms.pairs and not model.terms.pairs),
        third=model.third + weight * (terms.third and not model.terms.third),
        every=model.every + weight * (terms.third and not model.terms.third and model.slots > 2),
    )


def _alternate(model: JIMA, data: Observed, trust: Trust, ridge: float) -> JIMA:
    """Solve for heads, users and the items of each slot in turn, until what is held out is predicted no better."""
    best, since = replace(model, error=np.inf), 0
    for _ in range(SWEEPS):
        if model.terms.heads:
            model = _solve_heads(model, data, trust, ridge)
        model = _solve_users(model, data, trust, ridge)
        for slot in range(-1, model.slots):
            model = _solve_items(model, data, slot, trust, ridge)
        errors = model.felt(model.factors(data.held.users), data.held.items) - data.held.y
        model = replace(model, error=float(np.sqrt((errors**2).mean())) * float(model.scale[1]))
        since = 0 if model.error < BETTER * best.error else since + 1
        best = model if model.error < best.error else best
        if since == PATIENCE:
            break
    return best


def _trust(model: JIMA, data: Observed) -> Trust:
    """What an observation of singles, pairs and wholes weighs: 1 / mean squared error, wholes having 1."""
    r, singles, pairs, wholes = model.width, data.singles, data.pairs, data.wholes
    v, w = model.items[pairs.first], model.items[pairs.second]
    predicted = (
        model.rated(singles.users, singles.slots, singles.items),
        (v[:, :r] * w[:, :r]) @ model.pair[:r] + model.pair[r] + v[:, r + 2] + w[:, r + 2],
        model.felt(model.users[wholes.users], wholes.items),
    )
    targets = (singles.y, pairs.y, wholes.y)
    one, two, whole = (
        max(float(((y - own) ** 2).mean()), 1e-6) if len(own) else 1.0
        for y, own in zip(targets, predicted, strict=True)
    )
    first, second = (float(np.clip(whole / error, 1 / MOST_TRUST, MOST_TRUST)) for error in (one, two))
    return first, second, 1.0


def _solve_users(model: JIMA, data: Observed, trust: Trust, ridge: float) -> JIMA:
    """Factors of users, and their offsets in wholes and singles, with all else held still."""
    r, wholes, singles = model.width, data.wholes, data.singles
    v = model.items[wholes.items]
    of_user, alone = model.against_user(v[:, :, :r])
    features = np.column_stack([of_user, np.ones(len(of_user)), np.zeros(len(of_user))])
    targets = wholes.y - model.base - v[:, :, r].sum(axis=1) - alone
    one = model.items[singles.items]
    features_one = np.column_stack(
        [one[:, :r] * model.single[singles.slots, :r], np.zeros(len(one)), np.ones(len(one))]
    )
    targets_one = singles.y - model.single[singles.slots, r] - one[:, r + 1]
    rows, weights = (
        np.concatenate([wholes.users, singles.users]),
        np.repeat((trust[2], trust[0]), (len(targets), len(one))),
    )
    features, targets = np.vstack([features, features_one]), np.concatenate([targets, targets_one])
    solved = _solve(rows, features, targets, data.users, ridge, weights)
    return replace(model, users=solved)


def _solve_items(model: JIMA, data: Observed, slot: int, trust: Trust, ridge: float) -> JIMA:
    """Factors and offsets of a slot's items, with all else held still; slot -1 is of items that only pairs name."""
    r, rows, features, targets, weights = model.width, [], [], [], []

    def add(items: Ints, factors: Floats, offset: int, target: Floats, weight: float) -> None:
        rows.append(items)
        features.append(np.column_stack([factors, np.tile(np.arange(3) == offset, (len(items), 1))]))
        targets.append(target)
        weights.append(np.full(len(items), weight))

    if slot >= 0:
        wholes = data.wholes
        people, v = model.users[wholes.users], model.items[wholes.items]
        factors = model.against_item(people[:, :r], v[:, :, :r], slot)
        own = (factors * v[:, slot, :r]).sum(axis=1) + v[:, slot, r]
        add(wholes.items[:, slot], factors, 0, wholes.y - model.felt(people, wholes.items) + own, trust[2])
        mine = data.singles.slots == slot
        users, _, items, y = (part[mine] for part in data.singles)
        u, head = model.users[users], model.single[slot]
        add(items, u[:, :r] * head[:r], 1, y - head[r] - u[:, r + 1], trust[0])
    for items, others in ((data.pairs.first, data.pairs.second), (data.pairs.second, data.pairs.first)):
        mine = data.slot_of[items] == slot
        v = model.items[others[mine]]
        alone = model.pair[r] + v[:, r + 2]
        add(items[mine], v[:, :r] * model.pair[:r], 2, data.pairs.y[mine] - alone, trust[1])
    all_rows, all_targets, all_weights = (np.concatenate(part) for part in (rows, targets, weights))
    solved = _solve(all_rows, np.vstack(features), all_targets, len(data.slot_of), ridge, all_weights)
    return replace(model, items=np.where((data.slot_of == slot)[:, None], solved, model.items))


def _solve_heads(model: JIMA, data: Observed, trust: Trust, ridge: float) -> JIMA:
    """The heads of wholes, singles and pairs, with all factors held still."""
    r, n = model.width, model.slots
    users, singles, pairs = model.users, data.singles, data.pairs
    single, pair = model.single, model.pair
    if len(singles.y):
        u, v = users[singles.users], model.items[singles.items]
        both = np.column_stack([u[:, :r] * v[:, :r], np.ones(len(v))])
        single = _solve(singles.slots, both, singles.y - u[:, r + 1] - v[:, r + 1], n, ridge / trust[0])
    if len(pairs.y):
        v, w = model.items[pairs.first], model.items[pairs.second]
        both = np.column_stack([v[:, :r] * w[:, :r], np.ones(len(v))])
        pair = _solve(np.zeros(len(v), np.int64), both, pairs.y - v[:, r + 2] - w[:, r + 2], 1, ridge / trust[1])[0]
    return _solve_whole_heads(replace(model, single=single, pair=pair), data, ridge)


def _solve_whole_heads(model: JIMA, data: Observed, ridge: float) -> JIMA:
    r, n, terms, wholes = model.width, model.slots, model.terms, data.wholes
    people, items = model.users[wholes.users], model.items[wholes.items]
    u, v = people[:, None, :r], items[:, :, :r]
    both = np.stack([v[:, s] * v[:, t] for s, t in combinations(range(n), 2)], axis=1)  # (W, P, r)
    kinds = {
        "parts": u * v if terms.parts else None,
        "duos": both if terms.pairs else None,
        "third": u * both if terms.third else None,
        "every": u * v.prod(axis=1, keepdims=True) if terms.third and n > 2 else None,
    }
    used = {name: part for name, part in kinds.items() if part is not None}
    features = np.column_stack([part.reshape(len(part), -1) for part in used.values()] + [np.ones(len(u))])
    targets = wholes.y - people[:, r] - items[:, :, r].sum(axis=1)
    gram = features.T @ features + ridge * np.eye(features.shape[1])
    solved, at = np.linalg.solve(gram, features.T @ targets), 0
    found: dict[str, Any] = {}
    for name, part in used.items():
        shape = getattr(model, name).shape
        found[name] = solved[at : at + part[0].size].reshape(shape)
        at += part[0].size
    return replace(model, base=float(solved[-1]), **found)


def _solve(
    rows: Ints, features: Floats, targets: Floats, count: int, ridge: float, weights: Floats | None = None
) -> Floats:
    """The ridge regression of each row (count, m) of targets (N,) on features (N, m); 0 where there are none."""
    gram, right = _sums(rows, features, targets, np.ones(len(targets)) if weights is None else weights, count)
    gram += ridge * np.eye(features.shape[1])
    solved: Floats = np.linalg.solve(gram, right[..., None])[..., 0]
    return solved


@njit(cache=True)
def _sums(rows, features, targets, weights, count):  # type: ignore[no-untyped-def]
    m = features.shape[1]
    gram, right = np.zeros((count, m, m)), np.zeros((count, m))
    for n in range(len(rows)):
        row = rows[n]
        for i in range(m):
            weighed = weights[n] * features[n, i]
            right[row, i] += weighed * targets[n]
            for j in range(i + 1):
                gram[row, i, j] += weighed * features[n, j]
    for row in range(count):
        for i in range(m):
            for j in range(i):
                gram[row, j, i] = gram[row, i, j]
    return gram, right
