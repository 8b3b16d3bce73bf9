"""What is read before anything runs: prepared users, and configurations from recipes and Python values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lerl.config.schema import Config
    from lerl.envs.population import Population


def load_population(folder: str | Path) -> Population:
    """Catalog and users of a prepared folder.

    Args:
        folder: made by `lerl data prepare` or `lerl data import`.

    Raises:
        MissingDataError: it is not there, or not prepared.
    """
    from lerl.envs.store import load_population

    return load_population(Path(folder))


def configure(recipe: str | Path | Config, **overrides: Any) -> Config:
    """The configuration of a recipe with other values.

    Args:
        recipe: name of a recipe that comes with lerl, the path of a YAML file, or a configuration.
        overrides: by key; a section is a dictionary of its keys, such as `train={"steps": 50_000}`, and a key may be
            dotted: `**{"train.steps": 50_000}`. All keys: `lerl train --help-all`.

    Raises:
        SettingsError: there is no such recipe or key, or a value is not allowed; the message says what is.

    Examples:
        >>> import lerl
        >>> lerl.configure("quickstart", train={"steps": 50_000}, seed=3).train.steps
        50000
    """
    from lerl.config.parse import load, overlay
    from lerl.config.recipes import find_recipe
    from lerl.config.schema import Config

    config = recipe if isinstance(recipe, Config) else load(find_recipe(str(recipe)))
    return overlay(config, dict(flat(overrides)))


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Values by dotted key."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
