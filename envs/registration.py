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
COMPOSITE: dict[str, Any] = {
    "items": 100,
    "categories": 10,
    "roles": ["top", "bottom"],
    "repeats": True,
    "complement": {"pair": 1.0, "user_pair": 1.0},
}
"""What `lerl/Composite-v0` has where nothing else is given; slates have one slot for each role."""


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
            data: "synthetic", "composite", which is that with roles, or the format of the prepared folder that `path`
                names.
            settings: those of `SessionEnv` or `SessionVectorEnv`; sizes for a synthetic population, else `path`.
        """
        made_up = data in ("synthetic", "composite")
        own = (*SIZES, "population_seed") if made_up else ("path",)
        more = VECTOR_KEYWORDS if self.view is SessionVectorEnv else ()
        check_keywords(settings, (*own, *more, *KEYWORDS), self.view)
        if data == "composite":
            settings = COMPOSITE | settings
            settings.setdefault("slate_size", len(settings["roles"]))
        population = _synthetic(settings, data == "composite") if made_up else _prepared(settings, data)
        return self.view(population, **settings)


make, make_vec = Maker(SessionEnv), Maker(SessionVectorEnv)


def _synthetic(settings: dict[str, Any], composite: bool) -> Population:
    sizes = {name: settings.pop(name) for name in SIZES if name in settings}
    seed = settings.pop("population_seed", 0)
    check_type("population_seed", seed, int)
    if seed < 0:
        raise ValueError(f"population_seed must be at least 0, given {seed}")
    roles = [role for role in settings["roles"] if "=" not in role] if composite else ()
    return synthetic_population(**sizes, seed=seed, roles=roles)


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
