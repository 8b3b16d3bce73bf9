"""Counter-based random numbers: a draw is a hash of its purpose, and does not depend on other draws.

Users simulated side by side therefore do not affect each other, and a state can be copied, resumed or replayed. The
mixing function is one step of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators",
OOPSLA 2014).
"""

import hashlib
import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

USER, PATIENCE, CLICK, LEAVE, SHIFT, SHIFT_TARGET, DRIFT, KIND, MOOD = range(9)
PURPOSES = 9
# Further purposes, of what happens between sessions: no step of a session draws for them.
GAP, CHURN, PERSON, REST, WANDER = range(PURPOSES, PURPOSES + 5)

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)
_TO_UNIT = 1.0 / 9007199254740992.0  # 2**-53
_MANTISSA, _ROOT_HALF = np.int64(52), np.int64(0x3FE6A09E00000000)  # bits of a mantissa; the bits of sqrt(1/2)
# log(2) and pi / 2 in two parts each; the first has 32 bits, so that its products with small whole numbers are exact
_LN2_HIGH, _LN2_LOW = math.floor(math.log(2.0) * 2.0**32) / 2.0**32, 1.9082149292705877e-10
_QUARTER_HIGH, _QUARTER_LOW = math.floor(math.pi / 2 * 2.0**32) / 2.0**32, 6.077100506506192e-11


@njit(cache=True, forceinline=True)
def mix(value: np.uint64) -> np.uint64:
    """Scramble 64 bits so that neighbouring inputs give unrelated outputs."""
    value = value + _GOLDEN
    value = (value ^ (value >> _S30)) * _FIRST
    value = (value ^ (value >> _S27)) * _SECOND
    return value ^ (value >> _S31)


@njit(cache=True)
def moment(seed: np.uint64, session: int, step: int) -> np.uint64:
    """The 64-bit key from which the streams of one step of one session come."""
    key = mix(np.uint64(seed) ^ np.uint64(0x6C65726C))
    key = mix(key ^ np.uint64(session))
    return mix(key ^ np.uint64(step))


@njit(cache=True)
def stream(seed: np.uint64, session: int, step: int, purpose: int) -> np.uint64:
    """The 64-bit key from which all draws of one purpose at one step of one session come."""
    return mix(moment(seed, session, step) ^ np.uint64(purpose))


@njit(cache=True, forceinline=True)
def uniform(key: np.uint64, index: int) -> float:
    """The index-th uniform number of a stream, in [0, 1)."""
    return float(mix(key ^ np.uint64(index)) >> _S11) * _TO_UNIT


@njit(cache=True)
def uniforms(keys, session, steps, count):  # type: ignore[no-untyped-def]
    """(B, count) in [0, 1): of each of keys (B,), used as a seed, at its own of steps (B,)."""
    drawn = np.empty((len(keys), count), np.float64)
    for b in range(len(keys)):
        key = stream(keys[b], session, steps[b], 0)
        for place in range(count):
            drawn[b, place] = uniform(key, place)
    return drawn


# A logarithm and a cosine without calls or branches, so that a loop over them becomes vector instructions: normals were
# two thirds of a step's time. Both take out what they can exactly (powers of two, quarter turns) and sum the power
# series of the rest to its last significant term; of 9.6 million normals none differs from the C library's in single
# precision.


@njit(cache=True, forceinline=True, error_model="numpy")
def _log(x: float) -> float:
    """Natural logarithm of a number in (0, 1]: power * log(2) + 2 artanh(s)."""
    bits = np.float64(x).view(np.int64)
    power = (bits - _ROOT_HALF) >> _MANTISSA
    f = np.int64(bits - (power << _MANTISSA)).view(np.float64) - 1.0  # x = 2^power * (1 + f)
    s = f / (2.0 + f)
    z = s * s
    rest = 2.0 / 3.0 + z * (
        2.0 / 5.0
        + z
        * (
            2.0 / 7.0
            + z
            * (
                2.0 / 9.0
                + z
                * (
                    2.0 / 11.0
                    + z * (2.0 / 13.0 + z * (2.0 / 15.0 + z * (2.0 / 17.0 + z * (2.0 / 19.0 + z * 2.0 / 21.0))))
                )
            )
        )
    )
    return power * _LN2_HIGH + (2.0 * s + (s * z * rest + power * _LN2_LOW))


@njit(cache=True, forceinline=True, error_model="numpy")
def _cos(x: float) -> float:
    """Cosine of an angle in [0, 2 pi]: of what is left of it beside whole quarter turns, the cosine or the sine."""
    quarter = math.floor(x * (2.0 / math.pi) + 0.5)
    r = (x - quarter * _QUARTER_HIGH) - quarter * _QUARTER_LOW
    z = r * r
    cosine = 1.0 + z * (
        -1.0 / 2.0
        + z
        * (
            1.0 / 24.0
            + z
            * (
                -1.0 / 720.0
                + z
                * (
                    1.0 / 40320.0
                    + z
                    * (
                        -1.0 / 3628800.0
                        + z * (1.0 / 479001600.0 + z * (-1.0 / 87178291200.0 + z * 1.0 / 20922789888000.0))
                    )
                )
            )
        )
    )
    sine = r + r * z * (
        -1.0 / 6.0
        + z
        * (
            1.0 / 120.0
            + z
            * (
                -1.0 / 5040.0
                + z
                * (
                    1.0 / 362880.0
                    + z
                    * (
                        -1.0 / 39916800.0
                        + z * (1.0 / 6227020800.0 + z * (-1.0 / 1307674368000.0 + z * 1.0 / 355687428096000.0))
                    )
                )
            )
        )
    )
    value = sine if quarter == 1.0 or quarter == 3.0 else cosine
    return -value if quarter == 1.0 or quarter == 2.0 else value


@njit(cache=True, forceinline=True, error_model="numpy")
def normal(key: np.uint64, index: int) -> float:
    """The index-th standard normal number of a stream (Box and Muller, 1958)."""
    radius = math.sqrt(-2.0 * _log(1.0 - uniform(key, 2 * index)))
    return radius * _cos(2.0 * math.pi * uniform(key, 2 * index + 1))


@njit(cache=True)
def normals(key: np.uint64, out: NDArray[np.float64]) -> None:
    """Fill `out`, (n,) float64, with the first n standard normal numbers of a stream."""
    for index in range(len(out)):
        out[index] = normal(key, index)


def seed_from(*parts: int | str) -> int:
    """A base seed in [0, 2**63), a hash of `parts`, for example (run seed, phase).

    Phases of one run, and the same phase of two runs, then have different sessions.
    """
    text = "\x1f".join(map(str, parts))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1
