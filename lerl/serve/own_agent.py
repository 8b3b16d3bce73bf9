"""An agent of one's own, judged as those of a run are."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lerl.serve.evaluation import Evaluation
from lerl.serve.settings import configure, flat, load_population

if TYPE_CHECKING:
    from lerl.agents.base import Agent
    from lerl.envs.population import Population
    from lerl.planners.base import Planner
    from lerl.run.task import Task


def evaluate(
    agent: Any,
    population: Population | str | Path | None = None,
    name: str = "own",
    beside: Sequence[str] = ("random", "popularity", "privileged"),
    *,
    planner: Planner | str | None = None,
    size: int = 6,
    replan_every: int = 1,
    deterministic: bool = False,
    **overrides: Any,
) -> Evaluation:
    """Judge an agent of one's own as those of a run are judged: every held-out user, the same draws for all agents.

    Args:
        agent: an object with `act(observation)`, and `begin` where it remembers; a function of an observation; or a
            model with Stable-Baselines3's `predict`. It is given observations of B sessions at once, each array
            (B, ...), and answers slates (B, k), or (B,) where k is 1; B is `evaluation.batch_size`, of which those
            whose session is over are ignored. See `lerl.agents.base.Agent`, also for `begin(rows, observation, keys)`.
        population: whose users; a prepared folder's path; or None for those that `data` says: `{"path": FOLDER}`, or
            made-up ones, `{"synthetic": {"users": 1000, "items": 1000, "categories": 20, "dim": 16, "seed": 0}}` unless
            given.
        name: what tables call it.
        beside: floors and the ceiling in the same table, agents that need no training; () for none.
        planner: that the agent is under, as in `lerl.wrappers.Planned`: it sees `plan_allowed`, `plan_avoided` and
            `plan_age`, and an item that the plan does not allow is replaced. size, replan_every: as there.
        deterministic: whether a model acts without sampling; its draws follow from `seed`.
        overrides: see `configure`; of `env` (slates have 6 items unless `slate_size` says otherwise), `evaluation`
            and `seed`, and of `data` where `population` is None.

    Raises:
        TypeError: `agent` does not act, or `planner` does not plan. SettingsError: an override is not allowed.
        ValueError: a model that was trained in another world; the message names what differs.
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
    from lerl.config.schema import Config
    from lerl.run.task import Task, population_of
    from lerl.serve.trained_model import drawing_from

    if name in beside:
        raise ValueError(f"the agent's name is that of one beside it, {name!r}; give another name")
    own = _acting(agent, planner, size, replan_every, deterministic)
    _check_keys(overrides, made_up=population is None)
    config = configure(Config(), **overrides)
    users = load_population(population) if isinstance(population, str | Path) else population
    users = population_of(config) if users is None else users
    task = Task(config, users, users.catalog.categories)
    with drawing_from(task.seed("own agent", name)) if _predicts(agent) else nullcontext():
        return _played(own, name, beside, task)


def _played(own: Agent, name: str, beside: Sequence[str], task: Task) -> Evaluation:
    """The agent and those beside it, judged."""
    from functools import partial

    from lerl.run.agent_factory import build_agent
    from lerl.run.evaluate import play_agents
    from lerl.run.progress import Progress
    from lerl.run.specs import parse_agent

    agents = {name: lambda: own}
    for other in beside:
        agents[other] = partial(build_agent, parse_agent(other, ""), task)
    with Progress() as progress:
        return Evaluation(play_agents(task, agents, progress), task.config.evaluation.bootstrap)


def _predicts(agent: Any) -> bool:
    """Whether it is a model with `predict`, as those of Stable-Baselines3."""
    return callable(getattr(agent, "predict", None)) and not (isinstance(agent, type) or hasattr(agent, "act"))


def _acting(agent: Any, planner: Planner | str | None, size: int, replan_every: int, deterministic: bool) -> Agent:
    """What was given as an agent, under its planner."""
    from lerl.agents.base import as_agent
    from lerl.serve.trained_model import TrainedModel
    from lerl.wrappers.agent import PlannedAgent

    if _predicts(agent):
        return PlannedAgent(lambda plans: TrainedModel(agent, plans, deterministic), planner, size, replan_every)
    own = as_agent(agent)
    if deterministic:
        raise TypeError(f"deterministic is for a model with Stable-Baselines3's predict, given {agent!r}")
    return own if planner is None else PlannedAgent(lambda _: own, planner, size, replan_every)


def _check_keys(overrides: dict[str, Any], made_up: bool) -> None:
    """Refuse settings of what an agent of one's own has not.

    Raises:
        SettingsError: there is one.
    """
    from lerl.config.errors import SettingsError

    data = ("data.path", "data.synthetic") if made_up else ()
    for key in dict(flat(overrides)):
        if not key.startswith(("env.", "evaluation.", *data)) and key not in ("env", "seed"):
            known = ", ".join(("env", "evaluation", *data))
            raise SettingsError(f"{key} means nothing to an agent of one's own; give keys of {known}, or seed")
