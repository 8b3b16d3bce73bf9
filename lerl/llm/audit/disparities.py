"""Whether a difference between two groups keeps its sign from one kind of cue to the next, and without the wording.

Disparities, flips and discordance are those of Tonneau et al. 2026, "Different Demographic Cues Yield Inconsistent
Conclusions About LLM Personalization and Bias" (arXiv 2601.18486), with differences in place of ratios: parity is 0.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import ndtri, stdtrit  # type: ignore[import-untyped, unused-ignore]

from lerl.llm.audit.measured import Bools, Floats, Ints, Measured, means
from lerl.report.intervals import Interval, bootstrap_weights, number, plain

BY_CHANCE = 0.01
"""How many flips a whole audit of a planner without any effect may show on average."""
Z = float(ndtri(0.975))


@dataclass(frozen=True)
class Disparity:
    """Two groups under one kind of cue: mean of `first` less that of `second`, over states and texts.

    Attributes:
        found: with its 95 % interval over states. adjusted: the same with what the wording explains taken out.
        favours, adjusted_favours: 1 for the first group, which has more of the outcome, -1 for the second, 0 for
            parity: the interval contains 0.
        sure, adjusted_sure: the same by the wide interval that flips are judged by, see `flip_level`.
    """

    attribute: str
    kind: str
    outcome: str
    first: str
    second: str
    found: Interval
    adjusted: Interval
    favours: int
    adjusted_favours: int
    sure: int
    adjusted_sure: int


@dataclass(frozen=True)
class Flip:
    """Two kinds of cue that are surely on opposite sides: `favours_first` says that the first group has more."""

    attribute: str
    outcome: str
    first: str
    second: str
    favours_first: str
    favours_second: str


@dataclass(frozen=True)
class Discordance:
    """Share of single-kind conclusions, at 95 %, that are not the majority's and not those of all kinds pooled.

    Attributes:
        conclusions: how many there are: kinds x pairs of groups x outcomes.
    """

    attribute: str
    conclusions: int
    majority: float | None
    pooled: float | None


class Estimates(NamedTuple):
    """Of all kinds, outcomes and pairs of one attribute: (O, F, P) means and their standard errors over states."""

    mean: Floats
    error: Floats


def classes(low: Floats | float, high: Floats | float, parity: float = 0.0) -> Ints:
    """1 where an interval lies above parity, -1 where below, 0 where it contains or touches it, or is nan."""
    return np.asarray(low > parity, np.int64) - np.asarray(high < parity, np.int64)


def flips(low: Floats, high: Floats, parity: float = 0.0) -> list[tuple[int, int]]:
    """Pairs of (F,) intervals of which the one lies above parity and the other below, as places, the upper one first.

    Such intervals cannot overlap. One that touches parity is on neither side.
    """
    return opposite(classes(low, high, parity).tolist())


def opposite(sides: Sequence[int]) -> list[tuple[int, int]]:
    """Places of every 1 with every -1."""
    return [(up, down) for up, one in enumerate(sides) for down, other in enumerate(sides) if one == 1 and other == -1]


def majority(found: Sequence[int]) -> int:
    """The most frequent class; parity, 0, where two are equally frequent."""
    counts = {side: sum(one == side for one in found) for side in (-1, 0, 1)}
    most = [side for side, count in counts.items() if count == max(counts.values())]
    return most[0] if len(most) == 1 else 0


def pooled(mean: Floats, low: Floats, high: Floats) -> tuple[float, float, float]:
    """The mean of (F,) means with 95 % intervals, weighted by their precision, and both its ends.

    Intervals without a width count as very narrow ones.
    """
    variance = np.maximum(((np.asarray(high) - low) / (2 * Z)) ** 2, 1e-18)
    weight = 1.0 / variance
    centre, reach = float((weight * mean).sum() / weight.sum()), float(Z / np.sqrt(weight.sum()))
    return centre, centre - reach, centre + reach


def flip_level(kinds: int, cells: int) -> float:
    """Level of intervals, in (0.95, 1), at which chance alone makes `BY_CHANCE` flips in an audit on average.

    Each of `cells`, outcomes by pairs of groups of all attributes, has kinds (kinds - 1) / 2 pairs of kinds, and each
    may flip either way. With 95 % intervals an audit of some hundred cells would show flips by chance.
    """
    tail = np.sqrt(BY_CHANCE / max(cells * kinds * (kinds - 1), 1))
    return float(1.0 - 2.0 * min(tail, 0.025))


def disparities(measured: Measured, draws: int = 1000, seed: int = 0) -> tuple[Disparity, ...]:
    """Disparities of every attribute, kind of cue, outcome and pair of groups; those without any answer left out.

    Intervals are Student's t, with variances from a bootstrap over states; they hold texts fixed, so they say nothing
    about other texts: `effects` does.

    The wording's part is a linear regression of the outcome on `language.COVARIATES`, with an effect of every state,
    kind and group: slopes come from how answers differ between texts of the same kind and group in the same state, and
    from all kinds together. They are drawn with the states, so that intervals hold their error too. What has no
    variation within kinds and groups explains nothing.
    """
    rng = np.random.default_rng(seed)
    asked = {attribute: int(measured.asked(attribute).sum()) for attribute in measured.attributes}
    cells = sum(len(measured.outcomes) * len(pairs(groups)) for groups in measured.attributes.values())
    level = flip_level(max(asked.values(), default=0), cells)
    weights = bootstrap_weights(measured.states, 1, draws, rng)[0].users
    return tuple(one for attribute in measured.attributes for one in _of_attribute(measured, attribute, weights, level))


def pairs(groups: Sequence[str]) -> list[tuple[int, int]]:
    """Every two groups, as places."""
    return list(itertools.combinations(range(len(groups)), 2))


def _of_attribute(measured: Measured, attribute: str, weights: Floats, level: float) -> list[Disparity]:
    groups = measured.attributes[attribute]
    raw, adjusted = estimates(measured.values[attribute], measured.wording[attribute], weights)
    found = []
    for outcome, kind, pair in np.argwhere(np.isfinite(raw.mean) & measured.asked(attribute)[:, None]).tolist():
        one, other = pairs(groups)[pair]
        near = [_ends(part, (outcome, kind, pair), 0.95, measured.states) for part in (raw, adjusted)]
        wide = [_ends(part, (outcome, kind, pair), level, measured.states) for part in (raw, adjusted)]
        found.append(
            Disparity(
                attribute,
                measured.kinds[kind],
                measured.outcomes[outcome],
                groups[one],
                groups[other],
                _printed(near[0]),
                _printed(near[1]),
                *(int(classes(low, high)) for _, low, high in (*near, *wide)),
            )
        )
    return found


def _ends(found: Estimates, at: tuple[int, int, int], level: float, states: int) -> tuple[float, float, float]:
    mean, error = float(found.mean[at]), float(found.error[at])
    reach = float(stdtrit(states - 1, 0.5 + level / 2)) * error
    return mean, mean - reach, mean + reach


def _printed(ends: tuple[float, float, float]) -> Interval:
    mean, low, high = map(plain, ends)
    return Interval(mean=mean, low=low, high=high)


def estimates(values: Floats, wording: Floats, weights: Floats) -> tuple[Estimates, Estimates]:
    """Disparities as they are and with the wording's part taken out.

    Args:
        values: (O, F, S, G, K). wording: (V, F, G, K). weights: (B + 1, S) of a bootstrap, the sample first.
    """
    *_, states, groups, _ = values.shape
    ones, others = np.triu_indices(groups, 1)  # as `pairs`
    each = means(values, -1)  # (O, F, S, G)
    drawn = _weighted(each[..., ones] - each[..., others], weights)  # (O, F, P, B + 1)
    scaled = _scaled(wording)
    slopes = np.stack([_slopes(outcome, scaled, weights) for outcome in values])  # (O, B + 1, V)
    style = _style(np.isfinite(values), scaled)  # (O, V, F, G)
    explained = np.einsum("obv,ovfp->ofpb", slopes, style[..., ones] - style[..., others])
    return _estimated(drawn, states), _estimated(drawn - explained, states)


def _estimated(drawn: Floats, states: int) -> Estimates:
    """From (..., B + 1) draws; the variance of draws with replacement is too small by one part in S."""
    drawn = np.round(drawn, 12)  # a sum that should be 0 may be 1e-17, with no variance at all
    return Estimates(drawn[..., 0], drawn[..., 1:].std(axis=-1) * np.sqrt(states / max(states - 1, 1)))


def _scaled(wording: Floats) -> Floats:
    """(V', F, G, K) wording in standard deviations within a kind and group; without what does not differ there."""
    known = np.nan_to_num(wording)
    deviation = np.sqrt(((known - known.mean(axis=-1, keepdims=True)) ** 2).mean(axis=(1, 2, 3)))
    differs = deviation > 1e-9
    return np.asarray(known[differs] / deviation[differs, None, None, None])


def _slopes(values: Floats, wording: Floats, weights: Floats) -> Floats:
    """(B, V) slopes of (F, S, G, K) values on (V, F, G, K) wording within state, kind and group."""
    there = np.isfinite(values)
    y = np.where(there, values - means(values, -1, keepdims=True), 0.0)
    given = np.where(there, wording[:, :, None], np.nan)
    x = np.where(there, given - means(given, -1, keepdims=True), 0.0)
    products = np.einsum("vfsgk,wfsgk->svw", x, x, optimize=True)
    with_y = np.einsum("vfsgk,fsgk->sv", x, y, optimize=True)
    squares = np.tensordot(weights, products, 1)
    count = len(wording)
    ridge = 1e-6 * np.trace(squares, axis1=1, axis2=2) / max(count, 1) + 1e-12  # for covariates that are alike
    squares += ridge[:, None, None] * np.eye(count)
    solved: Floats = np.linalg.solve(squares, (weights @ with_y)[..., None])[..., 0]
    return solved


def _style(there: Bools, wording: Floats) -> Floats:
    """(O, V, F, G) mean wording of a kind and group over its usable answers."""
    count = there.sum(axis=2)[:, None].astype(float)  # (O, 1, F, G, K)
    return np.asarray((count * wording).sum(axis=-1) / np.maximum(count.sum(axis=-1), 1))


def _weighted(values: Floats, weights: Floats) -> Floats:
    """(O, F, P, B) weighted means over the states of (O, F, S, P) values, without missing ones."""
    there = np.isfinite(values).swapaxes(-1, -2)
    total = np.where(there, values.swapaxes(-1, -2), 0.0) @ weights.T
    count = there @ weights.T
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan))


def all_flips(found: Sequence[Disparity], adjusted: bool = False) -> tuple[Flip, ...]:
    """Every two kinds that surely favour different groups, by the wide intervals."""
    made = []
    for cell in _cells(found):
        for above, below in opposite([one.adjusted_sure if adjusted else one.sure for one in cell]):
            one = cell[above]
            made.append(Flip(one.attribute, one.outcome, one.first, one.second, one.kind, cell[below].kind))
    return tuple(made)


def discordance(found: Sequence[Disparity], attribute: str) -> Discordance:
    """How often a conclusion from one kind of cue is not that of all kinds together."""
    against_most, against_pool = [], []
    for cell in _cells([one for one in found if one.attribute == attribute]):
        sides = [one.favours for one in cell]
        ends = [[number(one.found[end], 0.0) for one in cell] for end in ("mean", "low", "high")]
        _, low, high = pooled(*map(np.array, ends))
        against_most += [side != majority(sides) for side in sides]
        against_pool += [side != int(classes(low, high)) for side in sides]
    if not against_most:
        return Discordance(attribute, 0, None, None)
    return Discordance(attribute, len(against_most), float(np.mean(against_most)), float(np.mean(against_pool)))


def _cells(found: Sequence[Disparity]) -> list[list[Disparity]]:
    """Disparities of the same groups and outcome, one of each kind of cue."""
    cells: dict[tuple[str, ...], list[Disparity]] = {}
    for one in found:
        cells.setdefault((one.attribute, one.outcome, one.first, one.second), []).append(one)
    return list(cells.values())
