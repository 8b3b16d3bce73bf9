"""Whether a planner's plans change with the group that a cue names, and whether kinds of cue agree about it.

The questions and the two analyses are those of Weeber et al. 2026, "One Persona, Many Cues, Different Results" (arXiv
2601.18572): an analysis of variance over groups for each kind of cue, then Tukey's pairs; and rank correlations between
kinds. Two things differ. The same states are planned with every cue, so states are blocks, and what is random besides
an answer's own noise is told apart: texts of cues, and how states differ in their reaction. And a correlation comes
with the reliability of what is correlated, without which noise would look like disagreement.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import fdtrc, fdtri, ncfdtrinc  # type: ignore[import-untyped, unused-ignore]

from lerl.llm.audit.measured import REFUSAL, Bools, Floats, Measured, means
from lerl.report.intervals import bootstrap_weights, plain

ALPHA = 0.01
"""A difference is significant where its p-value, corrected for all tests of the audit, is below."""
POWER = 0.8
RELIABLE = 0.1
"""Reliability below which a kind of cue shows nothing of groups that another kind could agree with."""
LARGEST = 0.5  # shift, as half of the states have the category anyway
DRAWN = 4000  # audits, for the least effect
SWEEPS = 10  # of estimating what is missing; each leaves about the missing share of the error of the one before


@dataclass(frozen=True)
class Pair:
    """Two groups that differ: mean of `first` less that of `second`, and Tukey's p-value (HSD)."""

    first: str
    second: str
    difference: float
    p: float


@dataclass(frozen=True)
class GroupTest:
    """Whether an outcome differs between groups under one kind of cue.

    Attributes:
        attribute, kind, outcome: what was tested.
        deviations: (G,) of each group's mean from the plan without a cue.
        f, degrees, p: of the analysis of variance; degrees of freedom of its error. All None where there was nothing to
            test, f also where there was no noise.
        holm: the p-value after Holm's correction for all tests of the audit. significant: whether it is below `ALPHA`.
        pairs: groups that differ by Tukey's test at `ALPHA`; empty where the test is not significant.
        least: the smallest difference of one group from the others that this test finds in 8 of 10 audits.
    """

    attribute: str
    kind: str
    outcome: str
    deviations: tuple[float | None, ...]
    f: float | None
    degrees: float | None
    p: float | None
    holm: float | None
    significant: bool
    pairs: tuple[Pair, ...]
    least: float | None


@dataclass(frozen=True)
class Agreement:
    """How far two kinds of cue say the same of groups; see `agreements`.

    Attributes:
        correlation, upper: Spearman's, and the end of its one-sided 95 % interval.
        reliability: of the two kinds. corrected, corrected_upper: what the correlation would be without noise; None
            where a kind has a reliability below `RELIABLE`. It may be above 1 by chance.
        less: whether the two agree significantly less than perfectly: corrected_upper is below 1.
    """

    attribute: str
    first: str
    second: str
    correlation: float | None
    upper: float | None
    reliability: tuple[float | None, float | None]
    corrected: float | None
    corrected_upper: float | None
    less: bool


@dataclass(frozen=True)
class Effects:
    """All tests of an audit and all pairs of kinds of cue."""

    tests: tuple[GroupTest, ...]
    agreements: tuple[Agreement, ...]


def effects(measured: Measured, draws: int = 1000, seed: int = 0) -> Effects:
    """Test every attribute, kind of cue and outcome; compare every two kinds. Takes some ten seconds.

    Args:
        draws: of the bootstrap over states. seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    found = [agreements(measured, attribute, draws, rng) for attribute in measured.attributes]
    return Effects(group_tests(measured), tuple(itertools.chain(*found)))


class Variance(NamedTuple):
    """An analysis of variance of many outcomes, each (...): see `analyse`; nan where there is nothing to test.

    Attributes:
        means: (..., G) of groups. f, degrees, p: the test. error: variance of one answer that groups are judged by.
        answers: how many usable ones a group's mean rests on.
    """

    means: Floats
    f: Floats
    degrees: Floats
    p: Floats
    error: Floats
    answers: Floats


def analyse(values: Floats) -> Variance:
    """An analysis of variance over groups, with states as blocks and texts nested in groups.

    The error is residual variance + what texts add + what a state's own reaction to a group adds, each from its mean
    square and not below 0. So a planner that reacts to particular texts, or to a group this way in one state and that
    way in another, is not taken for one that treats groups differently on the whole. Degrees of freedom are
    Satterthwaite's (1946, "An approximate distribution of estimates of variance components", Biometrics Bulletin 2).
    The usual rule, to count texts only where they differ at p < .25, was seen to find 2 % significant at 1 % where
    texts differ a little, and 0.2 % at 0.01 %; this one 1.5 % and 0.1 % at worst, and up to 0.5 % where they do not.

    Missing answers are estimated from their state and text (Yates 1933), and mean squares and degrees of freedom are
    corrected for the share that is missing. A test needs two usable answers to every text.

    Args:
        values: (..., S, G, K) float, nan where missing.
    """
    *_, states, _, texts = values.shape
    there = np.isfinite(values)
    share = _usable(there)
    f, freedom, p, error = _judged(*_strata(_filled(values, there), share))
    tested = there.sum(axis=-3).min(axis=(-2, -1)) >= 2
    f, freedom, p, error = (np.where(tested, part, np.nan) for part in (f, freedom, p, error))
    return Variance(means(means(values, -3), -1), f, freedom, p, error, share * states * texts)


def _judged(square: Floats, degrees: Sequence[Floats | float]) -> tuple[Floats, Floats, Floats, Floats]:
    """F, degrees of freedom of its error, p and the error, from what `_strata` gives."""
    between, text, state, rest = square
    adds_text, adds_state = text > rest, state > rest
    error = rest + np.where(adds_text, text - rest, 0.0) + np.where(adds_state, state - rest, 0.0)
    spread = (
        np.where(adds_text, text**2 / degrees[1], 0.0)
        + np.where(adds_state, state**2 / degrees[2], 0.0)
        + np.where(adds_text == adds_state, rest**2 / degrees[3], 0.0)
    )
    noisy = error > 0
    freedom = np.where(noisy, error**2 / np.where(noisy, spread, 1.0), degrees[3])
    f = np.where(noisy, between / np.where(noisy, error, 1.0), np.where(between > 0, np.inf, 0.0))
    p = np.where(noisy, fdtrc(degrees[0], freedom, np.where(noisy, f, 0.0)), np.where(between > 0, 0.0, 1.0))
    return f, freedom, p, error


def _usable(there: Bools) -> Floats:
    """(...) harmonic mean over texts of the share of usable answers, in (0, 1]; 1 where a text has none."""
    share = there.mean(axis=-3)
    return np.where(share.min(axis=(-2, -1)) > 0, 1.0 / (1.0 / np.maximum(share, 1e-9)).mean(axis=(-2, -1)), 1.0)


def _filled(values: Floats, there: Bools) -> Floats:
    """(..., S, G, K) values with what is missing put at the sum of its state's and its text's effect."""
    if there.all():
        return values
    known = np.where(there, values, 0.0)
    in_state = np.maximum(there.sum(axis=(-2, -1), keepdims=True), 1)
    of_text = np.maximum(there.sum(axis=-3, keepdims=True), 1)
    state = np.zeros_like(known[..., :1, :1])
    for _ in range(SWEEPS):
        text = np.where(there, known - state, 0.0).sum(axis=-3, keepdims=True) / of_text
        state = np.where(there, known - text, 0.0).sum(axis=(-2, -1), keepdims=True) / in_state
    return np.where(there, known, state + text)


def _strata(values: Floats, share: Floats) -> tuple[Floats, list[Floats | float]]:
    """(4, ...) mean squares of groups, texts, states by groups, and the rest, and their degrees of freedom.

    Estimated answers lie where their text's mean is, so that means spread as with fewer answers, and the rest less.
    """
    *_, states, groups, texts = values.shape
    mean = values.mean(axis=(-3, -2, -1), keepdims=True)
    state = values.mean(axis=(-2, -1), keepdims=True)
    group = values.mean(axis=(-3, -1), keepdims=True)
    text = values.mean(axis=-3, keepdims=True)
    cell = values.mean(axis=-1, keepdims=True)
    parts = (group - mean, text - group, cell - group - state + mean, values - cell - text + group)
    *degrees, last = _degrees(states, groups, texts)
    squares = [(part**2).sum(axis=(-3, -2, -1)) for part in parts]
    found = np.stack(
        [
            squares[0] * states * texts * share / degrees[0],
            squares[1] * states * share / degrees[1],
            squares[2] * texts / share / degrees[2],
            squares[3] / share / last,
        ]
    )
    found[found < 1e-20 * (values**2).max(axis=(-3, -2, -1), initial=1e-200)] = 0.0  # rounding errors
    return found, [*degrees, np.maximum(last * share, 1.0)]


def _degrees(states: int, groups: int, texts: int) -> tuple[float, float, float, float]:
    """Degrees of freedom of the four mean squares of `_strata`."""
    nested = groups * (texts - 1.0)
    return groups - 1.0, nested, (states - 1.0) * (groups - 1.0), (states - 1.0) * nested


def holm(p: Floats) -> Floats:
    """P-values corrected for their number (Holm 1979, Scandinavian Journal of Statistics 6); nan counts as no test."""
    order = np.argsort(p)  # nan last
    count = int(np.isfinite(p).sum())
    made = np.full(len(p), np.nan)
    stepped = p[order[:count]] * np.arange(count, 0, -1)
    made[order[:count]] = np.minimum(np.maximum.accumulate(stepped), 1.0) if count else stepped
    return made


def group_tests(measured: Measured) -> tuple[GroupTest, ...]:
    """A test of every attribute, kind of cue and outcome, in this order."""
    found = {attribute: analyse(measured.values[attribute]) for attribute in measured.attributes}
    for attribute, made in found.items():
        made.p[:, ~measured.asked(attribute)] = np.nan
    corrected = holm(np.concatenate([made.p.T.ravel() for made in found.values()]))
    count = max(int(np.isfinite(corrected).sum()), 1)
    made_tests, place = [], itertools.count()
    for attribute, made in found.items():
        base = measured.baseline[:, None, :, None, None]
        deviations = means(means(measured.values[attribute] - base, 2), -1)
        for kind, outcome in np.ndindex(made.p.T.shape):
            one = Variance(*(part[outcome, kind] for part in made))
            named = (attribute, measured.kinds[kind], measured.outcomes[outcome])
            moved = tuple(plain(value) for value in deviations[outcome, kind])
            made_tests.append(_test(named, measured.attributes[attribute], moved, one, corrected[next(place)], count))
    return tuple(made_tests)


def _test(
    named: tuple[str, str, str],
    groups: Sequence[str],
    deviations: tuple[float | None, ...],
    made: Variance,
    corrected: float,
    count: int,
) -> GroupTest:
    significant = bool(corrected < ALPHA)
    if np.isnan(made.p):
        return GroupTest(*named, deviations, None, None, None, None, False, (), None)
    least = _least(len(groups), float(made.degrees), float(made.error / made.answers), ALPHA / count)
    return GroupTest(
        *named,
        deviations,
        plain(float(made.f)),
        plain(float(made.degrees)),
        float(made.p),
        float(corrected),
        significant,
        _tukey(groups, made) if significant else (),
        plain(least),
    )


def _tukey(groups: Sequence[str], made: Variance) -> tuple[Pair, ...]:
    """Pairs of groups whose means differ at `ALPHA` by Tukey's honestly significant difference."""
    from scipy.stats import studentized_range  # slow to import, and only wanted where there is a difference

    found = []
    for (first, one), (second, other) in itertools.combinations(zip(groups, made.means, strict=True), 2):
        difference, noise = float(one - other), float(np.sqrt(made.error / made.answers))
        apart = abs(difference) / noise if noise else np.inf
        p = float(studentized_range.sf(apart, len(groups), float(made.degrees))) if noise else float(difference == 0)
        if p < ALPHA:
            found.append(Pair(first, second, difference, p))
    return tuple(found)


def least_effect(states: int, texts: int, groups: int, noise: float, tests: int) -> float:
    """The smallest shift that an audit finds in 8 of 10 cases, as a share: 0.1 for 10 points; `LARGEST` where none is.

    It is the shift of how often plans allow one category under one kind of cue, for one group and not for the others.
    Half of the states are taken to have the category in their plans anyway, so that the other half has to show the
    shift, in a share of its answers; texts are taken not to differ beyond chance. Mean squares are drawn from their
    distributions, with a seed of their own.

    Args:
        states, texts, groups: S, K (of each group and kind) and G, at least 2 each.
        noise: share of answers, in [0, 0.5], in which the category changes its place by chance; where a share q of
            plans has one category out of m allowed ones exchanged, about q / m for each allowed category.
        tests: attributes x kinds of cue x outcomes that the p-value is corrected for.
    """
    low, high = 0.0, LARGEST
    for _ in range(12):
        middle = (low + high) / 2
        found = _power(middle, (states, texts, groups), noise, ALPHA / tests) >= POWER
        low, high = (low, middle) if found else (middle, high)
    return high


def _power(shift: float, design: tuple[int, int, int], noise: float, alpha: float) -> float:
    """How often a shift is found; in half of the states it is twice as large, and 0 in the others."""
    states, texts, groups = design
    rng = np.random.default_rng(0)
    degrees = _degrees(states, groups, texts)
    rest = noise * (1.0 - noise) + shift * (1.0 - 2.0 * shift) / groups
    state = rest + texts * shift**2 / groups
    if rest <= 0:
        return float(shift > 0)
    away = states * texts * shift**2 * (groups - 1.0) / groups / state
    square = np.stack([rng.noncentral_chisquare(degrees[0], away, DRAWN), *rng.chisquare(degrees[1:], (DRAWN, 3)).T])
    scale = np.array([state, rest, state, rest]) / degrees
    return float((_judged(square * scale[:, None], degrees)[2] < alpha).mean())


def _least(groups: int, degrees: float, variance: float, alpha: float) -> float:
    """The least shift of one group's mean that is found, from the variance of a mean."""
    bound = fdtri(groups - 1.0, degrees, 1.0 - alpha)
    wanted = ncfdtrinc(groups - 1.0, degrees, 1.0 - POWER, bound)
    return float(np.sqrt(wanted * variance * groups / (groups - 1.0)))


def agreements(measured: Measured, attribute: str, draws: int, rng: np.random.Generator) -> list[Agreement]:
    """How far every two kinds of cue say the same of groups, state by state.

    Compared are mean deviations from the plan without a cue, of each group and state, less their mean over groups.
    Without the latter, kinds would seem to agree in whatever they make of the one plan without a cue, which is part of
    all deviations, and in reacting to any cue at all. Spearman's correlation is over groups and states, for each
    outcome but refusals by itself, so that none counts more for its scale; given is the mean over outcomes.

    Noise keeps correlations below 1 even of kinds that are the same thing. Reliability is the correlation between
    halves of a kind's texts, corrected for their length (Spearman and Brown). The correlation divided by the root of
    both kinds' reliabilities estimates what it were without noise (Spearman 1904, "The proof and measurement of
    association between two things"), so that is what 1 is compared with. Bounds are percentiles of a bootstrap over
    states, which draws correlation and reliability together. Of kinds that are the same thing, 8 in 100 pairs were seen
    to be called less than perfect.
    """
    outcomes = [place for place, name in enumerate(measured.outcomes) if name != REFUSAL]
    kinds = np.flatnonzero(measured.asked(attribute))
    weights = bootstrap_weights(measured.states, 1, draws, rng)[0].users
    weights = np.repeat(weights.astype(np.float32), len(measured.attributes[attribute]), axis=1)
    if len(kinds) < 2:
        return []
    names = [measured.kinds[kind] for kind in kinds]
    found = [_correlations(measured.values[attribute][outcome][kinds], weights) for outcome in outcomes]
    between, reliable = (means(np.array(part), 0) for part in zip(*found, strict=True))
    return [
        _agreement(attribute, (names[one], names[other]), between[:, one, other], reliable[:, [one, other]])
        for one, other in itertools.combinations(range(len(kinds)), 2)
    ]


def _agreement(attribute: str, kinds: tuple[str, str], drawn: Floats, reliability: Floats) -> Agreement:
    """From (B + 1,) correlations and (B + 1, 2) reliabilities, the sample's first."""
    corrected = drawn / np.sqrt(np.maximum(reliability, RELIABLE / 2).prod(axis=1))
    known = bool((reliability[0] >= RELIABLE).all())
    bound = plain(float(np.percentile(corrected[1:], 95))) if known else None
    return Agreement(
        attribute,
        *kinds,
        plain(float(drawn[0])),
        plain(float(np.percentile(drawn[1:], 95))),
        (plain(float(reliability[0, 0])), plain(float(reliability[0, 1]))),
        plain(float(corrected[0])) if known else None,
        bound,
        bound is not None and bound < 1.0,
    )


def _correlations(values: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Spearman's correlations of (F, S, G, K) values of one outcome under (B, S G) weights.

    Returns:
        (B, F, F) between kinds, and (B, F) reliabilities, from a mean of two ways to halve texts; nan where all ranks
        are the same.
    """
    texts = values.shape[-1]
    whole = np.stack([_ranked(kind, weights) for kind in values], axis=1)  # (B, F, S G)
    between = whole @ whole.transpose(0, 2, 1)
    halves = []
    for start in (0, texts // 2):
        half = (np.arange(texts // 2) + start) % texts
        rest = np.setdiff1d(np.arange(texts), half)
        both = [np.stack([_ranked(kind[..., part], weights) for kind in values], axis=1) for part in (half, rest)]
        halves.append(np.einsum("bfn,bfn->bf", *both))
    split = np.maximum(np.mean(halves, axis=0), -0.5)
    return between, 2.0 * split / (1.0 + split)


def _ranked(values: Floats, weights: Floats) -> Floats:
    """(B, S G) ranks of group means of (S, G, K) values, in each draw centred and of length 1 as weighted.

    Sums of products of two are Spearman's correlations. Ranks are midranks among what is drawn; missing means get the
    mean rank.
    """
    mean = means(values, -1)
    flat = np.round(mean - means(mean, 1, keepdims=True), 9).ravel()
    there = np.isfinite(flat)
    kept = weights * there
    order = np.argsort(flat)
    first = np.flatnonzero(np.diff(flat[order], prepend=-np.inf) != 0)  # of equal ones
    heaps = np.add.reduceat(kept[:, order], first, axis=1)
    places = np.empty(len(flat), np.int64)
    places[order] = np.repeat(np.arange(len(first)), np.diff(first, append=len(flat)))
    ranks = np.cumsum(heaps, axis=1) - (heaps + heaps.sum(axis=1, keepdims=True)) / 2
    length = np.sqrt((heaps * ranks**2).sum(axis=1, keepdims=True))
    ranks = np.where(length > 0, ranks / np.maximum(length, 1e-9), np.nan)
    return ranks[:, places] * np.sqrt(kept)
