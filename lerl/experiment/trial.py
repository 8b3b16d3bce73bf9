"""A trial of an experiment: fitted in a folder of its own, as `lerl train` does, and judged on evaluation users.

What stays is a row for each session, in rows/CONDITION/AGENT.parquet, with what the numbers were made from. Trials that
are there are not done again, so that an experiment of many hours goes on where it was stopped, on another machine if
need be.
"""

import hashlib
import io
import json
import shutil
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

import lerl
from lerl.config.parse import overlay
from lerl.config.schema import AUTO
from lerl.envs.draws import seed_from
from lerl.envs.files import write_whole
from lerl.experiment.search.scoring import reuse
from lerl.experiment.spec import AGAIN, Experiment, Trial
from lerl.files import reading
from lerl.planners.llm.distilled import recorded, save, train_network
from lerl.planners.llm.planner import MODELS
from lerl.planners.llm.prompt import Prompts
from lerl.planners.llm.traffic import Traffic
from lerl.report.lessons import mark
from lerl.run.evaluate import episodes, judged
from lerl.run.fitter import Fitter
from lerl.run.locks import locked
from lerl.run.machine import processor
from lerl.run.progress import Progress
from lerl.run.rollout import Evaluator
from lerl.run.task import Task

ROWS = "rows"  # of sessions
KEPT = ("seed", "user", "replicate", "T_int", "R_cum")
ABOUT = "lerl"  # the name of what a file says of itself


@dataclass(frozen=True)
class Done:
    """What is kept of an agent under a condition: sessions (`KEPT`), and by seed what they were made from."""

    sessions: pl.DataFrame
    about: dict[str, dict[str, Any]]


def done(path: Path) -> Done:
    """What an agent's file holds; nothing where there is none."""
    if not path.is_file():
        return Done(pl.DataFrame(schema=dict.fromkeys(KEPT, pl.Float64)), {})
    with reading(path, AGAIN):
        about = json.loads(pl.read_parquet_metadata(path)[ABOUT])
        for one in about.values():
            _ = [one[name] for name in ("digest", "population", "steps", "fitting", "judging")]
        return Done(pl.read_parquet(path, glob=False).select(KEPT), about)


def sessions_path(out: Path, trial: Trial) -> Path:
    """The file of a trial's agent, which holds its other seeds too."""
    return out / ROWS / trial.condition / f"{trial.label}.parquet"


def kept(trial: Trial, out: Path) -> bool:
    """Whether there is anything of a trial, made as it is now or otherwise."""
    return str(trial.config.seed) in done(sessions_path(out, trial)).about


def finished(trial: Trial, out: Path) -> dict[str, Any] | None:
    """How a trial was done, None where it was not, or otherwise."""
    about = done(sessions_path(out, trial)).about.get(str(trial.config.seed))
    return about if about is not None and _made_so(trial, about) else None


def _made_so(trial: Trial, about: Mapping[str, Any], digest: str = "") -> bool:
    """Whether what a file says of a trial is how the trial is made now."""
    prompts = _prompts(trial)
    return bool(about["digest"] == (digest or trial.digest) and about.get("prompts", prompts) == prompts)


def _prompts(trial: Trial) -> str:
    """The digest of the texts that a chat model is queried by; empty for an agent without one."""
    return Prompts(trial.fitted.planner.prompts).digest if trial.spec.planner in MODELS else ""


def _users(task: Task) -> str:
    """The digest of a task's users, of their dynamics too where that was fitted to their log."""
    digest, env = task.population.digest(), task.config.env
    if task.config.data.users != "fitted":
        return digest
    fitted = digest, env.boredom, env.fatigue, env.mood, env.drift
    return hashlib.sha256(repr(fitted).encode()).hexdigest()[:32]


def populations(experiment: Experiment) -> dict[str, str]:
    """The digest of each condition's users."""
    seed = experiment.base.seed
    firsts = {name: experiment.trial(name, experiment.labels(name)[0], seed, {}) for name in experiment.conditions}
    return {name: _users(Task.load(trial.config)) for name, trial in firsts.items()}


def keep(trial: Trial, sessions: pl.DataFrame, about: dict[str, Any], out: Path) -> None:
    """Write a trial's sessions beside those of its agent's other seeds."""
    path, seed = sessions_path(out, trial), trial.config.seed
    before = done(path)
    kinds = {"seed": pl.Int16, "user": pl.Int32, "replicate": pl.Int16, "T_int": pl.Int16}
    others = before.sessions.filter(pl.col("seed") != seed)
    table = pl.concat([others.cast(pl.Float64), sessions.cast(pl.Float64)]).sort("seed", "user", "replicate")
    table = table.cast({name: kinds.get(name, pl.Float32) for name in KEPT})
    _write(table, dict(sorted({**before.about, str(seed): about}.items())), path)


def _write(table: pl.DataFrame, about: Mapping[str, Any], path: Path) -> None:
    stream = io.BytesIO()
    table.write_parquet(stream, compression="zstd", metadata={ABOUT: json.dumps(about)})
    write_whole(path, stream.getvalue())


def work(trial: Trial, folder: Path, taught: Path | None = None) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Fit and judge a trial.

    Args:
        trial: which. folder: where its policy, its planner and its checkpoint are kept; how far it is, standard error
        says. taught: the same of its teacher.

    Returns:
        Sessions, and what they were made from: digest, population, version, steps, seconds of processor time.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder, wait=True):
        return _work(trial, folder, taught)


def _work(trial: Trial, folder: Path, taught: Path | None) -> tuple[pl.DataFrame, dict[str, Any]]:
    config, fitted, spec = trial.config, trial.fitted, trial.spec
    if trial.teacher is not None and taught is not None:
        network = {"planner.distilled": str(_distill(trial.teacher, taught, folder))}
        config, fitted = overlay(config, network), overlay(fitted, network)
    task, fit = Task.load(fitted), folder / "fit"
    keep_for(f"{_users(task)} {_prompts(trial)} {trial.teacher.digest if trial.teacher else ''}", fit)
    reuse(fit, fitted)
    fresh, begun = not any(fit.glob("checkpoints/*")), time.process_time()
    report = Progress().report
    with closing(Fitter(task, fit, report)) as fitter:
        anew = fitter.lacks(spec)
        fitter.fit(spec)
        fitting = time.process_time() - begun if fresh and anew else None
    if config != fitted:
        task = Task.load(config)
    with closing(Fitter(task, fit, report)) as fitter:
        task = fitter.context.task
        evaluator = Evaluator(
            task.population, task.config.env, task.axis, "evaluation", task.config.evaluation.batch_size
        )
        begun, users = time.process_time(), judged(evaluator.users, task.config)
        how = task.config.evaluation
        played = evaluator.play(fitter.agent(spec), users, how.replicates, task.seed("evaluation"))
        sessions = episodes(trial.label, played, task).select(KEPT)
        judging = time.process_time() - begun
        curve, steps = [point["steps"] for point in fitter.curves([spec])], fitter.steps(spec)
        chosen = {"chosen": fitter.chosen(spec).label} if spec.baseline == AUTO else {}
    train = fitted.train
    return sessions, {
        "digest": trial.digest,
        "population": _users(task),
        "prompts": _prompts(trial),
        "lerl": lerl.__version__,
        "processor": processor(),
        "steps": steps,
        "mark": mark(max(curve) - min(curve), train.users, train.rollout) if curve else "",
        "fitting": None if fitting is None else round(fitting, 2),
        "judging": round(judging, 2),
        **chosen,
    }


def _distill(teacher: Trial, taught: Path, folder: Path) -> Path:
    """A network that plans as the teacher's chat model did in its lessons, in the folder."""
    work(teacher, taught)  # fits nothing that is there
    with closing(Traffic(taught / "fit" / "planners" / "traffic.sqlite", read_only=True)) as traffic:
        # "distil" is part of the seed, so it keeps its spelling: another one would train another network.
        weights, _ = train_network(*recorded(traffic), seed_from(teacher.config.seed, "distil"))
    save(weights, folder / "distilled.npz")
    return folder / "distilled.npz"


def keep_for(users: str, folder: Path) -> None:
    """Remove what was fitted in a folder for other users, or with other questions to a chat model."""
    marker = folder.with_name("users")
    if marker.is_file() and marker.read_text(encoding="utf-8") != users:
        shutil.rmtree(folder, ignore_errors=True)
    write_whole(marker, users)


def do(trial: Trial, digest: str, users: str, folder: Path, taught: Path | None) -> None:
    """Fit and judge a trial, and leave its sessions in its folder, for `ended` to find.

    Args:
        trial, folder, taught: see `work`. digest: of the trial, where its files lie as it was read. users: digest of
            the condition's users.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder, wait=True):
        if ended(trial, users, folder, digest) is None:
            sessions, about = _work(trial, folder, taught)
            _write(sessions, {str(trial.config.seed): {**about, "digest": digest}}, _ended_path(trial, folder))


def ended(trial: Trial, users: str, folder: Path, digest: str = "") -> Done | None:
    """What a trial left in its folder; None where it has not ended, or was made otherwise, or of other users."""
    found = done(_ended_path(trial, folder))
    about = found.about.get(str(trial.config.seed))
    same = about is not None and about["population"] == users and _made_so(trial, about, digest)
    return found if same else None


def _ended_path(trial: Trial, folder: Path) -> Path:
    """Agents that are judged again under another condition work where they were fitted."""
    return folder / f"{trial.condition}.parquet"
