"""One recipe with several seeds: a run folder for each, trained side by side in processes of their own."""

import dataclasses
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from shlex import quote

from lerl.config.schema import Config
from lerl.envs.files import refuse_links
from lerl.files import RunError, resume_command, seed_runs
from lerl.report.compare import compare
from lerl.run.executors import Where, executor, work_with
from lerl.run.folder import holds_other
from lerl.run.locks import locked
from lerl.run.task import Task
from lerl.run.train import begin, checked, resume
from lerl.run.trust import read_config
from lerl.run.work import LOG, LostError, Work
from lerl.run.workers import ended

Say = Callable[[str], object]


def train_seeds(config: Config, seeds: Sequence[int], out: Path, where: Where | int, say: Say) -> list[Path]:
    """Train a recipe once for each seed, and judge its agents.

    Args:
        config: the recipe; its own seed is not used. seeds: at least one, each once. out: the folder of all; a run's
            own is out/seedN, as `lerl.run.train.train` leaves it, with log.txt. where: where they are trained, or
            how many processes here; the numbers do not depend on it. say: called with a line for each that is done.

    Returns:
        The runs' folders, by seed.

    Raises:
        ValueError: as `lerl.run.train.train` raises it; nothing is written then.
        FileExistsError: the folder holds something.
        RunError: some seeds failed, the others are done; or another process is at work in the folder.
    """
    _check_vacant(out)
    first, *others = [dataclasses.replace(config, seed=seed) for seed in sorted(seeds)]
    task, _ = checked(first)
    out.mkdir(parents=True, exist_ok=True)
    with locked(out):
        _check_vacant(out)  # others may have begun there since
        try:
            begin(first, task, out / f"seed{first.seed}")
            for other in others:
                begin(other, Task.load(other), out / f"seed{other.seed}")
        except BaseException:  # with fewer seeds than were given, it would go on with fewer
            for one in (first, *others):
                shutil.rmtree(out / f"seed{one.seed}", ignore_errors=True)
            raise
        return _go_on({out / f"seed{one.seed}": one for one in (first, *others)}, out, where, say)


def resume_seeds(out: Path, where: Where | int, trust: bool, say: Say) -> list[Path]:
    """Go on with the seeds that were interrupted or that failed; those that have ended stay as they are.

    Args:
        out: their folder. where, say: as in `train_seeds`. trust: see `lerl.run.trust.read_config`.

    Returns:
        The runs' folders, by seed.

    Raises:
        RunError: as in `train_seeds`, or a run that somebody else made wants what was not allowed.
    """
    with locked(out):
        # here, where a question can be answered
        return _go_on({run: read_config(run, trust) for run in seed_runs(out)}, out, where, say)


def _check_vacant(out: Path) -> None:
    refuse_links(out)
    if seed_runs(out):
        raise FileExistsError(
            f"{out} already holds seeds; go on with them by {resume_command(out)}, remove it, or give another folder "
            "with --out"
        )
    if holds_other(out):
        raise FileExistsError(f"{out} is taken; remove it, or give another folder with --out")


def _go_on(configs: Mapping[Path, Config], out: Path, where: Where | int, say: Say) -> list[Path]:
    runs, failed, begun = list(configs), list[str](), time.monotonic()
    where = Where(where) if isinstance(where, int) else where
    where = where._replace(workers=min(where.workers, len(runs)))
    side_by_side = "on the cluster" if where.cluster else f"{where.workers} side by side"
    say(f"{len(runs)} seeds, {side_by_side}; how far each is: {quote(str(out))}/seed*/{LOG}")
    with executor(where, f"go on with: {resume_command(out)}") as pool:
        waiting = {pool.submit(_of(run, config)): run for run, config in configs.items()}
        while waiting:
            for future in ended(waiting):
                run, error = waiting.pop(future), future.exception()
                if isinstance(error, LostError):
                    raise error
                said = f"done, {time.monotonic() - begun:,.0f} s since the start"
                if error is not None:
                    said = f"failed: {' '.join(str(error).split()) or type(error).__name__}"
                    failed.append(f"{run.name}: {said}")
                say(f"[{len(runs) - len(waiting)}/{len(runs)}] {run.name}: {said}")
    if failed:
        raise RunError(
            f"{len(failed)} of {len(runs)} seeds failed, the first one {failed[0]}; see {LOG} in its folder, and go on "
            f"with: {resume_command(out)}"
        )
    return runs


def _of(run: Path, config: Config) -> Work:
    return work_with(config, run.name, _work, (run, config), run)


def _work(run: Path, config: Config) -> None:
    """Train and judge a run that was begun, in a process of its own."""
    resume(run, config=config)
    if not (run / "summary.json").is_file():
        compare([run], run, config.evaluation.bootstrap)
