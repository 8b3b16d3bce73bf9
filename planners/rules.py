"""Planners that are rules: random, round robin, greedy, boredom-aware, rotating, and blind to the user."""

import warnings
from collections.abc import Callable

import numpy as np
from numba import njit
from numpy.typing import NDArray

from lerl.envs import draws, threads
from lerl.envs.plugins import PluginError, blamed, load_plugin
from lerl.planners.base import PlanContexts, Planner, Plans, Sessions, with_defaults
from lerl.planners.satiation import Satiation, Tiredness, fit_satiation


def _top(scores: NDArray[np.floating], size: int) -> NDArray[np.bool_]:
    """The `size` best scored categories of each session, (B, C) bool; ties go to the lower number."""
    wide, count = np.ascontiguousarray(scores, np.float64), min(size, scores.shape[1])
    least = threads.least(0.1 + count * scores.shape[1] / 500)
    (best,) = threads.joined(lambda block: (_best(wide[block], count),), len(wide), least)
    return best


@njit(cache=True, nogil=True)
def _best(scores, size):  # type: ignore[no-untyped-def]
    allowed = np.zeros(scores.shape, np.bool_)
    for b in range(len(scores)):
        for _ in range(size):
            best = -1
            for c in range(scores.shape[1]):
                if not allowed[b, c] and (best < 0 or scores[b, c] > scores[b, best]):
                    best = c
            allowed[b, best] = True
    return allowed


def _log_odds(contexts: PlanContexts, block: slice) -> NDArray[np.float32]:
    """Of the predicted chances (n, C) of a block of sessions."""
    predicted_ctr = np.clip(contexts.predicted_ctr[block], 1e-3, 1 - 1e-3)
    return np.asarray(np.log(predicted_ctr / (1 - predicted_ctr)))


class RandomPlanner(Planner):
    """Uniformly drawn categories, new ones at every plan: a floor."""

    def __init__(self, size: int, seed: int) -> None:
        self.size = size

    def plan(self, contexts: PlanContexts) -> Plans:
        """`size` categories drawn without replacement from the session's own stream."""
        drawn = draws.uniforms(contexts.session_key, 0, contexts.steps, len(contexts.names))
        return Plans(_top(drawn, self.size), np.zeros(drawn.shape, bool))


class RoundRobinPlanner(Planner):
    """Every category in turn, `size` at a time, whoever the user is: a floor that never repeats itself."""

    def __init__(self, size: int, seed: int) -> None:
        self.size = size

    def plan(self, contexts: PlanContexts) -> Plans:
        """The next `size` categories after those of the plan before."""
        count = len(contexts.names)
        size = min(self.size, count)
        turn = (contexts.plans[:, None] * size + np.arange(size)) % count
        allowed = np.zeros((len(contexts), count), bool)
        np.put_along_axis(allowed, turn, True, axis=1)
        return Plans(allowed, np.zeros(allowed.shape, bool))


class GreedyPlanner(Planner):
    """The categories of highest predicted CTR, boredom ignored."""

    def __init__(self, size: int, seed: int) -> None:
        self.size = size

    def plan(self, contexts: PlanContexts) -> Plans:
        """The `size` categories of highest predicted CTR."""
        allowed = _top(contexts.predicted_ctr, self.size)
        return Plans(allowed, np.zeros(allowed.shape, bool))


class BoredomAwarePlanner(Planner):
    """Predicted CTR, with a bonus for what is uncertain (UCB), minus satiation.

    A category's score is, in log-odds,

        predicted CTR + what the session's feedback adds + bonus * standard deviation of that - price * tiredness

    and tiredness is `Satiation`: decayed exposure times weights. Before it has seen sessions, exposure to a
    category costs only that category, by an assumed weight. From the feedback in whole training sessions it learns how
    fast exposure fades and what exposure to each category costs each other one.

    Args:
        size: most categories a plan allows.
        seed: unused; the rule makes no draws.
    """

    bonus = 0.6  # standard deviations of the UCB
    price = 3.0  # a unit of tiredness costs now and, while it fades, later
    margin = 0.3  # log-odds by which a category may be more tired than what is allowed before it is avoided
    trusts_belief = True

    def __init__(self, size: int, seed: int) -> None:
        self.size = size
        self.satiation: Satiation | None = None
        self._tiredness = Tiredness()

    def session_ended(self, sessions: Sessions) -> None:
        """Learn satiation from whole sessions."""
        self.satiation = fit_satiation(sessions)

    def state(self) -> dict[str, NDArray[np.float64]]:
        """What was learned, as arrays."""
        learned = self.satiation
        if learned is None:
            return {}
        return {"weights": learned.weights, "rest": np.array([learned.intercept, learned.slope, learned.keep])}

    def restore(self, state: dict[str, NDArray[np.float64]]) -> None:
        """Take over what was learned before."""
        if "rest" in state:
            intercept, slope, keep = state["rest"].tolist()
            self.satiation = Satiation(intercept, slope, state["weights"], keep)

    def plan(self, contexts: PlanContexts) -> Plans:
        """Allow the `size` best scored categories; avoid what is clearly more tired than those."""
        return self._best(contexts, np.zeros((len(contexts), len(contexts.names)), bool))

    def _best(self, contexts: PlanContexts, excluded: NDArray[np.bool_]) -> Plans:
        """The plans when some categories (B, C) come last whatever their score, avoided unless they are needed."""
        believed = contexts.tiredness is not None and contexts.uncertainty is not None
        found = () if believed else self._tiredness.of(contexts, self._satiation(contexts))

        def best(at: slice) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
            value, tired = self._valued(contexts, found, at)
            value[(contexts.predicted_ctr[at] <= 0) | excluded[at]] = -1e9
            allowed = _top(value - self.price * tired, self.size)
            rested = np.where(allowed, tired, 0.0).sum(axis=1, keepdims=True) / allowed.sum(axis=1, keepdims=True)
            return allowed, ~allowed & (excluded[at] | (tired > rested + self.margin))

        allowed, avoid = threads.joined(best, len(contexts), threads.least(0.5 + excluded.shape[1] / 20))
        return Plans(allowed, avoid)

    def _valued(
        self, contexts: PlanContexts, found: tuple[NDArray[np.float64], ...], at: slice
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Of a block of sessions: log-odds of categories (n, C) before boredom, with the bonus; tiredness (n, C).

        found: of all sessions, see `Tiredness`; nothing where a belief says it.
        """
        log_odds, uncertainty = _log_odds(contexts, at), contexts.uncertainty
        if contexts.tiredness is not None and uncertainty is not None:
            return (log_odds + self.bonus * uncertainty[at]).astype(np.float64), contexts.tiredness[at].astype(float)
        satiation, (tired, surplus, spread) = self._satiation(contexts), found
        recalibrated = satiation.intercept + satiation.slope * log_odds
        return recalibrated + surplus[at] + self.bonus * spread[at], tired[at]

    def _satiation(self, contexts: PlanContexts) -> Satiation:
        return self.satiation or Satiation.assumed(len(contexts.names))


class RotationPlanner(BoredomAwarePlanner):
    """The boredom-aware rule among rested categories: those of the last few slates are left out, unless there are too
    few others to fill a plan.

    The number of slates that a category rests is chosen by successive halving in training sessions (Karnin, Koren and
    Somekh, ICML 2013): each session draws one of the candidates, and after each round, the better half of them is kept,
    by total feedback of their sessions. The first round does not count, since nothing is known of satiation in it. So
    the planner learns, only from feedback and lengths of sessions, whether repetition drives users away. Without
    training sessions, it draws a candidate for each session.
    """

    RESTS = (0, 1, 2, 3)
    rounds = 3
    trusts_belief = False

    def __init__(self, size: int, seed: int) -> None:
        super().__init__(size, seed)
        self.rests = np.array(self.RESTS)  # those that are left
        self._totals, self._tried = np.zeros(max(self.RESTS) + 1), np.zeros(max(self.RESTS) + 1)
        self._seen = 0

    def session_ended(self, sessions: Sessions) -> None:
        """Learn satiation, and from every round but the first how long to rest."""
        super().session_ended(sessions)
        if self._seen:
            tried = self._drawn(sessions.keys[self._seen :])
            totals = np.maximum(sessions.feedback[self._seen :], 0).sum(axis=(1, 2))
            self._tried += np.bincount(tried, minlength=len(self._tried))
            self._totals += np.bincount(tried, totals, len(self._totals))
            means = (self._totals / np.maximum(self._tried, 1))[self.rests]
            best = np.argsort(-means, kind="stable")[: -(-len(self.rests) // 2)]
            self.rests = np.sort(self.rests[best])
        self._seen = len(sessions.keys)

    def state(self) -> dict[str, NDArray[np.float64]]:
        """What was learned, as arrays."""
        return super().state() | {"rests": self.rests.astype(np.float64)}

    def restore(self, state: dict[str, NDArray[np.float64]]) -> None:
        """Take over what was learned before."""
        super().restore(state)
        self.rests = state["rests"].astype(np.int64)

    def plan(self, contexts: PlanContexts) -> Plans:
        """Allow the best scored of the categories that had their rest, and avoid those that had not."""
        return self._best(contexts, _of_last(contexts, self._drawn(contexts.session_key)))

    def _drawn(self, keys: NDArray[np.uint64]) -> NDArray[np.int64]:
        """The rests that sessions try, (B,)."""
        drawn = draws.uniforms(keys, 0, np.zeros(len(keys), np.int64), 1)[:, 0]
        return self.rests[(drawn * len(self.rests)).astype(np.int64)]


def _of_last(contexts: PlanContexts, slates: NDArray[np.int64]) -> NDArray[np.bool_]:
    """The categories shown in each session's last so many slates, (B,) to (B, C) bool."""
    found = np.zeros((len(contexts), len(contexts.names)), bool)
    slots = contexts.recent_items.shape[1]
    for back in range(1, min(int(slates.max(initial=0)), slots // contexts.slate_size) + 1):
        items = contexts.recent_items[:, slots - back * contexts.slate_size : slots - (back - 1) * contexts.slate_size]
        shown = (contexts.membership[items] & (items >= 0)[..., None]).any(axis=1)
        found |= shown & (slates >= back)[:, None]
    return found


class BlindPlanner(Planner):
    """The boredom-aware rule for the average user: one plan for everybody, by the number of slates shown.

    It plans by assumed satiation and the average user's CTR, nothing else: a personal plan that does not beat it is of
    no use. The average CTR is learned from whole training sessions; before there are any, it is the same for all
    categories.
    """

    def __init__(self, size: int, seed: int) -> None:
        self.size = size
        self.predicted_ctr: NDArray[np.float64] | None = None

    def session_ended(self, sessions: Sessions) -> None:
        """Learn the average user's CTR of each category."""
        member = sessions.membership[sessions.items] & (sessions.items >= 0)[..., None]
        shown = member.sum(axis=(0, 1, 2))
        predicted = np.einsum("ntk,ntkc->c", np.where(sessions.items >= 0, sessions.estimates, 0.0), member)
        self.predicted_ctr = np.where(shown > 0, predicted / np.maximum(shown, 1), 0.0)

    def state(self) -> dict[str, NDArray[np.float64]]:
        """What was learned, as arrays."""
        return {} if self.predicted_ctr is None else {"predicted_ctr": self.predicted_ctr}

    def restore(self, state: dict[str, NDArray[np.float64]]) -> None:
        """Take over what was learned before."""
        self.predicted_ctr = state.get("predicted_ctr", state.get("liking"))  # the name in runs made by 0.1.0

    def plan(self, contexts: PlanContexts) -> Plans:
        """The plans of its own schedule."""
        count = len(contexts.names)
        schedule = self._schedule(count, int(contexts.plans.max(initial=0)) + 1)
        return Plans(schedule[contexts.plans], np.zeros((len(contexts), count), bool))

    def _schedule(self, count: int, length: int) -> NDArray[np.bool_]:
        """(length, C): the categories of highest CTR, minus the satiation that its own plans cause."""
        predicted_ctr = np.clip(
            np.full(count, 0.5) if self.predicted_ctr is None else self.predicted_ctr, 1e-3, 1 - 1e-3
        )
        value, satiation = np.log(predicted_ctr / (1 - predicted_ctr)), Satiation.assumed(count)
        exposure = np.zeros(count)
        schedule = np.zeros((length, count), bool)
        for step in range(length):
            tired = satiation.weights @ exposure
            schedule[step] = _top((value - BoredomAwarePlanner.price * tired)[None], self.size)[0]
            exposure = (exposure + schedule[step] / schedule[step].sum()) * satiation.keep
        return schedule


RULES: dict[str, Callable[..., Planner]] = {
    "random": RandomPlanner,
    "round_robin": RoundRobinPlanner,
    "greedy": GreedyPlanner,
    "boredom": BoredomAwarePlanner,
    "rotation": RotationPlanner,
    "blind": BlindPlanner,
}


MOST_ROUNDS = 10_000
"""In which a planner can be given its sessions."""


def build_planner(name: str, size: int, seed: int, key: str = "planner.name") -> Planner:
    """A planner by its name or as "my_package.my_module:MyPlanner"; key: where the name was given, for errors.

    Raises:
        PluginError: no such planner, or one without `plan`, with wrong `rounds`, or not made by `size` and `seed`.
    """
    if name in RULES:
        return RULES[name](size=size, seed=seed)
    made = load_plugin(name, key, RULES, ("plan",), ("session_ended", "state", "restore"))
    with blamed(f"{key} is {name!r}, but {made.__name__}(size=..., seed=...)"):
        own: Planner = with_defaults(made, Planner)(size=size, seed=seed)
    with blamed(f"{key} is {name!r}, but its rounds"):
        if hasattr(own, "lots"):  # as planners for lerl 0.1.0 have it
            warnings.warn(f"{key} is {name!r}: its attribute lots is now called rounds; rename it", stacklevel=2)
            own.rounds = own.lots
        rounds = own.rounds
    if not isinstance(rounds, int) or isinstance(rounds, bool) or not 1 <= rounds <= MOST_ROUNDS:
        raise PluginError(f"{key} is {name!r}, whose rounds must be a whole number from 1 to {MOST_ROUNDS:,}")
    return own
