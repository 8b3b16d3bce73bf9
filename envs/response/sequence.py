"""Users whose clicks follow from their past: a causal Transformer over items and feedback, one event at a time.

An event is an item with the feedback on it. In each layer an event attends to itself and to the W - 1 events before it,
less to far ones (Press, Smith and Lewis 2022, Train short, test long: attention with linear biases enables input length
extrapolation). Only distances count: the key and the value that a layer computed for an event stay valid while the
window slides, so that a new event costs the work of one event. Through L layers the network sees L (W - 1) + 1 events;
reading these again from the beginning gives the same numbers.

The network is trained in PyTorch, by `lerl.users.train_sequence`. Here it runs as plain compiled loops, without a
library's matrix products, so that a user's numbers have the same bits whoever else is simulated.
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

Floats = NDArray[np.float32]


class Weights(NamedTuple):
    """The network's numbers, float32: width d, inner width f, L layers, H heads, window W.

    Attributes:
        shown: (I, d), what an item adds to the token of an event with it.
        liked: (I, d), what it adds to that token times the feedback.
        start: (d,), the token before a user's first event.
        history: (2, d), what the two features of `history_feature` add to every token.
        scaling: (6,), of these features: prior, base rate, means, deviations.
        norms: (L, 2, 2, d), before attention and before the inner layer: scale and shift.
        attention, attention_shift: (L, d, 3d) and (L, 3d), to queries, keys and values.
        out_proj, out_proj_shift: (L, d, d) and (L, d), of what the heads found.
        fc_in, fc_in_shift: (L, d, f) and (L, f), to the inner layer, which is rectified.
        fc_out, fc_out_shift: (L, f, d) and (L, d), back from it.
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


class States(NamedTuple):
    """What the network has made of B users' pasts, float32: width d, L layers, window W.

    Attributes:
        query: (B, d), multiplied with item vectors for the log-odds of the next click.
        offset: (B,), the users' part of those log-odds.
        keys: (B, L, d, W), of the last W events, event n in place n % W.
        values: (B, L, W, d), of the same.
        events: (B,), how many events the network has read.
        seen: (B,), how many events the user has had.
        clicked: (B,), the feedback on these, summed.
    """

    query: Floats
    offset: Floats
    keys: Floats
    values: Floats
    events: Floats
    seen: Floats
    clicked: Floats


class Pasts(NamedTuple):
    """The events from which users' sessions start: U users, N events.

    Attributes:
        starts: (U + 1,) int64; the events of user u are starts[u] to starts[u + 1].
        items: (N,) int32.
        clicks: (N,) float32, feedback in [0, 1].
        before: (U, 2) float32, how many earlier events there were, and the feedback on these, summed.
    """

    starts: NDArray[np.int64]
    items: NDArray[np.int32]
    clicks: Floats
    before: Floats


class SequenceResponse:
    """P(click) = sigmoid(query . item + item offset + user offset), the last layer's state giving query and offset.

    The items of a slate are scored independently of each other; after the feedback they become events in the order of
    their slots. Empty slots are no events. The network learned from clicks: feedback between 0 and 1 counts as part of
    a click. A session starts from the user's own events in the truth half of the log.

    Args:
        population: with a response model that `lerl fit` made.

    Raises:
        ValueError: the population has no such model, or one for other items or users.
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
        self.pasts = Pasts(*(arrays[f"past_{name}"] for name in Pasts._fields))

    def init(self, users: NDArray[np.int64]) -> Arrays:
        """The state of users (B,) int64 after their own past, as a dictionary of the arrays of `States`."""
        layers, width = self.weights.norms.shape[0], len(self.weights.start)
        states = States(
            query=np.zeros((len(users), width), np.float32),
            offset=np.zeros(len(users), np.float32),
            keys=np.zeros((len(users), layers, width, self.window), np.float32),
            values=np.zeros((len(users), layers, self.window, width), np.float32),
            events=np.zeros(len(users), np.float32),
            seen=np.zeros(len(users), np.float32),
            clicked=np.zeros(len(users), np.float32),
        )
        start_states(users, self.pasts, states, self.weights)
        return states._asdict()

    def score(self, state: Arrays, items: NDArray[np.int32]) -> NDArray[np.float64]:
        """Chance of a click (B, k) in (0, 1) for items (B, k), -1 for an empty slot (its value is not used)."""
        return click_chances(state["query"], state["offset"], items, self.item_vectors, self.item_offsets)

    def advance(self, state: Arrays, items: NDArray[np.int32], feedback: Floats) -> Arrays:
        """The same state, changed in place, after feedback (B, k) in [0, 1] on items (B, k), -1 for an empty slot."""
        advance_states(items, feedback, States(*(state[name] for name in States._fields)), self.weights)
        return state


@njit(cache=True, nogil=True)
def start_states(users, pasts, states, weights):  # type: ignore[no-untyped-def]
    """Fill the states (B,) of users (B,) with what the network makes of their pasts."""
    tokens = np.empty((longest_past(users, pasts) + 1, weights.start.shape[0]), np.float32)
    for b in range(len(users)):
        count = past_tokens(tokens, users[b], b, pasts, states, weights)
        read_tokens(tokens[:count], b, states, weights)


@njit(cache=True, nogil=True)
def advance_states(items, feedback, states, weights):  # type: ignore[no-untyped-def]
    """Change states (B,) in place by feedback (B, k) on items (B, k), -1 for an empty slot."""
    tokens = np.empty((items.shape[1], weights.start.shape[0]), np.float32)
    for b in range(items.shape[0]):
        count = slate_tokens(tokens, items[b], feedback[b], b, states, weights)
        if count:
            read_tokens(tokens[:count], b, states, weights)


@njit(cache=True)
def longest_past(users, pasts):  # type: ignore[no-untyped-def]
    """The most events that any of users (B,) has in their past."""
    longest = 0
    for user in users:
        longest = max(longest, pasts.starts[user + 1] - pasts.starts[user])
    return longest


@njit(cache=True)
def past_tokens(tokens, user, b, pasts, states, weights):  # type: ignore[no-untyped-def]
    """Write the tokens of a user's past into tokens (n, d), and what was seen into state b; how many there are."""
    seen, clicked, count = states.seen, states.clicked, 0
    seen[b], clicked[b] = pasts.before[user]
    if seen[b] == 0:
        nothing = np.float32(0.0)
        event_token(
            tokens[0], weights.start, weights.start, nothing, nothing, nothing, weights.history, weights.scaling
        )
        count = 1
    for n in range(pasts.starts[user], pasts.starts[user + 1]):
        item, click = pasts.items[n], pasts.clicks[n]
        seen[b] += 1.0
        clicked[b] += click
        shown, liked = weights.shown[item], weights.liked[item]
        event_token(tokens[count], shown, liked, click, seen[b], clicked[b], weights.history, weights.scaling)
        count += 1
    return count


@njit(cache=True)
def slate_tokens(tokens, items, feedback, b, states, weights):  # type: ignore[no-untyped-def]
    """The same of feedback (k,) on items (k,), -1 for an empty slot."""
    seen, clicked, count = states.seen, states.clicked, 0
    for s in range(len(items)):
        if items[s] >= 0:
            seen[b] += 1.0
            clicked[b] += feedback[s]
            shown, liked, click = weights.shown[items[s]], weights.liked[items[s]], feedback[s]
            event_token(tokens[count], shown, liked, click, seen[b], clicked[b], weights.history, weights.scaling)
            count += 1
    return count


@njit(cache=True)
def event_token(token, shown, liked, feedback, seen, clicked, history, scaling):  # type: ignore[no-untyped-def]
    """Write the token (d,) of an event and of the history before it; passing all weights here would take time."""
    first, second = history_feature(0, seen, clicked, scaling), history_feature(1, seen, clicked, scaling)
    for j in range(len(token)):
        token[j] = shown[j] + feedback * liked[j]
        token[j] += first * history[0, j] + second * history[1, j]


@njit(cache=True)
def history_feature(number, seen, clicked, scaling):  # type: ignore[no-untyped-def]
    """The standardised log-odds of the smoothed share of clicks (number 0), or log(1 + events) (number 1)."""
    if number == 0:
        share = (clicked + scaling[0] * scaling[1]) / (seen + scaling[0])
        return np.float32((math.log(share / (1.0 - share)) - scaling[2]) / scaling[4])
    return np.float32((math.log(1.0 + seen) - scaling[3]) / scaling[5])


@njit(cache=True)
def read_tokens(tokens, b, states, weights):  # type: ignore[no-untyped-def]
    """Pass tokens (n, d) of user b through the layers, in place; the last one's state becomes query and offset."""
    count, width = tokens.shape
    normed = np.empty((count, width), np.float32)
    projected = np.empty((count, 3 * width), np.float32)
    inner = np.empty((count, weights.fc_in.shape[2]), np.float32)
    added = np.empty((count, width), np.float32)
    for layer in range(states.keys.shape[1]):
        layer_norm(tokens, weights.norms[layer, 0], normed)
        dense(normed, weights.attention[layer], weights.attention_shift[layer], projected)
        keys, values = states.keys[b, layer], states.values[b, layer]
        attend(projected, int(states.events[b]), keys, values, weights.slopes, normed)
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


@njit(cache=True, fastmath=FUSED)
def attend(projected, before, keys, values, slopes, found):  # type: ignore[no-untyped-def]
    """Causal attention of events (n, 3d), one after the other, to the last W events; into `found` (n, d).

    Args:
        projected: (n, 3d), queries, keys and values. before: how many events were read before these.
        keys, values: (d, W) and (W, d), of the last W events; the new ones are written into them.
        slopes: (H,), log-weight lost per event of distance. found: (n, d), what the heads found, side by side.
    """
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
                query = projected[t, j] * scale
                key = keys[j]
                for n in range(there):
                    weights[n] += query * key[n]
            total = exponentials(weights[:there])
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
def exponentials(numbers):  # type: ignore[no-untyped-def]
    """exp(number - the largest one) of each, in place, and their sum.

    By the series of exp(x / 1024), squared ten times, in double precision: the compiler vectorises these loops, and
    they give the same bits on every machine, which a library's exp does not promise.
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
def layer_norm(rows, scale_and_shift, out):  # type: ignore[no-untyped-def]
    """Rows (n, d) normalised, times scale plus shift (2, d), into `out` (n, d)."""
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
def dense(rows, matrix, shift, out):  # type: ignore[no-untyped-def]
    """out (n, e) = rows (n, d) . matrix (d, e) + shift (e,); terms are summed in one order, whatever n is."""
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
def add_to(tokens, rows):  # type: ignore[no-untyped-def]
    """tokens (n, d) += rows (n, d)."""
    for t in range(len(tokens)):
        for j in range(tokens.shape[1]):
            tokens[t, j] += rows[t, j]
