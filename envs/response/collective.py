"""The sequence model with a collective cache: an event has few numbers of its own, and rows of pools that all share.

The network is that of `lerl.envs.response.sequence` but for the keys and values of its layers, see
`lerl.agents.kv_cache.CollectiveKV`: key = o numbers of the event's own, then a row of the layer's pool of keys; values
alike. A user's state holds own numbers and the numbers of rows, 10 bytes an event and layer where o is 1 and pools have
at most 256 rows, in place of 8 d. It is trained as such, so it is another model, with a file of its own.

When new events come, the keys and values of a user's last W events are put together once, in memory that is used for
one user after the other, and then read as whole ones are.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from lerl.envs.kv_layout import index_type
from lerl.envs.population import Population
from lerl.envs.response.base import Arrays, click_chances
from lerl.envs.response.sequence import (
    FUSED,
    Floats,
    Pasts,
    add_to,
    dense,
    history_feature,
    layer_norm,
    longest_past,
    past_tokens,
    slate_tokens,
)
from lerl.envs.sequence_weights import COLLECTIVE, check_learned

BLOCK = 8
"""Events that loops go over at once: of what is left over, the compiler makes slow single steps."""

LANES = 16
"""Numbers whose largest are sought side by side."""

LEAST = np.float32(-80.0)
LOG2, HALF = np.float32(1.4426950408889634), np.float32(0.5)
LN2_HIGH, LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
A, B, C, D, E, ONE = (np.float32(1 / math.factorial(n)) for n in (6, 5, 4, 3, 2, 1))


class CollectiveWeights(NamedTuple):
    """The network's numbers, float32, as `lerl.envs.response.sequence.Weights`, without `attention`, and:

    Attributes:
        queries, queries_shift: (L, d, d) and (L, d). own, own_shift: (L, d, 2 o) and (L, 2 o), of key and value.
        route, route_shift: (L, d, 2 m) and (L, 2 m); the largest of m numbers says the row of the pool.
        pool: (L, 2, m, d - o), of keys and of values.
    """

    shown: Floats
    liked: Floats
    start: Floats
    history: Floats
    scaling: Floats
    norms: Floats
    queries: Floats
    queries_shift: Floats
    own: Floats
    own_shift: Floats
    route: Floats
    route_shift: Floats
    pool: Floats
    out_proj: Floats
    out_proj_shift: Floats
    fc_in: Floats
    fc_in_shift: Floats
    fc_out: Floats
    fc_out_shift: Floats
    slopes: Floats
    last_norm: Floats
    query: Floats
    query_shift: Floats
    offset: Floats


class CollectiveStates(NamedTuple):
    """What the network has made of B users' pasts, as `lerl.envs.response.sequence.States`, without keys and values.

    Attributes:
        own: (B, L, W, 2 o) float32, of key and value, of the last W events, event n in place n % W.
        rows: (B, L, W, 2), of the pools of keys and of values, in the smallest type that numbers them.
    """

    query: Floats
    offset: Floats
    own: Floats
    rows: NDArray[np.integer]
    events: Floats
    seen: Floats
    clicked: Floats


class CollectiveResponse:
    """As `lerl.envs.response.sequence.SequenceResponse`, with a collective cache.

    Args:
        population: with a model that `lerl fit --cache collective` made.

    Raises:
        ValueError: the population has no such model, or one for other items or users.
    """

    def __init__(self, population: Population) -> None:
        if population.collective is None:
            raise ValueError(
                f"env.response is 'collective', but the population {population.name!r} has no such model; make one "
                "with `lerl fit FOLDER --model sequence --cache collective`, FOLDER being a prepared folder whose log "
                "has times"
            )
        arrays = population.collective
        check_learned(arrays, len(population.catalog), len(population.training), COLLECTIVE)
        self.weights = CollectiveWeights(*(np.ascontiguousarray(arrays[name]) for name in CollectiveWeights._fields))
        self.item_vectors: Floats = arrays["item_vectors"]
        self.item_offsets: Floats = arrays["item_offsets"]
        self.window = int(arrays["window"][0])
        self.pasts = Pasts(*(arrays[f"past_{name}"] for name in Pasts._fields))

    def init(self, users: NDArray[np.int64]) -> Arrays:
        """The state of users (B,) int64 after their own past, as a dictionary of the arrays of `CollectiveStates`."""
        layers, _, pool, rest = self.weights.pool.shape
        width, count = len(self.weights.start), len(users)
        states = CollectiveStates(
            query=np.zeros((count, width), np.float32),
            offset=np.zeros(count, np.float32),
            own=np.zeros((count, layers, self.window, 2 * (width - rest)), np.float32),
            rows=np.zeros((count, layers, self.window, 2), index_type(pool)),
            events=np.zeros(count, np.float32),
            seen=np.zeros(count, np.float32),
            clicked=np.zeros(count, np.float32),
        )
        start_states(users, self.pasts, states, self.weights)
        return states._asdict()

    def score(self, state: Arrays, items: NDArray[np.int32]) -> NDArray[np.float64]:
        """Chance of a click (B, k) in (0, 1) for items (B, k), -1 for an empty slot (its value is not used)."""
        return click_chances(state["query"], state["offset"], items, self.item_vectors, self.item_offsets)

    def advance(self, state: Arrays, items: NDArray[np.int32], feedback: Floats) -> Arrays:
        """The same state, changed in place, after feedback (B, k) in [0, 1] on items (B, k), -1 for an empty slot."""
        states = CollectiveStates(*(state[name] for name in CollectiveStates._fields))
        advance_states(items, feedback, states, self.weights)
        return state


@njit(cache=True, nogil=True)
def start_states(users, pasts, states, weights):  # type: ignore[no-untyped-def]
    """As `lerl.envs.response.sequence.start_states`."""
    tokens = np.empty((longest_past(users, pasts) + 1, weights.start.shape[0]), np.float32)
    for b in range(len(users)):
        count = past_tokens(tokens, users[b], b, pasts, states, weights)
        read_tokens(tokens[:count], b, states, weights)


@njit(cache=True, nogil=True)
def advance_states(items, feedback, states, weights):  # type: ignore[no-untyped-def]
    """As `lerl.envs.response.sequence.advance_states`."""
    tokens = np.empty((items.shape[1], weights.start.shape[0]), np.float32)
    for b in range(items.shape[0]):
        count = slate_tokens(tokens, items[b], feedback[b], b, states, weights)
        if count:
            read_tokens(tokens[:count], b, states, weights)


@njit(cache=True)
def read_tokens(tokens, b, states, weights):  # type: ignore[no-untyped-def]
    """Pass tokens (n, d) of user b through the layers, in place; the last one's state becomes query and offset."""
    count, width = tokens.shape
    window, own = states.own.shape[2], states.own.shape[3]
    normed, added = np.empty((count, width), np.float32), np.empty((count, width), np.float32)
    projected, queries = np.empty((count, 3 * width), np.float32), np.empty((count, width), np.float32)
    mine, logits = np.empty((count, own), np.float32), np.empty((count, weights.route.shape[2]), np.float32)
    inner = np.empty((count, weights.fc_in.shape[2]), np.float32)
    padded = (window + BLOCK - 1) // BLOCK * BLOCK
    keys, values = np.zeros((width, padded), np.float32), np.zeros((padded, width), np.float32)
    before = int(states.events[b])
    for layer in range(states.own.shape[1]):
        layer_norm(tokens, weights.norms[layer, 0], normed)
        dense(normed, weights.queries[layer], weights.queries_shift[layer], queries)
        dense(normed, weights.own[layer], weights.own_shift[layer], mine)
        route(normed, weights.route[layer], weights.route_shift[layer], logits)
        kept, rows, pool = states.own[b, layer], states.rows[b, layer], weights.pool[layer]
        gather(kept, rows, pool, min(before, window), keys, values)
        project(queries, mine, logits, before, kept, rows, pool, projected)
        attend(projected, before, window, keys, values, weights.slopes, normed)
        dense(normed, weights.out_proj[layer], weights.out_proj_shift[layer], added)
        add_to(tokens, added)
        layer_norm(tokens, weights.norms[layer, 1], normed)
        dense(normed, weights.fc_in[layer], weights.fc_in_shift[layer], inner)
        for t in range(count):
            for j in range(inner.shape[1]):
                inner[t, j] = max(inner[t, j], np.float32(0.0))
        dense(inner, weights.fc_out[layer], weights.fc_out_shift[layer], added)
        add_to(tokens, added)
    states.events[b] += count
    last = normed[:1]
    layer_norm(tokens[count - 1 :], weights.last_norm, last)
    dense(last, weights.query, weights.query_shift, states.query[b : b + 1])
    total = weights.offset[width + 2]
    total += weights.offset[width] * history_feature(0, states.seen[b], states.clicked[b], weights.scaling)
    total += weights.offset[width + 1] * history_feature(1, states.seen[b], states.clicked[b], weights.scaling)
    for j in range(width):
        total += weights.offset[j] * last[0, j]
    states.offset[b] = total


@njit(cache=True)
def gather(kept, rows, pool, there, keys, values):  # type: ignore[no-untyped-def]
    """Put together the keys (d, W) and values (W, d) of events in the first `there` places.

    Args:
        kept: (W, 2 o), own numbers. rows: (W, 2), of the pool (2, m, d - o).
    """
    own, rest = kept.shape[1] // 2, pool.shape[2]
    for n in range(there):
        for j in range(own):
            keys[j, n] = kept[n, j]
            values[n, j] = kept[n, own + j]
        key, value = pool[0, rows[n, 0]], pool[1, rows[n, 1]]
        for j in range(rest):
            keys[own + j, n] = key[j]
            values[n, own + j] = value[j]


@njit(cache=True)
def project(queries, mine, logits, before, kept, rows, pool, projected):  # type: ignore[no-untyped-def]
    """Queries, keys and values of new events side by side, into `projected` (n, 3d); and keep the events.

    Args:
        queries: (n, d). mine: (n, 2 o), own numbers. logits: (n, 2 m), of rows. before: how many events were read.
        kept, rows: (W, 2 o) and (W, 2), into which they are written. pool: (2, m, d - o).
    """
    window, own, rest, many, width = len(kept), kept.shape[1] // 2, pool.shape[2], pool.shape[1], queries.shape[1]
    lanes = np.empty(LANES, np.float32)
    for t in range(len(queries)):
        place = (before + t) % window
        for j in range(width):
            projected[t, j] = queries[t, j]
        for part in range(2):
            best = largest(logits[t], part * many, (part + 1) * many, lanes)
            rows[place, part] = best
            begin, taken = (part + 1) * width, pool[part, best]
            for j in range(own):
                kept[place, part * own + j] = mine[t, part * own + j]
                projected[t, begin + j] = mine[t, part * own + j]
            for j in range(rest):
                projected[t, begin + own + j] = taken[j]


@njit(cache=True, fastmath=FUSED)
def route(rows, matrix, shift, out):  # type: ignore[no-untyped-def]
    """As `dense`, for a wide matrix (d, e): what is read of it serves all rows while the processor has it at hand."""
    for t in range(len(rows)):
        for j in range(len(shift)):
            out[t, j] = shift[j]
    for i in range(0, rows.shape[1], 4):
        first, second, third, fourth = matrix[i], matrix[i + 1], matrix[i + 2], matrix[i + 3]
        for t in range(len(rows)):
            a, b, c, d = rows[t, i], rows[t, i + 1], rows[t, i + 2], rows[t, i + 3]
            sums = out[t]
            for j in range(len(sums)):
                sums[j] += a * first[j] + b * second[j] + c * third[j] + d * fourth[j]


@njit(cache=True)
def largest(numbers, first, last, most):  # type: ignore[no-untyped-def]
    """The place of the largest of numbers[first:last], from 0, the first of equal ones.

    Args:
        most: (LANES,) float32, written over: of every so many numbers the largest, which the compiler vectorises.
    """
    whole = (last - first) // LANES * LANES
    for lane in range(LANES):
        most[lane] = numbers[first]
    for n in range(first, first + whole, LANES):
        for lane in range(LANES):
            number = numbers[n + lane]
            most[lane] = number if number > most[lane] else most[lane]
    of_all = most[0]
    for lane in range(1, LANES):
        of_all = max(of_all, most[lane])
    for n in range(first + whole, last):
        of_all = max(of_all, numbers[n])
    place = first
    while numbers[place] != of_all and place < last - 1:
        place += 1
    return place - first


@njit(cache=True, fastmath=FUSED)
def attend(projected, before, window, keys, values, slopes, found):  # type: ignore[no-untyped-def]
    """As `lerl.envs.response.sequence.attend`, of all heads at once, with exponentials in single precision.

    Args:
        projected, before, slopes, found: as there. window: W.
        keys, values: (d, P) and (P, d), P being W rounded up to a multiple of BLOCK; finite numbers behind W.
    """
    width, padded, heads = keys.shape[0], keys.shape[1], len(slopes)
    size = width // heads
    scale = np.float32(1.0 / math.sqrt(size))
    weights, powers = np.empty(heads * padded, np.float32), np.empty(heads * padded, np.int32)
    for t in range(len(projected)):
        place = (before + t) % window
        there = min(before + t + 1, window)
        filled = (there + BLOCK - 1) // BLOCK * BLOCK
        for j in range(width):
            keys[j, place] = projected[t, width + j]
            values[place, j] = projected[t, 2 * width + j]
        for head in range(heads):
            scores = weights[head * filled : (head + 1) * filled]
            for n in range(filled):
                distance = place - n if n <= place else place - n + window
                scores[n] = -slopes[head] * np.float32(distance)
            first, whole = head * size, head * size + size // 4 * 4
            for j in range(first, whole, 4):  # fewer passes over the scores, in the same order
                a, b = projected[t, j] * scale, projected[t, j + 1] * scale
                c, d = projected[t, j + 2] * scale, projected[t, j + 3] * scale
                one, two, three, four = keys[j], keys[j + 1], keys[j + 2], keys[j + 3]
                for n in range(filled):
                    scores[n] = scores[n] + a * one[n] + b * two[n] + c * three[n] + d * four[n]
            for j in range(whole, first + size):
                query, key = projected[t, j] * scale, keys[j]
                for n in range(filled):
                    scores[n] += query * key[n]
            most = scores[0]
            for n in range(1, there):
                most = scores[n] if scores[n] > most else most
            for n in range(filled):
                scores[n] = scores[n] - most if n < there else LEAST
        exponentials(weights[: heads * filled], powers[: heads * filled])
        for head in range(heads):
            shares, mixed = weights[head * filled : (head + 1) * filled], found[t, head * size : (head + 1) * size]
            total = np.float32(0.0)
            for j in range(size):
                mixed[j] = 0.0
            for n in range(0, filled, 4):
                a, b, c, d = shares[n], shares[n + 1], shares[n + 2], shares[n + 3]
                total += (a + b) + (c + d)
                one, two = values[n, head * size : (head + 1) * size], values[n + 1, head * size : (head + 1) * size]
                three, four = (
                    values[n + 2, head * size : (head + 1) * size],
                    values[n + 3, head * size : (head + 1) * size],
                )
                for j in range(size):
                    mixed[j] = mixed[j] + a * one[j] + b * two[j] + c * three[j] + d * four[j]
            for j in range(size):
                mixed[j] /= total


@njit(cache=True, fastmath={"nnan", "nsz", "contract"})
def exponentials(numbers, powers):  # type: ignore[no-untyped-def]
    """exp of each number, at most 0, in place, to 1e-6; powers: (n,) int32, written over.

    exp(x) = 2^k exp(x - k ln 2), the last by its series, 2^k by the bits of a number: loops that the compiler
    vectorises, in half the width of `lerl.envs.response.sequence.exponentials`.
    """
    for n in range(len(numbers)):
        x = numbers[n] if numbers[n] > LEAST else LEAST  # nothing is left of a share below exp(-80)
        k = np.float32(math.floor(x * LOG2 + HALF))
        x = x - k * LN2_HIGH - k * LN2_LOW
        numbers[n] = ONE + x * (ONE + x * (E + x * (D + x * (C + x * (B + x * A)))))
        powers[n] = np.int32(k) + np.int32(127)
    for n in range(len(numbers)):
        powers[n] = powers[n] << 23
    scales = powers.view(np.float32)
    for n in range(len(numbers)):
        numbers[n] *= scales[n]
