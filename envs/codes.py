"""Semantic IDs: each item is named by a few digits, so that items that are alike share digits.

Residual codes: the first digit is a cluster of vectors, the second a cluster of what the first leaves of them, and so
on, coarse to fine (RQ-KMeans; Luo et al., "QARM", CIKM 2025, in place of the RQ-VAE of Rajput et al., "Recommender
systems with generative retrieval", NeurIPS 2023). Product codes: each digit is a cluster of a part of the rotated
vector, none before the others (Ge et al., "Optimized product quantization", CVPR 2013, by eigenvalues). A last digit
tells apart items whose digits are all the same, so that every item has a code of its own.

Fitted by scikit-learn's k-means on one thread: the same vectors and seed give the same codes on any machine's cores.
"""

import io
import warnings
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from lerl.envs.draws import seed_from
from lerl.envs.files import write_whole

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]
Digits = NDArray[np.int16]

SAME = 256
"""Items that may share all digits but the last."""

MOST_SIZE = 1 << 14
"""Codes of a digit, at most."""

ROUNDS, PACE = 30, 0.1
"""Assignments in which little-used codes come nearer, where codes are balanced; and how fast they do."""


class SameDigitsError(ValueError):
    """Too many items that codes cannot tell apart, as where their texts are the same or empty."""


@dataclass(frozen=True)
class Codes:
    """The digits of I items.

    Attributes:
        digits: (I, L) int16, each below its size; the last one tells items apart whose others are the same.
        sizes: L, how many codes each digit has.
        left: share of the variance of vectors that the digits do not tell, 0 to 1.
        notes: what people should know of them, one line each.

    Raises:
        ValueError: digits do not fit into sizes, or two items have the same.
    """

    digits: Digits
    sizes: tuple[int, ...]
    left: float = 0.0
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        digits = self.digits
        if digits.ndim != 2 or digits.shape[1] != len(self.sizes) or not len(digits):
            raise ValueError(f"digits must be (items, {len(self.sizes)}), given {digits.shape}")
        if (digits < 0).any() or (digits.max(axis=0) >= self.sizes).any():
            raise ValueError(f"digits must be from 0 to below {self.sizes}, given {digits.min()} to {digits.max()}")
        if len(np.unique(digits, axis=0)) < len(digits):
            raise ValueError("two items have the same digits")

    @property
    def bare(self) -> Digits:
        """(I, L - 1): without the last digit; items that are too alike share these."""
        return self.digits[:, :-1]

    @property
    def groups(self) -> NDArray[np.int64]:
        """(I,) a number for each item that is the same for items with the same digits but the last, from 0."""
        return np.unique(self.bare, axis=0, return_inverse=True)[1].reshape(-1)

    @property
    def collisions(self) -> int:
        """How many items share all digits but the last with another."""
        counts = np.bincount(self.groups)
        return int(counts[counts > 1].sum())

    @property
    def used(self) -> tuple[float, ...]:
        """Share of the codes of each digit, without the last, that some item has."""
        pairs = zip(self.bare.T, self.sizes, strict=False)
        return tuple(len(np.unique(column)) / size for column, size in pairs)

    @property
    def perplexity(self) -> tuple[float, ...]:
        """exp of the entropy of each digit, without the last: codes in equal use that would be as surprising."""
        found = []
        for column in self.bare.T:
            share = np.bincount(column) / len(column)
            share = share[share > 0]
            found.append(float(np.exp(-(share * np.log(share)).sum())))
        return tuple(found)

    @property
    def digest(self) -> str:
        """A name of these digits: 32 hexadecimal characters, the same for the same digits and sizes."""
        content = repr(self.sizes).encode() + np.ascontiguousarray(self.digits, "<i2").tobytes()
        return blake2b(content, digest_size=16).hexdigest()

    def about(self) -> str:
        """One line on how well they tell items apart."""
        sizes = " x ".join(f"{size:,}" for size in self.sizes[:-1])
        used = ", ".join(f"{share:.2f}" for share in self.used)
        perplexity = ", ".join(f"{one:.0f}" for one in self.perplexity)
        return (
            f"codes {sizes}: used {used}, perplexity {perplexity}, variance left {self.left:.2f}; {self.collisions:,} "
            f"of {len(self.digits):,} items share theirs and are told apart by a last digit of {self.sizes[-1]}; "
            f"digest {self.digest[:8]}"
        )

    def save(self, path: Path) -> None:
        """Write them to a file that numpy reads."""
        stream = io.BytesIO()
        np.savez_compressed(stream, digits=self.digits, sizes=np.array(self.sizes), left=np.array(self.left))
        write_whole(path, stream.getvalue())

    @staticmethod
    def load(path: Path) -> "Codes":
        """What `save` wrote; reading executes nothing from the file.

        Raises:
            ValueError: the file is damaged, or holds something else.
            OSError: it is missing.
        """
        try:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as kept:
                digits, sizes = kept["digits"].astype(np.int16), tuple(map(int, kept["sizes"]))
                return Codes(digits, sizes, float(kept["left"]))
        except (ValueError, KeyError, TypeError, EOFError, AttributeError, BadZipFile) as error:
            raise ValueError(f"{path} holds no codes ({error}); make them again") from error


def residual_codes(vectors: Floats, levels: int = 3, size: int = 256, *, seed: int, balance: float = 0.0) -> Codes:
    """Codes that go from coarse to fine.

    Args:
        vectors: (I, d) float32. levels: digits, beside the last. size: codes of each; fewer, and said, where fewer
            vectors differ. seed: of k-means.
        balance: 0 for nearest codes; else how far a code that is little used comes nearer, in mean distances.

    Raises:
        ValueError: a number is out of range, or there are more items than half of what the digits can name.
        SameDigitsError: more than SAME items have the same digits.
    """
    check_shape(len(vectors), levels, size)
    if not 0 <= balance <= 10:
        raise ValueError(f"balance must be from 0 to 10, given {balance:g}")
    rest, columns, sizes, notes = vectors.astype(np.float64), [], [], list[str]()
    for level in range(levels):
        digit, centres = clusters(rest, size, seed_from(seed, "codes", level), balance)
        rest = rest - centres[digit]
        columns.append(digit)
        sizes.append(len(centres))
        if len(centres) < size:
            notes.append(f"digit {level + 1} has {len(centres)} codes in place of {size}: no more vectors differ")
    return _told_apart(np.stack(columns, axis=1), sizes, _left(vectors, rest), notes)


def product_codes(vectors: Floats, digits: int = 4, size: int = 256, *, seed: int) -> Codes:
    """Codes whose digits are of equal rank: vectors are rotated to their principal axes, and these dealt to digits.

    Each axis goes to the digit whose variances have the smallest product so far (Ge et al., section 3.2).

    Args:
        vectors: (I, d) float32, d at least `digits`. digits: beside the last. size, seed: see `residual_codes`.

    Raises:
        ValueError: as `residual_codes` does.
    """
    check_shape(len(vectors), digits, size)
    check_digits(digits, vectors.shape[1])
    rotated, dealt = _dealt(vectors.astype(np.float64), digits)
    rest, columns, sizes, notes = np.zeros_like(rotated), [], [], list[str]()
    for place, axes in enumerate(dealt):
        digit, centres = clusters(rotated[:, axes], size, seed_from(seed, "codes", place))
        rest[:, axes] = rotated[:, axes] - centres[digit]
        columns.append(digit)
        sizes.append(len(centres))
        if len(centres) < size:
            notes.append(f"digit {place + 1} has {len(centres)} codes in place of {size}: no more vectors differ")
    return _told_apart(np.stack(columns, axis=1), sizes, _left(vectors, rest), notes)


def shuffled(codes: Codes, seed: int) -> Codes:
    """The same codes, dealt to items by chance: a control that differs in nothing but what digits mean."""
    order = np.random.default_rng(seed_from(seed, "shuffled codes")).permutation(len(codes.digits))
    return Codes(codes.digits[order], codes.sizes, 1.0, (*codes.notes, "codes are dealt to items by chance"))


def code_groups(codes: Codes, vectors: Floats, count: int) -> list[NDArray[np.int64]]:
    """Groups of alike codes: k-means of what codes stand for, the mean of what earlier digits leave of their items.

    Args:
        codes: of I items. vectors: (I, d) float32, of the items. count: groups of each digit, at most.

    Returns:
        For each digit but the last (K,) int64, the group of each of its codes, from 0.
    """
    rest, groups = vectors.astype(np.float64), []
    for digit, size in zip(codes.bare.T, codes.sizes, strict=False):
        counts, sums = np.bincount(digit, minlength=size), np.zeros((size, rest.shape[1]))
        np.add.at(sums, digit, rest)
        means = sums / np.maximum(counts, 1)[:, None]
        groups.append(clusters(means, count, 0)[0])
        rest = rest - means[digit]
    return groups


def check_shape(items: int, levels: int, size: int) -> None:
    """Refuse digits that cannot name so many items.

    Raises:
        ValueError: as `residual_codes` does.
    """
    if not 1 <= levels <= 8:
        raise ValueError(f"levels must be from 1 to 8, given {levels}")
    if not 2 <= size <= MOST_SIZE:
        raise ValueError(f"size must be from 2 to {MOST_SIZE:,}, given {size:,}")
    if items > (names := size**levels) / 2:
        raise ValueError(
            f"{levels} digits of {size:,} name {names:,} items, and half of that is the most that works: given "
            f"{items:,}; use more levels or a larger size"
        )


def check_digits(digits: int, numbers: int) -> None:
    """Refuse more digits of equal rank than a vector has numbers.

    Raises:
        ValueError: as `product_codes` does.
    """
    if digits > numbers:
        raise ValueError(
            f"digits must be at most the {numbers} numbers of a vector, given {digits}; use fewer levels, or give more "
            f"items and words"
        )


def clusters(vectors: Doubles, size: int, seed: int, balance: float = 0.0) -> tuple[Ints, Doubles]:
    """k-means: the cluster of each of vectors (I, d), (I,) int64, and the centres (K, d) float64, K at most `size`.

    There are fewer where fewer vectors differ. One thread, one start.

    Args:
        vectors: float64. size: of clusters, at most. seed: of the first centres.
        balance: how far little-used clusters come nearer, see `residual_codes`.
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    size = min(size, len(np.unique(vectors.round(9), axis=0)))
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = KMeans(size, random_state=seed % 2**32, n_init=1).fit(vectors)
        digit, centres = fitted.labels_.astype(np.int64), fitted.cluster_centers_
        return _balanced(vectors, digit, centres, balance) if balance else (digit, centres)


def _balanced(vectors: Doubles, digit: Ints, centres: Doubles, balance: float) -> tuple[Ints, Doubles]:
    """The same after rounds in which codes used less than the mean are nearer, by a bounded part of the mean distance.

    As the load balance of Guo et al., "S2GR", KDD 2026: squared distances are shifted by past use.
    """
    counts, shift = np.bincount(digit, minlength=len(centres)), np.zeros(len(centres))
    for _ in range(ROUNDS):
        shift = np.clip(shift + PACE * (counts * len(centres) / len(vectors) - 1), -1, 1)
        apart = (vectors**2).sum(1)[:, None] - 2 * vectors @ centres.T + (centres**2).sum(1)
        mean = np.maximum(apart.min(axis=1), 0).mean()
        digit = (apart + balance * mean * shift).argmin(axis=1)
        counts = np.bincount(digit, minlength=len(centres))
        sums = np.zeros_like(centres)
        np.add.at(sums, digit, vectors)
        centres = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], centres)
    return digit, centres


def _dealt(vectors: Doubles, digits: int) -> tuple[Doubles, list[list[int]]]:
    """Vectors (I, d) less their mean, along their principal axes, and which of these each digit has."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        centred = vectors - vectors.mean(axis=0)
        variances, axes = np.linalg.eigh(centred.T @ centred / len(vectors))
        rotated = centred @ axes
    most, dealt, products = -(-vectors.shape[1] // digits), [list[int]() for _ in range(digits)], np.zeros(digits)
    floor = max(float(variances.max()) * 1e-9, 1e-300)
    for axis in np.argsort(-variances, kind="stable"):
        open_ = [place for place in range(digits) if len(dealt[place]) < most]
        place = min(open_, key=lambda one: (len(dealt[one]) > 0, products[one]))
        dealt[place].append(int(axis))
        products[place] += np.log(max(float(variances[axis]), floor) / floor)
    return rotated, dealt


def _left(vectors: Floats, rest: Doubles) -> float:
    """Share of the variance that is left."""
    whole = float(((vectors - vectors.mean(axis=0)) ** 2).sum())
    return float((rest**2).sum()) / whole if whole else 0.0


def _told_apart(digits: Ints, sizes: list[int], left: float, notes: list[str]) -> Codes:
    """Codes with a last digit that counts items with the same digits, in the order of items."""
    group = np.unique(digits, axis=0, return_inverse=True)[1].reshape(-1)
    counts = np.bincount(group)
    if counts.max() > SAME:
        raise SameDigitsError(
            f"{counts.max():,} items have the same digits, at most {SAME} can be told apart: their texts are the same "
            f"or empty; give more texts, more levels or a larger size"
        )
    order = np.argsort(group, kind="stable")
    last = np.empty(len(group), np.int64)
    last[order] = np.arange(len(group)) - np.repeat(np.cumsum(counts) - counts, counts)
    whole = np.concatenate([digits, last[:, None]], axis=1).astype(np.int16)
    return Codes(whole, (*sizes, int(counts.max())), left, tuple(notes))
