"""What an audit measured: every plan's outcomes, by attribute, kind of cue, session state, group and text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

REFUSAL = "refusal"
"""The outcome that is 1 where an answer could not be used and 0 elsewhere; it is never nan."""


@dataclass(frozen=True)
class Measured:
    """Outcomes of plans: S states of sessions, each planned without a cue and with every cue.

    Attributes:
        attributes: each attribute's groups. kinds: the F kinds of cue. outcomes: names of the O outcomes.
        baseline: (O, S) float, of the plan without a cue, nan where it could not be used.
        values: (O, F, S, G, K) float for each attribute, with K texts of each kind and group, nan where an answer
            could not be used; a kind that was not asked is nan throughout.
        wording: (V, F, G, K) float for each attribute, what its texts are like, in the order of `language.COVARIATES`.
        read: (F, G, K) int for each attribute, the group that the model itself reads from a cue, -1 where it names
            none; None where it was not asked.
    """

    attributes: Mapping[str, tuple[str, ...]]
    kinds: tuple[str, ...]
    outcomes: tuple[str, ...]
    baseline: Floats
    values: Mapping[str, Floats]
    wording: Mapping[str, Floats]
    read: Mapping[str, Ints] | None = None

    def __post_init__(self) -> None:
        """Refuse arrays that do not fit each other, or have too little to compare, with a ValueError."""
        outcomes, kinds = len(self.outcomes), len(self.kinds)
        states = self.baseline.shape[1] if self.baseline.ndim == 2 else -1
        _check("baseline", self.baseline, (outcomes, states))
        for attribute, groups in self.attributes.items():
            for name in ("values", "wording", "read"):
                given = getattr(self, name)
                if given is not None and attribute not in given:
                    raise ValueError(f"{name} has no {attribute!r}; give an array for each attribute")
            values, wording = self.values[attribute], self.wording[attribute]
            texts = values.shape[-1] if values.ndim else 0
            _check(f"values[{attribute!r}]", values, (outcomes, kinds, states, len(groups), texts))
            _check(f"wording[{attribute!r}]", wording, (len(wording), kinds, len(groups), texts))
            if min(states, len(groups), texts) < 2:
                raise ValueError(
                    f"{attribute!r} has {states} states, {len(groups)} groups and {texts} texts of each; give 2 of "
                    "each at least"
                )
            if self.read is not None:
                _check(f"read[{attribute!r}]", self.read[attribute], (kinds, len(groups), texts))

    @property
    def states(self) -> int:
        """S."""
        return int(self.baseline.shape[1])

    def asked(self, attribute: str) -> Bools:
        """(F,) bool, the kinds of cue of which at least one answer can be used."""
        others = [place for place, name in enumerate(self.outcomes) if name != REFUSAL]
        return np.asarray(np.isfinite(self.values[attribute][others]).any(axis=(0, 2, 3, 4)))


def means(values: Floats, axis: int | tuple[int, ...], keepdims: bool = False) -> Floats:
    """Means over what is not nan; nan where nothing is left, without a warning."""
    there = np.isfinite(values)
    count = there.sum(axis=axis, keepdims=keepdims)
    total = np.where(there, values, 0.0).sum(axis=axis, keepdims=keepdims)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _check(name: str, array: NDArray[np.generic], shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}; {shape} is wanted, from the names and the baseline")
