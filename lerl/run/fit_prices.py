"""What boredom should cost early and late in a session, so that people come back: chosen on lives of training users.

The agent plays whole lives under several prices, and those are taken under which lives were worth most. That is policy
search: nothing is assumed of why people come back. Prices are found by successive halving, as `auto` finds its agent
(Karnin, Koren and Somekh, "Almost Optimal Exploration in Multi-Armed Bandits", ICML 2013): the better half stays, by
all its lives so far, and all prices that are left have the same people with the same luck.
"""

import itertools
import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lerl.agents.belief.agent import AS_IN_SESSIONS, BeliefAgent, Prices
from lerl.report.metrics import r_cum
from lerl.run.agent_factory import load_belief
from lerl.run.context import FitContext
from lerl.run.lives import PlayedLives, play_lives
from lerl.run.rollout import Evaluator
from lerl.run.specs import AgentSpec

FIRST, LAST = (1.0, 2.0, 4.0, 8.0), (1.0, 0.0, 0.5, 2.0)
TRIED = tuple(Prices(*pair) for pair in itertools.product(FIRST, LAST))
"""Those of sessions first: of equals the first stays."""
PILOT = 4
"""Lives that tell how long a life is."""


class Chosen(NamedTuple):
    """What was chosen, and why.

    Attributes:
        prices: first and last. steps: user-steps that all lives took.
        rounds: for each round of those that were left first, last, and the mean worth of their lives until then.
        lives: for each round how many lives of each that were.
    """

    prices: Prices
    steps: int
    rounds: list[list[tuple[float, float, float]]]
    lives: list[int]


def worth(played: PlayedLives, days: float) -> NDArray[np.float64]:
    """(N,) of lives, in rewards: the sum over sessions of exp(-day / days) times R_cum."""
    return np.array(
        [sum(math.exp(-one.day / days) * r_cum(one.rewards) for one in life) for life in played.sessions], np.float64
    )


class _Trials:
    """Lives of training users under several prices, the same ones for all that are left."""

    def __init__(self, spec: AgentSpec, context: FitContext) -> None:
        task, self.context, self.label = context.task, context, spec.label
        assert task.lives is not None
        self.days, count = task.config.train.returning.days, task.config.evaluation.batch_size
        self.evaluator = Evaluator(task.population, task.lives, task.axis, "train", count)
        self.model, self.count = load_belief(task, context.store), count
        self.worth: dict[Prices, list[float]] = {prices: [] for prices in TRIED}
        self.taken, self.lives, self.batches = 0, 0, 0

    def mean(self, prices: Prices) -> float:
        """Mean worth of the lives under some prices."""
        return float(np.mean(self.worth[prices]))

    def play(self, left: list[Prices], steps: int) -> None:
        """As many lives under all prices that are left as about so many user-steps allow."""
        end = self.taken + steps
        while (count := int((end - self.taken) * self.lives / (self.taken * len(left)))) > 0:
            self.each(left, count)

    def each(self, left: list[Prices], count: int) -> None:
        """So many more lives under each of these prices."""
        task = self.context.task
        seed = task.seed(self.label, self.batches)
        users = np.random.default_rng(seed).choice(self.evaluator.users, count)
        for prices in left:
            agent = BeliefAgent(task.task_spec(self.label), self.count, self.model, prices=prices)
            played = play_lives(self.evaluator, agent, users, 1, seed)
            self.worth[prices] += worth(played, self.days).tolist()
            self.taken += sum(len(one.rewards) for life in played.sessions for one in life)
            self.lives += count
        self.batches += 1


def fit_prices(spec: AgentSpec, context: FitContext) -> None:
    """Choose an agent's prices, and keep them; about train.steps user-steps of lives are shared among the rounds.

    Where that is not a life under each of the prices, they stay those of sessions.
    """
    budget, left = context.task.config.train.steps, list(TRIED)
    trials, total = _Trials(spec, context), math.ceil(math.log2(len(TRIED)))
    rounds, lives = list[list[tuple[float, float, float]]](), list[int]()
    if budget >= context.task.config.env.max_steps:
        trials.each([AS_IN_SESSIONS], PILOT)
        trials.worth[AS_IN_SESSIONS].clear()  # the others have not played these
    needed = trials.taken + trials.taken / PILOT * len(TRIED)  # to begin with
    for number in range(total if 0 < needed <= budget / total else 0):
        trials.play(left, budget * (number + 1) // total - trials.taken)
        left.sort(key=lambda prices: -trials.mean(prices))
        rounds.append([(*prices, trials.mean(prices)) for prices in left])
        lives.append(len(trials.worth[left[0]]))
        left = left[: math.ceil(len(left) / 2)]
        words = f"boredom costs {left[0].first:g} times as much early, {left[0].last:g} times late"
        context.report(spec.label, number + 1, total, f"{words}, best of {len(rounds[-1])} in {lives[-1]:,} lives each")
    found = Chosen(left[0] if rounds else AS_IN_SESSIONS, trials.taken, rounds, lives)
    context.store.save_prices(spec, found._asdict())
