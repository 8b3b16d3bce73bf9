"""Counter-based random numbers: a draw is a pure hash of what it is for, never of what was drawn before.

Users simulated side by side therefore cannot disturb each other, and a state can be copied, resumed or replayed at
will. The mixing function is one step of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number
generators", OOPSLA 2014).
"""

import hashlib
import math

import numpy as np
from numba import njit

USER, PATIENCE, CLICK, LEAVE, SHIFT, SHIFT_TARGET, DRIFT, KIND, MOOD = range(9)

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)
_TO_UNIT = 1.0 / 9007199254740992.0  # 2**-53


@njit(cache=True)
def mix(value: np.uint64) -> np.uint64:
    """Scramble 64 bits so that neighbouring inputs give unrelated outputs."""
    value = value + _GOLDEN
    value = (value ^ (value >> _S30)) * _FIRST
    value = (value ^ (value >> _S27)) * _SECOND
    return value ^ (value >> _S31)


@njit(cache=True)
def stream(seed: np.uint64, session: int, step: int, purpose: int) -> np.uint64:
    """The 64-bit key from which all draws of one purpose at one step of one session come."""
    key = mix(np.uint64(seed) ^ np.uint64(0x6C65726C))
    key = mix(key ^ np.uint64(session))
    key = mix(key ^ np.uint64(step))
    return mix(key ^ np.uint64(purpose))


@njit(cache=True)
def uniform(key: np.uint64, index: int) -> float:
    """The index-th uniform number of a stream, in [0, 1)."""
    return float(mix(key ^ np.uint64(index)) >> _S11) * _TO_UNIT


@njit(cache=True)
def normal(key: np.uint64, index: int) -> float:
    """The index-th standard normal number of a stream (Box and Muller, 1958)."""
    radius = math.sqrt(-2.0 * math.log(1.0 - uniform(key, 2 * index)))
    return radius * math.cos(2.0 * math.pi * uniform(key, 2 * index + 1))


def seed_from(*parts: int | str) -> int:
    """A base seed in [0, 2**63) hashed from what names it, for example (run seed, phase).

    Phases of one run, and the same phase of two runs, then share no session.
    """
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1
