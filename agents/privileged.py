"""The ceiling: an agent that reads the hidden state and looks ahead."""

import itertools
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from lerl.agents.base import Agent, Observation, TaskSpec
from lerl.agents.retrieval import mark
from lerl.envs.session import SessionVectorEnv
from lerl.envs.simulator import UserSimulator
from lerl.envs.state import State
from lerl.envs.topics import item_topics

PRICES = (0.5, 1.0, 2.0, 4.0)  # what a unit of boredom is taken to cost, as a multiple of what it costs now
LIKENESS = (0.0, 1.0, 2.0, 4.0)  # the same for the likeness of two items of a slate
HORIZON = 8  # steps that are looked ahead
CLUSTERS = 50  # of items that are alike, where likeness costs clicks
EACH = 12  # candidates of each topic or cluster
MOST_CANDIDATES = 300
LOOK_AHEAD = np.uint64(0x7072697669)  # what is looked ahead on has other draws than the real session


class Policies(NamedTuple):
    """Base policies (n,): multiples of what boredom, repeating a topic, and likeness cost; or these costs, in log-odds.

    Attributes:
        prices: of a unit of boredom. shuns: of a topic of the last slate. likeness: of a unit of cosine.
    """

    prices: NDArray[np.float64]
    shuns: NDArray[np.float64]
    likeness: NDArray[np.float64]


class Candidates(NamedTuple):
    """The items that are tried out for each of B users, N of them, in the order of their log-odds before boredom.

    Attributes:
        items: (B, N) int32, -1 as padding at the end. logits: (B, N) float64.
        first: (B, S), the place of the first item of each signature; after: (B, N), that of the next of the same
            signature; -1 where there is none. Items of one signature have the same topics.
    """

    items: NDArray[np.int32]
    logits: NDArray[np.float64]
    first: NDArray[np.int64]
    after: NDArray[np.int64]


class Situation(NamedTuple):
    """Where n sessions are: boredom (n, K) by topic, items shown (n, T * k), steps at the begin of the look-ahead and
    now (n,)."""

    boredom: NDArray[np.float32]
    shown: NDArray[np.int32]
    begun: NDArray[np.int32]
    steps: NDArray[np.int32]


class Items(NamedTuple):
    """What kernels see of the items: topics (I, M), -1 as padding; signatures (I,); true directions (I, d)."""

    topics: NDArray[np.int32]
    signature: NDArray[np.int64]
    units: NDArray[np.float32]


class PrivilegedAgent(Agent):
    """The ceiling: reads every user's hidden state and tries out policies in the simulator itself before acting.

    A rollout algorithm (Bertsekas, Tsitsiklis and Wu, "Rollout algorithms for combinatorial optimization", 1997). Each
    base policy fills the slate slot by slot with the item of highest true log-odds minus price times the boredom it
    meets, where slots already filled count; under rules that punish repetition, one set of base policies also shuns the
    topics of the last slate, and where likeness costs clicks, some shun what is like the items that are already in the
    slate. Candidates are the best few of every topic, or, where likeness costs clicks, of every cluster of true item
    vectors. Every base policy is followed for 8 steps on a copy of the state under the true dynamics, with other random
    draws than the real session's; what is added up is the true chance of a click (with several kinds of feedback, what
    its expected reward), weighted by the true chance that the user is still there, and at the horizon the last
    reward rate over the expected rest of the session. The first slate of the best policy is shown. It is no exact
    optimum, but an attainable policy that no agent without the hidden state should beat.
    """

    def __init__(self, task: TaskSpec, count: int) -> None:
        self.task = task
        self.env: SessionVectorEnv | None = None

    def watch(self, env: SessionVectorEnv) -> None:
        """Be given the users' environment, hidden state included."""
        self.env = env
        self._live = np.ones(env.num_envs, bool)
        simulator = env.simulator
        _, signature = np.unique(simulator.topics, axis=0, return_inverse=True)
        self._signature = self._cluster = signature.reshape(-1)
        config = simulator.config
        prices = PRICES if config.boredom.enabled else (0.0,)
        shunning = (0.0,) if config.leave.rule == "satisfaction" else (0.0, 4.0)
        likeness = LIKENESS if config.similarity.weight else (0.0,)
        self._policies = np.array(list(itertools.product(prices, shunning, likeness)))  # (P, 3), see `Policies`
        if config.similarity.weight:
            self._cluster = _alike(simulator)

    def attend(self, live: NDArray[np.bool_]) -> None:
        """Look ahead in these slots (B,) only; the slates of the others stay empty."""
        self._live = live

    def begin(self, rows: NDArray[np.int64], observation: Observation, keys: NDArray[np.uint64]) -> None:
        """Nothing to remember: the state holds it all."""

    def act(self, observation: Observation) -> NDArray[np.int32]:
        """Slates (B, k)."""
        if self.env is None:
            raise ValueError("the privileged agent must watch an environment before it acts; call watch(env)")
        slates = np.zeros((len(self._live), self.task.slate_size), np.int32)
        live = np.flatnonzero(self._live)
        if len(live):
            slates[live] = self._look_ahead(self.env.simulator, self.env.state.take(live))
        return slates

    def _look_ahead(self, simulator: UserSimulator, state: State) -> NDArray[np.int32]:
        """The first slates (B, k) of the best base policies."""
        candidates = self._candidates(simulator, state)
        count = len(self._policies)
        owners = np.tile(np.arange(len(state)), count)  # every policy of every user, side by side
        policies = Policies(*np.repeat(self._policies, len(state), axis=0).T)
        values, slates = _follow(simulator, state.take(owners), candidates, owners, self._signature, policies)
        best = np.argmax(values.reshape(count, -1), axis=0)
        chosen: NDArray[np.int32] = slates.reshape(count, len(state), -1)[best, np.arange(len(state))]
        return np.maximum(chosen, 0)

    def _candidates(self, simulator: UserSimulator, state: State) -> Candidates:
        """The best few items of every topic, or of every cluster of items that are alike where that costs clicks."""
        items = np.arange(len(self._signature), dtype=np.int32)
        everything = np.ascontiguousarray(np.broadcast_to(items, (len(state), len(items))))
        chance = np.clip(simulator.expected_reward(everything, simulator.scores(state, everything)), 1e-9, 1 - 1e-9)
        logits = np.log(chance / (1 - chance))
        _hide_shown(logits, state.shown, simulator.config.repeats)
        needed = self.task.slate_size * HORIZON  # slates to look ahead on, however few clusters there are
        each = max(EACH, -(-needed // (int(self._cluster.max()) + 1)))
        most = min(max(MOST_CANDIDATES, needed), len(items))
        chosen = _best_of_each(logits, self._cluster, each, most)
        own = np.take_along_axis(logits, np.maximum(chosen, 0).astype(np.int64), axis=1)
        return Candidates(chosen, own, *chains(chosen, self._signature))


def _alike(simulator: UserSimulator) -> NDArray[np.int64]:
    """Numbers (I,), the same for items that are alike; of few items all differ, so that all are candidates."""
    units = simulator.item_units
    if len(units) <= MOST_CANDIDATES:
        return np.arange(len(units))
    count = min(CLUSTERS, len(np.unique(units, axis=0)))
    return item_topics(simulator.population, "hidden", count)[:, 0].astype(np.int64)


def _follow(
    simulator: UserSimulator,
    state: State,
    candidates: Candidates,
    owners: NDArray[np.int64],
    signature: NDArray[np.int64],
    policies: Policies,
) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """Values (n,) of base policies, each followed from its row of the state, and their first slates (n, k).

    The state is used up. Policy i follows user owners[i] of the B whose candidates are given.
    """
    config, count = simulator.config, len(state)
    value, there = np.zeros(count), np.ones(count)
    rate, leaving = np.zeros(count), np.zeros(count)
    first = np.full((count, config.slate_size), -1, np.int32)
    costs = Policies(
        policies.prices * config.boredom.weight,
        policies.shuns,
        policies.likeness
        * config.similarity.weight
        * 8
        / config.slate_size,  # two items, and 4 log-odds or more a click
    )
    items = Items(simulator.topics, signature, simulator.item_units)
    rest = config.max_steps - state.steps - HORIZON
    state.seed ^= LOOK_AHEAD
    rows, begun = np.arange(count), state.steps.copy()
    for step in range(HORIZON):
        going = state.steps < config.max_steps
        if not going.all():
            rows, state = rows[going], state.take(np.flatnonzero(going))
        if not len(rows):
            break
        now = Situation(state.boredom, state.shown, begun[rows], state.steps)
        own = Policies(*(part[rows] for part in costs))
        slates = fill_by_price(candidates, owners[rows], now, items, own, config.slate_size, config.repeats)
        if step == 0:
            first[rows] = slates
        outcome = simulator.step(state, slates)
        rate[rows] = simulator.expected_reward(outcome.slates, outcome.chance).mean(axis=1)
        leaving[rows] = outcome.leave_chance
        value[rows] += there[rows] * rate[rows]
        there[rows] *= 1 - leaving[rows]
        there[rows[state.steps >= config.max_steps]] = 0.0
    return value + there * rate * np.maximum(np.minimum(rest, 1 / np.maximum(leaving, 1e-3)), 0), first


@njit(cache=True)
def _hide_shown(logits, shown, repeats):  # type: ignore[no-untyped-def]
    if not repeats:
        for b in range(len(shown)):
            for slot in range(shown.shape[1]):
                if shown[b, slot] >= 0:
                    logits[b, shown[b, slot]] = -np.inf


@njit(cache=True)
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


@njit(cache=True)
def chains(candidates, signature):  # type: ignore[no-untyped-def]
    """Of candidates (B, N) in order: the first of each signature (B, S), and the next of its own after each (B, N)."""
    first = np.full((len(candidates), signature.max() + 1), -1, np.int64)
    after = np.full(candidates.shape, -1, np.int64)
    for b in range(len(candidates)):
        for n in range(candidates.shape[1] - 1, -1, -1):
            if candidates[b, n] >= 0:
                own = signature[candidates[b, n]]
                after[b, n], first[b, own] = first[b, own], n
    return first, after


class _User(NamedTuple):
    """The candidates of one user: items, log-odds, and the places of the next of the same signature, each (N,)."""

    items: NDArray[np.int32]
    logits: NDArray[np.float64]
    after: NDArray[np.int64]


class _Slate(NamedTuple):
    """What changes while a slate is filled.

    Attributes:
        tired: (K,) what an item of each topic costs. seen: (I,) bool, what may not be shown again.
        likeness: (N,) what each candidate costs for being like those in the slate.
        first: (S,) the place of the best candidate left of each signature. values: (S,) of the last that was looked at.
        stale: (S,) bool, where it has to be looked at again.
    """

    tired: NDArray[np.float64]
    seen: NDArray[np.bool_]
    likeness: NDArray[np.float64]
    first: NDArray[np.int64]
    values: NDArray[np.float64]
    stale: NDArray[np.bool_]


@njit(cache=True)
def fill_by_price(candidates, owners, now, items, costs, k, repeats):  # type: ignore[no-untyped-def]
    """Slates (n, k) from the candidates of owners (n,), slot by slot the one of highest value; -1 where none is left.

    Items of one signature have the same topics, so that the next best of each is all that need be compared, unless
    likeness costs: then all are. The value of an item changes with its topics' boredom, so that where items have one
    topic each, the signature that was shown is looked at again, and nothing else.
    What was shown before the look-ahead is no candidate.
    """
    topics, count = items.topics, candidates.items.shape[1]
    slates = np.full((len(owners), k), -1, np.int32)
    signatures = candidates.first.shape[1]
    filled = _Slate(
        np.empty(now.boredom.shape[1], np.float64), np.zeros(len(topics), np.bool_), np.empty(count, np.float64),
        np.empty(signatures, np.int64), np.empty(signatures, np.float64), np.empty(signatures, np.bool_),
    )  # fmt: skip
    for b in range(len(owners)):
        owner, cost, alike = owners[b], costs.prices[b], costs.likeness[b]
        user = _User(candidates.items[owner], candidates.logits[owner], candidates.after[owner])
        for topic in range(len(filled.tired)):  # in loops: assignments of slices take long to compile
            filled.tired[topic] = cost * now.boredom[b, topic]
        last = now.shown[b, max(0, (now.steps[b] - 1) * k) : now.steps[b] * k]
        for slot in range(len(last)):
            _tire(filled.tired, topics, last[slot], costs.shuns[b])
        earlier = now.shown[b, now.begun[b] * k : now.steps[b] * k]
        if not repeats:
            mark(filled.seen, earlier, True)
        for own in range(signatures):
            filled.first[own], filled.stale[own] = candidates.first[owner, own], True
        filled.likeness[:] = 0.0
        for s in range(k):
            best = _best_left(user, filled, topics, alike)
            if best < 0:
                break
            slates[b, s] = user.items[best]
            if alike:
                _add_likeness(user, filled.likeness, best, items.units, alike)
            else:
                own = items.signature[slates[b, s]]
                filled.first[own], filled.stale[own] = user.after[best], True
            _tire(filled.tired, topics, slates[b, s], cost / k)
        if not repeats:
            mark(filled.seen, earlier, False)
    return slates


@njit(cache=True, forceinline=True)
def _tire(tired, topics, item, cost):  # type: ignore[no-untyped-def]
    """Add to what the topics of an item cost, (K,); -1 is no item."""
    if item >= 0:
        for m in range(topics.shape[1]):
            if topics[item, m] >= 0:
                tired[topics[item, m]] += cost


@njit(cache=True, forceinline=True)
def _best_left(user, filled, topics, alike):  # type: ignore[no-untyped-def]
    """The place of the candidate of highest value, the first of equal ones; -1 where none is left."""
    names, after, first, seen = user.items, user.after, filled.first, filled.seen
    values, stale, tired = filled.values, filled.stale, filled.tired
    best, top = -1, -np.inf
    for own in range(len(first)):
        while stale[own] and first[own] >= 0 and seen[names[first[own]]]:
            first[own] = after[first[own]]
        n = first[own]
        while n >= 0:
            if stale[own]:
                loss, number = 0.0, 0
                for m in range(topics.shape[1]):
                    if topics[names[n], m] >= 0:
                        loss += tired[topics[names[n], m]]
                        number += 1
                values[own] = user.logits[n] - loss / max(number, 1) - filled.likeness[n]
            value = values[own]
            if (value > top or (value == top and n < best)) and not seen[names[n]]:
                best, top = n, value
            n = after[n] if alike else -1
        stale[own] = alike or topics.shape[1] > 1
    return best


@njit(cache=True, forceinline=True)
def _add_likeness(user, likeness, best, units, cost):  # type: ignore[no-untyped-def]
    """likeness (N,) += cost times each candidate's cosine to the one at `best`, which is no candidate any more."""
    for n in range(len(likeness)):
        cosine = 0.0
        for j in range(units.shape[1]):
            cosine += units[user.items[n], j] * units[user.items[best], j]
        likeness[n] += cost * cosine
    likeness[best] = np.inf
