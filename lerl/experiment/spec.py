"""What an experiment is: agents, conditions and seeds of a recipe, and the trials that they make.

A trial is one agent under one condition with one seed; `lerl.experiment.trial` does one, `lerl.experiment.schedule` all
of them, and `lerl.experiment.verdict` says what they show.
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
from lerl.agents.next_item.registry import READS
from lerl.config.errors import SettingsError
from lerl.config.keys import known_keys, unknown_key
from lerl.config.parse import overlay
from lerl.config.recipes import recipes
from lerl.config.schema import AUTO, Config, ExperimentConfig, TuneConfig
from lerl.envs.checks import did_you_mean
from lerl.experiment.search.space import check_found, search_space
from lerl.files import reading
from lerl.planners.llm.planner import MODELS
from lerl.run import train
from lerl.run.specs import BELIEF, PLANNED, AgentSpec, candidates, parse_agent

TUNED = "tuned"
NO_NUMBER = (*train.ASIDE, "data.path", "planner.base_url", "train.checkpoint")
"""Settings that decide no number."""
AXIS = ("planner.axis", "planner.clusters")
"""What of a planner's settings decides the numbers of an agent without one, lerl's floors and ceiling apart: its
encoder sees that axis."""
RULED = (*AXIS, *PLANNED)
"""The same for a planner behind which there is no chat model."""
KINDS = ("floor", "flat learner", "practitioner", "hierarchical", "ceiling", "other")
OF_BASELINES = {
    "random": "floor",
    "popularity": "floor",
    "informed": "ceiling",
    "privileged": "ceiling",
    BELIEF: "hierarchical",
}
AGENT_KEYS = ("agent", "kind", "tuned", "distills", "when")
"""What an entry of `experiment.agents` holds besides settings."""
OWN = ("train.", "planner.", "auto.")
"""What agents of a condition may differ in: they are judged on the same sessions."""
COMMON = ("seed", "agents", "tune.", "experiment.")
SEEDS = "experiment.seeds"
"""What is the same under all conditions, and what of it is not."""
NAME = re.compile(r"[\w+@,-][\w+@., -]*")
AGAIN = "give the same command again with --resume"


@dataclass(frozen=True)
class Trial:
    """One agent under one condition with one seed.

    Attributes:
        condition, label: what tables call the condition and the agent.
        config: everything that decides the numbers; its `agents` is the one agent.
        fitted: that under which the agent's policy and planner are fitted, the same but for a condition that judges
            agents of another again.
        teacher: whose plans its network learns, where it does.
    """

    condition: str
    label: str
    config: Config
    fitted: Config
    teacher: "Trial | None" = None

    @property
    def spec(self) -> AgentSpec:
        """What it fits and judges."""
        return parse_agent(self.fitted.agents[0], self.fitted.planner.name)

    @property
    def digest(self) -> str:
        """Of all settings that decide the agent's numbers and are not the defaults, so that a new key changes none."""
        usual = known_keys()
        decisive: list[Any] = [
            {
                name: key.default
                for name, key in known_keys(one).items()
                if key.default != usual[name].default and self._decides(name, one)
            }
            for one in (self.config, self.fitted)
        ]
        decisive += [self.teacher.digest] if self.teacher else []
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:16]

    def _decides(self, name: str, config: Config) -> bool:
        """Whether a setting decides the agent's numbers."""
        spec, axis = self.spec, config.planner.axis
        if name.startswith(NO_NUMBER) or (name == "planner.clusters" and axis == "categories"):
            return False
        if name.startswith("train.returning."):
            return spec.returns or spec.baseline == AUTO
        if name.startswith("auto.") or spec.baseline == AUTO:
            return spec.baseline == AUTO
        if not name.startswith("planner.") or spec.planner in MODELS:
            return True
        if spec.planner is None:
            return name in AXIS and spec.baseline not in BASELINES
        return name in RULED


@dataclass(frozen=True)
class Experiment:
    """An experiment, read from a recipe.

    Attributes:
        base: the recipe. conditions: by name, what differs from it. agents: by name, what differs from it.
        few: the agents of all conditions but the first, all where none was named.
    """

    base: Config
    conditions: dict[str, dict[str, Any]]
    agents: dict[str, dict[str, Any]]
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
        if not chosen.agents or not chosen.conditions:
            raise SettingsError(
                "the recipe holds no experiment: it names agents under experiment.agents and conditions under "
                f"experiment.conditions, as {' and '.join(recipes('experiment'))} do, which come with lerl"
            )
        conditions, every = _named(chosen.conditions, "conditions"), _named(chosen.agents, "agents")
        _check_agents(every)
        _check_conditions(conditions)
        known = known_keys(config)
        agents = {name: agent for name, agent in every.items() if "when" not in agent or known[agent["when"]].default}
        if quick:
            conditions = dict([next(iter(conditions.items()))])
            config, agents = _quick(config, agents, given)
        few = [name for name in _known(chosen.few or agents, every, "experiment.few") if name in agents]
        made = Experiment(config, conditions, agents, few)
        made._check_teachers()
        for condition in conditions:
            for label in made.labels(condition):
                trial = made.trial(condition, label, config.seed, {})
                if trial.config.env.horizon == "days":
                    raise SettingsError(
                        f"experiment.conditions: {condition}: env.horizon is days, but an experiment judges agents by "
                        "single sessions; set it to session, and judge lives by lerl train --seeds"
                    )
                if trial.spec.baseline == AUTO:
                    candidates(trial.fitted)  # refused here, where there is none
        made._check_searches(dataclasses.replace(made, agents=every).searched())
        return made

    def _check_teachers(self) -> None:
        """Refuse `distills` where no network learns, or no chat model teaches."""
        for label, values in self.agents.items():
            if (teacher := values.get("distills")) is None:
                continue
            where = f"experiment.agents: {label}: distills"
            if teacher not in self.agents:
                raise SettingsError(f"{where} names {teacher!r}, which is left out here; take it in, or leave out both")
            if self.spec(label).planner != "distilled" or self.spec(teacher).planner != "llm":
                raise SettingsError(
                    f"{where} is for an agent distilled+... and names an agent llm+..., given {teacher!r} for {label!r}"
                )

    def _check_searches(self, able: Collection[str]) -> None:
        """Refuse `tuned` that names an agent which is not among those `able` to be searched, and wrong spaces."""
        for label, values in self.agents.items():
            if values.get("tuned") and self.base.tune.space and values["tuned"] not in able:
                raise SettingsError(
                    f"experiment.agents: {label}: tuned names {values['tuned']!r}, which is not searched for itself; "
                    f"there are {', '.join(able)}"
                )
        for label in self.searched():
            search_space(self.search(label)[0], self.spec(label))

    def labels(self, condition: str) -> list[str]:
        """The agents of a condition."""
        return list(self.agents) if condition == next(iter(self.conditions)) else self.few

    def seeds(self, condition: str) -> list[int]:
        """The seeds of a condition's agents."""
        own = {name: value for name, value in self.conditions[condition].items() if name == SEEDS}
        count = overlay(self.base, own).experiment.seeds
        return [self.base.seed + number for number in range(count)]

    def spec(self, label: str) -> AgentSpec:
        """What a label stands for."""
        return parse_agent(self._agent(label), self.base.planner.name)

    def _agent(self, label: str) -> str:
        """The name in `agents` of a recipe for what a label stands for, such as planner+ppo."""
        return str(self.agents[label].get("agent", label))

    def kind(self, label: str) -> str:
        """What the verdict takes an agent for, see `lerl.experiment.verdict`."""
        given, spec = self.agents[label].get("kind"), self.spec(label)
        if given is not None:
            return str(given)
        if spec.baseline is not None:
            return OF_BASELINES.get(spec.baseline, "other")
        if spec.planner is not None:
            return "hierarchical"
        return "flat learner" if (spec.learner or spec.composite) and not spec.diverse else "practitioner"

    def searched(self) -> list[str]:
        """The agents whose settings are searched first: those that learn, unless `tuned` names another."""
        own = [label for label, values in self.agents.items() if not values.get("tuned")]
        return [label for label in own if self._space(label)]

    def _space(self, label: str) -> dict[str, Any]:
        """What of `tune.space` means something to an agent."""
        spec, space = self.spec(label), self.base.tune.space
        if spec.next_item:
            planned = ("planner.",) if spec.planner else ()
            return {name: given for name, given in space.items() if name in READS or name.startswith(planned)}
        return space if spec.learner else {}

    def search(self, label: str) -> tuple[Config, str]:
        """The search for an agent's settings, and a digest of what decides it."""
        trial = self.trial(next(iter(self.conditions)), label, self.base.seed, {})
        prune = self.base.tune.prune and self.spec(label).learner is not None
        how = dataclasses.replace(self.base.tune, agent=trial.config.agents[0], space=self._space(label), prune=prune)
        digest = hashlib.sha256(f"{trial.digest} {_search_text(how)}".encode()).hexdigest()[:16]
        return dataclasses.replace(trial.config, tune=how), digest

    def tuned(self, out: Path, population: str | None = None) -> dict[str, dict[str, Any]]:
        """What finished searches found, by label; only those on these users, where `population` is given."""
        kept = read_tuned(out)
        found = {
            label: kept[label]["values"]
            for label in self.searched()
            if label in kept
            and kept[label]["digest"] == self.search(label)[1]
            and population in (None, kept[label].get("population", population))
        }
        for label, values in found.items():
            check_found(values, search_space(self.search(label)[0], self.spec(label)), out / f"{TUNED}.json")
        return found

    def tuned_by(self, label: str) -> str:
        """The agent whose search, where there is one, found an agent's settings."""
        return str(self.agents[label].get("tuned") or label)

    def trial(self, condition: str, label: str, seed: int, tuned: Mapping[str, Mapping[str, Any]]) -> Trial:
        """A trial, with the settings that were found for the agent."""
        found = dict(tuned.get(self.tuned_by(label), {}))
        key = condition, label, json.dumps(found, sort_keys=True)
        if key not in self._made:
            self._made[key] = self._configured(condition, label, found)
        config, fitted = (dataclasses.replace(one, seed=seed) for one in self._made[key])
        teacher = self.agents[label].get("distills")
        return Trial(condition, label, config, fitted, self.trial(condition, teacher, seed, tuned) if teacher else None)

    def _configured(self, condition: str, label: str, found: Mapping[str, Any]) -> tuple[Config, Config]:
        """What an agent is judged and what it is fitted under, seeds apart."""
        own = {name: value for name, value in self.agents[label].items() if name not in AGENT_KEYS}
        judged = dict(self.conditions[condition])
        first, agent = judged.pop("again", None), self._agent(label)
        there = judged if first is None else dict(self.conditions[str(first)])
        fitted = _of_one_agent(self.base, {**there, **found, **own}, agent)
        if first is None:
            return fitted, fitted
        return _of_one_agent(self.base, {**there, **judged, **found, **own}, agent), fitted


def _search_text(how: TuneConfig) -> str:
    """What of a search is hashed: the text that lerl 0.1.0 hashed, so that its searches are still recognised."""
    later = f", batch={how.batch!r}, prune={how.prune!r}" if how.batch > 1 or how.prune else ""
    return (
        f"TuneConfig(row={how.agent!r}, trials={how.trials!r}, metric={how.metric!r}, users={how.users!r}, "
        f"replicates={how.replicates!r}, space={how.space!r}{later})"
    )


def _quick(
    config: Config, agents: Mapping[str, dict[str, Any]], given: Collection[str]
) -> tuple[Config, dict[str, dict[str, Any]]]:
    """The recipe and the agents of the small part that `experiment.quick` names."""
    quick = dict(config.experiment.quick)
    if not quick:
        raise SettingsError(
            "the recipe holds no experiment.quick, which says what --quick does; leave out --quick, or write "
            "it into the recipe, such as quick: {agents: [random], experiment.seeds: 1}"
        )
    over = {name: value for name, value in quick.items() if name not in given}
    names = over.pop("agents", list(agents))
    if not isinstance(names, list):
        raise SettingsError(f"experiment.quick: agents must be a list such as {list(agents)[:2]}, given {names!r}")
    chosen = {name: agents[name] for name in _known(names, agents, "experiment.quick: agents")}
    return overlay(config, over), chosen


def _named(given: Mapping[str, Any], section: str) -> dict[str, dict[str, Any]]:
    """The agents or conditions of a recipe by name."""
    found = {}
    for name, values in given.items():
        if not NAME.fullmatch(str(name)):
            raise SettingsError(
                f"experiment.{section}: {str(name)!r} cannot be the name of a file; use letters, digits, spaces and "
                "+ - . , @, no dot or space in front, and say by agent: what an agent of another name is"
            )
        if not isinstance(values, Mapping | None):
            raise SettingsError(
                f"experiment.{section}: {name} must hold settings by dotted key, or {{}}, given {values!r}"
            )
        found[str(name)] = dict(values or {})
    return found


def _check_agents(agents: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse what agents cannot hold."""
    known = known_keys()
    for name, values in agents.items():
        if values.get("kind", "other") not in KINDS:
            raise SettingsError(
                f"experiment.agents: {name}: kind must be one of {', '.join(KINDS)}, given {values['kind']!r}"
            )
        for key in ("tuned", "distills"):
            if values.get(key) is not None:
                _known([values[key]], agents, f"experiment.agents: {name}: {key}")
        if values.get("when", "seed") not in known:
            raise SettingsError(f"experiment.agents: {name}: when: {unknown_key(str(values['when']), known)}")
        for key in values.keys() & known.keys():
            if not key.startswith(OWN):
                raise SettingsError(
                    f"experiment.agents: {name}: {key} cannot differ between agents, which are judged on the same "
                    "sessions; only keys of train, planner and auto can; write it under experiment.conditions"
                )


def _check_conditions(conditions: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse what conditions cannot hold."""
    for name, values in conditions.items():
        if (own := values.get("again")) is not None:
            _known([own], conditions, f"experiment.conditions: {name}: again")
            if conditions[str(own)].get("again") is not None:
                raise SettingsError(
                    f"experiment.conditions: {name}: again names {own!r}, whose agents are another condition's; "
                    "name that one"
                )
        for key in values:
            if str(key).startswith(COMMON) and key != SEEDS:
                raise SettingsError(
                    f"experiment.conditions: {name}: {key} is the same under all conditions; write it at the top of "
                    "the recipe"
                )


def _known(names: Any, allowed: Mapping[str, Any], where: str) -> list[str]:
    for name in names:
        if name not in allowed:
            hint = did_you_mean(str(name), list(allowed))
            raise SettingsError(f"{where} names {name!r}, which is not there.{hint} There are {', '.join(allowed)}")
    return list(names)


def _of_one_agent(base: Config, values: Mapping[str, Any], agent: str) -> Config:
    """The recipe with other values, for one agent."""
    config = overlay(base, values)
    return dataclasses.replace(config, agents=[agent], tune=TuneConfig(), experiment=ExperimentConfig())


def overridden(config: Config, given: Collection[str]) -> dict[str, list[str]]:
    """Of keys that were given as flags, those that conditions or agents say for themselves, and which."""
    parts = config.experiment.conditions, config.experiment.agents
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
