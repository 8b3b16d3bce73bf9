"""What an experiment shows: scores between the floor and the ceiling, and whether planning beats what it has to beat.

Rows are picked by one half of the evaluation users and held against each other on the other half, so that the best of
many looks no better than it is. The bootstrap takes users and, independently, seeds with replacement, as in
`lerl.compare`. Intervals of the verdict are corrected for their number (Bonferroni).
"""

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import trim_mean  # type: ignore[import-untyped, unused-ignore]

from lerl.compare import bootstrap_weights
from lerl.envs.files import write_whole
from lerl.experiment import KINDS, Experiment
from lerl.reading import RunError
from lerl.units import Done, done, finished, row_path

Floats = NDArray[np.float64]

TO_BEAT = ("random+ppo", "round_robin+greedy")
"""Rows that the best hierarchical one has to beat besides the best flat learner and the best practitioner's row."""
FLOOR, CEILING = "random", "privileged"
BEYOND = 20  # draws of the bootstrap, at least, beyond either end of an interval of the verdict
ROOM = 1.1  # privileged over the best flat learner, below which a setting cannot tell agents apart
METRICS = ("R_cum", "T_int", "R_sin", "normalised", "iqm")
HEADINGS = {name: name for name in METRICS} | {"iqm": "interquartile mean, normalised"}
DECIMALS = {"R_cum": 2, "T_int": 1, "R_sin": 3, "normalised": 2, "iqm": 2}


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
    """

    row: str
    kind: str
    metrics: dict[str, Estimate]
    steps: int
    fitting: float | None


@dataclass(frozen=True)
class Ratio:
    """R_cum of the best hierarchical row over that of another, paired, on users that neither was picked by."""

    against: str
    row: str
    ratio: Estimate


@dataclass(frozen=True)
class Verdict:
    """What a setting shows.

    Attributes:
        setting: its name. seeds, users: how many there are. scores: best first.
        best: the hierarchical row that is held against the others. ratios: to those it has to beat.
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
class _World:
    """Results under a setting: (L, U, S) R_cum, T_int and R_sin of L rows, U users and S seeds."""

    labels: list[str]
    kinds: list[str]
    rewards: Floats
    lengths: Floats
    shares: Floats
    about: list[list[dict[str, Any]]]
    missing: list[str]


def judge(experiment: Experiment, out: Path, draws: int = 2000) -> list[Verdict]:
    """The verdict on every setting of which there are results.

    Args:
        experiment: what was to be done. out: its folder. draws: of the bootstrap.
    """
    worlds = {setting: _read(experiment, out, setting) for setting in experiment.settings}
    there = {setting: world for setting, world in worlds.items() if world is not None}
    count = sum(len(_contenders(world)[1]) for world in there.values())
    return [_judged(setting, world, draws, 5.0 / max(count, 1)) for setting, world in there.items()]


def _read(experiment: Experiment, out: Path, setting: str) -> _World | None:
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
    return _World(
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


def _judged(setting: str, world: _World, draws: int, tail: float) -> Verdict:
    users, seeds = world.rewards.shape[1:]
    weights = bootstrap_weights(users, seeds, draws, np.random.default_rng(0))
    drawn = {
        name: _means(values, *weights)
        for name, values in (("R_cum", world.rewards), ("T_int", world.lengths), ("R_sin", world.shares))
    }
    if {FLOOR, CEILING} <= set(world.labels):
        ends = world.labels.index(FLOOR), world.labels.index(CEILING)
        drawn["normalised"] = _between(drawn["R_cum"], *ends)
        drawn["iqm"] = _between(_quartile_means(world.rewards, *weights), *ends)
    scores = [
        Scores(
            label,
            world.kinds[row],
            {name: _estimate(values[:, row], 5.0) for name, values in drawn.items()},
            max(about["steps"] for about in world.about[row]),
            _mean_seconds(world.about[row]),
        )
        for row, label in enumerate(world.labels)
    ]
    order = sorted(scores, key=lambda one: -one.metrics["R_cum"].mean)
    best, ratios, room = _held(world, draws, tail)
    return Verdict(
        setting, seeds, users, order, best, ratios, room, 100 - tail, _below(world, drawn["R_cum"]), world.missing
    )


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


def _estimate(drawn: Floats, tail: float) -> Estimate:
    if not np.isfinite(drawn).all():
        return Estimate(float(drawn[0]), float("nan"), float("nan"))
    low, high = np.percentile(drawn[1:], [tail / 2, 100 - tail / 2])
    return Estimate(*(float(f"{value:.10g}") for value in (drawn[0], low, high)))


def _mean_seconds(about: Sequence[dict[str, Any]]) -> float | None:
    known = [one["fitting"] for one in about if one["fitting"] is not None]
    return float(np.mean(known)) if known else None


def _below(world: _World, drawn: Floats) -> list[str]:
    if FLOOR not in world.labels:
        return []
    floor = drawn[:, world.labels.index(FLOOR)]
    return [
        label
        for row, label in enumerate(world.labels)
        if world.about[row][0]["steps"] and _estimate(drawn[:, row] - floor, 5.0).high < 0
    ]


def _held(world: _World, draws: int, tail: float) -> tuple[str, list[Ratio], Estimate | None]:
    """The best hierarchical row, its ratios to what it has to beat, and the room that the setting leaves."""
    own, others = _contenders(world)
    if own is None or not others:
        return "" if own is None else world.labels[own], [], None
    values = world.rewards[:, _halves(world)[1]]
    draws = max(draws, math.ceil(BEYOND * 200 / tail))
    drawn = _means(values, *bootstrap_weights(values.shape[1], values.shape[2], draws, np.random.default_rng(1)))
    ratios = [Ratio(name, world.labels[row], _estimate(_over(drawn, own, row), tail)) for name, row in others]
    room = None
    if CEILING in world.labels:
        room = _estimate(_over(drawn, world.labels.index(CEILING), others[0][1]), tail)
    return world.labels[own], ratios, room


def _contenders(world: _World) -> tuple[int | None, list[tuple[str, int]]]:
    """The best hierarchical row, and those it has to beat by what they are; none of them where one is missing."""
    level = world.rewards[:, _halves(world)[0]].mean(axis=(1, 2))

    def best(kind: str) -> int | None:
        able = [row for row, given in enumerate(world.kinds) if given == kind and world.labels[row] not in TO_BEAT]
        return max(able, key=lambda row: level[row]) if able else None

    own = best("hierarchical")
    others = [("best flat learner", best("flat learner")), ("best practitioner's row", best("practitioner"))]
    others += [(label, world.labels.index(label) if label in world.labels else None) for label in TO_BEAT]
    there = [(name, row) for name, row in others if row is not None]
    return own, there if own is not None and len(there) == len(others) else []


def _halves(world: _World) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The users by whom rows are picked, and those on whom they are judged."""
    users = np.arange(world.rewards.shape[1])
    return users[::2], users[1::2]


def _over(drawn: Floats, row: int, other: int) -> Floats:
    """One row's means over another's, nan where that has none."""
    return np.asarray(drawn[:, row] / np.where(drawn[:, other] > 0, drawn[:, other], np.nan))


# what is written


def write(verdicts: Sequence[Verdict], experiment: Experiment, out: Path) -> list[Path]:
    """Write report.md, report.tex, report.csv, report.json and the pictures into the experiment's folder."""
    texts = {
        "report.md": "\n".join(markdown(verdicts)) + "\n",
        "report.tex": "\n".join(latex(verdicts)) + "\n",
        "report.csv": _csv(verdicts),
        "report.json": json.dumps([asdict(verdict) for verdict in verdicts], indent=1) + "\n",
    }
    for name, text in texts.items():
        write_whole(out / name, text)
    return [*(out / name for name in texts), *_draw(verdicts, experiment, out)]


def markdown(verdicts: Sequence[Verdict]) -> list[str]:
    """All settings, a table of scores and the ratios of each."""
    lines = []
    for verdict in verdicts:
        lines += [f"## {verdict.setting}", "", f"{verdict.seen}. "]
        lines[-1] += f"{verdict.line.partition(': ')[2][:1].upper()}{verdict.line.partition(': ')[2][1:]}."
        if verdict.below:
            lines[-1] += f" Below random: {', '.join(verdict.below)}."
        if verdict.missing:
            lines[-1] += f" Not there yet: {', '.join(verdict.missing)}."
        names = [name for name in METRICS if name in verdict.scores[0].metrics]
        lines += ["", f"| row | kind | {' | '.join(HEADINGS[name] for name in names)} | steps | seconds |"]
        lines += [f"|---|---|{'---:|' * (len(names) + 2)}"]
        for one in verdict.scores:
            cells = [one.metrics[name].text(DECIMALS[name]) for name in names]
            lines.append(f"| {one.row} | {one.kind} | {' | '.join(cells)} | {one.steps:,} | {_seconds(one)} |")
        if verdict.ratios:
            lines += ["", f"| R_cum of {verdict.best} over | row | ratio, {verdict.level:.2f} % interval |"]
            lines += ["|---|---|---:|"]
            lines += [f"| {one.against} | {one.row} | {one.ratio.text(3)} |" for one in verdict.ratios]
        lines.append("")
    return lines


def _seconds(one: Scores) -> str:
    return "" if one.fitting is None else f"{one.fitting:,.0f}"


def latex(verdicts: Sequence[Verdict]) -> list[str]:
    """A table for each setting, for a document that uses booktabs."""
    lines = []
    for verdict in verdicts:
        names = [name for name in METRICS if name in verdict.scores[0].metrics]
        heads = [HEADINGS[name].split(",")[0].replace("_", r"\_") for name in names]
        lines += [r"\begin{table}", r"\centering", rf"\begin{{tabular}}{{ll{'r' * len(names)}}}", r"\toprule"]
        lines += [f"row & kind & {' & '.join(heads)} " + r"\\", r"\midrule"]
        for one in verdict.scores:
            cells = [one.metrics[name].text(DECIMALS[name]) for name in names]
            lines.append(f"{_escaped(one.row)} & {one.kind} & {' & '.join(cells)} " + r"\\")
        lines += [r"\bottomrule", r"\end{tabular}"]
        lines += [rf"\caption{{{_escaped(verdict.line)}. {verdict.seen}.}}"]
        lines += [r"\end{table}", ""]
    return lines


def _escaped(text: str) -> str:
    return "".join(rf"\{letter}" if letter in "_%&#$" else letter for letter in text)


def _csv(verdicts: Sequence[Verdict]) -> str:
    stream = io.StringIO()
    table = csv.writer(stream, lineterminator="\n")
    table.writerow(["setting", "row", "kind", "metric", "mean", "low", "high"])
    for verdict in verdicts:
        for one in verdict.scores:
            for name, value in one.metrics.items():
                table.writerow([verdict.setting, one.row, one.kind, name, value.mean, value.low, value.high])
        for ratio in verdict.ratios:
            value = ratio.ratio
            table.writerow([verdict.setting, verdict.best, ratio.row, "ratio", value.mean, value.low, value.high])
    return stream.getvalue()


COLOURS = {
    "floor": "#9a9a9a",
    "ceiling": "#000000",
    "flat learner": "#0072B2",
    "practitioner": "#009E73",
    "hierarchical": "#D55E00",
    "other": "#CC79A7",
}


def _draw(verdicts: Sequence[Verdict], experiment: Experiment, out: Path) -> list[Path]:
    """Normalised scores of every setting, and how they are spread over users in the first one."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    from lerl.plots import STYLE, save

    scored = [verdict for verdict in verdicts if "normalised" in verdict.scores[0].metrics]
    if not scored:
        return []
    paths = []
    with matplotlib.rc_context(STYLE):
        heights = [len(verdict.scores) for verdict in scored]
        figure = Figure(figsize=(5.2, 0.6 * len(scored) + 0.15 * sum(heights)), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(len(scored), 1, squeeze=False, height_ratios=heights)[:, 0]
        for axes, verdict in zip(panels, scored, strict=True):
            _forest(axes, verdict)
        panels[-1].set_xlabel("normalised score: random is 0, privileged 1")
        there = {one.kind for verdict in scored for one in verdict.scores}
        look: Any = {"marker": "o", "ms": 3, "lw": 1.2}
        marks = [Line2D([], [], color=COLOURS[kind], label=kind, **look) for kind in KINDS if kind in there]
        figure.legend(handles=marks, loc="outside lower center", ncols=3, frameon=False, fontsize=6.5)
        paths += save(figure, out / "scores")
        figure = Figure(figsize=(5.2, 3.2), layout="constrained")
        FigureCanvasAgg(figure)
        world = _read(experiment, out, scored[0].setting)
        if world is not None:
            _profiles(figure.subplots(), world, scored[0])
            paths += save(figure, out / "profiles")
    return paths


def _forest(axes: Any, verdict: Verdict) -> None:
    for place, one in enumerate(reversed(verdict.scores)):
        value = one.metrics["normalised"]
        axes.plot([value.low, value.high], [place, place], color=COLOURS[one.kind], lw=1.2)
        axes.plot(value.mean, place, "o", color=COLOURS[one.kind], ms=3)
    axes.set_yticks(range(len(verdict.scores)), [one.row for one in reversed(verdict.scores)], fontsize=6.5)
    axes.set_ylim(-0.6, len(verdict.scores) - 0.4)
    axes.axvline(0, color="#dcdcdc", lw=0.6, zorder=0)
    axes.axvline(1, color="#dcdcdc", lw=0.6, zorder=0)
    axes.set_title(f"{verdict.setting}: {verdict.seen}", loc="left")


def _profiles(axes: Any, world: _World, verdict: Verdict) -> None:
    """The share of users whose score is above each level, for the best row of each kind."""
    score = world.rewards.mean(axis=2)
    low, high = (score[world.labels.index(row)].mean() for row in (FLOOR, CEILING))
    levels = np.linspace(-0.5, 1.5, 201)
    for kind in KINDS:
        rows = [one.row for one in verdict.scores if one.kind == kind]
        if rows:
            scaled = (score[world.labels.index(rows[0])] - low) / (high - low)
            above = (scaled[None] > levels[:, None]).mean(axis=1)
            axes.plot(levels, above, color=COLOURS[kind], lw=1.3, label=f"{rows[0]} ({kind})")
    axes.set(xlabel="normalised score of a user, mean over seeds", ylabel="share of users above", ylim=(0, 1))
    axes.legend(frameon=False, fontsize=6.5)
    axes.set_title(verdict.setting, loc="left")
