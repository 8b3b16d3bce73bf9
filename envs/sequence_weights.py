"""The file of a response model that was learned from a prepared folder's log: arrays and a description, no code."""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lerl.envs.files import write_whole

Learned = Mapping[str, NDArray[Any]]

LEARNED_VERSION = 1
ABOUT = "about"
"""The one entry that is text: JSON that says how the model was made."""

LEARNED: dict[str, tuple[type, str]] = {
    "item_vectors": (np.float32, "I d"),
    "item_offsets": (np.float32, "I"),
    "shown": (np.float32, "I d"),
    "liked": (np.float32, "I d"),
    "start": (np.float32, "d"),
    "history": (np.float32, "2 d"),
    "scaling": (np.float32, "6"),
    "norms": (np.float32, "L 2 2 d"),
    "attention": (np.float32, "L d 3d"),
    "attention_shift": (np.float32, "L 3d"),
    "out_proj": (np.float32, "L d d"),
    "out_proj_shift": (np.float32, "L d"),
    "fc_in": (np.float32, "L d f"),
    "fc_in_shift": (np.float32, "L f"),
    "fc_out": (np.float32, "L f d"),
    "fc_out_shift": (np.float32, "L d"),
    "slopes": (np.float32, "H"),
    "last_norm": (np.float32, "2 d"),
    "query": (np.float32, "d d"),
    "query_shift": (np.float32, "d"),
    "offset": (np.float32, "d+3"),
    "window": (np.int64, "1"),
    "past_starts": (np.int64, "U+1"),
    "past_items": (np.int32, "N"),
    "past_clicks": (np.float32, "N"),
    "past_before": (np.float32, "U 2"),
}
"""Type and shape of each array: I items, U users, d width, f inner width, L layers, H heads, N events.

`lerl.envs.response.sequence` says what the arrays are for.
"""

COLLECTIVE: dict[str, tuple[type, str]] = {
    **{name: of for name, of in LEARNED.items() if not name.startswith("attention")},
    "queries": (np.float32, "L d d"),
    "queries_shift": (np.float32, "L d"),
    "own": (np.float32, "L d 2o"),
    "own_shift": (np.float32, "L 2o"),
    "route": (np.float32, "L d 2m"),
    "route_shift": (np.float32, "L 2m"),
    "pool": (np.float32, "L 2 m d-o"),
}
"""The same for a model with a collective cache, which is another model: o numbers of an event's own, pools of m rows.

`lerl.envs.response.collective` says what the arrays are for.
"""

STORED_NAMES = {
    f"{name}{end}": f"{stored}{end}"
    for name, stored in (("out_proj", "mixing"), ("fc_in", "wide"), ("fc_out", "narrow"))
    for end in ("", "_shift")
}
"""What version 0.1.0 called arrays in its files; they are still read, and digests are still taken under these names."""


def learned(arrays: Mapping[str, NDArray[Any]], about: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """A response model as `Population.response` holds it.

    Args:
        arrays: see `LEARNED`.
        about: how they were made: anything JSON can hold.
    """
    head = {"format_version": LEARNED_VERSION, "model": "sequence", **about}
    return {**arrays, ABOUT: np.array(json.dumps(head))}


def write_learned(path: Path, response: Learned) -> None:
    """Write a learned response model: the same file, byte for byte, for the same arrays; whole or not at all."""
    stream = io.BytesIO()
    np.savez(stream, **{name: response[name] for name in sorted(response)})  # type: ignore[arg-type, unused-ignore]
    write_whole(path, stream.getvalue())


def read_learned(path: Path) -> dict[str, NDArray[Any]]:
    """Read what `write_learned` wrote, now or in version 0.1.0; nothing in it is executed.

    Raises:
        ValueError: the file has a format that this version does not read.
        OSError, KeyError: the file is damaged.
    """
    names = {stored: name for name, stored in STORED_NAMES.items()}
    with path.open("rb") as stream, np.load(stream, allow_pickle=False) as kept:
        found = {names.get(name, name): kept[name] for name in kept.files}
    version = json.loads(str(found[ABOUT]))["format_version"]
    if version != LEARNED_VERSION:
        raise ValueError(f"it has format {version}, this version of lerl reads {LEARNED_VERSION}")
    return found


def check_learned(
    response: Learned, items: int, users: int, names: Mapping[str, tuple[type, str]] = MappingProxyType(LEARNED)
) -> None:
    """Refuse arrays that are not a sequence model of so many items and users.

    Args:
        response: the model. items, users: of the population. names: what it must have, LEARNED or COLLECTIVE.

    Raises:
        ValueError: the message names the array, what was given and what it must be.
    """
    missing = sorted((set(names) | {ABOUT}) - set(response))
    if missing:
        raise ValueError(f"response.{missing[0]} is missing")
    sizes = {
        "I": items,
        "U": users,
        "d": response["start"].size,
        "f": response["fc_in_shift"].shape[-1],
        "L": len(response["norms"]),
        "H": response["slopes"].size,
        "N": response["past_items"].size,
        "o": response["own_shift"].shape[-1] // 2 if "own_shift" in names else 0,
        "m": response["route_shift"].shape[-1] // 2 if "route_shift" in names else 0,
    }
    for name, (kind, words) in names.items():
        array, shape = response[name], tuple(_size(word, sizes) for word in words.split())
        if array.dtype != kind or array.shape != shape:
            raise ValueError(
                f"response.{name} must be {kind.__name__} of shape {shape}, given {array.dtype} of shape {array.shape}"
            )
        if not np.isfinite(array).all():
            raise ValueError(f"response.{name} has a number that is not finite")
    starts, past, window = response["past_starts"], response["past_items"], int(response["window"][0])
    if starts[0] != 0 or starts[-1] != len(past) or (np.diff(starts) < 0).any():
        raise ValueError(f"response.past_starts must rise from 0 to the {len(past)} events of response.past_items")
    if (response["past_before"][np.diff(starts) == 0] != 0).any():
        raise ValueError("response.past_before must be 0 for users without events in response.past_items")
    if len(past) and not 0 <= past.min() <= past.max() < items:
        raise ValueError(f"response.past_items must be items in [0, {items}), given {past.min()} to {past.max()}")
    if window < 1 or sizes["d"] % 4 or sizes["f"] % 4 or sizes["d"] % sizes["H"]:
        raise ValueError(
            "response.window must be 1 or more, and the widths d and f divisible by 4 and d by the heads, given "
            f"window {window}, d {sizes['d']}, f {sizes['f']}, {sizes['H']} heads"
        )


def _size(word: str, sizes: Mapping[str, int]) -> int:
    """A length such as 2, d, 3d, U+1 or d-o."""
    name, _, more = word.partition("+")
    name, _, less = name.partition("-")
    times = name.rstrip("IUdfLHNom")
    letter = name[len(times) :]
    return int(times or 1) * (sizes[letter] if letter else 1) + int(more or 0) - (sizes[less] if less else 0)
