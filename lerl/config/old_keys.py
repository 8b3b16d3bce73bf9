"""Keys of earlier versions: recipes and runs that use them can still be read."""

from collections.abc import Mapping
from typing import Any

from lerl.config.errors import SettingsError

RETIRED = {"planner.client": ("langchain", "every chat model is called through LangChain now")}
"""Keys that are gone: the value that changes nothing, and what to say of others."""

RENAMED = {
    "tune.row": "tune.agent",
    "experiment.rows": "experiment.agents",
    "experiment.settings": "experiment.conditions",
}
"""Dotted keys with another name today."""

RENAMED_INSIDE = {
    "experiment.agents": {"row": "agent", "distils": "distills"},
    "experiment.quick": {"rows": "agents"},
}
"""Words with another name today, in what a key holds (for `experiment.agents`: in what each of its agents holds)."""

EARLIER: dict[str, Any] = {"env.boredom.within_slate": False, "auto.candidates": []}
"""What a run was made with whose config.yaml does not have the key yet."""


def renewed(values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Values by dotted key under the names of today, and what to tell the user about it.

    Raises:
        SettingsError: a key is given under its old and its new name.
    """
    found: dict[str, Any] = {}
    renames: list[str] = []
    notes: list[str] = []
    for name, value in values.items():
        key = RENAMED.get(name, name)
        if key != name:
            renames.append(f"{name} is now {key}")
        if name in RETIRED:
            usual, why = RETIRED[name]
            notes += [] if value == usual else [f"{name} {value} is left out: {why}; remove it"]
        elif key in found or (key != name and key in values):
            raise SettingsError(f"{key} is given twice, also under its old name; give it once")
        else:
            found[key] = _renamed_inside(key, value, renames)
    old = "the old name is still read" if len(renames) == 1 else "the old names are still read"
    return found, ([f"{', '.join(dict.fromkeys(renames))}; {old}"] if renames else []) + notes


def _renamed_inside(key: str, value: Any, renames: list[str]) -> Any:
    words = RENAMED_INSIDE.get(key, {})
    if not words or not isinstance(value, Mapping):
        return value
    if key == "experiment.agents":
        return {name: _with_words(key, inner, words, renames) for name, inner in value.items()}
    return _with_words(key, value, words, renames)


def _with_words(key: str, values: Any, words: Mapping[str, str], renames: list[str]) -> Any:
    if not isinstance(values, Mapping):
        return values
    renames += [f"{old} in {key} is now {new}" for old, new in words.items() if old in values]
    return {words.get(name, name): value for name, value in values.items()}
