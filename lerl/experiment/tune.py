"""Search for settings: each trial fits one agent and is scored on training users; evaluation users are never used.

The search is an Optuna study in a SQLite file, so that it continues where it was stopped, even after a kill.
"""

import dataclasses
import itertools
import math
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import polars as pl
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial
from rich.table import Table

from lerl.config.errors import SettingsError, brief
from lerl.config.keys import Key, known_keys, unknown_key
from lerl.config.parse import dump, load, overlay
from lerl.config.schema import AUTO, Config
from lerl.envs.checks import did_you_mean
from lerl.envs.draws import seed_from
from lerl.envs.files import write_whole
from lerl.envs.plugins import PluginError
from lerl.envs.topics import ClusterError
from lerl.files import RunError, read_table, reading
from lerl.report.intervals import estimate_text, interval_note, mean_interval
from lerl.report.metrics import session_totals
from lerl.report.tables import explained
from lerl.run.checks import check_agents
from lerl.run.evaluate import write_table
from lerl.run.fit_policy import DivergedError
from lerl.run.fitter import Fitter
from lerl.run.folder import holds_other
from lerl.run.locks import locked
from lerl.run.progress import Progress
from lerl.run.rollout import Episodes
from lerl.run.specs import PLANNED, SASREC, AgentSpec, parse_agent, parse_agents
from lerl.run.task import Task

Floats = NDArray[np.float64]
Space = dict[str, BaseDistribution]
Report = Callable[[str, int, int, dict[str, Any] | str | None], None]

SEARCHED = ("train", "planner")
UNSEARCHED = {
    "train.evaluations": "it changes what is shown of the training, not what is learned",
    "train.checkpoint": "it changes nothing that is learned",
    "train.validation": "it changes what is shown of the training, not what is learned",
}
RANKING = ("train.hidden", "train.learning_rate")
"""What sasrec reads of train."""

SEARCH = "search.yaml"
STUDY = "study.db"
AGAIN = "give the same command again"
UNLIMITED = ("tune.trials", "agents", "evaluation.bootstrap")  # may change while a search goes on
SESSIONS = {"user": pl.Int64, "replicate": pl.Int64, "T_int": pl.Float64, "R_cum": pl.Float64, "R_sin": pl.Float64}
NO_EFFECT = "No gain: all trials score the same for every user, so none of these settings had an effect on the agent."
SHOWN = 10  # trials in the table
SPACE_EXAMPLE = "such as train.gamma: {low: 0.8, high: 0.99} or planner.size: {choices: [4, 6, 8]}"


@dataclass(frozen=True)
class SearchTrial:
    """A trial that was brought to its end.

    Attributes:
        number: from 0, in the order of the search. values: what was tried, by dotted key.
        scores: (U,) mean metric of each user, the same users in every trial; empty when it could not be fitted.
        refused: why it could not be fitted, otherwise empty.
        own: whether these are the recipe's own settings.
    """

    number: int
    values: dict[str, Any]
    scores: Floats
    refused: str
    own: bool

    @property
    def mean(self) -> float:
        """What the search makes as large as possible."""
        return float(self.scores.mean()) if len(self.scores) else float("-inf")


def tune(config: Config, out: Path) -> list[SearchTrial]:
    """Search the space of `config.tune`, or go on with the search that is in the folder.

    Args:
        config: the recipe with its search space; where that holds fewer settings than trials, each is tried once.
        out: the folder: search.yaml (the configuration), study.db (Optuna), trials/NUMBER/ with what each trial fitted
            and sessions.parquet, and at the end best.yaml, a recipe with the best settings.

    Returns:
        All trials, best first.

    Raises:
        SettingsError: the space cannot be searched, or the folder holds another search.
        RunError: a file of the search is missing or damaged.
        ValueError: the configuration cannot be fitted, or none of the trials could.
    """
    spec = parse_agent(config.tune.agent, config.planner.name)
    space = search_space(config, spec)
    check_agents(Task.load(config), [spec])  # what does not fit is refused before anything is written
    _check_folder(config, out)
    out.mkdir(parents=True, exist_ok=True)
    with locked(out), Progress() as progress:
        _check_folder(config, out)  # another search may have begun there since
        write_whole(out / SEARCH, dump(config))
        with _opened(out) as study:
            for trial in _counted(study):
                check_found(trial.params, space, out / STUDY)
            grid = _grid(space, config.tune.trials)
            while (done := len(_counted(study))) < config.tune.trials:
                tried = [trial.params for trial in _counted(study)]
                left = [values for values in grid if values not in tried]
                if grid and not left:
                    break
                most = done + len(left) if grid else config.tune.trials
                _try_one(study, config, space, left, done, out, _numbered(progress.report, done, most))
            trials = _trials(study, config, out)
        if not len(trials[0].scores):
            raise ValueError(f"none of the {len(trials)} trials could be fitted; the first says: {trials[0].refused}")
        _write_best(trials, config, out)
    return trials


# the space


def search_space(config: Config, spec: AgentSpec) -> Space:
    """What Optuna searches, by dotted key.

    Raises:
        SettingsError: the message names the key, what is wrong with it and what is allowed.
    """
    if not config.tune.space:
        raise SettingsError(f"tune.space is empty; the recipe says there what to search, {SPACE_EXAMPLE}")
    if spec.baseline not in (None, SASREC, AUTO):
        raise SettingsError(f"tune.agent is {spec.label}, which has nothing to tune; give an agent such as planner+ppo")
    known = known_keys(config)
    return {str(name): _range(str(name), given, config, spec, known) for name, given in config.tune.space.items()}


def _range(name: str, given: Any, config: Config, spec: AgentSpec, known: Mapping[str, Key]) -> BaseDistribution:
    _check_searchable(name, config, spec, known)
    if not isinstance(given, Mapping) or not ({"low", "high"} <= set(given) or "choices" in given):
        raise SettingsError(f"tune.space: {name} must hold low and high, or choices, {SPACE_EXAMPLE}, given {given!r}")
    allowed = ("choices",) if "choices" in given else ("low", "high", "log")
    for key in given:
        if key not in allowed:
            hint = did_you_mean(str(key), allowed)
            raise SettingsError(f"tune.space: {name} knows {' and '.join(allowed)}, given {key!r}.{hint}")
    return _choices(name, given["choices"], config) if "choices" in given else _interval(name, given, config, known)


def _check_searchable(name: str, config: Config, spec: AgentSpec, known: Mapping[str, Key]) -> None:
    if name not in known:
        raise SettingsError(f"tune.space: {unknown_key(name, known)}")
    section = name.partition(".")[0]
    if section not in SEARCHED:
        raise SettingsError(f"tune.space: {name} cannot be searched, only how agents learn: keys of train and planner")
    if name in UNSEARCHED:
        raise SettingsError(f"tune.space: {name} cannot be searched, {UNSEARCHED[name]}")
    idle = section == "train" and spec.learner is None and not (spec.baseline == SASREC and name in RANKING)
    idle |= spec.planner is None and name in ("planner.name", *PLANNED)
    idle |= name == "planner.name" and not config.tune.agent.startswith("planner+")
    if idle and spec.baseline != AUTO:  # whose candidates may have all of it
        raise SettingsError(f"tune.space: {name} means nothing to the agent {config.tune.agent}; leave it out")


def _checked(name: str, value: Any, config: Config) -> Any:
    """One value of a key, as the configuration reads it."""
    try:
        return known_keys(overlay(config, {name: value}))[name].default
    except SettingsError as error:
        raise SettingsError(f"tune.space: {error}") from None


def _choices(name: str, given: Any, config: Config) -> BaseDistribution:
    if not isinstance(given, list) or not given:
        raise SettingsError(f"tune.space: {name}.choices must be a list such as [4, 6, 8], given {given!r}")
    choices = [_checked(name, value, config) for value in given]
    if len(set(choices)) < len(choices):
        raise SettingsError(f"tune.space: {name}.choices must differ from each other, given {given!r}")
    return CategoricalDistribution(choices)


def _interval(name: str, given: Mapping[str, Any], config: Config, known: Mapping[str, Key]) -> BaseDistribution:
    types, log = known[name].types, given.get("log", False)
    if not {int, float} & set(types) or len(types) > 1:
        raise SettingsError(f"tune.space: {name} is {known[name].allowed}; give choices instead of low and high")
    if not isinstance(log, bool):
        raise SettingsError(f"tune.space: {name}.log must be true or false, given {log!r}")
    low, high = (_checked(name, given[end], config) for end in ("low", "high"))
    if low > high:
        raise SettingsError(f"tune.space: {name}.low must be at most high, given {low:g} and {high:g}")
    if log and low <= 0:
        raise SettingsError(f"tune.space: {name}.low must be above 0 to search the logarithm, given {low:g}")
    return IntDistribution(low, high, log) if int in types else FloatDistribution(low, high, log)


def _grid(space: Space, most: int) -> list[dict[str, Any]]:
    """All settings in the space where there are no more than `most`, otherwise none."""
    values: dict[str, Sequence[Any]] = {}
    for name, range_ in space.items():
        if isinstance(range_, CategoricalDistribution):
            values[name] = range_.choices
        elif isinstance(range_, IntDistribution):
            values[name] = range(range_.low, range_.high + 1)
        else:
            return []
    if math.prod(map(len, values.values())) > most:
        return []
    return [dict(zip(values, chosen, strict=True)) for chosen in itertools.product(*values.values())]


# the folder


def _check_folder(config: Config, out: Path) -> None:
    """Refuse a folder that holds something else than this search; how many trials may have changed."""
    if (out / SEARCH).is_file():
        _refuse_other(config, load(out / SEARCH), out)
        return
    if holds_other(out):
        raise FileExistsError(f"{out} holds something other than a search; give another folder with --out")


def _refuse_other(mine: Config, theirs: Config, out: Path) -> None:
    if name := differing(mine, theirs):
        now, before = (known_keys(one)[name].default for one in (mine, theirs))
        raise SettingsError(
            f"{out} holds a search with other settings: {name} was {brief(str(before))} and is now "
            f"{brief(str(now))}; go on with the same, or give another folder with --out"
        )


def differing(mine: Config, theirs: Config) -> str:
    """The first setting in which two searches differ, trials and experiments aside; empty where they do not."""
    now, before = known_keys(mine), known_keys(theirs)
    free = UNLIMITED if mine.tune.agent != AUTO else tuple(name for name in UNLIMITED if name != "agents")
    decisive = (name for name in now if name not in free and not name.startswith("experiment."))
    return next((name for name in decisive if now[name].default != before[name].default), "")


@contextmanager
def _opened(out: Path) -> Iterator[optuna.Study]:
    """The study in the folder; a trial that was under way when a process ended has failed, and is tried again."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    path = (out / STUDY).resolve()  # opened as a path, since in a URL some of its letters would mean something
    with reading(out / STUDY, AGAIN), closing(sqlite3.connect(path)) as kept:
        (said,) = kept.execute("PRAGMA quick_check").fetchone()
        if said != "ok":
            raise sqlite3.DatabaseError(said)
    storage = optuna.storages.RDBStorage("sqlite:///study.db", {"creator": lambda: sqlite3.connect(path)})
    try:
        study = optuna.create_study(storage=storage, study_name="lerl", direction="maximize", load_if_exists=True)
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            study.tell(trial.number, state=TrialState.FAIL)
        yield study
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _counted(study: optuna.Study) -> list[FrozenTrial]:
    """Trials that were brought to their end, in order."""
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))


# a trial


def _try_one(
    study: optuna.Study,
    config: Config,
    space: Space,
    left: list[dict[str, Any]],
    number: int,
    out: Path,
    report: Report,
) -> None:
    """Fit and score one more choice of settings; the recipe's own comes first, then the first that is left of a grid.

    What is tried depends on the run's seed, the trial's number, what is left of a grid and the trials before only, so
    that a search that was interrupted tries what it would have tried.
    """
    own = _own(config, space) if number == 0 else None
    chosen = own or next(iter(left), None)
    study.sampler = optuna.samplers.TPESampler(seed=seed_from(config.seed, "tune", number) % 2**32)
    proposed = None if chosen else study.ask(space)
    values = chosen or (proposed.params if proposed else {})
    scores, refused = _score(config, values, _trial_folder(out, number), report)
    state, value = (TrialState.PRUNED, None) if refused else (TrialState.COMPLETE, float(scores.mean()))
    if proposed is not None:
        proposed.set_user_attr("refused", refused)
        study.tell(proposed, value, state=state)
    else:
        notes = {"refused": refused, "own": own is not None}
        study.add_trial(create_trial(state=state, value=value, params=values, distributions=space, user_attrs=notes))


def _own(config: Config, space: Space) -> dict[str, Any] | None:
    """The recipe's own settings, where the whole of them lies in the space."""
    known = known_keys(config)
    values = {name: known[name].default for name in space}
    inside = all(_contains(space[name], value) for name, value in values.items())
    return values if inside else None


def check_found(values: Mapping[str, Any], space: Space, path: Path) -> None:
    """Refuse settings that a search could not have found: its folder may be somebody else's.

    Raises:
        RunError: the file that names them says something else than the search space.
    """
    for name, value in values.items():
        if name not in space or not _contains(space[name], value):
            raise RunError(
                f"{path} says that {name} was found to be {brief(repr(value))}, which is not in tune.space; give "
                "another folder with --out"
            )


def _contains(range_: BaseDistribution, value: Any) -> bool:
    if isinstance(range_, CategoricalDistribution):
        return value in range_.choices
    number = isinstance(value, int | float)
    return number and isinstance(range_, IntDistribution | FloatDistribution) and range_.low <= value <= range_.high


def _numbered(report: Report, number: int, trials: int) -> Report:
    return lambda phase, done, total, point: report(f"trial {number + 1}/{trials} {phase}", done, total, point)


def _trial_folder(out: Path, number: int) -> Path:
    return out / "trials" / f"{number:03d}"


def _score(config: Config, values: Mapping[str, Any], folder: Path, report: Report) -> tuple[Floats, str]:
    """The mean metric of each user (U,), or why there is none: keys that do not fit together, diverged learning."""
    try:
        tried = overlay(config, values)
        reuse(folder, dump(tried))
        spec = parse_agent(tried.tune.agent, tried.planner.name)
        with closing(Fitter(Task.load(tried), folder, report, AGAIN)) as fitter:
            fitter.fit(spec)
            played = _play(fitter, spec, report)
            fitter.context.chat.count(int(played.lengths.sum()))
    except (SettingsError, ClusterError, PluginError, DivergedError) as error:
        return np.zeros(0), " ".join(str(error).split())
    sessions = _sessions(played)
    write_table(sessions, folder / "sessions.parquet")
    return _by_user(sessions, config.tune.metric), ""


def reuse(folder: Path, tried: str) -> None:
    """Keep what was fitted in a folder under the same settings, to go on from there; empty the folder otherwise.

    Args:
        folder: with config.yaml, or not there. tried: the settings, as YAML.
    """
    kept = folder / "config.yaml"
    if not kept.is_file() or kept.read_bytes() != tried.encode():
        shutil.rmtree(folder, ignore_errors=True)
        write_whole(kept, tried)


def _play(fitter: Fitter, spec: AgentSpec, report: Report) -> Episodes:
    """Sessions of training users, the same ones in every trial, which no trial trains on."""
    task, evaluator = fitter.context.task, fitter.context.evaluator
    how, seed, users = task.config.tune, task.seed("tune"), evaluator.users
    if how.users is not None and how.users < len(users):
        users = np.sort(np.random.default_rng(seed).choice(users, how.users, replace=False))
    total, done = len(users) * how.replicates, 0

    def count(ended: int) -> None:
        nonlocal done
        done += ended
        report("score", done, total, None)

    return evaluator.play(fitter.agent(spec), users, how.replicates, seed, count)


def _sessions(played: Episodes) -> pl.DataFrame:
    """One row per session."""
    totals = session_totals(played.rewards)
    columns = {"T_int": played.lengths.astype(np.float64), "R_cum": totals, "R_sin": totals / played.lengths}
    return pl.DataFrame({"user": played.users, "replicate": played.replicates, **columns})


def _by_user(sessions: pl.DataFrame, metric: str) -> Floats:
    means = sessions.group_by("user").agg(pl.col(metric).mean()).sort("user")
    return np.asarray(means[metric].to_numpy(), np.float64)


# the end


def _trials(study: optuna.Study, config: Config, out: Path) -> list[SearchTrial]:
    """All trials, best first, of equals the earlier."""
    trials = []
    for number, kept in enumerate(_counted(study)):
        refused, scores = str(kept.user_attrs["refused"]), np.zeros(0)
        if not refused:
            path, search_again = _trial_folder(out, number) / "sessions.parquet", f"remove {out / STUDY} and {AGAIN}"
            sessions = read_table(path, search_again, SESSIONS)
            scores = _by_user(sessions, config.tune.metric)
        trials.append(SearchTrial(number, dict(kept.params), scores, refused, bool(kept.user_attrs.get("own"))))
    return sorted(trials, key=lambda trial: -trial.mean)


def _write_best(trials: list[SearchTrial], config: Config, out: Path) -> None:
    """The recipe with the best settings; the tuned agent is among its agents."""
    best = trials[0]
    found = overlay(config, best.values)
    spec = parse_agent(found.tune.agent, found.planner.name)
    if spec.label not in [other.label for other in parse_agents(found)]:
        found = dataclasses.replace(found, agents=[found.tune.agent, *found.agents])
    tried = ", ".join(f"{name} {value}" for name, value in best.values.items())
    head = f"# The best of {len(trials)} trials by {config.tune.metric} of {spec.label} on training users: {tried}\n"
    head = f"# {NO_EFFECT}\n{head}" if without_effect(trials) else head
    write_whole(out / "best.yaml", head + dump(found))


def without_effect(trials: Sequence[SearchTrial]) -> bool:
    """Whether several trials were scored, and every user had the same sessions in each."""
    scored = [trial.scores for trial in trials if len(trial.scores)]
    return len(scored) > 1 and all(np.array_equal(scores, scored[0]) for scores in scored)


def table(trials: list[SearchTrial], config: Config) -> Table:
    """The best trials for a terminal, with 95 % intervals over users, paired where they are of a difference."""
    own = next((trial for trial in trials if trial.own and len(trial.scores)), None)
    names = list(config.tune.space)
    metric, draws = config.tune.metric, config.evaluation.bootstrap
    columns = ["trial", metric, *([f"{metric} - recipe's own"] if own else []), *names]
    whole = len(trials) < config.tune.trials
    made = Table(*columns, title=f"{config.tune.agent} on training users", caption=_caption(trials, metric, whole))
    for trial in [trial for trial in trials if len(trial.scores)][:SHOWN]:
        cells = [
            str(trial.number) + (" (own)" if trial.own else ""),
            estimate_text(mean_interval(trial.scores, draws), 2),
        ]
        if own is not None:
            cells.append("" if trial is own else estimate_text(mean_interval(trial.scores - own.scores, draws), 2, "+"))
        made.add_row(*cells, *(_shown(trial.values[str(name)]) for name in names))
    return made


def _caption(trials: list[SearchTrial], metric: str, whole: bool) -> str:
    refused = [trial for trial in trials if trial.refused]
    lines = [
        f"{explained([metric])}. {interval_note(1)}",
        "The best of many trials looks better than it is: evaluate it with lerl train.",
    ]
    if without_effect(trials):
        lines = [NO_EFFECT]
    if whole:
        lines.append(f"These {len(trials)} are all settings of the space.")
    if refused:
        lines.append(f"{len(refused)} trials could not be fitted; trial {refused[0].number}: {refused[0].refused}")
    return "\n".join(lines)


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
