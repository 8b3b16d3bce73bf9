"""What travels between clients and the server: numbers by code. An upload of codes holds no id of a person or an item.

The counts of several can still tell which items were met; the sparse baseline's upload names items outright.
"""

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Digits = NDArray[np.int16]

_UPLOAD, _DOWNLOAD = b"LFU1", b"LFD1"


class MessageError(ValueError):
    """Bytes that are no message, of another shape, or with numbers that are not finite."""


@dataclass(frozen=True)
class Upload:
    """What a client sends in a round: R codes, of W numbers each.

    Attributes:
        codebooks: (R, W) float32, by how much the client would change each code, times the rows behind it.
        counts: (R,) float32, how many of the items that the client met have the code.

    Raises:
        MessageError: other shapes or types, or a number that is not finite.
    """

    codebooks: Floats
    counts: Floats

    def __post_init__(self) -> None:
        if self.codebooks.dtype != np.float32 or self.counts.dtype != np.float32:
            raise MessageError("codebooks and counts must be float32")
        if self.codebooks.ndim != 2 or self.counts.shape != self.codebooks.shape[:1]:
            raise MessageError(f"codebooks {self.codebooks.shape} and counts {self.counts.shape} do not fit")
        with np.errstate(all="ignore"):
            total = self.codebooks.sum() + self.counts.sum()
        if not np.isfinite(total):
            raise MessageError("a number is not finite")

    def to_bytes(self) -> bytes:
        """The message as it travels: 12 bytes, and 4 for each number."""
        head = _UPLOAD + struct.pack("<II", *self.codebooks.shape)
        return head + self.codebooks.astype("<f4").tobytes() + self.counts.astype("<f4").tobytes()

    @staticmethod
    def from_bytes(message: bytes, shape: tuple[int, int]) -> "Upload":
        """What `to_bytes` wrote.

        Args:
            shape: (R, W) that the server asked for.

        Raises:
            MessageError: the bytes are anything else.
        """
        rows, width = shape
        if len(message) != 12 + 4 * rows * (width + 1) or message[:4] != _UPLOAD:
            raise MessageError("no upload, or of another size")
        if struct.unpack("<II", message[4:12]) != shape:
            raise MessageError("an upload of another shape")
        numbers = np.frombuffer(message, "<f4", offset=12).astype(np.float32, copy=False)
        return Upload(numbers[: rows * width].reshape(shape), numbers[rows * width :])


@dataclass(frozen=True)
class Download:
    """What the server sends to all clients in a round, the same to each.

    Attributes:
        codebooks: (R, W) float32, what is added to the vectors of all items with a code, by the round before's codes;
            (0, W) in the first round.
        table: which table of codes this round is about, a small number.
        sizes: L, codes of each digit of the table; they sum up to the rows of the next upload.
        digits: (I, L) int16, the table, each digit below its size; (0, L) where clients have it already.
    """

    codebooks: Floats
    table: int
    sizes: tuple[int, ...]
    digits: Digits

    def to_bytes(self) -> bytes:
        """The message as it travels."""
        head = _DOWNLOAD + struct.pack("<IIIII", *self.codebooks.shape, self.table, *self.digits.shape)
        sizes = np.array(self.sizes, "<i4").tobytes()
        return head + sizes + self.codebooks.astype("<f4").tobytes() + self.digits.astype("<i2").tobytes()

    @staticmethod
    def from_bytes(message: bytes) -> "Download":
        """What `to_bytes` wrote.

        Raises:
            MessageError: the bytes are anything else.
        """
        try:
            if message[:4] != _DOWNLOAD:
                raise MessageError("no download")
            rows, width, table, items, digits = struct.unpack("<IIIII", message[4:24])
            sizes = np.frombuffer(message, "<i4", digits, 24)
            at = 24 + 4 * digits
            books = np.frombuffer(message, "<f4", rows * width, at).astype(np.float32).reshape(rows, width)
            codes = np.frombuffer(message, "<i2", items * digits, at + books.nbytes).astype(np.int16)
            return Download(books, table, tuple(map(int, sizes)), codes.reshape(items, digits))
        except (struct.error, ValueError) as error:
            raise MessageError(f"no download ({error})") from error


@dataclass(frozen=True)
class SparseUpload:
    """The baseline of only the rows of items that a client met: small, and it tells the server which these are.

    Attributes:
        rows: (n,) int32, places of items. changes: (n, W) float32.
    """

    rows: NDArray[np.int32]
    changes: Floats

    def to_bytes(self) -> bytes:
        """The message as it would travel."""
        return struct.pack("<II", *self.changes.shape) + self.rows.tobytes() + self.changes.tobytes()
