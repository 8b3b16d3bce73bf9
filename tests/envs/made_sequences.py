"""Users of a sequence model of random numbers."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lerl.envs.sequence_weights import LEARNED, learned

WINDOW = 4  # events


def random_sequences(
    items: int,
    pasts: list[list[int]],
    before: list[tuple[int, int]] | None = None,
    names: dict[str, tuple[type, str]] = LEARNED,
) -> dict[str, Any]:
    """A sequence model of random numbers, and users who clicked on every other event of their pasts."""
    draw = np.random.default_rng(0)
    sizes = {"I": items, "d": 8, "f": 12, "L": 2, "H": 2, "3d": 24, "d+3": 11, "2o": 4, "2m": 10, "m": 5, "d-o": 6}
    arrays: dict[str, NDArray[Any]] = {}
    for name, (kind, words) in names.items():
        if not name.startswith("past"):
            shape = [int(word) if word.isdecimal() else sizes[word] for word in words.split()]
            arrays[name] = draw.normal(scale=0.5, size=shape).astype(kind)
    arrays["scaling"] = np.array([5, 0.4, -0.5, 2, 0.7, 1], np.float32)
    arrays["slopes"] = np.array([0.5, 0.1], np.float32)
    arrays["window"] = np.array([WINDOW])
    lengths = [len(past) for past in pasts]
    arrays["past_starts"] = np.concatenate([[0], np.cumsum(lengths)])
    arrays["past_items"] = np.array([item for past in pasts for item in past], np.int32)
    arrays["past_clicks"] = np.concatenate([np.arange(n) % 2 for n in lengths] or [[]]).astype(np.float32)
    arrays["past_before"] = np.array(before or [(0, 0)] * len(pasts), np.float32)
    return learned(arrays, {})
