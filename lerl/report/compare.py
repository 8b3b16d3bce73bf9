"""Put evaluated runs side by side: read them, summarise them with paired intervals, print them.

A run folder is one recipe with one seed. Runs that differ in nothing but the seed are read together, and every interval
is over both the evaluation users and the seeds.
"""

from __future__ import annotations

import itertools
import json
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from typing import IO, Any, NamedTuple, NotRequired, TypedDict

import numpy as np
import polars as pl
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from lerl.config.parse import SettingsError, brief, read_yaml
from lerl.config.schema import RETIRED, TrainConfig
from lerl.envs.files import refuse_links, write_whole
from lerl.envs.text import one_line
from lerl.files import AFRESH, RunError, read_about, read_table, reading, resume_command
from lerl.planners.llm.counts import fallbacks, in_order, percent
from lerl.report import metrics
from lerl.report.lessons import ROLLOUTS, UNTRAINED, mark, marked
from lerl.report.screen import Screen

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

EPISODE_METRICS = (
    "R_cum",
    "T_int",
    "R_sin",
    "satisfaction_final",
    "satisfaction_mean",
    "left_early",
    "cut_by_cap",
    "category_coverage",
    "category_entropy",
    "intra_list_distance",
    "slate_overlap",
    "empty_slots",
    "widened",
)
DIFFERENCE_METRICS = ("T_int", "R_cum", "R_sin", "satisfaction_mean")
MOST_DRAWS = 100_000
LEVEL = 95.0  # per cent of the bootstrap draws that an interval holds

_EVALUATED: dict[str, dict[str, Any]] = {
    "episodes": {"agent": pl.String, "user": pl.Int64, "replicate": pl.Int64}
    | dict.fromkeys(EPISODE_METRICS, pl.Float64),
    "items": {"agent": pl.String, "user": pl.Int64, "item": pl.Int64, "count": pl.Int64},
    "steps": {"agent": pl.String, "step": pl.Int64, "sessions": pl.Int64}
    | dict.fromkeys(("satisfaction", "satisfaction_sd", "reward"), pl.Float64),
    "exposure": {"agent": pl.String, "axis": pl.String, "name": pl.String, "step": pl.Int64, "share": pl.Float64},
}
_CURVES = {
    "agent": pl.String,
    "steps": pl.Int64,
    "T_int": pl.Float64,
    "R_cum": pl.Float64,
    "R_sin": pl.Float64,
    "sessions": pl.Int64,
}


class Interval(TypedDict):
    """A mean over users and seeds with its 95 % interval; None where it is not defined."""

    mean: float | None
    low: float | None
    high: float | None


class Difference(TypedDict):
    """Row a against row b: mean(a) - mean(b) and mean(a) / mean(b), each with its paired 95 % interval."""

    a: str
    b: str
    metric: str
    mean: float | None
    ratio: float | None
    low: float | None
    high: float | None
    ratio_low: float | None
    ratio_high: float | None


class Fallback(TypedDict):
    """Plans of a row's evaluation that were not its chat model's: their share, the rule that planned, and why, each
    cause with its number."""

    share: float
    rule: str
    causes: dict[str, int]


class Undertrained(TypedDict):
    """A row whose policy had too few steps to have learned anything.

    mark: "untrained" or "too few steps". steps: that its policy learned for, in the run where that is least. lessons:
    that its planner's lessons took there. enough: the fewest steps of a policy without a mark."""

    mark: str
    steps: int
    lessons: int
    enough: int


class Summary(TypedDict):
    """The content of summary.json: metrics per row, paired differences for every two rows, of rows for which a rule
    planned in a chat model's place, how often, rows that had too few steps to learn, and other notes."""

    agents: dict[str, dict[str, Interval]]
    differences: list[Difference]
    fallbacks: NotRequired[dict[str, Fallback]]
    untrained: NotRequired[dict[str, Undertrained]]
    notes: NotRequired[list[str]]


@dataclass(frozen=True)
class Results:
    """Evaluated runs of one recipe, read together. Every frame has a ``seed`` column besides its own.

    ``agents`` are the rows in the order of the configuration, ``seeds`` ascend, ``n_items`` is the size of the
    catalogue, ``fallbacks`` says of which rows a rule planned in a chat model's place, ``untrained`` which rows had too
    few steps to learn, ``notes`` what else to know.
    """

    agents: list[str]
    seeds: list[int]
    n_items: int
    config: dict[str, Any]
    episodes: pl.DataFrame
    items: pl.DataFrame
    steps: pl.DataFrame
    exposure: pl.DataFrame
    curves: pl.DataFrame
    fallbacks: dict[str, Fallback] = field(default_factory=dict)
    untrained: dict[str, Undertrained] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class _Run(NamedTuple):
    path: Path
    seed: int
    config: dict[str, Any]
    n_items: int
    frames: dict[str, pl.DataFrame]
    phases: dict[str, dict[str, float]]


class _Weights(NamedTuple):
    """How often each user and each seed is in each bootstrap draw; the first row is the sample itself."""

    users: Floats  # (B + 1, U)
    seeds: Floats  # (B + 1, S)


def load_runs(paths: Iterable[str | Path], allow_different: bool = False) -> Results:
    """Read evaluated run folders, one per seed, as one.

    Runs must have different seeds, the same settings otherwise and the same evaluation users. ``allow_different`` lets
    the settings differ; rows that some run lacks are then left out, with a warning.

    Raises :class:`RunError` for a path that is not a run folder, a run that was not evaluated yet, and runs that cannot
    be compared, naming what differs.
    """
    runs = sorted((_read(Path(path)) for path in paths), key=lambda run: run.seed)
    if not runs:
        raise RunError("no run folder given, need at least one, such as runs/quickstart-s0")
    _refuse_same_seed(runs)
    if not allow_different:
        _refuse_different_settings(runs)
    agents = _common_rows(runs, allow_different)
    _refuse_different_users(runs, agents)
    kept = {name: _stack(runs, name, agents) for name in (*_EVALUATED, "curves")}
    return Results(
        agents,
        [run.seed for run in runs],
        max(run.n_items for run in runs),
        runs[0].config,
        fallbacks=_fallbacks(runs, agents),
        untrained=_untrained(runs, agents),
        notes=_notes(runs, agents),
        **kept,
    )


def summarize(results: Results, bootstrap: int = 2000, seed: int = 0) -> Summary:
    """Means, paired differences and paired ratios of all rows, with 95 % bootstrap intervals.

    The bootstrap is two-way: each of the ``bootstrap`` draws takes users with replacement and, independently, seeds
    with replacement (Owen 2007, "The pigeonhole bootstrap", Annals of Applied Statistics 1). All rows share the draws,
    so that differences and ratios are paired. Replicates are averaged within user and seed first. Intervals run from
    the 2.5th to the 97.5th percentile of the draws. With one seed only users are drawn, and the interval says nothing
    about other seeds. With S seeds, when S is small, the seeds' part of it is rough, and too narrow on average: the
    bootstrap's standard error of a mean of S is sqrt((S - 1) / S) of what it should be.

    Booleans become shares. ``normalised`` is there when the rows ``random`` and ``privileged`` are, as a ratio of means
    inside each draw. What is not defined is None: ratios where mean(b) is not positive, and intervals of which a draw
    is not defined.

    Catalogue coverage and Gini are those of each seed's system over all evaluation users, averaged over seeds. A draw
    with replacement has fewer users, so that it shows fewer items, and percentiles of the draws would lie beside the
    estimate. Their intervals therefore resample, with the same draws, each user's influence: what leaving that user out
    changes. They are centred on the estimate, and their variance is the jackknife's, on average not below the true one
    (Efron and Stein 1981, "The jackknife estimate of variance", Annals of Statistics 9).

    The result is ready for JSON, rounded to 10 significant digits, and the same for the same input and ``seed`` in
    whatever order the runs were given.
    """
    if not 1 <= bootstrap <= MOST_DRAWS:
        raise RunError(f"bootstrap must be from 1 to {MOST_DRAWS:,} draws, given {bootstrap:,}")
    draws = _all_draws(results, bootstrap, seed)
    agents = {
        agent: {name: _interval(values[:, row]) for name, values in draws.items()}
        for row, agent in enumerate(results.agents)
    }
    pairs = itertools.combinations(enumerate(results.agents), 2)
    differences = [
        _difference(a, b, name, draws[name][:, i], draws[name][:, j])
        for (i, a), (j, b) in pairs
        for name in DIFFERENCE_METRICS
    ]
    made: Summary = {"agents": agents, "differences": differences}
    if results.fallbacks:
        made["fallbacks"] = results.fallbacks
    if results.untrained:
        made["untrained"] = results.untrained
    if results.notes:
        made["notes"] = results.notes
    return made


def compare(
    paths: Iterable[str | Path],
    out: Path | None = None,
    bootstrap: int = 2000,
    seed: int = 0,
    allow_different: bool = False,
    reference: str | None = None,
) -> Summary:
    """Read runs and summarise them; with ``out``, a folder, write summary.json and summary.md there.

    ``reference`` is as in :func:`markdown`. Errors are those of :func:`load_runs` and :func:`summarize`.
    """
    results = load_runs(paths, allow_different)
    if reference is not None:
        check_reference(reference, results.agents)
    summary = summarize(results, bootstrap, seed)
    if out is not None:
        text = json.dumps(summary, indent=1, ensure_ascii=False, allow_nan=False)
        tables = markdown(summary, reference)
        write_whole(out / "summary.json", text + "\n")
        write_whole(out / "summary.md", tables)
    return summary


class _Column(NamedTuple):
    heading: str
    metric: str
    decimals: int
    interval: bool = False
    folded: str = ""  # the heading on two lines, where the terminal's width counts


_COLUMNS = (
    _Column("R_cum", "R_cum", 2, interval=True),
    _Column("T_int", "T_int", 1),
    _Column("R_sin", "R_sin", 3),
    _Column("satisfaction", "satisfaction_mean", 2, folded="satis-\nfaction"),
    _Column("left early", "left_early", 2, folded="left\nearly"),
    _Column("cut by cap", "cut_by_cap", 2, folded="at\ncap"),
    _Column("categories", "category_coverage", 2, folded="cate-\ngories"),
    _Column("distance", "intra_list_distance", 2, folded="dis-\ntance"),
    _Column("Gini", "gini", 2),
    _Column("normalised", "normalised", 2, folded="norma-\nlised"),
)
_NOTES = {
    "category_coverage": "categories: share of the categories that a session shows",
    "intra_list_distance": "distance: 1 - cosine between the items of a slate",
    "gini": "Gini: of the exposure of all items",
    "normalised": "normalised: random is 0, privileged 1",
}


def table(summary: Summary) -> Table:
    """The comparison for a terminal, best R_cum first; :func:`show` prints it without cutting a column short."""
    headings = [column.folded or column.heading for column in _columns(summary)]
    notes = "\n".join([_caption(summary), *_footnotes(summary)])
    return rich_table("", "row", headings, _cells(summary), notes)


def difference_table(summary: Summary, reference: str, metric: str = "R_cum") -> Table:
    """How many times each other row's mean the reference row reaches, paired, with 95 % intervals, for a terminal.

    ``metric`` is one of :data:`DIFFERENCE_METRICS`. Raises :class:`RunError` if there is no row ``reference``.
    """
    cells = _ratio_cells(summary, reference, metric)
    return rich_table(f"{metric} of {reference} / {metric} of row", "row", ["ratio", "95 % interval"], cells, None)


def markdown(summary: Summary, reference: str | None = None) -> str:
    """The comparison as Markdown, best R_cum first; with ``reference`` also the table of :func:`difference_table`."""
    lines = _markdown_table("row", [column.heading for column in _columns(summary)], _cells(summary))
    lines += ["", _caption(summary)]
    lines += [line for note in _footnotes(summary) for line in ("", note)]
    if reference is not None:
        headings = [f"R_cum of {reference} / R_cum of row", "95 % interval"]
        lines += ["", *_markdown_table("row", headings, _ratio_cells(summary, reference, "R_cum"))]
    return "\n".join(lines) + "\n"


def console(file: IO[str] | None = None) -> Console:
    """A Console for :func:`table`: as wide as the terminal, or wide enough for all columns where there is none."""
    there = Screen(file)
    return there if there.is_terminal else Screen(file, width=200)


def show(made: Table, file: IO[str] | None = None) -> None:
    """Print a table whole: a terminal too narrow for it wraps its lines."""
    there = console(file)
    unlimited = there.options.update_width(10_000)
    there.width = max(there.width, there.measure(made, options=unlimited).minimum)
    there.print(made)


def ratios(summary: Summary, reference: str, metric: str = "R_cum") -> dict[str, Interval]:
    """Paired ratio mean(reference) / mean(row) to every other row, by row; None where it is not defined.

    Raises :class:`RunError` if there is no row ``reference``.
    """
    check_reference(reference, summary["agents"])
    found: dict[str, Interval] = {}
    for entry in summary["differences"]:
        if entry["metric"] == metric and entry["a"] == reference:
            found[entry["b"]] = {"mean": entry["ratio"], "low": entry["ratio_low"], "high": entry["ratio_high"]}
        elif entry["metric"] == metric and entry["b"] == reference:
            found[entry["a"]] = _inverse(entry)
    return found


def check_reference(reference: str, rows: Iterable[str]) -> None:
    """Refuse a reference that is no row; the error lists those there are."""
    rows = list(rows)
    if reference not in rows:
        raise RunError(f"no row {reference!r} in these runs, there are {', '.join(rows)}")


def by_reward(summary: Summary) -> list[str]:
    """The rows, highest mean R_cum first."""
    return sorted(summary["agents"], key=lambda row: -_number(summary["agents"][row]["R_cum"]["mean"], -np.inf))


def said_of(row: str, untrained: Mapping[str, Undertrained], name: str = "") -> str:
    """A row's name, or a shorter one, as it is printed: marked where its policy had too few steps to learn."""
    return marked(name or row, untrained[row]["mark"] if row in untrained else "")


def _read(path: Path) -> _Run:
    refuse_links(path)
    if not (path / "config.yaml").is_file():
        raise RunError(f"{path} is not a run folder: it has no config.yaml. Give the folder that `lerl train` wrote")
    config = _read_config(path / "config.yaml")
    seed, n_items = config.get("seed"), read_about(path).get("n_items")
    if not isinstance(seed, int) or not _whole(seed, 0, 2**32 - 1):
        raise RunError(f"{path / 'config.yaml'} has no whole number under `seed`, given {brief(repr(seed))}")
    if not isinstance(n_items, int) or not _whole(n_items, 1, 2**31 - 1):
        raise RunError(f"{path / 'run.json'} has no whole number under n_items, given {brief(repr(n_items))}")
    missing = [f"{name}.parquet" for name in _EVALUATED if not (path / f"{name}.parquet").is_file()]
    how = f"go on with: {resume_command(path)}"
    if missing:
        raise RunError(f"{path} was not evaluated yet, it lacks {', '.join(missing)}; {how}")
    frames = {name: read_table(path / f"{name}.parquet", how, columns) for name, columns in _EVALUATED.items()}
    curves = path / "curves.parquet"
    frames["curves"] = read_table(curves, how, _CURVES) if curves.is_file() else pl.DataFrame(schema=_CURVES)
    return _Run(path, seed, config, n_items, frames, _phases(path / "planners" / "traffic.json", how))


def _whole(value: int, least: int, most: int) -> bool:
    return not isinstance(value, bool) and least <= value <= most


def _phases(path: Path, how: str) -> dict[str, dict[str, float]]:
    """What a run's chat model was asked, by phase; nothing where there is none."""
    if not path.is_file():
        return {}
    with reading(path, how):
        phases = json.loads(path.read_text(encoding="utf-8"))["phases"]
        return {str(phase): {str(name): float(value) for name, value in phases[phase].items()} for phase in phases}


def _fallbacks(runs: Sequence[_Run], agents: Sequence[str]) -> dict[str, Fallback]:
    """Of the rows for which a rule planned in a chat model's place, how often, all runs together."""
    found: dict[str, Fallback] = {}
    rule = str((runs[0].config.get("planner") or {}).get("fallback", "the fallback"))
    for row in agents:
        total: Counter[str] = Counter()
        for run in runs:
            total.update(run.phases.get(f"evaluate {row}", {}))
        causes = fallbacks(total)
        if causes:
            share = _plain(sum(causes.values()) / max(total["requests"], 1))
            found[row] = {"share": share or 0.0, "rule": rule, "causes": causes}
    return found


def _untrained(runs: Sequence[_Run], agents: Sequence[str]) -> dict[str, Undertrained]:
    """The rows whose policy had too few steps to learn, in one run at least."""
    found: dict[str, Undertrained] = {}
    for row in agents:
        policy = row.partition("@")[0].removesuffix("+mmr")  # a row that is re-ranked shares the policy of the other
        for run in runs:
            steps = run.frames["curves"].filter(pl.col("agent") == policy)["steps"]
            if steps.is_empty():
                continue
            users, rollout = _rollout(run.config)
            first, last = int(steps.to_numpy().min()), int(steps.to_numpy().max())
            said, own = mark(last - first, users, rollout), last - first
            if said and (row not in found or own < found[row]["steps"]):
                found[row] = {"mark": said, "steps": own, "lessons": first, "enough": ROLLOUTS * users * rollout}
    return found


def _rollout(config: Mapping[str, Any]) -> tuple[int, int]:
    """A run's train.users and train.rollout."""
    train, usual = config.get("train") or {}, TrainConfig()
    return train.get("users", usual.users), train.get("rollout", usual.rollout)


def _notes(runs: Sequence[_Run], agents: Sequence[str]) -> list[str]:
    """What to know of all rows: that nothing was learned where train.steps is 0."""
    none = any((run.config.get("train") or {}).get("steps") == 0 for run in runs)
    planned = any("+" in row and not row.startswith(("flat+", "sasrec+")) for row in agents)
    return ["train.steps is 0: planners that learn had no lessons either"] if none and planned else []


def _read_config(path: Path) -> dict[str, Any]:
    with reading(path, AFRESH):
        try:
            config = read_yaml(path)
        except SettingsError as error:  # which says more than that it is damaged
            raise RunError(f"{path}: {error}") from error
        if not isinstance(config, dict) or not isinstance(config.get("agents"), list | None):
            raise TypeError("no configuration")
        if not all(isinstance(config.get(section), dict | None) for section in ("planner", "train")):
            raise TypeError("a section without keys")
        if not all(isinstance(count, int) for count in _rollout(config)):
            raise TypeError("no whole numbers")
        return config


def _refuse_same_seed(runs: Sequence[_Run]) -> None:
    for one, other in itertools.pairwise(runs):
        if one.seed == other.seed:
            raise RunError(
                f"{one.path} and {other.path} both have seed {one.seed}: they would count as one. Leave one out"
            )


def _refuse_different_settings(runs: Sequence[_Run]) -> None:
    first = runs[0]
    for run in runs[1:]:
        keys = _different_keys(first, run)
        if keys:
            raise RunError(
                f"{first.path} and {run.path} have different settings: {', '.join(keys)}. "
                "Compare runs that differ in the seed only, or allow it: allow_different=True, --allow-different"
            )


def _different_keys(one: _Run, other: _Run) -> list[str]:
    """Dotted keys of the settings in which two runs differ, with both values; seed and search spaces apart."""
    a, b = (
        dict(_flat({key: value for key, value in run.config.items() if key not in ("tune", "experiment")}))
        for run in (one, other)
    )
    aside = {"seed", *RETIRED}
    keys = [key for key in sorted(a.keys() | b.keys()) if key not in aside and a.get(key, ...) != b.get(key, ...)]
    differing = [f"{key} ({a.get(key, 'not set')} and {b.get(key, 'not set')})" for key in keys]
    if one.n_items != other.n_items:
        differing.append(f"number of items ({one.n_items} and {other.n_items})")
    return differing


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _common_rows(runs: Sequence[_Run], allow_different: bool) -> list[str]:
    """The rows that all runs have, in the order of the first run's configuration, then of its episodes."""
    rows = {run.path: run.frames["episodes"]["agent"].unique(maintain_order=True).to_list() for run in runs}
    first = rows[runs[0].path]
    configured = [row for row in runs[0].config.get("agents") or [] if row in first]
    order = list(dict.fromkeys([*configured, *first]))
    common = [row for row in order if all(row in names for names in rows.values())]
    lacking = sorted({row for names in rows.values() for row in names} - set(common))
    if lacking and not allow_different:
        raise RunError(f"not every run has the rows {', '.join(lacking)}. Evaluate all runs with the same agents")
    if not common:
        raise RunError("the runs have no row in common, there is nothing to compare")
    if lacking:
        warnings.warn(f"left out rows that not every run has: {', '.join(lacking)}", stacklevel=3)
    return common


def _refuse_different_users(runs: Sequence[_Run], agents: Sequence[str]) -> None:
    expected: set[int] | None = None
    for run in runs:
        for agent in agents:
            users = set(run.frames["episodes"].filter(pl.col("agent") == agent)["user"].to_list())
            expected = users if expected is None else expected
            if users != expected:
                some = ", ".join(map(str, sorted(users ^ expected)[:3]))
                raise RunError(
                    f"{run.path}: row {agent} was evaluated on other users than {agents[0]} in {runs[0].path} "
                    f"({len(users)} and {len(expected)} users; only one has {some}). "
                    f"Evaluate them on the same users: lerl evaluate {quote(str(run.path))}"
                )


def _stack(runs: Sequence[_Run], name: str, agents: Sequence[str]) -> pl.DataFrame:
    """One frame of all runs, with the runs' seeds, of the kept rows only."""
    frames = [run.frames[name].with_columns(pl.lit(run.seed, dtype=pl.Int64).alias("seed")) for run in runs]
    return pl.concat(frames, how="diagonal_relaxed").filter(pl.col("agent").is_in(list(agents)))


def _all_draws(results: Results, bootstrap: int, seed: int) -> dict[str, Floats]:
    """Every metric's value for every draw and row, (B + 1, A); the first is the estimate."""
    users = np.sort(results.episodes["user"].unique().to_numpy())
    weights = bootstrap_weights(len(users), len(results.seeds), bootstrap, np.random.default_rng(seed))
    draws = _mean_draws(_user_seed_means(results), weights)
    draws |= _exposure_draws(results, users, weights)
    if {"random", "privileged"} <= set(results.agents):
        floor, ceiling = (draws["R_cum"][:, [results.agents.index(row)]] for row in ("random", "privileged"))
        draws["normalised"] = metrics.normalised(draws["R_cum"], floor, ceiling)
    return draws


def bootstrap_weights(users: int, seeds: int, bootstrap: int, rng: np.random.Generator) -> _Weights:
    """How often each user and each seed is in each draw, (B + 1, U) and (B + 1, S); the first row is the sample."""
    drawn_users = rng.multinomial(users, np.full(users, 1.0 / users), size=bootstrap)
    drawn_seeds = rng.multinomial(seeds, np.full(seeds, 1.0 / seeds), size=bootstrap)
    with_sample = (np.vstack([np.ones(drawn.shape[1]), drawn]) for drawn in (drawn_users, drawn_seeds))
    return _Weights(*with_sample)


def _user_seed_means(results: Results) -> Floats:
    """Episode metrics averaged over replicates, (A, U, S, M); nan where a session has no value."""
    order = ["agent", "user", "seed"]
    means = (
        results.episodes.with_columns(pl.col("agent").cast(pl.Enum(results.agents)))
        .with_columns(pl.col(EPISODE_METRICS).cast(pl.Float64).fill_nan(None))
        .sort(*order, "replicate")
        .group_by(order, maintain_order=True)
        .agg(pl.col(EPISODE_METRICS).mean())
    )
    values = means.select(pl.col(EPISODE_METRICS).fill_null(float("nan"))).to_numpy()
    return values.reshape(len(results.agents), -1, len(results.seeds), len(EPISODE_METRICS))


def _mean_draws(values: Floats, weights: _Weights) -> dict[str, Floats]:
    """Weighted means of (A, U, S, M) values over users and seeds, by metric (B + 1, A); nan has no weight."""
    there = ~np.isnan(values)
    total = _weighted_sums(np.where(there, values, 0.0), weights)
    count = _weighted_sums(there.astype(np.float64), weights)
    means = np.where(count > 0, total / np.where(count > 0, count, 1.0), np.nan)  # (B + 1, A, M)
    return {name: means[:, :, i] for i, name in enumerate(EPISODE_METRICS)}


def _weighted_sums(values: Floats, weights: _Weights) -> Floats:
    """Sum over users and seeds of (A, U, S, M) values times their weights, (B + 1, A, M)."""
    rows, users, seeds, names = values.shape
    over_users = weights.users @ values.transpose(1, 0, 2, 3).reshape(users, -1)
    return np.asarray(np.einsum("bs,basm->bam", weights.seeds, over_users.reshape(-1, rows, seeds, names)))


def _exposure_draws(results: Results, users: Ints, weights: _Weights) -> dict[str, Floats]:
    """Catalogue coverage and Gini by draw and row, (B + 1, A) each; :func:`summarize` says how users are resampled."""
    shape = (2, len(results.agents), len(results.seeds))
    estimate, without = np.full(shape, np.nan), np.full((*shape, len(users)), np.nan)
    places = {(row, seed): (i, j) for i, row in enumerate(results.agents) for j, seed in enumerate(results.seeds)}
    for (row, seed), shown in results.items.filter(pl.col("count") > 0).group_by("agent", "seed"):
        i, j = places[row, seed]
        user = np.searchsorted(users, shown["user"].to_numpy())
        item, count = shown["item"].to_numpy(), shown["count"].to_numpy()
        exposures = np.bincount(item, weights=count, minlength=results.n_items)
        estimate[:, i, j] = metrics.catalogue_coverage(exposures), metrics.gini(exposures)
        without[0, i, j] = _coverage_without(user, item, results.n_items, len(users))
        without[1, i, j] = _gini_without(user, item, count, results.n_items, len(users))
    draws = _jackknife_draws(estimate, without, weights.users)  # (2, A, S, B + 1)
    coverage, gini = np.einsum("bs,masb->mba", weights.seeds / len(results.seeds), draws)
    return {"catalogue_coverage": coverage, "gini": gini}


def _jackknife_draws(estimate: Floats, without: Floats, weights: Floats) -> Floats:
    """Estimates (...,) by draw, (..., B + 1), from their values without each user (..., U), whose influence is drawn.

    A user without whom there is no value, since nobody else was shown anything, counts as having no influence.
    """
    users = without.shape[-1]
    known = np.where(np.isnan(without), estimate[..., None], without)
    influence = (users - 1) / users * (known.mean(axis=-1, keepdims=True) - known)
    drawn = influence.reshape(-1, users) @ weights.T
    return np.asarray(np.clip(estimate[..., None] + drawn.reshape(*estimate.shape, -1), 0.0, 1.0))


def _coverage_without(user: Ints, item: Ints, n_items: int, users: int) -> Floats:
    """Catalogue coverage when each user in turn is left out, (U,); user and item (n,) name the pairs with exposure."""
    users_of_item = np.bincount(item, minlength=n_items)
    alone = np.bincount(user[users_of_item[item] == 1], minlength=users)
    return np.asarray(((users_of_item > 0).sum() - alone) / n_items)


def _gini_without(user: Ints, item: Ints, count: Ints, n_items: int, users: int) -> Floats:
    """Gini when each user in turn is left out, (U,); user, item and count (n,) are the exposures.

    With C(t) the number of items shown at most t times, I items and X exposures, G = sum_t C(t) (I - C(t)) / (I X).
    Without a user C(t) grows by D(t), the number of items that only then are shown at most t times, so that the sum
    changes by sum_t D(t) (I - 2 C(t)) - D(t)^2, and no exposures need sorting again.
    """
    totals = np.bincount(item, weights=count, minlength=n_items).astype(np.int64)
    at_most = np.cumsum(np.bincount(totals))  # C(t) for t = 0 .. the most exposures of an item
    slope = np.concatenate([[0], np.cumsum(n_items - 2 * at_most)])
    linear = np.bincount(user, weights=slope[totals[item]] - slope[totals[item] - count], minlength=users)
    squares = _squared_overlaps(user, totals[item] - count, totals[item], users)
    left = totals.sum() - np.bincount(user, weights=count, minlength=users)
    change = (at_most * (n_items - at_most)).sum() + linear - squares
    return np.where(left > 0, change / (n_items * np.where(left > 0, left, 1.0)), np.nan)


def _squared_overlaps(user: Ints, starts: Ints, ends: Ints, users: int) -> Floats:
    """For each user sum_t D(t)^2, (U,), where D(t) is how many of the user's ranges [start, end) hold t."""
    span = int(ends.max()) + 1
    keys = np.concatenate([(user * span + starts) * 2 + 1, (user * span + ends) * 2])  # odd where a range starts
    places, opens = np.divmod(np.sort(keys), 2)  # sorting whole numbers is several times as fast as an indirect sort
    whose, at = np.divmod(places, span)
    depth = np.cumsum(2 * opens - 1)  # back at 0 at the end of each user's ranges
    return np.bincount(whose, weights=depth**2 * np.diff(at, append=0), minlength=users).astype(np.float64)


def _interval(draws: Floats) -> Interval:
    low, high = _percentiles(draws[1:])
    return {"mean": _plain(draws[0]), "low": low, "high": high}


def _difference(a: str, b: str, metric: str, of_a: Floats, of_b: Floats) -> Difference:
    difference = _interval(of_a - of_b)
    positive = of_b > 0
    ratio = _interval(np.where(positive, of_a / np.where(positive, of_b, 1.0), np.nan))
    return {
        "a": a,
        "b": b,
        "metric": metric,
        "mean": difference["mean"],
        "ratio": ratio["mean"],
        "low": difference["low"],
        "high": difference["high"],
        "ratio_low": ratio["low"],
        "ratio_high": ratio["high"],
    }


def _percentiles(draws: Floats) -> tuple[float | None, float | None]:
    tail = (100.0 - LEVEL) / 2.0
    low, high = np.percentile(draws, [tail, 100.0 - tail])
    return _plain(low), _plain(high)


def _plain(value: float) -> float | None:
    """A float that JSON can hold, to 10 significant digits: below what the order of a sum changes."""
    return float(f"{value:.10g}") if np.isfinite(value) else None


def _number(value: float | None, missing: float) -> float:
    return missing if value is None else value


def _inverse(entry: Difference) -> Interval:
    """The ratio the other way round; None where it changes sign or is not defined."""
    turned = [
        _plain(1.0 / value) if value is not None and value > 0 else None
        for value in (entry["ratio"], entry["ratio_high"], entry["ratio_low"])
    ]
    return {"mean": turned[0], "low": turned[1], "high": turned[2]}


def _caption(summary: Summary) -> str:
    notes = [_NOTES[column.metric] for column in _columns(summary) if column.metric in _NOTES]
    return "; ".join(["95 % intervals in brackets", *notes]) + "."


def _footnotes(summary: Summary) -> list[str]:
    """A line for each row that is not a chat model's alone, or had too few steps to learn, and other notes."""
    lines = [_shortage(row, short) for row, short in summary.get("untrained", {}).items()]
    lines += summary.get("notes", [])
    for row, found in summary.get("fallbacks", {}).items():
        causes = ", ".join(in_order(found["causes"]))
        lines.append(f"{row}: {percent(found['share'])} of its plans by {found['rule']} ({causes})")
    return lines


def _shortage(row: str, short: Undertrained) -> str:
    lessons = f", its planner's lessons took {short['lessons']:,}" if short["lessons"] else ""
    if short["mark"] == UNTRAINED:
        return f"{row}: untrained, its policy took no steps{lessons}"
    return f"{row}: too few steps, its policy took {short['steps']:,} of the {short['enough']:,} that it needs{lessons}"


def _columns(summary: Summary) -> list[_Column]:
    """The columns that some row has a value for."""
    rows = summary["agents"].values()
    return [column for column in _COLUMNS if any(_known(row.get(column.metric)) for row in rows)]


def _known(value: Interval | None) -> bool:
    return value is not None and value["mean"] is not None


def _cells(summary: Summary) -> list[list[str]]:
    columns = _columns(summary)
    return [
        [
            said_of(row, summary.get("untrained", {})),
            *(_cell(summary["agents"][row].get(column.metric), column) for column in columns),
        ]
        for row in by_reward(summary)
    ]


def _cell(value: Interval | None, column: _Column) -> str:
    if value is None or value["mean"] is None:
        return "n/a"
    text = f"{value['mean']:.{column.decimals}f}"
    return f"{text} {bracket(value, column.decimals)}" if column.interval else text


def bracket(value: Interval, decimals: int) -> str:
    """An interval as tables print it."""
    if value["low"] is None or value["high"] is None:
        return "[n/a]"
    return f"[{value['low']:.{decimals}f}, {value['high']:.{decimals}f}]"


def _ratio_cells(summary: Summary, reference: str, metric: str) -> list[list[str]]:
    if metric not in DIFFERENCE_METRICS:
        raise RunError(f"no ratios of {metric!r}, there are {', '.join(DIFFERENCE_METRICS)}")
    found = ratios(summary, reference, metric)
    order = sorted(found, key=lambda row: _number(found[row]["mean"], np.inf))
    short = summary.get("untrained", {})
    return [[said_of(row, short), _cell(found[row], _Column("", metric, 3)), bracket(found[row], 3)] for row in order]


def rich_table(title: str, first: str, headings: Sequence[str], cells: list[list[str]], caption: str | None) -> Table:
    """A table for :func:`show`: names in the first column, numbers right of it."""
    made = Table(
        title=title or None, caption=caption, caption_justify="left", box=None, pad_edge=False, collapse_padding=True
    )
    made.add_column(first, no_wrap=True)
    for place, heading in enumerate(headings):
        wide = any(" " in row[place + 1] for row in cells)  # an interval may go on below; a number is never broken
        made.add_column(heading, justify="right", no_wrap=not wide, overflow="fold")
    for row in cells:
        made.add_row(*(one_line(cell).replace("[", r"\[") for cell in row))
    return made


def _markdown_table(first: str, headings: Sequence[str], cells: list[list[str]]) -> list[str]:
    head = [f"| {first} | {' | '.join(headings)} |", f"|---|{'---:|' * len(headings)}"]
    return head + [f"| {' | '.join(one_line(cell).replace('|', '&#124;') for cell in row)} |" for row in cells]
