"""What an experiment shows: scores between floor and ceiling, and whether planning beats its competitors.

The best agent of a kind is picked for each seed by the other seeds, on one half of the evaluation users, and judged in
this seed on the other half: neither lucky users nor lucky training make the best of many look better than it is.

Intervals are those of `lerl.report.intervals`. Ratios are logarithms until they are printed, and their intervals are
corrected for their number (Bonferroni).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import trim_mean  # type: ignore[import-untyped, unused-ignore]

from lerl.experiment.spec import Experiment
from lerl.experiment.trial import Done, done, finished, sessions_path
from lerl.files import RunError
from lerl.report.intervals import Interval, Weights, bootstrap_weights, estimate_text, intervals, number, weighted_means
from lerl.report.lessons import marked
from lerl.report.load import chosen_by_seed
from lerl.report.metrics import normalised

Floats = NDArray[np.float64]

TO_BEAT = ("random+ppo", "round_robin+greedy")
"""Agents that the best hierarchical one has to beat besides the best flat learner and the best practitioner's."""
FLOOR, CEILING = "random", "privileged"
ROOM = 1.1  # privileged over the best flat learner, below which a condition cannot tell agents apart
METRICS = ("R_cum", "T_int", "R_sin", "normalised", "iqm")


@dataclass(frozen=True)
class Scores:
    """An agent under a condition.

    Attributes:
        agent, kind: its name and what it stands for. metrics: by name, 95 % intervals.
        steps: that it was trained for. fitting: mean seconds of processor time that took, None where it is not known.
        mark: "untrained" or "too few steps" where a seed's policy had too few to learn anything.
        chosen: what `auto` chose, "" for others; with several, each with its number of seeds.
    """

    agent: str
    kind: str
    metrics: dict[str, Interval]
    steps: int
    fitting: float | None
    mark: str = ""
    chosen: str = ""

    @property
    def name(self) -> str:
        """As it is printed."""
        return marked(self.agent, self.mark)

    @property
    def reward(self) -> float:
        """Mean R_cum, by which agents are ranked."""
        return number(self.metrics["R_cum"]["mean"], -np.inf)


@dataclass(frozen=True)
class Ratio:
    """R_cum of the best hierarchical agent over that of another, paired, on users and seeds that picked neither.

    Attributes:
        against: what the other is. agent: its name, several where seeds pick several.
    """

    against: str
    agent: str
    ratio: Interval


@dataclass(frozen=True)
class Verdict:
    """What a condition shows.

    Attributes:
        condition: its name. seeds, users: how many there are. scores: best first.
        best: the hierarchical agent that is compared with the others, several where seeds pick several. ratios: to
            those it has to beat.
        room: R_cum of the ceiling over that of the best flat learner, on the same users. level: of the intervals of
            ratios and room, in per cent. below: learners that are worse than random, by their 95 % interval.
        missing: agents without results, or with other seeds than the rest. processors: of more than one kind on which
            its trials ran; empty where there was one.
    """

    condition: str
    seeds: int
    users: int
    scores: list[Scores]
    best: str
    ratios: list[Ratio]
    room: Interval | None
    level: float
    below: list[str]
    missing: list[str]
    processors: list[str] = field(default_factory=list)

    @property
    def seen(self) -> str:
        """How many users and seeds it rests on."""
        return f"{self.users:,} evaluation users, {self.seeds} seed{'' if self.seeds == 1 else 's'}"

    @property
    def line(self) -> str:
        """In one sentence."""
        if not self.ratios or self.room is None:
            return f"{self.condition}: no verdict yet, agents are missing"
        said = f"privileged is {estimate_text(self.room, 2)} times the best flat learner"
        if self.missing:
            said = f"so far, while agents are missing, {said}"
        if number(self.room["mean"], ROOM) < ROOM:
            return f"{self.condition}: {said}: too little room to tell agents apart"
        lost = [ratio.agent for ratio in self.ratios if not number(ratio.ratio["low"], 0) > 1]
        if not lost:
            return f"{self.condition}: {said}; {self.best} beats all {len(self.ratios)}"
        return f"{self.condition}: {said}; {self.best} does not beat {', '.join(lost)}"


@dataclass(frozen=True)
class ConditionResults:
    """Results under a condition: (L, U, S) R_cum, T_int and R_sin of L agents, U users and S seeds."""

    labels: list[str]
    kinds: list[str]
    rewards: Floats
    lengths: Floats
    shares: Floats
    about: list[list[dict[str, Any]]]
    missing: list[str]


@dataclass(frozen=True)
class _Contender:
    """R_cum (U, S) of the best agent of a kind, seed by seed, on the users that picked none; which agents these are."""

    what: str
    agent: str
    rewards: Floats


def judge(experiment: Experiment, out: Path, draws: int = 2000) -> list[Verdict]:
    """The verdict on every condition of which there are results.

    Args:
        experiment: what was to be done. out: its folder. draws: of the bootstrap.

    Raises:
        RunError: a file is damaged, or agents of a condition were judged on different users.
    """
    read_all = {condition: read(experiment, out, condition) for condition in experiment.conditions}
    there = {condition: results for condition, results in read_all.items() if results is not None}
    contenders = {condition: _contenders(results) for condition, results in there.items()}
    count = sum(len(found) - 1 for found in contenders.values() if found)  # ratios and rooms
    tail = 5.0 / max(count, 1)
    return [_judged(condition, results, contenders[condition], draws, tail) for condition, results in there.items()]


def read(experiment: Experiment, out: Path, condition: str) -> ConditionResults | None:
    """What finished trials of a condition found, of the seeds that most agents have; None where there are none."""
    tuned, wanted = experiment.tuned(out), experiment.seeds(condition)
    found: dict[str, tuple[Done, set[int]]] = {}
    for label in experiment.labels(condition):
        trials = [experiment.trial(condition, label, seed, tuned) for seed in wanted]
        seeds = {trial.config.seed for trial in trials if finished(trial, out) is not None}
        if seeds:
            found[label] = done(sessions_path(out, trials[0])), seeds
    if not found:
        return None
    several = [seeds for _, seeds in found.values()]
    most = max(several, key=lambda one: (len(one), sum(one <= other for other in several)))
    whole, common = {label: entry for label, entry in found.items() if most <= entry[1]}, sorted(most)
    _refuse_different_users(
        condition, {one.about[str(seed)]["population"] for one, _ in whole.values() for seed in common}
    )
    labels = list(whole)
    means = [_by_user(whole[label][0].sessions, common) for label in labels]
    return ConditionResults(
        labels,
        [experiment.kind(label) for label in labels],
        np.stack([one[0] for one in means]),
        np.stack([one[1] for one in means]),
        np.stack([one[2] for one in means]),
        [[whole[label][0].about[str(seed)] for seed in common] for label in labels],
        [label for label in experiment.labels(condition) if label not in whole],
    )


def _refuse_different_users(condition: str, populations: set[str]) -> None:
    if len(populations) > 1:
        raise RunError(
            f"agents of the condition {condition!r} were evaluated on different users; do them again, all on the same "
            "data"
        )


def _by_user(sessions: pl.DataFrame, seeds: Sequence[int]) -> tuple[Floats, Floats, Floats]:
    """Cumulative reward, length and reward per step, replicates averaged, (U, S) each."""
    table = (
        sessions.cast(pl.Float64)
        .filter(pl.col("seed").is_in([float(seed) for seed in seeds]))
        .with_columns(R_sin=pl.col("R_cum") / pl.col("T_int"))
        .group_by("user", "seed")
        .agg(pl.col("R_cum", "T_int", "R_sin").mean())
        .sort("user", "seed")
    )
    shaped = [table[name].to_numpy().reshape(-1, len(seeds)) for name in ("R_cum", "T_int", "R_sin")]
    return shaped[0], shaped[1], shaped[2]


def _judged(
    condition: str, results: ConditionResults, contenders: list[_Contender], draws: int, tail: float
) -> Verdict:
    users, seeds = results.rewards.shape[1:]
    weights = bootstrap_weights(users, seeds, draws, np.random.default_rng(0))
    of = {
        "R_cum": [weighted_means(results.rewards, one) for one in weights],
        "T_int": [weighted_means(results.lengths, one) for one in weights],
        "R_sin": [weighted_means(results.shares, one) for one in weights],
    }
    if {FLOOR, CEILING} <= set(results.labels):
        ends = [results.labels.index(FLOOR)], [results.labels.index(CEILING)]
        of["normalised"] = [_between(drawn, *ends) for drawn in of["R_cum"]]
        of["iqm"] = [_between(_quartile_means(results.rewards, one), *ends) for one in weights]
    found = {name: intervals(drawn, users, seeds) for name, drawn in of.items()}
    scores = [
        Scores(
            label,
            results.kinds[place],
            {name: values[place] for name, values in found.items()},
            max(about["steps"] for about in results.about[place]),
            _mean_seconds(results.about[place]),
            max(str(about.get("mark", "")) for about in results.about[place]),  # "" < "too few steps" < "untrained"
            chosen_by_seed([str(about["chosen"]) for about in results.about[place] if "chosen" in about]),
        )
        for place, label in enumerate(results.labels)
    ]
    order = sorted(scores, key=lambda one: -one.reward)
    ratios, room = _ratios(contenders, draws, 100.0 - tail)
    below = _below(results, of["R_cum"])
    best = contenders[0].agent if contenders else ""
    kinds = sorted({str(about["processor"]) for abouts in results.about for about in abouts if "processor" in about})
    kinds = kinds if len(kinds) > 1 else []
    return Verdict(condition, seeds, users, order, best, ratios, room, 100 - tail, below, results.missing, kinds)


def _quartile_means(values: Floats, weights: Weights) -> Floats:
    """(B + 1, L) means of the middle half of users, each user's mean over seeds (Agarwal et al., NeurIPS 2021)."""
    found = np.empty((len(weights.users), len(values)))
    for draw, (of_users, of_seeds) in enumerate(zip(weights.users.astype(np.int64), weights.seeds, strict=True)):
        each = values @ (of_seeds / of_seeds.sum())
        found[draw] = trim_mean(np.repeat(each, of_users, axis=1), 0.25, axis=1)
    return found


def _between(drawn: Floats, floor: list[int], ceiling: list[int]) -> Floats:
    """Scores between the floor (0) and the ceiling (1), inside each draw."""
    return normalised(drawn, drawn[:, floor], drawn[:, ceiling])


def _mean_seconds(about: Sequence[dict[str, Any]]) -> float | None:
    known = [one["fitting"] for one in about if one["fitting"] is not None]
    return float(np.mean(known)) if known else None


def _below(results: ConditionResults, drawn: Sequence[Floats]) -> list[str]:
    if FLOOR not in results.labels:
        return []
    floor, (_, users, seeds) = results.labels.index(FLOOR), results.rewards.shape
    gaps = intervals([each - each[:, [floor]] for each in drawn], users, seeds)
    trained = [about[0]["steps"] > 0 for about in results.about]
    return [
        label for place, label in enumerate(results.labels) if trained[place] and number(gaps[place]["high"], 0.0) < 0
    ]


def _contenders(results: ConditionResults) -> list[_Contender]:
    """The best hierarchical agent, those it has to beat and the ceiling if it is there; none where one is missing."""
    picking, judged = results.rewards[:, ::2].mean(axis=1), results.rewards[:, 1::2]  # (L, S) and (L, U, S)
    seeds = range(picking.shape[1])

    def best(what: str, able: Sequence[int]) -> _Contender | None:
        if not able:
            return None
        others = [[other for other in seeds if other != seed] or [seed] for seed in seeds]
        picked = [max(able, key=lambda place: picking[place, some].mean()) for some in others]
        names = Counter(results.labels[place] for place in picked)
        rewards = np.stack([judged[place, :, seed] for seed, place in zip(seeds, picked, strict=True)], axis=1)
        return _Contender(what, " or ".join(name for name, _ in names.most_common()), rewards)

    def of(kind: str) -> list[int]:
        return [
            place for place, given in enumerate(results.kinds) if given == kind and results.labels[place] not in TO_BEAT
        ]

    def named(label: str) -> list[int]:
        return [place for place, other in enumerate(results.labels) if other == label]

    found = [best("", of("hierarchical")), best("best flat learner", of("flat learner"))]
    found += [best("best practitioner's agent", of("practitioner")), *(best(label, named(label)) for label in TO_BEAT)]
    there = [one for one in found if one is not None]
    ceiling = best(CEILING, named(CEILING))
    return [*there, *([ceiling] if ceiling else [])] if len(there) == len(found) else []


def _ratios(contenders: list[_Contender], draws: int, level: float) -> tuple[list[Ratio], Interval | None]:
    """The ratios of the best hierarchical agent to what it has to beat, and the room that the condition leaves."""
    if not contenders:
        return [], None
    values = np.stack([one.rewards for one in contenders])
    _, users, seeds = values.shape
    weights = bootstrap_weights(users, seeds, draws, np.random.default_rng(1))
    drawn = [_logs(weighted_means(values, one)) for one in weights]
    others = [place for place in range(1, len(contenders)) if contenders[place].what != CEILING]
    pairs = [(0, other) for other in others]
    pairs += [(place, 1) for place in range(1, len(contenders)) if place not in others]
    gaps = [np.stack([each[:, one] - each[:, other] for one, other in pairs], axis=1) for each in drawn]
    found = intervals(gaps, users, seeds, level=level, printed=np.exp)
    ratios = [
        Ratio(contenders[other].what, contenders[other].agent, found[place]) for place, other in enumerate(others)
    ]
    return ratios, found[-1] if len(found) > len(ratios) else None


def _logs(means: Floats) -> Floats:
    """Logarithms, nan of an agent without any reward."""
    return np.log(np.where(means > 0, means, np.nan))
