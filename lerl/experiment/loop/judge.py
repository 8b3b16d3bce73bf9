"""All deployments judged: every figure of every period, what changed since the first, and what the loop itself does."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lerl.experiment.loop.measure import METRICS, PERSONAL, SHARED, Measured
from lerl.experiment.loop.settings import FLOORS, FROZEN, OPEN
from lerl.report.influence import jackknife_draws
from lerl.report.intervals import Floats, Interval, Weights, bootstrap_weights, intervals
from lerl.report.paired import Difference, difference, mean_draws

LIMITS = {"R_session": (0.0, np.inf), "R_period": (0.0, np.inf), "active_days": (0.0, np.inf), "known": (-1.0, 1.0)}
"""What a figure can be, where that is not from 0 to 1; intervals end there."""
Draws = Mapping[str, Floats]
"""By figure, (B + 1, A) of A agents, the sample first."""


def draws_of(measured: Sequence[Sequence[Measured]], weights: Weights) -> Draws:
    """The figures of one period in every draw, of A agents in S seeds."""
    personal = np.stack([np.stack([one.personal for one in seeds], axis=1) for seeds in measured])  # (A, N, S, M)
    found = dict(mean_draws(personal, weights, PERSONAL))
    shared = np.stack([np.stack([one.shared for one in seeds], axis=1) for seeds in measured], axis=1)  # (F, A, S)
    without = np.stack([np.stack([one.without for one in seeds], axis=1) for seeds in measured], axis=1)
    drawn = jackknife_draws(shared, without, weights.users)  # (F, A, S, B + 1)
    means = np.einsum("bs,fasb->fba", weights.seeds / weights.seeds.sum(axis=1, keepdims=True), drawn)
    return found | dict(zip(SHARED, means, strict=True))


def judge(measured: Mapping[str, Sequence[Sequence[Measured]]], bootstrap: int, people: int) -> dict[str, Any]:
    """Figures and their paired 95 % intervals.

    All agents and periods share the draws of people and seeds, so that whatever is compared is paired; see
    `lerl.report.intervals`.

    Args:
        measured: by agent, of each of P periods, of each of S seeds. bootstrap: draws. people: N.

    Returns:
        agents: by agent and figure "periods", P of them, "change" from the first to the last and "beside_random" in the
        last. loop: in the last period, what an agent has more than its controls, by figure.
    """
    agents, periods = list(measured), len(next(iter(measured.values())))
    seeds = len(next(iter(measured.values()))[0])
    weights = bootstrap_weights(people, seeds, bootstrap, np.random.default_rng(0))
    drawn = [[draws_of([measured[agent][p] for agent in agents], one) for one in weights] for p in range(periods)]

    def of(figure: str, period: int, earlier: int | None = None) -> list[Interval]:
        given = [one[figure] for one in drawn[period]]
        if earlier is None:
            low, high = LIMITS.get(figure, (0.0, 1.0))
            return intervals(given, people, seeds, printed=lambda ends: np.clip(ends, low, high))
        return intervals([now - then[figure] for now, then in zip(given, drawn[earlier], strict=True)], people, seeds)

    def pair(figure: str, a: str, b: str) -> Difference:
        i, j = agents.index(a), agents.index(b)
        return difference(a, b, figure, [(one[figure][:, i], one[figure][:, j]) for one in drawn[-1]], people, seeds)

    found: dict[str, dict[str, Any]] = {agent: {} for agent in agents}
    for figure in METRICS:
        curve = [of(figure, period) for period in range(periods)]
        change = of(figure, periods - 1, 0)
        for place, agent in enumerate(agents):
            found[agent][figure] = {
                "periods": [one[place] for one in curve],
                "change": change[place],
                "beside_random": pair(figure, agent, FLOORS[0]),
            }
    controls = [(agent, f"{agent}{mark}") for agent in agents for mark in (OPEN, FROZEN) if f"{agent}{mark}" in agents]
    loop = [pair(figure, agent, control) for agent, control in controls for figure in METRICS]
    return {"users": people, "seeds": seeds, "agents": found, "loop": loop}
