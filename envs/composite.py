"""Composite slates: every slot has a role, items of a slate complement each other, and the whole is answered too."""

import hashlib
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from lerl.envs import draws
from lerl.envs.catalog import Axis, Catalog
from lerl.envs.checks import did_you_mean
from lerl.envs.config import Complement
from lerl.envs.population import Population

Floats = NDArray[np.float32]


class Roles(NamedTuple):
    """What each slot of a slate is filled from.

    Attributes:
        names: one for each slot, k. slot_of: (I,) int8, the only slot that an item may fill, -1 for none.
        categories: (C,) bool, the categories of the catalog that say which role an item has.
    """

    names: tuple[str, ...]
    slot_of: NDArray[np.int8]
    categories: NDArray[np.bool_]

    def fits(self, slates: NDArray[np.integer]) -> NDArray[np.bool_]:
        """(B, k) whether slots hold an item of their role; slots may be empty, -1."""
        fitting: NDArray[np.bool_] = self.slot_of[slates] == np.arange(len(self.names))
        return fitting & (slates >= 0)

    def styles(self, axis: Axis) -> Axis:
        """A catalog's axis without the categories that say roles, as a planner chooses a style for the whole; the same
        where some item has no other category."""
        kept = ~self.categories
        if not kept.any() or not axis.membership[:, kept].any(axis=1).all():
            return axis
        return Axis(
            tuple(name for name, stays in zip(axis.names, kept, strict=True) if stays), axis.membership[:, kept]
        )


def read_roles(given: list[str], catalog: Catalog, slate_size: int) -> Roles | None:
    """The roles of a configuration; None where it has none.

    Args:
        given: a name for each slot, whose items are those of the category of that name; or `name=category|category`. An
            item that could fill several slots fills the first of them. catalog: the items. slate_size: k.

    Raises:
        ValueError: fewer than two roles, not one for each slot, a name given twice, a category that is none, or a role
            without items.
    """
    if not given:
        return None
    if len(given) < 2:
        raise ValueError(f"env.roles needs at least two, one for each slot, given {given}; leave it empty for no roles")
    if len(given) != slate_size:
        raise ValueError(
            f"env.roles has {len(given)} roles, but slates have {slate_size} slots; set env.slate_size to {len(given)}"
        )
    names = [text.partition("=")[0].strip() for text in given]
    if len(set(names)) < len(names):
        raise ValueError(f"env.roles must have different names, given {names}")
    axis = catalog.categories
    slot_of, categories = np.full(len(catalog), -1, np.int8), np.zeros(len(axis.names), bool)
    for slot, (name, text) in enumerate(zip(names, given, strict=True)):
        listed = [part.strip() for part in text.partition("=")[2].split("|")] if "=" in text else [name]
        for category in listed:
            if category not in axis.names:
                hint = did_you_mean(category, axis.names, quotes=True)
                raise ValueError(
                    f"env.roles: {name!r} is filled from {category!r}, which is no category.{hint} There are "
                    f"{', '.join(axis.names[:20])}{', ...' if len(axis.names) > 20 else ''}"
                )
        own = np.array([category in listed for category in axis.names])
        slot_of[axis.membership[:, own].any(axis=1) & (slot_of < 0)] = slot
        categories |= own
        if not (slot_of == slot).any():
            raise ValueError(f"env.roles: the role {name!r} has no items; name categories that no role before it takes")
    return Roles(tuple(names), slot_of, categories)


class Complements(NamedTuple):
    """How items of a slate move each other's log-odds of a click; see `Complement`.

    Attributes:
        items: (I, d) true item vectors. users: (U, d) true tastes. pair, user_pair: (d,) signs times strength,
            divided by the standard deviation over pairs of items, and over users and pairs.
    """

    items: Floats
    users: Floats
    pair: Floats
    user_pair: Floats


SAMPLE = 20_000  # pairs by which it is measured how much the terms differ


def complements(population: Population, strengths: Complement) -> Complements | None:
    """The complementarity of a population's items, from what makes the population; None where it is off."""
    if not (strengths.pair or strengths.user_pair):
        return None
    items, users = population.truth.item_vectors, population.truth.user_vectors
    digest = hashlib.blake2b(np.ascontiguousarray(items).tobytes(), digest_size=8).digest()
    rng = np.random.default_rng([int.from_bytes(digest, "big"), 0xC0])
    pair, user_pair = rng.choice([-1.0, 1.0], size=(2, items.shape[1])).astype(np.float32)
    first, second, who = rng.integers(len(items), size=SAMPLE), rng.integers(len(items), size=SAMPLE), len(users)
    both = items[first] * items[second]
    of_pair, of_user = (both @ pair).std(), (both * users[rng.integers(who, size=SAMPLE)] @ user_pair).std()
    return Complements(
        items,
        users,
        (strengths.pair / max(float(of_pair), 1e-9) * pair).astype(np.float32),
        (strengths.user_pair / max(float(of_user), 1e-9) * user_pair).astype(np.float32),
    )


@njit(cache=True, nogil=True)
def complement(chance, slates, users, terms):  # type: ignore[no-untyped-def]
    """chance (B, k) <- with log-odds moved by the mean of what fits each item in slates (B, k) of users (B,)."""
    items, tastes, pair, user_pair = terms
    for b in range(slates.shape[0]):
        shown = 0
        for s in range(slates.shape[1]):
            shown += slates[b, s] >= 0
        for s in range(slates.shape[1]):
            if slates[b, s] < 0 or shown < 2:
                continue
            total = 0.0
            for t in range(slates.shape[1]):
                if t != s and slates[b, t] >= 0:
                    for j in range(items.shape[1]):
                        weight = pair[j] + user_pair[j] * tastes[users[b], j]
                        total += weight * items[slates[b, s], j] * items[slates[b, t], j]
            p = min(max(chance[b, s], 1e-9), 1.0 - 1e-9)
            odds = p / (1.0 - p) * np.exp(total / (shown - 1))
            chance[b, s] = odds / (1.0 + odds)


@njit(cache=True, nogil=True)
def whole_clicks(keys, chance):  # type: ignore[no-untyped-def]
    """(B,) float32, whether users click the whole: with the mean chance of its slots (B, k); keys (B,) are of clicks.

    The draw is the one behind those of the slots.
    """
    clicks = np.empty(len(keys), np.float32)
    for b in range(len(keys)):
        total = 0.0
        for s in range(chance.shape[1]):
            total += chance[b, s]
        clicks[b] = 1.0 if draws.uniform(keys[b], chance.shape[1]) < total / chance.shape[1] else 0.0
    return clicks
