"""What a fitted model of users is compared with: clicks predicted from running means, and by boosted trees."""

import numpy as np
from numba import njit
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier  # type: ignore[import-untyped, unused-ignore]
from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped, unused-ignore]
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped, unused-ignore]

from lerl.envs.catalog import Axis
from lerl.users.events import Events, item_features

LAST = (1, 5, 10)

Floats = NDArray[np.float64]


def means_baseline(events: Events, hidden: bool = False) -> Floats:
    """(N,) chance of a click: a logistic regression on the user's running mean and the item's mean out of fold.

    The features are those of `Events.running`, log-odds and log(1 + count) of either; the fit is on training users.

    Args:
        events: of a log.
        hidden: whether every item, in the fit as well, is one that nobody met: only the user's running mean is left.
    """
    features = _running(events, hidden)
    known = features[events.to_train]
    standard = (features - known.mean(axis=0)) / np.maximum(known.std(axis=0), 1e-6)
    model = LogisticRegression(C=1e6, max_iter=1000).fit(standard[events.to_train], events.clicks[events.to_train])
    return np.asarray(model.predict_proba(standard)[:, 1])


def boosted_baseline(events: Events, hidden: bool = False, seed: int = 0) -> Floats:
    """(N,) chance of a click: gradient boosting on `sequence_features`, fitted on training users.

    Trees on histograms (Ke et al. 2017, LightGBM) as scikit-learn has them; a tenth of the events tells when to stop.

    Args:
        events: of a log.
        hidden: whether every item, in the fit as well, is one that nobody met; its categories are known.
        seed: of the tenth.
    """
    features = sequence_features(events, hidden)
    model = HistGradientBoostingClassifier(
        learning_rate=0.05, max_iter=500, early_stopping=True, random_state=seed % 2**32
    )
    with threadpool_limits(limits=1):
        model.fit(features[events.to_train], events.clicks[events.to_train])
        return np.asarray(model.predict_proba(features)[:, 1])


def _running(events: Events, hidden: bool) -> Floats:
    if not hidden:
        return events.running
    none = np.zeros(len(events), np.int64)
    return np.hstack([events.running[:, :2], item_features(none, none, events.base)])


def sequence_features(events: Events, hidden: bool = False) -> Floats:
    """(N, 11) of each event, from what came before.

    The four features of `Events.running`; share of clicks in the item's categories; share of clicks among the user's
    last 1, 5 and 10 events; share of clicks among the user's events that have a category in common with the item, and
    their number; number of the user's events. A share of nothing is not a number.
    """
    running = np.concatenate([[0], np.cumsum(events.clicks)])
    here, first = np.arange(len(events)), events.starts[events.users]
    recent = []
    for count in LAST:
        since = np.maximum(here - count, first)
        recent.append(_share(running[here] - running[since], here - since))
    groups = Axis(tuple(map(str, range(events.categories.shape[1]))), events.categories).groups
    alike, liked = _same_category(events.users, events.items, events.clicks, groups, events.categories)
    return np.column_stack(
        [_running(events, hidden), events.category_share, *recent, _share(liked, alike), alike, events.place]
    )


def _share(clicks: NDArray[np.int64], count: NDArray[np.int64]) -> Floats:
    share = np.full(len(count), np.nan)
    np.divide(clicks, count, out=share, where=count > 0)
    return share


@njit(cache=True)
def _same_category(users, items, clicks, groups, categories):  # type: ignore[no-untyped-def]
    """Of each user's earlier events that share a category with the event's item: how many, and how many clicks."""
    count, liked = np.zeros(len(users), np.int64), np.zeros(len(users), np.int64)
    first = 0
    for n in range(len(users)):
        if users[n] != users[first]:
            first = n
        for earlier in range(first, n):
            for m in range(groups.shape[1]):
                group = groups[items[n], m]
                if group >= 0 and categories[items[earlier], group]:
                    count[n] += 1
                    liked[n] += clicks[earlier]
                    break
    return count, liked
