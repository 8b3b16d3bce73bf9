"""The ceiling: an agent that reads the hidden state and looks ahead."""

import itertools
import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from lerl.agents.base import Agent, Observation, TaskSpec
from lerl.agents.composite.ceiling import best_together, together
from lerl.agents.retrieval import mark
from lerl.envs import threads
from lerl.envs.config import SimulatorConfig
from lerl.envs.session import SessionVectorEnv
from lerl.envs.simulator import UserSimulator
from lerl.envs.state import State
from lerl.envs.topics import item_topics

PRICES = (1.25, 1.75)  # multiples of what a unit of boredom costs at once: 2 where it costs as much again later
SHUNS = (0.0, 8.0)  # log-odds that an item costs where it repeats a topic in the way that the leave rule punishes
LIKENESS = (1.0, 2.0, 4.0)  # multiples of what the likeness of two items of a slate costs where chances are a half
HORIZON = 16  # steps that are looked ahead
CLUSTERS = 50  # of items that are alike, where likeness costs clicks
EACH = 12  # candidates of each set of topics or cluster, or more: so that there are SPARE times as many as are shown
SPARE = 3
MOST_CANDIDATES, MOST_ALIKE = 600, 300  # the second where likeness costs clicks, as then all of them are compared
LOOK = 30.0  # microseconds that a policy is followed for, about
LOOK_AHEAD = np.uint64(0x7072697669)  # what is looked ahead on has other draws than the real session


class Policies(NamedTuple):
    """Base policies (n,): multiples of what boredom, repeating a topic, and likeness cost; or these costs, in log-odds.

    Attributes:
        prices: of a unit of boredom. shuns: of an item that repeats a topic. likeness: of a unit of cosine.
    """

    prices: NDArray[np.float64]
    shuns: NDArray[np.float64]
    likeness: NDArray[np.float64]


class Candidates(NamedTuple):
    """The items that are tried out for each of B users, N of them, in the order of their log-odds before boredom.

    Attributes:
        items: (B, N) int32, -1 as padding at the end. logits: (B, N) float64.
        heads: (B, N) int64, the places of the first items of all kinds, in order, -1 as padding at the end; after:
            (B, N) int64, the place of the next of the same kind, -1 where there is none. Of items of one kind, which
            differ in nothing but log-odds, the first is always the best.
    """

    items: NDArray[np.int32]
    logits: NDArray[np.float64]
    heads: NDArray[np.int64]
    after: NDArray[np.int64]


class Situation(NamedTuple):
    """Where n sessions are: boredom (n, K) by topic, items shown (n, T * k), steps at the begin of the look-ahead and
    now (n,)."""

    boredom: NDArray[np.float32]
    shown: NDArray[np.int32]
    begun: NDArray[np.int32]
    steps: NDArray[np.int32]


class Repetition(NamedTuple):
    """When an item repeats a topic: where `most` or more of the slots that count hold it.

    Attributes:
        slots: how many slots before the slate count. aligned: only the one of them in the item's own place counts.
        within: whether the slots of the slate that are already filled count. most: at least 0.
    """

    slots: int
    aligned: bool
    within: bool
    most: int


class Items(NamedTuple):
    """What kernels see of the items: topics (I, M), -1 as padding; true directions (I, d)."""

    topics: NDArray[np.int32]
    units: NDArray[np.float32]


class PrivilegedAgent(Agent):
    """The ceiling: reads every user's hidden state and tries out policies in the simulator itself before acting.

    A rollout algorithm (Bertsekas, Tsitsiklis and Wu, "Rollout algorithms for combinatorial optimization", 1997). Each
    base policy fills the slate slot by slot with the item of highest value: true log-odds minus price times the boredom
    it meets, where slots already filled count. The right price is between 1, what boredom costs at once, and 2, as in a
    long session it costs as much again later. Under rules that punish repetition, half of the base policies also shun
    what repeats a topic in the very way that the rule punishes, and where likeness costs clicks, they shun what is like
    the items that are already in the slate.

    Where tastes drift and no item may be shown twice, all base policies keep for later what users will still like then:
    an item's log-odds rise by k / (k + 1) times what they will lose until half of the rest of the session is over, as
    the taste returns to its anchor. That share is a rule of thumb: the look-ahead is too short to see what is kept.

    Where slots have roles, every base policy shows the whole of highest mean true chance of a click at its price, what
    items do to each other included: of all combinations up to 2,500; beyond, of those of the items best by themselves,
    so that it is no sure ceiling there.

    Candidates are the best few of every topic, or, where likeness costs clicks, of every cluster of true item vectors.
    Every base policy is followed for 16 steps on a copy of the state under the true dynamics, with other random draws
    than the real session's. What is added up is the true chance of a click (with several kinds of feedback, what its
    expected reward), weighted by the true chance that the user is still there, and at the horizon the reward rate of
    the later half over the expected rest of the session. The first slate of the best policy is shown. It is no exact
    optimum, but an attainable policy that no agent without the hidden state should beat.
    """

    def __init__(self, task: TaskSpec, count: int) -> None:
        self.task = task
        self.env: SessionVectorEnv | None = None
        self._withheld = np.zeros(0, np.int32)

    def watch(self, env: SessionVectorEnv) -> None:
        """Be given the users' environment, hidden state included."""
        self.env = env
        self._live = np.ones(env.num_envs, bool)
        simulator = env.simulator
        config = simulator.config
        self._repetition = _repetition(config)
        prices = PRICES if config.boredom.enabled else (0.0,)
        shunning = (0.0,) if config.leave.rule in ("satisfaction", "never") else SHUNS
        likeness = LIKENESS if config.similarity.weight else (0.0,)
        self._policies = np.array(list(itertools.product(prices, shunning, likeness)))  # (P, 3), see `Policies`
        if config.similarity.weight:
            self._kind = np.arange(len(simulator.topics))
            self._cluster = _alike(simulator)
        else:
            _, signature = np.unique(simulator.topics, axis=0, return_inverse=True)
            self._kind = self._cluster = signature.reshape(-1)

    def attend(self, live: NDArray[np.bool_]) -> None:
        """Look ahead in these slots (B,) only; the slates of the others stay empty."""
        self._live = live

    def withhold(self, items: NDArray[np.int32]) -> None:
        """Leave these items (n,) out of slates, and of what is looked ahead on, until the next call."""
        self._withheld = items

    def begin(self, rows: NDArray[np.int64], observation: Observation, keys: NDArray[np.uint64]) -> None:
        """Nothing to remember: the state holds it all."""

    def act(self, observation: Observation) -> NDArray[np.int32]:
        """Slates (B, k)."""
        if self.env is None:
            raise ValueError("the privileged agent must watch an environment before it acts; call watch(env)")
        slates = np.zeros((len(self._live), self.task.slate_size), np.int32)
        live = np.flatnonzero(self._live)
        simulator, state = self.env.simulator, self.env.state

        def look(block: slice) -> None:
            slates[live[block]] = self._look_ahead(simulator, state.take(live[block]))

        if not len(live):
            return slates
        if simulator.own_code:
            look(slice(None))
        else:
            threads.each(look, len(live), threads.least(LOOK * len(self._policies)))
        return slates

    def _look_ahead(self, simulator: UserSimulator, state: State) -> NDArray[np.int32]:
        """The first slates (B, k) of the best base policies."""
        candidates = self._candidates(simulator, state)
        count = len(self._policies)
        owners = np.tile(np.arange(len(state)), count)  # every policy of every user, side by side
        policies = Policies(*np.repeat(self._policies, len(state), axis=0).T)
        values, slates = _follow(simulator, state.take(owners), candidates, owners, self._repetition, policies)
        best = np.argmax(values.reshape(count, -1), axis=0)
        chosen: NDArray[np.int32] = slates.reshape(count, len(state), -1)[best, np.arange(len(state))]
        return np.maximum(chosen, 0)

    def _candidates(self, simulator: UserSimulator, state: State) -> Candidates:
        """The best few items of every topic, or of every cluster of items that are alike where that costs clicks."""
        logits, config = _log_odds(simulator, state), simulator.config
        if config.drift.enabled and not config.repeats:
            saving = config.slate_size / (config.slate_size + 1)  # the more items a step takes, the sooner they run out
            logits += saving * (logits - _log_odds(simulator, _later(simulator, state)))
        _hide_shown(logits, state.shown, config.repeats)
        logits[:, self._withheld] = -np.inf
        if simulator.roles is not None:  # whole slates are tried
            none = np.zeros((0, 0), np.int64)
            return Candidates(np.zeros((0, 0), np.int32), logits, none, none)
        needed = SPARE * self.task.slate_size * HORIZON  # slates to look ahead on, however few clusters there are
        each = max(EACH, -(-needed // (int(self._cluster.max()) + 1)))
        most = MOST_ALIKE if config.similarity.weight else MOST_CANDIDATES
        most = min(max(most, needed), len(self._cluster))
        chosen = _best_of_each(logits, self._cluster, each, most)
        own = np.take_along_axis(logits, np.maximum(chosen, 0).astype(np.int64), axis=1)
        return Candidates(chosen, own, *chains(chosen, self._kind))


def _log_odds(simulator: UserSimulator, state: State) -> NDArray[np.float64]:
    """Of a click on every item (B, I), before boredom; with several kinds of feedback, those of its reward."""
    items = np.arange(len(simulator.topics), dtype=np.int32)
    everything = np.ascontiguousarray(np.broadcast_to(items, (len(state), len(items))))
    chance = np.clip(simulator.expected_reward(everything, simulator.scores(state, everything)), 1e-9, 1 - 1e-9)
    odds: NDArray[np.float64] = np.log(chance / (1 - chance))
    return odds


def _later(simulator: UserSimulator, state: State) -> State:
    """The state with the tastes to be expected when half of the rest of the session is over."""
    config = simulator.config
    rest = (config.max_steps - state.steps).astype(np.float64)
    if config.leave.rule == "satisfaction":
        rest = np.minimum(rest, 1 / np.maximum(simulator.leave_chance(state), 1e-3))
    if config.leave.rule == "budget":
        rest = np.minimum(rest, (config.leave.budget.budget - state.spent) / max(config.leave.budget.step_cost, 1e-9))
    kept = ((1 - config.drift.revert) ** (rest / 2)).astype(np.float32)[:, None]
    taste = state.anchor + kept * (state.response["taste"] - state.anchor)
    return replace(state, response=state.response | {"taste": taste})


def _alike(simulator: UserSimulator) -> NDArray[np.int64]:
    """Numbers (I,), the same for items that are alike; of few items all differ, so that all are candidates."""
    units = simulator.item_units
    if len(units) <= MOST_ALIKE:
        return np.arange(len(units))
    count = min(CLUSTERS, len(np.unique(units, axis=0)))
    return item_topics(simulator.population, "hidden", count)[:, 0].astype(np.int64)


def _repetition(config: SimulatorConfig) -> Repetition:
    """How items repeat topics under the leave rule; under one of somebody's own, whenever the last slate held it."""
    slots, leave = config.slate_size, config.leave
    if leave.rule == "window":
        return Repetition(max(leave.window.window - slots, 0), False, True, leave.window.most)
    return Repetition(slots, leave.rule == "budget" and leave.budget.repetition == "slot", False, 1)


def _follow(
    simulator: UserSimulator,
    state: State,
    candidates: Candidates,
    owners: NDArray[np.int64],
    repetition: Repetition,
    policies: Policies,
) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """Values (n,) of base policies, each followed from its row of the state, and their first slates (n, k).

    The state is used up. Policy i follows user owners[i] of the B whose candidates are given.
    """
    config, count = simulator.config, len(state)
    value, there = np.zeros(count), np.ones(count)
    rates, leaving = np.zeros((HORIZON, count)), np.zeros((HORIZON, count))
    first = np.full((count, config.slate_size), -1, np.int32)
    # Two items are alike, and a click is 4 log-odds or more.
    alike = policies.likeness * config.similarity.weight * 8 / config.slate_size
    costs = Policies(policies.prices * config.boredom.weight, policies.shuns, alike)
    items = Items(simulator.topics, simulator.item_units)
    roles = None if simulator.roles is None else together(simulator)
    state.seed ^= LOOK_AHEAD
    rows, begun, spent = np.arange(count), state.steps.copy(), state.spent.copy()
    for step in range(HORIZON):
        going = state.steps < config.max_steps
        if not going.all():
            rows, state = rows[going], state.take(np.flatnonzero(going))
        if not len(rows):
            break
        now = Situation(state.boredom, state.shown, begun[rows], state.steps)
        own = Policies(*(part[rows] for part in costs))
        if roles is None:
            slates = fill_by_price(
                candidates, owners[rows], now, items, repetition, own, config.slate_size, config.repeats
            )
        else:
            slates = best_together(roles, candidates.logits, owners[rows], state, own.prices, simulator)
        if step == 0:
            first[rows] = slates
        outcome = simulator.step(state, slates)
        rates[step, rows] = simulator.expected_reward(outcome.slates, outcome.chance).mean(axis=1)
        leaving[step, rows] = outcome.leave_chance
        value[rows] += there[rows] * rates[step, rows]
        there[rows] *= 1 - outcome.leave_chance
        there[rows[state.steps >= config.max_steps]] = 0.0
    later = slice(HORIZON // 2, None)
    rest = np.minimum(config.max_steps - begun - HORIZON, 1 / np.maximum(leaving[later].mean(axis=0), 1e-3))
    if config.leave.rule == "budget":
        left, used = config.leave.budget.budget - state.spent, (state.spent - spent[rows]) / HORIZON
        rest[rows] = np.minimum(rest[rows], left / np.maximum(used, 1e-9))
    return value + there * rates[later].mean(axis=0) * np.maximum(rest, 0), first


@njit(cache=True, nogil=True)
def _hide_shown(logits, shown, repeats):  # type: ignore[no-untyped-def]
    if not repeats:
        for b in range(len(shown)):
            for slot in range(shown.shape[1]):
                if shown[b, slot] >= 0:
                    logits[b, shown[b, slot]] = -np.inf


@njit(cache=True, nogil=True)
def _best_of_each(logits, cluster, each, most):  # type: ignore[no-untyped-def]
    """(B, most) items: the `each` best of every cluster (I,), the best of those overall, -1 where there are fewer."""
    users, items = logits.shape
    chosen = np.full((users, most), -1, np.int32)
    best = np.empty((cluster.max() + 1, each), np.int64)
    held, taken = np.zeros(len(best), np.int64), np.zeros(len(best), np.int64)
    for b in range(users):
        held[:], taken[:] = 0, 0
        for item in range(items):
            mine, place = best[cluster[item]], held[cluster[item]]
            if logits[b, item] == -np.inf or (place == each and logits[b, mine[-1]] >= logits[b, item]):
                continue
            held[cluster[item]] = min(place + 1, each)
            place = min(place, each - 1)
            while place > 0 and logits[b, mine[place - 1]] < logits[b, item]:
                mine[place] = mine[place - 1]
                place -= 1
            mine[place] = item
        for place in range(min(most, held.sum())):  # each list is in order: the next is the best that any begins with
            top, item, own = -np.inf, items, -1
            for c in range(len(best)):
                if taken[c] < held[c]:
                    other = best[c, taken[c]]
                    if logits[b, other] > top or (logits[b, other] == top and other < item):
                        top, item, own = logits[b, other], other, c
            if own < 0:  # log-odds that are no numbers
                break
            chosen[b, place] = item
            taken[own] += 1
    return chosen


@njit(cache=True, nogil=True)
def chains(candidates, kind):  # type: ignore[no-untyped-def]
    """Of candidates (B, N) in order: the firsts of each kind (I,), and the next of its own after each, both (B, N)."""
    heads, after = np.full(candidates.shape, -1, np.int64), np.full(candidates.shape, -1, np.int64)
    newest = np.full(kind.max() + 1, -1, np.int64)
    for b in range(len(candidates)):
        count = 0
        for n in range(candidates.shape[1]):
            if candidates[b, n] >= 0:
                own = kind[candidates[b, n]]
                if newest[own] < 0:
                    heads[b, count] = n
                    count += 1
                else:
                    after[b, newest[own]] = n
                newest[own] = n
        for n in range(candidates.shape[1]):
            if candidates[b, n] >= 0:
                newest[kind[candidates[b, n]]] = -1
    return heads, after


class _Slate(NamedTuple):
    """What changes while a slate is filled.

    Attributes:
        tired: (K,) what an item of each topic costs. held: (K,) slots that count and hold the topic, see `Repetition`.
        seen: (I,) bool, what may not be shown again. sum: (d,) of the directions of the slate's items.
        places: (N,) of the first candidates of each kind that may be shown.
    """

    tired: NDArray[np.float64]
    held: NDArray[np.int64]
    seen: NDArray[np.bool_]
    sum: NDArray[np.float64]
    places: NDArray[np.int64]


@njit(cache=True, nogil=True)
def fill_by_price(candidates, owners, now, items, repetition, costs, k, repeats):  # type: ignore[no-untyped-def]
    """Slates (n, k) from the candidates of owners (n,), slot by slot the one of highest value; -1 where none is left.

    What was shown before the look-ahead is no candidate.
    """
    topics, slates = items.topics, np.full((len(owners), k), -1, np.int32)
    count = now.boredom.shape[1]
    filled = _Slate(
        np.empty(count), np.empty(count, np.int64), np.zeros(len(topics), np.bool_), np.empty(items.units.shape[1]),
        np.empty(candidates.items.shape[1], np.int64),
    )  # fmt: skip
    for b in range(len(owners)):
        user, cost, end = _of_user(candidates, owners[b]), costs.prices[b], now.steps[b] * k
        for topic in range(count):  # in loops: assignments of slices take long to compile
            filled.tired[topic], filled.held[topic] = cost * now.boredom[b, topic], 0
        for j in range(len(filled.sum)):
            filled.sum[j] = 0.0
        for n in range(len(filled.places)):
            filled.places[n] = user.heads[n]
        earlier = now.shown[b, now.begun[b] * k : end]
        if not repeats:
            mark(filled.seen, earlier, True)
        if not repetition.aligned:
            for slot in range(max(0, end - repetition.slots), end):
                _add(filled.held, topics, now.shown[b, slot], 1)
        for s in range(k):
            before = now.shown[b, end - k + s] if repetition.aligned and end else -1
            _add(filled.held, topics, before, 1)
            best = _best_left(user, filled, items, repetition.most, costs.shuns[b], costs.likeness[b])
            _add(filled.held, topics, before, -1)
            if best < 0:
                break
            slates[b, s] = user.items[best]
            filled.seen[user.items[best]] = True
            _add(filled.tired, topics, user.items[best], cost / k)
            if repetition.within:
                _add(filled.held, topics, user.items[best], 1)
            for j in range(len(filled.sum)):
                filled.sum[j] += items.units[user.items[best], j]
        mark(filled.seen, slates[b], False)
        mark(filled.seen, earlier, False)
    return slates


@njit(cache=True, forceinline=True)
def _of_user(candidates, owner):  # type: ignore[no-untyped-def]
    """The candidates of one user, each (N,)."""
    return Candidates(
        candidates.items[owner], candidates.logits[owner], candidates.heads[owner], candidates.after[owner]
    )


@njit(cache=True, forceinline=True)
def _add(totals, topics, item, amount):  # type: ignore[no-untyped-def]
    """totals (K,) += amount for the topics of an item; -1 is no item."""
    if item >= 0:
        for m in range(topics.shape[1]):
            if topics[item, m] >= 0:
                totals[topics[item, m]] += amount


@njit(cache=True)
def _best_left(user, filled, items, most, shun, alike):  # type: ignore[no-untyped-def]
    """The place of the candidate of highest value, the first of equal ones; -1 where none is left.

    Nothing but likeness, and that by `bonus` at most, makes a value higher than the log-odds, and heads are in the
    order of these: once the best value is above what a head can reach, the rest need not be looked at.
    """
    topics, units = items.topics, items.units
    bonus = 0.0
    if alike:
        for j in range(len(filled.sum)):
            bonus += filled.sum[j] * filled.sum[j]
        bonus = alike * math.sqrt(bonus) + 1e-6
    best, top = -1, -np.inf
    for h in range(len(user.heads)):
        if user.heads[h] < 0 or user.logits[user.heads[h]] + bonus < top:
            break
        n = filled.places[h]
        while n >= 0 and filled.seen[user.items[n]]:
            n = user.after[n]
        filled.places[h] = n
        if n < 0:
            continue
        item, loss, number, repeated = user.items[n], 0.0, 0, False
        for m in range(topics.shape[1]):
            topic = topics[item, m]
            if topic >= 0:
                loss += filled.tired[topic]
                number += 1
                repeated |= filled.held[topic] >= most
        value = user.logits[n] - loss / max(number, 1)
        if repeated:
            value -= shun
        if alike:
            cosine = 0.0
            for j in range(len(filled.sum)):
                cosine += units[item, j] * filled.sum[j]
            value -= alike * cosine
        if value > top or (value == top and n < best):
            best, top = n, value
    return best
