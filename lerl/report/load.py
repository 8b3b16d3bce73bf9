"""Reads the tables of runs, and checks that runs which are compared differ only in their seeds."""

from __future__ import annotations

import itertools
import json
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from typing import Any, NamedTuple, TypedDict

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lerl.agents.config import TrainConfig
from lerl.config.errors import SettingsError, brief
from lerl.config.old_keys import EARLIER, RETIRED
from lerl.config.schema import AUTO
from lerl.config.yaml_file import read_yaml
from lerl.envs.files import refuse_links
from lerl.files import AFRESH, RunError, read_about, read_table, reading, resume_command, seed_runs
from lerl.planners.llm.traffic import fallbacks
from lerl.report.intervals import plain
from lerl.report.lessons import ROLLOUTS, mark

Floats = NDArray[np.float64]


Ints = NDArray[np.int64]


NOT_SET = "not set"
"""What stands for the value of a setting that a configuration does not have."""


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


LIFE_METRICS = (
    *("active_days", "sessions", "retention_1", "retention_7", "retention_30", "mean_gap", "R_life", "churned"),
    "lifetime",
)
"""Of a life; see `lerl.report.lives`."""


SESSION_METRICS = ("T_int", "R_cum", "satisfaction_final", "intra_list_distance", "category_entropy")
"""Of one session of a life."""


_EVALUATED: dict[str, dict[str, Any]] = {
    "episodes": {"agent": pl.String, "user": pl.Int64, "replicate": pl.Int64}
    | dict.fromkeys(EPISODE_METRICS, pl.Float64),
    "items": {"agent": pl.String, "user": pl.Int64, "item": pl.Int64, "count": pl.Int64},
    "steps": {"agent": pl.String, "step": pl.Int64, "sessions": pl.Int64}
    | dict.fromkeys(("satisfaction", "satisfaction_sd", "reward"), pl.Float64),
    "exposure": {"agent": pl.String, "axis": pl.String, "name": pl.String, "step": pl.Int64, "share": pl.Float64},
}


_LIVED: dict[str, dict[str, Any]] = {
    "lives": {"agent": pl.String, "user": pl.Int64, "replicate": pl.Int64} | dict.fromkeys(LIFE_METRICS, pl.Float64),
    "life_sessions": {"agent": pl.String, "user": pl.Int64, "replicate": pl.Int64, "session": pl.Int64}
    | dict.fromkeys(("day", "gap", *SESSION_METRICS), pl.Float64),
}
"""Tables of runs with lives."""


_COUNTED = {
    "episodes": ("user", "replicate", "R_cum", "T_int", "R_sin", "satisfaction_mean"),
    "items": ("user", "item", "count"),
    "steps": ("step", "sessions"),
    "lives": ("user", "replicate", "active_days", "sessions", "R_life", "churned", "lifetime"),
    "life_sessions": ("user", "replicate", "session", "day", "gap", "T_int", "R_cum"),
}
"""Columns of tables in which every number has to be there."""


_CURVES = {
    "agent": pl.String,
    "steps": pl.Int64,
    "T_int": pl.Float64,
    "R_cum": pl.Float64,
    "R_sin": pl.Float64,
    "sessions": pl.Int64,
}


class Fallback(TypedDict):
    """Plans of an agent's evaluation that were not its chat model's: their share, the rule that planned, and why, each
    cause with its number."""

    share: float
    rule: str
    causes: dict[str, int]


class Undertrained(TypedDict):
    """An agent whose policy had too few steps to have learned anything.

    mark: "untrained" or "too few steps". steps: that its policy learned for, in the run where that is least. lessons:
    that its planner's lessons took there. enough: the fewest steps of a policy without a mark."""

    mark: str
    steps: int
    lessons: int
    enough: int


@dataclass(frozen=True)
class Results:
    """Evaluated runs of one recipe, read together. Every frame has a ``seed`` column besides its own.

    ``agents`` are in the order of the configuration, ``seeds`` ascend, ``n_items`` is the size of the catalog,
    ``paths`` are the runs' folders, one a seed, where there are any; ``fallbacks`` says for which agents a rule planned
    in a chat model's place, ``untrained`` which agents had too few steps to learn, ``notes`` what else to know. Where
    people come back, ``lives`` has a row for each life, ``life_sessions`` one for each session of a life, and ``days``
    is how many days were looked at.
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
    paths: list[Path] = field(default_factory=list)
    lives: pl.DataFrame | None = None
    life_sessions: pl.DataFrame | None = None
    days: float = 0.0


class _Run(NamedTuple):
    path: Path
    seed: int
    config: dict[str, Any]
    n_items: int
    frames: dict[str, pl.DataFrame]
    phases: dict[str, dict[str, float]]
    choice: dict[str, Any]


def load_runs(paths: Iterable[str | Path], allow_different: bool = False) -> Results:
    """Read evaluated run folders, one per seed, as one; a folder of seeds stands for its runs.

    Runs must have different seeds, the same settings otherwise and the same evaluation users. ``allow_different`` lets
    the settings differ; agents that some run lacks, and lives of different days, are then left out, with a warning.

    Raises :class:`RunError` for a path that is not a run folder, a run that was not evaluated yet, and runs that cannot
    be compared, naming what differs.
    """
    folders = [run for path in map(Path, paths) for run in seed_runs(path) or [path]]
    runs = sorted(map(_read, folders), key=lambda run: run.seed)
    if not runs:
        raise RunError("no run folder given, need at least one, such as runs/quickstart-s0")
    _refuse_same_seed(runs)
    if not allow_different:
        _refuse_different_settings(runs)
    agents = _common_agents(runs, allow_different)
    _refuse_different_users(runs, agents)
    lived = _common_days(runs)
    names = (*_EVALUATED, "curves", *(_LIVED if lived else ()))
    kept = {name: _stack(runs, name, agents) for name in names}
    return Results(
        agents,
        [run.seed for run in runs],
        max(run.n_items for run in runs),
        runs[0].config,
        fallbacks=_fallbacks(runs, agents),
        untrained=_untrained(runs, agents),
        notes=_notes(runs, agents),
        paths=[run.path for run in runs],
        days=lived,
        **kept,
    )


def check_reference(reference: str, agents: Iterable[str]) -> None:
    """Refuse a reference that is no agent; the error lists those there are."""
    agents = list(agents)
    if reference not in agents:
        raise RunError(f"no agent {reference!r} in these runs, there are {', '.join(agents)}")


def seed_of(path: Path) -> int:
    """The seed of a run folder.

    Raises:
        RunError: it is no run folder.
    """
    return int(_configured(path)["seed"])


def _configured(path: Path) -> dict[str, Any]:
    """What a run's config.yaml holds, its seed at least."""
    refuse_links(path)
    if not (path / "config.yaml").is_file():
        raise RunError(f"{path} is not a run folder: it has no config.yaml. Give the folder that `lerl train` wrote")
    config = _read_config(path / "config.yaml")
    seed = config.get("seed")
    if not isinstance(seed, int) or not _whole(seed, 0, 2**32 - 1):
        raise RunError(f"{path / 'config.yaml'} has no whole number under `seed`, given {brief(repr(seed))}")
    return config


def _read(path: Path) -> _Run:
    config, n_items = _configured(path), read_about(path).get("n_items")
    if not isinstance(n_items, int) or not _whole(n_items, 1, 2**31 - 1):
        raise RunError(f"{path / 'run.json'} has no whole number under n_items, given {brief(repr(n_items))}")
    wanted = _EVALUATED | (_LIVED if _days(config) else {})
    missing = [f"{name}.parquet" for name in wanted if not (path / f"{name}.parquet").is_file()]
    how = f"go on with: {resume_command(path)}"
    if missing:
        raise RunError(f"{path} was not evaluated yet, it lacks {', '.join(missing)}; {how}")
    frames = {name: read_table(path / f"{name}.parquet", how, columns) for name, columns in wanted.items()}
    for name, columns in ((name, _COUNTED[name]) for name in wanted if name in _COUNTED):
        with reading(path / f"{name}.parquet", how):
            _check_numbers(frames[name], columns)
    curves = path / "curves.parquet"
    frames["curves"] = read_table(curves, how, _CURVES) if curves.is_file() else pl.DataFrame(schema=_CURVES)
    phases = _phases(path / "planners" / "traffic.json", how)
    return _Run(path, config["seed"], config, n_items, frames, phases, _choice(path / "rows" / f"{AUTO}.json", how))


def _days(config: Mapping[str, Any]) -> float:
    """How many days a run's people were looked at, 0 where they do not come back."""
    env = config.get("env") or {}
    return float(env.get("days", 30.0)) if env.get("horizon") == "days" else 0.0


def _common_days(runs: Sequence[_Run]) -> float:
    """How many days the people of all runs were looked at; 0, with a warning, where runs differ in that."""
    days = {_days(run.config) for run in runs}
    if len(days) == 1:
        return days.pop()
    warnings.warn("left out lives: runs differ in env.horizon or env.days", stacklevel=3)
    return 0.0


def _check_numbers(table: pl.DataFrame, columns: Sequence[str]) -> None:
    """Refuse a table that lacks an agent, or a number in one of these columns: a mean would be of others only."""
    numbers = table.select(pl.col(name).cast(pl.Float64).fill_null(float("nan")) for name in columns)
    if table["agent"].null_count() or not np.isfinite(numbers.to_numpy()).all():
        raise ValueError("a number is missing")


def _whole(value: int, least: int, most: int) -> bool:
    return not isinstance(value, bool) and least <= value <= most


def _phases(path: Path, how: str) -> dict[str, dict[str, float]]:
    """A run's queries of its chat model, counted by phase; nothing where there is none."""
    if not path.is_file():
        return {}
    with reading(path, how):
        phases = json.loads(path.read_text(encoding="utf-8"))["phases"]
        return {str(phase): {str(name): float(value) for name, value in phases[phase].items()} for phase in phases}


def _choice(path: Path, how: str) -> dict[str, Any]:
    """What a run's `auto` chose, and from how much; nothing where there is none."""
    if not path.is_file():
        return {}
    with reading(path, how):
        kept = json.loads(path.read_text(encoding="utf-8"))
        sessions = [int(count) for count in kept["sessions"]]
        return {"chosen": str(kept["chosen"]), "steps": int(kept["steps"]), "sessions": sessions[-1] if sessions else 0}


def chosen_by_seed(names: Sequence[str]) -> str:
    """What `auto` chose, one name for each seed, in words; empty where there is none."""
    counts = Counter(names).most_common()
    if len(counts) < 2:
        return "".join(name for name, _ in counts)
    return ", ".join(f"{name} ({count} of {len(names)} seeds)" for name, count in counts)


def _fallbacks(runs: Sequence[_Run], agents: Sequence[str]) -> dict[str, Fallback]:
    """Of the agents for which a rule planned in a chat model's place, how often, all runs together."""
    found: dict[str, Fallback] = {}
    rule = str((runs[0].config.get("planner") or {}).get("fallback", "the fallback"))
    for agent in agents:
        total: Counter[str] = Counter()
        for run in runs:
            total.update(run.phases.get(f"evaluate {agent}", {}))
        causes = fallbacks(total)
        if causes:
            share = plain(sum(causes.values()) / max(total["requests"], 1))
            found[agent] = {"share": share or 0.0, "rule": rule, "causes": causes}
    return found


def _untrained(runs: Sequence[_Run], agents: Sequence[str]) -> dict[str, Undertrained]:
    """The agents whose policy had too few steps to learn, in one run at least."""
    from lerl.agents.belief.agent import NAME as BELIEF  # compiled code, which no table needs

    found: dict[str, Undertrained] = {}
    for agent in agents:
        policy = agent.removesuffix("@det").removesuffix("+mmr")  # one that is re-ranked shares the policy of the other
        if policy == BELIEF:  # which needs no so many steps
            continue
        for run in runs:
            steps = run.frames["curves"].filter(pl.col("agent") == policy)["steps"]
            if steps.is_empty():
                continue
            users, rollout = _rollout(run.config)
            first, last = int(steps.to_numpy().min()), int(steps.to_numpy().max())
            said, own = mark(last - first, users, rollout), last - first
            if said and (agent not in found or own < found[agent]["steps"]):
                found[agent] = {"mark": said, "steps": own, "lessons": first, "enough": ROLLOUTS * users * rollout}
    return found


def _rollout(config: Mapping[str, Any]) -> tuple[int, int]:
    """A run's train.users and train.rollout."""
    train, usual = config.get("train") or {}, TrainConfig()
    return train.get("users", usual.users), train.get("rollout", usual.rollout)


def _notes(runs: Sequence[_Run], agents: Sequence[str]) -> list[str]:
    """What else to know: what `auto` chose, and that nothing was learned where train.steps is 0."""
    choices = [run.choice for run in runs if run.choice and AUTO in agents]
    notes = []
    if choices:
        least, steps = min(one["sessions"] for one in choices), max(one["steps"] for one in choices)
        how = f"by {least:,} sessions of training users each, {steps:,} user-steps in all" if least else "as the first"
        notes = [f"{AUTO} is {chosen_by_seed([one['chosen'] for one in choices])}, chosen {how}"]
    none = any((run.config.get("train") or {}).get("steps") == 0 for run in runs)
    if none and any(map(_planned, agents)):
        notes.append("train.steps is 0: planners that learn had no training sessions either")
    return notes


def _planned(agent: str) -> bool:
    from lerl.agents.next_item.registry import IN_SESSIONS  # PyTorch, which few tables need

    return "+" in agent and agent.partition("+")[0] not in ("flat", *IN_SESSIONS)


def _read_config(path: Path) -> dict[str, Any]:
    with reading(path, AFRESH):
        try:
            config = read_yaml(path)
        except SettingsError as error:  # which says more than that it is damaged
            raise RunError(f"{path}: {error}") from error
        if not isinstance(config, dict) or not isinstance(config.get("agents"), list | None):
            raise TypeError("no configuration")
        sections = [config.get(section) for section in ("planner", "train", "data", "env", "evaluation")]
        sections.append((sections[3] or {}).get("leave") if isinstance(sections[3], dict) else None)
        if not all(isinstance(section, dict | None) for section in sections):
            raise TypeError("a section without keys")
        if not all(isinstance(count, int) for count in _rollout(config)):
            raise TypeError("no whole numbers")
        return config


def _refuse_same_seed(runs: Sequence[_Run]) -> None:
    for one, other in itertools.pairwise(runs):
        if one.seed == other.seed:
            raise RunError(
                f"{one.path} and {other.path} both have seed {one.seed}: they would count as one. Leave one out, or "
                "compare them as two groups: lerl compare A=FOLDER B=FOLDER"
            )


def _refuse_different_settings(runs: Sequence[_Run]) -> None:
    first = runs[0]
    for run in runs[1:]:
        keys = _different_keys(first, run)
        if keys:
            raise RunError(
                f"{first.path} and {run.path} have different settings: {', '.join(keys)}. "
                "Compare runs that differ in the seed only, or groups of the same seeds (lerl compare A=RUN B=RUN), or "
                "allow it: allow_different=True, --allow-different"
            )


def _different_keys(one: _Run, other: _Run) -> list[str]:
    """Dotted keys of the settings in which two runs differ, with both values; seed and search spaces apart."""
    found = different_settings([one.config, other.config])
    differing = [f"{key} ({a} and {b})" for key, (a, b) in found.items()]
    if one.n_items != other.n_items:
        differing.append(f"number of items ({one.n_items} and {other.n_items})")
    return differing


def different_settings(configs: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Dotted keys in which configurations differ, each with its value in all of them; seed and search spaces apart.

    What a run keeps of its sessions changes no number, and is apart too.
    """
    known = [
        EARLIER | dict(flat({key: value for key, value in config.items() if key not in ("tune", "experiment")}))
        for config in configs
    ]
    keys = sorted({key for one in known for key in one} - {"seed", "evaluation.keep_sessions", *RETIRED})
    values = {key: [one.get(key, NOT_SET) for one in known] for key in keys}
    return {key: found for key, found in values.items() if any(value != found[0] for value in found)}


def flat(config: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """Dotted keys of a configuration, each with its value; an empty section is a value."""
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _common_agents(runs: Sequence[_Run], allow_different: bool) -> list[str]:
    """The agents that all runs have, in the order of the first run's configuration, then of its episodes."""
    names = {run.path: run.frames["episodes"]["agent"].unique(maintain_order=True).to_list() for run in runs}
    first = names[runs[0].path]
    configured = [agent for agent in runs[0].config.get("agents") or [] if agent in first]
    order = list(dict.fromkeys([*configured, *first]))
    common = [agent for agent in order if all(agent in own for own in names.values())]
    lacking = sorted({agent for own in names.values() for agent in own} - set(common))
    if lacking and not allow_different:
        raise RunError(f"not every run has the agents {', '.join(lacking)}. Evaluate all runs with the same agents")
    if not common:
        raise RunError("the runs have no agent in common, there is nothing to compare")
    if lacking:
        warnings.warn(f"left out agents that not every run has: {', '.join(lacking)}", stacklevel=3)
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
                    f"{run.path}: agent {agent} was evaluated on other users than {agents[0]} in {runs[0].path} "
                    f"({len(users)} and {len(expected)} users; only one has {some}). "
                    f"Evaluate them on the same users: lerl evaluate {quote(str(run.path))}"
                )


def _stack(runs: Sequence[_Run], name: str, agents: Sequence[str]) -> pl.DataFrame:
    """One frame of all runs, with the runs' seeds, of the kept agents only."""
    frames = [run.frames[name].with_columns(pl.lit(run.seed, dtype=pl.Int64).alias("seed")) for run in runs]
    return pl.concat(frames, how="diagonal_relaxed").filter(pl.col("agent").is_in(list(agents)))
