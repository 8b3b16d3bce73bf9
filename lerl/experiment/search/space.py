"""What a search tries its settings from: `tune.space` of a recipe, as Optuna understands it."""

import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from lerl.agents.next_item.registry import READS
from lerl.config.errors import SettingsError, brief
from lerl.config.keys import Key, known_keys, unknown_key
from lerl.config.parse import overlay
from lerl.config.schema import AUTO, Config
from lerl.envs.checks import did_you_mean
from lerl.files import RunError
from lerl.run.specs import PLANNED, AgentSpec

Space = dict[str, BaseDistribution]

SEARCHED = ("train", "planner")
UNSEARCHED = {
    "train.evaluations": "it changes what is shown of the training, not what is learned",
    "train.checkpoint": "it changes nothing that is learned",
    "train.validation": "it changes what is shown of the training, not what is learned",
    "train.returning.days": "it says what is wanted, and trials are compared by sessions, which do not tell",
}
SPACE_EXAMPLE = "such as train.gamma: {low: 0.8, high: 0.99} or planner.size: {choices: [4, 6, 8]}"


def search_space(config: Config, spec: AgentSpec) -> Space:
    """What Optuna searches, by dotted key.

    Raises:
        SettingsError: the message names the key, what is wrong with it and what is allowed.
    """
    if not config.tune.space:
        raise SettingsError(f"tune.space is empty; the recipe says there what to search, {SPACE_EXAMPLE}")
    if spec.baseline not in (None, AUTO):
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
    reads = READS if spec.next_item else ()
    idle = section == "train" and spec.learner is None and name not in reads
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


def whole_grid(space: Space, most: int) -> list[dict[str, Any]]:
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


def own_settings(config: Config, space: Space) -> dict[str, Any] | None:
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
