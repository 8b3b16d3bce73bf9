"""What an experiment is: rows, settings and seeds of a recipe, and the units of work that they make.

A unit of work is one row under one setting with one seed; `lerl.experiment.trial` does one,
`lerl.experiment.schedule` all of them, and `lerl.experiment.verdict` says what they show.
"""

import dataclasses
import hashlib
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lerl.agents.baselines import BASELINES
from lerl.config import parse as settings
from lerl.config.parse import SettingsError
from lerl.config.schema import Config, ExperimentConfig, TuneConfig
from lerl.envs.checks import did_you_mean
from lerl.experiment.tune import RANKING, check_found, search_space
from lerl.files import reading
from lerl.planners.llm.planner import MODELS
from lerl.run import train
from lerl.run.specs import PLANNED, SASREC, AgentSpec, parse_agent

TUNED = "tuned"
ASIDE = (*train.ASIDE, "data.path", "planner.base_url", "train.checkpoint")
"""Settings that decide no number."""
AXIS = ("planner.axis", "planner.clusters")
"""What of a planner's settings decides the numbers of a row without one, lerl's floors and ceiling apart: its encoder
sees that axis."""
RULED = (*AXIS, *PLANNED)
"""The same for a planner behind which there is no chat model."""
KINDS = ("floor", "flat learner", "practitioner", "hierarchical", "ceiling", "other")
OF_BASELINES = {"random": "floor", "popularity": "floor", "privileged": "ceiling", SASREC: "practitioner"}
WORDS = ("row", "kind", "tuned", "distils", "when")
OWN = ("train.", "planner.")
"""What rows of a setting may differ in: they are judged on the same sessions."""
COMMON = ("seed", "agents", "tune.", "experiment.")
SEEDS = "experiment.seeds"
"""What is the same under all settings, and what of it is not."""
NAME = re.compile(r"[\w+@,-][\w+@., -]*")
AGAIN = "give the same command again with --resume"


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
    def row(self) -> AgentSpec:
        """What it fits and judges."""
        return parse_agent(self.fitted.agents[0], self.fitted.planner.name)

    @property
    def digest(self) -> str:
        """Of all settings that decide the row's numbers and are not lerl's defaults, so that a new key changes none."""
        usual = settings.known_keys()
        decisive: list[Any] = [
            {
                name: key.default
                for name, key in settings.known_keys(one).items()
                if key.default != usual[name].default and self._decides(name, one)
            }
            for one in (self.config, self.fitted)
        ]
        decisive += [self.teacher.digest] if self.teacher else []
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:16]

    def _decides(self, name: str, config: Config) -> bool:
        """Whether a setting decides the row's numbers."""
        row, axis = self.row, config.planner.axis
        if name.startswith(ASIDE) or (name == "planner.clusters" and axis != "clusters"):
            return False
        if not name.startswith("planner.") or row.planner in MODELS:
            return True
        if row.planner is None:
            return name in AXIS and row.baseline not in BASELINES
        return name in RULED


@dataclass(frozen=True)
class Experiment:
    """An experiment, read from a recipe.

    Attributes:
        base: the recipe. settings: by name, what differs from it. rows: by name, what differs from it.
        few: the rows of all settings but the first, all where none was named.
    """

    base: Config
    settings: dict[str, dict[str, Any]]
    rows: dict[str, dict[str, Any]]
    few: list[str]
    _made: dict[tuple[str, str, str], tuple[Config, Config]] = dataclasses.field(default_factory=dict, repr=False)

    @staticmethod
    def read(config: Config, quick: bool = False, given: Collection[str] = ()) -> "Experiment":
        """The experiment of a recipe.

        Args:
            config: the recipe. quick: whether only `experiment.quick` is wanted. given: keys that were given as flags,
                which go over what is quick.

        Raises:
            SettingsError: the recipe holds none, or a part of it cannot be used; the message names it.
        """
        chosen = config.experiment
        if not chosen.rows or not chosen.settings:
            raise SettingsError(
                "the recipe holds no experiment: it names rows under experiment.rows and settings under "
                f"experiment.settings, as {' and '.join(settings.recipes('experiment'))} do, which come with lerl"
            )
        worlds, rows = _named(chosen.settings, "settings"), _named(chosen.rows, "rows")
        _check_words(worlds, rows)
        known = settings.known_keys(config)
        rows = {name: row for name, row in rows.items() if "when" not in row or known[row["when"]].default}
        if quick:
            if not chosen.quick:
                raise SettingsError(
                    "the recipe holds no experiment.quick, which says what --quick does; leave out --quick, or write "
                    "it into the recipe, such as quick: {rows: [random], experiment.seeds: 1}"
                )
            over = {name: value for name, value in chosen.quick.items() if name not in given}
            worlds, names = dict([next(iter(worlds.items()))]), over.pop("rows", list(rows))
            if not isinstance(names, list):
                raise SettingsError(f"experiment.quick: rows must be a list such as {list(rows)[:2]}, given {names!r}")
            rows = {name: rows[name] for name in _known(names, rows, "experiment.quick: rows")}
            config = settings.overlay(config, over)
        few = [row for row in _known(chosen.few or rows, chosen.rows, "experiment.few") if row in rows]
        made = Experiment(config, worlds, rows, few)
        made._check_teachers()
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

    def _check_teachers(self) -> None:
        """Refuse `distils` where no network learns, or no chat model teaches."""
        for label, values in self.rows.items():
            if (teacher := values.get("distils")) is None:
                continue
            where = f"experiment.rows: {label}: distils"
            if teacher not in self.rows:
                raise SettingsError(f"{where} names {teacher!r}, which is left out here; take it in, or leave out both")
            if self.row(label).planner != "distilled" or self.row(teacher).planner != "llm":
                raise SettingsError(
                    f"{where} is for a row distilled+... and names a row llm+..., given {teacher!r} for {label!r}"
                )

    def labels(self, setting: str) -> list[str]:
        """The rows of a setting."""
        return list(self.rows) if setting == next(iter(self.settings)) else self.few

    def seeds(self, setting: str) -> list[int]:
        """The seeds of a setting's rows."""
        own = {name: value for name, value in self.settings[setting].items() if name == SEEDS}
        count = settings.overlay(self.base, own).experiment.seeds
        return [self.base.seed + number for number in range(count)]

    def row(self, label: str) -> AgentSpec:
        """What a label stands for."""
        return parse_agent(str(self.rows[label].get("row", label)), self.base.planner.name)

    def kind(self, label: str) -> str:
        """What the verdict takes a row for, see `lerl.experiment.verdict`."""
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
        found = {
            label: kept[label]["values"]
            for label in self.searched()
            if label in kept
            and kept[label]["digest"] == self.search(label)[1]
            and population in (None, kept[label].get("population", population))
        }
        for label, values in found.items():
            check_found(values, search_space(self.search(label)[0], self.row(label)), out / f"{TUNED}.json")
        return found

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
        if values.get("when", "seed") not in known:
            raise SettingsError(f"experiment.rows: {name}: when: {settings.unknown(str(values['when']), known)}")
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
            if str(key).startswith(COMMON) and key != SEEDS:
                raise SettingsError(
                    f"experiment.settings: {name}: {key} is the same under all settings; write it at the top of "
                    "the recipe"
                )


def _known(names: Any, allowed: Mapping[str, Any], where: str) -> list[str]:
    for name in names:
        if name not in allowed:
            hint = did_you_mean(str(name), list(allowed))
            raise SettingsError(f"{where} names {name!r}, which is not there.{hint} There are {', '.join(allowed)}")
    return list(names)


def _alone(base: Config, values: Mapping[str, Any], row: str) -> Config:
    """The recipe with other values, for one row."""
    config = settings.overlay(base, values)
    return dataclasses.replace(config, agents=[row], tune=TuneConfig(), experiment=ExperimentConfig())


def overridden(config: Config, given: Collection[str]) -> dict[str, list[str]]:
    """Of keys that were given as flags, those that settings or rows say for themselves, and which."""
    parts = config.experiment.settings, config.experiment.rows
    own = {
        key: [str(name) for part in parts for name, values in part.items() if key in (values or {})] for key in given
    }
    return {key: names for key, names in own.items() if names}


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
