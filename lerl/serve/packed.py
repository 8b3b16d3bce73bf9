"""Arrays as bytes and back, for sessions that are kept between two requests: data only, nothing in them executes."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]


def pack(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Arrays of numbers by name, as a line of JSON that says what lies where, and the numbers behind it."""
    head = json.dumps([[name, array.dtype.str, array.shape] for name, array in arrays.items()])
    return b"\n".join([head.encode(), b"".join(array.tobytes() for array in arrays.values())])


def unpack(content: bytes) -> Arrays:
    """What `pack` was given.

    Raises:
        ValueError: it is not what `pack` made.
    """
    head, _, body = content.partition(b"\n")
    arrays: Arrays = {}
    begun = 0
    for name, kind, shape in json.loads(head):
        dtype = np.dtype(kind)
        if dtype.hasobject:
            raise ValueError(f"{name} holds no numbers")
        size = dtype.itemsize * int(np.prod(shape, dtype=np.int64))
        arrays[name] = np.frombuffer(body[begun : begun + size], dtype).reshape(shape).copy()
        begun += size
    if begun != len(body):
        raise ValueError(f"{len(body)} bytes where {begun} were expected")
    return arrays
