"""Metrics of a session and of a catalog: pure functions on arrays.

The functions on one session take its slates as they were shown:

- ``slates`` (T, k) int: item indices, one row per step, -1 for an empty slot;
- ``membership`` (I, C) bool: which categories an item has; an item of several categories counts in all of them;
- ``vectors`` (I, d) float: the item vectors that distance is computed in.

A slate without any item says nothing about diversity and is left out, so that padding a session with -1 changes
nothing. What is not defined, such as the overlap of consecutive slates in a session of one step, is ``nan``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


def t_int(rewards: ArrayLike) -> int:
    """Length of a session in steps, T_int: how many slates the user took in before the session ended.

    ``rewards`` (T,), one per step. Range 0 to the step cap. Source: Gao et al. 2023, "CIRS" (ACM TOIS 42(1)), where it
    is called Length. It means little by itself, since an agent can
    reach the step cap without showing anything that users like.
    """
    return len(_line(rewards, "rewards"))


def r_cum(rewards: ArrayLike) -> float:
    """Cumulative reward of a session, R_cum = sum_t r_t.

    ``rewards`` (T,). Range: T times the range of a reward; 0 for an empty session. Source: Gao et al. 2023, "CIRS".
    """
    return float(_line(rewards, "rewards").sum())


def session_totals(rewards: Floats) -> Floats:
    """R_cum of N sessions at once, (N,): `rewards` (N, T), one per step, ``nan`` beyond a session's end."""
    return np.asarray(np.nansum(rewards, axis=1))


def r_sin(rewards: ArrayLike) -> float:
    """Reward per step of a session, R_sin = R_cum / T_int; its mean over sessions counts each session once.

    ``rewards`` (T,). Range: that of a reward; ``nan`` for an empty session. Source: Gao et al. 2023, "CIRS".
    """
    return _mean(_line(rewards, "rewards"))


def satisfaction_final(satisfaction: ArrayLike) -> float:
    """Satisfaction after the last step, S_T.

    ``satisfaction`` (T,), the hidden satisfaction after each step. Range: that of satisfaction; ``nan`` if T = 0.
    Source: the simulator's own state.
    """
    line = _line(satisfaction, "satisfaction")
    return float(line[-1]) if len(line) else float("nan")


def satisfaction_mean(satisfaction: ArrayLike) -> float:
    """Mean satisfaction over a session, (1/T) sum_t S_t.

    ``satisfaction`` (T,), the hidden satisfaction after each step. Range: that of satisfaction; ``nan`` if T = 0.
    Source: the simulator's own state.
    """
    return _mean(_line(satisfaction, "satisfaction"))


def category_exposure(slates: ArrayLike, membership: ArrayLike) -> Ints:
    """How often each category was shown in a session, (C,) int: n_c = sum over shown items i of membership[i, c].

    An item shown twice counts twice, an item of several categories once in each. Range 0 to T * k.
    """
    shown = _slates(slates)
    members = np.asarray(membership, dtype=np.bool_)
    shown_members = members.take(shown[shown >= 0], axis=0).astype(np.float32)  # (n, C)
    ones = np.ones(len(shown_members), dtype=np.float32)
    return np.asarray(ones @ shown_members, dtype=np.int64)  # exact below 2 ** 24, and thrice as fast as a sum of bools


def category_coverage(slates: ArrayLike, membership: ArrayLike) -> float:
    """Share of the categories that a session showed at least once, |{c: n_c > 0}| / C.

    Range 0 to 1; n_c as in :func:`category_exposure`. Source: Gao et al. 2023, "Alleviating Matthew Effect of Offline
    Reinforcement Learning in Interactive Recommendation" (SIGIR), which reports its complement as category domination.
    """
    return float((category_exposure(slates, membership) > 0).mean())


def category_entropy(slates: ArrayLike, membership: ArrayLike) -> float:
    """Shannon entropy of a session's category exposure in bits, -sum_c p_c log2 p_c with p_c = n_c / sum n.

    Range 0 (one category, or nothing shown) to log2 C (all alike). Source: Shannon 1948.
    """
    counts = category_exposure(slates, membership)
    seen = counts[counts > 0]
    if not len(seen):
        return 0.0
    shares = seen / seen.sum()
    return float(max(0.0, -(shares * np.log2(shares)).sum()))


def intra_list_distance(slates: ArrayLike, vectors: ArrayLike) -> float:
    """Mean distance 1 - cosine between the items of a slate, averaged over the session's slates.

    Per slate of n items, (1 / (n (n - 1))) sum_{i != j} (1 - cos(v_i, v_j)). The sum of the cosines is |sum_i u_i|^2 -
    sum_i |u_i|^2 over unit vectors u, so no pair is formed. A zero vector has cosine 0 with everything.

    Range 0 (all alike, and slates of one item) to 2; ``nan`` if nothing was shown.
    Source: Ziegler et al. 2005, "Improving Recommendation Lists Through Topic Diversification" (WWW), eq. 5.
    """
    shown = _slates(slates)
    filled = (shown >= 0).sum(axis=1)
    pairs = filled * (filled - 1)
    cosines = _cosine_sums(np.asarray(vectors, dtype=np.float64), shown)
    distance = np.where(pairs > 0, 1.0 - cosines / np.maximum(pairs, 1), 0.0)
    return _mean(distance[filled > 0].clip(0.0, 2.0))


def slate_overlap(slates: ArrayLike, membership: ArrayLike) -> float:
    """Mean Jaccard index of the category sets of consecutive slates, |A & B| / |A | B|.

    Range 0 (never the same category twice in a row) to 1 (always the same categories); ``nan`` where no two consecutive
    slates have a category. Source: Jaccard 1901.
    """
    sets = _category_sets(_slates(slates), np.asarray(membership, dtype=np.bool_))
    both = (sets[1:] & sets[:-1]).sum(axis=1)
    either = (sets[1:] | sets[:-1]).sum(axis=1)
    defined = either > 0
    return _mean(both[defined] / either[defined])


def catalog_coverage(counts: ArrayLike, n_items: int | None = None) -> float:
    """Share of the catalog's items that were shown at least once, |{i: x_i > 0}| / I.

    ``counts`` (I,) exposures per item; with ``n_items`` given, items that are missing from ``counts`` were never shown.
    Range 0 to 1. It grows with the number of sessions: compare it only at equal numbers.
    Source: Ge, Delgado-Battenfeld, Jannach 2010, "Beyond Accuracy" (RecSys), section 3.
    """
    exposures, total = _exposures(counts, n_items)
    return float((exposures > 0).sum() / total)


def gini(counts: ArrayLike, n_items: int | None = None) -> float:
    """Gini coefficient of exposure over all items of the catalog, those never shown included.

    With exposures x_(1) <= ... <= x_(I) in ascending order, G = sum_i (2 i - I - 1) x_(i) / (I sum_i x_(i)).
    ``counts`` and ``n_items`` as in :func:`catalog_coverage`.

    Range 0 (all items shown alike) to (I - 1) / I (one item has it all); ``nan`` if nothing was shown.
    Source: Gini 1912, in the sorted form of Damgaard and Weiner 2000 (Ecology 81).
    """
    exposures, total = _exposures(counts, n_items)
    shown = np.sort(exposures[exposures > 0])
    if not len(shown):
        return float("nan")
    ranks = np.arange(total - len(shown) + 1, total + 1)  # the zeros have the ranks below
    return float(((2 * ranks - total - 1) * shown).sum() / (total * shown.sum()))


def normalised(score: ArrayLike, random: ArrayLike, privileged: ArrayLike) -> Floats:
    """Where a score lies between the floor and the ceiling, (R - R_random) / (R_privileged - R_random), elementwise.

    0 is uniform random, 1 is the agent that reads the hidden state; below 0 is worse than random. ``nan`` where the
    ceiling is not above the floor, since then there is no room to normalise by. Source: the human-normalised
    score of Mnih et al. 2015 (Nature 518), with the privileged agent in the human's place.
    """
    floor = np.asarray(random, dtype=np.float64)
    room = np.asarray(privileged, dtype=np.float64) - floor
    above = np.asarray(score, dtype=np.float64) - floor
    return np.asarray(above / np.where(room > 0, room, np.nan), dtype=np.float64)


def _slates(slates: ArrayLike) -> NDArray[np.integer[Any]]:
    """The slates, one row per step; other shapes and types are refused."""
    shown = np.asarray(slates)
    if shown.ndim != 2 or (shown.size and not np.issubdtype(shown.dtype, np.integer)):
        raise ValueError(f"slates must be whole numbers of shape (T, k), given {shown.dtype} of shape {shown.shape}")
    return shown.astype(np.int64, copy=False)


def _line(values: ArrayLike, name: str) -> Floats:
    """One number per step; refuses other shapes."""
    line = np.asarray(values, dtype=np.float64)
    if line.ndim != 1:
        raise ValueError(f"{name} must hold one number per step, shape (T,), given shape {line.shape}")
    return line


def _exposures(counts: ArrayLike, n_items: int | None) -> tuple[Floats, int]:
    """Exposures per item and the size of the catalog; refuses negative counts and too small a catalog."""
    exposures = _line(counts, "counts")
    total = len(exposures) if n_items is None else n_items
    if total < max(1, len(exposures)):
        raise ValueError(f"n_items must be at least 1 and the number of counts ({len(exposures)}), given {total}")
    if (exposures < 0).any():
        raise ValueError(f"counts must not be negative, given {exposures.min()}")
    return exposures, total


def _cosine_sums(vectors: Floats, shown: NDArray[np.integer[Any]]) -> Floats:
    """Sum of the cosines over the ordered pairs of different slots in each slate, (T,)."""
    rows = vectors.take(shown, axis=0)  # (T, k, d): -1 reads the last item, which its weight of zero takes out again
    squares = np.einsum("tkd,tkd->tk", rows, rows)
    kept: Bools = np.logical_and(shown >= 0, squares > 0)
    weights = np.where(kept, 1.0 / np.sqrt(np.where(kept, squares, 1.0)), 0.0)
    total = (weights[:, None, :] @ rows)[:, 0]  # (T, d): the sum of the unit vectors
    return np.asarray(np.einsum("td,td->t", total, total) - kept.sum(axis=1), dtype=np.float64)


def _category_sets(shown: NDArray[np.integer[Any]], members: Bools) -> Bools:
    """Which categories each slate had, (T', C) bool, slates without any item left out."""
    there = shown >= 0
    sets = np.logical_and(members.take(shown, axis=0), there[:, :, None])  # (T, k, C)
    return np.asarray(sets[there.any(axis=1)].any(axis=1), dtype=np.bool_)


def _mean(values: NDArray[Any]) -> float:
    return float(values.mean()) if len(values) else float("nan")
