"""The makers of the registered environments: a population made up or read, and a view of it."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from lerl.envs.checks import check_type
from lerl.envs.population import Population
from lerl.envs.render import FPS, MODES
from lerl.envs.session import (
    KEYWORDS,
    VECTOR_KEYWORDS,
    SessionEnv,
    SessionVectorEnv,
    check_keywords,
)
from lerl.envs.store import OWN_LOGS, load_population, make_command
from lerl.envs.synthetic import synthetic_population

View = TypeVar("View", bound=SessionEnv | SessionVectorEnv)
SIZES = ("users", "items", "categories", "dim")
"""Of a synthetic population."""


@dataclass(frozen=True)
class Maker(Generic[View]):
    """Makes the registered environments of one view; `gymnasium.make` and `gymnasium.make_vec` call it.

    Attributes:
        view: one user or many.
    """

    view: type[View]

    @property
    def metadata(self) -> dict[str, Any]:
        """What can be rendered: `gymnasium.make` looks for it to put its own wrappers around."""
        return {"render_modes": list(MODES), "render_fps": FPS}

    def __call__(self, data: str, **settings: Any) -> View:
        """The environment with `SessionEnv`'s settings, and those of its population.

        Args:
            data: "synthetic", or the format of the prepared folder that `path` names.
            settings: those of `SessionEnv` or `SessionVectorEnv`; sizes for a synthetic population, else `path`.
        """
        own = (*SIZES, "population_seed") if data == "synthetic" else ("path",)
        more = VECTOR_KEYWORDS if self.view is SessionVectorEnv else ()
        check_keywords(settings, (*own, *more, *KEYWORDS), self.view)
        population = _synthetic(settings) if data == "synthetic" else _prepared(settings, data)
        return self.view(population, **settings)


make, make_vec = Maker(SessionEnv), Maker(SessionVectorEnv)


def _synthetic(settings: dict[str, Any]) -> Population:
    sizes = {name: settings.pop(name) for name in SIZES if name in settings}
    seed = settings.pop("population_seed", 0)
    check_type("population_seed", seed, int)
    if seed < 0:
        raise ValueError(f"population_seed must be at least 0, given {seed}")
    return synthetic_population(**sizes, seed=seed)


def _prepared(settings: dict[str, Any], format: str) -> Population:
    path = settings.pop("path", None if format == OWN_LOGS else f"data/{format}")
    if path is None:
        made = make_command(Path("FOLDER"), format)
        raise ValueError(
            f"path is missing, the folder of a prepared data set: make one with `{made}` or `lerl data prepare`, and "
            f"give path='FOLDER'"
        )
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"path must be that of a folder, given {path!r}")
    return load_population(Path(path), format=format)
