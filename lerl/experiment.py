"""`lerl experiment`: every row of a recipe under every one of its settings, several seeds each, and what that shows.

A unit of work is one row under one setting with one seed. It is fitted in a folder of its own, as `lerl train` would
fit it, and judged on evaluation users; what stays is a line for each session, in rows/SETTING/ROW.parquet, with what
the numbers were made from. Units that are there are not done again, so that an experiment of many hours goes on where
it was stopped, on another machine if need be.
"""

import dataclasses
import hashlib
import json
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager, redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from rich.table import Table

import lerl
from lerl import settings, train
from lerl.config import Config, ExperimentConfig, TuneConfig
from lerl.envs.draws import seed_from
from lerl.envs.files import write_whole
from lerl.evaluate import episodes, judged
from lerl.fit import Fitter, check_rows
from lerl.planners.distilled import distil, recorded, save
from lerl.planners.llm import MODELS
from lerl.planners.prompt import Prompts
from lerl.planners.traffic import Traffic
from lerl.reading import reading
from lerl.rollout import Stage
from lerl.rows import SASREC, Row, Task, parse_row
from lerl.runs import holds_other, locked
from lerl.settings import SettingsError
from lerl.tune import RANKING, SEARCH, differing, reuse, search_space, tune
from lerl.workers import busy, ended, workers

ROWS, WORK, TUNED = "rows", "work", "tuned"
KEPT = ("seed", "user", "replicate", "T_int", "R_cum")
ABOUT = "lerl"  # of a file's own words
ASIDE = (*train.ASIDE, "data.path", "planner.base_url", "train.checkpoint")
"""Settings that decide no number."""
AXIS = ("planner.axis", "planner.clusters")
"""What of a planner's settings decides the numbers of a row without one: its encoder sees that axis."""
RULED = (*AXIS, "planner.size", "planner.replan_every", "planner.replan_below", "planner.sessions")
"""The same for a planner behind which there is no chat model."""
KINDS = ("floor", "flat learner", "practitioner", "hierarchical", "ceiling", "other")
OF_BASELINES = {"random": "floor", "popularity": "floor", "privileged": "ceiling", SASREC: "practitioner"}
WORDS = ("row", "kind", "tuned", "distils", "when")
OWN = ("train.", "planner.")
"""What rows of a setting may differ in: they are judged on the same sessions."""
COMMON = ("seed", "agents", "tune.", "experiment.")
"""What is the same under all settings."""
NAME = re.compile(r"[\w+@,-][\w+@., -]*")
AGAIN = "give the same command again with --resume"
Say = Callable[[str], object]


@dataclass(frozen=True)
class Unit:
    """One row under one setting with one seed.

    Attributes:
        setting, label: what tables call the setting and the row. config: everything that decides the numbers; its
            `agents` is the one row. fitted: that under which the row's policy and planner are fitted, the same but for
            a setting that judges agents of another again. teacher: whose plans its network learns, where it does.
    """

    setting: str
    label: str
    config: Config
    fitted: Config
    teacher: "Unit | None" = None

    @property
    def row(self) -> Row:
        """What it fits and judges."""
        return parse_row(self.fitted.agents[0], self.fitted.planner.name)

    @property
    def digest(self) -> str:
        """Of all settings that decide the row's numbers and are not lerl's defaults, so that a new key changes none."""
        usual = settings.known_keys()
        decisive: list[Any] = [
            {
                name: key.default
                for name, key in settings.known_keys(one).items()
                if key.default != usual[name].default and self._decides(name)
            }
            for one in (self.config, self.fitted)
        ]
        decisive += [self.teacher.digest] if self.teacher else []
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:16]

    def _decides(self, name: str) -> bool:
        """Whether a setting decides the row's numbers."""
        planner = self.row.planner
        if name.startswith(ASIDE):
            return False
        if not name.startswith("planner.") or planner in MODELS:
            return True
        return name in (AXIS if planner is None else RULED)


@dataclass(frozen=True)
class Done:
    """What is kept of a row under a setting: sessions (`KEPT`), and by seed what they were made from."""

    sessions: pl.DataFrame
    about: dict[str, dict[str, Any]]


# what there is to do


@dataclass(frozen=True)
class Experiment:
    """An experiment, read from a recipe.

    Attributes:
        base: the recipe. settings: by name, what differs from it. rows: by name, what differs from it.
        few: the rows of all settings but the first.
    """

    base: Config
    settings: dict[str, dict[str, Any]]
    rows: dict[str, dict[str, Any]]
    few: list[str]
    _made: dict[tuple[str, str, str], tuple[Config, Config]] = dataclasses.field(default_factory=dict, repr=False)

    @staticmethod
    def read(config: Config, quick: bool = False) -> "Experiment":
        """The experiment of a recipe.

        Raises:
            SettingsError: the recipe holds none, or a part of it cannot be used; the message names it.
        """
        chosen = config.experiment
        if not chosen.rows or not chosen.settings:
            raise SettingsError(
                "the recipe holds no experiment: it names rows under experiment.rows and settings under "
                "experiment.settings; see whole_session, the one that comes with lerl"
            )
        worlds, rows = _named(chosen.settings, "settings"), _named(chosen.rows, "rows")
        _check_words(worlds, rows)
        known = settings.known_keys(config)
        rows = {name: row for name, row in rows.items() if "when" not in row or known[row["when"]].default}
        if quick:
            over = dict(chosen.quick)
            worlds, names = dict([next(iter(worlds.items()))]), over.pop("rows", list(rows)[:2])
            if not isinstance(names, list):
                raise SettingsError(f"experiment.quick: rows must be a list such as {list(rows)[:2]}, given {names!r}")
            rows = {name: rows[name] for name in _known(names, rows, "experiment.quick: rows")}
            config = settings.overlay(config, over)
        few = [row for row in _known(chosen.few, chosen.rows, "experiment.few") if row in rows]
        made = Experiment(config, worlds, rows, few)
        for setting in worlds:
            for label in made.labels(setting):
                made.unit(setting, label, config.seed, {})
        able = dataclasses.replace(made, rows=_named(chosen.rows, "rows")).searched()
        for label, values in rows.items():
            if values.get("tuned") and config.tune.space and values["tuned"] not in able:
                raise SettingsError(
                    f"experiment.rows: {label}: tuned names {values['tuned']!r}, which is not searched for itself; "
                    f"there are {', '.join(able)}"
                )
        for label in made.searched():
            search_space(made.search(label)[0], made.row(label))
        return made

    def labels(self, setting: str) -> list[str]:
        """The rows of a setting."""
        return list(self.rows) if setting == next(iter(self.settings)) else self.few

    @property
    def seeds(self) -> list[int]:
        """The seeds of all rows."""
        return [self.base.seed + number for number in range(self.base.experiment.seeds)]

    def row(self, label: str) -> Row:
        """What a label stands for."""
        return parse_row(str(self.rows[label].get("row", label)), self.base.planner.name)

    def kind(self, label: str) -> str:
        """What the verdict takes a row for, see `lerl.verdict`."""
        given, row = self.rows[label].get("kind"), self.row(label)
        if given is not None:
            return str(given)
        if row.baseline is not None:
            return OF_BASELINES.get(row.baseline, "other")
        if row.planner is not None:
            return "hierarchical"
        return "flat learner" if row.learner and not row.diverse else "practitioner"

    def searched(self) -> list[str]:
        """The rows whose settings are searched first: those that learn, unless `tuned` names another."""
        own = [label for label, values in self.rows.items() if not values.get("tuned")]
        return [label for label in own if self._space(label)]

    def _space(self, label: str) -> dict[str, Any]:
        """What of `tune.space` means something to a row."""
        row, space = self.row(label), self.base.tune.space
        if row.baseline == SASREC:
            return {name: given for name, given in space.items() if name in RANKING}
        return space if row.learner else {}

    def search(self, label: str) -> tuple[Config, str]:
        """The search for a row's settings, and a digest of what decides it."""
        unit = self.unit(next(iter(self.settings)), label, self.base.seed, {})
        how = dataclasses.replace(self.base.tune, row=unit.config.agents[0], space=self._space(label))
        digest = hashlib.sha256(f"{unit.digest} {how}".encode()).hexdigest()[:16]
        return dataclasses.replace(unit.config, tune=how), digest

    def tuned(self, out: Path, population: str | None = None) -> dict[str, dict[str, Any]]:
        """What finished searches found, by label; (where given) those on these users alone."""
        kept = read_tuned(out)
        return {
            label: kept[label]["values"]
            for label in self.searched()
            if label in kept
            and kept[label]["digest"] == self.search(label)[1]
            and population in (None, kept[label].get("population", population))
        }

    def tuned_by(self, label: str) -> str:
        """The row whose search, where there is one, found a row's settings."""
        return str(self.rows[label].get("tuned") or label)

    def unit(self, setting: str, label: str, seed: int, tuned: Mapping[str, Mapping[str, Any]]) -> Unit:
        """A unit of work, with the settings that were found for the row."""
        found = dict(tuned.get(self.tuned_by(label), {}))
        key = setting, label, json.dumps(found, sort_keys=True)
        if key not in self._made:
            self._made[key] = self._configured(setting, label, found)
        config, fitted = (dataclasses.replace(one, seed=seed) for one in self._made[key])
        teacher = self.rows[label].get("distils")
        return Unit(setting, label, config, fitted, self.unit(setting, teacher, seed, tuned) if teacher else None)

    def _configured(self, setting: str, label: str, found: Mapping[str, Any]) -> tuple[Config, Config]:
        """What a row is judged and what it is fitted under, seeds apart."""
        own = {name: value for name, value in self.rows[label].items() if name not in WORDS}
        world = dict(self.settings[setting])
        first = world.pop("again", None)
        there = world if first is None else dict(self.settings[str(first)])
        row = str(self.rows[label].get("row", label))
        fitted = _alone(self.base, {**there, **found, **own}, row)
        return (fitted if first is None else _alone(self.base, {**there, **world, **found, **own}, row)), fitted


def _named(given: Mapping[str, Any], section: str) -> dict[str, dict[str, Any]]:
    """The rows or settings of a recipe by name."""
    found = {}
    for name, values in given.items():
        if not NAME.fullmatch(str(name)):
            raise SettingsError(
                f"experiment.{section}: {str(name)!r} cannot be the name of a file; use letters, digits, spaces and "
                "+ - . , @, no dot or space in front, and say by row: what a row of another name is"
            )
        if not isinstance(values, Mapping | None):
            raise SettingsError(
                f"experiment.{section}: {name} must hold settings by dotted key, or {{}}, given {values!r}"
            )
        found[str(name)] = dict(values or {})
    return found


def _check_words(worlds: Mapping[str, Mapping[str, Any]], rows: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse what rows and settings cannot hold."""
    known = settings.known_keys()
    for name, values in rows.items():
        if values.get("kind", "other") not in KINDS:
            raise SettingsError(
                f"experiment.rows: {name}: kind must be one of {', '.join(KINDS)}, given {values['kind']!r}"
            )
        for word in ("tuned", "distils"):
            if values.get(word) is not None:
                _known([values[word]], rows, f"experiment.rows: {name}: {word}")
        if "when" in values:
            _known([values["when"]], known, f"experiment.rows: {name}: when")
        for key in values.keys() & known.keys():
            if not key.startswith(OWN):
                raise SettingsError(
                    f"experiment.rows: {name}: {key} cannot differ between rows, which are judged on the same "
                    "sessions; only keys of train and planner can; write it under experiment.settings"
                )
    for name, values in worlds.items():
        if (own := values.get("again")) is not None:
            _known([own], worlds, f"experiment.settings: {name}: again")
            if worlds[str(own)].get("again") is not None:
                raise SettingsError(
                    f"experiment.settings: {name}: again names {own!r}, whose agents are another setting's; "
                    "name that one"
                )
        for key in values:
            if str(key).startswith(COMMON):
                raise SettingsError(
                    f"experiment.settings: {name}: {key} is the same under all settings; write it at the top of "
                    "the recipe"
                )


def _known(names: Any, allowed: Mapping[str, Any], where: str) -> list[str]:
    for name in names:
        if name not in allowed:
            hint = settings.did_you_mean(str(name), list(allowed))
            raise SettingsError(f"{where} names {name!r}, which is not there.{hint} There are {', '.join(allowed)}")
    return list(names)


def _alone(base: Config, values: Mapping[str, Any], row: str) -> Config:
    """The recipe with other values, for one row."""
    config = settings.overlay(base, values)
    return dataclasses.replace(config, agents=[row], tune=TuneConfig(), experiment=ExperimentConfig())


# what is done already


def done(path: Path) -> Done:
    """What a row's file holds; nothing where there is none."""
    if not path.is_file():
        return Done(pl.DataFrame(schema=dict.fromkeys(KEPT, pl.Float64)), {})
    with reading(path, AGAIN):
        about = json.loads(pl.read_parquet_metadata(path)[ABOUT])
        for one in about.values():
            _ = [one[name] for name in ("digest", "population", "steps", "fitting", "judging")]
        return Done(pl.read_parquet(path, glob=False).select(KEPT), about)


def row_path(out: Path, unit: Unit) -> Path:
    """The file of a unit's row."""
    return out / ROWS / unit.setting / f"{unit.label}.parquet"


def finished(unit: Unit, out: Path, population: str | None = None) -> dict[str, Any] | None:
    """How a unit was done, None where it was not, or otherwise, or (where given) on other users."""
    about = done(row_path(out, unit)).about.get(str(unit.config.seed))
    if about is None or about["digest"] != unit.digest or population not in (None, about["population"]):
        return None
    asked = _prompts(unit)
    return about if about.get("prompts", asked) == asked else None


def _prompts(unit: Unit) -> str:
    """The digest of what a chat model is asked by; empty for a row without one."""
    return Prompts(unit.fitted.planner.prompts).digest if unit.row.planner in MODELS else ""


def _users(task: Task) -> str:
    """The digest of a task's users, of how they tire and drift too where that was fitted to their log."""
    digest, env = task.population.digest(), task.config.env
    if task.config.data.users != "fitted":
        return digest
    fitted = digest, env.boredom, env.fatigue, env.mood, env.drift
    return hashlib.sha256(repr(fitted).encode()).hexdigest()[:32]


def populations(experiment: Experiment) -> dict[str, str]:
    """The digest of each setting's users."""
    seed = experiment.base.seed
    firsts = {name: experiment.unit(name, experiment.labels(name)[0], seed, {}) for name in experiment.settings}
    return {name: _users(Task.load(unit.config)) for name, unit in firsts.items()}


def keep(unit: Unit, sessions: pl.DataFrame, about: dict[str, Any], out: Path) -> None:
    """Write a unit's sessions beside those of its row's other seeds."""
    path, seed = row_path(out, unit), unit.config.seed
    before = done(path)
    kinds = {"seed": pl.Int16, "user": pl.Int32, "replicate": pl.Int16, "T_int": pl.Int16}
    table = pl.concat([before.sessions.filter(pl.col("seed") != seed).cast(pl.Float64), sessions.cast(pl.Float64)])
    table = table.sort("seed", "user", "replicate").cast({name: kinds.get(name, pl.Float32) for name in KEPT})
    words = dict(sorted({**before.about, str(seed): about}.items()))
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as aside:
        table.write_parquet(Path(aside) / "row", compression="zstd", metadata={ABOUT: json.dumps(words)})
        write_whole(path, (Path(aside) / "row").read_bytes())


# doing it


def work(unit: Unit, folder: Path, taught: Path | None = None) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Fit and judge a unit.

    Args:
        unit: what. folder: where its policy, its planner and its checkpoint are kept; `log.txt` says how far it is.
        taught: the same of its teacher.

    Returns:
        Sessions, and what they were made from: digest, population, version, steps, seconds of processor time.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (
        _one_at_a_time(folder / ".lock"),
        (folder / "log.txt").open("w", encoding="utf-8") as log,
        redirect_stderr(log),
    ):
        config, fitted, row = unit.config, unit.fitted, unit.row
        if unit.teacher is not None and taught is not None:
            network = {"planner.distilled": str(_distil(unit.teacher, taught, folder))}
            config, fitted = settings.overlay(config, network), settings.overlay(fitted, network)
        task, fit = Task.load(fitted), folder / "fit"
        _keep_for(f"{_users(task)} {_prompts(unit)} {unit.teacher.digest if unit.teacher else ''}", fit)
        reuse(fit, settings.dump(fitted))
        fresh, begun = not any(fit.glob("checkpoints/*")), time.process_time()

        def report(phase: str, at: int, total: int, point: Any) -> None:
            print(f"{phase} {at:,}/{total:,} {point or ''}", file=log, flush=True)

        with closing(Fitter(task, fit, report)) as fitter:
            anew = fitter.lacks(row)
            fitter.fit(row)
            fitting = time.process_time() - begun if fresh and anew else None
        if config != fitted:
            task = Task.load(config)
        with closing(Fitter(task, fit, report)) as fitter:
            stage = Stage(task.population, task.config.env, task.axis, "evaluation", task.config.evaluation.batch_size)
            begun, users = time.process_time(), judged(stage.users, task.config)
            how = task.config.evaluation
            played = stage.play(fitter.agent(row), users, how.replicates, task.seed("evaluation"))
            sessions = episodes(unit.label, played, task).select(KEPT)
            judging = time.process_time() - begun
            curve = fitter.curves([row])
    steps = max((point["steps"] for point in curve), default=0)
    return sessions, {
        "digest": unit.digest,
        "population": _users(task),
        "prompts": _prompts(unit),
        "lerl": lerl.__version__,
        "steps": steps,
        "fitting": None if fitting is None else round(fitting, 2),
        "judging": round(judging, 2),
    }


def _distil(teacher: Unit, taught: Path, folder: Path) -> Path:
    """A network that plans as the teacher's chat model did in its lessons, in the folder."""
    work(teacher, taught)  # fits nothing that is there
    with closing(Traffic(taught / "fit" / "planners" / "traffic.sqlite", read_only=True)) as traffic:
        weights, _ = distil(*recorded(traffic), seed_from(teacher.config.seed, "distil"))
    save(weights, folder / "distilled.npz")
    return folder / "distilled.npz"


def _keep_for(users: str, folder: Path) -> None:
    """Remove what was fitted in a folder for other users, or with other questions to a chat model."""
    marker = folder.with_name("users")
    if marker.is_file() and marker.read_text(encoding="utf-8") != users:
        shutil.rmtree(folder, ignore_errors=True)
    write_whole(marker, users)


def _worker(unit: Unit, folder: Path, taught: Path | None, out: Path) -> dict[str, Any]:
    with busy():
        sessions, about = work(unit, folder, taught)
    with _one_at_a_time(out / ".rows"):
        keep(unit, sessions, about, out)
    means = sessions.select(pl.col("T_int", "R_cum").mean()).row(0, named=True)
    return {**about, **means}


@contextmanager
def _one_at_a_time(path: Path) -> Iterator[None]:
    """Wait until no other process of this experiment holds the lock, and keep the others out."""
    from filelock import FileLock

    with FileLock(path):
        yield


def _search(config: Config, folder: Path, users: str) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    search = folder / "search"
    with busy(), (folder / "log.txt").open("a", encoding="utf-8") as log, redirect_stderr(log):
        _keep_for(users, search)
        if (search / SEARCH).is_file() and differing(config, settings.load(search / SEARCH)):
            shutil.rmtree(search)
        begun = time.process_time()
        best = tune(config, search)[0]
    return {"values": best.values, "score": best.mean, "seconds": round(time.process_time() - begun, 1)}


def run(config: Config, out: Path, *, quick: bool, resume: bool, say: Say) -> tuple[Experiment, str]:
    """Do what is left to do of an experiment.

    Args:
        config: the recipe. out: its folder. quick: whether only `experiment.quick` is done.
        resume: whether to go on with what the folder holds. say: called with a line for each unit that is done.

    Returns:
        The experiment, and a line about units that failed, empty where none did; the others are done.

    Raises:
        FileExistsError: the folder holds rows, and `resume` was not asked for, or something else.
        SettingsError: the recipe cannot be used.
        MissingDataError: the data of a setting are not there.
        RunError: another process is at work in the folder, a search failed, or a process was killed.
    """
    experiment = Experiment.read(config, quick)
    done_before = any((out / ROWS).rglob("*.parquet"))
    if done_before and not resume:
        raise FileExistsError(f"{out} holds rows of an experiment; go on with them by --resume, or give another --out")
    if not done_before and holds_other(out, ROWS, WORK, f"{TUNED}.json", ".rows"):
        raise FileExistsError(f"{out} holds something else than an experiment; give another folder with --out")
    _check(experiment)
    users = populations(experiment)
    out.mkdir(parents=True, exist_ok=True)
    with locked(out), workers(experiment.base.experiment.jobs, AGAIN) as pool:
        return experiment, _Work(experiment, users, out, pool, say).do()


def _check(experiment: Experiment) -> None:
    """Refuse rows that the first setting is not for, before anything is written."""
    first, alike = next(iter(experiment.settings)), dict[str, list[str]]()
    for label in experiment.labels(first):
        if experiment.rows[label].get("distils"):
            continue
        own = {name: value for name, value in experiment.rows[label].items() if name not in WORDS}
        alike.setdefault(json.dumps(own, sort_keys=True), []).append(label)
    for labels in alike.values():
        task = Task.load(experiment.unit(first, labels[0], experiment.base.seed, {}).config)
        check_rows(task, list(dict.fromkeys(experiment.row(label) for label in labels)))


def read_tuned(out: Path) -> dict[str, dict[str, Any]]:
    """What searches found, by label."""
    path = out / f"{TUNED}.json"
    if not path.is_file():
        return {}
    with reading(path, AGAIN):
        found = dict(json.loads(path.read_text(encoding="utf-8")))
        for one in found.values():
            _ = one["digest"], dict(one["values"])
        return found


class _Work:
    """What is left to do of an experiment: units at once where they need no search, the others after theirs."""

    def __init__(
        self, experiment: Experiment, users: Mapping[str, str], out: Path, pool: ProcessPoolExecutor, say: Say
    ) -> None:
        self.experiment, self.users, self.out, self.pool, self.say = experiment, users, out, pool, say
        self.tuned = experiment.tuned(out, self._searched_on)
        self.failed: list[str] = []
        self.number = self.left = 0
        self.begun = time.monotonic()

    @property
    def _searched_on(self) -> str:
        return self.users[next(iter(self.experiment.settings))]

    def do(self) -> str:
        """Do it; a line about what failed, empty where nothing did."""
        experiment = self.experiment
        searches = [label for label in experiment.searched() if label not in self.tuned]
        units = [
            experiment.unit(setting, label, seed, self.tuned)
            for setting in experiment.settings
            for seed in experiment.seeds
            for label in experiment.labels(setting)
        ]
        waits = {label for label in experiment.rows if experiment.tuned_by(label) in searches}
        left = [unit for unit in units if unit.label in waits or not self._done(unit)]
        later = [unit for unit in left if unit.teacher or experiment.settings[unit.setting].get("again") is not None]
        self.left = len(left)
        self.say(f"{len(units)} units of work, {len(units) - len(left)} done; searches to do: {len(searches)}")
        self._wave([unit for unit in left if unit not in later], waits, searches)
        self._wave(self._with_found(later), (), ())  # what they need was fitted by now, or is tried once more
        if not self.failed:
            return ""
        return (
            f"{len(self.failed)} of the units and searches failed, the first one: {self.failed[0]}; see above, and "
            "log.txt in its folder"
        )

    def _done(self, unit: Unit) -> bool:
        return finished(unit, self.out, self.users[unit.setting]) is not None

    def _wave(self, units: Sequence[Unit], waits: Collection[str], searches: Collection[str]) -> None:
        """Do units, and searches that those of the rows which wait need."""
        held = [unit for unit in units if unit.label in waits]
        waiting: dict[Future[Any], Unit | str] = {self._begin(unit): unit for unit in units if unit not in held}
        for label in searches:
            config, folder = self.experiment.search(label)[0], self.out / WORK / TUNED / label
            waiting[self.pool.submit(_search, config, folder, self._searched_on)] = label
        while waiting:
            for future in ended(waiting):
                one = waiting.pop(future)
                if isinstance(one, Unit):
                    self._say_of(one, future)
                    continue
                released = [unit for unit in held if self.experiment.tuned_by(unit.label) == one]
                tuned = self._with_found(released) if self._keep_found(one, future) else []
                begun = {self._begin(unit): unit for unit in tuned if not self._done(unit)}
                self.left -= len(released) - len(begun)
                waiting |= begun

    def _with_found(self, units: Sequence[Unit]) -> list[Unit]:
        """Units with what searches found by now, without those whose search failed."""
        experiment = self.experiment
        needed = [label for label in experiment.searched() if label not in self.tuned]
        able = [unit for unit in units if experiment.tuned_by(unit.label) not in needed]
        return [experiment.unit(unit.setting, unit.label, unit.config.seed, self.tuned) for unit in able]

    def _begin(self, unit: Unit) -> Future[Any]:
        taught = _folder(self.experiment, unit.teacher, self.out) if unit.teacher else None
        return self.pool.submit(_worker, unit, _folder(self.experiment, unit, self.out), taught, self.out)

    def _failed(self, name: str, future: Future[Any]) -> bool:
        """Whether a unit or a search failed, and say so."""
        if isinstance(error := future.exception(), BrokenProcessPool):
            raise error
        if error is not None:
            self.failed.append(name)
            self.say(f"{name}: failed: {' '.join(str(error).split()) or type(error).__name__}")
        return error is not None

    def _keep_found(self, label: str, future: Future[Any]) -> bool:
        """Keep what a search found; False where it failed."""
        if self._failed(f"tuned {label}", future):
            return False
        experiment, found = self.experiment, read_tuned(self.out)
        about = {"digest": experiment.search(label)[1], "population": self._searched_on}
        found[label] = {**about, "trials": experiment.base.tune.trials, **future.result()}
        write_whole(self.out / f"{TUNED}.json", json.dumps(dict(sorted(found.items())), indent=1) + "\n")
        self.tuned = experiment.tuned(self.out, self._searched_on)
        self.say(f"tuned {label}: {found[label]['values']}, {found[label]['seconds']:,.0f} s")
        return True

    def _say_of(self, unit: Unit, future: Future[Any]) -> None:
        self.number += 1
        name = f"[{self.number}/{self.left}] {unit.setting}, {unit.label}, seed {unit.config.seed}"
        if self._failed(name, future):
            return
        found = future.result()
        rest = (time.monotonic() - self.begun) / self.number * (self.left - self.number) / 60
        seconds = (found["fitting"] or 0.0) + found["judging"]
        figures = f"T_int {found['T_int']:.2f}  R_cum {found['R_cum']:.3f}"
        self.say(f"{name}: {figures}  {seconds:,.0f} s; {rest:,.0f} min left")


def _folder(experiment: Experiment, unit: Unit, out: Path) -> Path:
    """Where a unit is fitted: agents that are judged again lie where they were fitted."""
    own = experiment.settings[unit.setting].get("again") or unit.setting
    return out / WORK / str(own) / unit.label / f"seed{unit.config.seed}"


# what it will cost


def cost(config: Config, out: Path, quick: bool) -> Table:
    """What is left to do, in hours: units times the seconds that finished ones took, or that a short run takes."""
    experiment = Experiment.read(config, quick)
    users = populations(experiment)
    tuned = experiment.tuned(out, users[next(iter(experiment.settings))])
    table = Table("setting", "row", "units", "done", "seconds each", "hours left")
    total, measured = 0.0, dict[str, float]()
    for setting in experiment.settings:
        for label in experiment.labels(setting):
            units = [experiment.unit(setting, label, seed, tuned) for seed in experiment.seeds]
            there = [about for about in (finished(unit, out, users[setting]) for unit in units) if about is not None]
            known = [(about["fitting"] or 0.0) + about["judging"] for about in there]
            if not known and label not in measured:
                print(f"measuring {label}", file=sys.stderr)
                measured[label] = _measured(units[0])
            each = sum(known) / len(known) if known else measured[label]
            hours = (len(units) - len(there)) * each / 3600
            total += hours
            table.add_row(setting, label, str(len(units)), str(len(there)), f"{each:,.0f}", f"{hours:.2f}")
    searches = [label for label in experiment.searched() if label not in tuned]
    trials, jobs = experiment.base.tune.trials, experiment.base.experiment.jobs
    tuning = sum(trials * measured.get(label, 0.0) for label in searches) / 3600
    table.caption = (
        f"{total:.1f} hours of one core for rows, {tuning:.1f} for {len(searches)} searches of {trials} trials; "
        f"{(total + tuning) / jobs:.1f} hours with {jobs} jobs"
    )
    return table


def _measured(unit: Unit) -> float:
    """Seconds that a unit would take, from a short one: fixed costs, steps and sessions each by their number."""
    config, short = unit.config, _short(unit)
    with tempfile.TemporaryDirectory() as folder:
        _, about = work(short, Path(folder) / "own", Path(folder) / "taught")
    longer = max(config.train.steps, 1) / max(short.config.train.steps, 1)
    sessions, few = (one.evaluation.users or 1000 for one in (config, short.config))
    fitting = (about["fitting"] or 0.0) * (longer if about["steps"] else 1.0)
    return float(fitting + about["judging"] * sessions * config.evaluation.replicates / few)


def _short(unit: Unit) -> Unit:
    """A unit that takes some seconds."""
    config = unit.config
    small = {
        "train.steps": min(config.train.steps, 8192),
        "train.evaluations": 1,
        "train.validation": 16,
        "evaluation.users": min(config.evaluation.users or 1000, 64),
        "evaluation.replicates": 1,
        "planner.sessions": min(config.planner.sessions, 64),
    }
    short = settings.overlay(config, small)
    return dataclasses.replace(unit, config=short, fitted=short, teacher=_short(unit.teacher) if unit.teacher else None)
