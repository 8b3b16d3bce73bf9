"""From a recipe to what `lerl loop` does, and whether a folder is of the same."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import lerl
from lerl.agents.base import Agent
from lerl.config.schema import AUTO, Config
from lerl.envs.files import write_whole
from lerl.experiment.loop.settings import (
    CLOSED,
    FLOORS,
    FROZEN,
    OPEN,
    TAUGHT_NOTHING,
    LoopConfig,
    Request,
    Row,
)
from lerl.files import RunError, reading
from lerl.report.load import flat
from lerl.run.agent_factory import build_agent
from lerl.run.checks import check_agents
from lerl.run.side_by_side import asks_model
from lerl.run.specs import parse_agent, parse_agents
from lerl.run.task import Task

ABOUT, TRIALS = "loop.json", "trials"
AXES = ("categories", "clusters", "codes")
FREE = ("seed", "agents", "tune", "experiment")
"""Parts of a configuration that say what is done, and nothing of how: a folder may get more of them."""


def request(config: Config, loop: LoopConfig, seeds: Sequence[int], controls: bool) -> Request:
    """A request; `random` and `popularity` are among its rows whether asked for or not.

    Args:
        config: the recipe. loop: how long, and who and what comes and goes. seeds: ascending. controls: whether each
            agent that learns from a log is there twice more: never refitted, and refitted on the log of `random`.

    Raises:
        ValueError: an agent cannot be in a loop; the message says why.
        PluginError: a name in agents stands for nothing.
    """
    specs = parse_agents(config)
    specs += [one for one in (parse_agent(name, config.planner.name) for name in FLOORS) if one not in specs]
    for spec in specs:
        if asks_model(spec, config):
            raise ValueError(
                f"{spec.label} asks a chat model, and nothing here says what weeks of that would cost; leave it out, "
                "or distil the model's plans (lerl distill) and give distilled+..."
            )
    if config.planner.axis not in AXES:
        raise ValueError(
            f"planner.axis must be one of {', '.join(AXES)} here, given {config.planner.axis!r}: people's exposure is "
            "counted along one axis all the time"
        )
    rows = [Row(spec, CLOSED) for spec in specs]
    if controls:
        rows += [Row(spec, mark) for spec in specs if spec.baseline not in TAUGHT_NOTHING for mark in (FROZEN, OPEN)]
    return Request(config, loop, tuple(rows), tuple(seeds))


def check(asked: Request, task: Task) -> None:
    """Have every agent act for two people before anything is played.

    Agents that rank the next item are not tried: what they learn from is there once people were shown something.

    Raises:
        ValueError, PluginError: an agent cannot do its task.
    """
    specs = [row.spec for row in asked.rows if row.learns_from == CLOSED and row.spec.next_item is None]
    names = [name for name in task.config.agents if parse_agent(name, task.config.planner.name) in specs]
    few = replace(task, config=replace(task.config, agents=names or list(FLOORS)))
    check_agents(few, specs)
    for spec in specs if asked.loop.turnover else ():
        own = spec.baseline is not None and spec.baseline != AUTO and not spec.believes
        if own and type(build_agent(spec, few)).withhold is Agent.withhold:
            raise ValueError(
                f"{spec.label} cannot leave out items that are not there; give --turnover 0, or leave it out of agents"
            )


def keep(asked: Request, out: Path) -> None:
    """Write what is asked for into the folder, where nothing is; see that it is the same where something is.

    Raises:
        RunError: as `compare_settings` does.
    """
    compare_settings(asked, out)
    path = out / ABOUT
    if not path.is_file():
        write_whole(path, json.dumps(_about(asked), indent=1) + "\n")


def compare_settings(asked: Request, out: Path) -> None:
    """See that a folder is of these settings; one where nothing was begun is of any.

    Raises:
        RunError: the folder is of another recipe, or of other settings, or nothing says of which; the message says it.
    """
    path = out / ABOUT
    if not path.is_file():
        if (out / TRIALS).is_dir():
            raise RunError(
                f"{path} is missing, so that nothing says with which settings {out / TRIALS} was played; give another "
                "folder with --out, or remove that one"
            )
        return
    with reading(path, "give another folder with --out"):
        then: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["settings"]
        if not isinstance(then, dict):
            raise TypeError("no names and values")
    for name, value in _about(asked)["settings"].items():
        if then.get(name) != value:
            raise RunError(
                f"{path}: {name} was {then.get(name)} and is now {value}; give another folder with --out, or the "
                "settings that this one was begun with"
            )


def _about(asked: Request) -> dict[str, Any]:
    settings = dict(
        flat({"loop": asdict(asked.loop)} | {k: v for k, v in asdict(asked.config).items() if k not in FREE})
    )
    settings.pop("evaluation.bootstrap")
    return {"lerl": lerl.__version__, "settings": json.loads(json.dumps(settings))}
