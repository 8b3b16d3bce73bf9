"""A synthetic population, made from a seed: no download is needed, and the truth is known."""

from collections.abc import Sequence

import numpy as np

from lerl.envs.catalog import Axis, Catalog
from lerl.envs.checks import check_type
from lerl.envs.population import Knowledge, Population, Truth

KNOWN_EXPOSURES = 40


def synthetic_population(
    users: int = 1000,
    items: int = 1000,
    categories: int = 20,
    dim: int = 16,
    seed: int = 0,
    roles: Sequence[str] = (),
) -> Population:
    """Users who like a few regions of item space, and a catalog whose categories nearly follow those regions.

    Each item lies around the centre of one region; its category is that region's with probability 0.8, another one
    otherwise, and one item in three has a second category. A user likes three regions. A recommender knows noisy item
    vectors (as if fitted to another part of a log) and a taste estimated from 40 past clicks and skips. All strengths
    are assumed; only the structure of the problem is meant to be realistic.

    Args:
        users: how many, at least 4; a quarter of them are for evaluation.
        items: how many, at least 2.
        categories: how many.
        dim: length of the true vectors, at least 2.
        seed: of all draws.
        roles: further categories, such as "top" and "bottom", of which each item has one, as often as another; all else
            is as without.

    Raises:
        TypeError: a size is not a whole number.
        ValueError: a size is too small.
    """
    sizes = {"users": (users, 4), "items": (items, 2), "categories": (categories, 1), "dim": (dim, 2)}
    for name, (value, least) in sizes.items():
        check_type(f"data.synthetic.{name}", value, int)
        if value < least:
            raise ValueError(f"data.synthetic.{name} must be at least {least}, given {value}")
    rng = np.random.default_rng([seed, 0x5F])
    centres = rng.normal(size=(categories, dim)) / np.sqrt(dim)
    region = rng.integers(categories, size=items)
    vectors = centres[region] + rng.normal(size=(items, dim)) * 0.5 / np.sqrt(dim)
    offsets = rng.normal(size=items) * 0.4
    liked = rng.integers(categories, size=(users, 3))
    tastes = 1.6 * centres[liked].sum(axis=1) + rng.normal(size=(users, dim)) * 0.3
    truth = Truth(
        item_vectors=vectors.astype(np.float32),
        item_offsets=offsets.astype(np.float32),
        user_vectors=tastes.astype(np.float32),
        user_offsets=(rng.normal(size=users) * 0.3 - 0.8).astype(np.float32),
    )
    catalog = _catalog(region, categories, rng)
    knowledge, history = _knowledge(truth, rng)
    if roles:
        catalog = _with_roles(catalog, roles, np.random.default_rng([seed, 0xC0]))
    training = np.ones(users, bool)
    training[rng.permutation(users)[: users // 4]] = False
    return Population("synthetic", catalog, truth, knowledge, training, history)


def _catalog(region: np.ndarray, categories: int, rng: np.random.Generator) -> Catalog:
    items = len(region)
    category = np.where(rng.random(items) < 0.8, region, rng.integers(categories, size=items))
    membership = category[:, None] == np.arange(categories)
    second = rng.random(items) < 1 / 3
    membership[second, rng.integers(categories, size=int(second.sum()))] = True
    names = tuple(f"category {number + 1}" for number in range(categories))
    identifiers = tuple(str(number) for number in range(items))
    return Catalog(identifiers, tuple(f"item {number}" for number in identifiers), Axis(names, membership))


def _with_roles(catalog: Catalog, roles: Sequence[str], rng: np.random.Generator) -> Catalog:
    axis, count = catalog.categories, len(roles)
    if len(set(roles) | set(axis.names)) < count + len(axis.names):
        raise ValueError(f"data.synthetic.roles must differ from each other and from categories, given {list(roles)}")
    if count > len(catalog):
        raise ValueError(f"data.synthetic.roles names {count} roles for {len(catalog)} items; give more items")
    own = (rng.permutation(len(catalog)) % count)[:, None] == np.arange(count)
    return Catalog(
        catalog.item_ids, catalog.titles, Axis((*axis.names, *roles), np.column_stack([axis.membership, own]))
    )


def _knowledge(truth: Truth, rng: np.random.Generator) -> tuple[Knowledge, np.ndarray]:
    users, items = len(truth.user_vectors), len(truth.item_vectors)
    scale = truth.item_vectors.std()
    vectors = truth.item_vectors + rng.normal(size=truth.item_vectors.shape) * 0.4 * scale
    offsets = truth.item_offsets + rng.normal(size=items) * 0.2
    shown = rng.integers(items, size=(users, KNOWN_EXPOSURES))
    logits = np.einsum("ud,und->un", truth.user_vectors, truth.item_vectors[shown])
    logits += truth.item_offsets[shown] + truth.user_offsets[:, None]
    clicked = rng.random(shown.shape) < 1 / (1 + np.exp(-logits))
    tastes, user_offsets = _fold_in(vectors[shown], offsets[shown], clicked)
    counts = np.bincount(shown[clicked], minlength=items) + 1.0
    knowledge = Knowledge(
        item_vectors=np.column_stack([vectors, offsets]).astype(np.float32),
        tastes=np.column_stack([tastes, np.ones(users)]).astype(np.float32),
        user_offsets=user_offsets.astype(np.float32),
        popularity=(counts / counts.sum()).astype(np.float32),
    )
    rows = np.column_stack([np.repeat(np.arange(users), KNOWN_EXPOSURES), shown.ravel(), clicked.ravel()])
    return knowledge, rows.astype(np.int32)


def _fold_in(vectors: np.ndarray, offsets: np.ndarray, clicked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ridge logistic regression per user by Newton steps: tastes (U, d) and offsets (U,) from clicks (U, N)."""
    users, _, dim = vectors.shape
    design = np.concatenate([vectors, np.ones((*clicked.shape, 1))], axis=2)  # (U, N, d + 1)
    weights = np.zeros((users, dim + 1))
    ridge = np.eye(dim + 1)
    ridge[dim, dim] = 0.1
    for _ in range(8):
        chance = 1 / (1 + np.exp(-(np.einsum("und,ud->un", design, weights) + offsets)))
        slope = np.einsum("und,un->ud", design, clicked - chance) - weights @ ridge
        curve = np.einsum("und,un,une->ude", design, chance * (1 - chance), design) + ridge
        weights += np.linalg.solve(curve, slope[..., None])[..., 0]
    return weights[:, :dim], weights[:, dim]
