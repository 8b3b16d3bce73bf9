"""The agent `auto`: of candidates the one that training users prefer, found by successive halving.

In each round all candidates that are left play the same sessions, and the better half stays (Karnin, Koren and Somekh,
"Almost Optimal Exploration in Multi-Armed Bandits", ICML 2013). Unlike there, a candidate is judged by all its sessions
so far; all candidates play the same ones.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from lerl.agents.base import Agent
from lerl.config.schema import AUTO
from lerl.report.metrics import session_totals
from lerl.run.context import FitContext
from lerl.run.specs import AgentSpec

DIVISOR = 2
"""The candidates together play about train.steps divided by this."""


class Choice(NamedTuple):
    """What was chosen, and why.

    Attributes:
        chosen: the label of the agent. steps: user-steps that all candidates' sessions took.
        rounds: for each round the mean R_cum of those that were left, over their sessions until then.
        sessions: for each round how many sessions of each that were.
    """

    chosen: str
    steps: int
    rounds: list[dict[str, float]]
    sessions: list[int]


class _Trials:
    """Sessions of training users that candidates played, the same ones for all that are left.

    Args:
        specs: the candidates. make: a fitted agent. context: training users.
    """

    def __init__(self, specs: Sequence[AgentSpec], make: Callable[[AgentSpec], Agent], context: FitContext) -> None:
        self.make, self.context = make, context
        self.rewards: dict[AgentSpec, list[float]] = {spec: [] for spec in specs}
        self.taken = dict.fromkeys(specs, 0)  # user-steps
        self.batches = 0

    @property
    def steps(self) -> int:
        """User-steps of all."""
        return sum(self.taken.values())

    def mean(self, spec: AgentSpec) -> float:
        """Mean R_cum of a candidate's sessions, 0 before any."""
        return float(np.mean(self.rewards[spec])) if self.rewards[spec] else 0.0

    def length(self, spec: AgentSpec) -> float:
        """Mean steps of a candidate's sessions, before any the most there can be."""
        known = len(self.rewards[spec])
        return self.taken[spec] / known if known else float(self.context.task.config.env.max_steps)

    def play(self, left: Sequence[AgentSpec], steps: int) -> None:
        """As many sessions of each candidate that is left as about so many user-steps allow."""
        end = self.steps + steps
        while count := max(int((end - self.steps) / sum(map(self.length, left))), 0):
            seed = self.context.task.seed(AUTO, self.batches)
            users = np.random.default_rng(seed).choice(self.context.evaluator.users, count)
            for spec in left:
                played = self.context.evaluator.play(self.make(spec), users, 1, seed)
                self.taken[spec] += int(played.lengths.sum())
                self.context.chat.count(int(played.lengths.sum()))
                self.rewards[spec] += session_totals(played.rewards).tolist()
            self.batches += 1


def choose(specs: Sequence[AgentSpec], make: Callable[[AgentSpec], Agent], context: FitContext) -> Choice:
    """The candidate of highest mean R_cum on training users, the first of equals.

    Half of train.steps is shared among the rounds. Where that is not a session of each, the first is chosen.

    Args:
        specs: the candidates, one at least. make: a fitted agent. context: training users.
    """
    trials, left, rounds, sessions = _Trials(specs, make, context), list(specs), [], []
    budget, total = context.task.config.train.steps // DIVISOR, math.ceil(math.log2(len(specs)))
    for number in range(total):
        trials.play(left, budget * (number + 1) // total - trials.steps)
        left.sort(key=lambda spec: -trials.mean(spec))
        rounds.append({spec.label: trials.mean(spec) for spec in left})
        sessions.append(len(trials.rewards[left[0]]))
        left = left[: math.ceil(len(left) / 2)]
        words = f"{', '.join(spec.label for spec in left)} of {len(rounds[-1])}, {sessions[-1]:,} sessions each"
        context.report(f"choose {AUTO}", number + 1, total, words)
    return Choice(left[0].label, trials.steps, rounds, sessions)
