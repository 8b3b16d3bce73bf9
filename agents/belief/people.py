"""How much people differ from what is known of them, and drift: expectation-maximisation over whole sessions."""

import numpy as np
from numba import njit

from lerl.agents.belief.filter import TrainingSessions, begin, drift, learn, likelihood, new_belief
from lerl.agents.belief.model import UserModel


def refit_people(model: UserModel, sessions: TrainingSessions) -> UserModel:
    """The model with `spread`, `noise` and `revert` of greater likelihood.

    One step of EM (Shumway and Stoffer 1982) for the two covariances; as that is slow, all three are then tried at half
    and at twice their size.
    """
    belief = new_belief(1, model.vectors.shape[1], model.fills.shape[1])
    spread, noise, moves = _smooth(model, belief, sessions)
    model = model._replace(spread=spread / len(sessions.homes), noise=noise / moves if moves else model.noise)
    for name in ("spread", "noise", "revert"):
        tried = [model._replace(**{name: getattr(model, name) * factor}) for factor in (0.5, 1.0, 2.0)]
        model = max(tried, key=lambda one: likelihood(one, sessions))
    return model._replace(revert=min(model.revert, 0.5))


@njit(cache=True)
def _smooth(model, belief, sessions):  # type: ignore[no-untyped-def]
    """Sums of the second moments of what people are off at the begin, and of what steps add; how many steps."""
    homes, starts, items, feedback, _ = sessions
    n, longest = homes.shape[1], 0
    for s in range(len(homes)):
        longest = max(longest, starts[s + 1] - starts[s])
    now, now_cov = np.empty((longest, n)), np.empty((longest, n, n))
    ahead, ahead_cov = np.empty((longest, n)), np.empty((longest, n, n))
    spread, noise, moves = np.zeros((n, n)), np.zeros((n, n)), 0
    logits, stay = np.empty(items.shape[1]), np.ones(n)
    stay[: n - 1] = 1.0 - model.revert
    for s in range(len(homes)):
        length = starts[s + 1] - starts[s]
        if length == 0:
            continue
        begin(model, belief, 0, homes[s])
        for t in range(length):
            learn(model, belief, 0, items[starts[s] + t], feedback[starts[s] + t], logits)
            now[t], now_cov[t] = belief.mean[0], belief.cov[0]
            drift(model, belief, 0)
            ahead[t], ahead_cov[t] = belief.mean[0], belief.cov[0]
        mean, cov = now[length - 1].copy(), now_cov[length - 1].copy()
        for t in range(length - 2, -1, -1):  # Rauch, Tung and Striebel 1965
            back = (now_cov[t] * stay) @ np.linalg.inv(ahead_cov[t])
            before = now[t] + back @ (mean - ahead[t])
            before_cov = now_cov[t] + back @ (cov - ahead_cov[t]) @ back.T
            both = (cov @ back.T) * stay
            off = mean - stay * before - (1.0 - stay) * homes[s]
            noise += np.outer(off, off) + cov - both - both.T + (before_cov * stay).T * stay
            moves += 1
            mean, cov = before, before_cov
        off = mean - homes[s]
        spread += np.outer(off, off) + cov
    return spread, noise, moves
