"""Eligible items as bits of the numbers in an observation, and slates chosen among them by number.

A replay buffer that holds observations so holds the masks of the very steps, at a 24th of a number an item.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

BITS = 24  # whole numbers below 2**24 are exact in float32


@njit(cache=True)
def packed(eligible):  # type: ignore[no-untyped-def]
    """(B, I) bool -> (B, ceil(I / 24)) float32, the first item in the highest bit."""
    users, items = eligible.shape
    words = np.zeros((users, -(-items // BITS)), np.float32)
    for b in range(users):
        for w in range(words.shape[1]):
            word = 0
            for item in range(w * BITS, min(w * BITS + BITS, items)):
                word |= eligible[b, item] << (w * BITS + BITS - 1 - item)
            words[b, w] = word
    return words


def of_role(words: NDArray[np.float32], slots: NDArray[np.int8], slot: int) -> NDArray[np.float32]:
    """The same bits (B, W) where items may fill a slot, by the only slot (I,) of each; others are not eligible."""
    own = packed(slots[None] == slot).astype(np.int64)
    return np.asarray(words.astype(np.int64) & own, np.float32)


@njit(cache=True)
def put_where_excluded(values, words, low):  # type: ignore[no-untyped-def]
    """values (B, I) <- low for items that are not eligible."""
    for b in range(len(values)):
        for w in range(words.shape[1]):
            word = np.int64(words[b, w])
            if word != 2**BITS - 1:
                for n in range(min(BITS, values.shape[1] - w * BITS)):
                    if not word >> (BITS - 1 - n) & 1:
                        values[b, w * BITS + n] = low


@njit(cache=True)
def best_eligible(scores, words, names, tops):  # type: ignore[no-untyped-def]
    """names, tops (B, k) <- the eligible items of highest scores (B, I), best first; ties go to the lower number.

    Where fewer than k are eligible, item 0 stands in at -inf: it was shown before, so its slot stays empty.
    """
    users, items = scores.shape
    last = names.shape[1] - 1
    names[:], tops[:] = 0, -np.inf
    for b in range(users):
        for w in range(words.shape[1]):
            first, bar, some = w * BITS, tops[b, last], False
            count = min(BITS, items - first)
            for n in range(count):  # as one comparison of vectors
                some |= scores[b, first + n] > bar
            if not some:
                continue
            word = np.int64(words[b, w])
            for n in range(count):
                score = scores[b, first + n]
                if score > tops[b, last] and word >> (BITS - 1 - n) & 1:
                    place = last
                    while place > 0 and tops[b, place - 1] < score:
                        tops[b, place], names[b, place] = tops[b, place - 1], names[b, place - 1]
                        place -= 1
                    tops[b, place], names[b, place] = score, first + n


@njit(cache=True)
def explored(slates, words, coins, draw, items):  # type: ignore[no-untyped-def]
    """Slates (B, k) whose slots with a coin (B, k) bool hold any eligible item that no other slot holds.

    Args:
        draw: (B, k) uniform in [0, 1). items: I.
    """
    found = slates.copy()
    left = np.empty(items, np.int64)
    for b in range(len(slates)):
        if not coins[b].any():
            continue
        count = 0
        for item in range(items):
            if np.int64(words[b, item // BITS]) >> (BITS - 1 - item % BITS) & 1:
                left[count] = item
                count += 1
        for s in range(slates.shape[1]):
            if coins[b, s]:
                found[b, s] = -1
        for s in range(slates.shape[1]):
            while found[b, s] < 0 and count > 0:
                place = int(draw[b, s] * count)
                item, left[place] = left[place], left[count - 1]
                count -= 1
                if not (found[b] == item).any():
                    found[b, s] = item
    return np.maximum(found, 0)


@njit(cache=True)
def drawn(uniform, logits, words):  # type: ignore[no-untyped-def]
    """Slates (B, k) drawn from a softmax over the eligible items, one after another without putting back.

    The law of Plackett (1975) and Luce (1959). Where no item is left, item 0 stands in.

    Args:
        uniform: (B, k) in [0, 1). logits: (B, I).
    """
    slates = np.zeros(uniform.shape, np.int32)
    values, chances = np.empty(logits.shape[1]), np.empty(logits.shape[1])
    for b in range(len(uniform)):
        for item in range(len(values)):
            eligible = np.int64(words[b, item // BITS]) >> (BITS - 1 - item % BITS) & 1
            values[item] = logits[b, item] if eligible else -np.inf
        total = 0.0
        for s in range(uniform.shape[1]):
            if not total > 1e-9:  # at first, and where nearly all of the chances have been drawn
                best = values.max()
                if best == -np.inf:
                    break
                for item in range(len(values)):
                    gap = values[item] - best
                    chances[item] = np.exp(gap) if gap > -40 else 0.0
                total = chances.sum()
            left = uniform[b, s] * total
            for item in range(len(values)):
                if chances[item] > 0:
                    slates[b, s] = item
                    left -= chances[item]
                    if left < 0:
                        break
            chances[slates[b, s]], values[slates[b, s]] = 0.0, -np.inf
            total = chances.sum()
    return slates
