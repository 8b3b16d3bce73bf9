"""Users who react to what they lived through: a causal Transformer over items and feedback, one event at a time.

An event is an item with the feedback on it. In each layer an event attends to itself and to the W - 1 events before it,
less to far ones (Press, Smith and Lewis 2022, Train short, test long: attention with linear biases enables input length
extrapolation). Only distances count: what a layer once made of an event, its key and its value, stays right while the
window slides, and a new event costs the work of one event. Through L layers L (W - 1) + 1 events are seen, and to read
these again gives the same numbers.

The network is trained in PyTorch, by `lerl.users.train_sequence`. Here are plain compiled loops, without matrix
products of a library, so that a user's numbers do not depend on who else is simulated.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from lerl.envs.population import Population
from lerl.envs.response.base import Arrays, click_chances
from lerl.envs.sequence_weights import check_learned

EPSILON = 1e-5
"""What layer normalisation adds to a variance."""

FUSED = {"contract"}
"""Multiply and add may be one instruction; nothing else about the order of sums is left to the compiler."""

PARTS = ("query", "offset", "keys", "values", "events", "seen", "clicked")
"""What a state is made of, in the order of the compiled functions."""

Floats = NDArray[np.float32]


class Weights(NamedTuple):
    """The network's numbers, float32: width d, inner width f, L layers, H heads, window W.

    Attributes:
        shown: (I, d), what an event adds to its token for its item.
        liked: (I, d), what it adds times the feedback.
        start: (d,), the token before a user's first event.
        history: (2, d), what the two features of `_feature` add to every token.
        scaling: (6,), of these features: prior, base rate, means, deviations.
        norms: (L, 2, 2, d), before attention and before the inner layer: scale and shift.
        attention, attention_shift: (L, d, 3d) and (L, 3d), to queries, keys and values.
        mixing, mixing_shift: (L, d, d) and (L, d), of what the heads found.
        wide, wide_shift: (L, d, f) and (L, f), to the inner layer, which is rectified.
        narrow, narrow_shift: (L, f, d) and (L, d), back from it.
        slopes: (H,), log-weight lost per event of distance.
        last_norm: (2, d), scale and shift.
        query, query_shift: (d, d) and (d,), to what is multiplied with item vectors.
        offset: (d + 3,), to the user's log-odds: of the state, of the two features, and a constant.
    """

    shown: Floats
    liked: Floats
    start: Floats
    history: Floats
    scaling: Floats
    norms: Floats
    attention: Floats
    attention_shift: Floats
    mixing: Floats
    mixing_shift: Floats
    wide: Floats
    wide_shift: Floats
    narrow: Floats
    narrow_shift: Floats
    slopes: Floats
    last_norm: Floats
    query: Floats
    query_shift: Floats
    offset: Floats


class SequenceResponse:
    """P(click) = sigmoid(query . item + item offset + user offset), the last layer's state giving query and offset.

    The items of a slate are scored side by side, none seeing the others; after the feedback they become events in the
    order of their slots. Empty slots are no events. It has learned from clicks: feedback between 0 and 1 counts as part
    of one. A session starts from the user's own events in the truth half.

    Args:
        population: with a response model that `lerl fit` left.

    Raises:
        ValueError: it has none, or one of other items or users.
    """

    def __init__(self, population: Population) -> None:
        if population.response is None:
            raise ValueError(
                f"env.response is 'sequence', but the population {population.name!r} has no sequence model; "
                "make one with `lerl fit FOLDER --model sequence`, FOLDER being a prepared folder whose log has times"
            )
        arrays = population.response
        check_learned(arrays, len(population.catalog), len(population.training))
        self.weights = Weights(*(np.ascontiguousarray(arrays[name]) for name in Weights._fields))
        self.item_vectors: Floats = arrays["item_vectors"]
        self.item_offsets: Floats = arrays["item_offsets"]
        self.window = int(arrays["window"][0])
        self.past = arrays["past_starts"], arrays["past_items"], arrays["past_clicks"], arrays["past_before"]

    def init(self, users: NDArray[np.int64]) -> Arrays:
        """Users (B,) after their own past.

        Returns:
            query (B, d) and offset (B,) of the next click; keys (B, L, d, W) and values (B, L, W, d) of the last W
            events, event n in place n % W; events (B,), how many the network has read; seen and clicked (B,), the
            user's events and the feedback on them, summed. All float32.
        """
        layers, width = self.weights.norms.shape[0], len(self.weights.start)
        state = {
            "query": np.zeros((len(users), width), np.float32),
            "offset": np.zeros(len(users), np.float32),
            "keys": np.zeros((len(users), layers, width, self.window), np.float32),
            "values": np.zeros((len(users), layers, self.window, width), np.float32),
            "events": np.zeros(len(users), np.float32),
            "seen": np.zeros(len(users), np.float32),
            "clicked": np.zeros(len(users), np.float32),
        }
        _begin(users, *self.past, *(state[part] for part in PARTS), self.weights)  # type: ignore[call-arg]
        return state

    def score(self, state: Arrays, items: NDArray[np.int32]) -> NDArray[np.float64]:
        """Chance of a click (B, k) in (0, 1)."""
        return click_chances(state["query"], state["offset"], items, self.item_vectors, self.item_offsets)

    def advance(self, state: Arrays, items: NDArray[np.int32], feedback: Floats) -> Arrays:
        """The same state, moved on in place."""
        _advance(items, feedback, *(state[part] for part in PARTS), self.weights)  # type: ignore[call-arg]
        return state


@njit(cache=True)
def _begin(  # type: ignore[no-untyped-def]
    users, starts, items, clicks, before, query, offset, keys, values, events, seen, clicked, weights
):
    longest = 0
    for user in users:
        longest = max(longest, starts[user + 1] - starts[user])
    tokens = np.empty((longest + 1, weights.start.shape[0]), np.float32)
    for b in range(len(users)):
        user = users[b]
        seen[b], clicked[b] = before[user]
        count = 0
        if seen[b] == 0:
            nothing = np.float32(0.0)
            _event(tokens[0], weights.start, weights.start, nothing, nothing, nothing, weights.history, weights.scaling)
            count = 1
        for n in range(starts[user], starts[user + 1]):
            seen[b] += 1.0
            clicked[b] += clicks[n]
            shown, liked = weights.shown[items[n]], weights.liked[items[n]]
            _event(tokens[count], shown, liked, clicks[n], seen[b], clicked[b], weights.history, weights.scaling)
            count += 1
        _read(tokens[:count], b, query, offset, keys, values, events, seen, clicked, weights)


@njit(cache=True)
def _advance(  # type: ignore[no-untyped-def]
    items, feedback, query, offset, keys, values, events, seen, clicked, weights
):
    tokens = np.empty((items.shape[1], weights.start.shape[0]), np.float32)
    for b in range(items.shape[0]):
        count = 0
        for s in range(items.shape[1]):
            if items[b, s] >= 0:
                seen[b] += 1.0
                clicked[b] += feedback[b, s]
                shown, liked, click = weights.shown[items[b, s]], weights.liked[items[b, s]], feedback[b, s]
                _event(tokens[count], shown, liked, click, seen[b], clicked[b], weights.history, weights.scaling)
                count += 1
        if count:
            _read(tokens[:count], b, query, offset, keys, values, events, seen, clicked, weights)


@njit(cache=True)
def _event(token, shown, liked, feedback, seen, clicked, history, scaling):  # type: ignore[no-untyped-def]
    """The token (d,) that tells an event and the user's history; in parts, as passing all weights takes time."""
    first, second = _feature(0, seen, clicked, scaling), _feature(1, seen, clicked, scaling)
    for j in range(len(token)):
        token[j] = shown[j] + feedback * liked[j]
        token[j] += first * history[0, j] + second * history[1, j]


@njit(cache=True)
def _feature(number, seen, clicked, scaling):  # type: ignore[no-untyped-def]
    """The standardised log-odds of the smoothed share of clicks (number 0), or log(1 + events) (number 1)."""
    if number == 0:
        share = (clicked + scaling[0] * scaling[1]) / (seen + scaling[0])
        return np.float32((math.log(share / (1.0 - share)) - scaling[2]) / scaling[4])
    return np.float32((math.log(1.0 + seen) - scaling[3]) / scaling[5])


@njit(cache=True)
def _read(tokens, b, query, offset, keys, values, events, seen, clicked, weights):  # type: ignore[no-untyped-def]
    """Pass tokens (n, d) of user b through the layers, in place; what the last one says becomes query and offset."""
    count, width = tokens.shape
    normed = np.empty((count, width), np.float32)
    projected = np.empty((count, 3 * width), np.float32)
    inner = np.empty((count, weights.wide.shape[2]), np.float32)
    added = np.empty((count, width), np.float32)
    for layer in range(keys.shape[1]):
        _norm(tokens, weights.norms[layer, 0], normed)
        _dense(normed, weights.attention[layer], weights.attention_shift[layer], projected)
        _attend(projected, int(events[b]), keys[b, layer], values[b, layer], weights.slopes, normed)
        _dense(normed, weights.mixing[layer], weights.mixing_shift[layer], added)
        _add(added, tokens)
        _norm(tokens, weights.norms[layer, 1], normed)
        _dense(normed, weights.wide[layer], weights.wide_shift[layer], inner)
        for t in range(count):
            for j in range(inner.shape[1]):
                inner[t, j] = max(inner[t, j], np.float32(0.0))
        _dense(inner, weights.narrow[layer], weights.narrow_shift[layer], added)
        _add(added, tokens)
    events[b] += count
    last = normed[:1]
    _norm(tokens[count - 1 :], weights.last_norm, last)
    _dense(last, weights.query, weights.query_shift, query[b : b + 1])
    total = weights.offset[width + 2]
    total += weights.offset[width] * _feature(0, seen[b], clicked[b], weights.scaling)
    total += weights.offset[width + 1] * _feature(1, seen[b], clicked[b], weights.scaling)
    for j in range(width):
        total += weights.offset[j] * last[0, j]
    offset[b] = total


@njit(cache=True, fastmath=FUSED)
def _attend(projected, before, keys, values, slopes, found):  # type: ignore[no-untyped-def]
    """Events (n, 3d) one after the other: keep key and value, then look at the last W, each head for itself."""
    width, window = keys.shape
    size = width // len(slopes)
    scale = np.float32(1.0 / math.sqrt(size))
    ring = np.empty(2 * window, np.float32)  # place n is ring[n + W - 1 - p] before place p
    for n in range(window):
        ring[n] = ring[window + n] = window - 1 - n
    weights = np.empty(window, np.float32)
    for t in range(len(projected)):
        place = (before + t) % window
        there = min(before + t + 1, window)
        for j in range(width):
            keys[j, place] = projected[t, width + j]
            values[place, j] = projected[t, 2 * width + j]
        distance = ring[window - 1 - place :]
        for head in range(len(slopes)):
            first = head * size
            slope = slopes[head]
            for n in range(there):
                weights[n] = -slope * distance[n]
            for j in range(first, first + size):
                asked = projected[t, j] * scale
                key = keys[j]
                for n in range(there):
                    weights[n] += asked * key[n]
            total = _exponentials(weights[:there])
            mixed = found[t, first : first + size]
            for j in range(size):
                mixed[j] = 0.0
            whole = there - there % 4
            for n in range(0, whole, 4):
                a, b, c, d = weights[n], weights[n + 1], weights[n + 2], weights[n + 3]
                one, two = values[n, first : first + size], values[n + 1, first : first + size]
                three, four = values[n + 2, first : first + size], values[n + 3, first : first + size]
                for j in range(size):
                    mixed[j] = mixed[j] + a * one[j] + b * two[j] + c * three[j] + d * four[j]
            for n in range(whole, there):
                share = weights[n]
                value = values[n, first : first + size]
                for j in range(size):
                    mixed[j] += share * value[j]
            for j in range(size):
                mixed[j] /= total


@njit(cache=True, fastmath={"nnan", "nsz"})
def _exponentials(numbers):  # type: ignore[no-untyped-def]
    """exp(number - the largest one) of each, in place, and their sum.

    By the series of exp(x / 1024), squared ten times, in double precision: loops that the compiler makes wide, and the
    same bits wherever they run, which a library's exp does not promise.
    """
    most = numbers[0]
    for n in range(1, len(numbers)):
        most = max(most, numbers[n])
    for n in range(len(numbers)):
        x = max(numbers[n] - most, np.float32(-80.0)) / 1024.0  # nothing is left of a share below exp(-80)
        power = 1 + x * (1 + x * (1 / 2 + x * (1 / 6 + x * (1 / 24 + x * (1 / 120 + x / 720)))))
        for _ in range(10):
            power *= power
        numbers[n] = power
    total, whole = np.float32(0.0), len(numbers) - len(numbers) % 4
    for n in range(0, whole, 4):
        total += (numbers[n] + numbers[n + 1]) + (numbers[n + 2] + numbers[n + 3])
    for n in range(whole, len(numbers)):
        total += numbers[n]
    return total


@njit(cache=True)
def _norm(rows, scale_and_shift, out):  # type: ignore[no-untyped-def]
    width = rows.shape[1]
    for t in range(len(rows)):
        mean = np.float32(0.0)
        for j in range(width):
            mean += rows[t, j]
        mean /= np.float32(width)
        variance = np.float32(0.0)
        for j in range(width):
            variance += (rows[t, j] - mean) ** 2
        scale = np.float32(1.0 / math.sqrt(variance / width + EPSILON))
        for j in range(width):
            out[t, j] = (rows[t, j] - mean) * scale * scale_and_shift[0, j] + scale_and_shift[1, j]


@njit(cache=True, fastmath=FUSED)
def _dense(rows, matrix, shift, out):  # type: ignore[no-untyped-def]
    """out = rows . matrix + shift, four terms at a time: one order of adding up, whatever the number of rows."""
    for t in range(len(rows)):
        row, sums = rows[t], out[t]
        for j in range(len(sums)):
            sums[j] = shift[j]
        for i in range(0, len(row), 4):
            a, b, c, d = row[i], row[i + 1], row[i + 2], row[i + 3]
            first, second, third, fourth = matrix[i], matrix[i + 1], matrix[i + 2], matrix[i + 3]
            for j in range(len(sums)):
                sums[j] += a * first[j] + b * second[j] + c * third[j] + d * fourth[j]


@njit(cache=True)
def _add(rows, tokens):  # type: ignore[no-untyped-def]
    for t in range(len(tokens)):
        for j in range(tokens.shape[1]):
            tokens[t, j] += rows[t, j]
