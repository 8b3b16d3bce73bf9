"""What the agents of a run share: the population, the simulator, what agents know, and the seeds."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lerl.agents.base import TaskSpec
from lerl.agents.federated.knowledge import with_federated
from lerl.agents.hierarchical import Hierarchy
from lerl.agents.memory import Memory
from lerl.config.schema import Config
from lerl.envs.catalog import Axis, Catalog
from lerl.envs.composite import read_roles
from lerl.envs.config import SimulatorConfig
from lerl.envs.draws import seed_from
from lerl.envs.population import Floats, Population
from lerl.envs.schema import DataError
from lerl.envs.store import MissingDataError, load_population
from lerl.envs.synthetic import synthetic_population
from lerl.envs.texts import catalog_texts, text_vectors
from lerl.envs.topics import WORDLESS, cluster_axis, codes_axis
from lerl.planners.base import Planner


@dataclass(frozen=True)
class Task:
    """What all agents of a run share.

    Attributes:
        config: the run's configuration; under data.users and data.returns fitted, env holds what was fitted. Its
            env.horizon is always "session": agents are fitted by sessions, but for those ending in @return, and first
            judged by them.
        population: the users.
        axis: what is planned on; under planner.axis learned, clusters until topics were learned, see
            `lerl.run.learned_axis`.
        lives: the users who come back, on whom agents are judged as well where the run's env.horizon is "days"; else
            None.
    """

    config: Config
    population: Population
    axis: Axis
    lives: SimulatorConfig | None = None

    def __post_init__(self) -> None:
        env = self.config.env
        if env.horizon == "days":
            object.__setattr__(self, "lives", env)
            object.__setattr__(self, "config", replace(self.config, env=replace(env, horizon="session")))

    @staticmethod
    def load(config: Config) -> "Task":
        """Read or make the population and its axis.

        Raises:
            ValueError: the recipe needs a prepared folder and none was given.
            ClusterError: planner.clusters is too large.
            MissingDataError: the folder is not there, was not prepared, or nothing was fitted to it.
        """
        population = population_of(config)
        if config.data.users == "fitted":
            population, env = _fitted(population, config)
            config = replace(config, env=env)
        if config.data.returns == "fitted" and config.env.horizon == "days":
            config = replace(config, env=_fitted_returns(config))
        known, planner = population.knowledge, config.planner
        axis, titles = population.catalog.categories, population.catalog.titles
        roles = read_roles(config.env.roles, population.catalog, config.env.slate_size)
        if roles is not None:
            axis = roles.styles(axis)
        if planner.axis != "categories":
            named = known.popularity, titles, planner.clusters, config.seed, "planner.clusters"
            if planner.axis == "codes":
                axis = codes_axis(words_of(population.catalog), *named)
            else:
                axis = cluster_axis(known.item_vectors[:, :-1], *named)
        return Task(config, population, axis)

    def task_spec(self, label: str) -> TaskSpec:
        """What an agent is given when it is made, with a seed of its own."""
        config = self.config
        return TaskSpec(
            self.population.catalog,
            self.population.knowledge,
            self.axis,
            config.env.slate_size,
            config.env.max_steps,
            seed_from(config.seed, "agent", label),
            config.env.repeats,
            read_roles(config.env.roles, self.population.catalog, config.env.slate_size),
        )

    def hierarchy(
        self,
        label: str,
        count: int,
        planner: Planner | None,
        diversity: float = 0.0,
        attentive: bool = False,
        memory: Memory | None = None,
    ) -> Hierarchy:
        """A hierarchy of so many slots whose plans are made and kept as the settings say; see `Hierarchy`."""
        how = self.config.planner
        return Hierarchy(
            self.task_spec(label),
            count,
            planner,
            replan_every=how.replan_every,
            diversity=diversity,
            attentive=attentive,
            replan_below=how.replan_below,
            avoidance=how.avoidance,
            memory=memory,
        )

    def seed(self, *phase: Any) -> int:
        """A base seed that no other phase of this run and no other run shares."""
        return seed_from(self.config.seed, *phase)


def _fitted(population: Population, config: Config) -> tuple[Population, SimulatorConfig]:
    from lerl.envs.fitting.dynamics import fitted_users, read_fitted

    if config.data.path is None:
        raise ValueError("data.users is fitted, which needs a log: give --data.path FOLDER, or set it to assumed")
    try:
        fitted = read_fitted(Path(config.data.path), config.env.topics)
    except MissingDataError as error:
        raise MissingDataError(f"{error}, or train on assumed users: --data.users assumed") from None
    return fitted_users(population, config.env, fitted)


def _fitted_returns(config: Config) -> SimulatorConfig:
    """The users' settings with when people come back as it was fitted."""
    from lerl.envs.fitting.returns import fitted_return

    if config.data.path is None:
        raise ValueError("data.returns is fitted, which needs a log: give --data.path FOLDER, or set it to assumed")
    try:
        return replace(config.env, return_=fitted_return(config.env.return_, Path(config.data.path)))
    except MissingDataError as error:
        raise MissingDataError(f"{error}, or judge with assumed gaps: --data.returns assumed") from None
    except DataError as error:
        raise DataError(f"{error}, or judge with assumed gaps: --data.returns assumed") from None


def words_of(catalog: Catalog) -> Floats:
    """(I, d) float32 vectors of what a catalog says of its items.

    Raises:
        ValueError: it says nothing.
    """
    try:
        return text_vectors(catalog_texts(catalog).columns).vectors
    except ValueError as error:
        raise ValueError(
            "planner.axis codes groups items by their words, and the catalog has neither titles nor categories; "
            "give it titles (lerl data import --items FILE), or set planner.axis to clusters"
        ) from error


def axis_notes(task: Task) -> list[str]:
    """What people should know of an axis of codes, in a few words each: what items have no titles, or no words."""
    if task.config.planner.axis != "codes":
        return []
    names, notes = task.axis.names, list(catalog_texts(task.population.catalog).notes)
    if names[-1] == WORDLESS:
        count = int(task.axis.membership[:, -1].sum())
        notes.append(f"{count:,} of {len(task.axis.membership):,} items have no words: they are a group of their own")
    return notes


def population_of(config: Config) -> Population:
    """The users as they were prepared or made up, before anything that was fitted to their log."""
    data = config.data
    if data.knowledge == "federated" and data.path is None:
        raise ValueError(
            "data.knowledge is federated, which is learned from a log: give --data.path FOLDER, or set it to central"
        )
    if data.path is not None:
        population = load_population(Path(data.path))
        if data.knowledge == "federated":
            population = with_federated(population, Path(data.path))
        # what a run does not use shall not make its users others
        if config.env.response != "collective":
            population = replace(population, collective=None)
        if config.env.response in ("latent", "lookup", "collective"):
            population = replace(population, response=None)
        return population
    if data.needed:
        raise ValueError(
            "this recipe needs real users: give --data.path FOLDER, made by lerl data import from your own log, or "
            "by lerl data prepare --format FORMAT DOWNLOADED --out FOLDER"
        )
    sizes = data.synthetic
    return synthetic_population(sizes.users, sizes.items, sizes.categories, sizes.dim, sizes.seed, sizes.roles)
