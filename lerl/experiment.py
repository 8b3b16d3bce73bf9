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
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import closing, contextmanager, redirect_stderr
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import polars as pl
from rich.table import Table

import lerl
from lerl import settings, train
from lerl.config import Config, ExperimentConfig, TuneConfig
from lerl.envs.files import write_whole
from lerl.evaluate import episodes, judged
from lerl.fit import Fitter, check_rows
from lerl.reading import RunError, reading
from lerl.rollout import Stage
from lerl.rows import SASREC, Row, Task, parse_row
from lerl.runs import locked
from lerl.settings import SettingsError
from lerl.tune import RANKING, reuse, tune

ROWS, WORK, TUNED = "rows", "work", "tuned"
KEPT = ("seed", "user", "replicate", "T_int", "R_cum", "category_coverage")
ABOUT = "lerl"  # of a file's own words
ASIDE = (*train.ASIDE, "data.path", "planner.base_url", "train.checkpoint")
"""Settings that decide no number."""
KINDS = {"random": "floor", "popularity": "floor", "privileged": "ceiling", SASREC: "practitioner"}
WORDS = ("row", "kind", "tuned")
NAME = re.compile(r"[\w+@.,-][\w+@., -]*")
Say = Callable[[str], object]


@dataclass(frozen=True)
class Unit:
    """One row under one setting with one seed.

    Attributes:
        setting, label: what tables call the setting and the row. config: everything that decides the numbers; its
            `agents` is the one row. fitted: that under which the row's policy and planner are fitted, the same but for
            a setting that judges agents of another again.
    """

    setting: str
    label: str
    config: Config
    fitted: Config

    @property
    def digest(self) -> str:
        """Of all settings that decide the numbers and are not lerl's defaults, so that a new key changes none."""
        usual = settings.known_keys()
        decisive = [
            {
                name: key.default
                for name, key in settings.known_keys(one).items()
                if key.default != usual[name].default and not name.startswith(ASIDE)
            }
            for one in (self.config, self.fitted)
        ]
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Done:
    """What is kept of a row under a setting: sessions (`KEPT`), and by seed what they were made from."""

    sessions: pl.DataFrame
    about: dict[str, dict[str, Any]]


# what there is to do


@dataclass(frozen=True)
class Plan:
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
    def read(config: Config, quick: bool = False) -> "Plan":
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
        worlds = {str(name): dict(values or {}) for name, values in chosen.settings.items()}
        rows = {str(name): dict(values or {}) for name, values in chosen.rows.items()}
        if quick:
            over = dict(chosen.quick)
            worlds, names = dict([next(iter(worlds.items()))]), over.pop("rows", list(rows)[:2])
            rows = {name: rows[name] for name in _known(names, rows, "experiment.quick: rows")}
            config = settings.overlay(config, over)
        few = [row for row in _known(chosen.few, chosen.rows, "experiment.few") if row in rows]
        for name in (*worlds, *rows):
            if not NAME.fullmatch(name):
                raise SettingsError(f"experiment: {name!r} cannot be the name of a file; use letters, digits, + - . @")
        for name, values in worlds.items():
            if values.get("again") is not None:
                fitted = {one: given for one, given in worlds.items() if "again" not in given}
                _known([values["again"]], fitted, f"experiment.settings: {name}: again")
        plan = Plan(config, worlds, rows, few)
        for setting in worlds:
            for label in plan.labels(setting):
                plan.unit(setting, label, config.seed, {})
        return plan

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
            return KINDS.get(row.baseline, "other")
        if row.planner is not None:
            return "hierarchical"
        return "flat learner" if row.learner and not row.diverse else "practitioner"

    def searched(self) -> list[str]:
        """The rows whose settings are searched first: those that learn, unless `tuned` names another."""
        own = [label for label, values in self.rows.items() if not values.get("tuned")]
        learn = [label for label in own if self.row(label).learner or self.row(label).baseline == SASREC]
        return learn if self.base.tune.space else []

    def unit(self, setting: str, label: str, seed: int, tuned: Mapping[str, Mapping[str, Any]]) -> Unit:
        """A unit of work, with the settings that were found for the row."""
        found = dict(tuned.get(str(self.rows[label].get("tuned", label)), {}))
        key = setting, label, json.dumps(found, sort_keys=True)
        if key not in self._made:
            self._made[key] = self._configured(setting, label, found)
        config, fitted = (dataclasses.replace(one, seed=seed) for one in self._made[key])
        return Unit(setting, label, config, fitted)

    def _configured(self, setting: str, label: str, found: Mapping[str, Any]) -> tuple[Config, Config]:
        """What a row is judged and what it is fitted under, seeds apart."""
        own = {name: value for name, value in self.rows[label].items() if name not in WORDS}
        world = dict(self.settings[setting])
        first = world.pop("again", None)
        there = world if first is None else dict(self.settings[str(first)])
        row = str(self.rows[label].get("row", label))
        fitted = _alone(self.base, {**there, **found, **own}, row)
        return (fitted if first is None else _alone(self.base, {**there, **world, **found, **own}, row)), fitted


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
    with reading(path, "give the same command again"):
        about = json.loads(pl.read_parquet_metadata(path)[ABOUT])
        return Done(pl.read_parquet(path, glob=False).select(KEPT), about)


def row_path(out: Path, unit: Unit) -> Path:
    """The file of a unit's row."""
    return out / ROWS / unit.setting / f"{unit.label}.parquet"


def finished(unit: Unit, out: Path, population: str | None = None) -> dict[str, Any] | None:
    """How a unit was done, None where it was not, or under other settings, or (where given) on other users."""
    about = done(row_path(out, unit)).about.get(str(unit.config.seed))
    if about is None or about["digest"] != unit.digest or population not in (None, about["population"]):
        return None
    return about


def populations(plan: Plan) -> dict[str, str]:
    """The digest of each setting's users."""
    firsts = {setting: plan.unit(setting, plan.labels(setting)[0], plan.base.seed, {}) for setting in plan.settings}
    return {setting: Task.load(unit.config).population.digest() for setting, unit in firsts.items()}


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


def work(unit: Unit, folder: Path) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Fit and judge a unit.

    Args:
        unit: what. folder: where its policy, its planner and its checkpoint are kept; `log.txt` says how far it is.

    Returns:
        Sessions, and what they were made from: digest, population, version, steps, seconds of processor time.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log.txt").open("w", encoding="utf-8") as log, redirect_stderr(log), locked(folder):
        fit = folder / "fit"
        reuse(fit, settings.dump(unit.fitted))
        task = Task.load(unit.fitted)
        row = parse_row(unit.fitted.agents[0], unit.fitted.planner.name)
        whole, begun = not any(fit.glob("checkpoints/*")), time.process_time()

        def report(phase: str, at: int, total: int, point: Any) -> None:
            print(f"{phase} {at:,}/{total:,} {point or ''}", file=log, flush=True)

        with closing(Fitter(task, fit, report)) as fitter:
            anew = fitter.lacks(row)
            fitter.fit(row)
            fitting = time.process_time() - begun if whole and anew else None
        if unit.config != unit.fitted:
            task = Task.load(unit.config)
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
        "population": task.population.digest(),
        "lerl": lerl.__version__,
        "steps": steps,
        "fitting": None if fitting is None else round(fitting, 2),
        "judging": round(judging, 2),
    }


def _worker(unit: Unit, folder: Path, out: Path) -> dict[str, Any]:
    sessions, about = work(unit, folder)
    with _one_at_a_time(out):
        keep(unit, sessions, about, out)
    means = sessions.select(pl.col("T_int", "R_cum").mean()).row(0, named=True)
    return {**about, **means}


@contextmanager
def _one_at_a_time(out: Path) -> Iterator[None]:
    """Keep other processes of this experiment from writing the same file."""
    from filelock import FileLock

    with FileLock(out / ".rows"):
        yield


def _search(config: Config, folder: Path) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log.txt").open("a", encoding="utf-8") as log, redirect_stderr(log):
        begun = time.process_time()
        best = tune(config, folder / "search")[0]
    return {"values": best.values, "score": best.mean, "seconds": round(time.process_time() - begun, 1)}


def experiment(config: Config, out: Path, *, quick: bool, resume: bool, say: Say) -> Plan:
    """Do what is left to do of an experiment.

    Args:
        config: the recipe. out: its folder. quick: whether only `experiment.quick` is done.
        resume: whether to go on with what the folder holds. say: called with a line for each unit that is done.

    Raises:
        FileExistsError: the folder holds rows, and `resume` was not asked for.
        SettingsError: the recipe cannot be used.
        RunError: some units failed; the others are done.
    """
    plan = Plan.read(config, quick)
    if not resume and any((out / ROWS).rglob("*.parquet")):
        raise FileExistsError(f"{out} holds rows of an experiment; go on with them by --resume, or give another --out")
    _check(plan)
    out.mkdir(parents=True, exist_ok=True)
    with locked(out), ProcessPoolExecutor(plan.base.experiment.jobs, mp_context=get_context("spawn")) as pool:
        tuned = _tuned(plan, out, pool, say)
        _fit_all(plan, tuned, out, pool, say)
    return plan


def _check(plan: Plan) -> None:
    """Refuse rows that the first setting is not for, before anything is written."""
    first, alike = next(iter(plan.settings)), dict[str, list[str]]()
    for label in plan.labels(first):
        own = {name: value for name, value in plan.rows[label].items() if name not in WORDS}
        alike.setdefault(json.dumps(own, sort_keys=True), []).append(label)
    for labels in alike.values():
        task = Task.load(plan.unit(first, labels[0], plan.base.seed, {}).config)
        check_rows(task, list(dict.fromkeys(plan.row(label) for label in labels)))


def _tuned(plan: Plan, out: Path, pool: ProcessPoolExecutor, say: Say) -> dict[str, dict[str, Any]]:
    """The settings found for each learned row, by label; searched where they are not there."""
    first, found, waiting = next(iter(plan.settings)), read_tuned(out), {}
    for label in plan.searched():
        unit = plan.unit(first, label, plan.base.seed, {})
        row, space = unit.config.agents[0], plan.base.tune.space
        if plan.row(label).baseline == SASREC:
            space = {name: given for name, given in space.items() if name in RANKING}
        how = dataclasses.replace(plan.base.tune, row=row, space=space)
        searched = dataclasses.replace(unit.config, tune=how)
        digest = hashlib.sha256(f"{unit.digest} {how}".encode()).hexdigest()[:16]
        if found.get(label, {}).get("digest") != digest:
            waiting[pool.submit(_search, searched, out / WORK / TUNED / label)] = label, digest
    for number, future in enumerate(as_completed(waiting), 1):
        label, digest = waiting[future]
        found[label] = {"digest": digest, "trials": plan.base.tune.trials, **future.result()}
        write_whole(out / f"{TUNED}.json", json.dumps(dict(sorted(found.items())), indent=1) + "\n")
        say(f"[{number}/{len(waiting)}] tuned {label}: {found[label]['values']}, {found[label]['seconds']:,.0f} s")
    return {label: one["values"] for label, one in found.items()}


def read_tuned(out: Path) -> dict[str, dict[str, Any]]:
    """What searches found, by label."""
    path = out / f"{TUNED}.json"
    if not path.is_file():
        return {}
    with reading(path, "give the same command again"):
        return dict(json.loads(path.read_text(encoding="utf-8")))


def _fit_all(plan: Plan, tuned: dict[str, dict[str, Any]], out: Path, pool: ProcessPoolExecutor, say: Say) -> None:
    units = [
        plan.unit(setting, label, seed, tuned)
        for setting in plan.settings
        for seed in plan.seeds
        for label in plan.labels(setting)
    ]
    users = populations(plan)
    left = [unit for unit in units if finished(unit, out, users[unit.setting]) is None]
    say(f"{len(units)} units of work, {len(units) - len(left)} done")
    begun, failed, number = time.monotonic(), list[str](), 0
    for again in (False, True):  # what is judged again was fitted before
        wave = [unit for unit in left if (plan.settings[unit.setting].get("again") is not None) == again]
        waiting = {pool.submit(_worker, unit, _folder(plan, unit, out), out): unit for unit in wave}
        for future in as_completed(waiting):
            unit, number = waiting[future], number + 1
            name = f"[{number}/{len(left)}] {unit.setting}, {unit.label}, seed {unit.config.seed}"
            if (error := future.exception()) is not None:
                failed.append(name)
                say(f"{name}: failed: {' '.join(str(error).split()) or type(error).__name__}")
                continue
            found = future.result()
            rest = (time.monotonic() - begun) / number * (len(left) - number) / 60
            seconds = (found["fitting"] or 0.0) + found["judging"]
            figures = f"T_int {found['T_int']:.2f}  R_cum {found['R_cum']:.3f}"
            say(f"{name}: {figures}  {seconds:,.0f} s; {rest:,.0f} min left")
    if failed:
        raise RunError(f"{len(failed)} of {len(left)} units failed, the first one: {failed[0]}; see above")


def _folder(plan: Plan, unit: Unit, out: Path) -> Path:
    """Where a unit is fitted: agents that are judged again lie where they were fitted."""
    own = plan.settings[unit.setting].get("again") or unit.setting
    return out / WORK / str(own) / unit.label / f"seed{unit.config.seed}"


# what it will cost


def cost(config: Config, out: Path, quick: bool) -> Table:
    """What is left to do, in hours: units times the seconds that finished ones took, or that a short run takes."""
    plan = Plan.read(config, quick)
    tuned = {label: one["values"] for label, one in read_tuned(out).items()}
    table = Table("setting", "row", "units", "done", "seconds each", "hours left")
    total, measured, users = 0.0, dict[str, float](), populations(plan)
    for setting in plan.settings:
        for label in plan.labels(setting):
            units = [plan.unit(setting, label, seed, tuned) for seed in plan.seeds]
            there = [about for about in (finished(unit, out, users[setting]) for unit in units) if about is not None]
            known = [(about["fitting"] or 0.0) + about["judging"] for about in there]
            if not known and label not in measured:
                print(f"measuring {label}", file=sys.stderr)
                measured[label] = _measured(units[0])
            each = sum(known) / len(known) if known else measured[label]
            hours = (len(units) - len(there)) * each / 3600
            total += hours
            table.add_row(setting, label, str(len(units)), str(len(there)), f"{each:,.0f}", f"{hours:.2f}")
    searches = [label for label in plan.searched() if label not in tuned]
    tuning = sum(plan.base.tune.trials * measured.get(label, 0.0) for label in searches) / 3600
    jobs = plan.base.experiment.jobs
    table.caption = (
        f"{total:.1f} hours of one core for rows, {tuning:.1f} for {len(searches)} searches of {plan.base.tune.trials} "
        f"trials; {(total + tuning) / jobs:.1f} hours with {jobs} jobs"
    )
    return table


def _measured(unit: Unit) -> float:
    """Seconds that a unit would take, from a short one: fixed costs, steps and sessions each by their number."""
    config = unit.config
    steps, users = min(config.train.steps, 8192), min(config.evaluation.users or 1000, 64)
    small = {"train.steps": steps, "train.evaluations": 1, "evaluation.users": users, "train.validation": 16}
    if config.planner.sessions:
        small["planner.sessions"] = min(config.planner.sessions, 64)
    short = settings.overlay(config, small)
    with tempfile.TemporaryDirectory() as folder:
        _, about = work(Unit(unit.setting, unit.label, short, short), Path(folder))
    fitting = (about["fitting"] or 0.0) * (max(config.train.steps, 1) / max(steps, 1) if about["steps"] else 1.0)
    return float(fitting + about["judging"] * (config.evaluation.users or 1000) * config.evaluation.replicates / users)
