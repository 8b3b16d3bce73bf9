"""Counter-based random numbers: a draw is a pure hash of what it is for, never of what was drawn before.

Users simulated side by side therefore cannot disturb each other, and a state can be copied, resumed or replayed at
will. The mixing function is one step of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number
generators", OOPSLA 2014).
"""

import hashlib
import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

USER, PATIENCE, CLICK, LEAVE, SHIFT, SHIFT_TARGET, DRIFT, KIND, MOOD = range(9)
PURPOSES = 9

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)
_TO_UNIT = 1.0 / 9007199254740992.0  # 2**-53
_MANTISSA, _ROOT_HALF = np.int64(52), np.int64(0x3FE6A09E00000000)  # bits of a mantissa; the bits of sqrt(1/2)
_LN2_HIGH, _LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
_QUARTER_HIGH, _QUARTER_LOW = 1.57079632673412561417e00, 6.07710050650619224932e-11  # pi / 2


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


# A logarithm and a cosine without calls or branches, so that a loop over them becomes vector instructions: normals were
# two thirds of a step's time. Both are FreeBSD's (msun, e_log.c, k_cos.c, k_sin.c), within one unit in the last place.


@njit(cache=True, forceinline=True, error_model="numpy")
def _log(x: float) -> float:
    """Natural logarithm of a number in (0, 1]."""
    bits = np.float64(x).view(np.int64)
    power = (bits - _ROOT_HALF) >> _MANTISSA
    f = np.int64(bits - (power << _MANTISSA)).view(np.float64) - 1.0  # x = 2^power * (1 + f)
    s = f / (2.0 + f)
    z = s * s
    r = 1.818357216161805012e-01 + z * (1.531383769920937332e-01 + z * 1.479819860511658591e-01)
    r = 3.999999999940941908e-01 + z * (2.857142874366239149e-01 + z * (2.222219843214978396e-01 + z * r))
    r = z * (6.666666666666735130e-01 + z * r)
    half = 0.5 * f * f
    return power * _LN2_HIGH - ((half - (s * (half + r) + power * _LN2_LOW)) - f)


@njit(cache=True, forceinline=True, error_model="numpy")
def _cos(x: float) -> float:
    """Cosine of an angle in [0, 2 pi]."""
    quarter = math.floor(x * (2.0 / math.pi) + 0.5)
    r = (x - quarter * _QUARTER_HIGH) - quarter * _QUARTER_LOW
    z = r * r
    c = 2.48015872894767294178e-05 + z * (
        -2.75573143513906633035e-07 + z * (2.08757232129817482790e-09 + z * -1.13596475577881948265e-11)
    )
    c = 4.16666666666666019037e-02 + z * (-1.38888888888741095749e-03 + z * c)
    s = -1.98412698298579493134e-04 + z * (
        2.75573137070700676789e-06 + z * (-2.50507602534068634195e-08 + z * 1.58969099521155010221e-10)
    )
    s = -1.66666666666666324348e-01 + z * (8.33333333332248946124e-03 + z * s)
    value = r + r * z * s if quarter == 1.0 or quarter == 3.0 else 1.0 - (0.5 * z - z * z * c)
    return -value if quarter == 1.0 or quarter == 2.0 else value


@njit(cache=True, forceinline=True, error_model="numpy")
def normal(key: np.uint64, index: int) -> float:
    """The index-th standard normal number of a stream (Box and Muller, 1958)."""
    radius = math.sqrt(-2.0 * _log(1.0 - uniform(key, 2 * index)))
    return radius * _cos(2.0 * math.pi * uniform(key, 2 * index + 1))


@njit(cache=True)
def normals(key: np.uint64, out: NDArray[np.float64]) -> None:
    """The first standard normal numbers of a stream, as many as there is room for in out (n,)."""
    for index in range(len(out)):
        out[index] = normal(key, index)


def seed_from(*parts: int | str) -> int:
    """A base seed in [0, 2**63) hashed from what names it, for example (run seed, phase).

    Phases of one run, and the same phase of two runs, then share no session.
    """
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1
