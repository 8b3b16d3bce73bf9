"""Why people leave, learned from sessions: which repetition of which groups drives them away, and what one costs.

Rules of repetition are compared: by each, a slate repeats a group or does not, and the chance of leaving follows from
that, see `hazard`. The rule is kept whose hazard predicts other sessions best, if it predicts them better than one
without repetition. Groups that nobody names are revised from when people left, see `groups`.
"""

import numpy as np
from numpy.typing import NDArray

from lerl.agents.belief.filter import TrainingSessions
from lerl.agents.belief.groups import refit_groups
from lerl.agents.belief.hazard import circumstances, fit_hazard, predicted, steps_lost
from lerl.agents.belief.model import UserModel
from lerl.agents.belief.repetition import Rule, repetitions, rules

GAIN = 0.02  # share of the log-likelihood of other sessions that a rule must explain, or repetition counts for nothing
HOPE = 0.01  # the same, before groups are revised
FEW = 1500  # sessions, at most, that rules are compared by; a third of them are those that are predicted
MOST = 6000  # sessions, at most, by which groups are revised
TRIED = 3  # rules whose groups are revised, before the best is chosen
LONGEST = 200  # steps, and repetitions, that have prices of their own
SLOPE = 4.0  # log-odds per chance of a click, where that is a half
Floats = NDArray[np.float32]
NONE = Rule(0, False, False, 1)


def choose_leaving(model: UserModel, groups: list[Floats], sessions: TrainingSessions, seed: int) -> UserModel:
    """The model with the `groups` and the `rule` of the best predictions, or as it is where none helps.

    Args:
        groups: (I, G) each, the ways to group items that are compared: an item's chances of each group.
        seed: of the order of the sessions.
    """
    some = _some(sessions, FEW)
    third = np.arange(len(some.homes)) % 3 == 0
    ours, others = some.take(np.flatnonzero(~third)), some.take(np.flatnonzero(third))
    if not len(ours.homes):
        return model
    none = _score(ours, others, groups[0], NONE)
    tried = [(_score(ours, others, own, rule), own, rule) for own in groups for rule in rules(some.items.shape[1])]
    hopeful = [one for one in tried if one[0] > none + HOPE * abs(none)]
    tried = sorted(hopeful, key=lambda one: -one[0])[:TRIED]
    for _, own, rule in tried[:]:
        revised = _revised(model, own, rule, ours, seed)
        tried.append((_score(ours, others, revised, rule), revised, rule))
    tried = [one for one in tried if one[0] > none + GAIN * abs(none)]
    if not tried:
        return model
    _, own, rule = max(tried, key=lambda one: one[0])
    return model._replace(groups=own, rule=np.array(rule, np.float64))


def refit_leaving(
    model: UserModel, categories: Floats, sessions: TrainingSessions, longest: int, seed: int
) -> UserModel:
    """The model with the `prices` of its rule of leaving, if it has one; groups that nobody names are revised.

    Args:
        categories: (I, G), the groups that are known. longest: slates after which a session ends.
        seed: of the order of the sessions.
    """
    rule, own = Rule(*model.rule.astype(int).tolist()), model.groups
    if not rule.slots:
        return model
    if not np.array_equal(own, categories):
        own = _revised(model, own, rule, _some(sessions, MOST), seed)
    hazard = fit_hazard(*circumstances(sessions, repetitions(own, rule, sessions.starts, sessions.items)))
    worth = sessions.feedback[sessions.items >= 0].mean() * sessions.items.shape[1]
    prices = SLOPE * worth * steps_lost(hazard, longest, LONGEST)
    return model._replace(groups=own, prices=prices)


def _some(sessions: TrainingSessions, most: int) -> TrainingSessions:
    """At most so many of the sessions, of all rounds."""
    count = len(sessions.homes)
    return sessions.take(np.arange(0, count, max(-(-count // most), 1)))


def _revised(model: UserModel, groups: Floats, rule: Rule, sessions: TrainingSessions, seed: int) -> Floats:
    hazard = fit_hazard(*circumstances(sessions, repetitions(groups, rule, sessions.starts, sessions.items)))
    return refit_groups(groups, model.units, rule, hazard.weights[:4], sessions, seed)


def _score(ours: TrainingSessions, others: TrainingSessions, groups: Floats, rule: Rule) -> float:
    """How well the hazard of some sessions predicts when the people of others left: log-likelihood."""
    fitted, tested = (
        circumstances(part, repetitions(groups, rule, part.starts, part.items)) for part in (ours, others)
    )
    return predicted(fit_hazard(*fitted), *tested)
