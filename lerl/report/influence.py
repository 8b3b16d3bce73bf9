"""What leaving one user out changes in a figure of all users together, and the draws that are made of it.

The jackknife: Efron and Stein 1981, "The jackknife estimate of variance", Annals of Statistics 9; why it is used is
said in `lerl.report.bootstrap.summarize`.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def jackknife_draws(estimate: Floats, without: Floats, weights: Floats) -> Floats:
    """Estimates (...,) by draw, (..., B + 1), from their values without each user (..., U), whose influence is drawn.

    A user without whom there is no value, since nobody else was shown anything, counts as having no influence.
    """
    users = without.shape[-1]
    known = np.where(np.isnan(without), estimate[..., None], without)
    influence = (users - 1) / users * (known.mean(axis=-1, keepdims=True) - known)
    drawn = influence.reshape(-1, users) @ weights.T
    return np.asarray(np.clip(estimate[..., None] + drawn.reshape(*estimate.shape, -1), 0.0, 1.0))


def coverage_without(user: Ints, item: Ints, n_items: int, users: int) -> Floats:
    """Catalog coverage when each user in turn is left out, (U,); user and item (n,) name the pairs with exposure."""
    users_of_item = np.bincount(item, minlength=n_items)
    only_theirs = np.bincount(user[users_of_item[item] == 1], minlength=users)
    return np.asarray(((users_of_item > 0).sum() - only_theirs) / n_items)


def gini_without(user: Ints, item: Ints, count: Ints, n_items: int, users: int) -> Floats:
    """Gini when each user in turn is left out, (U,); user, item and count (n,) are the exposures.

    With C(t) the number of items shown at most t times, I items and X exposures, G = sum_t C(t) (I - C(t)) / (I X).
    Without a user C(t) grows by D(t), the number of items that only then are shown at most t times, so that the sum
    changes by sum_t D(t) (I - 2 C(t)) - D(t)^2, and no exposures need sorting again.
    """
    totals = np.bincount(item, weights=count, minlength=n_items).astype(np.int64)
    at_most = np.cumsum(np.bincount(totals))  # C(t) for t = 0 .. the most exposures of an item
    slope = np.concatenate([[0], np.cumsum(n_items - 2 * at_most)])
    linear = np.bincount(user, weights=slope[totals[item]] - slope[totals[item] - count], minlength=users)
    squares = _squared_overlaps(user, totals[item] - count, totals[item], users)
    left = totals.sum() - np.bincount(user, weights=count, minlength=users)
    change = (at_most * (n_items - at_most)).sum() + linear - squares
    return np.where(left > 0, change / (n_items * np.where(left > 0, left, 1.0)), np.nan)


def _squared_overlaps(user: Ints, starts: Ints, ends: Ints, users: int) -> Floats:
    """For each user sum_t D(t)^2, (U,), where D(t) is how many of the user's ranges [start, end) hold t."""
    span = int(ends.max()) + 1
    keys = np.concatenate([(user * span + starts) * 2 + 1, (user * span + ends) * 2])  # odd where a range starts
    places, opens = np.divmod(np.sort(keys), 2)  # sorting whole numbers is several times as fast as an indirect sort
    whose, at = np.divmod(places, span)
    depth = np.cumsum(2 * opens - 1)  # back at 0 at the end of each user's ranges
    return np.bincount(whose, weights=depth**2 * np.diff(at, append=0), minlength=users).astype(np.float64)


def share_without(part: Floats, whole: Floats) -> Floats:
    """The share sum(part) / sum(whole) of (U,) each without each user in turn, (U,); nan where nothing is left."""
    left = whole.sum() - whole
    return np.asarray(np.where(left > 0, (part.sum() - part) / np.where(left > 0, left, 1.0), np.nan))
