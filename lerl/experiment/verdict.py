"""What an experiment shows: scores between the floor and the ceiling, and whether planning beats what it has to beat.

The best row of a kind is picked for each seed by the other seeds, on one half of the evaluation users, and judged in
this seed on the other half: neither lucky users nor lucky training make the best of many look better than it is.

Intervals reach as far as the root of the summed squares of two reaches, Student's of users and Student's of seeds,
which holds the truth at least as often as it says. The variances come from a bootstrap of users and one of seeds, the
other as it is; that of S seeds is multiplied by S / (S - 1), by which a bootstrap falls short. Percentiles of the draws
would not do: those of five seeds end at the luckiest one, whatever the level. Ratios are logarithms until they are
printed, and their intervals are corrected for their number (Bonferroni).
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import t, trim_mean  # type: ignore[import-untyped, unused-ignore]

from lerl.experiment.spec import Experiment
from lerl.experiment.trial import Done, done, finished, row_path
from lerl.files import RunError
from lerl.report.bootstrap import bootstrap_weights
from lerl.report.lessons import marked

Floats = NDArray[np.float64]

TO_BEAT = ("random+ppo", "round_robin+greedy")
"""Rows that the best hierarchical one has to beat besides the best flat learner and the best practitioner's row."""
FLOOR, CEILING = "random", "privileged"
ROOM = 1.1  # privileged over the best flat learner, below which a setting cannot tell agents apart
METRICS = ("R_cum", "T_int", "R_sin", "normalised", "iqm")


@dataclass(frozen=True)
class Estimate:
    """A value with its interval; nan where it is not defined."""

    mean: float
    low: float
    high: float

    def text(self, decimals: int) -> str:
        """As tables print it."""
        return f"{self.mean:.{decimals}f} [{self.low:.{decimals}f}, {self.high:.{decimals}f}]"


@dataclass(frozen=True)
class Scores:
    """A row under a setting.

    Attributes:
        row, kind: its name and what it stands for. metrics: by name, 95 % intervals.
        steps: that it was trained for. fitting: mean seconds of processor time that took, None where it is not known.
        mark: "untrained" or "too few steps" where a seed's policy had too few to learn anything.
    """

    row: str
    kind: str
    metrics: dict[str, Estimate]
    steps: int
    fitting: float | None
    mark: str = ""

    @property
    def name(self) -> str:
        """As it is printed."""
        return marked(self.row, self.mark)


@dataclass(frozen=True)
class Ratio:
    """R_cum of the best hierarchical row over that of another, paired, on users and seeds that picked neither.

    Attributes:
        against: what the other is. row: its name, several where seeds pick several.
    """

    against: str
    row: str
    ratio: Estimate


@dataclass(frozen=True)
class Verdict:
    """What a setting shows.

    Attributes:
        setting: its name. seeds, users: how many there are. scores: best first.
        best: the hierarchical row that is held against the others, several where seeds pick several. ratios: to those
            it has to beat.
        room: R_cum of the ceiling over that of the best flat learner, on the same users. level: of the intervals of
            ratios and room, in per cent. below: learners that are worse than random, by their 95 % interval.
        missing: rows without results, or with other seeds than the rest.
    """

    setting: str
    seeds: int
    users: int
    scores: list[Scores]
    best: str
    ratios: list[Ratio]
    room: Estimate | None
    level: float
    below: list[str]
    missing: list[str]

    @property
    def seen(self) -> str:
        """How many users and seeds it rests on."""
        return f"{self.users:,} evaluation users, {self.seeds} seed{'' if self.seeds == 1 else 's'}"

    @property
    def line(self) -> str:
        """In one sentence."""
        if not self.ratios or self.room is None:
            return f"{self.setting}: no verdict yet, rows are missing"
        said = f"privileged is {self.room.text(2)} times the best flat learner"
        if self.missing:
            said = f"so far, while rows are missing, {said}"
        if self.room.mean < ROOM:
            return f"{self.setting}: {said}: too little room to tell agents apart"
        beaten = [ratio for ratio in self.ratios if ratio.ratio.low > 1]
        lost = [ratio.row for ratio in self.ratios if not ratio.ratio.low > 1]  # nan: a row without any reward
        if not lost:
            return f"{self.setting}: {said}; {self.best} beats all {len(beaten)}"
        return f"{self.setting}: {said}; {self.best} does not beat {', '.join(lost)}"


@dataclass(frozen=True)
class World:
    """Results under a setting: (L, U, S) R_cum, T_int and R_sin of L rows, U users and S seeds."""

    labels: list[str]
    kinds: list[str]
    rewards: Floats
    lengths: Floats
    shares: Floats
    about: list[list[dict[str, Any]]]
    missing: list[str]


@dataclass(frozen=True)
class _Held:
    """R_cum (U, S) of the best row of a kind, seed by seed, on the users that picked none; which rows these are."""

    what: str
    row: str
    rewards: Floats


def judge(experiment: Experiment, out: Path, draws: int = 2000) -> list[Verdict]:
    """The verdict on every setting of which there are results.

    Args:
        experiment: what was to be done. out: its folder. draws: of the bootstrap.
    """
    worlds = {setting: read(experiment, out, setting) for setting in experiment.settings}
    there = {setting: world for setting, world in worlds.items() if world is not None}
    held = {setting: _contenders(world) for setting, world in there.items()}
    count = sum(len(found) - 1 for found in held.values() if found)  # ratios and rooms
    return [_judged(setting, world, held[setting], draws, 5.0 / max(count, 1)) for setting, world in there.items()]


def read(experiment: Experiment, out: Path, setting: str) -> World | None:
    tuned, asked = experiment.tuned(out), experiment.seeds(setting)
    found: dict[str, tuple[Done, set[int]]] = {}
    for label in experiment.labels(setting):
        units = [experiment.unit(setting, label, seed, tuned) for seed in asked]
        seeds = {unit.config.seed for unit in units if finished(unit, out) is not None}
        if seeds:
            found[label] = done(row_path(out, units[0])), seeds
    if not found:
        return None
    several = [seeds for _, seeds in found.values()]
    most = max(several, key=lambda one: (len(one), sum(one <= other for other in several)))
    whole, common = {label: entry for label, entry in found.items() if most <= entry[1]}, sorted(most)
    _refuse_different_users(
        setting, {one.about[str(seed)]["population"] for one, _ in whole.values() for seed in common}
    )
    labels = list(whole)
    means = [_by_user(whole[label][0].sessions, common) for label in labels]
    return World(
        labels,
        [experiment.kind(label) for label in labels],
        np.stack([one[0] for one in means]),
        np.stack([one[1] for one in means]),
        np.stack([one[2] for one in means]),
        [[whole[label][0].about[str(seed)] for seed in common] for label in labels],
        [label for label in experiment.labels(setting) if label not in whole],
    )


def _refuse_different_users(setting: str, populations: set[str]) -> None:
    if len(populations) > 1:
        raise RunError(
            f"rows of the setting {setting!r} were judged on different users; do them again, all on the same data"
        )


def _by_user(sessions: pl.DataFrame, seeds: Sequence[int]) -> tuple[Floats, Floats, Floats]:
    """Cumulative reward, length and reward per step, replicates averaged, (U, S) each."""
    wide = (
        sessions.cast(pl.Float64)
        .filter(pl.col("seed").is_in([float(seed) for seed in seeds]))
        .with_columns(R_sin=pl.col("R_cum") / pl.col("T_int"))
        .group_by("user", "seed")
        .agg(pl.col("R_cum", "T_int", "R_sin").mean())
        .sort("user", "seed")
    )
    shaped = [wide[name].to_numpy().reshape(-1, len(seeds)) for name in ("R_cum", "T_int", "R_sin")]
    return shaped[0], shaped[1], shaped[2]


def _judged(setting: str, world: World, held: list[_Held], draws: int, tail: float) -> Verdict:
    users, seeds = world.rewards.shape[1:]
    weights = _weights(users, seeds, draws, 0)
    of = {
        "R_cum": [_means(world.rewards, *one) for one in weights],
        "T_int": [_means(world.lengths, *one) for one in weights],
        "R_sin": [_means(world.shares, *one) for one in weights],
    }
    if {FLOOR, CEILING} <= set(world.labels):
        ends = world.labels.index(FLOOR), world.labels.index(CEILING)
        of["normalised"] = [_between(drawn, *ends) for drawn in of["R_cum"]]
        of["iqm"] = [_between(_quartile_means(world.rewards, *one), *ends) for one in weights]
    found = {name: _estimates(drawn, users, seeds, 5.0) for name, drawn in of.items()}
    scores = [
        Scores(
            label,
            world.kinds[row],
            {name: estimates[row] for name, estimates in found.items()},
            max(about["steps"] for about in world.about[row]),
            _mean_seconds(world.about[row]),
            max(str(about.get("mark", "")) for about in world.about[row]),  # "" < "too few steps" < "untrained"
        )
        for row, label in enumerate(world.labels)
    ]
    order = sorted(scores, key=lambda one: -one.metrics["R_cum"].mean)
    ratios, room = _held_against(held, draws, tail)
    below = _below(world, of["R_cum"])
    best = held[0].row if held else ""
    return Verdict(setting, seeds, users, order, best, ratios, room, 100 - tail, below, world.missing)


def _weights(users: int, seeds: int, draws: int, seed: int) -> list[tuple[Floats, Floats]]:
    """How often each user (B + 1, U) and each seed (B + 1, S) is in each draw: users drawn alone, seeds drawn alone."""
    drawn = bootstrap_weights(users, seeds, draws, np.random.default_rng(seed))
    return [(drawn.users, np.ones_like(drawn.seeds)), (np.ones_like(drawn.users), drawn.seeds)]


def _means(values: Floats, users: Floats, seeds: Floats) -> Floats:
    """(B + 1, L) weighted means of (L, U, S) values over users and seeds; the first is the sample's."""
    rows, count, several = values.shape
    over = (users @ values.transpose(1, 0, 2).reshape(count, -1)).reshape(-1, rows, several)
    return np.asarray(np.einsum("bls,bs->bl", over, seeds) / (users.sum(1) * seeds.sum(1))[:, None])


def _quartile_means(values: Floats, users: Floats, seeds: Floats) -> Floats:
    """(B + 1, L) means of the middle half of users, each user's mean over seeds (Agarwal et al., NeurIPS 2021)."""
    found = np.empty((len(users), len(values)))
    for draw, (of_users, of_seeds) in enumerate(zip(users.astype(np.int64), seeds, strict=True)):
        each = values @ (of_seeds / of_seeds.sum())
        found[draw] = trim_mean(np.repeat(each, of_users, axis=1), 0.25, axis=1)
    return found


def _between(drawn: Floats, floor: int, ceiling: int) -> Floats:
    """Scores between the floor (0) and the ceiling (1), inside each draw."""
    low, high = drawn[:, [floor]], drawn[:, [ceiling]]
    return np.asarray((drawn - low) / np.where(high > low, high - low, np.nan))


def _estimates(
    drawn: Sequence[Floats], users: int, seeds: int, tail: float, printed: Callable[[Floats], Floats] = np.asarray
) -> list[Estimate]:
    """(L,) intervals that leave out `tail` per cent, of (B + 1, L) draws of users and of seeds.

    Those of one seed say nothing about others.
    """
    sample, reach = drawn[0][0], np.zeros(drawn[0].shape[1])
    for each, count in zip(drawn, (users, seeds), strict=True):
        if count > 1:
            variance = each[1:].var(axis=0) * count / (count - 1)
            reach = np.hypot(reach, t.ppf(1 - tail / 200, count - 1) * np.sqrt(variance))
    ends = printed(np.stack([sample, sample - reach, sample + reach], axis=1))
    return [Estimate(*(float(f"{value:.10g}") for value in one)) for one in ends.tolist()]


def _mean_seconds(about: Sequence[dict[str, Any]]) -> float | None:
    known = [one["fitting"] for one in about if one["fitting"] is not None]
    return float(np.mean(known)) if known else None


def _below(world: World, drawn: Sequence[Floats]) -> list[str]:
    if FLOOR not in world.labels:
        return []
    floor, (_, users, seeds) = world.labels.index(FLOOR), world.rewards.shape
    gaps = _estimates([each - each[:, [floor]] for each in drawn], users, seeds, 5.0)
    return [label for row, label in enumerate(world.labels) if world.about[row][0]["steps"] and gaps[row].high < 0]


def _contenders(world: World) -> list[_Held]:
    """The best hierarchical row, those it has to beat and the ceiling, where it is there; none where one is missing."""
    picking, judged = world.rewards[:, ::2].mean(axis=1), world.rewards[:, 1::2]  # (L, S) and (L, U, S)
    seeds = range(picking.shape[1])

    def best(what: str, able: Sequence[int]) -> _Held | None:
        if not able:
            return None
        others = [[other for other in seeds if other != seed] or [seed] for seed in seeds]
        picked = [max(able, key=lambda row: picking[row, some].mean()) for some in others]
        names = Counter(world.labels[row] for row in picked)
        rewards = np.stack([judged[row, :, seed] for seed, row in zip(seeds, picked, strict=True)], axis=1)
        return _Held(what, " or ".join(name for name, _ in names.most_common()), rewards)

    def of(kind: str) -> list[int]:
        return [row for row, given in enumerate(world.kinds) if given == kind and world.labels[row] not in TO_BEAT]

    def named(label: str) -> list[int]:
        return [row for row, other in enumerate(world.labels) if other == label]

    found = [best("", of("hierarchical")), best("best flat learner", of("flat learner"))]
    found += [best("best practitioner's row", of("practitioner")), *(best(label, named(label)) for label in TO_BEAT)]
    there = [one for one in found if one is not None]
    ceiling = best(CEILING, named(CEILING))
    return [*there, *([ceiling] if ceiling else [])] if len(there) == len(found) else []


def _held_against(held: list[_Held], draws: int, tail: float) -> tuple[list[Ratio], Estimate | None]:
    """The ratios of the best hierarchical row to what it has to beat, and the room that the setting leaves."""
    if not held:
        return [], None
    values = np.stack([one.rewards for one in held])
    _, users, seeds = values.shape
    drawn = [_logs(_means(values, *one)) for one in _weights(users, seeds, draws, 1)]
    others = [row for row in range(1, len(held)) if held[row].what != CEILING]
    pairs = [(0, other) for other in others] + [(row, 1) for row in range(1, len(held)) if row not in others]
    gaps = [np.stack([each[:, one] - each[:, other] for one, other in pairs], axis=1) for each in drawn]
    found = _estimates(gaps, users, seeds, tail, np.exp)
    ratios = [Ratio(held[other].what, held[other].row, found[place]) for place, other in enumerate(others)]
    return ratios, found[-1] if len(found) > len(ratios) else None


def _logs(means: Floats) -> Floats:
    """Logarithms, nan of a row without any reward."""
    return np.log(np.where(means > 0, means, np.nan))


# what is written
