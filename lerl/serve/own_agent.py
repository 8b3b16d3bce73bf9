"""An agent of one's own, judged as those of a run are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lerl.serve.evaluation import Evaluation
from lerl.serve.settings import configure, flat, load_population

if TYPE_CHECKING:
    from lerl.envs.population import Population


def evaluate(
    agent: Any,
    population: Population | str | Path | None = None,
    name: str = "own",
    beside: Sequence[str] = ("random", "popularity", "privileged"),
    **overrides: Any,
) -> Evaluation:
    """Judge an agent of one's own as those of a run are judged: every held-out user, the same draws for all agents.

    Args:
        agent: an object with `act(observation)`, and `begin` where it remembers; or a function of an observation. It
            is given observations of B sessions at once, each array (B, ...), and answers slates (B, k); B is
            `evaluation.batch_size`. See `lerl.agents.base.Agent`.
        population: whose users; a prepared folder's path; or None for made-up ones.
        name: what tables call it.
        beside: floors and the ceiling in the same table, agents that need no training.
        overrides: see `configure`; of `env`, `evaluation`, `seed` and, for made-up users, `data`.

    Raises:
        TypeError: `agent` does not act. SettingsError: an override is not allowed.
        PluginError: what is beside it needs training, or the agent answers no slates.

    Examples:
        >>> import lerl
        >>> import numpy as np
        >>> def first_six(observation):
        ...     return np.tile(np.arange(6), (len(observation["taste"]), 1))
        >>> judged = lerl.evaluate(first_six, beside=["random"], evaluation={"users": 20})
        >>> sorted(judged.agents)
        ['own', 'random']
    """
    from functools import partial

    from lerl.agents.base import as_agent
    from lerl.config.errors import SettingsError
    from lerl.config.schema import Config
    from lerl.run.agent_factory import build_agent
    from lerl.run.evaluate import play_agents
    from lerl.run.progress import Progress
    from lerl.run.specs import parse_agent
    from lerl.run.task import Task, population_of

    own, allowed = as_agent(agent), ("env.", "evaluation.", *(() if population is not None else ("data.",)))
    for key in dict(flat(overrides)):
        if not key.startswith(allowed) and key not in ("env", "seed"):
            raise SettingsError(f"{key} means nothing to an agent of one's own; give keys of env, evaluation, or seed")
    if name in beside:
        raise ValueError(f"the agent's name is that of one beside it, {name!r}; give another name")
    config = configure(Config(), **overrides)
    users = load_population(population) if isinstance(population, str | Path) else population
    users = population_of(config) if users is None else users
    task = Task(config, users, users.catalog.categories)
    agents = {name: lambda: own}
    for other in beside:
        agents[other] = partial(build_agent, parse_agent(other, ""), task)
    with Progress() as progress:
        return Evaluation(play_agents(task, agents, progress), config.evaluation.bootstrap)
