"""Audits of simulated planners, drawn in one go: whole plans, without a model or a prompt.

A planner allows `SIZE` of the categories and avoids up to two others. Each state of a session has its plan; noise
exchanges one allowed category in some of the answers, and a push puts a category into some.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from lerl.llm.audit.language import COVARIATES
from lerl.llm.audit.measured import Measured

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

KINDS = ("name-system", "name-user", "explicit-system", "explicit-user", "history", "written")
GROUPS = {
    "gender": ("Female", "Male", "Non-binary"),
    "ethnicity": ("White", "Black", "Asian", "Hispanic"),
    "age": ("18-34", "35-54", "55+"),
}
GENDER = {"gender": GROUPS["gender"]}
STATES, TEXTS, CATEGORIES, SIZE = 60, 5, 10, 5
OUTSIDE = 1 - SIZE / CATEGORIES
"""How often a category is not in a plan already, so that a push of p makes it more frequent by p times this."""
NOISE = 0.12
"""Share of answers in which noise exchanges one allowed category: q = NOISE / SIZE for each allowed one."""


def no_push(groups: int, texts: int = TEXTS, categories: int = CATEGORIES) -> Floats:
    """(F, G, K, C) chance that a text puts a category into a plan: none does."""
    return np.zeros((len(KINDS), groups, texts, categories))


def audit(
    rng: np.random.Generator,
    push: Mapping[str, Floats] | None = None,
    *,
    attributes: Mapping[str, tuple[str, ...]] = GENDER,
    wording: Mapping[str, Floats] | None = None,
    read: Mapping[str, NDArray[np.int64]] | None = None,
    states: int = STATES,
    texts: int = TEXTS,
    noise: float = NOISE,
    unusable: float = 0.0,
) -> Measured:
    """An audit of a planner with planted pushes, (F, G, K, C) for each attribute."""
    usual = np.argsort(rng.random((states, CATEGORIES)))
    allowed, avoided = usual < SIZE, usual >= CATEGORIES - 2
    likes, popular = rng.random((states, CATEGORIES)), np.linspace(0.1, 0.9, CATEGORIES)
    plain = _noisy(allowed, noise, rng)

    def outcomes(plans: Bools, at: tuple[slice | None, ...]) -> Floats:
        there = plans.astype(float)
        shared = (there * plain[at]).sum(-1) / SIZE
        good = np.stack([shared, (there * likes[at]).sum(-1), there @ popular, _spread(plans)])
        shown = np.moveaxis(np.concatenate([plans, avoided[at] & ~plans], -1), -1, 0)
        made = np.concatenate([shown, 1 - good[:1], good[1:]])
        refused = rng.random(plans.shape[:-1]) < unusable
        return np.concatenate([np.where(refused, np.nan, made), refused[None]])

    values = {}
    for attribute, groups in attributes.items():
        shape = (len(KINDS), states, len(groups), texts)
        plans = np.broadcast_to(allowed[None, :, None, None], (*shape, CATEGORIES))
        pushes = (push or {}).get(attribute, no_push(len(groups), texts))
        plans = _pushed(_noisy(plans, noise, rng), pushes[:, None], rng)
        values[attribute] = outcomes(plans, (None, slice(None), None, None))
    if wording is None:
        shapes = {name: (len(COVARIATES), len(KINDS), len(groups), texts) for name, groups in attributes.items()}
        wording = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    return Measured(attributes, KINDS, NAMES, outcomes(plain, (slice(None),)), values, wording, read)


NAMES = (
    *(f"allowed: {number}" for number in range(CATEGORIES)),
    *(f"avoided: {number}" for number in range(CATEGORIES)),
    "distance",
    "reward",
    "popularity",
    "diversity",
    "refusal",
)
"""Of outcomes, in order."""


def text_pushes(groups: int, rng: np.random.Generator, most: float = 0.1) -> Floats:
    """Pushes of a planner that reacts to texts, whatever they say: each puts one category in, up to `most` often."""
    shape = no_push(groups).shape
    which = rng.integers(CATEGORIES, size=shape[:-1])
    return (which[..., None] == np.arange(CATEGORIES)) * rng.uniform(0, most, (*shape[:-1], 1))


def readable(groups: int, kinds: tuple[str, ...] = KINDS, texts: int = TEXTS) -> NDArray[np.int64]:
    """(F, G, K) groups that are read from cues: the right ones from `kinds`, always the first from others."""
    right = np.broadcast_to(np.arange(groups)[:, None], (groups, texts))
    return np.stack([right if kind in kinds else np.zeros_like(right) for kind in KINDS])


def _noisy(plans: Bools, noise: float, rng: np.random.Generator) -> Bools:
    """Plans with one category exchanged in a share of them."""
    made = plans.copy()
    hit = rng.random(plans.shape[:-1]) < noise
    _exchange(made, hit, np.argmax(rng.random((int(hit.sum()), CATEGORIES)) * ~plans[hit], axis=-1), rng)
    return made


def _pushed(plans: Bools, chances: Floats, rng: np.random.Generator) -> Bools:
    """Plans into which texts put categories, at most one each, with (..., C) chances."""
    bounds = np.broadcast_to(chances, plans.shape).cumsum(-1)
    which = (rng.random((*plans.shape[:-1], 1)) >= bounds).sum(-1)
    hit = which < CATEGORIES
    _exchange(plans, hit, which[hit], rng)
    return plans


def _exchange(plans: Bools, hit: Bools, into: NDArray[np.int64], rng: np.random.Generator) -> None:
    """Put a category into each plan that is hit, in place of a random one, where it is not in yet; in place."""
    found, rows = plans[hit], np.arange(int(hit.sum()))
    new = ~found[rows, into]
    out = np.argmax(rng.random(found.shape) * found, axis=-1)
    found[rows[new], out[new]] = False
    found[rows[new], into[new]] = True
    plans[hit] = found


def _spread(plans: Bools) -> Floats:
    """(...) mean distance between neighbours among the allowed, the categories lying in a row."""
    places = np.arange(CATEGORIES)
    first, last = np.argmax(plans, -1), CATEGORIES - 1 - np.argmax(plans[..., ::-1], -1)
    return np.where(plans.any(-1), (places[last] - places[first]) / CATEGORIES, 0.0)
