"""The simulator's compiled loops: each one step of what happens to users, in plain loops over arrays."""

import math

import numpy as np
from numba import njit

from lerl.envs import draws, dynamics

# By how much harder (negative: easier) "at least 2, 3 and 5 stars" is than "at least 4", in log-odds, to one decimal
# from the star shares of MovieLens-1M: of the ratings, 94 % have at least 2 stars, 83 % 3, 57 % 4, and 22 % have 5.
STAR_STEPS = (-2.5, -1.3, 1.5)


CLICK_FROM = 0.75  # four stars; also true of a click, which is 1


NO_ITEM, NO_STEP = 1, 2  # why slates cannot be shown


NO_KINDS = np.zeros(0, np.float32), np.zeros(0, np.float32), np.zeros((0, 0), np.float32)
for _none in NO_KINDS:
    _none.setflags(write=False)  # compiled code takes read-only arrays for another type


@njit(cache=True)
def draw_users(seeds, sessions, count):  # type: ignore[no-untyped-def]
    drawn = np.empty(len(seeds), np.int64)
    for b in range(len(seeds)):
        drawn[b] = int(draws.uniform(draws.stream(seeds[b], sessions[b], 0, draws.USER), 0) * count)
    return drawn


@njit(cache=True)
def clear(  # type: ignore[no-untyped-def]
    rows, seeds, sessions, users, seed, session, steps, user, active, boredom, fatigue, satisfaction, spent, shown,
    feedback, exposure, liked, k, content,
):  # fmt: skip
    """Fresh sessions in rows (n,) of all the other arrays; beyond its steps a row is fresh already."""
    for n in range(len(rows)):
        b = rows[n]
        seed[b], session[b], user[b], active[b] = seeds[n], sessions[n], users[n], True
        boredom[b], fatigue[b], satisfaction[b], spent[b] = 0.0, 0.0, content, 0.0
        shown[b, : steps[b] * k], feedback[b, : steps[b] * k] = -1, -1.0
        exposure[b], liked[b] = 0, 0.0
        steps[b] = 0


@njit(cache=True)
def streams(seeds, sessions, steps):  # type: ignore[no-untyped-def]
    keys = np.empty((len(seeds), draws.PURPOSES), np.uint64)
    for b in range(len(seeds)):
        moment = draws.moment(seeds[b], sessions[b], steps[b])
        for purpose in range(draws.PURPOSES):
            keys[b, purpose] = draws.mix(moment ^ np.uint64(purpose))
    return keys


@njit(cache=True)
def _uniforms(keys):  # type: ignore[no-untyped-def]
    drawn = np.empty(len(keys), np.float64)
    for b in range(len(keys)):
        drawn[b] = draws.uniform(keys[b], 0)
    return drawn


@njit(cache=True)
def begin_step(given, seeds, sessions, steps, shown, items, max_steps, repeats):  # type: ignore[no-untyped-def]
    """Slates as they are shown, the keys of the step's streams, and NO_ITEM or NO_STEP where slates are refused."""
    slates, wrong = np.empty(given.shape, np.int32), 0
    for b in range(given.shape[0]):
        if steps[b] >= max_steps:
            wrong = NO_STEP
    for b in range(given.shape[0]):
        for s in range(given.shape[1]):
            slates[b, s] = given[b, s]
            if given[b, s] < -1 or given[b, s] >= items:
                wrong = NO_ITEM
    if wrong == 0:
        _blank_copies(slates, shown, steps, repeats)
    return slates, streams(seeds, sessions, steps), wrong


@njit(cache=True)
def live(  # type: ignore[no-untyped-def]
    slates, chance, keys, steps, shown, log, exposure, liked, taste, anchor, boredom, fatigue, mood, satisfaction,
    groups, topics, item_units, user_units, kinds, rating, strengths,
):  # fmt: skip
    """What slates do to users: feedback (B, k) float32 and reward (B,); chance and the users' state move in place."""
    drift, bored, tired, swayed, content, alike = strengths
    apply_boredom(chance, slates, topics, boredom, fatigue, mood, bored[1], tired[1])
    if alike[0]:
        dynamics.resemble(chance, slates, item_units, alike[0])
    feedback = _react(slates, chance, keys[:, draws.CLICK], rating)
    clicks = (feedback >= CLICK_FROM).astype(np.float32)
    weights, slopes, offsets = kinds
    if len(weights):
        _add_kinds(feedback, slates, chance, keys[:, draws.KIND], weights, slopes, offsets)
    _record(slates, feedback, groups, steps, shown, log, exposure, liked)
    if content[0]:
        dynamics.follow(satisfaction, _row_means(chance), content[1])
    if drift[0]:
        dynamics.drift(
            taste, anchor, slates, clicks, item_units, user_units, keys[:, draws.SHIFT : draws.DRIFT + 1],
            drift[1], drift[2], drift[3], drift[4], drift[5],
        )  # fmt: skip
    if bored[0]:
        dynamics.bore(boredom, slates, topics, bored[2])
    if tired[0]:
        dynamics.rise(fatigue, tired[2])
    if swayed[0]:
        dynamics.sway(mood, keys[:, draws.MOOD], 0, swayed[1], swayed[2])
    return feedback, _rewards(feedback)


@njit(cache=True)
def _row_means(values):  # type: ignore[no-untyped-def]
    means = np.empty(len(values), np.float64)
    for b in range(len(values)):
        total = 0.0
        for s in range(values.shape[1]):
            total += values[b, s]
        means[b] = total / values.shape[1]
    return means


@njit(cache=True)
def _rewards(feedback):  # type: ignore[no-untyped-def]
    rewards = np.empty(len(feedback), np.float64)
    for b in range(len(feedback)):
        total = 0.0
        for s in range(feedback.shape[1]):
            total += max(feedback[b, s], np.float32(0.0))
        rewards[b] = total / feedback.shape[1]
    return rewards


@njit(cache=True)
def leave(keys, chance, steps, active, max_steps):  # type: ignore[no-untyped-def]
    """Who leaves and who is cut, (B,) bool each; active follows."""
    terminated, truncated = np.empty(len(chance), np.bool_), np.empty(len(chance), np.bool_)
    drawn = _uniforms(keys[:, draws.LEAVE])
    for b in range(len(chance)):
        terminated[b] = drawn[b] < chance[b]
        truncated[b] = not terminated[b] and steps[b] >= max_steps
        active[b] = not (terminated[b] or truncated[b])
    return terminated, truncated


@njit(cache=True)
def _blank_copies(slates, shown, steps, repeats):  # type: ignore[no-untyped-def]
    k = slates.shape[1]
    for b in range(slates.shape[0]):
        for s in range(k):
            item = slates[b, s]
            copy = False
            for earlier in range(s):
                copy |= slates[b, earlier] == item
            if not repeats:
                for slot in range(steps[b] * k):
                    copy |= shown[b, slot] == item
            if copy:
                slates[b, s] = -1


@njit(cache=True)
def apply_boredom(chance, slates, topics, boredom, fatigue, mood, boredom_weight, fatigue_weight):  # type: ignore[no-untyped-def]
    for b in range(slates.shape[0]):
        for s in range(slates.shape[1]):
            if slates[b, s] < 0:
                chance[b, s] = 0.0
                continue
            total, count = 0.0, 0
            for m in range(topics.shape[1]):
                topic = topics[slates[b, s], m]
                if topic >= 0:
                    total += boredom[b, topic]
                    count += 1
            loss = boredom_weight * total / max(count, 1) + fatigue_weight * fatigue[b] - mood[b]
            p = min(max(chance[b, s], 1e-9), 1.0 - 1e-9)
            chance[b, s] = 1.0 / (1.0 + (1.0 - p) / p * math.exp(loss))


@njit(cache=True)
def _react(slates, chance, keys, rating):  # type: ignore[no-untyped-def]
    feedback = np.full(slates.shape, -1.0, np.float32)
    for b in range(slates.shape[0]):
        for s in range(slates.shape[1]):
            if slates[b, s] < 0:
                continue
            drawn = draws.uniform(keys[b], s)
            if not rating:
                feedback[b, s] = 1.0 if drawn < chance[b, s] else 0.0
                continue
            p = min(max(chance[b, s], 1e-9), 1.0 - 1e-9)
            drawn = min(max(drawn, 1e-12), 1.0 - 1e-12)
            predicted_ctr = math.log(p / (1.0 - p)) - math.log(drawn / (1.0 - drawn))
            stars = 0.25 * (predicted_ctr > STAR_STEPS[0]) + 0.25 * (predicted_ctr > STAR_STEPS[1])
            feedback[b, s] = stars + 0.25 * (predicted_ctr > 0.0) + 0.25 * (predicted_ctr > STAR_STEPS[2])
    return feedback


@njit(cache=True)
def _kind_chance(chance, slope, offset):  # type: ignore[no-untyped-def]
    p = min(max(chance, 1e-9), 1.0 - 1e-9)
    return 1.0 / (1.0 + math.exp(-slope * math.log(p / (1.0 - p)) - offset))


@njit(cache=True)
def _add_kinds(feedback, slates, chance, keys, weights, slopes, offsets):  # type: ignore[no-untyped-def]
    """Clicks become the weighted mean of clicks and the other kinds' coins, each kind's coin its own."""
    others = len(slopes)
    for b in range(slates.shape[0]):
        for s in range(slates.shape[1]):
            item = slates[b, s]
            if item >= 0:
                felt, total = float(weights[0]) * feedback[b, s], float(weights[0])
                for j in range(others):
                    if draws.uniform(keys[b], s * others + j) < _kind_chance(chance[b, s], slopes[j], offsets[j, item]):
                        felt += weights[j + 1]
                    total += weights[j + 1]
                feedback[b, s] = felt / total  # summed in the same order: 1 is exactly 1


@njit(cache=True)
def expected(slates, chance, weights, slopes, offsets):  # type: ignore[no-untyped-def]
    worth = np.zeros(slates.shape, np.float64)
    for b in range(slates.shape[0]):
        for s in range(slates.shape[1]):
            item = slates[b, s]
            if item >= 0:
                felt, total = float(weights[0]) * chance[b, s], float(weights[0])
                for j in range(len(slopes)):
                    felt += weights[j + 1] * _kind_chance(chance[b, s], slopes[j], offsets[j, item])
                    total += weights[j + 1]
                worth[b, s] = felt / total
    return worth


@njit(cache=True)
def _record(slates, feedback, groups, steps, shown, log, exposure, liked):  # type: ignore[no-untyped-def]
    k = slates.shape[1]
    for b in range(slates.shape[0]):
        for s in range(k):
            item = slates[b, s]
            shown[b, steps[b] * k + s] = item
            log[b, steps[b] * k + s] = feedback[b, s]
            if item >= 0:
                for m in range(groups.shape[1]):
                    if groups[item, m] >= 0:
                        exposure[b, groups[item, m]] += 1
                        liked[b, groups[item, m]] += feedback[b, s]
        steps[b] += 1
