"""The ceiling: an agent that reads what is hidden and looks ahead."""

import itertools

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


HORIZON = 8


CLUSTERS = 50  # of items that are alike, where likeness costs clicks


EACH = 12


MOST_CANDIDATES = 300


LOOK_AHEAD = np.uint64(0x7072697669)  # look-ahead lives other coins than the real session


class PrivilegedAgent(Agent):
    """The ceiling: reads every user's hidden state and tries out policies in the simulator itself before acting.

    A rollout algorithm (Bertsekas, Tsitsiklis and Wu, "Rollout algorithms for combinatorial optimization", 1997). Each
    base policy fills the slate slot by slot with the item of highest true log-odds minus price times the boredom it
    meets, where slots already filled count; under rules that punish repetition, one set of base policies also shuns the
    topics of the last slate, and where likeness costs clicks, some shun what is like the items that are already in the
    slate. Candidates are the best few of every topic, or, where likeness costs clicks, of every cluster of true item
    vectors. Every base policy is followed for 8 steps on a copy of the state under the true dynamics, with other random
    draws than the real session's; what is added up is the true chance of a click (with several kinds of feedback, what
    they are worth on average), weighted by the true chance that the user is still there, and at the horizon the last
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
        self._policies = np.array(list(itertools.product(prices, shunning, likeness)))  # (P, 3)
        if config.similarity.weight:
            self._cluster = _alike(simulator)

    def attend(self, live: NDArray[np.bool_]) -> None:
        """Think about these slots alone (B,); the slates of the others stay empty."""
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
            slates[live] = self._think(self.env.simulator, self.env.state.take(live))
        return slates

    def _think(self, simulator: UserSimulator, state: State) -> NDArray[np.int32]:
        """The first slates (B, k) of the best base policies."""
        candidates, logits = self._candidates(simulator, state)
        count = len(self._policies)
        owners = np.tile(np.arange(len(state)), count)  # every policy of every user, side by side
        values, slates = _follow(
            simulator,
            state.take(owners),
            candidates,
            logits,
            owners,
            self._signature,
            *np.repeat(self._policies, len(state), axis=0).T,
        )
        best = np.argmax(values.reshape(count, -1), axis=0)
        chosen: NDArray[np.int32] = slates.reshape(count, len(state), -1)[best, np.arange(len(state))]
        return np.maximum(chosen, 0)

    def _candidates(self, simulator: UserSimulator, state: State) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        """The (B, N) items worth a thought and their log-odds before boredom: the best few of every topic, or of every
        cluster of items that are alike where that costs clicks."""
        items = np.arange(len(self._signature), dtype=np.int32)
        everything = np.ascontiguousarray(np.broadcast_to(items, (len(state), len(items))))
        chance = np.clip(simulator.expected_reward(everything, simulator.scores(state, everything)), 1e-9, 1 - 1e-9)
        logits = np.log(chance / (1 - chance))
        _hide_shown(logits, state.shown, simulator.config.repeats)
        needed = self.task.slate_size * HORIZON  # slates to look ahead on, however few clusters there are
        each = max(EACH, -(-needed // (int(self._cluster.max()) + 1)))
        most = min(max(MOST_CANDIDATES, needed), len(items))
        candidates = _best_of_each(logits, self._cluster, each, most)
        return candidates, np.take_along_axis(logits, np.maximum(candidates, 0).astype(np.int64), axis=1)


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
    candidates: NDArray[np.int32],
    logits: NDArray[np.float64],
    owners: NDArray[np.int64],
    signature: NDArray[np.int64],
    prices: NDArray[np.float64],
    shuns: NDArray[np.float64],
    likeness: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """Values (n,) of base policies, each followed from its row of the state, and their first slates (n, k).

    The state is used up. Candidates and logits are the users' (B, N), of whom policy i follows user owners[i].
    """
    config, count = simulator.config, len(state)
    value, there = np.zeros(count), np.ones(count)
    rate, leaving = np.zeros(count), np.zeros(count)
    first = np.full((count, config.slate_size), -1, np.int32)
    costs = prices * config.boredom.weight
    alike = likeness * config.similarity.weight * 8 / config.slate_size  # two items, and 4 log-odds or more a click
    rest = config.max_steps - state.steps - HORIZON
    state.seed ^= LOOK_AHEAD
    rows, begun = np.arange(count), state.steps.copy()
    firsts, nexts = _chains(candidates, signature)
    for step in range(HORIZON):
        going = state.steps < config.max_steps
        if not going.all():
            rows, state = rows[going], state.take(np.flatnonzero(going))
        if not len(rows):
            break
        slates = _fill_by_price(
            candidates, logits, firsts, nexts, owners[rows], state.boredom, state.shown, begun[rows], state.steps,
            simulator.topics, signature, simulator.item_units, config.slate_size, costs[rows], shuns[rows],
            alike[rows], config.repeats,
        )  # fmt: skip
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
def _chains(candidates, signature):  # type: ignore[no-untyped-def]
    """Of candidates (B, N) in order: the first of each signature (B, S), and the next of its own after each (B, N)."""
    first = np.full((len(candidates), signature.max() + 1), -1, np.int64)
    after = np.full(candidates.shape, -1, np.int64)
    for b in range(len(candidates)):
        for n in range(candidates.shape[1] - 1, -1, -1):
            if candidates[b, n] >= 0:
                own = signature[candidates[b, n]]
                after[b, n], first[b, own] = first[b, own], n
    return first, after


@njit(cache=True)
def _fill_by_price(  # type: ignore[no-untyped-def]
    candidates, logits, firsts, nexts, owners, boredom, shown, begun, steps, topics, signature, units, k, costs, shuns,
    alike, repeats,
):  # fmt: skip
    """Slates (n, k) from the owners' candidates (B, N) in the order of their logits (B, N), -1 as padding at the end.

    Items of one signature (I,) have the same topics, so that the next best of each, as firsts and nexts say, is all
    that need be compared, unless likeness costs (n,) log-odds a unit of cosine between units (I, d): then all are. What
    an item is worth changes with its topics' boredom, so that where items have one topic each, what was shown is looked
    at again, and nothing else.
    What was shown up to step `begun` (n,) is no candidate.
    """
    count = candidates.shape[1]
    slates = np.full((len(owners), k), -1, np.int32)
    tired = np.empty(boredom.shape[1], np.float64)
    seen = np.zeros(len(topics), np.bool_)
    first, likeness = np.empty(firsts.shape[1], np.int64), np.empty(count, np.float64)
    worths, stale = np.empty(len(first), np.float64), np.empty(len(first), np.bool_)
    for b in range(len(owners)):
        named, score, after, cost = candidates[owners[b]], logits[owners[b]], nexts[owners[b]], costs[b]
        tired[:] = cost * boredom[b]
        for slot in range(max(0, (steps[b] - 1) * k), steps[b] * k):
            if shown[b, slot] >= 0:
                for m in range(topics.shape[1]):
                    if topics[shown[b, slot], m] >= 0:
                        tired[topics[shown[b, slot], m]] += shuns[b]
        earlier = shown[b, begun[b] * k : steps[b] * k]
        if not repeats:
            mark(seen, earlier, True)
        first[:], stale[:] = firsts[owners[b]], True
        likeness[:] = 0.0
        for s in range(k):
            best, top = -1, -np.inf
            for own in range(len(first)):
                while stale[own] and first[own] >= 0 and seen[named[first[own]]]:
                    first[own] = after[first[own]]
                n = first[own]
                while n >= 0:
                    if stale[own]:
                        loss, number = 0.0, 0
                        for m in range(topics.shape[1]):
                            if topics[named[n], m] >= 0:
                                loss += tired[topics[named[n], m]]
                                number += 1
                        worths[own] = score[n] - loss / max(number, 1) - likeness[n]
                    worth = worths[own]
                    if (worth > top or (worth == top and n < best)) and not seen[named[n]]:
                        best, top = n, worth
                    n = after[n] if alike[b] else -1
                stale[own] = alike[b] or topics.shape[1] > 1
            if best < 0:
                break
            slates[b, s] = named[best]
            if alike[b]:
                for n in range(count):
                    cosine = 0.0
                    for j in range(units.shape[1]):
                        cosine += units[named[n], j] * units[named[best], j]
                    likeness[n] += alike[b] * cosine
                likeness[best] = np.inf
            else:
                own = signature[slates[b, s]]
                first[own], stale[own] = after[best], True
            for m in range(topics.shape[1]):
                if topics[slates[b, s], m] >= 0:
                    tired[topics[slates[b, s], m]] += cost / k
        if not repeats:
            mark(seen, earlier, False)
    return slates
