"""Training: fit every agent of a recipe, evaluate it on held-out users, and keep everything in one folder."""

import json
import platform
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

import lerl
from lerl.config.keys import known_keys
from lerl.config.parse import dump, load
from lerl.config.schema import Config
from lerl.envs.files import write_whole
from lerl.envs.store import load_population
from lerl.files import resume_command
from lerl.planners.llm.guard import ReplayError
from lerl.planners.llm.planner import MODELS
from lerl.planners.llm.prompt import Prompts
from lerl.planners.llm.traffic import planner_file
from lerl.run.artifacts import CURVE, ArtifactStore, Point
from lerl.run.checks import check_agents
from lerl.run.evaluate import TRAINED, is_evaluated, judge, judge_side_by_side, write_table
from lerl.run.executors import Where, executor
from lerl.run.fitter import Fitter
from lerl.run.folder import FORMAT, check_run, check_same, check_vacant, packages
from lerl.run.learned_axis import settled
from lerl.run.locks import locked
from lerl.run.progress import Progress
from lerl.run.side_by_side import fit
from lerl.run.specs import AgentSpec, needed_agents, parse_agents
from lerl.run.task import Task
from lerl.run.track import Tracked
from lerl.run.trust import read_config, sign

CURVES = "curves.parquet"
ASIDE = (
    "tune.",
    "experiment.",
    *(f"planner.{name}" for name in ("replay", "cache", "timeout", "concurrency", "budget", "price")),
)
"""Settings that change no query to a chat model."""
FITTED = ("belief/*", "planners/*.npz", "policies/*", "rows/*", "checkpoints/*")


def train(config: Config, out: Path, tracked: Tracked | None = None, where: Where | None = None) -> None:
    """Fit and judge the agents of a recipe.

    Args:
        config: everything that decides the run.
        out: its folder: config.yaml, run.json (versions, git state, seeds), policies/, planners/, logs/ (TensorBoard),
            curves.parquet, episodes.parquet and the other tables.
        tracked: what learning curves are handed to; nothing where None. The caller ends it.
        where: where agents are fitted and judged side by side; one after another, here, where None.

    Raises:
        ValueError: an agent, planner or data set that the configuration names is not there; nothing is written then.
        FileExistsError: the folder holds something.
        RunError: another process is at work in the folder.
    """
    check_vacant(out)
    task, _ = checked(config)
    out.mkdir(parents=True, exist_ok=True)
    with locked(out):
        check_vacant(out)  # another run may have begun, and ended, there since
        try:
            begin(config, task, out)
            _work(config, task, out, _begun(tracked, config, out), where)
        except ReplayError:
            if not any(path.is_file() for part in FITTED for path in out.glob(part)):
                shutil.rmtree(out)  # so that the corrected command may take it
            raise


def checked(config: Config) -> tuple[Task, list[AgentSpec]]:
    """The task and the agents of a recipe, once all of them acted for two training users.

    Raises:
        ValueError: as `train` raises it.
    """
    specs = parse_agents(config)
    _refuse_idle_model(config)
    task = Task.load(config)
    check_agents(task, specs)
    return task, specs


def begin(config: Config, task: Task, out: Path) -> None:
    """Write what makes a folder a run, which `resume` goes on with: run.json, the signature, config.yaml."""
    write_whole(out / "run.json", json.dumps(made_with(task), indent=1))
    text = dump(config)
    sign(out, config, text)
    write_whole(out / "config.yaml", text)


def _refuse_idle_model(config: Config) -> None:
    """Refuse a chat model that no agent would query.

    Raises:
        ValueError: one is given, but no agent is planned by it.
    """
    given = [name for name in ("model", "replay", "cache", "pool") if getattr(config.planner, name)]
    if given and not any(spec.planner in MODELS for spec in needed_agents(config)):
        raise ValueError(
            f"planner.{given[0]} is given, but no agent of this recipe is planned by a chat model; give --planner.name "
            "llm, or agents such as llm+ppo"
        )


def resume(
    run: Path,
    trust: bool = False,
    tracked: Tracked | None = None,
    where: Where | None = None,
    config: Config | None = None,
) -> Config:
    """Go on with a run that was interrupted, to the same end; nothing is left to do for one that has ended.

    Args:
        run: its folder. trust: whether what it wants is allowed, see `lerl.run.trust.read_config`.
        tracked, where: as in `train`. config: the run's, where it was read and allowed already, in a worker: it waits
            for one that a command which was killed may have left at the run.

    Raises:
        RunError: there is no run, another process is at work on it, or it cannot go on here.
    """
    about = check_run(run)
    with locked(run, wait=config is not None):
        config = config or read_config(run, trust)
        specs = parse_agents(config)
        task = Task.load(config)
        check_agents(task, specs)
        check_same(run, about, task)
        _work(config, task, run, _begun(tracked, config, run), where)
    return config


def _begun(tracked: Tracked | None, config: Config, out: Path) -> Tracked:
    tracked = tracked or Tracked()
    tracked.begin(config, out)
    return tracked


def _work(config: Config, task: Task, out: Path, tracked: Tracked, where: Where | None) -> None:
    specs = parse_agents(config)
    if where is not None and not is_evaluated(out, task):
        _side_by_side(config, task, out, where)
    with Progress() as progress:

        def report(phase: str, done: int, total: int, point: Point | str | None) -> None:
            progress.report(phase, done, total, point)
            if isinstance(point, dict):
                tracked.curve(point)

        with _comparing(task.config), closing(Fitter(task, out, report)) as fitter:
            _fit_and_judge(specs, fitter, out, progress, tracked)


def _side_by_side(config: Config, task: Task, out: Path, where: Where) -> None:
    """Fit and judge all agents that no chat model plans for, so that little is left to do one after another."""
    with executor(where, f"go on with: {resume_command(out)}") as pool:
        with closing(Fitter(task, out, lambda *_: None)) as fitter:
            lacking = [spec for spec in parse_agents(config) if fitter.lacks(spec)]
        fit(lacking, out, config, pool)
        judge_side_by_side(settled(task, ArtifactStore(out)), out, config, pool)


def _fit_and_judge(specs: list[AgentSpec], fitter: Fitter, out: Path, progress: Progress, tracked: Tracked) -> None:
    lacking = [spec for spec in specs if fitter.lacks(spec)]
    if lacking or not all((out / name).is_file() for name in (TRAINED, CURVES)):
        for spec in lacking:
            fitter.fit(spec)
        write_table(pl.DataFrame(fitter.curves(specs), schema=list(CURVE.items())), out / CURVES)
        write_whole(out / TRAINED, json.dumps({"agents": [spec.label for spec in specs]}))
    tracked.complete(fitter.curves(specs))
    if not is_evaluated(out, fitter.context.task) or (out / "evaluated").exists():
        judge(fitter.context.task, fitter, out, progress)


@contextmanager
def _comparing(config: Config) -> Iterator[None]:
    """Say, where a run has questions that the replayed one had not, in which settings the two differ."""
    try:
        yield
    except ReplayError as error:
        raise ReplayError(f"{error}. {_difference(config)}") from None


def _difference(config: Config) -> str:
    path = planner_file(str(config.planner.replay), "traffic.sqlite").parent.parent / "config.yaml"
    if not path.is_file():
        return f"There is no {path} to compare with"
    here, there = (
        {name: key.default for name, key in known_keys(one).items() if not name.startswith(ASIDE)}
        for one in (config, load(path))
    )
    differing = [f"{name} {here[name]}, there {there[name]}" for name in here if here[name] != there[name]]
    if not differing:
        return f"The settings are those of {path}, so the data or lerl itself differ"
    return f"Here is {'; '.join(differing)}"


def made_with(task: Task) -> dict[str, Any]:
    """What a run was made with; no times, so that the same command writes the same file."""
    phases = ("planner", "validation", "evaluation")
    return {
        "format": FORMAT,
        "lerl": lerl.__version__,
        "python": platform.python_version(),
        "packages": packages(),
        "git": _git_state(),
        "n_items": len(task.population.catalog),
        "population": task.population.name,
        "population_digest": task.population.digest(),
        **_users_digest(task),
        "axis": None if task.config.planner.axis == "learned" else list(task.axis.names),
        "prompts": Prompts(task.config.planner.prompts).digest,
        "network_batch_size": task.config.evaluation.batch_size,
        "seeds": {phase: task.seed(phase) for phase in phases},
    }


def _users_digest(task: Task) -> dict[str, Any]:
    """Where agents know something else than the folder holds: the digest of a run with central knowledge, so that the
    two can be compared."""
    data = task.config.data
    if data.knowledge == "central" or data.path is None:
        return {}
    central = load_population(Path(data.path)).knowledge
    return {"users_digest": replace(task.population, knowledge=central).digest()}


def _git_state() -> dict[str, Any] | None:
    """Commit of the checkout that the code runs from, and whether it was changed; None outside a checkout."""
    here = Path(__file__).resolve().parents[2]
    if not (here / ".git").exists():
        return None
    try:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=True)
        changes = subprocess.run(["git", "status", "--porcelain"], cwd=here, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return {"commit": commit.stdout.strip(), "changed": bool(changes.stdout.strip())}
